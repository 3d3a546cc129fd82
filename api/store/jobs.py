"""Jobs and events in the database: one method, one transaction. Methods block; call them from a thread."""

import time
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from api.events import Event
from api.ids import new_id
from api.store.idempotency import insert, made_before
from api.store.tables import EventRow, JobRow
from solon.errors import Busy, NotFound
from solon.records import Record
from solon.settings import DEFAULT_PROJECT


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    """Waiting for its turn."""
    RUNNING = "running"
    """Its process is at work."""
    CANCELLING = "cancelling"
    """Asked to stop; its process is still there."""
    SUCCEEDED = "succeeded"
    """Ended with a report."""
    FAILED = "failed"
    """Ended with an error, which it carries."""
    CANCELLED = "cancelled"
    """Stopped because someone asked."""


FINISHED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class Job(Record):
    """A self-alignment job."""

    object: Literal["job"] = "job"
    id: str
    project: str = DEFAULT_PROJECT
    status: JobStatus
    recipe: dict[str, Any]
    created_at: float
    """Unix time in seconds, as all times here."""
    started_at: float | None = None
    finished_at: float | None = None
    error: dict[str, Any] | None = None
    """`message`, `remedy`, `field`; only of a failed job."""
    result: dict[str, Any] | None = None
    """The summary of the report; only of a succeeded job."""


class JobEvent(Record):
    """An event of a job."""

    object: Literal["job.event"] = "job.event"
    id: int = Field(ge=1)
    """Number within the job, from 1."""
    job_id: str
    created_at: float
    event: Event


class JobStore:
    """All jobs of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self,
        recipe: dict[str, Any],
        *,
        max_queued: int,
        request_hash: str = "",
        idempotency_key: str | None = None,
        project: str = DEFAULT_PROJECT,
    ) -> Job:
        """A new queued job, or the one that the same key made before.

        Raises Busy when `max_queued` jobs wait already, InvalidInput when the key came with another request.
        """
        with Session(self._engine) as session, session.begin():
            if (earlier := made_before(session, JobRow, project, idempotency_key, request_hash)) is not None:
                return _job(earlier)
            waiting = session.scalar(select(func.count()).where(JobRow.status == JobStatus.QUEUED)) or 0
            if waiting >= max_queued:
                raise Busy(f"the queue of {max_queued} jobs is full", retry_after_s=30)
            row = JobRow(
                id=new_id("job"),
                project=project,
                status=JobStatus.QUEUED,
                recipe=recipe,
                created_at=time.time(),
                idempotency_key=idempotency_key,
                request_hash=request_hash,
            )
            insert(session, row)
            return _job(row)

    def get(self, job_id: str, *, project: str | None = None) -> Job:
        """The job; raises NotFound, for one of another project than that given too."""
        with Session(self._engine) as session:
            return _job(_row(session, job_id, project))

    def page(
        self, *, after: str | None, limit: int, order: Literal["asc", "desc"], project: str = DEFAULT_PROJECT
    ) -> tuple[list[Job], bool]:
        """At most `limit` jobs of a project beyond `after` in order of creation, and whether there are more."""
        query = select(JobRow).where(JobRow.project == project).limit(limit + 1)
        query = query.order_by(JobRow.id.asc() if order == "asc" else JobRow.id.desc())
        if after is not None:
            query = query.where(JobRow.id > after if order == "asc" else JobRow.id < after)
        with Session(self._engine) as session:
            rows = session.scalars(query).all()
        return [_job(row) for row in rows[:limit]], len(rows) > limit

    def ids(self, *, project: str, job_id: str | None = None) -> list[str]:
        """Ids of the project's jobs, or that of one job if it is the project's."""
        query = select(JobRow.id).where(JobRow.project == project)
        with Session(self._engine) as session:
            return list(session.scalars(query if job_id is None else query.where(JobRow.id == job_id)))

    def claim(self) -> Job | None:
        """The job that has waited longest, now running; None when none waits."""
        with Session(self._engine) as session, session.begin():
            oldest = select(JobRow.id).where(JobRow.status == JobStatus.QUEUED).order_by(JobRow.id).limit(1)
            row = session.scalars(
                update(JobRow)
                .where(JobRow.id == oldest.scalar_subquery(), JobRow.status == JobStatus.QUEUED)
                .values(status=JobStatus.RUNNING, started_at=time.time())
                .returning(JobRow)
            ).one_or_none()
            return None if row is None else _job(row)

    def cancel(self, job_id: str, *, project: str | None = None) -> Job:
        """The job after asking it to stop: waiting, it is cancelled; running, cancelling; finished, as it was."""
        with Session(self._engine) as session, session.begin():
            row = _row(session, job_id, project)
            if row.status == JobStatus.QUEUED:
                row.status, row.finished_at = JobStatus.CANCELLED, time.time()
            elif row.status == JobStatus.RUNNING:
                row.status = JobStatus.CANCELLING
            return _job(row)

    def finish(
        self,
        job_id: str,
        status: JobStatus,
        *,
        error: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        """The job has ended; one that was asked to stop is `cancelled` whatever its process made of that."""
        with Session(self._engine) as session, session.begin():
            row = _row(session, job_id)
            stopped = row.status == JobStatus.CANCELLING
            row.status = JobStatus.CANCELLED if stopped else status
            row.finished_at = time.time()
            row.error, row.result = (None, None) if stopped else (error, result)

    def fail_interrupted(self, message: str, remedy: str) -> int:
        """How many jobs that an earlier server left running are now failed."""
        with Session(self._engine) as session, session.begin():
            left = select(JobRow).where(JobRow.status.in_([JobStatus.RUNNING, JobStatus.CANCELLING]))
            rows = session.scalars(left).all()
            for row in rows:
                row.status, row.finished_at = JobStatus.FAILED, time.time()
                row.error = {"message": message, "remedy": remedy, "field": None}
            return len(rows)

    def append(self, job_id: str, event: Event) -> JobEvent:
        """The event as stored, numbered after the job's last one."""
        with Session(self._engine) as session, session.begin():
            last = session.scalar(select(func.max(EventRow.number)).where(EventRow.job_id == job_id)) or 0
            row = EventRow(job_id=job_id, number=last + 1, created_at=time.time(), event=event.model_dump(mode="json"))
            session.add(row)
            session.flush()
            return _event(row)

    def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """At most `limit` events numbered above `after`, in order."""
        query = select(EventRow).where(EventRow.job_id == job_id, EventRow.number > after)
        with Session(self._engine) as session:
            return [_event(row) for row in session.scalars(query.order_by(EventRow.number).limit(limit))]


def _row(session: Session, job_id: str, project: str | None = None) -> JobRow:
    """The row; of another project's job no more is said than of one that never was."""
    query = select(JobRow).where(JobRow.id == job_id)
    row = session.scalars(query if project is None else query.where(JobRow.project == project)).one_or_none()
    if row is None:
        raise NotFound("there is no such job", field="id", remedy="GET /v1/jobs lists the jobs")
    return row


def _job(row: JobRow) -> Job:
    return Job(
        id=row.id,
        project=row.project,
        status=JobStatus(row.status),
        recipe=row.recipe,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=row.error,
        result=row.result,
    )


def _event(row: EventRow) -> JobEvent:
    return JobEvent(id=row.number, job_id=row.job_id, created_at=row.created_at, event=Event.model_validate(row.event))
