"""The hospital: a folder of tables on disk, its readers and its one writer."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from neva.errors import BadInputError, ConflictError, UsageError
from neva.events import tables
from neva.events.formats import FORMAT, Settings, read_settings, upgrade
from neva.events.holds import held_versions
from neva.events.identities import IDENTITIES, MERGED, Pseudonyms, create_key, read_key
from neva.events.lock import writer_lock
from neva.events.manifest import (
    Manifest,
    current_version,
    read_manifest,
    versions,
    write_manifest,
)
from neva.events.read_only import cache_of
from neva.events.schema import TABLES
from neva.events.snapshot import Snapshot

__all__ = ["Hospital", "Settings", "Writer", "create_hospital", "open_hospital"]

#: Readers keep the files of a version for so long after it was replaced.
GRACE = timedelta(hours=1)

#: More small files than this in a table, and the next write compacts them ...
COMPACT_ABOVE_FILES = 8
#: ... into files of these sizes, in bytes: the smallest first.
COMPACT_TO: Final = (8 * 2**20, 64 * 2**20)


@dataclass(frozen=True)
class Hospital:
    """A store of events, stays, movements and what belongs to them.

    Attributes
    ----------
    path : Path
        Its folder: absolute, without symbolic links or ``..``, however it was named at opening.
    settings : Settings
        Its id and time zone.
    """

    path: Path
    settings: Settings

    def _table(self, name: str) -> Path:
        return self.path / "tables" / name

    @property
    def _identities(self) -> Path:
        return self.path / "identities" / "pairs"

    def versions(self) -> list[int]:
        """Versions that can be read, oldest first."""
        return versions(self.path)

    def manifest(self, version: int | None = None) -> Manifest:
        """Read the manifest of a version; of the current one by default."""
        return read_manifest(self.path, version)

    def snapshot(self, *, as_of: datetime | None = None, version: int | None = None) -> Snapshot:
        """View the hospital at one version, as known at one time.

        Parameters
        ----------
        as_of : datetime, optional
            Aware. None: all that is recorded, *now* being the data cut.
        version : int, optional
            A hospital version; the current one by default.

        Raises
        ------
        NotFoundError
            There is no such version.
        UsageError
            `as_of` has no time zone.
        """
        if as_of is not None and as_of.tzinfo is None:
            message = (
                "as_of: the time has no zone; found a naive time; add the offset, "
                "as in 2020-05-01T08:00+03:00"
            )
            raise UsageError(message)
        read_settings(self.path)  # upgraded since it was opened?
        manifest = self.manifest(version)
        files = {
            name: tables.file_list(self._table(name), at) for name, at in manifest.tables.items()
        }
        return Snapshot(
            hospital=self.settings.hospital,
            version=manifest.version,
            now=as_of or manifest.data_cut,
            as_of=as_of,
            zone=self.settings.zone,
            cache=cache_of(self.path),
            _files=files,
        )

    def identities(self) -> pl.LazyFrame:
        """Pairs of local id and pseudonym: for the identity service, never for analyses."""
        manifest = self.manifest()
        if manifest.identities is None:
            return pl.LazyFrame(schema=IDENTITIES)
        return tables.scan(tables.file_list(self._identities, manifest.identities), IDENTITIES)

    def pseudonyms(self, assigner: str) -> Pseudonyms:
        """Give the pseudonyms of somebody's local ids, as an import would.

        Raises
        ------
        NotFoundError
            The hospital's key is gone.
        """
        merged = self.identities().filter(pl.col("kind") == MERGED).collect()
        return Pseudonyms(read_key(self.path / "identities" / "key"), assigner, merged)

    @contextmanager
    def writer(self, *, purpose: str, now: datetime) -> Iterator[Writer]:
        """Open the hospital for writing, after restoring what was left half-written.

        Parameters
        ----------
        purpose : str
            In words; shown to whoever finds the hospital locked.
        now : datetime
            Aware; becomes the time of what is written.

        Raises
        ------
        ConflictError
            Somebody else is writing.
        """
        with writer_lock(self.path / "lock", purpose=purpose, now=now):
            read_settings(self.path)  # upgraded since it was opened?
            manifest = self.manifest()
            for folder in sorted((self.path / "tables").glob("*")):
                tables.restore(folder, manifest.tables.get(folder.name))
            tables.restore(self._identities, manifest.identities)
            staging = self.path / "staging"
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            try:
                yield Writer(hospital=self, before=manifest, now=now, staging=staging)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def upgrade(self, *, now: datetime) -> int:
        """Bring a hospital of an older format to the newest one; the next write does so too.

        Parameters
        ----------
        now : datetime
            Aware.

        Returns
        -------
        int
            The format that it had. The hospital gets a new version of the same content where
            that was an older one.

        Raises
        ------
        ConflictError
            Somebody else is writing.
        """
        before = read_settings(self.path).format
        if before != FORMAT:
            with self.writer(purpose="upgrade", now=now) as writer:
                writer.commit()
        return before

    def vacuum(self, *, keep: int, now: datetime, grace: timedelta = GRACE) -> int:
        """Drop old versions and the files that only they name.

        Parameters
        ----------
        keep : int
            How many of the newest versions stay readable (at least 1).
        now : datetime
            Aware.
        grace : timedelta
            Whoever opened a version may go on reading it for so long after
            another replaced it, and files written within this time stay.
            Zero: nobody is reading.

        Returns
        -------
        int
            How many files were deleted.

        Raises
        ------
        UsageError
            `keep` is below 1 or `grace` below zero.
        ConflictError
            Somebody else is writing.
        BadInputError
            A file of a version to keep is not there: nothing was deleted.
        """
        if keep < 1:
            message = f"keep: at least one version must stay; found {keep}; give 1 or more"
            raise UsageError(message)
        if grace < timedelta(0):
            message = f"grace: cannot be negative; found {grace}; give zero or more"
            raise UsageError(message)
        deleted = 0
        with self.writer(purpose="vacuum", now=now):
            kept = self._versions_to_keep(keep, since=now - grace)
            # Table-relative names: the folder itself may be named in many ways.
            table_versions = self._table_versions(kept)
            named = {
                (name, file)
                for name, versions in table_versions.items()
                for file in tables.names_in(self._table(name), versions)
            }
            missing = [
                one for one in sorted(named) if not self._table(one[0]).joinpath(one[1]).exists()
            ]
            if missing:
                message = (
                    f"{self.path}: vacuum would keep files that are not there; found "
                    f"{len(missing)} missing, the first in table {missing[0][0]}; nothing was "
                    "deleted; restore the folder from a backup first"
                )
                raise BadInputError(message)
            for path in (self.path / "manifests").glob("????????.json"):
                if int(path.stem) not in kept:
                    path.unlink()
            for name, held in table_versions.items():
                tables.forget_log(self._table(name), min(held))
            for path in (self.path / "tables").glob("*/*.parquet"):
                if (path.parent.name, path.name) in named:
                    continue
                written = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
                if grace and written > now - grace:
                    continue
                path.unlink()
                deleted += 1
        return deleted

    def _table_versions(self, kept: set[int]) -> dict[str, list[int]]:
        """Return the versions of each table that belong to the versions kept."""
        found: dict[str, list[int]] = {}
        for version in sorted(kept):
            for name, at in self.manifest(version).tables.items():
                found.setdefault(name, []).append(at)
        return found

    def _versions_to_keep(self, keep: int, *, since: datetime) -> set[int]:
        """Return the newest `keep` versions, those current after `since`, and those held."""
        known = self.versions()
        replaced = {
            version: self.manifest(following).written
            for version, following in itertools.pairwise(known)
        }
        held = held_versions(self.path) & {*known}
        return {
            *known[-keep:],
            *(version for version, at in replaced.items() if at > since),
            *held,
        }


@dataclass
class Writer:
    """The one writer of a hospital, between opening and commit.

    ``dates_shifted`` set: what is written has dates shifted on purpose.

    Nothing that it writes is visible before :meth:`commit`; if the process
    ends before, the next writer takes the tables back.
    """

    hospital: Hospital
    before: Manifest
    now: datetime
    staging: Path
    _versions: dict[str, int] = field(default_factory=dict)
    _identities: int | None = None
    dates_shifted: bool = False

    def next_batch(self) -> int:
        """Return the number that the next batch gets."""
        stored = self.snapshot().batches().select(pl.col("batch").max()).collect().item()
        return 1 if stored is None else int(stored) + 1

    def snapshot(self) -> Snapshot:
        """View the hospital as it is before this write."""
        return self.hospital.snapshot(version=self.before.version)

    def append(self, table: str, frames: Iterable[pl.DataFrame]) -> None:
        """Append frames to a table."""
        self._versions[table] = tables.append(
            self.hospital.path / "tables" / table,
            frames,
            TABLES[table],
            note=f"hospital version {self.before.version + 1}",
        )

    def retract(self, retractions: pl.DataFrame) -> None:
        """Set ``retracted`` of stored events (columns of ``RETRACTIONS``)."""
        if retractions.height:
            self._versions["events"] = tables.merge(
                self.hospital.path / "tables" / "events",
                retractions,
                note=f"hospital version {self.before.version + 1}",
            )

    def remember(self, pseudonyms: Pseudonyms) -> None:
        """Add the new pairs of an import to the identities."""
        new = pseudonyms.new_pairs(self.hospital.identities())
        if new.height:
            path = self.hospital.path / "identities" / "pairs"
            self._identities = tables.append(path, [new], IDENTITIES, note="identities")

    def _compact(self, manifest: Manifest) -> None:
        """Put small files together where there are many; what each commit costs stays bounded.

        Small ones become middling ones, and many of those large ones: a row is written anew
        a few times in all, however many commits follow, and large files stay as they are.
        """
        for name, at in manifest.tables.items():
            path = self.hospital.path / "tables" / name
            sizes = [Path(file).stat().st_size for file in tables.file_list(path, at)]
            for target in COMPACT_TO:
                if sum(size < target / 2 for size in sizes) > COMPACT_ABOVE_FILES:
                    self._versions[name] = tables.compact(path, target)
                    break

    def commit(
        self,
        first: datetime | None = None,
        last: datetime | None = None,
        *,
        feeds: Mapping[str, str] | None = None,
    ) -> Manifest:
        """Make everything written visible, at once.

        Parameters
        ----------
        first, last : datetime, optional
            Span of the times that were written.
        feeds : mapping of str to str, optional
            Up to where live feeds are part of it.

        Returns
        -------
        Manifest
            The new current version.
        """

        def manifest() -> Manifest:
            return Manifest(
                version=self.before.version + 1,
                tables={**self.before.tables, **self._versions},
                identities=self.before.identities if self._identities is None else self._identities,
                written=self.now,
                first=self.before.first,
                last=self.before.last,
                dates_shifted=self.before.dates_shifted or self.dates_shifted,
                feeds={**self.before.feeds, **(feeds or {})},
            ).spanning(first, last)

        self._compact(manifest())
        committed = manifest()
        # What the manifest names must be on disk before the manifest is.
        for name, version in self._versions.items():
            folder = self.hospital.path / "tables" / name
            tables.sync(folder, self.before.tables.get(name), version)
        if self._identities is not None:
            folder = self.hospital.path / "identities" / "pairs"
            tables.sync(folder, self.before.identities, self._identities)
        upgrade(self.hospital.path)
        write_manifest(self.hospital.path, committed)
        return committed


def _check_name(path: Path) -> None:
    """Refuse a folder whose name the storage library cannot address."""
    found = sorted(set(str(path.absolute())) & set("[]|^\\%"))
    if found:
        message = (
            f"{path}: the folder's path cannot hold a hospital; found {' '.join(found)} in it; "
            "rename the folder or give another"
        )
        raise BadInputError(message)


def create_hospital(path: Path, *, zone: str, now: datetime) -> Hospital:
    """Make a new, empty hospital.

    Parameters
    ----------
    path : Path
        A folder that does not exist or is empty.
    zone : str
        The hospital's time zone (IANA, ``Europe/Moscow``); naive times of its
        sources are read in it and its days are counted in it.
    now : datetime
        Aware.

    Raises
    ------
    ConflictError
        The folder holds something already.
    BadInputError
        There is no such time zone, or the path holds a character that the
        storage cannot address.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        message = (
            f"zone: no such time zone; found {zone!r}; give an IANA name such as Europe/Moscow"
        )
        raise BadInputError(message) from None
    _check_name(path)
    path = path.resolve()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        message = (
            f"{path}: cannot become a hospital; found something in it already; "
            "give a folder that does not exist or is empty"
        )
        raise ConflictError(message)
    # Made beside its place and renamed: a hospital exists whole or not at all.
    new = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    (new / "manifests").mkdir(parents=True)
    for folder in ("tables", "cache"):
        (new / folder).mkdir()
    (new / "identities").mkdir(mode=0o700)
    create_key(new / "identities" / "key")
    settings = Settings(hospital=uuid4().hex[:12], zone=zone, created=now.astimezone(UTC))
    (new / "hospital.json").write_text(settings.model_dump_json(indent=1))
    write_manifest(new, Manifest(version=0, tables={}, written=now.astimezone(UTC)))
    if path.exists():
        path.rmdir()
    new.rename(path)
    return Hospital(path=path, settings=settings)


def open_hospital(path: Path | str) -> Hospital:
    """Open a hospital for reading (or for :meth:`Hospital.writer`).

    Parameters
    ----------
    path : Path or str
        Its folder, named in any way: relative, through symbolic links or ``..``.

    Raises
    ------
    NotFoundError
        The folder is no hospital.
    BadInputError
        Its settings cannot be read, or a newer version of Neva wrote it.
    """
    folder = Path(path)
    current_version(folder)  # says of a wrong folder, as it was named, what it is not
    folder = folder.resolve()
    settings = read_settings(folder)
    if read_manifest(folder).tables:
        _check_name(folder)
    return Hospital(path=folder, settings=settings)
