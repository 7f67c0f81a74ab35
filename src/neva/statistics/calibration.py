"""Do predicted probabilities agree with what happened: calibration and discrimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import special, stats

from neva.errors import UsageError
from neva.statistics.intervals import proportion_interval, rate_interval

__all__ = [
    "Calibration",
    "LogisticFit",
    "brier_score",
    "c_statistic",
    "calibration",
    "calibration_curve",
    "logistic_recalibration",
]

FloatArray = npt.NDArray[np.float64]

#: Why an intercept or slope cannot be estimated.
NotEstimable = Literal["no-outcomes", "all-outcomes", "separated", "constant-predictor", "no-cases"]

_MOST_STEPS = 100
_SMALL_STEP = 1e-10
# As a share of the predictor's range.
_SMALL_OVERLAP = 1e-9
# Below this a predictor is constant: its square would be 0 in floating point.
_SMALLEST_RANGE = 1e-100


def _pairs(outcome: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    y = np.asarray(outcome, dtype=np.float64).ravel()
    x = np.asarray(predicted, dtype=np.float64).ravel()
    if len(y) != len(x):
        raise UsageError(f"outcome: {len(y)} elements for {len(x)} predictions; give pairs")
    if not np.isin(y, (0.0, 1.0)).all():
        raise UsageError("outcome: has values other than 0 and 1; leave out unknown outcomes first")
    if not np.isfinite(x).all():
        raise UsageError("predictions: some are missing or infinite; leave them out and count them")
    return y, x


def _probabilities(
    outcome: npt.ArrayLike, predicted: npt.ArrayLike
) -> tuple[FloatArray, FloatArray]:
    y, p = _pairs(outcome, predicted)
    if ((p < 0) | (p > 1)).any():
        raise UsageError(
            "predictions: some are not probabilities (0-1); convert per cent or scores first"
        )
    return y, p


def brier_score(outcome: npt.ArrayLike, probability: npt.ArrayLike) -> float | None:
    """Return the mean squared difference of probability and outcome; lower is better.

    Parameters
    ----------
    outcome : array_like of 0 and 1, shape (n,)
    probability : array_like of float, shape (n,)

    Returns
    -------
    float or None
        0-1; missing without cases. Predicting the event share for everyone
        scores ``share * (1 - share)``.

    References
    ----------
    Brier GW (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    Examples
    --------
    >>> round(brier_score([0, 1], [0.2, 0.6]), 6)
    0.1
    """
    y, p = _probabilities(outcome, probability)
    return float(np.mean((p - y) ** 2)) if len(y) else None


def c_statistic(outcome: npt.ArrayLike, predicted: npt.ArrayLike) -> float | None:
    """Return the share of (event, no event) pairs that are ranked rightly; ties count half.

    Parameters
    ----------
    outcome : array_like of 0 and 1, shape (n,)
    predicted : array_like of float, shape (n,)
        Probability, score or linear predictor: only its order matters.

    Returns
    -------
    float or None
        Area under the ROC curve: 0.5 is chance. Missing when all outcomes are
        the same, since there are then no pairs.

    References
    ----------
    Hanley JA, McNeil BJ (1982), doi:10.1148/radiology.143.1.7063747.

    Examples
    --------
    >>> c_statistic([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.8])
    0.875
    """
    y, x = _pairs(outcome, predicted)
    events = float(y.sum())
    others = len(y) - events
    if not events or not others:
        return None
    ranks = float(stats.rankdata(x)[y == 1].sum())
    return (ranks - events * (events + 1) / 2) / (events * others)


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """A logistic regression of the outcome on one linear predictor.

    ``logit(p) = intercept + slope * predictor``

    Attributes
    ----------
    intercept, slope : float or None
        Missing where they cannot be estimated.
    intercept_error, slope_error : float or None
        Standard errors; `slope_error` is missing where the slope was fixed.
    problem : str or None
        ``no-cases``, ``no-outcomes``, ``all-outcomes``, ``separated`` (the predictor
        splits outcomes perfectly or nearly so, and the best slope is beyond
        bounds) or ``constant-predictor``.
    """

    intercept: float | None
    slope: float | None
    intercept_error: float | None
    slope_error: float | None
    problem: NotEstimable | None = None


def _problem(y: FloatArray, x: FloatArray, *, free_slope: bool) -> NotEstimable | None:
    if not len(y):
        return "no-cases"
    if not y.any():
        return "no-outcomes"
    if y.all():
        return "all-outcomes"
    if free_slope:
        if x.max() - x.min() < _SMALLEST_RANGE:
            return "constant-predictor"
        with_event, without = x[y == 1], x[y == 0]
        # An overlap too small for floating point gives a slope without end, too.
        overlap = min(without.max() - with_event.min(), with_event.max() - without.min())
        if overlap <= _SMALL_OVERLAP * (x.max() - x.min()):
            return "separated"
    return None


def logistic_recalibration(
    outcome: npt.ArrayLike, predictor: npt.ArrayLike, *, fixed_slope: float | None = None
) -> LogisticFit:
    """Fit intercept and slope, or the intercept alone, by maximum likelihood.

    Parameters
    ----------
    outcome : array_like of 0 and 1, shape (n,)
    predictor : array_like of float, shape (n,)
        Linear predictor, logit of a probability.
    fixed_slope : float, optional
        Keeps the slope at this value (1 for calibration in the large).

    Returns
    -------
    LogisticFit

    Notes
    -----
    Newton's method on the log-likelihood (iteratively reweighted least
    squares), with steps halved until the likelihood does not fall.

    References
    ----------
    Cox DR (1958), doi:10.1093/biomet/45.3-4.562.

    Examples
    --------
    >>> fit = logistic_recalibration([0, 0, 0, 1], [0, 0, 0, 0], fixed_slope=1.0)
    >>> round(fit.intercept, 6) == round(float(np.log(1 / 3)), 6)
    True
    >>> logistic_recalibration([0, 0, 1], [-1.0, 0.0, 2.0]).problem
    'separated'
    """
    y, x = _pairs(outcome, predictor)
    problem = _problem(y, x, free_slope=fixed_slope is None)
    if problem:
        return LogisticFit(None, None, None, None, problem)
    # Centred and scaled, so that a score of hundreds of points converges too.
    centre = float(x.mean())
    size = float(x.std()) if fixed_slope is None else 1.0
    scaled = (x - centre) / size
    if fixed_slope is None:
        design = np.column_stack([np.ones_like(scaled), scaled])
        offset = np.zeros_like(scaled)
    else:
        design = np.ones((len(scaled), 1))
        offset = fixed_slope * x
    beta = np.zeros(design.shape[1])
    if fixed_slope is not None:
        beta[0] = -float(np.mean(offset))

    def likelihood(values: FloatArray) -> float:
        eta = design @ values + offset
        return float(np.sum(y * eta - np.logaddexp(0, eta)))

    current = likelihood(beta)
    information = np.eye(design.shape[1])
    for _ in range(_MOST_STEPS):
        p = special.expit(design @ beta + offset)
        information = (design * (p * (1 - p))[:, None]).T @ design
        step = np.linalg.lstsq(information, design.T @ (y - p), rcond=None)[0]
        # Far from the maximum the weights vanish and the step is too long.
        step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-300))
        trial = likelihood(beta + step)
        while trial < current - 1e-9 * abs(current) and np.abs(step).max() > _SMALL_STEP:
            step /= 2
            trial = likelihood(beta + step)
        beta, current = beta + step, trial
        if np.abs(step).max() < _SMALL_STEP:
            break
    else:  # the slope still grows: separated but for a hair
        return LogisticFit(None, None, None, None, "separated")
    covariance = np.linalg.inv(information)
    if fixed_slope is not None:
        return LogisticFit(float(beta[0]), fixed_slope, float(np.sqrt(covariance[0, 0])), None)
    back = np.array([[1.0, -centre / size], [0.0, 1.0 / size]])
    beta, covariance = back @ beta, back @ covariance @ back.T
    errors = np.sqrt(np.diag(covariance))
    return LogisticFit(float(beta[0]), float(beta[1]), float(errors[0]), float(errors[1]))


def calibration_curve(
    outcome: npt.ArrayLike, probability: npt.ArrayLike, *, groups: int = 10, level: float = 0.95
) -> pl.DataFrame:
    """Compare predicted and observed shares in groups of rising probability.

    Parameters
    ----------
    outcome : array_like of 0 and 1, shape (n,)
    probability : array_like of float, shape (n,)
    groups : int
        At most so many, of about equal size. Equal probabilities are never
        split, so there may be fewer.
    level : float
        Of the exact intervals of the observed shares.

    Returns
    -------
    polars.DataFrame
        ``group`` (from 1), ``n``, ``events``, ``lowest``, ``predicted`` (mean),
        ``highest``, ``observed``, ``lower``, ``upper``; shares 0-1.

    Examples
    --------
    >>> calibration_curve([0, 0, 1, 1], [0.1, 0.1, 0.4, 0.8], groups=2).select(
    ...     "group", "n", "events", "predicted", "observed").rows()
    [(1, 2, 0, 0.1, 0.0), (2, 2, 2, 0.6000000000000001, 1.0)]
    """
    y, p = _probabilities(outcome, probability)
    if groups < 1:
        raise UsageError(f"groups: {groups}; give at least 1")
    order = np.argsort(p, kind="stable")
    y, p = y[order], p[order]
    first_of_equals = np.searchsorted(p, p, side="left")
    group = first_of_equals * groups // max(len(p), 1)
    table = (
        pl.DataFrame({"cut": group, "y": y, "p": p})
        .group_by("cut", maintain_order=True)
        .agg(
            n=pl.len().cast(pl.Int64),
            events=pl.col("y").sum().cast(pl.Int64),
            lowest=pl.col("p").min(),
            predicted=pl.col("p").mean(),
            highest=pl.col("p").max(),
        )
        .drop("cut")
        .with_row_index("group", offset=1)
        .with_columns(pl.col("group").cast(pl.Int64))
    )
    found = proportion_interval(table["events"].to_numpy(), table["n"].to_numpy(), level)
    return table.with_columns(
        observed=pl.Series(found.estimate),
        lower=pl.Series(found.lower),
        upper=pl.Series(found.upper),
    )


@dataclass(frozen=True, eq=False)
class Calibration:
    """How predicted probabilities compare with outcomes in one set of cases.

    Attributes
    ----------
    n, events : int
    expected : float
        Sum of the probabilities.
    ratio, ratio_lower, ratio_upper : float or None
        Observed over expected with its exact Poisson interval; above 1, more
        events happened than predicted.
    in_the_large : LogisticFit
        Intercept with the slope fixed at 1; 0 is right, above 0 predictions are
        too low.
    recalibration : LogisticFit
        Intercept and slope; a slope below 1 means that predictions are too
        extreme.
    brier, brier_of_share : float or None
        Brier score, and that of predicting the event share for everyone.
    c_statistic : float or None
        Missing when all outcomes are the same.
    curve : polars.DataFrame
        See :func:`calibration_curve`.
    level : float
    """

    n: int
    events: int
    expected: float
    ratio: float | None
    ratio_lower: float
    ratio_upper: float
    in_the_large: LogisticFit
    recalibration: LogisticFit
    brier: float | None
    brier_of_share: float | None
    c_statistic: float | None
    curve: pl.DataFrame
    level: float

    def to_frame(self) -> pl.DataFrame:
        """Return one row of the summary figures; intervals of coefficients are Wald's."""
        z = float(stats.norm.ppf(0.5 + self.level / 2))

        def bounds(value: float | None, error: float | None, sign: int) -> float | None:
            return None if value is None or error is None else value + sign * z * error

        large, both = self.in_the_large, self.recalibration
        row: dict[str, Any] = {
            "n": self.n,
            "events": self.events,
            "expected": self.expected,
            "ratio": self.ratio,
            "ratio_lower": self.ratio_lower,
            "ratio_upper": self.ratio_upper,
            "in_the_large": large.intercept,
            "in_the_large_lower": bounds(large.intercept, large.intercept_error, -1),
            "in_the_large_upper": bounds(large.intercept, large.intercept_error, 1),
            "slope": both.slope,
            "slope_lower": bounds(both.slope, both.slope_error, -1),
            "slope_upper": bounds(both.slope, both.slope_error, 1),
            "problem": large.problem or both.problem,
            "brier": self.brier,
            "brier_of_share": self.brier_of_share,
            "c_statistic": self.c_statistic,
        }
        floats = {name: pl.Float64 for name in row if name not in {"n", "events", "problem"}}
        return pl.DataFrame([row], schema_overrides={**floats, "problem": pl.String})


