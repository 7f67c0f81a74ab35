"""Feedback on cards, as CDS Hooks 2.0 posts it: accepted or overridden, and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Never

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite

from neva.errors import BadInputError
from neva.state import tables
from neva.state.columns import clean, moment_text, required_words, utc

if TYPE_CHECKING:
    from neva.state.audit import Audit
    from neva.state.database import Database

__all__ = ["Feedback", "FeedbackEntry", "FeedbackReceipt"]

OUTCOMES = ("accepted", "overridden")

#: A clinician's comment and a reason's label may be this long.
LONGEST_TEXT = 10_000

#: Entries of one post.
MOST_ENTRIES: Final = 100
#: Different entries about one card: a second thought, not a thousandth.
MOST_PER_CARD: Final = 20
#: So far may the clocks of a client and of this machine be apart.
CLOCKS_APART: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class FeedbackEntry:
    """The response to one card.

    Attributes
    ----------
    card : str
        UUID of the card.
    outcome : str
        ``accepted`` or ``overridden``.
    outcome_at : datetime
        Aware; when the user acted.
    accepted_suggestions : tuple of str
        UUIDs; at least one if accepted.
    reason_code, reason_system, reason_display : str or None
        The coded reason of an override.
    comment : str or None
        The user's own words; they may name a patient, so they stay here.
    """

    card: str
    outcome: str
    outcome_at: datetime
    accepted_suggestions: tuple[str, ...] = ()
    reason_code: str | None = None
    reason_system: str | None = None
    reason_display: str | None = None
    comment: str | None = None

    @classmethod
    def read(cls, posted: object, where: str = "feedback") -> FeedbackEntry:
        """Read one element of the array ``feedback`` of a posted document.

        What the specification does not name is ignored.

        Raises
        ------
        BadInputError
            A field is absent or of the wrong type; `where` says which.

        Examples
        --------
        >>> FeedbackEntry.read({"card": "c1", "outcome": "overridden",
        ...                     "outcomeTimestamp": "2026-01-01T08:00:00Z"}).outcome
        'overridden'
        """
        if not isinstance(posted, Mapping):
            _refuse_feedback(where, "must be an object", posted)
        outcome = _required_text(posted, "outcome", where)
        if outcome not in OUTCOMES:
            _refuse_feedback(f"{where}.outcome", "must be accepted or overridden", "another text")
        # Some clients write null for what is absent; that must not lose feedback.
        suggestions = _unless_null(posted, "acceptedSuggestions", [])
        if not isinstance(suggestions, list):
            _refuse_feedback(f"{where}.acceptedSuggestions", "must be an array", suggestions)
        accepted = tuple(
            _required_text(one, "id", f"{where}.acceptedSuggestions[{k}]")
            for k, one in enumerate(suggestions)
        )
        if outcome == "accepted" and not accepted:
            _refuse_feedback(f"{where}.acceptedSuggestions", "must name what was accepted", None)
        override = _unless_null(posted, "overrideReason", {})
        if not isinstance(override, Mapping):
            _refuse_feedback(f"{where}.overrideReason", "must be an object", override)
        reason = _unless_null(override, "reason", {})
        if not isinstance(reason, Mapping):
            _refuse_feedback(f"{where}.overrideReason.reason", "must be a Coding", reason)
        about = f"{where}.overrideReason"
        return cls(
            card=_required_text(posted, "card", where),
            outcome=outcome,
            outcome_at=_moment(_required_text(posted, "outcomeTimestamp", where), where),
            accepted_suggestions=accepted,
            reason_code=_required_text(reason, "code", f"{about}.reason") if reason else None,
            reason_system=_optional(reason, "system", f"{about}.reason"),
            reason_display=_optional(reason, "display", f"{about}.reason"),
            comment=_optional(override, "userComment", about),
        )

    def fingerprint(self, service: str) -> str:
        """Return what makes two posts the same post."""
        content = [
            clean(service),
            self.card,
            self.outcome,
            moment_text(self.outcome_at),
            sorted(self.accepted_suggestions),
            [self.reason_code, self.reason_system, self.reason_display, self.comment],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class FeedbackReceipt:
    """What was done with a post.

    Attributes
    ----------
    new : int
        Entries that were written.
    repeated : int
        Entries that were there before; counted, not written again.
    """

    new: int
    repeated: int


class Feedback:
    """The feedback on all cards."""

    def __init__(self, database: Database, audit: Audit):
        self._database = database
        self._audit = audit

    def record(
        self,
        service: str,
        entries: Iterable[FeedbackEntry | Mapping[str, Any]],
        *,
        at: datetime,
        actor: str = "cds-client",
        role: str | None = None,
        client: str | None = None,
        tenant: str | None = None,
        within: Connection | None = None,
    ) -> FeedbackReceipt:
        """Keep what a client posted, and audit it in the same transaction.

        The same entry again changes nothing but a counter. All entries of a
        post are kept, or none.

        Parameters
        ----------
        service : str
            Id of the CDS service.
        entries : iterable of FeedbackEntry or mapping
            A mapping is an element of the posted array ``feedback``.
        at : datetime
            Aware; when it was received.
        actor, role : str
            Who posted, for the audit.
        client, tenant : str, optional
            The issuer of the client that posted, and the organisation that it
            speaks for; None where clients have no tokens.

        Raises
        ------
        BadInputError
            An entry is not feedback; its card was not given to this client by
            this service; its time is not between the card and now; there are
            too many. The message names the field.
        """
        service = required_words(service, "service", longest=200)
        entries = list(entries)
        if len(entries) > MOST_ENTRIES:
            message = (
                f"feedback: too many entries; found {len(entries):,}; send at most {MOST_ENTRIES} "
                "in one post"
            )
            raise BadInputError(message)
        read = [
            entry
            if isinstance(entry, FeedbackEntry)
            else FeedbackEntry.read(entry, f"feedback[{k}]")
            for k, entry in enumerate(entries)
        ]
        with self._database.writing(within) as connection:
            given = _given_cards(connection, read, service, client, tenant)
            for number, entry in enumerate(read):
                _check(entry, given.get(entry.card), at, f"feedback[{number}]")
            new = sum(_write(connection, service, entry, at) for entry in read)
            _refuse_too_many(connection, read)
            receipt = FeedbackReceipt(new=new, repeated=len(read) - new)
            if read:
                self._audit.append(
                    at=at,
                    actor=actor,
                    role=role,
                    action="feedback",
                    why="a client reported the responses to cards",
                    details={
                        "service": service,
                        "entries": len(read),
                        "new": receipt.new,
                        "repeated": receipt.repeated,
                        "cards": sorted({entry.card for entry in read})[:100],
                    },
                    within=connection,
                )
        return receipt

    def between(self, first: datetime, last: datetime) -> pl.DataFrame:
        """Return the feedback received in [first, last), in the order it came.

        Returns
        -------
        polars.DataFrame
            ``service``, ``card``, ``outcome``, ``reason_code``,
            ``reason_system``, ``reason_display``, ``comment`` String;
            ``accepted_suggestions`` List(String); ``outcome_at``,
            ``received`` Datetime UTC; ``times_received`` Int64;
            ``card_known`` Boolean, whether the card is in the card log.
        """
        table = tables.feedback
        schema: dict[str, Any] = {
            "service": pl.String,
            "card": pl.String,
            "outcome": pl.String,
            "accepted_suggestions": pl.List(pl.String),
            "reason_code": pl.String,
            "reason_system": pl.String,
            "reason_display": pl.String,
            "comment": pl.String,
            "outcome_at": pl.Datetime("us", "UTC"),
            "received": pl.Datetime("us", "UTC"),
            "times_received": pl.Int64,
            "card_known": pl.Boolean,
        }
        known = sa.exists().where(tables.cards.c.card == table.c.card).label("card_known")
        stored = [name for name in schema if name != "card_known"]
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(*(table.c[name] for name in stored), known)
                .where(table.c.received >= utc(first), table.c.received < utc(last))
                .order_by(table.c.id)
            ).all()
        content = [
            dict(row._mapping)
            | {
                "accepted_suggestions": json.loads(row.accepted_suggestions),
                "card_known": bool(row.card_known),
            }
            for row in rows
        ]
        return pl.DataFrame(content, schema=schema, orient="row")


def _write(connection: Connection, service: str, entry: FeedbackEntry, at: datetime) -> bool:
    """Write an entry; False if it was there."""
    table = tables.feedback
    fingerprint = entry.fingerprint(service)
    insert = (sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert)(table)
    written = connection.execute(
        insert.values(
            fingerprint=fingerprint,
            service=service,
            card=entry.card,
            outcome=entry.outcome,
            accepted_suggestions=json.dumps(entry.accepted_suggestions),
            reason_code=entry.reason_code,
            reason_system=entry.reason_system,
            reason_display=entry.reason_display,
            comment=entry.comment,
            outcome_at=entry.outcome_at,
            received=utc(at),
            times_received=1,
        ).on_conflict_do_nothing()
    )
    if written.rowcount == 1:
        return True
    connection.execute(
        table.update()
        .where(table.c.fingerprint == fingerprint)
        .values(times_received=table.c.times_received + 1)
    )
    return False


def _given_cards(
    connection: Connection,
    entries: list[FeedbackEntry],
    service: str,
    client: str | None,
    tenant: str | None,
) -> dict[str, datetime]:
    """Return when each card was made that a service has given to a client."""
    table = tables.cards
    chosen = sa.select(table.c.card, sa.func.min(table.c.now)).where(
        table.c.card.in_(sorted({entry.card for entry in entries})),
        table.c.shown.is_(True),
        table.c.service == clean(service),
        table.c.client.is_not_distinct_from(client),
        table.c.tenant.is_not_distinct_from(tenant),
    )
    rows = connection.execute(chosen.group_by(table.c.card)).all()
    return {row[0]: row[1] for row in rows}


def _check(entry: FeedbackEntry, made: datetime | None, at: datetime, where: str) -> None:
    """Refuse feedback on a card of somebody else's, or of a time that cannot be."""
    if made is None:
        message = (
            f"{where}.card: must be a card that this service gave to this client; found another; "
            "send feedback to the service that the card came from"
        )
        raise BadInputError(message)
    if not made - CLOCKS_APART <= entry.outcome_at <= utc(at) + CLOCKS_APART:
        message = (
            f"{where}.outcomeTimestamp: must be between the card and now; found another time; "
            "check the clock of the client"
        )
        raise BadInputError(message)


