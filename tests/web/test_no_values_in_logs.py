"""Nothing that was sent is in a log, at any level, or in the answer to a bug."""

import asyncio
import logging
import subprocess
import sys

import httpx
import pytest
import uvicorn
from tests.bedside_patients import NOW, PATIENT, SERVICE, bundle, call, prefetch
from tests.bedsides import served
from tests.command_line import CANARY

from neva.cds import service as bedside_module
from neva.cds.fhir_server import FhirServers
from neva.web.errors import places_of

SERVER = "https://fhir.example/r4"
AUTHORIZATION = {"access_token": f"{CANARY}-token", "token_type": "Bearer"}


class Everything(logging.Handler):
    """Keeps every record, as text, of loggers that exist or come later."""

    def __init__(self):
        super().__init__(level=logging.NOTSET)
        self.said = []

    def emit(self, record):
        self.said.append(logging.Formatter("%(name)s %(message)s").format(record))


@pytest.fixture
def everything():
    """All loggers at DEBUG, whatever they were set to."""
    handler = Everything()
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(name) for name in list(root.manager.loggerDict))]
    before = [(one, one.level, one.disabled) for one in loggers]
    for one in loggers:
        # A record that is handed up is seen twice; that is no harm.
        one.addHandler(handler)
        one.setLevel(logging.DEBUG)
        one.disabled = False
    yield handler.said
    for one, level, was_disabled in before:
        one.removeHandler(handler)
        one.setLevel(level)
        one.disabled = was_disabled


def _feedback(card):
    return {
        "feedback": [
            {
                "card": card,
                "outcome": "overridden",
                "outcomeTimestamp": "2026-01-05T12:01:00Z",
                "overrideReason": {"reason": {"code": "refused"}, "userComment": CANARY},
            }
        ]
    }


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: httpx.Response(500, text=CANARY),
        lambda request: httpx.Response(200, text=CANARY),
        lambda request: httpx.Response(302, headers={"Location": f"/{CANARY}"}),
        lambda request: httpx.Response(200, json=bundle([{"resourceType": CANARY}])),
    ],
    ids=["fails", "no JSON", "redirects", "odd"],
)
def test_no_log_holds_what_was_sent(everything, hospital, tmp_path, answer):
    servers = FhirServers([SERVER], transport=httpx.MockTransport(answer))
    with served(hospital.path, tmp_path, NOW, fhir_servers=servers) as bedside:
        good = call()
        good["context"]["userId"] = f"Practitioner/{CANARY}"
        card = bedside.post(SERVICE, good).json()["cards"][0]["uuid"]
        sent = prefetch()
        del sent["medication-administrations"]
        fetching = call(sent, fhirServer=SERVER, fhirAuthorization=AUTHORIZATION)
        bedside.post(SERVICE, fetching)
        bedside.post(SERVICE, call({}, fhirServer=SERVER, fhirAuthorization=AUTHORIZATION))
        for bad in ({}, CANARY, call(hook=CANARY), call(prefetch=[CANARY]), call(context=CANARY)):
            assert bedside.post(SERVICE, bad).status_code in (400, 412)
        bedside.post(SERVICE, call(prefetch(observations=CANARY, patient={CANARY: CANARY})))
        for body in (_feedback(card), _feedback(CANARY), {"feedback": [{CANARY: CANARY}]}):
            bedside.post(f"{SERVICE}/feedback", body)
        headers = {"Authorization": f"Bearer {CANARY}.{CANARY}.{CANARY}"}
        bedside.post(SERVICE, good, headers=headers)
    assert [one for one in everything if CANARY in one] == []
    assert everything != []


def test_the_libraries_would_log_it():
    # Otherwise the test above would hold without what keeps the logs clean.
    handler = Everything()
    logger = logging.getLogger("httpx")
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.DEBUG)
    handler.addFilter(lambda record: "/harmless" in record.getMessage())
    try:
        transport = httpx.MockTransport(lambda request: httpx.Response(200))
        with httpx.Client(transport=transport) as client:
            client.get("https://fhir.example/harmless")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    assert len(handler.said) == 1


def _plant(monkeypatch):
    def broken(*_, **__):
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise RuntimeError(f"the value {CANARY}") from error

    monkeypatch.setattr(bedside_module, "read_request", broken)


def test_a_bug_is_answered_without_its_text(bedside, monkeypatch, everything, capfd):
    _plant(monkeypatch)
    answer = bedside.post(SERVICE, call())
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "a bug in Neva; please report it"},
    )
    said = [one for one in everything if "neva.web" in one]
    assert said
    assert "RuntimeError" in said[0]
    assert "test_no_values_in_logs.py" in said[0]
    printed = capfd.readouterr()
    assert CANARY not in "\n".join(everything) + answer.text + printed.out + printed.err


def test_the_server_in_front_sees_no_exception(bedside, monkeypatch, capfd):
    # The client of the tests raises what the application raises; uvicorn would log it.
    _plant(monkeypatch)
    application = bedside.client.app
    config = uvicorn.Config(application, port=0, lifespan="off", log_level="debug")
    server = uvicorn.Server(config)

    async def one_call():
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient() as client:
            answer = await client.post(
                f"http://127.0.0.1:{port}/cds-services/{SERVICE}", json=call()
            )
        server.should_exit = True
        await task
        return answer

    levels = {name: logging.getLogger(name).level for name in ("httpx", "httpcore")}
    answer = asyncio.run(one_call())
    assert levels.keys() == {"httpx", "httpcore"}
    assert answer.status_code == 500
    printed = capfd.readouterr()
    assert "Uvicorn running" in printed.err
    assert CANARY not in answer.text + printed.out + printed.err
    assert PATIENT not in printed.err


def test_places_hold_no_text():
    try:
        raise ValueError(CANARY)
    except ValueError as error:
        told = places_of(error)
    assert told.startswith("ValueError < ")
    assert CANARY not in told


def test_importing_the_door_sets_no_levels():
    code = "import logging, neva.web.application; print(logging.getLogger('httpx').level)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=None
    )
    assert done.stdout.strip() == "0"
