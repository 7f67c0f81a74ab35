"""Accuracy of forecasts of counts: proper scores, coverage, calibration.

A forecast is a distribution over 0, 1, 2, … (an array of probabilities, or a
row of a matrix of them), an observation a count. Scores are negatively
oriented: lower is better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.statistics.distributions import quantiles
from neva.statistics.intervals import proportion_interval

__all__ = [
    "Coverage",
    "Reliability",
    "Skill",
    "coverage",
    "crps",
    "expected_crps",
    "log_score",
    "pinball",
    "pit_values",
    "reliability",
    "skill",
]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

#: A probability of 0 that came true has no logarithm; this one stands for it.
SMALLEST = 1e-12


def _checked_forecasts(forecasts: npt.ArrayLike, observed: npt.ArrayLike) -> tuple[Floats, Counts]:
    matrix = np.atleast_2d(np.asarray(forecasts, dtype=np.float64))
    counts = np.atleast_1d(np.asarray(observed))
    if matrix.shape[0] != counts.shape[0]:
        message = (
            f"scores: forecasts and observations do not fit; found {matrix.shape[0]} and "
            f"{counts.shape[0]}; give one distribution an observation"
        )
        raise UsageError(message)
    if np.any(counts < 0) or np.any(counts != np.floor(counts)):
        message = "scores: observations must be counts; found others; give whole numbers from 0"
        raise UsageError(message)
    return matrix, counts.astype(np.int64)


def crps(forecasts: npt.ArrayLike, observed: npt.ArrayLike) -> Floats:
    """Return the continuous ranked probability score of each forecast, in patients.

    Parameters
    ----------
    forecasts : array, shape (n, k)
        Probabilities of 0 to k - 1.
    observed : array of int, shape (n,)

    Returns
    -------
    array, shape (n,)
        ``sum over x of (F(x) - [observed <= x])**2``; of a forecast that is
        sure of one count it is the absolute error.

    References
    ----------
    Gneiting T, Raftery AE (2007), doi:10.1198/016214506000001437.

    Examples
    --------
    >>> crps([[0.25, 0.5, 0.25]], [1]).tolist()
    [0.125]
    """
    matrix, counts = _checked_forecasts(forecasts, observed)
    cumulative = np.cumsum(matrix, axis=1)
    at = np.arange(matrix.shape[1])
    inside: Floats = ((cumulative - (counts[:, None] <= at)) ** 2).sum(axis=1)
    # An observation beyond the last count kept: the cumulative stays at 1.
    found: Floats = inside + np.maximum(counts - matrix.shape[1], 0)
    return found


def expected_crps(forecasts: npt.ArrayLike) -> Floats:
    """Return the score that each forecast expects if it is true: the noise floor.

    Returns
    -------
    array, shape (n,)
        ``sum over x of F(x) (1 - F(x))``. A forecast that scores so needs no
        improvement that the data could show; one that scores much more is wrong.
    """
    cumulative = np.cumsum(np.atleast_2d(np.asarray(forecasts, dtype=np.float64)), axis=1)
    spread: Floats = (cumulative * np.clip(1 - cumulative, 0, None)).sum(axis=1)
    return spread


def log_score(forecasts: npt.ArrayLike, observed: npt.ArrayLike) -> Floats:
    """Return minus the logarithm of the probability given to what happened, in nats.

    Probabilities below :data:`SMALLEST` count as it.
    """
    matrix, counts = _checked_forecasts(forecasts, observed)
    inside = counts < matrix.shape[1]
    given = np.where(
        inside, matrix[np.arange(len(counts)), np.minimum(counts, matrix.shape[1] - 1)], 0.0
    )
    score: Floats = -np.log(np.maximum(given, SMALLEST))
    return score


def pinball(forecasts: npt.ArrayLike, observed: npt.ArrayLike, level: float) -> Floats:
    """Return the quantile loss at `level`, in patients, shape (n,)."""
    matrix, counts = _checked_forecasts(forecasts, observed)
    at = quantiles(matrix, [level])[:, 0]
    above = counts - at
    loss: Floats = np.where(above >= 0, level * above, (level - 1) * above).astype(np.float64)
    return loss


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often intervals held what happened.

    Attributes
    ----------
    level : float
        What the interval claims, 0.9 of the middle for 5 % to 95 %.
    claimed : float
        The probability that the forecasts themselves gave to their intervals,
        on average. Counts are whole: it exceeds `level`.
    held, low, high : float
        The share of observations inside, with its exact 95 % interval, which
        takes them as independent.
    observations : int
    width : float
        Mean width, in patients.
    """

    level: float
    claimed: float
    held: float
    low: float
    high: float
    observations: int
    width: float


def coverage(forecasts: npt.ArrayLike, observed: npt.ArrayLike, level: float) -> Coverage:
    """Check central intervals, both ends inside.

    Parameters
    ----------
    forecasts : array, shape (n, k)
    observed : array of int, shape (n,)
    level : float
        Between 0 and 1.
    """
    matrix, counts = _checked_forecasts(forecasts, observed)
    ends = quantiles(matrix, [(1 - level) / 2, (1 + level) / 2])
    inside = (counts >= ends[:, 0]) & (counts <= ends[:, 1])
    cumulative = np.concatenate([np.zeros((len(matrix), 1)), np.cumsum(matrix, axis=1)], axis=1)
    row = np.arange(len(matrix))
    claimed = cumulative[row, ends[:, 1] + 1] - cumulative[row, ends[:, 0]]
    share = proportion_interval(int(inside.sum()), len(counts))
    return Coverage(
        level=level,
        claimed=float(claimed.mean()),
        held=float(share.estimate[0]),
        low=float(share.lower[0]),
        high=float(share.upper[0]),
        observations=len(counts),
        width=float((ends[:, 1] - ends[:, 0]).mean()),
    )


