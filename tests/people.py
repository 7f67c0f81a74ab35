"""A few patients made by hand, straight as stored tables, for both engines."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from neva.definitions.run import Answers, answer
from neva.events.snapshot import Snapshot
from tests.definition_strategies import snapshot_of

#: The admission of everybody, unless said otherwise.
ADMITTED = datetime(2021, 2, 1, 9, tzinfo=UTC)
ALL_TABLES = ("events", "stays", "movements", "subjects", "units", "codes")


def hour(hours: float) -> datetime:
    """So many hours after admission."""
    return ADMITTED + timedelta(hours=hours)


class People:
    """Rows of stored tables, patient by patient; everything is known when it happens."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ALL_TABLES}
        self._next = 1000

    def _kept(self, recorded: datetime, retracted: datetime | None = None) -> dict[str, Any]:
        return {
            "recorded": recorded,
            "recorded_assumed": False,
            "retracted": retracted,
            "batch": 1,
        }

    def admit(
        self,
        subject: int,
        *,
        born: date | None = date(1960, 1, 1),
        sex: str | None = "female",
        start: datetime = ADMITTED,
        end: datetime | None = None,
        outcome: str | None = None,
        kind: str = "inpatient",
        death: datetime | None = None,
        covid: bool = True,
        source: str = "ambulance",
    ) -> None:
        self._next += 1
        self.tables["subjects"].append(
            {
                "subject_id": subject,
                "birth_date": born,
                "sex": sex,
                "death": None,
                **self._kept(start),
            }
        )
        if death is not None:
            self.tables["subjects"].append(
                {
                    "subject_id": subject,
                    "birth_date": born,
                    "sex": sex,
                    "death": death,
                    **self._kept(max(start, death)),
                    "batch": 2,
                }
            )
        stay = {
            "stay_id": subject * 10,
            "subject_id": subject,
            "start": start,
            "end": None,
            "precision": "instant",
            "kind": kind,
            "source": source,
            "outcome": None,
        }
        self.tables["stays"].append({**stay, **self._kept(start)})
        if end is not None:
            self.tables["stays"].append(
                {**stay, "end": end, "outcome": outcome, **self._kept(max(start, end)), "batch": 2}
            )
        if covid:
            self.event(subject, 0.5, "LOINC//94500-6", text="detected")

    def event(
        self,
        subject: int,
        at: float | datetime,
        code: str,
        value: float | None = None,
        unit: str | None = None,
        *,
        until: float | None = None,
        recorded: float | None = None,
        retracted: float | None = None,
        **more: Any,
    ) -> None:
        self._next += 1
        time = hour(at) if isinstance(at, (int, float)) else at
        row = {
            "event_id": self._next,
            "subject_id": subject,
            "stay_id": subject * 10,
            "time": time,
            "end_time": None if until is None else hour(until),
            "precision": "instant",
            "code": code,
            "value": value,
            "comparator": None,
            "value_unit": unit,
            "text": None,
            "status": "done",
            "reason": None,
            "rank": None,
            "attributes": None,
            "sequence": 0,
            **self._kept(
                time if recorded is None else hour(recorded),
                None if retracted is None else hour(retracted),
            ),
        }
        self.tables["events"].append(row | more)

    def snapshot(self, as_of: datetime) -> Snapshot:
        return snapshot_of(self.tables, as_of=as_of)


def both(snapshot: Snapshot, outputs: dict[str, Any], **settings: Any) -> Answers:
    """Ask both engines; they must agree; return the answers."""
    reference = answer(snapshot, outputs, engine="reference", **settings)
    relational = answer(snapshot, outputs, **settings)
    assert reference.errors.equals(relational.errors)
    for name in reference.frame.columns:
        left, right = reference.frame[name], relational.frame[name]
        if left.dtype == pl.Float64:
            assert left.is_null().equals(right.is_null()), name
            assert (left - right).abs().fill_null(0.0).max() in (None, 0.0) or (
                (left - right).abs().max() < 1e-9
            ), name
        else:
            assert left.equals(right), name
    return reference
