"""What happens to each patient: the decisions from which every row follows."""

from __future__ import annotations

from datetime import date
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.synthesis.arrivals import arrivals
from neva.synthesis.drawing import (
    DAY,
    HOUR,
    MINUTE,
    NEVER,
    SECOND,
    Times,
    choose,
    generator,
    hours,
    local_ticks,
)
from neva.synthesis.plan import Plan
from neva.synthesis.rates import CARE, CATEGORIES, COMORBIDITIES, RETURNS, SUPPORT
from neva.synthesis.returns import BEFORE_CUT, plant_at_the_cut, plant_returns
from neva.synthesis.subjects import attributes, link_returns
from neva.synthesis.support import need_names, supports

__all__ = ["NUMBER", "journeys"]

_Integers = npt.NDArray[np.int64]
_Booleans = npt.NDArray[np.bool_]

#: Place of each category in ``CATEGORIES``.
NUMBER: Final = {category.name: number for number, category in enumerate(CATEGORIES)}


def journeys(plan: Plan) -> pl.DataFrame:
    """Decide every stay of the hospital.

    Parameters
    ----------
    plan : Plan
        The hospital to make.

    Returns
    -------
    polars.DataFrame
        One row a stay, by arrival. Times are int64 microseconds, -1 where
        there is none: ``start``, ``end`` (true, also after the data cut),
        ``end_known``, ``known`` (first contact), ``booked`` (of an operation),
        ``death``, ``death_known``,
        ``pcr`` (first positive test), for each support its ``_start`` and
        ``_end``, ``need`` (first need of advanced support, or death),
        ``intensive_start``, ``intensive_end`` (wanted), ``theatre_start``,
        ``theatre_end``. Texts: ``stay``, ``subject``, ``kind``, ``source``,
        ``outcome``, ``need_kind``. Numbers: ``number``, ``category``,
        ``severity`` (0-1), ``level`` (of support, 0-4), the attributes of the
        subject. Booleans: ``died``, ``ceiling``, ``hypercapnic``, ``palliative``.
    """
    start, category = arrivals(plan)
    rng = generator(plan.seed, "journeys")
    size = plan.stays
    inpatient = np.array([c.kind == "inpatient" for c in CATEGORIES])[category]
    covid = category == NUMBER["covid"]
    shares, deaths = np.array(list(SUPPORT.values())).T
    level = np.where(covid, choose(rng, shares, size), 0)
    risk = rng.random(size)
    base = np.array([c.deaths for c in CATEGORIES])[category]
    died = risk < np.where(covid, deaths[level], base)
    end = _ends(plan, rng, start, category, level, died=died)

    before = link_returns(plan, start, end, category, ~died)
    moved = plant_returns(plan, start, end, category, before) - start
    start, end = start + moved, end + moved
    fresh = np.flatnonzero(covid & (before < 0) & ~np.isin(np.arange(size), before) & (level > 0))
    moved = plant_at_the_cut(plan, start, fresh) - start
    start, end = start + moved, end + moved

    order = np.argsort(start, kind="stable")
    place = np.empty(size, dtype=np.int64)
    place[order] = np.arange(size)
    before = np.where(before < 0, -1, place[before])[order]
    start, end, category, level = start[order], end[order], category[order], level[order]
    died, inpatient, covid = died[order], inpatient[order], covid[order]
    root = _roots(before)

    people = attributes(plan, start, category, root)
    _plant_ages(plan, start, people, covid, root)
    age = people["age"].astype(float)
    ceiling = covid & (rng.random(size) < np.where(age > 80, 0.4, 0.03))
    level = np.where(ceiling, np.minimum(level, 1), level)
    columns: dict[str, npt.NDArray[np.generic]] = {
        "number": np.arange(size),
        "category": category,
        "level": level,
        "died": died,
        "ceiling": ceiling,
        "hypercapnic": people["ICD10//J44.9"].astype(bool) & (rng.random(size) < 0.5),
        "palliative": inpatient & (rng.random(size) < np.where(died, 0.3, CARE["palliative"])),
        "start": start,
        "end": end,
        "end_known": end + _delays(rng, size),
        "severity": np.clip(0.15 + 0.12 * level + 0.12 * rng.standard_normal(size), 0.02, 0.95),
        "known": start + rng.integers(0, 3 * 60, size) * SECOND,
        **people,
    }
    columns["pcr"] = _first_positive(rng, columns, cut=plan.microseconds()[1])
    columns |= supports(plan, columns)
    columns |= _deaths(plan, columns, before)
    columns |= _bookings(rng, columns, root)
    return _named(columns, rng, root=root, inpatient=inpatient)


