"""What a clinician-analyst writes.

    >>> from neva.definitions.language import *
    >>> saturation = events("LOINC//59408-5")
    >>> low = saturation.where(value("%") < 94).during(stay)
    >>> confirmed = low.since(low.first().time + minutes(10)).exists()

Every word builds a part of the model (:mod:`neva.definitions.model`); what
does not fit together is refused where it is written. Numbers carry units: a
plain number takes the unit of what it stands beside.
"""

# More than 600 lines: the words of the language, one after another.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from neva.definitions import model as m
from neva.definitions.codelists import Codelist
from neva.errors import UsageError
from neva.events.measurement_units import ucum_of

__all__ = [
    "Boolean",
    "Duration",
    "Quantity",
    "Row",
    "Rows",
    "Time",
    "Value",
    "Words",
    "all_of",
    "any_of",
    "at",
    "bands",
    "calendar_days",
    "case",
    "codelist",
    "days",
    "each",
    "events",
    "every",
    "exponential",
    "first_known",
    "greatest",
    "hours",
    "least",
    "logarithm",
    "minutes",
    "missing",
    "movements",
    "now",
    "number",
    "row",
    "stay",
    "stays",
    "subject",
    "true_or_unknown",
    "value",
]


_N = TypeVar("_N", bound=BaseModel)


def make(kind: type[_N], /, **parts: Any) -> _N:
    """Make a node; what is wrong with it becomes an error for the author.

    Raises
    ------
    UsageError
        The parts do not fit together.
    """
    try:
        return kind(**parts)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"] if isinstance(step, str))
        text = str(first["msg"]).removeprefix("Value error, ")
        found = (
            f"; found {first['input']!r}" if isinstance(first["input"], (str, int, float)) else ""
        )
        where = f"{place}: " if place else ""
        message = f"{where}{text}{found}"
        raise UsageError(message) from None


@dataclass(frozen=True, slots=True)
class Duration:
    """An amount of elapsed hours, or of calendar days."""

    amount: Quantity
    unit: Literal["hours", "days"]

    @property
    def as_hours(self) -> float:
        """The amount in hours, if it is a plain number of hours."""
        node = self.amount.node
        if self.unit != "hours" or not isinstance(node, m.Number):
            message = "a plain number of hours is needed here; write hours(4) or minutes(30)"
            raise UsageError(message)
        return node.value


def hours(amount: float | Quantity) -> Duration:
    """So many elapsed hours."""
    return Duration(_quantity(amount, "h"), "hours")


def minutes(amount: float) -> Duration:
    """So many elapsed minutes."""
    return Duration(Quantity(make(m.Number, value=amount / 60, unit="h")), "hours")


def days(amount: float | Quantity) -> Duration:
    """So many calendar days: the same time on the hospital's clock."""
    return Duration(_quantity(amount, "d"), "days")


class Value:
    """An expression of any type; see its four kinds below."""

    __slots__ = ("node",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, node: Any) -> None:
        self.node = node

    def __bool__(self) -> bool:
        message = (
            "a definition has no truth value while it is written; "
            "combine conditions with & | ~ (in brackets) instead of and, or, not"
        )
        raise UsageError(message)

    def __repr__(self) -> str:
        return f"<{self.node.type} {self.node.digest[:8]}>"

    def is_missing(self) -> Boolean:
        """Tell whether it is unknown."""
        return Boolean(make(m.IsMissing, of=self.node))

    def is_known(self) -> Boolean:
        """Tell whether it is known."""
        return ~self.is_missing()

    def _compare(self, operation: str, other: Any) -> Boolean:
        left, right = _alike(self, other)
        return Boolean(make(m.Compare, operation=operation, left=left.node, right=right.node))

    def __eq__(self, other: object) -> Any:
        return self._compare("==", other)

    def __ne__(self, other: object) -> Any:
        return self._compare("!=", other)


class _Ordered(Value):
    __slots__ = ()
    __hash__ = None

    def __lt__(self, other: Any) -> Boolean:
        return self._compare("<", other)

    def __le__(self, other: Any) -> Boolean:
        return self._compare("<=", other)

    def __gt__(self, other: Any) -> Boolean:
        return self._compare(">", other)

    def __ge__(self, other: Any) -> Boolean:
        return self._compare(">=", other)


