"""Expected arrivals and departures, unit by unit: the two halves of a forecast.

The forecast of occupancy adds those here now and those to come. A bed manager
needs them separately: how many of today's patients will have left a unit by
noon, and how many will have come to it. Both are made here from the same
probabilities by patient and the same arrivals.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import polars as pl

from neva.events.hospital import Hospital
from neva.events.schema import TIME, Columns
from neva.flow.forecast.coming import expected_arrivals, hours_of_week
from neva.flow.forecast.entry_effects import RELIABILITY, EntryEffects, EntryOdds
from neva.flow.forecast.entry_history import EntryHistory, entry_history, past_moments
from neva.flow.forecast.entry_learning import learn_entries
from neva.flow.forecast.forecast import (
    FlowModel,
    _blocks,
    _size,
    _times,
    fit_flow,
)
from neva.flow.forecast.present import follow_each, nobody, present_of, tables
from neva.flow.stays import _walking
from neva.flow.stays.sojourns import Sojourns, known_sojourns
from neva.statistics.distributions import TAIL, quantiles

__all__ = ["MovesAhead", "hospital_moves_ahead", "moves_ahead"]

_UNITS: Final[Columns] = {
    "unit": pl.String,
    "time": TIME,
    **dict.fromkeys(("coming", "coming_low", "coming_high"), pl.Float64),
    **dict.fromkeys(("leaving", "leaving_low", "leaving_high"), pl.Float64),
    "leaving_hospital": pl.Float64,
    "leaving_hospital_by_lengths": pl.Float64,
}
_PATIENTS: Final[Columns] = {
    "subject_id": pl.Int64,
    "unit": pl.String,
    "time": TIME,
    "leaves_unit": pl.Float64,
    "leaves_hospital": pl.Float64,
    "leaves_hospital_by_lengths": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class MovesAhead:
    """Expected arrivals and departures.

    Attributes
    ----------
    units : polars.DataFrame
        One row a unit and time: ``unit``, ``time`` (UTC), ``coming`` (expected
        number of those who are not in the unit at `issued` and are at the
        time, from outside or from other units; who came and left again in
        between is in neither), ``coming_low``, ``coming_high`` (90 %: 5th and
        95th percentile), ``leaving`` with the same limits (of those in it at
        `issued`, who are not in it at the time), ``leaving_hospital`` (of
        them, expected to have left the hospital or died) and
        ``leaving_hospital_by_lengths`` (by lengths of stay alone; missing where
        nothing entered was looked at).
    patients : polars.DataFrame
        One row a patient present and time: ``subject_id``, ``unit``, ``time``,
        ``leaves_unit`` and ``leaves_hospital``: probabilities that they are not
        in the unit, and not in the hospital, at the time; and
        ``leaves_hospital_by_lengths``?, by lengths of stay alone.
    reliability : polars.DataFrame or None
        What entries were worth in the past: columns of
        :data:`neva.flow.forecast.entry_effects.RELIABILITY`.
    issued : datetime
        Nothing later was used.
    identity : str
        Of the data.

    Notes
    -----
    The rates are taken as known: unlike the forecast of occupancy, what they
    might be instead does not widen these intervals.
    """

    units: pl.DataFrame
    patients: pl.DataFrame
    issued: datetime
    identity: str
    reliability: pl.DataFrame | None = None

    def to_frame(self) -> pl.DataFrame:
        """Return the table of units."""
        return self.units

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return {
            "issued": self.issued.isoformat(),
            "identity": self.identity,
            "units": _columns(self.units),
            "patients": _columns(self.patients),
            "reliability": None if self.reliability is None else _columns(self.reliability),
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> MovesAhead:
        """Read what :meth:`to_document` gave."""
        reliability = document.get("reliability")
        return cls(
            units=_frame(document["units"], _UNITS),
            patients=_frame(document["patients"], _PATIENTS),
            reliability=None if reliability is None else _frame(reliability, RELIABILITY),
            issued=datetime.fromisoformat(document["issued"]),
            identity=document["identity"],
        )


def _columns(frame: pl.DataFrame) -> dict[str, list[Any]]:
    # Pseudonyms have 63 bits: as numbers they would not survive JSON readers.
    kept = frame.with_columns(
        pl.col(pl.Float64).round(6),
        pl.col(TIME).dt.timestamp("us"),
        *([pl.col("subject_id").cast(pl.String)] if "subject_id" in frame.columns else []),
    )
    return kept.to_dict(as_series=False)


def _frame(columns: dict[str, list[Any]], schema: Columns) -> pl.DataFrame:
    frame = pl.DataFrame(columns)
    # A document of an earlier version of Neva lacks what came later.
    return frame.select(
        (pl.col(name) if name in frame.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in schema.items()
    )


def moves_ahead(
    model: FlowModel,
    sojourns: Sojourns,
    *,
    steps: int,
    effects: EntryEffects | None = None,
    history: EntryHistory | None = None,
) -> MovesAhead:
    """Expect arrivals and departures at the ends of the next steps.

    Parameters
    ----------
    model : FlowModel
        Fitted at or before the *now* of `sojourns`.
    sojourns : Sojourns
        As known at *now*.
    steps : int
        Hours; days where times are only known to the day.
    effects, history
        See :func:`neva.flow.forecast.forecast.forecast_flow`.
    """
    lengths = model.lengths
    daily = lengths.step_hours == 24
    times = _times(sojourns.now, steps, sojourns.zone, daily=daily)
    clock = hours_of_week(sojourns.now, steps, sojourns.zone, daily=daily)
    here = present_of(lengths, sojourns)
    phase = here.phase
    coming, shapes, _ = expected_arrivals(
        model.groups, sojourns.now, steps, sojourns.zone, daily=daily
    )
    block_of, block_ends = _blocks(steps)
    odds = here.odds(lengths, effects, history, steps)
    fixed = (
        lengths.band_of, *tables(lengths, phase, odds.wanted), lengths.state_of,
        lengths.phase_of, clock,
    )  # fmt: skip
    used = np.ones(len(lengths.state_of), dtype=np.bool_)
    onward = _walking.onward_of(*fixed, block_of, block_ends, lengths.first_age, used)
    each = np.clip(follow_each(here, odds, fixed, block_of, block_ends, onward), 0.0, 1.0)
    outside = [
        _walking.follow_all(*nobody(steps), *fixed, part, lengths.first_age, steps)[1]
        for part in coming
    ]
    states = len(lengths.states)
    means = np.stack(outside) if outside else np.zeros((0, states, steps))
    own = lengths.state_of[phase][:, None] == np.arange(states)[None, :]
    # Patients in the unit now: the chance to be elsewhere; all others: to be there.
    gone = np.where(own[:, :, None], 1.0 - each, 0.0).reshape(len(phase), states * steps)
    there = np.where(own[:, :, None], 0.0, each).reshape(len(phase), states * steps)
    flat = means.reshape(len(means), states * steps)
    leaving = _counted(gone, np.zeros((0, states * steps)), np.zeros(0))
    arriving = _counted(there, flat, shapes)
    surest = 1.0 if effects is None else effects.surest
    out_of_all = np.clip(1.0 - each.sum(axis=1), 0.0, surest)
    exits = np.einsum("ps,pt->st", own.astype(float), out_of_all)
    without: Any = None
    if effects is not None:
        plain = EntryOdds.none(len(phase), steps)
        alone = np.clip(follow_each(here, plain, fixed, block_of, block_ends, onward), 0.0, 1.0)
        without = np.clip(1.0 - alone.sum(axis=1), 0.0, 1.0)
    names = np.repeat(np.array(lengths.states, dtype=object), steps)
    units = pl.DataFrame(
        {
            "unit": names,
            "time": list(times) * states,
            "coming": there.sum(axis=0) + flat.sum(axis=0),
            "coming_low": arriving[:, 0],
            "coming_high": arriving[:, 1],
            "leaving": gone.sum(axis=0),
            "leaving_low": leaving[:, 0],
            "leaving_high": leaving[:, 1],
            "leaving_hospital": exits.reshape(-1),
            "leaving_hospital_by_lengths": None
            if without is None
            else np.einsum("ps,pt->st", own.astype(float), without).reshape(-1),
        },
        schema_overrides=_UNITS,
    )
    at = lengths.state_of[phase]
    patients = pl.DataFrame(
        {
            "subject_id": np.repeat(here.subjects, steps),
            "unit": np.repeat(np.array(lengths.states, dtype=object)[at], steps),
            "time": list(times) * len(phase),
            "leaves_unit": (1.0 - each[np.arange(len(phase)), at]).reshape(-1),
            "leaves_hospital": out_of_all.reshape(-1),
            "leaves_hospital_by_lengths": None if without is None else without.reshape(-1),
        },
        schema_overrides=_PATIENTS,
    )
    reliability = None if effects is None else effects.reliability
    return MovesAhead(units, patients, sojourns.now, sojourns.identity, reliability)


def _counted(chances: Any, means: Any, shapes: Any) -> Any:
    """5th and 95th percentiles of the sums, shape (columns, 2)."""
    ratios = np.ones((1, chances.shape[1]))
    size = _size(chances, means, shapes, ratios)
    distribution = _walking.count_distributions(
        np.ascontiguousarray(chances.T), means, shapes, ratios, TAIL, size
    )
    distribution /= distribution.sum(axis=1, keepdims=True)
    return quantiles(distribution, [0.05, 0.95]).astype(np.float64)


def hospital_moves_ahead(
    hospital: Hospital,
    at: datetime | None = None,
    *,
    hours: int = 36,
    by: str = "auto",
    entries: bool = True,
) -> MovesAhead:
    """Fit the flow of a hospital to its past and expect the moves of the next hours.

    Parameters
    ----------
    hospital : Hospital
    at : datetime, optional
        Aware; the data cut if not given.
    hours : int
        How far to look; whole days where times are only known to the day.
    by : str
        See :func:`neva.flow.sojourns_of`.
    entries : bool
        Use entries about the patients present, weighted by how far they came
        true in the past.

    Raises
    ------
    UsageError
        Too little is known to learn from.
    """
    known = known_sojourns(hospital, at, by=by)
    model = fit_flow(known, days=hours // 24 + 2)
    history = entry_history(hospital, past_moments(known.now)) if entries else None
    effects = None if history is None else learn_entries(history, known, model.lengths)[0]
    steps = max(1, int(hours // model.lengths.step_hours))
    return moves_ahead(model, known, steps=steps, effects=effects, history=history)
