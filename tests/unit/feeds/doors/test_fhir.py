"""A polled FHIR server: each version of a resource once, none lost between pages or polls."""

import contextlib
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from tests.command_line import CANARY
from tests.fhir_standin import standin

from neva.errors import BadInputError, MappingError, NotFoundError, UsageError
from neva.feeds.doors.door import Door, keep_looking
from neva.feeds.doors.fhir import PolledServer, types_of
from neva.feeds.doors.fhir_server import (
    FhirClient,
    ServerSettings,
    _retry_after,
    read_server_settings,
)
from neva.feeds.doors.lately import Lately
from neva.feeds.doors.notice import notices
from neva.feeds.status import feed_folder, feed_status

START = datetime(2026, 1, 10, 12, tzinfo=UTC)
KINDS = ["Patient", "Observation"]


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Clock:
    at: datetime = START

    def __call__(self):
        return self.at

    def pass_(self, **by):
        self.at += timedelta(**by)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server():
    with standin() as made:
        yield made


def observed(server, given, minutes, value=4.0, **others):
    server.put(
        START + timedelta(minutes=minutes),
        resourceType="Observation",
        id=str(given),
        **{
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3"}]},
            "subject": {"reference": "Patient/7"},
            "effectiveDateTime": "2026-01-10T08:00:00Z",
            "issued": "2026-01-10T09:00:00Z",
            "valueQuantity": {"value": value, "unit": "mmol/L", "code": "mmol/L",
                              "system": "http://unitsofmeasure.org"},
            **others,
        },
    )  # fmt: skip


@pytest.fixture
def poll(hospital, server, clock):
    def polled(*, again=False, **settings):
        model = ServerSettings(**{"page": 3, "resources": KINDS, **settings})
        stop = threading.Event()
        with (
            FhirClient(server.base, model, stop) as client,
            Door(hospital, "ehr", "fhir", now=clock, stop=stop) as door,
        ):
            PolledServer(door, client, model, again=again).look()

    return polled


def values(hospital, as_of=None):
    return sorted(hospital.snapshot(as_of=as_of).events().collect()["value"])


def states(hospital):
    return hospital.snapshot().stored("events").collect().height


def test_equal_changes_on_a_page_border_are_neither_lost_nor_doubled(hospital, server, poll):
    for number in range(10):
        observed(server, number, -60, value=number)
    poll()
    assert values(hospital) == [*range(10)]
    assert states(hospital) == 10
    assert sum("_offset" in one for one in server.asked) == 3


def test_a_later_version_is_a_correction_known_since_its_change(hospital, server, poll, clock):
    observed(server, 1, -60, value=1.0)
    poll()
    observed(server, 1, 5, value=2.0)
    clock.pass_(minutes=30)
    poll()
    assert values(hospital) == [2.0]
    assert values(hospital, START + timedelta(minutes=4)) == [1.0]
    assert values(hospital, START + timedelta(minutes=5)) == [2.0]


def test_the_end_of_a_stay_is_known_since_its_change(hospital, server, poll, clock):
    def encounter(minutes, **period):
        server.put(
            START + timedelta(minutes=minutes), resourceType="Encounter", id="e",
            status="finished" if "end" in period else "in-progress",
            **{"class": {"code": "IMP"}}, subject={"reference": "Patient/7"},
            period={"start": "2026-01-10T08:00:00Z", **period},
        )  # fmt: skip

    def ends(as_of):
        return hospital.snapshot(as_of=as_of).stays().collect()["end"].is_not_null().to_list()

    encounter(-60)
    poll(resources=["Encounter"])
    encounter(5, end="2026-01-10T11:50:00Z")
    clock.pass_(minutes=60)
    poll(resources=["Encounter"])
    assert ends(START + timedelta(minutes=4)) == [False]
    assert ends(START + timedelta(minutes=5)) == [True]


@pytest.mark.parametrize("sorts", [True, False])
def test_a_resource_that_changes_while_pages_are_read_hides_no_other(
    hospital, server, poll, clock, sorts
):
    """It goes to the end; those behind it move up, one onto the page that was read."""
    server.sorts = sorts
    for number in range(10):
        observed(server, number, -60 + number, value=number)
    changed = iter([0, 1, 2])

    def change(path):
        is_later_page = "/Observation?" in path and server.asked[-2].startswith("/fhir/Obs")
        if is_later_page and (number := next(changed, None)) is not None:
            observed(server, number, 1 + number, value=100 + number)

    server.before = change if sorts else lambda _: None
    poll()
    server.before = lambda _: None
    clock.pass_(minutes=10)
    poll()
    wanted = [*range(3, 10), 100, 101, 102] if sorts else [*range(10)]
    assert values(hospital) == wanted


