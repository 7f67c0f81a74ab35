"""What the rules warn of, and how often patients are to be observed."""

from __future__ import annotations

from neva.decisions.outcomes import Outcome
from neva.decisions.work_list import ObservationPlan
from neva.definitions.documents import Feature
from neva.definitions.language import (
    case,
    events,
    first_known,
    hours,
    least,
    missing,
    movements,
    now,
    row,
    stay,
    stays,
    subject,
    true_or_unknown,
)
from neva.definitions.writing import feature
from neva.programmes import codelists as codes
from neva.programmes.bedside import Inputs, news2
from neva.programmes.scoring import at_least

__all__ = [
    "HOURS_BY_SCORE",
    "deterioration",
    "deterioration_soon",
    "observation_plan",
    "return_after_discharge",
    "return_soon",
]

#: Hours between observations from a NEWS2 on. 12 hours at 0 is the College's;
#: the others are from memory and to be settled locally.
HOURS_BY_SCORE = {0.0: 12.0, 1.0: 6.0, 5.0: 1.0, 7.0: 0.5}
#: Our choice, as usual in studies of early warning.
HOURS_BEFORE_DETERIORATION = 24.0
#: Our choice, after the 30 days of CMS' readmission measure.
DAYS_AFTER_DISCHARGE = 30


def deterioration() -> Feature:
    """When a patient came to intensive care, or died in hospital, whichever was first.

    Intensive care in the first hour of the stay is where the patient was
    admitted to, and no deterioration.
    """
    later = stay.start + hours(1)
    moved = movements(kind="icu").during(stay).after(later).first().time
    admitted = events("CARE//intensive-care-admission").during(stay).after(later).first().time
    died = case(
        (subject.death <= first_known(stay.end, now) + hours(1), subject.death),
        otherwise=missing(now),
    )
    return feature(
        "acute-care.deterioration",
        least(moved, admitted, died),
        version="1.0.0",
        title="Intensive care or death in hospital",
        title_ru="Реанимация или смерть в стационаре",
        description=(
            "The first of: a movement to intensive care or a recorded admission to it, later than "
            "an hour after admission; death during the stay."
        ),
    )


def deterioration_soon() -> Outcome:
    """Deterioration within a day, as what a rule warns of."""
    return Outcome(of=deterioration(), within_hours=HOURS_BEFORE_DETERIORATION)


def return_after_discharge() -> Feature:
    """When a patient came back unplanned, or died, after the stay; whichever was first."""
    again = (
        stays("inpatient", "emergency")
        .where(true_or_unknown(row.reason != "elective"))
        .after(stay.end)
    )
    died = case((subject.death > stay.end, subject.death), otherwise=missing(now))
    return feature(
        "acute-care.return-after-discharge",
        least(again.first().time, died),
        version="1.0.0",
        title="Unplanned return or death after discharge",
        title_ru="Незапланированный возврат или смерть после выписки",
        description=(
            "The first of: a later stay in hospital or in the emergency department that was not "
            "elective; death. Only what this hospital has recorded."
        ),
        evidence=("CMS Hospital-Wide Readmission (simplified: planned means elective)",),
    )


def return_soon() -> Outcome:
    """Return or death within a month of the discharge, as what a rule warns of."""
    return Outcome(
        of=return_after_discharge(),
        within_hours=24.0 * DAYS_AFTER_DISCHARGE,
        ends_with_stay=False,
    )


def observation_plan(look_back: float = 14 * 24.0) -> ObservationPlan:
    """Return how often patients are to be observed, by the last NEWS2.

    Parameters
    ----------
    look_back : float
        Hours in which the last observation is looked for: much longer than a
        score's, since what is overdue is old.
    """
    inputs = Inputs(look_back)
    vital = events(
        codes.respiratory_rate, codes.saturation, codes.systolic, codes.pulse, codes.temperature
    )
    return ObservationPlan(
        score=at_least(news2(inputs)).node,
        last=vital.within(hours(look_back)).last().time.node,
        hours_by_score=HOURS_BY_SCORE,
    )