class Boolean(Value):
    """True, false or unknown."""

    __slots__ = ()
    __hash__ = None

    def __and__(self, other: Boolean | bool) -> Boolean:
        return all_of(self, other)

    __rand__ = __and__

    def __or__(self, other: Boolean | bool) -> Boolean:
        return any_of(self, other)

    __ror__ = __or__

    def __invert__(self) -> Boolean:
        return Boolean(make(m.Not, of=self.node))


class Words(Value):
    """A text."""

    __slots__ = ()
    __hash__ = None

    def one_of(self, *values: str) -> Boolean:
        """Tell whether it is one of these."""
        return Boolean(make(m.OneOf, of=self.node, values=values))


class Quantity(_Ordered):
    """A number in a unit."""

    __slots__ = ()
    __hash__ = None

    def to(self, unit: str) -> Quantity:
        """Convert to another unit."""
        unit = _known_unit(unit)
        if unit == self.node.type.unit:
            return self
        return Quantity(make(m.Convert, of=self.node, unit=unit))

    def _with(self, operation: str, other: Any, *, swapped: bool = False) -> Quantity:
        if operation in ("add", "subtract"):
            left, right = _alike(self, other)
        else:
            left, right = self, _quantity(other, "1")
        if swapped:
            left, right = right, left
        return Quantity(make(m.Arithmetic, operation=operation, left=left.node, right=right.node))

    def __add__(self, other: Any) -> Quantity:
        return self._with("add", other)

    def __radd__(self, other: Any) -> Quantity:
        return self._with("add", other, swapped=True)

    def __sub__(self, other: Any) -> Quantity:
        return self._with("subtract", other)

    def __rsub__(self, other: Any) -> Quantity:
        return self._with("subtract", other, swapped=True)

    def __mul__(self, other: Any) -> Quantity:
        return self._with("multiply", other)

    def __rmul__(self, other: Any) -> Quantity:
        return self._with("multiply", other, swapped=True)

    def __truediv__(self, other: Any) -> Quantity:
        return self._with("divide", other)

    def __rtruediv__(self, other: Any) -> Quantity:
        return self._with("divide", other, swapped=True)

    def __neg__(self) -> Quantity:
        return Quantity(make(m.Function, name="negate", of=self.node))

    def __abs__(self) -> Quantity:
        return Quantity(make(m.Function, name="absolute", of=self.node))

    def floor(self) -> Quantity:
        """The greatest whole number that is not above it."""
        return Quantity(make(m.Function, name="floor", of=self.node))

    def between(self, lowest: float, highest: float) -> Boolean:
        """Tell whether it is at least `lowest` and at most `highest`."""
        return (self >= lowest) & (self <= highest)


class Time(_Ordered):
    """A time."""

    __slots__ = ()
    __hash__ = None

    def __add__(self, other: Duration) -> Time:
        return self._shifted(other, sign=1)

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Duration):
            return self._shifted(other, sign=-1)
        if isinstance(other, Time):
            return Quantity(make(m.Elapsed, start=other.node, end=self.node))
        message = (
            f"a time minus a duration or a time; found {type(other).__name__}; "
            "write hours(...), minutes(...) or days(...)"
        )
        raise UsageError(message)

    def _shifted(self, duration: Duration, *, sign: int) -> Time:
        if not isinstance(duration, Duration):
            message = (
                "a time is shifted by hours(...), minutes(...) or days(...); "
                f"found {type(duration).__name__}"
            )
            raise UsageError(message)
        amount = duration.amount.node
        if sign < 0:
            amount = (
                make(m.Number, value=-amount.value, unit=amount.unit)
                if isinstance(amount, m.Number)
                else make(m.Function, name="negate", of=amount)
            )
        return Time(make(m.Shift, time=self.node, amount=amount, unit=duration.unit))

    def start_of_day(self) -> Time:
        """The first moment of its calendar day."""
        return Time(make(m.StartOfDay, of=self.node))

    def _part(self, part: str) -> Quantity:
        return Quantity(make(m.ClockPart, of=self.node, part=part))

    def hour(self) -> Quantity:
        """The hour on the hospital's clock, 0-23."""
        return self._part("hour")

    def weekday(self) -> Quantity:
        """The day of the week, 1 Monday to 7 Sunday."""
        return self._part("weekday")

    def month(self) -> Quantity:
        """The month, 1-12."""
        return self._part("month")

    def year(self) -> Quantity:
        """The year."""
        return self._part("year")


