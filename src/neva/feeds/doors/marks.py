"""Values by which a query's rows are ordered: kept in the feed's place, compared with times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa

__all__ = ["Mark", "earlier", "marked", "place_of", "read_mark"]

#: Kinds of values, in what a mark is kept as, and what it is for the database.
_TYPES: Final[dict[str, Any]] = {
    "instant": sa.DateTime(timezone=True),
    "local": sa.DateTime(),
    "date": sa.Date(),
    "number": sa.BigInteger(),
    "decimal": sa.Numeric(),
    "text": sa.String(),
    "uuid": sa.Uuid(),
}
#: A clock that is put back shows the same times again: so long around it they are read again.
_AROUND: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Mark:
    """A value of the database, with its kind.

    Attributes
    ----------
    kind : str
        A key of the types that are known.
    value : object
    """

    kind: str
    value: Any

    @property
    def type(self) -> sa.types.TypeEngine[Any]:
        """What it is for the database."""
        found: sa.types.TypeEngine[Any] = _TYPES[self.kind]
        return found

    def written(self) -> list[str]:
        """Return it as JSON can hold it."""
        value = self.value
        return [self.kind, value.isoformat() if isinstance(value, date) else str(value)]


def marked(value: Any) -> Mark | None:
    """Give a value its kind; None where it is of none that can be ordered by.

    Examples
    --------
    >>> marked(7), marked(None)
    (Mark(kind='number', value=7), None)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, datetime):
        return Mark("local" if value.tzinfo is None else "instant", value)
    for kind, of in (
        ("date", date),
        ("number", int),
        ("decimal", Decimal),
        ("text", str),
        ("uuid", UUID),
    ):
        if isinstance(value, of):
            return Mark(kind, value)
    return None


def read_mark(written: list[str] | None) -> Mark | None:
    """Read what :meth:`Mark.written` wrote."""
    if written is None:
        return None
    kind, text = written
    readers: dict[str, Any] = {
        "instant": datetime.fromisoformat,
        "local": datetime.fromisoformat,
        "date": date.fromisoformat,
        "number": int,
        "decimal": Decimal,
        "uuid": UUID,
    }
    return Mark(kind, readers[kind](text) if kind in readers else text)


def _time(mark: Mark) -> datetime | None:
    """Return the time that a mark is, as the database writes it."""
    value = mark.value
    if mark.kind == "text":
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day) if mark.kind == "date" else None  # noqa: DTZ001


def place_of(mark: Mark, zone: str) -> float | None:
    """Return where a mark stands: seconds since 1970, or the number that it is.

    None where it is neither a time nor a number.

    Examples
    --------
    >>> place_of(Mark("text", "1970-01-01 03:00:01"), "Europe/Moscow")
    1.0
    """
    if mark.kind in ("number", "decimal"):
        return float(mark.value)
    time = _time(mark)
    if time is None:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=ZoneInfo(zone))
    return time.timestamp()


def earlier(mark: Mark, by: timedelta, numbers: int, zone: str) -> Mark:
    """Return the mark so much before another, from which on is read again.

    Parameters
    ----------
    mark : Mark
        A time or a number.
    by : timedelta
        For times.
    numbers : int
        For numbers.
    zone : str
        Of times without offset: where its clock was put back within a day, the hour that it
        showed twice is read again.
    """
    if mark.kind in ("number", "decimal"):
        return Mark("number", math.floor(mark.value) - numbers)
    time = _time(mark)
    assert time is not None
    if time.tzinfo is None:
        place = ZoneInfo(zone)
        before, after = (
            (time + shift).replace(tzinfo=place).utcoffset() or timedelta()
            for shift in (-_AROUND, _AROUND)
        )
        by += max(before - after, timedelta())
    if mark.kind == "instant":
        return Mark("instant", time.astimezone(UTC) - by)
    time -= by
    if mark.kind == "local":
        return Mark("local", time)
    if mark.kind == "date":
        return Mark("date", time.date())
    # As texts compare: no fraction and no offset, so that it comes before those that have one.
    between = "T" if "T" in mark.value else " "
    return Mark("text", time.isoformat(between, "seconds")[:19])
