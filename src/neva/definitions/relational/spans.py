"""Hours and slopes: questions that each look at the order of their own rows."""

from __future__ import annotations

from typing import Any

import ibis

from neva.definitions import model as m
from neva.definitions.local_time import HOUR
from neva.definitions.relational.draft import Draft, Pass
from neva.definitions.relational.plan import Schema
from neva.definitions.relational.rows import selected
from neva.definitions.relational.scalars import LARGEST

__all__ = ["span_answers"]


def span_answers(draft: Draft, this: Pass, node: Any) -> tuple[str, Schema]:
    """Answer a question of hours or of a slope; return its table of answers by point."""
    column = this.columns[node.digest]
    if isinstance(node, m.HoursWhere):
        query = _hours_where(draft, this, node, column)
    elif node.how == "hours":
        query = _hours_covered(draft, this, node, column)
    else:
        query = _slope(draft, this, node, column)
    name = f"{this.prefix}{column}"
    draft.add(name, query)
    return name, {"point_id": "int64", column: "float64"}


def _hours_where(draft: Draft, this: Pass, node: m.HoursWhere, column: str) -> Any:
    """Hours in which the last row fulfilled a condition, each carried forward for so long."""
    rows = selected(draft, this, [node])
    following = rows.time.lead().over(ibis.window(group_by="point_id", order_by=rows.position))
    carry = int(node.carry * HOUR + 0.5)
    end = ibis.least(rows.time + carry, rows.high, rows.now, following)
    rows = rows.mutate(start=ibis.greatest(rows.time, rows.low), end=end)
    span = ibis.cases(
        (rows.holds & (rows.end > rows.start), rows.end - rows.start),
        else_=ibis.literal(0, type="int64"),
    )
    return rows.group_by("point_id").agg(**{column: span.sum().cast("float64") / float(HOUR)})


def _hours_covered(draft: Draft, this: Pass, node: m.Aggregate, column: str) -> Any:
    """Hours that rows with an end cover, overlaps counted once."""
    rows = selected(draft, this, [node], fields=["position"])
    rows = rows.mutate(
        start=ibis.greatest(rows.time, rows.low),
        end=ibis.least(rows.until, rows.high, rows.now),
    )
    before = rows.end.max().over(
        ibis.window(
            group_by="point_id",
            order_by=[rows.start, rows.end, rows.position],
            preceding=(None, 1),
        )
    )
    rows = rows.mutate(before=before)
    begins = ibis.greatest(rows.start, rows.before)
    span = ibis.cases((rows.end > begins, rows.end - begins), else_=ibis.literal(0, type="int64"))
    return rows.group_by("point_id").agg(**{column: span.sum().cast("float64") / float(HOUR)})


def _slope(draft: Draft, this: Pass, node: m.Aggregate, column: str) -> Any:
    """Change of the value an hour, by least squares."""
    rows = selected(draft, this, [node], value=True)
    rows = rows.filter(rows.value.notnull())
    rows = rows.mutate(at=(rows.time - rows.now) / float(HOUR))
    window = ibis.window(group_by="point_id")
    rows = rows.mutate(
        over=rows["at"] - rows["at"].mean().over(window),
        above=rows.value - rows.value.mean().over(window),
    )
    spread = (rows.over * rows.over).sum()
    different = rows.time.max() > rows.time.min()
    query = rows.group_by("point_id").agg(
        top=(rows.over * rows.above).sum(), bottom=spread, different=different
    )
    slope = query.top / query.bottom.nullif(0.0)
    return query.select(
        "point_id",
        **{
            column: ibis.cases(
                (query.different & (slope.abs() <= LARGEST), slope),
                else_=ibis.null("float64"),
            )
        },
    )
