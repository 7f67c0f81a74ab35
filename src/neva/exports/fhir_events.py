"""Events as FHIR R4 resources: one writer for each kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from neva.events.schema import OPEN_END
from neva.sources.fhir.codes import SYSTEM_URLS, UNKNOWN, fhir_coding, is_fhir_code

__all__ = ["Resource", "compact", "event_resource", "resource_kind", "time_text"]

Resource = dict[str, Any]

_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_KIND_OF_ATTRIBUTE: Final = {
    "administration": "MedicationAdministration",
    "statement": "MedicationStatement",
    "immunization": "Immunization",
    "allergy": "AllergyIntolerance",
    "report": "DiagnosticReport",
}
_DRUG_SYSTEMS: Final = frozenset(("RxNorm", "ATC", "NDC", "RxNorm Extension"))
_DIAGNOSIS_SYSTEMS: Final = frozenset(("ICD10", "ICD10CM", "ICD10GM", "ICD9CM", "ICD11", "HPO"))
_PROCEDURE_SYSTEMS: Final = frozenset(("CPT4", "HCPCS", "ICD10PCS", "ICD9Proc", "OPS"))
# Status of a resource by status of the event, where the kinds have their own words.
_WORDS: Final = {
    "Observation": {"done": "final", "planned": "registered", "cancelled": "cancelled"},
    "DiagnosticReport": {"done": "final", "planned": "registered", "cancelled": "cancelled"},
    "Procedure": {"done": "completed", "planned": "preparation", "cancelled": "not-done"},
    "MedicationAdministration": {
        "done": "completed",
        "planned": "in-progress",
        "cancelled": "not-done",
    },
    "MedicationStatement": {
        "done": "active",
        "planned": "intended",
        "not-done": "not-taken",
        "cancelled": "not-taken",
    },
    "MedicationRequest": {
        "done": "active",
        "planned": "draft",
        "not-done": "active",
        "cancelled": "cancelled",
    },
    "ServiceRequest": {
        "done": "active",
        "planned": "draft",
        "not-done": "active",
        "cancelled": "revoked",
    },
    "Immunization": {"done": "completed", "cancelled": "not-done", "planned": "not-done"},
}
#: The status of what is not over.
_GOING_ON: Final = {
    "MedicationAdministration": "in-progress",
    "MedicationStatement": "active",
    "Procedure": "in-progress",
}
_ABSENT_TIME: Final = {
    "extension": [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
            "valueCode": "unknown",
        }
    ]
}


def resource_kind(code: str, attributes: Mapping[str, str]) -> str:
    """Tell as which type of resource an event is written; ``export_fhir`` says by what."""
    stated = attributes.get("kind")
    system = code.partition("//")[0]
    if stated == "order":
        return "MedicationRequest" if system in _DRUG_SYSTEMS else "ServiceRequest"
    if stated in _KIND_OF_ATTRIBUTE:
        return _KIND_OF_ATTRIBUTE[stated]
    if "clinical" in attributes or "verification" in attributes or system in _DIAGNOSIS_SYSTEMS:
        return "Condition"
    if system in _PROCEDURE_SYSTEMS:
        return "Procedure"
    if system in _DRUG_SYSTEMS:
        return "MedicationAdministration"
    return "Immunization" if system == "CVX" else "Observation"


def event_resource(
    event: Mapping[str, Any], displays: Mapping[str, str], zone: ZoneInfo
) -> Resource:
    """Write an event as a resource.

    Parameters
    ----------
    event : mapping
        A row of the events of a snapshot.
    displays : mapping of str to str
        What codes mean in words.
    zone : ZoneInfo
        The hospital's.
    """
    attributes = {pair["key"]: pair["value"] for pair in event["attributes"] or ()}
    kind = resource_kind(event["code"], attributes)
    concept = _concept(event["code"], attributes, displays)
    recorded = _recorded(event)
    return compact(
        {
            "resourceType": kind,
            "id": str(event["event_id"]),
            "meta": {"lastUpdated": recorded} if recorded else None,
            **_WRITERS.get(kind, _observation)(kind, event, attributes, concept, zone),
        }
    )


def compact(resource: Resource) -> Resource:
    """Leave out what is not known: null, and empty lists."""
    return {key: value for key, value in resource.items() if value is not None and value != []}


def time_text(time: datetime | None, precision: str | None, zone: ZoneInfo) -> str | None:
    """Write a time in the hospital's zone, or a date where no more is known."""
    if time is None:
        return None
    local = time.astimezone(zone)
    if precision == "day":
        return local.date().isoformat()
    # FHIR wants whole minutes in offsets; local mean times of old have seconds.
    if local.isoformat()[-3:-2] != ":" or len(local.isoformat().rsplit("+", 1)[-1]) > 5:
        local = time
    return local.isoformat()


