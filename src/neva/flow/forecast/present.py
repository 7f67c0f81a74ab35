"""Patients present, as the forecast uses them: who, where, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.flow.forecast.entry_effects import EntryEffects, EntryOdds
from neva.flow.forecast.entry_history import EntryHistory
from neva.flow.stays import _walking
from neva.flow.stays.lengths import LengthModel
from neva.flow.stays.sojourns import Sojourns

__all__ = ["Present", "follow_each", "nobody", "present_of", "tables"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Present:
    """Patients present at *now*.

    Attributes
    ----------
    subjects, phase : array of int, shape (patients,)
    age : array, shape (patients,)
        Time in their state, in steps.
    strangers : int
        Others, in places where nobody was when the model was fitted.
    """

    subjects: npt.NDArray[np.int64]
    phase: npt.NDArray[np.int64]
    age: Floats
    strangers: int

    def odds(
        self,
        lengths: LengthModel,
        effects: EntryEffects | None,
        history: EntryHistory | None,
        steps: int,
    ) -> EntryOdds:
        """Return the effect of entries on their rates."""
        if effects is None or history is None:
            return EntryOdds.none(len(self.phase), steps)
        return effects.odds(lengths, self.subjects, self.phase, history, steps)


def present_of(lengths: LengthModel, sojourns: Sojourns) -> Present:
    """Return the patients present at the *now* of some sojourns, as a length model uses them."""
    phases = lengths.place(sojourns.frame)
    rows = sojourns.frame.with_columns(_phase=phases)
    here = rows.filter(
        pl.col("next").is_null(), ~pl.col("lost"), pl.col("end") >= pl.lit(sojourns.now)
    )
    known = here.filter(pl.col("_phase") >= 0)
    now = pl.Series([sojourns.now], dtype=pl.Datetime("us", "UTC"))
    daily = lengths.step_hours == 24
    days = float(sojourns.clock(now)[0]) - sojourns.clock(known["start"]).to_numpy()
    age = np.maximum(np.rint(days), 0) if daily else np.maximum(days * 24, 0.0)
    return Present(
        subjects=known["subject_id"].to_numpy(),
        phase=known["_phase"].to_numpy(),
        age=age.astype(np.float64),
        strangers=here.height - known.height,
    )


def nobody(steps: int) -> tuple[Any, ...]:
    """No patients, for :func:`neva.flow.stays._walking.follow_all`."""
    empty = EntryOdds.none(0, steps)
    none = np.zeros(0, dtype=np.int64)
    return none, np.zeros(0), empty.leaving, empty.wanted, empty.there, empty.elsewhere


def follow_each(
    here: Present, odds: EntryOdds, fixed: tuple[Any, ...], block_of: Any, block_ends: Any,
    onward: Any,
) -> Floats:  # fmt: skip
    """Return the probability of each patient to be in each state: (patients, states, steps)."""
    each: Floats = _walking.follow_each(
        here.phase, here.age, *fixed, block_of, block_ends, onward,
        odds.leaving, odds.wanted, odds.there, odds.elsewhere,
    )  # fmt: skip
    return each


def tables(
    lengths: LengthModel, phase: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> tuple[Any, Any, Any, Any]:
    """Return chances, shares that move, shares of states and ways, for the walking kernels.

    `phase` and `wanted` are those of patients present: a requested bed counts as
    a way, even where nobody has taken it yet.
    """
    chance, moving, share = lengths.leaving()
    contiguous = np.ascontiguousarray
    leads = np.asarray((share > 0).any(axis=1))
    leads[phase[wanted >= 0], wanted[wanted >= 0]] = True
    return contiguous(chance), contiguous(moving), contiguous(share), _ways(leads)


def _ways(leads: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The states that each phase leads to, then -1."""
    most = max(1, int(leads.sum(axis=1).max(initial=0)))
    # Those that lead somewhere first, in order; the rest are none.
    order = np.argsort(~leads, axis=1, kind="stable")[:, :most]
    ways: npt.NDArray[np.int64] = np.where(np.take_along_axis(leads, order, axis=1), order, -1)
    return ways
