"""The relational engine's plan: every point of a hospital at once, as SQL.

A definition becomes a list of statements. What is asked of rows (exists,
first, mean, ...) is gathered in *stages*: a stage may use what earlier ones
found, as the time of a first dose. Within a stage all frames go through one
pass: rows join the frames that take their code and the windows of the points,
are grouped long by (point, frame), and only then turned into columns. Values
of points are columns computed in layers (:mod:`neva.definitions.relational.scalars`).

Here are the levels, stages and passes. Each kind of question has its file:
windows of time, the rows that they take (``windows``, ``rows``), counts and ends
(``groups``), picked rows (``picks``), hours and slopes (``spans``), and
questions for each of several items (``items``).

The plan is text for one dialect and names only these tables, which an adapter
supplies (:mod:`neva.definitions.relational.warehouse`):

``points``
    The points with what is known of their stay and patient.
``timeline``
    Rows of all patients with the codes that the plan needs.
``frames``
    For every frame of the plan the kinds of row that it takes, and how their
    values are read in its unit.
``counter``
    The numbers from 0 to 4095.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ibis

from neva.definitions import model as m
from neva.definitions.local_time import LocalClock
from neva.definitions.relational.draft import Draft, Pass
from neva.definitions.relational.groups import aggregate_answers, end_picks, grouped_rows
from neva.definitions.relational.items import grid_answers, row_answers
from neva.definitions.relational.picks import picked_fields, ranked_picks
from neva.definitions.relational.plan import (
    MORE_ROW_COLUMNS,
    POINT_COLUMNS,
    ROW_COLUMNS,
    Plan,
    Schema,
)
from neva.definitions.relational.questions import Kinds, asked, frames_of, needs
from neva.definitions.relational.scalars import DTYPES, layers
from neva.definitions.relational.spans import span_answers
from neva.definitions.relational.windows import make_windows, use_of

__all__ = ["compile_plan"]


def compile_plan(
    outputs: Mapping[str, Any], *, clock: LocalClock, sql: Callable[[Any], str]
) -> Plan:
    """Compile expressions to a plan.

    Parameters
    ----------
    outputs : mapping of str to expression
        Nodes of :mod:`neva.definitions.model`.
    clock : LocalClock
        The hospital's clock, over all years that may occur.
    sql : callable
        Compiles an Ibis table to text of the engine's dialect.

    Returns
    -------
    Plan
    """
    draft = Draft(clock, sql)
    result = _level(draft, outputs, "points", dict(POINT_COLUMNS), "p")
    return Plan(
        statements=tuple(draft.statements),
        uses=tuple(draft.uses),
        row_columns=(
            *ROW_COLUMNS,
            *(name for name in MORE_ROW_COLUMNS if name in draft.row_columns),
        ),
        attributes=tuple(draft.attributes),
        ordered=tuple(sorted(draft.ordered)),
        result=result,
        types={name: DTYPES[node.type.name] for name, node in outputs.items()},
    )


def _level(draft: Draft, outputs: Mapping[str, Any], base: str, schema: Schema, prefix: str) -> str:
    """Compile expressions over a table of points; return the table of answers."""
    stage: dict[str, int] = {}
    found: dict[str, Any] = {}

    def stage_of(node: Any) -> int:
        if node.digest not in stage:
            below = [stage_of(one) for need in needs(node) for one in asked(need)]
            stage[node.digest] = max(below, default=0) + 1
            found[node.digest] = node
        return stage[node.digest]

    for output in outputs.values():
        for node in asked(output):
            stage_of(node)
    columns: dict[str, str] = {digest: f"{prefix}q{number}" for number, digest in enumerate(found)}
    known: dict[str, str] = {}

    def leaf(node: Any) -> str | None:
        if isinstance(node, m.PointField):
            return node.name
        if isinstance(node, m.ItemField):
            return f"item_{node.name}"
        return known.get(node.digest)

    context, context_schema = base, dict(schema)
    for number in range(1, max(stage.values(), default=0) + 1):
        these = [found[digest] for digest, at in stage.items() if at == number]
        context, context_schema = _stage(
            draft, these, columns, context, context_schema, leaf, f"{prefix}{number}"
        )
        known.update({node.digest: columns[node.digest] for node in these})
    query, _ = layers(
        {f"out_{name}": node for name, node in outputs.items()},
        base=context,
        schema=context_schema,
        leaf=leaf,
        keep=["point_id"],
        clock=draft.clock,
        sql=draft.sql,
    )
    name = f"{prefix}answers"
    draft.add(name, query)
    return name


def _stage(
    draft: Draft,
    nodes: list[Any],
    columns: Mapping[str, str],
    context: str,
    schema: Schema,
    leaf: Callable[[Any], str | None],
    prefix: str,
) -> tuple[str, Schema]:
    """Answer the questions of one stage; return the context with their columns."""
    # Times of windows, and parts of conditions that belong to the point.
    scalars: dict[str, Any] = {}
    names: dict[str, str] = {}
    for node in nodes:
        for need in needs(node):
            if need.digest not in names:
                names[need.digest] = f"{prefix}s{len(names)}"
                scalars[names[need.digest]] = need
    given = f"{prefix}given"
    query, schema = layers(
        scalars,
        base=context,
        schema=schema,
        leaf=leaf,
        keep=list(schema),
        clock=draft.clock,
        sql=draft.sql,
    )
    draft.add(given, query)
    over_frames = [
        node for node in nodes if not isinstance(node, m.ForEach) or isinstance(node.items, m.Frame)
    ]
    over_grids = [node for node in nodes if node not in over_frames]
    made: list[tuple[str, Schema]] = []
    if over_frames:
        draft.passes += 1
        this = Pass(draft.passes, prefix, given, schema, names, columns)
        made += _answers_over_frames(draft, this, over_frames)
    made += [
        grid_answers(draft, node, columns[node.digest], given, schema, names, _level)
        for node in over_grids
    ]
    # The context, the answers beside it.
    table = ibis.table(schema, name=given)
    dropped = set(scalars)
    kept = [name for name in schema if name not in dropped]
    joined = table
    answers: dict[str, Any] = {}
    for name, own in made:
        right = ibis.table(own, name=name)
        right = right.rename({f"{name}_id": "point_id"})
        joined = joined.left_join(right, joined.point_id == right[f"{name}_id"])
    for node in nodes:
        column = columns[node.digest]
        answers[column] = _settled(node, joined, column, names)
    result = f"{prefix}context"
    draft.add(result, joined.select(*[joined[name] for name in kept], **answers))
    return result, {name: schema[name] for name in kept} | {
        columns[node.digest]: DTYPES[node.type.name] for node in nodes
    }


def _settled(node: Any, table: Any, column: str, names: Mapping[str, str]) -> Any:
    """What a question's column says where there was no row, and where the window is unknown."""
    value = table[column]
    how = getattr(node, "how", None)
    if isinstance(node, (m.Aggregate, m.ForEach)):
        empty = {
            "exists": ibis.literal(False),
            "any": ibis.literal(False),
            "all": ibis.literal(True),
            "count": ibis.literal(0.0),
            "codes": ibis.literal(0.0),
            "sum": ibis.literal(0.0),
            "hours": ibis.literal(0.0),
        }.get(how or "")
        if how in ("any", "all"):
            # Unknown answers are told apart from no items by the count.
            value = ibis.cases((table[f"{column}_n"].isnull(), empty), else_=value)
        elif how == "sum":
            # A sum that is too large is told apart from no values by the count.
            value = ibis.cases((table[f"{column}_n"].isnull(), empty), else_=value)
        elif empty is not None:
            value = ibis.coalesce(value, empty)
    items = frames_of(node)[0]
    needed = (
        [bound.time for bound in (*items.lower, *items.upper) if not bound.open_if_missing]
        if isinstance(items, m.Frame)
        else [items.start, items.end]
    )
    dtype = DTYPES[node.type.name]
    lines = [(table[names[need.digest]].isnull(), ibis.null(dtype)) for need in needed]
    value = value.cast(dtype)
    return ibis.cases(*lines, else_=value) if lines else value


def _answers_over_frames(draft: Draft, this: Pass, nodes: list[Any]) -> list[tuple[str, Schema]]:
    """Answer the questions of a pass; return tables of answers by point."""
    for node in nodes:
        use_of(draft, this, node)
    make_windows(draft, this, nodes)
    kinds = Kinds(nodes)
    made: list[tuple[str, Schema]] = []
    picked: list[Any] = []
    if kinds.grouped:
        source = grouped_rows(draft, this, kinds)
        made += aggregate_answers(draft, this, kinds, source)
        picked += end_picks(draft, this, kinds, source)
    picked += ranked_picks(draft, this, kinds.ranked)
    if picked:
        made.append(picked_fields(draft, this, [*kinds.ends, *kinds.ranked], picked))
    made += [span_answers(draft, this, node) for node in kinds.special]
    made += [row_answers(draft, this, node, _level) for node in kinds.nested]
    return made
