"""Security headers of every answer: no foreign content, no caching, no framing."""

from __future__ import annotations

import base64
import hashlib
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neva.pathways.drawing import MAP_STYLE

__all__ = ["POLICY", "Headers"]

_MAP_HASH: Final = base64.b64encode(hashlib.sha256(MAP_STYLE.encode()).digest()).decode()

#: Scripts, styles, pictures and requests of this host only; the one style that
#: stands in a page is that of maps, named by its hash.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; "
    f"style-src 'self' 'sha256-{_MAP_HASH}'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: Files that carry a version in their address.
_STATIC: Final = "/static/"
#: Names of this machine.
_HERE: Final = frozenset(("127.0.0.1", "localhost", "::1"))
#: Machines' doors: any page of a known origin may ask them.
_MACHINES: Final = ("/cds-services",)


class Headers:
    """Adds the headers, and refuses requests for other hosts.

    Parameters
    ----------
    app : ASGI application
    base_url : str
        The address under which people know the pages; other hosts are refused
        (a name of somebody else's that leads here reads nothing).
    """

    def __init__(self, app: ASGIApp, base_url: str) -> None:
        self.app = app
        known = urlsplit(base_url).hostname or "127.0.0.1"
        self._hosts = {known.lower()}
        if known in _HERE:
            self._hosts |= _HERE
        self._is_secure = base_url.startswith("https://")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        machine = path.startswith(_MACHINES)
        if not self._is_known(scope):
            await send(
                {"type": "http.response.start", "status": 421,
                 "headers": [(b"content-type", b"text/plain; charset=utf-8"),
                             (b"x-content-type-options", b"nosniff"),
                             (b"cache-control", b"no-store")]}
            )  # fmt: skip
            await send({"type": "http.response.body", "body": b"unknown host"})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", []))
                held = {name.lower() for name, _ in headers}
                cache = (
                    b"public, max-age=31536000, immutable"
                    if path.startswith(_STATIC) and message["status"] == 200
                    else b"no-store"
                )
                wanted = {
                    b"content-security-policy": POLICY.encode(),
                    b"x-content-type-options": b"nosniff",
                    b"x-frame-options": b"DENY",
                    b"referrer-policy": b"same-origin",
                    b"cross-origin-opener-policy": b"same-origin",
                    b"cross-origin-resource-policy": b"same-origin",
                    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
                    b"cache-control": cache,
                }
                if machine:
                    wanted = {b"x-content-type-options": b"nosniff", b"cache-control": cache}
                if self._is_secure:
                    wanted[b"strict-transport-security"] = b"max-age=31536000"
                headers += [(name, value) for name, value in wanted.items() if name not in held]
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, with_headers)

    def _is_known(self, scope: Scope) -> bool:
        for name, value in scope.get("headers", []):
            if name == b"host":
                try:
                    host = urlsplit("//" + value.decode("latin-1")).hostname
                except ValueError:  # an unfinished address in brackets
                    return False
                return host is not None and host.lower() in self._hosts
        return False
