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
    "accounts",
    "attempts",
    "audit",
    "cards",
    "devices",
    "entries",
    "feedback",
    "job_log",
    "jobs",
    "metadata",
    "notification_channels",
    "notifications",
    "proposals",
    "purposes",
    "rule_changes",
    "rule_states",
    "scenarios",
    "sessions",
    "tokens",
    "work_items",
    "workers",
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
    Column("service", Words),
    Column("client", Words),
    Column("tenant", Words),
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

notifications = Table(
    "notifications",
    metadata,
    Column("id", Text, primary_key=True),
    Column("channel", Words, nullable=False, index=True),
    Column("rule", Words, nullable=False),
    Column("version", Words, nullable=False),
    Column("title", Words, nullable=False),
    Column("subject", Words, nullable=False),
    Column("stay", Words, nullable=False),
    Column("unit", Words),
    Column("indicator", Text, nullable=False),
    Column("owner", Words, nullable=False),
    Column("tier", Integer, nullable=False),
    Column("since", Moment, nullable=False),
    Column("deadline", Moment),
    Column("created", Moment, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("tries", Integer, nullable=False),
    Column("next", Moment, nullable=False),
    Column("ended", Moment),
    Column("problem", Words),
)

notification_channels = Table(
    "notification_channels",
    metadata,
    Column("channel", Words, primary_key=True),
    Column("since", Moment, nullable=False),
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

accounts = Table(
    "accounts",
    metadata,
    Column("name", Words, primary_key=True),
    Column("shown", Words, nullable=False),
    Column("role", Text, nullable=False),
    Column("units", Text),
    Column("password", Text),
    Column("issuer", Words),
    Column("disabled", Boolean, nullable=False),
    Column("changed", Moment, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Words, nullable=False, index=True),
    Column("csrf", Text, nullable=False),
    Column("begun", Moment, nullable=False),
    Column("seen", Moment, nullable=False),
    Column("ends", Moment, nullable=False, index=True),
)

purposes = Table(
    "purposes",
    metadata,
    Column("session", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("purpose", Words, nullable=False),
    Column("until", Moment, nullable=False),
    PrimaryKeyConstraint("session", "subject", name="purpose_once"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("what", Text, primary_key=True),
    Column("failures", Float, nullable=False),
    Column("at", Moment, nullable=False),
    Column("next", Moment, nullable=False),
    Column("forgotten_in", Integer, nullable=False),
    Column("until", Moment, nullable=False, index=True),
)

devices = Table(
    "devices",
    metadata,
    Column("device", Text, nullable=False),
    Column("account", Words, nullable=False, index=True),
    Column("until", Moment, nullable=False, index=True),
    PrimaryKeyConstraint("device", "account", name="device_once"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("key", Text, nullable=False, index=True),
    Column("parameters", Text, nullable=False),
    Column("state", Text, nullable=False, index=True),
    Column("actor", Words, nullable=False),
    Column("at", Moment, nullable=False, index=True),
    Column("begun", Moment),
    Column("ended", Moment),
    Column("beat", Moment),
    Column("worker", Text),
    Column("tries", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("of", Integer, nullable=False),
    Column("words", Words, nullable=False),
    Column("error", Words),
    Column("result", Text),
)

job_log = Table(
    "job_log",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=True),
    Column("job", Text, nullable=False, index=True),
    Column("at", Moment, nullable=False),
    Column("words", Words, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("begun", Moment, nullable=False),
    Column("seen", Moment, nullable=False, index=True),
)

entries = Table(
    "entries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("stay", Text),
    Column("kind", Text, nullable=False),
    Column("value", Words),
    Column("details", Text, nullable=False),
    Column("start", Moment),
    Column("end", Moment),
    Column("actor", Words, nullable=False),
    Column("at", Moment, nullable=False),
    Column("withdrawn_at", Moment),
    Column("withdrawn_by", Words),
    Column("flushed", Boolean, nullable=False, index=True),
)

scenarios = Table(
    "scenarios",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Words, nullable=False),
    Column("text", Words, nullable=False),
    Column("hospital", Text, nullable=False),
    Column("actor", Words, nullable=False),
    Column("at", Moment, nullable=False),
)

proposals = Table(
    "proposals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("rule", Words, nullable=False),
    Column("version", Words, nullable=False),
    Column("hash", Words, nullable=False),
    Column("to", Text, nullable=False),
    Column("reason", Words, nullable=False),
    Column("actor", Words, nullable=False),
    Column("at", Moment, nullable=False),
    Column("answer", Text),
    Column("answered_by", Words),
    Column("answered_at", Moment),
)
