"""Stored preferences with their versions, metadata, reviews and discards; datasets made of them; answers by key."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables."""
    _preferences()
    _of_preferences()
    op.create_table(
        "discards",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(40), nullable=False, unique=True),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("prompt_id", sa.String(200), nullable=False),
        sa.Column("reason", sa.String(100), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_discards_project_source", "discards", ["project", "source"])
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("project", sa.String(63), nullable=False, index=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("filter", sa.JSON, nullable=False),
        sa.Column("manifest", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("request_hash", sa.String(80), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False, index=True),
        sa.Column("claimed_until", sa.Double, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("headers", sa.JSON),
        sa.Column("body", sa.LargeBinary),
    )


def _preferences() -> None:
    op.create_table(
        "preferences",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("comparison", sa.String(40), nullable=False),
        sa.Column("prompt_id", sa.String(200), nullable=False),
        sa.Column("scope", sa.String(63), nullable=False),
        sa.Column("constitution", sa.String(63), nullable=False),
        sa.Column("constitution_version", sa.String(40), nullable=False),
        sa.Column("constitution_hash", sa.String(80), nullable=False),
        sa.Column("judge", sa.String(63)),
        sa.Column("policy", sa.String(63)),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("label", sa.String(10)),
        sa.Column("margin", sa.Double),
        sa.Column("flags", sa.Text, nullable=False),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("votes_a", sa.Integer, nullable=False),
        sa.Column("votes_b", sa.Integer, nullable=False),
        sa.Column("votes_tie", sa.Integer, nullable=False),
        sa.Column("reviews", sa.Integer, nullable=False),
        sa.UniqueConstraint("project", "id"),
    )
    for columns in (("project", "number"), ("project", "comparison"), ("project", "source")):
        op.create_index("_".join(("ix_preferences", *columns)), "preferences", list(columns))


def _of_preferences() -> None:
    op.create_table(
        "preference_versions",
        sa.Column("preference", sa.Integer, sa.ForeignKey("preferences.number"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("stored_at", sa.Double, nullable=False),
        sa.Column("source", sa.String(100), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_table(
        "preference_metadata",
        sa.Column("preference", sa.Integer, sa.ForeignKey("preferences.number"), primary_key=True),
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(512), nullable=False),
    )
    op.create_index("ix_preference_metadata_key_value", "preference_metadata", ["key", "value"])
    op.create_table(
        "reviews",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("preference", sa.Integer, sa.ForeignKey("preferences.number"), nullable=False, index=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("verdict", sa.String(10), nullable=False),
        sa.Column("reviewer", sa.String(202)),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
