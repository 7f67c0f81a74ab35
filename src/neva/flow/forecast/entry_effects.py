"""How entries change the odds of leaving: learnt from the past of the same hospital.

Lengths of stay know a unit and the time spent there. A ward knows more: that
a patient goes home at noon, or waits for a place in a care home. How far such an
entry is to be believed differs between hospitals and kinds of entry, and is
learnt: from the entries at the same time of each of the last days, and
from which patients then left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.events.schema import TIME, Columns
from neva.flow.forecast.entry_history import EntryHistory
from neva.flow.stays.lengths import LengthModel

__all__ = [
    "REACH_HOURS",
    "RELIABILITY",
    "EntryEffects",
    "EntryOdds",
    "cells_of",
    "request_cells",
    "with_entries",
]

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

#: Entries say nothing of what comes later than so many hours.
REACH_HOURS: Final = 72
#: Hours relative to the date that was said, and hours ahead.
_RELATIVE: Final = np.array([-24.0, -6.0, -2.0, 0.0, 2.0, 6.0, 24.0])
_AHEAD: Final = np.array([2.0, 6.0, 12.0, 24.0, 48.0])
_DATED: Final = len(_RELATIVE) + 1
#: Cells of requests for a bed, by hours ahead; and of a date that is missing.
REQUEST_CELLS: Final = len(_AHEAD) + 1
#: Cells of dates: none; expected within a day, expected later, confirmed. None is no cell.
NO_DATE, SOON, _LATER, CONFIRMED = (
    0, REQUEST_CELLS, REQUEST_CELLS + _DATED, REQUEST_CELLS + 2 * _DATED,
)  # fmt: skip
_DATE_CELLS: Final = CONFIRMED + _DATED
#: Cells of readiness: fit, delayed; by the first day and later.
FIT, DELAYED = _DATE_CELLS, _DATE_CELLS + 2
#: Cells of the day of those who have a date: the second and the third, by kind of date.
_DAYS: Final = _DATE_CELLS + 4
CELLS: Final = _DAYS + 6

#: Columns of what entries were worth.
RELIABILITY: Final[Columns] = {
    "entry": pl.String,
    "seen": pl.Int64,
    "patients": pl.Int64,
    "came_true": pl.Int64,
    "share": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "judged": pl.Int64,
    "judged_came_true": pl.Int64,
    "by_lengths_alone": pl.Float64,
    "with_entries": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class EntryOdds:
    """Effect of entries on each patient's rates.

    Attributes
    ----------
    leaving : array, shape (patients, steps)
        Factor of the odds to leave the hospital in a step.
    wanted : array of int, shape (patients,)
        The state that a bed is requested in; -1: none.
    there : array, shape (patients, steps)
        Factor of the odds to go there.
    elsewhere : array, shape (patients, steps)
        Factor of the odds to go to any other state.
    """

    leaving: Floats
    wanted: Numbers
    there: Floats
    elsewhere: Floats

    @classmethod
    def none(cls, patients: int, steps: int) -> EntryOdds:
        """Return factors that change nothing."""
        ones = np.ones((patients, steps))
        return cls(ones, np.full(patients, -1, dtype=np.int64), ones, ones)


@dataclass(frozen=True, slots=True)
class EntryEffects:
    """Log odds of leaving by entry, in addition to those of length of stay.

    Attributes
    ----------
    shift, covariance : array
        Log odds by cell (date and hours to it, or hours ahead; readiness; day),
        shape (cells,), and how sure they are, shape (cells, cells).
    request_shift, request_variance : array, shape (2, bins of hours ahead)
        Log odds of going to the requested unit, and of going anywhere else (out of the hospital
        too), with their variances.
    dates_in_use : tuple of str
        States in which so many patients have a date that its absence is informative.
    reliability : polars.DataFrame
        Columns of :data:`RELIABILITY`; a row a kind of entry: how many
        patients at moments (``seen``, once a day) of how many ``patients``
        had it, for how many it ``came_true`` within 24 hours (left the
        hospital; of requests: were in the unit), the ``share`` with its exact
        95 % interval (patients seen on several days count as often: it is
        narrower than it should be). On the newest third of the days, learnt
        from those before: how many were ``judged``, of how many it came true,
        and how many were expected ``by_lengths_alone`` and ``with_entries``.
    now, first : datetime
        Nothing later was used; the first day that was.
    moments, patients : int
        How many; and of how many patients something was entered then.

    Notes
    -----
    Discrete-time logistic regression of leaving in each hour of the next
    72, from landmarks a day apart (van Houwelingen 2007,
    doi:10.1111/j.1467-9469.2006.00529.x), with the log odds of the length
    model as offset and normal priors (standard deviation 2) on everything
    else: an entry of which little was seen changes little.
    """

    shift: Floats
    covariance: Floats
    request_shift: Floats
    request_variance: Floats
    dates_in_use: tuple[str, ...]
    reliability: pl.DataFrame
    now: datetime
    first: datetime
    moments: int
    patients: int

    @property
    def surest(self) -> float:
        """The highest chance that so many patients can speak for: the rule of succession."""
        return 1.0 - 1.0 / (self.patients + 2)

    def drawn(self, rng: np.random.Generator) -> EntryEffects:
        """Return effects that the same past might have given."""
        shift = rng.multivariate_normal(self.shift, self.covariance, method="cholesky")
        spread = np.sqrt(self.request_variance) * rng.standard_normal(self.request_shift.shape)
        return replace(self, shift=shift, request_shift=self.request_shift + spread)

    def odds(
        self, lengths: LengthModel, subjects: Numbers, phases: Numbers, history: EntryHistory,
        steps: int,
    ) -> EntryOdds:  # fmt: skip
        """Return the factors of patients present at `now`.

        Parameters
        ----------
        lengths : LengthModel
        subjects, phases : array of int, shape (patients,)
            Who they are, and their phases.
        history : EntryHistory
            With the entries at `now`.
        steps : int
        """
        here = pl.DataFrame(
            {"subject_id": subjects, "phase": phases}, schema_overrides={"subject_id": pl.Int64}
        ).with_columns(moment=pl.lit(self.now, dtype=TIME))
        rows = with_entries(here, history.at(self.now), lengths, self.dates_in_use)
        cells = cells_of(rows, steps, lengths.step_hours)
        # The last cell is none.
        shift = np.append(self.shift, 0.0)[cells].sum(axis=2)
        asked = request_cells(rows, steps, lengths.step_hours)
        there, elsewhere = self.of_requests(asked)
        return EntryOdds(
            leaving=np.exp(shift + elsewhere),
            wanted=rows["wanted_state"].to_numpy(),
            there=np.exp(there),
            elsewhere=np.exp(elsewhere),
        )

    def of_requests(self, cells: Numbers) -> tuple[Floats, Floats]:
        """Return the log odds of cells of requests: of the requested unit, and of all others."""
        there: Floats = np.append(self.request_shift[0], 0.0)[cells]
        elsewhere: Floats = np.append(self.request_shift[1], 0.0)[cells]
        return there, elsewhere


def with_entries(
    rows: pl.DataFrame, entries: pl.DataFrame, lengths: LengthModel, dates_in_use: tuple[str, ...]
) -> pl.DataFrame:
    """Add the entries about patients at moments: hours until the date, and its kind.

    `rows` have ``moment``, ``subject_id`` and ``phase``, `entries` the columns of
    :data:`neva.flow.forecast.entry_history.ENTRY_ROWS`. Added are these and ``until`` (hours,
    missing without a date), ``date_kind``, ``readiness`` and ``wanted_state`` (-1: none).
    """
    number = {state: k for k, state in enumerate(lengths.states)}
    in_use = np.isin(np.array(lengths.states), dates_in_use)
    state = lengths.state_of[rows["phase"].to_numpy()]
    until = (pl.col("expected") - pl.col("moment")).dt.total_seconds() / 3600
    kind = (
        pl.when(pl.col("expected").is_null())
        .then(pl.when("_in_use").then(NO_DATE).otherwise(-1))
        .when("confirmed")
        .then(CONFIRMED)
        .when(until <= 24)
        .then(SOON)
        .otherwise(_LATER)
    )
    readiness = pl.when("delayed").then(DELAYED).when("fit").then(FIT).otherwise(-1).cast(pl.Int64)
    return (
        rows.join(entries, on=["moment", "subject_id"], how="left", maintain_order="left")
        .with_columns(
            pl.col("fit", "delayed", "confirmed").fill_null(value=False),
            _in_use=pl.Series(in_use[state]),
        )
        .with_columns(
            until=until,
            date_kind=kind.cast(pl.Int64),
            readiness=readiness,
            wanted_state=pl.col("wanted").replace_strict(
                number, default=-1, return_dtype=pl.Int64
            ).fill_null(-1),
        )
        # Who is where they were asked for waits no longer.
        .with_columns(
            wanted_state=pl.when(pl.col("wanted_state") == pl.Series(state))
            .then(-1)
            .otherwise("wanted_state")
        )
    )  # fmt: skip


def _middles(steps: int, step_hours: float) -> Floats:
    return np.asarray((np.arange(steps) + 0.5) * step_hours, dtype=np.float64)


def cells_of(rows: pl.DataFrame, steps: int, step_hours: float) -> Numbers:
    """Return cells of dates, readiness and days by patient and step; the last one is none."""
    ahead = _middles(steps, step_hours)
    until = rows["until"].fill_null(0.0).to_numpy()
    kind = rows["date_kind"].to_numpy()[:, None]
    relative = np.searchsorted(_RELATIVE, ahead[None, :] - until[:, None], side="right")
    undated = np.searchsorted(_AHEAD, ahead, side="right")[None, :]
    date = np.where(kind == NO_DATE, undated, kind + relative)
    ready = rows["readiness"].to_numpy()[:, None]
    later = (ahead >= 24)[None, :]
    number = np.searchsorted(np.array([SOON, _LATER, CONFIRMED]), kind)
    day = _DAYS + 2 * number + (ahead >= 48)[None, :]
    beyond = (ahead > REACH_HOURS)[None, :]
    return np.stack(
        [
            np.where((kind < 0) | beyond, CELLS, date),
            np.where((ready < 0) | beyond, CELLS, ready + later),
            np.where((kind < SOON) | ~later | beyond, CELLS, day),
        ],
        axis=2,
    )


def request_cells(rows: pl.DataFrame, steps: int, step_hours: float) -> Numbers:
    """Return the cells of requests by patient and step; the last one is none."""
    ahead = _middles(steps, step_hours)
    cell = np.searchsorted(_AHEAD, ahead, side="right")[None, :]
    none = (rows["wanted_state"].to_numpy() < 0)[:, None] | (ahead > REACH_HOURS)[None, :]
    return np.where(none, REQUEST_CELLS, cell)
