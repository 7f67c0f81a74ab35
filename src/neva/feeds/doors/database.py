"""A database that is asked: its address, its queries, one page of rows at a time."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import polars as pl
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from neva.errors import BadInputError, MappingError, NotFoundError, UsageError
from neva.feeds.doors.marks import Mark, marked
from neva.files.yaml_lines import Document
from neva.sources.csv.mapping import Duration, Mapping
from neva.sources.csv.source import read_mapping

__all__ = [
    "Database",
    "DatabaseMapping",
    "Page",
    "Query",
    "connected",
    "read_database_mapping",
    "read_page",
]

#: An identifier after a colon is no parameter of ours.
_COLON: Final = re.compile(r"(?<![:\w\\]):(?=\w)")
#: What databases say in five letters, in words.
_STATES: Final = {
    "42703": "a column that is not there",
    "42P01": "a table that is not there",
    "42501": "a right that the user lacks",
    "42601": "a statement that it cannot read",
    "25006": "a statement that would write",
    "28000": "a user that it does not let in",
    "28P01": "a wrong password",
    "3D000": "no database of this name",
    "53300": "too many connections",
    "57P03": "that it is just starting",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Url(_Part):
    """Where the address of the database stands: never in the mapping itself."""

    environment: str | None = Field(None, description="an environment variable")
    file: Path | None = Field(None, description="a file that only the feed's user reads")

    @model_validator(mode="after")
    def _one_origin(self) -> Url:
        if (self.environment is None) == (self.file is None):
            message = "must come from one place; give either environment or file"
            raise ValueError(message)
        return self

    def read(self) -> str:
        """Return the address.

        Raises
        ------
        NotFoundError
            It does not stand there.
        """
        if self.environment is not None:
            found = os.environ.get(self.environment, "")
            where = f"the environment variable {self.environment}"
        else:
            assert self.file is not None
            where = str(self.file)
            try:
                found = self.file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                found = ""
        if not found:
            message = (
                f"{where}: the database's address is not there; found nothing that can be read; "
                "put it there, for example postgresql+pg8000://reader:password@host/laboratory"
            )
            raise NotFoundError(message)
        return found


class Query(_Part):
    """A query whose rows are read by the tables of the mapping that name it in `files`."""

    select: str = Field(description="one SELECT, without LIMIT and semicolon")
    modified: str = Field(description="its column that says when the row was last changed")
    key: str = Field(description="its column that tells rows of one moment apart; never null")

    @model_validator(mode="after")
    def _is_one_select(self) -> Query:
        text = self.select.strip()
        if not re.match(r"(select|with)\b", text, re.IGNORECASE) or ";" in text:
            message = "must be one SELECT; found another statement or a semicolon; write one SELECT"
            raise ValueError(message)
        return self


class Database(_Part):
    """The database of a feed."""

    url: Url
    queries: dict[str, Query] = Field(min_length=1, description="by name")
    overlap: Duration = Field(
        timedelta(minutes=5),
        description="so long before the last change is read again: transactions commit late",
    )
    overlap_numbers: int = Field(
        1000, ge=0, description="the same, where `modified` is a counter and no time"
    )
    page: int = Field(5000, ge=1, le=100_000, description="rows of one SELECT at most")


class DatabaseMapping(Mapping):
    """A mapping whose tables are the rows of queries."""

    database: Database


def read_database_mapping(path: Path) -> tuple[Document, DatabaseMapping]:
    """Read the mapping of a database.

    Raises
    ------
    NotFoundError
        There is no such file.
    MappingError
        It is wrong, or its rows could not be told apart: each event and movement of a feed
        needs the `row_id` under which corrections arrive.
    """
    document, mapping = read_mapping(path, DatabaseMapping)
    queries = mapping.database.queries
    for number, table in enumerate(mapping.tables):
        at = ("tables", number)
        for name in table.files:
            if name not in queries:
                what = (
                    f"no such query; found {name!r} in `files`; write one of {', '.join(queries)}"
                )
                raise document.error((*at, "files"), what)
        if table.join or table.fill_down or table.states:
            what = "join, fill_down and states are for files; found one; do it in the query"
            raise document.error(at, what)
        for kind in ("events", "movements"):
            for place, rule in enumerate(getattr(table, kind)):
                if rule.row_id is None:
                    what = "corrections arrive under the row's id; found no row_id; add it"
                    raise document.error((*at, kind, place), what)
    used = {name for table in mapping.tables for name in table.files}
    for name in queries:
        if name not in used:
            what = "no table of the mapping reads it; found it in no `files`; add it to one"
            raise document.error(("database", "queries", name), what)
    return document, mapping


@contextmanager
def connected(database: Database) -> Iterator[sa.Engine]:
    """Open a database for reading.

    Raises
    ------
    NotFoundError
        Its address is not there, or a SQLite file is not.
    UsageError
        The address cannot be read, or no driver for it is installed.
    """
    text = database.url.read()
    try:
        url = sa.make_url(text)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+pg8000")
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            message = "the database: no such file; found nothing there; check its address"
            raise NotFoundError(message)
        engine = sa.create_engine(url, pool_pre_ping=True, hide_parameters=True, pool_size=1)
    except (ArgumentError, NoSuchModuleError, ImportError, TypeError) as error:
        message = (
            f"the database: its address cannot be used; found {type(error).__name__}; write "
            "DIALECT+DRIVER://USER:PASSWORD@HOST/DATABASE, and install the driver"
        )
        raise UsageError(message) from None
    try:
        yield engine
    finally:
        engine.dispose()


class Page:
    """Some rows of a query, in order.

    Attributes
    ----------
    frame : polars.DataFrame
        Columns as text, as a file would hold them.
    marks : list of tuple of Mark
        Of each row: when it was changed, and its key.
    is_last : bool
        There were no more rows.
    """

    def __init__(self, frame: pl.DataFrame, marks: list[tuple[Mark, Mark]], *, is_last: bool):
        self.frame = frame
        self.marks = marks
        self.is_last = is_last


def read_page(
    engine: sa.Engine,
    name: str,
    query: Query,
    *,
    since: Mark | None,
    after: tuple[Mark, Mark] | None,
    most: int,
) -> Page:
    """Read a page of a query: one SELECT, in a transaction that cannot write.

    Parameters
    ----------
    engine : Engine
    name : str
        Of the query, for messages.
    query : Query
    since : Mark, optional
        From which change on, where nothing came before.
    after : tuple of Mark, optional
        Change and key of the last row of the page before.
    most : int
        Rows of a page.

    Raises
    ------
    BadInputError
        The database refused, or its rows cannot be put in order.
    """
    statement = _statement(query, since, after, most + 1)
    try:
        columns, rows = _answer(engine, statement)
    except SQLAlchemyError as error:
        with suppress(SQLAlchemyError):  # perhaps only the order cannot be had
            _check_columns(name, query, _answer(engine, _all_of(query).limit(0))[0])
        raise _problem(name, error) from None
    _check_columns(name, query, columns)
    return _page(name, query, columns, rows, most)


def _answer(
    engine: sa.Engine, statement: sa.Select[Any]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    with engine.connect() as connection, _read_only(connection):
        result = connection.execute(statement)
        return list(map(str, result.keys())), [tuple(row) for row in result]


def _inner(query: Query) -> sa.Subquery:
    written = sa.text(_COLON.sub(r"\\:", query.select.strip()))
    return written.columns(sa.column(query.modified), sa.column(query.key)).subquery("delivered")


def _all_of(query: Query, inner: sa.Subquery | None = None) -> sa.Select[Any]:
    inner = _inner(query) if inner is None else inner
    return sa.select(sa.literal_column("delivered.*")).select_from(inner)


def _statement(
    query: Query, since: Mark | None, after: tuple[Mark, Mark] | None, most: int
) -> sa.Select[Any]:
    inner = _inner(query)
    modified, key = inner.c[query.modified], inner.c[query.key]
    statement = _all_of(query, inner)
    statement = statement.where(modified.is_not(None))
    if after is not None:
        changed, of_row = (sa.literal(mark.value, mark.type) for mark in after)
        is_later = sa.and_(modified == changed, sa.or_(key > of_row, key.is_(None)))
        statement = statement.where(sa.or_(modified > changed, is_later))
    elif since is not None:
        statement = statement.where(modified >= sa.literal(since.value, since.type))
    return statement.order_by(modified, key).limit(most)


@contextmanager
def _read_only(connection: sa.Connection) -> Iterator[None]:
    """Let a connection do nothing but read; what it began is rolled back."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execution_options(postgresql_readonly=True)
    elif dialect == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    elif dialect in ("mysql", "mariadb"):
        connection.exec_driver_sql("START TRANSACTION READ ONLY")
    elif dialect == "oracle":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    try:
        yield
    finally:
        connection.rollback()


