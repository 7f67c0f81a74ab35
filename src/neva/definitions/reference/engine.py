"""The reference engine: one patient, plain Python, nothing clever.

It serves the bedside and is the oracle of the relational engine: the two must
give the same answer for every definition and every patient.

Values are plain: bool, float, str, times as int microseconds since 1970 in
UTC; None is "unknown".
"""

# More than 600 lines: one method for each node.

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from neva.definitions import model as m
from neva.definitions.binding import reading
from neva.definitions.codelists import Codelist
from neva.definitions.local_time import DAY, EPOCH, HOUR, microseconds
from neva.definitions.reference.timeline import Person, Row, Stay, Timeline
from neva.events.measurement_units import convert

__all__ = ["MOST_ITEMS", "Defect", "Place", "Point", "Unsent", "defect_of", "evaluate"]

#: A grid (days, hours) of one question has at most so many items.
MOST_ITEMS = 4096
#: Shifts by more than this (about 114 years) are missing: they are mistakes.
MOST_HOURS = 1_000_000.0
MOST_DAYS = 40_000.0
_NEVER = -(2**62)
_FAR = 2**62


@dataclass(frozen=True)
class Point:
    """Where a definition is evaluated; times in microseconds."""

    now: int
    known: int
    stay_id: int | None = None


@dataclass(frozen=True)
class Place:
    """The hospital around the patient: its clock and its table of codes."""

    zone: str
    parents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    molar_mass: Mapping[str, float] = field(default_factory=dict)
    _ancestors: dict[str, frozenset[str]] = field(default_factory=dict, repr=False)
    _members: dict[Codelist, dict[str, bool]] = field(default_factory=dict, repr=False)

    def above(self, code: str) -> frozenset[str]:
        """A code and all above it."""
        if code not in self._ancestors:
            found = {code}
            waiting = [code]
            while waiting:
                for parent in self.parents.get(waiting.pop(), ()):
                    if parent not in found:
                        found.add(parent)
                        waiting.append(parent)
            self._ancestors[code] = frozenset(found)
        return self._ancestors[code]

    def within(self, codelist: Codelist, codes: Iterable[str]) -> set[str]:
        """Return those of some codes that are in a codelist."""
        known = self._members.setdefault(codelist, {})
        for code in codes:
            if code not in known:
                known[code] = self._belongs(code, codelist)
        return {code for code in codes if known[code]}

    def _belongs(self, code: str, codelist: Codelist) -> bool:
        def named(patterns: Iterable[str], codes: Iterable[str]) -> bool:
            return any(
                one.startswith(pattern[:-1]) if pattern.endswith("*") else one == pattern
                for pattern in patterns
                for one in codes
            )

        family = self.above(code)
        return named(codelist.codes, family if codelist.descendants else [code]) and not named(
            codelist.excluding, family
        )


#: Why a patient's record cannot be evaluated, by code.
Defect = str
DEFECTS = {
    "birth-after-now": "the birth date lies after the time of the evaluation",
    "age-above-130": "the birth date makes the patient older than 130 years",
    "death-before-birth": "the death lies before the birth date",
    "stay-after-death": "the stay begins after the day of death",
    "end-before-start": "the stay ends before it starts",
}


def _known(revisions: Sequence[Any], point: Point) -> Any:
    for one in revisions:
        if one.recorded <= point.known < one.known_until:
            return one
    return None


def _local(time: int, zone: str) -> datetime:
    return (EPOCH + timedelta(microseconds=time)).astimezone(_zone(zone))


@lru_cache(maxsize=64)
def _zone(zone: str) -> ZoneInfo:
    return ZoneInfo(zone)


def defect_of(timeline: Timeline, point: Point, zone: str) -> Defect | None:
    """Say why a point cannot be evaluated; None if it can."""
    person: Person | None = _known(timeline.person, point)
    stay: Stay | None = (
        None if point.stay_id is None else _known(timeline.stays.get(point.stay_id, ()), point)
    )
    if person is not None and person.birth_date is not None:
        today = _local(point.now, zone).date()
        if person.birth_date > today:
            return "birth-after-now"
        if today.year - person.birth_date.year > 130:
            return "age-above-130"
        if person.death is not None and _local(person.death, zone).date() < person.birth_date:
            return "death-before-birth"
    if stay is not None:
        if stay.end is not None and stay.end < stay.start:
            return "end-before-start"
        if person is not None and person.death is not None and stay.start >= person.death + DAY:
            return "stay-after-death"
    return None


