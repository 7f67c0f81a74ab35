"""How much of a map to draw: the most frequent paths, with everything connected."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from neva.errors import UsageError
from neva.languages.english import part
from neva.pathways.map import ActivityMap

__all__ = ["Detail", "choose_paths"]

#: Node numbers of the start and the end of all cases.
START, END = -1, -2

# A picture of this many paths per activity can still be read (judged by eye on
# the sepsis and the telemonitoring log).
_READABLE_PATHS_PER_ACTIVITY = 2.0
_READABLE_SHARE_OF_STEPS = 0.95
_ALWAYS_READABLE_PATHS = 12


@dataclass(frozen=True)
class Detail:
    """Which paths of a map are drawn.

    Attributes
    ----------
    paths : tuple of (source, target, frequency, row)
        By activity number (:data:`START`, :data:`END` for the ends of cases);
        `row` is the row of ``map.edges`` or -1 for starts and ends.
    shown, total : int
        Paths between activities: drawn, in the map.
    shown_steps, total_steps : int
        The steps they stand for.
    """

    paths: tuple[tuple[int, int, int, int], ...]
    shown: int
    total: int
    shown_steps: int
    total_steps: int

    @property
    def statement(self) -> str:
        """What share of the paths is shown, in words."""
        paths = f"{self.shown:,} of {self.total:,} paths"
        if self.shown == self.total:
            return paths
        share = part(self.shown_steps / max(self.total_steps, 1))
        return f"{paths}, {share} of steps"


def choose_paths(of: ActivityMap, share: float | None = None) -> Detail:
    """Choose the paths to draw.

    Parameters
    ----------
    of : ActivityMap
    share : float, optional
        Share of the paths (0–1), most frequent first. By default as many as
        can be read: 95 % of the steps, but no more than two per activity.

    Returns
    -------
    Detail

    Raises
    ------
    UsageError
        The share is not between 0 and 1.

    Notes
    -----
    After the choice every activity must lie on a way from start to end. Where
    one does not, its widest way is added: the one whose least frequent path is
    as frequent as possible. So even a share of 0 draws a connected map.

    References
    ----------
    Elkhovskaya LO, Kshenin AD, Balakhontceva MA, Ionov MV, Kovalchuk SV.
    Extending process discovery with model complexity optimization and cyclic
    states identification: application to healthcare processes. Algorithms
    2023;16:57, doi:10.3390/a16010057. Theirs ranks paths against the other
    paths of the same activity; ours against all.
    """
    if share is not None and not 0 <= share <= 1:
        raise UsageError(f"paths: found {share}; give a share between 0 and 1, 0.4 for 40 %")
    number = {name: i for i, name in enumerate(of.nodes["activity"])}
    steps = [
        (number[a], number[b], frequency, row)
        for row, (a, b, frequency) in enumerate(
            of.edges.select("source", "target", "frequency").iter_rows()
        )
    ]
    count = _readable(of, steps) if share is None else math.ceil(share * len(steps) - 1e-9)
    ends = [
        path
        for i, (starts, stops) in enumerate(of.nodes.select("starts", "ends").iter_rows())
        for path in ((START, i, starts, -1), (i, END, stops, -1))
        if path[2]
    ]
    # Starts and ends are as detailed as the paths: down to the same frequency.
    least = steps[count - 1][2] if count else math.inf
    if count == len(steps):
        least = 0
    chosen = set(steps[:count]) | {path for path in ends if path[2] >= least}
    every = [*steps, *ends]
    chosen |= _missing_ways(every, chosen, START, forward=True)
    chosen |= _missing_ways(every, chosen, END, forward=False)
    kept = sorted(chosen, key=lambda path: (-path[2], path[0], path[1]))
    inner = [path for path in kept if path[3] >= 0]
    return Detail(
        paths=tuple(kept),
        shown=len(inner),
        total=len(steps),
        shown_steps=sum(path[2] for path in inner),
        total_steps=of.steps,
    )


def _readable(of: ActivityMap, steps: list[tuple[int, int, int, int]]) -> int:
    if len(steps) <= _ALWAYS_READABLE_PATHS:
        return len(steps)
    limit = math.ceil(_READABLE_PATHS_PER_ACTIVITY * of.nodes.height)
    wanted, covered = _READABLE_SHARE_OF_STEPS * of.steps, 0
    for count, path in enumerate(steps):
        if covered >= wanted or count >= limit:
            return count
        covered += path[2]
    return len(steps)


def _missing_ways(
    every: Iterable[tuple[int, int, int, int]],
    chosen: set[tuple[int, int, int, int]],
    root: int,
    *,
    forward: bool,
) -> set[tuple[int, int, int, int]]:
    """Return the paths that connect with `root` what `chosen` leaves unconnected."""
    neighbours = defaultdict(list)
    kept = defaultdict(list)
    for path in every:
        here, there = (path[0], path[1]) if forward else (path[1], path[0])
        neighbours[here].append((there, path))
        if path in chosen:
            kept[here].append(there)
    # Widest ways from the root (Prim's order: always the widest path next).
    way: dict[int, tuple[int, tuple[int, int, int, int]]] = {}
    queue = [(-path[2], there, root, path) for there, path in neighbours[root]]
    heapq.heapify(queue)
    done = {root}
    while queue:
        _, node, before, path = heapq.heappop(queue)
        if node in done:
            continue
        done.add(node)
        way[node] = (before, path)
        for there, onward in neighbours[node]:
            if there not in done:
                heapq.heappush(queue, (-onward[2], there, node, onward))
    reached = {root}
    stack = [root]
    while stack:
        for there in kept[stack.pop()]:
            if there not in reached:
                reached.add(there)
                stack.append(there)
    added = set()
    for node in sorted(way):
        at = node
        trail = []
        while at not in reached:
            trail.append(at)
            at, onward = way[at]
            added.add(onward)
        reached.update(trail)
    return added
