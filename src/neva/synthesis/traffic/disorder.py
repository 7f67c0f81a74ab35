"""What real interfaces do to their messages: repeat, delay, mistake, withdraw, merge."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.synthesis.drawing import HOUR, MINUTE, SECOND, generator
from neva.synthesis.traffic.statements import VISITS, Statements, visits
from neva.synthesis.units import UNITS

__all__ = ["Disorder", "disordered", "scheduled", "temporary_numbers"]

_MICROSECOND: Final = timedelta(microseconds=1)
#: An invented transfer or discharge falls only into a movement as long as this.
_LONG: Final = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Disorder:
    """How much disorder; the final state is the same with any of it.

    Attributes
    ----------
    seed : int
        Not negative.
    duplicates : float
        Share (0-1) of messages that are sent again within an hour, byte by byte.
    delayed : float
        Share of messages that are sent late; what they say, and MSH-7, stays.
    delayed_within : timedelta
        At most so late.
    wrong_first : float
        Share of results that are first told with another value, then corrected.
    cancelled : float
        Share of stays with an admission, and of long movements with a transfer and
        with a discharge, that is invented and then cancelled.
    temporary_numbers : float
        Share of unplanned stays that begin under a record number which is merged
        into the patient's own some hours later.
    idle_updates : float
        Share of stays and of subjects with an update that changes nothing.
    """

    seed: int = 1
    duplicates: float = 0.01
    delayed: float = 0.1
    delayed_within: timedelta = timedelta(hours=1)
    wrong_first: float = 0.01
    cancelled: float = 0.02
    temporary_numbers: float = 0.05
    idle_updates: float = 0.1

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, float) and not 0 <= value <= 1:
                message = f"{one.name}: must be a share; found {value}; give 0 to 1"
                raise UsageError(message)
        if self.seed < 0:
            message = f"seed: must not be negative; found {self.seed}; give 0 or more"
            raise UsageError(message)
        if self.delayed_within < timedelta():
            message = "delayed_within: must not be negative; give a time of 0 or more"
            raise UsageError(message)

    def rng(self, part: str) -> np.random.Generator:
        """Return the generator of one part: parts do not move each other."""
        return generator(self.seed, f"disorder-{part}")


def _durations(microseconds: npt.NDArray[np.int64]) -> pl.Series:
    return pl.Series(microseconds, dtype=pl.Int64).cast(pl.Duration("us"))


def _between(rng: np.random.Generator, low: int, high: int, size: int) -> pl.Series:
    """Draw durations of whole seconds."""
    return _durations(rng.integers(low // SECOND, high // SECOND, size) * SECOND)


def _some(frame: pl.DataFrame, rng: np.random.Generator, share: float) -> pl.DataFrame:
    return frame.filter(pl.Series(rng.random(frame.height) < share))


def disordered(statements: Statements, disorder: Disorder) -> Statements:
    """Add the disorder that is told; delays and repetitions come with the schedule."""
    added = [
        _invented_admissions(statements, disorder),
        *_invented_moves(statements, disorder),
        *_idle_updates(statements, disorder),
    ]
    return replace(
        statements,
        visits=pl.concat([statements.visits, *added]),
        events=_wrong_first(statements.events, disorder),
    )


def _wrong_first(events: pl.DataFrame, disorder: Disorder) -> pl.DataFrame:
    """Tell some results with the value of another one first."""
    rng = disorder.rng("results")
    numbered = events.with_row_index("_at")
    chosen = _some(
        numbered.filter(
            (pl.col("segment") == "OBX") & ~pl.col("named") & pl.col("value").is_not_null()
        ),
        rng,
        disorder.wrong_first,
    )
    # A result of the same kind, as if samples had been mistaken.
    swapped = chosen.with_columns(wrong=pl.col("value").shift(1).over("code")).filter(
        pl.col("wrong") != pl.col("value")
    )
    later = _between(rng, 5 * MINUTE, 2 * HOUR, swapped.height)
    wrong = swapped.with_columns(value="wrong", named=pl.lit(value=True))
    right = swapped.with_columns(
        sent=pl.col("sent") + later, state=pl.lit("C"), named=pl.lit(value=True)
    )
    others = numbered.join(swapped.select("_at"), on="_at", how="anti", maintain_order="left")
    return pl.concat([one.select(events.columns) for one in (others, wrong, right)])


def _invented_admissions(statements: Statements, disorder: Disorder) -> pl.DataFrame:
    rng = disorder.rng("admissions")
    over = statements.stays.filter(pl.col("end").is_not_null(), pl.col("outcome") != "died")
    chosen = _some(over, rng, disorder.cancelled)
    size = chosen.height
    begun = chosen.select(
        "subject",
        kind=pl.lit("inpatient"),
        source=pl.lit("walk-in"),
        unit=pl.lit("ed"),
        stay=pl.concat_str(pl.lit("X"), pl.int_range(pl.len()).cast(pl.String).str.zfill(7)),
        start=pl.col("end_known") + _between(rng, 2 * HOUR, 10 * HOUR, size),
    ).with_columns(
        trigger=pl.lit("A01"),
        occurred="start",
        sent=pl.col("start") + pl.duration(minutes=1),
    )
    return _cancelled(begun, rng, pl.lit("A11"))


def _cancelled(
    invented: pl.DataFrame, rng: np.random.Generator, trigger: pl.Expr, **columns: pl.Expr
) -> pl.DataFrame:
    """Return invented messages, each with its cancellation after it."""
    cancelling = invented.with_columns(
        trigger=trigger,
        sent=pl.col("sent") + _between(rng, 5 * MINUTE, 45 * MINUTE, invented.height),
        end=pl.lit(None, dtype=VISITS["end"]),
        outcome=pl.lit(None, dtype=pl.String),
        **columns,
    )
    return pl.concat([visits(invented), visits(cancelling)])


def _invented_moves(statements: Statements, disorder: Disorder) -> list[pl.DataFrame]:
    """Transfers, then discharges, in the first half of a long movement."""
    stays = statements.stays.select("stay", "kind", stay_start="start")
    long = statements.movements.filter(pl.col("end") - pl.col("start") > _LONG).join(
        stays, on="stay", maintain_order="left"
    )
    wards = [unit.name for unit in UNITS if unit.kind == "ward"]
    rng = disorder.rng("transfers")
    moved = _at_some_time(_some(long, rng, disorder.cancelled), rng)
    other = pl.Series(rng.choice(np.array(wards), moved.height), dtype=pl.String)
    place = {"unit": "former_unit", "bed": "former_bed", "former_unit": "unit", "former_bed": "bed"}
    transfers = _cancelled(
        moved.with_columns(
            trigger=pl.lit("A02"), former_unit="unit", former_bed="bed"
        ).with_columns(unit=other, bed=pl.lit(None, dtype=pl.String)),
        rng,
        pl.lit("A12"),
        **{name: pl.col(before) for name, before in place.items()},
    )
    rng = disorder.rng("discharges")
    left = _at_some_time(_some(long, rng, disorder.cancelled), rng)
    discharges = _cancelled(
        left.with_columns(
            trigger=pl.lit("A03"), end="occurred", start="stay_start", outcome=pl.lit("home")
        ),
        rng,
        pl.lit("A13"),
    )
    return [transfers, discharges]


def _at_some_time(movements: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Choose a time an hour or more after the start, in the first half of each movement."""
    half = (movements["end"] - movements["start"]).dt.total_microseconds().to_numpy() // 2
    after = (HOUR + rng.random(movements.height) * (half - HOUR)).astype(np.int64)
    after -= after % SECOND
    return movements.with_columns(occurred=pl.col("start") + _durations(after)).with_columns(
        start=pl.lit(None, dtype=VISITS["start"]),
        end=pl.lit(None, dtype=VISITS["end"]),
        sent=pl.col("occurred") + _between(rng, MINUTE, 10 * MINUTE, movements.height),
    )


