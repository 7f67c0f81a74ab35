"""Tables of a hospital's own, read by a mapping: CSV, Excel, Parquet."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from neva.errors import BadInputError, NotFoundError, UsageError
from neva.events.clock import zone_named
from neva.events.measurement_units import is_known
from neva.files.yaml_lines import Document, read_document
from neva.sources.csv import files as csv_files
from neva.sources.csv.mapping import Mapping, Table, Text
from neva.sources.csv.rows import TableReader
from neva.sources.rows import Delivery, Rows

__all__ = ["open_csv", "open_tables", "read_mapping", "ready_mappings"]

Model = TypeVar("Model", bound=Mapping)

_TABLE_FILES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".xlsx", ".xls", ".parquet")


def ready_mappings() -> dict[str, Path]:
    """Mappings that come with Neva, by name."""
    folder = Path(str(resources.files("neva.sources"))) / "mappings"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_mapping(named: Path | None, model: type[Model]) -> tuple[Document, Model]:
    """Read a mapping and check what a type cannot.

    Parameters
    ----------
    named : Path or None
        The mapping file, or the name of a ready one.
    model : type
        :class:`~neva.sources.csv.mapping.Mapping`, or one that says more.

    Raises
    ------
    UsageError
        None is named.
    NotFoundError
        There is no such file.
    MappingError
        The mapping is wrong.
    """
    ready = ready_mappings()
    if named is None:
        message = (
            "csv: a table needs a mapping that says what its columns are; found none; give "
            f"--mapping FILE, or one of the ready ones: {', '.join(ready)}"
        )
        raise UsageError(message)
    path = ready.get(str(named), named)
    if not path.exists() and path.suffix == "":
        close = difflib.get_close_matches(str(named), ready, 1)
        hint = f"did you mean {close[0]}?" if close else f"ready ones are {', '.join(ready)}"
        message = f"{named}: no such mapping; found neither a file nor a ready one; {hint}"
        raise NotFoundError(message)
    document = read_document(path)
    mapping = document.read(model)
    _check_meaning(document, mapping)
    return document, mapping


def _check_meaning(document: Document, mapping: Mapping) -> None:
    """Check what a type cannot: zones, encodings, units of measurement."""
    if mapping.zone is not None:
        try:
            zone_named(mapping.zone)
        except UsageError as error:
            raise document.error(("zone",), str(error)) from None
    try:
        "".encode(mapping.encoding)
    except LookupError:
        what = f"no such encoding; found {mapping.encoding!r}; write for example windows-1251"
        raise document.error(("encoding",), what) from None
    for code, entry in mapping.codes.items():
        if entry.value_unit is not None and not is_known(entry.value_unit):
            what = f"not a UCUM unit; found {entry.value_unit!r}; see ucum.org for its spelling"
            raise document.error(("codes", code, "value_unit"), what)
    for number, table in enumerate(mapping.tables):
        for at, rule in enumerate(table.events):
            for name, column in (rule.wide or {}).items():
                if column.value_unit is not None and not is_known(column.value_unit):
                    what = f"not a UCUM unit; found {column.value_unit!r}; see ucum.org"
                    raise document.error(
                        ("tables", number, "events", at, "wide", name, "value_unit"), what
                    )


def _files(path: Path, mapping: Mapping, document: Document) -> list[tuple[Table, Path]]:
    """Pair each table of the mapping with the files it is to be read from."""
    if not path.exists():
        message = f"{path}: no such file or folder; found nothing there; check the path"
        raise NotFoundError(message)
    if path.is_file():
        fitting = [
            table
            for table in mapping.tables
            if any(fnmatch(path.name, pattern) for pattern in table.files)
        ]
        if not fitting:
            what = f"no table of the mapping takes this file; found {path.name}; see `files`"
            raise document.error(("tables",), what)
        return [(table, path) for table in fitting]
    names = sorted(p for p in path.iterdir() if p.name.endswith(_TABLE_FILES))
    pairs = []
    for number, table in enumerate(mapping.tables):
        found = [p for p in names if any(fnmatch(p.name, pattern) for pattern in table.files)]
        if not found:
            what = (
                f"no file of {path.name} fits; found {len(names)} table files, none named like "
                f"{', '.join(table.files)}; check `files` or the folder"
            )
            raise document.error(("tables", number, "files"), what)
        pairs += [(table, p) for p in found]
    return pairs


def _texts(part: Any, at: tuple[str | int, ...]) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Yield every column that a part of the mapping names, with its place."""
    if isinstance(part, Text):
        for column in part.columns():
            yield column, at
        plus = getattr(part, "plus", None)
        if plus is not None:
            yield plus, (*at, "plus")
    elif isinstance(part, (list, tuple)):
        for number, item in enumerate(part):
            yield from _texts(item, (*at, number))
    elif hasattr(part, "model_fields_set"):
        for name in type(part).model_fields:
            yield from _texts(getattr(part, name), (*at, name))


