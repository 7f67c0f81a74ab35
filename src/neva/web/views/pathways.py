"""Pathways: map, statistics and cases over one filter."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl

from neva import pathways as p
from neva.errors import NotFoundError
from neva.pathways.drawing import METRICS
from neva.statistics.disclosure import FEWEST_FOR_QUANTILES, WITHHELD
from neva.web.charts import drawn
from neva.web.pages import Asked, Column, Figure, Pages, Table, ViewModel
from neva.web.views.pathways_compare import compare
from neva.web.views.pathways_selected import (
    KINDS,
    link_to,
    map_of,
    not_on_the_map,
    or_wait,
    selected,
    whole_log,
)

__all__ = ["add_to"]

#: More rows than this are only in the CSV.
MOST_CASES: Final = 200
MOST_VARIANTS: Final = 50
MOST_ACTIVITY_TIMES: Final = 200
_TABS: Final = ("map", "statistics", "cases")


def _node_table(asked: Asked, found: p.ActivityMap) -> Table:
    words = asked.words
    return Table(
        "activities",
        words("Activities"),
        (
            Column("activity", words("activity")),
            Column("frequency", words("events"), "number"),
            Column("cases", words("cases"), "number"),
            Column("share", words("share of cases"), "share"),
            Column("starts", words("first in"), "number"),
            Column("ends", words("last in"), "number"),
        ),
        [
            {
                **row,
                "share": row["cases"] / max(found.case_count, 1),
                "_href": link_to(asked, with_=row["activity"]),
            }
            for row in found.nodes.sort("frequency", descending=True).iter_rows(named=True)
        ],
    )


def _activity_times(asked: Asked, log: p.ActivityLog) -> Table:
    words = asked.words
    # How many have no end would be a small count's other half.
    ended = () if asked.sees_large_counts_only else (Column("ended", words("end known"), "number"),)
    return Table(
        "activity-times",
        words("Duration of activities, and waiting times before them"),
        (
            Column("activity", words("activity")),
            Column("frequency", words("events"), "number"),
            *ended,
            Column("processing_median", words("from start to end: median"), "hours"),
            Column("processing_p90", words("90th percentile"), "hours"),
            Column("waiting_median", words("waiting time before: median"), "hours"),
            Column("waiting_p90", words("90th percentile"), "hours"),
        ),
        [
            {
                **row,
                **{
                    f"{what}_{how}": _hours(asked, row[f"{what}_{how}"], row[cases])
                    for what, cases in (("processing", "ended_cases"), ("waiting", "waited_cases"))
                    for how in ("median", "p90")
                },
            }
            for row in p.activity_times(log).head(MOST_ACTIVITY_TIMES).iter_rows(named=True)
        ],
    )


def _hours(asked: Asked, seconds: float | None, cases: int) -> float | str | None:
    """Turn a statistic of times into hours; of few cases it is nearly one patient's time."""
    if asked.sees_large_counts_only and cases < FEWEST_FOR_QUANTILES:
        return WITHHELD
    return None if seconds is None else seconds / 3600


def _edge_table(asked: Asked, found: p.ActivityMap) -> Table:
    words = asked.words
    return Table(
        "paths",
        words("Paths between activities"),
        (
            Column("path", words("path")),
            Column("frequency", words("steps"), "number"),
            Column("cases", words("cases"), "number"),
            Column("median_hours", words("median"), "hours"),
            Column("mean_hours", words("mean"), "hours"),
            Column("p90_hours", words("90th percentile"), "hours"),
        ),
        [
            {
                "path": f"{row['source']} → {row['target']}",
                "frequency": row["frequency"],
                "cases": row["cases"],
                **{
                    f"{name}_hours": _hours(asked, row[name], row["cases"])
                    for name in ("median", "mean", "p90")
                },
                "_href": link_to(asked, step=f"{row['source']} → {row['target']}"),
            }
            for row in found.edges.head(500).iter_rows(named=True)
        ],
    )


def _facts(asked: Asked, log: p.ActivityLog, whole: p.ActivityLog) -> tuple[tuple[str, str], ...]:
    words = asked.words
    order = (words("Order unknown, sorted by name"), words.count(log.ties))
    unit = {
        "stay": words("a case is a stay"),
        "subject": words("a case is a patient's whole timeline"),
    }.get(log.case_kind, words("cases as given"))
    return (
        (
            words("Cases"),
            f"{words.count(log.case_count)} / {words.count(whole.case_count)}; {unit}",
        ),
        (words("Events"), words.count(log.event_count)),
        *(() if asked.sees_large_counts_only else (order,)),
        (words("Activities"), log.activities[:12]),
    )


