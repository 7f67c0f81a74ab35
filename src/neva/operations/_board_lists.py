"""The lists of a bed board: requests, discharges, planned, long stays, since the handover."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from neva.events.clock import first_moment
from neva.events.operational_codes import DELAY_REASONS
from neva.events.schema import TIME, Columns
from neva.events.snapshot import Snapshot
from neva.flow.forecast.forecast import OccupancyForecast
from neva.flow.forecast.moves_ahead import MovesAhead
from neva.operations._board_places import step_at

DEATHS: Final = ("died", "dead", "death", "deceased", "expired")
WAITING: Final = (
    "stay_id", "subject_id", "unit", "bed", "wanted", "how", "priority", "side_room", "since",
    "hours",
)  # fmt: skip
CHANGES: Final[Columns] = {
    "kind": pl.String,
    "time": TIME,
    "subject_id": pl.Int64,
    "stay_id": pl.Int64,
    "from_unit": pl.String,
    "unit": pl.String,
}


def hours_until(now: datetime, column: str = "since") -> pl.Expr:
    """Hours from a column's time to now."""
    return (pl.lit(now, dtype=TIME) - pl.col(column)).dt.total_microseconds() / 3.6e9


def of_kind(entries: pl.DataFrame, kind: str, **columns: str) -> pl.DataFrame:
    """Entries of one kind: ``stay_id`` and the named columns."""
    rows = entries.filter(pl.col("kind") == kind).select("stay_id", **columns)
    return rows.unique("stay_id", keep="last", maintain_order=True)


def waiting_list(
    patients: pl.DataFrame, entries: pl.DataFrame, units: pl.DataFrame, now: datetime,
    boarding_hours: float,
) -> pl.DataFrame:  # fmt: skip
    """Open bed requests, and patients in the ED for too long without one."""
    asked = of_kind(
        entries, "bed-request", wanted="unit", priority="priority", side_room="side_room",
        since_asked="time",
    )  # fmt: skip
    joined = patients.join(
        asked.with_columns(how=pl.lit("request")), on="stay_id", how="left"
    ).join(units.select("unit", "kind").rename({"kind": "unit_kind"}), on="unit", how="left")
    requested = pl.col("how").is_not_null() & (pl.col("wanted") != pl.col("unit")).fill_null(
        value=True
    )
    boards = (
        pl.col("how").is_null()
        & (pl.col("unit_kind") == "ed")
        & (pl.col("kind") == "inpatient")
        & (hours_until(now) > boarding_hours)
    )
    found = joined.filter(requested | boards).with_columns(
        how=pl.coalesce("how", pl.lit("boarder")),
        since=pl.coalesce("since_asked", "since"),
    )
    rank = pl.col("priority").replace_strict(
        {"immediate": 0, "urgent": 1, "routine": 2}, default=3, return_dtype=pl.Int64
    )
    return (
        found.with_columns(hours=hours_until(now))
        .sort(rank, pl.col("since"), "stay_id")
        .select(WAITING)
    )


