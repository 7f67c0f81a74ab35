"""The page of a model: landmarks, the rule's two faces, calibration, net benefit, subgroups."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import polars as pl

from neva.decisions.model_evaluation import ModelEvaluation
from neva.decisions.model_report import AtLandmark, ModelReport, left_out_in_words
from neva.decisions.two_faces import Faces
from neva.reports.charts import to_svg
from neva.reports.model_charts import SERIES, calibration_chart, decision_chart, landmark_chart
from neva.reports.pages import Cell, Details, Figure, Page, Panel, Section, Table, Text
from neva.reports.words import share

__all__ = ["model_page"]

_HEAD: Final = {
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
MAIN: Final = "model"


def _value(told: Mapping[str, Any], figure: str) -> str:
    value = told["value"]
    if value is None:
        return "–"
    if figure in _SHARES:
        return share(value, digits=0 if figure != "accuracy" else 1)
    return f"{value:.1f}" if figure == "alerts" else f"{value:.3f}"


def _cell(told: Mapping[str, Any], figure: str, *, is_strong: bool = False) -> Cell:
    """A value, its interval below."""
    if told["value"] is None:
        return Cell("–")
    under = "no interval"
    if told["lower"] is not None:
        low, high = ({"value": told[one]} for one in ("lower", "upper"))
        under = f"{_value(low, figure)} to {_value(high, figure)}"
    return Cell(_value(told, figure), small=under, is_strong=is_strong)


def _predictors(evaluation: ModelEvaluation) -> list[str]:
    return list(evaluation.figures["predictor"].unique(maintain_order=True))


def _verdict(report: ModelReport) -> list[Text]:
    first = report.landmarks[0]
    evaluation = first.evaluation
    auroc, brier = (evaluation.figure(MAIN, one) for one in ("auroc", "brier"))
    how = (
        "The saved model on patients it was not made from"
        if report.is_external
        else "Patients held out by nested resampling"
    )
    lead = [
        Text(
            f"At {first.title}, AUROC {_value(auroc, 'auroc')} "
            f"({_value({'value': auroc['lower']}, 'auroc')} to "
            f"{_value({'value': auroc['upper']}, 'auroc')}), Brier score "
            f"{_value(brier, 'brier')}.",
            "strong",
        ),
        Text(
            f"{how}: {evaluation.n} cases of {evaluation.patients} patients, {evaluation.events} "
            f"with {report.outcome_words}. Compared on the same patients:"
        ),
        *(Text(f"{one[0].upper()}{one[1:]}.") for one in report.verdicts()),
    ]
    if report.demonstration_only:
        lead.append(
            Text(
                f"Locked to demonstration: {report.lock_reason}. It must not become live before it "
                "is recalibrated on this hospital's own patients.",
                "warning",
            )
        )
    if report.variant:
        lead.append(
            Text(
                f"Nobody here has {len(report.absent)} of the features: the variant for "
                f"{', '.join(report.variant)} speaks.",
                "warning",
            )
        )
    elif report.absent:
        lead.append(
            Text(
                f"Nobody here has {len(report.absent)} of the features: "
                f"{', '.join(report.absent)}. The model takes them as missing; its order of "
                "patients holds better than its probabilities. Train a variant without them.",
                "warning",
            )
        )
    return lead


def _landmarks(report: ModelReport) -> list[Any]:
    first = report.landmarks[0].evaluation
    names = _predictors(first)
    made: list[Any] = []
    for figure in ("auroc", "brier"):
        rows = tuple(
            (
                Cell(one.title, is_text=True),
                Cell(str(one.evaluation.n), small=str(one.evaluation.events)),
                *(
                    _cell(one.evaluation.figure(name, figure), figure, is_strong=name == MAIN)
                    for name in names
                ),
            )
            for one in report.landmarks
        )
        better = "higher is better" if figure == "auroc" else "lower is better"
        made.append(
            Table(
                f"{_HEAD[figure]} ({better}), with {first.level:.0%} intervals from "
                f"{first.resamples} redrawings of patients",
                (
                    Cell("evaluated at", is_text=True),
                    Cell("cases", small="with outcome"),
                    *(Cell(name) for name in names),
                ),
                rows,
            )
        )
    made.append(Details("The other figures at each landmark", (_other_figures(report),)))
    return [_landmark_figure(report, names), *made] if len(report.landmarks) > 1 else made


def _landmark_figure(report: ModelReport, names: list[str]) -> Figure:
    panels = []
    for figure, title, top in (
        ("auroc", "AUROC; higher is better", (0.5, 1.0)),
        ("brier", "Brier score; lower is better", (0.0, 0.4)),
    ):
        rows = [
            {"landmark": one.title, "predictor": name, **one.evaluation.figure(name, figure)}
            for one in report.landmarks
            for name in names
        ]
        chart = landmark_chart(rows, title, names, domain=top)
        said = "; ".join(
            f"{row['landmark']}, {row['predictor']} {_value(row, figure)}" for row in rows
        )
        panels.append(Panel(to_svg(chart), f"{title} at each landmark: {said}.", title))
    return Figure(
        tuple(panels),
        "Signs are figures, lines their intervals; the table below holds the numbers.",
        tuple((SERIES[k][2], name) for k, name in enumerate(names)),
        size="medium",
    )


def _other_figures(report: ModelReport) -> Table:
    shown = ("auprc", "slope", "ppv", "sensitivity", "specificity", "alerts")
    rows = []
    for one in report.landmarks:
        for k, name in enumerate(_predictors(one.evaluation)):
            cells = (_cell(one.evaluation.figure(name, figure), figure) for figure in shown)
            rows.append(
                (
                    Cell(one.title, is_text=True, is_again=k > 0),
                    Cell(name, is_text=True, is_strong=name == MAIN),
                    *cells,
                )
            )
    return Table(
        "PPV, sensitivity, specificity and alerts at a probability of "
        f"{report.landmarks[0].evaluation.threshold:g}",
        (
            Cell("evaluated at", is_text=True),
            Cell("predictor", is_text=True),
            *(Cell(_HEAD[figure]) for figure in shown),
        ),
        tuple(rows),
    )


def _differences(report: ModelReport) -> list[Any]:
    first = report.landmarks[0].evaluation
    others = first.differences["predictor"].unique(maintain_order=True).to_list()
    if not others:
        return []
    made: list[Any] = []
    for figure, better in (("auroc", "above"), ("brier", "below")):
        rows = tuple(
            (
                Cell(one.title, is_text=True),
                *(_cell(one.evaluation.difference(other, figure), figure) for other in others),
            )
            for one in report.landmarks
        )
        made.append(
            Table(
                f"Paired differences of the {_HEAD[figure]} on the same patients; {better} 0 the "
                "model is better",
                (
                    Cell("evaluated at", is_text=True),
                    *(Cell(f"model − {other}") for other in others),
                ),
                rows,
            )
        )
    return [
        *made,
        Text("An interval that holds 0 does not tell the two apart.", "small"),
    ]


def _faces(faces: Faces) -> list[Any]:
    names = [
        ("accuracy", "accuracy"),
        ("sensitivity", "sensitivity"),
        ("specificity", "specificity"),
        ("ppv", "PPV"),
        ("auroc", f"AUROC of {faces.value_title}"),
    ]
    rows = tuple(
        (
            Cell(title, is_text=True),
            *(_cell(faces.figure(face, figure), figure) for figure, _ in names),
        )
        for face, title in (
            ("last", "last sample before the outcome"),
            ("first", "first sample, at admission"),
        )
    )
    return [
        Text(faces.why, "warning"),
        Table(
            f"The three-marker rule on the {faces.n} of {faces.stays} ended stays with all three "
            f"markers ({faces.events} died); intervals from {faces.resamples} redrawings",
            (Cell("asked with", is_text=True), *(Cell(title) for _, title in names)),
            rows,
        ),
        Text(
            "Both lines choose stays by what became known later (all markers measured), and the "
            "first sample may be days old; what could be known at a fixed time is above.",
            "small",
        ),
    ]


def _calibration(one: AtLandmark) -> list[Any]:
    evaluation = one.evaluation
    curve = evaluation.calibration_curve
    names = _predictors(evaluation)[: len(SERIES)]
    said = "; ".join(
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
                    f"Calibration in groups of rising probability: {said}.",
                    "Calibration",
                ),
                Panel(
                    to_svg(decision_chart(evaluation, names)),
                    f"Decision curve: net benefit at {evaluation.threshold:g} "
                    f"{_value(net, 'net-benefit')} per case; the table holds the other figures.",
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
            *(_cell(evaluation.figure(name, figure), figure) for figure in shown),
        )
        for name in _predictors(evaluation)
    )
    lead = evaluation.lead
    return [
        *figures,
        Table(
            f"Calibration, and what a threshold of {evaluation.threshold:g} would mean, at "
            f"{one.title}",
            (Cell("predictor", is_text=True), *(Cell(_HEAD[figure]) for figure in shown)),
            rows,
        ),
        Text(
            f"Of {evaluation.outcomes} stays with the outcome, "
            f"{evaluation.flagged_outcomes} were flagged; median lead time "
            f"{'–' if lead.estimate is None else f'{lead.estimate / 24:.1f} days'}"
            f"{_lead_interval(lead.lower, lead.upper)} "
            f"before it. Patient-days: {evaluation.patient_days:,.0f}, each patient asked once.",
            "small",
        ),
    ]


def _lead_interval(lower: float, upper: float) -> str:
    if not (abs(lower) < float("inf") and abs(upper) < float("inf")):
        return ""
    return f" ({lower / 24:.1f} to {upper / 24:.1f})"


def _subgroups(evaluation: ModelEvaluation) -> list[Any]:
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
                _cell(found.row(0, named=True), figure) if found.height else Cell("too few")
            )
        rows.append((Cell(f"{by}: {group}", is_text=True), Cell(str(n), small=str(events)), *cells))
    return [
        Table(
            "The model in subgroups; too few: fewer than 5 with, or without, the outcome",
            (
                Cell("subgroup", is_text=True),
                Cell("cases", small="with outcome"),
                *(Cell(_HEAD[figure]) for figure in figures),
            ),
            tuple(rows),
        )
    ]


def _missing(report: ModelReport) -> list[Any]:
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
                cells += [Cell(_value(row, figure)), _cell(less, figure)]
            costs.append(tuple(cells))
        made.append(
            Table(
                "What each missing test costs: models made without it, on the same patients",
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


def model_page(
    report: ModelReport, *, made: datetime, synthetic: bool, card: str | None = None
) -> Page:
    """Lay out what is known of a model.

    Parameters
    ----------
    report : ModelReport
    made : datetime
        Aware; printed on the page.
    synthetic : bool
        Invented patients: a banner says so.
    card : str, optional
        Name of the file of the model card beside the page.

    Returns
    -------
    Page
    """
    first = report.landmarks[0]
    left = left_out_in_words(first.evaluation.left_out)
    sections = [
        Section("How good, and when", tuple(_landmarks(report))),
        Section("Beside the rule and a plain model", tuple(_differences(report))),
    ]
    if report.faces is not None and report.faces.n:
        sections.append(Section("The rule's two faces", tuple(_faces(report.faces))))
    sections += [
        Section("Calibration and net benefit", tuple(_calibration(first))),
        Section("Subgroups", tuple(_subgroups(first.evaluation))),
        Section("Missing tests", tuple(_missing(report))),
        Section("Limits", tuple(Text(one) for one in report.limits or ("None stated.",))),
    ]
    how = report.settings
    chosen = report.trained.resampled.chosen if report.trained is not None else None
    facts = [
        ("data version", report.identity),
        ("model", report.id + (f", made from {report.origin}" if report.origin else "")),
        ("model card", card or "written by `neva decide train`"),
        ("left out at the first landmark", "; ".join(left) or "nobody"),
        ("intervals", (f"{first.evaluation.resamples} redrawings of patients, seed "
                      f"{first.evaluation.seed}")),
    ]  # fmt: skip
    if how is not None:
        facts.append(
            (
                "resampling",
                (
                    f"by patient: {how.outer} outer folds, {how.repeats} repeats, {how.inner} "
                    "inner folds that choose the model"
                ),
            )
        )
    if chosen is not None:
        counts = chosen.group_by("candidate").len().sort(["len", "candidate"], descending=True)
        facts.append(
            ("chosen by the inner loop", "; ".join(f"{a}: {n}" for a, n in counts.iter_rows()))
        )
    return Page(
        title=f"{report.title}: how good is the model",
        lead=tuple(_verdict(report)),
        sections=tuple(one for one in sections if one.blocks),
        facts=tuple(facts),
        made=made,
        synthetic=synthetic,
    )
