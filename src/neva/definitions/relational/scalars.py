"""Expressions as columns: each node one column, in layers, in Ibis.

A layer computes what needs only the columns of the layers below it, so every
node is computed once and no expression is written twice, however often a
definition uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import ibis

from neva.definitions import model as m
from neva.definitions.local_time import DAY, HOUR, LocalClock, microseconds
from neva.definitions.reference.engine import MOST_DAYS, MOST_HOURS
from neva.definitions.relational.plan import Schema
from neva.events.measurement_units import DIGITS, EXACT_POWER, TINY

__all__ = ["DTYPES", "LARGEST", "combine", "constant", "layers", "local_day", "midnight"]

#: Column types of the four types of expressions; times are microseconds.
DTYPES: Final = {"boolean": "boolean", "number": "float64", "time": "int64", "text": "string"}

_SOME: Final = {"boolean": True, "number": 0.0, "time": 0, "text": ""}
#: The largest number that a column holds.
LARGEST: Final = 1.7976931348623157e308
#: Doubles from here on are whole numbers anyway.
_WHOLE: Final = 9.0e15


def _missing(dtype: str) -> Any:
    return ibis.null(dtype)


def _finite(value: Any) -> Any:
    # Not a number compares as the greatest number, so it is caught too.
    return ibis.cases((value.abs() <= LARGEST, value), else_=_missing("float64"))


def _remainder(of: Any, divisor: int) -> Any:
    return (of % divisor + divisor) % divisor


def _quotient(of: Any, divisor: int) -> Any:
    """Whole quotient, rounded down, exact: the database divides as floating point."""
    return ((of - _remainder(of, divisor)) / divisor).round().cast("int64")


def _rounded(value: Any) -> Any:
    return (value + 0.5).floor().cast("int64")


def converted_value(value: Any, factor: Any, offset: Any) -> Any:
    """Convert a column of values (:func:`neva.events.measurement_units.convert`).

    Where a factor is missing, the value is missing.
    """
    made = value * factor + offset
    largest = ibis.greatest((value * factor).abs(), offset.abs())
    positive = ibis.greatest(largest, ibis.literal(1e-300))
    digits = float(DIGITS - 1) - positive.log10().floor()
    digits = ibis.cases((largest > TINY, ibis.least(digits, float(EXACT_POWER))), else_=digits)
    scale = ibis.literal(10.0) ** digits
    # An infinite scale, or a product that is: as the arithmetic gives it.
    is_safe = (largest > 1e-290) & (largest < 1e290)
    return ibis.cases(
        ((factor == 1.0) & (offset == 0.0), value),
        (is_safe, _rounded(made * scale) / scale),
        else_=made,
    )


def _offset(time: Any, changes: Sequence[tuple[int, int]], first: int) -> Any:
    if not changes:
        return ibis.literal(first, type="int64")
    lines = []
    offset = first
    for at, following in changes:
        lines.append((time < at, ibis.literal(offset, type="int64")))
        offset = following
    return ibis.cases(*lines, else_=ibis.literal(offset, type="int64"))


def local(time: Any, clock: LocalClock) -> Any:
    """A time on the hospital's clock, in microseconds."""
    return time + _offset(time, clock.changes, clock.first_offset)


def utc(reading: Any, clock: LocalClock) -> Any:
    """What the hospital's clock shows, as UTC."""
    return reading - _offset(reading, clock.changes_by_local_time, clock.first_offset)


def local_day(time: Any, clock: LocalClock) -> Any:
    """The calendar day of a time, as days since 1970."""
    return _quotient(local(time, clock), DAY)


def midnight(day: Any, clock: LocalClock) -> Any:
    """The first moment of a calendar day."""
    return utc(day * DAY, clock)


def _date(time: Any, clock: LocalClock) -> Any:
    return _quotient(local(time, clock), 1_000_000).as_timestamp("s")


def constant(node: Any) -> Any:
    """A constant as a literal; None if the node is none."""
    match node:
        case m.Number():
            return ibis.literal(node.value, type="float64")
        case m.Flag():
            return ibis.literal(node.value, type="boolean")
        case m.Text():
            return ibis.literal(node.value, type="string")
        case m.Moment():
            return ibis.literal(microseconds(node.value), type="int64")
        case m.Missing():
            # Not a plain null: Ibis would turn a comparison with it into "is null".
            value = ibis.literal(_SOME[node.of], type=DTYPES[node.of])
            return value.nullif(value)
    return None


