"""Intervals for proportions, rates, quantiles and means.

Exact ones where there are any: their coverage is never below the level, at the
price of being wider than approximate ones when counts are small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import special, stats

from neva.errors import UsageError

__all__ = [
    "Estimate",
    "Estimates",
    "mean_interval",
    "median_interval",
    "proportion_interval",
    "quantile_interval",
    "rate_interval",
]

FloatArray = npt.NDArray[np.float64]

# Bootstrap draws are made in pieces of so many numbers, to bound the memory.
_DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class Estimates:
    """Many estimates with their intervals, all closed at both ends.

    Attributes
    ----------
    estimate, lower, upper : arrays of float64, shape (n,)
        NaN in `estimate` where `known` is false; the interval is then
        everything that is possible.
    known : array of bool, shape (n,)
        Whether there was anything to estimate from (a denominator above 0).
    level : float
        Confidence level, 0-1.
    method : str
    """

    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    known: npt.NDArray[np.bool_]
    level: float
    method: str

    def to_frame(self) -> pl.DataFrame:
        """Return ``estimate`` (missing where unknown), ``lower``, ``upper``, ``known``."""
        return pl.DataFrame(
            {
                "estimate": self.estimate,
                "lower": self.lower,
                "upper": self.upper,
                "known": self.known,
            }
        ).with_columns(pl.col("estimate").fill_nan(None))


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate with its interval, closed at both ends.

    Attributes
    ----------
    estimate : float or None
        Missing without data.
    lower, upper : float
        Infinite where the data cannot bound that side at this level.
    level : float
        The level asked for, 0-1.
    coverage : float or None
        The level attained, where it is known exactly.
    n : int
        Values used; missing ones are left out.
    clusters : int
        Independent units (patients) among them.
    method : str
    """

    estimate: float | None
    lower: float
    upper: float
    level: float
    coverage: float | None
    n: int
    clusters: int
    method: str


def _tail(level: float) -> float:
    if not 0 < level < 1:
        raise UsageError(f"level: {level} is not a confidence level; give one between 0 and 1")
    return (1 - level) / 2


def _checked_counts(
    events: npt.ArrayLike, size: npt.ArrayLike, name: str
) -> tuple[FloatArray, FloatArray]:
    counts, sizes = np.broadcast_arrays(
        np.atleast_1d(np.asarray(events, dtype=np.float64)),
        np.atleast_1d(np.asarray(size, dtype=np.float64)),
    )
    finite = np.isfinite(counts) & np.isfinite(sizes)
    wrong = ~finite | (counts < 0) | (sizes < 0) | (counts != np.floor(counts))
    if wrong.any():
        raise UsageError(
            f"events and {name}: element {int(np.flatnonzero(wrong)[0])} is missing, negative, "
            f"or not a whole number of events; count events before asking for an interval"
        )
    return counts, sizes


def proportion_interval(events: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95) -> Estimates:
    """Return exact (Clopper-Pearson) intervals of proportions.

    Parameters
    ----------
    events : array_like of int, shape (k,) or scalar
        Numerators.
    n : array_like of int, shape (k,) or scalar
        Denominators; 0 gives the interval (0, 1), marked as not known.
    level : float
        Confidence level, 0-1; each tail has at most half of the rest.

    Returns
    -------
    Estimates
        Proportions, 0-1.

    Notes
    -----
    Coverage is at least the level for every true proportion, and usually more.
    The interval speaks of chance alone: not of a denominator that was chosen
    badly, of missing records, or of several stays of one patient.

    References
    ----------
    Clopper CJ, Pearson ES (1934), doi:10.1093/biomet/26.4.404.

    Examples
    --------
    >>> found = proportion_interval([0, 5, 0], [10, 10, 0])
    >>> found.lower.round(4).tolist(), found.upper.round(4).tolist(), found.known.tolist()
    ([0.0, 0.1871, 0.0], [0.3085, 0.8129, 1.0], [True, True, False])
    """
    tail = _tail(level)
    counts, sizes = _checked_counts(events, n, "n")
    if (counts > sizes).any():
        where = int(np.flatnonzero(counts > sizes)[0])
        raise UsageError(f"events: element {where} has more events than cases; check both counts")
    known = sizes > 0
    # The inverse of the incomplete beta function has no value at the ends,
    # where the limit is 0 or 1.
    inside_low, inside_high = counts > 0, counts < sizes
    lower = np.zeros_like(counts)
    upper = np.ones_like(counts)
    lower[inside_low] = special.betaincinv(
        counts[inside_low], (sizes - counts + 1)[inside_low], tail
    )
    upper[inside_high] = special.betaincinv(
        (counts + 1)[inside_high], (sizes - counts)[inside_high], 1 - tail
    )
    estimate = np.divide(counts, sizes, out=np.full_like(counts, np.nan), where=known)
    return Estimates(estimate, lower, upper, known, level, "Clopper-Pearson")


