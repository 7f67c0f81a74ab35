"""FHIR persons and places as rows: Patient, Encounter, Location."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

from neva.events.clock import first_moment
from neva.events.codes import END_UNKNOWN
from neva.events.schema import OPEN_END
from neva.sources.fhir.codes import Moment, Within, coded, moment, text_of
from neva.sources.fhir.reading import Reading, RefusedError, Resource, RowsByTable

__all__ = ["KIND_BY_CLASS", "class_of", "encounter_rows", "location_rows", "patient_rows"]

#: Class of an encounter to the kind of stay.
KIND_BY_CLASS: Final = {
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
    """Read a subject, and what is known of it without a date.

    A record that was merged into another gives no subject: its rows go to that one.
    """
    if patient["id"] in reading.context.persons:
        return {}
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


def class_of(encounter: Resource) -> str:
    """Code of an encounter's class; empty where it has none."""
    found = encounter.get("class")
    code = found.get("code") if isinstance(found, dict) else None
    return code if isinstance(code, str) else ""


def encounter_rows(encounter: Resource, reading: Reading) -> RowsByTable:
    """Read a stay and its movements; an event where nobody came.

    An encounter that is part of another is what happened within that stay: an
    event, and movements. It is no stay of its own.
    """
    subject = reading.subject(encounter, "stays")
    status = encounter.get("status")
    start, end = _readable_period(encounter, reading)
    stay = reading.context.stays.get(encounter["id"], encounter["id"])
    if stay is None:
        raise RefusedError("partOf", "reference-unresolved", "stays")
    is_part = stay != encounter["id"]
    if status in ("planned", "cancelled"):
        # Not a stay: nobody came (yet). Kept as an event.
        return {"events": [_contact(encounter, reading, subject, stay, start, end, status)]}
    within = reading.context.within.get(encounter["id"], Within())
    if start.time is None and within.start is not None and not is_part:
        start = Moment(within.start, "instant")
    if start.time is None:
        raise RefusedError("period.start", "time-missing", "stays")
    last_known = None if end.time else reading.context.last_known.get(encounter["id"])
    if last_known is None and end.time is None and status == "finished":
        last_known = start.time  # nothing else is known of it
    retracted = reading.retracted(encounter, status)
    found = _movements(encounter, reading, subject, stay, start.time, end.time or last_known)
    for movement in found["movements"]:
        movement["retracted"] = retracted
    if is_part:
        contact = _contact(encounter, reading, subject, stay, start, end, "done")
        return {**found, "events": [{**contact, "retracted": retracted}]}
    # Every part has ended: so has the whole.
    is_over = last_known is not None and within.end is not None and last_known <= within.end
    visit = encounter.get("hospitalization") or {}
    found["stays"] = [
        {
            "subject": subject,
            "stay": stay,
            "start": start.time,
            "end": within.end if is_over else end.time or last_known,
            "precision": start.precision,
            "kind": _kind(encounter, within),
            "source": text_of(visit.get("admitSource")),
            "outcome": text_of(visit.get("dischargeDisposition")),
            "row_id": encounter["id"],
            "recorded": start.time,
            "recorded_assumed": True,
            "retracted": retracted,
        }
    ]
    if last_known is not None and not is_over:
        at = Moment(last_known, "instant")
        found["events"] = [
            {
                **_contact(encounter, reading, subject, stay, at, None, "done"),
                "code": END_UNKNOWN,
                "attributes": None,
                "row_id": f"{encounter['id']}#end-unknown",
                "retracted": retracted,
            }
        ]
        found["warnings"] = [{"table": "stays", "field": "period.end", "reason": "end-unknown"}]
    return found


def _readable_period(encounter: Resource, reading: Reading) -> tuple[Moment, Moment]:
    """Read from when to when an encounter was; refuse times that cannot be read."""
    span = encounter.get("period") or {}
    start, end = moment(span.get("start"), reading.zone), moment(span.get("end"), reading.zone)
    for name, read in (("period.start", start), ("period.end", end)):
        if read.reason is not None:
            raise RefusedError(name, read.reason, "stays")
    return start, end


def _kind(encounter: Resource, within: Within) -> str | None:
    """Kind of a stay: in hospital more, where a part of it is."""
    own = KIND_BY_CLASS.get(class_of(encounter))
    if own in ("inpatient", "outpatient", "virtual"):
        return own
    order = ("inpatient", "observation", "day", "emergency")
    return next((kind for kind in order if kind in (own, within.kind)), own)