def discharge_list(
    patients: pl.DataFrame,
    entries: pl.DataFrame,
    moves: MovesAhead | None,
    now: datetime,
    zone: str,
) -> pl.DataFrame:
    """Patients with an expected discharge by the end of today, or medically fit."""
    tomorrow = first_moment(now.astimezone(ZoneInfo(zone)).date() + timedelta(days=1), zone)
    ends = pl.lit(tomorrow, dtype=TIME)
    moment = pl.lit(now, dtype=TIME)
    rows = (
        patients.join(
            of_kind(entries, "expected-discharge", expected="time", confirmed="confirmed"),
            on="stay_id",
            how="left",
        )
        .join(of_kind(entries, "medically-fit", fit_since="time"), on="stay_id", how="left")
        .join(of_kind(entries, "delay", delay="reason", delayed_since="time"),
              on="stay_id", how="left")
    )  # fmt: skip
    state = (
        pl.when(pl.col("expected") <= moment)
        .then(pl.lit("overdue"))
        .when((pl.col("expected") < ends) & pl.col("confirmed"))
        .then(pl.lit("confirmed"))
        .when(pl.col("expected") < ends)
        .then(pl.lit("possible"))
        .when(pl.col("fit_since") <= moment)
        .then(pl.lit("fit"))
    )
    found = rows.with_columns(state=state).filter(pl.col("state").is_not_null())
    chance = pl.DataFrame(
        schema={
            "subject_id": pl.Int64,
            "leaves_today": pl.Float64,
            "leaves_today_by_lengths": pl.Float64,
        }
    )
    if moves is not None:
        known = tuple(moves.patients["time"].unique().sort())
        step = step_at(known, tomorrow, 1.01)
        if step is not None:
            chance = (
                moves.patients.filter(pl.col("time") == known[step])
                .select(
                    "subject_id",
                    leaves_today="leaves_hospital",
                    leaves_today_by_lengths="leaves_hospital_by_lengths",
                )
                .unique("subject_id", keep="last", maintain_order=True)
            )
    order = {"confirmed": 0, "possible": 1, "overdue": 2, "fit": 3}
    return (
        found.join(chance, on="subject_id", how="left")
        .with_columns(_reason_group())
        .sort(
            pl.col("state").replace_strict(order, return_dtype=pl.Int64, default=4),
            "expected",
            "stay_id",
            nulls_last=True,
        )
        .select(
            "stay_id", "subject_id", "unit", "bed", "state", "expected", "confirmed", "fit_since",
            "delay", "delay_group", "delayed_since", "leaves_today",
            "leaves_today_by_lengths",
        )
    )  # fmt: skip


def _reason_group() -> pl.Expr:
    groups = {code: group for code, (group, _) in DELAY_REASONS.items()}
    group = pl.col("delay").replace_strict(groups, default="other", return_dtype=pl.String)
    return pl.when(pl.col("delay").is_not_null()).then(group).alias("delay_group")


def long_stay_list(
    patients: pl.DataFrame, entries: pl.DataFrame, now: datetime, thresholds: tuple[int, ...]
) -> pl.DataFrame:
    """In-patients who have been here for the shortest threshold of days or longer."""
    days = hours_until(now, "admitted") / 24
    reached = pl.lit(None, dtype=pl.Int64)
    for threshold in sorted(thresholds):
        reached = pl.when(pl.col("days") >= threshold).then(pl.lit(threshold)).otherwise(reached)
    return (
        patients.filter(_is_inpatient())
        .with_columns(days=days)
        .with_columns(threshold=reached.cast(pl.Int64))
        .filter(pl.col("threshold").is_not_null())
        .join(of_kind(entries, "delay", delay="reason", delayed_since="time"),
              on="stay_id", how="left")
        .join(of_kind(entries, "medically-fit", fit_since="time"), on="stay_id", how="left")
        .join(of_kind(entries, "expected-discharge", expected="time", confirmed="confirmed"),
              on="stay_id", how="left")
        .with_columns(_reason_group(), days_fit=hours_until(now, "fit_since") / 24)
        .sort("days", "stay_id", descending=[True, False])
        .select(
            "stay_id", "subject_id", "unit", "bed", "admitted", "days", "threshold", "fit_since",
            "days_fit", "delay", "delay_group", "delayed_since", "expected", "confirmed",
        )
    )  # fmt: skip


def _is_inpatient() -> pl.Expr:
    """Stays whose kind is not known count: better one too many than one missed."""
    return (pl.col("kind") == "inpatient") | pl.col("kind").is_null()


def long_stay_counts(
    patients: pl.DataFrame, long: pl.DataFrame, thresholds: tuple[int, ...]
) -> pl.DataFrame:
    """How many reached each threshold, and how many of them have no recorded reason for delay."""
    of = patients.filter(_is_inpatient()).height
    rows = []
    for threshold in sorted(thresholds):
        some = long.filter(pl.col("days") >= threshold)
        without = int(some["delay"].is_null().sum())
        rows.append((threshold, some.height, some.height - without, without, of))
    return pl.DataFrame(
        rows,
        schema={
            "threshold": pl.Int64,
            "stays": pl.Int64,
            "with_reason": pl.Int64,
            "without_reason": pl.Int64,
            "inpatients": pl.Int64,
        },
        orient="row",
    )


