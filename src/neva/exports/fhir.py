"""The hospital as FHIR R4 resources, one file of NDJSON per kind."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO
from zoneinfo import ZoneInfo

import polars as pl

from neva.events.clock import zone_named
from neva.events.schema import OPEN_END
from neva.exports.rows import BATCH, Exported, Snapshot, events_by_subject, replacing
from neva.sources.fhir.codes import SYSTEM_URLS, UNKNOWN, fhir_coding, is_fhir_code

__all__ = ["export_fhir", "resource_kind"]

Resource = dict[str, Any]

_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_CLASS_BY_KIND: Final = {
    "inpatient": "IMP",
    "outpatient": "AMB",
    "emergency": "EMER",
    "day": "SS",
    "virtual": "VR",
    "observation": "OBSENC",
}
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
_VISIT: Final = "FHIR//encounter"
# Events that only say what the Patient resource has a field for.
_PERSON_FACTS: Final = ("FHIR//birth-year", "FHIR//deceased", "OMOP//birth-year")
_FHIR_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_COLUMNS: Final = (
    "event_id",
    "subject_id",
    "stay_id",
    "time",
    "end_time",
    "precision",
    "recorded",
    "recorded_assumed",
    "code",
    "value",
    "comparator",
    "value_unit",
    "text",
    "status",
    "reason",
    "rank",
    "attributes",
)


def export_fhir(
    snapshot: Snapshot, destination: Path | str, *, overwrite: bool = False
) -> Exported:
    """Write a folder of NDJSON files, as a bulk export has them.

    Parameters
    ----------
    snapshot : Snapshot
    destination : path
        The folder to make.
    overwrite : bool
        Replace a folder of that name.

    Returns
    -------
    Exported
        Resources per type.

    Raises
    ------
    neva.errors.ConflictError, neva.errors.NotFoundError
        The destination exists, or its parent does not.

    Notes
    -----
    The store does not keep what kind of resource an event was. It is told from
    the attribute ``kind``, else from the code system (ICD: Condition; CPT4,
    HCPCS, OPS: Procedure; RxNorm, ATC, NDC: MedicationAdministration; CVX:
    Immunization), else it is an Observation. Components of an observation are
    observations of their own. Code systems without a known URL are written
    under ``https://neva.invalid/CodeSystem/``, a name that resolves nowhere; codes
    that FHIR's type ``code`` cannot hold (two spaces in a row) are written there
    percent-encoded, and read back as they were.
    """
    rows: dict[str, int] = {}
    zone = zone_named(snapshot.zone)
    displays = dict(
        snapshot.codes()
        .select("code", "description")
        .drop_nulls()
        .collect(engine="streaming")
        .iter_rows()
    )
    with replacing(destination, overwrite=overwrite, folder=True) as folder, ExitStack() as stack:
        files: dict[str, TextIO] = {}

        def write(resource: Resource) -> None:
            kind = resource["resourceType"]
            if kind not in files:
                files[kind] = stack.enter_context(
                    (folder / f"{kind}.ndjson").open("w", encoding="utf-8", newline="\n")
                )
            json.dump(resource, files[kind], ensure_ascii=False, separators=(",", ":"))
            files[kind].write("\n")
            rows[kind] = rows.get(kind, 0) + 1

        for unit in _frame_rows(snapshot.units()):
            write(_location(unit))
        facts = _person_facts(snapshot)
        for subject in _frame_rows(snapshot.subjects()):
            write(_patient(subject, facts.get(subject["subject_id"], {}), zone))
        movements = (
            snapshot.movements()
            .filter(pl.col("stay_id").is_not_null())
            .sort("stay_id", "start", "movement_id")
            .collect(engine="streaming")
            .partition_by("stay_id", as_dict=True)
        )
        for stay in _frame_rows(snapshot.stays()):
            own = movements.get((stay["stay_id"],))
            write(_encounter(stay, own.to_dicts() if own is not None else [], zone))
        for events in events_by_subject(snapshot, BATCH // 5):
            for event in events.select(_COLUMNS).iter_rows(named=True):
                if event["code"] == _VISIT:
                    write(_planned_encounter(event, zone))
                elif event["code"] not in _PERSON_FACTS:
                    write(_resource(event, displays, zone))
    return Exported(Path(destination), "fhir", rows)


def _frame_rows(frame: pl.LazyFrame) -> Iterator[dict[str, Any]]:
    for part in frame.collect_batches(chunk_size=BATCH):
        yield from part.iter_rows(named=True)


def location_id(unit: str) -> str:
    """Give the id of a unit's Location: the unit where FHIR allows it, else a hash of it.

    >>> location_id("ICU-1"), location_id("Cardiac Surgery")
    ('ICU-1', 'unit-1fe94501b233b333')
    """
    if _FHIR_ID.fullmatch(unit):
        return unit
    return "unit-" + hashlib.sha256(unit.encode()).hexdigest()[:16]


def _compact(resource: Resource) -> Resource:
    return {key: value for key, value in resource.items() if value is not None and value != []}


def _location(unit: Mapping[str, Any]) -> Resource:
    return _compact(
        {
            "resourceType": "Location",
            "id": location_id(unit["unit"]),
            "status": "active",
            "name": unit["name"] or unit["unit"],
            "mode": "instance",
            "partOf": {"reference": f"Location/{location_id(unit['parent'])}"}
            if unit["parent"]
            else None,
        }
    )


def _person_facts(snapshot: Snapshot) -> dict[int, dict[str, Any]]:
    """Facts that stand in the Patient: by subject, code to value."""
    events = (
        snapshot.events()
        .filter(pl.col("code").is_in(_PERSON_FACTS))
        .select("subject_id", "code", "value", "text")
        .collect(engine="streaming")
    )
    facts: dict[int, dict[str, Any]] = {}
    for subject, code, value, text in events.iter_rows():
        facts.setdefault(subject, {})[code] = value if value is not None else text
    return facts


def _patient(subject: Mapping[str, Any], facts: Mapping[str, Any], zone: ZoneInfo) -> Resource:
    born = subject["birth_date"].isoformat() if subject["birth_date"] else None
    year = facts.get("FHIR//birth-year", facts.get("OMOP//birth-year"))
    died = _fhir_time(subject["death"], subject["death_precision"], zone)
    is_dead = "FHIR//deceased" in facts and died is None
    return _compact(
        {
            "resourceType": "Patient",
            "id": str(subject["subject_id"]),
            "gender": subject["sex"],
            "birthDate": born or (f"{int(year):04}" if year else None),
            "deceasedDateTime": died or facts.get("FHIR//deceased"),
            "deceasedBoolean": True if is_dead and not facts["FHIR//deceased"] else None,
        }
    )


def _planned_encounter(event: Mapping[str, Any], zone: ZoneInfo) -> Resource:
    """Write a visit that was planned or cancelled: it is no stay."""
    start = _fhir_time(event["time"], event["precision"], zone)
    return _compact(
        {
            "resourceType": "Encounter",
            "id": str(event["stay_id"] or event["event_id"]),
            "status": event["status"],
            "class": {"display": "unknown"},
            "subject": {"reference": f"Patient/{event['subject_id']}"},
            "period": {"start": start} if start else None,
        }
    )


def _encounter(
    stay: Mapping[str, Any], movements: list[dict[str, Any]], zone: ZoneInfo
) -> Resource:
    precision = stay["precision"]
    code = _CLASS_BY_KIND.get(stay["kind"] or "")
    visit = _compact(
        {
            "admitSource": {"text": stay["source"]} if stay["source"] else None,
            "dischargeDisposition": {"text": stay["outcome"]} if stay["outcome"] else None,
        }
    )
    return _compact(
        {
            "resourceType": "Encounter",
            "id": str(stay["stay_id"]),
            "status": "finished" if stay["end"] else "in-progress",
            "class": {
                "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
                "code": code,
            }
            if code
            else {"display": stay["kind"] or "unknown"},
            "subject": {"reference": f"Patient/{stay['subject_id']}"},
            "period": _span(stay["start"], stay["end"], precision, zone),
            "hospitalization": visit or None,
            "location": [
                part for movement in movements for part in _encounter_location(movement, zone)
            ],
        }
    )


def _encounter_location(movement: Mapping[str, Any], zone: ZoneInfo) -> Iterator[Resource]:
    shared = {
        "status": "completed" if movement["end"] else "active",
        "period": _span(movement["start"], movement["end"], movement["precision"], zone),
    }
    unit = movement["unit"]
    yield {
        "location": {"reference": f"Location/{location_id(unit)}", "display": unit}
        if unit
        else {"display": "unknown"},
        **shared,
    }
    if movement["bed"]:
        yield {
            "location": {"display": movement["bed"]},
            **shared,
            "physicalType": {
                "coding": [
                    {
                        "system": "http://terminology.hl7.org/CodeSystem/location-physical-type",
                        "code": "bd",
                    }
                ]
            },
        }


def _fhir_time(time: datetime | None, precision: str | None, zone: ZoneInfo) -> str | None:
    if time is None:
        return None
    local = time.astimezone(zone)
    if precision == "day":
        return local.date().isoformat()
    # FHIR wants whole minutes in offsets; local mean times of old have seconds.
    if local.isoformat()[-3:-2] != ":" or len(local.isoformat().rsplit("+", 1)[-1]) > 5:
        local = time
    return local.isoformat()


def _span(
    start: datetime | None, end: datetime | None, precision: str | None, zone: ZoneInfo
) -> Resource:
    return _compact(
        {"start": _fhir_time(start, precision, zone), "end": _fhir_time(end, precision, zone)}
    )


def _coding(code: str, display: str | None = None) -> Resource:
    system, found, plain = code.partition("//")
    if not found:
        system, plain = "LOCAL", code
    url, plain = fhir_coding(system, plain)
    return _compact({"system": url, "code": plain, "display": display})


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


def resource_kind(code: str, attributes: Mapping[str, str]) -> str:
    """Tell as which type of resource an event is written; see :func:`export_fhir`."""
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


def _resource(event: Mapping[str, Any], displays: Mapping[str, str], zone: ZoneInfo) -> Resource:
    attributes = {pair["key"]: pair["value"] for pair in event["attributes"] or ()}
    kind = resource_kind(event["code"], attributes)
    patient = {"reference": f"Patient/{event['subject_id']}"}
    encounter = {"reference": f"Encounter/{event['stay_id']}"} if event["stay_id"] else None
    concept = _concept(event["code"], attributes, displays)
    recorded = None if event["recorded_assumed"] else event["recorded"].isoformat()
    status = _WORDS.get(kind, {}).get(event["status"], event["status"])
    if event["end_time"] == OPEN_END and status == "completed":
        status = _GOING_ON.get(kind, status)
    resource: Resource = {
        "resourceType": kind,
        "id": str(event["event_id"]),
        "meta": {"lastUpdated": recorded} if recorded else None,
    }
    begin = _fhir_time(event["time"], event["precision"], zone)
    is_open = event["end_time"] == OPEN_END
    end = None if is_open else _fhir_time(event["end_time"], event["precision"], zone)
    partial = attributes.get("partial_time")

    def when(stem: str, *, has_period: bool = True) -> Resource:
        if begin is None:
            if partial not in (None, UNKNOWN):
                return {f"{stem}DateTime": partial}
            return {f"_{stem}DateTime": _ABSENT_TIME}
        if is_open and has_period:
            return {f"{stem}Period": {"start": begin}}
        if end is not None and has_period:
            return {f"{stem}Period": {"start": begin, "end": end}}
        return {f"{stem}DateTime": begin}

    reason = {"coding": [_coding(event["reason"])]} if event["reason"] else None
    if kind == "Condition":
        refuted = event["status"] == "not-done"
        # The standard forbids a clinical status beside "entered-in-error" only.
        clinical = attributes.get("clinical") or ("resolved" if end else "active")
        resource |= {
            "clinicalStatus": _hl7("condition-clinical", clinical),
            "verificationStatus": _hl7(
                "condition-ver-status",
                "refuted" if refuted else attributes.get("verification", "confirmed"),
            ),
            "code": concept,
            "subject": patient,
            "encounter": encounter,
            **when("onset", has_period=False),
            "abatementDateTime": end,
            "recordedDate": recorded,
        }
    elif kind == "AllergyIntolerance":
        resource |= {
            "clinicalStatus": _hl7(
                "allergyintolerance-clinical", attributes.get("clinical", "active")
            ),
            "verificationStatus": _hl7(
                "allergyintolerance-verification",
                "refuted"
                if event["status"] == "not-done"
                else attributes.get("verification", "confirmed"),
            ),
            "criticality": attributes.get("criticality"),
            "code": concept,
            "patient": patient,
            "encounter": encounter,
            **when("onset"),
            "recordedDate": recorded,
        }
    elif kind in ("MedicationRequest", "ServiceRequest"):
        drug = kind == "MedicationRequest"
        resource |= {
            "status": status,
            "intent": attributes.get("intent", "order"),
            "doNotPerform": True if event["status"] == "not-done" else None,
            "medicationCodeableConcept" if drug else "code": concept,
            "subject": patient,
            "encounter": encounter,
            "authoredOn": begin or (partial if partial != UNKNOWN else None),
            "_authoredOn": None if begin or partial not in (None, UNKNOWN) else _ABSENT_TIME,
            "reasonCode": [reason] if reason else None,
        }
    elif kind in ("MedicationAdministration", "MedicationStatement"):
        given = kind == "MedicationAdministration"
        resource |= {
            "status": status,
            "statusReason": [reason] if reason else None,
            "medicationCodeableConcept": concept,
            "subject": patient,
            "context": encounter,
            **when("effective"),
            "dateAsserted": None if given else recorded,
            "dosage": {"dose": _quantity(event)} if given and event["value"] is not None else None,
        }
    elif kind == "Immunization":
        resource |= {
            "status": status,
            "statusReason": reason,
            "vaccineCode": concept,
            "patient": patient,
            "encounter": encounter,
            **when("occurrence", has_period=False),
            "recorded": recorded,
        }
    elif kind == "Procedure":
        resource |= {
            "status": status,
            "statusReason": reason,
            "code": concept,
            "subject": patient,
            "encounter": encounter,
            **when("performed"),
        }
    elif kind == "DiagnosticReport":
        resource |= {
            "status": "final" if status == "not-done" else status,
            "code": concept,
            "subject": patient,
            "encounter": encounter,
            **when("effective"),
            "issued": recorded,
            "conclusion": event["text"],
        }
    else:
        is_absent = event["status"] == "not-done"
        resource |= {
            "status": "final" if is_absent else status,
            "code": concept,
            "subject": patient,
            "encounter": encounter,
            **when("effective"),
            "issued": recorded,
            "valueQuantity": _quantity(event) if event["value"] is not None else None,
            "valueString": event["text"] if event["value"] is None else None,
            "note": [{"text": event["text"]}]
            if event["text"] is not None and event["value"] is not None
            else None,
            "dataAbsentReason": (
                reason or {"coding": [{"system": _ABSENT, "code": "not-performed"}]}
            )
            if is_absent
            else None,
        }
    return _compact(resource)


_ABSENT_TIME: Final = {
    "extension": [
        {
            "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
            "valueCode": "unknown",
        }
    ]
}


#: The status of what is not over.
_GOING_ON: Final = {
    "MedicationAdministration": "in-progress",
    "MedicationStatement": "active",
    "Procedure": "in-progress",
}


def _hl7(system: str, code: str) -> Resource:
    return {"coding": [{"system": f"http://terminology.hl7.org/CodeSystem/{system}", "code": code}]}


def _quantity(event: Mapping[str, Any]) -> Resource:
    unit = event["value_unit"]
    coded = unit is not None and is_fhir_code(unit)
    return _compact(
        {
            "value": event["value"],
            "comparator": event["comparator"],
            "unit": unit,
            "system": SYSTEM_URLS["UCUM"] if coded else None,
            "code": unit if coded else None,
        }
    )
