"""What becomes of a hospital's own tables: one small picture for each layout."""

import io

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.csv_tables import assert_shows, imported, told

from neva.errors import MappingError

LONG = """\
neva: 1
name: ward
{settings}
tables:
  - subject: patient
    recorded: {{after: time}}
    {table}
    events:
      - code: {{system: T, column: what}}
        time: time
        {rule}
"""


def long(*, settings="", table="", rule="value: value"):
    return LONG.format(settings=settings, table=table, rule=rule.replace("\n", "\n        "))


def test_long_one_event_a_row(tmp_path):
    file = "patient,time,what,value\n007,2020-05-01 08:00,pulse,80\n7,2020-05-01 08:00,pulse,90\n"
    assert_shows(imported(tmp_path, long(), {"a.csv": file}), "events", """
        subject | time             | code     | value | precision | recorded
        007     | 2020-05-01 08:00 | T//pulse | 80    | minute    | 2020-05-01 08:00
        7       | 2020-05-01 08:00 | T//pulse | 90    | minute    | 2020-05-01 08:00
    """)  # fmt: skip


def test_wide_one_event_a_cell_with_units(tmp_path):
    mapping = """\
neva: 1
name: ward
codes:
  L//glucose: {value_unit: mmol/L, molar_mass: 180.156}
tables:
  - subject: patient
    recorded: {after: time, delay: 15 min}
    events:
      - time: time
        row_id: id
        system: L
        wide:
          glucose: {code: glucose, value_unit: mg/dL}
          comment: {code: comment, as_text: true}
"""
    file = (
        "id,patient,time,glucose,comment\n1,A,2020-05-01 08:00,180.156,\n2,A,2020-05-01 09:00,,ok\n"
    )
    hospital = imported(tmp_path, mapping, {"a.csv": file})
    assert_shows(hospital, "events", """
        time             | code       | value | value_unit | text
        2020-05-01 08:00 | L//glucose | 10    | mmol/L     |
        2020-05-01 09:00 | L//comment |       |            | ok
    """)  # fmt: skip
    assert told(hospital, "events", ["attributes"]) == [
        ["original_value=180.156, original_unit=mg/dL"],
        [""],
    ]


def test_intervals_have_an_end_and_none_before_their_start(tmp_path):
    file = (
        "patient,time,until,what\nA,2020-05-01,2020-05-02,drip\nA,2020-05-03,,drip\n"
        "A,2020-05-05,2020-05-04,drip\n"
    )
    hospital = imported(tmp_path, long(rule="end_time: until"), {"a.csv": file})
    assert_shows(hospital, "events", """
        time             | end_time         | precision
        2020-05-01 00:00 | 2020-05-02 00:00 | day
        2020-05-03 00:00 |                  | day
    """)  # fmt: skip
    assert_shows(hospital, "quarantine", """
        file  | row | table  | field    | reason
        a.csv | 3   | events | end_time | end-before-start
    """)  # fmt: skip


STATES = """\
neva: 1
name: cohort
tables:
  - subject: id
    recorded: {after: time}
    states:
      - start: {column: start}
        states: [s1, s2, s3, s4]
        durations: [d1, d2, d3]
        follow_up: days
        map: {1: ward, 2: icu, 8: home, 9: died}
        ends: [home, died]
        deaths: [died]
        system: S
"""


