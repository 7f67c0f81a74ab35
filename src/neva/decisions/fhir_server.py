"""Fetching from a client's FHIR server what it did not prefetch.

Only from servers that the hospital has named, only the searches that rules
need, with a short time limit. The token is used and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx

from neva.decisions.prefetch import PATIENT, Needs

__all__ = ["Fetched", "FhirServers"]

#: Pages of one search at most.
MOST_PAGES: Final = 10
#: Bytes of one page at most.
MOST_BYTES: Final = 20_000_000
_ACCEPT: Final = {"Accept": "application/fhir+json"}


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
        Time limit of each request.
    transport : httpx.BaseTransport, optional
        For tests.
    """

    def __init__(
        self,
        allowed: Iterable[str] = (),
        *,
        seconds: float = 3.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._allowed = frozenset(one.rstrip("/") for one in allowed)
        self._seconds = seconds
        self._transport = transport

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
        headers = dict(_ACCEPT)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        by_key = {one.key: one for one in needs.searches}
        found: dict[str, Any] = {}
        since: dict[str, datetime] = {}
        failed = []
        # Redirects are not followed: they could lead anywhere.
        with httpx.Client(
            timeout=self._seconds, headers=headers, transport=self._transport
        ) as client:
            for key in keys:
                if key == PATIENT:
                    path = f"Patient/{patient}"
                else:
                    need = by_key[key]
                    day = None
                    if need.look_back_hours is not None:
                        start = now - timedelta(hours=need.look_back_hours + 24)
                        day = start.date().isoformat()
                        since[key] = now - timedelta(hours=need.look_back_hours)
                    path = need.query(patient, day)
                try:
                    found[key] = self._get(client, base, path)
                except (httpx.HTTPError, ValueError):
                    failed.append(key)
                    since.pop(key, None)
        return Fetched(found, since, tuple(failed))

    def _get(self, client: httpx.Client, base: str, path: str) -> Any:
        first = self._page(client, urljoin(base, path))
        if not isinstance(first, Mapping) or first.get("resourceType") != "Bundle":
            return first
        entries = list(first.get("entry") or [])
        following, pages = _next(first), 1
        while following is not None and pages < MOST_PAGES:
            url = urljoin(base, following)
            if urlsplit(url)[:2] != urlsplit(base)[:2]:
                break  # the token does not leave the server it is for
            page = self._page(client, url)
            entries += page.get("entry") or []
            following, pages = _next(page), pages + 1
        links = [] if following is None else [{"relation": "next", "url": following}]
        return {"resourceType": "Bundle", "type": "searchset", "entry": entries, "link": links}

    def _page(self, client: httpx.Client, url: str) -> Any:
        answer = client.get(url)
        answer.raise_for_status()
        if len(answer.content) > MOST_BYTES:
            message = "the answer is too large"
            raise ValueError(message)
        return answer.json()


def _next(bundle: Mapping[str, Any]) -> str | None:
    for link in bundle.get("link") or ():
        if isinstance(link, Mapping) and link.get("relation") == "next":
            url = link.get("url")
            return url if isinstance(url, str) else None
    return None
