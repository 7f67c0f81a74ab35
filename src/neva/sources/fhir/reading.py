"""What the readers of FHIR resources share: settings, refusal, small look-ups."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from neva.sources.fhir.codes import Context, moment

__all__ = ["Reading", "RefusedError", "Resource", "RowsByTable", "plain_code"]

Resource = Mapping[str, Any]
RowsByTable = dict[str, list[dict[str, Any]]]


class RefusedError(Exception):
    """A resource that goes to quarantine; says which table, field and reason."""

    def __init__(self, field: str | None, reason: str, table: str = "events") -> None:
        super().__init__(reason)
        self.field, self.reason, self.table = field, reason, table


class Reading:
    """Settings of one call."""

    __slots__ = ("context", "received", "zone")

    def __init__(self, zone: str, context: Context, received: datetime | None) -> None:
        self.zone, self.context = zone, context
        self.received = received or datetime(1900, 1, 1, tzinfo=UTC)

    def updated(self, resource: Resource) -> datetime | None:
        """When the resource was last changed."""
        return moment((resource.get("meta") or {}).get("lastUpdated"), self.zone).time

    def retracted(self, resource: Resource, status: str | None) -> datetime | None:
        """When the resource was withdrawn, if it was entered in error."""
        if status != "entered-in-error":
            return None
        return self.updated(resource) or self.received

    def subject(self, resource: Resource, table: str = "events") -> str:
        """Id of the patient, or a refusal."""
        reference = resource.get("subject") or resource.get("patient")
        if not reference:
            raise RefusedError("subject", "subject-missing", table)
        found = self.context.id_of(reference, "Patient")
        if found is None:
            raise RefusedError("subject", "reference-unresolved", table)
        return self.context.persons.get(found, found)


def plain_code(concept: Any) -> str | None:
    """Return the first code of a CodeableConcept, without its system."""
    for each in (concept or {}).get("coding") or ():
        if each.get("code"):
            return str(each["code"])
    return None
