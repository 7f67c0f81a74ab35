import re
from datetime import UTC, datetime

import pytest
from tests.model_cases import demo_cases, demo_plan

from neva.models import runs as model_runs
from neva.models.card import model_card
from neva.models.report import AtLandmark, ModelReport
from neva.models.training import Settings
from neva.reports.charts.models import calibration_chart, decision_chart
from neva.reports.pages.model import model_page

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def trained():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_runs, "cases_at", lambda snapshot, plan: demo_cases(120))
        return model_runs.train(
            None, demo_plan(), Settings(outer=3, inner=3, repeats=1), resamples=60
        )


@pytest.fixture(scope="module")
def report(trained):
    first = AtLandmark("24h", "24 h after admission", trained.evaluation)
    second = AtLandmark("48h", "48 h & later", trained.evaluation)
    return ModelReport(
        id="demo.model",
        title="Demonstration",
        outcome_words="death in hospital",
        is_external=False,
        landmarks=(first, second),
        first_and_last=None,
        missing_tests=None,
        absent=("D-dimer",),
        identity="here@1/latest",
        trained=trained,
        demonstration_only=True,
        lock_reason="invented",
        limits=("Synthetic patients.",),
        settings=Settings(outer=3, inner=3, repeats=1),
    )


def test_the_page_is_whole_and_asks_nothing_of_the_network(report):
    html = model_page(report, made=AT, synthetic=True, card="card.md").to_html()
    assert not re.search(r"(src|href)=\"http", html)
    assert "<script" not in html
    for said in (
        "Synthetic patients: no figure",
        "Locked to demonstration: invented",
        "D-dimer",
        "48 h &amp; later",
        "card.md",
        "age: under 50",
        "3 outer folds",
    ):
        assert said in html


def test_every_figure_on_the_page_is_of_the_evaluation(report, trained):
    html = model_page(report, made=AT, synthetic=False).to_html()
    for predictor in ("model", "rule", "plain logistic"):
        for figure in ("auroc", "brier"):
            told = trained.evaluation.figure(predictor, figure)
            assert f"{told['value']:.3f}" in html
            assert f"{told['lower']:.3f} to {told['upper']:.3f}" in html


def test_charts_hold_the_evaluations_numbers(trained):
    curve = calibration_chart(trained.evaluation)
    dots = next(iter(curve["layer"][1]["data"]["values"]))
    first = trained.evaluation.calibration_curve.row(0, named=True)
    assert (dots["predicted"], dots["value"]) == (first["predicted"], first["value"])
    lines = decision_chart(trained.evaluation, ["model", "rule"])
    assert len(lines["layer"]) == 5


def test_the_card_has_the_headings_of_tripod_ai_and_the_runs_figures(trained):
    card = model_card(trained)
    for heading in (
        "Intended use", "Source of data", "Participants", "Outcome", "Predictors", "Sample size",
        "Missing data", "Analytical methods", "Fairness", "Model output", "Model performance",
        "Subgroups", "Model updating", "Limitations", "Usability",
    ):  # fmt: skip
        assert re.search(rf"^##+ {heading}", card, re.M), heading
    assert "**Not validated here.**" in card
    told = trained.evaluation.figure("model", "auroc")
    assert f"{told['value']:.3f} ({told['lower']:.3f} to {told['upper']:.3f})" in card
    assert f"- {trained.cases.left_out['ended']}: the stay had ended before" in card


def test_a_card_of_a_model_judged_here_says_so(trained):
    card = model_card(trained, here=trained.evaluation)
    assert "Not validated here" not in card
