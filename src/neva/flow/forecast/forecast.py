"""Forecast of patients per unit: patients present, by their trajectories, and future arrivals.

Every patient present has a probability of being in each unit at each later
hour; the number of them there is a sum of such events. Arrivals are counts
that vary more than chance, thinned by the same trajectories. Both are summed
exactly, as distributions. What the rates and the level of arrivals might be
instead, given as few data as there are, widens them.

Capacity is not considered: the forecast says how many want a place. What
happens when there is none is for the simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.compiled import cores
from neva.errors import UsageError
from neva.events.clock import first_moment
from neva.flow.forecast.arrivals import PLAIN
from neva.flow.forecast.coming import (
    ArrivalGroup,
    arrivals_of_group,
    expected_arrivals,
    fit_group,
    hours_of_week,
)
from neva.flow.forecast.entry_effects import EntryEffects, EntryOdds
from neva.flow.forecast.entry_history import EntryHistory
from neva.flow.forecast.present import Present, follow_each, nobody, present_of, tables
from neva.flow.stays import _walking
from neva.flow.stays.lengths import LengthModel, fit_lengths
from neva.flow.stays.sojourns import Sojourns
from neva.statistics.distributions import TAIL, quantiles

__all__ = [
    "FlowModel",
    "OccupancyForecast",
    "fit_flow",
    "forecast_flow",
    "restarted",
]

Floats = npt.NDArray[np.float64]

#: Models that the same data might have given, and how many of the ratios of
#: their means are told apart.
DRAWS: Final = 24
_RATIOS: Final = 8
#: Phases for each state up to which later moves of single patients tell them apart;
#: the means always do.
_MOST_PHASES: Final = 4
#: All places in total.
ALL: Final = "all"
_LEVELS: Final = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}


@dataclass(frozen=True, slots=True)
class FlowModel:
    """What a forecast is made from: lengths of stay and arrivals.

    Attributes
    ----------
    lengths : LengthModel
    groups : tuple of ArrivalGroup
    fitted : datetime
        Nothing later was used for fitting.
    notes : tuple of str
        Substitutes for what could not be learnt.
    """

    lengths: LengthModel
    groups: tuple[ArrivalGroup, ...]
    fitted: datetime
    notes: tuple[str, ...]


def fit_flow(
    sojourns: Sojourns,
    *,
    days: int = 9,
    holidays: Mapping[date, str] | None = None,
    model: str = PLAIN,
) -> FlowModel:
    """Fit lengths of stay and arrivals to the past.

    Parameters
    ----------
    sojourns : Sojourns
        As known at their *now*.
    days : int
        How many days will be forecast, today included.
    holidays : mapping of date to str, optional
    model : str
        Of arrivals: ``negative-binomial`` or a regressor of ``neva.models``.

    Raises
    ------
    UsageError
        Too little has happened to learn from; the message says the floor.
    """
    lengths = fit_lengths(sojourns)
    notes = []
    if lengths.borrowed:
        notes.append(
            f"too few left {', '.join(lengths.borrowed)} to learn from: "
            "they have the rates of the whole hospital, and exits only"
        )
    groups = []
    for name in ("unscheduled", "elective"):
        group, note = fit_group(sojourns, name, days, holidays, model)
        if group is not None:
            groups.append(group)
        if note:
            notes.append(note)
    return FlowModel(lengths, tuple(groups), sojourns.now, tuple(notes))


def restarted(model: FlowModel, sojourns: Sojourns) -> FlowModel:
    """Return a model that was fitted earlier, starting from the arrivals known by now."""
    groups = []
    for group in model.groups:
        arrivals = arrivals_of_group(sojourns, group.name)
        begun = group.model and replace(group.model, arrivals=arrivals)
        groups.append(replace(group, model=begun, so_far=arrivals.so_far))
    return replace(model, groups=tuple(groups), fitted=sojourns.now)


@dataclass(frozen=True, slots=True)
class OccupancyForecast:
    """Numbers of patients per place and time, as distributions.

    Attributes
    ----------
    places : tuple of str
        States, units above them, and ``all``.
    times : tuple of datetime
        Aware, ascending; the first is one step after `issued`.
    distribution : array, shape (places, times, counts)
        Probabilities of 0, 1, 2, … patients.
    present : array of int, shape (places,)
        At `issued`.
    issued : datetime
        Nothing later was used.
    zone, identity, what : str
        Of the data.
    notes : tuple of str
        What the reader must know.
    step_hours : float
        1, or 24.
    """

    places: tuple[str, ...]
    times: tuple[datetime, ...]
    distribution: Floats
    present: npt.NDArray[np.int64]
    issued: datetime
    zone: str
    identity: str
    what: str
    notes: tuple[str, ...]
    step_hours: float = 1.0
    mean_by_lengths: Floats | None = None
    reliability: pl.DataFrame | None = None

    @property
    def mean(self) -> Floats:
        """Expected patients, shape (places, times)."""
        expected: Floats = self.distribution @ np.arange(self.distribution.shape[2])
        return expected

    def of(self, place: str, step: int) -> Floats:
        """Return the distribution at a place after `step` steps (1 is the first)."""
        distribution: Floats = self.distribution[self.places.index(place), step - 1]
        return distribution

    def beyond(self, place: str, beds: int) -> Floats:
        """Return the chance that more than `beds` are there, by time."""
        chance: Floats = self.distribution[self.places.index(place), :, beds + 1 :].sum(axis=1)
        return chance

    def to_frame(self) -> pl.DataFrame:
        """Return a row a place and time: ``mean``, ``q05``, ``q25``, ``q50``, ``q75``, ``q95``.

        With ``mean_by_lengths`` where entries were used.
        """
        ends = quantiles(self.distribution, list(_LEVELS.values()))
        steps = len(self.times)
        return pl.DataFrame(
            {
                "place": np.repeat(np.array(self.places, dtype=object), steps),
                "time": list(self.times) * len(self.places),
                "mean": self.mean.reshape(-1),
                **{name: ends[:, :, k].reshape(-1) for k, name in enumerate(_LEVELS)},
                **(
                    {}
                    if self.mean_by_lengths is None
                    else {"mean_by_lengths": self.mean_by_lengths.reshape(-1)}
                ),
            },
            schema_overrides={"place": pl.String, "time": pl.Datetime("us", "UTC")},
        )


def forecast_flow(
    model: FlowModel,
    sojourns: Sojourns,
    *,
    steps: int,
    above: Mapping[str, tuple[str, ...]] | None = None,
    draws: int = DRAWS,
    rng: np.random.Generator,
    effects: EntryEffects | None = None,
    history: EntryHistory | None = None,
) -> OccupancyForecast:
    """Forecast the numbers of patients from *now* on.

    Parameters
    ----------
    model : FlowModel
        Fitted at or before the *now* of `sojourns`.
    sojourns : Sojourns
        As known at *now*.
    steps : int
        Hours; days where times are only known to the day.
    above : mapping of str to tuple of str, optional
        The units above each unit: they are forecast too, as sums by patient
        and not of distributions, so that a ward and its hospital agree.
    draws : int
        Models that the same data might have given; 0 leaves parameter
        uncertainty out.
    rng : numpy.random.Generator
    effects : EntryEffects, optional
        Effects of expected discharges and bed requests, as learnt at *now*;
        without them lengths of stay alone are used.
    history : EntryHistory, optional
        With what is entered at *now*; goes with `effects`.

    Raises
    ------
    UsageError
        The model is from later than *now*; steps are not positive.

    Notes
    -----
    The number here is Poisson binomial, the number to come a sum of negative
    binomials by day of arrival (thinning keeps their shape; with Poisson
    arrivals it is the M(t)/G/infinity queue, Eick, Massey & Whitt 1993,
    doi:10.1287/opre.41.4.731). Rates are drawn from their gamma posteriors;
    the ratio of the means that follow to the mean multiplies the count (see
    :func:`neva.statistics.distributions.scaled`). A count of today's arrivals
    so far updates what is expected of the rest of today.
    """
    if steps < 1:
        message = f"steps: must be 1 or more; found {steps}; give how far to look"
        raise UsageError(message)
    if model.fitted > sojourns.now:
        message = (
            f"forecast: the model knows what came later; found a fit at {model.fitted.isoformat()} "
            f"for a forecast at {sojourns.now.isoformat()}; fit it on the past"
        )
        raise UsageError(message)
    lengths = model.lengths
    daily = lengths.step_hours == 24
    times = _times(sojourns.now, steps, sojourns.zone, daily=daily)
    clock = hours_of_week(sojourns.now, steps, sojourns.zone, daily=daily)
    here = present_of(lengths, sojourns)
    phase = here.phase
    odds = here.odds(lengths, effects, history, steps)
    coming, shapes, drifts = expected_arrivals(
        model.groups, sojourns.now, steps, sojourns.zone, daily=daily
    )
    block_of, block_ends = _blocks(steps)
    fixed = (
        lengths.band_of, *tables(lengths, phase, odds.wanted), lengths.state_of,
        lengths.phase_of, clock,
    )  # fmt: skip
    # Each patient's later moves, by where they came from while these are few.
    many = len(lengths.state_of) > _MOST_PHASES * len(lengths.states)
    later = np.broadcast_to(np.arange(len(lengths.states)), lengths.phase_of.shape)
    fixed = (*fixed[:6], np.ascontiguousarray(later if many else lengths.phase_of), clock)
    used = np.isin(np.arange(len(lengths.state_of)), fixed[6])
    onward = _walking.onward_of(*fixed, block_of, block_ends, lengths.first_age, used)
    each = follow_each(here, odds, fixed, block_of, block_ends, onward)
    states = len(lengths.states)
    none = nobody(steps)
    exact = (*fixed[:6], lengths.phase_of, clock)
    with ThreadPoolExecutor(cores()) as threads:
        to_come = list(
            threads.map(
                lambda part: _walking.follow_all(*none, *exact, part, lengths.first_age, steps)[1],
                coming,
            )
        )
    means = np.stack(to_come) if to_come else np.zeros((0, states, steps))
    places, member = _places(lengths.states, above)
    columns = len(places) * steps
    chances = np.einsum("ps,nst->npt", member, each).reshape(len(phase), columns)
    chances = np.clip(chances, 0.0, 1.0)
    by_place = np.einsum("ps,cst->cpt", member, means).reshape(len(means), columns)
    expected = chances.sum(axis=0) + by_place.sum(axis=0)
    ratios = _ratios(
        lengths, here, _odds_of(here, effects, history, steps), clock, coming, drifts, steps,
        member, expected, draws, rng,
    )  # fmt: skip
    size = _size(chances, by_place, shapes, ratios)
    distribution = _walking.count_distributions(
        np.ascontiguousarray(chances.T), by_place, shapes, ratios, TAIL, size
    )
    distribution /= distribution.sum(axis=1, keepdims=True)
    present = member @ np.bincount(lengths.state_of[phase], minlength=states)
    notes = list(model.notes)
    by_lengths = None
    if effects is not None:
        alone = follow_each(
            here, EntryOdds.none(len(phase), steps), fixed, block_of, block_ends, onward
        )
        kept = np.einsum("ps,nst->pt", member, alone).reshape(columns) + by_place.sum(axis=0)
        # As far as blocks of hours miss the exact mean, they miss it here too.
        exact_share = (distribution @ np.arange(size)) / np.maximum(expected, 1e-9)
        by_lengths = (kept * exact_share).reshape(len(places), steps)
    if here.strangers:
        notes.append(
            f"{here.strangers} patients are left out: their places had no patients when the "
            "model was fitted"
        )
    return OccupancyForecast(
        places=places,
        times=tuple(times),
        distribution=distribution.reshape(len(places), steps, size),
        present=np.rint(present).astype(np.int64),
        issued=sojourns.now,
        zone=sojourns.zone,
        identity=sojourns.identity,
        what=sojourns.what,
        notes=tuple(notes),
        step_hours=lengths.step_hours,
        mean_by_lengths=by_lengths,
        reliability=None if effects is None else effects.reliability,
    )


def _times(now: datetime, steps: int, zone: str, *, daily: bool) -> list[datetime]:
    """Ends of the steps: hours from now, or the local midnights after it."""
    if not daily:
        return [now + timedelta(hours=k) for k in range(1, steps + 1)]
    today = now.astimezone(ZoneInfo(zone)).date()
    return [first_moment(today + timedelta(days=k), zone) for k in range(1, steps + 1)]


def _blocks(steps: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Blocks in which later moves are gathered: single steps first, then 2, 4 and 8."""
    ends = list(range(1, min(steps, 24) + 1))
    while ends[-1] < steps:
        width = 2 if ends[-1] < 36 else 4 if ends[-1] < 72 else 8
        ends.append(min(steps, ends[-1] + width))
    block_ends = np.array(ends, dtype=np.int64)
    return np.searchsorted(block_ends, np.arange(steps), side="right"), block_ends


