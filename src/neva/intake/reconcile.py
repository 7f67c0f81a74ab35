"""What delivered rows mean against those already stored.

Every row is one of: new; known (the same content is stored, or the delivery
holds it twice); a revision (same identity, other content); a withdrawal; or
refused (two rows of one delivery contradict each other under one id).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from neva.events.hashing import hash_rows, to_id
from neva.events.schema import EVENT_ROW, KEYS, ORDER, RETRACTIONS, TABLES, TIME
from neva.intake.late_states import BOOKKEEPING, inserted_events, older_states
from neva.intake.one_delivery import settled_events, settled_things
from neva.intake.staging import range_of
from neva.sources.rows import refused_rows

__all__ = [
    "CONTENT",
    "Reconciled",
    "earliest",
    "events",
    "identified",
    "ids_by_row",
    "movement_ids_by_row",
    "named_ids",
    "ranges",
    "shared_ids",
    "things",
]

#: What makes the content of an event: everything but when it was known and
#: where it stood in the file.
CONTENT: Final = (
    "subject_id",
    "stay_id",
    "time",
    "end_time",
    "precision",
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


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Rows to append and what became of the others.

    Attributes
    ----------
    rows : polars.DataFrame
        Columns of the stored table, sorted.
    retractions : polars.DataFrame
        Columns ``event_id``, ``batch``, ``recorded``, ``retracted``: stored
        events that end, or end earlier. Empty for other tables.
    refused : polars.DataFrame
        Quarantine rows.
    event_ids : polars.Series
        Every id that the delivery named.
    added, known, revised, retracted : int
        Counts of delivered rows.
    """

    rows: pl.DataFrame
    retractions: pl.DataFrame
    refused: pl.DataFrame
    event_ids: pl.Series
    added: int
    known: int
    revised: int
    retracted: int


def _not_before(now: datetime, *columns: str) -> pl.Expr:
    """Return the import time, or just after `columns` if a clock was put back since."""
    just_after = [pl.col(name) + pl.duration(microseconds=1) for name in columns]
    return pl.max_horizontal(pl.lit(now, dtype=TIME), *just_after)


def ids_by_row(rows: pl.DataFrame, source: str) -> pl.Series:
    """Return the event ids of rows by their ``origin`` and ``row_id``."""
    return to_id(hash_rows(rows, ("origin", "row_id"), seed=source))


def movement_ids_by_row(rows: pl.DataFrame) -> pl.Series:
    """Return the movement ids of rows by their ``origin``, ``row_id`` and ``subject_id``."""
    return to_id(hash_rows(rows, ("origin", "row_id", "subject_id"), seed="movement"))


def named_ids(staged: pl.DataFrame, *, source: str) -> pl.DataFrame:
    """Give the ids of the rows that have a row id, and the range of subjects each is in.

    Returns
    -------
    polars.DataFrame
        Columns ``event_id`` (int64) and ``range`` (int8).
    """
    rows = staged.select("origin", "row_id", "subject_id").filter(pl.col("row_id").is_not_null())
    return pl.DataFrame({"event_id": ids_by_row(rows, source), "range": range_of(rows)})


def shared_ids(named: list[pl.DataFrame]) -> pl.Series:
    """Find the event ids that stand in more than one range of subjects."""
    if not named:
        return pl.Series(dtype=pl.Int64)
    pairs = pl.concat(named).unique()
    return pairs["event_id"].filter(pairs["event_id"].is_duplicated()).unique()


def ranges(
    staged: Iterable[pl.DataFrame], shared: pl.Series, *, source: str
) -> Iterator[pl.DataFrame]:
    """Yield the staged ranges; rows whose id stands in several of them come last, together."""
    aside: list[pl.DataFrame] = []
    for rows in staged:
        if not len(shared):
            yield rows
            continue
        is_shared = rows["row_id"].is_not_null() & ids_by_row(rows, source).is_in(shared.implode())
        aside.append(rows.filter(is_shared))
        yield rows.filter(~is_shared)
    if aside:
        yield pl.concat(aside).sort("arrival")


