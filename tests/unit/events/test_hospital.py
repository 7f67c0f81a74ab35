"""The hospital on disk: folders, keys, locks, versions, and what breaks them."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hospitals import NOW, event, new_hospital, take
from tests.processes import started_process

from neva.errors import BadInputError, ConflictError, NotFoundError, UsageError
from neva.events.formats import FORMAT
from neva.events.hospital import create_hospital, open_hospital
from neva.events.identities import Pseudonyms
from neva.events.schema import EVENT_ROW

LATER = NOW + timedelta(days=1)


def rows_of(hospital, **view):
    return sorted(hospital.snapshot(**view).events().collect().select("event_id", "code").rows())


@pytest.mark.parametrize("name", ["a b", "больница", "a#b?", "100 & more", "{ward}"])
def test_a_folder_may_have_any_ordinary_name(tmp_path, name):
    (tmp_path / name).mkdir()
    hospital = new_hospital(tmp_path / name)
    take(hospital, tmp_path / "a", [event()])
    take(hospital, tmp_path / "b", [event(code="TEST//b")], now=LATER)
    assert hospital.vacuum(keep=1, now=LATER) == 0
    assert len(rows_of(open_hospital(hospital.path))) == 2


@pytest.mark.parametrize("name", ["ward[1]", "a%20b", "a|b", "a^b"])
def test_a_name_that_the_storage_cannot_address_is_refused(tmp_path, name):
    with pytest.raises(BadInputError, match="cannot hold a hospital"):
        create_hospital(tmp_path / name, zone="UTC", now=NOW)
    assert not (tmp_path / name).exists()


def test_a_copied_hospital_opens_elsewhere(hospital, tmp_path):
    take(hospital, tmp_path / "a", [event()])
    shutil.copytree(hospital.path, tmp_path / "copy")
    shutil.rmtree(hospital.path)
    copy = open_hospital(tmp_path / "copy")
    take(copy, tmp_path / "b", [event(code="TEST//b")], now=LATER)
    assert len(rows_of(copy)) == 2


@pytest.mark.parametrize("text", ["", "one\n", "1.5"])
def test_a_damaged_pointer_to_the_current_version_is_told(hospital, text):
    (hospital.path / "current").write_text(text)
    with pytest.raises(BadInputError, match="current: names no version"):
        open_hospital(hospital.path)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"version": "x"}'])
def test_a_damaged_manifest_is_told_and_older_versions_open(hospital, tmp_path, text):
    take(hospital, tmp_path / "a", [event()])
    take(hospital, tmp_path / "b", [event(code="TEST//b")], now=LATER)
    (hospital.path / "manifests" / "00000002.json").write_text(text)
    with pytest.raises(BadInputError, match=r"00000002\.json: the manifest cannot be read"):
        hospital.snapshot()
    assert len(rows_of(hospital, version=1)) == 1


def test_a_manifest_that_a_broken_off_write_left_is_no_version(hospital, tmp_path):
    take(hospital, tmp_path / "a", [event()])
    written = (hospital.path / "manifests" / "00000001.json").read_text()
    (hospital.path / "manifests" / "00000002.json").write_text(written)
    with pytest.raises(NotFoundError, match="no version 2"):
        hospital.snapshot(version=2)


def test_a_writer_that_fails_on_its_way_leaves_the_hospital_as_it_was(hospital, tmp_path):
    take(hospital, tmp_path / "a", [event()])
    before = (hospital.manifest(), rows_of(hospital))

    def broken_off():
        with hospital.writer(purpose="test", now=LATER) as writer:
            writer.append("events", [hospital.snapshot().events().collect()])
            writer.retract(
                hospital.snapshot().events().select(EVENT_ROW).collect()
                .with_columns(retracted=LATER)
            )  # fmt: skip
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert (hospital.manifest(), rows_of(hospital)) == before
    take(hospital, tmp_path / "b", [event(code="TEST//b")], now=LATER)
    assert len(rows_of(hospital)) == 2


def test_the_second_writer_is_told_who_holds_the_lock(hospital):
    with hospital.writer(purpose="the night's import", now=NOW):
        told = f"process {os.getpid()} .*the night's import"
        with pytest.raises(ConflictError, match=told), hospital.writer(purpose="b", now=NOW):
            pass
    with hospital.writer(purpose="another", now=NOW):
        pass


HOLD = """
import os, sys
from datetime import UTC, datetime
from neva.events.hospital import open_hospital
with open_hospital(sys.argv[1]).writer(purpose="dying", now=datetime(2026, 1, 1, tzinfo=UTC)):
    print("held", flush=True)
    sys.stdin.read()
    os._exit(9)
