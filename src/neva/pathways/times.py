"""How long pathways take: whole cases, and from one activity to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from neva.languages.english import duration
from neva.pathways._kernels import MISSING_TIME, first_and_last, in_parallel, ranges

if TYPE_CHECKING:
    from neva.pathways.log import ActivityLog

__all__ = ["Durations", "throughput", "time_between"]

_QUANTILES = {"p10": 0.1, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95}


@dataclass(frozen=True, eq=False)
class Durations:
    """One duration per case, where there is one.

    Attributes
    ----------
    what : str
        What was measured, in words.
    seconds : ndarray of float64, shape (cases,)
        In the order of ``log.cases``; NaN where the case has none.
    counts : mapping of str to int
        Why cases have a duration or none; the values of the keys other than
        ``cases`` and ``before`` add up to ``cases``.
    log : ActivityLog
        The log that was measured.
    """

    what: str
    seconds: NDArray[np.float64]
    counts: dict[str, int]
    log: ActivityLog = field(repr=False)

    @cached_property
    def known(self) -> NDArray[np.float64]:
        """The durations that are there, ascending, in seconds."""
        return np.sort(self.seconds[~np.isnan(self.seconds)])

    @cached_property
    def summary(self) -> dict[str, float | None]:
        """Count, mean and quantiles in seconds.

        Quantiles interpolate linearly between neighbours (numpy's default);
        ``minimum``, ``p10``, ``p25``, ``median``, ``p75``, ``p90``, ``p95``,
        ``maximum``, ``mean``; missing when no case has a duration.
        """
        known = self.known
        if not len(known):
            names = ("minimum", *_QUANTILES, "maximum", "mean")
            return {"count": 0, **dict.fromkeys(names)}
        # np.quantile on sorted data, without its copy and partition.
        virtual = np.array(list(_QUANTILES.values())) * (len(known) - 1)
        below = np.floor(virtual).astype(np.int64)
        above = np.minimum(below + 1, len(known) - 1)
        part, low, high = virtual - below, known[below], known[above]
        quantiles = np.where(
            part >= 0.5, high - (high - low) * (1 - part), low + (high - low) * part
        )
        return {
            "count": len(known),
            "minimum": float(known[0]),
            **{name: float(q) for name, q in zip(_QUANTILES, quantiles, strict=True)},
            "maximum": float(known[-1]),
            "mean": float(known.mean()),
        }

    def within(self, limit_seconds: float) -> int:
        """Count the cases with a duration of at most so many seconds.

        Negative durations (the end came before the start) are within.
        """
        return int(np.searchsorted(self.known, limit_seconds, side="right"))

    def to_frame(self) -> pl.DataFrame:
        """Return one row per case: ``case_id`` (text), ``seconds`` (may be missing)."""
        return pl.DataFrame(
            {"case_id": self.log.cases["case_id"], "seconds": pl.Series(self.seconds)}
        ).with_columns(pl.col("seconds").fill_nan(None))

    def to_chart(self, bars: int = 40) -> dict[str, Any]:
        """Return a Vega-Lite specification: a histogram up to the 99th per cent."""
        known = self.known
        top = float(known[int(0.99 * (len(known) - 1))]) if len(known) else 0.0
        unit, size = next(
            (
                u
                for u in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0))
                if top > 3 * u[1]
            ),
            ("seconds", 1.0),
        )
        shown = known[known <= top] / size
        counts, edges = np.histogram(shown, bins=bars)
        values = [
            {"from": float(a), "to": float(b), "cases": int(n)}
            for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "title": self.what,
            "data": {"values": values},
            "mark": "bar",
            "encoding": {
                "x": {"field": "from", "bin": {"binned": True}, "type": "quantitative",
                      "title": unit},
                "x2": {"field": "to"},
                "y": {"field": "cases", "type": "quantitative", "title": "cases"},
            },
        }  # fmt: skip

    def __str__(self) -> str:
        summary = self.summary
        return (
            f"{self.what}: median {duration(summary['median'])}, "
            f"p90 {duration(summary['p90'])} ({summary['count']} of "
            f"{self.counts['cases']} cases)"
        )


def throughput(log: ActivityLog) -> Durations:
    """Measure every case from its first to its last known time.

    Parameters
    ----------
    log : ActivityLog

    Returns
    -------
    Durations
        Counts: ``cases``, ``timed``, ``no time known``. A case of one event
        takes 0 s.

    Notes
    -----
    An open case ends with its last event so far; filter open stays out when
    the question is about finished ones.
    """
    start, end = log.spans
    known = start != MISSING_TIME
    seconds = (end - start) / 1e6
    seconds[~known] = np.nan
    timed = int(known.sum())
    counts = {"cases": log.case_count, "timed": timed, "no time known": log.case_count - timed}
    return Durations("first to last event", seconds, counts, log)


def time_between(
    log: ActivityLog,
    start: str | Sequence[str],
    end: str | Sequence[str],
    *,
    start_at: Literal["first", "last"] = "first",
    end_at: Literal["first", "first after", "last"] = "first",
) -> Durations:
    """Measure the time from one activity to another in every case.

    Parameters
    ----------
    log : ActivityLog
    start, end : str or sequence of str
        Activities; of several, whichever comes first (or last).
    start_at : {"first", "last"}
        Which event of `start` starts the clock.
    end_at : {"first", "first after", "last"}
        Which event of `end` stops it. ``first``: the first in the case, also
        when it lies before the start; the duration is then negative, and
        counted as ``before``. ``first after``: the first one behind the start
        in the total order.

    Returns
    -------
    Durations
        Counts: ``cases``; ``timed``; ``no start`` (the case has no event of
        `start`); ``no end`` (a start but no such end); ``time unknown``; and
        ``before`` (timed and negative, a part of ``timed``).

    Notes
    -----
    The denominator is a choice: a treatment that was never given is in
    ``no end``, not in the durations. Print both.

    Examples
    --------
    >>> import polars as pl
    >>> from datetime import datetime
    >>> from neva.pathways import log_from_frame
    >>> log = log_from_frame(pl.DataFrame({
    ...     "case": ["1", "1", "2"], "activity": ["triage", "antibiotics", "triage"],
    ...     "time": [datetime(2024, 1, 1, 8), datetime(2024, 1, 1, 9, 30), datetime(2024, 1, 2)]}))
    >>> print(time_between(log, "triage", "antibiotics"))
    triage (first) to antibiotics (first): median 1.5 h, p90 1.5 h (1 of 2 cases)
    """
    starts, ends = _flags(log, start), _flags(log, end)
    everywhere = np.full(log.case_count, -1, dtype=np.int64)
    from_at = _positions(log, starts, everywhere)[0 if start_at == "first" else 1]
    has_start = from_at >= 0
    after = np.where(has_start, from_at, -1) if end_at == "first after" else everywhere
    to_at = _positions(log, ends, after)[1 if end_at == "last" else 0]
    has_both = has_start & (to_at >= 0)

    seconds = np.full(log.case_count, np.nan)
    from_time, to_time = log.time[from_at[has_both]], log.time[to_at[has_both]]
    known = (from_time != MISSING_TIME) & (to_time != MISSING_TIME)
    seconds[has_both] = np.where(known, (to_time - from_time) / 1e6, np.nan)
    counts = {
        "cases": log.case_count,
        "timed": int(known.sum()),
        "no start": int((~has_start).sum()),
        "no end": int((has_start & ~has_both).sum()),
        "time unknown": int((~known).sum()),
        "before": int((seconds[has_both] < 0).sum()),
    }
    what = f"{_names(start)} ({start_at}) to {_names(end)} ({end_at})"
    return Durations(what, seconds, counts, log)


def _names(activity: str | Sequence[str]) -> str:
    return activity if isinstance(activity, str) else " or ".join(activity)


def _flags(log: ActivityLog, activity: str | Sequence[str]) -> np.ndarray:
    flags = np.zeros(len(log.labels), dtype=np.bool_)
    for label in [activity] if isinstance(activity, str) else activity:
        flags[log.index(label)] = True
    return flags


def _positions(log: ActivityLog, chosen: np.ndarray, after: np.ndarray) -> np.ndarray:
    out = np.empty((2, log.case_count), dtype=np.int64)
    in_parallel(
        lambda _, first, last: first_and_last(
            log.offsets, chosen, log.activity, after, first, last, out
        ),
        ranges(log.offsets),
    )
    return out
