"""VLAD and CUSUM: published weights, small tables, laws, and limits by simulation."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neva.errors import UsageError
from neva.quality.comparison.sequential import (
    cusum_limit_for_arl,
    cusum_run_length,
    cusum_weights,
    risk_adjusted_cusum,
    vlad,
)

streams = st.lists(
    st.tuples(st.integers(0, 1), st.floats(0.01, 0.99)), min_size=1, max_size=60
).map(lambda rows: pl.DataFrame(rows, schema=["outcome", "expected"], orient="row"))


@pytest.mark.parametrize(
    ("odds_ratio", "p", "with_event", "without"),
    [
        (2, 0.1, 0.59784, -0.09531),
        (2, 0.02, 0.67334, -0.01980),
        (2, 0.5, 0.28768, -0.40547),
        (0.5, 0.1, -0.64185, 0.05129),
    ],
)
def test_weights_are_those_of_the_published_formula(odds_ratio, p, with_event, without):
    event, none = cusum_weights([p], odds_ratio)
    assert (event[0], none[0]) == pytest.approx((with_event, without), abs=5e-6)


@given(streams)
def test_the_vlad_ends_at_expected_minus_observed(cases):
    end = vlad(cases).frame["saved"][-1]
    assert end == pytest.approx(cases["expected"].sum() - cases["outcome"].sum())


@given(streams, st.sampled_from([0.5, 2.0, 50.0]), st.booleans())
def test_the_cusum_is_the_recursion_written_out(cases, limit, reset):
    found = risk_adjusted_cusum(cases, limit_worse=limit, limit_better=limit, reset=reset)
    worse = better = 0.0
    for row in found.frame.iter_rows(named=True):
        p, y = row["expected"], row["outcome"]
        worse = max(0.0, worse + np.log((2 if y else 1) / (1 - p + 2 * p)))
        better = min(0.0, better - np.log((0.5 if y else 1) / (1 - p + 0.5 * p)))
        assert row["worse"] == pytest.approx(worse, abs=1e-12)
        assert row["better"] == pytest.approx(better, abs=1e-12)
        assert row["worse"] >= 0 >= row["better"]
        if abs(worse - limit) > 1e-9 and abs(-better - limit) > 1e-9:
            expected = {(0, 0): None, (1, 0): "worse", (0, 1): "better", (1, 1): "both"}
            assert row["signal"] == expected[int(worse > limit), int(-better > limit)]
        if reset:
            worse = 0.0 if row["signal"] in {"worse", "both"} else worse
            better = 0.0 if row["signal"] in {"better", "both"} else better


def test_without_reset_the_cusum_goes_on():
    cases = pl.DataFrame({"outcome": [1, 1, 1], "expected": [0.1] * 3})
    on = risk_adjusted_cusum(cases, limit_worse=1.0, limit_better=9.0, reset=False)
    assert on.frame["signal"].to_list() == [None, "worse", "worse"]
    again = risk_adjusted_cusum(cases, limit_worse=1.0, limit_better=9.0)
    assert again.frame["signal"].to_list() == [None, "worse", None]


def test_cases_without_prediction_or_outcome_are_left_out_and_counted():
    cases = pl.DataFrame({"outcome": [1, None, 0], "expected": [0.2, 0.3, None]})
    assert vlad(cases).left_out == 2
    assert vlad(cases).to_frame()["saved"].to_list() == [-0.8]
    assert risk_adjusted_cusum(cases, limit_worse=4, limit_better=4).left_out == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: vlad(pl.DataFrame({"outcome": [2], "expected": [0.1]})),
        lambda: vlad(pl.DataFrame({"outcome": [1], "expected": [1.1]})),
        lambda: vlad(pl.DataFrame({"outcome": [1, 1], "expected": [0.1, 0.1], "time": [2, 1]})),
        lambda: cusum_weights([0.1], 1),
        lambda: cusum_limit_for_arl([], arl=100, rng=np.random.default_rng(0)),
        lambda: cusum_limit_for_arl([1.0], arl=100, rng=np.random.default_rng(0)),
        lambda: cusum_limit_for_arl([0.1], arl=1, rng=np.random.default_rng(0)),
        lambda: risk_adjusted_cusum(
            pl.DataFrame({"outcome": [1], "expected": [0.1]}), limit_worse=-1, limit_better=1
        ),
        lambda: risk_adjusted_cusum(
            pl.DataFrame({"outcome": [1], "expected": [0.1]}),
            limit_worse=1,
            limit_better=1,
            odds_ratio_better=2,
        ),
    ],
)
def test_impossible_input_is_refused(wrong):
    with pytest.raises(UsageError):
        wrong()


def exact_run_length(p, odds_ratio, limit, steps=4000):
    """Mean run length of a CUSUM by its Markov chain on a fine grid (one risk only)."""
    event, none = cusum_weights([p], odds_ratio)
    width = limit / steps
    grid = np.arange(steps + 1) * width
    chain = np.zeros((2, steps + 1), dtype=int)
    for k, weight in enumerate((event[0], none[0])):
        target = np.rint(np.maximum(grid + weight, 0) / width).astype(int)
        chain[k] = np.where(grid + weight > limit, -1, np.minimum(target, steps))
    # Gauss-Seidel on L = 1 + sum of p L(next).
    length = np.zeros(steps + 1)
    for _ in range(20_000):
        new = np.ones(steps + 1)
        for share, target in zip((p, 1 - p), chain, strict=True):
            new += np.where(target >= 0, share * length[target], 0.0)
        if np.abs(new - length).max() < 1e-6:
            break
        length = new
    return length[0]


def test_the_simulated_run_length_is_that_of_the_markov_chain():
    """Fails by chance with probability below 1 in 10,000; the grid is within 1 %."""
    exact = exact_run_length(0.2, 2.0, 1.5)
    found = cusum_run_length(
        [0.2], odds_ratio=2.0, limit=1.5, rng=np.random.default_rng(3), replications=8000
    )
    assert found.cut_off == 0
    assert abs(found.mean_run_length - exact) < 3.9 * found.standard_error + 0.01 * exact


@pytest.mark.parametrize("odds_ratio", [2.0, 0.5])
def test_the_limit_gives_the_wanted_false_alarms_on_the_case_mix(odds_ratio):
    rng = np.random.default_rng(4)
    mix = 1 / (1 + np.exp(-rng.normal(-2.5, 1, 1000)))
    found = cusum_limit_for_arl(mix, arl=800, odds_ratio=odds_ratio, rng=rng, replications=3000)
    # Both the search and the check have this error.
    assert abs(found.mean_run_length - 800) < 3.9 * np.sqrt(2) * found.standard_error
    assert found.standard_error < 25
    assert found.to_frame()["limit"].to_list() == [found.limit]


def test_a_real_change_is_found_sooner_than_a_false_alarm():
    mix = [0.05, 0.1, 0.3]
    rng = np.random.default_rng(5)
    found = cusum_limit_for_arl(mix, arl=2000, rng=rng)
    doubled = cusum_run_length(
        mix, odds_ratio=2, limit=found.limit, rng=rng, true_odds_ratio=2, replications=1000
    )
    assert doubled.mean_run_length < 0.2 * found.mean_run_length


def test_the_same_seed_gives_the_same_limit():
    one, other = (
        cusum_limit_for_arl([0.1, 0.2], arl=300, rng=np.random.default_rng(6), replications=300)
        for _ in range(2)
    )
    assert one == other


def test_series_that_are_cut_off_are_counted():
    found = cusum_run_length(
        [0.1], odds_ratio=2, limit=5.0, rng=np.random.default_rng(1), longest=3, replications=10
    )
    assert found.cut_off == 10
    assert found.mean_run_length == 3
