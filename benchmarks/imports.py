"""How fast and how small imports are: ten million events from Parquet and from CSV.

    python -m benchmarks.imports [events]

Every import runs in a process of its own, through the command line's path, into
a new hospital; its seconds and its peak memory are the process's. The baseline
is the least that any sorted store must do with the same file, by Polars alone:
read it, parse the times, sort by subject and time, write Parquet.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

MAPPING = """
neva: 1
name: bench
tables:
  - subject: subject_id
    stay: stay_id
    recorded: {after: time, delay: 1 h}
    events:
      - {code: code, time: time, value: value, value_unit: value_unit}
"""

MEASURED = """
import json, resource, sys, time
start = time.perf_counter()
{work}
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({{"seconds": seconds, "megabytes": peak}}))
"""

IMPORT = """
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from neva.events.hospital import create_hospital
from neva.intake.importing import import_delivery
kind, source, mapping, folder = sys.argv[1:5]
now = datetime.now(UTC)
hospital = create_hospital(Path(folder), zone="UTC", now=now)
door = next(d for d in entry_points(group="neva.sources") if d.name == kind).load()
delivery = door(Path(source), zone="UTC", mapping=Path(mapping) if mapping else None)
summary = import_delivery(hospital, delivery, label="bench", now=now)
assert summary.counts["events"]["added"] == int(sys.argv[5]), summary
"""

BASELINE = """
import polars as pl
source, target = sys.argv[2], sys.argv[4]
if source.endswith(".csv"):
    frame = pl.scan_csv(source, try_parse_dates=True)
else:
    frame = pl.scan_parquet(source)
frame.sort("subject_id", "time").sink_parquet(target, compression="zstd", compression_level=1)
"""


def make_events(events: int, *, seed: int = 20240330) -> pl.DataFrame:
    """Events as a hospital has them: 50 a stay, 500 codes, half with a value."""
    rng = np.random.default_rng(seed)
    subjects = rng.integers(1, events // 100 + 2, events)
    units = pl.Series(["mmol/L", "mg/dL", "%", "U/L", "10*9/L"])
    code = rng.integers(0, 500, events)
    return pl.DataFrame(
        {
            "subject_id": subjects,
            "stay_id": subjects * 10 + rng.integers(0, 2, events),
            "time": pl.Series(rng.integers(1_577_836_800, 1_672_531_200, events) * 1_000_000).cast(
                pl.Datetime("us")
            ),
            "code": pl.Series([f"LOINC//{k}-{k % 10}" for k in range(500)]).gather(code),
            "value": pl.Series(rng.normal(100, 20, events).round(2)),
            "value_unit": units.gather(code % 5),
        }
    ).with_columns(
        value=pl.when(pl.Series(code % 2 == 0)).then("value"),
        value_unit=pl.when(pl.Series(code % 2 == 0)).then("value_unit"),
    )


def measured(work: str, *arguments: object) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED.format(work=work), *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def run(events: int = 10_000_000) -> list[dict]:
    """Measure; one dictionary per import."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="neva-bench-") as name:
        folder = Path(name)
        frame = make_events(events)
        frame.write_csv(folder / "events.csv", datetime_format="%Y-%m-%dT%H:%M:%S")
        frame.write_parquet(folder / "events.parquet")
        meds = folder / "meds" / "data"
        meds.mkdir(parents=True)
        frame.select(
            "subject_id", "time", "code", pl.col("value").cast(pl.Float32).alias("numeric_value")
        ).write_parquet(meds / "0.parquet")
        del frame
        (folder / "bench.yaml").write_text(MAPPING)
        for what, kind, source, mapping in (
            ("Parquet by a mapping", "csv", folder / "events.parquet", folder / "bench.yaml"),
            ("CSV by a mapping", "csv", folder / "events.csv", folder / "bench.yaml"),
            ("MEDS (Parquet)", "meds", folder / "meds", ""),
        ):
            ours = measured(IMPORT, kind, source, mapping, folder / f"{kind}{len(rows)}", events)
            least = source if source.is_file() else meds / "0.parquet"
            base = measured(BASELINE, kind, least, "", folder / f"base{len(rows)}.parquet")
            rows.append(
                {
                    "what": f"import, {what}",
                    "events": events,
                    "seconds": ours["seconds"],
                    "megabytes": ours["megabytes"],
                    "baseline_seconds": base["seconds"],
                    "ratio": ours["seconds"] / base["seconds"],
                }
            )
    return rows


if __name__ == "__main__":
    for row in run(*map(int, sys.argv[1:])):
        print(row)
