"""Results, diagnoses and a site's own segments as events."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from neva.events.schema import PRECISIONS
from neva.sources.hl7v2.context import Context, stay_of, subject_of_message
from neva.sources.hl7v2.message import DELETED, UnreadableMessageError
from neva.sources.hl7v2.profile import ZSegment
from neva.sources.hl7v2.times import Moment

__all__ = ["diagnoses", "results", "site_segments"]

#: OBX-11 (table 0085): what becomes of the event. HL7's own map to FHIR.
_STATUS: Final = {
    "P": "preliminary", "R": "preliminary", "S": "preliminary", "I": "registered",
    "F": "final", "U": "final", "V": "final", "B": "final", "C": "corrected", "A": "amended",
    "": "final",
}  # fmt: skip
#: Senders write to the second: of what was sent in the same one, these came after others.
_IN_TURN: Final = {"A": 1, "C": 1, "D": 2, "W": 2}
#: Entered in error, or never to be had.
_WITHDRAWN: Final = frozenset("DW")
_CANNOT_BE_OBTAINED: Final = "X"
_NOT_ASKED: Final = frozenset("NO")
_NUMBER: Final = re.compile(
    r"\s*([<>]=?)?\s*([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?)\s*\Z"
)
_COMPARATORS: Final = {"<": "<", "<=": "<", ">": ">", ">=": ">"}


def read_number(text: str) -> tuple[float, str | None] | None:
    """Read a number with its comparator, as in ``<0.01``; None where it is none.

    Examples
    --------
    >>> read_number("<0,01"), read_number("5.6"), read_number("1e999"), read_number("high")
    ((0.01, '<'), (5.6, None), None, None)
    """
    found = _NUMBER.match(text)
    if found is None:
        return None
    value = float(found.group(2).replace(",", "."))
    if not math.isfinite(value):
        return None
    return value, _COMPARATORS.get(found.group(1) or "")


def _value_columns(context: Context, obx: list[str]) -> dict[str, Any]:
    """Return value, comparator, unit and text of a result."""
    message = context.message
    kind = message.text(obx, 2)
    raw = obx[5] if len(obx) > 5 else ""
    if not raw or raw == DELETED:
        return {}
    unit = message.text(obx, 6) or None
    if kind in ("NM", "SN", "ST", ""):
        if kind == "SN":
            parts = [message.component(raw, number) for number in (1, 2, 3, 4)]
            is_single = not parts[2] and not parts[3]
            number = read_number(f"{parts[0]}{parts[1]}") if is_single else None
        else:
            number = (
                None if message.header.separators[2] in raw else read_number(message.unescaped(raw))
            )
        if number is not None:
            return {"value": number[0], "comparator": number[1], "value_unit": unit}
        if kind in ("NM", "SN"):
            context.doubt("value-unreadable")
    if kind in ("CE", "CWE", "CNE", "CF"):
        code = context.code(raw)
        text = message.component(raw, 2) or message.component(raw, 1)
        columns: dict[str, Any] = {"text": text or None}
        if code is not None:
            columns["attributes"] = [{"key": "value.code", "value": code}]
        return columns
    text = message.value(obx, 5)
    if kind == "SN":
        text = text.replace(message.header.separators[1], " ").strip()
    return {"text": text or None}


def _observed_at(context: Context, obx: list[str], obr: list[str] | None) -> Moment | None:
    return context.time(obx, 14) or context.time(obr, 7)


def results(context: Context) -> None:
    """Add the results of a message: an event for each OBX.

    A result is the same one as long as filler number (OBR-3), code (OBX-3), part (OBX-4)
    and time of observation (OBX-14, else OBR-7) are. P, F, C and their like are states of
    it; D and W withdraw it; X is a result that cannot be obtained.
    """
    message = context.message
    subject = subject_of_message(context)
    stay = stay_of(context, message.first("PID"), message.first("PV1"))
    obr: list[str] | None = None
    for segment in message.segments:
        if segment[0] == "OBR":
            obr = segment
        elif segment[0] == "OBX":
            _result(context, segment, obr, subject, stay)
    if not context.found.events and context.found.doubts["code-missing", "OBX-3"]:
        raise UnreadableMessageError("code-missing", "OBX-3")


def _result(
    context: Context, obx: list[str], obr: list[str] | None, subject: str, stay: str | None
) -> None:
    message = context.message
    field = obx[3] if len(obx) > 3 else ""
    code = context.code(field) if field else None
    if code is None:
        context.doubt("code-missing", "OBX-3")
        return
    status_code = message.text(obx, 11)
    if status_code in _NOT_ASKED:
        return
    if (
        status_code not in _STATUS
        and status_code not in _WITHDRAWN
        and status_code != _CANNOT_BE_OBTAINED
    ):
        context.doubt("status-unknown", status_code[:10])
    time = _observed_at(context, obx, obr) or context.sent
    if time is None:
        raise UnreadableMessageError("time-missing", "OBX-14")
    filler = message.text(obr, 3) or message.text(obr, 2)
    part = message.text(obx, 4)
    written = message.text(obx, 14) or message.text(obr, 7)
    row_id = f"OBX|{filler or f'{subject}|{stay}'}|{code}|{part}|{written}"
    columns = _value_columns(context, obx)
    attributes = columns.pop("attributes", []) + context.other_codings(field, code)
    status = _STATUS.get(status_code, "final")
    if status not in ("final",):
        attributes.append({"key": "result-status", "value": status})
    panel = context.code(obr[4]) if obr is not None and len(obr) > 4 and obr[4] else None
    if panel is not None and panel != code:
        attributes.append({"key": "panel", "value": panel})
    cancelled = status_code == _CANNOT_BE_OBTAINED
    context.event(
        row_id,
        code,
        time,
        later=_IN_TURN.get(status_code, 0),
        subject=subject,
        stay=stay,
        status="not-done" if cancelled else "done",
        sequence=context.place(obx),
        withdrawn=status_code in _WITHDRAWN,
        attributes=attributes or None,
        **columns,
    )


def diagnoses(context: Context) -> None:
    """Add the diagnoses of a message: an event for each DG1; DG1-21 ``D`` withdraws it."""
    message = context.message
    if message.first("DG1") is None:
        return
    subject = subject_of_message(context)
    stay = stay_of(context, message.first("PID"), message.first("PV1"))
    for dg1 in message.named("DG1"):
        field = dg1[3] if len(dg1) > 3 else ""
        code = context.code(field) if field else None
        if code is None:
            context.doubt("code-system-missing" if field else "status-unknown", "DG1-3")
            continue
        time = context.time(dg1, 5) or context.sent
        if time is None:
            raise UnreadableMessageError("time-missing", "DG1-5")
        rank = message.text(dg1, 15)
        own = message.text(dg1, 20)
        kind = message.text(dg1, 6)
        attributes = context.other_codings(field, code)
        if kind:
            attributes.append({"key": "diagnosis-type", "value": kind})
        context.event(
            f"DG1|{own or f'{stay or subject}|{code}'}",
            code,
            time,
            subject=subject,
            stay=stay,
            rank=int(rank) if rank.isdecimal() and len(rank) < 6 else None,
            sequence=context.place(dg1),
            withdrawn=message.text(dg1, 21) == "D",
            attributes=attributes or None,
        )


def site_segments(context: Context) -> None:
    """Add the events of a site's own segments, as its profile says they are written."""
    message, profile = context.message, context.profile
    subject = stay = None
    for segment in message.segments:
        where = profile.z_segments.get(segment[0])
        if where is None:
            continue
        if subject is None:
            pid = message.first("PID")
            subject = subject_of_message(context)
            stay = stay_of(context, pid, message.first("PV1"))
        _site_segment(context, segment, where, subject, stay)