_KINDS: Final[dict[str, type[Value]]] = {
    "boolean": Boolean,
    "number": Quantity,
    "time": Time,
    "text": Words,
}


def wrap(node: Any) -> Any:
    """Return a node as what is written: a Boolean, Quantity, Time or Words."""
    return _KINDS[node.type.name](node)


def _known_unit(unit: str) -> str:
    found = ucum_of(unit)
    if found is None:
        message = f"unit: not a UCUM unit; found {unit!r}; write for example mmol/L, mg/L, %, /min"
        raise UsageError(message)
    return found


def _quantity(given: Any, unit: str) -> Quantity:
    if isinstance(given, Quantity):
        return given
    if isinstance(given, bool) or not isinstance(given, (int, float)):
        message = f"a number is needed here; found {type(given).__name__}"
        raise UsageError(message)
    return Quantity(make(m.Number, value=given, unit=unit))


def _value(given: Any, beside: m.Type) -> Any:
    """A plain Python value as what it must be beside something of a type."""
    if isinstance(given, Value):
        return given
    if isinstance(given, bool):
        return Boolean(make(m.Flag, value=given))
    if isinstance(given, (int, float)):
        return _quantity(given, beside.unit or "1")
    if isinstance(given, str):
        return Words(make(m.Text, value=given))
    if isinstance(given, datetime):
        return Time(make(m.Moment, value=given))
    message = f"a {beside} is needed here; found {type(given).__name__}"
    raise UsageError(message)


def _alike(left: Value, given: Any) -> tuple[Value, Value]:
    """Both sides in one unit: the right one is converted to the left one's."""
    right = _value(given, left.node.type)
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        right = right.to(left.node.type.unit or "1")
    return left, right


def _boolean(given: Any) -> Any:
    return _value(given, m.BOOLEAN).node


def all_of(*conditions: Boolean | bool) -> Boolean:
    """All of them (Kleene: false wins over unknown)."""
    parts: list[Any] = []
    for condition in conditions:
        node = _boolean(condition)
        parts.extend(node.of if isinstance(node, m.AllOf) else [node])
    return Boolean(make(m.AllOf, of=tuple(parts)))


def any_of(*conditions: Boolean | bool) -> Boolean:
    """At least one of them (Kleene: true wins over unknown)."""
    parts: list[Any] = []
    for condition in conditions:
        node = _boolean(condition)
        parts.extend(node.of if isinstance(node, m.AnyOf) else [node])
    return Boolean(make(m.AnyOf, of=tuple(parts)))


def true_or_unknown(condition: Boolean) -> Boolean:
    """Not known to be false."""
    return Boolean(make(m.FirstKnown, of=(condition.node, make(m.Flag, value=True))))


def number(amount: float, unit: str = "1") -> Quantity:
    """A number in a unit."""
    return Quantity(make(m.Number, value=amount, unit=_known_unit(unit)))


def at(time: str | datetime) -> Time:
    """A fixed time, with its offset: ``at("2020-05-01T08:00+03:00")``."""
    return Time(make(m.Moment, value=time))


def missing(like: Value) -> Any:
    """The unknown value of the type of something."""
    kind = like.node.type
    return wrap(make(m.Missing, of=kind.name, unit=kind.unit))


def exponential(of: Quantity) -> Quantity:
    """The exponential function of a number."""
    return Quantity(make(m.Function, name="exponential", of=of.node))


def logarithm(of: Quantity) -> Quantity:
    """The natural logarithm; missing for what is not above zero."""
    return Quantity(make(m.Function, name="logarithm", of=of.node))


