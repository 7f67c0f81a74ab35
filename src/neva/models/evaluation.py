"""Performance of a model: discrimination, calibration, net benefit, burden, subgroups.

Every figure has an interval from redrawing patients, and its denominators
beside it. Nothing here fits anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.models import _resampled_figures as drawn_figures
from neva.models._subgroups import (
    ask_subgroups,
    frame_of,
    groups_of_cases,
    lead_of,
    missing_of,
    subgroups_of,
)
from neva.models.cases import Cases
from neva.statistics import prediction_figures as figures
from neva.statistics.intervals import Estimate, proportion_interval

__all__ = ["FIGURES", "MAIN", "ModelEvaluation", "evaluate_predictions"]

Floats = npt.NDArray[np.float64]

#: The predictor that others are compared with.
MAIN: Final = "model"

#: What each figure is, and which way is better.
FIGURES: Final = {
    "auroc": "AUROC: share of pairs ranked rightly; 0.5 is chance, higher is better",
    "auprc": "AUPRC: area under precision over recall; the share of outcomes is chance",
    "brier": "Brier score: mean squared error of the probability; lower is better",
    "in-the-large": "calibration in the large: 0 is right, above 0 the model says too little",
    "slope": "calibration slope: 1 is right, below 1 predictions are too extreme",
    "ece": "expected calibration error over ten groups; lower is better",
    "sensitivity": "share of outcomes that were flagged at the threshold",
    "specificity": "share of the others that were not flagged",
    "ppv": "positive predictive value: share of flagged cases with the outcome",
    "net-benefit": "net benefit at the threshold, per case",
    "alerts": "cases flagged per 100 patient-days",
}
#: Thresholds of the decision curve.
THRESHOLDS: Final = tuple(round(0.05 * k, 2) for k in range(1, 17))


@dataclass(frozen=True, eq=False)
class ModelEvaluation:
    """Performance of predictions for cases that were held out.

    Attributes
    ----------
    title : str
        Of the landmark.
    figures : polars.DataFrame
        ``predictor``, ``figure`` (a key of ``FIGURES``), ``value``, ``lower``,
        ``upper``, ``undefined`` (resamples without a value). Missing bounds: not
        defined in at least half of them.
    differences : polars.DataFrame
        ``figure`` (auroc, brier), ``predictor`` compared with, ``value`` (model less
        the other), ``lower``, ``upper``, ``undefined``; paired: the same patients.
    calibration_curve : polars.DataFrame
        Of the model: ``group``, ``n``, ``events``, ``predicted``, ``value`` (observed
        share), ``lower``, ``upper``, ``undefined``; exact intervals where each patient is
        one case, by redrawing patients otherwise.
    decision_curve : polars.DataFrame
        ``predictor`` (with ``all flagged``), ``threshold``, ``value``, ``lower``,
        ``upper``.
    subgroups : polars.DataFrame
        Of the model: ``by``, ``group``, ``n``, ``events``, ``patients``, ``figure``,
        ``value``, ``lower``, ``upper``.
    missing : polars.DataFrame
        ``feature``, ``missing``, ``missing_with_outcome``, ``missing_without``: shares.
    lead : Estimate
        Median hours from the first flagged case of a stay to the outcome.
    flagged_outcomes : int
        Stays with the outcome that were flagged at least once, of `outcomes`.
    outcomes : int
    n, events, patients : int
        Cases, cases with the outcome, patients.
    patient_days : float
    threshold, level : float
    resamples, repeats, seed : int
    left_out : dict of str to int
    """

    title: str
    figures: pl.DataFrame
    differences: pl.DataFrame
    calibration_curve: pl.DataFrame
    decision_curve: pl.DataFrame
    subgroups: pl.DataFrame
    missing: pl.DataFrame
    lead: Estimate
    flagged_outcomes: int
    outcomes: int
    n: int
    events: int
    patients: int
    patient_days: float
    threshold: float
    level: float
    resamples: int
    repeats: int
    seed: int
    left_out: dict[str, int]

    def to_frame(self) -> pl.DataFrame:
        """Return ``figures`` with the denominators."""
        return self.figures.with_columns(
            n=pl.lit(self.n),
            events=pl.lit(self.events),
            patients=pl.lit(self.patients),
            resamples=pl.lit(self.resamples),
        )

    def figure(self, predictor: str, figure: str) -> dict[str, float | None]:
        """Return value, lower and upper of one figure."""
        found = self.figures.filter(predictor=predictor, figure=figure)
        if not found.height:
            return {"value": None, "lower": None, "upper": None}
        return found.select("value", "lower", "upper").row(0, named=True)

    def difference(self, predictor: str, figure: str) -> dict[str, float | None]:
        """Return the model's figure less that of another."""
        found = self.differences.filter(predictor=predictor, figure=figure)
        return found.select("value", "lower", "upper").row(0, named=True)


