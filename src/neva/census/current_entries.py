"""Current entries about open stays, such as expected discharges and delays.

Expected discharge, fitness to leave, reason for delay, isolation, request for
a bed, ceiling of care, handover note: see :mod:`neva.events.operational_codes`.
Of one kind and stay the last recorded one counts, unless it was withdrawn.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final

import polars as pl

from neva.events import tables
from neva.events.codes import END_UNKNOWN, FOLLOW_UP_END
from neva.events.operational_codes import (
    CEILING_CODES,
    ISOLATION_NEEDED,
    KINDS,
    OPERATIONAL_CODES,
)
from neva.events.schema import TABLES, TIME, Columns, attribute
from neva.events.snapshot import Snapshot
from neva.intake.entered import ENTERED

__all__ = [
    "ENTRIES",
    "current_entries",
    "newest_recorded",
    "open_stays",
    "operational_events",
    "operational_rows",
    "planned_admissions",
    "recent_stays",
]

#: Columns of entries, and their types.
ENTRIES: Final[Columns] = {
    "kind": pl.String,
    "subject_id": pl.Int64,
    "stay_id": pl.Int64,
    "time": TIME,
    "end_time": TIME,
    "recorded": TIME,
    "code": pl.String,
    "reason": pl.String,
    "text": pl.String,
    "confirmed": pl.Boolean,
    "unit": pl.String,
    "priority": pl.String,
    "side_room": pl.Boolean,
    "note": pl.String,
    "entry": pl.String,
    "event_id": pl.Int64,
}
_READ: Final = (*OPERATIONAL_CODES, FOLLOW_UP_END, END_UNKNOWN)
_COLUMNS: Final = (
    "event_id", "subject_id", "stay_id", "time", "end_time", "recorded", "retracted", "code",
    "text", "status", "reason", "attributes", "sequence",
)  # fmt: skip
_KIND_BY_CODE: Final = {
    **{one.code: one.name for one in KINDS.values()},
    **dict.fromkeys(CEILING_CODES, "ceiling"),
}


@lru_cache(maxsize=128)
def operational_rows(path: str) -> pl.DataFrame:
    """Return rows of one file of events that tell of places, not of illness; files never change.

    They are those of operational codes, and the ends of follow-up and of stays that
    ended at a time not known.
    """
    rows = tables.scan([path], TABLES["events"])
    return rows.filter(pl.col("code").is_in(list(_READ))).select(_COLUMNS).collect()


@lru_cache(maxsize=384)
def _newest_of_file(table: str, path: str) -> pl.DataFrame:
    """When the newest row of each batch in a file was recorded: ``batch``, ``recorded``."""
    return _newest(tables.scan([path], TABLES[table]))


def _newest(rows: pl.LazyFrame) -> pl.DataFrame:
    return rows.group_by("batch").agg(pl.col("recorded").max()).collect()


def newest_recorded(snapshot: Snapshot) -> datetime | None:
    """Return when the feed of movements last reported by *now*; None if it never did.

    A source that delivers movements is alive as long as it delivers anything.
    What another source delivers, such as an uploaded table or an entry on a page, does not make
    old movements fresh. Where no source delivers movements, all sources count, but not entries.
    """
    now = pl.lit(snapshot.now, dtype=TIME)
    found: dict[str, list[pl.DataFrame]] = {}
    for table in ("movements", "stays", "events"):
        for path in snapshot.files(table):
            newest = _newest_of_file(table, path)
            if newest.select((pl.col("recorded") > now).any()).item():
                known = tables.scan([path], TABLES[table]).filter(pl.col("recorded") <= now)
                newest = _newest(known)
            found.setdefault(table, []).append(newest)
    if not found:
        return None
    sources = snapshot.batches().select("batch", "source").collect()
    moving = pl.concat(found.get("movements", [])) if "movements" in found else None
    recorded_rows = pl.concat([one for some in found.values() for one in some]).join(
        sources, on="batch"
    )
    if moving is not None and moving.height:
        those = sources.join(moving, on="batch", how="semi")["source"].implode()
        recorded_rows = recorded_rows.filter(pl.col("source").is_in(those))
    else:
        recorded_rows = recorded_rows.filter(pl.col("source") != ENTERED)
    last: datetime | None = recorded_rows["recorded"].max()  # type: ignore[assignment]
    return last


def operational_events(snapshot: Snapshot) -> pl.DataFrame:
    """Return the visible events of operational codes and of the end of follow-up.

    Only they are kept of each file, once a process: files of the store never
    change, so a later call reads what was written since.
    """
    parts = [operational_rows(path) for path in snapshot.files("events")]
    if not parts:
        schema = {name: TABLES["events"][name] for name in _COLUMNS}
        return pl.DataFrame(schema=schema)
    now = pl.lit(snapshot.now, dtype=TIME)
    rows = pl.concat(parts).filter(pl.col("code") != END_UNKNOWN)
    if snapshot.as_of is None:
        return rows.filter(pl.col("retracted").is_null())
    return rows.filter(
        pl.col("recorded") <= now,
        pl.col("retracted").is_null() | (pl.col("retracted") > now),
        pl.col("time").is_null() | (pl.col("time") <= now) | (pl.col("status") == "planned"),
    ).with_columns(end_time=pl.when(pl.col("end_time") <= now).then("end_time"))


def recent_stays(snapshot: Snapshot, since: datetime | None = None) -> pl.DataFrame:
    """Return stays that had started by *now* and not ended before a time, *now* by default.

    Returns
    -------
    polars.DataFrame
        ``subject_id``, ``stay_id``, ``start``, ``end``?, ``kind``, ``source``, ``outcome``.
    """
    begin = pl.lit(since or snapshot.now, dtype=TIME)
    return (
        snapshot.stays()
        .filter(
            pl.col("start") <= pl.lit(snapshot.now, dtype=TIME),
            pl.col("end").is_null() | (pl.col("end") > begin),
        )
        .select("subject_id", "stay_id", "start", "end", "kind", "source", "outcome")
        .collect()
        .sort("subject_id", "stay_id")
    )


def open_stays(
    snapshot: Snapshot, events: pl.DataFrame | None = None, *, recent: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return stays that had started and not ended at *now*.

    Parameters
    ----------
    snapshot : Snapshot
    events, recent : polars.DataFrame, optional
        :func:`operational_events` and :func:`recent_stays`, where they are at hand.

    Returns
    -------
    polars.DataFrame
        ``subject_id``, ``stay_id``, ``start``, ``kind``, ``source``, ``lost``
        (follow-up of the subject has ended: whether they are still there is
        not known).
    """
    now = pl.lit(snapshot.now, dtype=TIME)
    events = operational_events(snapshot) if events is None else events
    recent = recent_stays(snapshot) if recent is None else recent
    followed = events.filter(pl.col("code") == FOLLOW_UP_END, pl.col("time") <= now)
    return (
        recent.filter(pl.col("end").is_null() | (pl.col("end") > now))
        .select("subject_id", "stay_id", "start", "kind", "source")
        .with_columns(lost=pl.col("subject_id").is_in(followed["subject_id"].unique().implode()))
    )


