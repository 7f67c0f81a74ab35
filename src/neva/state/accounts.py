"""Accounts: who may sign in, in which role, for which units."""

from __future__ import annotations

import json
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from neva.errors import ConflictError, NotFoundError, UsageError
from neva.state import tables
from neva.state.columns import required_words, units_of, utc

if TYPE_CHECKING:
    from neva.state.attempts import Devices
    from neva.state.audit import Audit
    from neva.state.database import Database
    from neva.state.sessions import Sessions

__all__ = ["ROLES", "SHORTEST_PASSWORD", "Account", "Accounts"]

#: What somebody may be: each sees what is written in the table of access.
ROLES: Final = ("viewer", "analyst", "clinician", "administrator")

#: NIST SP 800-63B asks for at least eight characters and no rules of composition.
SHORTEST_PASSWORD: Final = 10
_LONGEST_PASSWORD: Final = 1000

#: argon2id with RFC 9106's second choice: 64 MiB and three passes.
HASHER = PasswordHasher()
#: Each hash takes 64 MiB: so many are made at once, others wait.
_AT_ONCE: Final = threading.BoundedSemaphore(4)


@dataclass(frozen=True, slots=True)
class Account:
    """An account.

    Attributes
    ----------
    name : str
        The name to sign in with; recorded in the audit.
    shown : str
        What pages call them.
    role : str
        One of :data:`ROLES`.
    units : tuple of str or None
        The units whose patients they may see; None: all.
    issuer : str or None
        The provider of identities that signs them in; None: a password here.
    disabled : bool
    has_password : bool
    """

    name: str
    shown: str
    role: str
    units: tuple[str, ...] | None
    issuer: str | None
    disabled: bool
    has_password: bool = False


def _same_letters(password: str) -> bytes:
    # The same letters typed on two keyboards are the same password (NIST SP 800-63B-4, 3.1.1.2).
    return unicodedata.normalize("NFKC", password).encode("utf-8", "replace")


def _account(row: Any) -> Account:
    units = units_of(row.units)
    return Account(row.name, row.shown, row.role, units, row.issuer, bool(row.disabled),
                   row.password is not None)  # fmt: skip


