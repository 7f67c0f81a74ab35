"""What is guessed of a table, and that the guess can be imported."""

from pathlib import Path

import polars as pl
import pytest
from tests.csv_tables import assert_shows
from tests.hospitals import NOW, new_hospital, take_csv
from tests.shared_data import shared

from neva.errors import BadInputError
from neva.intake.preview import check_mapping_text, preview
from neva.sources.guess.columns import LOOKS, WHYS, encoding_of, separator_of
from neva.sources.guess.mapping import guess_mapping
from neva.sources.guess.sample import first_lines


def written(folder: Path, text: str, *, name="rows.csv", encoding="utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def taken(folder: Path, path: Path, yaml: str, *, zone="Europe/Moscow"):
    folder.mkdir(exist_ok=True)
    hospital = new_hospital(folder, zone=zone)
    (folder / "mapping.yaml").write_text(yaml, encoding="utf-8")
    return hospital, take_csv(hospital, path, folder / "mapping.yaml", now=NOW)


def looks(guess):
    return {one.name: one.looks for one in guess.columns}


RUSSIAN = (
    "ID пациента;Дата поступления;Дата выписки;Отделение;Пол;Дата рождения;Примечание\r\n"
    "007;01.05.2020 08:30;04.05.2020 12:00;Кардиология;ж;13.03.1950;\r\n"
    "008;02.05.2020 10:00;;Неврология;м;21.07.1961;из дома\r\n"
)


def test_a_russian_table_of_stays_is_read(tmp_path):
    path = written(tmp_path, RUSSIAN, encoding="cp1251")
    guess = guess_mapping(path, zone="Europe/Moscow", name="stays")
    assert looks(guess) == {
        "ID пациента": "patient",
        "Дата поступления": "admission",
        "Дата выписки": "discharge",
        "Отделение": "unit",
        "Пол": "sex",
        "Дата рождения": "birth",
        "Примечание": "text",
    }
    assert "encoding: windows-1251" in guess.yaml
    hospital, _ = taken(tmp_path / "a", path, guess.yaml)
    assert_shows(
        hospital,
        "movements",
        """
        subject | start            | end              | unit
        007     | 2020-05-01 08:30 | 2020-05-04 12:00 | Кардиология
        008     | 2020-05-02 10:00 |                  | Неврология
        """,
    )
    assert_shows(
        hospital,
        "subjects",
        """
        subject | birth_date | sex
        007     | 1950-03-13 | female
        008     | 1961-07-21 | male
        """,
    )
    assert hospital.snapshot().stays().collect().height == 2


def test_a_german_laboratory_list_with_decimal_commas(tmp_path):
    path = written(
        tmp_path,
        "Patienten-Nr;Fallnummer;Datum;Untersuchung;Ergebnis;Einheit;Bemerkung\n"
        "12;F1;03.02.2021 07:15;Kreatinin;1,2;mg/dL;\n"
        "12;F1;03.02.2021 07:15;CRP;<5,0;mg/L;\n"
        "13;F2;14.02.2021 09:00;Kreatinin;hämolytisch;mg/dL;neu\n",
        encoding="cp1252",
    )
    guess = guess_mapping(path, zone="Europe/Berlin", name="labor")
    assert list(looks(guess).values()) == [
        "patient", "stay", "time", "code", "value", "value-unit", "text",
    ]  # fmt: skip
    hospital, _ = taken(tmp_path / "a", path, guess.yaml, zone="Europe/Berlin")
    assert_shows(
        hospital,
        "events",
        """
        subject | time             | code             | value | comparator | value_unit | text
        12      | 2021-02-03 07:15 | LABOR//Kreatinin | 1.2   |            | mg/dL      |
        12      | 2021-02-03 07:15 | LABOR//CRP       | 5     | <          | mg/L       |
        13      | 2021-02-14 09:00 | LABOR//Kreatinin |       |            | mg/dL      | neu
        """,
    )


def test_a_wide_table_of_measurements(tmp_path):
    path = written(
        tmp_path,
        "subject_id,charttime,Natrium (mmol/L),Калий,age\n"
        "1,2020-01-01 08:00,140,4.1,70\n1,2020-01-01 09:00,138,,70\n"
        "2,2020-01-02 08:00,141,3.9,50\n",
    )
    guess = guess_mapping(path, zone="UTC", name="lab")
    hospital, _ = taken(tmp_path / "a", path, guess.yaml, zone="UTC")
    assert looks(guess)["age"] == "attribute"  # the same for a patient at every time
    assert hospital.snapshot().events().collect()["code"].unique().sort().to_list() == [
        "LAB//kaliy",
        "LAB//natrium-mmol-l",
    ]


def test_without_a_patient_nothing_is_imported_and_the_mapping_says_so(tmp_path):
    path = written(tmp_path, "shift,activity,date\n1,wash,2020-01-01\n2,feed,2020-01-02\n")
    guess = guess_mapping(path, zone="UTC", name="nurses")
    assert "No column could be taken for the patient's id" in guess.yaml
    found = preview(path, guess.yaml, zone="UTC")
    assert (found.problem, found.refusals[0].reason) == (None, "subject-missing")
    assert found.refusals[0].rows == (1, 2)


def test_what_is_assumed_is_said(tmp_path):
    path = written(tmp_path, "patient,when,what\n1,01/02/2020,a\n2,03/04/2020,b\n")
    guess = guess_mapping(path, zone="UTC", name="a")
    assert "recorded: {after: time, delay: 0 min}" in guess.yaml
    assert "# An assumption: the file does not say when a row was known" in guess.yaml
    assert 'day and month could be exchanged in "when"' in guess.yaml


def test_a_time_of_recording_is_taken_from_a_column_that_says_so(tmp_path):
    path = written(tmp_path, "patient,time,entered,what\n1,2020-01-01 08:00,2020-01-01 09:00,a\n")
    guess = guess_mapping(path, zone="UTC", name="a")
    assert 'recorded: {column: "entered", after: time, delay: 0 min}' in guess.yaml


@pytest.mark.parametrize(
    "names",
    [
        ["patient", "time", "a\nb: [", "what"],
        ["patient", "time", "what", "what"],
        ["patient", "time", "what", ""],
        ["patient", "time", "what", "*x"],
        ["patient", "{time}", "what", "# no"],
        ["patient", "time", "what", "x\x7f\x85\u2028"],
        ["пациент", "время", "событие", "<script>alert(1)</script>"],
    ],
)
def test_names_of_columns_cannot_break_the_mapping(tmp_path, names):
    header = ",".join(f'"{name}"' for name in names)
    path = written(tmp_path, f"{header}\n1,2020-01-01,a,b\n1,2020-01-02,b,c\n")
    guess = guess_mapping(path, zone="UTC", name="a")
    check_mapping_text(guess.yaml)
    assert preview(path, guess.yaml, zone="UTC").problem is None


def test_words_for_missing_are_found_where_numbers_stand_but_never_in_ids(tmp_path):
    rows = "NA,2020-01-01,a,NULL\nB,2020-01-02,b,3\nB,2020-01-03,a,4\n"
    path = written(tmp_path, "patient,time,what,value\n" + rows)
    guess = guess_mapping(path, zone="UTC", name="a")
    assert 'missing: ["", "NULL"]' in guess.yaml
    rows = rows.replace("NULL", "NA")
    path = written(tmp_path, "patient,time,what,value\n" + rows)
    assert "missing:" not in guess_mapping(path, zone="UTC", name="a").yaml


def test_looks_and_reasons_are_words_of_the_list(tmp_path):
    path = written(tmp_path, RUSSIAN)
    guess = guess_mapping(path, zone="UTC", name="a")
    assert {one.looks for one in guess.columns} <= set(LOOKS)
    assert {one.why for one in guess.columns} <= set(WHYS)
    assert "007" not in repr(guess.columns)  # a repr may be logged; values of rows may not


def test_how_a_file_is_written():
    assert encoding_of("Температура тела".encode("koi8-r")) == "koi8-r"
    assert encoding_of("Температура тела, общая".encode("cp866")) == "cp866"
    assert separator_of('"a;b";c\n1;2\n') == ";"
    assert separator_of("one\n1\n") == ","


def test_a_sample_is_cut_between_rows(tmp_path):
    path = written(tmp_path, 'a,b\n1,"two\nlines"\n2,x\n3,y\n')
    assert first_lines(path, 1) == b'a,b\n1,"two\nlines"\n'
    with pytest.raises(BadInputError, match="an empty file"):
        first_lines(written(tmp_path, "\n"), 5)
    long = written(tmp_path, "a,b\n" + "x" * (2**20 + 2))
    with pytest.raises(BadInputError, match="a line of more than") as told:
        first_lines(long, 5)
    assert "xx" not in str(told.value)
    with pytest.raises(BadInputError, match="no rows"):
        guess_mapping(written(tmp_path, "a,b\n"), zone="UTC", name="a")


# ------------------------------------------------------------------- real data


def test_the_sepsis_log_becomes_what_its_ready_mapping_makes(tmp_path):
    path = shared("data", "sepsis-eventlog", "sepsis.csv")
    guess = guess_mapping(path, zone="Europe/Amsterdam", name="sepsis")
    mine, _ = taken(tmp_path / "a", path, guess.yaml, zone="Europe/Amsterdam")
    ready = new_hospital(tmp_path / "b", zone="Europe/Amsterdam")
    take_csv(ready, path, "sepsis", now=NOW)
    frames = [
        one.snapshot()
        .events()
        .collect()
        .select("time", "code", "value", "sequence")
        .sort("sequence")
        for one in (mine, ready)
    ]
    assert frames[0].height == 15_214
    assert frames[0].equals(frames[1])
    assert mine.snapshot().events().collect()["subject_id"].n_unique() == 1_050
    assert mine.snapshot().quarantine().collect().is_empty()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("almazov-workflows", "remote_monitoring.csv"),
         {"case_id": "stay", "task": "code", "timestamp": "time"}),
        (("almazov-workflows", "nurse_workflow.csv"), {"activity": "code", "date_time": "time"}),
        (("hospital-billing-eventlog", "hospital_billing.csv.gz"),
         {"case_id": "stay", "activity": "code", "timestamp": "time",
          "activity_instance_id": "row-id", ".order": "order", "diagnosis": "attribute"}),
        (("uihc-ed-hourly", "uihc_ed_arrivals_2013-07_2017-06.csv"),
         {"Date": "time", "Hour": "time", "Arrivals": "measurement", "game_day": "attribute"}),
        (("israel-covid-multistate", "covid_hosp_data.csv"),
         {"id": "patient", "sex": "sex", "first_date": "time", "type0": "attribute"}),
        (("tongji-covid", "time_series_375_prerpocess_en.xlsx"),
         {"PATIENT_ID": "patient", "RE_DATE": "time", "Admission time": "admission",
          "Discharge time": "discharge", "hemoglobin": "measurement", "age": "attribute"}),
    ],
)  # fmt: skip
def test_real_tables_are_recognised(parts, expected):
    path = shared("data", *parts)
    guess = guess_mapping(path, zone="Europe/Moscow", name="guess")
    found = looks(guess)
    assert {name: found[name] for name in expected} == expected
    assert preview(path, guess.yaml, zone="Europe/Moscow").problem is None


