"""OMOP tables, tables of one's own and event logs as they are written in the wild."""

import gzip
import io
import json
import sqlite3
import zipfile
from datetime import UTC, datetime

import polars as pl
import pytest
from tests.csv_tables import assert_shows, imported, told
from tests.shared_data import shared

from neva.events.hospital import open_hospital

ZONE = "Europe/Berlin"


@pytest.fixture
def take(neva, tmp_path):
    """Import a source into a new hospital."""

    def taken(kind, place, *more, zone="UTC"):
        said = neva("import", kind, place, "--into", tmp_path / "h", "--zone", zone, *more)
        assert said.code == 0, said.err
        return open_hospital(tmp_path / "h")

    return taken


@pytest.fixture
def refused(neva, tmp_path):
    """Import what cannot be read, and return what is said."""

    def said_of(kind, place, *more):
        said = neva("import", kind, place, "--into", tmp_path / "h", "--zone", "UTC", *more)
        assert (said.code, said.out, (tmp_path / "h").exists()) == (3, "", False), said.err
        assert "bug" not in said.err
        return said.err

    return said_of


def local(*parts):
    """A time without zone, as MEDS writes it."""
    return datetime(*parts)  # noqa: DTZ001


def lay(folder, **tables):
    folder.mkdir()
    for name, given in tables.items():
        if isinstance(given, pl.DataFrame):
            given.write_parquet(folder / f"{name}.parquet")
        else:
            (folder / f"{name}.csv").write_text("\n".join(given) + "\n", encoding="utf-8")
    return folder


def failing(neva, hospital, check):
    said = neva("check", hospital.path, "--json").json()
    return next(row["numerator"] for row in said["frame"] if row["check"] == check)


def warned(hospital):
    return sorted(
        hospital.snapshot().warnings().collect().select("table", "row", "field", "reason").rows()
    )


PERSON = ["person_id,gender_concept_id,year_of_birth", "1,8507,1950"]
VISIT = (
    "visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_start_datetime,"
    "visit_end_date,visit_end_datetime"
)
DETAIL = (
    "visit_detail_id,person_id,visit_detail_start_date,visit_detail_start_datetime,"
    "visit_detail_end_date,visit_detail_end_datetime,care_site_id,visit_occurrence_id"
)


# Whole numbers as floats


def test_whole_numbers_as_floats_are_ids_concepts_and_years(take):
    hospital = take("omop", shared("cases", "omop-whole-numbers-as-floats", "input"))
    assert_shows(
        hospital,
        "stays",
        """
        subject | stay | start            | kind
        1       | 10   | 2020-03-01 08:00 | inpatient
        """,
    )
    assert_shows(
        hospital,
        "events",
        """
        subject | stay | code             | value | value_unit
        1       | 10   | OMOP//3023103    | 4.1   | mmol/L
        1       | 10   | OMOP//3023103    | 4.2   | mmol/L
        1       |      | OMOP//birth-year | 1950  |
        """,
    )
    assert told(hospital, "subjects", ["subject", "sex"]) == [["1", "male"]]
    assert told(hospital, "quarantine", ["row"]) == []


def test_ids_and_years_that_are_no_whole_numbers_are_refused(take, tmp_path):
    place = lay(
        tmp_path / "cdm",
        person=[*PERSON, "1.5,8507,1950", "2,8507,1950.5", "9007199254740993.0,8507,1950"],
        visit_occurrence=[
            VISIT,
            "1.0,1.0,9201.0,2020-05-01,,2020-05-02,",
            "2,1,9201.5,2020-05-01,,2020-05-02,",
            "3.25,1,9201,2020-05-01,,2020-05-02,",
            "4,1e0,9201,2020-05-01,,2020-05-02,",
        ],
    )
    hospital = take("omop", place, "--most-refused", "1")
    assert told(hospital, "subjects", ["subject"]) == [["1"]]
    assert told(hospital, "stays", ["stay", "kind"]) == [["1", "inpatient"]]
    assert told(hospital, "quarantine", ["file", "row", "field", "reason"]) == [
        ["person.csv", "2", "person_id", "value-unreadable"],
        ["person.csv", "3", "year_of_birth", "value-unreadable"],
        ["person.csv", "4", "person_id", "value-unreadable"],
        ["visit_occurrence.csv", "2", "visit_concept_id", "value-unreadable"],
        ["visit_occurrence.csv", "3", "visit_occurrence_id", "value-unreadable"],
        ["visit_occurrence.csv", "4", "person_id", "subject-unknown"],
    ]


