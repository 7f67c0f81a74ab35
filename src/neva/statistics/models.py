"""The door for models of counts: whatever scikit-learn calls a regressor.

A package adds one through the entry point ``neva.models``: a function without
arguments that returns an unfitted regressor with ``fit(X, y)`` and
``predict(X)``. What is predicted is the mean of a count; the spread around it
is measured by whoever uses the model.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from neva.errors import UsageError

__all__ = ["Regressor", "gradient_boosting", "load_model", "model_names"]


class Regressor(Protocol):
    """What is asked of a model: scikit-learn's two methods."""

    def fit(self, X: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Any:  # noqa: N803
        """Learn from rows of `X`, shape (n, p), and counts `y`, shape (n,)."""

    def predict(self, X: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return the mean for each row of `X`, shape (n,)."""


def gradient_boosting() -> Regressor:
    """Return gradient-boosted trees with Poisson loss (scikit-learn)."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model: Regressor = HistGradientBoostingRegressor(
        loss="poisson", learning_rate=0.05, max_iter=100, min_samples_leaf=40, random_state=0
    )
    return model


def model_names() -> list[str]:
    """Names of the models that are installed."""
    return sorted(point.name for point in entry_points(group="neva.models"))


def load_model(name: str) -> Regressor:
    """Return a new, unfitted model by its name.

    Raises
    ------
    UsageError
        No such model is installed.
    """
    for point in entry_points(group="neva.models"):
        if point.name == name:
            model: Regressor = point.load()()
            return model
    message = (
        f"model: not installed; found {name!r}; give one of {', '.join(model_names())} or install "
        "a package with the entry point neva.models"
    )
    raise UsageError(message)