class Accounts:
    """The accounts of a state."""

    def __init__(self, database: Database, audit: Audit, sessions: Sessions, devices: Devices):
        self._database = database
        self._audit = audit
        self._sessions = sessions
        self._devices = devices
        self._nobody: str | None = None

    def all(self) -> list[Account]:
        """Return every account, by name."""
        table = tables.accounts
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.name)).all()
        return [_account(row) for row in rows]

    def get(self, name: str) -> Account | None:
        """Return an account, or None."""
        with self._database.reading() as connection:
            row = self._row(connection, name)
        return None if row is None else _account(row)

    @staticmethod
    def _row(connection: sa.Connection, name: str) -> Any:
        table = tables.accounts
        return connection.execute(sa.select(table).where(table.c.name == name)).first()

    def put(
        self,
        name: str,
        *,
        role: str,
        shown: str = "",
        units: Sequence[str] | None = None,
        password: str | None = None,
        issuer: str | None = None,
        disabled: bool = False,
        actor: str,
        at: datetime,
        new: bool | None = None,
    ) -> Account:
        """Make an account, or change it; audited.

        Parameters
        ----------
        name, role, shown, units, disabled
            See :class:`Account`.
        password : str, optional
            At least ten characters; None keeps the one it has.
        issuer : str, optional
            None keeps the one it has: an account never changes hands.
        actor : str
            Who does it.
        at : datetime
            Aware.
        new : bool, optional
            True: it must not exist yet; False: it must.

        Raises
        ------
        UsageError
            There is no such role, or the password is too short.
        ConflictError, NotFoundError
            It exists already, or does not; it is the last administrator; its
            provider keeps its password.
        """
        name = required_words(name, "account", longest=200)
        if role not in ROLES:
            message = f"role: there is none of that name; found another; give {', '.join(ROLES)}"
            raise UsageError(message)
        values: dict[str, Any] = {
            "shown": shown.strip() or name,
            "role": role,
            "units": None if units is None else json.dumps(sorted(set(units))),
            "disabled": disabled,
            "changed": utc(at),
        }
        if password is not None:
            values["password"] = self._hashed(password)
        table = tables.accounts
        with self._database.transaction() as connection:
            known = self._row(connection, name)
            if new is True and known is not None:
                message = "account: the name is taken; found an account; choose another name"
                raise ConflictError(message)
            if new is False and known is None:
                message = "account: there is none of that name; found none; check the name"
                raise NotFoundError(message)
            issuer = self._issuer_of(known, issuer, has_new_password=password is not None)
            values["issuer"] = issuer
            if known is None:
                connection.execute(table.insert().values(name=name, **values))
            else:
                if role != "administrator" or disabled:
                    self._leave_an_administrator(connection, known)
                connection.execute(table.update().where(table.c.name == name).values(**values))
            if disabled or (known is not None and password is not None):
                self._sessions.end_all(name, within=connection)
                self._devices.forget_all(name, within=connection)
            self._audit.append(
                at=at,
                actor=actor,
                action="account-changed",
                why="new account" if known is None else "account changed",
                details={
                    "account": name,
                    "role": role,
                    "units": None if units is None else list(units),
                    "disabled": disabled,
                    "password": password is not None,
                },
                within=connection,
            )
            return _account(self._row(connection, name))

    def change(self, name: str, *, actor: str, at: datetime, **given: Any) -> Account:
        """Change some of an account, and keep the rest; audited.

        Parameters
        ----------
        name, actor, at
            See :meth:`put`.
        **given
            ``role``, ``shown``, ``units``, ``password`` or ``disabled``.

        Raises
        ------
        UsageError, ConflictError, NotFoundError
            As :meth:`put`.
        """
        found = self.get(name)
        if found is None:
            message = (
                "account: there is none of that name; found none; 'neva accounts list' shows them"
            )
            raise NotFoundError(message)
        kept: dict[str, Any] = {
            "role": found.role,
            "shown": found.shown,
            "units": found.units,
            "disabled": found.disabled,
        }
        return self.put(name, **(kept | given), actor=actor, at=at, new=False)

    @staticmethod
    def _issuer_of(known: Any, issuer: str | None, *, has_new_password: bool) -> str | None:
        """Say who vouches for an account; nobody else can take it over."""
        held = None if known is None else known.issuer
        if known is not None and issuer is not None and issuer != held:
            message = (
                "account: it signs in another way; found another provider, or a password here; "
                "choose another name"
            )
            raise ConflictError(message)
        if has_new_password and (issuer or held):
            message = (
                "password: the provider of this account keeps it; found an account of a provider; "
                "change it there"
            )
            raise ConflictError(message)
        return issuer or held

    @staticmethod
    def _leave_an_administrator(connection: sa.Connection, known: Any) -> None:
        table = tables.accounts
        if known.role != "administrator" or known.disabled:
            return
        others = sa.select(sa.func.count()).where(
            table.c.role == "administrator",
            table.c.disabled.is_(False),
            table.c.name != known.name,
            sa.or_(table.c.password.is_not(None), table.c.issuer.is_not(None)),
        )
        if connection.execute(others).scalar_one() == 0:
            message = (
                "account: the last administrator stays; found no other who can sign in; create "
                "another one first"
            )
            raise ConflictError(message)

    def _hashed(self, password: str) -> str:
        if not SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            message = (
                f"password: must have from {SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters; "
                f"found {len(password)}; choose another"
            )
            raise UsageError(message)
        if len(set(password)) < 4:
            message = (
                "password: can be guessed; found few different characters; choose a sentence "
                "that nobody would guess"
            )
            raise UsageError(message)
        with _AT_ONCE:
            return HASHER.hash(_same_letters(password))

    def verify(self, name: str, password: str) -> Account | None:
        """Return the account if name and password are right and it is not disabled.

        An unknown name takes as long as a wrong password: who guesses learns nothing.
        """
        with self._database.reading() as connection:
            row = self._row(connection, name)
        if self._nobody is None:
            with _AT_ONCE:
                self._nobody = HASHER.hash("nobody has this password")
        held = row.password if row is not None and row.password else self._nobody
        # One character more than a password may have: its beginning alone is never right.
        given = _same_letters(password[: _LONGEST_PASSWORD + 1])
        with _AT_ONCE:
            try:
                HASHER.verify(held, given)
            except (VerificationError, InvalidHashError):
                return None
        if row is None or not row.password or row.disabled:
            return None
        return _account(row)
