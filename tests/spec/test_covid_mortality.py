"""The COVID-19 mortality model on real patients: the published figures, and the honest ones.

Tongji Hospital, Wuhan, 375 patients (Yan 2020, doi:10.1038/s42256-020-0180-7), imported
by Neva's own mapping and read by definitions. Ranges of resampled figures leave room for
other versions of the numerical libraries.
"""

import numpy as np
import polars as pl
import pytest
from tests.hospitals import NOW, new_hospital, take_csv
from tests.shared_data import shared

from neva.definitions.language import events, stay, subject
from neva.definitions.points import EachStay
from neva.definitions.run import answer
from neva.models.artefact import load_artefact, save_artefact
from neva.models.card import model_card
from neva.models.families import load_family
from neva.models.first_and_last import compare_first_and_last
from neva.models.landmarks import landmark_points
from neva.models.made_here import PLAIN_HERE, RECALIBRATED_HERE
from neva.models.report import report_of_family, report_of_model
from neva.models.runs import cases_at
from neva.models.training import Settings, resample
from neva.programmes.covid19.mortality import three_marker_rule

FILE = "time_series_375_prerpocess_en.xlsx"
FAMILY = load_family("covid19.mortality")


def read(folder, path):
    folder.mkdir(exist_ok=True)
    hospital = new_hospital(folder, zone="Asia/Shanghai")
    take_csv(hospital, path, "tongji-covid", now=NOW)
    return hospital.snapshot()


@pytest.fixture(scope="module")
def tongji(tmp_path_factory):
    return read(tmp_path_factory.mktemp("tongji"), shared("data", "tongji-covid", FILE))


@pytest.fixture(scope="module")
def report(tongji):
    settings = Settings(outer=5, inner=4, repeats=1, seed=1)
    return report_of_family(tongji, FAMILY, settings, at="admission", resamples=200)


@pytest.fixture(scope="module")
def few_tests(tmp_path_factory):
    """An extract as the study's second file is: three markers, no age, no gender."""
    folder = tmp_path_factory.mktemp("few")
    cells = pl.read_excel(shared("data", "tongji-covid", FILE)).with_columns(
        pl.col("PATIENT_ID").forward_fill()
    )
    kept = cells.filter(pl.col("PATIENT_ID") % 3 == 0).select(
        "PATIENT_ID", "RE_DATE", "Admission time", "Discharge time", "outcome",
        "Lactate dehydrogenase", "High sensitivity C-reactive protein", "(%)lymphocyte",
    )  # fmt: skip
    kept.write_parquet(folder / "second.parquet")
    return read(folder / "hospital", folder / "second.parquet")


@pytest.mark.parametrize(
    ("sample", "right", "found", "false"), [("last", 342, 156, 6), ("first", 302, 149, 39)]
)
def test_the_published_figures_come_out(tongji, sample, right, found, false):
    """Accuracy 0.974 with last values and 0.860 with first ones, of 351 with all markers."""
    first_and_last = FAMILY.first_and_last
    plan = FAMILY.at(None)
    asked = {
        "rule": (first_and_last.last if sample == "last" else first_and_last.first).rule.value,
        "known": first_and_last.complete.rule.value,
        "died": plan.outcome.value,
    }
    told = answer(tongji, asked, population=EachStay(at="cut")).frame.filter("known")
    died, said = told["died"].is_not_null(), told["rule"]
    assert told.height == 351
    assert (died == said).sum() == right
    assert ((died & said).sum(), (said & ~died).sum()) == (found, false)


def test_both_engines_answer_the_rule_alike(tongji):
    outputs = {"rule": three_marker_rule("first").value, "sex": subject.sex.node}
    points = landmark_points(tongji, (24.0,)).head(60)
    fast, slow = (
        answer(tongji, outputs, points=points, engine=engine).frame
        for engine in ("relational", "reference")
    )
    assert fast.equals(slow)


