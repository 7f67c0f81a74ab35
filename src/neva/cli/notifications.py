"""``neva notifications``: who is told of tasks, a test message, what was sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from neva.cli.console import HospitalPath, Json, tell

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Notify people of tasks by e-mail or webhook.")

SettingsFile = Annotated[Path, typer.Argument(help="the settings of notifications (YAML)")]


@app.command()
def check(settings: SettingsFile, as_json: Json = False) -> None:
    """Read the settings and the secrets they name; send nothing.

    Example: neva notifications check notifications.yaml
    """
    from neva.notifications.doors import SHORTEST_SECRET
    from neva.notifications.settings import read_notification_settings, read_secret

    read = read_notification_settings(settings)
    for one in read.channels:
        if one.secret_file is not None:
            read_secret(one.secret_file, shortest=SHORTEST_SECRET)
    if read.mail is not None and read.mail.password_file is not None:
        read_secret(read.mail.password_file)
    rows = [
        {"channel": one.name, "by": "webhook" if one.webhook else "e-mail",
         "indicators": list(one.indicators), "owners": list(one.owners or ()),
         "units": list(one.units or ()), "escalations_only": one.escalations_only}
        for one in read.channels
    ]  # fmt: skip
    lines = [
        f"{row['channel']}: {row['by']}; {', '.join(one.indicators)}; "
        f"owners: {', '.join(one.owners or ('all',))}; units: {', '.join(one.units or ('all',))}"
        + ("; escalations only" if one.escalations_only else "")
        for row, one in zip(rows, read.channels, strict=True)
    ]
    tell(as_json, {"channels": rows}, "\n".join(lines))


@app.command("test")
def send_test(
    settings: SettingsFile,
    channel: Annotated[str, typer.Option(help="which one")],
    zone: Annotated[str, typer.Option(help="time zone of the times in it")] = "UTC",
    as_json: Json = False,
) -> None:
    """Send one invented task by a channel, now.

    Example: neva notifications test notifications.yaml --channel pager
    """
    from neva.errors import BadInputError, UsageError
    from neva.languages.language import language_of
    from neva.notifications.doors import Refusal
    from neva.notifications.sending import send
    from neva.notifications.settings import read_notification_settings
    from neva.state.notifications import Notification, id_of

    read = read_notification_settings(settings)
    found = {one.name: one for one in read.channels}
    if channel not in found:
        message = f"--channel: none of this name; found {channel!r}; there are {', '.join(found)}"
        raise UsageError(message)
    at = datetime.now(UTC)
    one = Notification(
        id=id_of(channel, "neva.test", "test", at, "test", 0), channel=channel, rule="neva.test",
        version="1", title="Test of notifications: no patient is concerned", subject="test",
        stay="test", unit=None, indicator="info", owner="test", tier=0, since=at,
        deadline=at + timedelta(hours=1),
    )  # fmt: skip
    words = language_of(read.language, zone)
    try:
        send(found[channel], one, read, words, at=at)
    except Refusal as refusal:
        message = (
            f"{settings}: channel {channel} could not send; found: {refusal.problem}; check "
            "address, certificate and secret"
        )
        raise BadInputError(message) from None
    tell(as_json, {"channel": channel, "sent": True}, f"{channel}: sent")


@app.command()
def status(hospital: HospitalPath, as_json: Json = False) -> None:
    """Say what was sent by each channel, what waits and what was given up (90 days).

    Example: neva notifications status hospital
    """
    from neva.events.hospital import open_hospital
    from neva.state import read_state, state_of

    open_hospital(hospital)
    with read_state(state_of(hospital)) as state:
        counts, problems = state.notifications.counts(), state.notifications.problems()
    lines = [
        f"{channel}: {found['sent']} sent, {found['waiting']} waiting, "
        f"{found['not-needed']} no longer needed, {found['failed']} failed"
        + (f"; last problem: {problems[channel]}" if channel in problems else "")
        for channel, found in sorted(counts.items())
    ]
    content = {"channels": counts, "problems": problems}
    tell(as_json, content, "\n".join(lines) or "no notification in 90 days")
