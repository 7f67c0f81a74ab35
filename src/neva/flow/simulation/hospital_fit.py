"""A hospital to simulate, learnt from what a hospital recorded, and started from today.

Units, beds, arrivals, routes and lengths of stay are those of the last months;
those present are those present. What had to be assumed is said in notes, and
printed with every figure that follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from neva.errors import UsageError
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot
from neva.flow.simulation._incoming import incoming_week
from neva.flow.simulation._stay_tables import AT_ONCE, LEAST_ENDED, nexts_of
from neva.flow.simulation.beds import beds_at
from neva.flow.simulation.hospital_model import (
    OUTSIDE,
    Beds,
    Electives,
    Exit,
    HospitalModel,
    Incoming,
    InitialPatient,
    PatientClass,
    Route,
    Unit,
)
from neva.flow.stays.lengths import (
    HALF_LIFE_DAYS,
    LEAST_OF_A_STATE,
    LEAST_SOJOURNS,
    SHORT_DAYS,
    SHORT_HALF_LIFE_DAYS,
)
from neva.flow.stays.sojourns import DISCHARGED, Sojourns

__all__ = ["AT_ONCE", "FittedHospital", "fit_hospital"]

#: Arrivals are counted over so many weeks, up to now.
ARRIVAL_WEEKS: Final = 8


@dataclass(frozen=True, slots=True)
class FittedHospital:
    """A hospital to simulate, and what was assumed to make it.

    Attributes
    ----------
    model : HospitalModel
    sojourns : Sojourns
        What it was learnt from.
    notes : tuple of str
        Assumptions, in words.
    """

    model: HospitalModel
    sojourns: Sojourns
    notes: tuple[str, ...]


def fit_hospital(
    snapshot: Snapshot, sojourns: Sojourns, *, beds: Mapping[str, int] | None = None
) -> FittedHospital:
    """Learn a hospital to simulate from its sojourns.

    Parameters
    ----------
    snapshot : Snapshot
        For units, beds and the sex of patients, as known at *now*.
    sojourns : Sojourns
        By unit, up to the time at which the simulation starts.
    beds : mapping of str to int, optional
        Staffed beds; those recorded if not given. A unit without any holds as
        many as come.

    Raises
    ------
    UsageError
        Fewer sojourns have ended than the floor, or fewer patients left the
        hospital than are needed for a unit that few left; times are only known
        to the day, or nobody arrived.

    Notes
    -----
    Lengths of stay are Kaplan-Meier weighted quantiles for each class, unit,
    unit before and unit after (open ones count for as long as they were seen;
    beyond the longest that ended, the rate of the last ends goes on).
    They hold the waits for a bed elsewhere that patients had then: where these
    were long, a simulated hospital waits twice. Discharges from stays of over
    a day leave at the hours at which they left. As many come as are forecast.
    """
    # By time: cases are numbered by ids that differ from one import to the next.
    frame = sojourns.timed().sort("start", "end", "state")
    ended = int(frame["next"].is_not_null().sum())
    if sojourns.precision == "day":
        message = (
            "simulation: needs times of day; found times that are only known to the day; "
            "import movements with their times"
        )
        raise UsageError(message)
    if ended < LEAST_SOJOURNS:
        message = (
            f"simulation: too few sojourns ended to learn from; found {ended}; the floor is "
            f"{LEAST_SOJOURNS}; choose a longer period"
        )
        raise UsageError(message)
    notes: list[str] = []
    frame = frame.with_columns(
        before=pl.col("state").shift(1).over("case"),
        hours=pl.col("exit_days") * 24,
        late=pl.col("entry_days") * 24,
        group=pl.when(pl.col("class") == "elective")
        .then(pl.lit("elective"))
        .otherwise(pl.lit("unscheduled")),
        # What happened long ago counts less, as in forecasts: among those as long in a
        # unit, by when they came.
        weight=_recency(sojourns, "start"),
    ).with_columns(
        to=pl.when((pl.col("next") == DISCHARGED) & (pl.col("hours") < 24))
        .then(pl.lit(AT_ONCE))
        .otherwise("next")
    )
    units = _units(snapshot, sojourns, dict(beds or beds_at(snapshot, sojourns.now)), notes)
    classes = _classes(sojourns, frame, notes)
    routes = _routes(frame, [one.name for one in classes], [unit.name for unit in units], notes)
    sexes = snapshot.subjects().select("subject_id", "sex").collect()
    initial = _initial(sojourns, frame, sexes)
    used = {one.to for route in routes for one in route.nexts}
    exits = [
        Exit(name, _hours(frame, sojourns.zone) if name == DISCHARGED else None)
        for name in sorted({*sojourns.exits, AT_ONCE} & used)
    ]
    model = HospitalModel(
        units=tuple(units),
        exits=tuple(exits),
        classes=tuple(classes),
        routes=tuple(routes),
        initial=tuple(initial),
    )
    return FittedHospital(model, sojourns, tuple(notes))


def _units(
    snapshot: Snapshot, sojourns: Sojourns, beds: dict[str, int], notes: list[str]
) -> list[Unit]:
    known = {row["unit"]: row for row in snapshot.units().collect().iter_rows(named=True)}
    boundless = [state for state in sojourns.states if state not in beds]
    if boundless:
        notes.append(
            f"no beds are recorded of {', '.join(boundless)}: as many as come find a place"
        )
    made = []
    for state in sojourns.states:
        row = known.get(state, {})
        sisters = _sisters(state, known, beds) if state in beds else ()
        made.append(
            Unit(
                state,
                Beds.always(beds[state]) if state in beds else None,
                kind=row.get("kind") or "ward",
                parent=row.get("parent"),
                when_full="divert" if sisters else "wait",
                divert=tuple(sister for sister in sisters if sister in sojourns.states),
            )
        )
    if any(unit.divert for unit in made):
        notes.append(
            "a patient who finds a unit full goes to another of the same kind and specialty, if it "
            "has a bed"
        )
    return made


def _sisters(state: str, known: dict[str, dict[str, Any]], beds: dict[str, int]) -> tuple[str, ...]:
    """Units with beds of the same kind and specialty."""
    own = known.get(state)
    if own is None or own["specialty"] is None:
        return ()
    same = ("kind", "specialty", "parent")
    return tuple(
        name
        for name, row in known.items()
        if name != state and name in beds and all(row[key] == own[key] for key in same)
    )


def _classes(sojourns: Sojourns, frame: pl.DataFrame, notes: list[str]) -> list[PatientClass]:
    begin = frame["entered"].min()
    assert isinstance(begin, datetime)
    since = max(begin, sojourns.now - timedelta(weeks=ARRIVAL_WEEKS))
    firsts = frame.group_by("case", maintain_order=True).first()
    recent = firsts.filter(
        pl.col("start") >= pl.lit(since, dtype=TIME), pl.col("entered") == pl.col("start")
    )
    classes = []
    for name in ("unscheduled", "elective"):
        mine = recent.filter(group=name)
        in_unit = frame.filter(group=name)
        if not in_unit.height:
            continue
        week = incoming_week(sojourns, name, since=since)
        per_hour = week.per_hour if mine.height else (0.0,)
        if mine.height and not 0.8 <= week.level <= 1.25:
            notes.append(
                f"arrivals of class {name} are {week.level:.0%} of those of the last "
                f"{ARRIVAL_WEEKS} weeks: as many as are forecast for the next seven days"
            )
        entered = mine if mine.height else firsts.filter(group=name)
        # By when they came: weights by when they left would favour units of long stays.
        entry = (
            entered.group_by("state", maintain_order=True)
            .agg(weight=_recency(sojourns, "start").sum())
            .sort("state")
        )
        total = float(entry["weight"].sum())
        first = tuple((unit, weight / total) for unit, weight in entry.iter_rows())
        if not mine.height:
            notes.append(
                f"nobody of class {name} came in the last {ARRIVAL_WEEKS} weeks: none come"
            )
        planned = name == "elective"
        classes.append(
            PatientClass(
                name,
                first=first,
                arrivals=None if planned else Incoming(per_hour, dispersion=week.dispersion),
                electives=Electives(per_hour, rebook_days=7) if planned else None,
                priority=1 if planned else 0,
            )
        )
        if planned:
            notes.append("planned patients who find no bed are cancelled and come a week later")
    if not any(sum(c.arrivals.per_hour) for c in classes if c.arrivals) and not recent.height:
        notes.append("no arrivals in the weeks before: the hospital only empties")
    return classes


def _recency(sojourns: Sojourns, column: str) -> pl.Expr:
    """Weight of a time: half of that of a time one half-life later."""
    past = (pl.lit(sojourns.now, dtype=TIME) - pl.col(column)).dt.total_seconds()
    return pl.lit(0.5) ** (past / 86_400 / _half_life(sojourns))


def _half_life(sojourns: Sojourns) -> float:
    entered = sojourns.frame["entered"].min()
    assert isinstance(entered, datetime)
    days = (sojourns.now - entered) / timedelta(days=1)
    return SHORT_HALF_LIFE_DAYS if days < SHORT_DAYS else HALF_LIFE_DAYS


def _routes(
    frame: pl.DataFrame, classes: list[str], units: list[str], notes: list[str]
) -> list[Route]:
    whole = nexts_of(frame.with_columns(to=_exits_only()))
    routes = []
    few = []
    for unit in units:
        inside = frame.filter(state=unit)
        # A unit has rates of its own from as many on as in a forecast.
        pooled = nexts_of(inside, least=LEAST_OF_A_STATE)
        if pooled is None:
            few.append(unit)
            if whole is None:
                left = int(frame.select(_exits_only())["to"].is_not_null().sum())
                message = (
                    f"simulation: too few left {unit} to learn from, and too few the hospital; "
                    f"found {left} who did; the floor is {LEAST_ENDED}; choose a longer period"
                )
                raise UsageError(message)
            pooled = whole
        for name in classes:
            mine = inside.filter(group=name)
            nexts = nexts_of(mine) or pooled
            assert nexts is not None
            routes.append(Route(name, unit, nexts))
            for before in sorted(mine["before"].drop_nulls().unique()):
                after = nexts_of(mine.filter(before=before))
                if after is not None:
                    routes.append(Route(name, unit, after, came_from=before))
            outside = nexts_of(mine.filter(pl.col("before").is_null()))
            if outside is not None and mine["before"].null_count() < mine.height:
                routes.append(Route(name, unit, outside, came_from=OUTSIDE))
    if few:
        notes.append(
            f"too few left {', '.join(few)} to learn from: they have the lengths of stay of the "
            "whole hospital, and exits only"
        )
    return routes


def _exits_only() -> pl.Expr:
    exits = pl.col("to").is_in([DISCHARGED, AT_ONCE, "died"])
    return pl.when(exits).then("to")


def _hours(frame: pl.DataFrame, zone: str) -> tuple[float, ...]:
    """Hours at which those who were discharged after a day or more left."""
    left = frame.filter(to=DISCHARGED)["end"].dt.convert_time_zone(zone).dt.hour()
    counts = np.bincount(left.to_numpy(), minlength=24).astype(np.float64)
    return tuple(float(x) for x in counts / counts.sum())


def _initial(sojourns: Sojourns, frame: pl.DataFrame, sexes: pl.DataFrame) -> list[InitialPatient]:
    here = frame.join(sexes, on="subject_id", how="left", maintain_order="left").filter(
        pl.col("next").is_null(), ~pl.col("lost"), pl.col("end") >= pl.lit(sojourns.now, dtype=TIME)
    )
    return [
        InitialPatient(
            patient_class=row["group"],
            unit=row["state"],
            elapsed_hours=max(0.0, row["hours"]),
            is_female=None if row["sex"] not in ("female", "male") else row["sex"] == "female",
            came_from=row["before"] or OUTSIDE,
        )
        for row in here.iter_rows(named=True)
    ]
