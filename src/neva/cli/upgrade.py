"""``neva upgrade``: a hospital of an older format becomes one of the newest."""

from __future__ import annotations

import typer

from neva.cli.console import HospitalPath, Json, now, tell

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(upgrade)


def upgrade(hospital: HospitalPath, as_json: Json = False) -> None:
    """Bring a hospital that an earlier Neva wrote to the newest format; make a backup before.

    The first write would do the same. Older versions stay readable; an earlier Neva refuses
    the hospital from then on.

    Example: neva upgrade hospital
    """
    from neva.events.formats import FORMAT
    from neva.events.hospital import open_hospital

    opened = open_hospital(hospital)
    before = opened.upgrade(now=now())
    version = opened.manifest().version
    text = (
        f"format {before} is the newest: nothing to upgrade"
        if before == FORMAT
        else f"format {before} became format {FORMAT}, hospital version {version}"
    )
    tell(as_json, {"before": before, "format": FORMAT, "version": version}, text)
