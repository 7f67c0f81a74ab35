"""The hospital's clock: local times read as instants, and instants as local days.

A hospital writes local times without an offset. Twice a year that clock lies:
one hour is shown twice (ambiguous), one is never shown (nonexistent). Both are
decided here, once, for every source.

The rules come from :mod:`zoneinfo`, day by day, and are then applied to whole
columns. Polars has the same conversion, but its zone tables end about the year
2100 and give winter time ever after; de-identified records are often shifted
into the 22nd century, and there every other engine keeps summer time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Literal, overload
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from neva.errors import UsageError
from neva.events.schema import TIME

__all__ = [
    "INSTANT",
    "MOMENT",
    "OFFSET",
    "end_of_day",
    "first_moment",
    "in_order",
    "instant",
    "read_iso",
    "repeated",
    "start_of_day",
    "to_utc",
    "zone_named",
]

Ambiguous = Literal["earliest", "latest", "quarantine"]
Nonexistent = Literal["quarantine", "forward"]

#: What :func:`to_utc` returns: the instant, or the reason why there is none.
INSTANT: Final = pl.Struct({"time": TIME, "reason": pl.String})
#: What :func:`read_iso` returns: an instant and how exactly it was written.
MOMENT: Final = pl.Struct({"time": TIME, "precision": pl.String, "reason": pl.String})

_DAY: Final = 86_400_000_000  # µs
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 -- a naive origin for naive times
_FIRST: Final = int((datetime(1, 1, 3) - _EPOCH) / timedelta(microseconds=1))  # noqa: DTZ001
_LAST: Final = int((datetime(9999, 12, 29) - _EPOCH) / timedelta(microseconds=1))  # noqa: DTZ001

# A day's offset when the clock changes on it or beside it.
_UNEVEN: Final = np.iinfo(np.int64).min
_ONE_MICROSECOND: Final = timedelta(microseconds=1)

_REASONS: Final = pl.Series(
    [None, "time-unreadable", "time-nonexistent", "time-ambiguous"], dtype=pl.String
)
_UNREADABLE, _NONEXISTENT, _AMBIGUOUS = 1, 2, 3


@lru_cache(maxsize=64)
def zone_named(zone: str) -> ZoneInfo:
    """Return the zone of that IANA name.

    Raises
    ------
    neva.errors.UsageError
        The name is not in the time zone database.

    Examples
    --------
    >>> zone_named("Europe/Berlin").key
    'Europe/Berlin'
    """
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(
            f"time zone {zone!r} is not in the time zone database; "
            "give an IANA name such as 'Europe/Berlin'"
        ) from error


def instant(
    naive: datetime,
    zone: str,
    *,
    ambiguous: Ambiguous = "earliest",
    nonexistent: Nonexistent = "quarantine",
) -> tuple[datetime | None, str | None]:
    """Read one local time; the rule that :func:`to_utc` applies to columns.

    Parameters
    ----------
    naive : datetime
        Without zone.
    zone : str
        IANA name.
    ambiguous : {"earliest", "latest", "quarantine"}
        Which instant a local time means that the clock showed twice.
    nonexistent : {"quarantine", "forward"}
        What becomes of a local time that the clock never showed; ``forward``
        reads it with the offset before the change, which for the first minute
        of the gap is the change itself.

    Returns
    -------
    time : datetime or None
        In UTC.
    reason : str or None
        ``time-nonexistent``, ``time-ambiguous`` or ``time-unreadable`` where
        there is no time.

    Examples
    --------
    >>> from datetime import datetime
    >>> instant(datetime(2021, 3, 28, 2, 30), "Europe/Berlin")
    (None, 'time-nonexistent')
    >>> str(instant(datetime(2021, 10, 31, 2, 30), "Europe/Berlin")[0])
    '2021-10-31 00:30:00+00:00'
    """
    place = zone_named(zone)
    try:
        first = naive.replace(tzinfo=place, fold=0)
        before, after = first.utcoffset(), naive.replace(tzinfo=place, fold=1).utcoffset()
        first_utc = first.astimezone(UTC)
        if before == after:
            return first_utc, None
        # A gap: the offset grows (the clock is put forward).
        if before < after:  # type: ignore[operator]
            return (first_utc, None) if nonexistent == "forward" else (None, "time-nonexistent")
        if ambiguous == "quarantine":
            return None, "time-ambiguous"
        if ambiguous == "earliest":
            return first_utc, None
        return naive.replace(tzinfo=place, fold=1).astimezone(UTC), None
    except OverflowError:
        return None, "time-unreadable"


@lru_cache(maxsize=200_000)
def _offset_of_day(place: ZoneInfo, day: int) -> int:
    """Offset in µs all through a local day (days since 1970), or ``_UNEVEN``."""
    midnight = _EPOCH + timedelta(days=day)
    # Noon before, noon, noon after: when these agree, no change is near.
    seen = {
        (midnight + timedelta(hours=hours)).replace(tzinfo=place).utcoffset()
        for hours in (-12, 12, 36)
    }
    offset = seen.pop()
    return _UNEVEN if seen or offset is None else offset // _ONE_MICROSECOND


@overload
def to_utc(
    naive: pl.Series, zone: str, *, ambiguous: Ambiguous = ..., nonexistent: Nonexistent = ...
) -> pl.Series: ...
@overload
def to_utc(
    naive: pl.Expr, zone: str, *, ambiguous: Ambiguous = ..., nonexistent: Nonexistent = ...
) -> pl.Expr: ...
def to_utc(
    naive: pl.Series | pl.Expr,
    zone: str,
    *,
    ambiguous: Ambiguous = "earliest",
    nonexistent: Nonexistent = "quarantine",
) -> pl.Series | pl.Expr:
    """Read a column of local times as instants.

    Parameters
    ----------
    naive : polars.Series or polars.Expr
        Datetime without zone (any unit) or Date (read as its first moment).
    zone : str
        IANA name of the zone whose clock wrote the times.
    ambiguous : {"earliest", "latest", "quarantine"}
        Which instant a local time means that the clock showed twice, when it
        was put back. By default the first.
    nonexistent : {"quarantine", "forward"}
        What becomes of a local time that the clock never showed.

    Returns
    -------
    polars.Series or polars.Expr
        The same kind as `naive`, of dtype :data:`INSTANT`: ``time`` (UTC, µs)
        and ``reason``, the code under which a row without time goes to
        quarantine. Where `naive` is missing both are missing.

    Notes
    -----
    Equal to :mod:`zoneinfo` for every time of the years 1 to 9999. Seconds of
    old local mean times are kept.

    Examples
    --------
    >>> import polars as pl
    >>> clock = pl.Series(["2021-03-28 02:30", "2021-07-01 12:00"]).str.to_datetime()
    >>> to_utc(clock, "Europe/Berlin").struct.unnest()
    shape: (2, 2)
    ┌─────────────────────────┬──────────────────┐
    │ time                    ┆ reason           │
    │ ---                     ┆ ---              │
    │ datetime[μs, UTC]       ┆ str              │
    ╞═════════════════════════╪══════════════════╡
    │ null                    ┆ time-nonexistent │
    │ 2021-07-01 10:00:00 UTC ┆ null             │
    └─────────────────────────┴──────────────────┘
    """
    zone_named(zone)
    if isinstance(naive, pl.Expr):
        return naive.map_batches(
            lambda column: _to_utc(column, zone, ambiguous, nonexistent),
            return_dtype=INSTANT,
            is_elementwise=True,
        )
    return _to_utc(naive, zone, ambiguous, nonexistent)


def _to_utc(
    naive: pl.Series, zone: str, ambiguous: Ambiguous, nonexistent: Nonexistent
) -> pl.Series:
    place = zone_named(zone)
    missing = naive.is_null().to_numpy()
    ticks = naive.cast(pl.Datetime("us")).cast(pl.Int64).fill_null(0).to_numpy().copy()
    why = np.zeros(len(ticks), dtype=np.uint8)

    beyond = (ticks < _FIRST) | (ticks > _LAST)
    why[beyond] = _UNREADABLE
    ticks[beyond] = 0

    if len(ticks):
        days = ticks // _DAY
        first = int(days.min())
        offsets = np.full(int(days.max()) - first + 1, _UNEVEN)
        present = np.zeros(len(offsets), dtype=bool)
        present[days - first] = True
        for slot in np.flatnonzero(present).tolist():
            offsets[slot] = _offset_of_day(place, slot + first)
        offset = offsets[days - first]

        uneven = offset == _UNEVEN
        if uneven.any():
            locals_, where = np.unique(ticks[uneven], return_inverse=True)
            found = np.zeros(len(locals_), dtype=np.int64)
            reasons = np.zeros(len(locals_), dtype=np.uint8)
            for slot, tick in enumerate(locals_.tolist()):
                local = _EPOCH + timedelta(microseconds=tick)
                moment, reason = instant(local, zone, ambiguous=ambiguous, nonexistent=nonexistent)
                if moment is None:
                    reasons[slot] = _NONEXISTENT if reason == "time-nonexistent" else _AMBIGUOUS
                else:
                    found[slot] = (local - moment.replace(tzinfo=None)) // _ONE_MICROSECOND
            offset[uneven] = found[where]
            why[uneven] = reasons[where]
        ticks -= offset

    why[missing] = 0
    none = pl.Series(missing | (why > 0))
    instants = pl.Series("time", ticks).cast(TIME)
    return pl.select(
        pl.struct(
            pl.when(~none).then(instants).alias("time"),
            _REASONS.gather(pl.Series(why)).alias("reason"),
        ).alias(naive.name)
    ).to_series()


def repeated(time: pl.Series, zone: str) -> pl.Series:
    """Tell which instants lie in an hour that the clock of a zone showed twice.

    Parameters
    ----------
    time : polars.Series
        Datetime, UTC.
    zone : str
        IANA name.

    Returns
    -------
    polars.Series
        Boolean; false where `time` is missing. Both showings count.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> import polars as pl
    >>> times = pl.Series([datetime(2021, 10, 31, 0, 30, tzinfo=UTC), None])
    >>> repeated(times, "Europe/Berlin").to_list()
    [True, False]
    """
    place = zone_named(zone)
    local = time.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    days = local.dt.date().cast(pl.Int32)
    uneven = [
        day for day in days.drop_nulls().unique().to_list() if _offset_of_day(place, day) == _UNEVEN
    ]
    near = days.is_in(uneven).fill_null(value=False)
    if not near.any():
        return near
    first, second = (
        to_utc(local.filter(near), zone, ambiguous=which).struct.field("time")
        for which in ("earliest", "latest")
    )
    return near.scatter(near.arg_true(), (first != second).fill_null(value=False))


def start_of_day(days: pl.Series | pl.Expr, zone: str) -> pl.Series | pl.Expr:
    """Return the first instant of each local day.

    Where the clock is put forward at midnight, the day starts at the change.

    Parameters
    ----------
    days : polars.Series or polars.Expr
        Dtype Date.
    zone : str
        IANA name.

    Returns
    -------
    polars.Series or polars.Expr
        Datetime, UTC, µs.

    Examples
    --------
    >>> from datetime import date
    >>> import polars as pl
    >>> start_of_day(pl.Series([date(2018, 11, 4)]), "America/Sao_Paulo").to_list()
    [datetime.datetime(2018, 11, 4, 3, 0, tzinfo=zoneinfo.ZoneInfo(key='UTC'))]
    """
    return to_utc(days, zone, nonexistent="forward").struct.field("time")


def end_of_day(times: pl.Series | pl.Expr, zone: str) -> pl.Series | pl.Expr:
    """Return the first instant of the local day after each time's own.

    Parameters
    ----------
    times : polars.Series or polars.Expr
        Datetime, UTC.
    zone : str
        IANA name.

    Returns
    -------
    polars.Series or polars.Expr
        Datetime, UTC, µs: where that day ends. A local day may have 23 or 25
        hours.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> import polars as pl
    >>> put_back = pl.Series([datetime(2021, 10, 30, 22, tzinfo=UTC)])
    >>> end_of_day(put_back, "Europe/Berlin").dt.to_string().to_list()
    ['2021-10-31 23:00:00.000000+00:00']
    """
    if isinstance(times, pl.Expr):
        return times.map_batches(
            lambda column: end_of_day(column, zone), return_dtype=TIME, is_elementwise=True
        )
    local = times.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return start_of_day(local.dt.date().dt.offset_by("1d"), zone)


# RFC 3339 and what people write instead: a blank for the T, no seconds, an
# offset with or without colon. FHIR and XES both allow the leap second.
_ISO: Final = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})"  # date
    r"(?:[T ]([0-9]{2}:[0-9]{2})(?::([0-9]{2}))?(?:[.,]([0-9]{1,9})[0-9]*)?)?"  # clock
    r"(Z|z|[+-][0-9]{2}(?::?[0-9]{2})?)?$"  # offset
)


def read_iso(
    text: pl.Series,
    zone: str,
    *,
    ambiguous: Ambiguous = "earliest",
    nonexistent: Nonexistent = "quarantine",
) -> pl.Series:
    """Read a column of ISO 8601 times, with or without offset, or dates.

    Parameters
    ----------
    text : polars.Series
        Strings. Blanks around them do not matter.
    zone : str
        The zone of times without offset, and of dates.
    ambiguous : {"earliest", "latest", "quarantine"}
    nonexistent : {"quarantine", "forward"}
        As in :func:`to_utc`.

    Returns
    -------
    polars.Series
        Dtype :data:`MOMENT`: ``time`` (UTC, µs; digits beyond are cut),
        ``precision`` (``instant``; ``minute`` where no seconds are written;
        ``day`` for a date, whose time is the day's first moment) and
        ``reason``. An empty text is a missing time, not an unreadable one.

    Examples
    --------
    >>> import polars as pl
    >>> texts = pl.Series(["2021-07-01T12:00:00.5+05:30", "2021-07-01", "soon"])
    >>> read_iso(texts, "Europe/Berlin").struct.unnest()
    shape: (3, 3)
    ┌─────────────────────────────┬───────────┬─────────────────┐
    │ time                        ┆ precision ┆ reason          │
    │ ---                         ┆ ---       ┆ ---             │
    │ datetime[μs, UTC]           ┆ str       ┆ str             │
    ╞═════════════════════════════╪═══════════╪═════════════════╡
    │ 2021-07-01 06:30:00.500 UTC ┆ instant   ┆ null            │
    │ 2021-06-30 22:00:00 UTC     ┆ day       ┆ null            │
    │ null                        ┆ null      ┆ time-unreadable │
    └─────────────────────────────┴───────────┴─────────────────┘
    """
    parts = (
        pl.DataFrame({"text": text.cast(pl.String).str.strip_chars()})
        .with_columns(pl.when(pl.col("text") != "").then("text"))
        .with_columns(
            pl.col("text").str.extract(_ISO, group).alias(name)
            for group, name in enumerate(("date", "clock", "second", "fraction", "offset"), 1)
        )
        .with_columns(
            local=(
                pl.col("date")
                + "T"
                + pl.col("clock").fill_null("00:00")
                + ":"
                # A leap second is read as the second before it.
                + pl.col("second").fill_null("00").replace("60", "59")
            ).str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
            + pl.duration(
                microseconds=pl.col("fraction")
                .str.head(6)
                .str.pad_end(6, "0")
                .cast(pl.Int64)
                .fill_null(0),
                time_unit="us",
            ),
            shift=pl.when(pl.col("offset").str.to_uppercase() == "Z")
            .then(0)
            .when(pl.col("offset").is_not_null())
            .then(
                pl.when(pl.col("offset").str.starts_with("-")).then(-1).otherwise(1)
                * (
                    pl.col("offset").str.slice(1, 2).cast(pl.Int64, strict=False) * 60
                    + pl.col("offset")
                    .str.extract(r"^[+-][0-9]{2}:?([0-9]{2})$", 1)
                    .cast(pl.Int64)
                    .fill_null(0)
                )
            ),
            is_day=pl.col("date").is_not_null() & pl.col("clock").is_null(),
        )
    )
    has_offset = pl.col("shift").is_not_null()
    return (
        parts.with_columns(
            read=to_utc(parts["local"], zone, ambiguous=ambiguous, nonexistent=nonexistent),
            midnight=start_of_day(parts["local"], zone),
        )
        .select(
            pl.struct(
                pl.when(pl.col("is_day") & ~has_offset)
                .then("midnight")
                .when(has_offset)
                .then((pl.col("local") - pl.duration(minutes="shift")).dt.replace_time_zone("UTC"))
                .otherwise(pl.col("read").struct.field("time"))
                .cast(TIME)
                .alias("time"),
                pl.when(pl.col("local").is_null())
                .then(None)
                .when("is_day")
                .then(pl.lit("day"))
                .when(pl.col("second").is_null())
                .then(pl.lit("minute"))
                .otherwise(pl.lit("instant"))
                .alias("precision"),
                pl.when(pl.col("text").is_not_null() & pl.col("local").is_null())
                .then(pl.lit("time-unreadable"))
                .when(pl.col("is_day") | has_offset)
                .then(None)
                .otherwise(pl.col("read").struct.field("reason"))
                .alias("reason"),
            ).alias(text.name)
        )
        .to_series()
    )


#: Ends a text that says its offset itself.
OFFSET: Final = r"(?:Z|z|[+-][0-9]{2}(?::?[0-9]{2})?)$"


def in_order(
    time: pl.Series, written: pl.Series | None, zone: str, *, whose: pl.Series, order: pl.Series
) -> pl.Series:
    """Let the order of rows tell which of two instants a local time meant.

    When the clock is put back it shows an hour twice. Read as the first, a
    time may lie before the row that precedes it; if the second does not, it
    was the second.

    Parameters
    ----------
    time : polars.Series
        UTC, the first instant where there are two.
    written : polars.Series or None
        The texts that were read; those with an offset leave nothing to tell.
        None: no time had an offset.
    zone : str
        The zone that the times were read in.
    whose, order : polars.Series
        Whose row it is, and where it stands among the rows of the same.

    Returns
    -------
    polars.Series
        Like `time`.

    Examples
    --------
    >>> import polars as pl
    >>> texts = pl.Series(["2021-10-31T02:40", "2021-10-31T02:10"])
    >>> first = read_iso(texts, "Europe/Berlin").struct.field("time")
    >>> one, places = pl.Series(["1", "1"]), pl.Series([0, 1])
    >>> in_order(first, texts, "Europe/Berlin", whose=one, order=places).dt.to_string().to_list()
    ['2021-10-31 00:40:00.000000+00:00', '2021-10-31 01:10:00.000000+00:00']
    """
    local = time.dt.convert_time_zone(zone).dt.replace_time_zone(None)
    second = to_utc(local, zone, ambiguous="latest").struct.field("time")
    twice = (second != time).fill_null(value=False)
    if written is not None:
        twice &= ~written.str.strip_chars().str.contains(OFFSET).fill_null(value=True)
    if not twice.any():
        return time
    rows = pl.DataFrame(
        {"whose": whose, "order": order, "time": time, "second": second, "twice": twice}
    ).with_row_index("at")
    touched = rows.filter("twice").select("whose").unique()
    rows = rows.join(touched, on="whose", how="semi").sort("whose", "order", "at")
    while True:
        before = pl.col("time").cum_max().shift(1).over("whose")
        late = (
            pl.col("twice")
            & (pl.col("time") < before)
            & (before <= pl.col("second"))
            & (pl.col("time") != pl.col("second"))
        ).fill_null(value=False)
        # One after the other: what is settled decides about the next.
        first = rows.filter(late).unique("whose", keep="first", maintain_order=True)["at"]
        if not len(first):
            break
        rows = rows.with_columns(
            time=pl.when(pl.col("at").is_in(first.implode())).then("second").otherwise("time")
        )
    settled = rows.filter(pl.col("time") == pl.col("second"), pl.col("twice"))
    return time.scatter(settled["at"], settled["time"])


def first_moment(day: date, zone: str) -> datetime:
    """Return the first instant of one local day, in UTC.

    Examples
    --------
    >>> from datetime import date
    >>> str(first_moment(date(2021, 7, 1), "Europe/Berlin"))
    '2021-06-30 22:00:00+00:00'
    """
    moment, _ = instant(datetime.combine(day, time()), zone, nonexistent="forward")
    if moment is None:
        raise UsageError(f"the day is outside the years that the zone {zone} can be read in")
    return moment
