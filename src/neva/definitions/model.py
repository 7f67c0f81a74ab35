"""The frozen model of a definition: what engines run, files keep and hashes name.

A definition is a tree of nodes. Every node is immutable, is compared by its
content, checks the types of its parts when it is made, and goes to JSON and
back unchanged. Nobody writes nodes by hand: :mod:`neva.definitions.language`
does.

Two sorts of node:

- an *expression* has one value at a point: a boolean, a number with its unit,
  a time, or a text; any of them may be missing ("unknown");
- a *frame* is a set of rows of the patient's timeline, chosen by code,
  condition and window.

Times are UTC. Elapsed time is counted in hours; days are calendar days of the
hospital's clock.
"""

# More than 600 lines: a dictionary, one node after another.

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from neva.definitions.codelists import Codelist
from neva.events.measurement_units import conversion, ucum_of
from neva.events.schema import STATUSES

__all__ = [
    "ROW_FIELDS",
    "Age",
    "Aggregate",
    "AllOf",
    "AnyOf",
    "Arithmetic",
    "Attribute",
    "Bound",
    "Branch",
    "CalendarDays",
    "Case",
    "ClockPart",
    "Compare",
    "Convert",
    "Days",
    "Elapsed",
    "Every",
    "Expression",
    "Extreme",
    "FirstKnown",
    "Flag",
    "ForEach",
    "Frame",
    "Function",
    "HoursWhere",
    "IsMissing",
    "ItemField",
    "Items",
    "Missing",
    "Moment",
    "Node",
    "Not",
    "Number",
    "OneOf",
    "Pick",
    "PointField",
    "RowField",
    "Shift",
    "StartOfDay",
    "Text",
    "Type",
    "children",
    "walk",
]

TypeName = Literal["boolean", "number", "time", "text"]


class Type(NamedTuple):
    """What an expression yields; numbers carry a UCUM unit."""

    name: TypeName
    unit: str | None = None

    def __str__(self) -> str:
        return f"{self.name} in {self.unit}" if self.unit not in (None, "1") else self.name


BOOLEAN: Final = Type("boolean")
TIME: Final = Type("time")
TEXT: Final = Type("text")


def number_in(unit: str) -> Type:
    """Return the type of numbers in a unit."""
    return Type("number", unit)


class Node(BaseModel):
    """A part of a definition: frozen, checked, comparable by content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @cached_property
    def digest(self) -> str:
        """Name the node by its content: equal nodes have equal digests."""
        parts = [
            type(self).__name__,
            *(f"{name}={_digest_of(getattr(self, name))}" for name in type(self).model_fields),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]

    @cached_property
    def parts(self) -> tuple[Node, ...]:
        """The nodes that this one is made of, in order."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return tuple(
            part
            for value in values
            for part in (value if isinstance(value, tuple) else (value,))
            if isinstance(part, Node)
        )

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and self.digest == other.digest

    @property
    def type(self) -> Type:
        """What the node yields; frames yield rows and have no type."""
        raise NotImplementedError


