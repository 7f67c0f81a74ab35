"""A plan while it is made: its statements, and what they read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ibis

from neva.definitions import model as m
from neva.definitions.local_time import LocalClock
from neva.definitions.relational.plan import MORE_ROW_COLUMNS, ROW_COLUMNS, FrameUse, Schema

__all__ = ["Cell", "Draft", "Level", "Pass", "cell"]

#: The value of a column in one frame's rows, and its type.
Cell = tuple[Any, str]


@dataclass
class Draft:
    """The statements so far, and what they read, as a ``Plan`` says in the end.

    Attributes
    ----------
    clock : LocalClock
    sql : callable
        Compiles an Ibis table to text of the engine's dialect.
    passes, levels : int
        How many there are so far; their tables are named by them.
    """

    clock: LocalClock
    sql: Callable[[Any], str]
    statements: list[tuple[str, str]] = field(default_factory=list)
    uses: list[FrameUse] = field(default_factory=list)
    row_columns: set[str] = field(default_factory=set)
    attributes: list[str] = field(default_factory=list)
    ordered: set[str] = field(default_factory=set)
    passes: int = 0
    levels: int = 0

    def add(self, name: str, query: Any) -> None:
        """Add a statement that makes a table."""
        self.statements.append((name, query if isinstance(query, str) else self.sql(query)))

    def timeline(self, *more: str) -> Any:
        """Return the table of rows, with columns beyond those always there."""
        self.row_columns.update(name for name in more if name in MORE_ROW_COLUMNS)
        wanted = {
            **ROW_COLUMNS,
            **{n: MORE_ROW_COLUMNS[n] for n in more if n not in ROW_COLUMNS},
        }
        wanted |= {f"attribute_{k}": "string" for k in range(len(self.attributes))}
        return ibis.table(wanted, name="timeline")


@dataclass
class Pass:
    """One group of questions that are answered together.

    Attributes
    ----------
    number : int
    prefix : str
        Begins the names of its tables.
    given, schema : str, Schema
        The table of points with what is asked of them, and its columns.
    names : mapping of str to str
        Columns of `given` that hold times of windows and parts of conditions, by digest.
    columns : mapping of str to str
        Columns of the answers, by the digest of their question.
    uses : dict
        Frames with their units, as they are used.
    windows : dict
        Windows, and their numbers.
    window_table, window_columns : str, Schema
        The table of windows, once it is made.
    """

    number: int
    prefix: str
    given: str
    schema: Schema
    names: Mapping[str, str]
    columns: Mapping[str, str]
    uses: dict[tuple[str, str | None, str | None], FrameUse] = field(default_factory=dict)
    windows: dict[tuple[tuple[m.Bound, ...], tuple[m.Bound, ...]], int] = field(
        default_factory=dict
    )
    window_table: str = ""
    window_columns: Schema = field(default_factory=dict)


#: Compiles expressions over a table of points; returns the name of the table of answers.
Level = Callable[[Draft, Mapping[str, Any], str, Schema, str], str]


def cell(at: Any, value: Any, dtype: str) -> Cell:
    """Return a value where something holds, and null elsewhere."""
    return ibis.cases((at, value), else_=ibis.null(dtype)), dtype
