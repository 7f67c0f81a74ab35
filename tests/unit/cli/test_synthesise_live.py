"""``neva synthesise live``: messages to a receiver or a file, and the hospital for them."""

import json

import pytest
from tests.hospitals import event, new_hospital, take
from tests.mllp_receiver import stand_in

from neva.events.hospital import open_hospital
from neva.synthesis import Plan, is_synthetic
from neva.synthesis.generation import Generation
from neva.synthesis.messages import Disorder, Traffic

PLAN = Plan(stays=20, seed=2)
OPTIONS = ("--stays", 20, "--seed", 2)


def frames(file):
    return [one.removeprefix(b"\x0b") for one in file.read_bytes().split(b"\x1c\r")][:-1]


def test_messages_go_to_a_receiver_and_are_reported(neva):
    with stand_in() as server:
        sent = neva(
            "synthesise", "live", "--to", server.address, *OPTIONS, "--speed", 0,
            "--connections", 2, "--disorder", "real", "--json",
        )  # fmt: skip
    assert (sent.code, sent.err) == (0, "")
    content = sent.json()
    expected = [one.content for one in Traffic.of(PLAN, Disorder())]
    assert content["synthetic"] is True
    assert content["sent"]["messages"] == len(expected)
    assert content["sent"]["answers"] == {"AA": len(expected)}
    assert sorted(server.contents) == sorted(expected)


def test_a_part_of_the_time_is_sent_and_told_in_words(neva):
    until = "2020-03-05T00:00"
    with stand_in() as server:
        sent = neva("synthesise", "live", "--to", server.address, *OPTIONS, "--speed", 0,
                    "--until", until)  # fmt: skip
    assert sent.code == 0, sent.err
    assert sent.out.startswith("synthetic data")
    assert f"{len(server.taken):,} messages in" in sent.out
    assert "answered: AA" in sent.out
    assert "to 2020-03-04 20:" in sent.out


def test_the_same_messages_stand_in_a_file(neva, tmp_path):
    file = tmp_path / "messages.hl7"
    assert neva("synthesise", "live", "--write", file, *OPTIONS).code == 0
    assert frames(file) == [one.content for one in Traffic.of(PLAN)]
    begin = "2020-03-03T00:00"
    written = neva("synthesise", "live", "--write", file, *OPTIONS, "--from", begin,
                   "--earlier", "skip", "--json")  # fmt: skip
    assert written.json()["written"]["triggers"]["ORU"] < len(frames(file))
    assert 0 < len(frames(file)) < len(Traffic.of(PLAN))


def test_a_prepared_hospital_has_units_beds_and_codes_and_no_patient(neva, tmp_path):
    place = tmp_path / "h"
    assert neva("synthesise", "live", "--prepare", place, *OPTIONS, "--operations").code == 0
    snapshot = open_hospital(place).snapshot()
    assert is_synthetic(snapshot)
    for table in ("subjects", "stays", "movements", "events", "quarantine"):
        assert snapshot.stored(table).collect().is_empty(), table
    generation = Generation.of(Plan(stays=20, seed=2, operations=True))
    for table in ("units", "beds", "codes"):
        expected = [rows.frame for rows in generation.configuration() if rows.table == table]
        assert snapshot.stored(table).collect().height == sum(map(len, expected)), table
    again = neva("synthesise", "live", "--prepare", place, *OPTIONS, "--operations", "--json")
    assert json.loads(again.out)["prepared"]["already_imported"] is True


def test_patients_of_tables_and_of_messages_do_not_meet(neva, tmp_path):
    place, other = tmp_path / "h", tmp_path / "other"
    assert neva("synthesise", "live", "--prepare", place, *OPTIONS).code == 0
    refused = neva("synthesise", place, *OPTIONS)
    assert refused.code == 5
    assert "its patients come as messages" in refused.err
    refused = neva("synthesise", "live", "--prepare", place, "--stays", 21)
    assert refused.code == 5
    assert neva("synthesise", other, *OPTIONS).code == 0
    assert neva("synthesise", "live", "--prepare", other, *OPTIONS).code == 5
    real = new_hospital(tmp_path)
    take(real, tmp_path / "real.csv", [event()])
    assert neva("synthesise", "live", "--prepare", real.path, *OPTIONS).code == 5


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 2),
        (["--to", "nowhere"], 2),
        (["--write", "x.hl7", "--speed", -1], 2),
        (["--write", "x.hl7", "--from", "soon"], 2),
        (["--prepare", "h", "--zone", "Mars/Base"], 2),
        (["--write", "x.hl7", "--stays", 3], 2),
    ],
)
def test_wrong_options_leave_nothing_behind(neva, tmp_path, monkeypatch, options, code):
    monkeypatch.chdir(tmp_path)
    assert neva("synthesise", "live", *options).code == code
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_come_after_its_options_and_before(neva, tmp_path):
    assert neva("synthesise", "--stays", 20, tmp_path / "h").code == 0
    assert "nothing to do" in neva("synthesise", tmp_path / "h", "--stays", 20).out
    assert neva("synthesise").code == 2
    assert neva("synthesise", tmp_path / "h", "more").code == 2


def test_a_folder_may_be_called_like_the_verb(neva, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert neva("synthesise", "./live", "--stays", 20).code == 0
    assert (tmp_path / "live" / "current").exists()
