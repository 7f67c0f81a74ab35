"""Taking a backup of a hospital that works on: in an order in which nothing is lost.

1. Small files of the feeds (how far merges are in the audit), then the state: what they say is
   done is done in the version that follows.
2. One version of the hospital, held until it is copied: a vacuum takes no file of it.
3. The inboxes of its feeds: what was acknowledged before the backup began is in the version,
   or in the inbox behind it.
4. All else in the folder but what can be computed again.
"""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import Final

import polars as pl

from neva.backups.contents import Backup, StoredFile, StoredState
from neva.backups.state_copies import copied_state, head_of_state
from neva.backups.targets import Target, open_target
from neva.backups.verifying import check_backup
from neva.errors import BadInputError, ConflictError, UsageError
from neva.events import tables
from neva.events.holds import held_version
from neva.events.hospital import Hospital, open_hospital
from neva.events.manifest import Manifest
from neva.feeds.inbox import segments_of, whole_part
from neva.feeds.status import feed_folder, feed_names
from neva.files.whole import disk_problem
from neva.state import state_of

__all__ = ["STATE", "BackupSummary", "create_backup"]

#: The state's name in a backup and in a hospital's folder.
STATE: Final = "state.sqlite"
#: What is computed again, is of this moment, or is taken by itself.
_LEFT: Final = {
    "cache", "staging", "holds", "lock", "tables", "manifests", "current", "feeds",
    "identities/pairs",
}  # fmt: skip
_UNFINISHED: Final = (".new", ".draft")
_MOST_TRIES: Final = 5
#: A file that changed within this time may change again without looking changed.
_SETTLED: Final = 2 * 10**9


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What a backup did.

    Attributes
    ----------
    backup : Backup
    new_files, new_bytes : int
        What was stored; the rest was there before.
    is_verified : bool
    mended : int
        Contents that were damaged in the target, and are whole again.
    forgotten : list of str
        Older backups that are gone.
    freed : int
        Bytes that no backup named any more.
    seconds : float
    """

    backup: Backup
    new_files: int
    new_bytes: int
    is_verified: bool
    mended: int
    forgotten: list[str]
    freed: int
    seconds: float


class _GoneError(Exception):
    """A file went while it was looked for."""


@dataclass
class _Taking:
    """A backup under way."""

    hospital: Hospital
    target: Target
    before: dict[str, StoredFile]
    progress: Callable[[int], None] | None = None
    files: dict[str, StoredFile] = field(default_factory=dict)
    folders: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    state: StoredState = field(default_factory=StoredState)
    new_files: int = 0
    new_bytes: int = 0
    #: Files that were stored by an earlier backup, and from where they can be stored again.
    reused: dict[str, tuple[Path, int | None]] = field(default_factory=dict)

    # ------------------------------------------------------------------- a file

    def store(self, name: str, path: Path, *, most: int | None = None) -> None:
        """Store a file, unless an earlier backup did.

        Raises
        ------
        _GoneError
            It is not there.
        ConflictError
            It may not be read.
        """
        try:
            found = path.stat()
            known = self._known(name, found, most)
            if known is not None:
                self.files[name] = known
                self.reused[name] = (path, most)
                return
            self._copy(name, path, found, most)
        except FileNotFoundError:
            raise _GoneError(name) from None
        except OSError as error:
            raise disk_problem(error, path) or error from None

    def _count(self, size: int, before: int) -> None:
        """Count a content that was stored, if there are more of them than before."""
        is_new = self.target.number_of_contents > before
        self.new_files += is_new
        self.new_bytes += size if is_new else 0
        if self.progress is not None:
            self.progress(self.new_bytes)

    def _known(self, name: str, found: os.stat_result, most: int | None) -> StoredFile | None:
        """Return a file as an earlier backup stored it, if it did not change since."""
        known = self.before.get(name)
        is_same = (
            known is not None
            and known.seen == (found.st_ctime_ns, found.st_ino)
            and known.modified == found.st_mtime_ns
            and known.size == (found.st_size if most is None else most)
            and self.target.has(known.sha256, known.size)
        )
        return known if is_same else None

    def _copy(self, name: str, path: Path, found: os.stat_result, most: int | None) -> None:
        """Copy a file into the target."""
        before = self.target.number_of_contents
        with path.open("rb") as stream:
            sha256, size = self.target.add(stream, most=most)
        self._count(size, before)
        after = path.stat()
        is_settled = (
            after.st_ctime_ns == found.st_ctime_ns
            and after.st_ino == found.st_ino
            and time.time_ns() - found.st_ctime_ns > _SETTLED
        )
        self.files[name] = StoredFile(
            sha256=sha256,
            size=size,
            mode=stat.S_IMODE(found.st_mode),
            modified=found.st_mtime_ns,
            seen=(found.st_ctime_ns, found.st_ino) if is_settled else None,
        )

    def _store_text(self, name: str, text: str, like: Path) -> None:
        before = self.target.number_of_contents
        sha256, size = self.target.add(io.BytesIO(text.encode()))
        self._count(size, before)
        found = like.stat()
        self.files[name] = StoredFile(
            sha256=sha256, size=size, mode=stat.S_IMODE(found.st_mode), modified=found.st_mtime_ns
        )

    def folder(self, name: str, path: Path) -> None:
        """Remember a folder, and who may read it."""
        self.folders[name] = stat.S_IMODE(path.stat().st_mode)

    # --------------------------------------------------------------- its parts

    def take_notes(self) -> None:
        """Store the small files of the feeds: before the state and the version."""
        root = self.hospital.path
        self.folder(".", root)
        if (root / "feeds").is_dir():
            self.folder("feeds", root / "feeds")
        for feed in feed_names(root):
            folder = feed_folder(root, feed)
            self.folder(f"feeds/{feed}", folder)
            inbox = {path for _, path in segments_of(folder)}
            for path in sorted(folder.iterdir()):
                if path.name != "lock" and path not in inbox and _is_finished_file(path):
                    self._store_if_there(f"feeds/{feed}/{path.name}", path)

    def take_state(self) -> None:
        """Store the state, as it is at one moment; where it is a file."""
        where = state_of(self.hospital.path)
        if isinstance(where, str):
            self.state = StoredState(kind="postgresql", place=_without_password(where))
        elif where.is_file():
            with copied_state(where, self.target.folder / "objects") as copy:
                self.store(STATE, copy)
                is_own = where.resolve() == self.hospital.path / STATE
                self.state = StoredState(
                    kind="sqlite",
                    place="" if is_own else str(where.absolute()),
                    head=head_of_state(copy),
                )
            # The copy is gone: the next one is compared by its content alone.
            self.files[STATE] = self.files[STATE].model_copy(update={"seen": None, "mode": 0o600})
            self.reused.pop(STATE, None)

    def take_inboxes(self, manifest: Manifest) -> None:
        """Store what the feeds took, up to the last whole message.

        Raises
        ------
        _GoneError
            Messages that the version does not have were shredded meanwhile.
        """
        for name in [one for one in self.files if one.endswith(".inbox")]:
            del self.files[name]  # of an attempt before
            self.reused.pop(name, None)
        self.taken.clear()
        self.problems.clear()
        for feed in feed_names(self.hospital.path):
            folder = feed_folder(self.hospital.path, feed)
            place = manifest.feeds.get(feed, "0")
            applied = int(place) if place.isdecimal() else 0
            segments = segments_of(folder)
            if segments and segments[0][0] > applied + 1:
                raise _GoneError(feed)
            for number, (first, path) in enumerate(segments, 1):
                name = f"feeds/{feed}/{path.name}"
                end, records = self._store_segment(name, path, is_last=number == len(segments))
                if end < 0:
                    self.problems.append(
                        f"{path}: a segment of the inbox is damaged; it was stored as it is"
                    )
                self.taken[feed] = first + records - 1

    def _store_segment(self, name: str, path: Path, *, is_last: bool) -> tuple[int, int]:
        """Store a segment; return where it ends (below 0: damaged) and how many records it has."""
        try:
            size = path.stat().st_size
            end, records = whole_part(path)
        except FileNotFoundError:
            raise _GoneError(name) from None
        if end < size and not is_last:
            if not path.exists():
                raise _GoneError(name)  # it was being overwritten
            self.store(name, path)
            return -1, records
        self.store(name, path, most=end)
        if name not in self.reused and (
            whole_part(self.target.path_of(self.files[name].sha256)) != (end, records)
        ):
            raise _GoneError(name)
        return end, records

    def take_version(self, manifest: Manifest) -> dict[str, int]:
        """Store the tables of a version; return how many rows each has.

        Raises
        ------
        BadInputError
            A file that the version names is not there.
        """
        root = self.hospital.path
        version = f"manifests/{manifest.version:08d}.json"
        parts = [("tables/" + name, at) for name, at in sorted(manifest.tables.items())]
        if manifest.identities is not None:
            parts.append(("identities/pairs", manifest.identities))
        try:
            self.store(version, root / version)
            self._store_text("current", f"{manifest.version}\n", root / "current")
            for name in ("tables", "manifests"):
                self.folder(name, root / name)
            for part, at in parts:
                folder = root / part
                self.folder(part, folder)
                self.folder(f"{part}/_delta_log", folder / "_delta_log")
                for one in (*tables.file_names(folder, at), *tables.log_names(folder, at)):
                    self.store(f"{part}/{one}", folder / one)
        except _GoneError as error:
            message = (
                f"{root}: a file of the current version is not there; found {error} missing; the "
                "hospital itself is damaged: restore it from an earlier backup"
            )
            raise BadInputError(message) from None
        snapshot = self.hospital.snapshot(version=manifest.version)
        return {
            name: int(snapshot.stored(name).select(pl.len()).collect().item())
            for name in sorted(manifest.tables)
        }

    def take_the_rest(self) -> None:
        """Store what else is in the folder, and is not computed again."""
        where = state_of(self.hospital.path)
        state = "" if isinstance(where, str) else str(where.absolute())
        for name, path in _rest(self.hospital.path):
            if state and str(path).startswith(state):
                continue
            with suppress(FileNotFoundError):  # deleted since the folder was listed
                if path.is_dir():
                    self.folder(name, path)
                else:
                    self._store_if_there(name, path)

    def _store_if_there(self, name: str, path: Path) -> None:
        try:
            self.store(name, path)
        except _GoneError:  # deleted since the folder was listed
            return

    def mend(self) -> int:
        """Store again what an earlier backup stored and the target has damaged since."""
        mended = 0
        for name, (path, most) in self.reused.items():
            if not self.target.is_whole(self.files[name].sha256):
                with suppress(FileNotFoundError):  # gone since: what is damaged is told
                    self._copy(name, path, path.stat(), most)
                    mended += 1
        return mended


def _is_finished_file(path: Path) -> bool:
    return path.is_file() and not path.name.endswith(_UNFINISHED)


def _rest(root: Path) -> Iterator[tuple[str, Path]]:
    """Walk through a hospital's folder; links are followed, but never in a circle."""
    seen = {root.resolve()}
    waiting = [root]
    while waiting:
        try:
            paths = sorted(waiting.pop().iterdir())
        except FileNotFoundError:  # deleted since its name was read
            continue
        for path in paths:
            name = path.relative_to(root).as_posix()
            if name in _LEFT or name.startswith(STATE):
                continue
            if path.is_dir():
                if path.resolve() not in seen:
                    seen.add(path.resolve())
                    waiting.append(path)
                    yield name, path
            elif _is_finished_file(path):
                yield name, path


