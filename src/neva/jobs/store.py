"""Questions about the whole store: activity logs, quality checks, counts of rows."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from neva.events.checks import check_hospital, read_thresholds
from neva.events.hospital import Hospital
from neva.pathways import ActivityFile, activity_log, artefacts, default_activities
from neva.pathways.log import NO_UNIT

__all__ = ["TABLES_COUNTED", "activity_log_of", "checks_of"]

TABLES_COUNTED: Final = (
    "subjects", "stays", "movements", "events", "units", "beds", "codes", "quarantine",
)  # fmt: skip


def activity_log_of(hospital: Hospital, kind: str) -> dict[str, Any]:
    """Draw an activity log and leave it where pages read it without copying it.

    Parameters
    ----------
    hospital : Hospital
    kind : {"units", "codes"}
        Units entered with outcomes, or every code.
    """
    snapshot = hospital.snapshot()
    activities = default_activities(snapshot) if kind == "units" else ActivityFile()
    log = activity_log(snapshot, activities)
    folder = artefacts.folder(snapshot.cache, snapshot.identity, activities.hash)
    return {
        "folder": folder.name,
        "cases": log.case_count,
        "events": log.event_count,
        "has_units": activities.movements != "none",
        "stays_without": log.left_out.get(NO_UNIT, 0),
    }


def checks_of(hospital: Hospital) -> dict[str, Any]:
    """Check the quality of a hospital's data, and count its rows."""
    snapshot = hospital.snapshot()
    return {
        "checks": check_hospital(snapshot).judged(read_thresholds()).to_frame().to_dicts(),
        "counts": {
            name: int(snapshot.stored(name).select(pl.len()).collect().item())
            for name in TABLES_COUNTED
        },
    }
