"""Notices with payload: on disk before they are answered, each version once, none needed."""

import json
import logging
import shutil
import ssl
import subprocess
import threading
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.command_line import CANARY
from tests.fhir_standin import FHIR_JSON
from tests.unit.feeds.doors.test_fhir import (
    START,
    clock,
    observed,
    poll,
    server,
    states,
    values,
)

from neva.errors import BadInputError, UsageError
from neva.feeds.doors.door import Door, keep_looking
from neva.feeds.doors.fhir import PolledServer
from neva.feeds.doors.fhir_server import FhirClient, ServerSettings
from neva.feeds.doors.notice import notices
from neva.feeds.doors.payloads import BadPayloadError, Payloads, read_payload
from neva.feeds.doors.subscriptions import Subscriptions
from neva.feeds.inbox import Inbox
from neva.feeds.listener import tls_context
from neva.feeds.status import feed_folder, feed_status, read_status

__all__ = ["clock", "poll", "server"]

SECRET = "a-secret-that-nobody-guesses"
KINDS = ["Patient", "Encounter", "Observation"]
NEVER = 1e9


class Listening:
    """A feed that takes payloads, looked at by hand."""

    def __init__(self, polled, door, payloads, place):
        self.polled, self.door, self.payloads, self.place = polled, door, payloads, place

    def send(self, method, path, body, *, secret=SECRET, content_type=FHIR_JSON, **others):
        content = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        return httpx.request(
            method,
            self.place + path,
            content=content,
            headers={"Authorization": f"Bearer {secret}", "Content-Type": content_type},
            **others,
        )


@pytest.fixture
def listening(hospital, server, tmp_path, clock, monkeypatch):
    monkeypatch.setattr("neva.feeds.doors.fhir._BETWEEN", 0.0)
    (tmp_path / "secret").write_text(SECRET)

    @contextmanager
    def opened(*, every=NEVER, **settings):
        model = ServerSettings(**{"resources": KINDS, "page": 3, **settings})
        stop, wake = threading.Event(), threading.Event()
        with (
            FhirClient(server.base, model, stop) as client,
            Door(hospital, "ehr", "fhir", now=clock, stop=stop) as door,
            Payloads(
                door.folder, now=clock, at_least=door.place().get("payloads", 0), kinds=KINDS
            ) as payloads,
            notices("127.0.0.1", 0, tmp_path / "secret", wake, payloads=payloads) as port,
        ):
            polled = PolledServer(door, client, model, payloads=payloads, every=every)
            made = Listening(polled, door, payloads, f"http://127.0.0.1:{port}/notices")
            made.wake, made.bring = wake, lambda kind, given: server.bring(
                made.place, SECRET, kind=kind, given=str(given)
            )  # fmt: skip
            yield made

    return opened


def batches(hospital):
    return hospital.snapshot().batches().collect().height


def test_a_payload_is_in_the_store_without_a_poll(hospital, server, listening):
    observed(server, 1, -60)
    with listening() as feed:
        feed.polled.look()
        server.asked.clear()
        observed(server, 2, -1, value=2.0)
        assert feed.bring("Observation", 2).status_code == 200
        assert feed.wake.is_set()
        feed.polled.look()
    assert values(hospital) == [2.0, 4.0]
    assert server.asked == []


def test_the_same_version_by_payload_and_by_poll_counts_once(
    hospital, server, listening, poll, clock
):
    observed(server, 1, -60)
    with listening() as feed:
        feed.polled.look()
        observed(server, 1, -1, value=2.0)
        for _ in range(2):
            assert feed.bring("Observation", 1).status_code == 200
            feed.polled.look()
    clock.pass_(minutes=1)
    before = batches(hospital)
    poll(resources=KINDS)
    poll(resources=KINDS, again=True)
    assert (batches(hospital), states(hospital), values(hospital)) == (before, 2, [2.0])


def test_what_was_polled_first_is_not_taken_again_from_a_payload(hospital, server, listening):
    observed(server, 1, -1)
    with listening() as feed:
        feed.polled.look()
        before = hospital.manifest().version
        feed.bring("Observation", 1)
        feed.polled.look()
    assert hospital.manifest().version == before


