"""Entries about the patients present, as they stood at moments of the past.

A forecast that uses expected dates and requests must know how far such entries
came true: for that they are read as they stood at each of many moments, and
not as somebody wrote them later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from neva.census.current_entries import current_entries
from neva.events.hospital import Hospital
from neva.events.schema import TIME, Columns
from neva.events.snapshot import Snapshot

__all__ = [
    "ENTRY_ROWS",
    "LEARNT_DAYS",
    "EntryHistory",
    "entry_history",
    "history_of_origins",
    "past_moments",
]

#: Days before a forecast from which entries are learnt, once a day.
LEARNT_DAYS: Final = 42
#: Columns of a history, and their types.
ENTRY_ROWS: Final[Columns] = {
    "moment": TIME,
    "subject_id": pl.Int64,
    "expected": TIME,
    "confirmed": pl.Boolean,
    "fit": pl.Boolean,
    "delayed": pl.Boolean,
    "wanted": pl.String,
}


@dataclass(frozen=True, slots=True)
class EntryHistory:
    """Entries by moment and patient.

    Attributes
    ----------
    moments : tuple of datetime
        Aware, ascending.
    frame : polars.DataFrame
        Columns of :data:`ENTRY_ROWS`; one row for each moment and patient with
        an entry then: ``expected`` (the last expected date of discharge that
        had been said)?, ``confirmed`` (whether it was), ``fit`` (medically
        fit), ``delayed`` (a reason for delay goes on), ``wanted`` (the unit
        that a bed is requested in)?.
    """

    moments: tuple[datetime, ...]
    frame: pl.DataFrame

    def to_frame(self) -> pl.DataFrame:
        """Return the rows."""
        return self.frame

    def at(self, moment: datetime) -> pl.DataFrame:
        """Return the rows of one moment."""
        return self.frame.filter(pl.col("moment") == pl.lit(moment, dtype=TIME))


def past_moments(now: datetime, days: int = LEARNT_DAYS) -> list[datetime]:
    """Return the same time on so many days before, and *now* itself, ascending."""
    return [now - timedelta(days=back) for back in range(days, -1, -1)]


def history_of_origins(hospital: Hospital, origins: Sequence[datetime]) -> EntryHistory:
    """Read the entries at origins of forecasts, and on the days that they learn from."""
    if not origins:
        return EntryHistory((), pl.DataFrame(schema=ENTRY_ROWS))
    return entry_history(hospital, [*past_moments(min(origins)), *origins])


def entry_history(hospital: Hospital, moments: Sequence[datetime]) -> EntryHistory:
    """Read the entries about the patients present at some moments.

    Parameters
    ----------
    hospital : Hospital
    moments : sequence of datetime
        Aware. At each what had been recorded by then and was not yet withdrawn.
    """
    ordered = tuple(sorted(set(moments)))
    parts = [_entry_rows(hospital.snapshot(as_of=moment), moment) for moment in ordered]
    frame = pl.concat(parts) if parts else pl.DataFrame(schema=ENTRY_ROWS)
    return EntryHistory(ordered, frame)


def _entry_rows(snapshot: Snapshot, moment: datetime) -> pl.DataFrame:
    entries = current_entries(snapshot)
    now = pl.lit(moment, dtype=TIME)

    def of(kind: str) -> pl.Expr:
        return pl.col("kind") == kind

    dated = of("expected-discharge")
    return (
        entries.filter(
            pl.col("kind").is_in(["expected-discharge", "medically-fit", "delay", "bed-request"])
        )
        .group_by("subject_id")
        .agg(
            expected=pl.col("time").filter(dated).last(),
            confirmed=pl.col("confirmed").filter(dated).last().fill_null(value=False),
            fit=(of("medically-fit") & (pl.col("time") <= now)).any().fill_null(value=False),
            delayed=of("delay").any(),
            wanted=pl.col("unit").filter(of("bed-request")).last(),
        )
        .with_columns(moment=now)
        .select(pl.col(name).cast(dtype) for name, dtype in ENTRY_ROWS.items())
        .sort("subject_id")
    )
