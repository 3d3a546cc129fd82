"""Durable jobs: what they cost, under which text they work, their steps, curves and checkpoints; and the workers."""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_ADDED: Final[tuple[tuple[str, Any, str], ...]] = (
    ("metadata", sa.JSON, "{}"),
    ("priority", sa.Integer, "100"),
    ("run", sa.Integer, "1"),
    ("last_event", sa.Integer, "0"),
    ("cost", sa.JSON, "{}"),
    ("run_cost", sa.JSON, "{}"),
)


def upgrade() -> None:
    """Add the columns and tables; jobs that are there keep their events' numbers."""
    with op.batch_alter_table("jobs") as batch:
        for name, kind, default in _ADDED:
            batch.add_column(sa.Column(name, kind, nullable=False, server_default=default))
        batch.add_column(sa.Column("constitution", sa.String(63)))
        batch.add_column(sa.Column("constitution_version", sa.String(40)))
        batch.add_column(sa.Column("constitution_hash", sa.String(80)))
        batch.add_column(sa.Column("cost_usd", sa.Double))
        batch.create_index("ix_jobs_constitution", ["constitution"])
    jobs, events = sa.table("jobs", sa.column("id"), sa.column("last_event")), sa.table("events", sa.column("job_id"))
    last = sa.select(sa.func.coalesce(sa.func.max(sa.column("number")), 0)).select_from(events)
    last = last.where(events.c.job_id == jobs.c.id).scalar_subquery()
    op.execute(sa.update(jobs).values(last_event=last))
    with op.batch_alter_table("jobs") as batch:
        for name, _, _ in _ADDED:
            batch.alter_column(name, server_default=None)
    _tables()


def _tables() -> None:
    op.create_table(
        "job_steps",
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("counted", sa.Integer, nullable=False),
        sa.Column("outcome", sa.JSON),
    )
    op.create_table(
        "job_metrics",
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("series", sa.String(100), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
    )
    op.create_table(
        "job_checkpoints",
        sa.Column("job_id", sa.String(40), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("series", sa.String(100), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("path", sa.String(500), nullable=False),
        sa.Column("kept", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("process", sa.Integer, nullable=False),
        sa.Column("queues", sa.String(255), nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
    )
