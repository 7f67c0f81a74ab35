"""Beds of units at a time."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from neva.events.schema import TIME
from neva.events.snapshot import Snapshot

__all__ = ["beds_at"]


def beds_at(snapshot: Snapshot, at: datetime | None = None) -> dict[str, int]:
    """Count the beds of each unit that are open or staffed.

    Parameters
    ----------
    snapshot : Snapshot
    at : datetime, optional
        Aware; *now* of the snapshot if not given. A bed is counted by its row
        with ``start <= at < end``.

    Returns
    -------
    dict of str to int
        Units of which no bed is recorded are not in it; one whose beds are all
        closed has 0.
    """
    moment = pl.lit(at or snapshot.now, dtype=TIME)
    rows = snapshot.beds().collect()
    current = rows.filter(
        pl.col("start") <= moment, pl.col("end").is_null() | (pl.col("end") > moment)
    ).unique(subset=["unit", "bed"], keep="last", maintain_order=True)
    counted = current.group_by("unit").agg(
        beds=pl.col("state").is_in(["open", "staffed"]).sum().cast(pl.Int64)
    )
    known = dict.fromkeys(sorted(rows["unit"].unique()), 0)
    return known | dict(counted.iter_rows())
