"""The published hooks: the context that each one carries, as a client would send it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["HOOK_TOKENS", "USER_TOKENS", "hook_context"]

#: Tokens of a prefetch template that name the user.
USER_TOKENS = frozenset(
    {"userPractitionerId", "userPractitionerRoleId", "userPatientId", "userRelatedPersonId"}
)

_USUAL = frozenset({"userId", "patientId", "encounterId"})

#: Fields of the context that each published hook offers to prefetch templates.
HOOK_TOKENS: Mapping[str, frozenset[str]] = {
    "patient-view": _USUAL,
    "encounter-start": _USUAL,
    "encounter-discharge": _USUAL,
    "order-select": _USUAL,
    "order-sign": _USUAL,
    "order-dispatch": frozenset({"patientId", "order", "performer"}),
    "appointment-book": _USUAL,
    "allergyintolerance-create": _USUAL,
    "problem-list-item-create": _USUAL,
    "medication-refill": _USUAL,
}

_CONTEXT_TOKEN = re.compile(r"\{\{context\.([A-Za-z0-9_-]+)\}\}")
_ORDER = "ServiceRequest/neva-check-order"
_CODE = {"text": "conformance check"}


def _bundle(resource: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource}]}


def _orders(reference: dict[str, str]) -> dict[str, Any]:
    order = {
        "resourceType": "ServiceRequest",
        "id": "neva-check-order",
        "status": "draft",
        "intent": "order",
        "subject": reference,
        "code": _CODE,
    }
    return {"draftOrders": _bundle(order)}


def _selections(reference: dict[str, str]) -> dict[str, Any]:
    return {"selections": [_ORDER], **_orders(reference)}


def _encounter(_: dict[str, str]) -> dict[str, Any]:
    return {"encounterId": "neva-check-encounter"}


def _dispatch(_: dict[str, str]) -> dict[str, Any]:
    # Version 1.0 of the hook has `order`, later ones `dispatchedOrders`.
    return {"order": _ORDER, "dispatchedOrders": [_ORDER], "performer": "Organization/neva-check"}


def _appointments(reference: dict[str, str]) -> dict[str, Any]:
    appointment = {
        "resourceType": "Appointment",
        "id": "neva-check-appointment",
        "status": "proposed",
        "participant": [{"actor": reference, "status": "needs-action"}],
    }
    return {"appointments": _bundle(appointment)}


def _allergies(reference: dict[str, str]) -> dict[str, Any]:
    allergy = {
        "resourceType": "AllergyIntolerance",
        "id": "neva-check-allergy",
        "code": _CODE,
        "patient": reference,
    }
    return {"allergyIntolerances": _bundle(allergy)}


def _conditions(reference: dict[str, str]) -> dict[str, Any]:
    condition = {
        "resourceType": "Condition",
        "id": "neva-check-condition",
        "category": [{"coding": [{"code": "problem-list-item"}]}],
        "code": _CODE,
        "subject": reference,
    }
    return {"conditions": _bundle(condition)}


def _medications(reference: dict[str, str]) -> dict[str, Any]:
    medication = {
        "resourceType": "MedicationRequest",
        "id": "neva-check-medication",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": _CODE,
        "subject": reference,
    }
    return {"medications": _bundle(medication)}


_MORE: Mapping[str, Callable[[dict[str, str]], dict[str, Any]]] = {
    "encounter-start": _encounter,
    "encounter-discharge": _encounter,
    "order-select": _selections,
    "order-sign": _orders,
    "order-dispatch": _dispatch,
    "appointment-book": _appointments,
    "allergyintolerance-create": _allergies,
    "problem-list-item-create": _conditions,
    "medication-refill": _medications,
}


def hook_context(service: Mapping[str, Any], *, patient: str) -> dict[str, Any]:
    """Return a context with every required field of the service's hook.

    Of a hook that is not published only the usual fields are known, and those
    that the service's own prefetch templates name.

    References
    ----------
    https://github.com/cds-hooks/docs, folder docs/hooks.
    """
    hook = service["hook"]
    context: dict[str, Any] = {"userId": "Practitioner/neva-check", "patientId": patient}
    if hook in _MORE:
        context |= _MORE[hook]({"reference": f"Patient/{patient}"})
    if hook not in HOOK_TOKENS:
        templates = service.get("prefetch")
        for template in templates.values() if isinstance(templates, dict) else ():
            for name in _CONTEXT_TOKEN.findall(str(template)):
                context.setdefault(name, f"neva-check-{name}")
    return context