def test_a_server_that_does_not_sort_is_read_to_the_end_by_its_links(hospital, server, poll):
    server.sorts = False
    for number in range(10):
        observed(server, number, -60 + number, value=number)
    poll()
    assert values(hospital) == [*range(10)]
    assert sum("_offset" in one for one in server.asked) == 3


def test_a_change_that_becomes_visible_late_is_found_by_the_overlap(hospital, server, poll):
    observed(server, 1, -10)
    poll()
    observed(server, 2, -14, value=2.0)
    observed(server, 3, -16, value=3.0)
    poll()
    assert values(hospital) == [2.0, 4.0]


def test_a_change_in_the_future_hides_nothing_that_comes_after(hospital, server, poll, clock):
    observed(server, 1, 600)
    poll()
    observed(server, 2, 1, value=2.0)
    clock.pass_(minutes=5)
    poll()
    assert values(hospital) == [2.0, 4.0]


def test_nothing_new_writes_nothing_into_the_hospital(hospital, server, poll):
    observed(server, 1, -1)
    poll()
    poll()
    assert hospital.manifest().version == 1


def test_what_was_read_lately_may_be_lost_without_harm(hospital, server, poll):
    for number in range(5):
        observed(server, number, -1, value=number)
    poll()
    (feed_folder(hospital.path, "ehr") / "lately.json").unlink()
    poll()
    poll(again=True)
    assert states(hospital) == 5
    assert hospital.snapshot().batches().collect().height == 1


@pytest.mark.parametrize("history", [True, False])
def test_a_deletion_withdraws_where_the_server_tells_it(hospital, server, poll, clock, history):
    server.history = history
    observed(server, 1, -60, value=1.0)
    observed(server, 2, -60, value=2.0)
    poll()
    server.delete("Observation", "1", START + timedelta(minutes=2))
    clock.pass_(minutes=5)
    poll()
    poll()
    assert values(hospital) == ([2.0] if history else [1.0, 2.0])
    assert any("_history" in one for one in server.asked) is history


def test_what_is_deleted_and_made_again_is_there(hospital, server, poll, clock):
    observed(server, 1, -60, value=1.0)
    poll()
    server.delete("Observation", "1", START + timedelta(minutes=2))
    observed(server, 1, 3, value=9.0)
    clock.pass_(minutes=5)
    poll()
    assert values(hospital) == [9.0]


def test_an_order_gets_the_code_of_its_medication_from_another_resource(hospital, server, poll):
    code = {"coding": [{"system": "http://www.whocc.no/atc", "code": "B01AB05"}]}
    server.put(START, resourceType="Medication", id="m", code=code)
    server.put(START, resourceType="MedicationRequest", id="r", status="active", intent="order",
               subject={"reference": "Patient/7"}, authoredOn="2026-01-10T08:00:00Z",
               medicationReference={"reference": "Medication/m"})  # fmt: skip
    poll(resources=["MedicationRequest"])
    assert hospital.snapshot().events().collect()["code"].to_list() == ["ATC//B01AB05"]


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_busy_server_is_left_alone_and_asked_again(hospital, server, poll, monkeypatch, status):
    waited = []
    monkeypatch.setattr(threading.Event, "wait", lambda _, seconds=None: waited.append(seconds))
    observed(server, 1, -60)
    server.failures = [(status, {"Retry-After": "7"}), (status, {})]
    poll()
    assert values(hospital) == [4.0]
    assert [one for one in waited if one in (7.0, 2.0)] == [7.0, 2.0]


def test_how_long_a_server_wants_to_be_left_alone_is_a_number_or_a_time():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < _retry_after(later) <= 100
    assert [_retry_after(one) for one in ("7", None, "soon", "Thu, 01 Jan 1970 00:00:00 GMT")] == [
        7.0, None, None, 0.0,
    ]  # fmt: skip


def test_a_server_that_stays_away_keeps_what_was_read(hospital, server, poll, monkeypatch):
    monkeypatch.setattr("neva.feeds.doors.fhir_server._ATTEMPTS", 1)
    observed(server, 1, -60)
    poll()
    version = hospital.manifest().version
    server.failures = [(503, {})]
    with pytest.raises(BadInputError, match="status 503 after 1 requests"):
        poll()
    assert hospital.manifest().version == version
    poll()
    assert values(hospital) == [4.0]


@pytest.mark.parametrize("elsewhere", ["http://other.example/fhir", "http://127.0.0.1:1/fhir"])
def test_a_next_page_at_another_server_is_refused(hospital, server, poll, elsewhere):
    server.next_base = elsewhere
    for number in range(5):
        observed(server, number, -60)
    with pytest.raises(BadInputError, match="the next page is at another place"):
        poll()
    assert hospital.manifest().version == 0


