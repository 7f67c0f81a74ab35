"""The columnar engine: many points of the same patients, each question one scan.

Made for replays: hourly points over every stay, where a database would join
each point with every row of its look-back. Here rows and points lie sorted by
patient and time, and each question of a frame is one kernel over the points
that looks only at the rows of its window. It knows most of the language, not
the questions for each item of a list (:func:`missing_words`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from neva.definitions import model as m
from neva.definitions.binding import Binding, has_code, reading
from neva.definitions.columnar import _kernels as kernels
from neva.definitions.columnar._rows import Delays, Rows, events_of, sorted_rows, things_of
from neva.definitions.columnar._scalars import DTYPES, Clock, Column, Texts, combine
from neva.definitions.local_time import LocalClock
from neva.events.measurement_units import converted
from neva.events.schema import attribute
from neva.events.snapshot import Snapshot

__all__ = ["Delays", "answer_points", "missing_words"]

#: Points that are worked on at once: they fit a modest machine's memory.
BLOCK_POINTS: Final = 300_000
_SOURCES: Final = ("events", "movements", "stays")
_WHICH: Final = {
    "first": kernels.FIRST,
    "last": kernels.LAST,
    "nth": kernels.NTH,
    "highest": kernels.HIGHEST,
    "lowest": kernels.LOWEST,
}
_HOW: Final = {
    "exists": kernels.EXISTS,
    "count": kernels.COUNT,
    "sum": kernels.SUM,
    "mean": kernels.MEAN,
    "minimum": kernels.MINIMUM,
    "maximum": kernels.MAXIMUM,
    "slope": kernels.SLOPE,
    "hours": kernels.HOURS,
}
_NEVER: Final = -(2**62)
_FAR: Final = 2**62 - 1


def missing_words(outputs: Mapping[str, Any]) -> list[str]:
    """Name what definitions ask that this engine does not know; empty: it can answer.

    Examples
    --------
    >>> from neva.definitions.language import *
    >>> missing_words({"a": events("A//b").within(hours(24)).exists().node})
    []
    >>> missing_words({"a": events("A//b").codes().node})
    ['distinct codes']
    """
    found: set[str] = set()
    for output in outputs.values():
        for node in m.walk(output):
            if isinstance(node, (m.ForEach, m.Days, m.Every)):
                found.add("questions for each item")
            elif isinstance(node, m.HoursWhere):
                found.add("hours of a condition")
            elif isinstance(node, m.Aggregate) and node.how == "codes":
                found.add("distinct codes")
            elif isinstance(node, m.Frame) and node.where is not None:
                found |= _missing_of_condition(node)
    return sorted(found)


def _looks_at_row(node: Any) -> bool:
    return any(isinstance(part, (m.RowField, m.Attribute)) for part in m.row_nodes(node))


def _missing_of_condition(frame: m.Frame) -> set[str]:
    """A condition is asked of rows once, so it may not depend on the point."""
    found: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, m.RowField):
            if node.name == "end_time" or (node.name == "text" and frame.source == "stays"):
                found.add("conditions on ends")
        elif isinstance(node, (m.Number, m.Flag, m.Text, m.Moment, m.Missing, m.Attribute)):
            pass
        elif _looks_at_row(node) or isinstance(node, m.Branch):
            for part in m.children(node):
                visit(part)
        elif any(
            isinstance(part, (m.PointField, m.Age, m.Pick, m.Aggregate, m.HoursWhere, m.ForEach))
            for part in m.walk(node)
        ):
            found.add("conditions on the point")
        else:
            for part in m.children(node):
                visit(part)

    visit(frame.where)
    return found


@dataclass
class _Selection:
    """The rows of one frame's codes and condition, wherever the window lies."""

    at: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    rows: tuple[Any, ...]


