"""The first tables. Where they are already, made by a Solon that had no revisions yet, they stay as they are."""

import sqlalchemy as sa
from alembic import op

from solon.errors import InvalidInput

revision = "0001"
down_revision = None

_TABLES = sa.MetaData()

sa.Table(
    "jobs",
    _TABLES,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("status", sa.String(20), nullable=False, index=True),
    sa.Column("recipe", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("finished_at", sa.Double),
    sa.Column("error", sa.JSON),
    sa.Column("result", sa.JSON),
    sa.Column("idempotency_key", sa.String(255), unique=True),
    sa.Column("request_hash", sa.String(80), nullable=False),
)
sa.Table(
    "events",
    _TABLES,
    sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("event", sa.JSON, nullable=False),
)
sa.Table(
    "audits",
    _TABLES,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("status", sa.String(20), nullable=False, index=True),
    sa.Column("request", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("finished_at", sa.Double),
    sa.Column("error", sa.JSON),
    sa.Column("report", sa.JSON),
    sa.Column("idempotency_key", sa.String(255), unique=True),
    sa.Column("request_hash", sa.String(80), nullable=False),
)
sa.Table(
    "constitution_drafts",
    _TABLES,
    sa.Column("constitution", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("etag", sa.String(64), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("author", sa.String(202), nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
)
sa.Table(
    "constitution_versions",
    _TABLES,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("constitution", sa.String(63), nullable=False),
    sa.Column("version", sa.String(40), nullable=False),
    sa.Column("etag", sa.String(64), nullable=False),
    sa.Column("content_hash", sa.String(80), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("author", sa.String(202), nullable=False),
    sa.Column("message", sa.String(500), nullable=False),
    sa.Column("published_at", sa.Double, nullable=False),
    sa.UniqueConstraint("constitution", "version"),
)
sa.Table(
    "constitution_labels",
    _TABLES,
    sa.Column("constitution", sa.String(63), primary_key=True),
    sa.Column("label", sa.String(63), primary_key=True),
    sa.Column("version", sa.String(40), nullable=False),
    sa.Column("etag", sa.String(64), nullable=False),
)
sa.Table(
    "constitution_history",
    _TABLES,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("constitution", sa.String(63), nullable=False, index=True),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("name", sa.String(63), nullable=False),
    sa.Column("author", sa.String(202), nullable=False),
    sa.Column("message", sa.String(500), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
)


def upgrade() -> None:
    """Make the tables that are missing; raises InvalidInput where one of these names is somebody else's."""
    connection = op.get_bind()
    inspector = sa.inspect(connection)
    present = set(inspector.get_table_names())
    for table in _TABLES.sorted_tables:
        if table.name not in present:
            table.create(connection)
        elif {found["name"] for found in inspector.get_columns(table.name)} != set(table.columns.keys()):
            raise InvalidInput(
                f"its table {table.name!r} is not one that Solon made",
                field="database",
                remedy="give Solon a database, or on PostgreSQL a schema, of its own",
            )
