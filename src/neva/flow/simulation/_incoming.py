"""Arrivals of a learnt hospital, by hour of the week: as many as are forecast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.events.clock import first_moment
from neva.flow.forecast.arrivals import PROFILE_PRIOR, Arrivals, arrivals_of, fit_arrivals
from neva.flow.forecast.coming import arrivals_of_group, passed_hours
from neva.flow.stays.sojourns import Sojourns

__all__ = ["IncomingWeek", "incoming_week"]

Floats = npt.NDArray[np.float64]

#: Of the hours of the week, this much of a count is drawn to their mean.
_SMOOTH: Final = 2.0


@dataclass(frozen=True, slots=True)
class IncomingWeek:
    """Expected arrivals of a class.

    Attributes
    ----------
    per_hour : tuple of float
        By hour of the local week, from Monday on; one number where no day is
        complete.
    dispersion : float
        The variance of a day's count is ``mean + dispersion * mean**2``.
    level : float
        Of the next seven days, over the mean of the weeks before.
    """

    per_hour: tuple[float, ...]
    dispersion: float
    level: float


def incoming_week(sojourns: Sojourns, name: str, *, since: datetime) -> IncomingWeek:
    """Expect the arrivals of the week to come.

    Parameters
    ----------
    sojourns : Sojourns
    name : str
        ``elective``, or all others.
    since : datetime
        Aware; where too few came for a forecast, their hours are those of the
        arrivals since then.

    Notes
    -----
    Each day has as many as :func:`neva.flow.forecast_flow` expects of it, at
    the hours at which they came on that weekday. What came today so far
    updates the rest of today; the hours of today that have passed are those of
    its weekday in a week.
    """
    elective = pl.col("class") == "elective"
    lately = arrivals_of(sojourns, only=elective if name == "elective" else ~elective, since=since)
    if not len(lately.complete):
        begun = (lately.until - first_moment(lately.first, lately.zone)) / timedelta(hours=1)
        return IncomingWeek((lately.so_far / max(begun, 1.0),), 0.0, 1.0)
    week, dispersion = _week(lately)
    usual = float(lately.daily.mean())
    counts = arrivals_of_group(sojourns, name)
    today = sojourns.now.astimezone(ZoneInfo(sojourns.zone))
    try:
        ahead = fit_arrivals(counts, days=8).forecast(8)
    except UsageError:
        # Too few to forecast from: as many as there were.
        per_day = (int(counts.daily.sum()) + counts.so_far) / (len(counts.daily) + 0.5)
        level = 7 * per_day / max(float(week.sum()), 1e-9)
        return IncomingWeek(_flat(level * week), dispersion, per_day / usual if usual else 1.0)
    made, hours = np.empty((7, 24)), _hours(counts)
    for day in range(1, 8):
        weekday = (today.weekday() + day) % 7
        made[weekday] = ahead.mean[day] * hours[weekday]
    level, shape = float(ahead.mean[0]), float(ahead.shape[0])
    if math.isfinite(shape):
        passed = float(ahead.profile[0] @ passed_hours(sojourns.now, sojourns.zone)) * level
        level *= (shape + counts.so_far) / (shape + passed)
    left = np.arange(24) >= today.hour
    weekday = today.weekday()
    made[weekday, left] = level * hours[weekday, left]
    spread = float(np.mean(1 / ahead.shape[:7]))
    return IncomingWeek(_flat(made), spread, float(ahead.mean[:7].mean()) / usual if usual else 1.0)


def _flat(week: Floats) -> tuple[float, ...]:
    return tuple(float(rate) for rate in week.reshape(-1))


def _hours(counts: Arrivals) -> Floats:
    """Shares of a day by hour, for each weekday: as in forecasts, but never where nobody came."""
    complete = counts.complete.astype(np.float64)
    weekday = (counts.first.weekday() + np.arange(len(complete))) % 7
    by_weekday = np.stack([complete[weekday == day].sum(axis=0) for day in range(7)])
    everyday = by_weekday.sum(axis=0) / by_weekday.sum()
    mixed: Floats = by_weekday + PROFILE_PRIOR * everyday
    found: Floats = mixed / mixed.sum(axis=1, keepdims=True)
    return found


def _week(counts: Arrivals) -> tuple[Floats, float]:
    """Arrivals per hour of the local week, and the over-dispersion of days."""
    complete = counts.complete.astype(np.float64)
    weekday = (counts.first.weekday() + np.arange(len(complete))) % 7
    mean_hour = complete.mean(axis=0)
    week = np.empty((7, 24))
    for day in range(7):
        mine = complete[weekday == day]
        week[day] = (mine.sum(axis=0) + _SMOOTH * mean_hour) / (len(mine) + _SMOOTH)
    daily = complete.sum(axis=1)
    expected = week.sum(axis=1)[weekday]
    excess = float(((daily - expected) ** 2 - expected).mean() / max((expected**2).mean(), 1e-9))
    return week, max(0.0, excess)
