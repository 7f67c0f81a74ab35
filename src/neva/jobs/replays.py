"""Replay of the shipped rules over the hospital's past, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
    """Ask every rule where the bedside would, with what was known then.

    Each is judged by what it warns of.

    Returns
    -------
    dict
        ``rules`` and ``units`` (rows of :class:`neva.decisions.replay_figures.Figures`,
        without the figures that a rule has none of), ``overlap``, ``assumed_share``,
        ``optimistic``, ``identity``.
    """
    rules = [rule for name in programmes for rule in load_programme(name).rules]
    if progress is not None:
        progress(0, 2, "replay")
    made = replay(hospital.snapshot(), rules)
    if progress is not None:
        progress(1, 2, "figures")
    found = figures(made)
    rows = found.rows()
    return {
        "rules": [row for row in rows if row["unit"] is None],
        "units": [row for row in rows if row["unit"] is not None],
        "overlap": overlap(made).to_dicts(),
        "assumed_share": made.assumed_share,
        "optimistic": found.optimistic,
        "stays": made.stays.height,
        "every_hours": made.every_hours,
        "identity": made.identity,
        "synthetic": made.synthetic,
    }
