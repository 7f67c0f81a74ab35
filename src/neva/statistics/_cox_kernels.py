"""Sums over risk sets of Cox's partial likelihood, compiled by numba and cached on disk.

Every stratum is walked backwards in time: rows come into the risk set at their
exit and go out of it at their entry. Of `d` tied events the k-th (from 0) sees
the others of them with weight ``1 - k / d`` (Efron), or whole (Breslow).
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba as nb
import numpy as np


@nb.njit(cache=True, nogil=True)
def likelihood(z, linear, weight, entry, leaving, event, bounds, by_exit, by_entry, efron):
    """Log-likelihood, gradient (p,) and information (p, p) at linear predictors (n,)."""
    p = z.shape[1]
    value = 0.0
    gradient = np.zeros(p)
    information = np.zeros((p, p))
    one = np.zeros(p)
    two = np.zeros((p, p))
    event_one = np.zeros(p)
    event_two = np.zeros((p, p))
    for stratum in range(len(bounds) - 1):
        first = bounds[stratum]
        last = bounds[stratum + 1]
        present = 0
        zero = 0.0
        one[:] = 0.0
        two[:] = 0.0
        out = first
        begin = first
        while begin < last:
            time = leaving[by_exit[begin]]
            events = 0
            event_zero = 0.0
            event_weight = 0.0
            event_one[:] = 0.0
            event_two[:] = 0.0
            end = begin
            while end < last and leaving[by_exit[end]] == time:
                row = by_exit[end]
                present += 1
                risk = weight[row] * np.exp(linear[row])
                zero += risk
                for i in range(p):
                    part = risk * z[row, i]
                    one[i] += part
                    for j in range(i + 1):
                        two[i, j] += part * z[row, j]
                if event[row]:
                    events += 1
                    event_zero += risk
                    event_weight += weight[row]
                    value += weight[row] * linear[row]
                    for i in range(p):
                        gradient[i] += weight[row] * z[row, i]
                        part = risk * z[row, i]
                        event_one[i] += part
                        for j in range(i + 1):
                            event_two[i, j] += part * z[row, j]
                end += 1
            begin = end
            if not events:
                continue
            while out < last and entry[by_entry[out]] >= time:
                row = by_entry[out]
                present -= 1
                risk = weight[row] * np.exp(linear[row])
                zero -= risk
                for i in range(p):
                    part = risk * z[row, i]
                    one[i] -= part
                    for j in range(i + 1):
                        two[i, j] -= part * z[row, j]
                out += 1
            mean_weight = event_weight / events
            for k in range(events):
                share = k / events if efron else 0.0
                sum_zero = zero - share * event_zero
                value -= mean_weight * np.log(sum_zero)
                for i in range(p):
                    mean_i = (one[i] - share * event_one[i]) / sum_zero
                    gradient[i] -= mean_weight * mean_i
                    for j in range(i + 1):
                        mean_j = (one[j] - share * event_one[j]) / sum_zero
                        square = (two[i, j] - share * event_two[i, j]) / sum_zero
                        information[i, j] += mean_weight * (square - mean_i * mean_j)
    for i in range(p):
        for j in range(i):
            information[j, i] = information[i, j]
    return value, gradient, information


@nb.njit(cache=True, nogil=True)
def baseline(z, linear, weight, entry, leaving, event, bounds, by_exit, by_entry, efron):
    """Increments of the baseline by time of events, backwards within each stratum.

    Returns stratum, time, hazard, variance (k,) and mean covariates times
    hazard (k, p); then, for a row with an event at the time, the hazard that it
    is under itself (k,), the same times means (k, p), and the mean covariates
    that it is compared with (k, p).
    """
    p = z.shape[1]
    rows = 0
    for row in range(len(event)):
        rows += event[row]
    stratum_of = np.empty(rows, np.int64)
    times = np.empty(rows)
    hazard = np.zeros(rows)
    variance = np.zeros(rows)
    means = np.zeros((rows, p))
    own_hazard = np.zeros(rows)
    own_means = np.zeros((rows, p))
    compared = np.zeros((rows, p))
    one = np.zeros(p)
    event_one = np.zeros(p)
    count = 0
    for stratum in range(len(bounds) - 1):
        first = bounds[stratum]
        last = bounds[stratum + 1]
        zero = 0.0
        one[:] = 0.0
        out = first
        begin = first
        while begin < last:
            time = leaving[by_exit[begin]]
            events = 0
            event_zero = 0.0
            event_weight = 0.0
            event_one[:] = 0.0
            while begin < last and leaving[by_exit[begin]] == time:
                row = by_exit[begin]
                risk = weight[row] * np.exp(linear[row])
                zero += risk
                for i in range(p):
                    one[i] += risk * z[row, i]
                if event[row]:
                    events += 1
                    event_zero += risk
                    event_weight += weight[row]
                    for i in range(p):
                        event_one[i] += risk * z[row, i]
                begin += 1
            if not events:
                continue
            while out < last and entry[by_entry[out]] >= time:
                row = by_entry[out]
                risk = weight[row] * np.exp(linear[row])
                zero -= risk
                for i in range(p):
                    one[i] -= risk * z[row, i]
                out += 1
            stratum_of[count] = stratum
            times[count] = time
            mean_weight = event_weight / events
            for k in range(events):
                share = k / events if efron else 0.0
                sum_zero = zero - share * event_zero
                step = mean_weight / sum_zero
                hazard[count] += step
                variance[count] += step / sum_zero
                own_hazard[count] += (1.0 - share) * step
                for i in range(p):
                    mean = (one[i] - share * event_one[i]) / sum_zero
                    means[count, i] += step * mean
                    own_means[count, i] += (1.0 - share) * step * mean
                    compared[count, i] += mean / events
            count += 1
    return (
        stratum_of[:count], times[:count], hazard[:count], variance[:count], means[:count],
        own_hazard[:count], own_means[:count], compared[:count],
    )  # fmt: skip
