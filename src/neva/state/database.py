"""A database that is open: transactions of those who write, in turn, and of those who read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine

from neva.state import connection as connections

__all__ = ["Database"]


class Database:
    """An open database, SQLite or PostgreSQL.

    Safe to share between threads. A process that forks opens its own.

    Parameters
    ----------
    engine : Engine
    where : str
        The place, without a password.
    """

    def __init__(self, engine: Engine, where: str):
        self.where = where
        self._engine = engine
        self._gate = threading.Lock()

    @contextmanager
    def transaction(self, *, wait: float | None = None) -> Iterator[Connection]:
        """Write several things at once: all of them are kept, or none.

        Give what it yields as `within` to the methods that write. Do not
        open a second one inside: it would wait for the first.

        Parameters
        ----------
        wait : float, optional
            Seconds to wait for those who write; half a minute by default.

        Raises
        ------
        neva.errors.ConflictError
            They wrote for longer.
        """
        with connections.writing(self._engine, self.where, self._gate, wait=wait) as connection:
            yield connection

    @contextmanager
    def writing(self, within: Connection | None) -> Iterator[Connection]:
        """Write within a transaction that is open, or within one of its own."""
        if within is not None:
            yield within
            return
        with self.transaction() as connection:
            yield connection

    @contextmanager
    def reading(self, within: Connection | None = None) -> Iterator[Connection]:
        """Read within a transaction that is open, or within one of its own."""
        if within is not None:
            yield within
            return
        with connections.reading(self._engine, self.where) as connection:
            yield connection

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
