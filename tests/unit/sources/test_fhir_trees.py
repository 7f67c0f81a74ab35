"""Encounters that are parts of others, that are over without an end, and where patients were."""

import pytest
from tests.bedside_patients import (
    NOW,
    SERVICE,
    bundle,
    call,
    prefetch,
)
from tests.bedside_patients import encounter as bedside_encounter
from tests.bedsides import served
from tests.fhir_files import Deliveries, at, encounter, part, patient, place, potassium
from tests.hospitals import new_hospital

from neva.census import intervals
from neva.flow.stays.sojourns import sojourns_of


@pytest.fixture
def hospital(tmp_path):
    return Deliveries(tmp_path / "h")


DAYS = [f"2020-03-{number:02}T10:00:00Z" for number in range(1, 20)]


def spans(rows):
    return [(row["start"], row["end"]) for row in rows]


def test_parts_with_places_become_movements_of_the_one_stay(hospital):
    hospital.take(
        patient(),
        encounter("whole", DAYS[0], DAYS[9]),
        part("a", "whole", DAYS[0], DAYS[4], location=[place("north")]),
        part("b", "whole", DAYS[4], DAYS[9], location=[place("icu", DAYS[4], DAYS[6]),
                                                      place("south", DAYS[6], DAYS[9])]),
    )  # fmt: skip
    (stay,) = hospital.rows("stays")
    moves = hospital.rows("movements")
    assert [row["unit"] for row in moves] == ["north", "icu", "south"]
    assert {row["stay_id"] for row in moves} == {stay["stay_id"]}
    los = intervals.of_stays(hospital.hospital.snapshot()).frame
    assert spans(los.to_dicts()) == [(at(DAYS[0]), at(DAYS[9]))]


def test_where_a_part_says_where_the_patient_was_the_whole_does_not_say_it_again(hospital):
    hospital.take(
        patient(),
        encounter("whole", DAYS[0], DAYS[9], location=[place("north")]),
        part("icu", "whole", DAYS[3], DAYS[5], location=[place("icu")]),
    )
    assert [(row["unit"], row["start"], row["end"]) for row in hospital.rows("movements")] == [
        ("north", at(DAYS[0]), at(DAYS[3])),
        ("icu", at(DAYS[3]), at(DAYS[5])),
        ("north", at(DAYS[5]), at(DAYS[9])),
    ]


def test_events_of_a_part_are_events_of_the_stay(hospital):
    hospital.take(
        part("deep", "middle", DAYS[1], DAYS[2]),
        part("middle", "whole", DAYS[0], DAYS[4]),
        potassium("o1", encounter={"reference": "Encounter/deep"}),
        encounter("whole", DAYS[0], DAYS[9]),
        patient(),
    )
    (stay,) = hospital.rows("stays")
    assert {row["stay_id"] for row in hospital.rows("events")} == {stay["stay_id"]}


@pytest.mark.parametrize(
    ("whole", "inner", "kinds"),
    [
        ("EMER", "IMP", ["inpatient"]),
        ("EMER", "AMB", ["emergency"]),
        ("OBSENC", "ACUTE", ["inpatient"]),
        ("", "EMER", ["emergency"]),
        ("IMP", "EMER", ["inpatient"]),
        # A course of visits is no stay in hospital, and what is one is not lost in it.
        ("AMB", "IMP", ["inpatient", "outpatient"]),
        ("AMB", "AMB", ["outpatient"]),
    ],
)
def test_a_stay_is_of_the_kind_that_its_parts_make_it(hospital, whole, inner, kinds):
    hospital.take(
        patient(),
        encounter("whole", DAYS[0], DAYS[9]) | {"class": {"code": whole}},
        part("inner", "whole", DAYS[2], DAYS[5]) | {"class": {"code": inner}},
    )
    assert sorted(row["kind"] for row in hospital.rows("stays")) == kinds


def test_a_newborn_is_no_part_of_the_mothers_stay(hospital):
    hospital.take(
        patient("mother"),
        patient("child"),
        encounter("m", DAYS[0], DAYS[5], of="mother"),
        part("c", "m", DAYS[1], DAYS[5], of="child"),
    )
    assert len(hospital.rows("stays")) == 2
    assert len({row["subject_id"] for row in hospital.rows("stays")}) == 2