def test_a_missed_payload_is_made_up_for_by_the_poll(hospital, server, listening, clock):
    with listening(every=0.0) as feed:
        feed.polled.look()
        observed(server, 1, -2, value=1.0)
        observed(server, 2, -1, value=2.0)
        feed.bring("Observation", 2)
        feed.polled.look()
    assert values(hospital) == [1.0, 2.0]


def test_a_payload_that_comes_after_a_later_version_changes_nothing(hospital, server, listening):
    observed(server, 1, -3, value=1.0)
    old = server.resources["Observation", "1"]
    observed(server, 1, -2, value=2.0)
    with listening() as feed:
        feed.polled.look()
        assert feed.send("PUT", "/Observation/1", old).status_code == 200
        feed.polled.look()
        assert values(hospital) == [2.0]
        observed(server, 1, -1, value=3.0)
        feed.bring("Observation", 1)
        feed.send("PUT", "/Observation/1", old)
        feed.polled.look()
    assert values(hospital) == [3.0]


def test_a_payload_older_than_the_overlap_is_asked_for(hospital, server, listening):
    observed(server, 1, -1)
    with listening() as feed:
        feed.polled.look()
        observed(server, 2, -600, value=1.0)
        old = server.resources["Observation", "2"]
        observed(server, 2, -500, value=2.0)
        feed.send("POST", "", old)
        feed.polled.look()
    assert values(hospital) == [2.0, 4.0]
    assert sum("_id=2" in one for one in server.asked) == 1


def test_a_resource_that_needs_others_is_asked_for_with_them(hospital, server, listening):
    with listening(resources=["Patient", "Encounter"]) as feed:
        feed.polled.look()
        server.put(
            START - timedelta(minutes=1), resourceType="Encounter", id="e", status="in-progress",
            **{"class": {"code": "IMP"}}, subject={"reference": "Patient/7"},
            period={"start": "2026-01-10T08:00:00Z"},
        )  # fmt: skip
        feed.bring("Encounter", "e")
        feed.polled.look()
    assert hospital.snapshot().stays().collect().height == 1
    assert any("_id=e" in one and "_include=Encounter" in one for one in server.asked)


@pytest.mark.parametrize("history", [True, False])
def test_a_deletion_withdraws_what_is_gone_and_not_what_is_there(
    hospital, server, listening, clock, history
):
    server.history = history
    for number in (1, 2):
        observed(server, number, -60, value=number)
    with listening() as feed:
        feed.polled.look()
        server.delete("Observation", "1", START + timedelta(minutes=1))
        clock.pass_(minutes=2)
        for number in (1, 2):  # of 2 somebody says so who is wrong
            assert feed.send("DELETE", f"/Observation/{number}", None).status_code == 200
        feed.polled.look()
    assert values(hospital) == [2.0]


@pytest.mark.parametrize("step", ["import_delivery", "write_whole", "add"])
def test_a_crash_after_the_answer_loses_nothing(hospital, server, listening, monkeypatch, step):
    class Crash(BaseException):
        pass

    owner = {
        "import_delivery": "neva.feeds.doors.door.import_delivery",
        "write_whole": "neva.feeds.doors.fhir.write_whole",
        "add": "neva.feeds.doors.lately.Lately.add",
    }[step]

    def crashing(*_, **__):
        raise Crash

    with listening() as feed:
        feed.polled.look()
        observed(server, 1, -1, value=1.0)
        feed.bring("Observation", 1)
        with monkeypatch.context() as patch:
            patch.setattr(owner, crashing)
            with pytest.raises(Crash):
                feed.polled.look()
        del server.resources["Observation", "1"]  # no poll can bring it back
    for _ in range(2):
        with listening() as feed:
            feed.polled.look()
    assert (values(hospital), states(hospital)) == ([1.0], 1)


def test_a_look_that_fails_takes_the_same_payloads_at_the_next(
    hospital, server, listening, monkeypatch
):
    """Of a look that failed nothing was gathered: a poll may not move the place beyond it."""
    monkeypatch.setattr("neva.feeds.doors.fhir._MOST", 1)
    with listening(every=0.0) as feed:
        feed.polled.look()
        observed(server, 1, -1, value=1.0)
        feed.bring("Observation", 1)
        del server.resources["Observation", "1"]
        calls = count()
        opened = feed.polled._opened

        def failing(path):
            if next(calls) == 0:
                message = "somewhere: something is wrong; found it; mend it"
                raise BadInputError(message)
            return opened(path)

        monkeypatch.setattr(feed.polled, "_opened", failing)
        with pytest.raises(BadInputError):
            feed.polled.look()
        observed(server, 2, -1, value=2.0)
        feed.polled.look()
    assert values(hospital) == [1.0, 2.0]


