"""Notifications of tasks: each written down once, sent by a channel, and what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from neva.state import tables
from neva.state.columns import utc

if TYPE_CHECKING:
    from neva.state.audit import Audit
    from neva.state.database import Database

__all__ = ["STATES", "Due", "Notification", "Notifications", "id_of"]

#: ``waiting``: to be sent; ``sent``; ``not-needed``: the task was over, accepted or handed on
#: before, or older than the channel; ``failed``: given up.
STATES: Final = ("waiting", "sent", "not-needed", "failed")
#: What became of a notification is known for so long.
_KEPT_FOR: Final = timedelta(days=90)
#: Who sends one has so long: then another process may send it.
_LEASE: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Notification:
    """A task that somebody is notified of by one channel.

    Attributes
    ----------
    id : str
        Of rule, stay, beginning, owner, tier and channel: the same is sent once.
    channel, rule, version, title : str
    subject, stay : str
        Pseudonyms.
    unit : str or None
    indicator, owner : str
    tier : int
        Above 0: an escalation.
    since : datetime
        Aware; since when the task is on the list.
    deadline : datetime or None
    """

    id: str
    channel: str
    rule: str
    version: str
    title: str
    subject: str
    stay: str
    unit: str | None
    indicator: str
    owner: str
    tier: int
    since: datetime
    deadline: datetime | None


@dataclass(frozen=True, slots=True)
class Due:
    """A notification that is to be sent now.

    Attributes
    ----------
    notification : Notification
    tries : int
        The how manieth attempt it is.
    created : datetime
        When it was written down.
    """

    notification: Notification
    tries: int
    created: datetime


def id_of(
    channel: str, rule: str, stay: str | int, begun_after: datetime, owner: str, tier: int
) -> str:
    """Name a notification: what is the same task for the same people has the same name.

    Examples
    --------
    >>> from datetime import UTC
    >>> len(id_of("pager", "sepsis.lactate", 7, datetime(2026, 1, 1, tzinfo=UTC), "ward", 0))
    32
    """
    parts = (channel, rule, str(stay), utc(begun_after).isoformat(), owner, str(tier))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


class Notifications:
    """What is to be sent, and what was."""

    def __init__(self, database: Database, audit: Audit):
        self._database, self._audit = database, audit

    def note(self, wanted: Sequence[Notification], *, channels: Sequence[str], at: datetime) -> int:
        """Write down what is to be sent, each once; and that what waits is needed no more.

        Of a channel that was not there before, what is wanted now was on the list
        already: it is not sent.

        Parameters
        ----------
        wanted : sequence of Notification
            For every open task that somebody must know of, whether it was sent or not.
        channels : sequence of str
            All of them.
        at : datetime

        Returns
        -------
        int
            How many are to be sent now.
        """
        table, places = tables.notifications, tables.notification_channels
        by_id = {one.id: one for one in wanted}
        with self._database.reading() as connection:
            begun = set(connection.scalars(sa.select(places.c.channel)))
            waiting = _ids(connection, table.c.state == "waiting")
            known = {
                one
                for part in _parts(sorted(by_id))
                for one in _ids(connection, table.c.id.in_(part))
            }
        first = sorted(set(channels) - begun)
        new = [one for name, one in by_id.items() if name not in known]
        over = sorted(waiting - set(by_id))
        if not (new or over or first):
            return 0
        count = 0
        with self._database.transaction() as connection:
            for part in _parts(over):
                connection.execute(
                    table.update()
                    .where(table.c.id.in_(part), table.c.state == "waiting")
                    .values(state="not-needed", ended=at)
                )
            for one in new:
                # Another worker may have written it meanwhile.
                if _ids(connection, table.c.id == one.id):
                    continue
                is_told = one.channel not in first
                connection.execute(
                    table.insert().values(
                        **{field.name: getattr(one, field.name) for field in fields(one)},
                        created=at,
                        state="waiting" if is_told else "not-needed",
                        tries=0,
                        next=at,
                        ended=None if is_told else at,
                    )
                )
                count += is_told
            for channel in first:
                if connection.scalar(
                    sa.select(places.c.channel).where(places.c.channel == channel)
                ) is None:  # fmt: skip
                    connection.execute(places.insert().values(channel=channel, since=at))
            connection.execute(table.delete().where(table.c.ended < utc(at) - _KEPT_FOR))
        return count

    def take(self, channel: str, *, at: datetime, most: int) -> list[Due]:
        """Take what is due, the most urgent first.

        What is taken and neither sent nor tried again is due again after two minutes.
        """
        table, now = tables.notifications, utc(at)
        urgency = sa.case({"critical": 0, "warning": 1}, value=table.c.indicator, else_=2)
        due = sa.and_(table.c.channel == channel, table.c.state == "waiting", table.c.next <= now)
        found = []
        with self._database.transaction() as connection:
            rows = connection.execute(
                sa.select(table).where(due).order_by(urgency, table.c.since, table.c.id).limit(most)
            ).all()
            for row in rows:
                taken = connection.execute(
                    table.update()
                    .where(table.c.id == row.id, due)
                    .values(tries=row.tries + 1, next=now + _LEASE)
                )
                if taken.rowcount:
                    values = {one.name: getattr(row, one.name) for one in fields(Notification)}
                    found.append(Due(Notification(**values), row.tries + 1, row.created))
        return found

    def sent(self, one: Notification, *, at: datetime) -> None:
        """Write down, and audit, that it was sent."""
        with self._database.transaction() as connection:
            self._end(connection, one.id, "sent", at, None)
            self._audit.append(
                at=at,
                actor="neva",
                action="task-notified",
                subject=one.subject,
                stay=one.stay,
                why="a task is on the work list" if not one.tier else "a task was escalated",
                details={
                    "rule": one.rule,
                    "channel": one.channel,
                    "owner": one.owner,
                    "tier": one.tier,
                },
                within=connection,
            )

    def try_again(self, one: Notification, *, after: datetime, problem: str) -> None:
        """Write down that it could not be sent, and when it is tried again."""
        table = tables.notifications
        with self._database.transaction() as connection:
            connection.execute(
                table.update().where(table.c.id == one.id).values(next=after, problem=problem)
            )

    def give_up(self, one: Notification, *, at: datetime, problem: str) -> None:
        """Write down that it is not tried again."""
        with self._database.transaction() as connection:
            self._end(connection, one.id, "failed", at, problem)

    def _end(
        self, connection: sa.Connection, id_: str, state: str, at: datetime, problem: str | None
    ) -> None:
        table = tables.notifications
        connection.execute(
            table.update().where(table.c.id == id_).values(state=state, ended=at, problem=problem)
        )

    def sent_since(self, channel: str, since: datetime) -> int:
        """Count what a channel has sent since a time."""
        table = tables.notifications
        chosen = sa.select(sa.func.count()).where(
            table.c.channel == channel, table.c.state == "sent", table.c.ended >= utc(since)
        )
        with self._database.reading() as connection:
            return int(connection.execute(chosen).scalar_one())

    def counts(self) -> dict[str, dict[str, int]]:
        """Count by channel and state: those of the last 90 days."""
        table = tables.notifications
        chosen = sa.select(table.c.channel, table.c.state, sa.func.count()).group_by(
            table.c.channel, table.c.state
        )
        found: dict[str, dict[str, int]] = {}
        with self._database.reading() as connection:
            for channel, state, count in connection.execute(chosen):
                found.setdefault(channel, dict.fromkeys(STATES, 0))[state] = count
        return found

    def problems(self) -> dict[str, str]:
        """Return, by channel, why the last one that waits or was given up could not be sent."""
        table = tables.notifications
        chosen = (
            sa.select(table.c.channel, table.c.problem)
            .where(table.c.problem.is_not(None))
            .order_by(table.c.next)
        )
        with self._database.reading() as connection:
            return {row.channel: row.problem for row in connection.execute(chosen)}


def _ids(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> set[str]:
    return set(connection.scalars(sa.select(tables.notifications.c.id).where(chosen)))


def _parts(ids: Sequence[str] | Collection[str], size: int = 500) -> list[list[str]]:
    names = list(ids)
    return [names[at : at + size] for at in range(0, len(names), size)]
