"""Statistical process control: rules for special causes, and the XmR chart.

Rules, factors and icons are those of NHS "Making Data Count" as implemented in
the R package NHSRplotthedots 0.2.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.quality.charts.icons import (
    AssuranceIcon,
    Direction,
    VariationIcon,
    assurance_icon,
    point_type,
    variation_icon,
)

__all__ = [
    "ChartKind",
    "ControlChart",
    "Limits",
    "Signal",
    "build_chart",
    "special_causes",
    "xmr",
    "xmr_limits",
]

FloatArray = npt.NDArray[np.float64]

#: Why a point is a special cause, in order of precedence.
Signal = Literal["outside", "trend", "two-of-three", "shift", "none"]

ChartKind = Literal["xmr", "p", "p-prime", "u", "u-prime", "c", "t", "g"]

# 2.66 = 3 / d2(n=2) = 3 / 1.128: from the mean moving range of individual
# values to three sigma (Wheeler & Chambers 1992); two thirds of it for the near limits.
XMR_FACTOR: Final = 2.66
NEAR_SHARE: Final = 2 / 3
# D4(n=2): the upper limit of the moving ranges themselves.
RANGE_FACTOR: Final = 3.267
# d2(n=2): the mean moving range of a normal variable, in standard deviations.
MEAN_RANGE: Final = 1.128
# Consecutive points of a trend and of a shift.
RUN: Final = 7
# Below this many points limits move much with every new point
# ("Making Data Count" asks for at least 12).
FEWEST_POINTS: Final = 12

# Sums of decimal fractions miss by some units of the last place: a point counts
# as on a line when it is this close to it, as a share of the largest value.
_ON_LINE: Final = 1e-12


@dataclass(frozen=True, eq=False, slots=True)
class Limits:
    """Centre and limits of each point of a group, arrays of shape (n,); NaN where unknown."""

    centre: FloatArray
    near_lower: FloatArray
    near_upper: FloatArray
    lower: FloatArray
    upper: FloatArray


def _sides(values: FloatArray, line: FloatArray, tolerance: float) -> npt.NDArray[np.int8]:
    """1 above, -1 below, 0 on the line or unknown."""
    difference = values - line
    return (difference > tolerance).astype(np.int8) - (difference < -tolerance).astype(np.int8)


def special_causes(
    values: npt.ArrayLike, limits: Limits
) -> tuple[list[Signal], npt.NDArray[np.int8]]:
    """Find special causes in one group of consecutive points.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        In order of time; NaN is a gap.
    limits : Limits
        Of the same length; may vary from point to point.

    Returns
    -------
    signals : list of str, length n
        The first rule that holds for a point:

        1. ``outside``: strictly above the upper or below the lower limit.
        2. ``trend``: one of 7 consecutive points that all rise or all fall; equal
           neighbours break it.
        3. ``two-of-three``: between a near limit and the limit (beyond the near
           limit strictly, not outside), and at least two such points are among
           three consecutive points that lie all three on one side of the centre.
        4. ``shift``: one of 7 consecutive points on one side of the centre; a point
           on the centre breaks it.
    sides : array of int8, shape (n,)
        1 for high or rising, -1 for low or falling, 0 without special cause.
        A point that belongs to two trends takes the later one.

    Notes
    -----
    A gap breaks trend, two-of-three and shift: no rule looks across it. Points
    closer to a line than 1e-12 of the largest value are on it.

    References
    ----------
    NHS England, Making Data Count; R package NHSRplotthedots 0.2.2.

    Examples
    --------
    >>> lines = [np.full(8, x) for x in (0.0, -2.0, 2.0, -3.0, 3.0)]
    >>> signals, sides = special_causes([0, 3.5, 2.5, 1, 2.1, -1, 0, 0], Limits(*lines))
    >>> signals[1:5], sides[1:5].tolist()
    (['outside', 'two-of-three', 'none', 'two-of-three'], [1, 1, 0, 1])
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    known = x[~np.isnan(x)]
    tolerance = _ON_LINE * float(np.abs(known).max()) if len(known) else 0.0
    side = _sides(x, limits.centre, tolerance)
    outside = (_sides(x, limits.upper, tolerance) > 0).astype(np.int8) - (
        _sides(x, limits.lower, tolerance) < 0
    ).astype(np.int8)
    beyond_near = (_sides(x, limits.near_upper, tolerance) > 0) | (
        _sides(x, limits.near_lower, tolerance) < 0
    )
    near = beyond_near & (outside == 0)
    step = np.zeros(n, dtype=np.int8)
    step[1:] = _sides(x[1:], x[:-1], tolerance)

    trend = np.zeros(n, dtype=np.int8)
    shift = np.zeros(n, dtype=np.int8)
    pairs = np.zeros(n, dtype=np.int8)
    for end in range(n):
        first = end - RUN + 1
        if first >= 0:
            steps = step[first + 1 : end + 1]
            if steps[0] and (steps == steps[0]).all():
                trend[first : end + 1] = steps[0]
            if side[end] and (side[first : end + 1] == side[end]).all():
                shift[first : end + 1] = side[end]
        if end >= 2:
            three = slice(end - 2, end + 1)
            one_side = side[end] and (side[three] == side[end]).all()
            if one_side and near[three].sum() >= 2:
                pairs[three] = np.where(near[three], side[end], pairs[three])

    signals: list[Signal] = ["none"] * n
    sides = np.zeros(n, dtype=np.int8)
    rules: tuple[tuple[Signal, npt.NDArray[np.int8]], ...] = (
        ("shift", shift),
        ("two-of-three", pairs),
        ("trend", trend),
        ("outside", outside),
    )
    for name, found in rules:  # the last one wins, so the order is reversed
        for at in np.flatnonzero(found):
            signals[at] = name
            sides[at] = found[at]
    return signals, sides


