"""Fitting a model, and estimating its performance by nested resampling of patients.

The inner loop chooses the candidate and its recalibration, the outer loop
estimates what the whole procedure gives for patients it has not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.models.cases import Cases
from neva.models.declaration import Candidate, Comparator, MemberPlan, ModelPlan
from neva.models.members import Member, fitted_member, probability
from neva.models.recalibration import (
    KINDS,
    NONE,
    RecalibrationKind,
    RecalibrationMap,
    fit_recalibration,
    log_loss,
)
from neva.models.splits import check_split, grouped_folds

__all__ = ["Ensemble", "Resampled", "Settings", "Tuned", "compared", "fit", "resample", "tune"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.bool_]

#: A more flexible recalibration must lower the log loss by this share to be taken.
WORTH: Final = 0.005


@dataclass(frozen=True)
class Settings:
    """How resampling is done.

    Attributes
    ----------
    outer, inner : int
        Folds, by patient.
    repeats : int
        Outer resamplings with other folds.
    seed : int
    recalibrations : tuple of str
        Kinds among which the inner loop chooses.
    """

    outer: int = 5
    inner: int = 5
    repeats: int = 3
    seed: int = 1
    recalibrations: tuple[RecalibrationKind, ...] = KINDS


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Fitted members whose log-odds are averaged, then recalibrated.

    Attributes
    ----------
    features : tuple of str
        Columns, in order.
    members : tuple of (Member, tuple of int)
        With the columns that each takes.
    recalibration : RecalibrationMap
    """

    features: tuple[str, ...]
    members: tuple[tuple[Member, tuple[int, ...]], ...]
    recalibration: RecalibrationMap = NONE

    def raw_log_odds(self, X: Floats) -> Floats:  # noqa: N803
        """Return log-odds before recalibration, shape (n,)."""
        parts = [member.log_odds(X[:, list(columns)]) for member, columns in self.members]
        found: Floats = np.mean(parts, axis=0)
        return found

    def log_odds(self, X: Floats) -> Floats:  # noqa: N803
        """Return log-odds, shape (n,)."""
        return self.recalibration.apply(self.raw_log_odds(X))

    def probability(self, X: Floats) -> Floats:  # noqa: N803
        """Return probabilities, shape (n,)."""
        return probability(self.log_odds(X))


@dataclass(frozen=True, eq=False)
class Tuned:
    """What the inner loop chose, and what it chose from.

    Attributes
    ----------
    candidate : Candidate
    recalibration : RecalibrationMap
        Learnt from the inner held-out predictions.
    losses : dict of str to float
        Held-out log loss of each candidate before recalibration; lower is better.
    recalibration_losses : dict of str to float
        Of each kind of recalibration of the chosen one, held out once more.
    """

    candidate: Candidate
    recalibration: RecalibrationMap
    losses: dict[str, float]
    recalibration_losses: dict[str, float]


@dataclass(frozen=True, eq=False)
class Resampled:
    """Predictions for patients that the model had not seen.

    Attributes
    ----------
    cases : Cases
    predictions : dict of str to numpy.ndarray
        ``model`` and each comparator: probabilities, shape (repeats, n), in the
        order of ``cases.frame``.
    yes_no : frozenset of str
        Those that say only 0 or 1.
    folds : numpy.ndarray of int64, shape (repeats, n)
        In which outer fold each case was held out.
    chosen : polars.DataFrame
        ``repeat``, ``fold``, ``candidate``, ``recalibration``: what the inner loop took.
    settings : Settings
    """

    cases: Cases
    predictions: dict[str, Floats]
    yes_no: frozenset[str]
    folds: npt.NDArray[np.int64]
    chosen: pl.DataFrame
    settings: Settings

    def to_frame(self) -> pl.DataFrame:
        """Return out-of-fold predictions: a row a case and repeat."""
        key = self.cases.frame.select("point_id", "subject_id", "stay_id", "now", "outcome")
        parts = [
            key.with_columns(
                pl.lit(repeat).alias("repeat"),
                pl.Series("fold", self.folds[repeat]),
                *(pl.Series(name, found[repeat]) for name, found in self.predictions.items()),
            )
            for repeat in range(len(self.folds))
        ]
        return pl.concat(parts)


