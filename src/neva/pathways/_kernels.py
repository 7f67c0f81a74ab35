"""Loops over an encoded log, compiled by numba.

Every kernel works on a range of whole cases (or segments) and releases the
interpreter's lock, so that :func:`in_parallel` can hand ranges to threads.
Sums are kept in integers: a result does not depend on the number of threads.
The compiled code is cached on disk; only the first use on a machine compiles.
"""


# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numba as nb
import numpy as np

from neva.compiled import cores

#: The time of an event whose time is not known.
MISSING_TIME = np.iinfo(np.int64).min

# Positions in a case are kept as integers of this denominator, so that their
# sum is exact.
POSITION_UNIT = 1 << 32

# Sums of microseconds over ten million events may exceed int64, so they are
# kept in two parts: multiples of 2**SUM_SHIFT and remainders.
SUM_SHIFT = 20

# Larger segments are searched through a histogram of so many buckets.
_LARGE_SEGMENT = 512
_BUCKETS = 1024

# Below this many events a second thread costs more than it gains.
_SMALL = 200_000


def ranges(offsets: np.ndarray, parts: int | None = None) -> list[tuple[int, int]]:
    """Cut segments into ranges of about equally many elements.

    Parameters
    ----------
    offsets : ndarray, shape (n + 1,)
        Segment ``i`` is ``offsets[i]:offsets[i + 1]``.
    parts : int, optional
        How many ranges; by default one per core, one for small input.

    Returns
    -------
    list of (first, last)
        Half-open ranges of segments, in order.
    """
    total = int(offsets[-1])
    if parts is None:
        parts = cores() if total > _SMALL else 1
    cuts = np.searchsorted(offsets, np.linspace(0, total, parts + 1)[1:-1])
    bounds = [0, *(int(cut) for cut in cuts), len(offsets) - 1]
    return [(a, b) for a, b in pairwise(bounds) if b > a]


def in_parallel(work: Callable[..., Any], parts: list[tuple[int, int]]) -> list[Any]:
    """Run ``work(number, first, last)`` for every part and wait; results in order."""
    if len(parts) <= 1:
        return [work(number, *part) for number, part in enumerate(parts)]
    pool = _pool()
    others = [pool.submit(work, number, *part) for number, part in enumerate(parts[1:], 1)]
    return [work(0, *parts[0]), *(future.result() for future in others)]


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores(), thread_name_prefix="neva-pathways")


# A forked child has the pool but not its threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


@nb.njit(nogil=True, cache=True)
def pair_steps(offsets, activity, first, last, activities, edge):  # pragma: no cover
    """Give every step the number ``from * activities + to``; the last event gets -1."""
    for case in range(first, last):
        begin, end = offsets[case], offsets[case + 1]
        for i in range(begin, end - 1):
            edge[i] = np.int64(activity[i]) * activities + np.int64(activity[i + 1])
        if end > begin:
            edge[end - 1] = -1


@nb.njit(nogil=True, cache=True)
def count_map(offsets, activity, time, edge, first, last, dense, nodes, edges):  # pragma: no cover
    """Count nodes and edges of the cases in a range.

    ``nodes`` has columns (cases, starts, ends, cases placed, sum of first
    positions), ``edges`` (steps, cases, steps without both times); the last
    column of each remembers the last case seen. With `dense` the number of an
    edge is that of :func:`pair_steps`, else it stands in ``edge``.
    """
    activities = np.uint64(nodes.shape[0])
    nodes[:, 5] = -1
    edges[:, 3] = -1
    for case in range(first, last):
        begin, end = offsets[case], offsets[case + 1]
        if end == begin:
            continue
        # Indices into slices are known not to be negative, which is faster.
        names, times = activity[begin:end], time[begin:end]
        numbers = edge if dense else edge[begin:end]
        final = len(names) - 1
        scale = POSITION_UNIT // final if final else 0
        here = np.int32(case)
        nodes[names[0], 1] += 1
        nodes[names[final], 2] += 1
        a = np.uint64(names[0])
        for i in range(final + 1):
            if nodes[a, 5] != case:
                nodes[a, 5] = case
                nodes[a, 0] += 1
                nodes[a, 3] += scale > 0
                nodes[a, 4] += i * scale
            if i == final:
                break
            b = np.uint64(names[i + 1])
            e = a * activities + b if dense else np.uint64(numbers[i])
            edges[e, 0] += np.int32(1)
            edges[e, 1] += np.int32(edges[e, 3] != here)
            edges[e, 3] = here
            a = b
        if times[0] == MISSING_TIME:  # unknown times stand first
            for i in range(final):
                if times[i] == MISSING_TIME:
                    e = (
                        np.uint64(names[i]) * activities + np.uint64(names[i + 1])
                        if dense
                        else np.uint64(numbers[i])
                    )
                    edges[e, 2] += np.int32(1)


