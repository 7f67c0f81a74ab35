"""What forecasts promise, on real arrivals and on a real cohort."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from tests.hospitals import new_hospital, take_csv
from tests.shared_data import shared

from neva.errors import UsageError
from neva.flow import (
    evaluate_arrivals,
    evaluate_flow,
    forecast_hospital,
    holidays_of,
    known_sojourns,
    read_counts,
)


@pytest.fixture(scope="module")
def emergency():
    file = shared("data", "uihc-ed-hourly", "uihc_ed_arrivals_2013-07_2017-06.csv")
    return read_counts(file, day="Date", hour="Hour", count="Arrivals")


@pytest.fixture(scope="module")
def last_year(emergency):
    """The last year is not looked at but to judge: each day from the days before it."""
    held = holidays_of("US", emergency.first, emergency.today)
    return evaluate_arrivals(emergency, first=date(2016, 7, 1), holidays=held)


def test_the_file_of_arrivals_is_read_whole(emergency):
    assert emergency.hourly.size == 35_064
    assert (emergency.first, emergency.today) == (date(2013, 7, 1), date(2017, 7, 1))


def test_arrivals_a_day_ahead_beat_last_week_and_the_weekday_mean(last_year):
    skills = last_year.skills()
    for baseline in ("same day last week", "weekday mean"):
        row = skills.filter(baseline=baseline).row(0, named=True)
        assert row["occasions"] == 365
        assert row["difference_high"] < 0, row
        assert row["skill_low"] > 0


def test_ninety_per_cent_intervals_of_arrivals_hold_88_to_92_per_cent(last_year):
    ours = last_year.summary().filter(model=last_year.ours).row(0, named=True)
    assert 0.88 <= ours["coverage90"] <= 0.92
    assert ours["crps"] < 1.05 * ours["noise_floor"]
    reached = last_year.reliability().frame
    assert (
        (reached["share"] >= reached["low"]) & (reached["share"] <= reached["high"])
    ).mean() > 0.9


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    file = Path("src/neva/sources/data/israel-covid/covid_hosp_data.csv")
    hospital = new_hospital(tmp_path_factory.mktemp("cohort"), zone="Asia/Jerusalem")
    take_csv(hospital, file, "israel-covid")
    return hospital


@pytest.fixture(scope="module")
def judged(cohort):
    """Origins at noon of every day from 20 March on; each knows its own past only."""
    origins = [datetime(2020, 3, 20, 10, tzinfo=UTC) + timedelta(days=k) for k in range(46)]
    return evaluate_flow(
        lambda at: known_sojourns(cohort, at),
        known_sojourns(cohort),
        origins=origins,
        horizons=(1, 3, 7),
        refit_days=1,
    )


@pytest.mark.nightly
def test_forecasts_of_patients_by_state_beat_persistence_at_a_day_and_at_a_week(judged):
    beside = judged.skills().filter(baseline="persistence")
    day, week = (beside.filter(horizon_hours=24.0 * k) for k in (1, 7))
    assert set(day["place"]) == {"moderate", "severe", "all"}
    assert not day["worse"].any()
    assert (day["skill"] > 0).all()
    assert week["better"].all()


@pytest.mark.nightly
def test_the_intervals_of_the_cohort_are_honest(judged):
    """Their exact interval of coverage holds what they claim; in a wave that turned."""
    ours = judged.summary().filter(model=judged.ours)
    assert (ours["coverage90_low"] <= 0.9).all()
    assert (ours["coverage90_high"] >= 0.9).all()


@pytest.mark.nightly
def test_days_after_follow_up_began_to_end_are_refused_and_not_scored(judged):
    reasons = set(judged.refused["reason"])
    assert reasons == {"too many lost to follow-up", "after the last known time"}
    assert judged.scores["time"].max() < datetime(2020, 4, 29, 21, tzinfo=UTC)
    assert judged.refused["time"].min() > datetime(2020, 4, 27, 21, tzinfo=UTC)
    assert "patients" in judged.what
    assert "bed" not in judged.what


@pytest.mark.nightly
def test_the_census_that_forecasts_are_judged_by_has_open_stays_and_returns(cohort, judged):
    from neva.census import census, of_events

    codes = ["COVID-STATE//moderate", "COVID-STATE//severe"]
    counted = census(of_events(cohort.snapshot(), codes)).frame
    scored = judged.scores.filter(model=judged.ours).filter(pl.col("place") != "all")
    seen = (
        scored.select("place", "time", "observed")
        .unique()
        .join(counted.select("place", "time", "present"), on=["place", "time"], how="left")
    )
    assert seen.height > 60
    assert (seen["observed"] == seen["present"]).all()


def test_an_emptying_that_is_the_end_of_follow_up_is_not_forecast(cohort):
    with pytest.raises(UsageError, match="follow-up has ended"):
        forecast_hospital(cohort)
    early = forecast_hospital(cohort, datetime(2020, 4, 15, 9, tzinfo=UTC), look_back=2)
    assert early.issued < datetime(2020, 4, 15, tzinfo=UTC)
    assert [early.present[early.places.index(p)] for p in ("moderate", "severe")] == [422, 151]
