"""Processing and waiting against loops, and through the ways a log goes."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neva.pathways import activity_times, artefacts, keep_activities, log_from_frame
from neva.pathways.activity_times import ACTIVITY_TIMES

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)

rows = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3"]),
        st.sampled_from(["a", "b", "c"]),
        st.none() | st.integers(0, 50),
        st.none() | st.integers(-3, 20),
    ),
    min_size=1,
    max_size=30,
)


def log_of(given_rows):
    return log_from_frame(
        pl.DataFrame(
            [
                (
                    case,
                    activity,
                    None if at is None else BEGIN + timedelta(minutes=at),
                    None if at is None or lasts is None else BEGIN + timedelta(minutes=at + lasts),
                    number,
                )
                for number, (case, activity, at, lasts) in enumerate(given_rows)
            ],
            schema={
                "case": pl.String, "activity": pl.String, "time": pl.Datetime("us", "UTC"),
                "end": pl.Datetime("us", "UTC"), "sequence": pl.Int64,
            },
            orient="row",
        )
    )  # fmt: skip


def slow(log):
    """By loops over the log's own order."""
    found = {}
    missing = np.iinfo(np.int64).min
    for case in range(log.case_count):
        over = None
        for at in range(log.offsets[case], log.offsets[case + 1]):
            label = log.labels[log.activity[at]]
            processing, waiting, _ = found.setdefault(label, ([], [], []))
            begin = None if log.time[at] == missing else int(log.time[at])
            end = None if log.end is None or log.end[at] == missing else int(log.end[at])
            if end is not None and (begin is None or end < begin):
                end = None
            found[label][2].append(at)
            if begin is not None and over is not None:
                waiting.append((case, (begin - over) / 1e6))
            if end is not None:
                processing.append((case, (end - begin) / 1e6))
            if begin is not None:
                over = max(over or -(10**18), begin if end is None else end)
    return found


@given(rows)
def test_times_are_those_of_loops(given_rows):
    log = log_of(given_rows)
    expected = slow(log)
    for row in activity_times(log).iter_rows(named=True):
        processing, waiting, events = expected[row["activity"]]
        assert row["frequency"] == len(events)
        for what, values in (("processing", processing), ("waiting", waiting)):
            cases, seconds = {case for case, _ in values}, [max(0, one) for _, one in values]
            count = "ended" if what == "processing" else "waited"
            assert row[count] == len(values)
            assert row[f"{count}_cases"] == len(cases)
            if not seconds:
                assert row[f"{what}_median"] is None
                continue
            assert row[f"{what}_median"] == pytest.approx(np.median(seconds))
            assert row[f"{what}_mean"] == pytest.approx(np.mean(seconds))
            assert row[f"{what}_p90"] == pytest.approx(np.quantile(seconds, 0.9))
        assert row["overlapping"] == sum(one < 0 for _, one in waiting)


def test_ends_follow_selections_and_the_disk(tmp_path):
    log = log_of([("1", "a", 0, 10), ("1", "b", 15, 5), ("2", "a", 0, None), ("2", "c", 30, 1)])
    whole = activity_times(log)
    artefacts.save(log, tmp_path / "log")
    kept = artefacts.load(tmp_path / "log")
    assert activity_times(kept).equals(whole)
    first = log.select(np.array([True, False]), "the first")
    assert activity_times(first)["processing_median"].to_list() == [600.0, 300.0]
    few = keep_activities(log, ["a", "c"])
    assert set(activity_times(few)["activity"]) == {"a", "c"}
    assert activity_times(few).schema == pl.Schema(ACTIVITY_TIMES)


def test_a_log_without_ends_has_waiting_only():
    log = log_from_frame(
        pl.DataFrame(
            {"case": ["1", "1"], "activity": ["a", "b"],
             "time": [BEGIN, BEGIN + timedelta(hours=2)]}
        )
    )  # fmt: skip
    assert log.end is None
    times = activity_times(log).sort("activity")
    assert times["ended"].to_list() == [0, 0]
    assert times["waiting_median"].to_list() == [None, 7200.0]
