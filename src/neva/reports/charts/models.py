"""Charts of models: calibration, decision curve, figures over landmarks."""

from __future__ import annotations

from typing import Any, Final

import altair as alt
import polars as pl

from neva.models.evaluation import ModelEvaluation
from neva.reports.charts.drawing import _data
from neva.reports.charts.flow import INK, LINE, themed

__all__ = ["calibration_chart", "decision_chart", "landmark_chart"]

#: Colours and dashes by place in the list; the sign of the legend beside it.
SERIES: Final = (
    (LINE, [1, 0], "line"),
    ("#D55E00", [1, 0], "s0"),
    ("#007a5a", [6, 3], "s1"),
    ("#a83f80", [2, 2], "s2"),
)
_GREY: Final = "#6b6b6b"
_SIZE: Final = (330, 300)


def _share(field: str, title: str, axis: Any) -> Any:
    return axis(
        f"{field}:Q",
        title=title,
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
    )


def calibration_chart(evaluation: ModelEvaluation) -> dict[str, Any]:
    """Draw observed against predicted shares in groups of rising probability.

    Parameters
    ----------
    evaluation : ModelEvaluation

    Returns
    -------
    dict
        Vega-Lite: a dot and its interval for each group; the diagonal is right.
    """
    rows = (
        evaluation.calibration_curve.select("predicted", "value", "lower", "upper")
        .drop_nulls("value")
        .to_dicts()
    )
    x = _share("predicted", "predicted probability", alt.X)
    base = alt.Chart(_data(rows))
    diagonal = alt.Chart(_data([{"predicted": 0, "value": 0}, {"predicted": 1, "value": 1}]))
    return themed(
        alt.layer(
            diagonal.mark_line(color=_GREY, strokeDash=[4, 3], strokeWidth=1).encode(
                x=x, y=_share("value", "observed share", alt.Y)
            ),
            base.mark_rule(color=LINE, strokeWidth=1.8).encode(
                x=x, y=_share("lower", "observed share", alt.Y), y2="upper:Q"
            ),
            base.mark_point(filled=True, size=60, color=INK, opacity=1).encode(
                x=x, y=_share("value", "observed share", alt.Y)
            ),
        ),
        _SIZE,
    )


def decision_chart(evaluation: ModelEvaluation, predictors: list[str]) -> dict[str, Any]:
    """Draw net benefit over the threshold; flagging nobody is the line at zero.

    Parameters
    ----------
    evaluation : ModelEvaluation
    predictors : list of str
        The model first; at most four. Its interval is the band.
    """
    curve = evaluation.decision_curve
    top = float(curve["value"].max() or 0.1) * 1.08  # type: ignore[arg-type]
    floor = -0.25 * top
    x = alt.X(
        "threshold:Q",
        title="threshold of the probability",
        scale=alt.Scale(domain=[0, 0.8]),
        axis=alt.Axis(format="%", values=[0, 0.2, 0.4, 0.6, 0.8]),
    )

    def y(field: str) -> Any:
        return alt.Y(
            f"{field}:Q",
            title="net benefit per case",
            scale=alt.Scale(domain=[floor, top], nice=False),
            axis=alt.Axis(tickCount=5, format=".2f"),
        )

    layers: list[Any] = []
    main = curve.filter(pl.col("predictor") == predictors[0]).with_columns(
        pl.col("lower", "upper").clip(floor, top)
    )
    layers.append(
        alt.Chart(_data(main.drop("undefined").to_dicts()))
        .mark_area(color="#cfe3f1")
        .encode(x=x, y=y("lower"), y2="upper:Q")
    )
    layers.append(
        alt.Chart(_data([{"zero": 0}])).mark_rule(color=INK, strokeWidth=1).encode(y=y("zero"))
    )
    everyone = curve.filter(pl.col("predictor") == "all flagged", pl.col("value") >= floor)
    layers.append(
        alt.Chart(_data(everyone.select("threshold", "value").to_dicts()))
        .mark_line(color=_GREY, strokeWidth=1.5)
        .encode(x=x, y=y("value"))
    )
    for name, (colour, dash, _) in reversed(list(zip(predictors, SERIES, strict=False))):
        mine = curve.filter(pl.col("predictor") == name, pl.col("value") >= floor)
        layers.append(
            alt.Chart(_data(mine.select("threshold", "value").to_dicts()))
            .mark_line(color=colour, strokeDash=dash, strokeWidth=2.2)
            .encode(x=x, y=y("value"))
        )
    return themed(alt.layer(*layers), _SIZE)


def landmark_chart(
    rows: list[dict[str, Any]], figure: str, predictors: list[str], *, domain: tuple[float, float]
) -> dict[str, Any]:
    """Draw one figure with intervals at each landmark, predictors beside each other.

    Parameters
    ----------
    rows : list of dict
        ``landmark``, ``predictor``, ``value``, ``lower``, ``upper``.
    figure : str
        Title of the axis.
    predictors : list of str
    domain : tuple of float
        Of the axis.
    """
    order = list(dict.fromkeys(row["landmark"] for row in rows))
    shapes = ["circle", "square", "triangle-up", "diamond"]
    scale = alt.Scale(domain=predictors, range=[one[0] for one in SERIES[: len(predictors)]])
    y = alt.Y(
        "landmark:N",
        title=None,
        sort=order,
        axis=alt.Axis(labelLimit=230, ticks=False, domain=False, grid=False),
    )
    offset = alt.YOffset("predictor:N", sort=predictors, scale=alt.Scale(domain=predictors))

    def x(field: str) -> Any:
        return alt.X(f"{field}:Q", title=figure, scale=alt.Scale(domain=list(domain), clamp=True))

    base = alt.Chart(_data(rows))
    colour = alt.Color("predictor:N", scale=scale, legend=None)
    return themed(
        alt.layer(
            base.mark_rule(strokeWidth=1.8).encode(
                x=x("lower"), x2="upper:Q", y=y, yOffset=offset, color=colour
            ),
            base.mark_point(filled=True, size=46, opacity=1).encode(
                x=x("value"),
                y=y,
                yOffset=offset,
                color=colour,
                shape=alt.Shape(
                    "predictor:N",
                    scale=alt.Scale(domain=predictors, range=shapes[: len(predictors)]),
                    legend=None,
                ),
            ),
        ),
        (230, max(90, 52 * len(order))),
    )
