"""Definitions that produced a figure stay in the hospital."""

from datetime import timedelta

import pytest
from tests.hospitals import NOW, event, take

from neva.definitions.documents import content_hash, from_json
from neva.definitions.language import codelist, events, hours, stay
from neva.definitions.programme import load_programme
from neva.definitions.record import known_definitions, record_definitions
from neva.definitions.writing import feature
from neva.errors import ConflictError
from neva.events import hospital as hospital_module
from neva.events.lock import writer_lock


def steroid(*codes, version="1.0.0"):
    given = events(codelist("steroid", *codes)).within(hours(24)).exists()
    return feature("demo.steroid", given, version=version)


def test_a_definition_is_kept_with_its_codelists(hospital):
    one = steroid("ATC//H02AB02")
    assert record_definitions(hospital, [one], NOW) == 1
    kept = known_definitions(hospital.snapshot())
    assert kept.select("definition", "version", "hash", "used").rows() == [
        ("demo.steroid", "1.0.0", content_hash(one), NOW)
    ]
    assert from_json(kept["content"][0]) == one
    assert "ATC//H02AB02" in kept["content"][0]


def test_programmes_come_back_equal(hospital):
    documents = [one for name in ("covid19", "stroke") for one in load_programme(name).documents]
    assert record_definitions(hospital, documents, NOW) == len(documents)
    kept = known_definitions(hospital.snapshot())
    assert {one.id: one for one in documents} == {
        one.id: one for one in map(from_json, kept["content"])
    }


def test_the_same_again_writes_nothing_and_needs_no_lock(hospital):
    record_definitions(hospital, [steroid("ATC//H02AB02")], NOW)
    version = hospital.manifest().version
    with writer_lock(hospital.path / "lock", purpose="test", now=NOW):
        again = record_definitions(hospital, [steroid("ATC//H02AB02")], NOW + timedelta(days=1))
    assert (again, hospital.manifest().version) == (0, version)
    assert known_definitions(hospital.snapshot())["used"].to_list() == [NOW]


def test_only_what_is_new_is_written(hospital):
    record_definitions(hospital, [steroid("ATC//H02AB02")], NOW)
    both = [steroid("ATC//H02AB02"), steroid("ATC//H02AB04", version="1.1.0")]
    assert record_definitions(hospital, [*both, both[1]], NOW) == 1
    assert known_definitions(hospital.snapshot())["version"].to_list() == ["1.0.0", "1.1.0"]


def test_a_version_is_never_used_for_other_content(hospital):
    old, new = steroid("ATC//H02AB02"), steroid("ATC//H02AB04")
    record_definitions(hospital, [old], NOW)
    version = hospital.manifest().version
    with pytest.raises(ConflictError) as refused:
        record_definitions(hospital, [steroid("ATC//H02AB06", version="2.0.0"), new], NOW)
    said = str(refused.value)
    for part in (
        "demo.steroid, version 1.0.0",
        content_hash(old)[:12],
        content_hash(new)[:12],
        "raise the version",
    ):
        assert part in said
    assert hospital.manifest().version == version


def test_two_contents_at_once_are_refused(hospital):
    with pytest.raises(ConflictError, match="among what was given"):
        record_definitions(hospital, [steroid("ATC//a"), steroid("ATC//b")], NOW)
    assert known_definitions(hospital.snapshot()).height == 0


def test_what_another_process_recorded_meanwhile_is_seen(hospital, monkeypatch):
    """Between the look without the lock and the lock itself."""
    one = steroid("ATC//H02AB02")
    plain = hospital_module.Hospital.writer

    def writer(self, **words):
        monkeypatch.setattr(hospital_module.Hospital, "writer", plain)
        record_definitions(self, [one], NOW)
        return plain(self, **words)

    monkeypatch.setattr(hospital_module.Hospital, "writer", writer)
    assert record_definitions(hospital, [one], NOW) == 0
    assert known_definitions(hospital.snapshot()).height == 1


def test_an_older_version_of_the_hospital_shows_what_it_knew(hospital, tmp_path):
    take(hospital, tmp_path / "a.csv", [event()])
    before = hospital.manifest().version
    record_definitions(hospital, [feature("demo.stay", stay.end.is_known(), version="1.0.0")], NOW)
    assert known_definitions(hospital.snapshot(version=before)).height == 0
    assert known_definitions(hospital.snapshot()).height == 1
    # The data are the same, and their cut is where it was.
    assert hospital.snapshot().now == hospital.snapshot(version=before).now


def test_many_small_commits_are_compacted_and_nothing_is_lost(hospital):
    for number in range(27):
        record_definitions(hospital, [steroid("ATC//a", version=f"1.0.{number}")], NOW)
    assert known_definitions(hospital.snapshot()).height == 27
    assert len(hospital.snapshot().files("definitions")) < 27
