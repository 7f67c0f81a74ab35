"""Rows into the store: pseudonyms, identity, revisions, one commit.

The same file again adds nothing; overlapping extracts add what is new; a
file that changed under the same name is a conflict that the caller decides.
Everything becomes visible at once, or not at all.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import polars as pl

from neva.errors import ConflictError
from neva.events.hospital import Hospital, Writer
from neva.events.identities import Pseudonyms
from neva.events.schema import TABLES, TIME
from neva.sources import reconcile
from neva.sources.acceptance import CanonicalUnit, accept
from neva.sources.rows import Delivery, conform
from neva.sources.staging import Stage

__all__ = ["ImportSummary", "OnChange", "import_delivery"]

OnChange = Literal["refuse", "replace", "extend"]

_COUNTED = ("read", "added", "known", "revised", "retracted", "refused")


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What one import did.

    Attributes
    ----------
    source, file : str
        The logical source and the file or folder.
    version : int
        The hospital version after the import.
    batch : int
        Number of the batch; of the earlier one if nothing was to do.
    already_imported : bool
        The same content had been imported before: nothing was done.
    counts : dict of str to dict of str to int
        For each table: rows ``read``, ``added``, ``known`` (already there or
        repeated), ``revised``, ``retracted``, ``refused``.
    refusals : dict of str to int
        Refused rows by ``table: reason``.
    order : str
        Where the order of events with equal times comes from: ``column``,
        ``position`` or ``none``.
    """

    source: str
    file: str
    version: int
    batch: int
    already_imported: bool
    counts: dict[str, dict[str, int]]
    refusals: dict[str, int]
    order: str

    def total(self, what: str) -> int:
        """Sum one count over the tables."""
        return sum(count.get(what, 0) for count in self.counts.values())

    def to_frame(self) -> pl.DataFrame:
        """Return columns ``table``, ``read``, ``added``, ``known``, ... (int64)."""
        return pl.DataFrame(
            [
                {"table": table, **{what: count.get(what, 0) for what in _COUNTED}}
                for table, count in self.counts.items()
            ],
            schema={"table": pl.String, **dict.fromkeys(_COUNTED, pl.Int64)},
        )


