"""Scores against their definitions, written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, poisson

from neva.errors import UsageError
from neva.statistics.scoring import (
    coverage,
    crps,
    expected_crps,
    log_score,
    pinball,
    pit_values,
    reliability,
    skill,
)

#: Draws of the seeds below; the tests of chance would fail by chance once in a thousand.
DRAWS = 4000
ALARM = 1e-3


@st.composite
def distributions(draw):
    weights = draw(st.lists(st.integers(0, 20), min_size=1, max_size=9).filter(any))
    return np.array(weights) / sum(weights)


def rng():
    return np.random.default_rng(7)


def slow_crps(forecast, observed):
    total, cumulative = 0.0, 0.0
    for x in range(max(len(forecast), observed + 1)):
        cumulative += forecast[x] if x < len(forecast) else 0.0
        total += (cumulative - (1.0 if observed <= x else 0.0)) ** 2
    return total


def by_pairs(forecast, observed):
    """The score as E|X - y| - E|X - X'| / 2."""
    off, apart = 0.0, 0.0
    for x, p in enumerate(forecast):
        off += p * abs(x - observed)
        for y, q in enumerate(forecast):
            apart += p * q * abs(x - y)
    return off - apart / 2


@given(distributions(), st.integers(0, 14))
def test_crps_is_the_squared_distance_of_cumulatives_and_the_energy_of_pairs(forecast, observed):
    found = crps(forecast, observed)[0]
    assert found == pytest.approx(slow_crps(forecast, observed), abs=1e-12)
    assert found == pytest.approx(by_pairs(forecast, observed), abs=1e-12)


@given(st.integers(0, 9), st.integers(0, 14))
def test_crps_of_one_who_is_sure_is_the_absolute_error(said, observed):
    assert crps(np.eye(10)[said], observed)[0] == pytest.approx(abs(said - observed))


@given(distributions())
def test_the_expected_score_is_the_mean_score_under_the_forecast(forecast):
    scores = crps(np.tile(forecast, (len(forecast), 1)), np.arange(len(forecast)))
    assert expected_crps(forecast)[0] == pytest.approx(forecast @ scores, abs=1e-12)


@given(distributions(), distributions())
def test_no_other_forecast_is_expected_to_score_better_than_the_truth(truth, other):
    counts = np.arange(len(truth))
    mine, theirs = (
        truth @ crps(np.tile(one, (len(truth), 1)), counts) for one in (truth, other)
    )  # fmt: skip
    assert mine <= theirs + 1e-12


def test_many_forecasts_are_scored_row_by_row():
    forecasts = rng().dirichlet(np.ones(6), size=20)
    observed = rng().integers(0, 8, size=20)
    each = [slow_crps(one, count) for one, count in zip(forecasts, observed, strict=True)]
    assert crps(forecasts, observed) == pytest.approx(each, abs=1e-12)


def test_the_log_score_is_minus_the_logarithm_and_has_a_floor():
    forecast = [0.25, 0.75, 0.0]
    found = log_score([forecast] * 4, [0, 1, 2, 9])
    floor = 12 * np.log(10)
    assert found == pytest.approx([-np.log(0.25), -np.log(0.75), floor, floor])


@given(distributions(), st.integers(0, 14), st.sampled_from([0.05, 0.25, 0.5, 0.9]))
def test_the_pinball_loss_charges_what_lies_above_and_below_a_quantile(forecast, observed, level):
    quantile, cumulative = 0, forecast[0]
    while cumulative < level - 1e-12:
        quantile += 1
        cumulative += forecast[quantile]
    charged = level if observed >= quantile else 1 - level
    assert pinball(forecast, observed, level)[0] == pytest.approx(
        charged * abs(observed - quantile)
    )


def test_coverage_counts_both_ends_and_knows_what_was_claimed():
    forecast = np.array([0.05, 0.1, 0.7, 0.1, 0.05])
    found = coverage([forecast] * 5, [0, 1, 2, 3, 4], 0.8)
    assert (found.held, found.width, found.observations) == (0.6, 2.0, 5)
    assert found.claimed == pytest.approx(0.9)  # counts are whole: more than was asked
    assert found.low < 0.6 < found.high


def test_intervals_of_right_forecasts_hold_what_they_claim():
    means = rng().uniform(1, 30, DRAWS)
    forecasts = poisson.pmf(np.arange(90)[None, :], means[:, None])
    found = coverage(forecasts, rng().poisson(means), 0.9)
    assert found.claimed > 0.9
    error = np.sqrt(found.claimed * (1 - found.claimed) / DRAWS)
    assert abs(found.held - found.claimed) < 3.3 * error  # 1 in 1000


