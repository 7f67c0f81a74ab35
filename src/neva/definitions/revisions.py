"""From when until when each revision of a stay, a movement or a patient was known."""

from __future__ import annotations

import polars as pl

from neva.definitions.local_time import FOREVER
from neva.events.snapshot import Snapshot

__all__ = ["revised"]


def revised(snapshot: Snapshot, table: str, key: str) -> pl.LazyFrame:
    """Return every revision of a table's things, times ``recorded`` and ``known_until``.

    Both in microseconds: a revision is known from the one until (not including)
    the other.
    """
    rows = snapshot.stored(table)
    if snapshot.as_of is not None:
        rows = rows.filter(pl.col("recorded") <= snapshot.as_of)
    forever = pl.lit(FOREVER + 1, dtype=pl.Int64)
    following = pl.col("recorded").shift(-1).over(key)
    return rows.sort(key, "recorded", "batch").with_columns(
        pl.min_horizontal(
            pl.col("retracted").dt.epoch("us").fill_null(forever),
            following.dt.epoch("us").fill_null(forever),
        ).alias("known_until"),
        pl.col("recorded").dt.epoch("us").alias("recorded"),
    )
