"""Observations at the bedside: what scores read of a patient, and NEWS2.

Every input is the last value within `look_back` hours before the point; an
older one is missing. Vital signs on the way to a published cut-off are
compared with half-open bands, so that no value falls between two.
"""

from __future__ import annotations

from typing import Any

from neva.definitions.codelists import Codelist
from neva.definitions.documents import Score
from neva.definitions.language import (
    Quantity,
    Rows,
    case,
    events,
    first_known,
    hours,
    missing,
    now,
    number,
)
from neva.definitions.writing import named, score
from neva.programmes import codelists as codes

__all__ = ["Inputs", "news2", "points_if", "up_to"]


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
        last, otherwise = before.last().value("%"), after.last().value("%")
        found: Quantity = case((self.on_oxygen, last), otherwise=otherwise)
        return found

    @property
    def comorbidities(self) -> Quantity:
        """How many of the groups that 4C counts are recorded, at any time until now."""
        parts = [
            case((events(one).until(now).exists(), number(1)), otherwise=number(0))
            for one in codes.comorbidities.values()
        ]
        total: Quantity = parts[0]
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


def points_if(condition: Any, points: float) -> Quantity:
    """Points if a condition is true, none if it is false."""
    made: Quantity = case((condition, number(points)), otherwise=number(0))
    return made


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
            named("oxygen", points_if(inputs.on_oxygen, 2), "air or oxygen"),
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
                    otherwise=missing(number(0)),
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
