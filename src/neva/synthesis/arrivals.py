"""Arrivals: categories of patients and their times of arrival."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from neva.synthesis.drawing import DAY, HOUR, MINUTE, SECOND, Times, choose, generator, local_ticks
from neva.synthesis.plan import Plan
from neva.synthesis.rates import CATEGORIES

__all__ = ["arrivals"]

#: Relative number of walk-in arrivals in each hour of the day.
_HOURS: Final = np.array(
    [3, 2.2, 1.8, 1.5, 1.4, 1.6, 2.2, 3.4, 5, 6.6, 7.4, 7.6,
     7.2, 6.8, 6.4, 6.2, 6.2, 6.4, 6.6, 6.4, 6, 5.4, 4.6, 3.8]
)  # fmt: skip
#: The same for each weekday, Monday first.
_WEEKDAYS: Final = np.array([1.12, 1.03, 1.0, 0.99, 1.02, 0.93, 0.91])
#: A wave of the epidemic about every so many days.
_WAVE_EVERY_DAYS: Final = 120
#: Nobody arrives in the last minutes before the data cut: every arrival is recorded.
_QUIET: Final = 10 * MINUTE


def _wave(days: npt.NDArray[np.float64], span: float) -> npt.NDArray[np.float64]:
    """Relative height of the epidemic, at days since the beginning."""
    count = max(1, round(span / _WAVE_EVERY_DAYS))
    height = np.full(len(days), 0.08)
    for number in range(count):
        peak = span * (number + 0.5) / count
        width = span / count / 5
        height += (1 - 0.2 * (number % 3)) * np.exp(-0.5 * ((days - peak) / width) ** 2)
    return height


def arrivals(plan: Plan) -> tuple[Times, npt.NDArray[np.int64]]:
    """Draw every arrival before the data cut.

    Parameters
    ----------
    plan : Plan
        The hospital to make.

    Returns
    -------
    times : numpy.ndarray of int64, shape (plan.stays,)
        Arrivals in order, at whole seconds.
    categories : numpy.ndarray of int64, shape (plan.stays,)
        Places in :data:`neva.synthesis.rates.CATEGORIES`.

    Notes
    -----
    A Poisson process with a rate that varies by hour, weekday and wave, given
    its number of arrivals.
    """
    rng = generator(plan.seed, "arrivals")
    begins, cut = plan.microseconds()
    grid = np.arange(begins, cut - _QUIET, HOUR, dtype=np.int64)
    local = local_ticks(grid, plan.zone)
    hour = (local // HOUR) % 24
    weekday = (local // DAY + 3) % 7  # 1970-01-01 was a Thursday
    wave = _wave((grid - begins) / DAY, (cut - begins) / DAY)
    working_morning = (weekday < 5) & (hour >= 7) & (hour < 11)
    rates = {
        "walk-in": _HOURS[hour] * _WEEKDAYS[weekday],
        "wave": _HOURS[hour] ** 0.6 * wave,
        "elective": working_morning.astype(float),
    }
    categories = choose(rng, [category.share for category in CATEGORIES], plan.stays)
    times = np.empty(plan.stays, dtype=np.int64)
    for number, category in enumerate(CATEGORIES):
        mine = np.flatnonzero(categories == number)
        cell = grid[choose(rng, rates[category.rhythm], len(mine))]
        width = np.minimum(cell + HOUR, cut - _QUIET) - cell
        times[mine] = cell + (rng.random(len(mine)) * width).astype(np.int64)
    times -= times % SECOND
    order = np.argsort(times, kind="stable")
    return times[order], categories[order]
