from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.statistics import prediction_figures as figures

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
#: From weights (B, n) to B values.
Figure = Callable[[Floats], Floats]

SCHEMA = {
    "value": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "undefined": pl.Int64,
}


@dataclass
class Drawn:
    """Figures over the same resamples of patients: collected, then drawn in one pass.

    Every figure sees the same weights, so that differences are paired.
    """

    patient: npt.NDArray[np.int64]
    resamples: int
    level: float
    seed: int
    _asked: dict[tuple[str, ...], Figure] = field(default_factory=dict)

    def ask(self, key: tuple[str, ...], figure: Figure) -> None:
        self._asked[key] = figure

    def done(self) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], Floats]]:
        """Return each figure on the whole sample, and on every resample."""
        plain = np.ones((1, len(self.patient)))
        values = {key: float(figure(plain)[0]) for key, figure in self._asked.items()}
        parts: dict[tuple[str, ...], list[Floats]] = {key: [] for key in self._asked}
        rng = np.random.default_rng(self.seed)
        for weights in figures.patient_weights(self.patient, self.resamples, rng=rng):
            for key, figure in self._asked.items():
                parts[key].append(figure(weights))
        return values, {key: np.concatenate(found) for key, found in parts.items()}


def interval(value: float, drawn: Floats, level: float) -> dict[str, float | int | None]:
    """Percentile interval over the resamples in which the figure is defined."""
    known = drawn[~np.isnan(drawn)]
    undefined = len(drawn) - len(known)
    if np.isnan(value) or len(known) < len(drawn) / 2:
        estimate = None if np.isnan(value) else value
        return {"value": estimate, "lower": None, "upper": None, "undefined": undefined}
    tail = (1 - level) / 2
    lower, upper = np.quantile(known, [tail, 1 - tail])
    return {
        "value": value,
        "lower": float(lower),
        "upper": float(upper),
        "undefined": undefined,
    }


def mean_over(repeats: Floats, figure: Callable[[Floats, Floats], Floats]) -> Figure:
    """The mean of a figure over repeats of the resampling."""
    distinct = [repeats[0]] if (repeats == repeats[0]).all() else list(repeats)

    def found(weights: Floats) -> Floats:
        found: Floats = np.mean([figure(one, weights) for one in distinct], axis=0)
        return found

    return found


def alerts_a_hundred_days(flagged: Bools, days: Floats, weights: Floats) -> Floats:
    exposed = weights @ days
    found: Floats = np.divide(
        100 * (weights @ flagged.astype(np.float64)),
        exposed,
        out=np.full(len(weights), np.nan),
        where=exposed > 0,
    )
    return found


def of_predictions(
    y: Floats, repeats: Floats, *, yes_no: bool, threshold: float, days: Floats
) -> Mapping[str, Figure]:
    """Every figure of one predictor."""

    def over(figure: Callable[[Floats, Floats], Floats]) -> Figure:
        return mean_over(repeats, figure)

    made: dict[str, Figure] = {
        "auroc": over(lambda p, w: figures.area_under_roc(y, p, w)),
        "auprc": over(lambda p, w: figures.average_precision(y, p, w)),
        "brier": over(lambda p, w: figures.brier(y, p, w)),
    }
    if not yes_no:
        made |= {
            "in-the-large": over(lambda p, w: figures.in_the_large(y, p, w)),
            "slope": over(lambda p, w: figures.calibration_line(y, p, w)[1]),
            "ece": over(lambda p, w: figures.calibration_error(y, p, w)),
        }
    return made | {
        "sensitivity": over(lambda p, w: figures.sensitivity(y, p >= threshold, w)),
        "specificity": over(lambda p, w: figures.specificity(y, p >= threshold, w)),
        "ppv": over(lambda p, w: figures.positive_predictive_value(y, p >= threshold, w)),
        "net-benefit": over(lambda p, w: figures.net_benefit(y, p, w, threshold=threshold)),
        "alerts": over(lambda p, w: alerts_a_hundred_days(p >= threshold, days, w)),
    }


def groups_of(p: Floats, groups: int) -> npt.NDArray[np.int64]:
    """Groups of rising probability, of about equal size; equal ones stay together."""
    first = np.searchsorted(np.sort(p), p, side="left")
    found = first * groups // max(len(p), 1)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)
