"""Sessions: who is signed in, until when, and for what purpose patients are viewed."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from neva.errors import ConflictError
from neva.state import tables
from neva.state.columns import required_words, units_of, utc

if TYPE_CHECKING:
    from neva.state.database import Database

__all__ = ["Session", "Sessions"]

#: A session ends after a shift, and after half an hour in which nothing was asked.
LONGEST: Final = timedelta(hours=12)
IDLE: Final = timedelta(minutes=30)
#: `seen` is written at most so often.
_NOTED_EVERY: Final = timedelta(minutes=1)
#: How long a look waits for those who write, to be noted, seconds.
_PATIENCE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Session:
    """A session.

    Attributes
    ----------
    id : str
        SHA-256 of the token that the browser holds.
    account : str
    csrf : str
        What every form of it must carry; derived from the token, stored nowhere.
    """

    id: str
    account: str
    csrf: str


def _id(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _csrf(token: str) -> str:
    return hmac.digest(token.encode(), b"csrf", "sha256").hex()


class Sessions:
    """The sessions of a state; of a token only its hash is kept."""

    def __init__(self, database: Database):
        self._database = database

    def begin(self, account: str, *, at: datetime) -> tuple[str, Session]:
        """Start a session with a new token.

        Returns
        -------
        token : str
            256 random bits, for the cookie; known to nobody else.
        session : Session
        """
        token = secrets.token_urlsafe(32)
        made = Session(_id(token), account, _csrf(token))
        table = tables.sessions
        with self._database.transaction() as connection:
            connection.execute(table.delete().where(table.c.ends < utc(at)))
            connection.execute(tables.purposes.delete().where(tables.purposes.c.until < utc(at)))
            connection.execute(
                table.insert().values(
                    id=made.id,
                    account=account,
                    csrf="",  # derived from the token, which is not kept
                    begun=utc(at),
                    seen=utc(at),
                    ends=utc(at) + LONGEST,
                )
            )
        return token, made

    def find(self, token: str, *, at: datetime, is_act: bool = True) -> Session | None:
        """Return the session of a token, or None if there is none, or it is over.

        Parameters
        ----------
        token : str
        at : datetime
            Aware.
        is_act : bool
            A person asks. What a page asks by itself keeps no session alive.
        """
        table = tables.sessions
        with self._database.reading() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == _id(token))).first()
        now = utc(at)
        if row is None or row.ends <= now or row.seen + IDLE <= now:
            return None
        if is_act and now - row.seen >= _NOTED_EVERY:
            # Whoever reads does not wait for those who write: the next look notes it.
            with (
                contextlib.suppress(ConflictError),
                self._database.transaction(wait=_PATIENCE) as connection,
            ):
                connection.execute(table.update().where(table.c.id == row.id).values(seen=now))
        return Session(row.id, row.account, _csrf(token))

    def open_roles(
        self, sessions: Collection[str], *, at: datetime
    ) -> dict[str, tuple[str, tuple[str, ...] | None]]:
        """Return role and units of those of some sessions that go on; it keeps none alive.

        Sessions of accounts that are disabled do not go on.
        """
        table, accounts = tables.sessions, tables.accounts
        asked = (
            sa.select(table.c.id, accounts.c.role, accounts.c.units)
            .join(accounts, accounts.c.name == table.c.account)
            .where(
                table.c.id.in_(sessions),
                table.c.ends > utc(at),
                table.c.seen > utc(at) - IDLE,
                accounts.c.disabled.is_(False),
            )
        )
        with self._database.reading() as connection:
            rows = connection.execute(asked).all()
        return {row.id: (row.role, units_of(row.units)) for row in rows}

    def end(self, session: str) -> None:
        """End a session, and what it was allowed."""
        with self._database.transaction() as connection:
            table, held = tables.sessions, tables.purposes
            connection.execute(table.delete().where(table.c.id == session))
            connection.execute(held.delete().where(held.c.session == session))

    def end_all(self, account: str, *, within: sa.Connection | None = None) -> None:
        """End every session of an account, and what they were allowed."""
        table, held = tables.sessions, tables.purposes
        with self._database.writing(within) as connection:
            of_account = sa.select(table.c.id).where(table.c.account == account)
            connection.execute(held.delete().where(held.c.session.in_(of_account)))
            connection.execute(table.delete().where(table.c.account == account))

    def end_every(self, *, within: sa.Connection | None = None) -> None:
        """End all sessions, and what they were allowed."""
        with self._database.writing(within) as connection:
            connection.execute(tables.purposes.delete())
            connection.execute(tables.sessions.delete())

    def state_purpose(
        self, session: str, subject: int, purpose: str, *, until: datetime, at: datetime
    ) -> None:
        """Record the purpose of viewing a patient in this session."""
        words = required_words(purpose, "purpose", longest=200)
        table = tables.purposes
        with self._database.transaction() as connection:
            connection.execute(
                table.delete().where(table.c.session == session, table.c.subject == str(subject))
            )
            connection.execute(
                table.insert().values(
                    session=session, subject=str(subject), purpose=words, until=utc(until)
                )
            )
            connection.execute(table.delete().where(table.c.until < utc(at)))

    def purpose_of(self, session: str, subject: int, *, at: datetime) -> str | None:
        """Return the purpose that was stated for a patient and still holds."""
        table = tables.purposes
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(table.c.purpose, table.c.until).where(
                    table.c.session == session, table.c.subject == str(subject)
                )
            ).first()
        return row.purpose if row is not None and row.until > utc(at) else None
