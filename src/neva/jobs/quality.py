"""The measures of a programme, with their charts, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import polars as pl

from neva.definitions.documents import Measure
from neva.definitions.programme import load_programme
from neva.definitions.record import record_definitions
from neva.definitions.reference.engine import DEFECTS
from neva.definitions.words.explain import explain
from neva.events.hospital import Hospital
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic
from neva.languages.language import LANGUAGES, LanguageCode
from neva.quality import MeasureRun, exclusion_counts, figures, run_measures
from neva.quality.charts.spc import ControlChart
from neva.quality.comparison.funnel import Funnel
from neva.quality.disclosure import (
    shared_components,
    shared_exclusions,
    shared_figure,
    shared_periods,
    shared_strata,
    shared_units,
)
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.quality import control_chart, funnel_chart
from neva.reports.charts.quality_drawing import About
from neva.reports.charts.quality_icons import icon_svg
from neva.reports.pages.quality import (
    FEWEST_PERIODS,
    about,
    chart_of,
    funnel_of,
    natural_period,
    period_of,
    units_of,
)
from neva.statistics.disclosure import FEWEST_FOR_QUANTILES, WITHHELD, is_small

__all__ = ["CASES", "measures_of_programme"]

#: Columns of the cases that a page leads to.
CASES: Final = (
    "measure", "status", "placed", "due", "value", "interval", "unit", "excluded_by",
    "subject_id", "stay_id",
)  # fmt: skip


def _json_number(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124


def _drawn(
    descriptions: Mapping[LanguageCode, About], chart: ControlChart | None, funnel: Funnel | None
) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """Draw a measure's charts and icons in every language."""
    charts: dict[str, dict[str, str]] = {}
    icons: dict[str, dict[str, str]] = {}
    for language in LANGUAGES:
        charts[language], icons[language] = {}, {}
        if chart is not None and chart.frame.height >= FEWEST_PERIODS:
            charts[language]["control"] = to_svg(control_chart(chart, descriptions[language]))
            for kind in ("variation", "assurance"):
                icon = getattr(chart, kind)
                if icon:
                    icons[language][kind] = icon_svg(icon, size=34, language=language)
        if funnel is not None:
            charts[language]["funnel"] = to_svg(funnel_chart(funnel, descriptions[language]))
    return charts, icons


_POINT: Final = ("period", "value", "centre", "lower", "upper", "numerator", "denominator")


def _points(chart: ControlChart | None) -> list[dict[str, Any]]:
    if chart is None:
        return []
    return (
        chart.frame.select(one for one in _POINT if one in chart.frame.columns)
        .with_columns(pl.col(pl.Date, pl.Datetime).cast(pl.String))
        .to_dicts()
    )


def _units(run: MeasureRun, measure: Measure) -> pl.DataFrame:
    return units_of(run, measure).filter(pl.col("n") > 0)


def _shared(
    run: MeasureRun,
    measure: Measure,
    whole: Mapping[str, Any],
    chart: ControlChart | None,
    descriptions: Mapping[LanguageCode, About],
) -> dict[str, Any]:
    """Return what those who see no patients are shown in place of the same keys."""
    figure = {name: _json_number(value) for name, value in shared_figure(run, measure).items()}
    outside = figure.pop("outside")
    always = {
        "figure": figure,
        "outside": outside,
        "exclusions": shared_exclusions(run, measure),
        **{name: _rows_withheld(whole["rows"], whole[name]) for name in ("assumed", "dates_only")},
    }
    if WITHHELD in (figure["denominator"], figure["met"]):
        return {**always, **_nothing_shared(whole)}
    periods, every = shared_periods(run, measure, finest=whole["every"])
    units = shared_units(run, measure)
    if not periods.is_whole or every != whole["every"]:
        chart = chart_of(periods.run, measure, every=every)
    points = _points(chart) if periods.is_whole else _shared_points(chart)
    months = f"{points[0]['period'][:7]} – {points[-1]['period'][:7]}" if points else WITHHELD
    coarse = {language: replace(one, period=months) for language, one in descriptions.items()}
    charts, icons = _drawn(coarse, chart, funnel_of(units.run, measure))
    return {
        **always,
        "every": every,
        "charts": charts,
        "icons": icons,
        "period": dict.fromkeys(LANGUAGES, months),
        "points": points + ([] if periods.is_whole else [dict.fromkeys(_POINT, WITHHELD)]),
        "units": _shared_unit_rows(units.run, measure)
        + ([] if units.is_whole else [dict.fromkeys(_UNIT, WITHHELD)]),
        "strata": shared_strata(whole["strata"], figure["denominator"], figure["met"]),
        "components": shared_components(run, measure),
        "rows": whole["rows"] if not is_small(whole["rows"]) else WITHHELD,
    }


