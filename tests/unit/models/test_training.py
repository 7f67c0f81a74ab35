from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from tests.model_cases import demo_cases, demo_plan

from neva.errors import UsageError
from neva.models import training
from neva.models.declaration import Candidate, MemberPlan
from neva.models.later_patients import judge_later
from neva.models.splits import check_split
from neva.models.training import Settings, fit, resample, tune

QUICK = Settings(outer=3, inner=3, repeats=1, seed=2)


def test_every_case_is_predicted_by_models_that_had_not_seen_its_patient(monkeypatch):
    cases = demo_cases(60, each=3)
    checked = []

    def spy(patient, train, test):
        checked.append(len(test))
        check_split(patient, train, test)

    monkeypatch.setattr(training, "check_split", spy)
    found = resample(demo_plan(), cases, QUICK)
    assert np.isfinite(found.predictions["model"]).all()
    for one in range(60):
        assert len(set(found.folds[0][cases.patient == one])) == 1
    # The outer folds, and in each of them the inner ones.
    assert len(checked) == 3 + 3 * 3
    assert found.to_frame().height == 180


def test_the_same_seed_gives_the_same():
    cases = demo_cases(60)
    first, second = (resample(demo_plan(), cases, QUICK).predictions["model"] for _ in range(2))
    assert (first == second).all()
    other = resample(demo_plan(), cases, Settings(outer=3, inner=3, repeats=1, seed=3))
    assert not (first == other.predictions["model"]).all()


def test_a_prediction_is_that_of_the_choice_fitted_to_the_other_folds():
    cases = demo_cases(60)
    found = resample(demo_plan(), cases, QUICK)
    for chosen in found.chosen.iter_rows(named=True):
        test = found.folds[0] == chosen["fold"]
        learning = cases.rows(~test)
        tuned = tune(demo_plan(), learning, QUICK, seed=QUICK.seed + 10 * (chosen["fold"] + 1))
        assert tuned.candidate.name == chosen["candidate"]
        model = fit(demo_plan(), learning, tuned.candidate, seed=QUICK.seed)
        log_odds = tuned.recalibration.apply(model.raw_log_odds(cases.matrix[test]))
        expected = 1 / (1 + np.exp(-log_odds))
        assert found.predictions["model"][0, test] == pytest.approx(expected)


def test_no_signal_is_no_skill():
    cases = demo_cases(150, informative=False, seed=8)
    found = resample(demo_plan(comparators=()), cases, QUICK)
    y, p = cases.outcome, found.predictions["model"][0]
    pairs = np.mean([(p[i] > p[j]) + (p[i] == p[j]) / 2
                     for i in np.flatnonzero(y == 1) for j in np.flatnonzero(y == 0)])  # fmt: skip
    # 0.5 by chance; the standard error with 75 of either is about 0.047.
    assert abs(pairs - 0.5) < 0.2


def test_the_candidate_with_the_lowest_held_out_loss_is_taken():
    tuned = tune(demo_plan(), demo_cases(100), QUICK, seed=1)
    assert tuned.losses[tuned.candidate.name] == min(tuned.losses.values())
    assert set(tuned.losses) == {"plain", "mixed"}
    assert set(tuned.recalibration_losses) == set(QUICK.recalibrations)


def test_classes_of_a_rule_take_the_share_of_the_training_folds():
    cases = demo_cases(90)
    found = resample(demo_plan(), cases, QUICK)
    said = found.predictions["rule's classes"][0]
    answers = cases.frame["demo.rule"].to_numpy()
    for fold in range(3):
        test = found.folds[0] == fold
        for value in (False, True):
            y = cases.outcome[~test & (answers == value)]
            expected = (y.sum() + 1) / (len(y) + 2)
            assert said[test & (answers == value)] == pytest.approx(expected)
    assert set(np.unique(found.predictions["rule"])) <= {0.0, 1.0}


def test_trees_are_held_to_the_direction_of_a_feature():
    cases = demo_cases(200)
    model = fit(demo_plan(), cases, Candidate("t", (MemberPlan("boosted-trees"),)), seed=1)
    rows = np.repeat(cases.matrix[:1], 60, axis=0)
    rows[:, 1] = np.arange(30, 90)
    assert (np.diff(model.probability(rows)) >= 0).all()


def test_a_hazard_without_horizon_is_refused():
    candidate = Candidate("hazard", (MemberPlan("discrete-time-hazard"),))
    with pytest.raises(UsageError, match="needs a horizon"):
        fit(demo_plan(candidates=(candidate,)), demo_cases(40), candidate, seed=1)


def test_a_hazard_is_fitted_with_the_times():
    settings = {"time_column": 1, "of_settings": {"strength": 0.5}}
    candidate = Candidate("hazard", (MemberPlan("discrete-time-hazard", settings),))
    plan = demo_plan(candidates=(candidate,), horizon_hours=120.0)
    cases = demo_cases(150)
    found = fit(plan, cases, candidate, seed=1).probability(cases.matrix)
    # Everybody who dies does so after 100 hours: the mean is the share of deaths.
    assert found.mean() == pytest.approx(cases.outcome.mean(), abs=0.08)


def test_a_classifier_that_cannot_be_explained_is_refused(monkeypatch):
    from sklearn.ensemble import RandomForestClassifier

    from neva.statistics import models

    monkeypatch.setattr(models, "load_model", lambda name, kind: RandomForestClassifier(5))
    candidate = Candidate("forest", (MemberPlan("forest", {"max_depth": 2}),))
    rows = demo_cases(40)
    full = rows.frame.with_columns(rows.frame["demo.ldh"].fill_null(300.0))
    with pytest.raises(UsageError, match="cannot be explained exactly"):
        fit(demo_plan(), replace(rows, frame=full), candidate, seed=1)


def test_later_patients_judge_what_was_learnt_before():
    cases = demo_cases(160)
    start = datetime(2020, 2, 1, tzinfo=UTC)
    days = np.arange(160) // 4
    frame = cases.frame.with_columns(
        now=pl.Series(
            [start + timedelta(days=int(k)) for k in days], dtype=pl.Datetime("us", "UTC")
        ),
        known=pl.Series(
            [start + timedelta(days=int(k) + 5) for k in days], dtype=pl.Datetime("us", "UTC")
        ),
    )
    found = judge_later(
        demo_plan(), replace(cases, frame=frame), start + timedelta(days=20), QUICK, resamples=30
    )
    # Days 0 to 15 are known on day 20, days 20 to 39 come after: 4 patients a day.
    assert (found.n, found.left_out["between"]) == (80, 16)
    assert found.figure("model", "auroc")["value"] > 0.6
    assert "2020-02-21" in found.title
