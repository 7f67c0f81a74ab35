"""From what messages say of a person to what was known, and who was merged into whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar, Final

from neva.intake.stay_histories import Version

__all__ = ["Merges", "PersonStatement", "person_history"]

_DELETED: Final = '""'


class Merges:
    """Records that were merged into others, and since when.

    Parameters
    ----------
    merges : iterable of tuple
        The record that goes, the one that stays, and when that was known. The same pair
        may come again. Where a record that went is later named as one that stays, it
        stands again from then on: no circle lasts.
    """

    def __init__(self, merges: Iterable[tuple[int, int, datetime]]) -> None:
        self._ordered = sorted({*merges}, key=lambda one: (one[2], one[0], one[1]))
        self._changes: dict[int, list[tuple[datetime, int | None]]] = {}
        for gone, into, since in self._ordered:
            self._changes.setdefault(gone, []).append((since, into))
            self._changes.setdefault(into, []).append((since, None))

    def at(self, subject: int, moment: datetime) -> int:
        """Return whose record a pseudonym stands for by what was known at a moment."""
        if not self._changes:
            return subject
        seen = {subject}
        while True:
            into: int | None = None
            for since, other in self._changes.get(subject, ()):
                if since <= moment:
                    into = other
            if into is None or into in seen:
                return subject
            seen.add(into)
            subject = into

    def last(self) -> dict[int, int]:
        """Return for each record that is merged the one that is left in the end."""
        if not self._ordered:
            return {}
        end = self._ordered[-1][2]
        found = {gone: self.at(gone, end) for gone, _, _ in self._ordered}
        return {gone: into for gone, into in found.items() if gone != into}

    def moments(self, subjects: Iterable[int]) -> list[datetime]:
        """Return when something changed about who the records of `subjects` are."""
        found: set[datetime] = set()
        queue, seen = list(subjects), set()
        while queue:
            subject = queue.pop()
            if subject in seen:
                continue
            seen.add(subject)
            for since, into in self._changes.get(subject, ()):
                found.add(since)
                if into is not None:
                    queue.append(into)
        return sorted(found)

    def involved(self, subjects: Iterable[int]) -> list[int]:
        """Return the records that were ever merged into one of `subjects`, at any remove."""
        wanted = {*subjects}
        found: set[int] = set()
        grew = True
        while grew:
            grew = False
            for gone, into, _ in self._ordered:
                if into in wanted | found and gone not in found:
                    found.add(gone)
                    grew = True
        return sorted(found)


@dataclass(frozen=True, slots=True)
class PersonStatement:
    """What one message, or a row of another source, says of a person."""

    TOLD: ClassVar[Sequence[str]] = (
        "subject_id", "recorded", "position", "event", "birth_date", "sex", "death",
        "death_precision",
    )  # fmt: skip
    STORED: ClassVar[Sequence[str]] = (
        "subject_id", "recorded", "retracted", "birth_date", "sex", "death", "death_precision",
    )  # fmt: skip

    subject: int
    recorded: datetime
    position: int
    birth_date: Any
    sex: str | None
    death: Any
    death_precision: str | None
    withdraws: bool

    @classmethod
    def of_message(
        cls,
        subject: int,
        recorded: datetime,
        position: int,
        event: str,
        birth_date: str | None,
        sex: str | None,
        death: str | None,
        death_precision: str | None,
    ) -> PersonStatement:
        """Take what a message says; texts are ISO 8601, ``""`` deletes."""
        is_day = birth_date not in (None, _DELETED)
        is_time = death not in (None, _DELETED)
        return cls(
            subject,
            recorded,
            position,
            date.fromisoformat(birth_date) if is_day and birth_date else birth_date,
            sex,
            datetime.fromisoformat(death) if is_time and death else death,
            death_precision,
            event == "A29",
        )

    @classmethod
    def of_row(
        cls, subject: int, recorded: datetime, retracted: datetime | None, *content: Any
    ) -> PersonStatement:
        """Take what a stored row says."""
        birth_date, sex, death, precision = content
        is_gone = retracted is not None
        return cls(subject, recorded, -1, birth_date, sex, death, precision, is_gone)


_Content = tuple[Any, str | None, Any, str | None]


def _believed(statements: Iterable[PersonStatement]) -> _Content | None:
    """Say what follows from statements in the order in which they were known."""
    found: list[Any] | None = None
    for one in statements:
        if one.withdraws:
            found = None
            continue
        found = [None] * 4 if found is None else found
        for place, value in enumerate((one.birth_date, one.sex)):
            if value is not None:
                found[place] = None if value == _DELETED else value
        if one.death is not None:
            deleted = one.death == _DELETED
            found[2:] = [None, None] if deleted else [one.death, one.death_precision]
    if found is None or not any(value is not None for value in found):
        return None  # a number alone says nothing of a person
    return found[0], found[1], found[2], found[3]


def person_history(
    subject: int,
    statements: Mapping[int, Sequence[PersonStatement]],
    merges: Merges,
    *,
    since: datetime | None = None,
) -> list[Version]:
    """Work out what was ever known of a person.

    Parameters
    ----------
    subject : int
    statements : mapping of int to sequence of PersonStatement
        By pseudonym, of this person and of those merged into it.
    merges : Merges
    since : datetime, optional
        Only what was known from then on, and the last thing before.

    Returns
    -------
    list of Version
        Of ``(birth date, sex, death, its precision)``; None: there is no such record (any
        more). What a record does not say, one that was merged into it may.
    """
    merged = [other for other in merges.involved([subject]) if statements.get(other)]
    every = sorted(
        (one for who in (subject, *merged) for one in statements.get(who, ())),
        key=lambda one: (one.recorded, one.position),
    )
    moments = sorted({one.recorded for one in every} | {*merges.moments([subject, *merged])})
    if since is not None:
        before = [moment for moment in moments if moment < since]
        moments = before[-1:] + moments[len(before) :]
    versions: list[Version] = []
    for moment in moments:
        content: _Content | None = None
        if merges.at(subject, moment) == subject:
            known = [one for one in every if one.recorded <= moment]
            own = _believed(one for one in known if one.subject == subject)
            theirs = [
                _believed(one for one in known if one.subject == other)
                for other in merged
                if merges.at(other, moment) == subject
            ]
            content = _filled([own, *theirs])
        if content is None and not versions:
            continue
        if versions and versions[-1].content == content:
            continue
        versions.append(Version(moment, content))
    return versions


def _filled(contents: Sequence[_Content | None]) -> _Content | None:
    there = [one for one in contents if one is not None]
    if not there:
        return None
    birth_date = next((one[0] for one in there if one[0] is not None), None)
    sex = next((one[1] for one in there if one[1] is not None), None)
    death = next(((one[2], one[3]) for one in there if one[2] is not None), (None, None))
    return birth_date, sex, *death
