"""The tables of an OMOP Common Data Model folder: found, opened, as text columns.

Ids in OMOP are signed 64-bit integers. Everything is therefore read as text,
so that no digit is lost to a float column on the way. Where the writer had such
a column (one empty cell makes it so), ``9201.0`` is the id 9201.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from neva.errors import BadInputError
from neva.files.opening import (
    NOT_UNPACKED,
    damaged_zip,
    most_unpacked,
    opened,
    refuse_encrypted,
    refuse_too_packed,
    too_packed,
)

__all__ = ["CdmFolder", "find_tables", "has_days_only", "not_whole", "unpacked"]

# "2b_concept.csv.gz": some releases number their files.
_NUMBERED = re.compile(r"^\d+[a-z]?_")
_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
# Whole numbers above this may have lost digits in a 64-bit float.
_EXACT_IN_FLOAT = 2**53
# Names that end like ids and are words.
_WORDS = frozenset(
    ("unique_device_id", "vocabulary_id", "domain_id", "concept_class_id", "relationship_id")
)
_YEARS = ("year_of_birth", "month_of_birth", "day_of_birth")
# A whole number as a float column writes it, of so few digits that none was lost.
_WHOLE_AS_FLOAT = r"^\s*(-?[0-9]{1,15})\.0*\s*$"
_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"


def _is_whole(name: str) -> bool:
    """Say whether a column holds whole numbers, which the model says of its ids."""
    name = name.lower()
    return name in _YEARS or (name.endswith("_id") and name not in _WORDS)


def not_whole(column: str) -> pl.Expr:
    """Tell where an id is a number that is not whole, or has lost digits."""
    text = pl.col(column)
    return (text.str.contains(_NUMBER) & ~text.str.contains(r"^\s*-?[0-9]+\s*$")).fill_null(
        value=False
    )


def find_tables(folder: Path) -> dict[str, list[Path]]:
    """Find each table's file, or its parts where a table is a folder of Parquet files.

    The tables stand in `folder` or, if there is no ``person`` in it, in the one
    folder inside that has it.
    """
    places = [folder, *sorted(p for p in folder.rglob("*") if p.is_dir())]
    for place in places:
        if "__MACOSX" in place.parts:
            continue
        tables: dict[str, list[Path]] = {}
        for path in sorted(place.iterdir()):
            parts = _parts(path)
            if not parts:
                continue
            table = _NUMBERED.sub("", path.name.lower().split(".")[0])
            if table in tables:
                raise BadInputError(
                    f"{place}: two files for the table {table}; found {tables[table][0].name} and "
                    f"{path.name}; keep one"
                )
            tables[table] = parts
        if "person" in tables:
            return tables
    raise BadInputError(
        f"{folder}: not the Common Data Model; found no table person (person.csv, .csv.gz or "
        ".parquet); name the folder with its tables"
    )


def _parts(path: Path) -> list[Path]:
    if path.name.startswith("."):
        return []
    if path.is_dir():
        return sorted(path.glob("*.parquet"))
    return [path] if path.name.lower().endswith(_ENDINGS) else []


def unpacked(archive: Path, into: TemporaryDirectory[str]) -> Path:
    """Unpack a zip of tables into a folder that is removed with `into`."""
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [
                member
                for member in packed.infolist()
                if member.filename.lower().endswith(_ENDINGS) and "__MACOSX" not in member.filename
            ]
            refuse_encrypted(archive, members)
            # No more than a member says of itself is unpacked from it.
            if sum(each.file_size for each in members) > most_unpacked(archive.stat().st_size):
                raise too_packed(archive)
            for member in members:
                packed.extract(member, into.name)
    except NOT_UNPACKED as error:
        raise damaged_zip(archive) from error
    return Path(into.name)


@dataclass(frozen=True)
class CdmFolder:
    """The tables of one folder, opened as they are asked for."""

    tables: dict[str, list[Path]]
    #: Packed files that were found to hold no more than a file of their size does.
    _unpacked: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)

    def has(self, table: str) -> bool:
        """Say whether there is such a table."""
        return table in self.tables

    def file(self, table: str) -> str:
        """Name the table's file as the quarantine names it."""
        parts = self.tables[table]
        return parts[0].name if len(parts) == 1 else parts[0].parent.name

    def columns(self, table: str) -> list[str]:
        """Name the table's columns, in lower case."""
        return [name.lower() for name in self._scan(table).collect_schema().names()]

    def scan(self, table: str, *, needs: tuple[str, ...] = ()) -> pl.LazyFrame:
        """Open a table: every column as text in lower case, and ``row`` from 1.

        Raises
        ------
        BadInputError
            The file cannot be read, or lacks a column of `needs`.
        """
        rows = self._scan(table)
        with self._explained(table):
            schema = rows.collect_schema()
        names = {name: name.lower() for name in schema.names()}
        missing = [name for name in needs if name not in names.values()]
        if missing:
            raise BadInputError(
                f"{self.file(table)}: the column {', '.join(missing)} of the table {table} is "
                f"missing; found {', '.join(names.values())[:300]}; export the table again"
            )
        self._refuse_rounded_ids(table, rows, schema)
        return rows.select(
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("row"),
            *(_as_text(name, dtype).alias(names[name]) for name, dtype in schema.items()),
        )

    def batches(self, table: str, rows: pl.LazyFrame, size: int) -> Iterator[pl.DataFrame]:
        """Read rows in batches; a file that turns out unreadable raises BadInputError."""
        with self._explained(table):
            yield from rows.collect_batches(chunk_size=size, lazy=True)

    def collect(self, table: str, rows: pl.LazyFrame) -> pl.DataFrame:
        """Read rows at once, for tables of the size of the population."""
        with self._explained(table):
            return rows.collect(engine="streaming")

    def _scan(self, table: str) -> pl.LazyFrame:
        parts = self.tables[table]
        with opened(parts[0]) as stream, self._explained(table):
            if parts[0].suffix.lower() == ".parquet":
                return pl.scan_parquet(parts)
            # Vocabulary files are tab-separated, unquoted, and full of quotation marks.
            is_tabbed = b"\t" in stream.readline()
        if parts[0].suffix.lower() == ".gz" and parts[0] not in self._unpacked:
            refuse_too_packed(parts[0])
            self._unpacked.add(parts[0])
        return pl.scan_csv(
            parts[0],
            infer_schema=False,
            separator="\t" if is_tabbed else ",",
            quote_char=None if is_tabbed else '"',
        )

    def _refuse_rounded_ids(self, table: str, rows: pl.LazyFrame, schema: pl.Schema) -> None:
        floats = [
            name
            for name, dtype in schema.items()
            if dtype.is_float() and name.lower().endswith("_id")
        ]
        if not floats:
            return
        largest = self.collect(table, rows.select(pl.col(floats).abs().max())).row(0)
        for name, value in zip(floats, largest, strict=True):
            if value is not None and value >= _EXACT_IN_FLOAT:
                raise BadInputError(
                    f"{self.file(table)}: ids in {name} have lost digits; found floating-point "
                    "numbers beyond 2^53; export them as 64-bit integers or as text"
                )

    def _explained(self, table: str) -> _Explained:
        return _Explained(self.file(table))


