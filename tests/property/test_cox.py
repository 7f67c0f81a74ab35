"""Laws of Cox regression, and agreement with plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property import reference_cox as plain

from neva.statistics.cox import cox

BOTH = st.sampled_from(["efron", "breslow"])


@st.composite
def rows(draw):
    """Two covariates, two strata, ties, late entries; enough of each to have a maximum."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    n = draw(st.integers(30, 60))
    entry = rng.integers(0, 5, n)
    return [
        {
            "entry": float(entry[i]),
            "exit": float(entry[i] + rng.integers(1, 12)),
            "event": bool(rng.random() < 0.8),
            "stratum": i % 2,
            "weight": float(rng.integers(1, 4)),
            "x": (float(rng.normal()), float(i % 3 == 0)),
        }
        for i in range(n)
    ]


def fitted(data, ties, shift=(0.0, 0.0), scale=1.0, **more):
    column = {key: [row[key] for row in data] for key in data[0]}
    x = np.array(column["x"]) * scale + np.array(shift)
    return cox(
        column["entry"], column["exit"], column["event"], x, names=["one", "two"], ties=ties,
        **({"stratum": column["stratum"], "weights": column["weight"]} | more),
    )  # fmt: skip


@given(rows(), BOTH)
def test_the_coefficients_are_where_the_plain_likelihood_is_highest(data, ties):
    model = fitted(data, ties)
    best = plain.log_likelihood(data, model.coefficients, ties)
    # Ours is of covariates from their means: the likelihood does not know where zero is.
    assert model.log_likelihood == pytest.approx(best, abs=1e-8)
    for step in ([1e-3, 0], [-1e-3, 0], [0, 1e-3], [0, -1e-3]):
        assert plain.log_likelihood(data, model.coefficients + step, ties) < best
    # The covariance is the inverse of the curvature there.
    size = 1e-3
    curvature = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            a, b = np.eye(2)[i] * size, np.eye(2)[j] * size
            around = [
                plain.log_likelihood(data, model.coefficients + s * a + t * b, ties)
                for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1))
            ]
            curvature[i, j] = (around[0] - around[1] - around[2] + around[3]) / (4 * size**2)
    np.testing.assert_allclose(np.linalg.inv(-curvature), model.covariance, rtol=2e-3, atol=1e-5)


@given(rows(), BOTH, st.floats(-3, 3), st.floats(-2000, 2000))
def test_predictions_do_not_depend_on_where_covariates_have_their_zero(data, ties, value, shift):
    plainly = fitted(data, ties).cumulative_hazard([value, 1], "1")
    shifted = fitted(data, ties, shift=(shift, -shift)).cumulative_hazard(
        [value + shift, 1 - shift], "1"
    )
    np.testing.assert_allclose(shifted.hazard, plainly.hazard, rtol=1e-6)
    np.testing.assert_allclose(shifted.variance, plainly.variance, rtol=1e-6)
    beta = fitted(data, ties).coefficients
    direct = plain.cumulative_hazard(data, beta, ties, [value, 1], 1, 8)
    at = np.searchsorted(plainly.times, 8, side="right")
    assert np.append(0, plainly.hazard)[at] == pytest.approx(direct, rel=1e-9)


@given(rows(), BOTH)
def test_units_of_covariates_divide_coefficients(data, ties):
    one, thousand = fitted(data, ties), fitted(data, ties, scale=1000)
    np.testing.assert_allclose(thousand.coefficients * 1000, one.coefficients, rtol=1e-7, atol=1e-9)


@given(rows(), BOTH, st.floats(0.1, 0.9))
def test_an_interval_cut_in_two_is_still_one(data, ties, share):
    cut = []
    for number, row in enumerate(data):
        middle = row["entry"] + share * (row["exit"] - row["entry"])
        cut += [{**row, "exit": middle, "event": False, "id": number},
                {**row, "entry": middle, "id": number}]  # fmt: skip
    whole = fitted(data, ties, cluster=range(len(data)))
    halves = fitted(cut, ties, cluster=[row["id"] for row in cut])
    np.testing.assert_allclose(halves.coefficients, whole.coefficients, atol=1e-8)
    np.testing.assert_allclose(halves.covariance, whole.covariance, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(halves.robust_covariance, whole.robust_covariance, rtol=1e-6,
                               atol=1e-10)  # fmt: skip


@given(rows())
def test_with_breslow_a_weight_is_so_many_equal_rows(data):
    copies = [{**row, "weight": 1.0} for row in data for _ in range(int(row["weight"]))]
    one, two = fitted(data, "breslow"), fitted(copies, "breslow")
    np.testing.assert_allclose(one.coefficients, two.coefficients, atol=1e-8)
    np.testing.assert_allclose(one.covariance, two.covariance, rtol=1e-7)
    np.testing.assert_allclose(one.baselines[0].hazard, two.baselines[0].hazard, rtol=1e-7)


@given(rows(), BOTH, st.randoms(use_true_random=False))
def test_the_order_of_rows_means_nothing(data, ties, random):
    mixed = list(data)
    random.shuffle(mixed)
    np.testing.assert_allclose(
        fitted(mixed, ties).coefficients, fitted(data, ties).coefficients, atol=1e-8
    )
