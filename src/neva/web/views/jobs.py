"""Jobs, audit and accounts: background tasks, access to records, who may sign in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import polars as pl
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from neva.errors import BadInputError, ConflictError
from neva.state.accounts import ROLES
from neva.web.pages import Asked, Column, Pages, Table, ViewModel, asked_of
from neva.web.security.forms import posted

__all__ = ["add_to", "routes"]

_MOST_AUDIT: Final = 200
_LONGEST_DETAILS: Final = 120
#: In details: a pseudonym or the number of a stay.
_NUMBER: Final = re.compile(r'"?\b\d{12,}\b"?')
#: Where the result of a kind is shown.
_SHOWN: Final[dict[str, str]] = {
    "activity-log": "/pathways",
    "checks": "/data",
    "measures": "/quality/{programme}",
    "forecast": "/flow",
    "evaluation": "/flow",
    "work-list": "/work-list",
    "replay": "/decisions",
    "board-report": "/paper/board-report",
    "import": "/data/upload/{upload}",
    "what-if": "/flow/scenarios",
}


#: What work tells while it runs; beside these, names of measures and programmes.
TOLD: Final = (
    "reading rows", "measures", "forecast", "evaluation", "simulation", "replay", "figures",
    "report", "done",
)  # fmt: skip


def _translated_outcome(asked: Asked, text: str) -> str:
    return asked.words(text) if text in TOLD else text


def _states(asked: Asked) -> dict[str, str]:
    words = asked.words
    return {
        "queued": words("queued"),
        "running": words("running"),
        "done": words("done"),
        "failed": words("failed"),
        "cancelled": words("cancelled"),
    }


def _kinds(asked: Asked) -> dict[str, str]:
    words = asked.words
    return {
        "activity-log": words("activity log"),
        "checks": words("quality checks"),
        "measures": words("measures of a programme"),
        "forecast": words("forecast"),
        "evaluation": words("accuracy of forecasts"),
        "what-if": words("scenario"),
        "work-list": words("work list"),
        "replay": words("replay of rules"),
        "board-report": words("board report"),
        "flush": words("saving of entries"),
        "import": words("import of a file"),
    }


def jobs(asked: Asked) -> ViewModel:
    """List the newest jobs."""
    words = asked.words
    kinds, states = _kinds(asked), _states(asked)
    return ViewModel(
        words("Jobs"),
        {},
        (
            Table(
                "jobs",
                words("Background tasks, the newest first"),
                (
                    Column("kind", words("what")),
                    Column("state", words("state")),
                    Column("at", words("requested"), "time"),
                    Column("took", words("duration"), "hours"),
                    Column("actor", words("by")),
                ),
                [
                    {
                        "kind": kinds.get(one.kind, one.kind),
                        "state": states[one.state],
                        "at": one.at,
                        "took": None
                        if one.begun is None or one.ended is None
                        else (one.ended - one.begun).total_seconds() / 3600,
                        "actor": one.actor,
                        "_class": "bad" if one.state == "failed" else "",
                        "_href": f"/jobs/{one.id}",
                    }
                    for one in asked.server.state.jobs.newest()
                ],
            ),
        ),
    )


def job(asked: Asked) -> ViewModel:
    """Show one job: how far it is, what it told, where its result is."""
    words = asked.words
    one = asked.server.state.jobs.get(asked.path["job"])
    where = _SHOWN.get(one.kind, "")
    if one.kind == "import" and one.actor != asked.viewer.account:
        where = "/data"  # a file is shown to whoever sent it only
    if "{" in where:
        where = where.format_map(one.parameters)
    return ViewModel(
        words("Job: %(kind)s", kind=_kinds(asked).get(one.kind, one.kind)),
        {
            "id": one.id,
            "state": one.state,
            "state_title": _states(asked)[one.state],
            "done": one.done,
            "of": one.of,
            "words": _translated_outcome(asked, one.words) if one.is_under_way else "",
            "error": one.error,
            "under_way": one.is_under_way,
            "result": where if one.state == "done" else "",
            "may": asked.viewer.role in ("analyst", "clinician", "administrator"),
            "at": one.at,
            "begun": one.begun,
            "ended": one.ended,
        },
        (
            Table(
                "log",
                words("Messages"),
                (Column("at", words("time"), "time"), Column("words", words("what"))),
                [
                    {"at": at, "words": _translated_outcome(asked, text)}
                    for at, text in asked.server.state.jobs.log(one.id)[-200:]
                ],
            ),
        ),
    )


def _cut(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Cut long details, as of a list of fifty patients: the twins have them whole."""
    text = pl.col("details")
    cut = pl.when(text.str.len_chars() > _LONGEST_DETAILS)
    short = cut.then(text.str.slice(0, _LONGEST_DETAILS) + " …").otherwise(text)
    return rows.with_columns(details=short).to_dicts()


def _without_others(rows: pl.DataFrame, subject: str) -> pl.DataFrame:
    """Leave out whose records were seen, but for the pseudonym that was asked for."""
    of_another = pl.col("subject") != subject

    def without(details: str) -> str:
        return _NUMBER.sub(lambda one: one[0] if one[0].strip('"') == subject else '"…"', details)

    return rows.with_columns(
        subject=pl.when(of_another).then(pl.lit("…")).otherwise("subject"),
        details=pl.col("details").map_elements(without, return_dtype=pl.String),
    )


