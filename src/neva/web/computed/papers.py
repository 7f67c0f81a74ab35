"""The board's report, made by the worker: all measures of all programmes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from neva.definitions.programme import load_programme
from neva.events.hospital import Hospital
from neva.quality import run_measures
from neva.reports.paper import Paper
from neva.reports.paper_reviews import board_report_sheet
from neva.web.languages import chosen, language_of

__all__ = ["board_report"]

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
        ``html``; its style carries :data:`NONCE`.
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
        paper = Paper(
            zone=hospital.settings.zone, words=words, when=words.weekday, language=words.code
        )
        sheet = board_report_sheet(snapshot, runs, paper=paper, made=made)
        return {"html": sheet.to_html(nonce=NONCE)}
