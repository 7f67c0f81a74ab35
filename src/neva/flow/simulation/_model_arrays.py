"""A hospital model as arrays, for one period: what the kernel reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from scipy import special

from neva.flow.simulation import _draws
from neva.flow.simulation._model_checks import OUTSIDE, spread_over_week
from neva.flow.simulation.hospital_model import (
    BedChange,
    Beds,
    HospitalModel,
    PatientClass,
    Surge,
    Unit,
)

__all__ = [
    "UNLIMITED",
    "Clock",
    "ModelArrays",
    "arrival_edges",
    "arrival_rates",
    "beds_at",
    "cumulative_arrivals",
    "elective_list",
    "model_arrays",
]

#: Beds of a unit that has as many as are needed.
UNLIMITED = 1 << 40
WAIT, REFUSE = 0, 1
MIXED, BAY, SIDE = 0, 1, 2

#: Who is ready to leave within the period may have to wait for a time of day.
_HOURS_AFTER = 60


def _records(**fields: np.ndarray) -> np.ndarray:
    """One array of records of columns of equal length; numba reads ``a[i].field``."""
    kinds = [(name, column.dtype) for name, column in fields.items()]
    size = next(iter(fields.values())).size
    found = np.zeros(size, dtype=np.dtype(kinds, align=True))
    for name, column in fields.items():
        found[name] = column
    return found


class ModelArrays(NamedTuple):
    """A model as arrays of records; `x_first` to `x_last` is a range of the records x.

    Times are hours on the simulation's clock, whose zero is the full hour at
    or before the start. There are few arrays, because numba passes each by value.
    """

    start: float
    count_from: float
    end: float
    swap: int
    hourly: int
    logged: int
    priorities: int
    hour_of_day: np.ndarray  # (hours and some more,)
    units: np.ndarray  # refuses (after diverting), ranges step, divert, room; side rooms
    steps: np.ndarray  # time, beds
    diverts: np.ndarray  # units
    rooms: np.ndarray  # beds, kind
    groups: np.ndarray  # classes: key, priority (rank), shares, ranges first, elective
    firsts: np.ndarray  # unit, share (cumulative)
    arrival_edge: np.ndarray  # (K + 1,)
    electives: np.ndarray  # time, share, number
    places: np.ndarray  # (class * (U + 2) + 1 + unit before) * U + unit: range route
    routes: np.ndarray  # to (a unit, or U + exit), share (cumulative), range table
    hours: np.ndarray  # all tables of lengths of stay, joined
    exits: np.ndarray  # timed, timed before the start, changed at the start
    exit_hours: np.ndarray  # (E, 24) cumulative
    past_hours: np.ndarray  # (E, 24) shares, of those who left before the start
    initial: np.ndarray  # group, unit, came (U: not known), elapsed, female, isolated (-1: drawn)


def _offsets(parts: list[list[float]] | list[list[int]]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)


def _joined(parts: list[list[float]] | list[list[int]], kind: type) -> np.ndarray:
    return np.array([value for part in parts for value in part], dtype=kind)


def _shares(values: list[float]) -> list[float]:
    total = np.cumsum(values)
    return [float(value) for value in total / total[-1]]


class Clock:
    """The simulation's clock: elapsed hours, and what the hospital's clocks show."""

    def __init__(self, start: datetime, hours: float, zone: str) -> None:
        begins = start.astimezone(UTC)
        place = ZoneInfo(zone)
        # Zones are off UTC by quarters of an hour; the full hour is the local one.
        local = begins.astimezone(place)
        self.origin = begins - timedelta(
            minutes=local.minute, seconds=local.second, microseconds=local.microsecond
        )
        self.start = (begins - self.origin) / timedelta(hours=1)
        self.hours = int(np.ceil(self.start + hours))
        last = self.origin + timedelta(hours=self.hours + _HOURS_AFTER - 1)
        shown = pl.datetime_range(
            self.origin, last, "1h", time_unit="us", time_zone="UTC", eager=True
        ).dt.convert_time_zone(zone)
        self.hour_of_day = shown.dt.hour().cast(pl.Int64).to_numpy()
        weekday = shown.dt.weekday().cast(pl.Int64).to_numpy() - 1
        self.hour_of_week = weekday * 24 + self.hour_of_day
        days = shown.dt.date().to_physical().cast(pl.Int64).to_numpy()
        self.day = days - days[0]


def bed_steps(beds: Beds | None, clock: Clock) -> tuple[list[float], list[int]]:
    """When the number of beds changes, and what it is from then on."""
    if beds is None:
        return [0.0], [UNLIMITED]
    week = np.array(spread_over_week(beds.week))
    edges = {0.0}
    if len(set(beds.week)) > 1:
        edges |= {float(hour) for hour in range(clock.hours)}
    for change in beds.changes:
        edges |= {change.from_hour + clock.start, change.until_hour + clock.start}
    times = np.array(sorted(t for t in edges if 0 <= t < clock.hours))
    number = week[clock.hour_of_week[times.astype(np.int64)]]
    for change in beds.changes:
        if change.beds is not None:
            number = np.where(_within(change, times - clock.start), change.beds, number)
    for change in beds.changes:
        number = number + np.where(_within(change, times - clock.start), change.add, 0)
    number = np.maximum(number, 0)
    keep = np.concatenate([[True], np.diff(number) != 0])
    return times[keep].tolist(), number[keep].astype(int).tolist()


def beds_at(beds: Beds | None, clock: Clock) -> np.ndarray:
    """Beds at each full hour of the clock."""
    times, number = bed_steps(beds, clock)
    place = np.searchsorted(times, np.arange(clock.hours), side="right") - 1
    found: np.ndarray = np.array(number)[np.maximum(place, 0)]
    return found


def _within(change: BedChange | Surge, hours: np.ndarray) -> np.ndarray:
    # The sum and the difference of the start may differ in the last bit.
    tiny = 1e-9
    inside: np.ndarray = (hours >= change.from_hour - tiny) & (hours < change.until_hour - tiny)
    return inside


def _rooms(unit: Unit, peak: int) -> tuple[list[int], list[int]]:
    """Beds and kinds of the rooms of a unit: bays, then mixed beds, then side rooms."""
    bays, side = list(unit.bays), unit.side_rooms
    if not bays and not side:
        return [], []
    mixed = max(0, peak - sum(bays) - side)
    sizes = bays + [mixed] * (mixed > 0) + [side] * (side > 0)
    return sizes, [BAY] * len(bays) + [MIXED] * (mixed > 0) + [SIDE] * (side > 0)


def elective_list(each: PatientClass, clock: Clock) -> list[tuple[float, float, int]]:
    """Times, probabilities and numbers of the planned arrivals of a class."""
    if each.electives is None:
        return []
    week = spread_over_week(each.electives.planned)
    found = []
    for hour in range(clock.hours):
        planned = week[clock.hour_of_week[hour]]
        count = int(np.ceil(planned))
        for k in range(count):
            share = 1.0 if k + 1 <= planned else planned - int(planned)
            time = hour + k / count
            if time >= clock.start:
                # Numbered by hour, so that another list leaves this one as it is.
                found.append((time, share, hour * 4096 + k))
    return found


def arrival_edges(model: HospitalModel, clock: Clock) -> np.ndarray:
    """Times between which no rate of arrival changes, shape (K + 1,)."""
    changes = [
        hour + clock.start
        for each in model.classes
        if each.arrivals
        for surge in each.arrivals.surges
        for hour in (surge.from_hour, surge.until_hour)
    ]
    edges = np.concatenate([np.arange(clock.hours + 1.0), changes])
    inside = edges[(edges > clock.start) & (edges <= clock.hours)]
    found: np.ndarray = np.unique(np.concatenate([[clock.start], inside]))
    return found


def arrival_rates(model: HospitalModel, clock: Clock, edges: np.ndarray) -> np.ndarray:
    """Expected arrivals per hour, shape (C, K)."""
    begins = edges[:-1]
    hour = clock.hour_of_week[begins.astype(np.int64)]
    rates = np.zeros((len(model.classes), begins.size))
    for c, each in enumerate(model.classes):
        if each.arrivals is None:
            continue
        rates[c] = np.array(spread_over_week(each.arrivals.per_hour))[hour]
        for surge in each.arrivals.surges:
            rates[c] *= np.where(_within(surge, begins - clock.start), surge.factor, 1.0)
    return rates


def cumulative_arrivals(
    model: HospitalModel, rates: np.ndarray, edges: np.ndarray, clock: Clock, base: int
) -> np.ndarray:
    """Expected arrivals since the start at each edge, shape (C, K + 1), in one replicate."""
    rates = rates.copy()
    day = clock.day[edges[:-1].astype(np.int64)]
    for c, each in enumerate(model.classes):
        dispersion = each.arrivals.dispersion if each.arrivals else 0.0
        if dispersion > 0:
            key = _draws.joined(np.uint64(base), np.uint64(_draws.key_of_name(each.name)))
            days = range(int(day.min()), int(day.max()) + 1)
            u = np.array([_draws.uniform(np.uint64(key), _draws.DAY, d + 1) for d in days])
            factor = special.gammaincinv(1 / dispersion, u) * dispersion
            rates[c] *= factor[day - day.min()]
    expected = np.zeros((rates.shape[0], edges.size))
    np.cumsum(rates * np.diff(edges), axis=1, out=expected[:, 1:])
    return expected


def model_arrays(
    model: HospitalModel, clock: Clock, *, warm_up_hours: float, end: float, hourly: bool, log: bool
) -> ModelArrays:
    """Lay out a model in arrays."""
    units = {unit.name: number for number, unit in enumerate(model.units)}
    ranks = {p: rank for rank, p in enumerate(sorted({each.priority for each in model.classes}))}
    unit_records, steps, diverts, rooms = _unit_arrays(model, units, clock)
    first_of, firsts = _first_units(model, units)
    elective_of, electives = _planned_arrivals(model, clock)
    places, routes, hours = _route_arrays(model, units)
    exits, exit_hours, past_hours = _exit_arrays(model)
    return ModelArrays(
        start=clock.start,
        count_from=clock.start + warm_up_hours,
        end=end,
        swap=int(model.deadlock == "swap"),
        hourly=int(hourly),
        logged=int(log),
        priorities=max(1, len(ranks)),
        hour_of_day=clock.hour_of_day,
        units=unit_records,
        steps=steps,
        diverts=diverts,
        rooms=rooms,
        groups=_class_records(model, ranks, first_of, elective_of),
        firsts=firsts,
        arrival_edge=arrival_edges(model, clock),
        electives=electives,
        places=places,
        routes=routes,
        hours=hours,
        exits=exits,
        exit_hours=exit_hours,
        past_hours=past_hours,
        initial=_initial_patients(model, units),
    )


def _unit_arrays(
    model: HospitalModel, units: dict[str, int], clock: Clock
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Units, the steps of their beds, where they divert to, and their rooms."""
    steps = [bed_steps(unit.beds, clock) for unit in model.units]
    rooms = [_rooms(unit, max(beds)) for unit, (_, beds) in zip(model.units, steps, strict=True)]
    diverts = [[units[name] for name in unit.divert] for unit in model.units]
    step_of = _offsets([times for times, _ in steps])
    divert_of = _offsets(diverts)
    room_of = _offsets([sizes for sizes, _ in rooms])
    records = _records(
        refuses=np.array([_refuses(unit) for unit in model.units], dtype=np.int64),
        side_rooms=np.array([unit.side_rooms for unit in model.units], dtype=np.int64),
        side_rooms_kept=np.array(
            [unit.side_rooms_for_isolation_only for unit in model.units], dtype=np.int64
        ),
        step_first=step_of[:-1],
        step_last=step_of[1:],
        divert_first=divert_of[:-1],
        divert_last=divert_of[1:],
        room_first=room_of[:-1],
        room_last=room_of[1:],
    )
    step_records = _records(
        time=_joined([times for times, _ in steps], np.float64),
        beds=_joined([beds for _, beds in steps], np.int64),
    )
    room_records = _records(
        beds=_joined([sizes for sizes, _ in rooms], np.int64),
        kind=_joined([kinds for _, kinds in rooms], np.int64),
    )
    return records, step_records, _joined(diverts, np.int64), room_records


