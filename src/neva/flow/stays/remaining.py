"""How long a patient will still stay, by state and by the time already spent in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import ndtri

from neva.errors import UsageError
from neva.flow.stays.sojourns import Sojourns
from neva.statistics.incidence import cumulative_incidence
from neva.statistics.transitions import CENSORED, Transitions

__all__ = ["remaining_stay"]

Floats = npt.NDArray[np.float64]


def remaining_stay(
    sojourns: Sojourns,
    *,
    spent_days: Sequence[float] = (0.0,),
    horizon_days: float = 60.0,
    floor: int = 20,
    level: float = 0.95,
) -> pl.DataFrame:
    """Estimate the days until a patient leaves the hospital, by state.

    Parameters
    ----------
    sojourns : Sojourns
    spent_days : sequence of float
        Days that the patient has been in the state already.
    horizon_days : float
        A stay that goes on so long from then on counts as so long.
    floor : int
        Of them seen to leave, below which there is no estimate.
    level : float
        Of limits, 0-1.

    Returns
    -------
    polars.DataFrame
        ``state``, ``spent_days``, ``sojourns`` (seen to last so long in the
        state), ``left`` (of them seen to leave the hospital), ``days`` (mean,
        through whatever other states), ``lower``, ``upper`` (missing below the
        floor), ``to_days`` (the horizon, or the longest time seen if that is
        shorter), ``beyond`` (share that stays longer than that; above 0 the
        true mean is longer).

    Notes
    -----
    The area under the Kaplan-Meier estimate of the time until leaving
    (restricted mean), of those who were in the state after ``spent_days``: no
    assumption that the state alone decides what comes next. Limits are normal
    ones with Greenwood's variance, as if sojourns were independent (a patient coming
    back to a state counts again). One who was observed late counts from then on.

    References
    ----------
    Royston P, Parmar MKB (2013), doi:10.1186/1471-2288-13-152.
    """
    if not horizon_days > 0 or any(not spent >= 0 for spent in spent_days):
        message = (
            f"remaining: found a horizon of {horizon_days:g} days and {list(spent_days)} spent; "
            "give a horizon above 0, and days that are not negative"
        )
        raise UsageError(message)
    frame = sojourns.timed().with_columns(
        _stays=pl.col("before_days").last().over("case")
        + pl.col("exit_days").last().over("case")
        - pl.col("before_days"),
        _left=pl.col("next").last().over("case").is_in(list(sojourns.exits)).fill_null(value=False),
    )
    rows = [
        {"state": state, "spent_days": float(spent)}
        | _remaining_days(
            frame.filter(pl.col("state") == state), float(spent), horizon_days, floor, level
        )
        for state in sojourns.states
        for spent in spent_days
    ]
    kinds = dict.fromkeys(("spent_days", "days", "lower", "upper", "to_days", "beyond"), pl.Float64)
    return pl.DataFrame(rows, schema_overrides=kinds)


def _remaining_days(
    inside: pl.DataFrame, spent: float, horizon: float, floor: int, level: float
) -> dict[str, float | int | None]:
    # One who left on the day of coming was there, for no time.
    there = inside.filter(
        (pl.col("exit_days") > spent) | ((pl.col("exit_days") == spent) & (spent == 0))
    )
    waited = there["entry_days"].to_numpy().astype(np.float64) - spent
    entry = np.where(waited <= 0, -1.0, np.round(waited, 9))
    until = np.round(there["_stays"].to_numpy().astype(np.float64) - spent, 9)
    known = entry < until
    left = there["_left"].to_numpy() & known
    found: dict[str, float | int | None] = {
        "sojourns": int(known.sum()),
        "left": int(left.sum()),
        "days": None,
        "lower": None,
        "upper": None,
        "to_days": None,
        "beyond": None,
    }
    if found["left"] == 0 or left.sum() < floor:
        return found
    seen = Transitions(
        entry[known], until[known], np.zeros(known.sum(), dtype=np.int32),
        np.where(left[known], 1, CENSORED), ("present", "left"),
    )  # fmt: skip
    curve = cumulative_incidence(seen, start=-1.0)
    to = min(horizon, float(until[known].max()))
    inside_times = curve.times <= to
    times, staying = curve.times[inside_times], curve.remaining[inside_times]
    pieces = np.diff(np.append(times, to)) * staying
    first = float(times[0]) if len(times) else to
    mean = first + float(pieces.sum())
    # What is still to come after each time, for Greenwood's variance of an area.
    ahead = np.cumsum(pieces[::-1])[::-1]
    before = np.append(1.0, staying[:-1])
    leaving = 1 - staying / before if len(times) else np.zeros(0)
    at_risk = curve.at_risk[inside_times]
    share = np.divide(leaving, 1 - leaving, out=np.zeros_like(leaving), where=leaving < 1)
    error = float(np.sqrt(np.sum(ahead**2 * share / at_risk)))
    z = float(ndtri((1 + level) / 2))
    return found | {
        "days": mean,
        "lower": max(0.0, mean - z * error),
        "upper": min(to, mean + z * error),
        "to_days": to,
        "beyond": float(staying[-1]) if len(times) else 1.0,
    }
