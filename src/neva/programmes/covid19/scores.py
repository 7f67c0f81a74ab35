"""Scores of the COVID-19 programme, as published.

Every input is the last value within `look_back` hours before the point; an
older one is missing. Vital signs on the way to a published cut-off are
compared with half-open bands, so that no value falls between two.
"""

from __future__ import annotations

from typing import Any

from neva.definitions.documents import Feature, Score
from neva.definitions.language import (
    Quantity,
    Rows,
    bands,
    case,
    events,
    exponential,
    greatest,
    hours,
    now,
    number,
    row,
    stay,
    subject,
    value,
)
from neva.definitions.model import Missing
from neva.definitions.writing import feature, named, score
from neva.programmes import codelists as codes
from neva.programmes.bedside import Inputs, points_if

__all__ = ["curb_65", "deterioration_4c", "mortality_4c", "qsofa"]


def mortality_4c(inputs: Inputs) -> Score:
    """4C Mortality Score (Knight 2020)."""
    age = subject.age_at(now)
    return score(
        "covid19.4c-mortality",
        version="1.0.0",
        title="4C Mortality Score",
        title_ru="Шкала летальности 4C",
        description=(
            "In-hospital mortality of adults admitted with COVID-19, 0-21 points. Saturation is on "
            "room air: on oxygen without a reading on room air the item is missing, not normal."
        ),
        evidence=("doi:10.1136/bmj.m3339", "doi:10.1136/thoraxjnl-2021-217629"),
        notes=("Derived in 2020; recalibrate before comparing later periods.",),
        lowest=0,
        highest=21,
        items=[
            named("age", bands(age, number(0), (50, 2), (60, 4), (70, 6), (80, 7)), "age"),
            named(
                "sex",
                case(
                    (subject.sex == "male", number(1)),
                    (subject.sex == "female", number(0)),
                    otherwise=Quantity(_missing()),
                ),
                "sex at birth",
            ),
            named(
                "comorbidities",
                bands(inputs.comorbidities, number(0), (1, 1), (2, 2)),
                "number of comorbidities",
            ),
            named(
                "respiratory-rate",
                bands(inputs.last(codes.respiratory_rate, "/min"), number(0), (20, 1), (30, 2)),
                "respiratory rate",
            ),
            named("saturation", points_if(inputs.room_air_saturation < 92, 2), "SpO2 on room air"),
            named(
                "coma-score",
                points_if(inputs.last(codes.coma_score, "{score}") < 15, 2),
                "Glasgow coma score",
            ),
            named(
                "urea",
                case(
                    (inputs.last(codes.urea, "mmol/L") < 7, number(0)),
                    (inputs.last(codes.urea, "mmol/L") <= 14, number(1)),
                    otherwise=number(3),
                ),
                "urea",
            ),
            named(
                "crp",
                bands(inputs.last(codes.crp, "mg/L"), number(0), (50, 1), (100, 2)),
                "C-reactive protein",
            ),
        ],
    )


def _missing() -> Any:
    return Missing(of="number", unit="1")


#: Coefficients of the 4C Deterioration model: linear, two spline terms, four
#: knots (Gupta 2021, supplementary table 3).
_SPLINES = {
    "age": (0.0159, -0.0129, 0.1265, 38.5, 67.7, 81.1, 92.9),
    "respiratory-rate": (-0.0145, 0.5992, -1.078, 16, 19, 24, 37),
    "saturation": (-0.0707, -0.0248, 1.024, 84, 94, 96, 100),
    "urea": (0.0508, 0.4446, -1.035, 2.9, 5.7, 9.2, 25.5),
    "crp": (0.0097, -0.0395, 0.0588, 5, 45, 113, 297),
    "lymphocytes": (-0.4564, 0.7309, -0.8113, 0.3, 0.7, 1.1, 2.4),
}


def spline(of: Quantity, terms: tuple[float, ...]) -> Quantity:
    """A linear term and a restricted cubic spline with four knots; `of` has no unit."""
    linear, first, second, *knots = terms
    width = (knots[3] - knots[2], (knots[3] - knots[0]) ** 2)

    def cubed(knot: float) -> Quantity:
        above = greatest(of - knot, number(0))
        made: Quantity = above * above * above
        return made

    total = of * linear
    for weight, knot in ((first, knots[0]), (second, knots[1])):
        shape = (
            cubed(knot)
            - cubed(knots[2]) * ((knots[3] - knot) / width[0])
            + cubed(knots[3]) * ((knots[2] - knot) / width[0])
        ) / width[1]
        total = total + shape * weight
    # Taking the greatest passes over what is missing: a missing input must not.
    found: Quantity = case((of.is_missing(), Quantity(_missing())), otherwise=total)
    return found


