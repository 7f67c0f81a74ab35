"""Measures in FHIR come back equal whatever they are, and small counts cannot be had back."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.definition_strategies import Definitions
from tests.fhir_rules import validated

from neva.definitions.documents import Measure, Named, content_hash
from neva.definitions.model import Flag, Text
from neva.quality.fhir.measure import measure_to_fhir
from neva.quality.fhir.measure_reading import measure_from_fhir
from neva.quality.fhir.report import report_from_fhir, subject_list_report, summary_report
from neva.quality.measuring import CASES, MeasureRun, Sources

DEFINITIONS = Definitions()
BELOW = 5
words = st.text(max_size=12)
names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}", fullmatch=True)


@st.composite
def measures(draw):
    """Any measure: of a numerator, an observation, or a ratio."""
    boolean = DEFINITIONS.boolean(2)
    several = draw(st.lists(names, unique=True, max_size=6))
    parts = [Named(name=name, title=draw(words), of=draw(boolean)) for name in several]
    exclusions, components, stratifiers = parts[:2], parts[2:4], parts[4:]
    kind = draw(st.sampled_from(["proportion", "continuous-variable", "ratio"]))
    number = DEFINITIONS.number("h", 1)
    return Measure(
        id=draw(st.lists(names, min_size=1, max_size=3).map(".".join)),
        version=draw(st.sampled_from(["1.0.0", "0.12.3"])),
        title=draw(words),
        title_ru=draw(words),
        description=draw(words),
        evidence=draw(st.lists(st.sampled_from(["doi:10.1/x", "a book", ""])).map(tuple)),
        notes=draw(st.lists(words, max_size=2).map(tuple)),
        each=draw(st.sampled_from(["stay", "subject"])),
        population=draw(boolean),
        exclusions=tuple(exclusions),
        clock_start=draw(st.none() | DEFINITIONS.time(1)),
        due=draw(st.none() | DEFINITIONS.time(1)),
        numerator=draw(boolean) if kind == "proportion" else None,
        observation=draw(number) if kind != "proportion" else None,
        per=draw(number) if kind == "ratio" else None,
        components=tuple(components),
        treated=draw(st.none() | boolean),
        stratifiers=tuple(stratifiers),
        better=draw(st.sampled_from(["higher", "lower", "neutral"])),
    )


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
@given(measures(), st.sampled_from(["urn:neva", "https://hospital.example/fhir"]))
def test_any_measure_comes_back_equal(one, base_url):
    resource = validated(measure_to_fhir(one, base_url=base_url))
    again = measure_from_fhir(json.loads(json.dumps(resource)))
    assert again == one
    assert content_hash(again) == content_hash(one)


# ----------------------------------------------------------------- small counts

TRUE = Flag(value=True)
STRATIFIERS = {"sex": ("f", "m"), "age": ("young", "middle", "old", None)}
MEASURE = Measure(
    id="ours.measure",
    version="1.0.0",
    population=TRUE,
    numerator=TRUE,
    exclusions=(Named(name="x", of=TRUE), Named(name="y", of=TRUE)),
    components=(Named(name="a", of=TRUE), Named(name="b", of=TRUE)),
    treated=TRUE,
    stratifiers=tuple(Named(name=name, of=Text(value="f")) for name in STRATIFIERS),
)
STATUSES = ("met", "failed", "pending", "excluded", "unknown")
START = datetime(2024, 1, 1, tzinfo=UTC)


def made_run(rows):
    """A run of one measure with these cases."""
    cases = [
        {
            "measure": MEASURE.id,
            "subject_id": 7_000_000_000 + number,
            "stay_id": 8_000_000_000 + number,
            "status": status,
            "placed": START + timedelta(hours=number) if placed else None,
            "treated": treated,
            "unit": unit,
            "excluded_by": excluded if status == "excluded" else [],
            "components_met": ["a", "b"] if status == "met" else components,
            "strata": [{"name": "sex", "value": sex}, {"name": "age", "value": age}],
        }
        for number, (status, sex, age, unit, treated, excluded, components, placed) in enumerate(
            rows
        )
    ]
    return MeasureRun(
        programme="",
        settings={},
        measures=(MEASURE,),
        cases=pl.DataFrame(cases, schema=CASES),
        outside={MEASURE.id: 0},
        errors=pl.DataFrame(
            schema={"subject_id": pl.Int64, "stay_id": pl.Int64, "reason": pl.String}
        ),
        hashes={MEASURE.id: content_hash(MEASURE)},
        sources={MEASURE.id: Sources(0, None, None)},
        now=START + timedelta(days=100),
        identity="h@1/latest",
        zone="Europe/Moscow",
        refused=0,
        engine="reference",
        points={},
    )


@st.composite
def runs(draw):
    """Runs of groups of equal cases, so that sizes lie around the limit."""
    group = st.tuples(
        st.tuples(
            st.sampled_from(STATUSES),
            st.sampled_from(STRATIFIERS["sex"]),
            st.sampled_from(STRATIFIERS["age"]),
            st.sampled_from(["icu", "ward", None]),
            st.sampled_from([True, False, None]),
            st.sampled_from([["x"], ["y"], ["x", "y"]]),
            st.sampled_from([["a"], ["b"], []]),
            st.sampled_from([True, True, True, False]),
        ),
        st.sampled_from([1, 3, 4, 5, 6, 9, 20]),
    )
    groups = draw(st.lists(group, max_size=9))
    return made_run([row for row, count in groups for _ in range(count)])


def two_parts():
    """Three who had neither part: known from the total if both parts are shown."""
    patterns = [["a", "b"]] * 20 + [["a"]] * 6 + [["b"]] * 6 + [[]] * 3
    return made_run(
        [
            ("met" if len(parts) == 2 else "failed", "f", "old", "icu", False, [], parts, True)
            for parts in patterns
        ]
    )


class Attack:
    """What somebody can work out who has a report: unknowns, and what is known of their sums."""

    def __init__(self):
        self.truth: dict[tuple, int] = {}
        self.known: list[dict[tuple, int]] = []

    def unknown(self, key, value):
        self.truth[key] = value
        return key

    def says(self, *keys, minus=()):
        self.known.append({**dict.fromkeys(keys, 1), **dict.fromkeys(minus, -1)})

    def found_out(self):
        """Every single unknown that the equations determine, with its true value."""
        keys = list(self.truth)
        if not self.known:
            return {}
        matrix = np.array([[row.get(key, 0) for key in keys] for row in self.known], dtype=float)
        _, sizes, right = np.linalg.svd(matrix)
        basis = right[: int((sizes > 1e-9).sum())]
        determined = np.isclose((basis**2).sum(axis=0), 1.0, atol=1e-9)
        return {
            key: self.truth[key] for key, is_out in zip(keys, determined, strict=True) if is_out
        }


IN = {
    "initial-population": STATUSES,
    "denominator": ("met", "failed", "excluded"),
    "denominator-exclusion": ("excluded",),
    "numerator": ("met",),
}


def count(frame, status):
    return int((frame["status"] == status).sum())


def read(attack, of, keys):
    """Put what a group or stratum shows into equations."""
    for one in of["population"]:
        if "count" in one:
            attack.says(*(keys[status] for status in IN[one["code"]["coding"][0]["code"]]))
    for one in of.get("extension", []):
        what, number = one["extension"][:2]
        if "valueInteger" in number:
            attack.says(keys[what["valueCode"]])


def attacked(run, report):
    attack = Attack()
    whole = {s: attack.unknown(("all", s), count(run.cases, s)) for s in STATUSES}
    main, *others = report["group"]
    read(attack, main, whole)
    excluded = run.cases.filter(pl.col("status") == "excluded")
    firsts = [
        attack.unknown(
            ("first", x), excluded.filter(pl.col("excluded_by").list.first() == x).height
        )
        for x in ("x", "y")
    ]
    attack.says(*firsts, minus=[whole["excluded"]])
    (exclusion,) = (
        one for one in main["population"] if "exclusion" in one["code"]["coding"][0]["code"]
    )
    for key, one in zip(firsts, exclusion["extension"], strict=True):
        if "valueInteger" in one["extension"][1]:
            attack.says(key)
    for stratifier in main.get("stratifier", []):
        name = stratifier["code"][0]["coding"][0]["code"]
        column = (
            pl.col("unit")
            if name == "unit"
            else pl.col("strata").list.get(list(STRATIFIERS).index(name)).struct.field("value")
        )
        shown = []
        rows = []
        for number, stratum in enumerate(stratifier["stratum"]):
            coding = stratum["value"].get("coding", [{}])[0].get("code")
            if coding == "masked":
                named = ~pl.any_horizontal(*shown, pl.lit(value=False))
            else:
                named = column.eq_missing(pl.lit(stratum["value"].get("text"), dtype=pl.String))
                shown.append(named)
            part = run.cases.filter(named)
            keys = {s: attack.unknown((name, number, s), count(part, s)) for s in STATUSES}
            read(attack, stratum, keys)
            rows.append(keys)
        for status in STATUSES:
            attack.says(*(row[status] for row in rows), minus=[whole[status]])
    for other in others:
        flag = (
            pl.col("treated").fill_null(value=False)
            if other["id"] == "treated"
            else pl.col("components_met").list.contains(other["id"][-1])
        )
        # A component's denominator is that of the measure: only its numerator is new.
        inside = STATUSES if other["id"] == "treated" else ("met", "failed")
        keys = {}
        for status in inside:
            of_status = run.cases.filter(pl.col("status") == status)
            yes = attack.unknown(
                (other["id"], "yes", status), count(of_status.filter(flag), status)
            )
            no = attack.unknown((other["id"], "no", status), count(of_status.filter(~flag), status))
            attack.says(yes, no, minus=[whole[status]])
            keys[status] = yes
        if other["id"] == "treated":
            read(attack, other, keys)
        elif "count" in other["population"][-1]:
            attack.says(*keys.values())
            # Whoever met the measure met each of its parts.
            attack.says((other["id"], "no", "met"))
    # Nobody who failed has both parts: the measure asks for all of them.
    failed = run.cases.filter(pl.col("status") == "failed")
    only = {
        name: attack.unknown(
            ("only", name), failed.filter(pl.col("components_met").list.contains(name)).height
        )
        for name in ("a", "b")
    }
    neither = attack.unknown(
        ("neither",), failed.filter(pl.col("components_met").list.len() == 0).height
    )
    attack.says(*only.values(), neither, minus=[whole["failed"]])
    for name, key in only.items():
        attack.says(key, minus=[(f"component-{name}", "yes", "failed")])
    return attack


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=150)
@given(runs())
@example(made_run([]))
@example(two_parts())
def test_no_small_count_can_be_worked_out_from_a_summary(run):
    report = summary_report(
        run, MEASURE.id, synthetic=False, by=["sex", "age", "unit"], below=BELOW
    )
    if run.cases.height % 3 == 0:
        validated(report)
    found = attacked(run, report).found_out()
    small = {key: value for key, value in found.items() if 0 < value < BELOW}
    assert small == {}


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
@given(runs())
def test_a_summary_shows_no_small_count_and_no_patient(run):
    report = summary_report(run, MEASURE.id, synthetic=False, below=BELOW)
    counts = report_from_fhir(report).counts["count"].drop_nulls()
    assert not counts.is_between(1, BELOW - 1).any()
    text = json.dumps(report)
    assert "7000000" not in text
    assert "8000000" not in text


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
@given(runs())
def test_populations_add_up(run):
    report = summary_report(run, MEASURE.id, synthetic=False, below=1)
    found = {
        one["code"]["coding"][0]["code"]: one["count"] for one in report["group"][0]["population"]
    }
    statuses = {status: count(run.cases, status) for status in STATUSES}
    assert found["initial-population"] == run.cases.height
    assert found["initial-population"] == (
        found["denominator"] + statuses["pending"] + statuses["unknown"]
    )
    assert found["denominator"] == (
        found["denominator-exclusion"] + found["numerator"] + statuses["failed"]
    )
    listed = subject_list_report(run, MEASURE.id, synthetic=False)
    again = {
        one["code"]["coding"][0]["code"]: one["count"] for one in listed["group"][0]["population"]
    }
    assert again == found


def test_the_attack_finds_out_what_is_left_open():
    attack = Attack()
    whole, one, other = (
        attack.unknown((name,), value) for name, value in (("t", 9), ("a", 6), ("b", 3))
    )
    attack.says(one, other, minus=[whole])
    attack.says(whole)
    assert attack.found_out() == {("t",): 9}
    attack.says(one)
    assert attack.found_out()[other] == 3
