"""Every measure of every programme on the synthetic hospital equals what was planted."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from neva.definitions.programme import load_programme, programme_names
from neva.events.hospital import Hospital, create_hospital
from neva.quality import MeasureRun, run_measures
from neva.synthesis import Plan, plan_of, synthesise, truth

NAMES = [name for name in programme_names() if load_programme(name).measures]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    made = create_hospital(
        tmp_path_factory.mktemp("synthetic") / "hospital",
        zone="Europe/Berlin",
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    plan = Plan(stays=1500, seed=7, zone="Europe/Berlin")
    synthesise(made, plan, now=datetime(2026, 1, 1, tzinfo=UTC), after_cut=True)
    return made


@pytest.fixture(scope="module")
def runs(hospital: Hospital) -> dict[str, MeasureRun]:
    snapshot = hospital.snapshot(as_of=plan_of(hospital.path).cut)
    return {name: run_measures(snapshot, load_programme(name)) for name in NAMES}


MEASURES = [one.id for name in NAMES for one in load_programme(name).measures]


@pytest.mark.parametrize("measure", MEASURES)
def test_the_measure_equals_the_planted_truth(
    hospital: Hospital, runs: dict[str, MeasureRun], measure: str
) -> None:
    """Statuses of all stays, deadlines to the microsecond, values; rows after the cut unseen."""
    planted = truth(hospital.path).filter(pl.col("measure") == measure)
    assert planted.height == 1500
    run = runs[measure.partition(".")[0]]
    assert run.errors.height == 0
    found = (
        run.points["stay"]
        .select("stay_id")
        .join(run.of(measure).select("stay_id", "status", "due", "value"), on="stay_id", how="left")
        .with_columns(pl.col("status").fill_null("outside"))
    )
    both = planted.join(found, on="stay_id", how="left", suffix="_found")
    assert both.filter(pl.col("status") != pl.col("status_found").fill_null("absent")).rows() == []
    closed = both.filter(pl.col("due").is_not_null())
    assert closed.filter(pl.col("due") != pl.col("due_found")).height == 0
    gap = (both["value"] - both["value_found"]).abs().max()
    assert gap is None or float(str(gap)) < 1e-9
    assert (
        both["value"]
        .is_null()
        .equals(
            both.select(pl.when(pl.col("status") == "measured").then("value_found"))
            .to_series()
            .is_null()
        )
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_engine_gives_the_same_cases(
    hospital: Hospital, runs: dict[str, MeasureRun], name: str
) -> None:
    subjects = sorted(runs[name].points["stay"]["subject_id"].unique().to_list())[::25]
    snapshot = hospital.snapshot(as_of=plan_of(hospital.path).cut)
    slow = run_measures(snapshot, load_programme(name), engine="reference", subjects=subjects)
    fast = runs[name].cases.filter(pl.col("subject_id").is_in(subjects))
    assert slow.cases.drop("value", "interval").equals(fast.drop("value", "interval"))
    for column in ("value", "interval"):
        gap = (slow.cases[column] - fast[column]).abs().max()
        assert gap is None or float(str(gap)) < 1e-9


def test_the_truth_is_read_by_no_analysis() -> None:
    source = Path(__file__).parents[2] / "src" / "neva"
    for folder in ("definitions", "quality", "programmes"):
        for path in (source / folder).rglob("*.py"):
            assert "synthesis" not in path.read_text(encoding="utf-8"), path
