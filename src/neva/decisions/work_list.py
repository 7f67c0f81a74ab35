"""The work list: who needs attention now, whose task it is, and by when.

CDS Hooks fires only when somebody opens a record. The work list evaluates the same
rules for every patient in the hospital, ranks the cards they raise, and says who acts,
by when, and who is notified next. What has been treated is gone from it; what a
recorded ceiling of care limits never enters it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from neva.decisions.cards import card_of, finding_of
from neva.decisions.rules import Hook, Rule
from neva.decisions.tasks import Feed, Task, Touched, WorkList, as_of_now, urgency_of
from neva.definitions.binding import bind
from neva.definitions.columnar.engine import missing_words
from neva.definitions.run import Engine, answer
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot

__all__ = ["ObservationPlan", "feeds_work_list", "work_list"]

#: Columns of the patients whose observations are overdue.
UNOBSERVED: Final[dict[str, Any]] = {
    "subject_id": pl.Int64,
    "stay_id": pl.Int64,
    "unit": pl.String,
    "last_observed": TIME,
    "score": pl.Float64,
    "due": TIME,
    "hours_overdue": pl.Float64,
}
#: Hooks that speak of the patient; the others speak of an order or a discharge going on.
_OF_PATIENTS: Final[frozenset[Hook]] = frozenset(("patient-view", "encounter-start"))


def feeds_work_list(rule: Rule) -> bool:
    """Return whether a rule may become a task: whether it is evaluated when a record is opened."""
    return not _OF_PATIENTS.isdisjoint(rule.hooks)


@dataclass(frozen=True)
class ObservationPlan:
    """How often patients must be observed.

    Attributes
    ----------
    score : Expression
        A number at a point, such as NEWS2.
    last : Expression
        The time of the last observation.
    hours_by_score : dict of float to float
        From which score on, how many hours may pass.
    """

    score: Any
    last: Any
    hours_by_score: Mapping[float, float]


def _open_stays(snapshot: Snapshot, subjects: Collection[int] | None = None) -> pl.DataFrame:
    now = pl.lit(snapshot.now, dtype=TIME)
    stays = snapshot.stays()
    if subjects is not None:
        stays = stays.filter(pl.col("subject_id").is_in(list(subjects)))
    return (
        stays.filter(pl.col("start") <= now, pl.col("end").is_null() | (pl.col("end") > now))
        .select("subject_id", "stay_id", "start")
        .collect()
        .sort("subject_id", "stay_id")
    )


def _grid(snapshot: Snapshot, stays: pl.DataFrame) -> pl.DataFrame:
    """The times at which open stays are checked: each hour, and whenever the known data changed."""
    now = snapshot.now
    subjects = stays["subject_id"].unique().to_list()
    own = [
        snapshot.stored(table)
        .filter(pl.col("subject_id").is_in(subjects))
        .select("subject_id", pl.col(column).alias("now"))
        .filter(pl.col("now") <= now)
        for table in ("events", "movements")
        for column in ("recorded", "retracted")
    ]
    known = (
        pl.concat(own)
        .unique()
        .collect()
        .join(stays, on="subject_id")
        .filter(pl.col("now") >= pl.col("start"))
        .select("subject_id", "stay_id", "now")
    )
    hours = (
        stays.with_columns(
            pl.datetime_ranges(
                pl.col("start").dt.truncate("1h").dt.offset_by("1h"),
                pl.lit(now, dtype=TIME),
                "1h",
            ).alias("now")
        )
        .explode("now", empty_as_null=False)
        .select("subject_id", "stay_id", "now")
    )
    last = stays.select("subject_id", "stay_id", pl.lit(now, dtype=TIME).alias("now"))
    return (
        pl.concat([known, hours, last])
        .filter(pl.col("now") <= now)
        .unique()
        .sort("subject_id", "stay_id", "now")
        .with_row_index("point_id")
        .with_columns(pl.col("point_id").cast(pl.Int64), pl.col("now").alias("known"))
    )


def _runs(frame: pl.DataFrame, names: Mapping[str, str], starts: pl.DataFrame) -> pl.DataFrame:
    """Stays for which a rule holds now, and since when without a break."""

    def true(name: str) -> pl.Expr:
        return pl.col(names[name]).fill_null(value=False) if name in names else pl.lit(value=False)

    raises = true("population") & true("condition") & ~true("treated") & ~true("limited")
    looked = frame.select("subject_id", "stay_id", "now", raises.alias("raises")).sort(
        "stay_id", "now"
    )
    before = pl.col("now").filter(~pl.col("raises")).max()
    after = (pl.col("now") > before).fill_null(value=True)
    held = (
        looked.group_by("subject_id", "stay_id", maintain_order=True)
        .agg(
            pl.col("raises").last().alias("now_raises"),
            before.alias("begun_after"),
            pl.col("now").filter(pl.col("raises") & after).min().alias("since"),
        )
        .filter("now_raises")
    )
    return held.join(starts.select("stay_id", "start"), on="stay_id").with_columns(
        pl.col("begun_after").fill_null(pl.col("start"))
    )


def _task(
    rule: Rule, row: Mapping[str, Any], answers: Mapping[str, Any], touched: Touched | None,
    snapshot: Snapshot,
) -> Task | None:  # fmt: skip
    now = snapshot.now
    finding = finding_of(rule, answers)
    if not finding.raises:
        return None
    card = card_of(
        finding,
        subject=str(row["subject_id"]),
        stay=str(row["stay_id"]),
        now=now,
        zone=snapshot.zone,
    )
    task = Task(
        rule=rule.id,
        version=rule.version,
        title=rule.title or rule.id,
        subject_id=row["subject_id"],
        stay_id=row["stay_id"],
        unit=finding.unit,
        indicator=card.indicator,
        severity=card.severity,
        summary=card.summary,
        detail=card.detail,
        since=row["since"],
        begun_after=row["begun_after"],
        owner=rule.owner,
        tier=0,
        deadline=None,
        is_overdue=False,
        acknowledged=False,
        missing=card.missing,
    )
    return as_of_now(task, rule, touched, now)


def _unobserved(
    frame: pl.DataFrame, plan: ObservationPlan, now: datetime, starts: pl.DataFrame
) -> pl.DataFrame:
    allowed: Any = pl.lit(min(plan.hours_by_score.values()))
    for score, hours in sorted(plan.hours_by_score.items()):
        allowed = pl.when(pl.col("score") >= score).then(pl.lit(hours)).otherwise(allowed)
    # Somebody never observed counts from admission, by the longest interval.
    allowed = (
        pl.when(pl.col("score").is_null())
        .then(pl.lit(max(plan.hours_by_score.values())))
        .otherwise(allowed)
    )
    due = pl.coalesce("last_observed", "start") + pl.duration(
        microseconds=(pl.col("allowed") * 3.6e9).round().cast(pl.Int64)
    )
    return (
        frame.select("subject_id", "stay_id", "unit", "last_observed", "score")
        .join(starts.select("stay_id", "start"), on="stay_id")
        .with_columns(allowed=allowed)
        .with_columns(due=due)
        .filter(pl.col("due") < pl.lit(now, dtype=TIME))
        .with_columns(
            hours_overdue=(pl.lit(now, dtype=TIME) - pl.col("due")).dt.total_microseconds() / 3.6e9
        )
        .sort("hours_overdue", descending=True)
        .select(*UNOBSERVED)
    )


def work_list(
    snapshot: Snapshot,
    rules: Sequence[Rule],
    *,
    at: datetime,
    touched: Mapping[tuple[str, str, datetime], Touched] | None = None,
    observations: ObservationPlan | None = None,
    stale_after_minutes: float = 60.0,
    subjects: Collection[int] | None = None,
) -> WorkList:
    """Build the work list of a hospital.

    Parameters
    ----------
    snapshot : Snapshot
        What is known; its ``now`` is the time of the list.
    rules : sequence of Rule
        The live ones; those that only speak of an order or a discharge, and
        those not in force today, are left out.
    at : datetime
        The clock's time, aware: how old the feed is.
    touched : mapping, optional
        What somebody did with tasks, by rule, stay and ``begun_after``.
    observations : ObservationPlan, optional
        Lists patients whose observations are overdue.
    stale_after_minutes : float
        After how long without a record the feed is stale.
    subjects : collection of int, optional
        Only these patients; see :func:`renewed_work_list`.

    Returns
    -------
    WorkList
    """
    now = snapshot.now
    stays = _open_stays(snapshot, subjects)
    newest = (
        snapshot.stored("events")
        .filter(pl.col("recorded") <= now)
        .select(pl.col("recorded").max())
        .collect()
        .item()
    )
    binding = bind(snapshot)
    today = now.astimezone(ZoneInfo(snapshot.zone)).date()
    rules = [rule for rule in rules if feeds_work_list(rule) and rule.valid_on(today)]
    tasks: list[Task] = []
    unobserved = pl.DataFrame(schema=UNOBSERVED)
    if stays.height and rules:
        outputs = {
            f"{place}|{name}": node
            for place, rule in enumerate(rules)
            for name, node in rule.decides.items()
        }
        found = answer(
            snapshot,
            outputs,
            points=_grid(snapshot, stays),
            engine=_engine(outputs),
            binding=binding,
        ).frame
        for place, rule in enumerate(rules):
            names = {name: f"{place}|{name}" for name in rule.decides}
            held = _runs(found, names, stays)
            if held.is_empty():
                continue
            points = held.select(
                pl.int_range(pl.len(), dtype=pl.Int64).alias("point_id"),
                "subject_id",
                "stay_id",
                pl.lit(now, dtype=TIME).alias("now"),
                pl.lit(now, dtype=TIME).alias("known"),
            )
            whole = answer(
                snapshot,
                rule.outputs,
                points=points,
                engine=_engine(rule.outputs),
                binding=binding,
            )
            rows = {row["stay_id"]: row for row in whole.frame.iter_rows(named=True)}
            for row in held.iter_rows(named=True):
                key = (rule.id, str(row["stay_id"]), row["begun_after"])
                task = _task(
                    rule, row, rows.get(row["stay_id"], {}), (touched or {}).get(key), snapshot
                )
                if task is not None:
                    tasks.append(task)
    if stays.height and observations is not None:
        unobserved = _overdue(snapshot, stays, observations)
    return WorkList(
        tasks=tuple(sorted(tasks, key=urgency_of)),
        unobserved=unobserved,
        patients=stays.height,
        feed=Feed(newest=newest, at=at, limit_minutes=stale_after_minutes),
        now=now,
        identity=snapshot.identity,
    )


def _engine(outputs: Mapping[str, Any]) -> Engine:
    return "relational" if missing_words(outputs) else "columnar"


def _overdue(snapshot: Snapshot, stays: pl.DataFrame, plan: ObservationPlan) -> pl.DataFrame:
    from neva.decisions.rules import UNIT

    points = stays.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("point_id"),
        "subject_id",
        "stay_id",
        pl.lit(snapshot.now, dtype=TIME).alias("now"),
        pl.lit(snapshot.now, dtype=TIME).alias("known"),
    )
    outputs = {"score": plan.score, "last_observed": plan.last, "unit": UNIT}
    seen = answer(snapshot, outputs, points=points, engine=_engine(outputs)).frame.with_columns(
        pl.col("unit").str.strip_prefix("UNIT//")
    )
    return _unobserved(seen, plan, snapshot.now, stays)
