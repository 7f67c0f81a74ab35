"""Control charts as Vega-Lite: one function for each of their layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime
from itertools import pairwise
from typing import Any, Final

import altair as alt
import polars as pl

from neva.quality.charts.spc import ControlChart
from neva.reports.charts.drawing import _WIDTH, _data
from neva.reports.charts.quality_drawing import (
    BLUE,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    About,
    finished,
    kept_apart,
    value_domain,
)

__all__ = ["control_chart"]

_POINTS: Final = {
    "common": (GREY, "circle"),
    "improvement": (BLUE, "diamond"),
    "concern": (ORANGE, "square"),
    "high": (PURPLE, "triangle-up"),
    "low": (PURPLE, "triangle-down"),
    "unjudged": (GREY, "circle"),
}
_HEIGHT: Final = 260
# Width of a digit of the denominators under the axis, pixels.
_DIGIT_WIDTH: Final = 6
# So many periods are named at the axis, each; of more, some.
_MOST_TICKS: Final = 8
# Charts of more periods than this have none there.
_MOST_LABELS: Final = 40


def _few_ticks(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Name each of few periods once: ticks in between would name one several times."""
    if len(rows) > _MOST_TICKS:
        return {}
    moments = [datetime.fromisoformat(row["at"]) for row in rows]
    return {
        "values": [
            alt.DateTime(
                year=one.year, month=one.month, date=one.day, hours=one.hour, minutes=one.minute
            )
            for one in moments
        ]
    }


def _stamp(period: Any) -> Any:
    """Dates as local times, which Vega does not move between time zones."""
    if isinstance(period, datetime):
        return period.replace(tzinfo=None).isoformat(timespec="seconds")
    return f"{period.isoformat()}T00:00:00" if isinstance(period, date) else period


def _stretches(frame: pl.DataFrame, column: str) -> pl.Series:
    """Number the stretches without a missing value inside one group; lines join these only."""
    missing = frame[column].is_null()
    new_group = frame["group"] != frame["group"].shift(1, fill_value=0)
    return (missing | missing.shift(1, fill_value=False) | new_group).cum_sum().cast(pl.Int64)


def _closer_than_months(periods: pl.Series) -> bool:
    """Tell whether a month would stand under more than one period."""
    gaps = periods.diff().drop_nulls().dt.total_days()
    return bool(gaps.len()) and int(gaps.min() or 0) < 28  # type: ignore[arg-type]


def control_chart(chart: ControlChart, about: About) -> dict[str, Any]:
    """Draw a control chart.

    Parameters
    ----------
    chart : ControlChart
    about : About

    Returns
    -------
    dict
        Vega-Lite: values joined by a line that stops at gaps, special causes by
        colour and shape, centre, limits (dashed) and target with their last values,
        rebasing as vertical lines, denominators under the axis (up to 40 periods)
        and in the tooltips.
    """
    frame = chart.frame
    rows = _period_rows(frame, about)
    values = [row for row in rows if row["value"] is not None]
    gaps = [row for row in rows if row["value"] is None]
    domain = _domain(chart, about)
    x = _period_axis(chart, rows, about)
    scale = alt.Scale(domain=domain, nice=False, zero=False)

    def y(field: str) -> Any:
        return alt.Y(
            f"{field}:Q",
            title=None,
            scale=scale,
            axis=alt.Axis(format=about.axis_format, tickCount=6),
        )

    tooltip = _tooltip(frame, about)
    layers = [
        *_limit_lines(chart, rows, x, y),
        *_target_line(chart, y),
        *_rebasing_lines(rows, about, x),
        alt.Chart(_data(values))
        .mark_line(color="#555555", strokeWidth=1.4)
        .encode(x=x, y=y("value"), detail="value_run:N"),
        *_judged_points(frame, values, about, x, y, tooltip),
        *_gap_marks(gaps, x, tooltip[:1]),
        *_last_values(chart, domain, about, y),
    ]
    drawn: Any = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)
    if below := _denominators(frame, rows, about):
        drawn = alt.vconcat(drawn, *below, spacing=2).resolve_scale(x="shared")
    sayings = [chart.variation, chart.assurance]
    notes = [
        "; ".join(about.word(saying) for saying in sayings if saying),
        "; ".join(about.word(warning) for warning in chart.warnings),
    ]
    return finished(drawn, about, notes)