def _problem(name: str, error: SQLAlchemyError) -> BadInputError:
    """Put a database's error into words: its own may quote a row, or the address."""
    own = getattr(error, "orig", None)
    state = getattr(own, "sqlstate", None)
    if state is None and own is not None and own.args and isinstance(own.args[0], dict):
        state = own.args[0].get("C")
    code = str(state) if state else getattr(own, "sqlite_errorname", "")
    found = _STATES.get(code, type(own or error).__name__)
    return BadInputError(
        f"database.queries.{name}: the database did not answer; found {found}"
        f"{f' ({code})' if code else ''}; check the query, the address and the user's rights"
    )


def _check_columns(name: str, query: Query, columns: list[str]) -> None:
    """Say which column is not there, or stands twice."""
    for wanted in (query.modified, query.key):
        if wanted not in columns:
            message = (
                f"database.queries.{name}: the query has no such column; found no {wanted!r} among "
                f"{len(columns)} columns; add it to the SELECT"
            )
            raise MappingError(message)
    if len({*columns}) < len(columns):
        twice = next(one for one in columns if columns.count(one) > 1)
        message = (
            f"database.queries.{name}: a column stands twice; found {twice!r} twice; name it with "
            "AS"
        )
        raise MappingError(message)


def _page(
    name: str, query: Query, columns: list[str], rows: list[tuple[Any, ...]], most: int
) -> Page:
    at, of_key = columns.index(query.modified), columns.index(query.key)
    marks = []
    for row in rows:
        changed, key = marked(row[at]), marked(row[of_key])
        if changed is None or key is None:
            column, value = (query.key, row[of_key]) if changed else (query.modified, row[at])
            message = (
                f"database.queries.{name}: rows cannot be put in order by the column {column!r}; "
                f"found a value of type {type(value).__name__}; choose a column of times or "
                "numbers for `modified`, and one that is never null for `key`"
            )
            raise BadInputError(message)
        marks.append((changed, key))
    if len({(changed.value, key.value) for changed, key in marks}) < len(marks):
        message = (
            f"database.queries.{name}: `key` does not tell rows of one moment apart; found two "
            f"rows with the same {query.modified!r} and {query.key!r}; choose a unique column"
        )
        raise BadInputError(message)
    kept = rows[:most]
    texts = {
        column: [_as_text(name, column, row[place]) for row in kept]
        for place, column in enumerate(columns)
    }
    frame = pl.DataFrame(texts, schema=dict.fromkeys(columns, pl.String))
    return Page(frame, marks[:most], is_last=len(rows) <= most)


def _as_text(name: str, column: str, value: Any) -> str | None:
    """Write a value as a file would hold it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if math.isnan(value) else repr(value)
    if isinstance(value, Decimal):
        return None if value.is_nan() else format(value, "f")
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (int, UUID)):
        return str(value)
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    message = (
        f"database.queries.{name}: the column {column!r} cannot be read as text; found a value of "
        f"type {type(value).__name__}; convert it in the query"
    )
    raise BadInputError(message)
