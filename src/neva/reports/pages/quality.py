"""Pages of treatment quality: measures with icons, charts, units, and links to patient lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import polars as pl

from neva.definitions.documents import Measure
from neva.definitions.reference.engine import DEFECTS
from neva.events.snapshot import Snapshot
from neva.languages.english import number, share
from neva.languages.language import LanguageCode
from neva.quality.cases import Decision, decisions
from neva.quality.charts.control_charts import measure_chart
from neva.quality.charts.spc import ControlChart
from neva.quality.comparison.funnel import Funnel, funnel_proportions
from neva.quality.figures import exclusion_counts, figures
from neva.quality.measuring import MeasureRun
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.quality import control_chart, funnel_chart, interval_chart
from neva.reports.charts.quality_drawing import About
from neva.reports.charts.quality_icons import icon_svg

__all__ = ["about", "chart_of", "funnel_of", "page", "units_of"]

Every = Literal["week", "month", "quarter", "year"]
_POLARS: Final = {"week": "1w", "month": "1mo", "quarter": "1q", "year": "1y"}
#: Fewer periods than this make no chart: limits from them say nothing.
FEWEST_PERIODS: Final = 6
_DENOMINATOR: Final = {
    ("en", "stay"): "stays with a closed clock",
    ("en", "subject"): "patients with a closed clock",
    ("ru", "stay"): "госпитализации с истёкшим сроком",
    ("ru", "subject"): "пациенты с истёкшим сроком",
}
#: So many cases of one status are taken apart on a page.
MOST_CASES: Final = 5


@dataclass(frozen=True)
class _Cell:
    """One measure's row of the table, in words."""

    id: str
    title: str
    value: str
    interval: str
    counts: str
    second: str
    excluded: int
    pending: int
    unknown: int
    variation: str
    assurance: str


def natural_period(run: MeasureRun) -> Every:
    """Weeks for less than a year and a half of cases, months for more."""
    first, last = run.cases["placed"].min(), run.cases["placed"].max()
    if isinstance(first, datetime) and isinstance(last, datetime):
        return "month" if (last - first).days > 540 else "week"
    return "month"


def chart_of(
    run: MeasureRun,
    measure: Measure,
    *,
    every: Every,
    target: float | None = None,
    baseline: int | None = None,
    rebase_at: Sequence[Any] = (),
) -> ControlChart | None:
    """Make the control chart of a measure; None where there is no dated case."""
    found = figures(run, measures=[measure.id], every=every).frame.filter(
        pl.col("period").is_not_null() & (pl.col("denominator") > 0)
    )
    if not found.height:
        return None
    continuous = measure.observation is not None
    table = found.select(
        "period",
        (pl.col("mean") * pl.col("denominator") if continuous else pl.col("met")).alias(
            "numerator"
        ),
        "denominator",
    )
    return measure_chart(
        table,
        measured="value" if continuous else "proportion",
        every=_POLARS[every],
        direction=_direction(measure),
        target=target,
        baseline=baseline,
        rebase_at=rebase_at,
    )


def _direction(measure: Measure) -> Any:
    return {"higher": "higher", "lower": "lower", "neutral": "neutral"}[measure.better]


def units_of(run: MeasureRun, measure: Measure) -> pl.DataFrame:
    """Return a measure by unit: ``unit``, ``n``, ``events``, ``estimate``, ``lower``, ``upper``."""
    found = figures(run, measures=[measure.id], by=["unit"]).frame
    value = "median" if measure.observation is not None else "rate"
    return found.select(
        pl.col("unit").fill_null("unit not known"),
        pl.col("denominator").alias("n"),
        pl.col("met").alias("events"),
        pl.col(value).alias("estimate"),
        pl.col("low").alias("lower"),
        pl.col("high").alias("upper"),
    ).sort("unit")


def funnel_of(run: MeasureRun, measure: Measure) -> Funnel | None:
    """Make the funnel of units; None where there are fewer than three with cases."""
    units = units_of(run, measure).filter(pl.col("n") > 0)
    if measure.observation is not None or units.height < 3:
        return None
    return funnel_proportions(
        units.select("unit", numerator="events", denominator="n"), method="exact"
    )


def _local(time: datetime | None, zone: str) -> str:
    return "–" if time is None else time.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def period_of(run: MeasureRun, measure: Measure, *, language: LanguageCode = "en") -> str:
    """Say from when to when the cases of a measure are."""
    cases = run.of(measure.id)
    between = " to " if language == "en" else " – "
    return between.join(
        _local(_first_or_last_time(cases, which), run.zone)[:10] for which in ("min", "max")
    )


