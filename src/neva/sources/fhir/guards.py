"""Reasons to refuse a FHIR resource: another version of FHIR, an unknown modifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["other_version", "unknown_modifier"]

#: Elements that only R5 has in a type of resource, or that it renamed.
_ONLY_R5: Final[dict[str, tuple[str, ...]]] = {
    "Encounter": ("actualPeriod", "plannedStartDate", "admission", "virtualService", "careTeam"),
    "Observation": ("triggeredBy", "bodyStructure", "instantiatesCanonical"),
    "Procedure": ("occurrenceDateTime", "occurrencePeriod", "occurrenceAge", "occurrenceTiming"),
    "MedicationAdministration": (
        "medication",
        "occurenceDateTime",
        "occurencePeriod",
        "occurenceTiming",
    ),
    "MedicationRequest": ("medication", "renderedDosageInstruction", "effectiveDosePeriod"),
    "MedicationStatement": ("medication", "renderedDosageInstruction", "adherence"),
    "Location": ("form", "virtualService"),
}
#: The same of STU3.
_ONLY_STU3: Final[dict[str, tuple[str, ...]]] = {
    "Patient": ("animal",),
    "Encounter": ("incomingReferral",),
    "Observation": ("context", "comment", "related"),
    "Condition": ("context", "assertedDate", "assertedString"),
    "Procedure": ("context", "notDone", "notDoneReason", "definition"),
    "MedicationAdministration": ("notGiven", "reasonNotGiven", "prescription"),
    "MedicationRequest": ("context", "definition"),
    "MedicationStatement": ("taken", "reasonNotTaken"),
    "Immunization": ("notGiven", "date", "vaccinationProtocol"),
    "AllergyIntolerance": ("assertedDate",),
    "DiagnosticReport": ("context", "codedDiagnosis"),
}
#: Types whose clinical status is a bare code in STU3 and a concept later.
_CLINICAL: Final = ("Condition", "AllergyIntolerance")
#: Parts of a resource of which nothing is read: what stands in them modifies only themselves.
_UNREAD: Final[dict[str, frozenset[str]]] = {
    "Patient": frozenset(("contact", "communication")),
    "Encounter": frozenset(("statusHistory", "classHistory", "participant")),
    "Location": frozenset(("hoursOfOperation", "position")),
    "Condition": frozenset(("stage", "evidence")),
    "Procedure": frozenset(("performer", "focalDevice")),
    "MedicationRequest": frozenset(("dispenseRequest", "substitution")),
    "MedicationAdministration": frozenset(("performer",)),
    "Immunization": frozenset(("performer", "education", "reaction", "protocolApplied")),
    "AllergyIntolerance": frozenset(("reaction",)),
    "DiagnosticReport": frozenset(("media",)),
}


def other_version(resource: Mapping[str, Any]) -> tuple[str, str] | None:
    """Tell of which other version of FHIR a resource is, and by which element.

    R4 and R4B, which are read, give None.

    Examples
    --------
    >>> other_version({"resourceType": "Encounter", "actualPeriod": {}})
    ('version-later', 'actualPeriod')
    """
    kind = resource.get("resourceType")
    if not isinstance(kind, str):
        return None
    for reason, only in (("version-later", _ONLY_R5), ("version-earlier", _ONLY_STU3)):
        for name in only.get(kind, ()):
            if name in resource:
                return reason, name
    if kind == "Encounter" and isinstance(resource.get("class"), list):
        return "version-later", "class"
    if kind == "ServiceRequest" and _is_codeable_reference(resource.get("code")):
        return "version-later", "code"
    if kind in _CLINICAL and isinstance(resource.get("clinicalStatus"), str):
        return "version-earlier", "clinicalStatus"
    return None


def _is_codeable_reference(value: Any) -> bool:
    return isinstance(value, Mapping) and ("concept" in value or "reference" in value)


def unknown_modifier(resource: Mapping[str, Any]) -> str | None:
    """Find what may turn the meaning of a resource round and is not known here.

    A reader that does not know a modifier extension, or the rules that a resource
    says it follows, must not process it. No modifier extension is known here.

    Returns
    -------
    str or None
        The place, as ``component[1].modifierExtension``; None: there is none.

    Examples
    --------
    >>> unknown_modifier({"resourceType": "Observation", "modifierExtension": [{"url": "x"}]})
    'modifierExtension'
    """
    if resource.get("implicitRules"):
        return "implicitRules"
    kind = resource.get("resourceType")
    unread = _UNREAD.get(kind, frozenset()) if isinstance(kind, str) else frozenset()
    read = {name: value for name, value in resource.items() if name not in unread}
    try:
        return _modifier(read, "")
    except RecursionError:
        return "modifierExtension"  # nested too deeply to be looked through


def _modifier(element: Any, place: str) -> str | None:
    if isinstance(element, Mapping):
        for name, value in element.items():
            if name == "modifierExtension" and value:
                return f"{place}modifierExtension"
            # A contained resource is looked at where it is used.
            if isinstance(value, dict | list) and name not in ("contained", "extension"):
                found = _modifier(value, f"{place}{name}.")
                if found is not None:
                    return found
    elif isinstance(element, list):
        for number, value in enumerate(element):
            found = _modifier(value, f"{place.removesuffix('.')}[{number}].")
            if found is not None:
                return found
    return None
