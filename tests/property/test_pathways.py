"""Pathways against plain Python, on random logs with many ties."""

import math
import random
import time as clock
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import reference_pathways as reference

from neva.pathways import (
    ActivityLog,
    contains,
    discover_map,
    find_rework,
    find_variants,
    follows,
    keep_activities,
    keep_cases,
    log_from_frame,
    throughput,
    time_between,
)

# The first use of a kernel on a machine compiles it.
relaxed = settings(deadline=None)

EPOCH = datetime(2024, 3, 30, 22, tzinfo=UTC)

times = st.one_of(
    st.none(),
    st.integers(0, 6).map(lambda hours: EPOCH + timedelta(hours=hours)),
    st.integers(0, 10**13).map(lambda us: EPOCH + timedelta(microseconds=us)),
)
rows = st.tuples(st.sampled_from("ABCD"), st.sampled_from("uvwxyz"), times, st.integers(0, 3))
row_lists = st.lists(rows, min_size=1, max_size=60)


def as_log(rows) -> ActivityLog:
    case, activity, time, sequence = zip(*rows, strict=True)
    return log_from_frame(
        pl.DataFrame(
            {
                "case": case,
                "activity": activity,
                "time": pl.Series(time, dtype=pl.Datetime("us", "UTC")),
                "sequence": pl.Series(sequence, dtype=pl.Int64),
            }
        )
    )


def by_key(frame: pl.DataFrame, keys: int) -> dict:
    return {row[:keys] if keys > 1 else row[0]: row[keys:] for row in frame.rows()}


