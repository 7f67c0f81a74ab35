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
from neva.sources.fhir_codes import Context
from neva.sources.fhir_files import Entry, entries, find_files
from neva.sources.fhir_resources import HANDLED, rows_of
from neva.sources.rows import Delivery, Rows

__all__ = ["open_fhir"]

_BATCH: Final = 50_000  # resources; a resource is a dict of dicts, larger than a row


def open_fhir(
    path: Path | str,
    *,
    zone: str,
    mapping: Path | str | None = None,
    received: datetime | None = None,
    systems: Mapping[str, str] | None = None,
    name: str | None = None,
    assigner: str | None = None,
    batch: int = _BATCH,
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
    name, assigner : str, optional
        The logical source and who gave its ids; by default ``fhir``. Give
        another name where a second server gives ids of its own.
    batch : int
        Resources per batch.

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

    The files are read twice: once for what resources tell about each other.
    """
    zone_named(zone)
    if mapping is not None:
        raise UsageError(
            f"--mapping: the fhir source takes none, the standard says what fields mean; found "
            f"{mapping}; leave it out"
        )
    if received is not None and received.tzinfo is None:
        raise UsageError(
            "received: the time has no zone; found a naive time; add the offset, as in "
            "2020-05-01T08:00+03:00"
        )
    place = Path(path)
    files = find_files(place)
    return Delivery(
        name=name or "fhir",
        assigner=assigner or name or "fhir",
        kind="fhir",
        files=files,
        rows=_rows(files, zone, received or datetime.now(UTC), dict(systems or {}), batch),
        order="none",
    )


def _context(files: tuple[Path, ...], systems: dict[str, str]) -> Context:
    """Read what resources must know of each other."""
    context = Context(systems=systems)
    ranks: list[tuple[Any, int]] = []
    for file in files:
        for entry in entries(file):
            resource = entry.resource
            if resource is None:
                continue
            given = resource.get("id")
            if entry.full_url and not entry.full_url.endswith(str(given)):
                context.ids[entry.full_url] = str(given)
            kind = resource.get("resourceType")
            if kind == "Medication" and given:
                context.medications[given] = resource.get("code")
            elif kind == "Location" and given:
                context.locations[given] = resource
            elif kind == "Encounter":
                ranks.extend(_ranks(resource))
    for reference, rank in ranks:
        condition = context.id_of(reference, "Condition")
        if condition is not None:
            context.ranks[condition] = rank
    return context


def _ranks(encounter: dict[str, Any]) -> Iterator[tuple[Any, int]]:
    diagnoses = encounter.get("diagnosis")
    for diagnosis in diagnoses if isinstance(diagnoses, list) else ():
        if not isinstance(diagnosis, dict):
            continue
        rank, reference = diagnosis.get("rank"), diagnosis.get("condition")
        if isinstance(rank, int) and isinstance(reference, dict):
            yield reference, rank


def _rows(
    files: tuple[Path, ...], zone: str, received: datetime, systems: dict[str, str], batch: int
) -> Iterator[Rows]:
    context = _context(files, systems)
    known_codes: set[str] = set()
    for file in files:
        collected: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for read, entry in enumerate(entries(file), 1):
            _collect(entry, collected, zone, context, received)
            if read % batch == 0:
                yield from _frames(collected, known_codes, file.name)
                collected = {}
        yield from _frames(collected, known_codes, file.name)


def _collect(
    entry: Entry,
    collected: dict[tuple[str, str], list[dict[str, Any]]],
    zone: str,
    context: Context,
    received: datetime,
) -> None:
    kind = ""
    rows: dict[str, list[dict[str, Any]]]
    if entry.resource is None:
        rows = {"quarantine": [{"table": "events", "field": None, "reason": "resource-unreadable"}]}
    else:
        stated = entry.resource.get("resourceType")
        kind = stated if isinstance(stated, str) and stated in HANDLED else "other"
        rows = rows_of(entry.resource, zone=zone, context=context, received=received)
    for table, found in rows.items():
        for row in found:
            row["file"] = entry.file
            row["row"] = entry.row
        if found:
            collected.setdefault((table, kind), []).extend(found)


# Reference tables first: an event's code is described before it is used.
_TABLE_ORDER: Final = ("units", "subjects", "stays", "movements", "codes", "events", "quarantine")


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
