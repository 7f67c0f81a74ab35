"""Does a hospital model fit together? Every refusal says what, where, found, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import NamedTuple, NoReturn, TypeVar

from neva.errors import UsageError

Thing = TypeVar("Thing")
Number = TypeVar("Number", int, float)
#: A unit, and where one came from.
_Place = tuple[str, str | None]
#: Names with probabilities.
_Shares = Sequence[tuple[str, float]]

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


def check_beds(week: Sequence[int], changes: Iterable[tuple[float, float, int | None]]) -> None:
    """Check a schedule of beds; a change is from when, until when, and how many, if it says so."""
    _check_week(week, "beds")
    for from_hour, until_hour, beds in changes:
        _check_span(from_hour, until_hour, "beds: change")
        if beds is not None and beds < 0:
            refuse("must not be negative", "beds: change", str(beds), "give 0 or more")


def check_full(name: str, when_full: str, then: str, divert: Sequence[str]) -> None:
    """Check what happens to patients who find a unit full."""
    where = f"unit {name}"
    if when_full not in ("wait", "refuse", "divert") or then not in ("wait", "refuse"):
        refuse(
            "no such rule",
            where,
            f"when_full={when_full!r}, then={then!r}",
            "give wait, refuse or divert (then: wait or refuse)",
        )
    if when_full == "divert" and not divert:
        refuse("diverts nowhere", where, "no units", "name the units to try, or let it wait")
    if divert and when_full != "divert":
        refuse("names units it does not divert to", where, when_full, "set when_full='divert'")


def check_rooms(name: str, side_rooms: int, bays: Sequence[int], *, is_limited: bool) -> None:
    """Check the rooms of a unit, whose beds are limited or as many as are needed."""
    where = f"unit {name}"
    if side_rooms < 0 or any(size < 1 for size in bays):
        found = f"{side_rooms} side rooms, bays {bays}"
        refuse("rooms without beds", where, found, "give 0 or more side rooms, bays of 1 or more")
    if not is_limited and (side_rooms or bays):
        refuse("unlimited, and yet with rooms", where, "rooms", "give it beds, or no rooms")


def check_exit(
    name: str, hours: Sequence[float] | None, past_hours: Sequence[float] | None
) -> None:
    """Check the hours of the day at which an exit is taken."""
    for word, weights in (("hours", hours), ("past hours", past_hours)):
        if weights is None:
            continue
        bad = [value for value in weights if not (isfinite(value) and value >= 0)]
        if len(weights) != 24 or bad or sum(weights) <= 0:
            found = f"{len(weights)} weights, sum {sum(weights):.6g}"
            where = f"exit {name}: {word}"
            refuse("not a day", where, found, "give 24 weights of 0 or more, not all 0")


def check_class(name: str, first: _Shares, isolation: float, female: float) -> None:
    """Check where a class of patients begins, and its shares."""
    where = f"class {name}"
    _check_sum((share for _, share in first), f"{where}: first units")
    _check_share(isolation, f"{where}: isolation")
    _check_share(female, f"{where}: female")


def check_arrivals(
    name: str,
    per_hour: Sequence[float],
    dispersion: float,
    surges: Iterable[tuple[float, float, float]],
) -> None:
    """Check the arrivals of a class; a surge is from when, until when, and its factor."""
    where = f"class {name}"
    _check_week(per_hour, f"{where}: arrivals")
    if not (isfinite(dispersion) and dispersion >= 0):
        found = str(dispersion)
        refuse("dispersion must not be negative", f"{where}: arrivals", found, "give 0 or more")
    for from_hour, until_hour, factor in surges:
        _check_span(from_hour, until_hour, f"{where}: surge")
        if not (isfinite(factor) and factor >= 0):
            refuse("not a factor", f"{where}: surge", str(factor), "give 0 or more")


def check_electives(name: str, planned: Sequence[float], rebook_days: int | None) -> None:
    """Check the planned arrivals of a class."""
    where = f"class {name}: electives"
    _check_week(planned, where)
    if rebook_days is not None and rebook_days < 1:
        refuse("rebooked in no time", where, str(rebook_days), "give 1 day or more")


def _check_names(names: Iterable[str], where: str) -> None:
    for name, count in Counter(names).items():
        if not name or count > 1:
            found = f"{name!r} {count} times"
            refuse("names must be there and differ", where, found, "give each its own")


class RouteValues(NamedTuple):
    """A route in plain values; `nexts` are names with probabilities."""

    patient_class: str
    unit: str
    came_from: str | None
    nexts: _Shares


class InitialValues(NamedTuple):
    """A patient who is there at the start, in plain values."""

    patient_class: str
    unit: str
    came_from: str | None
    elapsed_hours: float


def check_model(
    *,
    units: Sequence[tuple[str, Sequence[str]]],
    exits: Sequence[str],
    classes: Sequence[tuple[str, _Shares]],
    routes: Sequence[RouteValues],
    initial: Sequence[InitialValues],
    deadlock: str,
    anybody_comes: bool,
) -> None:
    """Check that the parts of a model fit together.

    Parameters
    ----------
    units
        Names, each with the units that it diverts to.
    exits
        Names.
    classes
        Names, each with the units where it begins and their shares.
    routes
        What follows a unit.
    initial
        Who is there at the start.
    deadlock : str
    anybody_comes : bool
        Whether patients arrive at any hour.
    """
    _check_names([*(name for name, _ in units), *exits], "units, exits")
    _check_names((name for name, _ in classes), "classes")
    if deadlock not in ("swap", "refuse"):
        refuse("no such rule", "deadlock", repr(deadlock), "give swap or refuse")
    diverts = dict(units)
    firsts = dict(classes)
    for name, others in units:
        for other in others:
            known(diverts, other, "unit", f"unit {name}: divert")
            if other == name:
                refuse("diverts to itself", f"unit {name}", other, "name other units")
    for name, first in classes:
        for unit, _ in first:
            known(diverts, unit, "unit", f"class {name}: first units")
    for patient in initial:
        _check_initial(patient, diverts, firsts)
    if not initial and not anybody_comes:
        refuse(
            "nobody to simulate",
            "model",
            "no initial patients, and no arrivals at any hour",
            "give arrivals, electives or initial patients",
        )
    nexts = _checked_nexts(routes, diverts, exits, firsts)
    for patient in initial:
        if patient.came_from not in (None, OUTSIDE):
            known(diverts, patient.came_from, "unit", "initial patient")
    for name, first in classes:
        begins: list[_Place] = [(unit, OUTSIDE) for unit, share in first if share > 0]
        begins += [(one.unit, one.came_from) for one in initial if one.patient_class == name]
        _check_reached(name, begins, exits, diverts, nexts)


def _check_initial(
    patient: InitialValues, units: Mapping[str, Sequence[str]], classes: Mapping[str, _Shares]
) -> None:
    # A number in a list, not the patient's own times.
    where = "initial patients"
    known(classes, patient.patient_class, "class", where)
    known(units, patient.unit, "unit", where)
    if not (isfinite(patient.elapsed_hours) and patient.elapsed_hours >= 0):
        refuse("came after the start", where, "negative hours", "count back from the start")


def _checked_nexts(
    routes: Sequence[RouteValues],
    units: Mapping[str, Sequence[str]],
    exits: Sequence[str],
    classes: Mapping[str, _Shares],
) -> dict[tuple[str, str, str | None], list[str]]:
    """Return what can follow by class, unit and where one came from."""
    states = dict.fromkeys([*units, *exits])
    nexts: dict[tuple[str, str, str | None], list[str]] = {}
    for route in routes:
        where = f"route of {route.patient_class} in {route.unit}"
        known(classes, route.patient_class, "class", where)
        known(units, route.unit, "unit", where)
        if route.came_from not in (None, OUTSIDE):
            known(units, route.came_from, "unit", where)
        key = route.patient_class, route.unit, route.came_from
        if key in nexts:
            refuse("stands twice", where, "two routes", "join them")
        for to, _ in route.nexts:
            known(states, to, "unit or exit", where)
            if to == route.unit:
                remedy = "make one stay of it"
                refuse("leads back into its own unit", where, to, remedy)
        _check_sum((probability for _, probability in route.nexts), where)
        nexts[key] = [to for to, probability in route.nexts if probability > 0]
    return nexts


def _check_reached(
    name: str,
    begins: list[_Place],
    exits: Sequence[str],
    units: Mapping[str, Sequence[str]],
    nexts: Mapping[tuple[str, str, str | None], list[str]],
) -> None:
    """Every unit that a class can come to has a route, and leads out in the end."""
    leads_to: dict[_Place, list[_Place]] = {}
    leaves: set[_Place] = {(exit_, None) for exit_ in exits}
    open_ = list(dict.fromkeys(begins))
    while open_:
        place = open_.pop()
        if place in leads_to:
            continue
        unit, came = place
        following = nexts.get((name, unit, came), nexts.get((name, unit, None)))
        if following is None:
            refuse(
                "no route",
                f"class {name}",
                f"unit {unit}, which it can come to",
                "say where it goes from there and after how long",
            )
        leads_to[place] = [(to, unit if to in units else None) for to in following]
        open_ += [to for to in leads_to[place] if to[0] in units]
        # Who is diverted from here begins elsewhere.
        open_ += [(other, came) for other in units[unit]]
    grown = True
    while grown:
        more = {u for u, to in leads_to.items() if u not in leaves and leaves & set(to)}
        grown = bool(more)
        leaves |= more
    if stuck := sorted({unit for unit, _ in set(leads_to) - leaves}):
        refuse(
            "a unit is never left",
            f"class {name}",
            ", ".join(stuck),
            "give its routes a way to an exit",
        )
