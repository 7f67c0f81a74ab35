"""Acute care of every adult in-patient: early warning and safe ordering."""

from __future__ import annotations

from neva.definitions.programme import Programme
from neva.programmes.acute_care.anticoagulation import order_check
from neva.programmes.acute_care.early_warning import early_warning
from neva.programmes.acute_care.outcomes import deterioration, return_after_discharge
from neva.programmes.guidance import guidance

__all__ = ["programme"]


def programme(
    look_back: float = 24.0,
    lowest_platelets: float = 50.0,
    lowest_filtration: float = 30.0,
) -> Programme:
    """Make the programme; the settings are what the evidence leaves open.

    Parameters
    ----------
    look_back : float
        Hours within which an observation must have been recorded.
    lowest_platelets : float
        10*9/L below which an order of an anticoagulant is questioned; unconfirmed.
    lowest_filtration : float
        mL/min below which it is questioned; unconfirmed.
    """
    return Programme(
        name="acute-care",
        version="1.0.0",
        title="Acute care",
        title_ru="Неотложная помощь в стационаре",
        documents=(deterioration(), return_after_discharge()),
        rules=(*early_warning(look_back), order_check(lowest_platelets, lowest_filtration)),
        guidance=guidance("neva.programmes.acute_care"),
        settings={
            "look_back": look_back,
            "lowest_platelets": lowest_platelets,
            "lowest_filtration": lowest_filtration,
        },
    )