def _several(given: Sequence[Any]) -> list[Any]:
    first = next((one for one in given if isinstance(one, Value)), None)
    if first is None:
        message = "at least one of the values must be part of a definition"
        raise UsageError(message)
    kind = first.node.type
    made = [_value(one, kind) for one in given]
    return [one.to(kind.unit or "1") if isinstance(one, Quantity) else one for one in made]


def least(*of: Any) -> Any:
    """The least, or earliest, of those that are known."""
    return wrap(make(m.Extreme, which="least", of=tuple(one.node for one in _several(of))))


def greatest(*of: Any) -> Any:
    """The greatest, or latest, of those that are known."""
    return wrap(make(m.Extreme, which="greatest", of=tuple(one.node for one in _several(of))))


def first_known(*of: Any) -> Any:
    """The first that is known."""
    return wrap(make(m.FirstKnown, of=tuple(one.node for one in _several(of))))


def calendar_days(start: Time, end: Time) -> Quantity:
    """Midnights between two times."""
    return Quantity(make(m.CalendarDays, start=start.node, end=end.node))


def case(*lines: tuple[Boolean, Any], otherwise: Any) -> Any:
    """The value of the first line whose condition is true; an unknown one ends the search."""
    values = [then for _, then in lines] + [otherwise]
    first = next((one for one in values if isinstance(one, Value)), None)
    kind = first.node.type if first is not None else m.number_in("1")
    made = [_value(one, kind) for one in values]
    made = [one.to(kind.unit or "1") if isinstance(one, Quantity) else one for one in made]
    branches = tuple(
        make(m.Branch, when=when.node, then=then.node)
        for (when, _), then in zip(lines, made, strict=False)
    )
    return wrap(make(m.Case, branches=branches, otherwise=made[-1].node))


def bands(of: Quantity, first: Any, *steps: tuple[float, Any]) -> Any:
    """Points by half-open bands: `first` below the first limit, then from each limit on.

    Examples
    --------
    >>> age = subject.age_at(now)
    >>> points = bands(age, 0, (50, 2), (60, 4), (70, 6), (80, 7))
    """
    limits = [limit for limit, _ in steps]
    if limits != sorted(limits):
        message = f"bands: the limits must rise; found {limits}; put them in order"
        raise UsageError(message)
    lines = [(of >= limit, then) for limit, then in reversed(steps)]
    return case(*lines, otherwise=first)


# --------------------------------------------------------------------- rows


class _RowFields:
    """The fields of one row, wherever it comes from."""

    __slots__ = ()

    def _field(self, name: str, unit: str | None = None) -> Any:
        raise NotImplementedError

    def value(self, unit: str) -> Quantity:
        """Its value in a unit; missing if that cannot be."""
        made: Quantity = self._field("value", _known_unit(unit))
        return made

    @property
    def time(self) -> Time:
        """When it happened or began."""
        made: Time = self._field("time")
        return made

    @property
    def end_time(self) -> Time:
        """When it ended; missing while that lies after *now*."""
        made: Time = self._field("end_time")
        return made

    @property
    def recorded(self) -> Time:
        """When it became known."""
        made: Time = self._field("recorded")
        return made

    @property
    def code(self) -> Words:
        """Its code."""
        made: Words = self._field("code")
        return made

    @property
    def text(self) -> Words:
        """Its text; of a stay, the outcome."""
        made: Words = self._field("text")
        return made

    @property
    def comparator(self) -> Words:
        """``<`` or ``>`` if the value is a limit."""
        made: Words = self._field("comparator")
        return made

    @property
    def status(self) -> Words:
        """Done, planned, not-done or cancelled."""
        made: Words = self._field("status")
        return made

    @property
    def reason(self) -> Words:
        """The code of the reason, as for something not done; of a stay, where from."""
        made: Words = self._field("reason")
        return made

    @property
    def rank(self) -> Quantity:
        """Its rank, 1 for the principal diagnosis."""
        made: Quantity = self._field("rank")
        return made


class _ThisRow(_RowFields):
    """``row``: the row that a condition looks at."""

    __slots__ = ()

    def _field(self, name: str, unit: str | None = None) -> Any:
        return wrap(make(m.RowField, name=name, unit=unit))

    def attribute(self, key: str) -> Words:
        """One of its attributes, as text."""
        return Words(make(m.Attribute, key=key))