def test_ids_written_only_where_they_change_are_filled_down(tmp_path):
    path = shared("data", "tongji-covid", "time_series_375_prerpocess_en.xlsx")
    guess = guess_mapping(path, zone="Asia/Shanghai", name="tongji")
    assert 'fill_down: ["PATIENT_ID"]' in guess.yaml
    hospital, _ = taken(tmp_path / "a", path, guess.yaml, zone="Asia/Shanghai")
    stays = hospital.snapshot().stays().collect()
    assert (stays.height, stays["subject_id"].n_unique()) == (375, 375)
    assert hospital.snapshot().events().select(pl.len()).collect().item() > 50_000


def test_stays_with_a_diagnosis_become_stays_movements_and_codes_of_icd_10(tmp_path):
    rows = [RUSSIAN.splitlines()[0].replace("Примечание", "Диагноз")]
    rows += [
        f"{k:03};{k:02}.05.2020 08:30;{k + 1:02}.05.2020 12:00;Кардиология;ж;13.03.1950;I21.{k % 9}"
        for k in range(1, 25)
    ]
    path = written(tmp_path, "\n".join(rows))
    guess = guess_mapping(path, zone="Europe/Moscow", name="stays")
    assert "codes of ICD-10, because" in guess.yaml
    hospital, summary = taken(tmp_path / "a", path, guess.yaml)
    assert {table: count["added"] for table, count in summary.counts.items()} == {
        "subjects": 24, "stays": 24, "movements": 24, "events": 24,
    }  # fmt: skip
    codes = hospital.snapshot().stored("events").collect()["code"].unique()
    assert all(code.startswith("ICD10//I21") for code in codes)