@dataclass
class _Tally:
    """Counts per table, refusals per reason, and the span of time."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    quarantine: list[pl.DataFrame] = field(default_factory=list)
    first: datetime | None = None
    last: datetime | None = None

    def add(self, table: str, what: str, number: int) -> None:
        self.counts.setdefault(table, Counter())[what] += number

    def refuse(self, refused: pl.DataFrame) -> None:
        if not refused.height:
            return
        self.quarantine.append(refused)
        for table, reason, number in refused.group_by("table", "reason").len().iter_rows():
            self.add(table or "events", "refused", number)
            self.refusals[f"{table}: {reason}"] += number

    def span(self, frame: pl.DataFrame, *columns: str) -> None:
        for column in columns:
            low, high = frame[column].min(), frame[column].max()
            if isinstance(low, datetime) and isinstance(high, datetime):
                self.first = min(self.first or low, low)
                self.last = max(self.last or high, high)


def fingerprint(files: tuple[Path, ...]) -> tuple[str, int]:
    """SHA-256 and size of the files: of one file itself, of several over their hashes."""
    digests = []
    size = 0
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        size += path.stat().st_size
    if len(digests) == 1:
        return digests[0], size
    whole = "\n".join(f"{path.name} {digest}" for path, digest in zip(files, digests, strict=True))
    return hashlib.sha256(whole.encode()).hexdigest(), size


def import_delivery(
    hospital: Hospital,
    delivery: Delivery,
    *,
    label: str,
    now: datetime,
    on_change: OnChange = "refuse",
    progress: Callable[[int], None] | None = None,
) -> ImportSummary:
    """Write a delivery into a hospital, as one batch.

    Parameters
    ----------
    hospital : Hospital
        Where to.
    delivery : Delivery
        An opened source; its rows are read once.
    label : str
        Name of the file or folder, by which a later delivery of the same
        name is recognised.
    now : datetime
        Aware: the import time.
    on_change : {"refuse", "replace", "extend"}
        What to do if something of this name was imported with other content:
        refuse; replace it (rows that are no longer there are withdrawn); or
        take it as a further extract (rows that are no longer there stay).
    progress : callable, optional
        Called with the number of rows read so far.

    Returns
    -------
    ImportSummary

    Raises
    ------
    ConflictError
        Another process writes, or the file changed and `on_change` is
        ``refuse``; the message names the earlier batch.
    BadInputError
        The source cannot be read; the hospital is as it was.
    """
    now = now.astimezone(UTC)
    sha256, size = fingerprint(delivery.files)
    with hospital.writer(purpose=f"import of {label}", now=now) as writer:
        earlier = writer.snapshot().batches().collect()
        same = earlier.filter(pl.col("source") == delivery.name, pl.col("file") == label).sort(
            "batch"
        )
        latest = same.row(-1, named=True) if same.height else None
        if latest is not None:
            unchanged = latest["sha256"] == sha256 and latest["mapping"] == delivery.mapping
            if unchanged:
                return ImportSummary(
                    source=delivery.name,
                    file=label,
                    version=writer.before.version,
                    batch=latest["batch"],
                    already_imported=True,
                    counts={},
                    refusals={},
                    order=delivery.order,
                )
            if on_change == "refuse":
                what = "mapping" if latest["sha256"] == sha256 else "content"
                message = (
                    f"{label}: its {what} differs from what was imported under this name; found "
                    f"batch {latest['batch']} of {latest['imported']:%Y-%m-%d %H:%M} UTC; import "
                    "with --replace to put it in that batch's place, or with --extend to add it as "
                    "a further extract"
                )
                raise ConflictError(message)
        replaced = same["batch"].to_list() if on_change == "replace" else []
        tally = _Tally()
        batch = writer.next_batch()
        stage, others, pseudonyms, shared = _stage(writer, delivery, tally, progress)
        _write_events(writer, delivery, stage, tally, shared=shared, batch=batch, replaced=replaced)
        _write_others(writer, others, tally, batch=batch, replaced=replaced)
        if tally.quarantine:
            refused = pl.concat(tally.quarantine).with_columns(batch=pl.lit(batch, dtype=pl.Int64))
            writer.append("quarantine", [refused.select(list(TABLES["quarantine"]))])
        counts = {table: dict(count) for table, count in tally.counts.items()}
        summary = ImportSummary(
            source=delivery.name,
            file=label,
            version=writer.before.version + 1,
            batch=batch,
            already_imported=False,
            counts=counts,
            refusals=dict(tally.refusals),
            order=delivery.order,
        )
        writer.append(
            "batches",
            [
                pl.DataFrame(
                    {
                        "batch": [batch],
                        "source": [delivery.name],
                        "kind": [delivery.kind],
                        "file": [label],
                        "sha256": [sha256],
                        "bytes": [size],
                        "mapping": [delivery.mapping],
                        "imported": [now],
                        "replaces": [replaced[-1] if replaced else None],
                        **{f"rows_{what}": [summary.total(what)] for what in _COUNTED},
                        "order": [delivery.order],
                    },
                    schema=TABLES["batches"],
                )
            ],
        )
        writer.remember(pseudonyms)
        writer.commit(tally.first, tally.last)
    return summary


def _canonical_units(stored: pl.LazyFrame) -> dict[str, CanonicalUnit]:
    rows = stored.filter(pl.col("value_unit").is_not_null()).select(
        "code", "value_unit", "molar_mass"
    )
    return {code: CanonicalUnit(unit, mass) for code, unit, mass in rows.collect().iter_rows()}


def _stage(
    writer: Writer,
    delivery: Delivery,
    tally: _Tally,
    progress: Callable[[int], None] | None,
) -> tuple[Stage, dict[str, list[pl.DataFrame]], Pseudonyms, pl.Series]:
    """Read the delivery once; accept, pseudonymise and stage its rows.

    The last of what it returns are the event ids that stand in more than one
    range of subjects: one row id, several subjects.
    """
    pseudonyms = Pseudonyms(writer.key, delivery.assigner)
    canonical = _canonical_units(writer.snapshot().codes())
    stage = Stage(writer.staging)
    others: dict[str, list[pl.DataFrame]] = {}
    named: list[pl.DataFrame] = []
    read = 0
    for rows in delivery.rows:
        read += rows.frame.height
        if progress is not None:
            progress(read)
        tally.add(rows.table, "read", rows.frame.height)
        if rows.table == "quarantine":
            tally.counts.pop("quarantine", None)
            for table, number in rows.frame.group_by("table").len().iter_rows():
                tally.add(table or "events", "read", number)
            tally.refuse(conform("quarantine", rows.frame))
            continue
        frame, refused = accept(rows.table, conform(rows.table, rows.frame), canonical)
        tally.refuse(refused)
        if rows.table == "codes":
            canonical.update(_canonical_units(frame.lazy()))
        frame = _recorded(frame, writer.now)
        if rows.table in ("events", "subjects", "stays", "movements"):
            frame = _pseudonymised(frame, pseudonyms)
        frame = frame.with_columns(origin=pl.lit(rows.origin))
        if rows.table == "events":
            done = frame.filter(pl.col("status") != "planned")
            tally.span(done, "time", "end_time")
            frame = frame.with_columns(
                arrival=pl.int_range(read - frame.height, read, dtype=pl.Int64)
            )
            named.append(reconcile.named_ids(frame, source=delivery.name))
            stage.add(frame)
        else:
            if rows.table in ("stays", "movements"):
                tally.span(frame, "start", "end")
            others.setdefault(rows.table, []).append(frame)
    return stage, others, pseudonyms, reconcile.shared_ids(named)


def _recorded(frame: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Fill in when a row was known where the source does not say: now, assumed."""
    return frame.with_columns(
        recorded_assumed=pl.col("recorded_assumed").fill_null(pl.col("recorded").is_null()),
        recorded=pl.col("recorded").fill_null(pl.lit(now, dtype=TIME)),
    )