def test_what_is_part_of_the_store_leaves_the_disk(hospital, server, listening):
    with listening() as feed:
        feed.polled.look()
        observed(server, CANARY, -1)
        feed.bring("Observation", CANARY)
        folder = feed_folder(hospital.path, "ehr") / "payloads"
        assert any(CANARY.encode() in one.read_bytes() for one in folder.iterdir())
        feed.polled.look()
        assert not any(CANARY.encode() in one.read_bytes() for one in folder.iterdir())
        observed(server, 2, -1, value=2.0)
        feed.bring("Observation", 2)
        feed.polled.look()
    assert values(hospital) == [2.0, 4.0]
    files = [one for one in feed_folder(hospital.path, "ehr").rglob("*") if one.is_file()]
    assert not any(CANARY.encode() in one.read_bytes() for one in files)


GOOD = {"resourceType": "Observation", "id": "1", "meta": {"lastUpdated": "2026-01-10T11:00:00Z"}}


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status", "reason"),
    [
        ("PUT", "/Observation/1", b"{", FHIR_JSON, 400, "unreadable"),
        ("PUT", "/Observation/1", b"\xff", FHIR_JSON, 400, "unreadable"),
        ("PUT", "/Observation/1", b'{"a": NaN}', FHIR_JSON, 400, "unreadable"),
        ("PUT", "/Observation/1", b"[" * 100_000, FHIR_JSON, 400, "unreadable"),
        ("PUT", "/Observation/1", b"[]", FHIR_JSON, 422, "no-resource"),
        ("PUT", "/Observation/1", {"resourceType": "Observation"}, FHIR_JSON, 422, "no-resource"),
        ("PUT", "/Observation/1", {**GOOD, "id": "a/../b"}, FHIR_JSON, 422, "no-resource"),
        ("PUT", "/Observation/1", {**GOOD, "id": 1}, FHIR_JSON, 422, "no-resource"),
        ("PUT", "/Observation/2", GOOD, FHIR_JSON, 400, "path-other"),
        ("PUT", "/Patient/1", GOOD, FHIR_JSON, 400, "path-other"),
        ("DELETE", "", None, FHIR_JSON, 400, "path-other"),
        ("DELETE", "/Basic/1", None, FHIR_JSON, 422, "type-not-read"),
        ("POST", "", {**GOOD, "resourceType": "Bundle"}, FHIR_JSON, 422, "type-not-read"),
        ("POST", "", {**GOOD, "resourceType": "Condition"}, FHIR_JSON, 422, "type-not-read"),
        ("PUT", "/Observation/1", GOOD, "application/fhir+xml", 415, "content-type"),
        ("PUT", "/Observation/1", GOOD, "", 415, "content-type"),
        ("PUT", "/Observation/1", b"x" * 10_000_001, FHIR_JSON, 413, "too-long"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_refused_counted_and_in_no_log(
    hospital, listening, caplog, capfd, method, path, body, content_type, status, reason
):
    caplog.set_level(logging.DEBUG, logger="neva")
    with listening() as feed:
        answer = feed.send(method, path, body, content_type=content_type)
        assert (answer.status_code, answer.content) == (status, b"")
        assert feed.payloads.figures() == {"taken": 0, "refused": {reason: 1}}
        assert not feed.wake.is_set()
        feed.polled.look()
    assert feed_status(hospital, "ehr", START).figures["refused"] == {reason: 1}
    assert capfd.readouterr() == ("", "")


def test_a_wrong_secret_is_refused_before_anything_is_read(listening):
    with listening() as feed:
        assert feed.send("PUT", "/Observation/1", GOOD, secret="no").status_code == 403
        assert feed.payloads.figures() == {"taken": 0, "refused": {"secret-wrong": 1}}


def test_a_payload_in_chunks_and_one_with_a_charset_are_taken(listening):
    with listening() as feed:

        def chunks():
            yield json.dumps(GOOD)[:10].encode()
            yield json.dumps(GOOD)[10:].encode()

        headers = {"Authorization": f"Bearer {SECRET}",
                   "Content-Type": "application/fhir+json; charset=UTF-8"}  # fmt: skip
        answer = httpx.put(f"{feed.place}/Observation/1", content=chunks(), headers=headers)
        assert (answer.status_code, feed.payloads.taken) == (200, 1)


def test_a_full_disk_is_no_200(listening, monkeypatch):
    with listening() as feed:
        with monkeypatch.context() as patch:
            patch.setattr(
                "os.fdatasync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left"))
            )
            assert feed.send("PUT", "/Observation/1", GOOD).status_code == 503
        assert feed.payloads.figures() == {"taken": 0, "refused": {"not-stored": 1}}
        assert feed.send("PUT", "/Observation/1", GOOD).status_code == 200


