"""Charts of quality: control charts and funnels; with the others, all under one name.

Pure functions from results to Vega-Lite. Each chart says what is measured, what
its denominator counts, the period, and whether the data are synthetic; colour is
never alone: shapes and dashes say the same.
"""

from __future__ import annotations

import math
from datetime import date, datetime
from itertools import pairwise
from typing import Any, Final

import altair as alt
import polars as pl

from neva.quality.charts.spc import ControlChart
from neva.quality.comparison.funnel import Funnel
from neva.reports.charts.drawing import _WIDTH, _data
from neva.reports.charts.outcomes import calibration_chart, interval_chart, sequential_chart
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

__all__ = [
    "About",
    "calibration_chart",
    "control_chart",
    "funnel_chart",
    "interval_chart",
    "sequential_chart",
]

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
    is_time = frame.height > 0 and isinstance(frame["period"][0], date)
    last_of = frame.filter(pl.col("value").is_not_null())
    last = last_of.row(-1, named=True) if last_of.height else None
    is_share = about.percent and chart.kind != "xmr"
    domain = value_domain(
        [
            *frame["value"],
            *frame["lower"],
            *frame["upper"],
            chart.target,
        ],
        floor=None if frame["value"].min() is None or frame["value"].min() < 0 else 0.0,  # type: ignore[operator]
        ceiling=1.0 if is_share else None,
    )
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

    events = chart.kind in {"t", "g"}
    axis_title = about.word("event-axis" if events else "period-axis")
    kind = "T" if is_time else "Q"
    dates = (
        {"format": "%-d %b %Y" if _closer_than_months(frame["period"]) else "%b %Y"}
        | _few_ticks(rows)
        if is_time
        else {"format": "d", "tickMinStep": 1}
    )
    place = f"at:{kind}"
    x_scale = alt.Scale(nice=False, zero=False, padding=8)
    if not rows:  # an axis of nothing has no ends of its own
        x_scale = alt.Scale(domain=[0, 1])
    x = alt.X(
        place,
        title=axis_title,
        axis=alt.Axis(labelAngle=0, tickCount=8, grid=False, labelOverlap=True, **dates),
        scale=x_scale,
    )
    scale = alt.Scale(domain=domain, nice=False, zero=False)

    def y(field: str) -> Any:
        return alt.Y(
            f"{field}:Q",
            title=None,
            scale=scale,
            axis=alt.Axis(format=about.axis_format, tickCount=6),
        )

    layers: list[Any] = []
    with_limits = [row for row in rows if row["upper"] is not None]
    varying = chart.kind in {"p", "p-prime", "u", "u-prime"}
    for field, dash, colour, width in (
        ("upper", [5, 3], PALE, 1.3),
        ("lower", [5, 3], PALE, 1.3),
        ("centre", [1, 0], "#333333", 1.2),
    ):
        shown = (
            [row for row in rows if row["centre"] is not None] if field == "centre" else with_limits
        )
        layers.append(
            alt.Chart(_data(shown))
            .mark_line(
                strokeDash=dash,
                color=colour,
                strokeWidth=width,
                interpolate="step" if varying and field != "centre" else "linear",
            )
            .encode(x=x, y=y(field), detail="group:N" if field == "centre" else "limit_run:N")
        )
    if chart.target is not None:
        layers.append(
            alt.Chart(_data([{"target": chart.target}]))
            .mark_rule(color="#b3003c", strokeDash=[2, 3], strokeWidth=1.8)
            .encode(y=y("target"))
        )
    changes = [
        {"at": row["at"], "text": about.word("rebased")}
        for before, row in pairwise(rows)
        if row["group"] != before["group"]
    ]
    if changes:
        base = alt.Chart(_data(changes))
        layers += [
            base.mark_rule(color="#333333", strokeWidth=1, strokeDash=[1, 2]).encode(x=x),
            base.mark_text(
                align="left", dx=4, dy=2, baseline="top", fontSize=10, color="#333333"
            ).encode(x=x, y=alt.value(0), text="text:N"),
        ]
    values = [row for row in rows if row["value"] is not None]
    layers.append(
        alt.Chart(_data(values))
        .mark_line(color="#555555", strokeWidth=1.4)
        .encode(x=x, y=y("value"), detail="value_run:N")
    )
    meanings = [name for name in _POINTS if name in set(frame["point"])]
    tooltip = [
        alt.Tooltip("name:N", title=about.word("tip-period")),
        alt.Tooltip("label:N", title=about.word("tip-value")),
        alt.Tooltip("rule:N", title=about.word("tip-rule")),
    ]
    tooltip += [
        alt.Tooltip(f"{column}:Q", title=about.word(f"tip-{column}"), format="~g")
        for column in ("numerator", "denominator")
        if frame[column].null_count() < frame.height
    ]
    if meanings:
        words = [about.word(f"point-{name}") for name in meanings]
        layers.append(
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
        )
    gaps = [row for row in rows if row["value"] is None]
    if gaps:
        layers.append(
            alt.Chart(_data([{**row, "mark": "×"} for row in gaps]))
            .mark_text(fontSize=13, color=GREY, baseline="bottom", dy=-2)
            .encode(x=x, y=alt.value(_HEIGHT), text="mark:N", tooltip=tooltip[:1])
        )
    if last is not None:
        centre = {"g": "median", "t": "centre"}.get(chart.kind, "mean")
        if last["point"] == "unjudged":
            centre = "median"
        named = [(centre, last["centre"]), ("upper", last["upper"]), ("lower", last["lower"])]
        labels = [(about.word(key), place) for key, place in named if place is not None]
        if chart.target is not None:
            labels.append((about.word("target"), chart.target))
        moved = kept_apart([place for _, place in labels], domain, _HEIGHT)
        layers.append(
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
        )
    drawn: Any = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)
    counted = [
        {"at": row["at"], "n": _short(row["denominator"])}
        for row in rows
        if row["denominator"] is not None
    ]
    if counted and len(rows) <= _MOST_LABELS:
        # Only as many as fit beside each other; the tooltips have them all.
        longest = max(len(row["n"]) for row in counted)
        every = math.ceil((longest + 0.5) * _DIGIT_WIDTH * len(rows) / _WIDTH)
        strip = (
            alt.Chart(_data(counted[::every]))
            .mark_text(fontSize=9, color="#444444")
            .encode(x=alt.X(place, axis=None, scale=x_scale), text="n:N")
        )
        name = (
            alt.Chart(_data([{"text": about.word("n")}]))
            .mark_text(fontSize=10, align="right", dx=-14, color="#444444")
            .encode(x=alt.value(0), text="text:N")
        )
        below = alt.layer(strip, name).properties(width=_WIDTH, height=12)
        drawn = alt.vconcat(drawn, below, spacing=2).resolve_scale(x="shared")
    sayings = [chart.variation, chart.assurance]
    notes = [
        "; ".join(about.word(saying) for saying in sayings if saying),
        "; ".join(about.word(warning) for warning in chart.warnings),
    ]
    return finished(drawn, about, notes)


