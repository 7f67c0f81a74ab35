"""Bad input: a clear error or quarantine with counts, and the hospital as it was."""

import gzip
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.command_line import CANARY

from neva.events.hospital import open_hospital

MAPPING = """\
neva: 1
name: ward
tables:
  - subject: patient
    stay: stay
    recorded: {after: time, delay: 1 h}
    events:
      - code: {system: T, column: code}
        time: time
        end_time: until
        value: value
        value_unit: unit
        row_id: id
"""
HEADER = "id,patient,stay,time,until,code,value,unit\n"
GOOD = f"1,{CANARY},{CANARY}-s,2020-05-01 08:00,2020-05-01 09:00,a,1.5,mg/dL\n"


@pytest.fixture
def mapping(tmp_path):
    path = tmp_path / "ward.yaml"
    path.write_text(MAPPING)
    return path


@pytest.fixture
def filled(neva, tmp_path, mapping):
    """A hospital with one good row in it."""
    file = tmp_path / "good.csv"
    file.write_text(HEADER + GOOD)
    folder = tmp_path / "hospital"
    said = neva(
        "import", "csv", file, "--mapping", mapping, "--into", folder, "--zone", "Europe/Moscow"
    )
    assert said.code == 0
    return folder


def content(folder):
    hospital = open_hospital(folder)
    snapshot = hospital.snapshot()
    return (
        hospital.manifest(),
        snapshot.stored("events").collect().sort("event_id").rows(),
        snapshot.quarantine().collect().rows(),
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"2,{CANARY},,31.02.2020 {CANARY},,a,1,", "time-unreadable"),
        (f"2,{CANARY},,,,a,1,", "time-missing"),
        (f"2,{CANARY},,2020-05-01 08:00,2020-05-01 07:00,a,1,", "end-before-start"),
        (f"2,{CANARY},,2220-05-01 08:00,,a,1,", "time-beyond-import"),
        (f"2,{CANARY},,1899-12-30 00:00,,a,1,", "time-too-early"),
        (f"2,{CANARY},,2020-05-01 08:00,,a,{CANARY},", "value-unreadable"),
        (f"2,{CANARY},,2020-05-01 08:00,,a,inf,", "value-not-finite"),
        (f"2,{CANARY},,2020-05-01 08:00,,,1,", "code-missing"),
        ("2,,,2020-05-01 08:00,,a,1,", "subject-missing"),
        (f"1,{CANARY},,2020-05-02 08:00,,a,{7731},", "id-duplicate"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason_and_the_good_one_taken(
    neva, tmp_path, mapping, row, reason
):
    file = tmp_path / "rows.csv"
    file.write_text(f"{HEADER}{GOOD}{row}\n")
    folder = tmp_path / "hospital"
    said = neva(
        "import", "csv", file, "--mapping", mapping, "--into", folder, "--zone", "UTC", "--json"
    )
    assert said.code == 0
    assert said.json()["refusals"] == {f"events: {reason}": 1}
    assert said.json()["counts"]["events"]["added"] == 1
    quarantine = open_hospital(folder).snapshot().quarantine().collect()
    assert quarantine.select("batch", "file", "row", "reason").rows() == [
        (1, "rows.csv", 2, reason)
    ]


def test_a_value_in_an_unknown_unit_is_taken_as_text_and_told(neva, tmp_path, mapping):
    file = tmp_path / "rows.csv"
    file.write_text(f"{HEADER}{GOOD}2,{CANARY},,2020-05-01 08:00,,a,1,{CANARY}\n")
    command = ("import", "csv", file, "--mapping", mapping, "--into")
    said = neva(*command, tmp_path / "a", "--zone", "UTC", "--json").json()
    assert (said["refusals"], said["warnings"]) == ({}, {"events: unit-unknown": 1})
    assert (
        "taken in doubt, 1 of events: unit-unknown"
        in neva(*command, tmp_path / "b", "--zone", "UTC").out
    )


def test_a_local_time_that_the_clock_skipped_is_refused(neva, tmp_path, mapping):
    file = tmp_path / "rows.csv"
    file.write_text(f"{HEADER}{GOOD}2,{CANARY},,2021-03-28 02:30,,a,1,\n")
    said = neva(
        "import", "csv", file, "--mapping", mapping, "--into", tmp_path / "h",
        "--zone", "Europe/Berlin", "--json",
    )  # fmt: skip
    assert said.json()["refusals"] == {"events: time-nonexistent": 1}


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


BROKEN = {
    "truncated.csv.gz": gzip.compress((HEADER + GOOD * 5000).encode())[:-2000],
    "nogzip.csv.gz": (HEADER + GOOD).encode(),
    "empty.csv": b"",
    "cyrillic.csv": (HEADER + GOOD).encode() + f"2,{CANARY},,2020-05-01,,".encode()
    + "Кровь,1,\n".encode("windows-1251"),
    "toowide.csv": (HEADER + GOOD + GOOD.strip() + f",{CANARY},{CANARY}\n").encode(),
    "other.csv": b"a;b;c\n1;2;3\n",
    "nothing.xlsx": f"not a workbook {CANARY}".encode(),
    "nothing.parquet": f"not parquet {CANARY}".encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_a_clear_error_and_changes_nothing(neva, tmp_path, mapping, filled, name):
    before = content(filled)
    path = written(tmp_path, name, BROKEN[name])
    said = neva("import", "csv", path, "--mapping", mapping, "--into", filled)
    assert said.code == 3
    assert said.err.startswith("neva: ")
    assert "found" in said.err
    assert "bug" not in said.err
    assert content(filled) == before


def test_a_failed_first_import_leaves_no_hospital(neva, tmp_path, mapping):
    path = written(tmp_path, "empty.csv", b"")
    said = neva(
        "import", "csv", path, "--mapping", mapping, "--into", tmp_path / "h", "--zone", "UTC"
    )
    assert (said.code, (tmp_path / "h").exists()) == (3, False)


def test_utf8_called_windows_1251_is_noticed(neva, tmp_path, mapping, filled):
    mapping.write_text(MAPPING.replace("name: ward\n", "name: ward\nencoding: windows-1251\n"))
    path = written(tmp_path, "utf8.csv", (HEADER + "1,Петрова,,2020-05-01,,a,1,\n").encode())
    said = neva("import", "csv", path, "--mapping", mapping, "--into", filled)
    assert said.code == 3
    assert "UTF-8 text where the mapping says windows-1251" in said.err
    assert "Петрова" not in said.err


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("subject: patient", "subject: patent", 4, "'patient'"),
        ("column: code", "column: kode", 8, "'code'"),
        ("subject: patient", "subjekt: patient", 4, "'subject'"),
        ("delay: 1 h", "delay: soon", 6, "15 min"),
        ("    recorded: {after: time, delay: 1 h}\n", "", 4, "recorded"),
        ("name: ward", "name: ward\nzone: Europe/Nowhere", 3, "Europe/Nowhere"),
        ("name: ward", "name: ward\nname: ward", 3, "stands twice"),
        ("neva: 1", "neva: [1", 2, "YAML"),
    ],
)
def test_a_wrong_mapping_names_its_line(neva, tmp_path, mapping, filled, old, new, line, told):
    before = content(filled)
    mapping.write_text(MAPPING.replace(old, new, 1))
    path = written(tmp_path, "rows.csv", (HEADER + GOOD).encode())
    said = neva("import", "csv", path, "--mapping", mapping, "--into", filled)
    assert said.code == 3
    assert f"ward.yaml:{line}:" in said.err
    assert told in said.err
    assert content(filled) == before


