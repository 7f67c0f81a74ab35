"""The page of trajectories: where patients are after admission, and how they leave."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import polars as pl

from neva.flow.stays.trajectories import Trajectories
from neva.languages.english import number, share
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.flow import MOST_STATES, incidence_chart, occupation_chart
from neva.reports.pages.flow_words import listed, local
from neva.reports.pages.page import Cell, Figure, Page, Panel, Section, Table, Text

__all__ = ["trajectories_page"]

#: Days since admission in the table.
DAYS: Final = (0, 1, 3, 7, 14, 28, 60)


def trajectories_page(found: Trajectories, *, made: datetime, synthetic: bool) -> Page:
    """Lay out what happens to patients after admission.

    Parameters
    ----------
    found : Trajectories
    made : datetime
        Aware; printed on the page.
    synthetic : bool
        Synthetic patients: a banner says so.

    Returns
    -------
    Page
        Where patients are by days since admission, how they leave with
        intervals, and the counts that the estimates are made of.
    """
    seen = found.sojourns
    last = found.exits().group_by("exit", maintain_order=True).last()
    days = f"{found.horizon_days:g} days"
    level = share(found.level, digits=0)
    lead = [
        Text(
            f"{row['exit']}: {share(row['incidence'])} within {days} of admission "
            f"({level} interval {share(row['lower'])} to {share(row['upper'])})."
        )
        for row in last.iter_rows(named=True)
    ]
    if found.never_left:
        lead.append(
            Text(
                f"No departure was recorded from {listed(found.never_left)}: the estimate keeps "
                "patients there.",
                "warning",
            )
        )
    order = [*seen.states, *seen.exits]
    shown = [day for day in DAYS if day <= found.horizon_days]
    return Page(
        title="Patient trajectories",
        lead=tuple(lead),
        sections=(
            Section(
                "Where they are",
                (
                    Figure(
                        (
                            Panel(
                                to_svg(occupation_chart(found)),
                                f"Stacked areas: share of those admitted in {listed(order)}, "
                                f"from 0 to {days} after admission; the table below has the "
                                "numbers.",
                            ),
                        ),
                        _drawn(len(seen.states)),
                        size="large",
                    ),
                    _occupied(found, order, shown, level),
                ),
            ),
            Section(
                "How they leave",
                (
                    Figure(
                        tuple(
                            Panel(
                                to_svg(incidence_chart(found, row["exit"])),
                                f"Share {row['exit']} by days since admission, rising to "
                                f"{share(row['incidence'])} ({share(row['lower'])} to "
                                f"{share(row['upper'])}) at {days}.",
                                str(row["exit"]),
                            )
                            for row in last.iter_rows(named=True)
                        ),
                        f"Cumulative incidence with {level} limits: other ways of leaving count as "
                        "such, not as lost. Each drawing has its own scale.",
                        (("line", "estimate"), ("band90", f"{level} limits")),
                    ),
                ),
            ),
            Section("What it is made of", (_moves(found.counts),)),
        ),
        facts=(
            ("data version", seen.identity),
            ("cases", f"{number(found.cases)}, {number(found.completed)} sojourns ended"),
            ("left at once", f"{number(found.left_at_once)} cases, in no state at 0 days"),
            ("passed over", f"{number(found.passed_over)} open sojourns of no length"),
            ("known until", local(seen.now, seen.zone, with_year=True)),
            (
                "assumed",
                (
                    "cases are independent; open sojourns are censored; those seen late count "
                    "from then on (Aalen-Johansen)"
                ),
            ),
        ),
        made=made,
        synthetic=synthetic,
    )


def _drawn(states: int) -> str:
    description = "Colours are states, greys are exits; they add up to all admitted."
    if states <= MOST_STATES:
        return description
    return (
        f"{description} Of {states} states those with fewer days are one colour; the table has all."
    )


def _occupied(found: Trajectories, order: Sequence[str], shown: list[int], level: str) -> Table:
    frame = found.to_frame()
    kept = [day for day in shown if frame.filter(pl.col("days") == float(day)).height]
    rows = []
    for name in order:
        mine = {row["days"]: row for row in frame.filter(state=name).iter_rows(named=True)}
        cells = (
            Cell(
                share(mine[day]["probability"]),
                small=f"{share(mine[day]['lower'])} to {share(mine[day]['upper'])}",
            )
            for day in map(float, kept)
        )
        rows.append((Cell(name, is_text=True), *cells))
    return Table(
        f"Share of those admitted, with {level} limits, by days since admission",
        (Cell("state", is_text=True), *(Cell(f"{day} d") for day in kept)),
        tuple(rows),
    )


def _moves(counts: pl.DataFrame) -> Table:
    return Table(
        "Sojourns by where they went next; share of the sojourns of the state",
        (Cell("state", is_text=True), Cell("next", is_text=True), Cell("sojourns"), Cell("share")),
        tuple(
            (
                Cell(row["state"], is_text=True),
                Cell(row["next"] or "still there, or not known", is_text=True),
                Cell(number(row["sojourns"])),
                Cell(share(row["share"])),
            )
            for row in counts.iter_rows(named=True)
        ),
    )