def test_half_an_id_in_a_float_column_of_parquet_is_refused_not_cut(take, tmp_path):
    ids = pl.DataFrame(
        {"person_id": [1.0, 1.5], "gender_concept_id": [8507.0, None], "year_of_birth": [1950.0, 1]}
    )
    hospital = take("omop", lay(tmp_path / "cdm", person=ids), "--most-refused", "1")
    assert told(hospital, "subjects", ["subject", "sex"]) == [["1", "male"]]
    assert told(hospital, "quarantine", ["row", "field"]) == [["2", "person_id"]]


MAPPING = """
neva: 1
name: t
tables:
  - files: ["a*"]
    subject: patient
    stay: visit
    recorded: {after: time}
    events:
      - time: at
        code: {system: T, column: code}
  - files: ["b*"]
    subject: patient
    stay: visit
    recorded: {after: time}
    stays:
      - {start: in, kind: {column: kind, map: {9201: inpatient}}}
"""


def test_a_column_of_floats_in_a_table_of_ones_own_holds_the_ids_of_the_other_tables(tmp_path):
    hospital = imported(
        tmp_path,
        MAPPING,
        {
            "a.csv": "patient,visit,at,code\n"
            "1.0,10.0,2020-05-01 08:00,250.0\n2.0,,2020-05-01,401.0\n",
            "b.csv": "patient,visit,in,kind\n1,10,2020-05-01 07:00,9201.0\n",
        },
    )
    assert_shows(
        hospital,
        "events",
        """
        subject | stay | code
        1       | 10   | T//250.0
        2       |      | T//401.0
        """,
    )
    assert_shows(hospital, "stays", "subject | stay | kind\n1 | 10 | inpatient")


def test_a_float_column_of_parquet_in_a_table_of_ones_own_holds_ids(tmp_path):
    packed = io.BytesIO()
    pl.DataFrame(
        {"patient": [1.0, 2.0], "visit": [10.0, None], "at": ["2020-05-01"] * 2, "code": ["a"] * 2}
    ).write_parquet(packed)
    files = {
        "a.parquet": packed.getvalue(),
        "b.csv": "patient,visit,in,kind\n1,10,2020-05-01 07:00,9201\n",
    }
    hospital = imported(tmp_path, MAPPING, files)
    assert sorted(told(hospital, "events", ["subject", "stay"])) == [["1", "10"], ["2", ""]]


@pytest.mark.parametrize(
    "ids",
    [
        ["1.0", "1.5"],
        ["1.0", "01"],
        ["01", "1"],
        ["1.0", "A1"],
        ["01.0", "1.0"],
        ["9007199254740993.0", "1.0"],
    ],
)
def test_ids_of_a_column_that_is_not_all_whole_numbers_stay_as_written(tmp_path, ids):
    rows = "".join(f"{each},,2020-05-01 08:0{n},x\n" for n, each in enumerate(ids))
    files = {
        "a.csv": "patient,visit,at,code\n" + rows,
        "b.csv": "patient,visit,in,kind\n9,9,2020-05-01 07:00,9201\n",
    }
    hospital = imported(tmp_path, MAPPING, files)
    assert [row[0] for row in told(hospital, "events", ["subject", "time"])] == sorted(ids)


def test_tables_are_joined_where_one_wrote_its_key_as_a_float(tmp_path):
    mapping = """
neva: 1
name: t
tables:
  - files: ["a*"]
    subject: patient
    recorded: {after: time}
    join: [{file: names.csv, on: {ward: id}}]
    movements:
      - {start: at, unit: name, stay: patient}
"""
    files = {
        "a.csv": "patient,ward,at\n1,7.0,2020-05-01 08:00\n",
        "names.csv": "id,name\n7,North\n",
    }
    hospital = imported(tmp_path, mapping, files)
    assert told(hospital, "movements", ["unit"]) == [["North"]]


def test_half_a_subject_of_meds_is_refused_not_cut(take, tmp_path):
    pl.DataFrame(
        {
            "subject_id": [1.0, 1.5],
            "time": [local(2020, 5, 1, 8)] * 2,
            "code": ["a", "a"],
            "stay_id": [10.0, None],
        }
    ).write_parquet(tmp_path / "m.parquet")
    hospital = take("meds", tmp_path / "m.parquet", "--most-refused", "1")
    assert told(hospital, "events", ["subject", "stay"]) == [["1", "10"]]
    assert told(hospital, "quarantine", ["row", "field"]) == [["2", "subject_id"]]


# Ends without a time


