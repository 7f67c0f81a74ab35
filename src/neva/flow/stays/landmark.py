"""Where the patients in hospital now will be, from what is known now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.flow.stays.trajectories import Trajectories, on_days, trajectories
from neva.statistics.multistate import transition_probabilities

__all__ = ["FEW_AT_RISK", "Landmark", "landmark"]

Floats = npt.NDArray[np.float64]

#: Earlier patients in the same state and day below which a patient is counted
#: as one of whom little is known.
FEW_AT_RISK: Final = 5


@dataclass(frozen=True, eq=False, slots=True)
class Landmark:
    """Probabilities of patients present, by their state and days since admission.

    Attributes
    ----------
    at : datetime
        Aware. Nothing later was used.
    groups : polars.DataFrame
        ``state``, ``since_days`` (whole steps since admission), ``patients``,
        ``at_risk`` (earlier patients seen in the state after so long: what is
        known of the next moves).
    ahead_days : array, shape (k,)
        From `at`, from 0 on.
    probability : array, shape (groups, k, states)
        Of each patient of a group.
    state_names : tuple of str
        States and ways of leaving.
    few : int
        Patients of whom fewer than :data:`FEW_AT_RISK` earlier ones tell:
        where none do, the estimate keeps them where they are.
    """

    at: datetime
    groups: pl.DataFrame
    ahead_days: Floats
    probability: Floats
    state_names: tuple[str, ...]
    few: int

    @property
    def expected(self) -> Floats:
        """Expected numbers of patients present, shape (k, states)."""
        patients = self.groups["patients"].to_numpy().astype(np.float64)
        numbers: Floats = np.einsum("g,gks->ks", patients, self.probability)
        return numbers

    def to_frame(self) -> pl.DataFrame:
        """Return expected numbers by state now and state then.

        Returns
        -------
        polars.DataFrame
            ``days`` (from `at`), ``state`` (now), ``then``, ``expected``
            (patients), ``sd`` (of chance alone: not of the estimate, nor of a
            change in how patients are treated; on the embedded cohort numbers
            a week ahead missed by up to 8 of it).
        """
        frames = []
        patients = self.groups["patients"].to_numpy().astype(np.float64)
        for state in self.groups["state"].unique(maintain_order=True):
            here = (self.groups["state"] == state).to_numpy()
            share = self.probability[here]
            weight = patients[here]
            expected = np.einsum("g,gks->ks", weight, share)
            variance = np.einsum("g,gks->ks", weight, share * (1 - share))
            count = len(self.state_names)
            frames.append(
                pl.DataFrame(
                    {
                        "days": np.repeat(self.ahead_days, count),
                        "state": state,
                        "then": list(self.state_names) * len(self.ahead_days),
                        "expected": expected.ravel(),
                        "sd": np.sqrt(np.maximum(variance, 0)).ravel(),
                    }
                )
            )
        return pl.concat(frames).sort("days", "state", maintain_order=True)


def landmark(found: Trajectories, at: datetime | None = None) -> Landmark:
    """Estimate where the patients present at a time will be.

    Parameters
    ----------
    found : Trajectories
    at : datetime, optional
        Aware; *now* of the sojourns by default. Earlier, the trajectories are
        estimated again from what had happened by then. What was recorded late
        needs sojourns of what was known (:func:`neva.flow.stays.sojourns.known_sojourns`).

    Returns
    -------
    Landmark

    Raises
    ------
    UsageError
        `at` is later than *now*, nobody is present, or too little had
        happened to estimate from.

    Notes
    -----
    What comes next depends on the state and the days since admission (in whole
    steps), as the Aalen-Johansen estimator has it; not on how long the patient
    has been in the state.
    """
    now = found.sojourns.now
    if at is not None and at > now:
        message = (
            f"landmark: later than what is known; found {at.isoformat()}, known until "
            f"{now.isoformat()}; give an earlier time"
        )
        raise UsageError(message)
    if at is not None and at < now:
        found = _until(found, at)
    sojourns = found.sojourns
    present = sojourns.present().select("case", "state")
    if not present.height:
        message = (
            f"landmark: no patient is present at {sojourns.now.isoformat()}; found no open "
            "sojourn; choose a time before follow-up ends"
        )
        raise UsageError(message)
    step = found.every_days
    since = on_days(sojourns).group_by("case").agg(since=pl.col("exit").max())
    whole = ((pl.col("since") / step + 1e-9).floor() * step).alias("since_days")
    groups = (
        present.join(since, on="case")
        .group_by("state", whole)
        .agg(patients=pl.len())
        .sort("state", "since_days")
    )
    seen = found.transitions
    number = {name: k for k, name in enumerate(seen.state_names)}
    ahead = found.occupation.times
    probability = np.empty((groups.height, len(ahead), seen.states))
    at_risk = np.empty(groups.height, dtype=np.int64)
    matrices: dict[float, Floats] = {}
    for k, (state, days, _) in enumerate(groups.iter_rows()):
        if days not in matrices:
            matrices[days] = transition_probabilities(
                seen, start=days, covariance=False, times=days + ahead
            ).probability
        probability[k] = matrices[days][:, number[state], :]
        at_risk[k] = int(seen.present(days)[number[state]])
    groups = groups.with_columns(at_risk=pl.Series(at_risk))
    return Landmark(
        at=sojourns.now,
        groups=groups,
        ahead_days=ahead,
        probability=probability,
        state_names=seen.state_names,
        few=int(groups.filter(pl.col("at_risk") < FEW_AT_RISK)["patients"].sum()),
    )


def _until(found: Trajectories, at: datetime) -> Trajectories:
    """Estimate again from what happened before a time."""
    begin = found.sojourns.frame["start"].min()
    assert isinstance(begin, datetime)
    # A day earlier, so that a stay of no length at the very begin is in it.
    return trajectories(
        found.sojourns.between(min(begin, at) - timedelta(days=1), at),
        horizon_days=found.horizon_days,
        every_days=found.every_days,
        floor=found.floor,
        level=found.level,
    )
