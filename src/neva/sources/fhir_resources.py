"""FHIR R4 resources as rows: one pure function, for bulk import and bedside alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

import polars as pl

from neva.events.clock import first_moment
from neva.events.schema import ATTRIBUTES, ROWS, TIME
from neva.sources.fhir_codes import (
    UNKNOWN,
    Context,
    Moment,
    coded,
    codings,
    is_known_system,
    moment,
    period,
    text_of,
)

__all__ = ["HANDLED", "rows_of"]

Resource = Mapping[str, Any]
RowsByTable = dict[str, list[dict[str, Any]]]

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
_STATUS: Final = {
    "planned": "planned",
    "preparation": "planned",
    "registered": "planned",
    "draft": "planned",
    "intended": "planned",
    "not-done": "not-done",
    "not-taken": "not-done",
    "cancelled": "cancelled",
    "revoked": "cancelled",
    "arrived": "done",
    "triaged": "done",
    "onleave": "done",
    "finished": "done",
    "preliminary": "done",
    "partial": "done",
    "appended": "done",
    "final": "done",
    "amended": "done",
    "corrected": "done",
    "active": "done",
    "in-progress": "done",
    "on-hold": "done",
    "completed": "done",
    # Something was done before it was stopped.
    "stopped": "done",
    "unknown": "done",
}
# Statuses that say more than the event's own.
_NUANCES: Final = frozenset(
    (
        "amended",
        "appended",
        "corrected",
        "in-progress",
        "on-hold",
        "partial",
        "preliminary",
        "revoked",
        "stopped",
        "unknown",
    )
)
_MALFORMED: Final = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


_TYPES: Final[dict[Any, type]] = {
    pl.String: str,
    pl.Float64: float,
    pl.Int32: int,
    pl.Int64: int,
    pl.Boolean: bool,
    pl.Date: date,
    TIME: datetime,
}
#: Table to column to Python type; attributes are lists and checked apart.
_TYPES_BY_TABLE: Final = {
    table: {
        name: list if dtype == ATTRIBUTES else _TYPES.get(dtype) for name, dtype in columns.items()
    }
    for table, columns in ROWS.items()
}
_LARGEST_RANK: Final = 2**31 - 1


def _check_types(rows: RowsByTable) -> None:
    """Refuse what JSON allows and a column does not: numbers as text, half characters."""
    for table, found in rows.items():
        wanted = _TYPES_BY_TABLE[table]
        for row in found:
            for name, value in row.items():
                if value is None:
                    continue
                kind = type(value)
                if kind is not wanted[name]:
                    raise TypeError(name)
                if kind is list:
                    for pair in value:
                        pair["value"].encode()  # a lone surrogate has no UTF-8
                elif kind is str and not value.isascii():
                    value.encode()
                elif name == "rank" and not 0 < value <= _LARGEST_RANK:
                    raise ValueError(name)


class _RefusedError(Exception):
    """A resource that goes to quarantine; says which table, field and reason."""

    def __init__(self, field: str | None, reason: str, table: str = "events") -> None:
        super().__init__(reason)
        self.field, self.reason, self.table = field, reason, table


def rows_of(
    resource: Resource,
    *,
    zone: str,
    context: Context | None = None,
    received: datetime | None = None,
) -> RowsByTable:
    """Turn one FHIR R4 resource into rows.

    Parameters
    ----------
    resource : mapping
        The resource as parsed JSON.
    zone : str
        IANA name of the zone of dates and of times without offset.
    context : Context, optional
        What is known of other resources.
    received : datetime, optional
        Aware. When an ``entered-in-error`` counts as withdrawn if the resource
        does not say when it was changed; by default 1 January 1900, that is,
        as if it had never been believed.

    Returns
    -------
    dict
        Table to rows; each row has columns of ``ROWS[table]``, without ``file``
        and ``row``, which the caller knows. A resource of a kind that is not
        handled gives no rows.

    Notes
    -----
    Never raises for what stands in a resource: one that is malformed gives a
    row of ``quarantine``, with the field and a reason code, never its value.

    Examples
    --------
    >>> rows = rows_of(
    ...     {
    ...         "resourceType": "Observation",
    ...         "id": "1",
    ...         "status": "final",
    ...         "code": {"coding": [{"system": "http://loinc.org", "code": "2708-6"}]},
    ...         "subject": {"reference": "Patient/7"},
    ...         "effectiveDateTime": "2021-03-01T10:00:00+01:00",
    ...         "valueQuantity": {"value": 92, "code": "%", "system": "http://unitsofmeasure.org"},
    ...     },
    ...     zone="Europe/Berlin",
    ... )
    >>> [(row["subject"], row["code"], row["value"], row["value_unit"]) for row in rows["events"]]
    [('7', 'LOINC//2708-6', 92.0, '%')]
    """
    try:
        handler = _HANDLERS.get(resource["resourceType"])
        if handler is None:
            return {}
        given = resource.get("id")
        if not isinstance(given, str) or not given:
            raise _RefusedError("id", "resource-unreadable", _unreadable(resource)["table"])
        rows = handler(resource, _Reading(zone, context or Context(), received))
        _check_types(rows)
        return rows
    except _RefusedError as refused:
        return {
            "quarantine": [
                {"table": refused.table, "field": refused.field, "reason": refused.reason}
            ]
        }
    except _MALFORMED:
        return {"quarantine": [{"table": "events", "field": None, "reason": "resource-unreadable"}]}


_TABLE_BY_TYPE: Final = {"Patient": "subjects", "Encounter": "stays", "Location": "units"}


def _unreadable(resource: Any) -> dict[str, Any]:
    kind = resource.get("resourceType") if isinstance(resource, Mapping) else None
    table = _TABLE_BY_TYPE.get(kind, "events") if isinstance(kind, str) else "events"
    return {"table": table, "field": None, "reason": "resource-unreadable"}


class _Reading:
    """Settings of one call."""

    __slots__ = ("context", "received", "zone")

    def __init__(self, zone: str, context: Context, received: datetime | None) -> None:
        self.zone, self.context = zone, context
        self.received = received or datetime(1900, 1, 1, tzinfo=UTC)

    def updated(self, resource: Resource) -> datetime | None:
        return moment((resource.get("meta") or {}).get("lastUpdated"), self.zone).time

    def retracted(self, resource: Resource, status: str | None) -> datetime | None:
        if status != "entered-in-error":
            return None
        return self.updated(resource) or self.received

    def subject(self, resource: Resource, table: str = "events") -> str:
        reference = resource.get("subject") or resource.get("patient")
        if not reference:
            raise _RefusedError("subject", "subject-missing", table)
        found = self.context.id_of(reference, "Patient")
        if found is None:
            raise _RefusedError("subject", "reference-unresolved", table)
        return found


def _patient(patient: Resource, reading: _Reading) -> RowsByTable:
    born = patient.get("birthDate")
    birth_date = None
    events: list[dict[str, Any]] = []
    known: datetime | None = None
    if born is not None:
        read = moment(born, reading.zone)
        if read.reason is not None:
            raise _RefusedError("birthDate", read.reason, "subjects")
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
        raise _RefusedError("deceasedDateTime", death.reason, "subjects")
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


def _encounter(encounter: Resource, reading: _Reading) -> RowsByTable:
    subject = reading.subject(encounter, "stays")
    status = encounter.get("status")
    span = encounter.get("period") or {}
    start, end = moment(span.get("start"), reading.zone), moment(span.get("end"), reading.zone)
    for name, read in (("period.start", start), ("period.end", end)):
        if read.reason is not None:
            raise _RefusedError(name, read.reason, "stays")
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
        raise _RefusedError("period.start", "time-missing", "stays")
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


def _unit_and_bed(place: Resource, reading: _Reading) -> tuple[str | None, str | None]:
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


def _location(location: Resource, reading: _Reading) -> RowsByTable:
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


def _event(
    resource: Resource,
    reading: _Reading,
    concept: Any,
    begin: Moment,
    end: Moment | None = None,
    *,
    recorded: Any = None,
    status: str | None = None,
    reason: str | None = None,
    attributes: Mapping[str, str | None] | None = None,
) -> dict[str, Any]:
    """Give the columns that events of all kinds share; refuse what cannot be read."""
    stated = resource.get("status")
    if stated is not None and stated != "entered-in-error" and stated not in _STATUS:
        raise _RefusedError("status", "status-unknown")
    subject = reading.subject(resource)
    found = codings(concept, reading.context)
    if not found:
        raise _RefusedError("code", "code-missing")
    end = end or Moment()
    known = moment(recorded, reading.zone)
    why = begin.reason or end.reason or known.reason
    if why is not None:
        raise _RefusedError("time", why)
    if begin.time is None and begin.partial is None:
        if known.time is None and known.partial is None:
            raise _RefusedError("time", "time-missing")
        begin = known
    first = (concept.get("coding") or [{}])[0] if isinstance(concept, Mapping) else {}
    kept = {
        **{f"coding.{place}": code for place, (code, _) in enumerate(found[1:], 2)},
        # The URL of a system whose short name was made from it.
        "code_system": first.get("system") if not is_known_system(first.get("system")) else None,
        "partial_time": begin.partial,
        "fhir_status": stated if stated in _NUANCES else None,
        "category": coded(resource.get("category"), reading.context)
        if isinstance(resource.get("category"), list)
        else None,
        **(attributes or {}),
    }
    # What is entered in error was last changed when it was withdrawn, and was
    # believed before.
    is_withdrawn = "entered-in-error" in (stated, _plain_code(resource.get("verificationStatus")))
    source_time = known.time or (None if is_withdrawn else reading.updated(resource))
    return {
        "subject": subject,
        "stay": reading.context.id_of(
            resource.get("encounter") or resource.get("context"), "Encounter"
        ),
        "time": begin.time,
        "end_time": end.time,
        "precision": begin.precision if begin.time else "none",
        "code": found[0][0],
        "status": status or _STATUS.get(stated or "", "done"),
        "reason": reason,
        "attributes": [
            {"key": key, "value": str(value)} for key, value in kept.items() if value is not None
        ],
        "sequence": 0,
        "row_id": resource["id"],
        "recorded": source_time or begin.time,
        "recorded_assumed": source_time is None,
        "retracted": reading.retracted(resource, stated),
        "_description": found[0][1]
        or (concept.get("text") if isinstance(concept, Mapping) else None),
    }


def _delivered(*events: dict[str, Any]) -> RowsByTable:
    codes = {
        event["code"]: event.pop("_description") for event in events if "_description" in event
    }
    for event in events:
        event["attributes"] = event["attributes"] or None
    return {
        "events": list(events),
        "codes": [{"code": code, "description": text} for code, text in codes.items()],
    }


_COMPARATORS: Final = {"<": "<", "<=": "<", ">": ">", ">=": ">"}


def _value(holder: Resource, reading: _Reading) -> dict[str, Any]:
    """Columns ``value``, ``comparator``, ``value_unit``, ``text``; ``_more`` attributes."""
    key = next((name for name in holder if name.startswith("value") and len(name) > 5), None)
    if key is None:
        return {}
    content = holder[key]
    if key in ("valueQuantity", "valueInteger", "valueDecimal"):
        quantity = content if key == "valueQuantity" else {"value": content}
        return _quantity(quantity)
    if key == "valueCodeableConcept":
        return {
            "text": text_of(content),
            "_more": {"value_code": coded(content, reading.context)},
        }
    if key == "valueBoolean":
        return {"text": "true" if content else "false"}
    if isinstance(content, str):
        return {"text": content}
    return {"text": json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)}


def _quantity(quantity: Resource) -> dict[str, Any]:
    number = quantity.get("value")
    if number is None:
        return {}
    if isinstance(number, bool):
        raise _RefusedError("value", "value-unreadable")
    try:
        value = float(number)
    except (TypeError, ValueError):
        raise _RefusedError("value", "value-unreadable") from None
    comparator = quantity.get("comparator")
    return {
        "value": value,
        "comparator": _COMPARATORS.get(comparator or ""),
        "value_unit": quantity.get("code") or quantity.get("unit"),
        "_more": {"comparator": comparator} if comparator in ("<=", ">=") else {},
    }


def _with_value(event: dict[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    more = value.get("_more") or {}
    return {
        **event,
        **{key: content for key, content in value.items() if key != "_more"},
        "attributes": event["attributes"]
        + [{"key": key, "value": str(text)} for key, text in more.items() if text is not None],
    }


def _observation(observation: Resource, reading: _Reading) -> RowsByTable:
    begin, end = period(observation, "effective", reading.zone)
    base = _event(
        observation,
        reading,
        observation.get("code"),
        begin,
        end,
        recorded=observation.get("issued"),
        attributes={
            "interpretation": coded(observation.get("interpretation"), reading.context),
            "method": coded(observation.get("method"), reading.context),
            "body_site": coded(observation.get("bodySite"), reading.context),
        },
    )
    components = observation.get("component") or []
    events = []
    value = _value(observation, reading)
    absent = coded(observation.get("dataAbsentReason"), reading.context)
    # A panel without a value of its own says nothing beside its components.
    if value or absent or not components:
        events.append(_absent_or(base, value, absent))
    seen: dict[str, int] = {}
    for component in components:
        found = codings(component.get("code"), reading.context)
        if not found:
            raise _RefusedError("component.code", "code-missing")
        code, text = found[0]
        seen[code] = seen.get(code, 0) + 1
        place = f"#{seen[code]}" if seen[code] > 1 else ""
        part = {
            **base,
            "code": code,
            "_description": text or (component["code"].get("text")),
            "row_id": f"{observation['id']}#{code}{place}",
            "attributes": [*base["attributes"], {"key": "panel", "value": base["code"]}],
        }
        absent = coded(component.get("dataAbsentReason"), reading.context)
        events.append(_absent_or(part, _value(component, reading), absent))
    return _delivered(*events)


def _absent_or(
    event: dict[str, Any], value: Mapping[str, Any], absent: str | None
) -> dict[str, Any]:
    if value or not absent:
        return _with_value(event, value)
    return {**event, "status": "not-done", "reason": absent}


_DOUBTS: Final = frozenset(("unconfirmed", "provisional", "differential", "presumed"))


def _condition(condition: Resource, reading: _Reading) -> RowsByTable:
    verification = _plain_code(condition.get("verificationStatus"))
    begin, _ = period(condition, "onset", reading.zone)
    end, _ = period(condition, "abatement", reading.zone)
    if condition.get("onsetPeriod") and end.time is None:
        end = moment(condition["onsetPeriod"].get("end"), reading.zone)
    event = _event(
        condition,
        reading,
        condition.get("code"),
        begin,
        end,
        recorded=condition.get("recordedDate"),
        status="not-done" if verification == "refuted" else "done",
        reason="refuted" if verification == "refuted" else None,
        attributes={
            "verification": verification if verification in _DOUBTS else None,
            "clinical": _plain_code(condition.get("clinicalStatus")),
        },
    )
    event["rank"] = reading.context.ranks.get(condition["id"])
    event["retracted"] = reading.retracted(condition, verification)
    return _delivered(event)


def _plain_code(concept: Any) -> str | None:
    for each in (concept or {}).get("coding") or ():
        if each.get("code"):
            return str(each["code"])
    return None


def _procedure(procedure: Resource, reading: _Reading) -> RowsByTable:
    stem = "performed" if any(name.startswith("performed") for name in procedure) else "occurrence"
    begin, end = period(procedure, stem, reading.zone)
    return _delivered(
        _event(
            procedure,
            reading,
            procedure.get("code"),
            begin,
            end,
            recorded=procedure.get("recorded"),
            reason=coded(procedure.get("statusReason"), reading.context),
            attributes={
                "outcome": text_of(procedure.get("outcome")),
                "body_site": coded(procedure.get("bodySite"), reading.context),
            },
        )
    )


def _medication(resource: Resource, reading: _Reading) -> Any:
    """Find the medication's concept: inline, contained, or from elsewhere in the delivery."""
    inline = resource.get("medicationCodeableConcept")
    if inline is not None:
        return inline
    choice = resource.get("medication") or {}  # R5: a CodeableReference
    if choice.get("concept"):
        return choice["concept"]
    reference = resource.get("medicationReference") or choice.get("reference") or {}
    text = reference.get("reference") or ""
    if text.startswith("#"):
        for contained in resource.get("contained") or ():
            if contained.get("id") == text[1:]:
                return contained.get("code")
    found = reading.context.medications.get(reading.context.id_of(reference, "Medication") or "")
    if found is None and reference.get("display"):
        return {"text": reference["display"]}
    if found is None and reference:
        raise _RefusedError("medicationReference", "reference-unresolved")
    return found


