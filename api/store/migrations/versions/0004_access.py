"""Quotas of projects, what they have used, and the change log, which only grows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the tables, and triggers that refuse to change or remove a line of the log."""
    op.add_column("projects", sa.Column("quota", sa.JSON))
    op.create_table(
        "usage",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("what", sa.String(30), primary_key=True),
        sa.Column("period", sa.String(20), primary_key=True),
        sa.Column("used", sa.Double, nullable=False),
    )
    op.create_table(
        "changes",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("project", sa.String(63), nullable=False, index=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("key", sa.String(40)),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("action", sa.String(200), nullable=False),
        sa.Column("target", sa.String(500), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("request_id", sa.String(100)),
    )
    if op.get_bind().dialect.name == "sqlite":
        for event in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER changes_no_{event.lower()} BEFORE {event} ON changes "
                "BEGIN SELECT RAISE(ABORT, 'the change log only grows'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION changes_only_grow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'the change log only grows'; END $$"
        )
        op.execute(
            "CREATE TRIGGER changes_only_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON changes "
            "FOR EACH STATEMENT EXECUTE FUNCTION changes_only_grow()"
        )