def _coding(code: str, display: str | None = None) -> Resource:
    system, found, plain = code.partition("//")
    if not found:
        system, plain = "LOCAL", code
    url, plain = fhir_coding(system, plain)
    return compact({"system": url, "code": plain, "display": display})


def _concept(code: str, attributes: Mapping[str, str], displays: Mapping[str, str]) -> Resource:
    if code.startswith("FHIR-TEXT//"):
        return {"text": code.removeprefix("FHIR-TEXT//")}
    first = _coding(code, displays.get(code))
    if attributes.get("code_system") and is_fhir_code(code.partition("//")[2]):
        first["system"] = attributes["code_system"]
    others = [
        _coding(attributes[key], displays.get(attributes[key]))
        for key in sorted(attributes)
        if re.fullmatch(r"coding\.\d+", key)
    ]
    return {"coding": [first, *others]}


def _hl7(system: str, code: str) -> Resource:
    return {"coding": [{"system": f"http://terminology.hl7.org/CodeSystem/{system}", "code": code}]}


def _quantity(event: Mapping[str, Any]) -> Resource:
    unit = event["value_unit"]
    coded = unit is not None and is_fhir_code(unit)
    return compact(
        {
            "value": event["value"],
            "comparator": event["comparator"],
            "unit": unit,
            "system": SYSTEM_URLS["UCUM"] if coded else None,
            "code": unit if coded else None,
        }
    )


def _patient(event: Mapping[str, Any]) -> Resource:
    return {"reference": f"Patient/{event['subject_id']}"}


def _encounter(event: Mapping[str, Any]) -> Resource | None:
    return {"reference": f"Encounter/{event['stay_id']}"} if event["stay_id"] else None


def _recorded(event: Mapping[str, Any]) -> str | None:
    return None if event["recorded_assumed"] else event["recorded"].isoformat()


def _reason(event: Mapping[str, Any]) -> Resource | None:
    return {"coding": [_coding(event["reason"])]} if event["reason"] else None


def _status(kind: str, event: Mapping[str, Any]) -> str:
    """Say the status in the words of the kind."""
    status: str = _WORDS.get(kind, {}).get(event["status"], event["status"])
    if event["end_time"] == OPEN_END and status == "completed":
        return _GOING_ON.get(kind, status)
    return status


def _begin(event: Mapping[str, Any], zone: ZoneInfo) -> str | None:
    return time_text(event["time"], event["precision"], zone)


def _end(event: Mapping[str, Any], zone: ZoneInfo) -> str | None:
    if event["end_time"] == OPEN_END:
        return None
    return time_text(event["end_time"], event["precision"], zone)


def _when(
    stem: str,
    event: Mapping[str, Any],
    attributes: Mapping[str, str],
    zone: ZoneInfo,
    *,
    has_period: bool = True,
) -> Resource:
    """Write the time of an event, or its period where the kind has one."""
    begin, end = _begin(event, zone), _end(event, zone)
    if begin is None:
        partial = attributes.get("partial_time")
        if partial not in (None, UNKNOWN):
            return {f"{stem}DateTime": partial}
        return {f"_{stem}DateTime": _ABSENT_TIME}
    if event["end_time"] == OPEN_END and has_period:
        return {f"{stem}Period": {"start": begin}}
    if end is not None and has_period:
        return {f"{stem}Period": {"start": begin, "end": end}}
    return {f"{stem}DateTime": begin}


def _verification(system: str, event: Mapping[str, Any], attributes: Mapping[str, str]) -> Resource:
    refuted = event["status"] == "not-done"
    return _hl7(system, "refuted" if refuted else attributes.get("verification", "confirmed"))


def _condition(
    kind: str,  # noqa: ARG001
    event: Mapping[str, Any],
    attributes: Mapping[str, str],
    concept: Resource,
    zone: ZoneInfo,
) -> Resource:
    end = _end(event, zone)
    # The standard forbids a clinical status beside "entered-in-error" only.
    clinical = attributes.get("clinical") or ("resolved" if end else "active")
    return {
        "clinicalStatus": _hl7("condition-clinical", clinical),
        "verificationStatus": _verification("condition-ver-status", event, attributes),
        "code": concept,
        "subject": _patient(event),
        "encounter": _encounter(event),
        **_when("onset", event, attributes, zone, has_period=False),
        "abatementDateTime": end,
        "recordedDate": _recorded(event),
    }


