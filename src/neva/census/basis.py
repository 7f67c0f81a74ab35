"""What the beds of a hospital rest on, as a name: equal where nothing of it has changed.

A hospital has a new version with each message of a live feed; most of them are
results, which move nobody. What is worked out from stays, movements, units,
beds and entries is kept under this name, so that it is worked out again only
when one of these has changed.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

import polars as pl

from neva.census.current_entries import operational_rows
from neva.events import tables
from neva.events.schema import KEYS, TABLES, TIME
from neva.events.snapshot import Snapshot

__all__ = ["BOARD", "FLOW", "basis_of"]

#: Tables that a bed board reads, beside the operational events.
BOARD: Final = ("stays", "movements", "units", "beds")
#: Tables that forecasts read, beside the operational events.
FLOW: Final = (*BOARD, "subjects")


def _hashed(rows: pl.LazyFrame, *names: str) -> pl.DataFrame:
    """Give a hash for each stored row: a row never changes, but it may be withdrawn."""
    named = pl.struct(*names, "recorded", "retracted")
    return rows.select("recorded", _hash=named.hash()).collect()


@lru_cache(maxsize=384)
def _rows_of_file(table: str, path: str) -> pl.DataFrame:
    return _hashed(tables.scan([path], TABLES[table]), *KEYS[table], "batch")


@lru_cache(maxsize=128)
def _entries_of_file(path: str) -> pl.DataFrame:
    return _hashed(operational_rows(path).lazy(), "event_id")


def _known(frames: list[pl.DataFrame], snapshot: Snapshot) -> tuple[int, int]:
    """How many rows are known at *now*, and the sum of their hashes: however files hold them."""
    if not frames:
        return 0, 0
    rows = pl.concat(frames)
    if snapshot.as_of is not None:
        rows = rows.filter(pl.col("recorded") <= pl.lit(snapshot.as_of, dtype=TIME))
    # In 128 bits: 64 would turn over, which the library leaves open.
    return rows.height, int(rows["_hash"].cast(pl.Int128).sum())


def basis_of(snapshot: Snapshot, read: tuple[str, ...] = BOARD) -> str:
    """Name what some tables and the operational events say at the *now* of a snapshot.

    Parameters
    ----------
    snapshot : Snapshot
    read : tuple of str
        Tables other than the events: :data:`BOARD` or :data:`FLOW`.

    Returns
    -------
    str
        The same for two views in which the same rows are known: a result that was
        recorded, a row that is told for later, and a table that was rewritten
        change nothing. Holds for processes of one version of Neva.
    """
    parts = [
        (table, *_known([_rows_of_file(table, one) for one in snapshot.files(table)], snapshot))
        for table in read
    ]
    entries = [_entries_of_file(one) for one in snapshot.files("events")]
    named = repr((snapshot.hospital, *parts, ("entries", *_known(entries, snapshot))))
    return hashlib.sha256(named.encode()).hexdigest()[:32]
