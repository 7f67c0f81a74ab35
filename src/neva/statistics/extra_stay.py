"""Extra length of stay caused by an event during the stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.statistics import _multistate_kernels as kernels
from neva.statistics.transitions import Transitions

__all__ = ["ExtraStay", "extra_stay"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class ExtraStay:
    """Change in length of stay due to an event during the stay.

    Attributes
    ----------
    extra : float
        Expected extra time of those with the event, averaged over the times
        at which cases leave the state before it; above 0 is longer.
    times : array, shape (k,)
    exposed, unexposed : array, shape (k,)
        Expected end of stay (time since its beginning) of one who is there
        just after each time, with and without the event so far.
    weights : array, shape (k,)
        Share of cases that left the state without the event at each time.
    horizon : float
        Ends later than it count as at it.
    """

    extra: float
    times: Floats
    exposed: Floats
    unexposed: Floats
    weights: Floats
    horizon: float

    def to_frame(self) -> pl.DataFrame:
        """Return ``time``, ``exposed``, ``unexposed``, ``weight``."""
        return pl.DataFrame(
            {
                "time": self.times,
                "exposed": self.exposed,
                "unexposed": self.unexposed,
                "weight": self.weights,
            }
        )


def extra_stay(transitions: Transitions, *, before: int = 0, after: int = 1) -> ExtraStay:
    """Estimate the extra length of stay due to an event.

    Parameters
    ----------
    transitions : Transitions
        Two states that are left, `before` and `after` the event (such as a
        hospital infection), and states without return (discharged, died).
    before, after : int

    Returns
    -------
    ExtraStay

    Raises
    ------
    UsageError
        There are other states that are left, or the event or the end of a
        stay was never seen.

    Notes
    -----
    Comparing stays with and without the event counts the days before it as if
    they were due to it (immortal time). Here, at each time, those who have had
    it are compared with those who have not had it yet. It is a description of
    a Markov process, not the effect of preventing the event: those who get it
    may be sicker. Equal to ``clos`` of R's ``etm``; where nobody is at risk
    after a time in one of the two states, the difference counts as 0 there.

    References
    ----------
    Schulgen G, Schumacher M (1996), doi:10.1007/BF00128468.
    Beyersmann J et al. (2006), doi:10.1086/507967.

    Examples
    --------
    >>> seen = Transitions([0, 0, 0, 0, 1, 3], [4, 6, 1, 3, 6, 9], [0, 0, 0, 0, 1, 1],
    ...                    [2, 2, 1, 1, 2, 2], ("well", "infected", "home"))
    >>> round(extra_stay(seen).extra, 3)
    1.417
    """
    left = np.flatnonzero(~transitions.absorbing)
    counts = transitions.counts
    ends = transitions.absorbing
    if not set(left) <= {before, after} or before == after:
        others = [transitions.state_names[h] for h in left if h not in {before, after}]
        message = (
            f"extra stay: other states are left too: {', '.join(others) or 'none'}; name two "
            "states, before and after the event, and join the others with them"
        )
        raise UsageError(message)
    if not counts[before, after] or not counts[:, ends].sum() or counts[after, before]:
        message = (
            "extra stay: the event or the end of a stay was never seen, or the event was undone; "
            f"found {counts[before, after]:g} events and {counts[:, ends].sum():g} ends; choose "
            "another event"
        )
        raise UsageError(message)
    table = transitions.risk_table
    horizon = float(transitions.exit.max())
    hazards = table.hazards
    expected = kernels.expected_ends(
        table.times, table.offsets, table.origin, table.target, hazards,
        transitions.states, ends, horizon,
    )  # fmt: skip
    leaving = np.bincount(
        table.number, np.where(table.origin == before, hazards, 0.0), len(table.times)
    )
    staying = np.cumprod(1 - leaving)
    weights = -np.diff(staying, prepend=1.0)
    # At risk just after a time; after the last, those who did not move at it.
    moved = np.zeros(transitions.states)
    final = slice(table.offsets[-2], table.offsets[-1])
    np.add.at(moved, table.origin[final], table.events[final])
    later = np.vstack([table.at_risk[1:], table.at_risk[-1] - moved])
    both = (later[:, before] > 0) & (later[:, after] > 0)
    difference = np.where(both, expected[:, after] - expected[:, before], 0.0)
    return ExtraStay(
        extra=float(difference @ weights),
        times=table.times,
        exposed=expected[:, after],
        unexposed=expected[:, before],
        weights=weights,
        horizon=horizon,
    )
