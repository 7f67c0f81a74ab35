"""Our numbers against pm4py's, as written down by tests/oracles/pm4py_numbers.py."""

import json
from pathlib import Path

import pytest
from tests import pathway_logs as logs

from neva.pathways import discover_map, find_variants, throughput

NUMBERS = json.loads(
    (Path(__file__).parents[2] / "oracles" / "pm4py_numbers.json").read_text(encoding="utf-8")
)
LOGS = {
    "sepsis": logs.sepsis,
    "monitoring": logs.monitoring,
    "billing": logs.billing,
    "receipt": logs.receipt,
    "running_example": logs.running_example,
    "a12f0n10": lambda: logs.from_xes("a12f0n10.xes.gz"),
}


def test_every_log_of_the_oracle_is_compared():
    assert set(NUMBERS) - {"pm4py"} == set(LOGS)


@pytest.mark.parametrize("name", sorted(LOGS))
def test_counts_and_times_equal_those_of_pm4py(name):
    theirs, log = NUMBERS[name], LOGS[name]()
    found = discover_map(log)
    assert theirs["cases"] == log.case_count
    assert theirs["events"] == log.event_count
    assert theirs["activities"] == found.nodes.height
    assert theirs["variants"] == len(find_variants(log))
    ours = sorted(found.edges.select("source", "target", "frequency").rows())
    assert [tuple(row) for row in theirs["dfg"]] == ours
    for column in ("starts", "ends"):
        rows = found.nodes.select("activity", column).rows()
        assert theirs[column] == {activity: count for activity, count in rows if count}
    if "performance" not in theirs:
        return
    # pm4py reckons in floating-point seconds since 1970: precise to a microsecond.
    times = {(a, b): (median, mean) for a, b, median, mean in theirs["performance"]}
    for a, b, median, mean in found.edges.select("source", "target", "median", "mean").rows():
        assert times[a, b] == pytest.approx((median, mean), rel=1e-9, abs=2e-6)
    summary = throughput(log).summary
    for key, value in theirs["case_durations"].items():
        assert value == pytest.approx(summary[key], rel=1e-9, abs=2e-6)
