"""Cox regression of all transitions between states, and where given cases will be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.statistics import _multistate_kernels as kernels
from neva.statistics._curves import not_before, steps
from neva.statistics.cox import cox
from neva.statistics.cox_model import CoxModel, PredictedHazard
from neva.statistics.multistate import Occupation
from neva.statistics.transitions import RiskTable, Transitions

__all__ = ["TransitionModel", "cox_transitions"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class TransitionModel:
    """Hazards of all transitions given covariates.

    Attributes
    ----------
    origin, target : array of int, shape (t,)
        The transitions.
    models : tuple of CoxModel, length t
        One a transition; the same one for all if coefficients are shared.
    strata : tuple of str, length t
        Name of each transition, and of its stratum in its model.
    names : tuple of str
        Covariates.
    table : RiskTable
        Who was at risk when it was fitted.
    state_names : tuple of str
    """

    origin: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    models: tuple[CoxModel, ...]
    strata: tuple[str, ...]
    names: tuple[str, ...]
    table: RiskTable
    state_names: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader must know, by transition."""
        sentences = [
            f"{name}: {warning}" if len(model.strata) == 1 else warning
            for name, model in zip(self.strata, self.models, strict=True)
            for warning in model.warnings
        ]
        return tuple(dict.fromkeys(sentences))

    def cumulative_hazard(
        self, x: npt.ArrayLike, origin: str, target: str, *, times: npt.ArrayLike | None = None
    ) -> PredictedHazard:
        """Return the cumulative hazard of one transition for covariates `x`, shape (p,)."""
        name = _way(origin, target)
        if name not in self.strata:
            message = f"transition: found {name}; give one of: {', '.join(self.strata)}"
            raise UsageError(message)
        model = self.models[self.strata.index(name)]
        return model.cumulative_hazard(x, name, times=times)

    def occupation(
        self,
        x: npt.ArrayLike,
        *,
        initial: npt.ArrayLike,
        start: float = 0.0,
        times: npt.ArrayLike | None = None,
    ) -> Occupation:
        """Return the probability to be in each state for a case with covariates `x`.

        Parameters
        ----------
        x : array_like, shape (p,)
        initial : array_like, shape (states,)
            Distribution at `start`.
        start : float
        times : array_like, shape (k,), optional
            Ascending; by default all times of events after `start`.

        Returns
        -------
        Occupation
            Without covariance.

        Notes
        -----
        The product integral of predicted hazards, as ``probtrans`` of R's
        mstate (R's ``survfit`` takes matrix exponentials of the same hazards,
        which differ where few are at risk). Where the hazards of leaving a
        state at one time sum to more than 1, as may be late and for high
        risks, they are scaled to 1: all leave.
        """
        parts = [
            model.cumulative_hazard(x, name)
            for name, model in zip(self.strata, self.models, strict=True)
        ]
        moments, offsets, way, hazards = _increments(parts, self.origin)
        begin = int(np.searchsorted(moments, start, side="right"))
        if times is None:
            asked, keep = moments[begin:], np.arange(begin + 1, len(moments) + 1)
        else:
            asked = np.asarray(times, dtype=np.float64)
            not_before(start, asked)
            keep = np.maximum(steps(moments, asked), begin)
        first = np.asarray(initial, dtype=np.float64)
        if first.shape != (len(self.state_names),) or not np.isclose(first.sum(), 1):
            message = (
                f"initial: no distribution; found shape {first.shape} and sum {first.sum():g}; "
                f"give one share for each of {len(self.state_names)} states, with sum 1"
            )
            raise UsageError(message)
        carried = kernels.product_integral(
            offsets, self.origin[way].astype(np.int32), self.target[way].astype(np.int32), hazards,
            begin, keep, first[None, :],
        )  # fmt: skip
        at = np.maximum(np.searchsorted(self.table.times, asked, side="right") - 1, 0)
        return Occupation(
            times=asked,
            occupation=carried[:, 0, :],
            covariance=None,
            at_risk=self.table.at_risk[at],
            start=start,
            initial=first,
            state_names=self.state_names,
        )

    def to_frame(self, level: float = 0.95) -> pl.DataFrame:
        """Return the coefficients: ``transition`` before the columns of a Cox model.

        Shared coefficients are shown once, of the transition ``all``.
        """
        shared = len(self.models[0].strata) > 1
        shown = [("all", self.models[0])] if shared else zip(self.strata, self.models, strict=True)
        return pl.concat(
            [model.to_frame(level).insert_column(0, pl.lit(n).alias("transition"))
             for n, model in shown]
        )  # fmt: skip


