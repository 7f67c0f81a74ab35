"""Recalibration: predicted log-odds adjusted to observed outcomes.

Always learnt from predictions for patients that the model had not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from neva.errors import UsageError
from neva.models.members import probability
from neva.statistics.calibration import logistic_recalibration

__all__ = [
    "KINDS",
    "NONE",
    "RecalibrationKind",
    "RecalibrationMap",
    "fit_recalibration",
    "log_loss",
]

Floats = npt.NDArray[np.float64]

#: A smaller slope is none but for rounding.
_LEAST_SLOPE: Final = 1e-9
RecalibrationKind = Literal["none", "in-the-large", "intercept-and-slope", "isotonic"]
KINDS: Final[tuple[RecalibrationKind, ...]] = get_args(RecalibrationKind)

#: Isotonic shares of 0 and 1 are drawn in by so many patients of either outcome.
_HALF: Final = 0.5


@dataclass(frozen=True)
class RecalibrationMap:
    """From log-odds to log-odds; never falling.

    Attributes
    ----------
    kind : {"none", "in-the-large", "intercept-and-slope", "isotonic"}
    intercept, slope : float
        New log-odds = intercept + slope × log-odds (not for isotonic).
    steps : tuple of (float, float)
        Of isotonic: log-odds before and after; straight lines between, level
        beyond the first and the last.
    n, events : int
        Of the predictions that it was learnt from.
    """

    kind: RecalibrationKind = "none"
    intercept: float = 0.0
    slope: float = 1.0
    steps: tuple[tuple[float, float], ...] = ()
    n: int = 0
    events: int = 0

    def apply(self, log_odds: Floats) -> Floats:
        """Return recalibrated log-odds."""
        if self.kind == "isotonic":
            before, after = np.array(self.steps).T
            return np.asarray(np.interp(log_odds, before, after), dtype=np.float64)
        return self.intercept + self.slope * log_odds

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "kind": self.kind,
            "intercept": self.intercept,
            "slope": self.slope,
            "steps": [list(step) for step in self.steps],
            "n": self.n,
            "events": self.events,
        }

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> RecalibrationMap:
        """Read what :meth:`to_json` wrote."""
        steps = tuple((float(a), float(b)) for a, b in given["steps"])
        return cls(**{**given, "steps": steps})


NONE: Final = RecalibrationMap()


def fit_recalibration(
    kind: RecalibrationKind, outcome: Floats, log_odds: Floats
) -> RecalibrationMap:
    """Learn a recalibration from held-out predictions.

    Parameters
    ----------
    kind : {"none", "in-the-large", "intercept-and-slope", "isotonic"}
    outcome : numpy.ndarray of 0 and 1, shape (n,)
    log_odds : numpy.ndarray, shape (n,)
        Of patients that the model was not fitted to.

    Returns
    -------
    RecalibrationMap
        A slope that is not above zero would turn the model round, or predict the
        same for everybody: then the intercept alone is fitted.

    Raises
    ------
    UsageError
        There is no such kind, or all outcomes are the same.

    References
    ----------
    Cox DR (1958), doi:10.1093/biomet/45.3-4.562; Zadrozny B, Elkan C (2002),
    doi:10.1145/775047.775151.
    """
    y = np.asarray(outcome, dtype=np.float64)
    n, events = len(y), int(y.sum())
    if kind not in KINDS:
        message = f"recalibration: no such kind; found {kind!r}; give one of {', '.join(KINDS)}"
        raise UsageError(message)
    if kind == "none":
        return RecalibrationMap(n=n, events=events)
    if not 0 < events < n:
        message = (
            f"recalibration: needs cases with and without the outcome; found {events} of {n}; "
            "wait for more cases"
        )
        raise UsageError(message)
    if kind == "isotonic":
        return RecalibrationMap(kind, steps=_isotonic(y, log_odds), n=n, events=events)
    if kind == "intercept-and-slope":
        line = logistic_recalibration(y, log_odds)
        if line.intercept is not None and line.slope is not None and line.slope > _LEAST_SLOPE:
            return RecalibrationMap(kind, line.intercept, line.slope, n=n, events=events)
    moved = logistic_recalibration(y, log_odds, fixed_slope=1.0)
    return RecalibrationMap("in-the-large", float(moved.intercept or 0.0), n=n, events=events)


def _isotonic(y: Floats, log_odds: Floats) -> tuple[tuple[float, float], ...]:
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(log_odds, kind="stable")
    x = log_odds[order]
    share = IsotonicRegression(out_of_bounds="clip").fit(x, y[order]).predict(x)
    steps = []
    for value in np.unique(share):
        inside = share == value
        size = int(inside.sum())
        drawn = np.clip(value, _HALF / (size + 1), 1 - _HALF / (size + 1))
        after = float(np.log(drawn / (1 - drawn)))
        steps += [(float(x[inside].min()), after), (float(x[inside].max()), after)]
    # Drawing in must not turn the order round.
    heights = np.maximum.accumulate([after for _, after in steps])
    kept = dict(zip((before for before, _ in steps), heights.tolist(), strict=True))
    return tuple(sorted(kept.items()))


def log_loss(outcome: Floats, log_odds: Floats) -> float:
    """Return the mean negative log-likelihood; lower is better."""
    p = probability(log_odds)
    return float(-np.mean(outcome * np.log(p) + (1 - outcome) * np.log1p(-p)))
