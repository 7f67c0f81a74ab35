"""Stays and movements of the OMOP model: visits, visit details, care sites."""

from __future__ import annotations

import logging
from typing import Final

import polars as pl

from neva.events.clock import end_of_day, start_of_day
from neva.events.codes import FOLLOW_UP_END
from neva.events.schema import TIME, Columns
from neva.sources._frames import ALWAYS
from neva.sources._times import whole_last_days
from neva.sources.nested_movements import innermost
from neva.sources.omop.events import Concepts, moments, warned_hours
from neva.sources.omop.tables import CdmFolder, has_days_only, not_whole
from neva.sources.rows import conform

__all__ = ["VISITS", "VISIT_NEEDS", "follow_up_ends", "movements_of", "stays_of", "units_of"]

_LOG = logging.getLogger(__name__)

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
#: Columns of visits that must be there.
VISIT_NEEDS: Final = (
    "visit_occurrence_id",
    "person_id",
    "visit_concept_id",
    "visit_start_date",
)


def units_of(folder: CdmFolder) -> tuple[pl.DataFrame, pl.DataFrame]:
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


# Source value and concept; the names of CDM 5.4 and of 5.3.
_ADMITTED_FROM: Final = (
    ("admitted_from_source_value", "admitting_source_value"),
    ("admitted_from_concept_id", "admitting_source_concept_id"),
)
_DISCHARGED_TO: Final = (
    ("discharged_to_source_value", "discharge_to_source_value"),
    ("discharged_to_concept_id", "discharge_to_concept_id"),
)


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
VISITS: Final[Columns] = {
    "person_id": pl.String,
    "stay": pl.String,
    "row": pl.Int64,
    "start": TIME,
    "end": TIME,
    "cut": TIME,
}


def _is_still_there(columns: list[str]) -> pl.Expr:
    return (_first_of(columns, *_DISCHARGED_TO[1]) == _STILL_PATIENT).fill_null(value=False)


def stays_of(
    folder: CdmFolder, zone: str, concepts: Concepts, persons: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Stays, refused rows, doubts, and the visits as movements and follow-up need them."""
    visits = folder.collect("visit_occurrence", folder.scan("visit_occurrence", needs=VISIT_NEEDS))
    days_only = has_days_only(folder, "visit_occurrence", "visit_start")
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
    return _checked_visits(
        stays,
        persons,
        zone,
        table="stays",
        column="visit",
        ids=("visit_occurrence_id", "visit_concept_id"),
        days_only=days_only,
    )


def _checked_visits(
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


def follow_up_ends(folder: CdmFolder, zone: str, visits: pl.DataFrame) -> pl.DataFrame:
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


def movements_of(
    folder: CdmFolder,
    zone: str,
    chosen: str,
    *,
    unit_by_site: pl.DataFrame,
    persons: pl.Series,
    visits: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Movements between units, of the visit details that are such; refused rows, and doubts."""
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
    days_only = has_days_only(folder, "visit_detail", "visit_detail_start")
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
    _, refused, warned, placed = _checked_visits(
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
    if every.height > taken.height:
        _LOG.info(
            "visit_detail: %d rows are no movements between units", every.height - taken.height
        )
    return conform("movements", parts), refused, warned


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
