"""Charts of forecast accuracy: skill with intervals, levels reached, histogram."""

from __future__ import annotations

from typing import Any, Final

import altair as alt
import polars as pl

from neva.reports.charts.drawing import _data
from neva.reports.charts.flow import BAND90, INK, LINE, SMALL, themed
from neva.reports.pages.flow_words import hours_ahead, is_known
from neva.statistics.scoring import Reliability

__all__ = ["SKILL_FLOOR", "clock_chart", "histogram_chart", "levels_chart", "skill_chart"]

#: Skills below are drawn here: how much worse than twice as bad does not matter.
SKILL_FLOOR: Final = -1.0
_KINDS: Final = ["better", "not told apart", "worse"]
_COLOURS: Final = ["#0072B2", "#6b6b6b", "#D55E00"]
_SHAPES: Final = ["circle", "diamond", "square"]


def skill_chart(skills: pl.DataFrame, place: str) -> dict[str, Any]:
    """Draw the skill at one place: a dot and its interval for each baseline and horizon.

    Parameters
    ----------
    skills : polars.DataFrame
        See :meth:`neva.flow.forecast.evaluation.Evaluation.skills`.
    place : str
    """
    mine = skills.filter(pl.col("place") == place, pl.col("skill").is_finite()).sort(
        "baseline", "horizon_hours"
    )
    rows = [
        {
            "row": f"{row['baseline']}, {hours_ahead(row['horizon_hours'])}",
            "skill": max(SKILL_FLOOR, row["skill"]),
            "low": max(SKILL_FLOOR, row["skill_low"]) if is_known(row["skill_low"]) else None,
            "high": max(SKILL_FLOOR, row["skill_high"]) if is_known(row["skill_high"]) else None,
            "kind": _KINDS[0] if row["better"] else _KINDS[2] if row["worse"] else _KINDS[1],
        }
        for row in mine.iter_rows(named=True)
    ]
    y = alt.Y(
        "row:N",
        title=None,
        sort=[row["row"] for row in rows],
        axis=alt.Axis(labelLimit=230, ticks=False, domain=False, grid=False),
    )

    def x(field: str) -> Any:
        return alt.X(
            f"{field}:Q",
            title="skill: share of the baseline's error that is gone",
            scale=alt.Scale(domain=[SKILL_FLOOR, 1]),
            axis=alt.Axis(format=".0%", values=[-1, -0.5, 0, 0.5, 1], labelFlush=False),
        )

    whole = [row for row in rows if row["low"] is not None]
    bare = [row for row in rows if row["low"] is None]
    scale = alt.Scale(domain=_KINDS, range=_COLOURS)
    colour = alt.Color("kind:N", scale=scale, legend=None)
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=_KINDS, range=_SHAPES), legend=None)
    layers = [
        alt.Chart(_data([{"zero": 0}])).mark_rule(color=INK, strokeWidth=1.2).encode(x=x("zero")),
        alt.Chart(_data(whole))
        .mark_rule(strokeWidth=2)
        .encode(x=x("low"), x2="high:Q", y=y, color=colour),
        alt.Chart(_data(whole))
        .mark_point(filled=True, size=70, opacity=1)
        .encode(x=x("skill"), y=y, color=colour, shape=shape),
        # Hollow: the share has no interval.
        alt.Chart(_data(bare))
        .mark_point(filled=False, size=60, opacity=1, strokeWidth=1.8)
        .encode(x=x("skill"), y=y, color=colour, shape=shape),
    ]
    return themed(alt.layer(*layers), (230, max(40, 19 * len(rows))))


def levels_chart(found: Reliability) -> dict[str, Any]:
    """Draw the share reached against the level, with where a right forecast would lie."""
    frame = found.frame
    x = alt.X(
        "level:Q",
        title="level of the forecast",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
    )

    def y(field: str) -> Any:
        return alt.Y(
            f"{field}:Q",
            title="share of outcomes at or below it",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
        )

    base = alt.Chart(_data(frame.to_dicts()))
    return themed(
        alt.layer(
            base.mark_area(color="#d9d9d9").encode(x=x, y=y("low"), y2="high:Q"),
            alt.Chart(_data([{"level": 0.0, "share": 0.0}, {"level": 1.0, "share": 1.0}]))
            .mark_line(color="#4d4d4d", strokeDash=[4, 3], strokeWidth=1)
            .encode(x=x, y=y("share")),
            base.mark_line(
                color=LINE, strokeWidth=2, point=alt.OverlayMarkDef(size=16, color=LINE)
            ).encode(x=x, y=y("share")),
        ),
        (SMALL[0], 230),
    )


def histogram_chart(found: Reliability) -> dict[str, Any]:
    """Draw the histogram of the transforms; flat if forecasts are right."""
    x = alt.X(
        "from:Q",
        bin="binned",
        title="where the outcome lay in its forecast",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], grid=False),
    )
    y = alt.Y("count:Q", title="occasions", axis=alt.Axis(tickCount=5, tickMinStep=1))
    expected = alt.Chart(_data(found.bins.head(1).to_dicts()))
    return themed(
        alt.layer(
            alt.Chart(_data(found.bins.to_dicts()))
            .mark_bar(color="#8fbfe0", stroke="white", strokeWidth=1)
            .encode(x=x, x2="until:Q", y=y),
            expected.mark_rule(color="#4d4d4d", strokeDash=[4, 3], strokeWidth=1.4).encode(
                y="expected:Q"
            ),
        ),
        (SMALL[0], 230),
    )


def clock_chart(by_hour: pl.DataFrame) -> dict[str, Any]:
    """Draw the mean CRPS by local hour of the day, beside its noise floor.

    Parameters
    ----------
    by_hour : polars.DataFrame
        ``hour``, ``crps``, ``noise_floor``.
    """
    x = alt.X(
        "hour:O", title="local hour of the day judged", axis=alt.Axis(labelAngle=0, grid=False)
    )
    base = alt.Chart(_data(by_hour.select("hour", "crps", "noise_floor").to_dicts()))
    return themed(
        alt.layer(
            base.mark_bar(color=BAND90, size=14).encode(
                x=x, y=alt.Y("crps:Q", title="mean CRPS, patients")
            ),
            base.mark_tick(color=INK, thickness=2.5, size=16).encode(x=x, y="noise_floor:Q"),
        )
    )
