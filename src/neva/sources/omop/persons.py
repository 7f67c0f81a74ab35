"""Persons of the OMOP model, with their deaths and years of birth."""

from __future__ import annotations

from typing import Final

import polars as pl

from neva.events.clock import start_of_day
from neva.events.schema import ROWS
from neva.sources.omop.events import moments, warned_hours
from neva.sources.omop.tables import CdmFolder, has_days_only, not_whole
from neva.sources.rows import conform

__all__ = ["BIRTH_YEAR", "persons_of"]

_REFUSED: Final = {"file": pl.String, "row": pl.Int64, "field": pl.String, "reason": pl.String}
_SEX_BY_CONCEPT: Final = {"8507": "male", "8532": "female", "8521": "other"}
#: Code of the event that says the year of birth.
BIRTH_YEAR: Final = "OMOP//birth-year"


def persons_of(
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
        days_only = has_days_only(folder, "death", "death")
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
        code=pl.lit(BIRTH_YEAR),
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
