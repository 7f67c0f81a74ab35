"""Discrete-time hazards: the chance of an outcome in each period, and within several.

The person-period layout: each row of the data becomes a row for every period
that it was observed in, with the time since admission moved on; the outcome
of a row is whether it happened in that period (Singer & Willett 1993).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from neva.errors import UsageError

__all__ = ["DiscreteTimeHazard", "discrete_time_hazard", "moved_on", "person_periods"]

Floats = npt.NDArray[np.float64]


def moved_on(X: Floats, time_column: int, hours: float) -> Floats:  # noqa: N803
    """Return rows with their time since admission moved on; the rest stays as it is."""
    later = X.copy()
    later[:, time_column] += hours
    return later


def person_periods(
    X: Floats,  # noqa: N803
    event_hours: Floats,
    observed_hours: Floats,
    *,
    period_hours: float,
    periods: int,
    time_column: int,
) -> tuple[Floats, Floats]:
    """Lay rows out by period.

    Parameters
    ----------
    X : numpy.ndarray, shape (n, p)
    event_hours : numpy.ndarray, shape (n,)
        Hours from the row's *now* to the outcome; infinite if it did not come.
    observed_hours : numpy.ndarray, shape (n,)
        Hours for which it is known whether it came; infinite where the stay
        ended without it.
    period_hours : float
        Length of a period; the k-th is (k * length, (k + 1) * length].
    periods : int
        At most so many.
    time_column : int
        Column of `X` with hours since admission.

    Returns
    -------
    rows : numpy.ndarray, shape (m, p)
    outcome : numpy.ndarray of 0 and 1, shape (m,)
        A period that was not observed to its end without an outcome is left out.

    Examples
    --------
    >>> rows, y = person_periods(np.array([[5.0]]), np.array([30.0]), np.array([np.inf]),
    ...                          period_hours=24, periods=3, time_column=0)
    >>> rows[:, 0].tolist(), y.tolist()
    ([5.0, 29.0], [0.0, 1.0])
    """
    kept_rows, kept_outcomes = [], []
    for k in range(periods):
        start, end = k * period_hours, (k + 1) * period_hours
        happens = (event_hours > start) & (event_hours <= end) & (event_hours <= observed_hours)
        passes = (event_hours > end) & (observed_hours >= end)
        there = happens | passes
        kept_rows.append(moved_on(X[there], time_column, start))
        kept_outcomes.append(happens[there].astype(np.float64))
    return np.vstack(kept_rows), np.concatenate(kept_outcomes)


class DiscreteTimeHazard(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Probability of an outcome within a horizon, from hazards of periods.

    ``1 - product over periods (1 - hazard)``, with what is known now taken as
    it is and only the time since admission moving on.

    Parameters
    ----------
    estimator : classifier, optional
        Of the hazard of one period; :func:`logistic_regression` by default.
    period_hours, horizon_hours : float
        The horizon is a whole number of periods.
    time_column : int
        Column with hours since admission.

    References
    ----------
    Singer JD, Willett JB (1993), doi:10.3102/10769986018002155.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        period_hours: float = 24.0,
        horizon_hours: float = 24.0,
        time_column: int = -1,
    ) -> None:
        self.estimator = estimator
        self.period_hours = period_hours
        self.horizon_hours = horizon_hours
        self.time_column = time_column

    @property
    def periods(self) -> int:
        """How many periods the horizon has."""
        whole = round(self.horizon_hours / self.period_hours)
        if whole < 1 or not math.isclose(whole * self.period_hours, self.horizon_hours):
            message = (
                "hazard: the horizon must be a whole number of periods; found "
                f"{self.horizon_hours} h in periods of {self.period_hours} h; choose another period"
            )
            raise UsageError(message)
        return whole

    def fit(
        self,
        X: Floats,  # noqa: N803
        y: Floats,
        *,
        event_hours: Floats | None = None,
        observed_hours: Floats | None = None,
    ) -> DiscreteTimeHazard:
        """Learn the hazard; without times, `y` must speak of a single period."""
        from neva.models.estimators import logistic_regression

        if event_hours is None:
            if self.periods != 1:
                message = (
                    f"hazard: {self.periods} periods need the time of the outcome; found none; "
                    "give event_hours"
                )
                raise UsageError(message)
            event_hours = np.where(np.asarray(y) == 1, self.period_hours, np.inf)
        seen = np.full(len(X), np.inf) if observed_hours is None else observed_hours
        rows, outcome = person_periods(
            np.asarray(X, dtype=np.float64),
            event_hours,
            seen,
            period_hours=self.period_hours,
            periods=self.periods,
            time_column=self.time_column,
        )
        base = logistic_regression() if self.estimator is None else clone(self.estimator)
        self.estimator_ = base.fit(rows, outcome)
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: Floats) -> Floats:  # noqa: N803
        """Return the probabilities of no outcome and of the outcome within the horizon."""
        survived = np.ones(len(X))
        for k in range(self.periods):
            rows = moved_on(
                np.asarray(X, dtype=np.float64), self.time_column, k * self.period_hours
            )
            survived = survived * self.estimator_.predict_proba(rows)[:, 0]
        return np.column_stack([survived, 1 - survived])

    def predict(self, X: Floats) -> npt.NDArray[np.int64]:  # noqa: N803
        """Return whether the outcome is more likely than not."""
        return (self.predict_proba(X)[:, 1] >= 0.5).astype(np.int64)


def discrete_time_hazard() -> DiscreteTimeHazard:
    """Return the model with its own settings: hazard by the day, the day to come."""
    return DiscreteTimeHazard()
