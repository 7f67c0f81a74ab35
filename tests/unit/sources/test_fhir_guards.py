"""What must not be read as if it were absent, and what one resource may know of another."""

import pytest
from tests.bedside_patients import NOW, SERVICE, call, observations, prefetch
from tests.bedside_patients import bundle as searchset
from tests.bedsides import served
from tests.fhir_files import Deliveries, bundle, encounter, patient, place, potassium
from tests.hospitals import new_hospital

from neva.sources.fhir.codes import Context
from neva.sources.fhir.guards import unknown_modifier
from neva.sources.fhir.resources import rows_of


@pytest.fixture
def hospital(tmp_path):
    return Deliveries(tmp_path / "h")


TURNED = {"modifierExtension": [{"url": "https://example.org/fhir/negated", "valueBoolean": True}]}
DRUG = {"coding": [{"system": "http://www.whocc.no/atc", "code": "H02AB02"}]}
GIVEN = {
    "resourceType": "MedicationAdministration",
    "id": "m1",
    "status": "completed",
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2020-03-02T08:00:00Z",
}
STAY = encounter("e", "2020-03-01T10:00:00Z", "2020-03-04T10:00:00Z", location=[place("a")])


@pytest.mark.parametrize(
    ("resource", "field", "table"),
    [
        (potassium("o") | TURNED, "modifierExtension", "events"),
        (
            potassium("o", component=[{"code": DRUG}, {"code": DRUG, **TURNED}]),
            "component[1].modifierExtension",
            "events",
        ),
        (
            potassium("o", code={"coding": [{"code": "a", **TURNED}]}),
            "code.coding[0].modifierExtension",
            "events",
        ),
        (patient() | TURNED, "modifierExtension", "subjects"),
        (
            STAY | {"location": [place("a") | TURNED]},
            "location[0].modifierExtension",
            "stays",
        ),
        (
            GIVEN | {"medicationCodeableConcept": DRUG, "dosage": {"text": "x", **TURNED}},
            "dosage.modifierExtension",
            "events",
        ),
        ({"resourceType": "Location", "id": "a"} | TURNED, "modifierExtension", "units"),
        (potassium("o", implicitRules="https://example.org/rules"), "implicitRules", "events"),
    ],
)
def test_a_modifier_that_is_not_known_sets_the_resource_aside_at_every_level(
    resource, field, table
):
    rows = rows_of(resource, zone="UTC")
    assert rows == {"quarantine": [{"table": table, "field": field, "reason": "modifier-unknown"}]}


@pytest.mark.parametrize(
    "resource",
    [
        patient(contact=[{"name": {"text": "x"}, **TURNED}]),
        potassium("o", extension=[{"url": "https://example.org/harmless", "valueString": "x"}]),
        potassium("o", modifierExtension=[]),
        STAY | {"participant": [dict(TURNED)]},
    ],
)
def test_what_modifies_only_what_is_not_read_changes_nothing(resource):
    assert unknown_modifier(resource) is None
    assert "quarantine" not in {
        table for table, rows in rows_of(resource, zone="UTC").items() if rows
    }


def test_a_drug_whose_own_record_has_a_modifier_is_not_read(hospital):
    medication = {"resourceType": "Medication", "id": "d", "code": DRUG, **TURNED}
    summary = hospital.take(
        patient(), medication, GIVEN | {"medicationReference": {"reference": "Medication/d"}}
    )
    assert summary.refusals == {"events: modifier-unknown": 1}
    contained = GIVEN | {
        "contained": [medication],
        "medicationReference": {"reference": "#d"},
    }
    assert rows_of(contained, zone="UTC")["quarantine"][0]["reason"] == "modifier-unknown"


@pytest.mark.parametrize("comparator", ["ad", "~", "!="])
def test_a_comparator_that_is_not_known_is_no_plain_value(comparator):
    turned = potassium("o", valueQuantity={"value": 4, "code": "mmol/L", "comparator": comparator})
    assert rows_of(turned, zone="UTC")["quarantine"][0]["reason"] == "value-unreadable"


