"""Regression of counts: a negative binomial model with logarithmic link.

scikit-learn has the Poisson model without standard errors and no negative
binomial one; what is needed here is the textbook's iteration in a few lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from neva.errors import UsageError

__all__ = ["CountRegression", "count_regression"]

Floats = npt.NDArray[np.float64]

#: Above this the negative binomial is a Poisson for every purpose here.
_LARGEST_SHAPE = 1e7
#: Steps of either iteration; a dozen are usual.
_STEPS = 100


@dataclass(frozen=True, slots=True)
class CountRegression:
    """A fitted model ``log(mean) = X @ coefficients + offset``.

    Attributes
    ----------
    coefficients : array, shape (p,)
    covariance : array, shape (p, p)
        From the information matrix, the penalty included.
    shape : float
        The variance is ``mean + mean**2 / shape``; infinite: Poisson.
    log_likelihood : float
        Without penalty, weighted.
    rows : int
        How many counts it was fitted to.
    """

    coefficients: Floats
    covariance: Floats
    shape: float
    log_likelihood: float
    rows: int

    def mean(self, design: npt.ArrayLike, offset: npt.ArrayLike = 0.0) -> Floats:
        """Return the mean for each row of `design`, shape (n, p)."""
        mean: Floats = np.exp(np.asarray(design) @ self.coefficients + np.asarray(offset))
        return mean

    def draws(self, count: int, rng: np.random.Generator) -> Floats:
        """Return coefficients drawn from their approximate distribution, shape (count, p)."""
        return rng.multivariate_normal(
            self.coefficients, self.covariance, size=count, method="cholesky"
        )


def _log_likelihood(counts: Floats, mean: Floats, shape: float, weights: Floats) -> float:
    if math.isinf(shape):
        each = counts * np.log(mean) - mean - gammaln(counts + 1)
    else:
        each = (
            gammaln(counts + shape)
            - gammaln(shape)
            - gammaln(counts + 1)
            - shape * np.log1p(mean / shape)
            + counts * (np.log(mean) - np.log(shape + mean))
        )
    return float(weights @ each)


def _coefficients(
    design: Floats,
    counts: Floats,
    offset: Floats,
    weights: Floats,
    penalty: Floats,
    shape: float,
    begin: Floats,
) -> tuple[Floats, Floats]:
    """Newton's steps (Fisher scoring), halved where they overshoot."""
    beta = begin

    def value(at: Floats) -> float:
        linear = np.clip(design @ at + offset, -50, 50)
        return _log_likelihood(counts, np.exp(linear), shape, weights) - 0.5 * float(
            penalty @ at**2
        )

    current = value(beta)
    information = np.eye(len(beta))
    for _ in range(_STEPS):
        mean = np.exp(np.clip(design @ beta + offset, -50, 50))
        ratio = 1.0 if math.isinf(shape) else shape / (shape + mean)
        information = design.T @ (design * (weights * mean * ratio)[:, None]) + np.diag(penalty)
        gradient = design.T @ (weights * (counts - mean) * ratio) - penalty * beta
        step = np.linalg.solve(information, gradient)
        size = 1.0
        while size > 1e-8 and (reached := value(beta + size * step)) < current - 1e-12 * abs(
            current
        ):
            size /= 2
        if size <= 1e-8:
            break
        beta = beta + size * step
        gained, current = reached - current, reached
        if np.max(np.abs(step)) < 1e-10 or (size == 1.0 and abs(gained) < 1e-13 * abs(current)):
            break
    return beta, information


