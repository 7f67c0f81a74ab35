"""A patient with COVID-19 on oxygen, as a record system sends one; the canary is everywhere."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from neva.sources.fhir.codes import system_url
from tests.command_line import CANARY

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
PATIENT = f"{CANARY}-patient"
STAY = f"{CANARY}-stay"
OTHER = f"{CANARY}-other"
SERVICE = "neva-patient-view"
STEROID = "covid19.steroid-on-oxygen"

#: LOINC code to value and UCUM unit: ill, with a NEWS2 that asks for a doctor.
VITALS = {
    "59408-5": (86.0, "%"),
    "9279-1": (31.0, "/min"),
    "8867-4": (132.0, "/min"),
    "8480-6": (88.0, "mm[Hg]"),
    "8310-5": (39.4, "Cel"),
}


def _at(hours: float) -> str:
    return (NOW + timedelta(hours=hours)).isoformat()


def _coding(code: str) -> dict[str, Any]:
    system, _, text = code.partition("//")
    return {"coding": [{"system": system_url(system), "code": text}]}


def patient(name: str = PATIENT, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": name,
        "name": [{"family": f"{CANARY}-name"}],
        "gender": "male",
        "birthDate": "1951-03-02",
        **more,
    }


def encounter(name: str = STAY, of: str = PATIENT, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "id": name,
        "status": "in-progress",
        "class": {"code": "IMP"},
        "subject": {"reference": f"Patient/{of}"},
        "period": {"start": _at(-48)},
        **more,
    }


def observation(
    name: str,
    code: str,
    value: float | str,
    unit: str | None = None,
    *,
    hours: float = -1,
    of: str = PATIENT,
    stay: str = STAY,
    **more: Any,
) -> dict[str, Any]:
    said: dict[str, Any] = (
        {"valueString": value}
        if unit is None
        else {
            "valueQuantity": {
                "value": value,
                "code": unit,
                "unit": unit,
                "system": "http://unitsofmeasure.org",
            }
        }
    )
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": _coding(code),
        "subject": {"reference": f"Patient/{of}"},
        "encounter": {"reference": f"Encounter/{stay}"},
        "effectiveDateTime": _at(hours),
        "note": [{"text": CANARY}],
        **said,
        **more,
    }


def oxygen(of: str = PATIENT) -> dict[str, Any]:
    made = observation(f"{CANARY}-oxygen", "CARE//oxygen-nasal-or-mask", CANARY, of=of, hours=-5)
    made["effectivePeriod"] = {"start": made.pop("effectiveDateTime")}
    return made


def order(name: str, code: str = "ATC//H02AB02", of: str = PATIENT, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "MedicationRequest",
        "id": name,
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": _coding(code),
        "subject": {"reference": f"Patient/{of}"},
        "encounter": {"reference": f"Encounter/{STAY}"},
        "authoredOn": _at(-3),
        **more,
    }


def dose(name: str, of: str = PATIENT) -> dict[str, Any]:
    return {
        "resourceType": "MedicationAdministration",
        "id": name,
        "status": "completed",
        "medicationCodeableConcept": _coding("ATC//H02AB02"),
        "subject": {"reference": f"Patient/{of}"},
        "context": {"reference": f"Encounter/{STAY}"},
        "effectiveDateTime": _at(-3),
    }


def observations() -> list[dict[str, Any]]:
    return [
        *(
            observation(f"{CANARY}-{code}", f"LOINC//{code}", value, unit)
            for code, (value, unit) in VITALS.items()
        ),
        observation(f"{CANARY}-pcr", "LOINC//94500-6", "detected", hours=-47),
        observation(f"{CANARY}-acvpu", "CARE//acvpu", "alert"),
        oxygen(),
    ]


def bundle(resources: Iterable[Any], **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [{"resource": one} for one in resources],
        **more,
    }


def prefetch(**more: Any) -> dict[str, Any]:
    """All keys of the services: the patient above; `more` takes the place of a key."""
    return {
        "patient": patient(),
        "encounters": bundle([encounter()]),
        "observations": bundle(observations()),
        "conditions": bundle([]),
        "medication-requests": bundle([]),
        "medication-administrations": bundle([]),
        "procedures": bundle([]),
        "immunizations": bundle([]),
        **{key.replace("_", "-"): value for key, value in more.items()},
    }


def call(sent: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/1", "patientId": PATIENT, "encounterId": STAY},
        "prefetch": prefetch() if sent is None else sent,
        **copy.deepcopy(more),
    }


def cards_by_rule(answer: Any) -> dict[str, dict[str, Any]]:
    """Cards of an answer by the id of their rule, which their detail names."""
    assert answer.status_code == 200, answer.text
    return {
        card["detail"].partition("- Rule ")[2].partition(",")[0]: card
        for card in answer.json()["cards"]
    }
