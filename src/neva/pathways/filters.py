"""Choose cases (or activities) of a log; filters compose and say what they are.

A :class:`Filter` keeps whole cases. Filters are combined with ``&``, ``|`` and
``~`` and applied with :func:`keep_cases`; what was applied stands in the new
log's ``provenance``. Keeping some *activities* changes cases from inside, so
it has functions of its own: :func:`keep_activities`,
:func:`keep_most_common_activities`, :func:`keep_readable_activities`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from neva.errors import UsageError
from neva.languages.english import part
from neva.pathways._kernels import MISSING_TIME, contains_step, in_parallel, ranges
from neva.pathways.log import ActivityLog
from neva.pathways.variants import find_variants

__all__ = [
    "READABLE_ACTIVITIES",
    "Filter",
    "cases_in",
    "contained",
    "contains",
    "follows",
    "intersecting",
    "keep_activities",
    "keep_cases",
    "keep_most_common_activities",
    "keep_readable_activities",
    "outcome_is",
    "readable_share",
    "started_in",
    "touches_unit",
    "variant_share",
    "variant_top",
]

#: A map of more activities is no longer read, but searched.
READABLE_ACTIVITIES: Final = 30

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Filter:
    """A question about each case, and the question in words.

    Attributes
    ----------
    words : str
    keep : callable
        Takes a log, returns a bool per case.
    """

    words: str
    keep: Callable[[ActivityLog], np.ndarray]

    def __and__(self, other: Filter) -> Filter:
        return Filter(
            f"({self.words} and {other.words})", lambda log: self.keep(log) & other.keep(log)
        )

    def __or__(self, other: Filter) -> Filter:
        return Filter(
            f"({self.words} or {other.words})", lambda log: self.keep(log) | other.keep(log)
        )

    def __invert__(self) -> Filter:
        return Filter(f"not ({self.words})", lambda log: ~self.keep(log))


def keep_cases(log: ActivityLog, *filters: Filter) -> ActivityLog:
    """Apply filters one after the other.

    Parameters
    ----------
    log : ActivityLog
    *filters : Filter
        Each sees what the ones before it left: ``variant_top(10)`` after
        ``contains("ICU")`` means the ten most frequent variants with ICU.

    Returns
    -------
    ActivityLog

    Examples
    --------
    >>> import polars as pl
    >>> from neva.pathways import log_from_frame
    >>> log = log_from_frame(pl.DataFrame({
    ...     "case": ["1", "1", "2"], "activity": ["a", "b", "a"], "sequence": [1, 2, 1]}))
    >>> kept = keep_cases(log, contains("a"), ~contains("b"))
    >>> kept.cases["case_id"].to_list(), kept.provenance
    (['2'], ('contains a', 'not (contains b)'))
    """
    for chosen in filters:
        log = log.select(chosen.keep(log), chosen.words)
    return log


def _microseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise UsageError(
            f"time window: {moment.isoformat()} has no time zone; give it one "
            "(datetime(..., tzinfo=ZoneInfo('Europe/Moscow')))"
        )
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _window(start: datetime, end: datetime) -> tuple[int, int, str]:
    a, b = _microseconds(start), _microseconds(end)
    if b <= a:
        raise UsageError(
            f"time window: the end {end.isoformat()} is not after the start {start.isoformat()}; "
            "exchange them"
        )
    return a, b, f"[{start.isoformat()}, {end.isoformat()})"


def started_in(start: datetime, end: datetime) -> Filter:
    """Keep cases whose first known time lies in [start, end)."""
    a, b, words = _window(start, end)
    return Filter(f"started in {words}", lambda log: (log.spans[0] >= a) & (log.spans[0] < b))


def intersecting(start: datetime, end: datetime) -> Filter:
    """Keep cases with some time in [start, end): started before its end, not ended before it."""
    a, b, words = _window(start, end)
    return Filter(
        f"intersecting {words}",
        lambda log: (log.spans[0] != MISSING_TIME) & (log.spans[0] < b) & (log.spans[1] >= a),
    )


def contained(start: datetime, end: datetime) -> Filter:
    """Keep cases that lie in [start, end) from first to last known time."""
    a, b, words = _window(start, end)
    return Filter(f"contained in {words}", lambda log: (log.spans[0] >= a) & (log.spans[1] < b))


def touches_unit(*units: str) -> Filter:
    """Keep cases that were in one of these units at some time (by their movements)."""
    return Filter(
        f"touches unit {' or '.join(units)}",
        lambda log: log.cases.select(
            pl.col("units").list.eval(pl.element().is_in(units)).list.any().fill_null(value=False)
        )["units"].to_numpy(),
    )


def outcome_is(*outcomes: str) -> Filter:
    """Keep cases with one of these outcomes; a case without outcome is not kept."""
    return Filter(
        f"outcome is {' or '.join(outcomes)}",
        lambda log: log.cases["outcome"].is_in(outcomes).fill_null(value=False).to_numpy(),
    )


def contains(*activities: str) -> Filter:
    """Keep cases with at least one event of one of these activities."""

    def keep(log: ActivityLog) -> np.ndarray:
        chosen = np.isin(log.activity, [log.index(name) for name in activities])
        running = np.concatenate([[0], np.cumsum(chosen)])
        return np.diff(running[log.offsets]) > 0

    return Filter(f"contains {' or '.join(activities)}", keep)


def follows(a: str, b: str, *, directly: bool = False) -> Filter:
    """Keep cases in which `b` comes some time after `a`, or as the very next event."""

    def keep(log: ActivityLog) -> np.ndarray:
        out = np.zeros(log.case_count, dtype=np.bool_)
        flags = np.zeros((2, len(log.labels)), dtype=np.bool_)
        flags[0, log.index(a)] = flags[1, log.index(b)] = True
        in_parallel(
            lambda _, first, last: contains_step(
                log.offsets, log.activity, flags[0], flags[1], first, last, directly, out
            ),
            ranges(log.offsets),
        )
        return out

    return Filter(f"{a} {'directly ' if directly else ''}followed by {b}", keep)


def variant_top(count: int) -> Filter:
    """Keep the cases of the most frequent variants, so many."""
    return Filter(
        f"the {count} most frequent variants",
        lambda log: find_variants(log).variant_of_case < count,
    )


def variant_share(share: float) -> Filter:
    """Keep the most frequent variants, as few as cover this share of cases (0–1)."""

    def keep(log: ActivityLog) -> np.ndarray:
        variants = find_variants(log)
        wanted = math.ceil(share * log.case_count - 1e-9)
        needed = int(np.searchsorted(np.cumsum(variants.count), wanted)) + 1 if wanted else 0
        return variants.variant_of_case < needed

    return Filter(f"the most frequent variants of {part(share)} of cases", keep)


def cases_in(case_ids: Iterable[str], *, words: str = "") -> Filter:
    """Keep these cases (by ``case_id``, text)."""
    wanted = sorted({str(case) for case in case_ids})
    return Filter(
        words or f"a set of {len(wanted)} cases",
        lambda log: log.cases["case_id"].is_in(wanted).to_numpy(),
    )


def keep_activities(log: ActivityLog, activities: Sequence[str]) -> ActivityLog:
    """Keep only the events of these activities; cases left without events go.

    Steps of the new log are steps between what was kept.
    """
    keep = np.zeros(len(log.labels), dtype=bool)
    keep[[log.index(name) for name in activities]] = True
    return log.project(keep, f"only {int(keep.sum())} of {len(keep)} activities")


def keep_most_common_activities(log: ActivityLog, share: float) -> ActivityLog:
    """Keep the activities that occur in the most cases: this share of them (0–1), at least one.

    The significance of an activity is its share of cases (Elkhovskaya et al.
    2023, doi:10.3390/a16010057); ties go by frequency, then by name.
    """
    from neva.pathways.map import discover_map

    nodes = discover_map(log).nodes.sort(
        ["cases", "frequency", "activity"], descending=[True, True, False]
    )
    count = max(1, math.ceil(share * nodes.height - 1e-9))
    return keep_activities(log, nodes["activity"].head(count).to_list())


def readable_share(log: ActivityLog) -> float:
    """Return the share (0-1) of a log's activities that a map still shows readably."""
    present = len(np.unique(log.activity))
    return min(1.0, READABLE_ACTIVITIES / max(present, 1))


def keep_readable_activities(log: ActivityLog) -> ActivityLog:
    """Keep as many activities as a map shows readably: :data:`READABLE_ACTIVITIES` at most."""
    share = readable_share(log)
    return log if share == 1 else keep_most_common_activities(log, share)
