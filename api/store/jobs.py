"""Jobs in the database, as users see them. One method, one transaction; methods block: call them from a thread.

What workers do to jobs is in `api.store.runs`. Both change a job only while they hold its row, so no two changes cross,
and the events of a job are numbered without a gap or a repeat, whoever writes them.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from pydantic import Field
from sqlalchemy import Engine, Select, func, select
from sqlalchemy.orm import Session

from api.events import Event
from api.ids import new_id
from api.lifecycle import ASKED_TO_STOP, FINISHED, JobStatus, Wish, wished
from api.store.database import reading
from api.store.idempotency import insert, made_before
from api.store.job_tables import CheckpointRow, MetricRow
from api.store.tables import EventRow, JobRow, ProjectRow
from api.store.webhooks import WebhookEvent, announce
from solon.errors import Busy, NotFound, QuotaSpent
from solon.records import Record
from solon.settings import DEFAULT_PROJECT

__all__ = ["FINISHED", "Job", "JobEvent", "JobStatus", "JobStore", "MetricPoint", "TrainingCheckpoint"]

DEFAULT_PRIORITY = 100


class ConstitutionOf(Record):
    """The text that a job works under."""

    id: str
    version: str
    content_hash: str


class Job(Record):
    """A self-alignment job."""

    object: Literal["job"] = "job"
    id: str
    project: str = DEFAULT_PROJECT
    status: JobStatus
    recipe: dict[str, Any]
    constitution: ConstitutionOf | None = None
    """Null for a job from before versions were kept."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """The client's own keys and values."""
    priority: int = DEFAULT_PRIORITY
    """From 1; smaller ones go first."""
    run: int = 1
    """Counts up each time the job is resumed."""
    created_at: float
    """Unix time in seconds, as all times here."""
    started_at: float | None = None
    finished_at: float | None = None
    cost: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By model: `calls`, `prompt_tokens`, `completion_tokens`, and `cost_usd` where the price is known."""
    cost_usd: float | None = None
    """Of all models with a price; null where none has one."""
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


class MetricPoint(Record):
    """One point of a training's curve."""

    object: Literal["job.metric"] = "job.metric"
    series: str
    """Step and training, such as `02-dpo/model`."""
    step_number: int
    """Optimiser step, from 1."""
    total_steps: int
    created_at: float
    metrics: dict[str, float]


class TrainingCheckpoint(Record):
    """A checkpoint of a training."""

    object: Literal["job.checkpoint"] = "job.checkpoint"
    series: str
    step_number: int
    """Optimiser step after which it was written."""
    path: str
    """Inside of the job's folder."""
    kept: bool
    """Whether a training that is stopped goes on from it; false once the training is done."""
    created_at: float


class Dispatch(Protocol):
    """Hands jobs to workers: `api.durable.Durable`, or a fake."""

    def prepare(self) -> None:
        """Before a transaction: make what `enqueue` needs outside of one."""
        ...

    def enqueue(self, session: Session, job_id: str, run: int, priority: int) -> None:
        """Queue a run of the job; it happens if the session's transaction does."""
        ...

    def withdraw(self, job_id: str, run: int) -> None:
        """Take what no worker has begun of a run out of the queues."""
        ...


