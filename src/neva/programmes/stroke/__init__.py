"""Stroke: drugs at discharge, in the form of the official measures STK-2 and STK-3.

Small codelists of our own stand where the official measures have value sets of
thousands of codes; a hospital that holds the licences puts those in their
place.
"""

from __future__ import annotations

from neva.definitions.documents import Measure, Named
from neva.definitions.language import Boolean, Rows, codelist, events, row, stay, subject
from neva.definitions.programme import Programme
from neva.definitions.writing import measure, named
from neva.programmes.guidance import guidance

__all__ = ["programme"]

ischaemic_stroke = codelist("ischaemic-stroke", "ICD10//I63*", title="Ischaemic stroke")
atrial_fibrillation = codelist(
    "atrial-fibrillation", "ICD10//I48*", title="Atrial fibrillation or flutter"
)
anticoagulants = codelist(
    "anticoagulants",
    "ATC//B01AA03",
    "ATC//B01AF01",
    "ATC//B01AF02",
    title="Warfarin, rivaroxaban, apixaban",
)
antithrombotics = codelist(
    "antithrombotics",
    "ATC//B01AA03",
    "ATC//B01AC04",
    "ATC//B01AC06",
    "ATC//B01AF01",
    "ATC//B01AF02",
    title="Anticoagulants, aspirin, clopidogrel",
)


def _prescribed(drugs: Rows) -> Boolean:
    return drugs.where(row.attribute("category") == "discharge").during(stay).exists()


def programme() -> Programme:
    """Make the programme."""
    return Programme(
        name="stroke",
        version="1.0.0",
        title="Stroke",
        title_ru="Инсульт",
        documents=tuple(_measures()),
        guidance=guidance("neva.programmes.stroke"),
    )


def _measures() -> list[Measure]:
    left_alive = (
        (stay.kind == "inpatient")
        & stay.end.is_known()
        & stay.outcome.one_of("home", "care-facility")
    )
    principal = events(ischaemic_stroke).where(row.rank == 1).during(stay).exists()
    population = left_alive & principal & (subject.age_at(stay.start) >= 18)
    fibrillation = events(atrial_fibrillation).until(stay.end).exists()

    def exclusions(drugs: Rows) -> list[Named]:
        return [
            named(
                "comfort-care",
                events("CARE//palliative-care").during(stay).exists(),
                "palliative care",
            ),
            named(
                "not-done-with-reason",
                drugs.not_done()
                .where(row.reason.one_of("REASON//contraindicated", "REASON//refused"))
                .during(stay)
                .exists(),
                "recorded as not prescribed, with the reason",
            ),
        ]

    antithrombotic, anticoagulant = events(antithrombotics), events(anticoagulants)
    return [
        measure(
            "stroke.antithrombotic-at-discharge",
            version="1.0.0",
            title="Antithrombotic prescribed at discharge",
            title_ru="Антитромботическая терапия при выписке",
            evidence=("The Joint Commission STK-2 (form; codelists are our own)",),
            population=population,
            exclusions=exclusions(antithrombotic),
            numerator=_prescribed(antithrombotic),
            better="higher",
        ),
        measure(
            "stroke.anticoagulation-for-atrial-fibrillation",
            version="1.0.0",
            title="Anticoagulant at discharge for atrial fibrillation",
            title_ru="Антикоагулянт при выписке при фибрилляции предсердий",
            evidence=("The Joint Commission STK-3 (form; codelists are our own)",),
            population=population & fibrillation,
            exclusions=exclusions(anticoagulant),
            numerator=_prescribed(anticoagulant),
            better="higher",
        ),
    ]
