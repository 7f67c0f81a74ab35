"""The patients, and which stays belong to the same patient."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from neva.synthesis.drawing import DAY, HOUR, Times, generator, local_ticks
from neva.synthesis.plan import Plan
from neva.synthesis.rates import CATEGORIES, COMORBIDITIES, MISSING, RETURNS

__all__ = ["attributes", "link_returns"]

_Integers = npt.NDArray[np.int64]


def link_returns(
    plan: Plan, arrival: Times, end: Times, category: _Integers, is_alive: npt.NDArray[np.bool_]
) -> _Integers:
    """Choose, for some arrivals, the earlier stay of the same subject.

    Parameters
    ----------
    plan : Plan
        The hospital to make.
    arrival, end : numpy.ndarray of int64, shape (n,)
        Of each stay; arrivals in order.
    category : numpy.ndarray of int64, shape (n,)
        Places in :data:`CATEGORIES`.
    is_alive : numpy.ndarray of bool, shape (n,)
        The subject left the stay alive.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Number of the stay before; -1 for a subject's first stay. No stay is
        before two others.
    """
    rng = generator(plan.seed, "returns")
    is_elective = np.array([c.rhythm == "elective" for c in CATEGORIES])[category]
    share = np.where(is_elective, RETURNS["elective"], RETURNS["unplanned"])
    returning = np.flatnonzero(rng.random(len(arrival)) < share)
    picks = rng.random(len(returning))
    before = np.full(len(arrival), -1, dtype=np.int64)
    by_end = np.flatnonzero(is_alive)
    by_end = by_end[np.argsort(end[by_end], kind="stable")]
    at = 0
    gap, limit = int(RETURNS["after_hours"] * HOUR), int(RETURNS["within_days"] * DAY)
    waiting: list[int] = []  # stays that ended and were not followed, by end
    ends = end.tolist()
    # A return needs a stay that is over when it begins: one pass in time.
    for number, pick in zip(returning.tolist(), picks.tolist(), strict=True):
        now = int(arrival[number])
        while at < len(by_end) and ends[by_end[at]] + gap <= now:
            waiting.append(int(by_end[at]))
            at += 1
        while waiting and ends[waiting[0]] + limit < now:
            waiting.pop(0)
        if waiting:
            # Squared: recent ends are likelier.
            place = len(waiting) - 1 - int(pick * pick * len(waiting))
            before[number] = waiting.pop(place)
    return before


def attributes(
    plan: Plan, arrival: Times, category: _Integers, root: _Integers
) -> dict[str, npt.NDArray[np.generic]]:
    """Draw what is true of each stay's subject.

    Parameters
    ----------
    plan : Plan
        The hospital to make.
    arrival, category : numpy.ndarray of int64, shape (n,)
        Of each stay.
    root : numpy.ndarray of int64, shape (n,)
        First stay of the same subject: all stays of a subject get its draw.

    Returns
    -------
    dict of str to numpy.ndarray, shape (n,)
        ``birth_day`` (days since 1970), ``age`` (years at the first arrival),
        ``has_birth_date``, ``sex`` (text, empty where missing) and one boolean
        for each code of :data:`COMORBIDITIES`.
    """
    rng = generator(plan.seed, "subjects")
    size = len(arrival)
    mean = np.array([c.age for c in CATEGORIES])[category]
    age = np.clip(mean + 16 * rng.standard_normal(size), 0.5, 99)
    is_child = (rng.random(size) < 0.03) & (category != 3) & (category != 4)
    age = np.where(is_child, rng.uniform(1, 18, size), np.maximum(age, 18.2))
    local_day = local_ticks(arrival, plan.zone) // DAY
    birth_day = local_day - np.round(age * 365.25).astype(np.int64)
    sex = np.where(rng.random(size) < 0.47, "female", "male")
    sex = np.where(rng.random(size) < MISSING["sex"], "", sex)
    drawn: dict[str, npt.NDArray[np.generic]] = {
        "birth_day": birth_day,
        "age": age,
        "has_birth_date": rng.random(size) >= MISSING["birth_date"],
        "sex": sex,
    }
    for code, (share, decade) in COMORBIDITIES.items():
        chance = np.clip(share * decade ** ((age - 65) / 10), 0, 0.7)
        drawn[code] = rng.random(size) < np.where(age < 18, 0.0, chance)
    return {name: values[root] for name, values in drawn.items()}
