"""Splits of rows into training and test: by patient, or by time; never otherwise."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.statistics.prediction_figures import in_order_met

__all__ = ["check_split", "grouped_folds", "temporal_split"]

Rows = npt.NDArray[np.int64]


def check_split(patient: npt.ArrayLike, train: npt.ArrayLike, test: npt.ArrayLike) -> None:
    """Refuse a split that puts rows of one patient on both sides.

    Parameters
    ----------
    patient : array_like, shape (n,)
    train, test : array_like of int
        Numbers of rows.

    Raises
    ------
    UsageError
        A model would be evaluated on patients it was fitted to.
    """
    owners = np.asarray(patient).ravel()
    both = np.intersect1d(owners[np.asarray(train)], owners[np.asarray(test)])
    if len(both):
        message = (
            f"split: rows of one patient stand in training and test; found {len(both)} such "
            "patients; split by patient (grouped_folds) or by time (temporal_split)"
        )
        raise UsageError(message)


def grouped_folds(patient: npt.ArrayLike, outcome: npt.ArrayLike, folds: int, *, seed: int) -> Rows:
    """Give each row a fold; all rows of a patient have the same.

    Patients with and without the outcome are dealt out separately, so that
    every fold has its share of both. Patients count in the order in which they
    stand: the same rows and seed give the same folds, whatever the pseudonyms.

    Parameters
    ----------
    patient : array_like, shape (n,)
    outcome : array_like of 0 and 1, shape (n,)
    folds : int
    seed : int

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        From 0 to ``folds - 1``.

    Raises
    ------
    UsageError
        There are fewer patients with, or without, the outcome than folds.

    Examples
    --------
    >>> fold = grouped_folds([1, 1, 2, 3, 4], [1, 1, 0, 1, 0], 2, seed=0)
    >>> bool(fold[0] == fold[1]), sorted(set(fold.tolist()))
    (True, [0, 1])
    """
    number = in_order_met(patient)
    patients = int(number.max(initial=-1)) + 1
    y = np.asarray(outcome, dtype=np.float64).ravel()
    had = np.zeros(patients, dtype=bool)
    np.logical_or.at(had, number, y == 1)
    fewest = min(int(had.sum()), int((~had).sum()))
    if folds < 2 or fewest < folds:
        message = (
            f"folds: each needs patients with and without the outcome; found {folds} folds for "
            f"{int(had.sum())} patients with it and {int((~had).sum())} without; give at least 2 "
            "folds, and no more than there are patients of either kind"
        )
        raise UsageError(message)
    rng = np.random.default_rng(seed)
    fold = np.empty(patients, dtype=np.int64)
    dealt = 0
    for kind in (True, False):
        members = rng.permutation(np.flatnonzero(had == kind))
        # The second kind goes on where the first ended: sizes stay even.
        fold[members] = (np.arange(len(members)) + dealt) % folds
        dealt += len(members)
    return fold[number]


def temporal_split(
    patient: npt.ArrayLike, now: pl.Series, known: pl.Series, at: datetime
) -> tuple[Rows, Rows]:
    """Split rows at a time: fit on what was known then, evaluate on what came later.

    Parameters
    ----------
    patient : array_like, shape (n,)
    now : polars.Series of datetime, shape (n,)
        When each prediction is made.
    known : polars.Series of datetime, shape (n,)
        When its outcome was known. A row whose outcome was not yet known at
        the split cannot be learnt from.
    at : datetime
        Aware. A patient whose first row lies before belongs to training; later
        rows of such a patient are left out of both.

    Returns
    -------
    train, test : numpy.ndarray of int64
        Numbers of rows.

    Raises
    ------
    UsageError
        One side is empty.
    """
    frame = pl.DataFrame(
        {"patient": pl.Series(np.asarray(patient).ravel()), "now": now, "known": known}
    ).with_row_index("row")
    frame = frame.with_columns(first=pl.col("now").min().over("patient"))
    train = frame.filter(pl.col("now") < at, pl.col("known") <= at)["row"]
    test = frame.filter(pl.col("first") >= at)["row"]
    if not len(train) or not len(test):
        message = (
            f"split: one side is empty; found {len(train)} rows to learn from and {len(test)} to "
            f"judge at {at.isoformat()}; choose a time inside the data"
        )
        raise UsageError(message)
    sides = train.to_numpy().astype(np.int64), test.to_numpy().astype(np.int64)
    check_split(patient, *sides)
    return sides
