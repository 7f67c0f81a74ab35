"""``neva quality``: measures, their charts, and the explanation for one patient."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import polars as pl
import typer

from neva.cli.console import AsOf, HospitalPath, Json, now, snapshot_of, table, tell
from neva.errors import UsageError
from neva.events.snapshot import Snapshot
from neva.files.whole import write_whole
from neva.languages.english import number, share

__all__ = ["app"]

app = typer.Typer(
    help="Quality of care: measures, charts and patient lists.",
    no_args_is_help=True,
)

Programme = Annotated[
    str, typer.Option(help="name of an installed programme: covid19, sepsis, stroke")
]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="a setting of the programme"),
]
Every = Annotated[str, typer.Option(help="all, week, month, quarter or year")]
Ask = Annotated[list[str] | None, typer.Option("--measure", metavar="ID", help="only this measure")]


def settings_of(snapshot: Snapshot, programme: str, given: list[str] | None) -> dict[str, Any]:
    """Read settings; where a source has cases but no stays, patients are counted."""
    import inspect
    from importlib.metadata import entry_points

    found: dict[str, Any] = {}
    for text in given or ():
        name, mark, value = text.partition("=")
        if not mark:
            message = f"--set: must be NAME=VALUE; found {text!r}; write --set name=value"
            raise UsageError(message)
        found[name.strip().replace("-", "_")] = value.strip()
    points = {point.name: point for point in entry_points(group="neva.programmes")}
    if programme in points and "each" not in found:
        takes = inspect.signature(points[programme].load()).parameters
        if "each" in takes and not snapshot.stays().head(1).collect().height:
            found["each"] = "subject"
    return found


def run_of(
    hospital: Path,
    as_of: str | None,
    programme: str,
    given: list[str] | None,
    measures: list[str] | None = None,
    engine: str = "relational",
) -> tuple[Snapshot, Any]:
    """Run the requested measures, and keep their definitions with the hospital."""
    from neva.definitions.programme import load_programme
    from neva.definitions.record import record_definitions
    from neva.quality import run_measures

    if engine not in ("relational", "reference"):
        message = f"--engine: must be relational or reference; found {engine!r}; choose one"
        raise UsageError(message)
    opened, snapshot = snapshot_of(hospital, as_of)
    loaded = load_programme(programme, **settings_of(snapshot, programme, given))
    chosen = [loaded.document(name) for name in measures] if measures else None
    run = run_measures(
        snapshot, loaded, only=chosen, engine=cast(Literal["relational", "reference"], engine)
    )
    record_definitions(opened, run.measures, now=now())
    return snapshot, run


@app.command()
def measure(
    hospital: HospitalPath,
    programme: Programme,
    measures: Ask = None,
    every: Every = "all",
    first: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="cases placed from this day on")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="cases placed before this day")
    ] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="unit, or a stratifier such as age-group")
    ] = None,
    given: Setting = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="cases whose clock still runs")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="write figures as CSV, small cells suppressed")
    ] = None,
    fhir: Annotated[
        Path | None, typer.Option(help="write FHIR Measure and MeasureReport into this folder")
    ] = None,
    smallest: Annotated[int, typer.Option(help="smallest count that --out may show")] = 5,
    engine: Annotated[str, typer.Option(help="relational, or reference for few patients")] = (
        "relational"
    ),
    show_sql: Annotated[bool, typer.Option("--show-sql", help="print the plan instead")] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Run the measures of a programme.

    Example: neva quality measure hospital --programme sepsis
    """
    from neva.quality import exclusion_counts, figures, suppressed

    if show_sql:
        tell(as_json, *_plan(hospital, as_of, programme, given, measures))
        return
    _known(every)
    period = _day(first, "--from"), _day(until, "--until")
    snapshot, whole = run_of(hospital, as_of, programme, given, measures, engine)
    run = whole.between(*period) if any(period) else whole
    found = figures(run, every=cast(Any, every), by=by or ())
    if out is not None:
        _write(suppressed(found, below=smallest), out, run)
    if fhir is not None:
        if any(period) and not all(period):
            message = "--fhir: a report has both ends of its period; give --from and --until"
            raise UsageError(message)
        _write_fhir(snapshot, whole, fhir, cast(Any, period) if all(period) else None)
    if pending:
        waiting = run.pending()
        tell(
            as_json,
            waiting,
            lambda: (
                f"{waiting.height:,} open clocks at {run.now.isoformat()}\n\n"
                + table(_local(waiting, run.zone))
            ),
        )
        return
    content = {
        "programme": run.programme,
        "settings": dict(run.settings),
        "now": run.now,
        "from": period[0],
        "until": period[1],
        "undated": _undated(whole),
        "identity": run.identity,
        "engine": run.engine,
        "figures": found.frame,
        "exclusions": {one.id: exclusion_counts(run, one.id) for one in run.measures},
        "outside": run.outside,
        "errors": run.errors.group_by("reason").len(),
        "definitions": run.hashes,
        "sources": run.sources,
        "refused": run.refused,
        "synthetic": _is_synthetic(snapshot),
    }
    tell(as_json, content, lambda: _figures_text(snapshot, run, found, _of_period(whole, period)))


