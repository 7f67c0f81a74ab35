"""Hard cases of definitions and measures, each as small as it can be made."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError
from tests.people import ADMITTED, People, both, hour

from neva.definitions.documents import from_json, to_json
from neva.definitions.language import (
    days,
    each,
    events,
    exponential,
    hours,
    movements,
    now,
    number,
    stay,
    stays,
)
from neva.definitions.model import HoursWhere
from neva.definitions.points import POINTS, AtTimes, EachStay, EveryHours
from neva.definitions.programme import load_programme
from neva.definitions.run import answer, plan_of, points_of
from neva.definitions.writing import feature
from neva.errors import UsageError
from neva.quality import run_measures


def asked(people: People, **outputs: Any) -> dict[str, Any]:
    """The answers of both engines at hour 20 of the first point."""
    found = both(people.snapshot(hour(20)), {name: one.node for name, one in outputs.items()})
    return found.frame.drop("point_id", "subject_id", "stay_id", "now").row(0, named=True)


def test_nothing_is_active_in_a_window_that_ends_before_it_begins() -> None:
    people = People()
    people.admit(1)
    people.event(1, 1, "A//x", until=50)
    rows = events("A//x").active_or_started_between(stay.start + hours(10), stay.start + hours(5))
    assert asked(people, any=rows.exists(), hours=rows.hours()) == {"any": False, "hours": 0.0}


def test_an_open_end_written_as_the_year_9999_does_not_stop_a_hospital() -> None:
    people = People()
    people.admit(1)
    people.tables["stays"][0]["end"] = datetime(9999, 12, 31, tzinfo=UTC)
    people.event(1, 1, "A//x", end_time=datetime(9999, 12, 31, tzinfo=UTC))
    plan = plan_of(people.snapshot(hour(20)), {"a": (stay.start + days(2)).node})
    assert len(plan.to_sql()) < 60_000


def test_days_far_from_the_record_are_days_of_the_hospitals_clock_in_both_engines() -> None:
    people = People()
    people.admit(1)
    people.tables["movements"].append(
        {
            "movement_id": 1,
            "stay_id": 10,
            "subject_id": 1,
            "start": datetime(2005, 7, 1, 22, 30, tzinfo=UTC),
            "precision": "instant",
            "unit": "w",
            **people._kept(ADMITTED),
        }
    )
    found = asked(
        people,
        back=stay.start - days(3100),
        on=stay.start + days(2000),
        moved=movements().first().time.start_of_day(),
    )
    assert found == {
        "back": datetime(2012, 8, 7, 8, tzinfo=UTC),
        "on": datetime(2026, 7, 25, 8, tzinfo=UTC),
        "moved": datetime(2005, 7, 1, 22, tzinfo=UTC),
    }


def test_sums_too_large_for_a_number_are_unknown_in_both_engines() -> None:
    people = People()
    people.admit(1)
    people.event(1, 1, "A//x", 1e308, "mg/L")
    people.event(1, 2, "A//x", 1.5e308, "mg/L")
    rows, none = events("A//x"), events("A//none")
    found = asked(
        people,
        sum=rows.sum("mg/L"),
        mean=rows.mean("mg/L"),
        slope=rows.slope("mg/L"),
        each=rows.each(each.value("mg/L")).sum(),
        large=rows.first().value("mg/L") * number(1.75),
        exponential=exponential(number(709.5)),
        none=none.sum("mg/L"),
        none_each=none.each(each.value("mg/L")).sum(),
    )
    assert found == {
        "sum": None,
        "mean": None,
        "slope": None,
        "each": None,
        "large": 1.75e308,
        "exponential": pytest.approx(1.3549863193146328e308),
        "none": 0.0,
        "none_each": 0.0,
    }


def test_a_movement_without_a_unit_and_one_with_an_empty_name_count_once_each() -> None:
    people = People()
    people.admit(1, kind="")
    people.admit(2)
    people.tables["stays"][1]["kind"] = None
    for number_of_row, unit in enumerate((None, "")):
        people.tables["movements"].append(
            {
                "movement_id": number_of_row,
                "stay_id": 10,
                "subject_id": 1,
                "start": hour(number_of_row),
                "unit": unit,
                **people._kept(hour(number_of_row)),
            }
        )
    assert asked(people, moved=movements().count(), stays=stays().count()) == {
        "moved": 2.0,
        "stays": 1.0,
    }


def test_a_stay_moved_to_another_patient_belongs_to_each_as_long_as_it_was_believed() -> None:
    people = People()
    people.admit(1)
    people.admit(2)
    moved = {**people.tables["stays"][0], "subject_id": 2, **people._kept(hour(5)), "batch": 2}
    people.tables["stays"].append(moved)
    snapshot = people.snapshot(hour(20))
    outputs = {"stays": stays().count().node, "kind": stay.kind.node}
    for subject_id, at, expected in (
        (1, 1, (1.0, "inpatient")),
        (2, 1, (1.0, None)),
        (1, 10, (0.0, None)),
        (2, 10, (2.0, "inpatient")),
    ):
        point = pl.DataFrame([(0, subject_id, 10, hour(at), hour(at))], schema=POINTS, orient="row")
        found = both(snapshot, outputs, points=point)
        assert found.frame.select("stays", "kind").row(0) == expected


@pytest.mark.parametrize("end", [None, hour(300)])
def test_whoever_is_in_a_unit_now_is_there_whether_or_not_the_end_is_known(
    end: datetime | None,
) -> None:
    people = People()
    people.admit(1)
    people.tables["units"].append({"unit": "icu-1", "kind": "icu", **people._kept(ADMITTED)})
    people.tables["movements"].append(
        {
            "movement_id": 1,
            "stay_id": 10,
            "subject_id": 1,
            "start": hour(1),
            "end": end,
            "unit": "icu-1",
            **people._kept(hour(1)),
        }
    )
    rows = movements(kind="icu")
    found = asked(
        people,
        there=rows.active_at(now).exists(),
        hours=rows.hours(),
        end=rows.last().end_time,
        in_hospital=stays().active_at(now).exists(),
    )
    assert found == {"there": True, "hours": 19.0, "end": None, "in_hospital": True}


def statuses(people: People, at: datetime, measure: str) -> dict[int, str]:
    """The status of each stay in a measure of the COVID-19 programme, by both engines."""
    snapshot, programme = people.snapshot(at), load_programme("covid19")
    one = [programme.document(f"covid19.{measure}")]
    found = [
        dict(
            run_measures(snapshot, programme, only=one, engine=engine)
            .cases.select("stay_id", "status")
            .iter_rows()
        )
        for engine in ("relational", "reference")
    ]
    assert found[0] == found[1]
    return found[0]


def test_a_steroid_of_a_later_stay_does_not_ask_for_a_blocker_in_this_one() -> None:
    people = People()
    people.admit(1, end=hour(100), outcome="home")
    people.event(1, 2, "CARE//oxygen-therapy", until=50)
    people.event(1, 3, "LOINC//1988-5", 100.0, "mg/L")
    people.event(1, 24 * 90, "ATC//H02AB02")
    assert statuses(people, hour(24 * 120), "il-6-or-jak-blocker-48-hours") == {}


def test_time_on_oxygen_without_a_stated_end_stops_with_the_stay() -> None:
    people = People()
    people.admit(1, end=hour(10), outcome="home")
    people.event(1, 2, "CARE//oxygen-therapy")
    for at in range(3, 10):
        people.event(1, at, "LOINC//59408-5", 94.0, "%")
    for at in range(200, 210):
        people.event(1, at, "LOINC//59408-5", 99.0, "%")
    programme = load_programme("covid19")
    one = [programme.document("covid19.oxygen-in-target-range")]
    run = run_measures(people.snapshot(hour(400)), programme, only=one)
    assert run.cases["value"].to_list() == [1.0]


def test_a_steroid_already_running_when_oxygen_is_needed_counts_as_given() -> None:
    people = People()
    people.admit(1, end=hour(100), outcome="home")
    people.event(1, 2, "CARE//oxygen-therapy", until=50)
    people.event(1, -24 * 5, "ATC//H02AB02", until=90)
    assert statuses(people, hour(24 * 20), "steroid-when-on-oxygen") == {10: "met"}


def test_names_of_outputs_that_differ_in_case_only_are_two_columns() -> None:
    people = People()
    people.admit(1)
    assert asked(people, A=number(1), a=number(2)) == {"A": 1.0, "a": 2.0}


@pytest.mark.parametrize("engine", ["relational", "reference"])
def test_an_output_cannot_be_called_as_a_column_of_every_answer(engine: Any) -> None:
    people = People()
    people.admit(1)
    with pytest.raises(UsageError, match="found 'now'"):
        answer(people.snapshot(hour(20)), {"now": number(1).node}, engine=engine)


@pytest.mark.parametrize(
    "made",
    [
        lambda: AtTimes(times=(datetime(2021, 2, 1, 10),)),  # noqa: DTZ001
        lambda: EachStay(at="start", hours_after_start=math.inf),
        lambda: EachStay(at="start", hours_after_start=1e12),
        lambda: EveryHours(hours=math.inf),
        lambda: EveryHours(hours=1e-12),
        lambda: HoursWhere(frame=events("A//x").frame, carry=math.inf),
        lambda: HoursWhere(frame=events("A//x").frame, carry=1e17),
    ],
)
def test_times_without_an_offset_and_endless_hours_are_refused_when_written(made: Any) -> None:
    with pytest.raises(ValidationError):
        made()


def test_hours_after_the_start_do_not_go_with_the_end_of_a_stay() -> None:
    people = People()
    people.admit(1, end=hour(5), outcome="home")
    with pytest.raises(UsageError, match="found at='end'"):
        points_of(people.snapshot(hour(20)), EachStay(at="end", hours_after_start=24))


def test_the_unit_of_a_discharge_is_not_the_unit_that_the_patient_went_to() -> None:
    people = People()
    people.admit(1, end=hour(50), outcome="home")
    for movement, unit, start, stay_id in ((1, "ward", 0, 10), (2, "rehabilitation", 50, 11)):
        people.tables["movements"].append(
            {
                "movement_id": movement,
                "stay_id": stay_id,
                "subject_id": 1,
                "start": hour(start),
                "unit": unit,
                **people._kept(hour(start)),
            }
        )
    programme = load_programme("covid19")
    one = [programme.document("covid19.length-of-stay")]
    run = run_measures(people.snapshot(hour(200)), programme, only=one)
    assert run.cases["unit"].to_list() == ["ward"]


def test_a_transfer_to_another_hospital_is_no_discharge_to_return_from() -> None:
    people = People()
    people.admit(1, end=hour(100), outcome="other-hospital")
    people.admit(2, end=hour(100), outcome="home")
    assert statuses(people, hour(24 * 60), "readmission-30-days") == {20: "failed"}


def test_a_unit_spelled_as_charts_spell_it_is_read_as_its_ucum_unit_from_json_too() -> None:
    people = People()
    people.admit(1)
    people.event(1, 1, "LOINC//8480-6", 90.0, "mm[Hg]")
    made = feature("test.pressure", events("LOINC//8480-6").last().value("mm[Hg]"), version="1.0.0")
    read = from_json(to_json(made).replace("mm[Hg]", "mmHg"))
    assert both(people.snapshot(hour(20)), {"p": read.value}).frame["p"].to_list() == [90.0]


@pytest.mark.parametrize(("until", "status"), [(90, "failed"), (4, "met")])
def test_a_saturation_on_oxygen_does_not_make_4c_recordable(until: float, status: str) -> None:
    people = People()
    people.admit(1, end=hour(100), outcome="home")
    people.event(1, 0.1, "CARE//oxygen-therapy", until=until)
    for code, value_of_it, unit in (
        ("LOINC//9279-1", 20.0, "/min"),
        ("LOINC//59408-5", 97.0, "%"),
        ("LOINC//9269-2", 15.0, "{score}"),
        ("LOINC//22664-7", 5.0, "mmol/L"),
        ("LOINC//1988-5", 5.0, "mg/L"),
    ):
        people.event(1, 5, code, value_of_it, unit)
    assert statuses(people, hour(200), "4c-recordable-24-hours") == {10: status}
