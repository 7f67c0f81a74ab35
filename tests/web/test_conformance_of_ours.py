"""Our own service under the checks of `neva cds-verify`, with a patient who raises cards."""

import json
from uuid import UUID

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class
from tests.asgi import AsgiTransport
from tests.bedside_patients import (
    NOW,
    PATIENT,
    SERVICE,
    STEROID,
    bundle,
    call,
    cards_by_rule,
    encounter,
    observations,
    prefetch,
)
from tests.bedsides import served
from tests.hospitals import new_hospital

from neva.cds.conformance.verify import verify_service


@pytest.fixture(scope="module")
def bedside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conformance")
    with served(new_hospital(folder).path, folder, NOW) as made:
        yield made


@pytest.fixture(scope="module")
def cards(bedside):
    # An hour later than the other tests: nothing is quiet.
    with bedside.bedside.state.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM cards")
    found = cards_by_rule(bedside.post(SERVICE, call()))
    assert STEROID in found
    return list(found.values())


def test_our_service_conforms_and_its_cards_were_checked(bedside):
    with bedside.bedside.state.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM cards")
    # The stay in the context of the checks' own calls.
    name = "neva-check-encounter"
    own = [one | {"encounter": {"reference": f"Encounter/{name}"}} for one in observations()]
    sent = prefetch(encounters=bundle([encounter(name)]), observations=bundle(own))
    with httpx.Client(transport=AsgiTransport(bedside.client.app)) as client:
        report = verify_service(
            "http://127.0.0.1:8321",
            client=client,
            prefetch=sent,
            patient=PATIENT,
            now=lambda: NOW,
        )
    failed = [(one.check.id, one.places) for one in report.results if one.result == "failed"]
    assert failed == []
    assert report.conforms
    assert report.cards >= 1
    made = {one.check.id for one in report.results if one.tested > 0}
    wanted = {"suggestion.behavior", "card.override-reasons", "card.source-url"}
    wanted |= {"card.uuid-unique", "feedback.overridden", "feedback.accepted"}
    wanted |= {"feedback.several", "feedback.again"}
    assert wanted <= made, sorted(wanted - made)


def _values(value):
    yield value
    for inner in value.values() if isinstance(value, dict) else ():
        yield from _values(inner)
    for inner in value if isinstance(value, list) else ():
        yield from _values(inner)


def test_nothing_is_null_or_empty(bedside, cards):
    for document in (cards, bedside.client.get("/cds-services").json()):
        assert not any(one is None or one in ("", [], {}) for one in _values(document))


def test_summaries_are_short_and_indicators_known(cards):
    assert all(0 < len(card["summary"]) < 140 for card in cards)
    assert {card["indicator"] for card in cards} <= {"info", "warning", "critical"}


def test_uuids_are_uuids_and_unique(cards):
    names = [card["uuid"] for card in cards]
    names += [one["uuid"] for card in cards for one in card.get("suggestions", ())]
    assert len(set(names)) == len(names)
    assert all(str(UUID(name)) == name for name in names)


def test_suggestions_say_how_they_are_chosen_and_are_valid_drafts(cards):
    resources = []
    for card in cards:
        assert ("suggestions" in card) == ("selectionBehavior" in card)
        assert card.get("selectionBehavior", "any") in ("any", "at-most-one")
        for suggestion in card.get("suggestions", ()):
            for action in suggestion["actions"]:
                assert action["type"] == "create"
                resources.append(action["resource"])
    assert resources
    for resource in resources:
        model = get_fhir_model_class(resource["resourceType"])
        assert model.model_validate_json(json.dumps(resource)).status == "draft"
        assert resource["subject"] == {"reference": f"Patient/{PATIENT}"}


def test_templates_name_only_the_patient_of_the_context(bedside):
    for service in bedside.client.get("/cds-services").json()["services"]:
        for template in service["prefetch"].values():
            assert template.count("{{") == template.count("}}") == 1
            assert "{{context.patientId}}" in template
            filled = template.replace("{{context.patientId}}", "1")
            assert httpx.URL(f"https://fhir.example/{filled}").path.count("/") <= 2
