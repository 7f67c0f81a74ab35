"""The patient: identity for treating roles, stays, values, treatments, scores, cards."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import polars as pl
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from neva.access.identities import Person
from neva.definitions.run import answer
from neva.errors import BadInputError, NotFoundError
from neva.events.snapshot import Snapshot
from neva.web.courses import Point, course
from neva.web.pages import Asked, Column, Figure, Pages, Table, ViewModel, asked_of
from neva.web.programmes import installed
from neva.web.security.forms import posted
from neva.web.streams import Follows
from neva.web.views.entered import entered_rows, entered_table
from neva.web.views.now import board_of, patient_labels
from neva.web.views.patient_values import (
    code_title,
    latest_values,
    range_text,
    value_charts,
    value_text,
)

__all__ = ["PURPOSES", "add_to", "purposes", "routes"]

#: Why somebody looks at a patient; the first is the usual one.
PURPOSES: Final = ("treatment", "handover", "quality-review", "mortality-review", "request")
#: A purpose once said holds so long.
PURPOSE_HOURS: Final = 12
_TREATMENTS: Final = ("ATC//", "RxNorm//", "NDC//", "OPS//", "ICD10PCS//", "CPT4//", "HCPCS//")


def purposes(asked: Asked) -> list[dict[str, str]]:
    """Return what may be said, in the reader's language."""
    words = asked.words
    titles = {
        "treatment": words("I treat this patient"),
        "handover": words("handover of the ward"),
        "quality-review": words("review of the quality of treatment"),
        "mortality-review": words("review of a death"),
        "request": words("the patient's own request"),
    }
    return [{"id": id_, "title": titles[id_]} for id_ in PURPOSES]


def _subject(asked: Asked) -> int:
    try:
        return int(asked.path["subject"])
    except ValueError:
        message = "patient: no such pseudonym; found text that is no number; follow a link to it"
        raise NotFoundError(message) from None


def _stays_of_subject(snapshot: Snapshot, subject: int) -> pl.DataFrame:
    return snapshot.stays(subjects=[subject]).sort("start").collect()


def _movements(snapshot: Snapshot, subject: int, stays: pl.DataFrame) -> pl.DataFrame:
    return (
        snapshot.movements(subjects=[subject])
        .filter(pl.col("stay_id").is_in(stays["stay_id"].to_list()))
        .sort("start")
        .collect()
    )


@lru_cache(maxsize=1)
def _scores() -> dict[str, Any]:
    found = {}
    for programme in installed().values():
        for one in programme.scores:
            found[one.id] = one
    return found


def _refuse_other_units(asked: Asked, moves: pl.DataFrame) -> None:
    units = tuple(dict.fromkeys(moves["unit"].drop_nulls().to_list()))
    asked.server.refuse_other_units(asked.viewer, units or (None,))


def _refuse_as_the_page(asked: Asked) -> None:
    subject, snapshot = _subject(asked), asked.server.snapshot()
    _refuse_other_units(asked, _movements(snapshot, subject, _stays_of_subject(snapshot, subject)))


