"""Intervals against scipy, exact enumeration and simulation."""

import numpy as np
import pytest
from scipy import stats

from neva.errors import UsageError
from neva.statistics.intervals import (
    mean_interval,
    median_interval,
    proportion_interval,
    quantile_interval,
    rate_interval,
)


def test_proportions_are_those_of_scipy():
    events = np.array([0, 1, 5, 99, 100])
    found = proportion_interval(events, 100, 0.9)
    for k, low, high in zip(events, found.lower, found.upper, strict=True):
        expected = stats.binomtest(int(k), 100).proportion_ci(0.9, method="exact")
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.998])
@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_the_exact_interval_of_a_proportion_covers_at_least_its_level(n, level):
    """Summed over every possible outcome, for a fine grid of true proportions."""
    found = proportion_interval(np.arange(n + 1), n, level)
    for truth in np.linspace(0, 1, 401):
        inside = (found.lower <= truth) & (truth <= found.upper)
        assert stats.binom.pmf(np.arange(n + 1), n, truth)[inside].sum() >= level - 1e-12


@pytest.mark.parametrize("truth", [0.05, 0.7, 3.0, 12.5])
def test_the_exact_interval_of_a_rate_covers_at_least_its_level(truth):
    counts = np.arange(200)
    found = rate_interval(counts, 1.0)
    inside = (found.lower <= truth) & (truth <= found.upper)
    assert stats.poisson.pmf(counts, truth)[inside].sum() >= 0.95


def test_rates_are_the_closed_form_of_garwood():
    found = rate_interval([0, 3, 40], [2.0, 2.0, 8.0])
    assert found.lower == pytest.approx(
        [0, stats.chi2.ppf(0.025, 6) / 4, stats.chi2.ppf(0.025, 80) / 16]
    )
    assert found.upper == pytest.approx(
        [
            stats.chi2.ppf(0.975, 2) / 4,
            stats.chi2.ppf(0.975, 8) / 4,
            stats.chi2.ppf(0.975, 82) / 16,
        ]
    )


def test_an_empty_denominator_is_marked_and_everything_is_possible():
    shares = proportion_interval([0], [0])
    assert not shares.known[0]
    assert (shares.lower[0], shares.upper[0]) == (0, 1)
    assert shares.to_frame()["estimate"].to_list() == [None]
    rates = rate_interval(0, 0)
    assert (rates.lower[0], rates.upper[0], rates.known[0]) == (0, np.inf, False)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: proportion_interval([3], [2]),
        lambda: proportion_interval([-1], [2]),
        lambda: proportion_interval([0.5], [2]),
        lambda: proportion_interval([float("nan")], [2]),
        lambda: rate_interval([1], [0]),
        lambda: proportion_interval([1], [2], level=95),
        lambda: quantile_interval([1.0], 1.0),
        lambda: mean_interval([1.0], patient=[1, 2], rng=np.random.default_rng(0)),
    ],
)
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(UsageError):
        wrong()


@pytest.mark.parametrize("n", range(1, 13))
def test_the_median_is_bounded_by_the_ranks_of_the_sign_test(n):
    """The textbook table: no interval at 95 % below six values."""
    found = median_interval(np.arange(1, n + 1))
    ranks = [r for r in range(1, n + 1) if stats.binom.cdf(r - 1, n, 0.5) <= 0.025]
    if not ranks:
        assert (found.lower, found.upper) == (-np.inf, np.inf)
        assert found.coverage == 1
    else:
        assert (found.lower, found.upper) == (ranks[-1], n + 1 - ranks[-1])
        assert found.coverage == pytest.approx(1 - 2 * stats.binom.cdf(ranks[-1] - 1, n, 0.5))


def test_a_high_quantile_of_few_values_has_no_upper_bound():
    found = quantile_interval(np.arange(20), 0.9)
    assert np.isfinite(found.lower)
    assert found.upper == np.inf


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
def test_quantiles_are_covered_as_often_as_stated(share):
    """5,000 samples; fails by chance with probability below 1 in 10,000 (z = 3.9)."""
    rng = np.random.default_rng(20)
    truth = stats.expon.ppf(share)
    coverage = quantile_interval(np.arange(40), share).coverage
    hits = 0
    for sample in rng.exponential(size=(5000, 40)):
        found = quantile_interval(sample, share)
        hits += found.lower <= truth <= found.upper
    assert abs(hits / 5000 - coverage) < 3.9 * np.sqrt(coverage * (1 - coverage) / 5000)


def test_missing_values_are_left_out_and_none_is_no_estimate():
    assert median_interval([np.nan, 3.0]).n == 1
    assert median_interval([]).estimate is None
    assert mean_interval([np.nan], rng=np.random.default_rng(0)).estimate is None


def test_the_mean_does_not_depend_on_the_order_of_the_rows():
    rng = np.random.default_rng(3)
    values, patients = rng.normal(size=50), rng.integers(0, 12, 50)
    order = rng.permutation(50)
    one = mean_interval(values, patient=patients, rng=np.random.default_rng(7))
    other = mean_interval(values[order], patient=patients[order], rng=np.random.default_rng(7))
    assert (one.lower, one.upper) == pytest.approx((other.lower, other.upper))
    assert one.clusters == len(set(patients.tolist()))


def test_repeating_every_value_of_a_patient_changes_nothing():
    """Ten copies of a patient's value are not ten patients."""
    values = np.random.default_rng(3).normal(size=30)
    once = mean_interval(values, rng=np.random.default_rng(7))
    often = mean_interval(
        np.repeat(values, 10), patient=np.repeat(np.arange(30), 10), rng=np.random.default_rng(7)
    )
    assert (often.lower, often.upper) == pytest.approx((once.lower, once.upper))
    assert often.n == 300


def test_the_bootstrap_agrees_with_students_interval_in_large_samples():
    """Relative difference of the widths; Monte-Carlo error of a bound is about 2 %."""
    values = np.random.default_rng(5).normal(10, 2, 400)
    found = mean_interval(values, rng=np.random.default_rng(7), replications=4000)
    half = 1.96 * values.std(ddof=1) / 20
    assert found.upper - found.lower == pytest.approx(2 * half, rel=0.08)


def test_one_patient_bounds_nothing():
    found = mean_interval([1.0, 2.0], patient=["a", "a"], rng=np.random.default_rng(0))
    assert (found.estimate, found.lower, found.upper) == (1.5, -np.inf, np.inf)
