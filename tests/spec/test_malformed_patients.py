"""A patient whose record contradicts itself is counted, and stops nobody else."""

from __future__ import annotations

from datetime import date

import pytest
from tests.people import People, hour

from neva.definitions.programme import load_programme
from neva.quality import run_measures
from neva.reports.pages.quality import page


@pytest.mark.parametrize("engine", ["relational", "reference"])
def test_one_malformed_patient_becomes_a_row_of_errors(engine: str) -> None:
    people = People()
    people.admit(1, end=hour(48), outcome="home")
    people.admit(2, born=date(2030, 1, 1))
    people.admit(3, born=date(1850, 1, 1))
    people.admit(4, end=hour(-5), outcome="home")
    people.admit(5, death=hour(-24 * 30))
    people.admit(6, born=date(1990, 1, 1), death=hour(-24 * 365 * 40))
    snapshot = people.snapshot(hour(72))
    run = run_measures(snapshot, load_programme("covid19"), engine=engine)  # type: ignore[arg-type]
    assert dict(run.errors.select("subject_id", "reason").iter_rows()) == {
        2: "birth-after-now",
        3: "age-above-130",
        4: "end-before-start",
        5: "stay-after-death",
        6: "death-before-birth",
    }
    assert run.cases["subject_id"].unique().to_list() == [1]
    said = page(snapshot, run, synthetic=False)
    assert said["error_count"] == 5
    assert sum(row["count"] for row in said["errors"]) == 5


def test_extreme_values_make_unknown_answers_and_no_errors() -> None:
    people = People()
    people.admit(1)
    people.event(1, 1, "LOINC//59408-5", 1e300, "%")
    people.event(1, 1, "LOINC//1988-5", -1e300, "mg/L")
    people.event(1, 1, "LOINC//22664-7", 5.0, "no-such-unit")
    snapshot = people.snapshot(hour(3))
    run = run_measures(snapshot, load_programme("covid19"))
    assert run.errors.height == 0
    assert run.cases.height > 0
