"""Scenarios compared with the same patients: paired differences.

All scenarios are simulated with the same seed: the same patients come at the
same times and would stay as long. What differs between two runs is what the
scenario did, so that few replications tell scenarios apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from math import inf
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.flow.simulation._kernel_state import CANCELLED, DIVERTED, REFUSED, REQUESTS, WAITED
from neva.flow.simulation.hospital_model import Beds, HospitalModel
from neva.flow.simulation.simulate import simulate
from neva.flow.simulation.simulation_run import FIGURES, SimulationRun, half_width_of

__all__ = [
    "BASE",
    "Comparison",
    "ServiceSearch",
    "beds_for_service",
    "compare",
    "erlang_loss",
    "highest_occupancy",
    "refusal_by_beds",
    "refusal_by_pool",
]

Floats = npt.NDArray[np.float64]

#: The name of the hospital as it is.
BASE: Final = "as it is"
#: Figures that a comparison shows if none are named.
MAIN: Final = (
    "occupied_beds",
    "occupancy",
    "full_share",
    "waited_share",
    "wait_hours",
    "boarding_hours_per_day",
    "refused",
    "cancelled",
    "diverted",
)


#: Figures of the whole hospital only, and what they say.
WHOLE: Final = {
    "stay_hours": "mean stay in hospital, of stays that ended, in hours",
    "arrivals_per_day": "arrivals from outside, per day",
    "swaps": "swaps (patients moved at once to resolve a deadlock)",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Figures of scenarios, and differences from the first.

    Attributes
    ----------
    frame : polars.DataFrame
        One row a scenario, unit (missing: the hospital) and figure:
        ``scenario``, ``unit``, ``figure``, ``meaning``, ``mean``, ``lower``,
        ``upper`` (95 % interval over replications), ``difference``,
        ``difference_lower``, ``difference_upper`` (paired, from the first
        scenario; missing for it), ``differs`` (the interval excludes zero).
    runs : dict of str to SimulationRun
    """

    frame: pl.DataFrame
    runs: dict[str, SimulationRun]

    def to_frame(self) -> pl.DataFrame:
        """Return the table."""
        return self.frame


def _check_replications(replications: int) -> None:
    if replications < 2:
        message = (
            f"replications: too few for an interval; found {replications}; give 2 or more, "
            "better 30"
        )
        raise UsageError(message)


