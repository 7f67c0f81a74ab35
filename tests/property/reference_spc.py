"""The rules of an XmR chart in slow plain Python, from the wording of the rules."""

from itertools import pairwise


def mean(numbers):
    return sum(numbers) / len(numbers)


def lines(values, baseline=None, screen=True):
    """Centre, near limits and limits; values are whole numbers or None."""
    used = [v for v in values if v is not None][: baseline or len(values)]
    counted, seen = [], 0
    for value in values:
        keep = value is not None and seen < len(used)
        seen += keep
        counted.append(value if keep else None)
    ranges = [abs(b - a) for a, b in pairwise(counted) if a is not None and b is not None]
    if not used or not ranges:
        return None
    average = mean(ranges)
    if screen and average > 0:
        average = mean([r for r in ranges if r < 3.267 * average])
    centre = mean(used)
    half = 2.66 * average
    return centre, centre - 2 / 3 * half, centre + 2 / 3 * half, centre - half, centre + half


def special_causes(values, found):
    """List of (signal, side) of one group."""
    centre, near_low, near_high, low, high = found
    slack = 1e-12 * max(abs(v) for v in values if v is not None)

    def over(a, b):
        return a - b > slack

    def windows(size):
        for start in range(len(values) - size + 1):
            window = values[start : start + size]
            if None not in window:
                yield start, window

    def is_near(v):
        outside = over(v, high) or over(low, v)
        return not outside and (over(v, near_high) or over(near_low, v))

    answer = [("none", 0)] * len(values)
    for start, window in windows(7):
        for side, test in ((1, lambda v: over(v, centre)), (-1, lambda v: over(centre, v))):
            if all(test(v) for v in window):
                for at in range(start, start + 7):
                    answer[at] = ("shift", side)
    for start, window in windows(3):
        for side, test in ((1, lambda v: over(v, centre)), (-1, lambda v: over(centre, v))):
            if all(test(v) for v in window) and sum(is_near(v) for v in window) >= 2:
                for at in range(start, start + 3):
                    if is_near(values[at]):
                        answer[at] = ("two-of-three", side)
    for start, window in windows(7):
        pairs = list(pairwise(window))
        if all(over(b, a) for a, b in pairs):
            for at in range(start, start + 7):
                answer[at] = ("trend", 1)
        if all(over(a, b) for a, b in pairs):
            for at in range(start, start + 7):
                answer[at] = ("trend", -1)
    for at, value in enumerate(values):
        if value is not None and over(value, high):
            answer[at] = ("outside", 1)
        if value is not None and over(low, value):
            answer[at] = ("outside", -1)
    return answer
