"""From a hospital's events to an activity log, once; then from disk.

The rows are named (activity file), given a case, put into the total order
(time, sequence, code, value, event id) and turned into integers. Nothing is
dropped silently: what is left out is counted by reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl

from neva.errors import BadInputError, UsageError
from neva.events.schema import OPEN_END, TIME
from neva.pathways import artefacts
from neva.pathways.activities import ActivityFile
from neva.pathways.log import CASE_COLUMNS, MISSING_TIME, NO_UNIT, ActivityLog, frozen

__all__ = ["Snapshot", "activity_log", "default_activities", "encode", "log_from_frame"]

_UTC = pl.Datetime("us", "UTC")

# Entering a unit comes before, and the end of a stay after, every event of the
# same instant: a stay's outcome cannot precede what was done in its last minute.
_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class Snapshot(Protocol):
    """What pathways need of a hospital: its visible rows at one moment."""

    @property
    def identity(self) -> str: ...  # noqa: D102
    @property
    def zone(self) -> str: ...  # noqa: D102
    @property
    def cache(self) -> Path: ...  # noqa: D102
    def events(self) -> pl.LazyFrame: ...  # noqa: D102
    def stays(self) -> pl.LazyFrame: ...  # noqa: D102
    def movements(self) -> pl.LazyFrame: ...  # noqa: D102
    def subjects(self) -> pl.LazyFrame: ...  # noqa: D102
    def codes(self) -> pl.LazyFrame: ...  # noqa: D102


def activity_log(
    snapshot: Snapshot, activities: ActivityFile | None = None, *, keep: bool = True
) -> ActivityLog:
    """Return the activity log of a hospital, from disk if it was built before.

    Parameters
    ----------
    snapshot : Snapshot
        The hospital at one version and moment.
    activities : ActivityFile, optional
        What counts as an activity; by default every code does.
    keep : bool
        Whether to keep the log in ``snapshot.cache`` and to use one kept there.

    Returns
    -------
    ActivityLog

    Raises
    ------
    BadInputError
        Nothing in the hospital is an activity under this file.
    """
    activities = activities or ActivityFile()
    folder = artefacts.folder(snapshot.cache, snapshot.identity, activities.hash)
    if keep and (kept := artefacts.load(folder)) is not None:
        return kept
    log = _draw(snapshot, activities)
    if keep:
        artefacts.save(log, folder)
    return log


def log_from_frame(frame: pl.DataFrame, **origin: Any) -> ActivityLog:
    """Make a log from a plain frame.

    Parameters
    ----------
    frame : polars.DataFrame
        ``case`` (anything that reads as text), ``activity`` (text),
        optionally ``time`` and ``end`` (datetime; without a zone taken as
        UTC) and ``sequence`` (int64). Equal (time, sequence) are ordered by
        activity. Rows without a case or an activity are left out and
        counted.
    **origin
        Further attributes of the log (``zone``, ``hospital``, …).

    Returns
    -------
    ActivityLog

    Examples
    --------
    >>> import polars as pl
    >>> log = log_from_frame(pl.DataFrame({
    ...     "case": ["1", "2", "1"], "activity": ["triage", "triage", "release"],
    ...     "sequence": [1, 1, 2]}))
    >>> log.case_count, log.event_count, log.labels
    (2, 3, ('release', 'triage'))
    """
    missing = {"case", "activity"} - set(frame.columns)
    if missing:
        raise UsageError(
            f"the frame has no column {sorted(missing)[0]!r}, found {frame.columns}; rename yours"
        )

    def moment(name: str) -> pl.Expr:
        if name not in frame.columns:
            return pl.lit(None, dtype=_UTC)
        if getattr(frame.schema[name], "time_zone", None):
            return pl.col(name).dt.convert_time_zone("UTC")
        return pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")

    sequence = pl.col("sequence") if "sequence" in frame.columns else pl.lit(0)
    rows = frame.lazy().select(
        case=pl.col("case").cast(pl.String),
        label=pl.col("activity").cast(pl.String),
        time=moment("time").cast(_UTC),
        end=moment("end").cast(_UTC),
        sequence=sequence.cast(pl.Int64),
    )
    return encode(rows, cases=None, **origin)


def default_activities(snapshot: Snapshot) -> ActivityFile:
    """Return the default activities of a report or command without an activity file.

    A hospital that records movements: entering a unit, and the outcome of the
    stay. Any other: every code.
    """
    if snapshot.movements().head(1).collect().height:
        return ActivityFile(
            name="units entered", events="none", case="stay", movements="unit", outcome=True
        )
    return ActivityFile()


def _draw(snapshot: Snapshot, activities: ActivityFile) -> ActivityLog:
    names = _names(snapshot, activities)
    happened = pl.col("status").is_in(activities.statuses)
    rows = (
        snapshot.events()
        .join(names.lazy(), on="code", how="left", maintain_order="left")
        .select(
            "stay_id",
            "subject_id",
            "time",
            "sequence",
            "rank_of_code",
            "value",
            "label",
            event="event_id",
            end=pl.when(pl.col("end_time") < pl.lit(OPEN_END, dtype=TIME)).then("end_time"),
            happened=happened,
        )
        .collect()
    )
    total = rows.height
    left_out = {}
    rows = rows.filter("happened").drop("happened")
    left_out["another status (planned, not done, cancelled)"] = total - rows.height
    total = rows.height
    rows = rows.filter(pl.col("label").is_not_null())
    if activities.events == "none":
        left_out["the map shows units entered, not events"] = total - rows.height
    else:
        left_out["no activity in the activity file"] = total - rows.height

    case_kind: Literal["stay", "subject"] = activities.case or (
        "stay" if rows["stay_id"].null_count() == 0 else "subject"
    )
    key = f"{case_kind}_id"
    entries = _entries(snapshot, activities)
    extra = [frame for frame in (entries, _ends(snapshot, activities)) if frame is not None]
    rows = pl.concat(
        [
            rows,
            *(
                frame.select(pl.col(name).cast(dtype) for name, dtype in rows.schema.items())
                for frame in extra
            ),
        ]
    )
    total = rows.height
    rows = rows.filter(pl.col(key).is_not_null())
    left_out[f"no {case_kind}"] = total - rows.height
    if entries is not None and activities.events == "none":
        stays = snapshot.stays().select(pl.col("stay_id").unique()).collect()
        left_out[NO_UNIT] = stays.join(entries, on="stay_id", how="anti").height
    if rows.is_empty():
        raise BadInputError(
            f"activity file {activities.name!r}: no event of the hospital is an activity under it "
            f"({', '.join(f'{count} events: {reason}' for reason, count in left_out.items())}); "
            "compare its codes with the hospital's (neva info), or leave it out"
        )
    keys = rows.group_by(key).agg(pl.col("subject_id").first()) if key == "stay_id" else None
    return encode(
        rows.lazy().rename({key: "case"}),
        cases=_cases(snapshot, case_kind, keys),
        case_kind=case_kind,
        left_out={reason: count for reason, count in left_out.items() if count},
        hospital=snapshot.identity,
        activities=activities.hash,
        zone=snapshot.zone,
    )


def _names(snapshot: Snapshot, activities: ActivityFile) -> pl.DataFrame:
    """Return every code's activity and its place in the order of codes."""
    described = (
        snapshot.codes()
        .select("code", "description")
        .collect()
        .unique("code", keep="last", maintain_order=True)
    )
    codes = (
        snapshot.events()
        .select(pl.col("code").unique())
        .collect()
        .join(described, on="code", how="left")
        .sort("code")
    )
    return (
        activities.name_codes(codes)
        .with_row_index("rank_of_code")
        .with_columns(pl.col("rank_of_code").cast(pl.Int64))
    )


