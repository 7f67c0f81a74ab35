"""How fast definitions and measures are: a synthetic hospital of 100,000 stays.

    python -m benchmarks.definitions [stays]

Every job runs in a process of its own; its seconds are those of the job after
imports, its peak memory the process's. The baseline beside the measure of three
conditions is the reference engine on some hundreds of the same patients, in
the same run: a plain loop over patients.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

COMMON = """
import json, resource, sys, time
import polars as pl
from datetime import UTC, datetime
from neva.definitions.language import *
from neva.definitions.points import EachStay
from neva.definitions.programme import load_programme
from neva.definitions.run import answer
from neva.definitions.relational.warehouse import DuckWarehouse
from neva.definitions.writing import measure
from neva.events.hospital import create_hospital, open_hospital
from neva.quality import run_measures
from pathlib import Path

place, size = Path(sys.argv[1]), int(sys.argv[2])


def three():
    oxygen = events("CARE//oxygen-nasal-or-mask").during(stay).first().time
    steroid = events("ATC//H02AB02").between(stay.start, oxygen + hours(24))
    return measure(
        "bench.three", version="1.0.0", clock_start=oxygen, due=hours(24),
        population=events("LOINC//94500-6").where(row.text == "detected").during(stay).exists(),
        numerator=steroid.exists(),
    )


def told(began, work, **more):
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "megabytes": peak, "work": work, **more}))
"""

SYNTHESISE = """
from neva.synthesis import Plan, synthesise
began = time.perf_counter()
hospital = create_hospital(place, zone="Europe/Moscow", now=datetime.now(UTC))
made = synthesise(hospital, Plan(stays=size, seed=1, zone="Europe/Moscow"), now=datetime.now(UTC))
told(began, made.summary.counts["events"]["added"])
"""

THREE = """
snapshot = open_hospital(place).snapshot()
status = {"status": three().status}
warehouse = DuckWarehouse(threads=1)
answer(snapshot, status, warehouse=warehouse)
began = time.perf_counter()
found = answer(snapshot, status, warehouse=warehouse).frame.height
fast = time.perf_counter() - began
subjects = snapshot.stays().select("subject_id").unique().sort("subject_id").head(500).collect()
from neva.definitions.binding import hierarchy_of
from neva.definitions.local_time import microseconds
from neva.definitions.reference.engine import Place, Point, evaluate
from neva.definitions.run import points_of
from neva.definitions.reference.timeline import timelines
few = points_of(snapshot, EachStay()).join(subjects, on="subject_id", how="semi")
people = timelines(snapshot, few["subject_id"].to_list())
hospital_place = Place(snapshot.zone, *hierarchy_of(snapshot))
slow = time.perf_counter()
for _, subject, stay_id, now_, known in few.iter_rows():
    point = Point(microseconds(now_), microseconds(known), stay_id)
    evaluate(status, people[subject], point, hospital_place)
slow = time.perf_counter() - slow
told(began, found, seconds_fast=fast, per_second=found / fast, slow_per_second=few.height / slow)
"""

MEASURES = """
snapshot = open_hospital(place).snapshot()
began = time.perf_counter()
found = sum(run_measures(snapshot, load_programme(n)).cases.height for n in ("covid19", "sepsis"))
told(began, found)
"""

FEATURES = """
units = {
    "59408-5": "%", "9279-1": "/min", "8867-4": "/min", "8480-6": "mm[Hg]", "8462-4": "mm[Hg]",
    "8310-5": "Cel", "9269-2": "{score}", "1988-5": "mg/L", "22664-7": "mmol/L", "731-0": "10*9/L",
    "6690-2": "10*9/L", "2524-7": "mmol/L", "14682-9": "umol/L", "2532-0": "U/L",
    "48065-7": "mg/L", "2276-4": "ng/mL", "33959-8": "ng/mL", "15074-8": "mmol/L",
    "777-3": "10*9/L", "67151-1": "ng/L",
}
outputs = {}
for code, unit in units.items():
    rows = events(f"LOINC//{code}").during(stay)
    asked = (rows.count(), rows.minimum(unit), rows.maximum(unit), rows.mean(unit),
             rows.last().value(unit))
    outputs |= {f"f{len(outputs) + at}": one.node for at, one in enumerate(asked)}
assert len(outputs) == 100
snapshot = open_hospital(place).snapshot()
began = time.perf_counter()
at = EachStay(at="start", hours_after_start=24)
told(began, answer(snapshot, outputs, population=at).frame.height)
"""

BEDSIDE = """
from neva.definitions.binding import hierarchy_of
from neva.definitions.local_time import microseconds
from neva.definitions.reference.engine import Place, Point, evaluate
from neva.definitions.run import points_of
from neva.definitions.reference.timeline import timelines
snapshot = open_hospital(place).snapshot()
programme = load_programme("covid19")
outputs = {one.id: one.status for one in programme.measures}
for score in programme.scores:
    outputs |= {f"{score.id} {item.name}": item.of for item in score.items}
outputs |= {one.id: one.value for one in programme.features}
points = points_of(snapshot, EachStay()).sample(200, seed=1)
people = timelines(snapshot, points["subject_id"].to_list())
hospital_place = Place(snapshot.zone, *hierarchy_of(snapshot))
spent = []
for _ in range(2):
    for _, subject, stay_id, now_, known in points.iter_rows():
        point = Point(microseconds(now_), microseconds(known), stay_id)
        began = time.perf_counter()
        evaluate(outputs, people[subject], point, hospital_place)
        spent.append(time.perf_counter() - began)
again = sorted(spent[200:])
told(time.perf_counter(), len(outputs), median=again[100], longest_of_20=again[190])
"""


def job(
    work: str, *arguments: object, common: str = COMMON, more: dict[str, str] | None = None
) -> dict:
    """Run a job in a process of its own; `more` are variables of its environment."""
    said = subprocess.run(
        [sys.executable, "-c", common + work, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(more or {})},
    )
    if said.returncode:
        sys.stderr.write(said.stderr)
        raise SystemExit(1)
    return json.loads(said.stdout.splitlines()[-1])


def run(stays: int = 100_000) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "hospital"
        rows = []

        def add(what: str, found: dict, **more: object) -> None:
            rows.append({"what": what, "stays": stays, **found, **more})

        made = job(SYNTHESISE, place, stays)
        add(f"synthesise, {made['work']:,} events", made)
        three = job(THREE, place, stays)
        add(
            "measure of three conditions, one core",
            {"seconds": three["seconds_fast"], "megabytes": three["megabytes"]},
            per_second=three["per_second"],
            baseline_per_second=three["slow_per_second"],
            ratio=three["per_second"] / three["slow_per_second"],
        )
        add("hundred features at admission + 24 h", job(FEATURES, place, stays))
        add("all measures of covid19 and sepsis", job(MEASURES, place, stays))
        one = job(BEDSIDE, place, stays)
        rows.append(
            {
                "what": f"one patient, {one['work']} outputs of covid19, reference engine, median",
                "seconds": one["median"],
            }
        )
        rows.append(
            {"what": "the same, 95 of 100 patients within", "seconds": one["longest_of_20"]}
        )
        return rows


if __name__ == "__main__":
    for line in run(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(line)
