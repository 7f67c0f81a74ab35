"""Charts: pure functions from results to Vega-Lite, and Vega-Lite to SVG.

Colours are those of Okabe & Ito, which people with colour-blindness can
distinguish; every series has its own dash too, so that black-and-white print reads.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import altair as alt
import polars as pl

from neva.census import Census, LengthOfStay

__all__ = ["busiest", "census_chart", "still_there_chart", "to_svg", "with_own_ids"]

COLOURS: Final = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES: Final = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 2], [10, 4], [1, 3]]
_WIDTH: Final = 640


@lru_cache(maxsize=1)
def _converter() -> Any:
    import vl_convert

    return vl_convert


def to_svg(specification: dict[str, Any]) -> str:
    """Render a Vega-Lite specification as SVG text; no network, no browser."""
    svg: str = _converter().vegalite_to_svg(specification)
    return svg


def with_own_ids(html: str) -> str:
    """Name the parts of each drawing by its number: all SVG of a page share one space of names."""
    pieces = re.split(r"(?=<svg )", html)
    return "".join(
        re.sub(r'(id="|url\(#)(clip|gradient)', rf"\g<1>d{number}-\g<2>", piece)
        for number, piece in enumerate(pieces)
    )


def _data(values: list[dict[str, Any]]) -> Any:
    return alt.Data(values=values)  # type: ignore[no-untyped-call]


def _themed(chart: Any) -> dict[str, Any]:
    made: dict[str, Any] = (
        chart.configure(font="DejaVu Sans, Arial, sans-serif", background="white")
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor="#e3e3e3"
        )
        .configure_legend(labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
        .to_dict()
    )
    return made


def _series(places: list[str], title: str) -> dict[str, Any]:
    shown = places[: len(COLOURS)]
    return {
        "color": alt.Color(
            "place:N",
            title=title,
            scale=alt.Scale(domain=shown, range=COLOURS[: len(shown)]),
            legend=alt.Legend(orient="top", symbolStrokeWidth=3, symbolSize=300),
        ),
        "strokeDash": alt.StrokeDash(
            "place:N", title=title, scale=alt.Scale(domain=shown, range=DASHES[: len(shown)])
        ),
    }


def busiest(frame: pl.DataFrame, value: str, most: int) -> list[str]:
    """Return the places with the highest peaks of a column, highest first."""
    ranked = (
        frame.group_by("place")
        .agg(pl.col(value).max())
        .sort([value, "place"], descending=[True, False])
    )
    return ranked["place"].head(most).to_list()


def census_chart(census: Census) -> dict[str, Any]:
    """Draw patients present per place over time; incomplete periods greyed.

    Parameters
    ----------
    census : Census
        Any number of places; the seven with the highest peaks are drawn.

    Returns
    -------
    dict
        Vega-Lite. The horizontal axis is the hospital's local time.
    """
    frame = census.frame.with_columns(
        local=pl.col("time").dt.convert_time_zone(census.zone).dt.replace_time_zone(None),
        local_until=pl.col("until").dt.convert_time_zone(census.zone).dt.replace_time_zone(None),
    )
    places = busiest(frame, "present", len(COLOURS))
    shown = frame.filter(pl.col("place").is_in(places)).with_columns(
        pl.col("local", "local_until").dt.to_string("%Y-%m-%dT%H:%M:%S")
    )
    grey = (
        shown.group_by("local", "local_until")
        .agg(complete=pl.col("complete").all())
        .filter(~pl.col("complete"))
        .sort("local")
    )
    axis = alt.X(
        "local:T",
        title=f"local time ({census.zone})",
        axis=alt.Axis(format="%-d %b %Y", labelAngle=0, tickCount=7),
    )
    line = (
        alt.Chart(_data(shown.filter("complete").select("place", "local", "present").to_dicts()))
        .mark_line(strokeWidth=2.2, interpolate="step-after")
        .encode(
            x=axis, y=alt.Y("present:Q", title="patients present"), **_series(places, census.what)
        )
    )
    layers: list[Any] = [line]
    if grey.height:
        band = (
            alt.Chart(
                _data(values=[{"local": grey["local"][0], "local_until": grey["local_until"][-1]}])
            )
            .mark_rect(color="#bdbdbd", opacity=0.45)
            .encode(x=axis, x2="local_until:T")
        )
        pale = (
            alt.Chart(
                _data(
                    values=shown.filter(~pl.col("complete"))
                    .select("place", "local", "present")
                    .to_dicts()
                )
            )
            .mark_line(strokeWidth=1, color="#8a8a8a", interpolate="step-after")
            .encode(x=axis, y="present:Q", detail="place:N")
        )
        note = (
            alt.Chart(_data([{"local": grey["local"][0], "text": "follow-up ends"}]))
            .mark_text(align="right", dx=-4, dy=6, baseline="top", color="#555555", fontSize=11)
            .encode(x=axis, y=alt.value(0), text="text:N")
        )
        layers = [band, line, pale, note]
    return _themed(alt.layer(*layers).properties(width=_WIDTH, height=260))


def still_there_chart(stays: LengthOfStay, *, days: int = 60) -> dict[str, Any]:
    """Draw the share still there after each number of days, per place.

    Parameters
    ----------
    stays : LengthOfStay
        With its curves.
    days : int
        Where the axis ends.
    """
    curves = stays.curves.filter(pl.col("days") <= days)
    places = (
        stays.frame.sort(["intervals", "place"], descending=[True, False])["place"]
        .head(len(COLOURS))
        .to_list()
    )
    shown = curves.filter(pl.col("place").is_in(places))
    chart = (
        alt.Chart(_data(shown.to_dicts()))
        .mark_line(strokeWidth=2.2, interpolate="step-after")
        .encode(
            x=alt.X("days:Q", title="days since arrival"),
            y=alt.Y(
                "share:Q",
                title="share still there",
                axis=alt.Axis(format="%"),
                scale=alt.Scale(domain=[0, 1]),
            ),
            **_series(places, "place"),
        )
    )
    return _themed(chart.properties(width=_WIDTH, height=240))
