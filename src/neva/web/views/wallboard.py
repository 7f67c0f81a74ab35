"""The wallboard: beds for a room, without a patient."""

from __future__ import annotations

from neva.web.pages import Asked, Column, Pages, Table, ViewModel
from neva.web.streams import Follows
from neva.web.views.now import RESTS_ON, answers_of, board_of, stats_of

__all__ = ["add_to"]


def wallboard(asked: Asked) -> ViewModel:
    """Show the same to a room: no names, large, refreshing."""
    words = asked.words
    board, _ = board_of(asked)
    rows = []
    for row in board.units.iter_rows(named=True):
        if row["usable"] is None and not row["present"]:
            continue
        rows.append(
            {
                "unit": row["title"],
                "present": row["present"],
                "usable": row["usable"],
                "free": row["free"],
                "reserved": row["reserved"],
                "_class": "bad" if (row["over"] or 0) > 0 else "",
            }
        )
    return ViewModel(
        words("Wallboard"),
        {"answers": answers_of(asked, board), "stats": stats_of(board)},
        (
            Table(
                "units",
                words("Units"),
                (
                    Column("unit", words("unit")),
                    Column("present", words("patients"), "number"),
                    Column("usable", words("beds"), "number"),
                    Column("free", words("free"), "number"),
                    Column("reserved", words("waiting"), "number"),
                ),
                rows,
                totals={
                    "unit": words("total"),
                    **{
                        name: sum(row[name] or 0 for row in rows)
                        for name in ("present", "usable", "free", "reserved")
                    },
                },
            ),
        ),
    )


def add_to(pages: Pages) -> None:
    """Add the page."""
    pages.add("/wallboard", wallboard, template="wallboard.html", follows=Follows(RESTS_ON))
