"""Parts of the page of a model: first and last sample, calibration, subgroups, missing tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from neva.languages.english import share
from neva.models.evaluation import MAIN, ModelEvaluation
from neva.models.first_and_last import FirstAndLastFigures
from neva.models.report import AtLandmark, ModelReport
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.models import SERIES, calibration_chart, decision_chart
from neva.reports.pages.page import Cell, Figure, Panel, Table, Text

__all__ = [
    "HEAD",
    "calibration_blocks",
    "cell_of",
    "first_and_last_blocks",
    "missing_blocks",
    "predictors_of",
    "subgroup_blocks",
    "value_of",
]

HEAD: Final = {
    "auroc": "AUROC",
    "brier": "Brier score",
    "auprc": "AUPRC",
    "in-the-large": "in the large",
    "slope": "slope",
    "ece": "ECE",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "alerts": "alerts per 100 patient-days",
}
_SHARES: Final = ("sensitivity", "specificity", "ppv", "accuracy")


def value_of(figure_row: Mapping[str, Any], figure: str) -> str:
    """Write a figure as people read it."""
    value = figure_row["value"]
    if value is None:
        return "–"
    if figure in _SHARES:
        return share(value, digits=0 if figure != "accuracy" else 1)
    return f"{value:.1f}" if figure == "alerts" else f"{value:.3f}"


def cell_of(figure_row: Mapping[str, Any], figure: str, *, is_strong: bool = False) -> Cell:
    """Make a cell of a value, its interval below."""
    if figure_row["value"] is None:
        return Cell("–")
    under = "no interval"
    if figure_row["lower"] is not None:
        low, high = ({"value": figure_row[one]} for one in ("lower", "upper"))
        under = f"{value_of(low, figure)} to {value_of(high, figure)}"
    return Cell(value_of(figure_row, figure), small=under, is_strong=is_strong)


def predictors_of(evaluation: ModelEvaluation) -> list[str]:
    """Return the predictors, the model first."""
    return list(evaluation.figures["predictor"].unique(maintain_order=True))


def first_and_last_blocks(samples: FirstAndLastFigures) -> list[Any]:
    """Lay the rule with first and with last values beside each other."""
    names = [
        ("accuracy", "accuracy"),
        ("sensitivity", "sensitivity"),
        ("specificity", "specificity"),
        ("ppv", "PPV"),
        ("auroc", f"AUROC of {samples.value_title}"),
    ]
    rows = tuple(
        (
            Cell(title, is_text=True),
            *(cell_of(samples.figure(sample, figure), figure) for figure, _ in names),
        )
        for sample, title in (
            ("last", "last sample before the outcome"),
            ("first", "first sample, at admission"),
        )
    )
    return [
        Text(samples.why, "warning"),
        Table(
            f"The three-marker rule on the {samples.n} of {samples.stays} ended stays with all "
            f"three markers ({samples.events} died); intervals from {samples.resamples} redrawings",
            (Cell("asked with", is_text=True), *(Cell(title) for _, title in names)),
            rows,
        ),
        Text(
            "Both lines choose stays by what became known later (all markers measured), and the "
            "first sample may be days old; what could be known at a fixed time is above.",
            "small",
        ),
    ]


def calibration_blocks(one: AtLandmark) -> list[Any]:
    """Draw calibration and net benefit at a landmark."""
    evaluation = one.evaluation
    curve = evaluation.calibration_curve
    names = predictors_of(evaluation)[: len(SERIES)]
    description = "; ".join(
        f"predicted {share(row['predicted'], digits=0)}, observed {share(row['value'], digits=0)} "
        f"of {row['n']}"
        for row in curve.iter_rows(named=True)
    )
    net = evaluation.figure(MAIN, "net-benefit")
    figures = [
        Figure(
            (
                Panel(
                    to_svg(calibration_chart(evaluation)),
                    f"Calibration in groups of rising probability: {description}.",
                    "Calibration",
                ),
                Panel(
                    to_svg(decision_chart(evaluation, names)),
                    f"Decision curve: net benefit at {evaluation.threshold:g} "
                    f"{value_of(net, 'net-benefit')} per case; the table holds the other figures.",
                    "Net benefit",
                ),
            ),
            f"At {one.title}. Calibration: dots on the dashed line are right. Net benefit: true "
            "positives less false positives at the odds of the threshold; the black line is to "
            "flag nobody, the grey one to flag everybody; the band is the model's interval.",
            tuple((SERIES[k][2], name) for k, name in enumerate(names)),
            size="medium",
        )
    ]
    shown = ("in-the-large", "slope", "ece", "sensitivity", "specificity", "ppv", "alerts")
    rows = tuple(
        (
            Cell(name, is_text=True),
            *(cell_of(evaluation.figure(name, figure), figure) for figure in shown),
        )
        for name in predictors_of(evaluation)
    )
    lead = evaluation.lead
    return [
        *figures,
        Table(
            f"Calibration, and what a threshold of {evaluation.threshold:g} would mean, at "
            f"{one.title}",
            (Cell("predictor", is_text=True), *(Cell(HEAD[figure]) for figure in shown)),
            rows,
        ),
        Text(
            f"Of {evaluation.outcomes} stays with the outcome, "
            f"{evaluation.flagged_outcomes} were flagged; median lead time "
            f"{'–' if lead.estimate is None else f'{lead.estimate / 24:.1f} days'}"
            f"{_lead_interval(lead.lower, lead.upper)} "
            f"before it. Patient-days: {evaluation.patient_days:,.0f}, each patient counted once.",
            "small",
        ),
    ]


def _lead_interval(lower: float, upper: float) -> str:
    if not (abs(lower) < float("inf") and abs(upper) < float("inf")):
        return ""
    return f" ({lower / 24:.1f} to {upper / 24:.1f})"


def subgroup_blocks(evaluation: ModelEvaluation) -> list[Any]:
    """Lay out the model in subgroups."""
    figures = ("auroc", "brier", "in-the-large", "sensitivity", "ppv")
    frame = evaluation.subgroups
    kept = frame.select("by", "group", "n", "events").unique(maintain_order=True)
    rows = []
    for by, group, n, events in kept.iter_rows():
        mine = frame.filter(by=by, group=group)
        cells = []
        for figure in figures:
            found = mine.filter(pl.col("figure") == figure)
            cells.append(
                cell_of(found.row(0, named=True), figure) if found.height else Cell("too few")
            )
        rows.append((Cell(f"{by}: {group}", is_text=True), Cell(str(n), small=str(events)), *cells))
    return [
        Table(
            "The model in subgroups; too few: fewer than 5 with, or without, the outcome",
            (
                Cell("subgroup", is_text=True),
                Cell("cases", small="with outcome"),
                *(Cell(HEAD[figure]) for figure in figures),
            ),
            tuple(rows),
        )
    ]


def missing_blocks(report: ModelReport) -> list[Any]:
    """Lay out what is missing, and what each missing test costs."""
    evaluation = report.landmarks[0].evaluation
    rows = tuple(
        (
            Cell(_title(report, row["feature"]), is_text=True),
            *(
                Cell(share(row[name], digits=0))
                for name in ("missing", "missing_with_outcome", "missing_without")
            ),
        )
        for row in evaluation.missing.iter_rows(named=True)
    )
    made: list[Any] = []
    if report.missing_tests is not None:
        frame = report.missing_tests
        costs = []
        for name in frame["without"].unique(maintain_order=True):
            cells: list[Cell] = [Cell(str(name), is_text=True)]
            for figure in ("auroc", "brier"):
                row = frame.filter(without=name, figure=figure).row(0, named=True)
                less = {"value": row["difference"], "lower": row["lower"], "upper": row["upper"]}
                cells += [Cell(value_of(row, figure)), cell_of(less, figure)]
            costs.append(tuple(cells))
        made.append(
            Table(
                "Effect of each missing test: models fitted without it, on the same patients",
                (
                    Cell("without", is_text=True),
                    Cell("AUROC"),
                    Cell("change"),
                    Cell("Brier score"),
                    Cell("change"),
                ),
                tuple(costs),
            )
        )
    made.append(
        Table(
            f"Missing values at {report.landmarks[0].title}",
            (
                Cell("feature", is_text=True),
                Cell("missing"),
                Cell("with the outcome"),
                Cell("without"),
            ),
            rows,
        )
    )
    return made


def _title(report: ModelReport, feature: str) -> str:
    if report.trained is not None:
        for one in report.trained.plan.features:
            if one.id == feature:
                return one.title or one.id
    return feature.rsplit(".", 1)[-1]