def test_states_with_days_become_intervals_stays_and_deaths(tmp_path):
    file = """\
id,start,s1,d1,s2,d2,s3,d3,s4,days
A,2020-05-01,1,2,2,3,8,,,
B,2020-05-01,1,2,1,3,9,0,0,
C,2020-05-01,1,1,8,4,2,2,9,
D,2020-05-01,2,1,1,,0,,0,10
E,2020-05-01,1,0,2,1,8,,,
"""
    hospital = imported(tmp_path, STATES, {"a.csv": file})
    assert_shows(hospital, "events", """
        subject | stay | time             | end_time         | code
        A       | A/1  | 2020-05-01 00:00 | 2020-05-03 00:00 | S//ward
        A       | A/1  | 2020-05-03 00:00 | 2020-05-06 00:00 | S//icu
        A       | A/1  | 2020-05-06 00:00 |                  | S//home
        B       | B/1  | 2020-05-01 00:00 | 2020-05-06 00:00 | S//ward
        B       | B/1  | 2020-05-06 00:00 |                  | S//died
        C       | C/1  | 2020-05-01 00:00 | 2020-05-02 00:00 | S//ward
        C       | C/1  | 2020-05-02 00:00 |                  | S//home
        C       | C/2  | 2020-05-06 00:00 | 2020-05-08 00:00 | S//icu
        C       | C/2  | 2020-05-08 00:00 |                  | S//died
        D       | D/1  | 2020-05-01 00:00 | 2020-05-02 00:00 | S//icu
        D       | D/1  | 2020-05-02 00:00 |                  | S//ward
        D       | D/1  | 2020-05-11 00:00 |                  | NEVA//FOLLOW-UP-END
        E       | E/1  | 2020-05-01 00:00 | 2020-05-01 00:00 | S//ward
        E       | E/1  | 2020-05-01 00:00 | 2020-05-02 00:00 | S//icu
        E       | E/1  | 2020-05-02 00:00 |                  | S//home
    """)  # fmt: skip
    assert_shows(hospital, "stays", """
        stay | start            | end              | outcome
        A/1  | 2020-05-01 00:00 | 2020-05-06 00:00 | home
        B/1  | 2020-05-01 00:00 | 2020-05-06 00:00 | died
        C/1  | 2020-05-01 00:00 | 2020-05-02 00:00 | home
        C/2  | 2020-05-06 00:00 | 2020-05-08 00:00 | died
        D/1  | 2020-05-01 00:00 |                  |
        E/1  | 2020-05-01 00:00 | 2020-05-02 00:00 | home
    """)  # fmt: skip
    assert_shows(hospital, "subjects", """
        subject | death
        B       | 2020-05-06 00:00
        C       | 2020-05-08 00:00
    """)  # fmt: skip


@pytest.mark.parametrize("days", ["inf", "nan", "1e300", "-2"])
def test_days_that_are_no_days_are_refused(tmp_path, days):
    file = f"id,start,s1,d1,s2,d2,s3,d3,s4,days\nA,2020-05-01,1,{days},8,,,,,\n"
    hospital = imported(tmp_path, STATES, {"a.csv": file})
    assert told(hospital, "quarantine", ["row", "field", "reason"]) == [
        ["1", "d1", "value-unreadable"]
    ]
    assert told(hospital, "stays", ["stay"]) == []


def test_files_joined_by_key(tmp_path):
    mapping = long(
        table="files: [rows.csv]\n    "
        "join: [{file: who.csv, on: {visit: visit}, columns: [patient]}]"
    )
    files = {
        "rows.csv": "visit,time,what,value\n1,2020-05-01,a,1\n2,2020-05-01,a,2\n3,2020-05-01,a,3\n",
        "who.csv": "visit,patient,age\n1,A,40\n2,B,50\n2,C,60\n",
    }
    hospital = imported(tmp_path, mapping, files)
    # A repeated key: its first row. A missing partner: no subject.
    assert told(hospital, "events", ["subject", "value"]) == [["A", "1"], ["B", "2"]]
    assert told(hospital, "quarantine", ["row", "reason"]) == [["3", "subject-missing"]]


def test_a_folder_of_movements_units_and_beds(tmp_path):
    mapping = """\
neva: 1
name: adt
tables:
  - files: ["moves*.csv"]
    subject: patient
    stay: visit
    recorded: {after: time}
    movements:
      - {start: from, end: to, unit: ward, bed: bed}
  - files: [wards.csv]
    recorded: {after: time}
    units:
      - {unit: ward, name: name, parent: in, kind: kind}
  - files: [beds.csv]
    recorded: {after: time}
    beds:
      - {unit: ward, bed: bed, start: from, state: {constant: open}}
"""
    files = {
        "moves-1.csv": "patient,visit,from,to,ward,bed\n"
        "A,1,2020-05-01 08:00,2020-05-02 09:00,W1,3\n",
        "moves-2.csv": "patient,visit,from,to,ward,bed\nA,1,2020-05-02 09:00,,ICU,1\n",
        "wards.csv": "ward,name,in,kind\nH,House,,\nICU,Intensive care,H,icu\nW1,Ward 1,H,ward\n",
        "beds.csv": "ward,bed,from\nICU,1,2020-01-01\nW1,3,2020-01-01\n",
    }
    hospital = imported(tmp_path, mapping, files)
    assert_shows(hospital, "movements", """
        subject | stay | start            | end              | unit | bed
        A       | 1    | 2020-05-01 08:00 | 2020-05-02 09:00 | W1   | 3
        A       | 1    | 2020-05-02 09:00 |                  | ICU  | 1
    """)  # fmt: skip
    assert_shows(hospital, "units", """
        unit | name           | parent | kind
        H    | House          |        |
        ICU  | Intensive care | H      | icu
        W1   | Ward 1         | H      | ward
    """)  # fmt: skip
    assert_shows(hospital, "beds", """
        unit | bed | start            | end | state
        ICU  | 1   | 2020-01-01 00:00 |     | open
        W1   | 3   | 2020-01-01 00:00 |     | open
    """)  # fmt: skip