def _order(resource: Resource, reading: _Reading, concept: Any) -> RowsByTable:
    """Read a request: the event is the act of ordering, done when it was written."""
    status = _STATUS.get(resource.get("status") or "", "done")
    reason = None
    if resource.get("doNotPerform") is True:
        status = "not-done"
        reason = coded(resource.get("reasonCode"), reading.context) or "do-not-perform"
    dosage = (resource.get("dosageInstruction") or [{}])[0]
    begin, end = period(resource, "occurrence", reading.zone)
    return _delivered(
        _event(
            resource,
            reading,
            concept,
            Moment(partial=UNKNOWN)
            if "_authoredOn" in resource and "authoredOn" not in resource
            else moment(resource.get("authoredOn"), reading.zone),
            recorded=resource.get("authoredOn"),
            status=status,
            reason=reason or coded(resource.get("statusReason"), reading.context),
            attributes={
                "kind": "order",
                "intent": resource.get("intent"),
                "priority": resource.get("priority"),
                "dosage": dosage.get("text"),
                "occurrence": begin.time.isoformat() if begin.time else begin.partial,
                "occurrence_end": end.time.isoformat() if end.time else end.partial,
            },
        )
    )


def _medication_request(request: Resource, reading: _Reading) -> RowsByTable:
    return _order(request, reading, _medication(request, reading))