def _checked_predictions(
    cases: Cases, predictions: Mapping[str, npt.ArrayLike]
) -> dict[str, Floats]:
    made = {name: np.atleast_2d(np.asarray(p, np.float64)) for name, p in predictions.items()}
    for name, p in made.items():
        if p.shape[1] != cases.frame.height:
            message = (
                f"{name}: a prediction for each case is needed; found {p.shape[1]} for "
                f"{cases.frame.height} cases; predict the same cases"
            )
            raise UsageError(message)
        if not ((p >= 0) & (p <= 1)).all():
            message = f"{name}: predictions must be probabilities (0-1); found others; convert them"
            raise UsageError(message)
    if not cases.frame.height:
        message = "evaluation: no case to judge by; found none; choose another landmark or hospital"
        raise UsageError(message)
    return made


def evaluate_predictions(
    cases: Cases,
    predictions: Mapping[str, npt.ArrayLike],
    *,
    main: str = MAIN,
    yes_no: frozenset[str] = frozenset(),
    threshold: float = 0.5,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 1,
    title: str = "",
) -> ModelEvaluation:
    """Evaluate predictions against observed outcomes.

    Parameters
    ----------
    cases : Cases
    predictions : mapping of str to array_like
        Probabilities, shape (n,) or (repeats, n): figures are means over repeats.
        For patients that the predictor was not fitted to.
    main : str
        The one that is compared with the others.
    yes_no : frozenset of str
        Those that only say 0 or 1: no calibration is asked of them.
    threshold : float
        A case is flagged from it on.
    level : float
        Of the intervals, 0-1.
    resamples : int
        Draws of patients; all rows of a patient are drawn together.
    seed : int
    title : str

    Returns
    -------
    ModelEvaluation

    Raises
    ------
    UsageError
        Predictions do not fit the cases, or are no probabilities.

    Notes
    -----
    Intervals say what other patients of the same kind would change. They do
    not hold the uncertainty of the fit, nor of another hospital.
    """
    found = _checked_predictions(cases, predictions)
    if main not in found:
        raise UsageError(f"main: no such predictor; found {main!r}; give one of {', '.join(found)}")
    if not 0 < threshold < 1:
        message = f"threshold: must lie in (0, 1); found {threshold}; give for example 0.2"
        raise UsageError(message)
    y, patient = cases.outcome, cases.patient
    days = cases.frame["patient_days"].to_numpy().astype(np.float64)
    drawn = drawn_figures.Drawn(patient, resamples, level, seed)
    for name, p in found.items():
        each = drawn_figures.of_predictions(
            y, p, yes_no=name in yes_no, threshold=threshold, days=days
        )
        for figure, compute in each.items():
            drawn.ask(("figure", name, figure), compute)
    _ask_calibration(drawn, y, found[main][0])
    _ask_decisions(drawn, y, found)
    groups = groups_of_cases(cases)
    ask_subgroups(drawn, y, found[main], groups, threshold)
    values, draws = drawn.done()

    def rows(kind: str) -> list[tuple[tuple[str, ...], dict[str, float | int | None]]]:
        return [
            (key[1:], drawn_figures.interval(values[key], draws[key], level))
            for key in values
            if key[0] == kind
        ]

    flagged = found[main][0] >= threshold
    lead, hit, outcomes = lead_of(cases, flagged, level)
    return ModelEvaluation(
        title=title,
        figures=frame_of(("predictor", "figure"), rows("figure")),
        differences=_differences(values, draws, main, level),
        calibration_curve=_curve(
            y, found[main][0], rows("calibration"), patients=len(np.unique(patient)), level=level
        ),
        decision_curve=frame_of(("predictor", "threshold"), rows("decision")).with_columns(
            pl.col("threshold").cast(pl.Float64)
        ),
        subgroups=subgroups_of(cases, groups, rows("subgroup")),
        missing=missing_of(cases),
        lead=lead,
        flagged_outcomes=hit,
        outcomes=outcomes,
        n=len(y),
        events=int(y.sum()),
        patients=len(np.unique(patient)),
        patient_days=float(days.sum()),
        threshold=threshold,
        level=level,
        resamples=resamples,
        repeats=max(len(p) for p in found.values()),
        seed=seed,
        left_out=dict(cases.left_out),
    )


