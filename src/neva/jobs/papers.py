"""The board's report, made by the worker: all measures of all programmes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from neva.access.identities import Identities
from neva.access.viewer import Viewer
from neva.definitions.programme import load_programme
from neva.errors import UsageError
from neva.events.hospital import Hospital
from neva.languages.language import chosen, language_of
from neva.operations.bed_board import bed_board
from neva.quality import run_measures
from neva.reports.paper.reviews import board_report_sheet
from neva.reports.paper.sheet import Paper, Person
from neva.reports.paper.wards import write_downtime
from neva.state import State
from neva.state.settings import WebSettings

__all__ = ["board_report", "write_census"]

#: For whom the census of each hour is written.
_SYSTEM = Viewer("neva", "Neva", "clinician", None, "", "")

#: Replaced in each answer by its own number used once.
NONCE = "NONCE-OF-THE-ANSWER"


def board_report(
    hospital: Hospital,
    programmes: Sequence[str],
    language: str,
    made: datetime,
    *,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Make the report; no patient is in it.

    Returns
    -------
    dict
        ``html``, and ``shared_html`` for those who see no patients: without
        small counts. Their style carries :data:`NONCE`.
    """
    words = language_of(language, hospital.settings.zone)
    snapshot = hospital.snapshot()
    loaded = [one for one in map(load_programme, programmes) if one.measures]
    runs = []
    for number, programme in enumerate(loaded):
        if progress is not None:
            progress(number, len(loaded) + 1, programme.name)
        runs.append(run_measures(snapshot, programme))
    if progress is not None:
        progress(len(loaded), len(loaded) + 1, "report")
    with chosen(words):
        paper = Paper(zone=hospital.settings.zone, words=words, when=words.weekday)
        whole, shared = (
            board_report_sheet(snapshot, runs, paper=paper, made=made, small_counts=small)
            for small in (True, False)
        )
        return {"html": whole.to_html(nonce=NONCE), "shared_html": shared.to_html(nonce=NONCE)}


def write_census(hospital: Hospital, state: State, settings: WebSettings) -> Path:
    """Write the census for a downtime, with names and record numbers; audited.

    Returns
    -------
    Path
        The sheet, in ``settings.downtime``.

    Raises
    ------
    UsageError
        The settings name no folder.
    """
    if settings.downtime is None:
        message = "downtime: no folder for the census; found none; give --downtime FOLDER"
        raise UsageError(message)
    clock = settings.now()
    manifest = hospital.manifest()
    at = (manifest.last or manifest.written) if settings.clock == "data" else clock
    board = bed_board(hospital.snapshot(as_of=at), at=at)
    subjects = board.patients["subject_id"].to_list()
    people = Identities(hospital, state).of(
        subjects, _SYSTEM, why="census for a downtime", at=clock
    )
    words = language_of(settings.language, hospital.settings.zone)
    with chosen(words):
        paper = Paper(
            zone=hospital.settings.zone,
            words=words,
            when=lambda moment: words.weekday(moment, at),
            names={
                subject: Person(
                    name=person.name or "–",
                    record=person.record_number or "",
                    born=words.day(person.birth_date) if person.birth_date else "",
                )
                for subject, person in people.items()
            },
        )
        return write_downtime(hospital, settings.downtime, at, paper=paper)
