"""Histories of stays and persons as rows of the store, and which of them are to be appended."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import polars as pl

from neva.events.schema import TABLES, TIME
from neva.intake.stay_histories import StayHistory

__all__ = ["LEAVE_OF_ABSENCE", "add_leaves", "add_movements", "add_stay", "changed"]

#: A patient is away and the bed is kept.
LEAVE_OF_ABSENCE: Final = "NEVA//leave-of-absence"


def add_stay(rows: list[tuple[Any, ...]], stay: int, history: StayHistory, batch: int) -> None:
    """Add the rows of ``stays`` for what was ever known of a stay."""
    last: Any = None
    for version in history.stay:
        last = version.content or last
        if last is None:
            continue
        gone = version.recorded if version.content is None else None
        rows.append(
            (stay, last.subject, last.start, last.end, last.precision, last.kind, last.source,
             last.outcome, version.recorded, False, gone, batch)
        )  # fmt: skip


def add_movements(rows: list[tuple[Any, ...]], stay: int, history: StayHistory, batch: int) -> None:
    """Add the rows for its movements; the first three columns say what began each."""
    stored = history.stored_movements
    for (began, is_prior), versions in history.movements.items():
        last: Any = None
        for version in versions:
            last = version.content or last
            gone = version.recorded if version.content is None else None
            rows.append(
                (began, is_prior, began in stored, stay, last.subject, last.start, last.end,
                 last.precision, last.unit, last.bed, version.recorded, False, gone, batch)
            )  # fmt: skip


def add_leaves(rows: list[dict[str, Any]], stay: int, history: StayHistory) -> None:
    """Add the events of its leaves of absence."""
    for left, versions in history.leaves.items():
        last: Any = None
        for version in versions:
            last = version.content or last
            if last is None:
                continue
            subject, end = last
            rows.append(
                {
                    "subject_id": subject, "stay_id": stay, "time": left, "end_time": end,
                    "precision": "instant", "code": LEAVE_OF_ABSENCE, "status": "done",
                    "row_id": f"LEAVE|{stay}|{left.isoformat()}", "sequence": 0,
                    "recorded": version.recorded, "recorded_assumed": False,
                    "retracted": version.recorded if version.content is None else None,
                    "file": "",
                }
            )  # fmt: skip


def changed(
    table: str,
    new: pl.DataFrame,
    stored: pl.DataFrame,
    own_batches: pl.Series,
    since: datetime,
    batch: int,
) -> pl.DataFrame:
    """Return the rows that must be appended so that readers see `new` at every moment.

    `stored` is all that is stored of the same things. A reader takes of each thing the
    last row by ``recorded`` and ``batch``. What is stored already is not appended again; a moment
    at which something changed by what was known formerly, and no longer, repeats what
    holds at it now.
    """
    key = {"subjects": "subject_id", "stays": "stay_id", "movements": "movement_id"}[table]
    columns = [name for name in TABLES[table] if name not in ("batch", "recorded_assumed")]
    order = [key, "recorded"]
    held = stored.sort("recorded", "batch").unique(order, keep="last", maintain_order=True)
    # The first version of a thing is what was known before: it is stored already.
    is_since = pl.col("recorded") >= pl.lit(since, dtype=TIME)
    fresh = new.filter(is_since).join(
        held.select(columns), on=columns, how="anti", nulls_equal=True
    )
    outdated = held.filter(
        is_since,
        pl.col("batch").is_in(own_batches.implode()),
    ).join(new, on=order, how="anti")
    if not outdated.height:
        return fresh
    known = new.sort("recorded").with_columns(_is_known=pl.lit(value=True))
    holds = (
        outdated.select(key, "recorded")
        .sort("recorded")
        .join_asof(known.drop("recorded").with_columns(known["recorded"].alias("_since")),
                   left_on="recorded", right_on="_since", by=key, strategy="backward",
                   check_sortedness=False)
    )  # fmt: skip
    stated = holds.filter("_is_known").with_columns(
        retracted=pl.when(pl.col("retracted").is_not_null()).then("recorded"),
        batch=pl.lit(batch, dtype=pl.Int64),
    )
    never = outdated.join(
        holds.filter(pl.col("_is_known").is_null()), on=order, how="semi"
    ).with_columns(retracted="recorded", batch=pl.lit(batch, dtype=pl.Int64))
    names = list(TABLES[table])
    again = pl.concat([stated.select(names), never.select(names)])
    again = again.join(held.select(columns), on=columns, how="anti", nulls_equal=True)
    return pl.concat([fresh, again])
