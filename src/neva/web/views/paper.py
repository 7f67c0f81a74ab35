"""Sheets for paper: each a document of its own, A4, with time, version and page n of m."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import polars as pl
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from neva.decisions.cards import hash_of
from neva.decisions.work_list import work_list
from neva.definitions.programme import load_programme
from neva.errors import BadInputError
from neva.operations.ward_sheets import open_clocks, ward_sheet
from neva.programmes.acute_care.outcomes import observation_plan
from neva.quality.measuring import run_measures
from neva.reports.paper.beds import bed_meeting_sheet, discharge_sheet, long_stay_sheet
from neva.reports.paper.reviews import deaths_of, mortality_sheet
from neva.reports.paper.sheet import Paper, Person, Sheet
from neva.reports.paper.wards import downtime_sheet, handover_sheet
from neva.web.pages import Asked, Column, Pages, Table, ViewModel, asked_of
from neva.web.security.access import may
from neva.web.security.headers import POLICY
from neva.web.views.now import board_of, seen_board

__all__ = ["add_to", "routes"]

#: How far back a review of deaths looks if nothing else is asked for.
REVIEW_DAYS: Final = 30


def sheets(asked: Asked) -> ViewModel:
    """List the sheets that a user may print."""
    words = asked.words
    titles = (
        (
            "bed-meeting",
            words("Bed meeting"),
            words("beds, bed requests and discharges, for the bed meeting"),
        ),
        ("ward-handover", words("Ward handover"), words("one list per unit, as SBAR")),
        ("discharges", words("Discharge list"), words("discharges today and what blocks them")),
        ("long-stays", words("Review of long stays"), words("7, 14, 21 days, with reasons")),
        (
            "downtime-census",
            words("Downtime census"),
            words("patients by unit and bed, for system downtime"),
        ),
        ("mortality-review", words("Mortality review"), words("deaths of a period, one by one")),
        ("board-report", words("Board report"), words("all measures with their charts")),
    )
    return ViewModel(
        words("Paper"),
        {"units": sorted(asked.unit_titles)},
        (
            Table(
                "sheets",
                words("Each opens as a document for A4; print it from the browser"),
                (Column("sheet", words("sheet")), Column("about", words("what it is for"))),
                [
                    {"sheet": title, "about": about, "_href": f"/paper/{id_}"}
                    for id_, title, about in titles
                    if may(asked.viewer.role, "GET", f"/paper/{id_}")
                ],
            ),
        ),
    )


def _paper(asked: Asked, subjects: list[int], why: str) -> Paper:
    words = asked.words
    people = asked.server.people(asked.viewer, sorted(set(subjects)), why=why)
    return Paper(
        zone=asked.server.zone,
        words=words,
        names={
            subject: Person(
                name=person.name or "–",
                record=person.record_number or "",
                born=words.day(person.birth_date) if person.birth_date else "",
            )
            for subject, person in people.items()
        },
        when=lambda moment: words.weekday(moment, asked.now),
    )


def _sheet_response(sheet: Sheet) -> Response:
    nonce = secrets.token_urlsafe(16)
    return Response(
        sheet.to_html(nonce=nonce),
        media_type="text/html; charset=utf-8",
        headers={
            "Content-Security-Policy": POLICY.replace(
                "style-src 'self'", f"style-src 'nonce-{nonce}'"
            )
        },
    )


routes = APIRouter()


def _seen_subjects(asked: Asked, frame: pl.DataFrame) -> list[int]:
    return [
        subject
        for subject, unit in frame.select("subject_id", "unit").iter_rows()
        if asked.server.may_see(asked.viewer.units, unit)
    ]


def _refuse_restricted(asked: Asked) -> None:
    # What is of the whole hospital: somebody of one unit takes the other sheets.
    if asked.viewer.units is not None:
        asked.server.refuse_other_units(asked.viewer, (None,))


def _of_board(
    request: Request, make: Callable[..., Sheet], why: str, *, frames: tuple[str, ...]
) -> Response:
    asked = asked_of(request)
    board = seen_board(asked, board_of(asked)[0])
    subjects: list[int] = []
    if asked.sees_patients:
        for name in frames:
            subjects += getattr(board, name)["subject_id"].to_list()
    asked.server.audit(asked.viewer, "viewed", why=why, details={"patients": len(set(subjects))})
    return _sheet_response(
        make(board, paper=_paper(asked, subjects, why), made=asked.server.clock())
    )


@routes.get("/paper/bed-meeting")
def bed_meeting(request: Request) -> Response:
    """Print the bed meeting's sheet: patients for treating roles, counts for the others."""
    asked = asked_of(request)
    _refuse_restricted(asked)
    frames = ("waiting", "discharges", "electives", "long_stays")
    make = partial(bed_meeting_sheet, with_rows=asked.sees_patients)
    return _of_board(request, make, "sheet: bed meeting", frames=frames)


