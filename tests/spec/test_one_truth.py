"""Six patients in whom measures of steroids could contradict each other, and do not."""

from __future__ import annotations

import polars as pl
import pytest
from tests.people import People, hour

from neva.definitions.programme import load_programme
from neva.quality import MeasureRun, decisions, run_measures
from neva.reports.pages.quality import page

ON = "covid19.steroid-when-on-oxygen"
OFF = "covid19.no-steroid-without-oxygen"


def six() -> People:
    people = People()
    # 1: 93 % on air, twice, and never on oxygen.
    people.admit(1, end=hour(96), outcome="home")
    people.event(1, 1, "LOINC//59408-5", 93, "%")
    people.event(1, 2, "LOINC//59408-5", 93, "%")
    # 2: hypercapnic, 89 % is on target; on oxygen.
    people.admit(2, end=hour(96), outcome="home")
    people.event(2, 1, "CARE//saturation-target-88-92")
    people.event(2, 2, "LOINC//59408-5", 89, "%")
    people.event(2, 3, "CARE//oxygen-nasal-or-mask", until=48)
    # 3: dexamethasone an hour before admission, then oxygen.
    people.admit(3, end=hour(96), outcome="home")
    people.event(3, -1, "ATC//H02AB02", 6, "mg")
    people.event(3, 2, "CARE//oxygen-nasal-or-mask", until=48)
    # 4: a transplant recipient on steroids, never on oxygen.
    people.admit(4, end=hour(96), outcome="home")
    people.event(4, -24 * 400, "ICD10//Z94.0")
    people.event(4, 5, "ATC//H02AB06", 10, "mg")
    # 5: palliative, on oxygen, no steroid.
    people.admit(5, end=hour(96), outcome="died")
    people.event(5, 3, "CARE//palliative-care")
    people.event(5, 1, "CARE//oxygen-nasal-or-mask", until=90)
    # 6: hypoxic and on oxygen three hours ago, no steroid yet.
    people.admit(6, start=hour(90))
    people.event(6, 93, "LOINC//59408-5", 85, "%")
    people.event(6, 93, "CARE//oxygen-nasal-or-mask", until=500)
    people.event(6, 90.5, "LOINC//94500-6", text="detected")
    return people


EXPECTED = {
    1: {OFF: "met"},
    2: {ON: "excluded"},
    3: {ON: "met"},
    4: {OFF: "excluded"},
    5: {ON: "excluded"},
    6: {ON: "pending"},
}


def statuses(run: MeasureRun) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    steroids = run.cases.filter(pl.col("measure").is_in([ON, OFF]))
    for row in steroids.iter_rows(named=True):
        found.setdefault(row["subject_id"], {})[row["measure"]] = row["status"]
    return found


@pytest.mark.parametrize("engine", ["relational", "reference"])
def test_each_of_six_patients_has_one_status(engine: str) -> None:
    snapshot = six().snapshot(hour(96))
    run = run_measures(snapshot, load_programme("covid19"), engine=engine)  # type: ignore[arg-type]
    assert statuses(run) == EXPECTED
    waiting = run.pending().filter(pl.col("measure") == ON)
    assert waiting.select("subject_id", "due").rows() == [(6, hour(93 + 24))]


def test_the_confirmed_need_moves_patients_between_the_measures_and_counts_none_twice() -> None:
    snapshot = six().snapshot(hour(96))
    programme = load_programme("covid19", trigger="oxygen-or-confirmed-need")
    found = statuses(run_measures(snapshot, programme))
    assert found[1] == {ON: "failed"}
    assert all(len(of) == 1 for of in found.values())


def test_the_report_says_the_same() -> None:
    snapshot = six().snapshot(hour(96))
    programme = load_programme("covid19")
    run = run_measures(snapshot, programme, only=[programme.document(ON), programme.document(OFF)])
    said = page(snapshot, run, synthetic=False)
    on, off = said["rows"]
    assert (on.counts, on.excluded, on.pending) == ("1 of 1", 2, 1)
    assert (off.counts, off.excluded, off.pending) == ("1 of 1", 1, 0)


def test_the_events_that_decided_stand_beside_the_status() -> None:
    snapshot = six().snapshot(hour(96))
    programme = load_programme("covid19")
    run = run_measures(snapshot, programme)
    (steroid,) = decisions(snapshot, run, ON, subjects=[3])
    assert steroid.status == "met"
    decided = steroid.events.filter(pl.col("role") == "numerator")
    assert decided.filter(pl.col("code") == "ATC//H02AB02")["time"].to_list() == [hour(-1)]
    (palliative,) = decisions(snapshot, run, ON, subjects=[5])
    assert palliative.parts["excluded: palliative"] is True
    assert "CARE//palliative-care" in palliative.events["code"].to_list()
