"""The truth of the measures on sepsis and stroke."""

from __future__ import annotations

import numpy as np

from neva.synthesis.drawing import DAY, HOUR, NEVER
from neva.synthesis.known import Known, Mask
from neva.synthesis.measures import Answers, timed, verdict
from neva.synthesis.returns import days_later
from neva.synthesis.vocabulary import ANTICOAGULANTS

__all__ = ["sepsis_measures", "stroke_measures"]

_CLOCKS = {
    "registration": "CARE//emergency-registration",
    "triage": "CARE//emergency-triage",
    "sepsis-triage": "CARE//sepsis-triage",
}


def sepsis_measures(known: Known, answers: Answers) -> None:
    """Add the answers of every ``sepsis`` measure."""
    k = known
    # Every stay of the hospital is of kind emergency or inpatient.
    recognised = k.first(k.done & k.code("CARE//sepsis-triage") & k.inside)
    septic = recognised != NEVER
    for name, code in _CLOCKS.items():
        clock = k.first(k.done & k.code(code) & k.inside)
        due = np.where(clock == NEVER, NEVER, clock + HOUR)
        given = k.antibiotic & k.inside & (k.time <= k.at(due))
        answers.add(
            f"sepsis.antibiotics-1-hour-from-{name}",
            timed(
                k,
                population=septic,
                unknown=clock == NEVER,
                met=k.any(given),
                due=due,
                adult=False,
            ),
        )
    registered = k.any(k.done & k.code("CARE//emergency-registration") & k.inside)
    untreated = ~k.any(k.antibiotic & k.inside)
    answers.add(
        "sepsis.no-antibiotics",
        verdict(k, population=registered | septic, met=untreated, failed=~untreated, adult=False),
    )
    due = np.where(septic, recognised + 3 * HOUR, NEVER)
    lactate = k.done & k.code("LOINC//2524-7") & k.inside & (k.time <= k.at(due))
    answers.add(
        "sepsis.lactate-3-hours",
        timed(k, population=septic, met=k.any(lactate), due=due, adult=False),
    )
    answers.add(
        "sepsis.intensive-care",
        timed(k, population=septic, met=_in_intensive_care(k), due=k.end, adult=False),
    )
    there = np.where(k.is_over, k.end, k.start)
    until = np.where(k.is_over, days_later(there, 28, k.zone), NEVER)
    answers.add(
        "sepsis.return-28-days",
        timed(
            k,
            population=septic & k.is_over & (k.outcome != "died"),
            met=k.returns(until),
            due=until,
            adult=False,
            late=True,
        ),
    )
    days = np.where(k.is_over, (k.end - k.start) / DAY, np.nan)
    answers.add(
        "sepsis.length-of-stay",
        verdict(
            k,
            population=septic & k.is_over,
            met=k.is_over,
            failed=~k.is_over,
            adult=False,
            value=days,
        ),
    )


def _in_intensive_care(k: Known) -> Mask:
    row, moved = k.intensive_moves
    counts = (moved >= k.start[row]) & (moved <= k.limit[row])
    found = np.zeros(k.size, dtype=bool)
    found[row[counts]] = True
    return found


def stroke_measures(known: Known, answers: Answers) -> None:
    """Add the answers of every ``stroke`` measure."""
    k = known
    stroke = k.any(k.done & k.diagnosis("I63") & k.rank(1) & k.inside)
    home = k.is_over & np.isin(k.outcome, ("home", "care-facility"))
    population = k.inpatient & home & stroke
    palliative = k.any(k.done & k.code("CARE//palliative-care") & k.inside)
    prescribed = k.done & k.discharge & k.inside
    for name, here, given in (
        ("antithrombotic-at-discharge", population, k.antithrombotic),
        (
            "anticoagulation-for-atrial-fibrillation",
            population & k.any(k.done & k.diagnosis("I48") & (k.time <= k.at(k.limit))),
            k.code(*ANTICOAGULANTS),
        ),
    ):
        met = k.any(prescribed & given)
        excluded = palliative | k.any(given & k.not_done & k.inside)
        answers.add(
            f"stroke.{name}",
            verdict(k, population=here, excluded=excluded, met=met, failed=~met),
        )
