"""The checker of CDS services, on a service that is right and on one wrong in one thing."""

import json
from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from tests.cds_services import ANSWER, BREAKAGES, ISSUER, NOW, CdsService, put_behind_httpx, signer
from tests.command_line import CANARY
from tests.signing_keys import ALGORITHM_BY_KEY, jwk, private_key

from neva import cli
from neva.cds.conformance.answers import judge_answer, judge_discovery
from neva.cds.conformance.checks import CHECKS
from neva.cds.conformance.hooks import HOOK_TOKENS
from neva.cds.conformance.report import Findings
from neva.cds.conformance.requests import hook_request, prefetch_for, read_signer
from neva.cds.conformance.verify import service_base, verify_service
from neva.cli import cds_verify
from neva.errors import BadInputError, NotFoundError, UsageError


def checked(service, **settings):
    settings = {"signer": signer() if service.needs_token else None} | settings
    return verify_service(
        service.base, client=service.client(), now=lambda: NOW, clock=service.clock, **settings
    )


def test_a_good_service_passes_every_check():
    report = checked(CdsService(needs_token=True))
    assert report.counts() == {"passed": len(CHECKS), "failed": 0, "warning": 0, "not tested": 0}
    assert report.conforms
    assert (report.services, report.cards) == (2, 2)


def test_without_a_key_only_the_tokens_are_not_tested():
    report = checked(CdsService())
    assert report.conforms
    untested = {one.check.id for one in report.of("not tested")}
    assert untested == {name for name in CHECKS if name.startswith("token.")}


@pytest.mark.parametrize("broken", BREAKAGES)
def test_a_service_that_is_wrong_in_one_thing_fails_that_check_only(broken):
    report = checked(CdsService(broken, needs_token=True))
    wrong = [one.check.id for one in report.results if one.places]
    assert wrong == [broken]
    assert report.conforms == (CHECKS[broken].level == "SHOULD")


def test_every_check_has_a_service_that_breaks_it():
    assert sorted(BREAKAGES) == sorted(CHECKS)


def test_every_check_says_what_it_asks_and_where_that_stands():
    for name, check in CHECKS.items():
        assert name == check.id
        assert check.level in {"SHALL", "SHOULD"}
        assert check.sentence
        assert check.section


def test_a_service_without_feedback_is_not_blamed():
    service = CdsService()

    def without(request):
        if request.url.path.endswith("/feedback"):
            return httpx.Response(404)
        return service.answer(request)

    client = httpx.Client(transport=httpx.MockTransport(without))
    report = verify_service(service.base, client=client, now=lambda: NOW, clock=service.clock)
    assert report.conforms
    assert {one.check.id for one in report.of("not tested")} >= {"feedback.again"}


def test_a_service_that_fails_at_everything_is_reported_and_not_an_error():
    for status in (200, 302, 401, 500):
        client = httpx.Client(
            transport=httpx.MockTransport(lambda _, status=status: httpx.Response(status))
        )
        assert not verify_service("https://cds.example", client=client, now=lambda: NOW).conforms


def test_calls_that_are_not_let_in_prove_nothing():
    service = CdsService(needs_token=True)
    stranger = replace(signer(), key=private_key("p384", 1))

    def open_discovery(request):
        service.needs_token = request.method != "GET"
        return service.answer(request)

    client = httpx.Client(transport=httpx.MockTransport(open_discovery))
    report = verify_service(
        service.base, client=client, signer=stranger, now=lambda: NOW, clock=service.clock
    )
    assert [one.check.id for one in report.of("failed")] == ["call.status"]
    untested = {one.check.id for one in report.of("not tested")}
    assert {"call.malformed", "call.missing", "call.unknown-service"} <= untested
    assert "sign them" in report.to_text()


def test_a_service_that_stops_answering_is_reported():
    service = CdsService()

    def dies(request):
        if request.method == "POST":
            raise httpx.ReadTimeout(CANARY)
        return service.answer(request)

    client = httpx.Client(transport=httpx.MockTransport(dies))
    report = verify_service(service.base, client=client, now=lambda: NOW, clock=service.clock)
    failed = {one.check.id: one.places for one in report.of("failed")}
    assert "no answer" in failed["call.status"][0]
    assert CANARY not in report.to_text()


def test_an_application_is_checked_without_a_socket():
    from fastapi import FastAPI
    from tests.asgi import AsgiTransport

    app = FastAPI()
    service = {"hook": "patient-view", "id": "a", "title": "A", "description": "Says nothing."}
    app.get("/cds-services")(lambda: {"services": [service]})

    def call(name: str, asked: dict[str, object]) -> dict[str, object]:
        return {"cards": []}

    app.post("/cds-services/{name}")(call)
    with httpx.Client(transport=AsgiTransport(app)) as client:
        report = verify_service("http://127.0.0.1", client=client, now=lambda: NOW)
    assert [one.check.id for one in report.of("failed")] == ["call.unknown-service", "call.missing"]


def test_nothing_that_answers_is_said():
    def refuses(request):
        raise httpx.ConnectError(CANARY)

    client = httpx.Client(transport=httpx.MockTransport(refuses))
    with pytest.raises(NotFoundError, match="does not answer"):
        verify_service("https://cds.example", client=client)


