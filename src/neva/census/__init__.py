"""Patients by place and time: census, arrivals, bed-days, length of stay."""

from neva.census.intervals import Intervals, of_events, of_movements, of_stays, units_above
from neva.census.length_of_stay import LengthOfStay, length_of_stay
from neva.census.occupancy import Census, census
from neva.census.places import intervals_by, state_codes

__all__ = [
    "Census",
    "Intervals",
    "LengthOfStay",
    "census",
    "intervals_by",
    "length_of_stay",
    "of_events",
    "of_movements",
    "of_stays",
    "state_codes",
    "units_above",
]