def _pseudonymised(frame: pl.DataFrame, pseudonyms: Pseudonyms) -> pl.DataFrame:
    columns = [pseudonyms.of("subject", frame["subject"]).alias("subject_id")]
    dropped = ["subject"]
    if "stay" in frame.columns:
        columns.append(pseudonyms.of("stay", frame["stay"]).alias("stay_id"))
        dropped.append("stay")
    return frame.drop(dropped).with_columns(columns)


def _write_events(
    writer: Writer,
    delivery: Delivery,
    stage: Stage,
    tally: _Tally,
    *,
    shared: pl.Series,
    batch: int,
    replaced: list[int],
) -> None:
    stored = writer.snapshot().stored("events") if "events" in writer.before.tables else None
    retractions: list[pl.DataFrame] = []
    kept_ids: list[pl.Series] = []

    def finished() -> Iterator[pl.DataFrame]:
        for staged in reconcile.ranges(stage.ranges(), shared, source=delivery.name):
            result = reconcile.events(
                staged,
                stored,
                source=delivery.name,
                order=delivery.order,
                now=writer.now,
                batch=batch,
            )
            tally.refuse(result.refused)
            for what in ("added", "known", "revised", "retracted"):
                tally.add("events", what, getattr(result, what))
            retractions.append(result.retractions)
            if replaced:
                kept_ids.append(result.event_ids)
            yield result.rows

    if stage.rows:
        writer.append("events", finished())
    if replaced and stored is not None:
        gone = (
            stored.filter(pl.col("batch").is_in(replaced), pl.col("retracted").is_null())
            .select("event_id", "batch")
            .collect()
        )
        if kept_ids:
            gone = gone.filter(~pl.col("event_id").is_in(pl.concat(kept_ids).implode()))
        retractions.append(gone.with_columns(retracted=pl.lit(writer.now, dtype=TIME)))
        tally.add("events", "retracted", gone.height)
    if retractions:
        writer.retract(
            pl.concat(retractions)
            .sort("retracted")
            .unique(["event_id", "batch"], keep="first", maintain_order=True)
        )


def _write_others(
    writer: Writer,
    others: dict[str, list[pl.DataFrame]],
    tally: _Tally,
    *,
    batch: int,
    replaced: list[int],
) -> None:
    for table in ("subjects", "stays", "movements", "units", "beds", "codes"):
        if table not in others and not (replaced and table in writer.before.tables):
            continue
        result = reconcile.things(
            table,
            pl.concat(others[table]) if table in others else None,
            writer.snapshot().stored(table),
            now=writer.now,
            batch=batch,
            replaced=replaced,
        )
        tally.refuse(result.refused)
        for what in ("added", "known", "revised", "retracted"):
            tally.add(table, what, getattr(result, what))
        if result.rows.height:
            writer.append(table, [result.rows])
