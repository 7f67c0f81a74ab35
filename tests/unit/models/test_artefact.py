import json
import random
import re
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from tests.model_cases import AGE, LDH, MALE, demo_cases, demo_plan

from neva.definitions.language import events
from neva.definitions.writing import feature
from neva.errors import BadInputError, ConflictError, NotFoundError, UsageError
from neva.models import artefact as model_artefact
from neva.models.artefact import load_artefact, save_artefact
from neva.models.declaration import Candidate, MemberPlan
from neva.models.local_recalibration import recalibrate
from neva.models.runs import TrainedModel, judge
from neva.models.training import Settings
from neva.models.tree_text import checked_trees

QUICK = Settings(outer=3, inner=3, repeats=1, seed=2)
HERE = {one.id: one for one in (LDH, AGE, MALE)}
AT = datetime(2026, 1, 1, tzinfo=UTC)


def trained(cases=None, plan=None) -> TrainedModel:
    """Train on cases as they are, without a hospital."""
    from neva.models import runs as model_runs

    given = demo_cases(90) if cases is None else cases
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_runs, "cases_at", lambda snapshot, plan: given)
        return model_runs.train(None, plan or demo_plan(), QUICK, resamples=50)


@pytest.fixture(scope="module")
def made():
    return trained()


@pytest.fixture(scope="module")
def mixed():
    """A model of two members, so that both kinds of file are there."""
    plan = demo_plan()
    return trained(plan=demo_plan(candidates=plan.candidates[1:]))


