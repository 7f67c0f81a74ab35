"""Whether the chances of forecasts hold: levels reached, histograms, scores by hour."""

from __future__ import annotations

from neva.flow.forecast.evaluation import Evaluation
from neva.languages.english import number, part
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.flow_scores import clock_chart, histogram_chart, levels_chart
from neva.reports.pages.flow_words import hours_ahead
from neva.reports.pages.page import Details, Figure, Panel, Table, Text

__all__ = ["clock_figure", "reliability_blocks"]


def reliability_blocks(judged: Evaluation) -> tuple[Text | Table | Figure | Details, ...]:
    """Draw the share of outcomes at or below each level, and the histogram, by horizon.

    Parameters
    ----------
    judged : Evaluation
        Of the model that is judged, all places in total.
    """
    mine = judged.scores.filter(model=judged.ours)
    levels, bars = [], []
    for horizon in mine["horizon_hours"].unique().sort().to_list():
        found = judged.reliability(horizon_hours=horizon)
        title = f"{hours_ahead(horizon)} ahead: {number(found.observations)} occasions"
        shares = {row["level"]: row["share"] for row in found.frame.iter_rows(named=True)}
        description = ", ".join(
            f"{part(level)}: {part(shares[level])}" for level in (0.25, 0.5, 0.75)
        )
        levels.append(
            Panel(
                to_svg(levels_chart(found)),
                f"Share of outcomes at or below each level, {title}; {description}.",
                title,
            )
        )
        counts = ", ".join(str(count) for count in found.bins["count"])
        bars.append(
            Panel(
                to_svg(histogram_chart(found)),
                f"Histogram of ten bins, {title}: {counts}; flat would be right.",
                title,
            )
        )
    return (
        Figure(
            tuple(levels),
            "A right forecast lies on the diagonal. The grey band holds 95 % of the shares of a "
            "right forecast, point by point, if occasions were independent; places overlap and "
            "days follow each other, so that right ones leave it more often. All places in total.",
            (("line", "share reached"), ("bandgrey", "95 % of right forecasts")),
        ),
        Figure(
            tuple(bars),
            "Flat: right. High at both ends: intervals too narrow; high in the middle: too wide; "
            "high on the right: more patients came than forecast. Dashed: what is expected.",
        ),
    )


def clock_figure(judged: Evaluation) -> Figure:
    """Draw the mean CRPS by local hour of the outcome beside its noise floor, by horizon."""
    frame = judged.summary("horizon_hours", "hour").filter(model=judged.ours)
    panels = []
    for horizon in frame["horizon_hours"].unique().sort():
        rows = frame.filter(horizon_hours=horizon).sort("hour")
        scores = ", ".join(
            f"{row['hour']}:00 {row['crps']:.2f}" for row in rows.iter_rows(named=True)
        )
        count = number(int(rows["occasions"].sum()))
        panels.append(
            Panel(
                to_svg(clock_chart(rows)),
                f"Mean CRPS by local hour of the outcome, {hours_ahead(horizon)} ahead: {scores}.",
                f"{hours_ahead(horizon)} ahead: {count} occasions",
            )
        )
    return Figure(
        tuple(panels),
        "Mean CRPS by the local hour that was forecast (bar), and what the forecast expected of "
        "itself (black mark). All places in total.",
    )
