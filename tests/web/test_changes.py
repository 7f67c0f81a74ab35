"""What an open page is told of changes: that there is one, soon, cheaply, and nothing else."""

import json
import re
import threading
import time
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import httpx
import pytest
from tests.doors import NOW, PASSWORD, build, csrf_of, doors, sign_in
from tests.hospitals import event, take
from tests.sites import free_port, running

from neva.events.hospital import COMPACT_ABOVE_FILES, open_hospital
from neva.state.entries import new_entry
from neva.web import streams
from neva.web.changes import LOOK_EVERY

SOON = 5.0
#: All that may be sent: comments, a time to come again, names of topics, a hash.
LINES = (
    re.compile(r""),
    re.compile(r": (neva|ping)"),
    re.compile(r"retry: \d+"),
    re.compile(r"event: (changed|over)"),
    re.compile(r"id: [0-9a-f]{16}"),
    re.compile(r"data: \{\}"),
    re.compile(
        r'data: \{"topics": \["(beds|entries|feeds|forecast|minute|patient|tasks|work-list|worker)"'
        r'(, "(beds|entries|feeds|forecast|minute|patient|tasks|work-list|worker)")*\], '
        r'"spread": [\d.]+\}'
    ),
)


@pytest.fixture
def made(tmp_path):
    """A hospital whose clock stands at its data, served on a port."""
    hospital, subjects = build(tmp_path)
    port = free_port()
    given = {"clock": "data", "port": port, "base_url": f"http://127.0.0.1:{port}"}
    state = tmp_path / "state.sqlite"
    with (
        doors(hospital, subjects, state, **given) as opened,
        running(opened.application, port),
    ):
        yield opened


@contextmanager
def client_of(made, account="clinician"):
    with httpx.Client(base_url=made.settings.base_url, timeout=30) as client:
        if account is not None:
            assert sign_in(client, account).status_code == 303
        yield client


class Stream:
    """A stream that is read in a thread of its own."""

    def __init__(self, client, path, **headers):
        self.lines, self.times, self.status, self.is_over = [], [], None, threading.Event()
        self._begun, self._client, self._path = threading.Event(), client, path
        self._headers = {"accept": "text/event-stream"} | headers
        threading.Thread(target=self._read, daemon=True).start()
        assert self._begun.wait(20)

    def _read(self):
        try:
            with self._client.stream("GET", self._path, headers=self._headers) as answer:
                self.status = answer.status_code
                for line in answer.iter_lines():
                    self.lines.append(line)
                    self.times.append(time.monotonic())
                    self._begun.set()
        except (httpx.HTTPError, httpx.StreamError):
            pass
        self._begun.set()
        self.is_over.set()

    def told(self):
        """What was told, each with its topics."""
        return [json.loads(one[6:])["topics"] for one in self.lines if one.startswith('data: {"t')]

    def ids(self):
        return [one[4:] for one in self.lines if one.startswith("id: ")]


def wait_for(said, seconds=SOON):
    until = time.monotonic() + seconds
    while not said():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def seen(client, path):
    return client.get(f"{path}/changes").json()


def follow(client, path, **headers):
    return Stream(client, f"{path}/changes?since={seen(client, path)['seen']}", **headers)


def deliver(made, folder, name, *, subject="a1", text="detected", value=None, **tables):
    """Commit something: a result of a patient, or rows of other tables."""
    hospital = open_hospital(made.settings.hospital)
    last = hospital.manifest().last
    rows = [] if tables else [
        event(subject=subject, stay=f"s{subject}", row_id=name, time=last, recorded=last,
              code="LOINC//94500-6", text=text, value=value)
    ]  # fmt: skip
    told = {"recorded": last, "file": "a.csv", "row": 1}
    given = {table: [told | one for one in some] for table, some in tables.items()}
    return take(hospital, folder / name, rows, now=NOW + timedelta(hours=1), **given)


def admit(made, folder, name):
    last = open_hospital(made.settings.hospital).manifest().last
    about = {"subject": name, "stay": f"s{name}", "start": last}
    stays = [about | {"kind": "inpatient", "source": "x"}]
    return deliver(made, folder, name, stays=stays, movements=[about | {"unit": "alpha"}])


def test_a_commit_is_told_within_seconds_and_once(made, tmp_path):
    with client_of(made) as client:
        stream = follow(client, "/now")
        time.sleep(4 * LOOK_EVERY)
        assert stream.told() == []
        admit(made, tmp_path, "new")
        assert wait_for(stream.told)
        assert "beds" in stream.told()[0]
        time.sleep(4 * LOOK_EVERY)
        assert len(stream.told()) == 1
        assert stream.ids() == [seen(client, "/now")["seen"]]


