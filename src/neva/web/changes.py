"""What has changed since a page was made: one watcher a process, whoever looks.

The watcher looks at the hospital and at the state about twice a second and gives
each topic a version. A page rests on some topics; its reader is told when one of
them has another version, and which, and nothing else: no value, no patient.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

import polars as pl

from neva.errors import NevaError, NotFoundError
from neva.events.schema import KEYS
from neva.events.snapshot import OF_PATIENTS, Snapshot, files_changed, subjects_since
from neva.jobs.heartbeat import log_failure

if TYPE_CHECKING:
    from datetime import datetime

    from neva.access.viewer import Viewer
    from neva.jobs.results import Results
    from neva.state import State
    from neva.web.feeds import Feed

__all__ = ["LOOK_EVERY", "Changes", "Listener", "Seen", "name_of"]

#: How often is looked, seconds.
LOOK_EVERY: Final = 0.5
#: How often is looked whether those who are told are still signed in, seconds.
_SIGNED_IN_EVERY: Final = 2.0
#: Of background results, these are shown by pages that renew themselves.
_RESULTS: Final = ("forecast", "work-list")
#: An older end of a job is no news.
_ENDED_WITHIN: Final = timedelta(days=1)
#: So many patients are remembered by when something about them was last told.
_MOST_SUBJECTS: Final = 100_000


@dataclass(frozen=True)
class Seen:
    """What the watcher saw at one time.

    Attributes
    ----------
    version : int
        Of the hospital.
    topics : mapping of str to str
        The version of each topic.
    """

    version: int
    topics: Mapping[str, str]
    _told: Mapping[int, int] = field(repr=False, default_factory=dict)
    _since: int = 0
    _entries: Mapping[int, str] = field(repr=False, default_factory=dict)

    def of(self, topics: Iterable[str], subject: int | None = None) -> dict[str, str]:
        """Return the versions of some topics, ``patient`` being that of one patient."""
        found = {name: self.topics[name] for name in topics if name != "patient"}
        if subject is not None:
            reported = self._told.get(subject, self._since)
            found["patient"] = _short(reported, self._entries.get(subject, ""))
        return found


def _short(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def name_of(versions: Mapping[str, str]) -> str:
    """Name the state of some topics: the id of what is sent."""
    return _short(sorted(versions.items()))


class _Watched(Protocol):
    """What is watched: of :class:`neva.web.server.Server`, what the watcher asks."""

    state: State

    @property
    def results(self) -> Results: ...
    def now(self) -> datetime: ...
    def clock(self) -> datetime: ...
    def snapshot(self, at: datetime | None = None) -> Snapshot: ...
    def beds_basis(self, snapshot: Snapshot) -> str: ...
    def feeds(self) -> Sequence[Feed]: ...
    def worker(self) -> dict[str, Any]: ...


class Listener:
    """Somebody who is told; of one event loop.

    Parameters
    ----------
    viewer : Viewer
    topics : sequence of str
    subject : int, optional
    is_let_in : callable
        For who has no session (a screen on a wall): whether that goes on.
    """

    def __init__(
        self,
        viewer: Viewer,
        topics: Sequence[str],
        subject: int | None,
        is_let_in: Callable[[], bool],
    ) -> None:
        self.viewer, self.subject, self.is_let_in = viewer, subject, is_let_in
        self.is_over = False
        self._topics = tuple(topics)
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()
        self.versions: dict[str, str] = {}

    def saw(self, seen: Seen) -> bool:
        """Take what the watcher saw; say whether it is news."""
        versions = seen.of(self._topics, self.subject)
        is_new, self.versions = versions != self.versions, versions
        return is_new

    def wake(self) -> None:
        """Have it told, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._woken.set)
        except RuntimeError:  # its loop has ended, and it with it
            self.is_over = True

    async def wait(self, seconds: float) -> bool:
        """Wait for news, at most so long; say whether there are any."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return False
        self._woken.clear()
        return True


class Changes:
    """Watches one hospital for all pages that are open.

    Parameters
    ----------
    server : Server
    """

    def __init__(self, server: _Watched) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._listeners: set[Listener] = set()
        self._watcher: threading.Thread | None = None
        self._seen: Seen | None = None
        self._at = 0.0
        self._snapshot: Snapshot | None = None
        self._told: dict[int, int] = {}
        self._since = 0
        self.looks = 0

    def __len__(self) -> int:
        """How many are told."""
        return len(self._listeners)

    def of_session(self, session: str) -> int:
        """How many pages of a session are told."""
        with self._lock:
            return sum(one.viewer.session == session for one in self._listeners)

    def look(self) -> Seen:
        """Return what is seen: looked at just now, or at most half a second ago."""
        with self._looking:
            if self._seen is None or time.monotonic() - self._at >= LOOK_EVERY:
                self._seen = self._look()
                self._at = time.monotonic()
            return self._seen

    def _look(self) -> Seen:
        self.looks += 1
        server, state = self._server, self._server.state
        at, clock = server.now(), server.clock()
        snapshot = server.snapshot(at)
        self._note_patients(snapshot)
        waiting: dict[int, list[tuple[str, bool]]] = {}
        for one in state.entries.unflushed():
            about = (one.id, one.withdrawn_at is None)
            waiting.setdefault(int(one.subject), []).append(about)
        ends = state.jobs.last_ends(_RESULTS, since=clock - _ENDED_WITHIN)
        topics = {
            "beds": server.beds_basis(snapshot),
            "entries": _short(sorted(waiting.items())),
            "tasks": _short(state.work.last_change()),
            **{kind: _short(ends.get(kind), server.results.last_kept(kind)) for kind in _RESULTS},
            "feeds": _short([(one.name, one.is_silent) for one in server.feeds()]),
            "worker": _short(server.worker()["is_silent"]),
            "minute": _short(at.replace(second=0, microsecond=0)),
        }
        entries = {subject: _short(about) for subject, about in waiting.items()}
        return Seen(snapshot.version, topics, self._told, self._since, entries)

    def _note_patients(self, snapshot: Snapshot) -> None:
        """Note of whom the version tells something that the one before it did not."""
        before, self._snapshot = self._snapshot, snapshot
        if before is not None and before.version == snapshot.version:
            return
        with self._lock:
            watched = {one.subject for one in self._listeners if one.subject is not None}
        reported = None if before is None else subjects_since(before, snapshot)
        if reported is not None and len(self._told) + len(reported) <= _MOST_SUBJECTS:
            self._told = self._told | dict.fromkeys(reported, snapshot.version)
            return
        # Tables were rewritten, or nobody looked: those whose pages are open are looked at.
        changed = watched if before is None else _changed(before, snapshot, watched)
        self._told = {
            subject: snapshot.version
            if subject in changed
            else self._told.get(subject, self._since)
            for subject in watched
        }
        self._since = snapshot.version

    # -------------------------------------------------------------- listeners

    def join(self, listener: Listener) -> None:
        """Tell somebody from now on; the first one starts the watcher."""
        listener.saw(self.look())
        with self._lock:
            self._listeners.add(listener)
            if self._watcher is None:
                self._watcher = threading.Thread(
                    target=self._watch, daemon=True, name="neva-changes"
                )
                self._watcher.start()

    def leave(self, listener: Listener) -> None:
        """Tell somebody no more; the watcher ends after the last one."""
        with self._lock:
            self._listeners.discard(listener)

    def _watch(self) -> None:
        checked, is_well = time.monotonic(), True
        while True:
            time.sleep(LOOK_EVERY)
            with self._lock:
                self._listeners = {one for one in self._listeners if not one.is_over}
                listeners = list(self._listeners)
                if not listeners:
                    self._watcher = None
                    return
            try:
                seen = self.look()
                for one in listeners:
                    if one.saw(seen):
                        one.wake()
                if time.monotonic() - checked >= _SIGNED_IN_EVERY:
                    checked = time.monotonic()
                    self._end_those_signed_out(listeners)
                is_well = True
            except Exception as error:  # a state that is locked: it is looked at again
                if is_well:
                    log_failure("the watcher of changes could not look", error)
                is_well = False

    def _end_those_signed_out(self, listeners: Sequence[Listener]) -> None:
        server = self._server
        sessions = {one.viewer.session for one in listeners if one.viewer.session}
        known = server.state.sessions.open_roles(sessions, at=server.clock())
        for one in listeners:
            viewer = one.viewer
            if viewer.session:
                goes_on = known.get(viewer.session) == (viewer.role, viewer.units)
            else:
                goes_on = _is_let_in(one)
            if not goes_on:
                one.is_over = True
                one.wake()


def _is_let_in(listener: Listener) -> bool:
    try:
        return listener.is_let_in()
    except NevaError:  # the file of tokens cannot be read: nobody is let in by it
        return False


def _changed(before: Snapshot, after: Snapshot, subjects: set[int]) -> set[int]:
    """Of some patients, those with other rows in one version than in an earlier one."""

    def rows(files: list[str], table: str) -> dict[int, tuple[int, int]]:
        if not files or not subjects:
            return {}
        named = pl.struct(*KEYS[table], "batch", "recorded", "retracted").hash()
        found = (
            pl.scan_parquet(files, glob=False)
            .filter(pl.col("subject_id").is_in(sorted(subjects)))
            .group_by("subject_id")
            .agg(pl.len(), _sum=named.cast(pl.Int128).sum())
            .collect()
        )
        return {subject: (count, reported) for subject, count, reported in found.iter_rows()}

    changed: set[int] = set()
    for table in OF_PATIENTS:
        try:
            gone, new = files_changed(before, after, table)
            earlier, later = rows(gone, table), rows(new, table)
        except (NotFoundError, FileNotFoundError):
            return subjects
        changed |= {one for one in subjects if earlier.get(one) != later.get(one)}
    return changed
