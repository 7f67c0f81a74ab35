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

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.compiled import compiled
from neva.errors import UsageError
from neva.events.schema import TIME
from neva.flow.stays.sojourns import Sojourns

__all__ = [
    "HALF_LIFE_DAYS",
    "LEAST_OF_A_STATE",
    "LEAST_SOJOURNS",
    "SHORT_DAYS",
    "SHORT_HALF_LIFE_DAYS",
    "LengthModel",
    "fit_lengths",
]

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
#: The hour of day is learnt against so many ends: of a phase, those of the whole
#: hospital by the hour; of the whole hospital, ends that follow no clock.
_CLOCK_PRIOR: Final = 5.0
_WEEK_PRIOR: Final = 50.0
#: What happened so many days ago counts half, in a long history and a short one.
HALF_LIFE_DAYS: Final = 120.0
SHORT_HALF_LIFE_DAYS: Final = 20.0
SHORT_DAYS: Final = 180.0
#: The pace of the last days: half-life, and ends that say that nothing changed.
PACE_DAYS: Final = 3.0
_PACE_PRIOR: Final = 10.0
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
        The phase of a patient coming to a state from a state; the first row is for
        those who come from outside.
    band_of : array of int, shape (phases, half steps)
        The band of rates by the age of a sojourn, in half steps; the last
        holds for all that is longer.
    rates : array, shape (phases, bands, targets)
        Per step, at the mean hour of the day.
    ends : array, shape (phases, bands, targets)
        How many ended so, older ones for less than one: what `rates` was
        estimated from. The phase of a
        state as such (the first ones) has all sojourns of the state.
    clock : array, shape (phases, 2, 24)
        Factor by local hour of the day: of moves, and of exits.
    week : array, shape (2, 7)
        Factor by day of the week, from Monday on: of moves, and of exits.
    pace : array, shape (states, 2)
        Of the last days, beside the rates: practice that just changed. Of
        moves, and of exits.
    pace_ends : array, shape (states, 2)
        How many ends `pace` rests on.
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
    week: Floats
    pace: Floats
    pace_ends: Floats
    borrowed: tuple[str, ...]
    sojourns: int
    ended: int

    @property
    def first_age(self) -> float:
        """Age, in steps, at the end of the step in which one came."""
        return 0.5 if self.step_hours < 24 else 0.0

    def leaving(self) -> tuple[Floats, Floats, Floats]:
        """Return the chance of leaving within a step, and where to.

        Returns
        -------
        chance : array, shape (phases, bands, 168)
            By hour of the local week, from Monday 0:00 on.
        moving : array, shape (phases, bands, 168)
            The share of those leaving who go to another state.
        share : array, shape (phases, bands, states)
            Which, of those who move.
        """
        states = len(self.states)
        moves = self.rates[:, :, :states]
        total_moves = moves.sum(axis=2)
        exits = self.rates[:, :, states:].sum(axis=2)
        factor = self.pace[self.state_of][:, :, None] * self.week_clock()
        move = total_moves[:, :, None] * factor[:, None, 0]
        both = move + exits[:, :, None] * factor[:, None, 1]
        moving = np.divide(move, both, out=np.zeros_like(both), where=both > 0)
        share = np.divide(
            moves,
            total_moves[..., None],
            out=np.zeros_like(moves),
            where=total_moves[..., None] > 0,
        )
        return -np.expm1(-both), moving, share

    def week_clock(self) -> Floats:
        """Return the factors by hour of the local week, shape (phases, 2, 168)."""
        product = self.week[None, :, :, None] * self.clock[:, :, None, :]
        return product.reshape(len(self.clock), 2, 168)

    def drawn(self, rng: np.random.Generator) -> LengthModel:
        """Return a model that the same data might have given.

        Rates are drawn from gamma distributions with the observed number of
        ends: what is not known about rates of which few ends were seen.
        """
        factor = rng.standard_gamma(np.maximum(self.ends, 1e-9)) / np.maximum(self.ends, 1e-9)
        pace = self.pace * rng.standard_gamma(self.pace_ends) / self.pace_ends
        return replace(self, rates=self.rates * np.where(self.ends > 0, factor, 1.0), pace=pace)

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


