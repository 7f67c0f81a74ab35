"""Serving: the web server in this process, workers in processes of their own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Final

from fastapi import FastAPI

from neva.feeds.running import FeedProcess
from neva.jobs.heartbeat import end_with_parent, log_failure
from neva.jobs.worker import work_forever
from neva.state.settings import WebSettings

__all__ = ["WorkerProcesses", "exit_on_sigterm", "serve_forever", "start_workers"]

#: How often is looked whether the workers are there, seconds.
_LOOK_EVERY: Final = 0.5
#: A worker that ended is started again after a second, then two, up to a minute.
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
#: One that worked for so long was well: the next wait is the first again.
_WELL_AFTER: Final = 60.0


def _work(settings: WebSettings, parent: int) -> None:
    """Be a worker until the server is gone."""
    # The server is told by the terminal and ends; a worker notices that it has no parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)
    os.nice(15)
    work_forever(settings, parent=parent)


class _Place:
    """A worker's place: the process in it, and when the next one may begin."""

    def __init__(self) -> None:
        self.process: BaseProcess | None = None
        self.begun = self.next = 0.0
        self.wait = _FIRST_WAIT


class WorkerProcesses:
    """Workers, each started again when it ends; made by :func:`start_workers`."""

    def __init__(self, settings: WebSettings, count: int) -> None:
        # A clock that a test has put in cannot be sent to another process.
        self._settings = replace(settings, now=WebSettings(settings.hospital).now)
        self._places = [_Place() for _ in range(count)]
        self._stop = threading.Event()
        for place in self._places:
            self._start(place)
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()

    def _start(self, place: _Place) -> None:
        spawn = multiprocessing.get_context("spawn")
        process = spawn.Process(target=_work, args=(self._settings, os.getpid()), daemon=True)
        process.start()
        place.process, place.begun = process, time.monotonic()

    def _supervise(self) -> None:
        while not self._stop.wait(_LOOK_EVERY):
            for place in self._places:
                try:
                    self._look_after(place)
                except Exception as error:  # no process, no memory: tried again
                    log_failure("a worker could not be started", error)
                    place.next = time.monotonic() + _LONGEST_WAIT

    def _look_after(self, place: _Place) -> None:
        now = time.monotonic()
        if place.process is not None:
            if place.process.is_alive():
                return
            if now - place.begun >= _WELL_AFTER:
                place.wait = _FIRST_WAIT
            logging.getLogger("neva.web").error(
                "a worker ended (exit code %s); another one begins in %.0f seconds",
                place.process.exitcode,
                place.wait,
            )
            place.process, place.next = None, now + place.wait
            place.wait = min(2 * place.wait, _LONGEST_WAIT)
        elif now >= place.next:
            self._start(place)

    def processes(self) -> list[int]:
        """Return the ids of the processes that run."""
        found = [place.process for place in self._places]
        return [one.pid for one in found if one is not None and one.pid and one.is_alive()]

    def stop(self) -> None:
        """End the workers; none is started again."""
        self._stop.set()
        self._thread.join()
        running = [place.process for place in self._places if place.process is not None]
        for process in running:
            process.terminate()
        for process in running:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join(timeout=5)


def start_workers(settings: WebSettings, count: int) -> WorkerProcesses:
    """Start workers: new processes, that end with this one, and are replaced if they end."""
    return WorkerProcesses(settings, count)


def exit_on_sigterm() -> None:
    """Have SIGTERM end this process as Ctrl-C does: what it has started is ended first.

    uvicorn raises the signal again when it has stopped, which by itself ends a
    process at once.
    """

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, leave)


def serve_forever(
    application: FastAPI,
    settings: WebSettings,
    *,
    workers: int = 1,
    feeds: Sequence[tuple[Path, str]] = (),
) -> None:
    """Serve until stopped; workers and feeds stop with it.

    Parameters
    ----------
    application : FastAPI
    settings : WebSettings
    workers : int
        Processes for background tasks; one that ends is replaced.
    feeds : sequence of tuple
        Profiles of HL7 v2 feeds, and where each listens (``HOST:PORT``).
    """
    import uvicorn

    from neva.web.security.connections import PatientProtocol, raise_open_files

    exit_on_sigterm()
    raise_open_files()
    started = start_workers(settings, workers)
    hospital = str(settings.hospital)
    listening = [
        FeedProcess(["hl7v2", hospital, "--profile", str(profile), "--listen", address])
        for profile, address in feeds
    ]
    try:
        # Pseudonyms stand in some addresses: no access log.
        uvicorn.run(
            application,
            host=settings.host,
            port=settings.port,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            http=PatientProtocol,
        )
    finally:
        for one in listening:
            one.stop()
        started.stop()
