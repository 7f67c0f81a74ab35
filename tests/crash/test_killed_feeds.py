"""A feed is killed at random moments under traffic: each acknowledged message is there, once."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import psutil
import pytest
from tests.feeds import fed, seen
from tests.sites import free_port

from neva.events.hospital import create_hospital, open_hospital
from neva.sources.hl7v2.profile import read_profile

PROFILE = "name: his\nassigner: gkb\nrecorded: sent\nmost_seconds: 0.2\nmost_messages: 40\n"


def message(number):
    """Of ten messages about one visit: admission, results, a transfer, a discharge."""
    patient, step = divmod(number, 10)
    at = datetime.fromtimestamp(1_767_225_600 + 61 * number, UTC).strftime("%Y%m%d%H%M%S+0000")
    kind = {0: "ADT^A01", 5: "ADT^A02", 9: "ADT^A03"}.get(step, "ORU^R01")
    place = "W^1^1" if step < 5 else "ICU^2^2"
    visit = ["PV1", "1", "I", place, *[""] * 15, f"V{patient}", *[""] * 24]
    visit += [at] if step == 0 else ["", at] if step == 9 else []
    lines = [
        f"MSH|^~\\&|HIS|GKB|NEVA|N|{at}||{kind}|C{number}|P|2.5.1",
        f"EVN||{at}||||{at}",
        f"PID|1||P{patient}^^^GKB^MR||TEST^P{patient}||19700101|F",
        "|".join(visit),
    ]
    if kind == "ORU^R01":
        lines += [f"OBR|1||F{number}|24323-8^C^LN|||{at}",
                  f"OBX|1|NM|2345-7^G^LN||{5 + step}|mmol/L|||||F|||{at}"]  # fmt: skip
    return ("\r".join(lines) + "\r").encode()


class Sender(threading.Thread):
    """Sends its messages in order, each until it is acknowledged, whatever happens."""

    def __init__(self, port, messages):
        super().__init__(daemon=True)
        self.port, self.messages = port, messages
        self.acknowledged = 0

    def run(self):
        connection = None
        while self.acknowledged < len(self.messages):
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
                connection.sendall(b"\x0b" + self.messages[self.acknowledged] + b"\x1c\r")
                answer = b""
                while not answer.endswith(b"\x1c\r"):
                    part = connection.recv(4096)
                    if not part:
                        raise ConnectionError
                    answer += part
            except OSError:
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.05)
                continue
            assert b"MSA|AA|" in answer, answer
            self.acknowledged += 1
            time.sleep(0.1)  # there is traffic at every kill
        if connection is not None:
            connection.close()


def start(folder, port):
    command = [sys.executable, "-m", "neva.cli", "feed", "hl7v2", str(folder / "hospital"),
               "--profile", str(folder / "site.yaml"), "--listen", f"127.0.0.1:{port}"]  # fmt: skip
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def kill_something(process, rng):
    """Kill the listener, the applier or both; say whether the listener is gone."""
    children = psutil.Process(process.pid).children() if process.poll() is None else []
    what = rng.choice(["listener", "applier", "both"])
    if what != "listener":
        for child in children:
            child.send_signal(signal.SIGKILL)
    if what != "applier" and process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return process.poll() is not None


@pytest.mark.parametrize(
    "kills", [6, pytest.param(200, marks=pytest.mark.nightly)]
)  # some 3 seconds a kill
def test_each_acknowledged_message_is_there_once_after_kills(tmp_path, kills):
    rng = random.Random(kills)
    count = 120 * kills
    messages = [message(number) for number in range(count)]
    made = create_hospital(
        tmp_path / "hospital", zone="Europe/Moscow", now=datetime(2025, 12, 1, tzinfo=UTC)
    )
    (tmp_path / "site.yaml").write_text(PROFILE)
    port = free_port()
    lanes = 4
    senders = [
        Sender(port, [one for number, one in enumerate(messages) if number // 10 % lanes == lane])
        for lane in range(lanes)
    ]
    process = start(tmp_path, port)
    for one in senders:
        one.start()
    try:
        for _ in range(kills):
            time.sleep(rng.uniform(0.3, 6.0))
            if kill_something(process, rng):
                process = start(tmp_path, port)
        for one in senders:
            one.join(timeout=60 + count / 50)
        assert [one.acknowledged for one in senders] == [len(one.messages) for one in senders]
        until = time.monotonic() + 120 + count / 20
        hospital = open_hospital(made.path)
        while time.monotonic() < until:
            rows = hospital.snapshot().stored("messages").select("outcome", "control").collect()
            done = rows.filter(rows["outcome"] == "applied")
            if done.height >= count:
                break
            time.sleep(0.3)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    # Exactly once each; what was sent again after a lost acknowledgement is a duplicate.
    assert done.height == done["control"].n_unique() == count
    assert {*rows["outcome"]} <= {"applied", "duplicate"}
    profile = read_profile(tmp_path / "site.yaml")
    undisturbed = fed(tmp_path / "undisturbed", messages, profile=profile)
    assert seen(hospital) == seen(undisturbed)
    assert len(seen(hospital)["stays"]) == count // 10


def test_a_killed_listener_leaves_no_applier_behind(tmp_path):
    create_hospital(
        tmp_path / "hospital", zone="Europe/Moscow", now=datetime(2025, 12, 1, tzinfo=UTC)
    )
    (tmp_path / "site.yaml").write_text(PROFILE)
    process = start(tmp_path, free_port())
    children = []
    until = time.monotonic() + 30
    while not children and time.monotonic() < until:
        children = psutil.Process(process.pid).children()
        time.sleep(0.1)
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(children, timeout=30)
    assert (len(gone), alive) == (1, [])
