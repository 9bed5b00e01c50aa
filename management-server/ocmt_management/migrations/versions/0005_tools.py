"""Tools: servers, connections, definitions, rules, catalogue versions and last uses."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tool_servers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("owner_id", sa.String(length=63), nullable=True),
        sa.Column("slug", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("transport", sa.String(length=8), nullable=False),
        sa.Column("url", sa.String(length=2000), nullable=True),
        sa.Column("package", sa.String(length=214), nullable=True),
        sa.Column("package_version", sa.String(length=64), nullable=True),
        sa.Column("integrity", sa.String(length=128), nullable=True),
        sa.Column("arguments", sa.LargeBinary(), nullable=True),
        sa.Column("credential_name", sa.String(length=64), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["users.id"],
            name=op.f("fk_tool_servers_owner_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_servers")),
    )
    op.create_index(
        "uq_tool_servers_owner_id_slug", "tool_servers", ["owner_id", "slug"], unique=True
    )
    op.create_index(
        "uq_tool_servers_slug_shared",
        "tool_servers",
        ["slug"],
        unique=True,
        sqlite_where=sa.text("owner_id IS NULL"),
        postgresql_where=sa.text("owner_id IS NULL"),
    )
    op.create_table(
        "tool_accounts",
        *_user_and_server("tool_accounts"),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("trouble", sa.String(length=500), nullable=True),
        sa.Column("extras", sa.LargeBinary(), nullable=True),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "server_id", name=op.f("pk_tool_accounts")),
    )
    op.create_index(op.f("ix_tool_accounts_server_id"), "tool_accounts", ["server_id"])
    op.create_table(
        "tool_definitions",
        *_user_and_server("tool_definitions"),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("public_name", sa.String(length=58), nullable=False),
        sa.Column("definition", sa.LargeBinary(), nullable=False),
        sa.Column("pin", sa.LargeBinary(length=32), nullable=False),
        sa.Column("accepted_definition", sa.LargeBinary(), nullable=True),
        sa.Column("accepted_pin", sa.LargeBinary(length=32), nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "server_id", "name", name=op.f("pk_tool_definitions")),
    )
    op.create_index(op.f("ix_tool_definitions_server_id"), "tool_definitions", ["server_id"])
    op.create_table(
        "tool_rules",
        sa.Column("id", sa.Integer(), nullable=False),
        *_user_and_server("tool_rules", user_nullable=True),
        sa.Column("tool", sa.String(length=128), nullable=False),
        sa.Column("rule", sa.String(length=8), nullable=False),
        sa.Column("pin", sa.LargeBinary(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_rules")),
    )
    op.create_index(
        "uq_tool_rules_user_id_server_id_tool",
        "tool_rules",
        ["user_id", "server_id", "tool"],
        unique=True,
    )
    op.create_index(
        "uq_tool_rules_server_id_tool_admin",
        "tool_rules",
        ["server_id", "tool"],
        unique=True,
        sqlite_where=sa.text("user_id IS NULL"),
        postgresql_where=sa.text("user_id IS NULL"),
    )
    op.create_index(op.f("ix_tool_rules_server_id"), "tool_rules", ["server_id"])
    op.create_table(
        "tool_catalogues",
        sa.Column("user_id", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sent_version", sa.Integer(), nullable=False),
        sa.Column("sent_digest", sa.LargeBinary(length=32), nullable=True),
        _users("tool_catalogues"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_tool_catalogues")),
    )
    op.create_table(
        "tool_uses",
        sa.Column("id", sa.Integer(), nullable=False),
        *_user_and_server("tool_uses"),
        sa.Column("tool", sa.String(length=128), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("shape", sa.String(length=500), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_uses")),
    )
    op.create_index(op.f("ix_tool_uses_user_id_id"), "tool_uses", ["user_id", "id"])
    op.create_index(op.f("ix_tool_uses_server_id"), "tool_uses", ["server_id"])


def downgrade() -> None:
    for table in (
        "tool_uses",
        "tool_catalogues",
        "tool_rules",
        "tool_definitions",
        "tool_accounts",
        "tool_servers",
    ):
        op.drop_table(table)


def _users(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["user_id"], ["users.id"], name=op.f(f"fk_{table}_user_id_users"), ondelete="CASCADE"
    )


def _user_and_server(
    table: str, *, user_nullable: bool = False
) -> tuple[sa.Column[str] | sa.ForeignKeyConstraint, ...]:
    return (
        sa.Column("user_id", sa.String(length=63), nullable=user_nullable),
        sa.Column("server_id", sa.String(length=36), nullable=False),
        _users(table),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["tool_servers.id"],
            name=op.f(f"fk_{table}_server_id_tool_servers"),
            ondelete="CASCADE",
        ),
    )