def pathways(asked: Asked) -> ViewModel:
    """Show map, statistics or cases of the selected cases."""
    words = asked.words
    tabs = _TABS if asked.sees_patients else _TABS[:-1]
    tab = asked.choice("tab", tabs, "map")
    metric = asked.choice("metric", METRICS, "steps and median")
    chosen = selected(asked)
    log = chosen.log
    units = sorted(asked.unit_titles)
    titles = {"map": words("Map"), "statistics": words("Statistics"), "cases": words("Cases")}
    outcomes = sorted(set(chosen.whole.cases["outcome"].drop_nulls().unique().to_list()))
    data: dict[str, Any] = {
        "tab": tab,
        "tabs": [
            {"id": one, "title": titles[one], "href": link_to(asked, tab=one)} for one in tabs
        ],
        "withholds": asked.sees_large_counts_only,
        "kind": chosen.kind,
        "metric": metric,
        "metrics": [
            {"id": "steps and median", "title": words("steps and median time")},
            {"id": "steps", "title": words("steps")},
            {"id": "cases", "title": words("cases")},
            {"id": "median", "title": words("median time")},
            {"id": "mean", "title": words("mean time")},
            {"id": "p90", "title": words("90th percentile of time")},
        ],
        "activities": round(chosen.activities),
        "paths": None if chosen.paths is None else round(100 * chosen.paths),
        "filters": [
            {
                "text": text,
                "name": name,
                "value": value,
                "remove": link_to(asked, drop=(name, value)),
            }
            for name, value, text in chosen.filters
        ],
        "units": units,
        "not_on_the_map": not_on_the_map(asked, chosen.kind),
        "all_codes": link_to(asked, activities_of="codes"),
        "outcomes": outcomes,
        "labels": sorted(chosen.whole.labels)[:2000],
        "cases": log.case_count,
        "all_cases": chosen.whole.case_count,
    }
    facts = _facts(asked, log, chosen.whole)
    if not log.case_count:
        return ViewModel(words("Pathways"), data, facts=facts)
    if tab == "cases":
        return ViewModel(words("Pathways"), data, (_case_table(asked, log),), facts=facts)
    found = map_of(asked, log)
    if tab == "statistics":
        tables, figures = _statistics(asked, log)
        return ViewModel(
            words("Pathways"),
            data,
            (*tables, _node_table(asked, found), _edge_table(asked, found)),
            figures,
            facts,
        )
    svg = p.draw_map(
        found,
        paths=chosen.paths,
        metric=metric,  # type: ignore[arg-type]
        words=words,
        link=lambda a, b: (
            link_to(asked, with_=a) if b is None else link_to(asked, step=f"{a} → {b}")
        ),
    )
    alt = words(
        "Map of %(activities)s activities in %(cases)s cases; the table below holds the same "
        "figures.",
        activities=words.count(found.nodes.height),
        cases=words.count(found.case_count),
    )
    return ViewModel(
        words("Pathways"),
        data,
        (_edge_table(asked, found), _node_table(asked, found)),
        {"map": Figure(svg, alt)},
        facts,
    )


def _statistics(asked: Asked, log: p.ActivityLog) -> tuple[tuple[Table, ...], dict[str, Figure]]:
    words = asked.words
    variants = p.find_variants(log)
    durations = p.throughput(log)
    summary = durations.summary
    known = int(summary["count"] or 0)
    rows = [
        {"what": title, "hours": _hours(asked, summary[name], known)}
        for name, title in (
            ("minimum", words("shortest")),
            ("p25", words("25th percentile")),
            ("median", words("median")),
            ("mean", words("mean")),
            ("p75", words("75th percentile")),
            ("p90", words("90th percentile")),
            ("maximum", words("longest")),
        )
        if name in summary
        # The shortest and the longest are each one patient's.
        and not (asked.sees_large_counts_only and name in ("minimum", "maximum"))
    ]
    times = Table(
        "durations",
        words("From the first to the last activity of a case"),
        (Column("what", words("cases")), Column("hours", words("time"), "hours")),
        rows,
    )
    top = variants.to_frame(MOST_VARIANTS)
    variant_table = Table(
        "variants",
        words(
            "The %(n)s most frequent of %(all)s variants",
            n=words.count(top.height),
            all=words.count(len(variants)),
        ),
        (
            Column("pathway", words("sequence")),
            Column("count", words("cases"), "number"),
            Column("share", words("share of cases"), "share"),
            Column("cumulative_share", words("cumulative share"), "share"),
            Column("median_hours", words("median"), "hours"),
        ),
        [
            {
                "pathway": " → ".join(row["pathway"][:25])
                + (" → …" if len(row["pathway"]) > 25 else ""),
                "count": row["count"],
                "share": row["share"],
                "cumulative_share": row["cumulative_share"],
                "median_hours": _hours(asked, row["median_seconds"], row["count"]),
            }
            for row in top.iter_rows(named=True)
        ],
    )
    rework = p.find_rework(log).to_frame().head(50)
    repeated = Table(
        "repeated",
        words("Activities repeated within a case"),
        (
            Column("activity", words("activity")),
            Column("repeats", words("repetitions"), "number"),
            Column("repeating_cases", words("cases that repeat it"), "number"),
            Column("share", words("share of its cases"), "share"),
        ),
        rework.to_dicts(),
    )
    tables = (variant_table, times, _activity_times(asked, log), repeated)
    if asked.sees_large_counts_only:
        return tables, {}  # a bar may be one patient
    chart = durations.to_chart()
    figure = Figure(
        drawn(chart, words),
        words("Histogram of the time from the first to the last activity of a case."),
    )
    return tables, {"durations": figure}


