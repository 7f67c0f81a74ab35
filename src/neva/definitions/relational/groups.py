"""Counts, sums and ends: rows grouped by point and frame, then turned into columns."""

from __future__ import annotations

from typing import Any, Final

import ibis

from neva.definitions.relational.draft import Cell, Draft, Pass, cell
from neva.definitions.relational.plan import Schema
from neva.definitions.relational.questions import Kinds
from neva.definitions.relational.rows import selected
from neva.definitions.relational.scalars import LARGEST
from neva.definitions.relational.windows import use_of

__all__ = ["aggregate_answers", "end_picks", "grouped_rows"]

_WHOLE_NUMBERS: Final = frozenset(["first", "last", "first_time", "last_time", "codes"])
#: What is asked of values, and the function of Ibis.
_OF_VALUES: Final = (("minimum", "min"), ("maximum", "max"), ("mean", "mean"), ("sum", "sum"))


def grouped_rows(draft: Draft, this: Pass, kinds: Kinds) -> Any:
    """Make the table of what is asked of each frame's rows, one row for each point and frame."""
    wants_values = any(node.unit is not None for node in kinds.aggregates)
    rows = selected(draft, this, kinds.grouped, value=wants_values)
    aggregates: dict[str, Any] = {"n": rows.count()}
    if kinds.ends:
        aggregates |= {"first": rows.position.min(), "last": rows.position.max()}
    for which, own in (("first", "min"), ("last", "max")):
        if any(node.which == which for node in kinds.times):
            aggregates[f"{which}_time"] = getattr(rows.time, own)()
    hows = {node.how for node in kinds.aggregates}
    if wants_values:
        aggregates |= {how: getattr(rows.value, own)() for how, own in _OF_VALUES if how in hows}
    if "codes" in hows:
        aggregates["codes"] = rows.code.nunique()
    name = f"{this.prefix}grouped"
    draft.add(name, rows.group_by("point_id", "frame").agg(**aggregates))
    types = {"point_id": "int64", "frame": "int32", "n": "int64"} | {
        own: "int64" if own in _WHOLE_NUMBERS else "float64" for own in aggregates if own != "n"
    }
    return ibis.table(types, name=name)


def aggregate_answers(
    draft: Draft, this: Pass, kinds: Kinds, source: Any
) -> list[tuple[str, Schema]]:
    """Turn what was asked of frames into columns by point; none where only ends were asked."""
    cells: dict[str, Cell] = {}
    for node in kinds.aggregates:
        cells |= _aggregate_cells(this, node, source, use_of(draft, this, node).number)
    for pick in kinds.times:
        at = source.frame == use_of(draft, this, pick).number
        cells[this.columns[pick.digest]] = cell(at, source[f"{pick.which}_time"], "int64")
    if not cells:
        return []
    name = f"{this.prefix}aggregates"
    draft.add(
        name,
        source.group_by("point_id").agg(
            **{own: value.max().cast(dtype) for own, (value, dtype) in cells.items()}
        ),
    )
    return [(name, {"point_id": "int64"} | {own: dtype for own, (_, dtype) in cells.items()})]


def _aggregate_cells(this: Pass, node: Any, source: Any, frame: int) -> dict[str, Cell]:
    column = this.columns[node.digest]
    at = source.frame == frame
    if node.how == "exists":
        return {column: cell(at, source.n > 0, "boolean")}
    value = source["n" if node.how == "count" else node.how].cast("float64")
    if node.how in ("mean", "sum"):
        value = ibis.cases((value.abs() <= LARGEST, value), else_=ibis.null("float64"))
    cells = {column: cell(at, value, "float64")}
    if node.how == "sum":
        some = source["sum"].notnull()
        cells[f"{column}_n"] = cell(at & some, source.n, "int64")
    return cells


def end_picks(draft: Draft, this: Pass, kinds: Kinds, source: Any) -> list[Any]:
    """Positions of the first and the last rows of frames."""
    picked = []
    for which in ("first", "last"):
        wanted = sorted(
            {use_of(draft, this, node).number for node in kinds.ends if node.which == which}
        )
        if wanted:
            picked.append(
                source.filter(source.frame.isin(wanted)).select(
                    "point_id",
                    "frame",
                    pick=ibis.literal(which, type="string"),
                    position=source[which],
                )
            )
    return picked
