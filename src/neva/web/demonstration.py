"""The demonstration: both example hospitals with accounts of each role, on this machine only."""

from __future__ import annotations

import multiprocessing
import os
from datetime import datetime
from pathlib import Path
from typing import Final

from neva.decisions.cards import hash_of
from neva.definitions.programme import load_programme
from neva.jobs.heartbeat import end_with_parent
from neva.state import ROLES, State, open_state, state_of
from neva.state.settings import WebSettings
from neva.web.living import Living, start_messages

__all__ = ["PASSWORD", "prepare", "serve_demonstration"]

#: Of every account of the demonstration; it is served to this machine only.
PASSWORD: Final = "neva-demonstration"  # meant to be known
PROGRAMMES: Final = ("acute-care", "covid19", "sepsis")
_WHY: Final = "demonstration"


def _make_live(state: State, at: datetime) -> None:
    for name in PROGRAMMES:
        for rule in load_programme(name).rules:
            if state.rules.state_of(rule.id) is None:
                for to in ("draft", "silent", "live"):
                    state.rules.change(
                        rule.id, rule.version, hash_of(rule), to, actor=_WHY, reason=_WHY, at=at
                    )


def prepare(hospital: Path, *, at: datetime, live: bool) -> None:
    """Make accounts of each role; on synthetic patients also make the shipped rules live.

    Parameters
    ----------
    hospital : Path
    at : datetime
        Aware.
    live : bool
    """
    with open_state(state_of(hospital)) as state:
        for role in ROLES:
            if state.accounts.get(role) is None:
                state.accounts.put(role, role=role, password=PASSWORD, actor=_WHY, at=at)
        # Two people of the same role: one proposes, the other confirms.
        if state.accounts.get("clinician-2") is None:
            state.accounts.put(
                "clinician-2", role="clinician", password=PASSWORD, actor=_WHY, at=at
            )
        if live:
            _make_live(state, at)


def _serve(settings: WebSettings, parent: int | None = None, living: Living | None = None) -> None:
    from neva.web.application import create_application
    from neva.web.serving import exit_on_sigterm, serve_forever

    exit_on_sigterm()
    if parent is not None:
        end_with_parent(parent)
    if living is None:
        serve_forever(create_application(settings), settings)
        return
    messages = start_messages(living)
    try:
        feeds = [(living.profile, living.address)]
        serve_forever(create_application(settings), settings, feeds=feeds)
    finally:
        messages.terminate()
        messages.join(timeout=10)


def serve_demonstration(
    folder: Path, *, host: str, port: int, living: Living | None = None
) -> None:
    """Serve the synthetic hospital, and the real cohort on the next port, until stopped.

    Parameters
    ----------
    folder : Path
        As `neva demo` made it: ``synthetic`` and ``hospital`` in it.
    host, port
        Where to listen.
    living : Living, optional
        Served in the place of the synthetic hospital whose clock stands still.
    """
    settings = [
        WebSettings(
            hospital=path,
            programmes=PROGRAMMES,
            host=host,
            port=port + number,
            base_url=f"http://{host}:{port + number}",
            clock="data",
            open_demo=True,
        )
        for number, path in enumerate(
            (living.hospital if living else folder / "synthetic", folder / "hospital")
        )
    ]
    from neva.web.serving import exit_on_sigterm

    exit_on_sigterm()
    # Not a daemon: it has a worker of its own.
    second = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(settings[1], os.getpid())
    )
    second.start()
    try:
        _serve(settings[0], living=living)
    finally:
        second.terminate()
        second.join(timeout=15)
        if second.is_alive():
            second.kill()
            second.join(timeout=5)
