"""``neva worker``: runs the background tasks that pages request."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neva.cli.console import HospitalPath, Json, tell

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command to ``neva``."""
    app.command()(worker)


def worker(
    hospital: HospitalPath,
    programme: Annotated[
        list[str] | None, typer.Option("--programme", metavar="NAME", help="whose rules")
    ] = None,
    notifications: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="notify people of tasks by e-mail or webhook"),
    ] = None,
    downtime: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="folder for the downtime census, written every hour"),
    ] = None,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="run the queued tasks, and stop")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run background tasks requested by the pages, until stopped (Ctrl-C).

    'neva serve' begins a worker by itself; more of them may run beside it.

    Example: neva worker hospital --until-done
    """
    from neva.definitions.programme import programme_names
    from neva.events.hospital import open_hospital
    from neva.jobs.worker import work_forever
    from neva.notifications.settings import read_notification_settings
    from neva.state.settings import WebSettings

    open_hospital(hospital)  # a wrong path is told before anything is made in it
    if notifications is not None:
        read_notification_settings(notifications)
    settings = WebSettings(
        hospital=hospital,
        programmes=tuple(programme or programme_names()),
        downtime=downtime,
        notifications=notifications,
    )
    done = work_forever(settings, most=_ALL_THAT_WAIT if until_done else None)
    tell(as_json, {"jobs": done}, f"{done} jobs done; none waits")


#: Stops when none waits.
_ALL_THAT_WAIT = 1_000_000
