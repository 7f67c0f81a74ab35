"""Frames become Arrow tables without a change."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from neva.events.schema import ATTRIBUTES
from neva.events.tables import append, scan, to_arrow

COLUMNS = {"row": pl.Int64, "attributes": ATTRIBUTES}
words = st.text(st.characters(codec="utf-8"), max_size=3)
attributes = st.none() | st.lists(
    st.fixed_dictionaries({"key": words, "value": words | st.none()}), max_size=3
)


def as_lists(table):
    """Each row's entries, as Arrow holds them."""
    return [None if row is None else list(row) for row in table.column("attributes").to_pylist()]


def as_pairs(rows):
    return [None if row is None else [(pair["key"], pair["value"]) for pair in row] for row in rows]


@given(rows=st.lists(attributes, max_size=8), data=st.data())
def test_attributes_of_some_rows_only_stay_with_their_rows(rows, data):
    frame = pl.DataFrame({"row": range(len(rows)), "attributes": rows}, schema=COLUMNS)
    assert as_lists(to_arrow(frame, COLUMNS)) == as_pairs(rows)
    first = data.draw(st.integers(0, len(rows)))
    assert as_lists(to_arrow(frame[first:], COLUMNS)) == as_pairs(rows[first:])


def test_what_a_missing_list_still_has_inside_is_given_to_nobody():
    rows = [[{"key": "a", "value": "1"}], [{"key": "b", "value": "2"}], None]
    frame = pl.DataFrame({"row": range(3), "attributes": rows}, schema=COLUMNS)
    hidden = frame.with_columns(pl.when(pl.col("row") != 1).then("attributes"))
    assert as_lists(to_arrow(hidden, COLUMNS)) == [[("a", "1")], None, None]


def test_attributes_of_some_rows_only_are_stored_and_read_again(tmp_path):
    rows = [None, [{"key": "a", "value": "1"}], None, [], [{"key": "b", "value": None}]]
    frame = pl.DataFrame({"row": range(5), "attributes": rows}, schema=COLUMNS)
    append(tmp_path / "table", [frame, frame[1:3]], COLUMNS, note="test")
    files = sorted(str(path) for path in (tmp_path / "table").glob("*.parquet"))
    # How the writer parts rows into files, and what it calls them, is its own matter.
    read = scan(files, COLUMNS).collect().sort("row")
    assert read["attributes"].to_list() == [rows[k] for k in (0, 1, 1, 2, 2, 3, 4)]
