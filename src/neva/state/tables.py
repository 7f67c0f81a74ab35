"""The tables of the state, as SQLAlchemy sees them; migrations make them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

from neva.state.columns import Moment, Words

__all__ = [
    "audit",
    "cards",
    "feedback",
    "metadata",
    "rule_changes",
    "rule_states",
    "tokens",
    "work_items",
]

metadata = MetaData()

#: SQLite numbers rows by itself only in a column that is called INTEGER.
_Number = BigInteger().with_variant(Integer(), "sqlite")

rule_states = Table(
    "rule_states",
    metadata,
    Column("rule", Words, primary_key=True),
    Column("version", Words, nullable=False),
    Column("hash", Words, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", Moment, nullable=False),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
)

rule_changes = Table(
    "rule_changes",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("rule", Words, nullable=False, index=True),
    Column("version", Words, nullable=False),
    Column("hash", Words, nullable=False),
    Column("from_state", Text),
    Column("state", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("actor", Words, nullable=False),
    Column("reason", Words, nullable=False),
)

cards = Table(
    "cards",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("card", Words, nullable=False, index=True),
    Column("rule", Words, nullable=False),
    Column("version", Words, nullable=False),
    Column("hash", Words, nullable=False),
    Column("subject", Words, nullable=False, index=True),
    Column("stay", Words),
    Column("unit", Words),
    Column("now", Moment, nullable=False, index=True),
    Column("hook", Words),
    Column("state", Text, nullable=False),
    Column("indicator", Text, nullable=False),
    Column("severity", Float),
    Column("shown", Boolean, nullable=False),
    Column("suppressed_because", Words),
    Column("inputs_hash", Words, nullable=False),
    Column("work_key", Words),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("fingerprint", Text, nullable=False),
    Column("service", Words, nullable=False),
    Column("card", Words, nullable=False, index=True),
    Column("outcome", Text, nullable=False),
    Column("accepted_suggestions", Text, nullable=False),
    Column("reason_code", Words),
    Column("reason_system", Words),
    Column("reason_display", Words),
    Column("comment", Words),
    Column("outcome_at", Moment, nullable=False),
    Column("received", Moment, nullable=False, index=True),
    Column("times_received", Integer, nullable=False),
    UniqueConstraint("fingerprint", name="feedback_once"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("issuer_jti", Text, nullable=False),
    Column("expires", Moment, nullable=False, index=True),
    PrimaryKeyConstraint("issuer_jti", name="token_taken_once"),
)

work_items = Table(
    "work_items",
    metadata,
    Column("rule", Words, nullable=False),
    Column("stay", Words, nullable=False),
    Column("since", Moment, nullable=False),
    Column("state", Text, nullable=False),
    Column("owner", Words),
    Column("deadline", Moment),
    Column("reason", Words),
    Column("actor", Words, nullable=False),
    Column("at", Moment, nullable=False),
    PrimaryKeyConstraint("rule", "stay", "since", name="work_item_once"),
    Index("work_items_by_state", "state"),
)

audit = Table(
    "audit",
    metadata,
    Column("number", _Number, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("actor", Words, nullable=False),
    Column("role", Words),
    Column("action", Text, nullable=False),
    Column("subject", Words),
    Column("stay", Words),
    Column("why", Words, nullable=False),
    Column("details", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("seal", Text, nullable=False),
    Column("hash", Text, nullable=False),
)