def _places(
    states: tuple[str, ...], above: Mapping[str, tuple[str, ...]] | None
) -> tuple[tuple[str, ...], Floats]:
    """Name the places, and say which states belong to each."""
    parents = sorted({p for s in states for p in (above or {}).get(s, ()) if p not in states})
    places = (*states, *parents, *(() if ALL in states else (ALL,)))
    member = np.zeros((len(places), len(states)))
    for k, state in enumerate(states):
        member[k, k] = 1.0
        for parent in (above or {}).get(state, ()):
            member[places.index(parent), k] = 1.0
        if ALL not in states:
            member[-1, k] = 1.0
    return places, member


def _odds_of(
    here: Present, effects: EntryEffects | None, history: EntryHistory | None, steps: int
) -> Callable[[LengthModel, np.random.Generator | None], EntryOdds]:
    """Effect of entries on rates, as learnt, or drawn from its uncertainty."""

    def odds(lengths: LengthModel, rng: np.random.Generator | None) -> EntryOdds:
        used = effects if effects is None or rng is None else effects.drawn(rng)
        return here.odds(lengths, used, history, steps)

    return odds


def _ratios(
    lengths: LengthModel,
    here: Present,
    odds_of: Callable[[LengthModel, np.random.Generator | None], EntryOdds],
    clock: npt.NDArray[np.int64],
    coming: list[Floats],
    drifts: Floats,
    steps: int,
    member: Floats,
    expected: Floats,
    draws: int,
    rng: np.random.Generator,
) -> Floats:
    """Ratios of means under other models, in a few equally likely groups.

    The best model's exact mean over that by blocks is a factor of all of them.
    """
    parts = np.stack(coming) if coming else np.zeros((0, steps, len(lengths.states)))

    def mean(of: LengthModel, odds: EntryOdds, shift: float = 0.0) -> Floats:
        fixed = (
            of.band_of, *tables(of, here.phase, odds.wanted), of.state_of, of.phase_of, clock,
        )  # fmt: skip
        # One level for all days to come, the farther the less sure.
        factor = np.exp(shift * drifts - drifts**2 / 2) if shift else np.ones(len(drifts))
        total = np.tensordot(factor, parts, axes=1)
        entered = odds.leaving, odds.wanted, odds.there, odds.elsewhere
        both = _walking.follow_all(
            here.phase, here.age, *entered, *fixed, total, of.first_age, steps
        ).sum(axis=0)
        result: Floats = (member @ both).reshape(-1)
        return result

    floor = np.maximum(expected, 1e-9)
    best = mean(lengths, odds_of(lengths, None)) / floor
    if draws == 0:
        return best[None, :]
    models = [
        (lengths.drawn(rng), odds_of(lengths, rng), float(rng.standard_normal()))
        for _ in range(draws)
    ]
    with ThreadPoolExecutor(cores()) as threads:
        drawn = np.stack(list(threads.map(lambda one: mean(*one), models))) / floor
    ordered = np.sort(drawn, axis=0)
    grouped = np.array_split(ordered, min(_RATIOS, draws))
    nodes = np.stack([part.mean(axis=0) for part in grouped])
    # The mean is that of the best model; draws only say how sure it is.
    centred: Floats = nodes * (best / np.maximum(nodes.mean(axis=0), 1e-12))
    return centred


def _size(chances: Floats, means: Floats, shapes: Floats, ratios: Floats) -> int:
    """Enough counts for every distribution but a negligible tail."""
    most = np.maximum(ratios.max(axis=0), 1.0)
    mean = (chances.sum(axis=0) + means.sum(axis=0)) * most
    spread = mean + (means**2 / shapes[:, None]).sum(axis=0) * most**2
    widest = (means / shapes[:, None]).max(initial=0.0)
    return int(np.max(mean + 9 * np.sqrt(spread) + 40 * (1 + widest), initial=1.0)) + 2
