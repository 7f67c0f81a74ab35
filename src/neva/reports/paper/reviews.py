"""Printed sheets of reviews: deaths of a period, and measures with their charts for a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import polars as pl
from markupsafe import Markup, escape

from neva.definitions.documents import Measure
from neva.errors import UsageError
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic
from neva.quality.charts.icons import AssuranceIcon, VariationIcon
from neva.quality.charts.spc import ControlChart
from neva.quality.disclosure import Spacing, shared_figure, shared_periods
from neva.quality.figures import figures
from neva.quality.measuring import MeasureRun
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.quality import About, control_chart
from neva.reports.charts.quality_icons import icon_svg
from neva.reports.pages.quality import FEWEST_PERIODS, about, chart_of, natural_period
from neva.reports.paper.sheet import Column, Paper, Part, Sheet
from neva.statistics.disclosure import WITHHELD

__all__ = ["board_report_sheet", "deaths_of", "mortality_sheet"]

_DEATHS: Final = ("died", "dead", "death", "deceased", "expired")
#: More stays than this are a list, not a review.
MOST_DEATHS: Final = 200


def deaths_of(snapshot: Snapshot, first: datetime, last: datetime) -> pl.DataFrame:
    """Return the stays that ended with a death in ``[first, last)``.

    Returns
    -------
    polars.DataFrame
        ``stay_id``, ``subject_id``, ``start``, ``end``, ``kind``, ``source``,
        ``days``; by end. A death after discharge is not here.
    """
    return (
        snapshot.stays()
        .filter(
            pl.col("end") >= pl.lit(first, dtype=TIME),
            pl.col("end") < pl.lit(last, dtype=TIME),
            pl.col("outcome").str.to_lowercase().is_in(_DEATHS),
        )
        .select("stay_id", "subject_id", "start", "end", "kind", "source")
        .collect()
        .with_columns(days=(pl.col("end") - pl.col("start")).dt.total_microseconds() / 86_400e6)
        .sort("end", "stay_id")
    )


def _courses(snapshot: Snapshot, stays: pl.DataFrame, paper: Paper) -> dict[int, list[str]]:
    titles = {
        unit: name or unit
        for unit, name in snapshot.units().select("unit", "name").collect().iter_rows()
    }
    rows = (
        snapshot.movements()
        .filter(pl.col("stay_id").is_in(stays["stay_id"].implode()), pl.col("unit").is_not_null())
        .select("stay_id", "start", "unit", "movement_id")
        .collect()
        .sort("stay_id", "start", "movement_id")
    )
    found: dict[int, list[str]] = {}
    for stay, start, unit, _ in rows.iter_rows():
        found.setdefault(stay, []).append(f"{paper.time(start)}  {titles.get(unit, unit)}")
    return found


def _summaries(snapshot: Snapshot, stays: pl.DataFrame) -> pl.DataFrame:
    """Diagnoses, and by day how many events; of these stays only."""
    described = snapshot.codes().select("code", "description").collect()
    events = (
        snapshot.events()
        .filter(pl.col("subject_id").is_in(stays["subject_id"].unique().implode()))
        .select("subject_id", "stay_id", "time", "code", "status")
        .collect()
        .filter(pl.col("stay_id").is_in(stays["stay_id"].implode()), pl.col("status") == "done")
        .join(described, on="code", how="left")
        .with_columns(label=pl.coalesce("description", "code"))
    )
    marks = pl.col("code").str.starts_with("CARE//") | pl.col("code").str.starts_with("NEVA//")
    return (
        events.sort("stay_id", "time", "code")
        .group_by("stay_id", maintain_order=True)
        .agg(
            events=pl.len(),
            diagnoses=pl.col("label")
            .filter(pl.col("code").str.starts_with("ICD10//"))
            .unique()
            .sort(),
            care=pl.struct("time", "label").filter(marks),
        )
    )


def _first_of_each(care: Sequence[dict[str, Any]] | None, paper: Paper, most: int) -> list[str]:
    """The first time of each kind of care, in order."""
    seen: dict[str, datetime] = {}
    for row in care or ():
        seen.setdefault(row["label"], row["time"])
    lines = [f"{paper.time(time)} {label}" for label, time in seen.items()]
    left = len(lines) - most
    return lines if left <= 0 else [*lines[:most], paper.words("and %(n)s more", n=left)]


def mortality_sheet(
    snapshot: Snapshot,
    first: datetime,
    last: datetime,
    *,
    paper: Paper,
    made: datetime,
    runs: Sequence[MeasureRun] = (),
    cards: pl.DataFrame | None = None,
) -> Sheet:
    """Lay out a pack for mortality review: each death in hospital of a period, on its page.

    Parameters
    ----------
    snapshot : Snapshot
    first, last : datetime
        Aware; deaths in ``[first, last)``.
    paper : Paper
    made : datetime
        Aware.
    runs : sequence of MeasureRun
        Whose failed measures are named.
    cards : polars.DataFrame, optional
        What was raised: ``stay_id``, ``time``, ``title`` (of a replay, or of the
        log of cards). None: not asked, and the sheet says so.

    Raises
    ------
    UsageError
        More deaths than a review holds: the period is too long.
    """
    words = paper.words
    stays = deaths_of(snapshot, first, last)
    if stays.height > MOST_DEATHS:
        message = (
            f"mortality review: too many deaths for one pack; found {stays.height}, at most "
            f"{MOST_DEATHS}; give a shorter period"
        )
        raise UsageError(message)
    discharged = (
        snapshot.stays()
        .filter(
            pl.col("end") >= pl.lit(first, dtype=TIME), pl.col("end") < pl.lit(last, dtype=TIME)
        )
        .select(pl.len())
        .collect()
        .item()
    )
    courses = _courses(snapshot, stays, paper)
    summaries = {row["stay_id"]: row for row in _summaries(snapshot, stays).iter_rows(named=True)}
    failed: dict[int, list[str]] = {}
    asked: dict[int, int] = {}
    for run in runs:
        titles = {one.id: one.title or one.id for one in run.measures}
        decided = run.cases.filter(
            pl.col("stay_id").is_in(stays["stay_id"].implode()),
            pl.col("status").is_in(["met", "failed"]),
        )
        for stay, measure, status in decided.select("stay_id", "measure", "status").iter_rows():
            asked[stay] = asked.get(stay, 0) + 1
            if status == "failed":
                failed.setdefault(stay, []).append(titles[measure])
    raised: dict[int, list[str]] = {}
    if cards is not None:
        mine = cards.filter(pl.col("stay_id").is_in(stays["stay_id"].implode())).sort("time")
        for stay, time, title in mine.select("stay_id", "time", "title").iter_rows():
            raised.setdefault(stay, []).append(f"{paper.time(time)} {title}")
    columns = (Column(words("what"), "strong", 22), Column(words("record"), share=78))
    parts: list[Part] = []
    for row in stays.iter_rows(named=True):
        stay = row["stay_id"]
        found = summaries.get(stay, {"events": 0, "diagnoses": [], "care": []})
        parts.append(
            Part(
                title=words("Died %(time)s after %(days)s days", time=paper.time(row["end"]),
                            days=words.number(row["days"], digits=1)),
                columns=columns,
                rows=(
                    (words("patient"), paper.who(row["subject_id"])),
                    (words("admitted"), f"{paper.time(row['start'])} ({row['source'] or '–'})"),
                    (words("course"), "\n".join(courses.get(stay, [])) or "–"),
                    (words("diagnoses"), "\n".join(found["diagnoses"]) or "–"),
                    (
                        words("timeline, first of each (%(n)s events)", n=found["events"]),
                        "\n".join(_first_of_each(found["care"], paper, 18)) or "–",
                    ),
                    (
                        words("measures not met, of %(n)s decided", n=asked.get(stay, 0)),
                        "\n".join(failed.get(stay, [])) or words("none"),
                    ),
                    (
                        words("cards raised"),
                        words("not evaluated")
                        if cards is None
                        else "\n".join(raised.get(stay, [])) or words("none"),
                    ),
                    (words("reviewer's judgement"), "\n\n\n"),
                    (words("learning and actions"), "\n\n\n"),
                ),
                on_new_page=bool(parts),
            )
        )  # fmt: skip
    if not parts:
        parts = [Part(title=words("Deaths"), empty=words("None in this period."))]
    return Sheet(
        title=words("Mortality review, %(first)s to %(last)s", first=paper.whole_time(first),
                    last=paper.whole_time(last)),
        lead=(
            words("%(n)s deaths in hospital of %(of)s stays that ended in the period.",
                  n=stays.height, of=discharged),
        ),
        warnings=(),
        parts=tuple(parts),
        made=made,
        of=snapshot.now,
        identity=snapshot.identity,
        definitions="; ".join(run.programme for run in runs),
        synthetic=is_synthetic(snapshot),
        paper=paper,
    )  # fmt: skip


def _icons_in_words(paper: Paper) -> dict[str, str]:
    words = paper.words
    return {
        "common-cause": words("common cause"),
        "improvement-high": words("improvement, high"),
        "improvement-low": words("improvement, low"),
        "concern-high": words("concern, high"),
        "concern-low": words("concern, low"),
        "neutral-high": words("special cause, high"),
        "neutral-low": words("special cause, low"),
        "pass": words("will meet the target"),
        "fail": words("will miss the target"),
        "hit-or-miss": words("hit or miss"),
    }


def _icon(name: VariationIcon | AssuranceIcon | None, titles: dict[str, str]) -> str:
    """The icon with its meaning beside it; the drawing is our own, the words are escaped."""
    if name is None:
        return "–"
    return Markup(icon_svg(name, size=22)) + escape(" " + titles[name])


def _shared_chart(
    run: MeasureRun, measure: Measure, every: Spacing, row: Mapping[str, Any]
) -> ControlChart | None:
    if WITHHELD in (row["denominator"], row["met"]):
        return None
    part, spacing = shared_periods(run, measure, finest=every)
    return chart_of(part.run, measure, every=spacing)


def _figure_cells(
    measure: Measure, row: Mapping[str, Any], description: About, paper: Paper
) -> tuple[str, str, str, str, str]:
    """Write a measure's name, value, interval, counts, and what was not counted."""
    words = paper.words
    unsaid = words("not shown: few patients")

    def count(value: Any) -> str:
        return unsaid if value == WITHHELD else words.number(value)

    def write(value: float | str | None) -> str:
        if isinstance(value, str):
            return unsaid
        return words.share(value) if description.percent else words.number(value, digits=1)

    continuous = measure.observation is not None
    found = row["median"] if continuous else row["rate"]
    limits = "–"
    if not {None, WITHHELD} & {found, row["low"], row["high"]}:
        limits = f"{write(row['low'])} – {write(row['high'])}"
    if row["denominator"] == WITHHELD:
        counts = unsaid
    elif continuous:
        counts = words("%(n)s cases (median)", n=count(row["denominator"]))
    else:
        counts = words("%(met)s of %(of)s", met=count(row["met"]), of=count(row["denominator"]))
    return (
        description.measure,
        write(found),
        limits,
        counts,
        words(
            "%(excluded)s, %(pending)s, %(unknown)s",
            excluded=count(row["excluded"]),
            pending=count(row["pending"]),
            unknown=count(row["unknown"]),
        ),
    )


