"""A message on its way to rows: its profile, its clock, and what was found in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from neva.sources.hl7v2.message import DELETED, Message, UnreadableMessageError
from neva.sources.hl7v2.profile import Profile
from neva.sources.hl7v2.times import Moment, read_offset, read_time

__all__ = ["Context", "Interpreted", "Person", "stay_of", "subject_of", "subject_of_message"]


#: So far a time may lie after the arrival of the message that says it: clocks differ.
_AHEAD: Final = timedelta(days=1)
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Person:
    """Who a patient is: for the identity service only."""

    local_id: str
    family: str | None
    given: str | None
    birth_date: date | None


@dataclass(slots=True)
class Interpreted:
    """What one message says.

    Attributes
    ----------
    type : str
        ``ADT^A01``.
    statements : list of dict
        Of persons and stays, under local ids; see ``TABLES["patient_messages"]``.
    events : list of dict
        Columns of ``ROWS["events"]``.
    persons : list of Person
    merges : list of tuple of str
        The record that goes, and the one that stays.
    doubts : Counter
        By reason of :data:`neva.sources.hl7v2.reasons.DOUBTS` and what it is about
        (a code system, a class: never a patient's value).
    """

    type: str
    statements: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    persons: list[Person] = field(default_factory=list)
    merges: list[tuple[str, str]] = field(default_factory=list)
    doubts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def says_something(self) -> bool:
        """Whether anything follows from it."""
        return bool(self.statements or self.events or self.persons or self.merges)


class Context:
    """A message on its way to rows: its profile, zone, and when it was known.

    Parameters
    ----------
    message : Message
    profile : Profile
    zone : str
        Where the profile names none.
    arrived : datetime
        Aware, UTC.
    """

    def __init__(self, message: Message, profile: Profile, *, zone: str, arrived: datetime) -> None:
        self.message = message
        self.profile = profile
        self.zone = profile.zone or zone
        self.offset = read_offset(message.header.sent)
        self.found = Interpreted(message.header.type)
        sent = read_time(message.header.sent, zone=self.zone, field="MSH-7")
        self.sent = sent
        self._arrived = arrived
        self.recorded = arrived
        if profile.recorded == "sent" and sent is not None:
            self.recorded = sent.time
        if self.recorded > arrived:
            self.recorded = arrived
            self.doubt("sent-ahead")

    def doubt(self, reason: str, about: str = "") -> None:
        """Count a doubt."""
        self.found.doubts[reason, about] += 1

    def time(self, segment: list[str] | None, number: int) -> Moment | None:
        """Read a field as a time."""
        text = self.message.text(segment, number)
        if not text:
            return None
        name = segment[0] if segment else ""
        return read_time(text, zone=self.zone, inherited=self.offset, field=f"{name}-{number}")

    def happened(self, moment: Moment | None, field: str) -> Moment | None:
        """Check that a time of what has happened can be one, and return it.

        Raises
        ------
        UnreadableMessageError
            It lies more than a day after the arrival, or before 1900: a mistyped year.
        """
        if moment is not None and moment.time > self._arrived + _AHEAD:
            raise UnreadableMessageError("time-beyond-import", field)
        if moment is not None and moment.time < _EARLIEST:
            raise UnreadableMessageError("time-too-early", field)
        return moment

    def code(self, field: str) -> str | None:
        """Return the code of a coded field as ``SYSTEM//code``; None where there is none."""
        message = self.message
        for first in (1, 4):  # the second coding where the first has no code
            code = message.component(field, first)
            if code and code != DELETED:
                return f"{self._system(message.component(field, first + 2))}//{code}"
        return None

    def _system(self, named: str) -> str:
        profile = self.profile
        if not named:
            self.doubt("code-system-missing")
            return profile.without_code_system or profile.name.upper()
        known = profile.all_code_systems.get(named)
        if known is None:
            if not named.startswith("99") and named != "L":
                self.doubt("code-system-unknown", named[:40])
            return named
        return known

    def other_codings(self, field: str, own: str) -> list[dict[str, str]]:
        """Return the second coding of a field as an attribute, where it is another one."""
        message = self.message
        code = message.component(field, 4)
        if not code or code == DELETED:
            return []
        other = f"{self._system(message.component(field, 6))}//{code}"
        return [] if other == own else [{"key": "coding.2", "value": other}]

    def place(self, segment: list[str]) -> int | None:
        """Return the place among events of one time, where the profile says where it is."""
        number = self.profile.sequence.get(segment[0])
        text = self.message.text(segment, number) if number is not None else ""
        return int(text) if text.isdecimal() and len(text) < 18 else None

    def event(
        self,
        row_id: str,
        code: str,
        time: Moment,
        *,
        later: int = 0,
        withdrawn: bool = False,
        **columns: Any,
    ) -> None:
        """Add an event to what was found.

        Parameters
        ----------
        row_id, code : str
        time : Moment
        later : int
            By so many microseconds it was known later than the message was.
        withdrawn : bool
            From then on the event is no more.
        **columns
            Of ``ROWS["events"]``.
        """
        recorded = self.recorded + timedelta(microseconds=later)
        row = {
            "time": time.time,
            "precision": time.precision,
            "code": code,
            "row_id": row_id,
            "recorded": recorded,
            "retracted": recorded if withdrawn else None,
            "recorded_assumed": False,
            **{name: value for name, value in columns.items() if value is not None},
        }
        self.found.events.append(row)


def subject_of(context: Context, field: list[str], place: str = "PID-3") -> str:
    """Choose the patient's number among the repetitions of an identifier field.

    Raises
    ------
    UnreadableMessageError
        None is of the kind that the profile names.
    """
    wanted, message = context.profile.subject, context.message
    for repetition in field:
        number = message.component(repetition, 1)
        if not number or number == DELETED:
            continue
        if wanted.type is not None and message.component(repetition, 5) != wanted.type:
            continue
        if wanted.authority is not None and message.component(repetition, 4) != wanted.authority:
            continue
        return number
    raise UnreadableMessageError("subject-missing", place)


def subject_of_message(context: Context) -> str:
    """Return the patient's number of the message's first PID."""
    pid = context.message.first("PID")
    return subject_of(context, context.message.repetitions(pid, 3))


def stay_of(context: Context, pid: list[str] | None, pv1: list[str] | None) -> str | None:
    """Return the visit number, from where the profile says it is."""
    segment, number, component = context.profile.stay_place
    source = {"PID": pid, "PV1": pv1}.get(segment)
    if source is None and segment not in ("PID", "PV1"):
        source = context.message.first(segment)
    found = context.message.text(source, number, component)
    return found if found and found != DELETED else None
