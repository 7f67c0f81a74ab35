"""Kill feeds that ask for what is new at random moments: nothing is lost, nothing comes twice."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from tests.fhir_standin import standin
from tests.processes import started_process

ROUNDS = 4
EACH = 40
SEED = 20260101
MAPPING = """
neva: 1
name: log
%s
tables:
  - files: [%s]
    subject: patient
    recorded: {column: changed}
    events:
      - {row_id: id, code: {system: LOG, constant: a}, time: at}
"""
DATABASE = """
database:
  url: {environment: KILLED_URL}
  page: 7
  queries:
    rows: {select: SELECT * FROM rows, modified: changed, key: id}
"""


def moment(number):
    """Several rows have the same time of change."""
    return datetime(2025, 5, 1, tzinfo=UTC) + timedelta(minutes=number // 3)


class Folder:
    """Files that arrive in a folder."""

    def __init__(self, place, hospital):
        self.incoming = place / "incoming"
        self.incoming.mkdir()
        (place / "log.yaml").write_text(MAPPING % ("", "'*'"))
        self.words = ["folder", "--watch", self.incoming, "--source", "csv", "--mapping",
                      place / "log.yaml"]  # fmt: skip

    def put(self, numbers):
        for first in range(0, len(numbers), 5):
            lines = ["id,patient,at,changed"]
            lines += [f"{n},7,2025-05-01 08:00,{moment(n)}" for n in numbers[first : first + 5]]
            path = self.incoming / f"{numbers[first]}.csv"
            path.with_suffix(".part").write_text("\n".join(lines) + "\n")
            path.with_suffix(".part").rename(path)


class Database:
    """Rows of a database."""

    def __init__(self, place, hospital):
        self.path = place / "source.sqlite"
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("CREATE TABLE rows (id, patient, at, changed)")
        os.environ["KILLED_URL"] = f"sqlite:///{self.path}"
        (place / "log.yaml").write_text(MAPPING % (DATABASE, "rows"))
        self.words = ["sql", "--mapping", place / "log.yaml"]

    def put(self, numbers):
        with closing(sqlite3.connect(self.path)) as connection:
            rows = [(n, "7", "2025-05-01 08:00", str(moment(n))) for n in numbers]
            connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", rows)
            connection.commit()


class Server:
    """Resources of a FHIR server."""

    def __init__(self, place, hospital, server):
        self.server = server
        (place / "ehr.yaml").write_text("resources: [Observation]\npage: 7\n")
        self.words = ["fhir", "--server", server.base, "--settings", place / "ehr.yaml"]

    def put(self, numbers):
        for n in numbers:
            self.server.put(
                moment(n),
                resourceType="Observation",
                id=str(n),
                status="final",
                code={"coding": [{"system": "http://loinc.org", "code": "2823-3"}]},
                subject={"reference": "Patient/7"},
                effectiveDateTime="2025-05-01T08:00:00Z",
                valueQuantity={"value": n},
            )


@pytest.fixture(params=["folder", "sql", "fhir"])
def source(request, tmp_path, hospital, monkeypatch):
    monkeypatch.setenv("KILLED_URL", "")
    if request.param == "fhir":
        with standin() as server:
            yield Server(tmp_path, hospital, server)
    else:
        yield {"folder": Folder, "sql": Database}[request.param](tmp_path, hospital)


def test_killed_feeds_lose_nothing_and_take_nothing_twice(source, hospital):
    chance = random.Random(SEED)

    def command(*more):
        kind, *words = source.words
        return [sys.executable, "-m", "neva.cli", "feed", kind, str(hospital.path), "--name",
                "killed", "--every", "0.1", *map(str, words), *more]  # fmt: skip

    expected = 0
    for _ in range(ROUNDS):
        source.put(range(expected, expected + EACH))
        expected += EACH
        before = hospital.manifest().version
        with started_process(command(), stdout=subprocess.DEVNULL) as process:
            until = time.monotonic() + 60
            while hospital.manifest().version == before:
                assert process.poll() is None
                assert time.monotonic() < until, "the feed takes nothing"
                time.sleep(0.005)
            time.sleep(chance.uniform(0.0, 0.2))
            process.send_signal(signal.SIGKILL)
        assert hospital.snapshot().events().collect().height <= expected
    subprocess.run(command("--once"), stdout=subprocess.DEVNULL, check=True, timeout=120)
    stored = hospital.snapshot().stored("events").collect()
    assert stored.height == stored["event_id"].n_unique() == expected
    shutil.rmtree(hospital.path / "feeds")
    subprocess.run(command("--once"), stdout=subprocess.DEVNULL, check=True, timeout=120)
    assert hospital.snapshot().stored("events").collect().height == expected


def test_killed_feeds_lose_no_payload_that_was_answered(tmp_path, hospital):
    """The server sends each version by itself and forgets it: no poll could bring it back."""
    chance = random.Random(SEED)
    secret = "a-secret-that-nobody-guesses"
    (tmp_path / "secret").write_text(secret)
    answered = set()
    with standin() as server:
        source = Server(tmp_path, hospital, server)
        # What is older than the overlap would be asked of the server, which has forgotten it.
        (tmp_path / "ehr.yaml").write_text("resources: [Observation]\noverlap: 100 h\n")
        kind, *words = source.words
        command = [sys.executable, "-m", "neva.cli", "feed", kind, str(hospital.path), "--name",
                   "killed", "--every", "0.3", "--notify", "127.0.0.1:0", "--notify-payload",
                   "--notify-secret", str(tmp_path / "secret"), *map(str, words)]  # fmt: skip
        for turn in range(ROUNDS):
            with started_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                 text=True) as process:  # fmt: skip
                line = process.stderr.readline()
                assert "hears of changes at port" in line, line
                place = f"http://127.0.0.1:{line.split()[-1]}/notices"
                ends = time.monotonic() + chance.uniform(0.5, 3.0)
                for number in range(turn * 1000, turn * 1000 + 1000):
                    source.put([number])
                    answer = server.bring(place, secret, kind="Observation", given=str(number))
                    assert answer.status_code == 200
                    answered.add(number)
                    if chance.random() < 0.9:  # the others are also polled
                        server.resources.pop(("Observation", str(number)))
                    if time.monotonic() > ends:
                        break
                process.send_signal(signal.SIGKILL)
        command[command.index("0.3")] = "60"
        subprocess.run([*command, "--once"], stdout=subprocess.DEVNULL, check=True, timeout=120)
    stored = hospital.snapshot().stored("events").collect()
    assert {int(value) for value in stored["value"]} == answered
    assert stored.height == stored["event_id"].n_unique() == len(answered)


def test_a_feed_that_is_told_to_end_ends(source, hospital):
    source.put(range(3))
    kind, *words = source.words
    command = [sys.executable, "-m", "neva.cli", "feed", kind, str(hospital.path), "--name",
               "ended", "--every", "0.1", *map(str, words)]  # fmt: skip
    with started_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while hospital.manifest().version == 0 and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"1 deliveries so far; rows: " in out
