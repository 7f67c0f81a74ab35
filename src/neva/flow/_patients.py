"""Patients: their slot, their case, what they draw, and the rows of the log."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Final

from neva.flow._compiling import part
from neva.flow._draws import (
    ISOLATION,
    PLANNED,
    ROUTE,
    SEX,
    STAY,
    chosen,
    length,
    patient_key,
    share_by,
    uniform,
)
from neva.flow._kernel_state import CASES, FREE, ROWS, SLOTS

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
def draw_rest(m, s, slot, unit, came, elapsed):  # pragma: no cover
    """The same for a patient who has been there for some time: what remains of the stay."""
    place = place_of(m, s, slot, unit, came)
    first, last = m.places[place].route_first, m.places[place].route_last
    key = s.slots[slot].key
    s.slots[slot].step = 1
    total = 0.0
    for number in range(first, last):
        total += _share_left(m, first, number, elapsed)
    wanted = uniform(key, ROUTE, 0)
    u = uniform(key, STAY, 0)
    if total <= 0.0:
        # Longer than anybody stayed: the width of the last step of the table remains.
        route = m.routes[chosen(m.routes, first, last, wanted)]
        s.slots[slot].next = route.to
        return u * (m.hours[route.table_last - 1] - m.hours[route.table_last - 2])
    below = 0.0
    found = first
    for number in range(first, last):
        left = _share_left(m, first, number, elapsed)
        if left > 0.0:
            found = number
            below += left
            if wanted * total < below:
                break
    route = m.routes[found]
    s.slots[slot].next = route.to
    gone = share_by(m.hours, route.table_first, route.table_last, elapsed)
    stay = length(m.hours, route.table_first, route.table_last, gone + (1.0 - gone) * u)
    return max(0.0, stay - elapsed)