def test_an_end_date_without_time_is_known_to_the_day(take, neva):
    hospital = take("omop", shared("cases", "omop-end-date-without-time", "input"))
    assert told(hospital, "quarantine", ["row"]) == []
    stays = hospital.snapshot().stays().collect().sort("start")
    assert stays["end"].dt.date().cast(str).to_list() == [
        "2020-03-10", "2020-04-01", "2020-05-03", "2020-06-04",
    ]  # fmt: skip
    assert stays["precision"].to_list() == ["day", "day", "instant", "instant"]
    assert (stays["end"] >= stays["start"]).all()
    night = datetime(2020, 3, 10, tzinfo=UTC)
    assert stays.filter(pl.col("start") < night, pl.col("end") > night).height == 1


def test_a_movement_that_ends_on_a_date_ends_where_the_next_one_begins(take, neva, tmp_path):
    place = lay(
        tmp_path / "cdm",
        person=PERSON,
        visit_detail=[
            DETAIL,
            "1,1,2020-03-28,2020-03-28 08:00,2020-03-29,,A,9",
            "2,1,2020-03-29,2020-03-29 14:00,2020-03-30,,B,9",
        ],
    )
    hospital = take("omop", place, zone=ZONE)
    assert_shows(
        hospital,
        "movements",
        """
        unit | start            | end                 | precision
        A    | 2020-03-28 08:00 | 2020-03-29 14:00    | day
        B    | 2020-03-29 14:00 | 2020-03-30 23:59:59 | day
        """,
    )
    assert failing(neva, hospital, "overlapping-movements") == 0


STAYS = """
neva: 1
name: t
tables:
  - subject: p
    stay: v
    recorded: {after: time}
    stays:
      - {start: in, end: out}
    events:
      - {time: in, end_time: out, code: {constant: "T//a"}}
"""


def test_a_stay_of_one_day_in_a_table_of_ones_own_is_no_contradiction(tmp_path):
    rows = (
        "p,v,in,out\n1,1,2020-10-25 08:00,2020-10-25\n1,2,2020-10-25 21:00,2020-10-26\n"
        "2,3,2020-05-02 08:00,2020-05-01\n3,4,2020-05-01,2020-05-02\n"
    )
    hospital = imported(tmp_path, STAYS, {"a.csv": rows}, zone=ZONE)
    assert_shows(
        hospital,
        "stays",
        """
        stay | start            | end                 | precision
        1    | 2020-10-25 08:00 | 2020-10-25 21:00    | day
        2    | 2020-10-25 21:00 | 2020-10-26 23:59:59 | day
        4    | 2020-05-01 00:00 | 2020-05-02 00:00    | day
        """,
    )
    assert_shows(
        hospital,
        "events",
        """
        stay | time             | end_time
        1    | 2020-10-25 08:00 | 2020-10-26 00:00
        2    | 2020-10-25 21:00 | 2020-10-27 00:00
        4    | 2020-05-01 00:00 | 2020-05-02 00:00
        """,
    )
    assert sorted(told(hospital, "quarantine", ["table", "row", "reason"])) == [
        ["events", "3", "end-before-start"],
        ["stays", "3", "end-before-start"],
    ]


@pytest.mark.parametrize("column", ["discharged_to_concept_id", "discharge_to_concept_id"])
def test_still_patient_means_still_there_until_the_extract(take, neva, tmp_path, column):
    place = lay(
        tmp_path / "cdm",
        person=[*PERSON, "2,8507,1950"],
        visit_occurrence=[
            f"{VISIT},{column}",
            "1,1,9201,2020-05-01,2020-05-01 08:00,2020-05-04,2020-05-04 00:30,32220.0",
            "2,2,9201,2020-05-01,2020-05-01 08:00,2020-05-03,2020-05-03 10:00,0",
        ],
        visit_detail=[
            DETAIL,
            "1,1,2020-05-01,2020-05-01 08:00,2020-05-04,2020-05-04 00:30,A,1",
            "2,2,2020-05-01,2020-05-01 08:00,,,A,2",
        ],
    )
    hospital = take("omop", place)
    assert told(hospital, "stays", ["stay", "end", "outcome"]) == [
        ["1", "", ""],
        ["2", "2020-05-03 10:00", ""],
    ]
    assert told(hospital, "movements", ["stay", "end"]) == [["1", ""], ["2", "2020-05-03 10:00"]]
    said = neva("flow", "census", hospital.path, "--by", "unit", "--json").json()
    days = {row["time"][:10]: row for row in said["frame"]}
    assert [days[f"2020-05-0{day}"]["present"] for day in (2, 3, 4)] == [2, 2, 1]
    assert max(days) == "2020-05-04"
    assert sum(row["departures"] for row in said["frame"]) == 1


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        (
            "observation_period",
            ["person_id,observation_period_start_date,observation_period_end_date",
             "1,2020-01-01,2020-05-06"],
        ),
        ("cdm_source", ["cdm_source_name,source_release_date", "x,2020-05-06"]),
    ],
)  # fmt: skip
def test_a_missing_end_is_not_for_ever_where_the_extract_ends(take, tmp_path, table, rows):
    visits = [VISIT, "1,1,9201,2020-05-01,2020-05-01 08:00,,"]
    hospital = take("omop", lay(tmp_path / "cdm", person=PERSON, visit_occurrence=visits,
                                **{table: rows}))  # fmt: skip
    events = told(hospital, "events", ["code", "time", "precision"])
    assert ["NEVA//FOLLOW-UP-END", "2020-05-06 23:59:59", "day"] in events


