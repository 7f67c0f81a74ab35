"""Rows as the columnar engine scans them: by patient, in total order, known from and until."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.definitions.binding import has_code
from neva.definitions.columnar._scalars import Column
from neva.definitions.local_time import FOREVER
from neva.definitions.revisions import revised
from neva.events.schema import other_codes
from neva.events.snapshot import Snapshot

#: A code's pattern (``LOINC//*``) to the hours after which it is taken to have
#: been known, where the source does not say when it was; the first that fits.
Delays = Mapping[str, float]


@dataclass
class Rows:
    """Rows of some patients from one source, sorted by patient and in their total order."""

    frame: pl.DataFrame
    starts: npt.NDArray[np.int64]
    arrays: dict[str, Column] = field(default_factory=dict)


_COLUMNS: Final = (
    "subject_id", "stay_id", "time", "end_time", "recorded", "known_until", "code", "value",
    "comparator", "value_unit", "text", "status", "reason", "rank", "event_id", "sequence",
    "attributes",
)  # fmt: skip


def events_of(
    snapshot: Snapshot, codes: set[str] | None, delays: Delays, *, attributes: bool, others: bool
) -> pl.LazyFrame:
    rows = snapshot.stored("events").filter(pl.col("time").is_not_null())
    if snapshot.as_of is not None:
        rows = rows.filter(pl.col("recorded") <= snapshot.as_of)
    if others:
        rows = rows.with_columns(other_codes())
    if codes is not None:
        rows = rows.filter(has_code(codes) if others else pl.col("code").is_in(sorted(codes)))
    time, recorded = pl.col("time").dt.epoch("us"), pl.col("recorded").dt.epoch("us")
    assumed = recorded
    if delays:
        later: Any = recorded
        for pattern, hours in reversed(list(delays.items())):
            fits = (
                pl.col("code").str.starts_with(pattern[:-1])
                if pattern.endswith("*")
                else pl.col("code") == pattern
            )
            later = pl.when(fits).then(time + round(hours * 3.6e9)).otherwise(later)
        assumed = pl.when("recorded_assumed").then(later).otherwise(recorded)
    return rows.with_columns(
        time.alias("time"),
        pl.col("end_time").dt.epoch("us"),
        assumed.alias("recorded"),
        pl.col("retracted").dt.epoch("us").fill_null(FOREVER + 1).alias("known_until"),
    ).select(*_COLUMNS[: len(_COLUMNS) if attributes else -1], *(["other_codes"] if others else []))


def things_of(snapshot: Snapshot, source: str) -> pl.LazyFrame:
    """Movements or stays as rows."""
    key = "movement_id" if source == "movements" else "stay_id"
    rows = revised(snapshot, source, key)
    missing = pl.lit(None, dtype=pl.String)
    text, reason, code = (
        (pl.col("bed"), missing, pl.lit("UNIT//") + pl.col("unit").fill_null(""))
        if source == "movements"
        else (pl.col("outcome"), pl.col("source"), pl.lit("STAY//") + pl.col("kind").fill_null(""))
    )
    return rows.select(
        "subject_id",
        "stay_id",
        pl.col("start").dt.epoch("us").alias("time"),
        pl.col("end").dt.epoch("us").alias("end_time"),
        "recorded",
        "known_until",
        code.alias("code"),
        pl.lit(None, dtype=pl.Float64).alias("value"),
        missing.alias("comparator"),
        missing.alias("value_unit"),
        text.alias("text"),
        pl.lit("done").alias("status"),
        reason.alias("reason"),
        pl.lit(None, dtype=pl.Int32).alias("rank"),
        pl.col(key).alias("event_id"),
        pl.lit(0, dtype=pl.Int64).alias("sequence"),
    )


def sorted_rows(rows: pl.DataFrame, subjects: npt.NDArray[np.int64]) -> Rows:
    ordered = rows.sort(
        "subject_id", "time", "sequence", "code", "value", "event_id", "recorded",
        nulls_last=False,
    )  # fmt: skip
    places = np.searchsorted(ordered["subject_id"].to_numpy(), subjects)
    return Rows(ordered, np.append(places, ordered.height).astype(np.int64))
