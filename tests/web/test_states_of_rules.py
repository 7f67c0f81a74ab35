"""Which rules speak: live ones, in force, with the content that was made live."""

import dataclasses
from datetime import date, timedelta

import pytest
from tests.bedside_patients import NOW, SERVICE, STEROID, call, cards_by_rule
from tests.bedsides import served

from neva.cds.service import STATES_FOR
from neva.decisions.cards import hash_of
from neva.errors import ConflictError
from neva.web.application import create_application

DAY = timedelta(days=1)


def _forget(bedside):
    with bedside.bedside.state.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM cards")


def _cards(bedside):
    _forget(bedside)
    return cards_by_rule(bedside.post(SERVICE, call()))


def _change(bedside, to, rule_id=STEROID):
    rule = bedside.bedside.rules[rule_id]
    bedside.bedside.state.rules.change(
        rule.id, rule.version, hash_of(rule), to, actor="test", reason="test", at=bedside.now
    )


def test_a_rule_whose_content_changed_is_not_asked(bedside):
    assert STEROID in _cards(bedside)
    rule = bedside.bedside.rules[STEROID]
    bedside.bedside.rules[STEROID] = rule.model_copy(update={"summary": "Other words"})
    bedside.now += STATES_FOR
    assert STEROID not in _cards(bedside)
    health = bedside.client.get("/health").json()
    assert health["changed"] == [STEROID]
    assert STEROID not in health["live"] + health["silent"]


def test_a_restart_keeps_what_is_live_and_sees_a_changed_rule(hospital, tmp_path, monkeypatch):
    with served(hospital.path, tmp_path, NOW) as first:
        assert STEROID in _cards(first)
        settings = dataclasses.replace(first.bedside.settings)
    again = create_application(settings).state.bedside
    try:
        assert STEROID in {rule.id for rule, _ in again.services().rules}
        assert again.changed_rules() == []
        again.rules[STEROID] = again.rules[STEROID].model_copy(update={"quiet_hours": 1.0})
        again._read_at = None
        assert STEROID not in {rule.id for rule, _ in again.services().rules}
        assert again.changed_rules() == [STEROID]
    finally:
        again.close()


def test_silent_rules_are_logged_and_never_shown(hospital, tmp_path):
    with served(hospital.path, tmp_path, NOW, live=False) as bedside:
        assert _cards(bedside) == {}
        log = bedside.bedside.state.cards.between(NOW - DAY, NOW + DAY)
        assert STEROID in log["rule"].to_list()
        assert not log["shown"].any()
        health = bedside.client.get("/health").json()
        assert health["live"] == []
        assert STEROID in health["silent"]


@pytest.mark.parametrize("to", ["silent", "retired"])
def test_a_rule_taken_out_is_gone_within_seconds(bedside, to):
    assert STEROID in _cards(bedside)
    _change(bedside, to)
    bedside.now += STATES_FOR
    assert STEROID not in _cards(bedside)
    assert STEROID not in bedside.client.get("/health").json()["live"]


@pytest.mark.parametrize(
    ("dates", "is_shown"),
    [
        ({"valid_until": date(2026, 1, 4)}, False),
        ({"valid_until": date(2026, 1, 5)}, True),
        ({"valid_from": date(2026, 1, 5)}, True),
        ({"valid_from": date(2026, 1, 6)}, False),
    ],
    ids=["over", "last day", "first day", "not yet"],
)
def test_a_rule_out_of_its_dates_is_not_shown(bedside, dates, is_shown):
    services = bedside.bedside.services()
    rules = tuple(
        (rule.model_copy(update=dates) if rule.id == STEROID else rule, state)
        for rule, state in services.rules
    )
    bedside.bedside._services = dataclasses.replace(services, rules=rules)
    assert (STEROID in _cards(bedside)) is is_shown


def test_days_of_validity_are_the_hospitals(bedside):
    # Half past ten in the evening of the 4th, UTC, is the 5th in Moscow.
    services = bedside.bedside.services()
    assert services._today(NOW.replace(day=4, hour=22, minute=30)) == date(2026, 1, 5)


def test_the_same_call_at_the_same_moment_is_no_failure(bedside):
    for _ in range(3):
        assert bedside.post(SERVICE, call()).status_code == 200
    bedside.now += timedelta(minutes=1)
    assert cards_by_rule(bedside.post(SERVICE, call())) == {}


def test_a_busy_database_is_no_bug(bedside, monkeypatch):
    def busy(*_, **__):
        raise ConflictError("the state: another process is writing; found it locked; wait")

    monkeypatch.setattr(bedside.bedside, "call", busy)
    answer = bedside.post(SERVICE, call())
    assert (answer.status_code, list(answer.json())) == (503, ["error"])
