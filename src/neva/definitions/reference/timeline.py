"""One patient's rows in memory: what the reference engine reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import polars as pl

from neva.definitions.local_time import FOREVER, microseconds, optional_microseconds
from neva.events.schema import CODINGS
from neva.events.snapshot import Snapshot

__all__ = ["Person", "Row", "Stay", "Timeline", "timelines"]


@dataclass(slots=True)
class Row:
    """One revision of an event, a movement or a stay; times in microseconds.

    It is known from `recorded` until (not including) `known_until`.
    """

    source: str
    event_id: int
    stay_id: int | None
    time: int
    end_time: int | None
    recorded: int
    known_until: int
    code: str
    value: float | None = None
    comparator: str | None = None
    value_unit: str | None = None
    text: str | None = None
    status: str = "done"
    reason: str | None = None
    rank: int | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    sequence: int = 0

    @property
    def codes(self) -> tuple[str, ...]:
        """Its code, and those beside it."""
        if not self.attributes:
            return (self.code,)
        others = (self.attributes.get(key) for key in CODINGS)
        return (self.code, *(one for one in others if one is not None))


@dataclass(slots=True)
class Stay:
    """One revision of a stay."""

    stay_id: int
    start: int
    end: int | None
    kind: str | None
    source: str | None
    outcome: str | None
    recorded: int
    known_until: int


@dataclass(slots=True)
class Person:
    """One revision of what is known of the patient."""

    birth_date: date | None
    sex: str | None
    death: int | None
    recorded: int
    known_until: int


@dataclass(slots=True)
class Timeline:
    """All that was ever known of one subject.

    Rows are in the total order of events: time, sequence, code, value (missing
    first), event id, recorded.
    """

    subject_id: int
    rows: list[Row] = field(default_factory=list)
    stays: dict[int, list[Stay]] = field(default_factory=dict)
    person: list[Person] = field(default_factory=list)

    def sort(self) -> None:
        """Put the rows in order."""
        self.rows.sort(
            key=lambda row: (
                row.time,
                row.sequence,
                row.code,
                row.value is not None,
                0.0 if row.value is None else row.value,
                row.event_id,
                row.recorded,
            )
        )


def _revisions(
    frame: pl.LazyFrame, keys: list[str], cut: datetime | None
) -> Iterable[dict[str, Any]]:
    """Rows of an append-only table with ``known_until``: when the next one replaced it."""
    rows = frame.collect().to_dicts()
    rows.sort(key=lambda row: (row["recorded"], row["batch"]))
    following: dict[tuple[Any, ...], int] = {}
    for row in reversed(rows):
        if cut is not None and row["recorded"] > cut:
            continue
        key = tuple(row[name] for name in keys)
        ends = [FOREVER + 1]
        if row["retracted"] is not None:
            ends.append(microseconds(row["retracted"]))
        if key in following:
            ends.append(following[key])
        following[key] = microseconds(row["recorded"])
        yield {**row, "recorded": microseconds(row["recorded"]), "known_until": min(ends)}


def timelines(snapshot: Snapshot, subjects: Iterable[int] | None = None) -> dict[int, Timeline]:
    """Read whole patients.

    Parameters
    ----------
    snapshot : Snapshot
        Rows recorded after its ``as_of`` are not read.
    subjects : iterable of int, optional
        Which; all if None (of a small hospital).

    Returns
    -------
    dict of int to Timeline
    """
    chosen = None if subjects is None else sorted(set(subjects))
    found: dict[int, Timeline] = {}

    def rows(table: str) -> pl.LazyFrame:
        stored = snapshot.stored(table)
        return stored if chosen is None else stored.filter(pl.col("subject_id").is_in(chosen))

    def revisions(table: str, key: str) -> Iterable[dict[str, Any]]:
        """Revisions of the chosen patients; one of somebody else may replace theirs."""
        stored = snapshot.stored(table)
        if chosen is None:
            return _revisions(stored, [key], snapshot.as_of)
        keys = rows(table).select(key).unique()
        every = stored.join(keys, on=key, how="semi")
        wanted = set(chosen)
        found = _revisions(every, [key], snapshot.as_of)
        return (row for row in found if row["subject_id"] in wanted)

    def of(subject: int) -> Timeline:
        return found.setdefault(subject, Timeline(subject))

    events = rows("events").filter(pl.col("time").is_not_null())
    if snapshot.as_of is not None:
        events = events.filter(pl.col("recorded") <= snapshot.as_of)
    for row in events.collect().iter_rows(named=True):
        of(row["subject_id"]).rows.append(
            Row(
                source="events",
                event_id=row["event_id"],
                stay_id=row["stay_id"],
                time=microseconds(row["time"]),
                end_time=optional_microseconds(row["end_time"]),
                recorded=microseconds(row["recorded"]),
                known_until=FOREVER + 1
                if row["retracted"] is None
                else microseconds(row["retracted"]),
                code=row["code"],
                value=row["value"],
                comparator=row["comparator"],
                value_unit=row["value_unit"],
                text=row["text"],
                status=row["status"],
                reason=row["reason"],
                rank=row["rank"],
                attributes={pair["key"]: pair["value"] for pair in row["attributes"] or ()},
                sequence=row["sequence"],
            )
        )
    for row in revisions("movements", "movement_id"):
        of(row["subject_id"]).rows.append(
            Row(
                source="movements",
                event_id=row["movement_id"],
                stay_id=row["stay_id"],
                time=microseconds(row["start"]),
                end_time=optional_microseconds(row["end"]),
                recorded=row["recorded"],
                known_until=row["known_until"],
                code=f"UNIT//{row['unit'] or ''}",
                text=row["bed"],
            )
        )
    for row in revisions("stays", "stay_id"):
        start, end = microseconds(row["start"]), optional_microseconds(row["end"])
        timeline = of(row["subject_id"])
        timeline.rows.append(
            Row(
                source="stays",
                event_id=row["stay_id"],
                stay_id=row["stay_id"],
                time=start,
                end_time=end,
                recorded=row["recorded"],
                known_until=row["known_until"],
                code=f"STAY//{row['kind'] or ''}",
                text=row["outcome"],
                reason=row["source"],
            )
        )
        timeline.stays.setdefault(row["stay_id"], []).append(
            Stay(
                stay_id=row["stay_id"],
                start=start,
                end=end,
                kind=row["kind"],
                source=row["source"],
                outcome=row["outcome"],
                recorded=row["recorded"],
                known_until=row["known_until"],
            )
        )
    for row in _revisions(rows("subjects"), ["subject_id"], snapshot.as_of):
        of(row["subject_id"]).person.append(
            Person(
                birth_date=row["birth_date"],
                sex=row["sex"],
                death=optional_microseconds(row["death"]),
                recorded=row["recorded"],
                known_until=row["known_until"],
            )
        )
    for timeline in found.values():
        timeline.sort()
    return found
