"""The synthetic hospital: the same again, sane, and marked as what it is."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.hospitals import NOW, event, new_hospital, take

from neva.errors import BadInputError, ConflictError, NotFoundError, UsageError
from neva.events.checks import check_hospital, read_thresholds
from neva.events.hospital import create_hospital
from neva.synthesis import (
    Plan,
    deterioration,
    generation,
    is_synthetic,
    plan_of,
    synthesise,
    truth,
)
from neva.synthesis.generation import Generation

PLAN = Plan(stays=300, seed=3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A hospital of 300 stays, with what became known after its data cut."""
    folder = tmp_path_factory.mktemp("synthetic")
    before = create_hospital(folder / "before", zone=PLAN.zone, now=NOW)
    synthesise(before, PLAN, now=NOW)
    later = create_hospital(folder / "later", zone=PLAN.zone, now=NOW)
    synthesise(later, PLAN, now=NOW, after_cut=True)
    return before, later


def rows_of(plan):
    """Everything that a plan delivers, table by table."""
    frames = {}
    for rows in Generation.of(plan).rows(after=False):
        frames.setdefault(rows.table, []).append(rows.frame)
    return {table: pl.concat(parts, how="diagonal") for table, parts in frames.items()}


def test_the_same_plan_makes_the_same_hospital():
    once, again = rows_of(PLAN), rows_of(PLAN)
    assert once.keys() == again.keys()
    for table, frame in once.items():
        assert_frame_equal(frame, again[table])


def test_another_seed_makes_another_hospital():
    once, other = rows_of(PLAN), rows_of(Plan(stays=300, seed=4))
    assert not once["events"]["time"].equals(other["events"]["time"])


def test_blocks_do_not_depend_on_how_many_are_taken_together(monkeypatch):
    """Each block has its own stream: the second alone is as the second of all."""
    monkeypatch.setattr(generation, "_SUBJECTS_PER_BLOCK", 60)
    whole = Generation.of(PLAN)
    blocks = list(whole.blocks())
    assert len(blocks) > 3
    subjects = [set(block.journeys["subject"]) for block, _ in blocks]
    assert sum(map(len, subjects)) == len(set().union(*subjects))
    for block, ledger in reversed(blocks):
        assert_frame_equal(whole._ledger(block), ledger)
    joined = pl.concat([whole.truth_of(*block) for block in blocks])
    assert joined.select("stay", "measure").is_duplicated().sum() == 0
    assert joined["stay"].n_unique() == PLAN.stays


def test_the_same_plan_imported_twice_adds_nothing(tmp_path):
    plan = Plan(stays=30)
    hospital = create_hospital(tmp_path / "h", zone=plan.zone, now=NOW)
    synthesise(hospital, plan, now=NOW)
    version = hospital.manifest().version
    again = synthesise(hospital, plan, now=NOW + timedelta(days=1))
    assert again.summary.already_imported
    assert hospital.manifest().version == version


def test_truth_that_was_lost_is_made_again(tmp_path):
    plan = Plan(stays=30)
    hospital = create_hospital(tmp_path / "h", zone=plan.zone, now=NOW)
    synthesise(hospital, plan, now=NOW)
    first = truth(hospital.path)
    (hospital.path / "truth" / "measures.parquet").unlink()
    with pytest.raises(NotFoundError):
        truth(hospital.path)
    synthesise(hospital, plan, now=NOW)
    assert_frame_equal(truth(hospital.path), first)


def test_another_plan_is_refused(made):
    before, _ = made
    with pytest.raises(ConflictError, match="another synthetic hospital"):
        synthesise(before, Plan(stays=300, seed=99), now=NOW)
    assert plan_of(before.path) == PLAN


def test_invented_patients_do_not_stand_beside_others(tmp_path):
    hospital = new_hospital(tmp_path)
    take(hospital, tmp_path / "real.csv", [event()])
    assert not is_synthetic(hospital.snapshot())
    with pytest.raises(ConflictError, match="must not stand beside"):
        synthesise(hospital, PLAN, now=NOW)
    with pytest.raises(NotFoundError):
        truth(hospital.path)


def test_another_zone_is_refused(tmp_path):
    hospital = new_hospital(tmp_path, zone="UTC")
    with pytest.raises(ConflictError, match="another zone"):
        synthesise(hospital, PLAN, now=NOW)


def test_a_hospital_is_marked_as_synthetic(made):
    before, _ = made
    assert is_synthetic(before.snapshot())
    assert is_synthetic(before.snapshot(as_of=datetime(2000, 1, 1, tzinfo=UTC)))


def test_the_data_cut_is_the_plans(made):
    before, later = made
    assert before.manifest().last == PLAN.cut
    assert before.snapshot().now == PLAN.cut
    assert later.manifest().last > PLAN.cut
    for table in ("events", "subjects", "stays", "movements"):
        recorded = before.snapshot().stored(table).select(pl.col("recorded").max()).collect().item()
        assert recorded <= PLAN.cut


@pytest.mark.parametrize("table", ["events", "subjects", "stays", "movements"])
def test_what_came_after_the_cut_does_not_show_at_the_cut(made, table):
    before, later = made
    assert later.manifest().version == before.manifest().version + 1

    def seen(hospital, at):
        frame = getattr(hospital.snapshot(as_of=at), table)().collect()
        # Pseudonyms differ between hospitals, and a later withdrawal is a later
        # withdrawal; what is left must be the same.
        kept = [
            c for c in frame.columns if not c.endswith("_id") and c not in ("batch", "retracted")
        ]
        if table == "events":
            frame = frame.with_columns(
                attributes=pl.col("attributes")
                .list.eval(pl.element().struct.json_encode())
                .list.join(",")
            )
        return frame.select(kept).sort(kept)

    assert_frame_equal(seen(before, PLAN.cut), seen(later, PLAN.cut))
    assert seen(later, None).height >= seen(before, None).height