def test_one_survivor_stands_at_the_limit_itself(tongji):
    """The printed rule says < 14.7; the tree's float32 limit lies a little above."""
    lymphocytes = events("TONGJI//percent-lymphocyte").of(stay).last().value("%")
    asked = {
        "at": (lymphocytes == 14.7).node,
        "rule": FAMILY.first_and_last.last.rule.value,
        "outcome": stay.outcome.node,
    }
    told = answer(tongji, asked, population=EachStay(at="cut")).frame.filter("at")
    assert told.select("rule", "outcome").rows() == [(True, "survived")]


def test_first_and_last_sample_and_ldh_alone(tongji):
    samples = compare_first_and_last(
        tongji, FAMILY.first_and_last, FAMILY.at(None).outcome, resamples=100
    )
    assert (samples.n, samples.events, samples.stays) == (351, 159, 375)
    for sample, expected in (
        ("last", {"accuracy": 0.974, "sensitivity": 0.981, "specificity": 0.969, "ppv": 0.963,
                  "auroc": 0.988}),
        ("first", {"accuracy": 0.860, "sensitivity": 0.937, "specificity": 0.797, "ppv": 0.793,
                   "auroc": 0.922}),
    ):  # fmt: skip
        for figure, value in expected.items():
            told = samples.figure(sample, figure)
            assert told["value"] == pytest.approx(value, abs=0.0006)
            assert told["lower"] <= told["value"] <= told["upper"]
    assert "no prediction" in samples.why


def test_who_has_a_case_at_each_landmark(tongji):
    counts = {}
    for landmark in FAMILY.landmarks:
        cases = cases_at(tongji, FAMILY.plan(landmark))
        counts[landmark.name] = (cases.frame.height, int(cases.outcome.sum()))
        assert cases.left_out["ended"] == 375 - cases.frame["stay_id"].n_unique()
    assert counts["6h"] == (371, 171)
    assert counts["admission"] == counts["24h"] == (359, 162)


def test_sex_and_age_do_not_tell_the_outcome(tongji):
    """Of those who died they were known from admission on, not only with the death."""
    cases = cases_at(tongji, FAMILY.at("6h"))
    known = cases.frame.group_by("outcome").agg(
        pl.col("sex").null_count(), pl.col("age").null_count()
    )
    assert known.select("sex", "age").rows() == [(0, 0), (0, 0)]


def test_features_hold_nothing_that_was_sampled_later(tongji):
    cases = cases_at(tongji, FAMILY.at("6h"))
    sampled = (
        tongji.events().filter(pl.col("code") == "TONGJI//lactate-dehydrogenase")
        .select("stay_id", "time", "value").collect()
    )  # fmt: skip
    by_then = (
        cases.frame.select("stay_id", "now").join(sampled, on="stay_id")
        .filter(pl.col("time") <= pl.col("now")).sort("time")
        .group_by("stay_id").agg(pl.col("value").last())
    )  # fmt: skip
    expected = cases.frame.select("stay_id").join(by_then, on="stay_id", how="left")
    found = cases.frame.select("stay_id", value="covid19.mortality.last.ldh")
    assert found.sort("stay_id").equals(expected.sort("stay_id"))
    assert found["value"].null_count() > 200


def test_the_model_beats_the_rule_and_is_no_worse_than_a_plain_model(report):
    evaluation = report.landmarks[0].evaluation
    assert (evaluation.n, evaluation.events) == (359, 162)
    assert 0.94 <= evaluation.figure("model", "auroc")["value"] <= 0.97
    assert 0.07 <= evaluation.figure("model", "brier")["value"] <= 0.095
    assert 0.79 <= evaluation.figure("three-marker rule", "auroc")["value"] <= 0.85
    assert 0.93 <= evaluation.figure("plain logistic", "auroc")["value"] <= 0.96
    for rule in ("three-marker rule", "rule's classes"):
        assert evaluation.difference(rule, "auroc")["lower"] > 0
        assert evaluation.difference(rule, "brier")["upper"] < 0
    assert evaluation.difference("plain logistic", "auroc")["value"] > -0.003
    assert evaluation.difference("plain logistic", "brier")["value"] < 0.003
    assert 0.8 <= evaluation.figure("model", "slope")["value"] <= 1.4
    assert abs(evaluation.figure("model", "in-the-large")["value"]) < 0.4


