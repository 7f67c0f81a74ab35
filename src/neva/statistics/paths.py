"""Paths drawn from estimated transitions, as if cases had no memory but their state and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.statistics.transitions import CENSORED, RiskTable, Transitions

__all__ = ["Paths", "draw_paths"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Paths:
    """Drawn paths: one row a state that a case was in.

    Attributes
    ----------
    case : array of int, shape (n,)
        From 0; sorted by case, then time.
    entry, exit : array of float, shape (n,)
        In the state from `entry` (closed) to `exit` (open).
    state, target : array of int, shape (n,)
        `target` is -1 where the path ended with the period.
    until : float
        The end of the period. Absorbing states last until it.
    state_names : tuple of str
    """

    case: Integers
    entry: Floats
    exit: Floats
    state: Integers
    target: Integers
    until: float
    state_names: tuple[str, ...]

    @property
    def cases(self) -> int:
        """How many paths there are."""
        return int(self.case[-1]) + 1 if len(self.case) else 0

    def occupation(self, times: npt.ArrayLike) -> Floats:
        """Return the share of paths in each state at given times, shape (k, states)."""
        asked = np.asarray(times, dtype=np.float64)
        found = np.zeros((len(asked), len(self.state_names)))
        for state in range(len(self.state_names)):
            here = self.state == state
            begun = np.searchsorted(np.sort(self.entry[here]), asked, side="right")
            # A state that lasts until the end of the period is not left at it.
            ended = here & (self.target != CENSORED)
            left = np.searchsorted(np.sort(self.exit[ended]), asked, side="right")
            found[:, state] = (begun - left) / max(self.cases, 1)
        return found

    def to_frame(self) -> pl.DataFrame:
        """Return ``case``, ``entry``, ``exit``, ``state``, ``target`` (missing: still there)."""
        names = pl.Series(self.state_names, dtype=pl.String)
        targets = pl.Series(self.target)
        return pl.DataFrame(
            {
                "case": self.case,
                "entry": self.entry,
                "exit": self.exit,
                "state": names.gather(pl.Series(self.state).cast(pl.UInt32)),
                "target": names.gather(targets.set(targets == CENSORED, None)),
            }
        )


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Ways out of one state, by time.

    Time of leaving is drawn by inversion: minus the logarithm of staying,
    summed up, first passes an exponential number. Where everybody leaves the
    sum would be infinite from then on, so such times are kept apart.
    """

    times: Floats
    staying: Floats
    certain: Integers
    first: Integers
    chances: Floats
    targets: Integers

    @classmethod
    def of(cls, table: RiskTable, state: int) -> _Leaving:
        chosen = np.flatnonzero(table.origin == state)
        number, first = np.unique(table.number[chosen], return_index=True)
        hazard = table.hazards[chosen]
        bounds = np.append(first, len(chosen))
        total = np.add.reduceat(hazard, first) if len(chosen) else np.zeros(0)
        all_leave = total >= 1 - 1e-14
        # Number of the next time at which all leave, from each time on.
        position = np.where(all_leave, np.arange(len(total)), len(total))
        certain = np.minimum.accumulate(np.append(position, len(total))[::-1])[::-1]
        staying = np.cumsum(-np.log1p(-np.where(all_leave, 0.0, total)))
        # Chances of ways run on over all times: the fraction is added to the number.
        chances = np.cumsum(hazard / np.repeat(total, np.diff(bounds)))
        return cls(
            times=table.times[number],
            staying=np.concatenate([[0.0], staying]),
            certain=certain,
            first=bounds,
            chances=chances,
            targets=table.target[chosen].astype(np.int64),
        )

    def draw(self, now: Floats, rng: np.random.Generator) -> tuple[Floats, Integers]:
        """Return when each leaves (infinite: never) and where to."""
        begin = np.searchsorted(self.times, now, side="right")
        passed = self.staying[begin] + rng.exponential(size=len(now))
        found = np.searchsorted(self.staying, passed, side="right") - 1
        found = np.minimum(np.maximum(found, begin), self.certain[begin])
        leaves = found < len(self.times)
        when = np.full(len(now), np.inf)
        when[leaves] = self.times[found[leaves]]
        to = np.full(len(now), CENSORED, dtype=np.int64)
        low, high = self.first[found[leaves]], self.first[found[leaves] + 1] - 1
        # Time number i has chances from i to i + 1.
        way = np.searchsorted(self.chances, found[leaves] + rng.random(len(low)), side="right")
        to[leaves] = self.targets[np.clip(way, low, high)]
        return when, to


def draw_paths(
    transitions: Transitions,
    *,
    initial: npt.ArrayLike,
    until: float,
    rng: np.random.Generator,
    start: float = 0.0,
) -> Paths:
    """Draw paths of cases through the states.

    Parameters
    ----------
    transitions : Transitions
        What the shares that move are taken from (Nelson-Aalen increments).
    initial : array_like of int, shape (n,)
        State of each case at `start`.
    until : float
        Paths end here (moves at it are still drawn).
    rng : numpy.random.Generator
        Seeded by the caller; the same seed gives the same paths.
    start : float

    Returns
    -------
    Paths
        On average their occupation is that of
        :func:`neva.statistics.multistate.aalen_johansen`.

    Raises
    ------
    UsageError
        No cases, an unknown state, or an empty period.

    Notes
    -----
    Where a case goes next depends on its state and the time since the origin,
    not on how long it has been in the state. A case in a state in which nobody
    was observed any more stays there.

    Examples
    --------
    >>> seen = Transitions([0, 0], [1, 2], [0, 0], [1, 1], ("ward", "home"))
    >>> drawn = draw_paths(seen, initial=[0, 0, 0], until=5, rng=np.random.default_rng(1))
    >>> drawn.occupation([0, 2]).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    state = np.asarray(initial, dtype=np.int64)
    if state.ndim != 1 or not len(state) or state.min() < 0 or state.max() >= transitions.states:
        message = (
            f"initial: not states of cases; found shape {state.shape}; give a number from 0 to "
            f"{transitions.states - 1} for each case"
        )
        raise UsageError(message)
    if not until > start:
        message = f"until: not after the start; found {until:g} and {start:g}; give a later end"
        raise UsageError(message)
    ways = [_Leaving.of(transitions.risk_table, h) for h in range(transitions.states)]
    case = np.arange(len(state))
    now = np.full(len(state), float(start))
    parts = []
    # One round a move, all cases together; few cases move very often.
    while len(case):
        when = np.empty(len(case))
        to = np.empty(len(case), dtype=np.int64)
        for h in np.unique(state):
            here = state == h
            when[here], to[here] = ways[h].draw(now[here], rng)
        over = when > until
        when[over], to[over] = until, CENSORED
        parts.append((case, now, when, state, to))
        case, now, state = case[~over], when[~over], to[~over]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    cases, entries, exits, states, targets = (column[order] for column in columns)
    return Paths(cases, entries, exits, states, targets, until, transitions.state_names)
