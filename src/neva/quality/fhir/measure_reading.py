"""Measures read back from FHIR R4 Measure resources, and why others are refused."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from neva.definitions.documents import Measure, content_hash, from_json
from neva.errors import BadInputError
from neva.quality.fhir.measure import DEFINITION_TYPE, measure_to_fhir
from neva.quality.fhir.words import LANGUAGE, extension

__all__ = ["measure_from_fhir"]

#: Languages of criteria that other systems write, in words.
_LANGUAGES: Final = {
    "text/cql": "CQL",
    "text/cql-identifier": "CQL",
    "text/cql-expression": "CQL",
    "text/cql.identifier": "CQL",
    "text/cql.expression": "CQL",
    "text/fhirpath": "FHIRPath",
    "application/x-fhir-query": "FHIR queries",
}


def measure_from_fhir(resource: Mapping[str, Any]) -> Measure:
    """Read a measure back from an R4 Measure that Neva wrote.

    Parameters
    ----------
    resource : mapping
        A ``Measure``.

    Returns
    -------
    Measure
        Equal to what was written, with the same content hash.

    Raises
    ------
    BadInputError
        It is no Measure; it has no definition of Neva's (the message says what
        language it is written in, and where); or its definition and what the
        resource says of it differ.
    """
    if not isinstance(resource, Mapping) or resource.get("resourceType") != "Measure":
        found = resource.get("resourceType") if isinstance(resource, Mapping) else type(resource)
        message = f"measure: not a FHIR Measure; found {found!r}; give a resource of type Measure"
        raise BadInputError(message)
    name = f"Measure {resource.get('id') or resource.get('url') or 'without id'}"
    text = _definition_text(resource, name)
    measure = from_json(text, name=f"{name}: contained definition")
    if not isinstance(measure, Measure):
        message = (
            f"{name}: its definition is not a measure; found a {measure.kind}; "
            "take the resource of a measure"
        )
        raise BadInputError(message)
    _check_agrees(resource, measure, name)
    return measure


def _items(of: Any, key: str) -> list[Mapping[str, Any]]:
    found = of.get(key) if isinstance(of, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _definition_text(resource: Mapping[str, Any], name: str) -> bytes:
    for number, library in enumerate(_items(resource, "contained")):
        if library.get("resourceType") != "Library":
            continue
        for position, content in enumerate(_items(library, "content")):
            if content.get("contentType") != DEFINITION_TYPE:
                continue
            place = f"contained[{number}].content[{position}]"
            try:
                data = base64.b64decode(content.get("data", ""), validate=True)
            except (binascii.Error, TypeError, ValueError):
                message = (
                    f"{name}: the definition cannot be read; found no base64 at {place}.data; "
                    "export the measure again"
                )
                raise BadInputError(message) from None
            stated = content.get("hash")
            own = base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
            if stated is not None and stated != own:
                message = (
                    f"{name}: the definition was changed after it was written; found a hash at "
                    f"{place}.hash that is not that of the data; export the measure again"
                )
                raise BadInputError(message)
            return data
    raise BadInputError(_foreign(resource, name))


def _written_criteria(resource: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Every criterion: its place, language, and what it is the criterion of."""

    def read(one: Mapping[str, Any], place: str) -> Iterator[tuple[str, str, str]]:
        criteria = one.get("criteria")
        if isinstance(criteria, Mapping):
            codes = [str(coding.get("code")) for coding in _items(one.get("code"), "coding")]
            meaning = f"{' '.join(codes)} = {criteria.get('expression')}"
            yield f"{place}.criteria", str(criteria.get("language")), meaning

    for number, group in enumerate(_items(resource, "group")):
        for key in ("population", "stratifier"):
            for position, one in enumerate(_items(group, key)):
                yield from read(one, f"group[{number}].{key}[{position}]")
    for number, one in enumerate(_items(resource, "supplementalData")):
        yield from read(one, f"supplementalData[{number}]")


def _foreign(resource: Mapping[str, Any], name: str) -> str:
    """Say what a Measure without a definition of ours is written in."""
    for place, language, _ in _written_criteria(resource):
        if language != LANGUAGE:
            words = _LANGUAGES.get(language.split(";", maxsplit=1)[0])
            shown = f"{words} ({language})" if words else repr(language)
            return (
                f"{name}: this measure is written in {shown}, which Neva does not run; found at "
                f"{place}.language; write it as a definition, and compare the results by its "
                "MeasureReport"
            )
    libraries = resource.get("library")
    if isinstance(libraries, list) and libraries and libraries != ["#definition"]:
        return (
            f"{name}: its logic is in another place; found {libraries[0]!r} at library[0]; a "
            f"contained Library with content of type {DEFINITION_TYPE} is needed"
        )
    return (
        f"{name}: it has no definition of Neva's; found no contained Library with content of "
        f"type {DEFINITION_TYPE}; export the measure again"
    )


def _check_agrees(resource: Mapping[str, Any], measure: Measure, name: str) -> None:
    """Refuse a resource that says other things than the definition that it carries."""
    expected = measure_to_fhir(measure)
    stated = {
        "version": (resource.get("version"), measure.version),
        "the definition-hash extension": (
            _hash_of(resource),
            content_hash(measure),
        ),
    }
    for place, (found, own) in stated.items():
        if found is not None and found != own:
            message = (
                f"{name}: the resource and its definition differ; found {found} at {place} and "
                f"{own} in the definition; export the measure again"
            )
            raise BadInputError(message)
    there = {(place, meaning) for place, _, meaning in _written_criteria(resource)}
    own_criteria = {(place, meaning) for place, _, meaning in _written_criteria(expected)}
    if there != own_criteria:
        place, meaning = sorted(there ^ own_criteria)[0]
        message = (
            f"{name}: the resource and its definition have other criteria; found a difference at "
            f"{place} ({meaning}); change the definition and export the measure again"
        )
        raise BadInputError(message)


def _hash_of(resource: Mapping[str, Any]) -> str | None:
    url = extension("definition-hash")["url"]
    return next(
        (one.get("valueString") for one in _items(resource, "extension") if one.get("url") == url),
        None,
    )
