"""Run every benchmark and write ``benchmarks/results.md``: ``make bench``."""

import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from benchmarks import (
    decisions,
    definitions,
    feeds,
    forecasts,
    imports,
    models,
    multistate,
    pathways,
    simulation,
    web,
)

RESULTS = Path(__file__).with_name("results.md")


def cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(rows: list[dict], columns: dict[str, str]) -> list[str]:
    lines = [f"| {' | '.join(columns.values())} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(cell(row.get(name)) for name in columns)} |" for row in rows]
    return [*lines, ""]


def main() -> None:
    imported = imports.run()
    mapped = pathways.run()
    defined = definitions.run()
    estimated = multistate.run()
    forecast = forecasts.run()
    simulated = simulation.run()
    decided = decisions.run()
    trained = models.run()
    shown = web.run()
    fed = feeds.run()
    alone = [row for row in mapped if "ratio" not in row]
    beside = [row for row in mapped if "ratio" in row]
    memory = psutil.virtual_memory().total / 2**30
    text = [
        "# Benchmarks",
        "",
        (
            f"Made by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {psutil.cpu_count()} cores, "
            f"{memory:.0f} GB, Python {platform.python_version()}, Polars {version('polars')}, "
            f"deltalake {version('deltalake')}. Figures are of one run on one machine; ratios "
            "are of pairs in the same run."
        ),
        "",
        "## Imports",
        "",
        (
            "A process of its own for each, into a new hospital: pseudonyms, checks, identity, "
            "order, commit. The baseline is Polars alone: read the same file, parse times, sort by "
            "subject and time, write Parquet. Ratio: ours over the baseline, lower is better."
        ),
        "",
        *table(
            imported,
            {
                "what": "what",
                "events": "events",
                "seconds": "seconds",
                "megabytes": "peak, MB",
                "baseline_seconds": "baseline, seconds",
                "ratio": "ratio",
            },
        ),
        "## Pathways",
        "",
        (
            "With the encoded log ready, best of five; the map has the median, mean and 90th "
            "percentile of every path."
        ),
        "",
        *table(
            alone,
            {"what": "what", "events": "events", "seconds": "seconds", "megabytes": "MB"},
        ),
        (
            "Beside pm4py, on the same log in the same run, each in the form that it works on; "
            "pm4py's time for the map is that of its two calls for counts and times. Ratio: "
            "pm4py's over ours, higher is better."
        ),
        "",
        *table(
            beside,
            {
                "what": "what",
                "events": "events",
                "seconds": "ours, seconds",
                "pm4py_seconds": "pm4py, seconds",
                "ratio": "ratio",
            },
        ),
        "## Definitions and measures",
        "",
        (
            "A synthetic hospital, each job in a process of its own. The baseline of the measure "
            "of three conditions is the reference engine, a loop over patients, in the same run. "
            "Ratio: ours over the baseline in stays a second, higher is better."
        ),
        "",
        *table(
            defined,
            {
                "what": "what",
                "stays": "stays",
                "seconds": "seconds",
                "megabytes": "peak, MB",
                "per_second": "stays a second",
                "baseline_per_second": "baseline, stays a second",
                "ratio": "ratio",
            },
        ),
        "## Flow",
        "",
        (
            "Estimates on half a million intervals in six states, all times distinct, on one core. "
            "Forecasts: the baseline of the sum is one convolution a patient; 24 models are drawn "
            "for what is not known of the rates."
        ),
        "",
        *table(
            [*estimated, *forecast],
            {
                "what": "what",
                "intervals": "intervals",
                "seconds": "seconds",
                "megabytes": "peak, MB",
                "baseline_seconds": "baseline, seconds",
                "ratio": "ratio",
            },
        ),
        (
            "Simulation: an event is an arrival, a bed that is taken or a departure, counted alike "
            "for all; the same hospital of five units, the same days, in the same run. Ratio: ours "
            "over the peer's in events a second, higher is better."
        ),
        "",
        *table(
            simulated,
            {
                "what": "what",
                "events": "events",
                "seconds": "seconds",
                "events_per_second": "events a second",
                "megabytes": "peak, MB",
                "ratio": "ratio",
            },
        ),
        "## Decisions",
        "",
        (
            "Ten shipped rules asked every hour of every stay, on one core; the baseline is the "
            "reference engine, a plain loop, on 400 of the same points. Calls: the application in "
            "a process of its own on one core, 200 resources and twenty rules, twenty calls a "
            "second for a minute whether or not the ones before are answered; from when a call was "
            "due to its answer. To hold: a replay within 180 seconds, 95 of 100 calls within "
            "0.05 seconds."
        ),
        "",
        *table(
            decided,
            {
                "what": "what",
                "seconds": "seconds",
                "megabytes": "peak, MB",
                "per_second": "points a second",
                "baseline_per_second": "baseline, points a second",
                "ratio": "ratio",
            },
        ),
        "Models: one thread; a fit is to take at most 60 seconds.",
        "",
        *table(
            trained,
            {
                "what": "what",
                "points": "points",
                "seconds": "seconds",
                "megabytes": "peak, MB",
            },
        ),
        "## Pages",
        "",
        (
            "Ten million events, the server on one core, its worker on the other; warm, each page "
            f"asked for {web.AGAIN} times. First byte: from the request until the head of the "
            "answer. To hold: 95 of 100 within 0.3 seconds, a filter within 0.5, fifty viewers "
            "without an error, less than 3,000 MB."
        ),
        "",
        *table(
            shown,
            {
                "what": "what",
                "p50": "median, seconds",
                "p95": "95 of 100 within, seconds",
                "megabytes": "MB",
            },
        ),
        "## Live feeds",
        "",
        (
            "HL7 v2. Read: cut and unescaped; the peer is the most used library. Acknowledged: "
            "over MLLP by a process of its own, each message on disk before its answer, twenty "
            "senders that wait for it. Applied: from the inbox into the store, a thousand "
            "messages a commit. To hold: 2,000 acknowledged a second on one core, 1,000 applied. "
            "Ratio: ours over the peer's, higher is better."
        ),
        "",
        *table(
            fed,
            {
                "what": "what",
                "messages": "messages",
                "per_second": "a second",
                "per_processor_second": "a processor second",
                "last": "last ten commits, seconds",
                "longest": "longest commit, seconds",
                "megabytes": "MB",
                "ratio": "ratio",
            },
        ),
    ]
    RESULTS.write_text("\n".join(text))
    sys.stdout.write("\n".join(text) + f"\nwritten: {RESULTS}\n")


if __name__ == "__main__":
    main()