def _differences(
    values: Mapping[tuple[str, ...], float],
    draws: Mapping[tuple[str, ...], Floats],
    main: str,
    level: float,
) -> pl.DataFrame:
    rows = []
    others = {key[1] for key in values if key[0] == "figure"} - {main}
    for figure in ("auroc", "brier"):
        mine = ("figure", main, figure)
        for other in sorted(others):
            key = ("figure", other, figure)
            difference = drawn_figures.interval(
                values[mine] - values[key], draws[mine] - draws[key], level
            )
            rows.append(((figure, other), difference))
    return frame_of(("figure", "predictor"), rows)


def _ask_calibration(drawn: drawn_figures.Drawn, y: Floats, p: Floats) -> None:
    group = drawn_figures.groups_of(p, 10)
    for one in range(int(group.max()) + 1):
        inside = (group == one).astype(np.float64)
        drawn.ask(
            ("calibration", str(one + 1)),
            lambda w, inside=inside: figures.sensitivity(inside, y == 1, w),  # type: ignore[misc]
        )


def _curve(
    y: Floats,
    p: Floats,
    rows: list[tuple[tuple[str, ...], dict[str, float | int | None]]],
    *,
    patients: int,
    level: float,
) -> pl.DataFrame:
    group = drawn_figures.groups_of(p, 10)
    points = (
        pl.DataFrame({"group": group + 1, "y": y, "p": p})
        .group_by("group")
        .agg(
            n=pl.len().cast(pl.Int64),
            events=pl.col("y").sum().cast(pl.Int64),
            predicted=pl.col("p").mean(),
        )
        .sort("group")
    )
    if patients == len(y):
        # Redrawing 36 patients without an outcome never shows one: the exact interval does.
        exact = proportion_interval(points["events"].to_numpy(), points["n"].to_numpy(), level)
        return points.with_columns(
            value=pl.Series(exact.estimate),
            lower=pl.Series(exact.lower),
            upper=pl.Series(exact.upper),
            undefined=pl.lit(0, dtype=pl.Int64),
        )
    observed = frame_of(("group",), rows).with_columns(pl.col("group").cast(pl.Int64))
    return points.join(observed, on="group").sort("group")


def _ask_decisions(drawn: drawn_figures.Drawn, y: Floats, found: Mapping[str, Floats]) -> None:
    for threshold in THRESHOLDS:
        everyone = np.ones_like(y)
        for name, p in [*found.items(), ("all flagged", everyone[None, :])]:
            drawn.ask(
                ("decision", name, str(threshold)),
                drawn_figures.mean_over(
                    p,
                    lambda one, w, at=threshold: figures.net_benefit(y, one, w, threshold=at),  # type: ignore[misc]
                ),
            )
