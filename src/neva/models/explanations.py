"""Explanations of a prediction: what each feature adds to the log-odds.

Exact Shapley values for trees (TreeSHAP) and for linear members; contributions
and base sum to the log-odds. They explain the model, not the patient: a
feature that adds much is no cause and no target for treatment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.definitions.documents import Feature
from neva.models.members import probability
from neva.models.training import Ensemble

__all__ = ["Predictions", "contributions", "predict", "value_in_words"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of a model for each point, with explanations.

    Attributes
    ----------
    frame : polars.DataFrame
        The key columns that were given (``point_id``, ``subject_id``, ``stay_id``, ``now``) and
        ``row`` (from 0), ``probability``, ``log_odds``, ``base`` (log-odds before any
        feature, recalibration included), ``missing`` (features without a value).
    contributions : polars.DataFrame
        A row for each point and feature: ``row``, ``feature``, ``title``, ``value``
        (missing: not known), ``unit``, ``words``, ``contribution`` (log-odds; above zero it
        raises the probability). Largest first in each row.
    """

    frame: pl.DataFrame
    contributions: pl.DataFrame

    def to_frame(self) -> pl.DataFrame:
        """Return ``frame``."""
        return self.frame

    def reasons(self, row: int, *, most: int = 5) -> list[str]:
        """Return the features that move a prediction most, each in a sentence."""
        mine = self.contributions.filter(pl.col("row") == row).head(most)
        return [
            f"{one['words']} {'raises' if one['contribution'] > 0 else 'lowers'} the log-odds by "
            f"{abs(one['contribution']):.2f}"
            for one in mine.iter_rows(named=True)
            if one["contribution"]
        ]


def contributions(model: Ensemble, X: Floats) -> tuple[Floats, Floats]:  # noqa: N803
    """Return what features add to the log-odds, and the base.

    Parameters
    ----------
    model : Ensemble
    X : numpy.ndarray, shape (n, p)

    Returns
    -------
    contributions : numpy.ndarray, shape (n, p)
    base : numpy.ndarray, shape (n,)
        ``contributions.sum(1) + base`` are the recalibrated log-odds.

    Notes
    -----
    A recalibration by intercept and slope is linear in log-odds: contributions are
    multiplied by the slope. An isotonic one is not: what it changes beyond
    is put into the base, row by row.
    """
    total = np.zeros((len(X), X.shape[1] + 1))
    for member, columns in model.members:
        found = member.contributions(X[:, list(columns)])
        total[:, list(columns)] += found[:, :-1]
        total[:, -1] += found[:, -1]
    total /= len(model.members)
    line = model.recalibration
    parts = total[:, :-1] * (1.0 if line.kind == "isotonic" else line.slope)
    if line.kind == "isotonic":
        return parts, model.log_odds(X) - parts.sum(1)
    return parts, line.intercept + line.slope * total[:, -1]


def value_in_words(feature: Feature, value: float, unit: str) -> str:
    """Say a feature's value with its unit, for people.

    Examples
    --------
    >>> from neva.definitions.language import *
    >>> from neva.definitions.writing import feature
    >>> age = feature("demo.age", subject.age_at(stay.start), version="1.0.0", title="Age")
    >>> value_in_words(age, 67.0, "a"), value_in_words(age, float("nan"), "a")
    ('Age 67 years', 'Age: not known')
    """
    title = feature.title or feature.id
    if np.isnan(value):
        return f"{title}: not known"
    if feature.value.type.name == "boolean":
        return f"{title}: {'yes' if value else 'no'}"
    written = {
        "a": " years", "h": " h", "1": "", "": "", "%": " %", "10*9/L": " ×10⁹/L",
        "umol/L": " µmol/L", "ug/mL": " µg/mL",
    }  # fmt: skip
    return f"{title} {value:,.4g}{written.get(unit, f' {unit}')}"


def predict(
    model: Ensemble,
    features: Sequence[Feature],
    units: Mapping[str, str],
    frame: pl.DataFrame,
    X: Floats,  # noqa: N803
) -> Predictions:
    """Predict and explain.

    Parameters
    ----------
    model : Ensemble
    features : sequence of Feature
        In the order of the columns of `X`.
    units : mapping of str to str
    frame : polars.DataFrame
        Whose key columns are kept, in the order of `X`.
    X : numpy.ndarray, shape (n, p)

    Returns
    -------
    Predictions
    """
    log_odds = model.log_odds(X)
    parts, base = contributions(model, X)
    keys = [one for one in ("point_id", "subject_id", "stay_id", "now") if one in frame.columns]
    # Built of columns: a frame without keys has no rows that others could join.
    predictions = pl.DataFrame(
        [
            *frame.select(keys).get_columns(),
            pl.Series("row", np.arange(len(X), dtype=np.int64)),
            pl.Series("probability", probability(log_odds)),
            pl.Series("log_odds", log_odds),
            pl.Series("base", base),
            pl.Series("missing", np.isnan(X).sum(1).astype(np.int64)),
        ]
    )
    n, p = X.shape
    long = pl.DataFrame(
        {
            "row": np.repeat(np.arange(n, dtype=np.int64), p),
            "feature": [one.id for _ in range(n) for one in features],
            "title": [one.title or one.id for _ in range(n) for one in features],
            "value": pl.Series(X.ravel(), dtype=pl.Float64).fill_nan(None),
            "unit": [units.get(one.id, "") for _ in range(n) for one in features],
            "words": [
                value_in_words(one, float(X[row, k]), units.get(one.id, ""))
                for row in range(n)
                for k, one in enumerate(features)
            ],
            "contribution": parts.ravel(),
        },
        schema_overrides={"feature": pl.String, "title": pl.String, "words": pl.String},
    )
    return Predictions(
        predictions,
        long.sort(
            "row",
            pl.col("contribution").abs(),
            descending=[False, True],
            maintain_order=True,
        ),
    )