def _bare(of: Quantity, unit: str) -> Quantity:
    """A number without its unit."""
    return of.to(unit) / number(1, unit)


def deterioration_4c(inputs: Inputs) -> tuple[Feature, Feature]:
    """4C Deterioration: linear predictor and probability (Gupta 2021)."""
    read = {
        "age": _bare(subject.age_at(now), "a"),
        "respiratory-rate": _bare(inputs.last(codes.respiratory_rate, "/min"), "/min"),
        "saturation": _bare(inputs.saturation, "%"),
        "urea": _bare(inputs.last(codes.urea, "mmol/L"), "mmol/L"),
        "crp": _bare(inputs.last(codes.crp, "mg/L"), "mg/L"),
        "lymphocytes": _bare(inputs.last(codes.lymphocytes, "10*9/L"), "10*9/L"),
    }
    detected = events(codes.viral_test).where(row.text == "detected")
    nosocomial = detected.after(stay.start - hours(14 * 24)).first().time > stay.start + hours(168)
    infiltrates = inputs.recent(codes.infiltrates).last().value("1") > 0
    total = number(4.033)
    for name, terms in _SPLINES.items():
        total = total + spline(read[name], terms)
    total = total + case(
        (subject.sex == "male", number(0.2690)),
        (subject.sex == "female", number(0)),
        otherwise=Quantity(_missing()),
    )
    total = total + points_if(nosocomial, 0.2439)
    total = total + points_if(infiltrates, 0.3252)
    total = total + points_if(inputs.on_oxygen, 0.7450)
    total = total + points_if(inputs.last(codes.coma_score, "{score}") < 15, 0.6028)
    words: dict[str, Any] = {
        "version": "1.0.0",
        "evidence": ("doi:10.1016/S2213-2600(20)30559-2",),
        "notes": (
            "Outcome: any ventilatory support, critical care or death.",
            "Not validated here unless a validation on this hospital's data says so.",
        ),
    }
    return (
        feature(
            "covid19.4c-deterioration-linear-predictor",
            total,
            title="4C Deterioration, linear predictor",
            title_ru="4C Deterioration, линейный предиктор",
            **words,
        ),
        feature(
            "covid19.4c-deterioration",
            number(1) / (number(1) + exponential(-total)),
            title="4C Deterioration, probability",
            title_ru="4C Deterioration, вероятность",
            **words,
        ),
    )


def qsofa(inputs: Inputs) -> Score:
    """Quick SOFA (Singer 2016); unconfirmed thresholds."""
    return score(
        "covid19.qsofa",
        version="1.0.0",
        title="qSOFA",
        title_ru="qSOFA",
        evidence=("Singer M et al. JAMA 2016;315:801",),
        notes=("Thresholds not confirmed against the paper.", "No screen for sepsis by itself."),
        lowest=0,
        highest=3,
        items=[
            named(
                "respiratory-rate",
                points_if(inputs.last(codes.respiratory_rate, "/min") >= 22, 1),
                "respiratory rate",
            ),
            named(
                "systolic",
                points_if(inputs.last(codes.systolic, "mm[Hg]") <= 100, 1),
                "systolic pressure",
            ),
            named(
                "mentation",
                points_if(inputs.last(codes.coma_score, "{score}") < 15, 1),
                "Glasgow coma score",
            ),
        ],
    )


def curb_65(inputs: Inputs) -> Score:
    """CURB-65 (Lim 2003), diastolic pressure of 60 included."""
    low = (inputs.last(codes.systolic, "mm[Hg]") < 90) | (
        inputs.last(codes.diastolic, "mm[Hg]") <= 60
    )
    confused = inputs.recent(codes.consciousness).last().text != "A"
    return score(
        "covid19.curb-65",
        version="1.0.0",
        title="CURB-65",
        title_ru="CURB-65",
        evidence=("Lim WS et al. Thorax 2003;58:377-382",),
        lowest=0,
        highest=5,
        items=[
            named("confusion", points_if(confused, 1), "new confusion"),
            named("urea", points_if(inputs.last(codes.urea, "mmol/L") > 7, 1), "urea"),
            named(
                "respiratory-rate",
                points_if(inputs.last(codes.respiratory_rate, "/min") >= 30, 1),
                "respiratory rate",
            ),
            named("pressure", points_if(low, 1), "blood pressure"),
            named("age", points_if(subject.age_at(now) >= 65, 1), "age"),
        ],
    )


#: Readings below a target on room air, as the trigger of a confirmed need.
def low_saturation(limit: float) -> Rows:
    """Pulse-oximetry readings below a limit during the stay."""
    return events(codes.saturation).where(value("%") < limit).during(stay)
