"""The WHO Clinical Progression Scale as a value at a point (0-10, from 4 in hospital)."""

from __future__ import annotations

from neva.definitions.documents import Feature
from neva.definitions.language import (
    Boolean,
    case,
    events,
    first_known,
    hours,
    now,
    number,
    subject,
)
from neva.definitions.writing import feature
from neva.programmes import codelists as codes
from neva.programmes.bedside import Inputs

__all__ = ["progression_scale"]


def known_and(condition: Boolean) -> Boolean:
    """True only if it is known to be true."""
    made: Boolean = first_known(condition, False)
    return made


def progression_scale(look_back: float) -> Feature:
    """WHO progression scale at the point, for a patient in hospital.

    States 7 to 9 are told apart by SpO2/FiO2 and by organ support; where
    either is not recorded, 7 is the least that is known and is what is given.
    """
    inputs = Inputs(look_back)
    ventilated = events(codes.ventilation_invasive).active_at(now).exists()
    pressor = events(codes.vasopressor).active_at(now).exists()
    organ = events(codes.organ_support).active_at(now).exists()
    fraction = events("LOINC//3150-6").within(hours(look_back)).last().value("%") / number(100, "%")
    ratio = inputs.saturation / number(1, "%") / fraction
    poor = known_and(ratio < 200)
    return feature(
        "covid19.who-progression-scale",
        case(
            (subject.death.is_known(), number(10)),
            (ventilated & poor & (pressor | organ), number(9)),
            (ventilated & (poor | pressor), number(8)),
            (ventilated, number(7)),
            (events(codes.ventilation_non_invasive).active_at(now).exists(), number(6)),
            (inputs.on_oxygen, number(5)),
            otherwise=number(4),
        ),
        version="1.0.0",
        title="WHO Clinical Progression Scale",
        title_ru="Шкала клинического прогрессирования ВОЗ",
        evidence=("doi:10.1016/S1473-3099(20)30483-7",),
        notes=("States below 4 are outside hospital. Not the older scales of 0-8 and 1-8.",),
    )
