"""Cumulative hazards and cumulative incidences of competing exits.

A hazard adds up shares of those still at risk and may exceed 1; an incidence
is a probability among all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.statistics._curves import kept_times, log_log_limits, not_before, steps
from neva.statistics.transitions import Transitions

__all__ = [
    "CumulativeHazards",
    "CumulativeIncidence",
    "cumulative_incidence",
    "nelson_aalen",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class CumulativeHazards:
    """Nelson-Aalen estimates, one for each transition that was seen.

    Attributes
    ----------
    origin, target : array of int, shape (t,)
        The transitions, sorted.
    times : array, shape (k,)
    hazard, variance : array, shape (k, t)
        Cumulative.
    state_names : tuple of str
    """

    origin: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    times: Floats
    hazard: Floats
    variance: Floats
    state_names: tuple[str, ...]

    def to_frame(self) -> pl.DataFrame:
        """Return ``time``, ``origin``, ``target``, ``hazard``, ``variance``."""
        k, t = self.hazard.shape
        return pl.DataFrame(
            {
                "time": np.repeat(self.times, t),
                "origin": [self.state_names[h] for h in self.origin] * k,
                "target": [self.state_names[j] for j in self.target] * k,
                "hazard": self.hazard.ravel(),
                "variance": self.variance.ravel(),
            }
        )


def nelson_aalen(
    transitions: Transitions, *, start: float = 0.0, times: npt.ArrayLike | None = None
) -> CumulativeHazards:
    """Estimate the cumulative hazard of each transition since `start`.

    Parameters
    ----------
    transitions : Transitions
    start : float
        Transitions after it (open) count.
    times : array_like, shape (k,), optional
        Ascending; where to keep it. By default all times of transitions.

    Notes
    -----
    The variance is Aalen's, the sum of events over squares of those at risk,
    as ``std.chaz`` of R's ``survfit``.

    References
    ----------
    Aalen OO (1978), doi:10.1214/aos/1176344247.

    Examples
    --------
    >>> seen = Transitions([0, 0, 0], [1, 2, 3], [0, 0, 0], [1, 1, -1], ("ward", "home"))
    >>> nelson_aalen(seen).hazard[:, 0].round(4).tolist()
    [0.3333, 0.8333]
    """
    table = transitions.risk_table
    begin, asked, keep = kept_times(table, start, times)
    first = table.offsets[begin]
    pair = table.origin[first:].astype(np.int64) * transitions.states + table.target[first:]
    pairs, column = np.unique(pair, return_inverse=True)
    number = table.number[first:] - begin
    shape = (len(table.times) - begin + 1, len(pairs))
    sums = []
    increments = table.hazards[first:]
    for values in (increments, increments**2 / table.events[first:]):
        grid = np.zeros(shape)
        grid[number + 1, column] = values
        sums.append(np.cumsum(grid, axis=0)[keep - begin])
    return CumulativeHazards(
        origin=pairs // transitions.states,
        target=pairs % transitions.states,
        times=asked,
        hazard=sums[0],
        variance=sums[1],
        state_names=transitions.state_names,
    )


@dataclass(frozen=True, eq=False, slots=True)
class CumulativeIncidence:
    """Probability to have left a state by each time, by the way of leaving.

    Attributes
    ----------
    times : array, shape (k,)
    incidence, variance : array, shape (k, causes)
    remaining : array, shape (k,)
        Probability not to have left; with the incidences it sums to 1.
    at_risk : array, shape (k,)
        Just before each time.
    causes : tuple of str
    origin : str
    start : float
    """

    times: Floats
    incidence: Floats
    variance: Floats
    remaining: Floats
    at_risk: Floats
    causes: tuple[str, ...]
    origin: str
    start: float

    def limits(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return confidence limits (log-log) at each time, each of shape (k, causes)."""
        return log_log_limits(self.incidence, self.variance, level)

    def at(self, times: npt.ArrayLike) -> Floats:
        """Return the incidences at given times, shape (len(times), causes)."""
        asked = np.asarray(times, dtype=np.float64)
        not_before(self.start, asked)
        table = np.vstack([np.zeros(len(self.causes)), self.incidence])
        found: Floats = table[steps(self.times, asked)]
        return found

    def to_frame(self, level: float = 0.95) -> pl.DataFrame:
        """Return ``time``, ``cause``, ``incidence``, ``variance``, ``lower``, ``upper``."""
        lower, upper = self.limits(level)
        causes = len(self.causes)
        return pl.DataFrame(
            {
                "time": np.repeat(self.times, causes),
                "cause": list(self.causes) * len(self.times),
                "incidence": self.incidence.ravel(),
                "variance": self.variance.ravel(),
                "lower": lower.ravel(),
                "upper": upper.ravel(),
                "at_risk": np.repeat(self.at_risk, causes),
            }
        )