def _ends(
    plan: Plan,
    rng: np.random.Generator,
    start: Times,
    category: _Integers,
    level: _Integers,
    *,
    died: _Booleans,
) -> Times:
    """Draw when stays end; who leaves a ward alive leaves by day."""
    size = len(start)
    median = np.array([c.stay_hours for c in CATEGORIES])[category]
    spread = np.array([c.spread for c in CATEGORIES])[category]
    inpatient = np.array([c.kind == "inpatient" for c in CATEGORIES])[category]
    longer = np.array([0.75, 1.0, 1.6, 1.9, 2.5])[level]
    length = median * np.exp(spread * rng.standard_normal(size)) * longer
    length = np.clip(length, np.where(inpatient, 10.0, 0.7), 70 * 24.0)
    end = start + hours(length)
    shown = (local_ticks(end, plan.zone) % DAY) / HOUR
    by_day = end + hours(rng.uniform(10, 18.5, size) - shown)
    by_day = np.where(by_day - start < 8 * HOUR, by_day + DAY, by_day)
    return np.where(inpatient & ~died, by_day, end)


def _delays(rng: np.random.Generator, size: int) -> Times:
    """Draw how long after an end it becomes known: minutes, sometimes the next day."""
    usual = rng.integers(2 * 60, 45 * 60, size) * SECOND
    late = rng.integers(4 * 3600, 30 * 3600, size) * SECOND
    return np.where(rng.random(size) < 0.03, late, usual)


def _roots(before: _Integers) -> _Integers:
    """First stay of the same subject; the stay before always has a smaller number."""
    root = np.arange(len(before))
    for number in np.flatnonzero(before >= 0).tolist():
        root[number] = root[before[number]]
    return root


