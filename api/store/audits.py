"""Audits in the database: one method, one transaction. Methods block; call them from a thread."""

import time
from enum import StrEnum
from typing import Any, Literal

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from api.ids import new_id
from api.store.database import reading
from api.store.idempotency import insert, made_before
from api.store.tables import AuditRow
from api.store.webhooks import WebhookEvent, announce
from solon.errors import NotFound
from solon.records import Record
from solon.settings import DEFAULT_PROJECT


class AuditStatus(StrEnum):
    """Where an audit stands."""

    RUNNING = "running"
    """Its judge is being asked."""
    SUCCEEDED = "succeeded"
    """Ended with a report."""
    FAILED = "failed"
    """Ended with an error, which it carries."""


class StoredAudit(Record):
    """An audit of a judge."""

    object: Literal["audit"] = "audit"
    id: str
    project: str = DEFAULT_PROJECT
    status: AuditStatus
    request: dict[str, Any]
    """What was asked for, without the rows themselves."""
    created_at: float
    """Unix time in seconds, as all times here."""
    finished_at: float | None = None
    error: dict[str, Any] | None = None
    """`message`, `remedy`, `field`; only of a failed audit."""
    report: dict[str, Any] | None = None
    """The same as `audit.json` of `solon audit judge`; only of a succeeded audit."""


class AuditStore:
    """All audits of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self,
        request: dict[str, Any],
        *,
        request_hash: str,
        idempotency_key: str | None = None,
        project: str = DEFAULT_PROJECT,
    ) -> tuple[StoredAudit, bool]:
        """A new running audit, or the one that the same key made before; and whether it is new.

        Raises InvalidInput when the key came with another request.
        """
        with Session(self._engine) as session, session.begin():
            if (earlier := made_before(session, AuditRow, project, idempotency_key, request_hash)) is not None:
                return _audit(earlier), False
            row = AuditRow(
                id=new_id("aud"),
                project=project,
                status=AuditStatus.RUNNING,
                request=request,
                created_at=time.time(),
                idempotency_key=idempotency_key,
                request_hash=request_hash,
            )
            insert(session, row)
            return _audit(row), True

    def get(self, audit_id: str, *, project: str = DEFAULT_PROJECT) -> StoredAudit:
        """The audit; raises NotFound, for one of another project too."""
        with reading(self._engine) as session:
            return _audit(_row(session, audit_id, project))

    def page(
        self, *, after: str | None, limit: int, order: Literal["asc", "desc"], project: str = DEFAULT_PROJECT
    ) -> tuple[list[StoredAudit], bool]:
        """At most `limit` audits of a project beyond `after` in order of creation, and whether there are more.

        They come without their reports.
        """
        query = select(AuditRow).where(AuditRow.project == project).limit(limit + 1)
        query = query.order_by(AuditRow.id.asc() if order == "asc" else AuditRow.id.desc())
        if after is not None:
            query = query.where(AuditRow.id > after if order == "asc" else AuditRow.id < after)
        with reading(self._engine) as session:
            rows = session.scalars(query).all()
            return [_audit(row).model_copy(update={"report": None}) for row in rows[:limit]], len(rows) > limit

    def finish(
        self, audit_id: str, *, report: dict[str, Any] | None = None, error: dict[str, Any] | None = None
    ) -> None:
        """The audit has ended, with a report or with an error."""
        with Session(self._engine) as session, session.begin():
            row = _row(session, audit_id)
            row.status = AuditStatus.FAILED if report is None else AuditStatus.SUCCEEDED
            row.finished_at, row.report, row.error = time.time(), report, error
            told = WebhookEvent.AUDIT_FAILED if report is None else WebhookEvent.AUDIT_SUCCEEDED
            announce(session, row.project, told, {"object": "audit", "id": row.id, "status": row.status})

    def fail_interrupted(self, error: dict[str, Any]) -> int:
        """How many audits that an earlier server left running are now failed."""
        with Session(self._engine) as session, session.begin():
            rows = session.scalars(select(AuditRow).where(AuditRow.status == AuditStatus.RUNNING)).all()
            for row in rows:
                row.status, row.finished_at, row.error = AuditStatus.FAILED, time.time(), error
            return len(rows)


def _row(session: Session, audit_id: str, project: str | None = None) -> AuditRow:
    """The row; of another project's audit no more is said than of one that never was."""
    query = select(AuditRow).where(AuditRow.id == audit_id)
    row = session.scalars(query if project is None else query.where(AuditRow.project == project)).one_or_none()
    if row is None:
        raise NotFound("there is no such audit", field="id", remedy="GET /v1/audits lists the audits")
    return row


def _audit(row: AuditRow) -> StoredAudit:
    return StoredAudit(
        id=row.id,
        project=row.project,
        status=AuditStatus(row.status),
        request=row.request,
        created_at=row.created_at,
        finished_at=row.finished_at,
        error=row.error,
        report=row.report,
    )
