"""What a user writes to have tables read: the CSV mapping.

The model is frozen and validated; ``docs/sources/csv.md`` is its manual and
``docs/sources/csv-mapping.schema.json`` its JSON schema.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

__all__ = [
    "Code",
    "Condition",
    "Duration",
    "EventRule",
    "Mapping",
    "Number",
    "Recorded",
    "Table",
    "Text",
    "Time",
    "duration",
    "json_schema",
]

_UNITS = {
    "s": 1,
    "second": 1,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
    "week": 604800,
}


def duration(text: Any) -> timedelta:
    """Read a duration in words: ``15 min``, ``1 h``, ``2 days``."""
    if isinstance(text, timedelta):
        return text
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*", str(text))
    if not found:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s)\s*", str(text))
    if not found or found[2] not in _UNITS:
        message = f"not a duration; found {text!r}; write for example '15 min', '1 h' or '2 days'"
        raise ValueError(message)
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])


_DURATION = {"type": "string", "examples": ["15 min", "1 h", "2 days"]}
Duration = Annotated[timedelta, BeforeValidator(duration), WithJsonSchema(_DURATION)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _ShortPart(_Part):
    """A part that may be written as one text."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler.resolve_ref_schema(handler(core_schema))]}


def _texts(value: Any) -> Any:
    """YAML reads 16 as a number and true as a truth; cells are text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float)) else value


_CELL = {"type": ["string", "number", "boolean"]}
Cell = Annotated[str, BeforeValidator(_texts), WithJsonSchema(_CELL)]


class Text(_ShortPart):
    """Where a text comes from; a bare string means the column of that name."""

    column: str | None = Field(None, description="the column that holds it")
    first_of: list[str] | None = Field(None, description="the first of these columns with a value")
    constant: Cell | None = Field(None, description="the same text on every row")
    template: str | None = Field(
        None, description="text with {column} in it; missing if one of them is missing"
    )
    map: dict[Cell, str] | None = Field(None, description="from the file's texts to others")
    otherwise: Literal["keep", "missing", "refuse"] = Field(
        "refuse", description="what happens to a text that `map` does not name"
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"column": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _one_origin(self) -> Text:
        origins = (self.column, self.first_of, self.constant, self.template)
        if sum(origin is not None for origin in origins) != 1:
            message = (
                "must come from one place; give exactly one of column, first_of, constant, template"
            )
            raise ValueError(message)
        return self

    def columns(self) -> list[str]:
        """Columns that it reads."""
        if self.template is not None:
            return re.findall(r"\{([^{}]+)\}", self.template)
        return [self.column] if self.column is not None else list(self.first_of or ())


class Number(Text):
    """Where a number comes from."""

    comparators: bool = Field(
        default=False, description="read '<5' as the number 5 with comparator '<'"
    )
    unreadable: Literal["refuse", "text"] = Field(
        "refuse", description="refuse a row whose number cannot be read, or keep it as text"
    )


class Time(Text):
    """Where a time comes from and how it is written."""

    formats: list[str] | None = Field(
        None,
        description="strptime formats, tried in order (%.f: optional fraction, %z: offset); "
        "ISO 8601 if absent",
    )
    precision: Literal["instant", "minute", "day"] | None = Field(
        None, description="how exact the time is; by default what its format holds"
    )
    plus: str | None = Field(None, description="column with a number to add")
    plus_unit: Literal["seconds", "minutes", "hours", "days", "weeks"] = Field(
        "days", description="unit of that number; days and weeks are those of the calendar"
    )


class Code(Text):
    """Where a code comes from: a system and a text."""

    system: str | None = Field(
        None, description="becomes SYSTEM//text; absent: the text is a full code already"
    )


class Condition(_Part):
    """A row counts only if this holds."""

    column: str
    is_: list[Cell] | None = Field(None, alias="is", description="its text is one of these")
    is_not: list[Cell] | None = Field(None, description="its text is none of these")
    present: bool | None = Field(None, description="it has a value (true) or none (false)")
    matches: str | None = Field(None, description="a regular expression found in its text")


class Recorded(_Part):
    """When a row was known: a column that says so, or a stated assumption."""

    column: Time | None = Field(None, description="the source says when")
    after: Literal["time", "end"] | Time | None = Field(
        None,
        description="assumed: the row's own time, its end, or another time, plus `delay`",
    )
    delay: Duration = Field(timedelta(0), description="stated delay, as in '30 min'")

    @model_validator(mode="after")
    def _column_or_delay(self) -> Recorded:
        if self.column is None and self.after is None:
            message = (
                "must say when rows were known; give `column`, or `after` with `delay` as an "
                "assumption"
            )
            raise ValueError(message)
        return self


class _Rule(_Part):
    when: list[Condition] = Field(default_factory=list, description="all of these must hold")
    row_id: Text | None = Field(None, description="the source's own id of the row")
    recorded: Recorded | None = Field(None, description="instead of the table's")
    retracted: Time | None = Field(None, description="when the row was withdrawn")
    subject: Text | None = Field(None, description="instead of the table's")
    stay: Text | None = Field(None, description="instead of the table's")


class WideColumn(_ShortPart):
    """One column of a wide table: its code and unit."""

    code: str
    value_unit: str | None = None
    as_text: bool = False

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"code": data} if isinstance(data, str) else data


class EventRule(_Rule):
    """One event from each row (`code`), or one from each cell (`wide`)."""

    time: Time | None = Field(None, description="when; absent only for timeless facts")
    end_time: Time | None = None
    code: Code | None = None
    wide: dict[str, WideColumn] | None = Field(
        None, description="columns that are each an event of their own"
    )
    system: str | None = Field(None, description="system of the codes in `wide`")
    description: Text | None = Field(None, description="what the code means, for people")
    value: Number | None = None
    value_unit: Text | None = None
    text: Text | None = None
    status: Text | None = None
    reason: Text | None = None
    rank: Number | None = None
    attributes: list[str] = Field(default_factory=list, description="columns kept beside")

    @model_validator(mode="after")
    def _long_or_wide(self) -> EventRule:
        if (self.code is None) == (self.wide is None):
            message = "must be one event a row or one a cell; give either `code` or `wide`"
            raise ValueError(message)
        return self


class SubjectRule(_Rule):
    """A subject from each row."""

    birth_date: Time | None = None
    sex: Text | None = None
    death: Time | None = None


class StayRule(_Rule):
    """A stay from each row."""

    start: Time
    end: Time | None = None
    kind: Text | None = None
    source: Text | None = None
    outcome: Text | None = None


class MovementRule(_Rule):
    """A movement from each row."""

    start: Time
    end: Time | None = None
    unit: Text
    bed: Text | None = None


class UnitRule(_Rule):
    """A unit from each row."""

    unit: Text
    name: Text | None = None
    parent: Text | None = None
    kind: Text | None = None
    specialty: Text | None = None


class BedRule(_Rule):
    """A bed from each row."""

    unit: Text
    bed: Text
    start: Time
    end: Time | None = None
    state: Text
    sex: Text | None = None
    side_room: Text | None = Field(None, description="true or false, or yes/no, 1/0")
    isolation: Text | None = Field(None, description="true or false, or yes/no, 1/0")


class StateRule(_Rule):
    """A sequence of states in the columns of one row, with the days in each.

    Each state becomes an event that lasts until the next; a stay runs from
    the first state to the first of `ends`, and a state after that opens
    another stay. What is still open ends with the follow-up and is marked as
    such.
    """

    start: Time
    states: list[str] = Field(description="columns of the states, in order")
    durations: list[str] = Field(description="columns with the days in each state, in order")
    follow_up: str | None = Field(None, description="column: days of follow-up from the start")
    map: dict[Cell, str] = Field(description="from the file's states to names")
    none: list[Cell] = Field(default_factory=lambda: ["0"], description="texts for 'no state'")
    ends: list[str] = Field(description="states (after map) that end a stay")
    deaths: list[str] = Field(default_factory=list, description="states that are deaths")
    system: str
    kind: str = "inpatient"


class Join(_Part):
    """Another file whose columns are added to each row by a key."""

    file: str
    on: dict[str, str] = Field(description="column here: column there")
    columns: list[str] | None = Field(None, description="columns to add; all if absent")


class Order(_Part):
    """The source's own order column."""

    column: str


