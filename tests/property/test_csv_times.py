"""The quick way of reading times equals the general one."""

from datetime import datetime

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from neva.events.clock import read_iso
from neva.sources.csv.fields import Fields
from neva.sources.csv.mapping import Mapping, Time

MAPPING = Mapping.model_validate(
    {"neva": 1, "name": "m", "tables": [{"recorded": {"after": "time"}}]}
)
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))  # noqa: DTZ001
patterns = st.sampled_from(
    ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.%f"]
)
odd = st.sampled_from(
    ["2020-1-1 1:00", "2020-01-01", "x", "2020-01-01 10:00:60", "0000-00-00 00:00"]
)


@given(st.lists(moments), patterns, st.lists(odd, max_size=1), st.booleans())
def test_both_ways_of_reading_times_agree(times, pattern, strange, missing):
    texts = [f"{time:%Y}".zfill(4) + time.strftime(pattern)[4:] for time in times] + strange
    written = pl.Series("t", [*texts, None] if missing else texts, dtype=pl.String)
    fields = Fields(written.to_frame(), MAPPING, "Europe/Berlin")
    time, precision = fields.time(Time(column="t"), "t")
    general = read_iso(written, "Europe/Berlin").struct.unnest()
    assert time.to_list() == general["time"].to_list()
    read = general["time"].is_not_null()
    assert precision.filter(read).to_list() == general["precision"].filter(read).to_list()
