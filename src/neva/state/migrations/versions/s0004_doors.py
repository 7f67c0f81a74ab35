"""Attempts to sign in by a growing wait, known devices, and whose card it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _text_column(name: str, *, optional: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=optional)


def upgrade() -> None:
    """Make the tables and columns; attempts of the last minutes are forgotten."""
    op.drop_table("attempts")
    op.create_table(
        "attempts",
        sa.Column("what", sa.Text(), primary_key=True, nullable=False),
        sa.Column("failures", sa.Float(), nullable=False),
        *map(_text_column, ("at", "next")),
        sa.Column("forgotten_in", sa.Integer(), nullable=False),
        _text_column("until"),
    )
    op.create_index("ix_attempts_until", "attempts", ["until"])
    op.create_table(
        "devices",
        *map(_text_column, ("device", "account", "until")),
        sa.PrimaryKeyConstraint("device", "account", name="device_once"),
    )
    op.create_index("ix_devices_account", "devices", ["account"])
    op.create_index("ix_devices_until", "devices", ["until"])
    for name in ("service", "client", "tenant"):
        op.add_column("cards", _text_column(name, optional=True))
