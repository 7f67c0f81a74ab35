"""NEWS2 and who must come when: the response of the Royal College of Physicians."""

from __future__ import annotations

from typing import Any

from neva.decisions.rules import Escalation, Input, Rule, read, rule
from neva.definitions.language import (
    Boolean,
    Time,
    events,
    first_known,
    hours,
    movements,
    now,
    stay,
    subject,
)
from neva.programmes import codelists as codes
from neva.programmes.acute_care.outcomes import deterioration_soon, return_soon
from neva.programmes.bedside import Inputs, news2
from neva.programmes.scoring import at_least, has_missing, single_item_of

__all__ = [
    "NO_LIMIT",
    "early_warning",
    "limited_care",
    "news2_inputs",
    "open_adult_stay",
    "reviewed",
]

#: How a card says that :func:`limited_care` would have held it back.
NO_LIMIT = "neither palliative care nor a ceiling of care is recorded"

_RCP = "Royal College of Physicians: NEWS2 (2017)"
_RCP_URL = "https://www.rcp.ac.uk/resources/national-early-warning-score-news-2/"
_REASONS = {
    "already-reviewed": "Already reviewed by the team",
    "expected": "Expected for this patient",
    "ceiling-of-care": "Outside the agreed ceiling of care",
    "wrong-values": "The observations are wrong",
}


def open_adult_stay() -> Boolean:
    """Adults whose stay has not ended."""
    return (subject.age_at(now) >= 16) & stay.end.is_missing() & subject.death.is_missing()


def limited_care() -> Boolean:
    """Whether palliative care or a ceiling of care is recorded for the stay."""
    return events("CARE//palliative-care", "CARE//ceiling-of-care").during(stay).exists()


def _last_observed(inputs: Inputs) -> Time:
    vital = events(
        codes.respiratory_rate,
        codes.saturation,
        codes.systolic,
        codes.pulse,
        codes.consciousness,
        codes.temperature,
    )
    return vital.within(hours(inputs.look_back)).last().time


def reviewed(inputs: Inputs) -> Boolean:
    """Whether a clinician's review is recorded at or after the last observation."""
    found: Boolean = first_known(
        events("CARE//clinical-review").since(_last_observed(inputs)).exists(), False
    )
    return found


def news2_inputs(inputs: Inputs) -> tuple[Input, ...]:
    """NEWS2 and everything it is made of, as a card shows it."""
    score, age = news2(inputs), inputs.look_back
    oxygen = events(codes.oxygen_therapy).until(now)

    def vital(name: str, title: str, codelist: Any, unit: str | None) -> Input:
        return read(name, title, inputs.recent(codelist).last(), unit, age=age)

    return (
        read(
            "news2",
            "NEWS2",
            at_least(score),
            time=_last_observed(inputs),
            incomplete=has_missing(score),
        ),
        vital("respiratory-rate", "Respiratory rate", codes.respiratory_rate, "/min"),
        vital("saturation", "SpO2", codes.saturation, "%"),
        read("oxygen", "On oxygen", inputs.on_oxygen, time=oxygen.last().time),
        read(
            "scale-2",
            "Saturation target of 88-92 % set (scale 2)",
            events("CARE//saturation-target-88-92").until(now).exists(),
        ),
        vital("systolic", "Systolic pressure", codes.systolic, "mm[Hg]"),
        vital("pulse", "Pulse", codes.pulse, "/min"),
        vital("consciousness", "Consciousness (ACVPU)", codes.consciousness, None),
        vital("temperature", "Temperature", codes.temperature, "Cel"),
    )


def early_warning(look_back: float) -> tuple[Rule, ...]:
    """Return the rules: emergency response, urgent response, discharge while unwell."""
    inputs = Inputs(look_back)
    score = news2(inputs)
    total = at_least(score)
    seen = reviewed(inputs)
    words: dict[str, Any] = {
        "version": "1.0.0",
        # NEWS2 is for wards and emergency departments, not for intensive care.
        "population": open_adult_stay() & ~movements(kind="icu").active_at(now).exists(),
        "inputs": news2_inputs(inputs),
        "source": _RCP,
        "source_url": _RCP_URL,
        "evidence": (_RCP,),
        "override": _REASONS,
        "stage": "scale",
        "notes": (
            "Not for children or in intensive care: no card is shown for them.",
            "Not for pregnancy, which is not looked at: clinicians must know.",
            "A missing observation counts nothing: the total is then 'at least'.",
        ),
    }
    return (
        rule(
            "acute-care.news2-emergency",
            title="NEWS2 of 7 or more",
            title_ru="NEWS2 7 и более",
            hooks=("patient-view",),
            condition=total >= 7,
            severity=total,
            treated=seen,
            limited=limited_care(),
            indicator="critical",
            summary="NEWS2 is {news2}: emergency assessment within 30 minutes",
            detail=(
                "NEWS2 of 7 or more: assessment by a team with critical-care skills within 30 "
                "minutes, continuous monitoring, and a decision on the place of care."
            ),
            logic=(
                "The items of NEWS2 that are known add up to 7 or more, and nobody has recorded "
                f"a review since the last observation; {NO_LIMIT}."
            ),
            owner="ward doctor",
            act_within_minutes=30,
            escalation=(
                Escalation(after_minutes=30, owner="critical care outreach"),
                Escalation(after_minutes=60, owner="consultant on call"),
            ),
            quiet_hours=4,
            warns_of=deterioration_soon(),
            **words,
        ),
        rule(
            "acute-care.news2-urgent",
            title="NEWS2 of 5 or 6, or 3 in one item",
            title_ru="NEWS2 5-6 или 3 балла за один показатель",
            hooks=("patient-view",),
            condition=(total < 7) & ((total >= 5) | single_item_of(score, 3)),
            severity=total,
            treated=seen,
            limited=limited_care(),
            indicator="warning",
            summary="NEWS2 is {news2}: urgent review within 60 minutes",
            detail=(
                "NEWS2 of 5 or 6: urgent assessment within an hour by a clinician with competence "
                "in acute illness. Three points in one item alone: urgent review on the ward. "
                "Think of sepsis."
            ),
            logic=(
                "The items of NEWS2 that are known add up to 5 or 6, or one item alone has 3 "
                f"points, and nobody has recorded a review since the last observation; {NO_LIMIT}."
            ),
            owner="ward doctor",
            act_within_minutes=60,
            escalation=(Escalation(after_minutes=60, owner="senior doctor on duty"),),
            quiet_hours=8,
            warns_of=deterioration_soon(),
            **words,
        ),
        rule(
            "acute-care.discharge-news2",
            title="Going home with NEWS2 of 5 or more",
            title_ru="Выписка при NEWS2 5 и более",
            hooks=("encounter-discharge",),
            condition=total >= 5,
            severity=total,
            limited=limited_care(),
            indicator="warning",
            summary="NEWS2 is {news2} on the day of discharge: review before going home",
            detail="The last observations would call for an urgent review on a ward.",
            logic=f"The items of NEWS2 that are known add up to 5 or more; {NO_LIMIT}.",
            owner="ward doctor",
            quiet_hours=12,
            warns_of=return_soon(),
            **words,
        ),
    )
