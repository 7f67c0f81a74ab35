"""Decisions: rules and models with their states, burden and changes of state."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import polars as pl
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from neva.decisions.cards import hash_of
from neva.decisions.disclosure import shared_burden, shared_card
from neva.decisions.log_figures import feedback_by_period
from neva.decisions.rules import Rule
from neva.definitions.words.explain import explain
from neva.errors import BadInputError, NotFoundError
from neva.statistics.disclosure import WITHHELD, is_small
from neva.web.charts import drawn
from neva.web.pages import Asked, Column, Figure, Pages, Table, ViewModel, asked_of
from neva.web.security.forms import posted
from neva.web.views.replayed import replay_tables, rows_of_rule, shown_rows, warned_of

__all__ = ["add_to", "routes"]

#: Where a rule may go from each state.
_NEXT: Final[dict[str, tuple[str, ...]]] = {
    "none": ("draft",),
    "draft": ("silent", "retired"),
    "silent": ("live", "retired"),
    "live": ("silent", "retired"),
    "retired": (),
}
#: What needs a second person: whatever shows cards to people.
_NEEDS_SECOND: Final = ("live",)
_LOG_DAYS: Final = 365


def _title(asked: Asked, rule: Rule) -> str:
    return str((asked.words.code == "ru" and rule.title_ru) or rule.title or rule.id)


def _states(asked: Asked) -> dict[str, str]:
    words = asked.words
    return {
        "none": words("not in use"),
        "draft": words("draft"),
        "silent": words("silent"),
        "live": words("live"),
        "retired": words("retired"),
    }


def _replayed(asked: Asked) -> tuple[Any, str | None]:
    return asked.server.computed("replay", {}, asked.viewer)


def decisions(asked: Asked) -> ViewModel:
    """List rules and models with their states and what a replay found."""
    words, bedside = asked.words, asked.server.bedside
    states = {one.rule: one for one in asked.server.state.rules.all()}
    titles = _states(asked)
    result, job = _replayed(asked)
    found = [] if result is None else shown_rows(asked, result.content)
    named = [
        {
            **row,
            "rule": _title(asked, bedside.rules[row["rule"]]),
            "_href": f"/decisions/rules/{row['rule']}",
        }
        for row in found
        if row["rule"] in bedside.rules
    ]
    replayed, unassessed = replay_tables(asked, named, Column("rule", words("rule")))
    rows = []
    for id_, rule in sorted(bedside.rules.items()):
        state = states.get(id_)
        changed = state is not None and state.is_evaluated and state.hash != hash_of(rule)
        rows.append(
            {
                "rule": _title(asked, rule),
                "state": titles[state.state if state else "none"]
                + (words(", but with other content") if changed else ""),
                "version": rule.version,
                "owner": rule.owner,
                "_class": "warning" if changed else "",
                "_href": f"/decisions/rules/{id_}",
            }
        )
    open_ = asked.server.state.proposals.open()
    governs = asked.viewer.role in ("clinician", "administrator")
    return ViewModel(
        words("Decisions"),
        {
            "job": job,
            "replayed": result is not None,
            "unassessed": list(unassessed),
            "optimistic": bool(result and result.content["optimistic"]),
            "assumed": None if result is None else result.content["assumed_share"],
            "governs": governs,
            "proposals": [
                {
                    "id": one.id,
                    "rule": one.rule,
                    "to": titles[one.to],
                    "reason": one.reason,
                    "actor": one.actor,
                    "at": one.at,
                    "own": one.actor == asked.viewer.account,
                }
                for one in open_
            ],
            "models": [
                {
                    "id": id_,
                    "title": bedside.rules[id_].title or id_,
                    "locked": model.demonstration_only,
                }
                for id_, model in sorted(bedside.models.items())
            ],
        },
        (
            Table(
                "rules",
                words("Rules and their states"),
                (
                    Column("rule", words("rule")),
                    Column("state", words("state")),
                    Column("version", words("version")),
                    Column("owner", words("owner")),
                ),
                rows,
            ),
            *replayed,
        ),
        facts=()
        if result is None
        else (
            (words("Replayed on"), result.content["identity"]),
            (words("Stays"), words.count(result.content["stays"])),
            (words("Recording times assumed"), words.share(result.content["assumed_share"])),
        ),
    )


def rule(asked: Asked) -> ViewModel:
    """Show one rule: its words, state, history, replay, feedback."""
    words, server = asked.words, asked.server
    id_ = asked.path["rule"]
    one = server.bedside.rules.get(id_)
    if one is None:
        message = "rule: none of that id is installed; see the list of rules"
        raise NotFoundError(message)
    state = server.state.rules.state_of(id_)
    titles = _states(asked)
    now_in = state.state if state else "none"
    result, job = _replayed(asked)
    rows = [] if result is None else rows_of_rule(asked, result.content, id_)
    replayed, unassessed = replay_tables(
        asked,
        [{**row, "unit": row["unit"] or words("whole hospital")} for row in rows],
        Column("unit", words("unit")),
    )
    history = server.state.rules.history(id_)
    return ViewModel(
        _title(asked, one),
        {
            "id": id_,
            "version": one.version,
            "state": titles[now_in],
            "is_live": now_in == "live",
            "content_differs": state is not None
            and state.is_evaluated
            and state.hash != hash_of(one),
            "words": explain(one, words.code),
            "summary": one.summary,
            "detail": one.detail,
            "source": one.source,
            "source_url": one.source_url,
            "owner": one.owner,
            "warns_of": warned_of(asked, one),
            "validation": one.validation,
            "intended_use": one.intended_use,
            "hooks": list(one.hooks),
            "job": job,
            "replayed": bool(rows),
            "unassessed": list(unassessed),
            "next": [{"id": to, "title": titles[to]} for to in _NEXT[now_in]],
            "governs": asked.viewer.role in ("clinician", "administrator"),
            "open": [
                {
                    "id": p.id,
                    "to": titles[p.to],
                    "reason": p.reason,
                    "actor": p.actor,
                    "own": p.actor == asked.viewer.account,
                }
                for p in server.state.proposals.open(id_)
            ],
        },
        (
            *replayed,
            Table(
                "history",
                words("Changes of its state"),
                (
                    Column("at", words("time"), "time"),
                    Column("state", words("state")),
                    Column("version", words("version")),
                    Column("actor", words("who")),
                    Column("reason", words("why")),
                ),
                [
                    {**row, "state": titles.get(row["state"], row["state"])}
                    for row in history.sort("at", descending=True).iter_rows(named=True)
                ],
            ),
        ),
        facts=((words("Content"), hash_of(one)),),
    )


def burden(asked: Asked) -> ViewModel:
    """Show what was really shown: cards, answers and reasons, by week."""
    words, state = asked.words, asked.server.state
    last = asked.server.clock() + timedelta(days=1)
    first = last - timedelta(days=_LOG_DAYS)
    log = state.cards.between(first, last)
    found = feedback_by_period(log, state.feedback.between(first, last), zone=asked.server.zone)
    rows = (
        found.group_by("period", "rule")
        .agg(
            pl.col("cards_shown").first(),
            pl.col("accepted").first(),
            pl.col("overridden").first(),
            pl.col("without_feedback").first(),
        )
        .sort("period", "rule", descending=[True, False])
    )
    reasons = (
        found.filter(pl.col("reason").is_not_null())
        .group_by("rule", "unit", "reason")
        .agg(pl.col("with_reason").sum())
        .sort("with_reason", descending=True)
    )
    weeks, given, shown = rows.to_dicts(), reasons.to_dicts(), int(log["shown"].sum())
    cards: int | str = log.height
    drawable = rows
    if asked.sees_large_counts_only:
        weeks, given, is_whole = shared_burden(weeks, given)
        drawable = pl.DataFrame(
            [row for row in weeks if row["period"] != WITHHELD], schema=rows.schema
        )
        if not is_whole or is_small(log.height - shown) or is_small(log.height):
            cards = WITHHELD
    figures = {}
    if drawable.height:
        figures["weeks"] = Figure(
            drawn(
                {
                    "data": {
                        "values": [
                            {"week": row["period"].date().isoformat(), "rule": row["rule"],
                             "cards": row["cards_shown"]}
                            for row in drawable.iter_rows(named=True)
                        ]
                    },
                    "mark": "bar",
                    "encoding": {
                        "x": {"field": "week", "type": "ordinal", "title": "week from"},
                        "y": {"field": "cards", "type": "quantitative", "title": "cards shown"},
                        "color": {"field": "rule", "type": "nominal", "title": "rule"},
                    },
                },
                words,
            ),
            words("Bars: cards shown by week and rule."),
        )  # fmt: skip
    return ViewModel(
        words("Cards shown, and the answers"),
        {"cards": cards, "shown": WITHHELD if cards == WITHHELD else shown},
        (
            Table(
                "weeks",
                words("By week and rule"),
                (
                    Column("period", words("week from"), "date"),
                    Column("rule", words("rule")),
                    Column("cards_shown", words("shown"), "number"),
                    Column("accepted", words("accepted"), "number"),
                    Column("overridden", words("overridden"), "number"),
                    Column("without_feedback", words("not answered"), "number"),
                ),
                weeks,
            ),
            Table(
                "reasons",
                words("Why cards were overridden"),
                (
                    Column("rule", words("rule")),
                    Column("unit", words("unit")),
                    Column("reason", words("reason")),
                    Column("with_reason", words("cards"), "number"),
                ),
                given,
            ),
        ),
        figures,
    )


def model(asked: Asked) -> ViewModel:
    """Show a model's card."""
    id_ = asked.path["model"]
    found = asked.server.bedside.models.get(id_)
    if found is None:
        message = "model: none of that id is served; see the page of decisions"
        raise NotFoundError(message)
    card = asked.server.bedside.model_cards[id_]
    return ViewModel(
        asked.server.bedside.rules[id_].title or id_,
        {
            "id": id_,
            "card": shared_card(card, asked.words.withheld())
            if asked.sees_large_counts_only
            else card,
            "locked": found.demonstration_only,
        },
    )


