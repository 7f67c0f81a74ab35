"""Trajectories: where patients are so many days after admission, and how they leave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.flow.stays.remaining import remaining_stay
from neva.flow.stays.sojourns import Sojourns
from neva.statistics.multistate import (
    CumulativeIncidence,
    Occupation,
    aalen_johansen,
    cumulative_incidence,
    nelson_aalen,
)
from neva.statistics.transitions import CENSORED, Transitions

__all__ = ["FLOOR", "Trajectories", "trajectories"]

Floats = npt.NDArray[np.float64]

#: Fewer completed sojourns, and there is no estimate.
FLOOR: Final = 20

#: Who is observed from admission is so from before it: one who leaves in the
#: moment, or on the day, of admission was at risk.
_BEFORE: Final = -1.0
_MICROSECONDS: Final = 86_400e6


@dataclass(frozen=True, eq=False, slots=True)
class Trajectories:
    """What happens to patients after admission.

    Attributes
    ----------
    occupation : Occupation
        By days since admission, at whole steps from 0 to the horizon:
        probability to be in each state, or to have left each way; with
        covariance.
    incidence : CumulativeIncidence
        How many have left each way by days since admission, whatever states
        they were in on their way. It takes the open stays of all states as
        alike, `occupation` only those of one state: with open stays the two
        differ a little.
    counts : polars.DataFrame
        ``state``, ``next`` (missing: still there), ``sojourns``, ``share``.
    never_left : tuple of str
        States that no departure was recorded: the estimate keeps patients there.
    completed, cases : int
        Sojourns that ended, and cases.
    left_at_once : int
        Cases that left in the moment, or on the day, of admission: they are in
        no state at 0 days.
    passed_over : int
        Open sojourns of no length: nothing is known of them yet.
    horizon_days, every_days : float
    level : float
        Of limits.
    floor : int
    transitions : Transitions
        What it was estimated from, in days since admission.
    sojourns : Sojourns
    """

    occupation: Occupation
    incidence: CumulativeIncidence
    counts: pl.DataFrame
    never_left: tuple[str, ...]
    completed: int
    cases: int
    left_at_once: int
    passed_over: int
    horizon_days: float
    every_days: float
    level: float
    floor: int
    transitions: Transitions
    sojourns: Sojourns

    def to_frame(self) -> pl.DataFrame:
        """Return ``days``, ``state``, ``probability``, ``at_risk``, ``lower``, ``upper``.

        ``at_risk``: patients in the state just before the last move so far.
        Where it is small, one patient moves the curve.
        """
        return self.occupation.to_frame(self.level).rename({"time": "days"})

    def exits(self) -> pl.DataFrame:
        """Return ``days``, ``exit``, ``incidence``, ``lower``, ``upper``, ``at_risk``."""
        frame = self.incidence.to_frame(self.level).rename({"time": "days", "cause": "exit"})
        return frame.filter(pl.col("days") <= self.horizon_days).drop("variance")

    def transition_table(self) -> pl.DataFrame:
        """Return how many moved by days since admission.

        Returns
        -------
        polars.DataFrame
            ``days`` (the end of a step, closed; 0 is the day or moment of
            admission itself), ``state``, ``next``, ``at_risk`` (in the state at
            the begin of the step), ``moves``, ``hazard`` (shares of those at
            risk at each time, summed up).
        """
        steps = self.occupation.times
        found = nelson_aalen(self.transitions, start=_BEFORE, times=steps)
        hazards = np.diff(found.hazard, axis=0, prepend=0.0)
        begins = np.concatenate([[_BEFORE], steps[:-1]])
        present = np.array([self.transitions.present(float(begin)) for begin in begins])
        edges = np.concatenate([[-np.inf], steps])
        frames = []
        names = found.state_names
        seen = self.transitions
        for way, (h, j) in enumerate(zip(found.origin, found.target, strict=True)):
            times = seen.exit[(seen.origin == h) & (seen.target == j)]
            until = np.searchsorted(np.sort(times), edges, side="right")
            frames.append(
                pl.DataFrame(
                    {
                        "days": steps,
                        "state": names[h],
                        "next": names[j],
                        "at_risk": present[:, h].astype(np.int64),
                        "moves": np.diff(until),
                        "hazard": hazards[:, way],
                    }
                )
            )
        return pl.concat(frames).sort("days", "state", "next", maintain_order=True)

    def expected_days(self) -> pl.DataFrame:
        """Return ``state`` and the expected ``days`` in it from admission to the horizon.

        Days after the horizon do not count; those in the ways of leaving are
        days out of the hospital.
        """
        every = aalen_johansen(self.transitions, start=_BEFORE, covariance=False)
        # From just before admission on, less the time before it.
        days = every.expected_time(self.horizon_days) + _BEFORE * every.initial
        return pl.DataFrame({"state": list(every.state_names), "days": days})

    def remaining(self, spent_days: tuple[float, ...] = (0.0,)) -> pl.DataFrame:
        """Return the expected days until a patient leaves the hospital, by state.

        See :func:`neva.flow.stays.remaining.remaining_stay`.
        """
        return remaining_stay(
            self.sojourns, spent_days=spent_days, horizon_days=self.horizon_days,
            floor=self.floor, level=self.level,
        )  # fmt: skip


def trajectories(
    sojourns: Sojourns,
    *,
    horizon_days: float = 60.0,
    every_days: float = 1.0,
    floor: int = FLOOR,
    level: float = 0.95,
) -> Trajectories:
    """Estimate what happens to patients after admission.

    Parameters
    ----------
    sojourns : Sojourns
        Open ones are censored at *now* (or where follow-up ended); ones that
        are observed late count from then on (left truncation).
    horizon_days : float
        Days since admission that are looked at.
    every_days : float
        Steps at which the estimate is kept.
    floor : int
        Completed sojourns below which there is none.
    level : float
        Of confidence limits, 0-1.

    Returns
    -------
    Trajectories

    Raises
    ------
    UsageError
        Nobody has left yet, there are fewer completed sojourns than the
        floor, nobody is observed from admission, or the horizon has no step.

    Notes
    -----
    The Aalen-Johansen estimator (:func:`neva.statistics.multistate.aalen_johansen`)
    on days since admission: elapsed days of 24 hours, or days of the
    hospital's calendar where times are only known to the day. Cases are taken
    as independent, also those of one patient.
    """
    if not 0 < every_days <= horizon_days:
        message = (
            f"horizon: found {horizon_days:g} days in steps of {every_days:g}; give a step above 0 "
            "that is no longer than the horizon"
        )
        raise UsageError(message)
    frame = on_days(sojourns)
    completed = frame["next"].count()
    if not frame["next"].is_in(list(sojourns.exits)).any():
        message = (
            f"trajectories: no departure yet; found {frame.height} sojourns without a discharge "
            "or death; choose a longer period, or import how stays ended"
        )
        raise UsageError(message)
    if completed < floor:
        message = (
            f"trajectories: too few completed sojourns; found {completed}, below the floor of "
            f"{floor}; choose a longer period or lower the floor"
        )
        raise UsageError(message)
    seen = _transitions(frame, sojourns)
    if not seen.present(_BEFORE).any():
        message = (
            f"trajectories: no patient is observed from admission; found {frame.height} sojourns, "
            "all started before the period; choose a longer period"
        )
        raise UsageError(message)
    steps = np.arange(int(horizon_days / every_days + 1e-9) + 1) * every_days
    whole = frame.group_by("case", maintain_order=True).agg(
        entry=pl.col("entry").min(), exit=pl.col("exit").max(), target=pl.col("next").last()
    )
    ends = Transitions.from_frame(
        whole.filter(pl.col("entry") < pl.col("exit")).with_columns(
            origin=pl.lit("present"),
            target=pl.when(pl.col("target").is_in(list(sojourns.exits))).then("target"),
        ),
        ("present", *sojourns.exits),
    )
    counts = seen.counts
    return Trajectories(
        occupation=aalen_johansen(seen, start=_BEFORE, times=steps),
        incidence=cumulative_incidence(ends, start=_BEFORE),
        counts=_move_counts(frame),
        never_left=tuple(name for k, name in enumerate(sojourns.states) if not counts[k].any()),
        completed=completed,
        cases=whole.height,
        left_at_once=whole.filter(pl.col("target").is_not_null(), pl.col("exit") == 0).height,
        passed_over=frame.height - len(seen),
        horizon_days=float(horizon_days),
        every_days=float(every_days),
        level=level,
        floor=floor,
        transitions=seen,
        sojourns=sojourns,
    )


def on_days(sojourns: Sojourns) -> pl.DataFrame:
    """Return the sojourns with ``entry`` and ``exit`` in days since admission.

    Times are rounded to microseconds, so that a move is one time for the
    sojourn before it and the one after it. One observed from admission has
    been since before it.
    """
    since = sojourns.timed().with_columns(
        entry=pl.col("before_days") + pl.col("entry_days"),
        exit=pl.col("before_days") + pl.col("exit_days"),
    )
    exact = since.with_columns((pl.col("entry", "exit") * _MICROSECONDS).round() / _MICROSECONDS)
    return exact.with_columns(entry=pl.when(pl.col("entry") == 0).then(_BEFORE).otherwise("entry"))


def _transitions(frame: pl.DataFrame, sojourns: Sojourns) -> Transitions:
    lasting = frame.filter(pl.col("entry") < pl.col("exit"))
    names = (*sojourns.states, *sojourns.exits)
    number = {name: k for k, name in enumerate(names)}
    target = lasting["next"].replace_strict(number, default=None, return_dtype=pl.Int32)
    return Transitions(
        entry=lasting["entry"].to_numpy(),
        exit=lasting["exit"].to_numpy(),
        origin=lasting["state"].replace_strict(number, return_dtype=pl.Int32).to_numpy(),
        target=target.fill_null(CENSORED).to_numpy(),
        state_names=names,
    )


def _move_counts(frame: pl.DataFrame) -> pl.DataFrame:
    counted = frame.group_by("state", "next").agg(sojourns=pl.len())
    share = pl.col("sojourns") / pl.col("sojourns").sum().over("state")
    return counted.with_columns(share=share).sort("state", "next", nulls_last=True)