def test_transforms_of_right_forecasts_are_uniform_and_of_wrong_ones_are_not():
    generator = rng()
    means = generator.uniform(1, 30, DRAWS)
    observed = generator.poisson(means)
    at = np.arange(120)[None, :]
    right = pit_values(poisson.pmf(at, means[:, None]), observed, generator)
    wrong = pit_values(poisson.pmf(at, 1.15 * means[:, None]), observed, generator)
    assert kstest(right, "uniform").pvalue > ALARM
    assert kstest(wrong, "uniform").pvalue < ALARM


def test_the_reliability_of_transforms_is_their_cumulative_share():
    values = rng().random(500)
    found = reliability(values, bins=5)
    for level, share in found.frame.select("level", "share").iter_rows():
        assert share == pytest.approx(np.mean(values <= level))
    assert found.bins["count"].sum() == found.observations == 500
    assert found.bins["expected"].to_list() == [100.0] * 5
    inside = (found.frame["share"] >= found.frame["low"]) & (
        found.frame["share"] <= found.frame["high"]
    )
    assert inside.mean() > 0.9


def test_an_observation_beyond_the_last_count_is_below_no_quantile():
    forecast = [0.5, 0.5]
    assert crps(forecast, 5)[0] == pytest.approx(0.25 + 1 + 3)
    assert pit_values(forecast, 5, rng())[0] == 1.0
    assert coverage(forecast, 5, 0.9).held == 0.0


def test_the_skill_of_a_known_difference():
    noise = rng().normal(0, 0.1, 400)
    found = skill(np.full(400, 2.0), 4.0 + noise, rng=rng())
    assert found.value == pytest.approx(0.5, abs=0.005)
    assert found.difference == pytest.approx(-2.0, abs=0.02)
    assert found.low < found.difference < found.high < 0
    assert found.value_low < found.value < found.value_high
    assert found.is_better
    assert found.block == round(2 * 400 ** (1 / 3))


def test_the_interval_of_a_difference_is_that_of_its_mean_where_scores_are_independent():
    apart = rng().normal(0.0, 1.0, 500)
    found = skill(10.0 + apart, np.full(500, 10.0), rng=rng(), block=1, draws=4000)
    error = 1.96 * apart.std() / np.sqrt(500)
    assert found.high - found.low == pytest.approx(2 * error, rel=0.06)


def test_neighbours_that_err_together_make_the_interval_wider():
    apart = np.repeat(rng().normal(0.0, 1.0, 60), 10)
    alone, blocks = (
        skill(10.0 + apart, np.full(600, 10.0), rng=rng(), block=size) for size in (1, 20)
    )
    assert blocks.high - blocks.low > 2 * (alone.high - alone.low)


def test_identical_scores_differ_by_nothing():
    scores = rng().random(50) + 1
    found = skill(scores, scores, rng=rng())
    assert (found.value, found.difference, found.low, found.high) == (0.0, 0.0, 0.0, 0.0)
    assert (found.value_low, found.value_high) == (0.0, 0.0)
    assert not found.is_better


def test_a_baseline_that_was_once_exactly_right_leaves_the_skill_its_interval():
    scores = rng().random(60) + 1
    baseline = 2 * scores
    baseline[17] = 0.0  # "same as now" is right now and then
    found = skill(scores, baseline, rng=rng())
    assert found.value_low < found.value < found.value_high


def test_a_baseline_that_was_always_right_has_no_skill_over_it():
    found = skill(np.ones(30), np.zeros(30), rng=rng())
    assert np.isnan([found.value, found.value_low, found.value_high]).all()
    assert found.low == found.high == 1.0


@pytest.mark.parametrize("observed", [[1, 2], [-1], [0.5], [np.nan]])
def test_what_is_no_count_of_each_forecast_is_refused(observed):
    for score in (crps, log_score):
        with pytest.raises(UsageError, match=r"scores: .*; found .*; give"):
            score([[0.5, 0.5]], observed)


@pytest.mark.parametrize(("scores", "baseline"), [([], []), ([1.0], [1.0, 2.0])])
def test_scores_of_different_occasions_are_not_compared(scores, baseline):
    with pytest.raises(UsageError, match="same occasions"):
        skill(scores, baseline, rng=rng())


def test_blocks_of_nothing_are_refused():
    with pytest.raises(UsageError, match=r"block: .* found 0"):
        skill([1.0, 2.0], [1.0, 2.0], rng=rng(), block=0)