@pytest.mark.parametrize(
    ("resource", "reason", "field"),
    [
        (
            encounter("e", None, None, actualPeriod={"start": "2020-03-01"}),
            "version-later",
            "actualPeriod",
        ),
        (STAY | {"class": [{"coding": [{"code": "IMP"}]}]}, "version-later", "class"),
        (GIVEN | {"medication": {"concept": DRUG}}, "version-later", "medication"),
        (
            {
                "resourceType": "ServiceRequest",
                "id": "s",
                "status": "active",
                "code": {"concept": DRUG},
                "subject": {"reference": "Patient/p1"},
            },
            "version-later",
            "code",
        ),
        (potassium("o", context={"reference": "Encounter/e"}), "version-earlier", "context"),
        (
            {
                "resourceType": "Condition",
                "id": "c",
                "clinicalStatus": "active",
                "code": DRUG,
                "subject": {"reference": "Patient/p1"},
                "assertedDate": "2020-03-01",
            },
            "version-earlier",
            "assertedDate",
        ),
        (GIVEN | {"medicationCodeableConcept": DRUG, "notGiven": True}, "version-earlier",
         "notGiven"),
    ],
)  # fmt: skip
def test_a_resource_of_another_version_of_fhir_says_so(resource, reason, field):
    (refused,) = rows_of(resource, zone="UTC")["quarantine"]
    assert (refused["reason"], refused["field"]) == (reason, field)


MRN = "https://example.org/mrn"


def identified(name, value="12", system=MRN, **more):
    return patient(name, identifier=[{"system": system, "value": value}], **more)


def by_search(text):
    return {"reference": f"Patient?identifier={text}"}


@pytest.mark.parametrize(
    "reference",
    [
        by_search(f"{MRN}|12"),
        by_search("https%3A%2F%2Fexample.org%2Fmrn%7C12"),
        by_search("12"),
        {"reference": f"https://s.example/fhir/Patient?identifier={MRN}|12"},
        {"identifier": {"system": MRN, "value": "12"}},
        {"type": "Patient", "identifier": {"value": "12"}},
    ],
)
def test_a_reference_that_one_resource_of_the_delivery_answers_is_resolved(hospital, reference):
    hospital.take(potassium("o1", subject=reference), identified("p1"), identified("p2", "13"))
    subjects = {row["subject_id"] for row in hospital.rows("events")}
    assert len(subjects) == 1
    hospital.take(potassium("o2", subject={"reference": "Patient/p1"}))
    assert {row["subject_id"] for row in hospital.rows("events")} == subjects


@pytest.mark.parametrize(
    ("reference", "patients"),
    [
        (by_search(f"{MRN}|12"), [identified("p1"), identified("p2")]),
        (by_search(f"{MRN}|12"), [identified("p1", "13")]),
        (by_search("|12"), [identified("p1")]),
        (by_search("12"), [identified("p1"), identified("p2", system="https://example.org/b")]),
        ({"reference": f"Group?identifier={MRN}|12"}, [identified("p1")]),
        ({"reference": f"Patient?identifier={MRN}|12&active=true"}, [identified("p1")]),
        ({"reference": "Patient?name=Ivanov"}, [identified("p1")]),
        ({"type": "Group", "identifier": {"system": MRN, "value": "12"}}, [identified("p1")]),
    ],
)
def test_a_reference_that_none_or_several_answer_is_refused(hospital, reference, patients):
    summary = hospital.take(potassium("o1", subject=reference), *patients)
    assert summary.refusals == {"events: reference-unresolved": 1}


@pytest.mark.parametrize(
    "reference",
    [
        {"reference": f"Encounter?identifier={MRN}|9"},
        {"identifier": {"value": "9"}},
        {"display": "x"},
    ],
)
def test_an_event_whose_stay_cannot_be_found_is_taken_and_counted(hospital, reference):
    summary = hospital.take(patient(), potassium("o1", encounter=reference), potassium("o2"))
    assert summary.warnings == {"events: stay-unresolved": 1}
    assert [row["stay_id"] for row in hospital.rows("events")] == [None, None]


def test_a_resource_that_is_nested_too_deeply_is_set_aside():
    deep = {}
    for _ in range(3000):
        deep = {"a": deep}
    assert unknown_modifier({"resourceType": "Medication", "a": deep}) is not None


