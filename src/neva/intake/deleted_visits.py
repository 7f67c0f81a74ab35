"""Visits that a message deletes (A23): what was told of them ends with them, from then on."""

from __future__ import annotations

import polars as pl

from neva.events.schema import EVENT_ROW, RETRACTIONS
from neva.events.snapshot import Snapshot

__all__ = ["deletions_of", "ended_with_visits", "with_withdrawals"]


def deletions_of(statements: pl.DataFrame) -> pl.DataFrame:
    """Return which visits statements delete, and when: ``stay_id``, ``deleted``.

    Parameters
    ----------
    statements : polars.DataFrame
        Columns of ``patient_messages``.
    """
    is_deletion = (pl.col("event") == "A23") & pl.col("stay_id").is_not_null()
    return statements.filter(is_deletion).select("stay_id", deleted="recorded").unique()


def ended_with_visits(before: Snapshot, deletions: pl.DataFrame) -> pl.DataFrame:
    """Find the stored events that end with their visit.

    Parameters
    ----------
    before : Snapshot
        The hospital as it was.
    deletions : polars.DataFrame
        As of :func:`deletions_of`.

    Returns
    -------
    polars.DataFrame
        Columns of ``RETRACTIONS``.
    """
    if not deletions.height:
        return pl.DataFrame(schema=RETRACTIONS)
    is_known = pl.col("recorded") < pl.col("deleted")
    is_live = pl.col("retracted").is_null() | (pl.col("retracted") > pl.col("deleted"))
    return (
        before.stored("events")
        .join(deletions.lazy(), on="stay_id", how="inner")
        .filter(is_known & is_live)
        .group_by(EVENT_ROW)
        .agg(retracted=pl.col("deleted").min())
        .select(list(RETRACTIONS))
        .collect()
    )


def with_withdrawals(staged: pl.DataFrame, deletions: pl.DataFrame) -> pl.DataFrame:
    """Add to rows that arrive late, of a visit that was deleted since, that they end with it.

    Parameters
    ----------
    staged : polars.DataFrame
        Events with ``stay_id``, ``recorded``, ``retracted`` and ``derived``.
    deletions : polars.DataFrame
        All that is known, as of :func:`deletions_of`.
    """
    if not deletions.height:
        return staged
    is_told = pl.col("retracted").is_null() & ~pl.col("derived")
    rows = staged.with_row_index("_row").filter(is_told)
    ends = (
        rows.select("_row", "stay_id", "recorded")
        .join(deletions, on="stay_id", how="inner")
        .filter(pl.col("recorded") < pl.col("deleted"))
        .group_by("_row")
        .agg(pl.col("deleted").min())
    )
    withdrawals = (
        rows.join(ends, on="_row", how="inner", maintain_order="left")
        .with_columns(recorded="deleted", retracted="deleted")
        .select(staged.columns)
    )
    return pl.concat([staged, withdrawals])
