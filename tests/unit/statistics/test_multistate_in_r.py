"""Real data: the same numbers as R (tests/oracles/multistate_numbers.R)."""

import numpy as np
import pytest
from tests.multistate_data import infections, intensive_care, intervals, numbers, transplants

from neva.statistics.extra_stay import extra_stay
from neva.statistics.multistate import (
    aalen_johansen,
    cumulative_incidence,
    nelson_aalen,
    transition_probabilities,
)
from neva.statistics.transitions import Transitions

R = numbers("multistate_numbers.json")
EXACT = {"rtol": 1e-8, "atol": 1e-12}


def icu():
    return Transitions.from_frame(intensive_care(), ["0", "1", "2"])


def six_states():
    return Transitions.from_frame(intervals(transplants()), [str(k) for k in range(1, 7)])


@pytest.mark.parametrize(
    ("name", "data", "start"),
    [("sir", icu, 0), ("sir_from_5", icu, 5), ("ebmt", six_states, 0),
     ("ebmt_from_100", six_states, 100)],
)  # fmt: skip
def test_transition_probabilities_and_their_covariance_are_those_of_etm(name, data, start):
    seen = data()
    expected = R[name]
    found = transition_probabilities(seen, start=start, times=expected["time"])
    np.testing.assert_allclose(
        found.probability, expected["probability"].reshape(found.probability.shape), **EXACT
    )
    # Ours: (k, h, j, a, b); R's the same, from (h, j) to (a, b).
    np.testing.assert_allclose(
        found.covariance, expected["covariance"].reshape(found.covariance.shape), **EXACT
    )


def test_log_log_limits_are_those_of_etm():
    expected = R["sir_limits"]
    lower, upper = transition_probabilities(icu(), times=expected["time"]).limits()
    np.testing.assert_allclose(lower[:, 0, 1], expected["lower"], **EXACT)
    np.testing.assert_allclose(upper[:, 0, 1], expected["upper"], **EXACT)


@pytest.mark.parametrize("weighted", [False, True])
def test_occupation_from_the_first_states_is_that_of_survfit(weighted):
    expected = R["sir_survfit_weighted" if weighted else "sir_survfit"]
    frame = intensive_care()
    if weighted:
        frame = frame.with_columns(weight=1 + (frame["id"] % 3) / 2)
    seen = Transitions.from_frame(frame, ["0", "1", "2"])
    found = aalen_johansen(seen, times=expected["time"])
    np.testing.assert_allclose(found.initial, expected["initial"], **EXACT)
    shape = found.occupation.shape
    np.testing.assert_allclose(found.occupation, expected["occupation"].reshape(shape), **EXACT)


@pytest.mark.parametrize(("origin", "target"), [(0, 1), (1, 0), (1, 2)])
def test_cumulative_hazards_are_those_of_survfit(origin, target):
    expected = R[f"hazard_{origin}{target}"]
    found = nelson_aalen(icu(), times=expected["time"])
    way = np.flatnonzero((found.origin == origin) & (found.target == target))[0]
    np.testing.assert_allclose(found.hazard[:, way], expected["hazard"], **EXACT)
    np.testing.assert_allclose(np.sqrt(found.variance[:, way]), expected["error"], **EXACT)


def test_cumulative_incidence_and_its_variance_are_those_of_cmprsk():
    expected = R["infection"]
    seen = Transitions.from_frame(infections(), ["0", "1", "2", "3"])
    found = cumulative_incidence(seen)
    assert found.causes == ("1", "2", "3")
    at = np.searchsorted(found.times, expected["time"], side="right") - 1
    shape = (len(at), 3)
    np.testing.assert_allclose(found.incidence[at], expected["incidence"].reshape(shape), **EXACT)
    np.testing.assert_allclose(found.variance[at], expected["variance"].reshape(shape), **EXACT)


def test_extra_stay_due_to_hospital_infection_is_that_of_clos():
    expected = R["extra_days"]
    found = extra_stay(Transitions.from_frame(infections(), ["0", "1", "2", "3"]))
    assert found.extra == pytest.approx(expected["estimate"][0], rel=1e-10)
    at = np.searchsorted(found.times, expected["time"], side="right") - 1
    np.testing.assert_allclose(found.exposed[at], expected["exposed"], **EXACT)
    np.testing.assert_allclose(found.unexposed[at], expected["unexposed"], **EXACT)
