"""A million messages one after another: memory, and a store that stays as quick as imported.

    python -m benchmarks.soak [messages]

`neva feed hl7v2` takes them over MLLP from twenty senders and applies them meanwhile. Then
the same events are imported as one file into another hospital, and both are read.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import psutil

from benchmarks.feeds import PROFILE, message
from benchmarks.imports import IMPORT, MAPPING, measured

SENDERS = 20
PATIENCE = 5400.0  # seconds for all of it

READ = """
from pathlib import Path
import polars as pl
from neva.events.hospital import open_hospital
hospital = open_hospital(Path(sys.argv[1]))
def code():
    events = hospital.snapshot().events().filter(pl.col("code") == "LOINC//2345-7")
    return events.select(pl.len(), pl.col("value").mean()).collect()
def patient():
    return hospital.snapshot().events().filter(pl.col("subject_id") == 700).collect()
def hours():
    events = hospital.snapshot().events()
    return events.group_by(pl.col("time").dt.truncate("1h")).len().collect()
found = {}
for work in (code, patient, hours):
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    found[work.__name__] = min(times)
print(json.dumps(found))
"""

WHAT = {
    "code": "all results of one code, best of five",
    "patient": "all of one patient, best of five",
    "hours": "events by hour, best of five",
}


class Sender(threading.Thread):
    """Sends every so-manieth message over a connection of its own, each after its answer."""

    def __init__(self, port: int, first: int, count: int) -> None:
        super().__init__(daemon=True)
        self.port, self.numbers, self.acknowledged = port, range(first, count, SENDERS), 0

    def run(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            for number in self.numbers:
                connection.sendall(b"\x0b" + message(number) + b"\x1c\r")
                answer = b""
                while not answer.endswith(b"\x1c\r"):
                    answer += connection.recv(4096)
                assert b"MSA|AA|" in answer, answer
                self.acknowledged += 1


def megabytes_of(process: subprocess.Popen) -> tuple[float, float]:
    """Memory of a process and of its children: their own, and with the files that they map.

    What they share is counted once; pages of mapped files are given back when memory is short.
    """
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    own = sum(one.memory_info().rss - one.memory_info().shared for one in family)
    return own / 2**20, sum(one.memory_full_info().pss for one in family) / 2**20


def fed(folder: Path, count: int) -> tuple[dict, list[tuple[float, float]]]:
    """Send all, wait until all are applied; the figures, and the memory by time."""
    from neva.events.hospital import create_hospital

    hospital = create_hospital(folder / "fed", zone="UTC", now=datetime.now(UTC))
    (folder / "site.yaml").write_text(PROFILE)
    command = [sys.executable, "-m", "neva.cli", "feed", "hl7v2", str(hospital.path)]
    command += ["--profile", str(folder / "site.yaml"), "--listen", "127.0.0.1:0"]
    memory, applied = [], 0
    with (folder / "feed.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        until = time.monotonic() + 60
        while not (lines := (folder / "feed.log").read_text().splitlines()):
            assert time.monotonic() < until, "the feed does not begin"
            time.sleep(0.2)
        senders = [Sender(int(lines[0].rsplit(":", 1)[1]), k, count) for k in range(SENDERS)]
        begun = time.monotonic()
        for one in senders:
            one.start()
        sent = None
        while applied < count:
            time.sleep(2)
            assert time.monotonic() < begun + PATIENCE, "not applied in time"
            assert process.poll() is None, "the feed ended"
            memory.append(megabytes_of(process))
            applied = hospital.manifest().position("his")
            if sent is None and not any(one.is_alive() for one in senders):
                sent = time.monotonic() - begun
        took = time.monotonic() - begun
    finally:
        process.terminate()
        process.wait()
    assert sum(one.acknowledged for one in senders) == count
    return {"sent": sent or took, "applied": took}, memory


def run(count: int = 1_000_000) -> list[dict]:
    with tempfile.TemporaryDirectory(prefix="neva-soak-") as name:
        folder = Path(name)
        seconds, memory = fed(folder, count)
        rows = [
            {"what": "acknowledged, while they are applied", "messages": count,
             "seconds": seconds["sent"], "per_second": count / seconds["sent"]},
            {"what": "applied", "messages": count,
             "seconds": seconds["applied"], "per_second": count / seconds["applied"]},
        ]  # fmt: skip
        quarter = max(1, len(memory) // 4)
        for what, part in (
            ("the second quarter", memory[quarter : 2 * quarter]),
            ("the last quarter", memory[-quarter:]),
        ):
            own, mapped = map(max, zip(*(part or memory), strict=True))
            rows.append({"what": f"peak memory in {what}", "megabytes": own})
            rows.append({"what": f"the same, with mapped files, in {what}", "megabytes": mapped})
        return rows + compared(folder)


def compared(folder: Path) -> list[dict]:
    """The fed hospital beside one into which the same events were imported."""
    from neva.events.hospital import open_hospital

    events = open_hospital(folder / "fed").snapshot().events()
    columns = ("subject_id", "stay_id", "time", "code", "value", "value_unit")
    frame = events.select(columns).collect().with_columns(pl.col("time").dt.replace_time_zone(None))
    frame.write_parquet(folder / "events.parquet")
    (folder / "soak.yaml").write_text(MAPPING)
    count = frame.unique(["subject_id", "stay_id", "time", "code", "value"]).height
    del frame
    measured(IMPORT, "csv", folder / "events.parquet", folder / "soak.yaml",
             folder / "imported", count)  # fmt: skip
    times = {}
    for which in ("fed", "imported"):
        code = f"import json, sys, time\n{READ}"
        command = [sys.executable, "-c", code, str(folder / which)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        times[which] = json.loads(done.stdout)
    return [
        {
            "what": WHAT[name], "seconds": seconds, "imported_seconds": times["imported"][name],
            "ratio": seconds / times["imported"][name],
        }
        for name, seconds in times["fed"].items()
    ]  # fmt: skip


if __name__ == "__main__":
    for row in run(*(int(word.replace("_", "")) for word in sys.argv[1:])):
        print(row)
