"""Every kind of event as a FHIR resource: what is said of it, and what is left out."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from neva.events.schema import OPEN_END
from neva.exports.fhir_events import event_resource

AT, END, KNOWN = (datetime(2020, 3, 1, hour, tzinfo=UTC) for hour in (8, 9, 10))
ZONE = ZoneInfo("Europe/Berlin")
PATIENT, ENCOUNTER = {"reference": "Patient/7"}, {"reference": "Encounter/5"}
REASON = {"coding": [{"system": "http://snomed.info/sct", "code": "1"}]}
DAY = {"start": "2020-03-01T09:00:00+01:00", "end": "2020-03-01T10:00:00+01:00"}


def written(code, attributes=None, **changes):
    """Write an event, without what all kinds have in common."""
    event = {
        "event_id": 3, "subject_id": 7, "stay_id": 5, "time": AT, "end_time": None,
        "precision": "instant", "recorded": KNOWN, "recorded_assumed": False, "code": code,
        "value": None, "comparator": None, "value_unit": None, "text": None, "status": "done",
        "reason": None, "rank": None,
        "attributes": [{"key": key, "value": value} for key, value in (attributes or {}).items()],
    }  # fmt: skip
    resource = event_resource({**event, **changes}, {}, ZONE)
    assert resource.pop("id") == "3"
    assert resource.pop("meta") == {"lastUpdated": "2020-03-01T10:00:00+00:00"}
    return resource


def concept(system, code):
    return {"coding": [{"system": system, "code": code}]}


ICD = "http://hl7.org/fhir/sid/icd-10"


def test_a_condition_ends_and_may_be_refuted():
    found = written("ICD10//I10", end_time=END, status="not-done")
    assert found["resourceType"] == "Condition"
    assert found["clinicalStatus"]["coding"][0]["code"] == "resolved"
    assert found["verificationStatus"]["coding"][0]["code"] == "refuted"
    assert found["onsetDateTime"] == DAY["start"]
    assert found["abatementDateTime"] == DAY["end"]
    assert found["code"] == concept(ICD, "I10")
    assert (found["subject"], found["encounter"]) == (PATIENT, ENCOUNTER)


def test_an_allergy_names_its_patient_and_its_criticality():
    attributes = {"kind": "allergy", "criticality": "high"}
    found = written("ATC//J01C", attributes, end_time=OPEN_END)
    assert found["resourceType"] == "AllergyIntolerance"
    assert found["criticality"] == "high"
    assert found["clinicalStatus"]["coding"][0]["code"] == "active"
    assert found["verificationStatus"]["coding"][0]["code"] == "confirmed"
    assert found["onsetPeriod"] == {"start": DAY["start"]}
    assert found["patient"] == PATIENT
    assert "status" not in found


@pytest.mark.parametrize(
    ("code", "kind", "field"),
    [
        ("ATC//B01", "MedicationRequest", "medicationCodeableConcept"),
        ("LOINC//1-8", "ServiceRequest", "code"),
    ],
)
def test_an_order_is_of_a_drug_or_of_a_service(code, kind, field):
    found = written(code, {"kind": "order"}, status="not-done", reason="SNOMED//1")
    assert found["resourceType"] == kind
    assert found[field]["coding"][0]["code"] == code.partition("//")[2]
    assert (found["status"], found["intent"]) == ("active", "order")
    assert found["doNotPerform"] is True
    assert found["authoredOn"] == DAY["start"]
    assert found["reasonCode"] == [REASON]


def test_an_order_without_a_time_says_so():
    absent = written("ATC//B01", {"kind": "order"}, time=None, precision="none")
    assert "authoredOn" not in absent
    assert absent["_authoredOn"]["extension"][0]["valueCode"] == "unknown"
    partial = written("ATC//B01", {"kind": "order", "partial_time": "2020-03"}, time=None)
    assert partial["authoredOn"] == "2020-03"
    assert "_authoredOn" not in partial


def test_a_drug_that_is_given_has_a_dose_and_one_that_is_told_of_when_it_was_asserted():
    dose = {"value": 5.0, "value_unit": "mg"}
    given = written("ATC//B01", {"kind": "administration"}, end_time=OPEN_END, **dose)
    assert given["resourceType"] == "MedicationAdministration"
    assert given["status"] == "in-progress"
    assert given["effectivePeriod"] == {"start": DAY["start"]}
    assert given["context"] == ENCOUNTER
    assert given["dosage"]["dose"]["value"] == 5.0
    told = written("ATC//B01", {"kind": "statement"}, end_time=END, **dose)
    assert told["resourceType"] == "MedicationStatement"
    assert (told["status"], told["effectivePeriod"]) == ("active", DAY)
    assert told["dateAsserted"] == KNOWN.isoformat()
    assert "dosage" not in told


def test_a_vaccination_has_one_reason_and_no_period():
    found = written("CVX//207", end_time=END, status="cancelled", reason="SNOMED//1")
    assert found["resourceType"] == "Immunization"
    assert (found["status"], found["statusReason"]) == ("not-done", REASON)
    assert found["occurrenceDateTime"] == DAY["start"]
    assert (found["patient"], found["recorded"]) == (PATIENT, KNOWN.isoformat())


def test_a_procedure_goes_on_or_is_over():
    assert written("OPS//8-930", end_time=OPEN_END)["status"] == "in-progress"
    found = written("OPS//8-930", end_time=END)
    assert (found["status"], found["performedPeriod"]) == ("completed", DAY)


def test_a_report_has_its_conclusion():
    found = written("LOINC//24627-2", {"kind": "report"}, text="clear", status="not-done")
    assert found["resourceType"] == "DiagnosticReport"
    assert (found["status"], found["conclusion"]) == ("final", "clear")


def test_an_observation_has_a_value_or_a_text_or_says_why_not():
    both = written("LOINC//2345-7", value=5.5, value_unit="mmol/L", text="venous")
    assert both["valueQuantity"]["value"] == 5.5
    assert both["note"] == [{"text": "venous"}]
    assert "valueString" not in both
    assert written("LOINC//2345-7", text="high")["valueString"] == "high"
    absent = written("LOINC//2345-7", status="not-done")
    assert absent["status"] == "final"
    assert absent["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
    assert written("LOINC//2345-7", status="not-done", reason="SNOMED//1")["dataAbsentReason"] == (
        REASON
    )


def test_a_time_of_which_only_a_part_is_known_is_written_as_it_is():
    found = written("LOINC//2345-7", {"partial_time": "2020"}, time=None, text="high")
    assert found["effectiveDateTime"] == "2020"
    unknown = written("LOINC//2345-7", time=None, text="high")
    assert unknown["_effectiveDateTime"]["extension"][0]["valueCode"] == "unknown"
