"""How fast the pages are with ten million events: first byte, a filter, two hundred viewers.

    python -m benchmarks.web [stays]

The server runs on one core, its worker on the other; results are computed before
anything is timed, and each page was asked for once (warm). First byte: from the
request until the head of the answer.
"""

import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx
import polars as pl

from neva.events.hospital import open_hospital
from neva.intake.importing import import_delivery
from neva.sources.rows import Delivery, Rows, conform

PORT = 8397
URL = f"http://127.0.0.1:{PORT}"
PAGES = (
    "/now", "/wallboard", "/work-list", "/pathways", "/pathways?tab=statistics",
    "/pathways?tab=cases", "/quality", "/quality/covid19",
    "/quality/covid19/steroid-when-on-oxygen",
    "/quality/covid19/steroid-when-on-oxygen/patients", "/flow", "/flow/scenarios", "/decisions",
    "/decisions/burden", "/decisions/rules/covid19.steroid-on-oxygen", "/pathways/compare",
    "/data", "/definitions", "/definitions/covid19.news2", "/paper",
    "/paper/bed-meeting", "/paper/ward-handover", "/jobs",
)  # fmt: skip
OFFICE = ("/data/upload", "/data/quarantine", "/accounts", "/audit")
FILTERS = [
    f"/pathways?activities={share}&metric={metric}&with={unit}"
    for share in (60, 100)
    for metric in ("median", "cases")
    for unit in ("ed", "icu-1", "surgical", "theatre", "covid-1")
]
AGAIN = 40


def make(place: Path, stays: int) -> int:
    from neva.events.hospital import create_hospital
    from neva.synthesis import Plan, synthesise
    from neva.web.demonstration import prepare

    now = datetime(2026, 1, 1, tzinfo=UTC)
    plan = Plan(stays=stays, seed=1, operations=True)
    hospital = create_hospital(place, zone=plan.zone, now=now)
    synthesise(hospital, plan, now=now)
    prepare(place, at=now, live=True)
    return hospital.snapshot().stored("events").select(pl.len()).collect().item()


