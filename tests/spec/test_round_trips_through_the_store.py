"""What leaves one hospital and enters another is the same, as far as the format holds it."""

import json

import polars as pl
import pyarrow.parquet as pq
import pytest
from tests.shared_data import shared

from neva.events.hospital import open_hospital
from neva.events.schema import ORDER

#: What each format keeps of an event, see docs/sources.
KEPT = {
    "meds": ("time", "end_time", "precision", "code", "value", "comparator", "value_unit", "text",
             "status", "reason", "rank", "attributes"),
    "xes": ("time", "end_time", "precision", "code", "value", "comparator", "value_unit", "text",
            "status", "reason", "rank", "attributes"),
    "fhir": ("time", "end_time", "code", "value", "value_unit", "text", "status"),
}  # fmt: skip


def done(said):
    assert (said.code, said.err) == (0, ""), said.err
    return said


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    """Real hospitals, each made once."""
    from datetime import UTC, datetime

    from neva.events.hospital import create_hospital
    from neva.intake.importing import import_delivery
    from neva.sources.fhir.source import open_fhir
    from neva.sources.omop.source import open_omop
    from neva.sources.xes import open_xes

    now = datetime(2026, 1, 1, tzinfo=UTC)
    made = {}

    def hospital(name):
        if name not in made:
            source, opened = {
                "log": (shared("data", "xes-logs", "running-example.xes"), open_xes),
                "fhir": (shared("data", "synthea-fhir-r4"), open_fhir),
                "omop": (shared("data", "mimic-iv-demo-omop"), open_omop),
            }[name]
            folder = tmp_path_factory.mktemp(name) / "hospital"
            store = create_hospital(folder, zone="America/New_York", now=now)
            import_delivery(
                store,
                opened(source, zone="America/New_York"),
                label=source.name,
                now=now,
                dates="shifted" if name.startswith("omop") else None,
            )
            made[name] = folder
        return made[name]

    return hospital


def sorted_rows(frame, columns):
    return sorted(
        tuple(map(repr, (row[name] for name in columns))) for row in frame.iter_rows(named=True)
    )


def facts(frame):
    """MEDS and FHIR turn what the table of subjects says into events, or back."""
    return pl.col("code").str.contains("^(GENDER//|MEDS_BIRTH|MEDS_DEATH|FHIR//)")


def named(hospital, events):
    """Events with the pseudonym that the first hospital gave: the local id of the second."""
    pairs = hospital.identities().filter(pl.col("kind") == "subject").collect()
    return events.join(
        pairs.select(subject_id="pseudonym", first="local_id"), on="subject_id", how="left"
    )


@pytest.mark.parametrize(
    ("source", "kind"),
    # Not OMOP through FHIR: the store does not keep the kind of a row, which FHIR must name.
    [
        *((source, kind) for source in ("log", "fhir", "omop") for kind in ("meds", "xes")),
        *((source, "fhir") for source in ("log", "fhir")),
    ],
)
def test_events_survive_the_way_through_a_file(neva, tmp_path, hospitals, source, kind):
    first = hospitals(source)
    out = tmp_path / {"xes": "log.xes.gz"}.get(kind, kind)
    done(neva("export", kind, first, out))
    zone = "UTC" if kind == "meds" else "America/New_York"
    # What was shifted stays shifted in the file that leaves.
    shifted = ("--dates", "shifted") if source == "omop" else ()
    done(neva("import", kind, out, "--into", tmp_path / "second", "--zone", zone, *shifted))
    there, second = open_hospital(first), open_hospital(tmp_path / "second")
    assert second.snapshot().quarantine().collect().height == 0
    before = there.snapshot().events().collect()
    after = named(second, second.snapshot().events().collect())
    if kind == "xes":
        # A log of stays has the events of stays.
        before = before.filter(pl.col("stay_id").is_not_null())
    before = before.filter(~facts(before)).with_columns(first=pl.col("subject_id").cast(pl.String))
    after = after.filter(~facts(after))
    columns = ("first", *KEPT[kind])
    assert sorted_rows(after, columns) == sorted_rows(before, columns)


