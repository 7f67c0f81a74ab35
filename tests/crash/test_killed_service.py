"""Kill the served application while it is called: nothing acknowledged is lost."""

import concurrent.futures
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from tests.bedside_patients import NOW, PATIENT, SERVICE, call

from neva.decisions.cards import hash_of
from neva.definitions.programme import load_programme

WORKER = Path(__file__).with_name("service_worker.py")
ROUNDS = {"sqlite": 3, "postgresql": 2}
SEED = 20260105
FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@contextlib.contextmanager
def _running(hospital: Path, where: object):
    """The service as a process, and its address; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, str(WORKER), str(hospital), str(where)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        port = process.stdout.readline().strip()
        assert port, "the service did not start"
        yield f"http://127.0.0.1:{port}/cds-services/{SERVICE}"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def _feedback(card: str) -> dict[str, object]:
    now = datetime.now(UTC).isoformat()
    entry = {"card": card, "outcome": "overridden", "outcomeTimestamp": now}
    return {"feedback": [entry]}


def _now_call(patient: str) -> dict[str, object]:
    """A call whose observations are of the last hour, whatever the clock says."""
    shift = datetime.now(UTC) - NOW
    text = json.dumps(call()).replace(PATIENT, patient)
    for hours in (-48, -47, -5, -3, -1):
        at = NOW + timedelta(hours=hours)
        text = text.replace(at.isoformat(), (at + shift).isoformat())
    return json.loads(text)


def _caller(url: str, name: str, acknowledged: threading.Event) -> tuple[list[str], list[str]]:
    """Call and give feedback until the service is gone; what was acknowledged."""
    kept, shown = [], []
    with httpx.Client(timeout=10) as client, contextlib.suppress(httpx.HTTPError):
        for number in range(100_000):
            answer = client.post(url, json=_now_call(f"{name}-{number}"))
            assert answer.status_code == 200
            cards = [one["uuid"] for one in answer.json()["cards"]]
            shown += cards
            for card in cards:
                answer = client.post(f"{url}/feedback", json=_feedback(card))
                if answer.status_code == 200:
                    kept.append(card)
                    acknowledged.set()
    return kept, shown


def test_a_killed_service_loses_no_acknowledged_feedback_and_starts_again(hospital, database):
    chance = random.Random(SEED)
    state = database.open()
    for name in ("acute-care", "covid19", "sepsis"):
        for rule in load_programme(name).rules:
            for to in ("draft", "silent", "live"):
                state.rules.change(
                    rule.id, rule.version, hash_of(rule), to, actor="t", reason="t", at=FIRST
                )
    kept: set[str] = set()
    shown: set[str] = set()
    noted, rounds = None, ROUNDS[database.kind]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for turn in range(rounds):
            with _running(hospital.path, database.where) as url:
                acknowledged = threading.Event()
                callers = [
                    pool.submit(_caller, url, f"r{turn}-{one}", acknowledged) for one in range(2)
                ]
                assert acknowledged.wait(120), "no feedback was acknowledged"
                time.sleep(chance.uniform(0.0, 0.5))
            for one in callers:
                feedback, cards = one.result()
                kept |= set(feedback)
                shown |= set(cards)
            assert kept <= set(state.feedback.between(FIRST, LAST)["card"])
            log = state.cards.between(FIRST, LAST)
            assert shown <= set(log.filter("shown")["card"])
            assert state.audit.verify(noted) == []
            noted = state.audit.head()
    assert len(kept) >= rounds
    assert shown
