"""Patients: their slot, their case, what they draw, and the rows of the log."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Final

from neva.flow.simulation._compiling import part
from neva.flow.simulation._draws import (
    ISOLATION,
    LEAVING,
    PLANNED,
    ROUTE,
    SEX,
    STAY,
    chosen,
    length,
    next_at,
    patient_key,
    share_by,
    uniform,
)
from neva.flow.simulation._kernel_state import CASES, FREE, ROWS, SLOTS

#: Kinds of rows of the log, by number. ``present``: there at the start.
KINDS: Final = (
    "present",
    "arrives",
    "waits",
    "starts",
    "ready",
    "leaves",
    "refused",
    "cancelled",
)
(
    IS_PRESENT,
    ARRIVES,
    WAITS_OUTSIDE,
    STARTS,
    IS_READY,
    LEAVES,
    IS_REFUSED,
    IS_CANCELLED,
) = range(8)


@part
def write_row(m, s, slot, kind, origin, target):  # pragma: no cover
    if m.logged:
        row = s.numbers[ROWS]
        s.log[row].time = s.clock[0]
        s.log[row].case = s.slots[slot].case
        s.log[row].kind = kind
        s.log[row].origin = origin
        s.log[row].target = target
        s.numbers[ROWS] = row + 1


@part
def count(m, s, unit, what):  # pragma: no cover
    if s.clock[0] >= m.count_from:
        s.counts[unit, what] += 1


@part
def new_patient(m, s, base, group, stream, number, sex, isolated):  # pragma: no cover
    """Give a slot and a case number; what is not given (-1) is drawn."""
    slot = s.numbers[FREE]
    if slot >= 0:
        s.numbers[FREE] = s.slots[slot].after
    else:
        slot = s.numbers[SLOTS]
        s.numbers[SLOTS] += 1
    key = patient_key(base, m.groups[group].key, stream, number)
    s.slots[slot].key = key
    s.slots[slot].group = group
    s.slots[slot].unit, s.slots[slot].room, s.slots[slot].wants = -1, -1, -1
    s.slots[slot].step = 0
    s.slots[slot].began = -1.0
    s.slots[slot].planned = stream == PLANNED
    s.slots[slot].female = sex if sex >= 0 else int(uniform(key, SEX, 0) < m.groups[group].female)
    s.slots[slot].isolated = (
        isolated if isolated >= 0 else int(uniform(key, ISOLATION, 0) < m.groups[group].isolation)
    )
    case = s.numbers[CASES]
    s.numbers[CASES] += 1
    s.slots[slot].case = case
    if m.logged:
        s.cases[case].group = group
        s.cases[case].female = s.slots[slot].female
        s.cases[case].isolated = s.slots[slot].isolated
        s.cases[case].stream = stream
    return slot


@part
def forget(s, slot):  # pragma: no cover
    s.slots[slot].after = s.numbers[FREE]
    s.numbers[FREE] = slot


@part
def place_of(m, s, slot, unit, came):  # pragma: no cover
    """Number of the routes of a class in a unit, by the unit before (-1: outside)."""
    size = m.units.size
    return (s.slots[slot].group * (size + 2) + came + 1) * size + unit


@part
def draw_stay(m, s, slot, unit, came):  # pragma: no cover
    """Draw where the patient goes after a unit, and return the length of stay."""
    place = place_of(m, s, slot, unit, came)
    key, step = s.slots[slot].key, s.slots[slot].step
    number = chosen(
        m.routes, m.places[place].route_first, m.places[place].route_last, uniform(key, ROUTE, step)
    )
    route = m.routes[number]
    s.slots[slot].next = route.to
    s.slots[slot].step += 1
    return length(m.hours, route.table_first, route.table_last, uniform(key, STAY, step))


@part
def _share_left(m, first, number, elapsed):  # pragma: no cover
    """The share of patients who go one way, and not before `elapsed`."""
    route = m.routes[number]
    share = route.share - (m.routes[number - 1].share if number > first else 0.0)
    return share * (1.0 - share_by(m.hours, route.table_first, route.table_last, elapsed))


@part
def _hour_passed(m, back):  # pragma: no cover
    """The hour of day that began `back` hours before the one of the start: its part, and how long.

    Back 0 is the part of the present hour that has passed, back 24 the rest of
    it, a day before. How long is from the middle of that part until the start.
    """
    hour = m.hour_of_day[int(m.start)]
    passed = m.start - int(m.start)
    if back == 0:
        return hour, 0.0, passed, passed / 2
    if back == 24:
        return hour, passed, 1.0 - passed, 24.0 + passed - (1.0 + passed) / 2
    return (hour - back) % 24, 0.0, 1.0, back + passed - 0.5


@part
def _share_ready(m, number, exit_, back, elapsed):  # pragma: no cover
    """Of those who go one way and leave at an hour of day, the share ready and not gone.

    They were ready after that hour last came, and before `elapsed`.
    """
    hour, _, part_of_hour, ago = _hour_passed(m, back)
    first, last = m.routes[number].table_first, m.routes[number].table_last
    ready = share_by(m.hours, first, last, elapsed)
    ready -= share_by(m.hours, first, last, elapsed - ago)
    return m.past_hours[exit_, hour] * part_of_hour * ready


@part
def _share_waiting(m, first, number, elapsed):  # pragma: no cover
    """The share of patients who go one way, are ready by `elapsed` and wait for their hour."""
    exit_ = m.routes[number].to - m.units.size
    if exit_ < 0 or not m.exits[exit_].was_timed:
        return 0.0
    share = m.routes[number].share - (m.routes[number - 1].share if number > first else 0.0)
    total = 0.0
    for back in range(25):
        total += _share_ready(m, number, exit_, back, elapsed)
    return share * total


@part
def _hour_of_leaving(m, number, elapsed, u):  # pragma: no cover
    """When one leaves who is ready at the start: the hour of day drawn from those possible."""
    exit_ = m.routes[number].to - m.units.size
    total = 0.0
    for back in range(25):
        total += _share_ready(m, number, exit_, back, elapsed)
    below, found, inside = 0.0, 0, 0.0
    for back in range(25):
        here = _share_ready(m, number, exit_, back, elapsed)
        if here > 0.0:
            found, inside = back, min(1.0, (u * total - below) / here)
            below += here
            if u * total < below:
                break
    hour, begin, width, _ = _hour_passed(m, found)
    return next_at(m.start, hour, begin + inside * width, m.hour_of_day)


@part
def draw_rest(m, s, slot, unit, came, elapsed):  # pragma: no cover
    """The same for a patient who has been there for some time: what remains of the stay.

    With the time of leaving of one who is ready and waits for it, else -1.
    """
    place = place_of(m, s, slot, unit, came)
    first, last = m.places[place].route_first, m.places[place].route_last
    key = s.slots[slot].key
    s.slots[slot].step = 1
    total = 0.0
    for number in range(first, last):
        total += _share_left(m, first, number, elapsed)
        total += _share_waiting(m, first, number, elapsed)
    wanted = uniform(key, ROUTE, 0)
    u = uniform(key, STAY, 0)
    if total <= 0.0:
        # Longer than anybody stayed: the width of the last step of the table remains.
        route = m.routes[chosen(m.routes, first, last, wanted)]
        s.slots[slot].next = route.to
        return u * (m.hours[route.table_last - 1] - m.hours[route.table_last - 2]), -1.0
    below = 0.0
    found = first
    waits = False
    for number in range(first, last):
        left = _share_left(m, first, number, elapsed)
        if left > 0.0:
            found, waits = number, False
            below += left
            if wanted * total < below:
                break
        left = _share_waiting(m, first, number, elapsed)
        if left > 0.0:
            found, waits = number, True
            below += left
            if wanted * total < below:
                break
    route = m.routes[found]
    s.slots[slot].next = route.to
    if waits:
        if m.exits[route.to - m.units.size].changed:
            # Ready by the hours of the past; from now on others hold.
            return 0.0, -1.0
        return 0.0, _hour_of_leaving(m, found, elapsed, uniform(key, LEAVING, 1))
    gone = share_by(m.hours, route.table_first, route.table_last, elapsed)
    stay = length(m.hours, route.table_first, route.table_last, gone + (1.0 - gone) * u)
    return max(0.0, stay - elapsed), -1.0
