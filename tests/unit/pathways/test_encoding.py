"""From a hospital's rows to a log. Times in the tables are hours after midnight."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from neva.errors import BadInputError
from neva.events.schema import TABLES
from neva.pathways import (
    Activity,
    ActivityFile,
    activity_log,
    artefacts,
    default_activities,
    discover_map,
    draw_map,
    find_variants,
    keep_cases,
    outcome_is,
    touches_unit,
)
from neva.pathways.log import NO_UNIT

DAY = datetime(2024, 3, 30, tzinfo=UTC)


def at(hour):
    return None if hour is None else DAY + timedelta(hours=hour)


def table(name, rows):
    columns = TABLES[name]
    return pl.DataFrame(
        {c: pl.Series(c, [row.get(c) for row in rows], dtype=t) for c, t in columns.items()}
    )


@dataclass
class Hospital:
    cache: Path
    event_rows: list = field(default_factory=list)
    stay_rows: list = field(default_factory=list)
    movement_rows: list = field(default_factory=list)
    code_rows: list = field(default_factory=list)
    identity: str = "test@1"
    zone: str = "Europe/Moscow"
    reads: int = 0

    def events(self):
        self.reads += 1
        rows = [
            {"event_id": i + 1, "status": "done", "sequence": 0, **row}
            for i, row in enumerate(self.event_rows)
        ]
        return table("events", rows).lazy()

    def stays(self):
        return table("stays", self.stay_rows).lazy()

    def movements(self):
        rows = [{"movement_id": i, **row} for i, row in enumerate(self.movement_rows)]
        return table("movements", rows).lazy()

    def subjects(self):
        return table("subjects", []).lazy()

    def codes(self):
        return table("codes", self.code_rows).lazy()


@pytest.fixture
def hospital(tmp_path):
    return Hospital(
        tmp_path,
        event_rows=[
            {"subject_id": 7, "stay_id": 70, "time": at(2), "code": "S//release"},
            {"subject_id": 7, "stay_id": 70, "time": at(1), "code": "S//triage"},
            {"subject_id": 8, "stay_id": 80, "time": at(5), "code": "S//triage"},
            {"subject_id": 8, "stay_id": 81, "time": at(9), "code": "S//triage"},
            {"subject_id": 8, "stay_id": 81, "time": at(9), "code": "L//crp", "value": 2.0},
            {"subject_id": 8, "stay_id": 81, "time": at(9), "code": "L//crp", "value": 1.0},
            {"subject_id": 8, "stay_id": 81, "time": at(9), "code": "D//x", "status": "planned"},
        ],
        stay_rows=[
            {"stay_id": 70, "subject_id": 7, "start": at(0), "end": at(2), "outcome": "home"},
            {"stay_id": 80, "subject_id": 8, "start": at(4), "end": at(6), "outcome": "died"},
            {"stay_id": 81, "subject_id": 8, "start": at(8)},
        ],
        movement_rows=[
            {"stay_id": 70, "subject_id": 7, "start": at(1), "unit": "ED", "bed": "1"},
            {"stay_id": 70, "subject_id": 7, "start": at(1.5), "unit": "ED", "bed": "2"},
            {"stay_id": 81, "subject_id": 8, "start": at(10), "unit": "ICU"},
        ],
        code_rows=[{"code": "L//crp", "description": "CRP"}],
    )


def sequences(log):
    return {
        row["case_id"]: row["activity"]
        for row in log.to_frame()
        .group_by("case_id", maintain_order=True)
        .agg("activity")
        .to_dicts()
    }


def test_cases_are_stays_when_every_event_has_one(hospital):
    log = activity_log(hospital)
    assert log.case_kind == "stay"
    assert sequences(log) == {
        "70": ["triage", "release"],
        "80": ["triage"],
        "81": ["CRP", "CRP", "triage"],
    }
    assert log.cases["subject_id"].to_list() == [7, 8, 8]
    assert log.cases["outcome"].to_list() == ["home", "died", None]
    assert log.cases["units"].to_list() == [["ED"], None, ["ICU"]]
    assert (log.hospital, log.zone, log.activities) == (
        "test@1", "Europe/Moscow", ActivityFile().hash
    )  # fmt: skip


def test_equal_times_are_ordered_by_code_and_value_and_counted(hospital):
    log = activity_log(hospital)
    assert log.ties == 3
    assert log.event.tolist()[-3:] == [6, 5, 4]


def test_events_that_did_not_happen_are_left_out_and_counted(hospital):
    log = activity_log(hospital)
    assert log.left_out == {"another status (planned, not done, cancelled)": 1}
    assert log.event_count == 6


def test_cases_are_subjects_when_an_event_has_no_stay(hospital):
    hospital.event_rows.append({"subject_id": 8, "time": at(7), "code": "S//call"})
    log = activity_log(hospital)
    assert log.case_kind == "subject"
    assert sequences(log)["8"] == ["triage", "call", "CRP", "CRP", "triage"]


def test_asked_for_stays_events_without_one_are_counted(hospital):
    hospital.event_rows.append({"subject_id": 8, "time": at(7), "code": "S//call"})
    log = activity_log(hospital, ActivityFile(case="stay"))
    assert log.left_out["no stay"] == 1
    assert log.event_count == 6


def test_entering_units_and_outcomes_are_activities(hospital):
    log = activity_log(hospital, ActivityFile(movements="unit", outcome=True))
    assert sequences(log) == {
        "70": ["ED", "triage", "release", "home"],
        "80": ["triage", "died"],
        "81": ["CRP", "CRP", "triage", "ICU"],
    }
    assert log.event.tolist()[0] == 0


def test_code_groups_leave_the_rest_out_and_count_it(hospital):
    file = ActivityFile(activities=(Activity(name="Laboratory", codes=("L//*",)),))
    log = activity_log(hospital, file)
    assert sequences(log) == {"81": ["Laboratory", "Laboratory"]}
    assert log.left_out["no activity in the activity file"] == 4
    assert not log.order_rests_on_fallback


def test_nothing_left_is_an_error_with_counts(hospital):
    file = ActivityFile(name="wrong", activities=(Activity(name="x", codes=("ICD10//*",)),))
    with pytest.raises(BadInputError, match=r"'wrong': no event .* 6 events: no activity"):
        activity_log(hospital, file)


def test_unknown_times_stand_first(hospital):
    hospital.event_rows.append(
        {"subject_id": 7, "stay_id": 70, "code": "S//letter", "precision": "none"}
    )
    log = activity_log(hospital)
    assert sequences(log)["70"] == ["letter", "triage", "release"]
    edges = discover_map(log).edges.filter(source="letter")
    assert edges.select("frequency", "timed", "median").rows() == [(1, 0, None)]


def test_the_log_is_kept_and_read_back_equal(hospital):
    drawn = activity_log(hospital)
    reads = hospital.reads
    kept = activity_log(hospital)
    assert hospital.reads == reads
    for name in ("offsets", "activity", "time", "event"):
        assert np.array_equal(getattr(drawn, name), getattr(kept, name))
        assert not getattr(kept, name).flags.writeable
    assert drawn.cases.equals(kept.cases)
    assert (drawn.labels, drawn.left_out, drawn.ties) == (kept.labels, kept.left_out, kept.ties)
    assert discover_map(drawn).edges.equals(discover_map(kept).edges)
    assert find_variants(drawn).to_frame().equals(find_variants(kept).to_frame())


def test_another_version_or_file_is_another_log(hospital):
    activity_log(hospital)
    hospital.identity = "test@2"
    hospital.event_rows.pop()
    assert activity_log(hospital).left_out == {}
    assert activity_log(hospital, ActivityFile(labels="code")).labels[0] == "crp"


def test_a_broken_artefact_is_drawn_again(hospital):
    activity_log(hospital)
    folder = artefacts.folder(hospital.cache, hospital.identity, ActivityFile().hash)
    (folder / "time.npy").write_bytes(b"cut")
    assert artefacts.load(folder) is None
    assert not folder.exists()
    assert activity_log(hospital).event_count == 6
    assert not list(folder.parent.glob(".draft*"))


def test_filters_by_unit_and_outcome(hospital):
    log = activity_log(hospital)
    assert keep_cases(log, touches_unit("ICU")).cases["case_id"].to_list() == ["81"]
    assert keep_cases(log, outcome_is("home", "died")).case_count == 2
    assert keep_cases(log, ~touches_unit("ED", "ICU")).cases["case_id"].to_list() == ["80"]


def test_stays_without_a_unit_are_counted_not_missing_without_a_word(hospital):
    """An imported log has no units: its cases were on no page of pathways, and nothing said so."""
    log = activity_log(hospital, default_activities(hospital))
    assert "80" in log.cases["case_id"].to_list()  # by its outcome alone
    assert log.left_out[NO_UNIT] == 1
    assert "recorded unit: 1." in draw_map(discover_map(log))
    hospital.movement_rows.clear()
    assert NO_UNIT not in activity_log(hospital, default_activities(hospital)).left_out
