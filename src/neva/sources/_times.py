"""Times of rows that several sources read alike: ends without a clock, repeated hours."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from neva.events.clock import OFFSET, end_of_day, repeated, start_of_day
from neva.events.schema import ROWS, TIME

__all__ = ["event_end", "repeated_hours", "whole_last_days"]

_INSTANT = pl.duration(microseconds=1)


def event_end(
    end: pl.Series, end_precision: pl.Series, precision: pl.Series, zone: str
) -> pl.Series:
    """Let an event that began at an hour last to the end of the day that it ended on.

    Parameters
    ----------
    end, end_precision : polars.Series
        When it ended, and how exactly that is known.
    precision : polars.Series
        How exactly its beginning is known.
    zone : str

    Returns
    -------
    polars.Series
        `end`; where only its date is known, the first instant of the next day.
    """
    is_day = _only_dated(end, end_precision, precision, zone)
    if not is_day.any():
        return end
    return end_of_day(end, zone).zip_with(is_day, end)  # type: ignore[union-attr]


def _only_dated(
    end: pl.Series, end_precision: pl.Series, precision: pl.Series, zone: str
) -> pl.Series:
    """Tell which ends are only a date, of something that began at an hour."""
    dated = ((end_precision == "day") & (precision != "day") & end.is_not_null()).fill_null(
        value=False
    )
    if not dated.any():
        return dated
    # A source may declare that a time which it wrote with its hour is a day's.
    local = end.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return dated & (start_of_day(local.dt.date(), zone) == end).fill_null(value=False)


def whole_last_days(rows: pl.DataFrame, zone: str, *, whose: Sequence[str]) -> pl.DataFrame:
    """Let stays or movements cover the day that they ended on, where no hour is known.

    Who came at 08:00 and left on the same date was not gone before coming.
    The end becomes the last instant of the day, or the hour of that day at
    which the next one of the same began, and both times count as known to the
    day.

    Parameters
    ----------
    rows : polars.DataFrame
        With ``start``, ``end``, ``precision`` and ``end_precision``.
    zone : str
    whose : sequence of str
        Columns: what has one stay, or one place, at a time.

    Returns
    -------
    polars.DataFrame
        The same rows in their order, without ``end_precision``.
    """
    is_day = _only_dated(rows["end"], rows["end_precision"], rows["precision"], zone)
    rows = rows.drop("end_precision")
    if not is_day.any():
        return rows
    closes = end_of_day(rows["end"], zone)
    dated = (
        rows.with_row_index("_at")
        .with_columns(_closes=closes)
        .filter(is_day & (pl.col("start") < pl.col("_closes")))
        .with_columns(_from=pl.max_horizontal("end", pl.col("start") + _INSTANT))
        .sort("_from")
    )
    starts = rows.select(*whose, _next="start").drop_nulls("_next").unique().sort("_next")
    follow = dated.join_asof(
        starts,
        left_on="_from",
        right_on="_next",
        by=list(whose),
        strategy="forward",
        check_sortedness=False,
    ).select(
        "_at",
        _end=pl.min_horizontal(pl.col("_closes") - _INSTANT, "_next").cast(TIME),
    )
    return (
        rows.with_row_index("_at")
        .join(follow, on="_at", how="left", maintain_order="left")
        .with_columns(
            end=pl.coalesce("_end", "end"),
            precision=pl.when(pl.col("_end").is_not_null())
            .then(pl.lit("day"))
            .otherwise("precision"),
        )
        .drop("_at", "_end")
    )


def repeated_hours(
    rows: pl.DataFrame,
    zone: str,
    *,
    table: str,
    field: str,
    time: pl.Series,
    written: pl.Series | None = None,
    precision: pl.Series | None = None,
) -> pl.DataFrame:
    """Warn of rows whose local time the clock showed twice.

    Parameters
    ----------
    rows : polars.DataFrame
        With ``file`` and ``row``.
    zone : str
        The zone that `time` was read in.
    table, field : str
        What they are called in the warning.
    time : polars.Series
        As read.
    written : polars.Series, optional
        The texts that were read; those with an offset leave nothing in doubt.
        None: no time had an offset.
    precision : polars.Series, optional
        Dates leave nothing in doubt either.

    Returns
    -------
    polars.DataFrame
        Rows of ``warnings``.
    """
    doubtful = repeated(time, zone)
    if doubtful.any():
        if precision is not None:
            doubtful &= (precision != "day").fill_null(value=True)
        if written is not None:
            doubtful &= ~written.str.strip_chars().str.contains(OFFSET).fill_null(value=True)
    if not doubtful.any():
        return pl.DataFrame(schema=ROWS["warnings"])
    return rows.filter(doubtful).select(
        "file",
        "row",
        table=pl.lit(table),
        field=pl.lit(field),
        reason=pl.lit("time-repeated"),
    )
