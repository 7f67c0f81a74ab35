"""Kill an import at a random moment, import again, count: many times."""

import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from neva.events.hospital import create_hospital
from neva.intake.importing import import_delivery
from neva.sources.csv.source import open_csv

ROWS = 200
SEED = 20260101
MAPPING = """
neva: 1
name: crash
tables:
  - subject: subject
    stay: stay
    recorded: {after: time, delay: 5 min}
    events:
      - {code: {system: T, column: code}, time: time, value: value, row_id: id}
    stays:
      - {start: time, end: end}
"""


def write_files(folder: Path, number: int) -> None:
    folder.mkdir()
    for k in range(number):
        rows = [
            f"f{k}-{i},s{i % 50},f{k}-stay{i},2020-01-0{1 + i % 9} 10:00,2020-02-01 10:00,"
            f"c{i % 7},{i}"
            for i in range(ROWS)
        ]
        # Every file also corrects the first row of the file before it.
        if k:
            rows[0] = f"f{k - 1}-1,s1,f{k}-stay0,2020-01-02 10:00,2020-02-01 10:00,c1,{1000 + k}"
        text = "\n".join(["id,subject,stay,time,end,code,value", *rows])
        (folder / f"{k:04d}.csv").write_text(text + "\n")


def batches_are_whole(hospital) -> int:
    """Check that what a reader sees is whole batches; return how many."""
    snapshot = hospital.snapshot()
    batches = snapshot.batches().collect().sort("batch")
    written = dict(snapshot.stored("events").group_by("batch").len().collect().iter_rows())
    stays = dict(snapshot.stored("stays").group_by("batch").len().collect().iter_rows())
    numbers = batches["batch"].to_list()
    assert numbers == list(range(1, len(numbers) + 1))
    assert written == dict.fromkeys(numbers, ROWS)
    assert stays == dict.fromkeys(numbers, ROWS)
    seen = snapshot.events().select(pl.len()).collect().item()
    corrected = max(len(numbers) - 1, 0)
    assert seen == ROWS * len(numbers) - corrected
    return len(numbers)


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.nightly)])
def test_killed_imports_leave_a_whole_hospital(tmp_path, kills):
    chance = random.Random(SEED)
    files = tmp_path / "files"
    write_files(files, 6 * kills)
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(MAPPING)
    hospital = create_hospital(tmp_path / "hospital", zone="UTC", now=datetime.now(UTC))
    paths = sorted(files.glob("*.csv"))

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    done = 0
    interrupted = 0
    waiting = start()
    for _ in range(kills):
        worker, waiting = waiting, start()
        assert worker.stdin
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
        worker.stdin.write(f"{hospital.path}\t{files}\t{mapping}\t{done}\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == "went\n"
        time.sleep(chance.uniform(0.02, 0.5))
        seen_while_writing = batches_are_whole(hospital)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker.stdin.close()
        worker.stdout.close()
        kept = batches_are_whole(hospital)
        assert done <= seen_while_writing <= kept
        # The next file may or may not have begun: import it, and count.
        if any((hospital.path / "staging").glob("*")) or (hospital.path / "staging").exists():
            interrupted += 1
        summary = import_delivery(
            hospital,
            open_csv(paths[kept], zone="UTC", mapping=mapping),
            label=paths[kept].name,
            now=datetime.now(UTC),
        )
        assert not summary.already_imported
        done = batches_are_whole(hospital)
        assert done == kept + 1
    waiting.kill()
    waiting.wait()
    for pipe in (waiting.stdin, waiting.stdout):
        if pipe:
            pipe.close()
    # The test is worth something only if many kills fell into an import.
    assert interrupted > kills / 4