@dataclass(frozen=True, eq=False)
class ControlChart:
    """A control chart: points, lines, special causes and what they say.

    Attributes
    ----------
    kind : str
        Which chart; see :mod:`neva.quality.charts.control_charts`.
    direction : {"higher", "lower", "neutral"}
        Which values are better.
    target : float or None
        In the unit of the values.
    frame : polars.DataFrame
        One row a point, in order of time: ``period`` (its start, or the
        position from 1), ``value`` (missing: a gap), ``numerator``,
        ``denominator`` (missing where the chart has none), ``group`` (from 1;
        a new one at each rebasing), ``baseline`` (whether the limits were
        computed from this point), ``centre``, ``near_lower``, ``near_upper``,
        ``lower``, ``upper``, ``signal``, ``side`` (1 high or rising, -1 low or
        falling, 0) and ``point`` (``common``, ``improvement``, ``concern``,
        ``high``, ``low``, ``unjudged``, ``gap``).
    variation : str or None
        Icon of the last point that is no gap.
    assurance : str or None
        Icon of the target against the limits of that point.
    warnings : tuple of str
        ``few-points`` (a group's limits rest on fewer than 12 points),
        ``last-period-is-a-gap``, ``gaps``, ``zero-times`` (events at the same
        time), ``rare-events`` (limits of a p, u or c chart on fewer than one
        expected event a point), ``no-limits``, ``no-width`` (nothing varied, so that
        limits would lie on the centre).
    """

    kind: ChartKind
    direction: Direction
    target: float | None
    frame: pl.DataFrame
    variation: VariationIcon | None
    assurance: AssuranceIcon | None
    warnings: tuple[str, ...]

    def to_frame(self) -> pl.DataFrame:
        """Return the points."""
        return self.frame

    @property
    def signals(self) -> pl.DataFrame:
        """The special causes alone."""
        return self.frame.filter(pl.col("signal") != "none")


def xmr_limits(values: FloatArray, baseline: npt.NDArray[np.bool_], *, screen: bool) -> Limits:
    """Return centre and natural process limits of one group of individual values.

    Parameters
    ----------
    values : array of float64, shape (n,)
        NaN is a gap: no moving range is taken across it.
    baseline : array of bool, shape (n,)
        Points that the lines are computed from.
    screen : bool
        Drop moving ranges of at least 3.267 times their mean, once, and average
        the others: one jump should not widen the limits.

    Returns
    -------
    Limits
        ``mean``, ``mean ± 2.66 mean moving range`` and two thirds of that. Without
        a moving range there are no limits.

    Examples
    --------
    >>> found = xmr_limits(np.array([1.0, 3.0, 2.0, 2.0]), np.ones(4, dtype=bool), screen=True)
    >>> float(found.centre[0]), float(found.upper[0]), round(float(found.near_lower[0]), 4)
    (2.0, 4.66, 0.2267)
    """
    used = np.where(baseline, values, np.nan)
    known = used[~np.isnan(used)]
    n = len(values)
    mean = math.fsum(known) / len(known) if len(known) else math.nan
    ranges = np.abs(np.diff(used))
    ranges = ranges[~np.isnan(ranges)]
    average = math.fsum(ranges) / len(ranges) if len(ranges) else math.nan
    if screen and len(ranges) and average > 0:
        kept = ranges[ranges < RANGE_FACTOR * average]
        average = math.fsum(kept) / len(kept)
    half = XMR_FACTOR * average
    near = NEAR_SHARE * half
    lines = (mean, mean - near, mean + near, mean - half, mean + half)
    return Limits(*(np.full(n, line) for line in lines))


