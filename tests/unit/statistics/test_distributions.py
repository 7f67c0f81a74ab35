"""Sums of counts: exact, and equal to the obvious slow way."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from neva.errors import UsageError
from neva.statistics.distributions import (
    convolve,
    quantiles,
    scaled,
    sum_of_bernoullis,
    sum_of_counts,
    sum_of_negative_binomials,
    sums_of_bernoullis,
)

CHANCES = st.lists(st.floats(0, 1), max_size=9)


def by_enumeration(chances):
    """Every way it can turn out."""
    result = np.zeros(len(chances) + 1)
    for outcome in itertools.product((0, 1), repeat=len(chances)):
        ways = [p if happens else 1 - p for p, happens in zip(chances, outcome, strict=True)]
        result[sum(outcome)] += np.prod(ways)
    return result


@settings(max_examples=40, deadline=None)
@given(CHANCES)
def test_the_sum_of_events_is_that_of_all_outcomes(chances):
    assert sum_of_bernoullis(chances) == pytest.approx(by_enumeration(chances), abs=1e-14)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_long_sums_equal_one_after_the_other(count, seed):
    chances = np.random.default_rng(seed).random(count) ** 3
    slow = np.ones(1)
    for p in chances:
        slow = np.convolve(slow, [1 - p, p])
    found = sum_of_bernoullis(chances)
    assert found == pytest.approx(slow, rel=1e-9, abs=1e-300)
    many = sums_of_bernoullis(np.column_stack([chances, chances**2]))
    padded = np.zeros(max(count + 1, many.shape[1]))
    padded[: many.shape[1]] = many[0]
    assert padded[: count + 1] == pytest.approx(slow, abs=1e-12)
    assert many.sum(axis=1) == pytest.approx(1, abs=1e-12)


def test_equal_chances_are_a_binomial():
    assert sum_of_bernoullis([0.3] * 500) == pytest.approx(
        stats.binom.pmf(np.arange(501), 500, 0.3), rel=1e-9, abs=1e-300
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 30), st.one_of(st.floats(0.2, 50), st.just(np.inf))),
        min_size=1,
        max_size=4,
    )
)
def test_a_sum_of_negative_binomials_is_their_convolution(parts):
    means, shapes = map(np.array, zip(*parts, strict=True))
    slow = np.ones(1)
    at = np.arange(9000)
    for mean, shape in parts:
        one = (
            stats.poisson.pmf(at, mean)
            if np.isinf(shape)
            else stats.nbinom.pmf(at, shape, shape / (shape + mean))
        )
        slow = np.convolve(slow, one)[:9000]
    found = sum_of_negative_binomials(means, shapes)
    assert found == pytest.approx(slow[: len(found)], rel=1e-7, abs=1e-13)
    assert found.sum() == pytest.approx(1, abs=1e-12)


def test_very_large_means_are_made_of_parts():
    found = sum_of_negative_binomials([2000.0, 900.0], [np.inf, np.inf])
    at = np.arange(len(found))
    assert found == pytest.approx(stats.poisson.pmf(at, 2900), abs=1e-13)


def test_sums_of_counts_do_not_depend_on_how_they_are_paired():
    parts = [np.array([0.2, 0.3, 0.5]), np.array([0.9, 0.1]), np.array([0.25] * 4)]
    straight = convolve(convolve(parts[0], parts[1]), parts[2])
    assert sum_of_counts(parts) == pytest.approx(straight)
    assert sum_of_counts([]).tolist() == [1.0]


@settings(max_examples=20, deadline=None)
@given(st.one_of(st.just(0.0), st.floats(1e-6, 3)))
def test_a_scaled_count_has_the_scaled_mean_and_thinning_is_exact(ratio):
    count = stats.binom.pmf(np.arange(21), 20, 0.4)
    found = scaled(count, ratio)
    assert np.arange(len(found)) @ found == pytest.approx(8 * ratio)
    if ratio < 1:
        assert found == pytest.approx(stats.binom.pmf(np.arange(21), 20, 0.4 * ratio))


def test_quantiles_are_the_least_counts_that_reach_a_level():
    both = np.array([0.25, 0.0, 0.75])
    assert quantiles(both, [0.0, 0.25, 0.26, 1.0]).tolist() == [0, 0, 2, 2]
    wide = quantiles(np.vstack([both, both]), [0.5])
    assert wide.tolist() == [[2], [2]]


@pytest.mark.parametrize("bad", [[1.5], [-0.1], [float("nan")]])
def test_what_is_no_probability_is_refused(bad):
    with pytest.raises(UsageError, match="between 0 and 1"):
        sum_of_bernoullis(bad)


def test_a_negative_mean_is_refused():
    with pytest.raises(UsageError, match="not negative"):
        sum_of_negative_binomials([-1.0], [2.0])