def test_a_notice_without_payload_asks_for_a_poll(hospital, server, listening):
    with listening() as feed:
        feed.polled.look()
        observed(server, 1, -1)
        feed.polled.look()
        assert values(hospital) == []
        assert feed.send("POST", "", b"").status_code == 200
        feed.polled.look()
    assert values(hospital) == [4.0]


@given(
    method=st.sampled_from(["POST", "PUT", "DELETE"]),
    path=st.text(max_size=60),
    content_type=st.sampled_from([FHIR_JSON, "application/json", "text/plain", ""]),
    body=st.binary(max_size=60) | st.text(max_size=60).map(lambda one: json.dumps(one).encode()),
)
def test_anything_is_read_or_refused_with_a_reason(method, path, content_type, body):
    status, found = 200, None
    try:
        found = read_payload(method, path, content_type, body)
    except BadPayloadError as error:
        status = error.status
    assert 400 <= status < 500 or found is None or found.kind


def test_payloads_over_a_line_that_anybody_can_read_are_refused(tmp_path, clock):
    (tmp_path / "secret").write_text(SECRET)
    with (
        Payloads(tmp_path, now=clock) as payloads,
        pytest.raises(UsageError, match="unencrypted"),
        notices("0.0.0.0", 0, tmp_path / "secret", threading.Event(), payloads=payloads),
    ):
        pass


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    words = ("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
             "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out "
             "cert.pem")  # fmt: skip
    subprocess.run(words.split(), cwd=tmp_path, check=True, capture_output=True)
    return tmp_path / "cert.pem", tmp_path / "key.pem"


def test_payloads_come_over_tls_and_who_speaks_none_holds_up_nobody(
    tmp_path, clock, certificate, capfd
):
    import socket

    (tmp_path / "secret").write_text(SECRET)
    wake = threading.Event()
    with (
        Payloads(tmp_path, now=clock) as payloads,
        notices(
            "127.0.0.1", 0, tmp_path / "secret", wake, payloads=payloads,
            tls=tls_context(*certificate),
        ) as port,
        socket.create_connection(("127.0.0.1", port)),  # says nothing
    ):  # fmt: skip
        trusted = ssl.create_default_context(cafile=str(certificate[0]))
        answer = httpx.put(f"https://127.0.0.1:{port}/Observation/1", json=GOOD, verify=trusted,
                           headers={"Authorization": f"Bearer {SECRET}"})  # fmt: skip
        assert (answer.status_code, payloads.taken) == (200, 1)
        with pytest.raises(httpx.HTTPError):
            httpx.put(f"http://127.0.0.1:{port}/Observation/1", json=GOOD)
    assert capfd.readouterr().err == ""


def test_payloads_and_looks_meet_under_traffic(hospital, server, listening):
    """Looks run beside notices: everything that was answered with 200 is there, once."""
    with listening() as feed:
        thread = threading.Thread(
            target=keep_looking, args=(feed.door, feed.polled.look),
            kwargs={"every": 0.2, "once": False, "wake": feed.wake},
        )  # fmt: skip
        thread.start()
        try:
            for number in range(30):
                observed(server, number, -1, value=number)
                assert feed.bring("Observation", number).status_code == 200
        finally:
            feed.door.stop.set()
            thread.join()
    with listening() as feed:
        feed.polled.look()
    assert values(hospital) == [*range(30)]
    assert states(hospital) == 30


