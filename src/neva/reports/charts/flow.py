"""Charts of patients over time: fans of forecasts, scenarios, simulated beside observed.

Pure functions from results to Vega-Lite. Pages name each drawing in text.
Colour is never alone; series differ by dash or shape too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import altair as alt
import polars as pl

from neva.events.schema import TIME
from neva.flow.forecast.forecast import OccupancyForecast
from neva.flow.simulation.calibration import Calibrated
from neva.flow.simulation.compare import Comparison, ServiceSearch
from neva.flow.stays.trajectories import Trajectories
from neva.reports.charts.drawing import COLOURS, DASHES, _data
from neva.statistics.distributions import quantiles

__all__ = [
    "fan_chart",
    "hours_chart",
    "incidence_chart",
    "noons_chart",
    "occupation_chart",
    "pool_chart",
    "scenario_chart",
    "search_chart",
]

INK: Final = "#1b1f24"
BAND90: Final = "#cfe3f1"
BAND50: Final = "#8fbfe0"
LINE: Final = "#0b4f7a"
BEDS: Final = "#b34700"
BASE: Final = "#4d4d4d"
BASE_BAND: Final = "#d9d9d9"
#: Lines of scenarios, after the base: colour and dash; the legend of pages has the same.
SCENARIOS: Final = (
    ("#D55E00", [1, 0]),
    ("#007a5a", [6, 3]),
    ("#a83f80", [2, 2]),
    ("#0072B2", [9, 3, 2, 3]),
)
#: Of a fan: the middle, half and nine tenths.
_LEVELS: Final = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
SMALL: Final = (300, 150)
#: So many states have a colour of their own; the others share one.
MOST_STATES: Final = 6
OTHERS: Final = "other states"
LARGE: Final = (620, 280)


def themed(chart: Any, size: tuple[int, int] = SMALL) -> dict[str, Any]:
    """Give a chart its size and looks."""
    made: dict[str, Any] = (
        chart.properties(width=size[0], height=size[1])
        .configure(
            font="DejaVu Sans, Arial, sans-serif",
            background="white",
            aria=False,
            padding={"left": 2, "right": 8, "top": 4, "bottom": 2},
        )
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=11,
            titleFontSize=11,
            titleFontWeight="normal",
            titleColor="#444444",
            gridColor="#e6e6e6",
            labelColor="#333333",
        )
        .configure_legend(labelFontSize=11, titleFontSize=11, titleFontWeight="normal")
        .to_dict()
    )
    return made


def localised(frame: pl.DataFrame, zone: str, column: str = "time") -> pl.DataFrame:
    """Add ``local``: a local time that Vega does not move between zones."""
    there = pl.col(column).dt.convert_time_zone(zone).dt.replace_time_zone(None)
    return frame.with_columns(local=there.dt.to_string("%Y-%m-%dT%H:%M:%S"))


def time_axis(hours: float) -> Any:
    """Return the axis of local times, labelled by hours or by days as suits the span."""
    if hours <= 48:
        axis = alt.Axis(format="%a %H:%M", tickCount=4, labelAngle=0)
    elif hours <= 24 * 8:
        axis = alt.Axis(format="%a %-d", tickCount={"interval": "day", "step": 1}, labelAngle=0)
    else:
        axis = alt.Axis(format="%-d %b", tickCount=5, labelAngle=0)
    return alt.X("local:T", title=None, axis=axis, scale=alt.Scale(nice=False))


def _patient_axis(field: str, title: str | None = "patients", top: float | None = None) -> Any:
    scale = alt.Scale(zero=True) if top is None else alt.Scale(domain=[0, top], nice=True)
    return alt.Y(f"{field}:Q", title=title, axis=alt.Axis(tickCount=5, tickMinStep=1), scale=scale)


def fan_chart(forecast: OccupancyForecast, place: str, *, beds: int | None) -> dict[str, Any]:
    """Draw the forecast of one place.

    Parameters
    ----------
    forecast : OccupancyForecast
    place : str
    beds : int, optional
        Drawn as a dashed line where they are recorded.

    Returns
    -------
    dict
        Vega-Lite: median, 50 % interval and 90 %, those present as a dot at the
        time of issue. The axis is the hospital's local time and starts at 0
        patients.
    """
    present = int(forecast.present[forecast.places.index(place)])
    ends = quantiles(forecast.distribution[forecast.places.index(place)], list(_LEVELS.values()))
    whole = pl.DataFrame(
        {
            "time": [forecast.issued, *forecast.times],
            **{name: [float(present), *ends[:, k].astype(float)] for k, name in enumerate(_LEVELS)},
        },
        schema_overrides={"time": TIME},
    )
    rows = localised(whole, forecast.zone).drop("time").to_dicts()
    x = time_axis(len(forecast.times) * forecast.step_hours)
    base = alt.Chart(_data(rows))
    top = max(row["q95"] for row in rows)
    ceiling = max(top, beds or 0, 1) * 1.04
    layers = [
        base.mark_area(color=BAND90).encode(x=x, y=_patient_axis("q05", top=ceiling), y2="q95:Q"),
        base.mark_area(color=BAND50).encode(x=x, y=_patient_axis("q25", top=ceiling), y2="q75:Q"),
        base.mark_line(color=LINE, strokeWidth=2).encode(x=x, y=_patient_axis("q50", top=ceiling)),
    ]
    if beds is not None:
        layers.append(
            alt.Chart(_data([{"beds": beds}]))
            .mark_rule(color=BEDS, strokeDash=[6, 4], strokeWidth=2)
            .encode(y=_patient_axis("beds", top=ceiling))
        )
    dot = alt.Chart(_data(rows[:1])).mark_point(filled=True, size=70, color=INK, opacity=1)
    layers.append(dot.encode(x=x, y=_patient_axis("q50", top=ceiling)))
    return themed(alt.layer(*layers))


def scenario_chart(
    made: Comparison, unit: str, *, every: str, beds: Sequence[float | None]
) -> dict[str, Any]:
    """Draw the patients of a unit in all scenarios over each other.

    Parameters
    ----------
    made : Comparison
    unit : str
    every : {"1h", "1d"}
        Counts at full hours, or means of days.
    beds : sequence of float or None
        Mean staffed beds of the unit in each scenario; a thin dashed line in
        the colour of the scenario.
    """
    layers: list[Any] = []
    lines: list[Any] = []
    styles = ((BASE, [1, 0]), *SCENARIOS)
    marks = next(iter(made.runs.values()))
    x = time_axis(marks.days * 24)
    for number, run in enumerate(made.runs.values()):
        colour, dash = styles[number % len(styles)]
        found = run.occupancy(every=every).filter(pl.col("unit") == unit)
        rows = localised(found, run.zone).select("local", "q05", "q50", "q95").to_dicts()
        base = alt.Chart(_data(rows))
        if not number:
            layers.append(
                base.mark_area(color=BASE_BAND).encode(x=x, y=_patient_axis("q05"), y2="q95:Q")
            )
        else:
            # Bands over bands cannot be told apart: of scenarios, the ends only.
            lines += [
                base.mark_line(color=colour, strokeDash=dash, strokeWidth=0.8).encode(
                    x=x, y=_patient_axis(end)
                )
                for end in ("q05", "q95")
            ]
        # The base lies below, and wider: seen where a scenario changes nothing.
        lines.append(
            base.mark_line(color=colour, strokeDash=dash, strokeWidth=2 if number else 3.5).encode(
                x=x, y=_patient_axis("q50")
            )
        )
    shown: set[float] = set()
    for number, count in enumerate(beds):
        if count is None or round(count, 2) in shown:
            continue
        shown.add(round(count, 2))
        lines.append(
            alt.Chart(_data([{"beds": count}]))
            .mark_rule(color=styles[number % len(styles)][0], strokeDash=[5, 4], strokeWidth=1.3)
            .encode(y=_patient_axis("beds"))
        )
    return themed(alt.layer(*layers, *lines))


def search_chart(search: ServiceSearch) -> dict[str, Any]:
    """Draw the share served at once against the beds that were tried, with the target."""
    rows = search.tried.with_columns(
        meaning=pl.when("enough").then(pl.lit("reaches the target")).otherwise(pl.lit("too few"))
    ).to_dicts()
    x = alt.X("beds:Q", title=f"beds of {search.unit}", axis=alt.Axis(grid=False, tickMinStep=1))

    def y(field: str) -> Any:
        return alt.Y(
            f"{field}:Q",
            title="patients who find a bed at once",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format="%", tickCount=5),
        )

    base = alt.Chart(_data(rows))
    kinds = ["reaches the target", "too few"]
    layers: list[Any] = [
        alt.Chart(_data([{"target": search.target}]))
        .mark_rule(color="#b3003c", strokeDash=[2, 3], strokeWidth=2)
        .encode(y=y("target")),
        base.mark_line(color="#8a8a8a", strokeWidth=1.2).encode(x=x, y=y("served")),
        base.mark_rule(color=INK, strokeWidth=1.6, clip=True).encode(
            x=x, y=y("lower"), y2="upper:Q"
        ),
        base.mark_point(filled=True, size=75, opacity=1).encode(
            x=x,
            y=y("served"),
            shape=alt.Shape(
                "meaning:N", title=None, scale=alt.Scale(domain=kinds, range=["circle", "square"])
            ),
            color=alt.Color(
                "meaning:N",
                title=None,
                scale=alt.Scale(domain=kinds, range=[LINE, "#b34700"]),
                legend=alt.Legend(orient="top"),
            ),
        ),
    ]
    return themed(alt.layer(*layers), (520, 220))


def pool_chart(pools: pl.DataFrame) -> dict[str, Any]:
    """Draw refusal against the beds of a pool, a curve for each mean occupancy.

    Parameters
    ----------
    pools : polars.DataFrame
        See :func:`neva.flow.simulation.compare.refusal_by_pool`.
    """
    ends = pools.filter(pl.col("beds") == pl.col("beds").min()).with_columns(
        label=pl.format("{} % full", (100 * pl.col("occupancy")).round(0).cast(pl.Int64))
    )
    x = alt.X(
        "beds:Q",
        title="beds in one pool",
        scale=alt.Scale(type="log", nice=False, domain=[3, float(pools["beds"].max())]),  # type: ignore[arg-type]
        axis=alt.Axis(values=pools["beds"].unique().sort().to_list(), format="d", grid=False),
    )
    y = alt.Y(
        "refused:Q",
        title="patients who find every bed taken",
        axis=alt.Axis(format="%", tickCount=6),
    )
    names = sorted(pools["occupancy"].unique())
    colour = alt.Color(
        "occupancy:N", scale=alt.Scale(domain=names, range=COLOURS[: len(names)]), legend=None
    )
    dash = alt.StrokeDash(
        "occupancy:N", scale=alt.Scale(domain=names, range=DASHES[: len(names)]), legend=None
    )
    layers = [
        alt.Chart(_data(pools.to_dicts()))
        .mark_line(strokeWidth=2)
        .encode(x=x, y=y, color=colour, strokeDash=dash),
        alt.Chart(_data(ends.to_dicts()))
        .mark_text(align="right", dx=-5, fontSize=11, color=INK)
        .encode(x=x, y=y, text="label:N"),
    ]
    return themed(alt.layer(*layers), (520, 240))


def _beside(rows: list[dict[str, Any]], x: Any) -> Any:
    """Simulated as a band with its median, observed as dots."""
    base = alt.Chart(_data(rows))
    return alt.layer(
        base.mark_area(color=BAND90).encode(x=x, y=_patient_axis("low"), y2="high:Q"),
        base.mark_line(color=LINE, strokeWidth=1.6).encode(x=x, y=_patient_axis("median")),
        base.mark_point(filled=True, color=INK, size=34, opacity=1).encode(
            x=x, y=_patient_axis("observed")
        ),
    )


def hours_chart(checked: Calibrated, unit: str) -> dict[str, Any]:
    """Draw patients by hour of the day: simulated (5 % to 95 %) and observed (dots)."""
    rows = checked.by_hour.filter(unit=unit).to_dicts()
    x = alt.X(
        "hour:Q",
        title="local hour of the day",
        scale=alt.Scale(domain=[0, 23], nice=False),
        axis=alt.Axis(values=[0, 6, 12, 18, 23], format="d", grid=False),
    )
    return themed(_beside(rows, x))


def noons_chart(checked: Calibrated, unit: str, zone: str) -> dict[str, Any]:
    """Draw patients at the noons that were held out: simulated and observed."""
    rows = localised(checked.by_day.filter(unit=unit), zone).drop("time").to_dicts()
    days = (checked.end - checked.start).total_seconds() / 3600
    return themed(_beside(rows, time_axis(max(days, 49.0))))


def _busiest_states(found: Trajectories) -> tuple[list[str], list[str]]:
    """States where most days are spent, as many as have a colour each, and the others."""
    states = list(found.sojourns.states)
    if len(states) <= MOST_STATES:
        return states, []
    spent = found.to_frame().group_by("state").agg(pl.col("probability").sum())
    days = dict(spent.iter_rows())
    chosen = set(sorted(states, key=lambda state: -days[state])[: MOST_STATES - 1])
    return [state for state in states if state in chosen], [
        state for state in states if state not in chosen
    ]


def occupation_chart(found: Trajectories) -> dict[str, Any]:
    """Draw where patients are by days since admission, one above the other up to all.

    Ways of leaving lie at the bottom in greys, states above them in colours;
    pages give the same figures as a table.
    """
    exits = list(found.sojourns.exits)
    frame = found.to_frame().select("days", "state", "probability")
    states, others = _busiest_states(found)
    if others:
        frame = (
            frame.with_columns(pl.col("state").replace(dict.fromkeys(others, OTHERS)))
            .group_by("days", "state", maintain_order=True)
            .agg(pl.col("probability").sum())
        )
        states = [*states, OTHERS]
    order = [*states, *exits]
    greys = ["#c9c9c9", "#5e5e5e", "#9a9a9a", "#e2e2e2", "#7c7c7c"]
    colours = [COLOURS[k % len(COLOURS)] for k in range(len(states))]
    colours += [greys[k % len(greys)] for k in range(len(exits))]
    place = {name: len(order) - k for k, name in enumerate(order)}
    rows = [{**row, "place": place[row["state"]]} for row in frame.iter_rows(named=True)]
    chart = (
        alt.Chart(_data(rows))
        .mark_area(stroke="white", strokeWidth=0.6, interpolate="step-after")
        .encode(
            x=alt.X("days:Q", title="days since admission", scale=alt.Scale(nice=False)),
            y=alt.Y(
                "probability:Q",
                title="share of those admitted",
                stack="zero",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%"),
            ),
            color=alt.Color(
                "state:N",
                title=None,
                sort=order,
                scale=alt.Scale(domain=order, range=colours),
                legend=alt.Legend(orient="right", symbolType="square", symbolSize=160),
            ),
            order=alt.Order("place:Q"),
        )
    )
    return themed(chart, LARGE)


def incidence_chart(found: Trajectories, exit_: str) -> dict[str, Any]:
    """Draw how many have left one way by days since admission, with limits."""
    rows = found.exits().filter(exit=exit_).select("days", "incidence", "lower", "upper").to_dicts()
    x = alt.X("days:Q", title="days since admission", scale=alt.Scale(nice=False))

    def y(field: str) -> Any:
        return alt.Y(
            f"{field}:Q",
            title="share of those admitted",
            axis=alt.Axis(format="%", tickCount=5),
            scale=alt.Scale(zero=True),
        )

    base = alt.Chart(_data(rows))
    return themed(
        alt.layer(
            base.mark_area(color=BAND90, interpolate="step-after").encode(
                x=x, y=y("lower"), y2="upper:Q"
            ),
            base.mark_line(color=LINE, strokeWidth=2, interpolate="step-after").encode(
                x=x, y=y("incidence")
            ),
        )
    )