PULSE = "patient,time,what,value\nA,2020-05-01 08:00,pulse,80\nB,2020-05-01 09:00,pulse,90\n"
UTF16 = long(settings="encoding: utf-16")


@pytest.mark.parametrize(
    ("content", "mapping"),
    [
        (PULSE.encode("utf-8-sig"), long()),
        (PULSE.replace("\n", "\r\n").encode(), long()),
        ((PULSE + "\n\n").encode(), long()),
        ((PULSE.replace("\n", "\r\n") + "\r\n\r\n").encode(), long()),
        (PULSE.rstrip("\n").encode(), long()),
        (PULSE.replace(",", ";").encode(), long(settings='separator: ";"')),
        (PULSE.replace(",", "\t").encode(), long(settings='separator: "\\t"')),
        (PULSE.encode("utf-16"), UTF16),
        (PULSE.replace("pulse", "'pulse'").encode(), long(settings="""quote: "'" """)),
    ],
    ids=["bom", "crlf", "blank-lines", "crlf-blank-lines", "no-last-newline", "semicolon", "tab",
         "utf-16", "quote"],
)  # fmt: skip
def test_the_same_table_in_another_dress(tmp_path, content, mapping):
    hospital = imported(tmp_path, mapping, {"a.csv": content})
    assert told(hospital, "quarantine", ["row", "reason"]) == []
    assert_shows(hospital, "events", """
        subject | code     | value
        A       | T//pulse | 80
        B       | T//pulse | 90
    """)  # fmt: skip


def test_windows_1251_with_line_breaks_and_quotes_in_cells(tmp_path):
    file = 'patient;time;what;value\nИванов;01.05.2020 08:30;"боль\nв ""груди""; да";3,5\n'
    mapping = long(
        settings='encoding: windows-1251\nseparator: ";"\ndecimal: ","',
        rule="value: value",
    ).replace("time: time\n", "time: {column: time, formats: ['%d.%m.%Y %H:%M']}\n")
    hospital = imported(tmp_path, mapping, {"a.csv": file.encode("windows-1251")})
    assert told(hospital, "events", ["subject", "code", "value"]) == [
        ["Иванов", 'T//боль\nв "груди"; да', "3.5"]
    ]


@pytest.mark.parametrize(
    ("written", "number"),
    [("3,5", "3.5"), ("-0,5", "-0.5"), ("12", "12"), ("1.234", None), ("1.234,5", None),
     ("1 234", None)],
)  # fmt: skip
def test_a_point_in_a_decimal_comma_number_is_not_guessed_at(tmp_path, written, number):
    file = f'patient,time,what,value\nA,2020-05-01,x,"{written}"\n'
    hospital = imported(tmp_path, long(settings='decimal: ","'), {"a.csv": file})
    found = told(hospital, "events", ["value"])
    assert found == ([] if number is None else [[number]])
    assert len(told(hospital, "quarantine", ["row"])) == (number is None)


def test_comparators_and_texts_in_a_column_of_numbers(tmp_path):
    file = "patient,time,what,value\n" + "".join(
        f"A,2020-05-0{k},x,{cell}\n" for k, cell in enumerate(["<5", "> 200", "7", "positive"], 1)
    )
    rule = "value: {column: value, comparators: true, unreadable: text}"
    assert_shows(imported(tmp_path, long(rule=rule), {"a.csv": file}), "events", """
        value | comparator | text
        5     | <          |
        200   | >          |
        7     |            |
              |            | positive
    """)  # fmt: skip


