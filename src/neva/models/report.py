"""The report of a model at a hospital: landmarks, first and last sample, missing tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from neva.events.snapshot import Snapshot
from neva.models.cases import LEFT_OUT, Cases
from neva.models.declaration import Comparator
from neva.models.evaluation import MAIN, ModelEvaluation, evaluate_predictions
from neva.models.families import ModelFamily
from neva.models.first_and_last import FirstAndLastFigures, compare_first_and_last
from neva.models.fitted_model import Model
from neva.models.made_here import predictions_made_here
from neva.models.runs import (
    TrainedModel,
    cases_at,
    judge,
    missing_tests,
    plan_of_model,
    train,
)
from neva.models.training import Settings

__all__ = [
    "AtLandmark",
    "ModelReport",
    "left_out_in_words",
    "report_of_family",
    "report_of_model",
]


@dataclass(frozen=True, eq=False)
class AtLandmark:
    """The model at one time since admission.

    Attributes
    ----------
    name, title : str
    evaluation : ModelEvaluation
    """

    name: str
    title: str
    evaluation: ModelEvaluation


@dataclass(frozen=True, eq=False)
class ModelReport:
    """What a page shows.

    Attributes
    ----------
    id, title, outcome_words : str
    is_external : bool
        A saved model on other patients; else resampling of these patients.
    landmarks : tuple of AtLandmark
        The first one is drawn in detail.
    first_and_last : FirstAndLastFigures or None
    missing_tests : polars.DataFrame or None
    absent : tuple of str
        Titles of features that this hospital has for no patient.
    identity : str
    trained : TrainedModel or None
        Of the first landmark.
    demonstration_only : bool
    lock_reason : str
    limits : tuple of str
    settings : Settings or None
    origin : str
        What the model was made from, if it is a saved one.
    variant : tuple of str
        Titles of the features of the variant that spoke, if not the model itself.
    """

    id: str
    title: str
    outcome_words: str
    is_external: bool
    landmarks: tuple[AtLandmark, ...]
    first_and_last: FirstAndLastFigures | None
    missing_tests: pl.DataFrame | None
    absent: tuple[str, ...]
    identity: str
    trained: TrainedModel | None
    demonstration_only: bool
    lock_reason: str
    limits: tuple[str, ...]
    settings: Settings | None
    origin: str = ""
    variant: tuple[str, ...] = ()

    def to_frame(self) -> pl.DataFrame:
        """Return every figure: a row a landmark, predictor and figure."""
        return pl.concat(
            [
                one.evaluation.to_frame().select(pl.lit(one.title).alias("landmark"), pl.all())
                for one in self.landmarks
            ]
        )

    def differences(self) -> pl.DataFrame:
        """Return the differences at every landmark."""
        return pl.concat(
            [
                one.evaluation.differences.select(pl.lit(one.title).alias("landmark"), pl.all())
                for one in self.landmarks
            ]
        )

    def verdicts(self, *, at: AtLandmark | None = None) -> list[str]:
        """Say whether its probabilities can be believed, and how it compares with others.

        Calibration first: a model may rank patients better than a rule and still
        predict far too many deaths.
        """
        evaluation = (at or self.landmarks[0]).evaluation
        frame = evaluation.differences
        sentences = [f"calibration: {_calibration_verdict(evaluation)}"]
        for other in frame["predictor"].unique(maintain_order=True):
            words = [
                f"{name} {_verdict(frame.filter(predictor=other, figure=figure), sign)}"
                for figure, name, sign in (("auroc", "AUROC", 1), ("brier", "Brier score", -1))
            ]
            sentences.append(f"model against {other}: {'; '.join(words)}")
        return sentences


def _calibration_verdict(evaluation: ModelEvaluation) -> str:
    large, slope = (evaluation.figure(MAIN, one) for one in ("in-the-large", "slope"))
    if large["value"] is None or large["lower"] is None or large["upper"] is None:
        return "not known"
    amount = f"in the large {_with_interval(large)}"
    if large["upper"] < 0:
        sentence = f"predicts too many outcomes ({amount})"
    elif large["lower"] > 0:
        sentence = f"predicts too few outcomes ({amount})"
    else:
        sentence = f"predicts about as many outcomes as happened ({amount})"
    if slope["lower"] is None or slope["upper"] is None:
        return sentence
    if slope["upper"] < 1:
        sentence += f"; its predictions are too extreme (slope {_with_interval(slope)})"
    elif slope["lower"] > 1:
        sentence += f"; its predictions are too cautious (slope {_with_interval(slope)})"
    is_wrong = large["upper"] < 0 or large["lower"] > 0 or slope["upper"] < 1 or slope["lower"] > 1
    return sentence + ("; recalibrate it before its probabilities are used" if is_wrong else "")


def _with_interval(figure: Mapping[str, float | None]) -> str:
    value, low, high = (f"{figure[one]:.2f}" for one in ("value", "lower", "upper"))
    return f"{value}, {low} to {high}".replace("-", "\u2212")


def _verdict(difference: pl.DataFrame, sign: int) -> str:
    row = difference.row(0, named=True)
    if row["value"] is None or row["lower"] is None:
        return "not told apart"
    is_better = sign * row["value"] > 0
    if row["lower"] <= 0 <= row["upper"]:
        way = "slightly better, but" if is_better else "no better, and"
        return f"{way} its interval holds 0"
    return "better" if is_better else "worse"


def _absent_ids(cases: Cases) -> tuple[str, ...]:
    known = (~np.isnan(cases.matrix)).sum(axis=0)
    return tuple(name for k, name in enumerate(cases.features) if not known[k])


def _each_hour(trained: TrainedModel, hours: tuple[float, ...], resamples: int) -> list[AtLandmark]:
    """Evaluate predictions for many times at one time after the other."""
    at = trained.cases.frame["hours"].to_numpy()
    made = []
    for hour in hours:
        chosen = np.isclose(at, hour)
        some = trained.cases.rows(chosen)
        if len(np.unique(some.outcome)) < 2:
            continue
        title = f"day {hour / 24:g}" if hour % 24 == 0 else f"{hour:g} h"
        left = {"ended": trained.cases.frame["stay_id"].n_unique() - some.frame.height}
        evaluation = evaluate_predictions(
            replace(some, left_out=left),
            {name: p[:, chosen] for name, p in trained.resampled.predictions.items()},
            yes_no=trained.resampled.yes_no,
            threshold=trained.plan.threshold,
            resamples=resamples,
            seed=trained.resampled.settings.seed,
            title=title,
        )
        made.append(AtLandmark(f"{hour:g}h", title, evaluation))
    return made


def report_of_family(
    snapshot: Snapshot,
    family: ModelFamily,
    settings: Settings | None = None,
    *,
    at: str | None = None,
    without: tuple[str, ...] = (),
    tests: tuple[str, ...] = (),
    resamples: int = 1000,
    progress: Callable[[int], None] | None = None,
) -> ModelReport:
    """Fit and evaluate the models of a family at each landmark, by nested resampling.

    Parameters
    ----------
    snapshot : Snapshot
    family : ModelFamily
    settings : Settings, optional
    at : str, optional
        One landmark only.
    without : tuple of str
        Features that are taken out everywhere.
    tests : tuple of str
        Features whose absence is priced, one at a time, at the first landmark.
    resamples : int
    progress : callable, optional
        Given the number of outer folds done.

    Returns
    -------
    ModelReport
    """
    how = settings or Settings()
    plans = [family.at(at)] if at else [family.plan(one) for one in family.landmarks]
    plans = [one.without_features(without) if without else one for one in plans]
    done = 0

    def tick(folds: int) -> None:
        if progress is not None:
            progress(done + folds)

    shown: list[AtLandmark] = []
    first: TrainedModel | None = None
    for plan in plans:
        trained = train(
            snapshot,
            plan,
            how,
            resamples=resamples,
            with_variants=first is None,
            progress=tick,
        )
        done += how.outer * how.repeats
        first = first or trained
        if len(plan.landmark.hours) == 1:
            shown.append(AtLandmark(plan.landmark.name, plan.landmark.title, trained.evaluation))
        else:
            shown += _each_hour(trained, family.shown_hours, resamples)
            shown.append(AtLandmark(plan.landmark.name, plan.landmark.title, trained.evaluation))
    assert first is not None
    plan = first.plan
    titles = {one.id: one.title or one.id for one in plan.features}
    costs = None
    if tests:
        costs = missing_tests(
            snapshot, plan, tests, replace(how, repeats=1), resamples=min(resamples, 1000)
        )
    return ModelReport(
        id=family.id,
        title=family.title,
        outcome_words=plan.outcome_words,
        is_external=False,
        landmarks=tuple(shown),
        first_and_last=None
        if family.first_and_last is None
        else compare_first_and_last(
            snapshot, family.first_and_last, plan.outcome, resamples=resamples, seed=how.seed
        ),
        missing_tests=costs,
        absent=tuple(titles[name] for name in _absent_ids(first.cases)),
        identity=snapshot.identity,
        trained=first,
        demonstration_only=first.model.demonstration_only,
        lock_reason=first.model.lock_reason,
        limits=plan.limits,
        settings=how,
    )


def report_of_model(
    snapshot: Snapshot,
    model: Model,
    family: ModelFamily | None = None,
    *,
    resamples: int = 1000,
    seed: int = 1,
) -> ModelReport:
    """Evaluate a saved model at another hospital: nothing is fitted.

    Parameters
    ----------
    snapshot : Snapshot
    model : Model
    family : ModelFamily, optional
        Whose rules are evaluated beside it.
    resamples, seed : int

    Returns
    -------
    ModelReport
    """
    rules: tuple[Comparator, ...] = ()
    if family is not None:
        rules = family.at(str(model.landmark["name"])).comparators
    plan = plan_of_model(model, rules)
    cases = cases_at(snapshot, plan)
    gone = _absent_ids(cases)
    here = model.at_site(gone)
    if here is not model:
        cases = replace(cases, features=here.ensemble.features)
    evaluation = judge(
        here,
        cases,
        comparators=plan.comparators,
        beside=predictions_made_here(here, cases, seed=seed),
        resamples=resamples,
        seed=seed,
    )
    titles = {one.id: one.title or one.id for one in model.features}
    samples = None
    if family is not None and family.first_and_last is not None:
        samples = compare_first_and_last(
            snapshot, family.first_and_last, model.outcome, resamples=resamples, seed=seed
        )
    return ModelReport(
        id=model.id,
        title=model.title,
        outcome_words=model.outcome_words,
        is_external=True,
        landmarks=(
            AtLandmark(str(model.landmark["name"]), str(model.landmark["title"]), evaluation),
        ),
        first_and_last=samples,
        missing_tests=None,
        absent=tuple(titles[name] for name in gone),
        identity=snapshot.identity,
        trained=None,
        demonstration_only=model.demonstration_only,
        lock_reason=model.lock_reason,
        limits=plan.limits,
        settings=None,
        origin=f"{model.data['cases']} cases, {model.data['outcomes']} outcomes of "
        f"{model.data['identity']}",
        variant=tuple(titles[one.id] for one in here.features) if here is not model else (),
    )


def left_out_in_words(left_out: dict[str, int]) -> list[str]:
    """Say which cases were excluded and why; reasons without cases are omitted."""
    return [f"{count}: {LEFT_OUT.get(why, why)}" for why, count in left_out.items() if count]
