"""The clinical tables of OMOP as events: one specification per table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from neva.events.clock import read_iso
from neva.sources._frames import attributes_from_columns
from neva.sources._times import event_end, repeated_hours
from neva.sources.omop.tables import not_whole
from neva.sources.rows import conform

__all__ = [
    "EVENT_TABLES",
    "Concepts",
    "EventTable",
    "events_of",
    "moments",
    "warned_hours",
    "written",
]


@dataclass(frozen=True, slots=True)
class EventTable:
    """How one clinical table reads as events.

    Attributes
    ----------
    name, prefix : str
        The table and the first word of its columns.
    start, end : str
        Columns without their endings ``_date`` and ``_datetime``; ``end`` may
        be empty.
    attributes : tuple of str
        Columns kept as attributes under their own name.
    known_at_end_of_stay : bool
        Rows that are written when the stay is coded, not when they happen.
    """

    name: str
    prefix: str
    start: str
    end: str = ""
    attributes: tuple[str, ...] = ()
    known_at_end_of_stay: bool = False

    @property
    def key(self) -> str:
        """The primary key."""
        return f"{self.name}_id"

    @property
    def concept(self) -> str:
        """The column of the standard concept."""
        return f"{self.prefix}_concept_id"

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns without which the table cannot be read."""
        return (self.key, "person_id", self.concept, f"{self.start}_date")


_COMMON: Final = ("visit_detail_id", "provider_id")

EVENT_TABLES: Final = (
    EventTable(
        "condition_occurrence",
        "condition",
        "condition_start",
        "condition_end",
        (
            "condition_source_value",
            "condition_type_concept_id",
            "condition_status_concept_id",
            "condition_status_source_value",
            "stop_reason",
            *_COMMON,
        ),
        known_at_end_of_stay=True,
    ),
    EventTable(
        "drug_exposure",
        "drug",
        "drug_exposure_start",
        "drug_exposure_end",
        (
            "drug_source_value",
            "drug_type_concept_id",
            "stop_reason",
            "refills",
            "quantity",
            "days_supply",
            "sig",
            "route_concept_id",
            "route_source_value",
            "dose_unit_source_value",
            *_COMMON,
        ),
    ),
    EventTable(
        "procedure_occurrence",
        "procedure",
        "procedure",
        "procedure_end",
        (
            "procedure_source_value",
            "procedure_type_concept_id",
            "modifier_concept_id",
            "modifier_source_value",
            "quantity",
            *_COMMON,
        ),
    ),
    EventTable(
        "measurement",
        "measurement",
        "measurement",
        "",
        (
            "measurement_source_value",
            "measurement_type_concept_id",
            "operator_concept_id",
            "value_as_concept_id",
            "value_source_value",
            "range_low",
            "range_high",
            *_COMMON,
        ),
    ),
    EventTable(
        "observation",
        "observation",
        "observation",
        "",
        (
            "observation_source_value",
            "observation_type_concept_id",
            "qualifier_concept_id",
            "qualifier_source_value",
            "value_as_concept_id",
            "value_source_value",
            *_COMMON,
        ),
    ),
    EventTable(
        "device_exposure",
        "device",
        "device_exposure_start",
        "device_exposure_end",
        (
            "device_source_value",
            "device_type_concept_id",
            "unique_device_id",
            "quantity",
            *_COMMON,
        ),
    ),
)

# OMOP standard concepts of the domain "Meas Value Operator". The store knows
# only strict comparators; <= and >= become the strict ones and the concept
# stays in the attributes.
_COMPARATOR_BY_CONCEPT: Final = {
    "4171756": "<",
    "4171754": "<",  # <=
    "4172704": ">",
    "4171755": ">",  # >=
}
# Units of measurement that an extract without its vocabulary names by concept alone.
_UCUM_BY_CONCEPT: Final = {
    "8504": "g",
    "8512": "d",
    "8519": "L",
    "8541": "/min",
    "8554": "%",
    "8576": "mg",
    "8582": "cm",
    "8587": "mL",
    "8636": "g/L",
    "8645": "U/L",
    "8647": "/uL",
    "8713": "g/dL",
    "8749": "umol/L",
    "8751": "mg/L",
    "8753": "mmol/L",
    "8815": "10*6/uL",
    "8840": "mg/dL",
    "8842": "ng/mL",
    "8845": "pg/mL",
    "8848": "10*3/uL",
    "8859": "ug/mL",
    "8876": "mm[Hg]",
    "9444": "10*9/L",
    "9529": "kg",
    "586323": "Cel",
}
# "Primary diagnosis", "Primary admission diagnosis", "Primary discharge diagnosis".
_PRIMARY_STATUSES: Final = ("32901", "32902", "32903")


