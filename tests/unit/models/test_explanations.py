"""Contributions are exact Shapley values and sum to the log-odds."""

from itertools import combinations
from math import factorial

import numpy as np
import polars as pl
import pytest

from neva.definitions.language import events, stay, subject
from neva.definitions.writing import feature
from neva.models.explanations import contributions, predict
from neva.models.hazard import DiscreteTimeHazard
from neva.models.members import TreeMember, fitted_member
from neva.models.recalibration import RecalibrationMap, fit_recalibration
from neva.models.training import Ensemble

NAMES = ("a", "b", "c")


def rows(n=300, seed=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    y = (x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + rng.normal(size=n) > 0).astype(float)
    x[rng.random((n, 3)) < 0.15] = np.nan
    return x, y


def ensemble(*models, recalibration=None):
    x, y = rows()
    members = []
    for name, settings, columns in models:
        member = fitted_member(name, settings, x[:, columns], y, seed=1)
        members.append((member, tuple(columns)))
    return Ensemble(NAMES, tuple(members), recalibration or RecalibrationMap()), x, y


def expected_of_tree(node, x, known):
    """What a tree says when only some features are known: the rest by training rows."""
    if "leaf_value" in node:
        return node["leaf_value"]
    k = node["split_feature"]
    if k in known:
        value = x[k]
        left = node["default_left"] if np.isnan(value) else value <= node["threshold"]
        return expected_of_tree(node["left_child" if left else "right_child"], x, known)

    def size(child):
        return child.get("leaf_count", child.get("internal_count"))

    parts = [(size(node[one]), node[one]) for one in ("left_child", "right_child")]
    whole = sum(n for n, _ in parts)
    return sum(n * expected_of_tree(one, x, known) for n, one in parts) / whole


def brute_force(trees, x, features):
    """Shapley values over all subsets of features, straight from their definition."""

    def worth(known):
        return sum(expected_of_tree(tree, x, known) for tree in trees)

    found = []
    for k in range(features):
        others = [j for j in range(features) if j != k]
        total = 0.0
        for size in range(features):
            weight = factorial(size) * factorial(features - size - 1) / factorial(features)
            for some in combinations(others, size):
                total += weight * (worth({*some, k}) - worth(set(some)))
        found.append(total)
    return found, worth(set())


def test_trees_are_explained_by_their_shapley_values():
    settings = {"trees": 6, "leaves": 5, "rate": 0.3}
    model, x, _ = ensemble(("boosted-trees", settings, [0, 1, 2]))
    member = model.members[0][0]
    assert isinstance(member, TreeMember)
    dump = member.booster.dump_model()["tree_info"]
    trees = [one["tree_structure"] for one in dump]
    parts, base = contributions(model, x[:25])
    for row in range(25):
        expected, empty = brute_force(trees, x[row], 3)
        assert parts[row] == pytest.approx(expected, abs=1e-6)
        assert base[row] == pytest.approx(empty, abs=1e-6)


def test_linear_contributions_are_coefficient_times_distance_from_the_mean():
    model, x, _ = ensemble(("logistic-regression", {}, [0, 1, 2]))
    pipeline = model.members[0][0].pipeline
    parts, base = contributions(model, x)
    filled = np.where(np.isnan(x), np.nanmedian(x, axis=0), x)
    scaler, last = pipeline[-2], pipeline[-1]
    for k in range(3):
        slope = last.coef_[0][k] / scaler.scale_[k]
        absent = np.isnan(x[:, k]).astype(float)
        of_missing = last.coef_[0][3 + k] / scaler.scale_[3 + k]
        expected = slope * (filled[:, k] - filled[:, k].mean())
        expected += of_missing * (absent - absent.mean())
        assert parts[:, k] == pytest.approx(expected)
    assert base == pytest.approx(np.full(len(x), last.intercept_[0]))


MODELS = [
    ("logistic-regression", {"logarithms": True, "strength": 0.1}, [0, 2]),
    ("boosted-trees", {"trees": 20}, [0, 1, 2]),
]


@pytest.mark.parametrize("kind", ["none", "in-the-large", "intercept-and-slope", "isotonic"])
def test_base_and_contributions_sum_to_the_log_odds(kind):
    plain, x, y = ensemble(*MODELS)
    fitted = fit_recalibration(kind, y, plain.raw_log_odds(x))
    model = Ensemble(NAMES, plain.members, fitted)
    parts, base = contributions(model, x)
    assert parts.sum(1) + base == pytest.approx(model.log_odds(x))
    if kind != "isotonic":
        assert np.ptp(base) < 1e-9


def test_a_hazard_over_many_periods_sums_too_and_is_the_estimators_probability():
    x, y = rows()
    x[:, 2] = np.abs(np.nan_to_num(x[:, 2])) * 24
    hours = np.where(y == 1, np.random.default_rng(1).uniform(1, 72, len(y)), np.inf)
    settings = {"horizon_hours": 72.0, "time_column": 2}
    member = fitted_member("discrete-time-hazard", settings, x, y, seed=1, event_hours=hours)
    made = member.contributions(x)
    assert made.sum(1) == pytest.approx(member.log_odds(x))
    whole = DiscreteTimeHazard(horizon_hours=72.0, time_column=2).fit(x, y, event_hours=hours)
    expected = whole.predict_proba(x)[:, 1]
    assert 1 / (1 + np.exp(-member.log_odds(x))) == pytest.approx(expected)


def test_every_feature_is_told_in_words_with_its_unit():
    features = (
        feature("demo.age", subject.age_at(stay.start), version="1.0.0", title="Age"),
        feature("demo.male", subject.sex == "male", version="1.0.0", title="Male sex"),
        feature("demo.ldh", events("X//ldh").last().value("U/L"), version="1.0.0", title="LDH"),
    )
    model, _x, _ = ensemble(*MODELS)
    shown = np.array([[67.0, 1.0, np.nan]])
    frame = pl.DataFrame({"point_id": [7]})
    told = predict(model, features, {"demo.age": "a", "demo.ldh": "U/L"}, frame, shown)
    words = dict(told.contributions.select("feature", "words").iter_rows())
    assert words == {
        "demo.age": "Age 67 years",
        "demo.male": "Male sex: yes",
        "demo.ldh": "LDH: not known",
    }
    assert told.frame.select("point_id", "missing").row(0) == (7, 1)
    sizes = told.contributions["contribution"].abs().to_list()
    assert sizes == sorted(sizes, reverse=True)
    assert len(told.reasons(0)) <= 3
    value = told.contributions.filter(pl.col("feature") == "demo.ldh")["value"][0]
    assert value is None