def _increments(
    parts: Sequence[PredictedHazard], origin: npt.NDArray[np.int64]
) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
    """Times, offsets, and number and hazard of transitions, in order of time."""
    times = np.concatenate([part.times for part in parts])
    way = np.repeat(np.arange(len(parts)), [len(part.times) for part in parts])
    hazards = np.concatenate([np.diff(part.hazard, prepend=0.0) for part in parts])
    order = np.lexsort((way, times))
    way, hazards = way[order], hazards[order]
    moments, first, number = np.unique(times[order], return_index=True, return_inverse=True)
    leaving = np.zeros((len(moments), int(origin.max()) + 1))
    np.add.at(leaving, (number, origin[way]), hazards)
    hazards = hazards / np.maximum(leaving[number, origin[way]], 1.0)
    return moments, np.append(first, len(way)), way, hazards


def _way(origin: str, target: str) -> str:
    return f"{origin} to {target}"


def _pairs_of_states(
    transitions: Transitions, possible: Sequence[tuple[str, str]] | None
) -> list[tuple[int, int]]:
    """Number the transitions that are asked for, all that were seen by default."""
    seen = transitions.counts
    states = transitions.state_names
    if possible is None:
        pairs = [(int(h), int(j)) for h, j in np.argwhere(seen > 0)]
    else:
        unknown = sorted({name for pair in possible for name in pair} - set(states))
        if unknown:
            message = f"possible: no such state: {', '.join(unknown)}; give {', '.join(states)}"
            raise UsageError(message)
        pairs = sorted((states.index(h), states.index(j)) for h, j in possible)
        never = [_way(states[h], states[j]) for h, j in pairs if not seen[h, j]]
        if never:
            message = f"cox: no events in {', '.join(never)}; leave out what was never seen"
            raise UsageError(message)
    if not pairs:
        raise UsageError("cox: no transition was seen; found none; choose a longer period")
    return pairs


def cox_transitions(
    transitions: Transitions,
    covariates: npt.ArrayLike,
    *,
    names: Sequence[str],
    possible: Sequence[tuple[str, str]] | None = None,
    shared: bool = False,
    cluster: npt.ArrayLike | None = None,
    ties: Literal["efron", "breslow"] = "efron",
) -> TransitionModel:
    """Fit Cox's model to every transition.

    Parameters
    ----------
    transitions : Transitions
        Time since one origin for all states (clock forward).
    covariates : array_like of float, shape (n, p)
        One row an interval.
    names : sequence of str, length p
    possible : sequence of (origin, target), optional
        Which transitions; by default all that were seen.
    shared : bool
        Whether coefficients are the same for all transitions. By default each
        has its own: few events for many coefficients.
    cluster, ties
        As :func:`neva.statistics.cox.cox`.

    Raises
    ------
    UsageError
        As :func:`neva.statistics.cox.cox`, with the transition's name.

    References
    ----------
    Putter H, Fiocco M, Geskus RB (2007), doi:10.1002/sim.2712.
    """
    states = transitions.state_names
    pairs = _pairs_of_states(transitions, possible)
    x = np.asarray(covariates, dtype=np.float64)
    if x.ndim != 2 or len(x) != len(transitions):
        message = (
            f"covariates: found shape {x.shape} for {len(transitions)} intervals; give one row each"
        )
        raise UsageError(message)
    owner = None if cluster is None else np.asarray(cluster)
    labels = [_way(states[h], states[j]) for h, j in pairs]
    at_risk = [np.flatnonzero(transitions.origin == h) for h, _ in pairs]
    events = [transitions.target[rows] == j for rows, (_, j) in zip(at_risk, pairs, strict=True)]

    def fit(ways: Sequence[int]) -> CoxModel:
        rows = np.concatenate([at_risk[way] for way in ways])
        return cox(
            transitions.entry[rows],
            transitions.exit[rows],
            np.concatenate([events[way] for way in ways]),
            x[rows],
            names=names,
            stratum=np.repeat([labels[way] for way in ways], [len(at_risk[way]) for way in ways]),
            weights=None if transitions.weights is None else transitions.weights[rows],
            cluster=None if owner is None else owner[rows],
            ties=ties,
        )

    models: tuple[CoxModel, ...]
    if shared:
        models = (fit(range(len(pairs))),) * len(pairs)
    else:
        fitted = []
        for way, label in enumerate(labels):
            try:
                fitted.append(fit([way]))
            except UsageError as error:
                raise UsageError(f"{label}: {error}") from error
        models = tuple(fitted)
    return TransitionModel(
        origin=np.array([h for h, _ in pairs]),
        target=np.array([j for _, j in pairs]),
        models=models,
        strata=tuple(labels),
        names=tuple(names),
        table=transitions.risk_table,
        state_names=states,
    )
