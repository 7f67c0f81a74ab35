"""What every source delivers: batches of rows, and the entry point it is found by.

A source reads something of the outside world and yields :class:`Rows`: a
frame for one table, with local ids as text and times in UTC. It does not
know pseudonyms, batches or the store. A row that it cannot read it delivers
as a row of ``quarantine`` with a reason code; a file that it cannot read at
all raises :class:`neva.errors.BadInputError` before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import polars as pl

from neva.events.schema import ROWS

__all__ = ["Delivery", "Rows", "Source", "conform", "refused_rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows for one table.

    Attributes
    ----------
    table : str
        A key of :data:`neva.events.schema.ROWS`.
    frame : polars.DataFrame
        Some or all of that table's columns.
    origin : str
        The source's own table or file kind (``measurement``, ``Observation``);
        row ids are unique within it.
    """

    table: str
    frame: pl.DataFrame
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """An opened source: what it is and its rows, read as they are asked for.

    Attributes
    ----------
    name : str
        The logical source (``sepsis``, ``omop``); part of the identity of
        events.
    assigner : str
        Who gave the local ids; subjects of two deliveries are the same only
        under the same assigner.
    kind : str
        ``csv``, ``xes``, ``omop``, ``fhir``, ``meds`` or ``synthetic``.
    files : tuple of Path
        Every file that is read; their content decides whether the same
        delivery was imported before.
    mapping : str or None
        The mapping as JSON text, kept with the batch.
    order : str
        Where ``sequence`` comes from: ``column``, ``position`` or ``none``.
    dates : str
        ``shifted`` where the source moved its dates on purpose (de-identified
        records of the 22nd century): then no date is too late or too early.
    rows : iterator of Rows
        Read once, in a stream; never the whole file in memory.
    """

    name: str
    assigner: str
    kind: str
    files: tuple[Path, ...]
    rows: Iterator[Rows]
    mapping: str | None = None
    order: str = "position"
    dates: Literal["real", "shifted"] = "real"


class Source(Protocol):
    """The door ``neva.sources``: a callable that opens a delivery."""

    def __call__(
        self, path: Path, *, zone: str, mapping: Path | None = None, **settings: Any
    ) -> Delivery:
        """Open `path`; naive times are read in `zone`."""
        ...


def conform(table: str, columns: Mapping[str, Any] | pl.DataFrame) -> pl.DataFrame:
    """Give a frame exactly the columns of ``ROWS[table]``, in order and type.

    Parameters
    ----------
    table : str
        A key of :data:`neva.events.schema.ROWS`.
    columns : mapping or polars.DataFrame
        The columns at hand; absent ones become missing.

    Returns
    -------
    polars.DataFrame
    """
    frame = columns if isinstance(columns, pl.DataFrame) else pl.DataFrame(dict(columns))
    return frame.select(
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in ROWS[table].items()
    )


def refused_rows(table: str, rows: pl.DataFrame, reason: str, name: str) -> pl.DataFrame:
    """Give the quarantine rows for delivered rows that are refused for one reason."""
    return rows.select(
        "file",
        "row",
        table=pl.lit(table),
        field=pl.lit(name),
        reason=pl.lit(reason),
    )
