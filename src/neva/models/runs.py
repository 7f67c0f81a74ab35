"""From a plan and a hospital to a model: train, evaluate, recalibrate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.events.snapshot import Snapshot
from neva.models.cases import Cases, cases_of
from neva.models.declaration import Candidate, Comparator, MemberPlan, ModelPlan
from neva.models.evaluation import ModelEvaluation, evaluate_predictions
from neva.models.fitted_model import Model, Variant
from neva.models.landmarks import Landmark, landmark_points
from neva.models.local_recalibration import data_of, not_its_own
from neva.models.training import Resampled, Settings, Tuned, fit, resample, tune

__all__ = [
    "TrainedModel",
    "cases_at",
    "judge",
    "missing_tests",
    "plan_of_model",
    "train",
]


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model with what was found while it was made.

    Attributes
    ----------
    model : Model
    plan : ModelPlan
    cases : Cases
    resampled : Resampled
        With the out-of-fold predictions.
    evaluation : ModelEvaluation
        Of these: internal, by nested resampling.
    tuned : Tuned
        The choice on all cases, which the model is.
    """

    model: Model
    plan: ModelPlan
    cases: Cases
    resampled: Resampled
    evaluation: ModelEvaluation
    tuned: Tuned


def cases_at(snapshot: Snapshot, plan: ModelPlan) -> Cases:
    """Return the cases of a plan's landmark.

    Raises
    ------
    UsageError
        There is none.
    """
    cases = cases_of(snapshot, plan, landmark_points(snapshot, plan.landmark.hours))
    if not cases.frame.height:
        message = (
            f"model {plan.id}: no stay has a case at {plan.landmark.title}; found {cases.points} "
            "points; check that stays have starts, ends and outcomes"
        )
        raise UsageError(message)
    return cases


def figures_of(evaluation: ModelEvaluation) -> dict[str, Any]:
    """Return figures as plain values, by predictor and figure."""
    made: dict[str, Any] = {}
    for row in evaluation.figures.iter_rows(named=True):
        of = made.setdefault(row["predictor"], {})
        of[row["figure"]] = {name: row[name] for name in ("value", "lower", "upper")}
    return {
        "predictors": made,
        "differences": evaluation.differences.to_dicts(),
        "n": evaluation.n,
        "events": evaluation.events,
        "patients": evaluation.patients,
        "resamples": evaluation.resamples,
        "repeats": evaluation.repeats,
        "level": evaluation.level,
    }


def train(
    snapshot: Snapshot,
    plan: ModelPlan,
    settings: Settings | None = None,
    *,
    resamples: int = 1000,
    with_variants: bool = True,
    progress: Callable[[int], None] | None = None,
) -> TrainedModel:
    """Fit a model to a hospital's cases and evaluate the procedure.

    Parameters
    ----------
    snapshot : Snapshot
    plan : ModelPlan
    settings : Settings, optional
        Of nested resampling.
    resamples : int
        Draws of patients for intervals.
    with_variants : bool
        Fit the variants for sites with few features too.
    progress : callable, optional
        Given the number of outer folds done.

    Returns
    -------
    TrainedModel
        The model is fitted to all cases by the choice that inner resampling
        makes on them; its figures come from the outer loop.
    """
    how = settings or Settings()
    cases = cases_at(snapshot, plan)
    resampled = resample(plan, cases, how, progress=progress)
    evaluation = evaluate_predictions(
        cases,
        resampled.predictions,
        yes_no=resampled.yes_no,
        threshold=plan.threshold,
        resamples=resamples,
        seed=how.seed,
        title=plan.landmark.title,
    )
    tuned = tune(plan, cases, how, seed=how.seed)
    ensemble = replace(
        fit(plan, cases, tuned.candidate, seed=how.seed), recalibration=tuned.recalibration
    )
    landmark = plan.landmark
    reduced = plan.reduced if with_variants else ()
    variants = tuple(_variant(plan, cases, one, how, resamples) for one in reduced)
    model = Model(
        id=plan.id,
        version=plan.version,
        title=plan.title,
        features=plan.features,
        outcome=plan.outcome,
        outcome_words=plan.outcome_words,
        horizon_hours=plan.horizon_hours,
        landmark={
            "name": landmark.name,
            "title": landmark.title,
            "hours": list(landmark.hours),
            "values": landmark.values,
        },
        ensemble=ensemble,
        units=cases.units,
        data=data_of(cases),
        candidate=tuned.candidate.name,
        figures=figures_of(evaluation),
        threshold=plan.threshold,
        demonstration_only=plan.demonstration_only,
        lock_reason=plan.lock_reason if plan.demonstration_only else "",
        without=plan.without,
        seed=how.seed,
        notes={
            "intended_use": plan.intended_use,
            "patients": plan.patients,
            "limits": list(plan.limits),
            "sources": list(plan.sources),
        },
        variants=variants,
    )
    return TrainedModel(model, plan, cases, resampled, evaluation, tuned)


