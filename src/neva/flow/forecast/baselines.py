"""Baselines: simple forecasts that a forecast must beat.

They are fixed, simple, and see what the forecast sees. Those of arrivals give
the distribution of one day's count, those of occupancy of one place's number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from neva.errors import UsageError
from neva.statistics.counts import count_regression
from neva.statistics.distributions import sum_of_negative_binomials

__all__ = [
    "ARRIVAL_BASELINES",
    "BY_LENGTHS",
    "EXPECTED_CHANGE",
    "PERSISTENCE",
    "ets",
    "expected_change",
    "persistence",
    "poisson",
]

Floats = npt.NDArray[np.float64]

PERSISTENCE: Final = "persistence"
#: Our forecast without a look at what was entered.
BY_LENGTHS: Final = "lengths of stay alone"
EXPECTED_CHANGE: Final = "persistence + expected change"
#: With fewer days exponential smoothing is not tried.
_LEAST_DAYS_ETS: Final = 14


def poisson(mean: float) -> Floats:
    """Return a Poisson distribution; with a mean of 0, certainly 0."""
    return sum_of_negative_binomials([max(float(mean), 0.0)], [np.inf])


def persistence(present: int) -> Floats:
    """Return the distribution that is certain of the same number as now."""
    sure = np.zeros(present + 1)
    sure[present] = 1.0
    return sure


def expected_change(present: int, changes: npt.ArrayLike) -> Floats:
    """Return the same number as now, changed as it changed before over the same time.

    Parameters
    ----------
    present : int
    changes : array of int, shape (n,)
        Changes seen in the past over the same horizon; each is as likely.
        Without any, the same number as now. Numbers below 0 count as 0.
    """
    seen = np.asarray(changes, dtype=np.int64)
    if not len(seen):
        return persistence(present)
    reached = np.maximum(present + seen, 0)
    counts: Floats = np.bincount(reached) / len(seen)
    return counts


def _last_week(known: Floats, ahead: int) -> Floats:
    """The same day of the week, the last one known, as a Poisson mean."""
    back = 7 * ((ahead + 6) // 7) - ahead + 1
    return poisson(known[-back]) if len(known) >= back else poisson(known.mean())


def _weekday_mean(known: Floats, ahead: int) -> Floats:
    """The mean of all such days of the week."""
    same = known[::-1][(7 - ahead) % 7 :: 7]
    return poisson(same.mean() if len(same) else known.mean())


def _poisson_regression(known: Floats, ahead: int) -> Floats:
    """Weekday, trend and season as a Poisson model, without over-dispersion."""
    at = np.arange(len(known) + ahead)
    angle = 2 * np.pi * at / 365.25
    columns = [np.ones(len(at)), *((at % 7 == k) * 1.0 for k in range(6))]
    if len(known) >= 120:
        columns.append(at / 365.25)
    if len(known) >= 550:
        columns += [np.sin(angle), np.cos(angle)]
    design = np.column_stack(columns)
    fit = count_regression(design[: len(known)], known, poisson=True, penalty=1e-6)
    return poisson(float(fit.mean(design[-1:])[0]))


def ets(known: Floats, ahead: int) -> Floats:
    """Exponential smoothing with weekly season, as a rounded normal distribution.

    By ``AutoETS`` of statsforecast (the extra ``forecast``), on the last year.

    Raises
    ------
    UsageError
        The extra is not installed, or fewer than two weeks are known.
    """
    if len(known) < _LEAST_DAYS_ETS:
        message = (
            f"ets: too few days for a weekly season; found {len(known)}; "
            f"the floor is {_LEAST_DAYS_ETS}"
        )
        raise UsageError(message)
    try:
        from statsforecast.models import AutoETS
    except ImportError as error:
        message = (
            "ets: statsforecast is not installed; found no such package; "
            "install neva with the extra forecast"
        )
        raise UsageError(message) from error
    from scipy.stats import norm

    # Of few days some candidates have no corrected AIC: it divides by zero, and they are out.
    with np.errstate(divide="ignore"):
        found = AutoETS(season_length=7).forecast(
            y=np.asarray(known[-365:], dtype=np.float64), h=ahead, level=[90]
        )
    mean = float(found["mean"][-1])
    spread = max((float(found["hi-90"][-1]) - mean) / 1.6448536269514722, 1e-6)
    top = int(max(mean + 10 * spread, 1)) + 2
    cumulative = norm.cdf(np.arange(top) + 0.5, mean, spread)
    distribution = np.diff(np.concatenate([[0.0], cumulative]))
    distribution[-1] += 1 - cumulative[-1]
    return distribution


#: By name: from counts of complete days, oldest first, and days ahead (1 is the
#: first unknown day), the distribution of that day's count.
ARRIVAL_BASELINES: Final[Mapping[str, Callable[[Floats, int], Floats]]] = {
    "same day last week": _last_week,
    "weekday mean": _weekday_mean,
    "Poisson regression": _poisson_regression,
}