def electives_list(
    planned: pl.DataFrame,
    units: pl.DataFrame,
    forecast: OccupancyForecast | None,
    now: datetime,
    at_risk: float,
) -> pl.DataFrame:
    """Planned admissions, with the chance that their unit is short when they come."""
    usable: Mapping[str, int | None] = dict(units.select("unit", "usable").iter_rows())
    chances: list[float | None] = []
    for unit, time in planned.select("unit", "time").iter_rows():
        beds = usable.get(unit)
        chance = None
        if forecast is not None and beds is not None and unit in forecast.places:
            step = step_at(forecast.times, max(time, now + timedelta(hours=1)), 0.76)
            if step is not None:
                chance = float(forecast.beyond(unit, beds)[step])
        chances.append(chance)
    return (
        planned.select("subject_id", "event_id", "unit", "time", "recorded", "note")
        .with_columns(short=pl.Series(chances, dtype=pl.Float64))
        .with_columns(at_risk=pl.col("short") >= at_risk)
    )


def changes_since(
    snapshot: Snapshot,
    recent: pl.DataFrame,
    movements: pl.DataFrame,
    entries: pl.DataFrame,
    since: datetime,
) -> pl.DataFrame:
    """What happened in ``(since, now]``: admissions, transfers, discharges, deaths, requests.

    `recent` has the stays that had not ended by `since`, `movements` all of theirs.
    """
    now = pl.lit(snapshot.now, dtype=TIME)
    begin = pl.lit(since, dtype=TIME)

    def inside(column: str) -> pl.Expr:
        return (pl.col(column) > begin) & (pl.col(column) <= now)

    stays = recent.filter(inside("start") | inside("end"))
    movements = (
        movements.filter(pl.col("unit").is_not_null())
        .sort("stay_id", "start", "movement_id")
        .with_columns(from_unit=pl.col("unit").shift(1).over("stay_id"))
    )
    first = movements.unique("stay_id", keep="first", maintain_order=True).select("stay_id", "unit")
    last = movements.unique("stay_id", keep="last", maintain_order=True).select(
        "stay_id", from_unit="unit"
    )
    died = pl.col("outcome").str.to_lowercase().is_in(DEATHS).fill_null(value=False)
    came = stays.filter(inside("start")).join(first, on="stay_id", how="left").select(
        pl.lit("admission").alias("kind"), pl.col("start").alias("time"), "subject_id", "stay_id",
        pl.lit(None, dtype=pl.String).alias("from_unit"), "unit",
    )  # fmt: skip
    left = stays.filter(inside("end")).join(last, on="stay_id", how="left").select(
        pl.when(died).then(pl.lit("death")).otherwise(pl.lit("discharge")).alias("kind"),
        pl.col("end").alias("time"), "subject_id", "stay_id", "from_unit",
        pl.lit(None, dtype=pl.String).alias("unit"),
    )  # fmt: skip
    transfers = movements.filter(
        inside("start"), pl.col("from_unit").is_not_null(), pl.col("from_unit") != pl.col("unit")
    ).select(
        pl.lit("transfer").alias("kind"), pl.col("start").alias("time"), "subject_id", "stay_id",
        "from_unit", "unit",
    )  # fmt: skip
    requests = entries.filter(pl.col("kind") == "bed-request", inside("recorded")).select(
        pl.lit("request").alias("kind"), pl.col("recorded").alias("time"), "subject_id", "stay_id",
        pl.lit(None, dtype=pl.String).alias("from_unit"), "unit",
    )  # fmt: skip
    return (
        pl.concat([came, left, transfers, requests])
        .cast(pl.Schema(CHANGES))
        .sort("time", "kind", "stay_id", descending=[True, False, False])
    )