class _Block:
    """Points of some patients and what is recorded of them."""

    def __init__(
        self,
        points: pl.DataFrame,
        rows: dict[str, Rows],
        subject_at: npt.NDArray[np.int64],
        *,
        binding: Binding,
        clock: Clock,
        texts: Texts,
    ) -> None:
        self.points, self.rows, self.subject_at = points, rows, subject_at
        self.binding, self.clock, self.texts = binding, clock, texts
        self.size = points.height
        self.now = points["now"].to_numpy()
        self.known_at = points["known"].to_numpy()
        self.stay = points["stay_id"].fill_null(-1).to_numpy()
        self.always = np.ones(self.size, dtype=bool)
        self.memory: dict[str, Column] = {}
        self.selections: dict[Any, _Selection] = {}
        self.picked: dict[Any, npt.NDArray[np.int64]] = {}
        self.codes: dict[Any, Any] = {}

    # ------------------------------------------------------------- expressions

    def column(self, node: Any) -> Column:
        key = node.digest
        if key not in self.memory:
            self.memory[key] = self._column_of(node)
        return self.memory[key]

    def _constant(self, value: Any, kind: str) -> Column:
        return Column(np.broadcast_to(np.array(value, DTYPES[kind]), self.size), self.always)

    def _column_of(self, node: Any) -> Column:
        match node:
            case m.Number():
                return self._constant(node.value, "number")
            case m.Flag():
                return self._constant(node.value, "boolean")
            case m.Text():
                return self._constant(self.texts.number(node.value), "text")
            case m.Moment():
                return self._constant(round(node.value.timestamp() * 1e6), "time")
            case m.Missing():
                nothing = self._constant(0, node.type.name)
                return Column(nothing.values, np.zeros(self.size, dtype=bool))
            case m.PointField():
                return self._field_of_point(node.name)
            case m.Age():
                return self._age(self.column(node.at))
            case m.Pick():
                return self._pick(node)
            case m.Aggregate():
                return self._aggregate(node)
            case m.Case():
                parts = [
                    part
                    for branch in node.branches
                    for part in (self.column(branch.when), self.column(branch.then))
                ]
                return combine(node, [*parts, self.column(node.otherwise)], self.clock, self.texts)
        parts = [self.column(part) for part in m.children(node)]
        return combine(node, parts, self.clock, self.texts)

    def _field_of_point(self, name: str) -> Column:
        if name == "now":
            return Column(self.now, self.always)
        series = self.points[name]
        known = series.is_not_null().to_numpy()
        if series.dtype == pl.String:
            return Column(self._numbers(series), known)
        return Column(series.fill_null(0).to_numpy(), known)

    def _numbers(self, series: pl.Series) -> npt.NDArray[np.int64]:
        words = series.unique().drop_nulls().to_list()
        numbers = [self.texts.number(word) for word in words]
        return (
            series.replace_strict(words, numbers, default=-1, return_dtype=pl.Int64)
            .fill_null(-1)
            .to_numpy()
        )

    def _age(self, at: Column) -> Column:
        born = self.points["birth"]
        known = at.known & born.is_not_null().to_numpy()
        birth = born.fill_null(10101).to_numpy()
        year, month, day = self.clock.date(np.where(known, at.values, 0))
        years = year - birth // 10_000
        before = (month * 100 + day) < birth % 10_000
        return Column((years - before).astype(np.float64), known)

    # -------------------------------------------------------------------- rows

    def _array(self, source: str, name: str, unit: str | None = None) -> Column:
        """A field of all rows of a source."""
        rows = self.rows[source]
        key = f"{name} {unit}"
        if key in rows.arrays:
            return rows.arrays[key]
        frame = rows.frame
        if name == "value":
            made = self._values(frame, unit)
        elif frame[name].dtype == pl.String:
            known = frame[name].is_not_null().to_numpy()
            made = Column(self._numbers(frame[name]), known)
        elif name == "event_id":
            words = frame[name].cast(pl.String)
            made = Column(self._numbers(words), np.ones(frame.height, dtype=bool))
        else:
            series = frame[name]
            kind = np.float64 if name == "rank" else np.int64
            made = Column(
                series.fill_null(0).to_numpy().astype(kind), series.is_not_null().to_numpy()
            )
        rows.arrays[key] = made
        return made

    def _values(self, frame: pl.DataFrame, unit: str | None) -> Column:
        assert unit is not None  # a value names its unit
        if frame.is_empty():
            return Column(np.empty(0), np.empty(0, dtype=bool))
        kinds = frame.select("code", "value_unit").unique()
        rules = [
            (
                code,
                stored,
                *(reading(stored, unit, self.binding.molar_mass.get(code)) or (None, None)),
            )
            for code, stored in kinds.iter_rows()
        ]
        read = frame.select("code", "value_unit", "value").join(
            pl.DataFrame(
                rules,
                schema={
                    "code": pl.String,
                    "value_unit": pl.String,
                    "factor": pl.Float64,
                    "offset": pl.Float64,
                },
                orient="row",
            ),
            on=["code", "value_unit"],
            how="left",
            nulls_equal=True,
            maintain_order="left",
        )
        values = read.select(
            converted(pl.col("value"), pl.col("factor"), pl.col("offset"))
        ).to_series()
        known = values.is_not_null().to_numpy()
        return Column(values.fill_null(np.nan).to_numpy(), known)

    def _on_rows(self, node: Any, source: str) -> Column:
        """Evaluate a condition for every row of a source."""
        height = self.rows[source].frame.height
        match node:
            case m.RowField():
                return self._array(source, node.name, node.unit)
            case m.Attribute():
                return self._attribute(source, node.key)
            case m.Case():
                parts = [
                    part
                    for branch in node.branches
                    for part in (
                        self._on_rows(branch.when, source),
                        self._on_rows(branch.then, source),
                    )
                ]
                parts.append(self._on_rows(node.otherwise, source))
            case m.Number() | m.Flag() | m.Text() | m.Moment() | m.Missing():
                one = self._column_of(node)
                return Column(
                    np.full(height, one.values[0] if self.size else 0, one.values.dtype),
                    np.full(height, not isinstance(node, m.Missing)),
                )
            case _:
                parts = [self._on_rows(part, source) for part in m.children(node)]
        return combine(node, parts, self.clock, self.texts)

    def _attribute(self, source: str, key: str) -> Column:
        frame = self.rows[source].frame
        if source != "events":
            return Column(np.full(frame.height, -1), np.zeros(frame.height, dtype=bool))
        found = frame.select(attribute(key)).to_series()
        return Column(self._numbers(found), found.is_not_null().to_numpy())

    def _select(self, frame: m.Frame) -> _Selection:
        key = (
            frame.source,
            frame.codes,
            frame.codelists,
            frame.statuses,
            None if frame.where is None else frame.where.digest,
        )
        if key in self.selections:
            return self.selections[key]
        rows = self.rows[frame.source]
        table = rows.frame
        taken = table["status"].is_in(list(frame.statuses)).to_numpy()
        code_key = (frame.codes, frame.codelists)
        if code_key not in self.codes:
            self.codes[code_key] = self.binding.codes_of(frame)
        codes = self.codes[code_key]
        if codes is not None:
            if "other_codes" in table.columns:
                taken = taken & table.select(has_code(codes)).to_series().to_numpy()
            else:
                taken = taken & table["code"].is_in(list(codes)).to_numpy()
        if frame.where is not None:
            holds = self._on_rows(frame.where, frame.source)
            taken = taken & holds.known & holds.values
        at = np.flatnonzero(taken)
        # Where each patient's rows begin among those taken.
        bounds = np.searchsorted(at, rows.starts)
        ends = self._array(frame.source, "end_time")
        stay = table["stay_id"].fill_null(-1).to_numpy()
        until = table["known_until"].to_numpy()
        planned = (table["status"] == "planned").to_numpy()
        made = _Selection(
            at=at,
            first=bounds[:-1][self.subject_at],
            end=bounds[1:][self.subject_at],
            rows=(
                table["time"].to_numpy()[at],
                np.where(ends.known, ends.values, kernels.OPEN)[at],
                table["recorded"].to_numpy()[at],
                until[at],
                stay[at],
                planned[at],
            ),
        )
        self.selections[key] = made
        return made

    def _window(self, frame: m.Frame) -> tuple[Any, Any, Any]:
        low = np.full(self.size, _NEVER)
        high = np.full(self.size, _FAR)
        unknown = np.zeros(self.size, dtype=bool)
        for bound in frame.lower:
            time = self.column(bound.time)
            limit = time.values if bound.closed else time.values + 1
            low = np.where(time.known, np.maximum(low, limit), low)
            if not bound.open_if_missing:
                unknown |= ~time.known
        for bound in frame.upper:
            time = self.column(bound.time)
            limit = time.values if bound.closed else time.values - 1
            high = np.where(time.known, np.minimum(high, limit), high)
            if not bound.open_if_missing:
                unknown |= ~time.known
        return low, high, unknown

    def _scan(self, frame: m.Frame) -> tuple[Any, ...]:
        selection = self._select(frame)
        low, high, unknown = self._window(frame)
        return (
            selection.first,
            selection.end,
            low,
            high,
            unknown,
            self.now,
            self.known_at,
            self.stay,
            selection.rows,
            frame.of_stay,
            frame.overlapping,
            frame.source == "events",
        )

    def _scanned_values(self, frame: m.Frame, unit: str | None) -> Any:
        if unit is None:
            return np.empty(0)
        values = self._array(frame.source, "value", unit)
        return np.where(values.known, values.values, np.nan)[self._select(frame).at]

    def _pick(self, node: m.Pick) -> Column:
        frame = node.frame
        by_value = node.which in ("highest", "lowest")
        key = (frame.digest, node.which, node.n, node.unit if by_value else None)
        if key not in self.picked:
            out = np.empty(self.size, dtype=np.int64)
            kernels.pick(
                _WHICH[node.which],
                node.n or 0,
                *self._scan(frame),
                self._scanned_values(frame, node.unit if by_value else None),
                out,
            )
            at = self._select(frame).at
            self.picked[key] = np.where(out >= 0, at[out], -1) if len(at) else out
        at = self.picked[key]
        found = at >= 0
        column = self._array(frame.source, node.field, node.unit)
        if not len(column.values):
            return Column(np.zeros(self.size, column.values.dtype), found)
        values = column.values[at]
        known = found & column.known[at]
        if node.field == "end_time":
            known &= values <= self.now
        elif node.field == "text" and frame.source == "stays":
            ends = self._array("stays", "end_time")
            known &= ends.known[at] & (ends.values[at] <= self.now)
        if node.field == "value":
            values = np.where(known, values, 0.0)
        return Column(values, known)

    def _aggregate(self, node: m.Aggregate) -> Column:
        out = np.empty(self.size)
        kernels.aggregate(
            _HOW[node.how],
            *self._scan(node.frame),
            self._scanned_values(node.frame, node.unit),
            out,
        )
        known = np.isfinite(out)
        if node.how == "exists":
            return Column(out > 0, known)
        return Column(np.where(known, out, 0.0), known)


