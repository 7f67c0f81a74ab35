"""The directly-follows map: how often and how fast one activity follows another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from neva.pathways._kernels import (
    POSITION_UNIT,
    SUM_SHIFT,
    count_map,
    in_parallel,
    pair_steps,
    ranges,
    scatter_durations,
    segment_quantiles,
    segment_sums,
)

if TYPE_CHECKING:
    from neva.pathways.log import ActivityLog

__all__ = ["ActivityMap", "discover_map"]

# Up to this many activities every pair has a slot in a table (2,048 squared
# int64 are 32 MB); beyond, the pairs that occur are numbered first.
_DENSE_ACTIVITIES = 2048

_MICROSECONDS = 1e6


@dataclass(frozen=True, eq=False)
class ActivityMap:
    """A directly-follows map.

    Attributes
    ----------
    nodes : polars.DataFrame
        One row per activity that occurs, in the order of the log's labels:

        - ``activity`` (text)
        - ``frequency`` (int64): events
        - ``cases`` (int64): cases with at least one
        - ``starts``, ``ends`` (int64): cases that begin, end with it
        - ``position`` (float64, 0–1, may be missing): where in the case its
          first event stands, on average over cases of two or more events (0:
          first event, 1: last)
    edges : polars.DataFrame
        One row per pair of activities of which the second directly follows
        the first in some case, most frequent first:

        - ``source``, ``target`` (text)
        - ``frequency`` (int64): steps
        - ``cases`` (int64): cases with at least one such step
        - ``timed`` (int64): steps of which both times are known
        - ``median``, ``mean``, ``p90`` (float64 seconds, missing when `timed`
          is 0): of the timed steps; the median of an even number is the mean
          of the two in the middle, p90 interpolates linearly
    case_count, event_count : int
    case_kind : {"stay", "subject", "given"}
    ties : int
        Events whose order rests on the fallback (see ActivityLog.ties).
    left_out : mapping of str to int
        Events that are not in the log, by reason.
    hospital, activities : str
        Where the log came from.
    provenance : tuple of str
        Filters in words.

    References
    ----------
    van der Aalst WMP. A practitioner's guide to process mining: limitations of
    the directly-follows graph. Procedia Comput Sci 2019;164:321-328,
    doi:10.1016/j.procs.2019.12.189. Read it before reading a filtered map:
    steps of a filtered log are steps between what was kept.
    """

    nodes: pl.DataFrame
    edges: pl.DataFrame
    case_count: int
    event_count: int
    case_kind: str = "given"
    ties: int = 0
    left_out: Mapping[str, int] | None = None
    hospital: str = ""
    activities: str = ""
    provenance: tuple[str, ...] = ()

    @cached_property
    def steps(self) -> int:
        """Number of direct successions: events minus cases."""
        return int(self.edges["frequency"].sum())

    def to_frame(self) -> pl.DataFrame:
        """Return the edges, most frequent first."""
        return self.edges

    def to_chart(self) -> dict[str, Any]:
        """Return a Vega-Lite specification: steps per path as a matrix of activities."""
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "data": {"values": self.edges.select("source", "target", "frequency").to_dicts()},
            "mark": "rect",
            "encoding": {
                "y": {"field": "source", "type": "nominal", "title": "from"},
                "x": {"field": "target", "type": "nominal", "title": "to"},
                "color": {"field": "frequency", "type": "quantitative", "title": "steps"},
                "tooltip": [{"field": name} for name in ("source", "target", "frequency")],
            },
        }


def discover_map(log: ActivityLog) -> ActivityMap:
    """Count and time what directly follows what.

    Parameters
    ----------
    log : ActivityLog

    Returns
    -------
    ActivityMap

    Notes
    -----
    One counting pass, a counting sort of the durations by edge, and a
    selection of the wanted order statistics inside each edge; no sort of
    durations. Counts and sums are integers, so the result does not depend on
    the number of processor cores.

    Examples
    --------
    >>> import polars as pl
    >>> from neva.pathways import log_from_frame
    >>> log = log_from_frame(pl.DataFrame({
    ...     "case": ["1", "1", "1", "2", "2"], "activity": list("abcab"),
    ...     "sequence": [1, 2, 3, 1, 2]}))
    >>> discover_map(log).edges.select("source", "target", "frequency").rows()
    [('a', 'b', 2), ('b', 'c', 1)]
    """
    activities = len(log.labels)
    parts = ranges(log.offsets)
    dense = activities <= _DENSE_ACTIVITIES
    if dense:
        pairs = np.arange(activities * activities, dtype=np.int64)
        edge = np.empty(0, dtype=np.int32)
    else:
        edge, pairs = _number_pairs(log, parts)
    nodes = np.zeros((len(parts), activities, 6), dtype=np.int64)
    # Half as wide as int64: the counters of many activities stay in the cache.
    edges = np.zeros((len(parts), len(pairs), 4), dtype=np.int32)
    in_parallel(
        lambda part, first, last: count_map(
            log.offsets, log.activity, log.time, edge, first, last, dense, nodes[part], edges[part]
        ),
        parts,
    )
    timed = edges[:, :, 0].astype(np.int64) - edges[:, :, 2]
    quantiles, sums = _edge_times(log, edge, parts, timed, dense=dense)
    edge_counts = np.column_stack([edges[:, :, :2].sum(axis=0, dtype=np.int64), timed.sum(axis=0)])
    node_counts = nodes.sum(axis=0)
    frequency = node_counts[:, 2] + np.bincount(
        pairs // max(activities, 1), weights=edge_counts[:, 0], minlength=activities
    ).astype(np.int64)
    return ActivityMap(
        nodes=_node_frame(log, frequency, node_counts),
        edges=_edge_frame(log, pairs, edge_counts, quantiles, sums),
        case_count=log.case_count,
        event_count=log.event_count,
        case_kind=log.case_kind,
        ties=log.ties,
        left_out=log.left_out,
        hospital=log.hospital,
        activities=log.activities,
        provenance=log.provenance,
    )


def _number_pairs(log: ActivityLog, parts: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Give every step the number of its pair; return these and the pairs that occur."""
    edge = np.empty(log.event_count, dtype=np.int64)
    in_parallel(
        lambda _, first, last: pair_steps(
            log.offsets, log.activity, first, last, len(log.labels), edge
        ),
        parts,
    )
    pairs, numbers = np.unique(edge, return_inverse=True)
    if len(pairs) and pairs[0] < 0:  # last events of cases
        return (numbers - 1).astype(np.int32), pairs[1:]
    return numbers.astype(np.int32), pairs


