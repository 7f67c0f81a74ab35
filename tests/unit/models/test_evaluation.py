import numpy as np
import polars as pl
import pytest
from tests.model_cases import demo_cases

from neva.errors import UsageError
from neva.models.evaluation import FIGURES, evaluate_predictions
from neva.statistics.calibration import brier_score, c_statistic


def risk(cases, slope=1.0):
    """A probability that knows something."""
    ldh = cases.frame["demo.ldh"].fill_null(300.0).to_numpy()
    age = cases.frame["age"].to_numpy()
    return 1 / (1 + np.exp(-slope * (2.5 * (np.log(ldh) - 5.7) + 0.05 * (age - 60))))


def judged(cases, **more):
    given = {"resamples": 60, "threshold": 0.4, **more}
    return evaluate_predictions(
        cases,
        {"model": risk(cases), "rule": cases.frame["demo.rule"].to_numpy().astype(float)},
        yes_no=frozenset({"rule"}),
        **given,
    )


def test_figures_are_those_of_the_plain_functions():
    cases = demo_cases(150)
    found = judged(cases)
    y, p = cases.outcome, risk(cases)
    assert found.figure("model", "auroc")["value"] == pytest.approx(c_statistic(y, p))
    assert found.figure("model", "brier")["value"] == pytest.approx(brier_score(y, p))
    flagged = p >= 0.4
    assert found.figure("model", "ppv")["value"] == pytest.approx(y[flagged].mean())
    assert found.figure("model", "alerts")["value"] == pytest.approx(100 * flagged.mean())
    # A yes-or-no rule has no calibration.
    assert set(FIGURES) - set(found.figures.filter(predictor="rule")["figure"]) == {
        "in-the-large",
        "slope",
        "ece",
    }


def test_intervals_hold_their_values_and_differences_are_paired():
    found = judged(demo_cases(150), resamples=300)
    inside = found.figures.filter(pl.col("figure") != "ece")
    assert inside.select((pl.col("lower") <= pl.col("value")).all()).item()
    assert inside.select((pl.col("upper") >= pl.col("value")).all()).item()
    for figure in ("auroc", "brier"):
        expected = found.figure("model", figure)["value"] - found.figure("rule", figure)["value"]
        told = found.difference("rule", figure)
        assert told["value"] == pytest.approx(expected)
        width = told["upper"] - told["lower"]
        apart = sum(
            (one := found.figure(name, figure))["upper"] - one["lower"]
            for name in ("model", "rule")
        )
        assert width < apart


def test_a_predictor_compared_with_itself_differs_by_nothing():
    cases = demo_cases(80)
    found = evaluate_predictions(cases, {"model": risk(cases), "same": risk(cases)}, resamples=30)
    assert found.differences.select("value", "lower", "upper").rows() == [(0.0, 0.0, 0.0)] * 2


def test_rows_of_a_patient_are_drawn_together():
    """With every patient ten times over, the interval stays as wide as with one row each."""
    one = demo_cases(60)
    ten = one.frame[np.repeat(np.arange(60), 10)]
    from dataclasses import replace

    many = replace(one, frame=ten)
    narrow = [
        (
            told := evaluate_predictions(
                cases, {"model": risk(cases)}, resamples=100, seed=4
            ).figure("model", "brier")
        )["upper"]
        - told["lower"]
        for cases in (one, many)
    ]
    assert narrow[0] == pytest.approx(narrow[1])


def test_repeats_are_averaged_not_ensembled():
    cases = demo_cases(80)
    p = np.stack([risk(cases), risk(cases, slope=3.0)])
    found = evaluate_predictions(cases, {"model": p}, resamples=20)
    each = [brier_score(cases.outcome, one) for one in p]
    assert found.figure("model", "brier")["value"] == pytest.approx(np.mean(each))
    assert found.repeats == 2


def test_subgroups_add_up_and_small_ones_have_no_figures():
    cases = demo_cases(150)
    found = judged(cases)
    counts = found.subgroups.select("by", "group", "n", "events").unique()
    for by in ("sex", "age", "unit"):
        mine = counts.filter(pl.col("by") == by)
        assert (mine["n"].sum(), mine["events"].sum()) == (150, int(cases.outcome.sum()))
    few = found.subgroups.filter(pl.col("figure").is_null())
    assert ((few["events"] < 5) | (few["n"] - few["events"] < 5)).all()


def test_missing_shares_by_outcome():
    cases = demo_cases(150)
    row = judged(cases).missing.filter(feature="demo.ldh").row(0, named=True)
    absent = np.isnan(cases.matrix[:, 0])
    assert row["missing"] == pytest.approx(absent.mean())
    assert row["missing_with_outcome"] == pytest.approx(absent[cases.outcome == 1].mean())


def test_the_lead_is_of_the_first_flag_of_a_stay():
    cases = demo_cases(30, each=3)
    found = evaluate_predictions(cases, {"model": np.full(90, 0.9)}, resamples=10)
    died = int(cases.outcome.sum()) // 3
    assert (found.flagged_outcomes, found.outcomes) == (died, died)
    assert found.lead.estimate == 100.0
    assert found.lead.n == died
    nobody = evaluate_predictions(cases, {"model": np.full(90, 0.1)}, resamples=10)
    assert (nobody.flagged_outcomes, nobody.lead.estimate) == (0, None)


def test_calibration_groups_hold_every_case():
    cases = demo_cases(100)
    curve = judged(cases).calibration_curve
    assert (curve["n"].sum(), curve["events"].sum()) == (100, int(cases.outcome.sum()))
    assert curve.select((pl.col("events") / pl.col("n") == pl.col("value")).all()).item()
    several = judged(demo_cases(40, each=3)).calibration_curve
    assert several["n"].sum() == 120


def test_what_does_not_fit_is_refused():
    cases = demo_cases(20)
    with pytest.raises(UsageError, match="found 3 for 20 cases"):
        evaluate_predictions(cases, {"model": [0.1, 0.2, 0.3]})
    with pytest.raises(UsageError, match="must be probabilities"):
        evaluate_predictions(cases, {"model": np.full(20, 2.0)})
    with pytest.raises(UsageError, match="no such predictor"):
        evaluate_predictions(cases, {"other": np.full(20, 0.5)})
    with pytest.raises(UsageError, match="threshold"):
        evaluate_predictions(cases, {"model": np.full(20, 0.5)}, threshold=1.0)
    with pytest.raises(UsageError, match="no case"):
        evaluate_predictions(cases.rows(np.zeros(20, dtype=bool)), {"model": []})
