"""Printed sheets of wards: the handover by unit, and the downtime census."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from neva.events.hospital import Hospital
from neva.operations.bed_board import BedBoard, bed_board
from neva.operations.ward_sheets import WardSheet, ward_sheet
from neva.reports.paper.beds import board_warnings
from neva.reports.paper.sheet import Column, Paper, Part, Sheet
from neva.reports.paper.words import words_for

__all__ = ["KEPT", "downtime_sheet", "handover_sheet", "write_downtime"]

#: Downtime sheets that are kept: two days of hours.
KEPT: Final = 48
_NAME: Final = re.compile(r"census-\d{8}T\d{4}Z\.html")


def _by_stay(frame: pl.DataFrame) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        found.setdefault(row["stay_id"], []).append(row)
    return found


def _lines(*parts: str) -> str:
    return "\n".join(part for part in parts if part)


def _entry_lines(entries: Sequence[dict[str, Any]], paper: Paper, *kinds: str) -> list[str]:
    """What is entered of some kinds, in words."""
    words, coded = paper.words, words_for(paper.words)
    lines = []
    for row in entries:
        if row["kind"] not in kinds:
            continue
        reason = coded.get(row["reason"] or row["text"] or "", row["reason"] or row["text"] or "")
        if row["kind"] == "expected-discharge":
            state = words("confirmed") if row["confirmed"] else words("not confirmed")
            lines.append(
                words("home %(time)s (%(state)s)", time=paper.time(row["time"]), state=state)
            )
        elif row["kind"] == "medically-fit":
            lines.append(words("medically fit since %(time)s", time=paper.time(row["time"])))
        elif row["kind"] == "delay":
            lines.append(words("delayed: %(reason)s", reason=reason))
        elif row["kind"] == "bed-request":
            lines.append(
                words("bed in %(unit)s requested at %(time)s", unit=row["unit"] or "–",
                      time=paper.time(row["time"]))
            )  # fmt: skip
        elif row["kind"] == "resuscitation":
            lines.append(coded["CARE//not-for-resuscitation"])
        elif row["kind"] == "ceiling":
            lines.append(reason or coded.get(row["code"], row["code"]))
        else:
            lines.append(reason)
    return lines


def handover_sheet(
    sheet: WardSheet, board: BedBoard, *, paper: Paper, made: datetime,
    units: Sequence[str] | None = None,
) -> Sheet:  # fmt: skip
    """Lay out a handover by unit: situation, background, assessment, recommendation (SBAR).

    Parameters
    ----------
    sheet : WardSheet
    board : BedBoard
        Of the same time.
    paper : Paper
    made : datetime
        Aware.
    units : sequence of str, optional
        Only these; by default every unit with patients, each on a new page.

    Notes
    -----
    The recommendation holds what is due: tasks, clocks, what is entered. Neva
    proposes no treatment here, and an empty cell means that nothing is recorded.
    """
    words = paper.words
    titles = dict(board.units.select("unit", "title").iter_rows())
    tasks, clocks = _by_stay(sheet.tasks), _by_stay(sheet.clocks)
    entries, late = _by_stay(sheet.entries), _by_stay(sheet.unobserved)
    columns = (
        Column(words("bed"), "short", 10),
        Column(words("patient"), "strong", 17),
        Column(words("Situation"), share=18),
        Column(words("Background"), share=16),
        Column(words("Assessment"), share=19),
        Column(words("Recommendation"), share=18),
    )
    parts: list[Part] = []
    wanted = list(units) if units is not None else sorted(set(sheet.patients["unit"].drop_nulls()))
    for unit in wanted:
        rows = []
        inside = sheet.patients.filter(pl.col("unit") == unit).sort("bed", "stay_id")
        for row in inside.iter_rows(named=True):
            stay = row["stay_id"]
            mine, todo = entries.get(stay, []), tasks.get(stay, [])
            rows.append(
                (
                    row["bed"] or "–",
                    paper.who(row["subject_id"]),
                    _lines(
                        *(task["title"] for task in todo),
                        *(
                            words("observations %(hours)s h overdue",
                                  hours=words.number(one["hours_overdue"], digits=1))
                            for one in late.get(stay, [])
                        ),
                        *_entry_lines(mine, paper, "isolation", "bed-request"),
                    ),
                    _lines(
                        words("day %(day)s, here since %(time)s", day=int(row["days"]) + 1,
                              time=paper.time(row["since"])),
                        *_entry_lines(mine, paper, "ceiling", "resuscitation"),
                    ),
                    _lines(
                        *(task["summary"] for task in todo),
                        *_entry_lines(mine, paper, "handover-note", "medically-fit", "delay"),
                    ),
                    _lines(
                        *(
                            words("%(who)s until %(time)s", who=task["owner"],
                                  time=paper.time(task["deadline"]))
                            for task in todo
                        ),
                        *(
                            words("%(measure)s: due %(time)s", measure=clock["title"],
                                  time=paper.time(clock["due"]))
                            for clock in clocks.get(stay, [])
                        ),
                        *_entry_lines(mine, paper, "expected-discharge"),
                    ),
                )
            )  # fmt: skip
        parts.append(
            Part(
                title=words("%(unit)s: %(n)s patients", unit=titles.get(unit, unit), n=len(rows)),
                columns=columns,
                rows=tuple(rows),
                empty=words("No patients."),
                on_new_page=bool(parts),
            )
        )
    warnings = (*((sheet.banner,) if sheet.banner else ()), *board_warnings(board, paper))
    return Sheet(
        title=words("Handover, %(time)s", time=paper.whole_time(sheet.now)),
        lead=(),
        warnings=warnings,
        parts=tuple(parts),
        made=made,
        of=sheet.now,
        identity=sheet.identity,
        definitions="",
        synthetic=sheet.synthetic,
        paper=paper,
        wide=True,
    )


def downtime_sheet(board: BedBoard, *, paper: Paper, made: datetime) -> Sheet:
    """List everybody by unit and bed, for work on paper while the system is down."""
    words = paper.words
    sheet = ward_sheet(board)
    entries = _by_stay(sheet.entries)
    titles = dict(board.units.select("unit", "title").iter_rows())
    columns = (
        Column(words("bed"), "short", 12),
        Column(words("patient"), "strong", 22),
        Column(words("admitted"), share=13),
        Column(words("isolation, ceiling"), share=18),
        Column(words("discharge, bed requests"), share=17),
        Column(words("notes during downtime"), "write", 18),
    )
    parts = []
    placed = board.patients.with_columns(pl.col("unit").fill_null(""))
    for (unit,), part in placed.group_by("unit", maintain_order=True):
        rows = tuple(
            (
                row["bed"] or "–",
                paper.who(row["subject_id"]),
                paper.time(row["admitted"]),
                _lines(*_entry_lines(entries.get(row["stay_id"], []), paper, "isolation",
                                     "ceiling", "resuscitation")),
                _lines(*_entry_lines(entries.get(row["stay_id"], []), paper, "expected-discharge",
                                     "medically-fit", "delay", "bed-request")),
                "",
            )
            for row in part.sort("bed", "stay_id").iter_rows(named=True)
        )  # fmt: skip
        name = titles.get(str(unit), str(unit)) if unit else words("no unit recorded")
        parts.append(
            Part(
                title=words("%(unit)s: %(n)s patients", unit=name, n=len(rows)),
                columns=columns,
                rows=rows,
            )
        )
    return Sheet(
        title=words("Downtime census, %(time)s", time=paper.whole_time(board.now)),
        lead=(
            words(
                "%(patients)s patients in %(units)s units. Events after %(time)s are not included.",
                patients=board.patients.height,
                units=board.patients["unit"].drop_nulls().n_unique(),
                time=paper.whole_time(board.now),
            ),
        ),
        warnings=board_warnings(board, paper),
        parts=tuple(parts),
        made=made,
        of=board.now,
        identity=board.identity,
        definitions="",
        synthetic=board.synthetic,
        paper=paper,
    )


def write_downtime(
    hospital: Hospital, folder: Path, now: datetime, *, paper: Paper | None = None, kept: int = KEPT
) -> Path:
    """Write the census of now into a folder, and drop the oldest ones.

    Parameters
    ----------
    hospital : Hospital
    folder : Path
        Made if absent, readable by its owner only; best on a machine that works
        without the network.
    now : datetime
        Aware: what was known then.
    paper : Paper, optional
        Names and language; by default pseudonyms, in English.
    kept : int
        So many sheets stay (at least 1); files of other names are not touched.

    Returns
    -------
    Path
        The sheet written: ``census-YYYYMMDDTHHMMZ.html`` (UTC), whole or not at all.
    """
    utc = now.astimezone(UTC)
    snapshot = hospital.snapshot(as_of=utc)
    board = bed_board(snapshot, at=utc)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    path = folder / f"census-{utc:%Y%m%dT%H%M}Z.html"
    downtime_sheet(board, paper=paper or Paper(zone=snapshot.zone), made=utc).write(path)
    old = sorted(file for file in folder.iterdir() if _NAME.fullmatch(file.name))
    for file in old[: max(0, len(old) - max(1, kept))]:
        # The one just written stays, even where the clock was put back.
        if file != path:
            file.unlink(missing_ok=True)
    return path
