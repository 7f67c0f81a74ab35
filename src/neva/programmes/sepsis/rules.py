"""Rules of the sepsis programme: screen, lactate, antibiotics; never qSOFA alone."""

from __future__ import annotations

from typing import Any

from neva.decisions.rules import Escalation, Rule, Suggestion, read, rule
from neva.definitions.codelists import Codelist
from neva.definitions.language import (
    any_of,
    case,
    codelist,
    events,
    first_known,
    hours,
    now,
    number,
    stay,
)
from neva.programmes import codelists as codes
from neva.programmes.acute_care.early_warning import (
    NO_LIMIT,
    limited_care,
    news2_inputs,
    open_adult_stay,
    reviewed,
)
from neva.programmes.bedside import Inputs, news2
from neva.programmes.scoring import at_least

__all__ = ["rules"]

_GUIDE = "Surviving Sepsis Campaign (2021)"
_GUIDE_URL = "https://doi.org/10.1007/s00134-021-06506-y"

suspected_infection = codelist(
    "suspected-infection",
    "CARE//bacterial-infection-suspected",
    "CARE//blood-culture",
    "ICD10//A40*",
    "ICD10//A41*",
    "ICD10//J13*",
    "ICD10//J15*",
    "ICD10//J18*",
    "ICD10//N39.0",
    title="Infection suspected or recorded",
)


def rules(triage: Codelist, lactate: Codelist, antibiotics: Codelist) -> tuple[Rule, ...]:
    """Return the rules; the codelists are those of the measures."""
    inputs = Inputs(24.0)
    total = at_least(news2(inputs))
    infection = events(suspected_infection).within(hours(48))
    triaged = events(triage).during(stay)
    # The first recognition of the last day: a second episode of a stay has its own clock.
    zero = triaged.within(hours(24)).first().time
    tested = events(lactate).since(zero - hours(3)).until(now)
    treated = events(antibiotics).since(zero - hours(24)).until(now)
    fresh = first_known(zero > now - hours(24), False)
    last_lactate = events(lactate).within(hours(24)).last()
    systolic = inputs.last(codes.systolic, "mm[Hg]")
    # Shock: lactate of 4 or more (CMS SEP-1), or systolic pressure below 90 (from memory).
    shock = first_known(any_of(systolic < 90, last_lactate.value("mmol/L") >= 4), False)
    words: dict[str, Any] = {
        "version": "1.0.0",
        "population": open_adult_stay(),
        "limited": limited_care(),
        "source": _GUIDE,
        "source_url": _GUIDE_URL,
        "evidence": ("doi:10.1007/s00134-021-06506-y",),
        "owner": "ward doctor",
        "override": {
            "no-infection": "No infection",
            "already-done": "Already done",
            "ceiling-of-care": "Outside the agreed ceiling of care",
        },
    }
    shown = (
        read("sepsis-triage", "Recognised as possible sepsis", zero),
        read("lactate", "Lactate", last_lactate, "mmol/L", age=24),
        read(
            "systolic", "Systolic pressure", inputs.recent(codes.systolic).last(), "mm[Hg]", age=24
        ),
        read(
            "antibiotic",
            "Antibiotic since 24 h before recognition",
            treated.exists(),
            time=treated.first().time,
        ),
    )
    return (
        rule(
            "sepsis.screen",
            title="Signs of infection and NEWS2 of 5 or more",
            title_ru="Признаки инфекции и NEWS2 5 и более",
            hooks=("patient-view", "encounter-start"),
            condition=(total >= 5) & infection.exists(),
            treated=triaged.within(hours(48)).exists() | reviewed(inputs),
            severity=total,
            indicator="warning",
            summary="Possible sepsis: infection recorded and NEWS2 {news2}; assess now",
            detail=(
                "A screen, not a diagnosis: look for the source and for organ dysfunction. qSOFA "
                "alone is no screen and is not used here."
            ),
            logic=(
                "NEWS2 of 5 or more from what is known, and infection suspected or recorded in "
                "the last 48 h; not recognised as sepsis in these 48 h, no review recorded since "
                f"the last observation; {NO_LIMIT}."
            ),
            inputs=(
                read(
                    "infection",
                    "Infection suspected or recorded",
                    infection.last().code,
                    time=infection.last().time,
                ),
                *news2_inputs(inputs),
            ),
            stage="scale",
            act_within_minutes=60,
            escalation=(Escalation(after_minutes=60, owner="senior doctor on duty"),),
            quiet_hours=8,
            **words,
        ),
        rule(
            "sepsis.lactate",
            title="Possible sepsis and no lactate",
            title_ru="Возможный сепсис, лактат не определён",
            hooks=("patient-view", "encounter-start"),
            condition=fresh & ~tested.exists(),
            treated=tested.exists(),
            indicator="warning",
            summary="Possible sepsis since {sepsis-triage} and no lactate: measure it",
            detail="Lactate tells possible sepsis from shock and sets the pace of treatment.",
            logic=(
                "Recognised as possible sepsis in the last 24 h, and no lactate from 3 h before "
                f"that on; {NO_LIMIT}."
            ),
            inputs=shown,
            suggestions=(
                Suggestion(
                    label="Draft a request for lactate",
                    resource="ServiceRequest",
                    code="LOINC//2524-7",
                    display="lactate",
                ),
            ),
            act_within_minutes=180,
            escalation=(Escalation(after_minutes=180, owner="senior doctor on duty"),),
            quiet_hours=3,
            **words,
        ),
        rule(
            "sepsis.antibiotics",
            title="Possible sepsis and no antibiotic",
            title_ru="Возможный сепсис, антибиотик не назначен",
            hooks=("patient-view", "encounter-start"),
            condition=fresh & ~treated.exists(),
            treated=treated.exists(),
            severity=case((shock, number(2)), otherwise=number(1)),
            critical_from=2,
            indicator="warning",
            summary="Possible sepsis since {sepsis-triage} and no antibiotic: decide now",
            detail=(
                "With shock or likely sepsis within 1 hour; without shock and uncertain, within 3 "
                "hours after a quick assessment. One hour for every suspicion drives overuse."
            ),
            logic=(
                "Recognised as possible sepsis in the last 24 h, and no antibiotic from 24 h "
                f"before that on; {NO_LIMIT}. Critical with systolic pressure below 90 mmHg or "
                "lactate of 4 mmol/L or more."
            ),
            inputs=shown,
            notes=("The limit of systolic pressure is from memory.",),
            act_within_minutes=60,
            escalation=(
                Escalation(after_minutes=60, owner="senior doctor on duty"),
                Escalation(after_minutes=180, owner="consultant on call"),
            ),
            quiet_hours=2,
            **words,
        ),
    )
