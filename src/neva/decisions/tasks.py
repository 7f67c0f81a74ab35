"""Tasks of the work list: whose they are, by when, how urgent, and how time moves them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

import polars as pl

from neva.decisions.rules import Rule
from neva.events.schema import TIME

__all__ = [
    "Feed",
    "Task",
    "Touched",
    "WorkList",
    "as_of_now",
    "renewed_work_list",
    "urgency_of",
    "with_earlier_beginnings",
]

#: How urgent each indicator is.
_RANKS: Final = {"critical": 0, "warning": 1, "info": 2}


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


def _tier(rule: Rule, since: datetime, now: datetime) -> tuple[int, str]:
    owner, tier = rule.owner, 0
    for number, step in enumerate(rule.escalation, 1):
        if now - since >= timedelta(minutes=step.after_minutes):
            owner, tier = step.owner, number
    return tier, owner


def urgency_of(task: Task) -> tuple[int, bool, float, datetime, int]:
    """Return what sorts tasks, the most urgent first."""
    return (
        _RANKS[task.indicator], not task.is_overdue, -task.severity, task.since, task.stay_id,
    )  # fmt: skip


def renewed_work_list(
    earlier: WorkList,
    part: WorkList,
    subjects: Collection[int],
    present: Collection[int],
    rules: Sequence[Rule],
    *,
    touched: Mapping[tuple[str, str, datetime], Touched] | None = None,
) -> WorkList:
    """Put what was found of some patients into an earlier list of all.

    What follows from the clock alone (tier, overdue, hours overdue) is that of the
    new list's *now* for everybody. That a rule begins to hold for another patient
    because time passes is seen when the whole list is made again.

    Parameters
    ----------
    earlier : WorkList
        Of all patients.
    part : WorkList
        Of `subjects` only, made now.
    subjects : collection of int
    present : collection of int
        Stays that are open now; tasks of others are dropped.
    rules : sequence of Rule
        By which both were made.
    touched : mapping, optional
        As for :func:`work_list`.

    Returns
    -------
    WorkList
    """
    of_subjects, open_now = set(subjects), set(present)
    by_name = {rule.id: rule for rule in rules}
    kept = (
        as_of_now(one, by_name[one.rule], (touched or {}).get(_key(one)), part.now)
        for one in earlier.tasks
        if one.subject_id not in of_subjects and one.stay_id in open_now and one.rule in by_name
    )
    tasks = [one for one in kept if one is not None]
    others = earlier.unobserved.filter(
        ~pl.col("subject_id").is_in(list(of_subjects)), pl.col("stay_id").is_in(list(open_now))
    ).with_columns(
        hours_overdue=(pl.lit(part.now, dtype=TIME) - pl.col("due")).dt.total_microseconds() / 3.6e9
    )
    return replace(
        part,
        tasks=tuple(sorted((*tasks, *part.tasks), key=urgency_of)),
        unobserved=pl.concat([others, part.unobserved]).sort("hours_overdue", descending=True),
        patients=len(open_now),
    )


def with_earlier_beginnings(
    listed: WorkList,
    earlier: WorkList,
    rules: Sequence[Rule],
    *,
    touched: Mapping[tuple[str, str, datetime], Touched] | None = None,
) -> WorkList:
    """Give tasks that an earlier list had already the time since which they were on it.

    Between two hours at which everybody is looked at, a task that began because
    time passed would else begin, and be due, later with each new list.

    Parameters
    ----------
    listed, earlier : WorkList
    rules : sequence of Rule
    touched : mapping, optional

    Returns
    -------
    WorkList
    """
    known = {_key(one): one.since for one in earlier.tasks}
    by_name = {rule.id: rule for rule in rules}
    tasks = []
    for one in listed.tasks:
        since = min(one.since, known.get(_key(one), one.since))
        if since < one.since:
            done = (touched or {}).get(_key(one))
            again = as_of_now(replace(one, since=since), by_name[one.rule], done, listed.now)
            tasks.append(again or one)
        else:
            tasks.append(one)
    return replace(listed, tasks=tuple(sorted(tasks, key=urgency_of)))


def _key(task: Task) -> tuple[str, str, datetime]:
    return task.rule, str(task.stay_id), task.begun_after


def as_of_now(task: Task, rule: Rule, done: Touched | None, now: datetime) -> Task | None:
    """Give a task the owner, deadline and state that it has at a time; None: it was cleared."""
    if done is not None and done.state == "cleared":
        return None
    tier, owner = _tier(rule, task.since, now)
    deadline = _deadline(rule, task.since)
    if done is not None:
        owner, deadline = done.owner or owner, done.deadline or deadline
    return replace(
        task,
        tier=tier,
        owner=owner,
        deadline=deadline,
        is_overdue=deadline is not None and deadline <= now,
        acknowledged=done is not None and done.state == "acknowledged",
    )


def _deadline(rule: Rule, since: datetime) -> datetime | None:
    if rule.act_within_minutes is None:
        return None
    return since + timedelta(minutes=rule.act_within_minutes)
