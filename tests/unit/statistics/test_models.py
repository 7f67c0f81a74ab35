"""The door for models of counts."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest

from neva.errors import UsageError
from neva.statistics import models
from neva.statistics.models import load_model, model_names


class Mean:
    """A model that says the mean."""

    def fit(self, X, y):  # noqa: N803
        self.mean = float(np.mean(y))

    def predict(self, X):  # noqa: N803
        return np.full(len(X), self.mean)


def mean():
    return Mean()


def test_gradient_boosting_comes_through_the_door():
    assert "gradient-boosting" in model_names()
    model = load_model("gradient-boosting").set_params(max_iter=60, learning_rate=0.2)
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 2, 400)
    counts = rng.poisson(np.where(groups, 20.0, 5.0)).astype(float)
    model.fit(groups[:, None].astype(float), counts)
    low, high = model.predict(np.array([[0.0], [1.0]]))
    assert low == pytest.approx(counts[groups == 0].mean(), rel=0.02)
    assert high == pytest.approx(counts[groups == 1].mean(), rel=0.02)


def test_every_model_is_new():
    assert load_model("gradient-boosting") is not load_model("gradient-boosting")


def test_a_package_adds_a_model(monkeypatch):
    ours = EntryPoint("always-the-mean", f"{__name__}:mean", "neva.models")
    monkeypatch.setattr(EntryPoint, "load", lambda self: mean)
    monkeypatch.setattr(models, "entry_points", lambda group: [ours])
    assert model_names() == ["always-the-mean"]
    made = load_model("always-the-mean")
    made.fit(np.zeros((2, 1)), np.array([1.0, 3.0]))
    assert made.predict(np.zeros((1, 1))).tolist() == [2.0]


def test_a_model_that_is_not_installed_is_named_beside_those_that_are():
    with pytest.raises(UsageError, match=r"found 'oracle'; give one of .*gradient-boosting"):
        load_model("oracle")
