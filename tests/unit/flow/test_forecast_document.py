"""A forecast survives JSON."""

import json

import numpy as np
import pytest
from tests.flows import invented

from neva.errors import BadInputError
from neva.flow.forecast.document import forecast_document, read_forecast_document
from neva.flow.forecast.forecast import fit_flow, forecast_flow


@pytest.fixture(scope="module")
def forecast():
    known = invented(40, seed=2)
    model = fit_flow(known, days=3)
    return forecast_flow(model, known, steps=12, draws=4, rng=np.random.default_rng(1))


def test_it_comes_back_as_it_was(forecast):
    again = read_forecast_document(json.loads(json.dumps(forecast_document(forecast))))
    assert np.abs(again.distribution - forecast.distribution).max() < 1e-6
    assert again.distribution.sum(axis=2) == pytest.approx(1)
    for name in ("places", "times", "issued", "zone", "identity", "what", "notes", "step_hours"):
        assert getattr(again, name) == getattr(forecast, name), name
    assert again.present.tolist() == forecast.present.tolist()


def test_zeros_at_the_ends_are_not_written(forecast):
    document = forecast_document(forecast)
    written = sum(len(one[1]) for place in document["distribution"] for one in place)
    assert written < forecast.distribution.size / 2


def test_another_format_is_refused(forecast):
    with pytest.raises(BadInputError, match="cannot be read"):
        read_forecast_document(forecast_document(forecast) | {"format": 99})
