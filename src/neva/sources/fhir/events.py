"""FHIR clinical resources as events."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from neva.sources.fhir.codes import (
    UNKNOWN,
    Moment,
    coded,
    codings,
    is_known_system,
    moment,
    period,
    system_of,
    text_of,
)
from neva.sources.fhir.guards import unknown_modifier
from neva.sources.fhir.reading import Reading, RefusedError, Resource, RowsByTable, plain_code

__all__ = ["EVENT_READERS"]

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


def _event(
    resource: Resource,
    reading: Reading,
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
        raise RefusedError("status", "status-unknown")
    subject = reading.subject(resource)
    found = codings(concept, reading.context)
    if not found:
        raise RefusedError("code", "code-missing")
    end = end or Moment()
    known = moment(recorded, reading.zone)
    begin = _readable_begin(begin, end, known)
    kept = {
        **_attributes_of_code(concept, found, reading),
        "partial_time": begin.partial,
        "fhir_status": stated if stated in _NUANCES else None,
        "category": coded(resource.get("category"), reading.context)
        if isinstance(resource.get("category"), list)
        else None,
        **(attributes or {}),
    }
    source_time = known.time or _last_change(resource, reading)
    about = resource.get("encounter") or resource.get("context")
    stay = reading.context.stay_of(about)
    return {
        "subject": subject,
        "stay": stay,
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
        "_stayless": stay is None and bool(about),
        "_description": found[0][1]
        or (concept.get("text") if isinstance(concept, Mapping) else None),
    }


def _readable_begin(begin: Moment, end: Moment, known: Moment) -> Moment:
    """Return when an event began: where nothing says it, when it was recorded; refuse neither."""
    why = begin.reason or end.reason or known.reason
    if why is not None:
        raise RefusedError("time", why)
    if begin.time is not None or begin.partial is not None:
        return begin
    if known.time is None and known.partial is None:
        raise RefusedError("time", "time-missing")
    return known


def _attributes_of_code(
    concept: Any, found: list[tuple[str, str | None]], reading: Reading
) -> dict[str, str | None]:
    """Return the further codings, and the URL of a system whose short name was made from it."""
    url = system_of(concept, found[0][0], reading.context)
    return {
        **{f"coding.{place}": code for place, (code, _) in enumerate(found[1:], 2)},
        "code_system": None if is_known_system(url) else url,
    }


def _last_change(resource: Resource, reading: Reading) -> datetime | None:
    """Return when a resource was last changed.

    What is entered in error was last changed when it was withdrawn, and was
    believed before.
    """
    stated = (resource.get("status"), plain_code(resource.get("verificationStatus")))
    return None if "entered-in-error" in stated else reading.updated(resource)


def _delivered(*events: dict[str, Any]) -> RowsByTable:
    codes = {
        event["code"]: event.pop("_description") for event in events if "_description" in event
    }
    stayless = False
    for event in events:
        event["attributes"] = event["attributes"] or None
        stayless = event.pop("_stayless", False) or stayless
    doubt = {"table": "events", "field": "encounter", "reason": "stay-unresolved"}
    return {
        **({"warnings": [doubt]} if stayless else {}),
        "events": list(events),
        "codes": [{"code": code, "description": text} for code, text in codes.items()],
    }


_COMPARATORS: Final = {"<": "<", "<=": "<", ">": ">", ">=": ">"}


def _value(holder: Resource, reading: Reading) -> dict[str, Any]:
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
        raise RefusedError("value", "value-unreadable")
    try:
        value = float(number)
    except (TypeError, ValueError):
        raise RefusedError("value", "value-unreadable") from None
    comparator = quantity.get("comparator")
    if comparator and comparator not in _COMPARATORS:
        # It turns the meaning of the number: never read as if it were not there.
        raise RefusedError("value", "value-unreadable")
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


def _reference_range(part: Resource) -> dict[str, str | None]:
    """Read the first range, where its numbers are in the unit of the value.

    Returns
    -------
    dict of str to str
        ``range_low``, ``range_high``, ``range_text``: as in OMOP.
    """
    ranges = part.get("referenceRange")
    first = ranges[0] if isinstance(ranges, list) and ranges else None
    if not isinstance(first, Mapping):
        return {}
    low, high, value = (
        one if isinstance(one, Mapping) else {}
        for one in (first.get("low"), first.get("high"), part.get("valueQuantity"))
    )
    text = first.get("text")
    found = {"range_text": text if isinstance(text, str) else None}
    units = {str(one.get("code") or one.get("unit") or "") for one in (low, high, value)} - {""}
    if len(units) <= 1:
        for name, end in (("range_low", low), ("range_high", high)):
            found[name] = None if end.get("value") is None else str(end["value"])
    return found


def _observation(observation: Resource, reading: Reading) -> RowsByTable:
    begin, end = period(observation, "effective", reading.zone, open_end=True)
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
            **_reference_range(observation),
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
            raise RefusedError("component.code", "code-missing")
        code, text = found[0]
        seen[code] = seen.get(code, 0) + 1
        place = f"#{seen[code]}" if seen[code] > 1 else ""
        part = {
            **base,
            "code": code,
            "_description": text or (component["code"].get("text")),
            "row_id": f"{observation['id']}#{code}{place}",
            "attributes": [
                *(one for one in base["attributes"] if not one["key"].startswith("range_")),
                {"key": "panel", "value": base["code"]},
                *(
                    {"key": key, "value": value}
                    for key, value in _reference_range(component).items()
                    if value is not None
                ),
            ],
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


def _condition(condition: Resource, reading: Reading) -> RowsByTable:
    verification = plain_code(condition.get("verificationStatus"))
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
            "clinical": plain_code(condition.get("clinicalStatus")),
        },
    )
    event["rank"] = reading.context.ranks.get(condition["id"])
    event["retracted"] = reading.retracted(condition, verification)
    return _delivered(event)


def _procedure(procedure: Resource, reading: Reading) -> RowsByTable:
    begin, end = period(procedure, "performed", reading.zone, open_end=True)
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


def _medication(resource: Resource, reading: Reading) -> Any:
    """Find the medication's concept: inline, contained, or from elsewhere in the delivery."""
    inline = resource.get("medicationCodeableConcept")
    if inline is not None:
        return inline
    reference = resource.get("medicationReference") or {}
    text = reference.get("reference") or ""
    if text.startswith("#"):
        for contained in resource.get("contained") or ():
            if contained.get("id") == text[1:]:
                if unknown_modifier(contained) is not None:
                    raise RefusedError("contained", "modifier-unknown")
                return contained.get("code")
    name = reading.context.id_of(reference, "Medication") or ""
    if name in reading.context.unusable:
        raise RefusedError("medicationReference", "modifier-unknown")
    found = reading.context.medications.get(name)
    if found is None and reference.get("display"):
        return {"text": reference["display"]}
    if found is None and reference:
        raise RefusedError("medicationReference", "reference-unresolved")
    return found