def _day(text: str | None, option: str) -> date | None:
    """Read a day of the hospital's calendar."""
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = f"{option}: is a day; found {text!r}; write it as 2024-03-31"
        raise UsageError(message) from None


def _undated(run: Any) -> int:
    return int(run.cases["placed"].null_count())


def _of_period(run: Any, period: tuple[date | None, date | None]) -> str:
    """Say which days the cases are from, and how many have none."""
    if not any(period):
        return ""
    words = [f"from {period[0]}"] if period[0] else []
    words += [f"before {period[1]}"] if period[1] else []
    return (
        f"cases placed {' and '.join(words)} only; "
        f"{_undated(run):,} cases without a time are in no period"
    )


def _is_synthetic(snapshot: Snapshot) -> bool:
    from neva.events.synthetic import is_synthetic

    return is_synthetic(snapshot)


def _known(every: str) -> None:
    if every not in ("all", "week", "month", "quarter", "year"):
        message = f"--every: must be all, week, month, quarter or year; found {every!r}; choose one"
        raise UsageError(message)


def _local(frame: pl.DataFrame, zone: str) -> pl.DataFrame:
    return frame.with_columns(
        pl.col(name).dt.convert_time_zone(zone).dt.replace_time_zone(None)
        for name, dtype in frame.schema.items()
        if dtype == pl.Datetime
    )


def _write(frame: pl.DataFrame, path: Path, run: Any) -> None:
    written = frame.with_columns(
        data=pl.lit(run.identity),
        definition=pl.col("measure").replace_strict(run.hashes, default=None),
    )
    write_whole(path, written.write_csv())


def _write_fhir(
    snapshot: Snapshot, run: Any, folder: Path, period: tuple[date, date] | None
) -> None:
    from neva.quality.fhir.report import write_reports

    write_reports(run, snapshot, folder, period=period)


def _plan(
    hospital: Path,
    as_of: str | None,
    programme: str,
    given: list[str] | None,
    measures: list[str] | None,
) -> tuple[Any, str]:
    from neva.definitions.programme import load_programme
    from neva.definitions.run import plan_of
    from neva.quality.measuring import outputs_of

    _, snapshot = snapshot_of(hospital, as_of)
    loaded = load_programme(programme, **settings_of(snapshot, programme, given))
    chosen = [loaded.document(name) for name in measures] if measures else list(loaded.measures)
    text = plan_of(snapshot, outputs_of(chosen)).to_sql()
    return {"sql": text}, text


def _two_decimals(value: float | None) -> str:
    return number(value, 2)


