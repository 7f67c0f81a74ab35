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
from typing import Final, Literal

import polars as pl

from neva.errors import BadInputError, ConflictError
from neva.events.hospital import Hospital, Writer
from neva.events.identities import Pseudonyms
from neva.events.manifest import GRACE_AHEAD
from neva.events.own_units import read_own_units
from neva.events.schema import EVENT_ROW, REASONS, RETRACTIONS, TABLES, TIME
from neva.intake import reconcile
from neva.intake.acceptance import CanonicalUnit, TimeLimits, accept
from neva.intake.deletions import Withdrawn, withdrawn
from neva.intake.merges import Moved, moved
from neva.intake.staging import Stage
from neva.sources.nested_movements import innermost
from neva.sources.rows import Delivery, conform, refused_rows

__all__ = ["MOST_REFUSED", "ImportSummary", "OnChange", "import_delivery"]

OnChange = Literal["refuse", "replace", "extend"]

#: A larger share of refused rows of one table makes an import fail: it is a
#: wrong mapping, not a wrong row ...
MOST_REFUSED: Final = 0.05
#: ... unless so few rows are refused, and others are taken.
_FEW_REFUSED: Final = 10

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
    warnings: list[pl.DataFrame] = field(default_factory=list)
    #: Beyond it nothing moves the hospital's clock.
    latest: datetime | None = None
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

    def warn(self, warned: pl.DataFrame) -> None:
        if warned.height:
            self.warnings.append(warned)

    def warned(self) -> dict[str, int]:
        if not self.warnings:
            return {}
        counts = pl.concat(self.warnings).group_by("table", "reason").len().sort("table", "reason")
        return {f"{table}: {reason}": number for table, reason, number in counts.iter_rows()}

    def check_refusals(self, label: str, most: float | None) -> None:
        """Fail where so many rows of a table were refused that the mapping is to blame."""
        if most is None:
            return
        for table, count in self.counts.items():
            read, refused = count.get("read", 0), count.get("refused", 0)
            is_all = refused > 0 and refused >= read
            if is_all or (refused > _FEW_REFUSED and refused > most * read):
                raise BadInputError(self._too_many(label, table, refused, read, most))

    def _too_many(self, label: str, table: str, refused: int, read: int, most: float) -> str:
        rows = pl.concat(self.quarantine).filter(pl.col("table") == table)
        reasons = []
        often = rows.group_by("reason", "field").len().sort("len", "reason", descending=True)
        for reason, name, number in often.head(3).iter_rows():
            of_reason = rows.filter(pl.col("reason") == reason, pl.col("field").eq_missing(name))
            places = of_reason.select("file", "row").head(3).rows()
            where = ", ".join(f"{file} row {'?' if row is None else row}" for file, row in places)
            reasons.append(
                f"{number:,} {reason} in {name or 'the row'} ({REASONS.get(reason, '')}; {where})"
            )
        return (
            f"{label}: {refused:,} of {read:,} rows of {table} would be refused; found "
            f"{'; '.join(reasons)}; nothing was imported: mend the mapping or the file, or allow "
            f"more than {100 * most:g} % with --most-refused, and they go to quarantine"
        )

    def span(self, frame: pl.DataFrame, *columns: str) -> None:
        for column in columns:
            times = frame[column]
            if self.latest is not None:
                times = times.filter(times <= self.latest)
            low, high = times.min(), times.max()
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
    most_refused: float | None = MOST_REFUSED,
    dates: Literal["real", "shifted"] | None = None,
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
    most_refused : float or None
        The largest share (0-1) of refused rows of a table that is tolerated;
        up to ten are, if others of the table are taken. None: any.
    dates : {"real", "shifted"}, optional
        ``shifted``: moved on purpose, so no time is too early or beyond the
        import. By default what the delivery says.
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
        shifted = (dates or delivery.dates) == "shifted" or writer.before.dates_shifted
        writer.dates_shifted = shifted
        tally = _Tally(latest=None if shifted else now + GRACE_AHEAD)
        batch = writer.next_batch()
        stage, others, pseudonyms, named = _stage(writer, delivery, tally, progress)
        shared = reconcile.shared_ids(named)
        gone = _deleted(writer, delivery, others.pop("deletions", []), pseudonyms, tally)
        merged = _merged(writer, others, named, pseudonyms, tally)
        _write_events(
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
        _write_others(writer, others, tally, batch=batch, replaced=replaced)
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
) -> tuple[Stage, dict[str, list[pl.DataFrame]], Pseudonyms, list[pl.DataFrame]]:
    """Read the delivery once; accept, pseudonymise and stage its rows.

    The last of what it returns are the ids of events that have a row id.
    """
    pseudonyms = writer.hospital.pseudonyms(delivery.assigner)
    canonical = _canonical_units(writer.snapshot().codes())
    own_units = read_own_units(writer.hospital.path)
    limits = None if writer.dates_shifted else TimeLimits.of_import(writer.now)
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
        if rows.table == "warnings":
            tally.counts.pop("warnings", None)
            tally.warn(conform("warnings", rows.frame))
            continue
        if rows.table in ("deletions", "merges"):
            tally.counts.pop(rows.table, None)
            others.setdefault(rows.table, []).append(conform(rows.table, rows.frame))
            continue
        accepted = accept(
            rows.table,
            conform(rows.table, rows.frame),
            canonical,
            limits=limits,
            own_units=own_units,
        )
        frame = accepted.taken
        tally.refuse(accepted.refused)
        tally.warn(accepted.warned)
        if rows.table == "codes":
            canonical.update(_canonical_units(frame.lazy()))
        frame = _recorded(frame, writer.now)
        if rows.table == "subjects":
            # What is told of a merged record itself is not told of the surviving one.
            is_merged = pseudonyms.are_merged(frame["subject"])
            tally.warn(
                refused_rows("subjects", frame.filter(is_merged), "subject-merged", "subject")
            )
            frame = frame.filter(~is_merged)
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
    return stage, others, pseudonyms, named


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