def pit_values(
    forecasts: npt.ArrayLike, observed: npt.ArrayLike, rng: np.random.Generator
) -> Floats:
    """Return randomised probability integral transforms, uniform if forecasts are right.

    Between the cumulative probability below the observation and that of it, at
    random (Czado, Gneiting & Held 2009, doi:10.1111/j.1541-0420.2009.01191.x).
    """
    matrix, counts = _checked_forecasts(forecasts, observed)
    cumulative = np.concatenate([np.zeros((len(matrix), 1)), np.cumsum(matrix, axis=1)], axis=1)
    row = np.arange(len(counts))
    last = matrix.shape[1]
    low = cumulative[row, np.minimum(counts, last)]
    high = cumulative[row, np.minimum(counts + 1, last)]
    values: Floats = np.clip(low + rng.random(len(counts)) * (high - low), 0.0, 1.0)
    return values


@dataclass(frozen=True, slots=True)
class Reliability:
    """Shares of what happened at or below each level: on the diagonal if right.

    Attributes
    ----------
    frame : polars.DataFrame
        Columns ``level`` (0 to 1), ``share`` (of randomised transforms at or
        below it), ``low`` and ``high`` (where 95 % of the shares of a right
        forecast lie, point by point).
    bins : polars.DataFrame
        Columns ``from``, ``until``, ``count``, ``expected``: the histogram of
        the transforms.
    observations : int
    """

    frame: pl.DataFrame
    bins: pl.DataFrame
    observations: int

    def to_frame(self) -> pl.DataFrame:
        """Return the shares by level."""
        return self.frame


def reliability(transforms: npt.ArrayLike, *, bins: int = 10) -> Reliability:
    """Compare the levels of forecasts with how often they were reached (PIT, EPUDD).

    Parameters
    ----------
    transforms : array, shape (n,)
        See :func:`pit_values`.
    bins : int
        Of the histogram.
    """
    from scipy.stats import binom

    values = np.asarray(transforms, dtype=np.float64)
    levels = np.linspace(0, 1, 41)
    count = len(values)
    shares = np.searchsorted(np.sort(values), levels, side="right") / max(count, 1)
    heights, edges = np.histogram(values, bins=bins, range=(0, 1))
    return Reliability(
        frame=pl.DataFrame(
            {
                "level": levels,
                "share": shares,
                "low": binom.ppf(0.025, max(count, 1), levels) / max(count, 1),
                "high": binom.ppf(0.975, max(count, 1), levels) / max(count, 1),
            }
        ).with_columns(pl.col("low", "high").clip(0, 1)),
        bins=pl.DataFrame(
            {
                "from": edges[:-1],
                "until": edges[1:],
                "count": heights.astype(np.int64),
                "expected": np.full(bins, count / bins),
            }
        ),
        observations=count,
    )


@dataclass(frozen=True, slots=True)
class Skill:
    """How much better one forecast scored than another.

    Attributes
    ----------
    value : float
        ``1 - mean score / mean score of the baseline``: above 0 is better.
    difference : float
        Mean score minus the baseline's: below 0 is better.
    low, high : float
        Interval of the difference from the block bootstrap.
    value_low, value_high : float
        The same of the value; missing where a draw's baseline is without error.
    level : float
    block : int
        Length of blocks: neighbouring errors are alike.
    """

    value: float
    difference: float
    low: float
    high: float
    value_low: float
    value_high: float
    level: float
    block: int

    @property
    def is_better(self) -> bool:
        """The interval of the difference lies below zero."""
        return self.high < 0


def skill(
    scores: npt.ArrayLike,
    baseline: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    block: int | None = None,
    level: float = 0.95,
    draws: int = 2000,
) -> Skill:
    """Compare scores of the same occasions, in the order of time.

    Parameters
    ----------
    scores, baseline : array, shape (n,)
    rng : numpy.random.Generator
    block : int, optional
        Occasions that are drawn together; the cube root of their number times
        two if not given.
    level : float
        Of the interval.
    draws : int

    Raises
    ------
    UsageError
        The scores are not of the same occasions, there are none, or blocks are
        shorter than one.

    Notes
    -----
    Circular block bootstrap of pairs (Politis & Romano 1992), percentiles.
    """
    ours, theirs = np.asarray(scores, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if ours.shape != theirs.shape or not len(ours):
        message = (
            f"skill: scores must be of the same occasions; found {len(ours)} and {len(theirs)}; "
            "score both forecasts on the same times"
        )
        raise UsageError(message)
    if block is not None and block < 1:
        message = f"block: must be 1 or more; found {block}; give how many occasions are alike"
        raise UsageError(message)
    count = len(ours)
    length = block if block is not None else max(1, round(2 * count ** (1 / 3)))
    length = min(length, count)
    starts = rng.integers(0, count, size=(draws, math.ceil(count / length)))
    picked = (starts[:, :, None] + np.arange(length)).reshape(draws, -1)[:, :count] % count
    mine, other = ours[picked].mean(axis=1), theirs[picked].mean(axis=1)
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(mine - other, tails)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 1 - mine / other
        value = 1 - ours.mean() / theirs.mean() if theirs.mean() else float("nan")
    # A baseline may be exactly right now and then, but not throughout a draw.
    value_low, value_high = np.quantile(ratio, tails) if other.all() else (np.nan, np.nan)
    return Skill(
        value=float(value),
        difference=float(ours.mean() - theirs.mean()),
        low=float(low),
        high=float(high),
        value_low=float(value_low),
        value_high=float(value_high),
        level=level,
        block=length,
    )
