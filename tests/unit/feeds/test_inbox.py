"""The inbox: what was taken is there after any end, once, in order, or it is said."""

import errno
import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neva.errors import BadInputError, ConflictError
from neva.feeds import inbox as inbox_module
from neva.feeds.inbox import Inbox, Reader, read_positions, shred

AT = datetime(2026, 1, 1, tzinfo=UTC)


def entries(*contents):
    return [(AT, "10.0.0.1", one) for one in contents]


def contents(folder, after=0):
    return [one.content for one in Reader(folder, after).read(10_000)]


def segments(folder):
    return sorted(folder.glob("*.inbox"))


def test_what_was_taken_is_read_in_order_with_its_time_and_sender(tmp_path):
    inbox = Inbox(tmp_path / "in")
    assert inbox.take(entries(b"one", b"two")) == 2
    assert inbox.take(entries(b"three")) == 3
    (first, *_) = found = Reader(tmp_path / "in", 0).read(10)
    assert [one.position for one in found] == [1, 2, 3]
    assert (first.content, first.arrived, first.peer) == (b"one", AT, "10.0.0.1")
    assert contents(tmp_path / "in", 2) == [b"three"]
    inbox.close()


def test_a_reader_goes_on_where_it_was_also_over_segments(tmp_path):
    inbox = Inbox(tmp_path / "in", segment_bytes=200)
    reader = Reader(tmp_path / "in", 0)
    assert reader.read(5) == []
    found = []
    for number in range(50):
        inbox.take(entries(b"%03d" % number))
        found += reader.read(1 + number % 3)
    found += reader.read(100)
    assert [one.content for one in found] == [b"%03d" % number for number in range(50)]
    assert len(segments(tmp_path / "in")) > 5
    inbox.close()


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=8), st.integers(1, 200))
def test_an_unfinished_end_is_cut_off_and_what_was_whole_stays(tmp_path_factory, messages, lost):
    folder = tmp_path_factory.mktemp("inbox")
    inbox = Inbox(folder)
    for one in messages:
        inbox.take(entries(one))
    inbox.close()
    (segment,) = segments(folder)
    size = segment.stat().st_size
    os.truncate(segment, max(0, size - lost))
    again = Inbox(folder)
    kept = again.position
    assert contents(folder) == messages[:kept]
    # Nobody was told of what is gone, so the next one takes its place.
    again.take(entries(b"next"))
    assert contents(folder) == [*messages[:kept], b"next"]
    again.close()


def test_zeros_of_a_power_cut_behind_the_end_are_cut_off(tmp_path):
    inbox = Inbox(tmp_path)
    inbox.take(entries(b"one"))
    inbox.close()
    (segment,) = segments(tmp_path)
    with segment.open("ab") as file:
        file.write(bytes(5000))
    again = Inbox(tmp_path)
    assert again.cut == 5000
    again.take(entries(b"two"))
    assert contents(tmp_path) == [b"one", b"two"]
    again.close()


def test_damage_in_the_middle_is_said_and_never_skipped(tmp_path):
    inbox = Inbox(tmp_path)
    inbox.take(entries(b"one", b"two", b"three"))
    inbox.close()
    (segment,) = segments(tmp_path)
    data = bytearray(segment.read_bytes())
    data[data.index(b"two")] ^= 0xFF
    segment.write_bytes(bytes(data))
    with pytest.raises(BadInputError, match="damaged"):
        Inbox(tmp_path)
    # An earlier segment: the reader says it too.
    (tmp_path / f"{4:016d}.inbox").write_bytes(b"")
    with pytest.raises(BadInputError, match="damaged"):
        Reader(tmp_path, 0).read(10)


def test_what_was_applied_and_lost_with_the_power_is_not_given_a_second_place(tmp_path):
    """The store had applied record 2; the inbox lost it before it was on disk."""
    inbox = Inbox(tmp_path)
    inbox.take(entries(b"one"))
    inbox.close()
    again = Inbox(tmp_path, at_least=2)
    assert again.take(entries(b"two again")) == 3
    assert [one.position for one in Reader(tmp_path, 2).read(10)] == [3]
    again.close()


def test_two_listeners_on_one_feed_are_refused(tmp_path):
    inbox = Inbox(tmp_path)
    with pytest.raises(ConflictError, match="another process takes messages"):
        Inbox(tmp_path)
    inbox.close()
    Inbox(tmp_path).close()


def test_a_full_disk_takes_nothing_and_goes_on_when_there_is_room(tmp_path, monkeypatch):
    inbox = Inbox(tmp_path)
    inbox.take(entries(b"one"))
    write = os.write

    def full(file, data):
        write(file, bytes(data)[:7])  # a part of it still fits
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(inbox_module.os, "write", full)
    with pytest.raises(BadInputError, match="the disk is full"):
        inbox.take(entries(b"two"))
    monkeypatch.undo()
    assert contents(tmp_path) == [b"one"]
    assert inbox.take(entries(b"three")) == 2
    assert contents(tmp_path) == [b"one", b"three"]
    inbox.close()


def test_only_the_owner_may_read_what_was_taken(tmp_path):
    inbox = Inbox(tmp_path / "in")
    inbox.take(entries(b"one"))
    assert (tmp_path / "in").stat().st_mode & 0o077 == 0
    assert all(one.stat().st_mode & 0o077 == 0 for one in segments(tmp_path / "in"))
    inbox.close()


def test_segments_are_shredded_once_applied_and_old_but_not_what_is_needed(tmp_path):
    inbox = Inbox(tmp_path, segment_bytes=1)
    for number in range(1, 7):
        inbox.take(entries(b"record %d" % number))
    old = datetime.now(UTC) + timedelta(days=1)
    assert shred(tmp_path, applied=6, older_than=AT) == 0
    assert shred(tmp_path, applied=4, older_than=old, keep=[2]) == 3
    assert [one.content for one in read_positions(tmp_path, range(1, 7))] == [
        b"record 2", b"record 5", b"record 6",
    ]  # fmt: skip
    with pytest.raises(BadInputError, match="gone that were not applied"):
        Reader(tmp_path, 0).read(1)
    inbox.close()