def test_only_the_service_is_called():
    service = CdsService(needs_token=True)
    checked(service)
    assert {request.url.host for request in service.requests} == {"cds.example"}
    assert all(
        str(request.url).startswith(f"{service.base}/cds-services") for request in service.requests
    )


def test_every_call_has_a_token_of_its_own():
    service = CdsService(needs_token=True)
    checked(service)
    sent = [request.headers.get("authorization") for request in service.requests]
    signed = [token for token in sent if token is not None]
    # One is sent twice on purpose.
    assert len(set(signed)) == len(signed) - 1


def test_given_data_are_sent_to_the_services_that_ask_for_them():
    service = CdsService()
    patient = {"resourceType": "Patient", "id": "p9"}
    checked(service, prefetch={"patient": patient, "unasked": {"resourceType": "Basic"}})
    sent = [
        json.loads(request.content).get("prefetch")
        for request in service.requests
        if request.content.startswith(b'{"hook": "patient-view"')
    ]
    full = [one for one in sent if one and one.get("patient")]
    assert full
    assert all(one["patient"] == patient and "unasked" not in one for one in full)


def test_data_may_be_given_by_service():
    service = {"id": "sepsis", "hook": "x", "prefetch": {"a": "Patient/1", "b": "Observation?x=1"}}
    given = {"sepsis": {"a": {"resourceType": "Patient", "id": "mine"}}, "other": {"a": None}}
    made = prefetch_for(service, given, patient="p")
    assert made["a"]["id"] == "mine"
    assert made["b"] == {"resourceType": "Bundle", "type": "searchset", "total": 0}


@pytest.mark.parametrize("hook", [*HOOK_TOKENS, "org.example.own"])
def test_requests_of_every_hook_hold_the_fields_that_its_templates_may_name(hook):
    service = {"hook": hook, "id": "a", "prefetch": {"x": "Basic/{{context.patientId}}"}}
    request = hook_request(service, patient="p")
    assert request["context"]["patientId"] == "p"
    optional = {"encounterId"} if not hook.startswith("encounter-") else set()
    assert set(request["context"]) >= HOOK_TOKENS.get(hook, frozenset()) - optional


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://cds.example", "https://cds.example"),
        ("https://cds.example/", "https://cds.example"),
        ("https://cds.example/a/cds-services", "https://cds.example/a"),
        ("http://[::1]:8000/cds-services/", "http://[::1]:8000"),
    ],
)
def test_the_base_is_found_from_any_of_the_addresses(url, base):
    assert service_base(url) == base


@pytest.mark.parametrize(
    "url",
    ["", "cds.example", "ftp://cds.example", "https://", "http://[x", f"https://u:{CANARY}@h",
     "https://cds.example/?x=1", "https://cds.example/#x"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError) as refused:
        service_base(url)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("http://127.0.0.1:8000", True), ("http://localhost", True), ("http://[::1]", True),
        ("https://cds.example", True), ("http://cds.example", False), ("http://10.0.0.1", False),
    ],
)  # fmt: skip
def test_plain_http_is_for_this_machine_only(url, passes):
    service = CdsService()
    report = verify_service(url + "/api", client=service.client(), now=lambda: NOW)
    found = next(one for one in report.results if one.check.id == "tls.https")
    assert found.result == ("passed" if passes else "warning")


