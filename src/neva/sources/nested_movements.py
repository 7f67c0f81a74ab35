"""Nested movements: a patient in intensive care is not also on the ward.

Some sources write a ward's segment whole and, within it, the segments spent
elsewhere. A patient lies in one bed: the innermost segment counts while it
lasts, and the outer one is what is left of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import polars as pl

from neva.events.schema import OPEN_END

__all__ = ["innermost"]

_PLACE: Final = ("start", "unit", "bed")


def innermost(movements: pl.DataFrame, *, parent: str | None = None) -> pl.DataFrame:
    """Let the innermost of nested movements of a stay count while it lasts.

    Parameters
    ----------
    movements : polars.DataFrame
        With ``stay``, ``subject`` (or their pseudonyms), ``unit``, ``bed``,
        ``start``, ``end``, ``row_id`` and ``retracted``.
    parent : str, optional
        Column: the row id of the movement within which this one lies. It takes
        its parent's place even where both last equally long, or it lasts
        longer.

    Returns
    -------
    polars.DataFrame
        The same columns. What is left of an outer movement keeps its row id;
        a second part of it has ``#2`` behind it, and so on. Segments that
        overlap without lying one within the other contradict each other and
        stay as they are, as do those without a stay or unit, those withdrawn,
        and the states of a movement that is told more than once.
    """
    frame = movements.with_row_index("_at")
    pairs = _pairs(frame, parent)
    if pairs.is_empty():
        return movements
    cuts: dict[int, list[tuple[datetime, datetime]]] = {}
    for at, start, end in pairs.select("_at", "start_inner", "_end_inner").iter_rows():
        cuts.setdefault(at, []).append((start, end))
    outer = frame.filter(pl.col("_at").is_in(list(cuts)))
    parts = [
        part for row in outer.iter_rows(named=True) for part in _left_of(row, cuts[row["_at"]])
    ]
    whole = frame.filter(~pl.col("_at").is_in(list(cuts)))
    return (
        pl.concat([whole, pl.DataFrame(parts, schema=frame.schema)])
        .sort("_at", maintain_order=True)
        .drop("_at")
    )


def _pairs(frame: pl.DataFrame, parent: str | None) -> pl.DataFrame:
    """Pair each outer movement with those within it."""
    is_single = pl.col("row_id").is_null() | (pl.len().over("_by", "row_id") == 1)
    by = "stay" if "stay" in frame.columns else "stay_id"
    whose = "subject" if "subject" in frame.columns else "subject_id"
    candidates = (
        frame.with_columns(_by=pl.struct(by, whose))
        .filter(
            pl.col(by).is_not_null(),
            pl.col("retracted").is_null(),
            pl.col("start").is_not_null(),
            # What names no unit takes no bed, nor another one's place.
            pl.col("unit").is_not_null(),
            is_single,
        )
        .with_columns(_end=pl.col("end").fill_null(OPEN_END))
        .filter(pl.col("_end") > pl.col("start"))
    )
    reached = pl.col("_end").cum_max().shift(1).over(by, whose)
    overlapping = (
        candidates.sort(by, whose, "start", "_end")
        .filter((pl.col("start") < reached).any().over(by, whose))
        .select(
            "_at",
            by,
            whose,
            "start",
            "_end",
            "unit",
            "bed",
            "row_id",
            *([parent] if parent else []),
        )
    )
    if overlapping.is_empty():
        return overlapping.with_columns(start_inner="start", _end_inner="_end")
    pairs = overlapping.join(overlapping, on=[by, whose], suffix="_inner").filter(
        pl.col("_at") != pl.col("_at_inner"),
        pl.col("start_inner") < pl.col("_end"),
        pl.col("start") < pl.col("_end_inner"),
        # Without row ids it is another state of the same movement.
        pl.any_horizontal(
            pl.coalesce("row_id", "row_id_inner").is_not_null(),
            *(
                pl.col(name).ne_missing(pl.col(f"{name}_inner"))
                for name in ("start", "unit", "bed")
            ),
        ),
    )
    within = (
        (pl.col("start") <= pl.col("start_inner"))
        & (pl.col("_end_inner") <= pl.col("_end"))
        & ((pl.col("start") < pl.col("start_inner")) | (pl.col("_end_inner") < pl.col("_end")))
    )
    if parent is None:
        return pairs.filter(within)
    above = dict(overlapping.select("row_id", parent).drop_nulls().iter_rows())
    circular = [row_id for row_id in above if _is_circular(row_id, above)]
    pairs = pairs.with_columns(
        pl.when(~pl.col(name).is_in(circular)).then(name).alias(name)
        for name in ("row_id", "row_id_inner")
    )
    is_child = (pl.col(f"{parent}_inner") == pl.col("row_id")).fill_null(value=False)
    is_parent = (pl.col(parent) == pl.col("row_id_inner")).fill_null(value=False)
    return pairs.filter((within | is_child) & ~is_parent)


def _is_circular(row_id: str, above: dict[str, str]) -> bool:
    seen: set[str] = set()
    at: str | None = row_id
    while at is not None and at not in seen:
        seen.add(at)
        at = above.get(at)
    return at == row_id


def _left_of(row: dict[str, Any], cuts: list[tuple[datetime, datetime]]) -> list[dict[str, Any]]:
    """Return what is left of a movement when the times of others are cut out."""
    last = row["end"] or OPEN_END
    begin: datetime = row["start"]
    spans = []
    for start, end in sorted(cuts):
        if start > begin:
            spans.append((begin, start))
        begin = max(begin, end)
    if begin < last:
        spans.append((begin, last))
    return [
        {
            **row,
            "start": start,
            "end": None if end == OPEN_END else end,
            "row_id": row["row_id"]
            if number == 1 or row["row_id"] is None
            else f"{row['row_id']}#{number}",
        }
        for number, (start, end) in enumerate(spans, 1)
    ]
