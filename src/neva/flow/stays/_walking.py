"""Where patients will be, hour by hour: the kernels behind the forecast.

Two ways through the same rates. The exact one follows everybody together and
gives expected numbers; the one by patient gives each their own probabilities,
with later moves gathered in blocks of hours.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from neva.compiled import compiled
from neva.statistics.distributions import bernoulli_window, compound, direct, scaled_mixture

#: A patient of whom something was entered leaves, and goes where a bed was asked for, with
#: at least these chances in a step, before what was entered multiplies their odds.
LEAST_LEAVING = 1e-5
LEAST_WANTED = 1e-3


@compiled(cache=True, nogil=True)
def _band(band_of: Any, phase: int, age: float, last: int) -> int:
    """Band of a step that begins at `age`: the one of its middle."""
    return int(band_of[phase, min(int(2 * age + 1 + 1e-9), last)])


@compiled(cache=True, nogil=True)
def _chances(
    p: int, band: int, hour: int, chance: Any, moving: Any, share: Any, ways: Any,
    leaving: float, wanted: int, there: float, elsewhere: float, moved: Any,
) -> float:  # fmt: skip
    """Chances of a step: to leave the hospital; those of each way go to `moved`.

    The odds to leave are multiplied by `leaving`, those of the state that is
    `wanted` by `there` and of all others by `elsewhere`, against staying.
    """
    both = chance[p, band, hour]
    moves = both * moving[p, band, hour]
    leave = both - moves
    if leaving == 1.0 and there == 1.0 and elsewhere == 1.0:
        for k in range(ways.shape[1]):
            s = ways[p, k]
            moved[k] = moves * share[p, band, s] if s >= 0 else 0.0
        return float(leave)
    if leaving != 1.0:
        leave = max(leave, LEAST_LEAVING)
    away, total = leave, leave * leaving
    for k in range(ways.shape[1]):
        s = ways[p, k]
        moved[k] = moves * share[p, band, s] if s >= 0 else 0.0
        if s >= 0 and s == wanted and there != 1.0:
            moved[k] = max(moved[k], LEAST_WANTED)
            away += moved[k]
            moved[k] *= there
        else:
            away += moved[k]
            moved[k] *= elsewhere
        total += moved[k]
    total += max(1.0 - away, 0.0)
    for k in range(ways.shape[1]):
        moved[k] /= total
    return float(leave * leaving / total)


@compiled(cache=True, nogil=True)
def follow_all(
    phase: Any, age: Any, leaving: Any, wanted: Any, there: Any, elsewhere: Any,
    band_of: Any, chance: Any, moving: Any, share: Any, ways: Any,
    state_of: Any, phase_of: Any,
    clock: Any, coming: Any, first_age: float, steps: int,
) -> Any:  # fmt: skip
    """Expected numbers by state and step, of those here and of those to come.

    `leaving`, `there`, `elsewhere` (n, steps) and `wanted` (n) are what was entered of those
    here (:class:`neva.flow.forecast.entry_effects.EntryOdds`). `ways` (phases, most) lists
    the states that each phase leads to, then -1.
    `coming` has shape (steps, states): expected arrivals from outside in each
    step. Returns present (2, states, steps): those here now, those to come.
    """
    phases = len(state_of)
    states = phase_of.shape[1]
    last = band_of.shape[1] - 1
    present = np.zeros((2, states, steps))
    inflow = np.zeros((2, steps, phases))
    moved = np.zeros(ways.shape[1])
    for i in range(len(phase)):
        p = phase[i]
        stays = 1.0
        for t in range(steps):
            band = _band(band_of, p, age[i] + t, last)
            hour = clock[t]
            goes = stays * _chances(
                p, band, hour, chance, moving, share, ways,
                leaving[i, t], wanted[i], there[i, t], elsewhere[i, t], moved,
            )  # fmt: skip
            for k in range(ways.shape[1]):
                if moved[k] > 0.0:
                    inflow[0, t, phase_of[state_of[p] + 1, ways[p, k]]] += stays * moved[k]
                    goes += stays * moved[k]
            stays -= goes
            present[0, state_of[p], t] += stays
            if stays < 1e-12:
                break
    for t in range(steps):
        for s in range(states):
            inflow[1, t, phase_of[0, s]] += coming[t, s]
    for t in range(steps):
        for p in range(phases):
            here, come = inflow[0, t, p], inflow[1, t, p]
            if here + come <= 1e-12:
                continue
            stays = 1.0
            at = state_of[p]
            present[0, at, t] += here
            present[1, at, t] += come
            for later in range(t + 1, steps):
                band = _band(band_of, p, first_age + later - t - 1, last)
                hour = clock[later]
                goes = stays * chance[p, band, hour]
                if goes > 0.0:
                    for k in range(ways.shape[1]):
                        s = ways[p, k]
                        if s < 0:
                            break
                        part = goes * share[p, band, s] * moving[p, band, hour]
                        to = phase_of[at + 1, s]
                        inflow[0, later, to] += here * part
                        inflow[1, later, to] += come * part
                stays -= goes
                present[0, at, later] += here * stays
                present[1, at, later] += come * stays
                if stays < 1e-12:
                    break
    return present


@compiled(cache=True, nogil=True)
def _walk(
    p: int, age: float, begin: int, band_of: Any, chance: Any, moving: Any, share: Any, ways: Any,
    state_of: Any, phase_of: Any, clock: Any, block_of: Any, block_ends: Any, onward: Any,
    result: Any, leaving: Any, wanted: int, there: Any, elsewhere: Any,
) -> None:  # fmt: skip
    """Add one patient's probabilities by state and step to `result` (states, steps).

    `leaving`, `there`, `elsewhere` (steps) and `wanted` are what was entered of
    them. Those who moved within a block count to where they moved until the
    block ends, and as `onward` says from there on.
    """
    states, steps = result.shape
    last = band_of.shape[1] - 1
    at = state_of[p]
    stays = 1.0
    moved, step = np.zeros(ways.shape[1]), np.zeros(ways.shape[1])
    for t in range(begin, steps):
        band = _band(band_of, p, age + t - begin, last)
        hour = clock[t]
        goes = stays * _chances(
            p, band, hour, chance, moving, share, ways,
            leaving[t], wanted, there[t], elsewhere[t], step,
        )  # fmt: skip
        for k in range(ways.shape[1]):
            moved[k] += stays * step[k]
            goes += stays * step[k]
        stays -= goes
        result[at, t] += stays
        block = block_of[t]
        for k in range(ways.shape[1]):
            if moved[k] > 0.0:
                result[ways[p, k], t] += moved[k]
        if t + 1 == block_ends[block]:
            for k in range(ways.shape[1]):
                weighs = moved[k]
                moved[k] = 0.0
                if weighs > 1e-12:
                    then = onward[phase_of[at + 1, ways[p, k]], block]
                    for other in range(states):
                        into, of = result[other], then[other]
                        for later in range(t + 1, steps):
                            into[later] += weighs * of[later]
        if stays < 1e-12 and moved.sum() == 0.0:
            break


@compiled(cache=True, nogil=True, parallel=True)
def onward_of(
    band_of: Any, chance: Any, moving: Any, share: Any, ways: Any, state_of: Any,
    phase_of: Any, clock: Any,
    block_of: Any, block_ends: Any, first_age: float, used: Any,
) -> Any:  # fmt: skip
    """Probabilities by state and step of one who came to a phase in a block of steps.

    Shape (phases, blocks, states, steps); from the end of the block on.
    """
    phases = len(state_of)
    states = phase_of.shape[1]
    steps = len(clock)
    blocks = len(block_ends)
    onward = np.zeros((phases, blocks, states, steps))
    # Of those to come to a phase nothing is entered.
    ones = np.ones(steps)
    for back in range(blocks):
        block = blocks - 1 - back
        end = block_ends[block]
        begin = block_ends[block - 1] if block > 0 else 0
        # On average they came in the middle of the block.
        age = first_age + (end - begin - 1) / 2
        if end < steps:
            for p in numba.prange(phases):
                if used[p]:
                    _walk(
                        p, age, end, band_of, chance, moving, share, ways, state_of,
                        phase_of, clock, block_of, block_ends, onward, onward[p, block],
                        ones, -1, ones, ones,
                    )  # fmt: skip
    return onward


@compiled(cache=True, nogil=True, parallel=True)
def follow_each(
    phase: Any, age: Any, band_of: Any, chance: Any, moving: Any, share: Any, ways: Any,
    state_of: Any, phase_of: Any, clock: Any, block_of: Any, block_ends: Any, onward: Any,
    leaving: Any, wanted: Any, there: Any, elsewhere: Any,
) -> Any:  # fmt: skip
    """Probability of each patient to be in each state after each step: (n, states, steps)."""
    states = phase_of.shape[1]
    steps = len(clock)
    result = np.zeros((len(phase), states, steps))
    for i in numba.prange(len(phase)):
        _walk(
            phase[i], age[i], 0, band_of, chance, moving, share, ways, state_of, phase_of, clock,
            block_of, block_ends, onward, result[i], leaving[i], wanted[i], there[i], elsewhere[i],
        )  # fmt: skip
    return result


@compiled(cache=True, nogil=True, parallel=True)
def count_distributions(
    chances: Any, means: Any, shapes: Any, ratios: Any, tail: float, size: int
) -> Any:
    """Distributions of the numbers present: (columns, size).

    Parameters: probabilities of patients here now (columns, n); means of those
    to come by component (c, columns) with shapes (c,); ratios (r, columns) by
    which the mean of the sum is multiplied, equally likely.
    """
    columns = len(chances)
    result = np.zeros((columns, size))
    for column in numba.prange(columns):
        here = bernoulli_window(chances[column], tail)
        come = compound(shapes, means[:, column], tail, size)
        result[column] = scaled_mixture(direct(here, come), ratios[:, column], tail, size)
    return result
