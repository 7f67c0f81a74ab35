"""Feeds that run: a listener in this process, the applier in one of its own, started again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from ssl import SSLContext
from typing import Final

import polars as pl

from neva.errors import NevaError, UsageError
from neva.events.hospital import open_hospital
from neva.feeds.applier import Applied, Applier
from neva.feeds.inbox import Inbox
from neva.feeds.listener import Limits, Listener, tls_of
from neva.feeds.status import feed_folder, read_status, write_status
from neva.sources.hl7v2.profile import read_profile
from neva.state import State, open_state, state_of

__all__ = [
    "PARENT",
    "FeedProcess",
    "ListenerSettings",
    "address_of",
    "apply_feed",
    "audit_merges",
    "checked",
    "listen",
]

_LOG = logging.getLogger("neva.feeds")
#: How often the listener says how it is, seconds.
_STATUS_EVERY: Final = 2.0
#: An applier that ended is started again after a second, then two, up to so many.
_LONGEST_WAIT: Final = 60.0
#: Names the process with which a process of a feed ends.
PARENT: Final = "NEVA_PARENT"
_AUDITED: Final = "audited.json"


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Where and how a feed listens.

    Attributes
    ----------
    hospital, profile : Path
    host : str
    port : int
        0: any free one.
    networks : tuple of str
        From where senders may connect; empty: from anywhere.
    certificate, key, clients : Path or None
        PEM files for TLS; `clients`: authorities of client certificates.
    apply : bool
        Start an applier beside it.
    limits : Limits
    """

    hospital: Path
    profile: Path
    host: str
    port: int
    networks: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    clients: Path | None = None
    apply: bool = True
    limits: Limits = field(default_factory=Limits)