def _groups(periods: Sequence[Any], rebase_at: Sequence[Any]) -> npt.NDArray[np.int64]:
    starts = np.zeros(len(periods), dtype=np.int64)
    positions = {period: at for at, period in enumerate(periods)}
    for start in rebase_at:
        if start not in positions:
            raise UsageError(
                f"rebase_at: {start} is no period of the chart; give the start of the first "
                "period that belongs to the new group"
            )
        if positions[start]:
            starts[positions[start]] = 1
    return np.cumsum(starts) + 1


def prepared(
    values: npt.ArrayLike,
    periods: Sequence[Any] | None,
    rebase_at: Sequence[Any],
    baseline: int | None,
) -> tuple[FloatArray, list[Any], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Check values and periods; return both with groups and baseline points.

    The baseline of a group is its first `baseline` points that are no gaps.
    """
    x = np.array([np.nan if v is None else v for v in np.asarray(values, dtype=object).ravel()])
    x = x.astype(np.float64)
    if np.isinf(x).any():
        raise UsageError("values: some are infinite; a period without denominator is missing")
    named = list(range(1, len(x) + 1)) if periods is None else list(periods)
    if len(named) != len(x):
        raise UsageError(f"periods: {len(named)} for {len(x)} values; give one for each value")
    if any(not a < b for a, b in pairwise(named)):
        raise UsageError(
            "periods: not in ascending order, or twice the same; sort and add up first"
        )
    if baseline is not None and baseline < 2:
        raise UsageError(f"baseline: {baseline} points give no moving range; give at least 2")
    group = _groups(named, rebase_at)
    in_baseline = ~np.isnan(x)
    if baseline is not None:
        for number in np.unique(group):
            inside = np.flatnonzero((group == number) & in_baseline)
            in_baseline[inside[baseline:]] = False
    return x, named, group, in_baseline


def build_chart(
    *,
    kind: ChartKind,
    values: FloatArray,
    periods: list[Any],
    group: npt.NDArray[np.int64],
    baseline: npt.NDArray[np.bool_],
    limits: list[Limits],
    direction: Direction,
    target: float | None,
    numerator: FloatArray | None = None,
    denominator: FloatArray | None = None,
    warnings: Sequence[str] = (),
) -> ControlChart:
    """Assemble a chart from the limits of its groups: the rules run in each group separately.

    Parameters
    ----------
    limits : list of Limits
        One a group, of the group's length.
    """
    given, limits = limits, [_with_width(lines) for lines in limits]
    frame = _judged_periods(
        values, periods, group, baseline, limits, direction, numerator, denominator
    )
    gaps = np.isnan(values)
    measured = frame.filter(pl.col("value").is_not_null())
    last = measured.row(-1, named=True) if measured.height else None
    notes = [*warnings, *_periods_notes(baseline, group, len(limits), gaps)]
    variation, assurance = None, None
    if last is None or last["upper"] is None:
        had = np.concatenate([lines.upper for lines in given] or [np.empty(0)])
        is_flat = last is not None and not np.isnan(had[~gaps][-1])
        notes.append("no-width" if is_flat else "no-limits")
    else:
        variation = variation_icon(last["side"], direction)
        assurance = assurance_icon(last["lower"], last["upper"], target, direction)
    return ControlChart(
        kind=kind,
        direction=direction,
        target=target,
        frame=frame,
        variation=variation,
        assurance=assurance,
        warnings=tuple(notes),
    )


def _judged_periods(
    values: FloatArray,
    periods: list[Any],
    group: npt.NDArray[np.int64],
    baseline: npt.NDArray[np.bool_],
    limits: list[Limits],
    direction: Direction,
    numerator: FloatArray | None,
    denominator: FloatArray | None,
) -> pl.DataFrame:
    """Return one row a period, with its limits and what the rules found."""
    signals: list[Signal] = []
    sides: list[int] = []
    for number, lines in enumerate(limits, 1):
        found, side = special_causes(values[group == number], lines)
        signals += found
        sides += side.tolist()
    gaps = np.isnan(values)
    columns = {
        name: np.concatenate([getattr(lines, name) for lines in limits] or [np.empty(0)])
        for name in ("centre", "near_lower", "near_upper", "lower", "upper")
    }
    empty = np.full(len(values), np.nan)
    return pl.DataFrame(
        {
            "period": periods,
            "value": values,
            "numerator": empty if numerator is None else numerator,
            "denominator": empty if denominator is None else denominator,
            "group": group,
            "baseline": baseline,
            **columns,
            "signal": pl.Series(signals, dtype=pl.String),
            "side": pl.Series(sides, dtype=pl.Int8),
            "point": pl.Series(
                [
                    "gap" if gap else point_type(side, direction)
                    for gap, side in zip(gaps, sides, strict=True)
                ],
                dtype=pl.String,
            ),
        }
    ).with_columns(pl.col(pl.Float64).fill_nan(None))


def _periods_notes(
    baseline: npt.NDArray[np.bool_],
    group: npt.NDArray[np.int64],
    groups: int,
    gaps: npt.NDArray[np.bool_],
) -> list[str]:
    """Warn of few points behind a group's limits, and of periods without a value."""
    notes = []
    counts = [int((baseline & (group == number)).sum()) for number in range(1, groups + 1)]
    if any(count < FEWEST_POINTS for count in counts):
        notes.append("few-points")
    if gaps.any():
        notes.append("gaps")
    if len(gaps) and gaps[-1]:
        notes.append("last-period-is-a-gap")
    return notes


def _with_width(lines: Limits) -> Limits:
    """Remove limits of zero width: without variation, nothing is known to be unusual."""
    flat = ~(lines.upper - lines.lower > _ON_LINE * np.abs(lines.centre))
    blank = {
        name: np.where(flat, np.nan, getattr(lines, name))
        for name in ("near_lower", "near_upper", "lower", "upper")
    }
    return replace(lines, **blank)


def without_limits(chart: ControlChart) -> ControlChart:
    """Turn a chart with too few points for limits into a run chart.

    Its line is the median; no point is judged, and the warning ``no-limits``
    says why.
    """
    none = pl.lit(None, dtype=pl.Float64)
    frame = chart.frame.with_columns(
        centre=pl.col("value").median(),
        **dict.fromkeys(("near_lower", "near_upper", "lower", "upper"), none),
        signal=pl.lit("none"),
        side=pl.lit(0, dtype=pl.Int8),
        point=pl.when(pl.col("value").is_null()).then(pl.lit("gap")).otherwise(pl.lit("unjudged")),
    )
    warnings = tuple(one for one in chart.warnings if one not in ("few-points", "no-limits"))
    return replace(
        chart, frame=frame, variation=None, assurance=None, warnings=(*warnings, "no-limits")
    )


def xmr(
    values: npt.ArrayLike,
    *,
    periods: Sequence[Any] | None = None,
    direction: Direction = "neutral",
    target: float | None = None,
    baseline: int | None = None,
    rebase_at: Sequence[Any] = (),
    screen: bool = True,
    numerator: npt.ArrayLike | None = None,
    denominator: npt.ArrayLike | None = None,
) -> ControlChart:
    """Build an XmR chart (individual values and moving ranges).

    Parameters
    ----------
    values : array_like of float, shape (n,)
        One value a period, in order of time; None or NaN is a gap: shown as
        such, not counted, and no moving range or rule reaches across it.
    periods : sequence, optional
        Starts of the periods, ascending; by default 1, 2, 3 …
    direction : {"higher", "lower", "neutral"}
        Which values are better.
    target : float, optional
    baseline : int, optional
        Compute the lines of each group from its first so many points.
    rebase_at : sequence
        Periods at which a new group starts: lines and rules start again. To be
        used for a known change of the process, with its reason beside the chart.
    screen : bool
        See :func:`xmr_limits`.
    numerator, denominator : array_like, optional
        Shown beside the points; they do not enter the lines.

    Returns
    -------
    ControlChart

    Notes
    -----
    Limits describe what the process will do if nothing changes; they say nothing
    about what is good, and they are no confidence intervals. Every period
    counts alike, whatever its denominator; for very unequal denominators see
    the p' and u' charts.

    References
    ----------
    Wheeler DJ, Chambers DS (1992), Understanding Statistical Process Control;
    NHS England, Making Data Count.

    Examples
    --------
    >>> chart = xmr([5, 7, 6, 5, 7, 6, 5, 7, 6, 5, 7, 14], direction="lower", target=15)
    >>> chart.signals.select("period", "value", "signal", "point").rows()
    [(12, 14.0, 'outside', 'concern')]
    >>> chart.variation, chart.assurance, chart.warnings
    ('concern-high', 'pass', ())
    """
    x, named, group, in_baseline = prepared(values, periods, rebase_at, baseline)
    limits = [
        xmr_limits(x[group == number], in_baseline[group == number], screen=screen)
        for number in range(1, int(group.max(initial=0)) + 1)
    ]
    return build_chart(
        kind="xmr",
        values=x,
        periods=named,
        group=group,
        baseline=in_baseline,
        limits=limits,
        direction=direction,
        target=target,
        numerator=None if numerator is None else np.asarray(numerator, dtype=np.float64),
        denominator=None if denominator is None else np.asarray(denominator, dtype=np.float64),
    )