def patient(asked: Asked) -> ViewModel:
    """Show a patient, after a purpose was stated; every look is audited."""
    words, server = asked.words, asked.server
    subject = _subject(asked)
    snapshot = server.snapshot()
    known = snapshot.subjects().filter(pl.col("subject_id") == subject).collect()
    stays = _stays_of_subject(snapshot, subject)
    if known.is_empty() and stays.is_empty():
        message = "patient: nobody of that pseudonym is known; follow a link to the patient"
        raise NotFoundError(message)
    moves = _movements(snapshot, subject, stays)
    _refuse_other_units(asked, moves)
    why = server.state.sessions.purpose_of(asked.viewer.session, subject, at=server.clock())
    title = words("Patient")
    if why is None:
        label = patient_labels(asked, [subject], why="asked for the purpose")[subject]
        return ViewModel(
            title,
            {"subject": subject, "label": label, "asks": True, "purposes": purposes(asked)},
            is_still=True,
        )
    stay_id = stays["stay_id"][-1] if stays.height else None
    server.audit(asked.viewer, "viewed", why=why, subject=subject, stay=stay_id)
    person = server.people(asked.viewer, [subject], why=why).get(subject)
    chosen = _chosen_stay(asked, stays)
    events = _events(snapshot, subject, chosen)
    displays = _displays(snapshot, events)
    board, _ = board_of(asked)
    entered = entered_rows(asked, board, {}, set() if chosen is None else {chosen["stay_id"]})
    latest, courses = latest_values(asked, events, displays)
    tables = [
        _stay_table(asked, stays, moves),
        latest,
        entered_table(asked, entered, with_patient=False),
        _move_table(asked, moves, chosen),
        _treatment_table(asked, events, displays),
        _event_table(asked, events, displays),
        _card_table(asked, subject),
    ]
    figures = value_charts(asked, events, displays)
    scores, score_table = _score_course(asked, snapshot, subject, chosen)
    figures |= scores | courses
    if score_table is not None:
        tables.append(score_table)
    row = known.row(0, named=True) if known.height else {}
    return ViewModel(
        title,
        {
            "subject": subject,
            "asks": False,
            "why": why,
            "person": None if person is None else _names(person),
            "sex": row.get("sex"),
            "born": row.get("birth_date"),
            "died": row.get("death"),
            "stay": None if chosen is None else chosen["stay_id"],
            **_place_now(asked, moves),
            "values": [name for name in figures if name.startswith("value")],
            "scores": [name for name in figures if name.startswith("score")],
            "events": events.height,
            "ceiling": next((one["value"] for one in entered if one["name"] == "ceiling"), None),
            "enter": "" if chosen is None else f"/work-list?stay={chosen['stay_id']}#entries",
        },
        tuple(tables),
        figures,
    )


def _names(person: Person) -> dict[str, Any]:
    return {
        "name": person.name,
        "record_number": person.record_number,
        "birth_date": person.birth_date,
        "invented": person.invented,
    }


def _place_now(asked: Asked, moves: pl.DataFrame) -> dict[str, str | None]:
    """Unit and bed in which the patient is; nowhere after the last one is left."""
    if not moves.height or moves["end"][-1] is not None:
        return {"unit": None, "bed": None}
    return {"unit": asked.unit_title(moves["unit"][-1]), "bed": moves["bed"][-1]}


def _chosen_stay(asked: Asked, stays: pl.DataFrame) -> dict[str, Any] | None:
    wanted = asked.query.get("stay", "")
    rows = stays.to_dicts()
    for row in rows:
        if str(row["stay_id"]) == wanted:
            return row
    return rows[-1] if rows else None


def _events(snapshot: Snapshot, subject: int, stay: Mapping[str, Any] | None) -> pl.DataFrame:
    frame = snapshot.events().filter(pl.col("subject_id") == subject)
    if stay is not None:
        until = stay["end"] or snapshot.now + timedelta(days=60)
        frame = frame.filter(
            (pl.col("stay_id") == stay["stay_id"])
            | pl.col("time").is_between(
                pl.lit(stay["start"] - timedelta(days=1), dtype=pl.Datetime("us", "UTC")),
                pl.lit(until, dtype=pl.Datetime("us", "UTC")),
            )
        )
    return frame.collect().sort("time", "sequence", "event_id", descending=[True, False, False])


def _displays(snapshot: Snapshot, events: pl.DataFrame) -> dict[str, str]:
    rows = (
        snapshot.codes()
        .filter(pl.col("code").is_in(events["code"].unique().to_list()))
        .select("code", "description")
        .drop_nulls()
        .collect()
    )
    return dict(rows.iter_rows())


