"""Alembic's environment script: runs the migrations on the connection from `migrate`."""

from alembic import context
from sqlalchemy import Connection

from ocmt_management.tables import Base

# Tables that only the previous release uses, which may still run beside this one. A later
# migration drops them.
LEFT_TO_THE_RELEASE_BEFORE = frozenset({"usage"})

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    # SQLite needs a rebuild of the table for most changes.
    render_as_batch=connection.dialect.name == "sqlite",
    include_name=lambda name, kind, _: kind != "table" or name not in LEFT_TO_THE_RELEASE_BEFORE,
)
with context.begin_transaction():
    context.run_migrations()
