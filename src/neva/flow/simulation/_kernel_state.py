"""What changes while a hospital is simulated: arrays that grow when they are full."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from neva.flow.simulation._model_arrays import ModelArrays

__all__ = ["KernelState", "grown", "new_state"]

# Places in KernelState.numbers.
(
    BEGUN,
    HEAP,  # events in the calendar
    FREE,  # slots given back
    SLOTS,  # slots ever used
    CASES,  # cases so far: the number of the next
    ROWS,  # rows of the log
    WAITS,  # waits kept
    OWED,  # units with a bed to offer, in the ring
    OWED_FIRST,
    SWAPS,
    CYCLE,  # units in the last cycle found
    EVENTS,  # of the calendar
) = range(12)

# Counts of a unit.
ENTRIES, OUTSIDE, REQUESTS, WAITED, REFUSED, CANCELLED, DIVERTED, LEFT, ENDED = range(9)
COUNTS = 9

# Integrals of a unit over time, in hours (of patients, of beds, or of the clock).
BEDS, FULL, OVER, EXCESS, BLOCKED, WAITING, AWAITING = range(7)
INTEGRALS = 7


class KernelState(NamedTuple):
    """The state of one replicate, as arrays of records; few, because numba passes each by value."""

    clock: np.ndarray  # (1,) float64
    numbers: np.ndarray
    heap: np.ndarray  # the calendar: a binary heap by (time, order)
    slots: np.ndarray  # a patient who is in the system now, or in a queue for it
    units: np.ndarray
    groups: np.ndarray  # classes
    rooms: np.ndarray
    queues: np.ndarray  # (U * priorities,)
    wanted_from: np.ndarray  # (U, U): blocked in the row's unit, wanting the column's
    # results
    occupied_hours: np.ndarray  # (U, 24)
    integrals: np.ndarray  # (U, INTEGRALS)
    counts: np.ndarray  # (U, COUNTS)
    exits: np.ndarray  # (C, E)
    stays: np.ndarray  # (C, 2): cases ended, their hours in hospital
    hourly: np.ndarray  # (U, hours) int32
    waits: np.ndarray
    log: np.ndarray
    cases: np.ndarray


def _record(**fields: str) -> np.dtype:
    return np.dtype(list(fields.items()), align=True)


_HEAP = _record(time="f8", order="i8", item="i8")
_SLOT = _record(
    key="u8",
    case="i8",
    since="f8",  # begin of the wait
    began="f8",  # begin of the stay in hospital
    group="i4",
    unit="i4",  # -1: outside
    room="i4",  # -1: in none
    next="i4",  # a unit, or U + exit
    wants="i4",  # unit waited for, -1: none
    step="i4",
    after="i4",  # next in the queue, or next free slot
    before="i4",
    female="i4",
    isolated="i4",
    planned="i4",
)
_UNIT = _record(
    beds="i8",
    step_at="i8",
    occupied="i8",
    blocked="i8",
    awaiting="i8",  # stay over, waiting for the hour of leaving
    waiting="i8",  # outside
    touched="f8",  # time up to which everything is counted
    most="i8",
    owed="i8",  # a ring of units
    is_owed="i8",
    path="i8",  # units of a cycle, with whom they send, to which room
    path_slot="i8",
    path_room="i8",
    reached="i8",  # for the search
)
_GROUP = _record(arrived="i8", level="f8", edge_at="i8", elective_at="i8")
_ROOM = _record(used="i8", female="i8")
_QUEUE = _record(first="i8", last="i8")
_WAIT = _record(unit="i2", origin="i2", hours="f8")
_LOG = _record(time="f8", case="i8", kind="i2", origin="i2", target="i2")
_CASE = _record(group="i2", female="i1", isolated="i1", stream="i1", elapsed="f8")

#: What the kernel says is full.
_GROWS = {1: ("slots", "heap"), 2: ("log",), 3: ("cases",), 4: ("waits",)}


def new_state(model: ModelArrays, *, hours: int, arrivals: float) -> KernelState:
    """Room for one replicate, empty; for about so many arrivals, because it grows."""
    units, classes, exits = model.units.size, model.groups.size, model.exits.size
    slots = model.initial.size + 256
    state = KernelState(
        clock=np.array([model.start]),
        numbers=np.zeros(12, dtype=np.int64),
        heap=np.zeros(slots + 2 * classes + units + 8, dtype=_HEAP),
        slots=np.zeros(slots, dtype=_SLOT),
        units=np.zeros(units, dtype=_UNIT),
        groups=np.zeros(classes, dtype=_GROUP),
        rooms=np.zeros(model.rooms.size, dtype=_ROOM),
        queues=np.zeros(units * model.priorities, dtype=_QUEUE),
        wanted_from=np.zeros((units, units), dtype=np.int64),
        occupied_hours=np.zeros((units, 24)),
        integrals=np.zeros((units, INTEGRALS)),
        counts=np.zeros((units, COUNTS), dtype=np.int64),
        exits=np.zeros((classes, exits), dtype=np.int64),
        stays=np.zeros((classes, 2)),
        hourly=np.zeros((units, hours if model.hourly else 0), dtype=np.int32),
        waits=np.zeros(1024, dtype=_WAIT),
        log=np.zeros(8192 + int(4 * arrivals) if model.logged else 0, dtype=_LOG),
        cases=np.zeros(slots + 2048 + int(arrivals) if model.logged else 0, dtype=_CASE),
    )
    state.units["touched"] = model.start
    state.queues["first"] = state.queues["last"] = -1
    state.groups["elective_at"] = model.groups["elective_first"]
    return state


def grown(state: KernelState, full: int) -> KernelState:
    """The same state with twice the room where it is full."""
    larger = {}
    for name in _GROWS[full]:
        array = getattr(state, name)
        larger[name] = np.concatenate([array, np.zeros_like(array)])
    return state._replace(**larger)
