"""Names and record numbers: resolved when a page is shown, for treating roles, and audited.

They stand in no table that analyses read. Record numbers are in the
hospital's ``identities``, names in a file beside it that only its owner reads.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import polars as pl

from neva.access.viewer import Viewer
from neva.census import units_above
from neva.events.hospital import Hospital
from neva.events.people import read_people
from neva.state import State

__all__ = ["Identities", "Person"]

#: Given names of synthetic patients by recorded sex; their family names begin with Test.
_GIVEN: Final = {
    "female": ("Anna", "Clara", "Elena", "Galina", "Irina", "Katya", "Maria", "Olga"),
    "male": ("Boris", "Dmitri", "Felix", "Hugo", "Jan", "Lev", "Nikita", "Pavel"),
}
#: Where another sex is recorded, or none: given to anybody.
_GIVEN_TO_ANYBODY: Final = ("Alex", "Kim", "Robin", "Sasha", "Valya", "Zhenya")
_FAMILY: Final = ("Ash", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gorse", "Hazel", "Ivy",
                  "Juniper", "Larch", "Maple", "Oak", "Pine", "Rowan", "Willow")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """Who a patient is.

    Attributes
    ----------
    name : str or None
        Family name, given name.
    record_number : str or None
    birth_date : date or None
    invented : bool
        A synthetic patient: the name is made up, and says so.
    """

    name: str | None
    record_number: str | None
    birth_date: date | None
    invented: bool = False

    @property
    def label(self) -> str:
        """Two identifiers in one line."""
        second = self.record_number or (self.birth_date.isoformat() if self.birth_date else None)
        return ", ".join(one for one in (self.name, second) if one) or "–"


def _invented(subject: int, sex: str | None) -> str:
    number = subject & 0x7FFFFFFF
    given = _GIVEN.get(sex or "", _GIVEN_TO_ANYBODY)
    return f"Test-{_FAMILY[number % len(_FAMILY)]}, {given[number // 31 % len(given)]}"


class Identities:
    """The identity service of a hospital.

    Parameters
    ----------
    hospital : Hospital
    state : State
        Its audit is told of every look.
    """

    def __init__(self, hospital: Hospital, state: State) -> None:
        self._hospital, self._state = hospital, state
        self._lock = threading.Lock()
        self._held: dict[str, int | None] = {}
        self._numbers: dict[int, str | None] = {}
        self._births: dict[int, date | None] = {}
        self._sexes: dict[int, str | None] = {}
        self._synthetic = False

    def _load(self, subjects: Sequence[int]) -> None:
        """Read what is not known yet of some patients; what was read before holds until it changes.

        A hospital has a hundred thousand, and a page shows a few.
        """
        manifest = self._hospital.manifest()
        tables = {name: manifest.tables.get(name) for name in ("subjects", "batches")}
        held = {"identities": manifest.identities, **tables}
        changed = {name for name, version in held.items() if version != self._held.get(name, -1)}
        if "identities" in changed:
            self._numbers.clear()
        if "subjects" in changed:
            self._births.clear()
            self._sexes.clear()
        if "batches" in changed:
            from neva.events.synthetic import is_synthetic

            self._synthetic = is_synthetic(self._hospital.snapshot())
        self._held = held
        if new := [one for one in subjects if one not in self._numbers]:
            rows = (
                self._hospital.identities()
                .filter(pl.col("kind") == "subject", pl.col("pseudonym").is_in(new))
                .select("pseudonym", "local_id")
                .collect()
            )
            self._numbers |= dict.fromkeys(new) | dict(rows.iter_rows())
        if new := [one for one in subjects if one not in self._births]:
            snapshot = self._hospital.snapshot()
            wanted = snapshot.subjects(subjects=new).select("subject_id", "birth_date", "sex")
            self._births |= dict.fromkeys(new)
            for subject, birth, sex in wanted.collect().iter_rows():
                self._births[subject], self._sexes[subject] = birth, sex

    def _visible_to_units(
        self, subjects: Sequence[int], units: tuple[str, ...], placed: Mapping[int, str | None]
    ) -> list[int]:
        """Keep whom somebody of these units may see: who was in one, or is expected in one."""
        snapshot = self._hospital.snapshot()
        above = units_above(snapshot)
        pairs = (
            snapshot.movements(subjects=sorted(set(subjects)))
            .select("subject_id", "unit")
            .unique()
            .collect()
        )
        allowed = {
            subject
            for subject, unit in (*pairs.iter_rows(), *placed.items())
            if unit is not None and not set(units).isdisjoint((unit, *above.get(unit, ())))
        }
        return [subject for subject in subjects if subject in allowed]

    def of(
        self,
        subjects: Sequence[int],
        viewer: Viewer,
        *,
        why: str,
        at: datetime,
        placed: Mapping[int, str | None] | None = None,
    ) -> dict[int, Person]:
        """Say who patients are.

        Parameters
        ----------
        subjects : sequence of int
            Pseudonyms.
        viewer : Viewer
            Only a clinician is told, and of patients of their units; everybody
            else gets nothing.
        why : str
            For the audit: one row for a patient, one row for a list.
        at : datetime
            Aware.
        placed : mapping of int to str, optional
            The units of those who are expected and were in none yet.
        """
        if viewer.role != "clinician" or not subjects:
            return {}
        if viewer.units is not None:
            subjects = self._visible_to_units(subjects, viewer.units, placed or {})
            if not subjects:
                return {}
        with self._lock:
            self._load(subjects)
            names = read_people(self._hospital.path)
            found = {}
            for subject in set(subjects):
                known = names.get(subject)
                name, birth = known or (None, None)
                is_invented = name is None and self._synthetic
                found[subject] = Person(
                    name=_invented(subject, self._sexes.get(subject)) if is_invented else name,
                    record_number=self._numbers.get(subject),
                    birth_date=birth or self._births.get(subject),
                    invented=is_invented,
                )
        single = next(iter(found)) if len(found) == 1 else None
        self._state.audit.append(
            at=at,
            actor=viewer.account,
            role=viewer.role,
            action="identity-shown",
            why=why,
            subject=single,
            details={"patients": len(found)}
            if single is not None
            else {"patients": len(found), "subjects": [str(one) for one in sorted(found)][:500]},
        )
        return found
