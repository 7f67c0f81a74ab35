"""Phrases, and which parts of a definition get a letter of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from neva.definitions import model as m

__all__ = ["LONGEST", "Said", "labels_of", "ladder_of"]

#: A phrase longer than this is broken into a line and what stands below it.
LONGEST = 110
#: Parts smaller than this are written out wherever they stand.
SMALLEST_PART: Final = 8
#: What is told apart by the part in it, or has no name of its own.
_WRAPPERS = (m.Bound, m.Branch, m.Days, m.Every, m.IsMissing, m.Not)
_LEAVES = (m.Number, m.Flag, m.Text, m.Moment, m.Missing, m.PointField, m.RowField, m.Attribute)


@dataclass(frozen=True)
class Said:
    """A phrase, and the phrases that explain it, below it; or the heading of a list of them."""

    text: str
    below: tuple[Said, ...] = ()
    is_list: bool = False

    @property
    def is_short(self) -> bool:
        """Whether it fits into another phrase."""
        return not self.below and len(self.text) <= LONGEST

    def lines(self, depth: int = 0) -> list[str]:
        """Return it as an indented list."""
        colon = ":" if self.below and not self.text.endswith((":", ".")) else ""
        found = ["  " * depth + "- " + self.text + colon]
        for one in self.below:
            found += one.lines(depth + 1)
        return found


def _sizes(node: m.Node, known: dict[str, int]) -> int:
    if node.digest not in known:
        known[node.digest] = 1 + sum(_sizes(part, known) for part in m.children(node))
    return known[node.digest]


def labels_of(expressions: Iterable[m.Node], titled: Mapping[str, str]) -> list[tuple[str, m.Node]]:
    """Name the larger parts that stand in several places and have no title.

    Parameters
    ----------
    expressions : iterable of Node
        All that is explained together.
    titled : mapping of str to str
        Digests of what has a name already.

    Returns
    -------
    list of tuple of str and Node
        A, B, C, ... with their parts, wholes before the parts in them.
    """
    uses: Counter[str] = Counter()
    nodes: dict[str, m.Node] = {}

    def visit(node: m.Node) -> None:
        uses[node.digest] += 1
        if node.digest in nodes:
            return
        nodes[node.digest] = node
        asked = ladder_of(node)
        if asked is not None and isinstance(node, m.Case):
            # What all lines ask about is said once, above them.
            visit(asked)
            for branch in node.branches:
                visit(branch.then)
            visit(node.otherwise)
            return
        for part in m.children(node):
            visit(part)

    for expression in expressions:
        visit(expression)
    sizes: dict[str, int] = {}
    found = [
        node
        for digest, node in nodes.items()
        if uses[digest] > 1
        and digest not in titled
        and not isinstance(node, (*_LEAVES, *_WRAPPERS))
        and _sizes(node, sizes) >= SMALLEST_PART
    ]
    return [(_letter(number), node) for number, node in enumerate(found)]


def ladder_of(node: m.Node) -> Any:
    """Return what every line of a case compares with a constant, if they all do."""
    if not isinstance(node, m.Case):
        return None
    found = []
    for branch in node.branches:
        when: Any = branch.when
        if isinstance(when, m.OneOf):
            found.append(when.of)
        elif isinstance(when, m.Compare) and isinstance(when.right, (m.Number, m.Text)):
            found.append(when.left)
        else:
            return None
    return found[0] if all(one == found[0] for one in found) and len(found) > 1 else None


def _letter(number: int) -> str:
    letter = chr(ord("A") + number % 26)
    return letter if number < 26 else f"{letter}{number // 26 + 1}"
