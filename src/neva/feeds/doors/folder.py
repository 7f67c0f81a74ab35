"""A folder that is watched: files are taken when they are complete, each once."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from neva.errors import BadInputError, ConflictError, NevaError, NotFoundError, UsageError
from neva.feeds.doors.door import Door
from neva.feeds.inbox import Inbox, Reader
from neva.feeds.status import feed_folder, read_status, write_status
from neva.files.whole import disk_problem, write_whole
from neva.intake.importing import MOST_REFUSED
from neva.sources.csv.mapping import Mapping
from neva.sources.csv.source import open_csv, read_mapping
from neva.sources.fhir.source import open_fhir
from neva.sources.hl7v2.files import cut_file
from neva.sources.hl7v2.profile import read_profile
from neva.sources.rows import Delivery

__all__ = ["MARKERS", "FolderSettings", "WatchedFolder"]

_LOG = logging.getLogger("neva.feeds")
#: Names that a file has while it is being written.
_UNFINISHED: Final = (".tmp", ".part")
#: Names that a marker adds to that of its file.
MARKERS: Final = (".done", ".ok")
_TAKEN: Final = "taken"
_REFUSED: Final = "refused"
_REASON: Final = ".reason.txt"
#: What is being put into an inbox, so that a crash in between puts nothing in twice.
_TAKING: Final = "taking.json"
_RECORDS: Final = 1000


@dataclass(frozen=True, slots=True)
class FolderSettings:
    """What folder is watched, and what its files are.

    Attributes
    ----------
    folder : Path
    source : str
        ``csv``, ``fhir`` or ``hl7v2``.
    mapping : Path or None
        For ``csv``.
    profile : Path or None
        For ``hl7v2``.
    marker : bool
        A file is complete when a marker (:data:`MARKERS`) stands beside it; else when its
        size and time did not change between two looks.
    most_refused : float or None
        As of :func:`neva.intake.importing.import_delivery`, of each file.
    settings : dict
        Of the source.
    """

    folder: Path
    source: Literal["csv", "fhir", "hl7v2"]
    mapping: Path | None = None
    profile: Path | None = None
    marker: bool = False
    most_refused: float | None = MOST_REFUSED
    settings: dict[str, Any] = field(default_factory=dict)


class _State(NamedTuple):
    """What tells a file from one that is still being written, or was written again."""

    modified: int
    size: int
    inode: int


class WatchedFolder:
    """Takes the files of a folder.

    Parameters
    ----------
    door : Door
        Of kind ``folder``, entered.
    settings : FolderSettings

    Raises
    ------
    UsageError
        Mapping or profile is missing, or not for this source.
    NotFoundError
        There is no such folder.
    ConflictError
        The folder may not be written.
    """

    def __init__(self, door: Door, settings: FolderSettings) -> None:
        self._door = door
        self._settings = settings
        self._folder = settings.folder.absolute()
        self._seen: dict[str, _State] = {}
        #: How many files were taken or refused.
        self.taken = 0
        self._profile = None
        if not self._folder.is_dir():
            message = f"{settings.folder}: no such folder; found nothing to watch; check the path"
            raise NotFoundError(message)
        wanted = {"csv": "mapping", "hl7v2": "profile"}.get(settings.source)
        for name in ("mapping", "profile"):
            if (getattr(settings, name) is not None) != (name == wanted):
                do = f"give --{name} FILE" if name == wanted else "leave it out"
                found = "none" if name == wanted else "one"
                message = f"--{name}: for files of {settings.source}; found {found}; {do}"
                raise UsageError(message)
        if settings.profile is not None:
            self._profile = read_profile(settings.profile)
            if self._profile.name == door.name:
                message = (
                    f"--name: the feed of the profile has this name; found {door.name!r}; name "
                    f"the folder otherwise, for example {door.name}-files"
                )
                raise UsageError(message)
        try:
            for name in (_TAKEN, _REFUSED):
                (self._folder / name).mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            problem = disk_problem(error, self._folder)
            message = f"{self._folder}: cannot be used; {error.strerror}"
            raise problem or ConflictError(message) from None

    # ---------------------------------------------------------------- looking

    def look(self) -> bool:
        """Take the files that are complete, in order of their time and name.

        Returns
        -------
        bool
            True where there are files whose completeness the next look tells.

        Raises
        ------
        ConflictError
            The folder cannot be read or written any more, or somebody else writes to the
            hospital or the inbox.
        BadInputError
            The disk is full, or hospital or inbox are damaged.
        MappingError
            The mapping is wrong.
        """
        try:
            return self._look()
        except OSError as error:
            problem = disk_problem(error, self._folder)
            message = (
                f"{self._folder}: cannot be used; found {error.strerror}; see whether it is there"
            )
            raise problem or ConflictError(message) from None

    def _look(self) -> bool:
        if self._settings.source == "csv":
            read_mapping(self._settings.mapping, Mapping)  # its faults are none of the files
        states = self._states()
        complete = sorted(
            (state.modified, name)
            for name, state in states.items()
            if self._is_complete(name, state)
        )
        waiting = [name for name in states if name not in self._seen]
        self._seen = states
        left, problem = len(complete), None
        for _, name in complete:
            if self._door.stop.is_set():
                break
            self._door.write_status(backlog=left, problem=problem, refused=self._number_refused())
            try:
                self._take(name, states[name])
                left -= 1
            except PermissionError:
                problem = (
                    f"{name}: may not be read or moved; found it refused by the system; give the "
                    "feed's user the rights to the file and its folder"
                )
        self._door.write_status(backlog=left, problem=problem, refused=self._number_refused())
        return bool(waiting) and not self._settings.marker

    def _states(self) -> dict[str, _State]:
        """Return the files that may be taken; what only looks like one is left alone."""
        found: dict[str, _State] = {}
        markers = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name.lower().endswith(_UNFINISHED):
                    continue
                if not entry.is_file(follow_symlinks=False):
                    continue
                if self._settings.marker and name.endswith(MARKERS):
                    markers.append(name)
                    continue
                try:
                    found[name] = _state_of(entry.stat(follow_symlinks=False))
                except FileNotFoundError:
                    continue
        for name in markers:
            # A sender writes the file first: a marker alone is what a crash left.
            if not (self._folder / name.rpartition(".")[0]).exists():
                (self._folder / name).unlink(missing_ok=True)
        return found

    def _number_refused(self) -> int:
        """Count the files that were put aside and are still there."""
        return sum(1 for _ in (self._folder / _REFUSED).glob(f"*{_REASON}"))

    def _is_complete(self, name: str, state: _State) -> bool:
        if not self._settings.marker:
            return self._seen.get(name) == state
        for marker in self._markers(name):
            try:
                if marker.stat().st_mtime_ns >= state.modified:
                    return True
            except FileNotFoundError:
                continue
        return False

    def _markers(self, name: str) -> list[Path]:
        return [self._folder / f"{name}{ending}" for ending in MARKERS]

    # ----------------------------------------------------------------- taking

    def _take(self, name: str, state: _State) -> None:
        path = self._folder / name
        try:
            sha256 = _sha256(path)
        except FileNotFoundError:
            return
        if self._door.place().get("sha256") != sha256:
            messages: list[bytes] = []
            try:
                if self._profile is None:
                    self._into_store(path, name, sha256)
                else:
                    messages = _messages_of(path)
            except ConflictError:
                raise
            except NevaError as error:
                if _is_about_the_disk(error):
                    raise
                self._refuse(name, error)
                return
            if messages:
                self._into_inbox(messages, sha256)
        if self._changed(path, state):
            _LOG.warning("feed %s: a file changed while it was read; it is taken again",
                         self._door.name)  # fmt: skip
            return
        self._move(name, _TAKEN)

    def _changed(self, path: Path, state: _State) -> bool:
        try:
            return _state_of(path.stat(follow_symlinks=False)) != state
        except FileNotFoundError:
            return True

    def _into_store(self, path: Path, name: str, sha256: str) -> None:
        settings, door = self._settings, self._door
        opened: Callable[[], Delivery]
        zone = door.hospital.settings.zone
        if settings.source == "csv":
            opened = partial(open_csv, path, zone=zone, mapping=settings.mapping)
        else:
            opened = partial(open_fhir, path, zone=zone, **settings.settings)
        door.deliver(
            opened,
            label=name,
            place={"files": int(door.place().get("files", 0)) + 1, "sha256": sha256},
            most_refused=settings.most_refused,
        )

    def _into_inbox(self, messages: list[bytes], sha256: str) -> None:
        """Put the messages of a file into the inbox of their feed, each once."""
        assert self._profile is not None
        folder = feed_folder(self._door.hospital.path, self._profile.name)
        applied = self._door.hospital.manifest().position(self._profile.name)
        peer = f"file {sha256}"
        inbox = Inbox(folder, at_least=applied)
        try:
            note = read_status(self._door.folder, _TAKING)
            if note.get("sha256") == sha256:
                done = _records_of(folder, int(note["after"]), peer)
            else:
                done = 0
                write_status(
                    self._door.folder, _TAKING, {"sha256": sha256, "after": inbox.position}
                )
            arrived = self._door.now()
            rest = messages[done:]
            for first in range(0, len(rest), _RECORDS):
                inbox.take([(arrived, peer, one) for one in rest[first : first + _RECORDS]])
        finally:
            inbox.close()
        self._door.arrived()

    # ----------------------------------------------------------------- moving

    def _refuse(self, name: str, error: NevaError) -> None:
        """Put a file aside, with the reason beside it."""
        at: datetime = self._door.now()
        target = self._free(_REFUSED, name)
        reason = target.with_name(f"{target.name}{_REASON}")
        write_whole(reason, f"{at.isoformat(timespec='seconds')}\n{error}\n", private=True)
        _LOG.error("feed %s: a file was refused; the reason is in %s", self._door.name, _REFUSED)
        self._move(name, _REFUSED, target)

    def _free(self, where: str, name: str) -> Path:
        """Return a path for a file in a folder where its name may be taken."""
        stem, dot, ending = name.partition(".")
        target, number = self._folder / where / name, 2
        while target.exists():
            target = self._folder / where / f"{stem}-{number}{dot}{ending}"
            number += 1
        return target

    def _move(self, name: str, where: str, target: Path | None = None) -> None:
        (self._folder / name).rename(target or self._free(where, name))
        self._seen.pop(name, None)
        self.taken += 1
        for marker in self._markers(name) if self._settings.marker else ():
            marker.unlink(missing_ok=True)


def _state_of(found: os.stat_result) -> _State:
    return _State(found.st_mtime_ns, found.st_size, found.st_ino)


def _messages_of(path: Path) -> list[bytes]:
    """Cut a file into its HL7 v2 messages; refuse one that is not whole."""
    content = path.read_bytes()
    cut = cut_file(content)
    if not cut.messages:
        message = (
            f"{path.name}: no HL7 v2 messages; found {len(content):,} bytes without one; check "
            "the file and what sends it"
        )
        raise BadInputError(message)
    if not cut.is_whole:
        promised = "" if cut.promised is None else f", the trailer says {cut.promised:,}"
        begun = f", {cut.incomplete:,} begun and never ended" if cut.incomplete else ""
        message = (
            f"{path.name}: the batch is not whole; found {len(cut.messages):,} messages"
            f"{promised}{begun}; nothing of it was taken: send it again"
        )
        raise BadInputError(message)
    return cut.messages


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _records_of(folder: Path, after: int, peer: str) -> int:
    """Count the records of a file that are in an inbox, after a position."""
    reader, number = Reader(folder, after), 0
    try:
        while records := reader.read(_RECORDS):
            number += sum(record.peer == peer for record in records)
    except BadInputError:  # shredded long ago: the file was sent again
        return 0
    return number


def _is_about_the_disk(error: BaseException) -> bool:
    """Tell whether what went wrong is the disk's fault, and none of the file."""
    cause: BaseException | None = error
    while cause is not None:
        if disk_problem(cause) is not None:
            return True
        cause = cause.__cause__ or cause.__context__
    return False