def identified(staged: pl.DataFrame, *, source: str, order: str) -> pl.DataFrame:
    """Add ``event_id`` and ``content``.

    The id is the hash of source, table and source row id; where there is no
    row id, of the content and the number of its repetition in the delivery.
    """
    content_columns = (*CONTENT, "sequence") if order == "column" else CONTENT
    staged = staged.with_columns(content=to_id(hash_rows(staged, content_columns)))
    has_id = staged["row_id"].is_not_null()
    if has_id.all():
        return staged.with_columns(event_id=ids_by_row(staged, source))
    if staged["content"].n_unique() == staged.height:
        repetition = pl.lit(0, dtype=pl.Int64)
    else:
        # Among rows without an id: an equal row that has one is another event.
        repetition = pl.int_range(pl.len(), dtype=pl.Int64).over(
            "content", pl.col("row_id").is_null()
        )
    staged = staged.with_columns(_repetition=repetition)
    by_content = to_id(hash_rows(staged, ("content", "_repetition"), seed=source))
    if has_id.any():
        by_id = ids_by_row(staged, source)
        ids = pl.select(pl.when(has_id).then(by_id).otherwise(by_content)).to_series()
    else:
        ids = by_content
    return staged.with_columns(event_id=ids).drop("_repetition")


def earliest(retractions: pl.DataFrame) -> pl.DataFrame:
    """Keep, of several ends of one stored row, the first."""
    return retractions.group_by(EVENT_ROW).agg(pl.col("retracted").min()).sort(EVENT_ROW)


