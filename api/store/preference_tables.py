"""Tables of stored preferences, what people said of them, what made no comparison, datasets, and answers given."""

from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from api.store.tables import Table

KEY_LENGTH, VALUE_LENGTH = 64, 512
"""Longest key and value of a prompt's metadata that lists can be filtered by."""


class PreferenceRow(Table):
    """A stored preference: what lists are filtered by, all of its current version."""

    __tablename__ = "preferences"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    """Counts up in the order in which preferences were first stored."""
    project: Mapped[str] = mapped_column(String(63), default="default")
    id: Mapped[str] = mapped_column(String(40))
    version: Mapped[int]
    created_at: Mapped[float]
    comparison: Mapped[str] = mapped_column(String(40))
    prompt_id: Mapped[str] = mapped_column(String(200))
    scope: Mapped[str] = mapped_column(String(63))
    constitution: Mapped[str] = mapped_column(String(63))
    constitution_version: Mapped[str] = mapped_column(String(40))
    constitution_hash: Mapped[str] = mapped_column(String(80))
    judge: Mapped[str | None] = mapped_column(String(63))
    policy: Mapped[str | None] = mapped_column(String(63))
    status: Mapped[str] = mapped_column(String(20))
    label: Mapped[str | None] = mapped_column(String(10))
    """`a`, `b` or `tie`; None where nothing was measured."""
    margin: Mapped[float | None]
    flags: Mapped[str] = mapped_column(Text)
    """`|one|other|`; empty without any."""
    source: Mapped[str] = mapped_column(String(100))
    votes_a: Mapped[int] = mapped_column(default=0)
    """People's verdicts, the latest of each person."""
    votes_b: Mapped[int] = mapped_column(default=0)
    votes_tie: Mapped[int] = mapped_column(default=0)
    reviews: Mapped[int] = mapped_column(default=0)

    __table_args__ = (
        UniqueConstraint("project", "id"),
        Index("ix_preferences_project_number", "project", "number"),
        Index("ix_preferences_project_comparison", "project", "comparison"),
        Index("ix_preferences_project_source", "project", "source"),
    )


class PreferenceVersionRow(Table):
    """One version of a stored preference; rows are added and never changed."""

    __tablename__ = "preference_versions"

    preference: Mapped[int] = mapped_column(ForeignKey("preferences.number"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    stored_at: Mapped[float]
    source: Mapped[str] = mapped_column(String(100))
    record: Mapped[str] = mapped_column(Text)
    """The pair as JSON, as datasets hold it."""


class PreferenceMetadataRow(Table):
    """One entry of the metadata of a preference's prompt."""

    __tablename__ = "preference_metadata"

    preference: Mapped[int] = mapped_column(ForeignKey("preferences.number"), primary_key=True)
    key: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    value: Mapped[str] = mapped_column(String(VALUE_LENGTH))

    __table_args__ = (Index("ix_preference_metadata_key_value", "key", "value"),)


class ReviewRow(Table):
    """What one person said of one preference; the columns are those of `api.store.reviews.Review`."""

    __tablename__ = "reviews"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    preference: Mapped[int] = mapped_column(ForeignKey("preferences.number"), index=True)
    version: Mapped[int]
    verdict: Mapped[str] = mapped_column(String(10))
    reviewer: Mapped[str | None] = mapped_column(String(202))
    comment: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]]
    """The review's metadata."""
    created_at: Mapped[float]


class DiscardRow(Table):
    """A row that made no comparison, and why."""

    __tablename__ = "discards"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(40), unique=True)
    project: Mapped[str] = mapped_column(String(63), default="default")
    source: Mapped[str] = mapped_column(String(100))
    prompt_id: Mapped[str] = mapped_column(String(200))
    reason: Mapped[str] = mapped_column(String(100))
    detail: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float]

    __table_args__ = (Index("ix_discards_project_source", "project", "source"),)


class DatasetRow(Table):
    """A dataset made of stored preferences; its files are in the artifacts."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(63), default="default", index=True)
    name: Mapped[str] = mapped_column(String(100))
    filter: Mapped[dict[str, Any]]
    manifest: Mapped[dict[str, Any]]
    created_at: Mapped[float]


class AnswerRow(Table):
    """The answer to a request with an Idempotency-Key, or that it is being made."""

    __tablename__ = "answers"

    project: Mapped[str] = mapped_column(String(63), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(80))
    created_at: Mapped[float] = mapped_column(index=True)
    claimed_until: Mapped[float]
    """Unix time until which whoever makes the answer is taken to be at it."""
    status: Mapped[int | None]
    """None while it is being made."""
    headers: Mapped[dict[str, Any] | None]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
