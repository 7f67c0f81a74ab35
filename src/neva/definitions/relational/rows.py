"""Rows that the frames of questions take, each once for each point and frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ibis

from neva.definitions import model as m
from neva.definitions.relational.draft import Draft, Pass
from neva.definitions.relational.plan import FRAME_COLUMNS, FrameUse
from neva.definitions.relational.questions import conditions, frames_of, needs_order
from neva.definitions.relational.scalars import combine, constant, converted_value
from neva.definitions.relational.windows import use_of

__all__ = ["row_field", "selected"]


def selected(
    draft: Draft,
    this: Pass,
    nodes: list[Any],
    *,
    value: bool = False,
    fields: Iterable[str] = (),
) -> Any:
    """Return the rows that the frames of some nodes take, once for each point and frame."""
    uses = {use.number: use for use in (use_of(draft, this, node) for node in nodes)}
    needed = _columns_read(draft, nodes, list(uses.values()), value=value, fields=fields)
    joined = _rows_in_frames(draft, this, uses, needed)
    taken = _rows_taken(draft, this, uses, joined)
    kept = ["point_id", "frame", "time", "low", "high", "now"]
    kept += [one for one in ("position", "code") if one in needed]
    extra: dict[str, Any] = {}
    if value:
        extra["value"] = converted_value(joined.value, joined.value_factor, joined.value_offset)
    for one in fields:
        if one not in kept and one != "value":
            extra[one] = row_field(one, joined)
    if _asks_for_spans(nodes):
        extra["until"] = _last_known(joined)
    for node in nodes:
        if isinstance(node, m.HoursWhere):
            extra["holds"] = _holds(draft, this, node, joined)
    return joined.filter(taken).select(*kept, **extra)


def row_field(name: str, joined: Any) -> Any:
    """Return a field of the row as far as it is known now."""
    if name == "end_time":
        return ibis.cases(
            (joined.end_time <= joined.now, joined.end_time), else_=ibis.null("int64")
        )
    if name == "text":
        # The outcome of a stay is not known before its end.
        return ibis.cases(
            (~joined.of_stays, joined.text),
            (joined.end_time <= joined.now, joined.text),
            else_=ibis.null("string"),
        )
    return joined[name]


def _columns_read(
    draft: Draft, nodes: list[Any], uses: list[FrameUse], *, value: bool, fields: Iterable[str]
) -> set[str]:
    """Name the columns of rows that are read, and note the sources that need an order."""
    needed = {*fields, *_columns_of_conditions(draft, nodes, uses)}
    ordered = [node for node in nodes if needs_order(node)]
    if ordered or "position" in needed:
        needed.add("position")
        draft.ordered |= {frames_of(node)[0].source for node in ordered or nodes}
    if any(getattr(node, "how", None) == "codes" for node in nodes):
        needed.add("code")
    if value or any(use.condition_unit for use in uses):
        needed.add("value")
    if any(use.frame.of_stay for use in uses):
        needed.add("stay_id")
    if _asks_for_spans(nodes) or any(use.frame.overlapping for use in uses):
        needed.add("end_time")
    if "text" in needed:
        needed |= {"of_stays", "end_time"}
    return needed


def _asks_for_spans(nodes: list[Any]) -> bool:
    return any(getattr(node, "how", None) == "hours" for node in nodes)


def _columns_of_conditions(draft: Draft, nodes: list[Any], uses: list[FrameUse]) -> set[str]:
    """Name what conditions read of the row, and note the attributes."""
    wheres = [use.frame.where for use in uses if use.frame.where is not None]
    found: set[str] = set()
    for condition in [*wheres, *(c for node in nodes for c in conditions(node))]:
        for node in m.row_nodes(condition):
            if isinstance(node, m.RowField):
                found.add(node.name)
                if node.name == "text":
                    found |= {"of_stays", "end_time"}
            if isinstance(node, m.Attribute) and node.key not in draft.attributes:
                draft.attributes.append(node.key)
    return found


def _rows_in_frames(
    draft: Draft, this: Pass, uses: Mapping[int, FrameUse], needed: set[str]
) -> Any:
    """Join rows with the frames that take their kind, and with the windows of points."""
    rows = draft.timeline(*sorted(needed))
    frames = ibis.table(FRAME_COLUMNS, name="frames")
    frames = frames.filter(frames.pass_id == this.number)
    if set(uses) != {use.number for use in this.uses.values()}:
        frames = frames.filter(frames.frame.isin(sorted(uses)))
    points = ibis.table(this.window_columns, name=this.window_table)
    points = points.rename({"point_stay_id": "stay_id"})
    joined = rows.join(frames, rows.kind == frames.kind)
    return joined.join(
        points,
        [joined.subject_id == points.subject_id, joined.window == points.window],
    )


def _rows_taken(draft: Draft, this: Pass, uses: Mapping[int, FrameUse], joined: Any) -> Any:
    """Tell which rows a frame takes: known by then, in the window, of the stay, as it asks."""
    keep = (
        (joined.recorded <= joined.known)
        & (joined.known_until > joined.known)
        & ((joined.time <= joined.now) | joined.planned)
        & (joined.time <= joined.high)
    )
    starts = joined.time >= joined.low
    if any(use.frame.overlapping for use in uses.values()):
        # Still going on at the window's start, which is not later than now.
        lasts = (joined.end_time > joined.low) & (joined.low <= joined.now)
        starts |= joined.overlapping & lasts
    keep &= starts
    if any(use.frame.of_stay for use in uses.values()):
        keep &= ~joined.of_stay | (joined.stay_id == joined.point_stay_id)
    lines = [
        (joined.frame == number, _condition(draft, this, use.frame.where, joined, "condition"))
        for number, use in uses.items()
        if use.frame.where is not None
    ]
    if lines:
        keep &= ibis.cases(*lines, else_=ibis.literal(True))
    return keep


def _holds(draft: Draft, this: Pass, node: m.HoursWhere, joined: Any) -> Any:
    """Tell whether the condition of hours-where holds in a row; unknown is no."""
    if node.condition is None:
        return ibis.literal(True)
    return ibis.coalesce(
        _condition(draft, this, node.condition, joined, "value"), ibis.literal(False)
    )


def _condition(draft: Draft, this: Pass, node: Any, joined: Any, reading: str) -> Any:
    """Return the condition of rows as a column over rows joined with windows."""
    if isinstance(node, m.RowField):
        if node.name == "value":
            return converted_value(
                joined.value, joined[f"{reading}_factor"], joined[f"{reading}_offset"]
            )
        return row_field(node.name, joined)
    if isinstance(node, m.Attribute):
        return joined[f"attribute_{draft.attributes.index(node.key)}"]
    known = constant(node)
    if known is not None:
        return known
    if node.digest in this.names:
        return joined[this.names[node.digest]]
    parts = [_condition(draft, this, part, joined, reading) for part in m.children(node)]
    return combine(node, parts, draft.clock, None)


def _last_known(joined: Any) -> Any:
    """Until when a row is known to have lasted."""
    return ibis.cases(
        (joined.end_time.isnull(), joined.time),
        else_=ibis.greatest(joined.time, ibis.least(joined.end_time, joined.now)),
    )