def compare(
    models: Mapping[str, HospitalModel],
    *,
    start: datetime,
    days: float,
    seed: int,
    zone: str | None = None,
    replications: int = 50,
    warm_up_days: float = 0.0,
    figures: Sequence[str] = MAIN,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Simulate scenarios with the same patients, and compare them with the first.

    Parameters
    ----------
    models : mapping of str to HospitalModel
        By the names of scenarios; the first is what the others are compared to.
    start, days, seed, zone, replications, warm_up_days
        See :func:`neva.flow.simulation.simulate.simulate`.
    figures : sequence of str
        Names in :data:`neva.flow.simulation.simulation_run.FIGURES`.
    progress : callable, optional
        Called with replications done, of all scenarios.

    Raises
    ------
    UsageError
        No such figure, or fewer than two replications.
    """
    wrong = [name for name in figures if name not in FIGURES and name not in WHOLE]
    if wrong:
        message = f"figures: no such figure; found {', '.join(wrong)}; give {', '.join(FIGURES)}"
        raise UsageError(message)
    _check_replications(replications)
    runs: dict[str, SimulationRun] = {}
    for name, model in models.items():
        done = len(runs) * replications
        runs[name] = simulate(
            model, start=start, days=days, seed=seed, zone=zone, replications=replications,
            warm_up_days=warm_up_days,
            progress=None if progress is None else _after(done, progress),
        )  # fmt: skip
    return Comparison(_paired(runs, [*figures, *WHOLE]), runs)


def _after(done: int, progress: Callable[[int], None]) -> Callable[[int], None]:
    return lambda more: progress(done + more)


def _paired(runs: Mapping[str, SimulationRun], figures: Sequence[str]) -> pl.DataFrame:
    """Means and intervals of every scenario, and of its differences from the first."""
    keys = ["replicate", "unit", "figure"]
    base = next(iter(runs.values())).by_replicate.select(*keys, base="value")
    parts = [
        run.by_replicate.with_columns(scenario=pl.lit(name), number=pl.lit(number)).join(
            base, on=keys, how="left", nulls_equal=True, maintain_order="left"
        )
        for number, (name, run) in enumerate(runs.items())
    ]
    apart = pl.col("value") - pl.col("base")
    ordered = {figure: place for place, figure in enumerate(figures)}
    table = (
        pl.concat(parts)
        .filter(pl.col("figure").is_in(list(figures)))
        .group_by("number", "scenario", "unit", "figure", maintain_order=True)
        .agg(
            mean=pl.col("value").mean(),
            half=_half("value"),
            difference=apart.mean(),
            apart_half=_half(apart),
        )
        .filter(pl.col("mean").is_not_null())
    )
    other = pl.col("number") > 0
    return (
        table.with_columns(
            place=pl.col("figure").replace_strict(ordered),
            meaning=pl.col("figure").replace_strict(
                {**FIGURES, **WHOLE}, default=pl.col("figure").str.replace_all("_", " ")
            ),
            difference=pl.when(other).then("difference"),
            apart_half=pl.when(other).then("apart_half"),
        )
        .with_columns(
            lower=pl.col("mean") - pl.col("half"),
            upper=pl.col("mean") + pl.col("half"),
            difference_lower=pl.col("difference") - pl.col("apart_half"),
            difference_upper=pl.col("difference") + pl.col("apart_half"),
            differs=pl.col("difference").abs() > pl.col("apart_half"),
        )
        .sort("number", pl.col("unit").is_not_null(), "unit", "place", maintain_order=True)
        .select(
            "scenario", "unit", "figure", "meaning", "mean", "lower", "upper", "difference",
            "difference_lower", "difference_upper", "differs",
        )
    )  # fmt: skip


def _half(values: str | pl.Expr) -> pl.Expr:
    """Half of the t-interval of a mean over replications; missing of fewer than two."""
    column = pl.col(values) if isinstance(values, str) else values
    count = column.count()
    # The t quantile depends on the count alone: mapped over the few distinct counts.
    factor = count.map_batches(_t_quantiles, return_dtype=pl.Float64, returns_scalar=True)
    return pl.when(count >= 2).then(factor * column.std() / count.sqrt())


def _t_quantiles(counts: pl.Series) -> pl.Series:
    from scipy.stats import t

    freedom = np.maximum(counts.to_numpy().astype(np.float64) - 1, 1)
    return pl.Series(t.ppf(0.975, freedom))


@dataclass(frozen=True, slots=True)
class ServiceSearch:
    """The fewest beds of a unit with which a share of patients find one at once.

    Attributes
    ----------
    unit : str
    target : float
        The share of patients wanted, 0 to 1.
    beds : int or None
        The answer: the lower end of the interval of the share reaches the
        target with it, and not with one fewer. None: not within the bounds.
    tried : polars.DataFrame
        ``beds``, ``served`` (share who found a bed at once) with ``lower`` and
        ``upper``, ``enough``; by beds.
    """

    unit: str
    target: float
    beds: int | None
    tried: pl.DataFrame

    def to_frame(self) -> pl.DataFrame:
        """Return what was tried."""
        return self.tried


def beds_for_service(
    model: HospitalModel,
    unit: str,
    *,
    start: datetime,
    days: float,
    seed: int,
    zone: str | None = None,
    target: float = 0.95,
    replications: int = 50,
    warm_up_days: float = 0.0,
    most: int = 500,
) -> ServiceSearch:
    """Search the number of beds with which a share of patients find one at once.

    Parameters
    ----------
    model : HospitalModel
    unit : str
        Its schedule is replaced by a constant number of beds.
    target : float
        Above 0 and below 1.
    most : int
        Upper bound of the search.

    Raises
    ------
    UsageError
        No such unit, a target that is no share, or fewer than two replications.

    Notes
    -----
    By bisection, with the same patients for every number of beds. Those who
    are diverted count as not served by the unit.
    """
    if not 0 < target < 1:
        message = f"target: must lie between 0 and 1; found {target}; give a share such as 0.95"
        raise UsageError(message)
    _check_replications(replications)
    model.unit(unit)
    tried: dict[int, tuple[float, float, float]] = {}

    def enough(beds: int) -> bool:
        if beds not in tried:
            run = simulate(
                model.with_unit(unit, beds=Beds.always(beds)), start=start, days=days, seed=seed,
                zone=zone, replications=replications, warm_up_days=warm_up_days, hourly=False,
            )  # fmt: skip
            tried[beds] = _served(run, unit)
        return tried[beds][1] >= target

    low, high = 0, 1
    while not enough(high) and high < most:
        low, high = high, min(most, 2 * high)
    found = enough(high)
    while found and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    frame = pl.DataFrame(
        [(beds, *values, values[1] >= target) for beds, values in sorted(tried.items())],
        schema=["beds", "served", "lower", "upper", "enough"],
        orient="row",
    )
    return ServiceSearch(unit, target, high if found else None, frame)


def _served(run: SimulationRun, unit: str) -> tuple[float, float, float]:
    """Share of requests that found a bed of the unit at once, with its interval."""
    number = [one.name for one in run.model.units].index(unit)
    counts = np.stack([one.counts[number] for one in run.replicates]).astype(np.float64)
    asked = counts[:, REQUESTS]
    not_served = counts[:, [WAITED, REFUSED, CANCELLED, DIVERTED]].sum(axis=1)
    served = np.where(asked > 0, 1 - not_served / np.maximum(asked, 1), 1.0)
    half = half_width_of(served)
    mean = float(served.mean())
    return mean, mean - half, min(1.0, mean + half)


def erlang_loss(beds: int, load: float) -> float:
    """Return the chance that all beds are taken, by Erlang's loss formula.

    Parameters
    ----------
    beds : int
    load : float
        Arrivals per day times mean days of stay, if nobody were refused.

    Raises
    ------
    UsageError
        Beds or load are negative.

    Notes
    -----
    Erlang (1917): Poisson arrivals at an even rate, any lengths of stay, those
    who find no bed are lost. Arrivals that differ by hour and day make it worse.

    Examples
    --------
    >>> round(erlang_loss(10, 8.5), 3)
    0.145
    """
    if beds < 0 or not 0 <= load < inf:
        message = (
            f"Erlang's loss: no such pool; found {beds} beds, load {load}; "
            "give numbers of 0 or more"
        )
        raise UsageError(message)
    chance = 1.0
    for count in range(1, beds + 1):
        chance = load * chance / (count + load * chance)
    return chance


def refusal_by_beds(load: float, beds: Sequence[int]) -> pl.DataFrame:
    """Return the chance of refusal against the number of beds of one pool.

    Returns
    -------
    polars.DataFrame
        ``beds``, ``refused`` (share of patients), ``occupancy`` (of the beds).
    """
    refused = [erlang_loss(count, load) for count in beds]
    occupancy = [load * (1 - r) / max(count, 1) for count, r in zip(beds, refused, strict=True)]
    return pl.DataFrame({"beds": list(beds), "refused": refused, "occupancy": occupancy})


def refusal_by_pool(
    pools: Sequence[int] = (6, 10, 20, 30, 50, 100, 200, 500),
    occupancies: Sequence[float] = (0.75, 0.8, 0.85, 0.9, 0.95),
) -> pl.DataFrame:
    """Return what an occupancy means for pools of different sizes: no rule of 85 %.

    Returns
    -------
    polars.DataFrame
        ``beds``, ``occupancy`` (mean, of those admitted), ``refused`` (share of
        patients who find all beds taken), ``load`` (what must be offered).
    """
    rows = []
    for beds in pools:
        for occupancy in occupancies:
            load = _load_for(beds, partial(_occupancy, beds), occupancy)
            rows.append((beds, occupancy, erlang_loss(beds, load), load))
    return pl.DataFrame(rows, schema=["beds", "occupancy", "refused", "load"], orient="row")


def _occupancy(beds: int, load: float) -> float:
    return load * (1 - erlang_loss(beds, load)) / beds


def _load_for(beds: int, rising: Callable[[float], float], wanted: float) -> float:
    """The load at which a rising function reaches a value, by bisection."""
    if beds < 1 or not 0 < wanted < 1:
        message = (
            f"pool of beds: no such pool; found {beds} beds, share {wanted}; "
            "give 1 bed or more and a share between 0 and 1"
        )
        raise UsageError(message)
    low, high = 0.0, 1.0 * beds + 10
    while rising(high) < wanted:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) <= wanted else (low, middle)
    return low


def highest_occupancy(beds: int, refused: float = 0.01) -> float:
    """Return the highest mean occupancy at which no more than `refused` are refused."""
    return _occupancy(beds, _load_for(beds, lambda load: erlang_loss(beds, load), refused))
