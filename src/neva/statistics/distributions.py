"""Distributions of counts, and of their sums, exactly.

A distribution is an array of probabilities of 0, 1, 2, …. Sums are made by
direct convolution: every term is positive, so that nothing cancels and small
tail probabilities keep their digits. Nothing here uses a Fourier transform,
whose error is absolute and would spoil the tails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from neva.compiled import compiled
from neva.errors import UsageError

__all__ = [
    "TAIL",
    "bernoulli_window",
    "compound",
    "convolve",
    "direct",
    "quantiles",
    "scaled",
    "scaled_mixture",
    "sum_of_bernoullis",
    "sum_of_counts",
    "sum_of_negative_binomials",
    "sums_of_bernoullis",
    "thinned",
]

Probabilities = npt.NDArray[np.float64]

#: Probability that is cut off beyond the last count kept, at most.
TAIL = 1e-13
#: Bernoulli variables that are summed one by one before sums are joined.
_LEAF = 64


@compiled(cache=True, nogil=True)
def direct(first: Any, second: Any) -> Any:
    """Convolve (a kernel for kernels)."""
    if len(first) < len(second):
        first, second = second, first
    result = np.zeros(len(first) + len(second) - 1)
    for k in range(len(second)):
        weight = second[k]
        if weight != 0.0:
            for n in range(len(first)):
                result[n + k] += weight * first[n]
    return result


def convolve(first: Probabilities, second: Probabilities) -> Probabilities:
    """Return the distribution of the sum of two independent counts.

    Parameters
    ----------
    first, second : array, shapes (a,), (b,)

    Returns
    -------
    array, shape (a + b - 1,)
    """
    result: Probabilities = direct(
        np.ascontiguousarray(first, dtype=np.float64),
        np.ascontiguousarray(second, dtype=np.float64),
    )
    return result


def sum_of_counts(counts: Sequence[Probabilities]) -> Probabilities:
    """Return the distribution of the sum of independent counts.

    Divide and conquer: sums of halves are convolved, so that long arrays meet
    long arrays and not every count the whole.

    Examples
    --------
    >>> import numpy as np
    >>> sum_of_counts([np.array([0.5, 0.5])] * 2).tolist()
    [0.25, 0.5, 0.25]
    """
    if not len(counts):
        return np.ones(1)
    level = [np.asarray(count, dtype=np.float64) for count in counts]
    while len(level) > 1:
        pairs = [convolve(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(level) - len(level) % 2 :]
    return level[0]


@compiled(cache=True, nogil=True)
def _bernoullis(chances: Any) -> Any:
    """One by one into leaves, leaves joined by a binary counter of equal sizes."""
    count = len(chances)
    leaves = (count + _LEAF - 1) // _LEAF
    stack = [np.ones(1)]
    sizes = [0]
    for leaf in range(leaves):
        low, high = leaf * _LEAF, min(count, (leaf + 1) * _LEAF)
        part = np.zeros(high - low + 1)
        part[0] = 1.0
        for i in range(low, high):
            p = chances[i]
            for n in range(i - low + 1, 0, -1):
                part[n] = part[n] * (1.0 - p) + part[n - 1] * p
            part[0] *= 1.0 - p
        size = 1
        while len(stack) > 1 and sizes[-1] == size:
            part = direct(part, stack.pop())
            size += sizes.pop()
        stack.append(part)
        sizes.append(size)
    result = stack.pop()
    while len(stack) > 0:
        result = direct(result, stack.pop())
    return result


def _chances(given: npt.ArrayLike) -> npt.NDArray[np.float64]:
    chances = np.ascontiguousarray(given, dtype=np.float64)
    if not np.all((chances >= 0) & (chances <= 1)):
        bad = int(np.sum(~((chances >= 0) & (chances <= 1))))
        message = (
            f"probabilities: must lie between 0 and 1; found {bad} that do not; "
            "check the model that gave them"
        )
        raise UsageError(message)
    return chances


def sum_of_bernoullis(chances: npt.ArrayLike) -> Probabilities:
    """Return the distribution of how many of independent events happen (Poisson binomial).

    Parameters
    ----------
    chances : array, shape (n,)
        Probability of each.

    Returns
    -------
    array, shape (n + 1,)
        Nothing is cut off.

    References
    ----------
    Hong Y (2013), doi:10.1016/j.csda.2012.10.006.

    Examples
    --------
    >>> sum_of_bernoullis([0.5, 0.5, 1.0]).tolist()
    [0.0, 0.25, 0.5, 0.25]
    """
    result: Probabilities = _bernoullis(_chances(given=chances).reshape(-1))
    return result


@compiled(cache=True, nogil=True)
def bernoulli_window(chances: Any, tail: float) -> Any:
    """Sum one patient at a time, within the window that matters (a kernel for kernels)."""
    patients = len(chances)
    now = np.zeros(patients + 1)
    each = tail / max(1, 2 * patients)
    now[0] = 1.0
    low, high = 0, 0
    for i in range(patients):
        p = chances[i]
        if p == 0.0:
            continue
        high += 1
        for n in range(high, low, -1):
            now[n] = now[n] * (1.0 - p) + now[n - 1] * p
        now[low] *= 1.0 - p
        while low < high and now[low] < each:
            now[low] = 0.0
            low += 1
        while high > low and now[high] < each:
            now[high] = 0.0
            high -= 1
    return now[: high + 1]


@compiled(cache=True, nogil=True, parallel=True)
def _windowed(chances: Any, tail: float, size: int) -> Any:
    columns = chances.shape[1]
    result = np.zeros((columns, size))
    for column in numba.prange(columns):
        one = bernoulli_window(chances[:, column], tail)
        for n in range(min(size, len(one))):
            result[column, n] = one[n]
    return result


def sums_of_bernoullis(chances: npt.ArrayLike, *, tail: float = TAIL) -> Probabilities:
    """Return many such distributions at once.

    Parameters
    ----------
    chances : array, shape (n, m)
        A column holds the probabilities of one sum.
    tail : float
        Probability that may be cut off each sum; 0 cuts nothing.

    Returns
    -------
    array, shape (m, k)
        A row is a distribution; its sum is 1 but for `tail`.
    """
    matrix = _chances(given=chances)
    patients, columns = matrix.shape
    means = matrix.sum(axis=0)
    # Bernstein's inequality with more than 45 nats: no sum reaches this size.
    reach = float(np.max(means + 10 * np.sqrt(means) + 40)) if columns else 0.0
    size = patients + 1 if tail == 0 else min(patients + 1, math.ceil(reach) + 1)
    result: Probabilities = _windowed(matrix, float(tail), size)
    return result


@compiled(cache=True, nogil=True)
def compound(shapes: Any, means: Any, tail: float, longest: int) -> Any:
    """Panjer's recursion for a sum of negative binomials (and Poissons: shape inf)."""
    start = 0.0
    poisson = 0.0
    for i in range(len(means)):
        if means[i] <= 0.0:
            continue
        if np.isinf(shapes[i]):
            start -= means[i]
            poisson += means[i]
        else:
            start -= shapes[i] * math.log1p(means[i] / shapes[i])
    result = np.zeros(longest)
    jumps = np.zeros(longest)
    powers = np.ones(len(means))
    result[0] = math.exp(start)
    total = result[0]
    for n in range(1, longest):
        jumps[n] = poisson if n == 1 else 0.0
        for i in range(len(means)):
            if means[i] > 0.0 and not np.isinf(shapes[i]):
                powers[i] *= means[i] / (shapes[i] + means[i])
                jumps[n] += shapes[i] * powers[i]
        value = 0.0
        for k in range(1, n + 1):
            value += jumps[k] * result[n - k]
        result[n] = value / n
        total += result[n]
        if total >= 1.0 - tail:
            return result[: n + 1]
    return result


