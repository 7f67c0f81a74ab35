"""``neva decide train`` and ``evaluate``, mounted or not: the commands' own application."""

import json

import polars as pl
import pytest
from tests.hospitals import NOW, new_hospital, take_csv
from tests.shared_data import shared
from typer.testing import CliRunner

from neva.cli.decide import app
from neva.errors import ConflictError, UsageError

RUN = CliRunner()
QUICK = ("--folds", "3", "--repeats", "1", "--resamples", "30")


def hospital_of(folder, patients):
    cells = pl.read_excel(
        shared("data", "tongji-covid", "time_series_375_prerpocess_en.xlsx")
    ).with_columns(pl.col("PATIENT_ID").forward_fill())
    folder.mkdir()
    cells.filter(patients).write_parquet(folder / "part.parquet")
    hospital = new_hospital(folder, zone="Asia/Shanghai")
    take_csv(hospital, folder / "part.parquet", "tongji-covid", now=NOW)
    return folder / "hospital"


def said(*words):
    found = RUN.invoke(app, [str(word) for word in words])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.stdout


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("decide")
    odd = pl.col("PATIENT_ID") % 2 == 1
    return hospital_of(root / "odd", odd), hospital_of(root / "even", ~odd)


@pytest.fixture(scope="module")
def model(places, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "model"
    told = json.loads(
        said("train", places[0], "--model", "covid19.mortality", "--out", out, "--at", "24h",
             *QUICK, "--json")
    )  # fmt: skip
    return out, told


def test_a_model_is_made_saved_and_carded(model):
    out, told = model
    assert told["demonstration_only"]
    assert told["landmark"]["name"] == "24h"
    assert (out / "model.json").is_file()
    card = (out / "MODEL-CARD.md").read_text()
    value = next(
        row for row in told["figures"] if (row["predictor"], row["figure"]) == ("model", "auroc")
    )["value"]
    assert f"{value:.3f}" in card


def test_it_is_judged_by_patients_it_has_not_seen(places, model, tmp_path):
    page = tmp_path / "page.html"
    told = json.loads(
        said("evaluate", places[1], "--model", model[0], "--out", page, "--resamples", 30, "--json")
    )
    assert told["external"]
    row = next(r for r in told["figures"] if (r["predictor"], r["figure"]) == ("model", "auroc"))
    assert row["value"] > 0.88
    assert "Locked to demonstration" in page.read_text()
    assert "locked to demonstration" in said(
        "evaluate", places[1], "--model", model[0], "--resamples", 10
    )


def test_its_own_patients_do_not_judge_it(places, model):
    with pytest.raises(ConflictError, match="fitted to this hospital"):
        said("evaluate", places[0], "--model", model[0])


def test_a_saved_model_keeps_its_landmark(places, model):
    with pytest.raises(UsageError, match="--at: a saved model has its own"):
        said("evaluate", places[1], "--model", model[0], "--at", "6h")


def test_a_variant_without_tests_and_the_price_of_another(places, tmp_path):
    told = json.loads(
        said("evaluate", places[0], "--model", "covid19.mortality", "--at", "24h", "--without",
             "ldh", "--price", "crp", *QUICK, "--json", "--out", tmp_path / "p.html")
    )  # fmt: skip
    assert {row["without"] for row in told["missing_tests"]} == {"crp"}
    assert not any("ldh" in row["feature"] for row in told["missing"])
    assert (tmp_path / "p-card.md").is_file()


def test_what_cannot_be_is_refused(places, tmp_path):
    with pytest.raises(UsageError, match="no such landmark; found 'noon'"):
        said("train", places[0], "--model", "covid19.mortality", "--out", tmp_path, "--at", "noon")
    with pytest.raises(UsageError, match="--repeats"):
        said("evaluate", places[0], "--model", "covid19.mortality", "--repeats", "0")
