"""A wrong mapping fails as a whole; a mistyped year moves no clock; times are exact."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hospitals import NOW, event, new_hospital, take, take_csv
from tests.shared_data import shared

from neva.errors import BadInputError
from neva.sources.csv.fields import exact_duration

MAPPING = """neva: 1
name: ward
tables:
- subject: id
  recorded: {after: time}
  events:
  - time: TIME
    code: {constant: T//a}
"""


def csv_of(tmp_path, lines, time="{column: when}", more=""):
    (tmp_path / "map.yaml").write_text(more + MAPPING.replace("TIME", time))
    path = tmp_path / "ward.csv"
    path.write_text("\n".join(lines) + "\n")
    return path, tmp_path / "map.yaml"


def test_a_wrong_date_format_fails_and_imports_nothing(hospital, tmp_path):
    path, mapping = csv_of(tmp_path, ["id,when", *(f"{n},1.5.2020 8:00" for n in range(30))])
    with pytest.raises(BadInputError) as told:
        take_csv(hospital, path, mapping, most_refused=0.05)
    assert "30 of 30 rows of events would be refused; found 30 time-unreadable in time" in str(
        told.value
    )
    assert "ward.csv row 1, ward.csv row 2, ward.csv row 3" in str(told.value)
    assert "--most-refused" in str(told.value)
    assert hospital.versions() == [0]
    assert hospital.snapshot().quarantine().collect().height == 0


@pytest.mark.parametrize(
    ("bad", "good", "most", "fails"),
    [
        (1, 19, 0.05, False), (11, 300, 0.05, False), (11, 100, 0.05, True), (10, 5, 0.05, False),
        (2, 0, 0.05, True), (11, 100, 0.2, False), (30, 0, 1.0, True), (30, 1, 1.0, False),
        (30, 0, None, False),
    ],
)  # fmt: skip
def test_more_refused_rows_than_tolerated_make_an_import_fail(
    hospital, tmp_path, bad, good, most, fails
):
    rows = [event(row=n) for n in range(good)] + [event(code="", row=n) for n in range(bad)]
    if fails:
        with pytest.raises(BadInputError, match="code-missing in code"):
            take(hospital, tmp_path / "a", rows, most_refused=most)
        assert hospital.versions() == [0]
    else:
        done = take(hospital, tmp_path / "a", rows, most_refused=most)
        assert done.total("refused") == bad


def test_the_command_line_fails_with_3_and_takes_a_share_of_ones_own(neva, tmp_path):
    path, mapping = csv_of(
        tmp_path, ["id,when", "1,2020-05-01 08:00", *(f"{n},soon" for n in range(20))]
    )
    command = ["import", "csv", path, "--mapping", mapping, "--into", tmp_path / "h"]
    failed = neva(*command, "--zone", "UTC")
    assert failed.code == 3
    assert "20 of 21 rows of events would be refused" in failed.err
    assert not (tmp_path / "h").exists()
    assert neva(*command, "--zone", "UTC", "--most-refused", "1").code == 0


def test_a_mistyped_year_is_set_aside_and_moves_no_clock(hospital, tmp_path):
    good = datetime(2025, 12, 30, tzinfo=UTC)
    rows = [event(time=good, row=n) for n in range(3)]
    rows += [
        event(time=datetime(2220, 3, 4, tzinfo=UTC), row=4),
        event(time=datetime(1899, 12, 30, tzinfo=UTC), row=5),
        event(time=good, end_time=datetime(2202, 1, 1, tzinfo=UTC), row=6),
        event(time=good, end_time=NOW + timedelta(days=90), row=7, code="TEST//treatment"),
        event(time=NOW + timedelta(days=90), status="planned", row=8),
        event(time=datetime(2222, 1, 1, tzinfo=UTC), status="planned", row=9),
        event(time=good, recorded=datetime(2202, 1, 1, tzinfo=UTC), row=10),
    ]
    stays = [
        {"stay": "1", "subject": "1", "start": good, "end": None, "row": 1},
        {"stay": "2", "subject": "2", "start": good, "end": datetime(2202, 1, 1, tzinfo=UTC),
         "row": 2},
    ]  # fmt: skip
    subjects = [
        {"subject": "1", "birth_date": date(2062, 1, 1), "row": 1},
        {"subject": "2", "birth_date": date(1875, 1, 1), "row": 2},
        {"subject": "3", "death": datetime(2062, 1, 1, tzinfo=UTC), "row": 3},
        {"subject": "4", "birth_date": date(1899, 1, 1), "row": 4},
    ]
    done = take(hospital, tmp_path / "a", rows, stays=stays, subjects=subjects)
    assert done.refusals == {
        "events: time-beyond-import": 4, "events: time-too-early": 1,
        "stays: time-beyond-import": 1,
        "subjects: time-beyond-import": 2, "subjects: time-too-early": 1,
    }  # fmt: skip
    # A treatment that goes on until March is no moment that has come.
    assert hospital.snapshot().now == good


def test_dates_that_were_shifted_on_purpose_are_taken_as_they_are(hospital, tmp_path):
    late = datetime(2180, 3, 4, tzinfo=UTC)
    assert take(hospital, tmp_path / "a", [event(time=late)], dates="shifted").refusals == {}
    assert hospital.snapshot().now == late
    # What is imported later into the same hospital is shifted alike.
    assert take(hospital, tmp_path / "b", [event(time=late, code="T//b")]).refusals == {}


def test_a_day_of_grace_is_given_to_clocks_that_differ(hospital, tmp_path):
    hours = timedelta(hours=1)
    rows = [event(time=NOW + 23 * hours), event(time=NOW + 25 * hours, row=2)]
    assert take(hospital, tmp_path / "a", rows).refusals == {"events: time-beyond-import": 1}


def test_the_case_of_a_year_mistyped(neva, tmp_path):
    case = shared("cases/a-year-mistyped")
    neva("import", "csv", case / "input", "--mapping", case / "fut.yaml", "--into",
         tmp_path / "h", "--zone", "UTC")  # fmt: skip
    told = neva("info", tmp_path / "h", "--json").json()
    assert told["last"] < "2027"
    neva("import", "csv", case / "discharge" / "adt.csv", "--mapping",
         case / "discharge" / "map.yaml", "--into", tmp_path / "h2", "--zone", "UTC")  # fmt: skip
    assert neva("info", tmp_path / "h2", "--json").json()["last"] < "2027"


@given(
    st.decimals(min_value=-1000, max_value=1000, places=6, allow_nan=False),
    st.sampled_from([1, 60, 3_600, 86_400, 604_800]),
)
def test_amounts_of_time_are_added_to_the_microsecond(amount, seconds):
    exact = Fraction(amount) * seconds * 1_000_000
    added = exact_duration(pl.Series([float(amount)]), seconds).to_physical().item()
    assert abs(added - exact) <= Fraction(1, 2)


@pytest.mark.parametrize(
    ("unit", "amount", "expected"),
    [
        ("hours", "0.35", "08:21:00"), ("minutes", "21", "08:21:00"), ("seconds", "90", "08:01:30"),
        ("hours", "0.1", "08:06:00"), ("weeks", "1", "08:00:00"), ("minutes", "1.1", "08:01:06"),
    ],
)  # fmt: skip
def test_no_time_is_a_microsecond_early(hospital, tmp_path, unit, amount, expected):
    path, mapping = csv_of(
        tmp_path, ["id,when,n", f"1,2020-05-01 08:00,{amount}"],
        f"{{column: when, plus: n, plus_unit: {unit}}}", "",
    )  # fmt: skip
    take_csv(hospital, path, mapping)
    time = hospital.snapshot().events().collect()["time"].dt.convert_time_zone("Europe/Moscow")
    assert time.dt.strftime("%H:%M:%S%.f").to_list() == [expected]


def test_times_in_the_repeated_hour_are_counted_and_told(tmp_path):
    hospital = new_hospital(tmp_path, zone="Europe/Berlin")
    times = ["2021-10-31 02:30", "2021-10-31 03:30", "2021-10-31T02:30+01:00", "2021-10-31"]
    path, mapping = csv_of(tmp_path, ["id,when", *(f"{n},{t}" for n, t in enumerate(times))])
    assert take_csv(hospital, path, mapping).warnings == {"events: time-repeated": 1}


def test_times_in_the_skipped_hour_that_are_read_forward_are_counted_and_told(tmp_path):
    hospital = new_hospital(tmp_path, zone="Europe/Berlin")
    times = ["2021-03-28 02:30", "2021-03-28 03:30", "2021-03-28"]
    path, mapping = csv_of(
        tmp_path, ["id,when", *(f"{n},{t}" for n, t in enumerate(times))],
        more="nonexistent: forward\n",
    )  # fmt: skip
    assert take_csv(hospital, path, mapping).warnings == {"events: time-skipped": 1}


def test_a_check_as_of_a_time_knows_nothing_that_was_imported_later(neva, hospital, tmp_path):
    take(hospital, tmp_path / "a", [event(), event(code="", row=2)])
    later = NOW + timedelta(days=30)
    take(hospital, tmp_path / "b", [event(code="", row=n) for n in range(9)], now=later)
    counted = {}
    for at in ("2026-01-02T00:00Z", "2026-02-02T00:00Z", "2025-12-01T00:00Z"):
        told = neva("check", hospital.path, "--as-of", at, "--json").json()
        row = next(one for one in told["frame"] if one["check"] == "refused-rows")
        counted[at] = row["numerator"], row["denominator"]
    assert counted == {
        "2026-01-02T00:00Z": (1, 2), "2026-02-02T00:00Z": (10, 11), "2025-12-01T00:00Z": (0, 0),
    }  # fmt: skip