def _case_table(asked: Asked, log: p.ActivityLog) -> Table:
    words = asked.words
    begins, ends = log.offsets[:-1], log.offsets[1:] - 1
    first, last = log.time[begins], log.time[ends]
    frame = log.cases.select("case_id", "outcome", "units").with_columns(
        events=pl.Series(np.diff(log.offsets)),
        begin=pl.Series(first).cast(pl.Datetime("us", "UTC")),
        hours=pl.Series((last - first) / 3.6e9),
        known=pl.Series(first != p.log.MISSING_TIME),
    )
    limits = asked.viewer.units
    if limits is not None:
        seen = [
            any(asked.server.may_see(limits, unit) for unit in units or ())
            for units in frame["units"].to_list()
        ]
        frame = frame.filter(pl.Series(seen, dtype=pl.Boolean))
    longest = frame.sort("hours", descending=True, nulls_last=True).head(5000)
    return Table(
        "cases",
        words("Cases, the longest first"),
        (
            Column("case", words("case"), "code"),
            Column("begin", words("start"), "time"),
            Column("hours", words("duration"), "hours"),
            Column("events", words("events"), "number"),
            Column("outcome", words("outcome")),
        ),
        [
            {
                "case": row["case_id"],
                "begin": row["begin"] if row["known"] else None,
                "hours": row["hours"] if row["known"] else None,
                "events": row["events"],
                "outcome": row["outcome"],
                "_href": f"/pathways/case/{row['case_id']}?activities_of="
                + asked.choice("activities_of", KINDS, "units"),
            }
            for row in longest.iter_rows(named=True)
        ],
    )


def case(asked: Asked) -> ViewModel:
    """Show what happened in one case, in order."""
    words = asked.words
    log = whole_log(asked, asked.choice("activities_of", KINDS, "units"))
    wanted = asked.path["case"]
    found = log.cases.with_row_index("row").filter(pl.col("case_id") == wanted)
    if not found.height:
        message = "case: not in this log; found no case of that name; choose one from the list"
        raise NotFoundError(message)
    row = int(found["row"][0])
    touched = found["units"][0]
    units = tuple(touched.to_list()) if touched is not None else ()
    asked.server.refuse_other_units(asked.viewer, units)
    begin, end = int(log.offsets[row]), int(log.offsets[row + 1])
    times = log.time[begin:end]
    rows = []
    for place in range(begin, end):
        at, known = int(log.time[place]), int(log.time[place]) != p.log.MISSING_TIME
        before = int(times[place - begin - 1]) if place > begin else None
        rows.append(
            {
                "number": place - begin + 1,
                "activity": log.labels[int(log.activity[place])],
                "time": pl.Series([at]).cast(pl.Datetime("us", "UTC"))[0] if known else None,
                "hours": (at - before) / 3.6e9
                if known and before is not None and before != p.log.MISSING_TIME
                else None,
            }
        )
    subject = found["subject_id"][0]
    asked.server.audit(
        asked.viewer,
        "viewed",
        why="pathway of a case",
        subject=subject,
        stay=found["stay_id"][0],
    )
    table = Table(
        "timeline",
        words("What happened, in order"),
        (
            Column("number", words("number"), "number"),
            Column("activity", words("activity")),
            Column("time", words("time"), "time"),
            Column("hours", words("since the previous activity"), "hours"),
        ),
        rows,
    )
    return ViewModel(
        words("Case %(case)s", case=wanted),
        {
            "case": wanted,
            "subject": subject,
            "outcome": found["outcome"][0],
            "units": list(units),
            "patient": f"/patient/{subject}",
        },
        (table,),
    )


def add_to(pages: Pages) -> None:
    """Add the pages."""
    pages.add("/pathways", or_wait(pathways), template="pathways.html")
    pages.add("/pathways/compare", or_wait(compare), template="pathways_compare.html")
    pages.add("/pathways/case/{case}", or_wait(case), template="pathways_case.html")
