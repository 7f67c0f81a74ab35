"""Tables of the web application: accounts, sessions, jobs, entries, scenarios, proposals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _text_column(name: str, *, optional: bool = False, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=optional, primary_key=primary_key)


def _number_column() -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", kind, primary_key=True, autoincrement=True)


def _optional(*names: str) -> list[sa.Column[str]]:
    return [_text_column(name, optional=True) for name in names]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "accounts",
        _text_column("name", primary_key=True),
        *map(_text_column, ("shown", "role")),
        *_optional("units", "password", "issuer"),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        _text_column("changed"),
    )
    op.create_table(
        "sessions",
        _text_column("id", primary_key=True),
        *map(_text_column, ("account", "csrf", "begun", "seen", "ends")),
    )
    op.create_index("ix_sessions_account", "sessions", ["account"])
    op.create_index("ix_sessions_ends", "sessions", ["ends"])
    op.create_table(
        "purposes",
        *map(_text_column, ("session", "subject", "purpose", "until")),
        sa.PrimaryKeyConstraint("session", "subject", name="purpose_once"),
    )
    op.create_table("attempts", _number_column(), *map(_text_column, ("what", "at")))
    op.create_index("ix_attempts_what", "attempts", ["what"])
    op.create_index("ix_attempts_at", "attempts", ["at"])
    op.create_table(
        "jobs",
        _text_column("id", primary_key=True),
        *map(_text_column, ("kind", "key", "parameters", "state", "actor", "at")),
        *_optional("begun", "ended", "beat", "worker"),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("tries", "done", "of")),
        _text_column("words"),
        *_optional("error", "result"),
    )
    for name in ("key", "state", "at"):
        op.create_index(f"ix_jobs_{name}", "jobs", [name])
    op.create_table("job_log", _number_column(), *map(_text_column, ("job", "at", "words")))
    op.create_index("ix_job_log_job", "job_log", ["job"])
    op.create_table(
        "entries",
        _text_column("id", primary_key=True),
        _text_column("subject"),
        _text_column("stay", optional=True),
        _text_column("kind"),
        _text_column("value", optional=True),
        _text_column("details"),
        *_optional("start", "end"),
        *map(_text_column, ("actor", "at")),
        *_optional("withdrawn_at", "withdrawn_by"),
        sa.Column("flushed", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_entries_flushed", "entries", ["flushed"])
    op.create_table(
        "scenarios",
        _text_column("id", primary_key=True),
        *map(_text_column, ("name", "text", "hospital", "actor", "at")),
    )
    op.create_table(
        "proposals",
        _text_column("id", primary_key=True),
        *map(_text_column, ("rule", "version", "hash", "to", "reason", "actor", "at")),
        *_optional("answer", "answered_by", "answered_at"),
    )
