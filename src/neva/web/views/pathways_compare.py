"""The pathways of two groups of cases, beside each other."""

from __future__ import annotations

from typing import Any

import polars as pl

from neva import pathways as p
from neva.errors import NevaError
from neva.statistics.disclosure import WITHHELD
from neva.web.charts import drawn
from neva.web.pages import Asked, Column, Figure, Table, ViewModel
from neva.web.views.pathways_selected import (
    KINDS,
    filters_of,
    link_to,
    map_of,
    not_on_the_map,
    whole_log,
)

__all__ = ["compare"]


def _compared_hours(asked: Asked, seconds: float | None) -> float | str | None:
    if seconds is None:
        return WITHHELD if asked.sees_large_counts_only else None
    return seconds / 3600


def compare(asked: Asked) -> ViewModel:
    """Show how the pathways of two groups differ."""
    words = asked.words
    kind = asked.choice("activities_of", KINDS, "units")
    whole = whole_log(asked, kind)
    data: dict[str, Any] = {
        "kind": kind,
        "not_on_the_map": not_on_the_map(asked, kind),
        "all_codes": link_to(asked, path="/pathways/compare", activities_of="codes"),
        "units": sorted(asked.unit_titles),
        "outcomes": sorted(set(whole.cases["outcome"].drop_nulls().unique().to_list())),
        "labels": sorted(whole.labels)[:2000],
        "error": "",
        "groups": [],
    }
    groups: list[dict[str, Any]] = []
    logs = []
    for prefix, name in (("a_", words("Cohort A")), ("b_", words("Cohort B"))):
        filters, chips = filters_of(asked, prefix)
        log = p.keep_cases(whole, *filters) if filters else whole
        logs.append(log)
        groups.append(
            {
                "prefix": prefix,
                "name": name,
                "cases": log.case_count,
                "filters": [
                    {"text": text, "name": one, "value": value} for one, value, text in chips
                ],
            }
        )
    data["groups"] = groups
    title = words("Compare cohorts")
    if not all(log.case_count for log in logs):
        data["error"] = words("One of the cohorts has no cases: remove a filter.")
        return ViewModel(title, data)
    try:
        found = p.compare_maps(*(map_of(asked, log) for log in logs))
    except NevaError as error:
        data["error"] = str(error)
        return ViewModel(title, data)
    chart = found.to_chart(15)
    return ViewModel(
        title,
        data,
        (
            Table(
                "paths",
                words("Paths: the largest differences first (B minus A)"),
                (
                    Column("path", words("path")),
                    Column("share_a", words("A: share of steps from there"), "share"),
                    Column("share_b", words("B: share of steps from there"), "share"),
                    Column("share_difference", words("difference"), "share"),
                    Column("median_a", words("A: median"), "hours"),
                    Column("median_b", words("B: median"), "hours"),
                ),
                [
                    {
                        "path": f"{row['source']} → {row['target']}",
                        **{name: row[name] for name in ("share_a", "share_b", "share_difference")},
                        **{
                            name: _compared_hours(asked, row[name])
                            for name in ("median_a", "median_b")
                        },
                    }
                    for row in found.edges.head(200).iter_rows(named=True)
                ],
            ),
            Table(
                "activities",
                words("Activities: share of cases that have them"),
                (
                    Column("activity", words("activity")),
                    Column("share_a", words("A: share of cases"), "share"),
                    Column("share_b", words("B: share of cases"), "share"),
                    Column("share_difference", words("difference"), "share"),
                ),
                found.nodes.sort(pl.col("share_difference").abs(), descending=True)
                .head(200)
                .to_dicts(),
            ),
        ),
        {
            "difference": Figure(
                drawn(chart, words),
                words(
                    "Bars: the largest differences in the share of steps, group B minus group A."
                ),
            )
        },
        tuple(
            (group["name"], words("%(n)s cases", n=words.count(int(group["cases"]))))
            for group in groups
        ),
    )
