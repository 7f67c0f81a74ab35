"""Laws of intervals and calibration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from neva.statistics.calibration import (
    brier_score,
    c_statistic,
    calibration_curve,
    logistic_recalibration,
)
from neva.statistics.intervals import proportion_interval, quantile_interval, rate_interval

levels = st.floats(0.5, 0.999)
parts = st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
cases = st.lists(
    st.tuples(st.integers(0, 1), st.floats(-6, 6, allow_subnormal=False)), min_size=1, max_size=60
)


@given(parts, levels)
def test_the_interval_of_the_rest_is_the_mirror_image(part, level):
    k, n = part
    one, rest = proportion_interval(k, n, level), proportion_interval(n - k, n, level)
    assert (one.lower[0], one.upper[0]) == pytest.approx((1 - rest.upper[0], 1 - rest.lower[0]))


@given(parts, levels)
def test_proportion_limits_are_where_the_tail_is_half_of_the_rest(part, level):
    """The definition of Clopper and Pearson, by the binomial distribution itself."""
    k, n = part
    found = proportion_interval(k, n, level)
    if k > 0:
        assert stats.binom.sf(k - 1, n, found.lower[0]) == pytest.approx((1 - level) / 2, rel=1e-6)
    if k < n:
        assert stats.binom.cdf(k, n, found.upper[0]) == pytest.approx((1 - level) / 2, rel=1e-6)


@given(st.integers(0, 500), st.floats(0.01, 1000), levels)
def test_rate_limits_are_where_the_tail_is_half_of_the_rest(count, exposure, level):
    found = rate_interval(count, exposure, level)
    tail = (1 - level) / 2
    if count:
        assert stats.poisson.sf(count - 1, found.lower[0] * exposure) == pytest.approx(
            tail, rel=1e-6
        )
    assert stats.poisson.cdf(count, found.upper[0] * exposure) == pytest.approx(tail, rel=1e-6)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40), st.floats(0.02, 0.98), levels)
def test_quantile_limits_are_values_of_the_sample_around_the_quantile(values, share, level):
    found = quantile_interval(values, share, level)
    assert found.coverage >= level - 1e-12
    assert found.lower <= found.upper
    for bound in (found.lower, found.upper):
        assert np.isinf(bound) or bound in values
    wider = quantile_interval(values, share, 1 - (1 - level) / 10)
    assert wider.lower <= found.lower
    assert wider.upper >= found.upper


@given(cases)
def test_discrimination_depends_on_order_alone(rows):
    y, x = np.array(rows).T
    found = c_statistic(y, x)
    assert found == c_statistic(y, np.argsort(np.argsort(x))) or len(set(x)) < len(x)
    assert found == c_statistic(y[::-1], 2 * x[::-1])


@given(cases)
def test_a_fit_has_no_gradient_left(rows):
    """The maximum of the likelihood: residuals sum to 0, with the predictor too."""
    y, x = np.array(rows).T
    fit = logistic_recalibration(y, x)
    if fit.problem:
        spread, event, none = x.max() - x.min(), x[y == 1], x[y == 0]
        alike = y.all() or not y.any() or spread < 1e-100
        # Outcomes that overlap by less than a hundredth of the range may have a
        # slope too steep to be found.
        hair = 0.01 * spread
        assert alike or event.min() >= none.max() - hair or none.min() >= event.max() - hair
        return
    residuals = y - special.expit(fit.intercept + fit.slope * x)
    assert abs(residuals.sum()) < 1e-5 * len(y)
    assert abs((residuals * (x - x.mean())).sum()) < 1e-5 * len(y) * max(1, np.abs(x).max())


@given(cases, st.integers(1, 12))
def test_the_curve_conserves_cases_events_and_probabilities(rows, groups):
    y, x = np.array(rows).T
    p = special.expit(x)
    curve = calibration_curve(y, p, groups=groups)
    assert curve.height <= groups
    assert (curve["n"].sum(), curve["events"].sum()) == (len(y), y.sum())
    assert (curve["predicted"] * curve["n"]).sum() == pytest.approx(p.sum())
    assert 0 <= brier_score(y, p) <= 1
