"""Connected accounts, connecting under way, and the operator's OAuth clients."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "connections",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=63), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=200), nullable=False),
        sa.Column("account", sa.String(length=200), nullable=False),
        sa.Column("definition", sa.LargeBinary(), nullable=True),
        sa.Column("asked_scopes", sa.String(length=4000), nullable=False),
        sa.Column("scopes", sa.String(length=4000), nullable=False),
        sa.Column("tokens", sa.LargeBinary(), nullable=False),
        sa.Column("token_version", sa.Integer(), nullable=False),
        sa.Column("refreshable", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("trouble", sa.String(length=500), nullable=True),
        sa.Column("lease_by", sa.String(length=36), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_for", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["data_keys.user_id"],
            name=op.f("fk_connections_user_id_data_keys"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
    )
    op.create_index(
        op.f("uq_connections_user_id_provider_account_id"),
        "connections",
        ["user_id", "provider", "account_id"],
        unique=True,
    )
    op.create_table(
        "oauth_flows",
        sa.Column("state_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=63), nullable=False),
        sa.Column("session_id", sa.String(length=36), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["data_keys.user_id"],
            name=op.f("fk_oauth_flows_user_id_data_keys"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["session_id"],
            ["sessions.id"],
            name=op.f("fk_oauth_flows_session_id_sessions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_oauth_flows")),
    )
    for column in ("expires_at", "session_id", "user_id"):
        op.create_index(op.f(f"ix_oauth_flows_{column}"), "oauth_flows", [column])
    op.create_table(
        "oauth_clients",
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("client_id", sa.String(length=512), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=True),
        sa.Column("definition", sa.LargeBinary(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("provider", name=op.f("pk_oauth_clients")),
    )
    with op.batch_alter_table("tool_accounts") as table:
        table.add_column(sa.Column("connection_id", sa.String(length=36), nullable=True))
        table.create_foreign_key(
            op.f("fk_tool_accounts_connection_id_connections"),
            "connections",
            ["connection_id"],
            ["id"],
            ondelete="SET NULL",
        )
    op.create_index(op.f("ix_tool_accounts_connection_id"), "tool_accounts", ["connection_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_tool_accounts_connection_id"), "tool_accounts")
    with op.batch_alter_table("tool_accounts") as table:
        table.drop_column("connection_id")
    for name in ("oauth_clients", "oauth_flows", "connections"):
        op.drop_table(name)
