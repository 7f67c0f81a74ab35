"""The folder that holds the backups of one hospital.

::

    target.json      whose backups these are
    objects/ab/ab…   contents of files, each once, named by their SHA-256
    backups/         one list of files for each backup, written last
    lock             who writes

A backup exists when its list does. Contents that no list names are what an interrupted backup
left: the next one uses or deletes them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final
from uuid import uuid4

from neva.backups.contents import FORMAT, Backup, read_contents, write_contents
from neva.errors import BadInputError, ConflictError, NevaError, NotFoundError
from neva.files.whole import disk_problem, synchronise, write_whole

__all__ = ["Target", "copied", "open_target"]

_ABOUT: Final = "target.json"
_OWN: Final = {_ABOUT, "objects", "backups", "lock"}
#: What a new disk has in it already.
_OF_DISKS: Final = {"lost+found"}
_CHUNK: Final = 2**20
_ID: Final = re.compile(r"(\d{6,})-\d{8}T\d{6}Z")


def copied(source: BinaryIO, into: BinaryIO | None, *, most: int | None = None) -> tuple[str, int]:
    """Copy a stream; return the SHA-256 and the size of what was copied.

    Parameters
    ----------
    source, into : binary file
        `into` None: it is only read.
    most : int, optional
        So many bytes at most.
    """
    digest, size = hashlib.sha256(), 0
    while most is None or size < most:
        data = source.read(_CHUNK if most is None else min(_CHUNK, most - size))
        if not data:
            break
        digest.update(data)
        if into is not None:
            into.write(data)
        size += len(data)
    return digest.hexdigest(), size


class Target:
    """An open target; made by :func:`open_target`.

    Attributes
    ----------
    folder : Path
    hospital : str
        Id of the hospital whose backups these are.
    number_of_contents : int
        How many were stored that were not there.
    """

    def __init__(self, folder: Path, hospital: str) -> None:
        self.folder = folder
        self.hospital = hospital
        self.number_of_contents = 0
        self._touched: set[Path] = set()

    # ------------------------------------------------------------------ backups

    def _lists(self) -> list[Path]:
        found = (self.folder / "backups").glob("*.json")
        return sorted((one for one in found if _ID.fullmatch(one.stem)), key=_number_of)

    def backups(self) -> tuple[list[Backup], list[str]]:
        """Return the backups, oldest first, and what is wrong with lists that are damaged."""
        backups, problems = [], []
        for path in self._lists():
            try:
                backups.append(read_contents(path))
            except BadInputError as error:
                problems.append(str(error))
        return backups, problems

    def find(self, name: str | None = None) -> Backup:
        """Return a backup by its id or number; the newest by default.

        Raises
        ------
        NotFoundError
            There is none of this name.
        BadInputError
            Its list is damaged.
        """
        lists = self._lists()
        wanted = [
            one for one in lists
            if name is None or name in (one.stem, str(_number_of(one)))
        ]  # fmt: skip
        if wanted:
            return read_contents(wanted[-1])
        known = f"{lists[0].stem} to {lists[-1].stem}" if lists else "no backup"
        message = f"{self.folder}: no such backup; found {known}; 'neva backup list' shows them"
        raise NotFoundError(message)

    def next_number(self) -> int:
        """Return the number of the next backup."""
        return max(map(_number_of, self._lists()), default=0) + 1

    def commit(self, backup: Backup) -> None:
        """Let a backup exist: all that it names is on disk before."""
        with self._user_problems():
            for folder in (*self._touched, self.folder / "objects"):
                synchronise(folder)
            self._touched.clear()
            write_contents(self.folder / "backups" / f"{backup.id}.json", backup)
            synchronise(self.folder / "backups")

    def forget(self, keep: int) -> list[str]:
        """Delete all but the newest backups; return the ids of those that are gone."""
        gone = [one.stem for one in self._lists()[:-keep]]
        for name in gone:
            (self.folder / "backups" / f"{name}.json").unlink()
        if gone:
            # On disk before what they name is deleted.
            synchronise(self.folder / "backups")
        return gone

    def sweep(self) -> int:
        """Delete drafts, and contents that no list names; return how many bytes.

        Nothing of a damaged list can be told apart: while there is one, contents stay.
        """
        backups, problems = self.backups()
        named = {sha256 for one in backups for sha256 in one.objects}
        freed = 0
        for path in (self.folder / "objects").rglob("*"):
            if path.is_dir() or (path.suffix != ".new" and (problems or path.name in named)):
                continue
            freed += path.stat().st_size
            path.unlink()
        for path in (self.folder / "backups").glob(".*.new"):
            path.unlink()
        return freed

    # ----------------------------------------------------------------- contents

    def path_of(self, sha256: str) -> Path:
        """Return where the content of a checksum is."""
        return self.folder / "objects" / sha256[:2] / sha256

    def has(self, sha256: str, size: int) -> bool:
        """Say whether a content is there, by its name and size."""
        try:
            return self.path_of(sha256).stat().st_size == size
        except FileNotFoundError:
            return False

    def is_whole(self, sha256: str) -> bool:
        """Read a content, and say whether it is what its name says."""
        try:
            with self.path_of(sha256).open("rb") as stream:
                return copied(stream, None)[0] == sha256
        except OSError:
            return False

    def add(self, source: BinaryIO, *, most: int | None = None) -> tuple[str, int]:
        """Store a content; what was there of its name is replaced, should it be damaged.

        Returns
        -------
        sha256 : str
        size : int
        """
        draft = self.folder / "objects" / f"{uuid4().hex}.new"
        try:
            with self._user_problems():
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    sha256, size = copied(source, stream, most=most)
                    stream.flush()
                    os.fsync(descriptor)
                place = self.path_of(sha256)
                place.parent.mkdir(mode=0o700, exist_ok=True)
                self.number_of_contents += not place.exists()
                draft.replace(place)
                self._touched.add(place.parent)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        return sha256, size

    @contextmanager
    def _user_problems(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = disk_problem(error, self.folder)
            if problem is not None:
                raise problem from error
            raise


def _number_of(path: Path) -> int:
    return int(path.stem.partition("-")[0])


@contextmanager
def open_target(folder: Path, *, hospital: str | None = None) -> Iterator[Target]:
    """Open a target.

    Parameters
    ----------
    folder : Path
    hospital : str, optional
        Id of the hospital whose backup is to be written: the target is made where it is not
        there, and nobody else may use it meanwhile. None: to read only.

    Raises
    ------
    NotFoundError
        There is no target.
    ConflictError
        Its backups are of another hospital, it holds something else, somebody else writes into
        it, or it may not be written.
    BadInputError
        It is damaged, of a newer Neva, or the disk is full.
    """
    about = folder / _ABOUT
    if hospital is None:
        with _locked(folder / "lock", write=False):
            yield Target(folder, _hospital_of(about))
        return
    others = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
    is_new = _ABOUT not in others
    if is_new and others - _OWN - _OF_DISKS:
        message = (
            f"{folder}: cannot hold backups; found other things in it; give a new or empty folder"
        )
        raise ConflictError(message)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("objects", "backups"):
            (folder / name).mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        problem: NevaError | None = disk_problem(error, folder)
        message = f"{folder}: cannot be used; found {error.strerror}; give another folder"
        raise problem or ConflictError(message) from None
    with _locked(folder / "lock", write=True):
        if not about.exists():
            text = json.dumps({"format": FORMAT, "hospital": hospital}, indent=1)
            write_whole(about, text, private=True)
        if (whose := _hospital_of(about)) != hospital:
            message = (
                f"{folder}: holds backups of another hospital; found {whose}, not {hospital}; "
                "give each hospital a folder of its own"
            )
            raise ConflictError(message)
        yield Target(folder, hospital)


def _hospital_of(about: Path) -> str:
    try:
        found = json.loads(about.read_bytes())
        format_, hospital = found["format"], str(found["hospital"])
    except FileNotFoundError:
        message = (
            f"{about.parent}: no backups there; found no {about.name}; give the folder that "
            "'neva backup create' wrote"
        )
        raise NotFoundError(message) from None
    except (OSError, ValueError, KeyError, TypeError):
        message = (
            f"{about}: cannot be read; found no id of a hospital in it; write "
            '{"format": 1, "hospital": ID} with the id of hospital.json into it'
        )
        raise BadInputError(message) from None
    if format_ != FORMAT:
        message = (
            f"{about}: another Neva wrote these backups; found format {str(format_)[:20]}, known "
            f"is {FORMAT}; use the Neva that wrote them, or a later one"
        )
        raise BadInputError(message)
    return hospital


@contextmanager
def _locked(path: Path, *, write: bool) -> Iterator[None]:
    """Keep others from writing; also from reading, where something is written."""
    flags = os.O_RDWR | os.O_CREAT if write else os.O_RDONLY
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if not write:  # a copy of a target, or one that may only be read
            yield
            return
        message = (
            f"{path.parent}: may not be written; found {error.strerror}; check the rights of the "
            "folder"
        )
        raise disk_problem(error, path) or ConflictError(message) from None
    try:
        if not _lock(descriptor, fcntl.LOCK_EX if write else fcntl.LOCK_SH):
            message = (
                f"{path.parent}: another process uses these backups; found its lock held; wait "
                "for it to end, or stop it"
            )
            raise ConflictError(message)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    """Take a lock; say whether nobody else holds it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a share without locks: there one process at a time must write
        return True
    return True
