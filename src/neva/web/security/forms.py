"""Forms: read within limits, and only with the token of the session that they belong to."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request

from neva.errors import BadInputError
from neva.web.security.access import Forbidden, find_viewer

__all__ = ["MOST_BYTES", "posted", "posted_text", "same_origin"]

#: Of a form without files.
MOST_BYTES: Final = 200_000
_MOST_FIELDS: Final = 200
#: Of a form with a text of some length: each of its letters may take six bytes.
_MOST_OF_TEXT: Final = 1_000_000


def same_origin(request: Request) -> bool:
    """Say whether a request comes from a page of this host, as far as the browser tells."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return True
    return urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()


async def _fields(request: Request, most: int) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        message = "form: of another kind; found no URL-encoded form; use the form of the page"
        raise BadInputError(message)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            message = f"form: too large; found more than {most:,} bytes; shorten it"
            raise BadInputError(message)
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        message = (
            "form: cannot be read; found text that is not UTF-8, or too many fields; send it anew"
        )
        raise BadInputError(message) from None
    return dict(pairs)


def check_token(request: Request, given: str) -> None:
    """Check the token of a form against that of the session.

    Raises
    ------
    Forbidden
    """
    viewer = getattr(request.state, "viewer", None) or find_viewer(request)
    if not same_origin(request):
        raise Forbidden(_FOREIGN)
    if viewer is not None and not secrets.compare_digest(
        given.encode("utf-8", "replace"), viewer.csrf.encode()
    ):
        raise Forbidden(_FOREIGN)


_FOREIGN: Final = (
    "form: not from a page of this session; found another token or origin; load the page anew"
)


async def posted(request: Request) -> Mapping[str, Any]:
    """Read a form; only one of the session's own pages is taken.

    Raises
    ------
    BadInputError
        It is too large, or no form.
    Forbidden
        It carries no token of the session, or comes from elsewhere.
    """
    return await _posted(request, MOST_BYTES)


async def posted_text(request: Request) -> Mapping[str, Any]:
    """Read a form with a long text; else as :func:`posted`."""
    return await _posted(request, _MOST_OF_TEXT)


async def _posted(request: Request, most: int) -> Mapping[str, Any]:
    fields = await _fields(request, most)
    check_token(request, fields.pop("csrf", ""))
    return fields
