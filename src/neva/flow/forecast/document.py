"""A forecast of occupancy as JSON and back: what a worker leaves for the pages."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from neva.errors import BadInputError
from neva.flow.forecast.entry_effects import RELIABILITY
from neva.flow.forecast.forecast import OccupancyForecast

__all__ = ["forecast_document", "read_forecast_document"]

_FORMAT: Final = 1
#: Chances are kept to so many places; each distribution is made to sum to 1 again.
_PLACES: Final = 7


def forecast_document(forecast: OccupancyForecast) -> dict[str, Any]:
    """Return a forecast as JSON-able data.

    Distributions are kept without the zeros at both ends: ``[first count, [chances]]``.
    """
    return {
        "format": _FORMAT,
        "places": list(forecast.places),
        "times": [time.isoformat() for time in forecast.times],
        "counts": forecast.distribution.shape[2],
        "distribution": [[_packed(one) for one in place] for place in forecast.distribution],
        "present": forecast.present.tolist(),
        "issued": forecast.issued.isoformat(),
        "zone": forecast.zone,
        "identity": forecast.identity,
        "what": forecast.what,
        "notes": list(forecast.notes),
        "step_hours": forecast.step_hours,
        "mean_by_lengths": None
        if forecast.mean_by_lengths is None
        else np.round(forecast.mean_by_lengths, _PLACES).tolist(),
        "reliability": None
        if forecast.reliability is None
        else forecast.reliability.to_dict(as_series=False),
    }


def _packed(counts: Any) -> list[Any]:
    rounded = np.round(counts, _PLACES)
    inside = np.flatnonzero(rounded)
    if not len(inside):
        return [int(np.argmax(counts)), [1.0]]
    return [int(inside[0]), rounded[inside[0] : inside[-1] + 1].tolist()]


def read_forecast_document(document: dict[str, Any]) -> OccupancyForecast:
    """Read what :func:`forecast_document` gave.

    Raises
    ------
    BadInputError
        It is another kind of document, or of another version of Neva.
    """
    if document.get("format") != _FORMAT:
        message = (
            f"forecast: cannot be read; found format {document.get('format')!r}, not {_FORMAT}; "
            "make the forecast again"
        )
        raise BadInputError(message)
    places, times = tuple(document["places"]), document["times"]
    distribution = np.zeros((len(places), len(times), document["counts"]))
    for number, place in enumerate(document["distribution"]):
        for step, (first, chances) in enumerate(place):
            distribution[number, step, first : first + len(chances)] = chances
    distribution /= distribution.sum(axis=2, keepdims=True)
    by_lengths, reliability = document.get("mean_by_lengths"), document.get("reliability")
    return OccupancyForecast(
        places=places,
        times=tuple(datetime.fromisoformat(time) for time in times),
        distribution=distribution,
        present=np.array(document["present"], dtype=np.int64),
        issued=datetime.fromisoformat(document["issued"]),
        zone=document["zone"],
        identity=document["identity"],
        what=document["what"],
        notes=tuple(document["notes"]),
        step_hours=document["step_hours"],
        mean_by_lengths=None if by_lengths is None else np.array(by_lengths, dtype=np.float64),
        reliability=None if reliability is None else pl.DataFrame(reliability, schema=RELIABILITY),
    )
