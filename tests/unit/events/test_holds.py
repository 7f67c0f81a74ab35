"""A version that is held outlasts every vacuum, until its holder lets it go or ends."""

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hospitals import NOW, event, new_hospital, take

from neva.errors import BadInputError, ConflictError
from neva.events import holds
from neva.events.holds import held_version, held_versions
from neva.events.hospital import open_hospital

HOLD = """
import sys, pathlib
from neva.events.holds import held_version
with held_version(pathlib.Path(sys.argv[1])) as manifest:
    print(manifest.version, flush=True)
    sys.stdin.read()
"""


def grow(hospital, folder, number):
    """One more version, with a correction of the row before."""
    rows = [event(code=f"TEST//{number}", row=1), event(code=f"TEST//{number - 1}", value=number)]
    take(hospital, folder / f"{number}", rows, now=NOW + timedelta(days=number))


def rows_of(hospital, version):
    return sorted(hospital.snapshot(version=version).events().collect().rows(), key=str)


def vacuum(hospital):
    return hospital.vacuum(keep=1, now=NOW + timedelta(days=99), grace=timedelta(0))


def test_a_held_version_is_read_after_a_vacuum(hospital, tmp_path):
    grow(hospital, tmp_path, 1)
    grow(hospital, tmp_path, 2)
    with held_version(hospital.path) as manifest:
        before = rows_of(hospital, manifest.version)
        for number in range(3, 8):
            grow(hospital, tmp_path, number)
        vacuum(hospital)
        assert hospital.versions() == [2, 7]
        assert rows_of(open_hospital(hospital.path), 2) == before
        assert held_versions(hospital.path) == {2}
    assert held_versions(hospital.path) == set()
    vacuum(hospital)
    assert hospital.versions() == [7]
    assert list((hospital.path / "holds").iterdir()) == []


def test_the_hold_of_a_killed_process_holds_nothing(hospital, tmp_path):
    grow(hospital, tmp_path, 1)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, hospital.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"1\n"
    grow(hospital, tmp_path, 2)
    vacuum(hospital)
    assert hospital.versions() == [1, 2]
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    assert len(list((hospital.path / "holds").glob("*.hold"))) == 1
    vacuum(hospital)
    assert hospital.versions() == [2]
    assert list((hospital.path / "holds").iterdir()) == []


def test_a_version_replaced_while_it_was_being_held_is_not_the_one_held(
    hospital, tmp_path, monkeypatch
):
    grow(hospital, tmp_path, 1)
    made, numbers = holds._hold, iter([2, 3])

    def late(folder, version):
        number = next(numbers, None)
        if number is not None:  # somebody commits, and drops what was current, just before
            grow(hospital, tmp_path, number)
            vacuum(hospital)
        return made(folder, version)

    monkeypatch.setattr(holds, "_hold", late)
    with held_version(hospital.path) as manifest:
        assert manifest.version == 3
        vacuum(hospital)
        assert rows_of(hospital, 3)
    assert list((hospital.path / "holds").iterdir()) == []


def test_a_hospital_that_never_rests_is_told(hospital, tmp_path, monkeypatch):
    grow(hospital, tmp_path, 1)
    versions = iter(range(1, 1000))
    monkeypatch.setattr(holds, "current_version", lambda _: next(versions))
    with (
        pytest.raises(ConflictError, match="no version could be held"),
        held_version(hospital.path),
    ):
        pass
    assert list((hospital.path / "holds").iterdir()) == []


def test_a_full_disk_is_told(hospital, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(holds.fcntl, "flock", full)
    with pytest.raises(BadInputError, match="the disk is full"), held_version(hospital.path):
        pass
    assert list((hospital.path / "holds").iterdir()) == []


@given(steps=st.lists(st.sampled_from(["write", "vacuum", "hold", "release"]), max_size=12))
@settings(max_examples=12)
def test_what_is_held_reads_the_same_whatever_happens(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("held")
    hospital = new_hospital(folder)
    grow(hospital, folder, 1)
    held, number = [], 1
    for step in steps:
        if step == "write":
            number += 1
            grow(hospital, folder, number)
        elif step == "vacuum":
            vacuum(hospital)
            kept = {number} | {version for _, version, _ in held}
            assert {*hospital.versions()} == kept
        elif step == "hold":
            entered = held_version(hospital.path)
            version = entered.__enter__().version
            held.append((entered, version, rows_of(hospital, version)))
        elif held:
            held.pop(0)[0].__exit__(None, None, None)
        for _, version, rows in held:
            assert rows_of(hospital, version) == rows
    for entered, _, _ in held:
        entered.__exit__(None, None, None)
