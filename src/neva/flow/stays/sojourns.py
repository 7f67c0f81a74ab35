"""Sojourns: the time a case spends in one state before it goes to another or leaves.

A state is a unit (from movements) or a severity (from events that last). A
case is one visit: its sojourns follow each other without gap or overlap, from
the first until an exit, or until nothing more is known of it. Everything
about flow is made from this table: lengths of stay, transitions, forecasts and
the hospital that is simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from neva.census import state_codes
from neva.errors import UsageError
from neva.events.clock import first_moment
from neva.events.codes import FOLLOW_UP_END, label_of
from neva.events.ends import ends_unknown
from neva.events.hospital import Hospital
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot

__all__ = [
    "DIED",
    "DISCHARGED",
    "ELSEWHERE",
    "LONGEST_GAP",
    "Sojourns",
    "known_sojourns",
    "sojourns_of",
]

DIED: Final = "died"
DISCHARGED: Final = "discharged"
#: Between two movements, for longer than the gap that recording explains.
ELSEWHERE: Final = "elsewhere"
#: A patient not recorded anywhere for up to so long is still where they were.
LONGEST_GAP: Final = timedelta(hours=1)
#: Outcomes of a stay that mean a death in hospital.
_DEATHS: Final = ("died", "dead", "death", "deceased", "expired")

_COLUMNS: Final = (
    "case", "subject_id", "class", "state", "start", "end", "next", "entered", "lost",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sojourns:
    """Times spent in states by cases, and where they went next.

    Attributes
    ----------
    frame : polars.DataFrame
        One row a sojourn, sorted by ``case`` and ``start``: ``case`` (int64,
        a running number), ``subject_id`` (int64), ``class`` (kind of stay, or
        ``elective``; ``all`` where stays are not recorded), ``state``,
        ``start``, ``end`` (UTC, never missing, ``[start, end)``), ``next`` (a
        state or an exit; missing: not known, the sojourn is censored at
        ``end``), ``entered`` (from when on it was observed, ``>= start``),
        ``lost`` (censored because follow-up ended, not because of *now*). Of a
        period (:meth:`between`) also ``admitted``: the first start of the case,
        which may lie before the period.
    states, exits : tuple of str
        Names, sorted.
    now : datetime
        Nothing is known after it.
    zone, identity : str
        Of the data.
    what : str
        What is counted, in words: ``patients by unit``.
    precision : str
        ``instant``, or ``day`` if times are only known to the day.
    placeless : int
        Movements left out because they name no unit.
    """

    frame: pl.DataFrame
    states: tuple[str, ...]
    exits: tuple[str, ...]
    now: datetime
    zone: str
    identity: str
    what: str
    precision: str
    placeless: int = 0

    def to_frame(self) -> pl.DataFrame:
        """Return the sojourns."""
        return self.frame

    @property
    def cases(self) -> int:
        """How many cases there are."""
        return self.frame["case"].n_unique()

    def present(self) -> pl.DataFrame:
        """Sojourns of the patients present at *now*: open, and not lost to follow-up."""
        return self.frame.filter(
            pl.col("next").is_null(), ~pl.col("lost"), pl.col("end") >= _moment(self.now)
        )

    def clock(self, times: pl.Series | pl.Expr) -> pl.Series:
        """Return times in days (float) of the clock in which lengths are measured.

        Elapsed days of 24 hours; where times are only known to the day, days
        of the hospital's calendar. The origin is 1970.
        """
        series = times if isinstance(times, pl.Series) else self.frame.select(times).to_series()
        if self.precision == "day":
            series = series.dt.convert_time_zone(self.zone).dt.replace_time_zone(None)
        return series.dt.timestamp("us") / 86_400e6

    def timed(self) -> pl.DataFrame:
        """Return the sojourns with their lengths in days.

        Returns
        -------
        polars.DataFrame
            The columns of ``frame`` and ``entry_days`` (from ``start`` to
            ``entered``), ``exit_days`` (from ``start`` to ``end``) and
            ``before_days`` (from the case's first start to ``start``).
        """
        on_clock = self.frame.with_columns(
            _start=self.clock(pl.col("start")),
            _end=self.clock(pl.col("end")),
            _entered=self.clock(pl.col("entered")),
            _admitted=self.clock(self._admitted()),
        )
        return on_clock.with_columns(
            entry_days=pl.col("_entered") - pl.col("_start"),
            exit_days=pl.col("_end") - pl.col("_start"),
            before_days=pl.col("_start") - pl.col("_admitted"),
        ).drop("_start", "_end", "_entered", "_admitted")

    def _admitted(self) -> pl.Expr:
        """When each case began, even if that was before the period and is cut off."""
        if "admitted" in self.frame.columns:
            return pl.col("admitted")
        return pl.col("start").min().over("case")

    def between(self, first: datetime, last: datetime) -> Sojourns:
        """Return what was observed in ``[first, last)``, as if *now* were `last`.

        A sojourn that began before `first` is observed from `first` on (left
        truncation); one that ended at `last` or later is still open. Where
        times are only known to the day, the last day that is known is the one
        before that of `last`: *now* becomes its beginning, and what happened
        on it is seen.

        Raises
        ------
        UsageError
            `last` is not after `first`.
        """
        if last <= first:
            message = (
                f"between: the period is empty; found {first.isoformat()} to {last.isoformat()}; "
                "give a later end"
            )
            raise UsageError(message)
        by_day = self.precision == "day"
        until = self._day_before(last) if by_day else last
        begin, end = _moment(first), _moment(until)
        beyond = pl.col("end") > end if by_day else pl.col("end") >= end
        frame = (
            self.frame.with_columns(admitted=self._admitted())
            .filter(
                pl.col("start") <= end if by_day else pl.col("start") < end, pl.col("end") > begin
            )
            .with_columns(
                end=pl.min_horizontal("end", end),
                next=pl.when(~beyond).then("next"),
                lost=pl.col("lost") & ~beyond,
                entered=pl.max_horizontal("entered", begin),
            )
            .filter((pl.col("entered") < pl.col("end")) | pl.lit(by_day))
        )
        return replace(self, frame=frame, now=min(until, self.now))

    def _day_before(self, time: datetime) -> datetime:
        place = ZoneInfo(self.zone)
        return first_moment(time.astimezone(place).date() - timedelta(days=1), self.zone)


def _moment(time: datetime) -> pl.Expr:
    return pl.lit(time, dtype=TIME)


def sojourns_of(
    snapshot: Snapshot, *, by: str = "auto", states: Sequence[str] | None = None
) -> Sojourns:
    """Return the sojourns of a hospital.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital as known at *now*.
    by : {"auto", "unit", "state"}
        ``auto``: units if there are movements, else states.
    states : sequence of str, optional
        Codes of the states; found by :func:`neva.census.state_codes` if not
        given. Events of the same code system without an end time that happen
        when a state ends are the exits.

    Raises
    ------
    UsageError
        There is nothing to make sojourns of, or no such way.

    Notes
    -----
    Of two movements that overlap the earlier ends where the later begins. A
    gap of up to :data:`LONGEST_GAP` counts to the unit before it; a longer one
    is the state ``elsewhere``. A stay that ended with a death is a ``died``
    exit, any other is ``discharged``. With states, a patient coming back after an
    exit or a gap is a new case.
    """
    if by not in {"auto", "unit", "state"}:
        message = f"by: no such way; found {by!r}; give auto, unit or state"
        raise UsageError(message)
    if by == "auto":
        has_units = snapshot.movements().filter(pl.col("unit").is_not_null()).head(1).collect()
        by = "unit" if has_units.height and not states else "state"
    made = _of_movements(snapshot) if by == "unit" else _of_states(snapshot, states)
    if not made.frame.height:
        message = (
            f"sojourns by {by}: none; found no movement with a unit or event that lasts; "
            "import movements or events with an end time"
        )
        raise UsageError(message)
    return made


def known_sojourns(
    hospital: Hospital,
    at: datetime | None = None,
    *,
    by: str = "auto",
    states: Sequence[str] | None = None,
) -> Sojourns:
    """Return the sojourns of what was known at a time, up to what was known wholly.

    Parameters
    ----------
    hospital : Hospital
    at : datetime, optional
        Aware. The data cut if not given.
    by, states
        See :func:`sojourns_of`. Which codes are states is found in all that
        is known now: it is how the hospital records, not what happened.

    Notes
    -----
    Where times are only known to the day, the day of `at` is not complete:
    the last day is the one before it (:meth:`Sojourns.between`).
    """
    snapshot = hospital.snapshot(as_of=at)
    if not states and by in {"auto", "state"}:
        states = state_codes(hospital.snapshot())
        has_units = snapshot.movements().filter(pl.col("unit").is_not_null()).head(1).collect()
        by = "unit" if by == "auto" and has_units.height else "state"
    found = sojourns_of(snapshot, by=by, states=states if by == "state" else None)
    if at is None or found.precision != "day":
        return found
    begin = found.frame["start"].min()
    assert isinstance(begin, datetime)
    return found.between(begin, at)


def _followed(snapshot: Snapshot) -> pl.DataFrame:
    """When follow-up of a subject ended, if the source says so."""
    ends = snapshot.events().filter(pl.col("code") == FOLLOW_UP_END)
    return ends.group_by("subject_id").agg(_followed=pl.col("time").max()).collect()


def _of_movements(snapshot: Snapshot) -> Sojourns:
    rows = snapshot.movements().collect()
    placed = rows.filter(pl.col("unit").is_not_null())
    stays = snapshot.stays().select(
        "stay_id", "kind", "source", "outcome", _stay_end="end", _known=pl.lit(value=True)
    )
    deaths = snapshot.subjects().select("subject_id", "death")
    now = _moment(snapshot.now)
    rows_in_order = (
        placed.join(stays.collect(), on="stay_id", how="left")
        .join(deaths.collect(), on="subject_id", how="left")
        .join(_followed(snapshot), on="subject_id", how="left")
        .join(ends_unknown(snapshot), on="stay_id", how="left")
        .with_columns(
            case=pl.struct(
                pl.when(pl.col("stay_id").is_null()).then("subject_id"), "stay_id"
            ).rank("dense").cast(pl.Int64)
            - 1,
            state=pl.col("unit"),
            _ended=pl.coalesce("end", "_stay_end"),
        )
        # Over without a known end: seen until the latest time known, and lost then.
        .with_columns(
            _ended=pl.when(pl.col("_ended").ne_missing(pl.col("_last_known"))).then("_ended"),
            _followed=pl.coalesce("_last_known", "_followed"),
        )
        .sort("case", "start", "_ended", "movement_id", nulls_last=True)
    )  # fmt: skip
    died = pl.col("outcome").str.to_lowercase().is_in(_DEATHS) | (
        pl.col("death") <= pl.coalesce("_stay_end", "_ended")
    )
    kind = pl.when(pl.col("source") == "elective").then(pl.lit("elective")).otherwise("kind")
    chained = _chain(
        rows_in_order.with_columns(
            pl.coalesce(kind, pl.lit("all")).alias("class"),
            _exit=pl.when(died.fill_null(value=False))
            .then(pl.lit(DIED))
            .otherwise(pl.lit(DISCHARGED)),
            # Out of every unit while the stay goes on: somewhere, not gone.
            _goes_on=pl.col("_known").fill_null(value=False) & pl.col("_stay_end").is_null(),
        ),
        now,
    )
    return _finished(chained, snapshot, "patients by unit", rows.height - placed.height)


def _of_states(snapshot: Snapshot, states: Sequence[str] | None) -> Sojourns:
    codes = list(states) if states else state_codes(snapshot)
    systems = sorted({code.split("//")[0] for code in codes})
    described = snapshot.codes().select("code", "description")
    events = (
        snapshot.events()
        .filter(pl.col("status") == "done", pl.col("time").is_not_null())
        .join(described, on="code", how="left")
        .with_columns(_label=pl.coalesce("description", label_of(pl.col("code"))))
    )
    lasting = events.filter(pl.col("code").is_in(codes)).select(
        "subject_id", "precision", state="_label", start="time", end="end_time",
        movement_id="event_id",
    )  # fmt: skip
    system = pl.col("code").str.split("//").list.first()
    exits = (
        events.filter(
            system.is_in(systems), ~pl.col("code").is_in(codes), pl.col("end_time").is_null()
        )
        .group_by("subject_id", end="time")
        .agg(_named=pl.col("_label").sort().first())
    )
    rows = (
        lasting.join(exits, on=["subject_id", "end"], how="left")
        .collect()
        .join(_followed(snapshot), on="subject_id", how="left")
        .with_columns(_ended=pl.col("end"))
        .sort("subject_id", "start", "_ended", "movement_id", nulls_last=True)
    )
    previous = pl.col("_ended").shift(1).over("subject_id")
    left = pl.col("_named").shift(1).over("subject_id").is_not_null()
    # One that ends as it begins, as on the day of a death, is no return.
    lasts = pl.col("_ended").is_null() | (pl.col("_ended") > pl.col("start"))
    begins = previous.is_null() | (pl.col("start") > previous) | (left & lasts)
    # A state that began while an earlier one was open is the same case.
    earlier_open = (pl.int_range(pl.len()).over("subject_id") > 0) & previous.is_null()
    chained = _chain(
        rows.with_columns(case=(begins & ~earlier_open).cast(pl.Int64).cum_sum() - 1)
        .with_columns(
            pl.lit("all").alias("class"),
            _exit=pl.coalesce("_named", pl.lit(DISCHARGED)),
            _goes_on=pl.lit(value=False),
        ),
        _moment(snapshot.now),
    )  # fmt: skip
    return _finished(chained, snapshot, "patients by state", 0)


def _chain(rows: pl.DataFrame, now: pl.Expr) -> pl.DataFrame:
    """Make sojourns of one case follow each other: no overlap, no gap, no empty one."""
    later = pl.col("start").shift(-1).over("case")
    limit = pl.min_horizontal(pl.coalesce("_followed", now), now)
    rows = rows.with_columns(
        _open=pl.col("_ended").is_null() & later.is_null(),
        _lost=pl.col("_ended").is_null() & later.is_null() & (pl.col("_followed") <= now),
        end=pl.coalesce(pl.min_horizontal("_ended", later), limit),
    ).with_columns(
        end=pl.max_horizontal("start", "end"),
        _gap=later - pl.max_horizontal("start", "end"),
        _last=later.is_null(),
    )
    rows = rows.with_columns(
        end=pl.when(pl.col("_gap") <= LONGEST_GAP).then(later).otherwise("end")
    )
    away = rows.filter(
        (pl.col("_gap") > LONGEST_GAP)
        | (pl.col("_last") & ~pl.col("_open") & pl.col("_goes_on") & (pl.col("end") < now))
    ).with_columns(
        state=pl.lit(ELSEWHERE),
        start=pl.col("end"),
        end=pl.when("_last").then(limit).otherwise(pl.col("end") + pl.col("_gap")),
        _open=pl.col("_last"),
        _lost=pl.col("_last") & (pl.col("_followed") <= now).fill_null(value=False),
        _away=pl.lit(value=True),
    )
    both = (
        pl.concat([rows.with_columns(_away=pl.lit(value=False)), away])
        .sort("case", "start", "_away", "end", maintain_order=True)
        .filter((pl.col("end") > pl.col("start")) | ((pl.len() == 1).over("case")))
    )
    changed = (pl.col("state") != pl.col("state").shift(1)).over("case").fill_null(value=True)
    united = (
        both.with_columns(_run=changed.cast(pl.Int64).cum_sum())
        .group_by("_run", maintain_order=True)
        .agg(
            pl.col("case", "subject_id", "class", "state", "start", "precision").first(),
            pl.col("end", "_exit", "_open", "_lost").last(),
        )
    )
    following = pl.col("state").shift(-1).over("case")
    leaves = pl.when(~pl.col("_open")).then("_exit")
    return united.with_columns(
        next=pl.coalesce(following, leaves),
        lost=pl.col("_lost").fill_null(value=False) & following.is_null(),
        entered=pl.col("start"),
    )  # fmt: skip


def _finished(rows: pl.DataFrame, snapshot: Snapshot, what: str, placeless: int) -> Sojourns:
    days = rows.height > 0 and bool((rows["precision"] == "day").any())
    frame = rows.select(_COLUMNS)
    states = sorted(frame["state"].unique())
    exits = sorted(set(frame["next"].drop_nulls().unique()) - set(states))
    return Sojourns(
        frame=frame,
        states=tuple(states),
        exits=tuple(exits),
        now=snapshot.now,
        zone=snapshot.zone,
        identity=snapshot.identity,
        what=what,
        precision="day" if days else "instant",
        placeless=placeless,
    )
