"""Bad XES, OMOP, FHIR and MEDS: a clear error or quarantine, and the hospital as it was."""

import gzip
import io
import json
import zipfile

import polars as pl
import pytest
from tests.command_line import CANARY

from neva.events.hospital import open_hospital

TRACE = f"""<trace><string key="concept:name" value="{CANARY}"/>
<event><string key="concept:name" value="a"/>
<date key="time:timestamp" value="2020-05-01T08:00:00Z"/>
<string key="note" value="{CANARY}"/></event></trace>"""
XES = f'<?xml version="1.0"?><log xes.version="1.0">{TRACE}</log>'
ENTITIES = [
    f'<!ENTITY {new} "&{old};&{old};&{old};&{old};&{old};&{old};">'
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
]
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE log [<!ENTITY a "aaaaaaaaaa">'
    + "".join(ENTITIES)
    + f']><log><trace><string key="concept:name" value="&i;{CANARY}"/></trace></log>'
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE log [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    f'<log><trace><string key="concept:name" value="&x;{CANARY}"/></trace></log>'
)
PATIENT = {"resourceType": "Patient", "id": CANARY, "gender": "female"}
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "subject": {"reference": f"Patient/{CANARY}"},
    "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
    "effectiveDateTime": "2020-05-01T08:00:00Z",
    "valueQuantity": {"value": 12.5, "code": "g/dL", "system": "http://unitsofmeasure.org"},
}
PERSON = "person_id,gender_concept_id,year_of_birth,person_source_value\n"
PERSONS = f"{PERSON}1,8532,1950,{CANARY}\n"
VISITS = (
    "visit_occurrence_id,person_id,visit_concept_id,visit_start_date,visit_end_date\n"
    "1,1,9201,2020-05-01,2020-05-03\n"
)
CONDITIONS = (
    "condition_occurrence_id,person_id,condition_concept_id,condition_start_date,"
    "condition_source_value\n"
)


def table(text: str) -> bytes:
    return text.encode()