def _deleted(
    writer: Writer,
    delivery: Delivery,
    deletions: list[pl.DataFrame],
    pseudonyms: Pseudonyms,
    tally: _Tally,
) -> Withdrawn:
    """Find what the delivery's deletions withdraw; tell of those of nothing."""
    if not deletions:
        return Withdrawn(pl.DataFrame(schema=RETRACTIONS))
    found = withdrawn(
        pl.concat(deletions),
        writer.snapshot(),
        pseudonyms,
        source=delivery.name,
        now=writer.now,
    )
    tally.warn(found.unmatched)
    return found


def _merged(
    writer: Writer,
    others: dict[str, list[pl.DataFrame]],
    named: list[pl.DataFrame],
    pseudonyms: Pseudonyms,
    tally: _Tally,
) -> Moved:
    """Find what is stored of records that the delivery merges into others."""
    merges = others.pop("merges", [])
    if not merges:
        return Moved(pl.DataFrame(schema=TABLES["events"]), pl.DataFrame(schema=RETRACTIONS))
    delivered = {"subjects": [one["subject_id"] for one in others.get("subjects", [])]}
    delivered["stays"] = [one["stay_id"] for one in others.get("stays", [])]
    delivered["events"] = [one["event_id"] for one in named]
    found = moved(
        pl.concat(merges),
        writer.snapshot(),
        pseudonyms,
        delivered={table: pl.concat(keys) for table, keys in delivered.items() if keys},
        now=writer.now,
    )
    tally.add("events", "revised", found.events.height)
    return found


def _write_events(
    writer: Writer,
    delivery: Delivery,
    stage: Stage,
    tally: _Tally,
    *,
    shared: pl.Series,
    batch: int,
    replaced: list[int],
    deleted: pl.DataFrame,
    merged: Moved,
) -> None:
    stored = writer.snapshot().stored("events") if "events" in writer.before.tables else None
    retractions: list[pl.DataFrame] = []
    if deleted.height:
        retractions.append(deleted)
        tally.add("events", "retracted", deleted.height)
    if merged.events.height:
        retractions.append(merged.retractions)
        rows = merged.events.with_columns(batch=pl.lit(batch, dtype=pl.Int64))
        writer.append("events", [rows.select(list(TABLES["events"]))])
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
            .select(EVENT_ROW)
            .collect()
        )
        if kept_ids:
            gone = gone.filter(~pl.col("event_id").is_in(pl.concat(kept_ids).implode()))
        retractions.append(gone.with_columns(retracted=pl.lit(writer.now, dtype=TIME)))
        tally.add("events", "retracted", gone.height)
    if retractions:
        writer.retract(reconcile.earliest(pl.concat(retractions)))


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
        delivered = pl.concat(others[table]) if table in others else None
        if table == "movements" and delivered is not None:
            delivered = innermost(delivered)
        result = reconcile.things(
            table,
            delivered,
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
