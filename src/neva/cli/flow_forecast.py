"""``neva flow forecast`` and ``neva flow evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer

from neva.cli.console import AsOf, Json, moment, now, progress, table, tell
from neva.errors import UsageError
from neva.events.hospital import open_hospital
from neva.events.synthetic import SYNTHETIC_NOTE, is_synthetic
from neva.languages.english import part

if TYPE_CHECKING:
    from neva.flow.forecast.evaluation import Evaluation
    from neva.flow.stays.sojourns import Sojourns

__all__ = ["add_to"]

HospitalPath = Annotated[Path, typer.Argument(metavar="HOSPITAL", help="folder of the hospital")]
By = Annotated[str, typer.Option(help="unit or state; auto takes what the hospital has")]
States = Annotated[
    list[str] | None, typer.Option("--state", help="code of a state (with --by state)")
]
Holidays = Annotated[
    str | None, typer.Option(help="country whose public holidays count: RU, US-IA, …")
]
Model = Annotated[
    str, typer.Option(help="of arrivals: negative-binomial, gradient-boosting, or an installed one")
]
Out = Annotated[Path | None, typer.Option(metavar="FILE.html", help="write a page too")]
#: Past origins whose errors widen a forecast.
LOOK_BACK = 7


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(forecast)
    app.command()(evaluate)


def forecast(
    hospital: HospitalPath,
    by: By = "auto",
    states: States = None,
    hours: Annotated[int, typer.Option(help="horizon of the forecast, in hours")] = 168,
    as_of: AsOf = None,
    holidays: Holidays = None,
    model: Model = "negative-binomial",
    look_back: Annotated[
        int, typer.Option(help="earlier days whose forecast errors widen the intervals; 0: none")
    ] = LOOK_BACK,
    entries: Annotated[
        bool,
        typer.Option(
            "--entries/--no-entries",
            help="use expected discharges and bed requests, weighted by how far they came true",
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="of what is drawn")] = 1,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Forecast the number of patients in each place, with uncertainty: the morning bed report.

    Example: neva flow forecast synthetic-hospital --hours 24 --look-back 1
    """
    from neva.census import units_above
    from neva.flow import bed_report, beds_at, forecast_hospital

    store = open_hospital(hospital)
    at = moment(as_of, store.settings.zone, "--as-of")
    with progress("looking back") as update:
        made = forecast_hospital(
            store,
            at,
            by=by,
            states=states,
            hours=hours,
            country=holidays,
            model=model,
            look_back=look_back,
            entries=entries,
            seed=seed,
            progress=lambda done, _: update(done),
        )
    snapshot = store.snapshot(as_of=at)
    beds = beds_at(snapshot, made.issued) if made.what == "patients by unit" else {}
    report = bed_report(made, beds, above=units_above(snapshot))
    synthetic = is_synthetic(snapshot)
    if out is not None:
        from neva.reports.pages.flow import forecast_page

        forecast_page(report, made=now(), synthetic=synthetic).write(out)
    content = {
        "synthetic": synthetic,
        "issued": made.issued,
        "identity": made.identity,
        "what": made.what,
        "notes": made.notes,
        "report": report.frame,
        "short": report.short(),
        "forecast": made.to_frame(),
        "entries": made.reliability,
        "page": out,
    }

    def text() -> str:
        zone = made.zone
        local = report.frame.with_columns(
            pl.col("time").dt.convert_time_zone(zone).dt.replace_time_zone(None)
        )
        lines = [
            f"{made.what}, from {_local(made.issued, zone)}, local time of {zone}",
            f"({made.identity})",
            *([SYNTHETIC_NOTE] if synthetic else []),
            "",
            table(local, rows=200),
            "",
        ]
        lines += [
            f"beds may run short: {row['place']}, from {_local(row['time'], zone)} on "
            f"(chance up to {part(row['worst'])})"
            for row in report.short().iter_rows(named=True)
        ]
        if made.reliability is not None:
            lines += ["", "Entries, and how often they came true:"]
            lines += [table(made.reliability, rows=20), ""]
        lines += [
            *(f"note: {note}" for note in made.notes),
            "capacity is not considered: these are patients who need a place",
        ]
        if out is not None:
            lines.append(f"page: {out}")
        return "\n".join(lines)

    tell(as_json, content, text)


