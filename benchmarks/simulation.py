"""How fast hospitals are simulated, alone and side by side with SimPy and Ciw.

    python -m benchmarks.simulation

An event is counted alike for all: a patient comes from outside, begins in a
unit, or leaves the hospital. (Our log has more rows than that: waits, and
stays that are over while the next unit is full.) All three simulate the same
hospital of five units with blocking after service, for the same days from an
empty hospital, on one core, in the same run, best of several rounds. SimPy's
model keeps its log as a list of tuples, Ciw its records, ours its log. Ratios
are of events a second.

The last figure is a hospital of 200 beds in 15 units with arrivals by the hour
of the week: forty replications of a year on two cores, without log.
"""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import ciw
import numpy as np
import simpy

from neva.flow.simulation.hospital_model import (
    Beds,
    Exit,
    HospitalModel,
    Incoming,
    Next,
    PatientClass,
    Route,
    Unit,
)
from neva.flow.simulation.kernel import KINDS
from neva.flow.simulation.simulate import simulate
from neva.flow.stays.stay_length import StayLength

START = datetime(2024, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[1]

#: name: (beds, mean stay in hours, next units with probabilities)
HOSPITAL = {
    "ed": (14, 5.0, {"medical": 0.24, "surgical": 0.08, "icu": 0.03}),
    "medical": (40, 96.0, {"icu": 0.02}),
    "surgical": (26, 72.0, {"icu": 0.08}),
    "icu": (10, 60.0, {"step-down": 0.85}),
    "step-down": (10, 48.0, {}),
}
PER_HOUR = 1.2
COUNTED = [KINDS.index(kind) for kind in ("arrives", "starts", "leaves")]


def hospital() -> HospitalModel:
    """The five units; what does not go on to a unit is discharged."""
    routes = []
    for name, (_, mean, onwards) in HOSPITAL.items():
        stay = StayLength.exponential(mean)
        nexts = [Next(to, share, stay) for to, share in onwards.items()]
        nexts.append(Next("discharged", 1 - sum(onwards.values()), stay))
        routes.append(Route("all", name, tuple(nexts)))
    return HospitalModel(
        units=tuple(Unit(name, Beds.always(beds)) for name, (beds, _, _) in HOSPITAL.items()),
        exits=(Exit("discharged"),),
        classes=(PatientClass("all", (("ed", 1.0),), arrivals=Incoming((PER_HOUR,))),),
        routes=tuple(routes),
    )


def ours(days: int) -> tuple[float, int, float]:
    """Seconds, events, mean patients in the hospital."""
    start = time.perf_counter()
    run = simulate(
        hospital(),
        start=START,
        days=days,
        seed=1,
        replications=1,
        log=True,
        hourly=False,
        threads=1,
    )
    seconds = time.perf_counter() - start
    events = int(np.isin(run.replicates[0].log["kind"], COUNTED).sum())
    return seconds, events, run.figure("occupied_beds").mean


def in_simpy(days: int) -> tuple[float, int, float]:
    start = time.perf_counter()
    rng = np.random.default_rng(1)
    world = simpy.Environment()
    beds = {name: simpy.Resource(world, capacity=n) for name, (n, _, _) in HOSPITAL.items()}
    names = list(HOSPITAL)
    targets = {name: [*onwards, None] for name, (_, _, onwards) in HOSPITAL.items()}
    shares = {
        name: np.cumsum([*onwards.values(), 1 - sum(onwards.values())])
        for name, (_, _, onwards) in HOSPITAL.items()
    }
    log = []
    spent = [0.0]

    def patient(case):
        unit, held = names[0], None
        log.append((world.now, case, "arrives", unit))
        begun = None
        while True:
            request = beds[unit].request()
            yield request
            if held is not None:
                beds[held[0]].release(held[1])
            held = (unit, request)
            begun = world.now if begun is None else begun
            log.append((world.now, case, "starts", unit))
            yield world.timeout(rng.exponential(HOSPITAL[unit][1]))
            after = targets[unit][int(np.searchsorted(shares[unit], rng.random(), "right"))]
            if after is None:
                beds[unit].release(request)
                log.append((world.now, case, "leaves", unit))
                spent[0] += world.now - begun
                return
            unit = after

    def arrivals():
        case = 0
        while True:
            yield world.timeout(rng.exponential(1 / PER_HOUR))
            world.process(patient(case))
            case += 1

    world.process(arrivals())
    world.run(until=days * 24)
    return time.perf_counter() - start, len(log), spent[0] / (days * 24)


def in_ciw(days: int) -> tuple[float, int, float]:
    start = time.perf_counter()
    names = list(HOSPITAL)
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(PER_HOUR), None, None, None, None],
        service_distributions=[ciw.dists.Exponential(1 / m) for _, m, _ in HOSPITAL.values()],
        number_of_servers=[n for n, _, _ in HOSPITAL.values()],
        queue_capacities=[float("inf"), 0, 0, 0, 0],
        routing=[[onwards.get(to, 0.0) for to in names] for _, _, onwards in HOSPITAL.values()],
    )
    ciw.seed(1)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(days * 24)
    records = simulation.get_all_records(only=["service"])
    seconds = time.perf_counter() - start
    leaves = sum(record.destination == -1 for record in records)
    comes = len({record.id_number for record in records})
    there = sum(record.exit_date - record.service_start_date for record in records)
    return seconds, comes + len(records) + leaves, there / (days * 24)


