"""What a record system would send of a patient at a time: FHIR resources of what is known then."""

from collections import defaultdict
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from neva.cds.prefetch import Needs
from neva.events.schema import OPEN_END
from neva.events.snapshot import Snapshot
from neva.exports import fhir
from neva.exports.fhir_events import event_resource


def _known(revisions: list[dict[str, Any]], now: datetime) -> dict[str, Any] | None:
    """The last revision recorded by now, unless it is withdrawn by then."""
    last = None
    for row in revisions:
        if row["recorded"] <= now:
            last = row
    if last is None or (last["retracted"] is not None and last["retracted"] <= now):
        return None
    return last


def _hidden(row: dict[str, Any], names: list[str], by: str, now: datetime) -> dict[str, Any]:
    if row[by] is not None and row[by] > now:
        return {**row, **dict.fromkeys(names)}
    return row


class Charts:
    """All patients of a small hospital, as known at any time. Loops and dicts only."""

    def __init__(self, snapshot: Snapshot, subjects: list[int] | None = None) -> None:
        self.zone = ZoneInfo(snapshot.zone)
        self.displays: dict[str, str] = {}
        self.events: dict[int, dict[int, list[dict[str, Any]]]] = defaultdict(
            lambda: defaultdict(list)
        )

        def rows(table: str) -> list[dict[str, Any]]:
            stored = snapshot.stored(table)
            if subjects is not None:
                stored = stored.filter(pl.col("subject_id").is_in(subjects))
            return stored.sort("recorded", "batch").collect().to_dicts()

        for row in rows("events"):
            self.events[row["subject_id"]][row["event_id"]].append(row)
        self.stays: dict[int, dict[int, list[dict[str, Any]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for row in rows("stays"):
            self.stays[row["subject_id"]][row["stay_id"]].append(row)
        self.movements: dict[int, dict[int, list[dict[str, Any]]]] = defaultdict(
            lambda: defaultdict(list)
        )
        for row in rows("movements"):
            self.movements[row["subject_id"]][row["movement_id"]].append(row)
        self.subjects: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in rows("subjects"):
            self.subjects[row["subject_id"]].append(row)
        self._made: dict[Any, dict[str, Any]] = {}

    def resources(self, subject: int, now: datetime) -> list[dict[str, Any]]:
        """Everything known of a patient at a time."""
        found = []
        person = _known(self.subjects[subject], now)
        if person is not None:
            person = _hidden(person, ["death", "death_precision"], "death", now)
            found.append(fhir._patient(person, {}, self.zone))
        for revisions in self.stays[subject].values():
            stay = _known(revisions, now)
            if stay is None or stay["start"] > now:
                continue
            moves = []
            for of_movement in self.movements[subject].values():
                move = _known(of_movement, now)
                if move is None or move["stay_id"] != stay["stay_id"] or move["start"] > now:
                    continue
                moves.append(_hidden(move, ["end"], "end", now))
            moves.sort(key=lambda move: (move["start"], move["movement_id"]))
            stay = _hidden(stay, ["end", "outcome"], "end", now)
            found.append(fhir._encounter(stay, moves, self.zone))
        for revisions in self.events[subject].values():
            for event in revisions:
                withdrawn = event["retracted"] is not None and event["retracted"] <= now
                if event["recorded"] > now or withdrawn or event["time"] is None:
                    continue
                if event["time"] > now and event["status"] != "planned":
                    continue
                # What is known to end later is going on: a period without an end.
                is_open = event["end_time"] is not None and event["end_time"] > now
                shown = {**event, "end_time": OPEN_END} if is_open else event
                key = (event["event_id"], event["recorded"], shown["end_time"])
                if key not in self._made:
                    self._made[key] = event_resource(shown, self.displays, self.zone)
                found.append(self._made[key])
        return found

    def prefetch(self, subject: int, now: datetime, needs: Needs) -> dict[str, Any]:
        """What a client sends under a service's prefetch keys."""
        by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for resource in self.resources(subject, now):
            by_kind[resource["resourceType"]].append(resource)
        found: dict[str, Any] = {"patient": (by_kind["Patient"] or [None])[0]}
        for need in needs.searches:
            entries = [{"resource": one} for one in by_kind[need.kind] if _asked(one, need.codes)]
            found[need.key] = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
        return found


def _asked(resource: dict[str, Any], codes: tuple[str, ...] | None) -> bool:
    if codes is None:
        return True
    texts = {one.partition("//")[2] for one in codes}
    return any(coding["code"] in texts for coding in resource["code"]["coding"])
