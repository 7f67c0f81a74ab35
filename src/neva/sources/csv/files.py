"""Tables on disk as frames of text, a batch at a time.

CSV (plain or gzip, any encoding Python knows), Excel and Parquet. What cannot
be read as a whole raises before anything is written; messages never show a
cell.
"""

from __future__ import annotations

import codecs
import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow.parquet as pq

from neva.errors import BadInputError
from neva.files.opening import is_zip, most_unpacked, too_packed
from neva.sources.csv.mapping import Mapping
from neva.sources.csv.workbooks import read_workbook

__all__ = ["BATCH_ROWS", "batches", "header"]

BATCH_ROWS: Final = 500_000
_CHUNK: Final = 4 * 2**20


def _unreadable(path: Path, what: str, do: str) -> BadInputError:
    return BadInputError(f"{path.name}: the file cannot be read; found {what}; {do}")


def _decoded(path: Path, encoding: str, target: Path) -> None:
    """Write the file as plain UTF-8, strictly."""
    decoder = codecs.getincrementaldecoder(encoding)()
    # A file that says Windows-1251 but is well-formed UTF-8 beyond ASCII is UTF-8.
    watcher: codecs.IncrementalDecoder | None = (
        codecs.getincrementaldecoder("utf-8")() if not _is_utf8(encoding) else None
    )
    beyond_ascii = False
    read = 0
    opener = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with opener(path, "rb") as source, target.open("w", encoding="utf-8", newline="") as out:
            while chunk := source.read(_CHUNK):
                out.write(decoder.decode(chunk))
                read += len(chunk)
                if path.suffix == ".gz" and read > most_unpacked(path.stat().st_size):
                    raise too_packed(path)
                if watcher is not None:
                    beyond_ascii = beyond_ascii or not chunk.isascii()
                    try:
                        watcher.decode(chunk)
                    except UnicodeDecodeError:
                        watcher = None
            out.write(decoder.decode(b"", final=True))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _unreadable(
            path,
            f"gzip data that ends early or is damaged ({type(error).__name__})",
            "copy it anew",
        ) from None
    except UnicodeDecodeError as error:
        raise _unreadable(
            path,
            f"text that is not {encoding} (near byte {read + error.start})",
            "set `encoding` in the mapping to what the file was written in",
        ) from None
    if watcher is not None and beyond_ascii:
        raise _unreadable(
            path, f"UTF-8 text where the mapping says {encoding}", "set `encoding: utf-8`"
        )


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


@contextmanager
def _as_plain_utf8(path: Path, mapping: Mapping) -> Iterator[Path]:
    """Give a path to plain UTF-8 text: the file itself where it is that already."""
    if path.stat().st_size == 0:
        raise _unreadable(path, "an empty file", "export it again")
    if path.suffix != ".gz" and _is_utf8(mapping.encoding):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="neva-") as folder:
        target = Path(folder) / "plain.csv"
        _decoded(path, mapping.encoding, target)
        yield target