def sum_of_negative_binomials(
    means: npt.ArrayLike, shapes: npt.ArrayLike, *, tail: float = TAIL
) -> Probabilities:
    """Return the distribution of a sum of independent negative binomial counts.

    Parameters
    ----------
    means : array, shape (n,)
        Not negative.
    shapes : array, shape (n,)
        Positive; the variance is ``mean + mean**2 / shape``; infinite for a
        Poisson count.
    tail : float
        Probability cut off beyond the last count.

    Returns
    -------
    array, shape (k,)

    Notes
    -----
    With ``q = mean / (shape + mean)`` the logarithm of the generating function
    has derivative ``sum(shape * q / (1 - q z))``, so that
    ``n p(n) = sum_k h(k) p(n - k)`` with ``h(k) = sum(shape * q**k)`` (Panjer
    1981, doi:10.1017/S0515036100006796): every term positive. Sums of very
    large means (above 600), where ``p(0)`` is too small a number, are made
    from parts.
    """
    means_, shapes_ = np.broadcast_arrays(
        np.asarray(means, dtype=np.float64), np.asarray(shapes, dtype=np.float64)
    )
    means_, shapes_ = means_.reshape(-1), shapes_.reshape(-1)
    if np.any(means_ < 0) or np.any(shapes_ <= 0) or not np.all(np.isfinite(means_)):
        message = (
            "negative binomial: means must be finite and not negative, shapes positive; found "
            "others; check the model that gave them"
        )
        raise UsageError(message)
    total = float(means_.sum())
    if total > 600 and len(means_) == 1:
        # A negative binomial is a sum of ones of a smaller shape and mean.
        parts = math.ceil(total / 500)
        part = sum_of_negative_binomials(means_ / parts, shapes_ / parts, tail=tail / parts)
        return sum_of_counts([part] * parts)
    if total > 600:
        half = len(means_) // 2
        return convolve(
            sum_of_negative_binomials(means_[:half], shapes_[:half], tail=tail / 2),
            sum_of_negative_binomials(means_[half:], shapes_[half:], tail=tail / 2),
        )
    spread = math.sqrt(float(np.sum(means_ + means_**2 / shapes_)))
    widest = float(np.max(means_ / shapes_, initial=0.0))
    longest = int(total + 12 * spread + 40 * (1 + widest)) + 10
    result: Probabilities = compound(
        np.ascontiguousarray(shapes_), np.ascontiguousarray(means_), tail, longest
    )
    return result


