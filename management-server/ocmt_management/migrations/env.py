"""Alembic's environment script: runs the migrations on the connection from `migrate`."""

from alembic import context
from sqlalchemy import Connection

from ocmt_management.tables import Base

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    # SQLite alters a table by rebuilding it.
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
