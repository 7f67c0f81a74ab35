"""A FHIR server that is polled: versions of resources that changed, each once."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from neva.errors import BadInputError, UsageError
from neva.feeds.doors.door import Door
from neva.feeds.doors.fhir_pages import (
    as_instant,
    as_version,
    changed_at,
    is_match,
    is_put_in_order,
    mark_of,
    matches,
    newest_of,
    offered_types,
    read_entries,
    read_instant,
    version_mark,
)
from neva.feeds.doors.fhir_server import FhirClient, ServerSettings
from neva.feeds.doors.lately import Lately
from neva.feeds.doors.payloads import Payload, Payloads
from neva.feeds.doors.subscriptions import Subscriptions
from neva.files.whole import write_whole
from neva.intake.importing import MOST_REFUSED
from neva.sources.fhir.resources import HANDLED
from neva.sources.fhir.source import open_fhir
from neva.sources.rows import Delivery

__all__ = ["PolledServer", "types_of"]

_LOG = logging.getLogger("neva.feeds")
_LATELY: Final = "lately.json"
#: So many resources are gathered at most before they are written into the store.
_MOST: Final = 20_000
#: Seconds between two commits of payloads, and between two tidyings.
_BETWEEN: Final = 1.0
_TIDY_EVERY: Final = 60.0
#: So many resources are asked for by their ids at once.
_IDS: Final = 50
#: What others refer to comes first.
_FIRST: Final = ("Location", "Patient", "Encounter")
_TYPE: Final = re.compile(r"[A-Z][A-Za-z]+")
#: What the rows of a type must know of other resources.
_INCLUDES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "Encounter": (
        ("_include", "Encounter:location"),
        ("_include", "Encounter:part-of"),
        ("_include", "Encounter:diagnosis"),
        ("_revinclude", "Encounter:part-of"),
    ),
    "Condition": (("_include", "Condition:encounter"),),
    "Location": (("_include", "Location:partof"),),
    "MedicationAdministration": (("_include", "MedicationAdministration:medication"),),
    "MedicationRequest": (("_include", "MedicationRequest:medication"),),
    "MedicationStatement": (("_include", "MedicationStatement:medication"),),
}


def types_of(wanted: Sequence[str] | None, offered: Mapping[str, set[str]] | None) -> list[str]:
    """Return the types to ask for, those first that others refer to.

    Parameters
    ----------
    wanted : sequence of str or None
        By a user; None: all that are read and that the server offers.
    offered : mapping or None
        Types to what can be done with them; None where the server does not tell.

    Raises
    ------
    UsageError
        One that is wanted is no type whose resources are read.
    """
    for one in wanted or ():
        if one not in HANDLED:
            message = (
                f"--resources: resources of this type are not read; found {one!r}; choose of "
                f"{', '.join(sorted(HANDLED))}"
            )
            raise UsageError(message)
    found = list(dict.fromkeys(wanted or sorted(HANDLED)))
    if wanted is None and offered is not None:
        found = [one for one in found if "search-type" in offered.get(one, ())]
    return [one for one in _FIRST if one in found] + [one for one in found if one not in _FIRST]


@dataclass(slots=True)
class _Progress:
    """How far a type has come.

    Attributes
    ----------
    since : datetime or None
        The last change that was read, not later than now.
    seconds : float
        How long reading up to there took: what was invisible at its beginning may be so much
        older.
    """

    since: datetime | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """An entry that is new."""

    kind: str
    mark: str
    place: float
    entry: dict[str, Any]
    id: str = ""


class PolledServer:
    """Reads what changed on a FHIR server since the feed's place.

    Parameters
    ----------
    door : Door
        Of kind ``fhir``, entered.
    client : FhirClient
    settings : ServerSettings
    again : bool
        Read everything from the beginning; what is known adds nothing.
    most_refused : float or None
        The share of refused rows that the first delivery may have; later ones never stop the
        feed.
    payloads : Payloads, optional
        Resources that the server sends by itself: taken at each look.
    subscriptions : Subscriptions, optional
        Looked after at each poll.
    every : float
        With them: seconds between two polls. Looks between them take payloads only.

    Notes
    -----
    A version that a payload brought and one that was polled have the same mark, so that each is
    taken once. What a payload cannot tell alone (of an encounter its places, of an order its
    medication, whether a version is still the last one) is asked of the server by the id.
    """

    def __init__(
        self,
        door: Door,
        client: FhirClient,
        settings: ServerSettings,
        *,
        again: bool = False,
        most_refused: float | None = MOST_REFUSED,
        payloads: Payloads | None = None,
        subscriptions: Subscriptions | None = None,
        every: float = 0.0,
    ) -> None:
        self._door = door
        self._client = client
        self._settings = settings
        self._most_refused = most_refused
        self._lately = Lately(door.folder / _LATELY)
        place = {} if again else door.place()
        if not place:
            self._lately.forget()
        self._is_first = not place
        live = place.get("live_since")
        self._live_since = datetime.fromisoformat(live) if live else None
        self._progress = {
            kind: _Progress(
                datetime.fromisoformat(one["since"]) if one["since"] else None, one["seconds"]
            )
            for kind, one in place.get("types", {}).items()
        }
        self._payloads, self._every = payloads, every
        self._subscriptions = subscriptions
        if payloads is not None:
            door.listening = payloads.figures
        self._position = int(door.place().get("payloads", 0))
        self._reached = self._position
        self._polled: float | None = None
        self._wrote = self._tidied = float("-inf")
        self._types: list[str] = []
        self._histories: list[str] = []
        self._gathered: list[_Seen] = []
        self._marks: set[tuple[str, str]] = set()

    def look(self) -> bool:
        """Read everything that changed, of each type.

        Returns
        -------
        bool
            False: nothing more is known to be there.

        Raises
        ------
        BadInputError
            The server refused or did not answer; what was read before that is kept.
        ConflictError
            Somebody else writes to the hospital.
        """
        if not self._types:
            self._ask_what_there_is()
        if self._live_since is None:
            self._live_since = self._door.now()
        self._begin()
        self._reached = self._position  # of what a look that failed had gathered nothing is left
        is_full = False
        if self._is_due():
            for kind in self._types:
                self._read(kind)
            if self._subscriptions is not None:
                self._subscriptions.look_after(self._types)
            self._polled = time.monotonic()
        if self._payloads is not None:
            is_full = self._take_payloads(self._payloads)
        self._write()
        if self._payloads is not None:
            self._tidy(self._payloads)
        for kind in self._types:
            for part in (kind, newest_of(kind)):
                self._lately.forget_before(part, self._floor(kind) - 1.0)
        self._lately.keep(at_once=True)
        self._door.write_status(backlog=0)
        return is_full

    def _is_due(self) -> bool:
        """Tell whether it is time for a poll: always, unless payloads come in between.

        The first look of a process polls: only then is known what is the last version of what.
        """
        if self._payloads is None:
            return True
        is_asked = self._payloads.asks_for_a_poll
        # A look for payloads delays the next poll by half of the time between two at most.
        passed = None if self._polled is None else time.monotonic() - self._polled
        return is_asked or passed is None or passed >= self._every / 2

    def _ask_what_there_is(self) -> None:
        named = self._settings.resources is not None
        statement = self._client.get("metadata", self._client.address("metadata"), may_lack=named)
        offered = None if statement is None else offered_types(statement)
        self._types = types_of(self._settings.resources, offered)
        wanted = self._settings.deletions
        self._histories = [
            kind
            for kind in self._types
            if (wanted if wanted is not None else "history-type" in (offered or {}).get(kind, ()))
        ]
        if wanted is None and not self._histories:
            _LOG.warning(
                "feed %s: the server tells of no histories; deletions are not seen", self._door.name
            )

    # ---------------------------------------------------------------- reading

    def _since(self, kind: str) -> datetime | None:
        """From when on is read: what was not visible yet may be older than the last change."""
        progress = self._progress.get(kind, _Progress())
        if progress.since is None:
            return None
        return progress.since - self._settings.overlap - timedelta(seconds=progress.seconds)

    def _floor(self, kind: str) -> float:
        since = self._since(kind)
        return float("-inf") if since is None else since.timestamp()

    def _read(self, kind: str) -> None:
        since, begun = self._since(kind), self._door.now()
        latest = self._progress.get(kind, _Progress()).since
        for page, in_order in self._pages(kind, since):
            if self._door.stop.is_set():
                return
            stamps = self._gather(kind, page)
            latest = max([one for one in (latest, *stamps) if one is not None], default=None)
            if in_order:
                self._reach(kind, latest, begun)
            if len(self._gathered) >= _MOST:
                self._write()
        self._reach(kind, latest, begun)
        if kind in self._histories:
            deleted = self._read_deletions(kind, since or self._live_since)
            latest = max([one for one in (latest, *deleted) if one is not None], default=None)
            self._reach(kind, latest, begun)

    def _reach(self, kind: str, latest: datetime | None, begun: datetime) -> None:
        """Move on; a change later than now moves nothing beyond it, or what follows were lost."""
        now = self._door.now()
        since = None if latest is None else min(latest, now)
        self._progress[kind] = _Progress(since, max((now - begun).total_seconds(), 0.0))

    def _pages(self, kind: str, since: datetime | None) -> Iterator[tuple[Mapping[str, Any], bool]]:
        """Read the pages of a type, oldest changes first; say whether they come in order.

        A page follows the one before by its link. Where the server puts resources in order
        and time has gone on within the page, it is searched anew from the last change on
        instead: a resource that changes meanwhile goes to the end, and behind a link all that
        follow would move up, one of them onto a page that was read.
        """
        at, address, in_order = since, self._search(kind, since), True
        while True:
            page = self._client.bundle(kind, address)
            following = self._client.following(kind, page)
            stamps = [changed_at(one) for one in matches(page, kind)]
            last = stamps[-1] if stamps else None
            known = [one for one in stamps if one is not None]
            in_order = in_order and is_put_in_order(page) and stamps == sorted(known)
            yield page, in_order
            if following is None:
                return
            if in_order and last is not None and (at is None or last > at):
                at = last
                following = self._search(kind, at)
            if following == address:
                message = (
                    f"{kind}: the pages do not end; found a link to the page that it is on; ask "
                    f"who runs {self._client.base}"
                )
                raise BadInputError(message)
            address = following

    def _search(self, kind: str, since: datetime | None) -> str:
        parameters = [("_sort", "_lastUpdated"), ("_count", str(self._settings.page))]
        if since is not None:
            parameters.insert(0, ("_lastUpdated", f"ge{as_instant(since)}"))
        if self._settings.includes:
            parameters += _INCLUDES.get(kind, ())
        return self._client.address(kind, *parameters)

    def _read_deletions(self, kind: str, since: datetime | None) -> list[datetime]:
        """Gather what was deleted, and return when."""
        parameters = [("_count", str(self._settings.page))]
        if since is not None:
            parameters.insert(0, ("_since", as_instant(since)))
        address: str | None = self._client.address(f"{kind}/_history", *parameters)
        found = []
        while address is not None:
            page = self._client.bundle(f"{kind}/_history", address)
            for entry in read_entries(page, kind):
                request = entry.get("request")
                if not isinstance(request, Mapping) or request.get("method") != "DELETE":
                    continue
                response = entry.get("response")
                written = response.get("lastModified") if isinstance(response, Mapping) else None
                at = read_instant(written)
                if at is not None:
                    found.append(at)
                url = request.get("url")
                given = str(url).rpartition("/")[2]
                self._take(kind, mark_of("deleted", url, written), at, dict(entry), given)
            address = self._client.following(f"{kind}/_history", page)
        return found

    # --------------------------------------------------------------- payloads

    def _take_payloads(self, payloads: Payloads) -> bool:
        """Gather what payloads brought; return whether more waits."""
        left = self._wrote + _BETWEEN - time.monotonic()
        if left > 0:
            self._door.stop.wait(left)
        waiting = payloads.waiting(self._position)
        asked: dict[str, list[str]] = {}
        for arrived, one in waiting.payloads:
            if one.kind not in self._types:
                continue
            if one.resource is None:
                self._take_deletion(one, arrived)
            elif not self._take_version(one.kind, one.id, one.resource):
                asked.setdefault(one.kind, []).append(one.id)
        for kind, ids in asked.items():
            self._ask_for(kind, list(dict.fromkeys(ids)))
        self._reached = waiting.position
        return bool(waiting.payloads)

    def _take_version(self, kind: str, given: str, resource: dict[str, Any]) -> bool:
        """Gather a version that a payload brought; False: the server must be asked."""
        at = changed_at({"resource": resource})
        if at is None or (self._settings.includes and kind in _INCLUDES):
            return False
        if at.timestamp() < self._floor(kind):
            return False  # what came after it may have been read and forgotten
        newest = self._lately.place_of(newest_of(kind), mark_of(given))
        if newest is None or at.timestamp() >= newest:
            entry = as_version({}, resource)
            self._take(kind, version_mark(resource, at), at, entry, given)
        return True

    def _take_deletion(self, one: Payload, arrived: datetime) -> None:
        """Gather a deletion, with when it was where the server tells it."""
        if one.kind in self._histories:
            self._read_deletions(one.kind, self._since(one.kind) or self._live_since)
            return
        if self._ask_for(one.kind, [one.id]):
            return  # it was made again since
        url = f"{one.kind}/{one.id}"
        entry = {
            "request": {"method": "DELETE", "url": url},
            "response": {"status": "204", "lastModified": arrived.isoformat()},
        }
        mark = mark_of("deleted", url, arrived.isoformat())
        self._take(one.kind, mark, arrived, entry, one.id)

    def _ask_for(self, kind: str, ids: list[str]) -> int:
        """Gather resources as they are on the server now; return how many are there."""
        found = 0
        for first in range(0, len(ids), _IDS):
            parameters = [("_id", ",".join(ids[first : first + _IDS])),
                          ("_count", str(self._settings.page))]  # fmt: skip
            if self._settings.includes:
                parameters += _INCLUDES.get(kind, ())
            address: str | None = self._client.address(kind, *parameters)
            while address is not None:
                page = self._client.bundle(kind, address)
                found += len(self._gather(kind, page))
                address = self._client.following(kind, page)
        return found

    def _tidy(self, payloads: Payloads) -> None:
        if self._position and time.monotonic() - self._tidied > _TIDY_EVERY:
            self._tidied = time.monotonic()
            payloads.forget(self._position)

    # -------------------------------------------------------------- gathering

    def _begin(self) -> None:
        self._gathered, self._marks = [], set()
        self._door.empty_work()

    def _gather(self, kind: str, page: Mapping[str, Any]) -> list[datetime | None]:
        """Gather what is new of a page, with what it includes; return when each changed."""
        stamps: list[datetime | None] = []
        before = len(self._gathered)
        included = []
        for entry in read_entries(page, kind):
            resource = entry.get("resource")
            if not isinstance(resource, Mapping) or resource.get("resourceType") in (
                None,
                "OperationOutcome",
            ):
                continue
            if not is_match(entry, kind):
                included.append(as_version(entry, resource))
                continue
            at = changed_at(entry)
            stamps.append(at)
            given = str(resource.get("id"))
            mark = version_mark(resource, at)
            self._take(kind, mark, at, as_version(entry, resource), given)
        if included and len(self._gathered) > before:
            self._gathered += [_Seen("", "", 0.0, one) for one in included]
        return stamps

    def _take(
        self, kind: str, mark: str, at: datetime | None, entry: dict[str, Any], given: str = ""
    ) -> None:
        if self._lately.knows(kind, mark) or (kind, mark) in self._marks:
            return
        self._marks.add((kind, mark))
        place = at.timestamp() if at is not None else float("inf")
        self._gathered.append(_Seen(kind, mark, place, entry, mark_of(given) if given else ""))

    def _write(self) -> None:
        """Write what was gathered into the store, with the place reached."""
        if not self._gathered:
            # Known already: what is read again after a crash adds nothing.
            self._position = self._reached
            return
        assert self._live_since is not None
        path = self._door.empty_work() / "resources.json"
        bundle = {
            "resourceType": "Bundle",
            "type": "history",
            "entry": [one.entry for one in self._gathered],
        }
        write_whole(path, json.dumps(bundle), private=True)
        place: dict[str, Any] = {
            "live_since": self._live_since.isoformat(),
            "types": {
                kind: {
                    "since": one.since.isoformat() if one.since else None,
                    "seconds": one.seconds,
                }
                for kind, one in self._progress.items()
            },
        }
        if self._reached:
            place["payloads"] = self._reached
        self._door.deliver(
            partial(self._opened, path),
            label="resources",
            place=place,
            most_refused=self._most_refused if self._is_first else None,
        )
        self._is_first = False
        self._position, self._wrote = self._reached, time.monotonic()
        for one in self._gathered:
            if one.kind:
                self._lately.add(one.kind, [(one.mark, one.place)])
        self._note_newest()
        self._lately.keep(at_once=False)
        self._begin()

    def _note_newest(self) -> None:
        """Note the last version of each resource: an earlier one may still be sent."""
        if self._payloads is None:
            return
        now = self._door.now().timestamp()
        for one in self._gathered:
            part = newest_of(one.kind)
            if one.id and one.place <= now:  # a change in the future hides nothing
                before = self._lately.place_of(part, one.id)
                self._lately.add(part, [(one.id, max(one.place, before or one.place))])

    def _opened(self, path: Path) -> Delivery:
        settings = self._settings
        return open_fhir(
            path,
            zone=self._door.hospital.settings.zone,
            received=self._door.now(),
            systems=settings.systems,
            prefer=settings.prefer,
            name=settings.name,
            assigner=settings.assigner,
            live_since=self._live_since,
        )
