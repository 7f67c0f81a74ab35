"""Idle connections are closed; many of them do not stop the service."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from neva.web.security.access import CHANGES

__all__ = ["PatientProtocol", "raise_open_files"]

#: Whoever has begun to ask goes on within so many seconds.
SILENCE: Final = 15.0
#: And has asked, headers and all, within so many.
REQUEST_WITHIN: Final = 60.0
#: Open files that a service asks the system for: a connection is one.
OPEN_FILES: Final = 65_536


def raise_open_files() -> None:
    """Let this process have as many open files as the system allows it, up to 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class PatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, that does not wait for ever for a request."""

    _silence: asyncio.TimerHandle | None = None
    _heard = False
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait."""
        super().connection_made(transport)
        self._since = time.monotonic()
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Note that the other side speaks."""
        self._heard = True
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        if self._silence is not None:
            self._silence.cancel()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End with the server: a page's stream of changes would go on for ever."""
        cycle = self.cycle
        if cycle is not None and cycle.scope["path"].endswith(CHANGES):
            self.transport.close()
        super().shutdown()

    def _wait(self) -> None:
        self._heard = False
        self._silence = self.loop.call_later(SILENCE, self._look)

    def _look(self) -> None:
        cycle = self.cycle
        # An answer under way takes its time; between requests keep-alive ends it.
        asks = cycle is None or (not cycle.response_complete and cycle.more_body)
        is_late = cycle is None and time.monotonic() - self._since > REQUEST_WITHIN
        if asks and (is_late or not self._heard):
            self.transport.abort()
            return
        self._wait()
