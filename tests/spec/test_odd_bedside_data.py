"""What a record system may send wrongly, and what the cards make of it."""

import copy

import pytest
from tests.bedside_patients import (
    NOW,
    OTHER,
    PATIENT,
    SERVICE,
    STAY,
    STEROID,
    bundle,
    call,
    cards_by_rule,
    dose,
    encounter,
    observation,
    observations,
    order,
    patient,
    prefetch,
)
from tests.bedsides import served
from tests.hospitals import new_hospital

from neva.cds.requests import read_request

NOTE = "Some of what was sent could not be read"
NEWS2 = "acute-care.news2-emergency"


@pytest.fixture(scope="module")
def bedside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    with served(new_hospital(folder).path, folder, NOW) as made:
        yield made


@pytest.fixture(scope="module")
def ask(bedside):
    """Cards of a call by rule; nothing is quiet because of an earlier call."""

    def asked(sent=None, **more):
        with bedside.bedside.state.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM cards")
        return cards_by_rule(bedside.post(SERVICE, call(sent, **more)))

    return asked


def _without_notes(cards):
    """Cards without the lines of their detail that say what could not be read."""
    made = copy.deepcopy(cards)
    for card in made.values():
        lines = card["detail"].splitlines()
        card["detail"] = "\n".join(line for line in lines if NOTE not in line)
    return made


MALFORMED = [
    None,
    "Observation",
    {"resourceType": "Observation"},
    {"resourceType": 7, "id": "m1"},
    observation("m2", "LOINC//59408-5", 40.0, "%") | {"status": "most-final"},
    observation("m3", "LOINC//59408-5", 40.0, "%") | {"effectiveDateTime": "yesterday"},
    observation("m4", "LOINC//59408-5", 40.0, "bananas"),
    observation("m5", "LOINC//59408-5", float("1e400"), "%"),
    observation("\ud800", "LOINC//59408-5", 40.0, "%"),
    observation("m6", "LOINC//59408-5", 40.0, "%") | {"code": [[]]},
]


def test_ten_malformed_resources_among_two_hundred_change_nothing_but_a_note(ask):
    old = [
        observation(f"old-{number}", "LOINC//59408-5", 97.0, "%", hours=-20 - number / 10)
        for number in range(200 - len(observations()))
    ]
    good = [*observations(), *old]
    clean = ask(prefetch(observations=bundle(good)))
    assert NEWS2 in clean
    assert STEROID in clean
    assert not any(NOTE in card["detail"] for card in clean.values())
    mixed = list(good)
    for number, bad in enumerate(MALFORMED):
        mixed.insert(number * 20, bad)
    found = ask(prefetch(observations=bundle(mixed)))
    assert all(NOTE in card["detail"] for card in found.values())
    assert _without_notes(found) == clean


def test_what_is_another_patients_is_counted_and_reaches_no_card(ask):
    clean = ask()
    stranger = [
        observation("x1", "LOINC//59408-5", 99.0, "%", of=OTHER, hours=-0.1),
        # The same id as one of the patient's, changed later.
        observations()[0]
        | {
            "subject": {"reference": f"Patient/{OTHER}"},
            "meta": {"lastUpdated": NOW.isoformat()},
            "valueQuantity": {"value": 99.0, "code": "%"},
        },
    ]
    sent = prefetch(
        observations=bundle([*stranger, *observations()]),
        medication_administrations=bundle([dose("x2", of=OTHER)]),
    )
    found = ask(sent)
    assert all("other-patient 3" in card["detail"] for card in found.values())
    assert _without_notes(found) == clean


def test_a_patient_resource_of_somebody_else_is_no_answer(bedside):
    assert bedside.post(SERVICE, call(prefetch(patient=patient(OTHER)))).status_code == 412


def test_a_stay_of_another_patient_is_not_the_stay(ask):
    sent = prefetch(encounters=bundle([encounter(of=OTHER)]))
    assert STEROID not in ask(sent)


def test_a_stay_that_was_not_sent_is_unknown(ask):
    cards = ask(prefetch(encounters=bundle([encounter("another")])))
    assert STEROID not in cards
    assert all("Not sent" in card["detail"] for card in cards.values())


@pytest.mark.parametrize(
    "died",
    [{"deceasedBoolean": True}, {"deceasedDateTime": "2026-01-05"}, {"deceasedDateTime": "2026"}],
    ids=["without a date", "today", "this year"],
)
def test_the_dead_get_no_cards(ask, died):
    assert ask() != {}
    assert ask(prefetch(patient=patient(**died))) == {}


def test_the_same_resource_under_two_keys_counts_once(ask):
    clean = ask()
    twice = prefetch(conditions=bundle(observations()))
    twice["something-else"] = bundle(observations())
    assert ask(twice) == clean


def test_the_newest_version_of_a_resource_counts_wherever_it_stands(ask):
    first = observations()[0]
    amended = first | {
        "status": "amended",
        "meta": {"lastUpdated": "2026-01-05T11:30:00Z"},
        "valueQuantity": {"value": 91.0, "code": "%"},
    }
    for order_sent in ([amended, *observations()], [*observations(), amended]):
        assert "| 91 % |" in ask(prefetch(observations=bundle(order_sent)))[STEROID]["detail"]


