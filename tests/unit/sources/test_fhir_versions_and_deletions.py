"""Histories, deletions and records of one person that were merged."""

import json
from datetime import timedelta

import pytest
from tests.fhir_files import (
    Deliveries,
    at,
    bundle,
    deletion,
    encounter,
    part,
    patient,
    place,
    potassium,
)


@pytest.fixture
def hospital(tmp_path):
    return Deliveries(tmp_path / "h")


PRESSURE = {
    **potassium("bp"),
    "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
    "component": [
        {
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "valueQuantity": {"value": value, "code": "mm[Hg]"},
        }
        for code, value in (("8480-6", 120), ("8462-4", 80))
    ],
}
del PRESSURE["valueQuantity"]


def test_a_deletion_withdraws_every_component_of_an_observation(hospital):
    hospital.take(patient(), PRESSURE, potassium("o1"))
    assert len(hospital.rows("events")) == 3
    summary = hospital.take(bundle(deletion("https://s.example/fhir/Observation/bp")))
    assert summary.total("retracted") == 2
    assert [row["code"] for row in hospital.rows("events")] == ["LOINC//2823-3"]


def test_a_deletion_withdraws_persons_stays_parts_and_places(hospital):
    hospital.take(
        patient(birthDate="1950"),
        patient("p2"),
        encounter("e", "2020-03-01T10:00:00Z", "2020-03-09T10:00:00Z", location=[place("a")]),
        part("f", "e", "2020-03-02T10:00:00Z", "2020-03-03T10:00:00Z", location=[place("b")]),
        {"resourceType": "Location", "id": "a", "name": "Ward A"},
    )
    before = hospital.received - timedelta(hours=1)
    hospital.take(bundle(deletion("Encounter/f")))
    assert [row["unit"] for row in hospital.rows("movements")] == ["a", "a"]
    hospital.take(bundle(*(deletion(one) for one in ("Encounter/e", "Patient/p1", "Location/a"))))
    for table in ("stays", "movements", "units", "events"):
        assert hospital.rows(table) == []
        assert len(hospital.rows(table, as_of=before)) > 0
    assert len(hospital.rows("subjects")) == 1


@pytest.mark.parametrize("of", ["Observation/never", "Observation?identifier=7", "Patient/none"])
def test_a_deletion_of_what_was_never_imported_is_counted(hospital, of):
    hospital.take(patient(), potassium("o1"))
    summary = hospital.take(bundle(deletion(of)))
    assert summary.warnings == {"events: deletion-unmatched": 1}
    assert summary.total("retracted") == 0
    assert len(hospital.rows("events")) == 1
    assert hospital.hospital.identities().collect().height == 1


def test_what_was_deleted_twice_or_before_stays_withdrawn(hospital):
    hospital.take(patient(), potassium("o1"))
    hospital.take(bundle(deletion("Observation/o1"), deletion("Observation/o1")))
    assert hospital.take(bundle(deletion("Observation/o1"))).total("retracted") == 0
    assert hospital.rows("events") == []


def test_a_deletion_beside_a_manifest_of_a_bulk_export_is_read(hospital, tmp_path):
    hospital.take(patient(), potassium("o1"))
    folder = tmp_path / "export"
    folder.mkdir()
    manifest = {"transactionTime": "2020-05-01T00:00:00Z", "output": [], "deleted": [], "error": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "gone.ndjson").write_text(json.dumps(bundle(deletion("Observation/o1"))))
    assert hospital.take_files(folder).total("retracted") == 1


def version(resource, number, changed, method="PUT"):
    made = {**resource, "meta": {"versionId": str(number), "lastUpdated": changed}}
    name = f"{resource['resourceType']}/{resource['id']}"
    return {
        "resource": made,
        "request": {"method": method, "url": name},
        "response": {"status": "200", "lastModified": changed},
    }


FIRST, SECOND, THIRD = (f"2020-03-0{day}T12:00:00Z" for day in (2, 4, 6))


@pytest.mark.parametrize("order", [1, -1], ids=["oldest first", "newest first"])
def test_the_versions_of_a_history_are_revisions(hospital, order):
    issued = {"issued": "2020-03-02T08:30:00Z"}
    versions = [
        version(potassium("o1", 4.1, **issued), 1, FIRST, "POST"),
        version(potassium("o1", 5.2, **issued), 2, SECOND),
    ]
    summary = hospital.take(patient(), bundle(*versions[::order], kind="history"))
    assert summary.refusals == {}
    values = [
        [row["value"] for row in hospital.rows("events", as_of=at(time))]
        for time in ("2020-03-02T09:00:00Z", "2020-03-05T00:00:00Z")
    ]
    assert values == [[4.1], [5.2]]


def test_a_history_that_ends_in_a_deletion_withdraws_at_its_time(hospital):
    gone = deletion("Observation/o1", response={"status": "204", "lastModified": THIRD})
    versions = [gone, version(potassium("o1", 4.1), 1, FIRST, "POST")]
    hospital.take(patient(), bundle(*versions, kind="history"))
    assert hospital.rows("events") == []
    assert len(hospital.rows("events", as_of=at("2020-03-05T00:00:00Z"))) == 1


def test_what_was_made_again_after_a_deletion_stays(hospital):
    gone = deletion("Observation/o1", response={"status": "204", "lastModified": SECOND})
    versions = [version(potassium("o1", 5.0), 3, THIRD), gone, version(potassium("o1"), 1, FIRST)]
    hospital.take(patient(), bundle(*versions, kind="history"))
    assert [row["value"] for row in hospital.rows("events")] == [5.0]


