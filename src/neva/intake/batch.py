"""The rows of one batch on their way into the store: counted, staged, reconciled, appended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

from neva.errors import BadInputError
from neva.events.hospital import Writer
from neva.events.identities import Pseudonyms
from neva.events.own_units import read_own_units
from neva.events.schema import EVENT_ROW, REASONS, RETRACTIONS, TABLES, TIME
from neva.intake import reconcile
from neva.intake.acceptance import CanonicalUnit, TimeLimits, accept
from neva.intake.deletions import Withdrawn, withdrawn
from neva.intake.merges import Moved, moved
from neva.intake.staging import Stage
from neva.sources.nested_movements import innermost
from neva.sources.rows import Delivery, conform, refused_rows

__all__ = [
    "COUNTED",
    "Tally",
    "batch_row",
    "canonical_units",
    "merged_rows",
    "pseudonymised",
    "stage_delivery",
    "with_recorded",
    "withdrawn_rows",
    "write_events",
    "write_others",
]

#: So few refused rows of a table do not make an import fail, if others are taken.
_FEW_REFUSED: Final = 10

#: What is counted of the rows of a table.
COUNTED: Final = ("read", "added", "known", "revised", "retracted", "refused")


@dataclass
class Tally:
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
        """Count rows of a table."""
        self.counts.setdefault(table, Counter())[what] += number

    def refuse(self, refused: pl.DataFrame) -> None:
        """Keep quarantine rows, and count them by reason."""
        if not refused.height:
            return
        self.quarantine.append(refused)
        for table, reason, number in refused.group_by("table", "reason").len().iter_rows():
            self.add(table or "events", "refused", number)
            self.refusals[f"{table}: {reason}"] += number

    def warn(self, warned: pl.DataFrame) -> None:
        """Keep warnings."""
        if warned.height:
            self.warnings.append(warned)

    def warned(self) -> dict[str, int]:
        """Return how many warnings there are, by table and reason."""
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
        """Widen the span of what is recorded as done, but not beyond the import."""
        for column in columns:
            times = frame[column]
            if self.latest is not None:
                times = times.filter(times <= self.latest)
            low, high = times.min(), times.max()
            if isinstance(low, datetime) and isinstance(high, datetime):
                self.first = min(self.first or low, low)
                self.last = max(self.last or high, high)


def canonical_units(stored: pl.LazyFrame) -> dict[str, CanonicalUnit]:
    """Return the unit in which the values of each code are kept."""
    rows = stored.filter(pl.col("value_unit").is_not_null()).select(
        "code", "value_unit", "molar_mass"
    )
    return {code: CanonicalUnit(unit, mass) for code, unit, mass in rows.collect().iter_rows()}


def stage_delivery(
    writer: Writer,
    delivery: Delivery,
    tally: Tally,
    progress: Callable[[int], None] | None,
) -> tuple[Stage, dict[str, list[pl.DataFrame]], Pseudonyms, list[pl.DataFrame]]:
    """Read the delivery once; accept, pseudonymise and stage its rows.

    The last of what it returns are the ids of events that have a row id.
    """
    pseudonyms = writer.hospital.pseudonyms(delivery.assigner)
    canonical = canonical_units(writer.snapshot().codes())
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
            canonical.update(canonical_units(frame.lazy()))
        frame = with_recorded(frame, writer.now)
        if rows.table == "subjects":
            # What is told of a merged record itself is not told of the surviving one.
            is_merged = pseudonyms.are_merged(frame["subject"])
            tally.warn(
                refused_rows("subjects", frame.filter(is_merged), "subject-merged", "subject")
            )
            frame = frame.filter(~is_merged)
        if rows.table in ("events", "subjects", "stays", "movements"):
            frame = pseudonymised(frame, pseudonyms)
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


def with_recorded(frame: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Fill in when a row was known where the source does not say: now, assumed."""
    return frame.with_columns(
        recorded_assumed=pl.col("recorded_assumed").fill_null(pl.col("recorded").is_null()),
        recorded=pl.col("recorded").fill_null(pl.lit(now, dtype=TIME)),
    )


def pseudonymised(frame: pl.DataFrame, pseudonyms: Pseudonyms) -> pl.DataFrame:
    """Put pseudonyms in the place of local ids."""
    columns = [pseudonyms.of("subject", frame["subject"]).alias("subject_id")]
    dropped = ["subject"]
    if "stay" in frame.columns:
        columns.append(pseudonyms.of("stay", frame["stay"]).alias("stay_id"))
        dropped.append("stay")
    return frame.drop(dropped).with_columns(columns)


def withdrawn_rows(
    writer: Writer,
    delivery: Delivery,
    deletions: list[pl.DataFrame],
    pseudonyms: Pseudonyms,
    tally: Tally,
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


def merged_rows(
    writer: Writer,
    others: dict[str, list[pl.DataFrame]],
    named: list[pl.DataFrame],
    pseudonyms: Pseudonyms,
    tally: Tally,
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


def write_events(
    writer: Writer,
    delivery: Delivery,
    stage: Stage,
    tally: Tally,
    *,
    shared: pl.Series,
    batch: int,
    replaced: list[int],
    deleted: pl.DataFrame,
    merged: Moved,
) -> None:
    """Reconcile the staged events with those stored, and append and end what follows."""
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


def write_others(
    writer: Writer,
    others: dict[str, list[pl.DataFrame]],
    tally: Tally,
    *,
    batch: int,
    replaced: list[int],
) -> None:
    """Reconcile everything but events with what is stored, and append what follows."""
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


def batch_row(
    *,
    batch: int,
    delivery: Delivery,
    file: str,
    sha256: str,
    size: int,
    now: datetime,
    totals: Mapping[str, int],
    replaces: int | None = None,
) -> pl.DataFrame:
    """Return the row of ``batches`` for what was imported; `totals` by :data:`COUNTED`."""
    return pl.DataFrame(
        {
            "batch": [batch],
            "source": [delivery.name],
            "kind": [delivery.kind],
            "file": [file],
            "sha256": [sha256],
            "bytes": [size],
            "mapping": [delivery.mapping],
            "imported": [now],
            "replaces": [replaces],
            **{f"rows_{what}": [totals.get(what, 0)] for what in COUNTED},
            "order": [delivery.order],
        },
        schema=TABLES["batches"],
    )
