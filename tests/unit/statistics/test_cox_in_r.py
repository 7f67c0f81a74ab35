"""Real data: the same numbers as coxph and survfit of R (tests/oracles/cox_numbers.R)."""

import numpy as np
import pytest
from tests.multistate_data import (
    intensive_care,
    intervals,
    numbers,
    transplant_covariates,
    transplants,
)

from neva.statistics.cox import cox
from neva.statistics.cox_transitions import cox_transitions
from neva.statistics.transitions import Transitions

R = numbers("cox_numbers.json")
NAMES = ["age", "calendar", "prophylaxis", "mismatch"]
# Over 40, 1995-1998: far from covariates 0, which nobody has.
PATIENT = [45, 1996.5, 1, 0]
CLOSE = {"rtol": 1e-7, "atol": 1e-10}
TIES = pytest.mark.parametrize("ties", ["efron", "breslow"])


def transplant_model(ties, kind="shared"):
    rows = transplants()
    ids = rows["id"].to_numpy()
    return cox(
        rows["Tstart"].to_numpy(), rows["Tstop"].to_numpy(), rows["status"].to_numpy() == 1,
        transplant_covariates(rows), names=NAMES, stratum=rows["trans"].to_numpy(), ties=ties,
        weights=1 + (ids % 3) / 2 if kind == "weighted" else None,
        cluster=None if kind == "shared" else ids,
    )  # fmt: skip


@TIES
@pytest.mark.parametrize("kind", ["shared", "weighted", "robust"])
def test_coefficients_and_covariances_of_twelve_strata_are_those_of_coxph(ties, kind):
    expected = R[f"{kind}_{ties}"]
    found = transplant_model(ties, kind)
    np.testing.assert_allclose(found.coefficients, expected["beta"], **CLOSE)
    np.testing.assert_allclose(found.covariance.ravel(), expected["covariance"], **CLOSE)
    both = [found.null_log_likelihood, found.log_likelihood]
    np.testing.assert_allclose(both, expected["log_likelihood"], rtol=1e-12)
    if kind == "shared":
        assert found.robust_covariance is None
    else:
        np.testing.assert_allclose(found.robust_covariance.ravel(), expected["robust"], **CLOSE)


@TIES
def test_predicted_hazards_far_from_zero_are_those_of_survfit(ties):
    """A baseline taken at one place and used as if from another is off by exp(mean * beta)."""
    expected = R[f"hazard_{ties}"]
    model = transplant_model(ties)
    shape = (len(expected["time"]), 12)
    for way in range(12):
        found = model.cumulative_hazard(PATIENT, str(way + 1), times=expected["time"])
        np.testing.assert_allclose(found.hazard, expected["hazard"].reshape(shape)[:, way], **CLOSE)
        np.testing.assert_allclose(
            np.sqrt(found.variance), expected["error"].reshape(shape)[:, way], **CLOSE
        )
    # The error would show here: the mean year alone makes a factor of e to the 25.
    assert abs(model.reference @ model.coefficients) > 10


@TIES
def test_occupation_for_a_patient_is_the_product_of_hazards_that_r_predicts(ties):
    rows = intervals(transplants())
    seen = Transitions.from_frame(rows, [str(k) for k in range(1, 7)])
    model = cox_transitions(seen, transplant_covariates(rows), names=NAMES, ties=ties)
    expected = R[f"own_{ties}"]
    for h, j, one in zip(model.origin, model.target, model.models, strict=True):
        np.testing.assert_allclose(one.coefficients, expected[f"{h + 1}{j + 1}"], **CLOSE)
    found = model.occupation(PATIENT, initial=[1, 0, 0, 0, 0, 0], times=expected["time"])
    np.testing.assert_allclose(found.occupation.ravel(), expected["occupation"], **CLOSE)
    assert model.to_frame().height == 12 * 4
    (warning,) = model.warnings
    assert warning.startswith("2 to 6: 39 events for 4 coefficients are fewer than 10 for each")


@TIES
def test_shared_coefficients_are_those_of_one_model_with_transitions_as_strata(ties):
    rows = intervals(transplants())
    seen = Transitions.from_frame(rows, [str(k) for k in range(1, 7)])
    model = cox_transitions(seen, transplant_covariates(rows), names=NAMES, ties=ties, shared=True)
    np.testing.assert_allclose(model.models[0].coefficients, R[f"shared_{ties}"]["beta"], **CLOSE)
    found = model.cumulative_hazard(PATIENT, "1", "2", times=R[f"hazard_{ties}"]["time"])
    first = R[f"hazard_{ties}"]["hazard"].reshape(-1, 12)[:, 0]
    np.testing.assert_allclose(found.hazard, first, **CLOSE)
    assert model.to_frame()["transition"].unique().to_list() == ["all"]


@TIES
def test_end_of_an_intensive_stay_by_age_is_that_of_coxph(ties):
    rows = intensive_care()
    model = cox(
        rows["entry"].to_numpy(), rows["exit"].to_numpy(), (rows["to"] == "2").to_numpy(),
        np.column_stack([rows["age"], rows["sex"] == "F"]), names=["age", "female"],
        stratum=rows["from"].to_numpy(), ties=ties,
    )  # fmt: skip
    expected, curve = R[f"icu_{ties}"], R[f"icu_hazard_{ties}"]
    np.testing.assert_allclose(model.coefficients, expected["beta"], **CLOSE)
    np.testing.assert_allclose(model.covariance.ravel(), expected["covariance"], **CLOSE)
    found = model.cumulative_hazard([80, 1], "1", times=curve["time"])
    np.testing.assert_allclose(found.hazard, curve["hazard"], **CLOSE)
    np.testing.assert_allclose(np.sqrt(found.variance), curve["error"], **CLOSE)
