"""Sheets of the bed board: the bed meeting, the discharge list, the review of long stays."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from neva.operations.bed_board import BedBoard
from neva.reports.paper.sheet import Column, Paper, Part, Sheet
from neva.reports.paper.words import spread, words_for, words_of_change

__all__ = ["bed_meeting_sheet", "board_warnings", "discharge_sheet", "long_stay_sheet"]


def board_warnings(board: BedBoard, paper: Paper) -> tuple[str, ...]:
    """What must be known before the numbers: old data, and what is not known."""
    words, unknown = paper.words, board.unknown
    found = []
    if board.age_minutes is None:
        found.append(words("No data have been recorded yet: do not rely on this sheet."))
    elif board.is_stale:
        found.append(
            words(
                "The data are stale: nothing has been recorded for %(hours)s hours. Do not rely "
                "on this sheet.",
                hours=words.number(board.age_minutes / 60, digits=1),
            )
        )
    if unknown["patients_without_unit"]:
        found.append(
            words(
                "%(n)s of %(of)s patients have no recorded unit: they are not counted in any unit.",
                n=unknown["patients_without_unit"], of=board.patients.height,
            )
        )  # fmt: skip
    if unknown["patients_lost"]:
        found.append(
            words(
                "For %(n)s patients follow-up has ended: whether they are still here is not known.",
                n=unknown["patients_lost"],
            )
        )
    if unknown["beds_shared"]:
        found.append(words("%(n)s beds have more than one patient.", n=unknown["beds_shared"]))
    return tuple(found)


def _titles(board: BedBoard) -> dict[str, str]:
    return dict(board.units.select("unit", "title").iter_rows())


def _named(titles: dict[str, str], unit: str | None) -> str:
    return "–" if unit is None else titles.get(unit, unit)


def _lead(board: BedBoard, paper: Paper) -> tuple[str, ...]:
    words = paper.words
    if board.forecast_issued is None:
        return (words("There is no forecast: whether there will be enough beds is not known."),)
    lines = []
    for row in board.answers.iter_rows(named=True):
        if row["lowest"] is None:
            lines.append(words("By %(time)s: not known.", time=row["horizon"]))
            continue
        line = words(
            "By %(time)s the probability of enough beds is %(chance)s in the tightest group, "
            "%(group)s (%(expected)s expected, %(beds)s beds).",
            time=row["horizon"],
            chance=words.chance(row["lowest"]),
            group=row["shortest"],
            expected=words.number(row["expected"], digits=1),
            beds=row["usable"],
        )
        if row["lowest_with_waiting"] < row["lowest"]:
            line += " " + words(
                "With all current bed requests added: %(least)s.",
                least=words.chance(row["lowest_with_waiting"]),
            )
        lines.append(line)
    return tuple(lines)


def _units_part(board: BedBoard, paper: Paper) -> Part:
    words = paper.words
    outlook: dict[str, list[dict[str, Any]]] = {}
    for row in board.outlook.iter_rows(named=True):
        outlook.setdefault(row["unit"], []).append(row)
    horizons = [row["horizon"] for row in board.answers.iter_rows(named=True)]
    columns = [
        Column(words("unit"), "strong"),
        Column(words("present"), "number"),
        Column(words("beds"), "number"),
        Column(words("closed"), "number"),
        Column(words("free"), "number"),
        Column(words("over"), "number"),
        Column(words("bed requests"), "number"),
        Column(words("side rooms available"), "number"),
    ]
    for name in horizons:
        columns += [
            Column(words("arrivals by %(time)s", time=name), "number"),
            Column(words("departures by %(time)s", time=name), "number"),
            Column(words("shortfall risk %(time)s", time=name), "number"),
        ]
    rows = []
    for unit in board.units.iter_rows(named=True):
        side = (
            "–"
            if unit["side_rooms"] is None
            else words("%(free)s of %(all)s", free=unit["side_rooms_free"], all=unit["side_rooms"])
        )
        cells = [unit["title"], words.number(unit["present"])]
        cells += [
            words.number(unit[name]) for name in ("usable", "closed", "free", "over", "reserved")
        ]
        cells.append(side)
        for row in outlook.get(unit["unit"], []):
            cells += [
                spread(words, row["coming"], row["coming_low"], row["coming_high"]),
                spread(words, row["leaving"], row["leaving_low"], row["leaving_high"]),
                words.chance(row["short"]),
            ]
        rows.append(tuple(cells))
    return Part(
        title=words("Units"),
        columns=tuple(columns),
        rows=tuple(rows),
        notes=(
            words(
                "Beds: staffed or open. Arrivals and departures: expected number with a 90 %% "
                "prediction interval, up to the time given, transfers included; shortfall risk: "
                "the probability that more patients need a bed than there are beds. A dash: not "
                "known, as for units without recorded beds (%(n)s).",
                n=board.unknown["units_without_beds"],
            ),
        ),
    )


def _groups_part(board: BedBoard, paper: Paper) -> Part:
    words = paper.words
    known = board.groups.filter(pl.col("placed").is_not_null())
    horizons = [row["horizon"] for row in board.answers.iter_rows(named=True)]
    columns = [
        Column(words("group of units"), "strong"),
        Column(words("present"), "number"),
        Column(words("beds"), "number"),
        Column(words("waiting now"), "number"),
    ]
    for name in horizons:
        columns += [
            Column(words("expected at %(time)s", time=name), "number"),
            Column(words("enough beds"), "number"),
            Column(words("with all bed requests"), "number"),
        ]
    rows = []
    for (group,), part in known.group_by("group", maintain_order=True):
        at = {row["horizon"]: row for row in part.iter_rows(named=True)}
        first = next(iter(at.values()))
        cells = [
            str(group),
            *(words.number(first[name]) for name in ("present", "usable", "waiting")),
        ]
        for name in horizons:
            row = at.get(name)
            cells += (
                ["–", "–", "–"]
                if row is None
                else [
                    spread(words, row["expected"], row["expected_low"], row["expected_high"]),
                    words.chance(row["placed"]),
                    words.chance(row["placed_with_waiting"]),
                ]
            )
        rows.append(tuple(cells))
    return Part(
        title=words("Will there be enough beds?"),
        columns=tuple(columns),
        rows=tuple(rows),
        empty=words("There is no forecast for any group of units."),
        notes=(
            words(
                "The probability that everyone who needs a bed in a group of interchangeable "
                "units has one; beside it, the same if all patients now waiting were added to "
                "those expected: a lower bound, since the forecast already expects some of "
                "them. Units of a group are combined as if they filled independently unless the "
                "group was forecast as one."
            ),
        ),
    )


def _waiting_part(board: BedBoard, paper: Paper, *, with_rows: bool) -> Part:
    title = paper.words(
        "Awaiting a bed: %(n)s of %(of)s patients",
        n=board.waiting.height,
        of=board.patients.height,
    )
    return _waiting_rows(board, paper, title) if with_rows else Part(title=title)


def _waiting_rows(board: BedBoard, paper: Paper, title: str) -> Part:
    words, titles, coded = paper.words, _titles(board), words_for(paper.words)
    rows = tuple(
        (
            paper.who(row["subject_id"]),
            _named(titles, row["unit"]),
            _named(titles, row["wanted"]),
            coded.get(row["priority"] or "", coded[row["how"]]),
            words("yes") if row["side_room"] else "",
            paper.time(row["since"]),
            words.number(row["hours"], digits=1),
        )
        for row in board.waiting.iter_rows(named=True)
    )
    return Part(
        title=title,
        columns=(
            Column(words("patient"), "strong", 24),
            Column(words("current unit")),
            Column(words("requested unit")),
            Column(words("priority")),
            Column(words("side room")),
            Column(words("since"), "short"),
            Column(words("hours"), "number"),
        ),
        rows=rows,
        empty=words("No bed requests."),
    )  # fmt: skip


def _discharge_part(board: BedBoard, paper: Paper, *, to_write: bool, with_rows: bool) -> Part:
    words, titles, coded = paper.words, _titles(board), words_for(paper.words)
    counts = dict(board.discharges.group_by("state").len().iter_rows())
    title = words("Discharges today")
    texts = (
        words(
            "%(confirmed)s confirmed, %(possible)s possible, %(overdue)s past their expected "
            "date, %(fit)s medically fit without a date today; of %(of)s patients.",
            of=board.patients.height,
            **{name: counts.get(name, 0) for name in ("confirmed", "possible", "overdue", "fit")},
        ),
    )
    if not with_rows:
        return Part(title=title, texts=texts)
    columns = [
        Column(words("patient"), "strong", 22),
        Column(words("unit")),
        Column(words("bed"), "short"),
        Column(words("state")),
        Column(words("expected"), "short"),
        Column(words("medically fit since"), "short"),
        Column(words("blocked by")),
        Column(words("probability of discharge today"), "number"),
        Column(words("from length of stay alone"), "number"),
    ]
    if to_write:
        columns.append(Column(words("done"), "write", 12))
    rows = tuple(
        (
            paper.who(row["subject_id"]), _named(titles, row["unit"]), row["bed"] or "–",
            coded[row["state"]], paper.time(row["expected"]), paper.time(row["fit_since"]),
            coded.get(row["delay"], row["delay"]) if row["delay"] else "",
            words.chance(row["leaves_today"]), words.chance(row["leaves_today_by_lengths"]),
            *([""] if to_write else []),
        )
        for row in board.discharges.iter_rows(named=True)
    )  # fmt: skip
    return Part(
        title=title,
        texts=texts,
        columns=tuple(columns),
        rows=rows,
        empty=words("No date is recorded for today, and no patient is recorded as medically fit."),
        notes=(
            words(
                "The probability is based on the unit, the time spent there and entries (dates, "
                "medical fitness, reasons for delay), weighted by how far such entries came "
                "true here before; beside it, the probability from length of stay alone."
            ),
        ),
    )  # fmt: skip


def _electives_part(board: BedBoard, paper: Paper, *, with_rows: bool) -> Part:
    words, titles = paper.words, _titles(board)
    title = words(
        "Planned admissions of the next %(hours)s hours",
        hours=words.number(board.settings.elective_hours),
    )
    if not with_rows:
        at_risk = board.electives.filter(pl.col("at_risk").fill_null(value=False)).height
        planned, risky = words.number(board.electives.height), words.number(at_risk)
        text = words("%(n)s planned, %(at_risk)s of them at risk.", n=planned, at_risk=risky)
        return Part(title=title, texts=(text,))
    rows = tuple(
        (
            paper.who(row["subject_id"]), _named(titles, row["unit"]), paper.time(row["time"]),
            words.chance(row["short"]), words("at risk") if row["at_risk"] else "",
        )
        for row in board.electives.iter_rows(named=True)
    )  # fmt: skip
    return Part(
        title=title,
        columns=(
            Column(words("patient"), "strong", 30), Column(words("unit")),
            Column(words("time"), "short"),
            Column(words("chance that the unit is short then"), "number"), Column(""),
        ),
        rows=rows,
        empty=words("None recorded."),
    )  # fmt: skip


def _long_part(board: BedBoard, paper: Paper, *, whole: bool) -> Part:
    words, titles, coded = paper.words, _titles(board), words_for(paper.words)
    texts = tuple(
        words(
            "%(days)s days or longer: %(n)s of %(of)s in-patients; for %(without)s no reason "
            "for delay is recorded.",
            days=row["threshold"], n=row["stays"], of=row["inpatients"],
            without=row["without_reason"],
        )
        for row in board.long_stay_counts.iter_rows(named=True)
    )  # fmt: skip
    if not whole:
        return Part(title=words("Long stays"), texts=texts)
    rows = tuple(
        (
            paper.who(row["subject_id"]),
            f"{_named(titles, row['unit'])}\n{row['bed'] or ''}".strip(),
            words.number(row["days"], digits=0),
            words("%(time)s\n(%(days)s days)", time=paper.time(row["fit_since"]),
                  days=words.number(row["days_fit"], digits=0)) if row["fit_since"] else "–",
            coded.get(row["delay"], row["delay"]) if row["delay"] else words("no reason recorded"),
            paper.time(row["expected"]), "",
        )
        for row in board.long_stays.iter_rows(named=True)
    )  # fmt: skip
    return Part(
        title=words("In-patients by length of stay"),
        texts=texts,
        columns=(
            Column(words("patient"), "strong", 22), Column(words("unit, bed"), share=15),
            Column(words("days"), "number", 6), Column(words("medically fit since"), share=12),
            Column(words("reason for delay"), share=16), Column(words("expected"), share=10),
            Column(words("agreed: action, owner, by when"), "write", 19),
        ),
        rows=rows,
        empty=words("No patient has stayed this long."),
    )  # fmt: skip


def _changes_part(board: BedBoard, paper: Paper, *, with_rows: bool) -> Part:
    words, named = paper.words, words_of_change(paper.words)
    counts = board.change_counts()
    if not with_rows:
        # Who left a bed is a count of beds; who died is not.
        counts["discharge"] = counts.pop("discharge", 0) + counts.pop("death", 0)
        named = {**named, "discharge": words("discharges and deaths")}
    counted = ", ".join(f"{named[kind]} {count}" for kind, count in counts.items())
    return Part(
        title=words("Since the handover at %(time)s", time=paper.time(board.handover)),
        texts=(f"{counted}.",),
    )


def _sheet(
    board: BedBoard, paper: Paper, made: datetime, title: str, parts: tuple[Part, ...], *,
    lead: tuple[str, ...] = (), wide: bool = False, names_patients: bool = True,
) -> Sheet:  # fmt: skip
    return Sheet(
        title=title,
        lead=lead,
        warnings=board_warnings(board, paper),
        parts=parts,
        made=made,
        of=board.now,
        identity=board.identity,
        definitions="",
        synthetic=board.synthetic,
        paper=paper,
        wide=wide,
        names_patients=names_patients,
    )


def bed_meeting_sheet(
    board: BedBoard, *, paper: Paper, made: datetime, with_rows: bool = True
) -> Sheet:
    """Lay out what a bed meeting asks for: will beds suffice, where, bed requests, discharges.

    Parameters
    ----------
    board : BedBoard
    paper : Paper
        Language and people.
    made : datetime
        Aware: now of the clock.
    with_rows : bool
        Name patients, with bed, reason for delay and chance to leave; else
        count them only.
    """
    words = paper.words
    title = words("Bed meeting, %(time)s", time=paper.whole_time(board.now))
    parts = (
        _units_part(board, paper), _groups_part(board, paper),
        _waiting_part(board, paper, with_rows=with_rows),
        _discharge_part(board, paper, to_write=False, with_rows=with_rows),
        _electives_part(board, paper, with_rows=with_rows),
        _long_part(board, paper, whole=False), _changes_part(board, paper, with_rows=with_rows),
    )  # fmt: skip
    return _sheet(board, paper, made, title, parts, lead=_lead(board, paper), wide=True,
                  names_patients=with_rows)  # fmt: skip


def discharge_sheet(board: BedBoard, *, paper: Paper, made: datetime) -> Sheet:
    """List today's discharges with what blocks each, and room to tick them off."""
    title = paper.words("Discharge list, %(time)s", time=paper.whole_time(board.now))
    part = _discharge_part(board, paper, to_write=True, with_rows=True)
    return _sheet(board, paper, made, title, (part,), wide=True)


def long_stay_sheet(board: BedBoard, *, paper: Paper, made: datetime) -> Sheet:
    """List long stays with reason for delay, and room for what is agreed."""
    title = paper.words("Review of long stays, %(time)s", time=paper.whole_time(board.now))
    return _sheet(board, paper, made, title, (_long_part(board, paper, whole=True),), wide=True)
