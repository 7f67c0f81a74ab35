"""How fast messages are acknowledged, applied and read, beside a peer's parser.

    python -m benchmarks.feeds [events] [messages]

Acknowledged: `neva feed hl7v2` in a process of its own, twenty senders that wait for each
answer, every message on disk before it. Applied: the same messages from the inbox, alone and
into a hospital of ten million events. Peaks are of the processes.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from benchmarks.imports import IMPORT, MAPPING, MEASURED, make_events

PROFILE = "name: his\nassigner: his\nrecorded: sent\nmost_messages: 1000\n"
BEGINS = datetime(2023, 1, 2, tzinfo=UTC)

APPLY = """
from datetime import UTC, datetime
from pathlib import Path
from neva.events.hospital import open_hospital
from neva.feeds.applier import Applier
from neva.sources.hl7v2.profile import read_profile
hospital = open_hospital(Path(sys.argv[1]))
profile = read_profile(Path(sys.argv[2]))
applier = Applier(hospital, profile, now=lambda: datetime.now(UTC))
most = int(sys.argv[3])
batches = []
while True:
    begun = time.perf_counter()
    applied = applier.apply_next(most=most)
    if not applied.messages:
        break
    batches.append(time.perf_counter() - begun)
print(json.dumps({"batches": batches, "first": batches[0], "longest": max(batches)}))
"""


def message(number: int) -> bytes:
    """One message: of twenty about a visit an admission, a transfer, a discharge, else results."""
    visit, step = divmod(number, 20)
    at = (BEGINS + timedelta(seconds=number * 2)).strftime("%Y%m%d%H%M%S+0000")
    kind = {0: "ADT^A01", 10: "ADT^A02", 19: "ADT^A03"}.get(step, "ORU^R01")
    place = "W^1^1" if step < 10 else "ICU^2^2"
    times = [at] if step == 0 else ["", at] if step == 19 else []
    pv1 = ["PV1", "1", "I", place, *[""] * 15, f"V{visit}", *[""] * 24, *times]
    lines = [
        f"MSH|^~\\&|HIS|H|NEVA|N|{at}||{kind}|C{number}|P|2.5.1",
        f"EVN||{at}||||{at}",
        f"PID|1||P{visit}^^^H^MR||SYNTHETIC^P{visit}||19700101|F",
        "|".join(pv1),
    ]
    if kind == "ORU^R01":
        lines.append(f"OBR|1||F{number}|24323-8^CHEM^LN|||{at}")
        lines += [
            f"OBX|{k}|NM|{code}^X^LN||{4 + k}.{number % 10}|mmol/L|||||F|||{at}"
            for k, code in enumerate(("2345-7", "2823-3", "2951-2", "2160-0"), 1)
        ]
    return ("\r".join(lines) + "\r").encode()


class Sender(threading.Thread):
    """Sends messages over a connection of its own, each after the answer to the one before."""

    def __init__(self, port: int, messages: list[bytes]) -> None:
        super().__init__()
        self.port, self.messages = port, messages

    def run(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            for one in self.messages:
                connection.sendall(b"\x0b" + one + b"\x1c\r")
                answer = b""
                while not answer.endswith(b"\x1c\r"):
                    answer += connection.recv(4096)
                assert b"MSA|AA|" in answer, answer


def new_hospital(folder: Path, events: int) -> None:
    """A hospital of so many events, imported by a process of its own; empty for none."""
    from neva.events.hospital import create_hospital

    if not events:
        create_hospital(folder, zone="UTC", now=datetime.now(UTC))
        return
    source, mapping = folder.with_suffix(".parquet"), folder.with_suffix(".yaml")
    frame = make_events(events)
    frame.write_parquet(source)
    mapping.write_text(MAPPING)
    kind = "csv"
    csv = folder.with_suffix(".csv")
    frame.write_csv(csv)
    del frame
    work = MEASURED.format(work=IMPORT)
    command = [sys.executable, "-c", work, kind, str(csv), str(mapping), str(folder)]
    command.append(str(events))
    subprocess.run(command, check=True, capture_output=True)


def acknowledged(folder: Path, messages: list[bytes], senders: int) -> dict:
    """Messages a second over MLLP, with the processor time and memory of the listener."""
    (folder.parent / "site.yaml").write_text(PROFILE)
    command = [sys.executable, "-m", "neva.cli", "feed", "hl7v2", str(folder), "--no-apply"]
    command += ["--profile", str(folder.parent / "site.yaml"), "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        port = int(process.stderr.readline().rsplit(":", 1)[1])
        lanes = [Sender(port, messages[lane::senders]) for lane in range(senders)]
        begun = time.perf_counter()
        for one in lanes:
            one.start()
        for one in lanes:
            one.join()
        seconds = time.perf_counter() - begun
        seen = psutil.Process(process.pid)
        used = sum(seen.cpu_times()[:2])
        peak = seen.memory_info().rss / 2**20
    finally:
        process.terminate()
        process.wait()
    return {
        "what": f"acknowledged, {senders} senders",
        "messages": len(messages),
        "per_second": len(messages) / seconds,
        "per_processor_second": len(messages) / used,
        "megabytes": peak,
    }


def applied(folder: Path, count: int, what: str, most: int = 1000) -> dict:
    """Messages a second from the inbox into the store."""
    command = [sys.executable, "-c", MEASURED.format(work=APPLY), str(folder)]
    command += [str(folder.parent / "site.yaml"), str(most)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    batches, measured = (json.loads(line) for line in done.stdout.splitlines())
    last = batches["batches"][-10:]
    return {
        "what": what,
        "messages": count,
        "per_second": count / sum(batches["batches"]),
        "last": sum(last) / len(last),
        "longest": batches["longest"],
        "megabytes": measured["megabytes"],
    }


def parsed(messages: list[bytes]) -> list[dict]:
    """Messages a processor second: cut and read here, and by the most used library."""
    import hl7

    from neva.sources.hl7v2.interpretation import interpret_raw
    from neva.sources.hl7v2.message import read_message
    from neva.sources.hl7v2.profile import Profile

    profile, now = Profile(name="x", assigner="x"), datetime.now(UTC)
    texts = [one.decode() for one in messages]
    ways = {
        "read (Neva)": lambda: [read_message(one) for one in messages],
        "read and interpreted (Neva)": lambda: [
            interpret_raw(one, profile, zone="UTC", arrived=now) for one in messages
        ],
        "read (hl7 0.4.5)": lambda: [hl7.parse(one) for one in texts],
    }
    rows = []
    for name, work in ways.items():
        begun = time.process_time()
        work()
        rate = len(messages) / (time.process_time() - begun)
        rows.append({"what": name, "messages": len(messages), "per_processor_second": rate})
    theirs = rows[-1]["per_processor_second"]
    for row in rows:
        row["ratio"] = row["per_processor_second"] / theirs
    return rows


def run(events: int = 10_000_000, count: int = 20_000) -> list[dict]:
    messages = [message(number) for number in range(count)]
    rows = parsed(messages[:3000])
    with tempfile.TemporaryDirectory() as name:
        for loaded in (0, events):
            folder = Path(name) / f"hospital-{loaded}"
            new_hospital(folder, loaded)
            rows.append(acknowledged(folder, messages, 20))
            what = f"applied, {loaded:,} events loaded"
            rows.append(applied(folder, count, what))
    return rows


if __name__ == "__main__":
    numbers = [int(word.replace("_", "")) for word in sys.argv[1:]]
    for row in run(*numbers):
        print(row)
