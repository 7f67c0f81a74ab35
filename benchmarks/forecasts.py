"""How fast forecasts are: 1,000 in-patients, 20 units, 168 hours.

python -m benchmarks.forecasts
"""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from neva.events.schema import TIME
from neva.flow.forecast.forecast import fit_flow, forecast_flow
from neva.flow.stays.sojourns import Sojourns
from neva.statistics.distributions import sum_of_bernoullis

UNITS = [f"unit-{k:02}" for k in range(20)]
BEGIN = datetime(2021, 1, 4, tzinfo=UTC)


def hospital(days: int = 200, seed: int = 1) -> Sojourns:
    """About 1,000 patients at a time: two sojourns of five days on average for each."""
    rng = np.random.default_rng(seed)
    cases = 104 * days
    start = np.sort(rng.uniform(0, 24.0 * days, cases))
    rows = []
    at, unit, alive = start, rng.integers(0, 20, cases), np.ones(cases, dtype=bool)
    for _ in range(4):
        end = at + rng.gamma(1.5, 80.0, cases)
        goes_on = rng.random(cases) < 0.5
        following = (unit + rng.integers(1, 6, cases)) % 20
        known = alive & (at < 24 * days)
        ended = end < 24 * days
        to = np.where(goes_on, np.array(UNITS)[following], "discharged")
        rows.append(
            pl.DataFrame(
                {
                    "case": np.flatnonzero(known),
                    "state": np.array(UNITS)[unit][known],
                    "start": at[known],
                    "end": np.minimum(end, 24 * days)[known],
                    "next": pl.Series(to[known]).set(pl.Series(~ended[known]), None),
                }
            )
        )
        alive, at, unit = known & goes_on & ended, end, following

    def moment(column: str) -> pl.Expr:
        micros = (pl.col(column) * 3.6e9).cast(pl.Int64) + int(BEGIN.timestamp() * 1e6)
        return micros.cast(TIME)

    frame = (
        pl.concat(rows)
        .with_columns(
            pl.col("case").cast(pl.Int64),
            subject_id=pl.col("case").cast(pl.Int64),
            start=moment("start"),
            end=moment("end"),
            lost=pl.lit(value=False),
        )
        .with_columns(
            pl.lit("inpatient").alias("class"), entered=pl.col("start"),
            admitted=pl.col("start").min().over("case"),
        )
        .sort("case", "start")
    )  # fmt: skip
    return Sojourns(
        frame=frame, states=tuple(UNITS), exits=("discharged",),
        now=BEGIN + timedelta(days=days), zone="UTC", identity="benchmark",
        what="patients by unit", precision="instant",
    )  # fmt: skip


def best(work, rounds=5):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def peak() -> float:
    """Most memory of this process, MB; not of the one that started it."""
    from pathlib import Path

    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def one_by_one(chances):
    result = np.ones(1)
    for p in chances:
        result = np.convolve(result, [1 - p, p])
    return result


def measure() -> list[dict]:
    made = hospital()
    chances = np.random.default_rng(1).random(500)
    sum_of_bernoullis(chances)
    ours, slow = best(lambda: sum_of_bernoullis(chances), 20), best(lambda: one_by_one(chances))
    model = fit_flow(made)
    fitting = best(lambda: fit_flow(made), 3)

    def forecast():
        forecast_flow(model, made, steps=168, rng=np.random.default_rng(1))

    forecast()
    present = made.present().height
    return [
        {
            "what": "sum of 500 patients; baseline: one convolution a patient",
            "seconds": ours,
            "baseline_seconds": slow,
            "ratio": slow / ours,
        },
        {"what": f"fit lengths and arrivals, {made.frame.height:,} sojourns", "seconds": fitting},
        {
            "what": f"forecast, {present:,} patients, 20 units, 168 hours, 24 drawn models",
            "seconds": best(forecast, 3),
            "megabytes": peak(),
        },
    ]


def run() -> list[dict]:
    """Measure in a process of its own."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.forecasts"], check=True, capture_output=True, text=True
    )
    return json.loads(told.stdout)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
