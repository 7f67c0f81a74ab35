"""Charts of outcomes: VLAD with CUSUM, calibration, a measure by unit."""

from __future__ import annotations

import math
from typing import Any, Final

import altair as alt
import polars as pl

from neva.quality.comparison.sequential import RiskAdjustedCusum, Vlad
from neva.reports.charts.drawing import _WIDTH, _data
from neva.reports.charts.quality_drawing import (
    BLUE,
    GREY,
    ORANGE,
    PALE,
    About,
    finished,
    value_domain,
)
from neva.statistics.calibration import Calibration

__all__ = ["calibration_chart", "interval_chart", "sequential_chart"]

# A sequence of more cases is drawn through so many of them.
_MOST_CASES: Final = 1500


def _thinned(frame: pl.DataFrame, keep: pl.Expr) -> pl.DataFrame:
    if frame.height <= _MOST_CASES:
        return frame
    every = math.ceil(frame.height / _MOST_CASES)
    return frame.filter((pl.col("case") % every == 0) | (pl.col("case") == frame.height) | keep)


def _panel(words: str) -> Any:
    return alt.TitleParams(
        words, anchor="start", frame="group", fontSize=12, fontWeight="normal", offset=6
    )


def sequential_chart(display: Vlad, cusum: RiskAdjustedCusum, about: About) -> dict[str, Any]:
    """Draw a VLAD above its CUSUM, case by case.

    Parameters
    ----------
    display : Vlad
    cusum : RiskAdjustedCusum
        Of the same cases.
    about : About

    Returns
    -------
    dict
        Vega-Lite: two panels on one axis of cases. Above: expected minus observed;
        below: the CUSUM for worse (upwards) and for better (downwards) with
        their limits, and signals as marks on both panels. Of more than 1,500 cases
        only about so many are drawn, evenly spaced, and all signals.
    """
    signals = cusum.frame.filter(pl.col("signal").is_not_null())
    cases: dict[str, Any] = {
        "scale": alt.Scale(nice=False, zero=False, domain=[0, max(1, display.frame.height)]),
        "axis": alt.Axis(format="d", tickCount=8, tickMinStep=1, grid=False),
    }
    x = alt.X("case:Q", title=None, **cases)
    lower_x = alt.X("case:Q", title=about.word("cases-axis"), **cases)
    is_signal = pl.col("case").is_in(signals["case"].implode())
    upper = _thinned(display.frame, is_signal).select("case", "saved")
    zero = alt.Chart(_data([{"zero": 0}])).mark_rule(color="#333333", strokeWidth=1)
    y = alt.Y("saved:Q", title=about.word("vlad-axis"), axis=alt.Axis(tickCount=5))
    marks = signals.join(display.frame.select("case", "saved"), on="case")
    looks = {"worse": (ORANGE, "square"), "better": (BLUE, "diamond")}
    panels: list[Any] = [
        zero.encode(y=alt.Y("zero:Q")),
        alt.Chart(_data(upper.to_dicts()))
        .mark_line(color="#333333", strokeWidth=1.6, interpolate="step-after")
        .encode(x=x, y=y),
    ]
    for name, (colour, shape) in looks.items():
        found = marks.filter(pl.col("signal").is_in([name, "both"]))
        panels.append(
            alt.Chart(_data(found.select("case", "saved").to_dicts()))
            .mark_point(filled=True, size=80, opacity=1, color=colour, shape=shape)
            .encode(x=x, y=y)
        )
    above = alt.layer(*panels).properties(
        width=_WIDTH,
        height=170,
        title=_panel(f"{about.word('vlad-title')} ({about.word('fewer')})"),
    )

    ratios = {
        "worse": (cusum.odds_ratio_worse, cusum.limit_worse),
        "better": (cusum.odds_ratio_better, -cusum.limit_better),
    }
    shown = _thinned(cusum.frame, is_signal)
    words = {
        name: about.word(name, ratio=about.number(ratio, 2).rstrip("0").rstrip(".,"))
        for name, (ratio, _) in ratios.items()
    }
    scale = alt.Scale(domain=list(words.values()), range=[looks[name][0] for name in words])
    rows = [
        {"case": case, "value": value, "series": words[name]}
        for name in words
        for case, value in shown.select("case", name).iter_rows()
    ]
    reach = [
        *cusum.frame["worse"],
        *cusum.frame["better"],
        *(limit for _, limit in ratios.values()),
    ]
    cy = alt.Y(
        "value:Q",
        title=about.word("cusum-axis"),
        # Room for the names beyond the limits.
        scale=alt.Scale(domain=[1.2 * min(reach), 1.2 * max(reach)], nice=False),
        axis=alt.Axis(tickCount=5),
    )
    parts: list[Any] = [
        zero.encode(y=alt.Y("zero:Q")),
        alt.Chart(_data(rows))
        .mark_line(strokeWidth=1.5)
        .encode(
            x=lower_x,
            y=cy,
            color=alt.Color("series:N", scale=scale, legend=None),
            strokeDash=alt.StrokeDash(
                "series:N",
                scale=alt.Scale(domain=list(words.values()), range=[[1, 0], [5, 2]]),
                legend=None,
            ),
        ),
    ]
    for name, (colour, shape) in looks.items():
        limit = ratios[name][1]
        parts += [
            alt.Chart(_data([{"value": limit}]))
            .mark_rule(color=colour, strokeDash=[2, 3], strokeWidth=1.5)
            .encode(y=cy),
            alt.Chart(_data([{"value": limit, "text": about.number(limit, 2)}]))
            .mark_text(align="left", dx=6, fontSize=11, color="#333333")
            .encode(x=alt.value(_WIDTH), y=cy, text="text:N"),
            alt.Chart(_data([{"value": limit, "text": words[name]}]))
            .mark_text(align="left", dx=6, dy=9 if limit < 0 else -9, fontSize=11, color=colour)
            .encode(x=alt.value(0), y=cy, text="text:N"),
            alt.Chart(
                _data(
                    signals.filter(pl.col("signal").is_in([name, "both"]))
                    .select("case", value=pl.col(name))
                    .to_dicts()
                )
            )
            .mark_point(filled=True, size=80, opacity=1, color=colour, shape=shape)
            .encode(x=lower_x, y=cy, tooltip=[alt.Tooltip("case:Q", title=about.word("signal"))]),
        ]
    below = alt.layer(*parts).properties(
        width=_WIDTH, height=190, title=_panel(about.word("cusum-title"))
    )
    left_out = about.word("left-out", n=display.left_out) if display.left_out else ""
    return finished(alt.vconcat(above, below, spacing=14), about, [left_out])


