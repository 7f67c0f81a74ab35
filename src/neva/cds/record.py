"""The record that a CDS client sent for one patient, as the timeline that definitions read.

FHIR resources become rows by the same pure function as a bulk import, and the
rows pass the same checks. What could not be read is counted by reason; what was
not sent is known to be missing, so that it reads as unknown and never as "no".
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from neva.cds.prefetch import ENCOUNTERS, MOST_ENTRIES, PATIENT, SORTED, Needs
from neva.definitions import model as m
from neva.definitions.local_time import FOREVER, microseconds, optional_microseconds
from neva.definitions.reference.timeline import Person, Row, Stay, Timeline
from neva.events.measurement_units import ucum_of
from neva.events.schema import STATUSES
from neva.sources.fhir.codes import Context, moment
from neva.sources.fhir.context import Gathering
from neva.sources.fhir.reading import RowsByTable
from neva.sources.fhir.resources import HANDLED, rows_of

__all__ = ["BedsideRecord", "Sent", "bedside_record", "id_of"]

_EVER: Final = -(2**62)
#: Resources that a draft order may be; nothing else is taken from drafts.
ORDERS: Final = frozenset({"MedicationRequest", "ServiceRequest"})


def id_of(kind: str, name: str) -> int:
    """Return a number for a name; the same always, 63 bits."""
    digest = hashlib.blake2b(f"{kind}|{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass
class Sent:
    """Which parts of a record were sent, and from when on (microseconds)."""

    needs: Needs
    since_by_key: dict[str, int] = field(default_factory=dict)

    def lacks(self, frame: m.Frame, since: int) -> bool:
        """Tell whether rows of a frame since a time may not have been sent."""
        return any(
            key not in self.since_by_key or self.since_by_key[key] > since
            for key in self.needs.keys_of(frame)
        )


@dataclass(frozen=True)
class BedsideRecord:
    """One patient at the bedside.

    Attributes
    ----------
    timeline : Timeline
    stay_id : int or None
        The number of the stay asked about; None: none was named or sent.
    sent : Sent
    unreadable : dict of str to int
        Resources and rows that could not be read, by reason.
    read : int
        Resources that were read.
    absent : tuple of str
        Prefetch keys that were not sent.
    partial : tuple of str
        Prefetch keys of which only a part was sent.
    is_dead : bool
        The patient is known to have died by now, be it without a date.
    """

    timeline: Timeline
    stay_id: int | None
    sent: Sent
    unreadable: dict[str, int]
    read: int
    absent: tuple[str, ...]
    partial: tuple[str, ...] = ()
    is_dead: bool = False


def _resources(value: Any) -> list[Any]:
    """Resources of one prefetch value."""
    if value is None:
        return []
    if not isinstance(value, Mapping) or value.get("resourceType") != "Bundle":
        return [value]
    entries = value.get("entry") or []
    if not isinstance(entries, list):
        return [entries]
    return [entry.get("resource") if isinstance(entry, Mapping) else entry for entry in entries]


def _may_lack(value: Any, kind: str) -> bool:
    """Tell whether a search found more than stands in a prefetch value."""
    if value is None:
        return False
    if value.get("resourceType") != "Bundle":
        return True  # one resource is no answer to a search
    if not isinstance(value.get("entry") or [], list):
        return True
    links = value.get("link") or []
    if not isinstance(links, list) or any(
        isinstance(link, Mapping) and link.get("relation") == "next" for link in links
    ):
        return True
    # What a server includes besides is no match.
    matched = sum(_is_a(one, kind) for one in _resources(value))
    total = value.get("total")
    return matched >= MOST_ENTRIES or (isinstance(total, int) and total > matched)


def _is_a(resource: Any, kind: str) -> bool:
    return isinstance(resource, Mapping) and resource.get("resourceType") == kind


def _is_outcome(resource: Any) -> bool:
    return _is_a(resource, "OperationOutcome")


def _is_failure(resource: Any) -> bool:
    """Tell whether a search came back broken, not only with advice."""
    if not _is_outcome(resource):
        return False
    issues = resource.get("issue")
    return not isinstance(issues, list) or any(
        not isinstance(one, Mapping) or one.get("severity") not in ("warning", "information")
        for one in issues
    )


def is_sent(value: Any, kind: str) -> bool:
    """Tell whether a prefetch value is an answer: data, or null for "there is none".

    An OperationOutcome says that the client could not get the data; what is
    neither a Bundle nor a resource of the kind that was asked for is no answer.
    """
    if value is None:
        return True
    if _is_a(value, "Bundle"):
        found = _resources(value)
        return not (found and all(_is_outcome(one) for one in found))
    return _is_a(value, kind)


def _is_of_patient(value: Any, patient: str) -> bool:
    """Tell whether a value is the patient in context; null says that none is known."""
    return value is None or any(
        _is_a(one, "Patient") and one.get("id") == patient for one in _resources(value)
    )


def _until(row: Mapping[str, Any]) -> int:
    withdrawn = row.get("retracted")
    return FOREVER + 1 if withdrawn is None else microseconds(withdrawn)


def _reason_of_refusal(row: Mapping[str, Any], start: str) -> str | None:
    """Say why a row is refused, by the reasons of a bulk import."""
    if row.get(start) is None and row.get("precision") != "none":
        return "time-missing"
    end = row.get("end_time" if start == "time" else "end")
    if end is not None and row.get(start) is not None and end < row[start]:
        return "end-before-start"
    value = row.get("value")
    if value is not None and not math.isfinite(value):
        return "value-not-finite"
    if row.get("status", "done") not in STATUSES:
        return "status-unknown"
    unit = row.get("value_unit")
    if unit is not None and ucum_of(unit) is None:
        return "unit-unknown"
    return None


def _event(row: Mapping[str, Any], kind: str) -> Row:
    unit = row.get("value_unit")
    time = row["time"]
    return Row(
        source="events",
        event_id=id_of(kind, row["row_id"]),
        stay_id=None if row.get("stay") is None else id_of("Encounter", row["stay"]),
        time=microseconds(time),
        end_time=optional_microseconds(row.get("end_time")),
        recorded=microseconds(row.get("recorded") or time),
        known_until=_until(row),
        code=row["code"],
        value=row.get("value"),
        comparator=row.get("comparator"),
        value_unit=None if unit is None else ucum_of(unit),
        text=row.get("text"),
        status=row.get("status") or "done",
        reason=row.get("reason"),
        rank=row.get("rank"),
        attributes={pair["key"]: pair["value"] for pair in row.get("attributes") or ()},
        sequence=row.get("sequence") or 0,
    )


def _thing(row: Mapping[str, Any], source: str) -> Row:
    """A movement or a stay as a row."""
    is_stay = source == "stays"
    word = row.get("kind") if is_stay else row.get("unit")
    return Row(
        source=source,
        event_id=id_of(source, row["row_id"]),
        stay_id=id_of("Encounter", row["stay"]),
        time=microseconds(row["start"]),
        end_time=optional_microseconds(row.get("end")),
        recorded=microseconds(row["recorded"]),
        known_until=_until(row),
        code=f"{'STAY' if is_stay else 'UNIT'}//{word or ''}",
        text=row.get("outcome") if is_stay else row.get("bed"),
        reason=row.get("source") if is_stay else None,
    )


@dataclass(frozen=True)
class _Read:
    """A resource of the patient, as rows."""

    kind: str
    key: str
    updated: datetime | None
    tables: RowsByTable


class _Reader:
    """Rows of one patient, as resources come."""

    def __init__(self, patient: str, zone: str, context: Context, now: datetime) -> None:
        self.patient, self.zone, self.context, self.now = patient, zone, context, now
        self.timeline = Timeline(id_of("Patient", patient))
        self.unreadable: Counter[str] = Counter()
        self.resources: dict[tuple[str, str], _Read] = {}
        #: Times of events by key, in the order in which they were sent.
        self.times: dict[str, list[int]] = {}
        self.is_dead = False

    def take(self, resource: Any, *, key: str) -> None:
        """Read a resource, once, in its newest version."""
        if _is_outcome(resource):
            self.unreadable["operation-outcome"] += 1
            return
        if not isinstance(resource, Mapping) or not isinstance(resource.get("resourceType"), str):
            self.unreadable["resource-unreadable"] += 1
            return
        kind = resource["resourceType"]
        if kind not in HANDLED:
            return
        tables = rows_of(resource, zone=self.zone, context=self.context, received=self.now)
        others = {
            row.get("subject")
            for table in ("events", "stays", "movements", "subjects")
            for row in tables.get(table, ())
        } - {self.patient}
        if others:
            # Of somebody else: nothing of it may reach this patient's card.
            self.unreadable["other-patient"] += 1
            return
        for refused in tables.get("quarantine", ()):
            self.unreadable[refused["reason"]] += 1
        name = resource.get("id")
        if not isinstance(name, str) or tables.keys() <= {"quarantine"}:
            return  # refused; a sound one of the same id is not held back by it
        meta = resource.get("meta")
        updated = meta.get("lastUpdated") if isinstance(meta, Mapping) else None
        read = _Read(kind, key, moment(updated, self.zone).time, tables)
        known = self.resources.get((kind, name))
        if known is None or (
            read.updated is not None and (known.updated is None or known.updated < read.updated)
        ):
            self.resources[kind, name] = read

    def finish(self) -> None:
        """Make the timeline of what was taken."""
        for read in self.resources.values():
            self._store_rows(read)
        self.timeline.sort()
        now = microseconds(self.now)
        self.is_dead = self.is_dead or any(
            one.death is not None and one.death <= now for one in self.timeline.person
        )

    def reaches_back(self, key: str, kind: str) -> int:
        """From when on everything was sent, where a search found more than was sent.

        Only searches that are sorted by time, the newest first, say it, and
        only where the server did sort.
        """
        times = self.times.get(key, [])
        is_sorted = all(one >= following for one, following in pairwise(times))
        return times[-1] + 1 if kind in SORTED and times and is_sorted else FOREVER + 1

    def _store_rows(self, read: _Read) -> None:
        tables, kind, key = read.tables, read.kind, read.key
        for row in tables.get("events", ()):
            if row["code"] == "FHIR//deceased":
                self.is_dead = True
            self._event(row, kind, key)
        for row in tables.get("stays", ()):
            self._stay(row)
        for row in tables.get("movements", ()):
            if (reason := _reason_of_refusal(row, "start")) is not None:
                self.unreadable[reason] += 1
                continue
            self.timeline.rows.append(_thing(row, "movements"))
        for row in tables.get("subjects", ()):
            self.timeline.person.append(
                Person(
                    birth_date=row["birth_date"],
                    sex=row["sex"],
                    death=optional_microseconds(row["death"]),
                    recorded=_EVER,
                    known_until=FOREVER + 1,
                )
            )

    def take_draft(self, draft: Any) -> None:
        """Read an order that is being written; what is no order is told."""
        if any(_is_a(draft, kind) for kind in HANDLED - ORDERS):
            self.unreadable["not-an-order"] += 1
        else:
            self.take(_as_draft(draft, self.patient, self.now), key="drafts")

    def stay_in_context(self, encounter: str) -> int | None:
        """Return the stay of an encounter, if it was sent."""
        number = id_of("Encounter", self.context.stays.get(encounter) or encounter)
        return number if number in self.timeline.stays else None

    def _event(self, row: Mapping[str, Any], kind: str, key: str) -> None:
        reason = _reason_of_refusal(row, "time")
        if reason is not None:
            self.unreadable[reason] += 1
            return
        if row.get("time") is None:
            return  # known without a time: definitions ask by time
        made = _event(row, kind)
        self.times.setdefault(key, []).append(made.time)
        now = microseconds(self.now)
        if made.recorded > now or (made.time > now and made.status != "planned"):
            # Not looked at. The reader is told, since a clock may be wrong.
            self.unreadable["later-than-now"] += 1
        self.timeline.rows.append(made)

    def _stay(self, row: Mapping[str, Any]) -> None:
        if (reason := _reason_of_refusal(row, "start")) is not None:
            self.unreadable[reason] += 1
            return
        number = id_of("Encounter", row["stay"])
        self.timeline.rows.append(_thing(row, "stays"))
        self.timeline.stays.setdefault(number, []).append(
            Stay(
                stay_id=number,
                start=microseconds(row["start"]),
                end=optional_microseconds(row["end"]),
                kind=row["kind"],
                source=row["source"],
                outcome=row["outcome"],
                recorded=microseconds(row["recorded"]),
                known_until=_until(row),
            )
        )


def _context_of(values: Iterable[Any], patient: str, zone: str) -> Context:
    """What resources must know of each other."""
    gathering = Gathering(Context(), zone)
    resources = [one for value in values for one in _resources(value)]
    for resource in resources:
        gathering.look(resource)
    if gathering.needs_second_look:
        for resource in resources:
            gathering.look_again(resource)
    context = gathering.finish()
    if patient in context.persons:
        # The record that was opened is the one asked about, whatever took its place.
        context.persons.clear()
    return context


def bedside_record(
    prefetch: Mapping[str, Any],
    needs: Needs,
    *,
    patient: str,
    encounter: str | None,
    now: datetime,
    zone: str,
    drafts: Iterable[Any] = (),
    since_by_key: Mapping[str, datetime | None] | None = None,
) -> BedsideRecord:
    """Turn what a client sent into a patient's timeline.

    Parameters
    ----------
    prefetch : mapping of str to JSON
        By prefetch key: a resource, a Bundle, None ("there is none"), or an
        OperationOutcome ("could not be got"). A key that is absent was not sent.
    needs : Needs
        What was asked for.
    patient, encounter : str
        Ids of the patient and the stay in context.
    now : datetime
        Aware; what was recorded later is not used.
    zone : str
        The hospital's zone.
    drafts : iterable of JSON
        Draft orders in context, as planned events of now.
    since_by_key : mapping, optional
        From when on a search was made, where it was limited.

    Returns
    -------
    BedsideRecord
    """
    context = _context_of(prefetch.values(), patient, zone)
    reader = _Reader(patient, zone, context, now)
    sent = Sent(needs)
    kinds = {PATIENT: "Patient", **{one.key: one.kind for one in needs.searches}}
    answered = _answered(prefetch, kinds, patient)
    for key in kinds:
        for resource in _resources(prefetch[key]) if key in prefetch else ():
            if key in answered or not _is_outcome(resource):
                reader.take(resource, key=key)
    for draft in drafts:
        reader.take_draft(draft)
    reader.finish()
    stay_id = None if encounter is None else reader.stay_in_context(encounter)
    if encounter is not None and stay_id is None and ENCOUNTERS in answered:
        # The stay in context is not among those sent, so these are not all.
        answered.remove(ENCOUNTERS)
    partial = [key for key in answered if key != PATIENT and _is_partial(prefetch[key], kinds[key])]
    for key in answered:
        since = (since_by_key or {}).get(key)
        start = _EVER if since is None else microseconds(since)
        if key in partial:
            start = max(start, reader.reaches_back(key, kinds[key]))
        sent.since_by_key[key] = start
    absent = [key for key in kinds if key not in answered]
    return BedsideRecord(
        timeline=reader.timeline,
        stay_id=stay_id,
        sent=sent,
        unreadable=dict(sorted(reader.unreadable.items())),
        read=len(reader.resources),
        absent=tuple(absent),
        partial=tuple(partial),
        is_dead=reader.is_dead,
    )


def _answered(prefetch: Mapping[str, Any], kinds: Mapping[str, str], patient: str) -> list[str]:
    """Name the keys that were answered, a patient only if it is the one in context."""
    return [
        key
        for key, kind in kinds.items()
        if key in prefetch
        and is_sent(prefetch[key], kind)
        and (key != PATIENT or _is_of_patient(prefetch[key], patient))
    ]


def _is_partial(value: Any, kind: str) -> bool:
    """Tell whether an answer may lack something, or says that a part of it failed."""
    return _may_lack(value, kind) or any(_is_failure(one) for one in _resources(value))


def _as_draft(draft: Any, patient: str, now: datetime) -> Any:
    """Say of a draft order what is clear from where it stands: whose and when."""
    if not isinstance(draft, Mapping):
        return draft
    made = dict(draft)
    if made.get("subject") is None:
        made["subject"] = {"reference": f"Patient/{patient}"}
    made["authoredOn"] = now.isoformat()
    made["status"] = "draft"
    content = json.dumps(made, sort_keys=True)
    made.setdefault("id", "draft-" + hashlib.sha256(content.encode()).hexdigest()[:16])
    return made
