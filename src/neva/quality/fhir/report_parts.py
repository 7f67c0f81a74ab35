"""Parts that every MeasureReport has: header, counts, numbers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal

from neva.definitions.documents import Measure
from neva.errors import UsageError
from neva.events.clock import zone_named
from neva.quality.fhir.words import (
    OWN,
    POPULATIONS,
    Resource,
    concept,
    extension,
    masked,
    measure_url,
    terminology,
)
from neva.quality.measuring import MeasureRun

__all__ = [
    "BESIDE",
    "Kind",
    "Period",
    "case_count",
    "header",
    "population",
    "quantity",
    "score_unit",
]

_LEVEL: Final = 0.95
#: Statuses of cases that are in the initial population and in no other.
BESIDE: Final = ("pending", "unknown")
Period = tuple[date, date]
Kind = Literal["summary", "subject-list", "individual"]


def header(
    run: MeasureRun,
    measure: Measure,
    kind: Kind,
    *,
    synthetic: bool,
    period: Period | None,
    base_url: str,
    made: datetime | None,
    case: str = "",
) -> Resource:
    """Start a report: id, tags, measure, period.

    The id follows from what is reported, so that the same report made twice
    is the same resource.
    """
    key = [kind, measure.id, run.hashes[measure.id], run.identity, str(period), case]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
    report: Resource = {"resourceType": "MeasureReport", "id": f"{kind}-{digest}"}
    if synthetic:
        report["meta"] = {
            "tag": [
                {
                    "system": terminology("v3-ActReason"),
                    "code": "HTEST",
                    "display": "test health data",
                },
                {
                    "system": f"{OWN}CodeSystem/origin",
                    "code": "synthetic",
                    "display": "of synthetic patients",
                },
            ]
        }
    report |= {
        "extension": [
            extension("definition-hash", valueString=run.hashes[measure.id]),
            extension("hospital-version", valueString=run.identity),
        ],
        "status": "complete",
        "type": kind,
        "measure": measure_url(measure, base_url),
        "period": _period(run, measure, period),
    }
    if made is not None:
        if made.tzinfo is None:
            message = f"made: a time needs its zone; found {made}; give an aware time"
            raise UsageError(message)
        report["date"] = made.isoformat()
    notation = {"higher": "increase", "lower": "decrease"}.get(measure.better)
    if notation:
        report["improvementNotation"] = concept("measure-improvement-notation", notation)
    return report


def _period(run: MeasureRun, measure: Measure, period: Period | None) -> Resource:
    if period is not None:
        if period[0] >= period[1]:
            message = (
                f"period: it is empty; found [{period[0]}, {period[1]}); the end is the day after "
                "the last"
            )
            raise UsageError(message)
        # A date as the end of a period in FHIR includes that day.
        last = period[1] - timedelta(days=1)
        return {"start": period[0].isoformat(), "end": last.isoformat()}
    zone = zone_named(run.zone)
    end = run.now.astimezone(zone)
    found: Resource = {"end": end.isoformat()}
    first = run.of(measure.id)["placed"].min()
    if isinstance(first, datetime) and first <= run.now:
        # Of the first case only the month is told.
        found = {"start": first.astimezone(zone).date().replace(day=1).isoformat(), **found}
    return found


def case_count(what: str, count: int | None, **more: Any) -> Resource:
    """Make an extension: how many cases, besides those in the populations."""
    number: Resource = {"url": "count"}
    number |= masked() if count is None else {"valueInteger": count}
    parts = [{"url": "what", "valueCode": what}, number]
    parts += [{"url": name, **value} for name, value in more.items()]
    return extension("case-count", extension=parts)


def population(code: str, count: int | None) -> Resource:
    """Make a population of a report; without a count it is withheld."""
    made: Resource = {"code": concept("measure-population", code, POPULATIONS[code])}
    if count is None:
        made["_count"] = masked()
    else:
        made["count"] = count
    return made


def score_unit(measure: Measure) -> str:
    """Give the UCUM unit of a measure's score."""
    if measure.observation is None:
        return "1"
    unit = measure.observation.type.unit or "1"
    if measure.per is None:
        return unit
    per = measure.per.type.unit or "1"
    if per == "1":
        return unit
    return "1" if unit == per else f"({unit})/({per})"


def quantity(value: float | None, unit: str, bounds: Mapping[str, float | None]) -> Resource | None:
    """Make a score with the bounds of its interval, as far as they are finite."""
    if value is None or not math.isfinite(value):
        return None
    made: Resource = {"value": value, "system": "http://unitsofmeasure.org", "code": unit}
    known = [
        {"url": name, "valueDecimal": bound}
        for name, bound in bounds.items()
        if bound is not None and math.isfinite(bound)
    ]
    if known:
        level = {"url": "level", "valueDecimal": _LEVEL}
        made["extension"] = [extension("interval", extension=[*known, level])]
    return made
