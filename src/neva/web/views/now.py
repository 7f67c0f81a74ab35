"""Now: will beds suffice, bed requests, discharges, patients of concern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from neva.events.operational_codes import DELAY_REASONS
from neva.jobs.flow import read_forecast, read_moves
from neva.operations.bed_board import BedBoard, bed_board
from neva.web.pages import Asked, Column, Pages, Table, ViewModel
from neva.web.streams import Follows

__all__ = [
    "RESTS_ON",
    "add_to",
    "answers_of",
    "board_of",
    "patient_labels",
    "reason_of",
    "seen_board",
    "stats_of",
    "tasks_of",
]

#: What every page with a bed board rests on.
RESTS_ON: Final = ("beds", "forecast", "feeds", "worker", "minute")
#: Chances from which on a group of units is marked.
AT_RISK: Final = 0.8
SHORT: Final = 0.5
#: An older forecast says nothing of tonight; an older work list misleads.
OLDEST_FORECAST: Final = timedelta(hours=12)
OLDEST_WORK_LIST: Final = timedelta(hours=1)
#: The board of each minute is another; few are looked at at once.
_BOARDS_KEPT: Final = 4
#: Pages that are the same for many, kept at most: units, roles and languages by minute.
_MOST_KEPT: Final = 200
#: Patients in need of review.
MOST_REVIEWS: Final = 10


def board_of(asked: Asked) -> tuple[BedBoard, str | None]:
    """Make the bed board of now, with the newest forecast; and the job that makes a newer one."""
    server = asked.server
    at = asked.now.replace(minute=0, second=0, microsecond=0)
    result, job = server.computed("forecast", {"at": at.isoformat()}, asked.viewer)
    forecast = moves = None
    key = ""
    if result is not None:
        forecast, moves = server.kept(
            ("forecast", result.id),
            lambda: (
                read_forecast(result.attachment("forecast.json")),
                read_moves(result.attachment("moves.json")),
            ),
            basis="",
            most=_BOARDS_KEPT,
        )
        key = result.id
        if not timedelta(0) <= asked.now - forecast.issued <= OLDEST_FORECAST:
            key, forecast, moves = "", None, None
    snapshot = server.snapshot(asked.now)
    basis = f"{server.beds_basis(snapshot)}/{key}"
    # To the minute: what became known within it changes the basis, a second does not.
    board = server.kept(
        ("board", asked.now.replace(second=0, microsecond=0), key),
        lambda: replace(
            bed_board(snapshot, at=asked.now, forecast=forecast, moves=moves), basis=basis
        ),
        basis=basis,
        most=_BOARDS_KEPT,
    )
    feed = server.feed()
    age = feed["age_hours"]
    board = replace(
        board,
        newest=feed["newest"],
        age_minutes=None if age is None else 60 * age,
        is_stale=feed["is_stale"],
        identity=snapshot.identity,
    )
    return board, job


def tasks_of(asked: Asked) -> tuple[dict[str, Any] | None, str | None]:
    """Return the newest work list, and the job that makes a newer one.

    One that was made for another hour is none: its deadlines would mislead.
    """
    at = asked.now.replace(minute=asked.now.minute // 15 * 15, second=0, microsecond=0)
    result, job = asked.server.computed("work-list", {"at": at.isoformat()}, asked.viewer)
    if result is None:
        return None, job
    made = datetime.fromisoformat(result.content["now"])
    is_current = abs(asked.now - made) <= OLDEST_WORK_LIST
    return (result.content if is_current else None), job


def seen_board(asked: Asked, board: BedBoard) -> BedBoard:
    """Reduce a board to what a user limited to units may see.

    Answers, groups and counts stay those of the hospital.
    """
    if asked.viewer.units is None:
        return board

    def mine(frame: pl.DataFrame) -> pl.DataFrame:
        seen = [unit for unit in frame["unit"].unique().to_list() if _may_see_unit(asked, unit)]
        return frame.filter(pl.col("unit").is_in(seen))

    return replace(
        board,
        units=mine(board.units),
        outlook=mine(board.outlook),
        patients=mine(board.patients),
        waiting=mine(board.waiting),
        discharges=mine(board.discharges),
        electives=mine(board.electives),
        long_stays=mine(board.long_stays),
    )


def _may_see_unit(asked: Asked, unit: str | None) -> bool:
    return asked.server.may_see(asked.viewer.units, unit)


def patient_labels(
    asked: Asked,
    subjects: list[int],
    *,
    why: str,
    placed: Mapping[int, str | None] | None = None,
) -> dict[int, str]:
    """Name patients: by name and record number for treating roles, else by pseudonym."""
    people = asked.server.people(asked.viewer, subjects, why=why, placed=placed)
    return {
        subject: people[subject].label if subject in people else str(subject)
        for subject in subjects
    }


def answers_of(asked: Asked, board: BedBoard) -> list[dict[str, Any]]:
    """Say by each time of day whether beds will suffice, and how sure that is."""
    words = asked.words
    found = []
    # Old data never look fresh: nothing is green then.
    is_stale = asked.server.feed()["is_stale"]
    for row in board.answers.iter_rows(named=True):
        chance, low = row["lowest"], row["lowest_with_waiting"]
        if chance is None:
            kind, answer = "", words("not known")
        elif chance >= AT_RISK:
            kind, answer = ("warning" if is_stale else "good"), words.part(chance)
        elif chance >= SHORT:
            kind, answer = "warning", words.part(chance)
        else:
            kind, answer = "bad", words.part(chance)
        under = ""
        if chance is not None and row["shortest"] is not None:
            under = words(
                "tightest: %(group)s, %(expected)s expected for %(usable)s beds",
                group=row["shortest"],
                expected=words.number(row["expected"], 1),
                usable=words.number(row["usable"]),
            )
            if low is not None and low < chance:
                under += "; " + words(
                    "%(chance)s with all bed requests added", chance=words.part(low)
                )
        found.append(
            {
                "horizon": row["horizon"],
                "time": row["time"],
                "kind": kind,
                "said": answer,
                "under": under,
                "known": row["groups_known"],
                "groups": row["groups"],
            }
        )
    return found


def _unit_table(asked: Asked, board: BedBoard) -> Table:
    """Lay out the units; how many isolate is told to those who treat only."""
    words = asked.words
    outlook: dict[str, list[dict[str, Any]]] = {}
    for row in board.outlook.iter_rows(named=True):
        outlook.setdefault(row["unit"], []).append(row)
    horizons = [row["horizon"] for row in board.answers.iter_rows(named=True)]
    rows = []
    for row in board.units.iter_rows(named=True):
        if not _may_see_unit(asked, row["unit"]):
            continue
        cells: dict[str, Any] = {
            **{
                name: row[name]
                for name in (
                    "present", "staffed", "open", "closed", "usable", "free", "reserved",
                    "side_rooms", "side_rooms_free", "isolating",
                )
            },
            "unit": row["title"],
        }  # fmt: skip
        worst = 0.0
        for one in outlook.get(row["unit"], ()):
            if one["coming"] is not None:
                cells[f"in_{one['horizon']}"] = words(
                    "+%(coming)s −%(leaving)s",
                    coming=words.number(one["coming"], 1),
                    leaving=words.number(one["leaving"], 1),
                )
            if one["short"] is not None:
                worst = max(worst, one["short"])
                cells[f"short_{one['horizon']}"] = one["short"]
        over = (row["over"] or 0) > 0
        cells["_class"] = "bad" if over or worst >= 0.5 else "warning" if worst >= 0.2 else ""
        rows.append(cells)
    columns = [
        Column("unit", words("unit")),
        Column("present", words("patients"), "number"),
        Column("usable", words("staffed beds"), "number"),
        Column("closed", words("closed"), "number"),
        Column("free", words("free"), "number"),
        Column("reserved", words("bed requests"), "number"),
        Column("side_rooms", words("side rooms"), "number"),
        Column("side_rooms_free", words("side rooms available"), "number"),
    ]
    if asked.sees_patients:
        columns.append(Column("isolating", words("isolating"), "number"))
    for horizon in horizons:
        columns.append(
            Column(f"in_{horizon}", words("%(time)s: arrivals, departures", time=horizon))
        )
        columns.append(
            Column(f"short_{horizon}", words("%(time)s: shortfall risk", time=horizon), "chance")
        )
    counted = {column.name for column in columns} & {
        "present", "usable", "closed", "free", "reserved", "side_rooms", "side_rooms_free",
        "isolating",
    }  # fmt: skip
    totals = {name: sum(row[name] or 0 for row in rows) for name in counted}
    return Table(
        "units",
        words("Units: patients against staffed beds, and the forecast"),
        tuple(columns),
        rows,
        totals={"unit": words("total"), **totals} if rows else None,
    )


def _patients(asked: Asked, frame: pl.DataFrame, unit: str = "unit") -> list[dict[str, Any]]:
    return [row for row in frame.iter_rows(named=True) if _may_see_unit(asked, row[unit])]


def reason_of(asked: Asked, code: str | None, text: str | None = None) -> str | None:
    """Name a reason for delay."""
    if code is None:
        return text
    known = DELAY_REASONS.get(code)
    return asked.words(known[1]) if known else code


def _waiting_table(asked: Asked, board: BedBoard, labels: dict[int, str]) -> Table:
    words = asked.words
    hows = {"request": words("bed requested"), "boarder": words("boarding here")}
    priorities = {
        "immediate": words("immediate"), "urgent": words("urgent"), "routine": words("routine"),
    }  # fmt: skip
    return Table(
        "waiting",
        words("Bed requests, the most urgent and longest waiting first"),
        (
            Column("patient", words("patient")),
            Column("unit", words("current unit")),
            Column("wanted", words("requested unit")),
            Column("how", words("type")),
            Column("priority", words("priority")),
            Column("side_room", words("side room needed")),
            Column("hours", words("waiting time"), "hours"),
        ),
        [
            {
                "patient": labels.get(row["subject_id"], str(row["subject_id"])),
                "unit": asked.unit_title(row["unit"]),
                "wanted": asked.unit_title(row["wanted"]),
                "how": hows.get(row["how"], row["how"]),
                "priority": priorities.get(row["priority"], row["priority"]),
                "side_room": row["side_room"],
                "hours": row["hours"],
                "_href": f"/patient/{row['subject_id']}",
            }
            for row in _patients(asked, board.waiting)
        ],
    )


def _discharge_table(asked: Asked, board: BedBoard, labels: dict[int, str]) -> Table:
    words = asked.words
    states = {
        "confirmed": words("confirmed today"),
        "possible": words("possible today"),
        "overdue": words("expected date of discharge passed"),
        "fit": words("medically fit, no date"),
    }
    return Table(
        "discharges",
        words("Discharges and what blocks them"),
        (
            Column("patient", words("patient")),
            Column("unit", words("unit")),
            Column("state", words("state")),
            Column("expected", words("expected"), "time"),
            Column("fit_since", words("medically fit since"), "time"),
            Column("delay", words("blocked by")),
            Column("leaves_today", words("predicted discharge today"), "chance"),
            Column("leaves_today_by_lengths", words("from length of stay alone"), "chance"),
        ),
        [
            {
                **row,
                "patient": labels.get(row["subject_id"], str(row["subject_id"])),
                "unit": asked.unit_title(row["unit"]),
                "state": states.get(row["state"], row["state"]),
                "delay": reason_of(asked, row["delay"]),
                "_class": "warning" if row["state"] == "overdue" else "",
                "_href": f"/patient/{row['subject_id']}",
            }
            for row in _patients(asked, board.discharges)
        ],
    )


def _review_table(asked: Asked, content: dict[str, Any] | None) -> Table:
    words = asked.words
    urgencies = {
        "critical-overdue": words("critical, overdue"),
        "critical": words("critical"),
        "unobserved-unwell": words("NEWS2 ≥ 5, observations overdue"),
        "warning-overdue": words("warning, overdue"),
        "clock-closing": words("due within an hour"),
        "warning": words("warning"),
        "unobserved": words("observations overdue"),
        "clock-open": words("due soon"),
        "info": words("for information"),
    }
    ranked = [] if content is None else content["attention"]
    chosen = [one for one in ranked if _may_see_unit(asked, one["unit"])][:MOST_REVIEWS]
    labels = patient_labels(
        asked, [int(one["subject_id"]) for one in chosen], why="patients in need of review"
    )
    return Table(
        "reviews",
        words("Patients of concern"),
        (
            Column("patient", words("patient")),
            Column("unit", words("unit")),
            Column("urgency", words("priority")),
            Column("title", words("why")),
            Column("due", words("act by"), "time"),
            Column("owner", words("whose task")),
            Column("reasons", words("number of reasons"), "number"),
        ),
        [
            {
                "patient": labels[int(one["subject_id"])],
                "unit": asked.unit_title(one["unit"]),
                "urgency": urgencies.get(one["urgency"], one["urgency"]),
                "title": words("observations overdue")
                if one["urgency"].startswith("unobserved")
                else (words.code == "ru" and one.get("title_ru")) or one["title"],
                "due": None if one["due"] is None else datetime.fromisoformat(one["due"]),
                "owner": one["owner"],
                "reasons": one["reasons"],
                "_class": "bad" if one["urgency"].startswith("critical") else "warning",
                "_href": f"/patient/{one['subject_id']}",
            }
            for one in chosen
        ],
    )


def _change_table(asked: Asked, board: BedBoard) -> Table:
    words = asked.words
    kinds = {
        "admission": words("admissions"),
        "transfer": words("transfers"),
        "discharge": words("discharges"),
        "death": words("deaths"),
        "request": words("bed requests"),
    }
    if not asked.sees_patients:
        # Who left a bed is a count of beds; who died is not.
        kinds["discharge"] = kinds["death"] = words("discharges and deaths")
    seen = [
        row
        for row in board.changes.iter_rows(named=True)
        if _may_see_unit(asked, row["unit"]) or _may_see_unit(asked, row["from_unit"])
    ]
    counts: dict[tuple[str, str], int] = {}
    for row in seen:
        key = (
            kinds.get(row["kind"], row["kind"]),
            asked.unit_title(row["unit"] or row["from_unit"]),
        )
        counts[key] = counts.get(key, 0) + 1
    return Table(
        "changes",
        words("Since the handover at %(time)s", time=words.weekday(board.handover)),
        (
            Column("kind", words("what")),
            Column("unit", words("unit")),
            Column("count", words("count"), "number"),
        ),
        [
            {"kind": kind, "unit": unit, "count": count}
            for (kind, unit), count in sorted(counts.items())
        ],
    )


def _elective_table(asked: Asked, board: BedBoard, labels: dict[int, str]) -> Table:
    words = asked.words
    return Table(
        "electives",
        words("Planned admissions of the next day"),
        (
            Column("patient", words("patient")),
            Column("unit", words("unit")),
            Column("time", words("planned"), "time"),
            Column("short", words("chance that its unit is short"), "chance"),
            Column("at_risk", words("at risk")),
        ),
        [
            {
                **row,
                "patient": labels.get(row["subject_id"], str(row["subject_id"])),
                "unit": asked.unit_title(row["unit"]),
                "_class": "warning" if row["at_risk"] else "",
            }
            for row in _patients(asked, board.electives)
        ],
    )


def stats_of(board: BedBoard) -> dict[str, Any]:
    """Count a board: patients, beds, requests, discharges, planned admissions."""
    units = board.units
    known = units.filter(pl.col("usable").is_not_null())
    counts = board.long_stay_counts.to_dicts()
    return {
        "present": int(units["present"].sum()),
        "bedded": int(known["present"].sum()),
        "usable": int(known["usable"].sum()),
        "free": int(known["free"].sum()),
        "over": int(known["over"].sum()),
        "waiting": board.waiting.height,
        "longest_wait": board.waiting["hours"].max() if board.waiting.height else None,
        "confirmed": board.discharges.filter(pl.col("state") == "confirmed").height,
        "possible": board.discharges.filter(pl.col("state") == "possible").height,
        "blocked": board.discharges.filter(pl.col("delay").is_not_null()).height,
        "electives": board.electives.height,
        "electives_at_risk": board.electives.filter(pl.col("at_risk").fill_null(False)).height,
        "long_stays": counts,
        "unknown": {name: count for name, count in board.unknown.items() if count},
    }


def _unknowns(asked: Asked, board: BedBoard) -> list[str]:
    words = asked.words
    texts = {
        "patients_without_unit": words("patients whose unit is not recorded"),
        "patients_lost": words("patients whose follow-up has ended"),
        "units_without_beds": words("units without recorded beds"),
        "beds_shared": words("beds with more than one patient"),
        "waiting_without_unit": words("bed requests without a unit"),
    }
    return [
        f"{texts.get(name, name)}: {words.number(count)}"
        for name, count in board.unknown.items()
        if count
    ]


@dataclass(frozen=True, slots=True)
class _Counts:
    """What *Now* shows of no single patient."""

    units: Table
    changes: Table
    answers: list[dict[str, Any]]
    stats: dict[str, Any]
    unknown: list[str]


def _now_counts(asked: Asked, board: BedBoard) -> _Counts:
    return _Counts(
        units=_unit_table(asked, board),
        changes=_change_table(asked, board),
        answers=answers_of(asked, board),
        stats=stats_of(board),
        unknown=_unknowns(asked, board),
    )


def now(asked: Asked) -> ViewModel:
    """Answer the morning question."""
    words = asked.words
    board, job = board_of(asked)
    content, tasking = tasks_of(asked)
    treats = asked.sees_patients
    # Two hundred people look at once: what is the same for many is made once.
    key = (
        board.now, board.basis, asked.viewer.units, treats, asked.server.feed()["is_stale"],
        words.code,
    )  # fmt: skip
    counts: _Counts = asked.server.kept(
        ("now", *key), lambda: _now_counts(asked, board), basis="", most=_MOST_KEPT
    )
    tables = [counts.units]
    if treats:
        subjects: set[int] = set()
        for frame in (board.waiting, board.discharges, board.electives):
            subjects |= {row["subject_id"] for row in _patients(asked, frame)}
        placed = dict(board.electives.select("subject_id", "unit").iter_rows())
        labels = patient_labels(asked, sorted(subjects), why="bed board", placed=placed)
        tables += [
            _waiting_table(asked, board, labels),
            _discharge_table(asked, board, labels),
            _elective_table(asked, board, labels),
            _review_table(asked, content),
        ]
    tables.append(counts.changes)
    return ViewModel(
        words("Now"),
        {
            "answers": counts.answers,
            "stats": counts.stats,
            "unknown": counts.unknown,
            "treats": treats,
            "job": job,
            "tasking": tasking,
            "has_tasks": content is not None,
            "forecast_issued": board.forecast_issued,
            "handover": board.handover,
        },
        tuple(tables),
        facts=(
            (
                words("Forecast issued"),
                words.when(board.forecast_issued) if board.forecast_issued else words("none yet"),
            ),
        ),
        keep=key,
    )


def add_to(pages: Pages) -> None:
    """Add the page."""
    pages.add("/now", now, template="now.html", follows=Follows(RESTS_ON, ("work-list",)))
