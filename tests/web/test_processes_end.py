"""Processes of a server, as the system sees them: replaced when killed, ended with it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.hospitals import new_hospital
from tests.sites import free_port

#: The command as it is installed.
NEVA = Path(sys.executable).with_name("neva")
DEMONSTRATION = """
import sys
from pathlib import Path
from neva.web.demonstration import serve_demonstration
if __name__ == "__main__":
    serve_demonstration(Path(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
"""


def command_of(process):
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def parents():
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            status, parent = path.read_text().rsplit(")", 1)[1].split()[:2]
            if status != "Z":
                found[int(path.parent.name)] = int(parent)
    return found


def below(process):
    """The servers and workers that a process has started, and what those have."""
    held = parents()
    found = [one for one, parent in held.items() if parent == process]
    for one in list(found):
        found += below(one)
    return [one for one in found if "spawn_main" in command_of(one)]


def wait_until(said, seconds=90):
    until = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < until
        time.sleep(0.1)


def answers(port):
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    return False


def seen(port):
    return httpx.get(f"http://127.0.0.1:{port}/health", timeout=30).json()["worker_seen"]


@contextlib.contextmanager
def started(*arguments):
    process = subprocess.Popen([sys.executable, *map(str, arguments)])
    try:
        yield process
    finally:
        left = below(process.pid)
        process.kill()
        process.wait()
        for one in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_worker_of_a_server_is_replaced_and_sigterm_ends_both(tmp_path):
    port = free_port()
    hospital = new_hospital(tmp_path).path
    with started(NEVA, "serve", hospital, "--port", port) as server:
        wait_until(lambda: answers(port) and seen(port) is not None)
        [first] = below(server.pid)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: below(server.pid) not in ([], [first]))
        [second] = below(server.pid)
        before = seen(port)
        wait_until(lambda: seen(port) > before)
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
        wait_until(lambda: second not in parents(), 20)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_demonstration_that_is_stopped_leaves_no_server_and_no_worker(tmp_path, how):
    port = free_port()
    for name in ("synthetic", "hospital"):
        (tmp_path / name).mkdir()
        new_hospital(tmp_path / name).path.rename(tmp_path / f"{name}.made")
        (tmp_path / name).rmdir()
        (tmp_path / f"{name}.made").rename(tmp_path / name)
    program = tmp_path / "demonstration.py"
    program.write_text(DEMONSTRATION)
    with started(program, tmp_path, port) as server:
        wait_until(lambda: answers(port) and answers(port + 1))
        wait_until(lambda: len(below(server.pid)) == 3)
        ran = below(server.pid)
        server.send_signal(how)
        server.wait(timeout=60)
        wait_until(lambda: not set(ran) & set(parents()), 30)
