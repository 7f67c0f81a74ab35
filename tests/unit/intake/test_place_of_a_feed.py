"""A delivery of a live feed is committed with the place that the feed has reached."""

from datetime import timedelta

import pytest
from tests.hospitals import NOW, delivery, event

from neva.errors import ConflictError
from neva.intake.importing import import_delivery


def deliver(hospital, file, rows, place, *, label="lab/results"):
    file.write_text(repr(rows))
    return import_delivery(
        hospital,
        delivery(file, rows),
        label=label,
        now=NOW,
        on_change="extend",
        feed=("lab", place),
    )


def test_the_place_is_part_of_the_commit(hospital, tmp_path):
    summary = deliver(hospital, tmp_path / "a", [event(row_id="1")], "one")
    manifest = hospital.manifest()
    assert (manifest.version, manifest.feeds) == (summary.version, {"lab": "one"})
    assert hospital.snapshot().events().collect().height == 1


@pytest.mark.parametrize("same_file", [True, False])
def test_what_adds_nothing_commits_only_a_place_that_moved(hospital, tmp_path, same_file):
    rows = [event(row_id="1"), event(row_id="2")]
    deliver(hospital, tmp_path / "a", rows, "one")
    again = rows if same_file else rows[:1]
    still = deliver(hospital, tmp_path / "a", again, "one")
    assert (still.version, hospital.manifest().version) == (1, 1)
    moved = deliver(hospital, tmp_path / "a", again, "two")
    assert (moved.version, hospital.manifest().version) == (2, 2)
    assert hospital.manifest().feeds == {"lab": "two"}
    assert hospital.snapshot().batches().collect().height == 1
    assert hospital.snapshot().events().collect().height == 2


def test_a_refused_row_is_something_and_makes_a_batch(hospital, tmp_path):
    deliver(hospital, tmp_path / "a", [event(row_id="1")], "one")
    late = event(row_id="2", time=NOW + timedelta(days=900))
    summary = import_delivery(
        hospital, delivery(tmp_path / "a", [event(row_id="1"), late]), label="lab/other",
        now=NOW, most_refused=None, feed=("lab", "one"),
    )  # fmt: skip
    assert summary.refusals
    assert hospital.snapshot().batches().collect().height == 2


def test_a_delivery_without_a_feed_leaves_places_as_they_are(hospital, tmp_path):
    deliver(hospital, tmp_path / "a", [event(row_id="1")], "one")
    (tmp_path / "b").write_text("b")
    rows = [event(row_id="7")]
    import_delivery(hospital, delivery(tmp_path / "b", rows), label="b", now=NOW)
    assert hospital.manifest().feeds == {"lab": "one"}


def test_a_place_that_counts_no_messages_is_another_kind_of_feed(hospital, tmp_path):
    deliver(hospital, tmp_path / "a", [event(row_id="1")], "{}")
    with pytest.raises(ConflictError, match="another kind of feed has this name"):
        hospital.manifest().position("lab")
    assert hospital.manifest().position("another") == 0
