"""How fast decisions are: a replay, the work list, calls of CDS Hooks.

    python -m benchmarks.decisions [stays]

The replay asks the ten shipped rules every hour of every stay of a synthetic
hospital, on one core; the baseline beside it is the reference engine on some
hundreds of the same points, in the same run. Calls go to the application itself
in a process of its own on one core, twenty a second whether or not the ones
before are answered (an open loop), from another process; a call's time begins
when it was due. Twenty rules are live: the eight shipped ones of the hook and
copies with other look-backs, which share little with them.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import definitions

COMMON = """
import json, os, resource, sys, time
import numpy as np
import polars as pl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from neva.decisions.replay import replay
from neva.decisions.work_list import work_list
from neva.definitions.programme import load_programme
from neva.definitions.run import answer, points_of
from neva.definitions.points import EveryHours
from neva.events.hospital import create_hospital, open_hospital
from neva.programmes.acute_care.outcomes import observation_plan

place, size = Path(sys.argv[1]), int(sys.argv[2])
programmes = [load_programme(name) for name in ("acute-care", "covid19", "sepsis")]
rules = [rule for programme in programmes for rule in programme.rules]


def told(seconds, work, **more):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "megabytes": peak, "work": work, **more}))
"""

REPLAY = """
snapshot = open_hospital(place).snapshot()
outcome = load_programme("acute-care").document("acute-care.deterioration")
began = time.perf_counter()
found = replay(snapshot, rules, outcome=outcome)
seconds = time.perf_counter() - began
asked = points_of(snapshot, EveryHours(hours=1)).height
told(seconds, found.alerts.height, points=asked, per_second=asked / seconds)
"""

REFERENCE = """
from neva.definitions.binding import hierarchy_of
from neva.definitions.local_time import microseconds
from neva.definitions.reference.engine import Place, Point, evaluate
from neva.definitions.reference.timeline import timelines
snapshot = open_hospital(place).snapshot()
few = points_of(snapshot, EveryHours(hours=1)).sample(size, seed=1)
outputs = {
    f"{place}|{name}": node
    for place, rule in enumerate(rules)
    for name, node in rule.decides.items()
}
people = timelines(snapshot, few["subject_id"].to_list())
here = Place(snapshot.zone, *hierarchy_of(snapshot))
began = time.perf_counter()
for _, subject, stay_id, now_, known in few.iter_rows():
    point = Point(microseconds(now_), microseconds(known), stay_id)
    evaluate(outputs, people[subject], point, here)
seconds = time.perf_counter() - began
told(seconds, few.height, per_second=few.height / seconds)
"""

WORK_LIST = """
snapshot = open_hospital(place).snapshot(as_of=open_hospital(place).snapshot().now)
plan = observation_plan()
work_list(snapshot, rules, at=snapshot.now, observations=plan)
began = time.perf_counter()
found = work_list(snapshot, rules, at=snapshot.now, observations=plan)
told(time.perf_counter() - began, len(found.tasks), patients=found.patients)
"""

#: Serves the hospital on one core; writes what is asked of a patient, then listens.
SERVER = """
import uvicorn
from neva.decisions.cards import hash_of
from neva.web.application import create_application
from neva.state.settings import WebSettings

os.sched_setaffinity(0, {int(sys.argv[4])})
port, began = int(sys.argv[3]), time.time()
cut = open_hospital(place).snapshot().now
settings = WebSettings(
    hospital=place,
    state=place.parent / "state.sqlite",
    port=port,
    now=lambda: cut + timedelta(seconds=time.time() - began),
)
application = create_application(settings)
bedside = application.state.bedside
chosen = [rule for rule in bedside.rules.values() if "patient-view" in rule.hooks]
for hours in (12.0, 8.0, 6.0):
    for name in ("acute-care", "covid19"):
        chosen += [
            rule.model_copy(update={"id": f"{rule.id}-{hours:.0f}h"})
            for rule in load_programme(name, look_back=hours).rules
            if "patient-view" in rule.hooks
        ]
chosen = chosen[:size]
bedside.rules = {rule.id: rule for rule in chosen}
for rule in chosen:
    for to in ("draft", "silent", "live"):
        bedside.state.rules.change(
            rule.id, rule.version, hash_of(rule), to, actor="bench", reason="bench", at=cut
        )
uvicorn.run(application, host="127.0.0.1", port=port, log_level="warning", access_log=False)
"""

#: Builds the calls, then sends them when they are due.
CLIENT = """
import threading
from concurrent.futures import ThreadPoolExecutor
import httpx
from neva.cds.prefetch import needs_of
from tests.charts import Charts

