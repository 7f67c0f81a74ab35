"""From a message that is sent to the page that shows it, with a large hospital behind.

    python -m benchmarks.live_pages [events] [viewers] [seconds]

`neva serve --feed` takes twenty messages a second, of which one in 17 admits a patient. Viewers
have *Now* open as browsers do: they hold a stream of changes and load the page again when
they are told. The delay of an admission is the time from its being sent until a viewer has
a page with one patient more, for each viewer.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil

from benchmarks.feeds import new_hospital

PROFILE = "name: his\nassigner: his\nrecorded: sent\n"
PASSWORD = "a river is a patient flow"
PER_SECOND = 20
OF_VISIT = 17  # no whole number of seconds: admissions fall on every phase of the commits


def message(number: int) -> bytes:
    """One message admits a patient; the others of a visit are results."""
    visit, step = divmod(number, OF_VISIT)
    at = (datetime.now(UTC) - timedelta(seconds=1)).strftime("%Y%m%d%H%M%S+0000")
    kind = "ORU^R01" if step else "ADT^A01"
    pv1 = ["PV1", "1", "I", "W^1^1", *[""] * 15, f"LIVE{visit}", *[""] * 24, "" if step else at]
    lines = [
        f"MSH|^~\\&|HIS|H|NEVA|N|{at}||{kind}|LIVE{number}|P|2.5.1",
        f"EVN||{at}||||{at}",
        f"PID|1||LIVE{visit}^^^H^MR||SYNTHETIC^LIVE{visit}||19700101|F",
        "|".join(pv1),
    ]
    if step:
        lines += [
            f"OBR|1|O{number}|F{number}|24323-8^panel^LN|||{at}",
            f"OBX|1|NM|2160-0^Creatinine^LN||{80 + step}|umol/L^^UCUM|||||F|||{at}",
        ]
    return ("\r".join(lines) + "\r").encode()


class Viewer(threading.Thread):
    """Has *Now* open, and notes when it shows how many patients."""

    def __init__(self, base: str, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.base, self.over = base, over
        self.seen: list[tuple[float, int]] = []
        self.seconds: list[float] = []
        self.client = httpx.Client(base_url=base, timeout=60, follow_redirects=False)
        self.sign_in()

    def sign_in(self) -> None:
        form = {"name": "viewer", "password": PASSWORD}
        answer = self.client.post("/sign-in", data=form)
        assert answer.status_code == 303, answer.status_code
        # As a header: a secure cookie would not go to an address without TLS.
        cookies = "; ".join(f"{name}={value}" for name, value in answer.cookies.items())
        self.client.headers["cookie"] = cookies

    def look(self) -> None:
        begun = time.monotonic()
        answer = self.client.get("/now.json")
        assert answer.status_code == 200, answer.status_code
        content = answer.json()
        present = sum(row["present"] or 0 for row in content["tables"]["units"])
        self.seen.append((time.monotonic(), int(present)))
        self.seconds.append(self.seen[-1][0] - begun)

    def run(self) -> None:
        self.look()
        since = self.client.get("/now/changes").json()["seen"]
        headers = {"accept": "text/event-stream"}
        try:
            self.follow(f"/now/changes?since={since}", headers)
        except httpx.HTTPError:
            if not self.over.is_set():
                raise

    def follow(self, address: str, headers: dict[str, str]) -> None:
        """Look again whenever the stream of changes says so."""
        with self.client.stream("GET", address, headers=headers, timeout=120) as stream:
            for line in stream.iter_lines():
                if self.over.is_set():
                    return
                if line.startswith('data: {"t'):
                    spread = json.loads(line[6:])["spread"]
                    time.sleep(spread * (hash(self.name) % 100) / 100)
                    self.look()


def delays_of(viewer: Viewer, before: int, sent: list[float]) -> list[float]:
    """How long after it was sent each admission was on a viewer's page."""
    found = []
    for number, at in enumerate(sent):
        shown = [when for when, count in viewer.seen if count >= before + number + 1]
        found.append(shown[0] - at if shown else float("inf"))
    return found


def run(events: int = 10_000_000, viewers: int = 20, seconds: int = 90) -> list[dict]:
    """Serve, send, look; return the delays in seconds and the memory."""
    with tempfile.TemporaryDirectory(prefix="neva-live-") as name:
        folder = Path(name)
        hospital = folder / "hospital"
        new_hospital(hospital, events)
        (folder / "site.yaml").write_text(PROFILE)
        add = [sys.executable, "-m", "neva.cli", "accounts", "add", str(hospital), "viewer"]
        subprocess.run([*add, "--role", "viewer"], input=PASSWORD + "\n", text=True, check=True,
                       capture_output=True)  # fmt: skip
        ports = []
        for _ in range(2):
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                ports.append(one.getsockname()[1])
        base = f"http://127.0.0.1:{ports[0]}"
        command = [sys.executable, "-m", "neva.cli", "serve", str(hospital)]
        command += ["--port", str(ports[0])]
        command += ["--feed", f"{folder / 'site.yaml'}@127.0.0.1:{ports[1]}"]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            rows = _measured(process, base, ports[1], viewers, seconds)
            return [{"events": events, **row} for row in rows]
        finally:
            os.killpg(process.pid, 15)
            process.wait()


def _measured(
    process: subprocess.Popen, base: str, port: int, viewers: int, seconds: int
) -> list[dict]:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        try:
            httpx.get(f"{base}/health", timeout=5)
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            break
        except (httpx.HTTPError, OSError):
            time.sleep(1)
    over = threading.Event()
    looking = [Viewer(base, over) for _ in range(viewers)]
    for one in looking:
        one.start()
    while not all(one.seen for one in looking):
        time.sleep(0.5)
    time.sleep(30)  # what is made once is there
    before = looking[0].seen[-1][1]
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    sent, number, begun = [], 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        time.sleep(max(0.0, begun + number / PER_SECOND - time.monotonic()))
        if number % OF_VISIT == 0:
            sent.append(time.monotonic())
        connection.sendall(b"\x0b" + message(number) + b"\x1c\r")
        connection.recv(4096)
        number += 1
    time.sleep(15)
    over.set()
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    delays = sorted(one for viewer in looking for one in delays_of(viewer, before, sent))
    shown = [
        {"what": "an admission, until a viewer's page shows it", **_quantiles(delays)},
        {"what": "*Now*, loaded", **_quantiles([one for v in looking for one in v.seconds])},
    ]
    memory = {
        "what": f"memory of server, worker and feed after {number} messages",
        "megabytes": sum(one.memory_full_info().pss for one in family) / 2**20,
    }
    return [{"viewers": viewers, **row} for row in shown] + [memory]


def _quantiles(seconds: list[float]) -> dict[str, float]:
    found = sorted(seconds)
    return {"median": statistics.median(found), "p95": found[int(0.95 * len(found))],
            "longest": found[-1]}  # fmt: skip


if __name__ == "__main__":
    for row in run(*(int(word.replace("_", "")) for word in sys.argv[1:])):
        print(row)
