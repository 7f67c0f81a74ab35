from datetime import UTC, datetime

import polars as pl
import pytest

from neva.errors import UsageError
from neva.pathways import (
    cases_in,
    compare_maps,
    contained,
    contains,
    discover_map,
    draw_map,
    intersecting,
    keep_cases,
    keep_readable_activities,
    log_from_frame,
    readable_share,
    started_in,
    time_between,
)
from neva.pathways.filters import READABLE_ACTIVITIES


@pytest.fixture
def log():
    rows = [("1", "a", 1), ("1", "b", 5), ("2", "a", 4), ("2", "b", 10), ("3", "a", None)]
    case, activity, day = zip(*rows, strict=True)
    time = [None if d is None else datetime(2024, 1, d, tzinfo=UTC) for d in day]
    return log_from_frame(pl.DataFrame({"case": case, "activity": activity, "time": time}))


def ids(log):
    return log.cases["case_id"].to_list()


def day(number):
    return datetime(2024, 1, number, tzinfo=UTC)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (started_in(day(1), day(4)), ["1"]),
        (started_in(day(1), day(5)), ["1", "2"]),
        (intersecting(day(5), day(6)), ["1", "2"]),
        (intersecting(day(6), day(7)), ["2"]),
        (contained(day(1), day(5)), []),
        (contained(day(1), day(6)), ["1"]),
        (cases_in(["3", "x"]), ["3"]),
        (contains("b") & ~started_in(day(1), day(2)), ["2"]),
        (contains("b") | cases_in(["3"]), ["1", "2", "3"]),
    ],
    ids=lambda value: getattr(value, "words", ""),
)
def test_windows_are_half_open(log, chosen, expected):
    assert ids(keep_cases(log, chosen)) == expected


def test_filters_say_what_they_are(log):
    kept = keep_cases(log, contains("a"), cases_in(["1"], words="the first"))
    assert kept.provenance == ("contains a", "the first")
    assert discover_map(kept).provenance == kept.provenance


def test_naive_windows_are_refused():
    with pytest.raises(UsageError, match="no time zone"):
        started_in(datetime(2024, 1, 1), day(2))  # noqa: DTZ001
    with pytest.raises(UsageError, match="exchange them"):
        started_in(day(2), day(1))


def test_unknown_activities_are_named_with_a_guess(log):
    with pytest.raises(UsageError, match=r"no activity 'bb'.*did you mean b"):
        time_between(log, "a", "bb")


def test_an_empty_log_has_empty_results(log):
    empty = keep_cases(log, cases_in([]))
    assert empty.case_count == 0
    found = discover_map(empty)
    assert found.edges.is_empty()
    assert "0 cases" in draw_map(found)


def test_a_frame_without_cases_is_refused():
    with pytest.raises(UsageError, match="no column 'activity'"):
        log_from_frame(pl.DataFrame({"case": ["1"]}))


def test_comparison_counts_shares_of_steps(log):
    other = keep_cases(log, cases_in(["1"]))
    found = compare_maps(discover_map(log), discover_map(other))
    assert found.edges.select("share_a", "share_b", "median_a", "median_b").rows() == [
        (1.0, 1.0, 5 * 86_400.0, 4 * 86_400.0)
    ]
    nodes = {row["activity"]: row["share_difference"] for row in found.nodes.to_dicts()}
    assert nodes == {"a": 0.0, "b": pytest.approx(1 / 3)}


def test_a_map_opens_with_as_many_activities_as_can_be_read():
    """A map of 624 activities was 20,460 by 12,948 pixels."""
    number, now = 120, datetime(2024, 1, 1, tzinfo=UTC)
    rows = [(str(case), f"a{k:03}", now) for case in range(1, number + 1) for k in range(case)]
    case, activity, time = zip(*rows, strict=True)
    many = log_from_frame(pl.DataFrame({"case": case, "activity": activity, "time": time}))
    few = keep_readable_activities(many)
    assert discover_map(few).nodes.height == READABLE_ACTIVITIES
    # The most common: in each of the 120 cases first.
    assert set(discover_map(few).nodes["activity"]) == {f"a{k:03}" for k in range(30)}
    # Of a log that is filtered: 25 are left, and all of them are shown.
    left = keep_cases(many, ~contains("a025"))
    assert readable_share(left) == 1
    assert keep_readable_activities(left) is left
