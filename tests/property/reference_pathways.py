"""Pathways in plain Python: dictionaries and loops, slow and obvious.

The oracle of tests/property/test_pathways.py. A log here is a dictionary from
case to a list of (activity, time or None) in order.
"""

from collections import Counter, defaultdict
from datetime import timedelta
from itertools import pairwise

import numpy as np


def order_cases(rows):
    """`rows` are (case, activity, time or None, sequence)."""
    cases = defaultdict(list)
    for case, activity, time, sequence in rows:
        cases[case].append((time is not None, time, sequence, activity))
    ordered = {}
    for case in sorted(cases):
        events = sorted(cases[case], key=lambda e: (e[0], e[1] or 0, e[2], e[3]))
        ordered[case] = [(activity, time) for _, time, _, activity in events]
    return ordered


def ties(rows):
    groups = defaultdict(list)
    for case, activity, time, sequence in rows:
        groups[case, time, sequence].append(activity)
    return sum(len(group) for group in groups.values() if len(set(group)) > 1)


def seconds(delta):
    return delta / timedelta(seconds=1)


def quantile(values, q):
    """Linear interpolation between the two neighbours."""
    values = sorted(values)
    at = q * (len(values) - 1)
    low = int(at)
    if low + 1 == len(values):
        return values[-1]
    return values[low] + (values[low + 1] - values[low]) * (at - low)


def activity_map(cases):
    frequency, in_cases, starts, ends = Counter(), Counter(), Counter(), Counter()
    edges, edge_cases, durations = Counter(), Counter(), defaultdict(list)
    for events in cases.values():
        names = [name for name, _ in events]
        starts[names[0]] += 1
        ends[names[-1]] += 1
        frequency.update(names)
        in_cases.update(set(names))
        pairs = set()
        for i in range(len(events) - 1):
            (a, s), (b, t) = events[i], events[i + 1]
            edges[a, b] += 1
            pairs.add((a, b))
            if s is not None and t is not None:
                durations[a, b].append(t - s)
        edge_cases.update(pairs)
    return {
        "nodes": {a: (frequency[a], in_cases[a], starts[a], ends[a]) for a in frequency},
        "edges": {e: (edges[e], edge_cases[e], len(durations[e])) for e in edges},
        "durations": durations,
    }


def variants(cases):
    return Counter(tuple(name for name, _ in events) for events in cases.values())


def throughput(cases):
    result = {}
    for case, events in cases.items():
        times = [time for _, time in events if time is not None]
        result[case] = seconds(times[-1] - times[0]) if times else None
    return result


def time_between(cases, a, b, start_at, end_at):
    result = {}
    for case, events in cases.items():
        starts = [i for i, (name, _) in enumerate(events) if name == a]
        result[case] = None
        if not starts:
            continue
        start = starts[0] if start_at == "first" else starts[-1]
        ends = [i for i, (name, _) in enumerate(events) if name == b]
        if end_at == "first after":
            ends = [i for i in ends if i > start]
        if not ends:
            continue
        end = ends[-1] if end_at == "last" else ends[0]
        s, t = events[start][1], events[end][1]
        if s is not None and t is not None:
            result[case] = seconds(t - s)
    return result


def rework(cases):
    result = defaultdict(lambda: dict.fromkeys(
        ("events", "cases", "repeats", "repeating_cases", "self_loops", "self_loop_cases",
         "returns", "return_cases", "most"), 0))  # fmt: skip
    for events in cases.values():
        names = [name for name, _ in events]
        for a in set(names):
            at = [i for i, name in enumerate(names) if name == a]
            loops = sum(j - i == 1 for i, j in pairwise(at))
            returns = sum(j - i > 1 for i, j in pairwise(at))
            row = result[a]
            row["events"] += len(at)
            row["cases"] += 1
            row["repeats"] += len(at) - 1
            row["repeating_cases"] += len(at) > 1
            row["self_loops"] += loops
            row["self_loop_cases"] += loops > 0
            row["returns"] += returns
            row["return_cases"] += returns > 0
            row["most"] = max(row["most"], len(at))
    return dict(result)


def loops(cases):
    direct, in_cases = Counter(), Counter()
    for events in cases.values():
        names = [name for name, _ in events]
        pairs = set()
        for i in range(len(names)):
            for k in range(i + 2, len(names)):
                if names[i] == names[k]:
                    pairs |= {(names[i], b) for b in names[i + 1 : k] if b != names[i]}
            if i + 2 < len(names) and names[i] == names[i + 2] != names[i + 1]:
                direct[names[i], names[i + 1]] += 1
        in_cases.update(pairs)
    return {pair: (direct[pair], in_cases[pair]) for pair in in_cases}


def exact_median_seconds(deltas):
    return float(np.median([d // timedelta(microseconds=1) for d in deltas])) / 1e6
