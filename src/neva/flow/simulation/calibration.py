"""Simulated against observed, on days held out from fitting.

The hospital is fitted up to a time and simulated from there; what it says of
the days after is laid beside what was recorded on them. Shown beside every
what-if: a simulation that does not reproduce what was is not believed about
what would be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from neva.errors import UsageError
from neva.events.hospital import Hospital
from neva.events.schema import TIME
from neva.flow.forecast.evaluation import counts_at
from neva.flow.simulation.hospital_fit import fit_hospital
from neva.flow.simulation.simulate import simulate
from neva.flow.simulation.simulated_log import event_log
from neva.flow.simulation.simulation_run import SimulationRun
from neva.flow.stays.sojourns import Sojourns, known_sojourns
from neva.statistics.intervals import proportion_interval

__all__ = ["Calibrated", "calibrate"]

#: The whole hospital.
ALL: Final = "all"
_QUANTILES: Final = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Simulated against observed, on days held out from fitting.

    Attributes
    ----------
    stays : polars.DataFrame
        Of sojourns that began and ended within the days: ``unit``,
        ``observed`` (how many), ``observed_mean_hours``, ``observed_median_hours``
        and of the simulations ``mean_hours`` and ``median_hours`` with ``low``
        and ``high`` (5 % and 95 % over replications of the median), ``inside``.
    by_hour : polars.DataFrame
        Mean patients by local hour of the day: ``unit``, ``hour``,
        ``observed``, ``low``, ``median``, ``high`` (over replications).
    by_day : polars.DataFrame
        Patients at each noon: ``unit``, ``time``, ``observed``, ``low``,
        ``median``, ``high``, ``inside``.
    waits : polars.DataFrame
        Hours from arrival in the emergency department (or any first unit) to
        the next unit, of those who went on: ``unit``, ``observed`` (how
        many), ``observed_p50``, ``observed_p90``, ``p50``, ``p90`` (median
        over replications). Recorded stays hold waits; no wait of its own is
        recorded.
    paths : polars.DataFrame
        Moves: ``state``, ``next``, ``observed`` (count), ``share`` of the moves
        from the state, ``low``, ``median``, ``high`` (simulated shares),
        ``inside``.
    covered : polars.DataFrame
        How many of `by_day` lie within 5 % and 95 %: ``unit``, ``days``,
        ``share``, ``lower``, ``upper`` (exact 95 %, days taken as independent).
    start, end : datetime
        The days compared.
    replications : int
    notes : tuple of str
    identity : str
    """

    stays: pl.DataFrame
    by_hour: pl.DataFrame
    by_day: pl.DataFrame
    waits: pl.DataFrame
    paths: pl.DataFrame
    covered: pl.DataFrame
    start: datetime
    end: datetime
    replications: int
    notes: tuple[str, ...]
    identity: str

    def to_frame(self) -> pl.DataFrame:
        """Return patients at noon, simulated and observed."""
        return self.by_day