def test_pages_without_an_end_are_said(hospital, server, poll):
    for number in range(5):
        observed(server, number, -60)
    first = server.answer

    def circle(path, query):
        found = first(path, query)
        if path == "Observation":
            found["link"][1:] = [{"relation": "next", "url": f"{server.base}/{path}?{query}"}]
        return found

    server.answer = circle
    with pytest.raises(BadInputError, match="the pages do not end"):
        poll()


@pytest.mark.parametrize("status", [400, 403, 404, 302])
def test_a_refusal_names_the_type_and_no_value(hospital, server, poll, status):
    server.failures = [(status, {"Location": f"http://x/{CANARY}"})]
    with pytest.raises(BadInputError, match=f"found status {status}") as raised:
        poll(resources=None)
    assert CANARY not in str(raised.value)


def test_a_bearer_token_is_read_from_a_file(hospital, server, poll, tmp_path):
    server.token = "secret-token"
    observed(server, 1, -60)
    with pytest.raises(BadInputError, match="status 401"):
        poll()
    (tmp_path / "token").write_text("secret-token\n")
    poll(token_file=tmp_path / "token")
    assert values(hospital) == [4.0]


def test_a_token_of_client_credentials_is_fetched_and_renewed(hospital, server, poll, tmp_path):
    (tmp_path / "secret").write_text("client-secret")
    oauth = {"token_url": server.base + "/token", "client_id": "neva",
             "secret_file": tmp_path / "secret"}  # fmt: skip
    observed(server, 1, -60)
    server.token = "nobody knows"

    def renewed(path):
        if "Observation?" in path and server.tokens_given == 1:
            server.token = "another since"

    server.before = renewed
    poll(oauth=oauth)
    assert (values(hospital), server.tokens_given) == ([4.0], 2)


@pytest.mark.parametrize(
    ("address", "settings", "found"),
    [
        ("ftp://x/fhir", {}, "not the address of a server"),
        ("https://user:pw@x/fhir", {}, "not the address of a server"),
        ("http://ehr.example/fhir", {"token_file": "/t"}, "unencrypted"),
    ],
)
def test_an_address_that_would_give_a_token_away_is_refused(address, settings, found):
    with pytest.raises(UsageError, match=found):
        FhirClient(address, ServerSettings(**settings), threading.Event())


