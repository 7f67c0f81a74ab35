"""FHIR persons and places as rows: Patient, Encounter, Location."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

from neva.events.clock import first_moment
from neva.sources.fhir_codes import moment, text_of
from neva.sources.fhir_reading import Reading, RefusedError, Resource, RowsByTable

__all__ = ["encounter_rows", "location_rows", "patient_rows"]

_KIND_BY_CLASS: Final = {
    "AMB": "outpatient",
    "HH": "outpatient",
    "FLD": "emergency",
    "EMER": "emergency",
    "IMP": "inpatient",
    "ACUTE": "inpatient",
    "NONAC": "inpatient",
    "OBSENC": "observation",
    "SS": "day",
    "VR": "virtual",
}
_UNIT_KIND_BY_TYPE: Final = {
    "ER": "ed",
    "ETU": "ed",
    "ICU": "icu",
    "PEDICU": "icu",
    "PEDNICU": "icu",
    "CCU": "icu",
    "HU": "ward",
    "OR": "theatre",
    "OF": "clinic",
}


def patient_rows(patient: Resource, reading: Reading) -> RowsByTable:
    """Read a subject, and what is known of it without a date."""
    born = patient.get("birthDate")
    birth_date = None
    events: list[dict[str, Any]] = []
    known: datetime | None = None
    if born is not None:
        read = moment(born, reading.zone)
        if read.reason is not None:
            raise RefusedError("birthDate", read.reason, "subjects")
        if read.partial is None:
            birth_date = date.fromisoformat(born)
            known = first_moment(birth_date, reading.zone)
        else:
            year = int(read.partial[:4])
            known = first_moment(date(year, 1, 1), reading.zone)
            events.append(
                {
                    **_timeless(patient, known),
                    "code": "FHIR//birth-year",
                    "value": float(year),
                    "row_id": f"{patient['id']}#birth-year",
                }
            )
    death = moment(patient.get("deceasedDateTime"), reading.zone)
    if death.reason is not None:
        raise RefusedError("deceasedDateTime", death.reason, "subjects")
    if patient.get("deceasedBoolean") is True or death.partial is not None:
        events.append(
            {
                **_timeless(patient, reading.updated(patient)),
                "code": "FHIR//deceased",
                "text": death.partial,
                "row_id": f"{patient['id']}#deceased",
            }
        )
    subject = {
        "subject": patient["id"],
        "birth_date": birth_date,
        "sex": patient.get("gender") or "unknown",
        "death": death.time,
        "death_precision": death.precision,
        "row_id": patient["id"],
        "recorded": known,
        "recorded_assumed": True,
    }
    return {"subjects": [subject], "events": events}


def _timeless(patient: Resource, known: datetime | None) -> dict[str, Any]:
    return {
        "subject": patient["id"],
        "precision": "none",
        "status": "done",
        "sequence": 0,
        "recorded": known,
        "recorded_assumed": True,
    }


def encounter_rows(encounter: Resource, reading: Reading) -> RowsByTable:
    """Read a stay and its movements; an event where nobody came."""
    subject = reading.subject(encounter, "stays")
    status = encounter.get("status")
    span = encounter.get("period") or {}
    start, end = moment(span.get("start"), reading.zone), moment(span.get("end"), reading.zone)
    for name, read in (("period.start", start), ("period.end", end)):
        if read.reason is not None:
            raise RefusedError(name, read.reason, "stays")
    if status in ("planned", "cancelled"):
        # Not a stay: nobody came (yet). Kept as an event.
        return {
            "events": [
                {
                    "subject": subject,
                    "stay": encounter["id"],
                    "time": start.time,
                    "precision": start.precision if start.time else "none",
                    "code": "FHIR//encounter",
                    "status": status,
                    "sequence": 0,
                    "row_id": encounter["id"],
                    "recorded": reading.updated(encounter) or start.time,
                    "recorded_assumed": reading.updated(encounter) is None,
                }
            ]
        }
    if start.time is None:
        raise RefusedError("period.start", "time-missing", "stays")
    kind = encounter.get("class") or {}
    if isinstance(kind, list):  # R5
        kind = ((kind[0] if kind else {}).get("coding") or [{}])[0]
    visit = encounter.get("hospitalization") or encounter.get("admission") or {}
    retracted = reading.retracted(encounter, status)
    shared = {"subject": subject, "recorded": start.time, "recorded_assumed": True}
    stay = {
        **shared,
        "stay": encounter["id"],
        "start": start.time,
        "end": end.time,
        "precision": start.precision,
        "kind": _KIND_BY_CLASS.get(kind.get("code", "")),
        "source": text_of(visit.get("admitSource")),
        "outcome": text_of(visit.get("dischargeDisposition")),
        "row_id": encounter["id"],
        "retracted": retracted,
    }
    movements: list[dict[str, Any]] = []
    quarantine: list[dict[str, Any]] = []
    places = encounter.get("location") or []
    for position, place in enumerate(places):
        if place.get("status") in ("planned", "reserved"):
            continue
        during = place.get("period") or (span if len(places) == 1 else {})
        begin = moment(during.get("start"), reading.zone)
        finish = moment(during.get("end"), reading.zone)
        reason = begin.reason or finish.reason or (None if begin.time else "time-missing")
        if reason is not None:
            quarantine.append(
                {"table": "movements", "field": f"location[{position}].period", "reason": reason}
            )
            continue
        unit, bed = _unit_and_bed(place, reading)
        movements.append(
            {
                **shared,
                "stay": encounter["id"],
                "start": begin.time,
                "end": finish.time,
                "precision": begin.precision,
                "unit": unit,
                "bed": bed,
                "row_id": f"{encounter['id']}#{position}",
                "recorded": begin.time,
                "retracted": retracted,
            }
        )
    return {"stays": [stay], "movements": _with_beds(movements), "quarantine": quarantine}


def _physical(place: Resource) -> str | None:
    for each in (place.get("physicalType") or place.get("form") or {}).get("coding") or ():
        if each.get("code"):
            return str(each["code"])
    return None


def _unit_and_bed(place: Resource, reading: Reading) -> tuple[str | None, str | None]:
    reference = place.get("location") or {}
    found = reading.context.id_of(reference, "Location") or reference.get("display")
    location = reading.context.locations.get(found or "", {})
    if "bd" not in (_physical(place), _physical(location)):
        return found, None
    return reading.context.id_of(location.get("partOf"), "Location"), found


def _with_beds(movements: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join an entry for a bed to the entry for its ward over the same time."""
    wards = {(m["start"], m["end"]): m for m in movements if m["bed"] is None}
    kept = []
    for movement in movements:
        ward = wards.get((movement["start"], movement["end"]))
        if movement["bed"] is not None and ward is not None:
            ward["bed"] = movement["bed"]
        else:
            kept.append(movement)
    return kept


def location_rows(location: Resource, reading: Reading) -> RowsByTable:
    """Read a unit; a bed gives nothing."""
    if _physical(location) == "bd":
        return {}
    kinds = [
        _UNIT_KIND_BY_TYPE.get(each.get("code", ""))
        for kind in location.get("type") or ()
        for each in kind.get("coding") or ()
    ]
    return {
        "units": [
            {
                "unit": location["id"],
                "name": location.get("name"),
                "parent": reading.context.id_of(location.get("partOf"), "Location"),
                "kind": next((kind for kind in kinds if kind), None),
                "row_id": location["id"],
                "recorded": datetime(1900, 1, 1, tzinfo=UTC),
                "recorded_assumed": True,
            }
        ]
    }
