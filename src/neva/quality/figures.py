"""Figures of measures: counts, rates and distributions with exact intervals.

A rate is met out of met and failed: only clocks that have closed. Everybody
else in the population is counted beside it: excluded, pending, unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from neva.definitions.documents import Measure
from neva.errors import UsageError
from neva.quality.measuring import MeasureRun
from neva.statistics.disclosure import FEWEST, FEWEST_FOR_QUANTILES, is_small
from neva.statistics.intervals import median_interval, proportion_interval, quantile_interval

__all__ = ["Figures", "exclusion_counts", "figures", "period_of_case", "suppressed"]

Every = Literal["all", "month", "quarter", "year", "week"]
_TRUNCATE: Final = {"month": "1mo", "quarter": "1q", "year": "1y", "week": "1w"}
_STATUSES: Final = ("met", "failed", "measured", "pending", "excluded", "unknown")


@dataclass(frozen=True)
class Figures:
    """Figures of measures, by group.

    Attributes
    ----------
    frame : polars.DataFrame
        ``measure``, ``period`` (date, start; null: all time), ``unit``?,
        ``stratum``?, counts of cases ``population``, ``met``, ``failed``,
        ``measured``, ``pending``, ``excluded``, ``unknown``, ``denominator``
        (closed clocks: met and failed, or measured), ``rate`` (0-1) with its
        exact interval ``low`` and ``high``; of a narrower denominator
        ``treated``, ``treated_met`` and ``treated_rate``; of the interval from
        clock start ``interval_n``, ``before_clock`` (negative ones) and
        ``interval_median`` (hours); ``ratio`` of sums, without an interval; of an
        observation ``median``, ``lower_quartile``, ``upper_quartile``, ``mean``; ``low``
        and ``high`` are of the median then.
    by : tuple of str
        What the rows are grouped by.
    every : str
        The periods.
    """

    frame: pl.DataFrame
    by: tuple[str, ...]
    every: str

    def to_frame(self) -> pl.DataFrame:
        """Return ``frame``."""
        return self.frame


def period_of_case(every: Every, zone: str) -> pl.Expr:
    """Return the first day of the period that a case belongs to; null for all time."""
    if every == "all":
        return pl.lit(None, dtype=pl.Date)
    return pl.col("placed").dt.convert_time_zone(zone).dt.date().dt.truncate(_TRUNCATE[every])


def _grouped(cases: pl.DataFrame, every: Every, zone: str, by: Sequence[str]) -> pl.DataFrame:
    frame = cases.with_columns(period_of_case(every, zone).alias("period"))
    columns: list[pl.Expr] = []
    for name in by:
        if name == "unit":
            continue
        columns.append(
            pl.col("strata")
            .list.eval(
                pl.element().filter(pl.element().struct.field("name") == name).struct.field("value")
            )
            .list.first()
            .alias("stratum")
        )
    frame = frame.with_columns(columns)
    if "stratum" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias("stratum"))
    if "unit" not in by:
        frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias("unit"))
    return frame


def _rates(frame: pl.DataFrame) -> pl.DataFrame:
    met, denominator = frame["met"].to_numpy(), frame["denominator"].to_numpy()
    estimates = proportion_interval(met, denominator).to_frame()
    treated = proportion_interval(frame["treated_met"].to_numpy(), frame["treated"].to_numpy())
    proportion = frame["measured"] == 0
    return frame.with_columns(
        rate=pl.when(proportion & (pl.col("denominator") > 0)).then(estimates["estimate"]),
        low=pl.when(proportion & (pl.col("denominator") > 0)).then(estimates["lower"]),
        high=pl.when(proportion & (pl.col("denominator") > 0)).then(estimates["upper"]),
        treated_rate=pl.when(pl.col("treated") > 0).then(treated.to_frame()["estimate"]),
    )


def _observed(values: Any, per: Any) -> dict[str, float | int | None]:
    """Distribution of an observation, or the ratio of sums."""
    known = np.asarray([v for v in values if v is not None], dtype=float)
    empty: dict[str, float | int | None] = dict.fromkeys(
        ("median", "lower_quartile", "upper_quartile", "mean", "ratio", "median_low", "median_high")
    )
    if not len(known):
        return empty
    bottoms = [p for p in per if p is not None]
    middle = median_interval(known)
    return {
        "median": middle.estimate,
        "lower_quartile": quantile_interval(known, 0.25).estimate,
        "upper_quartile": quantile_interval(known, 0.75).estimate,
        "mean": float(known.mean()),
        "ratio": float(known.sum() / sum(bottoms)) if bottoms and sum(bottoms) else None,
        "median_low": middle.lower,
        "median_high": middle.upper,
    }


def _with_stratifier(
    run: MeasureRun, measures: Sequence[str] | None, by: Sequence[str]
) -> list[Measure]:
    """Choose the measures asked for, of these such as have the stratifier; refuse two of them."""
    strata = [name for name in by if name != "unit"]
    if len(strata) > 1:
        message = f"by: one stratifier at a time; found {', '.join(strata)}; ask for one"
        raise UsageError(message)
    chosen = [run.measure(name) for name in measures] if measures else list(run.measures)
    if not strata:
        return chosen
    chosen = [one for one in chosen if strata[0] in {part.name for part in one.stratifiers}]
    if not chosen:
        known = sorted({part.name for one in run.measures for part in one.stratifiers})
        message = (
            f"by: no measure has the stratifier {strata[0]!r}; there are unit, {', '.join(known)}"
        )
        raise UsageError(message)
    return chosen


def figures(
    run: MeasureRun,
    *,
    measures: Sequence[str] | None = None,
    every: Every = "all",
    by: Sequence[str] = (),
) -> Figures:
    """Count the cases of measures and estimate their rates.

    Parameters
    ----------
    run : MeasureRun
        What was measured.
    measures : sequence of str, optional
        Ids; all of the run by default.
    every : {"all", "month", "quarter", "year", "week"}
        Periods of the hospital's calendar, [start, end); a case belongs to the
        period of its ``placed`` time.
    by : sequence of str
        ``unit``, or the name of one stratifier, or both.

    Returns
    -------
    Figures

    Raises
    ------
    UsageError
        More than one stratifier, or one that a measure does not have.
    """
    ids = [one.id for one in _with_stratifier(run, measures, by)]
    cases = _grouped(run.cases.filter(pl.col("measure").is_in(ids)), every, run.zone, by)
    keys = ["measure", "period", "unit", "stratum"]
    closed = pl.col("status").is_in(["met", "failed"])
    treated = closed & pl.col("treated")
    frame = cases.group_by(keys).agg(
        pl.len().cast(pl.Int64).alias("population"),
        *((pl.col("status") == one).sum().cast(pl.Int64).alias(one) for one in _STATUSES),
        treated.sum().cast(pl.Int64).alias("treated"),
        (treated & (pl.col("status") == "met")).sum().cast(pl.Int64).alias("treated_met"),
        (closed & pl.col("interval").is_not_null()).sum().cast(pl.Int64).alias("interval_n"),
        (closed & (pl.col("interval") < 0)).sum().cast(pl.Int64).alias("before_clock"),
        pl.col("interval").filter(closed).median().alias("interval_median"),
        pl.col("value").filter(pl.col("status") == "measured").alias("_values"),
        pl.col("per").filter(pl.col("status") == "measured").alias("_per"),
    )
    if every == "all" and not by:
        frame = _with_empty(frame, ids)
    frame = frame.with_columns(denominator=pl.col("met") + pl.col("failed") + pl.col("measured"))
    frame = _rates(frame)
    observed = pl.DataFrame(
        [
            _observed(values or [], per or [])
            for values, per in frame.select("_values", "_per").iter_rows()
        ],
        schema=dict.fromkeys(
            (
                "median",
                "lower_quartile",
                "upper_quartile",
                "mean",
                "ratio",
                "median_low",
                "median_high",
            ),
            pl.Float64,
        ),
    )
    order = {name: number for number, name in enumerate(ids)}
    frame = (
        frame.drop("_values", "_per")
        .hstack(observed)
        .sort(
            pl.col("measure").replace_strict(order, return_dtype=pl.Int64, default=None),
            "period",
            "unit",
            "stratum",
        )
    )
    frame = frame.with_columns(
        low=pl.when(pl.col("measured") > 0).then("median_low").otherwise("low"),
        high=pl.when(pl.col("measured") > 0).then("median_high").otherwise("high"),
    ).drop("median_low", "median_high")
    # The interval is of the median, not of a ratio of sums.
    frame = frame.with_columns(
        pl.when(pl.col("ratio").is_null()).then(pl.col(name)).alias(name)
        for name in ("low", "high")
    )
    return Figures(frame=frame, by=tuple(by), every=every)


def _with_empty(frame: pl.DataFrame, ids: Sequence[str]) -> pl.DataFrame:
    """Add a row of zeros for measures without a case."""
    absent = [name for name in ids if name not in set(frame["measure"])]
    counts = [name for name, dtype in frame.schema.items() if dtype == pl.Int64]
    zeros = pl.DataFrame({"measure": absent}, schema={"measure": pl.String}).with_columns(
        pl.lit(0, dtype=pl.Int64).alias(name) for name in counts
    )
    return pl.concat([frame, zeros], how="diagonal")


def exclusion_counts(run: MeasureRun, measure: str) -> pl.DataFrame:
    """Count each exclusion of a measure.

    Returns
    -------
    polars.DataFrame
        ``exclusion``, ``title``, ``cases`` (to whom it applies) and ``only``
        (to whom no other applies), zero counts included.
    """
    one: Measure = run.measure(measure)
    excluded = run.of(measure).filter(pl.col("status") == "excluded")
    rows = []
    for named in one.exclusions:
        has = pl.col("excluded_by").list.contains(named.name)
        rows.append(
            {
                "exclusion": named.name,
                "title": named.title,
                "cases": excluded.filter(has).height,
                "only": excluded.filter(has & (pl.col("excluded_by").list.len() == 1)).height,
            }
        )
    return pl.DataFrame(
        rows,
        schema={
            "exclusion": pl.String,
            "title": pl.String,
            "cases": pl.Int64,
            "only": pl.Int64,
        },
    )


_COUNTS: Final = (
    "population",
    *_STATUSES,
    "denominator",
    "treated",
    "treated_met",
    "interval_n",
    "before_clock",
)


def _differences() -> list[pl.Expr]:
    """Counts that a reader can work out from those shown."""
    return [
        pl.col("denominator") - pl.col("treated"),
        pl.col("treated") - pl.col("treated_met"),
        pl.col("met") - pl.col("treated_met"),
        pl.col("interval_n") - pl.col("before_clock"),
    ]


def suppressed(found: Figures, *, below: int = FEWEST) -> pl.DataFrame:
    """Return figures for outside the hospital, without small cells.

    A row in which any count of patients, or the difference of two, lies
    between 1 and `below` - 1 loses all its counts and what is made of them. If
    what is hidden in one measure and period would, taken together, be small
    again, further rows are hidden, the smallest first, since the total gives
    the remainder away. A hidden row does not name its stratum. Quartiles and
    the interval of a median are left out for fewer than 20 patients.

    Parameters
    ----------
    found : Figures
        As for inside.
    below : int
        The smallest count that may be shown.

    Returns
    -------
    polars.DataFrame
        The columns of ``Figures.frame`` and ``suppressed`` (bool).
    """
    frame = found.frame
    of_treated = pl.col("treated") > 0
    small = pl.any_horizontal(
        *(is_small(pl.col(name), below) for name in _COUNTS),
        *(is_small(difference, below) & of_treated for difference in _differences()[:3]),
        is_small(_differences()[3], below) & (pl.col("before_clock") > 0),
    )
    frame = frame.with_columns(suppressed=small)
    if found.by and frame.height:
        frame = pl.concat(
            _with_complements(group, below)
            for group in frame.partition_by("measure", "period", maintain_order=True)
        )
    few = (pl.col("measured") > 0) & (pl.col("denominator") < FEWEST_FOR_QUANTILES)
    frame = frame.with_columns(
        pl.when(~few).then(pl.col(name)).alias(name)
        for name in ("low", "high", "lower_quartile", "upper_quartile")
    )
    hidden = [name for name in found.frame.columns if name not in ("measure", "period")]
    return frame.with_columns(
        pl.when(~pl.col("suppressed")).then(pl.col(name)).alias(name) for name in hidden
    )


def _with_complements(group: pl.DataFrame, below: int) -> pl.DataFrame:
    """Hide further rows of one measure and period until the hidden sum says nothing."""
    hidden = group["suppressed"].to_list()
    counts = group.select(_COUNTS).rows()
    order = sorted(range(len(hidden)), key=lambda at: counts[at][0])

    def sum_is_small() -> bool:
        return any(
            0
            < sum(row[column] for row, is_hidden in zip(counts, hidden, strict=True) if is_hidden)
            < below
            for column in range(len(_COUNTS))
        )

    while sum_is_small() and not all(hidden):
        hidden[next(at for at in order if not hidden[at])] = True
    return group.with_columns(suppressed=pl.Series(hidden, dtype=pl.Boolean))
