"""A slow, obvious simulation of a hospital: the oracle of the compiled one.

It reads the model itself, keeps events in a list that it searches for the
smallest, patients in objects and queues in lists. It shares the random numbers
with the compiled kernel, and the expected arrivals, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from neva.flow.simulation import _draws
from neva.flow.simulation._draws import (
    COMES,
    FIRST,
    GAP,
    GAPS,
    ISOLATION,
    LEAVING,
    ROUTE,
    SEX,
    STAY,
)
from neva.flow.simulation._model_arrays import (
    Clock,
    arrival_edges,
    arrival_rates,
    bed_steps,
    cumulative_arrivals,
    elective_list,
)
from neva.flow.simulation.hospital_model import OUTSIDE, HospitalModel

READY, LEAVE, BED_STEP, ELECTIVE, REBOOKED, ARRIVAL = range(6)


@dataclass(eq=False)
class Patient:
    key: int
    case: int
    group: int
    female: bool
    isolated: bool
    planned: bool
    unit: str | None = None
    room: int | None = None
    next: str = ""
    wants: str | None = None
    step: int = 0


@dataclass
class Ward:
    name: str
    beds: float = 0
    steps: list = field(default_factory=list)
    patients: list = field(default_factory=list)
    queue: list = field(default_factory=list)
    rooms: list = field(default_factory=list)  # (kind, size)


def quantile(hours, u):
    at = u * (len(hours) - 1)
    low = min(int(at), len(hours) - 2)
    return hours[low] + (at - low) * (hours[low + 1] - hours[low])


def share_by(hours, elapsed):
    if elapsed < hours[0]:
        return 0.0
    if elapsed >= hours[-1]:
        return 1.0
    low = max(i for i, value in enumerate(hours) if value <= elapsed)
    part = (elapsed - hours[low]) / (hours[low + 1] - hours[low])
    return (low + part) / (len(hours) - 1)


class Reference:
    def __init__(self, model: HospitalModel, start, days, seed, replicate, zone):
        self.model = model
        self.clock = Clock(start, days * 24, zone)
        self.end = self.clock.start + days * 24
        self.now = self.clock.start
        self.events: list = []
        self.log: list = []
        self.cases = 0
        self.base = int(_draws.base_key(np.uint64(seed), np.uint64(replicate)))
        self.edges = arrival_edges(model, self.clock)
        rates = arrival_rates(model, self.clock, self.edges)
        self.expected = cumulative_arrivals(model, rates, self.edges, self.clock, self.base)
        self.level = [0.0] * len(model.classes)
        self.arrived = [0] * len(model.classes)
        self.electives = [elective_list(each, self.clock) for each in model.classes]
        self.routes = {(r.patient_class, r.unit, r.came_from): r.nexts for r in model.routes}
        self.wards: dict[str, Ward] = {}
        self.owed: list[str] = []
        self.swaps = 0
        for unit in model.units:
            times, beds = bed_steps(unit.beds, self.clock)
            ward = Ward(unit.name, steps=list(zip(times, beds, strict=True)))
            if unit.bays or unit.side_rooms:
                mixed = max(0, max(beds) - sum(unit.bays) - unit.side_rooms)
                ward.rooms = [("bay", size) for size in unit.bays]
                ward.rooms += [("mixed", mixed)] if mixed else []
                ward.rooms += [("side", unit.side_rooms)] if unit.side_rooms else []
            self.wards[unit.name] = ward

    def u(self, key, purpose, step):
        return _draws.uniform(np.uint64(key), purpose, step)

    def key(self, group, *parts):
        key = _draws.joined(
            np.uint64(self.base), np.uint64(_draws.key_of_name(self.model.classes[group].name))
        )
        for part in parts:
            key = _draws.joined(np.uint64(key), np.uint64(part))
        return int(key)

    def row(self, patient, kind, origin, target):
        self.log.append((self.now, patient.case, kind, origin, target))

    def at(self, time, kind, number, item):
        self.events.append((time, kind, number, item))

    # patients

    def patient(self, group, stream, number, female=None, isolated=None):
        key = self.key(group, stream, number)
        each = self.model.classes[group]
        made = Patient(
            key,
            self.cases,
            group,
            self.u(key, SEX, 0) < each.female if female is None else female,
            self.u(key, ISOLATION, 0) < each.isolation if isolated is None else isolated,
            stream == _draws.PLANNED,
        )
        self.cases += 1
        return made

    def choose(self, shares, u):
        total = np.cumsum(shares)
        total = total / total[-1]
        for place in range(len(shares) - 1):
            if u < total[place]:
                return place
        return len(shares) - 1

    def nexts(self, patient, unit, came):
        name = self.model.classes[patient.group].name
        return self.routes.get((name, unit, came)) or self.routes[name, unit, None]

    def draw(self, patient, unit, came):
        nexts = self.nexts(patient, unit, came)
        place = self.choose(
            [n.probability for n in nexts], self.u(patient.key, ROUTE, patient.step)
        )
        stay = quantile(nexts[place].stay.hours, self.u(patient.key, STAY, patient.step))
        patient.next = nexts[place].to
        patient.step += 1
        return stay

    def hours_before(self):
        """Parts of hours of the day before the start: hour, begin, width, how long ago."""
        hour = int(self.clock.hour_of_day[int(self.clock.start)])
        passed = self.clock.start - int(self.clock.start)
        parts = [(hour, 0.0, passed, passed / 2)]
        parts += [((hour - back) % 24, 0.0, 1.0, back + passed - 0.5) for back in range(1, 24)]
        return [*parts, (hour, passed, 1.0 - passed, 24.0 + passed - (1.0 + passed) / 2)]

    def ready(self, one, elapsed):
        """Shares of those ready at the start, by the part of an hour at which they leave."""
        exit_ = {each.name: each for each in self.model.exits}.get(one.to)
        hours = (exit_.past_hours or exit_.hours) if exit_ else None
        if hours is None:
            return None
        by_now = share_by(one.stay.hours, elapsed)
        return [
            hours[hour] / sum(hours) * width * (by_now - share_by(one.stay.hours, elapsed - ago))
            for hour, _, width, ago in self.hours_before()
        ]

    def draw_rest(self, patient, unit, came, elapsed):
        """How long until ready; of one who is ready and waits, when they leave."""
        nexts = self.nexts(patient, unit, came)
        patient.step = 1
        wanted, u = self.u(patient.key, ROUTE, 0), self.u(patient.key, STAY, 0)
        cumulative = np.cumsum([n.probability for n in nexts])
        cumulative = cumulative / cumulative[-1]
        ways = []
        for share, one in zip(np.diff(cumulative, prepend=0.0), nexts, strict=True):
            ways.append((one, None, share * (1.0 - share_by(one.stay.hours, elapsed))))
            ready = self.ready(one, elapsed)
            if ready:
                ways.append((one, ready, share * sum(ready)))
        total = 0.0
        for _, _, weight in ways:
            total += weight
        if total <= 0:
            place = self.choose([n.probability for n in nexts], wanted)
            patient.next = nexts[place].to
            hours = nexts[place].stay.hours
            return u * (hours[-1] - hours[-2]), None
        below, chosen = 0.0, ways[0]
        for way in ways:
            if way[2] > 0:
                chosen = way
                below += way[2]
                if wanted * total < below:
                    break
        one, ready, _ = chosen
        patient.next = one.to
        if ready is None:
            gone = share_by(one.stay.hours, elapsed)
            return max(0.0, quantile(one.stay.hours, gone + (1.0 - gone) * u) - elapsed), None
        exit_ = {each.name: each for each in self.model.exits}[one.to]
        if exit_.past_hours:
            return 0.0, None
        aim = self.u(patient.key, LEAVING, 1) * sum(ready)
        below = 0.0
        for part, weight in zip(self.hours_before(), ready, strict=True):
            if weight > 0:
                (hour, begin, width, _), inside = part, min(1.0, (aim - below) / weight)
                below += weight
                if aim < below:
                    break
        return 0.0, self.next_at(hour, begin + inside * width)

    def next_at(self, hour, inside):
        for place in range(int(self.now), len(self.clock.hour_of_day)):
            if self.clock.hour_of_day[place] == hour and place + inside >= self.now:
                return place + inside
        return np.inf

    # beds

    def used(self, ward, room):
        return [p for p in ward.patients if p.room == room]

    def room(self, patient, name):
        """A room number, None where there are no rooms, False where none is free."""
        ward, unit = self.wards[name], self.model.unit(name)
        if not ward.rooms:
            return None
        free = [
            (number, kind, len(self.used(ward, number)))
            for number, (kind, size) in enumerate(ward.rooms)
            if len(self.used(ward, number)) < size
        ]
        if patient.isolated and unit.side_rooms:
            fit = [n for n, kind, _ in free if kind == "side"]
            return fit[0] if fit else False
        same = [
            (-used, n)
            for n, kind, used in free
            if kind == "bay" and used and self.used(ward, n)[0].female == patient.female
        ]
        if same:
            return min(same)[1]
        for wanted in ("empty", "mixed", "side"):
            for n, kind, used in free:
                if wanted == "empty" and kind == "bay" and not used:
                    return n
                if wanted == "mixed" and kind == "mixed":
                    return n
                if wanted == "side" and kind == "side" and not unit.side_rooms_for_isolation_only:
                    return n
        return False

    def bed(self, patient, name):
        ward = self.wards[name]
        return False if len(ward.patients) >= ward.beds else self.room(patient, name)

    def occupy(self, patient, origin, name, room):
        self.wards[name].patients.append(patient)
        patient.unit, patient.room = name, room
        self.row(patient, "starts", origin, name)
        self.at(
            self.now + self.draw(patient, name, origin or OUTSIDE), READY, patient.case, patient
        )

    def vacate(self, patient):
        self.wards[patient.unit].patients.remove(patient)
        if patient.unit not in self.owed:
            self.owed.append(patient.unit)
        patient.unit = patient.room = None

    def move(self, patient, name, room):
        origin = patient.unit
        if origin:
            self.vacate(patient)
        self.occupy(patient, origin, name, room)

    def ask(self, patient, name):
        room = self.bed(patient, name)
        if room is not False:
            self.move(patient, name, room)
            return True
        for other in self.model.unit(name).divert:
            if other != patient.unit:
                room = self.bed(patient, other)
                if room is not False:
                    self.move(patient, other, room)
                    return True
        return False

    def in_order(self, name):
        """The queue by priority; it is kept by time."""
        return sorted(self.wards[name].queue, key=lambda p: self.model.classes[p.group].priority)

    def join(self, patient, name):
        patient.wants = name
        self.wards[name].queue.append(patient)

    def quit(self, patient):
        self.wards[patient.wants].queue.remove(patient)
        patient.wants = None

    def offer(self):
        while self.owed:
            name = self.owed.pop(0)
            ward = self.wards[name]
            while len(ward.patients) < ward.beds:
                fits = [p for p in self.in_order(name) if self.room(p, name) is not False]
                if not fits:
                    break
                self.quit(fits[0])
                self.move(fits[0], name, self.room(fits[0], name))

    # events

    def comes(self, patient):
        each = self.model.classes[patient.group]
        place = self.choose([share for _, share in each.first], self.u(patient.key, FIRST, 0))
        name = each.first[place][0]
        self.row(patient, "arrives", None, name)
        if self.ask(patient, name):
            return
        unit = self.model.unit(name)
        rule = unit.then if unit.when_full == "divert" else unit.when_full
        if patient.planned:
            self.row(patient, "cancelled", None, name)
            if each.electives.rebook_days:
                self.at(self.now + 24 * each.electives.rebook_days, REBOOKED, patient.case, patient)
        elif rule == "refuse":
            self.row(patient, "refused", None, name)
        else:
            self.row(patient, "waits", None, name)
            self.join(patient, name)

    def leave(self, patient):
        self.row(patient, "leaves", patient.unit, patient.next)
        self.vacate(patient)

    def leaving_time(self, patient, exit_):
        u = self.u(patient.key, LEAVING, patient.step)
        shares = np.cumsum(exit_.hours)
        shares = shares / shares[-1]
        hour = int(np.searchsorted(shares, u, side="right"))
        below = shares[hour - 1] if hour else 0.0
        return self.next_at(hour, (u - below) / (shares[hour] - below))

    def stay_over(self, patient):
        exits = {each.name: each for each in self.model.exits}
        if patient.next in exits:
            if exits[patient.next].hours:
                time = self.leaving_time(patient, exits[patient.next])
                if time > self.now:
                    self.row(patient, "ready", patient.unit, patient.next)
                    self.at(time, LEAVE, patient.case, patient)
                    return
            self.leave(patient)
        elif not self.ask(patient, patient.next):
            self.row(patient, "ready", patient.unit, patient.next)
            self.join(patient, patient.next)
            self.swap(patient.unit, patient.next)

    def swap(self, unit, wanted):
        """Shortest cycle of units that begins with unit -> wanted."""
        names = [u.name for u in self.model.units]
        follows = {unit: None}
        open_ = [unit]
        # Backwards, from who wants the unit.
        for name in open_:
            for other in names:
                sends = any(p.unit == other for p in self.wards[name].queue)
                if other not in follows and sends:
                    follows[other] = name
                    open_.append(other)
        if wanted not in follows:
            return
        path = [unit]
        step = wanted
        while step != unit:
            path.append(step)
            step = follows[step]
        moves = []
        for name, target in zip(path, [*path[1:], path[0]], strict=True):
            first = next(p for p in self.in_order(target) if p.unit == name)
            moves.append((first, name, target))
        before = [(p, p.unit, p.room) for p, _, _ in moves]
        for patient, name, _ in moves:
            self.wards[name].patients.remove(patient)
            patient.room = None
        rooms = []
        for patient, _, target in moves:
            room = self.room(patient, target)
            if room is False:
                break
            patient.room = room
            self.wards[target].patients.append(patient)
            rooms.append(room)
        for (patient, _, target), _ in zip(moves, rooms, strict=False):
            self.wards[target].patients.remove(patient)
        for patient, name, room in before:
            patient.room = room
            self.wards[name].patients.append(patient)
        if len(rooms) < len(moves):
            return
        self.swaps += 1
        for patient, _, _ in moves:
            self.quit(patient)
            self.vacate(patient)
        for (patient, name, target), room in zip(moves, rooms, strict=True):
            self.occupy(patient, name, target, room)

    def beds_of_now(self, name):
        ward = self.wards[name]
        past = [i for i, (time, _) in enumerate(ward.steps) if time <= self.now] or [0]
        ward.beds = ward.steps[past[-1]][1]
        if past[-1] + 1 < len(ward.steps):
            number = [u.name for u in self.model.units].index(name)
            self.at(ward.steps[past[-1] + 1][0], BED_STEP, number, name)

    def next_arrival(self, group):
        gaps = self.key(group, GAPS)
        self.level[group] += _draws.exponential(np.uint64(gaps), GAP, self.arrived[group])
        level, expected = self.level[group], self.expected[group]
        for place in range(len(self.edges) - 1):
            if expected[place + 1] >= level:
                part = (level - expected[place]) / (expected[place + 1] - expected[place])
                time = self.edges[place] + part * (self.edges[place + 1] - self.edges[place])
                self.at(time, ARRIVAL, group, group)
                return

    def next_elective(self, group):
        if self.electives[group]:
            self.at(self.electives[group][0][0], ELECTIVE, group, group)

    def run(self):
        for unit in self.model.units:
            self.beds_of_now(unit.name)
        groups = {each.name: number for number, each in enumerate(self.model.classes)}
        for number, there in enumerate(self.model.initial):
            patient = self.patient(
                groups[there.patient_class],
                _draws.PRESENT,
                number,
                there.is_female,
                there.is_isolated,
            )
            room = self.room(patient, there.unit)
            patient.unit, patient.room = there.unit, None if room is False else room
            self.wards[there.unit].patients.append(patient)
            self.row(patient, "present", None, there.unit)
            rest, leaves = self.draw_rest(patient, there.unit, there.came_from, there.elapsed_hours)
            if leaves is None:
                self.at(self.now + rest, READY, patient.case, patient)
            else:
                self.row(patient, "ready", patient.unit, patient.next)
                self.at(leaves, LEAVE, patient.case, patient)
        for group in range(len(self.model.classes)):
            self.next_arrival(group)
            self.next_elective(group)
        while self.events:
            event = min(self.events, key=lambda e: e[:3])
            if event[0] >= self.end:
                break
            self.events.remove(event)
            self.now, kind, _, item = event
            if kind == READY:
                self.stay_over(item)
            elif kind == LEAVE:
                self.leave(item)
            elif kind == BED_STEP:
                self.beds_of_now(item)
                if item not in self.owed:
                    self.owed.append(item)
            elif kind == ELECTIVE:
                _, share, number = self.electives[item].pop(0)
                if self.u(self.key(item, _draws.PLANNED, number), COMES, 0) < share:
                    self.comes(self.patient(item, _draws.PLANNED, number))
                self.next_elective(item)
            elif kind == REBOOKED:
                self.comes(item)
            else:
                number = self.arrived[item]
                self.arrived[item] += 1
                self.comes(self.patient(item, _draws.UNPLANNED, number))
                self.next_arrival(item)
            self.offer()
        return self.log
