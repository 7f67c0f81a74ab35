"""Random numbers without a sequence: each is a hash of what it is for.

A number belongs to (seed, replicate, class, stream, patient number, purpose,
step) and to nothing else, so that a patient draws the same stay and route in
every scenario, however many others came before. The hash is the finaliser of
SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2714064.2660195), applied
once for each part of the key.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import hashlib

import numpy as np

from neva.flow.simulation._compiling import leaf

# Streams: where a patient comes from; the gaps between patients.
UNPLANNED, PLANNED, PRESENT, GAPS = range(4)
# Purposes: what a number is for.
GAP, SEX, ISOLATION, FIRST, ROUTE, STAY, LEAVING, COMES, DAY = range(9)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def key_of_name(name: str) -> int:
    """A number for the name of a class: other classes do not move its patients."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


@leaf
def joined(key, part):  # pragma: no cover
    """One more part of a key."""
    z = np.uint64(key) + _GOLDEN * (np.uint64(part) + np.uint64(1))
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@leaf
def base_key(seed, replicate):  # pragma: no cover
    """The key of one replicate; every other key of it begins with this one."""
    return joined(joined(np.uint64(0), seed), replicate)


@leaf
def patient_key(base, class_key, stream, number):  # pragma: no cover
    return joined(joined(joined(base, class_key), stream), number)


@leaf
def uniform(key, purpose, step):  # pragma: no cover
    """A number in (0, 1), never 0 or 1."""
    bits = joined(joined(key, purpose), step)
    return (np.float64(bits >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@leaf
def exponential(key, purpose, step):  # pragma: no cover
    """A number of the exponential distribution of mean 1."""
    return -np.log1p(-uniform(key, purpose, step))


@leaf
def chosen(records, first, last, u):  # pragma: no cover
    """The first of ``records[first:last]`` whose cumulative share exceeds `u`."""
    for place in range(first, last - 1):
        if u < records[place].share:
            return place
    return last - 1


@leaf
def length(hours, first, last, u):  # pragma: no cover
    """The quantile of a table at `u`."""
    at = u * (last - first - 1)
    low = int(at)
    low = min(low, last - first - 2)
    below = hours[first + low]
    return below + (at - low) * (hours[first + low + 1] - below)


@leaf
def share_by(hours, first, last, elapsed):  # pragma: no cover
    """The share of stays of a table that are not longer than `elapsed`."""
    if elapsed < hours[first]:
        return 0.0
    if elapsed >= hours[last - 1]:
        return 1.0
    low, high = first, last - 1
    while high - low > 1:
        middle = (low + high) // 2
        if hours[middle] <= elapsed:
            low = middle
        else:
            high = middle
    width = hours[low + 1] - hours[low]
    return (low - first + (elapsed - hours[low]) / width) / (last - first - 1)


@leaf
def next_at(ready, hour, inside, hour_of_day):  # pragma: no cover
    """The next time at or after `ready` at a part `inside` of an hour of the day."""
    place = int(ready)
    while place < hour_of_day.size:
        if hour_of_day[place] == hour and place + inside >= ready:
            return place + inside
        place += 1
    return np.inf


@leaf
def leaving_time(ready, shares, exit_, hour_of_day, u):  # pragma: no cover
    """The next time at or after `ready` that shows the time of day drawn by `u`."""
    hour = 0
    below = 0.0
    for hour in range(24):
        if u < shares[exit_, hour]:
            break
        below = shares[exit_, hour]
    return next_at(ready, hour, (u - below) / (shares[exit_, hour] - below), hour_of_day)
