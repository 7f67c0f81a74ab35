"""How fast pathways are: ten million events alone, and side by side with pm4py.

    python -m benchmarks.pathways [events]

pm4py runs in its own interpreter (``NEVA_PM4PY_PYTHON``, or an environment made
under ``build/pm4py-env``), on the same log, in the same run. Both sides start
from a sorted log in the form that each works on: ours encoded, pm4py's a
formatted pandas frame. For the map pm4py is asked for what our map holds:
discover_dfg for counts and the performance graph for times.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import numpy as np
import polars as pl

from neva.pathways import (
    ActivityLog,
    discover_map,
    find_rework,
    find_variants,
    log_from_frame,
    throughput,
)

BUILD = Path(__file__).resolve().parents[1] / "build"

PM4PY = """
import json, sys, time
import pandas as pd, pm4py
frame = pd.read_parquet(sys.argv[1])
frame = pm4py.format_dataframe(frame, case_id="case", activity_key="activity",
                               timestamp_key="time")
def best(work, rounds=3):
    times = []
    for _ in range(rounds):
        start = time.perf_counter(); result = work(); times.append(time.perf_counter() - start)
    return min(times), result
counts, (dfg, starts, ends) = best(lambda: pm4py.discover_dfg(frame))
times, (performance, _, _) = best(lambda: pm4py.discover_performance_dfg(frame))
variants, found = best(lambda: pm4py.get_variants(frame))
durations, cases = best(lambda: pm4py.get_all_case_durations(frame))
edge = max(sorted(dfg), key=dfg.get)
print(json.dumps({"version": pm4py.__version__, "map": counts + times, "counts": counts,
                  "variants": variants, "throughput": durations, "edges": len(dfg),
                  "steps": int(sum(dfg.values())), "variant_count": len(found),
                  "edge": list(edge), "median": float(performance[edge]["median"])}))
"""


def make_log(events: int, *, seed: int = 20240330) -> pl.DataFrame:
    """Cases of 5 to 35 events over 30 activities, each likely followed by a few others."""
    rng = np.random.default_rng(seed)
    activities, mean_length = 30, 20
    lengths = rng.integers(5, 36, events // mean_length + 1)
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), events)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    total = int(offsets[-1])
    # A pathway: mostly the next activity, sometimes a jump; half of the cases
    # follow one of 2,000 templates exactly, so that variants repeat.
    step = rng.choice([0, 1, 1, 1, 1, 2, 5, -1, -3], total)
    case = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(total) - offsets[case]
    template = rng.integers(0, 2000, len(lengths))[case]
    fixed = (template * 7919 + position * (1 + template % 4)) % activities
    walk = np.cumsum(step)
    walk = (walk - walk[offsets[case]]) % activities
    activity = np.where(case % 2 == 0, fixed, walk)
    gaps = rng.exponential(5.4e9, total).astype(np.int64)
    running = np.cumsum(gaps)
    begin = rng.integers(0, 3 * 365 * 86_400, len(lengths))[case] * 1_000_000
    moment = 1_577_836_800_000_000 + begin + running - running[offsets[case]]
    names = pl.Series([f"Activity {i:02}" for i in range(activities)])
    return pl.DataFrame(
        {
            "case": pl.Series(case).cast(pl.String).str.zfill(8),
            "activity": names.gather(activity),
            "time": pl.Series(moment).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "sequence": position,
        }
    )


def best(work, rounds=5):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return min(times), result


def fresh(log: ActivityLog) -> ActivityLog:
    """The same log without anything that it has kept from earlier questions."""
    for kept in ("spans", "lengths"):
        log.__dict__.pop(kept, None)
    return log


def ours(log: ActivityLog, rounds: int = 5) -> dict[str, float]:
    return {
        "map": best(lambda: discover_map(fresh(log)), rounds)[0],
        "variants": best(lambda: find_variants(fresh(log)), rounds)[0],
        "throughput": best(lambda: throughput(fresh(log)).summary, rounds)[0],
        "rework": best(lambda: find_rework(fresh(log)), rounds)[0],
    }


def pm4py_python() -> str:
    if given := os.environ.get("NEVA_PM4PY_PYTHON"):
        return given
    home = BUILD / "pm4py-env"
    python = home / "bin" / "python"
    if not python.exists():
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "pm4py", "pyarrow"], check=True)
    return str(python)


def beside_pm4py(events: int) -> list[dict]:
    frame = make_log(events)
    log = log_from_frame(frame)
    mine = ours(log)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.parquet"
        frame.drop("sequence").write_parquet(path)
        run = subprocess.run(
            [pm4py_python(), "-W", "ignore", "-c", PM4PY, str(path)],
            check=True,
            capture_output=True,
            text=True,
        )
    theirs = json.loads(run.stdout.strip().splitlines()[-1])
    found = discover_map(log)
    same_edge = found.edges.filter(source=theirs["edge"][0], target=theirs["edge"][1])
    assert theirs["steps"] == found.steps
    assert theirs["edges"] == found.edges.height
    assert theirs["variant_count"] == len(find_variants(log))
    assert abs(theirs["median"] - same_edge["median"][0]) < 1e-3
    return [
        {
            "what": f"{name}, beside pm4py {theirs['version']}",
            "events": log.event_count,
            "seconds": mine[name],
            "pm4py_seconds": theirs[name],
            "ratio": theirs[name] / mine[name],
        }
        for name in ("map", "variants", "throughput")
    ]


def run(events: int = 10_000_000, beside: int = 2_000_000) -> list[dict]:
    """Measure; one dictionary per figure (seconds, megabytes, ratios)."""
    frame = make_log(events)
    start = time.perf_counter()
    log = log_from_frame(frame)
    encode_seconds = time.perf_counter() - start
    del frame
    discover_map(log)  # compiles on the first run of a machine
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = [{"what": "encode and sort", "events": log.event_count, "seconds": encode_seconds}]
    rows += [
        {"what": name, "events": log.event_count, "seconds": seconds}
        for name, seconds in ours(log).items()
    ]
    size = sum(a.nbytes for a in (log.offsets, log.activity, log.time)) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows.append({"what": "encoded log, MB", "events": log.event_count, "megabytes": size})
    rows.append({"what": "peak of making it, MB", "events": log.event_count, "megabytes": before})
    rows.append({"what": "peak after all, MB", "events": log.event_count, "megabytes": peak})
    del log
    return rows + beside_pm4py(beside)


if __name__ == "__main__":
    chosen = [int(argument) for argument in sys.argv[1:]]
    for row in run(*chosen):
        print("  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
                        for k, v in row.items()))  # fmt: skip