#: Tells whether rows of a frame since a time (microseconds) may not have been sent.
Unsent = Callable[[m.Frame, int], bool]


def evaluate(
    outputs: Mapping[str, Any],
    timeline: Timeline,
    point: Point,
    place: Place,
    unsent: Unsent | None = None,
) -> dict[str, Any]:
    """Evaluate expressions at one point.

    Parameters
    ----------
    outputs : mapping of str to expression
        Nodes of :mod:`neva.definitions.model`.
    timeline : Timeline
        The patient; rows that are not visible at the point are passed over.
    point : Point
        Where.
    place : Place
        The hospital's zone and codes.
    unsent : callable, optional
        At the bedside, where only a part of the record may have been sent. What
        is asked of rows that may be absent is unknown; that one exists is true
        if one was sent.

    Returns
    -------
    dict of str to value
        Under the same names; None is unknown.
    """
    engine = _Engine(timeline, point, place, unsent)
    return {name: engine.value(node, None) for name, node in outputs.items()}


def rows_of(frame: m.Frame, timeline: Timeline, point: Point, place: Place) -> list[Row] | None:
    """Return the rows of a frame at one point, in order; None: unknown window."""
    return _Engine(timeline, point, place).rows(frame, None)


class _Engine:
    def __init__(
        self, timeline: Timeline, point: Point, place: Place, unsent: Unsent | None = None
    ) -> None:
        self.timeline, self.point, self.place = timeline, point, place
        self.unsent = unsent
        #: Frames of which not everything is known to be there, and whether something is.
        self.partly: dict[Any, bool] = {}
        #: Whether something unknown was met because of what was not sent. What is
        #: missing in a whole record is a fact; this must not be taken for one.
        self.doubt = False
        self.person: Person | None = _known(timeline.person, point)
        self.stay: Stay | None = (
            None if point.stay_id is None else _known(timeline.stays.get(point.stay_id, ()), point)
        )
        if self.stay is not None and self.stay.start > point.now:
            self.stay = None
        self.stay_unsent = (
            unsent is not None and self.stay is None and unsent(m.Frame(source="stays"), _NEVER)
        )
        self.visible = [row for row in timeline.rows if self._sees(row)]
        self.memory: dict[Any, Any] = {}
        self.selected: dict[Any, list[Row] | None] = {}
        self.coded: dict[Any, list[Row]] = {}
        self.of_source: dict[str, tuple[list[Row], frozenset[str]]] = {}

    def _sees(self, row: Row) -> bool:
        point = self.point
        return row.recorded <= point.known < row.known_until and (
            row.time <= point.now or row.status == "planned"
        )

    # ------------------------------------------------------------ expressions

    def value(self, node: Any, item: Any) -> Any:
        """Evaluate a node; `item` is what a question for each item stands at."""
        if item is not None and not _looks_at_item(node):
            item = None
        key = (node.digest, id(item))
        known = self.memory.get(key)
        if known is None:
            outside, self.doubt = self.doubt, False
            kind = type(node)
            if kind in _COMBINED:
                found = _combine(node, [self.value(part, item) for part in m.children(node)], self)
            else:
                found = getattr(self, f"_{kind.__name__.lower()}")(node, item)
            # A branch is the pair of its parts, either of which may be unknown.
            doubtful = self.doubt and (found is None or kind is m.Branch)
            # The item is kept with its answer so that its id stays its own.
            known = self.memory[key] = (found, item, doubtful)
            self.doubt = outside
        self.doubt = self.doubt or known[2]
        return known[0]

    def _number(self, node: m.Number, item: Any) -> Any:
        return node.value

    def _flag(self, node: m.Flag, item: Any) -> Any:
        return node.value

    def _text(self, node: m.Text, item: Any) -> Any:
        return node.value

    def _moment(self, node: m.Moment, item: Any) -> Any:
        return microseconds(node.value)

    def _missing(self, node: m.Missing, item: Any) -> Any:
        return None

    def _pointfield(self, node: m.PointField, item: Any) -> Any:
        now, stay, person = self.point.now, self.stay, self.person
        if node.name == "now":
            return now
        if node.name == "sex":
            return None if person is None else person.sex
        if node.name == "death":
            death = None if person is None else person.death
            return death if death is not None and death <= now else None
        if stay is None:
            self.doubt = self.doubt or self.stay_unsent
            return None
        over = stay.end is not None and stay.end <= now
        return {
            "stay_start": stay.start,
            "stay_end": stay.end if over else None,
            "stay_kind": stay.kind,
            "stay_source": stay.source,
            "stay_outcome": stay.outcome if over else None,
        }[node.name]

    def _age(self, node: m.Age, item: Any) -> Any:
        time = self.value(node.at, item)
        born = None if self.person is None else self.person.birth_date
        if time is None or born is None:
            return None
        day = _local(time, self.place.zone).date()
        return float(day.year - born.year - ((day.month, day.day) < (born.month, born.day)))

    def _field(self, row: Row, name: str, unit: str | None) -> Any:
        if name == "value":
            if row.value is None:
                return None
            assert unit is not None  # a value names its unit
            found = reading(row.value_unit, unit, self.place.molar_mass.get(row.code))
            return None if found is None else convert(row.value, *found)
        if name == "rank":
            return None if row.rank is None else float(row.rank)
        if name == "event_id":
            return str(row.event_id)
        over = row.end_time is not None and row.end_time <= self.point.now
        if name == "end_time":
            return row.end_time if over else None
        if name in ("text", "reason") and row.source == "stays" and not over and name == "text":
            return None
        return getattr(row, name)

    def _itemfield(self, node: m.ItemField, item: Any) -> Any:
        if isinstance(item, Row):
            return self._field(item, node.name, node.unit)
        time, end_time = item
        return time if node.name == "time" else end_time

    def _pick(self, node: m.Pick, item: Any) -> Any:
        rows = self.rows(node.frame, item)
        if not rows:
            return None
        row: Row | None = None
        if node.which == "first":
            row = rows[0]
        elif node.which == "last":
            row = rows[-1]
        elif node.which == "nth":
            assert node.n is not None  # nth has its number
            at = node.n - 1 if node.n > 0 else len(rows) + node.n
            row = rows[at] if 0 <= at < len(rows) else None
        else:
            best = None
            for one in rows:
                value = self._field(one, "value", node.unit)
                if value is None:
                    continue
                if (
                    best is None
                    or (node.which == "highest" and value > best)
                    or (node.which == "lowest" and value < best)
                ):
                    best, row = value, one
        return None if row is None else self._field(row, node.field, node.unit)

    def _window(self, frame: m.Frame, item: Any) -> tuple[int, int] | None:
        low, high = _NEVER, _FAR
        for bound in frame.lower:
            time = self.value(bound.time, item)
            if time is None:
                if not bound.open_if_missing or self.doubt:
                    return None
                continue
            low = max(low, time if bound.closed else time + 1)
        for bound in frame.upper:
            time = self.value(bound.time, item)
            if time is None:
                if not bound.open_if_missing or self.doubt:
                    return None
                continue
            high = min(high, time if bound.closed else time - 1)
        return low, high

    def _lasts_at(self, row: Row, time: int) -> bool:
        """Tell whether a row that began before a time was still going on then."""
        if row.end_time is None:
            return time <= self.point.now and row.source != "events"
        return time <= self.point.now and row.end_time > time

    def _last_known(self, row: Row) -> int:
        """Until when a row is known to have lasted."""
        if row.end_time is None:
            # A stay or movement without an end is open.
            return row.time if row.source == "events" else max(row.time, self.point.now)
        return max(row.time, min(row.end_time, self.point.now))

    def rows(self, frame: m.Frame, item: Any) -> list[Row] | None:
        """Return the rows of a frame in order; None where its window is unknown."""
        if item is not None and not _looks_at_item(frame):
            item = None
        key = (frame.digest, id(item))
        if key in self.selected:
            self.doubt = self.doubt or key in self.partly
            return self.selected[key]
        outside, self.doubt = self.doubt, False
        window = self._window(frame, item)
        lacking = self.doubt
        found: list[Row] | None = None
        if window is not None:
            found, in_doubt = self._taken(frame, window, item)
            lacking = lacking or in_doubt
        if found is not None and self.unsent is not None:
            lacking = lacking or self._may_lack(frame, window)
        if lacking:
            self.partly[key] = bool(found)
            found = None
        self.doubt = outside or lacking
        self.selected[key] = found
        self.memory[("item", id(item))] = (None, item, False)
        return found

    def _taken(self, frame: m.Frame, window: tuple[int, int], item: Any) -> tuple[list[Row], bool]:
        """Return the rows that a frame takes, and whether others may be among them."""
        low, high = window
        found: list[Row] = []
        in_doubt = False
        if low > high:
            return found, in_doubt  # It ends before it begins.
        for row in self._coded(frame):
            if not (
                row.status in frame.statuses
                and row.time <= high
                and (row.time >= low or (frame.overlapping and self._lasts_at(row, low)))
                and (not frame.of_stay or self._of_stay(row))
            ):
                continue
            self.doubt = False
            holds = frame.where is None or self._holds(frame.where, row, item)
            in_doubt = in_doubt or (holds is None and self.doubt)
            if holds is True:
                found.append(row)
        return found, in_doubt

    def _may_lack(self, frame: m.Frame, window: tuple[int, int] | None) -> bool:
        assert self.unsent is not None and window is not None  # noqa: PT018
        if window[0] > window[1]:
            return False
        if frame.of_stay and self.stay_unsent:
            return True
        return self.unsent(frame, _NEVER if frame.overlapping else window[0])

    def _of_stay(self, row: Row) -> bool:
        return row.stay_id is not None and row.stay_id == self.point.stay_id

    def _coded(self, frame: m.Frame) -> list[Row]:
        """Return the visible rows with the codes of a frame, in order."""
        key = (frame.source, frame.codes, frame.codelists)
        if key not in self.coded:
            rows, codes = self._of_source(frame.source)
            if frame.codes or frame.codelists:
                taken = codes.intersection(frame.codes)
                for one in frame.codelists:
                    taken |= self.place.within(one, codes)
                rows = [row for row in rows if not taken.isdisjoint(row.codes)]
            self.coded[key] = rows
        return self.coded[key]

    def _of_source(self, source: str) -> tuple[list[Row], frozenset[str]]:
        """Return the visible rows of a source, and their codes, those beside a row's own too."""
        if source not in self.of_source:
            rows = [row for row in self.visible if row.source == source]
            self.of_source[source] = rows, frozenset(code for row in rows for code in row.codes)
        return self.of_source[source]

    def _holds(self, node: Any, row: Row, item: Any) -> Any:
        """Evaluate the condition of rows: row fields here, everything else as usual."""
        if isinstance(node, m.RowField):
            return self._field(row, node.name, node.unit)
        if isinstance(node, m.Attribute):
            return row.attributes.get(node.key)
        if not _looks_at_row(node):
            return self.value(node, item)
        return _combine(node, [self._holds(part, row, item) for part in m.children(node)], self)

    def _aggregate(self, node: m.Aggregate, item: Any) -> Any:
        rows = self.rows(node.frame, item)
        if rows is None:
            # One that was sent is there, whatever else is.
            at_hand = item if item is not None and _looks_at_item(node.frame) else None
            some = self.partly.get((node.frame.digest, id(at_hand)), False)
            return True if some and node.how == "exists" else None
        if node.how == "exists":
            return bool(rows)
        if node.how == "count":
            return float(len(rows))
        if node.how == "codes":
            return float(len({row.code for row in rows}))
        if node.how == "hours":
            return self._covered(rows, node.frame, item) / HOUR
        read = [(row, self._field(row, "value", node.unit)) for row in rows]
        values = [value for _, value in read if value is not None]
        if node.how == "sum":
            return _finite(_sum(values))
        if not values:
            return None
        if node.how == "minimum":
            return min(values)
        if node.how == "maximum":
            return max(values)
        if node.how == "mean":
            return _finite(_sum(values) / len(values))
        return self._slope([row for row, value in read if value is not None], values)

    def _slope(self, rows: Sequence[Row], values: Sequence[float]) -> float | None:
        """Return the change of a value an hour, by least squares; None at one time only."""
        if len({row.time for row in rows}) < 2:
            return None
        mean = _sum(values) / len(values)
        times = [(row.time - self.point.now) / HOUR for row in rows]
        middle = _sum(times) / len(times)
        over = _sum(
            (time - middle) * (value - mean) for time, value in zip(times, values, strict=True)
        )
        return _finite(over / _sum((time - middle) ** 2 for time in times))

    def _covered(self, rows: Sequence[Row], frame: m.Frame, item: Any) -> int:
        window = self._window(frame, item)
        assert window is not None  # the rows are known
        low, high = window[0], min(window[1], self.point.now)
        spans = sorted((max(row.time, low), min(self._last_known(row), high)) for row in rows)
        covered, until = 0, _NEVER
        for start, end in spans:
            if end > max(start, until):
                covered += end - max(start, until)
                until = end
        return covered

    def _hourswhere(self, node: m.HoursWhere, item: Any) -> Any:
        rows = self.rows(node.frame, item)
        if not rows:
            return None
        window = self._window(node.frame, item)
        assert window is not None  # the rows are known
        low, high = window[0], min(window[1], self.point.now)
        carry = math.floor(node.carry * HOUR + 0.5)
        total = 0
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            end = min(row.time + carry, high)
            if following is not None:
                end = min(end, following.time)
            start = max(row.time, low)
            holds = node.condition is None or self._holds(node.condition, row, item) is True
            if end > start and holds:
                total += end - start
        return None if self.doubt else total / HOUR

    def _items(self, items: Any) -> list[Any] | None:
        if isinstance(items, m.Frame):
            rows = self.rows(items, None)
            return None if rows is None else list(rows)
        start, end = self.value(items.start, None), self.value(items.end, None)
        if start is None or end is None:
            return None
        end = min(end, self.point.now)
        found: list[Any] = []
        if isinstance(items, m.Every):
            step = math.floor(items.hours * HOUR + 0.5)
            at = start
            while at <= end and len(found) < MOST_ITEMS:
                found.append((at, None))
                at += max(step, 1)
            return found
        zone = self.place.zone
        if end < start:
            return []
        day = _local(start, zone).date()
        while day <= _local(end, zone).date() and len(found) < MOST_ITEMS:
            following = day + timedelta(days=1)
            found.append((_midnight(day, zone), _midnight(following, zone)))
            day = following
        return found

    def _foreach(self, node: m.ForEach, item: Any) -> Any:
        items = self._items(node.items)
        if items is None:
            return None
        answers = [self.value(node.value, one) for one in items]
        if node.how == "any":
            return _any(answers)
        if node.how == "all":
            return _all(answers)
        if self.doubt:
            return None
        if node.how == "count":
            return float(sum(answer is True for answer in answers))
        known = [answer for answer in answers if answer is not None]
        if node.how == "sum":
            return _finite(_sum(known))
        if not known:
            return None
        if node.how == "mean":
            return _finite(_sum(known) / len(known))
        return min(known) if node.how == "minimum" else max(known)

    def _firstknown(self, node: m.FirstKnown, item: Any) -> Any:
        for part in m.children(node):
            found = self.value(part, item)
            # Where the first was not sent, the second is no stand-in for it.
            if found is not None or self.doubt:
                return found
        return None


