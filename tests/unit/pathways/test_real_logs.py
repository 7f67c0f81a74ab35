"""Published or recomputed numbers of real logs (the shared data's SOURCE.md)."""

import pytest
from tests import pathway_logs as logs

from neva.pathways import (
    contains,
    discover_map,
    find_variants,
    keep_activities,
    keep_cases,
    keep_most_common_activities,
    throughput,
    time_between,
    variant_share,
    variant_top,
)

DAY = 86_400
RELEASES = [f"Release {letter}" for letter in "ABCDE"]


def shape(log):
    return log.case_count, log.event_count, len(log.labels), len(find_variants(log))


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (logs.sepsis, (1050, 15214, 16, 846)),
        (lambda: logs.monitoring("name"), (272, 35611, 18, 272)),
        # Two cases differ only in the order of equal times.
        (lambda: logs.monitoring("file"), (272, 35611, 18, 271)),
        (logs.nurses, (187, 13644, 286, 187)),
        # The nameless event is left out; one case stands in the file against time.
        (lambda: logs.billing("file only"), (9999, 49950, 16, 287)),
        (lambda: logs.billing("file"), (9999, 49950, 16, 288)),
        (logs.receipt, (1434, 8577, 27, 116)),
        (logs.running_example, (6, 42, 8, 6)),
        (lambda: logs.from_xes("running-example.xes"), (6, 42, 8, 6)),
        (lambda: logs.from_xes("a12f0n00.xes.gz"), (1000, 6186, 12, 5)),
        (lambda: logs.from_xes("a12f0n10.xes.gz"), (1000, 6055, 12, 45)),
    ],
    ids=lambda value: "" if callable(value) else "-".join(map(str, value)),
)
def test_cases_events_activities_and_variants(log, expected):
    assert expected == shape(log())


def test_ties_are_flagged_where_the_order_rests_on_names():
    assert logs.monitoring("name").order_rests_on_fallback
    assert not logs.monitoring("file").order_rests_on_fallback


@pytest.mark.parametrize(
    ("log", "edges", "steps", "starts", "ends"),
    [
        (logs.running_example, 16, 36, 1, 2),
        (logs.receipt, 99, 7143, 1, 14),
        (logs.sepsis, 115, 14164, 6, 14),
        (lambda: logs.from_xes("a12f0n00.xes.gz"), 18, 5186, 1, 1),
        (lambda: logs.from_xes("a12f0n10.xes.gz"), 54, 5055, 10, 9),
    ],
    ids=["running", "receipt", "sepsis", "a12n00", "a12n10"],
)
def test_map_edges_and_steps(log, edges, steps, starts, ends):
    found = discover_map(log())
    assert (edges, steps) == (found.edges.height, found.steps)
    assert (starts, ends) == ((found.nodes["starts"] > 0).sum(), (found.nodes["ends"] > 0).sum())


@pytest.mark.parametrize(
    ("log", "mean", "median"),
    [
        (logs.receipt, 467263.9, 2868.6),
        (logs.running_example, 966890, 815940),
    ],
    ids=["receipt", "running"],
)
def test_case_durations(log, mean, median):
    summary = throughput(log()).summary
    assert (mean, median) == (round(summary["mean"], 1), round(summary["median"], 1))


def test_logs_without_times_have_counts_and_no_durations():
    log = logs.from_xes("a12f0n00.xes.gz")
    assert discover_map(log).edges["median"].null_count() == 18
    assert throughput(log).counts == {"cases": 1000, "timed": 0, "no time known": 1000}


@pytest.mark.parametrize(
    ("start", "treated", "within_an_hour", "before", "median_hours"),
    [
        ("ER Sepsis Triage", 823, 342, 0, 1.53),
        ("ER Triage", 823, 304, 7, 1.73),
        ("ER Registration", 823, 284, 2, 1.88),
    ],
)
def test_sepsis_antibiotics(start, treated, within_an_hour, before, median_hours):
    found = time_between(logs.sepsis(), start, "IV Antibiotics")
    assert (treated, before) == (found.counts["timed"], found.counts["before"])
    assert within_an_hour == found.within(3600)
    assert median_hours == round(found.summary["median"] / 3600, 2)


@pytest.mark.parametrize(
    ("start", "timed", "later", "before"),
    [("ER Sepsis Triage", 859, 11, 139), ("ER Triage", 860, 12, 38)],
)
def test_sepsis_lactate_within_three_hours(start, timed, later, before):
    found = time_between(logs.sepsis(), start, "LacticAcid")
    assert (timed, before) == (found.counts["timed"], found.counts["before"])
    assert later == timed - found.within(3 * 3600)


def test_sepsis_length_of_stay():
    found = time_between(logs.sepsis(), "ER Registration", RELEASES)
    days = {name: seconds / DAY for name, seconds in found.summary.items()}
    assert found.counts["timed"] == 782
    assert [round(days[name], 2) for name in ("median", "mean", "p25", "p75")] == [
        5.59,
        7.72,
        3.76,
        9.04,
    ]
    assert [round(days[name], 1) for name in ("p90", "p95")] == [14.9, 20.6]


def test_sepsis_returns():
    found = time_between(logs.sepsis(), RELEASES, "Return ER")
    assert [
        found.counts["timed"], *(found.within(days * DAY) for days in (7, 28, 30))
    ] == [294, 45, 111, 116]  # fmt: skip
    assert round(found.summary["median"] / DAY) == 47


def test_sepsis_admissions():
    log = logs.sepsis()
    assert [
        keep_cases(log, contains(*names)).case_count
        for names in (("Admission NC", "Admission IC"), ("Admission IC",), ("Admission NC",))
    ] == [810, 110, 800]


def test_variant_filters_keep_whole_variants():
    log = logs.sepsis()
    top = keep_cases(log, variant_top(3))
    assert len(find_variants(top)) == 3
    assert top.case_count == find_variants(log).count[:3].sum()
    assert keep_cases(log, variant_share(1.0)).case_count == 1050
    half = keep_cases(log, variant_share(0.5))
    assert 525 <= half.case_count < 525 + find_variants(log).count[0]


def test_keeping_activities_makes_new_steps():
    log = logs.sepsis()
    common = keep_most_common_activities(log, 0.5)
    assert len(common.labels) == 8
    assert common.provenance == ("only 8 of 16 activities",)
    admissions = keep_activities(log, ["Admission NC", "Admission IC"])
    assert admissions.case_count == 810
    assert discover_map(admissions).steps == 1182 + 117 - 810


def test_receipt_spans_the_clock_changes():
    # Read as local times without offsets, the log would differ by 26 hours in total.
    assert round(throughput(logs.receipt()).seconds.sum()) == round(467263.9152573221 * 1434)
