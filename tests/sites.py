"""The whole application on a port of this machine, with a worker, on synthetic patients."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import uvicorn

from neva.events.hospital import create_hospital
from neva.state.settings import WebSettings
from neva.synthesis import Plan, synthesise
from neva.web.application import create_application
from neva.web.demonstration import PASSWORD, PROGRAMMES, prepare
from neva.web.security.connections import PatientProtocol
from neva.web.serving import start_workers
from tests.built_once import built_once
from tests.processes import wait_until_started

#: Pages that have results of the worker.
WITH_RESULTS = (
    "/now", "/work-list", "/pathways", "/pathways?activities_of=codes", "/flow", "/quality",
    "/decisions", "/data",
)  # fmt: skip


@dataclass
class Site:
    url: str
    hospital: Path
    server: object

    @contextmanager
    def client(self, name="clinician", language="en"):
        """Somebody signed in, without a browser."""
        headers = {"accept": "text/html", "accept-language": language}
        with httpx.Client(base_url=self.url, headers=headers, timeout=60) as client:
            answer = client.post("/sign-in", data={"name": name, "password": PASSWORD})
            assert answer.status_code == 303, answer.status_code
            yield client

    def wait_for_jobs(self, seconds=240):
        until = time.monotonic() + seconds
        jobs = self.server.state.jobs
        while time.monotonic() < until:
            newest = jobs.newest()
            if not any(one.is_under_way for one in newest):
                failed = [(one.kind, one.error) for one in newest if one.state == "failed"]
                assert failed == []
                return
            time.sleep(0.2)
        raise AssertionError([(one.kind, one.state, one.words) for one in jobs.newest()])


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@contextmanager
def running(application, port):
    """Serve an application on a port, as `neva serve` does; it ends with whoever is connected."""
    server = uvicorn.Server(
        uvicorn.Config(
            application, host="127.0.0.1", port=port, log_level="error", access_log=False,
            http=PatientProtocol,
        )
    )  # fmt: skip
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until_started(server, thread)
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive(), "the server does not end"


def _synthetic_hospital(folder: Path) -> None:
    """Four hundred stays, accounts of each role, the shipped rules live, the results computed."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    plan = Plan(stays=400, seed=5, zone="Europe/Moscow", operations=True)
    hospital = create_hospital(folder, zone=plan.zone, now=now)
    synthesise(hospital, plan, now=now)
    prepare(hospital.path, at=now, live=True)
    with _served(folder) as site, site.client() as client:
        for page in WITH_RESULTS:
            client.get(page)
        site.wait_for_jobs()


@contextmanager
def _served(hospital: Path) -> Iterator[Site]:
    port = free_port()
    settings = WebSettings(
        hospital=hospital,
        programmes=PROGRAMMES,
        port=port,
        base_url=f"http://127.0.0.1:{port}",
        clock="data",
    )
    application = create_application(settings)
    workers = start_workers(settings, 1)
    try:
        with running(application, port):
            yield Site(settings.base_url, hospital, application.state.server)
    finally:
        workers.stop()


@contextmanager
def serving(folders: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a synthetic hospital, the caller's own; its results are computed when this begins."""
    with _served(built_once(folders, "synthetic-hospital", _synthetic_hospital)) as site:
        yield site