@nb.njit(nogil=True, cache=True)
def scatter_durations(
    offsets, activity, time, edge, first, last, dense, activities, position, durations
):  # pragma: no cover
    """Write every timed step's duration to its edge's segment (a counting sort)."""
    for case in range(first, last):
        begin, end = offsets[case], offsets[case + 1]
        while begin < end and time[begin] == MISSING_TIME:  # unknown times stand first
            begin += 1
        names, times = activity[begin:end], time[begin:end]
        numbers = edge if dense else edge[begin:end]
        for i in range(len(times) - 1):
            if dense:
                e = np.uint64(names[i]) * np.uint64(activities) + np.uint64(names[i + 1])
            else:
                e = np.uint64(numbers[i])
            at = position[e]
            position[e] = at + 1
            durations[np.uint64(at)] = times[i + 1] - times[i]


@nb.njit(nogil=True, cache=True)
def _select(values, low, high, k):  # pragma: no cover
    """Move the k-th smallest of ``values[low:high + 1]`` to its place (Hoare 1961)."""
    depth = 0
    while high - low > 16:
        depth += 1
        if depth > 100:  # a pattern built against the pivot rule: sort the rest
            values[low : high + 1] = np.sort(values[low : high + 1])
            return
        middle = (low + high) >> 1
        if values[middle] < values[low]:
            values[middle], values[low] = values[low], values[middle]
        if values[high] < values[low]:
            values[high], values[low] = values[low], values[high]
        if values[high] < values[middle]:
            values[high], values[middle] = values[middle], values[high]
        pivot = values[middle]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while pivot < values[j]:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            return
    for i in range(low + 1, high + 1):
        moving = values[i]
        j = i - 1
        while j >= low and values[j] > moving:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = moving


@nb.njit(nogil=True, cache=True)
def _interpolated(values, begin, low, end, k, n, q):  # pragma: no cover
    """Compute the quantile `q` of `n` numbers as numpy does (linear interpolation).

    Its lower neighbour is the k-th of ``values[begin:end]``, its upper one the
    next; elements before ``low`` are known to be no larger than the rest.
    """
    virtual = q * (n - 1)
    gamma = virtual - np.floor(virtual)
    k += begin
    _select(values, max(low, begin), end - 1, k)
    a = values[k]
    if k + 1 >= end:
        return np.float64(a)
    b = values[k + 1]
    for i in range(k + 2, end):
        b = min(b, values[i])
    # numpy's _lerp: computed from the nearer end
    difference = b - a
    if gamma >= 0.5:
        return b - difference * (1.0 - gamma)
    return a + difference * gamma