class _ThisItem(_RowFields):
    """``each``: the item that a nested definition looks at."""

    __slots__ = ()

    def _field(self, name: str, unit: str | None = None) -> Any:
        return wrap(make(m.ItemField, name=name, unit=unit))


row: Final = _ThisRow()
each: Final = _ThisItem()


def value(unit: str) -> Quantity:
    """The value of the row that a condition looks at: ``where(value("%") < 94)``."""
    return row.value(unit)


class Row(_RowFields):
    """One row of a frame: the first, the last, the highest."""

    __slots__ = ("_frame", "_n", "_unit", "_which")

    def __init__(self, frame: m.Frame, which: str, n: int | None, unit: str | None) -> None:
        self._frame, self._which, self._n, self._unit = frame, which, n, unit

    def _field(self, name: str, unit: str | None = None) -> Any:
        return wrap(
            make(
                m.Pick,
                frame=self._frame,
                which=self._which,
                n=self._n,
                field=name,
                unit=unit or self._unit,
            )
        )

    @property
    def event_id(self) -> Words:
        """The id of its event, as text."""
        made: Words = self._field("event_id")
        return made

    def exists(self) -> Boolean:
        """Tell whether there is such a row."""
        return self.time.is_known()


class _ForEach:
    """Items and what is asked for each of them."""

    __slots__ = ("_items", "_value")

    def __init__(self, items: Any, asked: Value) -> None:
        self._items, self._value = items, asked

    def _all(self, how: str) -> Any:
        return wrap(make(m.ForEach, items=self._items, value=self._value.node, how=how))

    def any(self) -> Boolean:
        """Tell whether it is true for one of them."""
        made: Boolean = self._all("any")
        return made

    def all(self) -> Boolean:
        """Tell whether it is true for all of them."""
        made: Boolean = self._all("all")
        return made

    def count(self) -> Quantity:
        """Count those for which it is true."""
        made: Quantity = self._all("count")
        return made

    def sum(self) -> Quantity:
        """The sum of the answers that are known."""
        made: Quantity = self._all("sum")
        return made

    def mean(self) -> Quantity:
        """The mean of the answers that are known."""
        made: Quantity = self._all("mean")
        return made

    def minimum(self) -> Quantity:
        """The least of the answers that are known."""
        made: Quantity = self._all("minimum")
        return made

    def maximum(self) -> Quantity:
        """The greatest of the answers that are known."""
        made: Quantity = self._all("maximum")
        return made


class _Grid:
    """Days, or times every so many hours."""

    __slots__ = ("_items",)

    def __init__(self, items: Any) -> None:
        self._items = items

    def each(self, asked: Value) -> _ForEach:
        """Ask a definition for each of them; it names the item ``each``."""
        return _ForEach(self._items, asked)


def every(duration: Duration, *, start: Time, end: Time) -> _Grid:
    """Times every so many hours from `start` to `end`, both included."""
    if duration.unit == "days":
        if not isinstance(duration.amount.node, m.Number) or duration.amount.node.value != 1:
            message = "every: calendar days come one by one; write days(1) or a number of hours"
            raise UsageError(message)
        return _Grid(make(m.Days, start=start.node, end=end.node))
    return _Grid(make(m.Every, hours=duration.as_hours, start=start.node, end=end.node))


