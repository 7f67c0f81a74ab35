"""Measurements: vital signs with their NEWS2, and the laboratory."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from neva.synthesis.drawing import (
    DAY,
    HOUR,
    MINUTE,
    NEVER,
    SECOND,
    Times,
    choose,
    hours,
    local_ticks,
)
from neva.synthesis.journeys import NUMBER
from neva.synthesis.ledger import Block, Ledger
from neva.synthesis.rates import MISSING
from neva.synthesis.support import EPISODES

__all__ = ["laboratory", "laboratory_values", "news2", "vital_signs"]

_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]

#: Shortest distance between two sets of vital signs.
_STEP: Final = 2 * HOUR
_INFECTIOUS: Final = ("covid", "covid-home", "sepsis", "sepsis-home")

#: Laboratory values: median when well, factor when as ill as can be, spread of
#: the logarithm, decimals.
_LABORATORY: Final = {
    "LOINC//1988-5": (8.0, 22.0, 0.5, 0),
    "LOINC//22664-7": (5.2, 3.0, 0.3, 1),
    "LOINC//731-0": (1.8, 0.3, 0.3, 2),
    "LOINC//6690-2": (7.5, 1.7, 0.3, 1),
    "LOINC//14682-9": (78.0, 2.2, 0.25, 0),
    "LOINC//777-3": (240.0, 0.7, 0.25, 0),
    "LOINC//15074-8": (6.0, 1.6, 0.22, 1),
    "LOINC//2532-0": (210.0, 3.0, 0.25, 0),
    "LOINC//48065-7": (0.5, 6.0, 0.6, 2),
    "LOINC//2276-4": (180.0, 8.0, 0.6, 0),
    "LOINC//2524-7": (1.1, 4.5, 0.35, 1),
    "LOINC//33959-8": (0.06, 12.0, 0.7, 2),
    "LOINC//67151-1": (8.0, 4.0, 0.8, 0),
}
_DAILY: Final = tuple(_LABORATORY)[:7]


def _severity(block: Block, at: _Integers, time: Times) -> _Floats:
    """How ill each patient is at each time, 0-1: worse in the day before a need."""
    start, end, need = block["start"][at], block["end"][at], block["need"][at]
    base = block["severity"][at]
    length = np.maximum(end - start, HOUR)
    recovering = base * (1 - 0.75 * (time - start) / length)
    lead = np.clip(1 - (need - time) / (30 * HOUR), 0, 1)
    worsening = base + (0.93 - base) * lead**2
    left = np.clip((end - time) / np.maximum(end - need, HOUR), 0, 1)
    after = np.where(block["died"][at], 0.95, 0.1 + 0.83 * left)
    return np.where(need == NEVER, recovering, np.where(time < need, worsening, after))


def _on_oxygen(block: Block, at: _Integers, time: Times) -> tuple[Any, Any]:
    """Tell who has oxygen at each time, and who has more than a mask."""
    on = np.zeros(len(at), dtype=bool)
    strong = np.zeros(len(at), dtype=bool)
    for name in EPISODES:
        begun, until = block[f"{name}_start"][at], block[f"{name}_end"][at]
        inside = (begun != NEVER) & (begun <= time) & (time < until)
        on |= inside
        if not name.startswith("mask"):
            strong |= inside
    return on, strong


def news2(
    *,
    respiration: _Floats,
    saturation: _Floats,
    on_oxygen: npt.NDArray[np.bool_],
    second_scale: npt.NDArray[np.bool_],
    systolic: _Floats,
    pulse: _Floats,
    is_alert: npt.NDArray[np.bool_],
    temperature: _Floats,
) -> _Integers:
    """Add up the National Early Warning Score 2.

    Parameters
    ----------
    respiration, saturation, systolic, pulse, temperature : numpy.ndarray of float64
        In /min, %, mm[Hg], /min, Cel.
    on_oxygen, second_scale, is_alert : numpy.ndarray of bool
        Supplemental oxygen; saturation scale 2 (target 88-92 %); alert.

    Returns
    -------
    numpy.ndarray of int64
        Totals, 0-20; higher is worse.

    References
    ----------
    Royal College of Physicians (2017), National Early Warning Score (NEWS) 2.

    Examples
    --------
    >>> import numpy as np
    >>> yes, no = np.array([True]), np.array([False])
    >>> news2(respiration=np.array([22.]), saturation=np.array([93.]), on_oxygen=yes,
    ...       second_scale=no, systolic=np.array([105.]), pulse=np.array([95.]),
    ...       is_alert=yes, temperature=np.array([38.5])).tolist()
    [9]
    """

    def points(values: _Floats, edges: list[float], scores: list[int]) -> _Integers:
        # A value belongs to the first band whose upper edge it does not exceed.
        return np.asarray(scores)[np.searchsorted(edges, values, side="left")]

    first = points(saturation, [91, 93, 95], [3, 2, 1, 0])
    low = points(saturation, [83, 85, 87], [3, 2, 1, 0])
    high = np.where(on_oxygen, points(saturation, [92, 94, 96], [0, 1, 2, 3]), 0)
    total = points(respiration, [8, 11, 20, 24], [3, 1, 0, 2, 3])
    total = total + np.where(second_scale, np.maximum(low, high), first)
    total += 2 * on_oxygen
    total += points(systolic, [90, 100, 110, 219], [3, 2, 1, 0, 3])
    total += points(pulse, [40, 50, 90, 110, 130], [3, 1, 0, 1, 2, 3])
    total += np.where(is_alert, 0, 3)
    total += points(temperature, [35.0, 36.0, 38.0, 39.0], [3, 1, 0, 1, 2])
    return total.astype(np.int64)


def vital_signs(ledger: Ledger) -> Times:
    """Add vital signs: every two hours when very ill, every six when well.

    Returns
    -------
    numpy.ndarray of int64, shape (block.size,)
        Time of the first recorded NEWS2 of 7 or more; -1 where there is none.
    """
    block, rng = ledger.block, ledger.rng
    count = (block["end"] - block["start"]) // _STEP + 1
    at = np.repeat(np.arange(block.size), count)
    number = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
    time = block["start"][at] + 12 * MINUTE + number * _STEP
    time += rng.integers(-10 * 60, 25 * 60, len(at)) * SECOND
    severity = _severity(block, at, time)
    on, strong = _on_oxygen(block, at, time)
    every = np.where(strong | (severity > 0.75), 1, np.where(severity > 0.13, 2, 3))
    every = np.where(block["category"][at] == NUMBER["elective"], 3, every)
    kept = (number % every == 0) & (time < block["end"][at])
    at, time, severity, on = at[kept], time[kept], severity[kept], on[kept]
    size = len(at)
    noise = rng.standard_normal((6, size))
    infectious = np.isin(block["category"], [NUMBER[name] for name in _INFECTIOUS])[at]
    target = block["hypercapnic"][at]
    aim = np.where(target, 90.0, 94.2) - 2.5 * (severity > 0.85)
    saturation = np.where(on, aim + 1.7 * noise[0], 97.3 - 6.5 * severity + 1.1 * noise[0])
    saturation = np.clip(np.round(saturation), 62, 100)
    respiration = np.clip(np.round(14.5 + 13 * severity + 2 * noise[1]), 6, 55)
    pulse = np.clip(np.round(74 + 38 * severity + 9 * noise[2]), 35, 190)
    systolic = np.clip(np.round(130 - 26 * severity**2 + 13 * noise[3]), 60, 230)
    diastolic = np.round(systolic * 0.58 + 4 * noise[4])
    temperature = 36.7 + np.where(infectious, 1.5, 0.4) * severity + 0.35 * noise[5]
    temperature = np.round(np.clip(temperature, 34.2, 41.2), 1)
    dulled = rng.random(size) < np.where(severity > 0.8, 0.18, 0.01)
    dull = np.array(["C", "V", "P", "U"])[choose(rng, (0.4, 0.35, 0.2, 0.05), size)]
    acvpu = np.where(dulled, dull, "A")
    coma = np.where(dulled, rng.integers(7, 15, size), 15).astype(float)
    total = news2(
        respiration=respiration,
        saturation=saturation,
        on_oxygen=on,
        second_scale=target,
        systolic=systolic,
        pulse=pulse,
        is_alert=~dulled,
        temperature=temperature,
    )
    # A set is recorded at once: now and then hours later, from paper.
    delay = rng.integers(30, 9 * 60, size)
    delay = np.where(rng.random(size) < 0.01, rng.integers(3600, 10 * 3600, size), delay)
    recorded = time + delay * SECOND
    complete = np.ones(size, dtype=bool)
    measured: list[tuple[str, Any]] = [
        ("LOINC//59408-5", saturation),
        ("LOINC//9279-1", respiration),
        ("LOINC//8867-4", pulse),
        ("LOINC//8480-6", systolic),
        ("LOINC//8310-5", temperature),
    ]
    for code, values in measured:
        there = rng.random(size) >= MISSING["vital"]
        complete &= there
        ledger.add(code, at[there], time[there], value=values[there], recorded=recorded[there],
                   is_decision=False)  # fmt: skip
        if code == "LOINC//8480-6":
            ledger.add("LOINC//8462-4", at[there], time[there], value=diastolic[there],
                       recorded=recorded[there], is_decision=False)  # fmt: skip
    scored = (rng.random(size) < 0.25) & np.isin(
        block["category"][at], [NUMBER["stroke"], NUMBER["sepsis"], NUMBER["covid"]]
    )
    ledger.add("LOINC//9269-2", at[scored], time[scored], value=coma[scored],
               recorded=recorded[scored], is_decision=False)  # fmt: skip
    ledger.add("CARE//acvpu", at, time, text=acvpu, recorded=recorded, is_decision=False)
    ledger.add("CARE//news2", at[complete], time[complete], value=total[complete].astype(float),
               recorded=recorded[complete], is_decision=False)  # fmt: skip
    alarm = complete & (total >= 7)
    first = np.full(block.size, np.iinfo(np.int64).max)
    np.minimum.at(first, at[alarm], time[alarm])
    return np.where(first == np.iinfo(np.int64).max, NEVER, first)


def _result_delay(rng: np.random.Generator, time: Times) -> Times:
    """Draw when a laboratory result is known: after an hour or two, some days later."""
    usual = rng.integers(40 * 60, 170 * 60, len(time))
    late = rng.integers(12 * 3600, 96 * 3600, len(time))
    is_late = rng.random(len(time)) < MISSING["late_result"]
    found: Times = time + np.where(is_late, late, usual) * SECOND
    return found


def laboratory(ledger: Ledger, zone: str) -> None:
    """Add the laboratory: at arrival, each morning, and rarer tests."""
    block, rng = ledger.block, ledger.rng
    start, end = block["start"], block["end"]
    inpatient = end - start > 9 * HOUR
    days = np.where(inpatient, (end - start) // DAY + 1, 0)
    at = np.repeat(np.arange(block.size), days)
    number = np.arange(len(at)) - np.repeat(np.cumsum(days) - days, days) + 1
    midnight = start - local_ticks(start, zone) % DAY
    morning = midnight[at] + number * DAY + 7 * HOUR
    morning += rng.integers(-50 * 60, 50 * 60, len(at)) * SECOND
    first = np.flatnonzero(inpatient | (rng.random(block.size) < 0.5))
    at = np.concatenate([first, at])
    time = np.concatenate([start[first] + hours(rng.uniform(0.25, 2.5, len(first))), morning])
    number = np.concatenate([np.zeros(len(first), dtype=np.int64), number])
    kept = time < end[at]
    at, time, number = at[kept], time[kept], number[kept]
    severity = _severity(block, at, time)
    # One sample, one result time: most of it at once.
    recorded = _result_delay(rng, time)
    covid = block["pcr"][at] != NEVER
    ill = (severity > 0.6) | (block["category"][at] == NUMBER["sepsis"])
    panels = {
        **dict.fromkeys(_DAILY, np.ones(len(at), dtype=bool)),
        # The admission samples of these stand with the baseline set.
        **dict.fromkeys(tuple(_LABORATORY)[7:10], covid & (number > 0) & (number % 3 == 0)),
        "LOINC//2524-7": ill & (number > 0),
        "LOINC//67151-1": (block["category"][at] == NUMBER["infarction"]) & (number < 3),
    }
    for code, wanted in panels.items():
        taken = wanted & (rng.random(len(at)) >= MISSING["laboratory"])
        ledger.add(
            code,
            at[taken],
            time[taken],
            value=laboratory_values(rng, code, severity[taken]),
            recorded=recorded[taken],
            is_decision=False,
        )


def laboratory_values(rng: np.random.Generator, code: str, severity: _Floats) -> _Floats:
    """Draw values of a laboratory test for patients as ill as that."""
    median, factor, spread, decimals = _LABORATORY[code]
    drawn = median * factor**severity * np.exp(spread * rng.standard_normal(len(severity)))
    lowest = 0.1**decimals
    return np.asarray(np.maximum(drawn, lowest).round(decimals), dtype=float)
