"""How often and how long: every rate of the synthetic hospital, in one place.

All of these are plausible inventions. None was estimated from any patient,
and none may be quoted as what happens in a hospital.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CARE", "CATEGORIES", "COMORBIDITIES", "MISSING", "RETURNS", "SUPPORT", "Category"]


@dataclass(frozen=True, slots=True)
class Category:
    """Why patients come, and what becomes of them.

    Attributes
    ----------
    name : str
        Of the category.
    share : float
        Of all stays, 0-1.
    rhythm : str
        ``wave`` (follows the epidemic), ``walk-in`` (by hour and weekday) or
        ``elective`` (mornings of working days).
    kind : str
        Of the stay: ``inpatient`` or ``emergency`` (sent home from the
        emergency department).
    group : str
        The group of units in which admitted patients lie.
    stay_hours : float
        Median length of stay, in hours.
    spread : float
        Standard deviation of the logarithm of the length of stay.
    age : float
        Mean age in years; the standard deviation is 16.
    deaths : float
        Share that die during the stay, 0-1, before the patient's own risk.
    intensive_care : float
        Share that need intensive care (for COVID-19 it follows from support).
    diagnoses : tuple of str
        Principal diagnoses, equally frequent.
    """

    name: str
    share: float
    rhythm: str
    kind: str
    group: str
    stay_hours: float
    spread: float
    age: float
    deaths: float
    intensive_care: float
    diagnoses: tuple[str, ...]


CATEGORIES: Final = (
    Category("covid", 0.26, "wave", "inpatient", "covid", 105, 0.40, 63, 0.02, 0.0,
             ("ICD10//U07.1",)),
    Category("covid-home", 0.06, "wave", "emergency", "ed", 4, 0.4, 44, 0.0, 0.0,
             ("ICD10//U07.1",)),
    Category("sepsis", 0.07, "walk-in", "inpatient", "medical", 140, 0.5, 69, 0.14, 0.22,
             ("ICD10//A41.9",)),
    Category("infarction", 0.05, "walk-in", "inpatient", "cardiology", 85, 0.4, 67, 0.05, 0.15,
             ("ICD10//I21.4",)),
    Category("stroke", 0.07, "walk-in", "inpatient", "stroke", 130, 0.5, 72, 0.09, 0.08,
             ("ICD10//I63.9",)),
    Category("elective", 0.14, "elective", "inpatient", "surgical", 62, 0.5, 58, 0.004, 0.05,
             ("ICD10//K80.2", "ICD10//M17.1", "ICD10//K40.9", "ICD10//N40")),
    Category("medical", 0.15, "walk-in", "inpatient", "medical", 90, 0.65, 66, 0.035, 0.04,
             ("ICD10//J18.9", "ICD10//I50.9", "ICD10//N39.0")),
    Category("sepsis-home", 0.02, "walk-in", "emergency", "ed", 6, 0.4, 50, 0.0, 0.0,
             ("ICD10//N39.0",)),
    Category("attendance", 0.18, "walk-in", "emergency", "ed", 3.5, 0.5, 42, 0.002, 0.0,
             ("ICD10//R07.4", "ICD10//S93.4", "ICD10//R10.4")),
)  # fmt: skip

#: Comorbidity: (share of subjects at age 65, how much a decade of age
#: multiplies it).
COMORBIDITIES: Final = {
    "ICD10//E11.9": (0.22, 1.25),
    "ICD10//I50.9": (0.12, 1.6),
    "ICD10//I48.9": (0.13, 1.7),
    "ICD10//J44.9": (0.10, 1.3),
    "ICD10//N18.4": (0.05, 1.4),
    "ICD10//K74.6": (0.02, 1.0),
    "ICD10//F03": (0.05, 2.2),
    "ICD10//G20": (0.015, 1.8),
    "ICD10//M32.9": (0.01, 0.8),
    "ICD10//B24": (0.008, 0.7),
    "ICD10//C34.9": (0.03, 1.3),
    "ICD10//E66.9": (0.18, 0.85),
    "ICD10//J45.9": (0.05, 0.8),
    "ICD10//Z94.0": (0.008, 0.9),
    "ICD10//E27.1": (0.004, 1.0),
}

RETURNS: Final = {
    # share of arrivals that are a return of a subject who was here before
    "unplanned": 0.13,
    "elective": 0.04,
    # hours between an end and a return: at least this, and at most so many days
    "after_hours": 6.0,
    "within_days": 60.0,
    # share of subjects over 60 discharged alive who die in the 90 days after
    "deaths_after_discharge": 0.02,
}

#: Shares of what is missing, late, corrected and withdrawn, 0-1.
MISSING: Final = {
    "birth_date": 0.015,
    "sex": 0.012,
    "vital": 0.03,
    "laboratory": 0.06,
    "registration": 0.02,
    "late_result": 0.03,
    "corrected": 0.004,
    "withdrawn": 0.002,
    # of drugs, flags and reviews: more, because measures hang on them
    "decision_corrected": 0.01,
    "decision_withdrawn": 0.012,
}

#: Respiratory support that COVID-19 makes necessary, in order of strength:
#: (share of admitted patients, share of these that die).
SUPPORT: Final = {
    "none": (0.30, 0.008),
    "mask": (0.47, 0.06),
    "high flow": (0.10, 0.20),
    "non-invasive ventilation": (0.06, 0.30),
    "invasive ventilation": (0.07, 0.45),
}

#: Shares of stays in which care happens, 0-1.
CARE: Final = {
    "steroid_on_oxygen": 0.84,
    "steroid_without_oxygen": 0.12,
    "heparin": 0.82,
    "heparin_not_done": 0.06,
    "therapeutic_anticoagulation": 0.10,
    "antibiotic_without_evidence": 0.25,
    "bacterial_evidence": 0.15,
    "antibiotic_review": 0.7,
    "baseline_complete": 0.75,
    "review_after_news2": 0.65,
    "sepsis_triage": 0.92,
    "sepsis_antibiotic_in_time": 0.68,
    "lactate_in_time": 0.82,
    "antithrombotic_at_discharge": 0.88,
    "antithrombotic_not_done": 0.06,
    "anticoagulant_for_fibrillation": 0.75,
    "palliative": 0.02,
    # share of eligible stays that get a planted boundary case, each
    "boundary": 0.02,
}
