"""Transitions between states: who was at risk of what, and what happened when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.errors import UsageError
from neva.statistics import _multistate_kernels as kernels

__all__ = ["CENSORED", "RiskTable", "Transitions"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]

#: The target of an interval that ended without a transition being seen.
CENSORED = -1


@dataclass(frozen=True, eq=False, slots=True)
class RiskTable:
    """Numbers at risk and transitions at each time at which there was one.

    Attributes
    ----------
    times : array of float64, shape (k,)
        Distinct times of transitions, ascending.
    at_risk : array of float64, shape (k, states)
        Weight in each state just before each time: intervals with
        ``entry < time <= exit``.
    offsets : array of int64, shape (k + 1,)
        Transitions of time ``i`` are those numbered from ``offsets[i]`` up to,
        not including, ``offsets[i + 1]``.
    origin, target : arrays of int32, shape (m,)
    events : array of float64, shape (m,)
        Weight that moved.
    """

    times: Floats
    at_risk: Floats
    offsets: npt.NDArray[np.int64]
    origin: Integers
    target: Integers
    events: Floats

    @property
    def number(self) -> npt.NDArray[np.int64]:
        """The number of the time of each transition, shape (m,)."""
        return np.repeat(np.arange(len(self.times)), np.diff(self.offsets))

    @property
    def hazards(self) -> Floats:
        """Increments of the Nelson-Aalen estimator, shape (m,)."""
        shares: Floats = self.events / self.at_risk[self.number, self.origin]
        return shares


@dataclass(frozen=True, eq=False)
class Transitions:
    """Intervals spent in a state by cases, and the state that each led to.

    Parameters
    ----------
    entry, exit : array_like of float, shape (n,)
        Observed from `entry` (open) to `exit` (closed), in one unit and from
        one origin of time. A later `entry` than the beginning is left
        truncation.
    origin : array_like of int, shape (n,)
        State during the interval, from 0.
    target : array_like of int, shape (n,)
        State at `exit`; -1 where it is not known (right censoring).
    state_names : sequence of str, length s
    weights : array_like of float, shape (n,), optional
        How many such intervals a row stands for, above 0. Variances take them
        as numbers of independent cases; they are wrong for weights of another
        kind (inverse probabilities).

    Raises
    ------
    UsageError
        Shapes do not fit, an interval is empty or not finite, a state is
        unknown, a case stays where it is, or a weight is not above 0.

    Notes
    -----
    A case in several states in turn is several rows. Any transition may be,
    cycles too; which ones are possible is what was seen. States without rows
    of their own are absorbing.

    Examples
    --------
    >>> two = Transitions([0, 0], [2, 3], [0, 0], [1, -1], ("ward", "home"))
    >>> two.counts.tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """

    entry: Floats
    exit: Floats
    origin: Integers
    target: Integers
    state_names: tuple[str, ...]
    weights: Floats | None = None

    def __post_init__(self) -> None:
        arrays: dict[str, npt.NDArray[Any]] = {
            "entry": np.asarray(self.entry, dtype=np.float64),
            "exit": np.asarray(self.exit, dtype=np.float64),
            "origin": np.asarray(self.origin, dtype=np.int32),
            "target": np.asarray(self.target, dtype=np.int32),
        }
        if self.weights is not None:
            arrays["weights"] = np.asarray(self.weights, dtype=np.float64)
        for name, array in arrays.items():
            if array.ndim != 1 or array.shape != arrays["entry"].shape:
                message = (
                    f"transitions: {name} has shape {array.shape} but entry has "
                    f"{arrays['entry'].shape}; give one element for each interval"
                )
                raise UsageError(message)
            object.__setattr__(self, name, array)
        object.__setattr__(self, "state_names", tuple(self.state_names))
        self._check()

    def _check(self) -> None:
        states = len(self.state_names)
        if len(set(self.state_names)) != states or not states:
            message = f"transitions: state names are missing or repeat: {self.state_names}"
            raise UsageError(f"{message}; give each state its own name")
        finite = np.isfinite(self.entry) & np.isfinite(self.exit)
        _refuse_rows(
            ~finite | (self.entry >= self.exit),
            "its end is not after its begin, or is not finite; leave out intervals of no length",
        )
        _refuse_rows(
            (self.origin < 0) | (self.origin >= states) | (self.target >= states)
            | (self.target < CENSORED),
            f"its state is not one of the {states} that are named; name all states",
        )  # fmt: skip
        _refuse_rows(
            self.origin == self.target, "it leads to where it was; join it with the next one"
        )
        if self.weights is not None:
            _refuse_rows(
                ~(np.isfinite(self.weights) & (self.weights > 0)),
                "its weight is not above 0; leave it out",
            )

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, states: Sequence[str] | None = None) -> Transitions:
        """Read intervals from a frame.

        Parameters
        ----------
        frame : polars.DataFrame
            ``entry``, ``exit`` (numbers), ``origin``, ``target`` (str; a missing
            target is censored), ``weight`` (optional).
        states : sequence of str, optional
            Their order; by default sorted, absorbing ones last.
        """
        origins = sorted(frame["origin"].unique().to_list())
        ends = sorted(set(frame["target"].drop_nulls().to_list()) - set(origins))
        names = tuple(states) if states is not None else (*origins, *ends)
        unknown = sorted({*origins, *ends} - set(names))
        if unknown:
            message = (
                f"states: the frame has others; found {', '.join(unknown)}; "
                "name all states, or none"
            )
            raise UsageError(message)
        number = {name: k for k, name in enumerate(names)}
        return cls(
            entry=frame["entry"].to_numpy(),
            exit=frame["exit"].to_numpy(),
            origin=frame["origin"].replace_strict(number, return_dtype=pl.Int32).to_numpy(),
            target=frame["target"]
            .replace_strict(number, default=None, return_dtype=pl.Int32)
            .fill_null(CENSORED)
            .to_numpy(),
            state_names=names,
            weights=frame["weight"].to_numpy() if "weight" in frame.columns else None,
        )

    def __len__(self) -> int:
        return len(self.entry)

    @property
    def states(self) -> int:
        """How many states there are."""
        return len(self.state_names)

    @property
    def weight(self) -> Floats:
        """Weights, 1 where none are given, shape (n,)."""
        return np.ones(len(self)) if self.weights is None else self.weights

    @property
    def counts(self) -> Floats:
        """Weight of transitions by origin and target, shape (states, states)."""
        moved = self.target != CENSORED
        found = np.bincount(
            self.origin[moved] * self.states + self.target[moved],
            weights=None if self.weights is None else self.weights[moved],
            minlength=self.states**2,
        )
        return found.reshape(self.states, self.states).astype(np.float64)

    @property
    def absorbing(self) -> npt.NDArray[np.bool_]:
        """Whether nobody was ever at risk in a state, shape (states,)."""
        found: npt.NDArray[np.bool_] = np.bincount(self.origin, minlength=self.states) == 0
        return found

    def present(self, time: float) -> Floats:
        """Weight in each state just after a time, shape (states,).

        Those with ``entry <= time < exit``: who came at the time counts, who
        left does not.
        """
        there = (self.entry <= time) & (time < self.exit)
        weights = None if self.weights is None else self.weights[there]
        return np.bincount(self.origin[there], weights, self.states).astype(np.float64)

    @cached_property
    def risk_table(self) -> RiskTable:
        """Numbers at risk and transitions by time; made once."""
        return RiskTable(
            *kernels.count_risk(
                np.argsort(self.exit), np.argsort(self.entry),
                self.entry, self.exit, self.origin, self.target, self.weight, self.states,
            )
        )  # fmt: skip

    def to_frame(self) -> pl.DataFrame:
        """Return ``entry``, ``exit``, ``origin``, ``target`` (missing: censored), ``weight``."""
        names = pl.Series(self.state_names, dtype=pl.String)
        ends = pl.Series(self.target).cast(pl.Int64)
        return pl.DataFrame(
            {
                "entry": self.entry,
                "exit": self.exit,
                "origin": names.gather(pl.Series(self.origin).cast(pl.UInt32)),
                "target": names.gather(ends.set(ends == CENSORED, None)),
                "weight": self.weight,
            }
        )


def _refuse_rows(wrong: npt.NDArray[np.bool_], why: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        message = f"transitions: interval {row} of {len(wrong)} ({int(wrong.sum())} such): {why}"
        raise UsageError(message)
