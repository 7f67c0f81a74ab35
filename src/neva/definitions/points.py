"""Populations: tables of points at which definitions are evaluated.

A point is a subject, perhaps one of its stays, and a *now*. Populations are
built with what is known at the data cut; what a definition may see at each
point is another matter (``known``).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import polars as pl
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from neva.definitions.language import Rows
from neva.definitions.local_time import FOREVER, moment
from neva.definitions.model import Frame
from neva.errors import UsageError
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot

__all__ = [
    "POINTS",
    "AtEach",
    "AtTimes",
    "EachStay",
    "EachSubject",
    "EveryHours",
    "Population",
    "points_of_stays",
    "points_of_subjects",
]

#: Columns of a table of points. A definition at a point sees rows recorded at
#: or before ``known``; that is ``now`` itself, but at the data cut of a reader
#: who asked for all that is recorded so far it is the end of time.
POINTS: Final = {
    "point_id": pl.Int64,
    "subject_id": pl.Int64,
    "stay_id": pl.Int64,
    "now": TIME,
    "known": TIME,
}

#: The latest time that a table of points can hold.
_FOREVER: Final = pl.lit(moment(FOREVER), dtype=TIME)


#: Populations by the hour: no finer than a second, no further than 114 years.
LEAST_HOURS: Final = 1 / 3600
MOST_HOURS: Final = 1_000_000.0


class _Population(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EachStay(_Population):
    """Every stay once: at the data cut, or some hours after its start, or at its end.

    ``hours_after_start`` 24 is "at admission + 24 h"; stays that had not
    lasted so long by the data cut have no point. With `still_there`, neither
    have those that had ended before.
    """

    kind: Literal["each-stay"] = "each-stay"
    at: Literal["cut", "start", "end"] = "cut"
    hours_after_start: float = Field(default=0.0, ge=0.0, le=MOST_HOURS)
    still_there: bool = False


class EachSubject(_Population):
    """Every subject once, at the data cut."""

    kind: Literal["each-subject"] = "each-subject"


class EveryHours(_Population):
    """Every so many hours of each stay, from its start to its end or the data cut."""

    kind: Literal["every-hours"] = "every-hours"
    hours: float = Field(ge=LEAST_HOURS, le=MOST_HOURS)


class AtEach(_Population):
    """At each occurrence of an event, when it was known: the later of time and recording."""

    kind: Literal["at-each"] = "at-each"
    frame: Frame

    @classmethod
    def of(cls, rows: Rows) -> AtEach:
        """Make the population of a frame as it is written."""
        return cls(frame=rows.frame)


class AtTimes(_Population):
    """Every stay that was open at given times."""

    kind: Literal["at-times"] = "at-times"
    times: tuple[AwareDatetime, ...] = Field(min_length=1)


Population = Annotated[
    EachStay | EachSubject | EveryHours | AtEach | AtTimes, Field(discriminator="kind")
]


def _numbered(points: pl.LazyFrame) -> pl.DataFrame:
    return (
        points.select("subject_id", "stay_id", "now", "known")
        .sort("subject_id", "stay_id", "now")
        .with_row_index("point_id")
        .with_columns(pl.col("point_id").cast(pl.Int64))
        .select(list(POINTS))
        .collect()
    )


def _at_cut(snapshot: Snapshot) -> tuple[pl.Expr, pl.Expr]:
    now = pl.lit(snapshot.now, dtype=TIME)
    return now.alias("now"), (now if snapshot.as_of is not None else _FOREVER).alias("known")


def points_of_subjects(snapshot: Snapshot) -> pl.DataFrame:
    """Return a point for each subject that has a row anywhere, at the data cut."""
    subjects = (
        pl.concat(
            [
                snapshot.subjects().select("subject_id"),
                snapshot.stays().select("subject_id"),
                snapshot.events().select("subject_id"),
            ]
        )
        .unique()
        .with_columns(pl.lit(None, dtype=pl.Int64).alias("stay_id"), *_at_cut(snapshot))
    )
    return _numbered(subjects)


def points_of_stays(
    snapshot: Snapshot, population: EachStay | EveryHours | AtTimes
) -> pl.DataFrame:
    """Return the points of a population made of stays; columns of ``POINTS``."""
    stays = snapshot.stays().select("subject_id", "stay_id", "start", "end")
    cut = pl.lit(snapshot.now, dtype=TIME)
    by_start = isinstance(population, EachStay) and population.at == "start"
    if isinstance(population, EachStay) and population.hours_after_start and not by_start:
        message = f"each stay: hours_after_start goes with at='start'; found at={population.at!r}"
        raise UsageError(message)
    if isinstance(population, EachStay) and population.at == "cut":
        return _numbered(stays.with_columns(*_at_cut(snapshot)))
    if isinstance(population, EachStay):
        hours = pl.duration(microseconds=round(population.hours_after_start * 3.6e9))
        at = pl.col("start") + hours if population.at == "start" else pl.col("end")
        placed = stays.with_columns(at.alias("now")).filter(pl.col("now") <= cut)
        if population.still_there:
            placed = placed.filter(pl.col("end").is_null() | (pl.col("end") > pl.col("now")))
        return _numbered(placed.with_columns(pl.col("now").alias("known")))
    if isinstance(population, EveryHours):
        step = round(population.hours * 3.6e9)
        last = pl.min_horizontal(pl.col("end").fill_null(snapshot.now), cut)
        grid = (
            stays.with_columns(
                ((last - pl.col("start")).dt.total_microseconds() // step).alias("_steps")
            )
            .filter(pl.col("_steps") >= 0)
            .with_columns(pl.int_ranges(0, pl.col("_steps") + 1).alias("_step"))
            .explode("_step")
            .with_columns(
                (pl.col("start") + pl.duration(microseconds=pl.col("_step") * step)).alias("now")
            )
        )
        return _numbered(grid.with_columns(pl.col("now").alias("known")))
    late = [time for time in population.times if time > snapshot.now]
    if late:
        message = (
            f"at times: later than the data cut; found {late[0].isoformat()}; the data end at "
            f"{snapshot.now.isoformat()}"
        )
        raise UsageError(message)
    times = pl.LazyFrame({"now": list(population.times)}, schema={"now": TIME}).unique()
    there = stays.join(times, how="cross").filter(
        pl.col("start") <= pl.col("now"),
        pl.col("end").is_null() | (pl.col("end") > pl.col("now")),
    )
    return _numbered(there.with_columns(pl.col("now").alias("known")))
