"""What a CDS client sent of one patient, as the timeline that definitions look at.

FHIR resources become rows by the same pure function as a bulk import, and the
rows pass the same checks. What could not be read is counted by reason; what was
not sent is known to be missing, so that it reads as unknown and never as "no".
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from neva.decisions.prefetch import MOST_ENTRIES, PATIENT, Needs
from neva.definitions import model as m
from neva.definitions.local_time import FOREVER, microseconds
from neva.definitions.timeline import Person, Row, Stay, Timeline
from neva.events.measurement_units import ucum_of
from neva.events.schema import STATUSES
from neva.sources.fhir_codes import Context
from neva.sources.fhir_resources import HANDLED, rows_of

__all__ = ["BedsideRecord", "Sent", "bedside_record", "id_of"]

_EVER: Final = -(2**62)


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
    """

    timeline: Timeline
    stay_id: int | None
    sent: Sent
    unreadable: dict[str, int]
    read: int
    absent: tuple[str, ...]


def _resources(value: Any) -> tuple[list[Any], bool]:
    """Resources of one prefetch value, and whether there may be more."""
    if value is None:
        return [], False
    if not isinstance(value, Mapping):
        return [value], True
    if value.get("resourceType") != "Bundle":
        return [value], False
    entries = value.get("entry") or []
    if not isinstance(entries, list):
        return [entries], True
    links = value.get("link") or []
    more = isinstance(links, list) and any(
        isinstance(link, Mapping) and link.get("relation") == "next" for link in links
    )
    total = value.get("total")
    found = [entry.get("resource") if isinstance(entry, Mapping) else entry for entry in entries]
    matched = sum(not _is_outcome(one) for one in found)
    more = more or matched >= MOST_ENTRIES or (isinstance(total, int) and total > matched)
    return found, more


def _is_outcome(resource: Any) -> bool:
    return isinstance(resource, Mapping) and resource.get("resourceType") == "OperationOutcome"


def is_sent(value: Any) -> bool:
    """Tell whether a prefetch value is an answer: data, or null for "there is none".

    An OperationOutcome says that the client could not get the data.
    """
    if _is_outcome(value):
        return False
    if isinstance(value, Mapping) and value.get("resourceType") == "Bundle":
        entries = value.get("entry") or []
        alone = isinstance(entries, list) and bool(entries)
        return not (
            alone
            and all(
                isinstance(one, Mapping) and _is_outcome(one.get("resource")) for one in entries
            )
        )
    return value is None or isinstance(value, Mapping)


def _time(value: datetime | None) -> int | None:
    return None if value is None else microseconds(value)


def _until(row: Mapping[str, Any]) -> int:
    withdrawn = row.get("retracted")
    return FOREVER + 1 if withdrawn is None else microseconds(withdrawn)


def _refused(row: Mapping[str, Any], start: str) -> str | None:
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
        end_time=_time(row.get("end_time")),
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
        end_time=_time(row.get("end")),
        recorded=microseconds(row["recorded"]),
        known_until=_until(row),
        code=f"{'STAY' if is_stay else 'UNIT'}//{word or ''}",
        text=row.get("outcome") if is_stay else row.get("bed"),
        reason=row.get("source") if is_stay else None,
    )


