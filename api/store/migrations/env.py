"""What Alembic runs: the revisions, on the connection and in the transaction that `api.store.schema` gives it."""

from alembic import context

import api.store.preference_tables  # noqa: F401 - its tables belong to the metadata
from api.store.schema import VERSION_TABLE
from api.store.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