# Movements within movements


def test_intensive_care_within_a_ward_takes_its_place(take, neva):
    hospital = take("omop", shared("cases", "omop-icu-within-ward", "input"))
    assert_shows(
        hospital,
        "movements",
        """
        stay | unit     | start            | end
        10   | Medicine | 2020-03-01 08:00 | 2020-03-02 08:00
        10   | ICU      | 2020-03-02 08:00 | 2020-03-04 10:00
        10   | Medicine | 2020-03-04 10:00 | 2020-03-10 10:00
        """,
    )
    assert told(hospital, "stays", ["stay", "kind"]) == [["10", "inpatient"], ["13", "inpatient"]]
    assert failing(neva, hospital, "overlapping-movements") == 0
    said = neva("flow", "census", hospital.path, "--by", "unit", "--json").json()
    days = {row["place"]: row["bed_days"] for row in said["frame"] if "03-03" in row["time"]}
    assert days == {"ICU": 1.0, "Medicine": 0.0}


def test_a_child_takes_the_place_of_its_parent_however_long_it_lasts(take, tmp_path):
    place = lay(
        tmp_path / "cdm",
        person=PERSON,
        visit_detail=[
            f"{DETAIL},visit_detail_parent_id",
            "1,1,2020-03-01,2020-03-01 08:00,2020-03-05,2020-03-05 08:00,A,9,",
            "2,1,2020-03-01,2020-03-01 08:00,2020-03-05,2020-03-05 08:00,B,9,1.0",
            "3,1,2020-03-02,2020-03-02 08:00,2020-03-03,2020-03-03 08:00,C,9,2.0",
            # A circle says nothing.
            "4,1,2020-04-01,2020-04-01 08:00,2020-04-02,2020-04-02 08:00,D,8,5",
            "5,1,2020-04-01,2020-04-01 08:00,2020-04-02,2020-04-02 08:00,E,8,4",
        ],
    )
    assert_shows(
        take("omop", place),
        "movements",
        """
        unit | start            | end
        B    | 2020-03-01 08:00 | 2020-03-02 08:00
        C    | 2020-03-02 08:00 | 2020-03-03 08:00
        B    | 2020-03-03 08:00 | 2020-03-05 08:00
        D    | 2020-04-01 08:00 | 2020-04-02 08:00
        E    | 2020-04-01 08:00 | 2020-04-02 08:00
        """,
    )


MOVES = """
neva: 1
name: t
tables:
  - subject: p
    stay: v
    recorded: {after: time}
    movements:
      - {start: in, end: out, unit: unit, bed: bed, row_id: id}
"""


def moved(*rows):
    return {"a.csv": "\n".join(["id,p,v,unit,bed,in,out", *rows]) + "\n"}


def test_movements_within_one_another_in_a_table_of_ones_own_take_one_bed(neva, tmp_path):
    files = moved(
        "1,1,1,A,,2020-05-01,2020-05-10",
        "2,1,1,B,,2020-05-02,2020-05-08",
        "3,1,1,C,,2020-05-03,2020-05-04",
        "4,1,1,C,,2020-05-05,2020-05-06",
        "5,2,2,A,,2020-05-01,",
        "6,2,2,B,,2020-05-02,2020-05-03",
    )
    hospital = imported(tmp_path, MOVES, files, zone=ZONE)
    shown = [
        " ".join([unit, start[8:10], end[8:10]])
        for unit, start, end in told(hospital, "movements", ["unit", "start", "end"])
    ]
    assert sorted(shown) == sorted(
        ["A 01 02", "B 02 03", "C 03 04", "B 04 05", "C 05 06", "B 06 08", "A 08 10",
         "A 01 02", "B 02 03", "A 03 "]
    )  # fmt: skip
    assert failing(neva, hospital, "overlapping-movements") == 0


