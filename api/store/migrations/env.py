"""What Alembic runs: the revisions, on the connection and in the transaction that `api.store.schema` gives it."""

from alembic import context

from api.store.preference_tables import PreferenceRow  # with all other tables in the same metadata
from api.store.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=PreferenceRow.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
