"""A watched folder: each file once, when it is complete; what is refused says why."""

import json
import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from tests.command_line import CANARY
from tests.hospitals import NOW

from neva.errors import BadInputError, ConflictError, MappingError, UsageError
from neva.feeds.doors import folder
from neva.feeds.doors.door import Door, keep_looking
from neva.feeds.doors.folder import FolderSettings, WatchedFolder
from neva.feeds.inbox import Inbox, Reader
from neva.feeds.status import feed_folder, feed_status

MAPPING = """
neva: 1
name: log
tables:
  - subject: patient
    recorded: {column: changed}
    events:
      - {row_id: id, code: {system: LOG, column: what}, time: at}
"""
HEADER = "id,patient,what,at,changed\n"
ROW = "{},7,{},2025-05-01 08:00,2025-05-01 09:00\n"
PROFILE = "name: his\nassigner: gkb\nrecorded: sent\nsubject: {type: MR}\n"
ADT = (
    b"MSH|^~\\&|HIS|GKB|NEVA|GKB|20250501080000||ADT^A01^ADT_A01|%d|P|2.5\r"
    b"EVN||20250501080000\rPID|||%d^^^GKB^MR||X^Y\rPV1||I|W1^1^1||||||||||||||||%d\r"
)


class Crash(BaseException):
    """The process ends here."""


def messages(*numbers):
    return [ADT % (number, number, number) for number in numbers]


def batch(found, promised):
    return b"BHS|^~\\&\r" + b"".join(found) + b"BTS|%d\r" % promised


@pytest.fixture
def incoming(tmp_path):
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(tmp_path, incoming):
    (tmp_path / "log.yaml").write_text(MAPPING)
    return FolderSettings(incoming, "csv", mapping=tmp_path / "log.yaml")


@pytest.fixture
def of_messages(tmp_path, incoming):
    (tmp_path / "site.yaml").write_text(PROFILE)
    return FolderSettings(incoming, "hl7v2", profile=tmp_path / "site.yaml")


def door(hospital, **others):
    return Door(hospital, "night", "folder", now=lambda: NOW, **others)


def looked(hospital, settings, times=2):
    with door(hospital) as opened:
        taker = WatchedFolder(opened, settings)
        for _ in range(times):
            taker.look()


def codes(hospital):
    return sorted(hospital.snapshot().events().collect()["code"])


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def records(hospital):
    return [one.content for one in Reader(feed_folder(hospital.path, "his"), 0).read(100)]


