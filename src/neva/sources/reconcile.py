"""What delivered rows mean against those already stored.

Every row is one of: new; known (the same content is stored, or the delivery
holds it twice); a revision (same identity, other content); a withdrawal; or
refused (two rows of one delivery contradict each other under one id).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import polars as pl

from neva.events.hashing import hash_rows, to_id
from neva.events.schema import KEYS, ORDER, TABLES, TIME
from neva.sources.acceptance import refused_rows

__all__ = ["Reconciled", "events", "things"]

#: What makes the content of an event: everything but when it was known and
#: where it stood in the file.
_CONTENT: Final = (
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
_BOOKKEEPING: Final = ("recorded", "recorded_assumed", "retracted", "batch")
#: Tables in which two contradicting rows are no error: the first one counts.
_LENIENT: Final = ("units", "codes")


@dataclass(frozen=True, slots=True)
class Reconciled:
    """Rows to append and what became of the others.

    Attributes
    ----------
    rows : polars.DataFrame
        Columns of the stored table, sorted.
    retractions : polars.DataFrame
        Columns ``event_id``, ``batch``, ``retracted``: stored events to
        withdraw. Empty for other tables.
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


def _identified(staged: pl.DataFrame, *, source: str, order: str) -> pl.DataFrame:
    """Add ``event_id`` and ``content``.

    The id is the hash of source, table and source row id; where there is no
    row id, of the content and the number of its repetition in the delivery.
    """
    content_columns = (*_CONTENT, "sequence") if order == "column" else _CONTENT
    staged = staged.with_columns(content=to_id(hash_rows(staged, content_columns)))
    has_id = staged["row_id"].is_not_null()
    if has_id.all():
        return staged.with_columns(
            event_id=to_id(hash_rows(staged, ("origin", "row_id"), seed=source))
        )
    if staged["content"].n_unique() == staged.height:
        repetition = pl.lit(0, dtype=pl.Int64)
    else:
        repetition = pl.int_range(pl.len(), dtype=pl.Int64).over("content")
    staged = staged.with_columns(_repetition=repetition)
    by_content = to_id(hash_rows(staged, ("content", "_repetition"), seed=source))
    if has_id.any():
        by_id = to_id(hash_rows(staged, ("origin", "row_id"), seed=source))
        ids = pl.select(pl.when(has_id).then(by_id).otherwise(by_content)).to_series()
    else:
        ids = by_content
    return staged.with_columns(event_id=ids).drop("_repetition")


