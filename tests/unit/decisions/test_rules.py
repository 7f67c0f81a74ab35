"""Laws of every rule that is installed, and each thing that a rule may not be."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.rule_tables import rules

from neva.decisions.cards import card_of, finding_of, hash_of
from neva.decisions.rules import (
    ANTICOAGULANT_NEEDS,
    Escalation,
    Rule,
    Suggestion,
    from_json,
    read,
    rule,
)
from neva.definitions.documents import content_hash, to_json
from neva.definitions.language import events, hours, subject
from neva.errors import BadInputError, UsageError

RULES = rules()
NOW = datetime(2021, 2, 1, 12, tzinfo=UTC)
HOLDS = subject.sex.is_known()


def made(**changes) -> Rule:
    parts = {
        "id": "test.rule",
        "version": "1.0.0",
        "population": HOLDS,
        "condition": HOLDS,
        "summary": "Look",
        "source": "test",
        "owner": "nurse",
    } | changes
    return rule(parts.pop("id"), **parts)


# ------------------------------------------------------------ what is installed


def test_the_ten_rules_are_installed():
    assert len(RULES) == 10


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_is_json_and_back(name):
    text = to_json(RULES[name])
    again = from_json(text)
    assert again == RULES[name]
    assert content_hash(again) == content_hash(RULES[name])
    assert to_json(again) == text


def values_of(one: Rule, extreme: str) -> dict:
    """Answers of a rule in which every input is extreme."""
    by_type = {
        "number": {"least": -1.7e308, "most": 1.7e308, "tiny": 5e-324, "long": 123456789.987654},
        "text": {"least": "", "most": "Ж" * 5000, "tiny": "x", "long": "a b " * 500},
        "boolean": {"least": False, "most": True, "tiny": False, "long": True},
        "time": {
            "least": datetime(1900, 1, 1, tzinfo=UTC),
            "most": datetime(2199, 12, 31, 23, 59, tzinfo=UTC),
            "tiny": NOW,
            "long": NOW,
        },
    }
    answers = {
        key: None if extreme == "missing" else by_type[node.type.name][extreme]
        for key, node in one.outputs.items()
    }
    return answers | {"population": True, "condition": True, "treated": False, "limited": False}


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("extreme", ["least", "most", "tiny", "long", "missing"])
def test_the_summary_is_short_and_nothing_is_proposed_but_a_draft(name, extreme):
    one = RULES[name]
    card = card_of(
        finding_of(one, values_of(one, extreme)), subject="1", stay="2", now=NOW, zone="UTC"
    )
    assert 0 < len(card.summary) < 140
    assert "{" not in card.summary
    json.dumps(card.content, allow_nan=False)
    for suggestion in card.content.get("suggestions", ()):
        for action in suggestion["actions"]:
            resource = action["resource"]
            assert action["type"] == "create"
            assert (resource["status"], resource["intent"]) == ("draft", "proposal")
            assert resource["resourceType"] in ("MedicationRequest", "ServiceRequest")
            known = {
                "resourceType", "status", "intent", "code", "medicationCodeableConcept",
                "subject", "encounter",
            }  # fmt: skip
            assert set(resource) <= known  # no dosageInstruction, no dispenseRequest
    assert not any(
        word in json.dumps(card.content).lower() for word in ("dosage", '"delete"', '"update"')
    )


def test_what_is_unknown_is_said_to_be_unknown_and_never_no():
    for one in RULES.values():
        card = card_of(
            finding_of(one, values_of(one, "missing")), subject="1", stay="2", now=NOW, zone="UTC"
        )
        assert len(card.missing) == len(one.inputs)
        for title in card.missing:
            assert f"- {title}" in card.detail


def test_a_rule_that_speaks_of_anticoagulants_shows_what_must_be_known():
    of = {name for name, one in RULES.items() if one.proposes == "anticoagulant"}
    assert of == {"acute-care.anticoagulant-order", "covid19.thromboprophylaxis"}
    for name in of:
        assert set(ANTICOAGULANT_NEEDS) <= {one.name for one in RULES[name].inputs}


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_says_whose_guidance_it_is_why_it_spoke_and_how_to_disagree(name):
    one = RULES[name]
    assert one.title
    assert one.title_ru
    assert one.source
    assert one.logic
    assert one.override_reasons
    assert one.validation == "not validated here"
    if one.limited is not None:
        assert "ceiling of care" in one.logic
    if one.act_within_minutes is not None:
        assert one.escalation
        assert one.escalation[0].after_minutes >= one.act_within_minutes


# ---------------------------------------------------------------------- hashes

CHANGES = {
    "version": "1.0.1",
    "title": "Other",
    "summary": "Other",
    "detail": "Other",
    "logic": "Other",
    "owner": "other",
    "indicator": "critical",
    "quiet_hours": 1.0,
    "critical_from": 3.0,
    "act_within_minutes": 5.0,
    "hooks": ("order-sign",),
    "stage": "model",
    "valid_from": date(2021, 1, 1),
    "validation": "elsewhere",
    "source": "other",
    "condition": (~HOLDS).node,
    "population": (~HOLDS).node,
    "treated": HOLDS.node,
    "limited": HOLDS.node,
    "escalation": (Escalation(after_minutes=1, owner="x"),),
    "inputs": (read("x", "X", HOLDS),),
    "suggestions": (
        Suggestion(label="a", resource="ServiceRequest", code="LOINC//1-1", display="b"),
    ),
}


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_the_hash_changes_with_the_content(field):
    before = made()
    after = before.model_copy(update={field: CHANGES[field]})
    assert hash_of(before) != hash_of(after)
    assert hash_of(before) == hash_of(made())


# -------------------------------------------------------------- what is refused


def drug(code="ATC//H02AB02", **changes):
    words = {"label": "Draft an order", "resource": "MedicationRequest", "display": "x"}
    return Suggestion(**{**words, "code": code, **changes})


NEEDS = tuple(read(name, name, HOLDS) for name in ANTICOAGULANT_NEEDS)

REFUSED = {
    "no dose": {"summary": "Give 6 mg"},
    "no dose ": {"detail": "heparin 5000 IU"},
    "no dose  ": {"detail": "дексаметазон 6 мг"},
    "no dose   ": {"suggestions": (drug(label="Order 40mg"),)},
    "no dose    ": {"suggestions": (drug(display="enoxaparin 40 mg"),)},
    "no dose     ": {"summary": "Give 6 mg/kg"},
    "no dose      ": {"summary": "Run it at 20 mg/h"},
    "no dose       ": {"summary": "Run it at 20 mL/h"},
    "no dose        ": {"logic": "6 mg a day"},
    "no dose         ": {"title": "6 mg"},
    "no dose          ": {"override": {"x": "Had 6 mg"}},
    "no stopping": {"summary": "Stop the drug"},
    "no stopping ": {"detail": "Discontinue heparin"},
    "no stopping  ": {"detail": "отменить препарат"},
    "no stopping   ": {"suggestions": (drug(label="withdraw it"),)},
    "says so": {"suggestions": (drug("ATC//B01AF02"),), "inputs": NEEDS},
    "it lacks platelets": {"proposes": "anticoagulant", "inputs": NEEDS[1:]},
    "it lacks egfr": {"proposes": "anticoagulant", "inputs": (NEEDS[0], *NEEDS[2:])},
    "it lacks bleeding": {"proposes": "anticoagulant", "inputs": (*NEEDS[:2], NEEDS[3])},
    "it lacks current-anticoagulant": {"proposes": "anticoagulant", "inputs": NEEDS[:3]},
    "two inputs have one name": {"inputs": (read("x", "X", HOLDS), read("x", "Y", HOLDS))},
    "does not have": {"summary": "It is {x}"},
    "does not have ": {"detail": "It is {x}"},
    "does not have  ": {"logic": "It is {x}"},
    "order of time": {
        "escalation": (
            Escalation(after_minutes=60, owner="x"),
            Escalation(after_minutes=30, owner="y"),
        )
    },
    "lies before": {"valid_from": date(2021, 2, 2), "valid_until": date(2021, 2, 1)},
    "at most 139": {"summary": "x" * 140},
}


@pytest.mark.parametrize("why", sorted(REFUSED))
def test_an_unsafe_rule_is_refused(why):
    with pytest.raises((ValidationError, UsageError), match=why.strip()):
        made(**REFUSED[why])


@pytest.mark.parametrize("part", ["population", "condition", "treated", "limited", "severity"])
def test_a_part_of_another_type_is_refused(part):
    value = events("LOINC//2524-7").within(hours(4)).last().value("mmol/L")
    with pytest.raises((ValidationError, UsageError), match=part):
        made(**{part: value})


def test_an_anticoagulant_with_all_that_must_be_known_is_accepted():
    proposed = made(suggestions=(drug("ATC//B01AF02"),), proposes="anticoagulant", inputs=NEEDS)
    assert proposed.proposes == "anticoagulant"


def test_units_of_a_measurement_are_no_dose():
    assert made(
        detail="Lactate above 4 mmol/L, CRP 50 mg/L, eGFR below 30 mL/min, ratio of 3 mg/mmol"
    ).detail


@pytest.mark.parametrize(
    "suggestion",
    [
        {"resource": "Procedure"},
        {"code": "H02AB02"},
        {"label": ""},
        {"label": "x" * 81},
        {"dosageInstruction": []},
    ],
)
def test_a_suggestion_of_another_kind_is_refused(suggestion):
    with pytest.raises(ValidationError):
        drug(**suggestion)


def test_a_file_that_is_no_rule_is_refused_by_its_place():
    whole = json.loads(to_json(made()))
    with pytest.raises(BadInputError, match="indicator"):
        from_json(json.dumps(whole | {"indicator": "loud"}))
    with pytest.raises(BadInputError, match="dose"):
        from_json(json.dumps(whole | {"summary": "Give 6 mg"}))


def test_days_in_force_include_both_ends():
    one = made(valid_from=date(2021, 2, 1), valid_until=date(2021, 2, 3))
    days = [date(2021, 1, 31), date(2021, 2, 1), date(2021, 2, 3), date(2021, 2, 4)]
    assert [one.valid_on(day) for day in days] == [False, True, True, False]
    assert made().valid_on(date(1900, 1, 1))


# ----------------------------------------------------------------------- cards

shown_text = made(
    summary="Found {x}", detail="Recorded: {x}", inputs=(read("x", "X", subject.sex),)
)


@settings(max_examples=60)
@given(st.text(max_size=300))
def test_a_recorded_text_breaks_no_card(text):
    answers = {"population": True, "condition": True, "input.x": text}
    card = card_of(finding_of(shown_text, answers), subject="1", stay=None, now=NOW, zone="UTC")
    assert len(card.summary) < 140
    assert card == card_of(
        finding_of(shown_text, answers), subject="1", stay=None, now=NOW, zone="UTC"
    )


def test_a_recorded_text_is_no_markup():
    answers = {"population": True, "condition": True, "input.x": "[a](http://b) <b> | **c**"}
    card = card_of(finding_of(shown_text, answers), subject="1", stay=None, now=NOW, zone="UTC")
    for markup in ("[a](", "<b>", " | **c"):
        assert markup not in card.detail
    assert "\\[a\\]" in card.detail


def test_the_card_has_another_name_with_another_input_time_patient_or_version():
    answers = {"population": True, "condition": True, "input.x": "a"}

    def name(one=shown_text, subject="1", now=NOW, **more):
        found = finding_of(one, answers | more)
        return card_of(found, subject=subject, stay="2", now=now, zone="UTC").uuid

    names = [
        name(),
        name(subject="2"),
        name(now=NOW.replace(minute=1)),
        name(one=shown_text.model_copy(update={"version": "1.0.1"})),
        name(**{"input.x": "b"}),
        name(severity=2.0),
    ]
    assert len(set(names)) == len(names)
    assert name() == names[0]


@pytest.mark.parametrize(
    ("severity", "indicator"), [(None, "info"), (1.9, "info"), (2.0, "critical"), (9.0, "critical")]
)
def test_a_card_is_critical_from_a_severity_on(severity, indicator):
    one = made(critical_from=2.0)
    answers = {"population": True, "condition": True, "severity": severity}
    card = card_of(finding_of(one, answers), subject="1", stay=None, now=NOW, zone="UTC")
    assert card.indicator == indicator


@pytest.mark.parametrize(
    ("population", "holds", "treated", "limited", "raises", "unknown"),
    [
        (True, True, None, None, True, False),
        (True, True, False, False, True, False),
        (True, True, True, None, False, False),
        (True, True, None, True, False, False),
        (True, None, None, None, False, True),
        (True, False, None, None, False, False),
        (None, True, None, None, False, True),
        (None, None, None, None, False, True),
        (None, False, None, None, False, False),
        (False, True, None, None, False, False),
        (False, None, None, None, False, False),
    ],
)
def test_unknown_raises_nothing_and_is_counted(
    population, holds, treated, limited, raises, unknown
):
    answers = {
        "population": population, "condition": holds, "treated": treated, "limited": limited,
    }  # fmt: skip
    found = finding_of(made(), answers)
    assert (found.raises, found.is_unknown) == (raises, unknown)