def _idle_updates(statements: Statements, disorder: Disorder) -> list[pl.DataFrame]:
    rng = disorder.rng("updates")
    stays = _some(statements.stays.filter(pl.col("end").is_not_null()), rng, disorder.idle_updates)
    length = (stays["end"] - stays["start"]).dt.total_seconds().to_numpy()
    after = (rng.random(stays.height) * length).astype(np.int64) * SECOND
    during = (pl.col("known") + _durations(after)).alias("sent")
    updates = stays.select("subject", "stay", "kind", "source", "start", during)
    persons = _some(statements.persons, rng, disorder.idle_updates)
    later = persons.select(
        "subject", sent=pl.col("known") + _between(rng, HOUR, 48 * HOUR, persons.height)
    )
    return [
        visits(updates.with_columns(trigger=pl.lit("A08"), occurred="sent")),
        visits(later.with_columns(trigger=pl.lit("A31"), occurred="sent")),
    ]


def temporary_numbers(statements: Statements, disorder: Disorder) -> pl.DataFrame:
    """Choose stays that begin under another record number.

    Returns
    -------
    polars.DataFrame
        ``stay``, ``subject``, ``start``, ``temporary`` (the record number), ``merged_at``.
    """
    rng = disorder.rng("numbers")
    unplanned = statements.stays.filter(pl.col("source") != "elective")
    chosen = _some(unplanned, rng, disorder.temporary_numbers)
    return chosen.select(
        "stay",
        "subject",
        "start",
        temporary=pl.concat_str(pl.lit("T"), pl.col("stay").str.slice(1)),
        merged_at=pl.col("start") + _between(rng, HOUR, 6 * HOUR, chosen.height),
    )


def scheduled(messages: pl.DataFrame, disorder: Disorder | None) -> pl.DataFrame:
    """Say when each message goes out, and which go out twice.

    Parameters
    ----------
    messages : polars.DataFrame
        ``number``, ``sent``, ``subject``, in order.
    disorder : Disorder, optional
        None: each once, when it is told.

    Returns
    -------
    polars.DataFrame
        ``at``, ``number``, ``subject``, ``repeated``, in the order of sending.
    """
    plain = messages.select("number", "subject", at="sent", repeated=pl.lit(value=False))
    if disorder is None:
        return plain
    rng = disorder.rng("schedule")
    size = plain.height
    late = rng.random(size) < disorder.delayed
    most = disorder.delayed_within // _MICROSECOND
    delay = np.where(late, (rng.random(size) * most).astype(np.int64), 0)
    plain = plain.with_columns(at=pl.col("at") + _durations(delay))
    again = _some(plain, rng, disorder.duplicates)
    again = again.with_columns(
        at=pl.col("at") + _between(rng, SECOND, HOUR, again.height), repeated=pl.lit(value=True)
    )
    return pl.concat([plain, again]).sort("at", "number", maintain_order=True)
