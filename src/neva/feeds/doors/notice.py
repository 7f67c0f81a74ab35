"""Notices that something changed: a request wakes who polls, and says nothing else.

For FHIR R4 subscriptions of the channel ``rest-hook``: the server sends its notices here,
and what they hold is not read; what changed is asked of the server itself.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from neva.errors import NotFoundError, UsageError

__all__ = ["notices"]

#: So long a secret must be at least.
_SHORTEST: Final = 16
#: Bytes of a notice that are taken from the line; a longer one is cut off.
_MOST: Final = 10_000_000
_SECONDS: Final = 10.0


def _secret(path: Path) -> bytes:
    try:
        found = path.read_text(encoding="utf-8").strip().encode()
    except (OSError, UnicodeDecodeError):
        found = b""
    if len(found) < _SHORTEST:
        message = (
            f"{path}: no secret there; found {len(found)} characters; write at least {_SHORTEST} "
            "that nobody guesses, and give them to the server as `Authorization: Bearer ...`"
        )
        raise NotFoundError(message)
    return found


@contextmanager
def notices(host: str, port: int, secret_file: Path, wake: threading.Event) -> Iterator[int]:
    """Listen for notices.

    Parameters
    ----------
    host : str
    port : int
        0: any free one.
    secret_file : Path
        What the header ``Authorization: Bearer`` of a notice must hold.
    wake : threading.Event
        Set by each notice.

    Yields
    ------
    int
        The port.

    Raises
    ------
    NotFoundError
        There is no secret.
    UsageError
        The address cannot be listened at.
    """
    wanted = b"Bearer " + _secret(secret_file)

    class Notice(BaseHTTPRequestHandler):
        timeout = _SECONDS
        server_version, sys_version = "neva", ""

        def _take(self) -> None:
            given = self.headers.get("Authorization", "").encode("utf-8", "replace")
            is_known = hmac.compare_digest(given, wanted)
            written = self.headers.get("Content-Length", "0")
            left = int(written) if written.isdecimal() else 0
            if not is_known or left > _MOST:
                self.close_connection = True
                self._answer(403 if not is_known else 413)
                return
            while left > 0 and (part := self.rfile.read(min(left, 65_536))):
                left -= len(part)
            wake.set()
            self._answer(200)

        def _answer(self, status: int) -> None:
            self.send_response_only(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_PUT = _take  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing: an address may name a patient."""

    try:
        server = ThreadingHTTPServer((host, port), Notice)
    except OSError as error:
        message = (
            f"--notify: cannot listen at {host}:{port}; found {error.strerror}; choose another "
            "port, or an address of this machine"
        )
        raise UsageError(message) from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