routes = APIRouter()


@routes.post("/decisions/rules/{rule}/propose")
def propose(
    request: Request,
    rule: str,
    form: Mapping[str, Any] = Depends(posted),
) -> Response:
    """Change a rule's state; going live waits for a second person."""
    asked = asked_of(request)
    server = asked.server
    one = server.bedside.rules.get(rule)
    if one is None:
        message = "rule: none of that id is installed; see the list of rules"
        raise NotFoundError(message)
    state = server.state.rules.state_of(rule)
    to, reason = str(form.get("to", "")), str(form.get("reason", "")).strip()
    if to not in _NEXT[state.state if state else "none"]:
        message = "rule: cannot go there from its state; found another; choose one of those offered"
        raise BadInputError(message)
    about: dict[str, Any] = {
        "actor": asked.viewer.account,
        "role": asked.viewer.role,
        "reason": reason,
        "at": server.clock(),
    }
    if to in _NEEDS_SECOND:
        server.state.proposals.make(rule, one.version, hash_of(one), to, **about)
    else:
        server.state.rules.change(rule, one.version, hash_of(one), to, **about)
    return RedirectResponse(f"/decisions/rules/{rule}", status_code=303)


def _answer(request: Request, proposal: str, *, confirm: bool) -> Response:
    asked = asked_of(request)
    found = asked.server.state.proposals.answer(
        proposal,
        confirm=confirm,
        actor=asked.viewer.account,
        role=asked.viewer.role,
        at=asked.server.clock(),
    )
    return RedirectResponse(f"/decisions/rules/{found.rule}", status_code=303)


@routes.post("/decisions/proposals/{proposal}/confirm")
def confirm(
    request: Request,
    proposal: str,
    form: Mapping[str, Any] = Depends(posted),
) -> Response:
    """Confirm what somebody else proposed."""
    return _answer(request, proposal, confirm=True)


@routes.post("/decisions/proposals/{proposal}/decline")
def decline(
    request: Request,
    proposal: str,
    form: Mapping[str, Any] = Depends(posted),
) -> Response:
    """Decline a proposal."""
    return _answer(request, proposal, confirm=False)


def add_to(pages: Pages) -> None:
    """Add the pages."""
    pages.add("/decisions", decisions, template="decisions.html")
    pages.add("/decisions/burden", burden, template="decisions_burden.html")
    pages.add("/decisions/rules/{rule}", rule, template="rule.html")
    pages.add("/decisions/models/{model}", model, template="model.html")
    pages.router.include_router(routes, include_in_schema=False)
