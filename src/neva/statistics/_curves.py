"""Shared parts of curves over time: limits, and which times are kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from neva.errors import UsageError
from neva.statistics.transitions import RiskTable

Floats = npt.NDArray[np.float64]


def log_log_limits(
    share: npt.ArrayLike, variance: npt.ArrayLike, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Return confidence limits of probabilities, symmetric for ``log(-log(p))``.

    At 0 and 1, where the transformation has no value, plain limits cut at 0
    and 1 are returned instead.

    Parameters
    ----------
    share, variance : array_like of float, any one shape
    level : float
        0-1.

    References
    ----------
    Kalbfleisch JD, Prentice RL (2002), doi:10.1002/9781118032985.
    """
    if not 0 < level < 1:
        raise UsageError(f"level: {level} is not a confidence level; give one between 0 and 1")
    p = np.asarray(share, dtype=np.float64)
    error = np.sqrt(np.maximum(np.asarray(variance, dtype=np.float64), 0))
    z = float(ndtri((1 + level) / 2))
    lower, upper = np.clip(p - z * error, 0, 1), np.clip(p + z * error, 0, 1)
    # Sums of shares may miss 1 by rounding: their logarithm is then nothing.
    inside = (p > 1e-12) & (p < 1 - 1e-12)
    q = p[inside]
    power = z * error[inside] / (q * np.log(q))
    with np.errstate(over="ignore"):
        lower[inside], upper[inside] = q ** np.exp(-power), q ** np.exp(power)
    return lower, upper


def steps(times: Floats, asked: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """How many of the times are at or before each time asked for."""
    return np.searchsorted(times, asked, side="right")


def not_before(start: float, asked: Floats) -> None:
    if not np.all(asked >= start):
        message = f"times: some are before the start, {start:g}, or missing; give later ones"
        raise UsageError(message)


def kept_times(
    table: RiskTable, start: float, times: npt.ArrayLike | None
) -> tuple[int, Floats, npt.NDArray[np.int64]]:
    """First time after the start; times to keep, and how many are used up at each."""
    begin = int(np.searchsorted(table.times, start, side="right"))
    if times is None:
        count = len(table.times)
        return begin, table.times[begin:], np.arange(begin + 1, count + 1)
    asked = np.asarray(times, dtype=np.float64)
    not_before(start, asked)
    if np.any(np.diff(asked) < 0):
        raise UsageError("times: they are not in order; sort them")
    return begin, asked, np.maximum(steps(table.times, asked), begin)