def _first_or_last_time(cases: pl.DataFrame, which: str) -> datetime | None:
    found = getattr(cases["placed"], which)()
    return found if isinstance(found, datetime) else None


def about(
    run: MeasureRun, measure: Measure, *, synthetic: bool, language: LanguageCode = "en"
) -> About:
    """Say what a chart of a measure must say of itself."""
    title = measure.title_ru if language == "ru" and measure.title_ru else measure.title
    return About(
        measure=title or measure.id,
        denominator=_DENOMINATOR[language, measure.each],
        period=period_of(run, measure, language=language),
        synthetic=synthetic,
        percent=measure.observation is None or _is_share(measure),
        language=language,
    )


def _is_share(measure: Measure) -> bool:
    """Tell whether the observation is a quotient of two like things."""
    return measure.observation is not None and measure.observation.type.unit == "1"


def _icons(chart: ControlChart | None) -> tuple[str, str]:
    if chart is None or chart.frame.height < FEWEST_PERIODS:
        return "", ""
    variation = icon_svg(chart.variation, size=34) if chart.variation else ""
    assurance = icon_svg(chart.assurance, size=34) if chart.assurance else ""
    return variation, assurance


def _row(measure: Measure, figure: dict[str, Any], chart: ControlChart | None) -> _Cell:
    share_like = measure.observation is None or _is_share(measure)
    write = share if share_like else (lambda v: number(v, digits=1))
    value = figure["rate"] if measure.observation is None else figure["median"]
    second = ""
    if measure.treated is not None:
        second = (
            f"{number(figure['treated_met'])} of {number(figure['treated'])} treated "
            f"({share(figure['treated_rate'])}); "
            f"{number(figure['denominator'] - figure['treated'])} not treated"
        )
    if measure.interval is not None and figure["interval_median"] is not None:
        before = f", {figure['before_clock']} before the clock" if figure["before_clock"] else ""
        second += (
            f"{'; ' if second else ''}median {number(figure['interval_median'], digits=1)} h of "
            f"{number(figure['interval_n'])}{before}"
        )
    if measure.observation is not None and figure["denominator"]:
        second = (
            f"median; quartiles {write(figure['lower_quartile'])} and "
            f"{write(figure['upper_quartile'])}, mean {write(figure['mean'])}"
        )
    counts = (
        f"{number(figure['met'])} of {number(figure['denominator'])}"
        if measure.observation is None
        else f"{number(figure['denominator'])} cases"
    )
    variation, assurance = _icons(chart)
    return _Cell(
        id=measure.id,
        title=measure.title or measure.id,
        value="–" if value is None else write(value),
        interval=""
        if figure["low"] is None or value is None
        else f"{write(figure['low'])} to {write(figure['high'])}",
        counts=counts,
        second=second,
        excluded=figure["excluded"],
        pending=figure["pending"],
        unknown=figure["unknown"],
        variation=variation,
        assurance=assurance,
    )


def _decided(found: Decision, zone: str) -> dict[str, Any]:
    def part_text(value: Any) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, datetime):
            return _local(value, zone)
        if isinstance(value, float):
            return number(value, digits=2)
        return "unknown" if value is None else str(value)

    return {
        "subject": str(found.subject_id),
        "stay": "–" if found.stay_id is None else str(found.stay_id),
        "status": found.status,
        "parts": [(name, part_text(value)) for name, value in found.parts.items()],
        "events": [
            {
                "role": row["role"],
                "time": _local(row["time"], zone),
                "code": row["code"],
                "status": "" if row["status"] == "done" else row["status"],
                "value": ""
                if row["value"] is None
                else f"{row['value']:g} {row['value_unit'] or ''}".strip(),
            }
            for row in found.events.iter_rows(named=True)
        ],
    }


def _cases(
    snapshot: Snapshot, run: MeasureRun, measure: Measure, *, most: int
) -> list[dict[str, Any]]:
    """Take some patients apart: what failed, what waits, what is unknown."""
    cases = run.of(measure.id)
    wanted = (
        pl.concat(
            [
                cases.filter(pl.col("status") == status).head(most)
                for status in ("failed", "pending", "unknown")
            ]
        )
        if measure.better != "lower"
        else cases.filter(pl.col("status").is_in(["met", "pending"])).head(most)
    )
    if not wanted.height:
        return []
    keys = set(wanted.select("subject_id", "stay_id").iter_rows())
    found = decisions(snapshot, run, measure.id, subjects=wanted["subject_id"].unique().to_list())
    return [_decided(one, run.zone) for one in found if (one.subject_id, one.stay_id) in keys]


