"""The attention list in its documented order, and sheets of wards."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from neva.decisions.tasks import Feed, Task, WorkList
from neva.decisions.work_list import UNOBSERVED
from neva.events.schema import TIME
from neva.operations.ward_sheets import URGENCY, attention_list, ward_sheet

NOW = datetime(2024, 3, 5, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class Board:
    """What of a bed board is read."""

    patients: pl.DataFrame
    now: datetime = NOW
    zone: str = "UTC"
    identity: str = "x"
    synthetic: bool = True
    long_stays: pl.DataFrame = None
    entries: pl.DataFrame = None


@dataclass
class Measure:
    id: str
    title: str = ""
    better: str = "higher"
    observation: object = None


@dataclass
class Run:
    rows: list
    measures: tuple = (Measure("m", "Lactate in time"),)

    def pending(self):
        return pl.DataFrame(
            self.rows,
            schema={"measure": pl.String, "subject_id": pl.Int64, "stay_id": pl.Int64,
                    "unit": pl.String, "due": TIME, "placed": TIME},
            orient="row",
        )  # fmt: skip


def board(stays):
    rows = [(n, 100 + n, "w1" if n < 5 else "w2", str(n), NOW - 50 * MINUTE) for n in stays]
    patients = pl.DataFrame(
        rows,
        schema={"stay_id": pl.Int64, "subject_id": pl.Int64, "unit": pl.String, "bed": pl.String,
                "admitted": TIME},
        orient="row",
    )  # fmt: skip
    empty = patients.select("stay_id").clear()
    return Board(patients, long_stays=empty, entries=empty)


def task(stay, indicator, *, severity=1.0, minutes=30):
    deadline = NOW + minutes * MINUTE
    return Task(
        rule=f"r-{indicator}", version="1", title=indicator, subject_id=100 + stay, stay_id=stay,
        unit="w1", indicator=indicator, severity=severity, summary="s", detail="d",
        since=NOW - MINUTE, begun_after=NOW - 2 * MINUTE, owner="ward doctor", tier=0,
        deadline=deadline, is_overdue=deadline <= NOW, acknowledged=False, missing=(),
    )  # fmt: skip


def work(tasks=(), unobserved=()):
    frame = pl.DataFrame(
        [(100 + s, s, "w1", None, score, NOW - MINUTE, 0.5) for s, score in unobserved],
        schema=UNOBSERVED, orient="row",
    )  # fmt: skip
    return WorkList(tuple(tasks), frame, 9, Feed(NOW, NOW, 60), NOW, "x")


def clock(stay, minutes):
    return ("m", 100 + stay, stay, "w1", NOW + minutes * MINUTE, NOW)


def test_the_order_is_the_documented_one():
    made = work(
        [task(1, "info"), task(2, "warning"), task(3, "warning", minutes=-5),
         task(4, "critical"), task(5, "critical", minutes=-1)],
        [(6, 2.0), (7, 5.0)],
    )  # fmt: skip
    runs = [Run([clock(8, 30), clock(9, 200)])]
    found = attention_list(board(range(1, 10)), work=made, runs=runs, most=20)
    assert found["urgency"].to_list() == list(URGENCY)
    assert found["stay_id"].to_list() == [5, 4, 7, 3, 8, 2, 6, 9, 1]
    assert found["rank"].to_list() == list(range(1, 10))
    assert attention_list(board(range(1, 10)), work=made, runs=runs, most=3).height == 3


def test_a_patient_stands_once_by_the_first_reason_with_the_number_of_reasons():
    made = work([task(1, "warning"), task(2, "warning", severity=9)], [(1, None)])
    found = attention_list(board([1, 2]), work=made)
    assert found.select("stay_id", "urgency", "reasons").rows() == [
        (1, "warning", 2), (2, "warning", 1),
    ]  # fmt: skip


def test_ties_go_by_deadline_then_severity():
    made = work([task(1, "warning", minutes=50), task(2, "warning", minutes=20),
                 task(3, "warning", minutes=20, severity=4)])  # fmt: skip
    assert attention_list(board([1, 2, 3]), work=made)["stay_id"].to_list() == [3, 2, 1]


@pytest.mark.parametrize(("minutes", "there"), [(0, False), (1, True), (240, True), (241, False)])
def test_a_clock_is_a_reason_only_while_it_closes_soon(minutes, there):
    found = attention_list(board([1]), runs=[Run([clock(1, minutes)])])
    assert (found.height == 1) is there


def test_whoever_left_is_on_no_list():
    made = work([task(7, "critical")])
    sheet = ward_sheet(board([1]), work=made, runs=[Run([clock(7, 10)])])
    assert sheet.attention.is_empty()
    assert sheet.clocks.is_empty()


def test_a_ward_has_its_own_patients():
    made = work([task(1, "critical"), task(6, "critical")], [(6, 7.0)])
    sheet = ward_sheet(board([1, 6]), work=made, runs=[Run([clock(6, 10)])])
    assert sheet.patients.select("stay_id", "tasks", "clocks", "is_unobserved").rows() == [
        (1, 1, 0, False), (6, 1, 1, True),
    ]  # fmt: skip
    other = sheet.of_units(["w2"])
    assert other.tasks["stay_id"].to_list() == other.clocks["stay_id"].to_list() == [6]
    assert other.attention["stay_id"].to_list() == [6]
    assert other.looked_at == {"patients": 2, "rules_looked_at": 9, "measures": 1}


@pytest.mark.parametrize("change", [{"better": "lower"}, {"better": "neutral"},
                                    {"observation": 1}])  # fmt: skip
def test_an_outcome_is_no_clock_that_somebody_can_meet(change):
    run = Run([clock(1, 30)], measures=(Measure("m", **change),))
    assert ward_sheet(board([1]), runs=[run]).clocks.is_empty()


def test_a_clock_without_a_deadline_is_no_task():
    assert ward_sheet(board([1]), runs=[Run([("m", 101, 1, "w1", None, NOW)])]).clocks.is_empty()
