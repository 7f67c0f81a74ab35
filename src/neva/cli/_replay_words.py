"""What ``neva decide replay`` and ``neva decide log`` print: a table for each kind of moment."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from neva.cli.console import table

__all__ = ["tables"]

_STAYS: Final = ("cards_per_stay_with_card", "unknown_share")
_BY_DAY: Final = ("rule", "unit", "stays", "patient_days", "cards", "cards_per_100_days", *_STAYS)
_OUTCOMES: Final = (
    "rule",
    "unit",
    "outcome",
    "within",
    "decided_stays",
    "outcomes",
    "sensitivity",
    "decided_cards",
    "ppv",
    "lead_hours",
)
_DONE: Final = ("rule", "unit", "done_within_hours", "over_cards", "done_cards", "done_share")

#: When rules were asked, by kind of moment; hours are said with their number.
_ASKED: Final[dict[str, str]] = {
    "hours": "Evaluated every {hours:g} h of each stay",
    "starts": "Evaluated once, at the start of each stay",
    "discharges": "Evaluated once, just before each discharge",
    "orders": "Evaluated at each order they are about, as a draft",
}
_IN_LOG: Final[dict[str, str]] = {
    "hours": "For open records; patient-days of all stays",
    "starts": "At the start of stays; all that started",
    "discharges": "At discharges; all discharges",
    "orders": "At orders; all that the rule is about",
}
#: Why a rule could not be assessed.
_UNASSESSED: Final[dict[str, str]] = {
    "hours": "no stays are recorded, could not be assessed",
    "starts": "no stays are recorded, could not be assessed",
    "discharges": "no discharges are recorded, could not be assessed",
    "orders": "no orders that it is about are recorded, could not be assessed",
}
_MOMENTS: Final[dict[str, str]] = {
    "starts": "stays_begun",
    "discharges": "discharges",
    "orders": "orders",
}


def _burden(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    if kind == "hours":
        return rows.select(name for name in _BY_DAY if name in rows.columns)
    word = _MOMENTS[kind]
    names = {
        "rule": "rule",
        "unit": "unit",
        "moments": word,
        "cards": "cards",
        "cards_per_100_moments": f"cards_per_100_{word}",
        "unknown_share": "unknown_share",
    }
    return rows.select(
        pl.col(name).alias(shown) for name, shown in names.items() if name in rows.columns
    )


def tables(
    found: Any, *, every_hours: float, by_unit: bool = False, is_log: bool = False
) -> list[str]:
    """Return the lines of the tables of some figures.

    Parameters
    ----------
    found : neva.decisions.replay_figures.Figures
    every_hours : float
    by_unit : bool
        Also the rows of units.
    is_log : bool
        They are of a log, where charts were opened now and then.
    """
    lines: list[str] = []
    for kind in found.kinds:
        rows = found.of(kind)
        rows = rows if by_unit else rows.filter(pl.col("unit").is_null()).drop("unit")
        title = _IN_LOG[kind] if is_log else _ASKED[kind].format(hours=every_hours)
        lines += ["", f"{title}:"]
        assessed = rows.filter("assessed")
        if assessed.height:
            lines.append(table(_burden(assessed, kind), rows=200))
        lines += [
            f"{rule}: {_UNASSESSED[kind]}" for rule in rows.filter(~pl.col("assessed"))["rule"]
        ]
    rows = found.rules
    for title, mark, names in (
        ("Against the outcome", "outcome", _OUTCOMES),
        ("Done after the card, within its time limit", "done_within_hours", _DONE),
    ):
        if mark not in rows.columns:
            continue
        own = rows.filter(pl.col(mark).is_not_null())
        own = own if by_unit else own.filter(pl.col("unit").is_null()).drop("unit")
        if own.height:
            if mark == "outcome":
                hours = own["within_hours"].to_list()
                words = ["the stay" if one is None else f"{one:g} h" for one in hours]
                own = own.with_columns(pl.Series("within", words))
            shown = own.select(name for name in names if name in own.columns)
            lines += ["", f"{title}:", table(shown, rows=200)]
    return lines