def test_what_was_entered_in_error_is_not_looked_at(ask):
    wrong = observations()[0] | {"status": "entered-in-error"}
    sent = prefetch(observations=bundle([wrong, *observations()[1:]]))
    assert "- SpO2" in ask(sent)[STEROID]["detail"].partition("**Not known:**")[2]


def test_a_malformed_copy_does_not_hide_the_sound_one(ask):
    clean = ask()
    broken = observations()[0] | {"effectiveDateTime": "yesterday"}
    found = ask(prefetch(observations=bundle([broken, *observations()])))
    assert _without_notes(found) == clean


@pytest.mark.parametrize(
    "more",
    [
        {"effectiveDateTime": "2026-01-05T12:00:01Z"},
        {"effectiveDateTime": "2026-01-05T11:59:00Z", "issued": "2026-01-05T12:30:00Z"},
    ],
    ids=["measured", "recorded"],
)
def test_what_is_later_than_now_is_not_looked_at_and_told(ask, more):
    clean = ask()
    later = observation("later", "LOINC//59408-5", 99.0, "%") | more
    found = ask(prefetch(observations=bundle([*observations(), later])))
    assert all("later-than-now 1" in card["detail"] for card in found.values())
    assert _without_notes(found) == clean


def test_offsets_of_times_are_read(ask):
    # 14:30 in Moscow is half an hour before now, 14:30 UTC is later than now.
    local = observation("l", "LOINC//59408-5", 88.0, "%")
    local["effectiveDateTime"] = "2026-01-05T14:30:00+03:00"
    assert (
        "| 88 % | 2026-01-05 14:30 |"
        in ask(prefetch(observations=bundle([*observations(), local])))[STEROID]["detail"]
    )


def test_convertible_units_are_converted_and_others_are_not_used(ask):
    warm = [one for one in observations() if not one["id"].endswith("8310-5")]
    fahrenheit = observation("f", "LOINC//8310-5", 102.92, "[degF]")
    clean, same = ask(), ask(prefetch(observations=bundle([*warm, fahrenheit])))
    assert clean[NEWS2]["summary"] == same[NEWS2]["summary"]
    litres = observation("f", "LOINC//8310-5", 39.4, "L")
    other = ask(prefetch(observations=bundle([*warm, litres])))
    assert other[NEWS2]["summary"] != clean[NEWS2]["summary"]


def test_a_steroid_that_was_given_clears_the_card(ask):
    assert STEROID in ask()
    assert STEROID not in ask(prefetch(medication_administrations=bundle([dose("d1")])))


@pytest.mark.parametrize(
    "unusable",
    [
        {},
        {"resourceType": "OperationOutcome", "issue": [{"severity": "error"}]},
        "nothing",
        7,
        [],
        {"resourceType": "Patient", "id": PATIENT},
        bundle([{"resourceType": "OperationOutcome"}]),
        {"resourceType": "Bundle", "entry": 7},
        bundle([], link=[{"relation": "next", "url": "page=2"}]),
        bundle([], total=3),
        bundle([{"resourceType": "OperationOutcome", "issue": [{"severity": "fatal"}]}, None]),
    ],
    ids=repr,
)
def test_a_value_that_is_no_answer_never_says_no(ask, unusable):
    sent = prefetch(medication_administrations=unusable, medication_requests=unusable)
    card = ask(sent).get(STEROID)
    assert card is None or "| Systemic steroid in the last 24 h | no |" not in card["detail"]


def test_a_page_that_is_not_sorted_does_not_say_how_far_back_it_reaches(ask):
    # The newest come last: what was not sent may be newer still.
    rising = [
        observation(f"r{number}", "LOINC//59408-5", 90.0, "%", hours=-30 + number)
        for number in range(3)
    ]
    link = [{"relation": "next", "url": "page=2"}]
    assert NEWS2 not in ask(prefetch(observations=bundle(rising, link=link)))


def test_drafts_without_ids_are_each_looked_at_and_only_orders(bedside):
    drafts = [order("a", "ATC//B01AB05"), order("b")]
    for one in drafts:
        del one["id"]
    drafts.append({"resourceType": "Patient", "id": PATIENT, "deceasedBoolean": True})
    context = {
        "userId": "Practitioner/1",
        "patientId": PATIENT,
        "encounterId": STAY,
        "draftOrders": bundle(drafts),
    }
    services = bedside.bedside.services()
    body = call(hook="order-sign", context=context)
    request = read_request(body, "order-sign")
    answer = services.answer(services.service("neva-order-sign"), request, now=NOW)
    planned = [row.code for row in answer.record.timeline.rows if row.status == "planned"]
    assert sorted(planned) == ["ATC//B01AB05", "ATC//H02AB02"]
    assert answer.record.unreadable == {"not-an-order": 1}
    assert not answer.record.is_dead