class Table(_Part):
    """One kind of file and what its rows are."""

    files: list[str] = Field(
        default_factory=lambda: ["*"], description="names (patterns) of the files in a folder"
    )
    fill_down: list[str] = Field(
        default_factory=list, description="columns written only where they change"
    )
    needs: list[str] | None = Field(
        None,
        description="columns that a file must have; the others that the mapping names may be "
        "absent and read as empty. Absent: it must have every one",
    )
    join: list[Join] = Field(default_factory=list)
    order: Literal["position", "none"] | Order = Field(
        "position", description="what decides between events of one time"
    )
    subject: Text | None = None
    stay: Text | None = None
    recorded: Recorded
    events: list[EventRule] = Field(default_factory=list)
    subjects: list[SubjectRule] = Field(default_factory=list)
    stays: list[StayRule] = Field(default_factory=list)
    movements: list[MovementRule] = Field(default_factory=list)
    units: list[UnitRule] = Field(default_factory=list)
    beds: list[BedRule] = Field(default_factory=list)
    states: list[StateRule] = Field(default_factory=list)


class CodeEntry(_Part):
    """What is known about a code beforehand."""

    description: str | None = None
    parents: list[str] | None = None
    molar_mass: float | None = Field(None, gt=0, description="g/mol")
    value_unit: str | None = Field(None, description="canonical UCUM unit of its values")


class Mapping(_Part):
    """A CSV mapping."""

    neva: Literal[1] = Field(description="version of this format")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", description="the logical source")
    assigner: str | None = Field(
        None, description="who gave the local ids; the same assigner means the same subjects"
    )
    about: str | None = Field(None, description="a sentence for people")
    zone: str | None = Field(None, description="time zone of naive times; else the hospital's")
    dates: Literal["real", "shifted"] = Field(
        "real",
        description="shifted: moved on purpose (de-identified), so that no date is too late or "
        "too early",
    )
    nonexistent: Literal["quarantine", "forward"] = Field(
        "quarantine", description="what happens to local times that the clock skipped"
    )
    encoding: str = "utf-8"
    separator: str = Field(",", min_length=1, max_length=1)
    quote: str = Field('"', min_length=1, max_length=1)
    decimal: Literal[".", ","] = "."
    missing: list[str] = Field(
        default_factory=lambda: [""], description="texts that mean missing ('NA' is a legal id)"
    )
    codes: dict[str, CodeEntry] = Field(default_factory=dict)
    tables: list[Table] = Field(min_length=1)


def json_schema() -> str:
    """Return the JSON schema of a mapping, for editors."""
    schema = Mapping.model_json_schema(by_alias=True)
    return json.dumps(schema, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
