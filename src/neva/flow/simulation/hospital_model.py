"""What a simulation simulates: units, beds, classes of patients, routes, those present.

A :class:`HospitalModel` is data: frozen, checked when it is made, without any
access to a hospital. A scenario is another model, made of this one by
:meth:`HospitalModel.with_unit`, :meth:`HospitalModel.with_class`,
:meth:`HospitalModel.with_route` and :func:`dataclasses.replace`.

Times are hours since the start of the simulation. A week of a schedule has
168 hours and begins on Monday at midnight, by the hospital's clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import Any, Literal

from neva.flow.simulation._model_checks import (
    OUTSIDE,
    InitialValues,
    RouteValues,
    check_arrivals,
    check_beds,
    check_class,
    check_electives,
    check_exit,
    check_full,
    check_model,
    check_rooms,
    known,
    spread_over_week,
)
from neva.flow.stays.stay_length import StayLength

__all__ = [
    "OUTSIDE",
    "BedChange",
    "Beds",
    "Electives",
    "Exit",
    "HospitalModel",
    "Incoming",
    "InitialPatient",
    "Next",
    "PatientClass",
    "Route",
    "Surge",
    "Unit",
]


@dataclass(frozen=True, slots=True)
class BedChange:
    """A change of staffed beds in ``[from_hour, until_hour)``.

    Attributes
    ----------
    from_hour, until_hour : float
        Hours since the start of the simulation.
    add : int
        Beds more (or, negative, fewer) than the week says; never below none.
    beds : int or None
        So many beds, whatever the week says. `add` counts on top of it.
    """

    from_hour: float = 0.0
    until_hour: float = inf
    add: int = 0
    beds: int | None = None


@dataclass(frozen=True, slots=True)
class Beds:
    """Staffed beds over time.

    Attributes
    ----------
    week : tuple of int
        One number, 24 (hours of every day) or 168 (hours of the week from
        Monday midnight).
    changes : tuple of BedChange
        Applied in order: of several `beds` the last counts, every `add` counts.
    """

    week: tuple[int, ...]
    changes: tuple[BedChange, ...] = ()

    def __post_init__(self) -> None:
        check_beds(self.week, [(one.from_hour, one.until_hour, one.beds) for one in self.changes])

    @classmethod
    def always(cls, beds: int) -> Beds:
        """Return the same number of beds at all hours."""
        return cls((beds,))

    def plus(self, beds: int, *, from_hour: float = 0.0, until_hour: float = inf) -> Beds:
        """Return a schedule with so many beds more (negative: fewer) for a time."""
        return replace(self, changes=(*self.changes, BedChange(from_hour, until_hour, add=beds)))

    def closed(self, *, from_hour: float = 0.0, until_hour: float = inf) -> Beds:
        """Return a schedule without beds for a time. Those present are not put out.

        Beds added before are closed too; those added later stand.
        """
        kept = [part for one in self.changes for part in _outside(one, from_hour, until_hour)]
        return replace(self, changes=(*kept, BedChange(from_hour, until_hour, beds=0)))

    def plus_at(self, beds: int, hours_of_day: Sequence[int]) -> Beds:
        """Return a schedule with so many beds more at some hours of every day (0 to 23)."""
        week = spread_over_week(self.week)
        changed = (count + (beds if h % 24 in hours_of_day else 0) for h, count in enumerate(week))
        return replace(self, week=tuple(max(0, count) for count in changed))


def _outside(change: BedChange, first: float, last: float) -> list[BedChange]:
    """What remains of a change outside of ``[first, last)``."""
    spans = (
        (change.from_hour, min(change.until_hour, first)),
        (max(change.from_hour, last), change.until_hour),
    )
    return [replace(change, from_hour=begin, until_hour=end) for begin, end in spans if begin < end]


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit with its beds.

    Attributes
    ----------
    name, kind, parent
        ``kind`` is ``ward``, ``ed``, ``icu``, …; boarding is reported for all.
    beds : Beds or None
        None: as many as are needed (a waiting room).
    when_full : {"wait", "refuse", "divert"}
        What happens to a patient who needs a bed here and finds none. ``wait``:
        outside in a queue, or, coming from another unit, in the bed there
        (blocked). ``refuse``: arrivals from outside are lost and counted;
        a patient in a bed is never put out, and waits there. ``divert``: the
        units of `divert` are tried in order, then comes `then`.
    divert : tuple of str
    then : {"wait", "refuse"}
    bays : tuple of int
        Beds of each single-sex bay: at any time all in it are of one sex.
    side_rooms : int
        Single rooms. Where a unit has any, who needs isolation takes only
        these; where it has none, isolation is not considered.
    side_rooms_for_isolation_only : bool
        False: others take a side room when nothing else is free.

    Notes
    -----
    Beds that are in neither bays nor side rooms (as many as the schedule ever
    reaches) take anybody. The schedule bounds the patients of the whole unit.
    Patients are not moved between the beds of a unit.
    """

    name: str
    beds: Beds | None
    kind: str = "ward"
    parent: str | None = None
    when_full: Literal["wait", "refuse", "divert"] = "wait"
    divert: tuple[str, ...] = ()
    then: Literal["wait", "refuse"] = "wait"
    bays: tuple[int, ...] = ()
    side_rooms: int = 0
    side_rooms_for_isolation_only: bool = False

    def __post_init__(self) -> None:
        check_full(self.name, self.when_full, self.then, self.divert)
        check_rooms(self.name, self.side_rooms, self.bays, is_limited=self.beds is not None)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a case ends.

    Attributes
    ----------
    name : str
        ``discharged``, ``died``, ``left``.
    hours : tuple of float or None
        24 weights: the patient whose stay is over leaves at the next time of
        day drawn from them (uniform within the hour), and keeps the bed until
        then. None: at once.
    past_hours : tuple of float or None
        24 weights that held until the start, where `hours` are others: of
        those there at the start, some are ready by them. None: `hours`.
    """

    name: str
    hours: tuple[float, ...] | None = None
    past_hours: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_exit(self.name, self.hours, self.past_hours)


@dataclass(frozen=True, slots=True)
class Surge:
    """Arrivals times `factor` in ``[from_hour, until_hour)``, hours since the start."""

    factor: float
    from_hour: float = 0.0
    until_hour: float = inf


@dataclass(frozen=True, slots=True)
class Incoming:
    """Unplanned arrivals: a Poisson process, or with `dispersion` a mixed one.

    Attributes
    ----------
    per_hour : tuple of float
        Expected arrivals per hour: one number, 24 or 168.
    surges : tuple of Surge
        Their factors multiply.
    dispersion : float
        Variance of a gamma factor of mean 1, drawn for each day: the variance
        of a day's count is ``mean + dispersion * mean**2``.
    """

    per_hour: tuple[float, ...]
    surges: tuple[Surge, ...] = ()
    dispersion: float = 0.0

    def during(self, factor: float, from_hour: float = 0.0, until_hour: float = inf) -> Incoming:
        """Return arrivals with one surge more."""
        return replace(self, surges=(*self.surges, Surge(factor, from_hour, until_hour)))


@dataclass(frozen=True, slots=True)
class Electives:
    """Planned arrivals.

    Attributes
    ----------
    planned : tuple of float
        Per hour: one number, 24 or 168. The whole part comes every week, the
        fraction with that probability; those of an hour come evenly spaced.
        Who finds no bed at that time is cancelled.
    rebook_days : int or None
        The cancelled come again so many times 24 hours later, until they find
        a bed. None: they do not.
    """

    planned: tuple[float, ...]
    rebook_days: int | None = None


@dataclass(frozen=True, slots=True)
class PatientClass:
    """A class of patients.

    Attributes
    ----------
    name : str
    first : tuple of (str, float)
        Units in which they begin, with probabilities.
    arrivals : Incoming or None
    electives : Electives or None
    priority : int
        Lower comes first; within a priority, the longest wait.
    isolation : float
        Share that needs a side room.
    female : float
        Share of women.
    """

    name: str
    first: tuple[tuple[str, float], ...]
    arrivals: Incoming | None = None
    electives: Electives | None = None
    priority: int = 0
    isolation: float = 0.0
    female: float = 0.5

    def __post_init__(self) -> None:
        check_class(self.name, self.first, self.isolation, self.female)
        if self.arrivals is not None:
            surges = [(one.from_hour, one.until_hour, one.factor) for one in self.arrivals.surges]
            check_arrivals(self.name, self.arrivals.per_hour, self.arrivals.dispersion, surges)
        if self.electives is not None:
            check_electives(self.name, self.electives.planned, self.electives.rebook_days)

    @property
    def comes(self) -> bool:
        """Whether any patient of the class arrives at any hour."""
        return bool(
            (self.arrivals is not None and any(self.arrivals.per_hour))
            or (self.electives is not None and any(self.electives.planned))
        )


@dataclass(frozen=True, slots=True)
class Next:
    """Where a patient goes after a unit: a unit or an exit, with what probability, after how long.

    The length of stay may depend on where it leads (deaths come sooner).
    """

    to: str
    probability: float
    stay: StayLength


@dataclass(frozen=True, slots=True)
class Route:
    """What happens to a class of patients in a unit; probabilities sum to one.

    Attributes
    ----------
    patient_class, unit : str
    nexts : tuple of Next
    came_from : str or None
        Only of those who came from this unit, or from :data:`OUTSIDE`: after
        an operation a ward is another than before it. None: of all others.
    """

    patient_class: str
    unit: str
    nexts: tuple[Next, ...]
    came_from: str | None = None


@dataclass(frozen=True, slots=True)
class InitialPatient:
    """A patient who is in a unit when the simulation starts.

    Attributes
    ----------
    patient_class, unit : str
    elapsed_hours : float
        Time since they came to the unit. Their next state and the rest of
        their stay are drawn given that they are there after it: not yet ready,
        or ready and waiting for the hour at which they leave.
    is_female, is_isolated : bool or None
        None: drawn by the shares of the class.
    came_from : str or None
        The unit before, or :data:`OUTSIDE`; None: not known.
    """

    patient_class: str
    unit: str
    elapsed_hours: float
    is_female: bool | None = None
    is_isolated: bool | None = None
    came_from: str | None = None


@dataclass(frozen=True)
class HospitalModel:
    """A hospital to simulate.

    Attributes
    ----------
    units : tuple of Unit
    exits : tuple of Exit
    classes : tuple of PatientClass
    routes : tuple of Route
        One for each unit that a class can come to, and perhaps others for those
        who came from some unit.
    initial : tuple of InitialPatient
        Who is there at the start. They may be more than the staffed beds.
    deadlock : {"swap", "refuse"}
        A cycle of patients who each wait for the bed of the next: ``swap``
        moves them all at once and counts it; ``refuse`` ends the simulation
        with an error that names the units.

    Raises
    ------
    neva.errors.UsageError
        Something does not fit together: a unit that nobody named, probabilities
        that do not sum to one, a unit that is never left, nobody to simulate.

    Examples
    --------
    >>> ward = Unit("ward", Beds.always(20), when_full="refuse")
    >>> model = HospitalModel(
    ...     units=(ward,),
    ...     exits=(Exit("discharged"),),
    ...     classes=(PatientClass("all", first=(("ward", 1.0),), arrivals=Incoming((0.2,))),),
    ...     routes=(Route("all", "ward", (Next("discharged", 1.0, StayLength.exponential(72)),)),),
    ... )
    >>> more = model.with_unit("ward", beds=ward.beds.plus(10))
    >>> more.unit("ward").beds.changes[0].add
    10
    """

    units: tuple[Unit, ...]
    exits: tuple[Exit, ...]
    classes: tuple[PatientClass, ...]
    routes: tuple[Route, ...]
    initial: tuple[InitialPatient, ...] = ()
    deadlock: Literal["swap", "refuse"] = "swap"

    def __post_init__(self) -> None:
        check_model(
            units=[(unit.name, unit.divert) for unit in self.units],
            exits=[exit_.name for exit_ in self.exits],
            classes=[(each.name, each.first) for each in self.classes],
            routes=[
                RouteValues(
                    one.patient_class,
                    one.unit,
                    one.came_from,
                    [(each.to, each.probability) for each in one.nexts],
                )
                for one in self.routes
            ],
            initial=[
                InitialValues(one.patient_class, one.unit, one.came_from, one.elapsed_hours)
                for one in self.initial
            ],
            deadlock=self.deadlock,
            anybody_comes=any(each.comes for each in self.classes),
        )

    @cached_property
    def states(self) -> tuple[str, ...]:
        """Names of units, then of exits."""
        return (*(unit.name for unit in self.units), *(exit_.name for exit_ in self.exits))

    def unit(self, name: str) -> Unit:
        """Return a unit by its name."""
        return known({unit.name: unit for unit in self.units}, name, "unit")

    def patient_class(self, name: str) -> PatientClass:
        """Return a class of patients by its name."""
        return known({each.name: each for each in self.classes}, name, "class")

    def with_unit(self, name: str, **changes: Any) -> HospitalModel:
        """Return the model with some fields of one unit changed."""
        new = replace(self.unit(name), **changes)
        return replace(self, units=tuple(new if u.name == name else u for u in self.units))

    def with_class(self, name: str, **changes: Any) -> HospitalModel:
        """Return the model with some fields of one class of patients changed."""
        new = replace(self.patient_class(name), **changes)
        return replace(self, classes=tuple(new if c.name == name else c for c in self.classes))

    def with_exit(self, name: str, **changes: Any) -> HospitalModel:
        """Return the model with some fields of one exit changed (its hours)."""
        new = replace(known({each.name: each for each in self.exits}, name, "exit"), **changes)
        return replace(self, exits=tuple(new if e.name == name else e for e in self.exits))

    def with_route(
        self,
        change: Callable[[Next], Next],
        *,
        unit: str | None = None,
        patient_class: str | None = None,
    ) -> HospitalModel:
        """Return the model with what comes next changed, of some units and classes.

        Parameters
        ----------
        change : callable
            Gets each :class:`Next` and returns its replacement.
        unit, patient_class : str, optional
            Only there; only of them. By default everywhere, of all.

        Examples
        --------
        A treatment shortens stays by a tenth::

            model.with_route(lambda n: replace(n, stay=n.stay.times(0.9)), patient_class="covid")
        """
        if unit is not None:
            self.unit(unit)
        if patient_class is not None:
            self.patient_class(patient_class)
        return replace(
            self,
            routes=tuple(
                replace(route, nexts=tuple(change(each) for each in route.nexts))
                if unit in (None, route.unit) and patient_class in (None, route.patient_class)
                else route
                for route in self.routes
            ),
        )
