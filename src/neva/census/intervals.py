"""Times spent in places: the basis of every count of patients.

A place is a unit (from movements), a stay's kind (from stays) or a state
(from events that last). An interval is counted from its start until its end:
``[start, end)``. One that is open lasts until *now*, or until the subject's
follow-up ended, if the source says that it did.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import polars as pl

from neva.errors import UsageError
from neva.events.codes import FOLLOW_UP_END, label_of
from neva.events.ends import ends_unknown
from neva.events.schema import TIME

__all__ = ["Intervals", "Seen", "of_events", "of_movements", "of_stays", "units_above"]


class Seen(Protocol):
    """The part of a snapshot that is needed here."""

    @property
    def now(self) -> datetime: ...  # noqa: D102
    @property
    def zone(self) -> str: ...  # noqa: D102
    @property
    def identity(self) -> str: ...  # noqa: D102
    def events(self) -> pl.LazyFrame: ...  # noqa: D102
    def stays(self) -> pl.LazyFrame: ...  # noqa: D102
    def movements(self) -> pl.LazyFrame: ...  # noqa: D102
    def units(self) -> pl.LazyFrame: ...  # noqa: D102
    def codes(self) -> pl.LazyFrame: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Intervals:
    """Times spent in places by subjects.

    Attributes
    ----------
    frame : polars.DataFrame
        Columns ``subject_id``, ``place`` (text), ``start``, ``end`` (UTC,
        never missing, ``[start, end)``), ``open`` (it had not ended at *now*),
        ``lost`` (its end is the end of follow-up, not a departure).
        Intervals of one subject in one place do not overlap.
    now : datetime
        Where open intervals end.
    zone : str
        Zone of the hospital's days.
    identity : str
        The view of the data.
    what : str
        What is counted, in words: ``patients by unit``.
    precision : str
        ``instant``, or ``day`` if any time is only known to the day.
    placeless : int
        Rows left out because they name no place.
    """

    frame: pl.DataFrame
    now: datetime
    zone: str
    identity: str
    what: str
    precision: str
    placeless: int = 0

    def to_frame(self) -> pl.DataFrame:
        """Return the intervals."""
        return self.frame

    def on_clock(self, times: pl.Series) -> pl.Series:
        """Return times in which lengths are measured, as µs.

        Elapsed time; where times are only known to the day, the hospital's
        calendar, so that every day is one day long.
        """
        if self.precision == "day":
            times = times.dt.convert_time_zone(self.zone).dt.replace_time_zone(None)
        return times.dt.timestamp("us")


_COLUMNS = ("subject_id", "place", "start", "end", "open", "lost")


def _closed(rows: pl.DataFrame, snapshot: Seen) -> pl.DataFrame:
    """End what is open: at the end of follow-up if there is one, else now.

    A stay that is over without a known end is lost to follow-up at the latest
    time known of it.
    """
    followed = (
        snapshot.events()
        .filter(pl.col("code") == FOLLOW_UP_END)
        .group_by("subject_id")
        .agg(_followed=pl.col("time").max())
        .collect()
    )
    if "stay_id" in rows.columns:
        rows = rows.join(ends_unknown(snapshot), on="stay_id", how="left").drop("stay_id")
    else:
        rows = rows.with_columns(_last_known=pl.lit(None, dtype=TIME))
    unknown = (pl.col("end") == pl.col("_last_known")).fill_null(value=False)
    now = pl.lit(snapshot.now, dtype=TIME)
    is_open = pl.col("end").is_null()
    lost = unknown | (is_open & (pl.col("_followed") <= now)).fill_null(value=False)
    return (
        rows.join(followed, on="subject_id", how="left")
        .with_columns(
            open=is_open & ~lost,
            lost=lost,
            end=pl.coalesce("end", pl.min_horizontal("_followed", now)),
        )
        .with_columns(end=pl.max_horizontal("start", "end"))
        .drop("_followed", "_last_known")
    )


def _united(rows: pl.DataFrame, *, touching: bool) -> pl.DataFrame:
    """Join intervals of one subject in one place that overlap.

    A patient recorded twice is one patient. With `touching`, one who is moved
    from bed to bed of a unit did not leave it either. Of rows that end last together
    one that is open counts before one that ended, and a departure before the end of
    follow-up.
    """
    last = [pl.col("end"), pl.col("open"), ~pl.col("lost")]
    rows = rows.sort("subject_id", "place", "start", "end")
    by = ["subject_id", "place"]
    reached = pl.col("end").cum_max().shift(1).over(by)
    apart = pl.col("start") > reached if touching else pl.col("start") >= reached
    begins = (reached.is_null() | apart).cast(pl.Int64)
    return (
        rows.with_columns(_run=begins.cum_sum())
        .group_by("subject_id", "place", "_run", maintain_order=True)
        .agg(
            pl.col("start").min(),
            pl.col("end").max(),
            open=pl.col("open").sort_by(last).last(),
            lost=pl.col("lost").sort_by(last).last(),
        )
        .select(_COLUMNS)
    )


def units_above(snapshot: Seen) -> dict[str, tuple[str, ...]]:
    """Return the units above each unit, the nearest first.

    Raises
    ------
    UsageError
        The hierarchy runs in a circle.
    """
    units = snapshot.units().select("unit", "parent").collect()
    parent = {unit: above for unit, above in units.iter_rows() if above}
    found = {}
    for unit in dict.fromkeys([*units["unit"], *parent.values()]):
        seen = [unit]
        while (above := parent.get(seen[-1])) is not None:
            if above in seen:
                message = (
                    f"units: the hierarchy runs in a circle; found {' > '.join([*seen, above])}; "
                    "correct the parents of these units"
                )
                raise UsageError(message)
            seen.append(above)
        found[unit] = tuple(seen[1:])
    return found


def _intervals_of_rows(
    rows: pl.DataFrame, snapshot: Seen, what: str, placeless: int = 0, *, touching: bool = False
) -> Intervals:
    days = rows.height > 0 and bool((rows["precision"] == "day").any())
    return Intervals(
        frame=_united(_closed(rows, snapshot), touching=touching),
        now=snapshot.now,
        zone=snapshot.zone,
        identity=snapshot.identity,
        what=what,
        precision="day" if days else "instant",
        placeless=placeless,
    )


def of_movements(snapshot: Seen, *, parents: bool = True) -> Intervals:
    """Return the times spent in units.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital as known at *now*.
    parents : bool
        Count each movement in the units above its unit too.
    """
    rows = (
        snapshot.movements()
        .select("subject_id", "stay_id", "unit", "start", "end", "precision")
        .collect()
    )
    placed = rows.filter(pl.col("unit").is_not_null())
    named = placed.rename({"unit": "place"})
    if parents:
        pairs = [(unit, at) for unit, up in units_above(snapshot).items() for at in (unit, *up)]
        above = pl.DataFrame(pairs, schema={"unit": pl.String, "place": pl.String}, orient="row")
        known = placed.join(above, on="unit", how="inner").drop("unit")
        alone = named.join(above, left_on="place", right_on="unit", how="anti")
        named = pl.concat([known.select(alone.columns), alone])
    return _intervals_of_rows(
        named, snapshot, "patients by unit", rows.height - placed.height, touching=True
    )


def of_stays(snapshot: Seen) -> Intervals:
    """Return the times spent in hospital, by kind of stay."""
    rows = (
        snapshot.stays()
        .select(
            "subject_id",
            "stay_id",
            "start",
            "end",
            "precision",
            place=pl.col("kind").fill_null("stay"),
        )
        .collect()
    )
    return _intervals_of_rows(rows, snapshot, "patients by kind of stay")


def of_events(snapshot: Seen, codes: Iterable[str]) -> Intervals:
    """Return the times spent in states: events that last from time to end time.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital as known at *now*.
    codes : iterable of str
        Codes of the states that count; a state without an end is open.
    """
    wanted = list(codes)
    described = snapshot.codes().select("code", "description")
    rows = (
        snapshot.events()
        .filter(pl.col("code").is_in(wanted), pl.col("status") == "done")
        .filter(pl.col("time").is_not_null())
        .join(described, on="code", how="left")
        .select(
            "subject_id",
            "precision",
            place=pl.coalesce("description", label_of(pl.col("code"))),
            start="time",
            end="end_time",
        )
        .collect()
    )
    return _intervals_of_rows(rows, snapshot, "patients by state")