def rate_interval(events: npt.ArrayLike, exposure: npt.ArrayLike, level: float = 0.95) -> Estimates:
    """Return exact (Garwood) intervals of rates: Poisson counts over exposure.

    Parameters
    ----------
    events : array_like of int, shape (k,) or scalar
    exposure : array_like of float, shape (k,) or scalar
        Patient-days, or expected events (then the rate is O/E); taken as known
        without error. 0 gives (0, infinity), marked as not known.
    level : float
        Confidence level, 0-1.

    Returns
    -------
    Estimates
        Events per unit of `exposure`.

    Notes
    -----
    Events are taken as independent; outbreaks and repeated events of one
    patient make the true uncertainty larger.

    References
    ----------
    Garwood F (1936), doi:10.1093/biomet/28.3-4.437.

    Examples
    --------
    >>> found = rate_interval([0, 10], [5.0, 8.0])
    >>> found.lower.round(4).tolist(), found.upper.round(4).tolist()
    ([0.0, 0.5994], [0.7378, 2.2988])
    """
    tail = _tail(level)
    counts, exposures = _checked_counts(events, exposure, "exposure")
    known = exposures > 0
    if ((counts > 0) & ~known).any():
        where = int(np.flatnonzero((counts > 0) & ~known)[0])
        raise UsageError(f"exposure: element {where} is 0 but has events; give its exposure")
    low = np.zeros_like(counts)
    low[counts > 0] = special.gammaincinv(counts[counts > 0], tail)
    high = special.gammaincinv(counts + 1, 1 - tail)
    lower = np.divide(low, exposures, out=np.zeros_like(counts), where=known)
    upper = np.divide(high, exposures, out=np.full_like(counts, np.inf), where=known)
    estimate = np.divide(counts, exposures, out=np.full_like(counts, np.nan), where=known)
    return Estimates(estimate, lower, upper, known, level, "Garwood")


def quantile_interval(values: npt.ArrayLike, share: float, level: float = 0.95) -> Estimate:
    """Return a quantile with a distribution-free interval of order statistics.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        Independent values, one per patient; NaN is left out.
    share : float
        Which quantile, 0-1 (0.5 is the median).
    level : float
        Confidence level, 0-1.

    Returns
    -------
    Estimate
        The sample quantile (linear between neighbours) and two of the values:
        the highest rank with at most ``(1 - level) / 2`` of a binomial(n, share)
        below it, and the lowest rank with at most so much at or above it.
        Infinite on a side where even the extreme value is not sure enough
        (fewer than 6 values, for a median at 95 %). `coverage` is what the
        ranks attain for a continuous distribution; ties only add to it.

    Notes
    -----
    Censored durations (patients still there) are not values; use a survival
    estimate for those.

    References
    ----------
    Thompson WR (1936), doi:10.1214/aoms/1177732502.

    Examples
    --------
    >>> found = quantile_interval([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.5)
    >>> found.estimate, found.lower, found.upper, round(found.coverage, 4)
    (5.5, 2.0, 9.0, 0.9785)
    """
    tail = _tail(level)
    if not 0 < share < 1:
        raise UsageError(f"share: {share} names no quantile; give a number between 0 and 1")
    data = np.asarray(values, dtype=np.float64).ravel()
    data = np.sort(data[~np.isnan(data)])
    n = len(data)
    method = "order statistics"
    if n == 0:
        return Estimate(None, -np.inf, np.inf, level, None, 0, 0, method)
    below = stats.binom.cdf(np.arange(-1, n), n, share)  # below[r] = P(B < r), r = 0 … n
    low_rank = int(np.flatnonzero(below <= tail)[-1])
    enough = np.flatnonzero(1 - below[1:] <= tail) + 1  # ranks u >= 1 with P(B >= u) <= tail
    high_rank = int(enough[0]) if len(enough) else n + 1
    mass_below = below[low_rank] if low_rank else 0.0
    mass_above = 1 - below[high_rank] if high_rank <= n else 0.0
    return Estimate(
        estimate=float(np.quantile(data, share)),
        lower=float(data[low_rank - 1]) if low_rank else -np.inf,
        upper=float(data[high_rank - 1]) if high_rank <= n else np.inf,
        level=level,
        coverage=float(1 - mass_below - mass_above),
        n=n,
        clusters=n,
        method=method,
    )


