"""Widening: earlier forecasts' errors widen the intervals of later ones.

Rates and levels change in ways that no model here describes: a wave turns,
practice changes. How far forecasts of the last weeks were off, beyond their
own spread, is what the next one may be off too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt

from neva.compiled import compiled
from neva.flow.forecast.forecast import OccupancyForecast
from neva.statistics.distributions import TAIL, scaled_mixture

__all__ = ["Widening", "learn_widening", "widened"]

Floats = npt.NDArray[np.float64]

#: Forecasts looked back at; and how many errors count for nothing seen.
_LATEST: Final = 21
_PRIOR_ERRORS: Final = 3.0
#: Places of fewer expected patients say little about relative errors.
_LEAST_MEAN: Final = 5.0
#: Equally likely values of a standard normal variable.
_NODES: Final = 9


@dataclass(frozen=True, slots=True)
class Widening:
    """Relative error of the mean by place and step, beyond what forecasts expected.

    Attributes
    ----------
    spread : dict of str to array, shape (steps,)
        Standard deviation, as a share of the mean.
    forecasts : int
        How many earlier forecasts it was learnt from.
    """

    spread: dict[str, Floats]
    forecasts: int

    @classmethod
    def none(cls) -> Widening:
        """Return one that changes nothing."""
        return cls({}, 0)


def learn_widening(
    past: Sequence[tuple[OccupancyForecast, Mapping[str, npt.NDArray[np.int64]]]],
    *,
    before: datetime,
) -> Widening:
    """Learn from earlier forecasts, as they were made, and what was observed by `before`.

    Parameters
    ----------
    past : sequence of (OccupancyForecast, mapping of str to array)
        Unwidened forecasts, and the numbers that came, by place, shape (steps,).
        Numbers after `before` are not used.
    before : datetime
        Aware.

    Notes
    -----
    The excess of squared errors over the variance expected, as a share of the
    squared mean: of all places together, drawn to zero as if by a few
    forecasts without excess; of each place, drawn to that. Neither falls with
    the step.
    """
    if not past:
        return Widening.none()
    steps = max(len(forecast.times) for forecast, _ in past)
    excess: dict[str, Floats] = {}
    weight: dict[str, Floats] = {}
    count: dict[str, Floats] = {}
    used = 0
    for forecast, happened in past[-_LATEST - steps :]:
        known = np.array([time <= before for time in forecast.times])
        if not known.any():
            continue
        used += 1
        at = np.arange(forecast.distribution.shape[2])
        mean = forecast.mean
        variance = forecast.distribution @ at**2 - mean**2
        for k, place in enumerate(forecast.places):
            usable = known & (mean[k] >= _LEAST_MEAN)
            apart = (happened[place] - mean[k]) ** 2 - variance[k]
            for held, value in (
                (excess, np.where(usable, apart, 0.0)),
                (weight, np.where(usable, mean[k] ** 2, 0.0)),
                (count, usable.astype(np.float64)),
            ):
                held.setdefault(place, np.zeros(steps))[: len(known)] += value
    if not used:
        return Widening.none()
    share = {
        place: np.divide(excess[place], weight[place], out=np.zeros(steps), where=weight[place] > 0)
        for place in excess
    }
    counted = sum(count.values())
    pooled = sum(share[place] * count[place] for place in share) / np.maximum(counted, 1e-9)
    # Errors of places at one time are alike: they count as one forecast.
    by_forecast = counted / max(1, len(share))
    pooled = np.maximum(pooled, 0.0) * by_forecast / (by_forecast + _PRIOR_ERRORS)
    spread = {
        place: np.sqrt(
            np.maximum.accumulate(
                np.maximum(
                    (share[place] * count[place] + _PRIOR_ERRORS * pooled)
                    / (count[place] + _PRIOR_ERRORS),
                    0.0,
                )
            )
        )
        for place in share
    }
    return Widening(spread, used)


@compiled(cache=True, nogil=True, parallel=True)
def _widen(distributions: Any, ratios: Any, tail: float) -> Any:
    columns, size = distributions.shape
    result = np.zeros((columns, size))
    for column in numba.prange(columns):
        result[column] = scaled_mixture(distributions[column], ratios[column], tail, size)
    return result


def widened(forecast: OccupancyForecast, widening: Widening) -> OccupancyForecast:
    """Return a forecast with intervals as wide as earlier errors; the means stay."""
    from scipy.stats import norm

    steps = len(forecast.times)
    spread = np.zeros((len(forecast.places), steps))
    for k, place in enumerate(forecast.places):
        learnt = widening.spread.get(place)
        if learnt is not None:
            known = min(steps, len(learnt))
            spread[k, :known] = learnt[:known]
            spread[k, known:] = learnt[-1]
    if not spread.any():
        return forecast
    log_spread = np.sqrt(np.log1p(spread**2)).reshape(-1)
    nodes = norm.ppf((np.arange(_NODES) + 0.5) / _NODES)
    ratios = np.exp(log_spread[:, None] * nodes)
    ratios /= ratios.mean(axis=1, keepdims=True)
    places, _, size = forecast.distribution.shape
    room = int(size * max(1.0, ratios.max())) + 1
    wide = np.zeros((places * steps, room))
    wide[:, :size] = forecast.distribution.reshape(-1, size)
    result = _widen(wide, ratios, TAIL)
    result /= result.sum(axis=1, keepdims=True)
    note = f"intervals are widened by the errors of {widening.forecasts} earlier forecasts"
    return replace(
        forecast,
        distribution=result.reshape(places, steps, room),
        notes=(*forecast.notes, note),
    )
