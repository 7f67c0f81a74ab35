"""Regression of counts against R's MASS."""

import numpy as np
import pytest

from neva.errors import UsageError
from neva.statistics.counts import count_regression

# R 4.2.2, MASS 7.3-58: with COUNTS as y,
# x <- seq(-1, 1, length.out = 60); g <- rep(0:2, 20)
# glm.nb(y ~ x + factor(g)); glm(y ~ x + factor(g), family = poisson)
COUNTS = np.array(
    [2, 11, 14, 5, 5, 13, 20, 22, 6, 6, 15, 7, 14, 6, 32, 53, 57, 14, 16, 16, 17, 40, 43, 46, 8, 23,
     23, 28, 34, 36, 38, 3, 5, 11, 24, 45, 5, 6, 6, 9, 13, 23, 25, 32, 53, 54, 5, 5, 11, 17, 19, 8,
     13, 14, 20, 47, 48, 60, 81, 2]
)  # fmt: skip
DESIGN = np.column_stack(
    [np.ones(60), np.linspace(-1, 1, 60), np.tile([0, 1, 0], 20), np.tile([0, 0, 1], 20)]
)


def test_the_negative_binomial_model_equals_that_of_r():
    found = count_regression(DESIGN, COUNTS)
    r = [3.0567264827177452, 0.3829853100028678, 0.0740818425827409, -0.0130730355791638]
    errors = [0.172303515361659, 0.169515441310721, 0.243259771893610, 0.243816756540925]
    assert found.coefficients == pytest.approx(r, abs=1e-7)
    assert found.shape == pytest.approx(1.83555756879968, rel=1e-6)
    assert found.log_likelihood == pytest.approx(-241.264056436461, abs=1e-8)
    assert np.sqrt(np.diag(found.covariance)) == pytest.approx(errors, rel=1e-6)


def test_the_poisson_model_equals_that_of_r():
    found = count_regression(DESIGN, COUNTS, poisson=True)
    r = [3.0645657561130730, 0.3651249484689877, 0.0759805435921893, -0.0363687662152006]
    errors = [0.0482475447026832, 0.0473349365697093, 0.0665297556371820, 0.0682364715730586]
    assert found.coefficients == pytest.approx(r, abs=1e-9)
    assert np.sqrt(np.diag(found.covariance)) == pytest.approx(errors, rel=1e-8)
    assert np.isinf(found.shape)


def test_counts_that_vary_no_more_than_chance_are_poisson():
    found = count_regression(np.ones((40, 1)), np.tile([4, 5, 6, 5], 10))
    assert np.isinf(found.shape)
    assert found.mean([[1.0]]) == pytest.approx([5.0])


def test_a_weight_of_two_is_the_row_twice_and_an_offset_is_an_exposure():
    weights = np.where(np.arange(60) < 20, 2, 1)
    weighted = count_regression(DESIGN, COUNTS, weights=weights)
    twice = count_regression(np.repeat(DESIGN, weights, axis=0), np.repeat(COUNTS, weights))
    assert weighted.coefficients == pytest.approx(twice.coefficients, abs=1e-6)
    shifted = count_regression(DESIGN, COUNTS, offset=np.full(60, np.log(10)))
    plain = count_regression(DESIGN, COUNTS)
    assert shifted.coefficients[0] == pytest.approx(plain.coefficients[0] - np.log(10), abs=1e-6)


def test_a_penalty_draws_coefficients_to_zero_and_mends_repeated_columns():
    doubled = np.column_stack([DESIGN, DESIGN[:, 1]])
    with pytest.raises(UsageError, match="repeat each other"):
        count_regression(doubled, COUNTS)
    found = count_regression(doubled, COUNTS, penalty=[0, 5, 5, 5, 5])
    free = count_regression(DESIGN, COUNTS)
    assert abs(found.coefficients[1] + found.coefficients[4]) < abs(free.coefficients[1])


def test_draws_have_the_covariance_of_the_model():
    found = count_regression(DESIGN, COUNTS)
    drawn = found.draws(20_000, np.random.default_rng(1))
    assert np.cov(drawn.T) == pytest.approx(found.covariance, abs=2e-3)


@pytest.mark.parametrize("counts", [[0] * 60, [-1] + [1] * 59, [float("nan")] + [1] * 59])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(UsageError, match="not all zero"):
        count_regression(DESIGN, counts)


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="rows do not fit"):
        count_regression(DESIGN, COUNTS[:5])
