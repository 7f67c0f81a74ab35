"""Handling of bugs: an answer of 500, and a log without a patient's values.

The text of an exception may quote what was sent, and so may its chain and the
locals of its frames. Only its type and the places in our code are logged.
"""

from __future__ import annotations

import json
import logging
import traceback
from typing import Any, Final

__all__ = ["OurBugs", "places_of"]

_LOG: Final = logging.getLogger("neva.web")
_ANSWER: Final = json.dumps({"error": "a bug in Neva; please report it"}).encode()


def places_of(error: BaseException) -> str:
    """Return an exception's type and code locations, the innermost last.

    Examples
    --------
    >>> places_of(ValueError("the patient's name"))
    'ValueError'
    """
    places = [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return " < ".join([type(error).__name__, *reversed(places)])


class OurBugs:
    """ASGI middleware that answers 500 where the application raises.

    The server in front of it never sees the exception, whose text it would log.

    Parameters
    ----------
    app : ASGI application
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on a request; an exception becomes an answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def watched(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            _LOG.error("a bug: %s", places_of(error))
        else:
            return
        if has_begun:
            return  # the answer is cut short, which the server notices
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(_ANSWER)).encode()),
        ]
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": _ANSWER})