def large() -> HospitalModel:
    """15 units, 200 beds, three classes, arrivals by hour of the week, wards that divert."""
    week = tuple(
        0.48 + 0.35 * np.sin(2 * np.pi * (h % 24 - 9) / 24) + (0.1 if h < 120 else 0.0)
        for h in range(168)
    )
    sizes = {"ed": 20, "short-stay": 12, "icu-1": 10, "icu-2": 8, "step-down": 10, "stroke": 12}
    sizes |= {f"medical-{k}": 18 for k in range(1, 5)} | {f"surgical-{k}": 12 for k in range(1, 4)}
    sizes |= {"cardiology": 12, "theatre": 8}
    wards = [name for name in sizes if name not in ("ed", "theatre", "icu-1", "icu-2")]
    out = {"discharged": 0.93, "died": 0.03}
    stay, short = StayLength.lognormal(88, 0.9), StayLength.lognormal(5, 0.7)
    routes = []
    for group in ("emergency", "urgent", "elective"):
        own = ("surgical", "step-down")
        medical = {ward: sizes[ward] for ward in wards if not ward.startswith(own)}
        onwards = {ward: 0.42 * beds / sum(medical.values()) for ward, beds in medical.items()}
        onwards |= {"icu-1": 0.02, "theatre": 0.02}
        routes.append(((group, "ed"), onwards | {"discharged": 0.54}, short))
        routes += [((group, ward), {"icu-2": 0.04} | out, stay) for ward in wards]
        for name in ("icu-1", "icu-2"):
            to = {"step-down": 0.8} if name == "icu-1" else {"medical-1": 0.4, "medical-2": 0.4}
            routes.append(((group, name), to | {"died": 0.2}, StayLength.lognormal(70, 0.9)))
        theatre = {"surgical-1": 0.4, "surgical-2": 0.3, "surgical-3": 0.3}
        routes.append(((group, "theatre"), theatre, StayLength.lognormal(3, 0.5)))
    return HospitalModel(
        units=tuple(
            Unit(
                name,
                Beds.always(beds),
                when_full="divert" if name.startswith("medical") else "wait",
                divert=tuple(n for n in sizes if n.startswith("medical") and n != name)
                if name.startswith("medical")
                else (),
            )
            for name, beds in sizes.items()
        ),
        exits=(Exit("discharged"), Exit("died")),
        classes=(
            PatientClass("emergency", (("ed", 1.0),), Incoming(tuple(3 * r for r in week))),
            PatientClass("urgent", (("ed", 1.0),), Incoming(week, dispersion=0.05), priority=-1),
            PatientClass(
                "elective",
                (("theatre", 1.0),),
                Incoming(tuple(float(0.7 * (h < 120 and 7 <= h % 24 < 15)) for h in range(168))),
            ),
        ),
        routes=tuple(
            Route(*place, tuple(Next(to, share, length) for to, share in onwards.items()))
            for place, onwards, length in routes
        ),
    )


def a_year(replications: int = 40) -> dict:
    """Forty years; in a process of its own, for its memory."""
    model = large()
    assert len(model.units) == 15
    assert sum(unit.beds.week[0] for unit in model.units) == 200
    simulate(model, start=START, days=1, seed=1, replications=2)  # compiles once on a machine
    start = time.perf_counter()
    run = simulate(model, start=START, days=365, seed=1, replications=replications)
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    starts = sum(int(one.counts[:, 0].sum() + one.counts[:, 1].sum()) for one in run.replicates)
    return {
        "what": f"{replications} years of 200 beds in 15 units, two cores, hourly counts kept",
        "events": starts + sum(int(one.exits.sum()) for one in run.replicates),
        "seconds": seconds,
        "megabytes": int(peak) / 1024,
        "occupied_beds": run.figure("occupied_beds").mean,
    }


def run(days: int = 3650, rounds: int = 3) -> list[dict]:
    """Measure; one dictionary per figure (events a second, ratios, seconds, peak memory)."""
    ours(30)
    mine, theirs = [], {"SimPy": [], "Ciw": []}
    for _ in range(rounds):
        mine += [ours(days), ours(days)]
        theirs["SimPy"].append(in_simpy(days))
        theirs["Ciw"].append(in_ciw(days))
    seconds, events, there = min(mine)
    rows = [
        {
            "what": "five units, log on, one core",
            "events": events,
            "seconds": seconds,
            "events_per_second": events / seconds,
        }
    ]
    for name, rounds_of in theirs.items():
        other_seconds, other_events, other_there = min(rounds_of)
        # The same hospital: as many patients in it, up to chance.
        assert abs(other_there / there - 1) < 0.05, (name, other_there, there)
        rows.append(
            {
                "what": f"beside {name} {version(name.lower())}",
                "events": other_events,
                "seconds": other_seconds,
                "events_per_second": other_events / other_seconds,
                "ratio": (events / seconds) / (other_events / other_seconds),
            }
        )
    code = "import json; from benchmarks.simulation import a_year; print(json.dumps(a_year()))"
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return [*rows, json.loads(told.stdout.strip().splitlines()[-1])]


if __name__ == "__main__":
    for row in run():
        print("  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
                        for k, v in row.items()))  # fmt: skip
