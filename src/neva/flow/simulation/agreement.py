"""Whether the forecast and the simulation of one hospital agree, and if not, why.

Both are learnt from the same sojourns and look ahead from the same time. The forecast
follows patients exactly and does not consider beds; the simulation draws them one by
one and lets beds limit, block and divert. Their difference is decomposed by swapping
one part at a time, so that the parts add up to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from neva.census import units_above
from neva.errors import UsageError
from neva.events.hospital import Hospital
from neva.events.schema import TIME, Columns
from neva.flow.forecast.forecast import FlowModel, OccupancyForecast, fit_flow
from neva.flow.forecast.outlook import forecast_hospital
from neva.flow.forecast.rolling import members_of
from neva.flow.simulation._expected import expected_numbers, incoming_of
from neva.flow.simulation.hospital_fit import FittedHospital
from neva.flow.simulation.hospital_model import HospitalModel
from neva.flow.simulation.simulate import simulate
from neva.flow.simulation.simulation_run import SimulationRun
from neva.statistics.distributions import quantiles

__all__ = ["HORIZONS", "PARTS", "Agreement", "agreement", "hospital_agreement"]

Floats = npt.NDArray[np.float64]

#: Hours ahead at which they are compared, as far as the forecast reaches.
HORIZONS: Final = (12, 24, 72, 168)
#: The parts of a difference, and what they say.
PARTS: Final = {
    "arrivals": "more come, or fewer",
    "stays_here": "those here now stay longer, or less long",
    "stays_to_come": "patients who arrive stay longer, or less long",
    "beds": "beds that are taken hold patients elsewhere",
    "entries": "entries about the patients here now, which the simulation does not use",
    "other": "what the forecast has beyond lengths of stay and arrivals",
}
#: A difference of so many patients is none: they are whole.
_LEAST_MARGIN: Final = 0.5
#: The margin, as a share of the width of the forecast's 90 % interval.
_SHARE_OF_WIDTH: Final = 0.25
#: The half-width of a simulated mean wanted, as a share of the margin.
_PRECISION: Final = 0.25
_FIRST_REPLICATIONS: Final = 100
#: A part that is a smaller share of a difference is not named as its reason.
_NAMED: Final = 0.25

_COLUMNS: Final[Columns] = {
    "place": pl.String,
    "hours": pl.Int64,
    "time": TIME,
    **dict.fromkeys(
        ("simulated", "simulated_lower", "simulated_upper", "simulated_q05", "simulated_q95",
         "forecast", "forecast_q05", "forecast_q95", "margin", "difference"),
        pl.Float64,
    ),
    "verdict": pl.String,
    **dict.fromkeys(PARTS, pl.Float64),
    "reasons": pl.List(pl.String),
    "here_now": pl.Int64,
    **dict.fromkeys(
        ("here_forecast", "here_simulated", "come_forecast", "come_simulated", "unlimited"),
        pl.Float64,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Agreement:
    """A simulation beside a forecast of the same time.

    Attributes
    ----------
    frame : polars.DataFrame
        One row a place and horizon: ``place``, ``hours`` ahead, ``time``;
        ``simulated`` (mean) with ``simulated_lower``, ``simulated_upper``
        (95 % interval of the mean) and ``simulated_q05``, ``simulated_q95``
        (over replications); ``forecast`` (mean), ``forecast_q05``,
        ``forecast_q95``; ``margin``, ``difference`` (simulated less forecast);
        ``verdict`` (``agrees``, ``differs``, ``undecided``); the parts of the
        difference (:data:`PARTS`), which sum to it; ``reasons`` (of those that
        differ: parts that go the same way and are a quarter of it, largest
        first). Of the place: ``here_now``, those still there of all who are
        in hospital now (``here_forecast``, ``here_simulated``), arrivals from
        outside until then (``come_forecast``, ``come_simulated``), and
        ``unlimited``, the simulated mean with as many beds as wanted.
    issued : datetime
        From when on both look ahead.
    replications, seed : int
    precise : bool
        Every simulated mean is known to within a quarter of its margin.
    identity : str
        Of the data.
    notes : tuple of str
        Of the forecast and of the simulated hospital.
    """

    frame: pl.DataFrame
    issued: datetime
    replications: int
    seed: int
    precise: bool
    identity: str
    notes: tuple[str, ...]

    def to_frame(self) -> pl.DataFrame:
        """Return the table."""
        return self.frame

    def count(self, verdict: str) -> int:
        """Return how many comparisons have a verdict."""
        return int((self.frame["verdict"] == verdict).sum())

    def differing(self) -> pl.DataFrame:
        """Return the rows that differ, the largest difference by its margin first."""
        apart = (pl.col("difference") / pl.col("margin")).abs()
        return self.frame.filter(verdict="differs").sort(
            apart, descending=True, maintain_order=True
        )


def _compared(
    forecast: OccupancyForecast,
    above: Mapping[str, tuple[str, ...]] | None,
    states: Sequence[str],
    horizons: Sequence[int],
) -> tuple[list[int], dict[str, list[str]]]:
    """Return the hours and the places, with their states, that both say something of."""
    reached = [hours for hours in horizons if 1 <= hours <= len(forecast.times)]
    members = {
        place: mine
        for place, mine in members_of(forecast.places, above).items()
        if mine and all(state in states for state in mine)
    }
    if not reached or not members:
        message = (
            f"agreement: nothing to compare; found {len(forecast.times)} hours of "
            f"{len(members)} places; give a forecast of the units that reaches {min(horizons)} h"
        )
        raise UsageError(message)
    return reached, members


def agreement(
    fitted: FittedHospital,
    forecast: OccupancyForecast,
    *,
    above: Mapping[str, tuple[str, ...]] | None = None,
    flow: FlowModel | None = None,
    horizons: Sequence[int] = HORIZONS,
    most_replications: int = 500,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Compare the simulation of a hospital with the forecast of the same time.

    Parameters
    ----------
    fitted : FittedHospital
        The hospital as it is, without a scenario.
    forecast : OccupancyForecast
        Of the same sojourns, hour by hour.
    above : mapping of str to tuple of str, optional
        The units above each unit, as given to the forecast.
    flow : FlowModel, optional
        Lengths of stay and arrivals of the forecast; fitted again if not given.
    horizons : sequence of int
        Hours; those that the forecast does not reach are left out.
    most_replications : int
        A hundred are made, and as many more as the precision needs, up to this.
    seed : int
    progress : callable, optional
        Called with simulations done, and their number at the most.

    Raises
    ------
    UsageError
        The forecast is of another time, of other data or places, reaches no
        horizon, or is by day.

    Notes
    -----
    They *agree* at a place and time if the 95 % interval of the simulated mean
    lies within a margin of the forecast's mean, *differ* if it lies outside,
    and it is *undecided* if it reaches across. The margin is a quarter of the
    width of the forecast's 90 % interval, half a patient at the least: an
    equivalence test (Schuirmann 1987, doi:10.1007/BF01068419) within a range of
    accuracy that the use of the figures gives (Sargent 2013,
    doi:10.1057/jos.2012.20). With counts about normal, a shift of a whole
    margin leaves the forecast's 90 % interval 79 % of what is simulated.

    A difference is the sum of four swaps: the arrivals of the simulation
    through the forecast's lengths of stay; then its lengths of stay, for those
    here now and for those who come (no beds looked at); then its beds, with
    the same patients. What the forecast makes of entries (expected discharges,
    requests for beds), which the simulation does not use, is a fifth part;
    what it says beyond its own lengths of stay and arrivals a sixth, ``other``.
    """
    sojourns = fitted.sojourns
    _check(fitted, forecast)
    reached, members = _compared(forecast, above, sojourns.states, horizons)
    flow = flow or fit_flow(sojourns, days=max(reached) // 24 + 2)
    model = fitted.model
    plain = expected_numbers(flow, sojourns, max(reached))
    swapped = expected_numbers(
        flow, sojourns, max(reached), incoming_of(model, sojourns, max(reached))
    )
    member = np.array(
        [[float(state in mine) for state in sojourns.states] for mine in members.values()]
    )
    chosen = np.array([forecast.places.index(place) for place in members])
    steps = np.array(reached) - 1
    shown = forecast.mean[np.ix_(chosen, steps)]
    by_lengths = (
        shown
        if forecast.mean_by_lengths is None
        else forecast.mean_by_lengths[np.ix_(chosen, steps)]
    )
    ends = quantiles(forecast.distribution[np.ix_(chosen, steps)], [0.05, 0.95]).astype(float)
    margin = np.maximum(_LEAST_MARGIN, _SHARE_OF_WIDTH * (ends[..., 1] - ends[..., 0]))

    simulated = _simulated(fitted, member, reached, margin, most_replications, seed, progress)
    limited, unlimited, here = simulated.limited, simulated.unlimited, simulated.here
    at = (slice(None), steps)
    here_forecast, come_forecast = (member @ plain.present[k][at] for k in (0, 1))
    come_swapped = member @ swapped.present[1][at]
    mean = limited.mean(axis=0)
    half = _half_width(limited)
    difference = mean - shown
    parts = {
        "arrivals": come_swapped - come_forecast,
        "stays_here": here - here_forecast,
        "stays_to_come": (unlimited - here) - come_swapped,
        "beds": mean - unlimited,
        "entries": by_lengths - shown,
        "other": here_forecast + come_forecast - by_lengths,
    }
    verdict = np.where(
        np.abs(difference) + half <= margin,
        "agrees",
        np.where(np.abs(difference) - half > margin, "differs", "undecided"),
    )
    low, high = (np.quantile(np.rint(limited), level, axis=0) for level in (0.05, 0.95))
    summed = [np.cumsum(one.incoming, axis=0)[steps] @ member.T for one in (plain, swapped)]
    columns: dict[str, object] = {
        "place": np.repeat(np.array(list(members), dtype=object), len(reached)),
        "hours": reached * len(members),
        "time": [forecast.times[hours - 1] for hours in reached] * len(members),
        **{
            name: np.asarray(values, dtype=np.float64).reshape(-1)
            for name, values in {
                "simulated": mean, "simulated_lower": mean - half, "simulated_upper": mean + half,
                "simulated_q05": low, "simulated_q95": high, "forecast": shown,
                "forecast_q05": ends[..., 0], "forecast_q95": ends[..., 1], "margin": margin,
                "difference": difference, **parts, "here_forecast": here_forecast,
                "here_simulated": here, "come_forecast": summed[0].T, "come_simulated": summed[1].T,
                "unlimited": unlimited,
            }.items()
        },
        "verdict": verdict.reshape(-1),
        "here_now": np.repeat(forecast.present[chosen], len(reached)),
    }  # fmt: skip
    columns["reasons"] = [
        _reasons(gap, {name: float(values.flat[k]) for name, values in parts.items()})
        if kind == "differs"
        else []
        for k, (gap, kind) in enumerate(zip(difference.flat, verdict.flat, strict=True))
    ]
    frame = pl.DataFrame(columns, schema_overrides=_COLUMNS, strict=False).select(*_COLUMNS)
    return Agreement(
        frame=frame,
        issued=sojourns.now,
        replications=len(limited),
        seed=seed,
        precise=bool((half <= _PRECISION * margin).all()),
        identity=sojourns.identity,
        notes=tuple(dict.fromkeys((*forecast.notes, *fitted.notes))),
    )


def hospital_agreement(
    hospital: Hospital,
    fitted: FittedHospital,
    *,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Agreement:
    """Forecast a hospital from the time of its simulation, and compare the two.

    Parameters
    ----------
    hospital : Hospital
    fitted : FittedHospital
        Learnt from it, without a scenario.
    seed, progress
        See :func:`agreement`.

    Raises
    ------
    UsageError
        No forecast can be made: too little is known to learn from, or
        follow-up of most has ended.

    Notes
    -----
    The forecast's intervals are not widened by the errors of earlier ones;
    that leaves the means and makes the comparison stricter.
    """
    now = fitted.sojourns.now
    made = forecast_hospital(hospital, now, by="unit", look_back=0, seed=seed)
    above = units_above(hospital.snapshot(as_of=now))
    return agreement(fitted, made, above=above, seed=seed, progress=progress)


def _check(fitted: FittedHospital, forecast: OccupancyForecast) -> None:
    sojourns = fitted.sojourns
    if forecast.step_hours != 1:
        message = (
            f"agreement: the forecast is by day; found steps of {forecast.step_hours:g} h; give "
            "one of movements with their times"
        )
        raise UsageError(message)
    # The time stands in both; "latest" is the time of the data cut.
    versions = {one.rpartition("/")[0] or one for one in (forecast.identity, sojourns.identity)}
    if forecast.issued != sojourns.now or len(versions) > 1:
        message = (
            f"agreement: the forecast is of another time or of other data; found "
            f"{forecast.issued.isoformat()} for a simulation from {sojourns.now.isoformat()}; "
            "make both from the same"
        )
        raise UsageError(message)


@dataclass(frozen=True, slots=True)
class _Simulated:
    """Patients by place and horizon: of every replicate, and means without beds or arrivals."""

    limited: Floats
    unlimited: Floats
    here: Floats


def _simulated(
    fitted: FittedHospital,
    member: Floats,
    hours: Sequence[int],
    margin: Floats,
    most: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> _Simulated:
    """Simulate with the beds, with as many as wanted, and of these those here now."""
    sojourns, model = fitted.sojourns, fitted.model
    done = 0

    def counted(of: HospitalModel, replications: int) -> Floats:
        nonlocal done
        run = simulate(
            of, start=sojourns.now, days=(max(hours) + 2) / 24, seed=seed, zone=sojourns.zone,
            replications=replications,
        )  # fmt: skip
        done += 1
        if progress is not None:
            progress(done, 4)
        found: Floats = np.einsum("ps,rsh->rph", member, _patients_at(run, sojourns.states, hours))
        return found

    first = counted(model, _FIRST_REPLICATIONS)
    wanted = _replications(first, margin, most)
    limited = first if wanted == len(first) else counted(model, wanted)
    unlimited = counted(_unlimited(model), wanted).mean(axis=0)
    here = np.zeros(margin.shape)
    if model.initial:
        here = counted(_closed(_unlimited(model)), wanted).mean(axis=0)
    return _Simulated(limited, unlimited, here)


def _patients_at(run: SimulationRun, states: Sequence[str], hours: Sequence[int]) -> Floats:
    """Patients by replicate, state and hours from the start: between two full hours, a mean."""
    order = [[unit.name for unit in run.model.units].index(state) for state in states]
    counts = np.stack([one.hourly[order] for one in run.replicates]).astype(np.float64)
    at = run.clock.start + np.array(hours)
    mark = at.astype(np.int64)
    part = at - mark
    between: Floats = counts[:, :, mark] * (1 - part) + counts[:, :, mark + 1] * part
    return between


def _half_width(counts: Floats) -> Floats:
    """Half of the 95 % t-interval of the mean over replications."""
    number = len(counts)
    half: Floats = stats.t.ppf(0.975, number - 1) * counts.std(axis=0, ddof=1) / np.sqrt(number)
    return half


def _replications(first: Floats, margin: Floats, most: int) -> int:
    """As many as make every mean precise, by the spread of the first ones."""
    needed = 1.2 * len(first) * float(((_half_width(first) / (_PRECISION * margin)) ** 2).max())
    return int(min(max(most, len(first)), max(len(first), np.ceil(needed))))


def _unlimited(model: HospitalModel) -> HospitalModel:
    """The same hospital with unlimited beds."""
    units = [
        replace(
            unit, beds=None, when_full="wait", divert=(), bays=(), side_rooms=0,
            side_rooms_for_isolation_only=False,
        )
        for unit in model.units
    ]  # fmt: skip
    return replace(model, units=tuple(units))


def _closed(model: HospitalModel) -> HospitalModel:
    """The same hospital without arrivals."""
    classes = [replace(one, arrivals=None, electives=None) for one in model.classes]
    return replace(model, classes=tuple(classes))


def _reasons(difference: float, parts: Mapping[str, float]) -> list[str]:
    """The parts that make a difference, the largest first; one at the least."""
    toward = {name: value / difference for name, value in parts.items()}
    ordered = sorted(toward, key=lambda name: -toward[name])
    return [name for k, name in enumerate(ordered) if not k or toward[name] >= _NAMED]