def calibration_chart(found: Calibration, about: About) -> dict[str, Any]:
    """Draw observed against predicted shares in groups, with exact intervals.

    Parameters
    ----------
    found : Calibration
    about : About

    Returns
    -------
    dict
        Vega-Lite: a point and exact interval a group; the
        diagonal is perfect agreement. Axes end where the intervals end.
    """
    top = max([*found.curve["upper"], *found.curve["predicted"], 0.05])
    top = min(1.0, 1.02 * top)
    scale = alt.Scale(domain=[0, top], nice=False)
    axis = alt.Axis(format="%", tickCount=6)
    x = alt.X("predicted:Q", title=about.word("predicted"), scale=scale, axis=axis)
    base = alt.Chart(_data(found.curve.to_dicts()))
    diagonal = [
        {"predicted": 0, "observed": 0},
        {"predicted": top, "observed": top},
    ]
    y = alt.Y("observed:Q", title=about.word("observed"), scale=scale, axis=axis)
    layers = [
        alt.Chart(_data(diagonal)).mark_line(color=PALE, strokeDash=[5, 3]).encode(x=x, y=y),
        alt.Chart(_data([{"predicted": top, "observed": top, "text": about.word("perfect")}]))
        .mark_text(align="left", dx=6, fontSize=11, color="#444444")
        .encode(x=x, y=y, text="text:N"),
        base.mark_rule(color=BLUE, strokeWidth=1.6).encode(
            x=x, y=alt.Y("lower:Q", scale=scale, title=about.word("observed")), y2="upper:Q"
        ),
        base.mark_point(filled=True, size=70, opacity=1, color=BLUE).encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("n:Q"),
                alt.Tooltip("events:Q"),
                alt.Tooltip("observed:Q", format=".1%"),
            ],
        ),
    ]
    numbers = about.word(
        "calibration-numbers",
        n=found.n,
        events=found.events,
        ratio=about.number(found.ratio, 2),
        slope=about.number(found.recalibration.slope, 2),
        c=about.number(found.c_statistic, 2),
    )
    fewest, most = min(found.curve["n"], default=0), max(found.curve["n"], default=0)
    sizes = str(most) if fewest == most else f"{fewest}–{most}"
    drawn = alt.layer(*layers).properties(width=380, height=380)
    groups = about.word("per-point", n=sizes, level=f"{100 * found.level:g}") if found.n else ""
    return finished(drawn, about, [numbers, groups])


