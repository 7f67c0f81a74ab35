"""States of rules: draft, silent, live, retired; who changed them, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import Connection

from neva.errors import ConflictError, UsageError
from neva.state import tables
from neva.state.columns import LONGEST_KEY, required_words, utc

if TYPE_CHECKING:
    from neva.state.audit import Audit
    from neva.state.database import Database

__all__ = ["NEXT", "RuleState", "RuleStates"]

#: Which state may follow which; None is a rule that was never seen.
NEXT: Mapping[str | None, tuple[str, ...]] = {
    None: ("draft",),
    "draft": ("draft", "silent", "retired"),
    "silent": ("silent", "live", "retired"),
    "live": ("silent", "retired"),
    "retired": (),
}


@dataclass(frozen=True, slots=True)
class RuleState:
    """The state of a rule.

    Attributes
    ----------
    rule, version, hash : str
        `hash` is that of the definition's content with its codelists.
    state : str
        ``draft``, ``silent``, ``live`` or ``retired``.
    since : datetime
        Aware, UTC.
    actor, reason : str
        Who put it there, and why.
    """

    rule: str
    version: str
    hash: str
    state: str
    since: datetime
    actor: str
    reason: str

    @property
    def is_evaluated(self) -> bool:
        """Whether the rule runs, be it in silence."""
        return self.state in {"silent", "live"}


class RuleStates:
    """The states of all rules."""

    def __init__(self, database: Database, audit: Audit):
        self._database = database
        self._audit = audit

    def state_of(self, rule_id: str, *, within: Connection | None = None) -> RuleState | None:
        """Return the state of a rule; None if it was never seen."""
        table = tables.rule_states
        with self._database.reading(within) as connection:
            row = connection.execute(sa.select(table).where(table.c.rule == rule_id)).first()
        return RuleState(**row._mapping) if row else None

    def all(self) -> list[RuleState]:
        """Return the states of all rules, by id."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(tables.rule_states)).all()
        return sorted((RuleState(**row._mapping) for row in rows), key=lambda one: one.rule)

    def change(
        self,
        rule_id: str,
        version: str,
        hash: str,  # noqa: A002  the contract's word
        to: str,
        *,
        actor: str,
        reason: str,
        at: datetime,
        role: str | None = None,
        within: Connection | None = None,
    ) -> RuleState:
        """Change the state of a rule, and audit it in the same transaction.

        Parameters
        ----------
        rule_id, version, hash : str
            Which rule, and exactly which definition.
        to : str
            ``draft`` → ``silent`` → ``live`` → ``retired``; also from
            ``live`` back to ``silent``, and from any state to ``retired``.
            A draft or a silent rule may be put there again with another
            version or hash.
        actor, reason : str
            Not empty.
        at : datetime
            Aware.

        Raises
        ------
        ConflictError
            The change is not allowed. A rule becomes live only with the
            version and hash that were silent; nothing leaves ``retired``.
        UsageError
            `to` is no state, or a text is empty.
        """
        if to not in NEXT:
            states = ", ".join(str(name) for name in NEXT if name)
            message = f"{rule_id}: no such state of a rule; found {to!r}; choose of {states}"
            raise UsageError(message)
        new = RuleState(
            rule=required_words(rule_id, "rule", longest=LONGEST_KEY),
            version=required_words(version, "version"),
            hash=required_words(hash, "hash"),
            state=to,
            since=utc(at),
            actor=required_words(actor, "actor"),
            reason=required_words(reason, "reason"),
        )
        table = tables.rule_states
        with self._database.writing(within) as connection:
            old = self.state_of(new.rule, within=connection)
            _may_follow(old, new)
            values = {name: getattr(new, name) for name in RuleState.__slots__}
            if old is None:
                connection.execute(table.insert(), values)
            else:
                changed = table.update().where(table.c.rule == new.rule)
                connection.execute(changed.values(values))
            connection.execute(
                tables.rule_changes.insert(),
                {
                    "rule": new.rule,
                    "version": new.version,
                    "hash": new.hash,
                    "from_state": old.state if old else None,
                    "state": to,
                    "at": new.since,
                    "actor": new.actor,
                    "reason": new.reason,
                },
            )
            self._audit.append(
                at=at,
                actor=actor,
                role=role,
                action="rule-changed",
                why=reason,
                details={
                    "rule": new.rule,
                    "version": new.version,
                    "hash": new.hash,
                    "from": old.state if old else None,
                    "to": to,
                },
                within=connection,
            )
        return new

    def history(self, rule_id: str | None = None) -> pl.DataFrame:
        """Return every change of a rule (of all rules), oldest first.

        Returns
        -------
        polars.DataFrame
            ``rule``, ``version``, ``hash``, ``from_state`` (null at first),
            ``state``, ``actor``, ``reason`` String; ``at`` Datetime UTC.
        """
        table = tables.rule_changes
        names = ("rule", "version", "hash", "from_state", "state", "at", "actor", "reason")
        schema: dict[str, Any] = dict.fromkeys(names, pl.String)
        schema["at"] = pl.Datetime("us", "UTC")
        chosen = sa.select(*(table.c[name] for name in names)).order_by(table.c.id)
        if rule_id is not None:
            chosen = chosen.where(table.c.rule == rule_id)
        with self._database.reading() as connection:
            rows = [tuple(row) for row in connection.execute(chosen)]
        return pl.DataFrame(rows, schema=schema, orient="row")


def _may_follow(old: RuleState | None, new: RuleState) -> None:
    """Refuse a change that is not allowed, and say what to do."""
    before = old.state if old else None
    is_same = old is not None and (old.version, old.hash) == (new.version, new.hash)
    if before == "live" and new.state == "live" and not is_same:
        message = (
            f"{new.rule}: a live rule's definition may not change; found version {new.version} "
            "with other content than the live one's; make the rule silent with the new version "
            "first, and live when it has proved itself"
        )
        raise ConflictError(message)
    if before == "silent" and new.state == "live" and not is_same:
        message = (
            f"{new.rule}: only what was silent becomes live; found version {new.version} with "
            "other content than the silent one's; make this version silent first"
        )
        raise ConflictError(message)
    if is_same and before == new.state:
        message = f"{new.rule}: is {before} already; found the same version; nothing to change"
        raise ConflictError(message)
    if new.state not in NEXT[before]:
        allowed = ", ".join(NEXT[before]) or "nothing: a retired rule gets a new id"
        message = (
            f"{new.rule}: a rule may not go from {before or 'unknown'} to {new.state}; found it "
            f"{before or 'unknown'}; allowed is {allowed}"
        )
        raise ConflictError(message)
