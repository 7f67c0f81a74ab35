"""Fitted members of a model: log-odds, and what each feature adds to them.

A member is linear, or boosted trees, or a hazard of either. Each gives its
log-odds as a base and a contribution of every feature that sum to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import special

from neva.errors import UsageError
from neva.models.hazard import DiscreteTimeHazard, moved_on

__all__ = [
    "HazardMember",
    "LinearMember",
    "Member",
    "TreeMember",
    "fitted_member",
    "probability",
]

Floats = npt.NDArray[np.float64]

#: Probabilities nearer to 0 or 1 have no place on the scale of log-odds.
_NEAREST: Final = 1e-12


@dataclass(frozen=True, eq=False)
class LinearMember:
    """A pipeline that ends in a logistic regression.

    A feature contributes coefficient × (value − mean) on the transformed
    scale, its missing indicator included; the mean is that of the training
    rows, so the base is the log-odds of an average row.
    """

    pipeline: Any
    kind = "linear"

    def log_odds(self, X: Floats) -> Floats:  # noqa: N803
        """Return log-odds, shape (n,)."""
        return np.asarray(self.pipeline.decision_function(X), dtype=np.float64)

    def contributions(self, X: Floats) -> Floats:  # noqa: N803
        """Return contributions of features and the base in the last column, (n, p + 1)."""
        transformed = np.asarray(self.pipeline[:-1].transform(X), dtype=np.float64)
        last = self.pipeline[-1]
        parts = transformed * last.coef_[0]
        features = X.shape[1]
        owners = list(range(features))
        imputer = self.pipeline.named_steps.get("impute")
        indicator = getattr(imputer, "indicator_", None)
        if indicator is not None:
            owners += [int(one) for one in indicator.features_]
        # The columns are standardised: their means in training are zero.
        made = np.zeros((len(X), features + 1))
        for column, owner in enumerate(owners):
            made[:, owner] += parts[:, column]
        made[:, features] = last.intercept_[0]
        return made


@dataclass(frozen=True, eq=False)
class TreeMember:
    """Boosted trees: exact Shapley values of each tree, summed (TreeSHAP).

    References
    ----------
    Lundberg SM et al. (2020), doi:10.1038/s42256-019-0138-9.
    """

    booster: Any
    kind = "trees"

    def log_odds(self, X: Floats) -> Floats:  # noqa: N803
        """Return log-odds, shape (n,)."""
        found = self.booster.predict(X, raw_score=True, num_threads=1)
        return np.asarray(found, dtype=np.float64)

    def contributions(self, X: Floats) -> Floats:  # noqa: N803
        """Return contributions of features and the base in the last column, (n, p + 1)."""
        found = self.booster.predict(X, pred_contrib=True, num_threads=1)
        return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class HazardMember:
    """A hazard member: its explanation is that of the first period.

    What the further periods of the horizon add to the log-odds belongs to the
    feature of time since admission: nothing else moves on.
    """

    inner: LinearMember | TreeMember
    period_hours: float
    periods: int
    time_column: int
    kind = "hazard"

    def log_odds(self, X: Floats) -> Floats:  # noqa: N803
        """Return log-odds of the outcome within the horizon, shape (n,)."""
        survived = np.zeros(len(X))
        for k in range(self.periods):
            rows = moved_on(X, self.time_column, k * self.period_hours)
            survived = survived - np.logaddexp(0, self.inner.log_odds(rows))
        return np.asarray(np.log(-np.expm1(survived)) - survived, dtype=np.float64)

    def contributions(self, X: Floats) -> Floats:  # noqa: N803
        """Return contributions of features and the base in the last column, (n, p + 1)."""
        made = self.inner.contributions(X)
        made[:, self.time_column] += self.log_odds(X) - made.sum(1)
        return made


Member = LinearMember | TreeMember | HazardMember


def _member_of_estimator(estimator: Any, name: str) -> LinearMember | TreeMember:
    from sklearn.pipeline import Pipeline

    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if hasattr(last, "booster_"):
        if isinstance(estimator, Pipeline) and len(estimator) > 1:
            message = (
                f"model {name}: trees stand alone, without steps before them; found "
                f"{len(estimator)} steps; give raw features to the trees"
            )
            raise UsageError(message)
        return TreeMember(last.booster_)
    if isinstance(estimator, Pipeline) and hasattr(last, "coef_"):
        return LinearMember(estimator)
    message = (
        f"model {name}: its predictions cannot be explained exactly; found {type(last).__name__}; "
        "use a pipeline that ends in a logistic regression, or LightGBM"
    )
    raise UsageError(message)


def fitted_member(
    name: str,
    settings: Mapping[str, Any],
    X: Floats,  # noqa: N803
    y: Floats,
    *,
    seed: int,
    event_hours: Floats | None = None,
    observed_hours: Floats | None = None,
) -> Member:
    """Fit a model of the door and return it as a member.

    Parameters
    ----------
    name : str
        Of the entry point in ``neva.models``.
    settings : mapping
        For Neva's own models the arguments of their functions, for a hazard
        also ``of`` (the model of the hazard) and ``of_settings``; for others
        parameters of scikit-learn.
    X, y : numpy.ndarray
        Shapes (n, p), missing as NaN, and (n,) of 0 and 1.
    seed : int
    event_hours, observed_hours : numpy.ndarray, optional
        Of a hazard; see :func:`neva.models.hazard.person_periods`.

    Raises
    ------
    UsageError
        The model is not installed, is no classifier, or cannot be explained.
    """
    from neva.models.estimators import boosted_trees, logistic_regression
    from neva.statistics.models import load_model

    own: dict[str, Any] = {
        "logistic-regression": logistic_regression,
        "boosted-trees": boosted_trees,
    }
    model: Any
    if name == "discrete-time-hazard":
        rest = dict(settings)
        inner = own[rest.pop("of", "logistic-regression")]
        model = DiscreteTimeHazard(inner(**rest.pop("of_settings", {}), seed=seed), **rest)
        model.fit(X, y, event_hours=event_hours, observed_hours=observed_hours)
        return HazardMember(
            inner=_member_of_estimator(model.estimator_, name),
            period_hours=model.period_hours,
            periods=model.periods,
            time_column=model.time_column % X.shape[1],
        )
    if name in own:
        model = own[name](**dict(settings), seed=seed)
    else:
        model = load_model(name, "classifier")
        if settings:
            model.set_params(**dict(settings))
    return _member_of_estimator(model.fit(X, y), name)


def probability(log_odds: Floats) -> Floats:
    """Return probabilities, never exactly 0 or 1."""
    found: Floats = np.clip(np.asarray(special.expit(log_odds)), _NEAREST, 1 - _NEAREST)
    return found
