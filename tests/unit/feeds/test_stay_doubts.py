"""Stays in doubt: counted once each, as long as the doubt is there, whatever the order."""

import random

import pytest
from tests.feeds import PROFILE, applied, fed
from tests.unit.feeds.test_stays_from_messages import adt

from neva.feeds.status import feed_status

MESSAGES = 20


def in_doubt(hospital, feed="his"):
    found = feed_status(
        hospital, feed, hospital.snapshot().stored("batches").collect()["imported"][0]
    )
    return {(kind, reason, about): number for kind, reason, about, number in found.doubts}


UNSEEN = ("ADT", "admission-unseen", "")


def test_a_stay_whose_admission_is_unseen_counts_once_until_the_admission_comes(tmp_path):
    hospital = fed(tmp_path / "hospital", [adt("A02", 2), adt("A02", 1, visit="V2")])
    assert in_doubt(hospital) == {UNSEEN: 2}
    applied(hospital, [adt("A02", 3, place="ICU^1^1"), adt("A08", 4)])
    assert in_doubt(hospital) == {UNSEEN: 2}
    applied(hospital, [adt("A01", 0)])
    assert in_doubt(hospital) == {UNSEEN: 1}
    applied(hospital, [adt("A11", 0, told=5)])
    applied(hospital, [adt("A01", 0, visit="V2")])
    assert in_doubt(hospital) == {}


def test_a_cancellation_counts_with_its_event_until_what_it_cancels_comes(tmp_path):
    hospital = fed(tmp_path / "hospital", [adt("A01", 0), adt("A13", 3, told=4)])
    assert in_doubt(hospital) == {("ADT", "cancel-unmatched", "A13"): 1}
    applied(hospital, [adt("A12", 2, told=5)])
    assert in_doubt(hospital) == {
        ("ADT", "cancel-unmatched", "A12"): 1, ("ADT", "cancel-unmatched", "A13"): 1,
    }  # fmt: skip
    applied(hospital, [adt("A03", 3, end=3)])
    assert in_doubt(hospital) == {("ADT", "cancel-unmatched", "A12"): 1}


def test_another_patient_is_in_doubt_until_a_merge_shows_that_it_is_the_same(tmp_path):
    hospital = fed(tmp_path / "hospital", [adt("A01", 0), adt("A02", 2, patient="P2")])
    assert in_doubt(hospital) == {("ADT", "subject-other", ""): 1}
    applied(hospital, [adt("A40", 3, visit="", patient="P1", mrg="P2^^^H^MR")])
    assert in_doubt(hospital) == {}


def test_a_doubt_that_another_feed_resolves_is_no_longer_counted(tmp_path):
    other = PROFILE.model_copy(update={"name": "emergency"})
    hospital = fed(tmp_path / "hospital", [adt("A02", 2)])
    applied(hospital, [adt("A01", 0)], profile=other)
    assert in_doubt(hospital) == in_doubt(hospital, "emergency") == {}
    applied(hospital, [adt("A13", 3)], profile=other)
    assert in_doubt(hospital) == {}
    assert in_doubt(hospital, "emergency") == {("ADT", "cancel-unmatched", "A13"): 1}


@pytest.mark.parametrize("seed", range(4))
def test_what_is_in_doubt_does_not_depend_on_order_or_batches(tmp_path, seed):
    chance = random.Random(seed)
    messages = [
        adt(chance.choice(["A01", "A02", "A03", "A11", "A12", "A13", "A08"]), chance.randrange(9),
            told=10 + number, visit=chance.choice("XYZ"), patient=chance.choice(["P1", "P1", "P2"]))
        for number in range(MESSAGES)  # at one moment the order of arrival counts
    ]  # fmt: skip
    whole = in_doubt(fed(tmp_path / "whole", messages))
    shuffled = chance.sample(messages, len(messages))
    parts = in_doubt(fed(tmp_path / "parts", shuffled, most=chance.randint(1, 5)))
    assert whole == parts
    assert whole