def _allergy(
    kind: str,  # noqa: ARG001
    event: Mapping[str, Any],
    attributes: Mapping[str, str],
    concept: Resource,
    zone: ZoneInfo,
) -> Resource:
    return {
        "clinicalStatus": _hl7("allergyintolerance-clinical", attributes.get("clinical", "active")),
        "verificationStatus": _verification("allergyintolerance-verification", event, attributes),
        "criticality": attributes.get("criticality"),
        "code": concept,
        "patient": _patient(event),
        "encounter": _encounter(event),
        **_when("onset", event, attributes, zone),
        "recordedDate": _recorded(event),
    }


def _request(
    kind: str,
    event: Mapping[str, Any],
    attributes: Mapping[str, str],
    concept: Resource,
    zone: ZoneInfo,
) -> Resource:
    begin, partial = _begin(event, zone), attributes.get("partial_time")
    reason = _reason(event)
    return {
        "status": _status(kind, event),
        "intent": attributes.get("intent", "order"),
        "doNotPerform": True if event["status"] == "not-done" else None,
        "medicationCodeableConcept" if kind == "MedicationRequest" else "code": concept,
        "subject": _patient(event),
        "encounter": _encounter(event),
        "authoredOn": begin or (partial if partial != UNKNOWN else None),
        "_authoredOn": None if begin or partial not in (None, UNKNOWN) else _ABSENT_TIME,
        "reasonCode": [reason] if reason else None,
    }


def _medication(
    kind: str,
    event: Mapping[str, Any],
    attributes: Mapping[str, str],
    concept: Resource,
    zone: ZoneInfo,
) -> Resource:
    given = kind == "MedicationAdministration"
    reason = _reason(event)
    return {
        "status": _status(kind, event),
        "statusReason": [reason] if reason else None,
        "medicationCodeableConcept": concept,
        "subject": _patient(event),
        "context": _encounter(event),
        **_when("effective", event, attributes, zone),
        "dateAsserted": None if given else _recorded(event),
        "dosage": {"dose": _quantity(event)} if given and event["value"] is not None else None,
    }


def _immunization(
    kind: str,
    event: Mapping[str, Any],
    attributes: Mapping[str, str],
    concept: Resource,
    zone: ZoneInfo,
) -> Resource:
    return {
        "status": _status(kind, event),
        "statusReason": _reason(event),
        "vaccineCode": concept,
        "patient": _patient(event),
        "encounter": _encounter(event),
        **_when("occurrence", event, attributes, zone, has_period=False),
        "recorded": _recorded(event),
    }


def _procedure(
    kind: str,
    event: Mapping[str, Any],
    attributes: Mapping[str, str],
    concept: Resource,
    zone: ZoneInfo,
) -> Resource:
    return {
        "status": _status(kind, event),
        "statusReason": _reason(event),
        "code": concept,
        "subject": _patient(event),
        "encounter": _encounter(event),
        **_when("performed", event, attributes, zone),
    }


def _report(
    kind: str,
    event: Mapping[str, Any],
    attributes: Mapping[str, str],
    concept: Resource,
    zone: ZoneInfo,
) -> Resource:
    status = _status(kind, event)
    return {
        "status": "final" if status == "not-done" else status,
        "code": concept,
        "subject": _patient(event),
        "encounter": _encounter(event),
        **_when("effective", event, attributes, zone),
        "issued": _recorded(event),
        "conclusion": event["text"],
    }


def _observation(
    kind: str,
    event: Mapping[str, Any],
    attributes: Mapping[str, str],
    concept: Resource,
    zone: ZoneInfo,
) -> Resource:
    is_absent = event["status"] == "not-done"
    has_value = event["value"] is not None
    not_performed = {"coding": [{"system": _ABSENT, "code": "not-performed"}]}
    return {
        "status": "final" if is_absent else _status(kind, event),
        "code": concept,
        "subject": _patient(event),
        "encounter": _encounter(event),
        **_when("effective", event, attributes, zone),
        "issued": _recorded(event),
        "valueQuantity": _quantity(event) if has_value else None,
        "valueString": None if has_value else event["text"],
        "note": [{"text": event["text"]}] if event["text"] is not None and has_value else None,
        "dataAbsentReason": (_reason(event) or not_performed) if is_absent else None,
    }


_Writer = Callable[
    [str, Mapping[str, Any], Mapping[str, str], Resource, ZoneInfo],
    Resource,
]
#: Other kinds are observations.
_WRITERS: Final[Mapping[str, _Writer]] = {
    "Condition": _condition,
    "AllergyIntolerance": _allergy,
    "MedicationRequest": _request,
    "ServiceRequest": _request,
    "MedicationAdministration": _medication,
    "MedicationStatement": _medication,
    "Immunization": _immunization,
    "Procedure": _procedure,
    "DiagnosticReport": _report,
}
