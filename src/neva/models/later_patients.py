"""Temporal validation: fit on what was known at a date, evaluate on patients admitted later."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np

from neva.models.cases import Cases
from neva.models.declaration import ModelPlan
from neva.models.evaluation import ModelEvaluation, evaluate_predictions
from neva.models.members import probability
from neva.models.splits import temporal_split
from neva.models.training import Settings, compared, fit, tune

__all__ = ["judge_later"]


def judge_later(
    plan: ModelPlan,
    cases: Cases,
    at: datetime,
    settings: Settings | None = None,
    *,
    resamples: int = 1000,
) -> ModelEvaluation:
    """Fit to cases whose outcome was known at a time; evaluate on patients admitted later.

    Parameters
    ----------
    plan : ModelPlan
    cases : Cases
    at : datetime
        Aware. See :func:`neva.models.splits.temporal_split`.
    settings : Settings, optional
        Of the inner folds.
    resamples : int

    Returns
    -------
    ModelEvaluation
        Of the later patients; rows that stand on neither side are counted in
        ``left_out`` under ``between``.

    Notes
    -----
    Near the split, those whose outcome is known soon are over-represented in
    training: the dead and the quickly discharged. Leave time between.
    """
    how = settings or Settings()
    train, test = temporal_split(cases.patient, cases.frame["now"], cases.frame["known"], at)
    learning = np.zeros(cases.frame.height, dtype=bool)
    learning[train] = True
    judged = np.zeros(cases.frame.height, dtype=bool)
    judged[test] = True
    early, late = cases.rows(learning), cases.rows(judged)
    tuned = tune(plan, early, how, seed=how.seed)
    model = fit(plan, early, tuned.candidate, seed=how.seed)
    raw = model.raw_log_odds(late.matrix)
    predictions = {"model": probability(tuned.recalibration.apply(raw))}
    for one in plan.comparators:
        predictions[one.name] = compared(plan, one, cases, learning, judged, how.seed)
    between = int((~learning & ~judged).sum())
    return evaluate_predictions(
        replace(late, left_out={**cases.left_out, "between": between}),
        predictions,
        yes_no=frozenset(one.name for one in plan.comparators if one.kind == "yes-no"),
        threshold=plan.threshold,
        resamples=resamples,
        seed=how.seed,
        title=f"{plan.landmark.title}, patients from {at.date().isoformat()} on",
    )
