"""The worker: jobs done once, killed and taken up again, cancelled, failed; kept whole or not."""

import multiprocessing
import os
import signal
import stat
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.command_line import CANARY
from tests.doors import doors
from tests.hospitals import new_hospital

from neva.errors import BadInputError
from neva.events.hospital import open_hospital
from neva.jobs import kinds
from neva.jobs.results import Results
from neva.jobs.worker import work_forever
from neva.state import open_state
from neva.state.jobs import GONE_AFTER, MOST_TRIES
from neva.state.settings import WebSettings
from neva.web.server import RETRY_AFTER

NOW = datetime(2026, 1, 1, 8, tzinfo=UTC)


def slow(context, parameters):
    for number in range(1_000):
        context.progress(number, 1_000, "reading rows")
        time.sleep(0.02)
    return {"rows": 1_000}


def be_a_worker(settings):
    """Work in a process of its own, where a kind takes its time."""
    kinds.KINDS["slow"] = slow
    work_forever(settings)


@pytest.fixture
def settings(tmp_path):
    return WebSettings(
        hospital=new_hospital(tmp_path).path, state=tmp_path / "state.sqlite", now=lambda: NOW
    )


@pytest.fixture
def state(settings):
    with open_state(settings.state) as opened:
        yield opened


@pytest.fixture
def kind(monkeypatch):
    """Register a kind of work for one test."""

    def register(work, name="work"):
        monkeypatch.setitem(kinds.KINDS, name, work)

    return register


def results_of(settings, state):
    return Results(settings, state, open_hospital(settings.hospital))


def kept(settings):
    folder = settings.hospital / "results"
    return list(folder.glob("*.json")) if folder.exists() else []


def test_a_result_is_found_by_what_was_asked_and_made_once(settings, state, kind):
    calls = []
    kind(lambda context, parameters: calls.append(1) or {"sum": 3})
    results = results_of(settings, state)
    assert results.find("work", {"a": 1}) is None
    first = results.want("work", {"a": 1}, actor="x")
    assert results.want("work", {"a": 1}, actor="y").id == first.id
    assert work_forever(settings, most=5) == 1
    found = results.find("work", {"a": 1})
    assert (found.content, found.version) == ({"sum": 3}, results.version())
    assert results.find("work", {"a": 2}) is None
    assert [stat.S_IMODE(path.stat().st_mode) for path in kept(settings)] == [0o600]
    assert calls == [1]


def test_of_two_workers_each_does_other_jobs(settings, state, kind):
    done, lock = [], threading.Lock()

    def work(context, parameters):
        with lock:
            done.append(parameters["number"])
        time.sleep(0.01)
        return {}

    kind(work)
    results = results_of(settings, state)
    for number in range(20):
        results.want("work", {"number": number}, actor="x")
    threads = [threading.Thread(target=work_forever, args=(settings,), kwargs={"most": 20})
               for _ in range(2)]  # fmt: skip
    for one in threads:
        one.start()
    for one in threads:
        one.join(timeout=60)
    assert sorted(done) == list(range(20))
    assert {one.state for one in state.jobs.newest()} == {"done"}


def test_a_worker_that_is_killed_leaves_nothing_and_another_goes_on(settings, state, kind):
    plain = WebSettings(hospital=settings.hospital, state=settings.state)
    results = results_of(plain, state)
    asked = results.want("slow", {}, actor="x")
    process = multiprocessing.get_context("spawn").Process(target=be_a_worker, args=(plain,))
    process.start()
    until = time.monotonic() + 60
    while state.jobs.get(asked.id).done < 5 and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join(timeout=10)
    lost = state.jobs.get(asked.id)
    assert (lost.state, lost.tries) == ("running", 1)
    assert kept(settings) == []
    kind(lambda context, parameters: {"rows": 1_000}, "slow")
    later = datetime.now(UTC) + GONE_AFTER + timedelta(seconds=5)
    again = WebSettings(hospital=settings.hospital, state=settings.state, now=lambda: later)
    assert work_forever(again, most=1) == 1
    found = state.jobs.get(asked.id)
    assert (found.state, found.tries) == ("done", 2)
    assert results.find("slow", {}).content == {"rows": 1_000}


