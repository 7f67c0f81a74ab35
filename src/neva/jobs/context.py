"""Context of a background task: the hospital, and how to report progress."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from neva.events.hospital import Hospital
from neva.jobs.heartbeat import log_failure
from neva.state import State
from neva.state.jobs import Job
from neva.state.settings import WebSettings

__all__ = ["Cancelled", "WorkContext"]


class Cancelled(Exception):  # noqa: N818
    """Somebody cancelled the job."""


class WorkContext:
    """What a kind of work is given.

    Attributes
    ----------
    hospital : Hospital
    state : State
    settings : WebSettings
    job : Job
    id : str
        Of the result.
    """

    def __init__(self, hospital: Hospital, state: State, settings: WebSettings, job: Job,
                 folder: Path) -> None:  # fmt: skip
        self.hospital, self.state, self.settings, self.job = hospital, state, settings, job
        self.id, self.folder = job.key, folder
        self._last_report = 0.0
        self._lock = threading.Lock()
        self._is_cancelled = False

    def attachment(self, name: str) -> Path:
        """Return the path of a file to leave beside the result."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        return self.folder / f"{self.id}.{name}"

    def progress(self, done: int, of: int, words: str) -> None:
        """Say how far it is.

        Raises
        ------
        Cancelled
        """
        with self._lock:
            if self._is_cancelled:
                raise Cancelled
            if time.monotonic() - self._last_report < 0.3 and done < of:
                return
            self._last_report = time.monotonic()
        if not self._beat(done=done, of=of, words=words):
            self._is_cancelled = True
            raise Cancelled

    def alive(self) -> None:
        """Say that it is alive; called from a thread of its own."""
        if not self._beat():
            self._is_cancelled = True

    def _beat(self, **more: Any) -> bool:
        try:
            return self.state.jobs.beat(
                self.job.id, at=self.settings.now(), tries=self.job.tries, **more
            )
        except Exception as error:  # work is not lost because nobody can be told of it
            log_failure("a job could not say how far it is", error)
            return True
