"""The bed board: patients by unit, free beds, bed requests, discharges, and whether beds suffice.

What it is made for is one question asked three times a day: can everybody be
placed by noon, by the evening, by tomorrow morning? The answer is a chance for
each group of interchangeable units, and names what it does not know: units
without recorded beds, patients without a unit, data that are old.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from neva.census import units_above
from neva.census.current_entries import (
    current_entries,
    newest_recorded,
    open_stays,
    operational_events,
    planned_admissions,
    recent_stays,
)
from neva.errors import UsageError
from neva.events.schema import TIME, Columns
from neva.events.snapshot import Snapshot
from neva.events.synthetic import is_synthetic
from neva.flow.forecast.forecast import OccupancyForecast
from neva.flow.forecast.moves_ahead import MovesAhead
from neva.operations import _board_lists as lists
from neva.operations import _board_places as places

__all__ = ["BedBoard", "BoardSettings", "bed_board"]


@dataclass(frozen=True, slots=True)
class BoardSettings:
    """Settings of a hospital.

    Attributes
    ----------
    horizons : tuple of time
        Local times of day until which the board looks; the next of each.
    handovers : tuple of time
        Local times of handover; changes are since the last of them.
    long_stay_days : tuple of int
    boarding_hours : float
        An in-patient in the emergency department for longer, without a request
        for a bed, is a boarder.
    elective_hours : float
        How far ahead planned admissions are listed.
    at_risk : float
        Probability of a shortfall from which on a planned admission is at risk.
    stale_after_minutes : float
        Data older than this are stale.
    """

    horizons: tuple[time, ...] = (time(12), time(18), time(8))
    handovers: tuple[time, ...] = (time(7, 30), time(19, 30))
    long_stay_days: tuple[int, ...] = (7, 14, 21)
    boarding_hours: float = 4.0
    elective_hours: float = 24.0
    at_risk: float = 0.2
    stale_after_minutes: float = 60.0


_STANDARD: Final = BoardSettings()
ANSWERS: Final[Columns] = {
    "horizon": pl.String,
    "time": TIME,
    "groups": pl.Int64,
    "groups_known": pl.Int64,
    "lowest": pl.Float64,
    "lowest_with_waiting": pl.Float64,
    "shortest": pl.String,
    "expected": pl.Float64,
    "usable": pl.Int64,
}


@dataclass(frozen=True)
class BedBoard:
    """The beds of a hospital at one time.

    Attributes
    ----------
    units : polars.DataFrame
        ``unit``, ``title``, ``kind``?, ``parent``?, ``specialty``?, ``group``?
        (interchangeable units: those of one specialty, or parent, and kind;
        missing where no bed is recorded), ``present``; of beds ``beds``,
        ``staffed``, ``open``, ``closed``, ``usable`` (staffed or open), ``free``
        (usable less present, never below 0), ``over`` (present above usable),
        ``reserved`` (patients elsewhere who wait for the unit),
        ``free_after_reserved`` (may be negative), ``side_rooms``,
        ``side_rooms_free``, ``isolation_beds``, all missing where no bed is
        recorded; ``isolating`` (patients with a recorded need). Always
        ``present + free == usable + over``.
    outlook : polars.DataFrame
        A row a unit and horizon: ``unit``, ``group``?, ``horizon`` (``12:00``),
        ``time`` (UTC), ``usable``?, ``coming`` and ``leaving`` with ``_low``
        and ``_high`` (90 %; see :class:`neva.flow.forecast.moves_ahead.MovesAhead`),
        ``expected`` with 90 % limits, ``short`` (the chance that more want a
        bed than are usable). Missing: nothing is known.
    groups : polars.DataFrame
        A row a group and horizon: ``group``, ``units``, ``horizon``, ``time``,
        ``usable``, ``present``, ``waiting`` (now, no unit recorded of the group),
        ``expected`` with limits, ``placed`` (the chance that all can be
        placed), ``placed_with_waiting`` (if all who wait now came on top: a
        lower bound), ``how`` (``whole group``: forecast as one;
        ``independent``: units added as if they were).
    answers : polars.DataFrame
        A row a horizon: ``horizon``, ``time``, ``groups``, ``groups_known``
        (those with a chance), ``lowest`` (chance that all can be placed in the
        ``shortest`` group), ``lowest_with_waiting``, ``expected`` and
        ``usable`` of that group.
    waiting : polars.DataFrame
        ``stay_id``, ``subject_id``, ``unit``?, ``bed``?, ``wanted``?, ``how``
        (``request``, ``boarder``), ``priority``?, ``side_room``?, ``since``,
        ``hours``; the most urgent and longest first.
    discharges : polars.DataFrame
        ``stay_id``, ``subject_id``, ``unit``?, ``bed``?, ``state`` (``confirmed``
        and ``possible`` until the end of today; ``overdue``: expected before
        now; ``fit``: medically fit, no date), ``expected``?, ``confirmed``?,
        ``fit_since``?, ``delay``? (what blocks), ``delay_group``?,
        ``delayed_since``?, ``leaves_today``? (probability by unit, time spent
        there and what was entered, as far as such entries came true),
        ``leaves_today_by_lengths``? (by lengths of stay alone; missing where
        nothing entered was looked at).
    electives : polars.DataFrame
        ``subject_id``, ``event_id``, ``unit``?, ``time``, ``recorded``,
        ``note``?, ``short``?, ``at_risk``?.
    long_stays, long_stay_counts : polars.DataFrame
        In-patients by days in hospital; counts by threshold of days with those
        for whom no reason for delay is recorded, of how many in-patients.
    changes : polars.DataFrame
        ``kind`` (admission, transfer, discharge, death, request), ``time``,
        ``subject_id``, ``stay_id``, ``from_unit``?, ``unit``?; since
        `handover`, the newest first.
    patients : polars.DataFrame
        Everybody present: ``subject_id``, ``stay_id``, ``admitted``, ``kind``,
        ``source``, ``unit``?, ``bed``?, ``since``?, ``isolating``.
    entries : polars.DataFrame
        What is entered of open stays now (:data:`neva.census.current_entries.ENTRIES`).
    handover : datetime
        The most recent one.
    newest : datetime or None
        When the newest event was recorded.
    age_minutes : float or None
    is_stale : bool
    unknown : dict of str to int
        ``patients_without_unit``, ``patients_lost`` (follow-up ended),
        ``units_without_beds``, ``beds_shared`` (with more than one patient),
        ``waiting_without_unit`` (nobody said for which unit).
    forecast_issued, moves_issued : datetime or None
    now, at : datetime
        *Now* of the data; the clock.
    zone, identity : str
    synthetic : bool
    basis : str
        Names what it was made of, where whoever made it said so.
    """

    units: pl.DataFrame
    outlook: pl.DataFrame
    groups: pl.DataFrame
    answers: pl.DataFrame
    waiting: pl.DataFrame
    discharges: pl.DataFrame
    electives: pl.DataFrame
    long_stays: pl.DataFrame
    long_stay_counts: pl.DataFrame
    changes: pl.DataFrame
    patients: pl.DataFrame
    entries: pl.DataFrame
    handover: datetime
    newest: datetime | None
    age_minutes: float | None
    is_stale: bool
    unknown: dict[str, int]
    forecast_issued: datetime | None
    moves_issued: datetime | None
    now: datetime
    at: datetime
    zone: str
    identity: str
    synthetic: bool
    settings: BoardSettings = _STANDARD
    basis: str = ""

    def to_frame(self) -> pl.DataFrame:
        """Return the units."""
        return self.units

    def change_counts(self) -> dict[str, int]:
        """Count the changes since the handover by kind."""
        kinds = ("admission", "transfer", "discharge", "death", "request")
        counted = dict(self.changes.group_by("kind").len().iter_rows())
        return {kind: int(counted.get(kind, 0)) for kind in kinds}


def next_times(now: datetime, clocks: Sequence[time], zone: str) -> dict[str, datetime]:
    """Give the next time at which the hospital's clock shows each time of day, in order."""
    place = ZoneInfo(zone)
    local = now.astimezone(place)
    found: list[tuple[datetime, str]] = []
    for clock in clocks:
        moment = datetime.combine(local.date(), clock, tzinfo=place)
        if moment <= now:
            moment = datetime.combine(local.date() + timedelta(days=1), clock, tzinfo=place)
        found.append((moment, clock.strftime("%H:%M")))
    return {name: moment.astimezone(UTC) for moment, name in sorted(found)}