_UNIT: Final = ("unit", "n", "events", "estimate", "lower", "upper")


def _nothing_shared(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands in place of everything, where the whole figure tells of few patients."""
    nothing: dict[str, dict[str, str]] = {language: {} for language in LANGUAGES}
    return {
        "charts": nothing,
        "icons": nothing,
        "period": dict.fromkeys(LANGUAGES, WITHHELD),
        "points": [dict.fromkeys(_POINT, WITHHELD)],
        "units": [dict.fromkeys(_UNIT, WITHHELD)],
        "strata": [dict.fromkeys(("name", "value", "n", "met"), WITHHELD)]
        if whole["strata"]
        else [],
        "components": [{**one, "met": WITHHELD, "of": WITHHELD} for one in whole["components"]],
        "rows": WITHHELD,
    }


def _shared_points(chart: ControlChart | None) -> list[dict[str, Any]]:
    """Return periods, not telling whether one without a point has no case, or too few."""
    return [
        row if row["denominator"] else dict.fromkeys(row, WITHHELD) | {"period": row["period"]}
        for row in _points(chart)
    ]


def _shared_unit_rows(run: MeasureRun, measure: Measure) -> list[dict[str, Any]]:
    """Return units; a median of few patients is nearly one patient's value."""
    rows = _units(run, measure)
    if measure.observation is not None:
        rows = rows.with_columns(
            pl.when(pl.col("n") >= FEWEST_FOR_QUANTILES).then(pl.col(name)).alias(name)
            for name in ("estimate", "lower", "upper")
        )
    return [
        {name: WITHHELD if value is None else value for name, value in row.items()}
        for row in rows.to_dicts()
    ]


def _rows_withheld(rows: int, share: float | None) -> float | str | None:
    if share is None:
        return None
    some = round(rows * share)
    return WITHHELD if is_small(some) or is_small(rows - some) else share


def _measure(
    run: MeasureRun, measure: Measure, whole: pl.DataFrame, *, synthetic: bool
) -> dict[str, Any]:
    figure = {
        name: _json_number(value)
        for name, value in whole.row(
            by_predicate=pl.col("measure") == measure.id, named=True
        ).items()
        if isinstance(value, int | float | str | None)
    }
    spacing = natural_period(run)
    descriptions = {
        language: about(run, measure, synthetic=synthetic, language=language)
        for language in LANGUAGES
    }
    chart = chart_of(run, measure, every=spacing)
    charts, icons = _drawn(descriptions, chart, funnel_of(run, measure))
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
    sources = run.sources[measure.id]
    content = {
        "id": measure.id,
        "short": measure.id.partition(".")[2],
        "version": measure.version,
        "hash": run.hashes[measure.id],
        "title": {"en": measure.title or measure.id, "ru": measure.title_ru or measure.title},
        "description": measure.description,
        "clock": measure.clock_title,
        "notes": list(measure.notes),
        "evidence": list(measure.evidence),
        "words": {language: explain(measure, language) for language in LANGUAGES},
        "better": measure.better,
        "continuous": measure.observation is not None,
        "is_share": descriptions["en"].percent,
        "figure": figure,
        "outside": run.outside[measure.id],
        "period": {language: period_of(run, measure, language=language) for language in LANGUAGES}
        if figure["population"]
        else {"en": "", "ru": ""},
        "every": spacing,
        "charts": charts,
        "icons": icons,
        "points": _points(chart),
        "units": _units(run, measure).to_dicts(),
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
    return {**content, "shared": _shared(run, measure, content, chart, descriptions)}


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
        both languages, units, strata, exclusions, data quality; of each, under
        ``shared``, what takes the place of the same keys for roles that see no
        patients.
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
        "shared": {
            "pending": WITHHELD
            if is_small(pending.height)
            or any(one["shared"]["figure"]["pending"] == WITHHELD for one in found)
            else pending.height
        },
    }
    cases = run.cases.select(CASES).with_columns(pl.col("excluded_by").list.join(", "))
    return content, cases
