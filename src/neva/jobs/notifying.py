"""A worker's part that tells people of tasks, beside its jobs."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from neva.jobs.heartbeat import log_failure
from neva.languages.language import language_of
from neva.notifications.sending import Sender
from neva.notifications.settings import read_notification_settings
from neva.state import State
from neva.state.settings import WebSettings

__all__ = ["Notifying"]

#: How often is looked whether something is to be tried again, seconds.
_LOOK_EVERY: Final = 5.0


class Notifying:
    """Sends notifications from now until it is left.

    Parameters
    ----------
    file : Path
        The settings of notifications.
    state : State
    settings : WebSettings
    zone : str
        The hospital's time zone.
    """

    def __init__(self, file: Path, state: State, settings: WebSettings, zone: str) -> None:
        read = read_notification_settings(file)
        self.sender = Sender(state, read, language_of(read.language, zone), settings.now)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="neva-notifications")

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
        self.sender.wake()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.sender.send_due()
            except Exception as error:  # a state that is locked: tried again
                log_failure("notifications could not be sent", error)
            self.sender.wait(_LOOK_EVERY)
