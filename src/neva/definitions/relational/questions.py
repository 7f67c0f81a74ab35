"""What a definition asks of rows, and what must be known before it can be asked."""

from __future__ import annotations

from typing import Any, Final

from neva.definitions import model as m
from neva.definitions.relational.scalars import constant

__all__ = [
    "Kinds",
    "asked",
    "condition_unit",
    "conditions",
    "frames_of",
    "item_unit",
    "needs",
    "needs_order",
    "pick_name",
    "scalars_of_condition",
]

_ASKS: Final = (m.Pick, m.Aggregate, m.HoursWhere, m.ForEach)


def asked(node: Any) -> list[Any]:
    """Return what is asked of rows in an expression itself, not within what is asked."""
    found: dict[str, Any] = {}

    def visit(at: Any) -> None:
        if isinstance(at, _ASKS):
            found.setdefault(at.digest, at)
            return
        for part in m.children(at):
            visit(part)

    visit(node)
    return list(found.values())


def frames_of(node: Any) -> list[Any]:
    """Return the frames, or grids, of something asked."""
    return [node.items if isinstance(node, m.ForEach) else node.frame]


def scalars_of_condition(condition: Any) -> list[Any]:
    """Return the largest parts of a condition of rows that do not look at the row."""
    found: dict[str, Any] = {}

    def visit(at: Any) -> None:
        if isinstance(at, (m.RowField, m.Attribute)):
            return
        of_point = not any(isinstance(part, (m.RowField, m.Attribute)) for part in m.row_nodes(at))
        if of_point and not isinstance(at, m.Branch) and constant(at) is None:
            found.setdefault(at.digest, at)
            return
        for part in m.children(at):
            visit(part)

    visit(condition)
    return list(found.values())


def conditions(node: Any) -> list[Any]:
    """Return the conditions of rows in something asked."""
    found = [
        items.where
        for items in frames_of(node)
        if isinstance(items, m.Frame) and items.where is not None
    ]
    if isinstance(node, m.HoursWhere) and node.condition is not None:
        found.append(node.condition)
    return found


def needs(node: Any) -> list[Any]:
    """Return the expressions that must be known at the point before something is asked."""
    found: list[Any] = []
    for items in frames_of(node):
        if isinstance(items, m.Frame):
            found += [bound.time for bound in (*items.lower, *items.upper)]
        else:
            found += [items.start, items.end]
    for condition in conditions(node):
        found += scalars_of_condition(condition)
    return found


def is_time_of_end(node: Any) -> bool:
    """Is it the time of the first or last row? Rows that tie have the same."""
    return isinstance(node, m.Pick) and node.which in ("first", "last") and node.field == "time"


def needs_order(node: Any) -> bool:
    """Tell whether the order of rows matters to something asked."""
    if isinstance(node, m.Aggregate):
        return node.how == "hours"
    return not is_time_of_end(node)


class Kinds:
    """The questions of a pass, by how they are answered."""

    def __init__(self, nodes: list[Any]) -> None:
        self.aggregates = [
            node
            for node in nodes
            if isinstance(node, m.Aggregate) and node.how not in ("slope", "hours")
        ]
        picks = [node for node in nodes if isinstance(node, m.Pick)]
        self.times = [node for node in picks if is_time_of_end(node)]
        self.ends = [
            node for node in picks if node.which in ("first", "last") and not is_time_of_end(node)
        ]
        self.ranked = [node for node in picks if node.which not in ("first", "last")]
        self.grouped = [*self.aggregates, *self.times, *self.ends]
        self.nested = [node for node in nodes if isinstance(node, m.ForEach)]
        self.special = [
            node
            for node in nodes
            if isinstance(node, m.HoursWhere)
            or (isinstance(node, m.Aggregate) and node.how in ("slope", "hours"))
        ]


def pick_name(node: m.Pick) -> str:
    """Return what tells picks from one frame apart."""
    return node.which if node.n is None else f"nth {node.n}"


def condition_unit(condition: Any) -> str | None:
    """Return the unit in which a condition reads the value, if it does."""
    if condition is None:
        return None
    for node in m.row_nodes(condition):
        if isinstance(node, m.RowField) and node.name == "value":
            return node.unit
    return None


def item_unit(node: m.ForEach) -> str | None:
    """Return the unit in which a question for each item reads the value, if it does."""
    for part in m.walk(node.value):
        if isinstance(part, m.ItemField) and part.name == "value":
            return part.unit
    return None