def _entries(snapshot: Snapshot, activities: ActivityFile) -> pl.DataFrame | None:
    """Return entries into units as rows, bed changes within a unit folded."""
    if activities.movements == "none":
        return None
    movements = (
        snapshot.movements()
        .filter(pl.col("unit").is_not_null())
        .select("movement_id", "stay_id", "subject_id", "start", "end", "unit")
        .collect()
        .unique("movement_id", keep="last", maintain_order=True)
        .sort("subject_id", "stay_id", "start", "movement_id")
    )
    same_unit = pl.all_horizontal(
        pl.col(name).eq_missing(pl.col(name).shift(1)) for name in ("subject_id", "stay_id", "unit")
    )
    entered = movements.with_columns(_new=~same_unit.fill_null(value=False)).with_columns(
        # Bed changes within a unit are one time there, until the last one ends.
        end=pl.col("end").last().over(pl.col("_new").cum_sum())
    )
    return entered.filter("_new").select(
        "stay_id",
        "subject_id",
        "end",
        time="start",
        sequence=pl.lit(_FIRST),
        rank_of_code=pl.int_range(pl.len()),
        value=pl.lit(None, dtype=pl.Float64),
        label="unit",
        event=pl.lit(0, dtype=pl.Int64),
    )


def _ends(snapshot: Snapshot, activities: ActivityFile) -> pl.DataFrame | None:
    """Return the ends of closed stays with an outcome as rows."""
    if not activities.outcome:
        return None
    return (
        snapshot.stays()
        .filter(pl.col("outcome").is_not_null() & pl.col("end").is_not_null())
        .collect()
        .unique("stay_id", keep="last", maintain_order=True)
        .select(
            "stay_id",
            "subject_id",
            time="end",
            sequence=pl.lit(_LAST),
            rank_of_code=pl.lit(-1, dtype=pl.Int64),
            value=pl.lit(None, dtype=pl.Float64),
            label="outcome",
            event=pl.lit(0, dtype=pl.Int64),
            end=pl.lit(None, dtype=TIME),
        )
    )


