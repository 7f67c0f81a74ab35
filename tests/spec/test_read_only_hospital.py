"""A hospital in a folder that may only be read answers everything that only reads."""

import os
import shutil
import subprocess

import pytest

from neva.errors import ConflictError
from neva.events import read_only
from neva.events.hospital import open_hospital
from neva.state import open_state, read_state
from neva.synthesis import Plan, synthesise

READING = (
    "info", "check", "pathways map", "pathways variants", "flow census", "flow stays",
    "flow forecast", "quality measure --programme covid19", "decide rules",
    "decide work-list --every-rule", "decide log", "decide replay --every 24",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from datetime import UTC, datetime

    from neva.events.hospital import create_hospital

    folder = tmp_path_factory.mktemp("made") / "hospital"
    now = datetime(2026, 1, 1, tzinfo=UTC)
    hospital = create_hospital(folder, zone="Europe/Moscow", now=now)
    synthesise(hospital, Plan(stays=300, seed=1), now=now)
    return folder


def refuse_writing(monkeypatch, folder):
    """Say of a folder that it may only be read, to whoever asks before writing."""
    asked = os.access
    monkeypatch.setattr(
        read_only.os, "access", lambda path, how: str(path) != str(folder) and asked(path, how)
    )


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """The hospital on a file system that refuses to be written, also by root."""
    folder = tmp_path / "hospital"
    shutil.copytree(made, folder)
    bind = [["mount", "--bind", folder, folder], ["mount", "-o", "remount,ro,bind", folder]]
    mounted = all(
        subprocess.run(one, capture_output=True, check=False).returncode == 0 for one in bind
    )
    if not mounted:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(path.stat().st_mode & ~0o222)
    if os.access(folder, os.W_OK):
        # Root, where mounting is not permitted: it may write whatever the rights say.
        refuse_writing(monkeypatch, folder)
    yield folder
    if mounted:
        subprocess.run(["umount", folder], check=True)
    else:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o700)


def contents(folder):
    return sorted((str(one.relative_to(folder)), one.stat().st_size) for one in folder.rglob("*"))


@pytest.mark.parametrize("words", READING)
def test_every_verb_that_reads_reads_a_read_only_hospital(neva, place, words):
    """Each ended as a bug: it could not write its cache."""
    before = contents(place)
    verb = words.partition(" --")[0].split()
    options = words.split()[len(verb) :]
    said = neva(*verb, place, *options)
    assert said.code == 0, said.err
    assert said.out
    assert contents(place) == before


def test_a_report_and_an_export_of_it_are_written_elsewhere(neva, place, tmp_path):
    before = contents(place)
    assert neva("report", place, "--out", tmp_path / "report.html").code == 0
    assert neva("export", "csv", place, tmp_path / "out").code == 0
    assert contents(place) == before


def test_what_writes_says_that_it_cannot(neva, place):
    for words in (
        ("accounts", "add", place, "x", "--role", "viewer", "--no-password"),
        ("vacuum", place, "--keep", "1"),
    ):
        said = neva(*words)
        assert said.code in (2, 5), said.err
        assert "bug" not in said.err


def test_a_state_is_read_where_it_cannot_be_written(tmp_path, monkeypatch):
    from datetime import UTC, datetime

    place = tmp_path / "state.sqlite"
    with open_state(place) as state:
        state.accounts.put(
            "dr.adams", role="clinician", actor="root", at=datetime(2026, 1, 1, tzinfo=UTC)
        )
    refuse_writing(monkeypatch, tmp_path)
    before = place.read_bytes()
    with read_state(place) as state:
        assert state.accounts.get("dr.adams") is not None
    with read_state(tmp_path / "other.sqlite") as state:
        assert state.rules.all() == []
    assert place.read_bytes() == before
    assert not (tmp_path / "other.sqlite").exists()


def test_a_hospital_that_cannot_be_locked_is_told(made, tmp_path, monkeypatch):
    from datetime import UTC, datetime

    folder = tmp_path / "hospital"
    shutil.copytree(made, folder)

    def refused(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("neva.events.lock.os.open", refused)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with (
        pytest.raises(ConflictError, match="cannot be written; found Read-only file system"),
        open_hospital(folder).writer(purpose="test", now=now),
    ):
        pass
