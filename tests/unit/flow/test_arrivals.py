"""Arrivals: counted by the local clock, forecast by day, updated during today."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nbinom
from tests.flows import BEGIN, invented, sojourns_from

from neva.errors import UsageError
from neva.events.clock import first_moment
from neva.flow.forecast import arrivals as inside
from neva.flow.forecast.arrivals import (
    LEAST_ARRIVALS,
    LEAST_DAYS,
    Arrivals,
    DailyArrivals,
    arrivals_of,
    fit_arrivals,
    holidays_of,
)
from neva.flow.forecast.coming import expected_arrivals
from neva.flow.forecast.forecast import fit_flow, forecast_flow
from neva.statistics.counts import CountRegression
from neva.statistics.models import load_model

BERLIN = "Europe/Berlin"
MONDAY = date(2021, 1, 4)


def history(means, *, seed=1, first=MONDAY, zone="UTC", by_day=False, profile=None):
    """Arrivals of invented days, as known at the midnight after the last."""
    rng = np.random.default_rng(seed)
    shares = np.full(24, 1 / 24) if profile is None else np.asarray(profile)
    hourly = rng.poisson(np.asarray(means)[:, None] * shares[None, :])
    until = first_moment(first + timedelta(days=len(means)), zone)
    return Arrivals(first, hourly, zone, until, by_day=by_day)


def starts(times, *, zone, now):
    """Sojourns of one case each, which begin at these times (UTC)."""
    hours = [(time - BEGIN) / timedelta(hours=1) for time in times]
    end = (now - BEGIN) / timedelta(hours=1)
    rows = [(k, "inpatient", "ward", at, end, None) for k, at in enumerate(hours)]
    return sojourns_from(rows, now=end, zone=zone)


# counted by the local clock


@pytest.mark.parametrize("change", [date(2021, 3, 28), date(2021, 10, 31)])
def test_arrivals_are_conserved_where_the_clocks_change(change):
    begin = first_moment(change - timedelta(days=1), BERLIN)
    end = first_moment(change + timedelta(days=2), BERLIN)
    times = [
        begin + timedelta(minutes=20 * k)
        for k in range(round((end - begin) / timedelta(minutes=20)))
    ]
    found = arrivals_of(starts(times, zone=BERLIN, now=end), since=begin)
    slow = {}
    for time in times:
        local = time.astimezone(ZoneInfo(BERLIN))
        slow[local.date(), local.hour] = slow.get((local.date(), local.hour), 0) + 1
    assert found.hourly.sum() == len(times)
    for day in range(3):
        for hour in range(24):
            expected = slow.get((found.first + timedelta(days=day), hour), 0)
            assert found.hourly[day, hour] == expected
    # 23 hours in spring, 25 in autumn, three an hour.
    assert found.daily.tolist() == [72, 69 if change.month == 3 else 75, 72]


@given(st.lists(st.integers(0, 40 * 24 * 60), min_size=1, max_size=60), st.integers(0, 40 * 24))
def test_what_was_known_earlier_is_what_would_have_been_counted_then(minutes, hour):
    zone = "Europe/Moscow"  # full hours of the local clock are those of UTC
    times = [BEGIN + timedelta(minutes=m) for m in minutes]
    until = BEGIN + timedelta(hours=hour)
    whole = arrivals_of(
        starts(times, zone=zone, now=BEGIN + timedelta(days=41)), since=BEGIN
    ).known_at(until)
    before = [time for time in times if time < until]
    assert whole.daily.sum() + whole.so_far == len(before)
    assert whole.today == until.astimezone(ZoneInfo(zone)).date()
    today = [t for t in before if t.astimezone(ZoneInfo(zone)).date() == whole.today]
    assert whole.so_far == len(today)


def test_at_an_earlier_time_nothing_later_is_known():
    whole = history(np.full(20, 24.0))
    until = datetime(2021, 1, 10, 7, tzinfo=UTC)
    early = whole.known_at(until)
    other = Arrivals(whole.first, whole.hourly.copy(), "UTC", whole.until)
    other.hourly[6, 7:] = 99
    other.hourly[7:] = 99
    assert np.array_equal(early.hourly, other.known_at(until).hourly)
    assert early.so_far == whole.hourly[6, :7].sum()
    assert early.daily.tolist() == whole.daily[:6].tolist()


def test_of_a_day_known_as_a_whole_nothing_is_known_while_it_lasts():
    hourly = np.zeros((20, 24), dtype=np.int64)
    hourly[:, 0] = 24
    whole = Arrivals(MONDAY, hourly, "UTC", datetime(2021, 1, 24, tzinfo=UTC), by_day=True)
    noon = whole.known_at(datetime(2021, 1, 10, 12, tzinfo=UTC))
    assert (noon.so_far, noon.daily.tolist()) == (0, [24] * 6)


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=1), timedelta(days=9)])
def test_before_the_first_day_nothing_is_known(back):
    whole = history(np.full(20, 24.0))
    none = whole.known_at(datetime(2021, 1, 4, tzinfo=UTC) - back)
    assert (none.so_far, none.daily.tolist()) == (0, [])


def test_no_later_day_becomes_complete_by_asking_later():
    whole = history(np.full(20, 24.0)).known_at(datetime(2021, 1, 10, 7, tzinfo=UTC))
    later = whole.known_at(datetime(2021, 1, 30, tzinfo=UTC))
    assert later.daily.tolist() == whole.daily.tolist()
    assert later.so_far == whole.so_far


def test_arrivals_of_days_are_known_by_day():
    rows = [(k, "inpatient", "ward", 24 * (k // 3), 24 * 9, None) for k in range(30)]
    found = arrivals_of(sojourns_from(rows, now=24 * 9, precision="day"))
    assert found.by_day
    assert found.daily.tolist() == [3] * 10
    assert found.hourly[:, 1:].sum() == 0


def test_only_the_first_sojourns_of_cases_arrive_and_a_condition_chooses_among_them():
    rows = [
        (0, "inpatient", "ed", 1, 3, "ward"),
        (0, "inpatient", "ward", 3, 30, None),
        (1, "elective", "ward", 26, 30, None),
    ]
    found = sojourns_from(rows, now=30)
    assert arrivals_of(found).hourly.sum() == 2
    elective = arrivals_of(found, only=pl.col("class") == "elective")
    assert elective.first == MONDAY
    assert np.argwhere(elective.hourly).tolist() == [[1, 2]]


def test_nobody_of_a_kind_is_no_arrival():
    rows = [(0, "inpatient", "ward", 1, 30, None)]
    none = arrivals_of(sojourns_from(rows, now=30), only=pl.col("class") == "elective")
    assert none.daily.tolist() == [0]
    assert none.to_frame().rows() == [(MONDAY, 0)]


# holidays


def test_holidays_are_those_of_the_country_within_the_days():
    found = holidays_of("RU", date(2023, 12, 31), date(2024, 1, 2))
    assert list(found) == [date(2024, 1, 1), date(2024, 1, 2)]
    assert set(holidays_of("US", date(2024, 7, 1), date(2024, 7, 31))) == {date(2024, 7, 4)}


def test_a_holiday_has_one_name_wherever_it_is_observed():
    assert holidays_of("US", date(2021, 7, 1), date(2021, 7, 10)) == {
        date(2021, 7, 4): "Independence Day",
        date(2021, 7, 5): "Independence Day",
    }


@pytest.mark.parametrize("country", ["XX", "US-ZZ", "", "Ruritania"])
def test_an_unknown_country_is_named(country):
    with pytest.raises(UsageError, match=f"country not known; found '{country}'; give"):
        holidays_of(country, MONDAY, MONDAY)


# floors


@pytest.mark.parametrize("means", [np.full(LEAST_DAYS - 1, 20.0), np.full(30, 0.2), np.zeros(60)])
def test_too_few_to_forecast_from_are_refused_with_the_floor(means):
    few = history(means, seed=3)
    assert len(few.daily) < LEAST_DAYS or few.daily.sum() < LEAST_ARRIVALS
    with pytest.raises(
        UsageError,
        match=f"found {few.daily.sum()} in {len(means)} .*; the floor is "
        f"{LEAST_ARRIVALS} in {LEAST_DAYS} days",
    ):
        fit_arrivals(few)


def test_the_floor_itself_is_enough():
    hourly = np.zeros((LEAST_DAYS, 24), dtype=np.int64)
    hourly[:, 9] = [3, 2] * (LEAST_DAYS // 2)
    at_least = Arrivals(MONDAY, hourly, "UTC", datetime(2021, 1, 18, tzinfo=UTC))
    forecast = fit_arrivals(at_least, days=3).forecast(3)
    assert forecast.mean == pytest.approx(2.5, rel=0.2)


def test_a_model_is_not_asked_beyond_its_days():
    model = fit_arrivals(history(np.full(40, 20.0)), days=3)
    with pytest.raises(UsageError, match="found 4, fitted 3; fit it for more days"):
        model.forecast(4)


# the forecast


def test_the_profile_of_every_weekday_sums_to_one():
    day = np.arange(24) + 1.0
    model = fit_arrivals(history(np.full(400, 30.0), profile=day / day.sum()), days=7)
    forecast = model.forecast(7)
    assert forecast.profile.shape == (7, 24)
    assert forecast.profile.sum(axis=1) == pytest.approx(1.0)
    # 12,000 arrivals: four standard errors of the largest share.
    assert forecast.profile.mean(axis=0) == pytest.approx(day / day.sum(), abs=0.01)


def test_the_profile_of_days_known_as_a_whole_is_in_the_first_hour():
    hourly = np.zeros((30, 24), dtype=np.int64)
    hourly[:, 0] = 10
    days = Arrivals(MONDAY, hourly, "UTC", datetime(2021, 2, 3, tzinfo=UTC), by_day=True)
    assert fit_arrivals(days, days=2).forecast(2).profile[:, 0] == pytest.approx(1.0)


def test_the_pattern_of_the_week_is_found():
    week = np.array([60.0, 50, 50, 50, 45, 30, 25])
    known = history(np.tile(week, 60), seed=4)
    forecast = fit_arrivals(known, days=14).forecast(14)
    assert forecast.first == known.today
    assert forecast.mean == pytest.approx(np.tile(week, 2), rel=0.12)
    frame = forecast.to_frame()
    assert (frame["q05"] < frame["mean"]).all()
    assert (frame["mean"] < frame["q95"]).all()


class AsLately:
    """A regressor that learns nothing but the mean ratio to the days before."""

    def fit(self, design, relative):
        self.level = float(relative.mean())

    def predict(self, design):
        return np.full(len(design), self.level)


def test_another_model_comes_through_the_door(monkeypatch):
    monkeypatch.setattr(inside, "load_model", lambda name: AsLately())
    known = history(np.full(120, 30.0), seed=5)
    model = fit_arrivals(known, days=3, model="as-lately")
    forecast = model.forecast(3)
    # Of a short history: half-way from the last week to the last three days.
    level = np.sqrt(known.daily[-7:].mean() * known.daily[-3:].mean())
    assert model.name == "as-lately"
    assert forecast.mean == pytest.approx(level, rel=0.03)
    assert (forecast.shape > 10).all()
    assert forecast.profile.sum(axis=1) == pytest.approx(1.0)


def test_gradient_boosting_forecasts_a_day(monkeypatch):
    few = {"max_iter": 20}  # of trees: it is slow where cores are busy
    monkeypatch.setattr(inside, "load_model", lambda name: load_model(name).set_params(**few))
    known = history(np.full(100, 30.0), seed=5)
    forecast = fit_arrivals(known, days=1, model="gradient-boosting").forecast(1)
    assert forecast.mean == pytest.approx(30, rel=0.2)
    assert forecast.distribution(0).sum() == pytest.approx(1.0)


def test_counts_that_vary_by_chance_are_forecast_so():
    """Days are Poisson: nearly so is the forecast, and nothing narrower."""
    forecast = fit_arrivals(history(np.full(400, 30.0), seed=5), days=7).forecast(7)
    variance = forecast.mean + forecast.mean**2 / forecast.shape
    assert (variance >= forecast.mean).all()
    assert (variance < 1.15 * forecast.mean).all()


def test_a_holiday_is_learnt_and_applied_to_days_to_come():
    means = np.full(400, 40.0)
    named = {}
    for k in range(20, 430, 20):
        named[MONDAY + timedelta(days=k)] = "Feast"
        if k < 400:
            means[k] = 20.0
    known = history(means, seed=6)
    model = fit_arrivals(known, days=5, holidays=named)
    forecast = model.forecast(5)  # day 400, the first to come, is one
    assert forecast.mean[0] == pytest.approx(20, rel=0.15)
    assert forecast.mean[2:] == pytest.approx(40, rel=0.1)


def test_forecasts_depend_on_nothing_but_the_days_known():
    whole = history(np.full(120, 20.0), seed=7)
    until = datetime(2021, 3, 10, tzinfo=UTC)
    other = Arrivals(whole.first, whole.hourly.copy(), "UTC", whole.until)
    other.hourly[65:] = 500
    mine, theirs = (fit_arrivals(one.known_at(until), days=5).forecast(5) for one in (whole, other))
    assert np.array_equal(mine.mean, theirs.mean)
    assert np.array_equal(mine.shape, theirs.shape)


def test_the_level_may_drift_the_farther_the_more():
    model = fit_arrivals(history(np.full(60, 20.0)), days=9)
    drifts = [model.drift(k) for k in range(1, 10)]
    assert np.diff(drifts).min() > 0
    assert drifts[-1] == pytest.approx(model.level_sd)


def test_the_distribution_of_a_day_and_of_an_hour():
    forecast = DailyArrivals(
        MONDAY, np.array([30.0]), np.array([10.0]), np.full((1, 24), 1 / 24), "UTC"
    )
    for found, mean in ((forecast.distribution(0), 30.0), (forecast.hourly(0, 5), 30 / 24)):
        exact = nbinom.pmf(np.arange(len(found)), 10.0, 10.0 / (10.0 + mean))
        assert found == pytest.approx(exact, abs=1e-12)


# the rest of today


@pytest.fixture(scope="module")
def steady():
    """Sojourns until 14:00 of a day."""
    whole = invented(60, seed=8, per_day=30)
    begin = whole.frame["start"].min()
    return whole.between(begin, BEGIN + timedelta(days=58, hours=14))


def expected_rest(model, so_far, share_passed):
    """A gamma level of today, seen through a Poisson count so far (closed form)."""
    ahead = model.forecast(1)
    level, shape = float(ahead.mean[0]), float(ahead.shape[0])
    rate = shape / level
    return (shape + so_far) / (rate + share_passed) * (1 - share_passed), shape + so_far


@pytest.mark.parametrize("steps", [1, 4, 10, 11, 40])
def test_the_rest_of_today_is_updated_by_what_came_whatever_the_steps(steady, steps):
    fitted = fit_flow(steady)
    group = fitted.groups[0]
    daily = group.model.arrivals
    passed = float(group.model.forecast(1).profile[0, :14].sum())
    rest, shape = expected_rest(group.model, daily.so_far, passed)
    parts, shapes, _ = expected_arrivals(fitted.groups, steady.now, steps, "UTC", daily=False)
    profile = group.model.forecast(1).profile[0, 14:]
    hours = min(steps, 10)
    expected = rest * profile[:hours] / profile.sum()
    assert parts[0].sum(axis=1)[:hours] == pytest.approx(expected)
    assert parts[0].sum(axis=1)[hours:] == pytest.approx(0.0)
    assert shapes[0] == pytest.approx(shape)


def test_a_longer_look_ahead_says_the_same_of_the_next_hours(steady):
    fitted = fit_flow(steady)
    near, far = (
        forecast_flow(fitted, steady, steps=steps, draws=0, rng=np.random.default_rng(1)).mean
        for steps in (4, 30)
    )
    assert near == pytest.approx(far[:, :4], rel=1e-9)


def coming(zone, now, steps):
    """Expected arrivals by step of a steady group, 24 a day, with 1000 days known of it."""
    hourly = np.full((60, 24), 1, dtype=np.int64)
    local = now.astimezone(ZoneInfo(zone))
    first = local.date() - timedelta(days=60)
    known = Arrivals(first, hourly, zone, now)
    model = fit_arrivals(known, days=4)
    assert isinstance(model.fits[0], CountRegression)
    sojourns = invented(40, seed=9)
    fitted = fit_flow(sojourns)
    group = fitted.groups[0]
    ours = replace(group, model=model, so_far=0)
    parts, _, _ = expected_arrivals((ours,), now, steps, zone, daily=False)
    return np.sum(parts, axis=0).sum(axis=1), model.forecast(4).mean


@pytest.mark.parametrize("change", [date(2021, 3, 28), date(2021, 10, 31)])
def test_an_hour_shown_twice_has_half_of_its_arrivals_each_time(change):
    begin = first_moment(change, BERLIN)
    steps = 23 if change.month == 3 else 25
    by_step, mean = coming(BERLIN, begin, steps)
    local = [
        (begin + timedelta(minutes=60 * k + 30)).astimezone(ZoneInfo(BERLIN)) for k in range(steps)
    ]
    share = np.array([0.5 if change.month == 10 and time.hour == 2 else 1.0 for time in local]) / 24
    assert by_step == pytest.approx(mean[0] * share)


def test_the_second_of_two_equal_hours_has_half_of_the_arrivals_too():
    begin = first_moment(date(2021, 10, 31), BERLIN) + timedelta(hours=3)  # 02:00 again
    by_step, _ = coming(BERLIN, begin, 3)
    assert by_step[0] == pytest.approx(by_step[1] / 2)
