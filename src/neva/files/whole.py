"""Files that are written whole or not at all, and disks that have no room."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from neva.errors import BadInputError, ConflictError, NevaError

__all__ = ["disk_problem", "synchronise", "whole_file", "write_whole"]

#: How libraries say that there is no room, each in its own words.
_FULL: Final = (
    "No space left", "os error 28", "File too large", "os error 27", "Disk quota",
    "os error 122", "database or disk is full",
)  # fmt: skip
_REFUSED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}


def disk_problem(error: BaseException, path: Path | str | None = None) -> NevaError | None:
    """Say in the user's words that a disk is full or may not be written.

    Parameters
    ----------
    error : BaseException
        Of the operating system, or of a library that met its refusal.
    path : Path or str, optional
        What was written; by default what the error names.

    Returns
    -------
    NevaError or None
        None where it is something else.
    """
    named = getattr(error, "filename", None)
    where = str(path) if path is not None else str(named) if isinstance(named, str) else "disk"
    if any(sign in str(error) for sign in _FULL):
        return BadInputError(
            f"{where}: the disk is full; found no room to write; free some space and try again "
            "(what was there is as it was before)"
        )
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return ConflictError(
            f"{where}: may not be written or read; found it refused by the system; check the "
            "rights of the file and its folder, or choose another"
        )
    return None


def synchronise(path: Path) -> None:
    """Have a file, or what a folder lists, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Give a draft to write, which then takes the place of a file.

    Parameters
    ----------
    path : Path
        Its folder is made. What was there stays until the draft is whole and on disk.
    private : bool
        Readable by its owner only.

    Yields
    ------
    Path
        The draft; an empty file beside `path`. It is deleted where writing fails.

    Raises
    ------
    BadInputError
        The disk is full.
    ConflictError
        The folder may not be written.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o600 if private else 0o666
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            yield draft
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        problem = disk_problem(error, path)
        if problem is not None:
            raise problem from error
        raise


def write_whole(path: Path, content: str | bytes, *, private: bool = False) -> None:
    """Write a file whole or not at all; text as UTF-8. See :func:`whole_file`."""
    data = content.encode() if isinstance(content, str) else content
    with whole_file(path, private=private) as draft:
        draft.write_bytes(data)
