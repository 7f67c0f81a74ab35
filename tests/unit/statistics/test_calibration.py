"""Calibration against brute force, generic optimisation and cases with an answer."""

import numpy as np
import pytest
from scipy import optimize, special

from neva.errors import UsageError
from neva.statistics.calibration import (
    brier_score,
    c_statistic,
    calibration,
    calibration_curve,
    logistic_recalibration,
)


@pytest.fixture(scope="module")
def cases():
    """True slope 0.7 and intercept -0.4 of the stated logits; 20,000 cases."""
    rng = np.random.default_rng(11)
    logit = rng.normal(-2, 1.2, 20_000)
    outcome = rng.random(20_000) < special.expit(-0.4 + 0.7 * logit)
    return outcome.astype(float), special.expit(logit)


def test_the_fit_is_the_maximum_that_a_general_optimiser_finds(cases):
    y, p = cases[0][:500], cases[1][:500]
    x = special.logit(p)
    fit = logistic_recalibration(y, x)

    def loss(beta):
        eta = beta[0] + beta[1] * x
        return -np.sum(y * eta - np.logaddexp(0, eta))

    best = optimize.minimize(loss, [0, 1], method="BFGS", options={"gtol": 1e-6})
    assert (fit.intercept, fit.slope) == pytest.approx(tuple(best.x), abs=1e-4)
    information = np.sqrt(np.diag(best.hess_inv))
    assert (fit.intercept_error, fit.slope_error) == pytest.approx(tuple(information), rel=0.05)


def test_the_true_coefficients_are_within_four_standard_errors(cases):
    """Fails by chance with probability below 1 in 5,000."""
    fit = logistic_recalibration(cases[0], special.logit(cases[1]))
    assert abs(fit.intercept + 0.4) < 4 * fit.intercept_error
    assert abs(fit.slope - 0.7) < 4 * fit.slope_error


def test_after_recalibration_the_model_is_calibrated(cases):
    y, p = cases
    fit = logistic_recalibration(y, special.logit(p))
    again = calibration(y, special.expit(fit.intercept + fit.slope * special.logit(p)))
    assert again.recalibration.intercept == pytest.approx(0, abs=1e-6)
    assert again.recalibration.slope == pytest.approx(1, abs=1e-6)
    assert again.ratio == pytest.approx(1, abs=1e-6)


def test_the_intercept_alone_makes_expected_equal_observed(cases):
    y, p = cases
    fit = logistic_recalibration(y, special.logit(p), fixed_slope=1.0)
    assert special.expit(fit.intercept + special.logit(p)).sum() == pytest.approx(y.sum())
    assert fit.slope == 1
    assert fit.slope_error is None


def test_a_binary_predictor_has_the_log_odds_ratio_as_slope():
    """Two by two table 30/70 against 10/90: ln(30/70 : 10/90) and Woolf's error."""
    x = np.repeat([1, 1, 0, 0], [30, 70, 10, 90])
    y = np.repeat([1, 0, 1, 0], [30, 70, 10, 90])
    fit = logistic_recalibration(y, x)
    assert fit.slope == pytest.approx(np.log(30 * 90 / (70 * 10)))
    assert fit.slope_error == pytest.approx(np.sqrt(1 / 30 + 1 / 70 + 1 / 10 + 1 / 90))


@pytest.mark.parametrize("spread", [0.01, 1, 300])
def test_the_scale_of_a_score_does_not_matter(spread):
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = rng.random(300) < special.expit(x)
    one, other = logistic_recalibration(y, x), logistic_recalibration(y, 7 + x * spread)
    assert other.slope * spread == pytest.approx(one.slope)


@pytest.mark.parametrize(
    ("outcome", "predictor", "problem"),
    [
        ([0, 0, 0], [1, 2, 3], "no-outcomes"),
        ([1, 1, 1], [1, 2, 3], "all-outcomes"),
        ([0, 0, 1], [1, 2, 3], "separated"),
        ([0, 1, 1], [2, 2, 3], "separated"),
        ([1, 0, 0], [1, 2, 3], "separated"),
        ([0, 1, 1], [2, 2, 2], "constant-predictor"),
        ([], [], "no-cases"),
    ],
)
def test_what_cannot_be_estimated_says_why(outcome, predictor, problem):
    fit = logistic_recalibration(outcome, predictor)
    assert (fit.intercept, fit.slope, fit.problem) == (None, None, problem)


def test_all_outcomes_alike_still_count():
    found = calibration([1, 1], [0.5, 0.25])
    row = found.to_frame().row(0, named=True)
    assert (row["n"], row["events"], row["problem"]) == (2, 2, "all-outcomes")
    assert (row["c_statistic"], row["slope"], row["in_the_large"]) == (None, None, None)
    assert row["ratio"] == pytest.approx(2 / 0.75)
    assert row["brier"] == pytest.approx((0.25 + 0.5625) / 2)


def test_no_cases_give_a_row_of_nothing():
    row = calibration([], []).to_frame().row(0, named=True)
    assert row["n"] == 0
    assert row["ratio"] is None


def test_the_c_statistic_counts_pairs():
    rng = np.random.default_rng(4)
    y, x = rng.integers(0, 2, 60), rng.integers(0, 8, 60)
    pairs = [(a, b) for a in x[y == 1] for b in x[y == 0]]
    expected = sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)
    assert c_statistic(y, x) == pytest.approx(expected)
    assert c_statistic(y, -x) == pytest.approx(1 - expected)
    assert c_statistic([1, 1], [0, 1]) is None


def test_the_curve_keeps_all_cases_and_never_splits_equal_probabilities():
    rng = np.random.default_rng(4)
    p = rng.choice([0.1, 0.2, 0.3, 0.7], 100)
    y = rng.random(100) < p
    curve = calibration_curve(y, p, groups=10)
    assert curve["n"].sum() == 100
    assert curve["events"].sum() == y.sum()
    assert (curve["lowest"].to_numpy()[1:] > curve["highest"].to_numpy()[:-1]).all()
    assert curve["group"].to_list() == list(range(1, curve.height + 1))
    assert ((curve["lower"] <= curve["observed"]) & (curve["observed"] <= curve["upper"])).all()


def test_distinct_probabilities_make_groups_of_equal_size():
    curve = calibration_curve([0, 1] * 50, np.linspace(0.01, 0.99, 100), groups=5)
    assert curve["n"].to_list() == [20] * 5


@pytest.mark.parametrize(
    ("outcome", "probability"),
    [([0, 2], [0.1, 0.2]), ([0], [1.2]), ([0, 1], [0.1]), ([0], [float("nan")])],
)
def test_what_is_no_outcome_or_probability_is_refused(outcome, probability):
    with pytest.raises(UsageError):
        brier_score(outcome, probability)


def test_certainty_cannot_be_calibrated():
    with pytest.raises(UsageError, match="exactly 0 or 1"):
        calibration([0, 1], [0.0, 0.5])
    assert brier_score([0, 1], [0.0, 1.0]) == 0
