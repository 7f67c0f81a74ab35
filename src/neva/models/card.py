"""Model cards in Markdown, by the headings of TRIPOD+AI; every figure from the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neva.languages.english import number, part
from neva.models.cases import LEFT_OUT
from neva.models.evaluation import FIGURES, ModelEvaluation
from neva.models.fitted_model import Model
from neva.models.runs import TrainedModel

__all__ = ["model_card"]


def _with_interval(figure: Mapping[str, Any], digits: int = 3) -> str:
    value = number(figure["value"], digits)
    if figure.get("lower") is None:
        return value
    return f"{value} ({number(figure['lower'], digits)} to {number(figure['upper'], digits)})"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    line = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*line, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _performance(evaluation: ModelEvaluation) -> list[str]:
    predictors = evaluation.figures["predictor"].unique(maintain_order=True).to_list()
    rows = [
        [what, *(_with_interval(evaluation.figure(one, figure)) for one in predictors)]
        for figure, what in FIGURES.items()
    ]
    lines = [
        (
            f"{evaluation.n} cases of {evaluation.patients} patients, {evaluation.events} with the "
            f"outcome; {part(evaluation.level)} intervals from {evaluation.resamples} bootstrap "
            f"samples of patients; figures are means over {evaluation.repeats} resampling(s); "
            f"threshold {evaluation.threshold:g}."
        ),
        "",
        *_table(["figure", *predictors], rows),
    ]
    if evaluation.differences.height:
        lines += [
            (
                "Model less the others, on the same patients (AUROC: above 0 the model is better; "
                "Brier: below 0):"
            ),
            "",
            *_table(
                ["figure", "compared with", "difference"],
                [
                    [row["figure"], row["predictor"], _with_interval(row)]
                    for row in evaluation.differences.iter_rows(named=True)
                ],
            ),
        ]
    lead = evaluation.lead
    lines += [
        (
            f"Of {evaluation.outcomes} stays with the outcome {evaluation.flagged_outcomes} were "
            f"flagged; median lead time {number(lead.estimate, 1)} h "
            f"({number(lead.lower, 1)} to {number(lead.upper, 1)})."
        ),
        "",
    ]
    return lines


def _subgroups(evaluation: ModelEvaluation) -> list[str]:
    rows = []
    kept = evaluation.subgroups.select("by", "group", "n", "events").unique(maintain_order=True)
    for by, group, n, events in kept.iter_rows():
        cells = [f"{by}: {group}", str(n), str(events)]
        for figure in ("auroc", "brier", "in-the-large"):
            found = evaluation.subgroups.filter(by=by, group=group, figure=figure)
            cells.append(_with_interval(found.row(0, named=True)) if found.height else "too few")
        rows.append(cells)
    return _table(
        ["subgroup", "cases", "outcomes", "AUROC", "Brier", "calibration in the large"], rows
    )


def _missing(evaluation: ModelEvaluation, model: Model) -> list[str]:
    titles = {one.id: one.title or one.id for one in model.features}
    return _table(
        ["feature", "missing", "with the outcome", "without"],
        [
            [
                titles.get(row["feature"], row["feature"]),
                part(row["missing"]),
                part(row["missing_with_outcome"]),
                part(row["missing_without"]),
            ]
            for row in evaluation.missing.iter_rows(named=True)
        ],
    )


def _variants(model: Model) -> list[str]:
    if not model.variants:
        return []
    titles = {one.id: one.title or one.id for one in model.features}
    return [
        "### Variants for sites with few tests",
        "",
        *_table(
            ["features", "chosen", "AUROC", "Brier"],
            [
                [
                    "; ".join(titles[name] for name in one.ensemble.features),
                    one.candidate,
                    _with_interval(one.figures["auroc"]),
                    _with_interval(one.figures["brier"]),
                ]
                for one in model.variants
            ],
        ),
    ]


def _history(model: Model) -> list[str]:
    if not model.history:
        return ["Not updated since training.", ""]
    return [
        *(
            f"- {one['what']} ({one['kind']}) on {one['at']} by {one['actor']}: "
            f"{one['data']['cases']} cases, {one['data']['outcomes']} outcomes of "
            f"{one['data']['identity']}"
            for one in model.history
        ),
        "",
    ]


def model_card(trained: TrainedModel, *, here: ModelEvaluation | None = None) -> str:
    """Write the card of a trained model.

    Parameters
    ----------
    trained : TrainedModel
    here : ModelEvaluation, optional
        Of the saved model at the hospital that reads the card; None: the card
        says that it was not validated here.

    Returns
    -------
    str
        Markdown; the headings are those of TRIPOD+AI.

    References
    ----------
    Collins GS et al. (2024), doi:10.1136/bmj-2023-078378.
    """
    model, plan, evaluation = trained.model, trained.plan, trained.evaluation
    data, how = model.data, trained.resampled.settings
    horizon = (
        "until the end of the stay"
        if model.horizon_hours is None
        else f"within {model.horizon_hours:g} h"
    )
    lock = (
        f"**Locked to demonstration**: {model.lock_reason}. It must not become live before it is "
        "recalibrated on the hospital's own patients."
        if model.demonstration_only
        else "The lock to demonstration was lifted by a recalibration; see *Model updating*."
    )
    chosen = trained.resampled.chosen
    choices = chosen.group_by("candidate", "recalibration").len().sort("len", descending=True)
    missing = [f"- {one}" for one in model.without]
    lines = [
        f"# {model.title}",
        "",
        (
            f"Model {model.id} {model.version}: {model.outcome_words}, {horizon}, predicted at "
            f"{model.landmark['title']}."
        ),
        "",
        lock,
        "",
        "## Introduction",
        "",
        "### Intended use",
        "",
        plan.intended_use or "Not stated.",
        "",
        *([f"Sources: {', '.join(plan.sources)}", ""] if plan.sources else []),
        "## Methods",
        "",
        "### Source of data",
        "",
        (
            f"Data version `{data['identity']}`; predictions made from {data['first']} to "
            f"{data['last']}. Of the events, {part(data['assumed_share'])} have an assumed "
            "recording time."
        ),
        "",
        "### Participants",
        "",
        plan.patients or "Not stated.",
        "",
        f"{data['cases']} cases of {data['patients']} patients. Left out:",
        "",
        *(f"- {count}: {LEFT_OUT.get(why, why)}" for why, count in data["left_out"].items()),
        "",
        "### Outcome",
        "",
        (
            f"{model.outcome.title or model.outcome.id} (definition {model.outcome.id} "
            f"{model.outcome.version}), taken with hindsight; {horizon}."
        ),
        "",
        "### Predictors",
        "",
        *(
            f"- {one.title or one.id}"
            f"{f' [{unit}]' if (unit := model.units.get(one.id, '')) not in ('', '1') else ''} "
            f"(`{one.id}` {one.version})"
            for one in model.features
        ),
        "",
        *(["Made without:", "", *missing, ""] if missing else []),
        "Each is a definition, answered with what was recorded at or before the prediction.",
        "",
        "### Sample size",
        "",
        f"{data['outcomes']} outcomes for {len(model.features)} features.",
        "",
        "### Missing data",
        "",
        (
            "Linear members take the median of the training rows and an indicator that the "
            "value is missing; trees send missing values where they fit best. No case is left "
            "out for it."
        ),
        "",
        *_missing(evaluation, model),
        "### Analytical methods",
        "",
        (
            f"Nested resampling by patient: {how.outer} outer folds, {how.repeats} repeat(s), "
            f"{how.inner} inner folds that choose candidate and recalibration by held-out log "
            f"loss; seed {how.seed}. Candidates: {'; '.join(one.name for one in plan.candidates)}."
        ),
        "",
        "### Fairness",
        "",
        (
            "Subgroups by sex, age and unit are shown below; no feature was left out or corrected "
            "for their sake."
        ),
        "",
        "### Model output",
        "",
        "A probability, with what each feature adds to its log-odds (exact Shapley values).",
        "",
        "## Results",
        "",
        "### Model development",
        "",
        "What the inner loop chose in the outer folds:",
        "",
        *_table(
            ["candidate", "recalibration", "folds"],
            [[str(one) for one in row] for row in choices.iter_rows()],
        ),
        (
            f"The saved model, chosen on all cases: {model.candidate}; recalibration "
            f"{model.ensemble.recalibration.kind}."
        ),
        "",
        "### Model performance (internal, patients held out)",
        "",
        *_performance(evaluation),
        "### Subgroups",
        "",
        *_subgroups(evaluation),
        *_variants(model),
        "### Validation at this hospital",
        "",
        *(
            _performance(here)
            if here is not None
            else ["**Not validated here.** The figures above are those of its training data.", ""]
        ),
        "### Model updating",
        "",
        *_history(model),
        "## Discussion",
        "",
        "### Limitations",
        "",
        *(f"- {one}" for one in plan.limits or ("None stated.",)),
        "",
        "### Usability",
        "",
        (
            "Contributions explain the model, not the patient: a feature that adds much is no "
            "cause and no target for treatment. A missing value is shown as missing. Nothing here "
            "proposes a treatment."
        ),
        "",
    ]
    return "\n".join(lines)
