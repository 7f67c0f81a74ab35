"""The card log: every card that was made, shown or not, and why not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection

from neva.state import tables
from neva.state.columns import required_words, utc

if TYPE_CHECKING:
    from neva.state.audit import Audit
    from neva.state.database import Database

__all__ = ["CardEntry", "CardLog"]

STATES = ("silent", "live")


@dataclass(frozen=True, slots=True)
class CardEntry:
    """One card that a rule made.

    Attributes
    ----------
    card : str
        UUID; a client names it in its feedback.
    rule, version, hash : str
        The rule and exactly which definition of it.
    subject : str
        Pseudonym, or a hash of it; never a record number. A number is kept as text.
    stay, unit : str or None
    now : datetime
        Aware; the time the rule was evaluated for.
    hook : str or None
        Of CDS Hooks; None where a page or a batch asked.
    state : str
        ``silent`` or ``live``: the rule's state then.
    indicator : str
        ``info``, ``warning`` or ``critical``.
    shown : bool
        Whether it was handed out; a silent card never is.
    suppressed_because : str or None
        A reason code; None if it was not suppressed.
    severity : float or None
        How bad, by the rule; a worse one breaks the rule's quiet hours.
    inputs_hash : str
        Of the inputs, so that the same inputs can be recognised.
    work_key : str or None
        Of the item of the work list it belongs to.
    service, client, tenant : str or None
        The CDS service that made it, and to whom it was given: the client's
        issuer and the organisation that it spoke for. They alone give feedback.
    """

    card: str
    rule: str
    version: str
    hash: str
    subject: str
    now: datetime
    state: str
    indicator: str
    shown: bool
    inputs_hash: str
    severity: float | None = None
    stay: str | None = None
    unit: str | None = None
    hook: str | None = None
    suppressed_because: str | None = None
    work_key: str | None = None
    service: str | None = None
    client: str | None = None
    tenant: str | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            message = f"state: must be silent or live; found {self.state!r}"
            raise ValueError(message)
        if self.shown and (self.state == "silent" or self.suppressed_because is not None):
            message = "shown: a silent or suppressed card is not shown"
            raise ValueError(message)
        required_words(self.card, "card", longest=200)
        utc(self.now, "now")


SCHEMA: dict[str, Any] = {
    **{field.name: pl.String for field in fields(CardEntry)},
    "now": pl.Datetime("us", "UTC"),
    "shown": pl.Boolean,
    "severity": pl.Float64,
}


def _row(entry: CardEntry) -> dict[str, Any]:
    row = {name: getattr(entry, name) for name in SCHEMA}
    for name in ("subject", "stay"):
        # The store's ids are numbers; here they are text.
        row[name] = None if row[name] is None else str(row[name])
    return row


class CardLog:
    """The log of cards."""

    def __init__(self, database: Database, audit: Audit):
        self._database = database
        self._audit = audit

    def record(
        self,
        entries: Iterable[CardEntry],
        *,
        actor: str = "neva",
        why: str = "rules were evaluated",
        role: str | None = None,
        at: datetime | None = None,
        within: Connection | None = None,
    ) -> int:
        """Write the cards of one call, and one row of the audit, in one transaction.

        Parameters
        ----------
        entries : iterable of CardEntry
            None of them: nothing is written, not even to the audit; a call
            without a card is audited by its door, as ``evaluated``.
        actor, role, why : str
            Who asked (the client's issuer, a user), and for what.
        at : datetime, optional
            Aware; without it the latest `now` of the entries.
        within : Connection, optional
            A transaction of :meth:`State.transaction`.

        Returns
        -------
        int
            How many were written.
        """
        rows = [_row(entry) for entry in entries]
        if not rows:
            return 0
        subjects = {row["subject"] for row in rows}
        stays = {row["stay"] for row in rows}
        with self._database.writing(within) as connection:
            connection.execute(tables.cards.insert(), rows)
            self._audit.append(
                at=at or max(row["now"] for row in rows),
                actor=actor,
                role=role,
                action="card-shown" if any(row["shown"] for row in rows) else "evaluated",
                subject=subjects.pop() if len(subjects) == 1 else None,
                stay=stays.pop() if len(stays) == 1 else None,
                why=why,
                details={
                    "cards": len(rows),
                    "shown": sum(row["shown"] for row in rows),
                    "silent": sum(row["state"] == "silent" for row in rows),
                    "rules": sorted({row["rule"] for row in rows}),
                    "subjects": len({row["subject"] for row in rows}),
                },
                within=connection,
            )
        return len(rows)

    def last_raised(
        self,
        subject: str,
        stay: str | None,
        *,
        since: datetime,
        until: datetime,
        within: Connection | None = None,
    ) -> dict[str, tuple[datetime, float | None]]:
        """Return for each rule when its last card was raised for a stay, and its severity.

        Cards of silent rules count, those that were held back do not: what
        matters is when the rule last spoke, or would have.

        Parameters
        ----------
        subject, stay
            As in the entries.
        since, until : datetime
            Aware; cards of [since, until) are read.
        """
        table = tables.cards
        chosen = (
            sa.select(table.c.rule, table.c.now, table.c.severity)
            .where(
                table.c.subject == subject,
                table.c.stay.is_(None) if stay is None else table.c.stay == stay,
                table.c.suppressed_because.is_(None),
                table.c.now >= utc(since),
                table.c.now < utc(until),
            )
            .order_by(table.c.now, table.c.id)
        )
        with self._database.reading(within) as connection:
            rows = connection.execute(chosen).all()
        return {rule: (now, severity) for rule, now, severity in rows}

    def between(self, first: datetime, last: datetime) -> pl.DataFrame:
        """Return the cards of [first, last) by `now`, in the order they were written.

        Returns
        -------
        polars.DataFrame
            The columns of :class:`CardEntry`; ``now`` Datetime UTC, ``shown``
            Boolean, the others String.
        """
        table = tables.cards
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(*(table.c[name] for name in SCHEMA))
                .where(table.c.now >= utc(first), table.c.now < utc(last))
                .order_by(table.c.id)
            ).all()
        return pl.DataFrame([tuple(row) for row in rows], schema=SCHEMA, orient="row")
