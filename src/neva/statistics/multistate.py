"""Where cases are after a time, without a model of how long they stay.

The Aalen-Johansen estimator and its relatives: they take the share that moved
among those at risk at each time, and multiply. Left truncation and right
censoring are taken into account if they say nothing about what comes next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.statistics import _multistate_kernels as kernels
from neva.statistics._curves import kept_times, log_log_limits, not_before, steps
from neva.statistics.incidence import (
    CumulativeHazards,
    CumulativeIncidence,
    cumulative_incidence,
    nelson_aalen,
)
from neva.statistics.transitions import RiskTable, Transitions

__all__ = [
    "CumulativeHazards",
    "CumulativeIncidence",
    "Occupation",
    "TransitionProbabilities",
    "aalen_johansen",
    "cumulative_incidence",
    "log_log_limits",
    "nelson_aalen",
    "transition_probabilities",
]

Floats = npt.NDArray[np.float64]

#: Numbers of a covariance over time that are kept at most (1 GiB).
_MOST_NUMBERS = 1 << 27


@dataclass(frozen=True, eq=False, slots=True)
class Occupation:
    """Probability to be in each state at each time.

    Attributes
    ----------
    times : array, shape (k,)
        Ascending. A probability holds from its time (closed) to the next.
    occupation : array, shape (k, states)
        Rows sum to 1.
    covariance : array, shape (k, states, states), or None
    at_risk : array, shape (k, states)
        Weight at risk just before the last transition time so far. Where it
        is small, one case moves the curve.
    start : float
    initial : array, shape (states,)
        The distribution at `start`.
    state_names : tuple of str
    """

    times: Floats
    occupation: Floats
    covariance: Floats | None
    at_risk: Floats
    start: float
    initial: Floats
    state_names: tuple[str, ...]

    @property
    def variance(self) -> Floats:
        """Variance of each probability, shape (k, states)."""
        if self.covariance is None:
            message = "occupation: its covariance was not asked for; estimate with covariance=True"
            raise UsageError(message)
        variance: Floats = np.maximum(np.diagonal(self.covariance, axis1=1, axis2=2), 0)
        return variance

    def limits(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return confidence limits (log-log) at each time, each of shape (k, states)."""
        return log_log_limits(self.occupation, self.variance, level)

    def at(self, times: npt.ArrayLike) -> Floats:
        """Return the occupation at given times, shape (len(times), states)."""
        asked = np.asarray(times, dtype=np.float64)
        not_before(self.start, asked)
        table = np.vstack([self.initial, self.occupation])
        found: Floats = table[steps(self.times, asked)]
        return found

    def expected_time(self, until: float) -> Floats:
        """Return the expected time spent in each state from `start` to `until`, shape (states,).

        The area under each curve (restricted mean). Only of an occupation that
        has all times of transitions, not a choice of them.
        """
        not_before(self.start, np.array([until]))
        inside = self.times < until
        edges = np.concatenate([[self.start], self.times[inside], [until]])
        table = np.vstack([self.initial, self.occupation[inside]])
        spent: Floats = np.diff(edges) @ table
        return spent

    def to_frame(self, level: float = 0.95) -> pl.DataFrame:
        """Return ``time``, ``state``, ``probability``, ``at_risk`` and limits if they are known."""
        columns: dict[str, object] = {
            "time": np.repeat(self.times, len(self.state_names)),
            "state": list(self.state_names) * len(self.times),
            "probability": self.occupation.ravel(),
            "at_risk": self.at_risk.ravel(),
        }
        if self.covariance is not None:
            lower, upper = self.limits(level)
            columns |= {"lower": lower.ravel(), "upper": upper.ravel()}
        return pl.DataFrame(columns)


