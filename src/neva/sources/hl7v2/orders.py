"""Orders, medicines and appointments as events: planned, done, not done, cancelled."""

from __future__ import annotations

from typing import Any, Final

from neva.sources.hl7v2.context import Context, stay_of, subject_of_message
from neva.sources.hl7v2.message import UnreadableMessageError
from neva.sources.hl7v2.results import read_number
from neva.sources.hl7v2.times import Moment, read_time

__all__ = ["appointment", "medicines", "orders"]

#: ORC-1 (table 0119) that end an order.
_CANCELLED: Final = frozenset(["CA", "CR", "DC", "DR", "OC", "OD", "UC"])
#: ORC-5 (table 0038).
_ORDER_STATUS: Final = {"CA": "cancelled", "DC": "cancelled", "CM": "done", "RP": "cancelled"}
#: RXA-20 (table 0322).
_GIVEN: Final = {"CP": "done", "PA": "done", "": "done", "RE": "not-done", "NA": "not-done"}
#: Events of SIU that end an appointment, and SCH-25 (table 0278) that do.
_APPOINTMENT_ENDS: Final = {"S15": "cancelled", "S16": "cancelled", "S17": None, "S26": "not-done"}
_APPOINTMENT_STATUS: Final = {
    "CANCELLED": "cancelled", "DC": "cancelled", "DISCONTINUED": "cancelled", "DELETED": None,
    "COMPLETE": "done", "COMPLETED": "done", "STARTED": "done", "NOSHOW": "not-done",
}  # fmt: skip


def _groups(context: Context, *names: str) -> list[dict[str, list[str]]]:
    """Part a message into orders: each ORC, with the segments that follow it."""
    found: list[dict[str, list[str]]] = []
    for segment in context.message.segments:
        if segment[0] == "ORC":
            found.append({"ORC": segment})
        elif segment[0] in names:
            if not found or segment[0] in found[-1]:
                found.append({"ORC": found[-1]["ORC"]} if found and "ORC" in found[-1] else {})
            found[-1][segment[0]] = segment
    return found


def _number_of(context: Context, group: dict[str, list[str]], segment: list[str]) -> str | None:
    """Return the order's number: the placer's, which stays the same, else the filler's."""
    message, orc = context.message, group.get("ORC")
    for place, number in ((orc, 2), (segment, 2), (orc, 3), (segment, 3)):
        found = message.text(place, number)
        if found and (place is orc or segment[0] == "OBR"):
            return found
    return None


def _status(context: Context, group: dict[str, list[str]]) -> str:
    orc = group.get("ORC")
    if context.message.text(orc, 1) in _CANCELLED:
        return "cancelled"
    return _ORDER_STATUS.get(context.message.text(orc, 5), "planned")


def _patient(context: Context) -> dict[str, Any]:
    message = context.message
    stay = stay_of(context, message.first("PID"), message.first("PV1"))
    return {"subject": subject_of_message(context), "stay": stay}


def orders(context: Context) -> None:
    """Add orders (ORM, OMG, OML): an event for each OBR, planned until it is done or cancelled."""
    patient = _patient(context)
    for group in _groups(context, "OBR"):
        obr = group.get("OBR")
        if obr is None:
            continue
        code = context.code(obr[4]) if len(obr) > 4 and obr[4] else None
        if code is None:
            raise UnreadableMessageError("code-missing", "OBR-4")
        orc = group.get("ORC")
        time = context.time(obr, 6) or context.time(obr, 7) or context.time(orc, 9) or context.sent
        if time is None:
            raise UnreadableMessageError("time-missing", "OBR-7")
        number = _number_of(context, group, obr)
        whose = patient["stay"] or patient["subject"]
        context.event(
            f"ORDER|{number or f'{whose}|{time.time.isoformat()}'}|{code}",
            code,
            time,
            **patient,
            status=_status(context, group),
            attributes=[{"key": "kind", "value": "order"}],
        )


def medicines(context: Context) -> None:
    """Add orders of medicines (RXE, RXO), dispenses (RXD) and administrations (RXA)."""
    patient = _patient(context)
    for group in _groups(context, "RXE", "RXO", "RXA", "RXD"):
        if "RXA" in group:
            _administration_of(context, group, patient)
        elif "RXE" in group or "RXO" in group:
            _medicine_order(context, group, patient)
        elif "RXD" in group:
            _dispense(context, group, patient)


def _amount(context: Context, segment: list[str], value: int, unit: int) -> dict[str, Any]:
    message = context.message
    number = read_number(message.text(segment, value))
    return {
        "value": number[0] if number else None,
        "value_unit": (message.text(segment, unit) or None) if number else None,
    }


