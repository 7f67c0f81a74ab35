"""How long patients stay in a unit: quantiles on an equal-probability grid."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import special

from neva.errors import UsageError

__all__ = ["StayLength"]

#: Knots of the tables that the constructors of known distributions make.
_KNOTS = 1001


@dataclass(frozen=True, slots=True)
class StayLength:
    """A distribution of lengths of stay, as a table of its quantiles.

    Attributes
    ----------
    hours : tuple of float
        Quantiles at the probabilities 0, 1/(n-1), …, 1, in hours, rising;
        between them the quantile function is linear. At least two.

    Notes
    -----
    A length is drawn by inversion: the same uniform number gives the same
    patient a proportionally shorter stay under :meth:`times`, which is what
    makes scenarios comparable patient by patient.

    Examples
    --------
    >>> StayLength((0.0, 24.0, 96.0)).quantile(0.75)
    60.0
    >>> StayLength.deterministic(12).times(0.5).mean()
    6.0
    """

    hours: tuple[float, ...]

    def __post_init__(self) -> None:
        table = np.asarray(self.hours, dtype=np.float64)
        if table.ndim != 1 or table.size < 2:
            message = (
                f"length of stay: too few quantiles; found {table.size}; give at least two, "
                "from the shortest to the longest"
            )
            raise UsageError(message)
        if not np.isfinite(table).all() or table[0] < 0 or (np.diff(table) < 0).any():
            message = (
                "length of stay: quantiles must be finite, not negative and rising; found a table "
                "that is not; sort the hours and cut the longest"
            )
            raise UsageError(message)

    @classmethod
    def exponential(cls, mean_hours: float) -> StayLength:
        """Return the exponential distribution, its mean exact, its longest 0.1 % cut to a line."""
        grid = np.linspace(0, 1, _KNOTS)[:-1]
        return cls._with_mean(-_positive(mean_hours) * np.log1p(-grid), mean_hours)

    @classmethod
    def lognormal(cls, mean_hours: float, sigma: float) -> StayLength:
        """Return the lognormal distribution of a mean and a standard deviation of the logarithm."""
        grid = np.linspace(0, 1, _KNOTS)[:-1]
        middle = math.log(_positive(mean_hours)) - sigma * sigma / 2
        return cls._with_mean(np.exp(middle + sigma * special.ndtri(grid)), mean_hours)

    @classmethod
    def deterministic(cls, hours: float) -> StayLength:
        """Return a stay of always the same length; zero is allowed."""
        return cls((float(hours), float(hours)))

    @classmethod
    def _with_mean(cls, below_one: np.ndarray, mean: float) -> StayLength:
        """Close an unbounded distribution: the last quantile makes the mean exact."""
        inner = below_one.sum() - below_one[0] / 2
        last = 2 * (mean * (_KNOTS - 1) - inner)
        return cls((*_floats(below_one), float(max(last, below_one[-1]))))

    def times(self, factor: float) -> StayLength:
        """Return every stay longer or shorter by a factor."""
        return StayLength(tuple(value * factor for value in self.hours))

    def mean(self) -> float:
        """Return the mean, in hours."""
        table = np.asarray(self.hours)
        return float((table[1:] + table[:-1]).mean() / 2)

    def quantile(self, probability: float) -> float:
        """Return the length below which a share of the stays is, in hours."""
        return float(np.interp(probability, np.linspace(0, 1, len(self.hours)), self.hours))

    def longer_than(self, hours: float | np.ndarray) -> np.ndarray:
        """Return the share of stays longer than `hours` (the survival function)."""
        table = np.asarray(self.hours)
        at = np.asarray(hours, dtype=np.float64)
        # Equal quantiles are an atom: the highest probability at it counts.
        values, first = np.unique(table[::-1], return_index=True)
        highest = 1 - first / (table.size - 1)
        lowest = np.searchsorted(table, values) / (table.size - 1)
        place = np.searchsorted(values, at, side="right") - 1
        low = np.clip(place, 0, values.size - 1)
        high = np.minimum(low + 1, values.size - 1)
        width = np.where(high > low, values[high] - values[low], 1.0)
        share = (at - values[low]) / width
        below = highest[low] + np.clip(share, 0, 1) * (lowest[high] - highest[low])
        below = np.where(place < 0, 0.0, np.where(place >= values.size - 1, 1.0, below))
        return np.asarray(1 - below)


def _positive(value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        message = (
            f"length of stay: the mean must be a positive number; found {value}; give hours > 0"
        )
        raise UsageError(message)
    return value


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
