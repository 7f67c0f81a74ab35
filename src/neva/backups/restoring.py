"""Restoring a backup into a new folder: whole, checked, or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from neva.backups.contents import Backup, StoredFile
from neva.backups.targets import Target, copied, open_target
from neva.backups.verifying import check_restored, damaged_contents
from neva.errors import BadInputError, ConflictError, NevaError, UsageError
from neva.files.whole import disk_problem, synchronise
from neva.state import open_state

__all__ = ["RestoreSummary", "restore_backup"]

_STATE: Final = "state.sqlite"
_DRAFT: Final = ".restoring"


@dataclass(frozen=True, slots=True)
class RestoreSummary:
    """What was restored.

    Attributes
    ----------
    backup : Backup
    folder : Path
    waiting : dict of str to int
        Messages of each feed that are in the inbox and not in the store.
    problem : str or None
        Why the audit does not tell of it.
    seconds : float
    """

    backup: Backup
    folder: Path
    waiting: dict[str, int]
    problem: str | None
    seconds: float


def restore_backup(
    target: Path,
    folder: Path,
    *,
    backup: str | None = None,
    actor: str,
    now: datetime,
    progress: Callable[[int], None] | None = None,
) -> RestoreSummary:
    """Restore a hospital into a folder of its own.

    Parameters
    ----------
    target : Path
        Holds the backups.
    folder : Path
        Absent or empty.
    backup : str, optional
        Id or number; the newest by default.
    actor : str
        Who restores, for the audit.
    now : datetime
        Aware.
    progress : callable, optional
        Called with the bytes restored so far.

    Raises
    ------
    ConflictError
        The folder holds something, or may not be written.
    BadInputError
        The backup is damaged, or the disk is full; nothing is left.
    NotFoundError
        There is no such backup.
    UsageError
        The folder lies within the target.
    """
    begun = time.monotonic()
    folder = folder.absolute()
    if target.resolve() in (folder.resolve(), *folder.resolve().parents):
        message = (
            f"{folder}: cannot become a hospital; found it within the backups; give another folder"
        )
        raise UsageError(message)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        message = (
            f"{folder}: cannot become a hospital; found something in it already; give a folder "
            "that does not exist or is empty"
        )
        raise ConflictError(message)
    with open_target(target) as place:
        chosen = place.find(backup)
        draft = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}{_DRAFT}")
        try:
            _make_room(folder, chosen)
            _lay_out(place, chosen, draft, progress)
            check_restored(draft, chosen)
            problem = _begin_anew(draft, chosen, actor, now)
            _synchronise(draft)
            if folder.exists():
                folder.rmdir()
            draft.rename(folder)
            synchronise(folder.parent)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            raise disk_problem(error, folder) or error from None
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    return RestoreSummary(
        backup=chosen,
        folder=folder,
        waiting={
            feed: max(0, taken - int(chosen.applied.get(feed, "0")))
            for feed, taken in chosen.taken.items()
            if chosen.applied.get(feed, "0").isdecimal()
        },
        problem=problem,
        seconds=round(time.monotonic() - begun, 3),
    )


def _make_room(folder: Path, backup: Backup) -> None:
    """Take away what interrupted restores into this folder left; see that there is room."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}.*{_DRAFT}"):
        shutil.rmtree(left, ignore_errors=True)
    free = shutil.disk_usage(folder.parent).free
    if free < backup.size:
        message = (
            f"{folder}: the disk is full; found {free:,} bytes free, wanted {backup.size:,}; free "
            "some space and try again"
        )
        raise BadInputError(message)


def _lay_out(
    target: Target, backup: Backup, draft: Path, progress: Callable[[int], None] | None
) -> None:
    """Copy all contents to their places, and compare each with its checksum."""
    draft.mkdir(mode=0o700)
    for name in sorted(backup.folders):
        (draft / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    (draft / "cache").mkdir(exist_ok=True)
    damaged, done = [], 0
    for name, one in backup.files.items():
        if not _is_laid_out(target, one, draft / name):
            damaged.append(name)
        done += one.size
        if progress is not None:
            progress(done)
    if damaged:
        raise damaged_contents(target, backup, damaged)
    # The innermost first: a folder that may only be read takes nothing more.
    for name in sorted(backup.folders, reverse=True):
        (draft / name).chmod(backup.folders[name])


def _is_laid_out(target: Target, one: StoredFile, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        source = target.path_of(one.sha256).open("rb")
    except FileNotFoundError:
        return False
    with source:
        # Its owner's only until it is known to be whole.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            found = copied(source, stream)
            stream.flush()
            os.fchmod(descriptor, one.mode)
    os.utime(path, ns=(one.modified, one.modified))
    return found == (one.sha256, one.size)


def _begin_anew(draft: Path, backup: Backup, actor: str, now: datetime) -> str | None:
    """End all sessions, and tell the audit of the restore; say why it could not be told."""
    if backup.state.kind != "sqlite":
        return None
    try:
        with open_state(draft / _STATE) as state:
            state.sessions.end_every()
            state.audit.append(
                at=now,
                actor=actor,
                action="restored",
                why="the hospital was restored from a backup",
                details={"backup": backup.id, "version": backup.version},
            )
    except NevaError as error:
        return str(error)
    return None


def _synchronise(folder: Path) -> None:
    """Have all of a folder on disk."""
    for root, _, names in os.walk(folder):
        for name in names:
            synchronise(Path(root) / name)
        synchronise(Path(root))
