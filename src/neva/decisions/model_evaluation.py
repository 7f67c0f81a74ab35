"""How good a model is: discrimination, calibration, net benefit, burden, subgroups.

Every figure has an interval from redrawing patients, and its denominators
beside it. Nothing here fits anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.decisions import _resampled_figures as drawn_figures
from neva.decisions.cases import Cases
from neva.errors import UsageError
from neva.statistics import prediction_figures as figures
from neva.statistics.intervals import Estimate, median_interval, proportion_interval

__all__ = ["FIGURES", "ModelEvaluation", "evaluate_predictions"]

Floats = npt.NDArray[np.float64]

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
AGE_BANDS: Final = ((0, 50), (50, 65), (65, 80), (80, 200))
#: A subgroup with fewer of either outcome has counts but no figures.
FEWEST: Final = 5


@dataclass(frozen=True, eq=False)
class ModelEvaluation:
    """What predictions were worth for cases they had not been made from.

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


def _checked(cases: Cases, predictions: Mapping[str, npt.ArrayLike]) -> dict[str, Floats]:
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
    main: str = "model",
    yes_no: frozenset[str] = frozenset(),
    threshold: float = 0.5,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 1,
    title: str = "",
) -> ModelEvaluation:
    """Judge predictions by what happened.

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
    found = _checked(cases, predictions)
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
    groups = _groups(cases)
    _ask_subgroups(drawn, y, found[main], groups, threshold)
    values, draws = drawn.done()

    def rows(kind: str) -> list[tuple[tuple[str, ...], dict[str, float | int | None]]]:
        return [
            (key[1:], drawn_figures.interval(values[key], draws[key], level))
            for key in values
            if key[0] == kind
        ]

    flagged = found[main][0] >= threshold
    lead, hit, outcomes = _lead(cases, flagged, level)
    return ModelEvaluation(
        title=title,
        figures=_frame(("predictor", "figure"), rows("figure")),
        differences=_differences(values, draws, main, level),
        calibration_curve=_curve(
            y, found[main][0], rows("calibration"), patients=len(np.unique(patient)), level=level
        ),
        decision_curve=_frame(("predictor", "threshold"), rows("decision")).with_columns(
            pl.col("threshold").cast(pl.Float64)
        ),
        subgroups=_subgroups(cases, groups, rows("subgroup")),
        missing=_missing(cases),
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


def _frame(
    names: Sequence[str], rows: Sequence[tuple[tuple[str, ...], dict[str, float | int | None]]]
) -> pl.DataFrame:
    schema = {**dict.fromkeys(names, pl.String), **drawn_figures.SCHEMA}
    made = [{**dict(zip(names, key, strict=True)), **told} for key, told in rows]
    return pl.DataFrame(made, schema=schema)


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
            told = drawn_figures.interval(
                values[mine] - values[key], draws[mine] - draws[key], level
            )
            rows.append(((figure, other), told))
    return _frame(("figure", "predictor"), rows)


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
    told = (
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
        exact = proportion_interval(told["events"].to_numpy(), told["n"].to_numpy(), level)
        return told.with_columns(
            value=pl.Series(exact.estimate),
            lower=pl.Series(exact.lower),
            upper=pl.Series(exact.upper),
            undefined=pl.lit(0, dtype=pl.Int64),
        )
    observed = _frame(("group",), rows).with_columns(pl.col("group").cast(pl.Int64))
    return told.join(observed, on="group").sort("group")


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


def _groups(cases: Cases) -> dict[tuple[str, str], npt.NDArray[np.bool_]]:
    """Cases of each subgroup; unknown is one, too."""
    bands = pl.lit("unknown")
    for low, high in reversed(AGE_BANDS):
        name = f"{low}-{high - 1}" if high < 200 else f"{low} and older"
        name = f"under {high}" if low == 0 else name
        bands = (
            pl.when(pl.col("age").is_between(low, high, closed="left"))
            .then(pl.lit(name))
            .otherwise(bands)
        )
    frame = cases.frame.select(
        pl.col("sex").fill_null("unknown"), bands.alias("age"), pl.col("unit").fill_null("unknown")
    )
    young = f"under {AGE_BANDS[0][1]}"
    return {
        (by, str(group)): (frame[by] == group).to_numpy()
        for by in frame.columns
        for group in sorted(frame[by].unique(), key=lambda one: (one != young, one))
    }


def _ask_subgroups(
    drawn: drawn_figures.Drawn,
    y: Floats,
    repeats: Floats,
    groups: Mapping[tuple[str, str], npt.NDArray[np.bool_]],
    threshold: float,
) -> None:
    for key, inside in groups.items():
        events = int(y[inside].sum())
        if min(events, int(inside.sum()) - events) < FEWEST:
            continue
        days = np.ones(int(inside.sum()))
        each = drawn_figures.of_predictions(
            y[inside], repeats[:, inside], yes_no=False, threshold=threshold, days=days
        )
        for figure in ("auroc", "brier", "in-the-large", "sensitivity", "ppv"):
            drawn.ask(
                ("subgroup", *key, figure),
                lambda w, of=each[figure], inside=inside: of(w[:, inside]),  # type: ignore[misc]
            )


def _subgroups(
    cases: Cases,
    groups: Mapping[tuple[str, str], npt.NDArray[np.bool_]],
    rows: list[tuple[tuple[str, ...], dict[str, float | int | None]]],
) -> pl.DataFrame:
    y, patient = cases.outcome, cases.patient
    counts = pl.DataFrame(
        [
            (by, group, int(i.sum()), int(y[i].sum()), len(np.unique(patient[i])))
            for (by, group), i in groups.items()
        ],
        schema={
            "by": pl.String,
            "group": pl.String,
            "n": pl.Int64,
            "events": pl.Int64,
            "patients": pl.Int64,
        },
        orient="row",
    )
    told = _frame(("by", "group", "figure"), rows)
    return counts.join(told, on=["by", "group"], how="left", maintain_order="left")


def _missing(cases: Cases) -> pl.DataFrame:
    y = cases.outcome == 1
    absent = np.isnan(cases.matrix)

    def share(rows: npt.NDArray[np.bool_], column: int) -> float | None:
        return float(absent[rows, column].mean()) if rows.any() else None

    return pl.DataFrame(
        [
            {
                "feature": name,
                "missing": share(np.ones_like(y), k),
                "missing_with_outcome": share(y, k),
                "missing_without": share(~y, k),
            }
            for k, name in enumerate(cases.features)
        ]
    )


def _lead(cases: Cases, flagged: npt.NDArray[np.bool_], level: float) -> tuple[Estimate, int, int]:
    """Hours from a stay's first flagged case to its outcome; one stay, one value."""
    with_outcome = cases.frame.with_columns(flagged=pl.Series(flagged)).filter(
        pl.col("outcome") == 1
    )
    first = (
        with_outcome.filter("flagged").sort("now").group_by("stay_id", maintain_order=True).first()
    )
    outcomes = with_outcome["stay_id"].n_unique()
    return median_interval(first["event_hours"].to_numpy(), level), first.height, outcomes
