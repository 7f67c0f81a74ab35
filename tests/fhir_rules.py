"""Rules of FHIR R4 (4.0.1) that models of R4B do not check, for the resources of measures.

Elements and required bindings are those of R4. R4B has the same elements for
Measure, MeasureReport, Library, ValueSet and List; the models do not check
bindings, invariants, ids, or that what is contained is referred to.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

METADATA = [
    "resourceType",
    "id",
    "meta",
    "implicitRules",
    "language",
    "text",
    "contained",
    "extension",
    "modifierExtension",
]
ELEMENTS = {
    "Measure": [
        *METADATA,
        "url",
        "identifier",
        "version",
        "name",
        "title",
        "subtitle",
        "status",
        "experimental",
        "subjectCodeableConcept",
        "subjectReference",
        "date",
        "publisher",
        "contact",
        "description",
        "useContext",
        "jurisdiction",
        "purpose",
        "usage",
        "copyright",
        "approvalDate",
        "lastReviewDate",
        "effectivePeriod",
        "topic",
        "author",
        "editor",
        "reviewer",
        "endorser",
        "relatedArtifact",
        "library",
        "disclaimer",
        "scoring",
        "compositeScoring",
        "type",
        "riskAdjustment",
        "rateAggregation",
        "rationale",
        "clinicalRecommendationStatement",
        "improvementNotation",
        "definition",
        "guidance",
        "group",
        "supplementalData",
    ],
    "MeasureReport": [
        *METADATA,
        "identifier",
        "status",
        "type",
        "measure",
        "subject",
        "date",
        "reporter",
        "period",
        "improvementNotation",
        "group",
        "evaluatedResource",
    ],
}
CODES = {
    "measure-population": [
        "initial-population",
        "numerator",
        "numerator-exclusion",
        "denominator",
        "denominator-exclusion",
        "denominator-exception",
        "measure-population",
        "measure-population-exclusion",
        "measure-observation",
    ],
    "measure-scoring": ["proportion", "ratio", "continuous-variable", "cohort"],
    "measure-improvement-notation": ["increase", "decrease"],
    "measure-data-usage": ["supplemental-data", "risk-adjustment-factor"],
    "library-type": ["logic-library", "model-definition", "asset-collection", "module-definition"],
    "data-absent-reason": ["masked", "unknown"],
    "v3-ActReason": ["HTEST"],
}
STATUSES = {
    "Measure": ["draft", "active", "retired", "unknown"],
    "Library": ["draft", "active", "retired", "unknown"],
    "ValueSet": ["draft", "active", "retired", "unknown"],
    "List": ["current", "retired", "entered-in-error"],
    "MeasureReport": ["complete", "pending", "error"],
}
NAME = re.compile(r"[A-Z][A-Za-z0-9_]{0,254}")
ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
TIME = re.compile(r"\d{4}-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?")
CANONICAL = re.compile(r"(#[A-Za-z0-9\-.]{1,64}|(urn:neva:|https?://)[^\s|]+(\|\d+\.\d+\.\d+)?)")
HL7 = "http://terminology.hl7.org/CodeSystem/"


def nodes(of: Any) -> Iterator[dict[str, Any]]:
    """Every object of a resource."""
    if isinstance(of, dict):
        yield of
        for value in of.values():
            yield from nodes(value)
    elif isinstance(of, list):
        for value in of:
            yield from nodes(value)


def validated(resource: dict[str, Any]) -> dict[str, Any]:
    """Check a resource against the models of R4B and the rules of R4; give it back."""
    models = pytest.importorskip("fhir.resources.R4B", reason="fhir.resources is not installed")
    for one in (resource, *resource.get("contained", [])):
        models.get_fhir_model_class(one["resourceType"]).model_validate(one)
        _general(one)
    _contained(resource)
    _elements(resource)
    if resource["resourceType"] == "Measure":
        _measure(resource)
    if resource["resourceType"] == "MeasureReport":
        _report(resource)
    for one in (resource, *resource.get("contained", [])):
        if one["resourceType"] == "ValueSet":
            _value_set(one)
    json.dumps(resource, allow_nan=False)
    return resource


def _general(one: dict[str, Any]) -> None:
    assert ID.fullmatch(one["id"]), one["id"]
    assert one["status"] in STATUSES[one["resourceType"]]
    for node in nodes({key: value for key, value in one.items() if key != "contained"}):
        assert node, "ele-1: an element has a value or children"
        for key, value in node.items():
            assert value not in ("", [], {}), f"{key} is empty"
            assert not (isinstance(value, str) and not value.strip()), f"{key} is blank"
        if "url" in node and ("extension" in node or any(k.startswith("value") for k in node)):
            has_value = any(key.startswith("value") for key in node)
            is_extension = "resourceType" not in node
            assert not is_extension or has_value != ("extension" in node), "ext-1"
        if str(node.get("system", "")).startswith(HL7):
            system = node["system"].removeprefix(HL7)
            assert node["code"] in CODES[system], (system, node["code"])
        for key in ("start", "end", "date", "valueDateTime"):
            if key in node:
                assert TIME.fullmatch(node[key]), node[key]
        if "start" in node and "end" in node:
            assert node["start"] <= node["end"], "per-1"


def _contained(resource: dict[str, Any]) -> None:
    ids = [one["id"] for one in resource.get("contained", [])]
    assert len(ids) == len(set(ids))
    texts = {
        value
        for node in nodes(resource)
        for values in node.values()
        for value in (values if isinstance(values, list) else [values])
        if isinstance(value, str)
    }
    for one in resource.get("contained", []):
        assert f"#{one['id']}" in texts, "dom-3: what is contained is referred to"
        assert "contained" not in one, "dom-2"
        assert not {"versionId", "lastUpdated"} & set(one.get("meta", {})), "dom-4"
    for node in nodes(resource):
        reference = node.get("reference")
        assert reference is None or not reference.startswith("#") or reference[1:] in ids
    element_ids = [
        one["id"]
        for group in resource.get("group", [])
        for one in group.get("population", [])
        if "id" in one
    ]
    assert len(element_ids) == len(set(element_ids))


def _elements(resource: dict[str, Any]) -> None:
    allowed = ELEMENTS.get(resource["resourceType"])
    if allowed is not None:
        assert {key.removeprefix("_") for key in resource} <= set(allowed)


def _measure(resource: dict[str, Any]) -> None:
    assert NAME.fullmatch(resource["name"]), "mea-0"
    assert CANONICAL.fullmatch(resource["url"])
    assert all(CANONICAL.fullmatch(one) for one in resource["library"])
    for group in resource["group"]:
        for population in group["population"]:
            assert population["code"]["coding"][0]["system"] == f"{HL7}measure-population"
            assert population["criteria"]["language"]
        for one in group.get("stratifier", []):
            assert ("criteria" in one) != ("component" in one), "mea-1"
    for node in nodes(resource):
        if "language" in node:
            assert node["expression"], "exp-1"


def _report(resource: dict[str, Any]) -> None:
    assert resource["type"] in ("individual", "subject-list", "summary")
    assert CANONICAL.fullmatch(resource["measure"])
    assert "period" in resource
    for group in resource.get("group", []):
        for one in group.get("stratifier", []):
            for stratum in one["stratum"]:
                assert ("value" in stratum) != ("component" in stratum), "mrp-2"
        codes = [one["code"]["coding"][0]["code"] for one in group["population"]]
        assert len(codes) == len(set(codes)), "one for each type of population"
        for one in group["population"]:
            assert ("count" in one) != ("_count" in one)
            assert one.get("count", 0) >= 0


def _value_set(resource: dict[str, Any]) -> None:
    compose = resource["compose"]
    assert compose["include"]
    for one in (*compose["include"], *compose.get("exclude", [])):
        assert "system" in one or "valueSet" in one, "vsd-1"
        assert "system" in one or not {"concept", "filter"} & set(one), "vsd-2"
        assert not {"concept", "filter"} <= set(one), "vsd-3"
        for rule in one.get("filter", []):
            assert rule["op"] in ("is-a", "regex")
            assert rule["property"]
            assert rule["value"]