def _shape(counts: Floats, mean: Floats, weights: Floats) -> float:
    """Most likely shape given the means; infinite where counts vary no more than chance."""

    def minus(log_shape: float) -> float:
        return -_log_likelihood(counts, mean, math.exp(log_shape), weights)

    found = minimize_scalar(
        minus, bounds=(math.log(1e-3), math.log(_LARGEST_SHAPE)), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    shape = math.exp(found.x)
    if -found.fun <= _log_likelihood(counts, mean, math.inf, weights) + 1e-9:
        return math.inf
    return shape if shape < _LARGEST_SHAPE / 2 else math.inf


def count_regression(
    design: npt.ArrayLike,
    counts: npt.ArrayLike,
    *,
    offset: npt.ArrayLike = 0.0,
    weights: npt.ArrayLike | None = None,
    penalty: npt.ArrayLike = 0.0,
    poisson: bool = False,
) -> CountRegression:
    """Fit a negative binomial (or Poisson) regression by maximum likelihood.

    Parameters
    ----------
    design : array, shape (n, p)
        Put a column of ones into it for a constant.
    counts : array, shape (n,)
        Not negative.
    offset : float or array, shape (n,)
        Added to the linear predictor: the logarithm of an exposure.
    weights : array, shape (n,), optional
        How much each row counts.
    penalty : float or array, shape (p,)
        Half of it times the squared coefficient is taken off the
        log-likelihood: the inverse variance of a normal prior around 0.
    poisson : bool
        No over-dispersion.

    Raises
    ------
    UsageError
        Counts are negative or all zero, shapes do not fit, or columns of the
        design repeat each other without a penalty.

    Notes
    -----
    Coefficients given the shape by Fisher scoring and the shape given the
    coefficients in turn, until neither moves: the same maximum as ``glm.nb``
    of R's MASS (Venables & Ripley 2002, doi:10.1007/978-0-387-21706-2).
    """
    matrix = np.asarray(design, dtype=np.float64)
    observed = np.asarray(counts, dtype=np.float64)
    if matrix.ndim != 2 or observed.shape != matrix.shape[:1]:
        message = (
            f"count regression: rows do not fit; found a design of shape {matrix.shape} and "
            f"counts of shape {observed.shape}; give one row a count"
        )
        raise UsageError(message)
    if not np.all(np.isfinite(observed)) or np.any(observed < 0) or not np.any(observed > 0):
        message = (
            "count regression: counts must be finite, not negative and not all zero; found others; "
            "choose a period with events"
        )
        raise UsageError(message)
    rows, columns = matrix.shape
    weight = np.ones(rows) if weights is None else np.asarray(weights, dtype=np.float64)
    added = np.broadcast_to(np.asarray(offset, dtype=np.float64), (rows,))
    ridge = np.broadcast_to(np.asarray(penalty, dtype=np.float64), (columns,))
    free = matrix[:, ridge == 0]
    if free.shape[1] and np.linalg.matrix_rank(free * np.sqrt(weight)[:, None]) < free.shape[1]:
        message = (
            f"count regression: columns repeat each other; found rank below {free.shape[1]}; "
            "leave one out or give a penalty"
        )
        raise UsageError(message)
    start = np.linalg.lstsq(
        np.vstack([matrix, np.diag(np.sqrt(ridge + 1e-12))]),
        np.concatenate([np.log(observed + 0.5) - added, np.zeros(columns)]),
        rcond=None,
    )[0]
    shape = math.inf
    beta, information = _coefficients(matrix, observed, added, weight, ridge, shape, start)
    for _ in range(0 if poisson else _STEPS):
        mean = np.exp(np.clip(matrix @ beta + added, -50, 50))
        last, shape = shape, _shape(observed, mean, weight)
        beta, information = _coefficients(matrix, observed, added, weight, ridge, shape, beta)
        if shape == last or abs(shape - last) < 1e-9 * shape:
            break
    mean = np.exp(np.clip(matrix @ beta + added, -50, 50))
    covariance = np.linalg.inv(information)
    return CountRegression(
        coefficients=beta,
        covariance=(covariance + covariance.T) / 2,
        shape=shape,
        log_likelihood=_log_likelihood(observed, mean, shape, weight),
        rows=rows,
    )
