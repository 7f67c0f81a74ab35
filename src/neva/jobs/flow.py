"""Forecasts, their past accuracy, and scenarios, as plain data."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

from neva.census import units_above
from neva.errors import UsageError
from neva.events.clock import first_moment
from neva.events.hospital import Hospital
from neva.events.synthetic import is_synthetic
from neva.files.whole import write_whole
from neva.flow import (
    BASE,
    FittedHospital,
    OccupancyForecast,
    apply_scenario,
    arrivals_of,
    bed_report,
    beds_at,
    compare,
    evaluate_flow,
    fit_hospital,
    forecast_document,
    forecast_hospital,
    hospital_agreement,
    known_sojourns,
    read_forecast_document,
)
from neva.flow.forecast.entry_history import history_of_origins
from neva.flow.forecast.moves_ahead import MovesAhead
from neva.flow.simulation.scenarios import scenario_of

__all__ = ["evaluation", "forecast", "read_forecast", "read_moves", "save_forecast", "what_if"]

Progress = Callable[[int, int, str], None]

#: From so many earlier days errors are learnt.
LOOK_BACK: Final = 5
#: So many mornings are judged.
JUDGED_DAYS: Final = 14
HORIZONS: Final = (24, 72)


def save_forecast(made: OccupancyForecast, path: Path) -> None:
    """Write a forecast as JSON."""
    write_whole(path, json.dumps(forecast_document(made)), private=True)


def read_forecast(path: Path) -> OccupancyForecast:
    """Read a forecast back."""
    return read_forecast_document(json.loads(path.read_text(encoding="utf-8")))


def read_moves(path: Path) -> MovesAhead:
    """Read expected arrivals and departures back."""
    return MovesAhead.from_document(json.loads(path.read_text(encoding="utf-8")))


def forecast(
    hospital: Hospital, at: datetime, *, progress: Progress | None = None
) -> tuple[dict[str, Any], OccupancyForecast]:
    """Forecast the patients per place for a week.

    Parameters
    ----------
    hospital : Hospital
    at : datetime
        Aware; nothing later is used.
    progress : callable, optional

    Returns
    -------
    content : dict
        Per place: quantiles by hour, beds, the chance of more patients than beds.
    made : OccupancyForecast
    """
    tick = None if progress is None else (lambda done, of: progress(done, of, "forecast"))
    made = forecast_hospital(hospital, at, look_back=LOOK_BACK, progress=tick)
    snapshot = hospital.snapshot(as_of=at)
    report = bed_report(made, beds_at(snapshot, made.issued), above=units_above(snapshot))
    frame = made.to_frame()
    short = {row["place"]: row for row in report.short().iter_rows(named=True)}
    places = []
    for place in made.places:
        mine = frame.filter(pl.col("place") == place)
        beds = report.beds.get(place)
        worst = short.get(place)
        places.append(
            {
                "place": place,
                "present": int(made.present[made.places.index(place)]),
                "beds": beds,
                **{name: mine[name].round(4).to_list() for name in mine.columns if name[0] in "qm"},
                "beyond": None
                if beds is None
                else [round(float(one), 5) for one in made.beyond(place, beds)],
                "short_from": None if worst is None else worst["time"].isoformat(),
                "worst": None if worst is None else worst["worst"],
            }
        )
    content = {
        "issued": made.issued.isoformat(),
        "times": [time.isoformat() for time in made.times],
        "step_hours": made.step_hours,
        "what": made.what,
        "notes": list(made.notes),
        "identity": made.identity,
        "places": places,
        "entries": None if made.reliability is None else made.reliability.to_dicts(),
        "synthetic": is_synthetic(snapshot),
    }
    return content, made


def evaluation(
    hospital: Hospital, at: datetime, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Judge the forecasts of the last mornings beside fixed baselines.

    Returns
    -------
    dict
        ``summary`` (place, horizon, model, CRPS, coverage …), ``skills``,
        ``refused`` by reason.
    """
    truth = known_sojourns(hospital, at)
    step = 24 if truth.precision == "day" else 1
    today = arrivals_of(truth).today
    days = [today - timedelta(days=back) for back in range(JUDGED_DAYS + 3, 0, -1)]
    mornings = [first_moment(day, truth.zone) + timedelta(hours=8) for day in days]
    origins = [one for one in mornings if one <= truth.now]
    judged = evaluate_flow(
        lambda origin: known_sojourns(hospital, origin),
        truth,
        origins=origins,
        horizons=[hours // step for hours in HORIZONS],
        above=units_above(hospital.snapshot(as_of=at)),
        history=None if step == 24 else history_of_origins(hospital, origins),
        progress=None if progress is None else (lambda done, of: progress(done, of, "evaluation")),
    )
    return {
        "what": judged.what,
        "identity": judged.identity,
        "ours": judged.ours,
        "notes": list(judged.notes),
        "summary": judged.summary().to_dicts(),
        "skills": judged.skills().to_dicts(),
        "refused": judged.refused.group_by("place", "reason").len().sort("place").to_dicts(),
        "synthetic": is_synthetic(hospital.snapshot(as_of=at)),
    }


def what_if(
    hospital: Hospital,
    at: datetime,
    texts: list[str],
    *,
    days: int = 14,
    replications: int = 30,
    seed: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare scenarios with the hospital as it is, with the same patients.

    Parameters
    ----------
    hospital : Hospital
    at : datetime
        Aware; the simulation starts from who is there then.
    texts : list of str
        Scenarios as YAML.
    days, replications, seed : int
    progress : callable, optional

    Returns
    -------
    dict
        ``rows``: figures of each scenario with intervals, and paired
        differences from the hospital as it is; ``agreement``: that hospital
        beside its forecast, or why there is none in ``agreement_note``.
    """
    known = known_sojourns(hospital, at, by="unit")
    snapshot = hospital.snapshot(as_of=at)
    fitted = fit_hospital(snapshot, known)
    models = {BASE: fitted.model}
    for text in texts:
        scenario = scenario_of(text)
        if scenario.name in models:
            message = "scenario: two of one name; found the same name twice; give each its own name"
            raise UsageError(message)
        models[scenario.name] = apply_scenario(scenario, fitted.model)
    many = len(models) * replications
    made = compare(
        models,
        start=known.now,
        days=days,
        seed=seed,
        zone=known.zone,
        replications=replications,
        progress=None if progress is None else (lambda done: progress(done, many, "simulation")),
    )
    compared, not_compared = _agreement(hospital, fitted, seed, progress)
    return {
        "base": BASE,
        "scenarios": list(models),
        "start": known.now.isoformat(),
        "days": days,
        "replications": replications,
        "seed": seed,
        "identity": known.identity,
        "notes": list(fitted.notes),
        "rows": made.frame.to_dicts(),
        "agreement": compared,
        "agreement_note": not_compared,
        "synthetic": is_synthetic(snapshot),
    }


def _agreement(
    hospital: Hospital, fitted: FittedHospital, seed: int, progress: Progress | None
) -> tuple[dict[str, Any] | None, str]:
    """The hospital as it is beside its forecast; where there is none, why."""
    tick = None if progress is None else (lambda done, of: progress(done, of, "forecast"))
    try:
        made = hospital_agreement(hospital, fitted, seed=seed, progress=tick)
    except UsageError as error:
        return None, str(error)
    rows = made.frame.with_columns(pl.col("time").map_elements(_iso, return_dtype=pl.String))
    return {"replications": made.replications, "rows": rows.to_dicts()}, ""


def _iso(time: datetime) -> str:
    return time.isoformat()
