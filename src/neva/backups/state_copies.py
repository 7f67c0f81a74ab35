"""Copies of the state: consistent while others write, checked without writing."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from neva.errors import BadInputError, ConflictError, NevaError
from neva.events.read_only import is_read_only
from neva.files.whole import disk_problem

__all__ = ["copied_state", "head_of_state", "problem_of_state"]


def _address(path: Path, options: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{options}"


@contextmanager
def copied_state(path: Path, folder: Path) -> Iterator[Path]:
    """Copy a SQLite state by the database's own backup; others may write meanwhile.

    Parameters
    ----------
    path : Path
        Of the state.
    folder : Path
        Where the copy is made, for its owner only. It is deleted at the end.

    Raises
    ------
    BadInputError
        It is no state, or there is no room.
    ConflictError
        It may not be read, or is locked for long.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="state-", suffix=".new") as made:
        copy = Path(made) / "copy.sqlite"
        source = path
        try:
            if is_read_only(path.parent):
                # A database with a log beside it cannot be opened there.
                source = Path(made) / "source.sqlite"
                for ending in ("", "-wal"):
                    if (beside := path.with_name(path.name + ending)).is_file():
                        shutil.copyfile(beside, f"{source}{ending}")
            with (
                closing(sqlite3.connect(_address(source, "mode=rw"), uri=True, timeout=30)) as old,
                closing(sqlite3.connect(copy)) as new,
            ):
                old.backup(new)  # all pages in one step: of one moment
                new.execute("PRAGMA journal_mode = DELETE")
        except (OSError, sqlite3.Error) as error:
            raise _problem_of(error, path) from None
        yield copy


def _problem_of(error: Exception, path: Path) -> NevaError:
    problem = disk_problem(error, path)
    if problem is not None:
        return problem
    if "locked" in str(error) or "busy" in str(error):
        return ConflictError(
            f"{path}: the state is locked; found another process that writes for long; wait for "
            "it to end, and try again"
        )
    if "disk I/O" in str(error):
        return ConflictError(
            f"{path}: the state cannot be copied; found an error of the disk; look whether one "
            "of the two disks is full or damaged"
        )
    return BadInputError(
        f"{path}: the state cannot be copied; found {type(error).__name__}; look whether it is a "
        "state, whole, and readable by this user"
    )


def head_of_state(path: Path) -> str:
    """Return number and hash of the last row of the audit; empty where there is none.

    `path` must be a copy that nobody writes.
    """
    with closing(sqlite3.connect(_address(path, "mode=ro&immutable=1"), uri=True)) as state:
        try:
            last = state.execute(
                "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1"
            ).fetchone()
        except sqlite3.OperationalError:  # no tables yet
            return ""
    return "" if last is None else f"{last[0]}:{last[1]}"


def problem_of_state(path: Path) -> str | None:
    """Say what is wrong with a copy of a state; None: nothing. It is not written to."""
    try:
        with closing(sqlite3.connect(_address(path, "mode=ro&immutable=1"), uri=True)) as state:
            found = state.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return type(error).__name__
    return None if found == "ok" else "pages that do not fit together"