def _cases(snapshot: Snapshot, kind: str, stays_seen: pl.DataFrame | None) -> pl.DataFrame:
    """Return what is known of every case: ids, outcome, units touched."""
    key = f"{kind}_id"
    outcomes = (
        snapshot.stays()
        .select("stay_id", "subject_id", "start", "outcome")
        .collect()
        .unique("stay_id", keep="last", maintain_order=True)
        .sort("start", "stay_id")
        .group_by(key, maintain_order=True)
        .agg(pl.col("outcome").last())
    )
    units = (
        snapshot.movements()
        .filter(pl.col("unit").is_not_null() & pl.col(key).is_not_null())
        .group_by(key)
        .agg(units=pl.col("unit").unique().sort())
        .collect()
    )
    if stays_seen is not None:
        known = stays_seen.select("stay_id", "subject_id")
    else:
        known = (
            snapshot.events()
            .select(pl.col("subject_id").unique())
            .collect()
            .with_columns(stay_id=pl.lit(None, dtype=pl.Int64))
        )
        if kind == "subject":
            more = units.select("subject_id").join(known, on="subject_id", how="anti")
            known = pl.concat([known, more.with_columns(stay_id=pl.lit(None, dtype=pl.Int64))])
    return (
        known.join(outcomes, on=key, how="left")
        .join(units, on=key, how="left")
        .with_columns(case=pl.col(key))
    )


