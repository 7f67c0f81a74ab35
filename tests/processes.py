"""Processes and servers of tests: none outlives its test, none is waited for in vain."""

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn


@contextmanager
def started_process(command: Sequence[str], **options: object) -> Iterator[subprocess.Popen]:
    """A process, killed at the end: ``with Popen`` alone waits for good when a test fails."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    """Wait for a server; one that ended, say because its port is taken, fails the test."""
    until = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the server ended before it began"
        assert time.monotonic() < until, "the server does not begin"
        time.sleep(0.01)
