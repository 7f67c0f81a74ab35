"""Pages that renew themselves: what they rest on, and the stream that tells them of a change.

Each such page has a twin ``/changes``. A browser opens it as server-sent events;
any other reader is answered once, with the versions of the topics. Both hold topics
and versions only. Rights are those of the page.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from neva.web.changes import Changes, Listener, name_of
from neva.web.security.access import CHANGES, PATIENTS, is_of_a_wall

if TYPE_CHECKING:
    from neva.access.viewer import Viewer
    from neva.web.server import Server

__all__ = ["HEARTBEAT", "Followed", "Follows", "changes_of", "followed"]

#: A stream says that it is alive so often, seconds: proxies close what is silent.
HEARTBEAT: Final = 15.0
#: A browser whose stream broke off comes again after so long, milliseconds.
_RETRY: Final = 3_000
#: Pages that are told at once, of a process and of a session: browsers open six at most.
MOST: Final = 2_000
MOST_OF_SESSION: Final = 12
#: So long the server takes to make a page anew for each who looks, about, seconds.
_A_PAGE: Final = 0.01
#: Viewers come for the new page one after the other, within so many seconds at most.
_LONGEST_SPREAD: Final = 10.0


class _Asked(Protocol):
    """Of :class:`neva.web.pages.Asked`, what is needed here."""

    @property
    def server(self) -> Server: ...
    @property
    def viewer(self) -> Viewer: ...
    @property
    def shown(self) -> str: ...


@dataclass(frozen=True)
class Follows:
    """On what a page rests.

    Attributes
    ----------
    topics : tuple of str
        Of :class:`neva.web.changes.Seen`.
    of_patients : tuple of str
        Topics that count only where rows of patients are shown.
    subject : callable, optional
        Names the patient of the page.
    refuse : callable, optional
        Refuses whom the page would refuse, beside the table of access.
    reload_after : int or None
        Seconds after which a browser without JavaScript loads the page again;
        None where it has a form, which might have been begun.
    """

    topics: tuple[str, ...]
    of_patients: tuple[str, ...] = ()
    subject: Callable[[Any], int] | None = None
    refuse: Callable[[Any], None] | None = None
    reload_after: int | None = 60

    def topics_of(self, asked: _Asked) -> tuple[str, ...]:
        """Return the topics for a viewer."""
        return self.topics + (self.of_patients if asked.shown == PATIENTS else ())


@dataclass(frozen=True, slots=True)
class Followed:
    """What a page says of itself: where it is told of changes, and what it has seen.

    Attributes
    ----------
    address, seen : str
    reload_after : int or None
    """

    address: str
    seen: str
    reload_after: int | None


def followed(follows: Follows, asked: _Asked, path: str) -> Followed:
    """Say what a page rests on, before it is made: what changes meanwhile is then told."""
    subject = None if follows.subject is None else follows.subject(asked)
    versions = asked.server.changes.look().of(follows.topics_of(asked), subject)
    return Followed(f"{path}{CHANGES}", name_of(versions), follows.reload_after)


def changes_of(follows: Follows, asked_of: Callable[[Request], _Asked]) -> Callable[..., object]:
    """Make the route that tells of changes."""

    def begin(request: Request) -> tuple[_Asked, int | None]:
        asked = asked_of(request)
        if follows.refuse is not None:
            follows.refuse(asked)
        return asked, None if follows.subject is None else follows.subject(asked)

    async def changes(request: Request) -> Response:
        asked, subject = await run_in_threadpool(begin, request)
        hub, topics = asked.server.changes, follows.topics_of(asked)
        if "text/event-stream" not in request.headers.get("accept", ""):
            seen = await run_in_threadpool(hub.look)
            versions = seen.of(topics, subject)
            return JSONResponse(
                {"seen": name_of(versions), "version": seen.version, "topics": versions}
            )
        session = asked.viewer.session
        if len(hub) >= MOST or (session and hub.of_session(session) >= MOST_OF_SESSION):
            raise HTTPException(503, "too many pages are open", headers={"Retry-After": "60"})
        listener = Listener(asked.viewer, topics, subject, lambda: is_of_a_wall(request))
        known = request.headers.get("last-event-id") or request.query_params.get("since", "")
        return EventSourceResponse(
            _stream(hub, listener, known), headers={"X-Accel-Buffering": "no"}
        )

    return changes


async def _stream(hub: Changes, listener: Listener, known: str) -> AsyncIterator[bytes]:
    """Tell of every change; heartbeats between them; an end where the session ends."""
    try:
        await run_in_threadpool(hub.join, listener)
        yield format_sse_event(comment="neva", retry=_RETRY)
        held: dict[str, str] = {}
        while True:
            if listener.is_over:
                yield format_sse_event(event="over", data_str="{}")
                return
            versions = listener.versions
            seen = name_of(versions)
            if seen != known:
                changed = sorted(name for name in versions if versions[name] != held.get(name))
                reported = {"topics": changed, "spread": min(_A_PAGE * len(hub), _LONGEST_SPREAD)}
                yield format_sse_event(event="changed", data_str=json.dumps(reported), id=seen)
            known, held = seen, versions
            if not await listener.wait(HEARTBEAT):
                yield KEEPALIVE_COMMENT
    finally:
        hub.leave(listener)
