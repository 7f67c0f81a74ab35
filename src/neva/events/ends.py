"""Stays that have ended at an unrecorded time: what is known of their end."""

from __future__ import annotations

from typing import Protocol

import polars as pl

from neva.events.codes import END_UNKNOWN

__all__ = ["ends_unknown"]


class _Seen(Protocol):
    def events(self) -> pl.LazyFrame: ...
    def stays(self) -> pl.LazyFrame: ...


def ends_unknown(snapshot: _Seen) -> pl.DataFrame:
    """Return the stays that are over without a known end.

    Returns
    -------
    polars.DataFrame
        ``stay_id`` and ``_last_known``, the latest time known of the stay, at which
        it ends in the table of stays. One whose end was told since is not among them.
    """
    marks = snapshot.events().filter(pl.col("code") == END_UNKNOWN, pl.col("stay_id").is_not_null())
    return (
        marks.select("stay_id", _last_known="time")
        .join(snapshot.stays().select("stay_id", "end"), on="stay_id", how="inner")
        .filter(pl.col("end") == pl.col("_last_known"))
        .select("stay_id", "_last_known")
        .unique("stay_id")
        .collect()
    )