cores = {int(one) for one in sys.argv[4].split(",")}
os.sched_setaffinity(0, cores)
url, resources, rate, calls = f"http://127.0.0.1:{sys.argv[3]}", 200, 20, 1200
snapshot = open_hospital(place).snapshot()
needs = needs_of(rules, "patient-view")
there = snapshot.stays().filter(pl.col("end").is_null()).select("subject_id", "stay_id").collect()
charts = Charts(snapshot, there["subject_id"].to_list())
bodies = []
for subject, stay in there.sort("stay_id").iter_rows():
    prefetch = charts.prefetch(subject, snapshot.now, needs)
    bundles = [value["entry"] for value in prefetch.values() if value and "entry" in value]
    over = 1 + sum(map(len, bundles)) - resources
    largest = max(bundles, key=len)
    if not 0 <= over < len(largest):
        continue
    del largest[:over]
    context = {"userId": "u", "patientId": str(subject), "encounterId": str(stay)}
    body = {
        "hook": "patient-view", "hookInstance": "1", "context": context, "prefetch": prefetch,
    }
    bodies.append(json.dumps(body).encode())
assert len(bodies) >= size, len(bodies)
limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
with httpx.Client(base_url=url, timeout=30, limits=limits) as client:
    for _ in range(300):
        try:
            client.get("/health")
            break
        except httpx.TransportError:
            time.sleep(0.1)
    cards = 0

    def call(number):
        global cards
        content = bodies[number % len(bodies)]
        answered = client.post(
            "/cds-services/neva-patient-view",
            content=content,
            headers={"content-type": "application/json"},
        )
        assert answered.status_code == 200, answered.text
        cards += len(answered.json()["cards"])

    for number in range(2 * len(bodies)):
        call(number)
    spent = np.empty(calls)
    began = time.perf_counter() + 0.1

    def timed(number):
        call(number)
        spent[number] = time.perf_counter() - began - number / rate

    with ThreadPoolExecutor(32) as pool:
        for number in range(calls):
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            pool.submit(timed, number)
    live = len(client.get("/health").json()["live"])
middle, high, highest = np.quantile(spent, [0.5, 0.95, 0.99])
told(calls / rate, calls, p50=middle, p95=high, p99=highest, longest=spent.max(), live=live,
     patients=len(bodies), bytes=int(np.mean([len(one) for one in bodies])), cards=cards)
"""


def job(work: str, *arguments: object, one_thread: bool = True) -> dict:
    return definitions.job(
        work,
        *arguments,
        common=COMMON,
        more={"POLARS_MAX_THREADS": "1", "NUMBA_NUM_THREADS": "1"} if one_thread else {},
    )


def calls(folder: Path, *, port: int = 8377) -> dict:
    """Latency of a CDS call with 200 resources and twenty rules, twenty a second."""
    place = folder / "small"
    if not place.exists():
        definitions.job(definitions.SYNTHESISE, place, 3000)
    cores = sorted(os.sched_getaffinity(0))
    server = subprocess.Popen(
        [sys.executable, "-c", COMMON + SERVER, str(place), "20", str(port), str(cores[0])],
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
    )
    try:
        others = ",".join(map(str, cores[1:] or cores))
        return job(CLIENT, place, 5, port, others)
    finally:
        server.terminate()
        server.wait()


def of_hospital(place: Path, stays: int) -> list[dict]:
    """Replay and work list of a hospital that is there."""
    played = job(REPLAY, place, stays)
    few = job(REFERENCE, place, 400)
    listed = job(WORK_LIST, place, stays)
    return [
        {
            "what": f"replay of {stays:,} stays every hour, ten rules, {played['points']:,} points",
            "seconds": played["seconds"],
            "megabytes": played["megabytes"],
            "per_second": played["per_second"],
            "baseline_per_second": few["per_second"],
            "ratio": played["per_second"] / few["per_second"],
        },
        {
            "what": f"work list of {listed['patients']} open stays, ten rules",
            "seconds": listed["seconds"],
            "megabytes": listed["megabytes"],
        },
    ]


def run(stays: int = 100_000) -> list[dict]:
    """Seconds of each job; a replay of 100,000 stays is to take at most three minutes."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "hospital"
        definitions.job(definitions.SYNTHESISE, place, stays)
        rows = of_hospital(place, stays)
        asked = calls(Path(folder))
    what = f"CDS call, 200 resources, {asked['live']} rules, 20 a second on one core"
    for name, share in (
        ("p50", "median"),
        ("p95", "95 of 100 within"),
        ("p99", "99 of 100 within"),
    ):
        rows.append({"what": f"{what}: {share}", "seconds": asked[name]})
    return rows


if __name__ == "__main__":
    for line in run(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(line)