def _without_password(url: str) -> str:
    head, mark, rest = url.rpartition("@")
    return f"{head.partition('://')[0]}://…{mark}{rest}" if mark else url


def _check_places(hospital: Path, target: Path) -> None:
    inner, outer = target.resolve(), hospital.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        message = (
            f"{target}: cannot hold the backups; found it within the hospital's folder, or around "
            "it; give a folder elsewhere, best on another disk"
        )
        raise UsageError(message)


def create_backup(
    hospital: Path,
    target: Path,
    *,
    now: datetime,
    keep: int | None = None,
    verify: bool = True,
    progress: Callable[[int], None] | None = None,
) -> BackupSummary:
    """Take a backup while others read and write; it is there whole, or not at all.

    Parameters
    ----------
    hospital : Path
        Its folder.
    target : Path
        Holds the backups of this hospital; made where it is not there.
    now : datetime
        Aware.
    keep : int, optional
        How many of the newest backups stay, this one among them; by default all.
    verify : bool
        Read all of it back, and open it as a hospital, before it counts.
    progress : callable, optional
        Called with the bytes stored so far.

    Raises
    ------
    UsageError
        The target lies in the hospital or around it, or `keep` is below 1.
    ConflictError
        The target is another hospital's or in use, something may not be read or written.
    BadInputError
        The disk is full, or what was written cannot be read back. Earlier backups stay.
    NotFoundError
        There is no hospital.
    """
    begun = time.monotonic()
    if keep is not None and keep < 1:
        message = f"keep: at least one backup must stay; found {keep}; give 1 or more"
        raise UsageError(message)
    opened = open_hospital(hospital)
    _check_places(opened.path, target)
    with open_target(target, hospital=opened.settings.hospital) as place:
        earlier, _ = place.backups()
        before = {name: one for backup in earlier[-1:] for name, one in backup.files.items()}
        taking = _Taking(opened, place, before, progress)
        taking.take_notes()
        taking.take_state()
        backup, mended = _version_taken(taking, now, verify=verify)
        place.commit(backup)
        forgotten = [] if keep is None else place.forget(keep)
        freed = place.sweep()
    return BackupSummary(
        backup=backup,
        new_files=taking.new_files,
        new_bytes=taking.new_bytes,
        is_verified=verify,
        mended=mended,
        forgotten=forgotten,
        freed=freed,
        seconds=round(time.monotonic() - begun, 3),
    )


