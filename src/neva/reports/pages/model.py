"""The page of a model: landmarks, first and last sample, calibration, net benefit, groups."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from neva.languages.english import part
from neva.models.evaluation import MAIN
from neva.models.report import ModelReport, left_out_in_words
from neva.reports.charts.drawing import to_svg
from neva.reports.charts.models import SERIES, landmark_chart
from neva.reports.pages.model_sections import (
    HEAD,
    calibration_blocks,
    cell_of,
    first_and_last_blocks,
    missing_blocks,
    predictors_of,
    subgroup_blocks,
    value_of,
)
from neva.reports.pages.page import Cell, Details, Figure, Page, Panel, Section, Table, Text

__all__ = ["model_page"]


def _verdict(report: ModelReport) -> list[Text]:
    first = report.landmarks[0]
    evaluation = first.evaluation
    auroc, brier = (evaluation.figure(MAIN, one) for one in ("auroc", "brier"))
    how = (
        "The saved model on patients that it was not fitted to"
        if report.is_external
        else "Patients held out by nested resampling"
    )
    lead = [
        Text(
            f"At {first.title}, AUROC {value_of(auroc, 'auroc')} "
            f"({value_of({'value': auroc['lower']}, 'auroc')} to "
            f"{value_of({'value': auroc['upper']}, 'auroc')}), Brier score "
            f"{value_of(brier, 'brier')}.",
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
                f"No patient here has {len(report.absent)} of the features: the variant for "
                f"{', '.join(report.variant)} speaks.",
                "warning",
            )
        )
    elif report.absent:
        lead.append(
            Text(
                f"No patient here has {len(report.absent)} of the features: "
                f"{', '.join(report.absent)}. The model takes them as missing; its order of "
                "patients holds better than its probabilities. Train a variant without them.",
                "warning",
            )
        )
    return lead


def _landmarks(report: ModelReport) -> list[Any]:
    first = report.landmarks[0].evaluation
    names = predictors_of(first)
    made: list[Any] = []
    for figure in ("auroc", "brier"):
        rows = tuple(
            (
                Cell(one.title, is_text=True),
                Cell(str(one.evaluation.n), small=str(one.evaluation.events)),
                *(
                    cell_of(one.evaluation.figure(name, figure), figure, is_strong=name == MAIN)
                    for name in names
                ),
            )
            for one in report.landmarks
        )
        better = "higher is better" if figure == "auroc" else "lower is better"
        made.append(
            Table(
                f"{HEAD[figure]} ({better}), with {part(first.level)} intervals from "
                f"{first.resamples} bootstrap samples of patients",
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
        description = "; ".join(
            f"{row['landmark']}, {row['predictor']} {value_of(row, figure)}" for row in rows
        )
        panels.append(Panel(to_svg(chart), f"{title} at each landmark: {description}.", title))
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
        for k, name in enumerate(predictors_of(one.evaluation)):
            cells = (cell_of(one.evaluation.figure(name, figure), figure) for figure in shown)
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
            *(Cell(HEAD[figure]) for figure in shown),
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
                *(cell_of(one.evaluation.difference(other, figure), figure) for other in others),
            )
            for one in report.landmarks
        )
        made.append(
            Table(
                f"Paired differences of the {HEAD[figure]} on the same patients; {better} 0 the "
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
        Synthetic patients: a banner says so.
    card : str, optional
        Name of the file of the model card beside the page.

    Returns
    -------
    Page
    """
    first = report.landmarks[0]
    left = left_out_in_words(first.evaluation.left_out)
    sections = [
        Section("Performance over time", tuple(_landmarks(report))),
        Section("Beside the rule and a plain model", tuple(_differences(report))),
    ]
    if report.first_and_last is not None and report.first_and_last.n:
        sections.append(
            Section(
                "The rule at the first and at the last sample",
                tuple(first_and_last_blocks(report.first_and_last)),
            )
        )
    sections += [
        Section("Calibration and net benefit", tuple(calibration_blocks(first))),
        Section("Subgroups", tuple(subgroup_blocks(first.evaluation))),
        Section("Missing tests", tuple(missing_blocks(report))),
        Section("Limits", tuple(Text(one) for one in report.limits or ("None stated.",))),
    ]
    how = report.settings
    chosen = report.trained.resampled.chosen if report.trained is not None else None
    facts = [
        ("data version", report.identity),
        ("model", report.id + (f", made from {report.origin}" if report.origin else "")),
        ("model card", card or "written by `neva decide train`"),
        ("left out at the first landmark", "; ".join(left) or "nobody"),
        ("intervals", (f"{first.evaluation.resamples} bootstrap samples of patients, seed "
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
