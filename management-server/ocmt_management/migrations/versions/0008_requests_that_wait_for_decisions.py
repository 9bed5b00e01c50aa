"""The request that waits for a decision, so that any process can end its wait."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tool_approvals", sa.Column("request", sa.LargeBinary(length=32), nullable=True))


def downgrade() -> None:
    op.drop_column("tool_approvals", "request")
