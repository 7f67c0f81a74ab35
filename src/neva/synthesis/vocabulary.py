"""The codes that the synthetic hospital writes, with their units and parents."""

from __future__ import annotations

from typing import Final

import polars as pl

__all__ = [
    "ANTIBIOTICS",
    "ANTICOAGULANTS",
    "ANTITHROMBOTICS",
    "HEPARINS",
    "OXYGEN",
    "SEQUENCE",
    "STEROIDS",
    "STRONGER_SUPPORT",
    "VALUE_UNITS",
    "code_rows",
]

#: code: (description, canonical UCUM unit or None)
_MEASURED: Final[dict[str, tuple[str, str | None]]] = {
    "LOINC//59408-5": ("oxygen saturation by pulse oximetry", "%"),
    "LOINC//9279-1": ("respiratory rate", "/min"),
    "LOINC//8867-4": ("heart rate", "/min"),
    "LOINC//8480-6": ("systolic blood pressure", "mm[Hg]"),
    "LOINC//8462-4": ("diastolic blood pressure", "mm[Hg]"),
    "LOINC//8310-5": ("body temperature", "Cel"),
    "LOINC//9269-2": ("Glasgow coma score", "{score}"),
    "CARE//acvpu": ("consciousness (ACVPU)", None),
    "CARE//news2": ("NEWS2, total as recorded", "{score}"),
    "LOINC//1988-5": ("C-reactive protein", "mg/L"),
    "LOINC//22664-7": ("urea", "mmol/L"),
    "LOINC//731-0": ("lymphocytes", "10*9/L"),
    "LOINC//6690-2": ("leukocytes", "10*9/L"),
    "LOINC//2524-7": ("lactate", "mmol/L"),
    "LOINC//14682-9": ("creatinine", "umol/L"),
    "LOINC//2532-0": ("lactate dehydrogenase", "U/L"),
    "LOINC//48065-7": ("D-dimer", "mg/L{FEU}"),
    "LOINC//2276-4": ("ferritin", "ng/mL"),
    "LOINC//33959-8": ("procalcitonin", "ng/mL"),
    "LOINC//15074-8": ("glucose", "mmol/L"),
    "LOINC//777-3": ("platelets", "10*9/L"),
    "LOINC//67151-1": ("troponin", "ng/L"),
    "LOINC//94500-6": ("SARS-CoV-2 PCR", None),
    "CARE//chest-imaging": ("chest imaging", None),
    "CARE//radiographic-infiltrates": ("infiltrates on chest imaging", "1"),
    "CARE//electrocardiogram": ("electrocardiogram", None),
    "CARE//blood-culture": ("blood culture", None),
}

_CARE: Final = {
    "CARE//emergency-registration": "registered in the emergency department",
    "CARE//emergency-triage": "triage in the emergency department",
    "CARE//sepsis-triage": "recognised as possible sepsis at triage",
    "CARE//oxygen-therapy": "oxygen or respiratory support",
    "CARE//oxygen-nasal-or-mask": "oxygen by nasal cannula or mask",
    "CARE//oxygen-high-flow": "high-flow nasal oxygen",
    "CARE//ventilation-non-invasive": "non-invasive ventilation",
    "CARE//ventilation-invasive": "invasive ventilation",
    "CARE//vasopressor": "vasopressor",
    "CARE//dialysis": "dialysis",
    "CARE//ecmo": "extracorporeal membrane oxygenation",
    "CARE//saturation-target-88-92": "saturation target 88-92 %",
    "CARE//palliative-care": "palliative care",
    "CARE//ceiling-of-care": "ceiling of care",
    "CARE//steroid-contraindicated": "steroid contraindicated",
    "CARE//other-steroid-indication": "other indication for a steroid",
    "CARE//anticoagulation-therapeutic": "on therapeutic anticoagulation",
    "CARE//anticoagulant-contraindicated": "anticoagulant contraindicated",
    "CARE//bacterial-infection-suspected": "bacterial infection suspected",
    "CARE//antibiotic-review": "antibiotic reviewed",
    "CARE//antibiotic-stopped": "antibiotic stopped",
    "CARE//clinical-review": "review by a clinician",
    "CARE//immunosuppressant-contraindicated": "immunosuppressant contraindicated",
    "CARE//intensive-care-admission": "admission to intensive care",
    "CARE//theatre-booking": "booked on a theatre list",
    "CARE//operation": "operation",
}

_DRUGS: Final = {
    "ATC//H02AB02": "dexamethasone",
    "ATC//H02AB04": "methylprednisolone",
    "ATC//H02AB06": "prednisolone",
    "ATC//H02AB09": "hydrocortisone",
    "ATC//B01AB05": "enoxaparin",
    "ATC//B01AB04": "dalteparin",
    "ATC//L04AC07": "tocilizumab",
    "ATC//L04AF02": "baricitinib",
    "ATC//J01CR02": "amoxicillin with clavulanic acid",
    "ATC//J01DD04": "ceftriaxone",
    "ATC//J01CR05": "piperacillin with tazobactam",
    "ATC//J01FA10": "azithromycin",
    "ATC//J01MA12": "levofloxacin",
    "ATC//B01AC06": "acetylsalicylic acid",
    "ATC//B01AC04": "clopidogrel",
    "ATC//B01AA03": "warfarin",
    "ATC//B01AF01": "rivaroxaban",
    "ATC//B01AF02": "apixaban",
    "ATC//A10AB05": "insulin aspart",
    "ATC//C10AA05": "atorvastatin",
}

