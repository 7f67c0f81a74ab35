"""Generated rows as a source delivers them: at the data cut, and what came after it."""

from __future__ import annotations

import numpy as np
import polars as pl

from neva.events.schema import ATTRIBUTES, TIME
from neva.synthesis.drawing import DAY, MINUTE, NEVER, SECOND, as_time, generator
from neva.synthesis.ledger import Block, units_of
from neva.synthesis.plan import Plan
from neva.synthesis.vocabulary import SEQUENCE

__all__ = [
    "booking_rows",
    "event_rows",
    "last_row",
    "movement_rows",
    "split",
    "stay_rows",
    "subject_rows",
    "timed",
]

_DISCHARGE = pl.lit([{"key": "category", "value": "discharge"}], dtype=ATTRIBUTES)


def _times(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Turn microseconds into times."""
    return frame.with_columns(
        pl.when(pl.col(name) >= 0).then(pl.col(name)).cast(TIME).alias(name) for name in names
    )


def split(rows: pl.DataFrame, cut: int, *, after: bool) -> pl.DataFrame:
    """Keep the rows recorded by the data cut, or those recorded after it."""
    recorded = pl.col("recorded") > cut if after else pl.col("recorded") <= cut
    return rows.filter(recorded)


def subject_rows(journeys: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of ``subjects``: one at the first contact, one at death.

    Parameters
    ----------
    journeys : polars.DataFrame
        See :func:`neva.synthesis.journeys.journeys`; whole subjects.
    """
    first = journeys.unique("subject", keep="first", maintain_order=True)
    known = first.select(
        "subject",
        birth_date=pl.when("has_birth_date").then(pl.col("birth_day").cast(pl.Int32).cast(pl.Date)),
        sex=pl.when(pl.col("sex") != "").then("sex"),
        recorded="known",
    )
    died = journeys.filter(pl.col("death") != NEVER).select(
        "subject", "death", death_precision=pl.lit("minute"), recorded="death_known"
    )
    return pl.concat([known, died], how="diagonal")


def stay_rows(journeys: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of ``stays``: one at the start, one when the end is known."""
    both = journeys.select("stay", "subject", "start", "kind", "source")
    begun = both.with_columns(recorded=pl.col("start") + MINUTE)
    ended = both.with_columns(
        end=journeys["end"], outcome=journeys["outcome"], recorded=journeys["end_known"]
    )
    return pl.concat([begun, ended], how="diagonal")


def movement_rows(journeys: pl.DataFrame, movements: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of ``movements``: one at the start, one at the end of each."""
    both = movements.join(
        journeys.select("number", "stay", "subject"), on="number", maintain_order="left"
    ).select(
        "stay",
        "subject",
        "start",
        "unit",
        "bed",
        "end",
        "delay",
        row_id=pl.concat_str("stay", pl.lit("-"), pl.col("place").cast(pl.String)),
    )
    begun = both.drop("end").with_columns(recorded=pl.col("start") + pl.col("delay"))
    ended = both.with_columns(recorded=pl.col("end") + pl.col("delay"))
    return pl.concat([begun, ended], how="diagonal").drop("delay")


def timed(rows: pl.DataFrame) -> pl.DataFrame:
    """Give the rows of a table other than events their times."""
    names = [n for n in ("start", "end", "death", "recorded") if n in rows.columns]
    return _times(rows, *names).with_columns(recorded_assumed=pl.lit(value=False))


def event_rows(block: Block, ledger: pl.DataFrame, cut: int, *, after: bool) -> pl.DataFrame:
    """Return the rows of ``events`` of a block.

    Parameters
    ----------
    block : Block
        The stays.
    ledger : polars.DataFrame
        See :meth:`neva.synthesis.ledger.Ledger.finish`.
    cut : int
        The data cut, in microseconds.
    after : bool
        False: rows recorded by the data cut, without what came later: ends
        and withdrawals. True: what became known after it: later rows, ends,
        withdrawals.
    """
    is_open = pl.col("end_time") > cut
    ledger = ledger.with_columns(
        # Whatever is spoken of again needs a name.
        row_id=pl.when(is_open & pl.col("row_id").is_null())
        .then(
            pl.concat_str(pl.lit(f"{block.number}-until-"), pl.int_range(pl.len()).cast(pl.String))
        )
        .otherwise("row_id")
    )
    early = ledger.filter(pl.col("recorded") <= cut)
    as_then = early.with_columns(
        end_time=pl.when(is_open).then(NEVER).otherwise("end_time"),
        retracted=pl.when(pl.col("retracted") > cut).then(NEVER).otherwise("retracted"),
    )
    if not after:
        rows = as_then
    else:
        late = pl.col("retracted") > cut
        withdrawn = early.filter(late).with_columns(
            end_time=pl.when(is_open).then(NEVER).otherwise("end_time")
        )
        gone = (pl.col("retracted") != NEVER) | (
            (pl.col("superseded") != NEVER) & (pl.col("superseded") <= cut)
        )
        ended = early.filter(is_open & ~gone).with_columns(recorded="end_time")
        rows = pl.concat([ledger.filter(pl.col("recorded") > cut), withdrawn, ended])
    at = rows["at"].to_numpy()
    named = rows.with_columns(
        subject=block.journeys["subject"].gather(at), stay=block.journeys["stay"].gather(at)
    )
    return _times(named, "time", "end_time", "recorded", "retracted").select(
        "subject",
        "time",
        "end_time",
        "code",
        "value",
        "text",
        "status",
        "reason",
        "rank",
        "recorded",
        "retracted",
        "row_id",
        stay=pl.when("in_stay").then("stay"),
        value_unit=units_of(),
        attributes=pl.when("is_discharge").then(_DISCHARGE),
        sequence=pl.col("code").replace_strict(SEQUENCE, return_dtype=pl.Int64),
        recorded_assumed=pl.lit(value=False),
    )


def booking_rows(plan: Plan, electives: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return who is booked on theatre lists after the data cut: subjects and events.

    Parameters
    ----------
    plan : Plan
        The hospital to make.
    electives : int
        How many elective stays it has: a fortnight of them is booked.
    """
    rng = generator(plan.seed, "bookings")
    begins, cut = plan.microseconds()
    count = max(1, round(electives * 14 / plan.days))
    time = cut + (rng.uniform(0.1, 14, count) * DAY).astype(np.int64)
    time -= time % (5 * MINUTE)
    booked = np.maximum(cut - (rng.uniform(0.1, 20, count) * DAY).astype(np.int64), begins)
    booked -= booked % SECOND
    age = rng.uniform(20, 88, count) * 365.25
    subjects = pl.DataFrame(
        {
            "subject": [f"B{number:06}" for number in range(count)],
            "birth_date": pl.Series((cut // DAY - age).astype(np.int32)).cast(pl.Date),
            "sex": pl.Series(np.where(rng.random(count) < 0.5, "female", "male")),
            "recorded": booked,
        }
    )
    events = pl.DataFrame(
        {
            "subject": subjects["subject"],
            "time": as_time(time),
            "code": ["CARE//theatre-booking"] * count,
            "status": ["planned"] * count,
            "recorded": as_time(booked),
            "sequence": [SEQUENCE["CARE//theatre-booking"]] * count,
        }
    ).with_columns(recorded_assumed=pl.lit(value=False))
    return subjects, events


def last_row(plan: Plan, journeys: pl.DataFrame) -> pl.DataFrame:
    """Return one event at the data cut itself, by which a reader finds it.

    It is a level of consciousness of a patient who is in the hospital then, or
    who was the last to leave it.
    """
    _, cut = plan.microseconds()
    there = journeys.sort("end", "number").row(-1, named=True)
    is_there = there["end"] > cut
    moment = as_time(np.array([cut]))
    return pl.DataFrame(
        {
            "subject": [there["subject"]],
            "stay": pl.Series([there["stay"] if is_there else None], dtype=pl.String),
            "time": moment,
            "code": ["CARE//acvpu"],
            "text": ["A"],
            "recorded": moment,
            "recorded_assumed": [False],
            "sequence": [SEQUENCE["CARE//acvpu"]],
        }
    )
