"""A dry run shows what an import would do, and does nothing."""

import tempfile
from datetime import UTC, datetime

import pytest

from neva.errors import MappingError
from neva.intake.preview import check_mapping_text, preview

MAPPING = """neva: 1
name: ward
tables:
  - subject: patient
    recorded: {after: time, delay: 0 min}
    events:
      - {time: when, code: {system: W, column: what}, value: value, value_unit: unit}
"""
ROWS = """patient,when,what,value,unit
A,2020-05-01 08:00,pulse,80,/min
B,2020-05-01 09:00,pulse,secret,/min
A,soon,pulse,70,/min
A,2020-05-01 10:00,crp,5,furlongs
,2020-05-01 10:00,crp,5,mg/L
A,2020-05-01 11:00,pulse,90,/min
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "ward.csv"
    path.write_text(ROWS)
    return path


def test_events_counts_codes_and_refusals(file):
    found = preview(file, MAPPING, zone="UTC")
    assert found.problem is None
    assert [
        (one.patient, one.time, one.code, one.value, one.value_unit) for one in found.events
    ] == [
        (1, datetime(2020, 5, 1, 8, tzinfo=UTC), "W//pulse", 80.0, "/min"),
        # A unit that nobody knows: kept as text.
        (1, datetime(2020, 5, 1, 10, tzinfo=UTC), "W//crp", None, None),
        (1, datetime(2020, 5, 1, 11, tzinfo=UTC), "W//pulse", 90.0, "/min"),
    ]
    assert found.codes == (("W//pulse", 2), ("W//crp", 1))
    assert (found.patients, found.rows) == (1, 6)
    assert {(one.reason, one.field, one.rows) for one in found.refusals} == {
        ("value-unreadable", "value", (2,)),
        ("time-unreadable", "time", (3,)),
        ("subject-missing", "subject", (5,)),
    }
    assert "secret" not in repr(found)


def test_only_the_first_rows_are_read(tmp_path):
    path = tmp_path / "long.csv"
    head, row = ROWS.splitlines()[:2]
    path.write_text(head + "\n" + f"{row}\n" * 5000)
    assert preview(path, MAPPING, zone="UTC", rows=100).rows == 100


def test_nothing_is_left_behind(file, tmp_path, monkeypatch):
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    preview(file, MAPPING, zone="UTC")
    preview(file, "neva: [", zone="UTC")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x [1]\nb: *x", "mapping.yaml:2: an alias"),
        ("? !!binary x\n: 1", "a tag"),
        ("[" * 500, "nested too deep"),
        ("a: " + "x" * 6000, "a text too long"),
        ("x" * 200_000, "too long"),
        ("{[a]: 1}", "a key that is no text"),
        ("neva: [", "not YAML"),
        ("neva: 2024-02-30", "not YAML"),
        ("a: \x00", "not YAML"),
        ("neva: 1\nname: x", "a key is missing"),
        (MAPPING.replace("subject", "sibject"), "mapping.yaml:4"),
        (MAPPING + "    join: [{file: ../../etc/passwd, on: {a: b}}]\n", "a join of another"),
        ("encoding: zlib\n" + MAPPING, "no such encoding"),
        ("encoding: unicode_escape\n" + MAPPING, "no such encoding"),
    ],
)
def test_a_mapping_that_is_wrong_or_would_do_harm_is_refused(file, text, says):
    with pytest.raises(MappingError, match=says.replace("[", r"\[")):
        check_mapping_text(text)
    assert says in preview(file, text, zone="UTC").problem


@pytest.mark.parametrize(
    "change",
    [
        ("time: when", "time: when, when: [{column: what, matches: '('}]"),
        ("name: ward", "name: ward\nquote: я"),
        ("subject: patient", "subject: patiens"),
        ("name: ward", "name: ward\nzone: Europe/Nowhere"),
        ("value_unit: unit", "value_unit: unit, attributes: [none]"),
        ("code: {system: W, column: what}", "system: W, wide: {value: {code: a, value_unit: xx}}"),
    ],
)
def test_what_cannot_be_applied_is_told_in_words(file, change):
    found = preview(file, MAPPING.replace(*change), zone="UTC")
    assert found.problem is not None
    assert "secret" not in found.problem
    assert found.events == ()


def test_a_format_that_reads_nothing_refuses_every_row(file):
    change = ("time: when", "time: {column: when, formats: ['%Q%%%Y']}")
    found = preview(file, MAPPING.replace(*change), zone="UTC")
    assert found.counts["events"]["refused"] == found.rows == 6
    assert [one.reason for one in found.refusals] == ["time-unreadable"]
