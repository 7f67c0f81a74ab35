"""Measures in the form of official ones can be written, and both engines run them."""

from __future__ import annotations

from typing import Any

from tests.people import People, both, hour

from neva.definitions.language import (
    all_of,
    codelist,
    days,
    each,
    events,
    every,
    first_known,
    hours,
    minutes,
    now,
    row,
    stay,
    stays,
    subject,
    value,
)
from neva.definitions.writing import feature, measure, named
from neva.quality import run_measures

GLUCOSE = codelist("glucose", "LOINC//15074-8")
INSULIN = codelist("hypoglycaemic-drugs", "ATC//A10*")


def statuses(people: People, one: Any, at: float) -> dict[int, str]:
    snapshot = people.snapshot(hour(at))
    fast, slow = (run_measures(snapshot, [one], engine=e) for e in ("relational", "reference"))
    assert fast.cases.equals(slow.cases)
    return dict(fast.cases.select("subject_id", "status").iter_rows())


def test_severe_hypoglycaemia_in_hospital() -> None:
    """Below 2.2 mmol/L within 24 hours of a hypoglycaemic drug, and not above 4.4 within 5 minutes.

    The form of the official measure: a nested question for each low value.
    """
    low = events(GLUCOSE).where(value("mmol/L") < 2.2).during(stay)
    after_drug = events(INSULIN).since(each.time - hours(24)).until(each.time).exists()
    refuted = (
        events(GLUCOSE)
        .where(value("mmol/L") > 4.4)
        .after(each.time)
        .until(each.time + minutes(5))
        .exists()
    )
    one = measure(
        "official.hypoglycaemia",
        version="1.0.0",
        population=(stay.kind == "inpatient")
        & (subject.age_at(stay.start) >= 18)
        & events(INSULIN).during(stay).exists(),
        numerator=low.each(after_drug & ~refuted).any(),
        better="lower",
    )
    people = People()
    for subject_id in range(1, 6):
        people.admit(subject_id, covid=False, end=hour(96), outcome="home")
        people.event(subject_id, 10, "ATC//A10AB05", 8, "mg")
    people.event(1, 12, "LOINC//15074-8", 2.0, "mmol/L")
    people.event(2, 12, "LOINC//15074-8", 2.0, "mmol/L")  # a false reading
    people.event(2, 12 + 4 / 60, "LOINC//15074-8", 6.0, "mmol/L")
    people.event(3, 35, "LOINC//15074-8", 2.0, "mmol/L")  # 25 hours after the drug
    people.event(4, 12, "LOINC//15074-8", 36.0, "mg/dL")  # 2.0 mmol/L in another unit
    people.tables["codes"].append(
        {
            "code": "LOINC//15074-8",
            "description": None,
            "parents": None,
            "molar_mass": 180.156,
            "value_unit": None,
            "recorded": hour(-1000),
            "recorded_assumed": False,
            "retracted": None,
            "batch": 1,
        }
    )
    assert statuses(people, one, 100) == {
        1: "met",
        2: "failed",
        3: "failed",
        4: "met",
        5: "failed",
    }


def test_days_with_hyperglycaemia() -> None:
    """Days of the stay with a value above 16.7 mmol/L, or two days in a row without any value."""
    readings = events(GLUCOSE).between(each.time, each.end_time)
    high = readings.where(value("mmol/L") > 16.7).exists()
    of_days = every(days(1), start=stay.start, end=first_known(stay.end, now))
    one = measure(
        "official.hyperglycaemia",
        version="1.0.0",
        population=stay.kind == "inpatient",
        observation=of_days.each(high).count(),
        per=of_days.each(readings.exists() | ~readings.exists()).count(),
        better="lower",
    )
    people = People()
    people.admit(1, covid=False, end=hour(60), outcome="home")
    for at, level in ((1, 20.0), (2, 21.0), (26, 8.0), (50, 17.0)):
        people.event(1, at, "LOINC//15074-8", level, "mmol/L")
    snapshot = people.snapshot(hour(100))
    fast, slow = (run_measures(snapshot, [one], engine=e) for e in ("relational", "reference"))
    assert fast.cases.equals(slow.cases)
    assert fast.cases.select("value", "per").row(0) == (2.0, 3.0)


def test_core_data_of_hospital_wide_mortality() -> None:
    """First values from 24 hours before the stay to a limit after its start, one feature each."""
    wanted = {
        "heart-rate": ("LOINC//8867-4", "/min", 2),
        "creatinine": ("LOINC//14682-9", "mg/dL", 24),
    }
    outputs = {
        name: feature(
            f"official.{name}",
            events(code).since(stay.start - hours(24)).until(stay.start + hours(limit))
            .first().value(unit),
            version="1.0.0",
        ).value
        for name, (code, unit, limit) in wanted.items()
    }  # fmt: skip
    people = People()
    people.admit(1, covid=False)
    people.event(1, -23, "LOINC//8867-4", 90, "/min")
    people.event(1, 1, "LOINC//8867-4", 110, "/min")
    people.event(1, 25, "LOINC//14682-9", 2.0, "mg/dL")
    found = both(people.snapshot(hour(48)), outputs).frame
    assert (found["heart-rate"][0], found["creatinine"][0]) == (90.0, None)


def test_a_death_within_thirty_days_with_its_data_and_a_planned_readmission() -> None:
    again = stays("inpatient").where(row.reason != "elective").after(stay.end)
    one = measure(
        "official.thirty-days",
        version="1.0.0",
        population=stay.end.is_known(),
        clock_start=stay.start,
        due=days(30),
        numerator=first_known(subject.death <= stay.start + days(30), False),
        stratifiers=[named("came-back", again.until(stay.end + days(30)).exists())],
    )
    people = People()
    people.admit(1, covid=False, end=hour(48), outcome="home", death=hour(24 * 30))
    people.admit(2, covid=False, end=hour(48), outcome="home", death=hour(24 * 30 + 1))
    people.admit(3, covid=False, end=hour(48), outcome="home")
    assert statuses(people, one, 24 * 40) == {1: "met", 2: "failed", 3: "failed"}
    assert statuses(people, one, 24 * 20) == {1: "pending", 2: "pending", 3: "pending"}


def test_value_sets_of_thousands_of_codes() -> None:
    codes = [f"SNOMED//{100_000 + number}" for number in range(6000)]
    large = codelist("large", *codes, excluding=(codes[17],))
    people = People()
    for subject_id, code in ((1, codes[5]), (2, codes[17]), (3, "SNOMED//1")):
        people.admit(subject_id, covid=False)
        people.event(subject_id, 1, code)
    outputs = {
        "any": events(large).during(stay).exists().node,
        "all": all_of(events(large).during(stay).exists(), stay.kind == "inpatient").node,
    }
    found = both(people.snapshot(hour(5)), outputs).frame
    assert found["any"].to_list() == found["all"].to_list() == [True, False, False]
