"""Compute the numbers of the shared logs with pm4py, for tests/unit/pathways/test_pm4py.py.

Run by hand, in an environment of its own, never by the tests (pm4py is AGPL-3):

    python3 -m venv build/pm4py-env
    build/pm4py-env/bin/pip install pm4py
    build/pm4py-env/bin/python tests/oracles/pm4py_numbers.py ../shared

Frames are sorted before pm4py sees them (it is wrong on unsorted frames); ties
are in file order. Medians are pm4py's own performance graph where it has one.
"""

import json
import sys
from pathlib import Path

import pandas as pd
import pm4py

CASE, ACTIVITY, TIME = "case:concept:name", "concept:name", "time:timestamp"


def frames(shared):
    def csv(path, case, activity, time, **settings):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, **settings)
        frame = frame[frame[case] != ""]
        return frame.rename(columns={case: CASE, activity: ACTIVITY, time: TIME})

    data = shared / "data"
    yield "sepsis", csv(
        data / "sepsis-eventlog/sepsis.csv",
        "Case ID", "Activity", "Complete Timestamp", sep=";",
    )  # fmt: skip
    yield "monitoring", csv(
        data / "almazov-workflows/remote_monitoring.csv",
        "case_id", "task", "timestamp", encoding="windows-1251",
    )  # fmt: skip
    yield "billing", csv(
        data / "hospital-billing-eventlog/hospital_billing.csv.gz",
        "case_id", "activity", "timestamp",
    )  # fmt: skip
    yield "receipt", pd.read_csv(data / "xes-logs/receipt.csv.gz", dtype=str)
    running = pd.read_csv(data / "xes-logs/running-example.csv", dtype=str)
    yield "running_example", running
    yield "a12f0n10", pm4py.read_xes(str(data / "xes-logs/a12f0n10.xes.gz"))


def numbers(frame):
    frame = frame[[c for c in (CASE, ACTIVITY, TIME) if c in frame]].reset_index(drop=True)
    timed = TIME in frame
    if timed:
        frame[TIME] = pd.to_datetime(frame[TIME], utc=True, format="mixed")
        frame = frame.sort_values([CASE, TIME], kind="stable")
    else:
        # No times: the order of the file, as seconds, so that pm4py has an order.
        frame[TIME] = pd.Timestamp("2000-01-01", tz="UTC") + pd.to_timedelta(frame.index, unit="s")
        frame = frame.sort_values([CASE, TIME], kind="stable")
    frame = pm4py.format_dataframe(
        frame.reset_index(drop=True), case_id=CASE, activity_key=ACTIVITY, timestamp_key=TIME
    )
    dfg, starts, ends = pm4py.discover_dfg(frame)
    result = {
        "cases": int(frame[CASE].nunique()),
        "events": len(frame),
        "activities": int(frame[ACTIVITY].nunique()),
        "variants": len(pm4py.get_variants(frame)),
        "dfg": sorted([a, b, int(n)] for (a, b), n in dfg.items()),
        "starts": {a: int(n) for a, n in sorted(starts.items())},
        "ends": {a: int(n) for a, n in sorted(ends.items())},
    }
    if timed:
        performance, _, _ = pm4py.discover_performance_dfg(frame)
        result["performance"] = sorted(
            [a, b, float(row["median"]), float(row["mean"])] for (a, b), row in performance.items()
        )
        durations = sorted(pm4py.get_all_case_durations(frame))
        series = pd.Series(durations)
        result["case_durations"] = {
            "mean": float(series.mean()),
            "median": float(series.median()),
            "p90": float(series.quantile(0.9)),
            "maximum": float(series.max()),
        }
    return result


if __name__ == "__main__":
    shared = Path(sys.argv[1])
    answers = {"pm4py": pm4py.__version__}
    for name, frame in frames(shared):
        answers[name] = numbers(frame)
        print(name, answers[name]["cases"], answers[name]["variants"])
    out = Path(__file__).with_name("pm4py_numbers.json")
    out.write_text(json.dumps(answers, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