def page(
    snapshot: Snapshot,
    run: MeasureRun,
    *,
    synthetic: bool,
    every: Every | None = None,
    cases: int = MOST_CASES,
) -> dict[str, Any]:
    """Lay out the measures of a run for a page, as plain texts and SVG.

    Parameters
    ----------
    snapshot : Snapshot
        The one that the run was made from.
    run : MeasureRun
    synthetic : bool
        Whether the patients are synthetic: every chart says so then.
    every : str, optional
        Periods of the charts; weeks or months by the span of the data.
    cases : int
        How many patients of each measure are explained; 0 for a page that
        leaves the hospital.

    Returns
    -------
    dict
        For the template ``quality.html``.
    """
    spacing = every or natural_period(run)
    whole = figures(run).frame
    rows, details = [], []
    for measure in run.measures:
        figure = whole.row(by_predicate=pl.col("measure") == measure.id, named=True)
        chart = chart_of(run, measure, every=spacing)
        rows.append(_row(measure, figure, chart))
        description = about(run, measure, synthetic=synthetic)
        drawn = []
        if chart is not None and chart.frame.height >= FEWEST_PERIODS:
            drawn.append(to_svg(control_chart(chart, description)))
        units = units_of(run, measure).filter(pl.col("n") > 0)
        funnel = funnel_of(run, measure)
        if funnel is not None:
            drawn.append(to_svg(funnel_chart(funnel, description)))
        elif units.height > 1:
            drawn.append(to_svg(interval_chart(units, description)))
        sources = run.sources[measure.id]
        details.append(
            {
                "id": measure.id,
                "version": measure.version,
                "hash": run.hashes[measure.id][:12],
                "title": measure.title or measure.id,
                "description": measure.description,
                "clock": measure.clock_title,
                "notes": list(measure.notes),
                "evidence": list(measure.evidence),
                "period": period_of(run, measure) if figure["population"] else "no case",
                "outside": number(run.outside[measure.id]),
                "figure": {
                    key: number(value) if isinstance(value, int) else value
                    for key, value in figure.items()
                },
                "exclusions": exclusion_counts(run, measure.id).to_dicts(),
                "components": _components(run, measure),
                "charts": drawn,
                "cases": _cases(snapshot, run, measure, most=cases) if cases else [],
                "assumed": share(sources.assumed) if sources.assumed is not None else None,
                "dates_only": share(sources.dates_only) if sources.dates_only else None,
            }
        )
    return {
        "programme": run.programme,
        "settings": dict(run.settings),
        "now": _local(run.now, run.zone),
        "identity": run.identity,
        "every": spacing,
        "rows": rows,
        "details": details,
        "synthetic": synthetic,
        "errors": [
            {"reason": DEFECTS.get(reason, reason), "count": count}
            for reason, count in run.errors.group_by("reason").len().sort("reason").iter_rows()
        ],
        "error_count": run.errors.height,
        "refused": run.refused,
        "pending": _pending(run),
    }


def _components(run: MeasureRun, measure: Measure) -> list[dict[str, Any]]:
    cases = run.of(measure.id).filter(pl.col("status").is_in(["met", "failed"]))
    return [
        {
            "title": one.title or one.name,
            "met": cases.filter(pl.col("components_met").list.contains(one.name)).height,
            "of": cases.height,
        }
        for one in measure.components
    ]


def _pending(run: MeasureRun, *, most: int = 15) -> dict[str, Any]:
    # Waiting for something that should not happen is nobody's work.
    wanted = [one.id for one in run.measures if one.better == "higher"]
    pending = run.pending().filter(pl.col("measure").is_in(wanted))
    titles = {one.id: one.title or one.id for one in run.measures}
    return {
        "count": pending.height,
        "rows": [
            {
                "title": titles[row["measure"]],
                "subject": str(row["subject_id"]),
                "unit": row["unit"] or "–",
                "due": "at the end of the stay"
                if row["due"] is None
                else _local(row["due"], run.zone),
            }
            for row in pending.head(most).iter_rows(named=True)
        ],
    }
