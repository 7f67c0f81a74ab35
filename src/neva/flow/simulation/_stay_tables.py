"""Where patients go after a unit and after how long, as tables to draw from.

Kaplan-Meier weights of the sojourns that ended; open ones count for as long as
they were seen. Beyond the longest that ended, where some were still there, the
rate of the last ends goes on, as it does in forecasts.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.flow.simulation.hospital_model import Next
from neva.flow.stays.sojourns import DISCHARGED
from neva.flow.stays.stay_length import StayLength

__all__ = ["AT_ONCE", "LEAST_ENDED", "nexts_of", "weights_of"]

Floats = npt.NDArray[np.float64]

#: The exit of those who left within a day of coming to the unit: at any hour.
AT_ONCE: Final = "discharged the same day"
#: Fewer ended sojourns of a class in a unit after another: told apart no more.
LEAST_ENDED: Final = 20
_KNOTS: Final = 51
#: The rate beyond the longest sojourn that ended is that of so many ends before.
_LAST_ENDS: Final = 10
#: Stays beyond it stand at so many quantiles of an exponential distribution.
_TAIL: Final = -np.log1p(-(np.arange(8) + 0.5) / 8)


def weights_of(
    hours: Floats, late: Floats, ended: npt.NDArray[np.bool_], counts: Floats | None = None
) -> Floats:
    """Return the Kaplan-Meier weight of each sojourn that ended; they sum to the share that did.

    Parameters
    ----------
    hours : array, shape (n,)
        Lengths, as far as they were seen.
    late : array, shape (n,)
        From when on each was observed.
    ended : array of bool, shape (n,)
    counts : array, shape (n,), optional
        How much each sojourn counts; all alike if not given.
    """
    counts = np.ones(len(hours)) if counts is None else counts
    times = np.unique(hours[ended])
    at_risk = _summed_from(hours, counts, times) - _summed_from(late, counts, times)
    place = np.searchsorted(times, hours[ended])
    ends = np.bincount(place, weights=counts[ended], minlength=len(times))
    # All that are at risk may end at once; rounding must not leave less than none.
    at_risk = np.maximum(at_risk, ends)
    stay = np.concatenate([[1.0], np.cumprod(1 - ends / at_risk)[:-1]])
    weights: Floats = np.zeros(len(hours))
    weights[ended] = (stay / at_risk)[place] * counts[ended]
    return weights


def _summed_from(values: Floats, counts: Floats, times: Floats) -> Floats:
    """Sum of the counts of the values that are at least each time."""
    order = np.argsort(values, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(counts[order])])
    summed: Floats = below[-1] - below[np.searchsorted(values[order], times, side="left")]
    return summed


def nexts_of(rows: pl.DataFrame, *, least: int = LEAST_ENDED) -> tuple[Next, ...] | None:
    """Return where to, how often and after how long; None where too few ended.

    Parameters
    ----------
    rows : polars.DataFrame
        Sojourns: ``hours`` and ``late`` (see :func:`weights_of`), ``to``
        (missing: open) and ``weight``, how much each counts.
    least : int
        Fewer are too few.
    """
    ended = rows["to"].is_not_null().to_numpy()
    if ended.sum() < least:
        return None
    seen = rows["hours"].to_numpy()
    counts = rows["weight"].to_numpy()
    weights = weights_of(seen, rows["late"].to_numpy(), ended, counts)
    hours, to, weights = _with_tail(seen, counts, ended, rows["to"].to_numpy(), weights)
    weights = weights / weights.sum()
    made = []
    for target in sorted(set(to)):
        mine = to == target
        share = min(1.0, float(weights[mine].sum()))
        stays = hours[mine]
        if target == DISCHARGED:
            # They leave at a drawn hour of the day after being ready: half a day on average.
            stays = np.asarray(np.maximum(stays - 24.0 * _even(len(stays)), 0.0))
        made.append(Next(target, share, _quantiles(stays, weights[mine])))
    return tuple(made)


def _with_tail(
    hours: Floats,
    counts: Floats,
    ended: npt.NDArray[np.bool_],
    to: npt.NDArray[np.object_],
    weights: Floats,
) -> tuple[Floats, npt.NDArray[np.object_], Floats]:
    """Sojourns that ended and, beyond the longest of them, those that others will be."""
    left = 1.0 - float(weights.sum())
    found = hours[ended], to[ended], weights[ended]
    longest = float(found[0].max())
    if left < 1e-9 or not (hours > longest).any():
        return found
    # Of those who leave at once to another way there are none so late.
    late = np.flatnonzero(ended)[np.argsort(hours[ended], kind="stable")[-_LAST_ENDS:]]
    since = float(hours[late].min())
    exposure = float((counts * np.clip(hours - since, 0.0, None)).sum())
    mean = exposure / float(counts[late].sum())
    share = np.repeat(left * counts[late] / counts[late].sum(), len(_TAIL)) / len(_TAIL)
    return (
        np.concatenate([found[0], np.tile(longest + mean * _TAIL, len(late))]),
        np.concatenate([found[1], np.repeat(to[late], len(_TAIL))]),
        np.concatenate([found[2], share]),
    )


def _even(count: int) -> Floats:
    """Numbers spread evenly over (0, 1), in an order that follows nothing."""
    golden = (math.sqrt(5) - 1) / 2
    spread: Floats = np.mod(0.5 + golden * np.arange(count, dtype=np.float64), 1.0)
    return spread


def _quantiles(values: Floats, weights: Floats) -> StayLength:
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    cumulative = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    grid = np.linspace(0, 1, _KNOTS)
    hours = np.interp(grid, cumulative, ordered)
    # The table's own mean is that of the patients: the longest stays make up for what
    # quantiles of few cut off, or a line to the very longest adds.
    mean = float(weights @ values / weights.sum())
    last = 2 * (mean * (_KNOTS - 1) - float(hours[1:-1].sum()) - float(hours[0]) / 2)
    if last >= hours[-2]:
        hours[-1] = last
        return StayLength(tuple(float(x) for x in hours))
    table = StayLength(tuple(float(x) for x in hours))
    return table.times(mean / table.mean()) if table.mean() > 0 else table
