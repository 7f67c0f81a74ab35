"""States that are recorded late: each is put at its own time, between those stored."""

from __future__ import annotations

from typing import Final

import polars as pl

__all__ = ["BOOKKEEPING", "inserted_events", "older_states"]

#: Columns of a stored row that say when it was known, not what.
BOOKKEEPING: Final = ("recorded", "recorded_assumed", "retracted", "batch")


def inserted_events(seen: pl.DataFrame, old: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Put states that are told late in their own time.

    Returns
    -------
    rows : polars.DataFrame
        Those to append, each ended where the next known state begins.
    shortened : polars.DataFrame
        ``event_id``, ``batch``, ``recorded``, ``retracted``: stored rows that
        end earlier than was thought.
    """
    late = seen.filter("_passed_before")
    stored = old.select(
        "event_id", "recorded", "retracted", _held_batch="batch", _held_content="_old_content"
    ).filter(pl.col("event_id").is_in(late["event_id"].implode()))
    same = pl.col("content") == pl.col("_held_content")
    rows = _late_states(late, stored, by=["event_id"], same=same).with_columns(
        retracted=pl.min_horizontal(
            "retracted", "_next", pl.when("_is_held").then("_held_retracted")
        )
    )
    shortened = (
        rows.filter("_is_held")
        .group_by("event_id", batch="_held_batch", _start="_held_recorded")
        .agg(retracted=pl.col("recorded").min())
        .rename({"_start": "recorded"})
    )
    return rows, shortened


def older_states(
    late: pl.DataFrame,
    states: pl.DataFrame,
    stored: pl.LazyFrame,
    keys: list[str],
    columns: list[str],
) -> pl.DataFrame:
    """Find the states of things that are told late: each is appended in its own time.

    What such a state does not say is filled from the one before it, never from
    what was known only later.
    """
    if not late.height:
        return late.select(*keys, *columns, *BOOKKEEPING[:-1])
    own = late.select(*keys, "_arrival").join(states, on=[*keys, "_arrival"], nulls_equal=True)
    held = (
        stored.select(
            *keys, "recorded", "retracted", *(pl.col(c).alias(f"_held_{c}") for c in columns)
        )
        .join(own.lazy(), on=keys, how="semi", nulls_equal=True)
        .sort("recorded")
        .unique([*keys, "recorded"], keep="last", maintain_order=True)
        .collect()
    )
    own = own.join(held, on=[*keys, "recorded"], how="anti", nulls_equal=True)
    same = pl.all_horizontal(
        pl.lit(value=True),
        *(
            pl.col(name).is_null() | pl.col(name).eq_missing(pl.col(f"_held_{name}"))
            for name in columns
        ),
    )
    # A row that withdraws has its own time: nothing is in effect from then on.
    rows = _late_states(own, held, by=keys, same=same)
    filled = (
        pl.coalesce(name, pl.when("_is_held").then(pl.col(f"_held_{name}"))) for name in columns
    )
    return rows.with_columns(filled).select(*keys, *columns, *BOOKKEEPING[:-1])


def _late_states(
    later_states: pl.DataFrame, stored: pl.DataFrame, *, by: list[str], same: pl.Expr
) -> pl.DataFrame:
    """Find which states that are told late were not in effect by what is stored.

    A state holds from its own time on until the next change that either knows
    of. The first one told that says what the store has in effect says nothing.

    Parameters
    ----------
    told : polars.DataFrame
        Late states: `by`, ``recorded`` (no stored row begins at it) and content.
    stored : polars.DataFrame
        Every stored row of the same things: `by`, ``recorded``, ``retracted`` and
        what `same` compares, named ``_held_...``.
    by : list of str
        What names the thing.
    same : polars.Expr
        Whether a told state equals the stored one that it falls into.

    Returns
    -------
    polars.DataFrame
        The rows of `told` that say something, with the columns of the stored row
        in effect (``_held_recorded`` is missing where there is none) and
        ``_next``: when the next stored row begins.
    """
    held = stored.rename({"recorded": "_held_recorded", "retracted": "_held_retracted"})
    starts = stored.select(*by, _next="recorded")
    later_states = later_states.sort("recorded", maintain_order=True)
    later_states = later_states.join_asof(
        held.sort("_held_recorded"),
        left_on="recorded", right_on="_held_recorded", by=by, strategy="backward",
    ).join_asof(
        starts.sort("_next"), left_on="recorded", right_on="_next", by=by, strategy="forward"
    )  # fmt: skip
    ended = (pl.col("_held_retracted") <= pl.col("recorded")).fill_null(value=False)
    is_held = pl.col("_held_recorded").is_not_null() & ~ended
    says_nothing = (is_held & same).fill_null(value=False)
    later_states = later_states.with_columns(
        _is_held=is_held, _says_nothing=says_nothing
    ).with_columns(_changed=(~pl.col("_says_nothing")).cum_max().over(*by, "_held_recorded"))
    return later_states.filter("_changed").drop("_changed", "_says_nothing")