class Rows:
    """Rows of the patient's timeline: a frame. Every method returns a narrower one."""

    __slots__ = ("frame",)

    def __init__(self, frame: m.Frame) -> None:
        self.frame = frame

    def _but(self, **changes: Any) -> Rows:
        parts = {name: getattr(self.frame, name) for name in m.Frame.model_fields}
        return Rows(make(m.Frame, **(parts | changes)))

    def where(self, condition: Boolean) -> Rows:
        """Rows for which the condition is true (not unknown)."""
        before = [] if self.frame.where is None else [Boolean(self.frame.where)]
        return self._but(where=all_of(*before, condition).node if before else condition.node)

    def status(self, *statuses: str) -> Rows:
        """Rows of these statuses, instead of those done."""
        return self._but(statuses=statuses)

    def not_done(self) -> Rows:
        """Records that it was not done."""
        return self.status("not-done")

    def of(self, this: _Stay) -> Rows:
        """Rows that carry the id of the point's stay."""
        del this
        return self._but(of_stay=True)

    def _bounded(
        self, side: str, time: Time, *, closed: bool, open_if_missing: bool = False
    ) -> Rows:
        bound = make(
            m.Bound,
            time=_value(time, m.TIME).node,
            closed=closed,
            open_if_missing=open_if_missing,
        )
        return self._but(**{side: (*getattr(self.frame, side), bound)})

    def since(self, time: Time) -> Rows:
        """At a time or later."""
        return self._bounded("lower", time, closed=True)

    def after(self, time: Time) -> Rows:
        """Later than a time."""
        return self._bounded("lower", time, closed=False)

    def until(self, time: Time) -> Rows:
        """At a time or earlier."""
        return self._bounded("upper", time, closed=True)

    def before(self, time: Time) -> Rows:
        """Earlier than a time."""
        return self._bounded("upper", time, closed=False)

    def between(self, start: Time, end: Time) -> Rows:
        """From a time to another, both included."""
        return self.since(start).until(end)

    def within(self, duration: Duration) -> Rows:
        """The look-back before *now*: later than now minus the duration, up to now."""
        return self.after(now - duration).until(now)

    def during(self, this: _Stay) -> Rows:
        """From the start of the point's stay to its end, both included.

        By time, of the whole patient, whichever stay the rows are filed under.
        While the stay is open there is no upper bound. At a point without a
        stay: all rows of the patient.
        """
        return self._bounded("lower", this.start, closed=True, open_if_missing=True)._bounded(
            "upper", this.end, closed=True, open_if_missing=True
        )

    def active_or_started_between(self, start: Time, end: Time) -> Rows:
        """Rows that began between two times, or were still going on at the first."""
        return self.between(start, end)._but(overlapping=True)

    def active_at(self, time: Time) -> Rows:
        """Rows that began at or before a time and had not ended then."""
        return self.active_or_started_between(time, time)

    def first(self) -> Row:
        """The first row."""
        return Row(self.frame, "first", None, None)

    def last(self) -> Row:
        """The last row."""
        return Row(self.frame, "last", None, None)

    def nth(self, n: int) -> Row:
        """The n-th row: 1 the first, -1 the last."""
        return Row(self.frame, "nth", n, None)

    def highest(self, unit: str) -> Row:
        """The row with the highest value, the first of equals."""
        return Row(self.frame, "highest", None, _known_unit(unit))

    def lowest(self, unit: str) -> Row:
        """The row with the lowest value, the first of equals."""
        return Row(self.frame, "lowest", None, _known_unit(unit))

    def _aggregate(self, how: str, unit: str | None = None) -> Any:
        known = None if unit is None else _known_unit(unit)
        return wrap(make(m.Aggregate, frame=self.frame, how=how, unit=known))

    def exists(self) -> Boolean:
        """Tell whether there is a row."""
        made: Boolean = self._aggregate("exists")
        return made

    def count(self) -> Quantity:
        """Count the rows."""
        made: Quantity = self._aggregate("count")
        return made

    def codes(self) -> Quantity:
        """Count different codes."""
        made: Quantity = self._aggregate("codes")
        return made

    def minimum(self, unit: str) -> Quantity:
        """The lowest value."""
        made: Quantity = self._aggregate("minimum", unit)
        return made

    def maximum(self, unit: str) -> Quantity:
        """The highest value."""
        made: Quantity = self._aggregate("maximum", unit)
        return made

    def mean(self, unit: str) -> Quantity:
        """The mean of the values."""
        made: Quantity = self._aggregate("mean", unit)
        return made

    def sum(self, unit: str) -> Quantity:
        """The sum of the values; 0 without any."""
        made: Quantity = self._aggregate("sum", unit)
        return made

    def slope(self, unit: str) -> Quantity:
        """The slope of the values by least squares, per hour."""
        made: Quantity = self._aggregate("slope", unit)
        return made

    def hours(self) -> Quantity:
        """Hours covered by the rows, overlaps once, clipped to the window and now."""
        made: Quantity = self._aggregate("hours")
        return made

    def hours_where(self, condition: Boolean | None = None, *, carry: Duration) -> Quantity:
        """Hours during which the last reading, carried at most so long, satisfied a condition."""
        return Quantity(
            make(
                m.HoursWhere,
                frame=self.frame,
                condition=None if condition is None else condition.node,
                carry=carry.as_hours,
            )
        )

    def each(self, asked: Value) -> _ForEach:
        """Ask a definition for each row; it names the row ``each``."""
        return _ForEach(self.frame, asked)