def _plant_ages(
    plan: Plan,
    start: Times,
    people: dict[str, npt.NDArray[np.generic]],
    covid: _Booleans,
    root: _Integers,
) -> None:
    """Plant admissions on the 18th birthday and on the day before it, and missing birth dates."""
    days = people["birth_day"].astype(np.int64)
    is_known = people["has_birth_date"].astype(bool)
    single = np.flatnonzero(covid & (np.bincount(root, minlength=len(root)) == 1))
    count = max(2, len(single) // 150)
    mixed = generator(plan.seed, "ages").permutation(single)
    chosen = mixed[:count]
    local = pl.Series(local_ticks(start[chosen], plan.zone)).cast(pl.Datetime("us")).dt.date()
    for turn, (number, today) in enumerate(zip(chosen.tolist(), local.to_list(), strict=True)):
        eighteen_ago = today.replace(year=today.year - 18, day=min(today.day, 28))
        lag = (today.day - eighteen_ago.day) + turn % 2
        days[number] = (eighteen_ago - date(1970, 1, 1)).days + lag
    is_known[chosen] = True
    is_known[mixed[count : count + 2]] = False
    people |= {"birth_day": days, "has_birth_date": is_known}


def _first_positive(
    rng: np.random.Generator, columns: dict[str, npt.NDArray[np.generic]], *, cut: int
) -> Times:
    """Draw when the first sample that turns out positive was taken."""
    start = columns["start"].astype(np.int64)
    length = columns["end"].astype(np.int64) - start
    category = columns["category"].astype(np.int64)
    size = len(start)
    covid = np.isin(category, [NUMBER["covid"], NUMBER["covid-home"]])
    offset = hours(rng.uniform(0.4, 3.0, size))
    earlier = -hours(rng.uniform(20, 240, size))
    offset = np.where(rng.random(size) < 0.15, earlier, offset)
    kind = rng.random(size)
    boundary = CARE["boundary"]
    week, fortnight = 7 * DAY, 14 * DAY
    admitted = category == NUMBER["covid"]
    for turn, planted in enumerate((-fortnight, -fortnight - 1, week, week + 1)):
        reached = admitted & (length > planted + HOUR)
        here = (kind >= turn * boundary / 3) & (kind < (turn + 1) * boundary / 3)
        offset = np.where(here & reached, planted, offset)
    # Whose clocks close at the data cut had the result before they came.
    offset = np.where(np.isin(cut - start, BEFORE_CUT), -DAY, offset)
    # Caught in the hospital.
    others = np.isin(category, [NUMBER["medical"], NUMBER["elective"], NUMBER["stroke"]])
    caught = others & (length > 8 * DAY) & (rng.random(size) < 0.12)
    late = hours(rng.uniform(7.2 * 24, 8 * 24, size))
    offset = np.where(caught, late, offset)
    offset = np.minimum(offset, np.maximum(length - 10 * MINUTE, 0))
    return np.where(covid | caught, start + offset, NEVER)


def _deaths(
    plan: Plan, columns: dict[str, npt.NDArray[np.generic]], before: _Integers
) -> dict[str, npt.NDArray[np.generic]]:
    """Give deaths in the hospital, and some in the weeks after it."""
    rng = generator(plan.seed, "deaths")
    end = columns["end"].astype(np.int64)
    size = len(end)
    died = columns["died"].astype(bool)
    is_last = ~np.isin(np.arange(size), before)
    chance = np.where(columns["age"].astype(float) > 60, RETURNS["deaths_after_discharge"], 0.001)
    later = ~died & is_last & (rng.random(size) < chance)
    after = end + hours(rng.uniform(12, 90 * 24, size))
    registered = after + hours(rng.uniform(24, 20 * 24, size))
    return {
        "death": np.where(died, end, np.where(later, after, NEVER)),
        "death_known": np.where(
            died, columns["end_known"].astype(np.int64), np.where(later, registered, NEVER)
        ),
    }


def _bookings(
    rng: np.random.Generator, columns: dict[str, npt.NDArray[np.generic]], root: _Integers
) -> dict[str, npt.NDArray[np.generic]]:
    """Draw when operations were booked: the first that is known of some subjects."""
    start, theatre = columns["start"].astype(np.int64), columns["theatre_start"].astype(np.int64)
    known = columns["known"].astype(np.int64)
    size = len(start)
    booked = np.where(theatre != NEVER, start - hours(rng.uniform(14, 14 * 24, size)), NEVER)
    earliest = known.copy()
    np.minimum.at(earliest, root, np.where(booked == NEVER, known, booked))
    return {"booked": booked, "known": earliest[root]}


def _named(
    columns: dict[str, npt.NDArray[np.generic]],
    rng: np.random.Generator,
    *,
    root: _Integers,
    inpatient: _Booleans,
) -> pl.DataFrame:
    """Add what is text: local ids, kind, source, outcome."""
    size = len(root)
    category = columns["category"].astype(np.int64)
    is_elective = np.array([c.rhythm == "elective" for c in CATEGORIES])[category]
    draw = rng.random(size)
    # An ambulance brings most of those who are admitted.
    ambulance = np.where(inpatient, 0.62, 0.2)
    source = np.where(
        is_elective,
        "elective",
        np.where(
            draw < ambulance,
            "ambulance",
            np.where(draw > 0.96, "other-hospital", "walk-in"),
        ),
    )
    leaving = rng.random(size)
    old = columns["age"].astype(float) > 75
    care = np.where(inpatient, np.where(old, 0.2, 0.05), 0.0)
    outcome = np.where(
        columns["died"],
        "died",
        np.where(
            leaving < care,
            "care-facility",
            np.where(leaving > 0.96, "other-hospital", "home"),
        ),
    )
    needs = need_names(columns["need_number"].astype(np.int64))
    frame = pl.DataFrame(columns).drop("need_number")
    return frame.with_columns(
        stay=pl.concat_str(pl.lit("S"), pl.col("number").cast(pl.String).str.zfill(7)),
        subject=pl.concat_str(pl.lit("P"), pl.Series(root).cast(pl.String).str.zfill(7)),
        subject_number=pl.Series(root),
        kind=pl.Series(np.where(inpatient, "inpatient", "emergency")),
        source=pl.Series(source),
        outcome=pl.Series(outcome),
        need_kind=pl.Series(needs),
        comorbidities=pl.sum_horizontal(pl.col(list(COMORBIDITIES)).cast(pl.Int64)),
    )
