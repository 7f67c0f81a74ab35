"""Future arrivals: groups of arrivals, and the number expected at each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.events.clock import first_moment
from neva.flow.forecast.arrivals import (
    LEAST_ARRIVALS,
    LEAST_DAYS,
    ArrivalModel,
    Arrivals,
    arrivals_of,
    fit_arrivals,
)
from neva.flow.stays.sojourns import Sojourns

__all__ = [
    "ArrivalGroup",
    "arrivals_of_group",
    "expected_arrivals",
    "fit_group",
    "hours_of_week",
    "passed_hours",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ArrivalGroup:
    """Arrivals of one kind, and where they go first.

    Attributes
    ----------
    name : str
        ``elective``, or ``unscheduled``.
    model : ArrivalModel or None
        None where there were too few for one: a constant rate then.
    per_day : float
        The constant rate.
    known_days : int
        Days that the rate was counted in.
    entry : array, shape (states,)
        Shares of first states.
    so_far : int
        Arrivals of today before now.
    """

    name: str
    model: ArrivalModel | None
    per_day: float
    known_days: int
    entry: Floats
    so_far: int


def fit_group(
    sojourns: Sojourns,
    name: str,
    days: int,
    holidays: Mapping[date, str] | None,
    model: str,
) -> tuple[ArrivalGroup | None, str]:
    """Fit the arrivals of a group; return it, if there were any, and notes on substitutes."""
    elective = pl.col("class") == "elective"
    firsts = sojourns.frame.group_by("case", maintain_order=True).first()
    begun = firsts.filter(
        elective if name == "elective" else ~elective,
        # One who was there when the period began did not arrive in it.
        pl.col("entered") == pl.col("start"),
        (pl.col("end") > pl.col("start")) | pl.col("next").is_null(),
    )
    if not begun.height:
        return None, "no arrivals: none are expected" if name == "unscheduled" else ""
    arrivals = arrivals_of_group(sojourns, name)
    number = {state: k for k, state in enumerate(sojourns.states)}
    counts = np.bincount(
        begun["state"].replace_strict(number, return_dtype=pl.Int64).to_numpy(),
        minlength=len(number),
    )
    known = arrivals.daily
    fitted: ArrivalModel | None = None
    note = ""
    if len(known) >= LEAST_DAYS and known.sum() >= LEAST_ARRIVALS:
        fitted = fit_arrivals(arrivals, days=days, holidays=holidays, model=model)
    else:
        note = (
            f"{name} arrivals: {int(known.sum())} in {len(known)} complete days are fewer than the "
            f"floor of {LEAST_ARRIVALS} in {LEAST_DAYS}: a constant rate stands in"
        )
    total = int(known.sum()) + arrivals.so_far
    group = ArrivalGroup(
        name=name,
        model=fitted,
        per_day=total / max(len(known) + 0.5, 1),
        known_days=len(known),
        entry=counts / counts.sum(),
        so_far=arrivals.so_far,
    )
    return group, note


def arrivals_of_group(sojourns: Sojourns, name: str) -> Arrivals:
    """Arrivals of a group: those who began in the period, and had a place."""
    elective = pl.col("class") == "elective"
    chosen = elective if name == "elective" else ~elective
    begun = pl.col("entered") == pl.col("start")
    # One who left at once never had a place.
    stays = (pl.col("end") > pl.col("start")) | pl.col("next").is_null()
    since = sojourns.frame["entered"].min()
    assert isinstance(since, datetime)
    return arrivals_of(sojourns, only=chosen & begun & stays, since=since)


def expected_arrivals(
    groups: Sequence[ArrivalGroup], now: datetime, steps: int, zone: str, *, daily: bool
) -> tuple[list[Floats], Floats, Floats]:
    """Expected arrivals by step and first state, one array a group and day.

    With the shapes of these counts, and how far the level may drift by then.
    """
    place = ZoneInfo(zone)
    today = now.astimezone(place).date()
    if daily:
        days = np.arange(steps)
        hours = np.zeros(steps, dtype=np.int64)
        length = np.ones(steps)
    else:
        middle = [(now + timedelta(minutes=60 * k + 30)).astimezone(place) for k in range(steps)]
        days = np.array([(time.date() - today).days for time in middle])
        hours = np.array([time.hour for time in middle])
        # An hour that the clocks repeat has half of its arrivals each time.
        often = [_hours_of(today + timedelta(days=int(day)), zone) for day in range(days.max() + 1)]
        length = 1 / np.array([often[day][hour] for day, hour in zip(days, hours, strict=True)])
    parts: list[Floats] = []
    shapes: list[float] = []
    drifts: list[float] = []
    for group in groups:
        count = int(days.max()) + 1
        if group.model is None:
            # A rate from few days: as uncertain as its count.
            mean = np.full(count, group.per_day)
            shape = np.full(count, max(group.per_day * group.known_days, 1.0))
            profile = np.full((count, 24), 1.0 if daily else 1 / 24)
        else:
            ahead = group.model.forecast(count)
            mean, shape, profile = ahead.mean, ahead.shape, ahead.profile
        for day in range(count):
            inside = days == day
            level, spread = mean[day], shape[day]
            weight = (profile[day, hours] if not daily else np.ones(steps)) * length * inside
            # A constant rate has counted today already.
            if day == 0 and not daily and group.model is not None:
                # Of the day, not of the steps: these may end before it does.
                passed = float(profile[0] @ passed_hours(now, zone)) * level
                if math.isfinite(spread):
                    # Gamma prior of today's level, and a Poisson count so far.
                    level *= (spread + group.so_far) / (spread + passed)
                    spread += group.so_far
            parts.append(level * weight[:, None] * group.entry[None, :])
            shapes.append(spread)
            drifts.append(0.0 if group.model is None else group.model.drift(day + 1))
    return parts, np.array(shapes, dtype=np.float64), np.array(drifts, dtype=np.float64)


def _hours_of(day: date, zone: str) -> npt.NDArray[np.int64]:
    """How often each hour of the clock comes on a day, shape (24,)."""
    place = ZoneInfo(zone)
    begin, end = first_moment(day, zone), first_moment(day + timedelta(days=1), zone)
    count = round((end - begin) / timedelta(hours=1))
    middles = [(begin + timedelta(minutes=60 * k + 30)).astimezone(place) for k in range(count)]
    return np.bincount([time.hour for time in middles], minlength=24)


def passed_hours(now: datetime, zone: str) -> Floats:
    """How much of each hour of today's clock has passed, shape (24,)."""
    place = ZoneInfo(zone)
    today = now.astimezone(place).date()
    begin = first_moment(today, zone)
    hours = (now - begin) / timedelta(hours=1)
    passed = np.zeros(24)
    for k in range(math.ceil(hours)):
        middle = (begin + timedelta(minutes=60 * k + 30)).astimezone(place)
        passed[middle.hour] += min(1.0, hours - k)
    share: Floats = passed / np.maximum(_hours_of(today, zone), 1)
    return share


def hours_of_week(now: datetime, steps: int, zone: str, *, daily: bool) -> npt.NDArray[np.int64]:
    """Local hour of the week of the middle of each step; of days, of their beginning."""
    place = ZoneInfo(zone)
    if daily:
        today = now.astimezone(place).weekday()
        return 24 * ((today + 1 + np.arange(steps, dtype=np.int64)) % 7)
    middle = [(now + timedelta(minutes=60 * k + 30)).astimezone(place) for k in range(steps)]
    return np.array([24 * time.weekday() + time.hour for time in middle], dtype=np.int64)