def codelist(
    id: str,
    *codes: str,
    version: str = "1.0.0",
    title: str = "",
    descendants: bool = True,
    excluding: Sequence[str] = (),
) -> Codelist:
    """A named set of codes; ``ICD10//I63*`` takes every code that begins so."""
    return make(
        Codelist,
        id=id,
        version=version,
        title=title,
        codes=codes,
        descendants=descendants,
        excluding=tuple(excluding),
    )


def events(*what: str | Codelist) -> Rows:
    """Events with these codes or of these codelists; of any code if none is named."""
    return Rows(_frame("events", what))


def _frame(source: str, what: Sequence[str | Codelist]) -> m.Frame:
    lists: dict[str, Codelist] = {}
    for one in what:
        if isinstance(one, Codelist) and lists.setdefault(one.id, one) != one:
            message = f"two codelists have the id {one.id!r} and differ; rename one of them"
            raise UsageError(message)
    return make(
        m.Frame,
        source=source,
        codes=tuple(one for one in what if isinstance(one, str)),
        codelists=tuple(lists[name] for name in sorted(lists)),
    )


def movements(*, unit: str | None = None, kind: str | None = None) -> Rows:
    """Movements into a unit (or one below it), or into units of a kind such as ``icu``.

    Their time is their start, their code ``UNIT//<unit>``, their text the bed.
    """
    codes = [
        *([] if unit is None else [f"UNIT//{unit}"]),
        *([] if kind is None else [f"UNITKIND//{kind}"]),
    ]
    if len(codes) > 1:
        message = "movements: name a unit or a kind of unit, not both"
        raise UsageError(message)
    named = () if not codes else (codelist(codes[0], codes[0]),)
    return Rows(_frame("movements", named))


def stays(*kinds: str) -> Rows:
    """All stays of the patient, or those of some kinds.

    Their time is their start, their code ``STAY//<kind>``, their text the
    outcome (once they have ended), their reason where they came from.
    """
    return Rows(_frame("stays", tuple(f"STAY//{kind}" for kind in kinds)))


# ------------------------------------------------------------------ the point


class _Stay:
    """``stay``: the stay of the point."""

    __slots__ = ()

    @property
    def start(self) -> Time:
        """When it began."""
        return Time(make(m.PointField, name="stay_start"))

    @property
    def end(self) -> Time:
        """When it ended; missing while it is open."""
        return Time(make(m.PointField, name="stay_end"))

    @property
    def kind(self) -> Words:
        """Emergency, inpatient, day, ..."""
        return Words(make(m.PointField, name="stay_kind"))

    @property
    def source(self) -> Words:
        """Where the patient came from."""
        return Words(make(m.PointField, name="stay_source"))

    @property
    def outcome(self) -> Words:
        """Where the patient went; missing while the stay is open."""
        return Words(make(m.PointField, name="stay_outcome"))

    def length(self) -> Quantity:
        """Hours from its start to its end, or to now while it is open."""
        return Quantity(make(m.Elapsed, start=self.start.node, end=first_known(self.end, now).node))


class _Subject:
    """``subject``: the patient."""

    __slots__ = ()

    @property
    def sex(self) -> Words:
        """Female, male, other or unknown."""
        return Words(make(m.PointField, name="sex"))

    @property
    def death(self) -> Time:
        """When the patient died; missing before."""
        return Time(make(m.PointField, name="death"))

    def age_at(self, time: Time) -> Quantity:
        """Completed years by the hospital's calendar; missing without a birth date."""
        return Quantity(make(m.Age, at=time.node))


stay: Final = _Stay()
subject: Final = _Subject()
now: Final = Time(m.PointField(name="now"))
