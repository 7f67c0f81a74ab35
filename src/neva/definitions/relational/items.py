"""Questions for each of several items: rows of a frame, days, times every so many hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ibis

from neva.definitions import model as m
from neva.definitions.local_time import HOUR
from neva.definitions.relational.draft import Draft, Level, Pass
from neva.definitions.relational.plan import POINT_COLUMNS, Schema
from neva.definitions.relational.rows import selected
from neva.definitions.relational.scalars import DTYPES, LARGEST, local_day, midnight

__all__ = ["grid_answers", "row_answers"]


def row_answers(draft: Draft, this: Pass, node: m.ForEach, level: Level) -> tuple[str, Schema]:
    """A question for each row of a frame."""
    fields = sorted(
        {part.name for part in m.walk(node.value) if isinstance(part, m.ItemField)} | {"time"}
    )
    own = [name for name in fields if name not in ("time", "value")]
    rows = selected(draft, this, [node], value="value" in fields, fields=["position", *own])
    types = {name: DTYPES[m._row_type(name, "1").name] for name in fields}
    items = rows.select(
        outer_id=rows.point_id,
        item_order=rows.position,
        **{f"item_{name}": rows[name].cast(types[name]) for name in fields},
    )
    return _asked_of_items(
        draft,
        node,
        this.columns[node.digest],
        items,
        {f"item_{name}": types[name] for name in fields},
        this.given,
        this.schema,
        level,
    )


def grid_answers(
    draft: Draft,
    node: m.ForEach,
    column: str,
    given: str,
    schema: Schema,
    names: Mapping[str, str],
    level: Level,
) -> tuple[str, Schema]:
    """A question for each day, or each of times every so many hours."""
    assert not isinstance(node.items, m.Frame)  # frames have rows
    table = ibis.table(schema, name=given)
    start = table[names[node.items.start.digest]]
    end = ibis.cases(
        (table[names[node.items.end.digest]] <= table.now, table[names[node.items.end.digest]]),
        (table[names[node.items.end.digest]].notnull(), table.now),
        else_=ibis.null("int64"),
    )
    counter = ibis.table({"k": "int64"}, name="counter")
    if isinstance(node.items, m.Days):
        first = local_day(start, draft.clock)
        last = ibis.cases((end >= start, local_day(end, draft.clock)), else_=ibis.null("int64"))
        spans = table.select(outer_id=table.point_id, first=first, last=last)
        joined = spans.join(counter, spans.first + counter.k <= spans["last"])
        day = joined["first"] + joined.k
        items = joined.select(
            outer_id=joined.outer_id,
            item_order=joined.k,
            item_time=midnight(day, draft.clock),
            item_end_time=midnight(day + 1, draft.clock),
        )
    else:
        step = max(int(node.items.hours * HOUR + 0.5), 1)
        spans = table.select(outer_id=table.point_id, first=start, last=end)
        joined = spans.join(counter, spans.first + counter.k * step <= spans["last"])
        items = joined.select(
            outer_id=joined.outer_id,
            item_order=joined.k,
            item_time=joined["first"] + joined.k * step,
            item_end_time=ibis.null("int64"),
        )
    return _asked_of_items(
        draft,
        node,
        column,
        items,
        {"item_time": "int64", "item_end_time": "int64"},
        given,
        schema,
        level,
    )


def _asked_of_items(
    draft: Draft,
    node: m.ForEach,
    column: str,
    items: Any,
    types: Schema,
    given: str,
    schema: Schema,
    level: Level,
) -> tuple[str, Schema]:
    """Ask a definition at each item, and add the answers up by point."""
    draft.levels += 1
    prefix = f"i{draft.levels}"
    base = f"{prefix}items"
    points = ibis.table(schema, name=given).select(*POINT_COLUMNS)
    points = points.rename({"of_point": "point_id"})
    joined = items.join(points, items.outer_id == points.of_point)
    numbered = joined.select(
        "outer_id",
        *[name for name in POINT_COLUMNS if name != "point_id"],
        *types,
        point_id=ibis.row_number()
        .over(ibis.window(order_by=[joined.outer_id, joined.item_order]))
        .cast("int64"),
    )
    draft.add(base, numbered)
    base_schema = {**POINT_COLUMNS, **types, "outer_id": "int64"}
    answers = level(draft, {"value": node.value}, base, base_schema, prefix)
    left = ibis.table(base_schema, name=base).select("point_id", "outer_id")
    dtype = DTYPES[node.value.type.name]
    right = ibis.table({"point_id": "int64", "out_value": dtype}, name=answers)
    right = right.rename({"item_id": "point_id"})
    both = left.join(right, left.point_id == right.item_id)
    value = both.out_value
    cells: dict[str, Any] = {}
    own: Schema = {"point_id": "int64", column: DTYPES[node.type.name]}
    if node.how in ("any", "all"):
        wins = value if node.how == "any" else ~value
        won = ibis.coalesce(wins, ibis.literal(False)).cast("int64").max() > 0
        unknown = value.isnull().cast("int64").max() > 0
        cells["n"] = both.count()
        cells["won"], cells["unknown"] = won, unknown
    elif node.how == "count":
        cells["found"] = ibis.coalesce(value, ibis.literal(False)).cast("int64").sum()
    else:
        how = {"sum": "sum", "mean": "mean", "minimum": "min", "maximum": "max"}[node.how]
        cells["found"] = getattr(value, how)()
    grouped = both.group_by("outer_id").agg(**cells)
    name = f"{prefix}asked"
    if node.how in ("any", "all"):
        found = ibis.cases(
            (grouped.won, ibis.literal(node.how == "any")),
            (grouped.unknown, ibis.null("boolean")),
            else_=ibis.literal(node.how == "all"),
        )
        final = grouped.select(
            point_id=grouped.outer_id,
            **{column: found, f"{column}_n": grouped.n.cast("int64")},
        )
        own[f"{column}_n"] = "int64"
    else:
        found = grouped.found.cast("float64")
        if node.how in ("sum", "mean"):
            found = ibis.cases((found.abs() <= LARGEST, found), else_=ibis.null("float64"))
        counted = {}
        if node.how == "sum":
            some = ibis.cases((grouped.found.notnull(), 1), else_=ibis.null("int64"))
            counted = {f"{column}_n": some.cast("int64")}
            own[f"{column}_n"] = "int64"
        final = grouped.select(point_id=grouped.outer_id, **{column: found}, **counted)
    draft.add(name, final)
    return name, own
