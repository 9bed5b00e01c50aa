"""When the person of an account first signed in by mail, which ends what others began before."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "users", sa.Column("mailbox_proved_at", sa.DateTime(timezone=True), nullable=True)
    )
    # Else the next sign-in by mail would end every session of each existing account.
    op.execute("UPDATE users SET mailbox_proved_at = created_at")