def scaled(counts: Probabilities, ratio: float) -> Probabilities:
    """Return a count with its mean multiplied by `ratio`.

    Below 1, each of the counted stays with that probability; above 1, an
    independent Poisson count is added. The result is a distribution of counts
    again, and its mean is exactly ``ratio`` times the mean.
    """
    # Room for the Poisson count that may be added; none is needed to thin.
    room = len(counts) if ratio <= 1 else math.ceil(len(counts) * ratio + 60) * 2
    result: Probabilities = scaled_mixture(
        np.ascontiguousarray(counts, dtype=np.float64), np.array([float(ratio)]), TAIL, room
    )
    return result


@compiled(cache=True, nogil=True)
def scaled_mixture(counts: Any, ratios: Any, tail: float, size: int) -> Any:
    """Average a count with its mean multiplied by each ratio (a kernel for kernels).

    Shape (size,); `ratios` are equally likely. See :func:`scaled`.
    """
    last = len(counts)
    while last > 1 and counts[last - 1] <= 0.0:
        last -= 1
    known = counts[:last]
    mean = 0.0
    for n in range(last):
        mean += n * known[n]
    result = np.zeros(size)
    for ratio in ratios:
        if ratio < 1.0:
            one = thinned(known, ratio)
        elif ratio > 1.0 and mean > 0.0:
            more = np.array([mean * (ratio - 1.0)])
            one = direct(known, compound(np.array([np.inf]), more, tail, size))
        else:
            one = known
        for n in range(min(size, len(one))):
            result[n] += one[n] / len(ratios)
    return result


@compiled(cache=True, nogil=True)
def _binomial(trials: int, keep: float) -> Any:
    """Binomial probabilities, those that matter; by ratios from the likeliest on."""
    result = np.zeros(trials + 1)
    if keep <= 0.0 or trials == 0:
        result[0] = 1.0
        return result[:1]
    middle = min(trials, int((trials + 1) * keep))
    result[middle] = 1.0
    odds = keep / (1.0 - keep)
    total = 1.0
    last = middle
    for n in range(middle + 1, trials + 1):
        result[n] = result[n - 1] * odds * (trials - n + 1) / n
        total += result[n]
        last = n
        if result[n] < 1e-20:
            break
    for n in range(middle - 1, -1, -1):
        result[n] = result[n + 1] * (n + 1) / (odds * (trials - n))
        total += result[n]
        if result[n] < 1e-20:
            break
    return result[: last + 1] / total


@compiled(cache=True, nogil=True)
def thinned(counts: Any, keep: float) -> Any:
    """Keep each of the counted with a probability below 1 (a kernel for kernels).

    Horner's scheme on the generating function, in which z becomes
    ``1 - keep + keep z``; those who are there for sure are a binomial.
    """
    low = 0
    while low < len(counts) - 1 and counts[low] == 0.0:
        low += 1
    size = len(counts) - low
    result = np.zeros(size)
    for top in range(size - 1, -1, -1):
        for n in range(size - 1 - top, 0, -1):
            result[n] = result[n] * (1.0 - keep) + result[n - 1] * keep
        result[0] = result[0] * (1.0 - keep) + counts[low + top]
    if low == 0:
        return result
    return direct(result, _binomial(low, keep))


def quantiles(counts: Probabilities, levels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the least counts whose cumulative probability reaches each level.

    Parameters
    ----------
    counts : array, shape (..., k)
        Distributions in the last axis.
    levels : array, shape (q,)
        Between 0 and 1.

    Returns
    -------
    array of int64, shape (..., q)
    """
    cumulative = np.cumsum(counts, axis=-1)
    wanted = np.asarray(levels, dtype=np.float64)
    below = cumulative[..., None, :] < (wanted * cumulative[..., -1:])[..., :, None] - 1e-12
    result: npt.NDArray[np.int64] = below.sum(axis=-1)
    return result
