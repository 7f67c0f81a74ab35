"""The report: what was loaded, how good it is, pathways, census, stays.

One HTML file that asks nothing of the network and prints on A4. Every figure
stands with its denominator, what is missing from it, and the version of the
data and of the definition that it was made from.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import polars as pl

from neva.census import Census, Intervals, LengthOfStay, census, intervals_by, length_of_stay
from neva.events.checks import Checked, check_hospital, read_thresholds
from neva.events.schema import REASONS
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic
from neva.files.whole import write_whole
from neva.languages.english import duration, number, share
from neva.pathways import (
    ActivityFile,
    ActivityLog,
    ActivityMap,
    Variants,
    activity_log,
    default_activities,
    discover_map,
    draw_map,
    find_variants,
    keep_readable_activities,
    readable_share,
    throughput,
)
from neva.pathways.log import NO_UNIT
from neva.quality.measuring import MeasureRun
from neva.reports.charts import drawing as charts
from neva.reports.laying_out import templates_of
from neva.reports.pages import findings
from neva.reports.pages.quality import MOST_CASES, page

__all__ = ["Report", "make_report"]

#: The census of a report reaches this far back.
MOST_DAYS = 400


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report says, before it is laid out.

    Attributes
    ----------
    title : str
    snapshot : Snapshot
    made : datetime
        When, aware.
    notes : tuple of str
        Sentences that the reader must know (synthetic data, a cohort that is
        no hospital).
    log, map, variants
        The pathways.
    census, stays
        Where patients were, and how long.
    checks : Checked
        Data quality.
    findings : tuple of str
        The few sentences that matter.
    """

    title: str
    snapshot: Snapshot
    made: datetime
    notes: tuple[str, ...]
    activities: ActivityFile
    log: ActivityLog
    map: ActivityMap
    variants: Variants
    intervals: Intervals
    census: Census | None
    stays: LengthOfStay
    checks: Checked
    findings: tuple[str, ...]
    quality: tuple[MeasureRun, ...] = ()
    synthetic: bool = False
    cases: int = MOST_CASES

    def to_html(self) -> str:
        """Lay the report out as one self-contained HTML document."""
        environment = templates_of("neva.reports")
        environment.filters["number"] = number
        return environment.get_template("report.html").render(**_view(self))

    def write(self, path: Path) -> None:
        """Write the document to `path`, whole or not at all."""
        write_whole(path, self.to_html())


def make_report(
    snapshot: Snapshot,
    *,
    made: datetime,
    title: str = "Hospital report",
    activities: ActivityFile | None = None,
    by: str = "auto",
    states: tuple[str, ...] = (),
    thresholds: Path | None = None,
    notes: tuple[str, ...] = (),
    quality: tuple[MeasureRun, ...] = (),
    cases: int = MOST_CASES,
) -> Report:
    """Compute a report.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital, at a version and as known at a time.
    made : datetime
        Aware; printed on it.
    title : str
    activities : ActivityFile, optional
        What counts as an activity on the map; every code by default.
    by : {"auto", "unit", "kind", "state"}
        What the census counts by.
    states : tuple of str
        Codes of the states, with ``by="state"``.
    thresholds : Path, optional
        Thresholds of the data-quality checks.
    notes : tuple of str
        Printed at the top.
    quality : tuple of MeasureRun
        Measures that were run on the same snapshot.
    cases : int
        How many patients of each measure are explained; 0 for a report that
        leaves the hospital.

    Raises
    ------
    BadInputError
        There is nothing to report on.
    """
    chosen = activities or default_activities(snapshot)
    log = activity_log(snapshot, chosen)
    found_map = discover_map(keep_readable_activities(log))
    variants = find_variants(log)
    intervals = intervals_by(snapshot, by, states or None)
    counted = _census(intervals)
    stays = length_of_stay(intervals)
    checks = check_hospital(snapshot).judged(read_thresholds(thresholds))
    return Report(
        title=title,
        snapshot=snapshot,
        made=made,
        notes=notes,
        activities=chosen,
        log=log,
        map=found_map,
        variants=variants,
        intervals=intervals,
        census=counted,
        stays=stays,
        checks=checks,
        findings=findings.of(snapshot, log, found_map, variants, counted, stays, checks),
        quality=quality,
        synthetic=is_synthetic(snapshot),
        cases=cases,
    )


