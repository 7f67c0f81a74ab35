"""Workers: when each last reported, whether or not it has a job."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from neva.state import tables
from neva.state.columns import utc

if TYPE_CHECKING:
    from neva.state.database import Database

__all__ = ["Workers"]

#: A worker that has not been heard of for so long is forgotten.
_KEPT_FOR: Final = timedelta(days=1)


class Workers:
    """The workers of a state."""

    def __init__(self, database: Database):
        self._database = database

    def beat(self, worker: str, *, at: datetime) -> None:
        """Say that a worker is alive."""
        table, now = tables.workers, utc(at)
        with self._database.transaction() as connection:
            changed = connection.execute(
                table.update().where(table.c.name == worker).values(seen=now)
            )
            if changed.rowcount == 0:
                connection.execute(table.delete().where(table.c.seen < now - _KEPT_FOR))
                connection.execute(table.insert().values(name=worker, begun=now, seen=now))

    def last_seen(self) -> datetime | None:
        """Return when any worker was last heard of, or None if none was."""
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(tables.workers.c.seen).order_by(tables.workers.c.seen.desc()).limit(1)
            ).first()
        return None if row is None else row.seen
