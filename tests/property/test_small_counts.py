"""Small counts against a slow attacker, who knows the rule and every number that is shown."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import milp
from tests.people import People, hour

from neva.definitions.language import events, hours, stay
from neva.definitions.writing import measure
from neva.pathways import (
    contains,
    discover_map,
    find_variants,
    follows,
    log_from_frame,
    outcome_is,
    started_in,
    touches_unit,
)
from neva.pathways.disclosure import first_day, shared_log
from neva.quality import figures, run_measures
from neva.quality.charts.control_charts import measure_chart
from neva.quality.disclosure import (
    shared_figure,
    shared_periods,
    shared_strata,
    shared_units,
)
from neva.reports.pages.quality import chart_of
from neva.statistics.disclosure import FEWEST, WITHHELD, withheld_parts


def is_safe(count: int) -> bool:
    return count == 0 or count >= FEWEST


def ranges(sums: list[int], parts: int) -> list[tuple[list[float], list[float]]]:
    """Bound each of `parts` rows of counts that add up to `sums`, none of them all zero.

    One count of a patient (met or not) a column; answers least and most of each
    column, and of the row, by whole numbers.
    """
    columns = len(sums)
    of_column = np.tile(np.eye(columns), parts)
    of_row = np.kron(np.eye(parts), np.ones(columns))
    matrix = np.vstack([of_column, of_row])
    low = np.concatenate([sums, np.ones(parts)])
    high = np.concatenate([sums, np.full(parts, np.inf)])

    def bound(wanted: np.ndarray, sign: int) -> float:
        found = milp(sign * wanted, integrality=np.ones(parts * columns),
                     constraints=[(matrix, low, high)])  # fmt: skip
        assert found.success
        return sign * found.fun

    answers = []
    for part in range(parts):
        wanted = [*np.eye(parts * columns)[part * columns : (part + 1) * columns], of_row[part]]
        answers.append(([bound(one, 1) for one in wanted], [bound(one, -1) for one in wanted]))
    return answers


def assert_nothing_is_told(hidden: np.ndarray) -> None:
    """Fail if what is known of the hidden rows (their sums) bounds one within 1 to 4."""
    sums = hidden.sum(axis=0)
    for least, most in ranges(sums.tolist(), len(hidden)):
        for low, high, total in zip(least, most, [*sums, sums.sum()], strict=True):
            assert low <= 1
            assert high >= FEWEST - 1 or total == 0


partitions = st.lists(
    st.tuples(st.integers(0, 9) | st.integers(0, 60), st.integers(0, 9)), min_size=1, max_size=5
)


@settings(max_examples=30, derandomize=True)
@given(partitions)
@example([(0, 3), (40, 40), (5, 0)])
@example([(1, 0), (2, 0), (2, 0)])
@example([(2, 0), (0, 7)])
def test_no_withheld_part_follows_from_the_sums_and_the_other_parts(counts):
    table = np.array([(met + failed, met, failed) for met, failed in counts])
    found = withheld_parts(table)
    assert all(is_safe(int(one)) for one in table[~found.parts].ravel())
    assert found.total or all(is_safe(int(one)) for one in table.sum(axis=0))
    if not found.total and found.parts.any():
        assert_nothing_is_told(table[found.parts][:, 1:])


def test_no_more_is_withheld_than_one_beside_a_small_part():
    assert withheld_parts([90, 3, 12, 40]).parts.tolist() == [False, True, True, False]
    assert not withheld_parts([90, 12, 0, 5]).parts.any()


# ------------------------------------------------------------------- measures


@lru_cache(maxsize=1)
def made():
    start = events("T//start").during(stay).first().time
    document = measure(
        "test.drug", version="1.0.0", title="Drug", population=stay.kind == "inpatient",
        clock_start=start, clock_title="start", due=hours(2),
        numerator=events("T//drug").during(stay).until(start + hours(2)).exists(), better="higher",
    )  # fmt: skip
    people = People()
    people.admit(1, kind="inpatient", covid=False)
    people.event(1, 0, "T//start")
    return run_measures(people.snapshot(hour(48)), [document])


case_lists = st.lists(
    st.tuples(
        st.sampled_from(["met", "met", "failed", "failed", "pending", "excluded", "unknown"]),
        st.sampled_from(["a", "a", "b", "c", None]),
        st.sampled_from([None, *range(0, 70, 4)]),  # day
        st.integers(1, 7),  # so many of them
    ),
    max_size=40,
)


def run_of(drawn, outside):
    run = made()
    row = run.cases.row(0, named=True)
    begin = datetime(2026, 1, 1, 12, tzinfo=UTC)
    rows = [
        row | {"status": status, "unit": unit, "treated": False, "interval": None,
               "placed": None if day is None else begin + timedelta(days=day)}
        for status, unit, day, many in drawn
        for _ in range(many)
    ]  # fmt: skip
    cases = pl.DataFrame(rows, schema=run.cases.schema, orient="row")
    return replace(run, cases=cases, outside={"test.drug": outside})


def hidden_rows(run, part, keys):
    """Return (met, failed) of what a breakdown leaves out, by its keys."""
    closed = run.cases.filter(pl.col("status").is_in(["met", "failed"]))
    left = closed.join(part.run.cases.select("case").unique(), on="case", how="anti")
    return left.group_by(keys).agg(
        (pl.col("status") == "met").sum(), failed=(pl.col("status") == "failed").sum()
    )


@settings(max_examples=60, derandomize=True)
@given(case_lists, st.integers(0, 9))
def test_no_count_of_a_measure_follows_from_its_margins(drawn, outside):
    run = run_of(drawn, outside)
    (document,) = run.measures
    whole = figures(run).frame.row(0, named=True) | {"outside": outside}
    shown = shared_figure(run, document)
    parts = ("met", "failed", "measured", "pending", "excluded", "unknown", "outside")
    counts = ("population", "denominator", *parts)
    assert all(is_safe(shown[one]) for one in counts if shown[one] != WITHHELD)
    assert all(shown[one] in (whole[one], WITHHELD) for one in counts)
    # Met and closed stand or fall together: a rate beside either gives the other away.
    together = ("met", "failed", "denominator", "rate", "low", "high")
    assert len({shown[one] == WITHHELD for one in together}) == 1
    # The number of all stays is known from elsewhere.
    hidden = np.array([[whole[one]] for one in parts if shown[one] == WITHHELD and whole[one]])
    if len(hidden) and any(shown[one] != WITHHELD and shown[one] for one in parts):
        assert_nothing_is_told(hidden)


@settings(max_examples=40, derandomize=True)
@given(case_lists)
def test_no_period_and_no_unit_follows_from_the_whole_and_the_others(drawn):
    run = run_of(drawn, 0)
    (document,) = run.measures
    shown = shared_figure(run, document)
    if WITHHELD in (shown["denominator"], shown["met"]):
        return
    periods, every = shared_periods(run, document, finest="week")
    units = shared_units(run, document)
    for part, of in ((periods, {"every": every}), (units, {"by": ["unit"]})):
        key = "period" if "every" in of else "unit"
        whole = figures(run, **of).frame.filter(pl.col("denominator") > 0)
        some = figures(part.run, **of).frame
        assert all(is_safe(one) for name in ("met", "failed", "denominator") for one in some[name])
        kept = whole.join(some, on=[key, "met", "failed"], how="semi", nulls_equal=True)
        assert kept.height == some.height  # whole parts only
        left = whole.join(some, on=key, how="anti", nulls_equal=True)
        if left.height and not (key == "period" and is_safe_remainder(left)):
            assert_nothing_is_told(left.select("met", "failed").to_numpy())


def is_safe_remainder(left):
    """Cases without a time are in no point; they need no hiding if they are many."""
    is_one = left.height == 1 and left["period"][0] is None
    return is_one and all(is_safe(left[name][0]) for name in ("met", "failed", "denominator"))


@settings(max_examples=10, derandomize=True)
@given(case_lists)
def test_the_chart_is_made_of_the_points_that_are_shown_alone(drawn):
    run = run_of(drawn, 0)
    (document,) = run.measures
    part, every = shared_periods(run, document, finest="week")
    chart = chart_of(part.run, document, every=every)
    if chart is None:
        assert not part.run.cases.height
        return
    points = chart.frame.select("period", "numerator", "denominator").drop_nulls()
    again = measure_chart(
        points, measured="proportion", every={"week": "1w", "month": "1mo", "quarter": "1q",
                                              "year": "1y"}[every], direction="higher",
    )  # fmt: skip
    shown = ("period", "value", "centre", "lower", "upper")
    assert again.frame.select(shown).equals(chart.frame.select(shown))
    assert all(is_safe(int(one)) for one in points["denominator"])


@settings(max_examples=60, derandomize=True)
@given(partitions, st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_no_group_follows_from_the_whole_and_those_in_no_group(counts, rest):
    rows = [
        {"name": "age", "value": str(number), "n": met + failed, "met": met}
        for number, (met, failed) in enumerate(counts)
        if met + failed
    ]
    closed = sum(row["n"] for row in rows) + sum(rest)
    met = sum(row["met"] for row in rows) + rest[0]
    shown = [row for row in shared_strata(rows, closed, met) if row["n"] != WITHHELD]
    assert all(is_safe(row[one]) for row in shown for one in ("n", "met"))
    left = [row for row in rows if row not in shown]
    table = [(row["met"], row["n"] - row["met"]) for row in left]
    if sum(rest) and (left or not all(map(is_safe, (*rest, sum(rest))))):
        table.append(rest)
    is_public = withheld_parts([[closed, met, closed - met]]).total
    if left and shown and not is_public:
        hidden = closed - sum(row["n"] for row in shown)
        hidden_met = met - sum(row["met"] for row in shown)
        assert all(map(is_safe, (hidden, hidden_met, hidden - hidden_met)))


# ------------------------------------------------------------------- pathways

BEGIN = datetime(2025, 11, 1, tzinfo=UTC)
case_kinds = st.lists(
    st.tuples(
        st.sampled_from(["ab", "ab", "abc", "acb", "b", "abab", "cab", "d"]),
        st.sampled_from(["home", "died", None]),
        st.sampled_from([("x",), ("x", "y"), None]),
        st.sampled_from([0, 20, 100, 200]),  # day
        st.sampled_from([1, 2, 4, 5, 6, 9]),
    ),
    max_size=14,
)


def log_of(drawn):
    rows, cases = [], []
    for sequence, outcome, units, day, many in drawn:
        for _ in range(many):
            case = f"{len(cases):04}"
            cases.append((case, outcome, units))
            begin = BEGIN + timedelta(days=day, minutes=len(cases))
            rows += [(case, one, begin + timedelta(hours=k)) for k, one in enumerate(sequence)]
    frame = pl.DataFrame(
        rows, schema={"case": pl.String, "activity": pl.String,
                      "time": pl.Datetime("us", "UTC")}, orient="row",
    )  # fmt: skip
    log = log_from_frame(frame)
    told = pl.DataFrame(
        cases, schema={"case_id": pl.String, "outcome": pl.String, "units": pl.List(pl.String)},
        orient="row",
    )  # fmt: skip
    joined = log.cases.select("case_id", "subject_id", "stay_id").join(told, on="case_id")
    return replace(log, cases=joined.select(log.cases.columns), zone="Europe/Moscow")


def questions():
    """Return what a reader may ask: activities, steps, outcomes, units, windows of quarters."""
    days = [BEGIN.date() + timedelta(days=one) for one in (0, 70, 150, 250)]
    starts = [datetime(*first_day(one).timetuple()[:3], tzinfo=UTC) - timedelta(hours=3)
              for one in days]  # fmt: skip
    windows = [started_in(a, b) for a, b in pairwise(sorted(set(starts)))]
    return [
        *map(contains, "abcd"), follows("a", "b", directly=True), follows("c", "a", directly=True),
        outcome_is("home"), outcome_is("died"), touches_unit("x"), touches_unit("y"), *windows,
    ]  # fmt: skip


@settings(max_examples=40, derandomize=True)
@given(case_kinds)
def test_no_two_selections_of_a_shared_log_differ_by_a_few_cases(drawn):
    whole = log_of(drawn) if drawn else None
    if whole is None:
        return
    shared = shared_log(whole)
    log = shared.log
    assert is_safe(shared.left_out) or not log.case_count
    assert log.case_count + shared.left_out == whole.case_count
    known = set(log.labels)
    kept = [one.keep(log) for one in questions() if not unknown_activity(one, known)]
    kept += [np.ones(log.case_count, dtype=bool)]
    for one in kept:
        for other in kept:
            assert is_safe(int((one & ~other).sum()))
            assert is_safe(int((one & other).sum()))
    found = discover_map(log)
    for count in (*found.nodes["cases"], *found.edges["cases"], *find_variants(log).count):
        assert is_safe(int(count))
    assert set(log.cases["case_id"]) <= {""}
    assert log.cases["subject_id"].null_count() == log.case_count


def unknown_activity(question, known):
    named = question.words.replace("directly", "").split()
    return any(one in "abcd" and one not in known for one in named if len(one) == 1)


def test_a_log_of_which_every_case_is_its_own_sequence_is_shown_by_its_common_activities():
    drawn = [("a" + "bc" * one, None, None, 0, 1) for one in range(40)]
    shared = shared_log(log_of(drawn))
    assert shared.log.case_count == 40
    assert shared.log.labels == ("a",) or shared.activities < shared.all_activities


def test_a_sequence_of_a_few_patients_is_gone_with_its_activities():
    drawn = [("ab", "home", None, 0, 30), ("d", "died", None, 0, 3), ("c", None, None, 0, 2),
             ("ab", "died", None, 0, 6)]  # fmt: skip
    shared = shared_log(log_of(drawn))
    assert shared.log.labels == ("a", "b")
    assert shared.left_out == 5
    assert sorted(shared.log.cases["outcome"].unique()) == ["died", "home"]


def test_where_so_few_are_left_out_the_next_class_goes_with_them():
    drawn = [("ab", "home", None, 0, 30), ("d", "died", None, 0, 3), ("ab", "died", None, 0, 6)]
    assert shared_log(log_of(drawn)).left_out == 9