def _columns_named(
    table: Table, at: tuple[str | int, ...]
) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    yield from _texts(table, at)
    if not isinstance(table.order, str):
        yield table.order.column, (*at, "order", "column")
    for kind in _RULES:
        for number, rule in enumerate(getattr(table, kind)):
            for k, condition in enumerate(rule.when):
                yield condition.column, (*at, kind, number, "when", k)
            for name in getattr(rule, "wide", None) or {}:
                yield name, (*at, kind, number, "wide", name)
            for name in getattr(rule, "attributes", ()):
                yield name, (*at, kind, number, "attributes")
            for part in ("states", "durations"):
                for name in getattr(rule, part, ()):
                    yield name, (*at, kind, number, part)
            if getattr(rule, "follow_up", None):
                yield rule.follow_up, (*at, kind, number, "follow_up")


_ID_FIELDS = ("subject", "stay", "row_id", "unit", "bed", "parent")
_WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)")
_RULES = ("events", "subjects", "stays", "movements", "units", "beds", "states")


def _columns_of_ids(table: Table) -> frozenset[str]:
    """Name the columns in which 1.0 is the number 1: ids, and what is looked up by whole numbers.

    Codes are none: ICD-9 250.0 is not 250.
    """
    named: set[str] = set()
    looked_up: set[str] = set()
    codes: set[str] = set()
    for join in table.join:
        named |= {*join.on, *join.on.values()}
    for part in (table, *(rule for kind in _RULES for rule in getattr(table, kind))):
        for name in _ID_FIELDS:
            field = getattr(part, name, None)
            if isinstance(field, Text):
                named |= set(field.columns())
        for name in type(part).model_fields:
            field = getattr(part, name)
            if isinstance(field, Text) and field.map and _are_whole(field.map):
                looked_up |= set(field.columns())
        code = getattr(part, "code", None)
        codes |= set(code.columns() if code else ())
        for condition in getattr(part, "when", ()):
            texts = [*(condition.is_ or ()), *(condition.is_not or ())]
            if texts and _are_whole(texts):
                looked_up.add(condition.column)
    return frozenset(named | (looked_up - codes))


def _are_whole(texts: Iterable[str]) -> bool:
    return all(_WHOLE_NUMBER.fullmatch(text) for text in texts)


def _joined(path: Path, table: Table) -> list[tuple[Any, Path]]:
    return [(join, path.parent / join.file) for join in table.join]


def _check_columns(document: Document, mapping: Mapping, pairs: list[tuple[Table, Path]]) -> None:
    for table, path in pairs:
        number = mapping.tables.index(table)
        have = csv_files.header(path, mapping)
        for name in table.fill_down:
            _need(document, ("tables", number, "fill_down"), name, have, path.name)
        for k, (join, other) in enumerate(_joined(path, table)):
            at = ("tables", number, "join", k)
            if not other.exists():
                what = f"no such file beside {path.name}; found nothing; check the name"
                raise document.error((*at, "file"), what)
            there = csv_files.header(other, mapping)
            for here, key in join.on.items():
                _need(document, (*at, "on"), here, have, path.name)
                _need(document, (*at, "on"), key, there, other.name)
            added = join.columns or [name for name in there if name not in join.on.values()]
            for name in added:
                _need(document, (*at, "columns"), name, there, other.name)
            have = [*have, *added]
        for name, where in _columns_named(table, ("tables", number)):
            if table.needs is None or name in table.needs or f"{name}_duplicated_0" in have:
                _need(document, where, name, have, path.name)
        _check_needs(document, table, ("tables", number), have, path.name)


def _check_needs(
    document: Document, table: Table, at: tuple[str | int, ...], have: list[str], file: str
) -> None:
    """A misspelt name in `needs`, and a wide rule of which nothing is there, are mistakes."""
    if table.needs is None:
        return
    for name in table.needs:
        _need(document, (*at, "needs"), name, have, file)
    for k, rule in enumerate(table.events):
        if rule.wide and not set(rule.wide) & set(have):
            what = (
                f"{file} has none of the columns of `wide`; found none of {len(rule.wide)} among "
                f"{len(have)} columns; check the header"
            )
            raise document.error((*at, "events", k, "wide"), what)