def _digest_of(value: Any) -> str:
    if isinstance(value, Node):
        return value.digest
    if isinstance(value, tuple):
        return "(" + ",".join(_digest_of(part) for part in value) + ")"
    if isinstance(value, BaseModel):
        return json.dumps(value.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return repr(value)


def _unit(text: str) -> str:
    found = ucum_of(text)
    if found is None:
        message = f"unit {text!r} is not a UCUM unit; write for example mmol/L, mg/L, /min, %, h"
        raise ValueError(message)
    return found


def _maybe_unit(text: str | None) -> str | None:
    return None if text is None else _unit(text)


def _need(node: Node, what: str, *names: str) -> None:
    if node.type.name not in names:
        message = f"{what} must be a {' or '.join(names)}; found a {node.type}"
        raise ValueError(message)


def _same(left: Type, right: Type, what: str) -> None:
    if left.name != right.name:
        message = f"{what}: a {left} and a {right} do not go together"
        raise ValueError(message)
    if left.unit != right.unit:
        message = (
            f"{what}: units {left.unit} and {right.unit} differ; convert one of them with .to(...)"
        )
        raise ValueError(message)


# ---------------------------------------------------------------- constants


class Number(Node):
    """A number in a unit."""

    kind: Literal["number"] = "number"
    value: float
    unit: str = "1"

    _unit = field_validator("unit")(_unit)

    @field_validator("value")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not -1e300 < value < 1e300:
            message = "a number must be finite"
            raise ValueError(message)
        return value + 0.0  # no negative zero

    @property
    def type(self) -> Type:
        return number_in(self.unit)


class Flag(Node):
    """True or false."""

    kind: Literal["flag"] = "flag"
    value: bool

    @property
    def type(self) -> Type:
        return BOOLEAN


class Text(Node):
    """A text."""

    kind: Literal["text"] = "text"
    value: str

    @property
    def type(self) -> Type:
        return TEXT


class Moment(Node):
    """A fixed time."""

    kind: Literal["moment"] = "moment"
    value: datetime

    @field_validator("value")
    @classmethod
    def _aware(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            message = "a time needs an offset, as in 2020-05-01T08:00+03:00"
            raise ValueError(message)
        return value.astimezone(UTC)

    @property
    def type(self) -> Type:
        return TIME


class Missing(Node):
    """The unknown value of a type."""

    kind: Literal["missing"] = "missing"
    of: TypeName
    unit: str | None = None

    @property
    def type(self) -> Type:
        return Type(self.of, (self.unit or "1") if self.of == "number" else None)


# ---------------------------------------------------- the point and its patient

POINT_FIELDS: Final[dict[str, Type]] = {
    "now": TIME,
    "stay_start": TIME,
    "stay_end": TIME,
    "stay_kind": TEXT,
    "stay_source": TEXT,
    "stay_outcome": TEXT,
    "sex": TEXT,
    "death": TIME,
}

PointName = Literal[
    "now", "stay_start", "stay_end", "stay_kind", "stay_source", "stay_outcome", "sex", "death"
]


class PointField(Node):
    """Something known of the point itself: *now*, its stay, its patient.

    The end and outcome of a stay and a death are missing until they have
    happened; a point without a stay has no stay fields.
    """

    kind: Literal["point"] = "point"
    name: PointName

    @property
    def type(self) -> Type:
        return POINT_FIELDS[self.name]


class Age(Node):
    """Completed years of age, by the hospital's calendar, at a time."""

    kind: Literal["age"] = "age"
    at: Expression

    @model_validator(mode="after")
    def _check(self) -> Age:
        _need(self.at, "the time of an age", "time")
        return self

    @property
    def type(self) -> Type:
        return number_in("a")


# ---------------------------------------------------------------------- rows

#: Fields of a row that conditions and picks can name.
ROW_FIELDS: Final[dict[str, Type]] = {
    "time": TIME,
    "end_time": TIME,
    "recorded": TIME,
    "value": number_in("1"),
    "rank": number_in("1"),
    "event_id": TEXT,
    "code": TEXT,
    "text": TEXT,
    "comparator": TEXT,
    "value_unit": TEXT,
    "status": TEXT,
    "reason": TEXT,
}

RowName = Literal[
    "time",
    "end_time",
    "recorded",
    "value",
    "rank",
    "event_id",
    "code",
    "text",
    "comparator",
    "value_unit",
    "status",
    "reason",
]


def _row_type(name: str, unit: str | None) -> Type:
    if name == "value":
        return number_in(unit or "1")
    return ROW_FIELDS[name]


class RowField(Node):
    """A field of the row that a frame's condition looks at.

    ``value`` is converted to `unit`; a value that cannot be converted, or
    whose unit is not stated where one is asked for, is missing.
    """

    kind: Literal["row"] = "row"
    name: RowName
    unit: str | None = None

    _unit = field_validator("unit")(_maybe_unit)

    @model_validator(mode="after")
    def _check(self) -> RowField:
        if self.name == "value" and self.unit is None:
            message = 'a value names its unit, as in value("mmol/L"); value("1") has none'
            raise ValueError(message)
        return self

    @property
    def type(self) -> Type:
        return _row_type(self.name, self.unit)


class Attribute(Node):
    """An attribute of the row that a frame's condition looks at, as text."""

    kind: Literal["attribute"] = "attribute"
    key: str

    @property
    def type(self) -> Type:
        return TEXT


class Bound(Node):
    """One end of a window.

    Where `time` is missing, the window is unknown (and so is all that is asked
    of it), except with `open_if_missing`: then it has no such end.
    """

    kind: Literal["bound"] = "bound"
    time: Expression
    closed: bool = True
    open_if_missing: bool = False

    @model_validator(mode="after")
    def _check(self) -> Bound:
        _need(self.time, "the bound of a window", "time")
        return self


class Frame(Node):
    """Rows of the patient's timeline that are visible at the point.

    Attributes
    ----------
    source : {"events", "movements", "stays"}
        Movements have the code ``UNIT//<unit>``, stays ``STAY//<kind>``; their
        time is their start.
    codes : tuple of str
        Codes taken literally; none, and no codelist: any code.
    codelists : tuple of Codelist
        Sets of codes.
    where : Expression, optional
        A condition on the row; rows for which it is false or unknown are left
        out.
    statuses : tuple of str
        Statuses that count; ``done`` unless said otherwise.
    of_stay : bool
        Only rows that carry the id of the point's stay.
    lower, upper : tuple of Bound
        The window on the row's time: later than every lower bound, earlier
        than every upper one.
    overlapping : bool
        Rows whose time to end time overlaps the window, not only those that
        start in it. An event without an end is over at once; a movement or
        stay without one is open.
    """

    kind: Literal["frame"] = "frame"
    source: Literal["events", "movements", "stays"] = "events"
    codes: tuple[str, ...] = ()
    codelists: tuple[Codelist, ...] = ()
    where: Expression | None = None
    statuses: tuple[Literal["done", "planned", "not-done", "cancelled"], ...] = ("done",)
    of_stay: bool = False
    lower: tuple[Bound, ...] = ()
    upper: tuple[Bound, ...] = ()
    overlapping: bool = False

    @field_validator("codes")
    @classmethod
    def _codes(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        for code in codes:
            system, mark, text = code.partition("//")
            if not (system and mark and text):
                message = f"code {code!r} is not of the form SYSTEM//code"
                raise ValueError(message)
        return tuple(sorted(set(codes)))

    @field_validator("statuses")
    @classmethod
    def _statuses(cls, statuses: tuple[str, ...]) -> tuple[str, ...]:
        if not statuses:
            message = f"statuses: at least one of {', '.join(STATUSES)}"
            raise ValueError(message)
        return tuple(status for status in STATUSES if status in statuses)

    @model_validator(mode="after")
    def _check(self) -> Frame:
        if self.where is not None:
            _need(self.where, "the condition of rows", "boolean")
            units = {
                node.unit
                for node in row_nodes(self.where)
                if isinstance(node, RowField) and node.name == "value"
            }
            if len(units) > 1:
                message = (
                    f"the condition of rows reads the value in {len(units)} units "
                    f"({', '.join(sorted(map(str, units)))}); use one"
                )
                raise ValueError(message)
        return self

    @property
    def condition_unit(self) -> str | None:
        """The unit in which the condition reads the value, if it does."""
        if self.where is None:
            return None
        for node in row_nodes(self.where):
            if isinstance(node, RowField) and node.name == "value":
                return node.unit
        return None


class Pick(Node):
    """One field of one row of a frame; missing where there is no such row.

    ``first``, ``last`` and ``nth`` follow the total order of events, ``nth``
    from 1, or from -1 backwards. ``highest`` and ``lowest`` go by value in `unit`, the first
    of equals; rows without a value are passed over.
    """

    kind: Literal["pick"] = "pick"
    frame: Frame
    which: Literal["first", "last", "nth", "highest", "lowest"]
    n: int | None = None
    field: RowName
    unit: str | None = None

    _unit = field_validator("unit")(_maybe_unit)

    @model_validator(mode="after")
    def _check(self) -> Pick:
        if (self.which == "nth") != (self.n is not None) or self.n == 0:
            message = "nth needs a number other than 0; the other picks need none"
            raise ValueError(message)
        if (self.field == "value" or self.which in ("highest", "lowest")) and self.unit is None:
            message = 'a value names its unit, as in .value("mmol/L")'
            raise ValueError(message)
        return self

    @property
    def type(self) -> Type:
        return _row_type(self.field, self.unit)


class Aggregate(Node):
    """One value over the rows of a frame.

    ``exists`` and ``count`` count rows, ``codes`` distinct codes. ``minimum``,
    ``maximum``, ``mean``, ``sum`` and ``slope`` (least squares, per hour) go
    over the values that are not missing; without any they are missing, ``sum``
    is 0, and ``slope`` needs two different times. ``hours`` is the time that
    the rows cover from time to end time, overlaps counted once, clipped to the
    window and to *now*.
    """

    kind: Literal["aggregate"] = "aggregate"
    frame: Frame
    how: Literal["exists", "count", "codes", "minimum", "maximum", "mean", "sum", "slope", "hours"]
    unit: str | None = None

    _unit = field_validator("unit")(_maybe_unit)

    @model_validator(mode="after")
    def _check(self) -> Aggregate:
        needs = self.how in ("minimum", "maximum", "mean", "sum", "slope")
        if needs != (self.unit is not None):
            message = (
                f"{self.how} needs the unit of the value"
                if needs
                else f"{self.how} does not look at the value and takes no unit"
            )
            raise ValueError(message)
        return self

    @property
    def type(self) -> Type:
        if self.how == "exists":
            return BOOLEAN
        if self.how in ("count", "codes"):
            return number_in("1")
        if self.how == "hours":
            return number_in("h")
        if self.how == "slope":
            return number_in("1" if self.unit == "1" else f"{self.unit}/h")
        return number_in(self.unit or "1")


class HoursWhere(Node):
    """Hours during which the last reading satisfied a condition.

    Each row of the frame holds until the next one, at most `carry` hours,
    clipped to the window and to *now*; of rows with equal times the last
    holds. Without `condition`: hours with any reading. Missing where the
    frame has no rows.
    """

    kind: Literal["hours-where"] = "hours-where"
    frame: Frame
    condition: Expression | None = None
    carry: float = Field(gt=0, le=1_000_000)

    @model_validator(mode="after")
    def _check(self) -> HoursWhere:
        if self.condition is not None:
            _need(self.condition, "the condition of rows", "boolean")
            # Checked as the condition of a frame is.
            Frame(where=self.condition)
        return self

    @property
    def type(self) -> Type:
        return number_in("h")


class Days(Node):
    """Calendar days of the hospital that a period touches, up to *now*.

    An item's time is the start of the day, its end time the start of the next.
    """

    kind: Literal["days"] = "days"
    start: Expression
    end: Expression

    @model_validator(mode="after")
    def _check(self) -> Days:
        _need(self.start, "the start of days", "time")
        _need(self.end, "the end of days", "time")
        return self


class Every(Node):
    """Times every so many hours from a start, up to an end and to *now*, both included."""

    kind: Literal["every"] = "every"
    hours: float = Field(gt=0, le=1_000_000)
    start: Expression
    end: Expression

    @model_validator(mode="after")
    def _check(self) -> Every:
        _need(self.start, "the start of a grid", "time")
        _need(self.end, "the end of a grid", "time")
        return self


Items = Annotated[Frame | Days | Every, Field(discriminator="kind")]


class ItemField(Node):
    """A field of the item that a nested definition looks at (see :class:`ForEach`)."""

    kind: Literal["item"] = "item"
    name: RowName
    unit: str | None = None

    _unit = field_validator("unit")(_maybe_unit)

    @model_validator(mode="after")
    def _check(self) -> ItemField:
        if self.name == "value" and self.unit is None:
            message = 'a value names its unit, as in each.value("mmol/L")'
            raise ValueError(message)
        return self

    @property
    def type(self) -> Type:
        return _row_type(self.name, self.unit)


class ForEach(Node):
    """A definition evaluated for each item, and what the answers add up to.

    ``any`` and ``all`` follow Kleene logic; ``count`` counts the items for
    which it is true; the rest go over the answers that are not missing. Where
    the items are unknown (a window without its bound), so is the result.
    """

    kind: Literal["for-each"] = "for-each"
    items: Items
    value: Expression
    how: Literal["any", "all", "count", "sum", "mean", "minimum", "maximum"]

    @model_validator(mode="after")
    def _check(self) -> ForEach:
        needed = "boolean" if self.how in ("any", "all", "count") else "number"
        _need(self.value, f"what is asked for each item ({self.how})", needed)
        for node in walk(self.value):
            if isinstance(node, ForEach):
                message = "a definition for each item cannot stand inside another one"
                raise ValueError(message)
        units = {
            node.unit
            for node in walk(self.value)
            if isinstance(node, ItemField) and node.name == "value"
        }
        if len(units) > 1:
            message = "the item's value is read in more than one unit; use one"
            raise ValueError(message)
        if not isinstance(self.items, Frame):
            for node in walk(self.value):
                if isinstance(node, ItemField) and node.name not in ("time", "end_time"):
                    message = f"days and times have no {node.name}"
                    raise ValueError(message)
        return self

    @property
    def type(self) -> Type:
        if self.how in ("any", "all"):
            return BOOLEAN
        if self.how == "count":
            return number_in("1")
        return self.value.type


# ---------------------------------------------------------------- arithmetic


class Arithmetic(Node):
    """Two numbers combined. Division by zero, and what is not finite, is missing."""

    kind: Literal["arithmetic"] = "arithmetic"
    operation: Literal["add", "subtract", "multiply", "divide"]
    left: Expression
    right: Expression

    @model_validator(mode="after")
    def _check(self) -> Arithmetic:
        _need(self.left, f"{self.operation}: the left side", "number")
        _need(self.right, f"{self.operation}: the right side", "number")
        if self.operation in ("add", "subtract"):
            _same(self.left.type, self.right.type, self.operation)
        return self

    @property
    def type(self) -> Type:
        left, right = self.left.type.unit or "1", self.right.type.unit or "1"
        if self.operation in ("add", "subtract") or right == "1":
            return number_in(left)
        if self.operation == "divide":
            return number_in("1" if left == right else f"({left})/({right})")
        return number_in(right if left == "1" else f"({left}).({right})")


class Function(Node):
    """A function of one number; outside its domain the result is missing."""

    kind: Literal["function"] = "function"
    name: Literal["negate", "absolute", "floor", "exponential", "logarithm"]
    of: Expression

    @model_validator(mode="after")
    def _check(self) -> Function:
        _need(self.of, self.name, "number")
        return self

    @property
    def type(self) -> Type:
        return number_in("1") if self.name in ("exponential", "logarithm") else self.of.type


class Convert(Node):
    """A number in another unit: value times factor plus offset."""

    kind: Literal["convert"] = "convert"
    of: Expression
    unit: str

    _unit = field_validator("unit")(_unit)

    @model_validator(mode="after")
    def _check(self) -> Convert:
        _need(self.of, "what is converted", "number")
        if conversion(self.of.type.unit or "1", self.unit) is None:
            message = f"{self.of.type.unit} cannot be converted to {self.unit}"
            raise ValueError(message)
        return self

    @property
    def factor_and_offset(self) -> tuple[float, float]:
        """What the value is multiplied with, and what is added."""
        found = conversion(self.of.type.unit or "1", self.unit)
        assert found is not None  # checked when the node was made
        return found

    @property
    def type(self) -> Type:
        return number_in(self.unit)


class Extreme(Node):
    """The least or greatest of several numbers or times; missing ones are passed over."""

    kind: Literal["extreme"] = "extreme"
    which: Literal["least", "greatest"]
    of: tuple[Expression, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Extreme:
        for part in self.of:
            _need(part, self.which, "number", "time")
            _same(self.of[0].type, part.type, self.which)
        return self

    @property
    def type(self) -> Type:
        return self.of[0].type


class Shift(Node):
    """A time so many hours (elapsed) or calendar days (same time on the clock) later."""

    kind: Literal["shift"] = "shift"
    time: Expression
    amount: Expression
    unit: Literal["hours", "days"]

    @model_validator(mode="after")
    def _check(self) -> Shift:
        _need(self.time, "what is shifted", "time")
        _need(self.amount, "the amount of a shift", "number")
        wanted = "h" if self.unit == "hours" else "d"
        if self.amount.type.unit != wanted:
            message = f"the amount of a shift by {self.unit} must be in {wanted}"
            raise ValueError(message)
        return self

    @property
    def type(self) -> Type:
        return TIME


class Elapsed(Node):
    """Hours from one time to another; negative if the second is earlier."""

    kind: Literal["elapsed"] = "elapsed"
    start: Expression
    end: Expression

    @model_validator(mode="after")
    def _check(self) -> Elapsed:
        _need(self.start, "the start", "time")
        _need(self.end, "the end", "time")
        return self

    @property
    def type(self) -> Type:
        return number_in("h")


class CalendarDays(Node):
    """Midnights of the hospital's clock between two times; negative if the second is earlier."""

    kind: Literal["calendar-days"] = "calendar-days"
    start: Expression
    end: Expression

    @model_validator(mode="after")
    def _check(self) -> CalendarDays:
        _need(self.start, "the start", "time")
        _need(self.end, "the end", "time")
        return self

    @property
    def type(self) -> Type:
        return number_in("d")


class StartOfDay(Node):
    """The first moment of the calendar day in which a time lies."""

    kind: Literal["start-of-day"] = "start-of-day"
    of: Expression

    @model_validator(mode="after")
    def _check(self) -> StartOfDay:
        _need(self.of, "a start of day", "time")
        return self

    @property
    def type(self) -> Type:
        return TIME


class ClockPart(Node):
    """The hour (0-23), weekday (1 Monday - 7 Sunday), month or year on the hospital's clock."""

    kind: Literal["clock-part"] = "clock-part"
    of: Expression
    part: Literal["hour", "weekday", "month", "year"]

    @model_validator(mode="after")
    def _check(self) -> ClockPart:
        _need(self.of, f"the {self.part}", "time")
        return self

    @property
    def type(self) -> Type:
        return number_in("1")


# --------------------------------------------------------------------- logic


class Compare(Node):
    """A comparison; unknown where a side is missing. Both sides have one unit."""

    kind: Literal["compare"] = "compare"
    operation: Literal["<", "<=", ">", ">=", "==", "!="]
    left: Expression
    right: Expression

    @model_validator(mode="after")
    def _check(self) -> Compare:
        _same(self.left.type, self.right.type, f"comparison {self.operation}")
        if self.operation not in ("==", "!="):
            _need(self.left, f"comparison {self.operation}", "number", "time")
        return self

    @property
    def type(self) -> Type:
        return BOOLEAN


class OneOf(Node):
    """Is a text one of several; unknown where it is missing."""

    kind: Literal["one-of"] = "one-of"
    of: Expression
    values: tuple[str, ...] = Field(min_length=1)

    @field_validator("values")
    @classmethod
    def _sorted(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(values)))

    @model_validator(mode="after")
    def _check(self) -> OneOf:
        _need(self.of, "one of", "text")
        return self

    @property
    def type(self) -> Type:
        return BOOLEAN


class _Several(Node):
    of: tuple[Expression, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> _Several:
        for part in self.of:
            _need(part, "a part of and/or", "boolean")
        return self

    @property
    def type(self) -> Type:
        return BOOLEAN


class AllOf(_Several):
    """True if all are, false if one is, otherwise unknown (Kleene)."""

    kind: Literal["all"] = "all"


class AnyOf(_Several):
    """True if one is, false if all are, otherwise unknown (Kleene)."""

    kind: Literal["any"] = "any"


class Not(Node):
    """The opposite; unknown stays unknown."""

    kind: Literal["not"] = "not"
    of: Expression

    @model_validator(mode="after")
    def _check(self) -> Not:
        _need(self.of, "not", "boolean")
        return self

    @property
    def type(self) -> Type:
        return BOOLEAN


class IsMissing(Node):
    """Is a value missing; never unknown itself."""

    kind: Literal["is-missing"] = "is-missing"
    of: Expression

    @property
    def type(self) -> Type:
        return BOOLEAN


class FirstKnown(Node):
    """The first of several values that is not missing."""

    kind: Literal["first-known"] = "first-known"
    of: tuple[Expression, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> FirstKnown:
        for part in self.of:
            _same(self.of[0].type, part.type, "first known")
        return self

    @property
    def type(self) -> Type:
        return self.of[0].type


class Branch(Node):
    """One line of a case table."""

    kind: Literal["branch"] = "branch"
    when: Expression
    then: Expression

    @model_validator(mode="after")
    def _check(self) -> Branch:
        _need(self.when, "the condition of a case", "boolean")
        return self


class Case(Node):
    """The value of the first line whose condition is true.

    Lines are tried in order. A condition that is unknown makes the result
    missing: what stands below may not be reached by not knowing.
    """

    kind: Literal["case"] = "case"
    branches: tuple[Branch, ...] = Field(min_length=1)
    otherwise: Expression

    @model_validator(mode="after")
    def _check(self) -> Case:
        for branch in self.branches:
            _same(self.otherwise.type, branch.then.type, "lines of a case")
        return self

    @property
    def type(self) -> Type:
        return self.otherwise.type


Expression = Annotated[
    Number
    | Flag
    | Text
    | Moment
    | Missing
    | PointField
    | Age
    | RowField
    | Attribute
    | Pick
    | Aggregate
    | HoursWhere
    | ItemField
    | ForEach
    | Arithmetic
    | Function
    | Convert
    | Extreme
    | Shift
    | Elapsed
    | CalendarDays
    | StartOfDay
    | ClockPart
    | Compare
    | OneOf
    | AllOf
    | AnyOf
    | Not
    | IsMissing
    | FirstKnown
    | Case,
    Field(discriminator="kind"),
]

for _name, _found in list(globals().items()):
    if isinstance(_found, type) and issubclass(_found, Node) and _name != "Node":
        _found.model_rebuild()


# ------------------------------------------------------------------- walking


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes that a node is made of, in order."""
    return node.parts


def walk(node: Node) -> list[Node]:
    """Return a node and all below it, each content once, parts before wholes."""
    found: dict[str, Node] = {}

    def visit(at: Node) -> None:
        if at.digest in found:
            return
        for part in children(at):
            visit(part)
        found[at.digest] = at

    visit(node)
    return list(found.values())


def row_nodes(node: Node) -> list[Node]:
    """Like :func:`walk`, but not into frames: what belongs to this row's condition."""
    found: dict[str, Node] = {}

    def visit(at: Node) -> None:
        if at.digest in found or isinstance(at, Frame):
            return
        for part in children(at):
            visit(part)
        found[at.digest] = at

    visit(node)
    return list(found.values())