def test_what_is_not_told_apart_is_said_plainly(report):
    said = {one.split(":")[0]: one for one in report.verdicts()}
    row = report.landmarks[0].evaluation.difference("plain logistic", "auroc")
    plain = said["model against plain logistic"]
    if row["lower"] <= 0 <= row["upper"]:
        assert (
            "AUROC slightly better, but its interval holds 0" in plain or "AUROC no better" in plain
        )
    assert "AUROC better; Brier score better" in said["model against three-marker rule"]


def test_the_saved_model_is_locked_and_explains_itself(report, tmp_path):
    model = report.trained.model
    save_artefact(model, tmp_path / "model")
    features = {one.id: one for one in FAMILY.at("admission").features}
    again = load_artefact(tmp_path / "model", features)
    assert again.demonstration_only
    told = again.predict(report.trained.cases.frame)
    summed = told.contributions.group_by("row", maintain_order=True).agg(
        pl.col("contribution").sum()
    )
    assert np.allclose(summed["contribution"] + told.frame["base"], told.frame["log_odds"])
    card = model_card(report.trained)
    assert "Not validated here" in card
    assert "Locked to demonstration" in card


def test_it_works_where_only_three_markers_are_measured(report, few_tests, tmp_path):
    save_artefact(report.trained.model, tmp_path / "model")
    model = load_artefact(tmp_path / "model")
    found = report_of_model(few_tests, model, FAMILY, resamples=100)
    assert len(found.absent) == len(model.features) - 3
    assert len(found.variant) == 3
    evaluation = found.landmarks[0].evaluation
    assert (evaluation.n, evaluation.patients) == (120, 120)
    # These patients are among those it was made from: only that it works is shown.
    assert evaluation.figure("model", "auroc")["value"] > 0.85
    assert evaluation.figure("model", "brier")["value"] < 0.15
    assert set(evaluation.figures["predictor"]) == {
        "model", "three-marker rule", RECALIBRATED_HERE, PLAIN_HERE,
    }  # fmt: skip
    assert found.verdicts()[0].startswith("calibration: predicts ")


def test_a_few_absent_tests_are_taken_as_missing(report):
    model = report.trained.model
    prefix = "covid19.mortality.first"
    assert model.at_site([f"{prefix}.ldh", f"{prefix}.urea"]) is model
    most = [one for one in model.ensemble.features if one.rsplit(".", 1)[-1] not in ("ldh", "crp")]
    # No variant goes without lymphocytes.
    assert model.at_site(most) is model
    left = [one for one in most if not one.endswith("lymphocytes")]
    assert len(model.at_site(left).features) == 3
    with_age = [one for one in left if not one.endswith("age")]
    assert len(model.at_site(with_age).features) == 4
    figures = [one.figures["auroc"]["value"] for one in model.variants]
    assert all(0.88 < one < 0.97 for one in figures)


def test_another_import_of_the_same_patients_gives_the_same_predictions(tongji, tmp_path):
    """Pseudonyms differ from hospital to hospital; folds and figures do not."""
    again = read(tmp_path / "again", shared("data", "tongji-covid", FILE))
    plan = FAMILY.at("24h")
    settings = Settings(outer=3, inner=3, repeats=1)
    first, second = (cases_at(one, plan) for one in (tongji, again))
    assert set(first.frame["subject_id"]) != set(second.frame["subject_id"])
    found = [resample(plan, one, settings).predictions["model"] for one in (first, second)]
    assert (found[0] == found[1]).all()