@dataclass(frozen=True)
class Concepts:
    """The concepts that the data use.

    Attributes
    ----------
    frame : polars.DataFrame
        Columns ``concept_id``, ``vocabulary_id``, ``concept_code``,
        ``concept_name``, all text; one row per concept.
    """

    frame: pl.DataFrame

    def code(self, concept_id: pl.Expr) -> pl.Expr:
        """``VOCABULARY//code`` of a concept that the vocabulary has."""
        return self._look_up(
            concept_id, self.frame["vocabulary_id"] + "//" + self.frame["concept_code"]
        )

    def name(self, concept_id: pl.Expr) -> pl.Expr:
        """Name of a concept."""
        return self._look_up(concept_id, self.frame["concept_name"])

    def unit(self, concept_id: pl.Expr) -> pl.Expr:
        """UCUM code of a unit's concept."""
        units = self.frame.filter(pl.col("vocabulary_id") == "UCUM")
        return pl.coalesce(
            self._look_up(concept_id, units["concept_code"], units["concept_id"]),
            concept_id.replace_strict(_UCUM_BY_CONCEPT, default=None, return_dtype=pl.String),
        )

    def _look_up(
        self, concept_id: pl.Expr, found: pl.Series, ids: pl.Series | None = None
    ) -> pl.Expr:
        ids = self.frame["concept_id"] if ids is None else ids
        if ids.is_empty():
            return pl.lit(None, dtype=pl.String)
        return concept_id.replace_strict(ids, found, default=None, return_dtype=pl.String)


def moments(rows: pl.DataFrame, column: str, zone: str, *, days_only: bool) -> pl.Series:
    """Read ``<column>_datetime``, or ``<column>_date`` where it is missing.

    `days_only` leaves the clock out: every datetime of the table is midnight.
    """
    return read_iso(written(rows, column, days_only=days_only), zone)


def written(rows: pl.DataFrame, column: str, *, days_only: bool) -> pl.Series:
    """Return the texts that :func:`moments` reads."""
    present = [
        pl.when(pl.col(name).str.strip_chars() != "").then(name)
        for name in ([] if days_only else [f"{column}_datetime"]) + [f"{column}_date"]
        if name in rows.columns
    ]
    if not present:
        return pl.Series([None] * rows.height, dtype=pl.String)
    return rows.select(_=pl.coalesce(present)).to_series()


def warned_hours(
    rows: pl.DataFrame, column: str, zone: str, *, days_only: bool, table: str, moment: str
) -> pl.DataFrame:
    """Warn of times of :func:`moments` in an hour that the clock showed twice.

    `rows` has ``file`` and ``row`` beside the table's columns, and in `moment`
    what was read.
    """
    read = rows[moment]
    return repeated_hours(
        rows,
        zone,
        table=table,
        field=f"{column}_datetime",
        time=read.struct.field("time"),
        written=written(rows, column, days_only=days_only),
        precision=read.struct.field("precision"),
    )