def test_movements_that_contradict_each_other_stay_and_are_told(neva, tmp_path):
    rows = ["1,1,1,A,,2020-05-01,2020-05-05", "2,1,1,B,,2020-05-03,2020-05-08",
            "3,2,2,A,,2020-05-01,2020-05-05", "4,2,2,B,,2020-05-01,2020-05-05"]  # fmt: skip
    hospital = imported(tmp_path, MOVES, moved(*rows), zone=ZONE)
    assert hospital.snapshot().movements().collect().height == 4
    assert failing(neva, hospital, "overlapping-movements") == 2


# Start and completion


def xes(*events, more=""):
    """A log of one trace; an event is a name, a transition, a time and perhaps an instance."""
    lines = []
    for name, transition, time, *instance in events:
        lines.append(f'<event><string key="concept:name" value="{name}"/>')
        if transition:
            lines.append(f'<string key="lifecycle:transition" value="{transition}"/>')
        if time:
            lines.append(f'<date key="time:timestamp" value="{time}"/>')
        lines += [f'<string key="concept:instance" value="{each}"/>' for each in instance]
        lines.append(f"{more}</event>")
    name = '<string key="concept:name" value="{}"/>'
    return f"<log>{name.format('log')}<trace>{name.format('1')}{''.join(lines)}</trace></log>"


@pytest.fixture
def log(take, tmp_path):
    def taken(*events, **more):
        (tmp_path / "log.xes").write_text(xes(*events, **more), encoding="utf-8")
        return take("xes", tmp_path / "log.xes")

    return taken


def spans(hospital):
    return [
        " ".join([code.removeprefix("LOG//"), time[11:], end[11:], status]).replace("  ", " - ")
        for code, time, end, status in told(
            hospital, "events", ["code", "time", "end_time", "status"]
        )
    ]


def test_start_and_completion_are_one_activity(take, neva):
    path = shared("cases", "xes-start-and-complete", "log.xes")
    hospital = take("xes", path, "--dates", "shifted")
    done = [row for row in told(hospital, "events", ["code", "time", "end_time", "status"])
            if row[-1] == "done"]  # fmt: skip
    assert [[row[0].split("//")[1], row[1][11:16], row[2][11:16]] for row in done] == [
        ["Triage", "16:13", "16:23"],
        ["X-ray", "17:00", "17:30"],
        ["Lab", "17:05", "18:05"],
        ["Home", "18:05", ""],
        ["ECG", "18:05", ""],
    ]
    steps = neva("pathways", "map", hospital.path, "--json").json()["edges"]
    assert {(step["source"], step["target"]) for step in steps} == {
        ("Triage", "X-ray"), ("X-ray", "Lab"), ("Lab", "Home"), ("Home", "ECG"),
    }  # fmt: skip
    assert [row[-1] for row in warned(hospital)] == ["activity-unpaired"]


def test_an_instance_tells_which_start_was_completed(log):
    hospital = log(
        ("a", "start", "2020-05-01T08:00:00Z", "1"),
        ("a", "start", "2020-05-01T08:10:00Z", "2"),
        ("a", "complete", "2020-05-01T08:20:00Z", "2"),
        ("a", "complete", "2020-05-01T08:30:00Z", "1"),
    )
    assert spans(hospital) == ["a 08:00 08:30 done", "a 08:10 08:20 done"]
    assert warned(hospital) == []


def test_without_instance_the_first_started_is_the_first_completed(log):
    hospital = log(
        ("a", "complete", "2020-05-01T07:00:00Z"),
        ("a", "START", "2020-05-01T08:00:00Z"),
        ("a", "start", "2020-05-01T08:10:00Z"),
        ("a", "complete", "2020-05-01T08:20:00Z"),
        ("a", "Complete", "2020-05-01T08:30:00Z"),
        ("a", "start", "2020-05-01T08:40:00Z"),
        ("a", "start", "2020-05-01T08:50:00Z"),
        ("a", "ate_abort", "2020-05-01T08:55:00Z"),
        ("b", "complete", "2020-05-01T09:00:00Z"),
        ("a", "complete", "2020-05-01T09:05:00Z"),
        ("a", "complete", "2020-05-01T09:10:00Z"),
    )
    assert spans(hospital) == [
        "a 07:00 - done",
        "a 08:00 08:20 done",
        "a 08:10 08:30 done",
        "a 08:40 08:55 cancelled",
        "a 08:50 09:05 done",
        "b 09:00 - done",
        "a 09:10 - done",
    ]
    # The first completion came before anything said that activities start.
    assert [row[1:] for row in warned(hospital)] == [
        (11, "lifecycle:transition", "activity-unpaired")
    ]