def peak_of(process: int) -> float:
    """Highest resident memory of a process, MB."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) / 1024


def signed_in(name: str = "clinician") -> httpx.Client:
    client = httpx.Client(base_url=URL, headers={"accept": "text/html"}, timeout=120)
    answer = client.post("/sign-in", data={"name": name, "password": "neva-demonstration"})
    assert answer.status_code == 303, answer.status_code
    return client


def first_byte(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    with client.stream("GET", path) as answer:
        seconds = time.perf_counter() - began
        assert answer.status_code == 200, (path, answer.status_code)
        answer.read()
    return seconds


def p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def patients(client: httpx.Client) -> list[str]:
    """Open the records of some patients of the work list; their pages."""
    found = dict.fromkeys(re.findall(r'href="(/patient/\d+)"', client.get("/work-list").text))
    pages = list(found)[:AGAIN]
    for page in pages:
        token = re.search(r'name="csrf" value="([^"]+)"', client.get("/now").text)[1]
        form = {"csrf": token, "purpose": "treatment"}
        assert client.post(f"{page}/purpose", data=form).status_code == 303
    return pages


def wait_for_jobs(client: httpx.Client) -> None:
    while True:
        rows = client.get("/jobs.json").json()["tables"]["jobs"]
        if not any(row["state"] in ("waits", "runs") for row in rows):
            failed = [row for row in rows if row["state"] == "failed"]
            assert not failed, failed
            return
        time.sleep(2)


def viewers(count: int, rounds: int) -> tuple[list[float], int]:
    """Let many people look at the first page at once; seconds of each look, and errors."""
    seconds: list[float] = []
    errors = 0
    lock = threading.Lock()
    shared = [signed_in() for _ in range(4)]
    clients = [
        httpx.Client(base_url=URL, headers=one.headers, cookies=one.cookies, timeout=120)
        for one in (shared[number % 4] for number in range(count))
    ]

    def look(client: httpx.Client) -> None:
        nonlocal errors
        for _ in range(rounds):
            began = time.perf_counter()
            try:
                good = client.get("/now").status_code == 200
            except httpx.HTTPError:
                good = False
            with lock:
                seconds.append(time.perf_counter() - began)
                errors += not good

    threads = [threading.Thread(target=look, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, errors


def commit(place: Path, kind: str) -> None:
    """Write what a live feed would: a result, an entry, or an admission."""
    last = open_hospital(place).manifest().last
    name = f"{kind}-{time.time_ns()}"
    told = {"recorded": [last], "file": ["feed"], "row": [1], "subject": [name]}
    rows = {
        "result": {"events": {"time": [last], "code": ["LOINC//2823-3"], "value": [4.0]}},
        "entry": {"events": {"time": [last], "code": ["NEVA//medically-fit"]}},
        "admission": {
            table: {"stay": [name], "start": [last]} | more
            for table, more in (
                ("stays", {"kind": ["inpatient"]}),
                ("movements", {"unit": ["surgical"]}),
            )
        },
    }[kind]
    made = [Rows(table, conform(table, pl.DataFrame(told | one))) for table, one in rows.items()]
    file = place / name
    file.write_text(name)
    delivery = Delivery(
        name="feed", assigner="feed", kind="csv", files=(file,), rows=iter(made), order="position"
    )
    import_delivery(open_hospital(place), delivery, label=name, now=datetime.now(UTC))
    file.unlink()


def after_commits(client: httpx.Client, place: Path, events: int) -> list[dict]:
    """Time the first look at pages after a commit, and the next."""
    rows = []
    for kind in ("result", "entry", "admission"):
        seconds: dict[str, list[float]] = {}
        for _ in range(5):
            commit(place, kind)
            for page in ("/now", "/wallboard", "/work-list"):
                for look in ("first", "again"):
                    key = f"{page}, {look} after one {kind}"
                    seconds.setdefault(key, []).append(first_byte(client, page))
        rows += [
            {"what": key, "events": events, "p50": statistics.median(found), "p95": max(found)}
            for key, found in seconds.items()
        ]
    return rows


def told(count: int, place: Path) -> list[float]:
    """Have many open pages told of an admission; seconds until each has its new page."""
    began = 0.0
    seconds: list[float] = []
    ready, lock = threading.Barrier(count + 1), threading.Lock()
    sessions = [signed_in("viewer").cookies for _ in range(-(-count // 10))]

    def follow(number: int) -> None:
        headers = {"accept": "text/event-stream"}
        with httpx.Client(base_url=URL, cookies=sessions[number // 10], timeout=120) as client:
            seen = client.get("/now/changes").json()["seen"]
            with client.stream("GET", f"/now/changes?since={seen}", headers=headers) as answer:
                lines = answer.iter_lines()
                next(lines)
                ready.wait()
                spread = next(json.loads(one[6:]) for one in lines if one.startswith("data"))
            time.sleep(random.random() * spread["spread"])
            client.get("/now?refresh=1")
            with lock:
                seconds.append(time.perf_counter() - began)

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    ready.wait()
    commit(place, "admission")
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return seconds


def run(stays: int = 54_000) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "hospital"
        events = make(place, stays)
        command = ["taskset", "-c", "0", sys.executable, "-m", "neva.cli", "serve", str(place),
                   "--clock", "data", "--port", str(PORT), "--workers", "0"]  # fmt: skip
        environment = os.environ | {"POLARS_MAX_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        server = subprocess.Popen(command, env=environment)
        worker = subprocess.Popen(
            ["taskset", "-c", "1", sys.executable, "-c",
             ("import sys; from pathlib import Path; from neva.state.settings import WebSettings; "
              "from neva.jobs.worker import work_forever; "
              "work_forever(WebSettings(Path(sys.argv[1]), clock='data'))"), str(place)]
        )  # fmt: skip
        try:
            for _ in range(200):
                try:
                    httpx.get(f"{URL}/health")
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            client, office = signed_in(), signed_in("administrator")
            began = time.perf_counter()
            for page in PAGES:
                client.get(page)
            wait_for_jobs(office)
            computed = time.perf_counter() - began
            rows = []
            pages = [(client, page) for page in PAGES] + [(office, page) for page in OFFICE]
            for who, page in pages:
                first_byte(who, page)
                found = [first_byte(who, page) for _ in range(AGAIN)]
                rows.append({"what": page, "events": events, "p50": statistics.median(found),
                             "p95": p95(found)})  # fmt: skip
            opened = patients(client)
            for title in ("looked at first", "again"):
                found = [first_byte(client, page) for page in opened]
                rows.append({"what": f"/patient of {len(opened)}, {title}", "events": events,
                             "p50": statistics.median(found), "p95": p95(found)})  # fmt: skip
            found = [first_byte(client, path) for path in FILTERS]
            rows.append(
                {
                    "what": "a filter of the map, each asked for the first time",
                    "events": events,
                    "p50": statistics.median(found),
                    "p95": p95(found),
                }
            )
            seconds, errors = viewers(200, 4)
            rows.append(
                {
                    "what": f"200 viewers of /now at once, {errors} errors of {len(seconds)}",
                    "events": events,
                    "p50": statistics.median(seconds),
                    "p95": p95(seconds),
                }
            )
            rows += after_commits(client, place, events)
            seconds = told(200, place)
            rows.append(
                {
                    "what": "200 open pages of /now have updated themselves after an admission",
                    "events": events,
                    "p50": statistics.median(seconds),
                    "p95": p95(seconds),
                }
            )
            rows.append({"what": "peak memory of the server, MB", "megabytes": peak_of(server.pid)})
            rows.append({"what": "peak memory of the worker, MB", "megabytes": peak_of(worker.pid)})
            rows.append({"what": "all results computed by the worker", "p50": computed})
            return rows
        finally:
            for process in (server, worker):
                process.terminate()
                process.wait(timeout=20)


if __name__ == "__main__":
    for row in run(int(sys.argv[1]) if len(sys.argv) > 1 else 54_000):
        print(json.dumps(row))
