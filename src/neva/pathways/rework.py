"""What is done more than once: repetitions, self-loops, returns and loops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from neva.pathways._kernels import count_loops, count_rework, in_parallel, ranges

if TYPE_CHECKING:
    from neva.pathways.log import ActivityLog

__all__ = ["Rework", "find_rework"]

# Loops are counted in a table of activities by activities.
_LOOP_ACTIVITIES = 2048


@dataclass(frozen=True, eq=False)
class Rework:
    """Repetitions per activity, and loops over another activity.

    Repetition is not waste: a laboratory value is measured daily on purpose.

    Attributes
    ----------
    activities : polars.DataFrame
        One row per activity:

        - ``activity`` (text), ``events``, ``cases`` (int64)
        - ``repeats``: events that are not the first of their activity in the case
        - ``repeating_cases``: cases with a repeat; ``share`` (0–1): of the
          cases that have the activity at all
        - ``self_loops``: repeats directly after the same activity;
          ``self_loop_cases``
        - ``returns``: repeats after something else; ``return_cases``
        - ``most``: the most events of the activity in one case
    loops : polars.DataFrame or None
        One row per pair of different activities with a loop, most cases first:
        ``activity`` (a), ``through`` (b), ``direct`` (int64: how often a, b, a
        stand in direct succession), ``cases`` (int64: cases with b anywhere
        between two a). None for a log of more than 2,048 activities.
    case_count : int
    """

    activities: pl.DataFrame
    loops: pl.DataFrame | None
    case_count: int

    def to_frame(self) -> pl.DataFrame:
        """Return the repetitions per activity."""
        return self.activities

    def to_chart(self) -> dict[str, Any]:
        """Return a Vega-Lite specification: share of cases that repeat each activity."""
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "data": {"values": self.activities.select("activity", "share", "cases").to_dicts()},
            "mark": "bar",
            "encoding": {
                "y": {"field": "activity", "type": "nominal", "sort": "-x", "title": None},
                "x": {
                    "field": "share",
                    "type": "quantitative",
                    "axis": {"format": "%"},
                    "title": "share of cases with the activity that repeat it",
                },
            },
        }


def find_rework(log: ActivityLog) -> Rework:
    """Count repetitions, self-loops, returns and loops.

    Parameters
    ----------
    log : ActivityLog

    Returns
    -------
    Rework

    Examples
    --------
    >>> import polars as pl
    >>> from neva.pathways import log_from_frame
    >>> log = log_from_frame(pl.DataFrame({
    ...     "case": ["1"] * 5, "activity": list("aabab"), "sequence": range(5)}))
    >>> find_rework(log).to_frame().select("activity", "repeats", "self_loops", "returns").rows()
    [('a', 2, 1, 1), ('b', 1, 0, 1)]
    """
    activities = len(log.labels)
    parts = ranges(log.offsets)
    counted = np.zeros((len(parts), 8, activities), dtype=np.int64)
    in_parallel(
        lambda part, first, last: count_rework(
            log.offsets, log.activity, first, last, counted[part]
        ),
        parts,
    )
    sums = counted.sum(axis=0)
    most = counted[:, 7].max(axis=0, initial=0)
    frame = pl.DataFrame(
        {
            "activity": pl.Series(log.labels, dtype=pl.String),
            "events": sums[0] + sums[1],
            "cases": sums[0],
            "repeats": sums[1],
            "repeating_cases": sums[2],
            "share": sums[2] / np.maximum(sums[0], 1),
            "self_loops": sums[3],
            "self_loop_cases": sums[4],
            "returns": sums[5],
            "return_cases": sums[6],
            "most": most,
        }
    )
    loops = _loops(log, parts) if activities <= _LOOP_ACTIVITIES else None
    return Rework(frame, loops, log.case_count)


def _loops(log: ActivityLog, parts: list[tuple[int, int]]) -> pl.DataFrame:
    activities = len(log.labels)
    direct = np.zeros((len(parts), activities, activities), dtype=np.int64)
    cases = np.zeros_like(direct)
    in_parallel(
        lambda part, first, last: count_loops(
            log.offsets, log.activity, first, last, direct[part], cases[part]
        ),
        parts,
    )
    by_case, by_step = cases.sum(axis=0), direct.sum(axis=0)
    a, b = np.nonzero(by_case)
    labels = pl.Series(log.labels, dtype=pl.String)
    return pl.DataFrame(
        {
            "activity": labels.gather(a),
            "through": labels.gather(b),
            "direct": by_step[a, b],
            "cases": by_case[a, b],
        }
    ).sort(["cases", "direct", "activity", "through"], descending=[True, True, False, False])
