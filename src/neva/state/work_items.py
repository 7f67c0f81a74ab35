"""What people did with the items of the work list: acknowledged, escalated, cleared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection

from neva.errors import ConflictError
from neva.state import tables
from neva.state.columns import LONGEST_KEY, required_words, utc

if TYPE_CHECKING:
    from neva.state.audit import Audit
    from neva.state.database import Database

__all__ = ["WorkItem", "WorkItems"]


@dataclass(frozen=True, slots=True)
class WorkItem:
    """An item of the work list that a user has acted on.

    Attributes
    ----------
    rule, stay : str
    since : datetime
        Aware; since when the rule holds for the stay. The three name the item.
    state : str
        ``acknowledged``, ``escalated`` or ``cleared``.
    owner : str or None
        Whose it is now.
    deadline : datetime or None
        Aware.
    reason : str or None
    actor : str
        Who changed it last.
    at : datetime
        Aware; when.
    """

    rule: str
    stay: str
    since: datetime
    state: str
    owner: str | None
    deadline: datetime | None
    reason: str | None
    actor: str
    at: datetime


class WorkItems:
    """The items that were touched; those that were not are only in the work list.

    An item is named by rule, stay and the time since which the rule holds, so
    one that comes again is a new one. What is cleared stays cleared.
    """

    def __init__(self, database: Database, audit: Audit):
        self._database = database
        self._audit = audit

    def last_change(self) -> tuple[int, datetime | None]:
        """Return how many items were touched, and when one was last."""
        asked = sa.select(sa.func.count(), sa.func.max(tables.work_items.c.at))
        with self._database.reading() as connection:
            count, last = connection.execute(asked).one()
        return count, last

    def acknowledge(
        self,
        rule_id: str,
        stay_id: str | int,
        since: datetime,
        *,
        actor: str,
        at: datetime,
        owner: str | None = None,
        deadline: datetime | None = None,
        reason: str | None = None,
        role: str | None = None,
        within: Connection | None = None,
    ) -> WorkItem:
        """Record that a user has accepted the item: the owner, else the actor.

        Without `deadline` the one it has stays.

        Raises
        ------
        ConflictError
            It was cleared.
        """
        new = _item(rule_id, stay_id, since, "acknowledged", actor, at, reason)
        new = replace(new, owner=owner or actor, deadline=deadline)
        return self._change(new, role=role, within=within)

    def escalate(
        self,
        rule_id: str,
        stay_id: str | int,
        since: datetime,
        *,
        to: str,
        actor: str,
        reason: str,
        at: datetime,
        deadline: datetime | None = None,
        role: str | None = None,
        within: Connection | None = None,
    ) -> WorkItem:
        """Hand the item up to another owner, with a reason.

        Raises
        ------
        ConflictError
            It was cleared.
        """
        reason = required_words(reason, "reason")
        new = _item(rule_id, stay_id, since, "escalated", actor, at, reason)
        new = replace(new, owner=required_words(to, "to"), deadline=deadline)
        return self._change(new, role=role, within=within)

    def clear(
        self,
        rule_id: str,
        stay_id: str | int,
        since: datetime,
        *,
        actor: str,
        reason: str,
        at: datetime,
        role: str | None = None,
        within: Connection | None = None,
    ) -> WorkItem:
        """Say that nothing is left to do, with a reason; it does not come back.

        Raises
        ------
        ConflictError
            It was cleared before.
        """
        reason = required_words(reason, "reason")
        new = _item(rule_id, stay_id, since, "cleared", actor, at, reason)
        return self._change(new, role=role, within=within)

    def of(
        self,
        rule_id: str,
        stay_id: str | int,
        since: datetime,
        *,
        within: Connection | None = None,
    ) -> WorkItem | None:
        """Return the item; None if nobody has acted on it."""
        with self._database.reading(within) as connection:
            row = connection.execute(
                sa.select(tables.work_items).where(_is_item(rule_id, str(stay_id), since))
            ).first()
        return WorkItem(**row._mapping) if row else None

    def to_frame(self, *, include_cleared: bool = True) -> pl.DataFrame:
        """Return all items that a user has acted on.

        Returns
        -------
        polars.DataFrame
            The columns of :class:`WorkItem`, sorted by `since`, rule, stay;
            times are Datetime UTC, the others String.
        """
        table = tables.work_items
        schema: dict[str, Any] = {column.name: pl.String for column in table.c}
        schema |= dict.fromkeys(("since", "deadline", "at"), pl.Datetime("us", "UTC"))
        chosen = sa.select(table).order_by(table.c.since, table.c.rule, table.c.stay)
        if not include_cleared:
            chosen = chosen.where(table.c.state != "cleared")
        with self._database.reading() as connection:
            rows = [tuple(row) for row in connection.execute(chosen)]
        return pl.DataFrame(rows, schema=schema, orient="row")

    def _change(self, new: WorkItem, *, role: str | None, within: Connection | None) -> WorkItem:
        table = tables.work_items
        with self._database.writing(within) as connection:
            old = self.of(new.rule, new.stay, new.since, within=connection)
            if old is not None and old.state == "cleared":
                message = (
                    f"{new.rule}: the item is done; found it cleared on {old.at:%Y-%m-%d %H:%M} "
                    "UTC; if the rule holds again, a new item appears"
                )
                raise ConflictError(message)
            if old is not None and new.deadline is None:
                new = replace(new, deadline=old.deadline)
            if old is not None and new.owner is None:
                new = replace(new, owner=old.owner)
            values = {name: getattr(new, name) for name in WorkItem.__slots__}
            if old is None:
                connection.execute(table.insert(), values)
            else:
                is_item = _is_item(new.rule, new.stay, new.since)
                connection.execute(table.update().where(is_item).values(values))
            self._audit.append(
                at=new.at,
                actor=new.actor,
                role=role,
                action="work-changed",
                stay=new.stay,
                why=new.reason or f"the item was {new.state}",
                details={
                    "rule": new.rule,
                    "since": new.since.isoformat(),
                    "from": old.state if old else None,
                    "to": new.state,
                    "owner": new.owner,
                    "deadline": new.deadline.isoformat() if new.deadline else None,
                },
                within=connection,
            )
        return new


def _item(
    rule_id: str,
    stay_id: str | int,
    since: datetime,
    state: str,
    actor: str,
    at: datetime,
    reason: str | None,
) -> WorkItem:
    return WorkItem(
        rule=required_words(rule_id, "rule", longest=LONGEST_KEY),
        stay=required_words(str(stay_id), "stay", longest=LONGEST_KEY),
        since=utc(since, "since"),
        state=state,
        owner=None,
        deadline=None,
        reason=reason,
        actor=required_words(actor, "actor"),
        at=utc(at),
    )


def _is_item(rule_id: str, stay_id: str, since: datetime) -> sa.ColumnElement[bool]:
    table = tables.work_items
    return sa.and_(table.c.rule == rule_id, table.c.stay == stay_id, table.c.since == utc(since))