def audit(asked: Asked) -> ViewModel:
    """Show the audit of the last days, the newest first."""
    words, state = asked.words, asked.server.state
    days = int(asked.number("days", 7, 1, 366))
    last = asked.server.clock() + timedelta(minutes=1)
    rows = state.audit.between(last - timedelta(days=days), last)
    actor, subject = asked.query.get("actor", ""), asked.query.get("subject", "")
    if actor:
        rows = rows.filter(pl.col("actor") == actor)
    if subject:
        named = pl.col("details").str.contains(json.dumps(subject), literal=True)
        rows = rows.filter((pl.col("subject") == subject) | named)
    shown = rows.sort("number", descending=True)
    shown = _without_others(shown, subject)
    state.audit.append(
        at=asked.server.clock(), actor=asked.viewer.account, role=asked.viewer.role,
        action="viewed", why="audit", details={"rows": shown.height},
    )  # fmt: skip
    head = state.audit.head()
    is_twin = asked.url.split("?")[0].endswith((".csv", ".json"))
    return ViewModel(
        words("Audit"),
        {"days": days, "actor": actor, "subject": subject, "rows": shown.height},
        (
            Table(
                "audit",
                words("Audit trail, the newest first"),
                (
                    Column("number", words("number"), "number"),
                    Column("at", words("time"), "time"),
                    Column("actor", words("who")),
                    Column("role", words("role")),
                    Column("action", words("what"), "code"),
                    Column("subject", words("patient"), "code"),
                    Column("why", words("why")),
                    Column("details", words("details"), "code"),
                ),
                shown.to_dicts() if is_twin else _cut(shown.head(_MOST_AUDIT)),
            ),
        ),
        facts=((words("Head of the chain"), f"{head.number}: {head.hash[:16]}"),),
    )


def accounts(asked: Asked) -> ViewModel:
    """List accounts, with forms to make and change them."""
    words = asked.words
    found = asked.server.state.accounts.all()
    return ViewModel(
        words("Accounts"),
        {
            "roles": list(ROLES),
            "units": sorted(asked.unit_titles),
            "accounts": [
                {"name": one.name, "shown": one.shown, "role": one.role,
                 "units": list(one.units) if one.units is not None else [],
                 "disabled": one.disabled}
                for one in found
            ],
        },
        (
            Table(
                "accounts",
                words("Who may sign in"),
                (
                    Column("name", words("name")),
                    Column("shown", words("shown as")),
                    Column("role", words("role")),
                    Column("units", words("units")),
                    Column("issuer", words("sign-in method")),
                    Column("disabled", words("disabled")),
                ),
                [
                    {
                        "name": one.name,
                        "shown": one.shown,
                        "role": one.role,
                        "units": words("all") if one.units is None else ", ".join(one.units),
                        "issuer": one.issuer or words("password"),
                        "disabled": one.disabled,
                    }
                    for one in found
                ],
            ),
        ),
    )  # fmt: skip


routes = APIRouter()


@routes.post("/jobs/{job}/cancel")
def cancel(
    request: Request,
    job: str,
    form: Mapping[str, Any] = Depends(posted),
) -> Response:
    """Cancel a job."""
    asked = asked_of(request)
    asked.server.state.jobs.get(job)
    asked.server.state.jobs.cancel(job, actor=asked.viewer.account, at=asked.server.clock())
    return RedirectResponse(f"/jobs/{job}", status_code=303)


def _put(request: Request, form: Mapping[str, Any], name: str, *, new: bool) -> Response:
    asked = asked_of(request)
    units = [one.strip() for one in str(form.get("units", "")).split(",") if one.strip()]
    unknown = sorted(set(units) - set(asked.unit_titles))
    if unknown:
        message = (
            f"account: a unit is not known; found {unknown[0][:40]!r}; choose among "
            f"{', '.join(sorted(asked.unit_titles))[:300]}"
        )
        raise BadInputError(message)
    disabled = bool(form.get("disabled"))
    role = str(form.get("role", ""))
    if name == asked.viewer.account and (disabled or role != asked.viewer.role):
        message = (
            "account: one's own role cannot be changed; found the account that is signed in; ask "
            "another administrator"
        )
        raise ConflictError(message)
    accounts = asked.server.state.accounts
    held = None if new else accounts.get(name)
    # Who sees no unit does not see all because a form was sent with its field empty.
    sees_none = held is not None and held.units == ()
    accounts.put(
        name,
        role=role,
        shown=str(form.get("shown", "")),
        units=units or (() if sees_none else None),
        password=str(form["password"]) if form.get("password") else None,
        disabled=disabled,
        actor=asked.viewer.account,
        at=asked.server.clock(),
        new=new,
    )
    return RedirectResponse("/accounts", status_code=303)


@routes.post("/accounts")
def add(request: Request, form: Mapping[str, Any] = Depends(posted)) -> Response:
    """Make an account."""
    return _put(request, form, str(form.get("name", "")), new=True)


@routes.post("/accounts/{account}")
def change(
    request: Request,
    account: str,
    form: Mapping[str, Any] = Depends(posted),
) -> Response:
    """Change an account."""
    return _put(request, form, account, new=False)


def add_to(pages: Pages) -> None:
    """Add the pages."""
    pages.add("/jobs", jobs, template="jobs.html")
    pages.add("/jobs/{job}", job, template="job.html")
    pages.add("/audit", audit, template="audit.html")
    pages.add("/accounts", accounts, template="accounts.html")
    pages.router.include_router(routes, include_in_schema=False)
