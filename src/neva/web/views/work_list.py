"""The work list: tasks, open clocks, overdue observations, long stays; what people enter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from neva.errors import BadInputError, NotFoundError
from neva.events.operational_codes import (
    CEILINGS,
    DELAY_REASONS,
    ISOLATION_KINDS,
    KINDS,
    PRIORITIES,
)
from neva.operations.bed_board import BedBoard
from neva.state.entries import new_entry
from neva.web.pages import Asked, Column, Pages, Table, ViewModel, asked_of
from neva.web.security.forms import posted
from neva.web.streams import Follows
from neva.web.views.entered import entered_rows, entered_table
from neva.web.views.now import RESTS_ON, board_of, patient_labels, reason_of, tasks_of

__all__ = ["add_to", "routes"]

#: Kinds that are entered on this page.
ENTERED: Final = (
    "expected-discharge", "medically-fit", "delay", "isolation", "bed-request", "ceiling",
    "handover-note",
)  # fmt: skip
_LONGEST_TEXT: Final = 500
#: An expected discharge farther ahead is a slip.
_FARTHEST: Final = timedelta(days=366)


def _task_table(asked: Asked, tasks: list[dict[str, Any]], labels: dict[int, str]) -> Table:
    words = asked.words
    rows = []
    for one in tasks:
        deadline = one["deadline"]
        rows.append(
            {
                "patient": labels.get(int(one["subject_id"]), one["subject_id"]),
                "unit": asked.unit_title(one["unit"]),
                "summary": one["summary"]
                if words.code != "ru" or not one.get("title_ru")
                else f"{one['title_ru']}: {one['summary']}",
                "since": datetime.fromisoformat(one["since"]),
                "deadline": None if deadline is None else datetime.fromisoformat(deadline),
                "owner": one["owner"],
                "tier": words("escalated") if one["tier"] else "",
                "state": words("in hand") if one["acknowledged"] else words("open"),
                "_class": "bad" if one["is_overdue"] or one["indicator"] == "critical" else "",
                "_href": f"/patient/{one['subject_id']}",
                "_task": one,
            }
        )
    return Table(
        "tasks",
        words("Tasks, the most urgent first"),
        (
            Column("patient", words("patient")),
            Column("unit", words("unit")),
            Column("summary", words("why")),
            Column("since", words("since"), "time"),
            Column("deadline", words("act by"), "time"),
            Column("owner", words("whose task")),
            Column("tier", words("escalation")),
            Column("state", words("state")),
        ),
        rows,
    )


def _clock_table(asked: Asked, clocks: list[dict[str, Any]], labels: dict[int, str]) -> Table:
    words = asked.words
    return Table(
        "clocks",
        words("Measures in progress, the nearest deadline first"),
        (
            Column("patient", words("patient")),
            Column("unit", words("unit")),
            Column("title", words("measure")),
            Column("due", words("deadline"), "time"),
            Column("hours_left", words("time left"), "hours"),
        ),
        [
            {
                "patient": labels.get(int(one["subject_id"]), one["subject_id"]),
                "unit": asked.unit_title(one["unit"]),
                "title": (words.code == "ru" and one.get("title_ru")) or one["title"],
                "due": None if one["due"] is None else datetime.fromisoformat(one["due"]),
                "hours_left": None if one["minutes_left"] is None else one["minutes_left"] / 60,
                "_class": "warning"
                if one["minutes_left"] is not None and one["minutes_left"] < 60
                else "",
                "_href": f"/patient/{one['subject_id']}",
            }
            for one in clocks
        ],
    )


def _unobserved_table(
    asked: Asked, unobserved: list[dict[str, Any]], labels: dict[int, str]
) -> Table:
    words = asked.words
    return Table(
        "unobserved",
        words("Observations overdue"),
        (
            Column("patient", words("patient")),
            Column("unit", words("unit")),
            Column("last_observed", words("last observed"), "time"),
            Column("score", words("last NEWS2"), "number"),
            Column("hours_overdue", words("overdue by"), "hours"),
        ),
        [
            {
                **one,
                "patient": labels.get(int(one["subject_id"]), one["subject_id"]),
                "unit": asked.unit_title(one["unit"]),
                "last_observed": None
                if one["last_observed"] is None
                else datetime.fromisoformat(one["last_observed"]),
                "_href": f"/patient/{one['subject_id']}",
            }
            for one in unobserved
        ],
    )


def work_list(asked: Asked) -> ViewModel:
    """Show what has to be done now, and let people enter what they know."""
    words, server = asked.words, asked.server
    content, job = tasks_of(asked)
    board, _ = board_of(asked)
    unit, done = asked.query.get("unit", ""), asked.query.get("entered", "")

    def mine(name: str | None) -> bool:
        above = () if name is None else server.units_above().get(name, ())
        return server.may_see(asked.viewer.units, name) and (not unit or unit in (name, *above))

    patients = [row for row in board.patients.iter_rows(named=True) if mine(row["unit"])]
    labels = patient_labels(asked, [row["subject_id"] for row in patients], why="work list")
    held: dict[str, list[dict[str, Any]]] = {
        name: [one for one in (content or {}).get(name, []) if mine(one["unit"])]
        for name in ("tasks", "clocks", "unobserved")
    }
    where = {row["stay_id"]: row for row in patients}
    tasks = _task_table(asked, held["tasks"], labels)
    entered = entered_rows(asked, board, labels, where)
    return ViewModel(
        words("Work list"),
        {
            "job": job,
            "has_tasks": content is not None,
            **_content_of_list(content),
            "unit": unit,
            "units": _units(asked, board),
            "patients": [
                {
                    "stay": str(row["stay_id"]),
                    "label": labels[row["subject_id"]],
                    "unit": asked.unit_title(row["unit"]),
                }
                for row in patients
            ],
            **_offered(asked, board),
            "entries": [row for row in entered if row["id"]],
            "chosen": asked.query.get("stay", ""),
            "entered": words(KINDS[done].title) if done in KINDS else "",
            "tasks": _task_buttons(tasks),
        },
        (
            tasks,
            _clock_table(asked, held["clocks"], labels),
            _unobserved_table(asked, held["unobserved"], labels),
            _long_table(asked, board, labels, where),
            entered_table(asked, entered, with_patient=True),
        ),
        facts=(
            (words("Patients present"), words.number(len(patients))),
            (
                words("Work list created"),
                words.when(datetime.fromisoformat(content["now"])) if content else words("not yet"),
            ),
        ),
    )


def _content_of_list(content: Mapping[str, Any] | None) -> dict[str, Any]:
    """Say when and by which rules the list was made, if it was."""
    if content is None:
        return {"made": None, "banner": "", "rules": [], "looked_at": {}}
    return {
        "made": datetime.fromisoformat(content["now"]),
        "banner": content["banner"],
        "rules": content["rules"],
        "looked_at": content["looked_at"],
    }


def _units(asked: Asked, board: BedBoard) -> list[str]:
    """Units with patients that the viewer may look at."""
    return sorted(
        {
            row["unit"]
            for row in board.patients.iter_rows(named=True)
            if row["unit"] and asked.server.may_see(asked.viewer.units, row["unit"])
        }
    )


def _offered(asked: Asked, board: BedBoard) -> dict[str, Any]:
    """What can be entered in the forms."""
    words = asked.words
    return {
        "kinds": _kinds(asked),
        "reasons": [
            {"id": code, "title": words(title)} for code, (_, title) in DELAY_REASONS.items()
        ],
        "isolation": [
            {"id": code, "title": words(title)} for code, title in ISOLATION_KINDS.items()
        ],
        "ceilings": [{"id": id_, "title": words(title)} for id_, (_, title) in CEILINGS.items()],
        "priorities": [{"id": one, "title": words(one)} for one in PRIORITIES],
        "wards": [
            {"id": row["unit"], "title": asked.unit_title(row["unit"])}
            for row in board.units.iter_rows(named=True)
        ],
    }


def _task_buttons(tasks: Table) -> list[dict[str, Any]]:
    """What the buttons of the tasks send, and what they say."""
    return [
        {
            "rule": row["_task"]["rule"],
            "stay": row["_task"]["stay_id"],
            "begun_after": row["_task"]["begun_after"],
            "label": row["patient"],
            "summary": row["summary"],
            "acknowledged": row["_task"]["acknowledged"],
            "detail": row["_task"].get("detail", ""),
            "missing": row["_task"].get("missing", []),
        }
        for row in tasks.rows
    ]


def _kinds(asked: Asked) -> list[dict[str, str]]:
    words = asked.words
    return [{"id": name, "title": words(KINDS[name].title)} for name in ENTERED if name in KINDS]


def _long_table(asked: Asked, board: Any, labels: dict[int, str], where: dict[int, Any]) -> Table:
    words = asked.words
    return Table(
        "long_stays",
        words("Long stays: 7, 14, 21 days and longer"),
        (
            Column("patient", words("patient")),
            Column("unit", words("unit")),
            Column("days", words("days in hospital"), "number", 0),
            Column("fit_since", words("medically fit since"), "time"),
            Column("delay", words("reason for delay")),
        ),
        [
            {
                **row,
                "patient": labels.get(row["subject_id"], str(row["subject_id"])),
                "unit": asked.unit_title(row["unit"]),
                "delay": reason_of(asked, row["delay"]) or words("no reason recorded"),
                "_class": "warning" if row["delay"] is None else "",
                "_href": f"/patient/{row['subject_id']}",
            }
            for row in board.long_stays.iter_rows(named=True)
            if row["stay_id"] in where
        ],
    )


routes = APIRouter()


def _moment(text: str, zone: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = "time: cannot be read; found other text; write 2020-05-01T08:00"
        raise BadInputError(message) from None
    return found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone))


def _value_of(kind: str, form: Mapping[str, Any]) -> str | None:
    """Read the value that a kind needs, from what was offered."""
    wanted = KINDS[kind].value
    given = str(form.get(wanted, "")).strip()[:_LONGEST_TEXT]
    offered: dict[str, Mapping[str, Any]] = {
        "reason": DELAY_REASONS,
        "isolation": ISOLATION_KINDS,
        "ceiling": CEILINGS,
        "confirmed": {"yes": 1, "no": 1},
    }
    allowed = offered.get(wanted)
    if wanted == "none":
        return None
    if (allowed is not None and given not in allowed) or not given:
        message = f"entry: needs a {wanted}; found none of those offered; choose one"
        raise BadInputError(message)
    return given


def _refuse_implausible(
    asked: Asked,
    kind: str,
    patient: Mapping[str, Any],
    value: str | None,
    start: datetime | None,
    board: BedBoard,
) -> None:
    """Refuse what cannot be meant: a slip of the keyboard that everybody would then read."""
    now = asked.now
    wrong = ""
    if kind == "expected-discharge" and start is None:
        wrong = "an expected discharge needs its date; found none; give date and time"
    elif kind == "expected-discharge" and start is not None:
        if not now - timedelta(days=1) <= start <= now + _FARTHEST:
            wrong = (
                "an expected discharge lies ahead, within a year; found another date; check day, "
                "month and year"
            )
    elif start is not None and kind != "bed-request" and start > now + timedelta(hours=1):
        wrong = "this begins now or began earlier; found a time ahead; check day, month and year"
    elif start is not None and start < patient["admitted"]:
        wrong = "this began before the stay; found an earlier time; check day, month and year"
    elif kind == "bed-request" and value == patient["unit"]:
        wrong = "the patient is in that unit; found a request for it; choose another unit"
    elif kind == "bed-request" and value not in board.units["unit"].to_list():
        wrong = "no unit with patients or beds; found another; choose one of those offered"
    if wrong:
        message = f"entry: {wrong}"
        raise BadInputError(message)


@routes.post("/work-list/entries")
def enter(request: Request, form: Mapping[str, Any] = Depends(posted)) -> Response:
    """Save an entry about a stay; it becomes an event."""
    asked = asked_of(request)
    kind, stay = str(form.get("kind", "")), str(form.get("stay", ""))
    if kind not in ENTERED or kind not in KINDS:
        message = "entry: no such kind; found another; choose one of those offered"
        raise BadInputError(message)
    board, _ = board_of(asked)
    found = [row for row in board.patients.iter_rows(named=True) if str(row["stay_id"]) == stay]
    if not found:
        message = "entry: nobody present has this stay; found another; choose a patient of the list"
        raise NotFoundError(message)
    asked.server.refuse_other_units(asked.viewer, (found[0]["unit"],))
    value = _value_of(kind, form)
    start = _moment(str(form.get("start", "")), asked.server.zone)
    _refuse_implausible(asked, kind, found[0], value, start, board)
    details = {}
    if kind == "bed-request":
        priority = str(form.get("priority", "routine"))
        details = {
            "priority": priority if priority in PRIORITIES else "routine",
            "side_room": "yes" if form.get("side_room") else "no",
        }
    asked.server.state.entries.add(
        id=new_entry(),
        subject=str(found[0]["subject_id"]),
        stay=stay,
        kind=kind,
        value=value,
        details=details,
        start=start,
        end=None,
        actor=asked.viewer.account,
        role=asked.viewer.role,
        at=asked.server.entry_time(),
    )
    asked.server.flush_soon()
    return RedirectResponse(f"/work-list?stay={stay}&entered={kind}#entries", status_code=303)


def _refuse_other_stays(asked: Asked, stay: str | None) -> None:
    """Refuse a stay that was in none of the units that somebody is let into."""
    if asked.viewer.units is None:
        return
    moves = asked.server.snapshot().movements()
    units = moves.filter(pl.col("stay_id").cast(pl.String) == stay).select("unit").collect()
    asked.server.refuse_other_units(asked.viewer, tuple(units["unit"].to_list()))


@routes.post("/work-list/entries/{entry}/withdraw")
def withdraw(
    request: Request,
    entry: str,
    form: Mapping[str, Any] = Depends(posted),
) -> Response:
    """Withdraw an entry made by mistake; the record still shows that it was made."""
    asked = asked_of(request)
    held = asked.server.state.entries.get(entry)
    if held is not None:
        _refuse_other_stays(asked, held.stay)
    asked.server.state.entries.withdraw(
        entry, actor=asked.viewer.account, role=asked.viewer.role, at=asked.server.entry_time()
    )
    asked.server.flush_soon()
    return RedirectResponse("/work-list#entries", status_code=303)


@routes.post("/work-list/acknowledge")
def acknowledge(
    request: Request,
    form: Mapping[str, Any] = Depends(posted),
) -> Response:
    """Take on a task, or take it off the list with a reason."""
    asked = asked_of(request)
    rule, stay = str(form.get("rule", "")), str(form.get("stay", ""))
    since = _moment(str(form.get("begun_after", "")), asked.server.zone)
    if not rule or not stay or since is None:
        message = "task: not named; found no rule, stay and time; use the buttons of the list"
        raise BadInputError(message)
    _refuse_other_stays(asked, stay)
    work = asked.server.state.work
    about: dict[str, Any] = {
        "actor": asked.viewer.account,
        "role": asked.viewer.role,
        "at": asked.server.clock(),
    }
    reason = str(form.get("reason", "")).strip()[:_LONGEST_TEXT]
    if form.get("done"):
        if not reason:
            message = "task: needs a reason to be taken off; found none; say how it was dealt with"
            raise BadInputError(message)
        work.clear(rule, stay, since, reason=reason, **about)
    else:
        work.acknowledge(rule, stay, since, owner=asked.viewer.name, **about)
    asked.server.results.want(
        "work-list",
        {"at": asked.now.isoformat(), "after": asked.server.clock().isoformat()},
        actor=asked.viewer.account,
    )
    return RedirectResponse("/work-list", status_code=303)


def add_to(pages: Pages) -> None:
    """Add the pages."""
    follows = Follows((*RESTS_ON, "entries", "tasks", "work-list"), reload_after=None)
    pages.add("/work-list", work_list, template="work_list.html", follows=follows)
    pages.router.include_router(routes, include_in_schema=False)