def _as_entries(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        kind=pl.col("code").replace_strict(_KIND_BY_CODE, default=None, return_dtype=pl.String),
        confirmed=attribute("confirmed") == "yes",
        unit=attribute("unit"),
        priority=attribute("priority"),
        side_room=attribute("side_room") == "yes",
        note=attribute("note"),
        entry=attribute("entry"),
    )


def current_entries(
    snapshot: Snapshot, *, stays: pl.DataFrame | None = None, events: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return the entries in force for each open stay.

    Parameters
    ----------
    snapshot : Snapshot
    stays, events : polars.DataFrame, optional
        :func:`open_stays` and :func:`operational_events`, where they are at hand.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`ENTRIES`; one row for each open stay and kind (for
        isolation: and kind of isolation), of what lasts only what goes on.
        A missing ``end_time`` or one after *now*: it goes on.
    """
    now = pl.lit(snapshot.now, dtype=TIME)
    events = operational_events(snapshot) if events is None else events
    stays = open_stays(snapshot, events) if stays is None else stays
    mine = events.filter(
        pl.col("code") != FOLLOW_UP_END,
        pl.col("status").is_in(["done", "planned"]),
        pl.col("subject_id").is_in(stays["subject_id"].unique().implode()),
    )
    whose = stays.select("subject_id", _stay="stay_id", _begun="start")
    named = _as_entries(mine).join(whose, on="subject_id", how="inner")
    of_this_stay = pl.col("stay_id") == pl.col("_stay")
    # One that names no stay belongs to the stay it lies in.
    inside = pl.col("stay_id").is_null() & (pl.col("time") >= pl.col("_begun"))
    held = named.filter(of_this_stay | inside, pl.col("kind") != "planned-admission").with_columns(
        stay_id="_stay"
    )
    by = ["stay_id", "kind", pl.when(pl.col("code") == ISOLATION_NEEDED).then("reason")]
    last = (
        # Names of entries follow the order in which they were made.
        held.sort("recorded", "entry", "time", "sequence", "event_id", nulls_last=False)
        .with_columns(_key=pl.struct(by))
        .unique("_key", keep="last", maintain_order=True)
    )
    going_on = pl.col("end_time").is_null() | (pl.col("end_time") > now)
    lasts = pl.col("kind").is_in([one.name for one in KINDS.values() if one.lasts])
    return last.filter(going_on | ~lasts).select(list(ENTRIES)).sort("stay_id", "kind", "time")


def planned_admissions(
    snapshot: Snapshot,
    *,
    hours: float,
    stays: pl.DataFrame | None = None,
    events: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return planned admissions within some hours that have not arrived.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`ENTRIES`, by time. One planned for up to twelve hours
        ago who has no open stay is still expected.
    """
    events = operational_events(snapshot) if events is None else events
    stays = open_stays(snapshot, events) if stays is None else stays
    now = pl.lit(snapshot.now, dtype=TIME)
    here = stays["subject_id"].unique().implode()
    planned = _as_entries(events.filter(pl.col("code") == KINDS["planned-admission"].code)).filter(
        pl.col("status") == "planned",
        pl.col("time") > now - pl.duration(hours=12),
        pl.col("time") <= now + pl.duration(seconds=round(hours * 3600)),
        ~pl.col("subject_id").is_in(here),
    )
    return planned.select(list(ENTRIES)).sort("time", "subject_id")
