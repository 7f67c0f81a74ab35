"""``neva pathways``: what happens to patients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from neva.cli.console import AsOf, HospitalPath, Json, moment, snapshot_of, table, tell
from neva.errors import UsageError
from neva.files.whole import write_whole

__all__ = ["app"]

app = typer.Typer(help="What happens to patients: maps, paths, times.", no_args_is_help=True)

Activities = Annotated[
    Path | None, typer.Option(help="YAML file that says what counts as an activity")
]
Begin = Annotated[str | None, typer.Option("--from", metavar="TIME", help="cases started since")]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="cases started before")]
Unit = Annotated[list[str] | None, typer.Option(help="cases that were in one of these units")]
Outcome = Annotated[list[str] | None, typer.Option(help="cases with one of these outcomes")]
Contains = Annotated[list[str] | None, typer.Option(help="cases with one of these activities")]
Without = Annotated[list[str] | None, typer.Option(help="cases with none of these activities")]
VariantShare = Annotated[
    float | None, typer.Option(help="the most frequent paths that make up this share of cases")
]


def _log(
    hospital: Path,
    as_of: str | None,
    activities: Path | None,
    begin: str | None,
    until: str | None,
    unit: list[str] | None,
    outcome: list[str] | None,
    contains: list[str] | None,
    without: list[str] | None,
    variant_share: float | None,
) -> object:
    from datetime import UTC, datetime

    from neva import pathways as p

    _, snapshot = snapshot_of(hospital, as_of)
    log = p.activity_log(
        snapshot, p.read_activities(activities) if activities else p.default_activities(snapshot)
    )
    filters: list[p.Filter] = []
    if begin or until:
        first = moment(begin, snapshot.zone, "--from") or datetime(1, 1, 3, tzinfo=UTC)
        last = moment(until, snapshot.zone, "--until") or datetime(9999, 1, 1, tzinfo=UTC)
        filters.append(p.started_in(first, last))
    if unit:
        filters.append(p.touches_unit(*unit))
    if outcome:
        filters.append(p.outcome_is(*outcome))
    if contains:
        filters.append(p.contains(*contains))
    if without:
        filters.append(~p.contains(*without))
    log = p.keep_cases(log, *filters) if filters else log
    if variant_share is not None:
        log = p.keep_cases(log, p.variant_share(variant_share))
    if not log.case_count:
        message = "no case is left; found none that matches all filters; remove a filter"
        raise UsageError(message)
    return log


#: Statistics of the times of activities.
_HOW = ("median", "mean", "p90")


def _in_words(*columns: str) -> pl.Expr:
    """Format seconds for tables on the terminal."""
    from neva.languages.english import duration

    return pl.col(columns).map_elements(duration, return_dtype=pl.String, skip_nulls=False)


def _origin(log: object) -> str:
    hospital = getattr(log, "hospital", "")
    provenance = getattr(log, "provenance", ())
    return "; ".join([f"data {hospital}", *provenance])


@app.command("map")
def map_(
    hospital: HospitalPath,
    activities: Activities = None,
    svg: Annotated[Path | None, typer.Option(help="draw the map into this file")] = None,
    paths: Annotated[
        float | None, typer.Option(help="share of paths to draw, 0 to 1; readable by default")
    ] = None,
    drawn: Annotated[
        float | None,
        typer.Option(
            "--drawn", help="share of activities to draw, 0 to 1; the 30 most common by default"
        ),
    ] = None,
    as_of: AsOf = None,
    begin: Begin = None,
    until: Until = None,
    unit: Unit = None,
    outcome: Outcome = None,
    contains: Contains = None,
    without: Without = None,
    variant_share: VariantShare = None,
    as_json: Json = False,
) -> None:
    """Map which activity directly follows which, how often and after how long.

    Example: neva pathways map hospital --svg map.svg
    """
    from neva import pathways as p

    log = _log(
        hospital, as_of, activities, begin, until, unit, outcome, contains, without, variant_share
    )
    assert isinstance(log, p.ActivityLog)
    found = p.discover_map(log)
    note = ""
    if drawn is not None and not 0 < drawn <= 1:
        message = f"--drawn: a share is above 0 and at most 1; found {drawn}; write for example 0.5"
        raise UsageError(message)
    if svg is not None:
        few = (
            p.keep_readable_activities(log)
            if drawn is None
            else p.keep_most_common_activities(log, drawn)
        )
        picture = p.discover_map(few)
        write_whole(svg, p.draw_map(picture, paths=paths))
        if picture.nodes.height < found.nodes.height:
            note = (
                f"{svg}: drawn with the {picture.nodes.height} most common of "
                f"{found.nodes.height:,} activities; --drawn 1 draws all"
            )
    tell(
        as_json,
        found,
        lambda: "\n".join(
            [
                (
                    f"{found.case_count:,} cases, {found.event_count:,} events, "
                    f"{found.nodes.height} activities, {found.edges.height} paths ({_origin(log)})"
                ),
                *([note] if note else []),
                "",
                table(found.edges.with_columns(_in_words("median", "mean", "p90"))),
            ]
        ),
    )


@app.command()
def variants(
    hospital: HospitalPath,
    activities: Activities = None,
    top: Annotated[int, typer.Option(help="how many paths to list")] = 20,
    as_of: AsOf = None,
    begin: Begin = None,
    until: Until = None,
    unit: Unit = None,
    outcome: Outcome = None,
    contains: Contains = None,
    without: Without = None,
    variant_share: VariantShare = None,
    as_json: Json = False,
) -> None:
    """List the paths that cases take, the most frequent first.

    Example: neva pathways variants hospital --top 10
    """
    from neva.pathways import ActivityLog, find_variants

    log = _log(
        hospital, as_of, activities, begin, until, unit, outcome, contains, without, variant_share
    )
    assert isinstance(log, ActivityLog)
    found = find_variants(log)
    frame = found.to_frame(top=top)
    content = {
        "cases": log.case_count,
        "variants": len(found.count),
        "hospital": log.hospital,
        "filters": log.provenance,
        "top": frame,
    }
    shown = frame.with_columns(
        pl.col("pathway").list.join(" → "), _in_words("median_seconds").alias("median")
    ).drop("median_seconds")
    tell(
        as_json,
        content,
        lambda: (
            f"{len(found.count):,} paths in {log.case_count:,} cases ({_origin(log)})\n\n"
            + table(shown, rows=top)
        ),
    )


@app.command("activities")
def activities_(
    hospital: HospitalPath,
    activities: Activities = None,
    as_of: AsOf = None,
    begin: Begin = None,
    until: Until = None,
    unit: Unit = None,
    outcome: Outcome = None,
    contains: Contains = None,
    without: Without = None,
    variant_share: VariantShare = None,
    as_json: Json = False,
) -> None:
    """Measure the duration of activities and the waiting time before them.

    Example: neva pathways activities hospital
    """
    from neva.pathways import ActivityLog, activity_times

    log = _log(
        hospital, as_of, activities, begin, until, unit, outcome, contains, without, variant_share
    )
    assert isinstance(log, ActivityLog)
    found = activity_times(log)
    content = {"activities": found, "hospital": log.hospital, "filters": log.provenance}

    def text() -> str:
        measured = [f"{what}_{how}" for what in ("processing", "waiting") for how in _HOW]
        return "\n".join(
            [
                f"{log.case_count:,} cases, {log.event_count:,} events ({_origin(log)})",
                "waiting runs from the end of everything before; without an end, from its start",
                "",
                table(found.with_columns(_in_words(*measured)), rows=200),
            ]
        )

    tell(as_json, content, text)


@app.command()
def times(
    hospital: HospitalPath,
    start: Annotated[str | None, typer.Argument(help="activity at which the clock starts")] = None,
    end: Annotated[str | None, typer.Argument(help="activity at which it stops")] = None,
    activities: Activities = None,
    within: Annotated[float | None, typer.Option(help="count those within so many hours")] = None,
    as_of: AsOf = None,
    begin: Begin = None,
    until: Until = None,
    unit: Unit = None,
    outcome: Outcome = None,
    contains: Contains = None,
    without: Without = None,
    variant_share: VariantShare = None,
    as_json: Json = False,
) -> None:
    """Measure the duration of cases, or from the first of one activity to the first of another.

    Example: neva pathways times hospital "ER Sepsis Triage" "IV Antibiotics" --within 1
    """
    from neva.pathways import ActivityLog, throughput, time_between

    log = _log(
        hospital, as_of, activities, begin, until, unit, outcome, contains, without, variant_share
    )
    assert isinstance(log, ActivityLog)
    if (start is None) != (end is None):
        message = "times: one activity alone has no duration; found one; give both, or none"
        raise UsageError(message)
    found = throughput(log) if start is None or end is None else time_between(log, start, end)
    content: dict[str, Any] = {
        "what": found.what,
        "counts": found.counts,
        "seconds": found.summary,
        "hospital": log.hospital,
        "filters": log.provenance,
    }
    if within is not None:
        content["within_hours"] = within
        content["within"] = found.within(within * 3600)

    def text() -> str:
        from neva.languages.english import duration, share

        lines = [f"{found.what} ({_origin(log)})", ""]
        lines += [f"{name:>22} {count:>10,}" for name, count in found.counts.items()]
        lines += [
            f"{name:>22} {duration(value):>10}"
            for name, value in found.summary.items()
            if name != "count"
        ]
        if within is not None:
            count = found.within(within * 3600)
            known = len(found.known)
            part = f" ({share(count / known)})" if known else ""
            lines.append(f"within {within:g} h: {count:,} of {known:,} with both{part}")
        return "\n".join(lines)

    tell(as_json, content, text)


@app.command()
def rework(
    hospital: HospitalPath, activities: Activities = None, as_of: AsOf = None, as_json: Json = False
) -> None:
    """Show activities that are repeated within a case, and loops.

    Example: neva pathways rework hospital
    """
    from neva.pathways import ActivityLog, find_rework

    log = _log(hospital, as_of, activities, None, None, None, None, None, None, None)
    assert isinstance(log, ActivityLog)
    found = find_rework(log)
    tell(as_json, {"rework": found.to_frame()}, lambda: table(found.to_frame()))


@app.command()
def compare(
    hospital: HospitalPath,
    contains: Annotated[str, typer.Option(help="compare cases with this activity to the others")],
    activities: Activities = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Compare the map of cases with an activity to that of the others.

    Example: neva pathways compare hospital --contains "Admission IC"
    """
    from neva.pathways import ActivityLog, compare_maps, discover_map, keep_cases
    from neva.pathways import contains as with_activity

    log = _log(hospital, as_of, activities, None, None, None, None, None, None, None)
    assert isinstance(log, ActivityLog)
    there = keep_cases(log, with_activity(contains))
    others = keep_cases(log, ~with_activity(contains))
    found = compare_maps(discover_map(there), discover_map(others))
    tell(
        as_json,
        {"with": there.case_count, "others": others.case_count, "paths": found.to_frame()},
        lambda: (
            f"a: {there.case_count:,} cases with {contains}; b: {others.case_count:,} others\n\n"
            + table(found.to_frame())
        ),
    )