def _judged(rows: pl.DataFrame, old: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
    """Hold delivered statements against the stored ones of the same ids.

    Adds ``_fate`` (``added``, ``known``, ``revised``, ``withdraws``), ``_old_batch``,
    ``_old_recorded`` and ``_ends``: when the stored live row ends; missing if it
    does not; and ``_passed_before``: a state that is told late, of a time between
    (or before) those that are stored.
    """
    live = old.filter(pl.col("retracted").is_null()).select(
        "event_id", "_old_content", _old_recorded="recorded", _old_batch="batch"
    )
    starts = old.select("event_id", "recorded", _is_start=pl.lit(value=True)).unique()
    ended = old.group_by("event_id").agg(_ended=pl.col("retracted").max())
    stored = old.select(
        "event_id", "recorded", content="_old_content", _stored=pl.lit(value=True)
    ).unique()
    seen = (
        rows.join(live, on="event_id", how="left")
        .join(ended.with_columns(_met=pl.lit(value=True)), on="event_id", how="left")
        .join(stored, on=["event_id", "recorded", "content"], how="left")
        .join(starts, on=["event_id", "recorded"], how="left")
        .with_columns(pl.col("_stored", "_met", "_is_start").fill_null(value=False))
    )
    is_live = pl.col("_old_batch").is_not_null()
    equal = is_live & (pl.col("content") == pl.col("_old_content")).fill_null(value=False)
    # What was known after everything stored can stand in its own time; what a
    # source only assumes about a row cannot hold for a correction of it.
    before = pl.max_horizontal("_old_recorded", "_ended")
    fresh = ~pl.col("recorded_assumed") & (pl.col("recorded") > before) & ~pl.col("_stored")
    seen = seen.with_columns(_fresh=fresh.fill_null(value=False))
    # A state that passed between two deliveries ends what was stored before it.
    passed = pl.col("_fresh") & pl.col("_closed")
    seen = seen.with_columns(_passed=passed.any().over("event_id"))
    says_more = pl.col("_fresh") & (pl.col("recorded") < pl.col("retracted"))
    fate = (
        pl.when(~pl.col("_met"))
        .then(pl.when("_later").then(pl.lit("revised")).otherwise(pl.lit("added")))
        .when("_closed")
        .then(pl.when("_fresh").then(pl.lit("revised")).otherwise(pl.lit("known")))
        .when(pl.col("retracted").is_not_null() & is_live & ~equal & says_more)
        .then(pl.lit("revised"))
        .when(pl.col("retracted").is_not_null() & is_live & ~pl.col("_passed"))
        .then(pl.lit("withdraws"))
        .when(pl.col("retracted").is_not_null())
        .then(pl.when(says_more).then(pl.lit("revised")).otherwise(pl.lit("known")))
        .when("_passed")
        .then(pl.lit("revised"))
        .when(equal | (is_live & pl.col("_stored")))
        .then(pl.lit("known"))
        .when(is_live)
        .then(pl.lit("revised"))
        .otherwise(pl.lit("added"))
    )
    late = (
        pl.col("_met")
        & ~pl.col("_fresh")
        & fate.is_in(["added", "revised"])
        & pl.col("retracted").is_null()
    )
    just_after = _not_before(now, "_old_recorded", "_ended")
    seen = seen.with_columns(
        _fate=fate,
        recorded=pl.when(late).then(just_after).otherwise("recorded"),
        recorded_assumed=pl.col("recorded_assumed") | late,
        _passed_before=(pl.col("_met") & (fate == "known"))
        & ~pl.col("recorded_assumed")
        & ~pl.col("_is_start")
        & (pl.col("_closed") | (equal & (pl.col("recorded") < pl.col("_old_recorded")))),
    )
    return seen.with_columns(
        _ends=pl.when(is_live & (pl.col("_fate") == "withdraws"))
        .then("retracted")
        .when(is_live & (pl.col("_fate") == "revised"))
        .then("recorded")
    )


def events(
    staged: pl.DataFrame,
    stored: pl.LazyFrame | None,
    *,
    source: str,
    order: str,
    now: datetime,
    batch: int,
) -> Reconciled:
    """Reconcile the delivered events of one range of subjects with the stored ones.

    Parameters
    ----------
    staged : polars.DataFrame
        Accepted rows with ``subject_id``, ``stay_id`` and ``origin``.
    stored : polars.LazyFrame or None
        All stored events; None where there are none.
    source : str
        The logical source: part of every id.
    order : str
        ``column`` makes ``sequence`` part of the content.
    now : datetime
        Import time, UTC.
    batch : int
        Number of this batch.
    """
    rows = identified(staged, source=source, order=order)
    rows, contradicting, known, withdrawals = settled_events(rows)
    refused = refused_rows("events", contradicting, "id-duplicate", "row_id")
    event_ids = rows["event_id"].unique()
    rows = rows.with_columns(batch=pl.lit(batch, dtype=pl.Int64))
    retractions = pl.DataFrame(schema=RETRACTIONS)
    revised = int(rows["_later"].sum())
    fates = {"added": rows.height - revised, "revised": revised}
    if stored is not None:
        ids = event_ids.to_frame("event_id").lazy()
        old = stored.join(ids, on="event_id", how="semi").collect(engine="streaming")
        if old.height:
            columns = (*CONTENT, "sequence") if order == "column" else CONTENT
            old = old.with_columns(_old_content=to_id(hash_rows(old, columns)))
            seen = _judged(rows, old, now=now)
            retractions = seen.filter(pl.col("_ends").is_not_null()).select(
                "event_id", batch="_old_batch", recorded="_old_recorded", retracted="_ends"
            )
            fates = dict(seen.group_by("_fate").len().iter_rows())
            rows = seen.filter(pl.col("_fate").is_in(["added", "revised"]))
            if seen["_passed_before"].any():
                inserted, shortened = inserted_events(seen, old)
                fates["revised"] = fates.get("revised", 0) + inserted.height
                fates["known"] -= inserted.height
                rows = pl.concat([rows, inserted.select(rows.columns)])
                retractions = pl.concat([retractions, shortened])
            retractions = earliest(retractions)
    return Reconciled(
        rows=rows.select(list(TABLES["events"])).sort("subject_id", *ORDER),
        retractions=retractions,
        refused=refused,
        event_ids=event_ids,
        added=fates.get("added", 0),
        known=fates.get("known", 0) + known,
        revised=fates.get("revised", 0),
        retracted=fates.get("withdraws", 0) + withdrawals,
    )


def _keyed(table: str, delivered: pl.DataFrame) -> pl.DataFrame:
    """Give movements their id: of the source's row id, else of stay, start and unit."""
    if table != "movements":
        return delivered
    by_place = to_id(
        hash_rows(delivered, ("subject_id", "stay_id", "start", "unit", "bed"), seed="movement")
    )
    by_id = movement_ids_by_row(delivered)
    has_id = delivered["row_id"].is_not_null()
    ids = pl.select(pl.when(has_id).then(by_id).otherwise(by_place)).to_series()
    return delivered.with_columns(movement_id=ids)


def things(
    table: str,
    delivered: pl.DataFrame | None,
    stored: pl.LazyFrame,
    *,
    now: datetime,
    batch: int,
    replaced: list[int],
) -> Reconciled:
    """Reconcile rows of an append-only table (subjects, stays, movements, ...).

    What a delivery does not say does not erase what is stored: a missing
    value is filled from the last row known.

    Parameters
    ----------
    table : str
        Its name.
    delivered : polars.DataFrame or None
        Accepted rows; None where only withdrawals by replacement are due.
    stored : polars.LazyFrame
        Every stored row.
    now : datetime
        Import time, UTC.
    batch : int
        Number of this batch.
    replaced : list of int
        Batches in whose place this one comes.
    """
    keys = list(KEYS[table])
    columns = [name for name in TABLES[table] if name not in (*keys, *BOOKKEEPING)]
    latest = (
        stored.sort("recorded", "batch", maintain_order=True)
        .unique(keys, keep="last", maintain_order=True)
        .collect()
    )
    appended: list[pl.DataFrame] = []
    refused = refused_rows(table, pl.DataFrame(schema={"file": pl.String, "row": pl.Int64}), "", "")
    known = revised = retracted = added = 0
    named = pl.DataFrame(schema={name: TABLES[table][name] for name in keys})
    if delivered is not None:
        rows = _keyed(table, delivered).with_row_index("_arrival")
        rows, refused, repeated = settled_things(table, rows, keys, columns)
        known += repeated
        named = rows.select(keys).unique()
        old = latest.select(
            *keys,
            *(pl.col(name).alias(f"_old_{name}") for name in columns),
            _old_recorded="recorded",
            _old_retracted="retracted",
        )
        seen = rows.join(old, on=keys, how="left", nulls_equal=True).with_columns(
            pl.coalesce(name, f"_old_{name}").alias(name) for name in columns
        )
        is_stored = pl.col("_old_recorded").is_not_null()
        is_gone = pl.col("_old_retracted").is_not_null()
        withdraws = pl.col("retracted").is_not_null()
        equal = pl.all_horizontal(
            pl.lit(value=True),
            *(pl.col(name).eq_missing(pl.col(f"_old_{name}")) for name in columns),
        )
        unchanged = is_stored & pl.when(withdraws).then(is_gone).otherwise(equal & ~is_gone)
        late = is_stored & (
            pl.col("recorded_assumed") | (pl.col("recorded") <= pl.col("_old_recorded"))
        )
        # A history says the same of what is stored only up to its first change;
        # a state that had passed before that was known is not the present one.
        known_from = pl.coalesce("retracted", "recorded")
        changed = pl.when(is_stored & ~unchanged & (withdraws | ~late)).then(known_from)
        after_change = (changed.min().over(keys) < known_from).fill_null(value=False)
        passed = late & ~withdraws & (known_from < known_from.max().over(keys))
        nothing = passed | (unchanged & ~after_change)
        is_older = ~pl.col("recorded_assumed") & (pl.col("recorded") < pl.col("_old_recorded"))
        seen = seen.with_columns(
            _passed_before=nothing & late & ~withdraws & is_older,
        )
        older = older_states(seen.filter("_passed_before"), rows, stored, keys, columns)
        known -= older.height
        revised += older.height
        appended.append(older)
        seen = seen.with_columns(
            _nothing=nothing,
            _revises=is_stored & ~nothing & ~withdraws,
            _withdraws=withdraws & ~nothing,
            recorded_assumed=pl.when(late & ~withdraws)
            .then(pl.lit(value=True))
            .otherwise("recorded_assumed"),
            recorded=pl.when(withdraws & is_stored)
            .then("retracted")
            .when(late)
            .then(_not_before(now, "_old_recorded"))
            .otherwise("recorded"),
        )
        counts = seen.select(pl.col("_nothing", "_revises", "_withdraws").sum()).row(0)
        known += counts[0]
        revised += counts[1]
        retracted += counts[2]
        added += seen.height - sum(counts)
        appended.append(seen.filter(~pl.col("_nothing")))
    if replaced:
        gone = latest.filter(pl.col("batch").is_in(replaced), pl.col("retracted").is_null()).join(
            named, on=keys, how="anti", nulls_equal=True
        )
        retracted += gone.height
        stamp = pl.lit(now, dtype=TIME)
        appended.append(gone.with_columns(retracted=stamp, recorded=stamp))
    frames = [
        frame.with_columns(batch=pl.lit(batch, dtype=pl.Int64)).select(list(TABLES[table]))
        for frame in appended
    ]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema=TABLES[table])
    return Reconciled(
        rows=rows.sort(keys),
        retractions=pl.DataFrame(),
        refused=refused,
        event_ids=pl.Series(dtype=pl.Int64),
        added=added,
        known=known,
        revised=revised,
        retracted=retracted,
    )
