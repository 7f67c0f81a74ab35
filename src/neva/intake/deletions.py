"""Deletions reported by a source: which stored rows they withdraw.

The store keeps no row id of a source, only what is made from it: the rows are
found by making it again. Nothing is erased: a row ends at the time of the import,
and is still seen as of before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import polars as pl

from neva.events.identities import Pseudonyms
from neva.events.schema import EVENT_ROW, KEYS, RETRACTIONS, ROWS, TABLES, TIME, attribute
from neva.events.snapshot import Snapshot
from neva.intake import reconcile
from neva.sources.rows import refused_rows

__all__ = ["Withdrawn", "withdrawn"]

#: Rows that a source makes of parts of one record, beside those by a part's code.
_PARTS: Final = ("", "#birth-year", "#deceased", "#end-unknown")
#: So many movements of one encounter are found, and so many parts of each.
_MOST_PLACES: Final = 100
_MOST_PIECES: Final = 5


@dataclass(frozen=True)
class Withdrawn:
    """What deletions withdraw.

    Attributes
    ----------
    events : polars.DataFrame
        Columns of ``RETRACTIONS``.
    things : dict of str to polars.DataFrame
        For other tables: rows to append, with all columns but ``batch``.
    unmatched : polars.DataFrame
        Warnings: deletions of what was never imported.
    """

    events: pl.DataFrame
    things: dict[str, pl.DataFrame] = field(default_factory=dict)
    unmatched: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ROWS["warnings"]))


def withdrawn(
    deletions: pl.DataFrame,
    before: Snapshot,
    pseudonyms: Pseudonyms,
    *,
    source: str,
    now: datetime,
) -> Withdrawn:
    """Find the stored rows that deletions withdraw.

    Parameters
    ----------
    deletions : polars.DataFrame
        Columns of ``ROWS["deletions"]``.
    before : Snapshot
        The hospital as it was; all that was stored is looked at.
    pseudonyms : Pseudonyms
        Of the source's assigner.
    source : str
        The logical source.
    now : datetime
        When the rows end.
    """
    asked = deletions.with_row_index("_asked")
    named = asked.filter(pl.col("row_id").is_not_null())
    events = _events(named, before, source)
    found = [events.select("_asked")]
    things: dict[str, pl.DataFrame] = {}
    stamp = pl.lit(now, dtype=TIME)
    for table, keys in _keys(named, events, before, pseudonyms).items():
        key = KEYS[table][0]
        live = (
            before.stored(table)
            .sort("recorded", "batch", maintain_order=True)
            .unique(key, keep="last", maintain_order=True)
            .filter(pl.col("retracted").is_null())
            .collect()
        )
        gone = live.join(keys.unique(key), on=key, how="inner")
        found.append(gone.select("_asked"))
        things[table] = gone.with_columns(recorded=stamp, retracted=stamp).select(
            [name for name in TABLES[table] if name != "batch"]
        )
    met = pl.concat([one.cast(pl.UInt32) for one in found]).unique()
    unmatched = refused_rows("events", asked.join(met, on="_asked", how="anti"), "", "request.url")
    ends = events.select(EVENT_ROW).unique().with_columns(retracted=stamp)
    return Withdrawn(
        events=ends.select(list(RETRACTIONS)),
        things={table: rows for table, rows in things.items() if rows.height},
        unmatched=unmatched.with_columns(reason=pl.lit("deletion-unmatched")),
    )


def _events(named: pl.DataFrame, before: Snapshot, source: str) -> pl.DataFrame:
    """Find live events: ``_asked``, ``EVENT_ROW``, ``subject_id``, and ``row_id`` of the record."""
    stored = before.stored("events").filter(pl.col("retracted").is_null())
    parts = (
        stored.filter(attribute("panel").is_not_null())
        .select(pl.col("code").unique())
        .collect()["code"]
        .to_list()
    )
    by_code = [f"#{code}{place}" for code in parts for place in ("", "#2", "#3")]
    ids = []
    for kind, of_kind in named.group_by("kind"):
        endings = [*_PARTS, *(by_code if kind[0] == "Observation" else ())]
        each = of_kind.select("_asked", "row_id", origin="kind").join(
            pl.DataFrame({"_ending": endings}), how="cross"
        )
        rows = each.with_columns(row_id=pl.col("row_id") + pl.col("_ending"))
        ids.append(
            each.select("_asked", "row_id", "origin").with_columns(
                event_id=reconcile.ids_by_row(rows, source)
            )
        )
    if not ids:
        schema = {"_asked": pl.UInt32, "row_id": pl.String, "origin": pl.String}
        return pl.DataFrame(schema={**schema, **_live_columns()})
    live = stored.select(list(_live_columns()))
    return live.join(pl.concat(ids).lazy(), on="event_id", how="inner").collect()


def _live_columns() -> dict[str, pl.DataType | type[pl.DataType]]:
    return {name: TABLES["events"][name] for name in (*EVENT_ROW, "subject_id")}


def _keys(
    named: pl.DataFrame, events: pl.DataFrame, before: Snapshot, pseudonyms: Pseudonyms
) -> dict[str, pl.DataFrame]:
    """Keys of the things that are deleted, by table, with ``_asked``."""

    def of(kind: str, *, as_: str, table: str, pseudonym: str = "") -> pl.DataFrame:
        rows = named.filter(pl.col("kind") == kind).select("_asked", "row_id")
        given = rows["row_id"].to_list()
        values = [pseudonyms.one(pseudonym, one) for one in given] if pseudonym else given
        return rows.with_columns(pl.Series(as_, values, dtype=TABLES[table][as_]))

    stays = of("Encounter", as_="stay_id", table="stays", pseudonym="stay")
    return {
        "subjects": of("Patient", as_="subject_id", table="subjects", pseudonym="subject"),
        "stays": stays,
        "units": of("Location", as_="unit", table="units"),
        "movements": _movements(stays, events, before),
    }


def _movements(stays: pl.DataFrame, events: pl.DataFrame, before: Snapshot) -> pl.DataFrame:
    """Keys of the movements of encounters that are deleted, stays and parts of stays."""
    whose = before.stored("stays").select("stay_id", "subject_id").unique().collect()
    rows = pl.concat(
        [
            stays.join(whose, on="stay_id").select("_asked", "row_id", "subject_id"),
            events.filter(pl.col("origin") == "Encounter").select("_asked", "row_id", "subject_id"),
        ]
    ).unique()
    endings = [
        f"#{place}{piece}"
        for place in range(_MOST_PLACES)
        for piece in ("", *(f".{number}" for number in range(1, _MOST_PIECES)))
    ]
    each = rows.join(pl.DataFrame({"_ending": endings}), how="cross")
    each = each.with_columns(
        row_id=pl.col("row_id") + pl.col("_ending"), origin=pl.lit("Encounter")
    )
    return each.select("_asked").with_columns(movement_id=reconcile.movement_ids_by_row(each))
