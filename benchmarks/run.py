"""Run benchmarks and write ``benchmarks/results.md``: ``make bench``.

    python -m benchmarks.run [section ...]

Without a section, all. What is not measured again stays in the file, with the day and the
machine of its own.
"""

import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
    live_pages,
    models,
    multistate,
    pathways,
    simulation,
    soak,
    web,
)

RESULTS = Path(__file__).with_name("results.md")
HEAD = (
    "Made by `make bench`. Figures are of one run on one machine; ratios are of pairs in the "
    "same run."
)


@dataclass(frozen=True)
class Part:
    """A table and what is to be known of it; `columns` by name, with their titles."""

    text: str
    rows: Iterable[dict]
    columns: dict[str, str]


@dataclass(frozen=True)
class Section:
    """Parts that are measured in one run."""

    title: str
    measure: Callable[[], list[Part]]


def cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(part: Part) -> list[str]:
    columns = part.columns
    lines = [f"| {' | '.join(columns.values())} |", "|" + "---|" * len(columns)]
    lines += [f"| {' | '.join(cell(row.get(name)) for name in columns)} |" for row in part.rows]
    return [part.text, "", *lines, ""]


def of_imports() -> list[Part]:
    text = (
        "A process of its own for each, into a new hospital: pseudonyms, checks, identity, order, "
        "commit. The baseline is Polars alone: read the same file, parse times, sort by subject "
        "and time, write Parquet. Ratio: ours over the baseline, lower is better."
    )
    columns = {
        "what": "what", "events": "events", "seconds": "seconds", "megabytes": "peak, MB",
        "baseline_seconds": "baseline, seconds", "ratio": "ratio",
    }  # fmt: skip
    return [Part(text, imports.run(), columns)]


def of_pathways() -> list[Part]:
    rows = pathways.run()
    alone = Part(
        "With the encoded log ready, best of five; the map has the median, mean and 90th "
        "percentile of every path.",
        [row for row in rows if "ratio" not in row],
        {"what": "what", "events": "events", "seconds": "seconds", "megabytes": "MB"},
    )
    beside = Part(
        "Beside pm4py, on the same log in the same run, each in the form that it works on; "
        "pm4py's time for the map is that of its two calls for counts and times. Ratio: "
        "pm4py's over ours, higher is better.",
        [row for row in rows if "ratio" in row],
        {
            "what": "what", "events": "events", "seconds": "ours, seconds",
            "pm4py_seconds": "pm4py, seconds", "ratio": "ratio",
        },
    )  # fmt: skip
    return [alone, beside]


def of_definitions() -> list[Part]:
    text = (
        "A synthetic hospital, each job in a process of its own. The baseline of the measure of "
        "three conditions is the reference engine, a loop over patients, in the same run. Ratio: "
        "ours over the baseline in stays a second, higher is better."
    )
    columns = {
        "what": "what", "stays": "stays", "seconds": "seconds", "megabytes": "peak, MB",
        "per_second": "stays a second", "baseline_per_second": "baseline, stays a second",
        "ratio": "ratio",
    }  # fmt: skip
    return [Part(text, definitions.run(), columns)]


def of_flow() -> list[Part]:
    estimates = Part(
        "Estimates on half a million intervals in six states, all times distinct, on one core. "
        "Forecasts: the baseline of the sum is one convolution a patient; 24 models are drawn "
        "for what is not known of the rates.",
        [*multistate.run(), *forecasts.run()],
        {
            "what": "what", "intervals": "intervals", "seconds": "seconds",
            "megabytes": "peak, MB", "baseline_seconds": "baseline, seconds", "ratio": "ratio",
        },
    )  # fmt: skip
    simulations = Part(
        "Simulation: an event is an arrival, a bed that is taken or a departure, counted alike "
        "for all; the same hospital of five units, the same days, in the same run. Ratio: ours "
        "over the peer's in events a second, higher is better.",
        simulation.run(),
        {
            "what": "what", "events": "events", "seconds": "seconds",
            "events_per_second": "events a second", "megabytes": "peak, MB", "ratio": "ratio",
        },
    )  # fmt: skip
    return [estimates, simulations]


def of_decisions() -> list[Part]:
    calls = Part(
        "Ten shipped rules asked every hour of every stay, on one core; the baseline is the "
        "reference engine, a plain loop, on 400 of the same points. Calls: the application in a "
        "process of its own on one core, 200 resources and twenty rules, twenty calls a second "
        "for a minute whether or not the ones before are answered; from when a call was due to "
        "its answer. To hold: a replay within 180 seconds, 95 of 100 calls within 0.05 seconds.",
        decisions.run(),
        {
            "what": "what", "seconds": "seconds", "megabytes": "peak, MB",
            "per_second": "points a second", "baseline_per_second": "baseline, points a second",
            "ratio": "ratio",
        },
    )  # fmt: skip
    trained = Part(
        "Models: one thread; a fit is to take at most 60 seconds.",
        models.run(),
        {"what": "what", "points": "points", "seconds": "seconds", "megabytes": "peak, MB"},
    )
    return [calls, trained]


