import gzip
import json
import re
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shared_data import shared

from neva.errors import BadInputError, NotFoundError
from neva.events.schema import REASONS, ROWS
from neva.sources.fhir.codes import Context, codings, fhir_coding
from neva.sources.fhir.resources import HANDLED, rows_of
from neva.sources.fhir.source import open_fhir

OBSERVATION = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "2708-6"}]},
    "subject": {"reference": "Patient/1"},
    "effectiveDateTime": "2021-03-01T10:05:00+01:00",
    "valueQuantity": {"value": 92, "code": "%"},
}


def counts(path, **settings):
    found = Counter()
    for rows in open_fhir(path, zone="America/New_York", **settings).rows:
        found[rows.table, rows.origin] += rows.frame.height
    return dict(found)


def test_synthea_bundles_have_their_published_numbers():
    found = counts(shared("data", "synthea-fhir-r4"))
    assert found["subjects", "Patient"] == 22
    assert found["stays", "Encounter"] == 146
    assert found["events", "Condition"] == 61
    assert found["events", "Procedure"] == 45
    assert found["events", "MedicationRequest"] == 30
    assert not any(table == "quarantine" for table, _ in found)


def test_synthea_stays_have_their_kinds():
    kinds = Counter()
    for rows in open_fhir(shared("data", "synthea-fhir-r4"), zone="UTC").rows:
        if rows.table == "stays":
            kinds.update(rows.frame["kind"])
    assert kinds == {"outpatient": 134, "emergency": 10, "inpatient": 2}


def test_every_observation_of_synthea_gives_an_event_or_its_components():
    ids = set()
    for rows in open_fhir(shared("data", "synthea-fhir-r4"), zone="UTC").rows:
        if (rows.table, rows.origin) == ("events", "Observation"):
            ids.update(each.split("#")[0] for each in rows.frame["row_id"])
    assert len(ids) == 1042


def bundle(*resources, kind="searchset"):
    return json.dumps(
        {
            "resourceType": "Bundle",
            "type": kind,
            "entry": [{"resource": resource} for resource in resources],
        }
    )


def write(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("one.json", json.dumps(OBSERVATION)),
        ("bom.json", b"\xef\xbb\xbf" + json.dumps(OBSERVATION).encode()),
        ("bundle.json", bundle(OBSERVATION)),
        ("bundle.json.gz", gzip.compress(bundle(OBSERVATION).encode(), mtime=0)),
        ("all.ndjson", json.dumps(OBSERVATION) + "\n"),
        ("all.ndjson.gz", gzip.compress(json.dumps(OBSERVATION).encode(), mtime=0)),
        ("lines-called.json", json.dumps(OBSERVATION) + "\n" + json.dumps({"resourceType": "X"})),
        ("nested.json", bundle(json.loads(bundle(OBSERVATION)))),
    ],
)
def test_every_shape_of_file_gives_the_same_event(tmp_path, name, content):
    assert counts(write(tmp_path, content, name))["events", "Observation"] == 1


def test_a_large_bundle_is_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("neva.sources.fhir.files._SMALL", 64)
    many = [{**OBSERVATION, "id": str(number)} for number in range(10)]
    path = write(tmp_path, bundle(*many), "large.json")
    assert counts(path, batch=3)["events", "Observation"] == 10


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", b"", "empty"),
        ("a.json", '{"resourceType": "CANARY-1"', "not JSON"),
        ("a.json", '{"name": "CANARY-1"}', "no resourceType"),
        ("a.json", "[1, 2]", "no resourceType"),
        ("a.json", "<CANARY/>", "not JSON"),
        ("a.json", '{"a": "CANARY \u00e9"}'.encode("latin-1"), "UTF-8"),
        ("a.ndjson", "CANARY-1\nCANARY-2\n", "none of the 2 lines"),
        ("a.ndjson", b'{"a": "CANARY\xff"}\n', "UTF-8"),
        ("a.json.gz", gzip.compress(bundle(OBSERVATION).encode() * 20, mtime=0)[:-10], "cut short"),
    ],
)
def test_unreadable_file_is_refused_without_quoting_it(tmp_path, name, content, words):
    with pytest.raises(BadInputError, match=words) as caught:
        counts(write(tmp_path, content, name))
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("content", ["CANARY " * 100, '{"a": "' + "CANARY" * 100, "{}" + " " * 500])
def test_large_garbage_is_refused_without_quoting_it(tmp_path, monkeypatch, content):
    monkeypatch.setattr("neva.sources.fhir.files._SMALL", 64)
    with pytest.raises(BadInputError) as caught:
        counts(write(tmp_path, content, "a.json"))
    assert "CANARY" not in str(caught.value)


