"""A stand-in for the store: rows as a source delivers them, as a snapshot shows them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from neva.events.schema import ROWS, TABLES
from neva.sources.rows import Rows, conform

_IMPORTED = datetime(2024, 1, 1, tzinfo=UTC)


def pseudonym(text: str) -> int:
    """A number for a local id; the same for the same id."""
    return zlib.crc32(text.encode()) * 2**20 - 2**50


@dataclass
class Stored:
    """Tables in memory with the interface of a snapshot."""

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    zone: str = "Europe/Berlin"
    identity: str = "test@1/latest"

    def _table(self, name: str) -> pl.LazyFrame:
        return self.tables.get(name, pl.DataFrame(schema=TABLES[name])).lazy()

    def events(self) -> pl.LazyFrame:
        return self._table("events")

    def subjects(self) -> pl.LazyFrame:
        return self._table("subjects")

    def stays(self) -> pl.LazyFrame:
        return self._table("stays")

    def movements(self) -> pl.LazyFrame:
        return self._table("movements")

    def units(self) -> pl.LazyFrame:
        return self._table("units")

    def codes(self) -> pl.LazyFrame:
        return self._table("codes")


def stored(delivered: Iterable[Rows], zone: str = "Europe/Berlin") -> Stored:
    """Store rows: ids become numbers, what is missing gets its default, no checks."""
    frames: dict[str, list[pl.DataFrame]] = {}
    for rows in delivered:
        frame = conform(rows.table, rows.frame)
        if rows.table in TABLES and rows.table != "quarantine":
            frames.setdefault(rows.table, []).append(
                frame.with_columns(pl.lit(rows.origin).alias("origin"))
            )
    return Stored({name: _table(name, pl.concat(parts)) for name, parts in frames.items()}, zone)


def _table(name: str, frame: pl.DataFrame) -> pl.DataFrame:
    def number(column: str) -> pl.Expr:
        return pl.col(column).map_elements(pseudonym, return_dtype=pl.Int64)

    frame = frame.filter(pl.col("retracted").is_null()).with_columns(
        recorded_assumed=pl.col("recorded_assumed").fill_null(pl.col("recorded").is_null()),
        recorded=pl.col("recorded").fill_null(_IMPORTED),
        batch=pl.lit(1),
    )
    if "subject" in frame.columns:
        frame = frame.with_columns(subject_id=number("subject"))
    if "stay" in frame.columns:
        frame = frame.with_columns(stay_id=number("stay"))
    if name in ("events", "movements"):
        own = pl.concat_str("origin", pl.col("row_id").fill_null(pl.col("row").cast(pl.String)))
        frame = frame.with_columns(
            own.map_elements(pseudonym, return_dtype=pl.Int64).alias(f"{name[:-1]}_id")
        )
    defaults = {"precision": "instant", "status": "done", "sequence": 0}
    frame = frame.with_columns(
        pl.col(column).fill_null(value)
        for column, value in defaults.items()
        if column in TABLES[name]
    )
    return frame.select(pl.col(column).cast(dtype) for column, dtype in TABLES[name].items())


def delivered_as(stored_tables: Stored, table: str) -> pl.DataFrame:
    """A stored table as a source would deliver it: pseudonyms as text."""
    frame = getattr(stored_tables, table)().collect()
    ids = {"subject_id": "subject", "stay_id": "stay", "event_id": "row_id"}
    return frame.select(
        pl.col(name).cast(pl.String).alias(ids[name]) if name in ids else pl.col(name)
        for name in frame.columns
        if ids.get(name, name) in ROWS[table]
    )