@pytest.mark.parametrize("kind", ALGORITHM_BY_KEY)
@pytest.mark.parametrize("form", ["pem", "jwk"])
def test_keys_are_read_from_pem_and_jwk(tmp_path, kind, form):
    path = tmp_path / "key"
    if form == "jwk":
        path.write_text(json.dumps(jwk(kind, private=True)))
    else:
        path.write_bytes(
            private_key(kind).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    read = read_signer(path, issuer=ISSUER, kid="k")
    assert read.algorithm in ALGORITHM_BY_KEY[kind]
    assert read.token("https://cds.example", NOW).count(".") == 2
    assert "PrivateKey" not in repr(read)


def test_a_key_that_names_its_algorithm_is_used_with_it(tmp_path):
    (tmp_path / "key").write_text(json.dumps(jwk("rsa", private=True) | {"alg": "PS256"}))
    assert read_signer(tmp_path / "key", issuer="i", kid="k").algorithm == "PS256"


@pytest.mark.parametrize("content", ["", "{}", "nonsense", "{", "[]", json.dumps(jwk("p384"))])
def test_what_is_no_private_key_is_refused(tmp_path, content):
    (tmp_path / "key").write_text(content)
    with pytest.raises(BadInputError, match="not a private key"):
        read_signer(tmp_path / "key", issuer="i", kid="k")
    with pytest.raises(NotFoundError):
        read_signer(tmp_path / "absent", issuer="i", kid="k")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["create", "smart", "at-most-one", "{{context.patientId}}"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["services", "hook", "id", "prefetch", "cards", "summary", "source", "label", "topic",
             "uuid", "suggestions", "selectionBehavior", "isRecommended", "actions", "type",
             "resource", "resourceId", "links", "url", "appContext", "systemActions", "extension",
             "overrideReasons", "code", "description"]
        ),
        inner, max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(anything)
def test_any_document_is_judged_and_never_an_error(document):
    findings = Findings()
    for service in judge_discovery(findings, document):
        hook_request(service, patient="p")
        prefetch_for(service, {}, patient="p")
    judge_answer(findings, document, "r")
    judge_answer(findings, {"cards": document}, "r")
    judge_answer(findings, {"cards": [document], "systemActions": document}, "r")
    findings.report("u", 1, 1).to_frame()


services = st.lists(
    st.fixed_dictionaries(
        {"id": st.text(max_size=3), "hook": st.sampled_from([*HOOK_TOKENS, "x", "\ud800"])},
        optional={"prefetch": st.dictionaries(st.text(max_size=2), anything, max_size=2),
                  "title": anything, "description": anything},
    ),
    max_size=2,
)  # fmt: skip


@given(services, st.lists(st.tuples(st.sampled_from([200, 204, 400, 401, 412, 500]), anything)))
def test_whatever_a_service_answers_there_is_a_report(offered, answers):
    waiting = list(answers)

    def answer(request):
        if request.method == "GET":
            return httpx.Response(200, content=json.dumps({"services": offered}).encode())
        status, document = waiting.pop() if waiting else (200, {"cards": []})
        return httpx.Response(status, content=json.dumps(document).encode())

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        report = verify_service(
            "https://cds.example", client=client, now=lambda: NOW, signer=signer()
        )
    report.to_text().encode()
    json.dumps(report.to_json() | {"checks": report.to_frame().rows()})


def test_a_deep_answer_is_no_error():
    deep = ANSWER
    for _ in range(50_000):
        deep = [deep]
    findings = Findings()
    judge_answer(findings, {"cards": [], "extension": {"a": deep}}, "r")


def test_values_of_an_answer_are_not_in_the_report():
    findings = Findings()
    judge_answer(findings, {"cards": [{"summary": CANARY * 20, "indicator": CANARY}]}, "r")
    report = findings.report("u", 1, 1)
    assert CANARY not in report.to_text()
    assert CANARY not in str(report.to_json())


# --- the command


@pytest.fixture
def command(neva, monkeypatch):
    """Run the command against a service."""
    names = {one.name for one in cli.app.registered_commands}
    if "cds-verify" not in names:
        cds_verify.add_to(cli.app)

    def run(service, *words):
        put_behind_httpx(service, monkeypatch)
        return neva("cds-verify", service.base, *words)

    return run


def test_the_command_says_that_a_good_service_conforms(command):
    said = command(CdsService())
    assert said.code == 0
    assert "the service conforms" in said.out


def test_the_command_ends_with_code_3_where_a_shall_fails(command):
    said = command(CdsService("card.indicator"))
    assert said.code == 3
    assert "card.indicator: a card's indicator is info, warning or critical" in said.out
    assert "cards[0]" in said.out


def test_the_command_warns_and_ends_with_code_0_where_a_should_fails(command):
    said = command(CdsService("cors.preflight"))
    assert said.code == 0
    assert "warnings (SHOULD):" in said.out


def test_the_command_speaks_json_and_junit(command, tmp_path):
    said = command(CdsService("card.summary"), "--json", "--junit", tmp_path / "junit.xml")
    content = said.json()
    assert content["conforms"] is False
    assert {row["check"]: row["result"] for row in content["checks"]}["card.summary"] == "failed"
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert suite.attrib["failures"] == "1"
    assert int(suite.attrib["tests"]) == len(CHECKS) == len(list(suite))
    failed = [case.attrib["name"] for case in suite if case.find("failure") is not None]
    assert failed == ["card.summary"]


def test_the_command_takes_data_from_a_file(command, tmp_path):
    (tmp_path / "data.json").write_text('{"patient": {"resourceType": "Patient", "id": "p9"}}')
    service = CdsService()
    assert command(service, "--prefetch", tmp_path / "data.json", "--patient", "p9").code == 0
    assert any(b'"id": "p9"' in request.content for request in service.requests)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--kid", "k"), 2),
        (("--prefetch", "absent"), 4),
        (("--prefetch", "list.json"), 3),
        (("--key", "absent", "--kid", "k", "--issuer", "i"), 4),
        (("--junit", "absent/x.xml"), 4),
        (("--certificate", "absent"), 3),
    ],
)
def test_the_command_says_what_is_wrong(command, tmp_path, monkeypatch, words, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.json").write_text("[]")
    assert command(CdsService(), *words).code == code


def test_times_of_tokens_are_of_now():
    token = signer().claims("a", NOW)
    assert token["exp"] - token["iat"] == timedelta(minutes=1).total_seconds()


@pytest.mark.parametrize("hook", HOOK_TOKENS)
def test_resources_of_a_context_are_valid_fhir(hook):
    from fhir.resources.R4B.bundle import Bundle

    context = hook_request({"hook": hook, "id": "a"}, patient="p")["context"]
    for value in context.values():
        if isinstance(value, dict):
            Bundle.model_validate(value)
