"""Comings and leavings against the forecast that adds them up."""

import json

import numpy as np
import polars as pl
import pytest
from tests.flows import invented

from neva.flow.forecast.forecast import fit_flow, forecast_flow
from neva.flow.forecast.moves_ahead import MovesAhead, moves_ahead


@pytest.fixture(scope="module")
def made():
    known = invented(60, seed=4)
    model = fit_flow(known, days=3)
    together = forecast_flow(model, known, steps=24, draws=0, rng=np.random.default_rng(1))
    return known, together, moves_ahead(model, known, steps=24)


def test_present_less_leaving_and_coming_is_the_forecast(made):
    known, together, moves = made
    present = dict(known.present().group_by("state").len().iter_rows())
    for unit in known.states:
        rows = moves.units.filter(unit=unit).sort("time")
        expected = present.get(unit, 0) - rows["leaving"] + rows["coming"]
        mean = together.mean[together.places.index(unit)]
        # The forecast's own mean is exact; moves within a block of hours are gathered here.
        assert expected.to_numpy() == pytest.approx(mean, rel=0.03, abs=0.15)


def test_limits_hold_the_expected_number(made):
    _, _, moves = made
    for name in ("coming", "leaving"):
        assert (moves.units[f"{name}_low"] <= moves.units[name] + 1).all()
        assert (moves.units[f"{name}_high"] >= moves.units[name] - 1).all()
    assert (moves.units["leaving_hospital"] <= moves.units["leaving"] + 1e-9).all()


def test_patients_add_up_to_their_units(made):
    known, _, moves = made
    assert moves.patients["subject_id"].n_unique() == known.present().height
    summed = moves.patients.group_by("unit", "time").agg(
        pl.col("leaves_unit", "leaves_hospital").sum()
    )
    both = moves.units.join(summed, on=["unit", "time"])
    assert both["leaving"].to_list() == pytest.approx(both["leaves_unit"].to_list())
    assert both["leaving_hospital"].to_list() == pytest.approx(both["leaves_hospital"].to_list())
    assert moves.patients["leaves_hospital"].is_between(0, 1).all()


def test_it_survives_json(made):
    _, _, moves = made
    again = MovesAhead.from_document(json.loads(json.dumps(moves.to_document())))
    assert again.units.schema == moves.units.schema
    assert again.patients["subject_id"].to_list() == moves.patients["subject_id"].to_list()
    assert again.units["time"].to_list() == moves.units["time"].to_list()
    assert again.issued == moves.issued