def test_what_happened_while_a_page_was_made_or_a_stream_broken_off_is_told(made, tmp_path):
    with client_of(made) as client:
        before = seen(client, "/now")["seen"]
        admit(made, tmp_path, "new")
        time.sleep(2 * LOOK_EVERY)
        late = Stream(client, f"/now/changes?since={before}")
        assert wait_for(late.ids)
        # The id that a browser sends when it comes again counts, not the older address.
        again = Stream(client, f"/now/changes?since={before}", **{"last-event-id": late.ids()[-1]})
        time.sleep(4 * LOOK_EVERY)
        assert again.told() == []
        missed = Stream(client, "/now/changes", **{"last-event-id": before})
        assert wait_for(missed.told)


def test_a_result_changes_the_page_of_its_patient_and_of_nobody_else(made, tmp_path):
    mine, other = (f"/patient/{made.subjects[name]}" for name in ("a1", "b1"))
    with client_of(made) as client:
        streams_of = {path: follow(client, path) for path in (mine, other, "/now")}
        deliver(made, tmp_path, "result", subject="a1")
        assert wait_for(streams_of[mine].told)
        time.sleep(4 * LOOK_EVERY)
        assert "patient" in streams_of[mine].told()[0]
        assert streams_of[other].told() == []
        # Beds and their forecast rest on nothing of it.
        assert not any("beds" in one for one in streams_of["/now"].told())


def test_tables_that_are_rewritten_renew_no_page(made, tmp_path):
    """Files are joined every few minutes under a live feed: each open record would be audited."""
    mine, other = (f"/patient/{made.subjects[name]}" for name in ("a1", "b1"))
    hospital = open_hospital(made.settings.hospital)
    with client_of(made) as client:
        watched, spared = follow(client, mine), follow(client, other)
        rewritten = 0
        for number in range(COMPACT_ABOVE_FILES + 2):
            files = set(hospital.snapshot().files("events"))
            deliver(made, tmp_path, f"result-{number}", subject="a1")
            if not files <= set(hospital.snapshot().files("events")):
                rewritten += 1
                time.sleep(3 * LOOK_EVERY)
        assert rewritten >= 1
        assert wait_for(lambda: watched.ids()[-1:] == [seen(client, mine)["seen"]])
        assert spared.told() == []
        # What the rewritten table tells of somebody is told.
        deliver(made, tmp_path, "last", subject="b1")
        assert wait_for(spared.told)


def test_entries_tasks_and_results_are_told(made):
    state, subject = made.state, str(made.subjects["a1"])
    with client_of(made) as client:
        work, patient = follow(client, "/work-list"), follow(client, f"/patient/{subject}")
        other = follow(client, f"/patient/{made.subjects['b1']}")
        state.entries.add(
            id=new_entry(), subject=subject, stay="1", kind="medically-fit", value=None,
            details={}, start=NOW, end=None, actor="x", at=NOW,
        )  # fmt: skip
        assert wait_for(lambda: ["entries"] in work.told() and ["patient"] in patient.told())
        state.work.acknowledge("rule", "1", NOW, actor="x", at=NOW)
        assert wait_for(lambda: ["tasks"] in work.told())
        job = state.jobs.add("work-list", {}, key="k", actor="x", at=NOW)
        assert state.jobs.take("w", at=NOW) is not None
        state.jobs.end(job.id, "done", at=NOW + timedelta(seconds=1), result="k")
        assert wait_for(lambda: ["work-list"] in work.told())
        assert other.told() == []