@lru_cache(maxsize=100_000)
def _looks_at_row(node: Any) -> bool:
    return any(isinstance(part, (m.RowField, m.Attribute)) for part in m.row_nodes(node))


@lru_cache(maxsize=100_000)
def _looks_at_item(node: Any) -> bool:
    return any(isinstance(part, m.ItemField) for part in m.walk(node))


def _sum(values: Iterable[float]) -> float:
    """The exact sum; infinite where it cannot be held."""
    numbers = list(values)
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):
        return math.inf


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _any(parts: Sequence[bool | None]) -> bool | None:
    if any(part is True for part in parts):
        return True
    return None if any(part is None for part in parts) else False


def _all(parts: Sequence[bool | None]) -> bool | None:
    if any(part is False for part in parts):
        return False
    return None if any(part is None for part in parts) else True


def _midnight(day: Any, zone: str) -> int:
    return microseconds(datetime(day.year, day.month, day.day, tzinfo=_zone(zone)))


def _shifted_days(time: int, amount: int, zone: str) -> int:
    local = _local(time, zone).replace(tzinfo=None) + timedelta(days=amount)
    return microseconds(local.replace(tzinfo=_zone(zone)))


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def _arithmetic(operation: str, left: float, right: float) -> float | None:
    if operation == "add":
        return _finite(left + right)
    if operation == "subtract":
        return _finite(left - right)
    if operation == "multiply":
        return _finite(left * right)
    return None if right == 0 else _finite(left / right)