def _domain(chart: ControlChart, about: About) -> list[float]:
    """Return the ends of the axis of values; shares stay between 0 and 1."""
    frame = chart.frame
    is_share = about.percent and chart.kind != "xmr"
    return value_domain(
        [
            *frame["value"],
            *frame["lower"],
            *frame["upper"],
            chart.target,
        ],
        floor=None if frame["value"].min() is None or frame["value"].min() < 0 else 0.0,  # type: ignore[operator]
        ceiling=1.0 if is_share else None,
    )


def _period_rows(frame: pl.DataFrame, about: About) -> list[dict[str, Any]]:
    """Return one row a period, with its words."""
    rows = [
        {
            **row,
            "at": _stamp(row["period"]),
            "meaning": about.word(f"point-{row['point']}") if row["point"] != "gap" else None,
            "rule": about.word(f"rule-{row['signal']}"),
            "label": about.value(row["value"]),
            "name": str(row["period"]),
        }
        for row in frame.with_columns(
            value_run=_stretches(frame, "value"), limit_run=_stretches(frame, "upper")
        )
        .drop("time", strict=False)
        .iter_rows(named=True)
    ]
    for row in rows:
        row.pop("period")
    return rows


def _has_dates(frame: pl.DataFrame) -> bool:
    return frame.height > 0 and isinstance(frame["period"][0], date)


def _place(frame: pl.DataFrame) -> str:
    """Name the field of periods, with Vega's kind: times or numbers."""
    return "at:T" if _has_dates(frame) else "at:Q"


def _period_scale(rows: list[dict[str, Any]]) -> Any:
    if not rows:  # an axis of nothing has no ends of its own
        return alt.Scale(domain=[0, 1])
    return alt.Scale(nice=False, zero=False, padding=8)


def _period_axis(chart: ControlChart, rows: list[dict[str, Any]], about: About) -> Any:
    frame = chart.frame
    dates = (
        {"format": "%-d %b %Y" if _closer_than_months(frame["period"]) else "%b %Y"}
        | _few_ticks(rows)
        if _has_dates(frame)
        else {"format": "d", "tickMinStep": 1}
    )
    return alt.X(
        _place(frame),
        title=about.word("event-axis" if chart.kind in {"t", "g"} else "period-axis"),
        axis=alt.Axis(labelAngle=0, tickCount=8, grid=False, labelOverlap=True, **dates),
        scale=_period_scale(rows),
    )


def _tooltip(frame: pl.DataFrame, about: About) -> list[Any]:
    """Period, value and rule, and counts where there are any."""
    return [
        alt.Tooltip("name:N", title=about.word("tip-period")),
        alt.Tooltip("label:N", title=about.word("tip-value")),
        alt.Tooltip("rule:N", title=about.word("tip-rule")),
        *(
            alt.Tooltip(f"{column}:Q", title=about.word(f"tip-{column}"), format="~g")
            for column in ("numerator", "denominator")
            if frame[column].null_count() < frame.height
        ),
    ]


def _limit_lines(
    chart: ControlChart, rows: list[dict[str, Any]], x: Any, y: Callable[[str], Any]
) -> list[Any]:
    """Draw the limits, in steps where they change with the denominator, and the centre."""
    with_limits = [row for row in rows if row["upper"] is not None]
    with_centre = [row for row in rows if row["centre"] is not None]
    varying = chart.kind in {"p", "p-prime", "u", "u-prime"}
    limits = [
        alt.Chart(_data(with_limits))
        .mark_line(
            strokeDash=[5, 3],
            color=PALE,
            strokeWidth=1.3,
            interpolate="step" if varying else "linear",
        )
        .encode(x=x, y=y(field), detail="limit_run:N")
        for field in ("upper", "lower")
    ]
    centre = (
        alt.Chart(_data(with_centre))
        .mark_line(strokeDash=[1, 0], color="#333333", strokeWidth=1.2, interpolate="linear")
        .encode(x=x, y=y("centre"), detail="group:N")
    )
    return [*limits, centre]


def _target_line(chart: ControlChart, y: Callable[[str], Any]) -> list[Any]:
    if chart.target is None:
        return []
    return [
        alt.Chart(_data([{"target": chart.target}]))
        .mark_rule(color="#b3003c", strokeDash=[2, 3], strokeWidth=1.8)
        .encode(y=y("target"))
    ]