def _within_delivery(
    staged: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame, int, int, int]:
    """Settle rows of one delivery that share an id.

    Rows of one id stand in the order in which they were known. A repetition
    is dropped; a withdrawal or a later, explicitly recorded change closes the
    row before it; anything else contradicts it and is refused.
    """
    if staged["event_id"].n_unique() == staged.height:
        return staged.with_columns(_closed=pl.lit(value=False)), staged.clear(), 0, 0, 0
    single = staged.filter(~pl.col("event_id").is_duplicated()).with_columns(
        _closed=pl.lit(value=False)
    )
    shared = staged.filter(pl.col("event_id").is_duplicated()).with_row_index("_arrival")
    shared = shared.sort("event_id", pl.col("recorded").fill_null(pl.col("retracted")), "_arrival")
    before = [
        pl.col(name).shift(1).over("event_id").alias(f"_{name}") for name in ("content", "recorded")
    ]
    judged = shared.with_columns(*before).with_columns(
        _first=pl.col("_content").is_null(),
        _withdraws=pl.col("_content").is_not_null() & pl.col("retracted").is_not_null(),
        _same=pl.col("content") == pl.col("_content"),
        _later=~pl.col("recorded_assumed") & (pl.col("recorded") > pl.col("_recorded")),
    )
    kind = (
        pl.when("_first")
        .then(pl.lit("first"))
        .when("_withdraws")
        .then(pl.lit("withdraws"))
        .when("_same")
        .then(pl.lit("same"))
        .when("_later")
        .then(pl.lit("later"))
        .otherwise(pl.lit("contradicts"))
    )
    judged = judged.with_columns(_kind=kind)
    chain = judged.filter(pl.col("_kind").is_in(["first", "later", "withdraws"])).with_columns(
        _next_kind=pl.col("_kind").shift(-1).over("event_id"),
        _next_recorded=pl.col("recorded").shift(-1).over("event_id"),
        _next_retracted=pl.col("retracted").shift(-1).over("event_id"),
    )
    closed = chain.with_columns(
        _closed=(pl.col("_next_kind") == "later").fill_null(value=False),
        retracted=pl.when(pl.col("_next_kind") == "later")
        .then(pl.col("_next_recorded"))
        .when(pl.col("_next_kind") == "withdraws")
        .then(pl.col("_next_retracted"))
        .otherwise(pl.col("retracted")),
    ).filter(pl.col("_kind") != "withdraws")
    counts = dict(judged.group_by("_kind").len().iter_rows())
    settled = pl.concat([single, closed.select(single.columns)])
    contradicting = judged.filter(pl.col("_kind") == "contradicts").select(staged.columns)
    return (
        settled,
        contradicting,
        counts.get("same", 0),
        counts.get("later", 0),
        counts.get("withdraws", 0),
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
    rows = _identified(staged, source=source, order=order)
    rows, contradicting, known, revised, retracted = _within_delivery(rows)
    refused = refused_rows("events", contradicting, "id-duplicate", "row_id")
    event_ids = rows["event_id"].unique()
    rows = rows.with_columns(batch=pl.lit(batch, dtype=pl.Int64))
    retractions = pl.DataFrame(schema={"event_id": pl.Int64, "batch": pl.Int64, "retracted": TIME})
    added = rows.height - revised
    if stored is not None:
        ids = event_ids.to_frame("event_id").lazy()
        old = stored.join(ids, on="event_id", how="semi").collect(engine="streaming")
        if old.height:
            columns = (*_CONTENT, "sequence") if order == "column" else _CONTENT
            old = old.with_columns(_old_content=to_id(hash_rows(old, columns)))
            live = old.filter(pl.col("retracted").is_null()).select(
                "event_id",
                "_old_content",
                _old_recorded="recorded",
                _old_batch="batch",
            )
            ended = old.group_by("event_id").agg(_ended=pl.col("retracted").max())
            # A revision that was stored and superseded before, delivered once more.
            history = old.filter(pl.col("retracted").is_not_null()).select(
                "event_id", "recorded", content="_old_content", _in_history=pl.lit(value=True)
            )
            seen = (
                rows.join(live, on="event_id", how="left")
                .join(ended, on="event_id", how="left")
                .join(history.unique(), on=["event_id", "recorded", "content"], how="left")
            )
            is_live = pl.col("_old_batch").is_not_null()
            is_dead = ~is_live & pl.col("_ended").is_not_null()
            equal = pl.col("content") == pl.col("_old_content")
            withdraws = pl.col("retracted").is_not_null() & is_live & (~pl.col("_closed") | equal)
            same = (
                (is_live & ~withdraws & equal)
                | (is_dead & pl.col("retracted").is_not_null())
                | (is_live & pl.col("_in_history").fill_null(value=False))
            )
            withdraws &= ~same.fill_null(value=False)
            revises = is_live & ~withdraws & ~same
            # What a source assumes about when a row was known cannot hold for its
            # correction, which was not there at the last import.
            stale = (
                revises
                & (pl.col("recorded_assumed") | (pl.col("recorded") <= pl.col("_old_recorded")))
            ) | (is_dead & (pl.col("recorded") <= pl.col("_ended")))
            seen = seen.with_columns(
                _withdraws=withdraws.fill_null(value=False),
                _same=same.fill_null(value=False),
                _revises=revises.fill_null(value=False),
                recorded_assumed=pl.when(stale)
                .then(pl.lit(value=True))
                .otherwise("recorded_assumed"),
                recorded=pl.when(stale)
                .then(_not_before(now, "_old_recorded", "_ended"))
                .otherwise("recorded"),
            )
            closing = seen.filter(pl.col("_withdraws") | pl.col("_revises"))
            retractions = closing.select(
                "event_id",
                batch="_old_batch",
                retracted=pl.when("_withdraws").then("retracted").otherwise("recorded"),
            )
            counts = seen.select(pl.col("_withdraws", "_same", "_revises").sum()).row(0)
            retracted += counts[0]
            known += counts[1]
            revised += counts[2]
            rows = seen.filter(~pl.col("_withdraws"), ~pl.col("_same"))
            added -= sum(counts)
    return Reconciled(
        rows=rows.select(list(TABLES["events"])).sort("subject_id", *ORDER),
        retractions=retractions,
        refused=refused,
        event_ids=event_ids,
        added=added,
        known=known,
        revised=revised,
        retracted=retracted,
    )


def _keyed(table: str, delivered: pl.DataFrame) -> pl.DataFrame:
    """Give movements their id: of the source's row id, else of stay, start and unit."""
    if table != "movements":
        return delivered
    by_place = to_id(
        hash_rows(delivered, ("subject_id", "stay_id", "start", "unit", "bed"), seed="movement")
    )
    by_id = to_id(hash_rows(delivered, ("origin", "row_id", "subject_id"), seed="movement"))
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
    columns = [name for name in TABLES[table] if name not in (*keys, *_BOOKKEEPING)]
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
        rows, refused, repeated = _settled(table, rows, keys, columns)
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
        nothing = is_stored & pl.when(withdraws).then(is_gone).otherwise(equal & ~is_gone)
        late = is_stored & (
            pl.col("recorded_assumed") | (pl.col("recorded") <= pl.col("_old_recorded"))
        )
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


def _settled(
    table: str, rows: pl.DataFrame, keys: list[str], columns: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Settle rows of one delivery that describe the same thing.

    Rows that were explicitly recorded at different times are a history and all
    stay. Others are one row told in parts: missing values are filled from each
    other, and a row that contradicts the first one is refused.
    """
    nobody = refused_rows(table, rows.clear(), "id-duplicate", "row_id")
    if rows.select(keys).n_unique() == rows.height:
        return rows, nobody, 0
    history = pl.when("recorded_assumed").then(None).otherwise("recorded")
    group = [*keys, "_told"]
    rows = rows.with_columns(
        _told=pl.coalesce("retracted", history), _withdrawn=pl.col("retracted").is_not_null()
    )
    by = [*group, "_withdrawn"]
    contradicts = pl.lit(value=False)
    if table not in _LENIENT:
        contradicts = pl.any_horizontal(
            pl.lit(value=False),
            *(
                pl.col(name).is_not_null()
                & pl.col(name).ne_missing(pl.col(name).drop_nulls().first().over(by))
                for name in columns
                if TABLES[table][name] != pl.List(pl.String)
            ),
        )
        if "subject_id" in columns:
            # One id, two subjects: never a revision.
            contradicts |= pl.col("subject_id") != pl.col("subject_id").first().over(keys)
    rows = rows.with_columns(_contradicts=contradicts)
    refused = refused_rows(table, rows.filter("_contradicts"), "id-duplicate", "row_id")
    kept = rows.filter(~pl.col("_contradicts"))
    merged = kept.group_by(by, maintain_order=True).agg(
        *(pl.col(name).drop_nulls().first() for name in columns),
        pl.col("recorded").min(),
        pl.col("recorded_assumed").first(),
        pl.col("retracted").first(),
        pl.col("_arrival").first(),
    )
    # In a history, a row that says nothing new is no row.
    merged = merged.sort(*keys, "recorded", "_arrival").with_columns(
        pl.col(name).forward_fill().over(keys) for name in columns
    )
    same = pl.all_horizontal(
        pl.col("_arrival").shift(1).over(keys).is_not_null(),
        ~pl.col("_withdrawn"),
        ~pl.col("_withdrawn").shift(1).over(keys).fill_null(value=False),
        *(pl.col(name).eq_missing(pl.col(name).shift(1).over(keys)) for name in columns),
    )
    merged = merged.with_columns(_same=same)
    settled = merged.filter(~pl.col("_same"))
    return settled, refused, kept.height - settled.height