def _local(time: datetime, zone: str) -> str:
    from zoneinfo import ZoneInfo

    return time.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def evaluate(
    hospital: Annotated[
        Path,
        typer.Argument(metavar="HOSPITAL|FILE.csv", help="folder of the hospital, or counts"),
    ],
    by: By = "auto",
    states: States = None,
    arrivals: Annotated[
        bool, typer.Option("--arrivals", help="evaluate daily arrivals, not numbers present")
    ] = False,
    first: Annotated[
        str | None,
        typer.Option(metavar="DAY", help="first day evaluated; four weeks back by default"),
    ] = None,
    last: Annotated[str | None, typer.Option(metavar="DAY", help="last origin")] = None,
    horizons: Annotated[
        str, typer.Option(help="horizons in hours; whole days for arrivals")
    ] = "24,72,168",
    clock: Annotated[int, typer.Option(help="local hour of the day of the origins")] = 8,
    holidays: Holidays = None,
    model: Model = "negative-binomial",
    ets: Annotated[
        bool, typer.Option("--ets", help="evaluate exponential smoothing too (arrivals; slow)")
    ] = False,
    hourly: Annotated[
        bool, typer.Option("--hourly", help="evaluate hourly arrivals, not daily ones")
    ] = False,
    columns: Annotated[
        str, typer.Option(help="columns of a file of counts")
    ] = "day=day,count=count",
    zone: Annotated[str, typer.Option(help="time zone of a file of counts")] = "UTC",
    seed: Annotated[int, typer.Option(help="of what is drawn")] = 1,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Evaluate past forecasts against what was observed, compared with fixed baselines.

    Example: neva flow evaluate synthetic-hospital --first 2020-04-06 --last 2020-04-08
    """
    ahead = _horizons(horizons)
    with progress("judging") as update:

        def tick(done: int, _: int) -> None:
            update(done)

        if hospital.is_file():
            judged, synthetic = _judge_counts(
                hospital, columns, zone, first, ahead, holidays, model, ets, hourly, seed, tick
            )
        else:
            judged, synthetic = _hospital(
                hospital, by, states, arrivals, first, last, ahead, clock, holidays, model, ets,
                hourly, seed, tick,
            )  # fmt: skip
    if out is not None:
        from neva.reports.pages.flow import evaluation_page

        evaluation_page(judged, made=now(), synthetic=synthetic).write(out)
    content = {
        "synthetic": synthetic,
        "identity": judged.identity,
        "what": judged.what,
        "summary": judged.summary(),
        "skills": judged.skills(),
        "refused": judged.refused.group_by("place", "reason").len().sort("place", "reason"),
        "notes": judged.notes,
        "page": out,
    }

    def text() -> str:
        chosen = [
            "place", "horizon_hours", "model", "occasions", "crps", "noise_floor", "coverage50",
            "coverage90", "width90", "mae", "bias",
        ]  # fmt: skip
        skills = judged.skills()
        lines = [
            f"{judged.what} ({judged.identity})",
            *([SYNTHETIC_NOTE] if synthetic else []),
            "",
            table(judged.summary().select(chosen), rows=400),
        ]
        if skills.height:
            kept = ["place", "horizon_hours", "baseline", "skill", "skill_low", "skill_high"]
            lines += ["", table(skills.select(*kept, "better", "worse"), rows=400)]
        if judged.refused.height:
            lines += ["", "not judged:", table(content["refused"])]  # type: ignore[arg-type]
        lines += [f"note: {note}" for note in judged.notes]
        if out is not None:
            lines.append(f"page: {out}")
        return "\n".join(lines)

    tell(as_json, content, text)


def _horizons(text: str) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 1:
        message = f"--horizons: must be hours, separated by commas; found {text!r}; give 24,72,168"
        raise UsageError(message)
    return found


def _day(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        message = f"{option}: not a day; found {text!r}; write 2020-05-01"
        raise UsageError(message) from error


def _days_ahead(ahead: list[int]) -> list[int]:
    if any(hours % 24 for hours in ahead):
        message = (
            f"--horizons: arrivals are judged by whole days; found {', '.join(map(str, ahead))} "
            "hours; give multiples of 24"
        )
        raise UsageError(message)
    return [hours // 24 for hours in ahead]


def _judge_counts(
    file: Path,
    columns: str,
    zone: str,
    first: str | None,
    ahead: list[int],
    country: str | None,
    model: str,
    ets: bool,
    hourly: bool,
    seed: int,
    tick: Callable[[int, int], None],
) -> tuple[Evaluation, bool]:
    from neva.flow import evaluate_arrivals, holidays_of, read_counts

    named = dict(part.partition("=")[::2] for part in columns.split(","))
    wrong = sorted(set(named) - {"day", "hour", "count"})
    if wrong:
        message = f"--columns: no such column: {', '.join(wrong)}; give day=…,hour=…,count=…"
        raise UsageError(message)
    series = read_counts(file, **named, zone=zone)
    begin = _day(first, "--first") or series.today - timedelta(days=28)
    held = holidays_of(country, series.first, series.today) if country else None
    judged = evaluate_arrivals(
        series,
        first=begin,
        ahead=_days_ahead(ahead),
        holidays=held,
        model=model,
        with_ets=ets,
        hourly=hourly,
        seed=seed,
        identity=file.name,
        progress=tick,
    )
    return judged, False


def _hospital(
    path: Path,
    by: str,
    states: list[str] | None,
    arrivals: bool,
    first: str | None,
    last: str | None,
    ahead: list[int],
    clock: int,
    country: str | None,
    model: str,
    ets: bool,
    hourly: bool,
    seed: int,
    tick: Callable[[int, int], None],
) -> tuple[Evaluation, bool]:
    from neva.census import units_above
    from neva.events.clock import first_moment
    from neva.flow import (
        arrivals_of,
        evaluate_arrivals,
        evaluate_flow,
        holidays_of,
        known_sojourns,
    )
    from neva.flow.forecast.entry_history import history_of_origins

    store = open_hospital(path)
    snapshot = store.snapshot()
    synthetic = is_synthetic(snapshot)
    truth = known_sojourns(store, by=by, states=states)
    series = arrivals_of(truth)
    begin = _day(first, "--first") or series.today - timedelta(days=28 + max(ahead) // 24)
    end = _day(last, "--last") or series.today
    held = holidays_of(country, series.first, series.today + timedelta(14)) if country else None
    if arrivals:
        return evaluate_arrivals(
            series, first=begin, ahead=_days_ahead(ahead), holidays=held, model=model,
            with_ets=ets, hourly=hourly, seed=seed, identity=snapshot.identity, progress=tick,
        ), synthetic  # fmt: skip
    step = 24 if truth.precision == "day" else 1
    days = (end - begin).days + 1
    origins = [
        first_moment(begin + timedelta(days=k), truth.zone) + timedelta(hours=clock)
        for k in range(days)
    ]
    origins = [origin for origin in origins if origin <= truth.now + timedelta(days=1)]

    def known_at(origin: datetime) -> Sojourns:
        return known_sojourns(store, origin, by=by, states=states)

    judged = evaluate_flow(
        known_at,
        truth,
        origins=origins,
        horizons=[hours // step for hours in ahead if hours % step == 0],
        above=units_above(snapshot),
        holidays=held,
        model=model,
        history=None if truth.precision == "day" else history_of_origins(store, origins),
        seed=seed,
        progress=tick,
    )
    return judged, synthetic
