"""Expected outcomes: a model knows what it predicts, and on whom it was fitted."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from scipy import special, stats

from neva.errors import UsageError
from neva.quality.comparison.risk_adjustment import (
    ExpectedModel,
    Period,
    observed_expected,
    recalibrate,
)

YEAR = Period(start=date(2023, 1, 1), end=date(2024, 1, 1))
SPRING = Period(start=date(2023, 3, 1), end=date(2023, 6, 1))
NEXT = Period(start=date(2023, 7, 1), end=date(2024, 7, 1))


def model(**changes):
    fields = {
        "id": "test.mortality",
        "version": "1.0.0",
        "outcome": "death-in-hospital",
        "source": "invented",
        "developed_on": "nobody",
        "predictor": "probability",
        "column": "risk",
    }
    return ExpectedModel(**{**fields, **changes})


@pytest.fixture(scope="module")
def cases():
    """Half the odds that the model says, slope 0.8; three rows are incomplete."""
    rng = np.random.default_rng(2)
    logit = rng.normal(-1.5, 1, 5000)
    died = rng.random(5000) < special.expit(np.log(0.5) + 0.8 * logit)
    frame = pl.DataFrame({"risk": special.expit(logit), "outcome": died.astype(int)})
    extra = pl.DataFrame({"risk": [None, 0.5, None], "outcome": [1, None, None]})
    return pl.concat([frame, extra.cast({"risk": pl.Float64, "outcome": pl.Int64})])


def local(cases, **changes):
    settings = {
        "outcome": "death-in-hospital",
        "period": YEAR,
        "population": "adults",
        "version": "1.0.0+local.1",
    }
    return recalibrate(model(), cases, **{**settings, **changes})


def test_another_outcome_is_refused_by_name(cases):
    with pytest.raises(UsageError, match=r"'death-in-hospital', not 'death-within-30-days'"):
        model().expect(cases, outcome="death-within-30-days")
    with pytest.raises(UsageError, match="readmission"):
        local(cases, outcome="readmission")


def test_the_three_kinds_of_input():
    frame = pl.DataFrame({"risk": [0.1, 0.5], "age": [50, 70], "points": [3, 9]})
    linear = model(predictor="linear", intercept=-4.0, coefficients=(("age", 0.05),))
    given = model(predictor="linear", column="age", intercept=-60)
    score = model(predictor="score", column="points", lookup=((3, 0.2), (4, 0.4)))
    found = [
        m.expect(frame, outcome="death-in-hospital").frame["expected"].to_list()
        for m in (model(), linear, given, score)
    ]
    assert found[0] == pytest.approx([0.1, 0.5])
    assert found[1] == pytest.approx([special.expit(-1.5), special.expit(-0.5)])
    assert found[2] == pytest.approx([special.expit(-10), special.expit(10)])
    assert found[3] == [pytest.approx(0.2), None]


def test_missing_inputs_are_counted(cases):
    assert model().expect(cases, outcome="death-in-hospital").missing == 2
    with pytest.raises(UsageError, match="'risk'"):
        model().expect(cases.drop("risk"), outcome="death-in-hospital")
    with pytest.raises(UsageError, match="strictly between"):
        model().expect(pl.DataFrame({"risk": [0.0]}), outcome="death-in-hospital")


def test_recalibration_makes_observed_equal_expected(cases):
    for fit_slope in (False, True):
        fitted = local(cases, fit_slope=fit_slope)
        whole = cases.drop_nulls()
        expected = fitted.expect(whole, outcome="death-in-hospital").frame["expected"].sum()
        assert expected == pytest.approx(whole["outcome"].sum())
        kept = fitted.recalibration
        assert (kept.n, kept.missing, kept.previous_version) == (5000, 3, "1.0.0")
        assert kept.events == whole["outcome"].sum()
        assert sum(row.n for row in kept.table) == 5000
        assert kept.brier_after <= kept.brier_before
        assert kept.ratio_before < 0.75
        assert kept.slope == 1 or abs(kept.slope - 0.8) < 0.15
        assert kept.slope_was_fitted == fit_slope


def test_recalibrating_twice_changes_nothing_but_the_version(cases):
    once = local(cases, fit_slope=True)
    twice = recalibrate(
        once,
        cases,
        outcome="death-in-hospital",
        period=YEAR,
        population="adults",
        version="2",
        fit_slope=True,
    )
    assert twice.recalibration.intercept == pytest.approx(once.recalibration.intercept, abs=1e-6)
    assert twice.recalibration.slope == pytest.approx(once.recalibration.slope, abs=1e-6)
    assert twice.recalibration.slope_before == pytest.approx(1)
    assert twice.recalibration.previous_version == "1.0.0+local.1"


def test_a_recalibrated_model_is_saved_and_read_back_equal(cases):
    fitted = local(cases)
    assert ExpectedModel.model_validate_json(fitted.model_dump_json()) == fitted


def test_other_cases_than_those_of_the_recalibration_are_told(cases):
    fitted = local(cases)

    def warnings(**settings):
        return fitted.expect(cases, outcome="death-in-hospital", **settings).warnings

    assert warnings(period=SPRING, population="adults") == ()
    assert warnings(period=NEXT, population="adults") == ("other-period",)
    assert warnings(period=SPRING, population="children") == ("other-population",)
    assert warnings() == ("other-period", "other-population")
    unfitted = model().expect(cases, outcome="death-in-hospital", period=YEAR)
    assert unfitted.warnings == ("not-recalibrated",)


def test_what_cannot_be_recalibrated_is_refused(cases):
    with pytest.raises(UsageError, match="no-outcomes"):
        local(cases.with_columns(outcome=pl.lit(0)))
    with pytest.raises(UsageError, match="version"):
        local(cases, version="1.0.0")


@pytest.mark.parametrize(
    "wrong",
    [
        {"predictor": "score"},
        {"lookup": ((1, 0.5),)},
        {"predictor": "score", "lookup": ((1, 0.0),)},
        {"predictor": "score", "lookup": ((1, 0.2), (1, 0.3))},
        {"coefficients": (("age", 1.0),)},
        {"nonsense": 1},
    ],
)
def test_models_that_contradict_themselves_are_refused(wrong):
    with pytest.raises(ValidationError):
        model(**wrong)


def test_a_period_runs_forwards():
    with pytest.raises(ValidationError):
        Period(start=date(2024, 1, 1), end=date(2024, 1, 1))
    assert str(YEAR) == "2023-01-01 to 2024-01-01"


def test_observed_over_expected_per_unit_with_what_is_missing():
    cases = pl.DataFrame(
        {
            "unit": ["A"] * 4 + ["B"] * 3,
            "outcome": [True, False, None, True, False, False, True],
            "expected": [0.2, 0.3, 0.4, None, 0.1, 0.1, None],
        }
    )
    a, b = observed_expected(cases).iter_rows(named=True)
    assert (a["cases"], a["missing_outcome"], a["missing_expected"]) == (4, 1, 1)
    assert (a["observed"], a["expected"]) == (1, 0.5)
    assert a["lower"] == pytest.approx(stats.chi2.ppf(0.025, 2) / 2 / 0.5)
    assert a["upper"] == pytest.approx(stats.chi2.ppf(0.975, 4) / 2 / 0.5)
    assert (b["observed"], b["ratio"], b["lower"]) == (0, 0, 0)
    empty = observed_expected(cases.with_columns(expected=pl.lit(None, dtype=pl.Float64)))
    assert empty["ratio"].to_list() == [None, None]
    assert empty["missing_expected"].to_list() == [3, 3]
