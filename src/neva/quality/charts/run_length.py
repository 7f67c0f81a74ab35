"""False alarms of the rules of an XmR chart when nothing changes."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import polars as pl

from neva.errors import UsageError
from neva.quality.charts.spc import MEAN_RANGE, NEAR_SHARE, RUN, XMR_FACTOR, xmr

__all__ = ["RunLength", "false_alarm_share", "in_control_run_length"]

# Normal draws of one call of the kernel.
_DRAWS = 1 << 16


@dataclass(frozen=True, slots=True)
class RunLength:
    """Points until the first signal, over many simulated series.

    Attributes
    ----------
    mean, standard_error : float
        Average run length and its Monte-Carlo error.
    median : float
    replications : int
    """

    mean: float
    standard_error: float
    median: float
    replications: int

    def to_frame(self) -> pl.DataFrame:
        """Return one row."""
        return pl.DataFrame(
            {
                "mean": [self.mean],
                "standard_error": [self.standard_error],
                "median": [self.median],
                "replications": [self.replications],
            }
        )


@nb.njit(cache=True, nogil=True)
def _first_signals(draws, limit, near, run, lengths, found, state):
    """Follow the rules through `draws`; a signal ends a series and starts a new one.

    `state` keeps, from call to call: points so far, run on one side, run of
    rises, the value before, and side and nearness of the last two points.
    """
    points, side_run, step_run, before, near_1, near_2 = state
    for x in draws:
        points += 1
        side = 1.0 if x > 0 else -1.0
        side_run = side_run + side if side_run * side > 0 else side
        if points == 1:
            step_run = 0.0
        else:
            step = 1.0 if x > before else -1.0
            step_run = step_run + step if step_run * step > 0 else step
        before = x
        near_0 = 1.0 if near < abs(x) <= limit else 0.0
        signal = (
            abs(x) > limit
            or abs(side_run) >= run
            or abs(step_run) >= run - 1
            or (abs(side_run) >= 3 and near_0 + near_1 + near_2 >= 2)
        )
        near_2, near_1 = near_1, near_0
        if signal:
            lengths[found] = points
            found += 1
            points, side_run, step_run, before, near_1, near_2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            if found == len(lengths):
                break
    state[:] = np.array([points, side_run, step_run, before, near_1, near_2])
    return found


def in_control_run_length(
    *, rng: np.random.Generator, replications: int = 20_000, shift: float = 0.0
) -> RunLength:
    """Estimate how many points pass until the four rules signal, limits being known.

    Parameters
    ----------
    rng : numpy.random.Generator
        Seeded by the caller.
    replications : int
        Simulated series of independent normal values.
    shift : float
        Shift of the process from its first point on, in standard deviations; 0
        gives the false alarms, others the time to detection.

    Returns
    -------
    RunLength

    Notes
    -----
    Real series are neither normal nor independent, and their limits are estimated
    from few points: see :func:`false_alarm_share` for that.

    Examples
    --------
    >>> found = in_control_run_length(rng=np.random.default_rng(1), replications=2000)
    >>> 50 < found.mean < 100
    True
    """
    if replications < 2:
        raise UsageError(f"replications: {replications}; give at least 2")
    lengths = np.zeros(replications)
    state = np.zeros(6)
    # The mean moving range of a normal variable is 1.128 standard deviations.
    limit = XMR_FACTOR * MEAN_RANGE
    found = 0
    while found < replications:
        draws = rng.normal(shift, 1.0, _DRAWS)
        found = _first_signals(draws, limit, NEAR_SHARE * limit, RUN, lengths, found, state)
    return RunLength(
        mean=float(lengths.mean()),
        standard_error=float(lengths.std(ddof=1) / np.sqrt(replications)),
        median=float(np.median(lengths)),
        replications=replications,
    )


def false_alarm_share(
    points: int, *, rng: np.random.Generator, replications: int = 2000, screen: bool = True
) -> tuple[float, float]:
    """Estimate the share of whole charts with a special cause although nothing changed.

    Parameters
    ----------
    points : int
        Of each chart; its limits are estimated from these same points.
    rng : numpy.random.Generator
    replications : int
    screen : bool
        See :func:`neva.quality.charts.spc.xmr_limits`.

    Returns
    -------
    share, standard_error : float
        0-1.

    Examples
    --------
    >>> share, error = false_alarm_share(24, rng=np.random.default_rng(1), replications=200)
    >>> 0.1 < share < 0.4
    True
    """
    alarms = sum(
        xmr(rng.normal(size=points), screen=screen).signals.height > 0 for _ in range(replications)
    )
    share = alarms / replications
    return share, float(np.sqrt(share * (1 - share) / replications))
