"""What people entered, written into the store."""

from __future__ import annotations

from typing import Any

from neva.events.hospital import Hospital
from neva.intake.entered import Entry, append_entries
from neva.state import State

__all__ = ["flush"]


def flush(hospital: Hospital, state: State) -> dict[str, Any]:
    """Write entries that the store does not have yet, in one batch.

    Returns
    -------
    dict
        Counts: ``entries``, ``added``, ``retracted``, and the hospital ``version``.
    """
    waiting = state.entries.unflushed()
    if not waiting:
        return {"entries": 0, "added": 0, "retracted": 0, "version": hospital.manifest().version}
    entries = [
        Entry(
            id=one.id,
            subject_id=int(one.subject),
            stay_id=None if one.stay is None else int(one.stay),
            kind=one.kind,
            value=one.value,
            start=one.start,
            end=one.end,
            actor=one.actor,
            at=one.at,
            withdrawn_at=one.withdrawn_at,
            details=dict(one.details),
        )
        for one in waiting
    ]
    done = append_entries(hospital, entries, now=max(one.withdrawn_at or one.at for one in waiting))
    state.entries.flushed(waiting)
    return {
        "entries": len(entries),
        "added": done.added,
        "retracted": done.retracted,
        "version": done.version,
    }
