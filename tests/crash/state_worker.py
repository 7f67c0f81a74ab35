"""Starts writers of feedback that are killed, and says what was acknowledged.

Everything slow is loaded once; each writer is a fork. Reads lines: ``start``,
the place of the state and a name; or ``bury`` and the number of a process that
was killed. A writer prints a line for each post that came back: what is
printed is acknowledged, and may not be lost.
"""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from neva.state import CardEntry, open_state

AT = datetime(2026, 1, 1, tzinfo=UTC)


def tell(*words: object) -> None:
    """One write a line: lines of several writers do not mix in a pipe."""
    os.write(1, ("\t".join(map(str, words)) + "\n").encode())


def work(where: str, name: str) -> None:
    state = open_state(where if "://" in where else Path(where))
    for number in range(1_000_000):
        card = f"{name}-{number}"
        entry = CardEntry(
            card=card, rule="r", version="1", hash="h", subject="p", now=AT, state="live",
            indicator="info", shown=True, inputs_hash="i", service="svc",
        )  # fmt: skip
        state.cards.record([entry] * 3)
        post = {
            "card": card,
            "outcome": "overridden",
            "outcomeTimestamp": "2026-01-01T00:00:00Z",
        }
        state.feedback.record("svc", [post], at=AT)
        tell("kept", card)


def main() -> None:
    for line in sys.stdin:
        verb, *words = line.rstrip("\n").split("\t")
        if verb == "start":
            process = os.fork()
            if process == 0:
                tell("started", os.getpid())
                try:
                    work(*words)
                finally:  # only an error ends it by itself
                    tell("failed", os.getpid())
            continue
        os.waitpid(int(words[0]), 0)
        tell("dead", words[0])


if __name__ == "__main__":
    main()
