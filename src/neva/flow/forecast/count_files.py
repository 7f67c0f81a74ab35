"""Counts of arrivals from a table file, where no hospital is at hand."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from neva.errors import BadInputError
from neva.events.clock import zone_named
from neva.flow.forecast.arrivals import Arrivals

__all__ = ["read_counts"]


def read_counts(
    file: Path,
    *,
    day: str = "day",
    hour: str | None = None,
    count: str = "count",
    zone: str = "UTC",
) -> Arrivals:
    """Read counts by day, or by day and hour, from a CSV file.

    Parameters
    ----------
    file : Path
    day, hour, count : str
        Names of columns: a local day (``2016-07-31``), an hour of the local
        clock from 0 to 23 (without it, counts are of days), a whole number.
    zone : str
        Time zone of the days (IANA).

    Raises
    ------
    BadInputError
        A column is absent, a cell cannot be read, or days are missing or told
        twice.
    UsageError
        There is no such time zone.
    """
    place = zone_named(zone)
    try:
        rows = pl.read_csv(file, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        message = f"{file}: cannot be read as CSV; found {type(error).__name__}; give a CSV file"
        raise BadInputError(message) from error
    columns = [name for name in (day, hour, count) if name is not None]
    absent = [name for name in columns if name not in rows.columns]
    if absent:
        message = (
            f"{file}: columns are absent: {', '.join(absent)}; found {', '.join(rows.columns)}; "
            "name the columns with --columns day=…,hour=…,count=…"
        )
        raise BadInputError(message)
    read = rows.select(
        # Other ways to write a day leave open which number is the month.
        day=pl.col(day).str.to_date("%Y-%m-%d", strict=False),
        hour=pl.col(hour).cast(pl.Int64, strict=False) if hour else pl.lit(0, dtype=pl.Int64),
        count=pl.col(count).cast(pl.Int64, strict=False),
    )
    for name, given in (("day", day), ("hour", hour), ("count", count)):
        bad = read[name].is_null()
        if name == "count":
            bad |= (read[name] < 0).fill_null(value=False)
        if name == "hour":
            bad |= ~read[name].is_between(0, 23).fill_null(value=True)
        if bad.any():
            message = (
                f"{file}: {bad.sum()} cells of column {given} cannot be read as {name}; found the "
                f"first in row {int(bad.arg_max() or 0) + 1}; correct them"
            )
            raise BadInputError(message)
    if not read.height:
        message = f"{file}: no rows; found only a header; give counts"
        raise BadInputError(message)
    in_order = read.sort("day", "hour")
    first, last = in_order["day"][0], in_order["day"][-1]
    days = (last - first).days + 1
    expected = days * (24 if hour else 1)
    if read.select("day", "hour").is_duplicated().any() or read.height != expected:
        message = (
            f"{file}: days or hours are missing or given twice; found {read.height} rows for "
            f"{expected} between the first and the last day; fill the gaps (a 0 is a count)"
        )
        raise BadInputError(message)
    hourly = np.zeros((days, 24), dtype=np.int64)
    number = (read["day"] - first).dt.total_days().to_numpy()
    hourly[number, read["hour"].to_numpy()] = read["count"].to_numpy()
    until = datetime.combine(last + timedelta(days=1), time(), place)
    return Arrivals(first, hourly, zone, until, by_day=hour is None)
