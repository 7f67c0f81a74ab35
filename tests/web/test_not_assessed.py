"""What was not sent or only in part: a word that nothing could be assessed, never silence."""

import pytest
from tests.bedside_patients import NOW, SERVICE, bundle, call, encounter, observation, patient
from tests.bedsides import served
from tests.hospitals import new_hospital
from tests.shared_data import shared

RULE = "acute-care.news2-emergency"
VITALS = {
    "59408-5": (90.0, "%"),
    "8310-5": (39.5, "Cel"),
    "8480-6": (88.0, "mm[Hg]"),
    "8867-4": (135.0, "/min"),
    "9279-1": (26.0, "/min"),
}
MISSING = object()


@pytest.fixture(scope="module")
def bedside(tmp_path_factory):
    """Only the rule of the cases is live."""
    folder = tmp_path_factory.mktemp("not-assessed")
    with served(new_hospital(folder).path, folder, NOW, live=False) as made:
        made.set_state(RULE, "live")
        yield made


def six():
    return [
        *(observation(code, f"LOINC//{code}", *said) for code, said in VITALS.items()),
        observation("acvpu", "CARE//acvpu", "alert"),
    ]


@pytest.fixture
def ask(bedside):
    def asked(**sent):
        with bedside.bedside.state.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM cards")
        every = {
            "patient": patient(),
            "encounters": bundle([encounter()]),
            "observations": bundle(six()),
            **sent,
        }
        body = call({key: value for key, value in every.items() if value is not MISSING})
        answer = bedside.post(SERVICE, body)
        assert answer.status_code == 200
        return answer.json()["cards"]

    return asked


REFUSED = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "forbidden"}],
}
NEXT = [{"relation": "next", "url": "https://fhir.example/r4?page=2"}]


def test_the_case_says_what_is_expected():
    text = shared("cases", "cds-not-assessed-is-silent", "expected.md").read_text()
    assert "never silence" in text


def test_all_six_sent_give_the_critical_card(ask):
    (card,) = ask()
    assert card["indicator"] == "critical"
    assert "NEWS2 is at least 14" in card["summary"]  # oxygen is not recorded


@pytest.mark.parametrize(
    ("sent", "why", "why_ru"),
    [
        ({"observations": MISSING}, "observations not sent", "наблюдения не переданы"),
        ({"observations": REFUSED}, "observations not sent", "наблюдения не переданы"),
        ({"observations": bundle([REFUSED])}, "observations not sent", "наблюдения не переданы"),
        ({"observations": "403"}, "observations not sent", "наблюдения не переданы"),
        ({"encounters": MISSING}, "stays not sent", "госпитализации не переданы"),
        ({"encounters": bundle([encounter("another")])}, "stays not sent", "госпитализации"),
        (
            {"observations": bundle(six()[:3], link=NEXT)},
            "observations sent only in part",
            "наблюдения переданы не полностью",
        ),
        ({"observations": bundle([], total=6)}, "observations sent only in part", "не полностью"),
        (
            {"observations": bundle([*six()[:2], REFUSED])},
            "observations sent only in part",
            "не полностью",
        ),
    ],
)
def test_what_could_not_be_assessed_is_said_in_one_card(ask, sent, why, why_ru):
    (card,) = ask(**sent)
    assert card["indicator"] == "info"
    assert card["summary"] == f"Could not be assessed: NEWS2 of 7 or more ({why})"
    assert "No card does not mean that there is no risk." in card["detail"]
    assert "Отсутствие карточки не означает отсутствия риска." in card["detail"]
    assert why_ru in card["detail"]
    assert "NEWS2 7 и более" in card["detail"]
    assert len(card["summary"]) < 140


@pytest.mark.parametrize("sent", [None, bundle([])], ids=["null", "none found"])
def test_none_recorded_is_an_answer(ask, sent):
    assert ask(observations=sent) == []


def test_a_healthy_patient_of_whom_all_was_sent_gets_no_card(ask):
    well = [observation("o", "LOINC//59408-5", 98.0, "%")]
    assert ask(observations=bundle(well)) == []


def test_the_dead_and_the_discharged_are_not_assessed_and_nothing_is_said(ask):
    assert ask(patient=patient(deceasedBoolean=True), observations=MISSING) == []
    home = encounter(status="finished")
    home["period"]["end"] = NOW.isoformat()
    assert ask(encounters=bundle([home]), observations=MISSING) == []


def test_a_rule_that_is_not_live_says_nothing(bedside, ask):
    bedside.set_state(RULE, "silent")
    assert ask(observations=MISSING) == []
    bedside.set_state(RULE, "live")


def test_a_card_that_rests_on_a_part_says_so(ask):
    (card,) = ask(observations=bundle(six(), link=NEXT))
    assert "observations" in card["detail"]


def test_several_rules_share_one_card(tmp_path):
    with served(new_hospital(tmp_path).path, tmp_path, NOW) as bedside:
        body = call({"patient": patient(), "encounters": bundle([encounter()])})
        (card,) = bedside.post(SERVICE, body).json()["cards"]
        assert card["indicator"] == "info"
        assert len(card["summary"]) < 140
        assert "observations" in card["summary"]