def cumulative_incidence(
    transitions: Transitions, *, origin: int = 0, start: float = 0.0
) -> CumulativeIncidence:
    """Estimate how many leave a state by each time, for each way of leaving.

    Parameters
    ----------
    transitions : Transitions
        Only intervals in `origin` are used.
    origin : int
        The state that is left.
    start : float
        Transitions after it (open) count.

    Returns
    -------
    CumulativeIncidence
        Given to be in `origin` at `start`.

    Raises
    ------
    UsageError
        No departure from `origin` after `start` was observed.

    Notes
    -----
    The other ways of leaving are not censoring: one minus a Kaplan-Meier
    estimate that takes them so says too much. The variance is Aalen's with a
    correction for ties, as in R's ``cmprsk::cuminc``; it differs a little from
    Greenwood's, which :func:`transition_probabilities` has.

    References
    ----------
    Aalen OO (1978), doi:10.1214/aos/1176344198.
    Gray RJ (1988), doi:10.1214/aos/1176350951.

    Examples
    --------
    >>> seen = Transitions([0, 0, 0, 0], [1, 2, 3, 4], [0, 0, 0, 0], [1, 2, -1, 1],
    ...                    ("ward", "home", "died"))
    >>> found = cumulative_incidence(seen)
    >>> found.incidence.tolist(), found.remaining.tolist()
    ([[0.25, 0.0], [0.25, 0.25], [0.75, 0.25]], [0.75, 0.5, 0.0])
    """
    if not 0 <= origin < transitions.states:
        message = f"origin: no such state; found {origin}; give a number below {transitions.states}"
        raise UsageError(message)
    table = transitions.risk_table
    chosen = (table.origin == origin) & (table.times[table.number] > start)
    if not chosen.any():
        message = (
            f"cumulative incidence: nobody left {transitions.state_names[origin]} after "
            f"{start:g}; choose a state that is left"
        )
        raise UsageError(message)
    number, step = np.unique(table.number[chosen], return_inverse=True)
    targets, column = np.unique(table.target[chosen], return_inverse=True)
    events = np.zeros((len(number), len(targets)))
    events[step, column] = table.events[chosen]
    at_risk = table.at_risk[number, origin]
    leaving = events.sum(axis=1)
    # Nothing remains where all left, whatever rounding leaves of them.
    share = np.where(leaving >= at_risk * (1 - 1e-14), 0.0, 1 - leaving / at_risk)
    remaining: Floats = np.cumprod(share, dtype=np.float64)
    before = np.concatenate([[1.0], remaining[:-1]])
    incidence = np.cumsum(before[:, None] * events / at_risk[:, None], axis=0)
    return CumulativeIncidence(
        times=table.times[number],
        incidence=incidence,
        variance=_aalen_variance(events, at_risk, before, remaining, incidence),
        remaining=remaining,
        at_risk=at_risk,
        causes=tuple(transitions.state_names[j] for j in targets),
        origin=transitions.state_names[origin],
        start=start,
    )


def _aalen_variance(
    events: Floats, at_risk: Floats, before: Floats, remaining: Floats, incidence: Floats
) -> Floats:
    """Sum over earlier times u of the squared effect of one event at u on F(t).

    An event of the cause at u moves F(t) by ``1 - (F(t) - F(u)) / S(u)``, one
    of another cause by ``-(F(t) - F(u)) / S(u)``, each times ``S(u-) / Y(u)``.
    Squares are multiplied out so that sums over u run once for all t. Ties are
    drawn without putting back: (Y - d) / (Y - 1).
    """
    left = np.where(remaining > 0, remaining, np.inf)
    variance = np.zeros_like(incidence)
    total = events.sum(axis=1)
    for cause in range(events.shape[1]):
        reached = incidence[:, cause]
        sums = np.zeros((3, len(at_risk)))
        for count, own in ((events[:, cause], 1.0), (total - events[:, cause], 0.0)):
            ties = np.where(count > 1, (at_risk - count) / np.maximum(at_risk - 1, 1e-300), 1.0)
            size = (before / at_risk) ** 2 * count * ties
            if not own:
                size = np.where(remaining > 0, size, 0.0)
            effect = own + reached / left
            sums += size * np.array([effect**2, effect / left, 1 / left**2])
        squares, mixed, plain = np.cumsum(sums, axis=1)
        variance[:, cause] = squares + reached**2 * plain - 2 * reached * mixed
    return np.maximum(variance, 0)
