"""Signs of life of a worker, and words for what went wrong in it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from neva.state import State

__all__ = ["BEAT_EVERY", "Heartbeat", "end_with_parent", "log_failure", "place_of"]

#: How often a worker says that it is alive, seconds.
BEAT_EVERY: Final = 5.0
#: How often a process looks whether its parent is there, seconds.
_LOOK_EVERY: Final = 1.0


def place_of(error: BaseException) -> str:
    """Say of which kind an error is and where it arose; its text may quote a row."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def log_failure(what: str, error: BaseException) -> None:
    """Log the kind and the place of an error that the program survives, never its text."""
    logging.getLogger("neva.web").error("%s: %s", what, place_of(error))


class Heartbeat:
    """Says every few seconds that a worker is alive, whether or not it has a job.

    A worker that cannot take jobs says nothing: for those who wait it is gone.

    Parameters
    ----------
    state : State
    worker : str
    now : callable
        The clock.

    Attributes
    ----------
    is_well : bool
        Set by the worker: whether it can take jobs.
    """

    def __init__(self, state: State, worker: str, now: Callable[[], datetime]) -> None:
        self._state, self._worker, self._now = state, worker, now
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self.is_well = True

    def _beat(self) -> None:
        while True:
            if self.is_well:
                try:
                    self._state.workers.beat(self._worker, at=self._now())
                except Exception as error:  # the next beat is tried all the same
                    log_failure("the worker could not say that it is alive", error)
            if self._stop.wait(BEAT_EVERY):
                return

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


def end_with_parent(parent: int) -> None:
    """End this process when its parent is gone, even if that one could say nothing."""

    def look() -> None:
        waits = threading.Event()
        while os.getppid() == parent:
            waits.wait(_LOOK_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, daemon=True).start()
