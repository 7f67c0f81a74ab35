"""Fetching from a client's FHIR server what it did not prefetch.

Only from servers that the hospital has named, only the searches that rules
need, with a short time limit. The token is used and forgotten.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urljoin

import httpx

from neva.cds.prefetch import PATIENT, Needs

__all__ = ["Fetched", "FhirServers", "stays_under"]

#: Pages of one search at most.
MOST_PAGES: Final = 10
#: Bytes of one page at most.
MOST_BYTES: Final = 20_000_000
_ACCEPT: Final = {"Accept": "application/fhir+json"}
_OK: Final = 200
_LATE: Final = "the time for fetching is over"
#: Clocks are at most so much behind UTC (Baker Island).
_WEST: Final = timedelta(hours=12)

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


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Attributes
    ----------
    prefetch : dict of str to JSON
        By prefetch key; keys that failed are absent.
    since_by_key : dict of str to datetime
        From when on a search was made, where it was limited.
    failed : tuple of str
        Keys that could not be fetched.
    """

    prefetch: dict[str, Any]
    since_by_key: dict[str, datetime]
    failed: tuple[str, ...]


class FhirServers:
    """The FHIR servers that may be asked.

    Parameters
    ----------
    allowed : iterable of str
        Base URLs, exactly as clients send them (a slash at the end does not
        matter). None: nothing is ever fetched.
    seconds : float
        Time limit of all requests of one call in total.
    transport : httpx.BaseTransport, optional
        For tests.
    clock : callable
        Seconds, for durations.
    """

    def __init__(
        self,
        allowed: Iterable[str] = (),
        *,
        seconds: float = 3.0,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = frozenset(one.rstrip("/") for one in allowed)
        self._seconds = seconds
        self._transport = transport
        self._clock = clock

    def allows(self, server: str | None) -> bool:
        """Tell whether a server may be asked."""
        return server is not None and server.rstrip("/") in self._allowed

    def fetch(
        self,
        server: str,
        keys: Iterable[str],
        needs: Needs,
        *,
        patient: str,
        token: str | None,
        now: datetime,
    ) -> Fetched:
        """Fetch what rules need under some keys.

        Parameters
        ----------
        server : str
            One that is allowed.
        keys : iterable of str
            Prefetch keys that are wanted.
        needs, patient, now
            What is searched, for whom, and when: searches reach back as far as
            the definitions do, and a day more, since servers know dates only.
        token : str, optional
        """
        base = server.rstrip("/") + "/"
        wanted = list(keys)
        if patient in (".", ".."):
            return Fetched({}, {}, tuple(wanted))  # a path, not an id
        headers = dict(_ACCEPT)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        by_key = {one.key: one for one in needs.searches}
        found: dict[str, Any] = {}
        since: dict[str, datetime] = {}
        failed = []
        until = self._clock() + self._seconds
        # Redirects are not followed: they could lead anywhere.
        with (
            unlogged(),
            httpx.Client(
                timeout=self._seconds, headers=headers, transport=self._transport
            ) as client,
        ):
            for key in wanted:
                limit = None
                if key == PATIENT:
                    path = f"Patient/{quote(patient, safe='-._~')}"
                else:
                    need = by_key[key]
                    day = None
                    if need.is_dated:
                        assert need.look_back_hours is not None  # it is dated
                        start = now - timedelta(hours=need.look_back_hours + 24)
                        day = start.date().isoformat()
                        # The day begins at most so much later at the server.
                        limit = start + _WEST
                    path = need.query(patient, day)
                try:
                    found[key] = self._get(client, base, path, until)
                except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError):
                    failed.append(key)
                    continue
                if limit is not None:
                    since[key] = limit
        return Fetched(found, since, tuple(failed))

    def _get(self, client: httpx.Client, base: str, path: str, until: float) -> Any:
        first = self._page(client, urljoin(base, path), until)
        if not isinstance(first, Mapping) or first.get("resourceType") != "Bundle":
            return first
        entries = _entries(first)
        following, pages = _next(first), 1
        while following is not None and pages < MOST_PAGES:
            url = urljoin(base, following)
            if not stays_under(base, following):
                break  # the token does not leave the server it is for
            page = self._page(client, url, until)
            if not isinstance(page, Mapping) or page.get("resourceType") != "Bundle":
                break
            entries += _entries(page)
            following, pages = _next(page), pages + 1
        links = [] if following is None else [{"relation": "next", "url": following}]
        return {"resourceType": "Bundle", "type": "searchset", "entry": entries, "link": links}

    def _page(self, client: httpx.Client, url: str, until: float) -> Any:
        left = until - self._clock()
        if left <= 0:
            raise httpx.ReadTimeout(_LATE)
        with client.stream("GET", url, timeout=left) as answer:
            if answer.status_code != _OK:
                message = "the answer is no data"
                raise ValueError(message)
            content = bytearray()
            for part in answer.iter_bytes():
                content += part
                if len(content) > MOST_BYTES:
                    message = "the answer is too large"
                    raise ValueError(message)
                # A server that sends a byte now and then is late too.
                if self._clock() > until:
                    raise httpx.ReadTimeout(_LATE)
        return json.loads(content, parse_constant=_refuse_constant)


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


def _entries(bundle: Mapping[str, Any]) -> list[Any]:
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        message = "the entries are no array"
        raise ValueError(message)
    return list(entries)


def _next(bundle: Mapping[str, Any]) -> str | None:
    links = bundle.get("link") or []
    if not isinstance(links, list):
        message = "the links are no array"
        raise ValueError(message)
    for link in links:
        if isinstance(link, Mapping) and link.get("relation") == "next":
            url = link.get("url")
            if not isinstance(url, str):
                message = "a link is no text"
                raise ValueError(message)
            return url
    return None
