"""Beds of units at a time, and the units above units."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.hospitals import take

from neva.census import units_above
from neva.errors import UsageError
from neva.flow.simulation.beds import beds_at

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def day(number):
    return BEGIN + timedelta(days=number)


def bed(unit, name, start, state="staffed", *, end=None):
    return {
        "unit": unit, "bed": name, "start": start, "end": end, "state": state, "recorded": start,
    }  # fmt: skip


def unit(name, parent=None):
    return {"unit": name, "kind": "ward", "parent": parent, "recorded": BEGIN}


@pytest.fixture
def of(hospital, tmp_path):
    def taken(**tables):
        summary = take(hospital, tmp_path / "x.csv", **tables)
        assert summary.total("refused") == 0
        return hospital.snapshot()

    return taken


def test_beds_are_counted_while_they_are_open_or_staffed(of):
    snapshot = of(
        beds=[
            bed("A", "1", day(0)),
            bed("A", "2", day(0), "open"),
            bed("A", "3", day(0), "closed"),
            bed("B", "1", day(0), "closed"),
        ]
    )
    assert beds_at(snapshot, day(1)) == {"A": 2, "B": 0}


def test_a_bed_counts_from_its_start_and_not_at_its_end(of):
    snapshot = of(beds=[bed("A", "1", day(2), end=day(4))])
    assert [beds_at(snapshot, day(k))["A"] for k in range(6)] == [0, 0, 1, 1, 0, 0]
    assert beds_at(snapshot, day(4) - timedelta(microseconds=1)) == {"A": 1}


def test_beds_closed_and_opened_again_later(of):
    snapshot = of(
        beds=[
            bed("A", "1", day(0), end=day(2)),
            bed("A", "1", day(2), "closed", end=day(4)),
            bed("A", "1", day(4)),
            bed("A", "2", day(3)),
        ]
    )
    assert [beds_at(snapshot, day(k))["A"] for k in range(6)] == [1, 1, 0, 1, 2, 2]


def test_where_rows_of_a_bed_overlap_the_later_start_counts(of):
    rows = [bed("A", "1", day(2), "closed"), bed("A", "1", day(0))]
    assert [beds_at(of(beds=rows), day(k))["A"] for k in (1, 3)] == [1, 0]


def test_the_same_bed_in_two_units_is_two_beds(of):
    assert beds_at(of(beds=[bed("A", "1", day(0)), bed("B", "1", day(0))]), day(1)) == {
        "A": 1,
        "B": 1,
    }


def test_no_beds_are_no_units(of):
    assert beds_at(of(units=[unit("A")])) == {}


def test_units_above_are_the_nearest_first(of):
    snapshot = of(units=[unit("ward", "clinic"), unit("clinic", "hospital"), unit("hospital")])
    assert units_above(snapshot) == {
        "ward": ("clinic", "hospital"),
        "clinic": ("hospital",),
        "hospital": (),
    }


@pytest.mark.parametrize(
    "parents", [{"A": "A"}, {"A": "B", "B": "A"}, {"A": "B", "B": "C", "C": "B"}]
)
def test_a_circle_of_units_is_named(of, parents):
    with pytest.raises(UsageError, match=r"runs in a circle; found .*A"):
        units_above(of(units=[unit(name, parent) for name, parent in parents.items()]))
