"""What a simulation found: figures with intervals, occupancy over time, waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl
from scipy import stats

from neva.errors import UsageError
from neva.events.schema import TIME
from neva.flow.simulation._kernel_state import (
    AWAITING,
    BEDS,
    BLOCKED,
    CANCELLED,
    DIVERTED,
    ENDED,
    ENTRIES,
    EXCESS,
    FULL,
    OUTSIDE,
    OVER,
    REFUSED,
    REQUESTS,
    WAITED,
    WAITING,
)
from neva.flow.simulation._model_arrays import UNLIMITED, Clock, beds_at
from neva.flow.simulation.hospital_model import HospitalModel

__all__ = ["FIGURES", "Figure", "Replicate", "SimulationRun", "half_width_of"]

#: Figures of a unit, and what they say.
FIGURES: Final = {
    "occupied_beds": "mean patients in the unit",
    "staffed_beds": "mean staffed beds (missing where unlimited)",
    "occupancy": "bed occupancy",
    "full_share": "share of the time full",
    "most_occupied": "most patients for any length of counted time",
    "over_beds_hours": "hours with more patients than staffed beds",
    "over_beds_patient_hours": "patient-hours beyond the staffed beds",
    "starts_per_day": "patients who got a bed, per day",
    "arrivals_per_day": "arrivals from outside who needed the unit, per day",
    "waited_share": "share of patients needing a bed who had to wait for it",
    "wait_hours": "mean wait for a bed of the unit, zeros included, of waits that ended",
    "wait_hours_p90": "90th percentile of these waits",
    "queue_outside": "mean patients waiting outside",
    "boarding_hours_per_day": "boarding hours per day",
    "leaving_hours_per_day": "patient-hours per day in its beds, waiting for the discharge hour",
    "refused": "arrivals lost",
    "cancelled": "planned arrivals cancelled",
    "diverted": "outliers (patients placed in another unit)",
}


@dataclass(frozen=True, slots=True)
class Replicate:
    """Sums of one replicate; arrays by unit (U), class (C), exit (E)."""

    occupied_hours: np.ndarray  # (U, 24)
    integrals: np.ndarray
    counts: np.ndarray
    most: np.ndarray
    exits: np.ndarray  # (C, E)
    stays: np.ndarray  # (C, 2)
    swaps: int
    waits: np.ndarray
    hourly: np.ndarray  # (U, hours)
    log: np.ndarray
    cases: np.ndarray


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over replications with its 95 % interval (missing of one replication)."""

    mean: float
    lower: float
    upper: float
    deviation: float


def half_width_of(values: np.ndarray, confidence: float = 0.95) -> float:
    """Half of the t-interval of a mean; infinite where there are fewer than two values."""
    if values.size < 2 or not np.isfinite(values).all():
        return np.inf
    factor = stats.t.ppf((1 + confidence) / 2, values.size - 1)
    return float(factor * values.std(ddof=1) / np.sqrt(values.size))


def _p90(waits: np.ndarray, immediate: int) -> float:
    """The 90th percentile of so many zeros and these waits."""
    total = immediate + waits.size
    if not total:
        return np.nan
    ordered = np.sort(waits)
    place = 0.9 * (total - 1) - immediate
    low = int(np.floor(place))
    below = ordered[low] if low >= 0 else 0.0
    above = ordered[min(low + 1, ordered.size - 1)] if low + 1 >= 0 and ordered.size else 0.0
    return float(below + (place - low) * (above - below))


