"""Codelists: named, versioned sets of codes, and which codes of a hospital they mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from neva.errors import BadInputError

__all__ = ["CodeHierarchy", "Codelist", "check_cycles", "flatten"]


class Codelist(BaseModel):
    """A named, versioned set of codes.

    Attributes
    ----------
    id, version, title : str
        What it is called. ``version`` is major.minor.patch.
    codes : tuple of str
        ``SYSTEM//code``; a star at the end takes every code that begins so
        (``ICD10//I63*``).
    descendants : bool
        Take the codes below them too, by the hospital's table of codes.
    excluding : tuple of str
        Codes, or beginnings with a star, that are left out again, with their
        descendants.
    includes : tuple of str
        Ids of other codelists whose codes belong to this one; empty once
        flattened.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/-]*$")
    version: str = Field(default="1.0.0", pattern=r"^\d+\.\d+\.\d+$")
    title: str = ""
    codes: tuple[str, ...] = ()
    descendants: bool = True
    excluding: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()

    @field_validator("codes", "excluding")
    @classmethod
    def _codes(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        for code in codes:
            system, mark, text = code.partition("//")
            if not (system and mark and text) or "*" in code[:-1]:
                message = f"code {code!r} is not of the form SYSTEM//code, or SYSTEM//beginning*"
                raise ValueError(message)
        return tuple(sorted(set(codes)))

    @model_validator(mode="after")
    def _some(self) -> Codelist:
        if not self.codes and not self.includes:
            message = f"codelist {self.id!r} has no codes"
            raise ValueError(message)
        return self


def check_cycles(parts: Mapping[str, Sequence[str]], what: str) -> None:
    """Refuse a graph that comes back to where it began.

    Parameters
    ----------
    parts : mapping of str to sequence of str
        For each name the names that it leads to.
    what : str
        For the message.

    Raises
    ------
    BadInputError
        There is a cycle; the message shows it.
    """
    done: set[str] = set()
    for start in parts:
        if start in done:
            continue
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, int]] = [(start, 0)]
        path.append(start)
        on_path.add(start)
        while stack:
            name, at = stack.pop()
            following = parts.get(name, ())
            if at >= len(following):
                done.add(name)
                path.pop()
                on_path.discard(name)
                continue
            stack.append((name, at + 1))
            next_name = following[at]
            if next_name in on_path:
                cycle = [*path[path.index(next_name) :], next_name]
                message = (
                    f"{what} form a cycle: found {' -> '.join(cycle)}; take one of these steps out"
                )
                raise BadInputError(message)
            if next_name not in done:
                stack.append((next_name, 0))
                path.append(next_name)
                on_path.add(next_name)


def flatten(codelists: Mapping[str, Codelist]) -> dict[str, Codelist]:
    """Replace what codelists include by its codes.

    Parameters
    ----------
    codelists : mapping of str to Codelist
        By id.

    Returns
    -------
    dict of str to Codelist
        The same ids; ``includes`` is empty.

    Raises
    ------
    BadInputError
        A codelist includes an unknown one, or itself by way of others.
    """
    for one in codelists.values():
        for other in one.includes:
            if other not in codelists:
                message = (
                    f"codelist {one.id}: includes an unknown codelist; found {other!r}; "
                    f"known are {', '.join(sorted(codelists))}"
                )
                raise BadInputError(message)
    check_cycles({one.id: one.includes for one in codelists.values()}, "codelists")
    flat: dict[str, Codelist] = {}

    def flattened(name: str) -> Codelist:
        if name not in flat:
            one = codelists[name]
            parts = [flattened(other) for other in one.includes]
            differing = [part.id for part in parts if part.descendants != one.descendants]
            if differing:
                message = (
                    f"codelist {one.id}: includes {differing[0]}, which differs from it in "
                    "'descendants'; give both the same"
                )
                raise BadInputError(message)
            # What a part leaves out stays out of the whole unless named there.
            excluded = {code for part in parts for code in part.excluding} - set(one.codes)
            flat[name] = Codelist(
                id=one.id,
                version=one.version,
                title=one.title,
                codes=(*one.codes, *(code for part in parts for code in part.codes)),
                descendants=one.descendants,
                excluding=(*one.excluding, *excluded),
            )
        return flat[name]

    return {name: flattened(name) for name in codelists}


class CodeHierarchy:
    """Which codes stand below which, by a hospital's table of codes.

    Parameters
    ----------
    parents : mapping of str to sequence of str
        For each code its parents.
    codes : iterable of str
        Further codes that occur in the hospital.

    Raises
    ------
    BadInputError
        The parents form a cycle.
    """

    def __init__(self, parents: Mapping[str, Sequence[str]], codes: Iterable[str] = ()) -> None:
        check_cycles(parents, "parents in the table of codes")
        self.codes = (
            set(codes) | set(parents) | {one for several in parents.values() for one in several}
        )
        self._sorted = sorted(self.codes)
        self._below: dict[str, list[str]] = {}
        for code, above in parents.items():
            for one in above:
                self._below.setdefault(one, []).append(code)
        content = [f"{code}<{','.join(sorted(parents[code]))}" for code in sorted(parents)]
        self.digest = hashlib.sha256("\n".join([*content, *self._sorted]).encode()).hexdigest()[:16]

    def _matching(self, pattern: str, *, descendants: bool) -> set[str]:
        if pattern.endswith("*"):
            from bisect import bisect_left

            begin = pattern[:-1]
            at = bisect_left(self._sorted, begin)
            found = set()
            while at < len(self._sorted) and self._sorted[at].startswith(begin):
                found.add(self._sorted[at])
                at += 1
        else:
            found = {pattern}
        if descendants:
            waiting = list(found)
            while waiting:
                for below in self._below.get(waiting.pop(), ()):
                    if below not in found:
                        found.add(below)
                        waiting.append(below)
        return found

    def expand(self, codelist: Codelist) -> set[str]:
        """Return the codes that a codelist means, those that never occur included."""
        found: set[str] = set()
        for code in codelist.codes:
            found |= self._matching(code, descendants=codelist.descendants)
        for code in codelist.excluding:
            found -= self._matching(code, descendants=True)
        return found
