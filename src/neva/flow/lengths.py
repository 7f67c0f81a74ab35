"""Lengths of stay: how likely a patient leaves a unit in the next hour, and where to.

The rate of leaving depends on how long the patient has been in the unit, on
the unit they came from (a surgical ward before and after the operation is not
the same), and on the hour of the day. Rates are constant within bands of time
that are as narrow as the data allow; nothing else is assumed about the shape.
Sojourns that go on, or that were observed from some time on only, count for
as long as they were seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.flow.sojourns import Sojourns

__all__ = ["LEAST_SOJOURNS", "LengthModel", "fit_lengths"]

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

#: Fewer sojourns that ended, in the whole hospital, and there is no model.
LEAST_SOJOURNS: Final = 30
#: Fewer that ended in one unit, and it borrows the rates of all units.
LEAST_OF_A_STATE: Final = 10
#: A unit is told apart by where its patients came from if so many ended.
LEAST_OF_A_PHASE: Final = 100
#: A band of time holds at least so many ends.
_ENDS_PER_BAND: Final = 10
#: The hour of day is learnt against so many ends that follow no clock.
_CLOCK_PRIOR: Final = 10.0
#: Lengths are told apart up to so many steps (hours: 60 days; days: 4 years).
_LONGEST: Final = 1440


@dataclass(frozen=True, slots=True)
class LengthModel:
    """Rates of leaving.

    A *phase* is a state, or a state and where its patients came from. Targets
    are the states and then the exits. A step is an hour, or a day where times
    are only known to the day.

    Attributes
    ----------
    states, exits : tuple of str
    step_hours : float
        1 or 24.
    state_of : array of int, shape (phases,)
    phase_of : array of int, shape (states + 1, states)
        The phase of one who comes to a state from a state; the first row is for
        those who come from outside.
    band_of : array of int, shape (phases, half steps)
        The band of rates by the age of a sojourn, in half steps; the last
        holds for all that is longer.
    rates : array, shape (phases, bands, targets)
        Per step, at the mean hour of the day.
    ends : array, shape (phases, bands, targets)
        How many ended so: what `rates` was estimated from. The phase of a
        state as such (the first ones) has all sojourns of the state.
    clock : array, shape (phases, 2, 24)
        Factor by local hour of the day: of moves, and of exits.
    borrowed : tuple of str
        States whose own ends were too few; they have the rates of all.
    sojourns, ended : int
        How many it was fitted to.
    """

    states: tuple[str, ...]
    exits: tuple[str, ...]
    step_hours: float
    state_of: Numbers
    phase_of: Numbers
    band_of: Numbers
    rates: Floats
    ends: Floats
    clock: Floats
    borrowed: tuple[str, ...]
    sojourns: int
    ended: int

    @property
    def first_age(self) -> float:
        """Age, in steps, at the end of the step in which one came."""
        return 0.5 if self.step_hours < 24 else 0.0

    def leaving(self) -> tuple[Floats, Floats]:
        """Return the probability of leaving within a step, and shares of targets.

        Returns
        -------
        chance : array, shape (phases, bands, 24)
        share : array, shape (phases, bands, 24, targets)
        """
        states = len(self.states)
        targets = self.rates.shape[2]
        group = (np.arange(targets) >= states).astype(np.int64)
        # phases, bands, hours, targets
        each = self.rates[:, :, None, :] * self.clock[:, group, :].transpose(0, 2, 1)[:, None]
        total = each.sum(axis=3)
        share = np.divide(
            each, total[..., None], out=np.zeros_like(each), where=total[..., None] > 0
        )
        return -np.expm1(-total), share

    def drawn(self, rng: np.random.Generator) -> LengthModel:
        """Return a model that the same data might have given.

        Rates are drawn from gamma distributions with the observed number of
        ends: what is not known about rates of which few ends were seen.
        """
        factor = rng.standard_gamma(np.maximum(self.ends, 1e-9)) / np.maximum(self.ends, 1e-9)
        return replace(self, rates=self.rates * np.where(self.ends > 0, factor, 1.0))

    def place(self, sojourns: pl.DataFrame) -> Numbers:
        """Return the phase of each sojourn of a frame sorted by case and start."""
        number = {state: k for k, state in enumerate(self.states)}
        known = sojourns["state"].replace_strict(number, default=-1, return_dtype=pl.Int64)
        from_ = sojourns.select(pl.col("state").shift(1).over("case")).to_series()
        before = from_.replace_strict(number, default=-1, return_dtype=pl.Int64).fill_null(-1)
        phases: Numbers = self.phase_of[before.to_numpy() + 1, known.to_numpy()]
        return np.where(known.to_numpy() < 0, -1, phases)

    def to_frame(self) -> pl.DataFrame:
        """Return a row a state: ``state``, ``ended``, ``borrowed``."""
        ended = self.ends[: len(self.states)].sum(axis=(1, 2))
        return pl.DataFrame(
            {
                "state": list(self.states),
                "ended": ended.astype(np.int64),
                "borrowed": [state in self.borrowed for state in self.states],
            }
        )


@numba.njit(cache=True, nogil=True)
def _exposures(
    phase: Any, entry: Any, leave: Any, hour: Any, band_of: Any, bands: int, daily: bool
) -> Any:
    """Time at risk by phase, band and hour of day, in steps."""
    result = np.zeros((band_of.shape[0], bands, 24))
    last = band_of.shape[1] - 1
    for i in range(len(phase)):
        p = phase[i]
        if daily:
            for day in range(int(entry[i]) + 1, int(leave[i]) + 1):
                result[p, band_of[p, min(2 * day - 1, last)], 0] += 1.0
            continue
        at = entry[i]
        while at < leave[i]:
            cell = int(2 * at + 1e-9)
            until = min((cell + 1) / 2, leave[i])
            if until <= at:
                break
            clock = int(hour[i] + (at + until) / 2) % 24
            result[p, band_of[p, min(cell, last)], clock] += until - at
            at = until
    return result


def _edges(daily: bool) -> Numbers:
    """Finest bands, in half steps: hours of the first day, then days, then weeks."""
    if daily:
        near = np.arange(0, 61)
        far = np.arange(67, _LONGEST, 7)
        return 2 * np.concatenate([near, far])
    half = np.arange(0, 24)
    hours = np.arange(24, 48, 2)
    quarter = np.arange(48, 96, 12)
    day = np.arange(96, 2 * 24 * 14, 48)
    week = np.arange(2 * 24 * 14, 2 * _LONGEST, 2 * 24 * 7)
    return np.concatenate([half, hours, quarter, day, week])


def _bands(ends: Numbers, edges: Numbers) -> Numbers:
    """Join the finest bands until each holds enough ends; the last is open."""
    per = np.histogram(ends, bins=np.append(edges, np.iinfo(np.int64).max))[0]
    starts = [0]
    held = 0
    for k, count in enumerate(per):
        if held >= _ENDS_PER_BAND:
            starts.append(k)
            held = 0
        held += int(count)
    if held < _ENDS_PER_BAND and len(starts) > 1:
        starts.pop()
    chosen = edges[starts]
    grid = np.arange(2 * _LONGEST)
    return np.searchsorted(chosen, grid, side="right").astype(np.int64) - 1


def fit_lengths(sojourns: Sojourns) -> LengthModel:
    """Estimate the rates of leaving.

    Parameters
    ----------
    sojourns : Sojourns
        Perhaps cut to a period (:meth:`Sojourns.between`).

    Raises
    ------
    UsageError
        Fewer than :data:`LEAST_SOJOURNS` have ended.

    Notes
    -----
    Occurrences over exposure in bands, the discrete-time form of the
    Aalen-Johansen increments; the factors of the hour of day and the rates of
    the bands are fitted in turn until they agree (a Poisson model with two
    factors, by iterative proportional fitting).
    """
    daily = sojourns.precision == "day"
    step_hours = 24.0 if daily else 1.0
    frame = sojourns.timed()
    ended_count = int(frame["next"].is_not_null().sum())
    if ended_count < LEAST_SOJOURNS:
        message = (
            f"lengths of stay: too few ended to learn from; found {ended_count} of {frame.height}; "
            f"the floor is {LEAST_SOJOURNS}; choose a longer period"
        )
        raise UsageError(message)
    states, exits = sojourns.states, sojourns.exits
    targets = {name: k for k, name in enumerate((*states, *exits))}
    state = frame["state"].replace_strict(targets, return_dtype=pl.Int64).to_numpy()
    before = (
        frame.select(pl.col("state").shift(1).over("case"))
        .to_series()
        .replace_strict(targets, default=-1, return_dtype=pl.Int64)
        .fill_null(-1)
        .to_numpy()
    )
    target = (
        frame["next"]
        .replace_strict(targets, default=-1, return_dtype=pl.Int64)
        .fill_null(-1)
        .to_numpy()
    )
    entry = frame["entry_days"].to_numpy() * 24 / step_hours
    leave = frame["exit_days"].to_numpy() * 24 / step_hours
    if daily:
        entry, leave = np.rint(entry), np.rint(leave)
    local = frame["start"].dt.convert_time_zone(sojourns.zone)
    hour = (
        np.zeros(frame.height)
        if daily
        else (local.dt.hour() + local.dt.minute() / 60).to_numpy().astype(np.float64)
    )
    ended = target >= 0
    phase_of, state_of = _phases(state[ended], before[ended], len(states))
    phase = phase_of[before + 1, state]
    # The phase of a state as such is learnt from all of its sojourns, so that
    # those who came from a rare place have rates too.
    apart = np.flatnonzero(phase >= len(states))
    both = np.concatenate([np.arange(len(state)), apart])
    phase = np.concatenate([phase, state[apart]])
    entry, leave, hour, target = entry[both], leave[both], hour[both], target[both]
    ended = target >= 0
    # A length that ends a step belongs to the step it ends; days end at whole numbers.
    half = (2 * leave - 1 if daily else 2 * leave).astype(np.int64)
    half = np.clip(half, 0, 2 * _LONGEST - 1)
    edges = _edges(daily)
    band_of = np.stack([_bands(half[ended & (phase == p)], edges) for p in range(len(state_of))])
    bands = int(band_of.max()) + 1
    ends = np.zeros((len(state_of), bands, len(targets)))
    by_hour = np.zeros((len(state_of), 2, 24))
    at_hour = (hour + leave).astype(np.int64) % 24 if not daily else np.zeros(len(half), np.int64)
    is_exit = (target >= len(states)).astype(np.int64)
    np.add.at(ends, (phase[ended], band_of[phase, half][ended], target[ended]), 1)
    np.add.at(by_hour, (phase[ended], is_exit[ended], at_hour[ended]), 1)
    exposure = _exposures(phase, entry, leave, hour, band_of, bands, daily)
    clock = _clock(ends, by_hour, exposure, len(states), daily=daily)
    rates = _rates(ends, exposure, clock, len(states), daily=daily)
    borrowed = _borrow(rates, ends, exposure, len(states))
    return LengthModel(
        states=states,
        exits=exits,
        step_hours=step_hours,
        state_of=state_of,
        phase_of=phase_of,
        band_of=band_of,
        rates=rates,
        ends=ends,
        clock=clock,
        borrowed=tuple(states[k] for k in borrowed),
        sojourns=frame.height,
        ended=ended_count,
    )


def _phases(state: Numbers, before: Numbers, states: int) -> tuple[Numbers, Numbers]:
    """Tell states apart by where patients came from, where enough ended."""
    counts = np.zeros((states + 1, states), dtype=np.int64)
    np.add.at(counts, (before + 1, state), 1)
    state_of = list(range(states))
    phase_of = np.tile(np.arange(states), (states + 1, 1))
    for from_, to in zip(*np.nonzero(counts >= LEAST_OF_A_PHASE), strict=True):
        phase_of[from_, to] = len(state_of)
        state_of.append(int(to))
    return phase_of, np.array(state_of, dtype=np.int64)


def _rates(ends: Floats, exposure: Floats, clock: Floats, states: int, *, daily: bool) -> Floats:
    if daily:
        # Discrete days: the share of those at risk that left; as a rate, so that
        # the chance of leaving is that share again.
        at_risk = exposure.sum(axis=2)
        left = ends.sum(axis=2)
        share = np.divide(left, at_risk, out=np.zeros_like(left), where=at_risk > 0)
        total = -np.log1p(-np.minimum(share, 1 - 1e-9))
        part = np.divide(ends, left[..., None], out=np.zeros_like(ends), where=left[..., None] > 0)
        daily_rates: Floats = total[..., None] * part
        return daily_rates
    weighted = np.einsum("pbh,pgh->pbg", exposure, clock)
    group = (np.arange(ends.shape[2]) >= states).astype(np.int64)
    under = weighted[:, :, group]
    rates: Floats = np.divide(ends, under, out=np.zeros_like(ends), where=under > 0)
    return rates


def _clock(ends: Floats, by_hour: Floats, exposure: Floats, states: int, *, daily: bool) -> Floats:
    clock = np.ones((len(ends), 2, 24))
    if daily:
        return clock
    by_group = np.stack([ends[:, :, :states].sum(axis=2), ends[:, :, states:].sum(axis=2)], axis=2)
    for _ in range(10):
        weighted = np.einsum("pbh,pgh->pbg", exposure, clock)
        rate = np.divide(by_group, weighted, out=np.zeros_like(by_group), where=weighted > 0)
        expected = np.einsum("pbg,pbh->pgh", rate, exposure)
        clock = (by_hour + _CLOCK_PRIOR) / (expected + _CLOCK_PRIOR)
    return clock


def _borrow(rates: Floats, ends: Floats, exposure: Floats, states: int) -> list[int]:
    """Give states with too few ends the one rate of all, to the exits of all; in place."""
    few = [int(k) for k in np.flatnonzero(ends[:states].sum(axis=(1, 2)) < LEAST_OF_A_STATE)]
    common = ends[:states, :, states:].sum(axis=(0, 1)) / exposure[:states].sum()
    for k in few:
        rates[k] = ends[k] = 0.0
        rates[k, :, states:] = common
    return few