def last_time(now: datetime, clocks: Sequence[time], zone: str) -> datetime:
    """Give the last time at which the hospital's clock showed one of some times of day."""
    place = ZoneInfo(zone)
    local = now.astimezone(place)
    moments = [
        datetime.combine(local.date() - timedelta(days=back), clock, tzinfo=place)
        for back in (0, 1)
        for clock in clocks
    ]
    return max(moment for moment in moments if moment <= now).astimezone(UTC)


def bed_board(
    snapshot: Snapshot,
    *,
    at: datetime,
    forecast: OccupancyForecast | None = None,
    moves: MovesAhead | None = None,
    settings: BoardSettings = _STANDARD,
) -> BedBoard:
    """Build the bed board from what is known at the *now* of a snapshot.

    Parameters
    ----------
    snapshot : Snapshot
    at : datetime
        The clock's time, aware: how old the data are.
    forecast : OccupancyForecast, optional
        Issued at or before *now*; without it there is no chance of being short.
    moves : MovesAhead, optional
        The same; without it there are no expected arrivals and departures.
    settings : BoardSettings

    Raises
    ------
    UsageError
        `at` has no zone, or a forecast knows what came after *now*.

    Notes
    -----
    A patient counts to the unit of the last movement that has begun; one whose
    follow-up ended counts nowhere and is in `unknown`. The chance of a group is
    that of the forecast, which asks where patients want to be by the usual
    ways through the hospital and knows nothing of requests: hence the lower
    bound beside it.
    """
    if at.tzinfo is None:
        message = "at: the time has no zone; found a naive time; add the offset"
        raise UsageError(message)
    for made in (forecast, moves):
        if made is not None and made.issued > snapshot.now:
            message = (
                f"bed board: the forecast knows what came later; found one of "
                f"{made.issued.isoformat()} for {snapshot.now.isoformat()}; give an earlier one"
            )
            raise UsageError(message)
    now, zone = snapshot.now, snapshot.zone
    events = operational_events(snapshot)
    handover = last_time(now, settings.handovers, zone)
    recent = recent_stays(snapshot, handover)
    stays = open_stays(snapshot, events, recent=recent)
    movements = (
        snapshot.movements(subjects=recent["subject_id"].unique().to_list())
        .filter(pl.col("stay_id").is_in(recent["stay_id"].implode()))
        .select("stay_id", "subject_id", "start", "end", "unit", "bed", "movement_id")
        .collect()
    )
    entries = current_entries(snapshot, stays=stays, events=events)
    isolating = entries.filter(pl.col("kind") == "isolation")["stay_id"].unique()
    patients = places.placed(snapshot, stays, movements).with_columns(
        isolating=pl.col("stay_id").is_in(isolating.implode())
    )
    beds = places.beds_now(snapshot)
    kinds = snapshot.units().select("unit", "kind").collect()
    waiting = lists.waiting_list(patients, entries, kinds, now, settings.boarding_hours)
    units = places.units_table(snapshot, patients, beds, waiting)
    horizons = next_times(now, settings.horizons, zone)
    groups = places.groups_table(units, waiting, horizons, forecast, units_above(snapshot))
    long = lists.long_stay_list(patients, entries, now, settings.long_stay_days)
    planned = planned_admissions(
        snapshot, hours=settings.elective_hours, stays=stays, events=events
    )
    newest = newest_recorded(snapshot)
    age = None if newest is None else (at - newest).total_seconds() / 60
    shared = (patients.filter(pl.col("bed").is_not_null()).group_by("unit", "bed").len()).filter(
        pl.col("len") > 1
    )
    return BedBoard(
        units=units,
        outlook=places.outlook_table(units, horizons, forecast, moves),
        groups=groups,
        answers=_answers(groups),
        waiting=waiting,
        discharges=lists.discharge_list(patients, entries, moves, now, zone),
        electives=lists.electives_list(planned, units, forecast, now, settings.at_risk),
        long_stays=long,
        long_stay_counts=lists.long_stay_counts(patients, long, settings.long_stay_days),
        changes=lists.changes_since(snapshot, recent, movements, entries, handover),
        patients=patients,
        entries=entries,
        handover=handover,
        newest=newest,
        age_minutes=age,
        is_stale=age is None or age > settings.stale_after_minutes,
        unknown={
            "patients_without_unit": int(patients["unit"].is_null().sum()),
            "patients_lost": int(stays["lost"].sum()),
            "units_without_beds": int(units["usable"].is_null().sum()),
            "beds_shared": shared.height,
            "waiting_without_unit": int(waiting["wanted"].is_null().sum()),
        },
        forecast_issued=None if forecast is None else forecast.issued,
        moves_issued=None if moves is None else moves.issued,
        now=now,
        at=at,
        zone=zone,
        identity=snapshot.identity,
        synthetic=is_synthetic(snapshot),
        settings=settings,
    )


def _answers(groups: pl.DataFrame) -> pl.DataFrame:
    """The shortest group of each horizon."""
    counted = groups.group_by("horizon", "time").agg(
        groups=pl.len().cast(pl.Int64), groups_known=pl.col("placed").count().cast(pl.Int64)
    )
    worst = (
        groups.filter(pl.col("placed").is_not_null())
        .sort("placed", "placed_with_waiting", "group")
        .unique("horizon", keep="first", maintain_order=True)
        .select(
            "horizon", "expected", "usable", lowest="placed",
            lowest_with_waiting="placed_with_waiting", shortest="group",
        )
    )  # fmt: skip
    return (
        counted.join(worst, on="horizon", how="left")
        .select(pl.col(name).cast(dtype) for name, dtype in ANSWERS.items())
        .sort("time")
    )