def _wrong_byte(path: Path) -> int | None:
    """Place of the first byte that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return read + error.start
            read += len(chunk)
    return None


def _scan(plain: Path, mapping: Mapping) -> pl.LazyFrame:
    return pl.scan_csv(
        plain,
        separator=mapping.separator,
        quote_char=mapping.quote,
        null_values=mapping.missing,
        infer_schema=False,
        glob=False,
    )


def _csv_error(path: Path, plain: Path, error: pl.exceptions.PolarsError) -> BadInputError:
    """Say what is wrong with a CSV file without what its library says (it shows cells)."""
    at = _wrong_byte(plain)
    if at is not None:
        return _unreadable(
            path,
            f"a byte that is not UTF-8 (byte {at})",
            "set `encoding` in the mapping, for example windows-1251",
        )
    if "more fields" in str(error) or "fields" in str(error):
        return _unreadable(
            path,
            "a row with more cells than the header names",
            "check `separator` and `quote` in the mapping",
        )
    return _unreadable(
        path, f"a table that breaks off ({type(error).__name__})", "check `separator` and `quote`"
    )


def header(path: Path, mapping: Mapping) -> list[str]:
    """Names of the columns of a table file.

    Raises
    ------
    BadInputError
        The file is empty or not of its kind.
    """
    if path.suffix == ".parquet":
        try:
            return [str(name) for name in pq.read_schema(path).names]
        except (OSError, ValueError):
            raise _unreadable(path, "no Parquet file", "export it again") from None
    if path.suffix in (".xlsx", ".xls"):
        return read_workbook(path).columns
    if path.stat().st_size == 0:
        raise _unreadable(path, "an empty file", "export it again")
    if is_zip(path):
        raise _unreadable(path, "a zip archive", "unpack it and name the table")
    opener = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with opener(path, "rt", encoding=mapping.encoding, newline="\n") as file:
            text = file.readline(_CHUNK)
        outside = "".join(text.split(mapping.quote)[::2])
        if "\r" in outside.rstrip("\r\n") or (outside.endswith("\r") and len(text) < _CHUNK):
            raise _unreadable(
                path,
                "lines that end in a carriage return alone",
                "save it with line breaks of Windows or Unix",
            )
        if len(text) == _CHUNK and not text.endswith("\n"):
            raise _unreadable(
                path,
                f"a first line of more than {_CHUNK:,} characters",
                "give a table with a header",
            )
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise _unreadable(path, "damaged gzip data", "copy it anew") from None
    except UnicodeDecodeError:
        raise _unreadable(
            path,
            f"a header that is not {mapping.encoding}",
            "set `encoding` in the mapping to what the file was written in",
        ) from None
    if text.count(mapping.quote) % 2:  # a column name with a line break in it
        with _as_plain_utf8(path, mapping) as plain:
            return _scan(plain, mapping).collect_schema().names()
    with tempfile.NamedTemporaryFile("w", suffix=".csv", encoding="utf-8") as one:
        one.write(text)
        one.flush()
        try:
            return _scan(Path(one.name), mapping).collect_schema().names()
        except pl.exceptions.PolarsError:
            raise _unreadable(path, "no header", "export it with its header") from None


def batches(
    path: Path, mapping: Mapping, ids: frozenset[str] = frozenset()
) -> Iterator[pl.DataFrame]:
    """Yield a table's rows in order, ``BATCH_ROWS`` at a time.

    Columns are text; those of Excel and Parquet keep their types. A column
    ``_row`` counts the rows from 1, the header not counted. A column of `ids`
    that holds nothing but whole numbers, as a float column writes them
    (``1.0``), is read as whole numbers.

    Raises
    ------
    BadInputError
        The file cannot be read to its end.
    """
    done = 0
    for frame in _frames(path, mapping, ids):
        numbered = frame.with_row_index("_row", offset=done + 1).with_columns(
            pl.col("_row").cast(pl.Int64)
        )
        # Empty lines count as rows of the file and are none of the table.
        yield numbered.filter(pl.any_horizontal(pl.exclude("_row").is_not_null()))
        done += frame.height


def _without(frame: pl.DataFrame, missing: list[str]) -> pl.DataFrame:
    """Read the texts that mean missing as missing."""
    texts = pl.col(pl.String)
    return frame.with_columns(pl.when(~texts.is_in(missing)).then(texts).name.keep())


# Whole numbers; those with a point of so few digits that a float kept each.
_WHOLE: Final = r"^-?(0|[1-9][0-9]*|(0|[1-9][0-9]{0,14})\.0)$"
_EXACT_IN_FLOAT: Final = 2**53


def _whole_as_float(rows: pl.LazyFrame, ids: frozenset[str]) -> list[pl.Expr]:
    """Return the columns among `ids` that a float column wrote, as whole numbers."""
    schema = rows.collect_schema()
    judged: dict[str, pl.Expr] = {}
    for name in ids & set(schema):
        column = pl.col(name)
        if schema[name] == pl.String:
            judged[name] = column.str.contains(_WHOLE).all() & column.str.ends_with(".0").any()
        elif schema[name].is_float():
            judged[name] = ((column == column.floor()) & (column.abs() < _EXACT_IN_FLOAT)).all()
    if not judged:
        return []
    found = rows.select(**judged).collect(engine="streaming").row(0, named=True)
    return [
        pl.col(name).str.strip_suffix(".0")
        if schema[name] == pl.String
        else pl.col(name).cast(pl.Int64).cast(pl.String)
        for name, is_whole in found.items()
        if is_whole
    ]


def _frames(path: Path, mapping: Mapping, ids: frozenset[str]) -> Iterator[pl.DataFrame]:
    if path.suffix == ".parquet":
        try:
            whole = _whole_as_float(pl.scan_parquet(path, glob=False), ids)
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS):
                    frame = pl.from_arrow(batch)
                    assert isinstance(frame, pl.DataFrame)
                    yield _without(frame.with_columns(whole), mapping.missing)
        except (OSError, ValueError, pl.exceptions.PolarsError) as error:
            raise _unreadable(
                path, f"a damaged Parquet file ({type(error).__name__})", "export it again"
            ) from None
        return
    if path.suffix in (".xlsx", ".xls"):
        frame = _without(read_workbook(path), mapping.missing)
        yield frame.with_columns(_whole_as_float(frame.lazy(), ids))
        return
    with _as_plain_utf8(path, mapping) as plain:
        try:
            rows = _scan(plain, mapping)
            whole = _whole_as_float(rows, ids)
            for frame in rows.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
                yield frame.with_columns(whole)
        except pl.exceptions.PolarsError as error:
            raise _csv_error(path, plain, error) from None
