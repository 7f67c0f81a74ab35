"""Times, chances and differences on the pages of flow, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from neva.languages.english import number, share
from neva.languages.english import signed as signed_number

__all__ = ["ahead", "hours_ahead", "listed", "local", "place_name", "signed", "value"]

#: Figures that are shares: written as per cent, their differences in percentage points.
SHARES: Final = ("occupancy", "full_share", "waited_share")
#: Figures as a reader calls them, with their unit.
FIGURE_NAMES: Final = {
    "occupied_beds": "patients in beds, mean",
    "staffed_beds": "staffed beds, mean",
    "occupancy": "occupancy of staffed beds, %",
    "full_share": "time without a free bed, %",
    "waited_share": "had to wait for a bed, %",
    "wait_hours": "mean wait for a bed, h",
    "boarding_hours_per_day": "boarding, patient-hours a day",
    "refused": "arrivals lost, in the period",
    "cancelled": "planned arrivals cancelled, in the period",
    "diverted": "placed in another unit, in the period",
    "stay_hours": "mean stay in hospital, h",
    "arrivals_per_day": "arrivals a day",
    "swaps": "deadlocks resolved by a swap",
}

#: The same within a sentence.
SHORT_NAMES: Final = {
    "occupied_beds": "patients in beds",
    "boarding_hours_per_day": "patient-hours of boarding a day",
    "refused": "arrivals lost",
    "cancelled": "planned arrivals cancelled",
    "diverted": "placed in another unit",
    "stay_hours": "mean hours in hospital",
    "arrivals_per_day": "arrivals a day",
    "swaps": "deadlocks",
}


def local(time: datetime, zone: str, *, with_year: bool = False) -> str:
    """Write a time in the hospital's local time.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> local(datetime(2021, 1, 4, 7, tzinfo=UTC), "Europe/Berlin")
    'Mon 4 Jan 08:00'
    """
    there = time.astimezone(ZoneInfo(zone))
    year = f" {there.year}" if with_year else ""
    return f"{there:%a} {there.day} {there:%b}{year} {there:%H:%M}"


def hours_ahead(hours: float) -> str:
    """Write a horizon: hours below three days, else days where they are whole.

    Examples
    --------
    >>> hours_ahead(4), hours_ahead(24), hours_ahead(168)
    ('4 h', '24 h', '7 days')
    """
    if hours > 72 and hours % 24 == 0:
        return f"{hours / 24:.0f} days"
    return f"{hours:g} h"


def ahead(hours: float) -> str:
    """Write how long from now: ``in 24 h``."""
    return f"in {hours_ahead(hours)}"


def is_known(number_: float | None) -> bool:
    """Tell whether there is a number: neither missing nor NaN nor infinite."""
    return number_ is not None and math.isfinite(number_)


def value(figure: str, amount: float | None) -> str:
    """Write a simulated figure with the digits that it deserves."""
    if amount is None or not math.isfinite(amount):
        return "–"
    if figure in SHARES:
        return share(amount)
    return number(amount, digits=2 if abs(amount) < 10 else 1)


def signed(figure: str, amount: float | None) -> str:
    """Write a difference with its sign; of shares in percentage points.

    Examples
    --------
    >>> signed("occupancy", -0.0312), signed("refused", 12.34), signed("refused", None)
    ('−3.1', '+12.3', '–')
    """
    if amount is None or not math.isfinite(amount):
        return "–"
    scaled = 100 * amount if figure in SHARES else amount
    digits = 1 if figure in SHARES or abs(scaled) >= 10 else 2
    return signed_number(scaled, digits)


def place_name(place: str, what: str) -> str:
    """Return how a place is called on a page."""
    if place != "all":
        return place
    return "whole hospital" if what == "patients by unit" else "total"


def listed(names: Sequence[str]) -> str:
    """Write names one after another: ``a, b and c``."""
    shown = list(names)
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
