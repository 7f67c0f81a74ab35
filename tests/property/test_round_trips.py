"""What is exported and read again is what was there, as far as the format can hold it."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shared_data import shared
from tests.stored import Stored, delivered_as, stored

from neva.events.schema import ORDER, ROWS, TABLES
from neva.exports.fhir import export_fhir
from neva.exports.meds import export_meds
from neva.exports.rows import export_csv
from neva.exports.xes import export_xes
from neva.sources.fhir.source import open_fhir
from neva.sources.meds import open_meds
from neva.sources.omop.source import open_omop
from neva.sources.xes import open_xes

GOLDEN = Path(__file__).parents[1] / "golden" / "sources"

# XML 1.0 has no place for most control characters and for surrogates.
words = st.text(
    st.characters(
        codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"
    ),
    min_size=1,
    max_size=6,
)
times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
durations = st.timedeltas(timedelta(), timedelta(days=40))
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def stored_events(draw):
    """Valid stored events of a few subjects, with equal times and every optional column."""
    rows = []
    for number in range(draw(st.integers(0, 8))):
        time = draw(st.none() | times)
        value = draw(st.none() | numbers)
        status = draw(st.sampled_from(["done", "done", "planned", "not-done", "cancelled"]))
        known = draw(st.booleans())
        rows.append(
            {
                "event_id": number * 2**40 - 2**44,
                "subject_id": draw(st.sampled_from([-(2**63), -7, 2**53 + 1])),
                "stay_id": draw(st.sampled_from([None, 2**63 - 1, 5])),
                "time": time,
                "end_time": draw(st.none() | durations.map(time.__add__)) if time else None,
                "precision": draw(st.sampled_from(["instant", "minute", "day"]))
                if time
                else "none",
                "recorded": time or datetime(1990, 1, 1, tzinfo=UTC),
                "recorded_assumed": not known,
                "code": f"{draw(st.sampled_from(['LOINC', 'X']))}//{draw(words)}",
                "value": value,
                "comparator": draw(st.sampled_from([None, "<", ">"]))
                if value is not None
                else None,
                "value_unit": draw(st.sampled_from([None, "mg", "%"]))
                if value is not None
                else None,
                "text": draw(st.none() | words),
                "status": status,
                "reason": draw(st.none() | words) if status == "not-done" else None,
                "rank": draw(st.none() | st.integers(1, 9)),
                "attributes": draw(
                    st.none()
                    | st.dictionaries(words.map("k{}".format), words, min_size=1, max_size=3).map(
                        lambda found: [{"key": k, "value": v} for k, v in found.items()]
                    )
                ),
                "sequence": draw(st.integers(0, 2)),
                "batch": 1,
            }
        )
    return Stored({"events": pl.DataFrame(rows, schema=TABLES["events"])})


def events_of(delivery):
    frames = []
    for rows in delivery.rows:
        assert rows.table != "quarantine", rows.frame
        if rows.table == "events":
            frames.append(rows.frame)
    return pl.concat(frames) if frames else pl.DataFrame(schema=ROWS["events"])


COMPARED = (
    "row_id", "subject", "stay", "time", "end_time", "precision", "code", "value", "comparator",
    "value_unit", "text", "status", "reason", "rank", "attributes", "recorded_assumed",
)  # fmt: skip


def by_id(frame, columns=COMPARED):
    rows = {}
    for row in frame.iter_rows(named=True):
        kept = {name: row[name] for name in columns}
        if row["recorded_assumed"] is False:
            kept["recorded"] = row["recorded"]
        rows[row["row_id"]] = kept
    assert len(rows) == frame.height
    return rows


@given(tables=stored_events(), shard=st.integers(1, 4))
def test_events_survive_meds(tables, shard):
    with TemporaryDirectory() as folder:
        export_meds(tables, Path(folder, "meds"), shard=shard)
        read = events_of(open_meds(Path(folder, "meds"), zone="UTC"))
    expected = delivered_as(tables, "events")
    assert by_id(read) == by_id(expected)
    assert dict(zip(read["row_id"], read["sequence"], strict=True)) == dict(
        zip(expected["row_id"], expected["sequence"], strict=True)
    )


@pytest.mark.parametrize("name", ["log.xes", "log.xes.gz"])
@given(tables=stored_events())
def test_events_survive_xes(name, tables):
    with TemporaryDirectory() as folder:
        export_xes(tables, Path(folder, name), case="subject")
        read = events_of(open_xes(Path(folder, name), zone="UTC", case="subject"))
    columns = [column for column in COMPARED if column != "stay"]
    assert by_id(read, columns) == by_id(delivered_as(tables, "events"), columns)
    # The place in the trace is the total order.
    ordered = tables.events().sort("subject_id", *ORDER, nulls_last=False).collect()
    assert read["row_id"].to_list() == ordered["event_id"].cast(pl.String).to_list()


@given(tables=stored_events())
def test_events_survive_csv(tables):
    with TemporaryDirectory() as folder:
        export_csv(tables, Path(folder, "csv"))
        read = pl.read_csv(Path(folder, "csv", "events.csv"), infer_schema=False)
    events = tables.events().collect()
    assert read.columns == events.columns
    for name in ("event_id", "subject_id", "stay_id", "sequence"):
        assert read[name].cast(pl.Int64).equals(events[name])
    texts = [None if t is None else t.removeprefix("'") for t in read["text"]]
    assert texts == [None if t is None else t.removeprefix("'") for t in events["text"]]
    assert not any(t and t[0] in "=+-@" for t in read["text"])
    for read_value, value in zip(read["value"], events["value"], strict=True):
        assert (read_value is None) == (value is None)
        assert value is None or math.isclose(float(read_value), value, rel_tol=0, abs_tol=0)


def shown(frame, columns):
    return sorted(tuple(str(row[name]) for name in columns) for row in frame.iter_rows(named=True))


def read_again(tables, tmp_path):
    export_fhir(tables, tmp_path / "fhir")
    found = {}
    for rows in open_fhir(tmp_path / "fhir", zone=tables.zone).rows:
        assert rows.table != "quarantine", rows.frame
        found.setdefault(rows.table, []).append(rows.frame)
    return {table: pl.concat(frames) for table, frames in found.items()}


def test_synthea_survives_fhir(tmp_path):
    tables = stored(open_fhir(shared("data", "synthea-fhir-r4"), zone="Europe/Berlin").rows)
    again = read_again(tables, tmp_path)
    for table, columns in {
        "events": ("row_id", "subject", "stay", "time", "end_time", "precision", "code", "value",
                   "value_unit", "text", "status"),
        "subjects": ("subject", "birth_date", "sex", "death", "death_precision"),
        "stays": ("stay", "subject", "start", "end", "precision", "kind", "source", "outcome"),
    }.items():  # fmt: skip
        expected = delivered_as(tables, table)
        assert shown(again[table], columns) == shown(expected, columns), table


def test_beds_orders_and_what_was_not_done_survive_fhir(tmp_path):
    tables = stored(open_fhir(GOLDEN / "fhir" / "bundle" / "input.json", zone="Europe/Berlin").rows)
    again = read_again(tables, tmp_path)
    movements = ("stay", "subject", "start", "end", "bed")
    assert shown(again["movements"], movements) == shown(
        delivered_as(tables, "movements"), movements
    )
    # Precision is left out: FHIR has no time of day without seconds.
    columns = ("row_id", "time", "code", "value", "value_unit", "status")
    # Facts about a person and planned visits get new ids: they are not resources of events.
    expected = delivered_as(tables, "events")
    own = pl.col("code").str.starts_with("FHIR//")
    assert shown(again["events"].filter(~own), columns) == shown(expected.filter(~own), columns)
    assert shown(again["events"].filter(own), columns[1:]) == shown(
        expected.filter(own), columns[1:]
    )


def test_mimic_survives_meds_and_fhir(tmp_path):
    tables = stored(open_omop(shared("data", "mimic-iv-demo-omop"), zone="America/New_York").rows)
    done = export_meds(tables, tmp_path / "meds")
    read = events_of(open_meds(tmp_path / "meds", zone="UTC"))
    events = delivered_as(tables, "events")
    facts = read.filter(pl.col("code").str.contains("^(GENDER|MEDS_)"))
    assert facts.height == 100 + 15
    assert done.rows["data"] == read.height == events.height + facts.height
    written = export_fhir(tables, tmp_path / "fhir")
    assert written.rows["Patient"] == 100
    assert written.rows["Encounter"] == 852
    assert written.rows["Location"] == 31