def median_interval(values: npt.ArrayLike, level: float = 0.95) -> Estimate:
    """Return the median with its distribution-free interval.

    See :func:`quantile_interval`.

    Examples
    --------
    >>> found = median_interval([4, 1, 3, 2, 6, 5])
    >>> found.estimate, found.lower, found.upper
    (3.5, 1.0, 6.0)
    """
    return quantile_interval(values, 0.5, level)


def mean_interval(
    values: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    patient: npt.ArrayLike | None = None,
    level: float = 0.95,
    replications: int = 2000,
) -> Estimate:
    """Return the mean with a percentile bootstrap interval that redraws patients.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        NaN is left out.
    rng : numpy.random.Generator
        Seeded by the caller; the same seed gives the same interval whatever
        the order of the rows, as long as patients sort the same.
    patient : array_like, shape (n,), optional
        Whose value it is; all values of a patient are drawn together. By
        default every value is its own patient.
    level : float
        Confidence level, 0-1.
    replications : int
        Draws.

    Returns
    -------
    Estimate
        Infinite bounds where there are fewer than two patients.

    Notes
    -----
    The percentile bootstrap covers too little with few patients (under about
    20) or long tails; `clusters` is there to be shown beside it.

    References
    ----------
    Efron B (1979), doi:10.1214/aos/1176344552.

    Examples
    --------
    >>> found = mean_interval([1, 1, 5, 5], patient=["a", "a", "b", "b"],
    ...                       rng=np.random.default_rng(1))
    >>> found.estimate, found.lower, found.upper, found.clusters
    (3.0, 1.0, 5.0, 2)
    """
    tail = _tail(level)
    data = np.asarray(values, dtype=np.float64).ravel()
    kept = ~np.isnan(data)
    owners = np.arange(len(data)) if patient is None else np.asarray(patient).ravel()
    if len(owners) != len(data):
        raise UsageError(
            f"patient: {len(owners)} elements for {len(data)} values; give one for each value"
        )
    data, owners = data[kept], owners[kept]
    method = "bootstrap by patient"
    if not len(data):
        return Estimate(None, -np.inf, np.inf, level, None, 0, 0, method)
    _, number = np.unique(owners, return_inverse=True)
    patients = int(number.max()) + 1
    if patients < 2:
        mean = float(data.mean())
        return Estimate(mean, -np.inf, np.inf, level, None, len(data), patients, method)
    sums = np.bincount(number, weights=data)
    counts = np.bincount(number).astype(np.float64)
    means = np.empty(replications)
    step = max(1, _DRAWS_AT_ONCE // patients)
    for first in range(0, replications, step):
        size = min(step, replications - first)
        drawn = rng.integers(0, patients, size=(size, patients))
        means[first : first + size] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    lower, upper = np.quantile(means, [tail, 1 - tail])
    return Estimate(
        estimate=float(data.mean()),
        lower=float(lower),
        upper=float(upper),
        level=level,
        coverage=None,
        n=len(data),
        clusters=patients,
        method=method,
    )
