"""The first tables, and the triggers that keep the audit append-only."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REFUSED = "the audit is append-only"

SQLITE_TRIGGERS = (
    f"""CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",
    f"""CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",
    # INSERT OR REPLACE deletes without telling the trigger above.
    f"""CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE number = NEW.number)
    BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",
)

POSTGRESQL_TRIGGERS = (
    f"""CREATE FUNCTION audit_refused() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '{REFUSED}'; END $$""",
    """CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_refused()""",
    """CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refused()""",
)


def _text(name: str, *, optional: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=optional)


def _number(name: str = "id", *, by_database: bool = True) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, primary_key=True, autoincrement=by_database)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "rule_states",
        sa.Column("rule", sa.Text(), primary_key=True),
        *map(_text, ("version", "hash", "state", "since", "actor", "reason")),
    )
    op.create_table(
        "rule_changes",
        _number(),
        *map(_text, ("rule", "version", "hash")),
        _text("from_state", optional=True),
        *map(_text, ("state", "at", "actor", "reason")),
    )
    op.create_index("ix_rule_changes_rule", "rule_changes", ["rule"])
    op.create_table(
        "cards",
        _number(),
        *map(_text, ("card", "rule", "version", "hash", "subject")),
        _text("stay", optional=True),
        _text("unit", optional=True),
        _text("now"),
        _text("hook", optional=True),
        _text("state"),
        _text("indicator"),
        sa.Column("severity", sa.Float()),
        sa.Column("shown", sa.Boolean(), nullable=False),
        _text("suppressed_because", optional=True),
        _text("inputs_hash"),
        _text("work_key", optional=True),
    )
    op.create_index("ix_cards_card", "cards", ["card"])
    op.create_index("ix_cards_subject", "cards", ["subject"])
    op.create_index("ix_cards_now", "cards", ["now"])
    op.create_table(
        "feedback",
        _number(),
        *map(_text, ("fingerprint", "service", "card", "outcome", "accepted_suggestions")),
        *(
            _text(name, optional=True)
            for name in ("reason_code", "reason_system", "reason_display", "comment")
        ),
        _text("outcome_at"),
        _text("received"),
        sa.Column("times_received", sa.Integer(), nullable=False),
        sa.UniqueConstraint("fingerprint", name="feedback_once"),
    )
    op.create_index("ix_feedback_card", "feedback", ["card"])
    op.create_index("ix_feedback_received", "feedback", ["received"])
    op.create_table(
        "tokens",
        _text("issuer_jti"),
        _text("expires"),
        sa.PrimaryKeyConstraint("issuer_jti", name="token_taken_once"),
    )
    op.create_index("ix_tokens_expires", "tokens", ["expires"])
    op.create_table(
        "work_items",
        *map(_text, ("rule", "stay", "since", "state")),
        *(_text(name, optional=True) for name in ("owner", "deadline", "reason")),
        _text("actor"),
        _text("at"),
        sa.PrimaryKeyConstraint("rule", "stay", "since", name="work_item_once"),
    )
    op.create_index("work_items_by_state", "work_items", ["state"])
    op.create_table(
        "audit",
        _number("number", by_database=False),
        _text("at"),
        _text("actor"),
        _text("role", optional=True),
        _text("action"),
        _text("subject", optional=True),
        _text("stay", optional=True),
        *map(_text, ("why", "details", "previous", "seal", "hash")),
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in SQLITE_TRIGGERS if is_sqlite else POSTGRESQL_TRIGGERS:
        op.execute(statement)