def _stay_table(asked: Asked, stays: pl.DataFrame, moves: pl.DataFrame) -> Table:
    words = asked.words
    return Table(
        "stays",
        words("Stays"),
        (
            Column("start", words("from"), "time"),
            Column("end", words("to"), "time"),
            Column("kind", words("kind")),
            Column("outcome", words("outcome")),
            Column("units", words("units")),
        ),
        [
            {
                **row,
                "units": ", ".join(
                    dict.fromkeys(
                        asked.unit_title(unit)
                        for unit in moves.filter(pl.col("stay_id") == row["stay_id"])["unit"]
                        if unit is not None
                    )
                ),
                "_href": f"/patient/{asked.path['subject']}?stay={row['stay_id']}",
            }
            for row in stays.iter_rows(named=True)
        ],
    )


def _move_table(asked: Asked, moves: pl.DataFrame, stay: Mapping[str, Any] | None) -> Table:
    words = asked.words
    titles = asked.unit_titles
    mine = moves if stay is None else moves.filter(pl.col("stay_id") == stay["stay_id"])
    return Table(
        "movements",
        words("Where the patient was"),
        (
            Column("unit", words("unit")),
            Column("bed", words("bed")),
            Column("start", words("from"), "time"),
            Column("end", words("to"), "time"),
        ),
        [
            {**row, "unit": titles.get(row["unit"], row["unit"])}
            for row in mine.iter_rows(named=True)
        ],
    )


def _event_table(asked: Asked, events: pl.DataFrame, displays: Mapping[str, str]) -> Table:
    words = asked.words
    return Table(
        "events",
        words("Everything recorded in the stay, the newest first"),
        (
            Column("time", words("time"), "time"),
            Column("what", words("what")),
            Column("value", words("value")),
            Column("range", words("reference range")),
            Column("status", words("status")),
            Column("recorded", words("recorded"), "time"),
            Column("code", words("code"), "code"),
        ),
        [
            {
                "time": row["time"],
                "what": code_title(row, displays),
                "value": value_text(row, words),
                "range": range_text(row),
                "status": None if row["status"] == "done" else row["status"],
                "recorded": row["recorded"],
                "code": row["code"],
            }
            for row in events.head(5000).iter_rows(named=True)
        ],
    )


def _treatment_table(asked: Asked, events: pl.DataFrame, displays: Mapping[str, str]) -> Table:
    words = asked.words
    given = events.filter(
        pl.any_horizontal(pl.col("code").str.starts_with(one) for one in _TREATMENTS)
    )
    rows = (
        given.group_by("code", maintain_order=True)
        .agg(
            first=pl.col("time").min(),
            last=pl.col("time").max(),
            times=pl.len(),
            status=pl.col("status").first(),
        )
        .sort("last", descending=True, nulls_last=True)
    )
    return Table(
        "treatments",
        words("Treatments"),
        (
            Column("what", words("what")),
            Column("first", words("first"), "time"),
            Column("last", words("last"), "time"),
            Column("times", words("times"), "number"),
            Column("status", words("last status")),
            Column("code", words("code"), "code"),
        ),
        [{**row, "what": code_title(row, displays)} for row in rows.iter_rows(named=True)],
    )


def _card_table(asked: Asked, subject: int) -> Table:
    words, state = asked.words, asked.server.state
    first = datetime(1970, 1, 1, tzinfo=asked.now.tzinfo)
    last = asked.server.clock() + timedelta(days=1)
    log = state.cards.between(first, last).filter(pl.col("subject") == str(subject))
    feedback = state.feedback.between(first, last)
    answers: dict[str, str] = {}
    for row in feedback.iter_rows(named=True):
        answers[str(row["card"])] = str(row["outcome"])
    return Table(
        "cards",
        words("Cards and responses"),
        (
            Column("now", words("time"), "time"),
            Column("rule", words("rule")),
            Column("indicator", words("urgency")),
            Column("shown", words("shown")),
            Column("feedback", words("feedback")),
        ),
        [
            {**row, "feedback": answers.get(str(row["card"]))}
            for row in log.sort("now", descending=True).head(200).iter_rows(named=True)
        ],
    )