def _service_request(request: Resource, reading: _Reading) -> RowsByTable:
    return _order(request, reading, request.get("code"))


def _medication_administration(given: Resource, reading: _Reading) -> RowsByTable:
    stem = "effective" if any(name.startswith("effective") for name in given) else "occurence"
    begin, end = period(given, stem, reading.zone)
    dosage = given.get("dosage") or {}
    event = _event(
        given,
        reading,
        _medication(given, reading),
        begin,
        end,
        recorded=given.get("recorded"),
        reason=coded(given.get("statusReason"), reading.context),
        attributes={
            "kind": "administration",
            "route": coded(dosage.get("route"), reading.context),
            "dosage": dosage.get("text"),
        },
    )
    return _delivered(_with_value(event, _quantity(dosage.get("dose") or {})))


def _medication_statement(statement: Resource, reading: _Reading) -> RowsByTable:
    begin, end = period(statement, "effective", reading.zone)
    return _delivered(
        _event(
            statement,
            reading,
            _medication(statement, reading),
            begin,
            end,
            recorded=statement.get("dateAsserted"),
            reason=coded(statement.get("statusReason"), reading.context),
            attributes={
                "kind": "statement",
                "dosage": ((statement.get("dosage") or [{}])[0]).get("text"),
            },
        )
    )


