"""The units of a bed board: patients by bed, free beds, reserved beds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.events.schema import TIME, Columns
from neva.events.snapshot import Snapshot
from neva.flow.forecast.forecast import OccupancyForecast
from neva.flow.forecast.moves_ahead import MovesAhead
from neva.statistics.distributions import quantiles, sum_of_counts

OUTLOOK: Final[Columns] = {
    "unit": pl.String,
    "group": pl.String,
    "horizon": pl.String,
    "time": TIME,
    "usable": pl.Int64,
    "coming": pl.Float64,
    "coming_low": pl.Float64,
    "coming_high": pl.Float64,
    "leaving": pl.Float64,
    "leaving_low": pl.Float64,
    "leaving_high": pl.Float64,
    "expected": pl.Float64,
    "expected_low": pl.Int64,
    "expected_high": pl.Int64,
    "short": pl.Float64,
}
GROUPS: Final[Columns] = {
    "group": pl.String,
    "units": pl.List(pl.String),
    "horizon": pl.String,
    "time": TIME,
    "usable": pl.Int64,
    "present": pl.Int64,
    "waiting": pl.Int64,
    "expected": pl.Float64,
    "expected_low": pl.Int64,
    "expected_high": pl.Int64,
    "placed": pl.Float64,
    "placed_with_waiting": pl.Float64,
    "how": pl.String,
}


def placed(snapshot: Snapshot, stays: pl.DataFrame, movements: pl.DataFrame) -> pl.DataFrame:
    """Give each open stay the unit and bed it is in; missing where none is known."""
    now = pl.lit(snapshot.now, dtype=TIME)
    here = stays.filter(~pl.col("lost")).drop("lost").rename({"start": "admitted"})
    open_ = (
        movements.filter(
            pl.col("start") <= now,
            pl.col("end").is_null() | (pl.col("end") > now),
        )
        .sort("stay_id", "start", "movement_id")
        .unique("stay_id", keep="last", maintain_order=True)
    )
    return here.join(
        open_.select("stay_id", "unit", "bed", since="start"), on="stay_id", how="left"
    ).sort("unit", "bed", "stay_id", nulls_last=True)


def beds_now(snapshot: Snapshot) -> pl.DataFrame:
    """Each bed as it is at *now*; a unit whose beds all ended has rows with no state."""
    now = pl.lit(snapshot.now, dtype=TIME)
    rows = snapshot.beds().collect().sort("unit", "bed", "start", "recorded")
    current = rows.filter(
        pl.col("start") <= now, pl.col("end").is_null() | (pl.col("end") > now)
    ).unique(["unit", "bed"], keep="last", maintain_order=True)
    ended = (
        rows.select("unit").unique().join(current.select("unit").unique(), on="unit", how="anti")
    )
    return pl.concat(
        [current.select("unit", "bed", "state", "side_room", "isolation", "sex"), ended],
        how="diagonal",
    )


def units_table(
    snapshot: Snapshot, patients: pl.DataFrame, beds: pl.DataFrame, wanted: pl.DataFrame
) -> pl.DataFrame:
    """One row a unit that has patients, beds or a kind.

    `patients` has ``isolating`` (bool); `wanted` has a row for each patient who
    waits, with ``wanted`` (a unit).
    """
    usable = pl.col("state").is_in(["open", "staffed"])
    lies = patients.filter(pl.col("bed").is_not_null()).select("unit", "bed").unique()
    by_bed = beds.join(
        lies.with_columns(_taken=pl.lit(value=True)), on=["unit", "bed"], how="left"
    ).with_columns(pl.col("_taken").fill_null(value=False))
    side = pl.col("side_room").fill_null(value=False) & usable
    counted = by_bed.group_by("unit").agg(
        beds=pl.col("bed").is_not_null().sum().cast(pl.Int64),
        staffed=(pl.col("state") == "staffed").sum().cast(pl.Int64),
        open=(pl.col("state") == "open").sum().cast(pl.Int64),
        closed=(pl.col("state") == "closed").sum().cast(pl.Int64),
        usable=usable.sum().cast(pl.Int64),
        side_rooms=side.sum().cast(pl.Int64),
        _side_empty=(side & ~pl.col("_taken")).sum().cast(pl.Int64),
        isolation_beds=(pl.col("isolation").fill_null(value=False) & usable).sum().cast(pl.Int64),
    )
    present = (
        patients.filter(pl.col("unit").is_not_null())
        .group_by("unit")
        .agg(present=pl.len().cast(pl.Int64), isolating=pl.col("isolating").sum().cast(pl.Int64))
    )
    reserved = (
        wanted.filter(pl.col("wanted").is_not_null())
        .group_by(unit="wanted")
        .agg(reserved=pl.len().cast(pl.Int64))
    )
    units = snapshot.units().select("unit", "name", "parent", "kind", "specialty").collect()
    seen = pl.concat([present.select("unit"), counted.select("unit")]).unique()
    kept = units.filter(pl.col("kind").is_not_null()).select("unit")
    named = (
        pl.concat([seen, kept])
        .unique()
        .join(units, on="unit", how="left")
        .join(present, on="unit", how="left")
        .join(counted, on="unit", how="left")
        .join(reserved, on="unit", how="left")
        .with_columns(pl.col("present", "isolating", "reserved").fill_null(0))
    )
    place = pl.coalesce("specialty", "parent")

    def known(of: pl.Expr) -> pl.Expr:
        return pl.when(pl.col("usable").is_not_null()).then(of)

    return (
        named.with_columns(
            title=pl.coalesce("name", "unit"),
            group=pl.when(pl.col("usable").is_null())
            .then(None)
            .when(place.is_null())
            .then("unit")
            .otherwise(pl.concat_str(place, pl.coalesce("kind", pl.lit("")), separator=" · ")),
            free=known(pl.max_horizontal(pl.col("usable") - pl.col("present"), pl.lit(0))),
            over=known(pl.max_horizontal(pl.col("present") - pl.col("usable"), pl.lit(0))),
        )
        .with_columns(
            side_rooms_free=known(pl.min_horizontal("_side_empty", "free")),
            free_after_reserved=pl.col("free") - pl.col("reserved"),
        )
        .select(
            "unit", "title", "kind", "parent", "specialty", "group", "present", "beds", "staffed",
            "open", "closed", "usable", "free", "over", "reserved", "free_after_reserved",
            "side_rooms", "side_rooms_free", "isolation_beds", "isolating",
        )
        .sort("unit")
    )  # fmt: skip


def step_at(times: tuple[datetime, ...], moment: datetime, hours: float) -> int | None:
    """Place of the step nearest to a moment; None if none is within `hours`."""
    if not times:
        return None
    apart = [abs((time - moment).total_seconds()) for time in times]
    best = int(np.argmin(apart))
    return best if apart[best] <= hours * 3600 else None


def _count(distribution: npt.NDArray[np.float64]) -> tuple[float, int, int]:
    low, high = quantiles(distribution, [0.05, 0.95])
    return float(distribution @ np.arange(len(distribution))), int(low), int(high)


def _within(distribution: npt.NDArray[np.float64], beds: int) -> float:
    return float(min(1.0, distribution[: max(beds + 1, 0)].sum()))


def outlook_table(
    units: pl.DataFrame,
    horizons: Mapping[str, datetime],
    forecast: OccupancyForecast | None,
    moves: MovesAhead | None,
) -> pl.DataFrame:
    """One row a unit and horizon; unknown values are missing."""
    rows: list[dict[str, Any]] = []
    expected: dict[tuple[str, datetime], dict[str, Any]] = {}
    if moves is not None:
        known = tuple(moves.units["time"].unique().sort())
        steps = {step_at(known, moment, 0.51) for moment in horizons.values()} - {None}
        chosen = [known[step] for step in steps if step is not None]
        for one in moves.units.filter(pl.col("time").is_in(chosen)).iter_rows(named=True):
            expected[one["unit"], one["time"]] = one
    for unit, group, usable in units.select("unit", "group", "usable").iter_rows():
        for name, moment in horizons.items():
            row: dict[str, Any] = {
                "unit": unit, "group": group, "horizon": name, "time": moment, "usable": usable,
            }  # fmt: skip
            if moves is not None and (at := step_at(known, moment, 0.51)) is not None:
                found = expected.get((unit, known[at]), {})
                row |= {key: found.get(key) for key in OUTLOOK if key in found and key not in row}
            if forecast is not None and unit in forecast.places:
                step = step_at(forecast.times, moment, 0.51)
                if step is not None:
                    counts = forecast.of(unit, step + 1)
                    row["expected"], row["expected_low"], row["expected_high"] = _count(counts)
                    if usable is not None:
                        row["short"] = 1.0 - _within(counts, usable)
            rows.append(row)
    return pl.DataFrame(rows, schema=OUTLOOK)


def groups_table(
    units: pl.DataFrame,
    waiting: pl.DataFrame,
    horizons: Mapping[str, datetime],
    forecast: OccupancyForecast | None,
    above: Mapping[str, tuple[str, ...]],
) -> pl.DataFrame:
    """Whether there are enough beds: one row a group of interchangeable units and horizon."""
    rows: list[dict[str, Any]] = []
    group_of = {unit: group for unit, group in units.select("unit", "group").iter_rows() if group}
    # Who only moves within a group takes no bed more of it.
    asked = Counter(
        group_of[wanted]
        for unit, wanted in waiting.select("unit", "wanted").iter_rows()
        if wanted in group_of and group_of.get(unit) != group_of[wanted]
    )
    grouped = (
        units.filter(pl.col("group").is_not_null())
        .group_by("group", maintain_order=True)
        .agg(pl.col("unit"), pl.col("usable", "present").sum())
    )
    for group, members, usable, present in grouped.iter_rows():
        more = asked[group]
        for name, moment in horizons.items():
            row: dict[str, Any] = {
                "group": group, "units": members, "horizon": name, "time": moment,
                "usable": usable, "present": present, "waiting": more,
            }  # fmt: skip
            step = None if forecast is None else step_at(forecast.times, moment, 0.51)
            if forecast is not None and step is not None:
                counts, how = _of_group(forecast, members, step + 1, above)
                if counts is not None:
                    row["expected"], row["expected_low"], row["expected_high"] = _count(counts)
                    row["placed"] = _within(counts, usable)
                    row["placed_with_waiting"] = _within(counts, usable - more)
                    row["how"] = how
            rows.append(row)
    return pl.DataFrame(rows, schema=GROUPS).sort("group", "time")


def _of_group(
    forecast: OccupancyForecast,
    members: list[str],
    step: int,
    above: Mapping[str, tuple[str, ...]],
) -> tuple[npt.NDArray[np.float64] | None, str]:
    """Patients in a group: forecast as one where that was done, else as if independent."""
    if not set(members) <= set(forecast.places):
        return None, ""
    if len(members) == 1:
        return forecast.of(members[0], step), "whole group"
    for place in forecast.places:
        below = {unit for unit, chain in above.items() if place in chain}
        leaves = {unit for unit in below if not any(unit in chain for chain in above.values())}
        if leaves & set(forecast.places) == set(members):
            return forecast.of(place, step), "whole group"
    return sum_of_counts([forecast.of(unit, step) for unit in members]), "independent"
