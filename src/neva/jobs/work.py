"""The work list of a hospital with its open clocks, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from neva.decisions.cards import hash_of
from neva.decisions.rules import Rule
from neva.decisions.tasks import Touched, WorkList, renewed_work_list, with_earlier_beginnings
from neva.decisions.work_list import work_list
from neva.definitions.programme import Programme, load_programme, programme_names
from neva.events.hospital import Hospital
from neva.events.snapshot import Snapshot
from neva.operations.bed_board import bed_board
from neva.operations.ward_sheets import WardSheet, open_clocks, ward_sheet
from neva.programmes.acute_care.outcomes import observation_plan
from neva.quality.measuring import MeasureRun
from neva.state import State

__all__ = ["Worked", "loaded_programmes", "work", "worked"]


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


@dataclass(frozen=True)
class Worked:
    """What a work list was made of: enough to make it again for some patients only.

    Attributes
    ----------
    content : dict
        See :func:`work`.
    listed : WorkList
    runs : tuple of MeasureRun
    rules : tuple of Rule
        The live ones.
    """

    content: dict[str, Any]
    listed: WorkList
    runs: tuple[MeasureRun, ...]
    rules: tuple[Rule, ...]


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
    snapshot = hospital.snapshot(as_of=at)
    return worked(snapshot, state, loaded_programmes(programmes), progress=progress).content


def loaded_programmes(names: Sequence[str]) -> list[Programme]:
    """Load programmes by name; those that are not known are left out."""
    return [load_programme(name) for name in names if name in programme_names()]


def worked(
    snapshot: Snapshot,
    state: State,
    programmes: Sequence[Programme],
    *,
    earlier: Worked | None = None,
    subjects: Collection[int] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Worked:
    """Make the work list of a view, of all patients or from an earlier one.

    Parameters
    ----------
    snapshot : Snapshot
        Its ``now`` is the time of the list.
    state : State
    programmes : sequence of Programme
    earlier : Worked, optional
        An earlier list of all: since when tasks are on it goes on, and what is
        known of other patients than `subjects` is taken from it.
    subjects : collection of int, optional
        Those of whom something was recorded since. Without them, or where
        other rules are live by now, everybody is looked at.
    progress : callable, optional

    Returns
    -------
    Worked
    """
    tell = progress or (lambda _done, _of, _words: None)
    at = snapshot.now
    live = _live_rules(programmes, state)
    if earlier is not None and [one.id for one in earlier.rules] != [one.id for one in live]:
        earlier = None
    only = None if earlier is None or subjects is None else sorted(subjects)
    touched = _touched(state)
    tell(0, 3, "rules")
    listed = work_list(
        snapshot, live, at=at, touched=touched, observations=observation_plan(), subjects=only
    )
    tell(1, 3, "measures")
    board = bed_board(snapshot, at=at)
    runs = open_clocks(snapshot, programmes, only)
    if earlier is not None and only is not None:
        listed = renewed_work_list(
            earlier.listed, listed, only, board.patients["stay_id"], live, touched=touched
        )
        runs = [
            _with_others(run, before, only) for run, before in zip(runs, earlier.runs, strict=True)
        ]
    if earlier is not None:
        listed = with_earlier_beginnings(listed, earlier.listed, live, touched=touched)
    tell(2, 3, "patients")
    sheet = ward_sheet(board, work=listed, runs=runs)
    content = _content(sheet, listed, live, programmes)
    return Worked(content, listed, tuple(runs), tuple(live))


def _with_others(run: MeasureRun, before: MeasureRun, subjects: Collection[int]) -> MeasureRun:
    """Add the cases of the other patients, as they were found before."""
    others = before.cases.filter(~pl.col("subject_id").is_in(list(subjects)))
    return replace(run, cases=pl.concat([others, run.cases]))


def _content(
    sheet: WardSheet, listed: WorkList, live: Sequence[Rule], programmes: Sequence[Programme]
) -> dict[str, Any]:
    titles = {rule.id: rule.title_ru for rule in live}
    measures = {
        one.id: one.title_ru or one.title for programme in programmes for one in programme.measures
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
        "now": sheet.now.isoformat(),
        "identity": sheet.identity,
        "synthetic": sheet.synthetic,
    }
