"""Scores of the COVID-19 programme, as published.

Every input is the last value within `look_back` hours before the point; an
older one is missing. Vital signs on the way to a published cut-off are
compared with half-open bands, so that no value falls between two.
"""

from __future__ import annotations

from typing import Any

from neva.definitions.codelists import Codelist
from neva.definitions.documents import Feature, Score
from neva.definitions.language import (
    Quantity,
    Rows,
    bands,
    case,
    events,
    exponential,
    first_known,
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
from neva.programmes.covid19 import codelists as codes

__all__ = ["Inputs", "curb_65", "deterioration_4c", "mortality_4c", "news2", "qsofa"]


class Inputs:
    """What scores read of a patient at a point.

    Parameters
    ----------
    look_back : float
        Hours; an older value is missing.
    """

    def __init__(self, look_back: float) -> None:
        self.look_back = look_back

    def recent(self, codelist: Codelist) -> Rows:
        """Rows of the look-back."""
        return events(codelist).within(hours(self.look_back))

    def last(self, codelist: Codelist, unit: str) -> Quantity:
        """The last value of the look-back."""
        return self.recent(codelist).last().value(unit)

    @property
    def on_oxygen(self) -> Any:
        """Whether the patient is on oxygen now.

        Oxygen without a stated end counts as running for the look-back: a live
        record writes the end later, and missing it would make scores too low.
        """
        last = events(codes.oxygen_therapy).until(now).last()
        open_ended = (last.time > now - hours(self.look_back)) & last.end_time.is_missing()
        running = events(codes.oxygen_therapy).active_at(now).exists()
        return running | first_known(open_ended, False)

    @property
    def saturation(self) -> Quantity:
        """The last saturation, on whatever the patient breathes."""
        return self.last(codes.saturation, "%")

    @property
    def room_air_saturation(self) -> Quantity:
        """The last saturation on room air.

        On oxygen only readings before it was started count; after oxygen only
        those since it was stopped.
        """
        readings = self.recent(codes.saturation)
        oxygen = events(codes.oxygen_therapy)
        current = first_known(oxygen.active_at(now).first().time, oxygen.until(now).last().time)
        # A reading at the very start of oxygen is what it was started for.
        before = readings.until(current).after(first_known(_ended_before(current), _long_ago()))
        after = readings.since(first_known(oxygen.last().end_time, _long_ago()))
        return case((self.on_oxygen, before.last().value("%")), otherwise=after.last().value("%"))

    @property
    def comorbidities(self) -> Quantity:
        """How many of the groups that 4C counts are recorded, at any time until now."""
        parts = [
            case((events(one).until(now).exists(), number(1)), otherwise=number(0))
            for one in codes.comorbidities.values()
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


def _ended_before(start: Any) -> Any:
    """When the spell of oxygen before the present one ended."""
    return events(codes.oxygen_therapy).before(start).last().end_time


def _long_ago() -> Any:
    return now - hours(24 * 365)


def up_to(of: Quantity, *steps: tuple[float, float], beyond: float) -> Quantity:
    """Points by bands that include their upper limit."""
    made: Quantity = case(
        *[(of <= limit, number(points)) for limit, points in steps], otherwise=number(beyond)
    )
    return made


def _points(condition: Any, points: float) -> Quantity:
    made: Quantity = case((condition, number(points)), otherwise=number(0))
    return made


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
            named("saturation", _points(inputs.room_air_saturation < 92, 2), "SpO2 on room air"),
            named(
                "coma-score",
                _points(inputs.last(codes.coma_score, "{score}") < 15, 2),
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
    return case((of.is_missing(), Quantity(_missing())), otherwise=total)


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
    total = total + _points(nosocomial, 0.2439)
    total = total + _points(infiltrates, 0.3252)
    total = total + _points(inputs.on_oxygen, 0.7450)
    total = total + _points(inputs.last(codes.coma_score, "{score}") < 15, 0.6028)
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


def news2(inputs: Inputs) -> Score:
    """National Early Warning Score 2 (Royal College of Physicians 2017)."""
    rate = inputs.last(codes.respiratory_rate, "/min")
    saturation = inputs.saturation
    scale_2 = events("CARE//saturation-target-88-92").until(now).exists()
    systolic = inputs.last(codes.systolic, "mm[Hg]")
    pulse = inputs.last(codes.pulse, "/min")
    temperature = inputs.last(codes.temperature, "Cel")
    alert = inputs.recent(codes.consciousness).last().text
    first_scale = up_to(saturation, (91, 3), (93, 2), (95, 1), beyond=0)
    second_scale = case(
        (saturation <= 83, number(3)),
        (saturation <= 85, number(2)),
        (saturation <= 87, number(1)),
        (saturation <= 92, number(0)),
        (~inputs.on_oxygen, number(0)),
        (saturation <= 94, number(1)),
        (saturation <= 96, number(2)),
        otherwise=number(3),
    )
    return score(
        "covid19.news2",
        version="1.0.0",
        title="NEWS2",
        title_ru="NEWS2",
        description=(
            "0-20 points. Scale 2 of the saturation only where a target of 88-92 % is recorded for "
            "the patient."
        ),
        evidence=("Royal College of Physicians. National Early Warning Score (NEWS) 2. 2017",),
        lowest=0,
        highest=20,
        items=[
            named(
                "respiratory-rate",
                up_to(rate, (8, 3), (11, 1), (20, 0), (24, 2), beyond=3),
                "respiratory rate",
            ),
            named("saturation", case((scale_2, second_scale), otherwise=first_scale), "saturation"),
            named("oxygen", _points(inputs.on_oxygen, 2), "air or oxygen"),
            named(
                "systolic",
                case(
                    (systolic <= 90, number(3)),
                    (systolic <= 100, number(2)),
                    (systolic <= 110, number(1)),
                    (systolic < 220, number(0)),
                    otherwise=number(3),
                ),
                "systolic pressure",
            ),
            named(
                "pulse",
                up_to(pulse, (40, 3), (50, 1), (90, 0), (110, 1), (130, 2), beyond=3),
                "pulse",
            ),
            named(
                "consciousness",
                case(
                    (alert == "A", number(0)),
                    (alert.one_of("C", "V", "P", "U"), number(3)),
                    otherwise=Quantity(_missing()),
                ),
                "consciousness",
            ),
            named(
                "temperature",
                up_to(temperature, (35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1), beyond=2),
                "temperature",
            ),
        ],
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
                _points(inputs.last(codes.respiratory_rate, "/min") >= 22, 1),
                "respiratory rate",
            ),
            named(
                "systolic",
                _points(inputs.last(codes.systolic, "mm[Hg]") <= 100, 1),
                "systolic pressure",
            ),
            named(
                "mentation",
                _points(inputs.last(codes.coma_score, "{score}") < 15, 1),
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
            named("confusion", _points(confused, 1), "new confusion"),
            named("urea", _points(inputs.last(codes.urea, "mmol/L") > 7, 1), "urea"),
            named(
                "respiratory-rate",
                _points(inputs.last(codes.respiratory_rate, "/min") >= 30, 1),
                "respiratory rate",
            ),
            named("pressure", _points(low, 1), "blood pressure"),
            named("age", _points(subject.age_at(now) >= 65, 1), "age"),
        ],
    )


#: Readings below a target on room air, as the trigger of a confirmed need.
def low_saturation(limit: float) -> Rows:
    """Pulse-oximetry readings below a limit during the stay."""
    return events(codes.saturation).where(value("%") < limit).during(stay)
