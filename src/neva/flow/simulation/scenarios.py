"""Scenarios: a file lists changes, which turn one hospital to simulate into another.

    name: ten beds more, and a shorter stay
    changes:
      - beds: {unit: medical-1, add: 10}
      - stay: {times: 0.9, class: unscheduled}

Days and hours count from the start of the simulation, as midnight of its first
day or not: ``from_day: 0`` is the start itself.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neva.errors import BadInputError, UsageError
from neva.flow.simulation.hospital_model import Beds, Exit, HospitalModel, Next, Unit

__all__ = ["Scenario", "apply_scenario", "check_units", "read_scenario", "scenario_of"]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


class _Period(_Strict):
    from_day: float = Field(default=0.0, ge=0)
    days: float | None = Field(default=None, gt=0)

    @property
    def hours(self) -> tuple[float, float]:
        """From and until, in hours since the start; until may be infinite."""
        begin = 24 * self.from_day
        return begin, inf if self.days is None else begin + 24 * self.days


class BedsChange(_Period):
    """More or fewer staffed beds, always or at some hours of the day."""

    unit: str
    add: int | None = None
    set: int | None = Field(default=None, ge=0)
    hours_of_day: str | None = Field(default=None, pattern=r"^\d{1,2}-\d{1,2}$")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.add is None) == (self.set is None):
            raise ValueError("give either add or set")
        if self.hours_of_day is not None and (self.set is not None or self.days or self.from_day):
            raise ValueError("hours_of_day goes with add, and with no period")
        if self.hours_of_day is not None and max(map(int, self.hours_of_day.split("-"))) > 24:
            raise ValueError("hours_of_day are from 0 to 24")
        return self

    def on(self, model: HospitalModel) -> HospitalModel:
        """Return the model with this change."""
        unit = _with_beds(model, self.unit)
        assert unit.beds is not None
        begin, until = self.hours
        if self.hours_of_day is not None:
            first, last = (int(part) % 24 for part in self.hours_of_day.split("-"))
            hours = [h for h in range(24) if (h - first) % 24 < ((last - first) % 24 or 24)]
            beds = unit.beds.plus_at(self.add or 0, hours)
        elif self.add is not None:
            beds = unit.beds.plus(self.add, from_hour=begin, until_hour=until)
        elif (begin, until) == (0.0, inf):
            beds = Beds.always(self.set or 0)
        else:
            closed = unit.beds.closed(from_hour=begin, until_hour=until)
            beds = closed.plus(self.set or 0, from_hour=begin, until_hour=until)
        return model.with_unit(self.unit, beds=beds)


class CloseChange(_Period):
    """A unit is closed to admissions; its patients stay until they leave."""

    unit: str
    to: list[str] = Field(default_factory=list)

    def on(self, model: HospitalModel) -> HospitalModel:
        """Return the model with this change."""
        unit = _with_beds(model, self.unit)
        assert unit.beds is not None
        for other in self.to:
            model.unit(other)
        begin, until = self.hours
        beds = unit.beds.closed(from_hour=begin, until_hour=until)
        rule: dict[str, Any] = {"beds": beds}
        if self.to:
            rule |= {"when_full": "divert", "divert": tuple(self.to)}
        elif unit.when_full == "wait" and self.days is None:
            raise UsageError(
                f"close {self.unit}: its patients would wait for ever; found no unit to go to; "
                "give to: [another unit]"
            )
        return model.with_unit(self.unit, **rule)


class ArrivalsChange(_Period):
    """More or fewer arrivals."""

    times: float = Field(ge=0)
    patient_class: str | None = Field(default=None, alias="class")

    def on(self, model: HospitalModel) -> HospitalModel:
        """Return the model with this change."""
        begin, until = self.hours
        names = [self.patient_class] if self.patient_class else [c.name for c in model.classes]
        if self.patient_class is None and all(c.arrivals is None for c in model.classes):
            raise UsageError(
                "arrivals: no unplanned arrivals; found no class with arrivals; use electives"
            )
        for name in names:
            each = model.patient_class(name)
            if each.arrivals is not None:
                model = model.with_class(
                    name, arrivals=each.arrivals.during(self.times, begin, until)
                )
            elif self.patient_class is not None and each.electives is not None:
                raise UsageError(
                    f"arrivals of {name}: they are planned; found a change of unplanned arrivals; "
                    "use electives"
                )
        return model


class ElectivesChange(_Strict):
    """More or fewer planned arrivals, in every week."""

    times: float = Field(ge=0)
    patient_class: str | None = Field(default=None, alias="class")

    def on(self, model: HospitalModel) -> HospitalModel:
        """Return the model with this change."""
        planned = [c.name for c in model.classes if c.electives is not None]
        if not planned:
            raise UsageError(
                "electives: no planned arrivals; found no class with electives; use arrivals"
            )
        names = [self.patient_class] if self.patient_class else planned
        for name in names:
            electives = model.patient_class(name).electives
            if electives is None:
                raise UsageError(
                    f"electives of {name}: they are not planned; found unplanned arrivals only; "
                    "use arrivals"
                )
            week = tuple(self.times * x for x in electives.planned)
            model = model.with_class(name, electives=replace(electives, planned=week))
        return model


class StayChange(_Strict):
    """Shorter or longer stays."""

    times: float = Field(gt=0)
    unit: str | None = None
    patient_class: str | None = Field(default=None, alias="class")

    def on(self, model: HospitalModel) -> HospitalModel:
        """Return the model with this change."""

        def shorter(one: Next) -> Next:
            return replace(one, stay=one.stay.times(self.times))

        return model.with_route(shorter, unit=self.unit, patient_class=self.patient_class)


class DischargeChange(_Strict):
    """Patients who leave after a day or more leave before an hour of the day.

    The weights of later hours are moved, in proportion, to the hours from
    `not_before` until then; `share` of them.
    """

    before: int = Field(ge=1, le=23)
    not_before: int = Field(default=7, ge=0, le=22)
    share: float = Field(default=1.0, gt=0, le=1)
    exit: str = "discharged"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.not_before >= self.before:
            raise ValueError("not_before must be earlier than before")
        return self

    def on(self, model: HospitalModel) -> HospitalModel:
        """Return the model with this change."""
        known = {one.name: one for one in model.exits}
        found = known.get(self.exit)
        if found is None or found.hours is None:
            timed = [name for name, one in known.items() if one.hours is not None]
            raise UsageError(
                f"discharge: no such exit with hours; found {self.exit!r}; "
                f"give one of {', '.join(timed) or 'none'}"
            )
        past = found.past_hours or found.hours
        return model.with_exit(self.exit, hours=self._earlier(found), past_hours=past)

    def _earlier(self, one: Exit) -> tuple[float, ...]:
        assert one.hours is not None
        hours = list(one.hours)
        moved = 0.0
        for hour in range(24):
            if not self.not_before <= hour < self.before:
                moved += hours[hour] * self.share
                hours[hour] *= 1 - self.share
        inside = range(self.not_before, self.before)
        weight = sum(hours[hour] for hour in inside)
        for hour in inside:
            part = hours[hour] / weight if weight > 0 else 1 / len(inside)
            hours[hour] += moved * part
        return tuple(hours)


class FullChange(_Strict):
    """What happens when a unit is full."""

    unit: str
    then: Literal["wait", "refuse", "divert"]
    to: list[str] = Field(default_factory=list)

    def on(self, model: HospitalModel) -> HospitalModel:
        """Return the model with this change."""
        return model.with_unit(self.unit, when_full=self.then, divert=tuple(self.to))


class RoomsChange(_Strict):
    """Side rooms and single-sex bays, as parts of a unit's beds."""

    unit: str
    side_rooms: int = Field(default=0, ge=0)
    bays: list[int] = Field(default_factory=list)
    only_for_isolation: bool = False

    def on(self, model: HospitalModel) -> HospitalModel:
        """Return the model with this change."""
        return model.with_unit(
            self.unit,
            side_rooms=self.side_rooms,
            bays=tuple(self.bays),
            side_rooms_for_isolation_only=self.only_for_isolation,
        )