class _Reader:
    """Rows of one patient, as resources come."""

    def __init__(self, patient: str, zone: str, context: Context, now: datetime) -> None:
        self.patient, self.zone, self.context, self.now = patient, zone, context, now
        self.timeline = Timeline(id_of("Patient", patient))
        self.unreadable: Counter[str] = Counter()
        self.seen: set[tuple[str, str]] = set()
        self.read = 0
        self.oldest: dict[str, int] = {}

    def take(self, resource: Any, *, key: str) -> None:
        if _is_outcome(resource):
            self.unreadable["operation-outcome"] += 1
            return
        if not isinstance(resource, Mapping) or not isinstance(resource.get("resourceType"), str):
            self.unreadable["resource-unreadable"] += 1
            return
        kind = resource["resourceType"]
        name = resource.get("id")
        if isinstance(name, str):
            if (kind, name) in self.seen:
                return
            self.seen.add((kind, name))
        if kind not in HANDLED:
            return
        tables = rows_of(resource, zone=self.zone, context=self.context, received=self.now)
        for refused in tables.get("quarantine", ()):
            self.unreadable[refused["reason"]] += 1
        others = {
            row.get("subject")
            for table in ("events", "stays", "movements", "subjects")
            for row in tables.get(table, ())
        } - {self.patient}
        if others:
            # Of somebody else: nothing of it may reach this patient's card.
            self.unreadable["other-patient"] += 1
            return
        self.read += 1
        for row in tables.get("events", ()):
            self._event(row, kind, key)
        for row in tables.get("stays", ()):
            self._stay(row)
        for row in tables.get("movements", ()):
            if (reason := _refused(row, "start")) is not None:
                self.unreadable[reason] += 1
                continue
            self.timeline.rows.append(_thing(row, "movements"))
        for row in tables.get("subjects", ()):
            self.timeline.person.append(
                Person(
                    birth_date=row["birth_date"],
                    sex=row["sex"],
                    death=_time(row["death"]),
                    recorded=_EVER,
                    known_until=FOREVER + 1,
                )
            )

    def _event(self, row: Mapping[str, Any], kind: str, key: str) -> None:
        reason = _refused(row, "time")
        if reason is not None:
            self.unreadable[reason] += 1
            return
        if row.get("time") is None:
            return  # known without a time: definitions ask by time
        made = _event(row, kind)
        self.oldest[key] = min(self.oldest.get(key, made.time), made.time)
        self.timeline.rows.append(made)

    def _stay(self, row: Mapping[str, Any]) -> None:
        if (reason := _refused(row, "start")) is not None:
            self.unreadable[reason] += 1
            return
        number = id_of("Encounter", row["stay"])
        self.timeline.rows.append(_thing(row, "stays"))
        self.timeline.stays.setdefault(number, []).append(
            Stay(
                stay_id=number,
                start=microseconds(row["start"]),
                end=_time(row["end"]),
                kind=row["kind"],
                source=row["source"],
                outcome=row["outcome"],
                recorded=microseconds(row["recorded"]),
                known_until=_until(row),
            )
        )


def _context_of(values: Iterable[Any]) -> Context:
    """What resources must know of each other."""
    context = Context()
    for value in values:
        found, _ = _resources(value)
        for resource in found:
            if not isinstance(resource, Mapping):
                continue
            kind, name = resource.get("resourceType"), resource.get("id")
            if not isinstance(name, str):
                continue
            if kind == "Medication":
                context.medications[name] = resource.get("code")
            elif kind == "Location":
                context.locations[name] = dict(resource)
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
        Aware; what was recorded later is not looked at.
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
    reader = _Reader(patient, zone, _context_of(prefetch.values()), now)
    sent = Sent(needs)
    absent = []
    for key in (PATIENT, *(one.key for one in needs.searches)):
        if key not in prefetch or not is_sent(prefetch[key]):
            absent.append(key)
            continue
        resources, more = _resources(prefetch[key])
        for resource in resources:
            reader.take(resource, key=key)
        since = (since_by_key or {}).get(key)
        start = _EVER if since is None else microseconds(since)
        if more:
            # Searches are sorted by time, the newest first: what is older than
            # the oldest may not have been sent.
            start = max(start, reader.oldest.get(key, FOREVER) + 1)
        sent.since_by_key[key] = start
    for draft in drafts:
        reader.take(_as_draft(draft, patient, now), key="drafts")
    reader.timeline.sort()
    stay_id = None
    if encounter is not None:
        number = id_of("Encounter", encounter)
        stay_id = number if number in reader.timeline.stays else None
    return BedsideRecord(
        timeline=reader.timeline,
        stay_id=stay_id,
        sent=sent,
        unreadable=dict(sorted(reader.unreadable.items())),
        read=reader.read,
        absent=tuple(absent),
    )


def _as_draft(draft: Any, patient: str, now: datetime) -> Any:
    """Say of a draft order what is clear from where it stands: whose and when."""
    if not isinstance(draft, Mapping):
        return draft
    made = dict(draft)
    made.setdefault("subject", {"reference": f"Patient/{patient}"})
    made["authoredOn"] = now.isoformat()
    made["status"] = "draft"
    made.setdefault("id", "draft-" + hashlib.sha256(repr(sorted(made)).encode()).hexdigest()[:16])
    return made
