"""Usage with source, kinds of tokens and cost; budgets and reservations.

The rows of the table `usage` are copied; it stays for an older release that may still be running.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COUNTS = ("requests", "estimated", "unpriced", "tokens_in", "tokens_out")
_NEW_COUNTS = ("cached", "cache_written", "reasoning", "cost")


def _user(table: str, *, nullable: bool = False) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    column = sa.Column("user_id", sa.String(length=63), nullable=nullable)
    name = op.f(f"fk_{table}_user_id_users")
    return column, sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "model_usage",
        *_user("model_usage"),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("provider", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in (*_COUNTS, *_NEW_COUNTS)),
        sa.PrimaryKeyConstraint(
            "user_id", "day", "provider", "model", "source", name=op.f("pk_model_usage")
        ),
    )
    op.create_index(op.f("ix_model_usage_day"), "model_usage", ["day"])
    # Earlier costs are not known.
    op.execute(
        "INSERT INTO model_usage (user_id, day, provider, model, source, requests, estimated, "
        "unpriced, tokens_in, tokens_out, cached, cache_written, reasoning, cost) "
        "SELECT user_id, day, provider, model, 'chat', requests, unmeasured, "
        "CASE WHEN provider = 'demo' THEN 0 ELSE requests END, tokens_in, tokens_out, 0, 0, 0, 0 "
        "FROM usage"
    )
    op.create_table(
        "usage_preferences",
        *_user("usage_preferences"),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_usage_preferences")),
    )
    limits = ("day_soft", "day_hard", "month_soft", "month_hard")
    op.create_table(
        "budgets",
        sa.Column("id", sa.String(length=63), nullable=False),
        *_user("budgets", nullable=True),
        *(sa.Column(name, sa.BigInteger(), nullable=True) for name in limits),
        sa.Column("kept_for_jobs", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budgets")),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(length=36), nullable=False),
        *_user("reservations"),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("provider", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    op.create_index(op.f("ix_reservations_user_id"), "reservations", ["user_id"])
    op.create_index(op.f("ix_reservations_made_at"), "reservations", ["made_at"])


def downgrade() -> None:
    for table in ("reservations", "budgets", "usage_preferences", "model_usage"):
        op.drop_table(table)
