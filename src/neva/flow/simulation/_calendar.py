"""The calendar of events: a binary heap by time, then by what happens and to whom.

At one moment come first those whose stay is over, then those who leave at
their hour, changes of beds, planned arrivals, the rebooked, unplanned
arrivals; among equals the smaller number of case, unit or class.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from neva.flow.simulation._compiling import part
from neva.flow.simulation._kernel_state import HEAP

READY, LEAVE, BED_STEP, ELECTIVE, REBOOKED, ARRIVAL = range(6)
RANK = 48


@part
def push(s, time, kind, number, item):  # pragma: no cover
    """Put an event into the calendar; `number` orders, `item` says whom it is about."""
    order = (kind << RANK) | number
    place = s.numbers[HEAP]
    s.numbers[HEAP] += 1
    while place > 0:
        above = (place - 1) >> 1
        if s.heap[above].time < time or (
            s.heap[above].time == time and s.heap[above].order <= order
        ):
            break
        s.heap[place].time = s.heap[above].time
        s.heap[place].order = s.heap[above].order
        s.heap[place].item = s.heap[above].item
        place = above
    s.heap[place].time = time
    s.heap[place].order = order
    s.heap[place].item = item


@part
def pop(s):  # pragma: no cover
    """Take the first event out: its time, kind and item."""
    time, kind, item = s.heap[0].time, s.heap[0].order >> RANK, s.heap[0].item
    s.numbers[HEAP] -= 1
    size = s.numbers[HEAP]
    last_time, last_order, last_item = s.heap[size].time, s.heap[size].order, s.heap[size].item
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            s.heap[other].time < s.heap[child].time
            or (
                s.heap[other].time == s.heap[child].time
                and s.heap[other].order < s.heap[child].order
            )
        ):
            child = other
        if last_time < s.heap[child].time or (
            last_time == s.heap[child].time and last_order <= s.heap[child].order
        ):
            break
        s.heap[place].time = s.heap[child].time
        s.heap[place].order = s.heap[child].order
        s.heap[place].item = s.heap[child].item
        place = child
    s.heap[place].time = last_time
    s.heap[place].order = last_order
    s.heap[place].item = last_item
    return time, kind, item
