"""What leaves the hospital: shared parts of the exports, and the CSV export.

An export reads a snapshot and writes one folder or file, all of it or none:
it is built under another name and renamed at the end. Ids are the hospital's
pseudonyms; local ids are not in the snapshot.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import polars as pl

from neva.errors import ConflictError, NotFoundError
from neva.events.schema import ATTRIBUTES, ORDER, TIME

__all__ = ["EVENT_COLUMNS", "Exported", "Snapshot", "export_csv"]

#: Events per batch of an export.
BATCH: Final = 500_000
#: What exports of single events write of each.
EVENT_COLUMNS: Final = (
    "event_id",
    "subject_id",
    "stay_id",
    "time",
    "end_time",
    "precision",
    "recorded",
    "recorded_assumed",
    "code",
    "value",
    "comparator",
    "value_unit",
    "text",
    "status",
    "reason",
    "rank",
    "attributes",
)
_TABLES: Final = ("events", "subjects", "stays", "movements", "units", "codes")


class Snapshot(Protocol):
    """What an export needs of a snapshot: lazy frames with the columns of ``TABLES``."""

    @property
    def zone(self) -> str:
        """IANA name of the hospital's zone."""
        ...

    @property
    def identity(self) -> str:
        """Names the hospital, its version and the time of the view."""
        ...

    def events(self) -> pl.LazyFrame:
        """Visible events."""
        ...

    def subjects(self) -> pl.LazyFrame:
        """Subjects as last known."""
        ...

    def stays(self) -> pl.LazyFrame:
        """Stays as last known."""
        ...

    def movements(self) -> pl.LazyFrame:
        """Movements as last known."""
        ...

    def units(self) -> pl.LazyFrame:
        """Units as last known."""
        ...

    def codes(self) -> pl.LazyFrame:
        """Codes as last known."""
        ...


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes
    ----------
    path : Path
        The folder or file.
    kind : str
        ``csv``, ``fhir``, ``meds`` or ``xes``.
    rows : dict
        What was written (table, resource type) to how many.
    """

    path: Path
    kind: str
    rows: dict[str, int] = field(default_factory=dict)

    def to_frame(self) -> pl.DataFrame:
        """Columns ``what`` and ``rows``."""
        return pl.DataFrame(
            {"what": list(self.rows), "rows": list(self.rows.values())},
            schema={"what": pl.String, "rows": pl.Int64},
        )


@contextmanager
def replacing(destination: Path | str, *, overwrite: bool, folder: bool) -> Iterator[Path]:
    """Give a temporary path beside `destination`, which takes its name at the end.

    Raises
    ------
    neva.errors.ConflictError
        The destination exists and is not to be overwritten.
    neva.errors.NotFoundError
        The folder to write into does not exist.
    """
    final = Path(destination)
    if final.exists() and not overwrite:
        raise ConflictError(
            f"{final}: is not written over; found something of that name; choose another name"
        )
    if not final.absolute().parent.is_dir():
        raise NotFoundError(
            f"{final.parent}: no folder to write into; found none of that name; make it first"
        )
    partial = final.with_name(f".{final.name}.partial-{os.getpid()}")
    _remove(partial)
    try:
        if folder:
            partial.mkdir()
        yield partial
        if final.exists() and (folder or final.is_dir()):
            # A folder cannot be replaced in one step; the old one steps aside first.
            old = final.with_name(f".{final.name}.old-{os.getpid()}")
            final.rename(old)
            partial.rename(final)
            _remove(old)
        else:
            partial.replace(final)
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def events_by_subject(snapshot: Snapshot, rows: int = BATCH) -> Iterator[pl.DataFrame]:
    """Read events in batches of whole subjects, in the total order.

    A batch has about `rows` events (more if one subject has more); subjects
    ascend over the batches. Times that are missing come first.
    """
    events = snapshot.events()
    counts = (
        events.group_by("subject_id").len("events").sort("subject_id").collect(engine="streaming")
    )
    if counts.is_empty():
        return
    ranges = (
        counts.with_columns(part=(pl.col("events").cum_sum() - 1) // rows)
        .group_by("part", maintain_order=True)
        .agg(first=pl.col("subject_id").min(), last=pl.col("subject_id").max())
    )
    for _, first, last in ranges.iter_rows():
        yield (
            events.filter(pl.col("subject_id").is_between(first, last))
            .collect(engine="streaming")
            .sort("subject_id", *ORDER, nulls_last=False, maintain_order=True)
        )


# A cell that starts so is run as a formula by spreadsheet programs.
_FORMULA: Final = r"^[=+\-@\t\r]"


def export_csv(snapshot: Snapshot, destination: Path | str, *, overwrite: bool = False) -> Exported:
    """Write one CSV file per table into a new folder.

    Parameters
    ----------
    snapshot : Snapshot
    destination : path
        The folder to make.
    overwrite : bool
        Replace a folder of that name.

    Returns
    -------
    Exported
        Rows per table.

    Raises
    ------
    neva.errors.ConflictError, neva.errors.NotFoundError
        The destination exists, or its parent does not.

    Notes
    -----
    UTF-8 with a header. Times are UTC, ISO 8601 with ``Z`` and microseconds;
    ``attributes`` and ``parents`` are JSON; a missing value is an empty cell
    and an empty text is ``""``. A text that starts with ``=``, ``+``, ``-``,
    ``@``, tab or carriage return gets an apostrophe in front, so that no
    spreadsheet runs it as a formula; numbers are as they are.
    """
    rows: dict[str, int] = {}
    with replacing(destination, overwrite=overwrite, folder=True) as folder:
        for table in _TABLES:
            frame: pl.LazyFrame = getattr(snapshot, table)()
            written = frame.select(
                _cell(name, dtype) for name, dtype in frame.collect_schema().items()
            )
            written.sink_csv(folder / f"{table}.csv", quote_style="non_numeric")
            rows[table] = frame.select(pl.len()).collect(engine="streaming").item()
    return Exported(Path(destination), "csv", rows)


def _cell(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == TIME:
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    if dtype == ATTRIBUTES or isinstance(dtype, pl.List):
        wrapped = pl.struct(column.alias("_")).struct.json_encode()
        # {"_":[...]} without its wrapping.
        inner = wrapped.str.slice(5, wrapped.str.len_chars() - 6)
        return pl.when(column.is_not_null()).then(inner).alias(name)
    if dtype == pl.String:
        return (
            pl.when(column.str.contains(_FORMULA))
            .then(pl.lit("'") + column)
            .otherwise(column)
            .alias(name)
        )
    return column
