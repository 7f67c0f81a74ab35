"""The format of a hospital's folder: which ones are read, and how an older one becomes the newest.

What a format added:

1. Tables, manifests, identities.
2. Places of live feeds and shifted dates in manifests; tables of messages.

Each format that is read is written further in the newest one: the first commit upgrades the
hospital. Its rows stay as they are, and its older versions are read as before.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from neva.errors import BadInputError
from neva.files.whole import write_whole

__all__ = ["FORMAT", "READ", "Settings", "read_settings", "upgrade"]

#: The format that is written.
FORMAT: Final = 2
#: Those that are read. No format is taken away from here while hospitals of it may be there.
READ: Final = (1, 2)


class Settings(BaseModel):
    """A hospital's settings (``hospital.json``): written once, and at an upgrade."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    hospital: str
    zone: str
    created: datetime


def read_settings(folder: Path) -> Settings:
    """Read a hospital's settings.

    Raises
    ------
    BadInputError
        They cannot be read, or a newer Neva wrote the hospital.
    """
    path = folder / "hospital.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        # The format first: what a newer one adds must not look like damage.
        format_ = found.get("format", 1) if isinstance(found, dict) else 1
        if isinstance(format_, bool) or not isinstance(format_, int) or format_ < 1:
            message = "the format is no whole number from 1"
            raise ValueError(message)
        settings = (
            Settings.model_validate({**found, "format": format_}) if format_ in READ else None
        )
    except (OSError, ValueError) as error:
        message = (
            f"{path}: the settings cannot be read; found "
            f"{type(error).__name__}; restore the file from a backup, or use a newer Neva"
        )
        raise BadInputError(message) from error
    if settings is None:
        message = (
            f"{path}: a newer Neva wrote this hospital, and this one neither reads nor writes it; "
            f"found format {format_}, known is {FORMAT}; use the Neva that wrote it, or a later one"
        )
        raise BadInputError(message)
    return settings


def upgrade(folder: Path) -> None:
    """Bring a hospital to the newest format; its writer does so just before a commit.

    One rename: an earlier Neva refuses the hospital from then on, before the first manifest
    is there that it would not understand. Ended in between, the hospital is one of the newest
    format whose versions are all older ones.
    """
    settings = read_settings(folder)
    if settings.format != FORMAT:
        newest = settings.model_copy(update={"format": FORMAT})
        write_whole(folder / "hospital.json", newest.model_dump_json(indent=1))