@dataclass
class _Explained:
    """Turns a reader's error into one for the user, without its text: it may quote a row."""

    file: str

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (pl.exceptions.PolarsError, OSError, EOFError)):
            raise BadInputError(
                f"{self.file}: the table cannot be read to its end; found it damaged, cut short or "
                "not UTF-8; export it again"
            ) from None


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            column = column.dt.convert_time_zone("UTC")
            return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ")
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.f")
    if not _is_whole(name):
        return column.cast(pl.String)
    if dtype.is_float():
        # In a float column 1.5 stays what it is, and is refused later.
        whole = column.cast(pl.Int64, strict=False)
        return (
            pl.when(whole.cast(pl.Float64) == column.cast(pl.Float64))
            .then(whole.cast(pl.String))
            .when(column.is_not_nan())
            .then(column.cast(pl.String))
        )
    text = column.cast(pl.String)
    return pl.coalesce(text.str.extract(_WHOLE_AS_FLOAT), text)


def has_days_only(folder: CdmFolder, table: str, column: str) -> bool:
    """Say whether every datetime of a table is midnight: then it knows only dates."""
    rows = folder.scan(table)
    name = f"{column}_datetime"
    if name not in rows.collect_schema().names():
        return True
    clocks = rows.select(
        (
            ~pl.col(name)
            .str.strip_chars()
            .str.contains(r"^\d{4}-\d{2}-\d{2}([T ]00:00(:00([.]0*)?)?)?$")
        )
        .any()
        .fill_null(False)
    )
    return not folder.collect(table, clocks).item()
