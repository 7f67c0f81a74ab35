"""Measures as FHIR R4 Measure resources.

The resource says in FHIR's words what the measure counts, and carries the
definition itself, as JSON, in a contained Library: that is what is run. The
criteria only name its parts (``population``, ``exclusion:hypercapnic``).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any, Final

from neva.definitions.documents import Measure, Named, content_hash, to_json
from neva.errors import UsageError
from neva.quality.fhir.codelists import codelist_to_fhir, codelists_by_id
from neva.quality.fhir.words import (
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

__all__ = ["DEFINITION_TYPE", "measure_to_fhir"]

#: Media type of a definition as JSON.
DEFINITION_TYPE: Final = "application/vnd.neva.definition+json"
_STATUSES: Final = ("draft", "active", "retired", "unknown")
_CQF_MEASURES: Final = "http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/"
_NOTATION: Final = {"higher": "increase", "lower": "decrease"}


def measure_to_fhir(
    measure: Measure, *, base_url: str = BASE_URL, status: str = "active"
) -> Resource:
    """Write a measure as an R4 Measure.

    Parameters
    ----------
    measure : Measure
    base_url : str
        Prefix of canonical URLs: ``urn:…`` or ``https://…``.
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
