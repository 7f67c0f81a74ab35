"""How fast models are: 100,000 points of 100 features.

    python -m benchmarks.models [points]

Every job runs in a process of its own, on one thread; its seconds are those of the job
after imports, its peak memory the process's. Ten points a patient, a tenth of the
values missing. Resampling (inner and outer folds) repeats the fit so many times.
"""

import json
import os
import subprocess
import sys

COMMON = """
import json, resource, sys, time
import numpy as np
from neva.models.members import fitted_member
from neva.models.splits import grouped_folds
from neva.statistics import prediction_figures as figures

points = int(sys.argv[1])
rng = np.random.default_rng(1)
X = rng.normal(size=(points, 100)) * np.exp(rng.normal(size=100))
patient = np.repeat(np.arange(points // 10), 10)[:points]
risk = X[:, :8] @ rng.normal(size=8) / 3 - 2
y = (rng.random(points) < 1 / (1 + np.exp(-risk))).astype(float)
X[rng.random(X.shape) < 0.1] = np.nan
held_out = grouped_folds(patient, y, 5, seed=1) == 0


def told(began, work):
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "megabytes": peak, "work": work}))


def auroc(member):
    told_odds = member.log_odds(X[held_out])
    one = np.ones((1, int(held_out.sum())))
    return float(figures.area_under_roc(y[held_out], told_odds, one)[0])
"""

LOGISTIC = """
fitted_member("logistic-regression", {}, X[:500], y[:500], seed=1)
began = time.perf_counter()
member = fitted_member("logistic-regression", {}, X[~held_out], y[~held_out], seed=1)
told(began, auroc(member))
"""

TREES = """
fitted_member("boosted-trees", {"trees": 2}, X[:500], y[:500], seed=1)
began = time.perf_counter()
settings = {"trees": 200, "leaves": 31, "rows_a_leaf": 50}
member = fitted_member("boosted-trees", settings, X[~held_out], y[~held_out], seed=1)
told(began, auroc(member))
"""

EXPLAINED = """
settings = {"trees": 200, "leaves": 31, "rows_a_leaf": 50}
member = fitted_member("boosted-trees", settings, X[:20000], y[:20000], seed=1)
began = time.perf_counter()
told(began, float(np.abs(member.contributions(X[:1000]).sum(1)).max()))
"""

REDRAWN = """
p = 1 / (1 + np.exp(-risk))
began = time.perf_counter()
found = [
    (figures.area_under_roc(y, p, w), figures.brier(y, p, w))
    for w in figures.patient_weights(patient, 200, rng=rng)
]
told(began, len(found))
"""


def job(work: str, points: int) -> dict:
    said = subprocess.run(
        [sys.executable, "-c", COMMON + work, str(points)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    if said.returncode:
        sys.stderr.write(said.stderr)
        raise SystemExit(1)
    return json.loads(said.stdout.splitlines()[-1])


def run(points: int = 100_000) -> list[dict]:
    """Seconds and peak megabytes of each job; a fit is to take at most 60 s."""
    rows = []
    for what, work in (
        ("logistic regression, 100 features, one fit", LOGISTIC),
        ("boosted trees, 200 of 31 leaves, 100 features, one fit", TREES),
        ("exact explanations of 1,000 points", EXPLAINED),
        ("AUROC and Brier score redrawn 200 times by patient", REDRAWN),
    ):
        found = job(work, points)
        rows.append({"what": what, "points": points, **found})
    return rows


if __name__ == "__main__":
    for line in run(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000):
        print(line)