def _version_taken(taking: _Taking, now: datetime, *, verify: bool) -> tuple[Backup, int]:
    """Store a version with the inboxes behind it; return the backup, and what was mended."""
    root = taking.hospital.path
    for _ in range(_MOST_TRIES):
        with held_version(root) as manifest:
            try:
                taking.take_inboxes(manifest)
            except _GoneError:  # applied and shredded meanwhile: a later version has it
                continue
            rows = taking.take_version(manifest)
            taking.take_the_rest()
            mended = taking.mend() if verify else 0
            number = taking.target.next_number()
            made = now.astimezone(UTC)
            backup = Backup(
                id=f"{number:06d}-{made:%Y%m%dT%H%M%SZ}",
                number=number,
                neva=installed("neva"),
                made=made,
                hospital=taking.hospital.settings.hospital,
                version=manifest.version,
                rows=rows,
                applied=dict(manifest.feeds),
                taken=taking.taken,
                state=taking.state,
                folders=taking.folders,
                files=taking.files,
                problems=taking.problems,
            )
            if verify:
                check_backup(taking.target, backup)
            return backup, mended
    message = (
        f"{root}: the inbox of a feed lacks messages that were not applied; found them gone each "
        "time; look at 'neva feed status', and restore the inbox from an earlier backup"
    )
    raise ConflictError(message)
