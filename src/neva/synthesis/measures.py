"""The planted truth of every measure: what the answer is, at the data cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.synthesis.drawing import NEVER, Times, as_time
from neva.synthesis.known import Known, Mask

__all__ = ["STATUSES", "Answers", "Verdict", "as_text", "timed", "verdict"]

#: ``outside``: not in the population. ``pending``: the clock has not closed.
#: ``measured``: a continuous measure has its value.
#: ``unknown``: it cannot be said, as where the date of birth is missing.
STATUSES: Final = ("outside", "unknown", "excluded", "met", "failed", "measured", "pending")


@dataclass(frozen=True)
class Verdict:
    """The answers of one measure for the stays of a block.

    Attributes
    ----------
    status : numpy.ndarray of str, shape (n,)
        Of :data:`STATUSES`; ``measured`` where a continuous measure has a value.
    due : numpy.ndarray of int64, shape (n,)
        When the clock closes; -1 where no clock runs or it is not known.
    value : numpy.ndarray of float64, shape (n,)
        Of a continuous measure; nan where there is none.
    """

    status: npt.NDArray[np.str_]
    due: Times
    value: npt.NDArray[np.float64]


_STATUS: Final = pl.Enum(STATUSES)


class Answers:
    """Collects verdicts, measure by measure."""

    def __init__(self, known: Known, stays: pl.Series) -> None:
        self.known = known
        self._stays = stays
        self._frames: list[pl.DataFrame] = []

    def add(self, measure: str, answer: Verdict) -> None:
        """Add the answers of one measure."""
        answered = np.isin(answer.status, ("met", "failed", "pending"))
        self._frames.append(
            pl.DataFrame(
                {
                    "stay": self._stays,
                    "measure": pl.repeat(measure, self.known.size, eager=True).cast(pl.Categorical),
                    "status": pl.Series(answer.status).cast(_STATUS),
                    "due": as_time(np.where(answered, answer.due, NEVER)),
                    "value": pl.Series(
                        np.where(answer.status == "measured", answer.value, np.nan)
                    ).fill_nan(None),
                }
            )
        )

    def frame(self) -> pl.DataFrame:
        """Return ``stay``, ``measure``, ``status``, ``due``, ``value``: one row each.

        Measures and statuses are kept as numbers; :func:`as_text` makes them texts.
        """
        return pl.concat(self._frames)


def as_text(answers: pl.LazyFrame) -> pl.LazyFrame:
    """Write out measures and statuses."""
    return answers.with_columns(pl.col("measure", "status").cast(pl.String))


def verdict(
    known: Known,
    *,
    population: Mask,
    met: Mask,
    failed: Mask,
    excluded: Mask | None = None,
    adult: bool = True,
    unknown: Mask | None = None,
    due: Times | None = None,
    value: npt.NDArray[np.float64] | None = None,
) -> Verdict:
    """Judge: population first, then exclusions, then the answer; the rest is pending.

    Parameters
    ----------
    known : Known
        The block.
    population : numpy.ndarray of bool
        Every part of it but the age.
    met, failed : numpy.ndarray of bool
        Where it is settled; `met` wins.
    excluded : numpy.ndarray of bool, optional
        Any exclusion.
    adult : bool
        The population is of adults: an unknown age then makes it unknown.
    unknown : numpy.ndarray of bool, optional
        In the population, but no answer can be given.
    due : numpy.ndarray of int64, optional
        When clocks close.
    value : numpy.ndarray of float64, optional
        Of a continuous measure.
    """
    nobody = np.zeros(known.size, dtype=bool)
    outside = ~population
    not_known = nobody
    if adult:
        outside = outside | (known.adult == 0)
        not_known = known.adult < 0
    status = np.select(
        [
            outside,
            not_known,
            nobody if excluded is None else excluded,
            nobody if unknown is None else unknown,
            met,
            failed,
        ],
        [
            "outside",
            "unknown",
            "excluded",
            "unknown",
            "met" if value is None else "measured",
            "failed",
        ],
        "pending",
    )
    return Verdict(
        status=status,
        due=np.full(known.size, NEVER) if due is None else due,
        value=np.full(known.size, np.nan) if value is None else value,
    )


def timed(
    known: Known,
    *,
    population: Mask,
    met: Mask,
    due: Times,
    excluded: Mask | None = None,
    adult: bool = True,
    unknown: Mask | None = None,
    left: bool = False,
    late: bool = False,
) -> Verdict:
    """Evaluate a measure with a clock: met at once, failed when the clock has closed.

    With `left`, who left before that without it is excluded; with `late`,
    nothing is settled before the clock has closed.
    """
    closed = (due != NEVER) & (due <= known.cut)
    if late:
        met = met & closed
    if left:
        gone = known.is_over & (known.end < due) & ~met
        excluded = gone if excluded is None else excluded | gone
    return verdict(
        known,
        population=population,
        met=met,
        failed=closed,
        excluded=excluded,
        adult=adult,
        unknown=unknown,
        due=due,
    )
