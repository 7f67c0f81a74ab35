"""Measures as FHIR R4 resources: valid, complete, and read back equal."""

import base64
import copy
import json
import re

import pytest
from tests.fhir_rules import validated

from neva.definitions.codelists import CodeHierarchy, Codelist, flatten
from neva.definitions.documents import Feature, content_hash, to_json
from neva.definitions.language import case, events, number, stay, subject
from neva.definitions.model import Flag, Text
from neva.definitions.programme import load_programme
from neva.definitions.writing import measure, named
from neva.errors import BadInputError, UsageError
from neva.quality.fhir.codelists import codelist_to_fhir
from neva.quality.fhir.measure import measure_to_fhir
from neva.quality.fhir.measure_reading import measure_from_fhir

MEASURES = [
    one for name in ("covid19", "sepsis", "stroke") for one in load_programme(name).measures
]


def through_json(resource):
    return json.loads(json.dumps(resource))


def codes(resource, group=0):
    return [
        (one["code"]["coding"][0]["code"], one["criteria"]["expression"])
        for one in resource["group"][group]["population"]
    ]


def composed(**parts):
    words = {"version": "1.2.3", "population": stay.kind == "inpatient"} | parts
    return measure("ours.measure", **words)


@pytest.mark.parametrize("one", MEASURES, ids=lambda one: one.id)
@pytest.mark.parametrize("base_url", ["urn:neva", "https://hospital.example/fhir/"])
def test_a_measure_is_valid_and_comes_back_equal(one, base_url):
    resource = validated(measure_to_fhir(one, base_url=base_url))
    again = measure_from_fhir(through_json(resource))
    assert again == one
    assert content_hash(again) == content_hash(one)
    assert resource["url"].startswith(base_url)


def test_each_exclusion_is_a_population():
    one = load_programme("covid19").document("steroid-when-on-oxygen")
    resource = measure_to_fhir(one)
    assert codes(resource) == [
        ("initial-population", "population"),
        ("denominator", "population"),
        ("denominator-exclusion", "exclusion:hypercapnic"),
        ("denominator-exclusion", "exclusion:palliative"),
        ("denominator-exclusion", "exclusion:contraindicated"),
        ("denominator-exclusion", "exclusion:left-before"),
        ("numerator", "numerator"),
    ]
    assert resource["improvementNotation"]["coding"][0]["code"] == "increase"
    assert resource["relatedArtifact"][0]["url"] == "https://doi.org/10.1056/NEJMoa2021436"
    assert resource["_title"]["extension"][0]["extension"][1]["valueString"] == one.title_ru
    expressions = [part["criteria"]["expression"] for part in resource["group"][0]["stratifier"]]
    assert expressions == ["stratifier:age-group", "stratifier:sex", "unit"]


def test_an_observation_is_a_continuous_variable():
    resource = measure_to_fhir(load_programme("covid19").document("length-of-stay"))
    assert resource["scoring"]["coding"][0]["code"] == "continuous-variable"
    assert "improvementNotation" not in resource
    assert [code for code, _ in codes(resource)] == [
        "initial-population",
        "measure-population",
        "measure-observation",
    ]


def test_an_observation_per_something_is_a_ratio_of_sums():
    one = composed(
        observation=number(2.0, "h"),
        per=number(1.0, "d"),
        exclusions=[named("short", stay.kind == "day", "day cases")],
        components=[named("part", stay.kind == "day", "part")],
    )
    resource = validated(measure_to_fhir(one))
    assert [code for code, _ in codes(resource)] == [
        "initial-population",
        "denominator",
        "denominator-exclusion",
        "numerator",
        "measure-observation",
        "measure-observation",
    ]
    assert resource["supplementalData"][0]["criteria"]["expression"] == "component:part"
    assert measure_from_fhir(resource) == one


def test_components_and_a_narrower_denominator_are_groups():
    one = composed(
        numerator=stay.kind == "inpatient",
        treated=stay.kind == "day",
        components=[named("first", stay.kind == "day", "the first")],
    )
    resource = validated(measure_to_fhir(one))
    assert [group["id"] for group in resource["group"]] == ["measure", "treated", "component-first"]
    assert ("denominator", "treated") in codes(resource, 1)
    assert ("numerator", "component:first") in codes(resource, 2)
    assert measure_from_fhir(resource) == one


def test_long_and_strange_names_become_ids():
    one = measure(
        "9." + "a" * 300,
        version="1.0.0",
        population=events(Codelist(id="a list of ours / 1", codes=("LOCAL//x y",))).exists(),
        numerator=stay.kind == "day",
        title=" ",
        evidence=("", "doi:"),
    )
    resource = validated(measure_to_fhir(one))
    assert measure_from_fhir(resource) == one


def test_two_codelists_of_one_id_are_refused():
    first, second = (Codelist(id="same", codes=(code,)) for code in ("A//a", "A//b"))
    with pytest.raises(UsageError, match="two codelists have the id 'same' and differ"):
        composed(numerator=events(first).exists() & events(second).exists())


def test_a_status_that_fhir_does_not_have_is_refused():
    with pytest.raises(UsageError, match="status: not one of FHIR; found 'final'"):
        measure_to_fhir(MEASURES[0], status="final")


# ------------------------------------------------------------------------ codelists


