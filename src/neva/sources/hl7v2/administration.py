"""ADT: who a patient is, and where; what each event says of a person and of a stay."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Final

from neva.events.operational_codes import (
    ADMISSION_PLANNED,
    BED_REQUESTED,
    DISCHARGE_EXPECTED,
    RETURN_EXPECTED,
)
from neva.sources.hl7v2.context import Context, Person, stay_of, subject_of
from neva.sources.hl7v2.message import DELETED, Message, UnreadableMessageError
from neva.sources.hl7v2.times import Moment, read_day

__all__ = ["SAYS_NOTHING", "administration", "demographics"]

#: Events about a stay; of the others only the person counts.
_STAY_EVENTS: Final = frozenset(
    ("A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A11", "A12", "A13", "A14", "A15",
     "A16", "A17", "A21", "A22", "A23", "A25", "A26", "A27", "A38", "A42", "A45", "A52", "A53")
)  # fmt: skip
_EARLIEST_BIRTH: Final = date(1880, 1, 1)
_ONE_DAY: Final = timedelta(days=1)
#: They tell of what is to come.
_AHEAD: Final = frozenset({"A05", "A14", "A15", "A16", "A25", "A26", "A27", "A38"})
_PERSON_EVENTS: Final = frozenset(["A28", "A29", "A31"])
#: Records become one: the number in MRG goes.
_MERGES: Final = frozenset(["A18", "A30", "A34", "A36", "A40", "A43", "A46", "A47", "A39"])
#: Accounts, which count where the profile takes the visit number from them.
_ACCOUNT_EVENTS: Final = {"A35": "A42", "A41": "A42", "A44": "A45", "A36": "A42"}
#: Read, and nothing follows: tracking of transports, links without a merge, queries.
SAYS_NOTHING: Final = frozenset(
    ("A09", "A10", "A19", "A20", "A24", "A32", "A33", "A37", "A54", "A55", "A60", "A61", "A62")
)  # fmt: skip


def _field_text(
    context: Context, segment: list[str] | None, number: int, component: int = 1
) -> Any:
    """Return what a field says: its text, ``""`` to delete it, None for nothing."""
    text = context.message.text(segment, number, component)
    if text:
        return text
    if segment is not None and context.profile.empty_fields == "deleted":
        return DELETED
    return None


def _location(
    context: Context, segment: list[str] | None, number: int
) -> tuple[str | None, str | None]:
    """Return unit and bed of a location field."""
    if segment is None or len(segment) <= number or not segment[number]:
        return None, None
    field, message = segment[number], context.message

    def joined(components: tuple[int, ...]) -> str | None:
        parts = [message.component(field, one) for one in components]
        text = "^".join("" if one == DELETED else one for one in parts).strip("^")
        return text or None

    return joined(context.profile.unit_components), joined(context.profile.bed_components)


def _mapped(known: Any, word: str | None) -> str | None:
    return word if word is None or word == DELETED else known.get(word, word)


def _person(context: Context, pid: list[str] | None, subject: str) -> dict[str, Any]:
    """Return demographics, and hand names on."""
    message = context.message
    columns: dict[str, Any] = {"subject": subject}
    if pid is None:
        return columns
    birth = _field_text(context, pid, 7)
    day = read_day(birth) if birth and birth != DELETED else None
    if birth and birth != DELETED and day is None:
        context.doubt("birth-imprecise")
    elif day is not None and not _EARLIEST_BIRTH <= day <= context.recorded.date() + _ONE_DAY:
        context.doubt("birth-impossible")
        day = None
    columns["birth_date"] = DELETED if birth == DELETED else day.isoformat() if day else None
    sex = _field_text(context, pid, 8)
    columns["sex"] = _mapped(context.profile.all_sexes, sex)
    is_dead = message.text(pid, 30)
    if message.text(pid, 29) == DELETED or is_dead == "N":
        columns["death"] = DELETED
    else:
        death = context.happened(context.time(pid, 29), "PID-29")
        if death is not None:
            columns["death"] = death.time.isoformat()
            columns["death_precision"] = context.profile.death_precision or death.precision
    name = message.repetitions(pid, 5)
    family = message.component(name[0], 1) if name else ""
    if family and family != DELETED:
        parts = [message.component(name[0], number) for number in (2, 3)]
        given = " ".join(part for part in parts if part and part != DELETED)
        context.found.persons.append(Person(subject, family, given or None, day))
    return columns


# ----------------------------------------------------------------------- ADT


def _event_time(context: Context) -> Moment:
    """Return when it happened: EVN-6, else EVN-2, else MSH-7."""
    evn = context.message.first("EVN")
    time = context.time(evn, 6) or context.time(evn, 2) or context.sent
    if time is None:
        raise UnreadableMessageError("time-missing", "EVN-6")
    return time


def _stay_columns(context: Context, event: str, pv1: list[str] | None) -> dict[str, Any]:
    profile = context.profile
    unit, bed = _location(context, pv1, 3)
    prior_unit, prior_bed = _location(context, pv1, 6)
    patient_class = _field_text(context, pv1, 2)
    kind = None
    if patient_class and patient_class not in (DELETED, "U", "N"):
        kind = profile.all_kinds.get(patient_class)
        if kind is None:
            context.doubt("class-unknown", patient_class[:20])
    start = context.time(pv1, 44)
    if event not in _AHEAD:
        start = context.happened(start, "PV1-44")
    end = context.happened(context.time(pv1, 45), "PV1-45")
    outcome = _field_text(context, pv1, 36)
    expected = None
    if event in ("A01", "A02", "A04", "A05", "A08", "A14", "A15", "A16", "A21"):
        pv2 = context.message.first("PV2")
        place = {"A05": 8, "A14": 8, "A21": 47}.get(event, 9)
        expected = context.time(pv2, place)
    return {
        "unit": unit, "bed": bed, "prior_unit": prior_unit, "prior_bed": prior_bed,
        "kind": kind,
        "source": _mapped(profile.sources, _field_text(context, pv1, 14)),
        "outcome": _mapped(profile.outcomes, outcome),
        "start": start.time if start else None,
        "start_precision": start.precision if start else None,
        "end": end.time if end else None,
        "end_precision": end.precision if end else None,
        "expected": expected.time if expected else None,
    }  # fmt: skip


def _groups(message: Message) -> list[dict[str, list[str]]]:
    """Part a message into its patients: each PID with the MRG and PV1 that follow it."""
    groups: list[dict[str, list[str]]] = []
    for segment in message.segments:
        if segment[0] == "PID":
            groups.append({"PID": segment})
        elif groups and segment[0] in ("PV1", "MRG"):
            if segment[0] == "MRG" and "MRG" in groups[-1]:
                groups.append({"PID": groups[-1]["PID"]})
            groups[-1].setdefault(segment[0], segment)
    return groups


def administration(context: Context, event: str) -> None:
    """Add what an ADT message says of each of its patients."""
    message, profile = context.message, context.profile
    if event in SAYS_NOTHING:
        return
    if event in _ACCOUNT_EVENTS and event != "A36" and profile.stay_place[0] != "PID":
        return
    is_known = event in _STAY_EVENTS | _PERSON_EVENTS | _MERGES or event in _ACCOUNT_EVENTS
    if not is_known:
        raise UnreadableMessageError("type-unknown", "MSH-9")
    time = _event_time(context)
    if event not in _AHEAD:
        context.happened(time, "EVN-6")
    groups = _groups(message)
    if not groups:
        raise UnreadableMessageError("subject-missing", "PID-3")
    for group in groups:
        _of_one_patient(context, event, time, group)
    _leave_to_others(context)


def _of_one_patient(
    context: Context, event: str, time: Moment, group: dict[str, list[str]]
) -> None:
    pid, pv1, mrg = group["PID"], group.get("PV1"), group.get("MRG")
    message, found = context.message, context.found
    subject = subject_of(context, message.repetitions(pid, 3))
    statement = {
        **_person(context, pid, subject),
        "event": event,
        "time": time.time,
        "precision": time.precision,
        "recorded": context.recorded,
    }
    if event in _MERGES:
        prior = _prior_subject(context, mrg)
        if prior == subject:
            raise UnreadableMessageError("merge-circular", "MRG-1")
        found.merges.append((prior, subject))
        found.statements.append({**statement, "event": "A40", "from_subject": prior})
        if event != "A36" or context.profile.stay_place[0] != "PID":
            return
    if event in _PERSON_EVENTS:
        found.statements.append(statement)
        return
    meant = _ACCOUNT_EVENTS.get(event, event)
    stay = stay_of(context, pid, pv1)
    if meant == "A45":
        stay = _prior_stay(context, mrg) or stay
    if stay is None:
        if event in ("A08", "A05", "A14", "A04", "A11", "A38") and pv1 is None:
            found.statements.append({**statement, "event": "A31"})
            return
        raise UnreadableMessageError("stay-missing", context.profile.stay)
    if meant == "A42":
        prior_stay = _prior_stay(context, mrg)
        if prior_stay is None or prior_stay == stay:
            raise UnreadableMessageError("merge-missing", "MRG-5")
        statement["from_stay"] = prior_stay
    statement.update(_stay_columns(context, meant, pv1))
    statement["event"], statement["stay"] = meant, stay
    found.statements.append(statement)
    _expectations(context, statement)


def _leave_to_others(context: Context) -> None:
    """Leave out what the profile lets other messages say: of persons, or of stays."""
    found, profile = context.found, context.profile
    if "ADT" not in profile.persons_from:
        found.persons.clear()
        for statement in found.statements:
            for name in ("birth_date", "sex", "death", "death_precision"):
                statement.pop(name, None)
    if "ADT" not in profile.stays_from:
        found.events.clear()
        found.statements = [one for one in found.statements if "stay" not in one]


def _prior_subject(context: Context, mrg: list[str] | None) -> str:
    field = context.message.repetitions(mrg, 1)
    if not field:
        raise UnreadableMessageError("merge-missing", "MRG-1")
    wanted = context.profile.subject
    if not wanted.type and not wanted.authority:
        return subject_of(context, field, "MRG-1")
    try:
        return subject_of(context, field, "MRG-1")
    except UnreadableMessageError:
        # Older senders write the number alone, without its kind.
        number = context.message.component(field[0], 1)
        if not number or context.message.component(field[0], 5):
            raise
        return number


def _prior_stay(context: Context, mrg: list[str] | None) -> str | None:
    number = 3 if context.profile.stay_place[0] == "PID" else 5
    found = context.message.text(mrg, number)
    return found if found and found != DELETED else None


def _expectations(context: Context, statement: dict[str, Any]) -> None:
    """Turn what is pending into events: for the forecast, not for the census."""
    event = statement["event"]
    pending = {
        "A05": ("A14", ADMISSION_PLANNED), "A14": ("A14", ADMISSION_PLANNED),
        "A15": ("A15", BED_REQUESTED), "A16": ("A16", DISCHARGE_EXPECTED),
        "A38": ("A14", ADMISSION_PLANNED), "A27": ("A14", ADMISSION_PLANNED),
        "A26": ("A15", BED_REQUESTED), "A25": ("A16", DISCHARGE_EXPECTED),
        "A22": ("A22", RETURN_EXPECTED), "A52": ("A22", RETURN_EXPECTED),
    }.get(event)  # fmt: skip
    stay = statement["stay"]
    if pending is None:
        if statement["expected"] is not None and event in ("A01", "A02", "A04", "A08"):
            pending = ("A16", DISCHARGE_EXPECTED)
        elif statement["expected"] is not None and event == "A21":
            pending = ("A22", RETURN_EXPECTED)
        else:
            return
    kind, code = pending
    is_cancelled = event in ("A38", "A27", "A26", "A25", "A22", "A52")
    when = statement["expected"] if kind != "A15" else None
    time = Moment(when or statement["time"], statement["precision"], assumed_zone=False)
    unit = statement["unit"]
    context.event(
        f"{kind}|{stay}",
        code,
        time,
        subject=statement["subject"],
        stay=stay,
        status="done" if kind == "A15" else "planned",
        attributes=[{"key": "unit", "value": unit}]
        if unit and kind not in ("A16", "A22")
        else None,
        withdrawn=is_cancelled,
    )


def demographics(context: Context) -> None:
    """Add what a message that is not ADT says of the person."""
    pid = context.message.first("PID")
    if pid is None:
        return
    try:
        subject = subject_of(context, context.message.repetitions(pid, 3))
    except UnreadableMessageError:
        return
    context.found.statements.append(
        {
            **_person(context, pid, subject),
            "event": "A31",
            "time": context.recorded,
            "precision": "instant",
            "recorded": context.recorded,
        }
    )