"""


def test_the_lock_ends_with_its_process(hospital):
    with started_process(
        [sys.executable, "-c", HOLD, str(hospital.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout.readline() == "held\n"
        told = f"process {holder.pid} .*dying"
        with pytest.raises(ConflictError, match=told), hospital.writer(purpose="b", now=NOW):
            pass
        holder.stdin.close()
        assert holder.wait() == 9
    with hospital.writer(purpose="next", now=NOW):
        pass


def test_compaction_keeps_content_old_versions_and_views(hospital, tmp_path, monkeypatch):
    monkeypatch.setattr("neva.events.hospital.COMPACT_ABOVE_FILES", 2)
    views = {}
    for number in range(1, 7):
        at = datetime(2020, 5, number, 9, tzinfo=UTC)
        rows = [
            event(row_id="r", value=float(number), recorded=at),
            event(code=f"TEST//{number}", recorded=at, attributes=[{"key": "k", "value": None}]),
            event(code="TEST//none", subject=str(number), recorded=at),
        ]
        done = take(hospital, tmp_path / f"f{number}", rows, now=at)
        views[done.version] = rows_of(hospital)
    assert len(hospital.snapshot().files("events")) <= 3
    for version, view in views.items():
        assert rows_of(hospital, version=version) == view
        at = datetime(2020, 5, version, 9, tzinfo=UTC)
        assert rows_of(hospital, as_of=at) == view


def test_vacuum_keeps_what_kept_versions_name_and_nothing_else(hospital, tmp_path, monkeypatch):
    monkeypatch.setattr("neva.events.hospital.COMPACT_ABOVE_FILES", 2)
    for number in range(1, 6):
        take(hospital, tmp_path / f"f{number}", [event(code=f"TEST//{number}")])
    last = rows_of(hospital), rows_of(hospital, version=4)
    stray = hospital.path / "tables" / "events" / "part-stray.parquet"
    stray.write_bytes(b"left by a broken-off write")
    assert hospital.vacuum(keep=2, now=LATER, grace=timedelta(0)) > 1
    named = {f for v in (4, 5) for f in hospital.snapshot(version=v).files("events")}
    assert {str(p) for p in (hospital.path / "tables" / "events").glob("*.parquet")} == named
    assert (rows_of(hospital), rows_of(hospital, version=4)) == last
    assert hospital.versions() == [4, 5]
    take(hospital, tmp_path / "next", [event(code="TEST//next")], now=LATER)
    assert len(rows_of(hospital)) == 6


@contextmanager
def standing_in(folder):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@st.composite
def ways_to_name(draw, folder):
    """One folder, named from itself, from beside it, through links and through ``..``."""
    parts = folder.parts
    detours = draw(
        st.lists(
            st.tuples(
                st.integers(1, len(parts) - 1),
                st.sampled_from([".", "../{}", "tables/..", "tables/events/../.."]),
            ),
            max_size=3,
        )
    )
    where = list(parts)
    for at, detour in sorted(detours, reverse=True):
        if detour.startswith("tables"):
            where.append(detour)
        else:
            where.insert(at + 1, detour.format(parts[at]))
    name = "/".join(where).replace("//", "/")
    form = draw(
        st.sampled_from(["absolute", "relative", "link", "relative link", "link of a link"])
    )
    return name, form


@settings(max_examples=25)
@given(st.data())
def test_vacuum_keeps_the_current_version_however_the_folder_is_named(data):
    with tempfile.TemporaryDirectory() as place:
        real = Path(place).resolve() / "real"
        real.mkdir()
        hospital = new_hospital(real)
        for number in range(3):
            take(hospital, real / f"f{number}", [event(code=f"TEST//{number}")])
        expected = rows_of(hospital)
        name, form = data.draw(ways_to_name(hospital.path))
        with standing_in(place):
            if form == "relative":
                name = os.path.relpath(hospital.path) + "/tables/.."
            if "link" in form:
                Path("link").symlink_to(Path("real") if form == "relative link" else real)
                Path("again").symlink_to("link")
                name = "again/hospital" if form == "link of a link" else "link/hospital"
            opened = open_hospital(name)
            opened.vacuum(keep=1, now=LATER, grace=timedelta(0))
            assert rows_of(opened) == rows_of(open_hospital(name)) == expected
            take(opened, real / "next", [event(code="TEST//next")], now=LATER)
        assert len(rows_of(hospital)) == 4


def test_vacuum_deletes_nothing_where_a_file_that_it_would_keep_is_missing(
    hospital, tmp_path, monkeypatch
):
    monkeypatch.setattr("neva.events.hospital.COMPACT_ABOVE_FILES", 2)
    for number in range(5):
        take(hospital, tmp_path / f"f{number}", [event(code=f"TEST//{number}")])
    Path(hospital.snapshot().files("events")[0]).unlink()
    before = sorted(hospital.path.rglob("*.parquet"))
    with pytest.raises(BadInputError, match="would keep files that are not there; found 1 missing"):
        hospital.vacuum(keep=1, now=LATER, grace=timedelta(0))
    assert sorted(hospital.path.rglob("*.parquet")) == before
    assert hospital.versions() == [0, 1, 2, 3, 4, 5]


def test_a_reader_keeps_a_replaced_version_for_the_time_of_grace(hospital, tmp_path, monkeypatch):
    monkeypatch.setattr("neva.events.hospital.COMPACT_ABOVE_FILES", 2)
    for number in range(5):
        take(hospital, tmp_path / f"f{number}", [event(code=f"TEST//{number}")])
    reading = hospital.snapshot()
    seen = reading.events().collect().height
    for number in range(5, 9):
        take(hospital, tmp_path / f"f{number}", [event(code=f"TEST//{number}")], now=LATER)
    for path in hospital.path.rglob("*.parquet"):
        os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    minutes = timedelta(minutes=1)
    hospital.vacuum(keep=1, now=LATER + 59 * minutes)
    assert reading.events().collect().height == seen
    assert reading.version in hospital.versions()
    hospital.vacuum(keep=1, now=LATER + 61 * minutes)
    assert hospital.versions() == [9]
    with pytest.raises(NotFoundError, match=r"version 5: .* a vacuum dropped this version"):
        reading.events()
    assert hospital.snapshot().events().collect().height == 9


def test_vacuum_keeps_files_younger_than_the_time_of_grace(hospital, tmp_path):
    take(hospital, tmp_path / "a", [event()])
    stray = hospital.path / "tables" / "events" / "part-stray.parquet"
    stray.write_bytes(b"being written")
    os.utime(stray, (LATER.timestamp(), LATER.timestamp()))
    assert hospital.vacuum(keep=1, now=LATER + timedelta(minutes=59)) == 0
    assert hospital.vacuum(keep=1, now=LATER + timedelta(minutes=61)) == 1
    with pytest.raises(UsageError, match="grace: cannot be negative"):
        hospital.vacuum(keep=1, now=LATER, grace=timedelta(seconds=-1))


@pytest.mark.parametrize("more", [{}, {"shards": 4}])
def test_a_newer_format_is_neither_read_nor_written(hospital, tmp_path, more):
    take(hospital, tmp_path / "a", [event()])
    path = hospital.path / "hospital.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": FORMAT + 1} | more))
    newer = f"found format {FORMAT + 1}, known is {FORMAT}; use the Neva that wrote"
    with pytest.raises(BadInputError, match=newer):
        open_hospital(hospital.path)
    # One that was opened before the upgrade does not write into it either.
    with pytest.raises(BadInputError, match=f"found format {FORMAT + 1}"):
        take(hospital, tmp_path / "b", [event(code="TEST//b")])
    with pytest.raises(BadInputError, match=f"found format {FORMAT + 1}"):
        hospital.snapshot()


@pytest.mark.parametrize("format_", ["2", 0, 1.5, True, None])
def test_a_format_that_is_no_number_is_told(hospital, format_):
    path = hospital.path / "hospital.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": format_}))
    with pytest.raises(BadInputError, match="settings cannot be read"):
        open_hospital(hospital.path)


def test_another_engine_reads_the_same_rows_with_their_maps(hospital, tmp_path):
    rows = [
        event(code="T//null"),
        event(code="T//empty", attributes=[]),
        event(code="T//null value", attributes=[{"key": "ключ", "value": None}]),
        event(
            code="T//text", attributes=[{"key": "a", "value": ""}, {"key": "b", "value": "é\x1f"}]
        ),
        event(code="T//twice", attributes=[{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]),
    ]
    take(hospital, tmp_path / "a", rows)
    ours = {
        code: entries if entries is None else {e["key"]: e["value"] for e in entries}
        for code, entries in hospital.snapshot().events().select("code", "attributes")
        .collect().iter_rows()
    }  # fmt: skip
    with duckdb.connect() as engine:
        theirs = dict(
            engine.execute(
                "select code, attributes from read_parquet($files)",
                {"files": hospital.snapshot().files("events")},
            ).fetchall()
        )
    assert theirs == ours
    assert ours == {
        "T//null": None,
        "T//empty": {},
        "T//null value": {"ключ": None},
        "T//text": {"a": "", "b": "é\x1f"},
        "T//twice": {"a": "1", "a 2": "2"},
    }


def test_only_the_owner_reads_keys_and_identities(hospital, tmp_path):
    take(hospital, tmp_path / "a", [event()])
    folder = hospital.path / "identities"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600


ODD_IDS = ["NA", "null", "007", "7", " 7", "1e5", "Ёлкина", "x" * 300, "a\x1fb", "a", "NaN", "-0"]


def test_odd_ids_are_subjects_of_their_own(hospital, tmp_path):
    take(hospital, tmp_path / "a", [event(subject=subject, stay=subject) for subject in ODD_IDS])
    seen = hospital.snapshot().events().collect()
    assert seen["subject_id"].n_unique() == seen["stay_id"].n_unique() == len(ODD_IDS)
    pairs = hospital.identities().collect()
    assert sorted(pairs.filter(kind="subject")["local_id"]) == sorted(ODD_IDS)


def test_no_local_id_stands_below_the_tables(hospital, tmp_path):
    take(hospital, tmp_path / "a", [event(subject="CANARY-7731", stay="CANARY-7731-s", row_id="1")])
    files = [path for path in (hospital.path / "tables").rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"CANARY" in path.read_bytes()]


def test_the_name_of_the_assigner_cannot_pass_for_a_part_of_an_id():
    one = Pseudonyms(b"key", "a").one("subject", "b\x1fc")
    other = Pseudonyms(b"key", "a\x1fb").one("subject", "c")
    assert one != other


def test_a_collision_of_pseudonyms_is_an_error_and_nothing_is_written(
    hospital, tmp_path, monkeypatch
):
    monkeypatch.setattr(Pseudonyms, "one", lambda self, kind, local_id: 7)
    take(hospital, tmp_path / "a", [event(subject="1")])
    with pytest.raises(ConflictError, match="two local ids have the same pseudonym"):
        take(hospital, tmp_path / "b", [event(subject="2")], now=LATER)
    assert len(rows_of(hospital)) == 1
    assert hospital.manifest().version == 1


def test_the_settings_of_a_newer_neva_are_told(hospital):
    path = hospital.path / "hospital.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"more": 1}))
    with pytest.raises(BadInputError, match="newer Neva"):
        open_hospital(hospital.path)
