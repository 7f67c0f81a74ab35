"""A FHIR server that is polled: versions of resources that changed, each once."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from neva.errors import BadInputError, UsageError
from neva.feeds.doors.door import Door
from neva.feeds.doors.fhir_server import FhirClient, ServerSettings
from neva.feeds.doors.lately import Lately
from neva.files.whole import write_whole
from neva.intake.importing import MOST_REFUSED
from neva.sources.fhir.resources import HANDLED
from neva.sources.fhir.server import entries_of, next_link
from neva.sources.fhir.source import open_fhir
from neva.sources.rows import Delivery

__all__ = ["PolledServer", "types_of"]

_LOG = logging.getLogger("neva.feeds")
_LATELY: Final = "lately.json"
#: So many resources are gathered at most before they are written into the store.
_MOST: Final = 20_000
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
    """

    def __init__(
        self,
        door: Door,
        client: FhirClient,
        settings: ServerSettings,
        *,
        again: bool = False,
        most_refused: float | None = MOST_REFUSED,
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
        for kind in self._types:
            self._read(kind)
        self._write()
        for kind in self._types:
            self._lately.forget_before(kind, self._floor(kind) - 1.0)
        self._lately.keep(at_once=True)
        self._door.write_status(backlog=0)
        return False

    def _ask_what_there_is(self) -> None:
        named = self._settings.resources is not None
        statement = self._client.get("metadata", self._client.address("metadata"), may_lack=named)
        offered = None if statement is None else _offered(statement)
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
            stamps = [_changed(one) for one in _matches(page, kind)]
            last = stamps[-1] if stamps else None
            known = [one for one in stamps if one is not None]
            in_order = in_order and _is_put_in_order(page) and stamps == sorted(known)
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
            parameters.insert(0, ("_lastUpdated", f"ge{_as_instant(since)}"))
        if self._settings.includes:
            parameters += _INCLUDES.get(kind, ())
        return self._client.address(kind, *parameters)

    def _read_deletions(self, kind: str, since: datetime | None) -> list[datetime]:
        """Gather what was deleted, and return when."""
        parameters = [("_count", str(self._settings.page))]
        if since is not None:
            parameters.insert(0, ("_since", _as_instant(since)))
        address: str | None = self._client.address(f"{kind}/_history", *parameters)
        found = []
        while address is not None:
            page = self._client.bundle(f"{kind}/_history", address)
            for entry in _entries(page, kind):
                request = entry.get("request")
                if not isinstance(request, Mapping) or request.get("method") != "DELETE":
                    continue
                response = entry.get("response")
                written = response.get("lastModified") if isinstance(response, Mapping) else None
                at = _time(written)
                if at is not None:
                    found.append(at)
                self._take(kind, _mark("deleted", request.get("url"), written), at, dict(entry))
            address = self._client.following(f"{kind}/_history", page)
        return found

    # -------------------------------------------------------------- gathering

    def _begin(self) -> None:
        self._gathered, self._marks = [], set()
        self._door.empty_work()

    def _gather(self, kind: str, page: Mapping[str, Any]) -> list[datetime | None]:
        """Gather what is new of a page, with what it includes; return when each changed."""
        stamps: list[datetime | None] = []
        before = len(self._gathered)
        included = []
        for entry in _entries(page, kind):
            resource = entry.get("resource")
            if not isinstance(resource, Mapping) or resource.get("resourceType") in (
                None,
                "OperationOutcome",
            ):
                continue
            if not _is_match(entry, kind):
                included.append(_as_version(entry, resource))
                continue
            at = _changed(entry)
            stamps.append(at)
            meta = resource.get("meta")
            version = meta.get("versionId") if isinstance(meta, Mapping) else None
            content = version or (None if at is not None else resource)
            mark = _mark(resource.get("id"), content, at.isoformat() if at else None)
            self._take(kind, mark, at, _as_version(entry, resource))
        if included and len(self._gathered) > before:
            self._gathered += [_Seen("", "", 0.0, one) for one in included]
        return stamps

    def _take(self, kind: str, mark: str, at: datetime | None, entry: dict[str, Any]) -> None:
        if self._lately.knows(kind, mark) or (kind, mark) in self._marks:
            return
        self._marks.add((kind, mark))
        place = at.timestamp() if at is not None else float("inf")
        self._gathered.append(_Seen(kind, mark, place, entry))

    def _write(self) -> None:
        """Write what was gathered into the store, with the place reached."""
        if not self._gathered:
            return
        assert self._live_since is not None
        path = self._door.empty_work() / "resources.json"
        bundle = {
            "resourceType": "Bundle",
            "type": "history",
            "entry": [one.entry for one in self._gathered],
        }
        write_whole(path, json.dumps(bundle), private=True)
        place = {
            "live_since": self._live_since.isoformat(),
            "types": {
                kind: {
                    "since": one.since.isoformat() if one.since else None,
                    "seconds": one.seconds,
                }
                for kind, one in self._progress.items()
            },
        }
        self._door.deliver(
            partial(self._opened, path),
            label="resources",
            place=place,
            most_refused=self._most_refused if self._is_first else None,
        )
        self._is_first = False
        for one in self._gathered:
            if one.kind:
                self._lately.add(one.kind, [(one.mark, one.place)])
        self._lately.keep(at_once=False)
        self._begin()

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


def _offered(statement: Any) -> dict[str, set[str]]:
    """Read a CapabilityStatement: types, and what can be done with them."""
    offered: dict[str, set[str]] = {}
    try:
        for rest in statement["rest"]:
            for resource in rest.get("resource", ()):
                codes = {one["code"] for one in resource.get("interaction", ())}
                offered.setdefault(resource["type"], set()).update(codes)
    except (AttributeError, KeyError, TypeError):
        message = (
            "metadata: the server does not say what it has; found no CapabilityStatement that can "
            "be read; check --server, or name the types with --resources"
        )
        raise BadInputError(message) from None
    return offered


def _entries(page: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    try:
        return [one for one in entries_of(page) if isinstance(one, Mapping)]
    except ValueError:
        message = f"{kind}: the answer cannot be read; found entries that are no list"
        raise BadInputError(message) from None


def _is_match(entry: Mapping[str, Any], kind: str) -> bool:
    search = entry.get("search")
    mode = search.get("mode") if isinstance(search, Mapping) else None
    resource = entry.get("resource")
    is_kind = isinstance(resource, Mapping) and resource.get("resourceType") == kind
    return is_kind and mode in (None, "match")


def _matches(page: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    return [one for one in _entries(page, kind) if _is_match(one, kind)]


def _is_put_in_order(page: Mapping[str, Any]) -> bool:
    """Tell whether the server says that it put the resources in the order that was asked for."""
    try:
        link = next_link(page, "self")
    except ValueError:
        return False
    return link is not None and re.search(r"[?&]_sort=_lastUpdated(&|$)", link) is not None


def _time(written: Any) -> datetime | None:
    if not isinstance(written, str):
        return None
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _changed(entry: Mapping[str, Any]) -> datetime | None:
    resource = entry.get("resource")
    meta = resource.get("meta") if isinstance(resource, Mapping) else None
    return _time(meta.get("lastUpdated")) if isinstance(meta, Mapping) else None


def _as_instant(time: datetime) -> str:
    """Write an instant so that no server takes it for a later one: milliseconds, cut off."""
    return time.isoformat(timespec="milliseconds")


def _mark(*parts: Any) -> str:
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _as_version(entry: Mapping[str, Any], resource: Mapping[str, Any]) -> dict[str, Any]:
    """Make the entry of a search one of a history: a version, with when it came to be."""
    return {
        "fullUrl": entry.get("fullUrl"),
        "resource": resource,
        "request": {"method": "PUT", "url": f"{resource.get('resourceType')}/{resource.get('id')}"},
        "response": {"status": "200"},
    }
