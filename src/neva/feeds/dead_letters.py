"""Messages that could not be applied: kept until they can be."""

from __future__ import annotations

import polars as pl

from neva.events.snapshot import Snapshot

__all__ = ["dead_letters"]


def dead_letters(snapshot: Snapshot, feed: str | None = None) -> pl.DataFrame:
    """Return the messages that could not be applied.

    Parameters
    ----------
    snapshot : Snapshot
    feed : str, optional
        Of one feed.

    Returns
    -------
    polars.DataFrame
        Columns of ``TABLES["messages"]``, by feed and position: as they stand after the
        last attempt.
    """
    rows = snapshot.stored("messages")
    if feed is not None:
        rows = rows.filter(pl.col("feed") == feed)
    last = rows.sort("batch").unique(["feed", "position"], keep="last", maintain_order=True)
    return last.filter(pl.col("outcome") == "refused").sort("feed", "position").collect()
