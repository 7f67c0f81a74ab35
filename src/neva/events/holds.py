"""Holding a version of a hospital: what it names stays, however long somebody copies it.

A hold is a small file with the number of a version, locked by whoever holds it. The lock is
the operating system's, so a hold ends with its holder, whatever ends that; the file that is
left then holds nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

from neva.errors import ConflictError
from neva.events.manifest import Manifest, current_version, read_manifest
from neva.events.read_only import is_read_only
from neva.files.whole import disk_problem

__all__ = ["held_version", "held_versions"]

_FOLDER: Final = "holds"
_MOST_TRIES: Final = 100


@contextmanager
def held_version(hospital: Path) -> Iterator[Manifest]:
    """Hold the current version of a hospital: no vacuum takes a file of it.

    Parameters
    ----------
    hospital : Path
        Its folder. Where it may only be read nothing is held.

    Yields
    ------
    Manifest
        Of the version that is held.

    Raises
    ------
    ConflictError
        The hospital is written so often that no version could be held.
    BadInputError
        The disk is full.
    """
    if is_read_only(hospital):
        yield read_manifest(hospital)
        return
    held_versions(hospital)  # what killed holders left goes
    for _ in range(_MOST_TRIES):
        version = current_version(hospital)
        path, descriptor = _hold(hospital, version)
        try:
            # A vacuum has the writer's lock and keeps what is current: one that did not see
            # the hold ran while this version was current, and kept it.
            if current_version(hospital) == version:
                yield read_manifest(hospital, version)
                return
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)
    message = (
        f"{hospital}: no version could be held; found another one current each time; "
        "try again when less is written"
    )
    raise ConflictError(message)


def _hold(hospital: Path, version: int) -> tuple[Path, int]:
    """Make a hold that is locked before anybody can see it."""
    folder = hospital / _FOLDER
    path = folder / f"{version:08d}-{uuid4().hex}.hold"
    draft = path.with_suffix(".new")
    descriptor = -1
    try:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if os.geteuid() == 0:
            # A backup that the system's administrator takes must not keep the owner out.
            owner = hospital.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        draft.rename(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        if descriptor != -1:
            os.close(descriptor)
        problem = disk_problem(error, folder)
        if problem is not None:
            raise problem from error
        raise
    return path, descriptor


def held_versions(hospital: Path) -> set[int]:
    """Return the versions that somebody holds; take away what holders left that are gone."""
    found = set()
    for path in (hospital / _FOLDER).glob("*.hold"):
        with suppress(FileNotFoundError):
            try:
                descriptor = os.open(path, os.O_RDWR)
            except PermissionError:  # another user's
                found.add(int(path.name[:8]))
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                found.add(int(path.name[:8]))
            finally:
                os.close(descriptor)
    return found
