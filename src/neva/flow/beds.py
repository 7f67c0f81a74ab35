"""Beds of units at a time, and the units above units."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from neva.errors import UsageError
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot

__all__ = ["beds_at", "units_above"]


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


def units_above(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """Return the units above each unit, the nearest first.

    Raises
    ------
    UsageError
        The hierarchy runs in a circle.
    """
    rows = snapshot.units().select("unit", "parent").collect()
    parent = {unit: above for unit, above in rows.iter_rows() if above}
    found = {}
    for unit in rows["unit"]:
        chain: list[str] = []
        while (above := parent.get(chain[-1] if chain else unit)) is not None:
            if above == unit or above in chain:
                circle = " > ".join([unit, *chain, above])
                message = (
                    f"units: the hierarchy runs in a circle; found {circle}; "
                    "correct the parents of these units"
                )
                raise UsageError(message)
            chain.append(above)
        found[unit] = tuple(chain)
    return found
