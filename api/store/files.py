"""Uploaded files in the database; their content is an artifact. One method, one transaction; methods block."""

import time
from typing import Final, Literal

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from api.ids import new_id
from api.store.database import reading
from api.store.idempotency import insert, made_before
from api.store.tables import FileRow, ProjectRow
from solon.errors import NotFound, QuotaSpent
from solon.records import Record
from solon.settings import DEFAULT_PROJECT

PREFIX: Final = "file"

Purpose = Literal["prompts", "fine-tune", "batch", "evals", "user_data"]
"""What a file is for. `prompts`: rows as `solon label` reads them; `user_data`: anything; all others: JSON objects, one
a line."""


class StoredFile(Record):
    """An uploaded file, in the shape that OpenAI's API gives it."""

    object: Literal["file"] = "file"
    id: str
    bytes: int
    created_at: int
    """Unix time in seconds."""
    filename: str
    purpose: Purpose
    status: Literal["processed"] = "processed"
    """Always: an upload is checked before it is answered."""
    sha256: str
    """Of the content, in hex."""
    rows: int | None
    """Lines that hold something; None where the purpose does not say that there are lines."""


class Upload(Record):
    """What is known of content before it has an id."""

    filename: str
    purpose: Purpose
    bytes: int
    sha256: str
    rows: int | None


def content_name(file_id: str) -> str:
    """The name of a file's content among the artifacts."""
    return f"files/{file_id}"


class FileStore:
    """All files of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def made_before(self, key: str | None, request_hash: str, *, project: str) -> StoredFile | None:
        """The file that the Idempotency-Key made; raises InvalidInput where it came with another upload."""
        with reading(self._engine) as session:
            row = made_before(session, FileRow, project, key, request_hash)
            return None if row is None else _file(row)

    def create(
        self,
        file_id: str,
        upload: Upload,
        *,
        project: str = DEFAULT_PROJECT,
        request_hash: str = "",
        idempotency_key: str | None = None,
        most_bytes: int | None = None,
    ) -> StoredFile:
        """The new file; its content is published already.

        Raises StillRunning where its key is being used, QuotaSpent where the project's files would have more than
        `most_bytes`.
        """
        with Session(self._engine) as session, session.begin():
            if most_bytes is not None:
                _require_room(session, project, most_bytes, upload.bytes)
            row = FileRow(
                id=file_id,
                project=project,
                created_at=time.time(),
                idempotency_key=idempotency_key,
                request_hash=request_hash,
                **upload.model_dump(),
            )
            insert(session, row)
            return _file(row)

    def get(self, file_id: str, *, project: str = DEFAULT_PROJECT) -> StoredFile:
        """The file; raises NotFound, for one of another project too."""
        with reading(self._engine) as session:
            return _file(_row(session, file_id, project))

    def page(
        self,
        *,
        after: str | None,
        limit: int,
        order: Literal["asc", "desc"],
        purpose: Purpose | None = None,
        project: str = DEFAULT_PROJECT,
    ) -> tuple[list[StoredFile], bool]:
        """At most `limit` files of a project beyond `after` in order of creation, and whether there are more."""
        query = select(FileRow).where(FileRow.project == project).limit(limit + 1)
        query = query.order_by(FileRow.id.asc() if order == "asc" else FileRow.id.desc())
        if after is not None:
            query = query.where(FileRow.id > after if order == "asc" else FileRow.id < after)
        if purpose is not None:
            query = query.where(FileRow.purpose == purpose)
        with reading(self._engine) as session:
            rows = session.scalars(query).all()
            return [_file(row) for row in rows[:limit]], len(rows) > limit

    def delete(self, file_id: str, *, project: str = DEFAULT_PROJECT) -> None:
        """There is no such file any more; raises NotFound where there was none."""
        with Session(self._engine) as session, session.begin():
            session.delete(_row(session, file_id, project))


def new_file_id() -> str:
    """An id for a file."""
    return new_id(PREFIX)


def _require_room(session: Session, project: str, most: int, more: int) -> None:
    """Raises QuotaSpent where there is none. Who asks at the same time waits for this transaction."""
    session.get(ProjectRow, project, with_for_update=True)
    stored = session.scalar(select(func.sum(FileRow.bytes)).where(FileRow.project == project)) or 0
    if stored + more > most:
        raise QuotaSpent(
            f"the project's quota of {most:,} storage bytes is spent",
            retry_after_s=3600,
            remedy="delete files, or ask an operator for more",
        )


def _row(session: Session, file_id: str, project: str) -> FileRow:
    row = session.get(FileRow, file_id)
    if row is None or row.project != project:
        raise NotFound("there is no such file", field="id", remedy="GET /v1/files lists the files")
    return row


def _file(row: FileRow) -> StoredFile:
    return StoredFile(
        id=row.id,
        bytes=row.bytes,
        created_at=int(row.created_at),
        filename=row.filename,
        purpose=row.purpose,  # pyright: ignore[reportArgumentType] - checked when it was stored
        sha256=row.sha256,
        rows=row.rows,
    )