def _refuse_too_many(connection: Connection, entries: list[FeedbackEntry]) -> None:
    table = tables.feedback
    most = connection.execute(
        sa.select(sa.func.count().label("entries"))
        .where(table.c.card.in_(sorted({entry.card for entry in entries})))
        .group_by(table.c.card)
        .order_by(sa.desc("entries"))
        .limit(1)
    ).scalar()
    if most is not None and most > MOST_PER_CARD:
        message = (
            "feedback: too many different entries about one card; found more than "
            f"{MOST_PER_CARD}; send each response once"
        )
        raise BadInputError(message)


def _refuse_feedback(where: str, what: str, found: object) -> Never:
    kind = found if found == "another text" else _kind(found)
    message = f"{where}: {what}; found {kind}; see 'Feedback' in CDS Hooks 2.0"
    raise BadInputError(message)


def _kind(found: object) -> str:
    if found is None:
        return "nothing"
    kinds = {str: "text", bool: "a boolean", list: "an array", dict: "an object"}
    return kinds.get(type(found), "a number")


def _unless_null(holder: Mapping[str, Any], name: str, absent: Any) -> Any:
    value = holder.get(name)
    return absent if value is None else value


def _required_text(holder: object, name: str, where: str, *, longest: int = 200) -> str:
    if not isinstance(holder, Mapping):
        _refuse_feedback(where, "must be an object", holder)
    value = holder.get(name)
    if not isinstance(value, str) or not value.strip():
        _refuse_feedback(f"{where}.{name}", "must be text that is not empty", value or None)
    if len(value) > longest:
        _refuse_feedback(f"{where}.{name}", f"must be at most {longest:,} characters", value)
    return clean(value)


def _optional(holder: Mapping[str, Any], name: str, where: str) -> str | None:
    value = holder.get(name)
    if value is None or value == "":
        return None
    return _required_text(holder, name, where, longest=LONGEST_TEXT)


def _moment(text: str, where: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        # The specification says that it is in UTC, so some leave the offset out.
        return utc(time if time.tzinfo else time.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        _refuse_feedback(f"{where}.outcomeTimestamp", "must be a time in ISO 8601", "another text")