def _immunization(immunization: Resource, reading: _Reading) -> RowsByTable:
    begin, end = period(immunization, "occurrence", reading.zone)
    return _delivered(
        _event(
            immunization,
            reading,
            immunization.get("vaccineCode"),
            begin,
            end,
            recorded=immunization.get("recorded"),
            reason=coded(immunization.get("statusReason"), reading.context),
            attributes={"kind": "immunization"},
        )
    )


def _allergy(allergy: Resource, reading: _Reading) -> RowsByTable:
    verification = _plain_code(allergy.get("verificationStatus"))
    begin, end = period(allergy, "onset", reading.zone)
    event = _event(
        allergy,
        reading,
        allergy.get("code"),
        begin,
        end,
        recorded=allergy.get("recordedDate"),
        status="not-done" if verification == "refuted" else "done",
        reason="refuted" if verification == "refuted" else None,
        attributes={
            "kind": "allergy",
            "verification": verification if verification in _DOUBTS else None,
            "clinical": _plain_code(allergy.get("clinicalStatus")),
            "criticality": allergy.get("criticality"),
        },
    )
    event["retracted"] = reading.retracted(allergy, verification)
    return _delivered(event)


def _diagnostic_report(report: Resource, reading: _Reading) -> RowsByTable:
    begin, end = period(report, "effective", reading.zone)
    event = _event(
        report,
        reading,
        report.get("code"),
        begin,
        end,
        recorded=report.get("issued"),
        attributes={"kind": "report"},
    )
    event["text"] = report.get("conclusion")
    return _delivered(event)


_HANDLERS: Final[dict[str, Callable[[Resource, _Reading], RowsByTable]]] = {
    "Patient": _patient,
    "Encounter": _encounter,
    "Location": _location,
    "Observation": _observation,
    "Condition": _condition,
    "Procedure": _procedure,
    "MedicationRequest": _medication_request,
    "MedicationAdministration": _medication_administration,
    "MedicationStatement": _medication_statement,
    "Immunization": _immunization,
    "AllergyIntolerance": _allergy,
    "DiagnosticReport": _diagnostic_report,
    "ServiceRequest": _service_request,
}
#: Kinds of resources that give rows; others give none.
HANDLED: Final = frozenset(_HANDLERS)