def _contact(
    encounter: Resource,
    reading: Reading,
    subject: str,
    stay: str,
    start: Moment,
    end: Moment | None,
    status: str,
) -> dict[str, Any]:
    """Give the event of an encounter that is no stay."""
    # What was done was known as it began; when it was last changed says nothing of that.
    updated = None if status == "done" else reading.updated(encounter)
    kinds = encounter.get("type")
    contact = {
        "class": class_of(encounter) or None,
        "type": coded(kinds, reading.context) if isinstance(kinds, list) else None,
    }
    finish = None if end is None or start.time is None else end.time
    return {
        "subject": subject,
        "stay": stay,
        "time": start.time,
        "end_time": finish,
        "precision": start.precision if start.time else "none",
        "code": "FHIR//encounter",
        "status": status,
        "attributes": [{"key": key, "value": value} for key, value in contact.items() if value]
        if status == "done"
        else None,
        "sequence": 0,
        "row_id": encounter["id"],
        "recorded": updated or start.time,
        "recorded_assumed": updated is None,
    }


def _movements(
    encounter: Resource,
    reading: Reading,
    subject: str,
    stay: str,
    known: datetime,
    ended: datetime | None,
) -> RowsByTable:
    """Read where the patient was; where parts of the encounter say it, they do.

    A place without an end is left when the encounter ends, or, if it is said to
    be left, when the next one begins.
    """
    movements: list[dict[str, Any]] = []
    quarantine: list[dict[str, Any]] = []
    covered = sorted(reading.context.covered.get(encounter["id"], ()))
    places = encounter.get("location") or []
    begins = sorted(
        time
        for place in places
        if not _is_yet_to_come(place)
        and (time := moment((place.get("period") or {}).get("start"), reading.zone).time)
    )
    for position, place in enumerate(places):
        if _is_yet_to_come(place):
            continue
        begin, finish = _time_at_place(encounter, place, known, reading)
        reason = begin.reason or finish.reason or (None if begin.time else "time-missing")
        if reason is not None:
            quarantine.append(
                {"table": "movements", "field": f"location[{position}].period", "reason": reason}
            )
            continue
        assert begin.time is not None  # no reason was found
        unit, bed = _unit_and_bed(place, reading)
        until = _left_at(place, begin.time, finish.time, begins, ended)
        for number, (start, end) in enumerate(_left_over(begin.time, until, covered)):
            movements.append(
                {
                    "subject": subject,
                    "stay": stay,
                    "start": start,
                    "end": end,
                    "precision": begin.precision,
                    "unit": unit,
                    "bed": bed,
                    "row_id": f"{encounter['id']}#{position}" + (f".{number}" if number else ""),
                    "recorded": start,
                    "recorded_assumed": True,
                }
            )
    return {"movements": _with_beds(movements), "quarantine": quarantine}


def _is_yet_to_come(place: Resource) -> bool:
    return place.get("status") in ("planned", "reserved")


def _time_at_place(
    encounter: Resource, place: Resource, known: datetime, reading: Reading
) -> tuple[Moment, Moment]:
    """Read from when to when the patient was there: an only place without times, all the time."""
    is_only = len(encounter.get("location") or []) == 1
    during = place.get("period") or ((encounter.get("period") or {}) if is_only else {})
    begin = moment(during.get("start"), reading.zone)
    finish = moment(during.get("end"), reading.zone)
    if begin.time is None and begin.reason is None and is_only and not during:
        begin = Moment(known, "instant")
    return begin, finish


def _left_at(
    place: Resource,
    begin: datetime,
    finish: datetime | None,
    begins: list[datetime],
    ended: datetime | None,
) -> datetime | None:
    """Return when a place was left: at its end, at the next place, or with the encounter."""
    until = finish or (None if ended is None else max(ended, begin))
    if finish is None and place.get("status") == "completed":
        return next((time for time in begins if time > begin), until) or begin
    return until


def _left_over(
    start: datetime, end: datetime | None, covered: list[tuple[datetime, datetime]]
) -> list[tuple[datetime, datetime | None]]:
    """Take times that parts tell of out of one that the whole tells of.

    >>> day = [datetime(2020, 3, number, tzinfo=UTC) for number in range(1, 6)]
    >>> [(a.day, b and b.day) for a, b in _left_over(day[0], None, [(day[1], day[2])])]
    [(1, 2), (3, None)]
    """
    found: list[tuple[datetime, datetime | None]] = []
    at = start
    for begin, finish in covered:
        if finish <= at or (end is not None and begin >= end):
            continue
        if begin > at:
            found.append((at, begin))
        at = max(at, finish)
    if not found and at == start:
        return [(start, end)]  # nothing covers it, be it without length
    if at != OPEN_END and (end is None or at < end):
        found.append((at, end))
    return found


def _physical(place: Resource) -> str | None:
    for each in (place.get("physicalType") or {}).get("coding") or ():
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