def calibrate(
    hospital: Hospital,
    *,
    days: int = 14,
    at: datetime | None = None,
    replications: int = 40,
    seed: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Calibrated:
    """Fit a hospital to the past, simulate the last days, and compare.

    Parameters
    ----------
    hospital : Hospital
    days : int
        How many days before `at` are held out.
    at : datetime, optional
        Aware; the data cut if not given.
    replications, seed, progress
        See :func:`neva.flow.simulation.simulate.simulate`.

    Raises
    ------
    UsageError
        Too little is known before the days held out, or times are only known
        to the day.
    """
    truth = known_sojourns(hospital, at, by="unit")
    if days < 1:
        message = f"days: must be 1 or more; found {days}; give how many to hold out"
        raise UsageError(message)
    end = truth.now
    start = end - timedelta(days=days)
    known = known_sojourns(hospital, start, by="unit")
    fitted = fit_hospital(hospital.snapshot(as_of=start), known)
    run = simulate(
        fitted.model, start=known.now, days=days, seed=seed, zone=known.zone,
        replications=replications, log=True, progress=progress,
    )  # fmt: skip
    seen = truth.frame.filter(pl.col("start") < pl.lit(end, dtype=TIME)).select(
        "case", "state", "start", "end", "next"
    )
    simulated = pl.concat(
        [_sojourns(run, number).with_columns(run=pl.lit(number)) for number in range(replications)]
    )
    by_day = _by_day(truth, run)
    inside = by_day.group_by("unit", maintain_order=True).agg(
        days=pl.len(), hits=pl.col("inside").sum()
    )
    held = proportion_interval(inside["hits"].to_numpy(), inside["days"].to_numpy())
    return Calibrated(
        stays=_unit_stays(seen, simulated, start, end),
        by_hour=_by_hour(truth, run),
        by_day=by_day,
        waits=_waits(seen, simulated, start, end),
        paths=_paths(seen, simulated, start, end),
        covered=inside.select(
            "unit", "days", share=pl.col("hits") / pl.col("days"),
            lower=pl.Series(held.lower), upper=pl.Series(held.upper),
        ),
        start=start,
        end=end,
        replications=replications,
        notes=fitted.notes,
        identity=truth.identity,
    )  # fmt: skip


def _sojourns(run: SimulationRun, number: int) -> pl.DataFrame:
    """Sojourns of one replicate, of those who came after the start too."""
    rows = event_log(run, number).rows
    placed = rows.filter(pl.col("kind").is_in(["present", "starts", "leaves"]))
    following = placed.sort("case", "time", maintain_order=True).with_columns(
        end=pl.col("time").shift(-1).over("case"), next=pl.col("target").shift(-1).over("case")
    )
    # One who was there at the start is not one whose length is known.
    return following.filter(pl.col("kind") != "leaves").select(
        "case",
        state="target",
        start=pl.when(pl.col("kind") == "starts").then("time"),
        end="end",
        next="next",
    )


def _within(frame: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    return frame.filter(
        pl.col("start") >= pl.lit(start, dtype=TIME),
        pl.col("end") <= pl.lit(end, dtype=TIME),
        pl.col("next").is_not_null(),
    ).with_columns(hours=(pl.col("end") - pl.col("start")).dt.total_seconds() / 3600)


def _spread(column: str) -> dict[str, pl.Expr]:
    names = ("low", "median", "high")
    return {
        name: pl.col(column).quantile(level, interpolation="linear")
        for name, level in zip(names, _QUANTILES, strict=True)
    }


def _between(observed: str) -> pl.Expr:
    return (pl.col(observed) >= pl.col("low")) & (pl.col(observed) <= pl.col("high"))


def _unit_stays(
    seen: pl.DataFrame, simulated: pl.DataFrame, start: datetime, end: datetime
) -> pl.DataFrame:
    observed = (
        _within(seen, start, end)
        .group_by(unit="state", maintain_order=True)
        .agg(
            observed=pl.len(),
            observed_mean_hours=pl.col("hours").mean(),
            observed_median_hours=pl.col("hours").median(),
        )
    )
    by_run = (
        _within(simulated, start, end)
        .group_by("run", unit="state", maintain_order=True)
        .agg(mean_hours=pl.col("hours").mean(), median_hours=pl.col("hours").median())
    )
    made = by_run.group_by("unit", maintain_order=True).agg(
        mean_hours=pl.col("mean_hours").mean(), **_spread("median_hours")
    )
    return (
        observed.join(made, on="unit", how="left")
        .rename({"median": "median_hours"})
        .with_columns(inside=_between("observed_median_hours"))
        .sort("unit")
    )


def _waits(
    seen: pl.DataFrame, simulated: pl.DataFrame, start: datetime, end: datetime
) -> pl.DataFrame:
    units = pl.col("next").is_in(seen["state"].unique().implode())
    observed = (
        _within(seen, start, end)
        .filter(units)
        .group_by(unit="state", maintain_order=True)
        .agg(
            observed=pl.len(),
            observed_p50=pl.col("hours").median(),
            observed_p90=pl.col("hours").quantile(0.9, interpolation="linear"),
        )
    )
    made = (
        _within(simulated, start, end)
        .filter(units)
        .group_by("run", unit="state", maintain_order=True)
        .agg(p50=pl.col("hours").median(), p90=pl.col("hours").quantile(0.9, "linear"))
        .group_by("unit", maintain_order=True)
        .agg(p50=pl.col("p50").median(), p90=pl.col("p90").median())
    )
    return observed.join(made, on="unit", how="left").sort("unit")


def _paths(
    seen: pl.DataFrame, simulated: pl.DataFrame, start: datetime, end: datetime
) -> pl.DataFrame:
    """Shares of moves, leaving the day of the discharge aside."""
    from neva.flow.simulation.hospital_fit import AT_ONCE
    from neva.flow.stays.sojourns import DISCHARGED

    def moves(frame: pl.DataFrame, *more: str) -> pl.DataFrame:
        ended = frame.filter(
            pl.col("next").is_not_null(),
            pl.col("end") > pl.lit(start, dtype=TIME),
            pl.col("end") <= pl.lit(end, dtype=TIME),
        ).with_columns(pl.col("next").replace({AT_ONCE: DISCHARGED}))
        counted = ended.group_by(*more, "state", "next", maintain_order=True).agg(count=pl.len())
        return counted.with_columns(
            share=pl.col("count") / pl.col("count").sum().over(*more, "state")
        )

    observed = moves(seen).rename({"count": "observed"})
    runs = simulated["run"].n_unique()
    pairs = observed.select("state", "next").join(simulated.select("run").unique(), how="cross")
    by_run = pairs.join(
        moves(simulated, "run").select("run", "state", "next", simulated="share"),
        on=["run", "state", "next"],
        how="left",
    ).with_columns(pl.col("simulated").fill_null(0.0))
    assert by_run.height == observed.height * runs
    made = by_run.group_by("state", "next", maintain_order=True).agg(**_spread("simulated"))
    return (
        observed.join(made, on=["state", "next"], how="left")
        .with_columns(inside=_between("share"))
        .sort("observed", "state", "next", descending=[True, False, False])
    )


def _places(run: SimulationRun, truth: Sojourns) -> dict[str, list[str]]:
    units = [unit.name for unit in run.model.units]
    return {**{unit: [unit] for unit in units}, ALL: list(dict.fromkeys([*units, *truth.states]))}


def _hours_simulated(run: SimulationRun) -> np.ndarray:
    """Patients at the marks, shape (replications, units, marks)."""
    count = len(run.marks())
    return np.stack([one.hourly[:, -count:] for one in run.replicates]).astype(np.float64)


def _counted(truth: Sojourns, run: SimulationRun) -> tuple[list[datetime], dict[str, np.ndarray]]:
    marks = [mark for mark in run.marks() if mark <= truth.now]
    return marks, {
        place: counted.astype(np.float64)
        for place, counted in counts_at(truth, _places(run, truth), marks).items()
    }


def _simulated_at(run: SimulationRun, place: str, count: int) -> np.ndarray:
    """Patients of a place at the first marks, shape (replications, marks)."""
    hours = _hours_simulated(run)[:, :, :count]
    names = [unit.name for unit in run.model.units]
    total: np.ndarray = hours.sum(axis=1) if place == ALL else hours[:, names.index(place)]
    return total


def _frame(
    truth: Sojourns, run: SimulationRun, chosen: Callable[[pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    marks, observed = _counted(truth, run)
    parts = []
    for place in observed:
        made = _simulated_at(run, place, len(marks))
        table = pl.DataFrame(
            {
                "unit": pl.repeat(place, len(marks), eager=True),
                "time": pl.Series(marks, dtype=TIME),
                "observed": observed[place],
                "made": pl.Series(made.T.tolist(), dtype=pl.List(pl.Float64)),
            }
        )
        parts.append(chosen(table))
    return pl.concat(parts)


def _by_hour(truth: Sojourns, run: SimulationRun) -> pl.DataFrame:
    zone = truth.zone
    runs = run.replications

    def hours(table: pl.DataFrame) -> pl.DataFrame:
        with_hour = table.with_columns(hour=pl.col("time").dt.convert_time_zone(zone).dt.hour())
        columns = [pl.col("made").list.get(k).alias(f"run{k}") for k in range(runs)]
        means = (
            with_hour.with_columns(columns)
            .group_by("unit", "hour", maintain_order=True)
            .agg(pl.col("observed").mean(), *(pl.col(f"run{k}").mean() for k in range(runs)))
        )
        values = pl.concat_list([f"run{k}" for k in range(runs)])
        return (
            means.with_columns(made=values)
            .select("unit", pl.col("hour").cast(pl.Int64), "observed", **_of_list())
            .sort("hour")
        )

    return _frame(truth, run, hours)


def _of_list() -> dict[str, pl.Expr]:
    names = ("low", "median", "high")
    return {
        name: pl.col("made").list.eval(pl.element().quantile(level, "linear")).list.first()
        for name, level in zip(names, _QUANTILES, strict=True)
    }


def _by_day(truth: Sojourns, run: SimulationRun) -> pl.DataFrame:
    zone = truth.zone

    def noons(table: pl.DataFrame) -> pl.DataFrame:
        at_noon = table.filter(pl.col("time").dt.convert_time_zone(zone).dt.hour() == 12)
        return at_noon.select("unit", "time", "observed", **_of_list()).with_columns(
            inside=_between("observed")
        )

    return _frame(truth, run, noons)
