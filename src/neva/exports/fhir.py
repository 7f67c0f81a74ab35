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
from neva.exports.fhir_events import Resource, compact, event_resource, time_text
from neva.exports.rows import BATCH, EVENT_COLUMNS, Exported, Snapshot, events_by_subject, replacing

__all__ = ["export_fhir"]

_CLASS_BY_KIND: Final = {
    "inpatient": "IMP",
    "outpatient": "AMB",
    "emergency": "EMER",
    "day": "SS",
    "virtual": "VR",
    "observation": "OBSENC",
}
_VISIT: Final = "FHIR//encounter"
# Events that only say what the Patient resource has a field for.
_PERSON_FACTS: Final = ("FHIR//birth-year", "FHIR//deceased", "OMOP//birth-year")
_FHIR_ID: Final = re.compile(r"[A-Za-z0-9\-.]{1,64}")


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
            for event in events.select(EVENT_COLUMNS).iter_rows(named=True):
                if event["code"] == _VISIT:
                    write(_planned_encounter(event, zone))
                elif event["code"] not in _PERSON_FACTS:
                    write(event_resource(event, displays, zone))
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


def _location(unit: Mapping[str, Any]) -> Resource:
    return compact(
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
    died = time_text(subject["death"], subject["death_precision"], zone)
    is_dead = "FHIR//deceased" in facts and died is None
    return compact(
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
    start = time_text(event["time"], event["precision"], zone)
    return compact(
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
    visit = compact(
        {
            "admitSource": {"text": stay["source"]} if stay["source"] else None,
            "dischargeDisposition": {"text": stay["outcome"]} if stay["outcome"] else None,
        }
    )
    return compact(
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


def _span(
    start: datetime | None, end: datetime | None, precision: str | None, zone: ZoneInfo
) -> Resource:
    return compact(
        {"start": time_text(start, precision, zone), "end": time_text(end, precision, zone)}
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