def test_pauses_and_plans_are_no_activities_of_their_own(log):
    hospital = log(
        ("a", "schedule", "2020-05-01T07:00:00Z"),
        ("a", "assign", "2020-05-01T07:10:00Z"),
        ("a", "start", "2020-05-01T08:00:00Z"),
        ("a", "suspend", "2020-05-01T08:10:00Z"),
        ("a", "resume", "2020-05-01T08:25:00Z"),
        ("a", "suspend", "2020-05-01T08:40:00Z"),
        ("a", "complete", "2020-05-01T08:45:00Z"),
    )
    assert spans(hospital) == [
        "a 07:00 - planned", "a 07:10 - planned", "a 08:00 08:45 done",
    ]  # fmt: skip
    attributes = told(hospital, "events", ["attributes"])[-1][0]
    assert "lifecycle:suspended=1200" in attributes
    assert "lifecycle:transition=complete" in attributes


def test_what_start_and_completion_say_is_kept_and_known_at_the_end(log):
    hospital = log(
        ("a", "start", "2020-05-01T08:00:00Z"),
        ("a", "complete", "2020-05-01T09:00:00Z"),
        more='<string key="org:resource" value="R"/>',
    )
    event = told(hospital, "events", ["time", "recorded", "attributes"])[0]
    assert event[:2] == ["2020-05-01 08:00", "2020-05-01 09:00"]
    assert event[2] == "lifecycle:transition=complete, org:resource=R"


def test_activities_of_a_log_without_times_are_paired_by_their_order(log):
    hospital = log(("a", "start", None), ("a", "complete", None), ("b", "complete", None))
    assert told(hospital, "events", ["code", "precision"]) == [
        ["LOG//a", "none"], ["LOG//b", "none"],
    ]  # fmt: skip


def test_a_log_that_was_exported_comes_back_with_its_activities(log, neva, take, tmp_path):
    hospital = log(
        ("a", "start", "2020-05-01T08:00:00Z"),
        ("a", "complete", "2020-05-01T09:00:00Z"),
        ("b", "start", "2020-05-01T10:00:00Z"),
    )
    assert neva("export", "xes", hospital.path, tmp_path / "out.xes").code == 0
    said = neva("import", "xes", tmp_path / "out.xes", "--into", tmp_path / "2", "--zone", "UTC")
    assert said.code == 0, said.err
    assert spans(open_hospital(tmp_path / "2")) == spans(hospital)


# Logs in archives, and logs about objects

LOG = xes(("a", "complete", "2020-05-01T08:00:00Z")).encode()


def zipped(path, **files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name if "/" in name else name.replace("_", "."), content)
    return path


def test_an_archive_of_two_logs_is_refused_by_their_names(refused):
    said = refused("xes", shared("cases", "xes-in-a-zip", "log.zip"))
    assert "nested.xes.gz" in said
    assert "nested.xes'" in said


@pytest.mark.parametrize("name", ["log.zip", "log.xes"])
@pytest.mark.parametrize("inner", ["in_xes", "in_XES", "in_xes_gz"])
def test_a_log_in_an_archive_is_read(take, tmp_path, name, inner):
    content = gzip.compress(LOG) if inner.endswith("gz") else LOG
    path = zipped(tmp_path / name, **{inner: content, "readme_txt": b"", "__MACOSX/in_xes": b""})
    assert told(take("xes", path), "events", ["code"]) == [["LOG//a"]]


