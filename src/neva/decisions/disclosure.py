"""Disclosure control: what roles that see no patients are shown of rules and their cards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from neva.statistics.disclosure import (
    FEWEST_FOR_QUANTILES,
    WITHHELD,
    is_small,
    withheld_parts,
)

__all__ = ["shared_burden", "shared_card", "shared_replay"]

#: Sections of a model card (see :mod:`neva.models.card`) that count patients by group.
_COUNTING: Final = (
    "Participants",
    "Sample size",
    "Missing data",
    "Subgroups",
    "Variants for sites with few tests",
)
_FLAGGED: Final = re.compile(r"Of (\d+) stays with the outcome (\d+) were flagged;.*")

_ANSWERS: Final = ("cards_shown", "accepted", "overridden", "without_feedback")


def shared_replay(row: Mapping[str, Any]) -> dict[str, Any]:
    """Withhold the figures of a rule's replay that rest on few patients.

    Parameters
    ----------
    row : mapping
        A row of :class:`neva.decisions.replay_figures.Figures`.
    """
    if not row.get("assessed", True):
        return dict(row)
    hidden = {name for name in ("stays", "cards", "quiet") if is_small(row[name] or 0)}
    if "moments" in row:
        hidden |= _few_moments(row)
    if "cards" in hidden:
        hidden |= {"cards_per_100_days", "cards_per_100_moments"}
    with_card = row["stays_with_card"] or 0
    if is_small(with_card) or is_small(row["stays"] - with_card):
        hidden.add("cards_per_stay_with_card")
    if row.get("outcomes") is not None:
        hidden |= _few_outcomes(row)
    if row.get("over_cards") is not None:
        hidden |= _few_over_cards(row, cards_hidden="cards" in hidden)
    return {name: WITHHELD if name in hidden else value for name, value in row.items()}


def _few_outcomes(row: Mapping[str, Any]) -> set[str]:
    """Name the figures that rest on few stays with or without the outcome, warned of or not."""
    stays, outcomes, warned = row["stays"], row["outcomes"], row["warned"] or 0
    hidden = set()
    decided = row.get("decided_stays", stays)
    if is_small(decided) or is_small(stays - decided):
        hidden.add("decided_stays")
    if any(is_small(of) for of in (outcomes, stays - outcomes, decided - outcomes)):
        hidden |= {"outcomes", "sensitivity"}
    if is_small(warned) or is_small(outcomes - warned):
        hidden.add("sensitivity")
    if warned < FEWEST_FOR_QUANTILES:
        hidden.add("lead_hours")
    true = row["true_cards"] or 0
    if is_small(true) or is_small((row["decided_cards"] or 0) - true):
        hidden.add("ppv")
    return hidden


def _few_over_cards(row: Mapping[str, Any], *, cards_hidden: bool) -> set[str]:
    """Name the figures that rest on few cards whose time limit has passed, done or not."""
    over, done = row["over_cards"], row["done_cards"]
    hidden = set()
    if is_small(over) or is_small(row["cards"] - over):
        hidden.add("over_cards")
    if is_small(done) or is_small(over - done) or "over_cards" in hidden:
        hidden |= {"done_cards", "done_share"}
    if "done_cards" in hidden and cards_hidden:
        hidden.add("over_cards")
    return hidden


def _few_moments(row: Mapping[str, Any]) -> set[str]:
    """Name the figures that rest on few discharges or orders, with or without a card."""
    moments, cards = row["moments"], row["cards"] or 0
    hidden = set()
    if is_small(moments) or is_small((row.get("recorded") or moments) - moments):
        hidden |= {"moments", "cards_per_100_moments"}
    if is_small(moments - cards):
        hidden |= {"cards", "cards_per_100_moments"}
    return hidden


def shared_card(card: str, unsaid: str) -> str:
    r"""Leave out of a model card the sections that count patients by group.

    Parameters
    ----------
    card : str
        Markdown, as :mod:`neva.models.card` writes it.
    unsaid : str
        What stands there instead.

    Examples
    --------
    >>> card = "# Model\n\n### Subgroups\n\n| age | 3 |\n\n### Usability\n\nNone."
    >>> shared_card(card, "not shown")
    '# Model\n\n### Subgroups\n\nnot shown\n\n### Usability\n\nNone.'
    """

    def flagged(found: re.Match[str]) -> str:
        outcomes, some = int(found[1]), int(found[2])
        tells = is_small(outcomes) or is_small(some) or is_small(outcomes - some)
        return unsaid if tells else found[0]

    lines: list[str] = []
    is_left_out = False
    for line in card.split("\n"):
        if line.startswith("#"):
            is_left_out = line.lstrip("# ") in _COUNTING
            lines += [line, "", unsaid, ""] if is_left_out else [line]
        elif not is_left_out:
            lines.append(_FLAGGED.sub(flagged, line))
    return "\n".join(lines)


def shared_burden(
    weeks: list[dict[str, Any]], reasons: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], bool]:
    """Withhold small counts of cards and answers, rule by rule.

    Parameters
    ----------
    weeks : list of dict
        ``period``, ``rule`` and counts of cards by answer.
    reasons : list of dict
        ``rule``, ``unit``, ``reason`` and the count ``with_reason``.

    Returns
    -------
    weeks, reasons : list of dict
        What is withheld of a rule stands in one row.
    is_whole : bool
        The sums over all rules may be shown.
    """
    shown_weeks, shown_reasons, is_whole = [], [], True
    for rule in dict.fromkeys(row["rule"] for row in weeks):
        mine = [row for row in weeks if row["rule"] == rule]
        why = [row for row in reasons if row["rule"] == rule]
        by_week = withheld_parts([[row[name] for name in _ANSWERS] for row in mine])
        rest = sum(row["overridden"] for row in mine) - sum(row["with_reason"] for row in why)
        by_reason = withheld_parts([*(row["with_reason"] for row in why), max(rest, 0)])
        is_whole &= not by_week.total
        shown_weeks += [
            row for row, is_hidden in zip(mine, by_week.parts, strict=True) if not is_hidden
        ]
        if by_week.parts.any():
            shown_weeks.append({**dict.fromkeys(mine[0], WITHHELD), "rule": rule})
        hides_all = by_week.total or by_reason.total
        hidden = [True] * len(why) if hides_all else by_reason.parts[:-1]
        shown_reasons += [row for row, is_hidden in zip(why, hidden, strict=True) if not is_hidden]
        if any(hidden):
            shown_reasons.append({**dict.fromkeys(why[0], WITHHELD), "rule": rule})
    return shown_weeks, shown_reasons, is_whole
