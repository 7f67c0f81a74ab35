"""Records of one person that a source merged: what is stored follows the surviving one.

Nothing is rewritten: a row of the record that was merged ends at the time of the
import, and begins anew under the pseudonym of the surviving record. As of before,
they are two persons still.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from neva.events.identities import Pseudonyms
from neva.events.schema import KEYS, ORDER, RETRACTIONS, TABLES, TIME
from neva.events.snapshot import Snapshot

__all__ = ["Moved", "moved", "moved_events"]


@dataclass(frozen=True)
class Moved:
    """What merges move.

    Attributes
    ----------
    events : polars.DataFrame
        Events under their new subject, with all columns but ``batch``.
    retractions : polars.DataFrame
        Columns of ``RETRACTIONS``: the same events under the old subject.
    things : dict of str to polars.DataFrame
        For other tables: rows to append, with all columns but ``batch``.
    """

    events: pl.DataFrame
    retractions: pl.DataFrame
    things: dict[str, pl.DataFrame] = field(default_factory=dict)


def moved(
    merges: pl.DataFrame,
    before: Snapshot,
    pseudonyms: Pseudonyms,
    *,
    delivered: Mapping[str, pl.Series],
    now: datetime,
) -> Moved:
    """Find the stored rows of records that were merged into others.

    Parameters
    ----------
    merges : polars.DataFrame
        Columns of ``ROWS["merges"]``.
    before : Snapshot
        The hospital as it was.
    pseudonyms : Pseudonyms
        Of the source's assigner.
    delivered : mapping of str to polars.Series
        By table the keys that the same delivery tells of: it says itself whose they are.
    now : datetime
        From when on they are one person.
    """
    pairs = pl.DataFrame(
        {
            "subject_id": [pseudonyms.one("subject", one) for one in merges["subject"].to_list()],
            "_into": [pseudonyms.current("subject", one) for one in merges["into"].to_list()],
        },
        schema={"subject_id": pl.Int64, "_into": pl.Int64},
    ).unique("subject_id", maintain_order=True)
    for merged, into in merges.select("subject", "into").iter_rows():
        pseudonyms.merge(merged, into)
    stamp = pl.lit(now, dtype=TIME)
    pairs = pairs.with_columns(_since=stamp)

    def renamed(frame: pl.DataFrame, table: str) -> pl.DataFrame:
        return frame.with_columns(subject_id="_into", recorded=stamp).select(
            [name for name in TABLES[table] if name != "batch"]
        )

    events, retractions = moved_events(pairs, before, but=delivered.get("events"))
    things = {}
    for table in ("stays", "movements", "subjects"):
        key = KEYS[table][0]
        live = (
            before.stored(table)
            .sort("recorded", "batch", maintain_order=True)
            .unique(key, keep="last", maintain_order=True)
            .filter(pl.col("retracted").is_null())
            .collect()
        )
        own = live.join(pairs, on="subject_id", how="inner")
        if table == "subjects":
            known = pl.concat([live["subject_id"], *_keys(delivered, table)])
            alone = own.filter(~pl.col("_into").is_in(known.implode())).unique("_into")
            gone = own.with_columns(_into="subject_id", retracted=stamp)
            things[table] = pl.concat([renamed(alone, table), renamed(gone, table)])
        else:
            # A stay that is told again says itself where the patient was.
            of_moved_stay = pl.col("stay_id").is_in(
                delivered.get("stays", pl.Series(dtype=pl.Int64)).implode()
            )
            stays_theirs = own.filter(~of_moved_stay.fill_null(value=False))
            gone = own.filter(of_moved_stay.fill_null(value=False)).with_columns(
                _into="subject_id", retracted=stamp
            )
            parts = [stays_theirs] if table == "stays" else [stays_theirs, gone]
            things[table] = pl.concat(renamed(one, table) for one in parts)
    return Moved(
        events=events,
        retractions=retractions,
        things={table: rows for table, rows in things.items() if rows.height},
    )


def moved_events(
    pairs: pl.DataFrame, before: Snapshot, *, but: pl.Series | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Find the stored events of records that were merged into others.

    Parameters
    ----------
    pairs : polars.DataFrame
        ``subject_id``, ``_into`` (the record that is left) and ``_since`` (UTC): from when
        on they are one person.
    before : Snapshot
        The hospital as it was.
    but : polars.Series, optional
        Ids of events that stay out of it.

    Returns
    -------
    events, retractions : polars.DataFrame
        As in :class:`Moved`. What was recorded only after the merge moves as it begins.
    """
    theirs = pl.col("subject_id").is_in(pairs["subject_id"].implode())
    events = (
        before.stored("events")
        .filter(theirs, pl.col("retracted").is_null())
        .collect()
        .join(pairs, on="subject_id", how="inner")
    ).with_columns(_since=pl.max_horizontal("_since", "recorded"))
    if but is not None:
        events = events.filter(~pl.col("event_id").is_in(but.implode()))
    retractions = events.with_columns(retracted="_since").select(list(RETRACTIONS))
    renamed = events.with_columns(subject_id="_into", recorded="_since").select(
        [name for name in TABLES["events"] if name != "batch"]
    )
    return renamed.sort("subject_id", *ORDER), retractions


def _keys(delivered: Mapping[str, pl.Series], table: str) -> list[pl.Series]:
    return [delivered[table]] if table in delivered else []