def _blocks(points: pl.DataFrame, most: int) -> Iterator[tuple[pl.DataFrame, int, int]]:
    """Cut sorted points between patients."""
    subjects = points["subject_id"].to_numpy()
    start = 0
    while start < len(subjects):
        end = min(start + most, len(subjects))
        if end < len(subjects):
            cut = int(np.searchsorted(subjects, subjects[end], side="left"))
            # A patient with more points than a block is a block of their own.
            end = cut if cut > start else int(np.searchsorted(subjects, subjects[end], "right"))
        yield points[start:end], int(subjects[start]), int(subjects[end - 1])
        start = end


def answer_points(
    snapshot: Snapshot,
    outputs: Mapping[str, Any],
    context: pl.DataFrame,
    *,
    binding: Binding,
    clock: LocalClock,
    delays: Delays | None = None,
    block_points: int = BLOCK_POINTS,
) -> pl.DataFrame:
    """Evaluate expressions at points that stand with what is known of stay and patient.

    Parameters
    ----------
    snapshot : Snapshot
    outputs : mapping of str to expression
        Only of words that it knows (:func:`missing_words`).
    context : polars.DataFrame
        Columns ``neva.definitions.relational.plan.POINT_COLUMNS``; times in microseconds.
    binding, clock
        The hospital's codes and clock.
    delays : mapping, optional
        Hours after which events are taken to have been known where the source
        does not say.
    block_points : int
        How many points are worked on at once.

    Returns
    -------
    polars.DataFrame
        ``point_id`` and one column for each output; times as microseconds.
    """
    lazy = _tables(snapshot, outputs, binding, delays or {})
    held = {name: frame.collect() for name, frame in lazy.items() if name != "events"}
    texts, calendar = Texts(), Clock(clock)
    points = context.sort("subject_id", "stay_id", "now")
    made = []
    for block, low, high in _blocks(points, block_points):
        subjects = block["subject_id"].to_numpy()
        firsts = np.unique(subjects)
        within = pl.col("subject_id").is_between(low, high)
        rows = {}
        for source, frame in lazy.items():
            # Rows of patients without a point lie between the others: few points of a large
            # hospital must not read all of it.
            table = held[source].lazy() if source in held else frame
            part = table.filter(within, pl.col("subject_id").is_in(firsts)).collect()
            rows[source] = sorted_rows(part, firsts)
        one = _Block(
            block, rows, np.searchsorted(firsts, subjects),
            binding=binding, clock=calendar, texts=texts,
        )  # fmt: skip
        made.append(_answers(one, outputs))
    if not made:
        return pl.DataFrame(
            schema={"point_id": pl.Int64, **{name: _dtype(node) for name, node in outputs.items()}}
        )
    return pl.concat(made)


