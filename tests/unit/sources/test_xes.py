import gzip
from collections import Counter

import pytest
from tests.shared_data import shared

from neva.errors import BadInputError, UsageError
from neva.sources.xes import open_xes


def counts(path, **settings):
    found = Counter()
    for rows in open_xes(path, zone="Europe/Amsterdam", **settings).rows:
        found[rows.table] += rows.frame.height
    return dict(found)


def test_running_example_has_its_published_numbers():
    found = counts(shared("data", "xes-logs", "running-example.xes"))
    assert found == {"subjects": 6, "events": 42, "stays": 6, "codes": 8}


@pytest.mark.parametrize(("name", "events"), [("a12f0n00", 6186), ("a12f0n10", 6055)])
def test_log_without_times_is_kept_whole(name, events):
    path = shared("data", "xes-logs", f"{name}.xes.gz")
    precisions = set()
    found = Counter()
    for rows in open_xes(path, zone="UTC").rows:
        found[rows.table] += rows.frame.height
        if rows.table == "events":
            precisions.update(rows.frame["precision"])
            assert rows.frame["time"].null_count() == rows.frame.height
    assert (found["subjects"], found["events"], found["stays"]) == (1000, events, 0)
    assert precisions == {"none"}


def test_start_and_completion_are_time_and_end():
    path = shared("data", "xes-logs", "interval_event_log.xes.gz")
    for rows in open_xes(path, zone="UTC").rows:
        if rows.table == "events":
            assert rows.frame["end_time"].null_count() == 0
            assert (rows.frame["end_time"] >= rows.frame["time"]).all()


def test_event_without_activity_goes_to_quarantine():
    assert counts(shared("data", "xes-logs", "xes_20.xes"))["quarantine"] == 1


def test_batches_do_not_change_the_rows(tmp_path):
    path = shared("data", "xes-logs", "running-example.xes")
    assert counts(path, batch=5) == counts(path)


def write(tmp_path, content, name="log.xes"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


ONE = '<log><trace><string key="concept:name" value="CANARY-1"/><event/></trace></log>'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (gzip.compress(ONE.encode() * 50, mtime=0)[:-20], "cut short"),
        (gzip.compress(ONE.encode(), mtime=0)[:5] + b"CANARY", "damaged|cut short"),
        ("<log><trace><string key='concept:name' value='CANARY-1'></log>", "not well-formed"),
        ("CANARY-1", "not well-formed"),
        ("<html><CANARY/></html>", "root element"),
        ('<!DOCTYPE log [<!ENTITY a "CANARY-1">]>' + ONE, "document type"),
        (b'<?xml version="1.0" encoding="UTF-8"?><log><trace>\xff\xfeCANARY</trace></log>', "not"),
        (b'<?xml version="1.0" encoding="x-none"?><log/>', "encoding"),
    ],
)
def test_unreadable_file_is_refused_without_quoting_it(tmp_path, content, words):
    with pytest.raises(BadInputError, match=words) as caught:
        counts(write(tmp_path, content))
    assert "CANARY" not in str(caught.value)
    assert "log.xes" in str(caught.value)


def test_empty_log_gives_nothing(tmp_path):
    assert sum(counts(write(tmp_path, "<log/>")).values()) == 0


def test_a_case_as_a_subject_has_no_stays(tmp_path):
    path = write(
        tmp_path,
        '<log><trace><event><string key="concept:name" value="a"/>'
        '<date key="time:timestamp" value="2021-01-01T00:00:00Z"/></event></trace></log>',
    )
    assert "stays" not in counts(path, case="subject")


def test_a_case_as_a_stay_needs_its_subject(tmp_path):
    with pytest.raises(UsageError, match="subject="):
        open_xes(write(tmp_path, "<log/>"), zone="UTC", case="stay")