STEPS = {
    "page": (FhirClient, "bundle"),
    "commit": ("neva.feeds.doors.door", "import_delivery"),
    "open": ("neva.feeds.doors.fhir", "open_fhir"),
    "bundle": ("neva.feeds.doors.fhir", "write_whole"),
    "note": (Lately, "add"),
    "keep": (Lately, "keep"),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_loses_nothing_and_does_nothing_twice(
    hospital, server, poll, clock, monkeypatch, step, after
):
    import importlib

    owner, name = STEPS[step]
    owner = importlib.import_module(owner) if isinstance(owner, str) else owner
    function = getattr(owner, name)
    monkeypatch.setattr("neva.feeds.doors.fhir._MOST", 2)  # a commit for each page
    for crash_at in range(4):
        for number in range(7):
            observed(server, f"{crash_at}-{number}", crash_at * 10 - 60 + number // 2, value=number)
        calls = iter(range(1000))

        def crashing(*words, calls=calls, crash_at=crash_at, **named):
            is_here = next(calls) == crash_at
            if is_here and not after:
                raise Crash
            found = function(*words, **named)
            if is_here:
                raise Crash
            return found

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, crashing)
            with contextlib.suppress(Crash):
                poll()
        poll()
        assert len(values(hospital)) == states(hospital) == (crash_at + 1) * 7


def test_a_page_that_fails_later_does_not_lose_what_was_not_read(
    hospital, server, poll, monkeypatch
):
    """Between pages of equal changes the place may not move on."""
    monkeypatch.setattr("neva.feeds.doors.fhir._MOST", 2)
    monkeypatch.setattr("neva.feeds.doors.fhir_server._ATTEMPTS", 1)
    server.sorts = False
    for number in range(10):
        observed(server, number, -600 + number * 20, value=number)

    def fail(path):
        if "_offset=6" in path:
            server.before = lambda _: None
            raise ConnectionError

    server.before = fail
    monkeypatch.setattr("socketserver.BaseServer.handle_error", lambda *_: None)
    with pytest.raises(BadInputError, match="did not answer"):
        poll()
    poll()
    assert values(hospital) == [*range(10)]
    assert states(hospital) == 10


def test_a_server_that_does_not_say_what_it_has_is_asked_for_what_is_named(hospital, server, poll):
    observed(server, 1, -60)
    server.failures = [(404, {})]
    poll()
    assert values(hospital) == [4.0]
    assert not any("_history" in one for one in server.asked)


def test_types_that_others_refer_to_come_first():
    assert types_of(["Observation", "Encounter", "Patient"], None) == [
        "Patient", "Encounter", "Observation",
    ]  # fmt: skip
    offered = {"Observation": {"search-type"}, "Patient": {"read"}, "Basic": {"search-type"}}
    assert types_of(None, offered) == ["Observation"]
    with pytest.raises(UsageError, match="not read; found 'Basic'"):
        types_of(["Basic"], None)


def test_a_notice_wakes_who_polls_and_only_with_the_secret(hospital, server, tmp_path, clock):
    (tmp_path / "secret").write_text("a-secret-that-nobody-guesses")
    observed(server, 1, -60)
    model = ServerSettings(resources=KINDS)
    stop, wake, looks = threading.Event(), threading.Event(), threading.Semaphore(0)
    with (
        notices("127.0.0.1", 0, tmp_path / "secret", wake) as port,
        FhirClient(server.base, model, stop) as client,
        Door(hospital, "ehr", "fhir", now=clock, stop=stop) as door,
    ):
        polled = PolledServer(door, client, model)

        def look():
            more = polled.look()
            looks.release()
            return more

        thread = threading.Thread(
            target=keep_looking, args=(door, look),
            kwargs={"every": 3600.0, "once": False, "wake": wake},
        )  # fmt: skip
        thread.start()
        assert looks.acquire(timeout=30)
        place = f"http://127.0.0.1:{port}/anything/{CANARY}"
        wrong = httpx.post(place, headers={"Authorization": "Bearer no"}, content=b"x")
        assert (wrong.status_code, wake.is_set()) == (403, False)
        observed(server, 2, -1, value=2.0)
        secret = {"Authorization": "Bearer a-secret-that-nobody-guesses"}
        assert httpx.put(place, headers=secret, json={"id": CANARY}).status_code == 200
        assert looks.acquire(timeout=30)
        stop.set()
        thread.join()
    assert values(hospital) == [2.0, 4.0]


def test_a_secret_that_is_short_or_absent_is_refused(tmp_path):
    (tmp_path / "secret").write_text("short")
    for path in (tmp_path / "secret", tmp_path / "absent"):
        with (
            pytest.raises(NotFoundError, match="no secret there"),
            notices("127.0.0.1", 0, path, threading.Event()),
        ):
            pass


def test_the_command_polls_once_and_status_shows_the_feed(neva, hospital, server, tmp_path):
    observed(server, 1, -60, subject={"reference": f"Patient/{CANARY}"})
    (tmp_path / "ehr.yaml").write_text("name: ehr\nassigner: gkb\npage: 2\n")
    done = neva("feed", "fhir", hospital.path, "--name", "ehr", "--server", server.base,
                "--settings", tmp_path / "ehr.yaml", "--once")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert "1 deliveries so far; rows: 2 added" in done.out
    assert "feed ehr: 1 taken" in neva("feed", "status", hospital.path).out
    assert feed_status(hospital, "ehr", START).kind == "fhir"
    assert hospital.snapshot().batches().collect()["source"].to_list() == ["ehr"]
    folder = feed_folder(hospital.path, "ehr")
    assert sorted(path.name for path in folder.iterdir()) == ["lately.json", "lock", "status.json"]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("pag: 3\n", "unknown key"),
        ("token_file: a\noauth: {token_url: b, client_id: c, secret_file: d}\n", "found both"),
        ("name: A B\n", "name"),
    ],
)
def test_wrong_settings_name_their_line(tmp_path, written, found):
    (tmp_path / "s.yaml").write_text(written)
    with pytest.raises(MappingError, match=found) as raised:
        read_server_settings(tmp_path / "s.yaml")
    assert "s.yaml:" in str(raised.value)


def test_addresses_are_in_no_log(hospital, server, poll, caplog):
    caplog.set_level("DEBUG")
    observed(server, CANARY, -60)
    server.failures = [(503, {"Retry-After": "0"})]
    poll()
    assert "asked again" in caplog.text
    assert "_lastUpdated" not in caplog.text


def test_a_poll_that_is_told_to_stop_ends_soon(hospital, server, clock):
    model = ServerSettings(resources=KINDS)
    stop = threading.Event()
    server.failures = [(503, {"Retry-After": "600"})] * 50
    with (
        FhirClient(server.base, model, stop) as client,
        Door(hospital, "ehr", "fhir", now=clock, stop=stop) as door,
    ):
        polled = PolledServer(door, client, model)
        threading.Timer(0.5, stop.set).start()
        begun = time.monotonic()
        with pytest.raises(BadInputError):
            polled.look()
        assert time.monotonic() - begun < 30
