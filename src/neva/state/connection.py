"""Connections to SQLite and PostgreSQL, and one writer at a time on both."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from neva.errors import BadInputError, ConflictError, NotFoundError, UsageError
from neva.files.whole import disk_problem

__all__ = ["connect", "reading", "writing"]

#: How long a writer waits for the one before it.
WAIT_SECONDS = 30.0

#: The number of PostgreSQL's advisory lock: "neva" in ASCII.
ADVISORY_LOCK = 0x6E657661

#: A thread that answers needs one at a time, and there are forty of them.
_POOL: Final[dict[str, Any]] = {"pool_size": 10, "max_overflow": 30}

#: SQLSTATE insufficient_privilege.
_NO_RIGHT = "42501"

#: SQLSTATE lock_not_available: the lock was waited for in vain.
_LOCK_TIMEOUT = "55P03"

#: Said to the user when the database cannot be reached.
_PROBLEMS = (DatabaseError, InterfaceError)


def connect(where: Path | str, *, create: bool) -> tuple[Engine, str]:
    """Make an engine for a SQLite file or a PostgreSQL URL.

    Returns
    -------
    engine : Engine
    name : str
        The place in words, without a password.

    Raises
    ------
    UsageError
        The URL is of another database or driver.
    NotFoundError
        The file is absent and may not be made.
    """
    if isinstance(where, Path) or "://" not in where:
        return _sqlite(Path(where), create=create), str(where)
    try:
        url = sa.make_url(where)
    except sa.exc.ArgumentError:
        message = (
            "the state: not a database URL; found text with '://' that cannot be read; write "
            "postgresql+pg8000://user:password@host/database"
        )
        raise UsageError(message) from None
    if url.drivername not in {"postgresql", "postgresql+pg8000"}:
        message = (
            f"the state: only SQLite files and PostgreSQL are served; found {url.drivername}; "
            "write postgresql+pg8000://user:password@host/database, or the path of a file"
        )
        raise UsageError(message)
    url = url.set(drivername="postgresql+pg8000")
    engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True, **_POOL)
    return engine, url.render_as_string(hide_password=True)


def _sqlite(path: Path, *, create: bool) -> Engine:
    if path.is_dir() or not (path.exists() or create):
        message = f"{path}: no state there; found no file; check the path"
        raise NotFoundError(message)
    if not path.exists():
        if not path.parent.is_dir():
            message = f"{path}: its folder is absent; found nothing there; check the path"
            raise NotFoundError(message)
        # Only its owner reads it: it names patients' pseudonyms and users.
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            message = (
                f"{path}: the state cannot be written; found {error.strerror}; check the rights of "
                "the folder, or name another place with NEVA_STATE"
            )
            raise ConflictError(message) from None
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": WAIT_SECONDS},
        hide_parameters=True,
        **_POOL,
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: Any) -> None:
        # The driver begins transactions by itself and too late; `begin` below does it.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA recursive_triggers = ON")
        _write_ahead(connection)
        # A commit is on the disk when it returns: feedback may not be lost.
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        write = options.get("neva_write", False)
        wait = options.get("neva_wait", WAIT_SECONDS)
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(1000 * wait)}")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    # The change to WAL does not wait for other connections as statements do.
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _database_problem(error: Exception, name: str) -> Exception:
    """Put a database's error into the user's words, without a value of a row."""
    text = str(getattr(error, "orig", error))
    if "locked" in text or "busy" in text or _sqlstate(error) == _LOCK_TIMEOUT:
        return ConflictError(
            f"{name}: another process is writing; found the database locked for "
            "longer than it is waited for; wait for that to end, or stop it"
        )
    if (full := disk_problem(error, name)) is not None:
        return full
    if "disk I/O error" in text:
        return ConflictError(
            f"{name}: cannot be read or written; found an error of the disk; look whether it is "
            "full or damaged, and keep a copy before anything else"
        )
    if "not a database" in text:
        return UsageError(f"{name}: not a state; found a file of another kind; check the path")
    if _sqlstate(error) == _NO_RIGHT:
        return ConflictError(
            f"{name}: the database's user lacks a right; found it refused; let the owner of the "
            "tables open the state once, and grant the rights that the page on the audit names"
        )
    if "decode" in text:
        return BadInputError(
            f"{name}: holds text that is not UTF-8; found it while reading; somebody else wrote "
            "to this file: keep a copy, and restore it from a backup"
        )
    if "readonly" in text or "read-only" in text:
        return ConflictError(
            f"{name}: cannot be written; found it read-only; check the rights of the file"
        )
    return NotFoundError(
        f"{name}: the database does not answer; found {type(error).__name__}; check that it "
        "runs, its address, and the user's password and rights"
    )


@contextmanager
def _user_problems(name: str) -> Iterator[None]:
    try:
        yield
    except sa.exc.TimeoutError:
        message = (
            f"{name}: too many ask at once; found every connection in use; try again in a moment"
        )
        raise ConflictError(message) from None
    except (OperationalError, sqlite3.Error) as error:
        # Settings of a new connection are made below SQLAlchemy, which wraps only its own calls.
        raise _database_problem(error, name) from None
    except _PROBLEMS as error:
        # pg8000 reports refused connections and passwords as plain errors of its own.
        if isinstance(error, InterfaceError) or _is_access(error) or "not a database" in str(error):
            raise _database_problem(error, name) from None
        raise


def _is_access(error: DatabaseError) -> bool:
    """SQLSTATE class 28: authorisation; 3D: no such database; 53, 57P: full, shutting down."""
    return _sqlstate(error).startswith(("28", "3D", "57P", "53", _NO_RIGHT, _LOCK_TIMEOUT))


def _sqlstate(error: Exception) -> str:
    orig = getattr(error, "orig", None)
    about = orig.args[0] if orig is not None and orig.args else None
    return str(about.get("C", "")) if isinstance(about, dict) else ""


@contextmanager
def reading(engine: Engine, name: str) -> Iterator[Connection]:
    """Read in one transaction."""
    with _user_problems(name), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(
    engine: Engine, name: str, gate: threading.Lock, *, wait: float | None = None
) -> Iterator[Connection]:
    """Write in one transaction; no other process or thread writes meanwhile.

    It waits for those who write for `wait` seconds (:data:`WAIT_SECONDS`).

    SQLite begins it with ``BEGIN IMMEDIATE``; PostgreSQL takes an advisory
    lock first and keeps it until the transaction ends, however that ends.
    Reading is never held up.
    """
    wait = WAIT_SECONDS if wait is None else wait
    if not gate.acquire(timeout=wait):
        message = (
            f"{name}: another thread is writing; found it busy for {wait:.0f} seconds; try again"
        )
        raise ConflictError(message)
    try:
        with _user_problems(name), engine.connect() as connection:
            writer = connection.execution_options(neva_write=True, neva_wait=wait)
            with writer.begin():
                _take_turn(writer, wait)
                yield writer
    finally:
        gate.release()


def _take_turn(connection: Connection, wait: float) -> None:
    """Take PostgreSQL's advisory lock for the rest of the transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SET LOCAL lock_timeout = {round(1000 * wait)}"))
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
