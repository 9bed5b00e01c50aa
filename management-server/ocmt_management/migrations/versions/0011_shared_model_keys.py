"""Shared keys of providers and what is spent of them; users' own servers; secrets of the server.

The column `reservations.shared` has a default: the release before, which may run beside this one,
writes none.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def _user(table: str) -> tuple[sa.Column[str], sa.ForeignKeyConstraint]:
    column = sa.Column("user_id", sa.String(length=63), nullable=False)
    name = op.f(f"fk_{table}_user_id_users")
    return column, sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "own_model_servers",
        *_user("own_model_servers"),
        sa.Column("url", sa.String(length=1000), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_own_model_servers")),
    )
    op.create_table(
        "shared_model_keys",
        sa.Column("provider", sa.String(length=16), nullable=False),
        sa.Column("url", sa.String(length=1000), nullable=True),
        sa.Column("everyone", sa.Boolean(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("day_hard", sa.BigInteger(), nullable=True),
        sa.Column("month_hard", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("provider", name=op.f("pk_shared_model_keys")),
    )
    op.create_table(
        "shared_model_key_users",
        sa.Column("provider", sa.String(length=16), nullable=False),
        *_user("shared_model_key_users"),
        sa.ForeignKeyConstraint(
            ["provider"],
            ["shared_model_keys.provider"],
            name=op.f("fk_shared_model_key_users_provider_shared_model_keys"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("provider", "user_id", name=op.f("pk_shared_model_key_users")),
    )
    op.create_index(
        op.f("ix_shared_model_key_users_user_id"), "shared_model_key_users", ["user_id"]
    )
    op.create_table(
        "shared_model_key_spending",
        sa.Column("provider", sa.String(length=16), nullable=False),
        *_user("shared_model_key_spending"),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("cost", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "provider", "user_id", "day", name=op.f("pk_shared_model_key_spending")
        ),
    )
    op.create_index(
        op.f("ix_shared_model_key_spending_user_id"), "shared_model_key_spending", ["user_id"]
    )
    op.create_table(
        "server_secrets",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(length=128), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.String(length=4), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_server_secrets")),
    )
    op.create_index(op.f("ix_server_secrets_key_id"), "server_secrets", ["key_id"])
    op.add_column(
        "reservations",
        sa.Column("shared", sa.Boolean(), server_default=sa.false(), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("reservations", "shared")
    for table in (
        "server_secrets",
        "shared_model_key_spending",
        "shared_model_key_users",
        "shared_model_keys",
        "own_model_servers",
    ):
        op.drop_table(table)
