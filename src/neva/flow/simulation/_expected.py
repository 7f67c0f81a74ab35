"""Expected numbers of patients for given arrivals: those present, and future arrivals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neva.flow.forecast.coming import expected_arrivals, hours_of_week
from neva.flow.forecast.entry_effects import EntryOdds
from neva.flow.forecast.forecast import FlowModel
from neva.flow.forecast.present import present_of, tables
from neva.flow.simulation._model_arrays import (
    Clock,
    arrival_edges,
    arrival_rates,
    elective_list,
)
from neva.flow.simulation.hospital_model import HospitalModel
from neva.flow.stays import _walking
from neva.flow.stays.sojourns import Sojourns

__all__ = ["ExpectedNumbers", "expected_numbers", "incoming_of"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExpectedNumbers:
    """Expected numbers from arrivals, by a forecast's lengths of stay.

    Attributes
    ----------
    present : array, shape (2, states, steps)
        After each hour: of patients present, and of future arrivals.
    incoming : array, shape (steps, states)
        Arrivals from outside in each hour, by where they go first.
    """

    present: Floats
    incoming: Floats


def expected_numbers(
    model: FlowModel, sojourns: Sojourns, hours: int, incoming: Floats | None = None
) -> ExpectedNumbers:
    """Expect numbers by hour; without `incoming`, of the arrivals that are forecast."""
    lengths = model.lengths
    here = present_of(lengths, sojourns)
    odds = EntryOdds.none(len(here.phase), hours)
    clock = hours_of_week(sojourns.now, hours, sojourns.zone, daily=False)
    if incoming is None:
        coming, _, _ = expected_arrivals(
            model.groups, sojourns.now, hours, sojourns.zone, daily=False
        )
        incoming = np.zeros((hours, len(lengths.states)))
        for part in coming:
            incoming = incoming + part
    present = _walking.follow_all(
        here.phase, here.age, odds.leaving, odds.wanted, odds.there, odds.elsewhere,
        lengths.band_of, *tables(lengths, here.phase, odds.wanted), lengths.state_of,
        lengths.phase_of, clock, incoming, lengths.first_age, hours,
    )  # fmt: skip
    return ExpectedNumbers(present, incoming)


def incoming_of(model: HospitalModel, sojourns: Sojourns, hours: int) -> Floats:
    """Expected arrivals of a simulated hospital from outside, shape (hours, states)."""
    clock = Clock(sojourns.now, hours, sojourns.zone)
    edges = arrival_edges(model, clock)
    rates = arrival_rates(model, clock, edges)
    marks = clock.start + np.arange(hours + 1)
    total = np.zeros((hours, len(sojourns.states)))
    for rate, each in zip(rates, model.classes, strict=True):
        expected = np.concatenate([[0.0], np.cumsum(rate * np.diff(edges))])
        came = np.diff(np.interp(marks, edges, expected))
        for time, share, _ in elective_list(each, clock):
            step = int(time - clock.start)
            if step < hours:
                came[step] += share
        shares = dict(each.first)
        first = np.array([shares.get(state, 0.0) for state in sojourns.states])
        total += came[:, None] * first[None, :]
    return total