def _variant(
    plan: ModelPlan, cases: Cases, names: tuple[str, ...], how: Settings, resamples: int
) -> Variant:
    """Fit and evaluate the model on a few features only."""
    few = plan.reduced_to(names)
    mine = replace(cases, features=few.feature_ids)
    found = resample(few, mine, replace(how, repeats=1))
    judged = evaluate_predictions(
        mine, found.predictions, threshold=plan.threshold, resamples=resamples, seed=how.seed
    )
    tuned = tune(few, mine, how, seed=how.seed)
    ensemble = replace(
        fit(few, mine, tuned.candidate, seed=how.seed), recalibration=tuned.recalibration
    )
    figures = {one: judged.figure("model", one) for one in ("auroc", "brier")}
    return Variant(ensemble, tuned.candidate.name, figures)


def plan_of_model(model: Model, comparators: tuple[Comparator, ...] = ()) -> ModelPlan:
    """Return a plan that asks for the cases of a saved model.

    Parameters
    ----------
    model : Model
    comparators : tuple of Comparator
        Those with a rule only: a saved model fits nothing.
    """
    landmark = model.landmark
    return ModelPlan(
        id=model.id,
        version=model.version,
        title=model.title,
        outcome=model.outcome,
        outcome_words=model.outcome_words,
        landmark=Landmark(
            landmark["name"], landmark["title"], tuple(landmark["hours"]), landmark["values"]
        ),
        features=model.features,
        candidates=(Candidate(model.candidate, (MemberPlan("logistic-regression"),)),),
        horizon_hours=model.horizon_hours,
        comparators=tuple(one for one in comparators if one.kind == "yes-no"),
        threshold=model.threshold,
        demonstration_only=model.demonstration_only,
        lock_reason=model.lock_reason,
        intended_use=str(model.notes.get("intended_use", "")),
        patients=str(model.notes.get("patients", "")),
        limits=tuple(model.notes.get("limits", ())),
        sources=tuple(model.notes.get("sources", ())),
        without=model.without,
    )


def judge(
    model: Model,
    cases: Cases,
    *,
    comparators: tuple[Comparator, ...] = (),
    beside: Mapping[str, npt.NDArray[np.float64]] | None = None,
    resamples: int = 1000,
    seed: int = 1,
) -> ModelEvaluation:
    """Evaluate a saved model on cases that it was not fitted to.

    Parameters
    ----------
    model : Model
    cases : Cases
        From :func:`cases_at` with :func:`plan_of_model`.
    comparators : tuple of Comparator
        Rules whose answers are columns of the cases.
    beside : mapping of str to numpy.ndarray, optional
        Other probabilities to compare with, for patients they were not fitted to.
    resamples, seed : int

    Returns
    -------
    ModelEvaluation

    Raises
    ------
    ConflictError
        They are the cases of the hospital it was made from: such figures would
        flatter it. Those of :func:`train` are the honest ones.
    """
    not_its_own(model, cases)
    predictions = {"model": model.ensemble.probability(cases.matrix)}
    for one in comparators:
        if one.kind == "yes-no" and one.rule is not None:
            answers = cases.frame[one.rule.id].cast(pl.Float64).fill_null(0.0).to_numpy()
            predictions[one.name] = answers
    yes_no = frozenset(predictions) - {"model"}
    return evaluate_predictions(
        cases,
        {**predictions, **(beside or {})},
        yes_no=yes_no,
        threshold=model.threshold,
        resamples=resamples,
        seed=seed,
        title=model.landmark["title"],
    )


def missing_tests(
    snapshot: Snapshot,
    plan: ModelPlan,
    names: tuple[str, ...],
    settings: Settings | None = None,
    *,
    resamples: int = 500,
    progress: Callable[[int], None] | None = None,
) -> pl.DataFrame:
    """Return the effect of leaving out each of some features.

    Parameters
    ----------
    snapshot : Snapshot
    plan : ModelPlan
    names : tuple of str
        Features, taken out one at a time.
    settings : Settings, optional
    resamples : int
    progress : callable, optional
        Given the number of variants done.

    Returns
    -------
    polars.DataFrame
        ``without``, ``figure`` (auroc, brier), ``value`` of the variant, and ``difference``,
        ``lower``, ``upper``: variant less whole model, on the same patients and folds.
    """
    how = settings or Settings(repeats=1)
    whole = cases_at(snapshot, plan)
    predictions = {"all features": resample(plan, whole, how).predictions["model"]}
    for k, name in enumerate(names):
        variant = plan.without_features((name,))
        cases = replace(whole, features=variant.feature_ids)
        predictions[name] = resample(replace(variant, comparators=()), cases, how).predictions[
            "model"
        ]
        if progress is not None:
            progress(k + 1)
    judged = evaluate_predictions(
        whole,
        predictions,
        main="all features",
        threshold=plan.threshold,
        resamples=resamples,
        seed=how.seed,
    )
    rows = []
    for name in names:
        for figure in ("auroc", "brier"):
            # The evaluation gives whole less variant: turned round.
            less = judged.difference(name, figure)
            turned = {
                key: None if (found := less[other]) is None else -found
                for key, other in (("difference", "value"), ("lower", "upper"), ("upper", "lower"))
            }
            rows.append(
                {
                    "without": name,
                    "figure": figure,
                    "value": judged.figure(name, figure)["value"],
                    **turned,
                }
            )
    return pl.DataFrame(rows)