class IsolationChange(_Strict):
    """The share of patients who need a side room."""

    share: float = Field(ge=0, le=1)
    patient_class: str | None = Field(default=None, alias="class")

    def on(self, model: HospitalModel) -> HospitalModel:
        """Return the model with this change."""
        names = [self.patient_class] if self.patient_class else [c.name for c in model.classes]
        for name in names:
            model = model.with_class(name, isolation=self.share)
        return model


class Change(_Strict):
    """One change; exactly one of its fields is given."""

    beds: BedsChange | None = None
    close: CloseChange | None = None
    arrivals: ArrivalsChange | None = None
    electives: ElectivesChange | None = None
    stay: StayChange | None = None
    discharge: DischargeChange | None = None
    full: FullChange | None = None
    rooms: RoomsChange | None = None
    isolation: IsolationChange | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"one change each; found {', '.join(given) or 'none'}")
        return self

    def on(self, model: HospitalModel) -> HospitalModel:
        """Return the model with this change."""
        for name in type(self).model_fields:
            part = getattr(self, name)
            if part is not None:
                changed: HospitalModel = part.on(model)
                return changed
        return model


class Scenario(_Strict):
    """A named list of changes.

    Attributes
    ----------
    name : str
        Shown in tables.
    about : str
        A note for later readers.
    changes : tuple of Change
        Applied in order.
    """

    name: Annotated[str, Field(min_length=1, max_length=60)]
    about: str = ""
    changes: tuple[Change, ...] = ()

    def to_json(self) -> str:
        """Return the scenario as JSON that :meth:`from_json` reads back equal."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True)

    @property
    def units(self) -> tuple[str, ...]:
        """Units that its changes name, each once, in their order."""
        parts = [getattr(one, name) for one in self.changes for name in type(one).model_fields]
        named = [
            unit
            for part in parts
            if part is not None
            for unit in (getattr(part, "unit", None), *getattr(part, "to", ()))
        ]
        return tuple(dict.fromkeys(unit for unit in named if unit is not None))

    @classmethod
    def from_json(cls, text: str) -> Scenario:
        """Read a scenario back.

        Raises
        ------
        BadInputError
            The text is no JSON, or says something that no scenario can.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            message = f"scenario: not JSON; found an error in line {error.lineno}; correct it"
            raise BadInputError(message) from error
        return _scenario_of_content(content, "scenario")


