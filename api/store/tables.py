"""The tables, and how a database is opened."""

from typing import Any

from sqlalchemy import JSON, Engine, ForeignKey, String, create_engine, event
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from solon.errors import InvalidInput


class Table(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {dict[str, Any]: JSON}  # noqa: RUF012 - SQLAlchemy's own declaration


class JobRow(Table):
    """A job; the columns are those of `api.store.jobs.Job`."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    status: Mapped[str] = mapped_column(String(20), index=True)
    recipe: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    request_hash: Mapped[str] = mapped_column(String(80))


class EventRow(Table):
    """One event of a job, numbered from 1 within it."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[float]
    event: Mapped[dict[str, Any]]


def open_database(url: str) -> Engine:
    """An engine on the database, its tables created where they are missing.

    Raises InvalidInput where the URL cannot be used or the database cannot be opened.
    """
    remedy = "set `database` like sqlite:///solon.db"
    try:
        engine = create_engine(url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InvalidInput("not a database URL that is supported here", field="database", remedy=remedy) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
    try:
        Table.metadata.create_all(engine)
    except OperationalError as error:
        raise InvalidInput("the database cannot be opened", field="database", remedy=remedy) from error
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    """WAL: readers never wait for the writer; a writer waits for another one up to 10 s."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