def _rebasing_lines(rows: list[dict[str, Any]], about: About, x: Any) -> list[Any]:
    """Mark where limits begin anew."""
    changes = [
        {"at": row["at"], "text": about.word("rebased")}
        for before, row in pairwise(rows)
        if row["group"] != before["group"]
    ]
    if not changes:
        return []
    base = alt.Chart(_data(changes))
    return [
        base.mark_rule(color="#333333", strokeWidth=1, strokeDash=[1, 2]).encode(x=x),
        base.mark_text(
            align="left", dx=4, dy=2, baseline="top", fontSize=10, color="#333333"
        ).encode(x=x, y=alt.value(0), text="text:N"),
    ]


def _judged_points(
    frame: pl.DataFrame,
    values: list[dict[str, Any]],
    about: About,
    x: Any,
    y: Callable[[str], Any],
    tooltip: list[Any],
) -> list[Any]:
    """Draw the values as points whose colour and shape say what the rules found."""
    meanings = [name for name in _POINTS if name in set(frame["point"])]
    if not meanings:
        return []
    words = [about.word(f"point-{name}") for name in meanings]
    return [
        alt.Chart(_data(values))
        .mark_point(filled=True, opacity=1, size=62, stroke="white", strokeWidth=0.7)
        .encode(
            x=x,
            y=y("value"),
            color=alt.Color(
                "meaning:N",
                title=None,
                scale=alt.Scale(domain=words, range=[_POINTS[name][0] for name in meanings]),
                legend=alt.Legend(orient="top", symbolSize=80, offset=2),
            ),
            shape=alt.Shape(
                "meaning:N",
                title=None,
                scale=alt.Scale(domain=words, range=[_POINTS[name][1] for name in meanings]),
            ),
            tooltip=tooltip,
        )
    ]


def _gap_marks(gaps: list[dict[str, Any]], x: Any, tooltip: list[Any]) -> list[Any]:
    """Mark the periods without a value at the axis."""
    if not gaps:
        return []
    return [
        alt.Chart(_data([{**row, "mark": "×"} for row in gaps]))
        .mark_text(fontSize=13, color=GREY, baseline="bottom", dy=-2)
        .encode(x=x, y=alt.value(_HEIGHT), text="mark:N", tooltip=tooltip)
    ]


def _last_values(
    chart: ControlChart, domain: list[float], about: About, y: Callable[[str], Any]
) -> list[Any]:
    """Write the last centre, limits and target beside their lines."""
    measured = chart.frame.filter(pl.col("value").is_not_null())
    if not measured.height:
        return []
    last = measured.row(-1, named=True)
    centre = {"g": "median", "t": "centre"}.get(chart.kind, "mean")
    if last["point"] == "unjudged":
        centre = "median"
    named = [(centre, last["centre"]), ("upper", last["upper"]), ("lower", last["lower"])]
    labels = [(about.word(key), place) for key, place in named if place is not None]
    if chart.target is not None:
        labels.append((about.word("target"), chart.target))
    moved = kept_apart([place for _, place in labels], domain, _HEIGHT)
    return [
        alt.Chart(
            _data(
                [
                    {"place": at, "text": f"{name} {about.value(place)}"}
                    for (name, place), at in zip(labels, moved, strict=True)
                ]
            )
        )
        .mark_text(align="left", dx=8, fontSize=11, color="#333333")
        .encode(x=alt.value(_WIDTH), y=y("place"), text="text:N")
    ]


def _denominators(frame: pl.DataFrame, rows: list[dict[str, Any]], about: About) -> list[Any]:
    """Write denominators below the axis, as many as fit beside each other.

    The tooltips have them all.
    """
    counted = [
        {"at": row["at"], "n": _short(row["denominator"])}
        for row in rows
        if row["denominator"] is not None
    ]
    if not counted or len(rows) > _MOST_LABELS:
        return []
    longest = max(len(row["n"]) for row in counted)
    every = math.ceil((longest + 0.5) * _DIGIT_WIDTH * len(rows) / _WIDTH)
    strip = (
        alt.Chart(_data(counted[::every]))
        .mark_text(fontSize=9, color="#444444")
        .encode(x=alt.X(_place(frame), axis=None, scale=_period_scale(rows)), text="n:N")
    )
    name = (
        alt.Chart(_data([{"text": about.word("n")}]))
        .mark_text(fontSize=10, align="right", dx=-14, color="#444444")
        .encode(x=alt.value(0), text="text:N")
    )
    return [alt.layer(strip, name).properties(width=_WIDTH, height=12)]


def _short(count: float) -> str:
    """Write a denominator in at most five characters: 7, 812, 1.3k, 12k."""
    if count < 1000:
        return f"{count:.0f}"
    return f"{count / 1000:.1f}k" if count < 9950 else f"{count / 1000:.0f}k"
