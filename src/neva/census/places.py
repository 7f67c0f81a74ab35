"""Which places a hospital can be counted by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from neva.census.intervals import Intervals, Seen, of_events, of_movements, of_stays
from neva.errors import UsageError

__all__ = ["PLACES", "intervals_by", "state_codes"]

PLACES: Final = ("auto", "unit", "kind", "state")


def state_codes(snapshot: Seen) -> list[str]:
    """Codes whose events mostly last (have an end time): states, such as severities."""
    lasting = (
        snapshot.events()
        .filter(pl.col("status") == "done")
        .group_by("code")
        .agg(share=pl.col("end_time").is_not_null().mean())
        .filter(pl.col("share") > 0.5)
        .collect()
    )
    return sorted(lasting["code"])


def intervals_by(
    snapshot: Seen, by: str = "auto", states: Sequence[str] | None = None
) -> Intervals:
    """Return times spent in places, by what the hospital has recorded.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital as known at *now*.
    by : {"auto", "unit", "kind", "state"}
        ``auto``: units if there are movements; else the states given, or
        found (:func:`state_codes`); else kinds of stay.
    states : sequence of str, optional
        Codes of the states.

    Raises
    ------
    UsageError
        There is no such way to count, or nothing to count by it.
    """
    if by not in PLACES:
        message = f"by: no such way to count; found {by!r}; give one of {', '.join(PLACES)}"
        raise UsageError(message)
    if states or by == "state":
        codes = list(states) if states else state_codes(snapshot)
        if not codes:
            message = "by state: no event lasts; found no end times; name the states, or use kind"
            raise UsageError(message)
        return of_events(snapshot, codes)
    if by == "unit" or (by == "auto" and snapshot.movements().head(1).collect().height):
        return of_movements(snapshot)
    if by == "auto" and (codes := state_codes(snapshot)):
        return of_events(snapshot, codes)
    return of_stays(snapshot)
