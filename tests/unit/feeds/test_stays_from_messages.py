"""Visits that are merged, moved, deleted, begun before the feed: stays as a reader sees them."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.feeds import PROFILE, applied, fed, local_ids, seen
from tests.hospitals import new_hospital, take

DAY = datetime(2026, 1, 5, tzinfo=UTC)


CONTROLS = itertools.count()


def at(hours):
    return DAY + timedelta(hours=hours)


def dtm(moment):
    return moment.strftime("%Y%m%d%H%M%S+0000")


def adt(event, hours, *, visit="V1", patient="P1", place="W^1^1", told=None, mrg=None, start=None,
        end=None, kind="I", prior=""):  # fmt: skip
    sent = dtm(at(hours if told is None else told))
    pv1 = ["PV1", "1", kind, place, "", "", prior, *[""] * 12, visit, *[""] * 24]
    pv1 += [dtm(at(start)) if start is not None else "", dtm(at(end)) if end is not None else ""]
    lines = [
        f"MSH|^~\\&|HIS|H|N|N|{sent}||ADT^{event}|K{next(CONTROLS)}|P|2.5",
        f"EVN|{event}|{sent}||||{dtm(at(hours))}",
        f"PID|1||{patient}^^^H^MR||TEST^{patient}||19700101|F",
    ]
    if mrg is not None:
        lines.append(f"MRG|{mrg}")
    lines.append("|".join(pv1))
    return ("\r".join(lines) + "\r").encode()


def stays_of(hospital, moment=None):
    return [row[:3] for row in seen(hospital, moment)["stays"]]


def places_of(hospital, moment=None):
    return [(row[0], row[1], row[2], row[3]) for row in seen(hospital, moment)["movements"]]


def test_a_merged_visit_goes_into_the_surviving_one(tmp_path):
    messages = [
        adt("A04", 0, visit="V1", place="ED^1^1", kind="E"),
        adt("A01", 3, visit="V2", place="W^1^1"),
        adt("A42", 4, visit="V2", mrg="P1^^^H^MR||||V1"),
        adt("A03", 9, visit="V2", end=9),
    ]
    hospital = fed(tmp_path / "hospital", messages)
    assert len(stays_of(hospital, at(3.5))) == 2
    assert stays_of(hospital) == [("P1", at(0), at(9))]
    assert places_of(hospital) == [("P1", at(0), at(3), "ED"), ("P1", at(3), at(9), "W")]


def test_a_visit_that_is_moved_to_another_patient_is_the_others_from_then_on(tmp_path):
    messages = [
        adt("A01", 0, patient="P1"),
        adt("A45", 2, patient="P2", mrg="P1^^^H^MR||||V1"),
        adt("A02", 4, patient="P2", place="ICU^1^1"),
    ]
    hospital = fed(tmp_path / "hospital", messages)
    assert stays_of(hospital, at(1)) == [("P1", at(0), None)]
    assert stays_of(hospital) == [("P2", at(0), None)]
    assert places_of(hospital) == [("P2", at(0), at(4), "W"), ("P2", at(4), None, "ICU")]


def test_a_deleted_visit_is_gone_and_was_there_before(tmp_path):
    hospital = fed(tmp_path / "hospital", [adt("A01", 0), adt("A23", 2)])
    assert stays_of(hospital) == places_of(hospital) == []
    assert stays_of(hospital, at(1)) == [("P1", at(0), None)]


def test_a_message_about_another_patients_visit_changes_no_stay(tmp_path):
    hospital = fed(tmp_path / "hospital", [adt("A01", 0), adt("A03", 2, patient="P9", end=2)])
    assert stays_of(hospital) == [("P1", at(0), None)]


def test_chains_and_circles_of_merges_end_with_the_last_survivor(tmp_path):
    messages = [
        adt("A01", 0, patient="A"),
        adt("A40", 1, patient="B", mrg="A^^^H^MR"),
        adt("A40", 2, patient="C", mrg="B^^^H^MR"),
        adt("A40", 3, patient="A", mrg="C^^^H^MR"),
    ]
    hospital = fed(tmp_path / "hospital", messages)
    found = [stays_of(hospital, at(hours))[0][0] for hours in (0.5, 1.5, 2.5, 3.5)]
    assert found == ["A", "B", "C", "A"]
    assert [row[0] for row in seen(hospital)["subjects"]] == ["A"]


def test_a_cancelled_transfer_of_several_is_the_one_of_its_time(tmp_path):
    messages = [
        adt("A01", 0),
        adt("A02", 1, place="X^1^1"),
        adt("A02", 2, place="Y^1^1"),
        adt("A12", 1, told=3, place="W^1^1"),
    ]
    assert places_of(fed(tmp_path / "of-event", messages)) == [
        ("P1", at(0), at(2), "W"), ("P1", at(2), None, "Y"),
    ]  # fmt: skip
    profile = PROFILE.model_copy(update={"cancel_time": "of-cancelling"})
    messages[-1] = adt("A12", 3, place="X^1^1")
    assert places_of(fed(tmp_path / "of-cancelling", messages, profile=profile)) == [
        ("P1", at(0), at(1), "W"), ("P1", at(1), None, "X"),
    ]  # fmt: skip


def test_a_stay_whose_admission_nobody_told_begins_where_the_message_says_it_was(tmp_path):
    message = adt("A02", 5, place="ICU^1^1", start=1, prior="W^2^2")
    hospital = fed(tmp_path / "hospital", [message])
    assert stays_of(hospital) == [("P1", at(1), None)]
    assert places_of(hospital) == [("P1", at(1), at(5), "W"), ("P1", at(5), None, "ICU")]


def test_a_stay_imported_before_the_feed_began_goes_on_with_its_messages(tmp_path):
    hospital = new_hospital(tmp_path)
    profile = PROFILE.model_copy(update={"assigner": "test"})
    known = {"recorded": at(0.5), "file": "f", "row": 1}
    take(
        hospital, tmp_path / "adt.csv", [], now=at(1),
        stays=[{"stay": "V1", "subject": "P1", "start": at(0), "kind": "emergency", **known}],
        movements=[{"stay": "V1", "subject": "P1", "start": at(0), "unit": "ED", **known}],
    )  # fmt: skip
    applied(
        hospital,
        [adt("A02", 3, place="W^1^1"), adt("A03", 7, end=7, place="W^1^1")],
        profile=profile,
    )
    assert set(local_ids(hospital).values()) == {"P1"}
    assert stays_of(hospital) == [("P1", at(0), at(7))]
    assert places_of(hospital) == [("P1", at(0), at(3), "ED"), ("P1", at(3), at(7), "W")]
    assert places_of(hospital, at(2)) == [("P1", at(0), None, "ED")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    numbers = itertools.count()
    return lambda: tmp_path_factory.mktemp("fed") / f"h{next(numbers)}"


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["A02", "A02", "A12", "A03", "A13", "A08", "A11", "A01"]),
        st.integers(0, 12),
        st.sampled_from(["W^1^1", "ICU^1^1", "W^1^2"]),
    ),
    max_size=7,
)


@settings(max_examples=12)
@given(MOVES, st.randoms(use_true_random=False), st.integers(1, 4))
def test_any_story_is_the_same_in_any_order_and_no_one_is_in_two_beds(folders, moves, rng, most):
    """The oracle is the same story told once, in order, in one batch."""
    messages = [adt("A01", 0, place="ED^1^1")]
    for number, (event, hours, place) in enumerate(moves, 1):
        end = hours if event == "A03" else None
        # Each is known an hour after the one before: no two at the same moment.
        messages.append(adt(event, hours, told=12 + number, place=place, end=end))
    plain = fed(folders(), messages)
    shuffled = [*messages, *messages]
    rng.shuffle(shuffled)
    other = fed(folders(), shuffled, most=most)
    for hours in (*range(12, 21), None):
        moment = None if hours is None else at(hours)
        assert seen(other, moment) == seen(plain, moment)
        lying = sorted((row[1], row[2]) for row in places_of(plain, moment)) if moment else []
        for (_, end), (start, _) in itertools.pairwise(lying):
            assert end is not None
            assert end <= start


def result(control, hours, *, visit="V1", told=None, status="F", value="5"):
    sent = dtm(at(hours if told is None else told))
    lines = [
        f"MSH|^~\\&|LAB|H|N|N|{sent}||ORU^R01|{control}-{next(CONTROLS)}|P|2.5",
        "PID|1||P1^^^H^MR",
        "|".join(["PV1", "1", "I", "W^1^1", *[""] * 15, visit]),
        f"OBR|1||{control}|P^PANEL^LN",
        f"OBX|1|NM|G^GLUC^LN||{value}|mmol/L|||||{status}|||{dtm(at(hours))}",
    ]
    return ("\r".join(lines) + "\r").encode()


def results_of(hospital, moment=None):
    found = hospital.snapshot(as_of=moment).events().collect()
    return sorted(found.filter(found["code"] == "LOINC//G")["value"].to_list())


def test_a_deleted_visit_takes_its_results_and_no_other_with_it(tmp_path):
    messages = [
        adt("A01", 0), adt("A01", 0, visit="V2"),
        result("R1", 1, value="1"), result("R2", 1, visit="V2", value="2"),
        result("R3", 1, visit="", value="3"), adt("A23", 4),
    ]  # fmt: skip
    hospital = fed(tmp_path / "hospital", messages)
    assert results_of(hospital) == [2.0, 3.0]
    assert results_of(hospital, at(3)) == [1.0, 2.0, 3.0]
    applied(hospital, [result("R4", 5, value="4")])
    assert results_of(hospital) == [2.0, 3.0, 4.0]  # told after it was deleted


@pytest.mark.parametrize("most", [1, 2, 9])
@pytest.mark.parametrize("order", [*itertools.permutations(range(4))][::3])
def test_results_of_a_deleted_visit_go_in_any_order(tmp_path, order, most):
    messages = [
        adt("A01", 0), result("R1", 1, value="1"), result("R1", 1, told=2, status="C", value="2"),
        adt("A23", 4),
    ]  # fmt: skip
    hospital = fed(tmp_path / "hospital", [messages[one] for one in order], most=most)
    assert results_of(hospital) == []
    assert results_of(hospital, at(1.5)) == [1.0]
    assert results_of(hospital, at(3)) == [2.0]
    assert stays_of(hospital) == []


def with_return(message, hours):
    return message + ("|".join(["PV2", *[""] * 46, dtm(at(hours))]) + "\r").encode()


def returns_of(hospital, moment=None):
    found = hospital.snapshot(as_of=moment).events().collect()
    found = found.filter(found["code"] == "NEVA//return-expected")
    return list(zip(found["time"], found["status"], strict=True))


@pytest.mark.parametrize("ends", ["A22", "A52"])
def test_an_expected_return_is_planned_until_the_patient_is_back(tmp_path, ends):
    hospital = fed(tmp_path / "hospital", [adt("A01", 0), with_return(adt("A21", 2), 9)])
    assert returns_of(hospital) == [(at(9), "planned")]
    applied(hospital, [with_return(adt("A21", 2, told=3), 12)])
    assert returns_of(hospital) == [(at(12), "planned")]
    applied(hospital, [adt(ends, 11 if ends == "A22" else 2, told=11)])
    assert returns_of(hospital) == []
    assert returns_of(hospital, at(4)) == [(at(12), "planned")]


def test_a_leave_without_an_expected_return_plans_none(tmp_path):
    hospital = fed(tmp_path / "hospital", [adt("A01", 0), adt("A21", 2), adt("A22", 4)])
    assert returns_of(hospital) == []
