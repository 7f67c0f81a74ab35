"""``neva identities``: the names behind pseudonyms, for treating clinicians."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neva.cli.console import HospitalPath, Json, now, system_user, tell

__all__ = ["app"]

app = typer.Typer(
    help="The names behind pseudonyms, which only clinicians see.", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """Keep this a group although it has one command."""


@app.command()
def load(
    hospital: HospitalPath,
    file: Annotated[
        Path, typer.Argument(metavar="FILE.csv", help="local_id, family, given, birth_date")
    ],
    assigner: Annotated[
        str, typer.Option(metavar="NAME", help="who gave the local ids; as in the import")
    ],
    as_json: Json = False,
) -> None:
    """Load names and birth dates; they are stored separately, and no analysis reads them.

    Example: neva identities load hospital people.csv --assigner log
    """
    from neva.events.hospital import open_hospital
    from neva.events.people import read_people_file, write_people
    from neva.state import open_state, state_of

    opened = open_hospital(hospital)
    people, unknown = read_people_file(opened, file, assigner=assigner)
    named = write_people(opened.path, people)
    with open_state(state_of(opened.path)) as state:
        state.audit.append(
            at=now(),
            actor=f"{system_user()} (command line)",
            action="settings-changed",
            why="names of patients were loaded",
            details={"rows": people.height, "unknown": unknown},
        )
    text = (
        f"{people.height:,} people read, {unknown:,} of them named by no import yet; {named:,} "
        "patients have a name now"
    )
    tell(as_json, {"rows": people.height, "unknown": unknown, "named": named}, text)
