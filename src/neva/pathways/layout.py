"""Places for a map: activities in layers by time, paths that touch only their ends.

The layered method (Sugiyama, Tagawa, Toda 1981, doi:10.1109/TSMC.1981.4308636)
with three choices of ours:

- *Time decides the direction.* Activities are ordered by where in a case they
  stand; a path against this order goes back, and is drawn upwards. No other
  cycle removal is needed, and the top of the picture is the beginning.
- *Labels are places.* Between two layers of activities lies a layer for
  labels; a label is a box in it like any other, so it overlaps nothing.
- *Paths are vertical inside a layer and bend only between layers.* In a layer
  everything has its own interval of x, and a bend stays between the two
  layers; so a path cannot touch a box that is not its own.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from neva.pathways.layers import assign_layers, order_in_time, weights
from neva.pathways.shapes import Box, Layout, PathSpec, PlaceSpec, Point, Route

__all__ = ["place"]

# Pixels.
_BESIDE_PLACE = 26.0  # between activities of a layer
_BESIDE_PATH = 11.0  # between paths, and between a path and a box
_ARROW_ROOM = 12.0  # straight run above and below an activity
_GAP_LEAST, _GAP_MOST = 14.0, 64.0  # height of the bends between layers
_GAP_PER_SHIFT = 0.16  # a bend over 100 pixels gets 16 pixels of height
_PORT_MOST = 20.0  # between two paths at one activity

# Ends of a path that are so near one above the other are brought into line.
_ALIGN = 18.0

_SWEEPS = 16
_LARGE = 4000  # items


@dataclass
class _Item:
    """Something that occupies an interval of x in a rank."""

    rank: int
    left: float
    right: float
    place: int = -1  # number of the place, -1 for a bend of a path
    path: int = -1
    above: list[tuple[int, float, float, float]] = field(default_factory=list)
    below: list[tuple[int, float, float, float]] = field(default_factory=list)
    x: float = 0.0
    position: int = 0


def place(places: Sequence[PlaceSpec], paths: Sequence[PathSpec]) -> Layout:
    """Lay out places and paths.

    Parameters
    ----------
    places : sequence of PlaceSpec
    paths : sequence of PathSpec
        Without self-loops; at most one per (source, target).

    Returns
    -------
    Layout
        Boxes and routes in the order of the input. The same input gives the
        same layout on every machine.
    """
    if not places:
        return Layout((), (), 0.0, 0.0)
    by_time = order_in_time(places, paths)
    when = {node: at for at, node in enumerate(by_time)}
    layers = assign_layers(by_time, when, places, paths)
    items, chains, ranks = _make_items(places, paths, layers, when)
    _reduce_crossings(items, ranks)
    _assign_ports(items, places)
    _assign_x(items, ranks)
    _straighten(items, ranks, chains)
    return _draw(places, paths, items, chains, ranks)


def _make_items(
    places: Sequence[PlaceSpec],
    paths: Sequence[PathSpec],
    layers: dict[int, int],
    when: dict[int, int],
) -> tuple[list[_Item], list[list[int]], list[list[int]]]:
    """Make items of places, bends and labels; link them; sort them into ranks.

    Layer n of places is rank 2n; odd ranks hold labels.
    """
    items = [
        _Item(2 * layers[i], spec.width / 2, spec.width / 2 + spec.beside, place=i)
        for i, spec in enumerate(places)
    ]
    rank_count = 2 * max(layers.values()) + 1
    label_load = [0.0] * rank_count
    chains: list[list[int]] = [[] for _ in paths]
    by_length = sorted(
        range(len(paths)),
        key=lambda p: (abs(layers[paths[p].source] - layers[paths[p].target]), p),
    )
    for number in by_length:
        path = paths[number]
        upper, lower = sorted((path.source, path.target), key=when.__getitem__)
        first, last = items[upper].rank + 1, items[lower].rank
        # The emptiest rank for the label, near the middle of the path when equal.
        label_rank = min(
            range(first, last, 2), key=lambda r: (label_load[r], abs(2 * r - first - last), r)
        )
        label_load[label_rank] += path.label_width + _BESIDE_PATH
        chain = [upper]
        for rank in range(first, last):
            half = max(path.label_width if rank == label_rank else 0.0, path.stroke) / 2
            items.append(_Item(rank, half, half, path=number))
            chain.append(len(items) - 1)
        chain.append(lower)
        chains[number] = chain
    pull = weights(paths)
    for number, chain in enumerate(chains):
        for a, b in pairwise(chain):
            inner = (items[a].place < 0) + (items[b].place < 0)
            weight = (1.0, 2.0, 8.0)[inner] * pull[number]
            items[a].below.append((b, weight, 0.0, 0.0))
            items[b].above.append((a, weight, 0.0, 0.0))
    ranks: list[list[int]] = [[] for _ in range(rank_count)]
    for i, item in enumerate(items):
        ranks[item.rank].append(i)
    return items, chains, ranks


def _crossings(items: list[_Item], rank: list[int]) -> int:
    """Count crossings between a rank and the one below it."""
    ends = [
        items[b].position for a in rank for b in sorted(
            (link[0] for link in items[a].below), key=lambda b: items[b].position
        )
    ]  # fmt: skip
    seen: list[int] = []
    crossings = 0
    for end in ends:
        crossings += len(seen) - bisect_left(seen, end + 1)
        insort(seen, end)
    return crossings


def _set_positions(items: list[_Item], rank: list[int]) -> None:
    for position, i in enumerate(rank):
        items[i].position = position


def _reduce_crossings(items: list[_Item], ranks: list[list[int]]) -> None:
    """Order every rank by the mean position of its neighbours, repeatedly; keep the best."""
    best = [list(rank) for rank in ranks]
    fewest: int | None = None
    # A large picture cannot be read in any order, so it is not worth much time.
    for attempt in range(4 if len(items) < _LARGE else 1):
        # Attempts differ in the first order (as made, mirrored) and in whether
        # frequent paths pull harder.
        for rank in ranks:
            rank.sort(reverse=attempt % 2 == 1)
            _set_positions(items, rank)
        for sweep in range(_SWEEPS):
            _sweep(items, ranks, downwards=sweep % 2 == 0, mirror=sweep % 4 >= 2,
                   weighted=attempt < 2)  # fmt: skip
            _exchange(items, ranks)
            crossings = sum(_crossings(items, rank) for rank in ranks[:-1])
            if fewest is None or crossings < fewest:
                fewest, best = crossings, [list(rank) for rank in ranks]
    for rank, order in zip(ranks, best, strict=True):
        rank[:] = order
        _set_positions(items, rank)


def _sweep(
    items: list[_Item], ranks: list[list[int]], *, downwards: bool, mirror: bool, weighted: bool
) -> None:
    for rank in ranks[1:] if downwards else ranks[-2::-1]:
        keys: dict[int, tuple[float, int]] = {}
        for i in rank:
            links = items[i].above if downwards else items[i].below
            position, total = float(items[i].position), 0.0
            if links:
                total = sum(link[1] if weighted else 1.0 for link in links)
                position = (
                    sum(items[link[0]].position * (link[1] if weighted else 1.0) for link in links)
                    / total
                )
            # Equal keys keep their order in one sweep and exchange it in another.
            keys[i] = (round(position, 9), -items[i].position if mirror else items[i].position)
        rank.sort(key=keys.__getitem__)
        _set_positions(items, rank)


def _exchange(items: list[_Item], ranks: list[list[int]]) -> None:
    """Exchange neighbours while that removes crossings (Gansner et al. 1993)."""
    for rank in ranks:
        for at in [*range(len(rank) - 1), *range(len(rank) - 2, -1, -1)]:
            a, b = items[rank[at]], items[rank[at + 1]]
            now = then = 0
            for one, other in ((a.above, b.above), (a.below, b.below)):
                for here in one:
                    for there in other:
                        now += items[here[0]].position > items[there[0]].position
                        then += items[here[0]].position < items[there[0]].position
            if then < now:
                rank[at], rank[at + 1] = rank[at + 1], rank[at]
                a.position, b.position = b.position, a.position


def _assign_ports(items: list[_Item], places: Sequence[PlaceSpec]) -> None:
    """Spread the paths of a place over its width, in the order of where they go.

    A link becomes (neighbour, weight, own offset, neighbour's offset).
    """
    offset: dict[tuple[int, int, bool], float] = {}
    for i, item in enumerate(items):
        for links, is_below in ((item.above, False), (item.below, True)):
            order = sorted(links, key=lambda link: (items[link[0]].position, link[0]))
            room = places[item.place].width - 16 if item.place >= 0 else 0.0
            between = min(_PORT_MOST, room / max(len(order), 1))
            for at, link in enumerate(order):
                offset[i, link[0], is_below] = (at - (len(order) - 1) / 2) * between
    for i, item in enumerate(items):
        item.above = [(j, w, offset[i, j, False], offset[j, i, True]) for j, w, *_ in item.above]
        item.below = [(j, w, offset[i, j, True], offset[j, i, False]) for j, w, *_ in item.below]


def _separation(a: _Item, b: _Item) -> float:
    both_places = a.place >= 0 and b.place >= 0
    return a.right + b.left + (_BESIDE_PLACE if both_places else _BESIDE_PATH)


def _assign_x(items: list[_Item], ranks: list[list[int]]) -> None:
    """Draw every item towards its neighbours, keeping order and distances.

    Each rank is a weighted isotonic regression (pool adjacent violators), an
    exact least-squares solution under the distances; ranks are swept until
    the picture rests.
    """
    for rank in ranks:
        x = 0.0
        for before, i in zip([-1, *rank], rank, strict=False):
            if before >= 0:
                x += _separation(items[before], items[i])
            items[i].x = x
        shift = (items[rank[-1]].x + items[rank[0]].x) / 2
        for i in rank:
            items[i].x -= shift
    order = list(range(len(ranks)))
    for sweep in range(40):
        for r in order if sweep % 2 == 0 else reversed(order):
            wanted, weights = [], []
            for i in ranks[r]:
                item = items[i]
                links = item.above + item.below
                if sweep < 8:  # first let the picture unfold in one direction
                    links = (item.above if sweep % 2 == 0 else item.below) or links
                total = sum(link[1] for link in links)
                wanted.append(
                    sum((items[j].x + there - own) * w for j, w, own, there in links) / total
                    if total
                    else item.x
                )
                weights.append(total or 1e-3)
            for i, x in zip(ranks[r], _separated(items, ranks[r], wanted, weights), strict=True):
                items[i].x = x


def _interval(items: list[_Item], ranks: list[list[int]], i: int) -> tuple[float, float]:
    """Where an item can stand between its neighbours."""
    item = items[i]
    rank = ranks[item.rank]
    low, high = -math.inf, math.inf
    if item.position > 0:
        other = items[rank[item.position - 1]]
        low = other.x + _separation(other, item)
    if item.position + 1 < len(rank):
        other = items[rank[item.position + 1]]
        high = other.x - _separation(item, other)
    return low, high


def _straighten(items: list[_Item], ranks: list[list[int]], chains: list[list[int]]) -> None:
    """Replace the many small bends of a path by few, the frequent paths first."""
    order = sorted(
        range(len(chains)), key=lambda p: (-len(chains[p]) * items[chains[p][1]].below[0][1], p)
    )
    for turn in range(6):
        for number in order:
            chain = chains[number]
            first = next(link for link in items[chain[0]].below if link[0] == chain[1])
            last = next(link for link in items[chain[-1]].above if link[0] == chain[-2])
            top, bottom = items[chain[0]].x + first[2], items[chain[-1]].x + last[2]
            if turn < 2 and 0 < abs(top - bottom) <= _ALIGN:
                _align(items, ranks, chain, top - bottom)
                bottom = items[chain[-1]].x + last[2]
            _fewest_bends(items, ranks, chain[1:-1], top, bottom)


def _align(items: list[_Item], ranks: list[list[int]], chain: list[int], shift: float) -> None:
    """Move the lower (or else the upper) end of a path so that it can be one line."""
    for i, by in ((chain[-1], shift), (chain[0], -shift)):
        low, high = _interval(items, ranks, i)
        if low <= items[i].x + by <= high:
            items[i].x += by
            return


def _fewest_bends(
    items: list[_Item], ranks: list[list[int]], inner: list[int], top: float, bottom: float
) -> None:
    """Cut the inner items of a path into as few vertical runs as their neighbours allow."""
    at = 0
    before = top
    while at < len(inner):
        low, high = _interval(items, ranks, inner[at])
        end = at + 1
        while end < len(inner):
            next_low, next_high = _interval(items, ranks, inner[end])
            if max(low, next_low) > min(high, next_high):
                break
            low, high, end = max(low, next_low), min(high, next_high), end + 1
        # In line with the end it touches, else with the run before it.
        wanted = bottom if end == len(inner) and at > 0 else before
        if at == 0 and end == len(inner) and not low <= top <= high:
            wanted = bottom
        x = min(max(wanted, low), high)
        for i in inner[at:end]:
            items[i].x = x
        at, before = end, x


def _separated(
    items: list[_Item], rank: list[int], wanted: list[float], weights: list[float]
) -> list[float]:
    """Nearest positions to the wanted ones that keep the distances."""
    base = [0.0]
    for a, b in pairwise(rank):
        base.append(base[-1] + _separation(items[a], items[b]))
    blocks: list[list[float]] = []  # mean, weight, count
    for want, weight, offset in zip(wanted, weights, base, strict=True):
        blocks.append([want - offset, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, total, count = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + mean * total) / (last[1] + total)
            last[1] += total
            last[2] += count
    result, at = [], 0
    for mean, _, count in blocks:
        for _ in range(int(count)):
            result.append(mean + base[at])
            at += 1
    return result


def _draw(
    places: Sequence[PlaceSpec],
    paths: Sequence[PathSpec],
    items: list[_Item],
    chains: list[list[int]],
    ranks: list[list[int]],
) -> Layout:
    left = min(item.x - item.left for item in items)
    for item in items:
        item.x -= left
    heights = []
    for rank in ranks:
        tallest = max(
            (places[items[i].place].height for i in rank if items[i].place >= 0), default=0
        )
        labels = max(
            (paths[items[i].path].label_height for i in rank if items[i].path >= 0), default=0
        )
        heights.append(max(tallest + 2 * _ARROW_ROOM if tallest else 0, labels))
    tops = [0.0]
    for r, rank in enumerate(ranks[:-1]):
        shift = max(
            (
                abs(items[i].x + own - items[j].x - there)
                for i in rank
                for j, _, own, there in items[i].below
            ),
            default=0.0,
        )
        gap = min(max(_GAP_PER_SHIFT * shift, _GAP_LEAST), _GAP_MOST)
        tops.append(tops[-1] + heights[r] + gap)
    boxes = []
    for i, spec in enumerate(places):
        item = items[i]
        middle = tops[item.rank] + heights[item.rank] / 2
        boxes.append(Box(item.x - item.left, middle - spec.height / 2, spec.width, spec.height))
    routes = tuple(
        _route(path, items, chain, boxes, tops, heights)
        for path, chain in zip(paths, chains, strict=True)
    )
    width = max(item.x + item.right for item in items)
    return Layout(tuple(boxes), routes, width, tops[-1] + heights[-1])


def _route(
    path: PathSpec,
    items: list[_Item],
    chain: list[int],
    boxes: list[Box],
    tops: list[float],
    heights: list[float],
) -> Route:
    """Make the line of one path, and find its label."""
    upper, lower = chain[0], chain[-1]
    down = [next(link for link in items[a].below if link[0] == b)
            for a, b in pairwise(chain)]  # fmt: skip
    x = items[upper].x + down[0][2]
    bottom = boxes[upper].y + boxes[upper].height
    points: list[Point] = [(x, bottom)]
    label = Box(0, 0, 0, 0)

    def straight(to: float) -> None:
        at, y = points[-1]
        if to - y > 1e-9:
            points.extend([(at, y + (to - y) / 3), (at, y + 2 * (to - y) / 3), (at, to)])

    for (i, _, _, there), a in zip(down, chain[:-1], strict=True):
        rank = items[a].rank
        straight(tops[rank] + heights[rank])
        at, y = points[-1]
        x, top = items[i].x + there, tops[items[i].rank]
        middle = (y + top) / 2
        points.extend([(at, middle), (x, middle), (x, top)])
        item = items[i]
        if item.path >= 0 and item.left * 2 >= path.label_width and item.rank % 2:
            centre = top + heights[item.rank] / 2
            label = Box(
                item.x - path.label_width / 2,
                centre - path.label_height / 2,
                path.label_width,
                path.label_height,
            )
    straight(boxes[lower].y)
    back = path.source == lower
    return Route(tuple(reversed(points)) if back else tuple(points), label, back)