def _census(intervals: Intervals) -> Census | None:
    """Count by day, the last :data:`MOST_DAYS` at most; None where it would say nothing."""
    rows = intervals.frame
    if not rows.height:
        return census(intervals, every="1d")
    first = rows["start"].min()
    assert isinstance(first, datetime)
    days = (intervals.now - first).total_seconds() / 86_400
    spent = int((rows["end"] - rows["start"]).dt.total_seconds().sum()) / 86_400
    # Shifted dates spread patients over a century, where almost none meet.
    if rows["subject_id"].n_unique() >= 20 and spent / max(days, 1) < 0.5 and days > 1000:
        return None
    begin = max(first, intervals.now - timedelta(days=MOST_DAYS))
    return census(intervals, every="1d", first=begin)


def _view(report: Report) -> dict[str, Any]:
    """Turn a report into plain texts and numbers for the template."""
    snapshot = report.snapshot
    zone = snapshot.zone

    def local(moment: datetime | None) -> str:
        from zoneinfo import ZoneInfo

        return moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M") if moment else "–"

    return {
        "title": report.title,
        "notes": report.notes,
        "findings": report.findings,
        "hospital": snapshot.hospital,
        "version": snapshot.version,
        "identity": snapshot.identity,
        "as_of": local(snapshot.as_of) if snapshot.as_of else "all that is recorded",
        "now": local(snapshot.now),
        "zone": zone,
        "made": local(report.made),
        "neva": installed("neva"),
        "activities_name": report.activities.name,
        "activities_hash": report.activities.hash[:12],
        "activities": _activities(report.activities),
        "loaded": _loaded(snapshot, local),
        "checks": report.checks.rows(),
        "checks_summary": report.checks.summary(),
        "map_svg": draw_map(report.map),
        "edges": _edges(report.map),
        "edges_all": report.map.edges.height,
        "case_word": "stays" if report.log.case_kind == "stay" else "patients",
        "cases": report.log.case_count,
        "events": report.log.event_count,
        "left_out": [
            f"{number(count)} {why}" if why == NO_UNIT else f"{number(count)} events ({why})"
            for why, count in report.log.left_out.items()
            if count
        ],
        "ties": report.log.ties,
        "map_reduced": readable_share(report.log) < 1,
        "map_activities": report.map.nodes.height,
        "all_activities": len(report.log.labels),
        "variants": _variants(report.variants),
        "variants_all": len(report.variants.count),
        "throughput": _throughput(report.log),
        "census": _census_view(report.census),
        "placeless": report.intervals.placeless,
        "stays_svg": charts.to_svg(charts.still_there_chart(report.stays)),
        "stays": _length_of_stay_rows(report.stays),
        "stays_precision": report.stays.precision,
        "quality": [
            page(snapshot, run, synthetic=report.synthetic, cases=report.cases)
            for run in report.quality
        ],
    }


def _activities(file: ActivityFile) -> list[tuple[str, str]]:
    return [(activity.name, ", ".join(activity.codes)) for activity in file.activities]


