"""COVID-19 in hospital: measures of treatment quality, scores, states."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from neva.definitions.programme import Programme
from neva.errors import UsageError
from neva.programmes.bedside import Inputs, news2
from neva.programmes.covid19.measures import Choices, measures
from neva.programmes.covid19.outcomes import support_or_death
from neva.programmes.covid19.rules import rules
from neva.programmes.covid19.scores import (
    curb_65,
    deterioration_4c,
    mortality_4c,
    qsofa,
)
from neva.programmes.covid19.states import progression_scale
from neva.programmes.guidance import guidance

__all__ = ["programme"]

TRIGGERS = ("oxygen-started", "oxygen-or-confirmed-need")


def programme(
    trigger: str = "oxygen-started",
    target: float = 94.0,
    prophylaxis_hours: float = 14.0,
    antibiotic_hours: float = 48.0,
    review_hours: float = 72.0,
    response_minutes: float = 30.0,
    procalcitonin: float = 0.5,
    look_back: float = 24.0,
    lowest_platelets: float = 50.0,
    deterioration_from: float = 0.5,
) -> Programme:
    """Make the programme; the settings are what the evidence leaves open.

    Parameters
    ----------
    trigger, target, prophylaxis_hours, antibiotic_hours, review_hours
        See below.
    response_minutes, procalcitonin
        See :class:`neva.programmes.covid19.measures.Choices`.
    look_back : float
        Hours within which a score's input must have been recorded.
    lowest_platelets, deterioration_from : float
        See :func:`neva.programmes.covid19.rules.rules`.
    """
    if trigger not in TRIGGERS:
        message = f"trigger: must be {' or '.join(TRIGGERS)}; found {trigger!r}"
        raise UsageError(message)
    choices = Choices(
        trigger=trigger,
        target=target,
        prophylaxis_hours=prophylaxis_hours,
        antibiotic_hours=antibiotic_hours,
        review_hours=review_hours,
        response_minutes=response_minutes,
        procalcitonin=procalcitonin,
    )
    inputs = Inputs(look_back)
    documents: list[Any] = [
        *measures(choices),
        mortality_4c(inputs),
        *deterioration_4c(inputs),
        news2(inputs),
        qsofa(inputs),
        curb_65(inputs),
        progression_scale(look_back),
        support_or_death(),
    ]
    return Programme(
        name="covid19",
        version="1.0.0",
        title="COVID-19 in hospital",
        title_ru="COVID-19 в стационаре",
        documents=tuple(documents),
        rules=rules(look_back, prophylaxis_hours, lowest_platelets, deterioration_from),
        guidance=guidance("neva.programmes.covid19"),
        settings={
            **asdict(choices),
            "look_back": look_back,
            "lowest_platelets": lowest_platelets,
            "deterioration_from": deterioration_from,
        },
    )