def _score_course(
    asked: Asked, snapshot: Snapshot, subject: int, stay: Mapping[str, Any] | None
) -> tuple[dict[str, Figure], Table | None]:
    """Work out NEWS2 over the stay, with what was known at each point."""
    from neva.programmes.scoring import at_least, has_missing

    words = asked.words
    score = _scores().get("acute-care.news2") or next(
        (one for id_, one in _scores().items() if id_.endswith("news2")), None
    )
    if stay is None or score is None:
        return {}, None
    end = stay["end"] or snapshot.now
    hours = max(1, int((end - stay["start"]).total_seconds() // 3600))
    every = max(1, -(-hours // 60))
    times = [stay["start"] + timedelta(hours=k) for k in range(every, hours + 1, every)] or [end]
    points = pl.DataFrame(
        {
            "point_id": list(range(len(times))),
            "subject_id": [subject] * len(times),
            "stay_id": [stay["stay_id"]] * len(times),
            "now": times,
            "known": times,
        },
        schema_overrides={
            "now": pl.Datetime("us", "UTC"), "known": pl.Datetime("us", "UTC"),
            "point_id": pl.Int64, "subject_id": pl.Int64, "stay_id": pl.Int64,
        },
    )  # fmt: skip
    outputs = {"at_least": at_least(score).node, "incomplete": has_missing(score).node}
    found = answer(snapshot, outputs, points=points, engine="reference").frame
    rows = [
        {
            "time": now,
            "score": value,
            "complete": not incomplete,
        }
        for now, value, incomplete in found.sort("now")
        .select("now", "at_least", "incomplete")
        .iter_rows()
        if value is not None
    ]
    if not rows:
        return {}, None
    drawn = [
        Point(
            row["time"],
            row["score"],
            f"{words.when(row['time'])}: "
            + (words.number(row["score"]) if row["complete"]
               else words("at least %(n)s", n=words.number(row["score"]))),
            is_full=row["complete"],
        )
        for row in rows
    ]  # fmt: skip
    svg = course(drawn, words, lines=(5, 7), is_stepped=True, from_zero=True, width=460, height=190)
    name = score.title_ru if words.code == "ru" and score.title_ru else score.title or score.id
    table = Table(
        "scores",
        words("%(score)s over the stay, as known at each time", score=name),
        (
            Column("time", words("time"), "time"),
            Column("score", words("points"), "number"),
            Column("complete", words("all inputs known")),
        ),
        rows,
    )
    alt = words("Points of %(score)s over the stay.", score=name)
    caption = words(
        "%(score)s, version %(version)s; dashed: 5 and 7. Hollow: an input is missing and "
        "counts as 0, so the score is at least that.",
        score=name,
        version=score.version,
    )
    return {"score": Figure(svg, alt, caption)}, table


routes = APIRouter()


@routes.post("/patient/{subject}/purpose")
def state_purpose(
    request: Request,
    subject: str,
    form: Mapping[str, Any] = Depends(posted),
) -> Response:
    """Record the purpose of viewing a patient; audited."""
    asked = asked_of(request)
    why = str(form.get("purpose", ""))
    if why not in PURPOSES:
        message = "purpose: not one of those offered; found another; choose one"
        raise BadInputError(message)
    until = asked.server.clock() + timedelta(hours=PURPOSE_HOURS)
    number = _subject(asked)
    moves = asked.server.snapshot().movements(subjects=[number]).select("unit").collect()
    asked.server.refuse_other_units(asked.viewer, tuple(moves["unit"].to_list()))
    asked.server.state.sessions.state_purpose(
        asked.viewer.session, number, why, until=until, at=asked.server.clock()
    )
    return RedirectResponse(f"/patient/{number}", status_code=303)


def add_to(pages: Pages) -> None:
    """Add the pages."""
    follows = Follows(("feeds", "worker", "patient"), subject=_subject, refuse=_refuse_as_the_page)
    pages.add("/patient/{subject}", patient, template="patient.html", follows=follows)
    pages.router.include_router(routes, include_in_schema=False)
