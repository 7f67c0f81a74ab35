"""Laws of funnel plots."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neva.quality.comparison.funnel import (
    binomial_limits,
    funnel_proportions,
    funnel_ratios,
    poisson_limits,
)

units = st.lists(st.tuples(st.integers(0, 300), st.floats(0.5, 300)), min_size=1, max_size=15).map(
    lambda rows: pl.DataFrame(
        {
            "unit": [f"U{k:02}" for k in range(len(rows))],
            "observed": [o for o, _ in rows],
            "expected": [e for _, e in rows],
        }
    )
)
methods = st.sampled_from(["exact", "log", "square-root"])
LIMITS = ["lower_998", "lower_95", "upper_95", "upper_998"]


@given(units, methods)
def test_limits_are_nested_and_narrow_with_size(frame, method):
    found = funnel_ratios(frame, method=method)
    for table in (found.frame.sort("size"), found.curve):
        values = table.select(LIMITS).to_numpy()
        assert (np.diff(values, axis=1) >= 0).all()
        assert (values >= 0).all()
        assert (np.diff(values[:, :2], axis=0) >= -1e-9).all()
        assert (np.diff(values[:, 2:], axis=0) <= 1e-9).all()
    assert found.tau2 >= 0


@given(units, methods, st.randoms())
def test_the_order_of_units_does_not_matter(frame, method, random):
    order = list(range(frame.height))
    random.shuffle(order)
    one, other = funnel_ratios(frame, method=method), funnel_ratios(frame[order], method=method)
    assert other.tau2 == pytest.approx(one.tau2)
    assert other.frame.sort("unit")["flag"].to_list() == one.frame["flag"].to_list()


@given(units)
def test_over_dispersion_only_widens(frame):
    for method in ("log", "square-root"):
        found = funnel_ratios(frame, method=method)
        alone = np.exp(1.959963984540054 / np.sqrt(frame["expected"].to_numpy()))
        if method == "log":
            assert (found.frame["upper_95"].to_numpy() >= alone - 1e-9).all()


@given(st.integers(1, 500), st.floats(0, 1))
def test_proportion_limits_are_nested_possible_and_around_the_reference(n, reference):
    """Interpolated limits may miss the reference by less than one count."""
    found = [binomial_limits([n], reference, tail) for tail in (0.001, 0.025)]
    (low_998, high_998), (low_95, high_95) = [(a[0], b[0]) for a, b in found]
    assert 0 <= low_998 <= low_95 <= high_95 <= high_998 <= 1
    assert low_95 <= reference + 1 / n
    assert high_95 >= reference - 1 / n


@given(st.integers(1, 200), st.floats(0.05, 0.95))
def test_ten_times_the_cases_narrow_the_funnel(n, reference):
    (low, high), (low_10, high_10) = (
        binomial_limits([n], reference, 0.025),
        binomial_limits([10 * n], reference, 0.025),
    )
    assert high_10[0] - low_10[0] <= high[0] - low[0] + 1e-12


@given(st.floats(0.01, 1e4), st.floats(1.0001, 10))
def test_ratio_limits_narrow_with_every_expected_event(expected, factor):
    low, high = poisson_limits([expected, expected * factor], 0.001)
    assert low[0] <= low[1] <= 1 <= high[1] <= high[0]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 30)), min_size=1, max_size=12))
def test_units_add_up_to_the_reference(pairs):
    table = pl.DataFrame(
        {
            "unit": list(range(len(pairs))),
            "numerator": [a for a, _ in pairs],
            "denominator": [a + b for a, b in pairs],
        }
    )
    found = funnel_proportions(table)
    total = found.frame["size"].sum()
    if total:
        assert found.reference == pytest.approx(found.frame["events"].sum() / total)
    assert found.left_out == sum(a + b == 0 for a, b in pairs)
