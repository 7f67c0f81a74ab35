"""What wards write in the synthetic hospital: added to it, changing nothing of it, sane."""

from dataclasses import replace

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.hospitals import NOW

from neva.census.current_entries import current_entries
from neva.events.hospital import create_hospital
from neva.events.operational_codes import DELAY_REASONS, ISOLATION_KINDS, OPERATIONAL_CODES
from neva.intake.entered import Entry, append_entries
from neva.operations.bed_board import bed_board
from neva.synthesis import Plan, plan_of, synthesise, truth
from neva.synthesis.generation import Generation

PLAN = Plan(stays=300, seed=3)
WITH = replace(PLAN, operations=True)


def rows_of(plan):
    frames = {}
    for rows in Generation.of(plan).rows(after=False):
        frames.setdefault(rows.table, []).append(rows.frame)
    return frames


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    made = create_hospital(tmp_path_factory.mktemp("ops") / "h", zone=PLAN.zone, now=NOW)
    synthesise(made, WITH, now=NOW)
    return made


def test_all_else_is_as_without_them():
    bare, more = rows_of(PLAN), rows_of(WITH)
    for table, parts in bare.items():
        kept = [one for one in more[table] if any(one.equals(other) for other in parts)]
        assert len(kept) == len(parts), table
        assert_frame_equal(pl.concat(parts, how="diagonal"), pl.concat(kept, how="diagonal"))


def test_a_plan_says_whether_it_has_them_and_older_plans_have_not():
    assert Plan.from_json(WITH.to_json()) == WITH
    assert "operations" not in PLAN.to_json()
    assert Plan.from_json(PLAN.to_json()) == PLAN


def test_nothing_is_refused_and_the_truth_is_there(hospital):
    assert hospital.snapshot().quarantine().collect().is_empty()
    assert plan_of(hospital.path) == WITH
    assert truth(hospital.path).height


def test_the_same_again_adds_nothing_even_after_entries(hospital, tmp_path):
    before = hospital.snapshot().version
    stay = hospital.snapshot().stays().collect().row(-1, named=True)
    append_entries(
        hospital,
        [Entry(id="x", subject_id=stay["subject_id"], stay_id=stay["stay_id"],
               kind="handover-note", value="invented", at=hospital.snapshot().now)],
        now=NOW,
    )  # fmt: skip
    assert synthesise(hospital, WITH, now=NOW).summary.already_imported
    assert hospital.snapshot().version == before + 1


def test_events_make_sense(hospital):
    events = hospital.snapshot().events().filter(pl.col("code").str.starts_with("NEVA//")).collect()
    stays = hospital.snapshot().stays().collect()
    assert set(events["code"]) <= set(OPERATIONAL_CODES)
    described = set(hospital.snapshot().codes().select("code").collect()["code"])
    assert set(events["code"]) | set(events["reason"].drop_nulls()) <= described
    assert set(events["reason"].drop_nulls()) <= {*DELAY_REASONS, *ISOLATION_KINDS}
    both = events.join(stays.select("stay_id", "start", stay_end="end"), on="stay_id")
    assert both.height > 100
    assert (both["recorded"] >= both["start"]).all()
    assert both.filter(pl.col("recorded") > pl.col("stay_end")).is_empty()
    # Expected dates come true within days, confirmed ones within hours.
    dates = both.filter(
        pl.col("code") == "NEVA//discharge-expected", pl.col("stay_end").is_not_null()
    ).with_columns(
        yes=pl.col("attributes").list.first().struct.field("value"),
        wrong=(pl.col("time") - pl.col("stay_end")).dt.total_minutes().abs() / 60,
    )
    typical = dict(dates.group_by("yes").agg(pl.col("wrong").median()).iter_rows())
    assert typical["yes"] < 3 < typical["no"] < 60


def test_the_board_of_it_has_something_of_everything(hospital):
    snapshot = hospital.snapshot()
    board = bed_board(snapshot, at=snapshot.now)
    assert board.synthetic
    assert board.units["closed"].sum() > 0
    assert board.discharges.height > 0
    assert {"expected-discharge"} <= set(current_entries(snapshot)["kind"])
    closed = snapshot.beds().filter(pl.col("state") == "closed", pl.col("end").is_null())
    lying = board.patients.join(closed.collect(), on=["unit", "bed"], how="semi")
    assert lying.is_empty()
