"""Performance of predicted probabilities, under weights: many resamples at once.

Every figure takes outcomes and predictions of shape (n,) and weights of shape
(B, n), and returns B values: one for each resample. A weight counts how often
a row was drawn. Weights of one give the plain figure. NaN: not defined there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from neva.errors import UsageError

__all__ = [
    "area_under_roc",
    "average_precision",
    "brier",
    "calibration_error",
    "calibration_line",
    "in_order_met",
    "in_the_large",
    "net_benefit",
    "patient_weights",
    "positive_predictive_value",
    "sensitivity",
    "specificity",
]

Floats = npt.NDArray[np.float64]

#: So many weights are held at once.
AT_ONCE: Final = 4_000_000
_STEPS: Final = 60
_SMALL_STEP: Final = 1e-9
#: A slope or intercept beyond is none: the resample is separated.
_FURTHEST: Final = 50.0


def in_order_met(patient: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Number patients from 0 in the order in which their rows stand, shape (n,).

    What is drawn then depends on the rows and the seed, not on pseudonyms,
    which another import of the same data makes anew.

    Examples
    --------
    >>> in_order_met([70, 9, 70, 8]).tolist()
    [0, 1, 0, 2]
    """
    _, first, number = np.unique(
        np.asarray(patient).ravel(), return_index=True, return_inverse=True
    )
    place = np.empty(len(first), dtype=np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[number]


def patient_weights(
    patient: npt.ArrayLike, resamples: int, *, rng: np.random.Generator
) -> Iterator[Floats]:
    """Draw patients with replacement; yield how often each row is drawn.

    Parameters
    ----------
    patient : array_like, shape (n,)
        Whose row it is: all rows of a patient are drawn together.
    resamples : int
    rng : numpy.random.Generator

    Yields
    ------
    numpy.ndarray
        Shape (b, n), with b adding up to `resamples`.

    References
    ----------
    Efron B (1979), doi:10.1214/aos/1176344552.

    Examples
    --------
    >>> drawn = next(patient_weights([7, 7, 9], 2, rng=np.random.default_rng(1)))
    >>> bool((drawn[:, 0] == drawn[:, 1]).all()), drawn.shape
    (True, (2, 3))
    """
    if resamples < 1:
        message = f"resamples: at least 1 is needed; found {resamples}; give for example 1000"
        raise UsageError(message)
    number = in_order_met(patient)
    if not len(number):
        return
    patients = int(number.max()) + 1
    step = max(1, AT_ONCE // len(number))
    even = np.full(patients, 1 / patients)
    for first in range(0, resamples, step):
        size = min(step, resamples - first)
        yield rng.multinomial(patients, even, size=size)[:, number].astype(np.float64)


def _share(part: Floats, whole: Floats) -> Floats:
    found: Floats = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return found


def _by_value(y: Floats, x: Floats, w: Floats, *, falling: bool) -> tuple[Floats, Floats]:
    """Weights of events and of others for each distinct prediction, in order."""
    order = np.argsort(-x if falling else x, kind="stable")
    ordered = x[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    events = np.add.reduceat(w[:, order] * y[order], starts, axis=1)
    others = np.add.reduceat(w[:, order] * (1 - y[order]), starts, axis=1)
    return events, others


def area_under_roc(y: Floats, x: Floats, w: Floats) -> Floats:
    """Share of (event, no event) pairs ranked rightly, ties half; 0.5 is chance.

    Examples
    --------
    >>> y, x = np.array([0.0, 1, 0, 1]), np.array([0.1, 0.4, 0.4, 0.8])
    >>> area_under_roc(y, x, np.ones((1, 4)))
    array([0.875])
    """
    events, others = _by_value(y, x, w, falling=False)
    below = np.cumsum(others, axis=1) - others
    return _share((events * (below + others / 2)).sum(1), events.sum(1) * others.sum(1))


def average_precision(y: Floats, x: Floats, w: Floats) -> Floats:
    """Area under precision over recall, in steps; the event share is chance."""
    events, others = _by_value(y, x, w, falling=True)
    found, flagged = np.cumsum(events, axis=1), np.cumsum(events + others, axis=1)
    precision = np.divide(found, flagged, out=np.zeros_like(found), where=flagged > 0)
    return _share((events * precision).sum(1), events.sum(1))


def brier(y: Floats, p: Floats, w: Floats) -> Floats:
    """Mean squared difference of probability and outcome; lower is better."""
    return _share(w @ (p - y) ** 2, w.sum(1))


def calibration_error(y: Floats, p: Floats, w: Floats, *, groups: int = 10) -> Floats:
    """Mean distance of predicted and observed share over groups of rising probability.

    The expected calibration error (ECE) with groups of equal size; the groups
    are those of the whole sample. It is never negative: a perfect model has
    some, the more the fewer cases there are.
    """
    order = np.argsort(p, kind="stable")
    first = np.searchsorted(p[order], p, side="left")
    group = first * groups // max(len(p), 1)
    total = np.zeros(len(w))
    for one in np.unique(group):
        inside = group == one
        total += np.abs(w[:, inside] @ (y - p)[inside])
    return _share(total, w.sum(1))


def _logits(p: Floats) -> Floats:
    if ((p <= 0) | (p >= 1)).any():
        message = (
            "predictions: some probabilities are exactly 0 or 1, whose log-odds are infinite; "
            "ask no calibration line of a yes-or-no rule"
        )
        raise UsageError(message)
    return np.asarray(special.logit(p), dtype=np.float64)


def in_the_large(y: Floats, p: Floats, w: Floats) -> Floats:
    """Intercept with the slope fixed at 1: 0 is right, above 0 predictions are too low."""
    x = _logits(p)
    at = np.zeros(len(w))
    both = ((w @ y) > 0) & ((w @ (1 - y)) > 0)
    for _ in range(_STEPS):
        fitted = special.expit(x[None, :] + at[:, None])
        slope = (w * fitted * (1 - fitted)).sum(1)
        step = _share((w * (y - fitted)).sum(1), slope)
        step = np.clip(np.nan_to_num(step), -2, 2)
        at = at + step
        if np.abs(step[both]).max(initial=0.0) < _SMALL_STEP:
            break
    return np.where(both & (np.abs(at) < _FURTHEST), at, np.nan)


def calibration_line(y: Floats, p: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Intercept and slope of outcomes on the log-odds; 0 and 1 are right.

    A slope below 1: predictions are too extreme. NaN where a resample has one
    outcome only or is separated.

    References
    ----------
    Cox DR (1958), doi:10.1093/biomet/45.3-4.562.
    """
    x = _logits(p)
    a, b = np.zeros(len(w)), np.ones(len(w))
    both = ((w @ y) > 0) & ((w @ (1 - y)) > 0)

    def likelihood(intercept: Floats, slope: Floats) -> Floats:
        eta = intercept[:, None] + slope[:, None] * x[None, :]
        return np.asarray((w * (y * eta - np.logaddexp(0, eta))).sum(1))

    moved = np.full(len(w), np.inf)
    current = likelihood(a, b)
    for _ in range(_STEPS):
        fitted = special.expit(a[:, None] + b[:, None] * x[None, :])
        v = w * fitted * (1 - fitted)
        left = w * (y - fitted)
        s0, s1, s2 = v.sum(1), v @ x, v @ (x * x)
        g0, g1 = left.sum(1), left @ x
        determinant = s0 * s2 - s1 * s1
        da = np.nan_to_num(_share(s2 * g0 - s1 * g1, determinant))
        db = np.nan_to_num(_share(s0 * g1 - s1 * g0, determinant))
        # Far from the maximum a whole step may overshoot: it is halved until it climbs.
        moved = np.maximum(np.abs(da), np.abs(db))
        scale = np.minimum(1.0, 5.0 / np.maximum(moved, 1e-300))
        trial = likelihood(a + scale * da, b + scale * db)
        for _ in range(_STEPS):
            falls = trial < current - 1e-9 * np.abs(current)
            if not falls.any():
                break
            scale = np.where(falls, scale / 2, scale)
            trial = likelihood(a + scale * da, b + scale * db)
        a, b, current = a + scale * da, b + scale * db, trial
        if moved[both].max(initial=0.0) < _SMALL_STEP:
            break
    fine = both & (np.abs(b) < _FURTHEST) & (moved < 1e-6)
    return np.where(fine, a, np.nan), np.where(fine, b, np.nan)


def sensitivity(y: Floats, flagged: npt.NDArray[np.bool_], w: Floats) -> Floats:
    """Share of events that were flagged."""
    return _share(w @ (y * flagged), w @ y)


def specificity(y: Floats, flagged: npt.NDArray[np.bool_], w: Floats) -> Floats:
    """Share of the others that were not flagged."""
    return _share(w @ ((1 - y) * ~flagged), w @ (1 - y))


def positive_predictive_value(y: Floats, flagged: npt.NDArray[np.bool_], w: Floats) -> Floats:
    """Share of the flagged that had the event."""
    return _share(w @ (y * flagged), w @ flagged.astype(np.float64))


def net_benefit(y: Floats, p: Floats, w: Floats, *, threshold: float) -> Floats:
    """True positives less false positives at the odds of the threshold, per case.

    A case is flagged from the threshold on (``p >= threshold``).

    References
    ----------
    Vickers AJ, Elkin EB (2006), doi:10.1177/0272989X06295361.

    Examples
    --------
    >>> y, p = np.array([0.0, 1, 0, 1]), np.array([0.1, 0.4, 0.4, 0.8])
    >>> net_benefit(y, p, np.ones((1, 4)), threshold=0.25).round(6)
    array([0.416667])
    """
    if not 0 < threshold < 1:
        message = f"threshold: must lie in (0, 1); found {threshold}; give for example 0.2"
        raise UsageError(message)
    flagged = p >= threshold
    odds = threshold / (1 - threshold)
    return _share(w @ (flagged * (y - odds * (1 - y))), w.sum(1))