@nb.njit(nogil=True, cache=True)
def _large_quantiles(values, quantiles, out):  # pragma: no cover
    """Quantiles of a large segment without moving its elements.

    A histogram finds the narrow interval that holds each wanted order
    statistic; only the elements in it are selected from. Exact: the histogram
    only decides where to look.
    """
    n = len(values)
    low = high = values[0]
    for i in range(n):
        low = min(low, values[i])
        high = max(high, values[i])
    shift = 0
    while (high - low) >> shift >= _BUCKETS:
        shift += 1
    # Two histograms in turn: the processor need not wait for its own last store.
    histogram = np.zeros((2, _BUCKETS), dtype=np.int64)
    even, odd = histogram[0], histogram[1]
    for i in range(n // 2):
        even[np.uint64((values[2 * i] - low) >> shift)] += 1
        odd[np.uint64((values[2 * i + 1] - low) >> shift)] += 1
    if n % 2:
        even[(values[n - 1] - low) >> shift] += 1
    for bucket in range(_BUCKETS):
        even[bucket] += odd[bucket]
    for number in range(len(quantiles)):
        k = np.int64(np.floor(quantiles[number] * (n - 1)))
        bucket, before = 0, 0
        while before + even[bucket] <= k:
            before += even[bucket]
            bucket += 1
        size, final = even[bucket], bucket
        while before + size <= min(k + 1, n - 1):
            final += 1
            size += even[final]
        least = low + (np.int64(bucket) << shift)
        width = np.uint64(np.int64(final + 1 - bucket) << shift)
        near = np.empty(size + 1, dtype=np.int64)
        at = np.uint64(0)
        for i in range(n):  # without a branch: most are overwritten by the next
            near[at] = values[i]
            at += np.uint64(np.uint64(values[i] - least) < width)
            at = min(at, np.uint64(size))
        out[number] = _interpolated(near, 0, 0, size, k - before, n, quantiles[number])


@nb.njit(nogil=True, cache=True)
def segment_quantiles(values, offsets, first, last, quantiles, out):  # pragma: no cover
    """Quantiles (ascending) of each segment; reorders ``values`` inside segments."""
    for segment in range(first, last):
        begin, end = offsets[segment], offsets[segment + 1]
        if end == begin:
            out[segment, :] = np.nan
            continue
        if end - begin > _LARGE_SEGMENT:
            _large_quantiles(values[begin:end], quantiles, out[segment])
            continue
        low, n = begin, end - begin
        for number in range(len(quantiles)):
            k = np.int64(np.floor(quantiles[number] * (n - 1)))
            out[segment, number] = _interpolated(values, begin, low, end, k, n, quantiles[number])
            low = begin + k


@nb.njit(nogil=True, cache=True)
def segment_sums(values, offsets, first, last, out):  # pragma: no cover
    """Exact sums of each segment in two parts (multiples of 2**SUM_SHIFT, remainders)."""
    for segment in range(first, last):
        high = low = np.int64(0)
        part = values[offsets[segment] : offsets[segment + 1]]
        for i in range(len(part)):
            high += part[i] >> SUM_SHIFT
            low += part[i] & ((1 << SUM_SHIFT) - 1)
        out[segment, 0] = high
        out[segment, 1] = low


@nb.njit(nogil=True, cache=True)
def case_spans(offsets, time, first, last, start, end_):  # pragma: no cover
    """First and last known time of every case; missing where none is known."""
    for case in range(first, last):
        begin, end = offsets[case], offsets[case + 1]
        while begin < end and time[begin] == MISSING_TIME:
            begin += 1
        if begin < end:
            start[case] = time[begin]
            end_[case] = time[end - 1]
        else:
            start[case] = MISSING_TIME
            end_[case] = MISSING_TIME


@nb.njit(nogil=True, cache=True)
def case_hashes(offsets, activity, first, last, hashes):  # pragma: no cover
    """Hash every case's sequence of activities to 64 bits."""
    for case in range(first, last):
        h = np.uint64(0x9E3779B97F4A7C15) + np.uint64(offsets[case + 1] - offsets[case])
        for i in range(offsets[case], offsets[case + 1]):
            h = (h ^ np.uint64(activity[i])) * np.uint64(0xFF51AFD7ED558CCD)
            h ^= h >> np.uint64(32)
        hashes[case] = h


@nb.njit(nogil=True, cache=True)
def group_variants(
    offsets, activity, hashes, part, parts, table, variant, representative
):  # pragma: no cover
    """Group the cases whose hash falls to this part by their exact sequence.

    Open addressing; a slot matches only when the sequences are equal element
    by element, so equal hashes never merge different variants. Returns the
    number of variants; ``variant`` gets their numbers by first appearance.
    """
    size = len(table)
    mask = np.uint64(size - 1)
    found = 0
    for case in range(len(hashes)):
        h = hashes[case]
        if parts > 1 and np.int64((h >> np.uint64(40)) % np.uint64(parts)) != part:
            continue
        slot = np.int64((h ^ (h >> np.uint64(29))) & mask)
        begin, length = offsets[case], offsets[case + 1] - offsets[case]
        while True:
            known = table[slot]
            if known < 0:
                table[slot] = found
                representative[found] = case
                variant[case] = found
                found += 1
                break
            other = representative[known]
            if hashes[other] == h and offsets[other + 1] - offsets[other] == length:
                o = offsets[other]
                same = True
                for i in range(length):
                    if activity[begin + i] != activity[o + i]:
                        same = False
                        break
                if same:
                    variant[case] = known
                    break
            slot = (slot + 1) & (size - 1)
    return found


@nb.njit(nogil=True, cache=True)
def first_and_last(offsets, chosen, activity, after, first, last, out):  # pragma: no cover
    """Find the first and last event of a chosen set in every case.

    ``chosen`` is a flag per activity. Only events behind position
    ``after[case]`` count (-1: all). ``out`` has rows (first, last): positions
    in the log or -1.
    """
    for case in range(first, last):
        out[0, case] = -1
        out[1, case] = -1
        for i in range(max(offsets[case], after[case] + 1), offsets[case + 1]):
            if chosen[activity[i]]:
                if out[0, case] < 0:
                    out[0, case] = i
                out[1, case] = i


@nb.njit(nogil=True, cache=True)
def contains_step(offsets, activity, a, b, first, last, directly, out):  # pragma: no cover
    """Flag cases in which a chosen b comes after a chosen a (next, or any time later)."""
    for case in range(first, last):
        seen = False
        for i in range(offsets[case], offsets[case + 1]):
            if seen and b[activity[i]]:
                out[case] = True
                break
            seen = (seen and not directly) or a[activity[i]]


@nb.njit(nogil=True, cache=True)
def count_rework(offsets, activity, first, last, out):  # pragma: no cover
    """Count repetitions.

    ``out`` has rows (cases, repeats, cases with repeats, self-loops, cases
    with self-loops, returns, cases with returns, most in a case).
    """
    n = out.shape[1]
    seen = np.full(n, -1, dtype=np.int64)
    times = np.zeros(n, dtype=np.int64)
    loops = np.zeros(n, dtype=np.int64)
    for case in range(first, last):
        begin, end = offsets[case], offsets[case + 1]
        for i in range(begin, end):
            a = activity[i]
            if seen[a] != case:
                seen[a] = case
                times[a] = 1
                loops[a] = 0
                out[0, a] += 1
            else:
                times[a] += 1
                out[1, a] += 1
                if times[a] == 2:
                    out[2, a] += 1
                if activity[i - 1] == a:
                    loops[a] += 1
                    out[3, a] += 1
                    if loops[a] == 1:
                        out[4, a] += 1
                else:
                    out[5, a] += 1
                    if times[a] - loops[a] == 2:
                        out[6, a] += 1
            out[7, a] = max(out[7, a], times[a])


@nb.njit(nogil=True, cache=True)
def count_loops(offsets, activity, first, last, direct, cases):  # pragma: no cover
    """Count a, b, a: in direct succession, and cases with b somewhere between two a."""
    n = direct.shape[0]
    first_at = np.full(n, -1, dtype=np.int64)
    last_at = np.full(n, -1, dtype=np.int64)
    present = np.empty(n, dtype=np.int64)
    seen = np.full((n, n), -1, dtype=np.int64)
    for case in range(first, last):
        begin, end = offsets[case], offsets[case + 1]
        count = 0
        for i in range(begin, end):
            a = activity[i]
            if first_at[a] < begin:
                first_at[a] = i
                present[count] = a
                count += 1
            last_at[a] = i
            if i - begin >= 2 and activity[i - 2] == a and activity[i - 1] != a:
                direct[a, activity[i - 1]] += 1
        for i in range(begin + 1, end - 1):
            b = activity[i]
            for j in range(count):
                a = present[j]
                if a != b and seen[a, b] != case and first_at[a] < i < last_at[a]:
                    seen[a, b] = case
                    cases[a, b] += 1