def test_a_full_disk_is_a_clear_error_and_changes_nothing(tmp_path, mapping, filled):
    before = content(filled)
    rows = "".join(
        f"x{k},{CANARY},,2020-05-01 08:00,,code{k},{k}.25,mg/dL\n" for k in range(20_000)
    )
    path = written(tmp_path, "many.csv", (HEADER + rows).encode())

    def small_disk():
        # A limit on the size of files stands for a disk without room.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    said = subprocess.run(
        [sys.executable, "-m", "neva.cli", "import", "csv", str(path), "--mapping", str(mapping),
         "--into", str(filled)],
        capture_output=True, text=True, check=False, preexec_fn=small_disk,
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "numba")},
    )  # fmt: skip
    assert said.returncode == 3, said.stderr
    assert "the disk is full" in said.stderr
    assert CANARY not in said.stdout + said.stderr
    assert content(filled) == before


# Not getrusage: its peak is handed on by the process that started this one.
SAY_PEAK = """
import sys
from pathlib import Path
from neva.cli import main
try:
    main()
finally:
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    sys.stdout.write("peak " + told["VmHWM"].split()[0])
"""


@pytest.mark.parametrize("kind", ["fhir", "csv"])
def test_300_mb_of_json_on_one_line_is_refused_in_little_memory(tmp_path, mapping, filled, kind):
    before = content(filled)
    path = tmp_path / "big.json"
    with path.open("wb") as file:
        file.write(b'{"resourceType":"Bundle","type":"collection","entry":[')
        chunk = (f'{{"resource":{{"x":"{CANARY}","y":"' + "z" * 1000 + '"}},').encode() * 1000
        while file.tell() < 300_000_000:
            file.write(chunk)
        # It ends in the middle: no closing brackets.
    words = ["import", kind, str(path), "--into", str(filled)]
    words += ["--mapping", str(mapping)] if kind == "csv" else []
    said = subprocess.run(
        [sys.executable, "-c", SAY_PEAK, *words], capture_output=True, text=True, check=False
    )
    assert said.returncode == 3, said.stderr
    assert CANARY not in said.stdout + said.stderr
    peak_kilobytes = int(said.stdout.rpartition("peak ")[2])
    assert peak_kilobytes < 1_000_000
    assert content(filled) == before