def test_a_hundred_viewers_cost_one_watcher(made, tmp_path):
    changes = made.application.state.server.changes
    # One session may have a dozen pages open: a hundred people have a hundred sessions.
    made.state.accounts.put("many", role="viewer", password=PASSWORD, actor="root", at=NOW)
    cookies = []
    for _ in range(10):
        with client_of(made, "many") as client:
            cookies.append(dict(client.cookies))
    with ExitStack() as held:
        viewers = []
        for number in range(100):
            client = held.enter_context(
                httpx.Client(
                    base_url=made.settings.base_url, cookies=cookies[number // 10], timeout=60
                )
            )
            viewers.append(Stream(client, "/now/changes"))
        assert {one.status for one in viewers} == {200}
        assert len(changes) == 100
        named = [one for one in threading.enumerate() if one.name == "neva-changes"]
        assert len(named) == 1
        looks, began = changes.looks, time.monotonic()
        admit(made, tmp_path, "new")
        assert wait_for(lambda: all(len(one.told()) == 2 for one in viewers), 20)
        time.sleep(2)
        assert changes.looks - looks <= (time.monotonic() - began) / LOOK_EVERY + 2
    # The last one has gone: so has the watcher.
    assert wait_for(lambda: len(changes) == 0, 40)
    assert wait_for(lambda: not any(t.name == "neva-changes" for t in threading.enumerate()))


def test_a_stream_holds_topics_and_versions_and_nothing_of_a_patient(made, tmp_path):
    subject = made.subjects["a1"]
    with client_of(made) as client:
        pages = ("/now", "/wallboard", "/work-list", f"/patient/{subject}")
        held = [follow(client, page) for page in pages]
        deliver(made, tmp_path, "SECRET-ROW", text="SECRET-TEXT", value=417.25)
        admit(made, tmp_path, "SECRET-NAME")
        made.state.entries.add(
            id=new_entry(), subject=str(subject), stay="1", kind="handover-note",
            value="SECRET-NOTE", details={}, start=NOW, end=None, actor="x", at=NOW,
        )  # fmt: skip
        assert wait_for(lambda: all(one.told() for one in held))
        time.sleep(4 * LOOK_EVERY)
        for one in held:
            for line in one.lines:
                assert any(form.fullmatch(line) for form in LINES), line
        # The answer for other readers holds no more.
        for page in pages:
            told = seen(client, page)
            assert set(told) == {"seen", "version", "topics"}
            assert all(re.fullmatch("[0-9a-f]{16,32}", one) for one in told["topics"].values())


@pytest.mark.parametrize(
    ("account", "page", "status"),
    [
        (None, "/now", 303), (None, "/wallboard", 303), (None, "/patient/{b1}", 303),
        ("viewer", "/now", 200), ("viewer", "/wallboard", 200), ("viewer", "/work-list", 403),
        ("viewer", "/patient/{b1}", 403), ("analyst", "/work-list", 403),
        ("administrator", "/patient/{b1}", 403), ("alpha", "/patient/{a1}", 200),
        ("alpha", "/patient/{b1}", 403), ("alpha", "/patient/7", 403),
        ("clinician", "/patient/none", 404),
    ],
)  # fmt: skip
def test_who_may_not_see_a_page_gets_no_stream_of_it(made, account, page, status):
    with client_of(made, account) as client:
        path = page.format_map(made.subjects) + "/changes"
        assert Stream(client, path).status == status
        assert client.get(path).status_code == status


def test_a_session_that_ends_ends_its_streams(made):
    with client_of(made) as client, client_of(made) as other:
        stream, stays = follow(client, "/now"), follow(other, "/now")
        token = csrf_of(client)
        assert client.post("/sign-out", data={"csrf": token}).status_code == 303
        assert stream.is_over.wait(SOON)
        assert "event: over" in stream.lines
        assert not stays.is_over.is_set()
        # So does a ban, or another role.
        made.state.accounts.put("clinician", role="viewer", password=PASSWORD, actor="root", at=NOW)
        assert stays.is_over.wait(SOON)


def test_a_stream_keeps_no_session_alive(made):
    with client_of(made) as client:
        stream = follow(client, "/now")
        made.later(minutes=31)
        assert stream.is_over.wait(SOON)


def test_a_stream_is_heard_of_and_too_many_are_refused(made, monkeypatch):
    monkeypatch.setattr(streams, "HEARTBEAT", 0.3)
    monkeypatch.setattr(streams, "MOST_OF_SESSION", 2)
    with client_of(made) as client, client_of(made) as other:
        stream = follow(client, "/now")
        assert wait_for(lambda: stream.lines.count(": ping") >= 3)
        follow(client, "/wallboard")
        assert Stream(client, "/now/changes").status == 503
        assert Stream(other, "/now/changes").status == 200


def test_a_server_ends_though_pages_are_open(tmp_path):
    hospital, subjects = build(tmp_path)
    port = free_port()
    given = {"port": port, "base_url": f"http://127.0.0.1:{port}"}
    state, client = tmp_path / "state.sqlite", httpx.Client(base_url=given["base_url"], timeout=30)
    with client, doors(hospital, subjects, state, **given) as opened:
        with running(opened.application, port):  # fails where the server does not end
            assert sign_in(client, "clinician").status_code == 303
            stream = Stream(client, "/now/changes")
            assert stream.status == 200
            time.sleep(2 * LOOK_EVERY)
            assert not stream.is_over.is_set()
        assert stream.is_over.wait(1)


def test_how_long_a_stream_was_open_is_no_time_of_an_answer(made):
    with client_of(made) as client:
        with client_of(made) as other:
            follow(other, "/now")
            assert "neva_pages_followed 1" in client.get("/metrics").text
            time.sleep(1.5)
        assert wait_for(lambda: "neva_pages_followed 0" in client.get("/metrics").text, 20)
        text = client.get("/metrics").text
        found = re.search(r'neva_request_seconds_sum\{route="/now/changes"\} ([\d.]+)', text)
        assert float(found[1]) < 1
