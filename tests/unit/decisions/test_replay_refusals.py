"""What a replay refuses before it runs, in words that say what to do."""

import polars as pl
import pytest
from pydantic import ValidationError
from tests.people import People, hour

from neva.decisions.outcomes import Outcome, judged_by
from neva.decisions.replay import replay
from neva.decisions.replay_figures import MOST_THRESHOLDS, sweep
from neva.decisions.rules import rule
from neva.definitions.language import events, hours, number, stay, subject
from neva.definitions.points import EveryHours
from neva.definitions.run import points_of
from neva.definitions.writing import feature
from neva.errors import UsageError

DEATH = feature("test.death", subject.death, version="1.0.0")
AGE = feature("test.age", subject.age_at(stay.start), version="1.0.0")


def made(name="test.potassium", hooks=("patient-view",), **changes):
    last = events("LOINC//2823-3").within(hours(24)).last()
    parts = {
        "version": "1.0.0", "population": stay.end.is_missing(), "hooks": hooks,
        "condition": last.value("mmol/L") >= 5,
        "severity": last.value("mmol/L") / number(1, "mmol/L"),
        "summary": "Look", "source": "test", "owner": "nurse",
    }  # fmt: skip
    return rule(name, **parts | changes)


@pytest.fixture
def snapshot():
    people = People()
    for one in range(1, 60):
        people.admit(one, covid=False)
        people.event(one, 2, "LOINC//2823-3", 5 + one / 50, "mmol/L")
    return people.snapshot(as_of=hour(8))


def test_a_rule_that_is_given_twice_is_refused(snapshot):
    with pytest.raises(UsageError, match="a rule is given twice; give each rule"):
        replay(snapshot, [made(), made()])


def test_points_are_refused_for_a_rule_of_discharges(snapshot):
    points = points_of(snapshot, EveryHours(hours=4))
    leaving = made("test.leaving", hooks=("encounter-discharge",))
    with pytest.raises(UsageError, match=r"points stand for the hours.*test\.leaving"):
        replay(snapshot, [leaving], points=points)


def test_an_outcome_is_a_time_and_ends():
    with pytest.raises(ValidationError, match="the outcome must be a time"):
        Outcome(of=AGE)
    with pytest.raises(ValidationError, match="needs within_hours"):
        Outcome(of=DEATH, ends_with_stay=False)
    with pytest.raises(UsageError, match="replay: the outcome must be a time"):
        judged_by({("a", "1.0.0"): None}, AGE)


def test_one_outcome_in_place_of_each_rules_own_has_the_usual_horizon():
    own = {("a", "1.0.0"): None, ("b", "1.0.0"): Outcome(of=DEATH)}
    assert judged_by(own, None) == {("b", "1.0.0"): Outcome(of=DEATH)}
    instead = judged_by(own, DEATH)
    assert set(instead) == set(own)
    assert {one.within_hours for one in instead.values()} == {24}


def test_of_many_severities_a_spread_of_thresholds_is_tried(snapshot):
    found = replay(snapshot, [made()], outcome=DEATH)
    severities = found.alerts["severity"].unique().sort()
    assert severities.len() > MOST_THRESHOLDS
    tried = sweep(found, made())["threshold"]
    assert tried.len() == MOST_THRESHOLDS
    assert (tried[0], tried[-1]) == (severities[0], severities[-1])
    assert tried.is_in(severities.implode()).all()
    assert found.to_frame().equals(found.alerts)


def test_a_rule_about_orders_of_nobody_has_no_points(snapshot):
    ordering = made("test.ordering", hooks=("order-sign",))
    found = replay(snapshot, [ordering], outcome=DEATH)
    assert found.alerts.is_empty()
    assert isinstance(found.alerts, pl.DataFrame)
