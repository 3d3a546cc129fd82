"""How the database is opened: SQLite or PostgreSQL, what a transaction locks, and which errors are whose.

    with Session(engine) as session, session.begin(): ...   # reads and writes
    with reading(engine) as session: ...                    # reads only

On SQLite a transaction takes the write lock when it begins, not when it first writes: what it read is still so when it
writes. A transaction of `reading` takes none and waits for nobody.
"""

import fcntl
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.orm import Session

from api.store import schema
from api.store.outages import explain_outages, outage
from solon.errors import InvalidInput

BUSY_S: Final = 30.0
"""How long a writer waits for another one."""
_CONNECT_S: Final = 10
_READS: Final = "solon_reads"
_REMEDY: Final = "set `database` like sqlite:///solon.db or postgresql+psycopg://user@host/name"
_PLACES: Final = {"pool_size": 20, "max_overflow": 0, "pool_timeout": BUSY_S}
"""More than asyncio has threads for, so that no thread waits for a connection."""


def reading(engine: Engine) -> Session:
    """A session that only reads: the state at its first query, whoever writes meanwhile."""
    return Session(engine.execution_options(**{_READS: True}))


def database_exists(url: str) -> bool:
    """Whether reading from the database would find one; opening it would make the file of a SQLite database."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return True  # opening it says what is wrong
    return parsed.get_backend_name() != "sqlite" or (parsed.database is not None and Path(parsed.database).exists())


def open_database(url: str) -> Engine:
    """An engine on the database, its schema brought up to this version of Solon.

    Raises InvalidInput where the URL cannot be used, or the database cannot be opened or is not one of this version.
    """
    engine = connect(url)
    upgrade_database(engine)
    return engine


def upgrade_database(engine: Engine) -> tuple[schema.Schema, schema.Schema]:
    """Where the database stood, and that it stands now where this version of Solon needs it."""
    try:
        with _alone(engine.url):
            return schema.upgrade(engine)
    except DatabaseError as error:
        raise InvalidInput("the database cannot be opened", field="database", remedy=_REMEDY) from error


def connect(url: str) -> Engine:
    """An engine on the database as it is; raises InvalidInput where the URL cannot be used."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        engine = create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_S}, **_PLACES)
        explain_outages(engine)
        return engine
    except ModuleNotFoundError as error:
        remedy = "install the driver: pip install 'solon[postgres]'" if "psycopg" in str(error) else _REMEDY
        raise InvalidInput("the database's driver is not installed", field="database", remedy=remedy) from error
    except (ArgumentError, NoSuchModuleError) as error:
        raise InvalidInput("not a database URL that is supported here", field="database", remedy=_REMEDY) from error


@contextmanager
def _alone(url: URL) -> Generator[None]:
    """No other process of this machine is inside the block for a SQLite file of the same folder."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        yield
        return
    with _locked(Path(str(url.database)).parent):
        yield


@contextmanager
def _locked(path: Path) -> Generator[None]:
    try:
        folder = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise InvalidInput("the database cannot be opened", field="database", remedy=_REMEDY) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _sqlite(url: URL) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    engine = create_engine(url, connect_args={"timeout": BUSY_S}, **({} if in_memory else _PLACES))
    explain_outages(engine)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    """WAL: readers never wait for the writer. The driver begins no transactions of its own: its first write would."""
    connection.isolation_level = None
    try:
        for pragma in (
            f"busy_timeout={BUSY_S * 1000:.0f}",
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}").close()
    except sqlite3.Error as error:
        connection.close()
        unusable = InvalidInput("the file is no SQLite database", field="database", remedy=_REMEDY)
        raise outage(error) or unusable from error


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS, False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