def _coded(context: Context, segment: list[str], number: int) -> str:
    code = context.code(segment[number]) if len(segment) > number and segment[number] else None
    if code is None:
        raise UnreadableMessageError("code-missing", f"{segment[0]}-{number}")
    return code


def _needed(time: Moment | None, field: str) -> Moment:
    if time is None:
        raise UnreadableMessageError("time-missing", field)
    return time


def _administration_of(
    context: Context, group: dict[str, list[str]], patient: dict[str, Any]
) -> None:
    message, rxa = context.message, group["RXA"]
    code = _coded(context, rxa, 5)
    start = _needed(context.time(rxa, 3) or context.sent, "RXA-3")
    end = context.time(rxa, 4)
    given = message.text(rxa, 20)
    if given not in _GIVEN:
        context.doubt("status-unknown", given[:10])
    number = message.text(group.get("ORC"), 3) or message.text(group.get("ORC"), 2)
    part = message.text(rxa, 2) or start.time.isoformat()
    refused = message.text(rxa, 18)
    withdrawn = message.text(rxa, 21) == "D"
    context.event(
        f"RXA|{number or patient['stay'] or patient['subject']}|{part}|{code}",
        code,
        start,
        **patient,
        end_time=end.time if end is not None and end.time > start.time else None,
        status=_GIVEN.get(given, "done"),
        reason=context.code(rxa[18]) if refused else None,
        withdrawn=withdrawn,
        sequence=context.place(rxa),
        attributes=[{"key": "kind", "value": "administration"}],
        **_amount(context, rxa, 6, 7),
    )


def _medicine_order(context: Context, group: dict[str, list[str]], patient: dict[str, Any]) -> None:
    segment = group.get("RXE") or group["RXO"]
    is_encoded = segment[0] == "RXE"
    code = _coded(context, segment, 2 if is_encoded else 1)
    orc = group.get("ORC")
    time = context.time(orc, 15) or context.time(orc, 9) or context.sent
    number = _number_of(context, group, segment)
    context.event(
        f"MEDICINE|{number or patient['stay'] or patient['subject']}|{code}",
        code,
        _needed(time, "ORC-9"),
        **patient,
        status=_status(context, group),
        attributes=[{"key": "kind", "value": "order"}],
        **_amount(context, segment, 3 if is_encoded else 2, 5 if is_encoded else 4),
    )


def _dispense(context: Context, group: dict[str, list[str]], patient: dict[str, Any]) -> None:
    rxd = group["RXD"]
    code = _coded(context, rxd, 2)
    number = context.message.text(group.get("ORC"), 3) or context.message.text(rxd, 7)
    part = context.message.text(rxd, 1)
    context.event(
        f"RXD|{number or patient['stay'] or patient['subject']}|{part}|{code}",
        code,
        _needed(context.time(rxd, 3) or context.sent, "RXD-3"),
        **patient,
        attributes=[{"key": "kind", "value": "dispense"}],
        **_amount(context, rxd, 4, 5),
    )


def appointment(context: Context) -> None:
    """Add an appointment (SIU): a planned event, moved, cancelled, kept or missed.

    Its code is that of the service (AIS-3), else of the reason or type (SCH-7, SCH-8).
    """
    message = context.message
    sch = message.first("SCH")
    number = message.text(sch, 1) or message.text(sch, 2)
    if sch is None or not number:
        raise UnreadableMessageError("code-missing", "SCH-1")
    patient = _patient(context)
    ais = message.first("AIS")
    code = None
    for segment, place in ((ais, 3), (sch, 7), (sch, 8)):
        if code is None and segment is not None and len(segment) > place and segment[place]:
            code = context.code(segment[place])
    if code is None:
        raise UnreadableMessageError("code-missing", "AIS-3")
    timing = sch[11] if len(sch) > 11 else ""
    start = context.time(ais, 4) or _timing(context, timing, 4)
    end = _timing(context, timing, 5)
    event = message.header.type.partition("^")[2]
    status = "planned"
    is_deleted = event == "S17"
    if event in _APPOINTMENT_ENDS:
        status = _APPOINTMENT_ENDS[event] or "cancelled"
    else:
        named = message.text(sch, 25).upper()
        status = _APPOINTMENT_STATUS.get(named, status) or "cancelled"
    time = start or context.sent
    context.event(
        f"SCH|{number}",
        code,
        _needed(time, "SCH-11"),
        **patient,
        end_time=end.time if start and end is not None and end.time > start.time else None,
        status=status,
        withdrawn=is_deleted,
        attributes=[{"key": "kind", "value": "appointment"}],
    )


def _timing(context: Context, field: str, component: int) -> Moment | None:

    text = context.message.component(field, component) if field else ""
    return read_time(text, zone=context.zone, inherited=context.offset, field="SCH-11")
