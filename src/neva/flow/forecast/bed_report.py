"""The morning bed report: patients present, patients expected, and where beds may run short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from neva.events.schema import TIME, Columns
from neva.flow.forecast.forecast import OccupancyForecast
from neva.statistics.distributions import quantiles

__all__ = ["HORIZONS", "BedReport", "bed_report"]

#: Hours ahead that the report looks.
HORIZONS = (4, 24, 72, 168)


@dataclass(frozen=True, slots=True)
class BedReport:
    """The forecast at a few horizons, compared with the beds.

    Attributes
    ----------
    frame : polars.DataFrame
        One row a place and horizon: ``place``, ``beds`` (missing where none
        are recorded), ``present``, ``horizon_hours``, ``time`` (UTC), ``mean``,
        ``q05``, ``q50``, ``q95``, ``beyond`` (the probability that more
        patients need a bed there than there are beds; missing without beds).
    forecast : OccupancyForecast
    beds : dict of str to int
    """

    frame: pl.DataFrame
    forecast: OccupancyForecast
    beds: dict[str, int]

    def to_frame(self) -> pl.DataFrame:
        """Return the table."""
        return self.frame

    def short(self, *, chance: float = 0.2) -> pl.DataFrame:
        """Return places where beds run short with at least that chance, the first time of each.

        Returns
        -------
        polars.DataFrame
            ``place``, ``time`` of the first step at which the chance is
            reached, ``worst`` (the largest chance up to the end), ``worst_time``.
        """
        rows = []
        for place, beds in self.beds.items():
            if place not in self.forecast.places:
                continue
            beyond = self.forecast.beyond(place, beds)
            reached = np.flatnonzero(beyond >= chance)
            if len(reached):
                worst = int(beyond.argmax())
                rows.append(
                    (
                        place,
                        self.forecast.times[int(reached[0])],
                        float(beyond[worst]),
                        self.forecast.times[worst],
                    )
                )
        schema: Columns = {
            "place": pl.String,
            "time": TIME,
            "worst": pl.Float64,
            "worst_time": TIME,
        }
        return pl.DataFrame(rows, schema=schema, orient="row").sort("worst", descending=True)


def bed_report(
    forecast: OccupancyForecast,
    beds: Mapping[str, int],
    *,
    above: Mapping[str, tuple[str, ...]] | None = None,
    horizons: Sequence[int] = HORIZONS,
) -> BedReport:
    """Compare the forecast with the beds.

    Parameters
    ----------
    forecast : OccupancyForecast
    beds : mapping of str to int
        Of units; those of units above are the sums, where every unit below
        that is forecast has beds recorded.
    above : mapping of str to tuple of str, optional
        Units above units.
    horizons : sequence of int
        Hours ahead; those beyond the forecast, or not ahead, are left out.
    """
    known = _with_sums(dict(beds), forecast.places, above or {})
    step = forecast.step_hours
    rows: list[tuple[str, int | None, int, int, datetime, float, int, int, int, float | None]] = []
    steps = [
        int(hours // step)
        for hours in horizons
        if hours % step == 0 and 1 <= hours // step <= len(forecast.times)
    ]
    mean = forecast.mean
    for k, place in enumerate(forecast.places):
        for at in steps:
            low, middle, high = quantiles(forecast.of(place, at), [0.05, 0.5, 0.95])
            number = known.get(place)
            rows.append(
                (
                    place, number, int(forecast.present[k]), int(at * step),
                    forecast.times[at - 1], float(mean[k, at - 1]), int(low), int(middle),
                    int(high),
                    None if number is None else float(forecast.beyond(place, number)[at - 1]),
                )
            )  # fmt: skip
    frame = pl.DataFrame(
        rows,
        schema={
            "place": pl.String,
            "beds": pl.Int64,
            "present": pl.Int64,
            "horizon_hours": pl.Int64,
            "time": TIME,
            "mean": pl.Float64,
            "q05": pl.Int64,
            "q50": pl.Int64,
            "q95": pl.Int64,
            "beyond": pl.Float64,
        },
        orient="row",
    )
    return BedReport(frame, forecast, known)


def _with_sums(
    beds: dict[str, int], places: tuple[str, ...], above: Mapping[str, tuple[str, ...]]
) -> dict[str, int]:
    """Add the beds of units above units, where all below are known."""
    for parent in {unit for chain in above.values() for unit in chain}:
        below = [unit for unit, chain in above.items() if parent in chain and unit in places]
        leaves = [unit for unit in below if not any(unit in chain for chain in above.values())]
        if leaves and parent not in beds and all(unit in beds for unit in leaves):
            beds[parent] = sum(beds[unit] for unit in leaves)
    return beds
