"""Rows of the audit as FHIR R4 AuditEvent resources."""

from __future__ import annotations

from typing import Any

from neva.state.audit import ACTIONS, AuditRow

__all__ = ["audit_event"]

#: Names our own codes; an identifier, not an address that is fetched.
SYSTEM = "urn:neva:audit-action"

_TYPES = {
    "login": ("110114", "User Authentication"),
    "login-refused": ("110114", "User Authentication"),
    "exported": ("110106", "Export"),
    "backed-up": ("110106", "Export"),
    "restored": ("110107", "Import"),
    "verified": ("110101", "Audit Log Used"),
}
_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_REST = ("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest", "RESTful Operation")

#: Minor failure: the action was refused.
_REFUSED = "4"


def audit_event(row: AuditRow, *, system: str = "urn:neva") -> dict[str, Any]:
    """Write a row as an AuditEvent.

    Parameters
    ----------
    row : AuditRow
    system : str
        URI of the installation: prefix of the identifiers' systems.

    Returns
    -------
    dict
        A FHIR R4 (also valid R4B) resource, ready for JSON. The subject and
        the stay are pseudonymous identifiers, not references to resources.
        Number, previous hash and hash are details of the last entity, so the
        export can be compared with the chain.

    References
    ----------
    HL7 FHIR R4, AuditEvent, https://hl7.org/fhir/R4/auditevent.html
    """
    if row.action in _TYPES:
        code, display = _TYPES[row.action]
        kind = {"system": _DICOM, "code": code, "display": display}
    else:
        kind = {"system": _REST[0], "code": _REST[1], "display": _REST[2]}
    agent: dict[str, Any] = {
        "who": {"identifier": {"system": f"{system}:user", "value": row.actor}},
        "requestor": True,
    }
    if row.role:
        agent["role"] = [{"text": row.role}]
    entities: list[dict[str, Any]] = []
    if row.subject:
        entities.append(
            _entity(f"{system}:subject", row.subject, ("1", "Person"), ("1", "Patient"))
        )
    if row.stay:
        entities.append(
            _entity(f"{system}:stay", row.stay, ("2", "System Object"), ("4", "Domain Resource"))
        )
    chain = {
        "number": str(row.number),
        "previous": row.previous,
        "seal": row.seal,
        "hash": row.hash,
    }
    details = [{"type": name, "valueString": value} for name, value in chain.items()]
    if row.details != "{}":
        details.append({"type": "details", "valueString": row.details})
    entities.append(
        {
            "what": {"identifier": {"system": f"{system}:audit", "value": str(row.number)}},
            "type": _coding("audit-entity-type", "2", "System Object"),
            "role": _coding("object-role", "13", "Security Resource"),
            "detail": details,
        }
    )
    return {
        "resourceType": "AuditEvent",
        "id": f"neva-{row.number}",
        "type": kind,
        "subtype": [{"system": SYSTEM, "code": row.action}],
        "action": ACTIONS.get(row.action, "E"),
        "recorded": row.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "outcome": _REFUSED if row.action.endswith("-refused") else "0",
        "purposeOfEvent": [{"text": row.why}],
        "agent": [agent],
        "source": {"observer": {"display": "Neva"}},
        "entity": entities,
    }


def _coding(system: str, code: str, display: str) -> dict[str, str]:
    return {
        "system": f"http://terminology.hl7.org/CodeSystem/{system}",
        "code": code,
        "display": display,
    }


def _entity(
    system: str, value: str, kind: tuple[str, str], role: tuple[str, str]
) -> dict[str, Any]:
    return {
        "what": {"identifier": {"system": system, "value": value}},
        "type": _coding("audit-entity-type", *kind),
        "role": _coding("object-role", *role),
    }
