"""Rules of the COVID-19 programme: steroid, thromboprophylaxis, deterioration."""

from __future__ import annotations

from typing import Any

from neva.decisions.rules import Escalation, Input, Rule, Suggestion, read, rule
from neva.definitions.language import (
    Boolean,
    case,
    events,
    hours,
    movements,
    now,
    number,
    row,
    stay,
    subject,
    true_or_unknown,
    wrap,
)
from neva.programmes import codelists as codes
from neva.programmes.acute_care.anticoagulation import (
    anticoagulant,
    anticoagulant_inputs,
    platelets,
)
from neva.programmes.acute_care.early_warning import NO_LIMIT, limited_care, open_adult_stay
from neva.programmes.bedside import Inputs
from neva.programmes.covid19.outcomes import support_or_death_in_stay
from neva.programmes.covid19.scores import deterioration_4c, mortality_4c
from neva.programmes.scoring import at_least, has_missing

__all__ = ["rules"]


def _covid() -> Boolean:
    """Adults in hospital with SARS-CoV-2 detected from 14 days before admission on."""
    found: Boolean = (
        (stay.kind == "inpatient")
        & (subject.age_at(now) >= 18)
        & _detected().exists()
        & open_adult_stay()
    )
    return found


def _detected() -> Any:
    found = events(codes.viral_test).where(row.text == "detected")
    return found.since(stay.start - hours(14 * 24)).until(now)


def _test() -> Input:
    last = _detected().last()
    return read("pcr", "SARS-CoV-2 PCR", last.text, time=last.time)


def _steroid(inputs: Inputs) -> Rule:
    oxygen = events(codes.oxygen_therapy).during(stay)
    steroid = events(codes.systemic_steroid)
    given = steroid.within(hours(24))
    treated = given.exists() | steroid.active_at(now).exists()
    return rule(
        "covid19.steroid-on-oxygen",
        version="1.0.0",
        title="On oxygen with COVID-19 and no steroid",
        title_ru="COVID-19, кислород, нет кортикостероида",
        hooks=("patient-view", "encounter-start"),
        population=_covid(),
        # Drugs that were not sent are unknown, and no card says that none was given.
        condition=inputs.on_oxygen & ~treated,
        treated=treated,
        limited=limited_care() | events("CARE//steroid-contraindicated").during(stay).exists(),
        indicator="warning",
        summary="COVID-19 and on oxygen, no systemic steroid in 24 h: consider dexamethasone",
        detail=(
            "In RECOVERY dexamethasone lowered 28-day mortality of patients with COVID-19 who "
            "received oxygen or ventilation, and not of those who did not. Look for reasons "
            "against it; watch glucose."
        ),
        logic=(
            f"SARS-CoV-2 detected, on oxygen now, no systemic steroid in the last 24 h and none "
            f"running; an oxygen record without an end counts for {inputs.look_back:g} h; no "
            f"contraindication to steroids is recorded, {NO_LIMIT}."
        ),
        inputs=(
            _test(),
            read("oxygen-since", "On oxygen since", oxygen.first().time),
            read(
                "saturation",
                "SpO2",
                inputs.recent(codes.saturation).last(),
                "%",
                age=inputs.look_back,
            ),
            read("steroid", "Systemic steroid in the last 24 h", given.exists()),
            read(
                "diabetes",
                "Diabetes recorded",
                events(codes.comorbidities["diabetes"]).until(now).exists(),
            ),
        ),
        source="RECOVERY Collaborative Group (2021)",
        source_url="https://doi.org/10.1056/NEJMoa2021436",
        evidence=("doi:10.1056/NEJMoa2021436",),
        suggestions=(
            Suggestion(
                label="Draft an order of dexamethasone",
                resource="MedicationRequest",
                code="ATC//H02AB02",
                display="dexamethasone",
            ),
        ),
        override={
            "contraindicated": "Contraindicated",
            "oxygen-for-other-reason": "Oxygen for another reason",
            "refused": "Refused by the patient",
            "given-elsewhere": "Already given elsewhere",
        },
        owner="ward doctor",
        act_within_minutes=24 * 60,
        escalation=(Escalation(after_minutes=24 * 60, owner="senior doctor on duty"),),
        quiet_hours=24,
    )


