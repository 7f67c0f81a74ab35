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


def _text_column(name: str, *, optional: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=optional)


def _number_column(name: str = "id", *, by_database: bool = True) -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, kind, primary_key=True, autoincrement=by_database)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "rule_states",
        sa.Column("rule", sa.Text(), primary_key=True),
        *map(_text_column, ("version", "hash", "state", "since", "actor", "reason")),
    )
    op.create_table(
        "rule_changes",
        _number_column(),
        *map(_text_column, ("rule", "version", "hash")),
        _text_column("from_state", optional=True),
        *map(_text_column, ("state", "at", "actor", "reason")),
    )
    op.create_index("ix_rule_changes_rule", "rule_changes", ["rule"])
    op.create_table(
        "cards",
        _number_column(),
        *map(_text_column, ("card", "rule", "version", "hash", "subject")),
        _text_column("stay", optional=True),
        _text_column("unit", optional=True),
        _text_column("now"),
        _text_column("hook", optional=True),
        _text_column("state"),
        _text_column("indicator"),
        sa.Column("severity", sa.Float()),
        sa.Column("shown", sa.Boolean(), nullable=False),
        _text_column("suppressed_because", optional=True),
        _text_column("inputs_hash"),
        _text_column("work_key", optional=True),
    )
    op.create_index("ix_cards_card", "cards", ["card"])
    op.create_index("ix_cards_subject", "cards", ["subject"])
    op.create_index("ix_cards_now", "cards", ["now"])
    op.create_table(
        "feedback",
        _number_column(),
        *map(_text_column, ("fingerprint", "service", "card", "outcome", "accepted_suggestions")),
        *(
            _text_column(name, optional=True)
            for name in ("reason_code", "reason_system", "reason_display", "comment")
        ),
        _text_column("outcome_at"),
        _text_column("received"),
        sa.Column("times_received", sa.Integer(), nullable=False),
        sa.UniqueConstraint("fingerprint", name="feedback_once"),
    )
    op.create_index("ix_feedback_card", "feedback", ["card"])
    op.create_index("ix_feedback_received", "feedback", ["received"])
    op.create_table(
        "tokens",
        _text_column("issuer_jti"),
        _text_column("expires"),
        sa.PrimaryKeyConstraint("issuer_jti", name="token_taken_once"),
    )
    op.create_index("ix_tokens_expires", "tokens", ["expires"])
    op.create_table(
        "work_items",
        *map(_text_column, ("rule", "stay", "since", "state")),
        *(_text_column(name, optional=True) for name in ("owner", "deadline", "reason")),
        _text_column("actor"),
        _text_column("at"),
        sa.PrimaryKeyConstraint("rule", "stay", "since", name="work_item_once"),
    )
    op.create_index("work_items_by_state", "work_items", ["state"])
    op.create_table(
        "audit",
        _number_column("number", by_database=False),
        _text_column("at"),
        _text_column("actor"),
        _text_column("role", optional=True),
        _text_column("action"),
        _text_column("subject", optional=True),
        _text_column("stay", optional=True),
        *map(_text_column, ("why", "details", "previous", "seal", "hash")),
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in SQLITE_TRIGGERS if is_sqlite else POSTGRESQL_TRIGGERS:
        op.execute(statement)
