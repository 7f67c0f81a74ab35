"""Who connects and asks nothing, or only half, does not stop the service for others."""

import contextlib
import resource
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
import uvicorn
from tests.hospitals import new_hospital
from tests.processes import wait_until_started
from tests.sites import free_port

from neva.web.security import connections

HALF_OPEN = 3_000


@contextlib.contextmanager
def served_by_a_process(folder):
    port = free_port()
    command = [sys.executable, "-m", "neva.cli", "serve", str(folder), "--port", str(port),
               "--workers", "0"]  # fmt: skip
    # With 1,024 open files, and more if it asks, as a shell starts it.
    lowered = ["/bin/sh", "-c", 'ulimit -S -n 1024; exec "$@"', "sh"]
    process = subprocess.Popen([*lowered, *command])
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{address}/health", timeout=5)
                break
            time.sleep(0.1)
        yield port, address
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_three_thousand_half_open_connections_do_not_stop_the_service(tmp_path):
    hospital = new_hospital(tmp_path)
    connections.raise_open_files()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = HALF_OPEN if hard == resource.RLIM_INFINITY else min(HALF_OPEN, hard - 500)
    assert number > 1024
    with contextlib.ExitStack() as held, served_by_a_process(hospital.path) as (port, address):
        for k in range(number):
            one = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            if k % 2:
                one.sendall(b"GET /now HTTP/1.1\r\nHost: ")
        began = time.monotonic()
        answer = httpx.get(f"{address}/health", timeout=30)
        assert answer.json()["status"] in ("ok", "no worker")
        assert time.monotonic() - began < 10


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(connections, "SILENCE", 0.3)
    monkeypatch.setattr(connections, "REQUEST_WITHIN", 1.5)

    async def application(scope, receive, send):
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    chosen = free_port()
    config = uvicorn.Config(
        application, port=chosen, http=connections.PatientProtocol, log_level="error",
        lifespan="off",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until_started(server, thread)
    yield chosen
    server.should_exit = True
    thread.join()


def closed_within(port, sent, *, every=None, seconds=5.0):
    """Send something; say after how long the server closed the connection, or None."""
    with socket.create_connection(("127.0.0.1", port)) as one:
        one.sendall(sent)
        one.settimeout(every or seconds)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            try:
                if one.recv(1000) == b"":
                    return time.monotonic() - began
            except TimeoutError:
                one.sendall(b"a")
            except ConnectionError:
                return time.monotonic() - began
    return None


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHo",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
    ],
)
def test_who_falls_silent_is_closed(port, sent):
    assert closed_within(port, sent) < 3


def test_who_asks_a_letter_at_a_time_is_closed_too(port):
    found = closed_within(port, b"GET / HTTP/1.1\r\nX: ", every=0.1)
    assert found is not None
    assert 1 < found < 4


def test_who_asks_is_answered(port):
    with httpx.Client() as client:
        for _ in range(3):
            assert client.get(f"http://127.0.0.1:{port}/").text == "ok"
            time.sleep(0.5)
        assert client.post(f"http://127.0.0.1:{port}/", content=b"x" * 100_000).text == "ok"