def _order(resource: Resource, reading: Reading, concept: Any) -> RowsByTable:
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


def _medication_request(request: Resource, reading: Reading) -> RowsByTable:
    return _order(request, reading, _medication(request, reading))


def _service_request(request: Resource, reading: Reading) -> RowsByTable:
    return _order(request, reading, request.get("code"))


def _medication_administration(given: Resource, reading: Reading) -> RowsByTable:
    begin, end = period(given, "effective", reading.zone, open_end=True)
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


def _medication_statement(statement: Resource, reading: Reading) -> RowsByTable:
    begin, end = period(statement, "effective", reading.zone, open_end=True)
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


def _immunization(immunization: Resource, reading: Reading) -> RowsByTable:
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


def _allergy(allergy: Resource, reading: Reading) -> RowsByTable:
    verification = plain_code(allergy.get("verificationStatus"))
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
            "clinical": plain_code(allergy.get("clinicalStatus")),
            "criticality": allergy.get("criticality"),
        },
    )
    event["retracted"] = reading.retracted(allergy, verification)
    return _delivered(event)


def _diagnostic_report(report: Resource, reading: Reading) -> RowsByTable:
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


#: Resource type to the function that reads it.
EVENT_READERS: Final[dict[str, Callable[[Resource, Reading], RowsByTable]]] = {
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
