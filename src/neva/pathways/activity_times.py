"""Duration of activities, and waiting times before them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl

from neva.pathways.log import MISSING_TIME, ActivityLog

__all__ = ["ACTIVITY_TIMES", "activity_times"]

#: Columns of the times of activities, and their types.
ACTIVITY_TIMES: Final[dict[str, Any]] = {
    "activity": pl.String,
    "frequency": pl.Int64,
    "ended": pl.Int64,
    "ended_cases": pl.Int64,
    **dict.fromkeys(("processing_median", "processing_mean", "processing_p90"), pl.Float64),
    "waited": pl.Int64,
    "waited_cases": pl.Int64,
    **dict.fromkeys(("waiting_median", "waiting_mean", "waiting_p90"), pl.Float64),
    "overlapping": pl.Int64,
}


def activity_times(log: ActivityLog) -> pl.DataFrame:
    """Measure processing and waiting times separately: the two parts of a step between two starts.

    Parameters
    ----------
    log : ActivityLog

    Returns
    -------
    polars.DataFrame
        Columns of :data:`ACTIVITY_TIMES`, most frequent activity first:
        ``frequency`` (events), ``ended`` (those whose end is known) of ``ended_cases``, with
        ``processing_median``, ``_mean``, ``_p90`` (seconds from beginning to
        end); ``waited`` (those of which both their beginning and that of
        something before them in the case is known) of ``waited_cases``, with
        ``waiting_median``, …
        (seconds from when everything before had ended; 0 where something still
        went on), and ``overlapping``, how many of these began before what came
        before them had ended. Quantiles interpolate linearly; missing where
        there is nothing to measure.

    Notes
    -----
    An activity without a known end counts as over when it began: waiting after
    it is as long as the step. An end before the beginning is no end.

    Examples
    --------
    >>> import polars as pl
    >>> from datetime import datetime
    >>> from neva.pathways import log_from_frame
    >>> log = log_from_frame(pl.DataFrame({
    ...     "case": ["1", "1"], "activity": ["scan", "report"],
    ...     "time": [datetime(2024, 1, 1, 8), datetime(2024, 1, 1, 10)],
    ...     "end": [datetime(2024, 1, 1, 8, 30), None]}))
    >>> times = activity_times(log).sort("activity", descending=True)
    >>> times.select("activity", "processing_median", "waiting_median").rows()
    [('scan', 1800.0, None), ('report', None, 5400.0)]
    """
    missing = np.full(log.event_count, MISSING_TIME)
    frame = pl.DataFrame(
        {
            "activity": log.activity,
            "case": np.repeat(np.arange(log.case_count), log.lengths),
            "begin": log.time,
            "end": missing if log.end is None else log.end,
        }
    ).with_columns(pl.when(pl.col(name) != MISSING_TIME).then(name) for name in ("begin", "end"))
    ended = pl.when(pl.col("end") >= pl.col("begin")).then("end")
    # The latest end of all that came before in the case.
    over = pl.coalesce(ended, "begin").cum_max().over("case")
    timed = frame.with_columns(
        processing=(ended - pl.col("begin")) / 1e6,
        since=over.shift(1).over("case").forward_fill().over("case"),
    ).with_columns(waiting=(pl.col("begin") - pl.col("since")) / 1e6)
    waiting = pl.col("waiting").clip(lower_bound=0)
    found = (
        timed.group_by("activity")
        .agg(
            frequency=pl.len(),
            ended=pl.col("processing").count(),
            ended_cases=_cases_with("processing"),
            processing_median=pl.col("processing").median(),
            processing_mean=pl.col("processing").mean(),
            processing_p90=pl.col("processing").quantile(0.9, "linear"),
            waited=pl.col("waiting").count(),
            waited_cases=_cases_with("waiting"),
            waiting_median=waiting.median(),
            waiting_mean=waiting.mean(),
            waiting_p90=waiting.quantile(0.9, "linear"),
            overlapping=(pl.col("waiting") < 0).sum(),
        )
        .with_columns(
            pl.col("activity").replace_strict(dict(enumerate(log.labels)), return_dtype=pl.String)
        )
        .sort(["frequency", "activity"], descending=[True, False])
    )
    return found.select(pl.col(name).cast(kind) for name, kind in ACTIVITY_TIMES.items())


def _cases_with(name: str) -> pl.Expr:
    return pl.col("case").filter(pl.col(name).is_not_null()).n_unique()
