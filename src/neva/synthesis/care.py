"""Care of all other patients: the emergency department, sepsis, stroke, surgery, support."""

from __future__ import annotations

from typing import Final

import numpy as np

from neva.synthesis.covid import antibiotic_course, planted, some
from neva.synthesis.drawing import DAY, HOUR, MINUTE, NEVER, SECOND, Times, hours
from neva.synthesis.journeys import NUMBER
from neva.synthesis.ledger import Ledger
from neva.synthesis.measurements import laboratory_values
from neva.synthesis.rates import CARE, CATEGORIES, COMORBIDITIES, MISSING
from neva.synthesis.support import EPISODES

__all__ = ["diagnoses", "emergency_and_sepsis", "support_and_flags", "surgery", "vascular"]

#: A unit of insulin aspart is 0.035 mg (label of the product); doses are in mg.
_MG_PER_UNIT: Final = 0.035


def emergency_and_sepsis(ledger: Ledger) -> None:
    """Add registration and triage of everybody who came through the emergency department."""
    block, rng = ledger.block, ledger.rng
    is_elective = np.array([c.rhythm == "elective" for c in CATEGORIES])[block["category"]]
    at = np.flatnonzero(~is_elective)
    start = block["start"][at]
    registered = start + rng.integers(0, 180, len(at)) * SECOND
    registered = np.where(rng.random(len(at)) < MISSING["registration"], NEVER, registered)
    ledger.add("CARE//emergency-registration", at, registered, delay_minutes=(0, 1))
    triage = start + rng.integers(3 * 60, 16 * 60, len(at)) * SECOND
    triage = np.where(rng.random(len(at)) < MISSING["registration"], NEVER, triage)
    ledger.add("CARE//emergency-triage", at, triage, delay_minutes=(0, 3))

    septic = np.isin(block["category"][at], [NUMBER["sepsis"], NUMBER["sepsis-home"]])
    septic &= rng.random(len(at)) < CARE["sepsis_triage"]
    at, start, registered, triage = at[septic], start[septic], registered[septic], triage[septic]
    recognised = start + rng.integers(17 * 60, 45 * 60, len(at)) * SECOND
    ledger.add("CARE//sepsis-triage", at, recognised, delay_minutes=(0, 3))
    dose = some(rng, CARE["sepsis_antibiotic_in_time"], recognised, 0.02, 0.97)
    dose = np.where(dose == NEVER, some(rng, 0.85, recognised, 1.02, 7), dose)
    for clock in (registered, triage, recognised):
        dose, _ = planted(rng, dose, clock, (HOUR, HOUR + 1, HOUR + MINUTE))
    early = rng.random(len(at)) < 0.03
    dose = np.where(early, recognised - 4 * MINUTE, dose)
    course = np.clip((block["end"][at] - dose) // (12 * HOUR) + 1, 1, 14)
    antibiotic_course(ledger, at, dose, course)
    lactate = some(rng, CARE["lactate_in_time"], recognised, -0.3, 2.8)
    lactate = np.where(lactate == NEVER, some(rng, 0.6, recognised, 3.1, 9), lactate)
    lactate, _ = planted(rng, lactate, recognised, (3 * HOUR, 3 * HOUR + 1))
    ledger.add("LOINC//2524-7", at, lactate,
               value=laboratory_values(rng, "LOINC//2524-7", block["severity"][at] + 0.3),
               delay_minutes=(3, 45))  # fmt: skip
    culture = some(rng, 0.75, recognised, -0.2, 1)
    positive = rng.random(len(at)) < 0.3
    ledger.add("CARE//blood-culture", at, culture, text=np.where(positive, "positive", "negative"),
               delay_minutes=(1200, 4300))  # fmt: skip
    pressor = np.where(block["intensive_start"][at] == NEVER, NEVER, recognised)
    pressor = some(rng, 0.6, pressor, 1, 12)
    until = np.minimum(pressor + hours(rng.uniform(8, 90, len(at))), block["end"][at])
    ledger.add("CARE//vasopressor", at, pressor, until=until)


def support_and_flags(ledger: Ledger) -> None:
    """Add oxygen and ventilation, intensive care, and the flags of everybody."""
    block, rng = ledger.block, ledger.rng
    everybody = np.arange(block.size)
    for name, code in EPISODES.items():
        ledger.add(code, everybody, block[f"{name}_start"], until=block[f"{name}_end"])
    ledger.add("CARE//intensive-care-admission", everybody, block["intensive_admitted"])
    start, length = block["start"], block["end"] - block["start"]
    target = np.where(block["hypercapnic"] & (block["level"] > 0), start, NEVER)
    ledger.add("CARE//saturation-target-88-92", everybody, some(rng, 1.0, target, 0.4, 4))
    palliative = start + (rng.uniform(0.1, 0.8, block.size) * length).astype(np.int64)
    palliative -= palliative % SECOND
    ledger.add("CARE//palliative-care", everybody, np.where(block["palliative"], palliative, NEVER))
    ceiling = np.where(block["ceiling"], start, NEVER)
    ledger.add("CARE//ceiling-of-care", everybody, some(rng, 1.0, ceiling, 1, 24))
    ventilated = np.where(block["invasive_start"] == NEVER, NEVER, block["invasive_start"])
    dialysis = some(rng, 0.12, ventilated, 12, 120)
    until = np.minimum(dialysis + hours(rng.uniform(20, 90, block.size)), block["end"])
    ledger.add("CARE//dialysis", everybody, dialysis, until=until)
    ecmo = some(rng, 0.02, ventilated, 12, 72)
    until = np.minimum(ecmo + hours(rng.uniform(60, 200, block.size)), block["end"])
    ledger.add("CARE//ecmo", everybody, ecmo, until=until)
    diabetic = np.where(block["ICD10//E11.9"] & (length > 10 * HOUR), start, NEVER)
    ledger.every("ATC//A10AB05", everybody, some(rng, 0.6, diabetic, 1, 8), step_hours=8,
                 times=np.clip(length // (8 * HOUR), 1, 60),
                 value=np.round(_MG_PER_UNIT * rng.integers(4, 15, block.size), 3))  # fmt: skip


def vascular(ledger: Ledger) -> None:
    """Add stroke and infarction: drugs in the ward, and prescriptions at discharge."""
    block, rng = ledger.block, ledger.rng
    ill = np.isin(block["category"], [NUMBER["stroke"], NUMBER["infarction"]])
    at = np.flatnonzero(ill)
    size = len(at)
    start, end = block["start"][at], block["end"][at]
    imaging = some(rng, 0.8, start, 0.2, 3)
    ledger.add("CARE//chest-imaging", at, imaging, delay_minutes=(20, 200))
    ledger.add("CARE//electrocardiogram", at, some(rng, 0.95, start, 0.05, 1))
    first = some(rng, 0.9, start, 1, 20)
    times = np.clip((end - first) // DAY + 1, 1, 40)
    ledger.every("ATC//B01AC06", at, first, step_hours=24, times=times, value=100.0)
    home = np.where(block["died"][at], NEVER, end)
    fibrillation = block["ICD10//I48.9"][at]
    not_done = some(rng, CARE["antithrombotic_not_done"], home, -24, -2)
    reasons = np.array(["REASON//contraindicated", "REASON//refused"])
    reason = reasons[rng.integers(0, 2, size)]
    code = np.where(fibrillation, "ATC//B01AF02", "ATC//B01AC06")
    for one in ("ATC//B01AF02", "ATC//B01AC06"):
        mine = code == one
        ledger.add(one, at[mine], not_done[mine], status="not-done", reason=reason[mine])
    given = (home != NEVER) & (not_done == NEVER)
    given &= rng.random(size) < CARE["antithrombotic_at_discharge"]
    anticoagulated = fibrillation & (rng.random(size) < CARE["anticoagulant_for_fibrillation"])
    drug = np.where(
        anticoagulated,
        np.array(["ATC//B01AA03", "ATC//B01AF01", "ATC//B01AF02"])[rng.integers(0, 3, size)],
        np.array(["ATC//B01AC06", "ATC//B01AC04"])[(rng.random(size) < 0.25).astype(np.int64)],
    )
    milligrams = {
        "ATC//B01AA03": 5.0, "ATC//B01AF01": 20.0, "ATC//B01AF02": 5.0,
        "ATC//B01AC06": 100.0, "ATC//B01AC04": 75.0,
    }  # fmt: skip
    for one, value in milligrams.items():
        mine = given & (drug == one)
        ledger.add(one, at[mine], end[mine], value=value, is_discharge=True)
    statin = given & (rng.random(size) < 0.8)
    ledger.add("ATC//C10AA05", at[statin], end[statin], value=40.0, is_discharge=True)


def surgery(ledger: Ledger) -> None:
    """Add bookings and operations, and heparin for those in the wards."""
    block, rng = ledger.block, ledger.rng
    everybody = np.arange(block.size)
    begun = block["theatre_start"]
    booked = begun - begun % (5 * MINUTE)
    cancelled = rng.random(block.size) < 0.02
    for status, mine in (("planned", ~cancelled), ("cancelled", cancelled)):
        who = np.flatnonzero(mine & (begun != NEVER))
        ledger.add("CARE//theatre-booking", who, booked[who], status=status, before=True,
                   recorded=block["booked"][who] if status == "planned" else None)  # fmt: skip
    ledger.add("CARE//operation", everybody, begun, until=block["theatre_end"],
               delay_minutes=(5, 90))  # fmt: skip
    long = block["end"] - block["start"] > DAY
    others = long & (block["pcr"] == NEVER)
    heparin = some(rng, 0.55, np.where(others, block["start"], NEVER), 2, 30)
    times = np.clip((block["end"] - heparin) // DAY + 1, 1, 40)
    ledger.every("ATC//B01AB05", everybody, heparin, step_hours=24, times=times, value=40.0)
    medical = block["category"] == NUMBER["medical"]
    dose = some(rng, 0.4, np.where(medical, block["start"], NEVER), 1, 12)
    antibiotic_course(ledger, everybody, dose, np.clip((block["end"] - dose) // (12 * HOUR), 1, 12))


def diagnoses(ledger: Ledger) -> None:
    """Add diagnoses: comorbidities at admission, the others coded after the end."""
    block, rng = ledger.block, ledger.rng
    start, end = block["start"], block["end"]
    coded: Times = block["end_known"] + hours(rng.uniform(24, 240, block.size))
    home = end - start < 9 * HOUR
    coded = np.where(home, block["end_known"] + hours(rng.uniform(24, 60, block.size)), coded)
    for number, category in enumerate(CATEGORIES):
        mine = np.flatnonzero(block["category"] == number)
        which = rng.integers(0, len(category.diagnoses), len(mine))
        for place, code in enumerate(category.diagnoses):
            here = mine[which == place]
            ledger.add(code, here, start[here], recorded=coded[here], rank=1)
    caught = np.isin(
        block["category"], [NUMBER["medical"], NUMBER["elective"], NUMBER["stroke"]]
    ) & (block["pcr"] != NEVER)
    where = np.flatnonzero(caught)
    ledger.add("ICD10//U07.1", where, start[where], recorded=coded[where], rank=2)
    coded_at = start + rng.integers(20 * 60, 5 * 3600, block.size) * SECOND
    for code in COMORBIDITIES:
        has = block[code]
        if code == "ICD10//I48.9":
            # Found in the ward, and coded with the rest.
            found = np.flatnonzero(has & ~home)
            ledger.add(code, found, start[found], recorded=coded[found], rank=2)
            continue
        is_coded = np.flatnonzero(has & (rng.random(block.size) < np.where(home, 0.4, 0.95)))
        ledger.add(code, is_coded, start[is_coded], recorded=coded_at[is_coded])
