"""Notices that something changed: a request wakes who polls, and may bring what changed.

For FHIR R4 subscriptions of the channel ``rest-hook``. Without a payload, or where none is
wanted, nothing of a notice is read: what changed is asked of the server itself.
"""

from __future__ import annotations

import hmac
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Final

from neva.errors import NotFoundError, UsageError
from neva.feeds.doors.payloads import BadPayloadError, Payloads
from neva.state.settings import is_loopback

__all__ = ["notice_secret", "notices"]

#: So long a secret must be at least.
_SHORTEST: Final = 16
#: Bytes of a notice that are taken from the line; a longer one is refused.
_MOST: Final = 10_000_000
_SECONDS: Final = 10.0
#: The size of a chunk is written within so many bytes.
_LONGEST_SIZE: Final = 256


def notice_secret(path: Path) -> str:
    """Read what the header ``Authorization: Bearer`` of a notice must hold.

    Raises
    ------
    NotFoundError
        There is none, or a short one.
    """
    try:
        found = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        found = ""
    if len(found) < _SHORTEST:
        message = (
            f"{path}: no secret there; found {len(found)} characters; write at least {_SHORTEST} "
            "that nobody guesses, and give them to the server as `Authorization: Bearer ...`"
        )
        raise NotFoundError(message)
    return found


def _body(stream: BufferedIOBase, length: str | None, coding: str | None) -> bytes:
    """Read what a request brings, whole or in chunks.

    Raises
    ------
    BadPayloadError
        It is too long, breaks off, or its length cannot be read.
    """
    if coding is not None:
        if coding.strip().lower() != "chunked" or length is not None:
            raise BadPayloadError("unreadable", 400)
        return _chunks(stream)
    written = "0" if length is None else length.strip()
    if not written.isascii() or not written.isdecimal():
        raise BadPayloadError("unreadable", 400)
    if len(written) > len(str(_MOST)) or int(written) > _MOST:
        raise BadPayloadError("too-long", 413)
    found = stream.read(int(written))
    if len(found) < int(written):
        raise BadPayloadError("unreadable", 400)
    return found


def _chunks(stream: BufferedIOBase) -> bytes:
    found = bytearray()
    while True:
        line = stream.readline(_LONGEST_SIZE)
        try:
            size = int(line.partition(b";")[0].strip().decode("ascii"), 16)
        except (ValueError, UnicodeDecodeError):
            raise BadPayloadError("unreadable", 400) from None
        if size < 0 or not line.endswith(b"\n"):
            raise BadPayloadError("unreadable", 400)
        if len(found) + size > _MOST:
            raise BadPayloadError("too-long", 413)
        if size == 0:
            return bytes(found)  # what follows the last chunk is not read
        part = stream.read(size)
        if len(part) < size or stream.readline(_LONGEST_SIZE).strip():
            raise BadPayloadError("unreadable", 400)
        found += part


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: who breaks off, or speaks no TLS, is answered by nobody."""


@contextmanager
def notices(
    host: str,
    port: int,
    secret_file: Path,
    wake: threading.Event,
    *,
    payloads: Payloads | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[int]:
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
    payloads : Payloads, optional
        Takes what notices bring; without it nothing of them is read.
    tls : ssl.SSLContext, optional

    Yields
    ------
    int
        The port.

    Raises
    ------
    NotFoundError
        There is no secret.
    UsageError
        The address cannot be listened at, or patients' data would come unencrypted.
    """
    wanted = b"Bearer " + notice_secret(secret_file).encode()
    if payloads is not None and tls is None and not is_loopback(host):
        message = (
            f"--notify: patients' data would come unencrypted; found {host} without TLS; give "
            "--tls-certificate and --tls-key, or listen on 127.0.0.1 behind a proxy that speaks TLS"
        )
        raise UsageError(message)

    class Notice(BaseHTTPRequestHandler):
        timeout = _SECONDS
        server_version, sys_version = "neva", ""

        def _take(self) -> None:
            given = self.headers.get("Authorization", "").encode("utf-8", "replace")
            status = self._judged() if hmac.compare_digest(given, wanted) else self._unknown()
            if status == 200:
                wake.set()
            else:
                self.close_connection = True
            self._answer(status)

        def _unknown(self) -> int:
            if payloads is not None:
                payloads.refuse("secret-wrong")
            return 403

        def _judged(self) -> int:
            headers = self.headers
            try:
                body = _body(
                    self.rfile, headers.get("Content-Length"), headers.get("Transfer-Encoding")
                )
            except BadPayloadError as error:
                if payloads is not None:
                    payloads.refuse(error.reason)
                return error.status
            if payloads is None:
                return 200
            content_type = headers.get("Content-Type", "")
            return payloads.take(self.command, self.path, content_type, body)

        def _answer(self, status: int) -> None:
            self.send_response_only(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_PUT = do_DELETE = _take  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing: an address may name a patient."""

    try:
        server = _Server((host, port), Notice)
    except OSError as error:
        message = (
            f"--notify: cannot listen at {host}:{port}; found {error.strerror}; choose another "
            "port, or an address of this machine"
        )
        raise UsageError(message) from None
    if tls is not None:
        # Hands are shaken in the thread of the connection: who is slow holds up nobody.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
