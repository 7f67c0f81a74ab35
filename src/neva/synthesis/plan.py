"""The plan of a synthetic hospital: the few numbers from which all of it follows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

import polars as pl

from neva.errors import BadInputError, UsageError
from neva.events.clock import to_utc, zone_named

__all__ = ["GENERATOR", "Plan"]

#: Version of the generator. Another version may make another hospital of the
#: same seed; the same version never does.
GENERATOR: Final = 1

#: A hospital of 1,000 stays covers six weeks. Larger ones grow more in time
#: than in size: 100,000 stays are about 95 weeks of a hospital six times as large.
_DAYS_AT_1000: Final = 42.0
_GROWTH_IN_TIME: Final = 0.6
#: The data cut is no round time of day.
_CUT_CLOCK: Final = timedelta(hours=10, minutes=17)


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides a synthetic hospital, wholly.

    Attributes
    ----------
    stays : int
        How many stays have started by the data cut (at least 20).
    seed : int
        Not negative.
    zone : str
        The hospital's time zone (IANA).
    start : date
        First local day on which patients arrive.
    operations : bool
        Also what wards write about beds and going home (see
        :mod:`neva.synthesis.operations`). It changes nothing else.
    """

    stays: int = 1000
    seed: int = 1
    zone: str = "Europe/Moscow"
    start: date = date(2020, 3, 1)
    operations: bool = False

    def __post_init__(self) -> None:
        if self.stays < 20:
            message = f"stays: too few for a hospital; found {self.stays}; give 20 or more"
            raise UsageError(message)
        if self.seed < 0:
            message = f"seed: must not be negative; found {self.seed}; give 0 or more"
            raise UsageError(message)
        zone_named(self.zone)

    @property
    def days(self) -> int:
        """Length of the span from the first day to the data cut, in whole days."""
        found: int = max(7, round(_DAYS_AT_1000 * (self.stays / 1000) ** _GROWTH_IN_TIME))
        return found

    @property
    def begins(self) -> datetime:
        """First instant of the first day, UTC."""
        midnight = pl.Series([datetime.combine(self.start, time())])
        found: datetime = to_utc(midnight, self.zone, nonexistent="forward")[0]["time"]
        return found

    @property
    def cut(self) -> datetime:
        """The data cut, UTC: nothing that was recorded later is in the hospital."""
        return self.begins + timedelta(days=self.days) + _CUT_CLOCK

    def to_json(self) -> str:
        """Return the plan as JSON, with what follows from it (``days``, ``cut``)."""
        content: dict[str, Any] = {
            "synthetic": "synthetic patients; rates are inventions, not estimates",
            "generator": GENERATOR,
            "stays": self.stays,
            "seed": self.seed,
            "zone": self.zone,
            "start": self.start.isoformat(),
            "days": self.days,
            "begins": self.begins.isoformat(),
            "cut": self.cut.isoformat(),
            "cut_local": self.cut.astimezone(ZoneInfo(self.zone)).isoformat(),
        }
        if self.operations:
            content["operations"] = True
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a plan back.

        Raises
        ------
        BadInputError
            It is no plan, or one of another version of the generator.

        Examples
        --------
        >>> plan = Plan(stays=300, seed=7)
        >>> Plan.from_json(plan.to_json()) == plan
        True
        """
        try:
            content: dict[str, Any] = json.loads(text)
            plan = cls(
                stays=int(content["stays"]),
                seed=int(content["seed"]),
                zone=str(content["zone"]),
                start=date.fromisoformat(content["start"]),
                operations=bool(content.get("operations", False)),
            )
            generator = content["generator"]
        except (ValueError, KeyError, TypeError) as error:
            message = (
                f"plan: not a plan of a synthetic hospital; found {type(error).__name__}; "
                "make the hospital anew with neva synthesise"
            )
            raise BadInputError(message) from error
        if generator != GENERATOR:
            message = (
                f"plan: made by another version of the generator; found {generator}, this is "
                f"{GENERATOR}; make the hospital anew with neva synthesise"
            )
            raise BadInputError(message)
        return plan

    def microseconds(self) -> tuple[int, int]:
        """Return ``begins`` and ``cut`` in microseconds since 1970."""
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        micro = timedelta(microseconds=1)
        return (self.begins - epoch) // micro, (self.cut - epoch) // micro
