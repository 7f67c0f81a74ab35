"""Feeds: what live feeds took and applied, what they refused, which codes nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from neva.errors import NotFoundError
from neva.feeds.accepted import ABOUT, accept, meanings, withdraw
from neva.feeds.status import FeedStatus, feed_folder, feed_names, feed_status
from neva.sources.hl7v2.reasons import DOUBTS, REASONS
from neva.web.pages import Asked, Column, Pages, Table, ViewModel, asked_of
from neva.web.security.access import may
from neva.web.security.forms import posted

__all__ = ["add_to"]

#: Who listens says so every two seconds; who asks others, whenever it asks.
_LISTENS_WITHIN: Final = timedelta(seconds=15)
_ASKS_WITHIN: Final = timedelta(minutes=15)


def feeds(asked: Asked) -> ViewModel:
    """Show each live feed: backlog, age, refusals, doubts, last messages."""
    words, server = asked.words, asked.server
    now = server.clock()
    every = [feed_status(server.hospital, name, now) for name in feed_names(server.hospital.path)]
    return ViewModel(
        words("Feeds"),
        {
            "feeds": [_words_of(asked, one, now) for one in every],
            "proposal": _proposal(every),
            "may_accept": may(asked.viewer.role, "POST", "/data/feeds/{feed}/accept"),
            "unknown": _unknown(asked, every),
            "accepted": [
                {"feed": one.name, "part": of.part, "word": of.word, "meaning": of.meaning}
                for one in every
                for of in one.accepted
            ],
        },
        (
            Table(
                "feeds",
                words("Live feeds"),
                (
                    Column("name", words("feed"), "code"),
                    Column("state", words("state")),
                    Column("last", words("last message"), "time"),
                    Column("within", words("expected within, minutes"), "number"),
                    Column("taken", words("taken"), "number"),
                    Column("applied", words("applied"), "number"),
                    Column("backlog", words("backlog"), "number"),
                    Column("rate", words("messages in the last hour"), "number"),
                    Column("delay", words("from arrival to the store, seconds"), "number", 1),
                ),
                [_row(asked, one, now) for one in every],
            ),
            Table(
                "refusals",
                words("Messages that could not be applied"),
                (
                    Column("feed", words("feed"), "code"),
                    Column("reason", words("reason"), "code"),
                    Column("meaning", words("meaning")),
                    Column("messages", words("messages"), "number"),
                ),
                [
                    {"feed": one.name, "reason": reason, "messages": number,
                     "meaning": words(REASONS.get(reason, reason)), "_class": "warning"}
                    for one in every
                    for reason, number in one.reasons.items()
                ],
            ),
            Table(
                "doubts",
                words("In doubt: taken, but not sure"),
                (
                    Column("feed", words("feed"), "code"),
                    Column("type", words("message type"), "code"),
                    Column("reason", words("reason"), "code"),
                    Column("about", words("about"), "code"),
                    Column("meaning", words("meaning")),
                    Column("rows", words("rows"), "number"),
                ),
                [
                    {"feed": one.name, "type": kind, "reason": reason, "about": about,
                     "meaning": words(DOUBTS.get(reason, reason)), "rows": number}
                    for one in every
                    for kind, reason, about, number in one.doubts
                ],
            ),
            Table(
                "accepted",
                words("Accepted here, under the profile"),
                (
                    Column("feed", words("feed"), "code"),
                    Column("part", words("part of the profile"), "code"),
                    Column("word", words("as it is sent"), "code"),
                    Column("meaning", words("is taken as"), "code"),
                    Column("by", words("by")),
                    Column("at", words("accepted"), "time"),
                ),
                [
                    {"feed": one.name, "part": of.part, "word": of.word, "meaning": of.meaning,
                     "by": of.by, "at": datetime.fromisoformat(of.at)}
                    for one in every
                    for of in one.accepted
                ],
            ),
            Table(
                "senders",
                words("Last message of each sender and type"),
                (
                    Column("feed", words("feed"), "code"),
                    Column("sender", words("sender"), "code"),
                    Column("type", words("message type"), "code"),
                    Column("last", words("last message"), "time"),
                    Column("messages", words("messages"), "number"),
                ),
                [
                    {"feed": one.name, "sender": sender, "type": kind, "last": last,
                     "messages": number}
                    for one in every
                    for sender, kind, last, number in one.last_of
                ],
            ),
        ),
        facts=((words("Version"), server.version_name()),),
    )  # fmt: skip


def _state(asked: Asked, feed: FeedStatus, now: datetime) -> tuple[str, str]:
    """Return a feed's state and how it is marked: never well where it is silent."""
    words = asked.words
    within = _LISTENS_WITHIN if feed.kind == "hl7v2" else _ASKS_WITHIN
    listens = feed.listening is not None and now - feed.listening < within
    if not listens:
        return words("nobody listens"), "warning"
    if feed.is_silent:
        return words("silent"), "warning"
    return words("messages arrive"), ""


