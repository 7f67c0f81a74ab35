"""Loops of multi-state estimates, compiled by numba and cached on disk.

Increments of transition intensities are kept as a list (time, origin, target),
never as matrices: at most times only one or two of them are not zero.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba as nb
import numpy as np


@nb.njit(cache=True, nogil=True)
def count_risk(by_exit, by_entry, entry, leaving, origin, target, weight, states):
    """Walk through exits and entries together; at risk on ``(entry, exit]``.

    Returns times (k,), weight at risk just before each (k, states), and the
    increments in order of time: offsets (k + 1,), origin, target, weight (m,).
    """
    rows = len(leaving)
    count = 0
    last = np.nan
    events = 0
    for position in range(rows):
        row = by_exit[position]
        if target[row] >= 0:
            events += 1
            if leaving[row] != last:
                last = leaving[row]
                count += 1
    times = np.empty(count)
    at_risk = np.empty((count, states))
    offsets = np.zeros(count + 1, np.int64)
    origins = np.empty(events, np.int32)
    targets = np.empty(events, np.int32)
    sizes = np.empty(events)
    # Numbers beside weights: an empty risk set is exactly empty, whatever
    # adding and taking away fractions has left behind.
    number = np.zeros(states, np.int64)
    present = np.zeros(states)
    place = np.full((states, states), -1, np.int64)
    entered = 0
    begin = 0
    k = 0
    m = 0
    while begin < rows:
        time = leaving[by_exit[begin]]
        end = begin
        happens = False
        while end < rows and leaving[by_exit[end]] == time:
            happens = happens or target[by_exit[end]] >= 0
            end += 1
        if happens:
            while entered < rows and entry[by_entry[entered]] < time:
                row = by_entry[entered]
                number[origin[row]] += 1
                present[origin[row]] += weight[row]
                entered += 1
            times[k] = time
            at_risk[k] = present
            first = m
            for position in range(begin, end):
                row = by_exit[position]
                if target[row] >= 0:
                    here = place[origin[row], target[row]]
                    if here < 0:
                        place[origin[row], target[row]] = m
                        origins[m] = origin[row]
                        targets[m] = target[row]
                        sizes[m] = weight[row]
                        m += 1
                    else:
                        sizes[here] += weight[row]
            for here in range(first, m):
                place[origins[here], targets[here]] = -1
            k += 1
            offsets[k] = m
        else:
            # Nobody may leave before they have entered.
            while entered < rows and entry[by_entry[entered]] < time:
                row = by_entry[entered]
                number[origin[row]] += 1
                present[origin[row]] += weight[row]
                entered += 1
        for position in range(begin, end):
            row = by_exit[position]
            number[origin[row]] -= 1
            present[origin[row]] -= weight[row]
            if number[origin[row]] == 0:
                present[origin[row]] = 0.0
        begin = end
    return times, at_risk, offsets, origins[:m].copy(), targets[:m].copy(), sizes[:m].copy()


@nb.njit(cache=True, nogil=True)
def _mix(values, old, first, last, origins, targets, hazards):
    """Multiply the first axis by ``I + dA``: ``new[j] = sum_h old[h] (I + dA)[h, j]``."""
    width = values.shape[1]
    for m in range(first, last):
        h = origins[m]
        for column in range(width):
            old[h, column] = values[h, column]
    for m in range(first, last):
        h = origins[m]
        j = targets[m]
        for column in range(width):
            moved = old[h, column] * hazards[m]
            values[h, column] -= moved
            values[j, column] += moved


@nb.njit(cache=True, nogil=True)
def _turn(spread, turned, rows, states):
    """Put the second pair of axes (state, row) before the first."""
    for j in range(states):
        for a in range(rows):
            for other in range(states):
                for b in range(rows):
                    turned[other, (b * states + j) * rows + a] = spread[
                        j, (a * states + other) * rows + b
                    ]


@nb.njit(cache=True, nogil=True)
def product_integral(offsets, origins, targets, hazards, begin, keep, initial):
    """Carry rows of distributions through ``I + dA``, without their covariance.

    `initial` (rows, states); begins with time number `begin`; the state is kept
    after all times numbered below each of `keep` (ascending).
    Returns (kept, rows, states).
    """
    rows, states = initial.shape
    # One column a row of `initial`, so that a state's share is one line.
    share = np.empty((states, rows))
    for state in range(states):
        for row in range(rows):
            share[state, row] = initial[row, state]
    old = share.copy()
    kept = np.empty((len(keep), rows, states))
    k = begin
    for position in range(len(keep)):
        while k < keep[position]:
            _mix(share, old, offsets[k], offsets[k + 1], origins, targets, hazards)
            k += 1
        for row in range(rows):
            for state in range(states):
                kept[position, row, state] = share[state, row]
    return kept


@nb.njit(cache=True, nogil=True)
def product_integral_covariance(
    offsets, origins, targets, hazards, at_risk, begin, keep, initial, covariance
):
    """Carry distributions and their Greenwood-type covariance through ``I + dA``.

    With ``q`` the row of ``I + dA`` that leaves state h, the next states of the
    ``Y`` at risk in h are multinomial: their mean has covariance
    ``(diag(q) - q q') / Y``.

    Returns (kept, rows, states) and (kept, rows, states, rows, states).
    """
    rows, states = initial.shape
    share = np.empty((states, rows))
    # Axes: state, then row, state, row in one.
    spread = np.empty((states, rows * states * rows))
    for j in range(states):
        for a in range(rows):
            share[j, a] = initial[a, j]
            for other in range(states):
                for b in range(rows):
                    spread[j, (a * states + other) * rows + b] = covariance[a, j, b, other]
    old_share = share.copy()
    old_spread = spread.copy()
    turned = spread.copy()
    kept = np.empty((len(keep), rows, states))
    kept_spread = np.empty((len(keep), rows, states, rows, states))
    row_of = np.zeros((states, states))
    leaves = np.zeros(states, np.bool_)
    k = begin
    for position in range(len(keep)):
        while k < keep[position]:
            first = offsets[k]
            last = offsets[k + 1]
            _mix(spread, old_spread, first, last, origins, targets, hazards)
            _turn(spread, turned, rows, states)
            _mix(turned, old_spread, first, last, origins, targets, hazards)
            # The covariance is symmetric: what was turned need not be turned back.
            spread, turned = turned, spread
            for m in range(first, last):
                h = origins[m]
                if not leaves[h]:
                    leaves[h] = True
                    row_of[h, h] = 1.0
                row_of[h, targets[m]] += hazards[m]
                row_of[h, h] -= hazards[m]
            for h in range(states):
                if not leaves[h]:
                    continue
                for j in range(states):
                    for other in range(states):
                        noise = -row_of[h, j] * row_of[h, other]
                        if j == other:
                            noise += row_of[h, j]
                        noise /= at_risk[k, h]
                        if noise == 0.0:
                            continue
                        for a in range(rows):
                            for b in range(rows):
                                spread[j, (a * states + other) * rows + b] += (
                                    share[h, a] * share[h, b] * noise
                                )
                leaves[h] = False
                for j in range(states):
                    row_of[h, j] = 0.0
            _mix(share, old_share, first, last, origins, targets, hazards)
            k += 1
        for a in range(rows):
            for j in range(states):
                kept[position, a, j] = share[j, a]
                for b in range(rows):
                    for other in range(states):
                        kept_spread[position, a, j, b, other] = spread[
                            j, (a * states + other) * rows + b
                        ]
    return kept, kept_spread


@nb.njit(cache=True, nogil=True)
def expected_ends(times, offsets, origins, targets, hazards, states, absorbing, last):
    """Expected time of absorption of one in each state just after each time, up to `last`.

    Backwards: one who is in state h after time k moves at time k + 1 as
    ``I + dA`` says. Returns (k, states); absorbing states hold 0.
    """
    count = len(times)
    ends = np.empty((count, states))
    current = np.full(states, last)
    for k in range(count - 1, -1, -1):
        ends[k] = current
        later = current.copy()
        for m in range(offsets[k], offsets[k + 1]):
            h = origins[m]
            j = targets[m]
            reached = times[k] if absorbing[j] else later[j]
            current[h] += hazards[m] * (reached - later[h])
    return ends
