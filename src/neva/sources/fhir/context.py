"""References between FHIR resources, gathered before any of them is read as rows.

A first look at all resources notes who refers to whom. A second, where the first
found that it is needed, looks at what was referred to: identifiers, the wholes of
which encounters are parts, and what is known of stays that are over without an end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from neva.events.schema import OPEN_END
from neva.sources.fhir.codes import Context, Within, moment, token_of
from neva.sources.fhir.events import EVENT_READERS
from neva.sources.fhir.guards import other_version, unknown_modifier
from neva.sources.fhir.resources import rows_of
from neva.sources.fhir.stays import KIND_BY_CLASS, class_of

__all__ = ["Gathering"]

#: Kinds of stays, the most in hospital first: a stay is what its parts make of it.
_MOST_IN_HOSPITAL: Final = ("inpatient", "observation", "day", "emergency")
#: A whole of these kinds is a course of visits: what is more is a stay of its own.
_COURSES: Final = ("outpatient", "virtual")
#: Where resources refer to others by an identifier.
_REFERENCES: Final = (
    ("subject", "Patient"),
    ("patient", "Patient"),
    ("encounter", "Encounter"),
    ("context", "Encounter"),
    ("partOf", None),
    ("medicationReference", "Medication"),
)
_GONE: Final = ("planned", "cancelled", "entered-in-error")


@dataclass(frozen=True, slots=True)
class _Encounter:
    """What is noted of an encounter that is part of another, or a whole."""

    subject: Any
    kind: str | None
    start: datetime | None
    end: datetime | None
    places: tuple[tuple[datetime, datetime], ...] = ()
    part_of: Any = None


class Gathering:
    """Gathers a `Context` from resources, in one look or two.

    Parameters
    ----------
    context : Context
        Filled by :meth:`finish`.
    zone : str
        The zone of times without offset.
    """

    def __init__(self, context: Context, zone: str) -> None:
        self.context, self.zone = context, zone
        self._ranks: list[tuple[Any, int]] = []
        self._parts: dict[str, _Encounter] = {}
        self._wholes: dict[str, _Encounter] = {}
        self._endless: dict[str, _Encounter] = {}
        self._latest: dict[str, datetime] = {}
        self._tokens: set[tuple[str, str | None, str]] = set()
        self._links: list[tuple[str, str, Any, tuple[str, int]]] = []
        #: Id of a record that was merged to the file and row that say so.
        self.merged_at: dict[str, tuple[str, int]] = {}

    @property
    def needs_second_look(self) -> bool:
        """Whether what was referred to must be looked at."""
        return bool(self._parts or self._endless or self._tokens)

    def look(
        self,
        resource: Any,
        full_url: str | None = None,
        place: tuple[str, int] = ("", 1),
    ) -> None:
        """Note what a resource refers to; `place` is its file and row."""
        if not isinstance(resource, Mapping):
            return
        given, kind = resource.get("id"), resource.get("resourceType")
        if full_url and not full_url.endswith(str(given)):
            self.context.ids[full_url] = str(given)
        for reference, expected in _references(resource):
            token = token_of(reference, expected)
            if token is not None:
                self._tokens.add(token)
        if not isinstance(given, str) or not given:
            return
        if kind == "Medication":
            self.context.medications[given] = resource.get("code")
            if unknown_modifier(resource) is not None:
                self.context.unusable.add(given)
        elif kind == "Location" and unknown_modifier(resource) is None:
            self.context.locations[given] = dict(resource)
        elif kind == "Patient":
            for link in _dicts(resource.get("link")):
                self._links.append((given, str(link.get("type")), link.get("other"), place))
        elif kind == "Encounter" and other_version(resource) is None:
            self._look_at_encounter(resource, given)

    def _look_at_encounter(self, encounter: Mapping[str, Any], given: str) -> None:
        for diagnosis in _dicts(encounter.get("diagnosis")):
            rank, reference = diagnosis.get("rank"), diagnosis.get("condition")
            if isinstance(rank, int) and isinstance(reference, dict):
                self._ranks.append((reference, rank))
        noted = self._noted(encounter)
        if noted.part_of is not None:
            self._parts[given] = noted
        if encounter.get("status") == "finished" and noted.end is None:
            self._endless[given] = noted

    def look_again(self, resource: Any) -> None:
        """Note what others refer to: only after every resource was looked at once."""
        if not isinstance(resource, Mapping):
            return
        given, kind = resource.get("id"), resource.get("resourceType")
        if not isinstance(given, str) or not isinstance(kind, str):
            return
        if self._tokens:
            self._identify(resource, kind, given)
        if kind == "Encounter" and given not in self._parts and self._parts:
            if other_version(resource) is None:
                self._wholes[given] = self._noted(resource)
        elif kind in EVENT_READERS and (self._endless or self._parts):
            self._date(resource)

    def _identify(self, resource: Mapping[str, Any], kind: str, given: str) -> None:
        for identifier in _dicts(resource.get("identifier")):
            value, system = identifier.get("value"), identifier.get("system")
            if not isinstance(value, str):
                continue
            for token in {(kind, None, value), (kind, str(system or ""), value)} & self._tokens:
                found = self.context.identified.get(token, given)
                self.context.identified[token] = given if found == given else None

    def _date(self, resource: Mapping[str, Any]) -> None:
        """Note the latest time that an event tells of its encounter."""
        reference = resource.get("encounter") or resource.get("context")
        if not isinstance(reference, Mapping):
            return
        about = self._id_of(reference)
        if about is None or (about not in self._endless and about not in self._parts):
            return
        for event in rows_of(resource, zone=self.zone, context=self.context).get("events", ()):
            if event.get("status") != "done" or event.get("retracted") is not None:
                continue
            for time in (event.get("time"), event.get("end_time")):
                if time is not None and time != OPEN_END:
                    self._latest[about] = max(self._latest.get(about, time), time)

    def _id_of(self, reference: Any) -> str | None:
        try:
            return self.context.id_of(reference, "Encounter")
        except (AttributeError, TypeError, ValueError):
            return None

    def _noted(self, encounter: Mapping[str, Any]) -> _Encounter:
        """Note an encounter; what cannot be read of it is told when its rows are read."""
        status = encounter.get("status")
        if status in _GONE:
            return _Encounter(encounter.get("subject"), None, None, None, (), _part_of(encounter))
        start, end = self._span(encounter.get("period"))
        places = []
        listed = _dicts(encounter.get("location"))
        for place in listed:
            if place.get("status") in ("planned", "reserved"):
                continue
            begin, finish = self._span(place.get("period"))
            if "period" not in place and len(listed) == 1:
                begin, finish = start, end
            if begin is not None:
                places.append((begin, finish or OPEN_END))
        return _Encounter(
            subject=encounter.get("subject"),
            kind=KIND_BY_CLASS.get(class_of(encounter)),
            start=start,
            end=end,
            places=tuple(places),
            part_of=_part_of(encounter),
        )

    def _span(self, period: Any) -> tuple[datetime | None, datetime | None]:
        if not isinstance(period, Mapping):
            return None, None
        start, end = (moment(period.get(name), self.zone).time for name in ("start", "end"))
        return start, end

    def finish(self) -> Context:
        """Fill the context with what was found."""
        for reference, rank in self._ranks:
            try:
                condition = self.context.id_of(reference, "Condition")
            except (AttributeError, TypeError, ValueError):
                continue
            if condition is not None:
                self.context.ranks[condition] = rank
        self._merge_persons()
        self._join_parts()
        self._end_stays()
        return self.context

    def _merge_persons(self) -> None:
        into: dict[str, str] = {}
        for given, kind, other, place in self._links:
            if not isinstance(other, Mapping) or kind not in ("replaced-by", "replaces"):
                continue
            try:
                found = self.context.id_of(other, "Patient")
            except (AttributeError, TypeError, ValueError):
                continue
            if found is not None and found != given:
                old, new = (given, found) if kind == "replaced-by" else (found, given)
                into[old] = new
                self.merged_at.setdefault(old, place)
        for old in into:
            passed = [old]
            while passed[-1] in into and into[passed[-1]] not in passed:
                passed.append(into[passed[-1]])
            # Records that replace each other in a circle say nothing.
            if passed[-1] not in into:
                self.context.persons[old] = passed[-1]

    def _join_parts(self) -> None:
        parents: dict[str, str | None] = {}
        for given, part in self._parts.items():
            parent = self._id_of(part.part_of)
            if parent is not None and self._is_apart(part, parent):
                continue  # a stay of its own
            parents[given] = parent
        inside: dict[str, list[_Encounter]] = {}
        for given in parents:
            passed: list[str] = [given]
            while (above := parents.get(passed[-1])) is not None and above not in passed:
                passed.append(above)
            goes_on = passed[-1] in parents  # in a circle, or at what cannot be found
            self.context.stays[given] = None if goes_on else passed[-1]
            part = self._parts[given]
            for whole in passed[1:]:
                self.context.covered.setdefault(whole, []).extend(part.places)
            if not goes_on:
                inside.setdefault(passed[-1], []).append(part)
                self._note_latest(passed[-1], given, part)
        for whole, parts in inside.items():
            self.context.within[whole] = _within(parts)

    def _note_latest(self, whole: str, given: str, part: _Encounter) -> None:
        """Note the latest time that is known of a part as one known of the whole."""
        latest = [self._latest.get(given), *(end for _, end in part.places), part.start, part.end]
        for time in latest:
            if time is not None and time != OPEN_END:
                self._latest[whole] = max(self._latest.get(whole, time), time)

    def _is_apart(self, part: _Encounter, parent: str) -> bool:
        """Tell whether a part is a stay of its own: of a child, or within a course of visits."""
        whole = self._wholes.get(parent) or self._parts.get(parent)
        if whole is None:
            return False
        try:
            persons = [self.context.id_of(one.subject, "Patient") for one in (part, whole)]
        except (AttributeError, TypeError, ValueError):
            return False
        if None not in persons:
            mine, other = (self.context.persons.get(str(one), one) for one in persons)
            if mine != other:
                return True
        return whole.kind in _COURSES and part.kind in _MOST_IN_HOSPITAL

    def _end_stays(self) -> None:
        for given, noted in self._endless.items():
            within = self.context.within.get(given, Within())
            known = [
                noted.start,
                within.start,
                self._latest.get(given),
                *(time for place in noted.places for time in place if time != OPEN_END),
            ]
            times = [time for time in known if time is not None]
            if times:
                self.context.last_known[given] = max(times)


def _within(parts: list[_Encounter]) -> Within:
    """Say of the parts of a stay: the kind that is most in hospital, from when, until when."""
    kinds = {one.kind for one in parts}
    starts = [one.start for one in parts if one.start is not None]
    ends = [one.end for one in parts if one.end is not None]
    return Within(
        kind=next((kind for kind in _MOST_IN_HOSPITAL if kind in kinds), None),
        start=min(starts, default=None),
        end=max(ends, default=None) if len(ends) == len(starts) else None,
    )


def _part_of(encounter: Mapping[str, Any]) -> Any:
    found = encounter.get("partOf")
    return found if isinstance(found, Mapping) else None


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _references(resource: Mapping[str, Any]) -> Iterator[tuple[Any, str | None]]:
    """References that are read, with the type that they must have."""
    kind = resource.get("resourceType")
    for name, expected in _REFERENCES:
        found = resource.get(name)
        if isinstance(found, Mapping):
            yield found, str(kind) if expected is None else expected
    for place in _dicts(resource.get("location")) if kind == "Encounter" else ():
        yield place.get("location"), "Location"
    for diagnosis in _dicts(resource.get("diagnosis")) if kind == "Encounter" else ():
        yield diagnosis.get("condition"), "Condition"
    for link in _dicts(resource.get("link")) if kind == "Patient" else ():
        yield link.get("other"), "Patient"
