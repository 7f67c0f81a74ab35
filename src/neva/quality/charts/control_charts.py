"""Charts for counts and rare events: p, u, c, Laney's p' and u', t and g; from a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from neva.errors import UsageError
from neva.quality.charts.icons import Direction
from neva.quality.charts.spc import (
    FEWEST_POINTS,
    MEAN_RANGE,
    NEAR_SHARE,
    ControlChart,
    Limits,
    build_chart,
    prepared,
    without_limits,
    xmr,
)

__all__ = ["count_chart", "g_chart", "measure_chart", "t_chart"]

FloatArray = npt.NDArray[np.float64]


# Three and two sigma.
SIGMAS: Final = 3.0
# Our own choice: below so many periods, or so many cases in the middle one, the
# spread between periods is told from chance within them by nothing but luck.
FEWEST_FOR_PRIME: Final = 20
LARGE_DENOMINATOR: Final = 50
OVER_DISPERSION_LEVEL: Final = 0.01
# Weibull times with shape 3.6 are nearly normal, so exponential ones are after
# this power (Nelson 1994).
NELSON_POWER: Final = 1 / 3.6
# Tail areas of a normal variable beyond 3 and beyond 2 standard deviations.
BEYOND_THREE: Final = 0.0013498980316301035
BEYOND_TWO: Final = 0.02275013194817921

#: What a measure's numerator and denominator mean.
Measured = Literal["proportion", "rate", "count", "value"]


def _floats(values: npt.ArrayLike) -> FloatArray:
    data = np.asarray(values, dtype=object).ravel()
    return np.array([np.nan if v is None else v for v in data], dtype=np.float64)


def _symmetric(centre: FloatArray, sigma: FloatArray, most: float) -> Limits:
    """Three-sigma limits, cut to what is possible: [0, most]."""

    def line(width: float) -> FloatArray:
        return np.clip(centre + width * sigma, 0.0, most)

    near = NEAR_SHARE * SIGMAS
    return Limits(centre, line(-near), line(near), line(-SIGMAS), line(SIGMAS))


def _of_the_others(
    events: FloatArray, exposure: FloatArray, sizes: FloatArray, *, is_proportion: bool
) -> tuple[FloatArray, FloatArray]:
    """Return where each period is expected, and how widely, by the other periods alone.

    A period that is far out moves the centre towards itself, and with it its own
    limits. The spread is that of a period of its size and of the others' mean
    together. Where the others have no event (or nothing but events) they say
    nothing about the spread, and all are used.

    Parameters
    ----------
    events, exposure : array of float64, shape (n,)
        Of the periods that the lines rest on; 0 for those that they do not.
    sizes : array of float64, shape (n,)
        Denominators.
    """
    rest = exposure.sum() - exposure
    mean = np.divide(events.sum() - events, rest, out=np.zeros_like(rest), where=rest > 0)
    whole = events.sum() / exposure.sum()
    tells = (rest > 0) & (mean > 0) & ((mean < 1) | (not is_proportion))
    mean = np.where(tells, mean, whole)
    variance = mean * (1 - mean if is_proportion else 1) / sizes
    # Only a period that was left out is predicted; others are judged by stated lines.
    known = np.where(tells & (exposure > 0), rest, np.inf)
    return mean, np.sqrt(variance * (1 + sizes / known))


def _between_periods(z: FloatArray) -> FloatArray:
    """Laney's sigma z for each period, from the moving ranges that do not touch it.

    The spread between periods that chance within them does not explain. A
    period is not judged by limits that it has widened itself; and chance
    within periods is the least there is, so sigma z is never below 1.
    """
    ranges = np.abs(np.diff(z))
    known = ~np.isnan(ranges)
    amounts = np.where(known, ranges, 0.0)
    before, after = np.r_[0.0, amounts], np.r_[amounts, 0.0]
    counted = known.sum() - np.r_[0, known] - np.r_[known, 0]
    rest = np.maximum(amounts.sum() - before - after, 0.0)
    mean = np.divide(rest, counted, out=np.zeros_like(rest), where=counted > 0)
    found: FloatArray = np.maximum(mean / MEAN_RANGE, 1.0)
    return found


def _is_over_dispersed(counts: FloatArray, sizes: FloatArray, *, is_proportion: bool) -> bool:
    """Tell whether periods differ by more than chance, where a prime chart can be drawn.

    By the dispersion test: the sum of squared standardised values against
    chi-squared, at 1 in 100.
    """
    usable = ~np.isnan(counts) & ~np.isnan(sizes) & (sizes > 0)
    n, events = sizes[usable], counts[usable]
    if len(n) < FEWEST_FOR_PRIME or float(np.median(n)) < LARGE_DENOMINATOR:
        return False
    centre = float(events.sum() / n.sum())
    variance = centre * (1 - centre if is_proportion else 1) / n
    if centre <= 0 or (variance <= 0).any():
        return False
    squares = float((((events / n) - centre) ** 2 / variance).sum())
    return bool(stats.chi2.sf(squares, len(n) - 1) < OVER_DISPERSION_LEVEL)


def count_chart(
    numerator: npt.ArrayLike,
    denominator: npt.ArrayLike | None = None,
    *,
    kind: Literal["p", "p-prime", "u", "u-prime", "c"],
    per: float = 1.0,
    periods: Sequence[Any] | None = None,
    direction: Direction = "neutral",
    target: float | None = None,
    baseline: int | None = None,
    rebase_at: Sequence[Any] = (),
    leave_out: bool = False,
) -> ControlChart:
    """Build a chart of counts, with limits that follow each period's denominator.

    Parameters
    ----------
    numerator : array_like of int, shape (n,)
        Events of each period; None is a gap.
    denominator : array_like, shape (n,), optional
        Cases (p) or exposure such as patient-days (u); 0 or None is a gap. Not
        for the c chart, whose periods are taken to be alike.
    kind : {"p", "p-prime", "u", "u-prime", "c"}
        p: proportion, ``p ± 3 sqrt(p (1 - p) / n)``; u: rate,
        ``u ± 3 sqrt(u / n)``; c: count, ``c ± 3 sqrt(c)``. Prime: the width is
        multiplied by sigma z, the mean moving range of the standardised values
        divided by 1.128, without the ranges that touch the period judged, and
        never below 1.
    per : float
        Rates are shown per so much exposure (1000 for "per 1,000 patient-days"),
        `target` too. 1 for proportions.
    periods, direction, target, baseline, rebase_at
        As in :func:`neva.quality.charts.spc.xmr`.
    leave_out : bool
        Judge each period by limits that rest on the other periods alone; the
        centre line stays that of all. The charts of measures do.

    Returns
    -------
    ControlChart
        Limits are cut to what is possible, so that 0 or 100 % is never outside of
        a limit that stands there.

    Notes
    -----
    p and u charts take chance within a period to be all there is; large
    denominators then make limits so narrow that everything is outside. p' and u'
    measure the spread between periods too; with equal denominators they are
    close to XmR charts. Laney's sigma z may be below 1, and then narrows limits
    below what chance alone does; ours does not.
    The formulas of p, u and c are the textbook ones.

    References
    ----------
    Laney DB (2002), Improved control charts for attributes,
    doi:10.1081/QEN-120003555.

    Examples
    --------
    >>> chart = count_chart([5, 5, 30], [50, 50, 100], kind="p", direction="lower")
    >>> chart.frame.select("value", pl.col("centre", "lower", "upper").round(3), "point").rows()
    [(0.1, 0.2, 0.03, 0.37, 'common'),
     (0.1, 0.2, 0.03, 0.37, 'common'),
     (0.3, 0.2, 0.08, 0.32, 'common')]
    """
    is_proportion = kind in {"p", "p-prime"}
    counts, stated = _checked_counts(numerator, denominator, kind)
    if is_proportion and per != 1:
        raise UsageError("per: proportions are shares of 1; leave it at 1")
    if len(counts) != len(stated):
        raise UsageError(f"denominator: {len(stated)} for {len(counts)} numerators; give pairs")
    sizes = np.where(np.isnan(counts) | (stated == 0), np.nan, stated)
    if (counts < 0).any() or (sizes < 0).any() or (is_proportion and (counts > sizes).any()):
        raise UsageError("numerator: below 0 or above its denominator; check how it was counted")
    values, named, group, in_baseline = prepared(counts / sizes, periods, rebase_at, baseline)

    limits = []
    warnings = []
    for number in range(1, int(group.max(initial=0)) + 1):
        at = group == number
        base = at & in_baseline
        events, exposure = float(counts[base].sum()), float(sizes[base].sum())
        limits.append(
            _count_limits(
                kind,
                counts[at],
                sizes[at],
                in_baseline[at],
                events=events,
                exposure=exposure,
                leave_out=leave_out,
            )
        )
        others = exposure - events if is_proportion else np.inf
        if exposure and min(events, others) < base.sum() and "rare-events" not in warnings:
            warnings.append("rare-events")
    if per != 1:
        values = values * per
        limits = [
            Limits(*(per * getattr(lines, name) for name in Limits.__slots__)) for lines in limits
        ]
    return build_chart(
        kind=kind,
        values=values,
        periods=named,
        group=group,
        baseline=in_baseline,
        limits=limits,
        direction=direction,
        target=target,
        numerator=counts,
        denominator=None if kind == "c" else stated,
        warnings=warnings,
    )


def _checked_counts(
    numerator: npt.ArrayLike, denominator: npt.ArrayLike | None, kind: str
) -> tuple[FloatArray, FloatArray]:
    """Read numerators and denominators; those of a c chart are 1."""
    counts = _floats(numerator)
    if kind == "c":
        if denominator is not None:
            raise UsageError("denominator: a c chart has none; use kind='u' for rates")
        return counts, np.ones_like(counts)
    if denominator is None:
        raise UsageError(f"denominator: a {kind} chart needs one; use kind='c' for bare counts")
    return counts, _floats(denominator)


def _count_limits(
    kind: str,
    counts: FloatArray,
    sizes: FloatArray,
    in_baseline: npt.NDArray[np.bool_],
    *,
    events: float,
    exposure: float,
    leave_out: bool,
) -> Limits:
    """Return the limits of one group, whose baseline has so many events in so much exposure."""
    if not exposure:
        return _symmetric(*(np.full(len(sizes), np.nan),) * 2, np.inf)
    is_proportion = kind in {"p", "p-prime"}
    centre = np.full(len(sizes), events / exposure)
    sigma = np.sqrt(centre * (1 - centre if is_proportion else 1) / sizes)
    widening: FloatArray | float = 1.0
    if kind.endswith("prime"):
        values = counts / sizes
        z = np.divide(values - centre, sigma, out=np.zeros_like(values), where=sigma > 0)
        z[np.isnan(values) | ~in_baseline] = np.nan
        widening = _between_periods(z)
    around = centre
    if leave_out:
        around, sigma = _of_the_others(
            np.where(in_baseline, counts, 0.0),
            np.where(in_baseline, sizes, 0.0),
            sizes,
            is_proportion=is_proportion,
        )
    lines = _symmetric(around, sigma * widening, 1.0 if is_proportion else np.inf)
    return replace(lines, centre=centre)


def t_chart(
    times: Sequence[datetime],
    *,
    direction: Direction = "higher",
    target: float | None = None,
    baseline: int | None = None,
    screen: bool = True,
) -> ControlChart:
    """Build a chart of days between rare events.

    Parameters
    ----------
    times : sequence of datetime
        When events happened, all aware or all naive; in any order.
    direction : {"higher", "lower", "neutral"}
        ``higher`` for unwanted events: longer between them is better.
    target : float, optional
        Days.
    baseline : int, optional
        Compute the lines from so many first intervals.
    screen : bool
        See :func:`neva.quality.charts.spc.xmr_limits`; on the transformed scale.

    Returns
    -------
    ControlChart
        One point an interval: ``period`` counts them, ``time`` is the event that
        ends it; values and lines in days.

    Notes
    -----
    Days are raised to the power 1/3.6, which makes exponential times nearly
    normal; the XmR chart of these is drawn in days again. Time since the last
    event is no point: a long quiet spell shows only when it ends. Warning
    ``zero-times`` tells that events happened at the same time, for which the
    method was not made; dates without times of day are a usual cause.

    References
    ----------
    Nelson LS (1994), A control chart for parts-per-million nonconforming items,
    doi:10.1080/00224065.1994.11979529.

    Examples
    --------
    >>> from datetime import timedelta
    >>> start = datetime(2024, 1, 1)  # noqa: DTZ001
    >>> chart = t_chart([start + timedelta(days=d) for d in (0, 10, 22, 31, 43)])
    >>> chart.frame["value"].to_list(), chart.frame["centre"].round(2)[0]
    ([10.0, 12.0, 9.0, 12.0], 10.69)
    """
    ordered = sorted(times)
    days = [(later - earlier).total_seconds() / 86_400 for earlier, later in pairwise(ordered)]
    power = 1 / NELSON_POWER
    scaled = xmr(
        np.array(days) ** NELSON_POWER,
        direction=direction,
        target=None if target is None else target**NELSON_POWER,
        baseline=baseline,
        screen=screen,
    )
    lines = ["centre", "near_lower", "near_upper", "lower", "upper"]
    frame = scaled.frame.with_columns(
        pl.col(lines).clip(lower_bound=0).pow(power),
        value=pl.Series(days, dtype=pl.Float64),
    ).with_columns(time=pl.Series(ordered[1:]))
    warnings = (*scaled.warnings, "zero-times") if 0 in days else scaled.warnings
    return replace(scaled, kind="t", target=target, frame=frame, warnings=warnings)


def g_chart(
    cases_between: npt.ArrayLike,
    *,
    direction: Direction = "higher",
    target: float | None = None,
    baseline: int | None = None,
) -> ControlChart:
    """Build a chart of the number of cases between rare events.

    Parameters
    ----------
    cases_between : array_like of int, shape (n,)
        Cases without the event before each event; 0 when it happened to two in a
        row.
    direction, target, baseline
        As in :func:`t_chart`; target in cases.

    Returns
    -------
    ControlChart
        The centre is the median of a geometric distribution with the mean found
        in the data; limits are its quantiles at the tail areas of 3 and 2 sigma,
        each taken as if cases could be counted in fractions and cut at 0.

    Notes
    -----
    The usual three-sigma limits of the g chart have a false alarm in about 2 % of
    points above and none below, since a geometric distribution is skew; quantiles
    do not. Below, even 0 cases are likely, so more frequent events show
    as a shift or trend rather than outside of the limit.

    References
    ----------
    Benneyan JC (2001), Number-between g-type statistical quality control charts
    for monitoring adverse events, doi:10.1023/A:1011846412909.

    Examples
    --------
    >>> chart = g_chart([9, 9, 9, 9])
    >>> chart.frame.select(pl.col("centre", "lower", "upper").round(2)).row(0)
    (5.58, 0.0, 61.72)
    """
    counts = _floats(cases_between)
    if (counts < 0).any() or (counts != np.floor(counts)).any():
        raise UsageError("cases_between: not whole numbers of cases, or negative; count cases")
    values, named, group, in_baseline = prepared(counts, None, (), baseline)
    mean = float(values[in_baseline].mean()) if in_baseline.any() else np.nan

    def quantile(above: float) -> float:
        """Cases that are exceeded with probability `above`: P(X > x) = q**(x + 1)."""
        if not mean > 0:
            return mean
        share_without = mean / (mean + 1)
        return float(max(0.0, np.log(above) / np.log(share_without) - 1))

    lines = [quantile(x) for x in (0.5, 1 - BEYOND_TWO, BEYOND_TWO, 1 - BEYOND_THREE, BEYOND_THREE)]
    return build_chart(
        kind="g",
        values=values,
        periods=named,
        group=group,
        baseline=in_baseline,
        limits=[Limits(*(np.full(len(values), line) for line in lines))] if len(values) else [],
        direction=direction,
        target=target,
    )


_DEFAULT_KINDS: Final[dict[Measured, Literal["xmr", "p", "u", "c"]]] = {
    "proportion": "p",
    "rate": "u",
    "count": "c",
    "value": "xmr",
}


def _default_kind(
    measured: Measured, top: FloatArray, bottom: FloatArray, shared: dict[str, Any]
) -> Literal["xmr", "p", "p-prime", "u", "u-prime", "c"]:
    """Choose the chart of a measure: prime only where the periods ask for it."""
    kind = _DEFAULT_KINDS[measured]
    if kind not in {"p", "u"} or shared["baseline"] is not None or shared["rebase_at"]:
        return kind
    if not _is_over_dispersed(top, bottom, is_proportion=kind == "p"):
        return kind
    return "p-prime" if kind == "p" else "u-prime"


def measure_chart(
    table: pl.DataFrame,
    *,
    measured: Measured,
    kind: Literal["auto", "xmr", "p", "p-prime", "u", "u-prime", "c"] = "auto",
    every: str | None = "1mo",
    per: float = 1.0,
    direction: Direction = "neutral",
    target: float | None = None,
    baseline: int | None = None,
    rebase_at: Sequence[Any] = (),
    leave_out: bool = False,
) -> ControlChart:
    """Turn a measure's table of periods into its chart.

    Parameters
    ----------
    table : polars.DataFrame
        ``period`` (start; date, datetime or number), ``numerator``, ``denominator``;
        one row a period, any order.
    measured : {"proportion", "rate", "count", "value"}
        proportion: numerator of denominator cases; rate: events per exposure;
        count: the denominator is not used; value: numerator is a sum and
        denominator the number of values in it, so that the quotient is a mean.
    kind : str
        ``auto`` takes p for proportions, u for rates, c for counts and XmR for
        values; p' and u' where at least 20 periods with a median of at least 50
        cases differ by more than chance (dispersion test at 1 in 100); and with
        fewer than 12 periods a run chart around the median without limits, since
        they would rest on too little. ``xmr`` draws any of them as "Making Data Count" does.
    every : str or None
        Spacing of periods (polars' notation); dates that are missing in between
        become gaps, and so does a period without a numerator: of a count too,
        where nothing told is not nothing counted. None leaves the rows as they are.
    per, direction, target, baseline, rebase_at, leave_out
        As in :func:`count_chart`; ``auto`` leaves each period out of its own limits.

    Returns
    -------
    ControlChart
        A period with denominator 0 is a gap.

    Examples
    --------
    >>> from datetime import date
    >>> table = pl.DataFrame({"period": [date(2024, 1, 1), date(2024, 3, 1)],
    ...                       "numerator": [8, 9], "denominator": [10, 10]})
    >>> chart = measure_chart(table, measured="proportion", kind="xmr")
    >>> chart.frame.select("period", "value").rows()
    [(datetime.date(2024, 1, 1), 0.8),
     (datetime.date(2024, 2, 1), None),
     (datetime.date(2024, 3, 1), 0.9)]
    """
    rows = table.select("period", "numerator", "denominator").sort("period")
    if rows["period"].is_duplicated().any():
        raise UsageError("period: a period has more than one row; add numerators and denominators")
    if every is not None and rows.height and rows["period"].dtype.is_temporal():
        spaced = rows.upsample("period", every=every)
        if rows.join(spaced, on="period", how="anti").height:
            raise UsageError(
                f"period: the starts are not {every} apart; give their spacing as `every`"
            )
        rows = spaced
    shared: dict[str, Any] = {
        "periods": rows["period"].to_list(),
        "direction": direction,
        "target": target,
        "baseline": baseline,
        "rebase_at": rebase_at,
    }
    top, bottom = _floats(rows["numerator"].to_numpy()), _floats(rows["denominator"].to_numpy())
    chosen = kind if kind != "auto" else _default_kind(measured, top, bottom, shared)
    if kind == "auto":
        drawn = measure_chart(
            table, measured=measured, kind=chosen, every=every, per=per,
            direction=direction, target=target, baseline=baseline, rebase_at=rebase_at,
            leave_out=True,
        )  # fmt: skip
        enough = int(drawn.frame["value"].is_not_null().sum()) >= FEWEST_POINTS
        return drawn if enough else without_limits(drawn)
    if measured == "count":
        if chosen == "c":
            return count_chart(top, kind="c", leave_out=leave_out, **shared)
        bottom = np.ones_like(top)
    if chosen != "xmr":
        if chosen not in {"p", "p-prime", "u", "u-prime"} or measured == "value":
            raise UsageError(f"kind: {chosen} does not draw a {measured}; use 'auto' or 'xmr'")
        return count_chart(top, bottom, kind=chosen, per=per, leave_out=leave_out, **shared)
    empty = np.isnan(bottom) | (bottom == 0)
    values = np.divide(top, bottom, out=np.full_like(top, np.nan), where=~empty) * per
    shown = None if measured == "count" else bottom
    return xmr(values, numerator=top, denominator=shown, **shared)
