"""``neva flow simulate``, ``neva flow compare`` and ``neva flow calibrate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from neva.cli.console import AsOf, Json, moment, now, progress, table, tell
from neva.errors import UsageError
from neva.events.hospital import Hospital, open_hospital
from neva.events.synthetic import SYNTHETIC_NOTE, is_synthetic
from neva.languages.english import part

if TYPE_CHECKING:
    from neva.flow import Agreement, FittedHospital
    from neva.flow.simulation.calibration import Calibrated

__all__ = ["add_to"]

HospitalPath = Annotated[Path, typer.Argument(metavar="HOSPITAL", help="folder of the hospital")]
Days = Annotated[float, typer.Option(help="how many days to simulate")]
Seed = Annotated[int, typer.Option(help="the same seed, the same patients")]
Replications = Annotated[int, typer.Option(help="how often the same days are simulated")]
CheckDays = Annotated[
    int, typer.Option(help="last days to check the simulation against; 0: no check")
]
Out = Annotated[Path | None, typer.Option(metavar="FILE.html", help="write a page too")]
#: Said wherever simulated figures are shown.
NO_PROMISE = (
    "simulated from records of the past: what would happen if everything else stayed the same"
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(simulate)
    app.command()(compare)
    app.command()(calibrate)


@dataclass(frozen=True, slots=True)
class _Base:
    """The hospital as it is, ready to simulate."""

    store: Hospital
    fitted: FittedHospital
    synthetic: bool


def _base(path: Path, as_of: str | None) -> _Base:
    from neva.flow import fit_hospital, known_sojourns

    store = open_hospital(path)
    at = moment(as_of, store.settings.zone, "--as-of")
    known = known_sojourns(store, at, by="unit")
    snapshot = store.snapshot(as_of=at)
    return _Base(store, fit_hospital(snapshot, known), is_synthetic(snapshot))


def _check(base: _Base, as_of: str | None, days: int, seed: int) -> tuple[Calibrated | None, str]:
    """Compare with the last days; where that cannot be done, say why."""
    from neva.flow import calibrate as compare_with_past

    if not days:
        return None, "not checked against the past (--check-days 0)"
    at = moment(as_of, base.store.settings.zone, "--as-of")
    try:
        return compare_with_past(base.store, days=days, at=at, seed=seed), ""
    except UsageError as error:
        return None, f"not checked against the past: {error}"


def _compared(base: _Base, seed: int) -> tuple[Agreement | None, str]:
    """Compare the hospital as it is with its forecast; where that cannot be done, say why."""
    from neva.flow import hospital_agreement

    try:
        return hospital_agreement(base.store, base.fitted, seed=seed), ""
    except UsageError as error:
        return None, str(error)


def _checked_words(checked: Calibrated | None, why: str) -> list[str]:
    if checked is None:
        return [why]
    whole = checked.covered.filter(unit="all").row(0, named=True)
    stays = checked.stays
    return [
        (
            f"checked on {whole['days']} days held out from fitting: patients at noon lay "
            f"within the simulated 5 % to 95 % on {part(whole['share'])} of days (all units "
            f"together); the median stay of {int(stays['inside'].sum())} of {stays.height} units "
            "lay within theirs"
        )
    ]


def simulate(
    hospital: HospitalPath,
    scenario: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="scenario file; the hospital as it is by default"),
    ] = None,
    days: Days = 14,
    replications: Annotated[
        int | None, typer.Option(help="how often; by default 30, or what --width needs")
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(
            metavar="FIGURE[:UNIT]=WIDTH", help="half of the interval wanted: occupied_beds=0.5"
        ),
    ] = None,
    warm_up_days: Annotated[float, typer.Option(help="days simulated before counting")] = 0,
    as_of: AsOf = None,
    seed: Seed = 1,
    log: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="write one replication as a hospital of its own"),
    ] = None,
    check_days: CheckDays = 14,
    as_json: Json = False,
) -> None:
    """Simulate the hospital from its present patients on, with its beds.

    Example: neva flow simulate synthetic-hospital --days 2 --replications 3
    """
    from neva.flow import apply_scenario, event_log, read_scenario, write_hospital
    from neva.flow import simulate as simulated
    from neva.reports.pages.flow_agreement import agreement_words

    base = _base(hospital, as_of)
    model, name = base.fitted.model, "as it is"
    if scenario is not None:
        read = read_scenario(scenario)
        model, name = apply_scenario(read, model), read.name
    half = None if width is None else _half_width(width)
    start, zone = base.fitted.sojourns.now, base.fitted.sojourns.zone
    with progress("simulating") as update:
        run = simulated(
            model, start=start, days=days, seed=seed, zone=zone, replications=replications,
            half_width=half, warm_up_days=warm_up_days, log=log is not None, progress=update,
        )  # fmt: skip
    if log is not None:
        write_hospital(event_log(run, 0), log, zone=zone, now=now())
    checked, why = _check(base, as_of, check_days, seed)
    agreement, not_compared = _compared(base, seed)
    figures = run.to_frame()
    content = {
        "synthetic": base.synthetic,
        "scenario": name,
        "start": start,
        "days": days,
        "replications": run.replications,
        "width_reached": run.width_reached,
        "seed": seed,
        "identity": base.fitted.sojourns.identity,
        "notes": base.fitted.notes,
        "figures": figures,
        "occupancy": run.occupancy(every="1d"),
        "exits": run.exits(),
        "check": checked,
        "check_note": why,
        "agreement": agreement,
        "agreement_note": not_compared,
        "hospital": log,
    }

    def text() -> str:
        wide = figures.filter(pl.col("figure").is_in(_SHOWN)).pivot(
            on="figure", index="unit", values="mean", maintain_order=True
        )
        lines = [
            f"{name}: {run.replications} replications of {days:g} days from {start.isoformat()}",
            f"({base.fitted.sojourns.identity}; seed {seed})",
            NO_PROMISE,
            *([SYNTHETIC_NOTE] * base.synthetic),
            "",
            table(wide, rows=100),
            "",
            *(_width_words(run.width_reached, run.width_asked)),
            *_checked_words(checked, why),
            *agreement_words(agreement, not_compared),
            *(f"note: {note}" for note in base.fitted.notes),
        ]
        return "\n".join([*lines, *([f"hospital: {log}"] if log is not None else [])])

    tell(as_json, content, text)


_SHOWN = (
    "occupied_beds",
    "staffed_beds",
    "full_share",
    "waited_share",
    "wait_hours",
    "boarding_hours_per_day",
    "refused",
    "cancelled",
)


def _width_words(reached: bool | None, asked: float | None) -> list[str]:
    if reached is None:
        return []
    return [f"the width of {asked:g} was {'' if reached else 'NOT '}reached"]


def _half_width(text: str) -> Any:
    from neva.flow.simulation.simulate import HalfWidth

    name, _, number = text.partition("=")
    figure, _, unit = name.partition(":")
    try:
        return HalfWidth(figure=figure, unit=unit or None, width=float(number))
    except ValueError as error:
        message = f"--width: cannot be read; found {text!r}; write occupied_beds:icu=0.5"
        raise UsageError(message) from error


def compare(
    hospital: HospitalPath,
    scenario: Annotated[
        list[Path], typer.Option(metavar="FILE.yaml", help="scenario file; may be repeated")
    ],
    days: Days = 14,
    replications: Replications = 50,
    warm_up_days: Annotated[float, typer.Option(help="days simulated before counting")] = 0,
    as_of: AsOf = None,
    seed: Seed = 1,
    unit: Annotated[
        str | None, typer.Option(help="search the beds of this unit for --service as well")
    ] = None,
    service: Annotated[
        float, typer.Option(help="share of patients who get a bed of --unit at once")
    ] = 0.95,
    check_days: CheckDays = 14,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Compare scenarios with the hospital as it is: the same patients, paired differences.

    Example: neva flow compare synthetic-hospital --scenario scenario.yaml --replications 5
    """
    from neva.flow import BASE, apply_scenario, beds_for_service, read_scenario, refusal_by_pool
    from neva.flow import compare as compared
    from neva.reports.pages.flow_agreement import agreement_words

    base = _base(hospital, as_of)
    models = {BASE: base.fitted.model}
    for file in scenario:
        read = read_scenario(file)
        if read.name in models:
            message = (
                f"{file}: two scenarios of one name; found {read.name!r} twice; name them apart"
            )
            raise UsageError(message)
        models[read.name] = apply_scenario(read, base.fitted.model)
    start, zone = base.fitted.sojourns.now, base.fitted.sojourns.zone
    with progress("simulating") as update:
        made = compared(
            models, start=start, days=days, seed=seed, zone=zone, replications=replications,
            warm_up_days=warm_up_days, progress=update,
        )  # fmt: skip
    search = None
    if unit is not None:
        search = beds_for_service(
            base.fitted.model, unit, start=start, days=days, seed=seed, zone=zone,
            target=service, replications=replications, warm_up_days=warm_up_days,
        )  # fmt: skip
    checked, why = _check(base, as_of, check_days, seed)
    agreement, not_compared = _compared(base, seed)
    if out is not None:
        from neva.reports.pages.flow import comparison_page

        comparison_page(
            made, checked=checked, check_note=why, agreement=agreement,
            agreement_note=not_compared, search=search, fitted=base.fitted, made=now(),
            synthetic=base.synthetic,
        ).write(out)  # fmt: skip
    content = {
        "synthetic": base.synthetic,
        "start": start,
        "days": days,
        "replications": replications,
        "seed": seed,
        "identity": base.fitted.sojourns.identity,
        "notes": base.fitted.notes,
        "comparison": made.frame,
        "search": search,
        "pools": refusal_by_pool(),
        "check": checked,
        "check_note": why,
        "agreement": agreement,
        "agreement_note": not_compared,
        "page": out,
    }

    def text() -> str:
        differing = made.frame.filter(pl.col("difference").is_not_null()).sort(
            "scenario", pl.col("unit").is_not_null(), maintain_order=True
        )
        kept = ["scenario", "unit", "figure", "mean", "difference", "difference_lower"]
        shown = differing.filter(pl.col("differs") | pl.col("unit").is_null())
        lines = [
            (
                f"{replications} replications of {days:g} days from {start.isoformat()}, the same "
                "patients in each scenario"
            ),
            f"({base.fitted.sojourns.identity}; seed {seed})",
            NO_PROMISE,
            *([SYNTHETIC_NOTE] * base.synthetic),
            "",
            f"differences from {BASE!r}, with 95 % intervals; units without any are left out",
            "",
            table(shown.select(*kept, "difference_upper", "differs"), rows=200),
            "",
            *(_search_words(search) if search is not None else []),
            *_checked_words(checked, why),
            *agreement_words(agreement, not_compared),
            *(f"note: {note}" for note in base.fitted.notes),
        ]
        return "\n".join([*lines, *([f"page: {out}"] if out is not None else [])])

    tell(as_json, content, text)


