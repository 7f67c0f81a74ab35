"""A model speaks like a rule: in a replay, at the bedside, and never live while it is locked."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from tests.bedsides import Served
from tests.model_cases import demo_plan
from tests.people import People, hour
from tests.unit.models.test_artefact import trained

from neva.decisions.replay import cards_of
from neva.decisions.replay_figures import figures, sweep
from neva.definitions.points import EveryHours
from neva.definitions.run import answer, points_of
from neva.errors import UsageError
from neva.events.hospital import create_hospital
from neva.models.artefact import artefact_hash, load_artefact, save_artefact
from neva.models.rules import PROBABILITY, predicted, replay_model, rule_of_model


@pytest.fixture(scope="module")
def model():
    return trained(plan=demo_plan()).model


@pytest.fixture
def snapshot():
    people = People()
    for subject, ldh in ((1, 200.0), (2, 900.0), (3, None)):
        people.admit(subject, covid=False)
        if ldh is not None:
            people.event(subject, 3, "X//ldh", ldh, "U/L")
    return people.snapshot(as_of=hour(30))


def test_a_replay_of_a_model_is_its_prediction_at_each_point(model, snapshot):
    points = points_of(snapshot, EveryHours(hours=1))
    slow = answer(snapshot, model.outputs, points=points, engine="reference").frame
    probability = model.predict(slow).frame["probability"]
    found = replay_model(snapshot, model, threshold=0.3, quiet_hours=4)
    raised = slow.with_columns(p=probability).filter(pl.col("p") >= 0.3)
    assert found.alerts.height == raised.height > 0
    joined = found.alerts.join(raised, on=["stay_id", "now"])
    assert (joined["severity"] - joined["p"]).abs().max() < 1e-12
    assert found.looked["points"].sum() == points.height
    table = figures(found).rules
    assert table["cards"].to_list() == [found.alerts["shown"].sum()]
    assert sweep(found, found.rules[0])["threshold"].min() >= 0.3


def test_a_model_is_judged_by_its_own_outcome_within_its_own_horizon(model, snapshot):
    found = replay_model(snapshot, model, threshold=0.3)
    (outcome,) = found.judged_by.values()
    assert (outcome.of, outcome.within_hours) == (model.outcome, model.horizon_hours)
    row = figures(found).rules.row(0, named=True)
    assert (row["outcome"], row["within_hours"]) == (outcome.title, model.horizon_hours)
    assert replay_model(snapshot, model, threshold=0.3, judge=False).judged_by == {}


def test_a_value_recorded_late_is_not_predicted_from_before(model):
    people = People()
    people.admit(1, covid=False)
    people.event(1, 3, "X//ldh", 900.0, "U/L", recorded=10)
    found = replay_model(people.snapshot(as_of=hour(20)), model, threshold=0.5)
    assert found.alerts["now"].min() >= hour(10)


def test_the_card_says_what_moved_the_prediction_and_that_it_is_locked(model):
    rule = rule_of_model(model, artefact="abc")
    answers = {"population": True, "input.demo-ldh": 900.0, "input.demo-age": 80.0,
               "input.demo-male": True}  # fmt: skip
    told, reasons = predicted(model, answers)
    assert told[f"input.{PROBABILITY}"] == pytest.approx(100 * told["severity"])
    assert told["condition"] is (told["severity"] >= model.threshold)
    assert reasons
    assert "Locked to demonstration" in rule.detail
    assert rule.stage == "model"
    assert "not validated here" in rule.validation


def test_a_model_that_knows_less_than_half_is_not_asked(model):
    told, reasons = predicted(model, {"population": True, "input.demo-age": 80.0})
    assert (told["condition"], told["severity"], reasons) == (None, None, ())


def test_a_threshold_lies_between_0_and_1(model):
    with pytest.raises(UsageError, match="between 0 and 1"):
        rule_of_model(model, threshold=1.0)


def _call(bedside: Served, ldh: float, now) -> dict:
    patient = {"reference": "Patient/p"}
    observation = {
        "resourceType": "Observation",
        "id": "o",
        "status": "final",
        "code": {"coding": [{"system": "https://neva.invalid/CodeSystem/X", "code": "ldh"}]},
        "subject": patient,
        "effectiveDateTime": (now - timedelta(hours=1)).isoformat(),
        "issued": (now - timedelta(hours=1)).isoformat(),
        "valueQuantity": {"value": ldh, "unit": "U/L", "code": "U/L"},
    }
    stay = {
        "resourceType": "Encounter",
        "id": "e",
        "status": "in-progress",
        "class": {"code": "IMP"},
        "subject": patient,
        "period": {"start": (now - timedelta(hours=5)).isoformat()},
    }
    return {
        "hook": "patient-view",
        "hookInstance": "1",
        "context": {"userId": "Practitioner/1", "patientId": "p", "encounterId": "e"},
        "prefetch": {
            "patient": {"resourceType": "Patient", "id": "p", "birthDate": "1940-05-01",
                        "gender": "male"},
            "observations": {"resourceType": "Bundle", "type": "searchset",
                             "entry": [{"resource": observation}]},
            "encounters": {"resourceType": "Bundle", "type": "searchset",
                           "entry": [{"resource": stay}]},
        },
    }  # fmt: skip


@pytest.mark.parametrize("locked", [True, False])
def test_a_locked_model_is_only_asked_in_silence(model, tmp_path, locked):
    from fastapi.testclient import TestClient

    from neva.decisions.cards import hash_of
    from neva.state.settings import WebSettings
    from neva.web.application import create_application

    now = hour(100)
    create_hospital(tmp_path / "hospital", zone="UTC", now=now)
    save_artefact(replace(model, demonstration_only=locked), tmp_path / "model")
    settings = WebSettings(
        hospital=tmp_path / "hospital",
        state=tmp_path / "state.sqlite",
        programmes=(),
        models=(tmp_path / "model",),
        now=lambda: now,
    )
    application = create_application(settings)
    bedside = application.state.bedside
    rule = bedside.rules[model.id]
    assert rule == rule_of_model(
        load_artefact(tmp_path / "model"), artefact=artefact_hash(tmp_path / "model")
    )
    for to in ("draft", "silent", "live"):
        bedside.state.rules.change(
            rule.id, rule.version, hash_of(rule), to, actor="t", reason="t", at=now
        )
    with TestClient(application, base_url=settings.base_url) as client:
        served = Served(client, bedside, [now])
        answered = served.post("neva-patient-view", _call(served, 5000.0, now)).json()
        log = bedside.state.cards.between(hour(0), hour(200))
    assert log["rule"].to_list() == [model.id]
    assert log["state"].to_list() == ["silent" if locked else "live"]
    cards = answered["cards"]
    assert len(cards) == (0 if locked else 1)
    if not locked:
        assert "Moved the prediction" in cards[0]["detail"]
        percent = f"{log['severity'][0] * 100:.2f}".rstrip("0").rstrip(".")
        assert f"probability {percent} %" in cards[0]["summary"]


def test_a_replay_of_a_model_makes_no_cards_by_itself(model, snapshot):
    found = replay_model(snapshot, model, threshold=0.3)
    # Its condition is no expression: the engine knows nothing of it.
    assert cards_of(snapshot, replace(found, alerts=found.alerts.head(0))) == []
