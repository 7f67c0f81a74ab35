"""What every feed that is asked has: a lock, a place in the store, a status, its turn to look."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from neva.errors import ConflictError, NevaError, UsageError
from neva.events.hospital import Hospital
from neva.feeds.status import (
    DOORS,
    arrivals_of,
    expected_within,
    feed_folder,
    last_of_door,
    read_status,
    write_status,
)
from neva.files.whole import disk_problem
from neva.intake.importing import ImportSummary, import_delivery
from neva.sources.rows import Delivery

__all__ = ["Door", "keep_looking"]

_LOG = logging.getLogger("neva.feeds")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
#: While another process writes to the hospital, the feed waits and tries again.
_WAIT: Final = 0.5
#: Who looks once gives up after so many seconds.
_PATIENCE: Final = 60.0
#: After a problem is looked again later, and later, up to so many seconds.
_LONGEST_WAIT: Final = 300.0
#: How often is worked out how long the feed is usually silent.
_EXPECT_EVERY: Final = timedelta(minutes=10)
#: Of so many versions of the hospital only the newest stay, and those of the last hour.
_MANY_VERSIONS: Final = 100
_VERSIONS_KEPT: Final = 20


class Door:
    """The feed's own folder and its place in the store; one process at a time.

    Parameters
    ----------
    hospital : Hospital
    name : str
        Of the feed.
    kind : str
        A key of :data:`neva.feeds.status.DOORS`.
    now : callable
        The time of day, aware.
    stop : threading.Event, optional
        Set: waiting ends.
    patient : bool
        Wait for other writers until told to stop; else a minute.

    Attributes
    ----------
    listening : callable
        Returns what was taken and refused by who listens for the feed, for its status.
    warning : str or None
        What is not well although looking went well, for its status.

    Raises
    ------
    UsageError
        The name cannot be that of a feed.
    """

    def __init__(
        self,
        hospital: Hospital,
        name: str,
        kind: str,
        *,
        now: Callable[[], datetime],
        stop: threading.Event | None = None,
        patient: bool = False,
    ) -> None:
        if not _NAME.fullmatch(name):
            message = (
                f"--name: cannot be the name of a feed; found {name!r}; write small letters, "
                "digits and hyphens, for example laboratory"
            )
            raise UsageError(message)
        assert kind in DOORS
        self.hospital = hospital
        self.name = name
        self.kind = kind
        self.folder = feed_folder(hospital.path, name)
        self.work = self.folder / "work"
        self.now = now
        self.stop = stop or threading.Event()
        self._patient = patient
        self._lock = -1
        self._expected: tuple[datetime, timedelta] | None = None
        self._last: datetime | None = None
        self._tidied: datetime | None = None
        self._batches: int | None = None
        self.listening: Callable[[], Mapping[str, Any]] = dict
        self.warning: str | None = None

    def __enter__(self) -> Self:
        """Take the feed's lock.

        Raises
        ------
        ConflictError
            Another process serves this feed, or another kind of feed has its name.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            problem = disk_problem(error, self.folder)
            message = f"{self.folder}: cannot be used; {error.strerror}"
            raise problem or ConflictError(message) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            message = (
                f"{self.folder}: another process serves this feed; found its lock held; one "
                "process may serve a feed: stop the other one"
            )
            raise ConflictError(message) from None
        try:
            self.place()
            self.empty_work()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let another process serve the feed."""
        shutil.rmtree(self.work, ignore_errors=True)
        os.close(self._lock)

    def empty_work(self) -> Path:
        """Make the folder for what is on its way into the store, empty; only its owner reads it."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(mode=0o700)
        return self.work

    def place(self) -> dict[str, Any]:
        """Return up to where the feed is part of the store; empty where it never was.

        Raises
        ------
        ConflictError
            Another kind of feed has this name.
        """
        text = self.hospital.manifest().feeds.get(self.name)
        if text is None:
            return {}
        with suppress(ValueError):
            place = json.loads(text)
            if isinstance(place, dict) and place.get("kind") == self.kind:
                return place
        message = (
            f"feed {self.name}: another kind of feed has this name; found a place in the store "
            f"that is none of {DOORS[self.kind]}; give this one another name"
        )
        raise ConflictError(message)

    def deliver(
        self,
        opened: Callable[[], Delivery],
        *,
        label: str,
        place: Mapping[str, Any],
        most_refused: float | None,
    ) -> ImportSummary:
        """Write what was delivered and the place reached into the store, as one commit.

        Parameters
        ----------
        opened : callable
            Opens the delivery; called again where another process was writing.
        label : str
            What of the feed it is.
        place : mapping
            The place that the feed has reached with it.
        most_refused : float or None
            As of :func:`neva.intake.importing.import_delivery`.
        """
        text = json.dumps({"kind": self.kind, **place}, sort_keys=True)
        begun = time.monotonic()
        while True:
            delivery = opened()
            try:
                summary = import_delivery(
                    self.hospital,
                    delivery,
                    label=f"{self.name}/{label}",
                    now=self.now(),
                    on_change="extend",
                    most_refused=most_refused,
                    feed=(self.name, text),
                )
            except ConflictError:
                waited = time.monotonic() - begun
                if self.stop.is_set() or (waited > _PATIENCE and not self._patient):
                    raise
                self.stop.wait(_WAIT)
                continue
            self.arrived()
            if self._batches is not None and summary.batch and not summary.already_imported:
                self._batches += 1
            return summary

    def arrived(self) -> None:
        """Note that something was delivered now."""
        self._last = self.now()

    def write_status(self, *, backlog: int, problem: str | None = None, refused: int = 0) -> None:
        """Say how the feed is, for pages and monitors.

        Parameters
        ----------
        backlog : int
            What is there and not in the store yet, as far as it is known.
        problem : str, optional
            Why the last look came to nothing; without any value of a patient.
        refused : int
            Files that were put aside and are still there.
        """
        now = self.now()
        if self._expected is None or now - self._expected[0] > _EXPECT_EVERY:
            batches = arrivals_of(self.hospital.snapshot(), self.name)
            within = expected_within(batches["imported"], now, self.hospital.settings.zone)
            self._expected = (now, within)
            self._batches = batches.height
            if self._last is None:
                self._last = last_of_door(batches, read_status(self.folder, "status.json"))
        status = {
            "name": self.name,
            "kind": self.kind,
            "position": self._batches,
            "last_arrived": self._last.isoformat() if self._last else None,
            "expected_within_seconds": self._expected[1].total_seconds(),
            "backlog": backlog,
            "problem": problem or self.warning,
            "refused": refused,
            "figures": dict(self.listening()),
        }
        write_status(self.folder, "status.json", status)

    def tidy(self) -> None:
        """Drop versions of the hospital that nobody reads any more, where there are many.

        A feed makes a version at each delivery. What was known at an earlier time is seen *as
        of* then in any later version.
        """
        now = self.now()
        if self._tidied is not None and now - self._tidied < timedelta(hours=1):
            return
        self._tidied = now
        if len(self.hospital.versions()) > _MANY_VERSIONS:
            with suppress(ConflictError):  # somebody writes: in an hour
                self.hospital.vacuum(keep=_VERSIONS_KEPT, now=now)