@compiled(cache=True, nogil=True)
def _exposures(
    phase: Any, entry: Any, leave: Any, hour: Any, ago: Any, half_life: float, band_of: Any,
    bands: int, daily: bool,
) -> Any:  # fmt: skip
    """Time at risk by phase, band and hour of week, in steps; the past counts less.

    `ago` is how long before now each sojourn began, in steps.
    """
    result = np.zeros((band_of.shape[0], bands, 168))
    last = band_of.shape[1] - 1
    for i in range(len(phase)):
        p = phase[i]
        if daily:
            for day in range(int(entry[i]) + 1, int(leave[i]) + 1):
                weight = 0.5 ** ((ago[i] - day) / half_life)
                band = band_of[p, min(2 * day - 1, last)]
                result[p, band, int(hour[i] + 24 * day) % 168] += weight
            continue
        at = entry[i]
        while at < leave[i]:
            cell = int(2 * at + 1e-9)
            until = min((cell + 1) / 2, leave[i])
            if until <= at:
                break
            clock = int(hour[i] + (at + until) / 2) % 168
            weight = 0.5 ** ((ago[i] - at) / half_life)
            result[p, band_of[p, min(cell, last)], clock] += weight * (until - at)
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


def fit_lengths(sojourns: Sojourns, *, half_life_days: float | None = None) -> LengthModel:
    """Estimate the rates of leaving.

    Parameters
    ----------
    sojourns : Sojourns
        Perhaps cut to a period (:meth:`Sojourns.between`).
    half_life_days : float, optional
        What happened so long ago counts half: practice changes. By default
        :data:`HALF_LIFE_DAYS`, or :data:`SHORT_HALF_LIFE_DAYS` where less than
        :data:`SHORT_DAYS` days are known: a wave, not a habit. Infinite: all
        counts alike.

    Raises
    ------
    UsageError
        Fewer than :data:`LEAST_SOJOURNS` have ended.

    Notes
    -----
    Occurrences over exposure in bands, the discrete-time form of the
    Aalen-Johansen increments; the factors of the hour and of the weekday and
    the rates of the bands are fitted in turn until they agree (a Poisson model
    with three factors, by iterative proportional fitting).
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
    now = float(sojourns.clock(pl.Series([sojourns.now], dtype=TIME))[0])
    seen_days = now - float(sojourns.clock(frame["entered"]).to_numpy().min())
    if half_life_days is None:
        half_life_days = SHORT_HALF_LIFE_DAYS if seen_days < SHORT_DAYS else HALF_LIFE_DAYS
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
    rows = _step_rows(sojourns, frame, target, now, step_hours)
    phase_of, state_of = _phases(state[target >= 0], before[target >= 0], len(states))
    # The phase of a state as such is learnt from all of its sojourns, so that
    # those who came from a rare place have rates too.
    phase = phase_of[before + 1, state]
    apart = np.flatnonzero(phase >= len(states))
    rows = rows.chosen(np.concatenate([np.arange(len(state)), apart]))
    phase = np.concatenate([phase, state[apart]])
    edges = _edges(daily)
    band_of = np.stack(
        [_bands(rows.half[rows.ended & (phase == p)], edges) for p in range(len(state_of))]
    )
    memory = half_life_days * 24 / step_hours
    counts = _count(rows, phase, band_of, memory, len(targets), daily=daily)
    clock, week = _clock(counts, len(states), daily=daily)
    rates = _rates(counts, clock, week, len(states), daily=daily)
    recent = _count(rows, phase, band_of, PACE_DAYS * 24 / step_hours, len(targets), daily=daily)
    pace, pace_ends = _pace(recent, rates, clock, week, len(states))
    borrowed = _borrow(rates, counts.ends, counts.exposure, len(states))
    return LengthModel(
        states=states,
        exits=exits,
        step_hours=step_hours,
        state_of=state_of,
        phase_of=phase_of,
        band_of=band_of,
        rates=rates,
        ends=counts.ends,
        clock=clock,
        week=week,
        pace=pace,
        pace_ends=pace_ends,
        borrowed=tuple(states[k] for k in borrowed),
        sojourns=frame.height,
        ended=ended_count,
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """Sojourns as arrays: ages in steps, the hour of the week at which they began."""

    entry: Floats
    leave: Floats
    hour: Floats
    ago: Floats
    target: Numbers
    half: Numbers

    @property
    def ended(self) -> npt.NDArray[np.bool_]:
        return self.target >= 0

    def chosen(self, at: Numbers) -> _Rows:
        return _Rows(
            self.entry[at], self.leave[at], self.hour[at], self.ago[at], self.target[at],
            self.half[at],
        )  # fmt: skip


def _step_rows(
    sojourns: Sojourns,
    frame: pl.DataFrame,
    target: Numbers,
    now: float,
    step_hours: float,
) -> _Rows:
    daily = step_hours == 24
    entry = frame["entry_days"].to_numpy() * 24 / step_hours
    leave = frame["exit_days"].to_numpy() * 24 / step_hours
    if daily:
        entry, leave = np.rint(entry), np.rint(leave)
    local = frame["start"].dt.convert_time_zone(sojourns.zone)
    weekday = (local.dt.weekday().to_numpy() - 1) * 24.0
    clock = (local.dt.hour() + local.dt.minute() / 60).to_numpy()
    # A length that ends a step belongs to the step it ends; days end at whole numbers.
    half = (2 * leave - 1 if daily else 2 * leave).astype(np.int64)
    return _Rows(
        entry=entry,
        leave=leave,
        hour=weekday if daily else weekday + clock,
        ago=(now - sojourns.clock(frame["start"]).to_numpy()) * 24 / step_hours,
        target=target,
        half=np.clip(half, 0, 2 * _LONGEST - 1),
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    """Weighted ends by phase, band and target, and by phase, group and hour; time at risk."""

    ends: Floats
    by_hour: Floats
    exposure: Floats

    def groups(self, states: int) -> Floats:
        """Ends by phase, band and group: moves, exits."""
        moves, exits = self.ends[:, :, :states], self.ends[:, :, states:]
        return np.stack([moves.sum(axis=2), exits.sum(axis=2)], axis=2)


def _count(
    rows: _Rows, phase: Numbers, band_of: Numbers, memory: float, targets: int, *, daily: bool
) -> _Counts:
    phases, bands = len(band_of), int(band_of.max()) + 1
    ended = rows.ended
    weight = 0.5 ** ((rows.ago - rows.leave)[ended] / memory)
    ends = np.zeros((phases, bands, targets))
    np.add.at(ends, (phase[ended], band_of[phase, rows.half][ended], rows.target[ended]), weight)
    step = 24 if daily else 1
    hour = (rows.hour + step * rows.leave).astype(np.int64)[ended] % 168
    by_hour = np.zeros((phases, targets, 168))
    np.add.at(by_hour, (phase[ended], rows.target[ended], hour), weight)
    exposure = _exposures(
        phase, rows.entry, rows.leave, rows.hour, rows.ago, memory, band_of, bands, daily
    )
    return _Counts(ends, by_hour, exposure)


def _phases(state: Numbers, before: Numbers, states: int) -> tuple[Numbers, Numbers]:
    """Split states by where patients came from, where enough sojourns ended."""
    counts = np.zeros((states + 1, states), dtype=np.int64)
    np.add.at(counts, (before + 1, state), 1)
    state_of = list(range(states))
    phase_of = np.tile(np.arange(states), (states + 1, 1))
    for from_, to in zip(*np.nonzero(counts >= LEAST_OF_A_PHASE), strict=True):
        phase_of[from_, to] = len(state_of)
        state_of.append(int(to))
    return phase_of, np.array(state_of, dtype=np.int64)


def _at_risk(exposure: Floats, clock: Floats, week: Floats) -> Floats:
    """Time at risk by phase, band and group, each hour at its factor."""
    by_day = exposure.reshape(*exposure.shape[:2], 7, 24)
    result: Floats = np.einsum("pbdh,pgh,gd->pbg", by_day, clock, week, optimize=True)
    return result


def _rates(counts: _Counts, clock: Floats, week: Floats, states: int, *, daily: bool) -> Floats:
    ends = counts.ends
    group = (np.arange(ends.shape[2]) >= states).astype(np.int64)
    under = _at_risk(counts.exposure, clock, week)[:, :, group]
    each = np.divide(ends, under, out=np.zeros_like(ends), where=under > 0)
    if not daily:
        return each
    # Discrete days: `each` sums to the share of those at risk that left; as a
    # rate, so that the chance of leaving is that share again.
    total = each.sum(axis=2, keepdims=True)
    rate = -np.log1p(-np.minimum(total, 1 - 1e-9))
    rates: Floats = np.divide(each * rate, total, out=np.zeros_like(each), where=total > 0)
    return rates


def _clock(counts: _Counts, states: int, *, daily: bool) -> tuple[Floats, Floats]:
    """Fit factors of the hour and of the weekday, with the rates, in turn."""
    phases = len(counts.ends)
    clock, week = np.ones((phases, 2, 24)), np.ones((2, 7))
    by_group = counts.groups(states)
    moves, exits = counts.by_hour[:, :states].sum(axis=1), counts.by_hour[:, states:].sum(axis=1)
    at = np.stack([moves, exits], axis=1).reshape(phases, 2, 7, 24)
    by_day = counts.exposure.reshape(*counts.exposure.shape[:2], 7, 24)
    for _ in range(10):
        under = _at_risk(counts.exposure, clock, week)
        rate = np.divide(by_group, under, out=np.zeros_like(by_group), where=under > 0)
        expected = np.einsum("pbg,pbdh->pgdh", rate, by_day, optimize=True)
        if not daily:
            in_hours = (expected * week[None, :, :, None]).sum(axis=2)
            by_hour = at.sum(axis=2)
            # Phases that are parts of a state are counted with it.
            common = (by_hour[:states].sum(axis=0) + _CLOCK_PRIOR) / (
                in_hours[:states].sum(axis=0) + _CLOCK_PRIOR
            )
            clock = (by_hour + _CLOCK_PRIOR * common) / (in_hours + _CLOCK_PRIOR)
        # Phases that are parts of a state are counted with it.
        in_days = (expected * clock[:, :, None, :])[:states].sum(axis=(0, 3))
        week = (at[:states].sum(axis=(0, 3)) + _WEEK_PRIOR) / (in_days + _WEEK_PRIOR)
    return clock, week


def _pace(
    recent: _Counts, rates: Floats, clock: Floats, week: Floats, states: int
) -> tuple[Floats, Floats]:
    """How the last days of each state compare with its rates: of moves, of exits."""
    under = _at_risk(recent.exposure, clock, week)[:states]
    rate = np.stack(
        [rates[:states, :, :states].sum(axis=2), rates[:states, :, states:].sum(axis=2)], axis=2
    )
    expected = (-np.expm1(-rate) * under if rates.max() > 0 else under).sum(axis=1)
    seen = recent.groups(states)[:states].sum(axis=1)
    return (seen + _PACE_PRIOR) / (expected + _PACE_PRIOR), seen + _PACE_PRIOR


def _borrow(rates: Floats, ends: Floats, exposure: Floats, states: int) -> list[int]:
    """Give states with too few ends the common rate and exits of all; in place."""
    few = [int(k) for k in np.flatnonzero(ends[:states].sum(axis=(1, 2)) < LEAST_OF_A_STATE)]
    common = ends[:states, :, states:].sum(axis=(0, 1)) / exposure[:states].sum()
    for k in few:
        rates[k] = ends[k] = 0.0
        rates[k, :, states:] = common
    return few
