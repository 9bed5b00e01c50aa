"""Browsers that requested a link for an address with the maximum of them; they may use those."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "waiting_browsers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("verifier_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waiting_browsers")),
    )
    op.create_index(op.f("ix_waiting_browsers_expires_at"), "waiting_browsers", ["expires_at"])
    op.create_index(
        op.f("ix_waiting_browsers_verifier_hash"), "waiting_browsers", ["verifier_hash"]
    )
    op.create_index(op.f("ix_sign_in_links_email"), "sign_in_links", ["email"])


def downgrade() -> None:
    op.drop_index(op.f("ix_sign_in_links_email"), "sign_in_links")
    op.drop_table("waiting_browsers")
