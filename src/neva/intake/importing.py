"""Rows into the store: pseudonyms, identity, revisions, one commit.

The same file again adds nothing; overlapping extracts add what is new; a
file that changed under the same name is a conflict that the caller decides.
Everything becomes visible at once, or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import polars as pl

from neva.errors import ConflictError
from neva.events.hospital import Hospital, Writer
from neva.events.manifest import GRACE_AHEAD
from neva.events.schema import TABLES
from neva.intake import reconcile
from neva.intake.batch import (
    COUNTED,
    Tally,
    batch_row,
    merged_rows,
    stage_delivery,
    withdrawn_rows,
    write_events,
    write_others,
)
from neva.sources.rows import Delivery

__all__ = ["MOST_REFUSED", "ImportSummary", "OnChange", "import_delivery"]

OnChange = Literal["refuse", "replace", "extend"]

#: A larger share of refused rows of one table makes an import fail: it is a
#: wrong mapping, not a wrong row (unless so few rows are refused, and others are taken).
MOST_REFUSED: Final = 0.05


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
        Number of the batch; of the earlier one if nothing was to do; 0 where a live feed
        delivered only what is known, which makes no batch.
    already_imported : bool
        The same content had been imported before: nothing was done.
    counts : dict of str to dict of str to int
        For each table: rows ``read``, ``added``, ``known`` (already there or
        repeated), ``revised``, ``retracted``, ``refused``.
    refusals : dict of str to int
        Refused rows by ``table: reason``.
    warnings : dict of str to int
        Rows taken though something is in doubt, by ``table: reason``.
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
    warnings: dict[str, int] = field(default_factory=dict)

    def total(self, what: str) -> int:
        """Sum one count over the tables."""
        return sum(count.get(what, 0) for count in self.counts.values())

    def to_frame(self) -> pl.DataFrame:
        """Return columns ``table``, ``read``, ``added``, ``known``, ... (int64)."""
        return pl.DataFrame(
            [
                {"table": table, **{what: count.get(what, 0) for what in COUNTED}}
                for table, count in self.counts.items()
            ],
            schema={"table": pl.String, **dict.fromkeys(COUNTED, pl.Int64)},
        )


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
    most_refused: float | None = MOST_REFUSED,
    dates: Literal["real", "shifted"] | None = None,
    progress: Callable[[int], None] | None = None,
    feed: tuple[str, str] | None = None,
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
    most_refused : float or None
        The largest share (0-1) of refused rows of a table that is tolerated;
        up to ten are, if others of the table are taken. None: any.
    dates : {"real", "shifted"}, optional
        ``shifted``: moved on purpose, so no time is too early or beyond the
        import. By default what the delivery says.
    progress : callable, optional
        Called with the number of rows read so far.
    feed : tuple of str, optional
        Name of the live feed that delivers, and the place that it has reached with this
        delivery: part of the same commit. What adds nothing is committed only where the
        feed has come to another place.

    Returns
    -------
    ImportSummary

    Raises
    ------
    ConflictError
        Another process writes, or the file changed and `on_change` is
        ``refuse``; the message names the earlier batch.
    BadInputError
        The source cannot be read, or too many of its rows; the hospital is
        as it was.
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
                    version=_moved_to(writer, feed),
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
        shifted = (dates or delivery.dates) == "shifted" or writer.before.dates_shifted
        writer.dates_shifted = shifted
        tally = Tally(latest=None if shifted else now + GRACE_AHEAD)
        batch = writer.next_batch()
        stage, others, pseudonyms, named = stage_delivery(writer, delivery, tally, progress)
        shared = reconcile.shared_ids(named)
        gone = withdrawn_rows(writer, delivery, others.pop("deletions", []), pseudonyms, tally)
        merged = merged_rows(writer, others, named, pseudonyms, tally)
        write_events(
            writer,
            delivery,
            stage,
            tally,
            shared=shared,
            batch=batch,
            replaced=replaced,
            deleted=gone.events,
            merged=merged,
        )
        for things, what in ((gone.things, "retracted"), (merged.things, "revised")):
            for table, frame in things.items():
                tally.add(table, what, frame.height)
                writer.append(table, [frame.with_columns(batch=pl.lit(batch, dtype=pl.Int64))])
        write_others(writer, others, tally, batch=batch, replaced=replaced)
        tally.check_refusals(label, most_refused)
        for table, found in (("quarantine", tally.quarantine), ("warnings", tally.warnings)):
            if found:
                rows = pl.concat(found).with_columns(batch=pl.lit(batch, dtype=pl.Int64))
                writer.append(table, [rows.select(list(TABLES[table]))])
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
            warnings=tally.warned(),
        )
        if feed is not None and _adds_nothing(summary, tally):
            return replace(summary, version=_moved_to(writer, feed), batch=0)
        row = batch_row(
            batch=batch,
            delivery=delivery,
            file=label,
            sha256=sha256,
            size=size,
            now=now,
            replaces=replaced[-1] if replaced else None,
            totals={what: summary.total(what) for what in COUNTED},
        )
        writer.append("batches", [row])
        writer.remember(pseudonyms)
        writer.commit(tally.first, tally.last, feeds=dict([feed]) if feed else None)
    return summary


def _adds_nothing(summary: ImportSummary, tally: Tally) -> bool:
    """Tell whether a delivery says only what is stored already."""
    new = sum(summary.total(what) for what in COUNTED if what not in ("read", "known"))
    return not new and not tally.quarantine and not tally.warnings


def _moved_to(writer: Writer, feed: tuple[str, str] | None) -> int:
    """Commit the place of a feed, and nothing else, where it is another; return the version."""
    if feed is None or writer.before.feeds.get(feed[0]) == feed[1]:
        return writer.before.version
    return writer.commit(feeds=dict([feed])).version
