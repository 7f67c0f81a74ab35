"""Times as HL7 v2 writes them: of any precision, with an offset or without."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, NamedTuple

from neva.events.clock import first_moment, instant
from neva.sources.hl7v2.message import UnreadableMessageError

__all__ = ["Moment", "read_day", "read_offset", "read_time"]

_DTM: Final = re.compile(
    r"(\d{4})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:(\d{2})(?:\.(\d{1,9}))?)?)?)?)?)?"
    r"([+-]\d{4})?\Z",
    re.ASCII,
)


class Moment(NamedTuple):
    """A time that a message says.

    Attributes
    ----------
    time : datetime
        UTC.
    precision : str
        ``instant``, ``minute`` or ``day``.
    assumed_zone : bool
        The message gave no offset, here or in MSH-7: the site's zone was taken.
    """

    time: datetime
    precision: str
    assumed_zone: bool


def read_offset(text: str) -> str:
    """Return the offset that a time says, as ``+0300``; empty where it says none."""
    found = _DTM.match(text)
    return (found.group(8) or "") if found else ""


@lru_cache(maxsize=20_000)
def _read(text: str, zone: str, inherited: str) -> Moment | str:
    found = _DTM.match(text)
    if found is None:
        return "time-unreadable"
    year, month, day, hour, minute, second, fraction, own = found.groups()
    if day is None:
        return "time-imprecise"
    offset = own or inherited
    try:
        if hour is None:
            whole_day = date(int(year), int(month), int(day))
            if not offset:
                return Moment(first_moment(whole_day, zone), "day", assumed_zone=True)
            local = datetime(whole_day.year, whole_day.month, whole_day.day)  # noqa: DTZ001
            return Moment(_at_offset(local, offset), "day", assumed_zone=False)
        # A leap second is read as the second before it.
        seconds = min(int(second or 0), 59)
        local = datetime(  # noqa: DTZ001 -- as the clock on the wall
            int(year), int(month), int(day), int(hour), int(minute or 0), seconds,
            int((fraction or "")[:6].ljust(6, "0")),
        )  # fmt: skip
        precision = "instant" if second is not None else "minute"
        if offset:
            return Moment(_at_offset(local, offset), precision, assumed_zone=False)
        time, reason = instant(local, zone)
    except (ValueError, OverflowError):
        return "time-unreadable"
    if time is None:
        return reason or "time-unreadable"
    return Moment(time, precision, assumed_zone=True)


def _at_offset(local: datetime, offset: str) -> datetime:
    shift = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    if int(offset[3:5]) > 59 or shift > timedelta(hours=15):
        raise ValueError
    return local.replace(tzinfo=timezone(-shift if offset[0] == "-" else shift)).astimezone(UTC)


def read_time(text: str, *, zone: str, inherited: str = "", field: str = "") -> Moment | None:
    """Read a time.

    Parameters
    ----------
    text : str
        As ``20260101080000.5+0300``; empty: none.
    zone : str
        The feed's zone, of times for which no offset is known.
    inherited : str
        The offset of MSH-7: an offset, not a zone, that times without one take over.
    field : str
        Where it stands, for the error.

    Returns
    -------
    Moment or None

    Raises
    ------
    UnreadableMessageError
        It is not written as HL7 writes times, is less exact than a day, or is one that
        the clock never showed.

    Examples
    --------
    >>> moment = read_time("202601010800", zone="Europe/Moscow", inherited="-0500")
    >>> str(moment.time), moment.precision, moment.assumed_zone
    ('2026-01-01 13:00:00+00:00', 'minute', False)
    """
    if not text or text == '""':
        return None
    found = _read(text, zone, inherited)
    if isinstance(found, str):
        raise UnreadableMessageError(found, field)
    return found


def read_day(text: str) -> date | None:
    """Return the calendar day that a time names, whatever its clock says; None if none is named.

    Examples
    --------
    >>> str(read_day("19700101083000+0300")), read_day("1970")
    ('1970-01-01', None)
    """
    found = _DTM.match(text)
    if found is None or found.group(3) is None:
        return None
    try:
        return date(int(found.group(1)), int(found.group(2)), int(found.group(3)))
    except ValueError:
        return None