def test_an_unknown_zone_is_refused(neva, tmp_path, mapping):
    path = written(tmp_path, "rows.csv", (HEADER + GOOD).encode())
    said = neva(
        "import", "csv", path, "--mapping", mapping, "--into", tmp_path / "h", "--zone", "Moscow"
    )
    assert (said.code, "Europe/Moscow" in said.err) == (3, True)


def test_absent_things_are_not_found(neva, tmp_path, mapping):
    assert neva("info", tmp_path / "nowhere").code == 4
    said = neva(
        "import", "csv", tmp_path / "no.csv", "--mapping", mapping, "--into", tmp_path / "h"
    )
    assert said.code == 4


def test_a_changed_file_is_a_conflict(neva, tmp_path, mapping, filled):
    path = written(tmp_path, "good.csv", (HEADER + GOOD.replace("1.5", "2.5")).encode())
    said = neva("import", "csv", path, "--mapping", mapping, "--into", filled)
    assert (said.code, "batch 1" in said.err, "--replace" in said.err) == (5, True, True)
    assert (
        neva("import", "csv", path, "--mapping", mapping, "--into", filled, "--replace").code == 0
    )


def test_a_mistyped_option_is_usage(neva, tmp_path):
    assert neva("info", tmp_path, "--nonsense").code == 2
    assert neva("import", "hl7v9", tmp_path, "--into", tmp_path / "h").code == 2


def test_our_own_bug_shows_no_text_of_a_foreign_error(neva, filled, monkeypatch):
    def broken(*_, **__):
        raise ValueError(f"could not convert {CANARY}")

    monkeypatch.setattr("neva.events.snapshot.Snapshot.events", broken)
    said = neva("info", filled)
    assert (said.code, "ValueError" in said.err, "bug in Neva" in said.err) == (1, True, True)
