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
from itertools import pairwise
from typing import Any

import numba as nb
import numpy as np

#: The time of an event whose time is not known.
MISSING_TIME = np.iinfo(np.int64).min

# Positions in a case are kept as integers of this denominator, so that their
# sum is exact.
POSITION_UNIT = 1 << 20

# Sums of microseconds over ten million events may exceed int64, so they are
# kept in two parts: multiples of 2**SUM_SHIFT and remainders.
SUM_SHIFT = 20

# Below this many events a second thread costs more than it gains.
_SMALL = 200_000


def threads() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


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
        parts = threads() if total > _SMALL else 1
    cuts = np.searchsorted(offsets, np.linspace(0, total, parts + 1)[1:-1])
    bounds = [0, *(int(cut) for cut in cuts), len(offsets) - 1]
    return [(a, b) for a, b in pairwise(bounds) if b > a]


def in_parallel(work: Callable[..., Any], parts: list[tuple[int, int]]) -> list[Any]:
    """Run ``work(number, first, last)`` for every part and wait; results in order."""
    if len(parts) <= 1:
        return [work(number, *part) for number, part in enumerate(parts)]
    with ThreadPoolExecutor(len(parts)) as pool:
        futures = [pool.submit(work, number, *part) for number, part in enumerate(parts)]
        return [future.result() for future in futures]


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
def count_map(
    offsets, activity, time, edge, first, last, nodes, starts, ends, edges
):  # pragma: no cover
    """Count nodes, edges, starts and ends of the cases in a range.

    ``nodes`` has rows (events, cases, sum of first positions, cases placed),
    ``edges`` has rows (steps, cases, timed steps, sum high, sum low).
    """
    seen_node = np.full(nodes.shape[1], -1, dtype=np.int64)
    seen_edge = np.full(edges.shape[1], -1, dtype=np.int64)
    for case in range(first, last):
        begin, end = offsets[case], offsets[case + 1]
        if end == begin:
            continue
        starts[activity[begin]] += 1
        ends[activity[end - 1]] += 1
        for i in range(begin, end):
            a = activity[i]
            nodes[0, a] += 1
            if seen_node[a] != case:
                seen_node[a] = case
                nodes[1, a] += 1
                if end - begin > 1:
                    nodes[2, a] += (i - begin) * POSITION_UNIT // (end - begin - 1)
                    nodes[3, a] += 1
        for i in range(begin, end - 1):
            e = edge[i]
            edges[0, e] += 1
            if seen_edge[e] != case:
                seen_edge[e] = case
                edges[1, e] += 1
            if time[i] != MISSING_TIME and time[i + 1] != MISSING_TIME:
                duration = time[i + 1] - time[i]
                edges[2, e] += 1
                edges[3, e] += duration >> SUM_SHIFT
                edges[4, e] += duration & ((1 << SUM_SHIFT) - 1)


@nb.njit(nogil=True, cache=True)
def scatter_durations(offsets, time, edge, first, last, position, durations):  # pragma: no cover
    """Write every timed step's duration to its edge's segment (a counting sort)."""
    for case in range(first, last):
        for i in range(offsets[case], offsets[case + 1] - 1):
            if time[i] != MISSING_TIME and time[i + 1] != MISSING_TIME:
                e = edge[i]
                durations[position[e]] = time[i + 1] - time[i]
                position[e] += 1


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
def _quantile(values, begin, low, end, q):  # pragma: no cover
    """Linear-interpolation quantile of ``values[begin:end]``, as numpy computes it.

    Elements before ``low`` are known to be no larger than the rest.
    """
    n = end - begin
    virtual = q * (n - 1)
    below = np.int64(np.floor(virtual))
    gamma = virtual - below
    k = begin + below
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
def segment_quantiles(values, offsets, first, last, quantiles, out):  # pragma: no cover
    """Quantiles (ascending) of each segment; reorders ``values`` inside segments."""
    for segment in range(first, last):
        begin, end = offsets[segment], offsets[segment + 1]
        if end == begin:
            for number in range(len(quantiles)):
                out[segment, number] = np.nan
            continue
        low = begin
        for number in range(len(quantiles)):
            q = quantiles[number]
            out[segment, number] = _quantile(values, begin, low, end, q)
            low = begin + np.int64(np.floor(q * (end - begin - 1)))


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