def _first_units(model: HospitalModel, units: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the units begin to which each class comes first, and these units with their shares."""
    firsts = [[(units[n], share) for n, share in each.first] for each in model.classes]
    records = _records(
        unit=_joined([[u for u, _ in first] for first in firsts], np.int64),
        share=_joined([_shares([s for _, s in first]) for first in firsts], np.float64),
    )
    return _offsets([[u for u, _ in first] for first in firsts]), records


def _planned_arrivals(model: HospitalModel, clock: Clock) -> tuple[np.ndarray, np.ndarray]:
    """Where the planned arrivals of each class begin, and these arrivals."""
    electives = [elective_list(each, clock) for each in model.classes]
    records = _records(
        time=_joined([[t for t, _, _ in each] for each in electives], np.float64),
        share=_joined([[s for _, s, _ in each] for each in electives], np.float64),
        number=_joined([[n for _, _, n in each] for each in electives], np.int64),
    )
    return _offsets([[n for _, _, n in each] for each in electives]), records


def _class_records(
    model: HospitalModel, ranks: dict[int, int], first_of: np.ndarray, elective_of: np.ndarray
) -> np.ndarray:
    """Classes of patients."""
    return _records(
        key=np.array([_draws.key_of_name(c.name) for c in model.classes], dtype=np.uint64),
        priority=np.array([ranks[c.priority] for c in model.classes], dtype=np.int64),
        female=np.array([c.female for c in model.classes], dtype=np.float64),
        isolation=np.array([c.isolation for c in model.classes], dtype=np.float64),
        rebook_hours=np.array([_rebook_hours(c) for c in model.classes], dtype=np.float64),
        first_first=first_of[:-1],
        first_last=first_of[1:],
        elective_first=elective_of[:-1],
        elective_last=elective_of[1:],
    )


def _route_arrays(
    model: HospitalModel, units: dict[str, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places with their routes, the routes, and the tables of lengths of stay."""
    states = {name: number for number, name in enumerate(model.states)}
    by_place = {(r.patient_class, r.unit, r.came_from): r.nexts for r in model.routes}
    # Where one came from: outside, a unit, or (last) not known.
    before = [OUTSIDE, *units, None]
    nexts = [
        by_place.get((c.name, u.name, came), by_place.get((c.name, u.name, None), ()))
        for c in model.classes
        for came in before
        for u in model.units
    ]
    tables: dict[tuple[float, ...], int] = {}
    for each in nexts:
        for one in each:
            tables.setdefault(one.stay.hours, len(tables))
    table_parts = [list(table) for table in tables]
    table_of = _offsets(table_parts)
    numbers = _joined([[tables[one.stay.hours] for one in each] for each in nexts], np.int64)
    route_of = _offsets([[0] * len(each) for each in nexts])
    places = _records(route_first=route_of[:-1], route_last=route_of[1:])
    routes = _records(
        to=_joined([[states[one.to] for one in each] for each in nexts], np.int64),
        share=_joined(
            [_shares([one.probability for one in each]) for each in nexts if each], np.float64
        ),
        table_first=table_of[numbers],
        table_last=table_of[numbers + 1],
    )
    return places, routes, _joined(table_parts, np.float64)


def _exit_arrays(model: HospitalModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ways out, and the hours of the day at which they are taken: now, and before the start."""
    weights = [each.hours or (1.0,) * 24 for each in model.exits]
    past = [each.past_hours or each.hours for each in model.exits]
    exits = _records(
        timed=np.array([e.hours is not None for e in model.exits], dtype=np.int64),
        was_timed=np.array([hours is not None for hours in past], dtype=np.int64),
        changed=np.array([e.past_hours is not None for e in model.exits], dtype=np.int64),
    )
    exit_hours = np.array([_shares(list(each)) for each in weights], dtype=np.float64)
    past_hours = np.array(
        [np.array(hours or (1.0,) * 24) / sum(hours or (1.0,) * 24) for hours in past],
        dtype=np.float64,
    )
    return exits, exit_hours, past_hours


def _initial_patients(model: HospitalModel, units: dict[str, int]) -> np.ndarray:
    """Patients who are in the hospital at the start."""
    classes = {each.name: number for number, each in enumerate(model.classes)}
    return _records(
        group=np.array([classes[p.patient_class] for p in model.initial], dtype=np.int64),
        unit=np.array([units[p.unit] for p in model.initial], dtype=np.int64),
        came=np.array(
            [
                -1 if p.came_from == OUTSIDE else units.get(p.came_from or "", len(units))
                for p in model.initial
            ],
            dtype=np.int64,
        ),
        elapsed=np.array([p.elapsed_hours for p in model.initial], dtype=np.float64),
        female=np.array([_drawn(p.is_female) for p in model.initial], dtype=np.int64),
        isolated=np.array([_drawn(p.is_isolated) for p in model.initial], dtype=np.int64),
    )


def _drawn(given: bool | None) -> int:
    return -1 if given is None else int(given)


def _refuses(unit: Unit) -> int:
    rule = unit.then if unit.when_full == "divert" else unit.when_full
    return REFUSE if rule == "refuse" else WAIT


def _rebook_hours(each: PatientClass) -> int:
    return 24 * (each.electives.rebook_days or 0) if each.electives is not None else 0
