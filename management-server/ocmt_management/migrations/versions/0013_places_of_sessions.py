"""The network address from which each session was used last, so that devices can be told apart."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A default, since a release before this one adds sessions without it.
    op.add_column(
        "sessions", sa.Column("client", sa.String(length=64), server_default="", nullable=False)
    )
