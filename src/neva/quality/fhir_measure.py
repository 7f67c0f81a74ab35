"""Measures as FHIR R4 Measure resources, and back.

The resource says in FHIR's words what the measure counts, and carries the
definition itself, as JSON, in a contained Library: that is what is run. The
criteria only name its parts (``population``, ``exclusion:hypercapnic``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from neva.definitions.documents import Measure, Named, content_hash, from_json, to_json
from neva.errors import BadInputError, UsageError
from neva.quality.fhir_codelists import codelist_to_fhir, codelists_by_id
from neva.quality.fhir_words import (
    BASE_URL,
    LANGUAGE,
    POPULATIONS,
    Resource,
    canonical,
    computable_name,
    concept,
    extension,
    own_concept,
    resource_id,
    scoring_of,
)

__all__ = ["DEFINITION_TYPE", "measure_from_fhir", "measure_to_fhir"]

#: Media type of a definition as JSON.
DEFINITION_TYPE: Final = "application/vnd.neva.definition+json"
_STATUSES: Final = ("draft", "active", "retired", "unknown")
_CQF_MEASURES: Final = "http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/"
_NOTATION: Final = {"higher": "increase", "lower": "decrease"}
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


def measure_to_fhir(
    measure: Measure, *, base_url: str = BASE_URL, status: str = "active"
) -> Resource:
    """Write a measure as an R4 Measure.

    Parameters
    ----------
    measure : Measure
    base_url : str
        What canonical URLs begin with: ``urn:…`` or ``https://…``.
    status : {"active", "draft", "retired", "unknown"}
        Of its publication; a definition of ours has none.

    Returns
    -------
    dict
        A ``Measure`` with its definition and codelists contained.

    Raises
    ------
    UsageError
        FHIR has no such status.

    Notes
    -----
    The first group is the measure. A narrower denominator (``treated``) is a
    group, and so is each component of a numerator, with the same initial
    population and exclusions: R4 keeps the scoring ``composite`` for measures
    composed of other Measure resources, which components are not. Components
    beside an observation are supplemental data.

    Examples
    --------
    >>> from neva.definitions.programme import load_programme
    >>> resource = measure_to_fhir(load_programme("stroke").measures[0])
    >>> resource["url"], resource["scoring"]["coding"][0]["code"]
    ('urn:neva:Measure:stroke.antithrombotic-at-discharge', 'proportion')
    >>> for one in resource["group"][0]["population"]:
    ...     print(one["code"]["coding"][0]["code"], "=", one["criteria"]["expression"])
    initial-population = population
    denominator = population
    denominator-exclusion = exclusion:comfort-care
    denominator-exclusion = exclusion:not-done-with-reason
    numerator = numerator
    """
    if status not in _STATUSES:
        message = f"status: not one of FHIR; found {status!r}; take one of {', '.join(_STATUSES)}"
        raise UsageError(message)
    value_sets = [
        codelist_to_fhir(one, base_url=base_url, name=name)
        for name, one in codelists_by_id(measure).items()
    ]
    for resource in value_sets:
        # A contained resource has its own id space; "definition" is taken.
        resource["id"] = resource_id(f"codelist-{resource['id']}", "codelist")
    made: Resource = {
        "resourceType": "Measure",
        "id": resource_id(measure.id, "measure"),
        "contained": [_library(measure, base_url, value_sets), *value_sets],
        "extension": [
            {
                "url": f"{_CQF_MEASURES}cqfm-populationBasis",
                "valueCode": "Encounter" if measure.each == "stay" else "boolean",
            },
            extension("definition-hash", valueString=content_hash(measure)),
        ],
        "url": canonical(base_url, "Measure", measure.id),
        "version": measure.version,
        "name": computable_name(measure),
        "status": status,
        "subjectCodeableConcept": {
            "coding": [{"system": "http://hl7.org/fhir/resource-types", "code": "Patient"}]
        },
        "library": ["#definition"],
        "scoring": concept("measure-scoring", scoring_of(measure)),
    }
    made |= _titles(measure)
    description = "\n\n".join(one for one in (measure.description, *measure.notes) if one.strip())
    if description:
        made["description"] = description
    related = [_evidence(one) for one in measure.evidence if one.strip()]
    if related:
        made["relatedArtifact"] = related
    if measure.better in _NOTATION:
        made["improvementNotation"] = concept(
            "measure-improvement-notation", _NOTATION[measure.better]
        )
    made["group"] = list(_groups(measure))
    if measure.numerator is None and measure.components:
        made["supplementalData"] = [
            {
                "code": own_concept("component", one.name, one.title),
                "usage": [concept("measure-data-usage", "supplemental-data")],
                "criteria": _criteria(f"component:{one.name}"),
            }
            for one in measure.components
        ]
    return made


def _titles(measure: Measure) -> Resource:
    found: Resource = {}
    if measure.title.strip():
        found["title"] = measure.title
    if measure.title_ru.strip():
        found["_title"] = {
            "extension": [
                {
                    "url": "http://hl7.org/fhir/StructureDefinition/translation",
                    "extension": [
                        {"url": "lang", "valueCode": "ru"},
                        {"url": "content", "valueString": measure.title_ru},
                    ],
                }
            ]
        }
    return found


def _evidence(source: str) -> Resource:
    kind, _, rest = source.partition(":")
    if kind == "doi" and rest:
        return {
            "type": "citation",
            "citation": source,
            "url": f"https://doi.org/{rest}",
        }
    return {"type": "citation", "citation": source}


def _library(measure: Measure, base_url: str, value_sets: list[Resource]) -> Resource:
    data = to_json(measure).encode()
    library: Resource = {
        "resourceType": "Library",
        "id": "definition",
        "url": canonical(base_url, "Library", measure.id),
        "version": measure.version,
        "name": computable_name(measure),
        "status": "active",
        "type": concept("library-type", "logic-library"),
        "content": [
            {
                "contentType": DEFINITION_TYPE,
                "data": base64.b64encode(data).decode(),
                "size": len(data),
                # R4 says that an attachment's hash is SHA-1.
                "hash": base64.b64encode(
                    hashlib.sha1(data, usedforsecurity=False).digest()
                ).decode(),
            }
        ],
    }
    if value_sets:
        library["relatedArtifact"] = [
            {"type": "depends-on", "resource": f"#{one['id']}"} for one in value_sets
        ]
    return library


def _criteria(part: str) -> Resource:
    return {"language": LANGUAGE, "expression": part}


def _population(group: str, code: str, part: str, title: str = "", **more: Any) -> Resource:
    return {
        "id": f"{group}-{part}".replace(":", "-")
        if code not in ("initial-population", "denominator", "measure-population", "numerator")
        else f"{group}-{code}",
        **more,
        "code": concept("measure-population", code, POPULATIONS[code], title),
        "criteria": _criteria(part),
    }


def _groups(measure: Measure) -> Iterator[Resource]:
    yield _group(measure, "measure", measure.title)
    if measure.treated is not None and measure.numerator is not None:
        yield _group(measure, "treated", "among those treated", denominator="treated")
    if measure.numerator is not None:
        for one in measure.components:
            yield _group(
                measure,
                f"component-{one.name}",
                one.title,
                numerator=f"component:{one.name}",
            )


def _group(
    measure: Measure,
    name: str,
    title: str,
    *,
    denominator: str = "population",
    numerator: str = "numerator",
) -> Resource:
    scoring = scoring_of(measure)
    of = "measure-population" if scoring == "continuous-variable" else "denominator"
    populations = [
        _population(name, "initial-population", "population"),
        _population(name, of, denominator),
    ]
    populations += [
        _population(name, f"{of}-exclusion", f"exclusion:{one.name}", one.title)
        for one in measure.exclusions
    ]
    if scoring == "proportion":
        populations.append(_population(name, "numerator", numerator))
    if scoring == "ratio":
        # Whoever is measured counts on both sides; the sums are what differs.
        populations.append(_population(name, "numerator", "population"))
        populations.append(_observation(name, "observation", f"{name}-numerator", "sum"))
        populations.append(_observation(name, "per", f"{name}-denominator", "sum"))
    if scoring == "continuous-variable":
        populations.append(
            _observation(name, "observation", f"{name}-measure-population", "median")
        )
    group: Resource = {"id": name, "code": own_concept("group", name), "population": populations}
    if title.strip():
        group["description"] = title
    if name == "measure":
        group["stratifier"] = [_stratifier(one) for one in measure.stratifiers]
        if "unit" not in {one.name for one in measure.stratifiers}:
            group["stratifier"].append(
                {
                    "id": "stratifier-unit",
                    "code": own_concept("stratifier", "unit", "unit at the time of the case"),
                    "criteria": _criteria("unit"),
                }
            )
    return group


def _observation(group: str, part: str, of: str, method: str) -> Resource:
    return _population(
        group,
        "measure-observation",
        part,
        extension=[
            {"url": f"{_CQF_MEASURES}cqfm-criteriaReference", "valueString": of},
            {"url": f"{_CQF_MEASURES}cqfm-aggregateMethod", "valueCode": method},
        ],
    )


def _stratifier(one: Named) -> Resource:
    return {
        "id": f"stratifier-{one.name}",
        "code": own_concept("stratifier", one.name, one.title),
        "criteria": _criteria(f"stratifier:{one.name}"),
    }


# ---------------------------------------------------------------------- reading


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


def _written(resource: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
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
    for place, language, _ in _written(resource):
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
    there = {(place, meaning) for place, _, meaning in _written(resource)}
    own_criteria = {(place, meaning) for place, _, meaning in _written(expected)}
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
