"""Frames become Arrow tables without a change; versions of tables hold what Delta Lake says."""

import shutil
import tempfile
from pathlib import Path

import polars as pl
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from neva.events.schema import ATTRIBUTES
from neva.events.tables import (
    append,
    compact,
    file_names,
    restore,
    scan,
    sync,
    to_arrow,
    version_of,
)

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


class Table:
    """A table that grows, is put together and taken back; Delta Lake itself is the oracle."""

    def __init__(self, path):
        self.path, self.row, self.synced = path, 0, None

    def act(self, what):
        if what == "append" or self.synced is None:
            self.row += 1
            append(self.path, [pl.DataFrame({"row": [self.row]})], {"row": pl.Int64}, note="test")
        elif what == "compact":
            compact(self.path, 2**20)
        elif what == "back":
            restore(self.path, self.synced)
        latest = version_of(self.path)
        if what == "sync" or self.synced is None:
            sync(self.path, self.synced, latest)
            self.synced = latest

    def check(self, version):
        table = DeltaTable(self.path, version=version)
        assert file_names(self.path, version) == sorted(
            uri.rpartition("/")[2] for uri in table.file_uris()
        )


@given(
    acts=st.lists(st.sampled_from(["append", "append", "compact", "back", "sync"]), max_size=30),
    data=st.data(),
)
def test_files_of_a_version_are_those_that_delta_lake_names(acts, data):
    with tempfile.TemporaryDirectory() as folder:
        table = Table(Path(folder) / "t")
        for act in acts:
            table.act(act)
            assert version_of(table.path) == DeltaTable(table.path).version()
            # In any order, some never: what is known already is what others start from.
            table.check(data.draw(st.integers(0, version_of(table.path))))


def test_a_long_log_has_checkpoints_and_any_version_is_read(tmp_path):
    table = Table(tmp_path / "t")
    for _ in range(50):
        table.act("append")
        table.act("sync")
    log = table.path / "_delta_log"
    assert {int(one.name[:20]) for one in log.glob("*.checkpoint*")} == {20, 40}
    for version in (0, 19, 20, 21, 33, 40, 48, version_of(table.path)):
        table.check(version)
        assert len(file_names(table.path, version)) == version + 1


def test_another_table_in_the_place_of_one_is_not_taken_for_it(tmp_path):
    for _ in range(2):
        table = Table(tmp_path / "t")
        for _ in range(3):
            table.act("append")
        table.check(2)
        shutil.rmtree(table.path)
