"""Projects and API keys; what was there before belongs to the project `default`."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NAMES = {"uq": "%(table_name)s_%(column_0_N_name)s_key", "pk": "%(table_name)s_pkey"}
"""SQLite keeps no names of constraints; these are PostgreSQL's own."""


def _project() -> sa.Column[str]:
    return sa.Column("project", sa.String(63), nullable=False, server_default="default")


def _scope_keys(table: str) -> None:
    """An Idempotency-Key makes one row per project."""
    with op.batch_alter_table(table, naming_convention=_NAMES) as batch:
        batch.add_column(_project())
        batch.drop_constraint(f"{table}_idempotency_key_key", type_="unique")
        batch.create_unique_constraint(f"{table}_project_idempotency_key_key", ["project", "idempotency_key"])
        batch.create_index(f"ix_{table}_project", ["project"])


def _scope_names(table: str, name: str) -> None:
    """Names are unique within a project."""
    with op.batch_alter_table(table, naming_convention=_NAMES) as batch:
        batch.add_column(_project())
        batch.drop_constraint(f"{table}_pkey", type_="primary")
        batch.create_primary_key(f"{table}_pkey", ["project", "constitution", name])


def upgrade() -> None:
    """Give every object that users list a project."""
    _scope_keys("jobs")
    _scope_keys("audits")
    _scope_names("constitution_drafts", "name")
    _scope_names("constitution_labels", "label")
    with op.batch_alter_table("constitution_versions", naming_convention=_NAMES) as batch:
        batch.add_column(_project())
        batch.drop_constraint("constitution_versions_constitution_version_key", type_="unique")
        unique = ["project", "constitution", "version"]
        batch.create_unique_constraint("constitution_versions_project_constitution_version_key", unique)
        batch.create_index("ix_constitution_versions_project", ["project"])
    with op.batch_alter_table("constitution_history") as batch:
        batch.add_column(_project())
        batch.create_index("ix_constitution_history_project", ["project"])
    op.create_table(
        "projects",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("project", sa.String(63), sa.ForeignKey("projects.id"), nullable=False, index=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("hint", sa.String(8), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.Column("last_used_at", sa.Double),
    )
