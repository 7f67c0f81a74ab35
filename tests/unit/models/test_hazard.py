import numpy as np
import pytest
from sklearn.base import is_classifier

from neva.errors import UsageError
from neva.models.estimators import boosted_trees, logistic_regression
from neva.models.hazard import DiscreteTimeHazard, person_periods
from neva.statistics.models import load_model, model_names


def test_person_periods_by_hand():
    x = np.array([[0.0, 1.0], [12.0, 2.0], [0.0, 3.0]])
    # The first dies after 30 h, the second goes home, of the third 50 h are known.
    rows, y = person_periods(
        x,
        np.array([30.0, np.inf, np.inf]),
        np.array([np.inf, np.inf, 50.0]),
        period_hours=24,
        periods=3,
        time_column=0,
    )
    assert sorted(zip(*rows.T.tolist(), y.tolist(), strict=True)) == [
        (0.0, 1.0, 0.0), (0.0, 3.0, 0.0), (12.0, 2.0, 0.0), (24.0, 1.0, 1.0), (24.0, 3.0, 0.0),
        (36.0, 2.0, 0.0), (60.0, 2.0, 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize("inner", [None, boosted_trees(trees=20)])
def test_a_constant_hazard_is_found_and_multiplied(inner):
    rng = np.random.default_rng(5)
    n, hazard = 4000, 0.2
    died = rng.geometric(hazard, n) * 24.0 - 12
    x = np.column_stack([np.zeros(n), rng.normal(size=n)])
    model = DiscreteTimeHazard(inner, horizon_hours=72.0, time_column=0)
    model.fit(x, (died <= 72).astype(float), event_hours=died)
    # 1 - 0.8 ** 3; the standard error of a share of 4000 is 0.008.
    assert model.predict_proba(x)[:, 1].mean() == pytest.approx(1 - 0.8**3, abs=0.03)


def test_a_single_period_is_the_plain_classifier():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 2))
    y = (x[:, 1] + rng.normal(size=200) > 0).astype(float)
    found = DiscreteTimeHazard(time_column=0).fit(x, y).predict_proba(x)
    assert found == pytest.approx(logistic_regression().fit(x, y).predict_proba(x))


def test_a_horizon_of_part_periods_is_refused():
    with pytest.raises(UsageError, match="whole number of periods"):
        DiscreteTimeHazard(horizon_hours=30.0).predict_proba(np.zeros((1, 1)))


def test_several_periods_need_times():
    with pytest.raises(UsageError, match="time of the outcome"):
        DiscreteTimeHazard(horizon_hours=48.0).fit(np.zeros((2, 1)), np.array([0, 1]))


def test_the_door_tells_classifiers_from_regressors():
    names = model_names("classifier")
    assert {"boosted-trees", "discrete-time-hazard", "logistic-regression"} <= set(names)
    assert "gradient-boosting" not in names
    assert "gradient-boosting" in model_names("regressor")
    assert not any("." in name for name in model_names())
    for name in names:
        assert is_classifier(load_model(name, "classifier"))


def test_a_model_of_the_other_kind_is_refused():
    with pytest.raises(UsageError, match="a regressor is needed; found 'boosted-trees'"):
        load_model("boosted-trees")
    with pytest.raises(UsageError, match="a classifier is needed"):
        load_model("gradient-boosting", "classifier")
    with pytest.raises(UsageError, match="not installed"):
        load_model("covid19.mortality", "classifier")


def test_missing_values_are_fine_and_the_seed_decides():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 3))
    y = (x[:, 1] > 0).astype(float)
    x[rng.random(x.shape) < 0.3] = np.nan
    x[:, 2] = np.nan
    for make in (logistic_regression, boosted_trees):
        first = make(seed=4).fit(x, y).predict_proba(x)
        assert (first == make(seed=4).fit(x, y).predict_proba(x)).all()
        assert np.isfinite(first).all()
