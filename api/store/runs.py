"""Jobs in the database, as workers see them: a run is begun, its steps are recorded, and it is settled.

Every method may be called again after a crash, and by a worker that was taken over without knowing it: then it changes
nothing. What a step's process said is stored in the transaction that moves the step's cursor, so each line counts once.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from api.events import Event
from api.lifecycle import AT_WORK, JobStatus, settled
from api.store.database import reading
from api.store.job_tables import CheckpointRow, MetricRow, StepRow
from api.store.jobs import Job, announce_job, found, held_row, job_of, tell
from api.store.tables import JobRow


@dataclass(frozen=True)
class Step:
    """What is known of a step."""

    status: JobStatus
    """Of its job."""
    run: int
    """Of its job."""
    cursor: int = 0
    attempts: int = 0
    counted: int = 0
    outcome: dict[str, Any] | None = None
    """`kind`: `done` or `failed`; `detail`: the summary, or the error."""


@dataclass(frozen=True)
class Lines:
    """What was read of a step's output, from byte `start` to byte `end`."""

    start: int
    end: int
    events: Sequence[Event] = ()
    metrics: Sequence[Event] = ()
    spent: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """By model, since the last time."""
    outcome: dict[str, Any] | None = None


class RunStore:
    """The runs of all jobs of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def job(self, job_id: str) -> Job:
        """The job; raises NotFound."""
        with reading(self._engine) as session:
            return job_of(found(session, job_id))

    def begin(self, job_id: str, run: int) -> list[int] | None:
        """Numbers of the steps that are done; None where this run is not wanted any more."""
        with Session(self._engine) as session, session.begin():
            row = held_row(session, job_id)
            if row.run != run or JobStatus(row.status) not in AT_WORK | {JobStatus.QUEUED}:
                return None
            if row.status == JobStatus.QUEUED:
                row.status, row.started_at = JobStatus.RUNNING, row.started_at or time.time()
                again = update(StepRow).where(StepRow.job_id == job_id).values(attempts=0)
                session.execute(again)
                tell(session, row, Event(type="job_started"))
            done: list[int] = []
            for step in session.scalars(select(StepRow).where(StepRow.job_id == job_id)):
                if step.outcome is not None and step.outcome["kind"] == "done":
                    done.append(step.number)
                else:
                    step.outcome = None
            return sorted(done)

    def step(self, job_id: str, number: int) -> Step:
        """What is known of the step."""
        with reading(self._engine) as session:
            return _step(found(session, job_id), session.get(StepRow, (job_id, number)))

    def record(self, job_id: str, number: int, lines: Lines, launch: int) -> Step:
        """What is known of the step with these lines; where others have stored from `start` on, without them.

        Args:
            launch: that they are of, or a later one.
        """
        with Session(self._engine) as session, session.begin():
            job, step = held_row(session, job_id), _held_step(session, job_id, number)
            if step.cursor != lines.start:
                return _step(job, step)
            step.cursor = lines.end
            if lines.outcome is not None:  # it said its last word: when the job is resumed, it did not die
                step.outcome, step.counted = lines.outcome, max(step.counted, launch)
            for event in lines.events:
                if event.type != "checkpoint" or _new_checkpoint(session, job_id, event):
                    tell(session, job, event)
                if event.type == "step_finished":
                    _drop_checkpoints(session, job_id, event.step)
            for point in lines.metrics:
                _keep_point(session, job_id, point)
            if lines.spent:
                job.cost, job.run_cost = added(job.cost, lines.spent), added(job.run_cost, lines.spent)
                job.cost_usd = _usd(job.cost)
            return _step(job, step)

    def count_failure(self, job_id: str, number: int, name: str, launch: int, message: str) -> Step:
        """What is known of the step after a launch that ended without a word, which is counted and told once."""
        with Session(self._engine) as session, session.begin():
            job, step = held_row(session, job_id), _held_step(session, job_id, number)
            if step.counted < launch:
                step.counted, step.attempts = launch, step.attempts + 1
                tell(session, job, Event(type="retrying", step=name, message=message))
            return _step(job, step)

    def settle(self, job_id: str, run: int, kind: str, detail: dict[str, Any]) -> Job:
        """The job after a run that came to `done`, `failed` or `stopped`."""
        with Session(self._engine) as session, session.begin():
            row = held_row(session, job_id)
            if row.run == run and JobStatus(row.status) in AT_WORK:
                row.status = settled(JobStatus(row.status), kind)
                _end(session, row, detail)
                announce_job(session, row)
            return job_of(row)

    def at_work(self) -> list[Job]:
        """All jobs that are not at rest."""
        wanted = select(JobRow).where(JobRow.status.in_([*AT_WORK, JobStatus.QUEUED])).order_by(JobRow.id)
        with reading(self._engine) as session:
            return [job_of(row) for row in session.scalars(wanted)]

    def run_cost(self, job_id: str) -> dict[str, dict[str, Any]]:
        """What the job's present run has paid."""
        with reading(self._engine) as session:
            return dict(found(session, job_id).run_cost)