def events_of(
    table: EventTable,
    rows: pl.DataFrame,
    *,
    zone: str,
    concepts: Concepts,
    persons: pl.Series,
    visit_ends: pl.DataFrame,
    days_only: bool,
    file: str,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Turn rows of one clinical table into events.

    Parameters
    ----------
    table : EventTable
    rows : polars.DataFrame
        The table's columns as text, and ``row``.
    zone : str
    concepts : Concepts
    persons : polars.Series
        Ids of the table person.
    visit_ends : polars.DataFrame
        Columns ``stay`` and ``visit_end`` (UTC).
    days_only : bool
        Every datetime of the table is midnight: it knows dates.
    file : str

    Returns
    -------
    events : polars.DataFrame
        Columns of ``ROWS["events"]``.
    refused : polars.DataFrame
        Columns ``file``, ``row``, ``field``, ``reason``.
    described : polars.DataFrame
        Columns ``code`` and ``description``; one row per code.
    warned : polars.DataFrame
        Rows of ``warnings``.
    """
    text = pl.lit(None, dtype=pl.String)
    ids = [
        name for name in (table.key, table.concept, "visit_occurrence_id") if name in rows.columns
    ]

    def column(name: str) -> pl.Expr:
        return pl.col(name) if name in rows.columns else text

    concept, source_concept = column(table.concept), column(f"{table.prefix}_source_concept_id")
    source_value = column(f"{table.prefix}_source_value").str.strip_chars()
    standard = pl.when(concept != "0").then(concept)
    number_text = column("value_as_number")
    value_concept = column("value_as_concept_id")
    value_concept = pl.when(value_concept != "0").then(value_concept)
    read = rows.with_columns(
        begin=moments(rows, table.start, zone, days_only=days_only),
        finish=moments(rows, table.end or "-", zone, days_only=days_only),
        stay=column("visit_occurrence_id"),
        file=pl.lit(file),
    )
    read = read.with_columns(
        # The end of a timed row that has only a date is the end of that day.
        end_time=event_end(
            read["finish"].struct.field("time"),
            read["finish"].struct.field("precision"),
            read["begin"].struct.field("precision"),
            zone,
        ),
        time=pl.col("begin").struct.field("time"),
        precision=pl.col("begin").struct.field("precision"),
        code=pl.coalesce(
            concepts.code(standard),
            pl.lit("OMOP//") + standard,
            concepts.code(pl.when(source_concept != "0").then(source_concept)),
            pl.lit("OMOP-SOURCE//") + pl.when(source_value != "").then(source_value),
        ),
        description=pl.coalesce(
            concepts.name(standard),
            concepts.name(
                pl.when(standard.is_null() & (source_concept != "0")).then(source_concept)
            ),
        ),
        value=number_text.cast(pl.Float64, strict=False),
        comparator=column("operator_concept_id").replace_strict(
            _COMPARATOR_BY_CONCEPT, default=None, return_dtype=pl.String
        ),
        value_unit=pl.when(number_text.is_not_null()).then(
            pl.coalesce(concepts.unit(column("unit_concept_id")), column("unit_source_value"))
        ),
        text=pl.coalesce(
            column("value_as_string"),
            concepts.name(value_concept),
            pl.lit("OMOP//") + value_concept,
        ),
        rank=pl.when(column("condition_status_concept_id").is_in(_PRIMARY_STATUSES)).then(1),
        attributes=attributes_from_columns(
            {
                # Concept 0 means "no matching concept": nothing to keep.
                name: pl.when(pl.col(name) != "0").then(pl.col(name))
                if name.endswith("_concept_id")
                else pl.col(name)
                for name in table.attributes
                if name in rows.columns
            }
        ),
    )
    read = read.with_columns(
        refused=pl.coalesce(
            pl.when(~pl.col("person_id").is_in(persons.implode())).then(pl.lit("subject-unknown")),
            *(
                pl.when(not_whole(name)).then(pl.lit(f"id-unreadable {name}"))
                for name in sorted(ids)
            ),
            pl.when(pl.col("code").is_null()).then(pl.lit("code-missing")),
            pl.col("begin").struct.field("reason"),
            pl.when(pl.col("time").is_null()).then(pl.lit("time-missing")),
            pl.col("finish").struct.field("reason"),
            pl.when(number_text.is_not_null() & pl.col("value").is_null()).then(
                pl.lit("value-unreadable")
            ),
        )
    )
    refused = read.filter(pl.col("refused").is_not_null()).select(
        "file",
        "row",
        field=pl.col("refused").replace_strict(
            {
                "subject-unknown": "person_id",
                "code-missing": table.concept,
                "value-unreadable": "value_as_number",
                **{f"id-unreadable {name}": name for name in ids},
            },
            default=f"{table.start}_date",
        ),
        reason=pl.when(pl.col("refused").str.starts_with("id-unreadable"))
        .then(pl.lit("value-unreadable"))
        .otherwise("refused"),
    )
    known = pl.col("time")
    kept = read.filter(pl.col("refused").is_null())
    if table.known_at_end_of_stay:
        kept = kept.join(visit_ends, on="stay", how="left", maintain_order="left")
        known = pl.coalesce(pl.max_horizontal("visit_end", "time"), "time")
    kept = kept.with_columns(
        subject="person_id",
        status=pl.lit("done"),
        sequence=pl.lit(0, dtype=pl.Int64),
        row_id=table.key,
        recorded=known,
        recorded_assumed=pl.lit(True),
    )
    described = kept.select("code", "description").unique("code").sort("code")
    warned = [
        warned_hours(kept, name, zone, days_only=days_only, table="events", moment=moment)
        for name, moment in ((table.start, "begin"), (table.end, "finish"))
        if name
    ]
    return conform("events", kept), refused, described, pl.concat(warned)