def test_an_inbox_begins_a_new_segment_only_after_something(tmp_path, clock):
    inbox = Inbox(tmp_path)
    inbox.begin_segment()
    inbox.take([(START, "", b"a")])
    inbox.begin_segment()
    inbox.begin_segment()
    inbox.take([(START, "", b"b")])
    inbox.close()
    assert len(list(tmp_path.glob("*.inbox"))) == 2
    again = Inbox(tmp_path)
    assert again.position == 2
    again.close()


# ------------------------------------------------------------------ subscriptions

ENDPOINT = "http://127.0.0.1:9/notices"


@pytest.fixture
def subscribed(hospital, server, clock):
    def looked(kinds=("Patient", "Observation"), *, payload=True, endpoint=ENDPOINT):
        stop = threading.Event()
        with (
            FhirClient(server.base, ServerSettings(), stop) as client,
            Door(hospital, "ehr", "fhir", now=clock, stop=stop) as door,
        ):
            Subscriptions(door, client, endpoint, SECRET, payload=payload).look_after(kinds)
            door.write_status(backlog=0)
            return door.warning

    return looked


def test_subscriptions_are_made_once_for_each_type(server, subscribed, hospital):
    assert subscribed() is None
    assert subscribed() is None
    assert server.written == [("POST", "Subscription")] * 2
    (feed_folder(hospital.path, "ehr") / "subscriptions.json").unlink()
    assert subscribed() is None  # they are found again by the address
    assert len(server.written) == 2
    made = server.subscriptions["1"]
    assert made["criteria"] == "Patient?"
    assert made["channel"] == {
        "type": "rest-hook", "endpoint": ENDPOINT, "payload": FHIR_JSON,
        "header": [f"Authorization: Bearer {SECRET}"],
    }  # fmt: skip
    held = (feed_folder(hospital.path, "ehr") / "subscriptions.json").read_text()
    assert SECRET not in held


def test_one_that_was_deleted_is_made_and_one_of_another_kind_is_changed(server, subscribed):
    subscribed()
    del server.subscriptions["2"]
    subscribed()
    assert server.written[2:] == [("POST", "Subscription")]
    subscribed(payload=False)
    assert server.written[3:] == [("PUT", "Subscription/1"), ("PUT", "Subscription/2")]
    assert "payload" not in server.subscriptions["1"]["channel"]


def test_what_is_not_well_is_said_and_asked_for_again(server, subscribed, hospital):
    server.status_given = "error"
    assert subscribed() is not None
    status = read_status(feed_folder(hospital.path, "ehr"), "status.json")
    assert "Patient (error), Observation (error)" in status["problem"]
    server.status_given = "active"
    assert subscribed() is None
    assert server.written[-1] == ("PUT", "Subscription/2")
    assert read_status(feed_folder(hospital.path, "ehr"), "status.json")["problem"] is None


def test_a_server_that_takes_no_subscriptions_is_polled(server, subscribed):
    server.may_subscribe = False
    assert "Patient (refused)" in subscribed()


@pytest.mark.parametrize("endpoint", ["http://neva.example/n", "neva.example", "ftp://x/y"])
def test_a_secret_goes_only_where_nobody_else_reads_it(subscribed, endpoint):
    with pytest.raises(UsageError, match="--subscribe"):
        subscribed(endpoint=endpoint)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--notify-payload"], "--notify-payload: belongs to --notify"),
        (["--subscribe", ENDPOINT], "--subscribe: belongs to --notify"),
        (["--tls-key", "x"], "belong together"),
        (["--notify", "127.0.0.1:0"], "belongs together with --notify-secret"),
    ],
)
def test_options_of_notices_belong_together(neva, hospital, server, words, found):
    done = neva("feed", "fhir", hospital.path, "--name", "ehr", "--server", server.base, "--once",
                *words)  # fmt: skip
    assert done.code != 0
    assert found in done.err


def test_the_command_takes_payloads_and_subscribes(neva, hospital, server, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    observed(server, 1, -60)
    done = neva("feed", "fhir", hospital.path, "--name", "ehr", "--server", server.base,
                "--resources", "Patient,Observation", "--notify", "127.0.0.1:0",
                "--notify-secret", tmp_path / "secret", "--notify-payload",
                "--subscribe", ENDPOINT, "--once")  # fmt: skip
    assert (done.code, server.written) == (0, [("POST", "Subscription")] * 2), done.err
    assert values(hospital) == [4.0]
    assert SECRET not in done.out + done.err
