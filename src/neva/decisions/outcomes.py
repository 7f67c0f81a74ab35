"""What a rule warns of, and the outcome that it is assessed against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from neva.definitions.documents import Feature
from neva.errors import UsageError

__all__ = ["Outcome", "judged_by"]

#: Hours before an outcome that count where only its definition was given.
USUAL_HOURS: Final = 24.0


class Outcome(BaseModel):
    """What a rule warns of.

    Attributes
    ----------
    of : Feature
        A time: when it happened.
    within_hours : float or None
        A card is right if it happens within so many hours (the end included);
        None: at any time until the end of the stay.
    ends_with_stay : bool
        It cannot happen after the stay, as intensive care or death in hospital:
        a stay that is over decides. Otherwise, as for a return after the
        discharge, only the end of the hours does, whatever happened before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    of: Feature
    within_hours: float | None = Field(default=None, gt=0)
    ends_with_stay: bool = True

    @model_validator(mode="after")
    def _sound(self) -> Outcome:
        if self.of.value.type.name != "time":
            message = f"the outcome must be a time; found a {self.of.value.type}"
            raise ValueError(message)
        if self.within_hours is None and not self.ends_with_stay:
            message = "an outcome after the stay needs within_hours: nothing else ends the wait"
            raise ValueError(message)
        return self

    @property
    def title(self) -> str:
        """Its title, or its id."""
        return self.of.title or self.of.id

    @property
    def title_ru(self) -> str:
        """Its title in Russian, or the other one."""
        return self.of.title_ru or self.title


def judged_by(
    own: Mapping[tuple[str, str], Outcome | None], instead: Feature | Outcome | None
) -> dict[tuple[str, str], Outcome]:
    """Return the outcome that each rule is assessed against.

    Parameters
    ----------
    own : mapping
        What each rule (id and version) warns of itself.
    instead : Feature or Outcome, optional
        One outcome for all; a feature counts within 24 hours, until the end of
        the stay.

    Raises
    ------
    UsageError
        It is no time.
    """
    if instead is None:
        return {key: outcome for key, outcome in own.items() if outcome is not None}
    if isinstance(instead, Feature):
        if instead.value.type.name != "time":
            message = f"replay: the outcome must be a time; found a {instead.value.type}"
            raise UsageError(message)
        instead = Outcome(of=instead, within_hours=USUAL_HOURS)
    return dict.fromkeys(own, instead)