def _short(count: float) -> str:
    """Write a denominator in at most five characters: 7, 812, 1.3k, 12k."""
    if count < 1000:
        return f"{count:.0f}"
    return f"{count / 1000:.1f}k" if count < 9950 else f"{count / 1000:.0f}k"


def funnel_chart(funnel: Funnel, about: About) -> dict[str, Any]:
    """Draw a funnel plot; units outside of the 99.8 % limits carry their names.

    Parameters
    ----------
    funnel : Funnel
    about : About

    Returns
    -------
    dict
        Vega-Lite: one point a unit by size, limits at 95 % (dashed) and 99.8 %,
        reference line.
    """
    known = funnel.frame.filter(pl.col("value").is_not_null())
    top = max([*known["value"], funnel.reference * 1.2, *funnel.curve["upper_95"].tail(100)])
    domain = [0.0, min(1.0, 1.15 * top) if funnel.kind == "proportion" else 1.15 * top]
    x = alt.X(
        "size:Q",
        title=about.word(f"size-{funnel.kind}"),
        scale=alt.Scale(domain=[0, float(funnel.curve["size"][-1])], nice=False),
        axis=alt.Axis(format=",f", tickCount=8, grid=False),
    )

    def y(field: str) -> Any:
        return alt.Y(
            f"{field}:Q",
            title=None,
            scale=alt.Scale(domain=domain, nice=False),
            axis=alt.Axis(format=about.axis_format, tickCount=6),
        )

    layers: list[Any] = []
    end = funnel.curve.row(-1, named=True)
    labels = []
    for name, dash, colour in (("95", [5, 3], PALE), ("998", [1, 0], "#555555")):
        for side in ("lower", "upper"):
            layers.append(
                alt.Chart(_data(funnel.curve.select("size", f"{side}_{name}").to_dicts()))
                .mark_line(strokeDash=dash, color=colour, strokeWidth=1.3, clip=True)
                .encode(x=x, y=y(f"{side}_{name}"))
            )
            labels.append((about.word(f"limit-{name}"), end[f"{side}_{name}"]))
    labels.append((about.word("reference", value=about.value(funnel.reference)), funnel.reference))
    layers.append(
        alt.Chart(_data([{"reference": funnel.reference}]))
        .mark_rule(color="#333333", strokeWidth=1.2)
        .encode(y=y("reference"))
    )
    moved = kept_apart([place for _, place in labels], domain, _HEIGHT)
    layers.append(
        alt.Chart(
            _data(
                [{"place": at, "text": name} for (name, _), at in zip(labels, moved, strict=True)]
            )
        )
        .mark_text(align="left", dx=8, fontSize=11, color="#333333")
        .encode(x=alt.value(_WIDTH), y=y("place"), text="text:N")
    )
    groups = {"in": "flag-in", "95": "flag-95", "998": "flag-998"}
    rows = [
        {
            **row,
            "meaning": about.word(groups[row["flag"].split("-")[-1]]),
            "name": str(row["unit"]),
            "label": about.value(row["value"]),
        }
        for row in known.drop("lower_95", "upper_95", "lower_998", "upper_998").iter_rows(
            named=True
        )
    ]
    words = [about.word(key) for key in groups.values()]
    layers.append(
        alt.Chart(_data(rows))
        .mark_point(filled=True, opacity=0.95, size=75, stroke="white", strokeWidth=0.7)
        .encode(
            x=x,
            y=y("value"),
            color=alt.Color(
                "meaning:N",
                title=None,
                scale=alt.Scale(domain=words, range=[GREY, "#B8860B", ORANGE]),
                legend=alt.Legend(orient="top", symbolSize=80, offset=2),
            ),
            shape=alt.Shape(
                "meaning:N",
                title=None,
                scale=alt.Scale(domain=words, range=["circle", "triangle-up", "square"]),
            ),
            tooltip=[
                alt.Tooltip("name:N", title=about.word("tip-unit")),
                alt.Tooltip("label:N", title=about.word("tip-value")),
                alt.Tooltip("events:Q", title=about.word("tip-numerator")),
                alt.Tooltip("size:Q", title=about.word(f"size-{funnel.kind}"), format=".4~g"),
                alt.Tooltip("z:Q", title=about.word("tip-z"), format=".2f"),
            ],
        )
    )
    outside = [row for row in rows if row["flag"].endswith("998")]
    layers.append(
        alt.Chart(_data(outside))
        .mark_text(align="left", dx=8, dy=-6, fontSize=11)
        .encode(x=x, y=y("value"), text="name:N")
    )
    method = about.word(
        f"method-{funnel.method}",
        phi=about.number(funnel.phi, 2),
        tau2=about.number(funnel.tau2, 4),
    )
    drawn = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT + 40)
    return finished(drawn, about, [method])
