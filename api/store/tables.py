"""The tables. Whoever changes them writes a revision too: `api.store.schema`."""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from solon.settings import DEFAULT_PROJECT


class Table(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012 - SQLAlchemy's own declaration


class JobRow(Table):
    """A job; the columns are those of `api.store.jobs.Job`."""

    __tablename__ = "jobs"
    __table_args__ = (UniqueConstraint("project", "idempotency_key"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(63), index=True, default=DEFAULT_PROJECT)
    status: Mapped[str] = mapped_column(String(20), index=True)
    recipe: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_hash: Mapped[str] = mapped_column(String(80))
    constitution: Mapped[str | None] = mapped_column(String(63), index=True)
    constitution_version: Mapped[str | None] = mapped_column(String(40))
    constitution_hash: Mapped[str | None] = mapped_column(String(80))
    tags: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    """The client's own keys and values."""
    priority: Mapped[int] = mapped_column(default=100)
    run: Mapped[int] = mapped_column(default=1)
    """Counts up each time the job is resumed."""
    last_event: Mapped[int] = mapped_column(default=0)
    """Number of the job's last event."""
    cost: Mapped[dict[str, Any]] = mapped_column(default=dict)
    run_cost: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Of the present run, which a budget is about."""
    cost_usd: Mapped[float | None]


class EventRow(Table):
    """One event of a job, numbered from 1 within it."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[float]
    event: Mapped[dict[str, Any]]


class AuditRow(Table):
    """An audit; the columns are those of `api.store.audits.StoredAudit`."""

    __tablename__ = "audits"
    __table_args__ = (UniqueConstraint("project", "idempotency_key"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(63), index=True, default=DEFAULT_PROJECT)
    status: Mapped[str] = mapped_column(String(20), index=True)
    request: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    finished_at: Mapped[float | None]
    error: Mapped[dict[str, Any] | None]
    report: Mapped[dict[str, Any] | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_hash: Mapped[str] = mapped_column(String(80))


class DraftRow(Table):
    """A draft of a constitution; the columns are those of `constitution.store.Draft`."""

    __tablename__ = "constitution_drafts"

    project: Mapped[str] = mapped_column(String(63), primary_key=True, default=DEFAULT_PROJECT)
    constitution: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    etag: Mapped[str] = mapped_column(String(64))
    raw: Mapped[bytes]
    author: Mapped[str] = mapped_column(String(202))
    updated_at: Mapped[float]


class VersionRow(Table):
    """A published version of a constitution; rows are added and never changed."""

    __tablename__ = "constitution_versions"

    number: Mapped[int] = mapped_column(primary_key=True)
    """Counts up in the order of publication."""
    project: Mapped[str] = mapped_column(String(63), index=True, default=DEFAULT_PROJECT)
    constitution: Mapped[str] = mapped_column(String(63))
    version: Mapped[str] = mapped_column(String(40))
    etag: Mapped[str] = mapped_column(String(64))
    content_hash: Mapped[str] = mapped_column(String(80))
    raw: Mapped[bytes]
    author: Mapped[str] = mapped_column(String(202))
    message: Mapped[str] = mapped_column(String(500))
    published_at: Mapped[float]

    __table_args__ = (UniqueConstraint("project", "constitution", "version"),)


class LabelRow(Table):
    """A label of a constitution."""

    __tablename__ = "constitution_labels"

    project: Mapped[str] = mapped_column(String(63), primary_key=True, default=DEFAULT_PROJECT)
    constitution: Mapped[str] = mapped_column(String(63), primary_key=True)
    label: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[str] = mapped_column(String(40))
    etag: Mapped[str] = mapped_column(String(64))


class HappeningRow(Table):
    """One line of a constitution's history."""

    __tablename__ = "constitution_history"

    number: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(String(63), index=True, default=DEFAULT_PROJECT)
    constitution: Mapped[str] = mapped_column(String(63), index=True)
    action: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(63))
    author: Mapped[str] = mapped_column(String(202))
    message: Mapped[str] = mapped_column(String(500))
    at: Mapped[float]


class ProjectRow(Table):
    """A project: what its keys make is seen by its keys only."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(String(63), primary_key=True)
    salt: Mapped[str] = mapped_column(String(64))
    """Keeps its prompts apart from those of others in a model server's prefix cache; never shown."""
    created_at: Mapped[float]
    quota: Mapped[dict[str, Any] | None]
    """Null: that of the settings."""


class UsageRow(Table):
    """What a project has used in a period."""

    __tablename__ = "usage"

    project: Mapped[str] = mapped_column(String(63), primary_key=True)
    what: Mapped[str] = mapped_column(String(30), primary_key=True)
    period: Mapped[str] = mapped_column(String(20), primary_key=True)
    """Such as 2026-11-28; empty for what is not counted by time."""
    used: Mapped[float]


class ChangeRow(Table):
    """A line of the change log; rows are added, and the database refuses anything else."""

    __tablename__ = "changes"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(63), index=True)
    at: Mapped[float]
    key: Mapped[str | None] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(200))
    target: Mapped[str] = mapped_column(String(500))
    status: Mapped[int]
    request_id: Mapped[str | None] = mapped_column(String(100))


class KeyRow(Table):
    """An API key; the key itself is nowhere."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the key, in hex."""
    hint: Mapped[str] = mapped_column(String(8))
    """The key's last characters, by which people know it."""
    scopes: Mapped[list[str]]
    created_at: Mapped[float]
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    last_used_at: Mapped[float | None]


class FileRow(Table):
    """An uploaded file; the columns are those of `api.store.files.StoredFile`."""

    __tablename__ = "files"
    __table_args__ = (UniqueConstraint("project", "idempotency_key"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(63), index=True, default=DEFAULT_PROJECT)
    purpose: Mapped[str] = mapped_column(String(20))
    filename: Mapped[str] = mapped_column(String(255))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int | None]
    created_at: Mapped[float]
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_hash: Mapped[str] = mapped_column(String(80))


class WebhookRow(Table):
    """An address that events are delivered to; its secrets are nowhere."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(63), index=True)
    url: Mapped[str] = mapped_column(String(2000))
    events: Mapped[list[str]]
    description: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[float]
    secret: Mapped[int]
    """Number of the secret; the secret is derived from it."""
    former_until: Mapped[float | None]
    """Until when the secret before it signs too."""
    failing_since: Mapped[float | None]
    disabled_at: Mapped[float | None]
    disabled_why: Mapped[str | None] = mapped_column(String(200))


class DeliveryRow(Table):
    """An event on its way to a webhook; the columns are those of `api.store.webhooks.Delivery`."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    webhook: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"), index=True)
    project: Mapped[str] = mapped_column(String(63))
    message: Mapped[str] = mapped_column(String(40))
    """Id of the event; the same for all webhooks that it goes to."""
    type: Mapped[str] = mapped_column(String(60))
    body: Mapped[str] = mapped_column(Text)
    """Exactly what is sent and signed."""
    status: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int]
    created_at: Mapped[float]
    due_at: Mapped[float]
    """Not before; while it is being sent, when somebody else may take it for lost."""
    ended_at: Mapped[float | None]
    answer: Mapped[int | None]
    """HTTP status of the last attempt."""
    problem: Mapped[str | None] = mapped_column(String(200))

    __table_args__ = (Index("ix_deliveries_status_due_at", "status", "due_at"),)
