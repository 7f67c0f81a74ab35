"""The measures of a programme, with their charts, as plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import polars as pl

from neva.definitions.documents import Measure
from neva.definitions.explain import explain
from neva.definitions.programme import load_programme
from neva.definitions.record import record_definitions
from neva.definitions.reference import DEFECTS
from neva.events.hospital import Hospital
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic
from neva.quality import MeasureRun, exclusion_counts, figures, run_measures
from neva.reports.charts import to_svg
from neva.reports.quality_charts import control_chart, funnel_chart
from neva.reports.quality_icons import icon_svg
from neva.reports.quality_pages import (
    FEWEST_PERIODS,
    about,
    chart_of,
    funnel_of,
    natural_period,
    period_of,
    units_of,
)

__all__ = ["CASES", "measures_of_programme"]

#: Columns of the cases that a page leads to.
CASES: Final = (
    "measure", "status", "placed", "due", "value", "interval", "unit", "excluded_by",
    "subject_id", "stay_id",
)  # fmt: skip
_LANGUAGES: Final = ("en", "ru")


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124


def _measure(
    run: MeasureRun, measure: Measure, whole: pl.DataFrame, *, synthetic: bool
) -> dict[str, Any]:
    figure = {
        name: _number(value)
        for name, value in whole.row(
            by_predicate=pl.col("measure") == measure.id, named=True
        ).items()
        if isinstance(value, int | float | str | None)
    }
    spacing = natural_period(run)
    told_of = about(run, measure, synthetic=synthetic)
    chart = chart_of(run, measure, every=spacing)
    enough = chart is not None and chart.frame.height >= FEWEST_PERIODS
    funnel = funnel_of(run, measure)
    charts: dict[str, dict[str, str]] = {}
    icons: dict[str, dict[str, str]] = {}
    for language in _LANGUAGES:
        told = about(run, measure, synthetic=synthetic, language=language)
        charts[language], icons[language] = {}, {}
        if enough and chart is not None:
            charts[language]["control"] = to_svg(control_chart(chart, told))
            for kind in ("variation", "assurance"):
                icon = getattr(chart, kind)
                if icon:
                    icons[language][kind] = icon_svg(icon, size=34, language=language)
        if funnel is not None:
            charts[language]["funnel"] = to_svg(funnel_chart(funnel, told))
    closed = run.of(measure.id).filter(pl.col("status").is_in(["met", "failed", "measured"]))
    strata = (
        closed.select("status", "strata")
        .explode("strata", empty_as_null=False)
        .select("status", pl.col("strata").struct.unnest())
        .group_by("name", "value")
        .agg(n=pl.len(), met=(pl.col("status") == "met").sum())
        .sort("name", "value")
        if closed.height and measure.stratifiers
        else pl.DataFrame(schema={"name": pl.String, "value": pl.String, "n": pl.Int64})
    )
    points = (
        chart.frame.select(
            one for one in ("period", "value", "centre", "lower", "upper", "numerator",
                            "denominator") if one in chart.frame.columns
        ).with_columns(pl.col(pl.Date, pl.Datetime).cast(pl.String)).to_dicts()
        if chart is not None
        else []
    )  # fmt: skip
    sources = run.sources[measure.id]
    return {
        "id": measure.id,
        "short": measure.id.partition(".")[2],
        "version": measure.version,
        "hash": run.hashes[measure.id],
        "title": {"en": measure.title or measure.id, "ru": measure.title_ru or measure.title},
        "description": measure.description,
        "clock": measure.clock_title,
        "notes": list(measure.notes),
        "evidence": list(measure.evidence),
        "words": {language: explain(measure, language) for language in _LANGUAGES},
        "better": measure.better,
        "continuous": measure.observation is not None,
        "is_share": told_of.percent,
        "figure": figure,
        "outside": run.outside[measure.id],
        "period": {language: period_of(run, measure, language=language) for language in _LANGUAGES}
        if figure["population"]
        else {"en": "", "ru": ""},
        "every": spacing,
        "charts": charts,
        "icons": icons,
        "points": points,
        "units": units_of(run, measure).filter(pl.col("n") > 0).to_dicts(),
        "strata": strata.to_dicts(),
        "exclusions": exclusion_counts(run, measure.id).to_dicts(),
        "components": [
            {
                "title": one.title or one.name,
                "met": closed.filter(pl.col("components_met").list.contains(one.name)).height,
                "of": closed.height,
            }
            for one in measure.components
        ],
        "assumed": sources.assumed,
        "dates_only": sources.dates_only,
        "rows": sources.rows,
    }


def measures_of_programme(
    hospital: Hospital,
    snapshot: Snapshot,
    name: str,
    *,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Run the measures of a programme and lay out what pages show of them.

    Parameters
    ----------
    hospital : Hospital
        In it the definitions that made the figures are recorded.
    snapshot : Snapshot
    name : str
        Of the programme.
    progress : callable, optional
        Called with what is done, of how much, and words.

    Returns
    -------
    content : dict
        Ready for JSON: the programme, its measures with figures, charts in
        both languages, units, strata, exclusions, data quality.
    cases : polars.DataFrame
        Columns :data:`CASES`.
    """
    programme = load_programme(name)
    many = len(programme.measures) + 1
    if progress is not None:
        progress(0, many, "measures")
    run = run_measures(snapshot, programme)
    record_definitions(hospital, run.measures, now=snapshot.now)
    whole = figures(run).frame
    synthetic = is_synthetic(snapshot)
    found = []
    for number, measure in enumerate(run.measures, 1):
        if progress is not None:
            progress(number, many, measure.id)
        found.append(_measure(run, measure, whole, synthetic=synthetic))
    pending = run.pending()
    content = {
        "programme": name,
        "title": {"en": programme.title, "ru": programme.title_ru or programme.title},
        "version": run.programme,
        "guidance": programme.guidance,
        "settings": {key: str(value) for key, value in run.settings.items()},
        "identity": run.identity,
        "now": run.now.isoformat(),
        "measures": found,
        "errors": [
            {"reason": DEFECTS.get(reason, reason), "count": count}
            for reason, count in run.errors.group_by("reason").len().sort("reason").iter_rows()
        ],
        "refused": run.refused,
        "pending": pending.height,
        "synthetic": synthetic,
    }
    cases = run.cases.select(CASES).with_columns(pl.col("excluded_by").list.join(", "))
    return content, cases
