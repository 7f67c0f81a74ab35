"""Saved proposals and scenarios: a second person confirms a proposal; a scenario is shared."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from neva.errors import ConflictError, NotFoundError
from neva.state import tables
from neva.state.columns import required_words, utc

if TYPE_CHECKING:
    from neva.state.audit import Audit
    from neva.state.database import Database
    from neva.state.rule_states import RuleStates

__all__ = ["Proposal", "Proposals", "SavedScenario", "SavedScenarios"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposed change of a rule's state, which another person confirms or declines.

    Attributes
    ----------
    id, rule, version, hash, to, reason, actor : str
    at : datetime
    answer : {"confirmed", "declined"} or None
    answered_by : str or None
    answered_at : datetime or None
    """

    id: str
    rule: str
    version: str
    hash: str
    to: str
    reason: str
    actor: str
    at: datetime
    answer: str | None
    answered_by: str | None
    answered_at: datetime | None


class Proposals:
    """The proposals of a state."""

    def __init__(self, database: Database, audit: Audit, rules: RuleStates):
        self._database = database
        self._audit = audit
        self._rules = rules

    def make(
        self,
        rule: str,
        version: str,
        hash: str,  # noqa: A002
        to: str,
        *,
        reason: str,
        actor: str,
        role: str | None = None,
        at: datetime,
    ) -> Proposal:
        """Propose a change; an open one of the same rule is replaced. Audited."""
        why = required_words(reason, "reason")
        table = tables.proposals
        new = uuid.uuid4().hex
        with self._database.transaction() as connection:
            connection.execute(
                table.update()
                .where(table.c.rule == rule, table.c.answer.is_(None))
                .values(answer="replaced", answered_by=actor, answered_at=utc(at))
            )
            connection.execute(
                table.insert().values(
                    id=new,
                    rule=rule,
                    version=version,
                    hash=hash,
                    to=to,
                    reason=why,
                    actor=actor,
                    at=utc(at),
                )
            )
            self._audit.append(
                at=at,
                actor=actor,
                role=role,
                action="rule-proposed",
                why=why,
                details={"rule": rule, "version": version, "to": to},
                within=connection,
            )
            return self._get(connection, new)

    @staticmethod
    def _get(connection: sa.Connection, proposal: str) -> Proposal:
        table = tables.proposals
        row = connection.execute(sa.select(table).where(table.c.id == proposal)).first()
        if row is None:
            message = "proposal: there is none of that id; found none; see the page of decisions"
            raise NotFoundError(message)
        return Proposal(**row._mapping)

    def open(self, rule: str | None = None) -> list[Proposal]:
        """Return proposals without an answer, oldest first."""
        table = tables.proposals
        chosen = sa.select(table).where(table.c.answer.is_(None)).order_by(table.c.at)
        if rule is not None:
            chosen = chosen.where(table.c.rule == rule)
        with self._database.reading() as connection:
            return [Proposal(**row._mapping) for row in connection.execute(chosen).all()]

    def answer(
        self, proposal: str, *, confirm: bool, actor: str, role: str | None = None, at: datetime
    ) -> Proposal:
        """Confirm or decline; with a confirmation the rule changes, in one transaction.

        Raises
        ------
        ConflictError
            The same person proposed it, or it was answered before.
        NotFoundError
        """
        table = tables.proposals
        with self._database.transaction() as connection:
            found = self._get(connection, proposal)
            if found.answer is not None:
                message = "proposal: already answered; found an answer; propose it again"
                raise ConflictError(message)
            if confirm and found.actor == actor:
                message = "proposal: needs a second person; found the proposer; ask somebody else"
                raise ConflictError(message)
            connection.execute(
                table.update()
                .where(table.c.id == proposal)
                .values(
                    answer="confirmed" if confirm else "declined",
                    answered_by=actor,
                    answered_at=utc(at),
                )
            )
            if confirm:
                self._rules.change(
                    found.rule,
                    found.version,
                    found.hash,
                    found.to,
                    actor=actor,
                    role=role,
                    at=at,
                    within=connection,
                    reason=f"{found.reason} (proposed by {found.actor})",
                )
            else:
                self._audit.append(
                    at=at,
                    actor=actor,
                    role=role,
                    action="rule-declined",
                    why=found.reason,
                    details={"rule": found.rule, "to": found.to},
                    within=connection,
                )
            return self._get(connection, proposal)


@dataclass(frozen=True, slots=True)
class SavedScenario:
    """A saved scenario: its name, YAML text, hospital, who and when."""

    id: str
    name: str
    text: str
    hospital: str
    actor: str
    at: datetime


class SavedScenarios:
    """The saved scenarios of a state."""

    def __init__(self, database: Database):
        self._database = database

    def save(
        self, name: str, text: str, *, hospital: str, actor: str, at: datetime
    ) -> SavedScenario:
        """Save a scenario under a new id: one that was shared by link never changes."""
        made: dict[str, Any] = {
            "id": uuid.uuid4().hex[:12],
            "name": required_words(name, "name", longest=200),
            "text": text,
            "hospital": hospital,
            "actor": actor,
            "at": utc(at),
        }
        with self._database.transaction() as connection:
            connection.execute(tables.scenarios.insert().values(**made))
        return SavedScenario(**made)

    def get(self, scenario: str) -> SavedScenario:
        """Return one.

        Raises
        ------
        NotFoundError
        """
        table = tables.scenarios
        with self._database.reading() as connection:
            row = connection.execute(sa.select(table).where(table.c.id == scenario)).first()
        if row is None:
            message = "scenario: there is none of that id; found none; see the list of scenarios"
            raise NotFoundError(message)
        return SavedScenario(**row._mapping)

    def all(self) -> list[SavedScenario]:
        """Return all, the newest first."""
        table = tables.scenarios
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.at.desc())).all()
        return [SavedScenario(**row._mapping) for row in rows]
