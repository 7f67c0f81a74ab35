"""Anhøj's run rules: is there a shift around the median, without control limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import stats

from neva.errors import UsageError

__all__ = ["RunChart", "run_chart"]


@dataclass(frozen=True, eq=False)
class RunChart:
    """Values around their median.

    Attributes
    ----------
    frame : polars.DataFrame
        ``period``, ``value`` (missing: a gap), ``centre``, ``side`` (1 above, -1
        below, 0 on the median or a gap).
    useful : int
        Points that are neither gaps nor on the median.
    gaps : int
    longest_run, longest_run_limit : int
        Useful points in a row on one side, and the most that chance explains.
    crossings, crossings_limit : int
        Changes of side, and the fewest that chance explains.
    signal : bool
        Run too long or crossings too few.
    """

    frame: pl.DataFrame
    useful: int
    gaps: int
    longest_run: int
    longest_run_limit: int
    crossings: int
    crossings_limit: int
    signal: bool

    def to_frame(self) -> pl.DataFrame:
        """Return the points."""
        return self.frame


def run_chart(values: npt.ArrayLike, *, periods: Sequence[Any] | None = None) -> RunChart:
    """Test a series for runs around its median (Anhøj's rules).

    Parameters
    ----------
    values : array_like of float, shape (n,)
        In order of time; None or NaN is a gap.
    periods : sequence, optional
        By default 1, 2, 3 …

    Returns
    -------
    RunChart
        Signal if the longest run exceeds ``round(log2(useful)) + 3`` or there are
        fewer crossings than the 5 % quantile of binomial(useful - 1, 1/2).

    Notes
    -----
    Gaps and points on the median are passed over, as the rules demand: a run may
    reach across a gap; `gaps` tells how many there were. The rules need about 10
    useful points, and find lasting shifts, not single strange values.

    References
    ----------
    Anhøj J, Olesen AV (2014), Run charts revisited,
    doi:10.1371/journal.pone.0113825.

    Examples
    --------
    >>> found = run_chart([1, 2, 1, 2, 1, 2, 8, 9, 8, 9, 8, 9])
    >>> found.longest_run, found.longest_run_limit, found.crossings, found.crossings_limit
    (6, 7, 1, 3)
    >>> found.signal
    True
    """
    data = np.asarray(values, dtype=object).ravel()
    x = np.array([np.nan if v is None else v for v in data], dtype=np.float64)
    named = list(range(1, len(x) + 1)) if periods is None else list(periods)
    if len(named) != len(x):
        raise UsageError(f"periods: {len(named)} for {len(x)} values; give one for each value")
    known = x[~np.isnan(x)]
    centre = float(np.median(known)) if len(known) else math.nan
    side = np.nan_to_num(np.sign(x - centre)).astype(np.int8)
    useful = side[side != 0]
    runs = [len(list(run)) for _, run in groupby(useful.tolist())]
    n = len(useful)
    longest, crossings = max(runs, default=0), max(len(runs) - 1, 0)
    longest_limit = round(math.log2(n)) + 3 if n else 0
    crossings_limit = int(stats.binom.ppf(0.05, n - 1, 0.5)) if n > 1 else 0
    return RunChart(
        frame=pl.DataFrame(
            {"period": named, "value": x, "centre": np.full(len(x), centre), "side": side}
        ).with_columns(pl.col(pl.Float64).fill_nan(None)),
        useful=n,
        gaps=int(np.isnan(x).sum()),
        longest_run=longest,
        longest_run_limit=longest_limit,
        crossings=crossings,
        crossings_limit=crossings_limit,
        signal=n > 0 and (longest > longest_limit or crossings < crossings_limit),
    )
