"""The most used pages take turns: many at once would only slow each other down.

A page is made by Python, which runs one thread at a time. Two hundred looks at
*Now* in forty threads cost each other twice the time of the same looks one
after the other. So these pages are made one by one, in the order in which they
were asked for. One that has waited for two seconds goes ahead anyhow: a disk
that is full, or a database that is locked, holds up nobody for longer. Pages
that take long, posts and machines' doors never wait here.
"""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakKeyDictionary

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Turns"]

#: What a whole hospital looks at, again and again: made in some milliseconds.
ONE_BY_ONE: Final = ("/now", "/wallboard", "/work-list")
#: No request waits longer for those before.
LONGEST_SECONDS: Final = 2.0


class Turns:
    """Makes the pages of :data:`ONE_BY_ONE`, and their twins, one after the other.

    Parameters
    ----------
    app : ASGI application
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # Of each event loop: a lock belongs to one.
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, when it is their turn."""
        if (
            scope["type"] != "http"
            or scope["method"] not in ("GET", "HEAD")
            or scope["path"].partition(".")[0] not in ONE_BY_ONE
        ):
            await self.app(scope, receive, send)
            return
        turn = self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        has_turn = await _begin(turn)

        def end() -> None:
            nonlocal has_turn
            if has_turn:
                has_turn = False
                turn.release()

        async def sent(message: Message) -> None:
            # The page is made; how long a browser takes to read it is no matter.
            end()
            await send(message)

        try:
            await self.app(scope, receive, sent)
        finally:
            end()


async def _begin(turn: asyncio.Lock) -> bool:
    """Wait for a turn; say whether there was one in time."""
    if not turn.locked():
        return await turn.acquire()
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            return await turn.acquire()
    except TimeoutError:
        return False
