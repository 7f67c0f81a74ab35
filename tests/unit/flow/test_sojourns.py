"""Sojourns: what movements and states become."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from tests.hospitals import NOW, new_hospital, take, take_csv
from tests.shared_data import shared

from neva.errors import UsageError
from neva.flow.stays.sojourns import sojourns_of

BEGIN = datetime(2020, 5, 1, 8, tzinfo=UTC)


def at(hours):
    return BEGIN + timedelta(hours=hours)


def moved(stay, unit, start, end, row, **more):
    known = {"recorded": at(0), "file": "test.csv", "row": row, "precision": "instant"}
    return {
        "subject": stay, "stay": stay, "unit": unit, "start": at(start),
        "end": None if end is None else at(end), **known, **more,
    }  # fmt: skip


def stayed(stay, start, end, row, **more):
    known = {"recorded": at(0), "file": "test.csv", "row": row, "precision": "instant"}
    return {
        "subject": stay, "stay": stay, "start": at(start),
        "end": None if end is None else at(end), "kind": "inpatient", **known, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sojourns")
    hospital = new_hospital(folder)
    movements = [
        moved("a", "ed", 0, 4, 1), moved("a", "ward", 4.5, 20, 2), moved("a", "ward", 20, 30, 3),
        moved("b", "ed", 1, 10, 4), moved("b", "ward", 6, 50, 5),
        moved("c", "ed", 2, 5, 6), moved("c", "icu", 9, 12, 7),
        moved("d", "ward", 3, None, 8),
        moved("e", "ed", 3, 7, 9),
        moved("f", "ward", 5, 5, 10), moved("f", "icu", 5, 9, 11),
    ]  # fmt: skip
    stays = [
        stayed("a", 0, 30, 1, outcome="home"), stayed("b", 1, 50, 2, outcome="died"),
        stayed("c", 2, 12, 3, source="elective"), stayed("d", 3, None, 4),
        stayed("e", 3, None, 5), stayed("f", 5, 9, 6),
    ]  # fmt: skip
    late = [{"subject": "z", "time": at(60), "code": "TEST//late", "file": "t", "row": 1}]
    take(hospital, folder / "rows.csv", late, movements=movements, stays=stays)
    snapshot = hospital.snapshot()
    assert snapshot.now == at(60)
    return sojourns_of(snapshot)


def path(found, first_hour, state):
    """The chain of the case that begins in `state` at that hour."""
    case = found.frame.filter(pl.col("start") == at(first_hour), state=state)["case"][0]
    rows = found.frame.filter(case=case)
    hours = (pl.col("end") - pl.col("start")).dt.total_minutes() / 60
    return [tuple(row) for row in rows.select("state", hours, "next").iter_rows()]


def test_a_short_gap_belongs_to_the_unit_before_it_and_beds_of_a_unit_are_one_sojourn(found):
    assert path(found, 0, "ed") == [("ed", 4.5, "ward"), ("ward", 25.5, "discharged")]


def test_where_movements_overlap_the_later_one_counts_and_a_death_is_an_exit(found):
    assert path(found, 1, "ed") == [("ed", 5.0, "ward"), ("ward", 44.0, "died")]


def test_a_long_gap_is_time_elsewhere(found):
    expected = [("ed", 3.0, "elsewhere"), ("elsewhere", 4.0, "icu"), ("icu", 3.0, "discharged")]
    assert path(found, 2, "ed") == expected


def test_one_who_has_not_left_is_censored_at_now(found):
    assert path(found, 3, "ward") == [("ward", 57.0, None)]


def test_one_who_left_a_unit_but_not_the_hospital_is_elsewhere(found):
    assert path(found, 3, "ed") == [("ed", 4.0, "elsewhere"), ("elsewhere", 53.0, None)]


def test_a_sojourn_of_no_length_is_passed_over(found):
    assert path(found, 5, "icu") == [("icu", 4.0, "discharged")]


def test_states_exits_and_classes_are_named(found):
    assert found.states == ("ed", "elsewhere", "icu", "ward")
    assert found.exits == ("died", "discharged")
    assert set(found.frame["class"]) == {"inpatient", "elective"}
    assert found.present().height == 2


def test_between_truncates_on_the_left_and_censors_on_the_right(found):
    window = found.between(at(5), at(25))
    timed = window.timed()
    a = timed.filter(pl.col("start") == at(4.5)).row(0, named=True)
    assert (a["entry_days"] * 24, a["exit_days"] * 24, a["next"]) == (
        pytest.approx(0.5), pytest.approx(20.5), None,
    )  # fmt: skip
    assert window.now == at(25)
    assert (window.frame["entered"] >= window.frame["start"]).all()
    assert window.present().height == 4
    with pytest.raises(UsageError, match="period is empty"):
        found.between(at(3), at(3))


def test_time_since_admission_is_known_in_a_period_that_begins_later(found):
    """A patient admitted to ED at hour 0 and moved at 4.5: seen from hour 6 on."""
    whole = found.timed().filter(pl.col("start") == at(4.5))
    cut = found.between(at(6), at(25)).between(at(7), at(24)).timed()
    assert cut.filter(pl.col("start") == at(4.5))["before_days"].to_list() == (
        whole["before_days"].to_list()
    )


def test_nothing_to_make_sojourns_of_is_said(tmp_path):
    hospital = new_hospital(tmp_path)
    with pytest.raises(UsageError, match="no movement with a unit or event that lasts"):
        sojourns_of(hospital.snapshot(as_of=NOW))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    file = Path("src/neva/sources/data/israel-covid/covid_hosp_data.csv")
    hospital = new_hospital(tmp_path_factory.mktemp("cohort"), zone="Asia/Jerusalem")
    take_csv(hospital, file, "israel-covid")
    return hospital


def test_the_covid_cohort_has_its_deaths_its_open_stays_and_its_returns(cohort):
    found = sojourns_of(cohort.snapshot())
    ends = found.frame.group_by("next").len()
    count = dict(ends.iter_rows())
    assert count["died"] == 200
    ended = found.frame.filter(pl.col("next").is_not_null(), ~pl.col("next").is_in(found.states))
    again = (
        found.frame.group_by("subject_id").agg(pl.col("case").n_unique()).filter(pl.col("case") > 1)
    )
    assert (again.height, found.cases - 2675) == (103, ended.height + 311 - 2675)
    assert found.frame.filter("lost").height == 311
    assert found.frame["subject_id"].n_unique() == 2675
    assert found.precision == "day"


def test_what_an_earlier_day_knew_is_the_past_of_today(cohort):
    """Its source tells everything a day later: at noon the day before is known, no more."""
    latest = sojourns_of(cohort.snapshot())
    codes = ["COVID-STATE//moderate", "COVID-STATE//severe"]
    for day in (10, 20, 31, 45):
        origin = datetime(2020, 3, 6, 10, tzinfo=UTC) + timedelta(days=day)
        first = latest.frame["start"].min()
        seen = sojourns_of(cohort.snapshot(as_of=origin), states=codes).between(first, origin)
        past = latest.between(first, origin)
        columns = ["subject_id", "state", "start", "end", "next", "lost"]
        assert (
            seen.frame.select(columns)
            .sort(columns[:3])
            .equals(past.frame.select(columns).sort(columns[:3]))
        )


def test_sojourns_of_a_real_hospital_add_up_to_its_census(tmp_path):
    from neva.census import of_movements

    hospital = new_hospital(tmp_path, zone="UTC")
    from neva.intake.importing import import_delivery
    from neva.sources.omop.source import open_omop

    folder = shared("data", "mimic-iv-demo-omop")
    delivery = open_omop(folder, zone="UTC")
    import_delivery(hospital, delivery, label="mimic", now=NOW, dates="shifted")
    snapshot = hospital.snapshot()
    found = sojourns_of(snapshot, by="unit")
    counted = of_movements(snapshot, parents=False).frame
    days = (counted["end"] - counted["start"]).dt.total_seconds().sum() / 86_400
    ours = found.frame.filter(pl.col("state") != "elsewhere")
    mine = (ours["end"] - ours["start"]).dt.total_seconds().sum() / 86_400
    assert mine == pytest.approx(days, rel=0.02)
