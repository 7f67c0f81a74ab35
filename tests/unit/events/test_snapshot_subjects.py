"""Movements of some subjects are those of all, filtered."""

from datetime import UTC, datetime, timedelta

import polars as pl
from polars.testing import assert_frame_equal
from tests.hospitals import new_hospital, take

AT = datetime(2020, 5, 1, 8, tzinfo=UTC)


def test_movements_of_some_subjects_are_those_of_all_filtered(tmp_path):
    hospital = new_hospital(tmp_path)
    rows = [
        {"stay": f"s{k}", "subject": str(k), "start": AT, "unit": unit, "row_id": f"{k}",
         "end": None if hours is None else AT + timedelta(hours=hours),
         "recorded": AT + timedelta(hours=hours or 0)}
        for k in range(5) for hours, unit in ((None, "a"), (3, "a"), (5, "b"))
    ]  # fmt: skip
    take(hospital, tmp_path / "m.csv", movements=rows)
    for as_of in (None, AT + timedelta(hours=4)):
        snapshot = hospital.snapshot(as_of=as_of)
        everyone = snapshot.movements().collect().sort("movement_id")
        some = everyone["subject_id"].to_list()[:2]
        assert_frame_equal(
            snapshot.movements(subjects=some).collect().sort("movement_id"),
            everyone.filter(pl.col("subject_id").is_in(some)),
        )
        assert snapshot.movements(subjects=[]).collect().is_empty()