def interval_chart(
    units: pl.DataFrame, about: About, *, level: float = 0.95, reference: float | None = None
) -> dict[str, Any]:
    """Draw a measure by unit: dots with intervals, and n in the label.

    Parameters
    ----------
    units : polars.DataFrame
        ``unit``, ``n``, ``estimate`` (missing: no cases), ``lower``, ``upper``; drawn in
        the order of the rows. By name is fair; by value makes a league table.
    about : About
    level : float
        Of the intervals.
    reference : float, optional
        A line to compare with: a target, or the hospital as a whole.

    Returns
    -------
    dict
        Vega-Lite.
    """
    rows = [
        {**row, "name": f"{row['unit']}  (n = {row['n']})", "text": about.value(row["estimate"])}
        for row in units.iter_rows(named=True)
    ]
    order = [row["name"] for row in rows]
    known = [row for row in rows if row["estimate"] is not None]
    ends = [row[side] for row in known for side in ("lower", "upper", "estimate")]
    domain = value_domain([*ends, reference], floor=0.0, ceiling=1.0 if about.percent else None)
    scale = alt.Scale(domain=domain, nice=False, zero=False, clamp=True)

    def x(field: str) -> Any:
        return alt.X(
            f"{field}:Q",
            title=None,
            scale=scale,
            axis=alt.Axis(format=about.axis_format, tickCount=6),
        )

    y = alt.Y(
        "name:N",
        sort=order,
        title=None,
        axis=alt.Axis(labelLimit=320, ticks=False, domain=False),
        scale=alt.Scale(domain=order),
    )
    finite = [
        {**row, "lower": max(row["lower"], domain[0]), "upper": min(row["upper"], domain[1])}
        for row in known
    ]
    layers: list[Any] = [
        alt.Chart(_data(finite))
        .mark_rule(color=BLUE, strokeWidth=2.2)
        .encode(y=y, x=x("lower"), x2="upper:Q"),
        alt.Chart(_data(finite))
        .mark_point(filled=True, size=75, opacity=1, color=BLUE)
        .encode(y=y, x=x("estimate"), tooltip=["unit:N", "n:Q", "text:N"]),
        alt.Chart(_data(known))
        .mark_text(align="left", dx=8, fontSize=11, color="#333333")
        .encode(y=y, x=alt.value(_WIDTH - 120), text="text:N"),
        alt.Chart(
            _data(
                [{**row, "text": about.word("no-data")} for row in rows if row["estimate"] is None]
            )
        )
        .mark_text(align="left", dx=8, fontSize=11, color=GREY, fontStyle="italic")
        .encode(y=y, x=alt.value(_WIDTH - 120), text="text:N"),
    ]
    if reference is not None:
        layers.insert(
            0,
            alt.Chart(_data([{"reference": reference}]))
            .mark_rule(color="#333333", strokeDash=[2, 3], strokeWidth=1.4)
            .encode(x=x("reference")),
        )
    drawn = alt.layer(*layers).properties(width=_WIDTH - 120, height=max(60, 26 * len(rows)))
    notes = [about.word("level", level=f"{100 * level:g}")]
    if reference is not None:
        notes.append(about.word("reference", value=about.value(reference)))
    return finished(drawn, about, ["; ".join(notes)])
