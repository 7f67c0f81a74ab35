"""The sepsis programme on the real log: both denominators, the untreated, negative intervals."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from tests.hospitals import new_hospital, take_csv
from tests.shared_data import shared

from neva.definitions.programme import load_programme
from neva.errors import UsageError
from neva.events.snapshot import Snapshot
from neva.quality import MeasureRun, decisions, figures, run_measures

MAPPING = Path(__file__).parents[2] / "src/neva/sources/mappings/sepsis.yaml"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    hospital = new_hospital(tmp_path_factory.mktemp("sepsis"), zone="Europe/Amsterdam")
    take_csv(hospital, shared("data", "sepsis-eventlog", "sepsis.csv"), MAPPING)
    return hospital.snapshot()


@pytest.fixture(scope="module")
def run(snapshot: Snapshot) -> MeasureRun:
    return run_measures(snapshot, load_programme("sepsis", each="subject"))


def row(run: MeasureRun, measure: str) -> dict[str, object]:
    return figures(run, measures=[measure]).frame.row(0, named=True)


@pytest.mark.parametrize(
    ("clock", "within", "before", "median_hours"),
    [
        ("sepsis-triage", 342, 0, 1.53),
        ("triage", 304, 7, 1.73),
        ("registration", 284, 2, 1.88),
    ],
)
def test_antibiotics_within_an_hour_of_each_clock(
    run: MeasureRun, clock: str, within: int, before: int, median_hours: float
) -> None:
    """facts/sepsis_log_answers.md: of 823 treated, and of all 1,049 triaged for sepsis."""
    found = row(run, f"antibiotics-1-hour-from-{clock}")
    assert (found["treated_met"], found["treated"]) == (within, 823)
    assert (found["met"], found["denominator"]) == (within, 1049)
    assert found["before_clock"] == before
    assert round(float(str(found["interval_median"])), 2) == median_hours


def test_every_figure_has_its_list_of_cases(run: MeasureRun) -> None:
    cases = run.of("antibiotics-1-hour-from-triage")
    assert cases.filter(pl.col("status") == "met").height == 304
    assert cases.filter(pl.col("interval") < 0)["subject_id"].n_unique() == 7
    assert cases.filter(~pl.col("treated")).height == 1049 - 823


def test_227_have_no_antibiotic_at_all(run: MeasureRun) -> None:
    found = row(run, "no-antibiotics")
    assert (found["met"], found["denominator"]) == (227, 1050)
    untreated = run.of("no-antibiotics").filter(pl.col("status") == "met")
    intensive = run.of("intensive-care").filter(pl.col("status") == "met")
    assert untreated.join(intensive, on="subject_id", how="semi").height == 10


def test_lactate_within_three_hours(run: MeasureRun) -> None:
    found = row(run, "lactate-3-hours")
    assert (found["treated_met"], found["treated"]) == (859 - 11, 859)
    assert found["before_clock"] == 139  # 16.2 % of 859


def test_returns_within_28_days_among_the_released(run: MeasureRun) -> None:
    found = row(run, "return-28-days")
    assert (found["met"], found["denominator"]) == (111, 782)
    returned = run.of("return-28-days").filter(pl.col("interval").is_not_null())
    assert returned.height == 294


def test_intensive_care_and_length_of_stay(run: MeasureRun) -> None:
    assert row(run, "intensive-care")["met"] == 110
    found = row(run, "length-of-stay")
    assert found["denominator"] == 782
    assert round(float(str(found["mean"])), 2) == 7.72
    assert round(float(str(found["lower_quartile"])), 2) == 3.76
    assert round(float(str(found["upper_quartile"])), 2) == 9.04


def test_both_engines_give_the_same_cases(snapshot: Snapshot, run: MeasureRun) -> None:
    reference = run_measures(snapshot, load_programme("sepsis", each="subject"), engine="reference")
    assert reference.cases.equals(run.cases)


def test_the_patient_called_na_can_be_explained(snapshot: Snapshot, run: MeasureRun) -> None:
    negative = run.of("antibiotics-1-hour-from-registration").filter(pl.col("interval") < 0)
    found = decisions(
        snapshot,
        run,
        "antibiotics-1-hour-from-registration",
        subjects=negative["subject_id"].to_list(),
    )
    assert [one.status for one in found] == ["met", "met"]
    for one in found:
        times = dict(one.events.select("role", "time").unique(subset="role").iter_rows())
        assert times["numerator"] < times["clock_start"]


def test_assumed_recording_is_stated(run: MeasureRun) -> None:
    assert {one.assumed for one in run.sources.values()} == {1.0}


def test_a_period_has_its_own_cases_and_periods_add_up(run: MeasureRun) -> None:
    """There was no way to ask for a period, but by tables of months."""
    name = "antibiotics-1-hour-from-sepsis-triage"
    of_all = figures(run, measures=[name], every="month").frame.drop_nulls("period")
    middle = date(2014, 7, 1)
    before, after = run.between(None, middle), run.between(middle, None)
    for part, keep in ((before, pl.col("period") < middle), (after, pl.col("period") >= middle)):
        months = of_all.filter(keep.cast(pl.Boolean))
        found = figures(part, measures=[name]).frame.row(0, named=True)
        assert found["met"] == months["met"].sum()
        assert found["denominator"] == months["denominator"].sum() > 0
    one = run.between(date(2014, 3, 1), date(2014, 4, 1))
    assert one.cases["placed"].null_count() == 0
    with pytest.raises(UsageError, match="empty"):
        run.between(middle, middle)


def test_the_command_measures_a_period(neva, snapshot: Snapshot, tmp_path: Path) -> None:
    place = snapshot.cache.parent
    words = ("quality", "measure", place, "--programme", "sepsis", "--json")
    said = neva(*words, "--from", "2014-03-01", "--until", "2014-04-01")
    assert said.code == 0, said.err
    assert (said.json()["from"], said.json()["until"]) == ("2014-03-01", "2014-04-01")
    text = neva(*words[:-1], "--from", "2014-03-01").out
    assert "cases placed from 2014-03-01 only; " in text
    assert neva(*words, "--from", "March").code == 2
    assert neva(*words, "--from", "2014-03-01", "--fhir", tmp_path / "out").code == 2
    period = ("--from", "2014-03-01", "--until", "2014-04-01")
    assert neva(*words, *period, "--fhir", tmp_path / "out").code == 0
    report = (tmp_path / "out" / "MeasureReport-summary.ndjson").read_text().splitlines()[0]
    assert json.loads(report)["period"] == {"start": "2014-03-01", "end": "2014-03-31"}