@relaxed
@given(row_lists)
def test_map_equals_the_reference(rows):
    expected = reference.activity_map(reference.order_cases(rows))
    found = discover_map(as_log(rows))
    nodes = found.nodes.select("activity", "frequency", "cases", "starts", "ends")
    assert expected["nodes"] == by_key(nodes, 1)
    assert expected["edges"] == by_key(found.edges.select(pl.nth(range(5))), 2)
    for source, target, _, _, timed, median, mean, p90 in found.edges.rows():
        durations = expected["durations"][source, target]
        if not timed:
            assert (median, mean, p90) == (None, None, None)
            continue
        assert reference.exact_median_seconds(durations) == median
        microseconds = [d // timedelta(microseconds=1) for d in durations]
        assert float(np.quantile(microseconds, 0.9)) / 1e6 == p90
        assert sum(microseconds) / len(microseconds) / 1e6 == mean
        seconds = [reference.seconds(d) for d in durations]
        assert reference.quantile(seconds, 0.9) == pytest.approx(p90, rel=1e-12, abs=1e-9)


@relaxed
@given(row_lists, st.sampled_from([None, 0, 1]))
def test_variants_equal_the_reference_whatever_the_hash(rows, mask):
    log = as_log(rows)
    found = find_variants(log, _hash_mask=mask)
    expected = reference.variants(reference.order_cases(rows))
    assert dict(expected) == {
        tuple(pathway): count
        for pathway, count in found.to_frame().select("pathway", "count").rows()
    }
    assert sorted(expected.values(), reverse=True) == found.count.tolist()
    for case, variant in enumerate(found.variant_of_case):
        begin, end = log.offsets[case], log.offsets[case + 1]
        assert found.pathway(variant) == tuple(log.labels[a] for a in log.activity[begin:end])


@relaxed
@given(row_lists)
def test_throughput_equals_the_reference(rows):
    cases = reference.order_cases(rows)
    expected = reference.throughput(cases)
    found = throughput(as_log(rows))
    assert expected == dict(found.to_frame().rows())
    known = [s for s in expected.values() if s is not None]
    assert len(known) == found.counts["timed"] == found.summary["count"]
    if known:
        assert math.isclose(np.median(known), found.summary["median"], rel_tol=1e-12)
        assert math.isclose(np.quantile(known, 0.9), found.summary["p90"], rel_tol=1e-12)
        assert math.isclose(np.quantile(known, 0.25), found.summary["p25"], rel_tol=1e-12)
    log = as_log(rows)
    frame = find_variants(log).to_frame()
    by_variant = {}
    for case, events in cases.items():
        by_variant.setdefault(tuple(name for name, _ in events), []).append(expected[case])
    for pathway, median in frame.select("pathway", "median_seconds").rows():
        values = [s for s in by_variant[tuple(pathway)] if s is not None]
        assert (float(np.median(values)) if values else None) == pytest.approx(median)


@relaxed
@given(
    row_lists, st.sampled_from(["first", "last"]), st.sampled_from(["first", "first after", "last"])
)
def test_time_between_equals_the_reference(rows, start_at, end_at):
    log = as_log(rows)
    a, b = log.labels[0], log.labels[-1]
    expected = reference.time_between(reference.order_cases(rows), a, b, start_at, end_at)
    found = time_between(log, a, b, start_at=start_at, end_at=end_at)
    assert expected == dict(found.to_frame().rows())
    counts = found.counts
    parts = ("timed", "no start", "no end", "time unknown")
    assert counts["cases"] == sum(counts[name] for name in parts)
    assert counts["before"] == sum(s < 0 for s in expected.values() if s is not None)


@relaxed
@given(row_lists)
def test_rework_and_loops_equal_the_reference(rows):
    cases = reference.order_cases(rows)
    found = find_rework(as_log(rows))
    expected = reference.rework(cases)
    for row in found.activities.drop("share").to_dicts():
        assert expected[row.pop("activity")] == row
    assert reference.loops(cases) == by_key(found.loops, 2)


@relaxed
@given(row_lists)
def test_ties_are_counted(rows):
    assert reference.ties(rows) == as_log(rows).ties


@relaxed
@given(row_lists, st.randoms(use_true_random=False))
def test_the_order_of_input_rows_does_not_matter(rows, shuffle: random.Random):
    rows = [(case, a, time, number) for number, (case, a, time, _) in enumerate(rows)]
    shuffled = list(rows)
    shuffle.shuffle(shuffled)
    one, other = as_log(rows), as_log(shuffled)
    assert one.ties == other.ties == 0
    assert one.to_frame().equals(other.to_frame())
    assert discover_map(one).edges.equals(discover_map(other).edges)
    assert find_variants(one).to_frame().equals(find_variants(other).to_frame())


@pytest.mark.parametrize("zone", ["UTC", "Europe/Moscow", "America/St_Johns"])
def test_the_time_zone_of_the_machine_does_not_matter(zone, monkeypatch):
    rows = [("A", "u", EPOCH, 1), ("A", "v", EPOCH + timedelta(hours=5), 2)]
    monkeypatch.setenv("TZ", zone)
    clock.tzset()
    try:
        assert discover_map(as_log(rows)).edges["median"].to_list() == [5 * 3600]
        naive = pl.DataFrame(
            {"case": ["A"], "activity": ["u"], "time": [EPOCH.replace(tzinfo=None)]}
        )
        assert log_from_frame(naive).time.tolist() == as_log(rows[:1]).time.tolist()
    finally:
        monkeypatch.undo()
        clock.tzset()


@relaxed
@given(row_lists)
def test_counts_are_conserved(rows):
    log = as_log(rows)
    found = discover_map(log)
    assert log.event_count - log.case_count == found.steps
    assert log.event_count == found.nodes["frequency"].sum() == len(rows)
    assert log.case_count == found.nodes["starts"].sum() == found.nodes["ends"].sum()


@relaxed
@given(row_lists, st.booleans())
def test_filters_equal_loops(rows, directly):
    cases = reference.order_cases(rows)
    log = as_log(rows)
    a, b = log.labels[0], log.labels[-1]
    expected = []
    for case, events in cases.items():
        names = [name for name, _ in events]
        pairs = [
            (i, j)
            for i in range(len(names))
            for j in range(i + 1, len(names))
            if names[i] == a and names[j] == b and (not directly or j == i + 1)
        ]
        if pairs:
            expected.append(case)
    found = keep_cases(log, follows(a, b, directly=directly))
    assert expected == found.cases["case_id"].to_list()
    with_a = keep_cases(log, contains(a)).case_count
    assert log.case_count == with_a + keep_cases(log, ~contains(a)).case_count
    only = keep_activities(log, [a])
    kept = [row for row in rows if row[1] == a]
    assert as_log(kept).to_frame().equals(only.to_frame())


@relaxed
@given(st.integers(0, 2**32))
def test_large_logs_run_in_several_threads_and_answer_the_same(seed):
    from neva.pathways import _kernels

    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "case": rng.integers(0, 400, 3000),
            "activity": rng.choice(list("abcde"), 3000),
            "time": pl.Series(rng.integers(0, 10**12, 3000)).cast(pl.Datetime("us")),
        }
    )
    one = log_from_frame(frame)
    expected = discover_map(one), find_rework(one), throughput(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernels, "_SMALL", 10)
        patch.setattr(_kernels, "cores", lambda: 3)
        other = log_from_frame(frame)
        assert expected[0].edges.equals(discover_map(other).edges)
        assert expected[0].nodes.equals(discover_map(other).nodes)
        assert expected[1].loops.equals(find_rework(other).loops)
        assert expected[1].activities.equals(find_rework(other).activities)
        assert np.array_equal(expected[2].seconds, throughput(other).seconds)
