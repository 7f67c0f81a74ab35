"""What happens to patients: they come, take beds, wait, block each other, leave."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from neva.flow.simulation._beds import (
    NO_BED,
    bed_for,
    first_waiting,
    first_waiting_from,
    join_queue,
    leave_queue,
    next_owed,
    room_for,
    take_room,
    touch,
    vacate,
)
from neva.flow.simulation._calendar import LEAVE, READY, REBOOKED, push
from neva.flow.simulation._compiling import part
from neva.flow.simulation._draws import FIRST, LEAVING, chosen, leaving_time, uniform
from neva.flow.simulation._kernel_state import (
    CANCELLED,
    CYCLE,
    DIVERTED,
    ENDED,
    ENTRIES,
    LEFT,
    OUTSIDE,
    OWED,
    REFUSED,
    REQUESTS,
    SWAPS,
    WAITED,
    WAITS,
)
from neva.flow.simulation._model_arrays import REFUSE
from neva.flow.simulation._patients import (
    ARRIVES,
    IS_CANCELLED,
    IS_READY,
    IS_REFUSED,
    LEAVES,
    STARTS,
    WAITS_OUTSIDE,
    count,
    draw_stay,
    forget,
    write_row,
)


@part
def _occupy(m, s, slot, origin, unit, room):  # pragma: no cover
    """Put a patient, who is in no bed now, into a bed: the stay there begins."""
    now = s.clock[0]
    touch(m, s, unit)
    s.units[unit].occupied += 1
    take_room(m, s, room, s.slots[slot].female)
    s.slots[slot].unit, s.slots[slot].room = unit, room
    if s.slots[slot].began < 0.0:
        s.slots[slot].began = now
    count(m, s, unit, ENTRIES)
    write_row(m, s, slot, STARTS, origin, unit)
    push(s, now + draw_stay(m, s, slot, unit, origin), READY, s.slots[slot].case, slot)


@part
def _move(m, s, slot, unit, room):  # pragma: no cover
    origin = s.slots[slot].unit
    if origin >= 0:
        count(m, s, origin, LEFT)
        vacate(m, s, slot)
    _occupy(m, s, slot, origin, unit, room)


@part
def _end_wait(m, s, slot):  # pragma: no cover
    """Take a patient out of a queue, and keep how long it was."""
    unit, here = s.slots[slot].wants, s.slots[slot].unit
    leave_queue(m, s, slot)
    if s.slots[slot].since >= m.count_from:
        s.counts[unit, ENDED] += 1
        row = s.numbers[WAITS]
        s.waits[row].unit, s.waits[row].origin = unit, here
        s.waits[row].hours = s.clock[0] - s.slots[slot].since
        s.numbers[WAITS] = row + 1


@part
def offer_beds(m, s):  # pragma: no cover
    """Give free beds to the patients who wait for them, until no unit owes one."""
    while s.numbers[OWED] > 0:
        unit = next_owed(s)
        while s.units[unit].occupied < s.units[unit].beds:
            slot, room = first_waiting(m, s, unit)
            if slot < 0:
                break
            _end_wait(m, s, slot)
            _move(m, s, slot, unit, room)


@part
def _find(m, s, slot, unit):  # pragma: no cover
    """A bed in the unit, or in those to which it diverts: the unit and the room."""
    room = bed_for(m, s, unit, slot)
    if room != NO_BED:
        return unit, room
    for place in range(m.units[unit].divert_first, m.units[unit].divert_last):
        other = m.diverts[place]
        if other != s.slots[slot].unit:
            room = bed_for(m, s, other, slot)
            if room != NO_BED:
                return other, room
    return unit, NO_BED


@part
def _ask(m, s, slot, unit):  # pragma: no cover
    """Request a bed and take it if there is one; return whether there was."""
    count(m, s, unit, REQUESTS)
    found, room = _find(m, s, slot, unit)
    if room == NO_BED:
        return False
    if found != unit:
        count(m, s, unit, DIVERTED)
    _move(m, s, slot, found, room)
    return True


@part
def comes(m, s, slot):  # pragma: no cover
    """A patient arrives from outside."""
    group = s.slots[slot].group
    place = chosen(
        m.firsts,
        m.groups[group].first_first,
        m.groups[group].first_last,
        uniform(s.slots[slot].key, FIRST, 0),
    )
    unit = m.firsts[place].unit
    count(m, s, unit, OUTSIDE)
    write_row(m, s, slot, ARRIVES, -1, unit)
    if _ask(m, s, slot, unit):
        return
    if s.slots[slot].planned:
        count(m, s, unit, CANCELLED)
        write_row(m, s, slot, IS_CANCELLED, -1, unit)
        if m.groups[group].rebook_hours > 0:
            push(s, s.clock[0] + m.groups[group].rebook_hours, REBOOKED, s.slots[slot].case, slot)
        else:
            forget(s, slot)
    elif m.units[unit].refuses == REFUSE:
        count(m, s, unit, REFUSED)
        write_row(m, s, slot, IS_REFUSED, -1, unit)
        forget(s, slot)
    else:
        count(m, s, unit, WAITED)
        write_row(m, s, slot, WAITS_OUTSIDE, -1, unit)
        join_queue(m, s, slot, unit)


@part
def leave(m, s, slot):  # pragma: no cover
    """The case ends."""
    unit, group, exit_ = s.slots[slot].unit, s.slots[slot].group, s.slots[slot].next - m.units.size
    count(m, s, unit, LEFT)
    write_row(m, s, slot, LEAVES, unit, s.slots[slot].next)
    if s.clock[0] >= m.count_from:
        s.exits[group, exit_] += 1
        # Of those present at the start the whole stay is not known.
        if s.slots[slot].began >= m.start:
            s.stays[group, 0] += 1.0
            s.stays[group, 1] += s.clock[0] - s.slots[slot].began
    vacate(m, s, slot)
    forget(s, slot)


@part
def _find_cycle(s, unit, wanted):  # pragma: no cover
    """The shortest way of blocked patients from `wanted` back to `unit`: its length in units."""
    units = s.units.size
    # Breadth first, from the end: reached[u] - 1 is the unit that u's patients want.
    for other in range(units):
        s.units[other].reached = 0
    s.units[0].path, size, at = unit, 1, 0
    while at < size and s.units[wanted].reached == 0:
        for other in range(units):
            if (
                other != unit
                and s.units[other].reached == 0
                and s.wanted_from[other, s.units[at].path] > 0
            ):
                s.units[other].reached = s.units[at].path + 1
                s.units[size].path = other
                size += 1
        at += 1
    if s.units[wanted].reached == 0:
        return 0
    s.units[0].path, size, step = unit, 1, wanted
    while step != unit:
        s.units[size].path = step
        size += 1
        step = s.units[step].reached - 1
    return size


@part
def _swap(m, s, size):  # pragma: no cover
    """Move one blocked patient from each unit of a cycle to the next, if the rooms allow it."""
    for k in range(size):
        slot = first_waiting_from(m, s, s.units[(k + 1) % size].path, s.units[k].path)
        s.units[k].path_slot = slot
        if s.slots[slot].room >= 0:
            s.rooms[s.slots[slot].room].used -= 1
    fitted = 0
    while fitted < size:
        slot = s.units[fitted].path_slot
        room = room_for(m, s, s.units[(fitted + 1) % size].path, slot)
        if room == NO_BED:
            break
        s.units[fitted].path_room = room
        take_room(m, s, room, s.slots[slot].female)
        fitted += 1
    for k in range(fitted):
        if s.units[k].path_room >= 0:
            s.rooms[s.units[k].path_room].used -= 1
    for k in range(size):
        take_room(m, s, s.slots[s.units[k].path_slot].room, s.slots[s.units[k].path_slot].female)
    if fitted < size:
        return
    if s.clock[0] >= m.count_from:
        s.numbers[SWAPS] += 1
    for k in range(size):
        _end_wait(m, s, s.units[k].path_slot)
        count(m, s, s.units[k].path, LEFT)
        vacate(m, s, s.units[k].path_slot)
    for k in range(size):
        _occupy(
            m,
            s,
            s.units[k].path_slot,
            s.units[k].path,
            s.units[(k + 1) % size].path,
            s.units[k].path_room,
        )


@part
def await_hour(m, s, slot, time):  # pragma: no cover
    """Keep the bed until the hour of leaving."""
    unit = s.slots[slot].unit
    write_row(m, s, slot, IS_READY, unit, s.slots[slot].next)
    touch(m, s, unit)
    s.units[unit].awaiting += 1
    push(s, time, LEAVE, s.slots[slot].case, slot)


@part
def stay_over(m, s, slot):  # pragma: no cover
    """End the stay in a unit. Returns whether a forbidden cycle arose."""
    unit, target = s.slots[slot].unit, s.slots[slot].next
    if target >= m.units.size:
        exit_ = target - m.units.size
        if m.exits[exit_].timed:
            u = uniform(s.slots[slot].key, LEAVING, s.slots[slot].step)
            time = leaving_time(s.clock[0], m.exit_hours, exit_, m.hour_of_day, u)
            if time > s.clock[0]:
                await_hour(m, s, slot, time)
                return False
        leave(m, s, slot)
        return False
    if _ask(m, s, slot, target):
        return False
    count(m, s, target, WAITED)
    write_row(m, s, slot, IS_READY, unit, target)
    join_queue(m, s, slot, target)
    size = _find_cycle(s, unit, target)
    if size:
        if not m.swap:
            s.numbers[CYCLE] = size
            return True
        _swap(m, s, size)
    return False
