"""Backups: only what is new is stored, damage is found, what is restored is the hospital."""

import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.backups import (
    MADE,
    apply_all,
    backed_up,
    contents,
    in_use,
    inbox_of,
    modes,
    restored,
    seen,
)
from tests.crash.test_killed_feeds import message
from tests.feeds import PROFILE, applied, fed, taken
from tests.hospitals import NOW, event, new_hospital, take
from tests.spec.test_full_disk import room

from neva.backups import Target, create_backup, open_target, restore_backup, taking, verify_backups
from neva.errors import BadInputError, ConflictError, NotFoundError, UsageError
from neva.events.hospital import open_hospital
from neva.events.operational_codes import MEDICALLY_FIT
from neva.feeds.applier import Applier
from neva.feeds.inbox import shred
from neva.feeds.running import audit_merges
from neva.feeds.status import feed_folder
from neva.jobs.entered import flush
from neva.state import open_state
from neva.state.entries import new_entry


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Files count as settled at once: else a test would have to wait for two seconds."""
    monkeypatch.setattr(taking, "_SETTLED", -1)
    monkeypatch.delenv("NEVA_STATE", raising=False)


@pytest.fixture
def hospital(tmp_path):
    return in_use(tmp_path / "site")


@pytest.fixture
def target(tmp_path):
    return tmp_path / "backups"


def damage(target, summary, name):
    """Change one byte of what was stored of a file."""
    path = target / "objects" / (sha256 := summary.backup.files[name].sha256)[:2] / sha256
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


# ------------------------------------------------------------------ there and back


def test_what_is_restored_is_the_hospital(hospital, target, tmp_path):
    before = contents(hospital.path)
    summary = backed_up(hospital, target)
    again = restored(target, tmp_path / "new" / "hospital")
    after = contents(again.path)
    left = {name for name in before if name not in after}
    assert {name.partition("/")[0] for name in left} <= {"manifests", "cache", "lock", "feeds"}
    assert {name for name in left if name.startswith("feeds")} == {"feeds/his/lock"}
    assert {*after} <= {*before}
    same = {name for name in after if after[name] == before[name]}
    # The state was copied by its own means, and tells of the restore.
    assert {*after} - same == {"state.sqlite"}
    assert again.settings == hospital.settings
    assert seen(again) == seen(hospital)
    assert inbox_of(again) == inbox_of(hospital) == [message(n) for n in range(27)]
    assert summary.backup.applied == {"his": "20"}
    assert summary.backup.taken == {"his": 27}
    apply_all(again)
    assert seen(again) == seen(fed(tmp_path / "other", [message(n) for n in range(27)]))


def test_restored_files_are_readable_by_those_who_could_read_them(hospital, target, tmp_path):
    before = modes(hospital.path)
    backed_up(hospital, target)
    again = restored(target, tmp_path / "hospital")
    after = modes(again.path)
    assert {name: mode for name, mode in after.items() if before[name] != mode} == {}
    assert after["identities"] == after["feeds/his"] == 0o700
    assert after["identities/key"] == after["state.sqlite"] == 0o600
    ages = {
        name: (folder / name).stat().st_mtime_ns
        for folder in (hospital.path, again.path)
        for name in ("feeds/his/0000000000000001.inbox",)
    }
    assert len({*ages.values()}) == 1  # the days that messages are kept are counted from it


def test_nobody_else_reads_a_backup(hospital, target):
    os.umask(before := os.umask(0))
    try:
        os.umask(0)
        backed_up(hospital, target)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    for path in target.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_sessions_end_and_the_audit_tells(hospital, target, tmp_path):
    with open_state(hospital.path / "state.sqlite") as state:
        token, _ = state.sessions.begin("dr.adams", at=MADE)
        head = state.audit.head()
    summary = backed_up(hospital, target)
    assert summary.backup.state.head == f"{head.number}:{head.hash}"
    again = restored(target, tmp_path / "hospital")
    with open_state(again.path / "state.sqlite") as state:
        assert state.sessions.find(token, at=MADE) is None
        assert state.audit.verify(head) == []
        assert [one.action for one in state.audit.rows()][-1] == "restored"
        assert state.accounts.get("dr.adams") is not None
    with open_state(hospital.path / "state.sqlite") as state:
        assert state.sessions.find(token, at=MADE) is not None


def test_a_sealed_audit_without_its_key_keeps_no_hospital_back(hospital, target, tmp_path):
    key = tmp_path / "key"
    key.write_text("ab" * 32 + "\n")
    with open_state(hospital.path / "state.sqlite", audit_key=key) as state:
        state.audit.append(at=MADE, actor="root", action="exported", why="sealed")
    backed_up(hospital, target)
    done = restore_backup(target, tmp_path / "hospital", actor="root", now=MADE)
    assert "sealed with a key" in done.problem
    assert seen(open_hospital(done.folder)) == seen(hospital)


# ------------------------------------------------------------------- incremental


def test_only_what_is_new_is_stored(hospital, target):
    first = backed_up(hospital, target)
    assert first.new_files > 20
    second = backed_up(hospital, target)
    assert (second.new_files, second.new_bytes) == (0, 0)
    before = contents(target / "objects")
    taken(hospital, [message(27)])
    apply_all(hospital)
    third = backed_up(hospital, target)
    fresh = {*contents(target / "objects")} - {*before}
    assert len(fresh) == third.new_files
    names = {
        name for name, one in third.backup.files.items()
        if f"{one.sha256[:2]}/{one.sha256}" in fresh
    }  # fmt: skip
    # Tables have new files and new log entries; none that was there comes again.
    written_anew = {"current", "feeds/his/0000000000000001.inbox", "identities/people.parquet"}
    assert names & {*first.backup.files} == written_anew
    assert {name.rpartition(".")[2] for name in names} <= {"parquet", "json", "inbox", "current"}
    assert before.items() <= contents(target / "objects").items()


def test_an_unchanged_file_is_not_even_read(hospital, target, monkeypatch):
    backed_up(hospital, target)
    copies = []
    add = Target.add
    monkeypatch.setattr(
        "neva.backups.targets.Target.add",
        lambda self, source, **named: (
            copies.append(source.name if hasattr(source, "name") else "")
            or add(self, source, **named)
        ),
    )
    backed_up(hospital, target, verify=False)
    # The state, its pointer and the end of the inbox; nothing of the tables.
    assert len(copies) <= 3
    assert not [one for one in copies if "tables" in one]


def test_a_hospital_that_moved_is_stored_once_more_at_no_cost(hospital, target, tmp_path):
    backed_up(hospital, target)
    moved = tmp_path / "elsewhere"
    shutil.copytree(hospital.path, moved)
    summary = backed_up(open_hospital(moved), target)
    assert summary.new_files == 0
    assert len(summary.backup.files) > 20


def test_a_file_that_was_written_over_is_stored_again(hospital, target, tmp_path):
    path = hospital.path / "units.yaml"
    backed_up(hospital, target)
    for text in ("mmol/l: umol/L\n", "mmol/l: nmol/L\n"):
        path.write_text(text)
        backed_up(hospital, target)
    again = restored(target, tmp_path / "hospital")
    assert (again.path / "units.yaml").read_text() == text
    first = restored(target, tmp_path / "first", "1")
    assert (first.path / "units.yaml").read_text() == "mmol/l: mmol/L\n"


def test_what_was_just_written_is_looked_at_again(hospital, target, monkeypatch):
    monkeypatch.setattr(taking, "_SETTLED", 10**12)
    first = backed_up(hospital, target)
    assert {one.seen for one in first.backup.files.values()} == {None}
    assert backed_up(hospital, target).new_files == 0


@given(steps=st.lists(st.sampled_from(["take", "apply", "backup", "vacuum", "keep"]), max_size=8))
@settings(max_examples=12)
def test_each_backup_is_the_hospital_of_its_time(tmp_path_factory, steps):
    """The oracle: what the hospital showed when each backup was taken."""
    folder = tmp_path_factory.mktemp("steps")
    hospital, target = in_use(folder / "site", stored=3, waiting=1), folder / "backups"
    number, shown = 4, {}
    for step in [*steps, "backup"]:
        if step == "take":
            taken(hospital, [message(number), message(number + 1)])
            number += 2
        elif step == "apply":
            apply_all(hospital)
        elif step == "vacuum":
            hospital.vacuum(keep=1, now=MADE + timedelta(days=9), grace=timedelta(0))
        else:
            done = backed_up(hospital, target, keep=2 if step == "keep" else None)
            shown[done.backup.id] = (seen(hospital), inbox_of(hospital))
            for gone in done.forgotten:
                del shown[gone]
    with open_target(target) as place:
        assert [one.id for one in place.backups()[0]] == [*shown]
        named = {sha256 for one in place.backups()[0] for sha256 in one.objects}
    assert {path.name for path in (target / "objects").glob("*/*")} == named
    for name, (rows, messages) in shown.items():
        again = restored(target, folder / f"restored-{name}", name)
        assert seen(again) == rows
        assert inbox_of(again) == messages


# ------------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    "name", ["identities/key", "feeds/his/0000000000000001.inbox", "state.sqlite", "hospital.json"]
)
def test_a_changed_byte_is_found_and_its_file_named(hospital, target, tmp_path, name):
    summary = backed_up(hospital, target)
    damage(target, summary, name)
    with pytest.raises(BadInputError, match=rf"1 of its .* files .* the first {name}"):
        verify_backups(target)
    with pytest.raises(BadInputError, match=f"the first {name}"):
        restored(target, tmp_path / "new" / "hospital")
    assert [*(tmp_path / "new").iterdir()] == []


def test_a_missing_content_is_found(hospital, target, tmp_path):
    summary = backed_up(hospital, target)
    name = next(one for one in summary.backup.files if one.endswith(".parquet"))
    damage(target, summary, name).unlink()
    for act in (verify_backups, lambda one: restored(one, tmp_path / "hospital")):
        with pytest.raises(BadInputError, match=f"missing or changed, the first {name}"):
            act(target)


def test_the_next_backup_mends_what_was_damaged(hospital, target, tmp_path):
    first = backed_up(hospital, target)
    parquet = next(one for one in first.backup.files if one.endswith(".parquet"))
    damage(target, first, parquet)
    damage(target, first, "identities/key")
    second = backed_up(hospital, target)
    assert second.mended == 2
    assert len(verify_backups(target, every=True)) == 2
    assert seen(restored(target, tmp_path / "hospital", "1")) == seen(hospital)


def test_a_damaged_list_is_told_and_nothing_that_it_names_is_deleted(hospital, target, neva):
    backed_up(hospital, target)
    before = contents(target / "objects")
    path = next((target / "backups").iterdir())
    text = path.read_text()
    path.write_text(text.replace('"version": ', '"version": 1'))
    with pytest.raises(BadInputError, match="the list of a backup cannot be read"):
        verify_backups(target)
    assert "damaged: " in neva("backup", "list", target).out
    (hospital.path / "units.yaml").unlink()
    backed_up(hospital, target)
    assert before.items() <= contents(target / "objects").items()
    path.write_text(text)
    assert len(verify_backups(target, every=True)) == 2


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside", ""])
def test_a_list_cannot_name_a_file_outside(hospital, target, name, tmp_path):
    from neva.backups.contents import _checksum

    backed_up(hospital, target)
    path = next((target / "backups").iterdir())
    document = json.loads(path.read_text())
    document["backup"]["files"][name] = document["backup"]["files"]["units.yaml"]
    document["sha256"] = _checksum(document["backup"])
    path.write_text(json.dumps(document))
    with pytest.raises(BadInputError, match="the list of a backup cannot be read"):
        restored(target, tmp_path / "new" / "hospital")
    assert not (tmp_path / "outside").exists()


def test_a_backup_that_is_no_hospital_does_not_count(hospital, target, monkeypatch):
    """What is wrong in the hospital itself is found before the backup is there."""
    (hospital.path / "identities" / "key").unlink()
    with pytest.raises(BadInputError, match=r"no whole hospital; found .*pseudonym key is missing"):
        backed_up(hospital, target)
    with pytest.raises(NotFoundError, match="no such backup; found no backup"):
        verify_backups(target)


def test_a_file_of_the_version_that_is_gone_is_told(hospital, target):
    gone = next((hospital.path / "tables" / "events").glob("*.parquet"))
    gone.unlink()
    with pytest.raises(BadInputError, match="a file of the current version is not there"):
        backed_up(hospital, target)
    assert list((target / "backups").iterdir()) == []


# -------------------------------------------------------------------------- inbox


def test_an_unfinished_message_stays_out(hospital, target, tmp_path):
    segment = hospital.path / "feeds" / "his" / "0000000000000001.inbox"
    whole = segment.read_bytes()
    for cut in (1, 10, 100):
        segment.write_bytes(whole + whole[:cut])
        backed_up(hospital, target)
        again = restored(target, tmp_path / f"hospital-{cut}")
        assert (again.path / "feeds" / "his" / segment.name).read_bytes() == whole


def test_messages_that_were_shredded_meanwhile_are_in_a_later_version(
    hospital, target, tmp_path, monkeypatch
):
    """The version is chosen, then all is applied and shredded, then the inbox is read."""
    monkeypatch.setattr("neva.feeds.inbox.SEGMENT_BYTES", 1)
    for number in range(27, 30):
        taken_in_segments(hospital, message(number))
    attempts = []
    take_inboxes = taking._Taking.take_inboxes

    def late(self, manifest):
        attempts.append(manifest.version)
        if len(attempts) == 1:
            apply_all(hospital)
            shred(feed_folder(hospital.path, "his"), applied=30,
                  older_than=datetime.now(UTC) + timedelta(days=1))  # fmt: skip
        return take_inboxes(self, manifest)

    monkeypatch.setattr(taking._Taking, "take_inboxes", late)
    summary = backed_up(hospital, target)
    assert len(attempts) == 2
    assert summary.backup.applied == {"his": "30"}
    again = restored(target, tmp_path / "hospital")
    assert seen(again) == seen(fed(tmp_path / "other", [message(n) for n in range(30)]))


def taken_in_segments(hospital, one):
    from neva.feeds.inbox import Inbox

    inbox = Inbox(feed_folder(hospital.path, "his"), segment_bytes=1)
    inbox.take([(MADE, "test", one)])
    inbox.close()


def test_a_damaged_old_segment_is_no_reason_for_no_backup(hospital, target, tmp_path):
    apply_all(hospital)
    taken_in_segments(hospital, message(27))
    first = hospital.path / "feeds" / "his" / "0000000000000001.inbox"
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)
    summary = backed_up(hospital, target)
    assert [one for one in summary.backup.problems if first.name in one]
    again = restored(target, tmp_path / "hospital")
    assert contents(again.path)[f"feeds/his/{first.name}"] == bytes(data)
    apply_all(again)
    assert seen(again) == seen(fed(tmp_path / "other", [message(n) for n in range(28)]))


def test_messages_that_are_gone_before_they_were_applied_are_told(hospital, target):
    taken_in_segments(hospital, message(27))
    (hospital.path / "feeds" / "his" / "0000000000000001.inbox").unlink()
    with pytest.raises(ConflictError, match="lacks messages that were not applied"):
        backed_up(hospital, target)


# -------------------------------------------------------------------------- state


def test_the_state_is_copied_while_somebody_writes(hospital, target, tmp_path):
    with closing(sqlite3.connect(hospital.path / "state.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE half (a)")
        backed_up(hospital, target)
        other.execute("COMMIT")
    again = restored(target, tmp_path / "hospital")
    with closing(sqlite3.connect(again.path / "state.sqlite")) as state:
        tables = {name for (name,) in state.execute("SELECT name FROM sqlite_master")}
    assert "audit" in tables
    assert "half" not in tables


def test_a_state_elsewhere_is_taken_too(hospital, target, tmp_path, monkeypatch, neva):
    place = tmp_path / "state" / "neva.sqlite"
    place.parent.mkdir()
    (hospital.path / "state.sqlite").rename(place)
    monkeypatch.setenv("NEVA_STATE", str(place))
    summary = backed_up(hospital, target)
    assert summary.backup.state.place == str(place)
    said = neva("backup", "restore", target, tmp_path / "hospital")
    assert f"the state was at {place} and is now state.sqlite" in said.out
    with open_state(tmp_path / "hospital" / "state.sqlite") as state:
        assert state.accounts.get("dr.adams") is not None


def test_a_state_in_postgresql_is_told_not_to_be_in_it(hospital, target, tmp_path, monkeypatch):
    from neva.cli.backup import _state_lines

    monkeypatch.setenv("NEVA_STATE", "postgresql+pg8000://neva:secret@db.example/neva")
    summary = backed_up(hospital, target)
    assert summary.backup.state.kind == "postgresql"
    assert "state.sqlite" not in summary.backup.files
    assert not [path for path in target.rglob("*.json") if "secret" in path.read_text()]
    assert "NOT in this backup: use pg_dump" in _state_lines(summary.backup)[0]
    restored(target, tmp_path / "hospital")


def test_no_state_is_told(hospital, target, neva):
    (hospital.path / "state.sqlite").unlink()
    said = neva("backup", "create", hospital.path, target)
    assert "no state: there is none" in said.out
    assert not (hospital.path / "state.sqlite").exists()


def test_the_audit_tells_of_a_backup(hospital, target, neva):
    assert neva("backup", "create", hospital.path, target).code == 0
    with open_state(hospital.path / "state.sqlite") as state:
        last = [*state.audit.rows()][-1]
    assert last.action == "backed-up"
    assert json.loads(last.details)["backup"].startswith("000001-")


def after(monkeypatch, part, act):
    """Let something happen in the hospital just after a part of the backup was taken."""
    taking_it = getattr(taking._Taking, part)

    def then(self, *words):
        result = taking_it(self, *words)
        act()
        return result

    monkeypatch.setattr(taking._Taking, part, then)


@pytest.mark.parametrize("part", ["take_notes", "take_state", "take_inboxes", "take_version"])
def test_an_entry_written_into_the_store_at_any_moment_is_there_once(
    hospital, target, tmp_path, monkeypatch, part
):
    """An entry is in the state, then in the store: what the state calls done is done."""
    subject, stay = hospital.snapshot().stays().select("subject_id", "stay_id").collect().row(0)
    with open_state(hospital.path / "state.sqlite") as state:
        state.entries.add(
            id=new_entry(), subject=str(subject), stay=str(stay), kind="medically-fit",
            value=None, details={}, start=NOW, end=None, actor="dr.adams", at=NOW,
        )  # fmt: skip

        def written():
            if state.entries.unflushed():
                flush(hospital, state)

        after(monkeypatch, part, written)
        backed_up(hospital, target)
    again = restored(target, tmp_path / "hospital")
    with open_state(again.path / "state.sqlite") as state:
        flush(again, state)
        assert state.entries.unflushed() == []
    rows = again.snapshot().events().filter(pl.col("code") == MEDICALLY_FIT).collect()
    assert rows.height == 1


@pytest.mark.parametrize("part", ["take_notes", "take_state", "take_inboxes", "take_version"])
def test_a_merge_at_any_moment_is_told_by_the_audit(hospital, target, tmp_path, monkeypatch, part):
    applier = Applier(hospital, PROFILE, now=lambda: MADE)
    merge = message(0).replace(b"ADT^A01", b"ADT^A40").replace(b"|C0|", b"|M1|")
    taken(hospital, [merge.rpartition(b"PV1")[0] + b"MRG|P1^^^GKB^MR\r"])

    def merged():
        while applier.apply_next().messages:
            pass
        with open_state(hospital.path / "state.sqlite") as state:
            audit_merges(state, applier, MADE)

    after(monkeypatch, part, merged)
    backed_up(hospital, target)
    again = restored(target, tmp_path / "hospital")
    later = Applier(again, PROFILE, now=lambda: MADE)
    # In batches of other sizes than before.
    while later.apply_next(most=2).messages:
        pass
    with open_state(again.path / "state.sqlite") as state:
        audit_merges(state, later, MADE)
        assert "record-merged" in [one.action for one in state.audit.rows()]


# ---------------------------------------------------------------------- the folder


def test_a_vacuum_takes_nothing_from_a_backup(hospital, target, tmp_path, monkeypatch):
    shown = seen(hospital)
    take_version = taking._Taking.take_version

    def late(self, manifest):
        apply_all(hospital)
        take(hospital, tmp_path / "more", [event()])
        hospital.vacuum(keep=1, now=MADE + timedelta(days=9), grace=timedelta(0))
        return take_version(self, manifest)

    monkeypatch.setattr(taking._Taking, "take_version", late)
    backed_up(hospital, target)
    assert seen(restored(target, tmp_path / "hospital")) == shown
    hospital.vacuum(keep=1, now=MADE + timedelta(days=9), grace=timedelta(0))
    assert len(hospital.versions()) == 1


def test_a_read_only_hospital_is_backed_up(hospital, target, tmp_path, monkeypatch, neva):
    before, asked = contents(hospital.path), os.access
    monkeypatch.setattr(
        "neva.events.read_only.os.access",
        lambda path, how: (
            not (how == os.W_OK and str(path) == str(hospital.path)) and asked(path, how)
        ),
    )
    said = neva("backup", "create", hospital.path, target)
    assert said.code == 0, said.err
    assert contents(hospital.path) == before
    monkeypatch.undo()
    assert seen(restored(target, tmp_path / "hospital")) == seen(hospital)


def test_another_hospital_is_refused(hospital, target, tmp_path):
    backed_up(hospital, target)
    before = contents(target)
    other = new_hospital(tmp_path)
    with pytest.raises(ConflictError, match="holds backups of another hospital"):
        backed_up(other, target)
    assert contents(target) == before


def test_a_folder_that_holds_other_things_is_refused(hospital, target):
    target.mkdir()
    (target / "letter.txt").write_text("not yours")
    with pytest.raises(ConflictError, match="cannot hold backups; found other things"):
        backed_up(hospital, target)
    assert contents(target) == {"letter.txt": b"not yours"}


@pytest.mark.parametrize("place", ["", "backups", "cache/backups", ".."])
def test_a_target_within_the_hospital_is_refused(hospital, place):
    before = contents(hospital.path.parent)
    with pytest.raises(UsageError, match="cannot hold the backups; found it within"):
        backed_up(hospital, hospital.path / place)
    assert contents(hospital.path.parent) == before


def test_a_target_in_use_is_told(hospital, target):
    with (
        open_target(target, hospital=hospital.settings.hospital),
        pytest.raises(ConflictError, match="another process uses these backups"),
    ):
        backed_up(hospital, target)
    backed_up(hospital, target)
    with (
        open_target(target),
        pytest.raises(ConflictError, match="another process uses these backups"),
    ):
        backed_up(hospital, target)


@pytest.mark.parametrize("act", ["list", "verify", "restore"])
def test_a_folder_without_backups_is_told(tmp_path, neva, act):
    (tmp_path / "empty").mkdir()
    words = (act, tmp_path / "empty", *([tmp_path / "new"] if act == "restore" else []))
    said = neva("backup", *words)
    assert said.code == 4
    assert "no backups there" in said.err


def test_a_hospital_is_restored_into_an_empty_folder_only(hospital, target, tmp_path):
    backed_up(hospital, target)
    (tmp_path / "empty").mkdir()
    restored(target, tmp_path / "empty")
    with pytest.raises(ConflictError, match="found something in it already"):
        restored(target, tmp_path / "empty")
    with pytest.raises(UsageError, match="found it within the backups"):
        restored(target, target / "hospital")
    with pytest.raises(NotFoundError, match="no such backup; found 000001-"):
        restored(target, tmp_path / "other", "7")


def test_what_an_interrupted_restore_left_goes(hospital, target, tmp_path):
    backed_up(hospital, target)
    left = tmp_path / "new" / ".hospital.0123abcd.restoring"
    left.mkdir(parents=True)
    restored(target, tmp_path / "new" / "hospital")
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["hospital"]


def test_a_full_disk_is_told_and_leaves_nothing_half(hospital, target, tmp_path):
    largest = max(path.stat().st_size for path in hospital.path.rglob("*"))
    with room(largest // 2), pytest.raises(ConflictError, match="an error of the disk"):
        backed_up(hospital, target)
    largest = max(path.stat().st_size for path in (hospital.path / "tables").rglob("*"))
    (hospital.path / "state.sqlite").unlink()
    with room(largest - 1), pytest.raises(BadInputError, match="the disk is full"):
        backed_up(hospital, target)
    assert list((target / "backups").iterdir()) == []
    assert not list((target / "objects").rglob("*.new"))
    backed_up(hospital, target)
    with room(largest - 1), pytest.raises(BadInputError, match="the disk is full"):
        restored(target, tmp_path / "new" / "hospital")
    assert list((tmp_path / "new").iterdir()) == []


def test_keep_leaves_the_newest_and_what_they_need(hospital, target, tmp_path):
    for number in range(5):
        (hospital.path / "units.yaml").write_text(f"{number}\n")
        summary = backed_up(hospital, target, keep=2)
    assert len(summary.forgotten) == 1
    assert summary.freed > 0
    assert len(verify_backups(target, every=True)) == 2
    assert (restored(target, tmp_path / "hospital", "4").path / "units.yaml").read_text() == "3\n"
    with pytest.raises(UsageError, match="at least one backup must stay"):
        backed_up(hospital, target, keep=0)


def test_a_clock_that_was_put_back_loses_no_newer_backup(hospital, target):
    for day in (3, 2, 1):
        create_backup(hospital.path, target, now=MADE.replace(day=day), keep=2)
    with open_target(target) as place:
        assert [one.made.day for one in place.backups()[0]] == [2, 1]
        assert place.find().made.day == 1


def test_the_commands_print_what_people_need(hospital, target, tmp_path, neva):
    said = neva("backup", "create", hospital.path, target)
    assert "hospital version 1" in said.out
    assert ", verified" in said.out
    assert "not verified" in neva("backup", "create", hospital.path, target, "--no-verify").out
    said = neva("backup", "list", target)
    assert [line.split()[0][:7] for line in said.out.splitlines()[2:]] == ["000001-", "000002-"]
    assert neva("backup", "verify", target, "--all").out.count("is whole") == 2
    said = neva("backup", "restore", target, tmp_path / "hospital", "--backup", "1")
    assert "feed his: 7 messages in its inbox wait to be applied" in said.out
    assert neva("feed", "status", tmp_path / "hospital").code == 0


def test_a_hospital_without_feeds_or_rows_is_backed_up(tmp_path, target):
    empty = new_hospital(tmp_path)
    backed_up(empty, target)
    again = restored(target, tmp_path / "new")
    assert again.versions() == [0]
    assert take(again, tmp_path / "a", [event()]).version == 1


def test_a_restored_hospital_works_on(hospital, target, tmp_path):
    backed_up(hospital, target)
    again = restored(target, tmp_path / "hospital")
    apply_all(again)
    applied(again, [message(n) for n in range(20, 40)])  # sent again by the engine
    assert seen(again) == seen(fed(tmp_path / "other", [message(n) for n in range(40)]))
    outcomes = again.snapshot().stored("messages").collect()["outcome"].value_counts()
    assert dict(outcomes.iter_rows()) == {"applied": 40, "duplicate": 7}
    # Its own backups go on in the same place.
    assert backed_up(again, target).backup.number == 2
    assert NOW < MADE
    assert PROFILE.name == "his"