def _figure_row(row: dict[str, Any], one: Any, found: Any) -> dict[str, Any]:
    """Write the figures of a measure, by period and group if requested."""
    continuous = one.observation is not None
    write = _two_decimals if continuous else share
    value = row["median"] if continuous else row["rate"]
    cells = {"measure": row["measure"]}
    if found.every != "all":
        cells["period"] = str(row["period"] or "undated")
    if "unit" in found.by:
        cells["unit"] = row["unit"] or "–"
    if any(name != "unit" for name in found.by):
        cells["group"] = row["stratum"] or "unknown"
    return cells | {
        "value": write(value),
        "95 % interval": "–" if value is None else f"{write(row['low'])} to {write(row['high'])}",
        "met": f"{row['met']:,}" if not continuous else "median",
        "of": f"{row['denominator']:,}",
        "excluded": row["excluded"],
        "pending": row["pending"],
        "unknown": row["unknown"],
        "treated": f"{row['treated_met']:,} of {row['treated']:,}"
        if one.treated is not None
        else "",
        "not treated": f"{row['denominator'] - row['treated']:,}"
        if one.treated is not None
        else "",
        "before clock": str(row["before_clock"]) if one.interval is not None else "",
    }


def _figures_text(snapshot: Snapshot, run: Any, found: Any, of_period: str) -> str:
    rows = [
        _figure_row(row, run.measure(row["measure"]), found)
        for row in found.frame.iter_rows(named=True)
    ]
    lines = [
        f"{run.programme}, asked at {run.now.isoformat(timespec='minutes')} ({run.identity})",
        *([of_period] if of_period else []),
        *(["synthetic data"] if _is_synthetic(snapshot) else []),
        *(
            ["the source has cases but no stays: patients are counted"]
            if run.settings.get("each") == "subject"
            else []
        ),
        "",
        table(pl.DataFrame(rows), rows=200),
        "",
        "value: met of closed clocks; a median for continuous measures. Exact 95 % intervals.",
        f"not evaluated, the record contradicts itself: {run.errors.height:,}",
        f"rows in quarantine: {run.refused:,}",
    ]
    assumed = {name: one.assumed for name, one in run.sources.items() if one.assumed}
    if assumed:
        lines.append(
            "the recording time is assumed for up to "
            f"{share(max(assumed.values()))} of the rows behind a measure"
        )
    dated = [name for name, one in run.sources.items() if one.dates_only]
    if dated:
        lines.append(f"dates without time of day, hours cannot be trusted: {', '.join(dated)}")
    return "\n".join(lines)