def test_several_formats_and_how_exact_each_is(tmp_path):
    file = (
        "patient,time,what\nA,01.05.2020,x\nA,02.05.2020 08:30,x\nA,03.05.2020 08:30:15,x\n"
        "A,2020/05/04,x\n"
    )
    formats = "formats: ['%d.%m.%Y %H:%M:%S', '%d.%m.%Y %H:%M', '%d.%m.%Y']"
    mapping = long(rule="").replace("time: time\n", f"time: {{column: time, {formats}}}\n")
    hospital = imported(tmp_path, mapping, {"a.csv": file})
    assert_shows(hospital, "events", """
        time                | precision
        2020-05-01 00:00    | day
        2020-05-02 08:30    | minute
        2020-05-03 08:30:15 | instant
    """)  # fmt: skip
    assert told(hospital, "quarantine", ["row", "reason"]) == [["4", "time-unreadable"]]


def test_status_reason_rank_retraction_attributes_and_conditions(tmp_path):
    file = """\
patient,time,what,state,why,rank,gone,ward,kind
A,2020-05-01,x,D,,1,,W1,real
A,2020-05-02,x,N,refused,,,W2,real
A,2020-05-03,x,D,,2,2020-05-04,,real
A,2020-05-04,x,?,,,,,real
A,2020-05-05,x,D,,1,,,test
A,2020-05-06,x,D,,9e12,,,real
A,2020-05-07,x,D,,1.5,,,real
"""
    rule = """\
when: [{column: kind, is: [real]}]
status: {column: state, map: {D: done, N: not-done}}
reason: why
rank: rank
retracted: gone
attributes: [ward, kind]"""
    hospital = imported(tmp_path, long(rule=rule), {"a.csv": file})
    assert_shows(hospital, "events", """
        time             | status   | reason  | rank | attributes
        2020-05-01 00:00 | done     |         | 1    | ward=W1, kind=real
        2020-05-02 00:00 | not-done | refused |      | ward=W2, kind=real
    """)  # fmt: skip
    assert_shows(hospital, "quarantine", """
        row | field  | reason
        4   | status | status-unknown
        6   | rank   | value-unreadable
        7   | rank   | value-unreadable
    """)  # fmt: skip


def test_when_rows_were_known(tmp_path):
    file = "patient,time,until,known,what\nA,2020-05-01 08:00,2020-05-03 08:00,2020-05-01 09:00,x\n"
    file += "A,2020-05-01 08:00,,,y\n"

    def known(recorded, name):
        mapping = long(rule="end_time: until").replace("{after: time}", recorded)
        (tmp_path / name).mkdir()
        hospital = imported(tmp_path / name, mapping, {"a.csv": file})
        return told(hospital, "events", ["code", "recorded", "recorded_assumed"])

    assert known("{after: time, delay: 30 min}", "a") == [
        ["T//x", "2020-05-01 08:30", "yes"],
        ["T//y", "2020-05-01 08:30", "yes"],
    ]
    assert known("{after: end}", "b") == [
        ["T//x", "2020-05-03 08:00", "yes"],
        ["T//y", "2020-05-01 08:00", "yes"],
    ]
    assert known("{column: known, after: time, delay: 2 h}", "c") == [
        ["T//x", "2020-05-01 09:00", "no"],
        ["T//y", "2020-05-01 10:00", "yes"],
    ]


def test_an_order_column_decides_between_equal_times(tmp_path):
    file = "patient,time,what,step\n" + "".join(
        f"A,2020-05-01,{what},{step}\n"
        for what, step in [("third", 30), ("first", 1), ("second", 2)]
    )
    mapping = long(table="order: {column: step}", rule="")
    hospital = imported(tmp_path, mapping, {"a.csv": file})
    assert told(hospital, "events", ["code"]) == [["T//first"], ["T//second"], ["T//third"]]


