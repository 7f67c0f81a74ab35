"""Figures of predictions agree with scikit-learn and with the obvious slow versions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from neva.errors import UsageError
from neva.models.recalibration import KINDS, fit_recalibration
from neva.statistics import prediction_figures as figures
from neva.statistics.calibration import logistic_recalibration


@st.composite
def predicted(draw, *, smallest=4):
    """Outcomes of both kinds, probabilities with ties, whole weights."""
    n = draw(st.integers(smallest, 25))
    y = draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n))
    y[0], y[1] = 0.0, 1.0
    p = draw(st.lists(st.integers(1, 19), min_size=n, max_size=n))
    w = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    w[0] = w[1] = 1
    return np.array(y), np.array(p) / 20, np.array(w, dtype=float)


def drawn(y, p, w):
    """Rows as often as their weight says."""
    times = w.astype(int)
    return np.repeat(y, times), np.repeat(p, times)


@given(predicted())
def test_they_agree_with_scikit_learn_on_rows_that_are_repeated(case):
    y, p, w = case
    long_y, long_p = drawn(y, p, w)
    assert figures.area_under_roc(y, p, w[None])[0] == pytest.approx(roc_auc_score(long_y, long_p))
    assert figures.average_precision(y, p, w[None])[0] == pytest.approx(
        average_precision_score(long_y, long_p)
    )
    assert figures.brier(y, p, w[None])[0] == pytest.approx(brier_score_loss(long_y, long_p))


@given(predicted())
def test_areas_are_shares_of_pairs(case):
    y, p, w = case
    long_y, long_p = drawn(y, p, w)
    pairs = [
        (long_p[i] > long_p[j]) + (long_p[i] == long_p[j]) / 2
        for i in np.flatnonzero(long_y == 1)
        for j in np.flatnonzero(long_y == 0)
    ]
    assert figures.area_under_roc(y, p, w[None])[0] == pytest.approx(np.mean(pairs))


@given(predicted(), st.integers(1, 19))
def test_net_benefit_is_its_closed_form(case, cut):
    y, p, w = case
    threshold = cut / 20
    long_y, long_p = drawn(y, p, w)
    true = ((long_p >= threshold) & (long_y == 1)).sum()
    false = ((long_p >= threshold) & (long_y == 0)).sum()
    expected = true / len(long_y) - false / len(long_y) * threshold / (1 - threshold)
    found = figures.net_benefit(y, p, w[None], threshold=threshold)[0]
    assert found == pytest.approx(expected)


@given(predicted(), st.integers(1, 19))
def test_shares_at_a_threshold_are_counts(case, cut):
    y, p, w = case
    flagged = p >= cut / 20
    long_y, long_flag = drawn(y, flagged, w)
    assert figures.sensitivity(y, flagged, w[None])[0] == pytest.approx(
        long_flag[long_y == 1].mean()
    )
    assert figures.specificity(y, flagged, w[None])[0] == pytest.approx(
        (~long_flag[long_y == 0]).mean()
    )
    ppv = figures.positive_predictive_value(y, flagged, w[None])[0]
    if long_flag.any():
        assert ppv == pytest.approx(long_y[long_flag].mean())
    else:
        assert np.isnan(ppv)


@given(predicted(smallest=8))
def test_calibration_agrees_with_the_plain_fit(case):
    y, p, w = case
    long_y, long_p = drawn(y, p, w)
    logit = np.log(long_p / (1 - long_p))
    line = logistic_recalibration(long_y, logit)
    intercept, slope = figures.calibration_line(y, p, w[None])
    if line.slope is None or abs(line.slope) > 20:
        return
    assert slope[0] == pytest.approx(line.slope, abs=1e-5)
    assert intercept[0] == pytest.approx(line.intercept, abs=1e-5)
    large = logistic_recalibration(long_y, logit, fixed_slope=1.0)
    assert figures.in_the_large(y, p, w[None])[0] == pytest.approx(large.intercept, abs=1e-6)


def test_the_calibration_error_of_groups_by_hand():
    y = np.array([0.0, 0, 0, 1, 1, 0])
    p = np.array([0.1, 0.1, 0.1, 0.6, 0.6, 0.6])
    found = figures.calibration_error(y, p, np.ones((1, 6)), groups=2)[0]
    # Three of 0.1 have no event: off by 0.3 together; three of 0.6 have 2: off by 0.2.
    assert found == pytest.approx((0.3 + 0.2) / 6)


def test_a_figure_that_is_not_defined_is_missing():
    y, p = np.zeros(3), np.array([0.1, 0.2, 0.3])
    assert np.isnan(figures.area_under_roc(y, p, np.ones((1, 3)))[0])
    assert np.isnan(figures.in_the_large(y, p, np.ones((1, 3)))[0])
    assert np.isnan(figures.calibration_line(y, p, np.ones((1, 3)))[1][0])


def test_no_calibration_line_of_a_yes_or_no_rule():
    with pytest.raises(UsageError, match="exactly 0 or 1"):
        figures.calibration_line(np.array([0.0, 1]), np.array([0.0, 1]), np.ones((1, 2)))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(0, 9))
def test_redrawing_patients_is_a_loop_over_patients(patients, seed):
    owners = np.array(patients)
    fast = np.concatenate(list(figures.patient_weights(owners, 7, rng=np.random.default_rng(seed))))
    # The slow version: draw patients one by one into counts, then look up each row.
    names = list(dict.fromkeys(patients))
    rng = np.random.default_rng(seed)
    for weights in fast:
        counts = dict(
            zip(names, rng.multinomial(len(names), [1 / len(names)] * len(names)), strict=True)
        )
        assert [counts[one] for one in patients] == weights.tolist()
        assert sum(counts.values()) == len(names)


def test_the_weights_do_not_depend_on_how_many_are_held_at_once(monkeypatch):
    owners = np.repeat(np.arange(20), 3)
    whole = np.concatenate(list(figures.patient_weights(owners, 9, rng=np.random.default_rng(2))))
    monkeypatch.setattr(figures, "AT_ONCE", 100)
    parts = np.concatenate(list(figures.patient_weights(owners, 9, rng=np.random.default_rng(2))))
    assert (whole == parts).all()


@given(predicted(smallest=10))
def test_recalibration_makes_its_own_data_calibrated(case):
    y, p, _ = case
    x = np.log(p / (1 - p))
    moved = fit_recalibration("in-the-large", y, x).apply(x)
    share = 1 / (1 + np.exp(-moved))
    assert share.mean() == pytest.approx(y.mean(), abs=1e-6)
    line = fit_recalibration("intercept-and-slope", y, x)
    if line.kind == "intercept-and-slope":
        again = logistic_recalibration(y, line.apply(x))
        assert again.intercept == pytest.approx(0, abs=1e-4)
        assert again.slope == pytest.approx(1, abs=1e-4)


def test_a_slope_of_nought_is_not_taken():
    """Both predictions came true equally often; the fitted slope is 1e-16 and not exactly 0."""
    y = np.array([0.0, 1, 0, 1, 0, 1, 1, 1, 0, 0])
    p = np.array([0.05, 0.05, 0.05, 0.05, 0.15, 0.05, 0.05, 0.15, 0.05, 0.05])
    line = fit_recalibration("intercept-and-slope", y, np.log(p / (1 - p)))
    assert line.kind == "in-the-large"


@given(predicted(smallest=6), st.sampled_from(KINDS))
def test_recalibration_keeps_the_order_and_survives_json(case, kind):
    from neva.models.recalibration import RecalibrationMap

    y, p, _ = case
    x = np.sort(np.log(p / (1 - p)))
    made = fit_recalibration(kind, y, x)
    assert (np.diff(made.apply(x)) >= -1e-12).all()
    assert np.isfinite(made.apply(np.array([-40.0, 0.0, 40.0]))).all()
    assert RecalibrationMap.from_json(made.to_json()) == made


def test_a_recalibration_needs_both_outcomes():
    with pytest.raises(UsageError, match="with and without"):
        fit_recalibration("in-the-large", np.ones(5), np.zeros(5))
