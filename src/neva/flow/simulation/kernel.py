"""The simulation of one replicate: an event loop compiled by numba.

What happens is said once, here:

- A patient whose stay in a unit is over keeps the bed until the next unit has
  one (transfer blocking after service, type I), or until the hour at which
  patients leave. Blocked in the emergency department is what is called boarding.
- A bed that comes free goes to who has waited longest among those of the
  highest priority whom it fits (sex of a bay, side room); a patient who came
  from another unit leaves a bed there, and so on, at the same moment.
- Fewer staffed beds put nobody out: beds close as patients leave.
- A cycle of blocked patients, each wanting a bed of the next one's unit, moves
  all at once (or, if the model says so, ends the simulation).

The loop stops when an array is full; :func:`run_replicate` makes it larger and
goes on. Only the loop itself is cached on disk: numba does not see changes of
the functions that it calls in other files, so their content is part of its key.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import hashlib
from pathlib import Path

import numba as nb
import numpy as np

from neva.errors import UsageError
from neva.flow.simulation._beds import owe, room_for, take_room, touch
from neva.flow.simulation._calendar import (
    ARRIVAL,
    BED_STEP,
    ELECTIVE,
    LEAVE,
    READY,
    REBOOKED,
    pop,
    push,
)
from neva.flow.simulation._compiling import part
from neva.flow.simulation._draws import (
    COMES,
    GAP,
    GAPS,
    PLANNED,
    PRESENT,
    UNPLANNED,
    exponential,
    joined,
    patient_key,
    uniform,
)
from neva.flow.simulation._kernel_state import (
    BEGUN,
    CASES,
    CYCLE,
    EVENTS,
    FREE,
    HEAP,
    ROWS,
    SLOTS,
    WAITS,
    KernelState,
    grown,
    new_state,
)
from neva.flow.simulation._model_arrays import ModelArrays
from neva.flow.simulation._moves import await_hour, comes, leave, offer_beds, stay_over
from neva.flow.simulation._patients import IS_PRESENT, KINDS, draw_rest, new_patient, write_row

__all__ = ["KINDS", "run_replicate"]

DONE, MORE_SLOTS, MORE_ROWS, MORE_CASES, MORE_WAITS, DEADLOCK = range(6)
_SPARE = 64
_COMPILED_FILES = (
    "_compiling",
    "_draws",
    "_model_arrays",
    "_kernel_state",
    "_calendar",
    "_beds",
    "_patients",
    "_moves",
    "kernel",
)


@part
def _schedule_arrival(m, s, base, expected, group):  # pragma: no cover
    """Put the next unplanned arrival of a class into the calendar."""
    gaps = joined(joined(base, m.groups[group].key), GAPS)
    s.groups[group].level += exponential(gaps, GAP, s.groups[group].arrived)
    edges = m.arrival_edge.size - 1
    place = s.groups[group].edge_at
    while place < edges and expected[group, place + 1] < s.groups[group].level:
        place += 1
    s.groups[group].edge_at = place
    if place < edges:
        low, high = expected[group, place], expected[group, place + 1]
        begin, end = m.arrival_edge[place], m.arrival_edge[place + 1]
        time = begin + (s.groups[group].level - low) / (high - low) * (end - begin)
        push(s, time, ARRIVAL, group, group)


@part
def _schedule_elective(m, s, group):  # pragma: no cover
    place = s.groups[group].elective_at
    if place < m.groups[group].elective_last:
        push(s, m.electives[place].time, ELECTIVE, group, group)


@part
def _schedule_beds(m, s, unit):  # pragma: no cover
    """Set the beds of now, and put their next change into the calendar."""
    place = m.units[unit].step_first + s.units[unit].step_at
    last = m.units[unit].step_last
    while place + 1 < last and m.steps[place + 1].time <= s.clock[0]:
        place += 1
    touch(m, s, unit)
    s.units[unit].beds = m.steps[place].beds
    s.units[unit].step_at = place - m.units[unit].step_first
    if place + 1 < last:
        push(s, m.steps[place + 1].time, BED_STEP, unit, unit)


@part
def _begin(m, s, base, expected):  # pragma: no cover
    s.numbers[FREE] = -1
    for unit in range(m.units.size):
        _schedule_beds(m, s, unit)
    for number in range(m.initial.size):
        unit, elapsed = m.initial[number].unit, m.initial[number].elapsed
        slot = new_patient(
            m,
            s,
            base,
            m.initial[number].group,
            PRESENT,
            number,
            m.initial[number].female,
            m.initial[number].isolated,
        )
        # Who is there is there, staffed bed or not.
        room = room_for(m, s, unit, slot)
        s.slots[slot].room = max(room, -1)
        take_room(m, s, s.slots[slot].room, s.slots[slot].female)
        s.slots[slot].unit = unit
        s.units[unit].occupied += 1
        s.slots[slot].began = m.start - max(elapsed, 1e-9)
        if m.logged:
            s.cases[s.slots[slot].case].elapsed = elapsed
        write_row(m, s, slot, IS_PRESENT, -1, unit)
        rest, leaves = draw_rest(m, s, slot, unit, m.initial[number].came, elapsed)
        if leaves >= 0.0:
            await_hour(m, s, slot, leaves)
        else:
            push(s, m.start + rest, READY, s.slots[slot].case, slot)
    for group in range(m.groups.size):
        _schedule_arrival(m, s, base, expected, group)
        _schedule_elective(m, s, group)


@part
def _room_left(m, s):  # pragma: no cover
    """DONE if one event more surely fits into all arrays, else which must grow."""
    slots = s.numbers[SLOTS]
    if s.numbers[FREE] < 0 and slots >= s.slots.size:
        return MORE_SLOTS
    if m.logged:
        # One event may move every waiting patient.
        if s.numbers[ROWS] + slots + _SPARE > s.log.size:
            return MORE_ROWS
        if s.numbers[CASES] + 2 > s.cases.size:
            return MORE_CASES
    if s.numbers[WAITS] + slots + _SPARE > s.waits.size:
        return MORE_WAITS
    return DONE


def _fingerprint() -> int:
    """A number for the content of the files that the loop is compiled from."""
    here = Path(__file__).parent
    text = b"".join((here / f"{name}.py").read_bytes() for name in _COMPILED_FILES)
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "little")


def _compiled(fingerprint: int):
    # What a cached function closes over belongs to the key of its cache.
    @nb.njit(nogil=True, cache=True, _nrt=False)
    def advance(m, s, base, expected):  # pragma: no cover
        """Simulate until the end, or until an array is full or a cycle is refused."""
        if fingerprint >= 0 and s.numbers[BEGUN] == 0:
            _begin(m, s, base, expected)
            s.numbers[BEGUN] = 1
        while s.numbers[HEAP] > 0 and s.heap[0].time < m.end:
            full = _room_left(m, s)
            if full != DONE:
                return full
            time, kind, item = pop(s)
            s.clock[0] = time
            s.numbers[EVENTS] += 1
            if kind == READY:
                if stay_over(m, s, item):
                    return DEADLOCK
            elif kind == LEAVE:
                touch(m, s, s.slots[item].unit)
                s.units[s.slots[item].unit].awaiting -= 1
                leave(m, s, item)
            elif kind == BED_STEP:
                _schedule_beds(m, s, item)
                owe(s, item)
            elif kind == ELECTIVE:
                place = s.groups[item].elective_at
                number = m.electives[place].number
                key = patient_key(base, m.groups[item].key, PLANNED, number)
                if uniform(key, COMES, 0) < m.electives[place].share:
                    comes(m, s, new_patient(m, s, base, item, PLANNED, number, -1, -1))
                s.groups[item].elective_at += 1
                _schedule_elective(m, s, item)
            elif kind == REBOOKED:
                comes(m, s, item)
            else:
                number = s.groups[item].arrived
                s.groups[item].arrived += 1
                comes(m, s, new_patient(m, s, base, item, UNPLANNED, number, -1, -1))
                _schedule_arrival(m, s, base, expected, item)
            offer_beds(m, s)
        s.clock[0] = m.end
        for unit in range(m.units.size):
            touch(m, s, unit)
        return DONE

    return advance


_advance = _compiled(_fingerprint())


def run_replicate(
    model: ModelArrays,
    expected: np.ndarray,
    base: int,
    *,
    hours: int,
    unit_names: tuple[str, ...],
) -> KernelState:
    """Simulate one replicate; releases the interpreter's lock.

    Parameters
    ----------
    model : ModelArrays
    expected : ndarray, shape (C, K + 1)
        Arrivals expected since the start at each edge, of this replicate.
    base : int
        The key of the replicate.
    hours : int
        Full hours that the clock begins.
    unit_names : tuple of str
        For messages.

    Raises
    ------
    UsageError
        Patients block each other in a cycle, and the model forbids to swap them.
    """
    state = new_state(model, hours=hours, arrivals=float(expected[:, -1].sum()))
    while (status := _advance(model, state, np.uint64(base), expected)) != DONE:
        if status == DEADLOCK:
            names = [unit_names[u] for u in state.units["path"][: state.numbers[CYCLE]]]
            message = (
                "simulation: patients wait for each other's beds in a cycle; found "
                f"{' > '.join([*names, names[0]])} {state.clock[0] - model.start:.1f} h after the "
                "start; give one of these units more beds, or set deadlock='swap'"
            )
            raise UsageError(message)
        state = grown(state, status)
    return state
