"""Units and beds of the synthetic hospital."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from neva.synthesis.drawing import DAY, HOUR, Times, as_time, generator
from neva.synthesis.plan import Plan

__all__ = ["GROUPS", "UNITS", "WITHOUT_BEDS", "Bed", "bed_rows", "furnish", "unit_rows"]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit: its kind, its parent, its share of the beds of its group."""

    name: str
    kind: str
    parent: str
    specialty: str
    title: str


UNITS: Final = (
    Unit("ed", "ed", "emergency", "emergency medicine", "Emergency department"),
    Unit("short-stay", "ward", "emergency", "emergency medicine", "Short-stay ward"),
    Unit("medical-1", "ward", "medicine", "internal medicine", "Medical ward 1"),
    Unit("medical-2", "ward", "medicine", "internal medicine", "Medical ward 2"),
    Unit("covid-1", "ward", "medicine", "infectious diseases", "COVID ward 1"),
    Unit("covid-2", "ward", "medicine", "infectious diseases", "COVID ward 2"),
    Unit("surgical", "ward", "surgery", "surgery", "Surgical ward"),
    Unit("cardiology", "ward", "medicine", "cardiology", "Cardiology"),
    Unit("stroke-unit", "ward", "medicine", "neurology", "Stroke unit"),
    Unit("icu-1", "icu", "critical-care", "intensive care", "Intensive care 1"),
    Unit("icu-2", "icu", "critical-care", "intensive care", "Intensive care 2"),
    Unit("theatre", "theatre", "surgery", "surgery", "Operating theatre"),
)
_PARENTS: Final = ("emergency", "medicine", "surgery", "critical-care")

#: Units in which a group of patients may lie: its own first, then where they
#: are put when those are full. The number is how many are its own.
GROUPS: Final[dict[str, tuple[tuple[str, ...], int]]] = {
    "ed": (("ed",), 1),
    "covid": (("covid-1", "covid-2", "medical-2"), 2),
    "medical": (("medical-1", "medical-2", "short-stay"), 3),
    "cardiology": (("cardiology", "medical-1"), 1),
    "stroke": (("stroke-unit", "medical-2"), 1),
    "surgical": (("surgical", "short-stay"), 1),
    "intensive": (("icu-1", "icu-2"), 2),
    "theatre": (("theatre",), 1),
}
#: The emergency department has bays without numbers, the theatre has tables.
WITHOUT_BEDS: Final = ("ed", "theatre")
#: Beds suffice for all but this share of the hours of each group.
_TIGHTNESS: Final = 0.03
#: Share of the beds of COVID wards and intensive care that open only later.
_OPENED_LATER: Final = 0.15


@dataclass(frozen=True, slots=True)
class Bed:
    """A bed, and from when on it is open (microseconds; before, it is closed)."""

    unit: str
    bed: str
    opens: int
    side_room: bool
    isolation: bool
    sex: str | None


def _peak(starts: Times, ends: Times, begins: int, cut: int) -> int:
    """Patients of one group that are not exceeded in most hours."""
    at = np.arange(begins + 2 * DAY, cut, HOUR, dtype=np.int64)
    present = np.searchsorted(np.sort(starts), at, side="right") - np.searchsorted(
        np.sort(ends), at, side="right"
    )
    return max(2, int(np.quantile(present, 1 - _TIGHTNESS))) if len(at) else 2


def furnish(plan: Plan, wanted: dict[str, tuple[Times, Times]]) -> list[Bed]:
    """Give each group of units its beds.

    Parameters
    ----------
    plan : Plan
        The hospital to make.
    wanted : dict of str to (numpy.ndarray, numpy.ndarray)
        For each group the times from and to which patients want a bed.

    Returns
    -------
    list of Bed
        As many as suffice in all but the busiest hours.
    """
    rng = generator(plan.seed, "beds")
    begins, cut = plan.microseconds()
    beds: list[Bed] = []
    for group, (starts, ends) in wanted.items():
        units, own = GROUPS[group]
        if units[0] in WITHOUT_BEDS:
            continue
        count = _peak(starts, ends, begins, cut)
        for number, unit in enumerate(units[:own]):
            share = max(1, count // own + (number < count % own))
            for place in range(1, share + 1):
                surge = group in ("covid", "intensive") and place > (1 - _OPENED_LATER) * share + 1
                opens = begins
                if surge:
                    opens += int(rng.integers(2, max(3, plan.days // 3))) * DAY + 8 * HOUR
                side_room = bool(rng.random() < 0.25)
                beds.append(
                    Bed(
                        unit=unit,
                        bed=f"{unit}-{place:02}",
                        opens=opens,
                        side_room=side_room,
                        isolation=group == "covid" or (side_room and bool(rng.random() < 0.4)),
                        sex=None,
                    )
                )
    return beds


def bed_rows(plan: Plan, beds: list[Bed]) -> pl.DataFrame:
    """Return the delivered rows of ``beds``: closed until it opens, then staffed."""
    begins, _ = plan.microseconds()
    rows = []
    for bed in beds:
        fixed = (bed.unit, bed.bed, bed.side_room, bed.isolation, bed.sex)
        if bed.opens > begins:
            rows.append((*fixed, begins, bed.opens, "closed"))
        rows.append((*fixed, bed.opens, -1, "staffed"))
    frame = pl.DataFrame(
        rows,
        schema={
            "unit": pl.String,
            "bed": pl.String,
            "side_room": pl.Boolean,
            "isolation": pl.Boolean,
            "sex": pl.String,
            "start": pl.Int64,
            "end": pl.Int64,
            "state": pl.String,
        },
        orient="row",
    )
    start = as_time(frame["start"].to_numpy())
    return frame.with_columns(
        start=start, end=as_time(frame["end"].to_numpy()), recorded=start
    ).sort("recorded", maintain_order=True)


def unit_rows(plan: Plan) -> pl.DataFrame:
    """Return the delivered rows of ``units``: the units and the divisions above them."""
    begins, _ = plan.microseconds()
    rows: list[tuple[str | None, ...]] = [
        (unit.name, unit.title, unit.parent, unit.kind, unit.specialty) for unit in UNITS
    ]
    rows += [(name, name.replace("-", " ").capitalize(), None, None, None) for name in _PARENTS]
    frame = pl.DataFrame(rows, schema=["unit", "name", "parent", "kind", "specialty"], orient="row")
    return frame.with_columns(recorded=as_time(np.full(frame.height, begins)))
