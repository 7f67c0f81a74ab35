"""The manifest: which version of each table makes one version of the hospital.

Delta Lake commits one table at a time. A hospital version is therefore a
small file that names a version of every table; it becomes current by one
atomic rename, the last step of every write. Whatever the tables hold beyond
it does not exist for a reader.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from neva.errors import BadInputError, ConflictError, NotFoundError
from neva.files.whole import write_whole

__all__ = ["Manifest", "current_version", "read_manifest", "versions", "write_manifest"]


#: So far a time may lie after the import that told it: clocks differ.
GRACE_AHEAD = timedelta(days=1)


class Manifest(BaseModel):
    """One version of a hospital.

    Attributes
    ----------
    version : int
        Counts from 1; 0 is the empty hospital.
    tables : dict of str to int
        Delta version of each table that exists.
    identities : int or None
        Delta version of the identities table.
    written : datetime
        UTC.
    first, last : datetime or None
        The span of what is recorded as done: first and last time of any
        event, stay or movement. ``last`` is the data cut: *now* where none
        is given.
    dates_shifted : bool
        Its dates were shifted on purpose: they say nothing about the import.
    feeds : dict of str to str
        Of each live feed: up to where what it delivered is part of this version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    tables: dict[str, int]
    identities: int | None = None
    written: AwareDatetime
    first: AwareDatetime | None = None
    last: AwareDatetime | None = None
    dates_shifted: bool = False
    feeds: dict[str, str] = Field(default_factory=dict)

    @property
    def data_cut(self) -> datetime:
        """*Now* where none is given: the last time told, never beyond the last import.

        A single mistyped year must not move the clock of the hospital; where
        dates are shifted on purpose, the import says nothing of them.
        """
        if self.last is None:
            return self.written
        return self.last if self.dates_shifted else min(self.last, self.written + GRACE_AHEAD)

    def position(self, feed: str) -> int:
        """Return how many messages of a feed are part of this version.

        Raises
        ------
        ConflictError
            The feed of this name counts no messages: it has another kind of place.
        """
        place = self.feeds.get(feed, "0")
        if not place.isdecimal():
            message = (
                f"feed {feed}: another kind of feed has this name; found a place that is no "
                "number of messages; give one of the two another name"
            )
            raise ConflictError(message)
        return int(place)

    def spanning(self, first: datetime | None, last: datetime | None) -> Manifest:
        """Return this manifest with its span widened to hold `first` and `last`."""
        firsts = [t for t in (self.first, first) if t is not None]
        lasts = [t for t in (self.last, last) if t is not None]
        return self.model_copy(
            update={"first": min(firsts, default=None), "last": max(lasts, default=None)}
        )


def _path(hospital: Path, version: int) -> Path:
    return hospital / "manifests" / f"{version:08d}.json"


def _state_of(path: Path) -> tuple[int, ...]:
    """Tell a file from what it was before: each of ours is replaced, never written over.

    One page asks for the same small files dozens of times.
    """
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=64)
def _pointed(path: Path, _: tuple[int, ...]) -> int:
    return int(path.read_text())


def current_version(hospital: Path) -> int:
    """Read the number of the current version.

    Raises
    ------
    NotFoundError
        The folder is no hospital.
    BadInputError
        The pointer to the current version is damaged.
    """
    path = hospital / "current"
    try:
        return _pointed(path, _state_of(path))
    except FileNotFoundError:
        message = (
            f"{hospital}: not a hospital; found no file 'current' in it; give the folder that "
            "'neva import' wrote, or import into a new one"
        )
        raise NotFoundError(message) from None
    except ValueError:
        message = (
            f"{path}: names no version; found no number in it; write the number of the newest "
            "file in 'manifests' into it"
        )
        raise BadInputError(message) from None


def versions(hospital: Path) -> list[int]:
    """List the versions that can still be read, oldest first."""
    current = current_version(hospital)
    kept = sorted(int(path.stem) for path in (hospital / "manifests").glob("????????.json"))
    return [version for version in kept if version <= current]


@lru_cache(maxsize=64)
def _parsed(path: Path, _: tuple[int, ...]) -> Manifest:
    return Manifest.model_validate_json(path.read_bytes())


def read_manifest(hospital: Path, version: int | None = None) -> Manifest:
    """Read one manifest; the current one if `version` is None.

    Raises
    ------
    NotFoundError
        The folder is no hospital, or it has no such version.
    BadInputError
        The manifest is damaged.
    """
    current = current_version(hospital)
    wanted = current if version is None else version
    try:
        # A file beyond the current version is what a broken-off write left.
        if wanted > current:
            raise FileNotFoundError
        path = _path(hospital, wanted)
        return _parsed(path, _state_of(path))
    except FileNotFoundError:
        kept = versions(hospital)
        span = f"{kept[0]} to {kept[-1]}" if kept else "none"
        message = f"{hospital}: no version {wanted}; found versions {span}; ask for one of them"
        raise NotFoundError(message) from None
    except ValueError as error:
        message = (
            f"{_path(hospital, wanted)}: the manifest cannot be read; found {type(error).__name__}"
            "; restore the file from a backup or open the version before it"
        )
        raise BadInputError(message) from error


def _write_atomically(path: Path, text: str) -> None:
    write_whole(path, text)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_manifest(hospital: Path, manifest: Manifest) -> None:
    """Make `manifest` the current version; atomic, on disk when it returns."""
    (hospital / "manifests").mkdir(exist_ok=True)
    # Only where it says something: an earlier Neva reads the others.
    exclude = {name for name in ("dates_shifted", "feeds") if not getattr(manifest, name)}
    _write_atomically(
        _path(hospital, manifest.version), manifest.model_dump_json(indent=1, exclude=exclude)
    )
    _write_atomically(hospital / "current", f"{manifest.version}\n")
