"""A folder of OMOP Common Data Model tables (5.3, 5.4) as rows."""

# More than 600 lines: one table of the model after another.

from __future__ import annotations

import logging
import re
import weakref
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

import polars as pl

from neva.errors import NevaError, UsageError
from neva.events.clock import end_of_day, start_of_day, zone_named
from neva.events.codes import FOLLOW_UP_END
from neva.events.schema import ROWS, TIME, Columns
from neva.files.opening import existing
from neva.sources._frames import ALWAYS, BATCH, new_codes, quarantined
from neva.sources._times import whole_last_days
from neva.sources.nested_movements import innermost
from neva.sources.omop.events import EVENT_TABLES, Concepts, events_of, moments, warned_hours
from neva.sources.omop.tables import CdmFolder, find_tables, not_whole, unpacked
from neva.sources.rows import Delivery, Rows, conform

__all__ = ["open_omop"]

_LOG = logging.getLogger(__name__)

_SEX_BY_CONCEPT: Final = {"8507": "male", "8532": "female", "8521": "other"}
_KIND_BY_CONCEPT: Final = {
    "9201": "inpatient",
    "8717": "inpatient",  # inpatient hospital
    "262": "inpatient",  # emergency room and inpatient
    "32037": "inpatient",  # intensive care
    "581379": "inpatient",  # critical care facility
    "8971": "inpatient",  # psychiatric facility
    "8920": "inpatient",  # rehabilitation facility
    "8883": "day",  # ambulatory surgical centre
    "9203": "emergency",
    "8870": "emergency",  # emergency room, hospital
    "9202": "outpatient",
    "38004207": "outpatient",  # ambulatory clinic
    "581477": "outpatient",  # office
    "581476": "outpatient",  # home
    "581385": "observation",  # observation room
    "5083": "virtual",  # telehealth
    "722455": "virtual",
}
_UNIT_KIND_BY_CONCEPT: Final = {
    "8870": "ed",
    "9203": "ed",
    "581379": "icu",
    "32037": "icu",
    "4148981": "icu",
}
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
    rows = _rows(folder, zone=zone, movements=movements, birth=birth, batch=batch)
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
        folder.scan("visit_occurrence", needs=_VISIT_NEEDS)
    for table in EVENT_TABLES:
        if folder.has(table.name):
            folder.scan(table.name, needs=table.needs)
    return folder


_VISIT_NEEDS: Final = (
    "visit_occurrence_id",
    "person_id",
    "visit_concept_id",
    "visit_start_date",
)