def _with_absent(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Add the columns that a file may lack, empty."""
    if table.needs is None:
        return frame
    named = dict.fromkeys(name for name, _ in _columns_named(table, ()))
    absent = [name for name in named if name not in frame.columns]
    return frame.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in absent)


def _need(
    document: Document, at: tuple[str | int, ...], name: str, have: list[str], file: str
) -> None:
    if f"{name}_duplicated_0" in have:
        what = f"{file} has this column twice; found that {name!r} stands twice in its header; "
        raise document.error(at, what + "rename one of them")
    if name in have:
        return
    close = difflib.get_close_matches(name, have, 1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else "check the header and `separator`"
    what = f"{file} has no such column; found no {name!r} among {len(have)} columns; {hint}"
    raise document.error(at, what)


def _join(frame: pl.DataFrame, joins: list[tuple[Any, pl.DataFrame]]) -> pl.DataFrame:
    for join, other in joins:
        frame = frame.join(
            other,
            left_on=list(join.on),
            right_on=list(join.on.values()),
            how="left",
            maintain_order="left",
        )
    return frame


def _delivered_rows(
    mapping: Mapping, zone: str, pairs: list[tuple[Table, Path]], name: str
) -> Iterator[Rows]:
    if mapping.codes:
        yield Rows(
            "codes",
            pl.DataFrame(
                [
                    {"code": code, **entry.model_dump(), "file": name}
                    for code, entry in mapping.codes.items()
                ],
                schema_overrides={
                    "description": pl.String,
                    "parents": pl.List(pl.String),
                    "molar_mass": pl.Float64,
                    "value_unit": pl.String,
                },
            ),
        )
    for table, path in pairs:
        reader = TableReader(table, mapping, zone, path.name)
        ids = _columns_of_ids(table)
        joins = []
        for join, other_path in _joined(path, table):
            parts = list(csv_files.batches(other_path, mapping, ids))
            keys = list(join.on.values())
            other = pl.concat(parts).drop("_row")
            wanted = [*keys, *(join.columns or [c for c in other.columns if c not in keys])]
            # A key that repeats would multiply rows: its first row counts.
            joins.append((join, other.select(wanted).unique(keys, keep="first")))
        for frame in csv_files.batches(path, mapping, ids):
            yield from reader.rows(_with_absent(_join(reader.filled_down(frame), joins), table))


def open_csv(path: Path, *, zone: str, mapping: Path | None = None, **settings: Any) -> Delivery:
    """Open a table file, or a folder of them, by a mapping.

    Parameters
    ----------
    path : Path
        A file (CSV, TSV, gzip, Excel, Parquet) or a folder.
    zone : str
        The hospital's time zone; the mapping's own comes first.
    mapping : Path
        The mapping file, or the name of a ready one (:func:`ready_mappings`).
    **settings
        None are known.

    Returns
    -------
    Delivery

    Raises
    ------
    MappingError
        The mapping is wrong, or names a column that is not there.
    BadInputError
        A file cannot be read.
    """
    if settings:
        message = f"csv: unknown settings; found {', '.join(settings)}; write them in the mapping"
        raise UsageError(message)
    document, model = read_mapping(mapping, Mapping)
    return open_tables(document, model, _files(path, model, document), zone=zone, name=path.name)


def open_tables(
    document: Document,
    model: Mapping,
    pairs: list[tuple[Table, Path]],
    *,
    zone: str,
    name: str,
) -> Delivery:
    """Open table files by a mapping that was read.

    Parameters
    ----------
    document, model
        As of :func:`read_mapping`.
    pairs : list of tuple
        Each table of the mapping with a file to read it from.
    zone : str
        The hospital's time zone; the mapping's own comes first.
    name : str
        Of the whole, for the codes that the mapping itself describes.

    Raises
    ------
    MappingError
        The mapping names a column that is not there.
    BadInputError
        A file cannot be read.
    """
    _check_columns(document, model, pairs)
    for table, file in pairs:
        if not file.is_file():
            message = f"{file}: not a file; found a folder; check `files` in the mapping"
            raise BadInputError(message)
        del table
    files = {file for _, file in pairs}
    files |= {other for table, file in pairs for _, other in _joined(file, table)}
    orders = {"column" if not isinstance(t.order, str) else t.order for t in model.tables}
    return Delivery(
        name=model.name,
        assigner=model.assigner or model.name,
        kind="csv",
        files=tuple(sorted(files)),
        rows=_delivered_rows(model, model.zone or zone, pairs, name),
        mapping=json.dumps(model.model_dump(mode="json", exclude_defaults=True), sort_keys=True),
        order=orders.pop() if len(orders) == 1 else "position",
        dates=model.dates,
    )
