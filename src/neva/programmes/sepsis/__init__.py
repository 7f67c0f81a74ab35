"""Sepsis: time to antibiotics and lactate, intensive care, returns, length of stay."""

from __future__ import annotations

from typing import Any, Literal, cast

from neva.definitions.documents import Measure
from neva.definitions.language import (
    Boolean,
    Time,
    codelist,
    days,
    events,
    first_known,
    hours,
    least,
    movements,
    row,
    stay,
    stays,
    true_or_unknown,
)
from neva.definitions.programme import Programme
from neva.definitions.writing import measure
from neva.errors import UsageError
from neva.programmes.guidance import guidance
from neva.programmes.sepsis.rules import rules

__all__ = ["programme"]

registration = codelist(
    "emergency-registration",
    "CARE//emergency-registration",
    "SEPSIS//ER Registration",
    title="Registration in the emergency department",
)
triage = codelist("emergency-triage", "CARE//emergency-triage", "SEPSIS//ER Triage", title="Triage")
sepsis_triage = codelist(
    "sepsis-triage", "CARE//sepsis-triage", "SEPSIS//ER Sepsis Triage", title="Triage for sepsis"
)
antibiotics = codelist(
    "intravenous-antibiotics", "ATC//J01*", "SEPSIS//IV Antibiotics", title="Antibiotics"
)
lactate = codelist("lactate", "LOINC//2524-7", "SEPSIS//LacticAcid", title="Lactate")
intensive_care = codelist(
    "intensive-care-admission",
    "CARE//intensive-care-admission",
    "SEPSIS//Admission IC",
    title="Admission to intensive care",
)
release = codelist("release", *(f"SEPSIS//Release {letter}" for letter in "ABCDE"), title="Release")
returned = codelist("emergency-return", "SEPSIS//Return ER", title="Return to the emergency room")

#: Name, codelist, words and words in Russian of each time zero.
CLOCKS = {
    "registration": (registration, "registration", "регистрации"),
    "triage": (triage, "triage", "сортировки"),
    "sepsis-triage": (sepsis_triage, "triage for sepsis", "сортировки по сепсису"),
}


def programme(each: str = "stay", hours_to_antibiotics: float = 1.0) -> Programme:
    """Make the programme.

    Parameters
    ----------
    each : str
        ``stay``, or ``subject`` where the source has cases but no stays.
    hours_to_antibiotics : float
        The limit; 1 by default.
    """
    if each not in ("stay", "subject"):
        message = f"each: must be stay or subject; found {each!r}"
        raise UsageError(message)
    unit = cast(Literal["stay", "subject"], each)
    return Programme(
        name="sepsis",
        version="1.0.0",
        title="Sepsis",
        title_ru="Сепсис",
        documents=tuple(_measures(unit, hours_to_antibiotics)),
        rules=rules(sepsis_triage, lactate, antibiotics),
        guidance=guidance("neva.programmes.sepsis"),
        settings={"each": each, "hours_to_antibiotics": hours_to_antibiotics},
    )


def _measures(each: Literal["stay", "subject"], limit: float) -> list[Measure]:
    in_hospital: Boolean | bool = (
        stay.kind.one_of("inpatient", "emergency") if each == "stay" else True
    )
    triaged = events(sepsis_triage).during(stay).exists() & in_hospital
    drug = events(antibiotics).during(stay)
    first_drug = drug.first().time
    words: dict[str, Any] = {"version": "1.0.0", "each": each}
    found = []
    for name, (codes, english, russian) in CLOCKS.items():
        zero = events(codes).during(stay).first().time
        found.append(
            measure(
                f"sepsis.antibiotics-{limit:g}-hour-from-{name}",
                title=f"Antibiotics within {limit:g} hour of {english}",
                title_ru=f"Антибиотики в течение {limit:g} ч от {russian}",
                description=(
                    "An antibiotic before the clock starts counts as within. Shown over all "
                    "triaged for sepsis and over those treated."
                ),
                evidence=("CEUR-WS 1859, pp 72-80",),
                notes=(
                    "The answer moves by several points with the choice of time zero.",
                    "One hour for every suspicion drives overuse: stratify by shock if recorded.",
                ),
                population=triaged,
                clock_start=zero,
                clock_title=english,
                due=hours(limit),
                numerator=drug.until(zero + hours(limit)).exists(),
                treated=drug.exists(),
                interval=first_drug - zero,
                better="higher",
                **words,
            )
        )
    zero = events(sepsis_triage).during(stay).first().time
    ended = _released()
    back = _back(ended)
    icu = events(intensive_care).during(stay).exists() | movements(kind="icu").during(stay).exists()
    measured = events(lactate).during(stay)
    found += [
        measure(
            "sepsis.no-antibiotics",
            title="No antibiotic at all",
            title_ru="Без антибиотиков",
            description="Of everybody registered, triaged for sepsis or not.",
            population=(events(registration).during(stay).exists() | triaged) & in_hospital,
            numerator=~drug.exists(),
            period_time=first_known(events(registration).during(stay).first().time, stay.start),
            better="neutral",
            **words,
        ),
        measure(
            "sepsis.lactate-3-hours",
            title="Lactate within 3 hours of triage for sepsis",
            title_ru="Лактат в течение 3 ч от сортировки по сепсису",
            evidence=("CMS SEP-1",),
            population=triaged,
            clock_start=zero,
            clock_title="triage for sepsis",
            due=hours(3),
            numerator=measured.until(zero + hours(3)).exists(),
            treated=measured.exists(),
            interval=measured.first().time - zero,
            better="higher",
            **words,
        ),
        measure(
            "sepsis.intensive-care",
            title="Admission to intensive care",
            title_ru="Перевод в реанимацию",
            population=triaged if each == "stay" else events(registration).exists() | triaged,
            due=stay.end if each == "stay" else None,
            numerator=icu,
            period_time=first_known(stay.start, events(registration).first().time),
            better="neutral",
            **words,
        ),
        measure(
            "sepsis.return-28-days",
            title="Return within 28 days of release",
            title_ru="Возврат в течение 28 дней после выписки",
            description="Only those released alive are at risk.",
            population=_at_risk(each, triaged, ended),
            clock_start=ended,
            clock_title="release",
            due=days(28),
            numerator=first_known(back <= ended + days(28), False),
            decides_early="never",
            interval=back - ended,
            better="lower",
            **(words | {"version": "1.1.0"}),
        ),
        measure(
            "sepsis.length-of-stay",
            title="Length of stay in days",
            title_ru="Длительность госпитализации, дни",
            population=(triaged if each == "stay" else events(registration).exists())
            & ended.is_known(),
            observation=(
                ended - (stay.start if each == "stay" else events(registration).first().time)
            ).to("d"),
            period_time=ended,
            better="neutral",
            **words,
        ),
    ]
    return found


def _released() -> Time:
    made: Time = first_known(stay.end, events(release).first().time)
    return made


def _back(ended: Time) -> Time:
    """When the patient came back after the release; missing if never."""
    again = (
        stays("inpatient", "emergency")
        .where(true_or_unknown(row.reason != "elective"))
        .after(ended)
        .first()
        .time
    )
    made: Time = least(again, events(returned).after(ended).first().time)
    return made


def _at_risk(each: str, triaged: Boolean, ended: Time) -> Boolean:
    if each == "subject":
        return events(registration).exists() & ended.is_known()
    found: Boolean = triaged & stay.end.is_known() & (stay.outcome != "died")
    return found