def _rows(
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
        units, unit_by_site = _units(folder)
        yield Rows("units", units, origin="care_site")
    persons, subjects, years, refused, warned = _persons(folder, zone, birth)
    yield Rows("subjects", subjects, origin="person")
    if years.height:
        yield Rows("events", years, origin="person")
        described = new_codes(
            {_BIRTH_YEAR: "Year of birth"}, known_codes, file=folder.file("person")
        )
        if described is not None:
            yield Rows("codes", described, origin="person")
    yield from _told(refused, warned, "subjects", "person")
    ends = pl.DataFrame(schema={"stay": pl.String, "visit_end": TIME})
    visits = pl.DataFrame(schema=_VISITS)
    if folder.has("visit_occurrence"):
        stays, refused, warned, visits = _stays(folder, zone, concepts, persons)
        ends = stays.select("stay", visit_end=pl.coalesce("end", "start")).unique("stay")
        yield Rows("stays", stays, origin="visit_occurrence")
        yield from _told(refused, warned, "stays", "visit_occurrence")
        followed = _followed(folder, zone, visits)
        if followed.height:
            yield Rows("events", followed, origin="visit_occurrence")
    if folder.has("visit_detail") and movements != "none":
        yield from _movements(
            folder, zone, movements, unit_by_site=unit_by_site, persons=persons, visits=visits
        )
    for table in EVENT_TABLES:
        if not folder.has(table.name):
            continue
        file = folder.file(table.name)
        days_only = _has_days_only(folder, table.name, table.start)
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
            yield from _told(refused, warned, "events", table.name)


def _told(refused: pl.DataFrame, warned: pl.DataFrame, table: str, origin: str) -> Iterator[Rows]:
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


def _has_days_only(folder: CdmFolder, table: str, column: str) -> bool:
    """Say whether every datetime of a table is midnight: then it knows only dates."""
    rows = folder.scan(table)
    name = f"{column}_datetime"
    if name not in rows.collect_schema().names():
        return True
    clocks = rows.select(
        (
            ~pl.col(name)
            .str.strip_chars()
            .str.contains(r"^\d{4}-\d{2}-\d{2}([T ]00:00(:00([.]0*)?)?)?$")
        )
        .any()
        .fill_null(False)
    )
    return not folder.collect(table, clocks).item()


def _units(folder: CdmFolder) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Care sites as units, named as people name them where that is unique."""
    sites = folder.collect("care_site", folder.scan("care_site", needs=("care_site_id",)))
    for name in ("care_site_name", "place_of_service_concept_id"):
        if name not in sites.columns:
            sites = sites.with_columns(pl.lit(None, pl.String).alias(name))
    sites = sites.with_columns(
        unit=pl.when(
            pl.col("care_site_name").is_not_null()
            & (pl.col("care_site_name").len().over("care_site_name") == 1)
        )
        .then("care_site_name")
        .otherwise("care_site_id"),
        name="care_site_name",
        kind=pl.col("place_of_service_concept_id").replace_strict(
            _UNIT_KIND_BY_CONCEPT, default=None, return_dtype=pl.String
        ),
        row_id="care_site_id",
        recorded=pl.lit(ALWAYS, dtype=TIME),
        recorded_assumed=pl.lit(True),
        file=pl.lit(folder.file("care_site")),
    )
    return conform("units", sites), sites.select("care_site_id", "unit")


_BIRTH_YEAR: Final = "OMOP//birth-year"


def _persons(
    folder: CdmFolder, zone: str, birth: str
) -> tuple[pl.Series, pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Persons with their deaths; the year of birth as an event; refused rows, and doubts."""
    persons = folder.collect("person", folder.scan("person"))
    year_text = pl.col("year_of_birth")
    no_year = year_text.is_not_null() & year_text.cast(pl.Int32, strict=False).is_null()
    unreadable = persons.filter(not_whole("person_id") | no_year).select(
        file=pl.lit(folder.file("person")),
        row="row",
        field=pl.when(not_whole("person_id"))
        .then(pl.lit("person_id"))
        .otherwise(pl.lit("year_of_birth")),
        reason=pl.lit("value-unreadable"),
    )
    persons = persons.filter(~not_whole("person_id") & ~no_year)
    for name in ("month_of_birth", "day_of_birth", "birth_datetime"):
        if name not in persons.columns:
            persons = persons.with_columns(pl.lit(None, pl.String).alias(name))
    year = pl.col("year_of_birth").cast(pl.Int32, strict=False)
    persons = persons.with_columns(
        year=year,
        birth_date=pl.coalesce(
            pl.date(
                year,
                pl.col("month_of_birth").cast(pl.Int8, strict=False),
                pl.col("day_of_birth").cast(pl.Int8, strict=False),
            ),
            pl.col("birth_datetime").str.head(10).str.to_date("%Y-%m-%d", strict=False),
        ),
        sex=pl.col("gender_concept_id").replace_strict(
            _SEX_BY_CONCEPT, default="unknown", return_dtype=pl.String
        ),
        file=pl.lit(folder.file("person")),
    )
    persons = persons.with_columns(has_birth_date=pl.col("birth_date").is_not_null())
    if birth == "mid-year":
        persons = persons.with_columns(
            birth_date=pl.coalesce("birth_date", pl.date(pl.col("year"), 7, 1))
        )
    known = start_of_day(
        persons.select(pl.coalesce("birth_date", pl.date("year", 1, 1))).to_series(), zone
    )
    persons = persons.with_columns(
        subject="person_id", row_id="person_id", recorded=known, recorded_assumed=pl.lit(True)
    )
    refused = unreadable.cast(_REFUSED)  # type: ignore[arg-type]
    warned = pl.DataFrame(schema=ROWS["warnings"])
    if folder.has("death"):
        deaths = folder.collect(
            "death", folder.scan("death", needs=("person_id", "death_date"))
        ).unique("person_id", keep="first", maintain_order=True)
        days_only = _has_days_only(folder, "death", "death")
        deaths = deaths.with_columns(
            moment=moments(deaths, "death", zone, days_only=days_only),
            file=pl.lit(folder.file("death")),
        )
        warned = warned_hours(
            deaths, "death", zone, days_only=days_only, table="subjects", moment="moment"
        )
        deaths = deaths.select("person_id", "moment", death_row="row").with_columns(
            death=pl.col("moment").struct.field("time"),
            death_precision=pl.col("moment").struct.field("precision"),
            reason=pl.col("moment").struct.field("reason"),
        )
        refused = pl.concat(
            [
                refused,
                deaths.filter(pl.col("reason").is_not_null()).select(
                    file=pl.lit(folder.file("death")),
                    row="death_row",
                    field=pl.lit("death_date"),
                    reason="reason",
                ),
            ]
        )
        persons = persons.join(
            deaths.drop("moment", "reason"), on="person_id", how="left", maintain_order="left"
        )
    years = persons.filter(pl.col("year").is_not_null(), ~pl.col("has_birth_date"))
    years = years.with_columns(
        code=pl.lit(_BIRTH_YEAR),
        value=pl.col("year").cast(pl.Float64),
        precision=pl.lit("none"),
        row_id=pl.col("person_id"),
        sequence=pl.lit(0),
    )
    return (
        persons["person_id"].unique(),
        conform("subjects", persons),
        conform("events", years),
        refused,
        warned,
    )


# Source value and concept; the names of CDM 5.4 and of 5.3.
_ADMITTED_FROM: Final = (
    ("admitted_from_source_value", "admitting_source_value"),
    ("admitted_from_concept_id", "admitting_source_concept_id"),
)
_DISCHARGED_TO: Final = (
    ("discharged_to_source_value", "discharge_to_source_value"),
    ("discharged_to_concept_id", "discharge_to_concept_id"),
)
_REFUSED: Final = {"file": pl.String, "row": pl.Int64, "field": pl.String, "reason": pl.String}


def _first_of(columns: list[str], *names: str) -> pl.Expr:
    present = [pl.when(pl.col(name) != "").then(pl.col(name)) for name in names if name in columns]
    return pl.coalesce(present) if present else pl.lit(None, dtype=pl.String)


def _place(
    columns: list[str], values: tuple[str, ...], ids: tuple[str, ...], concepts: Concepts
) -> pl.Expr:
    """Where from or where to: in the source's words, else the concept's."""
    concept = _first_of(columns, *ids)
    concept = pl.when(concept != "0").then(concept)
    return pl.coalesce(
        _first_of(columns, *values), concepts.name(concept), pl.lit("OMOP//") + concept
    )


# "Still patient": the date of the extract stands where the end of the visit should.
_STILL_PATIENT: Final = "32220"
#: What movements and follow-up need to know of visits.
_VISITS: Final[Columns] = {
    "person_id": pl.String,
    "stay": pl.String,
    "row": pl.Int64,
    "start": TIME,
    "end": TIME,
    "cut": TIME,
}


def _is_still_there(columns: list[str]) -> pl.Expr:
    return (_first_of(columns, *_DISCHARGED_TO[1]) == _STILL_PATIENT).fill_null(value=False)


def _stays(
    folder: CdmFolder, zone: str, concepts: Concepts, persons: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Stays, refused rows, doubts, and the visits as movements and follow-up need them."""
    visits = folder.collect("visit_occurrence", folder.scan("visit_occurrence", needs=_VISIT_NEEDS))
    days_only = _has_days_only(folder, "visit_occurrence", "visit_start")
    columns = visits.columns
    stays = visits.with_columns(
        begin=moments(visits, "visit_start", zone, days_only=days_only),
        finish=moments(visits, "visit_end", zone, days_only=days_only),
        kind=pl.col("visit_concept_id").replace_strict(
            _KIND_BY_CONCEPT, default=None, return_dtype=pl.String
        ),
        source=_place(columns, *_ADMITTED_FROM, concepts),
        outcome=pl.when(~_is_still_there(columns)).then(_place(columns, *_DISCHARGED_TO, concepts)),
        is_still_there=_is_still_there(columns),
        file=pl.lit(folder.file("visit_occurrence")),
    )
    return _checked(
        stays,
        persons,
        zone,
        table="stays",
        column="visit",
        ids=("visit_occurrence_id", "visit_concept_id"),
        days_only=days_only,
    )


def _checked(
    rows: pl.DataFrame,
    persons: pl.Series,
    zone: str,
    *,
    table: str,
    column: str,
    ids: tuple[str, ...],
    days_only: bool,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Finish rows of stays or movements: times, ids; those refused, and those in doubt."""
    rows = rows.with_columns(
        start=pl.col("begin").struct.field("time"),
        end=pl.col("finish").struct.field("time"),
        precision=pl.col("begin").struct.field("precision"),
        end_precision=pl.col("finish").struct.field("precision"),
        subject="person_id",
        stay="visit_occurrence_id",
        unreadable=pl.coalesce(pl.when(not_whole(name)).then(pl.lit(name)) for name in ids),
    ).with_columns(
        reason=pl.coalesce(
            pl.when(~pl.col("person_id").is_in(persons.implode())).then(pl.lit("subject-unknown")),
            pl.when(pl.col("unreadable").is_not_null()).then(pl.lit("value-unreadable")),
            pl.col("begin").struct.field("reason"),
            pl.when(pl.col("begin").struct.field("time").is_null()).then(pl.lit("time-missing")),
            pl.col("finish").struct.field("reason"),
        ),
    )
    rows = rows.with_columns(recorded="start", recorded_assumed=pl.lit(True))
    if table == "stays":
        rows = rows.with_columns(row_id="stay")
    refused = rows.filter(pl.col("reason").is_not_null()).select(
        "file",
        "row",
        field=pl.when(pl.col("reason") == "subject-unknown")
        .then(pl.lit("person_id"))
        .when(pl.col("reason") == "value-unreadable")
        .then("unreadable")
        .otherwise(pl.lit(f"{column}_start_date")),
        reason="reason",
    )
    taken = rows.filter(pl.col("reason").is_null())
    warned = [
        warned_hours(
            taken, f"{column}_{end}", zone, days_only=days_only, table=table, moment=moment
        )
        for end, moment in (("start", "begin"), ("end", "finish"))
    ]
    whose = ["person_id"] if table == "stays" else ["person_id", "stay"]
    taken = whole_last_days(taken, zone, whose=whose)
    taken = taken.with_columns(
        cut=pl.when("is_still_there").then("end"),
        end=pl.when(~pl.col("is_still_there")).then("end"),
    )
    return conform(table, taken), refused, pl.concat(warned), taken


def _followed(folder: CdmFolder, zone: str, visits: pl.DataFrame) -> pl.DataFrame:
    """Until when those who had not left were followed: nobody is there for ever.

    The end of a visit that says "still patient"; else of the person's last
    observation period; else the day on which the extract was made.
    """
    still = (
        visits.filter(pl.col("end").is_null())
        .group_by("person_id", maintain_order=True)
        .agg(pl.col("row").first(), pl.col("start", "cut").max())
    )
    if still.is_empty():
        return still

    def last_instant(text: pl.Expr) -> pl.Expr:
        day = text.str.strip_chars().str.head(10).str.to_date("%Y-%m-%d", strict=False)
        return end_of_day(
            start_of_day(day, zone),
            zone,
        ) - pl.duration(microseconds=1)

    observed = pl.DataFrame(schema={"person_id": pl.String, "observed": TIME})
    if folder.has("observation_period"):
        periods = folder.scan(
            "observation_period", needs=("person_id", "observation_period_end_date")
        )
        observed = (
            folder.collect("observation_period", periods)
            .group_by("person_id")
            .agg(observed=pl.col("observation_period_end_date").max())
            .with_columns(observed=last_instant(pl.col("observed")))
        )
    made: pl.Expr = pl.lit(None, dtype=TIME)
    if folder.has("cdm_source"):
        about = folder.collect("cdm_source", folder.scan("cdm_source"))
        text = _first_of(about.columns, "source_release_date", "cdm_release_date")
        made = pl.lit(about.select(last_instant(text)).to_series().max(), dtype=TIME)
    followed = (
        still.join(observed, on="person_id", how="left", maintain_order="left")
        .with_columns(time=pl.coalesce("cut", "observed", made))
        .filter(pl.col("time") >= pl.col("start"))
    )
    return conform(
        "events",
        followed.with_columns(
            subject="person_id",
            precision=pl.lit("day"),
            code=pl.lit(FOLLOW_UP_END),
            row_id=pl.col("person_id") + "/follow-up-end",
            sequence=pl.lit(0),
            recorded="time",
            recorded_assumed=pl.lit(True),
            file=pl.lit(folder.file("visit_occurrence")),
        ),
    )


def _movements(
    folder: CdmFolder,
    zone: str,
    chosen: str,
    *,
    unit_by_site: pl.DataFrame,
    persons: pl.Series,
    visits: pl.DataFrame,
) -> Iterator[Rows]:
    needs = ("visit_detail_id", "person_id", "visit_detail_start_date", "visit_occurrence_id")
    details = folder.scan("visit_detail", needs=needs)
    columns = details.collect_schema().names()
    for name in ("care_site_id", "visit_detail_source_value", *_PARENT):
        if name not in columns:
            details = details.with_columns(pl.lit(None, pl.String).alias(name))
    source_value = pl.col("visit_detail_source_value")
    bars = source_value.str.count_matches(r"\|").fill_null(0)
    if chosen == "auto":
        with_site = details.filter(pl.col("care_site_id").is_not_null())
        shapes = folder.collect("visit_detail", with_site.select(bars.unique())).to_series()
        is_movement = bars.is_in(shapes.implode())
    elif chosen == "all":
        is_movement = pl.lit(True)
    else:
        is_movement = source_value.str.contains(chosen).fill_null(False)
    days_only = _has_days_only(folder, "visit_detail", "visit_detail_start")
    # At once: what lies within what is known only when all of a stay is there.
    every = folder.collect("visit_detail", details)
    taken = every.filter(is_movement)
    taken = taken.join(unit_by_site, on="care_site_id", how="left", maintain_order="left")
    taken = taken.with_columns(
        begin=moments(taken, "visit_detail_start", zone, days_only=days_only),
        finish=moments(taken, "visit_detail_end", zone, days_only=days_only),
        unit=pl.coalesce("unit", "care_site_id"),
        bed=pl.lit(None, dtype=pl.String),
        retracted=pl.lit(None, dtype=TIME),
        is_still_there=_is_still_there(columns),
        file=pl.lit(folder.file("visit_detail")),
        row_id="visit_detail_id",
    )
    _, refused, warned, placed = _checked(
        taken,
        persons,
        zone,
        table="movements",
        column="visit_detail",
        ids=("visit_detail_id", "visit_occurrence_id", "care_site_id"),
        days_only=days_only,
    )
    placed = _ended_as_visits(placed, visits).with_columns(parent=pl.coalesce(_PARENT))
    parts = innermost(placed, parent="parent")
    yield Rows("movements", conform("movements", parts), origin="visit_detail")
    yield from _told(refused, warned, "movements", "visit_detail")
    if every.height > taken.height:
        _LOG.info(
            "visit_detail: %d rows are no movements between units", every.height - taken.height
        )


# The names of CDM 5.4 and of 5.3.
_PARENT: Final = ("parent_visit_detail_id", "visit_detail_parent_id")


def _ended_as_visits(movements: pl.DataFrame, visits: pl.DataFrame) -> pl.DataFrame:
    """End movements that name no end with their visit; let the last one of who is there go on."""
    of_visit = visits.select("stay", _end="end", _cut="cut").unique("stay", keep="first")
    joined = movements.join(of_visit, on="stay", how="left", maintain_order="left")
    goes_on = (pl.col("end") >= pl.col("_cut")).fill_null(value=False)
    return joined.with_columns(
        end=pl.when("is_still_there")
        .then("end")
        .when(~goes_on)
        .then(pl.coalesce("end", pl.when(pl.col("_end") >= pl.col("start")).then("_end")))
    ).drop("_end", "_cut")