def test_an_archive_that_needs_a_password_is_told(refused, tmp_path):
    path = zipped(tmp_path / "log.zip", in_xes=LOG)
    content = bytearray(path.read_bytes())
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        content[content.index(start) + (6 if start == b"PK\x03\x04" else 8)] |= 1
    path.write_bytes(content)
    assert "password" in refused("xes", path)
    place = zipped(tmp_path / "cdm.zip", person_csv="\n".join(PERSON))
    content = bytearray(place.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    place.write_bytes(content)
    assert "password" in refused("omop", place)


def test_an_archive_that_fills_a_disk_is_refused(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("neva.files.opening._ALWAYS_UNPACKED", 2**20)
    spaces = b"<log>" + b" " * 2**22 + b"</log>"
    assert "too much" in refused("xes", zipped(tmp_path / "a.zip", in_xes=spaces))
    packed = gzip.compress(gzip.compress(spaces))
    assert packed
    path = zipped(tmp_path / "b.zip", in_xes_gz=gzip.compress(spaces))
    assert "too much" in refused("xes", path)
    person = "\n".join(PERSON) + "\n" * 2**22
    assert "too much" in refused("omop", zipped(tmp_path / "cdm.zip", person_csv=person))


@pytest.mark.parametrize("damage", [slice(0, -30), slice(0, 40)])
def test_a_damaged_archive_is_told(refused, tmp_path, damage):
    path = zipped(tmp_path / "log.zip", in_xes=LOG * 50)
    path.write_bytes(path.read_bytes()[damage])
    assert "damaged" in refused("xes", path)


def test_a_table_that_is_an_archive_by_its_first_bytes_is_told(refused, tmp_path):
    mapping = tmp_path / "m.yaml"
    mapping.write_text(MAPPING)
    table = zipped(tmp_path / "a.csv", x_csv=b"patient,visit,at,code\n")
    assert "zip archive; unpack it" in refused("csv", table, "--mapping", mapping)
    lines = zipped(tmp_path / "a.ndjson", x_ndjson=b"{}")
    assert "zip archive; unpack it" in refused("fhir", lines)
    place = lay(tmp_path / "cdm", person=PERSON)
    zipped(place / "measurement.csv", x_csv=b"measurement_id")
    assert "zip archive; unpack it" in refused("omop", place)


def sqlite(path):
    with sqlite3.connect(path) as database:
        database.execute("create table object_type (ocel_type text)")
    database.close()
    return path.read_bytes()


OBJECTS = {
    "json": json.dumps({"eventTypes": [], "objectTypes": [], "events": [], "objects": []}),
    "1.0": json.dumps({"ocel:global-log": {}, "ocel:events": {}}),
    "xml": '<?xml version="1.0"?><log><object-types/><event-types/><objects/><events/></log>',
    "xml 1.0": '<log><global scope="object"/><events><event/></events><objects/></log>',
}


@pytest.mark.parametrize("form", [*OBJECTS, "sqlite"])
def test_an_object_centric_log_is_no_empty_log(refused, tmp_path, form):
    path = tmp_path / "log.xes"
    content = sqlite(tmp_path / "db") if form == "sqlite" else OBJECTS[form].encode()
    path.write_bytes(content)
    said = refused("xes", path)
    assert "object-centric" in said
    assert "flatten" in said
    zipped(tmp_path / "log.zip", log_xes=content)
    assert "object-centric" in refused("xes", tmp_path / "log.zip")


# Hours that the clock showed twice

TWICE = "2021-10-31 02:30:00"


def test_times_of_the_repeated_hour_are_counted_for_omop(take, tmp_path):
    place = lay(
        tmp_path / "cdm",
        person=PERSON,
        death=["person_id,death_date,death_datetime", f"1,2021-10-31,{TWICE}"],
        visit_occurrence=[VISIT, f"1,1,9201,2021-10-30,2021-10-30 08:00,2021-10-31,{TWICE}"],
        visit_detail=[DETAIL, f"1,1,2021-10-31,{TWICE},2021-10-31,2021-10-31 12:00:00,A,1"],
        observation=[
            "observation_id,person_id,observation_concept_id,observation_date,observation_datetime",
            f"1,1,5,2021-10-31,{TWICE}",
            f"2,1,5,2021-10-31,{TWICE}Z",
            "3,1,5,2021-10-31,2021-10-31 04:30:00",
        ],
    )
    assert warned(take("omop", place, zone=ZONE)) == [
        ("events", 1, "observation_datetime", "time-repeated"),
        ("movements", 1, "visit_detail_start_datetime", "time-repeated"),
        ("stays", 1, "visit_end_datetime", "time-repeated"),
        ("subjects", 1, "death_datetime", "time-repeated"),
    ]


def test_times_of_the_repeated_hour_are_counted_for_logs(take, tmp_path):
    twice = TWICE.replace(" ", "T")
    (tmp_path / "log.xes").write_text(
        xes(("a", None, twice), ("b", None, f"{twice}+01:00"), ("c", None, "2021-10-31"))
    )
    assert warned(take("xes", tmp_path / "log.xes", zone=ZONE)) == [
        ("events", 1, "time:timestamp", "time-repeated")
    ]


def test_times_of_the_repeated_and_the_skipped_hour_are_counted_for_meds(take, tmp_path):
    pl.DataFrame(
        {
            "subject_id": [1, 2],
            "time": [local(2021, 10, 31, 2, 30), local(2021, 3, 27)],
            "code": ["a", "b"],
            "end_time": [None, local(2021, 3, 28, 2, 30)],
        }
    ).write_parquet(tmp_path / "m.parquet")
    assert warned(take("meds", tmp_path / "m.parquet", zone=ZONE)) == [
        ("events", 1, "time", "time-repeated"),
        ("events", 2, "end_time", "time-skipped"),
    ]


def test_a_zone_in_the_column_leaves_nothing_in_doubt(take, tmp_path):
    zoned = [datetime(2021, 10, 31, 0, 30, tzinfo=UTC)]
    table = pl.DataFrame({"subject_id": [1], "time": zoned, "code": ["a"]})
    table.write_parquet(tmp_path / "m.parquet")
    assert warned(take("meds", tmp_path / "m.parquet", zone=ZONE)) == []


# Files that ended in a bug


def test_lines_that_end_in_a_carriage_return_alone_are_told(refused, tmp_path):
    mapping = tmp_path / "m.yaml"
    mapping.write_text(MAPPING)
    for number, end in enumerate(("\r", "\n")):
        table = tmp_path / f"a{number}.csv"
        table.write_text(f"patient,visit,at,code\r1,1,2020-05-01,a{end}", newline="")
        assert "carriage return" in refused("csv", table, "--mapping", mapping)


def test_digits_of_other_scripts_are_no_offset(take, tmp_path):
    (tmp_path / "log.xes").write_text(
        xes(("a", None, "2020-05-01T08:00:00+٠٣:٠٠"), ("b", None, "2020-05-01T08:00:00+03:00")),
        encoding="utf-8",
    )
    hospital = take("xes", tmp_path / "log.xes", "--most-refused", "1")
    assert told(hospital, "quarantine", ["row", "reason"]) == [["1", "time-unreadable"]]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("code", [["a"]]),
        ("subject_id", [[1]]),
        ("numeric_value", ["x"]),
        ("text_value", [["x"]]),
        ("rank", [["x"]]),
        ("stay_id", [{"a": 1}]),
    ],
)
def test_a_column_of_meds_of_another_type_is_told(refused, tmp_path, column, values):
    table = {"subject_id": [1], "time": [local(2020, 5, 1)], "code": ["a"], column: values}
    pl.DataFrame(table).write_parquet(tmp_path / "m.parquet")
    said = refused("meds", tmp_path / "m.parquet")
    assert f"column {column} must be" in said or "another type" in said


