"""Small builders of columns that several sources share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from neva.events.schema import ATTRIBUTES, ROWS, TIME
from neva.sources.rows import conform

#: Events per batch: large enough for vectors, small enough for memory.
BATCH = 200_000


def attributes_from_lists(
    counts: Sequence[int], keys: Sequence[str], values: Sequence[str]
) -> pl.Series:
    """Build the attributes column from flat keys and values, `counts` per row."""
    offsets = pa.array([0, *counts], type=pa.int64()).to_numpy().cumsum()
    pairs = pa.StructArray.from_arrays(
        [pa.array(keys, pa.large_string()), pa.array(values, pa.large_string())],
        names=["key", "value"],
    )
    lists = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), pairs)
    column = pl.Series("attributes", lists, dtype=ATTRIBUTES)
    return (
        column.to_frame()
        .select(pl.when(pl.col("attributes").list.len() > 0).then("attributes"))
        .to_series()
    )


def attributes_from_columns(columns: Mapping[str, pl.Expr]) -> pl.Expr:
    """Build the attributes column from text expressions; missing ones leave no entry."""
    if not columns:
        return pl.lit(None, dtype=ATTRIBUTES).alias("attributes")
    pairs = pl.concat_list(
        pl.when(value.is_not_null()).then(
            pl.struct(pl.lit(key).alias("key"), value.cast(pl.String).alias("value"))
        )
        for key, value in columns.items()
    ).list.drop_nulls()
    return pl.when(pairs.list.len() > 0).then(pairs).cast(ATTRIBUTES).alias("attributes")


def quarantined(refused: pl.DataFrame, *, table: str) -> pl.DataFrame:
    """Keep of refused rows what the quarantine may know: never a value.

    `refused` has the columns ``file``, ``row``, ``reason`` and perhaps ``field``.
    """
    return refused.select(
        pl.col("file"),
        pl.col("row").cast(pl.Int64),
        pl.lit(table).alias("table"),
        (pl.col("field") if "field" in refused.columns else pl.lit(None, pl.String)).alias("field"),
        pl.col("reason"),
    ).cast(ROWS["quarantine"])  # type: ignore[arg-type]


def system_name(text: str) -> str:
    """Make the name of a code system: upper case, words joined by ``-``.

    >>> system_name("Sepsis Cases - Event Log")
    'SEPSIS-CASES-EVENT-LOG'
    """
    return re.sub(r"[^\w.]+|_+", "-", text).strip("-").upper()


#: When reference rows (units, codes) count as known: before every event. They
#: describe the hospital, not a patient, and a replay of the past needs them.
ALWAYS = datetime(1900, 1, 1, tzinfo=UTC)


def new_codes(
    descriptions: Mapping[str, str | None], known: set[str], *, file: str
) -> pl.DataFrame | None:
    """Rows of ``codes`` for those not in `known`, which grows; None if there are none."""
    new = [code for code in descriptions if code not in known]
    if not new:
        return None
    known.update(new)
    return conform(
        "codes",
        {
            "code": new,
            "description": pl.Series([descriptions[code] for code in new], dtype=pl.String),
            "recorded": pl.Series([ALWAYS] * len(new), dtype=TIME),
            "recorded_assumed": [True] * len(new),
            "file": [file] * len(new),
        },
    )
