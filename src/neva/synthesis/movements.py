"""The bed of each patient: beds are allocated in order, as they become free."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from neva.synthesis.drawing import HOUR, MINUTE, NEVER, SECOND, generator
from neva.synthesis.plan import Plan
from neva.synthesis.rates import CATEGORIES
from neva.synthesis.units import GROUPS, WITHOUT_BEDS, Bed, furnish

__all__ = ["Movements", "move"]

#: A patient waiting for a bed asks again after this long.
_ASKS_AGAIN: Final = 40 * MINUTE
#: A bed that will be wanted for less than this is not given.
_WORTHWHILE: Final = 1 * HOUR


@dataclass(frozen=True)
class Movements:
    """Movements of all stays, and the beds of the hospital.

    Attributes
    ----------
    frame : polars.DataFrame
        ``number`` (of the stay), ``start``, ``end`` (int64 microseconds, true
        ends), ``unit``, ``bed`` (missing in the emergency department and in
        theatre), ``place`` (0 for the first of a stay), ``delay`` (microseconds
        until it is recorded).
    beds : list of Bed
        All beds.
    """

    frame: pl.DataFrame
    beds: list[Bed]


def _segments(plan: Plan, journeys: pl.DataFrame) -> pl.DataFrame:
    """Say what each stay wants: groups of units, one after the other, with times."""
    rng = generator(plan.seed, "segments")
    get = {
        name: journeys[name].to_numpy()
        for name in (
            "number", "category", "start", "end",
            "intensive_start", "intensive_end", "theatre_start", "theatre_end",
        )
    }  # fmt: skip
    start, end = get["start"], get["end"]
    group = np.array([c.group for c in CATEGORIES])[get["category"]]
    elective = np.array([c.rhythm == "elective" for c in CATEGORIES])[get["category"]]
    home = group == "ed"
    in_emergency = rng.integers(90, 330, len(start)) * MINUTE
    to_ward = np.where(elective, start, np.minimum(start + in_emergency, end - 2 * HOUR))
    to_ward = np.maximum(to_ward, start)
    parts = []

    def part(mask: np.ndarray, groups: np.ndarray | str, begun: np.ndarray) -> None:
        where = np.flatnonzero(mask)
        names = groups if isinstance(groups, str) else pl.Series(groups[where])
        parts.append(
            pl.DataFrame({"number": get["number"][where], "start": begun[where]}).with_columns(
                group=pl.lit(names) if isinstance(names, str) else names
            )
        )

    part(~elective, "ed", start)
    operated = get["theatre_start"] != NEVER
    # A patient sent to theatre or intensive care straight away never sees the ward before.
    intensive = get["intensive_start"] != NEVER
    at_once = intensive & ~elective & (get["intensive_start"] <= to_ward + HOUR)
    part(~home & ~at_once, group, to_ward)
    part(operated, "theatre", get["theatre_start"])
    part(operated & ~(intensive & elective), group, get["theatre_end"])
    part(intensive, "intensive", np.maximum(get["intensive_start"], start + 5 * MINUTE))
    part(intensive & (get["intensive_end"] < end), group, get["intensive_end"])
    return pl.concat(parts).sort("number", "start", maintain_order=True)


def move(plan: Plan, journeys: pl.DataFrame) -> Movements:
    """Give every stay its units and beds.

    A patient asks for a bed in the units of its group, then in those where
    they are put when these are full; who gets none stays where it is (in the
    emergency department, say) and asks again. Nobody is turned away, and no
    bed has two patients.

    Parameters
    ----------
    plan : Plan
        The hospital to make.
    journeys : polars.DataFrame
        See :func:`neva.synthesis.journeys.journeys`.
    """
    segments = _segments(plan, journeys)
    stay_ends = journeys["end"].to_numpy()
    until = (
        segments.select(pl.col("start").shift(-1).over("number"))
        .to_series()
        .fill_null(NEVER)
        .to_numpy()
    )
    number = segments["number"].to_numpy()
    until = np.where(until == NEVER, stay_ends[number], until)
    segments = segments.with_columns(until=until)
    wanted = {
        str(name): (frame["start"].to_numpy(), frame["until"].to_numpy())
        for (name,), frame in segments.group_by("group", maintain_order=True)
    }
    beds = furnish(plan, {name: wanted[name] for name in GROUPS if name in wanted})
    given = _give(segments, beds, stay_ends.tolist())
    frame = pl.DataFrame(
        given,
        schema={
            "number": pl.Int64,
            "start": pl.Int64,
            "unit": pl.String,
            "bed": pl.String,
        },
        orient="row",
    ).sort("number", "start", maintain_order=True)
    following = pl.col("start").shift(-1).over("number")
    ends = pl.Series("stay_end", stay_ends[frame["number"].to_numpy()])
    rng = generator(plan.seed, "movements")
    return Movements(
        frame=frame.with_columns(
            end=pl.coalesce(following, ends),
            place=pl.int_range(pl.len()).over("number"),
            delay=pl.Series(rng.integers(10, 12 * 60, frame.height) * SECOND),
        ),
        beds=beds,
    )


def _give(
    segments: pl.DataFrame, beds: list[Bed], stay_ends: list[int]
) -> list[tuple[int, int, str, str | None]]:
    """Play the hospital through in time; return number, start, unit and bed of each movement."""
    starts = segments["start"].to_list()
    until = segments["until"].to_list()
    numbers = segments["number"].to_list()
    groups = segments["group"].to_list()
    free: dict[str, list[tuple[int, str]]] = {}  # a heap of (open from, bed) for each unit
    for bed in beds:
        free.setdefault(bed.unit, []).append((bed.opens, bed.bed))
    for heap in free.values():
        heapq.heapify(heap)
    # Requests (kind 1) come after departures (kind 0) of the same time.
    events = [(at, 1, row) for row, at in enumerate(starts)]
    events += [(at, 0, number) for number, at in enumerate(stay_ends)]
    heapq.heapify(events)
    lies: dict[int, tuple[str, str] | None] = {}
    given: list[tuple[int, int, str, str | None]] = []
    while events:
        at, kind, row = heapq.heappop(events)
        if kind == 0:
            place = lies.pop(row, None)
            if place is not None:
                heapq.heappush(free[place[0]], (at, place[1]))
            continue
        number = numbers[row]
        units, _ = GROUPS[groups[row]]
        found: tuple[str, str] | None = None
        place = lies.get(number)
        if units[0] in WITHOUT_BEDS:
            given.append((number, at, units[0], None))
        elif place is not None and place[0] in units:
            continue  # it waited there until it was wanted there again
        else:
            for unit in units:
                empty = free.get(unit)
                if empty and empty[0][0] <= at:
                    found = (unit, heapq.heappop(empty)[1])
                    break
            if found is None:
                if number not in lies:
                    # Nowhere else to wait: it boards in the emergency department.
                    given.append((number, at, "ed", None))
                    lies[number] = None
                if until[row] - at > _ASKS_AGAIN + _WORTHWHILE:
                    heapq.heappush(events, (at + _ASKS_AGAIN, 1, row))
                continue
            given.append((number, at, *found))
        if place is not None:
            heapq.heappush(free[place[0]], (at, place[1]))
        lies[number] = found
    return given
