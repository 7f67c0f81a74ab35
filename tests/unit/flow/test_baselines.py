"""Baselines against what their names say, day by day."""

import sys
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson as scipy_poisson

from neva.errors import UsageError
from neva.flow.forecast.baselines import (
    ARRIVAL_BASELINES,
    ets,
    expected_change,
    persistence,
    poisson,
)

FIRST = date(2021, 1, 4)


def mean(distribution):
    return float(distribution @ np.arange(len(distribution)))


def days_of(known):
    return [FIRST + timedelta(days=k) for k in range(len(known))]


@pytest.mark.parametrize("ahead", range(1, 22))
@pytest.mark.parametrize("length", [14, 15, 20, 30])
def test_same_day_last_week_is_the_latest_known_day_of_that_weekday(length, ahead):
    known = 10.0 + np.arange(length)
    target = FIRST + timedelta(days=length - 1 + ahead)
    latest = max(day for day in days_of(known) if day.weekday() == target.weekday())
    found = ARRIVAL_BASELINES["same day last week"](known, ahead)
    assert mean(found) == pytest.approx(10.0 + (latest - FIRST).days)


@pytest.mark.parametrize("ahead", range(1, 22))
@pytest.mark.parametrize("length", [14, 15, 20, 30])
def test_the_weekday_mean_is_that_of_all_known_days_of_that_weekday(length, ahead):
    known = np.random.default_rng(length).poisson(20, length).astype(float)
    target = FIRST + timedelta(days=length - 1 + ahead)
    same = [
        count
        for day, count in zip(days_of(known), known, strict=True)
        if day.weekday() == target.weekday()
    ]
    found = ARRIVAL_BASELINES["weekday mean"](known, ahead)
    assert mean(found) == pytest.approx(np.mean(same))


@pytest.mark.parametrize("name", ["same day last week", "weekday mean"])
def test_where_no_such_weekday_is_known_the_mean_of_all_days_stands_in(name):
    known = np.array([4.0, 6.0, 8.0])
    assert mean(ARRIVAL_BASELINES[name](known, 1)) == pytest.approx(6.0)


def test_the_poisson_regression_learns_the_weekday():
    week = np.array([30.0, 20, 20, 20, 20, 10, 10])
    known = np.tile(week, 12)
    for ahead in range(1, 15):
        found = ARRIVAL_BASELINES["Poisson regression"](known, ahead)
        assert mean(found) == pytest.approx(week[(ahead - 1) % 7], rel=1e-3)


def test_the_poisson_regression_learns_a_trend_and_a_season():
    at = np.arange(900)
    curve = 40 * np.exp(0.1 * at / 365.25 + 0.3 * np.sin(2 * np.pi * at / 365.25))
    known = np.random.default_rng(2).poisson(curve[:870]).astype(float)
    found = [mean(ARRIVAL_BASELINES["Poisson regression"](known, k)) for k in range(1, 31)]
    assert found == pytest.approx(curve[870:], rel=0.05)


@given(st.floats(0.0, 50.0))
def test_a_poisson_baseline_is_a_poisson_distribution(rate):
    found = poisson(rate)
    assert found == pytest.approx(scipy_poisson.pmf(np.arange(len(found)), rate), abs=1e-12)


def test_a_mean_of_nobody_is_nobody_for_sure():
    for none in (0.0, -1.0):
        assert poisson(none)[0] == poisson(none).sum() == 1.0


def test_persistence_is_sure():
    assert persistence(3).tolist() == [0.0, 0.0, 0.0, 1.0]
    assert persistence(0).tolist() == [1.0]


def test_expected_change_gives_each_past_change_the_same_weight():
    assert expected_change(2, [1, -1, -1, -5]).tolist() == [0.25, 0.5, 0.0, 0.25]
    assert expected_change(2, []).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("length", [14, 21, 80])
def test_exponential_smoothing_is_a_distribution_around_the_level(length):
    pytest.importorskip("statsforecast")
    known = np.random.default_rng(length).poisson(20, length).astype(float)
    for ahead in (1, 7):
        found = ets(known, ahead)
        assert found.sum() == pytest.approx(1.0)
        assert (found >= 0).all()
        assert mean(found) == pytest.approx(20, rel=0.4)


@pytest.mark.parametrize("each", [0.0, 5.0])
def test_exponential_smoothing_of_always_the_same_is_the_same(each):
    pytest.importorskip("statsforecast")
    found = ets(np.full(40, each), 3)
    assert int(found.argmax()) == each
    assert found[int(each)] > 0.99


def test_exponential_smoothing_asks_for_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsforecast.models", None)
    with pytest.raises(UsageError, match="install neva with the extra forecast"):
        ets(np.arange(30.0), 1)


def test_exponential_smoothing_asks_for_days_enough():
    pytest.importorskip("statsforecast")
    with pytest.raises(UsageError, match="found 5"):
        ets(np.arange(5.0), 1)
