"""The work list: who needs attention now, whose task it is, and by when.

CDS Hooks fires only when somebody opens a record. The work list evaluates the same
rules for every patient in the hospital, ranks the cards they raise, and says who acts,
by when, and who is notified next. What has been treated is gone from it; what a
recorded ceiling of care limits never enters it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import polars as pl

from neva.decisions.cards import card_of, finding_of
from neva.decisions.rules import Hook, Rule
from neva.definitions.binding import bind
from neva.definitions.columnar.engine import missing_words
from neva.definitions.run import Engine, answer
from neva.events.schema import TIME
from neva.events.snapshot import Snapshot

__all__ = ["Feed", "ObservationPlan", "Task", "Touched", "WorkList", "feeds_work_list", "work_list"]

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
#: How urgent each indicator is.
_RANKS: Final = {"critical": 0, "warning": 1, "info": 2}


#: Hooks that speak of the patient; the others speak of an order or a discharge going on.
_OF_PATIENTS: Final[frozenset[Hook]] = frozenset(("patient-view", "encounter-start"))


def feeds_work_list(rule: Rule) -> bool:
    """Return whether a rule may become a task: whether it is evaluated when a record is opened."""
    return not _OF_PATIENTS.isdisjoint(rule.hooks)


class Touched(Protocol):
    """What a user did with a task: :class:`neva.state.WorkItem`."""

    @property
    def state(self) -> str:
        """``acknowledged``, ``escalated`` or ``cleared``."""

    @property
    def owner(self) -> str | None:
        """Whose it is."""

    @property
    def deadline(self) -> datetime | None:
        """Until when."""


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


#: Longer than this no feed is silent: the data are an extract of the past.
_NO_FEED_HOURS: Final = 14 * 24


@dataclass(frozen=True)
class Feed:
    """Whether the list is built on a live feed.

    Attributes
    ----------
    newest : datetime or None
        When the newest event was recorded.
    at : datetime
        When this was asked; of a list of the past, the time that it is of.
    limit_minutes : float
        Older than this is stale.
    """

    newest: datetime | None
    at: datetime
    limit_minutes: float

    @property
    def is_stale(self) -> bool:
        """Whether nothing has been received for too long."""
        return self.newest is None or self.at - self.newest > timedelta(minutes=self.limit_minutes)

    @property
    def banner(self) -> str:
        """The warning above the list; empty while the feed is alive."""
        if not self.is_stale:
            return ""
        if self.newest is None:
            return "THE FEED IS STALE: nothing has ever been recorded. Do not rely on this list."
        hours = (self.at - self.newest).total_seconds() / 3600
        if hours >= _NO_FEED_HOURS:
            return (
                "THIS IS A LIST OF THE PAST: the data end at "
                f"{self.newest.isoformat(timespec='minutes')}. Do not rely on it today."
            )
        age = f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:,.0f} days"
        return (
            f"THE FEED IS STALE: nothing has been recorded for {age} (since "
            f"{self.newest.isoformat(timespec='minutes')}). Do not rely on this list."
        )


@dataclass(frozen=True)
class Task:
    """One line of the work list.

    Attributes
    ----------
    rule, version, title : str
    subject_id, stay_id : int
    unit : str or None
    indicator : str
    severity : float
    summary, detail : str
        As on the card.
    since : datetime
        The first time it was known to hold, as far as it holds without a break.
    begun_after : datetime
        The last time looked at when it did not hold yet, or the start of the
        stay: with rule and stay it names the task, whenever the list is made.
    owner : str
        Who acts now: the tier that is reached, or who accepted it.
    tier : int
        0 the rule's owner, then its escalation.
    deadline : datetime or None
    is_overdue : bool
    acknowledged : bool
    missing : tuple of str
        Inputs that are not known.
    """

    rule: str
    version: str
    title: str
    subject_id: int
    stay_id: int
    unit: str | None
    indicator: str
    severity: float
    summary: str
    detail: str
    since: datetime
    begun_after: datetime
    owner: str
    tier: int
    deadline: datetime | None
    is_overdue: bool
    acknowledged: bool
    missing: tuple[str, ...]


@dataclass(frozen=True)
class WorkList:
    """The work list at one time.

    Attributes
    ----------
    tasks : tuple of Task
        The most urgent first: critical before warning before info, overdue
        before others, worse before better, longer before shorter.
    unobserved : polars.DataFrame
        Patients whose observations are overdue: ``subject_id``, ``stay_id``,
        ``unit``, ``last_observed``?, ``score``?, ``due``, ``hours_overdue``; the
        longest first.
    patients : int
        Open stays that were checked.
    feed : Feed
    now : datetime
        What was known then is what the list says.
    identity : str
        The hospital's version.
    """

    tasks: tuple[Task, ...]
    unobserved: pl.DataFrame
    patients: int
    feed: Feed
    now: datetime
    identity: str

    def to_frame(self) -> pl.DataFrame:
        """Return the tasks as a table, without their details."""
        names = [one.name for one in fields(Task) if one.name != "detail"]
        return pl.DataFrame(
            [{name: getattr(one, name) for name in names} for one in self.tasks],
            infer_schema_length=None,
        )


def _open_stays(snapshot: Snapshot) -> pl.DataFrame:
    now = pl.lit(snapshot.now, dtype=TIME)
    return (
        snapshot.stays()
        .filter(pl.col("start") <= now, pl.col("end").is_null() | (pl.col("end") > now))
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


def _tier(rule: Rule, since: datetime, now: datetime) -> tuple[int, str]:
    owner, tier = rule.owner, 0
    for number, step in enumerate(rule.escalation, 1):
        if now - since >= timedelta(minutes=step.after_minutes):
            owner, tier = step.owner, number
    return tier, owner


def _task(
    rule: Rule, row: Mapping[str, Any], answers: Mapping[str, Any], touched: Touched | None,
    snapshot: Snapshot,
) -> Task | None:  # fmt: skip
    now = snapshot.now
    finding = finding_of(rule, answers)
    if not finding.raises or (touched is not None and touched.state == "cleared"):
        return None
    card = card_of(
        finding,
        subject=str(row["subject_id"]),
        stay=str(row["stay_id"]),
        now=now,
        zone=snapshot.zone,
    )
    tier, owner = _tier(rule, row["since"], now)
    deadline = (
        None
        if rule.act_within_minutes is None
        else row["since"] + timedelta(minutes=rule.act_within_minutes)
    )
    taken = touched is not None and touched.state == "acknowledged"
    if touched is not None:
        owner = touched.owner or owner
        deadline = touched.deadline or deadline
    return Task(
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
        owner=owner,
        tier=tier,
        deadline=deadline,
        is_overdue=deadline is not None and deadline <= now,
        acknowledged=taken,
        missing=card.missing,
    )


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

    Returns
    -------
    WorkList
    """
    now = snapshot.now
    stays = _open_stays(snapshot)
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
        tasks=tuple(
            sorted(
                tasks,
                key=lambda one: (
                    _RANKS[one.indicator],
                    not one.is_overdue,
                    -one.severity,
                    one.since,
                    one.stay_id,
                ),
            )
        ),
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
