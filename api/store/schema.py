"""The schema of the database: the revision it is at, and the way to the one that this version of Solon works with.

A revision is a file `migrations/versions/NNNN_what.py` with `revision = "NNNN"` and the number before it as
`down_revision`. A revision that was released is never edited: write the next one, and change `tables.py` with it.
Batches (`op.batch_alter_table`) alter tables on SQLite too.
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, column, inspect, select, table, text

from solon.errors import InvalidInput
from solon.records import Record

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE: Final = "solon_schema"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x536F4C6F
"""PostgreSQL's advisory lock of whoever migrates."""


class Schema(Record):
    """Where a database stands."""

    revision: str | None
    """Of the database; None where it has no tables of ours, or those of a time before revisions."""
    needed: str
    """By this version of Solon."""

    @property
    def current(self) -> bool:
        """Whether there is nothing to do."""
        return self.revision == self.needed


@cache
def revisions() -> tuple[str, ...]:
    """All revisions that this version knows, in order; by the files' names, since Alembic takes half a second."""
    found = tuple(sorted(path.name[:4] for path in (_MIGRATIONS / "versions").glob("[0-9]*_*.py")))
    if found != tuple(f"{number:04d}" for number in range(1, len(found) + 1)):
        raise RuntimeError(f"revisions must be numbered 0001, 0002, ... once each, and are {', '.join(found)}")
    return found


def standing(engine: Engine) -> Schema:
    """Where the database stands; raises InvalidInput where a later version of Solon made it."""
    with engine.connect() as connection:
        return _standing(connection)


def upgrade(engine: Engine, to: str | None = None) -> tuple[Schema, Schema]:
    """Where the database stood and stands: at the revision `to`, or at the newest. All of it happens, or nothing.

    Raises InvalidInput where a later version of Solon made the database, or its tables are somebody else's.
    """
    before = standing(engine)
    if before.revision == (to or before.needed):
        return before, before
    with engine.connect() as connection, _alone(connection):
        before = _standing(connection)  # another process may have been quicker
        if before.revision != (to or before.needed):
            _migrate(connection, to or before.needed)
        return before, _standing(connection)


def configuration(connection: Connection) -> "Config":
    """Alembic's configuration on an open connection; `migrations/env.py` reads it."""
    from alembic.config import Config

    made = Config(attributes={"connection": connection})
    made.set_main_option("script_location", str(_MIGRATIONS))
    return made


def _standing(connection: Connection) -> Schema:
    known = revisions()
    found: str | None = None
    if inspect(connection).has_table(VERSION_TABLE):
        found = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    if found is not None and found not in known:
        raise InvalidInput(
            f"the database is at schema {found}, and this version of Solon knows {known[-1]} at most",
            field="database",
            remedy="run the version of Solon that made it, or a later one",
        )
    return Schema(revision=found, needed=known[-1])


@contextmanager
def _alone(connection: Connection) -> Generator[None]:
    """A transaction that no other migration is in at the same time."""
    if connection.dialect.name != "sqlite":
        with connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            yield
        return
    # Batches drop and rename tables, and a dropped table would take its children with it. Has no effect inside of a
    # transaction, and the transaction is IMMEDIATE: its write lock is the lock.
    driver: Any = connection.connection.dbapi_connection
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        with connection.begin():
            yield
            if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
                raise RuntimeError("a migration left rows that refer to rows that are gone")
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


def _migrate(connection: Connection, to: str) -> None:
    from alembic import command

    command.upgrade(configuration(connection), to)
