"""Projects and API keys. What is there already belongs to the default project."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NAMES: Final = {"uq": "uq_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}
"""How batches call what SQLite gave no name; PostgreSQL names everything itself."""


def upgrade() -> None:
    """Give every table that users list a project, which every key begins with."""
    op.create_table(
        "projects",
        sa.Column("id", sa.String(63), primary_key=True),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("project", sa.String(63), sa.ForeignKey("projects.id"), nullable=False, index=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("hint", sa.String(8), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("revoked_at", sa.Float),
        sa.Column("last_used_at", sa.Float),
    )
    for table in ("jobs", "audits"):
        _rekey(table, [], unique=["idempotency_key"])
    for table, name in (("constitution_drafts", "name"), ("constitution_labels", "label")):
        _rekey(table, ["constitution", name], index=False)
    _rekey("constitution_versions", [], unique=["constitution", "version"])
    _rekey("constitution_history", [])


def _rekey(table: str, primary: list[str], *, unique: list[str] | None = None, index: bool = True) -> None:
    """Add the column, and put it in front of the primary key and the unique columns that are given."""
    sqlite = op.get_bind().dialect.name == "sqlite"
    column = sa.Column("project", sa.String(63), nullable=False, server_default="default")
    with op.batch_alter_table(table, naming_convention=_NAMES) as batch:
        batch.add_column(column)
        if primary:
            batch.drop_constraint(f"pk_{table}" if sqlite else f"{table}_pkey", type_="primary")
            batch.create_primary_key(f"{table}_pkey", ["project", *primary])
        if unique:
            old = f"uq_{table}_{unique[0]}" if sqlite else f"{table}_{'_'.join(unique)}_key"
            batch.drop_constraint(old, type_="unique")
            batch.create_unique_constraint(f"{table}_project_{'_'.join(unique)}_key", ["project", *unique])
        if index:
            batch.create_index(f"ix_{table}_project", ["project"])
    with op.batch_alter_table(table) as batch:
        batch.alter_column("project", server_default=None)
