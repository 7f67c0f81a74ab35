"""The rows of a block of stays, collected code by code; then corrected and withdrawn."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.synthesis.drawing import DAY, HOUR, MINUTE, NEVER, SECOND, Times
from neva.synthesis.rates import MISSING
from neva.synthesis.vocabulary import VALUE_UNITS

__all__ = ["Block", "Ledger", "units_of"]

Mask = npt.NDArray[np.bool_]
#: Columns of the ledger; times are int64 microseconds, -1 where there is none.
_COLUMNS: Final[dict[str, Any]] = {
    "at": pl.Int32,  # place of the stay in the block
    "time": pl.Int64,
    "end_time": pl.Int64,
    "code": pl.String,
    "value": pl.Float64,
    "text": pl.String,
    "status": pl.String,
    "reason": pl.String,
    "rank": pl.Int32,
    "is_discharge": pl.Boolean,
    "in_stay": pl.Boolean,
    "recorded": pl.Int64,
    "is_decision": pl.Boolean,
}
#: Values without decimals.
_WHOLE: Final = (
    "LOINC//59408-5", "LOINC//9279-1", "LOINC//8867-4", "LOINC//8480-6", "LOINC//8462-4",
    "LOINC//9269-2", "CARE//news2", "CARE//radiographic-infiltrates",
)  # fmt: skip
#: How texts are mistaken for each other.
_SWAPPED: Final = {
    "detected": "not detected",
    "not detected": "detected",
    "positive": "negative",
    "negative": "positive",
    "A": "C",
}
#: Beyond these a wrong value would be no value at all.
_LIMITS: Final = {"LOINC//59408-5": 100.0, "LOINC//9269-2": 15.0, "CARE//news2": 20.0}


class Block:
    """The stays of some subjects, column by column.

    Parameters
    ----------
    number : int
        Of the block.
    journeys : polars.DataFrame
        Whole subjects, by stay number.
    """

    def __init__(self, number: int, journeys: pl.DataFrame) -> None:
        self.number = number
        self.journeys = journeys
        self._columns = {
            name: journeys[name].to_numpy()
            for name, dtype in journeys.schema.items()
            if dtype != pl.String
        }
        self.size = journeys.height

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._columns[name]


class Ledger:
    """Collects the rows of one block.

    Parameters
    ----------
    block : Block
        Its stays.
    rng : numpy.random.Generator
        For delays, corrections and withdrawals.
    cut : int
        The data cut, for the cases planted at it.
    """

    def __init__(self, block: Block, rng: np.random.Generator, *, cut: int) -> None:
        self.block = block
        self.rng = rng
        self.cut = cut
        self._frames: list[pl.DataFrame] = []

    def add(
        self,
        code: str,
        at: npt.NDArray[np.int64],
        time: Times,
        *,
        value: Any = None,
        text: Any = None,
        status: str = "done",
        reason: Any = None,
        until: Times | None = None,
        delay_minutes: tuple[float, float] = (1, 12),
        recorded: Times | None = None,
        rank: int | None = None,
        is_discharge: bool = False,
        is_decision: bool = True,
        before: bool = False,
    ) -> None:
        """Add rows of one code.

        Rows at :data:`NEVER` and rows outside their stay are left out.

        Parameters
        ----------
        code : str
            Its code.
        at : numpy.ndarray of int64, shape (n,)
            Places of the stays in the block.
        time : numpy.ndarray of int64, shape (n,)
            When.
        value, text, reason : array of shape (n,), or one for all, optional
            Content.
        status : str
            Of :data:`neva.events.schema.STATUSES`.
        until : numpy.ndarray of int64, optional
            End times.
        delay_minutes : (float, float)
            Recorded so long after the time, evenly.
        recorded : numpy.ndarray of int64, optional
            When recorded, instead.
        rank : int, optional
            Of a diagnosis.
        is_discharge : bool
            A discharge prescription.
        is_decision : bool
            Care that measures read: corrected and withdrawn more often.
        before : bool
            Also rows from before the stay; those belong to no stay.
        """
        start, end = self.block["start"][at], self.block["end"][at]
        kept = (time != NEVER) & (time <= end)
        if not before:
            kept &= time >= start
        if recorded is None:
            low, high = delay_minutes
            recorded = (
                time + (self.rng.uniform(low, high, len(time)) * 60).astype(np.int64) * SECOND
            )
        count = int(kept.sum())
        if not count:
            return

        def column(content: Any, dtype: Any) -> pl.Series:
            if isinstance(content, np.ndarray):
                return pl.Series(content[kept]).cast(dtype)
            return pl.repeat(content, count, dtype=dtype, eager=True)

        self._frames.append(
            pl.DataFrame(
                {
                    "at": column(at, pl.Int32),
                    "time": column(time, pl.Int64),
                    "end_time": column(NEVER if until is None else until, pl.Int64),
                    "code": column(code, pl.String),
                    "value": column(value, pl.Float64),
                    "text": column(text, pl.String),
                    "status": column(status, pl.String),
                    "reason": column(reason, pl.String),
                    "rank": column(rank, pl.Int32),
                    "is_discharge": column(is_discharge, pl.Boolean),
                    "in_stay": pl.Series(((time >= start) & (status != "planned"))[kept]),
                    "recorded": column(recorded, pl.Int64),
                    "is_decision": column(is_decision, pl.Boolean),
                }
            )
        )

    def finish(self) -> pl.DataFrame:
        """Correct and withdraw some rows, and return all of them.

        Returns
        -------
        polars.DataFrame
            The columns of the ledger, and ``row_id`` (text; missing where the
            row is never spoken of again), ``retracted`` (withdrawn as an
            error), ``superseded`` (recorded time of the correction that took
            the row's place). Row and correction are two rows with the same
            ``row_id``; the correction is right.
        """
        rows = pl.concat(self._frames) if self._frames else pl.DataFrame(schema=_COLUMNS)
        rng, size = self.rng, rows.height
        decision = rows["is_decision"].to_numpy()
        done = (rows["status"] == "done").to_numpy() & (rows["end_time"] == NEVER).to_numpy()
        draw = rng.random(size)
        corrected = done & (
            draw < np.where(decision, MISSING["decision_corrected"], MISSING["corrected"])
        )
        withdrawn = ~corrected & (
            draw > 1 - np.where(decision, MISSING["decision_withdrawn"], MISSING["withdrawn"])
        )
        later = rng.integers(10 * 60, 60 * 3600, size) * SECOND
        recorded = rows["recorded"].to_numpy()
        rows = rows.with_columns(
            row_id=pl.when(pl.Series(corrected | withdrawn)).then(
                pl.concat_str(
                    pl.lit(f"{self.block.number}-"), pl.int_range(pl.len()).cast(pl.String)
                )
            ),
            retracted=pl.Series(np.where(withdrawn, recorded + later, NEVER)),
            superseded=pl.lit(NEVER, dtype=pl.Int64),
        )
        wrong = self._first_recorded(rows.filter(pl.Series(corrected)))
        first = wrong["recorded"].to_numpy()
        right = rows.join(
            wrong.select("row_id"), on="row_id", how="semi", maintain_order="left"
        ).with_columns(
            recorded=pl.Series(first + rng.integers(10 * 60, 60 * 3600, len(first)) * SECOND)
        )
        wrong = wrong.with_columns(superseded=right["recorded"])
        others = rows.join(wrong.select("row_id"), on="row_id", how="anti", maintain_order="left")
        return pl.concat([others, wrong, right])

    def _first_recorded(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows as they were first recorded: another value, another text, or another time.

        Rows of which nothing could be wrong are left out.
        """
        rng, size = self.rng, rows.height
        at = rows["at"].to_numpy()
        start, end = self.block["start"][at], self.block["end"][at]
        code, value = pl.col("code"), pl.col("value")
        time = rows["time"].to_numpy()
        shift = rng.integers(-90, 91, size) * MINUTE
        moved = np.clip(time + shift, np.minimum(start, time), np.maximum(end, time))
        is_drug = code.str.starts_with("ATC//")
        is_point = value.is_null() & pl.col("text").is_null() & ~code.str.starts_with("ICD10//")
        factor = pl.Series(rng.choice([0.6, 0.8, 1.25, 1.6], size))
        # A temperature is never wrong by half: 10 degrees at most.
        scaled = (
            pl.when(code == "LOINC//8310-5")
            .then(value + 10 * (factor - 1))
            .otherwise(value * factor)
        )
        limit = code.replace_strict(_LIMITS, default=np.inf, return_dtype=pl.Float64)
        scaled = pl.when(scaled > limit).then(limit).otherwise(scaled)
        wrong = rows.with_columns(
            time=pl.when(is_drug | is_point).then(pl.Series(moved)).otherwise("time"),
            value=pl.when(is_drug)
            .then(value)
            .when(code.is_in(_WHOLE))
            .then(scaled.round(0))
            .otherwise(scaled.round(2)),
            text=pl.col("text").replace(_SWAPPED),
        ).with_columns(recorded=pl.max_horizontal("recorded", pl.col("time") + MINUTE))
        same = pl.all_horizontal(
            pl.col(name).eq_missing(rows[name]) for name in ("time", "value", "text")
        )
        return wrong.filter(~same)

    def every(
        self,
        code: str,
        at: npt.NDArray[np.int64],
        first: Times,
        *,
        step_hours: float,
        times: npt.NDArray[np.int64],
        value: Any = None,
    ) -> None:
        """Add a course: a first administration and further ones at even steps."""
        count = np.maximum(times, 1) * (first != NEVER)
        repeated = np.repeat(np.arange(len(at)), count)
        number = np.arange(len(repeated)) - np.repeat(np.cumsum(count) - count, count)
        jitter = self.rng.integers(-20, 21, len(repeated)) * MINUTE * (number > 0)
        when = first[repeated] + number * int(step_hours * HOUR) + jitter
        dose = value[repeated] if isinstance(value, np.ndarray) else value
        self.add(code, at[repeated], when, value=dose, before=True)

    @staticmethod
    def days(at_least: int, count: Any) -> npt.NDArray[np.int64]:
        """Turn a number of days into a whole number of doses."""
        found: npt.NDArray[np.int64] = np.maximum(at_least, np.asarray(count) // DAY).astype(
            np.int64
        )
        return found


def units_of() -> pl.Expr:
    """Return the unit of measurement of each value, by its code."""
    units = pl.col("code").replace_strict(VALUE_UNITS, default=None, return_dtype=pl.String)
    return pl.when(pl.col("value").is_not_null()).then(units)
