"""Two hundred people look at once while an import runs: all are answered, nothing stands still."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from tests.doors import PASSWORD, build
from tests.hospitals import event, take
from tests.sites import free_port

from neva.events.hospital import open_hospital
from neva.state import ROLES
from neva.web.server import SILENT_AFTER

VIEWERS = 200
IMPORTS = 2
MOST_ROUNDS = 20


@pytest.fixture
def served(database, tmp_path, monkeypatch):
    """A hospital, served by its own process with a worker, on each database."""
    hospital, _ = build(tmp_path)
    monkeypatch.setenv("NEVA_STATE", str(database.where))
    with database.open() as state:
        for role in ROLES:
            state.accounts.put(
                role, role=role, password=PASSWORD, actor="root", at=datetime.now(UTC)
            )
    port = free_port()
    command = [sys.executable, "-m", "neva.cli", "serve", str(hospital), "--port", str(port)]
    process = subprocess.Popen([*command, "--clock", "data"], env=os.environ)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{address}/health", timeout=5).json()["worker_seen"]:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        yield hospital, address, database
    finally:
        process.terminate()
        process.wait(timeout=60)


async def looks(address, cookies, imported):
    """Every viewer looks, all at the same moment, and again until imports came through meanwhile.

    A quick machine answers all before the second import begins, so rounds are not counted
    beforehand; each has connections of its own, as a kept one may be closed while it idles.
    The status of each answer.
    """
    found = []
    limits = httpx.Limits(max_connections=VIEWERS, max_keepalive_connections=VIEWERS)

    async def look(client, number):
        session = "; ".join(f"{a}={b}" for a, b in cookies[number % len(cookies)].items())
        headers = {"accept": "text/html", "cookie": session}
        # Those who treat look at names too: each such look is written down.
        treats = ROLES[number % len(ROLES)] == "clinician"
        page = "/paper/downtime-census" if treats else "/now"
        answer = await client.get(page, headers=headers)
        found.append(answer.status_code)

    for _ in range(MOST_ROUNDS):
        async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
            await asyncio.gather(*(look(client, number) for number in range(VIEWERS)))
        if len(imported) >= IMPORTS:
            break
    return found


@pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.nightly)], indirect=True
)
def test_two_hundred_viewers_and_an_import_do_not_stop_each_other(served, tmp_path):
    """The worker ended for good, and nobody was told: `/health` said ok."""
    folder, address, database = served
    cookies = []
    for role in ROLES:
        answer = httpx.post(f"{address}/sign-in", data={"name": role, "password": PASSWORD})
        assert answer.status_code == 303
        cookies.append(dict(answer.cookies))
    hospital, stop, imported = open_hospital(folder), threading.Event(), []

    def deliver():
        number = 0
        while not stop.wait(1.5):
            number += 1
            rows = [event(subject="a1", row_id=f"{number}-{k}", row=k + 1) for k in range(50)]
            imported.append(take(hospital, tmp_path / f"{number}", rows, now=datetime.now(UTC)))

    writer = threading.Thread(target=deliver)
    writer.start()
    began = datetime.now(UTC)
    try:
        found = asyncio.run(looks(address, cookies, imported))
    finally:
        stop.set()
        writer.join(timeout=120)
    assert not writer.is_alive()
    assert [status for status in found if status != 200] == []
    rounds, left = divmod(len(found), VIEWERS)
    assert rounds >= 1
    assert not left
    # Imports came through meanwhile, and the last one is what a page shows.
    assert len(imported) >= IMPORTS
    assert hospital.manifest().version == imported[-1].version
    # Each look of those who treat is written down, in an unbroken chain.
    with database.open() as state:
        assert state.audit.verify() == []
        rows = [row for row in state.audit.rows() if row.action == "identity-shown"]
    clinicians = sum(ROLES[number % len(ROLES)] == "clinician" for number in range(VIEWERS))
    assert len(rows) >= rounds * clinicians
    # The worker goes on: it is heard of after all this, and does what was asked for.
    until = time.monotonic() + 120
    health = {}
    while time.monotonic() < until:
        health = httpx.get(f"{address}/health", timeout=60).json()
        seen = datetime.fromisoformat(health["worker_seen"])
        with database.open() as state:
            jobs = state.jobs.newest()
        if seen > began + timedelta(seconds=1) and jobs and not any(j.is_under_way for j in jobs):
            break
        time.sleep(0.5)
    assert health["status"] == "ok"
    assert datetime.now(UTC) - seen < SILENT_AFTER
    # A forecast of six patients is refused; a work list is not.
    assert {job.state for job in jobs if job.kind == "work-list"} == {"done"}