def _edge_times(
    log: ActivityLog,
    edge: np.ndarray,
    parts: list[tuple[int, int]],
    timed: np.ndarray,
    *,
    dense: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (median, p90) in microseconds and the sum in two parts, per edge."""
    per_edge = timed.sum(axis=0)
    offsets = np.concatenate([[0], np.cumsum(per_edge)])
    # Part p writes behind what the parts before it write to the same edge.
    position = offsets[:-1] + np.cumsum(timed, axis=0) - timed
    durations = np.empty(offsets[-1], dtype=np.int64)
    in_parallel(
        lambda part, first, last: scatter_durations(
            log.offsets, log.activity, log.time, edge, first, last, dense, len(log.labels),
            position[part], durations,
        ),
        parts,
    )  # fmt: skip
    quantiles = np.empty((len(per_edge), 2), dtype=np.float64)
    sums = np.empty((len(per_edge), 2), dtype=np.int64)
    wanted = np.array([0.5, 0.9])

    def measure(_: int, first: int, last: int) -> None:
        segment_sums(durations, offsets, first, last, sums)
        segment_quantiles(durations, offsets, first, last, wanted, quantiles)

    in_parallel(measure, ranges(offsets))
    return quantiles, sums


def _node_frame(log: ActivityLog, frequency: np.ndarray, nodes: np.ndarray) -> pl.DataFrame:
    cases, starts, ends, placed, position = nodes[:, :5].T
    mean = np.where(placed > 0, position / np.maximum(placed, 1) / POSITION_UNIT, np.nan)
    return pl.DataFrame(
        {
            "activity": pl.Series(log.labels, dtype=pl.String),
            "frequency": frequency,
            "cases": cases,
            "starts": starts,
            "ends": ends,
            "position": pl.Series(mean).fill_nan(None),
        }
    ).filter(pl.col("frequency") > 0)


def _edge_frame(
    log: ActivityLog,
    pairs: np.ndarray,
    edges: np.ndarray,
    quantiles: np.ndarray,
    sums: np.ndarray,
) -> pl.DataFrame:
    labels = pl.Series(log.labels, dtype=pl.String)
    activities = max(len(log.labels), 1)
    found = np.flatnonzero(edges[:, 0])
    frequency, cases, timed = edges[found].T
    # Exact integers; the only rounding is the division.
    totals = [(int(h) << SUM_SHIFT) + int(rest) for h, rest in sums[found]]
    mean = [
        total / int(count) / _MICROSECONDS if count else None
        for total, count in zip(totals, timed, strict=True)
    ]
    return pl.DataFrame(
        {
            "source": labels.gather(pairs[found] // activities),
            "target": labels.gather(pairs[found] % activities),
            "frequency": frequency,
            "cases": cases,
            "timed": timed,
            "median": pl.Series(quantiles[found, 0] / _MICROSECONDS).fill_nan(None),
            "mean": pl.Series(mean, dtype=pl.Float64),
            "p90": pl.Series(quantiles[found, 1] / _MICROSECONDS).fill_nan(None),
        }
    ).sort(["frequency", "source", "target"], descending=[True, False, False])
