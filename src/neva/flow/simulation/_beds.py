"""Beds, rooms and queues: which patient may use which bed, who is next, and what is counted."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from neva.flow.simulation._compiling import part
from neva.flow.simulation._kernel_state import (
    AWAITING,
    BEDS,
    BLOCKED,
    EXCESS,
    FULL,
    OVER,
    OWED,
    OWED_FIRST,
    WAITING,
)
from neva.flow.simulation._model_arrays import BAY, MIXED, SIDE, UNLIMITED

NO_ROOM, NO_BED = -1, -2


@part
def touch(m, s, unit):  # pragma: no cover
    """Count the time since the unit last changed; before anything in it changes."""
    now, time = s.clock[0], s.units[unit].touched
    if time >= now:
        return
    occupied, beds = s.units[unit].occupied, s.units[unit].beds
    limited = beds < UNLIMITED
    hour = int(time)
    while time < now:
        until = min(now, hour + 1.0)
        on_mark = time <= max(float(hour), m.start)
        if m.hourly and on_mark and hour < s.hourly.shape[1]:
            s.hourly[unit, hour] = occupied
        passed = until - max(time, m.count_from)
        if passed > 0:
            s.units[unit].most = max(s.units[unit].most, occupied)
            s.occupied_hours[unit, m.hour_of_day[hour]] += occupied * passed
            if limited:
                s.integrals[unit, BEDS] += beds * passed
                if occupied >= beds:
                    s.integrals[unit, FULL] += passed
                if occupied > beds:
                    s.integrals[unit, OVER] += passed
                    s.integrals[unit, EXCESS] += (occupied - beds) * passed
            s.integrals[unit, BLOCKED] += s.units[unit].blocked * passed
            s.integrals[unit, WAITING] += s.units[unit].waiting * passed
            s.integrals[unit, AWAITING] += s.units[unit].awaiting * passed
        time = until
        hour += 1
    s.units[unit].touched = now


@part
def room_for(m, s, unit, slot):  # pragma: no cover
    """A room in which the patient may lie, NO_ROOM where there are none, else NO_BED.

    The number of staffed beds is not considered.
    """
    first, last = m.units[unit].room_first, m.units[unit].room_last
    if first == last:
        return NO_ROOM
    if s.slots[slot].isolated and m.units[unit].side_rooms > 0:
        room = last - 1
        return room if s.rooms[room].used < m.rooms[room].beds else NO_BED
    # A bay of the same sex, the fullest first: it keeps others free.
    found, fullest, empty, mixed = NO_BED, 0, NO_BED, NO_BED
    for room in range(first, last):
        used = s.rooms[room].used
        if used >= m.rooms[room].beds or m.rooms[room].kind == SIDE:
            continue
        if m.rooms[room].kind == MIXED:
            mixed = room
        elif used == 0:
            if empty == NO_BED:
                empty = room
        elif s.rooms[room].female == s.slots[slot].female and used > fullest:
            found, fullest = room, used
    if found != NO_BED:
        return found
    if empty != NO_BED:
        return empty
    if mixed != NO_BED:
        return mixed
    side = last - 1
    if (
        m.rooms[side].kind == SIDE
        and not m.units[unit].side_rooms_kept
        and s.rooms[side].used < m.rooms[side].beds
    ):
        return side
    return NO_BED


@part
def bed_for(m, s, unit, slot):  # pragma: no cover
    """A free and staffed bed, as :func:`room_for` says it."""
    if s.units[unit].occupied >= s.units[unit].beds:
        return NO_BED
    return room_for(m, s, unit, slot)


@part
def take_room(m, s, room, female):  # pragma: no cover
    if room >= 0:
        if m.rooms[room].kind == BAY:
            s.rooms[room].female = female
        s.rooms[room].used += 1


@part
def vacate(m, s, slot):  # pragma: no cover
    """Take a patient out of the bed; the unit then owes it to a waiting patient."""
    unit = s.slots[slot].unit
    touch(m, s, unit)
    s.units[unit].occupied -= 1
    if s.slots[slot].room >= 0:
        s.rooms[s.slots[slot].room].used -= 1
    s.slots[slot].room = NO_ROOM
    s.slots[slot].unit = -1
    owe(s, unit)


@part
def owe(s, unit):  # pragma: no cover
    """Remember that a bed of the unit may be free for a waiting patient."""
    if s.units[unit].is_owed:
        return
    s.units[unit].is_owed = 1
    s.units[(s.numbers[OWED_FIRST] + s.numbers[OWED]) % s.units.size].owed = unit
    s.numbers[OWED] += 1


@part
def next_owed(s):  # pragma: no cover
    unit = s.units[s.numbers[OWED_FIRST]].owed
    s.numbers[OWED_FIRST] = (s.numbers[OWED_FIRST] + 1) % s.units.size
    s.numbers[OWED] -= 1
    s.units[unit].is_owed = 0
    return unit


@part
def join_queue(m, s, slot, unit):  # pragma: no cover
    """Start to wait for a bed of a unit: outside, or blocked in the bed of another."""
    place = unit * m.priorities + m.groups[s.slots[slot].group].priority
    last = s.queues[place].last
    s.slots[slot].before, s.slots[slot].after = last, -1
    if last >= 0:
        s.slots[last].after = slot
    else:
        s.queues[place].first = slot
    s.queues[place].last = slot
    s.slots[slot].wants = unit
    s.slots[slot].since = s.clock[0]
    here = s.slots[slot].unit
    if here < 0:
        touch(m, s, unit)
        s.units[unit].waiting += 1
    else:
        touch(m, s, here)
        s.units[here].blocked += 1
        s.wanted_from[here, unit] += 1


@part
def leave_queue(m, s, slot):  # pragma: no cover
    unit = s.slots[slot].wants
    place = unit * m.priorities + m.groups[s.slots[slot].group].priority
    before, after = s.slots[slot].before, s.slots[slot].after
    if before >= 0:
        s.slots[before].after = after
    else:
        s.queues[place].first = after
    if after >= 0:
        s.slots[after].before = before
    else:
        s.queues[place].last = before
    s.slots[slot].wants = -1
    here = s.slots[slot].unit
    if here < 0:
        touch(m, s, unit)
        s.units[unit].waiting -= 1
    else:
        touch(m, s, here)
        s.units[here].blocked -= 1
        s.wanted_from[here, unit] -= 1


@part
def first_waiting(m, s, unit):  # pragma: no cover
    """Who is next for a free bed of a unit, and the room: the first whom one fits."""
    for place in range(unit * m.priorities, (unit + 1) * m.priorities):
        slot = s.queues[place].first
        while slot >= 0:
            room = room_for(m, s, unit, slot)
            if room != NO_BED:
                return slot, room
            slot = s.slots[slot].after
    return -1, NO_BED


@part
def first_waiting_from(m, s, unit, origin):  # pragma: no cover
    """Who is next for a unit among those blocked in another."""
    for place in range(unit * m.priorities, (unit + 1) * m.priorities):
        slot = s.queues[place].first
        while slot >= 0:
            if s.slots[slot].unit == origin:
                return slot
            slot = s.slots[slot].after
    return -1
