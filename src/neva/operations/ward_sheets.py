"""Flow, quality and decisions of one ward: open clocks, tasks, entries, patients of concern.

Frames only: pages and paper lay them out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import polars as pl

from neva.census.current_entries import open_stays
from neva.decisions.tasks import WorkList
from neva.definitions.programme import Programme
from neva.events.schema import TIME, Columns
from neva.events.snapshot import Snapshot
from neva.operations.bed_board import BedBoard
from neva.quality.measuring import MeasureRun, run_measures

__all__ = [
    "ATTENTION",
    "URGENCY",
    "WardSheet",
    "attention_list",
    "open_clocks",
    "ward_sheet",
]

#: The ranking of the attention list, the most urgent first. A patient has the
#: place of the first that applies; then more reasons come before fewer, an
#: earlier deadline before a later one, a worse score before a better.
URGENCY: Final = (
    "critical-overdue",  # a critical task past its deadline
    "critical",  # a critical task
    "unobserved-unwell",  # observations overdue, last score at or above the limit
    "warning-overdue",  # a warning past its deadline
    "clock-closing",  # a measure's clock closes within an hour
    "warning",  # a warning
    "unobserved",  # observations overdue
    "clock-open",  # a measure's clock closes within the limit of hours
    "info",  # a task for information
)
#: A score from which on missing observations are more urgent: NEWS2 of 5, the
#: threshold of an urgent response (Royal College of Physicians 2017).
UNWELL_FROM: Final = 5.0

ATTENTION: Final[Columns] = {
    "rank": pl.Int64,
    "stay_id": pl.Int64,
    "subject_id": pl.Int64,
    "unit": pl.String,
    "bed": pl.String,
    "urgency": pl.String,
    "kind": pl.String,
    "id": pl.String,
    "title": pl.String,
    "due": TIME,
    "is_overdue": pl.Boolean,
    "severity": pl.Float64,
    "owner": pl.String,
    "reasons": pl.Int64,
}
CLOCKS: Final[Columns] = {
    "stay_id": pl.Int64,
    "subject_id": pl.Int64,
    "measure": pl.String,
    "title": pl.String,
    "due": TIME,
    "minutes_left": pl.Float64,
    "placed": TIME,
    "unit": pl.String,
}
TASKS: Final[Columns] = {
    "stay_id": pl.Int64,
    "subject_id": pl.Int64,
    "unit": pl.String,
    "rule": pl.String,
    "title": pl.String,
    "indicator": pl.String,
    "severity": pl.Float64,
    "summary": pl.String,
    "since": TIME,
    "begun_after": TIME,
    "owner": pl.String,
    "tier": pl.Int64,
    "deadline": TIME,
    "is_overdue": pl.Boolean,
    "acknowledged": pl.Boolean,
}


def open_clocks(
    snapshot: Snapshot, programmes: Sequence[Programme], subjects: Collection[int] | None = None
) -> list[MeasureRun]:
    """Run the measures of programmes for the subjects of open stays only.

    Parameters
    ----------
    snapshot : Snapshot
    programmes : sequence of Programme
        Those without measures are left out.
    subjects : collection of int, optional
        Of those, only these.

    Returns
    -------
    list of MeasureRun
        For the work list; never for rates, whose denominators are all stays.
    """
    present = set(open_stays(snapshot)["subject_id"])
    chosen = sorted(present if subjects is None else present & set(subjects))
    return [run_measures(snapshot, one, subjects=chosen) for one in programmes if one.measures]


def clocks_of(runs: Sequence[MeasureRun], stays: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """Pending measures of open stays, the nearest deadline first; columns of ``CLOCKS``.

    Only those by which something is to be done until a time: of an outcome, or
    of what should not happen, nobody can complete a clock.
    """
    parts = [pl.DataFrame(schema=CLOCKS)]
    moment = pl.lit(now, dtype=TIME)
    for run in runs:
        titles = {
            one.id: one.title or one.id
            for one in run.measures
            if one.better == "higher" and one.observation is None
        }
        rows = run.pending().filter(
            pl.col("measure").is_in(list(titles)),
            pl.col("stay_id").is_in(stays["stay_id"].implode()),
            pl.col("due") > moment,
        )
        parts.append(
            rows.with_columns(
                title=pl.col("measure").replace_strict(titles, return_dtype=pl.String),
                minutes_left=(pl.col("due") - moment).dt.total_microseconds() / 60e6,
            ).select(pl.col(name).cast(dtype) for name, dtype in CLOCKS.items())
        )
    return pl.concat(parts).sort("due", "measure", "stay_id", nulls_last=True)


def tasks_of(work: WorkList | None) -> pl.DataFrame:
    """Tasks of a work list in its order; columns of ``TASKS``."""
    if work is None:
        return pl.DataFrame(schema=TASKS)
    rows = [{name: getattr(one, name) for name in TASKS} for one in work.tasks]
    return pl.DataFrame(rows, schema=TASKS)


def attention_list(
    board: BedBoard,
    *,
    work: WorkList | None = None,
    runs: Sequence[MeasureRun] = (),
    most: int = 10,
    clock_hours: float = 4.0,
) -> pl.DataFrame:
    """List the patients most in need of review.

    Parameters
    ----------
    board : BedBoard
        Who is present, and where.
    work : WorkList, optional
        Its tasks and overdue observations. Accepted tasks stay; patients with a
        recorded ceiling of care are not in it, by the rules' own limits.
    runs : sequence of MeasureRun
        Their pending cases: see :func:`open_clocks`.
    most : int
    clock_hours : float
        A clock that closes later is not a reason yet.

    Returns
    -------
    polars.DataFrame
        Columns of ``ATTENTION``, one row a patient: ``urgency`` (see
        :data:`URGENCY`), ``kind`` (task, observations, measure), ``id`` and
        ``title`` of the first reason, its ``due``?, ``severity``?, ``owner``?,
        and ``reasons``: how many there are.
    """
    now = board.now
    moment = pl.lit(now, dtype=TIME)
    tasks = tasks_of(work).select(
        "stay_id",
        urgency=pl.when(pl.col("indicator") == "info")
        .then(pl.lit("info"))
        .when("is_overdue")
        .then(pl.col("indicator") + "-overdue")
        .otherwise("indicator"),
        kind=pl.lit("task"),
        id="rule",
        title="title",
        due="deadline",
        severity="severity",
        owner="owner",
    )
    late = (work.unobserved if work is not None else _NOBODY).select(
        "stay_id",
        urgency=pl.when(pl.col("score") >= UNWELL_FROM)
        .then(pl.lit("unobserved-unwell"))
        .otherwise(pl.lit("unobserved")),
        kind=pl.lit("observations"),
        id=pl.lit("observations"),
        title=pl.lit("observations overdue"),
        due="due",
        severity="score",
        owner=pl.lit(None, dtype=pl.String),
    )
    clocks = clocks_of(runs, board.patients, now).filter(pl.col("minutes_left") <= 60 * clock_hours)
    closing = clocks.select(
        "stay_id",
        urgency=pl.when(pl.col("minutes_left") <= 60)
        .then(pl.lit("clock-closing"))
        .otherwise(pl.lit("clock-open")),
        kind=pl.lit("measure"),
        id="measure",
        title="title",
        due="due",
        severity=pl.lit(None, dtype=pl.Float64),
        owner=pl.lit(None, dtype=pl.String),
    )
    place = {name: number for number, name in enumerate(URGENCY)}
    reasons = (
        pl.concat([tasks, late, closing])
        .with_columns(
            _place=pl.col("urgency").replace_strict(place, return_dtype=pl.Int64),
            reasons=pl.len().over("stay_id").cast(pl.Int64),
            is_overdue=(pl.col("due") <= moment).fill_null(value=False),
        )
        .sort("_place", "due", "severity", "id", nulls_last=True)
    )
    first = reasons.unique("stay_id", keep="first", maintain_order=True)
    found = (
        board.patients.select("stay_id", "subject_id", "unit", "bed")
        .join(first, on="stay_id", how="inner")
        .sort(
            "_place", "reasons", "due", "severity", "stay_id",
            descending=[False, True, False, True, False], nulls_last=True,
        )
        .head(most)
    )  # fmt: skip
    return found.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64)).select(
        pl.col(name).cast(dtype) for name, dtype in ATTENTION.items()
    )


_NOBODY: Final = pl.DataFrame(schema={"stay_id": pl.Int64, "score": pl.Float64, "due": TIME})


@dataclass(frozen=True)
class WardSheet:
    """Current tasks of a ward.

    Attributes
    ----------
    patients : polars.DataFrame
        Present: columns of :attr:`neva.operations.bed_board.BedBoard.patients` and
        ``tasks``, ``clocks``, ``is_unobserved``, ``days``.
    tasks : polars.DataFrame
        Of the work list, in its order; ``tier`` above 0 is an escalation.
    clocks : polars.DataFrame
        Pending measures with ``due`` and ``minutes_left``, the nearest first.
    unobserved : polars.DataFrame
        Observations overdue: ``stay_id``, ``subject_id``, ``unit``,
        ``last_observed``?, ``score``?, ``due``, ``hours_overdue``.
    long_stays : polars.DataFrame
    entries : polars.DataFrame
        What is entered of each stay now.
    attention : polars.DataFrame
        All in the order of :func:`attention_list`; ``rank`` is that in the hospital.
    banner : str
        What must stand above it while the feed is stale; else empty.
    looked_at : dict of str to int
        Denominators: open stays evaluated by rules, measures
        evaluated, patients present.
    now : datetime
    zone, identity : str
    synthetic : bool
    """

    patients: pl.DataFrame
    tasks: pl.DataFrame
    clocks: pl.DataFrame
    unobserved: pl.DataFrame
    long_stays: pl.DataFrame
    entries: pl.DataFrame
    attention: pl.DataFrame
    banner: str
    looked_at: Mapping[str, int]
    now: datetime
    zone: str
    identity: str
    synthetic: bool

    def to_frame(self) -> pl.DataFrame:
        """Return the patients."""
        return self.patients

    def of_units(self, units: Sequence[str]) -> WardSheet:
        """Return the sheet of some units only."""
        patients = self.patients.filter(pl.col("unit").is_in(list(units)))
        stays = patients["stay_id"].implode()
        kept: dict[str, Any] = {
            name: getattr(self, name).filter(pl.col("stay_id").is_in(stays))
            for name in ("tasks", "clocks", "unobserved", "long_stays", "entries", "attention")
        }
        return replace(self, patients=patients, **kept)


def ward_sheet(
    board: BedBoard, *, work: WorkList | None = None, runs: Sequence[MeasureRun] = (),
) -> WardSheet:  # fmt: skip
    """Join what is known of each patient present.

    Parameters
    ----------
    board : BedBoard
    work : WorkList, optional
        Made at the same *now*.
    runs : sequence of MeasureRun
    """
    tasks = tasks_of(work)
    clocks = clocks_of(runs, board.patients, board.now)
    names = ("stay_id", "subject_id", "unit", "last_observed", "score", "due", "hours_overdue")
    unobserved = (
        work.unobserved.select(names)
        if work is not None
        else pl.DataFrame(
            schema={
                **dict.fromkeys(("stay_id", "subject_id"), pl.Int64),
                "unit": pl.String,
                "last_observed": TIME,
                "score": pl.Float64,
                "due": TIME,
                "hours_overdue": pl.Float64,
            }
        )
    )
    moment = pl.lit(board.now, dtype=TIME)
    patients = (
        board.patients.join(_counts_per_stay(tasks, "tasks"), on="stay_id", how="left")
        .join(_counts_per_stay(clocks, "clocks"), on="stay_id", how="left")
        .with_columns(
            pl.col("tasks", "clocks").fill_null(0),
            is_unobserved=pl.col("stay_id").is_in(unobserved["stay_id"].implode()),
            days=(moment - pl.col("admitted")).dt.total_microseconds() / 86_400e6,
        )
    )
    return WardSheet(
        patients=patients,
        tasks=tasks,
        clocks=clocks,
        unobserved=unobserved,
        long_stays=board.long_stays,
        entries=board.entries,
        attention=attention_list(board, work=work, runs=runs, most=board.patients.height),
        banner="" if work is None else work.feed.banner,
        looked_at={
            "patients": board.patients.height,
            "rules_looked_at": 0 if work is None else work.patients,
            "measures": sum(len(run.measures) for run in runs),
        },
        now=board.now,
        zone=board.zone,
        identity=board.identity,
        synthetic=board.synthetic,
    )


def _counts_per_stay(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    return frame.group_by("stay_id").agg(pl.len().cast(pl.Int64).alias(name))
