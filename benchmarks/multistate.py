"""How fast multi-state estimates are: half a million intervals in six states.

python -m benchmarks.multistate [intervals]
"""

import resource
import sys
import time

import numpy as np

from neva.statistics.multistate import aalen_johansen, cumulative_incidence
from neva.statistics.paths import draw_paths
from neva.statistics.transitions import Transitions

STATES = ("ed", "ward", "icu", "rehabilitation", "home", "died")
DAYS = np.arange(0, 61, dtype=float)


def make_transitions(intervals: int, *, seed: int = 20240401) -> Transitions:
    """Cases that move between four states and leave by two ways; almost no time twice."""
    rng = np.random.default_rng(seed)
    entry = rng.uniform(0, 50, intervals)
    origin = rng.integers(0, 4, intervals)
    target = (origin + rng.integers(1, len(STATES), intervals)) % len(STATES)
    target[rng.random(intervals) < 0.1] = -1
    leaving = entry + rng.exponential(5, intervals)
    return Transitions(entry, leaving, origin, target, STATES)


def best(work, rounds=5):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(intervals: int = 500_000) -> list[dict]:
    """Measure; one dictionary per figure (seconds, megabytes). Everything on one core."""
    made = make_transitions(intervals)
    initial = np.eye(len(STATES))[0]

    def fresh() -> Transitions:
        """The same intervals, at risk not yet counted."""
        return Transitions(made.entry, made.exit, made.origin, made.target, STATES)

    works = {
        "occupation, all times": lambda: aalen_johansen(fresh(), initial=initial, covariance=False),
        "occupation with covariance, by day": lambda: aalen_johansen(
            fresh(), initial=initial, times=DAYS
        ),
        "cumulative incidence": lambda: cumulative_incidence(fresh()),
        "draw 100,000 paths": lambda: draw_paths(
            made, initial=np.zeros(100_000, int), until=60, rng=np.random.default_rng(1)
        ),
    }
    # Compiles on the first run of a machine.
    aalen_johansen(make_transitions(1000), initial=initial, covariance=False)
    rows = [{"what": "peak of making them, MB", "intervals": intervals, "megabytes": peak()}]
    for name, work in works.items():
        work()
        rows.append({"what": name, "intervals": intervals, "seconds": best(work)})
        if len(rows) == 2:
            rows.append(
                {"what": f"peak of {name}, MB", "intervals": intervals, "megabytes": peak()}
            )
    return rows


if __name__ == "__main__":
    chosen = [int(argument) for argument in sys.argv[1:]]
    for row in run(*chosen):
        print("  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
                        for k, v in row.items()))  # fmt: skip