def test_excel_and_parquet_hold_what_the_csv_holds(tmp_path):
    frame = pl.DataFrame(
        {
            "patient": ["007", "NA"],
            "time": pl.Series(["2020-05-01 08:00", "2020-05-01 09:00"]).str.to_datetime(),
            "what": ["pulse", "missing"],
            "value": [80.0, 90.0],
        }
    )
    parquet = io.BytesIO()
    frame.write_parquet(parquet)
    (tmp_path / "p").mkdir()
    mapping = long(settings="missing: ['', missing]")
    hospital = imported(tmp_path / "p", mapping, {"a.parquet": parquet.getvalue()})
    assert told(hospital, "events", ["subject", "time", "value"]) == [
        ["007", "2020-05-01 08:00", "80"]
    ]
    assert told(hospital, "quarantine", ["row", "reason"]) == [["2", "code-missing"]]


def test_a_header_without_rows_is_a_table_without_rows(tmp_path):
    hospital = imported(tmp_path, long(), {"a.csv": "patient,time,what,value\n"})
    assert told(hospital, "events", ["code"]) == []
    assert hospital.manifest().version == 1


def test_a_name_that_stands_twice_in_the_header_is_not_guessed_at(tmp_path):
    file = "patient,time,what,value,value\nA,2020-05-01,x,1,2\n"
    with pytest.raises(MappingError, match=r"'value' stands twice"):
        imported(tmp_path, long(), {"a.csv": file})


FILLED = "".join(
    f"{'P' + str(k // 4) if k % 4 == 0 else ''},2020-10-25 0{k % 4}:{k % 6}0,x{k % 3},{k}\n"
    for k in range(24)
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return _split(tmp_path_factory.mktemp("whole"), 1000)


def _split(folder, rows, monkeypatch=None):
    if monkeypatch is not None:
        monkeypatch.setattr("neva.sources.csv.files.BATCH_ROWS", rows)
    mapping = long(table="fill_down: [patient]")
    file = "patient,time,what,value\n" + FILLED
    hospital = imported(folder, mapping, {"a.csv": file}, zone="Europe/Berlin")
    columns = ["subject", "time", "code", "value", "sequence"]
    return told(hospital, "events", columns)


@given(rows=st.integers(1, 25))
def test_batches_of_any_size_store_the_same_rows(whole, tmp_path_factory, rows):
    with pytest.MonkeyPatch.context() as patch:
        assert _split(tmp_path_factory.mktemp("split"), rows, patch) == whole


def test_beds_say_whether_they_stand_in_a_side_room(tmp_path):
    mapping = """\
neva: 1
name: beds
tables:
  - recorded: {after: time}
    beds:
      - {unit: ward, bed: bed, start: from, state: {constant: open}, side_room: single}
"""
    file = "\n".join(
        [
            "ward,bed,from,single",
            "W1,1,2020-01-01,Yes",
            "W1,2,2020-01-01,0",
            "W1,3,2020-01-01,",
            "W1,4,2020-01-01,perhaps",
        ]
    )
    hospital = imported(tmp_path, mapping, {"a.csv": file})
    beds = hospital.snapshot().beds().collect().sort("bed")
    assert beds.select("bed", "side_room").rows() == [("1", True), ("2", False), ("3", None)]
    refused = hospital.snapshot().quarantine().collect()
    assert refused.select("row", "field", "reason").rows() == [(4, "side_room", "value-unreadable")]


NEEDS = """
neva: 1
name: study
tables:
  - subject: patient
    recorded: {after: time}
    needs: [patient, time]
    subjects:
      - {sex: {column: sex, map: {m: male}}}
    events:
      - time: time
        system: LAB
        wide: {crp: crp, ldh: ldh}
"""


def test_columns_that_a_file_need_not_have_are_empty(tmp_path):
    hospital = imported(tmp_path, NEEDS, {"rows.csv": "patient,time,ldh\nA,2020-05-01 08:00,300\n"})
    found = hospital.snapshot().events().collect()
    assert found.select("code", "value").rows() == [("LAB//ldh", 300.0)]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("patient,when,ldh", "no 'time'"),
        ("patient,time,other", "none of the columns of `wide`"),
    ],
)
def test_columns_that_a_file_needs_are_asked_for(tmp_path, header, said):
    with pytest.raises(MappingError, match=said):
        imported(tmp_path, NEEDS, {"rows.csv": f"{header}\nA,2020-05-01 08:00,300\n"})