def test_wards_stays_and_wholes_are_found_by_their_identifiers(hospital):
    ward = {"resourceType": "Location", "id": "w", "identifier": [{"system": MRN, "value": "7"}]}
    whole = encounter("e", "2020-03-01T10:00:00Z", "2020-03-04T10:00:00Z",
                      identifier=[{"system": MRN, "value": "9"}])  # fmt: skip
    inner = encounter("f", "2020-03-02T10:00:00Z", "2020-03-03T10:00:00Z")
    inner["partOf"] = {"reference": f"Encounter?identifier={MRN}|9"}
    inner["location"] = [{"location": {"identifier": {"system": MRN, "value": "7"}}}]
    hospital.take(
        bundle(
            ward,
            patient(),
            potassium("o", encounter={"reference": f"Encounter?identifier={MRN}|9"}),
            inner,
            whole,
        )
    )
    (stay,) = hospital.rows("stays")
    assert [row["unit"] for row in hospital.rows("movements")] == ["w"]
    assert {row["stay_id"] for row in hospital.rows("events")} == {stay["stay_id"]}


LOCAL = {"system": "urn:oid:1.2.3", "code": "K"}
LOINC = {"system": "http://loinc.org", "code": "2823-3"}
PULSE = {"system": "http://loinc.org", "code": "8867-4"}
FINE_PULSE = {"system": "http://loinc.org", "code": "76282-3"}
SNOMED = {"system": "http://snomed.info/sct", "code": "91302008"}
ICD = {"system": "http://fhir.de/CodeSystem/bfarm/icd-10-gm", "code": "A41.9"}


@pytest.mark.parametrize(
    ("codings", "code"),
    [
        ([LOCAL, LOINC], "LOINC//2823-3"),
        ([FINE_PULSE, PULSE], "LOINC//8867-4"),
        ([SNOMED, ICD], "ICD10GM//A41.9"),
        ([LOCAL, SNOMED], "SNOMED//91302008"),
    ],
)
def test_the_order_of_codings_has_no_meaning(codings, code):
    found = [
        rows_of(potassium("o", code={"coding": order}), zone="UTC")["events"][0]
        for order in (codings, codings[::-1])
    ]
    assert {row["code"] for row in found} == {code}
    assert found[0] == found[1]
    assert found[0]["attributes"][0]["key"] == "coding.2"


@pytest.mark.parametrize("prefer", ["1.2.3", "urn:oid:1.2.3", "SNOMED, 1.2.3"])
def test_a_site_orders_the_code_systems(hospital, prefer):
    hospital.take(potassium("o", code={"coding": [LOINC, LOCAL]}), patient(), prefer=prefer)
    assert [row["code"] for row in hospital.rows("events")] == ["1.2.3//K"]


def test_the_url_of_the_system_that_was_chosen_is_kept():
    local = {"system": "https://h.example/ward", "code": "K"}
    both = potassium("o", code={"coding": [LOINC, local]})
    row = rows_of(both, zone="UTC", context=Context(preferred=("https://h.example/ward",)))
    assert {"key": "code_system", "value": "https://h.example/ward"} in row["events"][0][
        "attributes"
    ]


@pytest.fixture(scope="module")
def bedside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codings")
    with served(new_hospital(folder).path, folder, NOW) as made:
        yield made


def _cards(bedside, sent):
    with bedside.bedside.state.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM cards")
    answer = bedside.post(SERVICE, call(prefetch(observations=searchset(sent))))
    return [(card["summary"], card["indicator"]) for card in answer.json()["cards"]]


@pytest.mark.parametrize("place", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("more", [LOCAL, SNOMED, FINE_PULSE], ids=["local", "SNOMED", "finer"])
def test_at_the_bedside_any_coding_gives_the_card(bedside, place, more):
    plain = _cards(bedside, observations())
    assert "critical" in {indicator for _, indicator in plain}
    sent = observations()
    for one in sent:
        one["code"]["coding"].insert(place, {**more, "code": f"{more['code']}-{one['id'][-4:]}"})
    assert _cards(bedside, sent) == plain


def test_saturation_under_the_code_of_the_profile_of_vital_signs_counts(bedside):
    sent = observations()
    (saturation,) = (one for one in sent if one["code"]["coding"][0]["code"] == "59408-5")
    plain = _cards(bedside, sent)
    saturation["code"]["coding"][0]["code"] = "2708-6"
    assert _cards(bedside, sent) == plain
