"""One patient in one measure: the status, its reasons, the events that decided it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from neva.definitions import model as m
from neva.definitions.binding import hierarchy_of
from neva.definitions.documents import Measure
from neva.definitions.local_time import microseconds, moment
from neva.definitions.reference.engine import DEFECTS, Place, Point, defect_of, evaluate, rows_of
from neva.definitions.reference.timeline import Row, Timeline, timelines
from neva.errors import NotFoundError
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot
from neva.quality.measuring import MeasureRun

__all__ = ["Decision", "decisions"]

EVENTS: dict[str, Any] = {
    "role": pl.String,
    "event_id": pl.Int64,
    "time": TIME,
    "end_time": TIME,
    "recorded": TIME,
    "code": pl.String,
    "value": pl.Float64,
    "value_unit": pl.String,
    "status": pl.String,
    "reason": pl.String,
}


@dataclass(frozen=True)
class Decision:
    """A measure for one case, explained; for treating roles, never for logs.

    Attributes
    ----------
    measure : str
        Its id.
    subject_id, stay_id : int
        Pseudonym and stay.
    status : str
        One of met, failed, measured, pending, excluded, unknown, outside; or
        ``error`` with the reason in `parts`.
    parts : dict of str to object
        Value of each part (``population``, each exclusion, ``clock_start``,
        ``due``, ``numerator``, each component, ``observation``): true, false,
        a time (UTC), a number, or None for unknown.
    events : polars.DataFrame
        The rows that decided it: ``role`` (the part that they decided),
        ``event_id``, ``time``, ``end_time``, ``recorded``, ``code``, ``value``,
        ``value_unit``, ``status``, ``reason``.
    """

    measure: str
    subject_id: int
    stay_id: int | None
    status: str
    parts: dict[str, Any]
    events: pl.DataFrame

    def to_frame(self) -> pl.DataFrame:
        """Return the deciding events."""
        return self.events


def _parts(measure: Measure) -> dict[str, Any]:
    found: dict[str, Any] = {"population": measure.population}
    found |= {f"excluded: {one.name}": one.of for one in measure.exclusions}
    for name in ("clock_start", "due", "numerator", "observation", "per", "treated", "interval"):
        part = getattr(measure, name)
        if part is not None:
            found[name] = part
    found |= {f"component: {one.name}": one.of for one in measure.components}
    return found


#: How many rows of a series are shown as what decided.
MOST_SHOWN = 5


def _deciding(node: Any, timeline: Any, point: Point, place: Place) -> Iterable[Row]:
    """Return the rows that a part rests on: picked ones, and the first that exist."""
    for part in m.walk(node):
        if isinstance(part, m.Pick):
            rows = rows_of(part.frame, timeline, point, place) or []
            if part.which == "last":
                yield from rows[-1:]
            elif part.which == "first":
                yield from rows[:1]
            else:
                yield from rows[:MOST_SHOWN]
        elif isinstance(part, m.Aggregate):
            rows = rows_of(part.frame, timeline, point, place) or []
            yield from rows[: 1 if part.how == "exists" else MOST_SHOWN]
        elif isinstance(part, m.HoursWhere):
            yield from (rows_of(part.frame, timeline, point, place) or [])[:MOST_SHOWN]


def _without_items(node: Any) -> bool:
    return not any(isinstance(part, (m.ItemField, m.ForEach)) for part in m.walk(node))


def decisions(
    snapshot: Snapshot,
    run: MeasureRun,
    measure: str,
    *,
    subjects: Sequence[int],
) -> list[Decision]:
    """Explain a measure for some patients, by the reference engine.

    Parameters
    ----------
    snapshot : Snapshot
        The one that the run was made from.
    run : MeasureRun
        Gives the points.
    measure : str
        Id.
    subjects : sequence of int
        Pseudonyms; every stay of theirs is explained.

    Returns
    -------
    list of Decision
        In the order of subject and stay.

    Raises
    ------
    NotFoundError
        None of the subjects has a case in the hospital.
    """
    one = run.measure(measure)
    points = run.points[one.each].filter(pl.col("subject_id").is_in(list(subjects)))
    if not points.height:
        message = (
            f"measure {one.id}: no such case; found {len(subjects)} pseudonym(s) that have no "
            f"{one.each}; take one from the list of cases"
        )
        raise NotFoundError(message)
    parents, masses = hierarchy_of(snapshot)
    place = Place(snapshot.zone, parents, masses)
    people = timelines(snapshot, points["subject_id"].to_list())
    parts = _parts(one)
    found = []
    for _, subject, stay, now, known in points.iter_rows():
        point = Point(microseconds(now), microseconds(known), stay)
        timeline = people.get(subject) or Timeline(subject)
        defect = defect_of(timeline, point, snapshot.zone)
        if defect is not None:
            found.append(
                Decision(
                    one.id,
                    subject,
                    stay,
                    "error",
                    {"reason": DEFECTS[defect]},
                    pl.DataFrame(schema=EVENTS),
                )
            )
            continue
        values = evaluate({**parts, "status": one.status}, timeline, point, place)
        rows: list[dict[str, Any]] = []
        seen: set[tuple[str, int]] = set()
        for role, node in parts.items():
            if not _without_items(node) or role in ("treated", "interval", "due"):
                continue
            for row in _deciding(node, timeline, point, place):
                if (role, row.event_id) not in seen:
                    seen.add((role, row.event_id))
                    rows.append(_row_fields(role, row, point))
        found.append(
            Decision(
                measure=one.id,
                subject_id=subject,
                stay_id=stay,
                status=values["status"],
                parts={name: _readable(node, values[name]) for name, node in parts.items()},
                events=pl.DataFrame(rows, schema=EVENTS, orient="row").sort("time", "role"),
            )
        )
    return found


def _readable(node: Any, value: Any) -> Any:
    return moment(value) if value is not None and node.type.name == "time" else value


def _row_fields(role: str, row: Row, point: Point) -> dict[str, Any]:
    over = row.end_time is not None and row.end_time <= point.now
    end: datetime | None = moment(row.end_time) if over and row.end_time is not None else None
    return {
        "role": role,
        "event_id": row.event_id,
        "time": moment(row.time),
        "end_time": end,
        "recorded": moment(row.recorded),
        "code": row.code,
        "value": row.value,
        "value_unit": row.value_unit,
        "status": row.status,
        "reason": row.reason,
    }
