"""Does a hospital model fit together? Every refusal says what, where, found, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from neva.errors import UsageError

if TYPE_CHECKING:
    from neva.flow.simulation.hospital_model import (
        Beds,
        Exit,
        HospitalModel,
        PatientClass,
        Unit,
    )

Thing = TypeVar("Thing")
Number = TypeVar("Number", int, float)
#: A unit, and where one came from.
_Place = tuple[str, str | None]

#: Where patients came from who are from no unit.
OUTSIDE = "outside"

#: Probabilities may be off one by what rounding to six digits leaves.
TOLERANCE = 1e-5
HOURS_OF_WEEK = 168
_WEEKS = (1, 24, HOURS_OF_WEEK)


def refuse(what: str, where: str, found: str, remedy: str) -> NoReturn:
    message = f"{where}: {what}; found {found}; {remedy}"
    raise UsageError(message)


def known(things: Mapping[str, Thing], name: str, word: str, where: str = "model") -> Thing:
    if name not in things:
        refuse(f"no such {word}", where, repr(name), f"give one of {', '.join(things) or 'none'}")
    return things[name]


def spread_over_week(values: Sequence[Number]) -> tuple[Number, ...]:
    """168 values of one, of 24 or of 168."""
    return tuple(values[hour % len(values)] for hour in range(HOURS_OF_WEEK))


def _check_week(values: Sequence[float], where: str) -> None:
    if len(values) not in _WEEKS:
        refuse("not a week", where, f"{len(values)} numbers", "give 1, 24 or 168 (from Monday 0 h)")
    bad = [value for value in values if not (isfinite(value) and value >= 0)]
    if bad:
        refuse("must not be negative", where, str(bad[0]), "give numbers of 0 or more")


def _check_span(first: float, last: float, where: str) -> None:
    if not first < last:
        refuse("ends before it begins", where, f"{first} to {last}", "give from_hour < until_hour")


def _check_share(value: float, where: str) -> None:
    if not 0 <= value <= 1:
        refuse("not a share", where, str(value), "give a number from 0 to 1")


def _check_sum(probabilities: Iterable[float], where: str) -> None:
    given = list(probabilities)
    for value in given:
        _check_share(value, where)
    total = sum(given)
    if abs(total - 1) > TOLERANCE:
        refuse("probabilities do not sum to one", where, f"{total:.6g}", "correct them")


def check_beds(beds: Beds) -> None:
    _check_week(beds.week, "beds")
    for change in beds.changes:
        _check_span(change.from_hour, change.until_hour, "beds: change")
        if change.beds is not None and change.beds < 0:
            refuse("must not be negative", "beds: change", str(change.beds), "give 0 or more")


def check_unit(unit: Unit) -> None:
    where = f"unit {unit.name}"
    if unit.when_full not in ("wait", "refuse", "divert") or unit.then not in ("wait", "refuse"):
        refuse(
            "no such rule",
            where,
            f"when_full={unit.when_full!r}, then={unit.then!r}",
            "give wait, refuse or divert (then: wait or refuse)",
        )
    if unit.when_full == "divert" and not unit.divert:
        refuse("diverts nowhere", where, "no units", "name the units to try, or let it wait")
    if unit.divert and unit.when_full != "divert":
        refuse("names units it does not divert to", where, unit.when_full, "set when_full='divert'")
    if unit.side_rooms < 0 or any(size < 1 for size in unit.bays):
        found = f"{unit.side_rooms} side rooms, bays {unit.bays}"
        refuse("rooms without beds", where, found, "give 0 or more side rooms, bays of 1 or more")
    if unit.beds is None and (unit.side_rooms or unit.bays):
        refuse("unlimited, and yet with rooms", where, "rooms", "give it beds, or no rooms")


def check_exit(exit_: Exit) -> None:
    for name, hours in (("hours", exit_.hours), ("past hours", exit_.past_hours)):
        if hours is None:
            continue
        bad = [value for value in hours if not (isfinite(value) and value >= 0)]
        if len(hours) != 24 or bad or sum(hours) <= 0:
            found = f"{len(hours)} weights, sum {sum(hours):.6g}"
            where = f"exit {exit_.name}: {name}"
            refuse("not a day", where, found, "give 24 weights of 0 or more, not all 0")


def check_class(each: PatientClass) -> None:
    where = f"class {each.name}"
    _check_sum((share for _, share in each.first), f"{where}: first units")
    _check_share(each.isolation, f"{where}: isolation")
    _check_share(each.female, f"{where}: female")
    if each.arrivals is not None:
        _check_week(each.arrivals.per_hour, f"{where}: arrivals")
        if not (isfinite(each.arrivals.dispersion) and each.arrivals.dispersion >= 0):
            found = str(each.arrivals.dispersion)
            refuse("dispersion must not be negative", f"{where}: arrivals", found, "give 0 or more")
        for surge in each.arrivals.surges:
            _check_span(surge.from_hour, surge.until_hour, f"{where}: surge")
            if not (isfinite(surge.factor) and surge.factor >= 0):
                refuse("not a factor", f"{where}: surge", str(surge.factor), "give 0 or more")
    if each.electives is not None:
        _check_week(each.electives.planned, f"{where}: electives")
        if each.electives.rebook_days is not None and each.electives.rebook_days < 1:
            found = str(each.electives.rebook_days)
            refuse("rebooked in no time", f"{where}: electives", found, "give 1 day or more")


def _check_names(names: Iterable[str], where: str) -> None:
    for name, count in Counter(names).items():
        if not name or count > 1:
            found = f"{name!r} {count} times"
            refuse("names must be there and differ", where, found, "give each its own")


def check_model(model: HospitalModel) -> None:
    _check_names([*(u.name for u in model.units), *(e.name for e in model.exits)], "units, exits")
    _check_names((each.name for each in model.classes), "classes")
    if model.deadlock not in ("swap", "refuse"):
        refuse("no such rule", "deadlock", repr(model.deadlock), "give swap or refuse")
    units = {unit.name: unit for unit in model.units}
    classes = {each.name: each for each in model.classes}
    for unit in model.units:
        for other in unit.divert:
            known(units, other, "unit", f"unit {unit.name}: divert")
            if other == unit.name:
                refuse("diverts to itself", f"unit {unit.name}", other, "name other units")
    for each in model.classes:
        for name, _ in each.first:
            known(units, name, "unit", f"class {each.name}: first units")
    for patient in model.initial:
        # A number in a list, not the patient's own times.
        where = "initial patients"
        known(classes, patient.patient_class, "class", where)
        known(units, patient.unit, "unit", where)
        if not (isfinite(patient.elapsed_hours) and patient.elapsed_hours >= 0):
            refuse("came after the start", where, "negative hours", "count back from the start")
    if not model.initial and not any(_comes(each) for each in model.classes):
        refuse(
            "nobody to simulate",
            "model",
            "no initial patients, and no arrivals at any hour",
            "give arrivals, electives or initial patients",
        )
    _check_routes(model)


def _comes(each: PatientClass) -> bool:
    return bool(
        (each.arrivals is not None and any(each.arrivals.per_hour))
        or (each.electives is not None and any(each.electives.planned))
    )


def _check_routes(model: HospitalModel) -> None:
    states = dict.fromkeys(model.states)
    units = {unit.name: unit for unit in model.units}
    classes = {each.name: each for each in model.classes}
    nexts: dict[tuple[str, str, str | None], list[str]] = {}
    for route in model.routes:
        where = f"route of {route.patient_class} in {route.unit}"
        known(classes, route.patient_class, "class", where)
        known(units, route.unit, "unit", where)
        if route.came_from not in (None, OUTSIDE):
            known(units, route.came_from, "unit", where)
        key = route.patient_class, route.unit, route.came_from
        if key in nexts:
            refuse("stands twice", where, "two routes", "join them")
        for each in route.nexts:
            known(states, each.to, "unit or exit", where)
            if each.to == route.unit:
                remedy = "make one stay of it"
                refuse("leads back into its own unit", where, each.to, remedy)
        _check_sum((each.probability for each in route.nexts), where)
        nexts[key] = [each.to for each in route.nexts if each.probability > 0]
    for patient in model.initial:
        if patient.came_from not in (None, OUTSIDE):
            known(units, patient.came_from, "unit", "initial patient")
    for group in model.classes:
        _check_reached(group, model, units, nexts)


def _check_reached(
    each: PatientClass,
    model: HospitalModel,
    units: dict[str, Any],
    nexts: dict[tuple[str, str, str | None], list[str]],
) -> None:
    """Every unit that a class can come to has a route, and leads out in the end."""
    begins: list[_Place] = [(name, OUTSIDE) for name, share in each.first if share > 0]
    begins += [(p.unit, p.came_from) for p in model.initial if p.patient_class == each.name]
    leads_to: dict[_Place, list[_Place]] = {}
    exits: set[_Place] = {(exit_.name, None) for exit_ in model.exits}
    open_ = list(dict.fromkeys(begins))
    while open_:
        place = open_.pop()
        if place in leads_to:
            continue
        unit, came = place
        following = nexts.get((each.name, unit, came), nexts.get((each.name, unit, None)))
        if following is None:
            refuse(
                "no route",
                f"class {each.name}",
                f"unit {unit}, which it can come to",
                "say where it goes from there and after how long",
            )
        leads_to[place] = [(name, unit if name in units else None) for name in following]
        open_ += [to for to in leads_to[place] if to[0] in units]
        # Who is diverted from here begins elsewhere.
        open_ += [(other, came) for other in units[unit].divert]
    leaves = exits
    grown = True
    while grown:
        more = {u for u, to in leads_to.items() if u not in leaves and leaves & set(to)}
        grown = bool(more)
        leaves |= more
    if stuck := sorted({unit for unit, _ in set(leads_to) - leaves}):
        refuse(
            "a unit is never left",
            f"class {each.name}",
            ", ".join(stuck),
            "give its routes a way to an exit",
        )