def _site_segment(
    context: Context, segment: list[str], where: ZSegment, subject: str, stay: str | None
) -> None:
    message = context.message

    def text(number: int | None) -> str | None:
        return None if number is None else (message.text(segment, number) or None)

    def code(number: int | None) -> str | None:
        has = number is not None and len(segment) > number and segment[number]
        return context.code(segment[number]) if has and number is not None else None

    own, what = text(where.id), code(where.code)
    if own is None or what is None:
        raise UnreadableMessageError("code-missing", f"{segment[0]}-{where.code}")
    time = (context.time(segment, where.time) if where.time else None) or context.sent
    if time is None:
        raise UnreadableMessageError("time-missing", f"{segment[0]}-{where.time}")
    end = context.time(segment, where.end) if where.end else None
    number = read_number(text(where.value) or "")
    status, rank = text(where.status), text(where.rank)
    attributes = []
    for repetition in (
        message.repetitions(segment, where.attributes or 0) if where.attributes else []
    ):
        key = message.component(repetition, 1)
        if key:
            attributes.append({"key": key, "value": message.component(repetition, 2)})
    precision = text(where.precision)
    if precision in PRECISIONS:
        time = time._replace(precision=precision)
    place = text(where.sequence)
    context.event(
        f"{segment[0]}|{own}",
        what,
        time,
        sequence=int(place) if place and place.isdecimal() else context.place(segment),
        subject=subject,
        stay=stay,
        end_time=end.time if end else None,
        value=number[0] if number else None,
        comparator=text(where.comparator) or (number[1] if number else None),
        value_unit=text(where.unit),
        text=text(where.text),
        status=None if status == "withdrawn" else status,
        reason=code(where.reason),
        rank=int(rank) if rank and rank.isdecimal() else None,
        attributes=attributes or None,
        withdrawn=status == "withdrawn",
    )