def _arithmetic(node: m.Arithmetic, left: Any, right: Any) -> Any:
    if node.operation == "add":
        return _finite(left + right)
    if node.operation == "subtract":
        return _finite(left - right)
    if node.operation == "multiply":
        return _finite(left * right)
    return ibis.cases((right != 0.0, _finite(left / right.nullif(0.0))), else_=_missing("float64"))


def _function(node: m.Function, of: Any) -> Any:
    if node.name == "negate":
        return -of
    if node.name == "absolute":
        return of.abs()
    if node.name == "floor":
        inside = ibis.cases((of.abs() < _WHOLE, of), else_=_missing("float64"))
        return ibis.cases((of.abs() < _WHOLE, inside.floor().cast("float64")), else_=of)
    if node.name == "logarithm":
        return ibis.cases((of > 0.0, of), else_=_missing("float64")).ln()
    # Beyond the largest, some databases raise an error.
    return ibis.cases((of <= 709.782712893384, of), else_=_missing("float64")).exp()


def _shift(node: m.Shift, time: Any, amount: Any, clock: LocalClock) -> Any:
    most = MOST_HOURS if node.unit == "hours" else MOST_DAYS
    amount = ibis.cases((amount.abs() <= most, amount), else_=_missing("float64"))
    if node.unit == "hours":
        return time + _rounded(amount * float(HOUR))
    return utc(local(time, clock) + _rounded(amount) * DAY, clock)


def _clock_part(part: str, time: Any, clock: LocalClock) -> Any:
    if part == "hour":
        found = _quotient(_remainder(local(time, clock), DAY), HOUR)
    elif part == "weekday":
        # 1970-01-01 was a Thursday.
        found = _remainder(local_day(time, clock) + 3, 7) + 1
    else:
        found = getattr(_date(time, clock), part)()
    return found.cast("float64")


def _age(time: Any, birth: Any, clock: LocalClock) -> Any:
    at = _date(time, clock)
    today = at.year().cast("int64") * 10_000 + at.month().cast("int64") * 100 + at.day()
    return _quotient(today - birth, 10_000).cast("float64")


def _reduced(parts: Sequence[Any], step: Callable[[Any, Any], Any]) -> Any:
    whole = parts[0]
    for part in parts[1:]:
        whole = step(whole, part)
    return whole


_COMPARE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def combine(node: Any, parts: list[Any], clock: LocalClock, birth: Any) -> Any:
    """Return the column of a node from the columns of its parts.

    Parameters
    ----------
    node : Node
        Of the kinds that only combine.
    parts : list of column
        In the order of ``model.children``; a branch is a pair of columns.
    clock : LocalClock
        The hospital's clock.
    birth : column
        Birth date as yyyymmdd.
    """
    match node:
        case m.AllOf():
            return _reduced(parts, lambda a, b: a & b)
        case m.AnyOf():
            return _reduced(parts, lambda a, b: a | b)
        case m.Not():
            return ~parts[0]
        case m.Branch():
            return tuple(parts)
        case m.Case():
            dtype = DTYPES[node.type.name]
            lines = []
            for when, then in parts[:-1]:
                lines += [(when.isnull(), _missing(dtype)), (when, then)]
            return ibis.cases(*lines, else_=parts[-1])
        case m.IsMissing():
            return parts[0].isnull()
        case m.FirstKnown():
            return ibis.coalesce(*parts)
        case m.Extreme():
            if len(parts) == 1:
                return parts[0]
            return (ibis.least if node.which == "least" else ibis.greatest)(*parts)
        case m.Compare():
            return _COMPARE[node.operation](parts[0], parts[1])
        case m.OneOf():
            return parts[0].isin(list(node.values))
        case m.Arithmetic():
            return _arithmetic(node, parts[0], parts[1])
        case m.Function():
            return _function(node, parts[0])
        case m.Convert():
            factor, offset = map(ibis.literal, node.factor_and_offset)
            return _finite(converted_value(parts[0], factor, offset))
        case m.Shift():
            return _shift(node, parts[0], parts[1], clock)
        case m.Elapsed():
            return (parts[1] - parts[0]) / float(HOUR)
        case m.CalendarDays():
            days = local_day(parts[1], clock) - local_day(parts[0], clock)
            return days.cast("float64")
        case m.StartOfDay():
            return midnight(local_day(parts[0], clock), clock)
        case m.ClockPart():
            return _clock_part(node.part, parts[0], clock)
        case m.Age():
            return _age(parts[0], birth, clock)
    message = f"no rule for {type(node).__name__}"
    raise NotImplementedError(message)