@pytest.fixture
def folder(tmp_path, mixed):
    save_artefact(mixed.model, tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_predicts_and_explains_identically(folder, mixed):
    again = load_artefact(folder, HERE)
    frame = mixed.cases.frame
    first, second = mixed.model.predict(frame), again.predict(frame)
    assert first.frame.equals(second.frame)
    assert first.contributions.equals(second.contributions)
    assert again.figures == json.loads(json.dumps(mixed.model.figures))
    assert again.demonstration_only
    assert set(again.outputs) == set(HERE)


def test_a_hazard_is_saved_too(tmp_path):
    settings = {"time_column": 1, "of": "boosted-trees", "of_settings": {"trees": 5}}
    candidate = Candidate("hazard", (MemberPlan("discrete-time-hazard", settings),))
    plan = demo_plan(candidates=(candidate,), comparators=(), horizon_hours=120.0)
    model = trained(plan=plan)
    save_artefact(model.model, tmp_path / "m")
    again = load_artefact(tmp_path / "m")
    x = model.cases.matrix
    assert (again.ensemble.probability(x) == model.model.ensemble.probability(x)).all()


def test_nothing_is_pickled(folder):
    names = sorted(one.name for one in folder.iterdir())
    assert names == ["member-0.lightgbm.txt", "member-1.skops", "model.json"]
    content = json.loads((folder / "model.json").read_text())
    assert {"hash", "data", "features", "outcome", "figures", "landmark"} <= set(content)
    assert content["features"][0]["definition"]["id"] == "demo.ldh"


@pytest.mark.parametrize(
    ("key", "value"), [("demonstration_only", False), ("threshold", 0.1), ("version", "9.9.9")]
)
def test_a_changed_description_is_refused(folder, key, value):
    file = folder / "model.json"
    content = json.loads(file.read_text())
    content[key] = value
    file.write_text(json.dumps(content))
    with pytest.raises(BadInputError, match="differs from its hash"):
        load_artefact(folder)


@pytest.mark.parametrize("name", ["member-0.lightgbm.txt", "member-1.skops"])
def test_a_changed_or_missing_member_is_refused(folder, name):
    file = folder / name
    whole = file.read_bytes()
    file.write_bytes(whole + b" ")
    with pytest.raises(BadInputError, match="it was changed"):
        load_artefact(folder)
    file.unlink()
    with pytest.raises(BadInputError, match="a file of the model is missing"):
        load_artefact(folder)


def test_a_definition_that_changed_or_is_missing_here_is_refused(folder):
    with pytest.raises(ConflictError, match=r"not defined here; found no demo\.ldh"):
        load_artefact(folder, {"demo.age": AGE})
    other = feature("demo.ldh", events("X//ldh").first().value("U/L"), version="1.0.0")
    with pytest.raises(ConflictError, match="means something else here"):
        load_artefact(folder, {**HERE, "demo.ldh": other})


def test_no_model_and_other_folders(tmp_path, made):
    with pytest.raises(NotFoundError, match="no saved model"):
        load_artefact(tmp_path)
    (tmp_path / "model.json").write_text("[]")
    with pytest.raises(BadInputError, match="not a saved model"):
        load_artefact(tmp_path)
    (tmp_path / "model.json").write_text('{"neva_model": 99, "hash": ""}')
    with pytest.raises(BadInputError, match="format 99"):
        load_artefact(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ConflictError, match="something else"):
        save_artefact(made.model, tmp_path / "other")


def test_saving_again_replaces_the_whole_folder(folder, made):
    save_artefact(made.model, folder)
    assert load_artefact(folder).candidate == made.model.candidate
    assert [one.name for one in folder.parent.iterdir()] == ["model"]


def test_types_that_a_model_may_not_hold_are_refused(tmp_path, mixed):
    from dataclasses import replace
    from pathlib import PurePosixPath

    from neva.models.members import LinearMember

    (first, columns), (second, rest) = mixed.model.ensemble.members
    assert isinstance(second, LinearMember)
    from sklearn.base import clone

    bad = clone(second.pipeline)
    bad.foreign = PurePosixPath("x")
    ensemble = replace(mixed.model.ensemble, members=((first, columns), (LinearMember(bad), rest)))
    with pytest.raises(BadInputError, match="types that a model may not"):
        save_artefact(replace(mixed.model, ensemble=ensemble), tmp_path / "bad")
    assert not list(tmp_path.iterdir())


def test_a_frame_without_a_feature_is_refused_and_one_without_values_is_not(made):
    frame = made.cases.frame
    with pytest.raises(BadInputError, match=r"found none for demo\.ldh"):
        made.model.predict(frame.drop("demo.ldh"))
    empty = frame.with_columns(pl.lit(None, dtype=pl.Float64).alias("demo.ldh"))
    assert made.model.predict(empty).frame["probability"].is_between(0, 1).all()


def test_recalibrating_on_own_patients_lifts_the_lock_and_is_recorded(made, tmp_path):
    own = demo_cases(200, seed=9, hospital="other")
    found = recalibrate(made.model, own, kind="intercept-and-slope", at=AT, actor="A. Person")
    assert made.model.demonstration_only
    assert not found.demonstration_only
    assert found.history[-1]["actor"] == "A. Person"
    assert found.history[-1]["data"]["cases"] == 200
    assert found.history[-1]["lock_lifted"]
    p = found.ensemble.probability(own.matrix)
    assert p.mean() == pytest.approx(own.outcome.mean(), abs=1e-4)
    save_artefact(found, tmp_path / "own")
    assert not load_artefact(tmp_path / "own").demonstration_only


def test_its_own_patients_neither_judge_nor_unlock_it(made):
    with pytest.raises(ConflictError, match="fitted to this hospital's patients"):
        judge(made.model, made.cases)
    with pytest.raises(ConflictError, match="fitted to this hospital's patients"):
        recalibrate(made.model, made.cases, at=AT, actor="x")


def test_too_few_patients_do_not_unlock_it(made):
    few = demo_cases(30, hospital="other")
    with pytest.raises(UsageError, match="20 patients with and without"):
        recalibrate(made.model, few, at=AT, actor="x")
    with pytest.raises(UsageError, match="must have an offset"):
        recalibrate(made.model, few, at=AT.replace(tzinfo=None), actor="x")
    with pytest.raises(UsageError, match="none changes nothing"):
        recalibrate(made.model, few, kind="none", at=AT, actor="x")


def test_a_saved_model_is_judged_by_other_patients(made):
    other = demo_cases(150, seed=5, hospital="other")
    found = judge(made.model, other, comparators=demo_plan().comparators, resamples=50)
    told = found.figure("model", "auroc")
    p = made.model.ensemble.probability(other.matrix)
    assert told["lower"] <= told["value"] <= told["upper"]
    assert found.figure("model", "brier")["value"] == pytest.approx(
        np.mean((p - other.outcome) ** 2)
    )
    assert set(found.figures["predictor"]) == {"model", "rule"}


def places_of(value, path=()):
    """Every place in JSON."""
    yield path
    if isinstance(value, (dict, list)):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places_of(one, (*path, key))


def hashed_anew(folder, content):
    """Write a description with a hash that fits, as somebody who may write the folder can."""
    content.pop("hash", None)
    content["files"] = {
        name: model_artefact._sha((folder / name).read_bytes())
        for name in content.get("files") or {}
        if (folder / name).is_file()
    }
    content["hash"] = model_artefact._sha(model_artefact._canonical(content))
    (folder / "model.json").write_text(json.dumps(content))


def test_a_damaged_model_with_a_fitting_hash_is_told_and_is_no_bug(folder):
    """A hash that was computed anew let damage through to a traceback."""
    whole = (folder / "model.json").read_text()
    chance = random.Random(14)
    places = [one for one in places_of(json.loads(whole)) if one and one[0] != "hash"]
    refused = 0
    for place in chance.sample(places, 150):
        content = json.loads(whole)
        *way, last = place
        at = content
        for key in way:
            at = at[key]
        if chance.random() < 0.4:
            del at[last]
        else:
            at[last] = chance.choice([None, [], {}, "x", -1, [[1]], {"kind": "trees"}])
        hashed_anew(folder, content)
        try:
            load_artefact(folder)
        except (BadInputError, ConflictError):
            refused += 1
    # Many places are figures, which are shown as they were saved.
    assert refused > 30
    for name in ("member-0.lightgbm.txt", "member-1.skops"):
        saved = (folder / name).read_bytes()
        for broken in (b"", b"tree\n", saved[: len(saved) // 2], b"PK" + saved[2:60], b"\xff" * 99):
            (folder / name).write_bytes(broken)
            hashed_anew(folder, json.loads(whole))
            with pytest.raises(BadInputError, match=r"damaged|may not"):
                load_artefact(folder)
        (folder / name).write_bytes(saved)
    (folder / "model.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInputError):
        load_artefact(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version=v4", "version=v9"),
        ("num_class=1", "num_class=3"),
        (r"left_child=\S+", "left_child=0"),
        (r"split_feature=\S+", "split_feature=7"),
        ("end of trees", "end of"),
        ("shrinkage=", "shrinkage=nan"),
    ],
)
def test_trees_that_are_none_never_reach_the_library(mixed, old, new):
    """An edited text ended the process, or sent predictions out of an array."""
    trees = next(one for one, _ in mixed.model.ensemble.members if hasattr(one, "booster"))
    text = trees.booster.model_to_string(num_iteration=-1)
    assert checked_trees(checked_trees(text, "member"), "member") == checked_trees(text, "member")
    broken, changes = re.subn(old, new, text, count=1)
    assert changes
    with pytest.raises(BadInputError, match="the trees are damaged"):
        checked_trees(broken, "member")


def test_any_cut_or_edited_text_of_trees_is_refused_or_makes_predictions(mixed):
    import lightgbm

    trees = next(one for one, _ in mixed.model.ensemble.members if hasattr(one, "booster"))
    text = trees.booster.model_to_string(num_iteration=-1)
    features = trees.booster.num_feature()
    chance, taken = random.Random(4), 0
    end = text.index("end of trees")
    for _ in range(400):
        at = chance.randrange(end)
        kind = chance.randrange(3)
        broken = text[:at] if kind == 0 else text[:at] + chance.choice("0123456789-. \n=") + (
            text[at + 1 :] if kind == 1 else text[at:]
        )  # fmt: skip
        try:
            safe = checked_trees(broken, "member")
        except BadInputError:
            continue
        taken += 1
        again = lightgbm.Booster(model_str=safe)
        assert np.isfinite(again.predict(np.zeros((3, features)))).all()
    assert taken < 200
