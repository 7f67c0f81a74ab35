"""The living hospital of the demonstration: its messages come in while one looks."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from itertools import islice
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from neva.events.hospital import create_hospital, open_hospital
from neva.feeds.applier import Applier
from neva.feeds.inbox import Inbox
from neva.feeds.status import feed_folder
from neva.jobs.heartbeat import end_with_parent
from neva.sources.hl7v2.profile import read_profile
from neva.synthesis import Plan, prepare
from neva.synthesis.live import Address, Pace, Sender
from neva.synthesis.messages import Disorder, Traffic

__all__ = ["Living", "make_living", "start_messages"]

#: Small enough to be there within a minute, large enough for forecasts.
_PLAN: Final = Plan(stays=500, seed=7, operations=True)
#: So much of it is still to come when the demonstration begins.
_AHEAD: Final = timedelta(days=2)
#: Where less is left, the hospital is created again.
_LEAST: Final = timedelta(hours=3)
#: An hour of the hospital in a minute.
SPEED: Final = 60.0
_AT_ONCE: Final = 5000


@dataclass(frozen=True, slots=True)
class Living:
    """A hospital whose messages come in while one looks.

    Attributes
    ----------
    hospital, profile : Path
    begin : datetime
        Hospital time from which on messages are still to come.
    address : str
        Where they are taken.
    """

    hospital: Path
    profile: Path
    begin: datetime
    address: str


def _free_address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def make_living(
    folder: Path, *, now: datetime, progress: Callable[[int], None] | None = None
) -> Living:
    """Make the hospital, with what was sent until two days before the end of its plan.

    Parameters
    ----------
    folder : Path
        Made where it is not there; where hardly anything is still to come, created again.
    now : datetime
        Aware.
    progress : callable, optional
        Called with the number of messages applied so far.

    Returns
    -------
    Living
    """
    profile_path = Path(str(files("neva.synthesis") / "synthetic-profile.yaml"))
    if (folder / "current").exists():
        reached = open_hospital(folder).manifest().last
        if reached is not None and _PLAN.cut - _AHEAD <= reached < _PLAN.cut - _LEAST:
            return Living(folder, profile_path, reached, _free_address())
        shutil.rmtree(folder)
    begin = _PLAN.cut - _AHEAD
    hospital = create_hospital(folder, zone=_PLAN.zone, now=now)
    prepare(hospital, _PLAN, now=now)
    profile = read_profile(profile_path)
    applier = Applier(hospital, profile, now=lambda: now)
    inbox = Inbox(feed_folder(hospital.path, profile.name))
    done = 0
    try:
        earlier = (one for one in Traffic.of(_PLAN, Disorder()) if one.at < begin)
        while messages := list(islice(earlier, _AT_ONCE)):
            inbox.take([(now, "before", one.content) for one in messages])
            while (applied := applier.apply_next(most=_AT_ONCE)).messages:
                done += applied.messages
                if progress is not None:
                    progress(done)
    finally:
        inbox.close()
    return Living(folder, profile_path, begin, _free_address())


def _send(living: Living, parent: int) -> None:
    """Send what is still to come, an hour a minute, until the demonstration ends."""
    end_with_parent(parent)
    pace = Pace(speed=SPEED, begin=living.begin, earlier="skip")
    traffic = Traffic.of(_PLAN, Disorder())
    Sender(traffic, Address.read(living.address), pace=pace, connections=2).run()


def start_messages(living: Living) -> BaseProcess:
    """Start the process that sends the messages; it ends with this one."""
    process = get_context("spawn").Process(target=_send, args=(living, os.getpid()), daemon=True)
    process.start()
    return process
