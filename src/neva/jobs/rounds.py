"""Rules are evaluated on each commit of a live hospital, for the patients it tells of."""

from __future__ import annotations

import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Self

from neva.decisions.tasks import Task
from neva.definitions.programme import Programme
from neva.events.hospital import Hospital
from neva.events.snapshot import Snapshot, subjects_since
from neva.feeds.status import feed_names
from neva.jobs.heartbeat import log_failure
from neva.jobs.results import Results
from neva.jobs.work import Worked, loaded_programmes, worked
from neva.state import State
from neva.state.settings import WebSettings

__all__ = ["ALL_EVERY", "Rounds"]

#: What becomes true because time passes is seen so late at most: everybody is looked at.
ALL_EVERY: Final = timedelta(minutes=2)
#: How often is looked whether there is a new version, seconds.
_LOOK_EVERY: Final = 0.5
_LONGEST_WAIT: Final = 30.0
#: Lists that a page may still be reading.
_KEPT: Final = 5
_KIND: Final = "work-list"


class Rounds:
    """Keeps the work list of a live hospital as new as its data.

    Of several workers one does it; another takes over when that one is gone.

    Parameters
    ----------
    hospital : Hospital
    state : State
    settings : WebSettings
    results : Results
        Where pages find the list.
    report : callable, optional
        Is given the tasks of each new list and its *now*.
    """

    def __init__(
        self,
        hospital: Hospital,
        state: State,
        settings: WebSettings,
        results: Results,
        report: Callable[[Sequence[Task], datetime], None] | None = None,
    ) -> None:
        self._hospital, self._state, self._settings = hospital, state, settings
        self._results, self._report = results, report
        self._programmes: list[Programme] | None = None
        self._worked: Worked | None = None
        self._snapshot: Snapshot | None = None
        self._basis: tuple[object, ...] = ()
        self._all_at: datetime | None = None
        self._kept: deque[str] = deque()
        self._lists = 0
        self._lock: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="neva-rounds")
        #: How many patients were looked at the last time; None: all.
        self.looked_at: int | None = None

    @property
    def is_live(self) -> bool:
        """Whether there is a feed, or somebody to be notified."""
        return self._report is not None or bool(feed_names(self._hospital.path))

    def make_if_due(self) -> bool:
        """Make the list again where data, rules or tasks changed, or it is time; say whether."""
        if not self.is_live or not self._is_mine():
            return False
        clock = self._settings.now()
        manifest = self._hospital.manifest()
        rules = {one.rule: (one.state, one.hash) for one in self._state.rules.all()}
        basis = (manifest.version, sorted(rules.items()), self._state.work.last_change())
        is_time = self._all_at is None or not timedelta(0) <= clock - self._all_at < ALL_EVERY
        if basis == self._basis and not is_time:
            return False
        # A version that the clock is behind of is seen at its own time, nothing later.
        is_wall = self._settings.clock == "wall"
        at = max(clock, manifest.written) if is_wall else manifest.last or manifest.written
        snapshot = self._hospital.snapshot(as_of=at, version=manifest.version)
        subjects = None
        if not is_time and self._snapshot is not None:
            subjects = subjects_since(self._snapshot, snapshot, rewritten=True)
        if self._programmes is None:
            self._programmes = loaded_programmes(self._settings.programmes)
        self._worked = worked(
            snapshot,
            self._state,
            self._programmes,
            earlier=self._worked,
            subjects=subjects,
        )
        self.looked_at = None if subjects is None else len(subjects)
        if subjects is None:
            self._all_at = clock
        self._snapshot, self._basis = snapshot, basis
        self._keep(at, clock)
        if self._report is not None:
            self._report(self._worked.listed.tasks, at)
        return True

    def _keep(self, at: datetime, made: datetime) -> None:
        if self._worked is None:
            return
        # Another list of the same time and data has other tasks accepted.
        self._lists += 1
        parameters = {"at": at.isoformat(), "after": f"{made.isoformat()} {self._lists}"}
        id_ = self._results.key(_KIND, parameters)
        content = self._worked.content
        self._results.keep(id_, _KIND, parameters, self._results.version(), content, made)
        self._kept.append(id_)
        while len(self._kept) > _KEPT:
            self._results.drop(self._kept.popleft())

    def _is_mine(self) -> bool:
        if self._lock is None:
            self._results.folder.mkdir(mode=0o700, exist_ok=True)
            held = os.open(self._results.folder / "rounds.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(held)
                return False
            self._lock = held
        return True

    def close(self) -> None:
        """Leave the rounds to another worker."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.close()

    def _run(self) -> None:
        """Make the list whenever it is due; an error is logged and survived."""
        failures = 0
        while not self._stop.wait(min(_LOOK_EVERY * 2.0 ** min(failures, 10), _LONGEST_WAIT)):
            try:
                self.make_if_due()
                failures = 0
            except Exception as error:  # pages and jobs go on; it is tried again
                log_failure("the rules were not evaluated after a commit", error)
                failures += 1
                self._worked = self._snapshot = self._all_at = None
