"""The work list of a hospital with its open clocks, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from neva.decisions.cards import hash_of
from neva.decisions.rules import Rule
from neva.decisions.work_list import Touched, work_list
from neva.definitions.programme import Programme, load_programme, programme_names
from neva.events.hospital import Hospital
from neva.operations.bed_board import bed_board
from neva.operations.ward_sheets import open_clocks, ward_sheet
from neva.programmes.acute_care.outcomes import observation_plan
from neva.state import State

__all__ = ["work"]


def _json_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    # Pseudonyms have 63 bits: as numbers they would not survive readers of JSON.
    ids = [name for name in ("subject_id", "stay_id") if name in frame.columns]
    times = frame.with_columns(pl.col(ids).cast(pl.String)) if ids else frame
    return [
        {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in row.items()
        }
        for row in times.iter_rows(named=True)
    ]


def _live_rules(programmes: Sequence[Programme], state: State) -> list[Rule]:
    """Return the rules that are live as they are written now."""
    states = {one.rule: one for one in state.rules.all()}
    return [
        rule
        for programme in programmes
        for rule in programme.rules
        if (known := states.get(rule.id)) is not None
        and known.state == "live"
        and known.hash == hash_of(rule)
    ]


def _touched(state: State) -> dict[tuple[str, str, datetime], Touched]:
    """Return what was done with tasks, by rule, stay and beginning."""
    found: dict[tuple[str, str, datetime], Touched] = {}
    for row in state.work.to_frame().iter_rows(named=True):
        key = (row["rule"], row["stay"], row["since"])
        if (one := state.work.of(*key)) is not None:
            found[key] = one
    return found


def work(
    hospital: Hospital,
    state: State,
    at: datetime,
    programmes: Sequence[str],
    *,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Make the work list: tasks of live rules, overdue observations, open clocks.

    Parameters
    ----------
    hospital : Hospital
    state : State
        Which rules are live, and what was done with tasks.
    at : datetime
        Aware; nothing later is used.
    programmes : sequence of str
        Whose rules and measures.
    progress : callable, optional

    Returns
    -------
    dict
        ``tasks``, ``clocks``, ``unobserved``, ``attention`` (lists of rows; the
        columns of :class:`neva.operations.ward_sheets.WardSheet`), ``looked_at``,
        ``banner``, ``rules`` (the live ones).
    """
    tell = progress or (lambda _done, _of, _words: None)
    snapshot = hospital.snapshot(as_of=at)
    loaded = [load_programme(name) for name in programmes if name in programme_names()]
    live = _live_rules(loaded, state)
    tell(0, 3, "rules")
    listed = work_list(
        snapshot,
        live,
        at=at,
        touched=_touched(state),
        observations=observation_plan(),
    )
    tell(1, 3, "measures")
    runs = open_clocks(snapshot, loaded)
    tell(2, 3, "patients")
    sheet = ward_sheet(bed_board(snapshot, at=at), work=listed, runs=runs)
    titles = {rule.id: rule.title_ru for rule in live}
    measures = {
        one.id: one.title_ru or one.title for programme in loaded for one in programme.measures
    }
    details = {
        (one.rule, str(one.stay_id)): {"detail": one.detail, "missing": list(one.missing)}
        for one in listed.tasks
    }
    return {
        "tasks": [
            {
                **row,
                "title_ru": titles.get(row["rule"], ""),
                **details.get((row["rule"], row["stay_id"]), {}),
            }
            for row in _json_rows(sheet.tasks)
        ],
        "clocks": [
            {**row, "title_ru": measures.get(row["measure"], "")}
            for row in _json_rows(sheet.clocks)
        ],
        "unobserved": _json_rows(sheet.unobserved),
        "attention": [
            {**row, "title_ru": titles.get(row["id"]) or measures.get(row["id"], "")}
            for row in _json_rows(sheet.attention)
        ],
        "looked_at": dict(sheet.looked_at),
        "banner": sheet.banner,
        "rules": [f"{rule.id} {rule.version}" for rule in live],
        "now": at.isoformat(),
        "identity": snapshot.identity,
        "synthetic": sheet.synthetic,
    }
