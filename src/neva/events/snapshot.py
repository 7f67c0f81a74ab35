"""The view of a reader: one version of a hospital, as known at one time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl

from neva.errors import NotFoundError
from neva.events import tables
from neva.events.schema import KEYS, TABLES, TIME

__all__ = ["OF_PATIENTS", "Snapshot", "files_changed", "subjects_since"]

#: Tables with rows of patients.
OF_PATIENTS: Final = ("events", "stays", "movements", "subjects")
#: Rows of new files among which patients are looked for; more may be of anybody.
_MOST_ROWS: Final = 1_000_000

_MAXIMUM = pl.lit(datetime(9999, 1, 1, tzinfo=UTC), dtype=TIME)


@dataclass(frozen=True)
class Snapshot:
    """A hospital at one version, as it was known at `now`.

    A row is visible when it was recorded at or before `now` and not withdrawn
    by then, and when what it tells had happened (``time <= now``) or was
    planned. Ends, outcomes and deaths after `now` read as missing. Nothing
    that is written later changes a snapshot.

    Attributes
    ----------
    hospital : str
        Id of the hospital.
    version : int
        The hospital version.
    now : datetime
        Aware, UTC. The data cut where the reader gave none.
    as_of : datetime or None
        What the reader gave. None: everything recorded so far, withdrawn
        rows left out.
    zone : str
        The hospital's time zone (IANA).
    cache : Path
        Folder for artefacts made from this hospital.
    """

    hospital: str
    version: int
    now: datetime
    as_of: datetime | None
    zone: str
    cache: Path
    _files: Mapping[str, list[str]]

    @property
    def identity(self) -> str:
        """Names this view of the data: hospital, version, time; a key for caches."""
        at = "latest" if self.as_of is None else self.as_of.astimezone(UTC).isoformat()
        return f"{self.hospital}@{self.version}/{at}"

    def files(self, table: str) -> list[str]:
        """Parquet files of a table, for an engine of one's own (``read_parquet(files)``).

        They hold every revision of every row; visibility is the reader's duty.

        Raises
        ------
        NotFoundError
            Files are gone: the version was dropped by a vacuum since.
        """
        files = list(self._files.get(table, []))
        gone = sum(not Path(one).exists() for one in files)
        if gone:
            message = (
                f"version {self.version}: {gone} of {len(files)} files of the table {table} are "
                "gone; found that a vacuum dropped this version, or that the folder was moved; "
                "open the hospital again and take a new snapshot"
            )
            raise NotFoundError(message)
        return files

    def stored(self, table: str) -> pl.LazyFrame:
        """Every row of a table, withdrawn ones and old revisions included."""
        return tables.scan(self.files(table), TABLES[table])

    def _known_rows(self, table: str, subjects: Sequence[int] | None = None) -> pl.LazyFrame:
        """The last row known of each thing, if it is not a withdrawal."""
        rows = self.stored(table)
        if subjects is not None:
            rows = rows.filter(pl.col("subject_id").is_in(list(subjects)))
        if self.as_of is not None:
            rows = rows.filter(pl.col("recorded") <= pl.lit(self.as_of, dtype=TIME))
        last = rows.sort("recorded", "batch", maintain_order=True).unique(
            subset=KEYS[table], keep="last", maintain_order=True
        )
        return last.filter(pl.col("retracted").is_null() | (pl.col("retracted") > self._limit))

    @property
    def _limit(self) -> pl.Expr:
        return _MAXIMUM if self.as_of is None else pl.lit(self.as_of, dtype=TIME)

    def _known(self, column: str, *, by: str | None = None) -> pl.Expr:
        """A column that reads as missing while `by` (or itself) lies after now."""
        if self.as_of is None:
            return pl.col(column)
        limit = pl.lit(self.as_of, dtype=TIME)
        return pl.when(pl.col(by or column) <= limit).then(pl.col(column)).alias(column)

    def events(self) -> pl.LazyFrame:
        """Visible events; columns of ``TABLES["events"]``, in no stated order."""
        rows = self.stored("events")
        if self.as_of is None:
            return rows.filter(pl.col("retracted").is_null())
        limit = pl.lit(self.as_of, dtype=TIME)
        return rows.filter(
            pl.col("recorded") <= limit,
            pl.col("retracted").is_null() | (pl.col("retracted") > limit),
            pl.col("time").is_null() | (pl.col("time") <= limit) | (pl.col("status") == "planned"),
        ).with_columns(self._known("end_time"))

    def subjects(self, *, subjects: Sequence[int] | None = None) -> pl.LazyFrame:
        """Subjects known at now; a death after now reads as missing.

        `subjects` as in :meth:`movements`.
        """
        return self._known_rows("subjects", subjects).with_columns(
            self._known("death_precision", by="death"), self._known("death")
        )

    def _started(self, table: str, subjects: Sequence[int] | None = None) -> pl.LazyFrame:
        rows = self._known_rows(table, subjects)
        if self.as_of is None:
            return rows
        return rows.filter(pl.col("start") <= pl.lit(self.as_of, dtype=TIME))

    def stays(self, *, subjects: Sequence[int] | None = None) -> pl.LazyFrame:
        """Stays that had started by now; an end after now, and its outcome, read as missing.

        `subjects` as in :meth:`movements`.
        """
        return self._started("stays", subjects).with_columns(
            self._known("outcome", by="end"), self._known("end")
        )

    def movements(self, *, subjects: Sequence[int] | None = None) -> pl.LazyFrame:
        """Movements that had started by now; an end after now reads as missing.

        With `subjects` only theirs: of few subjects much faster than a filter
        afterwards, since what is known last is then found among few rows.
        """
        return self._started("movements", subjects).with_columns(self._known("end"))

    def units(self) -> pl.LazyFrame:
        """Units known at now."""
        return self._known_rows("units")

    def beds(self) -> pl.LazyFrame:
        """Beds known at now; an end after now reads as missing."""
        return self._known_rows("beds").with_columns(self._known("end"))

    def codes(self) -> pl.LazyFrame:
        """Codes with their descriptions, as last known."""
        return self._known_rows("codes")

    def quarantine(self) -> pl.LazyFrame:
        """Refused rows of what was not replaced since; columns of ``TABLES["quarantine"]``."""
        return self._of_what_was_not_replaced("quarantine")

    def _of_what_was_not_replaced(self, table: str) -> pl.LazyFrame:
        batches = self.batches_by_now().select("batch", "source", "file", "replaces").collect()
        last = batches.filter(pl.col("replaces").is_not_null()).group_by("source", "file")
        replaced = (
            batches.join(last.agg(_by=pl.col("batch").max()), on=["source", "file"])
            .filter(pl.col("batch") < pl.col("_by"))["batch"]
            .to_list()
        )
        rows = self.stored(table).filter(~pl.col("batch").is_in(replaced))
        if self.as_of is None:
            return rows
        return rows.join(self.batches_by_now().select("batch"), on="batch", how="semi")

    def warnings(self) -> pl.LazyFrame:
        """Rows taken though something is in doubt; columns of ``TABLES["warnings"]``."""
        return self._of_what_was_not_replaced("warnings")

    def batches(self) -> pl.LazyFrame:
        """What was imported; columns of ``TABLES["batches"]``."""
        return self.stored("batches")

    def batches_by_now(self) -> pl.LazyFrame:
        """What had been imported by now: before it, nobody knew of a refusal."""
        rows = self.batches()
        if self.as_of is None:
            return rows
        return rows.filter(pl.col("imported") <= pl.lit(self.as_of, dtype=TIME))


def files_changed(before: Snapshot, after: Snapshot, table: str) -> tuple[list[str], list[str]]:
    """Give the files of a table that only the earlier version has, and those only the later has."""
    held, holds = before.files(table), after.files(table)
    return sorted(set(held) - set(holds)), sorted(set(holds) - set(held))


def subjects_since(
    before: Snapshot, after: Snapshot, *, rewritten: bool = False
) -> set[int] | None:
    """Whom the files tell of that one version has and an earlier one had not.

    Parameters
    ----------
    before, after : Snapshot
    rewritten : bool
        Whether rows that were only put together with others count too: then more
        patients than necessary are named, and never fewer.

    Returns
    -------
    set of int or None
        None where it would have to be looked for among too many rows: a table was
        rewritten, or a whole delivery was imported.
    """
    found: set[int] = set()
    for table in OF_PATIENTS:
        try:
            gone, new = files_changed(before, after, table)
        except NotFoundError:  # a vacuum has dropped the earlier one
            return None
        if gone and not rewritten:
            return None
        if not new:
            continue
        rows = pl.scan_parquet(new, glob=False).select("subject_id")
        if rows.select(pl.len()).collect().item() > _MOST_ROWS:
            return None
        found |= set(rows.unique().collect()["subject_id"])
    return found
