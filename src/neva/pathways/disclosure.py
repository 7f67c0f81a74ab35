"""A log for roles that see no patients: only what at least five cases share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from neva.pathways.log import ActivityLog, times_as_series
from neva.pathways.map import ActivityMap, discover_map
from neva.pathways.variants import find_variants
from neva.statistics.disclosure import FEWEST, FEWEST_FOR_QUANTILES, is_small

__all__ = ["SharedLog", "first_day", "shared_log", "shared_map"]

#: Activities are left out, the rarest first, until so many of the cases can be shown.
KEPT_SHARE: Final = 0.8
#: Cases are told apart by when they began no finer than this.
PERIOD: Final = "1q"


@dataclass(frozen=True)
class SharedLog:
    """Cases of which at least five are alike.

    Attributes
    ----------
    log : ActivityLog
        Cases without ids. At least five agree in activities, outcome, units and
        quarter of beginning, so that each count over any selection by these,
        and each difference of two, is nought or at least five.
    activities, all_activities : int
        How many activities are in it, of how many.
    left_out : int
        Cases that are not in it: none, at least five, or all.
    """

    log: ActivityLog
    activities: int
    all_activities: int
    left_out: int


def first_day(day: date, *, after: bool = False) -> date:
    """Return the first day of the quarter of a day, or of the quarter after it.

    Examples
    --------
    >>> first_day(date(2026, 5, 17)), first_day(date(2026, 12, 31), after=True)
    (datetime.date(2026, 4, 1), datetime.date(2027, 1, 1))
    """
    quarter = (day.month - 1) // 3 + (1 if after else 0)
    return date(day.year + quarter // 4, 3 * (quarter % 4) + 1, 1)


def _quarters(log: ActivityLog) -> pl.Series:
    begun = times_as_series(log.spans[0]).dt.convert_time_zone(log.zone)
    return begun.dt.date().dt.truncate(PERIOD)


def _classes(log: ActivityLog) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many cases are like each one, and the number of its class."""
    alike = pl.DataFrame(
        {
            "sequence": find_variants(log).variant_of_case,
            "outcome": log.cases["outcome"],
            "units": log.cases["units"].list.unique().list.sort(),
            "quarter": _quarters(log),
        }
    ).select(
        size=pl.len().over("sequence", "outcome", "units", "quarter"),
        group=pl.struct("sequence", "outcome", "units", "quarter").rank("dense"),
    )
    return alike["size"].cast(pl.Int64).to_numpy(), alike["group"].cast(pl.Int64).to_numpy()


def _kept(log: ActivityLog, cases: int, fewest: int) -> NDArray[np.bool_]:
    size, group = _classes(log)
    keep = size >= fewest
    while is_small(cases - int(keep.sum()), fewest) and keep.any():
        # So few left out would be known from the number of all.
        smallest = group[keep][np.argmin(size[keep])]
        keep &= group != smallest
    return keep


def shared_log(log: ActivityLog, *, fewest: int = FEWEST) -> SharedLog:
    """Keep the cases that are like at least four others.

    Where every case is its own sequence, rare activities are left out first:
    as few as leave four fifths of the cases, found by halving.

    Parameters
    ----------
    log : ActivityLog
    fewest : int
        How many cases must be alike.

    Returns
    -------
    SharedLog

    Notes
    -----
    The log's statistics of time are those of single cases still: see
    :func:`shared_map`. A selection by the time of beginning must keep to
    quarters (:func:`first_day`). After k-anonymity (Sweeney L. Int J Uncertain
    Fuzz 2002;10:557-570, doi:10.1142/S0218488502001648), on the whole case.

    Examples
    --------
    >>> import polars as pl
    >>> from neva.pathways import log_from_frame
    >>> log = log_from_frame(pl.DataFrame({
    ...     "case": [str(n // 2) for n in range(40)],
    ...     "activity": ["triage", "release"] * 14 + ["triage", "surgery"] * 6,
    ...     "sequence": [1, 2] * 20}))
    >>> shared = shared_log(log)
    >>> shared.log.case_count, shared.left_out
    (20, 0)
    """
    common_first = discover_map(log).nodes.sort(
        ["cases", "frequency", "activity"], descending=[True, True, False]
    )["activity"]
    number = {label: place for place, label in enumerate(log.labels)}
    tried: dict[int, tuple[ActivityLog, NDArray[np.bool_]]] = {}

    def kept_with(many: int) -> float:
        keep = np.zeros(len(log.labels), dtype=bool)
        keep[[number[label] for label in common_first[:many]]] = True
        some = log if many >= len(common_first) else log.project(keep, "the most common activities")
        tried[many] = some, _kept(some, log.case_count, fewest)
        return float(tried[many][1].sum()) / max(log.case_count, 1)

    low, high = 1, max(len(common_first), 1)
    if kept_with(high) < KEPT_SHARE:
        while low < high:
            middle = (low + high) // 2
            if kept_with(middle) < KEPT_SHARE:
                high = middle
            else:
                low = middle + 1
    # What keeps most cases and, of such, most activities.
    best = max(
        tried,
        key=lambda many: (min(float(tried[many][1].sum()), KEPT_SHARE * log.case_count), many),
    )
    some, keep = tried[best]
    chosen = some.select(keep, f"at least {fewest} cases alike")
    used = np.bincount(chosen.activity, minlength=len(chosen.labels)) > 0
    if not used.all():
        chosen = chosen.project(used, "activities of these cases")
    nobody = pl.lit(None, dtype=pl.Int64)
    return SharedLog(
        log=replace(
            chosen,
            event=None,
            ties=0,
            left_out={},
            cases=chosen.cases.with_columns(case_id=pl.lit(""), subject_id=nobody, stay_id=nobody),
        ),
        activities=len(chosen.labels),
        all_activities=len(log.labels),
        left_out=log.case_count - chosen.case_count,
    )


def shared_map(found: ActivityMap) -> ActivityMap:
    """Leave out the times of paths that fewer than 20 cases took."""
    is_enough = pl.col("cases") >= FEWEST_FOR_QUANTILES
    return replace(
        found,
        edges=found.edges.with_columns(
            pl.when(is_enough).then(pl.col(name)).alias(name) for name in ("median", "mean", "p90")
        ),
    )
