"""Fetching from a client's FHIR server what it did not prefetch.

Only from servers that the hospital has named, only the searches that rules
need, with a short time limit. The token is used and forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urljoin

import httpx

from neva.cds.prefetch import PATIENT, Needs
from neva.sources.fhir.server import (
    ACCEPT,
    entries_of,
    next_link,
    read_json,
    stays_under,
    unlogged,
)

__all__ = ["Fetched", "FhirServers"]

#: Pages of one search at most.
MOST_PAGES: Final = 10
#: Bytes of one page at most.
MOST_BYTES: Final = 20_000_000
_OK: Final = 200
_LATE: Final = "the time for fetching is over"
#: Clocks are at most so much behind UTC (Baker Island).
_WEST: Final = timedelta(hours=12)


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
        headers = dict(ACCEPT)
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
        entries = entries_of(first)
        following, pages = next_link(first), 1
        while following is not None and pages < MOST_PAGES:
            url = urljoin(base, following)
            if not stays_under(base, following):
                break  # the token does not leave the server it is for
            page = self._page(client, url, until)
            if not isinstance(page, Mapping) or page.get("resourceType") != "Bundle":
                break
            entries += entries_of(page)
            following, pages = next_link(page), pages + 1
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
        return read_json(content)
