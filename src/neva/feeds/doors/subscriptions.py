"""Subscriptions of a feed at a FHIR server: made where they lack, looked after at each poll."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from neva.errors import BadInputError, UsageError
from neva.feeds.doors.door import Door
from neva.feeds.doors.fhir_server import FhirClient
from neva.feeds.status import read_status, write_status
from neva.sources.fhir.server import entries_of
from neva.state.settings import is_loopback

__all__ = ["Subscriptions"]

_LOG = logging.getLogger("neva.feeds")
_FILE: Final = "subscriptions.json"
#: One that the server gave up is asked for again at most every so many seconds.
_AGAIN_EVERY: Final = 600.0
_WELL: Final = ("active", "requested")
_STATES: Final = (*_WELL, "error", "off")


class Subscriptions:
    """One subscription of channel ``rest-hook`` for each type.

    Parameters
    ----------
    door : Door
    client : FhirClient
    endpoint : str
        Where the server reaches the feed.
    secret : str
        What its notices must bring.
    payload : bool
        Notices bring the resource.

    Raises
    ------
    UsageError
        The endpoint is no address, or the secret would go over a line that anybody can read.
    """

    def __init__(
        self, door: Door, client: FhirClient, endpoint: str, secret: str, *, payload: bool
    ) -> None:
        _check("--subscribe", endpoint)
        _check("--server", client.base)
        self._door, self._client = door, client
        self._endpoint, self._secret, self._payload = endpoint, secret, payload
        found = read_status(door.folder, _FILE).get("ids", {})
        self._ids: dict[str, str] = dict(found) if isinstance(found, Mapping) else {}
        self._asked_again: dict[str, float] = {}

    def look_after(self, kinds: Sequence[str]) -> None:
        """Make what lacks and ask again for what the server gave up; warn of what is not well.

        A server that refuses stops nothing: the feed polls.
        """
        unwell = []
        for kind in kinds:
            try:
                state = self._state_of(kind)
            except BadInputError:
                state = "refused"
            if state not in _WELL:
                unwell.append(f"{kind} ({state})")
        warning = None
        if unwell:
            warning = (
                f"subscriptions: the server sends no notices; found {', '.join(unwell)}; see "
                "whether it reaches the address of --subscribe, and what this client may write; "
                "the feed polls meanwhile"
            )
            if warning != self._door.warning:
                _LOG.warning("feed %s: %s", self._door.name, warning)
        self._door.warning = warning

    def _state_of(self, kind: str) -> str:
        held = self._held(kind)
        if held is None:
            return self._keep(kind, self._client.send("POST", "Subscription", self._wanted(kind)))
        state = str(held.get("status"))
        as_wanted = _essence(held) == _essence(self._wanted(kind))
        if as_wanted and state in _WELL:
            return state
        since = time.monotonic() - self._asked_again.get(kind, float("-inf"))
        if as_wanted and since < _AGAIN_EVERY:
            return state if state in _STATES else "unknown"
        self._asked_again[kind] = time.monotonic()
        given = self._ids[kind]
        wanted = {"id": given, **self._wanted(kind)}
        return self._keep(kind, self._client.send("PUT", f"Subscription/{given}", wanted))

    def _held(self, kind: str) -> Mapping[str, Any] | None:
        """Return the subscription of a type as the server has it."""
        if kind in self._ids:
            address = self._client.address(f"Subscription/{self._ids[kind]}")
            found = self._client.get("Subscription", address, gone=(404, 410), attempts=2)
            if isinstance(found, Mapping) and found.get("resourceType") == "Subscription":
                return found
        address = self._client.address("Subscription", ("url", self._endpoint))
        held = self._client.get("Subscription", address, may_lack=True, attempts=2)
        for entry in self._entries(held):
            resource = entry.get("resource") if isinstance(entry, Mapping) else None
            if not isinstance(resource, Mapping) or not isinstance(resource.get("id"), str):
                continue
            channel = resource.get("channel")
            here = isinstance(channel, Mapping) and channel.get("endpoint") == self._endpoint
            if here and resource.get("criteria") == self._wanted(kind)["criteria"]:
                self._remember(kind, str(resource["id"]))
                return resource
        return None

    @staticmethod
    def _entries(bundle: Any) -> list[Any]:
        try:
            return entries_of(bundle) if isinstance(bundle, Mapping) else []
        except ValueError:
            return []

    def _wanted(self, kind: str) -> dict[str, Any]:
        channel: dict[str, Any] = {
            "type": "rest-hook",
            "endpoint": self._endpoint,
            "header": [f"Authorization: Bearer {self._secret}"],
        }
        if self._payload:
            channel["payload"] = "application/fhir+json"
        return {
            "resourceType": "Subscription",
            "status": "requested",
            "reason": f"Neva, feed {self._door.name}",
            "criteria": f"{kind}?",
            "channel": channel,
        }

    def _keep(self, kind: str, answer: Mapping[str, Any]) -> str:
        given, state = answer.get("id"), answer.get("status")
        if not isinstance(given, str) or answer.get("resourceType") != "Subscription":
            return "unknown"
        self._remember(kind, given)
        return state if state in _STATES else "unknown"

    def _remember(self, kind: str, given: str) -> None:
        self._ids[kind] = given
        write_status(self._door.folder, _FILE, {"ids": self._ids})


def _essence(subscription: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what must be as wanted; the header is left out: servers do not show secrets."""
    channel = subscription.get("channel")
    channel = channel if isinstance(channel, Mapping) else {}
    return subscription.get("criteria"), channel.get("endpoint"), channel.get("payload")


def _check(name: str, address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        message = f"{name}: not an address; found another text; write https://HOST/PATH"
        raise UsageError(message)
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        message = (
            f"{name}: the secret of the notices would be sent unencrypted; found "
            f"http://{parts.hostname}; use https"
        )
        raise UsageError(message)