def _columns(plan: ModelPlan, member: MemberPlan) -> tuple[int, ...]:
    names = plan.feature_ids if member.features is None else member.features
    return tuple(plan.feature_ids.index(name) for name in names)


def _settings(plan: ModelPlan, member: MemberPlan) -> dict[str, Any]:
    made = dict(member.settings)
    names = plan.feature_ids if member.features is None else member.features
    rises = tuple(plan.rises.get(name, 0) for name in names)
    if member.model == "boosted-trees" and any(rises):
        made.setdefault("rises", rises)
    if member.model == "discrete-time-hazard":
        if plan.horizon_hours is None:
            message = (
                f"model {plan.id}: a discrete-time hazard needs a horizon; found none; give "
                "horizon_hours"
            )
            raise UsageError(message)
        made.setdefault("horizon_hours", plan.horizon_hours)
    return made


class _Fitter:
    """Fits members of a plan; equal members of several candidates are fitted once."""

    def __init__(self, plan: ModelPlan, cases: Cases, rows: Rows, seed: int) -> None:
        self._plan, self._seed = plan, seed
        self._X, self._y = cases.matrix[rows], cases.outcome[rows]
        self._event = cases.event_hours[rows]
        # A horizon beyond is cut off by the hazard itself; a stay that ended is known for good.
        seen = cases.frame["observed_hours"].to_numpy()[rows]
        self._seen = np.where(np.isnan(seen), np.inf, seen)
        self._kept: dict[str, Member] = {}

    def member(self, member: MemberPlan) -> tuple[Member, tuple[int, ...]]:
        columns = _columns(self._plan, member)
        key = repr((member.model, sorted(member.settings.items()), columns))
        if key not in self._kept:
            self._kept[key] = fitted_member(
                member.model,
                _settings(self._plan, member),
                self._X[:, list(columns)],
                self._y,
                seed=self._seed,
                event_hours=self._event,
                observed_hours=self._seen,
            )
        return self._kept[key], columns

    def ensemble(self, candidate: Candidate) -> Ensemble:
        return Ensemble(
            self._plan.feature_ids, tuple(self.member(one) for one in candidate.members)
        )


def fit(plan: ModelPlan, cases: Cases, candidate: Candidate, *, seed: int) -> Ensemble:
    """Fit a candidate to all cases, without recalibration."""
    everything = np.ones(cases.frame.height, dtype=bool)
    return _Fitter(plan, cases, everything, seed).ensemble(candidate)


def _held_out(
    plan: ModelPlan, cases: Cases, candidates: Sequence[Candidate], folds: int, seed: int
) -> dict[str, Floats]:
    """Log-odds of each candidate for cases left out by patient."""
    fold = grouped_folds(cases.patient, cases.outcome, folds, seed=seed)
    X = cases.matrix  # noqa: N806
    found = {one.name: np.empty(len(X)) for one in candidates}
    for k in range(folds):
        test = fold == k
        check_split(cases.patient, np.flatnonzero(~test), np.flatnonzero(test))
        fitter = _Fitter(plan, cases, ~test, seed)
        for one in candidates:
            found[one.name][test] = fitter.ensemble(one).raw_log_odds(X[test])
    return found


def _recalibration(
    cases: Cases, log_odds: Floats, kinds: Sequence[RecalibrationKind], folds: int, seed: int
) -> tuple[RecalibrationMap, dict[str, float]]:
    """Choose a recalibration by held-out log loss; the plainest unless another is worth it."""
    y = cases.outcome
    fold = grouped_folds(cases.patient, y, folds, seed=seed + 7)
    losses: dict[str, float] = {}
    for kind in kinds:
        moved = np.empty(len(y))
        for k in range(folds):
            test = fold == k
            moved[test] = fit_recalibration(kind, y[~test], log_odds[~test]).apply(log_odds[test])
        losses[kind] = log_loss(y, moved)
    best: RecalibrationKind = kinds[0]
    for kind in kinds[1:]:
        if losses[kind] < losses[best] * (1 - WORTH):
            best = kind
    return fit_recalibration(best, y, log_odds), losses


