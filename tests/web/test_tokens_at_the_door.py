"""Who may call: tokens of clients, end to end through the web door."""

import json

import pytest
import yaml
from tests.bedside_patients import NOW, SERVICE, call
from tests.bedsides import served
from tests.hospitals import new_hospital
from tests.signing_keys import jwk, private_key

from neva.decisions.conformance_requests import Signer
from neva.web.application import create_application
from neva.web.settings import WebSettings

BASE = "http://127.0.0.1:8321/cds-services"
SIGNER = Signer("https://ehr.example/", "p384", "ES384", private_key("p384"))
FEEDBACK = {
    "feedback": [
        {
            "card": "c1",
            "outcome": "overridden",
            "outcomeTimestamp": "2026-01-05T12:01:00Z",
        }
    ]
}


@pytest.fixture(scope="module")
def bedside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("door")
    (folder / "keys.json").write_text(json.dumps({"keys": [jwk("p384")]}))
    clients = folder / "clients.yaml"
    content = {"issuer": SIGNER.issuer, "name": "record", "jwks": "keys.json"}
    clients.write_text(yaml.safe_dump({"clients": [content]}))
    with served(new_hospital(folder).path, folder, NOW, clients=clients) as made:
        yield made


def _headers(audience, **changes):
    return {"Authorization": f"Bearer {SIGNER.token(audience, NOW, **changes)}"}


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


def test_feedback_has_an_audience_of_its_own(bedside):
    own = _headers(f"{BASE}/{SERVICE}/feedback")
    assert bedside.post(f"{SERVICE}/feedback", FEEDBACK, headers=own).status_code == 200
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


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "neva.hospital.example", ""])
def test_without_a_file_of_clients_only_this_machine_is_served(tmp_path, host):
    """Where others can reach the address, there is no CDS Hooks without a file of clients."""
    settings = WebSettings(hospital=new_hospital(tmp_path).path, host=host)
    application = create_application(settings)
    assert "/cds-services" not in application.openapi()["paths"]
    application.state.bedside.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_needs_no_file_of_clients(tmp_path, host):
    assert WebSettings(hospital=tmp_path, host=host).clients is None
