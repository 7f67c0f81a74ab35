"""The rows of a block of stays, collected code by code; then corrected and withdrawn."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.synthesis.drawing import DAY, HOUR, MINUTE, NEVER, SECOND, Times
from neva.synthesis.rates import MISSING
from neva.synthesis.vocabulary import VALUE_UNITS

__all__ = ["Block", "Ledger"]

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
#: Beyond these a corrected value would be no value at all.
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
            Care that measures look at: corrected and withdrawn more often.
        before : bool
            Also rows from before the stay; those belong to no stay.
        """
        start, end = self.block["start"][at], self.block["end"][at]
        kept = (time != NEVER) & (time <= end)
        if not before:
            kept &= time >= start
        if recorded is None:
            low, high = delay_minutes
            recorded = time + (self.rng.uniform(low, high, len(time)) * 60).astype(np.int64) * SECOND
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
            the row's place). A correction is a row of its own with the same
            ``row_id``.
        """
        rows = (
            pl.concat(self._frames)
            if self._frames
            else pl.DataFrame(schema=_COLUMNS)
        )
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
        changed = self._changed(rows.filter(pl.Series(corrected)), later[corrected])
        # A row that nothing could be changed of stays as it was.
        superseded = changed.select("row_id", _by="recorded")
        rows = rows.join(superseded, on="row_id", how="left", maintain_order="left").with_columns(
            superseded=pl.coalesce("_by", "superseded")
        )
        return pl.concat([rows.drop("_by"), changed])

    def _changed(self, rows: pl.DataFrame, later: Times) -> pl.DataFrame:
        """Return corrected rows: another value, another text, or another time."""
        rng, size = self.rng, rows.height
        at = rows["at"].to_numpy()
        start, end = self.block["start"][at], self.block["end"][at]
        time = rows["time"].to_numpy()
        shift = rng.integers(-90, 91, size) * MINUTE
        moved = np.clip(time + shift, np.minimum(start, time), np.maximum(end, time))
        is_drug = rows["code"].str.starts_with("ATC//").to_numpy()
        is_point = rows["value"].is_null().to_numpy() & rows["text"].is_null().to_numpy()
        is_diagnosis = rows["code"].str.starts_with("ICD10//").to_numpy()
        time = np.where((is_drug | is_point) & ~is_diagnosis, moved, time)
        recorded = rows["recorded"].to_numpy() + later
        factor = pl.Series(rng.choice([0.6, 0.8, 1.25, 1.6], size))
        limit = pl.col("code").replace_strict(_LIMITS, default=1e9, return_dtype=pl.Float64)
        new_value = pl.min_horizontal((pl.col("value") * factor).round(1), limit)
        whole = pl.col("code").is_in(
            ["LOINC//59408-5", "LOINC//9269-2", "CARE//news2", "CARE//radiographic-infiltrates"]
        )
        swapped = {
            "detected": "not detected",
            "not detected": "detected",
            "positive": "negative",
            "negative": "positive",
            "A": "C",
        }
        is_test = pl.col("code") == "LOINC//94500-6"
        # A first positive test is not taken back so often that no case is left.
        keep_text = pl.Series(rng.random(size) < 0.5)
        changed = rows.with_columns(
            time=pl.Series(time),
            value=pl.when(pl.col("code").str.starts_with("ATC//"))
            .then("value")
            .when(whole)
            .then(new_value.round(0))
            .otherwise(new_value),
            text=pl.when(is_test & keep_text).then("text").otherwise(pl.col("text").replace(swapped)),
            recorded=pl.Series(np.maximum(recorded, time + MINUTE)),
        )
        same = pl.all_horizontal(
            pl.col(name).eq_missing(pl.Series(rows[name])) for name in ("time", "value", "text")
        )
        return changed.filter(~same)

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
        return np.maximum(at_least, np.asarray(count) // DAY).astype(np.int64)


def units_of(rows: pl.DataFrame) -> pl.Expr:
    """Return the unit of measurement of each value of a ledger."""
    units = pl.col("code").replace_strict(VALUE_UNITS, default=None, return_dtype=pl.String)
    return pl.when(pl.col("value").is_not_null()).then(units)
