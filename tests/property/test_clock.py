# ruff: noqa: DTZ001 -- naive times are what is tested
"""The vectorised clock against zoneinfo, one time after the other."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neva.events.clock import read_iso, to_utc

ZONES = (
    "Europe/Berlin",
    "Europe/Dublin",  # winter is the summer time, by its own law
    "Europe/Moscow",
    "Asia/Jerusalem",
    "Africa/Casablanca",  # the clock is put back for Ramadan
    "America/Sao_Paulo",  # changed at midnight
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Apia",  # left out a day
    "Asia/Kolkata",
    "UTC",
)

naive_times = st.datetimes(datetime(1850, 1, 1), datetime(2300, 1, 1))
# Near the changes, where the mistakes are.
near_changes = st.builds(
    lambda change, minutes, seconds: change + timedelta(minutes=minutes, seconds=seconds),
    st.sampled_from(
        [
            datetime(2021, 3, 28, 2),
            datetime(2021, 10, 31, 2),
            datetime(2110, 10, 26, 2),
            datetime(2018, 11, 4, 0),
            datetime(2011, 12, 30, 0),
            datetime(2021, 4, 4, 2),
            datetime(2021, 11, 7, 1),
        ]
    ),
    st.integers(-1600, 1600),
    st.integers(0, 59),
)


def one_by_one(naive: datetime, zone: str, ambiguous: str):
    place = ZoneInfo(zone)
    candidates = {
        naive.replace(tzinfo=place, fold=fold).astimezone(UTC)
        for fold in (0, 1)
        if naive.replace(tzinfo=place, fold=fold)
        .astimezone(UTC)
        .astimezone(place)
        .replace(tzinfo=None)
        == naive
    }
    if not candidates:
        return None, "time-nonexistent"
    if len(candidates) == 2 and ambiguous == "quarantine":
        return None, "time-ambiguous"
    return (min if ambiguous == "earliest" else max)(candidates), None


@pytest.mark.parametrize("ambiguous", ["earliest", "latest", "quarantine"])
@given(
    times=st.lists(st.none() | naive_times | near_changes, max_size=30),
    zone=st.sampled_from(ZONES),
)
def test_a_column_reads_as_its_times_one_by_one(ambiguous, times, zone):
    column = pl.Series("t", times, dtype=pl.Datetime("us"))
    expected = [
        (None, None) if naive is None else one_by_one(naive, zone, ambiguous) for naive in times
    ]
    read = to_utc(column, zone, ambiguous=ambiguous)
    assert [(row["time"], row["reason"]) for row in read.to_list()] == expected


@given(moment=naive_times, zone=st.sampled_from(ZONES))
def test_a_written_instant_reads_back_whatever_its_offset(moment, zone):
    aware = moment.replace(tzinfo=UTC)
    # Offsets of seconds (local mean time) cannot be written in ISO 8601.
    minutes = int(aware.astimezone(ZoneInfo(zone)).utcoffset() / timedelta(minutes=1))
    text = aware.astimezone(timezone(timedelta(minutes=minutes))).isoformat()
    assert read_iso(pl.Series([text]), "Europe/Berlin").struct.field("time").to_list() == [aware]


@given(time=naive_times, zone=st.sampled_from(ZONES))
def test_a_text_without_offset_is_a_local_time(time, zone):
    read = read_iso(pl.Series([time.isoformat()]), zone).to_list()[0]
    assert (read["time"], read["reason"]) == one_by_one(time, zone, "earliest")
