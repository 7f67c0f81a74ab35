"""Kill writers of feedback and audit at random moments: nothing acknowledged is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.processes import started_process

AT = datetime(2026, 1, 1, tzinfo=UTC)
ROUNDS = 25
WRITERS = 2
SEED = 20260101


@pytest.fixture
def nursery():
    """A process of which every writer is a fork."""
    worker = str(Path(__file__).with_name("state_worker.py"))
    with started_process(
        [sys.executable, worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


def test_killed_writers_lose_no_acknowledged_feedback_and_leave_the_chain_whole(database, nursery):
    chance = random.Random(SEED)
    acknowledged: set[str] = set()
    interrupted = unanswered_before = 0
    noted = None
    processes: set[str] = set()

    def ask(*words: object) -> None:
        nursery.stdin.write("\t".join(map(str, words)) + "\n")
        nursery.stdin.flush()

    def listen(wanted: str) -> str:
        """Read until a line of this kind, keeping what was acknowledged."""
        while True:
            kind, word = nursery.stdout.readline().rstrip("\n").split("\t")
            assert kind != "failed", "a writer ended before it was killed"
            if kind == "kept":
                acknowledged.add(word)
            elif kind == "started":
                processes.add(word)
            if kind == wanted:
                return word

    state = database.open()
    for turn in range(ROUNDS):
        before = len(acknowledged)
        for number in range(WRITERS):
            ask("start", database.where_of_others, f"w{turn}-{number}")
        # They write; then they die somewhere in a write.
        while len(processes) < WRITERS:
            listen("started")
        while len(acknowledged) == before:
            listen("kept")
        time.sleep(chance.uniform(0.01, 0.1))
        for process in processes:
            os.kill(int(process), signal.SIGKILL)
        for process in processes:
            ask("bury", process)
            # Its last line is in the pipe before the line that says it is dead.
            listen("dead")
        processes.clear()
        database.settle()
        kept = state.feedback.between(AT, AT + timedelta(days=1))
        assert acknowledged <= set(kept["card"])
        assert kept["card_known"].all()
        cards = state.cards.between(AT, AT + timedelta(days=1))
        # A call's cards are there as a whole, or not at all; so is its row of the audit.
        assert set(cards.group_by("card").len()["len"]) == {3}
        assert state.audit.verify(noted) == []
        actions = [row.action for row in state.audit.rows()]
        assert actions.count("feedback") == kept.height
        assert actions.count("card-shown") == cards["card"].n_unique()
        unanswered = cards["card"].n_unique() - len(acknowledged)
        interrupted += unanswered > unanswered_before
        unanswered_before = unanswered
        noted = state.audit.head()
    # The test is worth something only if kills fell between a write and its answer.
    assert interrupted > ROUNDS / 4
