"""Entries: what people enter about a stay, kept until it is in the store, and after."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from neva.errors import NotFoundError
from neva.state import tables
from neva.state.columns import canonical_json, utc

if TYPE_CHECKING:
    from neva.state.audit import Audit
    from neva.state.database import Database

__all__ = ["Entries", "StoredEntry", "new_entry"]


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry, as it was made, and whether it was withdrawn.

    Attributes
    ----------
    id, subject : str
        `subject` and `stay` are pseudonyms.
    stay : str or None
    kind : str
        Of :data:`neva.events.operational_codes.KINDS`.
    value : str or None
    start, end : datetime or None
        Aware.
    actor : str
    at : datetime
        When it was entered.
    withdrawn_at : datetime or None
    details : mapping of str to str
    """

    id: str
    subject: str
    stay: str | None
    kind: str
    value: str | None
    start: datetime | None
    end: datetime | None
    actor: str
    at: datetime
    withdrawn_at: datetime | None
    details: Mapping[str, str] = field(default_factory=dict)


def _entry(row: Any) -> StoredEntry:
    return StoredEntry(
        row.id,
        row.subject,
        row.stay,
        row.kind,
        row.value,
        row.start,
        row.end,
        row.actor,
        row.at,
        row.withdrawn_at,
        json.loads(row.details),
    )


def new_entry() -> str:
    """Name a new entry; names of later ones come later in the alphabet.

    The time of day outside decides, not the *now* of a study, at which many
    entries are made.

    Examples
    --------
    >>> first = new_entry()
    >>> first < new_entry(), len(first)
    (True, 32)
    """
    return f"{time.time_ns():016x}{secrets.token_hex(8)}"


class Entries:
    """The entries of a state."""

    def __init__(self, database: Database, audit: Audit):
        self._database = database
        self._audit = audit

    def add(
        self,
        *,
        id: str,  # noqa: A002
        subject: str,
        stay: str | None,
        kind: str,
        value: str | None,
        details: Mapping[str, str],
        start: datetime | None,
        end: datetime | None,
        actor: str,
        role: str | None = None,
        at: datetime,
    ) -> None:
        """Keep an entry; audited, without its value."""
        with self._database.transaction() as connection:
            connection.execute(
                tables.entries.insert().values(
                    id=id,
                    subject=subject,
                    stay=stay,
                    kind=kind,
                    value=value,
                    details=canonical_json(dict(details)),
                    start=start,
                    end=end,
                    actor=actor,
                    at=utc(at),
                    flushed=False,
                )
            )
            self._audit.append(
                at=at,
                actor=actor,
                role=role,
                action="entered",
                why=f"entered: {kind}",
                subject=subject,
                stay=stay,
                details={"entry": id},
                within=connection,
            )

    def withdraw(self, entry: str, *, actor: str, role: str | None = None, at: datetime) -> None:
        """Withdraw an entry; once withdrawn it stays so.

        Raises
        ------
        NotFoundError
        """
        table = tables.entries
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == entry)).first()
            if row is None:
                message = "entry: there is none of that id; found none; see the list of entries"
                raise NotFoundError(message)
            if row.withdrawn_at is not None:
                return
            connection.execute(
                table.update()
                .where(table.c.id == entry)
                .values(withdrawn_at=utc(at), withdrawn_by=actor, flushed=False)
            )
            self._audit.append(
                at=at,
                actor=actor,
                role=role,
                action="entry-withdrawn",
                why=f"withdrawn: {row.kind}",
                subject=row.subject,
                stay=row.stay,
                details={"entry": entry},
                within=connection,
            )

    def get(self, entry: str) -> StoredEntry | None:
        """Return an entry, or None."""
        table = tables.entries
        with self._database.reading() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == entry)).first()
        return None if row is None else _entry(row)

    def actors(self, entries: Sequence[str]) -> dict[str, str]:
        """Return who made some entries, by their ids."""
        table = tables.entries
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(table.c.id, table.c.actor).where(table.c.id.in_(entries))
            ).all()
        return {row.id: row.actor for row in rows}

    def unflushed(self) -> list[StoredEntry]:
        """Return entries that the store does not have yet, or not as withdrawn."""
        table = tables.entries
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(table).where(table.c.flushed.is_(False)).order_by(table.c.at, table.c.id)
            ).all()
        return [_entry(row) for row in rows]

    def flushed(self, entries: Sequence[StoredEntry]) -> None:
        """Say that the store has these, exactly as they are here."""
        table = tables.entries
        with self._database.transaction() as connection:
            for one in entries:
                same = (
                    table.c.withdrawn_at.is_(None)
                    if one.withdrawn_at is None
                    else table.c.withdrawn_at == utc(one.withdrawn_at)
                )
                connection.execute(
                    table.update().where(table.c.id == one.id, same).values(flushed=True)
                )
