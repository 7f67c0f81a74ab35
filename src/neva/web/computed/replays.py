"""Replay of the shipped rules over the hospital's past, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from neva.decisions.replay import replay
from neva.decisions.replay_figures import figures, overlap
from neva.definitions.programme import load_programme
from neva.events.hospital import Hospital

__all__ = ["replay_of_rules"]


def replay_of_rules(
    hospital: Hospital,
    programmes: Sequence[str],
    *,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Ask every rule every hour of every stay, with what was known then.

    Returns
    -------
    dict
        ``rules`` and ``units`` (rows of :class:`neva.decisions.replay_figures.Figures`),
        ``overlap``, ``assumed_share``, ``optimistic``, ``outcome``, ``identity``.
    """
    loaded = [load_programme(name) for name in programmes]
    rules = [rule for one in loaded for rule in one.rules]
    outcome = next(
        (
            document
            for one in loaded
            for document in one.documents
            if document.id == "acute-care.deterioration"
        ),
        None,
    )
    if progress is not None:
        progress(0, 2, "replay")
    made = replay(hospital.snapshot(), rules, outcome=outcome)
    if progress is not None:
        progress(1, 2, "figures")
    found = figures(made)
    return {
        "rules": found.rules.filter(pl.col("unit").is_null()).to_dicts(),
        "units": found.rules.filter(pl.col("unit").is_not_null()).to_dicts(),
        "overlap": overlap(made).to_dicts(),
        "assumed_share": made.assumed_share,
        "optimistic": found.optimistic,
        "outcome": made.outcome,
        "stays": made.stays.height,
        "every_hours": made.every_hours,
        "horizon_hours": found.horizon_hours,
        "identity": made.identity,
        "synthetic": made.synthetic,
    }