def address_of(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``.

    Raises
    ------
    UsageError
        It is not written so.

    Examples
    --------
    >>> address_of("127.0.0.1:2575"), address_of("[::1]:2575")
    (('127.0.0.1', 2575), ('::1', 2575))
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        message = f"address: not HOST:PORT; found {text!r}; write 127.0.0.1:2575"
        raise UsageError(message)
    return host.strip("[]"), int(port)


class FeedProcess:
    """A process of a feed; another one is started when it ends.

    Parameters
    ----------
    words : sequence of str
        What follows ``neva feed`` on the command line.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._command = [sys.executable, "-m", "neva.cli", "feed", *words]
        self._environment = {**os.environ, PARENT: str(os.getpid())}
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._supervise, daemon=True)
        self._thread.start()

    def _supervise(self) -> None:
        wait = 1.0
        while not self._stop.is_set():
            begun = time.monotonic()
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.DEVNULL, env=self._environment
            )
            while self._process.poll() is None and not self._stop.wait(0.2):
                pass
            if self._stop.is_set():
                break
            wait = 1.0 if time.monotonic() - begun > 60 else min(2 * wait, _LONGEST_WAIT)
            _LOG.error(
                "neva feed %s ended (exit code %s); another one begins in %.0f seconds",
                self._command[4],
                self._process.returncode,
                wait,
            )
            self._stop.wait(wait)
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=20)
            self._process.kill()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join()


def _tls_of(settings: ListenerSettings) -> SSLContext | None:
    return tls_of(settings.certificate, settings.key, settings.clients)


def checked(settings: ListenerSettings) -> tuple[str, int]:
    """Open what a listener needs, and close it again.

    Parameters
    ----------
    settings : ListenerSettings

    Returns
    -------
    name : str
        Of the feed.
    applied : int
        How many messages are part of the store.

    Raises
    ------
    ConflictError, UsageError, MappingError, NotFoundError, BadInputError
        As :func:`listen`.
    """
    hospital, profile = open_hospital(settings.hospital), read_profile(settings.profile)
    _tls_of(settings)
    applied = hospital.manifest().position(profile.name)
    Inbox(feed_folder(hospital.path, profile.name), at_least=applied).close()
    return profile.name, applied


def listen(
    settings: ListenerSettings,
    *,
    now: Callable[[], datetime],
    began: Callable[[int, str], None] | None = None,
) -> None:
    """Take messages until stopped.

    Parameters
    ----------
    settings : ListenerSettings
    now : callable
        The time of day, aware.
    began : callable, optional
        Called with the port and the feed's name when it listens.

    Raises
    ------
    ConflictError
        Another listener serves this feed.
    UsageError
        The address cannot be listened at, or certificates are half given.
    MappingError, NotFoundError, BadInputError
        The profile, the hospital, a certificate or the inbox cannot be read.
    """
    hospital = open_hospital(settings.hospital)
    profile = read_profile(settings.profile)
    tls = _tls_of(settings)
    folder = feed_folder(hospital.path, profile.name)
    applied = hospital.manifest().position(profile.name)
    inbox = Inbox(folder, at_least=applied)
    if inbox.cut:
        _LOG.warning("an unfinished message of %d bytes was cut off the inbox", inbox.cut)
    listener = Listener(
        inbox,
        profile,
        zone=hospital.settings.zone,
        now=now,
        networks=settings.networks,
        tls=tls,
        limits=settings.limits,
    )
    try:
        asyncio.run(_listen(listener, inbox, settings, folder, profile.name, began))
    finally:
        inbox.close()


async def _listen(
    listener: Listener,
    inbox: Inbox,
    settings: ListenerSettings,
    folder: Path,
    name: str,
    began: Callable[[int, str], None] | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)
    port = await listener.start(settings.host, settings.port)
    words = ["apply", str(settings.hospital), "--profile", str(settings.profile)]
    applier = FeedProcess(words) if settings.apply else None
    if began is not None:
        began(port, name)
    try:
        while not stop.is_set():
            figures = asdict(listener.figures)
            status = {"name": name, "position": inbox.position, "port": port, "figures": figures}
            try:
                write_status(folder, "listener.json", status)
            except NevaError as error:
                _LOG.error("the feed's status could not be written: %s", type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _STATUS_EVERY)
    finally:
        await listener.stop()
        if applier is not None:
            await asyncio.to_thread(applier.stop)


def apply_feed(
    hospital_path: Path,
    profile_path: Path,
    *,
    now: Callable[[], datetime],
    stop: threading.Event,
    until_done: bool = False,
) -> int:
    """Apply a feed's inbox, until told to stop.

    Parameters
    ----------
    hospital_path, profile_path : Path
    now : callable
        The time of day, aware.
    stop : threading.Event
    until_done : bool
        Stop when everything was applied.

    Returns
    -------
    int
        Messages applied.
    """
    hospital = open_hospital(hospital_path)
    profile = read_profile(profile_path)
    applier = Applier(hospital, profile, now=now)
    total = 0
    with open_state(state_of(hospital.path)) as state:
        audit_merges(state, applier, now())

        def done(applied: Applied) -> None:
            nonlocal total
            total += applied.messages
            if applied.summary is not None and applied.summary.merged:
                audit_merges(state, applier, now())
            if until_done and not applied.messages:
                stop.set()

        applier.run(stop, on_batch=done)
    return total


def audit_merges(state: State, applier: Applier, at: datetime) -> None:
    """Write into the audit which records a feed merged, where it is not there yet.

    A merge is written at least once: after a crash between audit and note, again.
    """
    folder = applier.folder
    audited = int(read_status(folder, _AUDITED).get("batch", 0))
    rows = (
        applier.hospital.snapshot()
        .stored("patient_messages")
        .filter(pl.col("from_subject_id").is_not_null(), pl.col("batch") > audited)
        .select("from_subject_id", "subject_id", "batch")
        .sort("batch")
        .collect()
    )
    for gone, into, _ in rows.iter_rows():
        state.audit.append(
            at=at,
            actor=f"feed {applier.profile.name}",
            action="record-merged",
            why="a message of the feed merged two records",
            subject=into,
            details={"merged": str(gone)},
        )
    if rows.height:
        last: Sequence[int] = rows["batch"].to_list()
        write_status(folder, _AUDITED, {"batch": last[-1]})