@routes.get("/paper/discharges")
def discharges(request: Request) -> Response:
    """Print the discharge list."""
    return _of_board(request, discharge_sheet, "sheet: discharges", frames=("discharges",))


@routes.get("/paper/long-stays")
def long_stays(request: Request) -> Response:
    """Print the review of long stays."""
    return _of_board(request, long_stay_sheet, "sheet: long stays", frames=("long_stays",))


@routes.get("/paper/downtime-census")
def downtime(request: Request) -> Response:
    """Print the census for a downtime."""
    return _of_board(request, downtime_sheet, "sheet: downtime census", frames=("patients",))


def _ward(asked: Asked) -> Any:
    """Make tasks and clocks of everybody present, once for a version and minute."""
    server = asked.server

    def make() -> Any:
        states = {one.rule: one for one in server.state.rules.all() if one.state == "live"}
        live = [
            rule
            for id_, rule in server.bedside.rules.items()
            if id_ in states and states[id_].hash == hash_of(rule)
        ]
        snapshot = server.snapshot()
        work = work_list(snapshot, live, at=asked.now, observations=observation_plan())
        runs = open_clocks(snapshot, [load_programme(name) for name in server.settings.programmes])
        board, _ = board_of(asked)
        return ward_sheet(board, work=work, runs=runs)

    return server.kept(("ward", asked.now), make)


@routes.get("/paper/ward-handover")
def handover(request: Request) -> Response:
    """Print the handover lists, of one unit or of all that a user may see."""
    asked = asked_of(request)
    board, _ = board_of(asked)
    wanted = asked.query.get("unit", "")
    present = sorted(board.patients["unit"].drop_nulls().unique().to_list())
    units = [
        unit
        for unit in present
        if asked.server.may_see(asked.viewer.units, unit) and wanted in ("", unit)
    ]
    if not units:
        asked.server.refuse_other_units(asked.viewer, (wanted or None,))
    some = board.patients.filter(pl.col("unit").is_in(units))
    why = "sheet: ward handover"
    subjects = _seen_subjects(asked, some)
    asked.server.audit(asked.viewer, "viewed", why=why, details={"patients": len(subjects)})
    return _sheet_response(
        handover_sheet(
            _ward(asked),
            board,
            paper=_paper(asked, subjects, why),
            made=asked.server.clock(),
            units=units,
        )
    )


def _day(text: str, default: datetime) -> datetime:
    if not text:
        return default
    try:
        return datetime.fromisoformat(text).replace(tzinfo=default.tzinfo)
    except ValueError:
        message = "day: cannot be read; found other text; write 2020-05-01"
        raise BadInputError(message) from None


@routes.get("/paper/mortality-review")
def mortality(request: Request) -> Response:
    """Print the review of deaths."""
    asked = asked_of(request)
    _refuse_restricted(asked)
    server = asked.server
    last = _day(asked.query.get("to", ""), asked.now)
    first = _day(asked.query.get("from", ""), last - timedelta(days=REVIEW_DAYS))
    snapshot = server.snapshot()
    dead = deaths_of(snapshot, first, last)["subject_id"].to_list()
    why = "sheet: mortality review"
    runs = [
        run_measures(snapshot, programme, subjects=dead)
        for programme in map(load_programme, server.settings.programmes)
        if programme.measures and dead
    ]
    titles = {id_: rule.title or id_ for id_, rule in server.bedside.rules.items()}
    cards = server.state.cards.between(first - timedelta(days=365), server.clock()).select(
        pl.col("stay").cast(pl.Int64, strict=False).alias("stay_id"),
        pl.col("now").alias("time"),
        pl.col("rule").replace(titles).alias("title"),
    )
    server.audit(asked.viewer, "viewed", why=why, details={"patients": len(set(dead))})
    return _sheet_response(
        mortality_sheet(
            snapshot, first, last, paper=_paper(asked, dead, why), made=server.clock(),
            runs=runs, cards=cards,
        )
    )  # fmt: skip


@routes.get("/paper/board-report")
def board_report(request: Request) -> Response:
    """Print the board's report; it is made by the worker."""
    asked = asked_of(request)
    result, job = asked.server.computed(
        "board-report", {"language": asked.words.code}, asked.viewer
    )
    if result is None:
        return RedirectResponse(f"/jobs/{job}", status_code=303)
    nonce = secrets.token_urlsafe(16)
    return Response(
        result.content["shared_html" if asked.sees_large_counts_only else "html"].replace(
            "NONCE-OF-THE-ANSWER", nonce
        ),
        media_type="text/html; charset=utf-8",
        headers={
            "Content-Security-Policy": POLICY.replace(
                "style-src 'self'", f"style-src 'nonce-{nonce}'"
            )
        },
    )


def add_to(pages: Pages) -> None:
    """Add the pages."""
    pages.add("/paper", sheets, template="paper_sheets.html")
    pages.router.include_router(routes, include_in_schema=False)
