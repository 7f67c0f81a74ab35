"""The audit: who did what, to whose record, when and why; only ever appended to."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection

from neva.errors import ConflictError, UsageError
from neva.state import tables
from neva.state.audit_chain import (
    ORIGIN,
    PLAIN,
    AuditKeys,
    ChainFinding,
    Head,
    chain_findings,
    row_hash,
)
from neva.state.columns import canonical_json, clean, moment_text, required_words, utc

if TYPE_CHECKING:
    from neva.state.database import Database

__all__ = ["ACTIONS", "Audit", "AuditRow"]

#: What is audited, and the CRUDE letter of FHIR's AuditEvent for it.
ACTIONS: Mapping[str, str] = {
    "login": "E",
    "login-refused": "E",
    "viewed": "R",
    "evaluated": "E",
    "card-shown": "E",
    "feedback": "C",
    "rule-changed": "U",
    "work-changed": "U",
    "identity-shown": "R",
    "exported": "R",
    "verified": "R",
    "settings-changed": "U",
    "account-changed": "U",
    "logout": "E",
    "entered": "C",
    "entry-withdrawn": "U",
    "rule-proposed": "C",
    "rule-declined": "U",
    "job-cancelled": "U",
    "imported": "C",
    "task-notified": "E",
    "mapping-accepted": "C",
    "mapping-withdrawn": "U",
    "backed-up": "R",
    "restored": "C",
}

_ACTION = re.compile(r"[a-z]+(-[a-z]+)*")

#: Rows read at once while the chain is walked.
BATCH = 5_000


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the audit.

    Attributes
    ----------
    number : int
        1, 2, 3, … without a gap.
    at : datetime
        Aware, UTC.
    actor, role : str
        Who; a user, a client's issuer, or ``neva``. The role may be None.
    action : str
        One of :data:`ACTIONS`, or a word of a programme's own.
    subject, stay : str or None
        Pseudonyms.
    why : str
    details : str
        JSON; never a clinical value.
    previous, seal, hash : str
        See :mod:`neva.state.audit_chain`.
    """

    number: int
    at: datetime
    actor: str
    role: str | None
    action: str
    subject: str | None
    stay: str | None
    why: str
    details: str
    previous: str
    seal: str
    hash: str


@dataclass(slots=True)
class _Waiting:
    """A row on its way: hashed and written by whoever's turn it is."""

    row: dict[str, Any]
    at: datetime
    head: Head | None = None
    has_failed: bool = False


