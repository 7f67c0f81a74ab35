"""One writer at a time: a lock that names its holder and dies with it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from neva.errors import ConflictError

__all__ = ["writer_lock"]


@contextmanager
def writer_lock(path: Path, *, purpose: str, now: datetime) -> Iterator[None]:
    """Hold the hospital's writer lock.

    The lock is the operating system's (``flock``), so it ends with its holder
    whatever ends that; the text in the file only says who holds it.

    Parameters
    ----------
    path : Path
        The lock file.
    purpose : str
        What the holder does, in words, for the message to the next one.
    now : datetime
        Aware; written into the lock.

    Raises
    ------
    ConflictError
        Somebody else holds it; the message says who, where and since when.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        message = (
            f"{path.parent}: this hospital cannot be written; found {error.strerror}; check the "
            "rights of the folder, or copy it to a place where you may write"
        )
        raise ConflictError(message) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace") or "{}"
            try:
                about = json.loads(holder)
            except ValueError:
                about = {}
            message = (
                f"{path.parent}: another process is writing to this hospital; found process "
                f"{about.get('process', 'unknown')} on {about.get('host', 'unknown')} "
                f"({about.get('purpose', 'unknown')}) since {about.get('since', 'unknown')}; "
                "wait for it to end, or stop it"
            )
            raise ConflictError(message) from None
        about = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "purpose": purpose,
            "since": now.isoformat(timespec="seconds"),
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(about).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