def _search_words(search: Any) -> list[str]:
    if search.beds is None:
        return [f"{search.unit}: no number of beds tried serves {part(search.target)} at once"]
    return [
        f"{search.unit}: {search.beds} beds serve {part(search.target)} of patients at once",
        "",
        table(search.tried),
        "",
    ]


def calibrate(
    hospital: HospitalPath,
    days: Annotated[int, typer.Option(help="last days that are held out")] = 14,
    replications: Replications = 40,
    as_of: AsOf = None,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Simulate the last days from before them, and compare with what was recorded.

    Example: neva flow calibrate synthetic-hospital --days 7
    """
    from neva.flow import calibrate as compare_with_past

    store = open_hospital(hospital)
    at = moment(as_of, store.settings.zone, "--as-of")
    with progress("simulating") as update:
        made = compare_with_past(
            store, days=days, at=at, replications=replications, seed=seed, progress=update
        )
    synthetic = is_synthetic(store.snapshot(as_of=at))

    def text() -> str:
        return "\n".join(
            [
                (
                    f"{made.start.isoformat()} to {made.end.isoformat()}, {made.replications} "
                    f"replications ({made.identity})"
                ),
                *([SYNTHETIC_NOTE] * synthetic),
                "",
                "patients at noon within the simulated 5 % to 95 %",
                table(made.covered),
                "",
                "stays that began and ended within these days, in hours",
                table(made.stays),
                "",
                "moves: recorded shares and simulated ones",
                table(made.paths, rows=20),
                "",
                *(f"note: {note}" for note in made.notes),
            ]
        )

    tell(as_json, {"synthetic": synthetic, "calibration": made}, text)
