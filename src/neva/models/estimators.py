"""Classifiers of Neva: pipelines of scikit-learn that take missing values as they are.

All of them run on one thread and give the same for the same seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["boosted_trees", "logistic_regression", "signed_log"]

Floats = npt.NDArray[np.float64]


def signed_log(values: Floats) -> Floats:
    """Return ``sign(x) log(1 + |x|)``: laboratory values have long tails.

    Examples
    --------
    >>> signed_log(np.array([0.0, np.e - 1, 1 - np.e])).round(6).tolist()
    [0.0, 1.0, -1.0]
    """
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)))


def logistic_regression(*, strength: float = 1.0, logarithms: bool = False, seed: int = 0) -> Any:
    """Return a logistic regression with ridge penalty.

    A missing value becomes the median of the training rows, and an indicator
    says that it was missing; both are learnt inside the fold.

    Parameters
    ----------
    strength : float
        Inverse of the penalty on standardised features: smaller shrinks more.
    logarithms : bool
        Take :func:`signed_log` of every feature first.
    seed : int
        Not used: the maximum is unique.

    Returns
    -------
    sklearn.pipeline.Pipeline
    """
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    del seed
    return Pipeline(
        [
            ("scale", FunctionTransformer(signed_log if logarithms else None)),
            (
                "impute",
                SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            ),
            ("standardise", StandardScaler()),
            ("model", LogisticRegression(C=strength, max_iter=5000, tol=1e-8)),
        ]
    )


def boosted_trees(
    *,
    trees: int = 200,
    leaves: int = 3,
    rate: float = 0.05,
    rows_a_leaf: int = 15,
    shrinkage: float = 5.0,
    rises: tuple[int, ...] | None = None,
    seed: int = 0,
) -> Any:
    """Return gradient-boosted trees (LightGBM); missing values go where they fit best.

    Parameters
    ----------
    trees, leaves, rate, rows_a_leaf, shrinkage
        Number of trees, leaves of each, learning rate, least training rows in
        a leaf, L2 penalty of leaves.
    rises : tuple of int, optional
        For each feature 1 where the risk may only rise with it, -1 where it
        may only fall, 0 where it is free.
    seed : int

    Returns
    -------
    sklearn.pipeline.Pipeline

    References
    ----------
    Ke G et al. (2017), LightGBM, NeurIPS 30.
    """
    from lightgbm import LGBMClassifier
    from sklearn.pipeline import Pipeline

    more: dict[str, Any] = {} if rises is None else {"monotone_constraints": list(rises)}
    return Pipeline(
        [
            (
                "model",
                LGBMClassifier(
                    n_estimators=trees,
                    num_leaves=leaves,
                    learning_rate=rate,
                    min_child_samples=rows_a_leaf,
                    reg_lambda=shrinkage,
                    subsample=0.7,
                    subsample_freq=1,
                    colsample_bytree=0.5,
                    n_jobs=1,
                    deterministic=True,
                    force_row_wise=True,
                    random_state=seed,
                    verbose=-1,
                    **more,
                ),
            )
        ]
    )
