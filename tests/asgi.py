"""An application behind a synchronous client, without a socket."""

import asyncio
from typing import Any

import httpx


class AsgiTransport(httpx.BaseTransport):
    """Hands requests of an `httpx.Client` to an ASGI application."""

    def __init__(self, app: Any):
        # An error of the application is an answer of 500, as a server would give it.
        self._inner = httpx.ASGITransport(app=app, raise_app_exceptions=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def answer() -> httpx.Response:
            response = await self._inner.handle_async_request(request)
            content = await response.aread()
            return httpx.Response(response.status_code, headers=response.headers, content=content)

        return asyncio.run(answer())
