"""``neva decide train`` and ``neva decide evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import polars as pl
import typer

from neva.cli.console import AsOf, HospitalPath, Json, now, progress, snapshot_of, table, tell
from neva.errors import UsageError
from neva.events.synthetic import SYNTHETIC_NOTE, is_synthetic
from neva.files.whole import write_whole
from neva.languages.english import number

if TYPE_CHECKING:
    from neva.models.report import ModelReport

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands to ``neva decide``."""
    app.command()(train)
    app.command()(evaluate)


Without = Annotated[
    list[str] | None, typer.Option("--without", metavar="TEST", help="leave this feature out")
]
Outer = Annotated[int, typer.Option("--folds", help="outer folds, by patient")]
Repeats = Annotated[int, typer.Option(help="resamplings with other folds")]
Resamples = Annotated[int, typer.Option(help="bootstrap samples of patients for intervals")]
Seed = Annotated[int, typer.Option(help="seed of folds, fits and bootstrap samples")]
CARD = "MODEL-CARD.md"


def _settings(folds: int, repeats: int, seed: int) -> Any:
    from neva.models.training import Settings

    if repeats < 1:
        message = f"--repeats: at least 1 is needed; found {repeats}; give for example 3"
        raise UsageError(message)
    return Settings(outer=folds, repeats=repeats, seed=seed)


def train(
    hospital: HospitalPath,
    model: Annotated[str, typer.Option(metavar="ID", help="such as covid19.mortality")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="where the model is saved")],
    at: Annotated[
        str | None, typer.Option(metavar="LANDMARK", help="admission, 6h, 24h or daily")
    ] = None,
    without: Without = None,
    folds: Outer = 5,
    repeats: Repeats = 3,
    resamples: Resamples = 1000,
    seed: Seed = 1,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Fit a model to the hospital's own patients, evaluate it by resampling, and save it.

    Example: neva decide train tongji --model covid19.mortality --out mortality --repeats 1
    """
    from neva.models.artefact import save_artefact
    from neva.models.card import model_card
    from neva.models.families import load_family
    from neva.models.runs import train as make

    family = load_family(model)
    plan = family.at(at)
    if without:
        plan = plan.without_features(tuple(without))
    how = _settings(folds, repeats, seed)
    _, snapshot = snapshot_of(hospital, as_of)
    with progress("resampling") as update:
        made = make(snapshot, plan, how, resamples=resamples, progress=update)
    digest = save_artefact(made.model, out)
    card = out / CARD
    write_whole(card, model_card(made))
    evaluation = made.evaluation
    content = {
        "model": made.model.id,
        "version": made.model.version,
        "landmark": made.model.landmark,
        "hash": digest,
        "folder": out,
        "card": card,
        "candidate": made.model.candidate,
        "demonstration_only": made.model.demonstration_only,
        "lock_reason": made.model.lock_reason,
        "without": made.model.without,
        "data": made.model.data,
        "figures": evaluation.to_frame(),
        "differences": evaluation.differences,
    }

    def text() -> str:
        return "\n".join(
            [
                f"{made.model.title}, {plan.landmark.title}",
                (
                    f"{evaluation.n} cases, {evaluation.events} with {plan.outcome_words}; "
                    f"chosen: {made.model.candidate}"
                ),
                "",
                table(_short(evaluation.figures)),
                "",
                "model minus the others, on the same patients:",
                table(_rounded(evaluation.differences)),
                "",
                *(
                    [f"locked to demonstration: {made.model.lock_reason}"]
                    if made.model.demonstration_only
                    else []
                ),
                f"model: {out} (hash {digest[:12]})",
                f"card: {card}",
            ]
        )

    tell(as_json, content, text)


def _rounded(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop("undefined").with_columns(
        pl.col("value", "lower", "upper").map_elements(lambda x: f"{x:.3f}", return_dtype=pl.String)
    )


def _short(figures: pl.DataFrame) -> pl.DataFrame:
    kept = ["auroc", "auprc", "brier", "slope", "sensitivity", "ppv"]
    return _rounded(figures.filter(pl.col("figure").is_in(kept)))


def evaluate(
    hospital: HospitalPath,
    model: Annotated[
        str, typer.Option(metavar="ID|FOLDER", help="such as covid19.mortality, or a saved model")
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE.html", help="write a page too")] = None,
    at: Annotated[str | None, typer.Option(metavar="LANDMARK", help="one landmark only")] = None,
    without: Without = None,
    tests: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="TEST", help="show the effect of leaving this feature out"),
    ] = None,
    folds: Outer = 5,
    repeats: Repeats = 3,
    resamples: Resamples = 1000,
    seed: Seed = 1,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model: by resampling the hospital's patients, or a saved one on these patients.

    Example: neva decide evaluate tongji --model covid19.mortality --at 24h --repeats 1
    """
    _, snapshot = snapshot_of(hospital, as_of)
    synthetic = is_synthetic(snapshot)
    folder = Path(model)
    if (folder / "model.json").is_file():
        report = _saved(
            snapshot, folder, used={"--at": at, "--without": without, "--price": tests},
            resamples=resamples, seed=seed,
        )  # fmt: skip
        card = str(folder / CARD) if (folder / CARD).is_file() else None
    else:
        from neva.models.families import load_family
        from neva.models.report import report_of_family

        card = None
        family = load_family(model)
        with progress("resampling") as update:
            report = report_of_family(
                snapshot,
                family,
                _settings(folds, repeats, seed),
                at=at,
                without=tuple(without or ()),
                tests=tuple(tests or ()),
                resamples=resamples,
                progress=update,
            )
    if out is not None:
        from neva.reports.pages.model import model_page

        if card is None and report.trained is not None:
            from neva.models.card import model_card

            beside = out.with_name(f"{out.stem}-card.md")
            write_whole(beside, model_card(report.trained))
            card = beside.name
        model_page(report, made=now(), synthetic=synthetic, card=card).write(out)
    content = {
        "synthetic": synthetic,
        "model": report.id,
        "identity": report.identity,
        "external": report.is_external,
        "demonstration_only": report.demonstration_only,
        "figures": report.to_frame(),
        "differences": report.differences(),
        "subgroups": report.landmarks[0].evaluation.subgroups,
        "calibration": report.landmarks[0].evaluation.calibration_curve,
        "missing": report.landmarks[0].evaluation.missing,
        "first_and_last": report.first_and_last,
        "missing_tests": report.missing_tests,
        "absent": report.absent,
        "variant": report.variant,
        "left_out": {one.name: one.evaluation.left_out for one in report.landmarks},
        "verdicts": report.verdicts(),
        "page": out,
    }
    tell(as_json, content, lambda: _report_text(report, out, synthetic))