def expanded(value_set, hierarchy, others=None):
    """Read a value set slowly, over codes written SYSTEM//code."""

    def selected(part):
        if "valueSet" in part:
            return set.intersection(*((others or {})[url] for url in part["valueSet"]))
        system = part["system"].rpartition("/")[2]
        below = CodeHierarchy(PARENTS, CODES)
        found = {f"{system}//{one['code']}" for one in part.get("concept", [])}
        for rule in part.get("filter", []):
            if rule["op"] == "is-a":
                found |= below._matching(f"{system}//{rule['value']}", descendants=True)
            else:
                matching = re.compile(rule["value"])
                found |= {
                    one
                    for one in CODES
                    if one.startswith(f"{system}//") and matching.fullmatch(one.split("//", 1)[1])
                }
        if any(one["url"].endswith("/with-descendants") for one in part.get("extension", [])):
            found = set().union(*(below._matching(one, descendants=True) for one in found))
        return found

    compose = value_set["compose"]
    included = set().union(*map(selected, compose["include"]))
    return included - set().union(*map(selected, compose.get("exclude", [])))


PARENTS = {"A//a1": ["A//a"], "A//a": ["A//top"], "B//d": ["A//top"], "A//a.b1": ["A//z"]}
CODES = ["A//a", "A//a1", "A//a.b1", "A//axb2", "A//z", "A//top", "B//c", "B//d"]


@pytest.mark.parametrize("descendants", [True, False])
@pytest.mark.parametrize(
    ("written", "excluding"),
    [
        (("A//top",), ()),
        (("A//a", "B//c"), ()),
        (("A//a*",), ("A//a1",)),
        (("A//a.b*",), ()),
        (("A//*", "B//*"), ("A//a*",)),
        (("A//top", "A//z"), ("B//*", "A//a")),
    ],
)
def test_a_value_set_means_the_codes_of_its_codelist(written, excluding, descendants):
    one = Codelist(id="l", codes=written, excluding=excluding, descendants=descendants)
    resource = validated(codelist_to_fhir(one))
    assert expanded(resource, PARENTS) == CodeHierarchy(PARENTS, CODES).expand(one)


def test_a_codelist_that_includes_another_names_its_value_set():
    part = Codelist(id="part", codes=("A//top",), excluding=("A//a1",))
    whole = Codelist(id="whole", codes=("B//c",), includes=("part",))
    flat = flatten({"part": part, "whole": whole})["whole"]
    url = codelist_to_fhir(part)["url"]
    others = {url: expanded(codelist_to_fhir(part), PARENTS)}
    found = expanded(validated(codelist_to_fhir(whole)), PARENTS, others)
    assert found == CodeHierarchy(PARENTS, CODES).expand(flat)


def test_known_systems_have_their_url():
    resource = codelist_to_fhir(Codelist(id="l", codes=("ICD10//I63*", "CARE//x")))
    assert [one["system"] for one in resource["compose"]["include"]] == [
        "https://neva.invalid/CodeSystem/CARE",
        "http://hl7.org/fhir/sid/icd-10",
    ]


# ------------------------------------------------------------------------ refusals


def changed(change):
    resource = through_json(measure_to_fhir(MEASURES[0]))
    change(resource)
    return resource


def put_definition(resource, text):
    (content,) = resource["contained"][0]["content"]
    content["data"] = base64.b64encode(text.encode()).decode()
    del content["hash"]


FEATURE = Feature(id="a.b", version="1.0.0", value=Flag(value=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(resourceType="Library"), "not a FHIR Measure; found 'Library'"),
        (lambda r: r.update(version="9.9.9"), "found 9.9.9 at version and 1.0.0"),
        (lambda r: r["group"][0]["population"].pop(), "have other criteria"),
        (
            lambda r: r["group"][0]["population"][1]["code"]["coding"][0].update(code="numerator"),
            "have other criteria",
        ),
        (lambda r: r["extension"][1].update(valueString="0"), "definition-hash"),
        (lambda r: r["contained"][0]["content"][0].update(hash="x"), "was changed after"),
        (lambda r: r["contained"][0]["content"][0].update(data="%"), "found no base64"),
        (lambda r: put_definition(r, "{}"), "contained definition: not a valid definition"),
        (lambda r: put_definition(r, to_json(FEATURE)), "found a feature"),
        (lambda r: r.pop("contained"), "it has no definition of Neva's"),
        (lambda r: r.update(contained=[], library=["http://x/L"]), "found 'http://x/L'"),
    ],
)
def test_what_is_no_measure_of_ours_is_refused(change, message):
    with pytest.raises(BadInputError, match=re.escape(message)):
        measure_from_fhir(changed(change))


def test_a_measure_in_cql_is_refused_by_its_language():
    resource = {
        "resourceType": "Measure",
        "id": "VTE-1",
        "library": ["http://example.org/Library/VTE"],
        "group": [
            {
                "population": [
                    {
                        "code": {"coding": [{"code": "initial-population"}]},
                        "criteria": {"language": "text/cql-identifier", "expression": "IP"},
                    }
                ]
            }
        ],
    }
    with pytest.raises(BadInputError) as refused:
        measure_from_fhir(resource)
    assert "Measure VTE-1: this measure is written in CQL (text/cql-identifier)" in str(
        refused.value
    )
    assert "group[0].population[0].criteria.language" in str(refused.value)


@pytest.mark.parametrize("nonsense", [None, [], "x", {"resourceType": "Measure", "contained": 3}])
def test_nonsense_is_refused(nonsense):
    with pytest.raises(BadInputError):
        measure_from_fhir(nonsense)


def test_strata_of_a_case_table_keep_their_meaning():
    group = case((subject.age_at(stay.start) < 50, _words("under 50")), otherwise=_words("older"))
    one = composed(numerator=stay.kind == "day", stratifiers=[named("age", group, "age")])
    assert measure_from_fhir(copy.deepcopy(measure_to_fhir(one))) == one


def _words(text):
    from neva.definitions.language import Words

    return Words(Text(value=text))
