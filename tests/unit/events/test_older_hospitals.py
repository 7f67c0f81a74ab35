"""Hospitals that an earlier Neva wrote are read, written further and upgraded, never half."""

import json
import os
import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.crash.test_killed_feeds import message
from tests.feeds import PROFILE, applied, seen
from tests.hospitals import event, take, take_csv

from neva.errors import BadInputError, ConflictError
from neva.events import formats
from neva.events.formats import FORMAT, READ, read_settings
from neva.events.hospital import create_hospital, open_hospital

OLDER = Path(__file__).parents[2] / "older_hospitals"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = {
    "events": ("subject_id", "stay_id", "event_id", "code", "time", "recorded", "value",
               "value_unit"),
    "stays": ("subject_id", "stay_id", "start", "end", "kind"),
    "movements": ("subject_id", "stay_id", "start", "end", "unit"),
    "subjects": ("subject_id", "sex"),
}  # fmt: skip


@pytest.fixture(params=[one for one in READ if one < FORMAT])
def older(request, tmp_path):
    """A hospital of an older format, and what the Neva that wrote it read of each version."""
    name = f"format-{request.param}"
    with zipfile.ZipFile(OLDER / f"{name}.zip") as packed:
        packed.extractall(tmp_path)
    expected = json.loads((OLDER / f"{name}.json").read_text())
    return open_hospital(tmp_path / "hospital"), expected


def readings(hospital, versions):
    """What is read of some versions, as the Neva of then wrote it down."""
    found = {}
    for version in versions:
        snapshot = hospital.snapshot(version=int(version))
        found[version] = {
            table: sorted(
                json.loads(json.dumps(row, default=str))
                for row in getattr(snapshot, table)().collect().select(columns).rows()
            )
            for table, columns in COLUMNS.items()
        }
    return found


def test_every_older_format_that_is_read_has_a_hospital():
    there = {int(path.stem.partition("-")[2]) for path in OLDER.glob("format-*.zip")}
    assert there == {*READ} - {FORMAT}
    assert tuple(range(1, FORMAT + 1)) == READ


def test_an_older_hospital_is_read_as_its_own_neva_read_it(older):
    hospital, expected = older
    before = {path: path.read_bytes() for path in hospital.path.rglob("*") if path.is_file()}
    assert readings(hospital, expected) == expected
    assert read_settings(hospital.path).format < FORMAT
    assert before == {p: p.read_bytes() for p in hospital.path.rglob("*") if p.is_file()}


def test_it_is_written_further_and_its_older_versions_stay(older):
    hospital, expected = older
    # What it holds already is known: pseudonyms and ids of events are those of then.
    known = take_csv(hospital, OLDER / "visits.csv", OLDER / "visits.yaml", now=NOW)
    assert known.already_imported
    applied(hospital, [message(number) for number in range(10)])
    again = open_hospital(hospital.path)
    assert again.settings.format == FORMAT
    assert again.settings.created == hospital.settings.created
    assert again.settings.hospital == hospital.settings.hospital
    assert again.manifest().position(PROFILE.name) == 10
    assert readings(again, expected) == expected
    found = seen(again)
    assert {name for name, *_ in found["stays"]} == {"P1", "P2", "P3", "P0"}
    # The feed's part is what an empty hospital gets of it.
    new = create_hospital(hospital.path.with_name("new"), zone="Europe/Moscow", now=NOW)
    applied(new, [message(number) for number in range(10)])
    for table, rows in seen(new).items():
        assert [row for row in found[table] if row[0] == "P0"] == rows


def test_the_command_upgrades_once(older, neva):
    hospital, expected = older
    done = neva("upgrade", hospital.path, "--json").json()
    assert (done["before"], done["format"], done["version"]) == (1, FORMAT, 3)
    assert readings(hospital, [*expected]) == expected
    assert readings(hospital, [3])[3] == expected["2"]
    again = neva("upgrade", hospital.path)
    assert (again.code, "nothing to upgrade" in again.out) == (0, True)
    assert hospital.versions() == [0, 1, 2, 3]


def test_a_write_that_ends_before_its_commit_upgrades_nothing(older, tmp_path):
    hospital, _ = older
    with pytest.raises(ZeroDivisionError), hospital.writer(purpose="test", now=NOW):
        raise ZeroDivisionError
    assert read_settings(hospital.path).format < FORMAT
    with (
        hospital.writer(purpose="another", now=NOW),
        pytest.raises(ConflictError, match="another process is writing"),
    ):
        hospital.upgrade(now=NOW)
    assert read_settings(hospital.path).format < FORMAT


@pytest.mark.parametrize("step", [*range(12)])
def test_an_upgrade_that_ends_anywhere_leaves_a_whole_hospital(older, tmp_path, monkeypatch, step):
    """Power goes at each renaming and each synchronising of it, one after the other."""
    hospital, expected = older
    done = 0

    def counted(function):
        def instead(*words, **named):
            nonlocal done
            done += 1
            if done > step:
                raise KeyboardInterrupt
            return function(*words, **named)

        return instead

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", counted(os.fsync))
        patched.setattr(Path, "replace", counted(Path.replace))
        try:
            take(hospital, tmp_path / "more", [event()], now=NOW)
            is_done = True
        except KeyboardInterrupt:
            is_done = False
    again = open_hospital(hospital.path)
    assert readings(again, expected) == expected
    assert again.versions() in ([0, 1, 2], [0, 1, 2, 3])
    assert not is_done or again.settings.format == FORMAT
    # A version that an earlier Neva would not understand is there only where it is refused.
    assert again.settings.format == FORMAT or again.versions() == [0, 1, 2]
    take(again, tmp_path / "other", [event(code="TEST//b")], now=NOW)
    assert open_hospital(hospital.path).settings.format == FORMAT


def test_a_hospital_without_the_number_is_of_the_first_format(older):
    hospital, _ = older
    path = hospital.path / "hospital.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items()
                                if k != "format"}))  # fmt: skip
    assert read_settings(hospital.path).format == 1


def test_an_earlier_neva_refuses_it_from_then_on(older, monkeypatch):
    hospital, _ = older
    shutil.copytree(hospital.path, hospital.path.with_name("copy"))
    hospital.upgrade(now=NOW)
    with monkeypatch.context() as patched:
        patched.setattr(formats, "READ", (1,))
        patched.setattr(formats, "FORMAT", 1)
        with pytest.raises(BadInputError, match="a newer Neva wrote this hospital"):
            open_hospital(hospital.path)
        assert open_hospital(hospital.path.with_name("copy")).versions() == [0, 1, 2]
