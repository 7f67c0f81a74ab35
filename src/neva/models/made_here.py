"""Simple models of a hospital's own patients, for comparison with a saved model.

A model from elsewhere may rank patients well and still predict far too many
deaths. Beside it stand the same model recalibrated on these patients, and a plain
logistic regression of the same markers: each predicts patients it has not seen.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from neva.models.cases import Cases
from neva.models.estimators import logistic_regression
from neva.models.fitted_model import Model
from neva.models.members import probability
from neva.models.recalibration import fit_recalibration
from neva.models.splits import grouped_folds

__all__ = ["PLAIN_HERE", "RECALIBRATED_HERE", "predictions_made_here"]

Floats = npt.NDArray[np.float64]

RECALIBRATED_HERE: Final = "model recalibrated on these patients"
PLAIN_HERE: Final = "plain logistic fitted to these patients"
FOLDS: Final = 5
#: Fewer patients of either outcome give no fold that could be learnt from.
FEWEST: Final = 20


def predictions_made_here(model: Model, cases: Cases, *, seed: int = 1) -> dict[str, Floats]:
    """Predict each patient from the others of the same hospital, in two plain ways.

    Parameters
    ----------
    model : Model
        A saved one, made from other patients.
    cases : Cases
        With the model's features.
    seed : int
        Of the folds, which keep the rows of a patient in one piece.

    Returns
    -------
    dict of str to numpy.ndarray, shape (n,)
        Probabilities: ``model recalibrated on these patients`` (intercept and
        slope) and ``plain logistic fitted to these patients`` (of the same
        features, with logarithms). Empty where fewer than 20 patients have, or
        have not, the outcome.
    """
    y = cases.outcome
    rarer = min(len(np.unique(cases.patient[y == one])) for one in (0, 1))
    if rarer < FEWEST:
        return {}
    raw = model.ensemble.log_odds(cases.matrix)
    fold = grouped_folds(cases.patient, y, FOLDS, seed=seed)
    recalibrated, plain = np.empty_like(raw), np.empty_like(raw)
    for number in range(FOLDS):
        test = fold == number
        learnt = fit_recalibration("intercept-and-slope", y[~test], raw[~test])
        recalibrated[test] = probability(learnt.apply(raw[test]))
        fitted = logistic_regression(logarithms=True).fit(cases.matrix[~test], y[~test])
        plain[test] = fitted.predict_proba(cases.matrix[test])[:, 1]
    return {RECALIBRATED_HERE: recalibrated, PLAIN_HERE: plain}