class JobStore:
    """All jobs of one database."""

    def __init__(self, engine: Engine, dispatch: Dispatch) -> None:
        self._engine = engine
        self._dispatch = dispatch

    def create(
        self,
        recipe: dict[str, Any],
        *,
        max_queued: int,
        max_of_project: int | None = None,
        request_hash: str = "",
        idempotency_key: str | None = None,
        constitution: ConstitutionOf | None = None,
        metadata: Mapping[str, str] | None = None,
        priority: int = DEFAULT_PRIORITY,
        project: str = DEFAULT_PROJECT,
    ) -> Job:
        """A new queued job, or the one that the same key made before.

        Raises Busy when `max_queued` jobs wait already, QuotaSpent when `max_of_project` of the project do, and
        InvalidInput when the key came with another request.
        """
        self._dispatch.prepare()
        with Session(self._engine) as session, session.begin():
            if (earlier := made_before(session, JobRow, project, idempotency_key, request_hash)) is not None:
                return job_of(earlier)
            waiting = session.scalar(select(func.count()).where(JobRow.status == JobStatus.QUEUED)) or 0
            if waiting >= max_queued:
                raise Busy(f"the queue of {max_queued} jobs is full", retry_after_s=30)
            if max_of_project is not None:
                _require_place(session, project, max_of_project)
            row = JobRow(
                id=new_id("job"),
                project=project,
                status=JobStatus.QUEUED,
                recipe=recipe,
                constitution=constitution.id if constitution else None,
                constitution_version=constitution.version if constitution else None,
                constitution_hash=constitution.content_hash if constitution else None,
                tags=dict(metadata or {}),
                priority=priority,
                run=1,
                last_event=0,
                cost={},
                run_cost={},
                created_at=time.time(),
                idempotency_key=idempotency_key,
                request_hash=request_hash,
            )
            insert(session, row)
            self._dispatch.enqueue(session, row.id, 1, priority)
            return job_of(row)

    def get(self, job_id: str, *, project: str | None = None) -> Job:
        """The job; raises NotFound, for one of another project than that given too."""
        with reading(self._engine) as session:
            return job_of(found(session, job_id, project))

    def page(
        self,
        *,
        after: str | None,
        limit: int,
        order: Literal["asc", "desc"],
        statuses: Sequence[str] = (),
        constitution: str | None = None,
        metadata: Mapping[str, str] | None = None,
        project: str = DEFAULT_PROJECT,
    ) -> tuple[list[Job], bool]:
        """At most `limit` jobs of a project beyond `after` in order of creation, and whether there are more.

        Args:
            constitution: `id` or `id@version`.
        """
        query = select(JobRow).where(JobRow.project == project).limit(limit + 1)
        query = query.order_by(JobRow.id.asc() if order == "asc" else JobRow.id.desc())
        if after is not None:
            query = query.where(JobRow.id > after if order == "asc" else JobRow.id < after)
        query = _filtered(query, statuses, constitution, metadata or {})
        with reading(self._engine) as session:
            rows = session.scalars(query).all()
            return [job_of(row) for row in rows[:limit]], len(rows) > limit

    def ids(self, *, project: str, job_id: str | None = None) -> list[str]:
        """Ids of the project's jobs, or that of one job if it is the project's."""
        query = select(JobRow.id).where(JobRow.project == project)
        with reading(self._engine) as session:
            return list(session.scalars(query if job_id is None else query.where(JobRow.id == job_id)))

    def wish(self, job_id: str, wish: Wish, *, project: str | None = None) -> Job:
        """The job after it was asked to stop, to pause or to go on; raises NotFound, Conflict.

        What waits goes out of the queues; what runs is stopped by the worker that has it.
        """
        self._dispatch.prepare()
        with Session(self._engine) as session, session.begin():
            row = held_row(session, job_id, project)
            run = row.run
            before, after = JobStatus(row.status), wished(JobStatus(row.status), wish)
            if before != after:
                self._move(session, row, after)
            job = job_of(row)
        if before != after and (after in ASKED_TO_STOP or before == JobStatus.QUEUED):
            self._dispatch.withdraw(job_id, run)
        return job

    def _move(self, session: Session, row: JobRow, after: JobStatus) -> None:
        row.status = after
        match after:
            case JobStatus.QUEUED:
                row.run, row.run_cost, row.error, row.finished_at = row.run + 1, {}, None, None
                self._dispatch.enqueue(session, row.id, row.run, row.priority)
                tell(session, row, Event(type="job_resumed"))
            case JobStatus.PAUSED:
                tell(session, row, Event(type="job_paused"))
            case JobStatus.CANCELLED:
                row.finished_at = time.time()
                tell(session, row, Event(type="job_cancelled"))
            case _:
                return  # on the way: told when it is there
        announce_job(session, row)

    def events(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[JobEvent]:
        """At most `limit` events numbered above `after`, in order."""
        query = select(EventRow).where(EventRow.job_id == job_id, EventRow.number > after)
        with reading(self._engine) as session:
            return [_event(row) for row in session.scalars(query.order_by(EventRow.number).limit(limit))]

    def metrics(self, job_id: str, *, series: str | None, after: int, limit: int) -> list[MetricPoint]:
        """Points of the curves, by series and optimiser step; `after` counts points."""
        query = select(MetricRow).where(MetricRow.job_id == job_id)
        if series is not None:
            query = query.where(MetricRow.series == series)
        query = query.order_by(MetricRow.series, MetricRow.number).offset(after).limit(limit)
        with reading(self._engine) as session:
            return [
                MetricPoint(
                    series=row.series,
                    step_number=row.number,
                    total_steps=row.total,
                    created_at=row.created_at,
                    metrics=row.metrics,
                )
                for row in session.scalars(query)
            ]

    def checkpoints(self, job_id: str, *, after: int, limit: int) -> list[TrainingCheckpoint]:
        """The checkpoints of the job's trainings, in the order of the steps; `after` counts checkpoints."""
        query = select(CheckpointRow).where(CheckpointRow.job_id == job_id).offset(after).limit(limit)
        with reading(self._engine) as session:
            return [
                TrainingCheckpoint(
                    series=row.series,
                    step_number=row.number,
                    path=row.path,
                    kept=row.kept,
                    created_at=row.created_at,
                )
                for row in session.scalars(query.order_by(CheckpointRow.series, CheckpointRow.number))
            ]


def _filtered(
    query: Select[JobRow], statuses: Sequence[str], constitution: str | None, metadata: Mapping[str, str]
) -> Select[JobRow]:
    if statuses:
        query = query.where(JobRow.status.in_(statuses))
    if constitution is not None:
        name, _, version = constitution.partition("@")
        query = query.where(JobRow.constitution == name)
        if version:
            query = query.where(JobRow.constitution_version == version)
    for key, value in metadata.items():
        query = query.where(JobRow.tags[key].as_string() == value)
    return query


def found(session: Session, job_id: str, project: str | None = None) -> JobRow:
    """The job's row; raises NotFound: of another project's job no more is said than of one that never was."""
    return _one(session, select(JobRow).where(JobRow.id == job_id), project)


def held_row(session: Session, job_id: str, project: str | None = None) -> JobRow:
    """The job's row, which nobody else changes until the transaction ends; raises NotFound."""
    query = select(JobRow).where(JobRow.id == job_id).with_for_update()
    return _one(session, query.execution_options(populate_existing=True), project)


def _one(session: Session, query: Select[JobRow], project: str | None) -> JobRow:
    if project is not None:
        query = query.where(JobRow.project == project)
    row = session.scalars(query).one_or_none()
    if row is None:
        raise NotFound("there is no such job", field="id", remedy="GET /v1/jobs lists the jobs")
    return row


def _require_place(session: Session, project: str, most: int) -> None:
    """Raises QuotaSpent where `most` jobs of the project wait. Who asks at the same time waits for this transaction."""
    session.get(ProjectRow, project, with_for_update=True)
    query = select(func.count()).where(JobRow.status == JobStatus.QUEUED, JobRow.project == project)
    if (session.scalar(query) or 0) >= most:
        raise QuotaSpent(f"the project's quota of {most} queued jobs is spent", retry_after_s=30)


_TOLD = {
    JobStatus.SUCCEEDED: WebhookEvent.JOB_SUCCEEDED,
    JobStatus.FAILED: WebhookEvent.JOB_FAILED,
    JobStatus.CANCELLED: WebhookEvent.JOB_CANCELLED,
    JobStatus.PAUSED: WebhookEvent.JOB_PAUSED,
}


def announce_job(session: Session, row: JobRow) -> None:
    """Tell the project's webhooks where the job came to rest, in the transaction that brought it there."""
    kind = _TOLD.get(JobStatus(row.status))
    if kind is not None:
        announce(session, row.project, kind, {"object": "job", "id": row.id, "status": row.status})


def tell(session: Session, row: JobRow, event: Event) -> None:
    """Add the event to those of the job, whose row is held."""
    row.last_event += 1
    told = event.model_dump(mode="json")
    session.add(EventRow(job_id=row.id, number=row.last_event, created_at=time.time(), event=told))


def job_of(row: JobRow) -> Job:
    """The job in a row."""
    text = None
    if row.constitution is not None:
        text = ConstitutionOf(
            id=row.constitution, version=row.constitution_version or "", content_hash=row.constitution_hash or ""
        )
    return Job(
        id=row.id,
        project=row.project,
        status=JobStatus(row.status),
        recipe=row.recipe,
        constitution=text,
        metadata=row.tags,
        priority=row.priority,
        run=row.run,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        cost=row.cost,
        cost_usd=row.cost_usd,
        error=row.error,
        result=row.result,
    )


def _event(row: EventRow) -> JobEvent:
    return JobEvent(id=row.number, job_id=row.job_id, created_at=row.created_at, event=Event.model_validate(row.event))
