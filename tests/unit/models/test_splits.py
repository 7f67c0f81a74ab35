from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neva.errors import UsageError
from neva.models.splits import check_split, grouped_folds, temporal_split


@given(st.integers(4, 40), st.integers(2, 4), st.integers(0, 5))
def test_a_patient_is_in_one_fold_and_every_fold_has_both_outcomes(patients, folds, seed):
    patients = max(patients, 2 * folds)
    owner = np.repeat(np.arange(patients), 3)
    outcome = np.repeat(np.arange(patients) % 2, 3)
    fold = grouped_folds(owner, outcome, folds, seed=seed)
    for one in range(patients):
        assert len(set(fold[owner == one])) == 1
    for k in range(folds):
        assert set(outcome[fold == k]) == {0, 1}
    assert (fold == grouped_folds(owner, outcome, folds, seed=seed)).all()


def test_a_split_with_a_patient_on_both_sides_is_refused():
    with pytest.raises(UsageError, match="one patient stand in training and test; found 1"):
        check_split([1, 1, 2], [0], [1, 2])
    check_split([1, 1, 2], [0, 1], [2])


def test_too_few_patients_of_an_outcome_for_the_folds():
    with pytest.raises(UsageError, match="5 folds"):
        grouped_folds(range(10), [1] * 3 + [0] * 7, 5, seed=1)


def test_a_split_in_time_learns_only_what_was_known():
    start = datetime(2020, 1, 1, tzinfo=UTC)
    now = pl.Series([start + timedelta(days=k) for k in (0, 1, 5, 6, 8)])
    known = pl.Series([start + timedelta(days=k) for k in (2, 9, 7, 9, 9)])
    # Patient 1 straddles the split: later rows of theirs are in neither.
    train, test = temporal_split([1, 2, 1, 3, 4], now, known, start + timedelta(days=4))
    assert (train.tolist(), test.tolist()) == ([0], [3, 4])


def test_a_split_in_time_with_an_empty_side_is_refused():
    now = pl.Series([datetime(2020, 1, 1, tzinfo=UTC)])
    with pytest.raises(UsageError, match="one side is empty"):
        temporal_split([1], now, now, datetime(2019, 1, 1, tzinfo=UTC))
