from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neva.errors import BadInputError, NotFoundError
from neva.sources.meds import _shortest, open_meds


def tables(path, **settings):
    found = {}
    for rows in open_meds(path, zone="UTC", **settings).rows:
        found.setdefault(rows.table, []).append(rows.frame)
    return {table: pl.concat(frames) for table, frames in found.items()}


def dataset(tmp_path, **columns):
    given_columns = {
        "subject_id": pl.Series([2**63 - 1, 1, 1]),
        "time": pl.Series(
            [datetime(2021, 1, 1, tzinfo=UTC), None, datetime(2021, 1, 2, tzinfo=UTC)]
        ).dt.replace_time_zone(None),
        "code": ["A", "B", "C"],
        **columns,
    }
    path = tmp_path / "data" / "0.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({k: v for k, v in given_columns.items() if v is not None}).write_parquet(path)
    return tmp_path


def test_batches_do_not_change_the_rows(tmp_path):
    place = dataset(tmp_path)
    whole, parts = tables(place), tables(place, batch=1)
    assert whole["subjects"].equals(parts["subjects"])
    # A static fact's batch may lack the subject's other rows.
    assert whole["events"].drop("recorded").equals(parts["events"].drop("recorded"))


def test_ids_keep_every_digit(tmp_path):
    assert tables(dataset(tmp_path))["events"]["subject"].to_list() == [str(2**63 - 1), "1", "1"]


def test_time_that_is_missing_means_a_static_fact(tmp_path):
    static = tables(dataset(tmp_path))["events"].row(1, named=True)
    assert (static["time"], static["precision"]) == (None, "none")
    assert static["recorded"] == datetime(2021, 1, 2, tzinfo=UTC)


def test_columns_beyond_the_standard_are_attributes(tmp_path):
    place = dataset(tmp_path, ward=["A", None, "B"], when=[date(2021, 1, 1)] * 3)
    attributes = tables(place)["events"]["attributes"].to_list()
    assert attributes[1] == [{"key": "when", "value": "2021-01-01"}]
    assert attributes[0][0] == {"key": "ward", "value": "A"}


def test_single_file_is_a_dataset(tmp_path):
    place = dataset(tmp_path)
    assert tables(place / "data" / "0.parquet")["events"].height == 3


@given(
    st.lists(st.none() | st.floats(width=32), max_size=20),
)
def test_a_32_bit_number_reads_as_a_decimal_that_writes_it(numbers):
    column = pl.Series(numbers, dtype=pl.Float32)
    read = _shortest(column)
    assert read.dtype == pl.Float64
    assert read.cast(pl.Float32).equals(column)


@given(st.integers(-99_999, 99_999), st.integers(0, 4))
def test_short_decimals_survive_32_bits(digits, decimals):
    value = float(f"{digits}e-{decimals}")
    assert _shortest(pl.Series([np.float32(value)], dtype=pl.Float32)).to_list() == [value]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"code": None}, "code is missing"),
        ({"time": ["CANARY-1"] * 3}, "timestamp"),
        ({"subject_id": [float(2**60)] * 3}, "lost digits"),
    ],
)
def test_wrong_columns_are_refused(tmp_path, columns, words):
    with pytest.raises(BadInputError, match=words) as caught:
        tables(dataset(tmp_path, **columns))
    assert "CANARY" not in str(caught.value)


def test_damaged_and_missing_files_are_told(tmp_path):
    with pytest.raises(NotFoundError):
        open_meds(tmp_path / "none", zone="UTC")
    with pytest.raises(BadInputError, match="no Parquet"):
        open_meds(tmp_path, zone="UTC")
    (dataset(tmp_path) / "data" / "0.parquet").write_bytes(b"PAR1 CANARY")
    with pytest.raises(BadInputError, match="not Parquet"):
        open_meds(tmp_path, zone="UTC")


def test_an_export_of_our_own_is_read_as_utc(tmp_path):
    """MEDS has no zone; what we wrote in UTC must not shift in another hospital."""
    import json
    from datetime import datetime

    import polars as pl

    from neva.sources.meds import open_meds

    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "metadata").mkdir()
    moment = datetime(2024, 3, 20, 19, 12)  # noqa: DTZ001 -- MEDS has naive times
    pl.DataFrame({"subject_id": [1], "time": [moment], "code": ["L//a"]}).write_parquet(
        data / "0.parquet"
    )

    def hour() -> int:
        delivery = open_meds(tmp_path, zone="Europe/Berlin")
        frames = [rows.frame for rows in delivery.rows if rows.table == "events"]
        return frames[0]["time"].dt.hour()[0]

    assert hour() == 18
    (tmp_path / "metadata" / "dataset.json").write_text(json.dumps({"etl_name": "neva"}))
    assert hour() == 19
