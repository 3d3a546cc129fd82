"""What Alembic runs: the revisions, on the connection and in the transaction that `api.store.schema` gives it."""

from alembic import context

from api.store import job_tables, preference_tables
from api.store.schema import VERSION_TABLE
from api.store.tables import Table

TABLES = (job_tables, preference_tables)
"""Modules whose tables belong to the same metadata."""

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