@pytest.mark.parametrize("source", ["log", "fhir"])
def test_stays_survive_fhir(neva, tmp_path, hospitals, source):
    done(neva("export", "fhir", hospitals(source), tmp_path / "out"))
    done(neva("import", "fhir", tmp_path / "out", "--into", tmp_path / "h", "--zone", "UTC"))
    before = open_hospital(hospitals(source)).snapshot().stays().collect()
    after = open_hospital(tmp_path / "h").snapshot().stays().collect()
    columns = ("start", "end", "kind", "outcome")
    assert sorted_rows(after, columns) == sorted_rows(before, columns)


@pytest.mark.parametrize("source", ["log", "fhir", "omop"])
def test_an_exported_dataset_holds_to_the_schema_of_meds(neva, tmp_path, hospitals, source):
    done(neva("export", "meds", hospitals(source), tmp_path / "meds"))
    meta = json.loads((tmp_path / "meds" / "metadata" / "dataset.json").read_text())
    assert meta["meds_version"].startswith("0.4")
    shards = sorted((tmp_path / "meds" / "data").rglob("*.parquet"))
    assert shards
    seen = set()
    for shard in shards:
        schema = pq.read_schema(shard)
        types = {name: str(schema.field(name).type) for name in schema.names}
        assert types["subject_id"] == "int64"
        assert types["time"] == "timestamp[us]"
        assert types["code"] in ("string", "large_string")
        assert types["numeric_value"] == "float"
        frame = pl.read_parquet(shard)
        assert frame.select("subject_id", "code").null_count().sum_horizontal().item() == 0
        assert frame["subject_id"].is_sorted()
        ordered = frame.sort("subject_id", "time", nulls_last=False, maintain_order=True)
        assert frame.select("subject_id", "time").equals(ordered.select("subject_id", "time"))
        subjects = set(frame["subject_id"])
        assert not subjects & seen
        seen |= subjects
    codes = pl.read_parquet(tmp_path / "meds" / "metadata" / "codes.parquet")
    assert codes.schema["code"] == pl.String
    assert codes.schema["parent_codes"] == pl.List(pl.String)
    assert codes["code"].n_unique() == codes.height
    used = set(pl.read_parquet(shards)["code"])
    assert used <= set(codes["code"])


def test_an_exported_log_is_read_by_another_reader(neva, tmp_path, hospitals):
    r4pm = pytest.importorskip("r4pm", reason="r4pm is not installed")
    done(neva("export", "xes", hospitals("fhir"), tmp_path / "log.xes"))
    read = r4pm.df.import_xes(str(tmp_path / "log.xes"))
    frame = read[0] if isinstance(read, tuple) else read
    events = open_hospital(hospitals("fhir")).snapshot().events().collect()
    events = events.filter(pl.col("stay_id").is_not_null()).sort("subject_id", "stay_id", *ORDER)
    assert frame.height == events.height
    assert sorted(frame["neva:code"].cast(pl.String)) == sorted(events["code"])
    assert frame["case:concept:name"].n_unique() == events["stay_id"].n_unique()


@pytest.mark.parametrize("source", ["log", "fhir", "omop"])
def test_exported_resources_are_valid_fhir(neva, tmp_path, hospitals, source):
    resources = pytest.importorskip("fhir.resources.R4B", reason="fhir.resources is not installed")
    done(neva("export", "fhir", hospitals(source), tmp_path / "out"))
    files = sorted((tmp_path / "out").glob("*.ndjson"))
    assert "Patient" in {file.stem for file in files}
    checked = 0
    for file in files:
        model = resources.get_fhir_model_class(file.stem)
        with file.open(encoding="utf-8") as lines:
            for line, _ in zip(lines, range(2000), strict=False):
                model.model_validate_json(line)
                checked += 1
    assert checked