def calibration(
    outcome: npt.ArrayLike, probability: npt.ArrayLike, *, groups: int = 10, level: float = 0.95
) -> Calibration:
    """Describe calibration and discrimination of predicted probabilities.

    Parameters
    ----------
    outcome : array_like of 0 and 1, shape (n,)
    probability : array_like of float, shape (n,)
        Strictly between 0 and 1: on the logit scale certainty is infinite.
    groups : int
        Of the curve.
    level : float
        Of the intervals.

    Returns
    -------
    Calibration
        Where all outcomes are the same, coefficients and c-statistic are
        missing and say why; counts, O/E, Brier score and curve are there.

    References
    ----------
    Cox DR (1958), doi:10.1093/biomet/45.3-4.562.

    Examples
    --------
    >>> found = calibration([0, 0, 0, 0], [0.1, 0.2, 0.1, 0.2])
    >>> found.events, round(found.expected, 3), found.ratio, found.recalibration.problem
    (0, 0.6, 0.0, 'no-outcomes')
    """
    y, p = _probabilities(outcome, probability)
    if ((p <= 0) | (p >= 1)).any():
        raise UsageError(
            "predictions: some probabilities are exactly 0 or 1, which no outcome can recalibrate; "
            "leave them out and count them, or give the model's unrounded probabilities"
        )
    logit = special.logit(p)
    expected = float(p.sum())
    ratio = rate_interval(y.sum(), expected, level)
    share = float(y.mean()) if len(y) else None
    return Calibration(
        n=len(y),
        events=int(y.sum()),
        expected=expected,
        ratio=float(ratio.estimate[0]) if ratio.known[0] else None,
        ratio_lower=float(ratio.lower[0]),
        ratio_upper=float(ratio.upper[0]),
        in_the_large=logistic_recalibration(y, logit, fixed_slope=1.0),
        recalibration=logistic_recalibration(y, logit),
        brier=brier_score(y, p),
        brier_of_share=None if share is None else share * (1 - share),
        c_statistic=c_statistic(y, p),
        curve=calibration_curve(y, p, groups=groups, level=level),
        level=level,
    )
