"""What the rules of COVID-19 warn of."""

from __future__ import annotations

from neva.decisions.outcomes import Outcome
from neva.definitions.documents import Feature
from neva.definitions.language import events, least, stay, wrap
from neva.definitions.writing import feature
from neva.programmes import codelists as codes
from neva.programmes.acute_care.outcomes import deterioration

__all__ = ["support_or_death", "support_or_death_in_stay"]


def support_or_death() -> Feature:
    """When a patient got ventilatory support, came to intensive care or died in hospital."""
    supported = events(codes.advanced_support).during(stay).first().time
    return feature(
        "covid19.support-or-death",
        least(supported, wrap(deterioration().value)),
        version="1.0.0",
        title="Ventilatory support, intensive care or death in hospital",
        title_ru="Респираторная поддержка, реанимация или смерть в стационаре",
        description=(
            "The first of: high flow, non-invasive or invasive ventilation; intensive care later "
            "than an hour after admission; death during the stay. The outcome of 4C Deterioration."
        ),
        evidence=("doi:10.1016/S2213-2600(20)30559-2",),
    )


def support_or_death_in_stay() -> Outcome:
    """The same until the end of the stay, as 4C Deterioration has it."""
    return Outcome(of=support_or_death())
