"""Cox's partial likelihood in plain loops over events: slow and obvious."""

import math


def _sets(rows):
    """Times of events with those at risk and those with an event, in every stratum."""
    for stratum in sorted({row["stratum"] for row in rows}):
        inside = [row for row in rows if row["stratum"] == stratum]
        for time in sorted({row["exit"] for row in inside if row["event"]}):
            at_risk = [row for row in inside if row["entry"] < time <= row["exit"]]
            events = [row for row in at_risk if row["event"] and row["exit"] == time]
            yield stratum, time, at_risk, events


def _risk(row, beta):
    return row["weight"] * math.exp(sum(b * x for b, x in zip(beta, row["x"], strict=True)))


def _denominators(at_risk, events, beta, ties):
    whole = sum(_risk(row, beta) for row in at_risk)
    tied = sum(_risk(row, beta) for row in events)
    for k in range(len(events)):
        yield whole - (k / len(events) * tied if ties == "efron" else 0.0)


def log_likelihood(rows, beta, ties):
    total = 0.0
    for _, _, at_risk, events in _sets(rows):
        mean_weight = sum(row["weight"] for row in events) / len(events)
        for row in events:
            total += row["weight"] * sum(b * x for b, x in zip(beta, row["x"], strict=True))
        for size in _denominators(at_risk, events, beta, ties):
            total -= mean_weight * math.log(size)
    return total


def cumulative_hazard(rows, beta, ties, x, stratum, until):
    """Directly at covariates x: no reference, no centring."""
    relative = math.exp(sum(b * value for b, value in zip(beta, x, strict=True)))
    total = 0.0
    for label, time, at_risk, events in _sets(rows):
        if label == stratum and time <= until:
            mean_weight = sum(row["weight"] for row in events) / len(events)
            for size in _denominators(at_risk, events, beta, ties):
                total += mean_weight / size
    return total * relative
