"""FHIR R4 files as rows: bundles, bulk exports, folders of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from neva.errors import UsageError
from neva.events.clock import zone_named
from neva.events.schema import ROWS
from neva.sources._frames import new_codes
from neva.sources.fhir.codes import Context, moment
from neva.sources.fhir.context import Gathering
from neva.sources.fhir.files import Entry, entries, find_files
from neva.sources.fhir.reading import RowsByTable
from neva.sources.fhir.resources import HANDLED, rows_of
from neva.sources.rows import Delivery, Rows, refused_rows

__all__ = ["open_fhir"]

_BATCH: Final = 50_000  # resources; a resource is a dict of dicts, larger than a row


def open_fhir(
    path: Path | str,
    *,
    zone: str,
    mapping: Path | str | None = None,
    received: datetime | None = None,
    systems: Mapping[str, str] | None = None,
    prefer: str | None = None,
    name: str | None = None,
    assigner: str | None = None,
    batch: int = _BATCH,
    live_since: datetime | None = None,
) -> Delivery:
    """Open FHIR R4 resources: a file, or a folder of files.

    Parameters
    ----------
    path : path
        A Bundle (transaction, searchset, collection, document, ...), a single
        resource, an NDJSON export, or a folder of any of these; also gzipped.
    zone : str
        IANA name of the zone of dates and of times without offset.
    mapping : path, optional
        Not used by this source: the standard says what the fields mean.
    received : datetime, optional
        Aware. When a resource that is entered in error counts as withdrawn if
        it does not say when it was changed. By default now.
    systems : mapping, optional
        Short names for the hospital's own code systems, by URL. One that is
        not named gets the last part of its URL and six digits of a hash of it.
    prefer : str, optional
        Code systems with commas between them, by short name or URL: where a
        concept has several codings, one of the first of these is the code. By
        default the systems that ready definitions name, local ones last.
    name, assigner : str, optional
        The logical source and who gave its ids; by default ``fhir``. Give
        another name where a second server gives ids of its own.
    batch : int
        Resources per batch.
    live_since : datetime, optional
        Aware. Of a server that is polled since then: what was changed later counts as known
        from its change (``meta.lastUpdated``) on.

    Returns
    -------
    Delivery
        Tables ``subjects``, ``stays``, ``movements``, ``units``, ``events``,
        ``codes`` and ``quarantine``. There is no order beside the time.

    Raises
    ------
    neva.errors.BadInputError
        A file is empty, damaged, not UTF-8, not JSON, or holds no FHIR.

    Notes
    -----
    ``recorded`` is what the resource says (``issued``, ``recordedDate``,
    ``recorded``, ``authoredOn``, ``dateAsserted``, else ``meta.lastUpdated``);
    otherwise the event's time, assumed. Stays and movements: their start, and
    subjects: their birth, both assumed, since ``lastUpdated`` says when the
    resource was last changed and not when it was first known.

    The files are read twice: once for what resources tell about each other; and
    three times where some refer to others by an identifier, are parts of others, are
    over without an end, or were deleted.
    """
    zone_named(zone)
    if mapping is not None:
        raise UsageError(
            f"--mapping: the fhir source takes none, the standard says what fields mean; found "
            f"{mapping}; leave it out"
        )
    for said_of, time in (("received", received), ("live_since", live_since)):
        if time is not None and time.tzinfo is None:
            raise UsageError(
                f"{said_of}: the time has no zone; found a naive time; add the offset, as in "
                "2020-05-01T08:00+03:00"
            )
    place = Path(path)
    files = find_files(place)
    return Delivery(
        name=name or "fhir",
        assigner=assigner or name or "fhir",
        kind="fhir",
        files=files,
        rows=_delivered_rows(
            files,
            zone,
            received or datetime.now(UTC),
            dict(systems or {}),
            tuple(one.strip() for one in (prefer or "").split(",") if one.strip()),
            batch,
            live_since,
        ),
        order="none",
    )


def _context(
    files: tuple[Path, ...],
    zone: str,
    systems: dict[str, str],
    preferred: tuple[str, ...],
    live_since: datetime | None,
) -> tuple[Context, _Deletions, pl.DataFrame]:
    """Read what resources must know of each other, what was deleted, and who was merged."""
    gathering = Gathering(Context(systems=systems, preferred=preferred), zone)
    deletions = _Deletions(zone, live_since)
    for file in files:
        for entry in entries(file):
            gathering.look(entry.resource, entry.full_url, (entry.file, entry.row))
            deletions.look(entry)
    if gathering.needs_second_look or deletions.by_name:
        for file in files:
            for entry in entries(file):
                gathering.look_again(entry.resource)
                deletions.look_again(entry)
    context = gathering.finish()
    merges = [
        {"subject": old, "into": into, "file": file, "row": row}
        for old, into in context.persons.items()
        for file, row in [gathering.merged_at[old]]
    ]
    return context, deletions, pl.DataFrame(merges, schema=ROWS["merges"])


def _name(resource: dict[str, Any]) -> tuple[str, str]:
    return str(resource.get("resourceType")), str(resource.get("id"))


class _Deletions:
    """What a delivery says that was deleted, and the versions that its histories tell."""

    def __init__(self, zone: str, live_since: datetime | None) -> None:
        self._zone = zone
        self._live_since = live_since
        #: When each was deleted; missing where that is not told.
        self.by_name: dict[tuple[str, str], datetime | None] = {}
        self._delivered: set[tuple[str, str]] = set()
        self._first: dict[tuple[str, str], datetime] = {}

    def look(self, entry: Entry) -> None:
        """Note a deletion, or a version."""
        if entry.deleted is not None:
            time = moment(entry.changed, self._zone).time
            known = self.by_name.get(entry.deleted)
            self.by_name[entry.deleted] = max(known, time) if known and time else known or time
        elif entry.resource is not None and entry.is_version:
            time = self._changed(entry)
            if time is not None:
                name = _name(entry.resource)
                self._first[name] = min(time, self._first.get(name, time))

    def look_again(self, entry: Entry) -> None:
        """Note that something that was deleted was delivered too."""
        if entry.resource is not None and _name(entry.resource) in self.by_name:
            self._delivered.add(_name(entry.resource))

    def _changed(self, entry: Entry) -> datetime | None:
        meta = (entry.resource or {}).get("meta")
        updated = meta.get("lastUpdated") if isinstance(meta, dict) else None
        return moment(updated or entry.changed, self._zone).time

    def rows_of(self, entry: Entry) -> RowsByTable:
        """Rows of a deletion: what was delivered besides is withdrawn where it stands."""
        if entry.deleted is None:
            return {}
        kind, given = entry.deleted
        if kind not in HANDLED or entry.deleted in self._delivered:
            return {}
        return {"deletions": [{"kind": kind, "row_id": given or None}]}

    def mark(self, entry: Entry, rows: RowsByTable) -> None:
        """Date the rows of a later version, and withdraw what was deleted since."""
        if entry.resource is None:
            return
        name = _name(entry.resource)
        changed = self._changed(entry) if entry.is_version else None
        deleted = self.by_name.get(name) if name in self._delivered else None
        is_later = changed is not None and changed > self._first.get(name, changed)
        if self._live_since is not None:
            changed = self._changed(entry)
            is_later = is_later or (changed is not None and changed > self._live_since)
        for table, found in rows.items():
            for row in found if table in _DATED else ():
                if is_later and row.get("retracted") is None:
                    row["recorded"], row["recorded_assumed"] = changed, False
                since = changed or row.get("recorded") or deleted
                ends = deleted is not None and since is not None and since <= deleted
                if ends and row.get("retracted") is None:
                    row["retracted"] = deleted


_DATED: Final = ("subjects", "stays", "movements", "events", "units")


def _delivered_rows(
    files: tuple[Path, ...],
    zone: str,
    received: datetime,
    systems: dict[str, str],
    preferred: tuple[str, ...],
    batch: int,
    live_since: datetime | None,
) -> Iterator[Rows]:
    context, deletions, merges = _context(files, zone, systems, preferred, live_since)
    if merges.height:
        yield Rows("merges", merges, origin="Patient")
        yield Rows(
            "warnings", refused_rows("subjects", merges, "subject-merged", "link"), origin="Patient"
        )
    known_codes: set[str] = set()
    for file in files:
        collected: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for read, entry in enumerate(entries(file), 1):
            rows = _rows_of_entry(entry, zone, context, received, deletions)
            _collect(entry, rows, collected)
            if read % batch == 0:
                yield from _frames(collected, known_codes, file.name)
                collected = {}
        yield from _frames(collected, known_codes, file.name)


def _rows_of_entry(
    entry: Entry, zone: str, context: Context, received: datetime, deletions: _Deletions
) -> RowsByTable:
    if entry.deleted is not None:
        return deletions.rows_of(entry)
    if entry.resource is None:
        return {"quarantine": [{"table": "events", "field": None, "reason": "resource-unreadable"}]}
    rows = rows_of(entry.resource, zone=zone, context=context, received=received)
    deletions.mark(entry, rows)
    return rows


def _collect(
    entry: Entry, rows: RowsByTable, collected: dict[tuple[str, str], list[dict[str, Any]]]
) -> None:
    kind = ""
    if entry.resource is not None:
        stated = entry.resource.get("resourceType")
        kind = stated if isinstance(stated, str) and stated in HANDLED else "other"
    for table, found in rows.items():
        for row in found:
            row["file"] = entry.file
            row["row"] = entry.row
        if found:
            collected.setdefault((table, kind), []).extend(found)


# Reference tables first: an event's code is described before it is used.
_TABLE_ORDER: Final = (
    "units",
    "subjects",
    "stays",
    "movements",
    "codes",
    "events",
    "deletions",
    "quarantine",
    "warnings",
)


def _frames(
    collected: dict[tuple[str, str], list[dict[str, Any]]], known_codes: set[str], file: str
) -> Iterator[Rows]:
    for table, kind in sorted(collected, key=lambda key: (_TABLE_ORDER.index(key[0]), key[1])):
        rows = collected[table, kind]
        if table == "codes":
            codes = {row["code"]: row["description"] for row in reversed(rows)}
            described = new_codes(dict(sorted(codes.items())), known_codes, file=file)
            if described is not None:
                yield Rows("codes", described, origin=kind)
            continue
        yield Rows(
            table,
            pl.DataFrame(
                {
                    name: pl.Series(name, [row.get(name) for row in rows], dtype=dtype)
                    for name, dtype in ROWS[table].items()
                }
            ),
            origin=kind,
        )
