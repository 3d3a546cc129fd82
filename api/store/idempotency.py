"""Rows that a client may ask for twice: the same Idempotency-Key makes one row, whoever asks again."""

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.store.tables import AuditRow, FileRow, JobRow
from solon.errors import InvalidInput, StillRunning

Row = TypeVar("Row", JobRow, AuditRow, FileRow)


def made_before(session: Session, table: type[Row], project: str, key: str | None, request_hash: str) -> Row | None:
    """The row that the key made in the project; raises InvalidInput where it came with another request."""
    if key is None:
        return None
    row = session.scalars(select(table).where(table.project == project, table.idempotency_key == key)).one_or_none()
    if row is not None and row.request_hash != request_hash:
        raise InvalidInput("this key came with another request before", field="Idempotency-Key", remedy="use a new key")
    return row


def insert(session: Session, row: JobRow | AuditRow | FileRow) -> None:
    """Add the row; raises StillRunning where another request with its key is adding one at the same moment."""
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise StillRunning(
            "a request with this Idempotency-Key is being answered", remedy="try again in a second"
        ) from error