def encode(rows: pl.LazyFrame, *, cases: pl.DataFrame | None, **origin: Any) -> ActivityLog:
    """Sort rows into the total order and turn them into an activity log.

    Parameters
    ----------
    rows : polars.LazyFrame
        ``case`` (any type that sorts), ``label`` (text), ``time``,
        ``sequence``; optionally ``end``, and ``rank_of_code``, ``value``,
        ``event``, which order ties of (time, sequence). Without `rank_of_code` ties are ordered
        by label.
    cases : polars.DataFrame or None
        ``case`` and the columns of a log's `cases` other than ``case_id``.
    **origin
        Further attributes of the log.

    Returns
    -------
    ActivityLog
    """
    frame = rows.collect()
    left_out = dict(origin.pop("left_out", {}))
    for column, reason in (("case", "no case"), ("label", "no activity")):
        if empty := frame[column].null_count():
            left_out[reason] = left_out.get(reason, 0) + empty
            frame = frame.filter(pl.col(column).is_not_null())
    labels = frame["label"].unique().sort().to_list()
    narrow = pl.Int16 if len(labels) <= np.iinfo(np.int16).max else pl.Int32
    frame = frame.with_columns(
        pl.col("label").cast(pl.Enum(labels)).to_physical().cast(narrow),
        pl.col("time").dt.epoch("us").fill_null(MISSING_TIME),
        *([pl.col("end").dt.epoch("us").fill_null(MISSING_TIME)] * ("end" in frame.columns)),
    )
    fallback: list[str] = [
        name for name in ("rank_of_code", "value", "event") if name in frame.columns
    ]
    order = ["case", "time", "sequence", *(fallback or ["label"])]
    if not _is_sorted(frame, order[:3]):
        frame = frame.sort(order, nulls_last=False)
        tied = _same_as_previous(frame, order[:3])
    else:
        # The store is sorted by subject and time: only ties need the rest of the order.
        tied = _same_as_previous(frame, order[:3])
        if tied.any():
            frame = frame.sort(order, nulls_last=False)

    first = np.flatnonzero(~_same_as_previous(frame, ["case"]))
    ids = frame["case"].gather(first)
    return ActivityLog(
        offsets=frozen(np.append(first, frame.height).astype(np.int64)),
        activity=frozen(frame["label"].to_numpy()),
        time=frozen(frame["time"].to_numpy()),
        labels=tuple(labels),
        cases=_case_frame(ids, cases),
        event=frozen(frame["event"].to_numpy()) if "event" in frame.columns else None,
        end=frozen(frame["end"].to_numpy())
        if "end" in frame.columns and (frame["end"] != MISSING_TIME).any()
        else None,
        left_out=left_out,
        ties=_count_ties(tied, frame["label"].to_numpy()),
        **origin,
    )


def _case_frame(ids: pl.Series, cases: pl.DataFrame | None) -> pl.DataFrame:
    frame = pl.DataFrame({"case": ids})
    if cases is not None:
        frame = frame.join(cases, on="case", how="left", maintain_order="left")
    return frame.select(
        pl.col("case").cast(pl.String).alias("case_id")
        if name == "case_id"
        else pl.col(name).cast(dtype)
        if name in frame.columns
        else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in CASE_COLUMNS.items()
    )


def _same_as_previous(frame: pl.DataFrame, columns: list[str]) -> np.ndarray:
    """Flag rows that equal the row before them in the given columns."""
    same = np.ones(frame.height, dtype=bool)
    same[:1] = False
    for name in columns:
        column = frame[name]
        same[1:] &= column.eq_missing(column.shift(1)).to_numpy()[1:]
    return same


def _is_sorted(frame: pl.DataFrame, columns: list[str]) -> bool:
    """Whether rows ascend by (case, time, sequence)."""
    later = np.zeros(max(frame.height - 1, 0), dtype=bool)
    for name in reversed(columns):
        column = frame[name]
        if column.null_count():
            return False
        this, previous = column.slice(1), column.slice(0, max(frame.height - 1, 0))
        later = (this > previous).to_numpy() | ((this == previous).to_numpy() & later)
        if name == columns[-1]:
            later |= (this == previous).to_numpy()
    return bool(later.all())


def _count_ties(tied: np.ndarray, activity: np.ndarray) -> int:
    """Count events that share (case, time, sequence) with another activity."""
    if not tied.any():
        return 0
    starts = np.flatnonzero(~tied)
    lowest = np.minimum.reduceat(activity, starts)
    highest = np.maximum.reduceat(activity, starts)
    sizes = np.diff(np.append(starts, len(activity)))
    return int(sizes[lowest != highest].sum())