def of_pages() -> list[Part]:
    text = (
        "Ten million events, the server on one core, its worker on the other; warm, each page "
        f"asked for {web.AGAIN} times. First byte: from the request until the head of the answer. "
        "To hold: 95 of 100 within 0.3 seconds, a filter within 0.5, fifty viewers without an "
        "error, less than 3,000 MB."
    )
    columns = {
        "what": "what", "p50": "median, seconds", "p95": "95 of 100 within, seconds",
        "megabytes": "MB",
    }  # fmt: skip
    return [Part(text, web.run(), columns)]


def of_feeds() -> list[Part]:
    text = (
        "HL7 v2. Read: cut and unescaped; the peer is the most used library. Acknowledged: over "
        "MLLP by a process of its own, each message on disk before its answer, twenty senders "
        "that wait for it. Applied: from the inbox into the store, a thousand messages a commit. "
        "To hold: 2,000 acknowledged a second on one core, 1,000 applied. Ratio: ours over the "
        "peer's, higher is better."
    )
    columns = {
        "what": "what", "messages": "messages", "per_second": "a second",
        "per_processor_second": "a processor second", "last": "last ten commits, seconds",
        "longest": "longest commit, seconds", "megabytes": "MB", "ratio": "ratio",
    }  # fmt: skip
    return [Part(text, feeds.run(), columns)]


def of_live_pages() -> list[Part]:
    text = (
        "From a message that is sent to the page of each viewer that shows it: ten million events "
        f"loaded, {live_pages.PER_SECOND} messages a second, one in "
        f"{live_pages.OF_VISIT} an admission, viewers "
        "with *Now* open. To hold: 95 of 100 within 5 seconds."
    )
    columns = {
        "what": "what", "events": "events", "viewers": "viewers", "median": "median, seconds",
        "p95": "95 of 100 within, seconds", "longest": "longest, seconds", "megabytes": "MB",
    }  # fmt: skip
    return [Part(text, live_pages.run(), columns)]


def of_soak() -> list[Part]:
    text = (
        "A million messages one after another, sent as quickly as they are acknowledged and "
        "applied meanwhile, by `neva feed hl7v2`. Memory is that of the listener and the applier, "
        "with what they share counted once. Readings are compared with a hospital into which the "
        "same events were imported as one file. To hold: less than 1,000 MB, flat."
    )
    columns = {
        "what": "what", "messages": "messages", "per_second": "a second", "seconds": "seconds",
        "imported_seconds": "imported, seconds", "ratio": "ratio", "megabytes": "MB",
        "files": "files",
    }  # fmt: skip
    return [Part(text, soak.run(), columns)]


SECTIONS = {
    "imports": Section("Imports", of_imports),
    "pathways": Section("Pathways", of_pathways),
    "definitions": Section("Definitions and measures", of_definitions),
    "flow": Section("Flow", of_flow),
    "decisions": Section("Decisions", of_decisions),
    "pages": Section("Pages", of_pages),
    "feeds": Section("Live feeds", of_feeds),
    "live-pages": Section("From event to page", of_live_pages),
    "soak": Section("A million messages", of_soak),
}


def measured_on() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {psutil.cpu_count()} cores, {memory:.0f} GB, "
        f"Python {platform.python_version()}, Polars {version('polars')}, "
        f"deltalake {version('deltalake')}."
    )


def kept_sections() -> dict[str, str]:
    """What the file has, by title, from after the title to the next one."""
    if not RESULTS.exists():
        return {}
    cut = RESULTS.read_text().split("\n## ")[1:]
    return {one.split("\n", 1)[0]: one.split("\n", 1)[1].strip("\n") for one in cut}


def main(wanted: list[str]) -> None:
    unknown = {*wanted} - {*SECTIONS}
    if unknown:
        sys.exit(f"no section {', '.join(sorted(unknown))}; there are: {', '.join(SECTIONS)}")
    for name in wanted or SECTIONS:
        section = SECTIONS[name]
        lines = [line for part in section.measure() for line in table(part)]
        content = kept_sections()
        content[section.title] = "\n".join([measured_on(), "", *lines]).strip("\n")
        text = ["# Benchmarks", "", HEAD]
        for one in SECTIONS.values():
            if one.title in content:
                text += ["", f"## {one.title}", "", content[one.title]]
        # After each section: what was measured is not lost if a later one fails.
        RESULTS.write_text("\n".join(text) + "\n")
        sys.stdout.write(f"## {section.title}\n\n{content[section.title]}\n\n")
    sys.stdout.write(f"written: {RESULTS}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
