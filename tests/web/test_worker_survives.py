"""The worker outlives a locked state and is replaced when killed; its absence is told."""

import contextlib
import logging
import os
import signal
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from tests.command_line import CANARY
from tests.doors import doors
from tests.hospitals import new_hospital

from neva.events.hospital import open_hospital
from neva.jobs import kinds, worker
from neva.jobs.results import Results
from neva.jobs.worker import HourlyCensus, work_forever
from neva.state import connection, open_state
from neva.state.settings import WebSettings
from neva.web.server import SILENT_AFTER
from neva.web.serving import start_workers

NOW = datetime(2026, 1, 1, 8, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(connection, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(worker, "_LOOK_EVERY", 0.02)
    return WebSettings(
        hospital=new_hospital(tmp_path).path, state=tmp_path / "state.sqlite", now=lambda: NOW
    )


@pytest.fixture
def state(settings):
    with open_state(settings.state) as opened:
        yield opened


@contextlib.contextmanager
def locked(settings):
    """Another process writes and does not end."""
    held = sqlite3.connect(settings.state, isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        held.execute("ROLLBACK")
        held.close()


@contextlib.contextmanager
def working(settings):
    stop = threading.Event()
    thread = threading.Thread(target=work_forever, args=(settings,), kwargs={"stop": stop})
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(timeout=60)
        assert not thread.is_alive()


def wait_until(said, seconds=60):
    until = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < until
        time.sleep(0.02)


def told(caplog, what):
    return [one for one in caplog.messages if what in one]


def want(settings, state, kind="work"):
    return Results(settings, state, open_hospital(settings.hospital)).want(kind, {}, actor="x")


def test_a_state_locked_while_a_worker_takes_does_not_end_it(settings, state, monkeypatch, caplog):
    monkeypatch.setitem(kinds.KINDS, "work", lambda context, parameters: {})
    with working(settings):
        with locked(settings):
            wait_until(lambda: len(told(caplog, "could not take a job: ConflictError in")) >= 2)
        asked = want(settings, state)
        wait_until(lambda: state.jobs.get(asked.id).state == "done")


def test_a_state_locked_while_a_job_says_how_far_it_is_does_not_fail_the_job(
    settings, state, monkeypatch, caplog
):
    def work(context, parameters):
        with locked(settings):
            context.progress(1, 2, "reading rows")
            context.alive()
        return {}

    monkeypatch.setitem(kinds.KINDS, "work", work)
    asked = want(settings, state)
    assert work_forever(settings, most=1) == 1
    assert state.jobs.get(asked.id).state == "done"
    assert len(told(caplog, "a job could not say how far it is")) == 2


def test_the_end_of_a_job_is_written_when_the_state_is_free_again(
    settings, state, monkeypatch, caplog
):
    calls, lock = [], contextlib.ExitStack()

    def work(context, parameters):
        calls.append(1)
        lock.enter_context(locked(settings))
        return {}

    monkeypatch.setitem(kinds.KINDS, "work", work)
    asked = want(settings, state)
    # The lock is let go by the thread that took it: the worker's, when it has failed to end.
    original = state.jobs.__class__.end
    tries = []

    def end(self, *names, **more):
        tries.append(1)
        if len(tries) == 3:
            lock.close()
        return original(self, *names, **more)

    monkeypatch.setattr(state.jobs.__class__, "end", end)
    assert work_forever(settings, most=1) == 1
    assert (state.jobs.get(asked.id).state, calls, len(tries)) == ("done", [1], 3)
    assert len(told(caplog, "the end of a job was not written")) == 2


def test_a_job_whose_end_was_never_written_is_taken_up_again_and_not_done_twice(
    settings, state, monkeypatch
):
    calls = []
    monkeypatch.setitem(kinds.KINDS, "work", lambda *_: calls.append(1) or {"sum": 3})
    asked = want(settings, state)
    with monkeypatch.context() as patched:

        def end(self, *names, **more):
            raise OSError(CANARY)

        patched.setattr(state.jobs.__class__, "end", end)
        patched.setattr(worker, "_MOST_ENDINGS", 2)
        assert work_forever(settings, most=1) == 0
    assert state.jobs.get(asked.id).state == "running"
    later = WebSettings(
        hospital=settings.hospital, state=settings.state, now=lambda: NOW + timedelta(minutes=5)
    )
    assert work_forever(later, most=1) == 1
    assert (state.jobs.get(asked.id).state, calls) == ("done", [1])


def test_errors_of_the_census_and_of_the_sweep_do_not_end_a_worker(
    settings, state, monkeypatch, caplog
):
    def fails(self):
        raise ValueError(CANARY)

    monkeypatch.setattr(HourlyCensus, "write_if_due", fails)
    monkeypatch.setattr("neva.jobs.kept_uploads.HourlySweep.if_due", fails)
    monkeypatch.setitem(kinds.KINDS, "work", lambda context, parameters: {})
    asked = want(settings, state)
    with caplog.at_level(logging.ERROR):
        assert work_forever(settings, most=1) == 1
    assert state.jobs.get(asked.id).state == "done"
    assert told(caplog, "old uploads were not deleted: ValueError in test_worker_survives.py")
    assert CANARY not in caplog.text


def test_a_worker_says_that_it_is_alive_without_a_job(settings, state):
    assert state.workers.last_seen() is None
    with working(settings):
        wait_until(lambda: state.workers.last_seen() == NOW)


def test_health_metrics_and_pages_say_when_no_worker_is_heard_of(tmp_path):
    with doors(new_hospital(tmp_path).path, {}, tmp_path / "state.sqlite") as made:
        headers = {"accept": "text/html"}
        client = made.signed_in("administrator", headers=headers)

        def status():
            answer = client.get("/health")
            silent = [
                line for line in client.get("/metrics").text.split("\n")
                if line.startswith("neva_worker_silent")
            ]  # fmt: skip
            return answer.status_code, answer.json()["status"], silent

        well = (200, "ok", ["neva_worker_silent 0"])
        gone = (503, "no worker", ["neva_worker_silent 1"])
        assert status() == well, "the server has just begun"
        assert "Background tasks have stopped." not in client.get("/jobs").text
        made.later(seconds=SILENT_AFTER.total_seconds() + 1)
        assert status() == gone
        assert "No worker has ever reported" in client.get("/jobs").text
        work_forever(made.settings, most=1)
        assert status() == well
        assert "Background tasks have stopped." not in client.get("/jobs").text
        made.later(seconds=SILENT_AFTER.total_seconds() + 1)
        assert status() == gone
        assert "No worker has reported since" in client.get("/jobs").text
        russian = client.get("/jobs", params={"language": "ru"}).text
        assert "Фоновые расчёты остановились." in russian
        assert "Background tasks have stopped." in client.get("/wallboard").text


def test_a_worker_that_is_killed_is_replaced(tmp_path):
    settings = WebSettings(hospital=new_hospital(tmp_path).path, state=tmp_path / "state.sqlite")
    workers = start_workers(settings, 1)
    try:
        with open_state(settings.state) as state:
            wait_until(lambda: state.workers.last_seen() is not None)
            [first] = workers.processes()
            killed = datetime.now(UTC)
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: workers.processes() not in ([], [first]))
            wait_until(lambda: state.workers.last_seen() > killed)
            [second] = workers.processes()
    finally:
        workers.stop()
    assert workers.processes() == []
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)
