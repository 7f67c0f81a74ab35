"""FHIR resources made by hand, and hospitals that they are imported into."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from neva.events.hospital import Hospital
from neva.intake.importing import ImportSummary, import_delivery
from neva.sources.fhir.source import open_fhir
from tests.hospitals import new_hospital

#: After everything that is told in the tests.
RECEIVED = datetime(2021, 1, 1, tzinfo=UTC)


def patient(name: str = "p1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": name, **more}


def encounter(
    name: str, start: str | None, end: str | None, of: str = "p1", **more: Any
) -> dict[str, Any]:
    period = {key: value for key, value in (("start", start), ("end", end)) if value}
    return {
        "resourceType": "Encounter",
        "id": name,
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": {"reference": f"Patient/{of}"},
        "period": period,
        **more,
    }


def part(name: str, whole: str, start: str, end: str | None, **more: Any) -> dict[str, Any]:
    return encounter(name, start, end, partOf={"reference": f"Encounter/{whole}"}, **more)


def place(unit: str, start: str | None = None, end: str | None = None) -> dict[str, Any]:
    period = {key: value for key, value in (("start", start), ("end", end)) if value}
    found: dict[str, Any] = {"location": {"reference": f"Location/{unit}"}}
    return {**found, "period": period} if period else found


def potassium(name: str, value: float = 4.1, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3"}]},
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2020-03-02T08:00:00Z",
        "valueQuantity": {"value": value, "unit": "mmol/L", "code": "mmol/L"},
        **more,
    }


def deletion(of: str, **more: Any) -> dict[str, Any]:
    return {"request": {"method": "DELETE", "url": of}, **more}


def bundle(*entries: dict[str, Any], kind: str = "transaction") -> dict[str, Any]:
    """A Bundle of entries; a resource is an entry of its own."""
    wrapped = [{"resource": one} if "resourceType" in one else one for one in entries]
    return {"resourceType": "Bundle", "type": kind, "entry": wrapped}


class Deliveries:
    """A hospital that takes one delivery after another, a day apart."""

    def __init__(self, folder: Path, zone: str = "UTC") -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.zone = folder, zone
        self.hospital: Hospital = new_hospital(folder, zone=zone)
        self.received = RECEIVED

    def take(self, *resources: dict[str, Any], **settings: Any) -> ImportSummary:
        """Import resources, one a line."""
        path = self.folder / f"{self.received:%Y-%m-%d}.ndjson"
        path.write_text("".join(f"{json.dumps(one)}\n" for one in resources), encoding="utf-8")
        return self.take_files(path, **settings)

    def take_files(self, path: Path, **settings: Any) -> ImportSummary:
        now = self.received
        self.received += timedelta(days=1)
        delivery = open_fhir(path, zone=self.zone, received=now, **settings)
        return import_delivery(
            self.hospital,
            delivery,
            label=f"{now:%Y-%m-%d}",
            now=now,
            most_refused=None,
        )

    def rows(self, table: str, as_of: datetime | None = None) -> list[dict[str, Any]]:
        """What is known of a table, in the order of time."""
        snapshot = self.hospital.snapshot(as_of=as_of or self.received)
        found = getattr(snapshot, table)().collect().to_dicts()
        keys: Sequence[str] = ("time", "start", "subject_id")
        return sorted(found, key=lambda row: [str(row.get(key)) for key in keys])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
