"""Tables of patients for rules: what was recorded, and what each rule makes of it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from neva.decisions.cards import Finding, finding_of
from neva.decisions.rules import Rule
from neva.definitions.programme import load_programme
from neva.definitions.run import answer
from tests.people import People, hour

#: Programmes as installed.
PROGRAMMES = ("acute-care", "covid19", "sepsis")

#: Short names of what is recorded: code and unit, or code alone.
RECORDED: dict[str, tuple[str, str | None]] = {
    "rate": ("LOINC//9279-1", "/min"),
    "spo2": ("LOINC//59408-5", "%"),
    "systolic": ("LOINC//8480-6", "mm[Hg]"),
    "pulse": ("LOINC//8867-4", "/min"),
    "temperature": ("LOINC//8310-5", "Cel"),
    "gcs": ("LOINC//9269-2", "{score}"),
    "urea": ("LOINC//22664-7", "mmol/L"),
    "crp": ("LOINC//1988-5", "mg/L"),
    "lymphocytes": ("LOINC//731-0", "10*9/L"),
    "lactate": ("LOINC//2524-7", "mmol/L"),
    "platelets": ("LOINC//777-3", "10*9/L"),
    "creatinine": ("LOINC//14682-9", "umol/L"),
    "acvpu": ("CARE//acvpu", None),
    "infiltrates": ("CARE//radiographic-infiltrates", "1"),
}


def rules() -> dict[str, Rule]:
    return {rule.id: rule for name in PROGRAMMES for rule in load_programme(name).rules}


def record(people: People, subject: int, text: str) -> None:
    """Record what a line tells: ``1 pulse 80; 2-5 CARE//oxygen-therapy; 3 planned ATC//…``."""
    for part in filter(None, (one.strip() for one in text.split(";"))):
        at, *words = part.split()
        start, _, end = at.partition("-")
        more: dict[str, Any] = {"until": float(end)} if end else {}
        if words[0] in ("planned", "not-done"):
            more["status"] = words.pop(0)
        if more.get("status") == "planned":
            more["attributes"] = [{"key": "kind", "value": "order"}]
        name, *value = words
        code, unit = RECORDED.get(name, (name, None))
        if name == "PCR":
            people.event(subject, float(start), "LOINC//94500-6", text="detected", **more)
        elif not value:
            people.event(subject, float(start), code, **more)
        elif name == "acvpu":
            people.event(subject, float(start), code, text=value[0], **more)
        else:
            people.event(subject, float(start), code, float(value[0]), unit, **more)


def word(finding: Finding) -> str:
    """What became of a rule at a point, in a word."""
    if finding.in_population is False:
        return "not asked"
    if finding.is_unknown:
        return "unknown"
    if finding.holds is not True:
        return "no"
    if finding.treated:
        return "treated"
    return "limited" if finding.limited else "raised"


def asked(
    rule: Rule,
    text: str,
    *,
    at: float | datetime = 6.0,
    icu: bool = False,
    **admission: Any,
) -> Finding:
    """Ask a rule of one patient by all engines; they agree."""
    people = People()
    admission.setdefault("born", date(1960, 1, 1))
    people.admit(1, **admission)
    if icu:
        start = admission.get("start", hour(0))
        kept = {
            "recorded": start,
            "recorded_assumed": False,
            "retracted": None,
            "batch": 1,
        }
        people.tables["units"].append(
            {"unit": "A", "name": "A", "parent": None, "kind": "icu", "specialty": None, **kept}
        )
        people.tables["movements"].append(
            {
                "movement_id": 1,
                "stay_id": 10,
                "subject_id": 1,
                "start": start,
                "end": None,
                "precision": "instant",
                "unit": "A",
                "bed": None,
                **kept,
            }
        )
    record(people, 1, text)
    moment = hour(at) if isinstance(at, (int, float)) else at
    snapshot = people.snapshot(moment)
    found = [
        finding_of(rule, answer(snapshot, rule.outputs, engine=engine).frame.row(0, named=True))
        for engine in ("reference", "columnar")
    ]
    assert [word(one) for one in found] == [word(found[0])] * 2
    return found[0]