def test_parts_of_each_other_in_a_circle_are_refused(hospital):
    summary = hospital.take(
        patient(),
        part("a", "b", DAYS[0], DAYS[1]),
        part("b", "a", DAYS[0], DAYS[1]),
        part("c", "c", DAYS[0], DAYS[1]),
    )
    assert summary.refusals == {"stays: reference-unresolved": 3}


def test_a_whole_of_an_earlier_delivery_stays_the_stay(hospital):
    hospital.take(patient(), encounter("whole", DAYS[0], None, status="in-progress"))
    hospital.take(part("a", "whole", DAYS[1], DAYS[2], location=[place("icu")]))
    (stay,) = hospital.rows("stays")
    (move,) = hospital.rows("movements")
    assert move["stay_id"] == stay["stay_id"]


def test_a_whole_without_a_period_begins_with_its_first_part_and_ends_with_its_last(hospital):
    hospital.take(
        patient(),
        encounter("whole", None, None),
        part("a", "whole", DAYS[1], DAYS[3]),
        part("b", "whole", DAYS[3], DAYS[7]),
    )
    assert spans(hospital.rows("stays")) == [(at(DAYS[1]), at(DAYS[7]))]


def test_a_part_entered_in_error_leaves_the_stay_alone(hospital):
    hospital.take(
        patient(),
        encounter("whole", DAYS[0], DAYS[9], location=[place("north")]),
        part("a", "whole", DAYS[1], DAYS[2], location=[place("x")], status="entered-in-error"),
    )
    assert [row["unit"] for row in hospital.rows("movements")] == ["north"]
    assert len(hospital.rows("stays")) == 1


def test_the_latest_thing_known_of_a_stay_ends_it(hospital):
    hospital.take(
        patient(),
        encounter("e", DAYS[0], None, location=[place("north", DAYS[0])]),
        potassium("o1", encounter={"reference": "Encounter/e"}, effectiveDateTime=DAYS[3]),
        potassium("o2", effectiveDateTime=DAYS[18]),
    )
    assert spans(hospital.rows("stays")) == [(at(DAYS[0]), at(DAYS[3]))]
    assert spans(hospital.rows("movements")) == [(at(DAYS[0]), at(DAYS[3]))]
    snapshot = hospital.hospital.snapshot()
    assert sojourns_of(snapshot).frame.select("end", "next", "lost").rows() == [
        (at(DAYS[3]), None, True)
    ]
    assert intervals.of_movements(snapshot).frame["lost"].to_list() == [True]


def test_an_end_that_is_told_later_takes_the_place_of_the_latest_time_known(hospital):
    hospital.take(patient(), encounter("e", DAYS[0], None))
    summary = hospital.take(encounter("e", DAYS[0], DAYS[7]))
    assert summary.warnings == {}
    assert spans(hospital.rows("stays")) == [(at(DAYS[0]), at(DAYS[7]))]
    found = intervals.of_stays(hospital.hospital.snapshot(as_of=hospital.received)).frame
    assert found["lost"].to_list() == [False]


def test_a_place_without_an_end_is_left_with_the_encounter(hospital):
    left = place("north", DAYS[0]) | {"status": "completed"}
    hospital.take(
        patient(),
        encounter("e", DAYS[0], DAYS[9], location=[left, place("south", DAYS[4])]),
        encounter("f", DAYS[12], None, status="in-progress", location=[place("east", DAYS[12])]),
    )
    assert [(row["unit"], row["end"]) for row in hospital.rows("movements")] == [
        ("north", at(DAYS[4])),
        ("south", at(DAYS[9])),
        ("east", None),
    ]


@pytest.fixture(scope="module")
def bedside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trees")
    with served(new_hospital(folder).path, folder, NOW) as made:
        yield made


def _cards(bedside, **sent):
    with bedside.bedside.state.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM cards")
    answer = bedside.post(SERVICE, call(prefetch(**sent)))
    assert answer.status_code == 200
    return answer.json()["cards"]


def test_at_the_bedside_a_part_in_context_means_the_stay_that_it_is_part_of(bedside):
    inner = bedside_encounter(partOf={"reference": "Encounter/whole"})
    stays = bundle([bedside_encounter("whole"), inner])
    plain = [card["summary"] for card in _cards(bedside)]
    assert [card["summary"] for card in _cards(bedside, encounters=stays)] == plain


def test_at_the_bedside_a_finished_stay_without_an_end_is_over(bedside):
    over = bundle([bedside_encounter(status="finished")])
    assert not any("NEWS2" in card["summary"] for card in _cards(bedside, encounters=over))