@app.command()
def chart(
    hospital: HospitalPath,
    programme: Programme,
    name: Annotated[str, typer.Option("--measure", metavar="ID", help="which measure")],
    out: Annotated[Path, typer.Option(help="the SVG or PNG file to write")],
    kind: Annotated[str, typer.Option(help="control, funnel or units")] = "control",
    every: Every = "month",
    target: Annotated[float | None, typer.Option(help="target, 0-1 for shares")] = None,
    baseline: Annotated[
        int | None, typer.Option(help="limits from so many first periods only")
    ] = None,
    rebase: Annotated[
        list[str] | None, typer.Option(help="first day of a period from which limits start anew")
    ] = None,
    language: Annotated[str, typer.Option(help="en or ru")] = "en",
    given: Setting = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Draw a measure over time, as a funnel, or by unit.

    Example: neva quality chart hospital --programme sepsis
        --measure antibiotics-1-hour-from-triage --out chart.svg
    """
    from neva.errors import NotFoundError
    from neva.languages.language import LANGUAGES
    from neva.reports.charts.drawing import to_svg
    from neva.reports.charts.quality import control_chart, funnel_chart, interval_chart
    from neva.reports.pages.quality import about, chart_of, funnel_of, units_of

    if kind not in ("control", "funnel", "units") or language not in LANGUAGES:
        message = (
            "--kind is control, funnel or units, and --language en or ru; "
            f"found {kind!r} and {language!r}; choose from these"
        )
        raise UsageError(message)
    _known(every)
    snapshot, run = run_of(hospital, as_of, programme, given, [name])
    one = run.measure(name)
    description = about(run, one, synthetic=_is_synthetic(snapshot), language=language)
    frame: pl.DataFrame | None = None
    drawing: dict[str, Any] | None = None
    if kind == "control":
        made = chart_of(
            run,
            one,
            every=cast(Any, "month" if every == "all" else every),
            target=target,
            baseline=baseline,
            rebase_at=_dates(rebase),
        )
        if made is not None:
            frame, drawing = made.frame, control_chart(made, description)
    elif kind == "funnel":
        funnel = funnel_of(run, one)
        if funnel is not None:
            frame, drawing = funnel.frame, funnel_chart(funnel, description)
    else:
        units = units_of(run, one)
        if units.height:
            frame, drawing = units, interval_chart(units, description, reference=target)
    if drawing is None or frame is None:
        message = (
            f"measure {one.id}: nothing to draw; found {run.of(one.id).height} cases in too few "
            "periods or units; try another --kind or --every"
        )
        raise NotFoundError(message)
    _draw(drawing, out, to_svg)
    tell(
        as_json,
        {"written": out, "data": frame, "specification": drawing},
        lambda: table(_local(frame, run.zone)) + f"\n\nchart: {out}",
    )


def _dates(texts: list[str] | None) -> list[Any]:
    from datetime import date

    try:
        return [date.fromisoformat(text) for text in texts or ()]
    except ValueError:
        message = f"--rebase: must be dates; found {', '.join(texts or ())}; write 2021-04-01"
        raise UsageError(message) from None


def _draw(drawing: dict[str, Any], out: Path, to_svg: Any) -> None:
    if out.suffix == ".svg":
        write_whole(out, to_svg(drawing))
    elif out.suffix == ".png":
        import vl_convert

        write_whole(out, vl_convert.vegalite_to_png(drawing, scale=2))
    else:
        message = f"--out: must end in .svg or .png; found {out.name!r}; rename it"
        raise UsageError(message)


@app.command()
def explain(
    hospital: HospitalPath,
    programme: Programme,
    name: Annotated[str, typer.Option("--measure", metavar="ID", help="which measure")],
    subject: Annotated[
        list[int] | None, typer.Option(help="pseudonym of a patient, as in --pending or below")
    ] = None,
    status: Annotated[
        str | None, typer.Option(help="list the cases of a status instead, with their pseudonyms")
    ] = None,
    given: Setting = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Show the patients behind a figure, and why a patient has a status.

    Example: neva quality explain hospital --programme sepsis
        --measure antibiotics-1-hour-from-triage --status failed
    """
    from neva.quality import decisions

    if not subject and status is None:
        message = "explain: name patients with --subject, or list them with --status failed"
        raise UsageError(message)
    snapshot, run = run_of(hospital, as_of, programme, given, [name])
    if status is not None:
        cases = run.of(name).filter(pl.col("status") == status)
        shown = cases.select("subject_id", "stay_id", "unit", "placed", "due", "interval", "value")
        tell(
            as_json,
            cases,
            lambda: f"{cases.height:,} cases {status}\n\n" + table(_local(shown, run.zone)),
        )
        return
    found = decisions(snapshot, run, name, subjects=subject or [])

    def text() -> str:
        parts = []
        for one in found:
            parts.append(f"{one.measure}: {one.status}")
            parts.append(f"patient {one.subject_id}, stay {one.stay_id or '–'}")
            parts += [f"  {part}: {_value_text(value)}" for part, value in one.parts.items()]
            parts.append(table(_local(one.events.drop("event_id"), run.zone)))
            parts.append("")
        return "\n".join(parts)

    tell(as_json, found, text)


def _value_text(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
