"""What is shared by all who ask a FHIR server: links that stay there, pages, nothing logged."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import urljoin

import httpx

__all__ = ["ACCEPT", "entries_of", "next_link", "read_json", "stays_under", "unlogged"]

ACCEPT: Final = {"Accept": "application/fhir+json"}

#: Loggers that write URLs (which hold the patient's id) and headers (the token).
_TALKATIVE: Final = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)
_is_fetching: ContextVar[bool] = ContextVar("neva_is_fetching", default=False)


def _not_fetching(_: logging.LogRecord) -> bool:
    return not _is_fetching.get()


@contextmanager
def unlogged() -> Iterator[None]:
    """Keep what the HTTP library would log of our calls out of every log, at any level."""
    for name in _TALKATIVE:
        # Adding the same filter again changes nothing.
        logging.getLogger(name).addFilter(_not_fetching)
    before = _is_fetching.set(True)
    try:
        yield
    finally:
        _is_fetching.reset(before)


#: What may stand for a dot, a slash or a backslash, or part a path where no slash is seen.
_TRICKS: Final = re.compile(r"%(2e|2f|5c|00|25)|[\\\x00-\x20\x7f]|;", re.IGNORECASE)


def stays_under(base: str, link: str) -> bool:
    """Tell whether a link leads to the server at `base`, and to nothing beside its path.

    Scheme, host and port must be the same, and the path must be that of the base
    or below it. One that a server may read in another way than it is read here
    (dots, encoded or not, backslashes, a name before the host) is refused.

    Examples
    --------
    >>> stays_under("https://ehr.example/fhir/", "https://ehr.example/fhir?page=2")
    True
    >>> stays_under("https://ehr.example/fhir/", "../admin")
    False
    """
    # In a query everything may stand; only what is before it leads somewhere.
    before_query = re.split(r"[?#]", link, maxsplit=1)[0]
    if _TRICKS.search(before_query) or re.search(r"[\\\x00-\x20\x7f]", link):
        return False
    if any(part in (".", "..") for part in before_query.split("/")):
        return False
    try:
        here, there = httpx.URL(base), httpx.URL(urljoin(base, link))
    except httpx.InvalidURL:
        return False
    if there.userinfo or (here.scheme, here.host, here.port) != (
        there.scheme,
        there.host,
        there.port,
    ):
        return False
    root = here.path.rstrip("/")
    return there.path == root or there.path.startswith(f"{root}/")


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def read_json(content: bytes | bytearray) -> Any:
    """Read JSON, and refuse numbers that are none (``NaN``)."""
    return json.loads(content, parse_constant=_refuse_constant)


def entries_of(bundle: Mapping[str, Any]) -> list[Any]:
    """Return the entries of a Bundle.

    Raises
    ------
    ValueError
        They are no array.
    """
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        message = "the entries are no array"
        raise ValueError(message)
    return list(entries)


def next_link(bundle: Mapping[str, Any], relation: str = "next") -> str | None:
    """Return a link of a Bundle, that of the next page by default.

    Raises
    ------
    ValueError
        The links are no array, or a link is no text.
    """
    links = bundle.get("link") or []
    if not isinstance(links, list):
        message = "the links are no array"
        raise ValueError(message)
    for link in links:
        if isinstance(link, Mapping) and link.get("relation") == relation:
            url = link.get("url")
            if not isinstance(url, str):
                message = "a link is no text"
                raise ValueError(message)
            return url
    return None