def parquet(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(f"{name}.csv", content)
    return buffer.getvalue()


def lay(place, given):
    """Write a file (bytes) or a folder (name to bytes)."""
    if isinstance(given, dict):
        for name, content in given.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    else:
        place.write_bytes(given)
    return place


TIMES = pl.datetime_range(pl.datetime(2020, 5, 1), pl.datetime(2020, 5, 2), "1d", eager=True)
MANY = CONDITIONS + "".join(f"{n},1,0,2020-05-01,{CANARY}\n" for n in range(5000))
BROKEN = {
    "xes cut short": ("xes", "a.xes", XES[:-30].encode()),
    "xes packed and cut short": (
        "xes",
        "a.xes.gz",
        gzip.compress((XES * 900).encode(), mtime=0)[:-200],
    ),
    "xes with entities": ("xes", "a.xes", BOMB.encode()),
    "xes that opens files": ("xes", "a.xes", OUTSIDE.encode()),
    "xes empty": ("xes", "a.xes", b""),
    "xes packed empty": ("xes", "a.xes.gz", gzip.compress(b"", mtime=0)),
    "xes is html": ("xes", "a.xes", f"<html><p>{CANARY}</p></html>".encode()),
    "xes is a folder": ("xes", "log", {"a.xes": XES.encode()}),
    "xes of two logs": ("xes", "a.xes", (XES + XES).encode()),
    "fhir garbage": ("fhir", "a.json", f'{{"resourceType": "{CANARY}'.encode()),
    "fhir empty": ("fhir", "a.json", b""),
    "fhir empty lines": ("fhir", "a.ndjson", b"\n\n"),
    "fhir garbage lines": ("fhir", "a.ndjson", f"{CANARY}\n{CANARY}\n".encode()),
    "fhir is no fhir": ("fhir", "a.json", json.dumps({"name": CANARY}).encode()),
    "fhir is a number": ("fhir", "a.json", b"7731"),
    "fhir not utf-8": ("fhir", "a.json", '{"resourceType": "é"}'.encode("latin-1")),
    "fhir nested deeply": ("fhir", "a.json", b"[" * 200_000),
    "fhir folder with nothing": ("fhir", "fhir", {"readme.txt": b"nothing"}),
    "fhir damaged second file": (
        "fhir",
        "fhir",
        {
            "1.json": json.dumps(PATIENT).encode(),
            "2.json": b'{"resourceType": "Bundle", "entry": [',
        },
    ),
    "omop without person": ("omop", "cdm", {"visit_occurrence.csv": table(VISITS)}),
    "omop person without id": ("omop", "cdm", {"person.csv": table(f"a,b\n{CANARY},1\n")}),
    "omop visits without a column": (
        "omop",
        "cdm",
        {
            "person.csv": table(PERSONS),
            "visit_occurrence.csv": table(VISITS.replace("visit_start_date", "begun")),
        },
    ),
    "omop empty person": ("omop", "cdm", {"person.csv": b""}),
    "omop packed table cut short": (
        "omop",
        "cdm",
        {
            "person.csv": table(PERSONS),
            "condition_occurrence.csv.gz": gzip.compress(MANY.encode(), mtime=0)[:-300],
        },
    ),
    "omop parquet that is none": ("omop", "cdm", {"person.parquet": CANARY.encode()}),
    "omop rounded ids": (
        "omop",
        "cdm",
        {
            "person.parquet": parquet(
                person_id=[2.0**60, None], gender_concept_id=[1, 2], year_of_birth=[1, 2]
            )
        },
    ),
    "omop no zip": ("omop", "cdm.zip", CANARY.encode()),
    "omop empty zip": ("omop", "cdm.zip", zipped()),
    "meds that is none": ("meds", "data.parquet", CANARY.encode()),
    "meds empty": ("meds", "data.parquet", b""),
    "meds empty folder": ("meds", "meds", {"data/readme.txt": b""}),
    "meds without code": ("meds", "data.parquet", parquet(subject_id=[1, 2], time=TIMES)),
    "meds with times as text": (
        "meds",
        "data.parquet",
        parquet(subject_id=[1], time=[CANARY], code=["a"]),
    ),
    "meds damaged second file": (
        "meds",
        "meds",
        {
            "data/0.parquet": parquet(subject_id=[1, 2], time=TIMES, code=["a", "b"]),
            "data/1.parquet": b"PAR1",
        },
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return lay(tmp_path_factory.mktemp("good") / "good.xes", XES.encode())


@pytest.fixture
def filled(neva, tmp_path, good):
    folder = tmp_path / "hospital"
    assert neva("import", "xes", good, "--into", folder, "--zone", "Europe/Berlin").code == 0
    return folder


def content(folder):
    hospital = open_hospital(folder)
    snapshot = hospital.snapshot()
    return (
        hospital.manifest(),
        hospital.identities().collect().rows(),
        *(snapshot.stored(name).collect().rows() for name in ("events", "subjects", "quarantine")),
    )


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_delivery_is_a_clear_error_and_changes_nothing(neva, tmp_path, filled, what):
    before = content(filled)
    kind, name, given = BROKEN[what]
    said = neva("import", kind, lay(tmp_path / name, given), "--into", filled)
    assert (said.code, said.out) == (3, ""), said.err
    assert said.err.startswith("neva: ")
    assert said.err.count("; ") >= 2
    assert "found" in said.err
    assert "bug" not in said.err
    assert content(filled) == before


@pytest.mark.parametrize(
    "what", ["xes empty", "fhir damaged second file", "omop packed table cut short"]
)
def test_a_broken_first_delivery_leaves_no_hospital(neva, tmp_path, what):
    kind, name, given = BROKEN[what]
    place = lay(tmp_path / name, given)
    said = neva("import", kind, place, "--into", tmp_path / "h", "--zone", "Europe/Berlin")
    assert (said.code, (tmp_path / "h").exists()) == (3, False)


def refusals(neva, folder, kind, place, *more):
    said = neva("import", kind, place, "--into", folder, *more, "--json")
    assert said.code == 0, said.err
    return said.json()["refusals"]


def test_broken_lines_of_ndjson_are_counted_and_the_others_taken(neva, tmp_path, filled):
    lines = [
        json.dumps(PATIENT),
        f'{{"resourceType": "Observation", "id": "{CANARY}',
        json.dumps(OBSERVATION),
        json.dumps({**OBSERVATION, "id": "o2", "effectiveDateTime": CANARY}),
        json.dumps({**OBSERVATION, "id": "o3", "code": {}}),
        json.dumps({**OBSERVATION, "id": "o4", "subject": {"reference": f"Group/{CANARY}"}}),
        "[]",
        json.dumps({**OBSERVATION, "id": "o5", "valueQuantity": {"value": CANARY}}),
    ]
    place = lay(tmp_path / "all.ndjson", "\n".join(lines).encode())
    found = refusals(neva, filled, "fhir", place)
    assert sum(found.values()) == 6
    assert found["events: resource-unreadable"] == 2
    assert found["events: time-unreadable"] == 1
    assert found["events: code-missing"] == 1
    rows = open_hospital(filled).snapshot().quarantine().collect()
    assert sorted(rows["row"]) == [2, 4, 5, 6, 7, 8]
    assert set(rows["file"]) == {"all.ndjson"}
    assert neva("info", filled, "--json").json()["rows"]["refused rows"] == 6


def test_ids_that_are_no_numbers_are_ids(neva, tmp_path, filled):
    place = lay(
        tmp_path / "cdm",
        {
            "person.csv": table(f"{PERSON}{CANARY},8532,1950,x\n007,8532,1950,x\n"),
            "condition_occurrence.csv": table(
                f"{CONDITIONS}a,{CANARY},0,2020-05-01,I10\n"
                "b,007,0,2020-05-01,I10\nc,7,0,2020-05-01,I10\n"
            ),
        },
    )
    assert refusals(neva, filled, "omop", place) == {"events: subject-unknown": 1}
    ids = open_hospital(filled).identities().filter(pl.col("assigner") == "omop").collect()
    assert set(ids["local_id"]) == {CANARY, "007"}


def test_bad_rows_of_a_table_are_counted(neva, tmp_path, filled):
    rows = [
        "1,1,0,2020-05-01,I10",
        f"2,1,0,{CANARY},I10",
        "3,1,0,,I10",
        "4,1,0,2020-05-01,",
        "5,,0,2020-05-01,I10",
    ]
    place = lay(
        tmp_path / "cdm",
        {
            "person.csv": table(PERSONS),
            "condition_occurrence.csv": table(CONDITIONS + "\n".join(rows) + "\n"),
        },
    )
    assert refusals(neva, filled, "omop", place) == {
        "events: time-unreadable": 1,
        "events: time-missing": 1,
        "events: code-missing": 1,
        "events: subject-missing": 1,
    }


def test_bad_events_of_a_log_are_counted(neva, tmp_path, filled):
    events = [
        ("a", "2020-05-01T08:00:00Z"),
        (None, "2020-05-01T08:00:00Z"),
        ("a", CANARY),
        ("a", None),
        ("a", "2021-03-28T02:30:00"),
    ]
    told = "".join(
        "<event>"
        + (f'<string key="concept:name" value="{name}"/>' if name else "")
        + (f'<date key="time:timestamp" value="{time}"/>' if time else "")
        + "</event>"
        for name, time in events
    )
    log = f'<log><trace><string key="concept:name" value="{CANARY}"/>{told}</trace></log>'
    assert refusals(neva, filled, "xes", lay(tmp_path / "b.xes", log.encode())) == {
        "events: code-missing": 1,
        "events: time-unreadable": 1,
        "events: time-missing": 1,
        "events: time-nonexistent": 1,
    }


@pytest.mark.parametrize(
    ("kind", "setting", "told"),
    [
        ("xes", "cases=stay", "case, subject"),
        ("xes", "case=visit", "'visit'"),
        ("xes", "case", "NAME=VALUE"),
        ("xes", "batch=many", "whole number"),
        ("fhir", "received=soon", "2020-05-01T08:00"),
        ("fhir", "systems=WARD", "JSON"),
        ("omop", "birth=later", "mid-year"),
        ("omop", "movements=(", "regular expression"),
        ("meds", "zone=UTC", "no such setting"),
    ],
)
def test_a_wrong_setting_is_usage(neva, tmp_path, filled, kind, setting, told):
    place = lay(tmp_path / "x.json", json.dumps(PATIENT).encode())
    said = neva("import", kind, place, "--into", filled, "--set", setting)
    assert (said.code, told in said.err, "found" in said.err) == (2, True, True), said.err


@pytest.mark.parametrize("kind", ["xes", "fhir", "omop", "meds"])
def test_a_mapping_where_none_is_taken_is_usage(neva, tmp_path, filled, kind):
    place = lay(tmp_path / "x.json", json.dumps(PATIENT).encode())
    said = neva("import", kind, place, "--into", filled, "--mapping", "sepsis")
    assert (said.code, "--mapping" in said.err, "found sepsis" in said.err) == (2, True, True)


def test_settings_reach_the_source(neva, tmp_path, filled):
    unsaid = {**OBSERVATION, "status": "entered-in-error"}
    unsaid["code"] = {"coding": [{"system": "https://ward.example/codes", "code": "hb"}]}
    place = lay(tmp_path / "a.ndjson", f"{json.dumps(PATIENT)}\n{json.dumps(unsaid)}".encode())
    said = neva(
        "import", "fhir", place, "--into", filled, "--set", "received=2020-06-01T10:00",
        "--set", 'systems={"https://ward.example/codes": "WARD"}', "--set", "batch=1",
    )  # fmt: skip
    assert said.code == 0, said.err
    rows = open_hospital(filled).snapshot().stored("events").collect()
    withdrawn = rows.filter(pl.col("retracted").is_not_null()).row(0, named=True)
    assert withdrawn["code"] == "WARD//hb"
    assert str(withdrawn["retracted"]) == "2020-06-01 08:00:00+00:00"