class Audit:
    """The audit of a state."""

    def __init__(self, database: Database, keys: AuditKeys | None):
        self._database = database
        self._keys = keys
        self._coming, self._turn = threading.Lock(), threading.Lock()
        self._waiting: list[_Waiting] = []

    def append(
        self,
        *,
        at: datetime,
        actor: str,
        action: str,
        why: str,
        role: str | None = None,
        subject: str | int | None = None,
        stay: str | int | None = None,
        details: Mapping[str, Any] | None = None,
        within: Connection | None = None,
    ) -> Head:
        """Append a row.

        Parameters
        ----------
        at : datetime
            Aware.
        actor, action, why : str
            Not empty; `action` is in small letters with hyphens.
        role, subject, stay : optional
            `subject` and `stay` are pseudonyms, never a record number.
        details : mapping, optional
            Text, whole numbers, booleans, lists and mappings of these. A
            fraction is refused: clinical values do not belong here.
        within : Connection, optional
            A transaction of :meth:`State.transaction`.

        Returns
        -------
        Head
            Of the chain, this row being its last.

        Raises
        ------
        UsageError
            `actor`, `action` or `why` say nothing.
        ConflictError
            The chain is sealed, and this state was opened without the key.
        """
        if not _ACTION.fullmatch(action):
            message = (
                "action: must be small letters with hyphens; found another text; write for "
                "example rule-changed"
            )
            raise UsageError(message)
        row: dict[str, Any] = {
            "at": moment_text(at),
            "actor": required_words(actor, "actor"),
            "role": None if role is None else clean(role),
            "action": action,
            "subject": None if subject is None else clean(str(subject)),
            "stay": None if stay is None else clean(str(stay)),
            "why": required_words(why, "why"),
            "details": canonical_json(details or {}),
        }
        waits = _Waiting(row, utc(at))
        if within is not None:
            return self._chained(within, [waits])[0]
        return self._in_turn(waits)

    def _in_turn(self, waits: _Waiting) -> Head:
        """Append a row together with those that other threads wait to append.

        One thread at a time writes what has come until then in one transaction;
        the others find theirs written. Nobody returns before the commit.
        """
        with self._coming:
            self._waiting.append(waits)
        with self._turn:
            if waits.head is None and not waits.has_failed:
                with self._coming:
                    group, self._waiting = self._waiting, []
                try:
                    with self._database.transaction() as connection:
                        heads = self._chained(connection, group)
                except BaseException:
                    for one in group:
                        one.has_failed = True
                    raise
                for one, head in zip(group, heads, strict=True):
                    one.head = head
        if waits.head is None:
            message = (
                f"{self._database.where}: the audit could not be written; found the error of the "
                "request beside this one; try again"
            )
            raise ConflictError(message)
        return waits.head

    def _chained(self, connection: Connection, group: Sequence[_Waiting]) -> list[Head]:
        """Append rows to the chain within a transaction."""
        last = connection.execute(
            sa.select(tables.audit.c.number, tables.audit.c.hash, tables.audit.c.seal)
            .order_by(tables.audit.c.number.desc())
            .limit(1)
        ).first()
        before, previous, seal = last or (0, ORIGIN, PLAIN)
        if seal != PLAIN and self._keys is None:
            message = (
                f"{self._database.where}: its audit is sealed with a key; found none; set "
                "NEVA_AUDIT_KEY to the file of the key"
            )
            raise ConflictError(message)
        heads, rows = [], []
        for number, waits in enumerate(group, before + 1):
            row = waits.row | {
                "number": number,
                "previous": previous,
                "seal": self._keys.seal if self._keys else PLAIN,
            }
            row["hash"] = row_hash(row, previous, self._keys)
            previous = row["hash"]
            heads.append(Head(number, previous))
            rows.append(row | {"at": waits.at})
        connection.execute(tables.audit.insert(), rows)
        return heads

    def head(self) -> Head:
        """Return the last row's number and hash, to be noted elsewhere."""
        with self._database.reading() as connection:
            last = connection.execute(
                sa.select(tables.audit.c.number, tables.audit.c.hash)
                .order_by(tables.audit.c.number.desc())
                .limit(1)
            ).first()
        return Head(last.number, last.hash) if last else Head(0, ORIGIN)

    def verify(self, expected_head: Head | None = None) -> list[ChainFinding]:
        """Walk the whole chain and say what is wrong; nothing: an empty list.

        Parameters
        ----------
        expected_head : Head, optional
            A head noted elsewhere; without it rows removed from the end, and
            an unsealed chain rebuilt as a whole, cannot be seen.

        Returns
        -------
        list of ChainFinding
            At most 100.

        Notes
        -----
        Rows are read in batches of 5,000 and not kept; nobody is held up.
        """
        at = sa.type_coerce(tables.audit.c.at, sa.Text).label("at")
        columns = [at if column.name == "at" else column for column in tables.audit.c]
        with self._database.reading() as connection:
            rows = (dict(row._mapping) for row in _in_batches(connection, sa.select(*columns)))
            return chain_findings(rows, self._keys, expected_head)

    def rows(self, *, first: int | None = None, last: int | None = None) -> Iterator[AuditRow]:
        """Return the rows from number `first` to number `last`, both included.

        They are read as they are asked for, in one transaction that ends with
        the last of them: do not keep the iterator open.
        """
        chosen = sa.select(tables.audit)
        if first is not None:
            chosen = chosen.where(tables.audit.c.number >= first)
        if last is not None:
            chosen = chosen.where(tables.audit.c.number <= last)
        with self._database.reading() as connection:
            for row in _in_batches(connection, chosen):
                yield AuditRow(**row._mapping)

    def between(self, first: datetime, last: datetime) -> pl.DataFrame:
        """Return the rows of a time, [first, last).

        Returns
        -------
        polars.DataFrame
            ``number`` Int64; ``at`` Datetime UTC; ``actor``, ``role``,
            ``action``, ``subject``, ``stay``, ``why``, ``details`` (JSON)
            String.
        """
        table = tables.audit
        names = ("number", "at", "actor", "role", "action", "subject", "stay", "why", "details")
        schema: dict[str, Any] = dict.fromkeys(names, pl.String)
        schema |= {"number": pl.Int64, "at": pl.Datetime("us", "UTC")}
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(*(table.c[name] for name in names))
                .where(table.c.at >= utc(first), table.c.at < utc(last))
                .order_by(table.c.number)
            ).all()
        return pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row")


def _in_batches(connection: Connection, chosen: sa.Select[Any]) -> Iterator[sa.Row[Any]]:
    # pg8000 reads a whole result at once, so a long table is asked for in pieces.
    number = tables.audit.c.number
    piece = chosen.order_by(number).limit(BATCH)
    rows = connection.execute(piece).all()
    while rows:
        yield from rows
        if len(rows) < BATCH:
            return
        rows = connection.execute(piece.where(number > rows[-1].number)).all()
