"""Single rows that are picked: the nth, the highest, the lowest; and their fields."""

from __future__ import annotations

from typing import Any

import ibis

from neva.definitions.relational.draft import Cell, Draft, Pass, cell
from neva.definitions.relational.plan import FRAME_COLUMNS, Schema
from neva.definitions.relational.questions import pick_name
from neva.definitions.relational.rows import row_field, selected
from neva.definitions.relational.scalars import DTYPES
from neva.definitions.relational.windows import use_of

__all__ = ["picked_fields", "ranked_picks"]


def ranked_picks(draft: Draft, this: Pass, nodes: list[Any]) -> list[Any]:
    """Positions of nth, highest and lowest rows."""
    found = []
    groups: dict[tuple[Any, ...], dict[int, Any]] = {}
    for node in nodes:
        sign = 0 if node.n is None else (1 if node.n > 0 else -1)
        number = use_of(draft, this, node).number
        groups.setdefault((node.which, sign), {}).setdefault(number, []).append(node)
    for (which, sign), by_use in groups.items():
        these = [node for several in by_use.values() for node in several]
        by_value = which in ("highest", "lowest")
        rows = selected(draft, this, these, value=by_value)
        if by_value:
            rows = rows.filter(rows.value.notnull())
        order = {
            "highest": lambda t: [t.value.desc(), t.position.asc()],
            "lowest": lambda t: [t.value.asc(), t.position.asc()],
        }.get(which, lambda t, s=sign: [t.position.asc() if s > 0 else t.position.desc()])
        ranked = rows.mutate(
            rank_of=ibis.row_number().over(
                ibis.window(group_by=["point_id", "frame"], order_by=order(rows))  # type: ignore[no-untyped-call]
            )
        )
        picks: dict[str, list[tuple[int, int]]] = {}
        for number, several in by_use.items():
            for node in several:
                picks.setdefault(pick_name(node), []).append((number, abs(node.n or 1) - 1))
        for name, wanted in picks.items():
            rank = wanted[0][1]
            numbers = sorted({number for number, _ in wanted})
            found.append(
                ranked.filter(ranked.frame.isin(numbers), ranked.rank_of == rank).select(
                    "point_id",
                    "frame",
                    pick=ibis.literal(name, type="string"),
                    position=ranked.position,
                )
            )
    return found


def picked_fields(
    draft: Draft, this: Pass, nodes: list[Any], picked: list[Any]
) -> tuple[str, Schema]:
    """Read the fields of picked rows."""
    union = picked[0] if len(picked) == 1 else ibis.union(*picked)
    name = f"{this.prefix}picks"
    draft.add(name, union)
    picks = ibis.table(
        {"point_id": "int64", "frame": "int32", "pick": "string", "position": "int64"},
        name=name,
    )
    points = ibis.table(this.schema, name=this.given).select("point_id", "subject_id", "now")
    fields = {node.field for node in nodes}
    needed = {"position", *fields}
    if "text" in fields:
        needed |= {"of_stays", "end_time"}
    rows = draft.timeline(*sorted(needed))
    joined = picks.join(points, picks.point_id == points.point_id)
    joined = joined.select("point_id", "frame", "pick", "position", "subject_id", "now")
    rows = rows.rename({"row_subject_id": "subject_id", "row_position": "position"})
    joined = joined.join(
        rows,
        [joined.subject_id == rows.row_subject_id, joined.position == rows.row_position],
    )
    if "value" in fields:
        frames = ibis.table(FRAME_COLUMNS, name="frames").select(
            "frame", "kind", "value_factor", "value_offset"
        )
        frames = frames.rename({"use_frame": "frame", "use_kind": "kind"})
        joined = joined.join(
            frames, [joined.frame == frames.use_frame, joined.kind == frames.use_kind]
        )
    cells: dict[str, Cell] = {}
    for node in nodes:
        dtype = DTYPES[node.type.name]
        value = (
            joined.value * joined.value_factor + joined.value_offset
            if node.field == "value"
            else row_field(node.field, joined)
        )
        at = (joined.frame == use_of(draft, this, node).number) & (joined.pick == pick_name(node))
        cells[this.columns[node.digest]] = cell(at, value.cast(dtype), dtype)
    target = f"{this.prefix}fields"
    query = joined.group_by("point_id").agg(
        **{own: value.max() for own, (value, _) in cells.items()}
    )
    draft.add(target, query)
    return target, {"point_id": "int64"} | {own: dtype for own, (_, dtype) in cells.items()}
