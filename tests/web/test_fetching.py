"""What was not sent is fetched: from where, what, with which token, for how long."""

import httpx
import pytest
from tests.bedside_patients import (
    NOW,
    PATIENT,
    SERVICE,
    STEROID,
    bundle,
    call,
    cards_by_rule,
    dose,
    prefetch,
)
from tests.bedsides import served
from tests.hospitals import new_hospital

from neva.cds.fhir_server import FhirServers
from neva.cds.hooks import Services
from neva.sources.fhir.server import stays_under

SERVER = "https://fhir.example/r4"
TOKEN = "example-token"
AUTHORIZATION = {"access_token": TOKEN, "token_type": "Bearer"}
KEY_BY_KIND = {
    "Observation": "observations",
    "Condition": "conditions",
    "Encounter": "encounters",
    "MedicationRequest": "medication-requests",
    "MedicationAdministration": "medication-administrations",
}


class FhirServer:
    """A FHIR server with one patient; `instead` answers for a kind otherwise."""

    def __init__(self, **instead):
        self.data, self.instead, self.requests = prefetch(), instead, []

    def __call__(self, request):
        self.requests.append(request)
        assert request.url.host == "fhir.example"
        kind = request.url.path.removeprefix("/r4/").partition("/")[0]
        if kind in self.instead:
            answer = self.instead[kind]
            return answer(request) if callable(answer) else answer
        found = self.data["patient" if kind == "Patient" else KEY_BY_KIND[kind]]
        return httpx.Response(200, json=found)


@pytest.fixture(scope="module")
def bedside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetching")
    with served(new_hospital(folder).path, folder, NOW) as made:
        yield made


@pytest.fixture(scope="module")
def ask(bedside):
    """Answer to a call with only some keys; what was asked of a server is in the server."""

    def asked(server, *keys, at=SERVER, allowed=(SERVER,), token=True, name=PATIENT, **more):
        servers = FhirServers(allowed, transport=httpx.MockTransport(server), **more)
        services = bedside.bedside.services()
        bedside.bedside._services = Services(services.rules, services.place, servers)
        with bedside.bedside.state.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM cards")
        sent = {key: value for key, value in prefetch().items() if key in keys}
        body = call(sent, fhirServer=at)
        body["context"]["patientId"] = name
        if token:
            body["fhirAuthorization"] = AUTHORIZATION
        return bedside.post(SERVICE, body)

    return asked


ALL = ("patient", *KEY_BY_KIND.values())


def test_what_is_absent_is_fetched_and_gives_the_same_cards(ask):
    server = FhirServer()
    sent = cards_by_rule(ask(server, *ALL))
    assert server.requests == []
    fetched = cards_by_rule(ask(server))
    assert len(server.requests) == len(ALL)
    assert STEROID in sent
    assert {rule: card["summary"] for rule, card in sent.items()} == {
        rule: card["summary"] for rule, card in fetched.items()
    }
    assert {one.headers.get("authorization") for one in server.requests} == {f"Bearer {TOKEN}"}


def test_only_what_is_absent_is_fetched_and_without_a_token_none_is_sent(ask):
    server = FhirServer()
    absent = "medication-administrations"
    ask(server, *(key for key in ALL if key != absent), token=False)
    assert [one.url.path for one in server.requests] == ["/r4/MedicationAdministration"]
    assert "authorization" not in server.requests[0].headers


def test_searches_reach_back_as_far_as_the_definitions(bedside, ask):
    server = FhirServer()
    ask(server)
    by_kind = {one.url.path.removeprefix("/r4/"): one.url.params for one in server.requests}
    needs = bedside.bedside.services().service(SERVICE).needs
    for need in needs.searches:
        params = by_kind[need.kind]
        assert params["patient"] == PATIENT
        dated = {"Observation": "date", "MedicationAdministration": "effective-time"}
        if need.look_back_hours is None or need.kind not in dated:
            assert not set(params) & {"date", "effective-time", "recorded-date", "authoredon"}
        else:
            assert params[dated[need.kind]].startswith("ge")


def test_a_server_that_is_not_allowed_is_never_asked(ask):
    server = FhirServer()
    for at in ("https://evil.example/r4", SERVER + ".evil.example", "https://fhir.example", ""):
        answer = ask(server, at=at)
        assert answer.status_code in (400, 412)
    assert ask(server, allowed=()).status_code == 412
    assert server.requests == []


def test_a_redirect_is_not_followed(ask):
    away = httpx.Response(302, headers={"Location": "https://evil.example/"})
    same = httpx.Response(307, headers={"Location": f"{SERVER}/Patient/other"})
    for redirect in (away, same):
        server = FhirServer(Patient=redirect)
        assert ask(server).status_code == 412
        assert [one.url.path for one in server.requests].count(f"/r4/Patient/{PATIENT}") == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/r4?page=2",
        "http://fhir.example/r4?page=2",
        "https://fhir.example:8443/r4?page=2",
        "//evil.example/",
        "https://fhir.example@evil.example/",
        "https://[broken",
        7,
        # The same host, and not the server that was named.
        "https://fhir.example/admin?page=2",
        "https://fhir.example/r4x?page=2",
        "/other?page=2",
        "../admin",
        "https://fhir.example/r4/../admin",
        "https://fhir.example/r4/%2e%2e/admin",
        "https://fhir.example/r4/%2E./admin",
        "https://fhir.example/r4/..%2fadmin",
        "https://fhir.example/r4/%252e%252e/admin",
        "https://fhir.example/r4/..\\admin",
        "\\\\evil.example\\r4",
        "https:\\evil.example/r4",
        "https://fhir.example/r4/..;/admin",
        "https://user@fhir.example/r4?page=2",
        "https://user:word@fhir.example/r4?page=2",
        "https://fhir.example/r4/\tpage",
        "file:///etc/passwd",
    ],
)
def test_a_link_to_another_host_is_not_followed_and_what_it_leads_to_is_unknown(ask, url):
    page = bundle([], link=[{"relation": "next", "url": url}])
    server = FhirServer(MedicationAdministration=httpx.Response(200, json=page))
    answer = ask(server)
    card = cards_by_rule(answer).get(STEROID)
    assert card is None or "| Systemic steroid in the last 24 h | no |" not in card["detail"]
    assert len(server.requests) == len(ALL)


