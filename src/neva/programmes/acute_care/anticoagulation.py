"""What must be looked at before an anticoagulant is given."""

from __future__ import annotations

from neva.decisions.rules import Input, Rule, read, rule
from neva.definitions.language import codelist, events, hours, now, row, true_or_unknown
from neva.programmes import codelists as codes
from neva.programmes.acute_care.early_warning import open_adult_stay
from neva.programmes.scoring import glomerular_filtration

__all__ = ["anticoagulant", "anticoagulant_inputs", "bleeding", "order_check", "platelets"]

anticoagulant = codelist(
    "anticoagulants",
    "ATC//B01AA*",
    "ATC//B01AB*",
    "ATC//B01AE*",
    "ATC//B01AF*",
    "ATC//B01AX05",
    "CARE//anticoagulation-therapeutic",
    title="Anticoagulants",
)
platelets = codelist("platelets", "LOINC//777-3", title="Platelets")
#: From memory: a hospital adds its own codes of bleeding.
bleeding = codelist(
    "bleeding",
    *(f"ICD10//I6{number}*" for number in (0, 1, 2)),
    "ICD10//K92.0",
    "ICD10//K92.1",
    "ICD10//K92.2",
    "ICD10//R04*",
    "ICD10//R58*",
    "ICD10//D68.3",
    title="Bleeding",
)
#: An older blood count or creatinine counts as missing.
LARGEST_AGE_HOURS = 72.0
BLEEDING_DAYS = 30
CURRENT_HOURS = 48.0


def anticoagulant_inputs() -> tuple[Input, ...]:
    """What a card on anticoagulants shows, known or not."""
    creatinine = events(codes.creatinine).within(hours(LARGEST_AGE_HOURS)).last()
    bled = events(bleeding).within(hours(24 * BLEEDING_DAYS))
    present = events(anticoagulant).within(hours(CURRENT_HOURS))
    return (
        read(
            "platelets",
            "Platelets",
            events(platelets).within(hours(LARGEST_AGE_HOURS)).last(),
            "10*9/L",
            age=LARGEST_AGE_HOURS,
        ),
        read(
            "egfr",
            "eGFR (CKD-EPI 2021), mL/min/1.73 m²",
            glomerular_filtration(creatinine.value("umol/L"), now),
            time=creatinine.time,
            age=LARGEST_AGE_HOURS,
        ),
        read(
            "bleeding",
            f"Bleeding recorded in the last {BLEEDING_DAYS} days",
            bled.exists(),
            time=bled.last().time,
        ),
        read(
            "current-anticoagulant",
            f"Anticoagulant recorded in the last {CURRENT_HOURS:g} hours",
            present.exists(),
            time=present.last().time,
        ),
    )


def order_check(lowest_platelets: float, lowest_filtration: float) -> Rule:
    """Question a draft order of an anticoagulant where something speaks against it."""
    drafted = events(anticoagulant).status("planned").where(row.attribute("kind") == "order")
    count = events(platelets).within(hours(LARGEST_AGE_HOURS)).last().value("10*9/L")
    creatinine = events(codes.creatinine).within(hours(LARGEST_AGE_HOURS)).last()
    filtration = glomerular_filtration(creatinine.value("umol/L"), now)
    against = (
        (count < lowest_platelets)
        | (filtration < lowest_filtration)
        | events(bleeding).within(hours(24 * BLEEDING_DAYS)).exists()
        | events(anticoagulant).within(hours(CURRENT_HOURS)).exists()
    )
    # What is missing is a reason to look, not a reason to be silent.
    return rule(
        "acute-care.anticoagulant-order",
        version="1.0.0",
        title="Order of an anticoagulant: what to look at first",
        title_ru="Назначение антикоагулянта: что проверить",
        hooks=("order-select", "order-sign"),
        population=open_adult_stay(),
        condition=drafted.exists() & true_or_unknown(against),
        proposes="anticoagulant",
        indicator="warning",
        summary="Before this anticoagulant: platelets {platelets}, eGFR {egfr}, "
        "bleeding recorded: {bleeding}, other recorded: {current-anticoagulant}",
        detail=(
            "An anticoagulant is being ordered while something below speaks against it or is not "
            "known. Weigh bleeding and clotting for this patient; renal function decides drug and "
            "dose."
        ),
        logic=(
            f"A draft order of an anticoagulant, and platelets below {lowest_platelets:g} x 10⁹/L, "
            f"eGFR below {lowest_filtration:g}, bleeding recorded in {BLEEDING_DAYS} days, or "
            f"another anticoagulant within {CURRENT_HOURS:g} h; or one of these is not known."
        ),
        inputs=anticoagulant_inputs(),
        source="Local policy on anticoagulants (to be confirmed)",
        notes=("Limits of platelets and eGFR and the codes of bleeding are from memory.",),
        override={
            "assessed": "Bleeding and clotting were weighed",
            "bridging": "Planned change between anticoagulants",
        },
        owner="prescriber",
        quiet_hours=0,
    )