def _row(asked: Asked, feed: FeedStatus, now: datetime) -> dict[str, Any]:
    state, mark = _state(asked, feed, now)
    return {
        "name": feed.name,
        "state": state,
        "last": feed.last_arrived,
        "within": feed.expected_within.total_seconds() / 60,
        "taken": feed.taken,
        "applied": feed.applied,
        "backlog": feed.backlog,
        "rate": feed.last_hour,
        "delay": feed.delay,
        "_class": mark,
    }


def _words_of(asked: Asked, feed: FeedStatus, now: datetime) -> dict[str, Any]:
    state, mark = _state(asked, feed, now)
    return {"name": feed.name, "state": state, "is_well": not mark, "backlog": feed.backlog}


def _proposal(every: list[FeedStatus]) -> str:
    """Propose lines of the profile for code systems that it does not name."""
    unknown = sorted(
        {about for one in every for _, reason, about, _ in one.doubts
         if reason == "code-system-unknown" and about}
    )  # fmt: skip
    if not unknown:
        return ""
    return "\n".join(["code_systems:", *(f'  "{one}": LOCAL' for one in unknown)])


def _unknown(asked: Asked, every: list[FeedStatus]) -> list[dict[str, Any]]:
    """Return the words that a click may give a meaning, with the meanings to choose from."""
    titles = {"code_systems": asked.words("code system"), "kinds": asked.words("patient class")}
    return [
        {"feed": one.name, "reason": reason, "word": about, "what": titles[ABOUT[reason][0]],
         "meanings": meanings(ABOUT[reason][0], about)}
        for one in every
        for _, reason, about, _ in one.doubts
        if reason in ABOUT and 0 < len(about) < ABOUT[reason][1]
    ]  # fmt: skip


def _change(request: Request, feed: str, form: Mapping[str, Any], *, is_accepted: bool) -> Response:
    """Accept a meaning, or take one back, and write it into the audit."""
    asked = asked_of(request)
    server = asked.server
    if feed not in feed_names(server.hospital.path):
        message = "feed: none of that name; found another; see the list of feeds"
        raise NotFoundError(message)
    folder, now = feed_folder(server.hospital.path, feed), server.clock()
    word = str(form.get("word", ""))
    if is_accepted:
        reason = str(form.get("reason", ""))
        offered = _unknown(asked, [feed_status(server.hospital, feed, now)])
        if not any((one["reason"], one["word"]) == (reason, word) for one in offered):
            message = "word: nothing unknown; found it in no doubt; load the page anew"
            raise NotFoundError(message)
        part, meaning = ABOUT[reason][0], str(form.get("meaning", ""))
        changed = accept(folder, part, word, meaning, by=asked.viewer.account, at=now)
    else:
        changed = withdraw(folder, str(form.get("part", "")), word)
    server.state.audit.append(
        at=now,
        actor=asked.viewer.account,
        role=asked.viewer.role,
        action="mapping-accepted" if is_accepted else "mapping-withdrawn",
        why="feed desk",
        details={"feed": feed, "part": changed.part, "word": changed.word,
                 "meaning": changed.meaning},
    )  # fmt: skip
    return RedirectResponse("/data/feeds", status_code=303)


routes = APIRouter()


@routes.post("/data/feeds/{feed}/accept")
def accepted(request: Request, feed: str, form: Mapping[str, Any] = Depends(posted)) -> Response:
    """Accept what an unknown word of a feed means."""
    return _change(request, feed, form, is_accepted=True)


@routes.post("/data/feeds/{feed}/withdraw")
def withdrawn(request: Request, feed: str, form: Mapping[str, Any] = Depends(posted)) -> Response:
    """Take back what was accepted."""
    return _change(request, feed, form, is_accepted=False)


def add_to(pages: Pages) -> None:
    """Add this page."""
    pages.add("/data/feeds", feeds, template="feeds.html")
    pages.router.include_router(routes, include_in_schema=False)