def tune(plan: ModelPlan, cases: Cases, settings: Settings, *, seed: int) -> Tuned:
    """Choose candidate and recalibration by cross-validation inside these cases.

    Parameters
    ----------
    plan : ModelPlan
    cases : Cases
    settings : Settings
    seed : int
        Of the folds.

    Returns
    -------
    Tuned
        The candidate with the lowest held-out log loss; its recalibration is
        learnt from held-out predictions only.
    """
    found = _held_out(plan, cases, plan.candidates, settings.inner, seed)
    losses = {name: log_loss(cases.outcome, one) for name, one in found.items()}
    best = min(plan.candidates, key=lambda one: losses[one.name])
    recalibration, kinds = _recalibration(
        cases, found[best.name], settings.recalibrations, settings.inner, seed
    )
    return Tuned(best, recalibration, losses, kinds)


def compared(
    plan: ModelPlan, comparator: Comparator, cases: Cases, train: Rows, test: Rows, seed: int
) -> Floats:
    """Return probabilities of a comparator for held-out cases, shape (held out,)."""
    if comparator.candidate is not None:
        found = _Fitter(plan, cases, train, seed).ensemble(comparator.candidate)
        return found.probability(cases.matrix[test])
    assert comparator.rule is not None
    answers = cases.frame[comparator.rule.id].cast(pl.Float64).to_numpy()
    if comparator.kind == "yes-no":
        result: Floats = np.nan_to_num(answers[test], nan=0.0)
        return result
    y, share = cases.outcome[train], np.empty(int(test.sum()))
    inside = answers[train]
    for value in np.unique(answers[test]):
        mine = y[inside == value]
        # One patient of either outcome is added, so that no class is certain.
        share[answers[test] == value] = (mine.sum() + 1) / (len(mine) + 2)
    return share


def resample(
    plan: ModelPlan,
    cases: Cases,
    settings: Settings,
    *,
    progress: Callable[[int], None] | None = None,
) -> Resampled:
    """Predict every case by models that had not seen its patient.

    Parameters
    ----------
    plan : ModelPlan
    cases : Cases
    settings : Settings
    progress : callable, optional
        Given the number of outer folds done.

    Returns
    -------
    Resampled
        With the inner loop run again in each outer fold: nothing of the
        held-out patients enters choice, fit or recalibration.

    References
    ----------
    Varma S, Simon R (2006), doi:10.1186/1471-2105-7-91.
    """
    y, n = cases.outcome, cases.frame.height
    names = ["model", *(one.name for one in plan.comparators)]
    predictions = {name: np.empty((settings.repeats, n)) for name in names}
    folds = np.empty((settings.repeats, n), dtype=np.int64)
    chosen: list[Mapping[str, Any]] = []
    for repeat in range(settings.repeats):
        seed = settings.seed + 1000 * repeat
        folds[repeat] = grouped_folds(cases.patient, y, settings.outer, seed=seed)
        for k in range(settings.outer):
            test = folds[repeat] == k
            train = ~test
            check_split(cases.patient, np.flatnonzero(train), np.flatnonzero(test))
            learning = cases.rows(train)
            tuned = tune(plan, learning, settings, seed=seed + 10 * (k + 1))
            model = fit(plan, learning, tuned.candidate, seed=settings.seed)
            raw = model.raw_log_odds(cases.matrix[test])
            predictions["model"][repeat, test] = probability(tuned.recalibration.apply(raw))
            for one in plan.comparators:
                predictions[one.name][repeat, test] = compared(
                    plan, one, cases, train, test, settings.seed
                )
            chosen.append(
                {
                    "repeat": repeat,
                    "fold": k,
                    "candidate": tuned.candidate.name,
                    "recalibration": tuned.recalibration.kind,
                }
            )
            if progress is not None:
                progress(repeat * settings.outer + k + 1)
    return Resampled(
        cases=cases,
        predictions=predictions,
        yes_no=frozenset(one.name for one in plan.comparators if one.kind == "yes-no"),
        folds=folds,
        chosen=pl.DataFrame(chosen),
        settings=settings,
    )
