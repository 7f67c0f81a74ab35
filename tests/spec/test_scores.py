"""Scores exactly as published, the same from both engines."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import polars as pl
import pytest
from tests.people import People, both, hour
from tests.shared_data import shared

from neva.definitions.programme import load_programme

COVID = load_programme("covid19")

VITALS = {
    "respiratory-rate": ("LOINC//9279-1", "/min"),
    "saturation": ("LOINC//59408-5", "%"),
    "systolic": ("LOINC//8480-6", "mm[Hg]"),
    "diastolic": ("LOINC//8462-4", "mm[Hg]"),
    "pulse": ("LOINC//8867-4", "/min"),
    "temperature": ("LOINC//8310-5", "Cel"),
    "coma-score": ("LOINC//9269-2", "{score}"),
    "urea": ("LOINC//22664-7", "mmol/L"),
    "crp": ("LOINC//1988-5", "mg/L"),
    "lymphocytes": ("LOINC//731-0", "10*9/L"),
}


def items(name: str) -> dict[str, Any]:
    return {item.name: item.of for item in COVID.document(name).items}


def facts(name: str) -> pl.DataFrame:
    return pl.read_csv(shared("facts", name), infer_schema_length=None)


def measured(people: People, subject: int, **values: float) -> None:
    for name, value in values.items():
        code, unit = VITALS[name.replace("_", "-")]
        people.event(subject, 1, code, value, unit)


# ------------------------------------------------------------------ 4C mortality


def in_level(level: str) -> list[float]:
    """Values at both ends of a published band, and in the gaps that bands leave."""
    text = level.split(" ", maxsplit=1)[0]
    if text.startswith("<"):
        limit = float(text[1:])
        return [limit - 0.5, math.nextafter(limit, 0)]
    if text.startswith(">="):
        return [float(text[2:]), float(text[2:]) + 10]
    if text.startswith(">"):
        return [math.nextafter(float(text[1:]), 1e9), float(text[1:]) + 10]
    if "-" in text:
        low, high = map(float, text.split("-"))
        return [low, high]
    return [float(text)]


ITEM = {
    "respiratory_rate_per_min": "respiratory-rate",
    "spo2_room_air_percent": "saturation",
    "gcs": "coma-score",
    "urea_mmol_l": "urea",
    "crp_mg_l": "crp",
}


def test_4c_mortality_gives_the_published_points_at_every_boundary() -> None:
    points = facts("4c_mortality_points.csv")
    people = People()
    expected: dict[int, tuple[str, int]] = {}
    for row in points.iter_rows(named=True):
        if row["variable"] not in ITEM:
            continue
        for value in in_level(row["level"]):
            subject = len(expected) + 1
            people.admit(subject)
            measured(people, subject, **{ITEM[row["variable"]]: value})
            expected[subject] = (ITEM[row["variable"]], row["points"])
    # Between the printed bands of CRP: 50-99 means below 100.
    for value, worth in ((99.5, 1), (100.0, 2), (49.9, 0)):
        subject = len(expected) + 1
        people.admit(subject)
        measured(people, subject, crp=value)
        expected[subject] = ("crp", worth)
    found = both(people.snapshot(hour(3)), items("4c-mortality")).frame
    for row in found.iter_rows(named=True):
        name, worth = expected[row["subject_id"]]
        assert row[name] == worth, (name, row["subject_id"])
    assert len(expected) > 20


@pytest.mark.parametrize(
    ("born", "points"),
    [
        (date(1971, 2, 2), 0),  # 49 until tomorrow
        (date(1971, 2, 1), 2),  # 50 today
        (date(1961, 2, 2), 2),
        (date(1961, 2, 1), 4),
        (date(1951, 2, 1), 6),
        (date(1941, 2, 2), 6),
        (date(1941, 2, 1), 7),
    ],
)
def test_4c_mortality_age_by_completed_years(born: date, points: int) -> None:
    people = People()
    people.admit(1, born=born)
    assert both(people.snapshot(hour(3)), items("4c-mortality")).frame["age"][0] == points


def test_4c_mortality_counts_groups_of_comorbidities_and_sex() -> None:
    people = People()
    for subject, (sex, codes) in enumerate(
        [
            ("male", []),
            ("female", ["ICD10//E11.9"]),
            ("female", ["ICD10//E11.9", "ICD10//E10.1"]),  # one group: diabetes
            ("other", ["ICD10//E11.9", "ICD10//C34.9"]),
        ],
        start=1,
    ):
        people.admit(subject, sex=sex)
        for code in codes:
            people.event(subject, 1, code)
    found = both(people.snapshot(hour(3)), items("4c-mortality")).frame
    assert found["comorbidities"].to_list() == [0, 1, 1, 2]
    assert found["sex"].to_list() == [1, 0, 0, None]


def test_4c_on_oxygen_without_a_room_air_reading_is_missing_and_not_normal() -> None:
    people = People()
    for subject in (1, 2, 3, 4):
        people.admit(subject)
    people.event(1, 1, "CARE//oxygen-nasal-or-mask")  # no end is stated: still on oxygen
    people.event(1, 2, "LOINC//59408-5", 90, "%")
    people.event(2, 1, "CARE//oxygen-nasal-or-mask", until=100)
    people.event(2, 2, "LOINC//59408-5", 96, "%")  # on oxygen only
    people.event(3, 0.9, "LOINC//59408-5", 91, "%")  # on air, then oxygen
    people.event(3, 1, "CARE//oxygen-nasal-or-mask", until=100)
    people.event(3, 2, "LOINC//59408-5", 97, "%")
    people.event(4, 1, "CARE//oxygen-nasal-or-mask", until=2)
    people.event(4, 1.5, "LOINC//59408-5", 99, "%")
    people.event(4, 2.5, "LOINC//59408-5", 90, "%")  # after oxygen
    found = both(people.snapshot(hour(3)), items("4c-mortality")).frame
    assert found["saturation"].to_list() == [None, None, 2, 2]
    assert both(people.snapshot(hour(3)), items("news2")).frame["oxygen"].to_list() == [2, 2, 2, 0]


def test_an_input_older_than_the_look_back_is_missing() -> None:
    people = People()
    people.admit(1)
    people.event(1, 0, "LOINC//1988-5", 200, "mg/L")
    assert both(people.snapshot(hour(24)), items("4c-mortality")).frame["crp"][0] is None
    later = both(people.snapshot(hour(23.9)), items("4c-mortality")).frame
    assert later["crp"][0] == 2


# ------------------------------------------------------------- 4C deterioration


def test_4c_deterioration_gives_every_vector_to_the_last_printed_digit() -> None:
    vectors = facts("4c_deterioration_test_vectors.csv")
    people = People()
    for subject, row in enumerate(vectors.iter_rows(named=True), start=1):
        people.admit(
            subject,
            born=date(2021 - row["age"], 1, 1),
            sex="male" if row["male"] else "female",
            covid=False,
        )
        # Nosocomial: first positive more than seven days after admission.
        at = 8 * 24 if row["nosocomial"] else 1
        people.event(subject, at, "LOINC//94500-6", text="detected")
        late = 9 * 24
        for name, column in (
            ("respiratory-rate", "rr"),
            ("saturation", "spo2"),
            ("urea", "urea"),
            ("crp", "crp"),
            ("lymphocytes", "lymph"),
        ):
            code, unit = VITALS[name]
            people.event(subject, late, code, row[column], unit)
        people.event(subject, late, "LOINC//9269-2", 14 if row["gcs_lt_15"] else 15, "{score}")
        people.event(subject, late, "CARE//radiographic-infiltrates", row["infiltrates"], "1")
        if row["oxygen"]:
            people.event(subject, 1, "CARE//oxygen-nasal-or-mask", until=1000)
    outputs = {
        "linear": COVID.document("4c-deterioration-linear-predictor").value,
        "probability": COVID.document("4c-deterioration").value,
    }
    found = both(people.snapshot(hour(9 * 24 + 1)), outputs).frame
    assert [round(value, 6) for value in found["linear"]] == vectors["linear_predictor"].to_list()
    assert [round(value, 6) for value in found["probability"]] == vectors["probability"].to_list()


# ------------------------------------------------------------------------ NEWS2

STEP = {
    "respiration_rate_per_min": ("respiratory-rate", 1.0),
    "spo2_scale1_percent": ("saturation", 1.0),
    "systolic_bp_mmhg": ("systolic", 1.0),
    "pulse_per_min": ("pulse", 1.0),
    "temperature_c": ("temperature", 0.1),
}
COLUMN_POINTS = {
    "score3_low": 3,
    "score2_low": 2,
    "score1_low": 1,
    "score0": 0,
    "score1_high": 1,
    "score2_high": 2,
    "score3_high": 3,
}


def ends(band: str, step: float) -> list[float]:
    if band.startswith("<="):
        return [float(band[2:]), float(band[2:]) - step]
    if band.startswith(">="):
        return [float(band[2:]), float(band[2:]) + step]
    low, _, high = band.partition("-")
    return [float(low), float(high or low)]


def test_news2_at_every_printed_boundary() -> None:
    table = facts("news2.csv")
    people = People()
    expected: dict[int, tuple[str, int]] = {}
    for row in table.iter_rows(named=True):
        if row["parameter"] not in STEP:
            continue
        name, step = STEP[row["parameter"]]
        for column, worth in COLUMN_POINTS.items():
            if row[column] is None:
                continue
            points = worth
            if row["parameter"] == "temperature_c" and column == "score2_high":
                points = 2
            # The last column of the table holds >=39.1, which scores 2.
            if row["parameter"] == "temperature_c" and row[column] == ">=39.1":
                points = 2
            for value in ends(row[column], step):
                subject = len(expected) + 1
                people.admit(subject)
                measured(people, subject, **{name: value})
                expected[subject] = (name, points)
    found = both(people.snapshot(hour(3)), items("news2")).frame
    for row in found.iter_rows(named=True):
        name, worth = expected[row["subject_id"]]
        assert row[name] == worth, (name, row["subject_id"])
    assert len(expected) > 45


@pytest.mark.parametrize(
    ("saturation", "oxygen", "points"),
    [
        (83, False, 3), (84, False, 2), (85, False, 2), (86, False, 1), (87, False, 1),
        (88, False, 0), (92, False, 0), (93, False, 0), (99, False, 0),
        (88, True, 0), (92, True, 0), (93, True, 1), (94, True, 1), (95, True, 2),
        (96, True, 2), (97, True, 3),
    ],
)  # fmt: skip
def test_news2_scale_2_only_where_it_is_set(saturation: float, oxygen: bool, points: int) -> None:
    people = People()
    people.admit(1)
    people.event(1, 0.2, "CARE//saturation-target-88-92")
    if oxygen:
        people.event(1, 0.5, "CARE//oxygen-nasal-or-mask", until=50)
    people.event(1, 1, "LOINC//59408-5", saturation, "%")
    found = both(people.snapshot(hour(3)), items("news2")).frame
    assert found["saturation"][0] == points
    assert found["oxygen"][0] == (2 if oxygen else 0)


@pytest.mark.parametrize(("letter", "points"), [("A", 0), ("C", 3), ("V", 3), ("P", 3), ("U", 3)])
def test_news2_consciousness(letter: str, points: int) -> None:
    people = People()
    people.admit(1)
    people.event(1, 1, "CARE//acvpu", text=letter)
    assert both(people.snapshot(hour(3)), items("news2")).frame["consciousness"][0] == points


# ---------------------------------------------------------------- qSOFA, CURB-65


@pytest.mark.parametrize(
    ("score", "name", "values", "points"),
    [
        ("qsofa", "respiratory-rate", {"respiratory_rate": 22}, 1),
        ("qsofa", "respiratory-rate", {"respiratory_rate": 21}, 0),
        ("qsofa", "systolic", {"systolic": 100}, 1),
        ("qsofa", "systolic", {"systolic": 101}, 0),
        ("qsofa", "mentation", {"coma_score": 14}, 1),
        ("qsofa", "mentation", {"coma_score": 15}, 0),
        ("curb-65", "urea", {"urea": 7}, 0),
        ("curb-65", "urea", {"urea": 7.1}, 1),
        ("curb-65", "respiratory-rate", {"respiratory_rate": 30}, 1),
        ("curb-65", "respiratory-rate", {"respiratory_rate": 29}, 0),
        ("curb-65", "pressure", {"systolic": 90, "diastolic": 61}, 0),
        ("curb-65", "pressure", {"systolic": 89}, 1),
        ("curb-65", "pressure", {"systolic": 120, "diastolic": 60}, 1),
        ("curb-65", "pressure", {"systolic": 120}, None),
    ],
)
def test_simple_scores_at_their_limits(
    score: str, name: str, values: dict[str, float], points: int | None
) -> None:
    people = People()
    people.admit(1)
    measured(people, 1, **values)
    assert both(people.snapshot(hour(3)), items(score)).frame[name][0] == points
