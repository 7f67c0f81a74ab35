"""The entry point for models: what scikit-learn calls a regressor or a classifier.

A package adds one through the entry point ``neva.models``: a function without
arguments that returns an unfitted estimator of scikit-learn. Regressors predict
the mean of a count; the spread around it is measured by whoever uses the
model. Classifiers predict the probability of an outcome. A name with a dot,
such as ``covid19.mortality``, is no estimator but a family of models of a
programme (:mod:`neva.models.families`).
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Literal, Protocol, overload

import numpy as np
import numpy.typing as npt

from neva.errors import UsageError

__all__ = ["Classifier", "Kind", "Regressor", "gradient_boosting", "load_model", "model_names"]

Kind = Literal["regressor", "classifier"]


class Regressor(Protocol):
    """What is asked of a model: scikit-learn's two methods."""

    def fit(self, X: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Any:  # noqa: N803
        """Learn from rows of `X`, shape (n, p), and counts `y`, shape (n,)."""

    def predict(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return the mean for each row of `X`, shape (n,)."""


class Classifier(Protocol):
    """What is asked of a classifier: scikit-learn's two methods."""

    def fit(self, X: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Any:  # noqa: N803
        """Learn from rows of `X`, shape (n, p), missing as NaN, and outcomes `y` of 0 and 1."""

    def predict_proba(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return probabilities of no outcome and of the outcome, shape (n, 2)."""


def gradient_boosting() -> Regressor:
    """Return gradient-boosted trees with Poisson loss (scikit-learn)."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model: Regressor = HistGradientBoostingRegressor(
        loss="poisson", learning_rate=0.05, max_iter=100, min_samples_leaf=40, random_state=0
    )
    return model


def _kind(model: Any) -> Kind | None:
    """Tell what a model is: by scikit-learn's tags, or by its methods if it has none."""
    from sklearn.base import is_classifier, is_regressor

    if not hasattr(model, "__sklearn_tags__"):
        return "classifier" if hasattr(model, "predict_proba") else "regressor"
    if is_classifier(model):
        return "classifier"
    return "regressor" if is_regressor(model) else None


def model_names(kind: Kind | None = None) -> list[str]:
    """Names of the models that are installed; of one kind, or all estimators.

    Asking for a kind makes each of them.
    """
    points = [point for point in entry_points(group="neva.models") if "." not in point.name]
    if kind is None:
        return sorted(point.name for point in points)
    return sorted(point.name for point in points if _kind(point.load()()) == kind)


@overload
def load_model(name: str, kind: Literal["regressor"] = "regressor") -> Regressor: ...


@overload
def load_model(name: str, kind: Literal["classifier"]) -> Classifier: ...


def load_model(name: str, kind: Kind = "regressor") -> Any:
    """Return a new, unfitted model by its name.

    Parameters
    ----------
    name : str
        Of its entry point.
    kind : {"regressor", "classifier"}
        Of counts, or of an outcome; told by scikit-learn's tags, or by the methods of
        what has none.

    Raises
    ------
    UsageError
        No such model is installed, or it is of the other kind.
    """
    for point in entry_points(group="neva.models"):
        if point.name == name and "." not in name:
            model = point.load()()
            if _kind(model) != kind:
                message = (
                    f"model: a {kind} is needed; found {name!r}, which is none; give one of "
                    f"{', '.join(model_names(kind))}"
                )
                raise UsageError(message)
            return model
    message = (
        f"model: not installed; found {name!r}; give one of {', '.join(model_names(kind))} or "
        "install a package with the entry point neva.models"
    )
    raise UsageError(message)