def _thromboprophylaxis(prophylaxis_hours: float, lowest_platelets: float) -> Rule:
    heparin = events(codes.heparin_prophylaxis)
    count = events(platelets).within(hours(72)).last().value("10*9/L")
    return rule(
        "covid19.thromboprophylaxis",
        version="1.0.0",
        title="COVID-19 in hospital and no thromboprophylaxis",
        title_ru="COVID-19 в стационаре без тромбопрофилактики",
        hooks=("patient-view", "encounter-start"),
        population=_covid(),
        condition=(stay.length() >= prophylaxis_hours / 2)
        & ~heparin.within(hours(24)).exists()
        & true_or_unknown(count >= lowest_platelets),
        treated=heparin.within(hours(24)).exists()
        | events(anticoagulant).within(hours(24)).exists()
        | heparin.status("not-done").within(hours(24)).exists(),
        limited=limited_care()
        | events("CARE//anticoagulant-contraindicated", "CARE//anticoagulation-therapeutic")
        .during(stay)
        .exists(),
        proposes="anticoagulant",
        indicator="info",
        summary="COVID-19, no thromboprophylaxis: platelets {platelets}, eGFR {egfr}, "
        "bleeding recorded: {bleeding}",
        detail=(
            "Weigh the risks of clotting and bleeding and decide on prophylaxis. Renal function "
            "decides drug and dose."
        ),
        logic=(
            f"SARS-CoV-2 detected, {prophylaxis_hours / 2:g} h or more in hospital, neither "
            "heparin nor another anticoagulant in the last 24 h, no reason against it recorded, "
            f"platelets not below {lowest_platelets:g} x 10⁹/L (or not known); {NO_LIMIT}."
        ),
        inputs=(_test(), *anticoagulant_inputs()),
        source="NICE NG191, COVID-19: managing",
        source_url="https://www.nice.org.uk/guidance/ng191",
        evidence=("NICE NG191",),
        notes=(f"The limit of platelets ({lowest_platelets:g}) is from memory.",),
        suggestions=(
            Suggestion(
                label="Draft an assessment of bleeding and clotting",
                resource="ServiceRequest",
                code="CARE//thrombosis-risk-assessment",
                display="assessment of risk of thrombosis and bleeding",
            ),
        ),
        override={
            "bleeding-risk": "Risk of bleeding outweighs",
            "therapeutic": "On therapeutic anticoagulation",
            "refused": "Refused by the patient",
        },
        owner="ward doctor",
        act_within_minutes=prophylaxis_hours * 30,
        escalation=(
            Escalation(after_minutes=prophylaxis_hours * 30, owner="senior doctor on duty"),
        ),
        quiet_hours=24,
    )


def _deterioration(inputs: Inputs, from_probability: float) -> Rule:
    probability = wrap(deterioration_4c(inputs)[1].value)
    supported = events(codes.advanced_support).active_at(now).exists()
    mortality = mortality_4c(inputs)
    age = inputs.look_back

    def vital(name: str, title: str, codelist: Any, unit: str) -> Input:
        return read(name, title, inputs.recent(codelist).last(), unit, age=age)

    return rule(
        "covid19.deterioration",
        version="1.0.0",
        title="High probability of deterioration by 4C",
        title_ru="Высокая вероятность ухудшения по 4C",
        hooks=("patient-view",),
        population=_covid(),
        condition=(probability >= from_probability) & ~supported,
        treated=events("CARE//intensive-care-admission").during(stay).exists()
        | movements(kind="icu").active_at(now).exists(),
        limited=limited_care(),
        severity=case((probability >= (1 + from_probability) / 2, number(2)), otherwise=number(1)),
        indicator="warning",
        summary="4C Deterioration {deterioration} %: consider closer observation",
        detail=(
            "Estimated probability of ventilatory support, critical care or death during this "
            "stay. Derived in 2020; expect it to be too high or too low elsewhere and later. "
            "4C Mortality Score: {mortality} of 21."
        ),
        logic=(
            f"The 4C Deterioration model gives {from_probability * 100:g} % or more from inputs "
            f"of the last {age:g} h, there is no advanced respiratory support and the patient is "
            f"not in intensive care and was not admitted to it; {NO_LIMIT}. With an input missing "
            "there is no probability and no card."
        ),
        inputs=(
            read("deterioration", "4C Deterioration, %", probability * 100),
            read(
                "mortality",
                "4C Mortality Score",
                at_least(mortality),
                incomplete=has_missing(mortality),
            ),
            vital("respiratory-rate", "Respiratory rate", codes.respiratory_rate, "/min"),
            vital("saturation", "SpO2", codes.saturation, "%"),
            read("oxygen", "On oxygen", inputs.on_oxygen),
            vital("coma-score", "Glasgow coma score", codes.coma_score, "{score}"),
            vital("urea", "Urea", codes.urea, "mmol/L"),
            vital("crp", "C-reactive protein", codes.crp, "mg/L"),
            vital("lymphocytes", "Lymphocytes", codes.lymphocytes, "10*9/L"),
        ),
        source="ISARIC4C: 4C Deterioration (2021)",
        source_url="https://doi.org/10.1016/S2213-2600(20)30559-2",
        evidence=("doi:10.1016/S2213-2600(20)30559-2",),
        stage="scale",
        notes=("The probability from which a card is shown is a local choice.",),
        override={
            "expected": "Expected for this patient",
            "already-escalated": "Already escalated",
            "ceiling-of-care": "Outside the agreed ceiling of care",
        },
        owner="ward doctor",
        act_within_minutes=120,
        escalation=(Escalation(after_minutes=120, owner="critical care outreach"),),
        quiet_hours=24,
        warns_of=support_or_death_in_stay(),
    )


def rules(
    look_back: float,
    prophylaxis_hours: float,
    lowest_platelets: float,
    from_probability: float,
) -> tuple[Rule, ...]:
    """Return the rules of the programme.

    Parameters
    ----------
    look_back : float
        Hours within which observations count.
    prophylaxis_hours : float
        Hours from admission by which prophylaxis should have been given; the
        card comes at half of them.
    lowest_platelets : float
        10*9/L below which prophylaxis is not proposed; unconfirmed.
    from_probability : float
        4C Deterioration from which a card is shown; a local choice.
    """
    inputs = Inputs(look_back)
    return (
        _steroid(inputs),
        _thromboprophylaxis(prophylaxis_hours, lowest_platelets),
        _deterioration(inputs, from_probability),
    )