def _end(session: Session, row: JobRow, detail: dict[str, Any]) -> None:
    name = str(row.recipe.get("name", ""))
    if row.status != JobStatus.PAUSED:
        row.finished_at = time.time()
    match row.status:
        case JobStatus.SUCCEEDED:
            result = row.result = detail | ({"paid": row.cost} if "steps" in detail else {})
            tell(session, row, Event(type="run_finished", message=name, detail=result))
        case JobStatus.FAILED:
            error: dict[str, Any] = {"message": "the run ended without a result", "remedy": "", "field": None} | detail
            row.error = error
            rest = {key: value for key, value in error.items() if key != "message"}
            tell(session, row, Event(type="run_failed", message=error["message"], detail=rest))
        case JobStatus.PAUSED:
            tell(session, row, Event(type="job_paused"))
        case _:
            tell(session, row, Event(type="job_cancelled"))


def _held_step(session: Session, job_id: str, number: int) -> StepRow:
    """The step's row, made where it is missing; the job's row is held, so nobody else makes it."""
    row = session.get(StepRow, (job_id, number), populate_existing=True)
    if row is None:
        row = StepRow(job_id=job_id, number=number, cursor=0, attempts=0, counted=0, outcome=None)
        session.add(row)
    return row


def _step(job: JobRow, step: StepRow | None) -> Step:
    status = JobStatus(job.status)
    if step is None:
        return Step(status, job.run)
    return Step(status, job.run, step.cursor, step.attempts, step.counted, step.outcome)


def _new_checkpoint(session: Session, job_id: str, event: Event) -> bool:
    """Whether the checkpoint was not known; it is now."""
    key = (job_id, str(event.detail["series"]), event.done)
    if (row := session.get(CheckpointRow, key)) is not None:
        row.kept = True
        return False
    path, now = event.message, time.time()
    session.add(CheckpointRow(job_id=job_id, series=key[1], number=key[2], path=path, kept=True, created_at=now))
    return True


def _drop_checkpoints(session: Session, job_id: str, step: str) -> None:
    session.flush()
    of_step = CheckpointRow.series.startswith(f"{step}/", autoescape=True)
    session.execute(update(CheckpointRow).where(CheckpointRow.job_id == job_id, of_step).values(kept=False))


def _keep_point(session: Session, job_id: str, point: Event) -> None:
    series, now = f"{point.step}/{point.message}", time.time()
    session.merge(
        MetricRow(
            job_id=job_id,
            series=series,
            number=point.done,
            total=point.total or 0,
            created_at=now,
            metrics=dict(point.metrics),
        )
    )


def added(to: dict[str, dict[str, Any]], spent: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Two accounts by model as one; a cost that is not known adds nothing."""
    total = {model: dict(spend) for model, spend in to.items()}
    for model, spend in spent.items():
        into = total.setdefault(model, {})
        for name, value in spend.items():
            if value is not None:
                into[name] = (into.get(name) or 0) + value
    return total


def _usd(cost: dict[str, dict[str, Any]]) -> float | None:
    known = [spend["cost_usd"] for spend in cost.values() if spend.get("cost_usd") is not None]
    return sum(known) if known else None