def _loaded(snapshot: Snapshot, local: Any) -> dict[str, Any]:
    batches = snapshot.batches().sort("batch").collect()
    quarantine = (
        snapshot.quarantine()
        .group_by("table", "field", "reason")
        .len()
        .sort("len", "reason")
        .collect()
    )
    counts = {
        table: getattr(snapshot, table)().select(pl.len()).collect().item()
        for table in ("subjects", "stays", "movements", "events")
    }
    assumed = snapshot.events().select(pl.col("recorded_assumed").mean()).collect().item()
    subjects = snapshot.events().select(pl.col("subject_id").n_unique()).collect().item()
    return {
        "counts": counts,
        "subjects_with_events": subjects,
        "assumed": share(assumed),
        "batches": [
            {
                **row,
                "imported": local(row["imported"]),
                "sha256": row["sha256"][:12],
                "order": {
                    "column": "the source's order column",
                    "position": "the row's place in the file",
                    "none": "none (events of one time ordered by code and value)",
                }[row["order"]],
            }
            for row in batches.iter_rows(named=True)
        ],
        "refused": [
            {
                "table": table,
                "field": field or "–",
                "why": REASONS.get(reason, reason),
                "count": count,
            }
            for table, field, reason, count in quarantine.reverse().iter_rows()
        ],
        "refused_total": int(quarantine["len"].sum()),
    }


def _edges(found: ActivityMap, *, most: int = 15) -> list[dict[str, Any]]:
    return [
        {
            "source": row["source"],
            "target": row["target"],
            "frequency": row["frequency"],
            "cases": row["cases"],
            "median": duration(row["median"]),
            "p90": duration(row["p90"]),
        }
        for row in found.edges.head(most).iter_rows(named=True)
    ]


def _throughput(log: ActivityLog) -> dict[str, str]:
    summary = throughput(log).summary
    known = {"cases": number(summary["count"])}
    return known | {
        name: duration(summary[name]) for name in ("p25", "median", "p75", "p90", "mean")
    }


def _variants(variants: Variants, *, most: int = 10) -> list[dict[str, Any]]:
    return [
        {
            "pathway": _shortened(row["pathway"]),
            "count": row["count"],
            "share": share(row["share"]),
            "cumulative": share(row["cumulative_share"]),
            "median": duration(row["median_seconds"]),
        }
        for row in variants.to_frame(top=most).iter_rows(named=True)
    ]


def _shortened(steps: list[str], *, most: int = 14) -> str:
    if len(steps) > most:
        steps = [*steps[: most - 1], f"… {len(steps) - most + 1} more"]
    return " → ".join(steps)


def _census_view(counted: Census | None) -> dict[str, Any] | None:
    if counted is None:
        return None
    return {
        "svg": charts.to_svg(charts.census_chart(counted)),
        "what": counted.what,
        "lost_limit": share(counted.lost_limit, digits=0),
        "rows": _census_rows(counted),
        "greyed": not counted.frame["complete"].all(),
        "drawn": len(charts.COLOURS),
        "places": counted.frame["place"].n_unique(),
        "days": MOST_DAYS,
    }


def _census_rows(counted: Census, *, weeks: int = 12) -> list[dict[str, Any]]:
    """One row a week and place: the last weeks of the busiest places, for a page."""
    frame = counted.frame.with_columns(
        day=pl.col("time").dt.convert_time_zone(counted.zone).dt.date()
    )
    if not frame.height:
        return []
    busiest = charts.busiest(frame, "present", len(charts.COLOURS))
    first = pl.lit(frame["day"].min())
    weekly = (
        frame.filter(pl.col("place").is_in(busiest))
        .with_columns(week=(pl.col("day") - first).dt.total_days() // 7)
        .sort("place", "day")
    )
    by_place = weekly.group_by("week", "place", maintain_order=True).agg(
        pl.col("day").min(),
        peak=pl.col("present").max(),
        arrivals=pl.col("arrivals").sum(),
        departures=pl.col("departures").sum(),
        bed_days=pl.col("bed_days").sum(),
        complete=pl.col("complete").all(),
    )
    recent = by_place.filter(pl.col("week") > pl.col("week").max() - weeks)
    return [
        {**row, "bed_days": number(row["bed_days"], digits=0)}
        for row in recent.sort("week", "place").iter_rows(named=True)
    ]


def _length_of_stay_rows(stays: LengthOfStay) -> list[dict[str, Any]]:
    return [
        {
            key: (number(value, digits=1) if isinstance(value, float) else value)
            if value is not None
            else "not reached"
            for key, value in row.items()
        }
        for row in stays.frame.iter_rows(named=True)
    ]
