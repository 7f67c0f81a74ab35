# ruff: noqa: DTZ001 -- naive times are what is tested
from datetime import UTC, date, datetime

import polars as pl
import pytest

from neva.errors import UsageError
from neva.events.clock import first_moment, read_iso, start_of_day, to_utc


def read(text, zone="Europe/Berlin"):
    return tuple(read_iso(pl.Series([text]), zone).to_list()[0].values())


def test_hour_shown_twice_is_the_first_unless_told_otherwise():
    twice = pl.Series([datetime(2021, 10, 31, 2, 30)])
    hours = [
        to_utc(twice, "Europe/Berlin", ambiguous=choice).struct.field("time").to_list()
        for choice in ("earliest", "latest", "quarantine")
    ]
    assert hours == [
        [datetime(2021, 10, 31, 0, 30, tzinfo=UTC)],
        [datetime(2021, 10, 31, 1, 30, tzinfo=UTC)],
        [None],
    ]


def test_summer_time_lasts_into_the_shifted_centuries():
    # Polars' own tables say 12:00 + 5 h here.
    july = pl.Series([datetime(2150, 7, 1, 12)])
    assert to_utc(july, "America/New_York").struct.field("time").to_list() == [
        datetime(2150, 7, 1, 16, tzinfo=UTC)
    ]


def test_expression_and_series_agree():
    frame = pl.DataFrame({"t": [datetime(2021, 3, 28, 2, 30), None, datetime(2021, 1, 1)]})
    lazily = frame.lazy().select(to_utc(pl.col("t"), "Europe/Berlin")).collect().to_series()
    assert lazily.to_list() == to_utc(frame["t"], "Europe/Berlin").to_list()


def test_empty_column_stays_empty():
    assert to_utc(pl.Series([], dtype=pl.Datetime("us")), "UTC").to_list() == []


def test_milliseconds_are_read_as_such():
    column = pl.Series([datetime(2021, 1, 1)]).cast(pl.Datetime("ms"))
    assert to_utc(column, "UTC").struct.field("time").to_list() == [
        datetime(2021, 1, 1, tzinfo=UTC)
    ]


def test_day_without_midnight_starts_at_the_change():
    days = pl.Series([date(2018, 11, 4)])
    assert start_of_day(days, "America/Sao_Paulo").to_list() == [
        datetime(2018, 11, 4, 3, tzinfo=UTC)
    ]
    assert first_moment(date(2018, 11, 4), "America/Sao_Paulo") == datetime(
        2018, 11, 4, 3, tzinfo=UTC
    )


def test_unknown_zone_is_named():
    with pytest.raises(UsageError, match="Europe/Atlantis"):
        to_utc(pl.Series([datetime(2021, 1, 1)]), "Europe/Atlantis")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2021-07-01", (datetime(2021, 6, 30, 22, tzinfo=UTC), "day", None)),
        ("2021-07-01T12:00", (datetime(2021, 7, 1, 10, tzinfo=UTC), "minute", None)),
        ("2021-07-01 12:00:00", (datetime(2021, 7, 1, 10, tzinfo=UTC), "instant", None)),
        ("2021-07-01T12:00:00Z", (datetime(2021, 7, 1, 12, tzinfo=UTC), "instant", None)),
        ("2021-07-01T12:00:00-0330", (datetime(2021, 7, 1, 15, 30, tzinfo=UTC), "instant", None)),
        (
            "2021-07-01T12:00:00.1234567+02:00",
            (datetime(2021, 7, 1, 10, 0, 0, 123456, tzinfo=UTC), "instant", None),
        ),
        ("2016-12-31T23:59:60Z", (datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC), "instant", None)),
        ("2021-02-30", (None, None, "time-unreadable")),
        ("2021", (None, None, "time-unreadable")),
        ("", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_times_as_people_write_them(text, expected):
    assert read(text) == expected


def test_nonexistent_time_keeps_its_reason():
    assert read("2021-03-28T02:30:00")[::2] == (None, "time-nonexistent")