def test_a_line_too_long_is_no_ndjson(tmp_path, monkeypatch):
    monkeypatch.setattr("neva.sources.fhir.files._LONGEST_LINE", 64)
    with pytest.raises(BadInputError, match="longer than"):
        counts(write(tmp_path, json.dumps(OBSERVATION), "a.ndjson"))


def test_empty_and_missing_folders_are_told(tmp_path):
    with pytest.raises(BadInputError, match="no FHIR files"):
        open_fhir(tmp_path, zone="UTC")
    with pytest.raises(NotFoundError):
        open_fhir(tmp_path / "none", zone="UTC")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([{"low": {"value": 94, "code": "%"}, "high": {"value": 98}}],
         {"range_low": "94", "range_high": "98"}),
        ([{"high": {"value": 98, "code": "%"}, "text": "up to 98"}],
         {"range_high": "98", "range_text": "up to 98"}),
        # Limits in another unit than the value's say nothing of it.
        ([{"low": {"value": 0.94, "code": "1"}, "text": "0.94 and more"}],
         {"range_text": "0.94 and more"}),
        ([], {}),
        ("94-98", {}),
    ],
)  # fmt: skip
def test_the_reference_range_of_an_observation_is_kept(given, kept):
    found = rows_of({**OBSERVATION, "referenceRange": given}, zone="UTC")["events"][0]
    held = {one["key"]: one["value"] for one in found["attributes"] or ()}
    assert held == kept


def test_withdrawn_value_keeps_the_id_and_content_of_the_value():
    before = rows_of(OBSERVATION, zone="UTC")["events"][0]
    withdrawn = {**OBSERVATION, "status": "entered-in-error", "meta": {"lastUpdated": "2021-03-02"}}
    after = rows_of(withdrawn, zone="UTC")["events"][0]
    assert after == {**before, "retracted": datetime(2021, 3, 2, tzinfo=UTC)}


def test_two_unknown_systems_of_one_name_stay_apart_in_any_order():
    urls = ("http://a.example/ward", "http://b.example/ward", "http://b.example/loinc")
    names = [Context().system(url) for url in urls]
    assert [name[:-6] for name in names] == ["WARD-", "WARD-", "LOINC-"]
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("url", "short"),
    [
        ("http://loinc.org", "LOINC"),
        ("http://terminology.hl7.org/CodeSystem/v3-ActReason", "V3-ACTREASON"),
        ("urn:oid:1.2.3", "1.2.3"),
        ("http://hospital.example/ward", "OUR-WARD"),
        (None, "LOCAL"),
    ],
)
def test_systems_have_short_names(url, short):
    assert Context(systems={"http://hospital.example/ward": "OUR-WARD"}).system(url) == short


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
_FIELDS = [
    "status",
    "code",
    "subject",
    "patient",
    "effectiveDateTime",
    "effectivePeriod",
    "component",
    "valueQuantity",
    "referenceRange",
    "valueString",
    "birthDate",
    "gender",
    "period",
    "location",
    "class",
    "meta",
    "dataAbsentReason",
    "issued",
    "contained",
    "medicationCodeableConcept",
    "medicationReference",
    "performedPeriod",
    "dosage",
    "dosageInstruction",
    "authoredOn",
    "vaccineCode",
    "encounter",
    "verificationStatus",
    "onsetDateTime",
    "recordedDate",
    "name",
    "type",
    "partOf",
    "conclusion",
    "category",
    "diagnosis",
    "hospitalization",
    "deceasedDateTime",
    "doNotPerform",
]


@given(
    kind=st.sampled_from(sorted(HANDLED)) | json_values,
    changes=st.dictionaries(st.sampled_from(_FIELDS), json_values, max_size=4),
    keeps=st.booleans(),
)
def test_malformed_resources_go_to_quarantine_and_never_raise(kind, changes, keeps):
    resource = {**(OBSERVATION if keeps else {"id": "1"}), "resourceType": kind, **changes}
    for table, rows in rows_of(resource, zone="Europe/Berlin").items():
        for row in rows:
            assert set(row) <= set(ROWS[table])
            if table == "quarantine":
                assert row["reason"] in REASONS


@given(content=json_values)
def test_anything_that_is_json_can_be_given(content):
    assert set(rows_of(content, zone="UTC")) <= set(ROWS)


@given(st.from_regex(r"[A-Za-z][\w ]{0,8}", fullmatch=True), st.text(min_size=1).filter(str.strip))
def test_a_code_that_fhir_cannot_hold_comes_back_as_it_was(system, code):
    url, written = fhir_coding(system, code)
    assert re.fullmatch(r"[^\s]+(\s[^\s]+)*", written)
    concept = {"coding": [{"system": url, "code": written}]}
    assert codings(concept, Context()) == [(f"{system}//{code}", None)]
