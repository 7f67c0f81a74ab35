"""What of a block is known at the data cut, as plain arrays for the truth."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.synthesis.drawing import NEVER, Times, local_ticks
from neva.synthesis.ledger import Block
from neva.synthesis.units import UNITS
from neva.synthesis.vocabulary import (
    ANTIBIOTICS,
    ANTITHROMBOTICS,
    HEPARINS,
    OXYGEN,
    STEROIDS,
)

__all__ = ["Known", "Mask", "known_rows"]

Mask = npt.NDArray[np.bool_]

#: Codes that no measure looks at: most rows, left out before anything else.
_UNUSED: Final = (
    "LOINC//8867-4", "LOINC//8480-6", "LOINC//8462-4", "LOINC//8310-5",
    "CARE//acvpu", "LOINC//731-0", "LOINC//15074-8", "LOINC//777-3",
    "LOINC//67151-1", "ATC//A10AB05",
)  # fmt: skip
_SATURATION: Final = "LOINC//59408-5"
#: Looked at only on the first day of a stay.
_CHARTED: Final = ("LOINC//9279-1", "LOINC//9269-2")
_INTENSIVE: Final = tuple(unit.name for unit in UNITS if unit.kind == "icu")


def known_rows(rows: pl.DataFrame, cut: int) -> pl.DataFrame:
    """Keep the rows of a ledger that count at the data cut.

    Recorded by then, not withdrawn and not replaced by a correction by then,
    and not in the future.
    """

    def not_by_then(name: str) -> pl.Expr:
        return (pl.col(name) == NEVER) | (pl.col(name) > cut)

    return rows.filter(
        pl.col("recorded") <= cut,
        pl.col("time") <= cut,
        not_by_then("retracted"),
        not_by_then("superseded"),
    )


class Known:
    """A block as known at the data cut.

    Rows of events are paired with every stay of the same subject: ``row`` is
    the place of the stay, the other arrays are of the event. Times are int64
    microseconds, -1 where there is none.

    Parameters
    ----------
    block : Block
        Whole subjects.
    rows : polars.DataFrame
        Their ledger, all of it.
    movements : polars.DataFrame
        Their movements.
    cut : int
        The data cut.
    zone : str
        The hospital's time zone.
    """

    def __init__(
        self, block: Block, rows: pl.DataFrame, movements: pl.DataFrame, *, cut: int, zone: str
    ) -> None:
        self.cut = cut
        self.zone = zone
        self.size = block.size
        journeys = block.journeys
        self.start: Times = block["start"]
        is_over = block["end_known"] <= cut
        self.end: Times = np.where(is_over, block["end"], NEVER)
        self.is_over: Mask = is_over
        #: No upper limit while the stay is open.
        self.limit: Times = np.where(is_over, block["end"], np.iinfo(np.int64).max)
        self.inpatient: Mask = (journeys["kind"] == "inpatient").to_numpy()
        self.elective: Mask = (journeys["source"] == "elective").to_numpy()
        self.outcome = np.where(is_over, journeys["outcome"].to_numpy().astype(str), "")
        self.subject: npt.NDArray[np.int64] = block["subject_number"]
        self.adult = _adult(block, zone)

        subject = pl.DataFrame({"subject": self.subject, "row": np.arange(self.size)})
        counted = known_rows(rows, cut).filter(~pl.col("code").is_in(_UNUSED))
        counted = counted.with_columns(subject=pl.Series(self.subject[counted["at"].to_numpy()]))
        saturation = counted.filter(pl.col("code") == _SATURATION)
        self.saturation = saturation.select("subject", "time", "value")
        self._charted = counted.filter(pl.col("code").is_in(_CHARTED)).select(
            "subject", "time", "code"
        )
        self.has_sex: Mask = (journeys["sex"] != "").to_numpy()
        apart = [_SATURATION, *_CHARTED]
        pairs = counted.filter(~pl.col("code").is_in(apart)).join(
            subject, on="subject", how="inner", maintain_order="left"
        )
        self.row: npt.NDArray[np.int64] = pairs["row"].to_numpy().astype(np.int64)
        self.time: Times = pairs["time"].to_numpy()
        self.until: Times = np.where(
            pairs["end_time"].to_numpy() > cut, NEVER, pairs["end_time"].to_numpy()
        )
        self.value = pairs["value"].fill_null(np.nan).to_numpy()
        self._pairs = pairs
        self.done: Mask = (pairs["status"] == "done").to_numpy()
        self.not_done: Mask = (pairs["status"] == "not-done").to_numpy()
        self.discharge: Mask = pairs["is_discharge"].to_numpy()
        self.contraindicated: Mask = (
            (pairs["reason"] == "REASON//contraindicated").fill_null(value=False).to_numpy()
        )
        self.inside: Mask = (self.time >= self.start[self.row]) & (
            self.time <= self.limit[self.row]
        )
        self.intensive_moves = self._moves(subject, block, movements)

    def _moves(
        self, subject: pl.DataFrame, block: Block, movements: pl.DataFrame
    ) -> tuple[npt.NDArray[np.int64], Times]:
        """Movements into intensive care, paired with every stay of the subject."""
        moved = movements.filter(
            pl.col("unit").is_in(_INTENSIVE), pl.col("start") + pl.col("delay") <= self.cut
        )
        whose = block.journeys.select("number", subject="subject_number")
        pairs = moved.join(whose, on="number").join(subject, on="subject")
        return pairs["row"].to_numpy().astype(np.int64), pairs["start"].to_numpy()

    def code(self, *codes: str) -> Mask:
        """Mask the pairs whose event has one of the codes."""
        return self._pairs["code"].is_in(list(codes)).to_numpy()

    def diagnosis(self, *categories: str) -> Mask:
        """Mask the pairs whose event is a diagnosis of these categories of ICD-10."""
        pattern = "^ICD10//(?:" + "|".join(categories) + ")"
        return self._pairs["code"].str.contains(pattern).to_numpy()

    def text(self, text: str) -> Mask:
        """Mask the pairs whose event says this."""
        return (self._pairs["text"] == text).fill_null(value=False).to_numpy()

    def rank(self, rank: int) -> Mask:
        """Mask the pairs whose event has this rank."""
        return (self._pairs["rank"] == rank).fill_null(value=False).to_numpy()

    @property
    def steroid(self) -> Mask:
        """Mask the steroids given."""
        return self.done & self.code(*STEROIDS)

    @property
    def heparin(self) -> Mask:
        """Mask the low-molecular-weight heparins, given or not."""
        return self.code(*HEPARINS)

    @property
    def antibiotic(self) -> Mask:
        """Mask the antibiotics given."""
        return self.done & self.code(*ANTIBIOTICS)

    @property
    def antithrombotic(self) -> Mask:
        """Mask the antithrombotics, given or not."""
        return self.code(*ANTITHROMBOTICS)

    @property
    def oxygen(self) -> Mask:
        """Mask the oxygen and respiratory support given."""
        return self.done & self.code(*OXYGEN)

    def first(self, mask: Mask) -> Times:
        """First time of each stay's masked pairs; -1 where there is none."""
        far = np.iinfo(np.int64).max
        found = np.full(self.size, far)
        np.minimum.at(found, self.row[mask], self.time[mask])
        return np.where(found == far, NEVER, found)

    def any(self, mask: Mask) -> Mask:
        """Tell which stays have a masked pair."""
        found = np.zeros(self.size, dtype=bool)
        found[self.row[mask]] = True
        return found

    def at(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Repeat a value of each stay for its pairs."""
        return values[self.row]

    def within(self, low: Times, high: Times) -> Mask:
        """Mask the pairs in ``[low, high]``, limits given for each stay."""
        return (self.time >= self.at(low)) & (self.time <= self.at(high))

    def _stay_table(self, until: Times) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "subject": self.subject,
                "row": np.arange(self.size),
                "start": self.start,
                "until": until,
            }
        )

    def _there(self, readings: pl.DataFrame, until: Times, since: Times | None = None) -> Mask:
        stays = self._stay_table(until)
        if since is not None:
            stays = stays.with_columns(start=np.maximum(since, self.start))
        found = readings.join(stays, on="subject").filter(
            pl.col("time") >= pl.col("start"), pl.col("time") <= pl.col("until")
        )
        mask = np.zeros(self.size, dtype=bool)
        mask[found["row"].to_numpy()] = True
        return mask

    def saturation_by(self, until: Times, since: Times | None = None) -> Mask:
        """Tell which stays have a saturation between their start, or `since`, and `until`."""
        return self._there(self.saturation, until, since)

    def charted_by(self, code: str, until: Times) -> Mask:
        """Tell which stays have this vital sign between their start and `until`."""
        return self._there(self._charted.filter(pl.col("code") == code), until)

    def first_saturation(self, *, below: float) -> Times:
        """First time during each stay of a saturation below a limit; -1 where there is none."""
        low = self.saturation.filter(pl.col("value") < below)
        found = (
            low.join(self._stay_table(self.limit), on="subject")
            .filter(pl.col("time") >= pl.col("start"), pl.col("time") <= pl.col("until"))
            .group_by("row")
            .agg(pl.col("time").min())
        )
        first = np.full(self.size, NEVER)
        first[found["row"].to_numpy()] = found["time"].to_numpy()
        return first

    def returns(self, until: Times) -> Mask:
        """Tell which stays were followed by another, not elective one, by `until`."""
        stays = pl.DataFrame(
            {
                "subject": self.subject,
                "row": np.arange(self.size),
                "end": self.end,
                "until": until,
                "start": self.start,
                "elective": self.elective,
            }
        )
        other = stays.filter(~pl.col("elective")).select(
            "subject", next_row="row", next_start="start"
        )
        found = (
            stays.filter(pl.col("end") != NEVER)
            .join(other, on="subject")
            .filter(
                pl.col("row") != pl.col("next_row"),
                pl.col("next_start") > pl.col("end"),
                pl.col("next_start") <= pl.col("until"),
            )
        )
        mask = np.zeros(self.size, dtype=bool)
        mask[found["row"].to_numpy()] = True
        return mask


def _adult(block: Block, zone: str) -> npt.NDArray[np.int64]:
    """Tell who is 18 or older on the day the stay starts: 1 yes, 0 no, -1 not known."""
    born = pl.Series(block["birth_day"]).cast(pl.Int32).cast(pl.Date)
    today = pl.Series(local_ticks(block["start"], zone)).cast(pl.Datetime("us")).dt.date()
    age = pl.select(
        today.dt.year()
        - born.dt.year()
        - (
            (today.dt.month().cast(pl.Int32) * 100 + today.dt.day())
            < (born.dt.month().cast(pl.Int32) * 100 + born.dt.day())
        ).cast(pl.Int32)
    ).to_series()
    adult = (age >= 18).to_numpy().astype(np.int64)
    return np.where(block["has_birth_date"], adult, -1)