_DIAGNOSES: Final = {
    "ICD10//U07.1": "COVID-19, virus identified",
    "ICD10//A41.9": "sepsis, unspecified organism",
    "ICD10//I21.4": "acute subendocardial myocardial infarction",
    "ICD10//I63.9": "cerebral infarction",
    "ICD10//I48.9": "atrial fibrillation",
    "ICD10//K80.2": "gallstones without cholecystitis",
    "ICD10//M17.1": "osteoarthritis of the knee",
    "ICD10//K40.9": "inguinal hernia",
    "ICD10//N40": "hyperplasia of prostate",
    "ICD10//J18.9": "pneumonia, unspecified organism",
    "ICD10//I50.9": "heart failure",
    "ICD10//N39.0": "urinary tract infection",
    "ICD10//R07.4": "chest pain",
    "ICD10//S93.4": "sprain of ankle",
    "ICD10//R10.4": "abdominal pain",
    "ICD10//E11.9": "type 2 diabetes",
    "ICD10//J44.9": "chronic obstructive pulmonary disease",
    "ICD10//N18.4": "chronic kidney disease, stage 4",
    "ICD10//K74.6": "cirrhosis of the liver",
    "ICD10//F03": "dementia",
    "ICD10//G20": "Parkinson disease",
    "ICD10//M32.9": "systemic lupus erythematosus",
    "ICD10//B24": "HIV disease",
    "ICD10//C34.9": "malignancy of bronchus or lung",
    "ICD10//E66.9": "obesity",
    "ICD10//J45.9": "asthma",
    "ICD10//Z94.0": "kidney transplant",
    "ICD10//E27.1": "primary adrenocortical insufficiency",
}

_REASONS: Final = {
    "REASON//contraindicated": "contraindicated",
    "REASON//refused": "refused by the patient",
}

#: Upper levels of the classifications.
_LEVELS: Final = {
    "ATC//H02AB": "glucocorticoids",
    "ATC//J01": "antibacterials for systemic use",
    "ATC//B01AB": "heparin group",
    "ATC//B01AC": "platelet aggregation inhibitors",
    "ATC//B01AA": "vitamin K antagonists",
    "ATC//B01AF": "direct factor Xa inhibitors",
    "ATC//B01A": "antithrombotic agents",
}

OXYGEN: Final = (
    "CARE//oxygen-nasal-or-mask",
    "CARE//oxygen-high-flow",
    "CARE//ventilation-non-invasive",
    "CARE//ventilation-invasive",
)
STRONGER_SUPPORT: Final = OXYGEN[1:]
STEROIDS: Final = ("ATC//H02AB02", "ATC//H02AB04", "ATC//H02AB06", "ATC//H02AB09")
HEPARINS: Final = ("ATC//B01AB05", "ATC//B01AB04")
ANTIBIOTICS: Final = tuple(code for code in _DRUGS if code.startswith("ATC//J01"))
ANTICOAGULANTS: Final = ("ATC//B01AA03", "ATC//B01AF01", "ATC//B01AF02")
ANTITHROMBOTICS: Final = ("ATC//B01AC06", "ATC//B01AC04", *ANTICOAGULANTS)

VALUE_UNITS: Final = {
    **{code: unit for code, (_, unit) in _MEASURED.items() if unit is not None},
    **dict.fromkeys(_DRUGS, "mg"),
}

#: Order of events of one time: registration before triage before measurements
#: before drugs before diagnoses. No two codes share a number.
SEQUENCE: Final = {
    code: number for number, code in enumerate((*_CARE, *_MEASURED, *_DRUGS, *_DIAGNOSES), start=1)
}


def _parents(code: str) -> list[str]:
    system, _, text = code.partition("//")
    if code in OXYGEN:
        return ["CARE//oxygen-therapy"]
    if system == "ICD10" and "." in text:
        return [f"ICD10//{text.partition('.')[0]}"]
    if system == "ATC":
        # The levels of ATC have 1, 3, 4, 5 and 7 characters.
        shorter = {7: 5, 5: 4, 4: 3, 3: 1}.get(len(text))
        return [] if shorter is None else [f"ATC//{text[:shorter]}"]
    return []


def code_rows() -> pl.DataFrame:
    """Return the rows of the table ``codes``.

    Returns
    -------
    polars.DataFrame
        Columns ``code``, ``description``, ``parents``, ``value_unit``. Every
        parent has a row of its own.
    """
    described: dict[str, str | None] = {
        **{code: description for code, (description, _) in _MEASURED.items()},
        **_CARE,
        **_DRUGS,
        **_DIAGNOSES,
        **_REASONS,
        **_LEVELS,
    }
    waiting = list(described)
    while waiting:
        for parent in _parents(waiting.pop()):
            if parent not in described:
                described[parent] = None
                waiting.append(parent)
    return pl.DataFrame(
        {
            "code": list(described),
            "description": list(described.values()),
            "parents": [_parents(code) for code in described],
            "value_unit": [VALUE_UNITS.get(code) for code in described],
        },
        schema={
            "code": pl.String,
            "description": pl.String,
            "parents": pl.List(pl.String),
            "value_unit": pl.String,
        },
    )
