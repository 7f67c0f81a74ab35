"""Which activity stands above which: by time, then as near as the paths allow."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from neva.pathways.shapes import PathSpec, PlaceSpec

__all__ = ["assign_layers", "order_in_time", "weights"]

# Mean positions in the case (0-1) that are so near do not fix which comes first.
_NEAR_IN_TIME = 0.15


def weights(paths: Sequence[PathSpec]) -> list[float]:
    """Return how hard each path pulls, 1 to 5."""
    most = max((path.frequency for path in paths), default=1.0) or 1.0
    return [1.0 + 4.0 * path.frequency / most for path in paths]


def order_in_time(places: Sequence[PlaceSpec], paths: Sequence[PathSpec]) -> list[int]:
    """Order places by time; where times are near, so that most steps go forward.

    Mean positions mix short and long cases, so near ones may stand the wrong
    way round: what nearly always follows would be drawn as going back.
    """
    order = sorted(range(len(places)), key=lambda i: (places[i].order, i))
    forward: dict[tuple[int, int], float] = defaultdict(float)
    for path in paths:
        forward[path.source, path.target] += path.frequency
    for _ in range(4):
        moved = False
        for node in list(order):
            at = order.index(node)
            best, place_for_best = 0.0, at
            for step in (-1, 1):
                gain, there = 0.0, at + step
                while 0 <= there < len(order):
                    other = order[there]
                    if not abs(places[other].order - places[node].order) <= _NEAR_IN_TIME:
                        break
                    gain += step * (forward[other, node] - forward[node, other])
                    if gain > best + 1e-9:
                        best, place_for_best = gain, there
                    there += step
            if place_for_best != at:
                order.remove(node)
                order.insert(place_for_best, node)
                moved = True
        if not moved:
            break
    return order


def assign_layers(
    by_time: list[int],
    when: dict[int, int],
    places: Sequence[PlaceSpec],
    paths: Sequence[PathSpec],
) -> dict[int, int]:
    """Give every place a layer: later in time is lower, neighbours as near as possible."""
    before: dict[int, list[tuple[int, float]]] = defaultdict(list)
    after: dict[int, list[tuple[int, float]]] = defaultdict(list)
    pairs: list[tuple[int, int, float]] = []
    for path, weight in zip(paths, weights(paths), strict=True):
        upper, lower = sorted((path.source, path.target), key=when.__getitem__)
        pairs.append((upper, lower, weight))
    # Nothing stands beside the start (order -inf) or the end (inf).
    inner = [i for i in by_time if not math.isinf(places[i].order)]
    for fixed in (i for i in by_time if math.isinf(places[i].order)):
        first = places[fixed].order < 0
        pairs += [(fixed, i, 0.0) if first else (i, fixed, 0.0) for i in inner]
    for upper, lower, weight in pairs:
        before[lower].append((upper, weight))
        after[upper].append((lower, weight))
    layer: dict[int, int] = {}
    for node in by_time:
        layer[node] = 1 + max((layer[upper] for upper, _ in before[node]), default=-1)
    # Move groups that hang together tightly while that shortens the paths.
    for _ in range(8):
        moved = False
        for node in by_time:
            moved |= _shift(node, layer, after, before, down=True)
        for node in reversed(by_time):
            moved |= _shift(node, layer, before, after, down=False)
        if not moved:
            break
    used = {number: place for place, number in enumerate(sorted(set(layer.values())))}
    return {node: used[number] for node, number in layer.items()}


def _shift(
    node: int,
    layer: dict[int, int],
    ahead: dict[int, list[tuple[int, float]]],
    behind: dict[int, list[tuple[int, float]]],
    *,
    down: bool,
) -> bool:
    """Move a place, and what it pushes, one way as far as that is for the better."""
    step = 1 if down else -1
    group, stack = {node}, [node]
    while stack:
        at = stack.pop()
        if not ahead[at]:
            return False  # the first or last place of all stays
        for other, _ in ahead[at]:
            if other not in group and (layer[other] - layer[at]) * step == 1:
                group.add(other)
                stack.append(other)
    gain, room = 0.0, None
    for at in group:
        for other, weight in ahead[at]:
            if other not in group:
                gain += weight
                free = (layer[other] - layer[at]) * step - 1
                room = free if room is None else min(room, free)
        gain -= sum(weight for other, weight in behind[at] if other not in group)
    if gain <= 1e-9 or not room:
        return False
    for at in group:
        layer[at] += step * room
    return True
