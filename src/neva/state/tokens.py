"""Names of tokens that were used, so that none is used twice."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from neva.state import tables
from neva.state.columns import utc

if TYPE_CHECKING:
    from neva.state.database import Database

__all__ = ["Tokens"]

#: Kept beyond its end, because two machines' clocks differ.
FORGOTTEN_AFTER = timedelta(hours=1)


class Tokens:
    """The store of used tokens.

    Only a hash of issuer and jti is kept.
    """

    def __init__(self, database: Database):
        self._database = database

    def take(self, issuer: str, jti: str, expires: datetime, now: datetime) -> bool:
        """Use a token, once.

        Parameters
        ----------
        issuer, jti : str
            The token's name is unique within its issuer.
        expires : datetime
            Aware; when the token is refused for its age, leeway included.
        now : datetime
            Aware.

        Returns
        -------
        bool
            False if it was used before, or has expired. Of any number of
            threads and processes that take one token, one gets True.
        """
        if utc(expires, "expires") <= utc(now, "now"):
            return False
        table = tables.tokens
        name = hashlib.sha256(json.dumps([issuer, jti]).encode()).hexdigest()
        with self._database.transaction() as connection:
            connection.execute(table.delete().where(table.c.expires < utc(now) - FORGOTTEN_AFTER))
            is_sqlite = connection.dialect.name == "sqlite"
            insert = (sqlite.insert if is_sqlite else postgresql.insert)(table)
            taken = connection.execute(
                insert.values(issuer_jti=name, expires=utc(expires)).on_conflict_do_nothing()
            )
            return taken.rowcount == 1

    def count(self) -> int:
        """Return how many are remembered."""
        with self._database.reading() as connection:
            return connection.execute(
                sa.select(sa.func.count()).select_from(tables.tokens)
            ).scalar_one()
