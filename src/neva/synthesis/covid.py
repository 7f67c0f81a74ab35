"""Care of patients with COVID-19, with the boundary cases planted in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neva.synthesis.drawing import DAY, HOUR, MINUTE, NEVER, SECOND, Times, hours
from neva.synthesis.journeys import NUMBER
from neva.synthesis.ledger import Ledger
from neva.synthesis.measurements import laboratory_values
from neva.synthesis.rates import CARE
from neva.synthesis.returns import BEFORE_CUT

__all__ = ["antibiotic_course", "covid_care", "planted", "some", "tests_for_the_virus"]

_Integers = npt.NDArray[np.int64]


def planted(
    rng: np.random.Generator, usual: Times, base: Times, offsets: Sequence[int]
) -> tuple[Times, npt.NDArray[np.bool_]]:
    """Replace a few times by boundary cases.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws who gets one.
    usual : numpy.ndarray of int64, shape (n,)
        Times as they would be.
    base : numpy.ndarray of int64, shape (n,)
        Where the clocks start; nobody at :data:`NEVER` gets a case.
    offsets : sequence of int
        Microseconds from the base: each case gets one of them.

    Returns
    -------
    times : numpy.ndarray of int64, shape (n,)
        With the cases.
    is_planted : numpy.ndarray of bool, shape (n,)
        Who has one.
    """
    chosen = (rng.random(len(base)) < CARE["boundary"] * len(offsets)) & (base != NEVER)
    offset = np.asarray(offsets)[rng.integers(0, len(offsets), len(base))]
    return np.where(chosen, base + offset, usual), chosen


def some(rng: np.random.Generator, chance: Any, base: Times, low: float, high: float) -> Times:
    """Draw times some hours after a base, for a share of the rows; else :data:`NEVER`."""
    there = (rng.random(len(base)) < chance) & (base != NEVER)
    return np.where(there, base + hours(rng.uniform(low, high, len(base))), NEVER)


def tests_for_the_virus(ledger: Ledger) -> None:
    """Add PCR tests: positive, negative, and repeated ones."""
    block, rng = ledger.block, ledger.rng
    everybody = np.arange(block.size)
    pcr = block["pcr"]
    positive = pcr != NEVER
    before = positive & (pcr < block["start"])
    delay = np.where(before, rng.uniform(4, 12, block.size), rng.uniform(3, 20, block.size))
    ledger.add("LOINC//94500-6", everybody, pcr, text="detected", before=True,
               recorded=pcr + hours(delay))  # fmt: skip
    again = np.where(positive, some(rng, 0.35, pcr, 96, 190), NEVER)
    ledger.add("LOINC//94500-6", everybody, again, text="detected", delay_minutes=(180, 1200))
    late = positive & (pcr > block["start"] + DAY)
    chance = np.where(late, 1.0, np.where(positive, 0.05, 0.45))
    negative = some(rng, chance, block["start"], 0.3, 2.5)
    negative = np.where(~positive | late, negative, NEVER)
    ledger.add("LOINC//94500-6", everybody, negative, text="not detected",
               delay_minutes=(180, 1200))  # fmt: skip


def covid_care(ledger: Ledger, first_alarm: Times) -> None:
    """Add what is done for admitted patients with COVID-19.

    Parameters
    ----------
    ledger : Ledger
        Of the block.
    first_alarm : numpy.ndarray of int64, shape (block.size,)
        First NEWS2 of 7 or more; -1 where there is none.
    """
    block = ledger.block
    emergency = [NUMBER[name] for name in ("covid-home", "sepsis-home", "attendance")]
    at = np.flatnonzero((block["pcr"] != NEVER) & ~np.isin(block["category"], emergency))
    start = block["start"][at]
    episodes = np.stack(
        [block[f"{name}_start"][at] for name in ("mask", "high_flow", "non_invasive", "invasive")]
    )
    first = np.where(episodes == NEVER, np.iinfo(np.int64).max, episodes).min(axis=0)
    oxygen = np.where(first == np.iinfo(np.int64).max, NEVER, first)
    _flags(ledger, at, start)
    _steroids(ledger, at, start, oxygen)
    _heparin(ledger, at, start)
    _antibiotics(ledger, at, start)
    _baseline(ledger, at, start)
    _alarms(ledger, at, first_alarm[at])
    _immunosuppressants(ledger, at)


def _flags(ledger: Ledger, at: _Integers, start: Times) -> None:
    rng = ledger.rng
    contraindicated = some(rng, 0.03, start, 0.5, 30)
    ledger.add("CARE//steroid-contraindicated", at, contraindicated)
    ledger.add("CARE//other-steroid-indication", at, some(rng, 0.04, start, 0.5, 40))
    therapeutic = some(rng, CARE["therapeutic_anticoagulation"], start, -20, 12)
    offsets = (-24 * HOUR, -24 * HOUR - 1, 14 * HOUR, 14 * HOUR + 1)
    therapeutic, _ = planted(rng, therapeutic, start, offsets)
    therapeutic = np.where(_is_at_the_cut(ledger, start), NEVER, therapeutic)
    ledger.add("CARE//anticoagulation-therapeutic", at, therapeutic, before=True)
    anticoagulant = some(rng, 0.04, start, 0.3, 20)
    anticoagulant = np.where(_is_at_the_cut(ledger, start), NEVER, anticoagulant)
    ledger.add("CARE//anticoagulant-contraindicated", at, anticoagulant)
    immune = some(rng, 0.05, start, 1, 40)
    ledger.add("CARE//immunosuppressant-contraindicated", at, immune)


def _is_at_the_cut(ledger: Ledger, start: Times) -> npt.NDArray[np.bool_]:
    """Tell whose clocks were planted to close at the data cut: their care comes late."""
    return np.isin(ledger.cut - start, BEFORE_CUT)


def _steroids(ledger: Ledger, at: _Integers, start: Times, oxygen: Times) -> None:
    block, rng = ledger.block, ledger.rng
    has = oxygen != NEVER
    dose = some(rng, CARE["steroid_on_oxygen"], oxygen, 0.3, 16)
    late = some(rng, 0.5, oxygen, 24.2, 60)
    dose = np.where(dose == NEVER, late, dose)
    offsets = (DAY, DAY + 1, DAY + MINUTE, DAY - 1)
    dose, _ = planted(rng, dose, oxygen, offsets)
    without = some(rng, CARE["steroid_without_oxygen"], start, 2, 60)
    dose = np.where(has, dose, without)
    # Given before the admission, and never again: an hour, and around a day, before it.
    earlier, early = planted(rng, dose, np.where(has, start, NEVER), (-HOUR, -DAY, -DAY + 1))
    # Where no oxygen is needed, a course long before the admission.
    month = 30 * DAY
    old, was_old = planted(rng, np.full(len(at), NEVER), np.where(has, NEVER, start),
                           (-month, -month + 1, -20 * DAY))  # fmt: skip
    course = np.where(early, 1, np.clip((block["end"][at] - dose) // DAY + 1, 1, 10))
    kind = rng.random(len(at))
    for code, low, high, milligrams in (
        ("ATC//H02AB02", 0.0, 0.9, 6.0),
        ("ATC//H02AB04", 0.9, 0.94, 40.0),
        ("ATC//H02AB06", 0.94, 0.97, 40.0),
        ("ATC//H02AB09", 0.97, 1.01, 100.0),
    ):
        mine = (kind >= low) & (kind < high)
        ledger.every(code, at[mine], earlier[mine], step_hours=24, times=course[mine],
                     value=milligrams)  # fmt: skip
    ledger.add("ATC//H02AB06", at[was_old], old[was_old], value=30.0, before=True)
    refused = some(rng, 0.02, oxygen, 0.5, 10)
    ledger.add("ATC//H02AB02", at, refused, status="not-done", reason="REASON//refused")


def _heparin(ledger: Ledger, at: _Integers, start: Times) -> None:
    block, rng = ledger.block, ledger.rng
    dose = some(rng, CARE["heparin"], start, 1, 12)
    late = some(rng, 0.5, start, 14.1, 40)
    dose = np.where(dose == NEVER, late, dose)
    not_done = some(rng, CARE["heparin_not_done"], start, 1, 10)
    not_done = np.where(_is_at_the_cut(ledger, start), NEVER, not_done)
    dose = np.where(not_done == NEVER, dose, NEVER)
    close = 14 * HOUR
    dose, _ = planted(rng, dose, start, (close, close + 1, close - 1))
    dose = np.where(_is_at_the_cut(ledger, start), NEVER, dose)
    times = np.clip((block["end"][at] - dose) // DAY + 1, 1, 60)
    dalteparin = rng.random(len(at)) < 0.15
    for code, mine, milligrams in (
        ("ATC//B01AB05", ~dalteparin, 40.0),
        ("ATC//B01AB04", dalteparin, 32.0),
    ):
        ledger.every(code, at[mine], dose[mine], step_hours=24, times=times[mine],
                     value=milligrams)  # fmt: skip
    reasons = np.array(["REASON//contraindicated", "REASON//refused"])
    reason = reasons[(rng.random(len(at)) < 0.35).astype(np.int64)]
    ledger.add("ATC//B01AB05", at, not_done, status="not-done", reason=reason)


def _antibiotics(ledger: Ledger, at: _Integers, start: Times) -> None:
    block, rng = ledger.block, ledger.rng
    size = len(at)
    evidence = rng.random(size) < CARE["bacterial_evidence"]
    evidence &= ~_is_at_the_cut(ledger, start)
    which = rng.random(size)
    suspected = some(rng, np.where(evidence & (which < 0.5), 1.0, 0.0), start, 0.5, 40)
    suspected, _ = planted(rng, suspected, start, (2 * DAY, 2 * DAY + 1))
    ledger.add("CARE//bacterial-infection-suspected", at, suspected)
    culture = some(rng, np.where(evidence, 0.8, 0.12), start, 0.5, 30)
    is_positive = evidence & (which > 0.4) & (which < 0.8)
    # Cultures grow for days: the result of the second day is known on the fourth.
    grown = np.where(is_positive, "positive", "negative")
    ledger.add("CARE//blood-culture", at, culture, text=grown,
               delay_minutes=(1200, 4300))  # fmt: skip
    procalcitonin = some(rng, 0.4, start, 0.5, 44)
    value = np.where(evidence & (which > 0.7), np.round(rng.uniform(0.5, 9, size), 2),
                     np.round(rng.uniform(0.03, 0.45, size), 2))  # fmt: skip
    edge = rng.random(size)
    value = np.where(edge < 0.03, 0.5, np.where(edge < 0.06, 0.49, value))
    ledger.add("LOINC//33959-8", at, procalcitonin, value=value, delay_minutes=(60, 300))
    chance = np.where(evidence, 0.88, CARE["antibiotic_without_evidence"])
    dose = some(rng, chance, start, 0.5, 40)
    dose = np.where(dose == NEVER, some(rng, 0.05, start, 49, 100), dose)
    dose, _ = planted(rng, dose, start, (2 * DAY, 2 * DAY + 1))
    dose = np.where(_is_at_the_cut(ledger, start), NEVER, dose)
    course = np.clip((block["end"][at] - dose) // (12 * HOUR) + 1, 1, rng.integers(4, 14, size))
    antibiotic_course(ledger, at, dose, course)
    close = 72 * HOUR
    reviewed = some(rng, CARE["antibiotic_review"], dose, 20, 71)
    reviewed = np.where(reviewed == NEVER, some(rng, 0.5, dose, 73, 110), reviewed)
    reviewed, _ = planted(rng, reviewed, dose, (close, close + 1, 0, 1))
    stopped = rng.random(size) < 0.3
    ledger.add("CARE//antibiotic-review", at[~stopped], reviewed[~stopped])
    ledger.add("CARE//antibiotic-stopped", at[stopped], reviewed[stopped])


def antibiotic_course(ledger: Ledger, at: _Integers, first: Times, times: _Integers) -> None:
    """Add a course of one of the antibiotics for each stay, twice a day."""
    choices = (
        ("ATC//J01CR02", 1200.0), ("ATC//J01DD04", 2000.0), ("ATC//J01CR05", 4500.0),
        ("ATC//J01FA10", 500.0), ("ATC//J01MA12", 500.0),
    )  # fmt: skip
    which = ledger.rng.integers(0, len(choices), len(at))
    for number, (code, milligrams) in enumerate(choices):
        mine = which == number
        ledger.every(code, at[mine], first[mine], step_hours=12, times=times[mine],
                     value=milligrams)  # fmt: skip


def _baseline(ledger: Ledger, at: _Integers, start: Times) -> None:
    """Add the examinations of the first day; some are missing, one or other is late."""
    block, rng = ledger.block, ledger.rng
    incomplete = rng.random(len(at)) >= CARE["baseline_complete"]
    items = (
        "LOINC//2532-0", "LOINC//2276-4", "LOINC//48065-7",
        "CARE//chest-imaging", "CARE//electrocardiogram",
    )  # fmt: skip
    incomplete |= _is_at_the_cut(ledger, start)
    missing = np.where(incomplete, rng.integers(0, len(items), len(at)), -1)
    late = rng.random(len(at)) < 0.5
    base = np.full(len(at), NEVER)
    boundary, is_boundary = planted(rng, base, start, (DAY, DAY + 1, DAY + 1))
    which = rng.integers(0, len(items), len(at))
    severity = block["severity"][at]
    for number, code in enumerate(items):
        time = start + hours(rng.uniform(0.3, 7, len(at)))
        dropped = missing == number
        after = start + hours(rng.uniform(24.1, 44, len(at)))
        time = np.where(dropped, np.where(late, after, NEVER), time)
        time = np.where(is_boundary & (which == number), boundary, time)
        is_laboratory = code.startswith("LOINC")
        value = laboratory_values(rng, code, severity) if is_laboratory else None
        ledger.add(code, at, time, value=value,
                   delay_minutes=(45, 190) if is_laboratory else (5, 60))  # fmt: skip
        if code == "CARE//chest-imaging":
            shadows = (rng.random(len(at)) < 0.35 + 0.5 * severity).astype(float)
            ledger.add("CARE//radiographic-infiltrates", at, time, value=shadows,
                       delay_minutes=(20, 300))  # fmt: skip
            refused = np.where(time == NEVER, start + 3 * HOUR, NEVER)
            refused = np.where(rng.random(len(at)) < 0.2, refused, NEVER)
            ledger.add(code, at, refused, status="not-done", reason="REASON//refused")
    # One set of the usual tests belongs to it whatever the daily samples lack.
    time = start + hours(rng.uniform(0.3, 4, len(at)))
    for code in ("LOINC//1988-5", "LOINC//6690-2", "LOINC//14682-9"):
        ledger.add(code, at, time, value=laboratory_values(rng, code, severity),
                   delay_minutes=(45, 190))  # fmt: skip


def _alarms(ledger: Ledger, at: _Integers, alarm: Times) -> None:
    """Add the reviews that a high NEWS2 asks for, and daily rounds."""
    block, rng = ledger.block, ledger.rng
    review = some(rng, CARE["review_after_news2"], alarm, 0.02, 0.47)
    review = np.where(review == NEVER, some(rng, 0.8, alarm, 0.52, 5), review)
    half = 30 * MINUTE
    review, _ = planted(rng, review, alarm, (half, half + 1, 0, half - 1))
    ledger.add("CARE//clinical-review", at, review)
    days = np.maximum((block["end"][at] - block["start"][at]) // DAY, 0)
    repeated = np.repeat(np.arange(len(at)), days)
    number = np.arange(len(repeated)) - np.repeat(np.cumsum(days) - days, days) + 1
    rounds = block["start"][at][repeated] + number * DAY
    rounds += rng.integers(-3 * 3600, 3 * 3600, len(repeated)) * SECOND
    ledger.add("CARE//clinical-review", at[repeated], rounds)


def _immunosuppressants(ledger: Ledger, at: _Integers) -> None:
    block, rng = ledger.block, ledger.rng
    need = np.where(block["level"][at] >= 2, block["need"][at], NEVER)
    given = some(rng, 0.4, need, 1, 30)
    tocilizumab = rng.random(len(at)) < 0.5
    ledger.add("ATC//L04AC07", at[tocilizumab], given[tocilizumab], value=600.0)
    ledger.every("ATC//L04AF02", at[~tocilizumab], given[~tocilizumab], step_hours=24,
                 times=np.full(int((~tocilizumab).sum()), 7), value=4.0)  # fmt: skip