def read_scenario(file: Path) -> Scenario:
    """Read a scenario from a YAML file.

    Raises
    ------
    BadInputError
        The file is absent, is no YAML, or says something that no scenario can.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file}: cannot be read; found {type(error).__name__}; give a YAML file"
        raise BadInputError(message) from error
    return scenario_of(text, where=str(file))


def scenario_of(text: str, *, where: str = "scenario") -> Scenario:
    """Read a scenario from YAML text, without aliases (they let a short text stand for a huge one).

    Raises
    ------
    BadInputError
        It is no YAML, or says something that no scenario can.
    """
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            message = f"{where}: an alias (*name); found one; write out what it stands for"
            raise BadInputError(message)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark is not None else "a syntax error"
        message = f"{where}: not YAML; found an error in {line}; correct it"
        raise BadInputError(message) from error
    except ValueError as error:
        # A day such as 2024-02-30 is read as a date, and is none.
        message = f"{where}: not YAML; found a date that is none; put it into quotation marks"
        raise BadInputError(message) from error
    return _scenario_of_content(content, where)


def _scenario_of_content(content: Any, where: str) -> Scenario:
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_problem_text(one) for one in error.errors()[:3])
        message = f"{where}: not a scenario; found {problems}; see docs/flow-simulation.md"
        raise BadInputError(message) from error


def _problem_text(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"]) or "the file"
    return f"{place}: {error['msg'].removeprefix('Value error, ')}"


def check_units(scenario: Scenario, titles: Mapping[str, str]) -> None:
    """Refuse a scenario that names a unit which the hospital does not have, before it is run.

    Parameters
    ----------
    scenario : Scenario
    titles : mapping of str to str
        Names of the hospital's units, by unit.

    Raises
    ------
    BadInputError
        It names another one; the message proposes those that are written, or called, alike.
    """
    for unit in scenario.units:
        if unit in titles:
            continue
        written = {**{one: one for one in titles}, **{title: one for one, title in titles.items()}}
        lowered = {text.casefold(): one for text, one in written.items()}
        alike = difflib.get_close_matches(unit.casefold(), lowered, n=3)
        near = dict.fromkeys(lowered[text] for text in alike)
        advice = f"did you mean {' or '.join(near)}?" if near else f"give one of {_some(titles)}"
        message = f"scenario: no such unit; found {unit[:60]!r}; {advice}"
        raise BadInputError(message)


def _some(names: Iterable[str]) -> str:
    known = sorted(names)
    return ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")


def apply_scenario(scenario: Scenario, model: HospitalModel) -> HospitalModel:
    """Return the hospital that a scenario makes of another.

    Raises
    ------
    UsageError
        A change names a unit, class or exit that is not there, or makes a
        hospital that cannot be; the message says which change.
    """
    for number, change in enumerate(scenario.changes, start=1):
        try:
            model = change.on(model)
        except UsageError as error:
            message = f"scenario {scenario.name!r}, change {number}: {error}"
            raise UsageError(message) from error
    return model


def _with_beds(model: HospitalModel, name: str) -> Unit:
    unit = model.unit(name)
    if unit.beds is None:
        known = [one.name for one in model.units if one.beds is not None]
        raise UsageError(
            f"beds of {name}: it has none; found a unit that takes as many as come; "
            f"give one of {', '.join(known) or 'none'}"
        )
    return unit
