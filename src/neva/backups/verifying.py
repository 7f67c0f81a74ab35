"""Verifying backups by restoring them: into a folder of links, read to the end."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from neva.backups.contents import Backup
from neva.backups.state_copies import head_of_state, problem_of_state
from neva.backups.targets import Target, open_target
from neva.errors import BadInputError, NevaError
from neva.events.hospital import open_hospital
from neva.events.identities import read_key
from neva.feeds.inbox import Reader, segments_of
from neva.feeds.status import feed_folder

__all__ = ["check_backup", "check_restored", "verify_backups"]

_STATE = "state.sqlite"
_RECORDS = 1000


def check_backup(
    target: Target, backup: Backup, *, progress: Callable[[int], None] | None = None
) -> None:
    """Read a backup's contents, lay them out as a folder, and open it as a hospital.

    Raises
    ------
    BadInputError
        A content is damaged or missing, or what is there is no whole hospital.
    """
    read, damaged = 0, []
    whole: dict[str, bool] = {}
    for name, one in backup.files.items():
        if one.sha256 not in whole:
            whole[one.sha256] = target.is_whole(one.sha256)
            read += one.size
            if progress is not None:
                progress(read)
        if not whole[one.sha256]:
            damaged.append(name)
    if damaged:
        raise damaged_contents(target, backup, damaged)
    with tempfile.TemporaryDirectory(prefix="neva-backup-") as made:
        folder = Path(made) / "hospital"
        folder.mkdir()
        for name in backup.folders:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for name, one in backup.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target.path_of(one.sha256).absolute())
        check_restored(folder, backup)


def damaged_contents(target: Target, backup: Backup, names: list[str]) -> BadInputError:
    """Return what is said of a backup whose contents are damaged."""
    return BadInputError(
        f"{target.folder}: backup {backup.id} is damaged; found {len(names)} of its "
        f"{len(backup.files)} files missing or changed, the first {sorted(names)[0]}; restore "
        "another backup; the next 'neva backup create' stores again what the hospital still has"
    )


def check_restored(folder: Path, backup: Backup) -> None:
    """Open a folder as the hospital that a backup says it is; nothing in it is changed.

    Raises
    ------
    BadInputError
        It is not that hospital, or not whole.
    """
    try:
        wrong = _difference(folder, backup)
    except NevaError as error:
        wrong = str(error)
    if wrong is not None:
        message = (
            f"backup {backup.id}: what it holds is no whole hospital; found {wrong}; restore "
            "another backup, and take a new one"
        )
        raise BadInputError(message)


def _difference(folder: Path, backup: Backup) -> str | None:
    """Say what differs; None: nothing."""
    hospital = open_hospital(folder)
    manifest = hospital.manifest()
    if (hospital.settings.hospital, manifest.version) != (backup.hospital, backup.version):
        return f"hospital {hospital.settings.hospital} in version {manifest.version}"
    snapshot = hospital.snapshot()
    for table, rows in backup.rows.items():
        frame = snapshot.stored(table)
        found = int(frame.select(pl.len()).collect().item())
        if found != rows:
            return f"{found:,} rows of {table} instead of {rows:,}"
    hospital.identities().select(pl.len()).collect()
    read_key(folder / "identities" / "key")
    for feed, taken in backup.taken.items():
        reached = _last_position(
            feed_folder(folder, feed),
            manifest.feeds.get(feed, "0"),
            is_damaged=bool(backup.problems),
        )
        if reached < taken:
            return f"messages of feed {feed} up to {reached:,} instead of {taken:,}"
    if backup.state.kind == "sqlite":
        problem = problem_of_state(folder / _STATE)
        if problem is not None:
            return f"a damaged state ({problem})"
        if head_of_state(folder / _STATE) != backup.state.head:
            return "another end of the audit"
    return None


def _last_position(folder: Path, place: str, *, is_damaged: bool) -> int:
    """Read an inbox to its end; return the last position.

    Where a segment was damaged already when the backup was made, from where the version ends.
    """
    applied = int(place) if place.isdecimal() else 0
    segments = segments_of(folder)
    first = segments[0][0] - 1 if segments else applied
    reader = Reader(folder, applied if is_damaged else min(applied, first))
    last = applied if segments else 0
    while records := reader.read(_RECORDS):
        last = max(last, records[-1].position)
    return last


def verify_backups(
    target: Path,
    *,
    backup: str | None = None,
    every: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[Backup]:
    """Verify a backup, or all of them.

    Parameters
    ----------
    target : Path
    backup : str, optional
        Id or number; the newest by default.
    every : bool
        All backups.
    progress : callable, optional
        Called with the bytes read so far.

    Returns
    -------
    list of Backup
        Those that were verified.

    Raises
    ------
    BadInputError
        One is damaged.
    NotFoundError
        There is none.
    """
    with open_target(target) as place:
        chosen = [place.find(backup)]
        if every:
            chosen, problems = place.backups()
            if problems:
                raise BadInputError(problems[0])
        for one in chosen:
            check_backup(place, one, progress=progress)
    return chosen
