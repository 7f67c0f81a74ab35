"""Entries about stays, stored and being saved, in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from neva.events.operational_codes import CEILINGS, DELAY_REASONS, ISOLATION_KINDS, KINDS
from neva.operations.bed_board import BedBoard
from neva.web.pages import Asked, Column, Table

__all__ = ["entered_rows", "entered_table"]


def _reason(asked: Asked, code: str) -> str:
    kind = ISOLATION_KINDS.get(code)
    if kind is not None:
        return asked.words(kind)
    known = DELAY_REASONS.get(code)
    return asked.words(known[1]) if known is not None else code


def _entry_text(asked: Asked, kind: str, value: str | None) -> str | None:
    """Say in words what an entry of a kind says."""
    words = asked.words
    wanted = KINDS[kind].value if kind in KINDS else "text"
    if wanted == "confirmed":
        return words("confirmed") if value == "yes" else words("not confirmed")
    if value is None:
        return None
    if wanted in ("reason", "isolation"):
        return _reason(asked, value)
    if wanted == "unit":
        return asked.unit_title(value)
    if wanted == "ceiling" and value in CEILINGS:
        return words(CEILINGS[value][1])
    return value


def _entered_value(row: Mapping[str, Any]) -> str | None:
    """Return the value of a row of the store as it was entered."""
    wanted = KINDS[row["kind"]].value if row["kind"] in KINDS else "text"
    if wanted == "confirmed":
        return "yes" if row["confirmed"] else "no"
    found = row["reason"] or row["unit"] or row["text"] or row["note"]
    return None if found is None else str(found)


def entered_rows(
    asked: Asked, board: BedBoard, labels: Mapping[int, str], stays: Collection[int]
) -> list[dict[str, Any]]:
    """Return the entries in force for some stays, and those being saved.

    Returns
    -------
    list of dict
        ``id`` (None where it was not entered here), ``subject``, ``patient``,
        ``kind`` and ``value`` (in words), ``name`` (of the kind), ``time``,
        ``at``, ``actor`` and ``state``.
    """
    words, entries = asked.words, asked.server.state.entries
    waiting = [
        one for one in entries.unflushed() if one.stay is not None and int(one.stay) in stays
    ]
    gone = {one.id for one in waiting if one.withdrawn_at is not None}
    held = [
        row
        for row in board.entries.iter_rows(named=True)
        if row["stay_id"] in stays and row["entry"] not in gone
    ]
    actors = entries.actors([row["entry"] for row in held if row["entry"]])

    def titled(kind: str) -> str:
        return words(KINDS[kind].title) if kind in KINDS else kind

    rows = [
        {
            "id": row["entry"],
            "subject": row["subject_id"],
            "patient": labels.get(row["subject_id"], str(row["subject_id"])),
            "name": row["kind"],
            "kind": titled(row["kind"]),
            "value": _entry_text(asked, row["kind"], _entered_value(row)),
            "time": row["time"],
            "at": row["recorded"],
            "actor": actors.get(row["entry"]),
            "state": words("recorded"),
        }
        for row in held
    ]
    known = {row["id"] for row in rows}
    rows += [
        {
            "id": one.id,
            "subject": int(one.subject),
            "patient": labels.get(int(one.subject), one.subject),
            "name": one.kind,
            "kind": titled(one.kind),
            "value": _entry_text(asked, one.kind, one.value),
            "time": one.start,
            "at": one.at,
            "actor": one.actor,
            "state": words("being saved"),
        }
        for one in waiting
        if one.withdrawn_at is None and one.id not in known
    ]
    return rows


def entered_table(asked: Asked, rows: list[dict[str, Any]], *, with_patient: bool) -> Table:
    """Lay them out; `with_patient` where they are of several."""
    words = asked.words
    columns = (
        Column("patient", words("patient")),
        Column("kind", words("what")),
        Column("value", words("value")),
        Column("time", words("from"), "time"),
        Column("at", words("entered"), "time"),
        Column("actor", words("by")),
        Column("state", words("state")),
    )
    return Table("entries", words("Entries"), columns if with_patient else columns[1:], rows)
