"""A saved model on other patients: the verdict has its calibration, and what could be done."""

from dataclasses import replace

import numpy as np
import pytest
from tests.model_cases import demo_cases, demo_plan

from neva.models import report as model_report
from neva.models import runs as model_runs
from neva.models.made_here import PLAIN_HERE, RECALIBRATED_HERE, predictions_made_here
from neva.models.report import report_of_model
from neva.models.training import Settings


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_runs, "cases_at", lambda snapshot, plan: demo_cases(120))
        settings = Settings(outer=3, inner=3, repeats=1, seed=2)
        return model_runs.train(None, demo_plan(), settings, resamples=50).model


def elsewhere(patients=300, survivors=0.0):
    """Patients of another hospital; `survivors`: of the dead, so many of ten live there."""
    cases = demo_cases(patients, seed=9, hospital="elsewhere")
    spared = np.random.default_rng(3).random(patients) < survivors
    died = cases.frame["outcome"].to_numpy() * ~spared
    return replace(cases, frame=cases.frame.with_columns(outcome=died.astype(np.int8)))


def reported(model, cases):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_report, "cases_at", lambda snapshot, plan: cases)

        class Nothing:
            identity = "elsewhere@1/latest"

        return report_of_model(Nothing(), model, resamples=200)


def test_a_model_that_predicts_far_too_many_deaths_is_not_only_called_better(model):
    """It ranked well: the verdict was "AUROC better; Brier score better", and no more."""
    report = reported(model, elsewhere(survivors=0.7))
    calibration = report.verdicts()[0]
    assert calibration.startswith("calibration: predicts too many outcomes (in the large \u2212")
    assert calibration.endswith("; recalibrate it before its probabilities are used")
    evaluation = report.landmarks[0].evaluation
    assert evaluation.figure("model", "in-the-large")["upper"] < 0
    again = evaluation.figure(RECALIBRATED_HERE, "in-the-large")
    assert again["lower"] < 0 < again["upper"]
    worse = evaluation.figure("model", "brier")["value"]
    assert evaluation.figure(RECALIBRATED_HERE, "brier")["value"] < worse
    assert evaluation.figure(PLAIN_HERE, "brier")["value"] < worse
    said = "\n".join(report.verdicts())
    assert f"model against {RECALIBRATED_HERE}" in said
    assert f"model against {PLAIN_HERE}" in said


def test_a_model_that_is_calibrated_is_said_to_be(model):
    calibration = reported(model, elsewhere()).verdicts()[0]
    assert "predicts about as many outcomes as happened" in calibration


def test_what_is_made_here_has_not_seen_whom_it_predicts(model):
    """With markers that tell nothing, patients cannot be predicted from themselves."""
    cases = demo_cases(300, seed=9, hospital="elsewhere", informative=False)
    found = predictions_made_here(model, cases)
    assert set(found) == {RECALIBRATED_HERE, PLAIN_HERE}
    for predicted in found.values():
        assert ((predicted > 0) & (predicted < 1)).all()
        assert abs(np.corrcoef(predicted, cases.outcome)[0, 1]) < 0.2


def test_too_few_patients_make_nothing(model):
    assert predictions_made_here(model, demo_cases(30, seed=9, hospital="x")) == {}