def test_the_latest_view_is_the_view_at_the_cut(made):
    before, _ = made
    for table in ("events", "stays", "movements", "subjects"):
        latest = getattr(before.snapshot(), table)().collect().height
        assert getattr(before.snapshot(as_of=PLAN.cut), table)().collect().height == latest


def test_something_is_known_only_after_the_cut(made):
    before, later = made
    ends = [h.snapshot().stays().collect()["end"].null_count() for h in (before, later)]
    assert ends[0] > 0
    assert ends[1] == 0
    batch = later.snapshot().batches().collect().sort("batch").row(-1, named=True)
    assert batch["rows_revised"] > 0
    assert batch["rows_retracted"] > 0
    assert batch["rows_refused"] == 0


def test_nothing_is_refused_and_every_check_passes(made):
    before, later = made
    for hospital in (before, later):
        checked = check_hospital(hospital.snapshot()).judged(read_thresholds())
        outside = checked.frame.filter(pl.col("verdict") == "outside")
        assert outside["check"].to_list() == []
        assert hospital.snapshot().quarantine().collect().height == 0


def test_no_bed_has_two_patients_and_none_is_used_while_closed(made):
    _, later = made
    movements = later.snapshot().movements().filter(pl.col("bed").is_not_null()).collect()
    overlap = movements.sort("bed", "start").select(
        pl.col("end").shift(1).over("bed") > pl.col("start")
    )
    assert overlap.to_series().sum() == 0
    beds = later.snapshot().beds().collect()
    assert {"closed", "staffed"} == set(beds["state"])
    assert beds["side_room"].any()
    assert beds["isolation"].any()
    opened = beds.filter(pl.col("state") == "staffed").select("unit", "bed", opens="start")
    joined = movements.join(opened, on=["unit", "bed"], how="left")
    assert joined["opens"].null_count() == 0
    assert (joined["start"] >= joined["opens"]).all()


def test_movements_fill_their_stay(made):
    _, later = made
    stays = later.snapshot().stays().collect()
    ordered = later.snapshot().movements().collect().sort("stay_id", "start")
    joined = ordered.group_by("stay_id", maintain_order=True).agg(
        pl.col("start").first(), pl.col("end").last(),
        gaps=(pl.col("start").slice(1) != pl.col("end").slice(0, pl.len() - 1)).sum(),
    ).join(stays, on="stay_id")  # fmt: skip
    assert joined.height == stays.height
    assert joined["gaps"].sum() == 0
    assert (joined["start"] == joined["start_right"]).all()
    assert (joined["end"] == joined["end_right"]).all()


def test_late_corrected_withdrawn_open_and_not_done_rows_are_there(made):
    before, _ = made
    events = before.snapshot().stored("events").collect()
    late = events.filter(pl.col("recorded") - pl.col("time") > pl.duration(hours=12))
    assert late.filter(pl.col("code") == "LOINC//1988-5").height > 0
    twice = events.filter(pl.col("event_id").is_duplicated())
    assert twice.height > 50
    withdrawn = events.filter(
        pl.col("retracted").is_not_null() & ~pl.col("event_id").is_duplicated()
    )
    assert withdrawn.height > 50
    not_done = events.filter(pl.col("status") == "not-done")
    assert set(not_done["reason"]) == {"REASON//contraindicated", "REASON//refused"}
    assert events.filter(pl.col("status") == "planned")["time"].max() > PLAN.cut
    assert not events["recorded_assumed"].any()


def test_rates_are_what_the_page_says():
    """At 3,000 stays; wide enough to fail once in some thousand seeds."""
    stays = Generation.of(Plan(stays=3000, seed=11)).journeys
    inpatients = (stays["kind"] == "inpatient").mean()
    covid = stays.filter(pl.col("category") == 0)
    assert 0.70 < inpatients < 0.78
    assert 0.22 < covid.height / stays.height < 0.30
    assert 0.05 < covid["died"].mean() < 0.16
    assert 0.97 < stays["has_birth_date"].mean() < 1
    assert 0.06 < 1 - stays["subject"].n_unique() / stays.height < 0.18
    assert 3 < ((covid["end"] - covid["start"]) / 86_400e6).median() < 7


def test_events_a_stay_are_about_two_hundred(made):
    before, _ = made
    assert 130 < before.snapshot().events().collect().height / PLAN.stays < 260


def test_deterioration_is_what_happened(made):
    before, _ = made
    needs = deterioration(before.path)
    assert set(needs["kind"]) <= {"high-flow", "non-invasive", "invasive", "death"}
    assert needs["stay_id"].null_count() == 0
    assert needs["stay"].n_unique() == needs.height
    stays = before.snapshot().stays().collect().join(needs, on="stay_id")
    assert (stays["time"] >= stays["start"]).all()
    dead = stays.filter(pl.col("kind_right") == "death")
    assert dead.height > 0
    assert (dead["end"].is_null() | (dead["time"] == dead["end"])).all()
    assert stays.filter(pl.col("outcome") == "died").height > dead.height / 2


def test_a_plan_says_what_follows_from_it():
    assert (Plan(stays=1000).days, Plan(stays=100_000).days) == (42, 666)
    assert Plan.from_json(PLAN.to_json()) == PLAN
    with pytest.raises(UsageError):
        Plan(stays=5)
    with pytest.raises(UsageError):
        Plan(seed=-1)
    with pytest.raises(BadInputError, match="not a plan"):
        Plan.from_json("{}")
    with pytest.raises(BadInputError, match="another version"):
        Plan.from_json(PLAN.to_json().replace('"generator": 1', '"generator": 0'))
