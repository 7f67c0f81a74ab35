"""Notifications of tasks: what is to be sent by which channel, and what became of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _text_column(name: str, *, optional: bool = False, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=optional, primary_key=primary_key)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "notifications",
        _text_column("id", primary_key=True),
        *map(_text_column, ("channel", "rule", "version", "title", "subject", "stay")),
        _text_column("unit", optional=True),
        *map(_text_column, ("indicator", "owner")),
        sa.Column("tier", sa.Integer(), nullable=False),
        _text_column("since"),
        _text_column("deadline", optional=True),
        *map(_text_column, ("created", "state")),
        sa.Column("tries", sa.Integer(), nullable=False),
        _text_column("next"),
        *(_text_column(name, optional=True) for name in ("ended", "problem")),
    )
    for name in ("channel", "state"):
        op.create_index(f"ix_notifications_{name}", "notifications", [name])
    op.create_table(
        "notification_channels",
        _text_column("channel", primary_key=True),
        _text_column("since"),
    )
