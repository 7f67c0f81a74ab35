"""The hospital behind the pages: its snapshot, its clock, and its calculated results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from zoneinfo import ZoneInfo

from neva.access.viewer import Viewer
from neva.cds.service import Bedside
from neva.census import units_above
from neva.census.basis import basis_of
from neva.census.current_entries import newest_recorded
from neva.errors import ConflictError
from neva.events.hospital import Hospital
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic
from neva.feeds.status import feed_names
from neva.state import State
from neva.state.settings import WebSettings
from neva.web.feeds import STALE_AFTER, Feed, feed_of, read_feeds
from neva.web.security.access import Forbidden
from neva.web.security.passwords import PasswordChecks

if TYPE_CHECKING:
    from neva.access.identities import Identities, Person
    from neva.jobs.kept_uploads import Uploads
    from neva.jobs.results import Result, Results
    from neva.web.changes import Changes

__all__ = ["RETRY_AFTER", "Server"]

Made = TypeVar("Made")

#: When no worker has been heard of for so long, pages and monitors are told.
SILENT_AFTER: Final = timedelta(minutes=1)
#: What could not be computed is tried again by whoever looks, after so long.
RETRY_AFTER: Final = timedelta(minutes=10)
#: With a live feed every minute brings other data. So long a result is good
#: enough: else the worker would never rest. At a data cut each is calculated again.
_GOOD_FOR: Final = {
    "activity-log": timedelta(minutes=15),
    "checks": timedelta(minutes=15),
    "measures": timedelta(minutes=15),
    "forecast": timedelta(minutes=15),
    "work-list": timedelta(minutes=2),
    "board-report": timedelta(hours=1),
    "evaluation": timedelta(hours=12),
    "replay": timedelta(hours=12),
}


#: Begins the basis of what was made of the whole hospital.
_OF_VERSION: Final = "version "


def _of_version(version: int | None) -> str:
    return f"{_OF_VERSION}{version}"


def _contents(snapshot: Snapshot, table: str) -> str:
    """Name what a table holds in a view, whatever other tables do."""
    return f"{table}: {' '.join(snapshot.files(table))}"


class Server:
    """What the pages share.

    Parameters
    ----------
    bedside : Bedside
        The hospital, its state and rules.

    Attributes
    ----------
    settings : WebSettings
    hospital : Hospital
    state : State
    passwords : PasswordChecks
    """

    def __init__(self, bedside: Bedside) -> None:
        self.bedside = bedside
        self.passwords = PasswordChecks()
        self.settings: WebSettings = bedside.settings
        self.hospital: Hospital = bedside.hospital
        self.state: State = bedside.state
        self.zone = self.hospital.settings.zone
        self.place = ZoneInfo(self.zone)
        self._begun = self.clock()
        self._lock = threading.RLock()
        self._version: int | None = None
        self._views: dict[datetime, Snapshot] = {}
        self._kept: dict[tuple[Any, ...], tuple[str, Any]] = {}
        self._making: dict[tuple[str, tuple[Any, ...]], threading.Lock] = {}

    @cached_property
    def results(self) -> Results:
        """What the worker has computed."""
        from neva.jobs.results import Results

        return Results(self.settings, self.state, self.hospital)

    @cached_property
    def changes(self) -> Changes:
        """What has changed since pages were made."""
        from neva.web.changes import Changes

        return Changes(self)

    @cached_property
    def uploads(self) -> Uploads:
        """Files that people sent and have not imported yet."""
        from neva.jobs.kept_uploads import Uploads

        return Uploads(self.settings, self.state)

    @cached_property
    def identities(self) -> Identities:
        """Names and record numbers, for treating roles."""
        from neva.access.identities import Identities

        return Identities(self.hospital, self.state)

    # ------------------------------------------------------------------ clock

    def clock(self) -> datetime:
        """Return the time of day outside: of sessions, audit and jobs."""
        return self.settings.now()

    def now(self) -> datetime:
        """Return the *now* of the pages: nothing later is used.

        It is the minute, or the time of the newest version where that was written
        within it: what a feed has just delivered is seen at once. Where the clock
        stands at the data cut (a demonstration, a study), it is the cut.
        """
        manifest = self.hospital.manifest()
        if self.settings.clock == "data":
            return manifest.last or manifest.written
        clock = self.settings.now()
        minute = clock.replace(second=0, microsecond=0)
        return manifest.written if minute < manifest.written <= clock else minute

    def snapshot(self, at: datetime | None = None) -> Snapshot:
        """View the hospital at its current version, as known at a time (*now* by default)."""
        at = at or self.now()
        version = self.hospital.manifest().version
        with self._lock:
            if version != self._version:
                self._version = version
                self._views.clear()
                gone = [
                    key
                    for key, (basis, _) in self._kept.items()
                    if basis.startswith(_OF_VERSION) and basis != _of_version(self._version)
                ]
                for key in gone:
                    del self._kept[key]
            if at not in self._views:
                if len(self._views) >= 16:
                    self._views.pop(next(iter(self._views)))
                self._views[at] = self.hospital.snapshot(as_of=at)
            return self._views[at]

    def whole(self) -> Snapshot:
        """View everything recorded so far, *now* being the data cut: for studies of the past."""
        self.snapshot()
        return self.kept(("whole",), self.hospital.snapshot)

    def kept(
        self,
        key: tuple[Any, ...],
        make: Callable[[], Made],
        *,
        basis: str | None = None,
        most: int = 64,
    ) -> Made:
        """Return something made once and kept in memory as long as its basis is the same.

        Who asks for what another one is making waits for that.

        Parameters
        ----------
        key : tuple
            What it is; the first part names its kind.
        make : callable
        basis : str, optional
            Names what it was made of. The current version of the hospital if not
            given; empty: the key says everything.
        most : int
            So many of a kind are kept, those that were asked for last.
        """
        with self._lock:
            basis = _of_version(self._version) if basis is None else basis
            if (held := self._kept.get(key)) is not None and held[0] == basis:
                self._kept[key] = self._kept.pop(key)
                return cast("Made", held[1])
            making = self._making.setdefault((basis, key), threading.Lock())
        with making:
            with self._lock:
                if (held := self._kept.get(key)) is not None and held[0] == basis:
                    return cast("Made", held[1])
            try:
                made = make()
                with self._lock:
                    # What was made of a version that is no longer the current one is not kept.
                    if not basis.startswith(_OF_VERSION) or basis == _of_version(self._version):
                        self._keep(key, basis, made, most)
            finally:
                with self._lock:
                    self._making.pop((basis, key), None)
        return made

    def _keep(self, key: tuple[Any, ...], basis: str, made: Any, most: int) -> None:
        self._kept.pop(key, None)
        alike = [one for one in self._kept if one[0] == key[0]]
        for one in alike[: max(0, len(alike) - most + 1)]:
            del self._kept[one]
        self._kept[key] = basis, made

    def beds_basis(self, snapshot: Snapshot) -> str:
        """Name what a bed board of a view rests on: see :func:`neva.census.basis.basis_of`."""
        return self.kept(
            ("beds basis", snapshot.now),
            lambda: basis_of(snapshot),
            # Not the current version: it may have moved on since the view was taken.
            basis=_of_version(snapshot.version),
        )

    # ----------------------------------------------------------------- origin

    def version_name(self) -> str:
        """Name the data: hospital and version."""
        return f"{self.hospital.settings.hospital}@{self.hospital.manifest().version}"

    @property
    def is_synthetic(self) -> bool:
        """Whether any patient is synthetic."""
        snapshot = self.whole()
        basis = _contents(snapshot, "batches")
        return bool(self.kept(("synthetic",), lambda: is_synthetic(snapshot), basis=basis))

    def newest(self) -> datetime | None:
        """When the newest thing was recorded, as far as *now* knows."""
        at = self.now()
        snapshot = self.snapshot(at)

        def ask() -> datetime | None:
            return newest_recorded(snapshot)

        basis = _of_version(snapshot.version)
        found: datetime | None = self.kept(("newest", at), ask, basis=basis)
        return found

    def feeds(self) -> Sequence[Feed]:
        """Say where the data come from, and how old they are by each.

        Feeds report of themselves; where none does, the newest time at which
        movements were recorded speaks for all.
        """
        reported = read_feeds(self.hospital.path, self.clock())
        return reported or [feed_of("", self.newest(), self.now(), STALE_AFTER)]

    def feed(self) -> dict[str, Any]:
        """Say how old the data are: ``newest``, ``age_hours``, ``is_stale``; of which ``feeds``.

        ``is_running``: there are feeds, and all report. The age is that of the feed that was
        not heard of for longest, and one that is silent makes the whole stale.
        """
        feeds = self.feeds()
        worst = min(feeds, key=lambda one: (one.last is not None, one.last or self._begun))
        return {
            "newest": worst.last,
            "age_hours": worst.age_hours,
            "is_stale": any(one.is_silent for one in feeds),
            "clock": self.settings.clock,
            "is_running": all(one.name and not one.is_silent for one in feeds),
            "feeds": feeds,
        }

    def worker(self) -> dict[str, Any]:
        """Say when a worker was last heard of: ``seen``, ``age_hours``, ``is_silent``.

        A server that has just started gives its worker a minute to start too.
        """
        seen, at = self.state.workers.last_seen(), self.clock()
        since = self._begun if seen is None else max(seen, self._begun)
        return {
            "seen": seen,
            "age_hours": None if seen is None else (at - seen).total_seconds() / 3600,
            "is_silent": at - since > SILENT_AFTER,
        }

    def unit_titles(self) -> dict[str, str]:
        """Return the units' names by unit."""
        snapshot = self.whole()

        def ask() -> dict[str, str]:
            rows = snapshot.units().select("unit", "name").collect()
            return {unit: name or unit for unit, name in rows.iter_rows()}

        found: dict[str, str] = self.kept(("units",), ask, basis=_contents(snapshot, "units"))
        return found

    def units_with_patients(self) -> dict[str, str]:
        """Return the names of the units that some patient was in, by unit."""
        snapshot = self.whole()

        def ask() -> list[str]:
            found = snapshot.movements().select("unit").unique().collect()["unit"]
            return sorted(found.drop_nulls())

        units: list[str] = self.kept(
            ("units of movements",), ask, basis=_contents(snapshot, "movements")
        )
        titles = self.unit_titles()
        return {unit: titles.get(unit, unit) for unit in units}

    def units_above(self) -> dict[str, tuple[str, ...]]:
        """Return each unit's units above it, the nearest first."""
        snapshot = self.whole()
        found: dict[str, tuple[str, ...]] = self.kept(
            ("above",), lambda: units_above(snapshot), basis=_contents(snapshot, "units")
        )
        return found

    def may_see(self, units: tuple[str, ...] | None, unit: str | None) -> bool:
        """Return whether a user restricted to some units may see a patient of a unit."""
        if units is None:
            return True
        if unit is None:
            return False
        return unit in units or any(one in units for one in self.units_above().get(unit, ()))

    def computed(
        self, kind: str, parameters: Mapping[str, Any], viewer: Viewer
    ) -> tuple[Result | None, str | None]:
        """Return the result for the data as they are, else the newest, and the job for a new one.

        A job that failed or was cancelled is queued again by looking at the page,
        but not before :data:`RETRY_AFTER`. With a live feed a result that is not
        old yet is returned without a job for a newer one.
        """
        found = self.results.find(kind, parameters)
        if found is not None:
            return found, None
        latest = self.results.latest(kind, parameters)
        # Where a feed reports, the work list is renewed on each commit.
        is_renewed = kind == "work-list" and bool(feed_names(self.hospital.path))
        if latest is not None and (self.settings.clock == "wall" or is_renewed):
            age = self.clock() - latest.made
            if timedelta(0) <= age < _GOOD_FOR.get(kind, timedelta(0)):
                return latest, None
        job = self.results.failed(kind, parameters)
        if job is None or job.ended is None or self.clock() - job.ended >= RETRY_AFTER:
            try:
                job = self.results.want(kind, parameters, actor=viewer.account or "wallboard")
            except ConflictError:
                # The state is locked by somebody who writes: what there is, is shown.
                if latest is None:
                    raise
                return latest, None
        return latest, job.id

    def how(self, job: str) -> str:
        """Say how a job is: ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``."""
        return self.state.jobs.get(job).state

    def people(
        self,
        viewer: Viewer,
        subjects: Sequence[int],
        *,
        why: str,
        placed: Mapping[int, str | None] | None = None,
    ) -> dict[int, Person]:
        """Return names and record numbers, for treating roles; audited."""
        return self.identities.of(subjects, viewer, why=why, at=self.clock(), placed=placed)

    def entry_time(self) -> datetime:
        """Return when something is entered: the pages' *now*, at least."""
        return max(self.now(), self.clock()) if self.settings.clock == "wall" else self.now()

    def flush_soon(self) -> None:
        """Have the worker write entries into the store."""
        self.state.jobs.add("flush", {}, key="flush", actor="neva", at=self.clock())

    def refuse_other_units(self, viewer: Viewer, units: tuple[str | None, ...]) -> None:
        """Refuse what belongs to units that a person is not let into.

        Raises
        ------
        neva.web.security.access.Forbidden
        """
        if viewer.units is not None and not any(self.may_see(viewer.units, one) for one in units):
            raise Forbidden

    def audit(
        self,
        viewer: Viewer,
        action: str,
        *,
        why: str,
        subject: int | None = None,
        stay: int | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Write down who saw or did what."""
        self.state.audit.append(
            at=self.clock(),
            actor=viewer.account,
            role=viewer.role,
            action=action,
            why=why,
            subject=subject,
            stay=stay,
            details=details,
        )
