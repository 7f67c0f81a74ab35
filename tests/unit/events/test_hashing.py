"""Event ids rest on XXH64; its reference implementation is the oracle."""

import polars as pl
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from neva.events.hashing import hash_rows, hash_text, to_id


@given(st.lists(st.text(), max_size=20))
def test_text_hashes_are_xxh64(texts):
    expected = [xxhash.xxh64(text.encode()).intdigest() for text in texts]
    assert hash_text(pl.Series(texts, dtype=pl.String)).tolist() == expected


@given(st.text(min_size=100, max_size=400))
def test_long_texts_too(text):
    assert hash_text(pl.Series([text]))[0] == xxhash.xxh64(text.encode()).intdigest()


def test_a_slice_hashes_as_a_copy():
    texts = pl.Series(["a", "bb", "ccc", None, "dd"])
    assert hash_text(texts[1:4]).tolist() == hash_text(pl.Series(["bb", "ccc", None])).tolist()


def test_missing_is_not_empty_and_order_of_columns_matters():
    frame = pl.DataFrame({"a": ["x", "", None], "b": ["", "x", "x"]})
    hashes = [*hash_rows(frame, ["a", "b"]), *hash_rows(frame, ["b", "a"])]
    # ("x", ""), ("", "x"), (missing, "x") and ("x", missing); the first two twice.
    assert len(set(hashes)) == 4


def test_minus_zero_is_zero_and_attributes_are_a_map():
    numbers = pl.DataFrame({"value": [0.0, -0.0]})
    assert len(set(hash_rows(numbers, ["value"]))) == 1
    maps = pl.DataFrame(
        {
            "attributes": [
                [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}],
                [{"key": "b", "value": "2"}, {"key": "a", "value": "1"}],
                [{"key": "a", "value": "2"}, {"key": "b", "value": "1"}],
            ]
        }
    )
    hashes = hash_rows(maps, ["attributes"]).tolist()
    assert (hashes[0] == hashes[1], hashes[0] == hashes[2]) == (True, False)


def test_ids_are_never_negative_and_never_change():
    """Stored ids depend on this very number: if it changes, every store is broken."""
    frame = pl.DataFrame({"origin": ["measurement"], "row_id": ["42"]})
    ids = to_id(hash_rows(frame, ("origin", "row_id"), seed="omop"))
    assert ids.min() >= 0
    assert ids.to_list() == [IDS_OF_VERSION_1]


IDS_OF_VERSION_1 = 5115803869259812864


def test_texts_side_by_side_cannot_be_cut_in_two_ways():
    maps = pl.DataFrame(
        {
            "attributes": [
                [{"key": "a", "value": "1\x1eb\x1f2"}],
                [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}],
                [{"key": "a\x1f1", "value": None}],
                [{"key": "a", "value": "1"}],
                [],
                None,
            ]
        }
    )
    assert len(set(hash_rows(maps, ["attributes"]).tolist())) == maps.height
