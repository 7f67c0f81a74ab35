"""Simulate a hospital: replications on all cores, as many as a figure needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from neva.compiled import cores
from neva.errors import UsageError
from neva.flow.simulation import _draws
from neva.flow.simulation._kernel_state import CASES, ROWS, SWAPS, WAITS, KernelState
from neva.flow.simulation._model_arrays import (
    Clock,
    ModelArrays,
    arrival_rates,
    cumulative_arrivals,
    model_arrays,
)
from neva.flow.simulation.hospital_model import HospitalModel
from neva.flow.simulation.kernel import run_replicate
from neva.flow.simulation.simulation_run import Replicate, SimulationRun, half_width_of

__all__ = ["HalfWidth", "simulate"]

#: Replications where neither their number nor a width is given.
REPLICATIONS = 30
#: Replications between two looks at the width.
_BATCH = 10
#: Most units: their numbers stand in 16 bits.
_MOST_UNITS = 32_000


@dataclass(frozen=True, slots=True)
class HalfWidth:
    """The half-width of an interval that decides how many replications are made.

    Attributes
    ----------
    figure : str
        A figure of :meth:`SimulationRun.to_frame`, such as ``occupied_beds``.
    width : float
        Half of the 95 % interval, in the unit of the figure.
    unit : str or None
        Which unit's; None: the whole hospital's.
    minimum, maximum : int
        Replications at least and at most.

    Notes
    -----
    After every ten replications from `minimum` on the t-interval is looked at
    (Law 2015, Simulation Modeling and Analysis, section 9.4.1). Looking often
    makes the interval cover a little less than it says when `minimum` is small.
    """

    figure: str
    width: float
    unit: str | None = None
    minimum: int = 10
    maximum: int = 500

    def __post_init__(self) -> None:
        if not (self.width > 0 and 2 <= self.minimum <= self.maximum):
            message = (
                f"half-width: cannot be reached; found width {self.width}, minimum {self.minimum}, "
                f"maximum {self.maximum}; give a positive width and 2 <= minimum <= maximum"
            )
            raise UsageError(message)


def simulate(
    model: HospitalModel,
    *,
    start: datetime,
    days: float,
    seed: int,
    zone: str | None = None,
    replications: int | None = None,
    half_width: HalfWidth | None = None,
    warm_up_days: float = 0,
    hourly: bool = True,
    log: bool = False,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> SimulationRun:
    """Simulate a hospital from a time on.

    Parameters
    ----------
    model : HospitalModel
    start : datetime
        Aware. The simulation begins here, with the model's initial patients.
    days : float
        Days of 24 hours that are counted.
    seed : int
        The same seed gives the same patients, also in another scenario.
    zone : str, optional
        Of the hospital's clocks; by default that of `start`, or UTC.
    replications : int, optional
        How many; by default 30, or as many as `half_width` needs.
    half_width : HalfWidth, optional
    warm_up_days : float
        Days before counting begins, which are simulated first.
    hourly : bool
        Keep who is where at every full hour (4 bytes for each unit, hour and
        replication).
    log : bool
        Keep the log of every replication (about 100 bytes for each stay).
    threads : int, optional
        By default one for each core. Does not change any result.
    progress : callable, optional
        Called with the number of replications done.

    Returns
    -------
    SimulationRun

    Raises
    ------
    UsageError
        A time without zone, no days, no such figure, or, where the model
        forbids swaps, patients who block each other.

    Examples
    --------
    >>> from datetime import UTC
    >>> from neva.flow.simulation.hospital_model import *
    >>> from neva.flow.stays.stay_length import StayLength
    >>> model = HospitalModel(
    ...     units=(Unit("ward", Beds.always(10), when_full="refuse"),),
    ...     exits=(Exit("discharged"),),
    ...     classes=(PatientClass("all", (("ward", 1.0),), arrivals=Incoming((0.1,))),),
    ...     routes=(Route("all", "ward", (Next("discharged", 1.0, StayLength.exponential(72)),)),),
    ... )
    >>> run = simulate(model, start=datetime(2024, 1, 1, tzinfo=UTC), days=100, seed=1)
    >>> run.replications, run.figure("most_occupied", "ward").mean
    (30, 10.0)
    """
    _check(model, start, days, warm_up_days, replications, half_width)
    zone = zone or (start.tzinfo.key if isinstance(start.tzinfo, ZoneInfo) else "UTC")
    hours = (days + warm_up_days) * 24
    clock = Clock(start, hours, zone)
    arrays = model_arrays(
        model,
        clock,
        warm_up_hours=warm_up_days * 24,
        end=clock.start + hours,
        hourly=hourly,
        log=log,
    )
    made = _replicates(model, arrays, clock, seed, threads or cores())
    done: list[Replicate] = []
    least = half_width.minimum if half_width else (replications or REPLICATIONS)
    most = half_width.maximum if half_width else least
    reached: bool | None = None

    def run() -> SimulationRun:
        return SimulationRun(
            model=model,
            start=start,
            zone=zone,
            days=days,
            warm_up_days=warm_up_days,
            seed=seed,
            replicates=tuple(done),
            clock=clock,
            width_reached=reached,
            width_asked=half_width.width if half_width else None,
        )

    wanted = least
    while True:
        for replicate in made(len(done), wanted):
            done.append(replicate)
            if progress is not None:
                progress(len(done))
        if half_width is None:
            break
        values = run().values(half_width.figure, half_width.unit)
        reached = bool(half_width_of(values) <= half_width.width)
        if reached or wanted == most:
            break
        wanted = min(most, wanted + _BATCH)
    return run()


def _replicates(
    model: HospitalModel, arrays: ModelArrays, clock: Clock, seed: int, threads: int
) -> Callable[[int, int], Iterator[Replicate]]:
    edges = arrays.arrival_edge
    rates = arrival_rates(model, clock, edges)
    names = tuple(unit.name for unit in model.units)

    def one(number: int) -> Replicate:
        base = int(_draws.base_key(np.uint64(seed % 2**64), np.uint64(number)))
        expected = cumulative_arrivals(model, rates, edges, clock, base)
        return _kept(run_replicate(arrays, expected, base, hours=clock.hours, unit_names=names))

    def several(first: int, last: int) -> Iterator[Replicate]:
        if threads == 1 or last - first < 2:
            yield from map(one, range(first, last))
            return
        with ThreadPoolExecutor(threads, thread_name_prefix="neva-simulation") as pool:
            yield from pool.map(one, range(first, last))

    return several


def _kept(state: KernelState) -> Replicate:
    """What is kept of a replicate when it is over."""
    return Replicate(
        occupied_hours=state.occupied_hours,
        integrals=state.integrals,
        counts=state.counts,
        most=state.units["most"].copy(),
        exits=state.exits,
        stays=state.stays,
        swaps=int(state.numbers[SWAPS]),
        waits=_used(state.waits, int(state.numbers[WAITS])),
        hourly=state.hourly,
        log=_used(state.log, int(state.numbers[ROWS])),
        cases=_used(state.cases, min(int(state.numbers[CASES]), state.cases.size)),
    )


def _used(array: np.ndarray, size: int) -> np.ndarray:
    """The used part of an array; copied if the rest of it is worth giving back."""
    return array[:size] if size > 0.75 * array.size else array[:size].copy()


def _check(
    model: HospitalModel,
    start: datetime,
    days: float,
    warm_up_days: float,
    replications: int | None,
    half_width: HalfWidth | None,
) -> None:
    if start.tzinfo is None:
        message = "start: no time zone; found a naive time; give an aware one"
        raise UsageError(message)
    if not (days > 0 and warm_up_days >= 0):
        message = (
            f"days: nothing to simulate; found {days} days after {warm_up_days} of warm-up; "
            "give days > 0 and warm_up_days >= 0"
        )
        raise UsageError(message)
    if replications is not None and (replications < 1 or half_width is not None):
        message = (
            f"replications: cannot be; found {replications}"
            f"{' beside a half-width' if half_width else ''}; give 1 or more, or a half-width"
        )
        raise UsageError(message)
    if len(model.states) > _MOST_UNITS:
        message = f"model: too many units; found {len(model.states)}; give at most {_MOST_UNITS}"
        raise UsageError(message)
