"""The planted truth of the synthetic hospital is what its rows say, read slowly."""

import polars as pl
import pytest
from tests.hospitals import NOW
from tests.synthetic_oracle import MEASURES, Oracle

from neva.events.hospital import create_hospital
from neva.synthesis import Plan, synthesise, truth

PLANS = [Plan(stays=300, seed=1), Plan(stays=300, seed=2, zone="Europe/Berlin")]


@pytest.fixture(scope="module", params=PLANS, ids=lambda plan: plan.zone)
def told(request, tmp_path_factory):
    """The plan, the planted answers, and those of the oracle."""
    plan = request.param
    folder = tmp_path_factory.mktemp("truth") / "hospital"
    hospital = create_hospital(folder, zone=plan.zone, now=NOW)
    synthesise(hospital, plan, now=NOW, after_cut=True)
    snapshot = hospital.snapshot(as_of=plan.cut)
    return plan, truth(folder), Oracle(snapshot, plan.cut).answers()


def test_every_measure_is_answered_for_every_stay(told):
    plan, planted, answers = told
    assert set(planted["measure"]) == set(MEASURES)
    assert planted.height == len(answers) == plan.stays * len(MEASURES)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_truth_is_what_the_rows_say(told, measure):
    _, planted, answers = told
    for row in planted.filter(pl.col("measure") == measure).iter_rows(named=True):
        status, due, value = answers[row["stay_id"], measure]
        assert (row["stay"], status) == (row["stay"], row["status"])
        assert row["due"] == (due if status in ("met", "failed", "pending") else None)
        assert row["value"] == (None if value is None else pytest.approx(value, abs=1e-12))


def test_each_kind_of_answer_occurs(told):
    _, planted, _ = told
    kinds = {"outside", "excluded", "met", "failed", "measured", "pending", "unknown"}
    assert kinds == set(planted["status"])
