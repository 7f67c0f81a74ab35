"""Results of a replay as tables: one for each kind of moment, so that no blank is misread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neva.decisions.disclosure import shared_replay
from neva.decisions.rules import Rule
from neva.statistics.disclosure import WITHHELD
from neva.web.pages import Asked, Column, Table

__all__ = ["replay_tables", "rows_of_rule", "shown_rows", "warned_of"]


def shown_rows(asked: Asked, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rules' figures of the whole hospital as far as this role is shown them."""
    rows: list[dict[str, Any]] = content["rules"]
    return [shared_replay(row) for row in rows] if asked.sees_large_counts_only else rows


def rows_of_rule(asked: Asked, content: Mapping[str, Any], rule: str) -> list[dict[str, Any]]:
    """Return one rule's figures: of the whole hospital, and of units."""
    whole = [row for row in shown_rows(asked, content) if row["rule"] == rule]
    units = [row for row in content["units"] if row["rule"] == rule]
    if asked.sees_large_counts_only and units:
        # A stay is in several units: what is left of one would tell of others.
        columns = ("rule", "version", "asked_at", "assessed", "outcome", "outcome_ru",
            "within_hours", "done_within_hours")  # fmt: skip
        one = {name: value if name in columns else WITHHELD for name, value in units[0].items()}
        units = [one]
    return whole + units


def _burden(asked: Asked, first: Column, kind: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    words = asked.words
    titles = {
        "hours": words("Burden of rules for an open record, evaluated every hour of each stay"),
        "starts": words("Burden of rules evaluated at the start of each stay"),
        "discharges": words("Burden of rules evaluated just before each discharge"),
        "orders": words("Burden of rules evaluated at each order that they are about"),
    }
    cards = (
        Column("cards", words("cards"), "number"),
        Column("quiet", words("suppressed"), "number"),
    )
    if kind == "hours":
        own: tuple[Column, ...] = (
            Column("stays", words("stays in the population"), "number"),
            *cards,
            Column("cards_per_100_days", words("per 100 patient-days"), "number", 1),
            Column("cards_per_stay_with_card", words("per stay with a card"), "number", 1),
        )
    else:
        names = {
            "starts": (words("admissions"), words("per 100 admissions")),
            "discharges": (words("discharges"), words("per 100 discharges")),
            "orders": (words("orders"), words("per 100 orders")),
        }[kind]
        own = (
            Column("moments", names[0], "number"),
            *cards,
            Column("cards_per_100_moments", names[1], "number", 1),
        )
    return Table(f"replay-{kind}", titles[kind], (first, *own), rows)


def _within(asked: Asked, hours: float | None) -> str:
    words = asked.words
    return words("until the end of the stay") if hours is None else words.duration(hours * 3600)


def warned_of(asked: Asked, rule: Rule) -> str:
    """Say what a rule warns of, and within which time window."""
    words, outcome = asked.words, rule.warns_of
    if outcome is None:
        return words("no outcome: it checks an order or reminds of a step")
    title = outcome.title_ru if words.code == "ru" else outcome.title
    return f"{title}, {_within(asked, outcome.within_hours)}"


def replay_tables(
    asked: Asked, rows: Sequence[Mapping[str, Any]], first: Column
) -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """Return the tables of some figures, and the rules that could not be assessed.

    Parameters
    ----------
    asked : Asked
    rows : sequence of mapping
        Of :func:`shown_rows` or :func:`rows_of_rule`, with what `first` names.
    first : Column
        What identifies the rows.

    Returns
    -------
    tables : tuple of Table
    unassessed : tuple of str
        Sentences.
    """
    words = asked.words
    assessed = [row for row in rows if row["assessed"]]
    tables = [
        _burden(asked, first, kind, own)
        for kind in ("hours", "starts", "discharges", "orders")
        if (own := [row for row in assessed if row["asked_at"] == kind])
    ]
    warns = [
        {
            **row,
            "outcome": row["outcome_ru"] if words.code == "ru" else row["outcome"],
            "within": _within(asked, row["within_hours"]),
        }
        for row in assessed
        if row.get("outcome") is not None
    ]
    if warns:
        columns: tuple[Column, ...] = (
            first,
            Column("outcome", words("what it warns of")),
            Column("within", words("time window")),
            Column("decided_stays", words("stays whose outcome is known"), "number"),
            Column("outcomes", words("outcomes"), "number"),
            Column("sensitivity", words("sensitivity"), "share", 0),
            Column("ppv", words("positive predictive value"), "share", 0),
            Column("lead_hours", words("lead time, median"), "hours"),
        )
        caption = words("Against the outcome that each rule warns of")
        tables.append(Table("replay-outcomes", caption, columns, warns))
    done = [row for row in assessed if row.get("done_within_hours") is not None]
    if done:
        columns = (
            first,
            Column("done_within_hours", words("time limit of the card"), "hours"),
            Column("over_cards", words("cards whose time limit has passed"), "number"),
            Column("done_cards", words("done after the card"), "number"),
            Column("done_share", words("share done"), "share", 0),
        )
        caption = words(
            "Rules that check an order or remind of a step: there is no outcome to warn of, so the "
            "table shows whether the step was done within the card's time limit"
        )
        tables.append(Table("replay-done", caption, columns, done))
    why = {
        "hours": words("no stays are recorded"),
        "starts": words("no stays are recorded"),
        "discharges": words("no discharges are recorded"),
        "orders": words("no orders that it is about are recorded"),
    }
    unassessed = tuple(
        words(
            "%(rule)s: could not be assessed, %(why)s.", rule=row["rule"], why=why[row["asked_at"]]
        )
        for row in rows
        if not row["assessed"]
    )
    return tuple(tables), unassessed
