"""The census: patients present, arrivals and departures, by place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from neva.census.intervals import Intervals
from neva.errors import UsageError
from neva.events.clock import first_moment
from neva.events.schema import TIME, Columns

__all__ = ["LOST_LIMIT", "Census", "census"]

#: Above this share of patients lost to follow-up a census is not shown as one:
#: it falls because nobody looked, not because patients left.
LOST_LIMIT = 0.05


@dataclass(frozen=True, slots=True)
class Census:
    """Patients per place and period.

    Attributes
    ----------
    frame : polars.DataFrame
        One row for each place and period: ``place``; ``time`` (UTC, start of
        the period); ``until`` (its end); ``before`` (patients there just
        before ``time``); ``arrivals`` and ``departures`` in ``[time, until)``;
        ``present`` (patients there at ``time``: an arrival at that very moment
        is, who leaves at it is not); ``bed_days`` (patient-time in the
        period, in days of 24 hours); ``lost`` (patients whose follow-up had
        ended while they were there, by ``time``); ``complete`` (false where
        so many were lost that the count is no census, or where the period
        reaches beyond *now*).
    every : str
        ``1h`` or ``1d`` (days of the hospital's calendar).
    what : str
        What is counted: ``patients by unit``.
    zone, identity : str
        Of the data.
    now : datetime
        Nothing is counted after it.
    lost_limit : float
        The share of lost patients above which a period is not complete.
    """

    frame: pl.DataFrame
    every: str
    what: str
    zone: str
    identity: str
    now: datetime
    lost_limit: float

    def to_frame(self) -> pl.DataFrame:
        """Return the census."""
        return self.frame


def _marks(first: datetime, last: datetime, *, every: str, zone: str) -> list[datetime]:
    """Starts of the periods that cover ``[first, last]``, and the end of the last one."""
    place = ZoneInfo(zone)
    if every == "1d":
        day: date = first.astimezone(place).date()
        end: date = last.astimezone(place).date() + timedelta(days=1)
        days = (end - day).days
        return [first_moment(day + timedelta(days=k), zone) for k in range(days + 1)]
    start = first.replace(minute=0, second=0, microsecond=0)
    hours = int((last - start) // timedelta(hours=1)) + 1
    return [start + timedelta(hours=k) for k in range(hours + 1)]


def census(
    intervals: Intervals,
    *,
    every: Literal["1h", "1d"] = "1d",
    first: datetime | None = None,
    last: datetime | None = None,
    lost_limit: float = LOST_LIMIT,
) -> Census:
    """Count patients per place and period.

    Parameters
    ----------
    intervals : Intervals
        Times spent in places.
    every : {"1h", "1d"}
        Elapsed hours, or days of the hospital's calendar (23 or 25 hours when
        the clocks change).
    first, last : datetime, optional
        Aware. By default from the first arrival to *now*.
    lost_limit : float
        See :data:`LOST_LIMIT`.

    Returns
    -------
    Census

    Raises
    ------
    UsageError
        Hours are asked of times that are only known to the day.

    Notes
    -----
    Present at ``t`` are those with ``start <= t < end``; before ``t`` those with
    ``start < t <= end``. Rows add up: ``before`` of the next period is ``before +
    arrivals - departures``, less those who were lost in it (or, in the period that
    holds *now*, are still there). ``present`` does not add up with them where
    somebody comes or leaves at the very start of a period. Little's law holds
    exactly: the bed-days of all periods are the sum of all lengths of stay (Little
    1961, doi:10.1287/opre.9.3.383).
    """
    if every == "1h" and intervals.precision == "day":
        message = (
            "census: an hourly count needs times of day; found times that are only known to the "
            "day; count by day"
        )
        raise UsageError(message)
    rows = intervals.frame
    begin = first or (rows["start"].min() if rows.height else intervals.now)
    assert isinstance(begin, datetime)
    marks = _marks(begin, max(last or intervals.now, begin), every=every, zone=intervals.zone)
    grid = np.array([int(mark.timestamp() * 1_000_000) for mark in marks], dtype=np.int64)
    times = pl.Series(grid).cast(TIME)

    def clock(column: pl.Series) -> np.ndarray:
        return intervals.on_clock(column).to_numpy()

    now = int(intervals.now.timestamp() * 1_000_000)
    parts = []
    for place in sorted(rows["place"].unique()):
        inside = rows.filter(pl.col("place") == place)
        begins, finishes = inside["start"], inside["end"]
        starts = begins.to_physical().to_numpy()
        ends = finishes.to_physical().to_numpy()
        left = inside.filter(~pl.col("open") & ~pl.col("lost"))["end"].to_physical().to_numpy()
        lost = inside.filter("lost")["end"].to_physical().to_numpy()
        come = np.searchsorted(np.sort(starts), grid, side="left")
        gone = np.searchsorted(np.sort(left), grid, side="left")
        ended = np.searchsorted(np.sort(ends), grid, side="right")
        there = np.searchsorted(np.sort(starts), grid, side="right")
        lost_by = np.searchsorted(np.sort(lost), grid, side="right")
        present = (there - ended)[:-1]
        before = (come - np.searchsorted(np.sort(ends), grid, side="left"))[:-1]
        lost_so_far = lost_by[:-1]
        share = lost_so_far / np.maximum(present + lost_so_far, 1)
        parts.append(
            pl.DataFrame(
                {
                    "place": pl.repeat(place, len(present), eager=True),
                    "time": pl.Series(grid[:-1]).cast(TIME),
                    "until": pl.Series(grid[1:]).cast(TIME),
                    "before": before,
                    "arrivals": np.diff(come),
                    "departures": np.diff(gone),
                    "present": present,
                    "bed_days": np.diff(_time_spent(*map(clock, (begins, finishes, times))))
                    / 86_400e6,
                    "lost": lost_so_far,
                    "complete": (share <= lost_limit) & (grid[:-1] <= now),
                }
            )
        )
    schema: Columns = {
        "place": pl.String,
        "time": TIME,
        "until": TIME,
        "before": pl.Int64,
        "arrivals": pl.Int64,
        "departures": pl.Int64,
        "present": pl.Int64,
        "bed_days": pl.Float64,
        "lost": pl.Int64,
        "complete": pl.Boolean,
    }
    return Census(
        frame=pl.concat(parts).cast(pl.Schema(schema)) if parts else pl.DataFrame(schema=schema),
        every=every,
        what=intervals.what,
        zone=intervals.zone,
        identity=intervals.identity,
        now=intervals.now,
        lost_limit=lost_limit,
    )


def _time_spent(starts: np.ndarray, ends: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the patient-time before each mark, in µs: exact sums of integers."""

    def before(points: np.ndarray) -> np.ndarray:
        ordered = np.sort(points)
        count = np.searchsorted(ordered, grid, side="left")
        # Sums are taken from the first mark, so that they fit 64 bits.
        sums = np.concatenate([[0], np.cumsum(ordered - grid[0])])
        result: np.ndarray = count * (grid - grid[0]) - sums[count]
        return result

    found: np.ndarray = before(starts) - before(ends)
    return found
