"""Oxygen, ventilation, intensive care, theatre: when each patient needs them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from neva.synthesis.drawing import HOUR, NEVER, SECOND, Times, choose, generator, hours
from neva.synthesis.plan import Plan
from neva.synthesis.rates import CATEGORIES

__all__ = ["EPISODES", "need_names", "supports"]

#: Column prefixes of the episodes of a stay, in the order in which they follow
#: each other, and what each is.
EPISODES: Final = {
    "mask": "CARE//oxygen-nasal-or-mask",
    "high_flow": "CARE//oxygen-high-flow",
    "non_invasive": "CARE//ventilation-non-invasive",
    "invasive": "CARE//ventilation-invasive",
    "mask_again": "CARE//oxygen-nasal-or-mask",
}
_NEEDS: Final = np.array(["", "high-flow", "non-invasive", "invasive", "death"])


def supports(plan: Plan, columns: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Draw the respiratory support of each stay, and where it is given.

    Episodes of a stay follow each other without overlap.

    Parameters
    ----------
    plan : Plan
        The hospital to make.
    columns : dict of str to numpy.ndarray
        ``start``, ``end``, ``category``, ``level``, ``died``.

    Returns
    -------
    dict of str to numpy.ndarray
        ``<episode>_start`` and ``<episode>_end`` for :data:`EPISODES`,
        ``need``, ``need_number`` (place in :data:`_NEEDS`),
        ``intensive_start``, ``intensive_end``, ``theatre_start``,
        ``theatre_end``: int64 microseconds, -1 where there is none.
    """
    rng = generator(plan.seed, "supports")
    start, end = columns["start"], columns["end"]
    category, died = columns["category"], columns["died"]
    size, length = len(start), (end - start) / HOUR
    names = [c.name for c in CATEGORIES]
    level = _levels(rng, category, columns["level"], names)

    late = np.minimum(rng.exponential(22, size), 0.35 * length)
    onset = np.where(rng.random(size) < 0.65, rng.uniform(0.2, 3, size), late + 0.2)
    need = onset + np.minimum(np.exp(3.1 + 0.7 * rng.standard_normal(size)), 0.4 * length)
    at_once = (level >= 2) & (rng.random(size) < 0.06)
    need = np.where(at_once, rng.uniform(0.2, 1.5, size), need)
    stages = _stages(rng, level, need, length)
    last = np.where(died, length, need + (length - need) * rng.uniform(0.45, 0.75, size))

    episodes: dict[str, npt.NDArray[np.float64]] = {}
    following = np.where(level >= 2, last, np.nan)
    for name in ("invasive", "non_invasive", "high_flow"):
        begun = stages[name]
        episodes[f"{name}_start"] = begun
        episodes[f"{name}_end"] = np.where(np.isnan(begun), np.nan, following)
        following = np.where(np.isnan(begun), following, begun)
    mask_end = np.where(
        level >= 2,
        following,
        np.where(died, length, onset + (length - onset) * rng.uniform(0.4, 0.9, size)),
    )
    has_mask = (level >= 1) & ~at_once & (onset < mask_end)
    episodes["mask_start"] = np.where(has_mask, onset, np.nan)
    episodes["mask_end"] = np.where(has_mask, mask_end, np.nan)
    again = (level >= 2) & ~died & (rng.random(size) < 0.85)
    episodes["mask_again_start"] = np.where(again, last, np.nan)
    episodes["mask_again_end"] = np.where(again, last + 0.6 * (length - last), np.nan)

    advanced = level >= 2
    needed = np.where(advanced, need, np.where(died, length, np.nan))
    first = np.where(
        ~np.isnan(stages["high_flow"]), 1, np.where(~np.isnan(stages["non_invasive"]), 2, 3)
    )
    result: dict[str, npt.NDArray[Any]] = {
        name: _ticks(start, end, values) for name, values in episodes.items()
    }
    # What would end before it begins, in a stay too short for it, is not given.
    for name in EPISODES:
        given = result[f"{name}_end"] > result[f"{name}_start"]
        for part in ("start", "end"):
            result[f"{name}_{part}"] = np.where(given, result[f"{name}_{part}"], NEVER)
    result["need"] = _ticks(start, end, needed)
    # Who dies dies at the end itself.
    result["need"] = np.where(died & ~advanced, end, result["need"])
    result["need_number"] = np.where(advanced, first, np.where(died, 4, 0))
    result |= _places(rng, start, end, category, level, stages, last, died=died)
    return result


def need_names(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.str_]:
    """Return the kinds of need by their numbers; empty where there was none."""
    return _NEEDS[numbers]


