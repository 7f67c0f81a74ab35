"""Cards: what a rule says about one patient at one time.

A card is made from a rule and its answers and nothing else, so that the bedside
and a replay of last year make the same one, and the same input and version
always make the same card, its identifiers included.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from neva.decisions.rules import LONGEST_SUMMARY, Input, Rule
from neva.definitions.documents import content_hash
from neva.definitions.words.explain import explain

__all__ = ["Card", "Finding", "Reading", "card_of", "finding_of", "hash_of"]

_NAMESPACE: Final = UUID("6f1c9d52-6c1e-5a0e-9a55-2b7a6c0d4e11")
_PLACE = re.compile(r"\{([a-z0-9-]+)\}")
#: Digits after the point that numbers are shown with; engines agree to far more.
_DIGITS: Final = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """One input of a card.

    Attributes
    ----------
    input : Input
        What it is.
    value : float, str, bool, datetime or None
        None: missing, or older than allowed, or not known.
    time : datetime or None
        Aware, UTC.
    at_least : bool
        The value is a lower limit: something that belongs to it is missing.
    """

    input: Input
    value: Any
    time: datetime | None
    at_least: bool = False

    def words(self, zone: ZoneInfo) -> str:
        """Its value as shown, with its unit; times are the zone's."""
        text = _value_text(self.value, self.input.of.type.unit, zone)
        return f"at least {text}" if self.at_least and self.value is not None else text


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of a rule at one point.

    Attributes
    ----------
    rule : Rule
    in_population, holds, treated, limited : bool or None
        None is unknown.
    severity : float or None
    unit : str or None
        The unit where the patient is.
    readings : tuple of Reading
        Its inputs.
    """

    rule: Rule
    in_population: bool | None
    holds: bool | None
    treated: bool | None
    limited: bool | None
    severity: float | None
    unit: str | None
    readings: tuple[Reading, ...] = field(default=())

    @property
    def raises(self) -> bool:
        """Whether there is something to show: it holds, is not treated and not limited."""
        return (
            self.in_population is True
            and self.holds is True
            and self.treated is not True
            and self.limited is not True
        )

    @property
    def is_unknown(self) -> bool:
        """Whether what is missing decides: a patient for whom it cannot be told."""
        return self.in_population is not False and (
            self.holds is None or (self.in_population is None and self.holds is True)
        )


@dataclass(frozen=True, slots=True)
class Card:
    """A card for one patient.

    Attributes
    ----------
    uuid : str
        The same for the same rule, version, patient, time and inputs.
    rule, version, hash : str
        Which definition made it; `hash` is of its content.
    subject, stay : str
        The patient and the stay, as the caller names them.
    now : datetime
        When it was asked; aware, UTC.
    indicator, summary, detail : str
    severity : float
    unit : str or None
    missing : tuple of str
        Titles of the inputs that are not known.
    inputs_hash : str
        SHA-256 over the inputs and their times.
    content : dict
        The card as CDS Hooks 2.0 writes it.
    """

    uuid: str
    rule: str
    version: str
    hash: str
    subject: str
    stay: str
    now: datetime
    indicator: str
    summary: str
    detail: str
    severity: float
    unit: str | None
    missing: tuple[str, ...]
    inputs_hash: str
    content: dict[str, Any]


@lru_cache(maxsize=512)
def hash_of(rule: Rule) -> str:
    """Return the SHA-256 of a rule's content."""
    return content_hash(rule)


@lru_cache(maxsize=512)
def _logic(rule: Rule) -> str:
    return rule.logic or explain(rule.condition)


#: UCUM units as people write them.
_PRINTED: Final = {
    "mm[Hg]": "mmHg",
    "Cel": "°C",
    "10*9/L": "× 10⁹/L",
    "umol/L": "µmol/L",
    "ug/L": "µg/L",
    "a": "years",
}


def _value_text(value: Any, unit: str | None, zone: ZoneInfo) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(zone).strftime("%Y-%m-%d %H:%M")
    if isinstance(value, str):
        return value
    text = f"{round(value, _DIGITS) + 0.0:.{_DIGITS}f}".rstrip("0").rstrip(".")
    plain = unit in (None, "1") or (unit or "").startswith("{")
    return text if plain else f"{text} {_PRINTED.get(unit or '', unit)}"


def finding_of(rule: Rule, answers: Mapping[str, Any]) -> Finding:
    """Read a rule's answers at one point.

    Parameters
    ----------
    rule : Rule
    answers : mapping of str to value
        By the names of ``rule.outputs``; missing is unknown. Times are aware
        datetimes.
    """
    unit = answers.get("unit")
    return Finding(
        rule=rule,
        in_population=answers.get("population"),
        holds=answers.get("condition"),
        treated=answers.get("treated"),
        limited=answers.get("limited"),
        severity=answers.get("severity"),
        unit=None if unit is None else str(unit).removeprefix("UNIT//") or None,
        readings=tuple(
            Reading(
                one,
                answers.get(f"input.{one.name}"),
                answers.get(f"time.{one.name}"),
                answers.get(f"incomplete.{one.name}") is True,
            )
            for one in rule.inputs
        ),
    )


def _filled(
    text: str, readings: Mapping[str, Reading], zone: ZoneInfo, *, markdown: bool = False
) -> str:
    def words(found: re.Match[str]) -> str:
        reading = readings[found.group(1)].words(zone)
        return _cell(reading) if markdown else " ".join(reading.split())

    return _PLACE.sub(words, text)


def _shortened(text: str) -> str:
    """Cut at a word, below the limit of a summary."""
    if len(text) <= LONGEST_SUMMARY:
        return text
    return text[: LONGEST_SUMMARY - 1].rsplit(" ", 1)[0] + "…"


