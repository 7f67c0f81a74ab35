"""A folder of OMOP Common Data Model tables (5.3, 5.4) as rows."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import polars as pl

from neva.errors import NevaError, UsageError
from neva.events.clock import zone_named
from neva.events.schema import TIME
from neva.files.opening import existing
from neva.sources._frames import BATCH, new_codes, quarantined
from neva.sources.omop.events import EVENT_TABLES, Concepts, events_of
from neva.sources.omop.persons import BIRTH_YEAR, persons_of
from neva.sources.omop.tables import CdmFolder, find_tables, has_days_only, unpacked
from neva.sources.omop.visits import (
    VISIT_NEEDS,
    VISITS,
    follow_up_ends,
    movements_of,
    stays_of,
    units_of,
)
from neva.sources.rows import Delivery, Rows

__all__ = ["open_omop"]

# Tables that are read; the delivery's identity rests on their files.
_READ: Final = (
    "person",
    "death",
    "visit_occurrence",
    "visit_detail",
    "care_site",
    "concept",
    "observation_period",
    "cdm_source",
    *(table.name for table in EVENT_TABLES),
)


def open_omop(
    path: Path | str,
    *,
    zone: str,
    mapping: Path | str | None = None,
    movements: str = "auto",
    birth: Literal["exact", "mid-year"] = "exact",
    name: str | None = None,
    assigner: str | None = None,
    batch: int = BATCH,
) -> Delivery:
    """Open a folder, or a zip, of OMOP tables in CSV or Parquet.

    Parameters
    ----------
    path : path
        A folder or ``.zip`` with ``person`` and what else there is; files
        ``.csv``, ``.csv.gz``, ``.tsv``, ``.parquet``, in any letter case.
    zone : str
        IANA name of the zone whose clock wrote the times.
    mapping : path, optional
        Not used by this source: the model says what the columns mean.
    movements : str
        Which rows of ``visit_detail`` are movements: ``auto``, ``all``,
        ``none``, or a regular expression on ``visit_detail_source_value``.
        ``auto``: those whose source value has as many ``|`` as the rows that
        name a care site; none if no row names one.
    birth : {"exact", "mid-year"}
        What a year of birth without day becomes: a missing birth date, or
        1 July of that year. The year itself is always kept, as an event.
    name, assigner : str, optional
        The logical source and who gave its ids; by default ``omop``. Give
        another name where a second database gives ids of its own.
    batch : int
        Rows per batch.

    Returns
    -------
    Delivery
        Tables ``units``, ``subjects``, ``stays``, ``movements``, ``events``,
        ``codes`` and ``quarantine``. There is no order beside the time.

    Raises
    ------
    neva.errors.BadInputError
        No table person, a table that cannot be read, a missing column, or ids
        stored as floats that have lost digits.

    Notes
    -----
    ``recorded`` is always assumed. Conditions: the end of the stay, since they
    are coded at discharge; all other events: their time; stays and movements:
    their start; subjects: their birth.
    """
    zone_named(zone)
    if mapping is not None:
        raise UsageError(
            f"--mapping: the omop source takes none, the model says what columns mean; found "
            f"{mapping}; leave it out"
        )
    if birth not in ("exact", "mid-year"):
        raise UsageError(f"birth: must be exact or mid-year; found {birth!r}; choose one of them")
    if movements not in ("auto", "all", "none"):
        try:
            re.compile(movements)
        except re.error as error:
            raise UsageError(
                f"movements: must be auto, all, none or a regular expression; found {movements!r} "
                f"({error}); mend it"
            ) from error
    place = existing(path)
    holder: TemporaryDirectory[str] | None = None
    if place.is_dir():
        folder = _checked_folder(place)
        files = tuple(part for table in _READ for part in folder.tables.get(table, []))
    else:
        holder = TemporaryDirectory(prefix="neva-omop-")
        try:
            folder = _checked_folder(unpacked(place, holder))
        except NevaError:
            holder.cleanup()
            raise
        files = (place,)
    rows = _delivered_rows(folder, zone=zone, movements=movements, birth=birth, batch=batch)
    if holder is not None:
        # The unpacked tables go with the rows, read or not.
        weakref.finalize(rows, holder.cleanup)
    return Delivery(
        name=name or "omop",
        assigner=assigner or name or "omop",
        kind="omop",
        files=files,
        rows=rows,
        order="none",
    )


def _checked_folder(place: Path) -> CdmFolder:
    """Find the tables; a missing column is told now, before anything is written."""
    folder = CdmFolder(find_tables(place))
    folder.scan("person", needs=("person_id", "gender_concept_id", "year_of_birth"))
    if folder.has("visit_occurrence"):
        folder.scan("visit_occurrence", needs=VISIT_NEEDS)
    for table in EVENT_TABLES:
        if folder.has(table.name):
            folder.scan(table.name, needs=table.needs)
    return folder


def _delivered_rows(
    folder: CdmFolder,
    *,
    zone: str,
    movements: str,
    birth: str,
    batch: int,
) -> Iterator[Rows]:
    concepts = _concepts(folder)
    known_codes: set[str] = set()
    unit_by_site = pl.DataFrame(schema={"care_site_id": pl.String, "unit": pl.String})
    if folder.has("care_site"):
        units, unit_by_site = units_of(folder)
        yield Rows("units", units, origin="care_site")
    persons, subjects, years, refused, warned = persons_of(folder, zone, birth)
    yield Rows("subjects", subjects, origin="person")
    if years.height:
        yield Rows("events", years, origin="person")
        described = new_codes(
            {BIRTH_YEAR: "Year of birth"}, known_codes, file=folder.file("person")
        )
        if described is not None:
            yield Rows("codes", described, origin="person")
    yield from _refused_and_doubtful(refused, warned, "subjects", "person")
    ends = pl.DataFrame(schema={"stay": pl.String, "visit_end": TIME})
    visits = pl.DataFrame(schema=VISITS)
    if folder.has("visit_occurrence"):
        stays, refused, warned, visits = stays_of(folder, zone, concepts, persons)
        ends = stays.select("stay", visit_end=pl.coalesce("end", "start")).unique("stay")
        yield Rows("stays", stays, origin="visit_occurrence")
        yield from _refused_and_doubtful(refused, warned, "stays", "visit_occurrence")
        followed = follow_up_ends(folder, zone, visits)
        if followed.height:
            yield Rows("events", followed, origin="visit_occurrence")
    if folder.has("visit_detail") and movements != "none":
        moves, refused, warned = movements_of(
            folder, zone, movements, unit_by_site=unit_by_site, persons=persons, visits=visits
        )
        yield Rows("movements", moves, origin="visit_detail")
        yield from _refused_and_doubtful(refused, warned, "movements", "visit_detail")
    for table in EVENT_TABLES:
        if not folder.has(table.name):
            continue
        file = folder.file(table.name)
        days_only = has_days_only(folder, table.name, table.start)
        rows = folder.scan(table.name, needs=table.needs)
        for part in folder.batches(table.name, rows, batch):
            events, refused, described_codes, warned = events_of(
                table,
                part,
                zone=zone,
                concepts=concepts,
                persons=persons,
                visit_ends=ends,
                days_only=days_only,
                file=file,
            )
            described = new_codes(dict(described_codes.iter_rows()), known_codes, file=file)
            if described is not None:
                yield Rows("codes", described, origin=table.name)
            yield Rows("events", events, origin=table.name)
            yield from _refused_and_doubtful(refused, warned, "events", table.name)


def _refused_and_doubtful(
    refused: pl.DataFrame, warned: pl.DataFrame, table: str, origin: str
) -> Iterator[Rows]:
    if refused.height:
        yield Rows("quarantine", quarantined(refused, table=table), origin=origin)
    if warned.height:
        yield Rows("warnings", warned, origin=origin)


def _concepts(folder: CdmFolder) -> Concepts:
    """Read the concepts that are used; a whole vocabulary has millions."""
    columns = ("concept_id", "vocabulary_id", "concept_code", "concept_name")
    if not folder.has("concept"):
        return Concepts(pl.DataFrame(schema=dict.fromkeys(columns, pl.String)))
    used: list[pl.Series] = []
    for table in ("visit_occurrence", *(table.name for table in EVENT_TABLES)):
        if not folder.has(table):
            continue
        rows = folder.scan(table)
        used.extend(
            folder.collect(table, rows.select(pl.col(name).unique())).to_series().alias("id")
            for name in rows.collect_schema().names()
            if name.endswith("_concept_id")
        )
    wanted = pl.concat(used).unique().drop_nulls() if used else pl.Series([], dtype=pl.String)
    rows = folder.scan("concept", needs=columns).select(columns)
    frame = folder.collect("concept", rows.filter(pl.col("concept_id").is_in(wanted.implode())))
    return Concepts(frame.unique("concept_id", keep="first", maintain_order=True))