@dataclass(frozen=True, eq=False, slots=True)
class TransitionProbabilities:
    """Probability to be in each state at each time, given the state at the start.

    Attributes
    ----------
    times : array, shape (k,)
    probability : array, shape (k, states, states)
        ``[i, h, j]``: in j at ``times[i]`` given in h at `start`.
    covariance : array, shape (k, states, states, states, states), or None
        ``[i, h, j, a, b]``: of the probabilities (h, j) and (a, b).
    start : float
    state_names : tuple of str
    """

    times: Floats
    probability: Floats
    covariance: Floats | None
    start: float
    state_names: tuple[str, ...]

    @property
    def variance(self) -> Floats:
        """Variance of each probability, shape (k, states, states)."""
        if self.covariance is None:
            message = "probabilities: covariance was not asked for; estimate with covariance=True"
            raise UsageError(message)
        found: Floats = np.maximum(np.einsum("khjhj->khj", self.covariance), 0)
        return found

    def limits(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return confidence limits (log-log), each of shape (k, states, states)."""
        return log_log_limits(self.probability, self.variance, level)

    def to_frame(self) -> pl.DataFrame:
        """Return ``time``, ``origin``, ``state``, ``probability``, perhaps ``variance``."""
        names, count = self.state_names, len(self.times)
        columns: dict[str, object] = {
            "time": np.repeat(self.times, len(names) ** 2),
            "origin": [name for name in names for _ in names] * count,
            "state": list(names) * len(names) * count,
            "probability": self.probability.ravel(),
        }
        if self.covariance is not None:
            columns["variance"] = self.variance.ravel()
        return pl.DataFrame(columns)


def _carry(
    table: RiskTable,
    begin: int,
    keep: npt.NDArray[np.int64],
    initial: Floats,
    spread: Floats | None,
) -> tuple[Floats, Floats | None]:
    rows, states = initial.shape
    if spread is None:
        carried: Floats = kernels.product_integral(
            table.offsets, table.origin, table.target, table.hazards, begin, keep, initial
        )
        return carried, None
    numbers = len(keep) * (rows * states) ** 2
    if numbers > _MOST_NUMBERS:
        message = (
            f"covariance: {len(keep)} times and {states} states are {numbers:.2g} numbers, above "
            f"the limit of {_MOST_NUMBERS:.2g}; choose fewer `times`, or covariance=False"
        )
        raise UsageError(message)
    mean, covariance = kernels.product_integral_covariance(
        table.offsets, table.origin, table.target, table.hazards, table.at_risk,
        begin, keep, initial, spread,
    )  # fmt: skip
    return mean, covariance


def aalen_johansen(
    transitions: Transitions,
    *,
    start: float = 0.0,
    initial: npt.ArrayLike | None = None,
    covariance: bool = True,
    times: npt.ArrayLike | None = None,
) -> Occupation:
    """Estimate the probability to be in each state at each time.

    Parameters
    ----------
    transitions : Transitions
    start : float
        Transitions after it (open) count.
    initial : array_like, shape (states,), optional
        Distribution at `start`, taken as known. By default the shares of
        those observed just after `start`, whose own chance error is then part
        of the covariance.
    covariance : bool
        Whether to estimate it (slower: every time needs states² steps more).
    times : array_like, shape (k,), optional
        Ascending; where to keep the estimate. By default all times of
        transitions after `start`.

    Returns
    -------
    Occupation

    Raises
    ------
    UsageError
        Nobody is observed at `start`, or `initial` is no distribution.

    Notes
    -----
    The covariance is Greenwood's, as in R's ``etm(..., covariance=TRUE)``
    (which sets negative covariances to 0 on output; here they are kept). It
    holds for Markov processes and independent cases; the probabilities
    themselves hold for other processes too if censoring is independent (Datta
    & Satten 2001, doi:10.1016/S0167-7152(01)00155-9), but not under left
    truncation. R's ``survfit`` has another variance, the infinitesimal
    jackknife.

    Where nobody is at risk in a state any more, those in it stay for ever:
    check ``at_risk`` before reading the end of a curve.

    References
    ----------
    Aalen OO, Johansen S (1978), Scand J Statist 5:141-150.
    Andersen PK et al. (1993), doi:10.1007/978-1-4612-4348-9.

    Examples
    --------
    >>> seen = Transitions([0, 0, 0, 2], [2, 3, 4, 5], [0, 0, 0, 1], [1, 2, 2, 2],
    ...                    ("ward", "icu", "home"))
    >>> aalen_johansen(seen, initial=[1, 0, 0]).to_frame().pivot(
    ...     "state", index="time", values="probability")["icu"].round(3).to_list()
    [0.333, 0.333, 0.333, 0.0]
    """
    table = transitions.risk_table
    begin, asked, keep = kept_times(table, start, times)
    first, spread = _initial(transitions, start, initial)
    carried, covariances = _carry(
        table, begin, keep, first[None, :], spread[None, :, None, :] if covariance else None
    )
    return Occupation(
        times=asked,
        occupation=carried[:, 0, :],
        covariance=None if covariances is None else covariances[:, 0, :, 0, :],
        at_risk=_at_risk(table, keep),
        start=start,
        initial=first,
        state_names=transitions.state_names,
    )


def _at_risk(table: RiskTable, keep: npt.NDArray[np.int64]) -> Floats:
    if not len(table.times):
        return np.zeros((len(keep), table.at_risk.shape[1]))
    risk: Floats = table.at_risk[np.maximum(keep - 1, 0)]
    return risk


def _initial(
    transitions: Transitions, start: float, given: npt.ArrayLike | None
) -> tuple[Floats, Floats]:
    """Distribution at the start and its covariance."""
    states = transitions.states
    if given is None:
        present = transitions.present(start)
        total = present.sum()
        if not total:
            message = (
                f"initial: nobody is observed at the start, {start:g}, to count shares of; "
                "give the distribution, or a start at which somebody is observed"
            )
            raise UsageError(message)
        shares = present / total
        return shares, (np.diag(shares) - np.outer(shares, shares)) / total
    shares = np.asarray(given, dtype=np.float64)
    if shares.shape != (states,) or np.any(shares < 0) or not np.isclose(shares.sum(), 1):
        message = (
            f"initial: no distribution over {states} states; found shape {shares.shape} and "
            f"sum {shares.sum():g}; give one share a state, with sum 1"
        )
        raise UsageError(message)
    return shares, np.zeros((states, states))


def transition_probabilities(
    transitions: Transitions,
    *,
    start: float = 0.0,
    covariance: bool = True,
    times: npt.ArrayLike | None = None,
) -> TransitionProbabilities:
    """Estimate the matrix P(start, t) of transition probabilities.

    Parameters, notes and references: :func:`aalen_johansen`. Unlike occupation
    from the initial distribution, these need a Markov process.

    Examples
    --------
    >>> seen = Transitions([0, 0, 2], [2, 4, 5], [0, 0, 1], [1, 2, 2], ("ward", "icu", "home"))
    >>> transition_probabilities(seen, start=2, times=[4]).probability[0].tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    table = transitions.risk_table
    states = transitions.states
    begin, asked, keep = kept_times(table, start, times)
    spread = np.zeros((states,) * 4) if covariance else None
    carried, covariances = _carry(table, begin, keep, np.eye(states), spread)
    return TransitionProbabilities(asked, carried, covariances, start, transitions.state_names)
