"""Planted boundary cases that move whole stays."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.events.clock import to_utc
from neva.synthesis.drawing import DAY, HOUR, MINUTE, Times, local_ticks
from neva.synthesis.plan import Plan
from neva.synthesis.rates import CATEGORIES

__all__ = ["BEFORE_CUT", "days_later", "plant_at_the_cut", "plant_returns", "second_midnight"]

#: Calendar days in which a return counts, after the stay before.
_RETURN_DAYS: Final = {"covid": 30, "sepsis": 28}
#: Distances of planted arrivals from the data cut: clocks that close at the
#: cut itself, or a microsecond after it.
BEFORE_CUT: Final = (14 * HOUR, 48 * HOUR, 14 * HOUR - 1, 48 * HOUR - 1, 24 * HOUR, 24 * HOUR - 1)


def days_later(ticks: Times, days: int, zone: str) -> Times:
    """Return the same local time of day so many calendar days later."""
    local = pl.Series(local_ticks(ticks, zone) + days * DAY).cast(pl.Datetime("us"))
    return (
        to_utc(local, zone, nonexistent="forward")
        .struct.field("time")
        .cast(pl.Int64)
        .fill_null(-1)
        .to_numpy()
    )


def second_midnight(ticks: Times, zone: str) -> Times:
    """Return the start of the calendar day after the next: the end of day 1, counted from 0."""
    days = np.floor_divide(local_ticks(ticks, zone), DAY) + 2
    local = pl.Series(days * DAY).cast(pl.Datetime("us"))
    return (
        to_utc(local, zone, nonexistent="forward")
        .struct.field("time")
        .cast(pl.Int64)
        .fill_null(-1)
        .to_numpy()
    )


def plant_returns(
    plan: Plan,
    arrival: Times,
    end: Times,
    category: npt.NDArray[np.int64],
    before: npt.NDArray[np.int64],
) -> Times:
    """Move some returns to the very end of the days in which they count, or just after.

    Only a subject's last stay moves, and only if it stays before the data cut.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        The new arrivals.
    """
    _, cut = plan.microseconds()
    moved = arrival.copy()
    is_last = ~np.isin(np.arange(len(arrival)), before)
    for name, days in _RETURN_DAYS.items():
        number = [c.name for c in CATEGORIES].index(name)
        of_category = (before >= 0) & is_last
        of_category &= category[np.maximum(before, 0)] == number
        returns = np.flatnonzero(of_category)
        if not len(returns):
            continue
        deadline = days_later(end[before[returns]], days, plan.zone)
        possible = deadline + HOUR < cut
        returns, deadline = returns[possible], deadline[possible]
        count = max(2, len(returns) // 25)
        lag = np.arange(len(returns))[:count] % 2
        moved[returns[:count]] = deadline[:count] + lag
    return moved


def plant_at_the_cut(plan: Plan, arrival: Times, fresh: npt.NDArray[np.int64]) -> Times:
    """Move a few first stays so that their clocks close at the data cut.

    Parameters
    ----------
    plan : Plan
        The hospital to make.
    arrival : numpy.ndarray of int64, shape (n,)
        Arrivals.
    fresh : numpy.ndarray of int64
        Stays that may move: their subject's only one.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        The new arrivals.
    """
    _, cut = plan.microseconds()
    moved = arrival.copy()
    # The last ones move least; each distance comes twice where there are enough.
    chosen = fresh[::-1][: max(len(BEFORE_CUT), len(fresh) // 6)].tolist()
    for number, distance in zip(chosen, 2 * BEFORE_CUT, strict=False):
        moved[number] = cut - distance
    moved[:] = np.minimum(moved, cut - 10 * MINUTE)
    return moved