def layers(
    wanted: Mapping[str, Any],
    *,
    base: str,
    schema: Schema,
    leaf: Callable[[Any], str | None],
    keep: Sequence[str],
    clock: LocalClock,
    sql: Callable[[Any], str],
) -> tuple[str, Schema]:
    """Return a query that adds columns to a table, one for each wanted node.

    Parameters
    ----------
    wanted : mapping of str to node
        New columns.
    base : str
        Table to read, with the columns of `schema`.
    leaf : callable
        The column of a node that the table already has; None if it has none.
    keep : sequence of str
        Columns of the table to keep.
    sql : callable
        Compiles an Ibis table to text.

    Returns
    -------
    (str, Schema)
        The query and the columns of its result.
    """
    depth, nodes = _depths(wanted.values(), leaf)
    names = {
        digest: f"e{number}"
        for number, digest in enumerate(
            digest
            for digest, level in depth.items()
            if level > 0 and not isinstance(nodes[digest], m.Branch)
        )
    }
    digests = {own: digest for digest, own in names.items()}
    used = _last_layer_of_use(wanted.values(), names, nodes, depth)

    def column(table: Any, node: Any) -> Any:
        known = constant(node)
        if known is not None:
            return known
        if isinstance(node, m.Branch):
            return tuple(column(table, part) for part in m.children(node))
        at = leaf(node)
        return table[at] if at is not None else table[names[node.digest]]

    steps: list[str] = []
    name, columns = base, dict(schema)
    for level in range(1, max(depth.values(), default=0) + 1):
        table = ibis.table(columns, name=name)
        birth = table["birth"] if "birth" in columns else None
        made = {}
        for digest, own in names.items():
            if depth[digest] == level:
                node = nodes[digest]
                parts = [column(table, part) for part in m.children(node)]
                made[own] = combine(node, parts, clock, birth).cast(DTYPES[node.type.name])
        # What no later layer needs is dropped on the way.
        kept = [
            one for one in columns if one in schema or used.get(digests.get(one, ""), 0) > level
        ]
        query = table.select(*[table[one] for one in kept], **made)
        name = f"layer{level}"
        columns = {one: columns[one] for one in kept} | {
            own: DTYPES[nodes[digests[own]].type.name] for own in made
        }
        # Plain lower-case names need no quotes in any dialect.
        steps.append(f"{name} AS (\n{sql(query)}\n)")
    table = ibis.table(columns, name=name)
    final = table.select(
        *[table[one] for one in keep],
        **{
            target: column(table, node).cast(DTYPES[node.type.name])
            for target, node in wanted.items()
        },
    )
    text = sql(final)
    if steps:
        text = "WITH " + ",\n".join(steps) + "\n" + text
    result = {one: schema[one] for one in keep} | {
        target: DTYPES[node.type.name] for target, node in wanted.items()
    }
    return text, result


def _depths(
    wanted: Iterable[Any], leaf: Callable[[Any], str | None]
) -> tuple[dict[str, int], dict[str, Any]]:
    """Return in which layer each node is computed (0: it needs none), and the nodes by digest."""
    depth: dict[str, int] = {}
    nodes: dict[str, Any] = {}

    def measure(node: Any) -> int:
        if node.digest in depth:
            return depth[node.digest]
        if constant(node) is not None or leaf(node) is not None:
            found = 0
        else:
            below = [measure(part) for part in m.children(node)]
            # A branch has no column of its own: it is part of its case.
            found = max(below, default=0) + (0 if isinstance(node, m.Branch) else 1)
        depth[node.digest] = found
        nodes[node.digest] = node
        return found

    for node in wanted:
        measure(node)
    return depth, nodes


def _last_layer_of_use(
    wanted: Iterable[Any],
    names: Mapping[str, str],
    nodes: Mapping[str, Any],
    depth: Mapping[str, int],
) -> dict[str, int]:
    """Return the last layer that reads each node's column; what is wanted is read after all."""
    used: dict[str, int] = {}
    for digest in names:
        for part in m.children(nodes[digest]):
            for one in m.children(part) if isinstance(part, m.Branch) else [part]:
                if one.digest in names:
                    used[one.digest] = max(used.get(one.digest, 0), depth[digest])
    for node in wanted:
        if node.digest in names:
            used[node.digest] = len(depth) + 1
    return used
