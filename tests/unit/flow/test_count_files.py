"""Counts of arrivals from table files."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from neva.errors import BadInputError, UsageError
from neva.flow.forecast.count_files import read_counts


@pytest.fixture
def table(tmp_path):
    def write(text):
        file = tmp_path / "counts.csv"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_counts_by_day_are_read_in_any_order(table):
    found = read_counts(table("day,count\n2024-02-29,7\n2024-03-01,0\n2024-02-28,5\n"))
    assert (found.first, found.by_day) == (date(2024, 2, 28), True)
    assert found.daily.tolist() == [5, 7, 0]
    assert found.until == datetime(2024, 3, 2, tzinfo=UTC)


def test_counts_by_hour_stand_at_their_hour(table):
    rows = [f"2024-01-0{d},{h},{100 * d + h}" for h in range(24) for d in (1, 2)]
    file = table("Datum,Stunde,Zahl\n" + "\n".join(rows))
    found = read_counts(file, day="Datum", hour="Stunde", count="Zahl", zone="Europe/Berlin")
    assert found.hourly.tolist() == [[100 * d + h for h in range(24)] for d in (1, 2)]
    assert not found.by_day
    assert found.until == datetime(2024, 1, 3, tzinfo=ZoneInfo("Europe/Berlin"))
    assert found.today == date(2024, 1, 3)


def test_a_byte_order_mark_and_other_columns_do_no_harm(table):
    found = read_counts(table("\ufeffday,weather,count\n2024-01-01,rain,3\n"))
    assert found.daily.tolist() == [3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("day,number\n2024-01-01,3\n", "columns are absent: count; found day, number"),
        ("day,count\n2024-01-01,3\n2024-01-02,\n", "count; found the first in row 2"),
        ("day,count\n2024-01-01,-1\n", "column count cannot be read as count"),
        ("day,count\n2024-01-01,2.5\n", "column count cannot be read as count"),
        ("day,count\nMonday,3\n", "column day cannot be read as day"),
        ("day,count\n2024-02-30,3\n", "column day cannot be read as day"),
        ("day,count\n2024-01-01,3\n2024-01-03,3\n", "found 2 rows for 3"),
        ("day,count\n2024-01-01,3\n2024-01-01,3\n", "given twice"),
        ("day,count\n", "no rows"),
        ("", "cannot be read as CSV"),
    ],
)
def test_what_is_no_table_of_counts_is_refused(table, text, said):
    file = table(text)
    with pytest.raises(BadInputError, match=said) as error:
        read_counts(file)
    assert str(error.value).startswith(str(file))
    assert str(error.value).count(";") == 2


@pytest.mark.parametrize("hour", ["24", "-1", "noon", ""])
def test_an_hour_is_one_of_the_clock(table, hour):
    with pytest.raises(BadInputError, match="column hour cannot be read as hour"):
        read_counts(table(f"day,hour,count\n2024-01-01,{hour},3\n"), hour="hour")


def test_a_day_without_one_of_its_hours_is_refused(table):
    rows = "\n".join(f"2024-01-01,{h},1" for h in range(23))
    with pytest.raises(BadInputError, match="found 23 rows for 24"):
        read_counts(table(f"day,hour,count\n{rows}\n"), hour="hour")


def test_a_day_that_could_be_two_is_refused_and_not_guessed(table):
    with pytest.raises(BadInputError, match="cannot be read as day"):
        read_counts(table("day,count\n01/02/2024,3\n02/02/2024,4\n"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInputError, match="found FileNotFoundError"):
        read_counts(tmp_path / "none.csv")


def test_an_unknown_time_zone_is_named(table):
    with pytest.raises(UsageError, match="Mars/One"):
        read_counts(table("day,count\n2024-01-01,3\n"), zone="Mars/One")
