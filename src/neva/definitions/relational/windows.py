"""Windows of time: the frames of questions as a pass uses them, and the table of their windows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import ibis

from neva.definitions import model as m
from neva.definitions.relational.draft import Draft, Pass
from neva.definitions.relational.plan import FrameUse
from neva.definitions.relational.questions import (
    condition_unit,
    conditions,
    frames_of,
    item_unit,
    scalars_of_condition,
)

__all__ = ["make_windows", "use_of"]

_NEVER: Final = -(2**62)
_FAR: Final = 2**62


def use_of(draft: Draft, this: Pass, node: Any) -> FrameUse:
    """Return the frame of a question as the pass uses it."""
    frame = frames_of(node)[0]
    if isinstance(node, m.HoursWhere):
        unit = condition_unit(node.condition)
    elif isinstance(node, m.ForEach):
        unit = item_unit(node)
    else:
        unit = node.unit
    # Conditions of different hours-where must not share a use: each is its own.
    own = node.digest if isinstance(node, (m.HoursWhere, m.ForEach)) else None
    key = (frame.digest, unit, own)
    if key not in this.uses:
        window = (frame.lower, frame.upper)
        at = this.windows.setdefault(window, len(this.windows))
        this.uses[key] = FrameUse(
            pass_id=this.number,
            number=len(draft.uses),
            window=at,
            frame=frame,
            condition_unit=frame.condition_unit,
            value_unit=unit,
        )
        draft.uses.append(this.uses[key])
    return this.uses[key]


def make_windows(draft: Draft, this: Pass, nodes: list[Any]) -> None:
    """Make the table of windows: one row for each point and window that is known."""
    table = ibis.table(this.schema, name=this.given)
    carried = {
        this.names[part.digest]
        for node in nodes
        for condition in conditions(node)
        for part in scalars_of_condition(condition)
    }
    kept = ["point_id", "subject_id", "stay_id", "now", "known", *sorted(carried)]
    parts = [
        table.select(
            *[table[name] for name in kept],
            window=ibis.literal(number, type="int32"),
            low=_end(this, table, lower, lower=True),
            high=_end(this, table, upper, lower=False),
        )
        for (lower, upper), number in this.windows.items()
    ]
    union = parts[0] if len(parts) == 1 else ibis.union(*parts)
    union = union.filter(union.low <= union.high)
    this.window_table = f"{this.prefix}windows"
    draft.add(this.window_table, union)
    this.window_columns = {one: this.schema[one] for one in kept} | {
        "window": "int32",
        "low": "int64",
        "high": "int64",
    }


def _end(this: Pass, table: Any, bounds: Iterable[m.Bound], *, lower: bool) -> Any:
    """Return one end of a window: the latest of its lower bounds, the earliest of the upper."""
    far = ibis.literal(_NEVER if lower else _FAR, type="int64")
    step = 1 if lower else -1
    found = []
    unknown = []
    for bound in bounds:
        column = table[this.names[bound.time.digest]]
        value = column if bound.closed else column + step
        if bound.open_if_missing:
            value = ibis.coalesce(value, far)
        else:
            unknown.append(column.isnull())
        found.append(value)
    if not found:
        return far
    whole = found[0] if len(found) == 1 else (ibis.greatest if lower else ibis.least)(*found)
    if len(found) > 1 and unknown:
        whole = ibis.cases(*[(one, ibis.null("int64")) for one in unknown], else_=whole)
    return whole