def _cell(text: str) -> str:
    """Text of a record inside a table of Markdown: no markup, no links, one line."""
    safe = re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", text)
    return " ".join(safe.split())


def _detail(finding: Finding, now: datetime, zone: ZoneInfo, notes: tuple[str, ...]) -> str:
    rule = finding.rule
    by_name = {one.input.name: one for one in finding.readings}
    parts = [_filled(rule.detail, by_name, zone, markdown=True)] if rule.detail else []
    known = [one for one in finding.readings if one.value is not None]
    absent = [one for one in finding.readings if one.value is None]
    if known:
        lines = ["| what | value | when |", "|---|---|---|"]
        for one in known:
            when = "" if one.time is None else one.time.astimezone(zone).strftime("%Y-%m-%d %H:%M")
            lines.append(f"| {one.input.title} | {_cell(one.words(zone))} | {when} |")
        parts.append("\n".join(lines))
    if absent:
        lines = []
        for one in absent:
            age = one.input.largest_age_hours
            limit = "" if age is None else f" (an older one than {age:g} h does not count)"
            lines.append(f"- {one.input.title}{limit}")
        parts.append("**Not known:**\n" + "\n".join(lines))
    parts.append("**Why:** " + _logic(rule))
    evidence = "; ".join(rule.evidence) or rule.source
    asked = now.astimezone(zone).strftime("%Y-%m-%d %H:%M")
    facts = [
        f"Rule {rule.id}, version {rule.version} ({hash_of(rule)[:12]}), asked at {asked}.",
        f"Evidence: {evidence}.",
        f"Validation: {rule.validation}.",
        f"Intended use: {rule.intended_use}",
        *notes,
    ]
    parts.append("\n".join(f"- {one}" for one in facts))
    return "\n\n".join(parts)


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, float):
        # Engines add up in different orders.
        return float(f"{value:.9g}")
    return value


def _resource(one: Any, subject: str, stay: str | None) -> dict[str, Any]:
    """A draft order without a dose."""
    from neva.sources.fhir.codes import SYSTEM_URLS

    system, _, code = one.code.partition("//")
    coding = {"code": code, "display": one.display}
    if system in SYSTEM_URLS:
        coding = {"system": SYSTEM_URLS[system], **coding}
    concept = {"coding": [coding], "text": one.display}
    drug = one.resource == "MedicationRequest"
    made: dict[str, Any] = {
        "resourceType": one.resource,
        "status": "draft",
        "intent": "proposal",
        "medicationCodeableConcept" if drug else "code": concept,
        "subject": {"reference": f"Patient/{subject}"},
    }
    if stay:
        made["encounter"] = {"reference": f"Encounter/{stay}"}
    return made


def card_of(
    finding: Finding,
    *,
    subject: str,
    stay: str | None,
    now: datetime,
    zone: str,
    notes: tuple[str, ...] = (),
) -> Card:
    """Make the card of a finding.

    Parameters
    ----------
    finding : Finding
        One that raises a card.
    subject, stay : str
        Ids as the caller names them; they enter references of suggestions.
    now : datetime
        Aware.
    zone : str
        The hospital's zone: times on the card are its local ones.
    notes : tuple of str
        What else a reader must know, such as resources that could not be read.

    Returns
    -------
    Card
    """
    rule, place = finding.rule, ZoneInfo(zone)
    severity = 1.0 if finding.severity is None else finding.severity
    critical = rule.critical_from is not None and severity >= rule.critical_from
    indicator = "critical" if critical else rule.indicator
    inputs = {
        one.input.name: [_json_value(one.value), _json_value(one.time), one.at_least]
        for one in finding.readings
    }
    inputs_hash = hashlib.sha256(
        json.dumps([inputs, _json_value(float(severity))], sort_keys=True).encode()
    ).hexdigest()
    moment = now.astimezone(UTC).isoformat()
    name = "|".join((hash_of(rule), subject, stay or "", moment, inputs_hash))
    uuid = str(uuid5(_NAMESPACE, name))
    summary = _shortened(
        _filled(rule.summary, {one.input.name: one for one in finding.readings}, place)
    )
    detail = _detail(finding, now, place, notes)
    source = {"label": rule.source}
    if rule.source_url:
        source["url"] = rule.source_url
    content: dict[str, Any] = {
        "uuid": uuid,
        "summary": summary,
        "detail": detail,
        "indicator": indicator,
        "source": source,
    }
    if rule.suggestions:
        content["suggestions"] = [
            {
                "label": one.label,
                "uuid": str(uuid5(_NAMESPACE, f"{uuid}|{number}")),
                "actions": [
                    {
                        "type": "create",
                        "description": f"{one.label} (a draft: a clinician completes it)",
                        "resource": _resource(one, subject, stay),
                    }
                ],
            }
            for number, one in enumerate(rule.suggestions)
        ]
        content["selectionBehavior"] = "any"
    if rule.override_reasons:
        content["overrideReasons"] = [
            {"code": one.code, "system": OVERRIDE_SYSTEM, "display": one.display}
            for one in rule.override_reasons
        ]
    return Card(
        uuid=uuid,
        rule=rule.id,
        version=rule.version,
        hash=hash_of(rule),
        subject=subject,
        stay=stay or "",
        now=now,
        indicator=indicator,
        summary=summary,
        detail=detail,
        severity=float(severity),
        unit=finding.unit,
        missing=tuple(one.input.title for one in finding.readings if one.value is None),
        inputs_hash=inputs_hash,
        content=content,
    )


#: The code system of our override reasons.
OVERRIDE_SYSTEM: Final = "https://neva.invalid/CodeSystem/override-reasons"