def _function(name: str, of: float) -> float | None:
    if name == "negate":
        return -of
    if name == "absolute":
        return abs(of)
    if name == "floor":
        return float(math.floor(of))
    if name == "logarithm":
        return math.log(of) if of > 0 else None
    try:
        return math.exp(of)
    except OverflowError:
        return None


def _shift(node: m.Shift, time: int, amount: float, zone: str) -> int | None:
    if node.unit == "hours":
        return time + math.floor(amount * HOUR + 0.5) if abs(amount) <= MOST_HOURS else None
    if abs(amount) > MOST_DAYS:
        return None
    return _shifted_days(time, math.floor(amount + 0.5), zone)


def _clock_part(part: str, time: int, zone: str) -> float:
    local = _local(time, zone)
    return float(
        {
            "hour": local.hour,
            "weekday": local.isoweekday(),
            "month": local.month,
            "year": local.year,
        }[part]
    )


def _case(parts: Sequence[Any], branches: int) -> Any:
    # Branches are nodes of their own: their value is the pair (when, then).
    for when, then in parts[:branches]:
        if when is None:
            return None
        if when:
            return then
    return parts[branches]


def _combine(node: Any, parts: list[Any], engine: _Engine) -> Any:
    """Evaluate a node from the values of its parts."""
    zone = engine.place.zone
    match node:
        case m.AllOf():
            return _all(parts)
        case m.AnyOf():
            return _any(parts)
        case m.Branch():
            return tuple(parts)
        case m.Case():
            return _case(parts, len(node.branches))
        case m.IsMissing():
            return None if parts[0] is None and engine.doubt else parts[0] is None
        case m.FirstKnown():
            return next((part for part in parts if part is not None), None)
        case m.Extreme():
            known = [part for part in parts if part is not None]
            if not known or (len(known) < len(parts) and engine.doubt):
                return None
            return min(known) if node.which == "least" else max(known)
    if None in parts:
        return None
    match node:
        case m.Not():
            return not parts[0]
        case m.Compare():
            return _COMPARE[node.operation](parts[0], parts[1])
        case m.OneOf():
            return parts[0] in node.values
        case m.Arithmetic():
            return _arithmetic(node.operation, parts[0], parts[1])
        case m.Function():
            return _function(node.name, parts[0])
        case m.Convert():
            return _finite(convert(parts[0], *node.factor_and_offset))
        case m.Shift():
            return _shift(node, parts[0], parts[1], zone)
        case m.Elapsed():
            return (parts[1] - parts[0]) / HOUR
        case m.CalendarDays():
            first, second = (_local(part, zone).date() for part in parts)
            return float((second - first).days)
        case m.StartOfDay():
            return _midnight(_local(parts[0], zone).date(), zone)
        case m.ClockPart():
            return _clock_part(node.part, parts[0], zone)
    message = f"no rule for {type(node).__name__}"
    raise NotImplementedError(message)


#: Nodes that only combine what stands below them.
_COMBINED = frozenset(
    (
        m.AllOf,
        m.AnyOf,
        m.Arithmetic,
        m.Branch,
        m.CalendarDays,
        m.Case,
        m.ClockPart,
        m.Compare,
        m.Convert,
        m.Elapsed,
        m.Extreme,
        m.Function,
        m.IsMissing,
        m.Not,
        m.OneOf,
        m.Shift,
        m.StartOfDay,
    )
)
