"""Doors of notifications: SMTP, and webhooks signed as Standard Webhooks says.

See https://github.com/standard-webhooks/standard-webhooks (specification 1.0).
"""

from __future__ import annotations

import base64
import hmac
import smtplib
import ssl
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx

from neva.notifications.settings import Channel, MailServer, read_secret
from neva.sources.fhir.server import unlogged

__all__ = ["SHORTEST_SECRET", "Refusal", "hand_over", "post", "signature_of"]

#: Bytes of a secret that signs, at least.
SHORTEST_SECRET: Final = 24
_SECONDS: Final = 10.0
_LONGEST_WAIT: Final = timedelta(hours=1)
_PERMANENT: Final = range(500, 600)


class Refusal(Exception):  # noqa: N818
    """It could not be sent.

    Parameters
    ----------
    problem : str
        In words, without what was sent.
    is_final : bool
        Whether to try again is useless.
    after : timedelta, optional
        When the receiver wants to be asked again.
    """

    def __init__(
        self, problem: str, *, is_final: bool = False, after: timedelta | None = None
    ) -> None:
        super().__init__(problem)
        self.problem, self.is_final, self.after = problem, is_final, after


def hand_over(message: EmailMessage, server: MailServer) -> None:
    """Hand an e-mail over to the hospital's mail server.

    Raises
    ------
    Refusal
        For some of the recipients at least.
    """
    trusted = None if server.certificates is None else str(server.certificates)
    try:
        if server.security == "tls":
            context = ssl.create_default_context(cafile=trusted)
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=_SECONDS, context=context
            )
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=_SECONDS)
        with connection:
            if server.security == "starttls":
                connection.starttls(context=ssl.create_default_context(cafile=trusted))
            if server.user is not None and server.password_file is not None:
                connection.login(server.user, read_secret(server.password_file).decode())
            refused = connection.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        is_final = all(code in _PERMANENT for code in codes)
        raise Refusal(f"no recipient was taken ({codes[0]})", is_final=is_final) from None
    except smtplib.SMTPResponseException as error:
        # An answer may quote what was sent: its number says enough.
        raise Refusal(f"the mail server answered {error.smtp_code}") from None
    except (smtplib.SMTPException, OSError) as error:
        raise Refusal(f"the mail server cannot be used: {type(error).__name__}") from None
    if refused:
        raise Refusal(f"{len(refused)} of the recipients were not taken", is_final=True)


def signature_of(secret: bytes, id_: str, timestamp: int, body: bytes) -> str:
    """Sign a webhook: HMAC-SHA256 of id, time and body.

    Examples
    --------
    >>> signature_of(b"0" * 24, "a", 1, b"{}")
    'v1,mPEBmxvEotL2+wyY+0IEVeA1jeZwx801wp/tlrt/Agc='
    """
    signed = f"{id_}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, sha256)).decode()


def _key(path: Path) -> bytes:
    """Read what signs: the bytes, or behind ``whsec_`` in base 64."""
    found = read_secret(path, shortest=SHORTEST_SECRET)
    if found.startswith(b"whsec_"):
        return base64.b64decode(found.removeprefix(b"whsec_"))
    return found


def post(channel: Channel, id_: str, body: bytes, *, at: datetime) -> None:
    """Send a webhook.

    Raises
    ------
    Refusal
        It was not answered by a 2xx. 410 (gone) and other 4xx than 408, 425
        and 429 are final; redirects are not followed.
    """
    if channel.webhook is None or channel.secret_file is None:
        raise ValueError
    timestamp = int(at.timestamp())
    headers = {
        "content-type": "application/json",
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature_of(_key(channel.secret_file), id_, timestamp, body),
    }
    trusted = ssl.create_default_context(
        cafile=None if channel.certificates is None else str(channel.certificates)
    )
    try:
        # Neither a proxy of the environment nor another address gets what is sent.
        with (
            unlogged(),
            httpx.Client(timeout=_SECONDS, verify=trusted, trust_env=False) as client,
            client.stream("POST", channel.webhook, content=body, headers=headers) as answer,
        ):
            status, wait = answer.status_code, answer.headers.get("retry-after")
    except (httpx.HTTPError, OSError) as error:
        raise Refusal(f"the receiver cannot be reached: {type(error).__name__}") from None
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    passing = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
    is_final = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    raise Refusal(
        f"the receiver answered {status}",
        is_final=is_final and status not in passing,
        after=_wait_of(wait, at),
    )


def _wait_of(written: str | None, at: datetime) -> timedelta | None:
    if not written:
        return None
    if written.isascii() and written.isdecimal():
        wait = timedelta(seconds=min(int(written[:9]), _LONGEST_WAIT.total_seconds()))
    else:
        try:
            wait = parsedate_to_datetime(written) - at
        except (TypeError, ValueError):
            return None
    return min(max(wait, timedelta(0)), _LONGEST_WAIT)
