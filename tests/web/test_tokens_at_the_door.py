"""Who may call: tokens of clients, end to end through the web door."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
import yaml
from fastapi.testclient import TestClient
from tests.bedside_patients import NOW, SERVICE, call
from tests.bedsides import served
from tests.hospitals import new_hospital
from tests.signing_keys import jwk, private_key

from neva.cds.conformance.requests import Signer
from neva.state.settings import WebSettings
from neva.web.application import create_application

BASE = "http://127.0.0.1:8321/cds-services"
SIGNER = Signer("https://ehr.example/", "p384", "ES384", private_key("p384"))
OTHER = Signer("https://other.example/", "ed25519", "EdDSA", private_key("ed25519"))


def feedback_on(card="c1", at=NOW):
    entry = {"card": card, "outcome": "overridden", "outcomeTimestamp": at.isoformat()}
    return {"feedback": [entry]}


FEEDBACK = feedback_on()


@pytest.fixture(scope="module")
def bedside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("door")
    content = []
    for signer, name in ((SIGNER, "record"), (OTHER, "other")):
        (folder / f"{name}.json").write_text(json.dumps({"keys": [jwk(signer.kid)]}))
        content.append({"issuer": signer.issuer, "name": name, "jwks": f"{name}.json"})
    clients = folder / "clients.yaml"
    clients.write_text(yaml.safe_dump({"clients": content}))
    with served(new_hospital(folder).path, folder, NOW, clients=clients) as made:
        yield made


def _headers(audience, signer=SIGNER, **changes):
    return {"Authorization": f"Bearer {signer.token(audience, NOW, **changes)}"}


@pytest.fixture
def card(bedside):
    """A card that was given to the record."""
    with bedside.bedside.state.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM cards")
    answer = bedside.post(SERVICE, call(), headers=_headers(f"{BASE}/{SERVICE}"))
    return answer.json()["cards"][0]["uuid"]


def _tell(bedside, body, *, service=SERVICE, signer=SIGNER):
    headers = _headers(f"{BASE}/{service}/feedback", signer)
    return bedside.post(f"{service}/feedback", body, headers=headers)


def _is_refused(answer):
    return answer.status_code == 401 and answer.content == b""


def test_a_good_token_passes_once(bedside):
    headers = _headers(f"{BASE}/{SERVICE}")
    assert bedside.post(SERVICE, call(), headers=headers).status_code == 200
    assert _is_refused(bedside.post(SERVICE, call(), headers=headers))


def test_nothing_is_said_to_somebody_unknown(bedside):
    assert _is_refused(bedside.post(SERVICE, call()))
    # Not even whether a service or a body is wrong.
    assert _is_refused(bedside.post("no-such-service", "no call"))
    assert _is_refused(bedside.post(f"{SERVICE}/feedback", FEEDBACK))


@pytest.mark.parametrize(
    "audience",
    [
        f"{BASE}/{SERVICE}/feedback",
        f"{BASE}/neva-order-sign",
        f"{BASE}/{SERVICE}/",
        f"https://other.example/cds-services/{SERVICE}",
        BASE,
    ],
)
def test_a_token_for_another_endpoint_is_refused(bedside, audience):
    assert _is_refused(bedside.post(SERVICE, call(), headers=_headers(audience)))


def test_no_client_answers_for_a_card_of_another(bedside, card):
    answer = _tell(bedside, feedback_on(card), signer=OTHER)
    assert (answer.status_code, "feedback[0].card" in answer.text) == (400, True)
    assert card not in answer.text
    assert _tell(bedside, feedback_on(card)).status_code == 200
    assert bedside.bedside.state.feedback.between(NOW, NOW + timedelta(1)).height == 1


def test_no_service_takes_feedback_on_a_card_of_another(bedside, card):
    others = [one for one in bedside.bedside.services().by_id if one != SERVICE]
    assert others
    for service in others:
        assert _tell(bedside, feedback_on(card), service=service).status_code == 400


@pytest.mark.parametrize("year", [1900, 2099])
def test_feedback_of_1900_or_2099_is_refused(bedside, card, year):
    answer = _tell(bedside, feedback_on(card, NOW.replace(year=year)))
    assert (answer.status_code, "outcomeTimestamp" in answer.text) == (400, True)


def test_feedback_of_ten_thousand_entries_or_of_many_bytes_is_refused(bedside, card):
    entry = feedback_on(card)["feedback"][0]
    assert _tell(bedside, {"feedback": [entry] * 10_000}).status_code == 400
    assert _tell(bedside, {"feedback": [entry], "x": "x" * 2_000_000}).status_code == 413


def test_feedback_has_an_audience_of_its_own(bedside, card):
    own = _headers(f"{BASE}/{SERVICE}/feedback")
    assert bedside.post(f"{SERVICE}/feedback", feedback_on(card), headers=own).status_code == 200
    calls = _headers(f"{BASE}/{SERVICE}")
    assert _is_refused(bedside.post(f"{SERVICE}/feedback", FEEDBACK, headers=calls))
    # It was not used up by being refused there.
    assert bedside.post(SERVICE, call(), headers=calls).status_code == 200


def test_two_headers_are_refused(bedside):
    tokens = [SIGNER.token(f"{BASE}/{SERVICE}", NOW) for _ in range(2)]
    headers = [("Authorization", f"Bearer {one}") for one in tokens]
    answer = bedside.client.post(f"/cds-services/{SERVICE}", json=call(), headers=headers)
    assert _is_refused(answer)


def test_a_token_of_yesterday_is_refused(bedside):
    at = int(NOW.timestamp()) - 86_400
    old = _headers(f"{BASE}/{SERVICE}", iat=at, exp=at + 60)
    assert _is_refused(bedside.post(SERVICE, call(), headers=old))


def test_who_called_is_in_the_audit(bedside):
    bedside.post(SERVICE, call(), headers=_headers(f"{BASE}/{SERVICE}"))
    actors = {row.actor for row in bedside.bedside.state.audit.rows()}
    assert "record: Practitioner/1" in actors


REACHABLE = [
    *({"host": host} for host in ("0.0.0.0", "::", "10.0.0.7", "neva.hospital.example", "")),
    {"base_url": "https://neva.hospital.example"},
    {"base_url": "http://10.0.0.7:8321"},
    {"base_url": "neva.hospital.example"},
    {"trusted_proxies": ("127.0.0.1",)},
]


def ask(settings, method, path, **headers):
    application = create_application(settings)
    try:
        client = TestClient(application, base_url=settings.base_url)
        return client.request(method, f"/cds-services{path}", headers=headers).status_code
    finally:
        application.state.bedside.close()


@pytest.mark.parametrize("where", REACHABLE, ids=str)
def test_where_others_reach_the_service_there_is_no_cds_hooks_without_tokens(tmp_path, where):
    """By the host, the address that people know, or a proxy before it."""
    settings = WebSettings(hospital=new_hospital(tmp_path).path, **where)
    assert settings.is_reachable_by_others
    application = create_application(settings)
    assert "/cds-services" not in application.openapi()["paths"]
    application.state.bedside.close()
    named = replace(settings, open_to_everyone=True)
    application = create_application(named)
    assert "/cds-services" in application.openapi()["paths"]
    application.state.bedside.close()


@pytest.mark.parametrize(
    "base_url", ["http://127.0.0.1:8321", "http://[::1]:8321", "http://localhost:8321"]
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_needs_no_file_of_clients(tmp_path, host, base_url):
    settings = WebSettings(hospital=tmp_path, host=host, base_url=base_url)
    assert settings.has_cds_hooks
    assert not settings.is_reachable_by_others


@pytest.mark.parametrize("path", ["", f"/{SERVICE}", f"/{SERVICE}/feedback"])
def test_cds_hooks_answers_no_other_host(tmp_path, path):
    settings = WebSettings(hospital=new_hospital(tmp_path).path)
    method = "POST" if path else "GET"
    for host in ("evil.example", "neva.hospital.example", "127.0.0.1.evil.example", ""):
        assert ask(settings, method, path, host=host) == 421
    assert ask(settings, method, path) != 421


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "via", "x-forwarded-host"])
def test_what_a_proxy_passed_on_is_not_from_this_machine(tmp_path, name):
    settings = WebSettings(hospital=new_hospital(tmp_path).path)
    assert ask(settings, "GET", "", **{name: "127.0.0.1"}) == 401
    assert ask(settings, "GET", "") == 200
