"""Resources that notices bring: on disk before the server is told that they were taken."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

from neva.errors import NevaError
from neva.feeds.inbox import Inbox, Reader, shred
from neva.sources.fhir.resources import HANDLED
from neva.sources.fhir.server import read_json

__all__ = ["BadPayloadError", "Payload", "Payloads", "Waiting", "read_payload"]

#: A server sends one resource at a time: so many are taken into one commit at most.
_MOST: Final = 5_000
_SEGMENT_BYTES: Final = 4_000_000
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_CONTENT_TYPES: Final = ("application/fhir+json", "application/json", "application/json+fhir")
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]+")
_ID: Final = re.compile(r"[A-Za-z0-9.-]{1,64}")


class BadPayloadError(Exception):
    """A notice brings what cannot be taken.

    Parameters
    ----------
    reason : str
        A word for counting; holds no value.
    status : int
        Of HTTP, that the server is answered.
    """

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.reason, self.status = reason, status


class Payload(NamedTuple):
    """What a notice brings.

    Attributes
    ----------
    kind, id : str
        Of the resource.
    resource : dict or None
        None: it was deleted.
    """

    kind: str
    id: str
    resource: dict[str, Any] | None


def read_payload(
    method: str, path: str, content_type: str, body: bytes, kinds: Collection[str] = HANDLED
) -> Payload | None:
    """Read what a notice of the channel ``rest-hook`` brings.

    Parameters
    ----------
    method : str
        ``POST``, ``PUT`` or ``DELETE``.
    path : str
        As it was asked for; its end names the resource where it was put or deleted.
    content_type : str
        The header.
    body : bytes
    kinds : collection of str
        Types that are wanted.

    Returns
    -------
    Payload or None
        None: it only says that something changed.

    Raises
    ------
    BadPayloadError
        It cannot be taken.
    """
    named = _named(path)
    if method == "DELETE":
        if named is None:
            raise BadPayloadError("path-other", 400)
        if named[0] not in kinds:
            raise BadPayloadError("type-not-read", 422)
        return Payload(*named, None)
    if not body:
        return None
    if content_type.partition(";")[0].strip().lower() not in _CONTENT_TYPES:
        raise BadPayloadError("content-type", 415)
    try:
        resource = read_json(body)
        json.dumps(resource)  # what is nested too deeply could not be written
    except (ValueError, RecursionError):
        raise BadPayloadError("unreadable", 400) from None
    kind = resource.get("resourceType") if isinstance(resource, dict) else None
    given = resource.get("id") if isinstance(resource, dict) else None
    if not isinstance(kind, str) or not isinstance(given, str) or not _ID.fullmatch(given):
        raise BadPayloadError("no-resource", 422)
    if kind not in kinds:
        raise BadPayloadError("type-not-read", 422)
    if method == "PUT" and named is not None and named != (kind, given):
        raise BadPayloadError("path-other", 400)
    return Payload(kind, given, resource)


def _named(path: str) -> tuple[str, str] | None:
    """Return the type and id at the end of a path."""
    try:
        parts = urlsplit(path).path.rstrip("/").split("/")
    except ValueError:
        return None
    if len(parts) < 2 or not _TYPE.fullmatch(parts[-2]) or not _ID.fullmatch(parts[-1]):
        return None
    return parts[-2], parts[-1]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Payloads that are not part of the store yet.

    Attributes
    ----------
    position : int
        Of the last one.
    payloads : list of tuple
        When each arrived, and the payload.
    """

    position: int
    payloads: list[tuple[datetime, Payload]]


class Payloads:
    """What notices brought, in a durable inbox of its own.

    Parameters
    ----------
    folder : Path
        Of the feed.
    now : callable
        The time of day, aware.
    at_least : int
        The last position that is part of the store.
    kinds : collection of str
        Types that are wanted.

    Attributes
    ----------
    taken : int
        Resources that are on disk since this process began.
    refused : Counter of str
        Notices that were not taken, by reason.
    """

    def __init__(
        self,
        folder: Path,
        *,
        now: Callable[[], datetime],
        at_least: int = 0,
        kinds: Collection[str] = HANDLED,
    ) -> None:
        self._folder = folder / "payloads"
        self._now = now
        self._at_least = at_least
        self._kinds = kinds
        self._lock = threading.Lock()
        self._inbox: Inbox | None = None
        self._asks = threading.Event()
        self.taken = 0
        self.refused: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Open the inbox.

        Raises
        ------
        ConflictError, BadInputError
            As :class:`neva.feeds.inbox.Inbox`.
        """
        self._inbox = Inbox(
            self._folder, segment_bytes=_SEGMENT_BYTES, at_least=self._at_least
        )  # fmt: skip
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let another process take."""
        with self._lock:
            assert self._inbox is not None
            self._inbox.close()
            self._inbox = None

    def refuse(self, reason: str) -> None:
        """Count a notice that was not taken."""
        with self._lock:
            self.refused[reason] += 1

    def take(self, method: str, path: str, content_type: str, body: bytes) -> int:
        """Take what a notice brings; return the status of HTTP that it is answered."""
        try:
            found = read_payload(method, path, content_type, body, self._kinds)
        except BadPayloadError as error:
            self.refuse(error.reason)
            return error.status
        if found is None:
            self._asks.set()
            return 200
        content = json.dumps(found).encode()
        try:
            with self._lock:
                if self._inbox is None:
                    return 503
                self._inbox.take([(self._now(), "", content)])
                self.taken += 1
        except (NevaError, OSError):
            self.refuse("not-stored")
            return 503
        return 200

    @property
    def asks_for_a_poll(self) -> bool:
        """Whether a notice came that brought nothing; asking again says no."""
        asks = self._asks.is_set()
        self._asks.clear()
        return asks

    def waiting(self, after: int) -> Waiting:
        """Read what was taken and is not part of the store.

        Parameters
        ----------
        after : int
            The last position that is.

        Raises
        ------
        BadInputError
            The inbox is damaged.
        """
        records = Reader(self._folder, after).read(_MOST)
        found = [(one.arrived, Payload(*json.loads(one.content))) for one in records]
        return Waiting(records[-1].position if records else after, found)

    def forget(self, applied: int) -> None:
        """Overwrite and delete what is part of the store: it holds patients' data."""
        with self._lock, suppress(NevaError, OSError):
            if self._inbox is not None:
                self._inbox.begin_segment()
        shred(self._folder, applied=applied, older_than=_NEVER)

    def figures(self) -> dict[str, Any]:
        """Return how much was taken and refused since this process began."""
        with self._lock:
            return {"taken": self.taken, "refused": dict(self.refused)}