def test_the_versions_of_a_stay_are_revisions_too(hospital):
    open_stay = encounter("e", "2020-03-01T10:00:00Z", None, status="in-progress")
    closed = encounter("e", "2020-03-01T10:00:00Z", "2020-03-04T10:00:00Z")
    hospital.take(
        patient(), bundle(version(closed, 2, SECOND), version(open_stay, 1, FIRST), kind="history")
    )
    assert hospital.rows("stays")[0]["end"] == at("2020-03-04T10:00:00Z")
    assert hospital.rows("stays", as_of=at(FIRST))[0]["end"] is None


def link(kind, other):
    return {"link": [{"type": kind, "other": {"reference": f"Patient/{other}"}}]}


@pytest.mark.parametrize(
    "patients",
    [
        [patient("old", active=False, **link("replaced-by", "p1")), patient()],
        [patient("old"), patient(**link("replaces", "old"))],
        [
            patient("old", **link("replaced-by", "middle")),
            patient("middle", **link("replaced-by", "p1")),
            patient(),
        ],
    ],
    ids=["replaced-by", "replaces", "in two steps"],
)
def test_merged_records_are_one_person_under_the_surviving_pseudonym(hospital, patients):
    hospital.take(patient(), potassium("o1"))
    (survivor,) = hospital.rows("subjects")
    summary = hospital.take(
        *patients,
        potassium("o2", subject={"reference": "Patient/old"}),
        encounter("e", "2020-03-01T10:00:00Z", "2020-03-04T10:00:00Z", of="old"),
    )
    assert summary.warnings == {"subjects: subject-merged": len(patients) - 1}
    assert len(hospital.rows("subjects")) == 1
    for table in ("events", "stays"):
        assert {row["subject_id"] for row in hospital.rows(table)} == {survivor["subject_id"]}


def test_what_was_imported_of_a_record_before_it_was_merged_follows_it(hospital):
    hospital.take(
        patient("old"),
        patient(),
        potassium("o1", subject={"reference": "Patient/old"}),
        encounter("e", "2020-03-01T10:00:00Z", "2020-03-04T10:00:00Z", of="old",
                  location=[place("a")]),
    )  # fmt: skip
    before = hospital.received - timedelta(hours=1)
    hospital.take(patient("old", **link("replaced-by", "p1")))
    for table in ("events", "stays", "movements", "subjects"):
        assert len({row["subject_id"] for row in hospital.rows(table)}) == 1
        assert len(hospital.rows(table)) == 1
    assert len(hospital.rows("subjects", as_of=before)) == 2


def test_a_stay_that_is_told_again_as_its_record_is_merged_is_there_once(hospital):
    told = [
        potassium("o1", subject={"reference": "Patient/old"}),
        encounter(
            "e", "2020-03-01T10:00:00Z", "2020-03-04T10:00:00Z", of="old", location=[place("a")]
        ),
    ]
    hospital.take(patient("old"), patient(), *told)
    hospital.take(patient("old", **link("replaced-by", "p1")), patient(), *told)
    for table in ("events", "stays", "movements", "subjects"):
        assert len(hospital.rows(table)) == 1
    assert len({row["subject_id"] for row in hospital.rows("events") + hospital.rows("stays")}) == 1


def test_records_that_only_refer_to_each_other_or_run_in_a_circle_stay_apart(hospital):
    hospital.take(
        patient("a", **link("seealso", "b")),
        patient("b", **link("refer", "a")),
        patient("c", **link("replaced-by", "d")),
        patient("d", **link("replaced-by", "c")),
    )
    assert len(hospital.rows("subjects")) == 4


def test_what_is_told_later_of_a_merged_record_is_told_of_the_surviving_one(hospital):
    """Was: a later delivery without the link made a second person again."""
    hospital.take(patient("old"), patient(), potassium("o1"))
    hospital.take(patient("old", **link("replaced-by", "p1")))
    (survivor,) = hospital.rows("subjects")
    summary = hospital.take(
        patient("old", birthDate="1901-01-01"),
        potassium("o2", subject={"reference": "Patient/old"}),
        encounter("e", "2020-03-01T10:00:00Z", "2020-03-04T10:00:00Z", of="old"),
    )
    assert summary.warnings == {"subjects: subject-merged": 1}
    for table in ("events", "stays"):
        assert {row["subject_id"] for row in hospital.rows(table)} == {survivor["subject_id"]}
    (after,) = hospital.rows("subjects")
    assert after["birth_date"] == survivor["birth_date"]


def test_merges_of_merges_lead_to_the_record_that_is_left(hospital):
    hospital.take(patient("a"), patient("b"), patient("c"))
    hospital.take(patient("a", **link("replaced-by", "b")))
    hospital.take(patient("b", **link("replaced-by", "c")))
    (left,) = hospital.rows("subjects")
    hospital.take(potassium("o2", subject={"reference": "Patient/a"}))
    assert {row["subject_id"] for row in hospital.rows("events")} == {left["subject_id"]}
    # A merge into a record that was merged itself goes to the one that is left.
    hospital.take(patient("d"), potassium("o3", subject={"reference": "Patient/d"}))
    hospital.take(patient("d", **link("replaced-by", "b")))
    assert {row["subject_id"] for row in hospital.rows("events")} == {left["subject_id"]}
