"""Files that something damaged: a clear error or an import, never a bug, and nothing by halves.

Every door is given golden inputs that a random change went through: bytes
turned, cut, repeated; text in another encoding; numbers, types and columns
that are none. What a number of the test stands for is always the same change.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from tests.hospitals import NOW

from neva.errors import NevaError
from neva.events.hospital import Hospital, create_hospital, open_hospital
from neva.intake.importing import import_delivery
from neva.sources.csv.source import open_csv
from neva.sources.fhir.source import open_fhir
from neva.sources.meds import open_meds
from neva.sources.omop.source import open_omop
from neva.sources.xes import open_xes

_GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "sources"
MAPPING = """
neva: 1
name: rows
tables:
  - subject: patient
    stay: visit
    recorded: {after: time}
    stays:
      - {start: in, end: out, kind: {column: kind, map: {1: inpatient}}}
    movements:
      - {start: in, end: out, unit: ward, row_id: id}
    events:
      - {time: in, end_time: out, code: {system: T, column: code}, value: value, row_id: id}
      - time: in
        wide: {value: {code: "T//v", value_unit: mmol/L}}
"""
ROWS = """id,patient,visit,in,out,ward,kind,code,value
1,1,10,2021-03-01 08:00,2021-03-10,A,1,a,4.5
2,1,10,2021-03-02 08:00:30,2021-03-04 10:00,B,1,"b, c",<5
3,2.0,,2021-10-31T02:30:00+01:00,,A,,d,7
"""
DOORS = {
    "csv": [],
    "xes": sorted(_GOLDEN.glob("xes/*/input.xes")),
    "omop": sorted(_GOLDEN.glob("omop/*/input")),
    "fhir": sorted(_GOLDEN.glob("fhir/*/input*")),
    "meds": sorted(_GOLDEN.glob("meds/*/input")),
}
OPENED = {
    "csv": open_csv, "xes": open_xes, "omop": open_omop, "fhir": open_fhir, "meds": open_meds,
}  # fmt: skip
_NASTY = (
    "", " ", "0", "-1", "1.5", "1e999", "-1e-999", "NaN", "inf", "9" * 30, "9223372036854775808",
    "٣", "+٠٣:٠٠", "2021-13-45", "0000-00-00", "9999-12-31 23:59:59", "0001-01-01",
    "2021-03-28 02:30", "2021-03-01T08:00+99:99", "2021-03-01 25:61", "\x00", "\r", '"', "é" * 300,
    "null", "[]", "{}", "true", "\ufeff", "\U0001f600", "'; drop table", "=1+1", "//", "NEVA//x",
)  # fmt: skip
_VALUES = (None, True, False, 0, -1, 1.5, 10**400, 1e308, "", "x", [], {}, [[]], [None], {"a": [1]})


def _bytes_turned(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _part_repeated_or_gone(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data))
    part = data[start : start + chance.randint(1, 60)]
    return data[:start] + part * chance.choice((0, 2, 3)) + data[start + len(part) :]


def _inserted(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    what = chance.choice(
        (b"\0", b"\r", b"\n", b"\xff\xfe", b",", b'"', b"<", b"&", b"{", b"\x1f\x8b")
    )
    return data[:at] + what * chance.randint(1, 3) + data[at:]


def _other_number(data: bytes, chance: random.Random) -> bytes:
    numbers = list(re.finditer(rb"[0-9][0-9.:T-]*", data))
    if not numbers:
        return _bytes_turned(data, chance)
    found = chance.choice(numbers)
    return data[: found.start()] + chance.choice(_NASTY).encode() + data[found.end() :]


def _other_word(data: bytes, chance: random.Random) -> bytes:
    words = list(re.finditer(rb"[A-Za-z_:]{2,}", data))
    if not words:
        return _bytes_turned(data, chance)
    found = chance.choice(words)
    return data[: found.start()] + chance.choice(_NASTY).encode() + data[found.end() :]


def _other_encoding(data: bytes, chance: random.Random) -> bytes:
    how = chance.choice(("utf-16", "utf-16-le", "utf-8-sig", "cp1251", "utf-7", "gzip", "cr"))
    if how == "gzip":
        return gzip.compress(data)
    if how == "cr":
        return data.replace(b"\n", b"\r")
    return data.decode("utf-8", "replace").encode(how, "replace")


_PLAIN = (
    _bytes_turned, _cut, _part_repeated_or_gone, _inserted, _other_number, _other_word,
    _other_encoding,
)  # fmt: skip


def _is_json(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False


def _other_type(data: bytes, chance: random.Random) -> bytes:
    """Put something of another type into one place of JSON, or of one line of it."""
    lines = [data] if _is_json(data) else data.splitlines()
    which = chance.choice([at for at, line in enumerate(lines) if _is_json(line)])
    whole = json.loads(lines[which])
    *above, last = chance.choice([at for at in _places(whole) if at])
    inside = whole
    for key in above:
        inside = inside[key]
    inside[last] = chance.choice(_VALUES)
    lines[which] = json.dumps(whole).encode()
    return b"\n".join(lines)


def _places(value, at=()):
    yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _places(inner, (*at, key))
    elif isinstance(value, list):
        for key, inner in enumerate(value):
            yield from _places(inner, (*at, key))


def _other_column(data: bytes, chance: random.Random) -> bytes:
    """Give one column of a Parquet file another type, another name, or take it away."""
    frame = pl.read_parquet(io.BytesIO(data))
    name = chance.choice(frame.columns)
    column = pl.col(name)
    text = pl.lit("a") if frame.schema[name].is_nested() else column.cast(pl.String)
    made = chance.choice(
        (
            text, pl.concat_list(column), pl.struct(column, pl.lit(1).alias("b")),
            pl.lit(None).alias(name), pl.lit(1.5).alias(name), pl.lit(True).alias(name),
            pl.lit(2**63 - 1).alias(name), pl.lit(float("nan")).alias(name),
            pl.lit(b"\xff").alias(name), pl.date(9999, 12, 31).alias(name),
            pl.datetime(9999, 12, 31, 23, 59, 59).alias(name), pl.lit("").alias(name),
            column.alias("other"), pl.duration(days=1).alias(name), pl.time(1).alias(name),
            pl.lit(None, pl.Datetime("ns", "Asia/Tokyo")).alias(name),
            text.cast(pl.Categorical),
        )
    )  # fmt: skip
    changed = frame.with_columns(made.alias(name))
    if chance.random() < 0.2:
        changed = frame.drop(name) if len(frame.columns) > 1 else frame
    packed = io.BytesIO()
    changed.write_parquet(packed)
    return packed.getvalue()


def mutated(door: str, number: int, folder: Path) -> Path:
    """Lay a golden input of a door with one file of it changed; return its place."""
    chance = random.Random(f"{door} {number}")
    if door == "csv":
        place = folder / "rows.csv"
        place.write_text(ROWS, encoding="utf-8")
    else:
        golden = chance.choice(DOORS[door])
        place = folder / golden.name
        (shutil.copytree if golden.is_dir() else shutil.copyfile)(golden, place)
    files = sorted(path for path in place.rglob("*") if path.is_file()) or [place]
    path = chance.choice(files)
    ways = list(_PLAIN)
    if path.suffix == ".parquet":
        ways = [_bytes_turned, _cut, _inserted, *([_other_column] * 6)]
    if door == "fhir":
        ways += [_other_type] * 6
    changed = chance.choice(ways)(path.read_bytes(), chance)
    path.write_bytes(changed)
    return place


def taken(hospital: Hospital, door: str, place: Path, mapping: Path) -> str | None:
    """Import a file; return what is wrong with how it ended."""
    before = hospital.manifest()
    given = {"mapping": mapping} if door == "csv" else {}
    try:
        delivery = OPENED[door](place, zone="Europe/Berlin", **given)
        summary = import_delivery(hospital, delivery, label=place.name, now=NOW, most_refused=None)
    except NevaError as error:
        if error.exit_code != 3 or "; found" not in str(error):
            return f"said {error}"
        return None if hospital.manifest() == before else "changed, with an error"
    except KeyboardInterrupt:
        raise
    # Whatever else is raised, a panic of a library too, the command line calls a bug.
    except BaseException as error:
        return f"raised {type(error).__name__}: {error}"
    after = hospital.manifest()
    if (after.version, summary.version) != (before.version + 1,) * 2:
        return "not one version more"
    snapshot = hospital.snapshot()
    for table in ("events", "stays", "movements", "subjects"):
        count = summary.counts.get(table, {})
        stored = snapshot.stored(table).filter(pl.col("batch") == summary.batch)
        added = sum(count.get(what, 0) for what in ("added", "revised", "retracted"))
        if stored.select(pl.len()).collect().item() < added:
            return f"not all of {table}"
    return None


def check(numbers: range, folder: Path) -> None:
    """Import so many changed files of each door, each into a hospital with something in it."""
    mapping = folder / "mapping.yaml"
    mapping.write_text(MAPPING, encoding="utf-8")
    good = folder / "good.csv"
    good.write_text(ROWS, encoding="utf-8")
    filled = create_hospital(folder / "filled", zone="Europe/Berlin", now=NOW)
    assert taken(filled, "csv", good, mapping) is None
    failed = []
    for door in DOORS:
        for number in numbers:
            here = folder / f"{door}-{number}"
            shutil.copytree(filled.path, here / "hospital")
            place = mutated(door, number, here)
            wrong = taken(open_hospital(here / "hospital"), door, place, mapping)
            if wrong:
                failed.append(f"{door} {number}: {wrong}")
            shutil.rmtree(here)
    assert not failed, "\n".join(failed)


def test_a_changed_file_ends_in_an_import_or_in_a_clear_error(tmp_path):
    check(range(20), tmp_path)


@pytest.mark.nightly
def test_405_changed_files_of_each_door_end_in_an_import_or_in_a_clear_error(tmp_path):
    check(range(20, 425), tmp_path)