def _levels(
    rng: np.random.Generator,
    category: npt.NDArray[np.int64],
    level: npt.NDArray[np.int64],
    names: list[str],
) -> npt.NDArray[np.int64]:
    """Add the support of those who do not have COVID-19."""
    size = len(category)
    drawn = {
        "sepsis": (0.5, 0.32, 0.04, 0.03, 0.11),
        "medical": (0.72, 0.24, 0.01, 0.02, 0.01),
        "infarction": (0.8, 0.17, 0.0, 0.01, 0.02),
        "stroke": (0.9, 0.06, 0.0, 0.0, 0.04),
        "elective": (0.82, 0.17, 0.0, 0.0, 0.01),
    }
    result = level.copy()
    for name, shares in drawn.items():
        mine = category == names.index(name)
        result = np.where(mine, choose(rng, shares, size), result)
    return result


def _stages(
    rng: np.random.Generator,
    level: npt.NDArray[np.int64],
    need: npt.NDArray[np.float64],
    length: npt.NDArray[np.float64],
) -> dict[str, npt.NDArray[np.float64]]:
    """Draw in hours when each stronger support begins; nan where it does not."""
    size = len(level)
    room = np.maximum(0.45 * length - 0.3, 0.2)
    wait = rng.uniform(0.1, 3.0, size) * np.minimum(1.0, length / 60)
    step = np.minimum(rng.uniform(5, 30, size), 0.15 * room + 0.1)
    second_step = np.minimum(rng.uniform(5, 30, size), 0.15 * room + 0.1)
    begun = need + wait
    by_high_flow = (level == 2) | ((level > 2) & (rng.random(size) < 0.5))
    by_mask_ventilation = (level == 3) | ((level == 4) & (rng.random(size) < 0.3))
    high_flow = np.where(by_high_flow, begun, np.nan)
    non_invasive = np.where(by_mask_ventilation, begun + np.where(by_high_flow, step, 0), np.nan)
    invasive = np.where(
        level == 4,
        begun + np.where(by_high_flow, step, 0) + np.where(by_mask_ventilation, second_step, 0),
        np.nan,
    )
    return {"high_flow": high_flow, "non_invasive": non_invasive, "invasive": invasive}


def _places(
    rng: np.random.Generator,
    start: Times,
    end: Times,
    category: npt.NDArray[np.int64],
    level: npt.NDArray[np.int64],
    stages: dict[str, npt.NDArray[np.float64]],
    last: npt.NDArray[np.float64],
    *,
    died: npt.NDArray[np.bool_],
) -> dict[str, npt.NDArray[Any]]:
    """Draw when intensive care and theatre are wanted."""
    size, length = len(start), (end - start) / HOUR
    draw = rng.random(size)
    share = np.array([c.intensive_care for c in CATEGORIES])[category]
    by_level = np.array([0.0, 0.0, 0.35, 0.55, 1.0])[level]
    wanted = (draw < np.maximum(share * (level < 2), by_level)) & (length > 12)
    first_stronger = np.fmin(np.fmin(stages["high_flow"], stages["non_invasive"]), 1e9)
    first_stronger = np.where(first_stronger > 1e8, np.nan, first_stronger)
    # Ventilated patients go to intensive care for the tube, some a little before it.
    lead = rng.uniform(-1.0, 1.5, size)
    from_support = np.where(level == 4, stages["invasive"] + lead, first_stronger + lead + 1.5)
    from_start = np.minimum(rng.uniform(1, 30, size), 0.4 * length)
    begun = np.where(level >= 2, from_support, from_start)
    rest = rng.uniform(0.3, 0.7, size)
    left = np.where(level >= 2, last + rng.uniform(2, 20, size), begun + rest * (length - begun))
    left = np.where(died, length, np.minimum(left, length - 2))
    wanted &= left > begun + 2
    elective = np.array([c.rhythm == "elective" for c in CATEGORIES])[category]
    operation = rng.uniform(1.5, 6.0, size)
    duration = rng.uniform(0.8, 3.5, size)
    begun = np.where(elective, operation + duration, begun)
    wanted &= left > begun + 2
    operated = elective & (operation + duration + 1 < length)
    return {
        "intensive_start": _ticks(start, end, np.where(wanted, begun, np.nan)),
        "intensive_end": _ticks(start, end, np.where(wanted, left, np.nan)),
        "theatre_start": _ticks(start, end, np.where(operated, operation, np.nan)),
        "theatre_end": _ticks(start, end, np.where(operated, operation + duration, np.nan)),
    }


def _ticks(start: Times, end: Times, offset: npt.NDArray[np.float64]) -> Times:
    """Turn hours since the start into times inside the stay; nan is :data:`NEVER`."""
    absent = np.isnan(offset)
    within = start + hours(np.where(absent, 0, np.maximum(offset, 0.02)))
    return np.where(absent, NEVER, np.minimum(within, end - SECOND * (end > start)))