def _saved(
    snapshot: Any, folder: Path, *, used: dict[str, Any], resamples: int, seed: int
) -> ModelReport:
    from neva.models.families import family_names, load_family, load_for_use
    from neva.models.report import report_of_model

    wrong = [name for name, value in used.items() if value]
    if wrong:
        message = (
            f"{wrong[0]}: a saved model has its own landmark and features; found it beside a "
            "folder; leave it out, or give the model's id to make it anew"
        )
        raise UsageError(message)
    model = load_for_use(folder)
    family = load_family(model.id) if model.id in family_names() else None
    return report_of_model(snapshot, model, family, resamples=resamples, seed=seed)


def _report_text(report: ModelReport, out: Path | None, synthetic: bool) -> str:
    lines = [
        f"{report.title} ({report.identity})",
        *([SYNTHETIC_NOTE] if synthetic else []),
    ]
    for one in report.landmarks:
        evaluation = one.evaluation
        kept = evaluation.figures.filter(pl.col("figure").is_in(["auroc", "brier", "ppv"]))
        lines += [
            "",
            f"{one.title}: {evaluation.n} cases, {evaluation.events} with {report.outcome_words}",
            table(_rounded(kept)),
            table(_rounded(evaluation.differences)),
        ]
    samples = report.first_and_last
    if samples is not None and samples.n:
        accuracies = [
            number(samples.figure(sample, "accuracy")["value"], 3) for sample in ("last", "first")
        ]
        lines += [
            "",
            (
                f"the three-marker rule on {samples.n} stays with all markers: accuracy "
                f"{accuracies[0]} with the last sample before the outcome, {accuracies[1]} at "
                "admission"
            ),
            samples.why,
        ]
    if report.missing_tests is not None:
        lines += ["", "effect of each missing test:", table(report.missing_tests)]
    if report.absent:
        lines += ["", f"no patient here has: {', '.join(report.absent)}"]
    if report.variant:
        lines.append(f"so the variant applies to: {', '.join(report.variant)}")
    lines += ["", *report.verdicts()]
    if report.demonstration_only:
        lines.append(f"locked to demonstration: {report.lock_reason}")
    if out is not None:
        lines.append(f"page: {out}")
    return "\n".join(lines)