@pytest.mark.parametrize("how", ["cut", "damaged", "other type", "empty"])
def test_damaged_codes_of_meds_are_told(refused, tmp_path, how):
    (tmp_path / "d" / "data").mkdir(parents=True)
    (tmp_path / "d" / "metadata").mkdir()
    table = pl.DataFrame({"subject_id": [1], "time": [local(2020, 5, 1)], "code": ["a"]})
    table.write_parquet(tmp_path / "d" / "data" / "0.parquet")
    codes = tmp_path / "d" / "metadata" / "codes.parquet"
    described = {"code": ["a"] * 5000, "description": [f"it is {n}" for n in range(5000)]}
    if how == "other type":
        described["parent_codes"] = [{"a": 1}] * 5000
    pl.DataFrame(described).write_parquet(codes)
    content = codes.read_bytes()
    if how == "damaged":
        content = content[:4] + b"\xff" * 400 + content[404:]
    codes.write_bytes({"cut": content[:-50], "empty": b""}.get(how, content))
    refused("meds", tmp_path / "d")


def far_workbook(path):
    """A small workbook with one cell at the very end of the sheet."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    packages = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    cell = '<c r="{}" t="inlineStr"><is><t>{}</t></is></c>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("[Content_Types].xml", (
            f'<Types xmlns="{packages}/content-types"><Default Extension="rels" ContentType='
            '"application/vnd.openxmlformats-package.relationships+xml"/><Override PartName='
            f'"/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/><Override PartName='
            f'"/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>'
        ))  # fmt: skip
        for name, target, what in (("_rels/.rels", "xl/workbook.xml", "officeDocument"),
                                   ("xl/_rels/workbook.xml.rels", "worksheets/sheet1.xml",
                                    "worksheet")):  # fmt: skip
            made.writestr(name, (
                f'<Relationships xmlns="{packages}/relationships"><Relationship Id="r1" '
                f'Type="{office}/{what}" Target="{target}"/></Relationships>'
            ))  # fmt: skip
        made.writestr("xl/workbook.xml", (
            f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
            '<sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>'
        ))  # fmt: skip
        cells = [cell.format(f"{at}1", name) for at, name in zip("ABCD", "pvic", strict=True)]
        made.writestr("xl/worksheets/sheet1.xml", (
            f'<worksheet xmlns="{main}"><sheetData><row r="1">{"".join(cells)}</row>'
            f'<row r="1048576">{cell.format("XFD1048576", "x")}</row></sheetData></worksheet>'
        ))  # fmt: skip
    return path


def test_a_workbook_with_a_cell_at_the_end_of_the_sheet_is_told(refused, tmp_path):
    mapping = tmp_path / "m.yaml"
    mapping.write_text(MAPPING)
    said = refused("csv", far_workbook(tmp_path / "a.xlsx"), "--mapping", mapping)
    assert "too large for a workbook" in said
