"""Charts of quality: funnels; with control charts and the others, all under one name.

Pure functions from results to Vega-Lite. Each chart says what is measured, what
its denominator counts, the period, and whether the data are synthetic; colour is
never alone: shapes and dashes say the same.
"""

from __future__ import annotations

from typing import Any, Final

import altair as alt
import polars as pl

from neva.quality.comparison.funnel import Funnel
from neva.reports.charts.control import control_chart
from neva.reports.charts.drawing import _WIDTH, _data
from neva.reports.charts.outcomes import calibration_chart, interval_chart, sequential_chart
from neva.reports.charts.quality_drawing import (
    GREY,
    ORANGE,
    PALE,
    About,
    finished,
    kept_apart,
)

__all__ = [
    "About",
    "calibration_chart",
    "control_chart",
    "funnel_chart",
    "interval_chart",
    "sequential_chart",
]

_HEIGHT: Final = 300


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
    drawn = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT)
    return finished(drawn, about, [method])
