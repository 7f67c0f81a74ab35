"""Codes that several programmes name.

``CARE//…`` are concepts for which hospitals have no code in common (a device,
a limit of treatment); a hospital maps its own codes to them. Every other
system is the international one.
"""

from __future__ import annotations

from neva.definitions.language import codelist

__all__: list[str] = []

oxygen_therapy = codelist(
    "oxygen-therapy",
    "CARE//oxygen-therapy",
    "CARE//oxygen-nasal-or-mask",
    "CARE//oxygen-high-flow",
    "CARE//ventilation-non-invasive",
    "CARE//ventilation-invasive",
    title="Oxygen and ventilation",
)
oxygen_low_flow = codelist(
    "oxygen-nasal-or-mask", "CARE//oxygen-nasal-or-mask", title="Oxygen by prongs or mask"
)
advanced_support = codelist(
    "advanced-respiratory-support",
    "CARE//oxygen-high-flow",
    "CARE//ventilation-non-invasive",
    "CARE//ventilation-invasive",
    title="High flow, non-invasive or invasive ventilation",
)
ventilation_non_invasive = codelist(
    "high-flow-or-non-invasive",
    "CARE//oxygen-high-flow",
    "CARE//ventilation-non-invasive",
    title="High flow or non-invasive ventilation",
)
ventilation_invasive = codelist(
    "ventilation-invasive", "CARE//ventilation-invasive", title="Invasive ventilation"
)
vasopressor = codelist("vasopressor", "CARE//vasopressor", "ATC//C01CA*", title="Vasopressors")
organ_support = codelist(
    "dialysis-or-ecmo", "CARE//dialysis", "CARE//ecmo", title="Dialysis or ECMO"
)
viral_test = codelist("sars-cov-2-pcr", "LOINC//94500-6", title="SARS-CoV-2 RNA")
systemic_steroid = codelist(
    "systemic-corticosteroids",
    "ATC//H02AB02",
    "ATC//H02AB04",
    "ATC//H02AB06",
    "ATC//H02AB09",
    title="Dexamethasone, methylprednisolone, prednisolone, hydrocortisone",
)
heparin_prophylaxis = codelist(
    "low-molecular-weight-heparin", "ATC//B01AB04", "ATC//B01AB05", title="Dalteparin, enoxaparin"
)
il6_or_jak = codelist(
    "il-6-or-jak-blocker", "ATC//L04AC07", "ATC//L04AF02", title="Tocilizumab, baricitinib"
)
antibiotics = codelist("systemic-antibiotics", "ATC//J01*", title="Systemic antibacterials")
other_steroid_need = codelist(
    "conditions-treated-with-steroids",
    "ICD10//Z94*",
    "ICD10//J45*",
    "ICD10//E27*",
    title="Transplant, asthma, adrenal disease",
)
# FHIR's profile of vital signs asks for 2708-6; 59408-5, by pulse oximetry, may stand beside it.
saturation = codelist(
    "saturation-pulse-oximetry", "LOINC//59408-5", "LOINC//2708-6", title="SpO2, pulse oximetry"
)
respiratory_rate = codelist("respiratory-rate", "LOINC//9279-1", title="Respiratory rate")
pulse = codelist("pulse", "LOINC//8867-4", title="Pulse")
systolic = codelist("systolic-pressure", "LOINC//8480-6", title="Systolic blood pressure")
diastolic = codelist("diastolic-pressure", "LOINC//8462-4", title="Diastolic blood pressure")
temperature = codelist("temperature", "LOINC//8310-5", title="Body temperature")
coma_score = codelist("glasgow-coma-score", "LOINC//9269-2", title="Glasgow coma score")
consciousness = codelist("acvpu", "CARE//acvpu", title="Alert, confused, voice, pain, unresponsive")
news2_recorded = codelist("news2-recorded", "CARE//news2", title="NEWS2 as charted")
crp = codelist("c-reactive-protein", "LOINC//1988-5", title="C-reactive protein")
urea = codelist("urea", "LOINC//22664-7", title="Urea")
lymphocytes = codelist("lymphocytes", "LOINC//731-0", title="Lymphocytes")
leukocytes = codelist("leukocytes", "LOINC//6690-2", title="Leukocytes")
ldh = codelist("lactate-dehydrogenase", "LOINC//2532-0", title="Lactate dehydrogenase")
creatinine = codelist("creatinine", "LOINC//14682-9", title="Creatinine")
ferritin = codelist("ferritin", "LOINC//2276-4", title="Ferritin")
d_dimer = codelist("d-dimer", "LOINC//48065-7", title="D-dimer")
procalcitonin = codelist("procalcitonin", "LOINC//33959-8", title="Procalcitonin")
chest_imaging = codelist("chest-imaging", "CARE//chest-imaging", title="Chest CT or X-ray")
infiltrates = codelist(
    "chest-infiltrates", "CARE//radiographic-infiltrates", title="Infiltrates on imaging"
)
electrocardiogram = codelist("electrocardiogram", "CARE//electrocardiogram", title="ECG")
blood_culture = codelist("blood-culture", "CARE//blood-culture", title="Blood culture")

#: The comorbidities that the 4C Mortality Score counts, one codelist each.
comorbidities = {
    "cardiac": codelist("chronic-cardiac", "ICD10//I25*", "ICD10//I50*", title="Chronic cardiac"),
    "respiratory": codelist(
        "chronic-respiratory",
        *(f"ICD10//J{number}*" for number in (41, 42, 43, 44, 47, 84)),
        title="Chronic respiratory, not asthma",
    ),
    "renal": codelist("chronic-renal", "ICD10//N18.4", "ICD10//N18.5", title="eGFR of 30 or less"),
    "liver": codelist("liver-disease", "ICD10//K70*", "ICD10//K74*", title="Liver disease"),
    "dementia": codelist(
        "dementia",
        *(f"ICD10//F0{number}*" for number in (0, 1, 2, 3)),
        "ICD10//G30*",
        title="Dementia",
    ),
    "neurological": codelist(
        "chronic-neurological",
        "ICD10//G20*",
        "ICD10//G35*",
        "ICD10//G40*",
        title="Chronic neurological",
    ),
    "connective": codelist(
        "connective-tissue",
        "ICD10//M05*",
        "ICD10//M06*",
        "ICD10//M32*",
        "ICD10//M34*",
        title="Connective tissue disease",
    ),
    "diabetes": codelist(
        "diabetes", *(f"ICD10//E1{number}*" for number in range(5)), title="Diabetes"
    ),
    "hiv": codelist("hiv", *(f"ICD10//B2{number}*" for number in range(5)), title="HIV or AIDS"),
    "malignancy": codelist("malignancy", "ICD10//C*", title="Malignancy"),
    "obesity": codelist("obesity", "ICD10//E66*", title="Obesity"),
}