def test_a_file_is_taken_when_two_looks_see_it_alike(hospital, incoming, settings):
    with door(hospital) as opened:
        taker = WatchedFolder(opened, settings)
        (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a"))
        assert taker.look()
        (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a") + ROW.format(2, "b"))
        taker.look()
        assert codes(hospital) == []
        taker.look()
        assert codes(hospital) == ["LOG//a", "LOG//b"]
    assert (names(incoming), names(incoming / "taken")) == ([], ["a.csv"])
    place = json.loads(hospital.manifest().feeds["night"])
    assert (place["kind"], place["files"]) == ("folder", 1)


@pytest.mark.parametrize("name", ["a.csv.part", "a.tmp", "A.TMP", ".a.csv"])
def test_what_is_being_written_or_hidden_is_never_taken(hospital, incoming, settings, name):
    (incoming / name).write_text(HEADER + ROW.format(1, "a"))
    looked(hospital, settings, 3)
    assert (codes(hospital), names(incoming)) == ([], [name])


def test_links_and_folders_are_left_alone(hospital, incoming, settings, tmp_path):
    (tmp_path / "a.csv").write_text(HEADER + ROW.format(1, "a"))
    (incoming / "link.csv").symlink_to(tmp_path / "a.csv")
    (incoming / "folder.csv").mkdir()
    looked(hospital, settings, 3)
    assert codes(hospital) == []
    assert (incoming / "link.csv").is_symlink()


def test_files_are_taken_in_order_of_time_and_then_name(hospital, incoming, settings):
    for name, at in (("c.csv", 2), ("b.csv", 1), ("a.csv", 2)):
        (incoming / name).write_text(HEADER + ROW.format(name, name[0]))
        os.utime(incoming / name, (at, at))
    looked(hospital, settings)
    files = hospital.snapshot().batches().sort("batch").collect()["file"]
    assert files.to_list() == ["night/b.csv", "night/a.csv", "night/c.csv"]


@pytest.mark.parametrize("ending", [".done", ".ok"])
def test_with_markers_a_file_waits_for_its_own(hospital, incoming, settings, ending):
    marked = FolderSettings(incoming, "csv", mapping=settings.mapping, marker=True)
    (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a"))
    looked(hospital, marked, 3)
    assert codes(hospital) == []
    (incoming / f"a.csv{ending}").touch()
    looked(hospital, marked, 1)
    assert codes(hospital) == ["LOG//a"]
    assert names(incoming) == []


def test_a_marker_that_a_crash_left_completes_no_later_file(hospital, incoming, settings):
    marked = FolderSettings(incoming, "csv", mapping=settings.mapping, marker=True)
    (incoming / "a.csv.done").touch()
    looked(hospital, marked, 1)
    assert names(incoming) == []
    (incoming / "b.csv.done").touch()
    os.utime(incoming / "b.csv.done", (1, 1))
    (incoming / "b.csv").write_text(HEADER + ROW.format(1, "half"))
    looked(hospital, marked, 2)
    assert codes(hospital) == []


def test_a_file_that_cannot_be_used_is_put_aside_with_the_reason(hospital, incoming, settings):
    (incoming / "a.csv").write_text(f"id,patient,what\n1,{CANARY},{CANARY}\n")
    (incoming / "b.csv").write_text(HEADER + ROW.format(1, "b"))
    looked(hospital, settings)
    assert codes(hospital) == ["LOG//b"]
    assert names(incoming / "refused") == ["a.csv", "a.csv.reason.txt"]
    reason = (incoming / "refused" / "a.csv.reason.txt").read_text()
    assert "no such column" in reason
    assert CANARY not in reason
    assert (incoming / "refused" / "a.csv.reason.txt").stat().st_mode & 0o077 == 0


def test_a_mapping_that_is_wrong_refuses_no_file(hospital, incoming, settings):
    (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a"))
    settings.mapping.write_text("neva: 1\nnome: log\n")
    with door(hospital) as opened, pytest.raises(MappingError):
        WatchedFolder(opened, settings).look()
    assert names(incoming) == ["a.csv"]


def test_a_full_disk_refuses_no_file(hospital, incoming, settings, monkeypatch):
    def full(*_, **__):
        raise BadInputError("the disk is full") from OSError(28, "No space left on device")

    (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a"))
    monkeypatch.setattr("neva.feeds.doors.door.import_delivery", full)
    with pytest.raises(BadInputError):
        looked(hospital, settings)
    assert names(incoming) == ["a.csv"]


def test_a_file_that_may_not_be_read_waits_and_blocks_no_other(
    hospital, incoming, settings, monkeypatch
):
    def refused(path):
        if path.name == "a.csv":
            raise PermissionError(13, "Permission denied")
        return sha256(path)

    sha256 = folder._sha256
    monkeypatch.setattr(folder, "_sha256", refused)
    for name in "ab":
        (incoming / f"{name}.csv").write_text(HEADER + ROW.format(name, name))
    looked(hospital, settings)
    assert (codes(hospital), names(incoming)) == (["LOG//b"], ["a.csv"])
    found = feed_status(hospital, "night", NOW)
    assert (found.backlog, "a.csv: may not be read" in found.problem) == (1, True)


def test_a_folder_that_goes_away_is_said(hospital, incoming, settings):
    with door(hospital) as opened:
        taker = WatchedFolder(opened, settings)
        incoming.rename(incoming.with_name("away"))
        with pytest.raises(ConflictError, match="see whether it is there"):
            taker.look()


def test_refused_files_stand_in_the_status_until_they_are_gone(hospital, incoming, settings):
    (incoming / "a.csv").write_text("id\n1\n")
    looked(hospital, settings)
    assert feed_status(hospital, "night", NOW).reasons == {"file-refused": 1}
    for path in (incoming / "refused").iterdir():
        path.unlink()
    looked(hospital, settings)
    assert feed_status(hospital, "night", NOW).reasons == {}


def test_a_feed_whose_status_is_gone_is_shown(hospital, incoming, settings):
    (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a"))
    looked(hospital, settings)
    (feed_folder(hospital.path, "night") / "status.json").unlink()
    found = feed_status(hospital, "night", NOW)
    assert (found.kind, found.applied, found.listening) == ("folder", 1, None)


def test_a_problem_of_a_full_disk_is_raised_though_no_status_can_be_written(
    hospital, incoming, settings, monkeypatch
):
    def full(*_, **__):
        raise BadInputError("the disk is full")

    with door(hospital) as opened:
        taker = WatchedFolder(opened, settings)
        monkeypatch.setattr("neva.feeds.doors.door.write_status", full)
        with pytest.raises(BadInputError, match="disk is full"):
            keep_looking(opened, taker.look, every=0.1, once=True)


def test_names_that_come_again_keep_both_files(hospital, incoming, settings):
    for what in "ab":
        (incoming / "a.csv").write_text(HEADER + ROW.format(what, what))
        looked(hospital, settings)
    assert codes(hospital) == ["LOG//a", "LOG//b"]
    assert names(incoming / "taken") == ["a-2.csv", "a.csv"]


def test_a_correction_comes_as_a_later_row_of_the_same_id(hospital, incoming, settings):
    (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a"))
    looked(hospital, settings)
    later = HEADER + ROW.format(1, "b").replace("09:00", "10:00")
    (incoming / "b.csv").write_text(later)
    looked(hospital, settings)
    assert codes(hospital) == ["LOG//b"]
    before = hospital.snapshot(as_of=NOW.replace(year=2025, month=5, day=1, hour=6, minute=30))
    assert before.events().collect()["code"].to_list() == ["LOG//a"]


def raising(function, *, after):
    def wrapped(*words, **named):
        if after:
            function(*words, **named)
        raise Crash

    return wrapped


STEPS = {
    "commit": "neva.feeds.doors.door.import_delivery",
    "move": "neva.feeds.doors.folder.WatchedFolder._move",
    "digest": "neva.feeds.doors.folder._sha256",
    "open": "neva.feeds.doors.folder.open_csv",
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_loses_nothing_and_does_nothing_twice(
    hospital, incoming, settings, monkeypatch, step, after
):
    import importlib

    (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a") + ROW.format(2, "a"))
    (incoming / "b.csv").write_text(HEADER + ROW.format(3, "b"))
    where, _, name = STEPS[step].rpartition(".")
    owner = WatchedFolder if name == "_move" else importlib.import_module(where)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, raising(getattr(owner, name), after=after))
        with pytest.raises(Crash):
            looked(hospital, settings)
    looked(hospital, settings)
    assert codes(hospital) == ["LOG//a", "LOG//a", "LOG//b"]
    assert hospital.snapshot().batches().collect().height == 2
    assert (names(incoming), names(incoming / "taken")) == ([], ["a.csv", "b.csv"])


def test_messages_go_through_the_inbox_of_their_profile(hospital, incoming, of_messages):
    (incoming / "a.hl7").write_bytes(batch(messages(1, 2), 2))
    looked(hospital, of_messages)
    assert records(hospital) == messages(1, 2)
    assert names(incoming / "taken") == ["a.hl7"]


@pytest.mark.parametrize("content", [batch(messages(1, 2), 3), b"nothing", b"\x0bMSH|^~\\&|A"])
def test_a_batch_that_is_not_whole_is_refused_whole(hospital, incoming, of_messages, content):
    (incoming / "a.hl7").write_bytes(content)
    looked(hospital, of_messages)
    assert not feed_folder(hospital.path, "his").exists()
    assert names(incoming / "refused") == ["a.hl7", "a.hl7.reason.txt"]
    reason = (incoming / "refused" / "a.hl7.reason.txt").read_text()
    assert "not whole" in reason or "no HL7 v2 messages" in reason


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_a_crash_while_messages_go_into_the_inbox_repeats_none(
    hospital, incoming, of_messages, monkeypatch, taken
):
    """As many as `taken` reached the disk, and nobody learnt of it."""
    (incoming / "a.hl7").write_bytes(batch(messages(1, 2, 3), 3))
    take = Inbox.take

    def half(inbox, found):
        if taken:
            take(inbox, found[:taken])
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Inbox, "take", half)
        with pytest.raises(Crash):
            looked(hospital, of_messages)
    looked(hospital, of_messages)
    assert records(hospital) == messages(1, 2, 3)
    assert names(incoming / "taken") == ["a.hl7"]


def test_a_damaged_inbox_refuses_no_file(hospital, incoming, of_messages, monkeypatch):
    def damaged(*_, **__):
        raise BadInputError("a record of the inbox is damaged")

    (incoming / "a.hl7").write_bytes(batch(messages(1), 1))
    monkeypatch.setattr("neva.feeds.doors.folder.Inbox", damaged)
    with pytest.raises(BadInputError):
        looked(hospital, of_messages)
    assert names(incoming) == ["a.hl7"]


def test_the_folder_may_not_have_the_name_of_the_profile(hospital, of_messages):
    named = Door(hospital, "his", "folder", now=lambda: NOW)
    with named as opened, pytest.raises(UsageError, match="has this name"):
        WatchedFolder(opened, of_messages)


def test_one_process_serves_a_feed(hospital, settings):
    with (
        door(hospital),
        pytest.raises(ConflictError, match="another process serves"),
        door(hospital),
    ):
        pass


def test_another_kind_of_feed_keeps_its_name(hospital, incoming, settings):
    (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a"))
    looked(hospital, settings)
    with (
        pytest.raises(ConflictError, match="another kind of feed"),
        Door(hospital, "night", "sql", now=lambda: NOW),
    ):
        pass


@pytest.mark.parametrize("name", ["", "../x", "A", "a b", "a/b"])
def test_a_name_that_would_be_no_folder_is_refused(hospital, name):
    with pytest.raises(UsageError, match="--name"):
        Door(hospital, name, "folder", now=lambda: NOW)


def test_a_feed_waits_while_another_process_writes(hospital, incoming, settings):
    (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a"))
    holding, done = threading.Event(), threading.Event()

    def other():
        with hospital.writer(purpose="another import", now=NOW):
            holding.set()
            done.wait(1.0)

    thread = threading.Thread(target=other)
    thread.start()
    holding.wait()
    looked(hospital, settings)
    thread.join()
    assert codes(hospital) == ["LOG//a"]


def test_the_status_says_backlog_problem_and_when_the_last_came(hospital, incoming, settings):
    (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a"))
    looked(hospital, settings)
    status = json.loads((feed_folder(hospital.path, "night") / "status.json").read_text())
    assert {"name", "last_arrived", "expected_within_seconds", "backlog"} <= set(status)
    assert status["position"] == 1
    found = feed_status(hospital, "night", NOW + timedelta(minutes=5))
    assert (found.kind, found.applied, found.backlog) == ("folder", 1, 0)
    assert (found.last_arrived, found.is_silent, found.outcomes) == (NOW, False, {"added": 1})
    settings.mapping.write_text("neva: 2\n")
    with door(hospital) as opened, pytest.raises(MappingError):
        keep_looking(opened, WatchedFolder(opened, settings).look, every=0.1, once=True)
    assert "log.yaml" in feed_status(hospital, "night", NOW).problem


def test_versions_that_nobody_reads_are_dropped(hospital, incoming, settings, monkeypatch):
    monkeypatch.setattr("neva.feeds.doors.door._MANY_VERSIONS", 3)
    monkeypatch.setattr("neva.feeds.doors.door._VERSIONS_KEPT", 2)
    for number in range(5):
        (incoming / f"{number}.csv").write_text(HEADER + ROW.format(number, "a"))
    looked(hospital, settings)
    later = Door(hospital, "night", "folder", now=lambda: NOW + timedelta(days=1))
    with later as opened:
        keep_looking(opened, WatchedFolder(opened, settings).look, every=0.1, once=True)
    assert hospital.versions() == [4, 5]
    assert codes(hospital) == ["LOG//a"] * 5


def test_the_command_takes_once_and_status_shows_the_feed(neva, hospital, incoming, settings):
    (incoming / "a.csv").write_text(HEADER + ROW.format(CANARY, "a"))
    done = neva("feed", "folder", hospital.path, "--name", "night", "--watch", incoming, "--source",
                "csv", "--mapping", settings.mapping, "--every", "0.1", "--once")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert "1 deliveries so far; rows: 1 added" in done.out
    told = neva("feed", "status", hospital.path)
    assert "feed night: 1 taken, 1 applied" in told.out
    assert "last delivery" in told.out


def test_the_status_of_feeds_is_printed_as_json(neva, hospital, incoming, settings):
    (incoming / "a.csv").write_text(HEADER + ROW.format(1, "a"))
    looked(hospital, settings)
    (found,) = neva("feed", "status", hospital.path, "--json").json()
    assert (found["name"], found["expected_within"]) == ("night", 3600.0)


def test_the_command_applies_messages_of_files(neva, hospital, incoming, of_messages):
    (incoming / "a.hl7").write_bytes(batch(messages(1, 2), 2))
    done = neva("feed", "folder", hospital.path, "--name", "night", "--watch", incoming, "--source",
                "hl7v2", "--profile", of_messages.profile, "--every", "0.1", "--once")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert "feed his: 2 messages applied so far" in done.out
    assert hospital.snapshot().stays().collect().height == 2
    told = neva("feed", "status", hospital.path)
    assert "feed his: 2 taken, 2 applied" in told.out


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--source", "xes"], "--source"),
        (["--source", "csv"], "--mapping"),
        (["--source", "hl7v2"], "--profile"),
        (["--source", "fhir", "--mapping", "x.yaml"], "--mapping"),
        (["--source", "csv", "--mapping", "x.yaml", "--set", "a=b"], "--set"),
    ],
)
def test_what_does_not_fit_together_is_said(neva, hospital, incoming, words, found):
    command = ("feed", "folder", hospital.path, "--name", "night", "--watch", incoming, "--once")
    done = neva(*command, *words)
    assert done.code == 2
    assert found in done.err


def test_ndjson_is_taken_too(hospital, incoming):
    patient = {"resourceType": "Patient", "id": "7", "gender": "female"}
    (incoming / "a.ndjson").write_text(json.dumps(patient) + "\n")
    looked(hospital, FolderSettings(Path(incoming), "fhir"))
    assert hospital.snapshot().subjects().collect().height == 1