def test_pages_of_the_same_server_are_joined(ask):
    def pages(request):
        if "page" in request.url.params:
            return httpx.Response(200, json=bundle([dose("d")]))
        link = [{"relation": "next", "url": "MedicationAdministration?page=2"}]
        return httpx.Response(200, json=bundle([], link=link))

    assert STEROID not in cards_by_rule(ask(FhirServer(MedicationAdministration=pages)))


@pytest.mark.parametrize(
    ("base", "link", "stays"),
    [
        ("https://a.example/fhir/", "https://a.example/fhir?page=2", True),
        ("https://a.example/fhir/", "https://a.example:443/fhir/Observation?page=2", True),
        ("https://a.example/fhir/", "HTTPS://A.example/fhir/Observation", True),
        ("https://a.example/fhir/", "?_getpages=x%2Fy", True),
        ("https://a.example/fhir/", "Observation?page=..%2F", True),
        ("https://a.example/", "https://a.example/anything", True),
        ("https://a.example/fhir/", "https://a.example/fhir2/Observation", False),
        ("https://a.example/fhir/", "https://a.example/FHIR/Observation", False),
        ("https://a.example:8443/fhir/", "https://a.example/fhir/Observation", False),
        ("https://a.example/fhir/", "Observation/../../admin", False),
        ("https://a.example/fhir/", "//b.example/fhir/", False),
    ],
)
def test_a_link_stays_under_the_base_path_of_the_server_or_is_not_followed(base, link, stays):
    assert stays_under(base, link) is stays


def _raise(error):
    def answer(request):
        raise error

    return answer


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(500),
        httpx.Response(404),
        httpx.Response(204),
        httpx.Response(200, text="no JSON"),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(200, json=[]),
        httpx.Response(200, json=None),
        httpx.Response(200, json={"resourceType": "OperationOutcome"}),
        httpx.Response(200, json={"resourceType": "Bundle", "entry": 7}),
        httpx.Response(200, json={"resourceType": "Bundle", "link": 7}),
        httpx.Response(200, text='{"resourceType": "Bundle", "total": NaN}'),
        _raise(httpx.ConnectError("down")),
        _raise(httpx.ReadTimeout("late")),
    ],
    ids=range(13),
)
def test_a_failure_is_unknown_and_never_no(ask, failure):
    def answer(request):
        return failure(request) if callable(failure) else failure

    server = FhirServer(MedicationAdministration=answer, MedicationRequest=answer)
    card = cards_by_rule(ask(server)).get(STEROID)
    assert card is None or "| Systemic steroid in the last 24 h | no |" not in card["detail"]
    assert ask(FhirServer(Patient=answer)).status_code == 412


def test_the_time_limit_is_of_the_whole_call(ask):
    seconds = iter(range(10_000))

    def slow(request):
        return httpx.Response(200, content=(b"[" for _ in range(10_000)))

    server = FhirServer(**dict.fromkeys(("Condition", "Encounter", "Observation"), slow))
    answer = ask(server, seconds=20.0, clock=lambda: float(next(seconds)))
    assert answer.status_code == 412 or cards_by_rule(answer) is not None
    # The first endless answer used up the time; nothing was asked after it.
    assert len(server.requests) <= 3
    assert next(seconds) < 60


@pytest.mark.parametrize("name", ["a b", "1?x=2", "1#x", "1&code=2", "1%2F2", "é", "1,2", "a$b"])
def test_the_patients_id_stays_an_id_in_every_url(ask, name):
    seen = []

    def answer(request):
        seen.append(request.url)
        return httpx.Response(404)

    assert ask(answer, name=name).status_code == 412
    patient, *searches = seen
    assert httpx.URL(str(patient)).path == f"/r4/Patient/{name}"
    assert patient.query == b""
    assert {one.params["patient"].replace("\\", "") for one in searches} == {name}
    assert all(
        set(one.params) <= {"patient", "code", "_sort", "_count", "date", "effective-time"}
        for one in searches
    )


@pytest.mark.parametrize("name", [".", "..", "../.."])
def test_an_id_that_is_a_path_is_not_fetched(ask, name):
    server = FhirServer()
    assert ask(server, name=name).status_code == 412
    assert server.requests == []


def test_a_token_that_is_no_token_is_refused(bedside):
    for token in ("a b", "a\r\nX: y", "é", ""):
        authorization = {"access_token": token, "token_type": "Bearer"}
        body = call(fhirServer=SERVER, fhirAuthorization=authorization)
        assert bedside.post(SERVICE, body).status_code == 400