def test_a_job_whose_workers_are_lost_each_time_fails_with_words(settings, state):
    asked = results_of(settings, state).want("work", {}, actor="x")
    at = NOW
    for _ in range(MOST_TRIES):
        assert state.jobs.take("w", at=at) is not None
        at += GONE_AFTER + timedelta(seconds=1)
    later = WebSettings(hospital=settings.hospital, state=settings.state, now=lambda: at)
    assert work_forever(later, most=1) == 0
    found = state.jobs.get(asked.id)
    assert (found.state, found.error) == ("failed", "its worker was lost three times")


def test_cancelled_work_stops_and_keeps_nothing(settings, state, kind):
    steps = []

    def work(context, parameters):
        for number in range(100):
            steps.append(number)
            if number == 3:
                state.jobs.cancel(context.job.id, actor="x", at=NOW)
            context._last_report = 0.0
            context.progress(number, 100, "reading rows")
        return {}

    kind(work)
    asked = results_of(settings, state).want("work", {}, actor="x")
    work_forever(settings, most=1)
    assert steps == [0, 1, 2, 3]
    assert state.jobs.get(asked.id).state == "cancelled"
    assert kept(settings) == []


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (BadInputError("a.csv: too wide; found 2,000 columns; cut it"), "too wide"),
        (KeyError(CANARY), "a bug in Neva, please report it: KeyError in test_worker.py, line "),
    ],
)
def test_failed_work_says_what_failed_and_nothing_of_a_row(settings, state, kind, error, says):
    def work(context, parameters):
        context.progress(1, 2, "reading rows")
        raise error

    kind(work)
    asked = results_of(settings, state).want("work", {}, actor="x")
    work_forever(settings, most=1)
    found = state.jobs.get(asked.id)
    assert found.state == "failed"
    assert says in found.error
    assert CANARY not in str(found) + str(state.jobs.log(asked.id))
    assert kept(settings) == []


def test_work_of_an_unknown_kind_fails_with_words(settings, state):
    asked = results_of(settings, state).want("dancing", {}, actor="x")
    work_forever(settings, most=1)
    assert "no work of this kind is known" in state.jobs.get(asked.id).error


def test_what_people_wait_for_goes_first(settings, state, kind):
    order = []
    for name in ("forecast", "import", "flush"):
        kind(lambda context, parameters: order.append(context.job.kind) or {}, name)
    for second, name in enumerate(("forecast", "checks", "import", "flush")):
        state.jobs.add(
            name, {}, key=name, actor="x", at=NOW - timedelta(minutes=1) + timedelta(seconds=second)
        )
    kind(lambda context, parameters: order.append("checks") or {}, "checks")
    work_forever(settings, most=4)
    assert order == ["import", "flush", "forecast", "checks"]


def test_a_page_says_that_its_work_failed_and_tries_again_later(tmp_path, kind):
    tries = []

    def work(context, parameters):
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return {"checks": [], "counts": {}}

    kind(work, "checks")
    with doors(new_hospital(tmp_path).path, {}, tmp_path / "state.sqlite") as made:
        client = made.signed_in("administrator", headers={"accept": "text/html"})
        assert "Calculating…" in client.get("/data").text
        work_forever(made.settings, most=1)
        page = client.get("/data").text
        assert "The calculation failed" in page
        assert "Calculating…" not in page
        work_forever(made.settings, most=1)
        assert len(tries) == 1, "looking at the page does not try at once"
        made.later(seconds=RETRY_AFTER.total_seconds())
        client = made.signed_in("administrator", headers={"accept": "text/html"})
        assert "Calculating…" in client.get("/data").text
        work_forever(made.settings, most=1)
        page = client.get("/data").text
        assert "computed" not in page
        assert len(tries) == 2