def board_report_sheet(
    snapshot: Snapshot,
    runs: Sequence[MeasureRun],
    *,
    paper: Paper,
    made: datetime,
    small_counts: bool = True,
) -> Sheet:
    """Lay out measures for a board: value, interval, counts, icons in words, control chart.

    Parameters
    ----------
    snapshot : Snapshot
        The one that the runs were made from.
    runs : sequence of MeasureRun
        Of all stays, not of open ones only.
    paper : Paper
    made : datetime
        Aware.
    small_counts : bool
        Show counts from 1 to 4; else they, and what would give them away, are
        withheld: for roles that see no patients.
    """
    words = paper.words
    synthetic = is_synthetic(snapshot)
    icon_titles = _icons_in_words(paper)
    parts: list[Part] = []
    for run in runs:
        whole, every = figures(run).frame, natural_period(run)
        rows: list[tuple[str, ...]] = []
        charts: list[tuple[str, str]] = []
        for measure in run.measures:
            row: dict[str, Any] = (
                whole.row(by_predicate=pl.col("measure") == measure.id, named=True)
                if small_counts
                else shared_figure(run, measure)
            )
            chart = (
                chart_of(run, measure, every=every)
                if small_counts
                else _shared_chart(run, measure, every, row)
            )
            description = about(run, measure, synthetic=synthetic, language=paper.words.code)
            if chart is not None and not small_counts:
                periods = [str(one)[:7] for one in chart.frame["period"]]
                description = replace(description, period=f"{periods[0]} – {periods[-1]}")
            enough = chart is not None and chart.frame.height >= FEWEST_PERIODS
            rows.append(
                (
                    *_figure_cells(measure, row, description, paper),
                    _icon(chart.variation, icon_titles) if enough and chart is not None
                    else words("too few periods"),
                    _icon(chart.assurance, icon_titles) if enough and chart is not None else "–",
                )
            )  # fmt: skip
            if enough and chart is not None:
                charts.append((to_svg(control_chart(chart, description)), description.measure))
        parts.append(
            Part(
                title=run.programme or words("Measures"),
                columns=(
                    Column(words("measure"), "strong", 30),
                    Column(words("value"), "number"),
                    Column(words("95 percent interval"), "number"),
                    Column(words("numerator / denominator"), "number"),
                    Column(words("excluded, in progress, unknown"), "number"),
                    Column(words("variation"), share=14),
                    Column(words("against the target"), share=11),
                ),
                rows=tuple(rows),
                notes=(
                    words(
                        "A rate is the cases met out of those whose clock has closed. Variation "
                        "summarises the last point of the control chart."
                    ),
                ),
                on_new_page=bool(parts),
            )
        )
        parts += [Part(title=title, svgs=((svg, title),)) for svg, title in charts]
    return Sheet(
        title=words("Treatment quality for the board, %(time)s",
                    time=paper.whole_time(snapshot.now)),
        lead=(),
        warnings=(),
        parts=tuple(parts),
        made=made,
        of=snapshot.now,
        identity=snapshot.identity,
        definitions="; ".join(run.programme for run in runs),
        synthetic=synthetic,
        paper=paper,
        names_patients=False,
    )  # fmt: skip