@dataclass(frozen=True)
class SimulationRun:
    """A simulated hospital.

    Attributes
    ----------
    model : HospitalModel
    start : datetime
        Begin of the simulation; counting begins `warm_up_days` later.
    zone : str
    days, warm_up_days : float
        Counted, and before that.
    seed : int
    replicates : tuple of Replicate
    width_reached : bool or None
        Whether the half-width asked for was reached; None: none was asked for.
    width_asked : float or None
    """

    model: HospitalModel
    start: datetime
    zone: str
    days: float
    warm_up_days: float
    seed: int
    replicates: tuple[Replicate, ...] = field(repr=False)
    clock: Clock = field(repr=False, compare=False)
    width_reached: bool | None = None
    width_asked: float | None = None

    @property
    def replications(self) -> int:
        """How many replications were made."""
        return len(self.replicates)

    @cached_property
    def by_replicate(self) -> pl.DataFrame:
        """Every figure of every replicate: ``replicate``, ``unit``, ``figure``, ``value``.

        ``unit`` is missing for figures of the whole hospital.
        """
        parts = [self._figures(number) for number in range(self.replications)]
        schema = {"replicate": pl.Int64, "unit": pl.String, "figure": pl.String}
        rows = [row for part in parts for row in part]
        frame = pl.DataFrame(rows, schema={**schema, "value": pl.Float64}, orient="row")
        return frame.with_columns(pl.col("value").fill_nan(None))

    def _figures(self, number: int) -> list[tuple[int, str | None, str, float]]:
        one, hours = self.replicates[number], self.days * 24
        found: list[tuple[int, str | None, str, float]] = []
        nan = float("nan")
        for u, unit in enumerate(self.model.units):
            counts, times = one.counts[u], one.integrals[u]
            there = float(one.occupied_hours[u].sum())
            limited = unit.beds is not None
            waits = one.waits["hours"][one.waits["unit"] == u]
            lost = counts[REFUSED] + counts[CANCELLED]
            at_once = int(counts[REQUESTS] - counts[WAITED] - lost)
            placed = at_once + int(counts[ENDED])
            values = {
                "occupied_beds": there / hours,
                "staffed_beds": times[BEDS] / hours if limited else nan,
                "occupancy": there / times[BEDS] if times[BEDS] > 0 else nan,
                "full_share": times[FULL] / hours if limited else 0.0,
                "most_occupied": one.most[u],
                "over_beds_hours": times[OVER],
                "over_beds_patient_hours": times[EXCESS],
                "starts_per_day": counts[ENTRIES] / self.days,
                "arrivals_per_day": counts[OUTSIDE] / self.days,
                "waited_share": counts[WAITED] / counts[REQUESTS] if counts[REQUESTS] else nan,
                "wait_hours": waits.sum() / placed if placed else nan,
                "wait_hours_p90": _p90(waits, at_once),
                "queue_outside": times[WAITING] / hours,
                "boarding_hours_per_day": times[BLOCKED] / self.days,
                "leaving_hours_per_day": times[AWAITING] / self.days,
                "refused": counts[REFUSED],
                "cancelled": counts[CANCELLED],
                "diverted": counts[DIVERTED],
            }
            found += [(number, unit.name, name, float(value)) for name, value in values.items()]
        ended, inside = one.stays.sum(axis=0)
        whole = {
            "occupied_beds": one.occupied_hours.sum() / hours,
            "arrivals_per_day": one.counts[:, OUTSIDE].sum() / self.days,
            "refused": one.counts[:, REFUSED].sum(),
            "cancelled": one.counts[:, CANCELLED].sum(),
            "diverted": one.counts[:, DIVERTED].sum(),
            "boarding_hours_per_day": one.integrals[:, BLOCKED].sum() / self.days,
            "stay_hours": inside / ended if ended else nan,
            "swaps": one.swaps,
        }
        for e, exit_ in enumerate(self.model.exits):
            whole[f"{exit_.name}_per_day"] = one.exits[:, e].sum() / self.days
        return found + [(number, None, name, float(value)) for name, value in whole.items()]

    def values(self, figure: str, unit: str | None = None) -> np.ndarray:
        """Return one figure of every replicate, shape (replications,).

        Raises
        ------
        UsageError
            There is no such figure of this unit.
        """
        if unit is not None:
            self.model.unit(unit)
        mine = self.by_replicate.filter(pl.col("unit").eq_missing(unit))
        found = mine.filter(pl.col("figure") == figure)
        if not found.height:
            names = ", ".join(mine["figure"].unique(maintain_order=True))
            message = f"figure: no such one; found {figure!r}; give one of {names}"
            raise UsageError(message)
        return found["value"].to_numpy()

    def figure(self, name: str, unit: str | None = None) -> Figure:
        """Return one figure; of the whole hospital if no unit is named."""
        values = self.values(name, unit)
        mean, half = float(values.mean()), half_width_of(values)
        deviation = float(values.std(ddof=1)) if values.size > 1 else float("nan")
        return Figure(mean=mean, lower=mean - half, upper=mean + half, deviation=deviation)

    def to_frame(self) -> pl.DataFrame:
        """Return all figures.

        Returns
        -------
        polars.DataFrame
            ``unit`` (missing: the hospital), ``figure``, ``mean``, ``lower``
            and ``upper`` (95 % t-interval of the mean over replications;
            missing of a single one), ``deviation`` (between replications).
        """
        summed = self.by_replicate.group_by("unit", "figure", maintain_order=True).agg(
            mean=pl.col("value").mean(),
            deviation=pl.col("value").std(),
            number=pl.col("value").count(),
        )
        factor = stats.t.ppf(0.975, np.maximum(summed["number"].to_numpy() - 1, 1))
        half = pl.Series(factor) * pl.col("deviation") / pl.col("number").sqrt()
        return summed.select(
            "unit",
            "figure",
            "mean",
            lower=pl.col("mean") - half,
            upper=pl.col("mean") + half,
            deviation="deviation",
        )

    def marks(self) -> list[datetime]:
        """Return the full hours at which patients were counted, UTC; warm-up left out."""
        first = int(np.ceil(self.clock.start + self.warm_up_days * 24))
        return [self.clock.origin + timedelta(hours=h) for h in range(first, self.clock.hours)]

    def _hourly(self) -> tuple[int, np.ndarray]:
        """First hour, and counts by replicate, unit and hour."""
        if not self.replicates[0].hourly.size:
            message = (
                "occupancy: nothing was kept at full hours; found hourly=False; simulate with "
                "hourly=True"
            )
            raise UsageError(message)
        first = int(np.ceil(self.clock.start + self.warm_up_days * 24))
        return first, np.stack([one.hourly[:, first:] for one in self.replicates])

    def occupancy(
        self, *, every: str = "1h", quantiles: Sequence[float] = (0.05, 0.5, 0.95)
    ) -> pl.DataFrame:
        """Return patients over time, as quantiles over replications.

        Parameters
        ----------
        every : {"1h", "1d"}
            At each full hour, or the mean over the full hours of each day of
            the hospital's calendar.
        quantiles : sequence of float

        Returns
        -------
        polars.DataFrame
            ``unit``, ``time`` (UTC), ``mean``, a column for each quantile
            (``q05``), ``full`` (share of replications without a free staffed
            bed at the hour, or the mean of it over the day).
        """
        if every not in ("1h", "1d"):
            message = f"every: no such period; found {every!r}; give 1h or 1d"
            raise UsageError(message)
        first, counts = self._hourly()
        days = self.clock.day[first : self.clock.hours]
        begins = np.flatnonzero(np.diff(days, prepend=days[0] - 1))
        times = pl.Series(self.marks()).cast(TIME)
        parts = []
        for u, unit in enumerate(self.model.units):
            mine = counts[:, u]
            beds = beds_at(unit.beds, self.clock)[first : self.clock.hours]
            full = ((mine >= beds) & (beds < UNLIMITED)).astype(np.float64)
            if every == "1d":
                sizes = np.diff([*begins, days.size])
                mine = np.add.reduceat(mine, begins, axis=1) / sizes
                full = np.add.reduceat(full, begins, axis=1) / sizes
            columns = {f"q{round(q * 100):02}": np.quantile(mine, q, axis=0) for q in quantiles}
            parts.append(
                pl.DataFrame(
                    {
                        "unit": pl.repeat(unit.name, mine.shape[1], eager=True),
                        "time": times.gather(begins) if every == "1d" else times,
                        "mean": mine.mean(axis=0),
                        **columns,
                        "full": full.mean(axis=0),
                    }
                )
            )
        return pl.concat(parts)

    def by_hour_of_day(self) -> pl.DataFrame:
        """Return mean patients by unit and hour of the day (``unit``, ``hour``, ``occupied``)."""
        total = np.mean([one.occupied_hours for one in self.replicates], axis=0)
        first = self.clock.start + self.warm_up_days * 24
        edges = np.arange(self.clock.hours + 1)
        last = first + self.days * 24
        lengths = np.clip(np.minimum(edges[1:], last) - np.maximum(edges[:-1], first), 0, 1)
        counted = np.bincount(self.clock.hour_of_day[: lengths.size], lengths, minlength=24)
        mean = np.divide(total, counted, out=np.full_like(total, np.nan), where=counted > 0)
        names = [unit.name for unit in self.model.units]
        return pl.DataFrame(
            {
                "unit": np.repeat(names, 24),
                "hour": np.tile(np.arange(24), len(names)),
                "occupied": mean.ravel(),
            }
        ).with_columns(pl.col("occupied").fill_nan(None))

    def exits(self) -> pl.DataFrame:
        """Return cases that ended per class and exit: ``class``, ``exit``, ``per_day`` (mean)."""
        mean = np.mean([one.exits for one in self.replicates], axis=0) / self.days
        return pl.DataFrame(
            {
                "class": np.repeat([c.name for c in self.model.classes], len(self.model.exits)),
                "exit": [e.name for e in self.model.exits] * len(self.model.classes),
                "per_day": mean.ravel(),
            }
        )
