"""Rows of one delivery that name the same event or thing: which stay, which contradict."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

from neva.events.schema import TABLES, TIME, Columns
from neva.sources.rows import refused_rows

__all__ = ["settled_events", "settled_things"]

#: Tables in which two contradicting rows are no error: the first one counts.
_LENIENT: Final = ("units", "codes")


@dataclass(slots=True)
class _Chain:
    """What one delivery says about one event: the place of each row, and when it ended."""

    places: list[int] = field(default_factory=list)
    ends: list[datetime | None] = field(default_factory=list)
    content: int | None = None
    recorded: datetime | None = None
    withdrawn: bool = False


def settled_events(
    staged: pl.DataFrame,
) -> tuple[pl.DataFrame, pl.DataFrame, int, int]:
    """Settle rows of one delivery that share an id.

    Rows of one id stand in the order in which they were known. A repetition
    is dropped; a withdrawal or a later, explicitly recorded change closes the
    row before it; anything else contradicts it and is refused.

    Returns
    -------
    settled : polars.DataFrame
        The rows that stay, in order, with ``_closed`` (a later row follows)
        and ``_later`` (it follows another).
    contradicting : polars.DataFrame
        The rows refused.
    known, withdrawals : int
        How many rows repeated, and how many only ended another.
    """
    flags = {"_closed": pl.lit(value=False), "_later": pl.lit(value=False)}
    is_shared = staged["event_id"].is_duplicated()
    if not is_shared.any():
        return staged.with_columns(**flags), staged.clear(), 0, 0
    # Few ids have several rows: the rest is not carried through what follows.
    alone, staged = staged.filter(~is_shared), staged.filter(is_shared)
    plain = (
        pl.col("content").n_unique().over("event_id") == 1,
        pl.col("retracted").is_null().all().over("event_id"),
    )
    is_plain = staged.select(pl.all_horizontal(plain)).to_series()
    repeated = staged.filter(is_plain).sort("recorded", maintain_order=True)
    single = repeated.unique("event_id", keep="first", maintain_order=True)
    known = repeated.height - single.height
    shared = staged.filter(~is_plain).sort("event_id", "recorded", maintain_order=True)
    chains, refused, repetitions, withdrawals = _chains(shared)
    links = [
        (place, end, k < len(chain.places) - 1, k > 0)
        for chain in chains
        for k, (place, end) in enumerate(zip(chain.places, chain.ends, strict=True))
    ]
    schema: Columns = {
        "_place": pl.Int64,
        "_end": TIME,
        "_closed": pl.Boolean,
        "_later": pl.Boolean,
    }
    kept = pl.DataFrame(links, schema=schema, orient="row")
    settled = pl.concat(
        [
            alone.with_columns(**flags),
            single.with_columns(**flags),
            shared[kept["_place"]]
            .with_columns(kept["_end"].alias("retracted"), kept["_closed"], kept["_later"])
            .select(*staged.columns, "_closed", "_later"),
        ]
    )
    return settled, shared[refused], known + repetitions, withdrawals


def _chains(shared: pl.DataFrame) -> tuple[list[_Chain], list[int], int, int]:
    """Follow the rows of each id: their chains, the places refused, repetitions, withdrawals."""
    chains: dict[int, _Chain] = {}
    refused: list[int] = []
    known = withdrawals = 0
    later_rows = shared.select("event_id", "content", "recorded", "recorded_assumed", "retracted")
    for place, (event_id, content, recorded, assumed, retracted) in enumerate(
        later_rows.iter_rows()
    ):
        chain = chains.setdefault(event_id, _Chain())
        later = not assumed and (chain.recorded is None or recorded > chain.recorded)
        if chain.withdrawn and retracted is None:
            end = chain.ends[-1]
            later = later and (end is None or recorded >= end)
        if not chain.places or (later and retracted is None and _differs(chain, content)):
            if chain.places and not chain.withdrawn:
                chain.ends[-1] = recorded
            chain.places.append(place)
            chain.ends.append(retracted)
            chain.content, chain.recorded = content, recorded
            chain.withdrawn = retracted is not None
        elif retracted is not None and not chain.withdrawn:
            chain.ends[-1], chain.withdrawn = retracted, True
            withdrawals += 1
        elif retracted is not None or content == chain.content:
            known += 1
        else:
            refused.append(place)
    return list(chains.values()), refused, known, withdrawals


def _differs(chain: _Chain, content: int) -> bool:
    """Tell whether a row of this content would change what the chain says."""
    return chain.withdrawn or content != chain.content


def settled_things(
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
    group = [*keys, "_known_from"]
    rows = rows.with_columns(
        _known_from=pl.coalesce("retracted", history), _withdrawn=pl.col("retracted").is_not_null()
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
