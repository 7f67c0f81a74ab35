"""The relational engine's plan: every point of a hospital at once, as SQL.

A definition becomes a list of statements. What is asked of rows (exists,
first, mean, ...) is gathered in *stages*: a stage may use what earlier ones
found, as the time of a first dose. Within a stage all frames go through one
pass: rows join the frames that take their code and the windows of the points,
are grouped long by (point, frame), and only then turned into columns. Values
of points are columns computed in layers (:mod:`neva.definitions.relational.scalars`).

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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import ibis

from neva.definitions import model as m
from neva.definitions.local_time import HOUR, LocalClock
from neva.definitions.relational.plan import (
    FRAME_COLUMNS,
    MORE_ROW_COLUMNS,
    POINT_COLUMNS,
    ROW_COLUMNS,
    FrameUse,
    Plan,
    Schema,
)
from neva.definitions.relational.questions import (
    Kinds,
    asked,
    condition_unit,
    conditions,
    frames_of,
    item_unit,
    needs,
    needs_order,
    pick_name,
    scalars_of_condition,
)
from neva.definitions.relational.scalars import (
    DTYPES,
    LARGEST,
    combine,
    constant,
    converted_value,
    layers,
    local_day,
    midnight,
)

__all__ = ["compile_plan"]

_WHOLE_NUMBERS: Final = frozenset(["first", "last", "first_time", "last_time", "codes"])
_NEVER: Final = -(2**62)
_FAR: Final = 2**62


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
    compiler = _Compiler(clock, sql)
    result = compiler.level(outputs, base="points", schema=dict(POINT_COLUMNS), prefix="p")
    return Plan(
        statements=tuple(compiler.statements),
        uses=tuple(compiler.uses),
        row_columns=(
            *ROW_COLUMNS,
            *(name for name in MORE_ROW_COLUMNS if name in compiler.row_columns),
        ),
        attributes=tuple(compiler.attributes),
        ordered=tuple(sorted(compiler.ordered)),
        result=result,
        types={name: DTYPES[node.type.name] for name, node in outputs.items()},
    )


@dataclass
class _Pass:
    """One group of questions that are answered together."""

    number: int
    uses: dict[tuple[str, str | None, str | None], FrameUse] = field(default_factory=dict)
    windows: dict[tuple[Any, ...], int] = field(default_factory=dict)


class _Compiler:
    def __init__(self, clock: LocalClock, sql: Callable[[Any], str]) -> None:
        self.clock, self.sql = clock, sql
        self.statements: list[tuple[str, str]] = []
        self.uses: list[FrameUse] = []
        self.row_columns: set[str] = set()
        self.attributes: list[str] = []
        self.ordered: set[str] = set()
        self._passes = 0
        self._levels = 0

    # ------------------------------------------------------------- statements

    def _add(self, name: str, query: Any) -> None:
        self.statements.append((name, query if isinstance(query, str) else self.sql(query)))

    def _timeline(self, *more: str) -> Any:
        """The table of rows, with columns beyond those always there."""
        self.row_columns.update(name for name in more if name in MORE_ROW_COLUMNS)
        wanted = {
            **ROW_COLUMNS,
            **{n: MORE_ROW_COLUMNS[n] for n in more if n not in ROW_COLUMNS},
        }
        wanted |= {f"attribute_{k}": "string" for k in range(len(self.attributes))}
        return ibis.table(wanted, name="timeline")

    # ------------------------------------------------------------------ level

    def level(self, outputs: Mapping[str, Any], *, base: str, schema: Schema, prefix: str) -> str:
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
        columns: dict[str, str] = {
            digest: f"{prefix}q{number}" for number, digest in enumerate(found)
        }
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
            context, context_schema = self._stage(
                these, columns, context, context_schema, leaf, f"{prefix}{number}"
            )
            known.update({node.digest: columns[node.digest] for node in these})
        query, _ = layers(
            {f"out_{name}": node for name, node in outputs.items()},
            base=context,
            schema=context_schema,
            leaf=leaf,
            keep=["point_id"],
            clock=self.clock,
            sql=self.sql,
        )
        name = f"{prefix}answers"
        self._add(name, query)
        return name

    # ------------------------------------------------------------------ stage

    def _stage(
        self,
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
            clock=self.clock,
            sql=self.sql,
        )
        self._add(given, query)
        over_frames = [
            node
            for node in nodes
            if not isinstance(node, m.ForEach) or isinstance(node.items, m.Frame)
        ]
        over_grids = [node for node in nodes if node not in over_frames]
        made: list[tuple[str, Schema]] = []
        if over_frames:
            made += self._pass(over_frames, columns, given, schema, names, prefix)
        made += [
            self._grid(node, columns[node.digest], given, schema, names) for node in over_grids
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
            answers[column] = self._settled(node, joined, column, names)
        result = f"{prefix}context"
        self._add(result, joined.select(*[joined[name] for name in kept], **answers))
        return result, {name: schema[name] for name in kept} | {
            columns[node.digest]: DTYPES[node.type.name] for node in nodes
        }

    def _settled(self, node: Any, table: Any, column: str, names: Mapping[str, str]) -> Any:
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

    # ------------------------------------------------------------------- pass

    def _pass(
        self,
        nodes: list[Any],
        columns: Mapping[str, str],
        given: str,
        schema: Schema,
        names: Mapping[str, str],
        prefix: str,
    ) -> list[tuple[str, Schema]]:
        """Answer questions over frames; return tables of answers by point."""
        self._passes += 1
        this = _Pass(self._passes)
        use_of = {node.digest: self._use(this, node) for node in nodes}
        windows = self._windows(this, given, schema, names, prefix, nodes)
        kinds = Kinds(nodes)
        made: list[tuple[str, Schema]] = []

        def pivot(name: str, source: Any, cells: Mapping[str, tuple[Any, str]]) -> None:
            made.append(
                (name, {"point_id": "int64"} | {own: cell[1] for own, cell in cells.items()})
            )
            self._add(
                name,
                source.group_by("point_id").agg(
                    **{own: cell[0].max().cast(cell[1]) for own, cell in cells.items()}
                ),
            )

        def cell(at: Any, value: Any, dtype: str) -> tuple[Any, str]:
            return ibis.cases((at, value), else_=ibis.null(dtype)), dtype

        grouped = f"{prefix}grouped"
        picked: list[Any] = []
        if kinds.grouped:
            wants_values = any(node.unit is not None for node in kinds.aggregates)
            selected = self._selected(this, windows, kinds.grouped, names, value=wants_values)
            aggregates: dict[str, Any] = {"n": selected.count()}
            if kinds.ends:
                aggregates |= {
                    "first": selected.position.min(),
                    "last": selected.position.max(),
                }
            for which, own in (("first", "min"), ("last", "max")):
                if any(node.which == which for node in kinds.times):
                    aggregates[f"{which}_time"] = getattr(selected.time, own)()
            hows = {node.how for node in kinds.aggregates}
            if wants_values:
                for how, own in (
                    ("minimum", "min"),
                    ("maximum", "max"),
                    ("mean", "mean"),
                    ("sum", "sum"),
                ):
                    if how in hows:
                        aggregates[how] = getattr(selected.value, own)()
            if "codes" in hows:
                aggregates["codes"] = selected.code.nunique()
            self._add(grouped, selected.group_by("point_id", "frame").agg(**aggregates))
            types = {"point_id": "int64", "frame": "int32", "n": "int64"} | {
                own: "int64" if own in _WHOLE_NUMBERS else "float64"
                for own in aggregates
                if own != "n"
            }
            source = ibis.table(types, name=grouped)
            cells: dict[str, tuple[Any, str]] = {}
            for node in kinds.aggregates:
                at = source.frame == use_of[node.digest].number
                if node.how == "exists":
                    cells[columns[node.digest]] = cell(at, source.n > 0, "boolean")
                else:
                    own = "n" if node.how == "count" else node.how
                    value = source[own].cast("float64")
                    if node.how in ("mean", "sum"):
                        value = ibis.cases(
                            (value.abs() <= LARGEST, value), else_=ibis.null("float64")
                        )
                    cells[columns[node.digest]] = cell(at, value, "float64")
                    if node.how == "sum":
                        some = source["sum"].notnull()
                        cells[f"{columns[node.digest]}_n"] = cell(at & some, source.n, "int64")
            for pick in kinds.times:
                at = source.frame == use_of[pick.digest].number
                cells[columns[pick.digest]] = cell(at, source[f"{pick.which}_time"], "int64")
            if cells:
                pivot(f"{prefix}aggregates", source, cells)
            for which in ("first", "last"):
                wanted = sorted(
                    {use_of[node.digest].number for node in kinds.ends if node.which == which}
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
        picked += self._ranked(this, windows, kinds.ranked, use_of, names)
        if picked:
            made.append(
                self._fields(
                    [*kinds.ends, *kinds.ranked],
                    picked,
                    use_of,
                    columns,
                    given,
                    schema,
                    prefix,
                )
            )
        for name, node in kinds.special(columns):
            made.append(self._special(node, name, this, windows, names, prefix))
        made += [
            self._nested(one, columns[one.digest], given, schema, this, windows, names)
            for one in kinds.nested
        ]
        return made

    def _use(self, this: _Pass, node: Any) -> FrameUse:
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
                number=len(self.uses),
                window=at,
                frame=frame,
                condition_unit=frame.condition_unit,
                value_unit=unit,
            )
            self.uses.append(this.uses[key])
        return this.uses[key]

    def _windows(
        self,
        this: _Pass,
        given: str,
        schema: Schema,
        names: Mapping[str, str],
        prefix: str,
        nodes: list[Any],
    ) -> tuple[str, Schema]:
        """Make the table of windows: one row for each point and window that is known."""
        table = ibis.table(schema, name=given)
        carried = {
            names[part.digest]
            for node in nodes
            for condition in conditions(node)
            for part in scalars_of_condition(condition)
        }
        kept = ["point_id", "subject_id", "stay_id", "now", "known", *sorted(carried)]

        def end(bounds: Iterable[m.Bound], *, lower: bool) -> Any:
            far = ibis.literal(_NEVER if lower else _FAR, type="int64")
            step = 1 if lower else -1
            found = []
            unknown = []
            for bound in bounds:
                column = table[names[bound.time.digest]]
                value = column if bound.closed else column + step
                if bound.open_if_missing:
                    value = ibis.coalesce(value, far)
                else:
                    unknown.append(column.isnull())
                found.append(value)
            if not found:
                return far
            whole = (
                found[0] if len(found) == 1 else (ibis.greatest if lower else ibis.least)(*found)
            )
            if len(found) > 1 and unknown:
                whole = ibis.cases(*[(one, ibis.null("int64")) for one in unknown], else_=whole)
            return whole

        parts = []
        for (lower, upper), number in this.windows.items():
            parts.append(
                table.select(
                    *[table[name] for name in kept],
                    window=ibis.literal(number, type="int32"),
                    low=end(lower, lower=True),
                    high=end(upper, lower=False),
                )
            )
        union = parts[0] if len(parts) == 1 else ibis.union(*parts)
        union = union.filter(union.low <= union.high)
        name = f"{prefix}windows"
        self._add(name, union)
        own = {one: schema[one] for one in kept} | {
            "window": "int32",
            "low": "int64",
            "high": "int64",
        }
        return name, own

    def _selected(
        self,
        this: _Pass,
        windows: tuple[str, Schema],
        nodes: list[Any],
        names: Mapping[str, str],
        *,
        value: bool = False,
        fields: Iterable[str] = (),
    ) -> Any:
        """Return the rows that the frames of some nodes take, once for each point and frame."""
        uses = {use.number: use for use in (self._use(this, node) for node in nodes)}
        frames_of_uses = {use.frame.digest: use.frame for use in uses.values()}
        wheres = [use.frame.where for use in uses.values() if use.frame.where is not None]
        needed: set[str] = set(fields)
        for condition in [*wheres, *(c for node in nodes for c in conditions(node))]:
            needed |= self._row_fields(condition)
        ordered = [node for node in nodes if needs_order(node)]
        if ordered or "position" in needed:
            needed.add("position")
            self.ordered |= {frames_of(node)[0].source for node in ordered or nodes}
        if any(getattr(node, "how", None) == "codes" for node in nodes):
            needed.add("code")
        if value or any(use.condition_unit for use in uses.values()):
            needed.add("value")
        of_stay = any(frame.of_stay for frame in frames_of_uses.values())
        overlapping = any(frame.overlapping for frame in frames_of_uses.values())
        spans = any(getattr(node, "how", None) == "hours" for node in nodes)
        if of_stay:
            needed.add("stay_id")
        if spans or overlapping:
            needed.add("end_time")
        if "text" in needed:
            needed |= {"of_stays", "end_time"}
        rows = self._timeline(*sorted(needed))
        frames = ibis.table(FRAME_COLUMNS, name="frames")
        frames = frames.filter(frames.pass_id == this.number)
        if set(uses) != {use.number for use in this.uses.values()}:
            frames = frames.filter(frames.frame.isin(sorted(uses)))
        name, own = windows
        points = ibis.table(own, name=name)
        points = points.rename({"point_stay_id": "stay_id"})
        joined = rows.join(frames, rows.kind == frames.kind)
        conditions_of_join = [
            joined.subject_id == points.subject_id,
            joined.window == points.window,
        ]
        joined = joined.join(points, conditions_of_join)
        keep = (
            (joined.recorded <= joined.known)
            & (joined.known_until > joined.known)
            & ((joined.time <= joined.now) | joined.planned)
            & (joined.time <= joined.high)
        )
        starts = joined.time >= joined.low
        if overlapping:
            # Still going on at the window's start, which is not later than now.
            lasts = (joined.end_time > joined.low) & (joined.low <= joined.now)
            starts |= joined.overlapping & lasts
        keep &= starts
        if of_stay:
            keep &= ~joined.of_stay | (joined.stay_id == joined.point_stay_id)
        if wheres:
            lines = [
                (
                    joined.frame == number,
                    self._condition(use.frame.where, joined, names, "condition"),
                )
                for number, use in uses.items()
                if use.frame.where is not None
            ]
            keep &= ibis.cases(*lines, else_=ibis.literal(True))
        extra: dict[str, Any] = {}
        if value:
            extra["value"] = converted_value(joined.value, joined.value_factor, joined.value_offset)
        kept = ["point_id", "frame", "time", "low", "high", "now"]
        kept += [one for one in ("position", "code") if one in needed]
        for one in fields:
            if one not in kept and one != "value":
                extra[one] = self._row_field(one, joined)
        if spans:
            extra["until"] = _last_known(joined)
        for node in nodes:
            if isinstance(node, m.HoursWhere):
                extra["holds"] = (
                    ibis.literal(True)
                    if node.condition is None
                    else ibis.coalesce(
                        self._condition(node.condition, joined, names, "value"),
                        ibis.literal(False),
                    )
                )
        joined = joined.filter(keep)
        return joined.select(*kept, **extra)

    def _row_fields(self, condition: Any) -> set[str]:
        """Note what a condition reads of the row."""
        found: set[str] = set()
        for node in m.row_nodes(condition):
            if isinstance(node, m.RowField):
                found.add(node.name)
                if node.name == "text":
                    found |= {"of_stays", "end_time"}
            if isinstance(node, m.Attribute) and node.key not in self.attributes:
                self.attributes.append(node.key)
        return found

    def _row_field(self, name: str, joined: Any) -> Any:
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

    def _condition(self, node: Any, joined: Any, names: Mapping[str, str], reading: str) -> Any:
        """Return the condition of rows as a column over rows joined with windows."""
        if isinstance(node, m.RowField):
            if node.name == "value":
                return converted_value(
                    joined.value, joined[f"{reading}_factor"], joined[f"{reading}_offset"]
                )
            return self._row_field(node.name, joined)
        if isinstance(node, m.Attribute):
            return joined[f"attribute_{self.attributes.index(node.key)}"]
        known = constant(node)
        if known is not None:
            return known
        if node.digest in names:
            return joined[names[node.digest]]
        parts = [self._condition(part, joined, names, reading) for part in m.children(node)]
        return combine(node, parts, self.clock, None)

    # ------------------------------------------------------------------ picks

    def _ranked(
        self,
        this: _Pass,
        windows: tuple[str, Schema],
        nodes: list[Any],
        use_of: Mapping[str, FrameUse],
        names: Mapping[str, str],
    ) -> list[Any]:
        """Positions of nth, highest and lowest rows."""
        found = []
        groups: dict[tuple[Any, ...], dict[int, Any]] = {}
        for node in nodes:
            sign = 0 if node.n is None else (1 if node.n > 0 else -1)
            number = use_of[node.digest].number
            groups.setdefault((node.which, sign), {}).setdefault(number, []).append(node)
        for (which, sign), by_use in groups.items():
            these = [node for several in by_use.values() for node in several]
            by_value = which in ("highest", "lowest")
            selected = self._selected(this, windows, these, names, value=by_value)
            if by_value:
                selected = selected.filter(selected.value.notnull())
            order = {
                "highest": lambda t: [t.value.desc(), t.position.asc()],
                "lowest": lambda t: [t.value.asc(), t.position.asc()],
            }.get(which, lambda t, s=sign: [t.position.asc() if s > 0 else t.position.desc()])
            ranked = selected.mutate(
                rank_of=ibis.row_number().over(
                    ibis.window(group_by=["point_id", "frame"], order_by=order(selected))  # type: ignore[no-untyped-call]
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

    def _fields(
        self,
        nodes: list[Any],
        picked: list[Any],
        use_of: Mapping[str, FrameUse],
        columns: Mapping[str, str],
        given: str,
        schema: Schema,
        prefix: str,
    ) -> tuple[str, Schema]:
        """Read the fields of picked rows."""
        union = picked[0] if len(picked) == 1 else ibis.union(*picked)
        name = f"{prefix}picks"
        self._add(name, union)
        picks = ibis.table(
            {"point_id": "int64", "frame": "int32", "pick": "string", "position": "int64"},
            name=name,
        )
        points = ibis.table(schema, name=given).select("point_id", "subject_id", "now")
        fields = {node.field for node in nodes}
        needed = {"position", *fields}
        if "text" in fields:
            needed |= {"of_stays", "end_time"}
        rows = self._timeline(*sorted(needed))
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
        cells: dict[str, tuple[Any, str]] = {}
        for node in nodes:
            dtype = DTYPES[node.type.name]
            value = (
                joined.value * joined.value_factor + joined.value_offset
                if node.field == "value"
                else self._row_field(node.field, joined)
            )
            at = (joined.frame == use_of[node.digest].number) & (joined.pick == pick_name(node))
            cells[columns[node.digest]] = (
                ibis.cases((at, value.cast(dtype)), else_=ibis.null(dtype)),
                dtype,
            )
        target = f"{prefix}fields"
        query = joined.group_by("point_id").agg(
            **{own: cell[0].max() for own, cell in cells.items()}
        )
        self._add(target, query)
        return target, {"point_id": "int64"} | {own: cell[1] for own, cell in cells.items()}

    # ---------------------------------------------------------------- special

    def _special(
        self,
        node: Any,
        column: str,
        this: _Pass,
        windows: tuple[str, Schema],
        names: Mapping[str, str],
        prefix: str,
    ) -> tuple[str, Schema]:
        """Slopes and hours: each over its own rows."""
        name = f"{prefix}{column}"
        by_point = {"group_by": "point_id"}
        if isinstance(node, m.HoursWhere):
            rows = self._selected(this, windows, [node], names)
            following = rows.time.lead().over(ibis.window(**by_point, order_by=rows.position))
            carry = int(node.carry * HOUR + 0.5)
            end = ibis.least(rows.time + carry, rows.high, rows.now, following)
            rows = rows.mutate(start=ibis.greatest(rows.time, rows.low), end=end)
            span = ibis.cases(
                (rows.holds & (rows.end > rows.start), rows.end - rows.start),
                else_=ibis.literal(0, type="int64"),
            )
            query = rows.group_by("point_id").agg(
                **{column: span.sum().cast("float64") / float(HOUR)}
            )
        elif node.how == "hours":
            rows = self._selected(this, windows, [node], names, fields=["position"])
            rows = rows.mutate(
                start=ibis.greatest(rows.time, rows.low),
                end=ibis.least(rows.until, rows.high, rows.now),
            )
            before = rows.end.max().over(
                ibis.window(
                    **by_point,
                    order_by=[rows.start, rows.end, rows.position],
                    preceding=(None, 1),
                )
            )
            rows = rows.mutate(before=before)
            begins = ibis.greatest(rows.start, rows.before)
            span = ibis.cases(
                (rows.end > begins, rows.end - begins), else_=ibis.literal(0, type="int64")
            )
            query = rows.group_by("point_id").agg(
                **{column: span.sum().cast("float64") / float(HOUR)}
            )
        else:
            rows = self._selected(this, windows, [node], names, value=True)
            rows = rows.filter(rows.value.notnull())
            rows = rows.mutate(at=(rows.time - rows.now) / float(HOUR))
            window = ibis.window(**by_point)
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
            query = query.select(
                "point_id",
                **{
                    column: ibis.cases(
                        (query.different & (slope.abs() <= LARGEST), slope),
                        else_=ibis.null("float64"),
                    )
                },
            )
        self._add(name, query)
        return name, {"point_id": "int64", column: "float64"}

    # ----------------------------------------------------------------- nested

    def _nested(
        self,
        node: m.ForEach,
        column: str,
        given: str,
        schema: Schema,
        this: _Pass,
        windows: tuple[str, Schema],
        names: Mapping[str, str],
    ) -> tuple[str, Schema]:
        """A question for each row of a frame."""
        fields = sorted(
            {part.name for part in m.walk(node.value) if isinstance(part, m.ItemField)} | {"time"}
        )
        own = [name for name in fields if name not in ("time", "value")]
        selected = self._selected(
            this, windows, [node], names, value="value" in fields, fields=["position", *own]
        )
        types = {name: DTYPES[m._row_type(name, "1").name] for name in fields}
        items = selected.select(
            outer_id=selected.point_id,
            item_order=selected.position,
            **{f"item_{name}": selected[name].cast(types[name]) for name in fields},
        )
        return self._asked_of_items(
            node, column, items, {f"item_{name}": types[name] for name in fields}, given, schema
        )

    def _grid(
        self,
        node: m.ForEach,
        column: str,
        given: str,
        schema: Schema,
        names: Mapping[str, str],
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
            first = local_day(start, self.clock)
            last = ibis.cases((end >= start, local_day(end, self.clock)), else_=ibis.null("int64"))
            spans = table.select(outer_id=table.point_id, first=first, last=last)
            joined = spans.join(counter, spans.first + counter.k <= spans["last"])
            day = joined["first"] + joined.k
            items = joined.select(
                outer_id=joined.outer_id,
                item_order=joined.k,
                item_time=midnight(day, self.clock),
                item_end_time=midnight(day + 1, self.clock),
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
        return self._asked_of_items(
            node, column, items, {"item_time": "int64", "item_end_time": "int64"}, given, schema
        )

    def _asked_of_items(
        self,
        node: m.ForEach,
        column: str,
        items: Any,
        types: Schema,
        given: str,
        schema: Schema,
    ) -> tuple[str, Schema]:
        """Ask a definition at each item, and add the answers up by point."""
        self._levels += 1
        prefix = f"i{self._levels}"
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
        self._add(base, numbered)
        base_schema = {**POINT_COLUMNS, **types, "outer_id": "int64"}
        answers = self.level({"value": node.value}, base=base, schema=base_schema, prefix=prefix)
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
        self._add(name, final)
        return name, own


def _last_known(joined: Any) -> Any:
    """Until when a row is known to have lasted."""
    return ibis.cases(
        (joined.end_time.isnull(), joined.time),
        else_=ibis.greatest(joined.time, ibis.least(joined.end_time, joined.now)),
    )
