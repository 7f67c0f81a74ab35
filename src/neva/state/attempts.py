"""Attempts to sign in: guessing is slowed down, and nobody else is locked out."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from neva.state import tables
from neva.state.columns import utc

if TYPE_CHECKING:
    from neva.state.database import Database

__all__ = ["Attempts", "Devices"]

#: So many failures in a row cost nothing; then a wait of a second, two, four, …
FREE: Final = 5
#: Of a name, from wherever, and of an address, whatever the name: a hospital
#: may stand behind one address.
FREE_OF_NAME: Final = 10
FREE_OF_ADDRESS: Final = 50
#: Other people's failures make nobody wait longer than this.
LONGEST_FOR_OTHERS: Final = timedelta(seconds=30)
#: The wait doubles so often until it is the longest.
_STEPS: Final = 5
#: One's own: 30 seconds too, and this from so many failures on.
MANY: Final = 20
LONGEST: Final = timedelta(minutes=5)
#: One failure is forgotten in so long.
FORGOTTEN_IN: Final = timedelta(minutes=10)
FORGOTTEN_IN_OF_OTHERS: Final = timedelta(seconds=18)
#: Whoever was told to wait may come so long after the wait.
MAY_COME_WITHIN: Final = timedelta(minutes=5)
#: Names can be invented without end; the least tried are dropped first.
MOST_ROWS: Final = 50_000
_DROPPED_AT_ONCE: Final = 1_000

#: A device is known for so long after somebody last signed in at it.
DEVICE_KNOWN_FOR: Final = timedelta(days=90)
#: Devices of one account; the one that was used least lately is forgotten.
MOST_DEVICES: Final = 20


def _hash(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Count:
    """Failures of one kind, as they are now."""

    failures: float = 0.0
    next: datetime | None = None


def _wait(failures: float, free: int) -> timedelta:
    """Return the wait after so many failures: none, a second, two, four, at most thirty."""
    over = ceil(failures) - free
    if over < 0:
        return timedelta(0)
    return min(timedelta(seconds=2 ** min(over, _STEPS)), LONGEST_FOR_OTHERS)


def _own_wait(failures: float) -> timedelta:
    return LONGEST if failures >= MANY else _wait(failures, FREE)


class Attempts:
    """Attempts to sign in, counted by name and address; only hashes of these are kept.

    A name at an address has a wait of its own, which grows with its failures.
    Failures of the name elsewhere, or of other names at the address, make who
    comes there for the first time wait too, but never longer than
    :data:`LONGEST_FOR_OTHERS`, and never push back a wait that has begun. A
    device at which the account has signed in before has a count of its own,
    which nothing that happens elsewhere touches.
    """

    def __init__(self, database: Database):
        self._database = database

    def begin(
        self, name: str, address: str, *, at: datetime, device: str | None = None
    ) -> timedelta:
        """Count an attempt before it is checked: it is a failure until it succeeded.

        Many guesses at one moment are no way round the wait.

        Parameters
        ----------
        name : str
            As it was typed; capitals do not matter.
        address : str
        at : datetime
            Aware.
        device : str, optional
            The token of a device that is known for this name.

        Returns
        -------
        timedelta
            Zero: it is counted, and the password may be checked. Else how long
            to wait before trying again; it is not counted.
        """
        now = utc(at)
        own, others = self._keys(name, address, device)
        with self._database.reading() as connection:
            # Whoever does not wait is refused without a write.
            wait = _left(self._count(connection, own, now), now)
        if wait:
            return wait
        with self._database.transaction() as connection:
            self._forget(connection, now)
            count = self._count(connection, own, now)
            wait = _left(count, now)
            if wait:
                return wait
            counts = [(key, free, self._count(connection, key, now)) for key, free in others]
            shared = max(
                (_wait(one.failures, free) for _, free, one in counts), default=timedelta(0)
            )
            if shared and count.next is None:
                self._put(connection, own, 0.0, now + shared, FORGOTTEN_IN, now)
                return shared
            # No more are counted than make the longest wait: it ends soon after they do.
            for key, free, one in counts:
                failures = min(one.failures + 1, free + _STEPS)
                self._put(connection, key, failures, now, FORGOTTEN_IN_OF_OTHERS, now)
            failures = min(count.failures + 1, MANY)
            following = now + max(shared, _own_wait(failures))
            self._put(connection, own, failures, following, FORGOTTEN_IN, now)
        return timedelta(0)

    def succeeded(self, name: str, address: str, *, device: str | None = None) -> None:
        """Forget the failures of a name at an address or device, and of the name.

        Those of the address stay: who has one account may not guess others' for ever.
        """
        table = tables.attempts
        own, _ = self._keys(name, address, device)
        known = (own, _hash("name", name.lower()))
        with self._database.transaction() as connection:
            connection.execute(table.delete().where(table.c.what.in_(known)))
            if device is None:
                key = _hash("address", address)
                connection.execute(
                    table.update()
                    .where(table.c.what == key, table.c.failures >= 1)
                    .values(failures=table.c.failures - 1)
                )

    @staticmethod
    def _keys(
        name: str, address: str, device: str | None
    ) -> tuple[str, tuple[tuple[str, int], ...]]:
        name = name.lower()
        if device is not None:
            return _hash("device", name, device), ()
        return _hash("pair", name, address), (
            (_hash("name", name), FREE_OF_NAME),
            (_hash("address", address), FREE_OF_ADDRESS),
        )

    @staticmethod
    def _count(connection: sa.Connection, what: str, now: datetime) -> _Count:
        table = tables.attempts
        row = connection.execute(sa.select(table).where(table.c.what == what)).first()
        if row is None or row.until <= now:
            return _Count()
        gone = max(now - row.at, timedelta(0)) / timedelta(seconds=row.forgotten_in)
        return _Count(max(row.failures - gone, 0.0), row.next)

    @staticmethod
    def _put(
        connection: sa.Connection,
        what: str,
        failures: float,
        following: datetime,
        forgotten_in: timedelta,
        now: datetime,
    ) -> None:
        table = tables.attempts
        connection.execute(table.delete().where(table.c.what == what))
        connection.execute(
            table.insert().values(
                what=what,
                failures=failures,
                at=now,
                next=following,
                forgotten_in=int(forgotten_in.total_seconds()),
                until=max(now + failures * forgotten_in, following + MAY_COME_WITHIN),
            )
        )

    @staticmethod
    def _forget(connection: sa.Connection, now: datetime) -> None:
        table = tables.attempts
        connection.execute(table.delete().where(table.c.until <= now))
        rows = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        if rows >= MOST_ROWS:
            least = (
                sa.select(table.c.what)
                .order_by(table.c.failures, table.c.at)
                .limit(_DROPPED_AT_ONCE)
                .subquery()
            )
            connection.execute(table.delete().where(table.c.what.in_(sa.select(least.c.what))))


def _left(count: _Count, now: datetime) -> timedelta:
    return timedelta(0) if count.next is None else max(count.next - now, timedelta(0))


class Devices:
    """Devices at which accounts have signed in; of a device's token only a hash is kept."""

    def __init__(self, database: Database):
        self._database = database

    def knows(self, token: str | None, account: str, *, at: datetime) -> bool:
        """Say whether an account has signed in at a device, and has kept its password since."""
        if not token:
            return False
        return self._find(token, account, at) is not None

    def _find(self, token: str, account: str | None, at: datetime) -> Any:
        table = tables.devices
        chosen = sa.select(table).where(
            table.c.device == _hash("device", token), table.c.until > utc(at)
        )
        if account is not None:
            chosen = chosen.where(table.c.account == account)
        with self._database.reading() as connection:
            return connection.execute(chosen.limit(1)).first()

    def remember(self, token: str | None, account: str, *, at: datetime) -> str:
        """Remember that an account has signed in at a device.

        Parameters
        ----------
        token : str, optional
            What the device holds. One that no account is known by is replaced:
            nobody chooses it.
        account : str
        at : datetime
            Aware.

        Returns
        -------
        str
            The token that the device is to hold; several accounts may share it.
        """
        if not token or self._find(token, None, at) is None:
            token = secrets.token_urlsafe(32)
        table, device = tables.devices, _hash("device", token)
        with self._database.transaction() as connection:
            connection.execute(table.delete().where(table.c.until <= utc(at)))
            connection.execute(
                table.delete().where(table.c.device == device, table.c.account == account)
            )
            newest = (
                sa.select(table.c.device)
                .where(table.c.account == account)
                .order_by(table.c.until.desc())
                .limit(MOST_DEVICES - 1)
                .subquery()
            )
            connection.execute(
                table.delete().where(
                    table.c.account == account,
                    table.c.device.not_in(sa.select(newest.c.device)),
                )
            )
            connection.execute(
                table.insert().values(
                    device=device, account=account, until=utc(at) + DEVICE_KNOWN_FOR
                )
            )
        return token

    def forget_all(self, account: str, *, within: sa.Connection | None = None) -> None:
        """Forget every device of an account: at its next sign-in each is a strange one."""
        table = tables.devices
        with self._database.writing(within) as connection:
            connection.execute(table.delete().where(table.c.account == account))