def _tables(
    snapshot: Snapshot, outputs: Mapping[str, Any], binding: Binding, delays: Delays
) -> dict[str, pl.LazyFrame]:
    """Return the tables that expressions read: of events, only such as they may take."""
    frames = [
        node for output in outputs.values() for node in m.walk(output) if isinstance(node, m.Frame)
    ]
    sources = {frame.source for frame in frames}
    codes: set[str] | None = set()
    for frame in frames:
        if frame.source == "events":
            own = binding.codes_of(frame)
            codes = None if codes is None or own is None else codes | own
    attributes = any(
        isinstance(one, m.Attribute)
        for frame in frames
        if frame.where is not None
        for one in m.row_nodes(frame.where)
    )
    return {
        source: events_of(
            snapshot, codes, delays, attributes=attributes, others=binding.has_other_codes
        )
        if source == "events"
        else things_of(snapshot, source)
        for source in _SOURCES
        if source in sources
    }


def _dtype(node: Any) -> Any:
    kinds = {"boolean": pl.Boolean, "number": pl.Float64, "time": pl.Int64, "text": pl.String}
    return kinds[node.type.name]


def _answers(block: _Block, outputs: Mapping[str, Any]) -> pl.DataFrame:
    columns = [block.points["point_id"]]
    for name, node in outputs.items():
        column = block.column(node)
        series = pl.Series(name, np.ascontiguousarray(column.values))
        if node.type.name == "text":
            words = pl.Series(block.texts.words, dtype=pl.String)
            kept = np.where(column.known, column.values, 0)
            series = (
                words.gather(kept).alias(name)
                if len(words)
                else pl.Series(name, [None] * block.size, dtype=pl.String)
            )
        known = pl.Series("known", column.known)
        columns.append(
            pl.select(pl.when(known).then(series)).to_series().alias(name).cast(_dtype(node))
        )
    return pl.DataFrame(columns)
