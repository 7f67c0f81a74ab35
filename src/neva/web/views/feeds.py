"""Feeds: what live feeds took and applied, what they refused, which codes nobody knows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from neva.feeds.status import FeedStatus, feed_names, feed_status
from neva.sources.hl7v2.reasons import DOUBTS, REASONS
from neva.web.pages import Asked, Column, Pages, Table, ViewModel

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


def add_to(pages: Pages) -> None:
    """Add this page."""
    pages.add("/data/feeds", feeds, template="feeds.html")