def keep_looking(
    door: Door,
    look: Callable[[], bool],
    *,
    every: float,
    once: bool,
    wake: threading.Event | None = None,
) -> None:
    """Look for what is new, again and again.

    Parameters
    ----------
    door : Door
    look : callable
        Takes what is there; true where more is there already.
    every : float
        Seconds between two looks.
    once : bool
        Until nothing more is there; a problem ends it.
    wake : threading.Event, optional
        Set: it is looked at once.

    Raises
    ------
    NevaError
        Looking once met a problem.
    """
    wake = wake or threading.Event()
    wait = every
    while not door.stop.is_set():
        try:
            more = look()
            wait = every
        except NevaError as error:
            with suppress(NevaError):  # of a full disk nothing can be written
                door.write_status(backlog=0, problem=str(error))
            if once:
                raise
            wait = min(max(2 * wait, 1.0), _LONGEST_WAIT)
            _LOG.error("feed %s: %s; looked again in %.0f seconds", door.name, error, wait)
            more = False
        door.tidy()
        if once and not more:
            return
        if not more:
            _sleep(door.stop, wake, wait)


def _sleep(stop: threading.Event, wake: threading.Event, seconds: float) -> None:
    """Wait until it is time, or until told to wake or stop."""
    until = time.monotonic() + seconds
    while not stop.is_set() and not wake.is_set() and (left := until - time.monotonic()) > 0:
        wake.wait(min(left, 0.2))
    wake.clear()
